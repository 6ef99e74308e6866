"""What the scripts share: flags out of the options of a training, and data sets that are made on the spot."""

import os
import pathlib
import subprocess
import sys

from absl import app, flags, logging

from kerapose.data import prepared
from kerapose.evaluation.progress import in_terminal
from kerapose.training.options import KINDS

BUILD = pathlib.Path(__file__).resolve().parent.parent / "datasets" / "build.py"
NEEDS_NO_FILES = ("puppets",)  # data sets that are made, not read


def main(training):
    """Runs a training with the flags of the command line.

    Args:
        training: a subclass of `kerapose.training.Training`.
    """
    define_flags(training.OPTIONS)
    flags.DEFINE_string("preset", None, "Name of a published checkpoint to be tested, with --evaluate.")
    flags.DEFINE_bool("evaluate", False, "Whether to test the preset, and nothing else.")
    for name in [*(option.name for option in training.OPTIONS), "preset", "evaluate"]:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])  # --help shows the script's own
    app.run(lambda _: run(training))


def run(training):
    """Trains with the flags that were parsed."""
    logging.set_verbosity(logging.INFO)
    parsed = {option.name: flags.FLAGS[option.name] for option in training.OPTIONS}
    preset = flags.FLAGS["preset"].value
    if (preset is not None) != flags.FLAGS["evaluate"].value:
        raise ValueError(
            f"--preset and --evaluate go together, got {'the latter' if preset is None else 'the former'} alone; to "
            "train from a preset, give it as --pretrained or --backbone_weights."
        )
    prepare(
        *(parsed[name].value for name in ("dataset", "train_split" if preset is None else "test_split", "data_dir"))
    )
    # The others are not given: a recipe may have them.
    given = {name: flag.value for name, flag in parsed.items() if flag.present}
    if preset is not None:
        training.test_preset(preset, **given)
    else:
        training(**given).run()  # its figures are no status of a process


def define_flags(options):
    """Defines a flag for every `Option`, with its default, its help and its bounds."""
    for option in options:
        name, default, text = option.name, option.default, option.help
        bounds = {"lower_bound": option.least, "upper_bound": option.most}
        if option.repeated:
            define = {str: flags.DEFINE_multi_string, int: flags.DEFINE_multi_integer, float: flags.DEFINE_multi_float}
            define[option.kind[0]](name, default, text)
        elif option.kind == [str]:
            flags.DEFINE_list(name, default, text)
        elif isinstance(option.kind, list):
            flags.DEFINE(Numbers(option.kind[0]), name, default, text, serializer=flags.CsvListSerializer(","))
        elif option.choices:
            flags.DEFINE_enum(name, default, list(option.choices), text)
        elif option.kind in (int, float):
            (flags.DEFINE_integer if option.kind is int else flags.DEFINE_float)(name, default, text, **bounds)
        elif option.kind is bool:
            flags.DEFINE_bool(name, default, text)
        else:
            flags.DEFINE_string(name, default, text)


class Numbers(flags.ListParser):
    """Parses numbers with commas between them: "3,3,3".

    Args:
        kind: int or float.
    """

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def parse(self, argument):
        values = super().parse(argument)
        try:
            return [self.kind(value) for value in values]
        except ValueError:
            raise ValueError(f"must be {KINDS[self.kind]} or several with commas between them; correct it.") from None


def prepare(name, split, data_dir):
    """Makes a data set that needs no files of the user's, if it is not there yet.

    Args:
        name: of the data set, as TFDS has it.
        split: that it must have.
        data_dir: where the data set is. None: TFDS's own folder.
    """
    try:
        prepared.find(name, split, data_dir)
    except prepared.NotPreparedError:
        if name.split("/")[0] not in NEEDS_NO_FILES:
            raise
    else:
        return
    logging.info("Preparing %s, once.", name)
    command = [sys.executable, str(BUILD), name] + ([f"--data_dir={data_dir}"] if data_dir else [])
    subprocess.run(command, check=True, env=os.environ | ({} if in_terminal() else {"TQDM_DISABLE": "1"}))
