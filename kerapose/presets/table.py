"""The table of published checkpoints, `table.csv`, one row each, as their publishers' own lists have them."""

import csv
import dataclasses
import difflib
import functools
import pathlib
import typing

from kerapose.types import Path

TABLE = pathlib.Path(__file__).with_name("table.csv")
LONGEST_NAME = 100
SAVED = "model.keras"  # what `save_preset` leaves in a folder, and a training in its own
CLASSES = pathlib.Path(__file__).with_name("classes")

# What a checkpoint is for; a "start" has no head for people: `weights.load_backbone` takes it.
TASKS = ("top-down pose", "bottom-up pose", "lifting", "skeleton actions", "video actions", "start")


@dataclasses.dataclass(frozen=True)
class Publisher:
    """Whose files they are.

    Args:
        key: short name in the table.
        name: as people know it.
        source: the list in which they stand.
        licence: what is said of the weights, or of the code that they come with. The data that they were trained on
            have terms of their own, mostly for research alone.
        measured: how figures were measured.
    """

    key: str
    name: str
    source: str
    licence: str
    measured: str


CLIPS = "10 clips a sequence, mirrored too, 2D poses of HRNet"
PUBLISHERS = {
    one.key: one
    for one in (
        Publisher(
            "mmpose",
            "MMPose",
            "open-mmlab/mmpose, configs/body_2d_keypoint/topdown_heatmap and topdown_regression",
            "Apache-2.0",
            "mirrored test; COCO val2017 with the boxes of a detector of 56.4 AP, MPII val with its own",
        ),
        Publisher(
            "rtmpose",
            "RTMPose",
            "open-mmlab/mmpose, projects/rtmpose",
            "Apache-2.0",
            "mirrored test; COCO and COCO-WholeBody val2017 with the boxes of a detector of 56.4 AP, MPII, AP-10K and "
            "hands with their own, Halpe's keypoints on Body8; of starts ImageNet val, or COCO val2017 with its own",
        ),
        Publisher(
            "princeton",
            "Princeton's stacked hourglass",
            "princeton-vl/pytorch_stacked_hourglass",
            "BSD-3-Clause",
            "MPII val, mirrored",
        ),
        Publisher(
            "lightweight_openpose",
            "Lightweight OpenPose",
            "Daniil-Osokin/lightweight-human-pose-estimation.pytorch",
            "not stated",
            "COCO val2017, one scale, one refinement stage of the three",
        ),
        Publisher(
            "open_model_zoo",
            "Open Model Zoo",
            "openvinotoolkit/open_model_zoo, models/intel/human-pose-estimation-0001",
            "Apache-2.0",
            "a part of COCO val2017",
        ),
        Publisher(
            "videopose3d",
            "VideoPose3D",
            "facebookresearch/VideoPose3D",
            "CC BY-NC 4.0, not for commerce",
            "mirrored test; Human3.6M S9 and S11, HumanEva-I's three subjects",
        ),
        Publisher(
            "pyskl",
            "PYSKL",
            "kennymckormick/pyskl, configs/posec3d and configs/rgbpose_conv3d",
            "Apache-2.0",
            CLIPS,
        ),
        Publisher("mmaction2", "MMAction2", "open-mmlab/mmaction2, configs/skeleton/posec3d", "Apache-2.0", CLIPS),
        Publisher(
            "torchvision", "torchvision", "pytorch/vision", "BSD-3-Clause", "ImageNet val; Kinetics-400 by video"
        ),
        Publisher("hrnet", "HRNet", "leoxiaobin/deep-high-resolution-net.pytorch", "MIT", ""),
        Publisher("keras", "Keras", "keras-team/keras, keras/src/applications", "Apache-2.0", "ImageNet val"),
    )
}


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a preset.

    Args:
        url: the publisher's own address.
        hashes: the SHA-256 that it may have, one for each release of the file, each whole or its beginning. (): none is
            published.

    Example:
        >>> from kerapose import presets
        >>> [file.name for file in presets.get("openpose_omz").files]
        ['human-pose-estimation-0001.xml', 'human-pose-estimation-0001.bin']
    """

    url: str
    hashes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published checkpoint.

    Args:
        name: its name here.
        task: one of `TASKS`.
        publisher: whose it is: its `name`, `source`, `licence`, and how the figures were `measured`.
        network: name of its class in `models`.
        variant: form of the class, a key of its `VARIANTS`.
        outputs: number of joints, heatmaps or classes.
        size: (height, width), pixels, of images, or of the volumes that it was trained on. None: the variant's.
        keypoints: names of the keypoint sets that go in and come out; () where none do.
        kind: codec of poses in images; "joint" or "limb" of volumes; "rgb", "pose" or "both" of videos; "relu6".
        classes: name of the list of its classes, for `class_names`; "" where there are none.
        files: to be fetched, each a `File`.
        figures: as published, "AP 0.718, AR 0.774".
        data: the data set that it was trained on.

    Example:
        >>> from kerapose import presets
        >>> preset = presets.get("hrnet_w32_coco_256x192_udp")
        >>> preset.network, preset.variant, preset.figures
        ('HRNet', 'w32', 'AP 0.762, AR 0.810')
        >>> preset.publisher.licence
        'Apache-2.0'
    """

    name: str
    task: str
    publisher: Publisher
    network: str
    variant: str
    outputs: int
    size: tuple[int, int] | None
    keypoints: tuple[str, ...]
    kind: str
    classes: str
    files: tuple[File, ...]
    figures: str
    data: str

    @property
    def published(self) -> dict[str, float]:
        """The figures by name, as numbers: shares from 0 to 1, or millimetres."""
        words = [figure.removesuffix(" mm").rsplit(" ", 1) for figure in self.figures.split(", ") if figure]
        return {name: float(number) for name, number in words}

    @property
    def counted(self) -> str:
        """The argument of the network that says how many outputs it has."""
        of_task = {"top-down pose": "num_joints", "bottom-up pose": "num_heatmaps", "lifting": "num_joints_out"}
        return of_task.get(self.task, "num_classes")

    @property
    def arguments(self) -> dict[str, typing.Any]:
        """What the network is built with besides its variant, by name."""
        shape = {"image_shape": (*self.size, 3)} if self.task == "top-down pose" else {}
        return {self.counted: self.outputs} | shape


