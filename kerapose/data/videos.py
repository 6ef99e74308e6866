"""The pipeline of video and skeleton together: encoded videos with keypoints to batches of clips of both.

Every source yields the same element, that of `data.clips` with its video, and every step is a pure function of it::

    {"video": the content of a file, MP4, AVI, MKV ..., "keypoints": [M, T, K, 2] pixels, "scores": [M, T, K],
     "frame_size": [2] height and width that the keypoints refer to, "label": int, "name": str}

In place of "video" it may have "path", a file to be read when its turn comes, or "jpegs": [T] contents of JPEG files,
the frames one by one, which TensorFlow decodes by itself. T is the number of frames of the video, and keypoints of
index t belong to its t-th frame in the order of presentation, whatever the frame rate does.

Batches are ({"rgb": [B, L, h, w, 3] normalized, "keypoints": [B, M, L', K, 2] pixels of the pose volume, "scores":
[B, M, L', K]}, labels [B]); for a network of one pathway the keys of the other are left out, and no video is decoded
for keypoints alone. Frames and keypoints are cut out, resized and mirrored together. Videos stay encoded until their
clip is made, and then only the frames are decoded that it has. `data.clips.convert`, `mirrors.mirrored_labels`,
`data.clips.skip` and `data.clips.trainable` serve here too, the latter two under this name as well.
"""

import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose import mirrors
from kerapose.data import clips, frames, gate, order, prepared, pyskl, service
from kerapose.data import images as image_files
from kerapose.data.clips import checks, sources
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.shapes import check_positive
from kerapose.ops import clips as clip_ops
from kerapose.ops import images as image_ops
from kerapose.ops import sequences
from kerapose.ops.graphs import ops
from kerapose.skeletons import Skeleton
from kerapose.types import ArrayLike, Path, Shape, Size, Tensor

__all__ = [
    "BadDataError",
    "NoVideoError",
    "NotPreparedError",
    "check",
    "darkened",
    "decode",
    "evaluation",
    "from_arrays",
    "from_pyskl",
    "from_tfds",
    "missed",
    "sampled",
    "skip",
    "trainable",
    "training",
]

NotPreparedError = prepared.NotPreparedError
BadDataError = gate.BadDataError
skip = clips.skip
trainable = clips.trainable
VIDEO_FIELDS = ("video", "path", "jpegs")  # of which an element has one
SHUFFLE_BUFFER = 1024  # videos; 1.5 GB of NTU RGB+D's
NUM_CROP_UNIFORMS = 22  # of `ops.boxes.random_crop_box`
NUM_UNIFORMS = 1 + 3 + NUM_CROP_UNIFORMS  # mirror, colours, crop


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


# ---------------------------------------- sources
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
    infos = [_probe(report, video, name) for video, name in zip(videos, names, strict=True)]
    if frame_sizes is None:
        frame_sizes = [None if info is None else info.frame_size for info in infos]
    elements = sources.elements_of(report, keypoints, labels, skeleton, scores, frame_sizes, names, num_classes)
    for element, info in zip(elements, infos, strict=True):
        _note_video(report, element, info)
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


# ---------------------------------------- checks
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
            info = _probe(report, raw["video"] if "video" in raw else os.fsdecode(raw["path"]), element["name"])
        _note_video(report, element, info)

    return checks.check_elements(dataset, skeleton, num_classes, note)


def _probe(report, video, name):
    """What there is in the video of a clip, a path or bytes; None, and noted, if it cannot be read."""
    try:
        return frames.probe(video, _called(video, name), tell=False)
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


def _note_video(report, element, info):
    """Notes if a video is not that of the keypoints, where both could be read."""
    if element is not None and info is not None:
        length, size, name = element["keypoints"].shape[1], element["frame_size"], element["name"]
        sequence_gate.note_video(report, length, size, info, name, frames.same_shape)


