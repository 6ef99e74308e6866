"""Penn Action, from its published folder of frames and labels; README.md tells more."""

import logging

import clip_records
import image_records
import numpy as np
import tensorflow_datasets as tfds
from mpii import mat5

from kerapose.data import frames, gate
from kerapose.skeletons import PENN_ACTION

ADDRESS = "http://dreamdragon.github.io/PennAction"
ACTIONS = (
    "baseball_pitch", "baseball_swing", "bench_press", "bowl", "clean_and_jerk", "golf_swing", "jump_rope",
    "jumping_jacks", "pullup", "pushup", "situp", "squat", "strum_guitar", "tennis_forehand", "tennis_serve",
)  # fmt: skip
SPLITS = {1: "train", -1: "test"}  # by the field `train` of a label
FIELDS = ("action", "train", "x", "y", "visibility", "nframes", "dimensions")
FPS = 30  # what a container has to name; the data set does not say how fast its frames follow one another

_log = logging.getLogger("kerapose.datasets.penn_action")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the videos of Penn Action with their annotated joints, one person each."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"frames/ and labels/ belong in it, as Penn_Action.tar.gz of {ADDRESS} has them; unpack it and name its folder."
    )

    def _info(self):
        return self.dataset_info_from_configs(
            features=clip_records.features(PENN_ACTION, ACTIONS, with_video=True),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(skeleton=PENN_ACTION.name),
        )

    def _split_generators(self, dl_manager):
        folder = dl_manager.manual_dir
        missing = [f"{name}/" for name in ("frames", "labels") if not (folder / name).is_dir()]
        if missing:
            raise FileNotFoundError(
                f"There is no {' nor '.join(missing)} in {folder}. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        clips = read_labels(folder / "labels")
        check_frames(folder / "frames", clips)
        splits = {split: [clip for clip in clips if clip["split"] == split] for split in SPLITS.values()}
        empty = [split for split, chosen in splits.items() if not chosen]
        if empty:
            raise ValueError(f"{folder / 'labels'} must have labels of {empty[0]} clips, it has none; get it anew.")
        return {
            split: clip_records.checked(split, self._generate_examples(split, folder / "frames", chosen), PENN_ACTION)
            for split, chosen in splits.items()
        }

    def _generate_examples(self, split, folder, clips):
        files = image_records.ImageFiles(split, folder)
        for clip in clips:
            size = tuple(clip["frame_size"].tolist())
            images = [files.read(f"{clip['name']}/{name}", size) for name in frame_names(clip)]
            if None in images:
                continue  # `close` refuses the split
            try:
                video = frames.wrap_jpegs([encoded for encoded, _ in images], FPS)
            except ValueError as error:  # another kind of file, say
                raise ValueError(f"{folder / clip['name']}: {error}") from None
            yield (
                clip["name"],
                {"video": video}
                | {key: value for key, value in clip.items() if key != "split"}
                | {"label": ACTIONS.index(clip["label"])},
            )
        files.close()


def read_labels(folder):
    """Reads all labels.

    Args:
        folder: has 0001.mat, 0002.mat and so on.

    Returns:
        A list of what `read_label` gives, in the order of the names.

    Raises:
        FileNotFoundError: when there is no label.
        ValueError: when one is damaged or at odds with itself.
    """
    paths = sorted(folder.glob("*.mat"))
    if not paths:
        raise FileNotFoundError(f"There is no label 0001.mat in {folder}. {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    clips, lost = zip(*map(read_label, paths), strict=True)
    if any(lost):
        _log.warning(
            "%s: %d visible joints in %d labels are not finite; taken as missing, score 0.",
            folder,
            sum(lost),
            np.count_nonzero(lost),
        )
    return list(clips)


def read_label(path):
    """Reads the label of one clip.

    A joint that is not visible is (0, 0) with score 0; all others have score 1.

    Args:
        path: a file like 0001.mat.

    Returns:
        dict: "keypoints" float32 [1, T, 13, 2], pixels, "scores" float32 [1, T, 13], "frame_size" int32 [2], "label",
        the action, "name" and "split"; and how many visible joints have a place that is not finite.

    Raises:
        ValueError: when the file is damaged, lacks a field, or its fields do not fit together.
    """
    content = mat5.read(path)
    lacking = [field for field in FIELDS if field not in content]
    if lacking:
        raise ValueError(
            f"{path} must have the fields {', '.join(FIELDS)}, it lacks {', '.join(lacking)}; get it anew."
        )
    _check_label(path, content)
    keypoints = np.stack([content["x"], content["y"]], axis=-1)  # [T, K, 2]
    visible = content["visibility"] > 0
    found = visible & np.isfinite(keypoints).all(axis=-1)
    clip = {
        "keypoints": np.where(found[..., None], keypoints, 0)[None].astype(np.float32),  # [1, T, K, 2]
        "scores": found[None].astype(np.float32),
        "frame_size": content["dimensions"].ravel()[:2].astype(np.int32),
        "label": content["action"],
        "name": path.stem,
        "split": SPLITS[content["train"].item()],
    }
    return clip, np.count_nonzero(visible & ~found)


def _check_label(path, content):
    action, train = content["action"], np.ravel(content["train"]).tolist()
    if not isinstance(action, str) or action not in ACTIONS:
        raise ValueError(f"{path}: `action` must be one of {', '.join(ACTIONS)}, got {action!r}; get it anew.")
    if train not in ([1], [-1]):
        raise ValueError(f"{path}: `train` must be 1 or -1, got {train}; get it anew.")
    shapes = {name: np.shape(content[name]) for name in ("x", "y", "visibility")}
    num_frames = shapes["x"][0] if shapes["x"] else 0
    if num_frames < 1 or set(shapes.values()) != {(num_frames, PENN_ACTION.num_keypoints)}:
        raise ValueError(
            f"{path}: `x`, `y` and `visibility` must each be [frames, {PENN_ACTION.num_keypoints}], got "
            f"{', '.join(map(str, shapes.values()))}; get it anew."
        )
    nframes, dimensions = np.ravel(content["nframes"]).tolist(), np.ravel(content["dimensions"]).tolist()
    if nframes != [num_frames] or dimensions[2:] != [num_frames]:
        raise ValueError(
            f"{path}: `nframes` and the third of `dimensions` must be the {num_frames} rows of `x`, got {nframes} and "
            f"{dimensions}; get it anew."
        )


def check_frames(folder, clips):
    """Compares the files of the frames with the labels, before any is read.

    Args:
        folder: has a folder of JPEG files for each clip.
        clips: a list of what `read_label` gives.

    Raises:
        FileNotFoundError: when frames are missing.
        ValueError: when there are more frames than the labels have, or clips without a label.
    """
    missing, unlabelled = [], []
    for clip in clips:
        wanted = set(frame_names(clip))
        found = {path.name for path in (folder / clip["name"]).glob("*.jpg")}
        missing += [f"{clip['name']}/{name}" for name in sorted(wanted - found)]
        unlabelled += [f"{clip['name']}/{name}" for name in sorted(found - wanted)]
    labelled = {clip["name"] for clip in clips}
    unlabelled += [f"{path.name}/" for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in labelled]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} frames that labels tell of are not in {folder} ({gate.some(missing)}); unpack "
            "the archive anew."
        )
    if unlabelled:
        raise ValueError(
            f"Each frame in {folder} must have a row in its clip's label, {len(unlabelled)} have none "
            f"({gate.some(unlabelled)}); unpack the archive anew, or move them away."
        )


def frame_names(clip):
    """The names of a clip's frames in their order."""
    return [f"{number:06d}.jpg" for number in range(1, clip["keypoints"].shape[1] + 1)]
