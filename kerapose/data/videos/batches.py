"""Batches of clips of both: to train with, for ever, and to test with, each once."""

import typing
from collections.abc import Callable, Mapping

import tensorflow as tf

from kerapose import mirrors
from kerapose.data import order, service
from kerapose.data.clips import trainable
from kerapose.data.shapes import check_positive
from kerapose.data.videos.pictures import missed, read_clip, sample
from kerapose.ops import clips as clip_ops
from kerapose.ops import images as image_ops
from kerapose.ops import sequences
from kerapose.skeletons import Skeleton
from kerapose.types import ArrayLike, Shape, Tensor

__all__ = [
    "evaluation",
    "training",
]

VIDEO_FIELDS = ("video", "path", "jpegs")  # of which an element has one
SHUFFLE_BUFFER = 1024  # videos; 1.5 GB of NTU RGB+D's
NUM_CROP_UNIFORMS = 22  # of `ops.boxes.random_crop_box`
NUM_UNIFORMS = 1 + 3 + NUM_CROP_UNIFORMS  # mirror, colours, crop

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
        taken = _taken(read_clip(element, rgb if rgb_frames else None), pose, use_scores)
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
        clip = read_clip(element, rgb if rgb_frames else None)
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


_sample_in_graph = tf.function(sample, autograph=False)  # made once, as those of clips


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