# ---------------------------------------- frames
def decode(video: Tensor, indices: Tensor, name: Tensor = "", is_path: bool = False) -> Tensor:
    """Decodes some frames of a video, and of the others only what these need.

    In the place of a frame that cannot be decoded stands the nearest one, and one warning a video says so.

    Args:
        video: scalar string, the content of a file.
        indices: [L] int32, frames in the order of presentation, counted from 0; in any order, any of them twice.
        name: scalar string, what errors call the video.
        is_path: whether `video` is the path of a file, which is then not read as a whole.

    Returns:
        [L, H, W, 3] uint8, RGB.

    Raises:
        tf.errors.InvalidArgumentError: when run, naming the video, if it cannot be read or has no such frame.

    Example:
        >>> import pathlib
        >>> from kerapose.data import videos
        >>> frames = videos.decode(pathlib.Path("walk.mp4").read_bytes(), [0, 10, 20])
        >>> tuple(frames.shape), frames.dtype.name
        ((3, 240, 320, 3), 'uint8')
    """

    def read(video, indices, name):
        video, name = (x.item() if isinstance(x, np.ndarray) else x for x in (video, name))  # arrays where eager
        return _read_frames(os.fsdecode(video) if is_path else video, indices, name.decode())

    indices, name = tf.convert_to_tensor(indices, tf.int32), tf.convert_to_tensor(name)
    # Declared stateless, which it is: tf.data would otherwise run one at a time where operations are deterministic.
    decoded = tf.numpy_function(read, [video, indices, name], tf.uint8, stateful=False)
    return tf.ensure_shape(decoded, (indices.shape[0], None, None, 3))


def sampled(
    element: Mapping[str, Tensor],
    rgb_frames: int | None = None,
    pose_frames: int | None = None,
    num_clips: int = 10,
    aligned: bool = True,
) -> dict[str, Tensor]:
    """What `estimators.VideoRecognizer.recognize` takes of a video: the frames of its clips, and all keypoints.

    A map for a dataset of elements, to be batched by one, since videos differ in length and size. The frames are whole
    ones: 80 of them have half a gigabyte at 1920 x 1080 pixels, so do not prefetch many.

    Args:
        element: one element.
        rgb_frames: pictures a clip, L. None: the network sees none, and "frames" is left out.
        pose_frames: poses a clip, L'. None: the network sees none.
        num_clips: clips a video, N.
        aligned: see `ops.sequences.sample_rgb_and_pose`.

    Returns:
        {"frames": [N*L, H, W, 3] uint8, the clips one after the other, "keypoints": [M, T, K, 2] float32, "scores":
        [M, T, K] float32, "frame_size": [2] int32}.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> inputs = dataset.map(lambda element: videos.sampled(element, rgb_frames=4, num_clips=2))
        >>> {name: tuple(array.shape) for name, array in next(iter(inputs)).items()}  # 2 clips of 4 frames
        {'keypoints': (2, 30, 17, 2), 'scores': (2, 30, 17), 'frames': (8, 240, 320, 3), 'frame_size': (2,)}
    """
    rgb = None
    if rgb_frames:
        rgb, _ = _sample(tf.shape(element["keypoints"])[1], rgb_frames, pose_frames, num_clips, aligned)  # [N, L]
        rgb = tf.reshape(rgb, (-1,))
    return _clip(element, rgb) | {"frame_size": element["frame_size"]}


def darkened(frames: Tensor, seeds: Tensor, light: float = 0.05, noise_levels: float = 4.0) -> Tensor:
    """Frames as if there had been little light: darker by a factor, with the noise of the sensor.

    Args:
        frames: [..., H, W, C] uint8.
        seeds: [2] ints; the same seeds give the same noise.
        light: what remains of the brightness.
        noise_levels: standard deviation of the noise, in levels of 0 .. 255, of each pixel and colour for itself.

    Returns:
        [..., H, W, C] uint8.

    Example:
        >>> from kerapose.data import videos
        >>> dark = videos.darkened(image, seeds=[0, 1], light=0.1)
        >>> round(float(image.mean())), round(float(np.asarray(dark).mean()))
        (119, 12)
    """
    frames = tf.convert_to_tensor(frames)
    noise = tf.random.stateless_normal(tf.shape(frames), seeds, stddev=noise_levels)
    dark = tf.saturate_cast(tf.round(tf.cast(frames, tf.float32) * light + noise), tf.uint8)
    return tf.ensure_shape(dark, frames.shape)


def missed(
    keypoints: Tensor, scores: Tensor, seeds: Tensor, share: float = 0.5, run_frames: float = 8.0
) -> tuple[Tensor, Tensor]:
    """Keypoints as if the detector had missed some: each joint is lost for whole runs of frames.

    Args:
        keypoints: [..., T, K, 2].
        scores: [..., T, K].
        seeds: [2] ints; the same seeds lose the same.
        share: of the keypoints that are lost, on average.
        run_frames: mean length of the runs in which it is decided anew whether a joint is lost, frames.

    Returns:
        keypoints and scores of the same shapes, (0, 0) and 0 where lost.

    Example:
        >>> from kerapose.data import videos
        >>> _, left = videos.missed(keypoints, scores, seeds=[0, 1], share=0.5)
        >>> round(float(np.mean(np.asarray(left) > 0)), 2)  # about half of the keypoints are left
        0.51
    """
    uniforms = tf.random.stateless_uniform(tf.concat([[2], tf.shape(scores)], axis=0), seeds)  # [2, ..., T, K]
    run = tf.cumsum(tf.cast(uniforms[0] < 1.0 / run_frames, tf.int32), axis=-2)  # that a frame belongs to
    run -= run[..., :1, :]
    kept = ops.take_along_axis(uniforms[1], run, axis=-2) >= share
    return tf.where(kept[..., None], keypoints, 0.0), tf.where(kept, scores, 0.0)


