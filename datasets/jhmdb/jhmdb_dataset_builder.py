"""Ground-truth skeletons of JHMDB, 14 classes in three splits; README.md says where to get them."""

import zipfile

import clip_records
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kerapose.data.pickles import load_pickle
from kerapose.skeletons import JHMDB

FILE = "jhmdb_gt.npz"
ADDRESS = "https://github.com/fandulu/DD-Net/tree/master/data/JHMDB"
CLASSES = (
    "catch", "clap", "golf", "jump", "pick", "pour", "pullup",
    "push", "run", "sit", "stand", "throw", "walk", "wave",
)  # fmt: skip
SPLITS = ("train1", "test1", "train2", "test2", "train3", "test3")
ARRAYS = ("keypoint", "offsets", "label", "frame_dir", "class_names", "img_shape", *SPLITS)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the clips of `jhmdb_gt.npz`, one person each."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"GT_train_1.pkl to GT_test_3.pkl belong in it, download the six from {ADDRESS}; or {FILE}, which is the same."
    )

    def _info(self):
        return self.dataset_info_from_configs(
            features=clip_records.features(JHMDB, CLASSES),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(skeleton=JHMDB.name),
        )

    def _split_generators(self, dl_manager):
        folder = dl_manager.manual_dir
        arrays = read(folder / FILE) if (folder / FILE).exists() else read_ddnet(folder)
        return {split: clip_records.checked(split, self._generate_examples(arrays, split), JHMDB) for split in SPLITS}

    def _generate_examples(self, arrays, split):
        for index in arrays[split]:
            keypoints = arrays["keypoint"][arrays["offsets"][index] : arrays["offsets"][index + 1]]  # [T, K, 2]
            name = str(arrays["frame_dir"][index])
            yield (
                name,
                {
                    "keypoints": keypoints[None].astype(np.float32),  # [1, T, K, 2]
                    "scores": np.ones((1, *keypoints.shape[:2]), np.float32),
                    "frame_size": arrays["img_shape"].astype(np.int32),
                    "label": int(arrays["label"][index]),
                    "name": name,
                },
            )


def read(path):
    """Reads the arrays of the file and checks that they fit together.

    Args:
        path: `jhmdb_gt.npz`.

    Returns:
        A dict of the arrays named in `ARRAYS`.

    Raises:
        ValueError: when the file is damaged, lacks an array, has other classes or arrays that do not fit together.

    Example:
        >>> read("jhmdb_gt.npz")["keypoint"].shape
        (21126, 15, 2)
    """
    try:
        with epath.Path(path).open("rb") as file, np.load(file) as content:
            arrays = {name: content[name] for name in ARRAYS}
    except KeyError as error:
        raise ValueError(f"{path} must have the arrays {', '.join(ARRAYS)}: {error}; make it anew.") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} must be a whole .npz file without pickles: {error}; make it anew.") from None
    if arrays["class_names"].tolist() != list(CLASSES):
        raise ValueError(f"{path} must have the classes {', '.join(CLASSES)}, got {arrays['class_names'].tolist()}.")
    _check(path, arrays)
    return arrays


def read_ddnet(folder):
    """Reads the six pickles of DD-Net, one for each part of each split, into the arrays of `jhmdb_gt.npz`.

    The pickles have neither clip names nor pixels. A clip is known by its poses, which are the same in all splits, and
    is named after its class, `catch_000`, in the order of GT_train_1 and GT_test_1. DD-Net keeps JHMDB's `pos_world`,
    (pixel - (160, 120)) / (240 scale) with the person's scale, which is not kept; 0.5 is taken for everybody.

    Args:
        folder: where GT_train_1.pkl to GT_test_3.pkl are.

    Returns:
        A dict of the arrays named in `ARRAYS`.

    Raises:
        FileNotFoundError: when one of the six is not there.
        ValueError: when a file is damaged, has another class, or a clip that split 1 lacks.

    Example:
        >>> read_ddnet("DD-Net/data/JHMDB")["test1"].shape
        (176,)
    """
    parts = {split: _read_part(folder, f"GT_{split[:-1]}_{split[-1]}.pkl") for split in SPLITS}
    # Split 1 has every clip. The sort by label is stable, so within a class its training clips come first.
    clips = sorted(parts["train1"] + parts["test1"], key=lambda clip: clip[0])
    index = {poses.tobytes(): number for number, (_, poses) in enumerate(clips)}
    label = np.array([label for label, _ in clips])
    number_in_class = np.arange(len(clips)) - np.searchsorted(label, label)
    arrays = {
        "keypoint": (np.concatenate([poses for _, poses in clips]) * 120 + (160, 120)).astype(np.float32),
        "offsets": np.cumsum([0] + [len(poses) for _, poses in clips]),
        "label": label,
        "frame_dir": np.array([f"{CLASSES[c]}_{number:03d}" for c, number in zip(label, number_in_class, strict=True)]),
        "class_names": np.array(CLASSES),
        "img_shape": np.array([240, 320]),
    }
    for split, part in parts.items():
        unknown = [label for label, poses in part if poses.tobytes() not in index]
        if unknown:
            raise ValueError(
                f"{folder}: every clip of {split} must be in split 1 too, {len(unknown)} are not; "
                "take all six files from one place."
            )
        arrays[split] = np.sort([index[poses.tobytes()] for _, poses in part])
    _check(folder, arrays)
    return arrays


def _read_part(folder, file):
    """The clips of one pickle, pairs of a label and poses `[T, 15, 2]`."""
    path = folder / file
    if not path.exists():
        raise FileNotFoundError(f"There is no {file}, nor {FILE}, in {folder}; download the six from {ADDRESS}.")
    content = load_pickle(path)
    try:
        labels = [CLASSES.index(name) for name in content["label"]]
        poses = [np.ascontiguousarray(pose, np.float64) for pose in content["pose"]]
        if any(pose.shape[1:] != (JHMDB.num_keypoints, 2) for pose in poses):
            raise ValueError("a pose is not [frames, 15, 2]")
        return list(zip(labels, poses, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must have a `pose` and a `label` of {', '.join(CLASSES)} for each clip: {error}."
        ) from None


def _check(path, arrays):
    frames, clips = len(arrays["keypoint"]), len(arrays["label"])
    offsets, img_shape = arrays["offsets"], arrays["img_shape"]
    checks = {
        "keypoint must be [frames, 15, 2]": arrays["keypoint"].shape == (frames, JHMDB.num_keypoints, 2),
        "keypoint must be finite": np.isfinite(arrays["keypoint"]).all(),
        "offsets must be one more than the clips": offsets.shape == (clips + 1,),
        "offsets must start at 0 and end at the number of frames": offsets[[0, -1]].tolist() == [0, frames],
        "offsets must rise": (np.diff(offsets) > 0).all(),
        "label must lie from 0 to 13": np.isin(arrays["label"], range(len(CLASSES))).all(),
        "frame_dir must have a name of its own for each clip": len(set(arrays["frame_dir"].tolist())) == clips,
        "img_shape must be height and width": img_shape.shape == (2,) and (img_shape > 0).all(),
    }
    for split in SPLITS:
        indices = arrays[split]
        checks[f"{split} must name clips that are there, each once"] = (
            indices.size > 0 and np.isin(indices, range(clips)).all() and np.unique(indices).size == indices.size
        )
    for rule, holds in checks.items():
        if not holds:
            raise ValueError(f"{path}: {rule}; make the file anew.")
