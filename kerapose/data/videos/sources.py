"""Where videos with keypoints come from: arrays, a folder with an annotation file, prepared data sets."""

import os
import pathlib
from collections.abc import Iterable, Sequence

import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import clips, frames, gate, pyskl
from kerapose.data.clips import sources
from kerapose.data.videos.checks import note_video, probe
from kerapose.skeletons import Skeleton
from kerapose.types import ArrayLike, Path, Size

__all__ = [
    "NoVideoError",
    "from_arrays",
    "from_pyskl",
    "from_tfds",
]


class NoVideoError(gate.BadDataError, FileNotFoundError):
    """Clips that have no video; `names` are theirs, for the argument `skip` of `from_pyskl`.

    Example:
        >>> import os
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> os.makedirs("no_videos", exist_ok=True)
        >>> try:
        ...     videos.from_pyskl("no_videos", "clips.pkl", "train", skeletons.COCO)
        ... except videos.NoVideoError as error:
        ...     print(error.names)
        ('clip0', 'clip1')
    """


def from_arrays(
    videos: Sequence[Path | bytes],
    keypoints: Sequence[ArrayLike],
    labels: Sequence[int],
    skeleton: Skeleton,
    scores: Sequence[ArrayLike] | None = None,
    frame_sizes: Sequence[Size] | Size | None = None,
    names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> tf.data.Dataset:
    """A dataset of videos whose keypoints are in memory.

    Args:
        videos: list of paths or of contents of files (bytes).
        keypoints: list of [M, T, K, 2] (or [T, K, 2] for one person) arrays, pixels, x first; (0, 0) or NaN where
            missing. M may be 0.
        labels: list of class indices.
        skeleton: the `Skeleton` of the keypoints.
        scores: list of [M, T, K] (or [T, K]) arrays; missing where 0, whatever the place. None: 1 where a keypoint is
            not missing.
        frame_sizes: list of (height, width) that the keypoints refer to, pixels, or one pair for all. None: the videos'
            own.
        names: list of clip names. None: their numbers.
        num_classes: how many classes there are. None: not checked.

    Returns:
        A `tf.data.Dataset` of elements, with "path" if all videos are paths, else with "video".

    Raises:
        BadDataError: naming the clips that are not as described (see `check`), or have no such video.
        ValueError: if there are not as many videos, arrays and labels.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> element = next(iter(dataset))
        >>> element["path"].numpy(), tuple(element["keypoints"].shape), element["frame_size"].numpy().tolist()
        (b'walk.mp4', (2, 30, 17, 2), [240, 320])
    """
    if not len(videos) == len(keypoints) == len(labels):
        raise ValueError(
            f"Each video has its keypoints and one label, got {len(videos)} videos, {len(keypoints)} arrays of "
            f"keypoints and {len(labels)} labels; match them."
        )
    by_path = all(isinstance(video, str | os.PathLike) for video in videos)
    report = gate.Report("clips", ", or leave them out")
    names = [str(i) for i in range(len(videos))] if names is None else [str(name) for name in names]
    infos = [probe(report, video, name) for video, name in zip(videos, names, strict=True)]
    if frame_sizes is None:
        frame_sizes = [None if info is None else info.frame_size for info in infos]
    elements = sources.elements_of(report, keypoints, labels, skeleton, scores, frame_sizes, names, num_classes)
    for element, info in zip(elements, infos, strict=True):
        note_video(report, element, info)
    report.close()
    for element, video in zip(elements, videos, strict=True):
        content = video if isinstance(video, bytes) or by_path else pathlib.Path(video).read_bytes()
        element |= {"path": os.fspath(video)} if by_path else {"video": content}
    return sources.dataset_of(elements, range(len(elements)), skeleton, "path" if by_path else "video")


def from_pyskl(
    folder: Path, path: Path, split: str, skeleton: Skeleton, num_classes: int | None = None, skip: Iterable[str] = ()
) -> tf.data.Dataset:
    """A dataset of one split of a PYSKL annotation file and a folder of videos.

    The video of a clip is the file whose name, without its ending, is the clip's (`frame_dir`), or that with "_rgb"
    behind it, as NTU RGB+D has it; it may lie in any folder below, unless the clip's name says in which.

    Args:
        folder: where the videos are.
        path: of the annotation file, a pickle, which is read safely.
        split: name of a split in it ("xsub_train").
        skeleton: the `Skeleton` of its keypoints.
        num_classes: how many classes there are. None: not checked.
        skip: names of clips to leave out, such as those without a video.

    Returns:
        A `tf.data.Dataset` of elements, with "path". No video is opened yet: `check` does it.

    Raises:
        BadDataError: if the file or a clip in it is not as described; its `names` are those of the clips.
        ValueError: if it has no such split, no clip of a name to skip, or if a clip has two videos.
        FileNotFoundError: if there is no such file or folder, or (`NoVideoError`) no video of some clips.

    Example:
        >>> import os, shutil
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> os.makedirs("videos", exist_ok=True)
        >>> for name in ("clip0", "clip1"):  # clips of the split, and so the names of their videos
        ...     _ = shutil.copy("walk.mp4", f"videos/{name}.mp4")
        >>> dataset = videos.from_pyskl("videos", "clips.pkl", "train", skeletons.COCO, num_classes=2)
        >>> [element["path"].numpy() for element in dataset]
        [b'videos/clip0.mp4', b'videos/clip1.mp4']
    """
    annotations = pyskl.read_annotations(path, skeleton, num_classes, skip)
    names = annotations.names_of(split)
    elements = _Located(annotations.clips, _find_videos(folder, names))
    return sources.dataset_of(elements, names, skeleton, "path")


def from_tfds(name: str, split: str, data_dir: Path | None = None) -> tuple[tf.data.Dataset, "tfds.core.DatasetInfo"]:
    """A dataset of one split of a prepared TFDS dataset of videos, with its description.

    Args:
        name: of the dataset and its config ("puppets/videos", "penn_action", "jpeg_frames/penn_action").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.

    Returns:
        A `tf.data.Dataset` of elements, and the `tfds.core.DatasetInfo`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        ValueError: if it has no such split, or no videos.

    Example:
        >>> from kerapose.data import videos
        >>> dataset, info = videos.from_tfds("puppets/videos", "test", data_dir=".")
        >>> int(dataset.cardinality()), info.features["label"].names
        (2, ['walk', 'kick'])
    """
    dataset, info = clips.from_tfds(name, split, data_dir)
    if not {"video", "jpegs"} & set(dataset.element_spec):
        raise ValueError(
            f"A dataset of videos has them as `video` or `jpegs`, {name} has none; use another or `data.clips`."
        )
    return dataset, info


def _find_videos(folder, names):
    """The path of the video of each clip, by name."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; give the one that holds the videos.")
    found = frames.find(folder, names)
    lacking = [name for name, files in found.items() if not files]
    if lacking:
        others = [path.name for files in frames.find(folder, lacking, None).values() for path in files]
        but = f"; {gate.some(others)} may be of these, with an ending that no video has" if others else ""
        raise NoVideoError(
            f"{folder} must have a video of each of {len(found)} clips, it has none of {len(lacking)} "
            f"({gate.some(lacking)}{but}); add them, or leave the clips out by skip=error.names.",
            lacking,
        )
    twice = next((name for name, files in found.items() if len(files) > 1), None)
    if twice is not None:
        files = " and ".join(str(file.relative_to(folder)) for file in found[twice])
        raise ValueError(f"{folder} must have one video of a clip, it has {files} of {twice}; take one away.")
    return {name: file for name, (file,) in found.items()}


class _Located:
    """The clips of an annotation file, each with the path of its video."""

    def __init__(self, elements, paths):
        self._elements, self._paths = elements, paths

    def __getitem__(self, name):
        return self._elements[name] | {"path": str(self._paths[name])}
