"""Keypoint clips from the annotation files of PYSKL and MMAction2; README.md says where to get them."""

import dataclasses
import re

import clip_records
import tensorflow_datasets as tfds

from kerapose import skeletons
from kerapose.data import labels, pyskl

ADDRESS = "https://download.openmmlab.com/mmaction/pyskl/data"


@dataclasses.dataclass(eq=False)
class PysklConfig(tfds.core.BuilderConfig):
    """One annotation file.

    Args:
        files: the names the file may have in the manual folder; for a file of one's own, its one path.
        address: where the file is published; None for a file of one's own.
        num_classes: C.
        class_names: C names, None where they are not known.
        skeleton: name of the keypoint set, None where it is not known.
        num_keypoints: K.
        skip: names of clips to leave out.
        is_3d: whether its skeletons are 3D ones.
        up: which axis of 3D skeletons is up.
    """

    files: tuple[str, ...] = ()
    address: str | None = None
    num_classes: int = 0
    class_names: tuple[str, ...] | None = None
    skeleton: str | None = None
    num_keypoints: int = 0
    skip: tuple[str, ...] = ()
    is_3d: bool = False
    up: str = "y"


def published(name, address, mmaction_file, num_classes, skeleton=skeletons.COCO):
    """The config of a file that PYSKL publishes: COCO keypoints, detected by HRNet, or Kinect's 3D skeletons."""
    return PysklConfig(
        name=name,
        description=f"{address.rpartition('/')[2]}, {num_classes} classes",
        files=(address.rpartition("/")[2], mmaction_file),
        address=f"{ADDRESS}/{address}",
        num_classes=num_classes,
        skeleton=skeleton.name,
        num_keypoints=skeleton.num_keypoints,
        is_3d=skeleton is skeletons.NTU,
    )


def own(name, file, num_classes=None, class_names=None, skeleton=None, skip=(), up="y"):
    """Makes the config of a file of one's own.

    Args:
        name: what the data set is called after the slash, "custom" or any name that is not a published one's.
        file: path of the annotation file; its number of keypoints is read from it.
        num_classes: C; may be left out where there are class names.
        class_names: path of a text file with one class name a line, in the order of the labels.
        skeleton: name of the keypoint set, as in `kerapose.skeletons`.
        skip: names of clips to leave out, such as those of the error that refused the file.
        up: which axis of 3D skeletons is up, "y" or "z"; None: 3D skeletons are refused.

    Returns:
        A `PysklConfig`.

    Raises:
        FileNotFoundError: when one of the files is not there.
        ValueError: when the annotation file is bad, the name taken, or the classes are settled by neither argument or
            differently by the two.

    Example:
        >>> Builder(config=own("dance", "dance.pkl", class_names="dance.txt", skeleton="coco")).download_and_prepare()
    """
    if name in Builder.builder_configs:
        raise ValueError(f"A file of your own must not be called {name}, which is a published one; use custom.")
    names = labels.read_class_names(class_names) if class_names else None
    if num_classes is None and names is None:
        raise ValueError(f"The number of classes in {file} must be known; give num_classes or class_names.")
    if names and num_classes not in (None, len(names)):
        raise ValueError(
            f"{class_names} must have one name for each class, got {len(names)} names and num_classes {num_classes}."
        )
    num_classes = len(names) if names else num_classes
    annotations = pyskl.read_annotations(file, skeletons.get(skeleton) if skeleton else None, num_classes, skip, up)
    return PysklConfig(
        name=name,
        description=f"{num_classes} classes, {annotations.num_keypoints} keypoints",
        files=(str(file),),
        num_classes=num_classes,
        class_names=names and tuple(names),
        skeleton=skeleton,
        num_keypoints=annotations.num_keypoints,
        skip=tuple(skip),
        is_3d=annotations.is_3d,
        up=up,
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds one config: the splits, clips and labels of one annotation file."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        published("ntu60", "nturgbd/ntu60_hrnet.pkl", "ntu60_2d.pkl", 60),
        published("ntu120", "nturgbd/ntu120_hrnet.pkl", "ntu120_2d.pkl", 120),
        published("ntu60_3d", "nturgbd/ntu60_3danno.pkl", "ntu60_3d.pkl", 60, skeletons.NTU),
        published("ntu120_3d", "nturgbd/ntu120_3danno.pkl", "ntu120_3d.pkl", 120, skeletons.NTU),
        published("gym", "gym/gym_hrnet.pkl", "gym_2d.pkl", 99),
        published("k400", "k400/k400_hrnet.pkl", "k400_2d.pkl", 400),
        published("diving48", "diving48/diving48_hrnet.pkl", "diving48_2d.pkl", 48),
        published("ucf101", "ucf101/ucf101_hrnet.pkl", "ucf101_2d.pkl", 101),
        published("hmdb51", "hmdb51/hmdb51_hrnet.pkl", "hmdb51_2d.pkl", 51),
    ]

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self):  # noqa: N802, the name is TFDS's
        """One sentence for this config's file; None for a file of one's own, which is where its path says."""
        config = self.builder_config
        if config.address is None:
            return None
        return f"{config.files[0]} belongs in it; download it from {config.address}."

    def _info(self):
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=clip_records.features(
                config.num_keypoints, config.class_names or config.num_classes, is_3d=config.is_3d
            ),
            supervised_keys=None,
            metadata=metadata(config),
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        skeleton = skeletons.get(config.skeleton) if config.skeleton else None
        up = config.up if config.is_3d else None
        annotations = pyskl.read_annotations(self._file(dl_manager), skeleton, config.num_classes, config.skip, up)
        for split, names in annotations.splits.items():
            check_split(split, names)
        return {split: self._generate_examples(annotations, names) for split, names in annotations.splits.items()}

    def _file(self, dl_manager):
        if self.builder_config.address is None:
            return self.builder_config.files[0]
        folder = dl_manager.manual_dir
        for name in self.builder_config.files:
            if (folder / name).exists():
                return folder / name
        names = " or ".join(self.builder_config.files)
        raise FileNotFoundError(
            f"There is no {names} in {folder}; download it from {self.builder_config.address} and put it there."
        )

    def _generate_examples(self, annotations, names):
        for name in names:
            yield name, annotations.clips[name]


def metadata(config):
    """What is kept of a config: its skeleton, and which clips were left out if some were."""
    left_out = {"left_out": list(config.skip)} if config.skip else {}
    return tfds.core.MetadataDict(skeleton=config.skeleton, **left_out)


def check_split(split, names):
    """A split TFDS cannot write is refused before anything is written."""
    if not re.fullmatch(r"[\w-]+", split) or split.lower() == "all":
        raise ValueError(
            f"A split's name must be letters, digits, _ or - and not 'all', got {split!r}; rename it in the file."
        )
    if not names:
        raise ValueError(f"A split must have at least one clip, {split!r} has none; take it out of the file.")
