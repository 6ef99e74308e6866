"""Whether a network could be trained on videos with keypoints."""

import os
import typing

import tensorflow as tf

from kerapose.data import frames, gate
from kerapose.data import images as image_files
from kerapose.data.clips import checks
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.videos.pictures import called
from kerapose.skeletons import Skeleton
from kerapose.types import Path

__all__ = [
    "check",
]


def check(dataset: tf.data.Dataset, skeleton: Skeleton, num_classes: int) -> int:
    """Reads a whole dataset once and raises if a network could not be trained on it; what is only odd is logged.

    Of each video the frames are counted, and the first one is decoded. One warning names those of which something is
    lost; damaged frames are told of when they are read.

    Args:
        dataset: of elements.
        skeleton: the `Skeleton` that its keypoints should have.
        num_classes: how many classes there are.

    Returns:
        How many clips there are.

    Raises:
        BadDataError: naming all clips whose keypoints, scores or label `data.clips.check` refuses, and whose video
            cannot be read, has another number of frames than the keypoints, or frames of another shape than theirs.
            Its `names` are for `skip`.
        ValueError: if there is no clip at all.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> videos.check(dataset, skeletons.COCO, num_classes=2)
        1
    """

    def note(report, raw, element):
        if "jpegs" in raw:
            info = _probe_jpegs(report, raw["jpegs"], element["name"])
        else:
            info = probe(report, raw["video"] if "video" in raw else os.fsdecode(raw["path"]), element["name"])
        note_video(report, element, info)

    return checks.check_elements(dataset, skeleton, num_classes, note)


def probe(report: gate.Report, video: Path | bytes, name: str) -> frames.VideoInfo | None:
    """What there is in the video of a clip, a path or bytes; None, and noted, if it cannot be read."""
    try:
        return frames.probe(video, called(video, name), tell=False)
    except (ValueError, OSError) as error:
        report.note(sequence_gate.VIDEO, name, str(error).rstrip("."))
        return None


def _probe_jpegs(report, jpegs, name):
    """The same of frames one by one."""
    try:
        size = image_files.decode(jpegs[0]).shape[:2]
    except (ValueError, IndexError, tf.errors.OpError) as error:
        report.note(sequence_gate.VIDEO, name, f"{error}".rstrip("."))
        return None
    return frames.VideoInfo(len(jpegs), tuple(size), fps=0.0)


def note_video(report: gate.Report, element: dict[str, typing.Any] | None, info: frames.VideoInfo | None) -> None:
    """Notes if a video is not that of the keypoints, where both could be read."""
    if element is not None and info is not None:
        length, size, name = element["keypoints"].shape[1], element["frame_size"], element["name"]
        sequence_gate.note_video(report, length, size, info, name, frames.same_shape)