# ---------------------------------------- batches
# Graphs that are larger than the rest of a pipeline, made once for all pipelines of the same options.
_training_clip = tf.function(clip_ops.training_video_clip, autograph=False)
_evaluation_clip = tf.function(clip_ops.evaluation_video_clip, autograph=False)


def training(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 16,
    rgb_shape: Shape | None = (8, 224, 224, 3),
    pose_shape: Shape | None = (32, 56, 56, 17),
    seed: int = 0,
    first_step: int = 0,
    flip_probability: float = 0.5,
    flip_labels: ArrayLike | None = None,
    aligned: bool = True,
    use_scores: bool = True,
    normalization: Mapping[str, typing.Any] | None = None,
    color_jitter: float = 0.0,
    missed_share: float = 0.0,
    shuffle_buffer: int | None = None,
    share: order.Share = order.WHOLE,
    **augmentation: typing.Any,
) -> tf.data.Dataset:
    """Endless shuffled batches of random clips.

    The n-th batch is a function of the dataset, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had. Clips that show nobody are left out (`trainable`).

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: clips a batch.
        rgb_shape: (L, height, width, 3) of the pictures of a clip, frames and pixels. None: no pictures.
        pose_shape: (L', height, width, K) of the heatmap volume that the keypoints are for. None: no keypoints; they
            still say where the people are.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; they are not decoded, only counted.
        flip_probability: of mirroring a clip; where the skeleton does not know its sides, none is that has keypoints.
        flip_labels: [C] the class that each becomes in a mirror (`mirrors.mirrored_labels`). None: its own.
        aligned: whether pictures and keypoints are sampled on one clock (`ops.sequences.sample_rgb_and_pose`), or each
            for itself as published.
        use_scores: whether a keypoint is drawn as high as its score, or every one that was found with 1.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: ImageNet's, RGB.
        color_jitter: strength of `ops.images.jitter`, the same change in all frames; 0 in the published recipe.
        missed_share: of the keypoints that are taken away (`missed`); 0 in the published recipe.
        shuffle_buffer: clips to draw the next one from. None: all where no videos are in the elements, but their paths,
            or none are needed; else 1024.
        share: of each batch that is made, where several workers train (`data.order.Share`).
        **augmentation: `padding`, `short_side_px`, `area_range`, `aspect_range` of `ops.clips.training_video_clip`.

    Returns:
        A `tf.data.Dataset` of ({"rgb": [B, L, h, w, 3] normalized, "keypoints": [B, M, L', K, 2] pixels of the pose
        volume, "scores": [B, M, L', K]}, labels [B]), without the keys of a pathway that is left out.

    Raises:
        ValueError: if there is nothing to make clips of. A video that cannot be decoded raises when its turn comes:
            `check` first.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> shapes = {"rgb_shape": (4, 32, 32, 3), "pose_shape": (8, 16, 16, 17)}
        >>> inputs, _ = next(iter(videos.training(dataset, skeletons.COCO, batch_size=2, **shapes)))
        >>> {name: tuple(array.shape) for name, array in inputs.items()}
        {'keypoints': (2, 2, 8, 17, 2), 'scores': (2, 2, 8, 17), 'rgb': (2, 4, 32, 32, 3)}

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    rgb_frames, pose_frames, sizes = _shapes(dataset, rgb_shape, pose_shape)
    words = sequences.num_words((rgb_frames or 0) + (pose_frames or 0))
    if pose_frames:  # pictures alone have no sides that change places
        flip_probability = mirrors.allowed(flip_probability, skeleton)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(index, element):
        draws = tf.random.stateless_uniform((words + 2,), [2 * seed, index], 0, 2**31 - 1, tf.int32)
        uniforms = tf.random.stateless_uniform((NUM_UNIFORMS,), [2 * seed + 1, index])
        flip, colors, crop_uniforms = uniforms[0] < flip_probability, uniforms[1:4], uniforms[4:]
        length = tf.shape(element["keypoints"])[1]
        sampled_frames = _sample_in_graph(length, rgb_frames, pose_frames, 1, aligned, draws[2:], random_start=True)
        rgb, pose = (indices[0] for indices in sampled_frames)
        if missed_share:
            keypoints, scores = missed(element["keypoints"], element["scores"], draws[:2], missed_share)
            element = element | {"keypoints": keypoints, "scores": scores}
        taken = _taken(_clip(element, rgb if rgb_frames else None), pose, use_scores)
        given = *taken, element["frame_size"], crop_uniforms, flip, skeleton.flip_permutation
        pictures, keypoints, scores = _training_clip(*given, **sizes, **augmentation)
        if rgb_frames and color_jitter:
            pictures = image_ops.jitter(pictures, colors, color_jitter)
        label = element["label"]
        if flip_labels is not None:
            label = tf.where(flip, tf.gather(tf.constant(flip_labels, tf.int64), label), label)
        return _network_inputs(pictures, keypoints, scores, pose_frames, normalization), label

    dataset = trainable(dataset)
    dataset = dataset if rgb_frames else _without_videos(dataset).cache()
    if shuffle_buffer is None and {"video", "jpegs"} & set(dataset.element_spec):
        shuffle_buffer = SHUFFLE_BUFFER
    first = first_step * batch_size

    def finish(elements):
        return _batched(elements.map(augment, tf.data.AUTOTUNE), share.size(batch_size))

    elements = order.shuffled_endlessly(dataset, seed, first, shuffle_buffer).enumerate(first)
    return service.shareable(share.of_stream(elements, batch_size), finish, share.size(batch_size))


def evaluation(
    dataset: tf.data.Dataset,
    batch_size: int = 16,
    rgb_shape: Shape | None = (8, 256, 256, 3),
    pose_shape: Shape | None = (32, 64, 64, 17),
    aligned: bool = True,
    use_scores: bool = True,
    padding: float = 0.25,
    normalization: Mapping[str, typing.Any] | None = None,
    degrade: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]] | None = None,
) -> tf.data.Dataset:
    """Batches of one deterministic clip a video, in order, the last one as small as it comes.

    Args:
        dataset: of elements.
        batch_size: clips a batch.
        rgb_shape: as in `training`, but for the size: the whole box of the people is seen, no random crop of it
            (`ops.clips.whole_side`).
        pose_shape: as in `training`, likewise but for the size.
        aligned: as in `training`.
        use_scores: as in `training`.
        padding: of the compact box, as a fraction of its half size.
        normalization: as in `training`.
        degrade: what to do to each clip before: a function of {"frames": [L, H, W, 3] uint8, left out where there are
            none, "keypoints": [M, T, K, 2], "scores": [M, T, K]} and seeds [2], which are the clip's own, that gives
            such a dict. None: nothing.

    Returns:
        A `tf.data.Dataset` of batches, as those of `training`.

    Raises:
        ValueError: if there is nothing to make clips of.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> def in_the_dark(clip, seeds):
        ...     return clip | {"frames": videos.darkened(clip["frames"], seeds)}
        >>> shapes = {"rgb_shape": (4, 32, 32, 3), "pose_shape": None}
        >>> for degrade in (None, in_the_dark):
        ...     inputs, _ = next(iter(videos.evaluation(dataset, degrade=degrade, **shapes)))
        ...     print(tuple(inputs["rgb"].shape), round(float(inputs["rgb"].numpy().mean()), 1))  # normalized
        (1, 4, 32, 32, 3) -0.1
        (1, 4, 32, 32, 3) -1.9
    """
    rgb_frames, pose_frames, sizes = _shapes(dataset, rgb_shape, pose_shape)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(element):
        length = tf.shape(element["keypoints"])[1]
        rgb, pose = (indices[0] for indices in _sample_in_graph(length, rgb_frames, pose_frames, 1, aligned))
        clip = _clip(element, rgb if rgb_frames else None)
        if degrade is not None:
            clip = clip | degrade(clip, [0, tf.strings.to_hash_bucket_fast(element["name"], 2**31 - 1)])
        given = *_taken(clip, pose, use_scores), element["frame_size"]
        pictures, keypoints, scores = _evaluation_clip(*given, padding=padding, **sizes)
        return _network_inputs(pictures, keypoints, scores, pose_frames, normalization), element["label"]

    return _batched(dataset.map(prepare, tf.data.AUTOTUNE), batch_size)


# ---------------------------------------- parts of both
def _shapes(dataset, rgb_shape, pose_shape):
    """L and L' (None where there is no such shape), and the sizes as arguments of `ops.clips`."""
    if rgb_shape is None and pose_shape is None:
        raise ValueError("A clip has pictures or keypoints, got neither rgb_shape nor pose_shape; give one.")
    if rgb_shape is not None and (len(rgb_shape) != 4 or rgb_shape[3] != 3):
        raise ValueError(f"rgb_shape must be (frames, height, width, 3), got {tuple(rgb_shape)}; correct it.")
    if rgb_shape is not None and not set(VIDEO_FIELDS) & set(dataset.element_spec):
        raise ValueError("Pictures need a video in each element, got none; use another dataset, or rgb_shape=None.")
    num_keypoints = dataset.element_spec["keypoints"].shape[2]
    if pose_shape is not None and (len(pose_shape) != 4 or num_keypoints not in (None, pose_shape[3])):
        raise ValueError(
            f"pose_shape must be (frames, height, width, keypoints), got {tuple(pose_shape)} and {num_keypoints} "
            "keypoints in the dataset; correct it."
        )
    rgb_shape, pose_shape = (shape if shape is None else tuple(map(int, shape)) for shape in (rgb_shape, pose_shape))
    rgb_frames, *rgb_size = (rgb_shape or (None, *pose_shape[1:]))[:3]
    pose_frames, *pose_size = (pose_shape or (None, *rgb_shape[1:]))[:3]
    return rgb_frames, pose_frames, {"rgb_size": tuple(rgb_size), "pose_size": tuple(pose_size)}