@functools.cache
def _table():
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {row["name"]: _preset(row) for row in csv.DictReader(file)}


def _preset(row):
    addresses, hashes = row["url"].split(" "), row["sha256"].split(" ")
    files = [File(url, tuple(filter(None, of.split("/")))) for url, of in zip(addresses, hashes, strict=True)]
    return Preset(
        row["name"],
        row["task"],
        PUBLISHERS[row["publisher"]],
        row["network"],
        row["variant"],
        int(row["outputs"]),
        tuple(map(int, row["size"].split("x"))) if row["size"] else None,
        tuple(filter(None, row["keypoints"].split(">"))),
        row["kind"],
        row["classes"],
        tuple(files),
        row["figures"],
        row["data"],
    )


def names(task: str | None = None, network: str | None = None) -> list[str]:
    """The names of all presets, or of those for a task or of a class.

    Args:
        task: one of `TASKS`. None: any.
        network: name of a class in `models`. None: any.

    Returns:
        A list of names, in the order of the table.

    Raises:
        ValueError: if there is no such task, or no preset of such a class.

    Example:
        >>> from kerapose import presets
        >>> presets.names(task="lifting")
        ['lifter_h36m_cpn', 'lifter_h36m_coco', 'lifter_humaneva15_coco']
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}; use one of them.")
    classes = sorted({preset.network for preset in _table().values()})
    if network is not None and network not in classes:
        raise ValueError(f"There are presets of {', '.join(classes)}, got {network!r}; use one of them.")
    return [
        preset.name for preset in _table().values() if task in (None, preset.task) and network in (None, preset.network)
    ]


def is_name(text: Path) -> bool:
    """Whether a text is meant as a name of a preset, not as a path: there is no such file, and it looks like none.

    Args:
        text: name or path. A path with a folder or an ending is never a name.

    Returns:
        True for a name; a preset of it need not exist.

    Example:
        >>> from kerapose import presets
        >>> presets.is_name("lifter_h36m_cpn"), presets.is_name("runs/lifter/model.keras")
        (True, False)
    """
    path = pathlib.Path(text)
    if not isinstance(text, str) or len(text) > LONGEST_NAME or path.suffix or path.name != text:
        return False
    # A folder that happens to have the name of a preset hides it only where there is a model in it.
    return not (path / SAVED).is_file() if text in _table() else not path.exists()


def get(name: str) -> Preset:
    """The preset of a name.

    Args:
        name: one of `names`.

    Returns:
        The `Preset`; nothing is fetched.

    Raises:
        ValueError: if there is none; the message has the nearest names.

    Example:
        >>> from kerapose import presets
        >>> preset = presets.get("slowonly_ntu60_xsub_joint")
        >>> preset.data, preset.published
        ('NTU RGB+D', {'top-1': 0.937})
    """
    known = _table()
    if not isinstance(name, str):
        raise ValueError(f"A preset goes by its name, got {name!r}; presets.names() has all.")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:3]
        raise ValueError(
            f"There is no preset {name!r}, nor such a file or folder; the nearest are {', '.join(near)}, and "
            "presets.names() has all."
        )
    return known[name]


def class_names(classes: str) -> list[str]:
    """The names of the classes of a data set, in the order of its labels, as published networks have them.

    Args:
        classes: name of the list, as in `Preset.classes`: "ntu60", "ntu120", "kinetics400" and others.

    Returns:
        [C] names.

    Raises:
        ValueError: if there is no such list.

    Example:
        >>> from kerapose import presets
        >>> presets.class_names("ntu60")[:2]
        ['drink water', 'eat meal/snack']
    """
    path = CLASSES / f"{classes}.txt"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CLASSES.glob("*.txt")))
        raise ValueError(f"There are names of the classes of {known}, got {classes!r}; use one of them.")
    return path.read_text(encoding="utf-8").splitlines()
