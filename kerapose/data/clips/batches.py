"""From clips to the batches that a network is trained and tested on."""

import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerapose import mirrors, skeletons
from kerapose.data import order, service
from kerapose.data import virtual_views as virtual
from kerapose.data.clips.checks import trainable
from kerapose.data.clips.sources import seen_from
from kerapose.data.shapes import check_positive
from kerapose.ops import clips as clip_ops
from kerapose.ops import heatmaps, sequences
from kerapose.types import ArrayLike, Edges, Size

SHUFFLE_BUFFER = 10_000  # clips, where nobody knows how many there are

# Graphs that are larger than the rest of a pipeline, made once for all pipelines of the same options.
_training_clip = tf.function(clip_ops.training_clip, autograph=False)
_evaluation_clips = tf.function(clip_ops.evaluation_clips, autograph=False)


def training(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    batch_size: int = 16,
    num_frames: int = 48,
    size: Size = (56, 56),
    seed: int = 0,
    first_step: int = 0,
    flip_probability: float = 0.5,
    flip_labels: ArrayLike | None = None,
    rotation_degrees: float = 0.0,
    use_scores: bool = True,
    p_interval: Sequence[float] = (1.0, 1.0),
    views: virtual.Views | None = None,
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
        num_frames: frames a clip, L.
        size: height and width of the volume, pixels.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; they are not augmented, only counted.
        flip_probability: of mirroring a clip; where the skeleton does not know its sides, none is.
        flip_labels: [C] the class that each becomes in a mirror (`mirrors.mirrored_labels`). None: its own.
        rotation_degrees: greatest angle by which a clip is turned, either way; 0 in the published recipe.
        use_scores: whether a keypoint is drawn as high as its score, or every one that was found with 1.
        p_interval: least and greatest share of a sequence, of which one is drawn for each clip that is taken from so
            long an interval (`ops.sequences.sample_frames`); (1, 1), as published for PoseConv3D: whole sequences.
        views: of 3D skeletons, from which a view of each clip is drawn. None: all as of `seen_from`.
        share: of each batch that is made, where several workers train (`data.order.Share`).
        **augmentation: `padding`, `short_side_px`, `area_range`, `aspect_range` of `ops.clips.training_clip`.

    Returns:
        A `tf.data.Dataset` of ({"keypoints": [B, M, L, K, 2] pixels of the volume, "scores": [B, M, L, K]}, labels
        [B]). M is that of the clip with the most people; of people whom another clip lacks the scores are 0.

    Raises:
        ValueError: if `p_interval` is no range of shares, there are `views` and no 3D skeletons, or no clip shows
            anybody.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> batches = clips.training(dataset, skeletons.COCO, batch_size=4, num_frames=16, size=(28, 28))
        >>> inputs, labels = next(iter(batches))
        >>> tuple(inputs["keypoints"].shape), tuple(labels.shape)  # [B, M, L, K, 2] and [B]
        ((4, 2, 16, 17, 2), (4,))
    """
    num_frames, *size = map(int, (num_frames, *size))
    words = sequences.num_words(num_frames)
    flip_probability = mirrors.allowed(flip_probability, skeleton)
    p_interval = sequences.check_p_interval(p_interval)
    if views is not None and not virtual.holds_poses(dataset):
        raise ValueError("views are those of 3D skeletons, got a dataset of keypoints; leave them out.")
    if views is None and virtual.holds_poses(dataset):
        views = virtual.Views()

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(index, element):
        draws = tf.random.stateless_uniform((words,), [2 * seed, index], 0, 2**31 - 1, tf.int32)
        uniforms = tf.random.stateless_uniform((24,), [2 * seed + 1, index])
        flip = uniforms[0] < flip_probability
        angle = (uniforms[1] * 2 - 1) * np.float32(np.radians(rotation_degrees))
        if views is not None:  # of a stream of its own, so that the others are those of keypoints
            element = virtual.seen(element, *views.draw([2 * seed + 1, -1 - index]))
        keypoints, scores = _training_clip(
            element["keypoints"],
            element["scores"] if use_scores else clip_ops.full_scores(element["scores"]),
            element["frame_size"],
            draws,
            uniforms[2:],
            flip,
            skeleton.flip_permutation,
            num_frames,
            size,
            rotation=angle,
            p_interval=p_interval,
            **augmentation,
        )
        label = element["label"]
        if flip_labels is not None:
            label = tf.where(flip, tf.gather(tf.constant(flip_labels, tf.int64), label), label)
        return {"keypoints": keypoints, "scores": scores}, label

    dataset, first = trainable(dataset).cache(), first_step * batch_size

    def finish(elements):
        return _batched(elements.map(augment, tf.data.AUTOTUNE), share.size(batch_size))

    elements = share.of_stream(order.shuffled_endlessly(dataset, seed, first).enumerate(first), batch_size)
    return service.shareable(elements, finish, share.size(batch_size))


def evaluation(
    dataset: tf.data.Dataset,
    batch_size: int = 16,
    num_frames: int = 48,
    size: Size = (64, 64),
    use_scores: bool = True,
    padding: float = 0.25,
) -> tf.data.Dataset:
    """Batches of one deterministic clip a sequence, in order, the last one as small as it comes.

    Args:
        dataset: of elements; 3D skeletons are seen from in front (`seen_from`).
        batch_size: clips a batch.
        num_frames: frames a clip, L.
        size: height and width of the volume, pixels.
        use_scores: whether a keypoint is drawn as high as its score, or every one that was found with 1.
        padding: of the box round all keypoints, as a fraction of its half size.

    Returns:
        A `tf.data.Dataset` of ({"keypoints": [B, M, L, K, 2] pixels of the volume, "scores": [B, M, L, K]}, labels
        [B]). M is that of the clip with the most people; of people whom another clip lacks the scores are 0.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "test", skeletons.COCO)
        >>> inputs, labels = next(iter(clips.evaluation(dataset, num_frames=16)))
        >>> tuple(inputs["scores"].shape), np.asarray(labels).tolist()  # two clips: a small last batch
        ((2, 2, 16, 17), [0, 1])
    """
    num_frames, *size = map(int, (num_frames, *size))
    dataset = seen_from(dataset) if virtual.holds_poses(dataset) else dataset

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(element):
        scores = element["scores"] if use_scores else clip_ops.full_scores(element["scores"])
        given = element["keypoints"], scores, element["frame_size"], num_frames
        keypoints, scores = _evaluation_clips(*given, size=size, padding=padding)
        return {"keypoints": keypoints[0], "scores": scores[0]}, element["label"]

    # Not cached: whoever looks at one batch and stops may leave a cache that ends there, without a word.
    return _batched(dataset.map(prepare, tf.data.AUTOTUNE), batch_size)


def volumes(batches: tf.data.Dataset, size: Size, edges: Edges | None = None, sigma_px: float = 0.6) -> tf.data.Dataset:
    """Turns batches of clips into batches of heatmap volumes, for a network without a `HeatmapVolume` before it.

    Args:
        batches: of `training` or `evaluation`.
        size: height and width of the volume, as given there.
        edges: limbs to draw (`Skeleton.edges`). None: the joints.
        sigma_px: standard deviation of the Gaussians, pixels of the volume.

    Returns:
        A `tf.data.Dataset` of (volumes [B, L, H, W, K or E], labels [B]).

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_arrays([keypoints], labels, skeletons.COCO, [scores], frame_size)
        >>> batches = clips.evaluation(dataset, num_frames=16, size=(32, 32))
        >>> volumes, labels = next(iter(clips.volumes(batches, size=(32, 32))))
        >>> tuple(volumes.shape)  # [B, L, H, W, K]
        (1, 16, 32, 32, 17)
    """

    @tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of a dozen
    def draw(clip):
        if edges is None:
            return heatmaps.joint_volume(clip["keypoints"], clip["scores"], *size, sigma_px)
        return heatmaps.limb_volume(clip["keypoints"], clip["scores"], edges, *size, sigma_px)

    return batches.map(lambda clips, labels: (draw(clips), labels), tf.data.AUTOTUNE).prefetch(2)


def _batched(clips, batch_size):
    """Pads people with zeros (score 0) to the most in each batch."""
    check_positive(batch_size=batch_size)
    return clips.padded_batch(batch_size).prefetch(tf.data.AUTOTUNE)