def _sample(length, rgb_frames, pose_frames, num_clips, aligned, words=None, random_start=False):
    """Indices of frames [N, L] and [N, L'], the same ones where only one of the numbers is given.

    So a network of pictures alone sees the box of the people in these.
    """
    if rgb_frames and pose_frames:
        return sequences.sample_rgb_and_pose(
            length, rgb_frames, pose_frames, num_clips, words, random_start, aligned=aligned
        )
    indices = sequences.sample_frames(length, rgb_frames or pose_frames, num_clips, words, random_start)
    return indices, indices


_sample_in_graph = tf.function(_sample, autograph=False)  # made once, as those of clips


def _clip(element, rgb):
    """{"frames": those of the indices [L], if there are any, "keypoints" and "scores" of all frames}."""
    clip = {"keypoints": element["keypoints"], "scores": element["scores"]}
    if rgb is not None and "jpegs" in element:
        clip["frames"] = _decode_jpegs(element["jpegs"], rgb)
    elif rgb is not None:
        is_path = "video" not in element
        clip["frames"] = decode(element["path" if is_path else "video"], rgb, element["name"], is_path)
    return clip


def _decode_jpegs(jpegs, indices):
    """Frames of these indices [L]: [L, H, W, 3] uint8."""
    spec = tf.TensorSpec((None, None, 3), tf.uint8)
    return tf.map_fn(image_files.decode, tf.gather(jpegs, indices), fn_output_signature=spec)


