"""Actions before a Kinect as 3D skeletons: Florence 3D and MSR Action3D; README.md says what the files hold."""

import dataclasses
import zipfile

import clip_records
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kerapose import skeletons
from kerapose.data.gate import poses

ARRAYS = {"joints": 3, "lengths": 1, "labels": 1, "subjects": 1, "names": 1}  # and how many axes they have
SPLITS = {"train": 1, "test": 0}  # what is left of the number of a subject when it is divided by 2


@dataclasses.dataclass(eq=False)
class KinectConfig(tfds.core.BuilderConfig):
    """One file, NAME.npz.

    Args:
        skeleton: the `Skeleton` of its joints.
        class_names: C names in the order of the labels; None: those of the file.
        mirrored: whether the file's axes are left-handed: x to the sensor's left, y away from it, z up. Else they are
            Kinect's own, y up.
    """

    skeleton: skeletons.Skeleton | None = None
    class_names: tuple[str, ...] = ()
    mirrored: bool = False


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the clips of one file, one person each; odd subjects to train, even ones to test."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        KinectConfig(
            name="florence3d",
            description="9 actions by 10 people, 15 joints",
            skeleton=skeletons.FLORENCE3D,
            class_names=(
                "wave", "drink", "answer phone", "clap", "tight lace", "sit down", "stand up", "read watch", "bow",
            ),
            mirrored=True,
        ),
        KinectConfig(
            name="msr_action3d",
            description="20 actions by 10 people, 20 joints",
            skeleton=skeletons.MSR_ACTION3D,
            class_names=(
                "high arm wave", "horizontal arm wave", "hammer", "hand catch", "forward punch", "high throw",
                "draw x", "draw tick", "draw circle", "hand clap", "two hand wave", "side boxing", "bend",
                "forward kick", "side kick", "jogging", "tennis swing", "tennis serve", "golf swing",
                "pick up and throw",
            ),
        ),
    ]  # fmt: skip

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self):  # noqa: N802, the name is TFDS's
        """One sentence for this config's file."""
        return f"{self.builder_config.name}.npz belongs in it; datasets/kinect_actions/README.md says what it holds."

    def _info(self):
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=clip_records.features(config.skeleton, config.class_names, is_3d=True),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(skeleton=config.skeleton.name),
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        arrays = read(dl_manager.manual_dir / f"{config.name}.npz", config)
        return {
            split: clip_records.checked_3d(split, self._generate_examples(arrays, odd), config.skeleton)
            for split, odd in SPLITS.items()
        }

    def _generate_examples(self, arrays, odd):
        config, ends = self.builder_config, np.cumsum(arrays["lengths"])
        for index in np.flatnonzero(arrays["subjects"] % 2 == odd):
            joints = arrays["joints"][ends[index] - arrays["lengths"][index] : ends[index]]  # [T, K, 3]
            joints = joints * np.float32([-1, 1, 1]) if config.mirrored else poses.to_world(joints, "y")
            label, subject = int(arrays["labels"][index]), int(arrays["subjects"][index])
            name = f"{config.class_names[label].replace(' ', '_')}_s{subject:02d}_{index:03d}"
            seen = (joints != 0).any(axis=-1)
            yield (
                name,
                {
                    "poses_m": joints[None].astype(np.float32),  # [1, T, K, 3]
                    "scores": seen[None].astype(np.float32),
                    "label": label,
                    "name": name,
                },
            )


def read(path, config):
    """Reads the arrays of a file and checks that they fit together.

    Args:
        path: of the .npz file.
        config: its `KinectConfig`.

    Returns:
        A dict of the arrays named in `ARRAYS`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, lacks an array, or has arrays that do not fit together.

    Example:
        >>> read("florence3d.npz", Builder.builder_configs["florence3d"])["joints"].shape
        (4016, 15, 3)
    """
    if not epath.Path(path).exists():
        raise FileNotFoundError(f"There is no {path}; put it there, or give its folder as --manual_dir.")
    try:
        with epath.Path(path).open("rb") as file, np.load(file) as content:
            arrays = {name: content[name] for name in ARRAYS}
    except KeyError as error:
        raise ValueError(f"{path} must have the arrays {', '.join(ARRAYS)}: {error}; make it anew.") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} must be a whole .npz file without pickles: {error}; make it anew.") from None
    _check(path, arrays, config)
    return arrays


def _check(path, arrays, config):
    num_keypoints, num_classes = config.skeleton.num_keypoints, len(config.class_names)
    joints, lengths, labels, subjects = (arrays[name] for name in ("joints", "lengths", "labels", "subjects"))
    checks = {
        f"{', '.join(ARRAYS)} must have {', '.join(map(str, ARRAYS.values()))} axes": all(
            arrays[name].ndim == axes for name, axes in ARRAYS.items()
        ),
        f"joints must be [frames, {num_keypoints}, 3]": joints.shape[1:] == (num_keypoints, 3),
        "lengths, labels and subjects must be one whole number a clip": len({len(lengths), len(labels), len(subjects)})
        == 1
        and all(array.dtype.kind in "iu" for array in (lengths, labels, subjects)),
        "lengths must be above 0 and add up to the frames": (lengths > 0).all() and lengths.sum() == len(joints),
        f"labels must lie from 0 to {num_classes - 1}": np.isin(labels, range(num_classes)).all(),
        f"names must be those of {num_classes} classes": len(arrays["names"]) == num_classes,
        "some subjects must be odd and some even": {0, 1} <= set((subjects % 2).tolist()),
    }
    for rule, holds in checks.items():
        if not holds:
            raise ValueError(f"{path}: {rule}; make the file anew.")
