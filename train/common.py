"""What the scripts share: flags out of the options of a training, and data sets that are made on the spot."""

import os
import pathlib
import subprocess
import sys

from absl import app, flags, logging

from kerapose.data import prepared
from kerapose.evaluation.progress import in_terminal

BUILD = pathlib.Path(__file__).resolve().parent.parent / "datasets" / "build.py"
NEEDS_NO_FILES = ("puppets",)  # data sets that are made, not read


def main(training):
    """Runs a training with the flags of the command line.

    Args:
        training: a subclass of `kerapose.training.Training`.
    """
    define_flags(training.OPTIONS)
    app.run(lambda _: run(training))


def run(training):
    """Trains with the flags that were parsed."""
    logging.set_verbosity(logging.INFO)
    options = {option.name: flags.FLAGS[option.name].value for option in training.OPTIONS}
    prepare(options)
    training(**options).run()  # its figures are no status of a process


def define_flags(options):
    """Defines a flag for every `Option`, with its default, its help and its bounds."""
    for option in options:
        name, default, text = option.name, option.default, option.help
        bounds = {"lower_bound": option.least, "upper_bound": option.most}
        if isinstance(option.kind, list) and option.repeated:
            define = flags.DEFINE_multi_integer if option.kind == [int] else flags.DEFINE_multi_string
            define(name, default, text)
        elif isinstance(option.kind, list):
            flags.DEFINE_list(name, default, text)
        elif option.choices:
            flags.DEFINE_enum(name, default, list(option.choices), text)
        elif option.kind in (int, float):
            (flags.DEFINE_integer if option.kind is int else flags.DEFINE_float)(name, default, text, **bounds)
        elif option.kind is bool:
            flags.DEFINE_bool(name, default, text)
        else:
            flags.DEFINE_string(name, default, text)


def prepare(options):
    """Makes a data set that needs no files of the user's, if it is not there yet."""
    name, data_dir = options["dataset"], options["data_dir"]
    try:
        prepared.find(name, options["train_split"], data_dir)
    except prepared.NotPreparedError:
        if name.split("/")[0] not in NEEDS_NO_FILES:
            raise
    else:
        return
    logging.info("Preparing %s, once.", name)
    command = [sys.executable, str(BUILD), name] + ([f"--data_dir={data_dir}"] if data_dir else [])
    subprocess.run(command, check=True, env=os.environ | ({} if in_terminal() else {"TQDM_DISABLE": "1"}))
