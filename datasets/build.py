"""Prepares a data set of this folder once; afterwards `tfds.load(NAME)` reads it, without this code.

    python datasets/build.py                                        # what there is
    python datasets/build.py puppets                                # or puppets/images
    python datasets/build.py jhmdb --manual_dir=DIR                 # DIR holds DD-Net's GT_*.pkl
    python datasets/build.py pyskl_clips/ntu60 --manual_dir=DIR     # DIR holds ntu60_hrnet.pkl
    python datasets/build.py pyskl_clips/custom --file=my.pkl --class_names=my.txt --skeleton=coco
    python datasets/build.py rgb_pose_clips/ntu60 --manual_dir=DIR  # DIR holds ntu60_hrnet.pkl and the videos
    python datasets/build.py kinect_actions/florence3d --manual_dir=DIR  # DIR holds florence3d.npz
    python datasets/build.py penn_action --manual_dir=DIR           # DIR holds frames/ and labels/
    python datasets/build.py jpeg_frames/penn_action --source=penn_action  # its videos as JPEGs
    python datasets/build.py coco_keypoints/2017                    # downloads 20 GB
    python datasets/build.py coco_keypoints/mice --annotations=train:train.json,test:test.json --images=DIR
    python datasets/build.py mpii --manual_dir=DIR                  # DIR holds images/, train.json and valid.json
    python datasets/build.py mocap/dance --manual_dir=DIR           # DIR holds takes.npz, cameras.json and meta.json
    python datasets/build.py h36m/cpn_ft_h36m_dbb --manual_dir=DIR  # DIR holds VideoPose3D's .npz files and its cameras

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

# The flags that describe files of one's own, by data set; the first of them is the one that makes it one's own.
OWN_FILE_FLAGS = {
    "pyskl_clips": ("file", "num_classes", "class_names", "skeleton", "skip", "up"),
    "rgb_pose_clips": ("file", "num_classes", "class_names", "skeleton", "skip"),
    "jpeg_frames": ("source", "quality"),
    "coco_keypoints": ("annotations", "images", "category", "flip_pairs", "sigmas", "skip_corrupt", "skip"),
}
COUNTED = ("crowds", "people_without_keypoints", "boxes_without_area")


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
    needed, *_ = OWN_FILE_FLAGS.get(name, (None,))
    if needed in own_file and not set(own_file) - set(OWN_FILE_FLAGS[name]):
        return sys.modules[cls.__module__].own(config or "custom", **own_file)
    if own_file:
        flag = next((flag for flag in own_file if flag not in OWN_FILE_FLAGS.get(name, ())), next(iter(own_file)))
        homes = [other for other, flags_there in OWN_FILE_FLAGS.items() if flag in flags_there]
        home = name if name in homes else homes[0]
        raise ValueError(
            f"--{flag} goes with --{OWN_FILE_FLAGS[home][0]} and {home}/custom; leave it out or give both."
        )
    named = getattr(sys.modules[cls.__module__], "named", None)  # of data sets that are all one's own
    if config is not None and named is not None:
        return named(config)
    if config is not None and config not in cls.builder_configs:
        known = ", ".join(f"{name}/{known}" for known in cls.builder_configs) or name
        own = f"; for a file of your own give --{needed}" if needed else ""
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
        **own_file: what describes files of one's own, see `OWN_FILE_FLAGS`.

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
    """Where the data set is, how many examples each split has, what was left out, and how it is read."""
    path = "/".join(filter(None, [builder.name, builder.builder_config_name]))
    where = f', data_dir="{data_dir}"' if data_dir else ""
    metadata = builder.info.metadata or {}
    counts, left_out = metadata.get("counts", {}), metadata.get("left_out", [])
    lines = [f"{path} {done}: {builder.data_dir}"]
    lines += [f"  {split}: {info.num_examples}{told(counts.get(split))}" for split, info in builder.info.splits.items()]
    lines += [f"  left out: {len(left_out)} ({', '.join(left_out)})"] if left_out else []
    lines += [f'Read it with tfds.load("{path}", split="{next(iter(builder.info.splits))}"{where}).']
    return "\n".join(lines)


def told(counts):
    """What a builder counted in a split, where it did: " images, 3 people, 1 corrupt image left out (a.jpg)"."""
    if not counts:
        return ""
    phrases = ["", f"{counts['people']} people"]
    phrases += [f"{counts[key]} {key.replace('_', ' ')}" for key in COUNTED if counts.get(key)]
    corrupt = counts.get("corrupt_images_left_out")
    phrases += [f"{len(corrupt)} corrupt images left out ({', '.join(corrupt)})"] if corrupt else []
    skipped = counts.get("images_skipped")
    phrases += [f"{len(skipped)} images left out as asked ({', '.join(skipped)})"] if skipped else []
    return " images" + ", ".join(phrases)


def main(argv):
    if len(argv) != 2:
        raise app.UsageError(f"Give the name of one data set of {', '.join(available())}.")
    values = flags.FLAGS
    if not values["verbosity"].present:  # TFDS warns of what is usual here; our own warnings are about the data
        absl_logging.set_verbosity(absl_logging.ERROR)
        logging.getLogger("kerapose").setLevel(logging.WARNING)
    try:
        own_file = parse(**{flag: values[flag].value for flags_of in OWN_FILE_FLAGS.values() for flag in flags_of})
        run(argv[1], values.data_dir, values.manual_dir, values.overwrite, **own_file)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))


def parse(annotations=None, images=None, flip_pairs=None, sigmas=None, category=None, **others):
    """Turns the flags that hold several values into those values; None stays None.

    Example:
        >>> parse(annotations="train:a.json,test:b.json", flip_pairs="leftear:rightear")
        {'annotations': {'train': 'a.json', 'test': 'b.json'}, 'images': None,
         'flip_pairs': [('leftear', 'rightear')], 'sigmas': None, 'category': None}
    """

    def pairs(flag, text):
        found = [tuple(item.strip().split(":", 1)) for item in text.split(",") if item.strip()]
        if not found or any(len(pair) != 2 or not all(pair) for pair in found):
            raise ValueError(f"--{flag} must be pairs like a:b,c:d, got {text!r}; separate them by commas.")
        return found

    if annotations is not None:
        found = pairs("annotations", annotations)
        annotations = dict(found)
        if len(annotations) < len(found):
            raise ValueError(f"--annotations must name each split once, got {[split for split, _ in found]}.")
    if images is not None and all(":" in item for item in images.split(",")) and not pathlib.Path(images).exists():
        images = dict(pairs("images", images))
    if flip_pairs is not None:
        flip_pairs = pairs("flip_pairs", flip_pairs) if flip_pairs.strip() else []  # --flip_pairs=: none change places
    if sigmas is not None:
        try:
            sigmas = [float(sigma) for sigma in sigmas.split(",")]
        except ValueError:
            raise ValueError(f"--sigmas must be numbers separated by commas, got {sigmas!r}.") from None
    if category is not None and "," in category:
        category = [name.strip() for name in category.split(",") if name.strip()]
    parsed = {"annotations": annotations, "images": images, "flip_pairs": flip_pairs, "sigmas": sigmas}
    return parsed | {"category": category} | others


def define_flags():
    """Defines the flags, only when this file is run: whoever imports it may have flags of these names."""
    flags.DEFINE_string("data_dir", None, "Where data sets are kept; TFDS's own folder by default.")
    flags.DEFINE_string("manual_dir", None, "Where the files you downloaded are; DATA_DIR/downloads/manual by default.")
    flags.DEFINE_bool("overwrite", False, "Build again what is there; the old one goes once the new one is complete.")
    clips = "pyskl_clips/custom and rgb_pose_clips/custom: "
    flags.DEFINE_string("file", None, clips + "your annotation file.")
    flags.DEFINE_integer("num_classes", None, clips + "how many classes it has.", lower_bound=1)
    flags.DEFINE_string("class_names", None, clips + "a text file with one class name a line.")
    flags.DEFINE_string("skeleton", None, clips + "its keypoint set, one of those in kerapose.skeletons.")
    flags.DEFINE_enum("up", None, ["y", "z"], "pyskl_clips/custom: which axis of 3D skeletons is up; y by default.")
    coco = "coco_keypoints/custom: "
    flags.DEFINE_string("annotations", None, coco + "your COCO keypoint files, as SPLIT:FILE,SPLIT:FILE.")
    flags.DEFINE_string("images", None, coco + "folder of the images, or SPLIT:DIR,...; each file's own by default.")
    flags.DEFINE_string("category", None, coco + "NAME,... to take, where categories have different keypoints.")
    flags.DEFINE_string("flip_pairs", None, coco + "LEFT:RIGHT,... or nothing; by default found by the names.")
    flags.DEFINE_string("sigmas", None, coco + "one OKS constant a keypoint, with commas between them.")
    flags.DEFINE_string("source", None, "jpeg_frames/NAME: the prepared data set of videos that it is made of.")
    flags.DEFINE_integer(
        "quality", None, "jpeg_frames/NAME: of the JPEGs; 95 by default.", lower_bound=1, upper_bound=100
    )
    flags.DEFINE_multi_string("skip", None, "custom: an image or clip to leave out; may be given several times.")
    flags.DEFINE_bool("skip_corrupt", None, coco + "leave out images that cannot be decoded, in place of stopping.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
