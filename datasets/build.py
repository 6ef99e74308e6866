"""Prepares a data set of this folder once; afterwards `tfds.load(NAME)` reads it, without this code.

    python datasets/build.py                                        # what there is
    python datasets/build.py puppets
    python datasets/build.py jhmdb --manual_dir=DIR                 # DIR holds DD-Net's GT_*.pkl
    python datasets/build.py pyskl_clips/ntu60 --manual_dir=DIR     # DIR holds ntu60_hrnet.pkl
    python datasets/build.py pyskl_clips/custom --file=my.pkl --class_names=my.txt --skeleton=coco

README.md tells where the files come from.
"""

import importlib
import logging
import pathlib
import sys
import tempfile

import tensorflow_datasets as tfds
from absl import app, flags
from absl import logging as absl_logging

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the builders are packages of this folder, and import kerapose beside it

OWN_FILE_FLAGS = ("file", "num_classes", "class_names", "skeleton")


def available():
    """Names the data sets of this folder."""
    return sorted(path.parent.name for path in HERE.glob("*/*_dataset_builder.py"))


def builder_class(name):
    """Finds the builder of a data set by its name."""
    if name not in available():
        raise ValueError(f"There is no data set {name!r}; there are {', '.join(available())}.")
    return importlib.import_module(f"{name}.{name}_dataset_builder").Builder


def config_of(cls, name, config, own_file):
    """The config to build: a name, None for the data set's default, or a config made for a file of one's own."""
    own_file = {flag: value for flag, value in own_file.items() if value is not None}
    if "file" in own_file and name == "pyskl_clips":
        return sys.modules[cls.__module__].own(config or "custom", **own_file)
    if own_file:
        raise ValueError(
            f"--{next(iter(own_file))} goes with --file and pyskl_clips/custom; leave it out or give both."
        )
    if config is not None and config not in cls.builder_configs:
        known = ", ".join(f"{name}/{known}" for known in cls.builder_configs) or name
        own = "; for a file of your own give --file" if name == "pyskl_clips" else ""
        raise ValueError(f"There is no published {name}/{config}, there is {known}{own}.")
    return config


def prepare(builder, root, manual_dir=None):
    """Writes the data set; TFDS does so in a folder of another name, which it renames when everything is there.

    Args:
        builder: the data set's builder.
        root: the folder where data sets are kept, with the downloads.
        manual_dir: where the files downloaded by hand are; None for `root`/downloads/manual.

    Raises:
        FileNotFoundError: when a file is missing that has to be downloaded by hand.
    """
    downloads = pathlib.Path(root).expanduser() / "downloads"
    manual_dir = pathlib.Path(manual_dir).expanduser() if manual_dir else downloads / "manual"
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and not (manual_dir.is_dir() and any(manual_dir.iterdir())):
        raise FileNotFoundError(f"The manual folder {manual_dir} is missing or empty. {instructions}")
    builder.download_and_prepare(
        download_dir=downloads, download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )


def rebuild(make, root, manual_dir=None):
    """Builds a data set that is there once more; if that fails, the old one stays."""
    old = pathlib.Path(make(root).data_dir)
    with tempfile.TemporaryDirectory(prefix="rebuilding-", dir=root) as folder:
        new = make(folder)
        prepare(new, root, manual_dir)
        aside = old.rename(pathlib.Path(folder, "old"))
        try:
            pathlib.Path(new.data_dir).rename(old)
        except BaseException:
            aside.rename(old)
            raise


def run(name, data_dir=None, manual_dir=None, overwrite=False, **own_file):
    """Builds a data set, unless it is there already, and tells where it is and what is in it.

    Args:
        name: "NAME" or "NAME/CONFIG".
        data_dir: where data sets are kept; None for TFDS's own folder.
        manual_dir: where the files downloaded by hand are; None for the `downloads/manual` folder in `data_dir`.
        overwrite: whether to build again what is there.
        **own_file: `file`, `num_classes`, `class_names` and `skeleton` of a file of one's own.

    Returns:
        The builder, from which the data set can be read.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when there is no such data set, the flags do not fit it, or a file is bad.

    Example:
        >>> run("jhmdb", manual_dir="~/downloads").as_dataset("train1")
    """
    name, _, config = name.partition("/")
    cls = builder_class(name)
    config = config_of(cls, name, config or None, own_file)

    def make(folder):
        return cls(data_dir=folder, config=config)

    builder = make(data_dir)
    done = "is prepared"
    if not builder.is_prepared():
        prepare(builder, builder.data_dir_root, manual_dir)
    elif overwrite:
        rebuild(make, builder.data_dir_root, manual_dir)
        builder, done = make(data_dir), "is prepared anew"
    else:
        done = "was there already and is left as it is (--overwrite builds it again)"
    print(report(builder, data_dir, done))
    return builder


def report(builder, data_dir, done):
    """Where the data set is, how many clips each split has, and how it is read."""
    path = "/".join(filter(None, [builder.name, builder.builder_config_name]))
    where = f', data_dir="{data_dir}"' if data_dir else ""
    lines = [f"{path} {done}: {builder.data_dir}"]
    lines += [f"  {split}: {info.num_examples}" for split, info in builder.info.splits.items()]
    lines += [f'Read it with tfds.load("{path}", split="{next(iter(builder.info.splits))}"{where}).']
    return "\n".join(lines)


def main(argv):
    if len(argv) != 2:
        raise app.UsageError(f"Give the name of one data set of {', '.join(available())}.")
    values = flags.FLAGS
    if not values["verbosity"].present:  # TFDS warns of what is usual here; our own warnings are about the data
        absl_logging.set_verbosity(absl_logging.ERROR)
        logging.getLogger("kerapose").setLevel(logging.WARNING)
    own_file = {flag: values[flag].value for flag in OWN_FILE_FLAGS}
    try:
        run(argv[1], values.data_dir, values.manual_dir, values.overwrite, **own_file)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))


def define_flags():
    """Defines the flags, only when this file is run: whoever imports it may have flags of these names."""
    flags.DEFINE_string("data_dir", None, "Where data sets are kept; TFDS's own folder by default.")
    flags.DEFINE_string("manual_dir", None, "Where the files you downloaded are; DATA_DIR/downloads/manual by default.")
    flags.DEFINE_bool("overwrite", False, "Build again what is there; the old one goes once the new one is complete.")
    flags.DEFINE_string("file", None, "pyskl_clips/custom: your annotation file.")
    flags.DEFINE_integer("num_classes", None, "pyskl_clips/custom: how many classes it has.", lower_bound=1)
    flags.DEFINE_string("class_names", None, "pyskl_clips/custom: a text file with one class name a line.")
    flags.DEFINE_string("skeleton", None, "pyskl_clips/custom: its keypoint set, one of those in kerapose.skeletons.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