def _taken(clip, pose, use_scores):
    """Frames, or None, and keypoints and scores of the indices [L']."""
    scores = clip["scores"] if use_scores else clip_ops.full_scores(clip["scores"])
    return clip.get("frames"), *clip_ops.take_frames(clip["keypoints"], scores, pose)


def _network_inputs(pictures, keypoints, scores, pose_frames, normalization):
    inputs = {"keypoints": keypoints, "scores": scores} if pose_frames else {}
    if pictures is not None:
        inputs["rgb"] = image_ops.normalize(pictures, **(normalization or {}))
    return inputs


def _without_videos(dataset):
    return dataset.map(lambda element: {key: element[key] for key in element if key not in VIDEO_FIELDS})


def _batched(dataset, batch_size):
    """Pads people with zeros (score 0) to the most in each batch."""
    check_positive(batch_size=batch_size)
    return dataset.padded_batch(batch_size).prefetch(1)  # 60 MB a batch of 12 at 8 x 224 x 224 already


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


# ---------------------------------------- reading, with errors that name the clip
_TOLD = set()  # videos whose lost frames have been told of


def _called(source, name):
    return f"the video of clip {name}" if name and isinstance(source, bytes) else None  # else by its path


def _read_frames(source, indices, name):
    return _named(name, frames.read, source, indices, _called(source, name), told=_TOLD)


def _named(name, function, *arguments, **options):
    """Calls a function and has its error name the clip."""
    try:
        return function(*arguments, **options)
    except (ValueError, IndexError, OSError) as error:
        raise ValueError(f"Clip {name}: {error}") from error
