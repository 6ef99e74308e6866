"""From people in images to the batches of crops that a network is trained and tested on."""

import functools
import typing
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kerapose import mirrors
from kerapose.data import annotated, order, service
from kerapose.data.crops.checks import annotations, trainable
from kerapose.data.shapes import check_positive
from kerapose.ops import boxes as box_ops
from kerapose.ops import heatmaps as heatmap_ops
from kerapose.skeletons import Skeleton
from kerapose.types import Size

HALF_BODY_JOINTS = 8  # only people with more labelled ones than this are cut in half, as published
NUM_UNIFORMS = 9  # random numbers of an augmentation, beside two of a normal distribution


def training(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 32,
    image_size: Size = (256, 192),
    heatmap_size: Size | None = None,
    codec: str = "gaussian",
    sigma_px: float = 2.0,
    seed: int = 0,
    first_step: int = 0,
    flip_probability: float = 0.5,
    scale_factor: float = 0.35,
    rotation_degrees: float = 40.0,
    rotation_probability: float = 0.6,
    half_body_probability: float = 0.3,
    shift_factor: float = 0.0,
    color_jitter: float = 0.0,
    box_padding: float = 1.25,
    normalization: Mapping[str, typing.Any] | None = None,
    shuffle_buffer: int | None = None,
    share: order.Share = order.WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled batches of people, scaled, turned, mirrored and cut in half as published.

    The n-th batch is a function of the dataset, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had. People whom nothing can be learnt from are left out
    (`trainable`).

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: people a batch.
        image_size: (height, width) of the crops, pixels.
        heatmap_size: (height, width) of the heatmaps, if the codec has some. None: a quarter of the crops'.
        codec: of the targets, one of `ops.heatmaps.ALL_CODECS`; "udp" also has crops lie by the centres of their
            pixels.
        sigma_px: standard deviation of the Gaussians, pixels of the heatmaps; those of the codec simcc go by the size
            of the crops (`ops.heatmaps.simcc_sigmas`).
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; whole passes are not even read.
        flip_probability: of mirroring a person; where the skeleton does not know its sides, nobody is.
        scale_factor: standard deviation, and greatest value, of the change in size.
        rotation_degrees: standard deviation of the angle, which is at most twice this.
        rotation_probability: of turning a person at all.
        half_body_probability: of showing only the upper or lower half of a person with more than 8 labelled keypoints.
        shift_factor: how far the centre may move, evenly distributed, as a fraction of the region; 0 in the published
            recipe.
        color_jitter: strength of `ops.images.jitter`; 0 in the published recipe.
        box_padding: how many times larger than the box a crop is.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: ImageNet's, RGB.
        shuffle_buffer: people to draw the next one from. None: all where images are not in elements but in files, or
            in memory as arrays anyway; else 4096, which is 0.3 GB of COCO's images.
        share: of each batch that is made, where several workers train (`data.order.Share`).

    Returns:
        A `tf.data.Dataset` of (crops [B, H, W, 3], targets, weights [B, K]), float32. The targets are heatmaps
        [B, h, w, K]; with the codec regression shares of the crop [B, K, 2]; with simcc {"x": [B, K, 2 * W], "y":
        [B, K, 2 * H]}.

    Raises:
        BadDataError: as `trainable` does. An image that cannot be decoded raises when its turn comes: `check` first.
        ValueError: if there is no such codec, or no heatmap of a quarter of such crops.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> batches = crops.training(dataset, skeleton, batch_size=2, image_size=(64, 48))
        >>> [tuple(array.shape) for array in next(iter(batches))]  # crops, heatmaps, weights
        [(2, 64, 48, 3), (2, 16, 12, 17), (2, 17)]
        >>> batches = crops.training(dataset, skeleton, batch_size=2, image_size=(64, 48), codec="simcc")
        >>> {axis: tuple(labels.shape) for axis, labels in next(iter(batches))[1].items()}
        {'x': (2, 17, 96), 'y': (2, 17, 128)}

    Papers: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; Sun et al., "Deep
    High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019.
    """
    people, size = trainable(dataset, skeleton), share.size(batch_size)
    image_size, heatmap_size = _sizes(image_size, heatmap_size, codec)
    finish = annotated.finisher(normalization, color_jitter)
    flips, turns = mirrors.allowed(flip_probability, skeleton), np.float32(np.radians(rotation_degrees))
    changes = flips, scale_factor, turns, rotation_probability, half_body_probability, shift_factor
    joints = skeleton.flip_permutation, skeleton.upper_body
    prepare = _preparer(*joints, image_size, heatmap_size, codec, sigma_px, box_padding, changes)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(number, people):
        step = first_step + share.step(number)
        uniforms = tf.random.stateless_uniform((batch_size, NUM_UNIFORMS), [2 * seed, step])
        normals = tf.random.stateless_normal((batch_size, 2), [2 * seed + 1, step])
        uniforms, normals = share.rows(number, uniforms), share.rows(number, normals)
        matrices, targets, weights = prepare(
            people["box"], people["keypoints"], people["visibility"], uniforms, normals
        )
        crops, _ = annotated.cut(people, matrices, image_size)
        return finish(crops, uniforms[:, -3:]), targets, weights

    if shuffle_buffer is None and "image" in people.element_spec:
        shuffle_buffer = annotated.SHUFFLE_BUFFER
    elements = order.shuffled_endlessly(people, seed, first_step * batch_size, shuffle_buffer)
    elements = annotated.with_handles(share.of_stream(elements, batch_size))
    batches = elements.batch(size, drop_remainder=True).enumerate()

    def augmented(batches):
        return batches.map(augment, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return service.shareable(batches, augmented)


def validation(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 32,
    image_size: Size = (256, 192),
    heatmap_size: Size | None = None,
    codec: str = "gaussian",
    sigma_px: float = 2.0,
    box_padding: float = 1.25,
    normalization: Mapping[str, typing.Any] | None = None,
) -> tf.data.Dataset:
    """Batches as those of `training`, of every person who can be learnt from, once, in order, as they are.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: people a batch; the last one is as small as it comes.
        image_size: see `training`, as all that follow.
        heatmap_size: see `training`.
        codec: see `training`.
        sigma_px: see `training`.
        box_padding: see `training`.
        normalization: see `training`.

    Returns:
        A `tf.data.Dataset` of (crops [B, H, W, 3], targets, weights [B, K]), float32. The targets are heatmaps
        [B, h, w, K]; with the codec regression shares of the crop [B, K, 2]; with simcc {"x": [B, K, 2 * W], "y":
        [B, K, 2 * H]}.

    Raises:
        BadDataError: as `trainable` does.
        ValueError: as `training` does.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> images, heatmaps, weights = next(iter(crops.validation(dataset, skeleton, image_size=(64, 48))))
        >>> tuple(heatmaps.shape), float(heatmaps[..., 0].numpy().max()), float(weights[0, 0])
        ((2, 16, 12, 17), 1.0, 1.0)
    """
    image_size, heatmap_size = _sizes(image_size, heatmap_size, codec)
    targets = _encoder(image_size, heatmap_size, codec, sigma_px)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(batch):
        return batch["crop"], *targets(batch["keypoints"], batch["visibility"], batch["matrix"])

    people = trainable(dataset, skeleton)
    batches = evaluation(people, skeleton, batch_size, image_size, codec == "udp", box_padding, normalization)
    return batches.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def evaluation(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 32,
    image_size: Size = (256, 192),
    udp: bool = False,
    box_padding: float = 1.25,
    normalization: Mapping[str, typing.Any] | None = None,
) -> tf.data.Dataset:
    """Batches of every person of a dataset, crowds too, once and in order, the last batch as small as it comes.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: people a batch.
        image_size: (height, width) of the crops, pixels.
        udp: whether crops lie by the centres of their pixels, as the codec "udp" wants it.
        box_padding: how many times larger than the box a crop is.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: ImageNet's, RGB.

    Returns:
        A `tf.data.Dataset` of {"crop": [B, H, W, 3], "matrix": [B, 2, 3] from pixels of the image to those of the
        crop, and every field of the elements but the image}.

    Raises:
        BadDataError: as `trainable` does.

    Example:
        >>> from kerapose.data import crops
        >>> from kerapose.ops import boxes
        >>> batch = next(iter(crops.evaluation(*crops.from_coco("people.json", image_dir="."))))
        >>> found = boxes.transform_points(batch["keypoints"], batch["matrix"])  # pixels of the crops
        >>> tuple(batch["crop"].shape), np.asarray(found[0, 0]).round().tolist()
        ((2, 256, 192, 3), [97.0, 30.0])
    """
    check_positive(batch_size=batch_size)
    annotated.check_keypoints(dataset, skeleton)
    if not annotated.is_sound(dataset):
        annotated.check_people(annotations(dataset, skeleton))
    image_size = _size(image_size)
    finish = annotated.finisher(normalization, 0.0)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(people):
        regions = box_ops.crop_region(people["box"], image_size[1] / image_size[0], box_padding)
        matrices = box_ops.affine(*regions, image_size, udp=udp)
        crops, _ = annotated.cut(people, matrices, image_size)
        crops = finish(crops, tf.zeros((tf.shape(matrices)[0], 3)))
        return annotated.without_image(people) | {"crop": crops, "matrix": matrices}

    return annotated.with_handles(dataset).batch(batch_size).map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@functools.lru_cache(maxsize=8)  # pipelines of the same options share what is compiled
def _preparer(permutation, upper_body, image_size, heatmap_size, codec, sigma_px, box_padding, changes):
    """A function of people and random numbers that gives where their crops lie, and targets and weights of these."""
    flip_probability, scale_factor, turns, rotation_probability, half_body_probability, shift_factor = changes
    aspect_ratio = image_size[1] / image_size[0]

    def place(box, keypoints, visibility, uniforms, normals):
        """[B, 4], [B, K, 2], [B, K], [B, 6 or more], [B, 2] -> matrices [B, 2, 3], flips [B] bool."""
        centers, sizes = box_ops.crop_region(box, aspect_ratio, box_padding)
        half_centers, half_sizes, found = box_ops.half_body_region(
            keypoints, visibility, upper_body, aspect_ratio, uniforms[:, 3]
        )
        labelled = tf.reduce_sum(tf.cast(visibility > 0, tf.int32), axis=-1)
        halved = (uniforms[:, 2] < half_body_probability) & (labelled > HALF_BODY_JOINTS) & found
        centers = tf.where(halved[:, None], half_centers, centers)
        sizes = tf.where(halved[:, None], half_sizes, sizes)
        centers += (2 * uniforms[:, 4:6] - 1) * shift_factor * tf.reverse(sizes, [-1])
        sizes *= tf.clip_by_value(normals[:, :1] * scale_factor + 1, 1 - scale_factor, 1 + scale_factor)
        angles = tf.clip_by_value(normals[:, 1] * turns, -2 * turns, 2 * turns)
        angles = tf.where(uniforms[:, 0] < rotation_probability, angles, 0.0)
        flips = uniforms[:, 1] < flip_probability
        return box_ops.affine(centers, sizes, image_size, angles, flips, codec == "udp"), flips

    @tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of many
    def prepare(box, keypoints, visibility, uniforms, normals):
        matrices, flips = place(box, keypoints, visibility, uniforms, normals)
        points = box_ops.transform_points(keypoints, matrices)  # [B, K, 2] pixels of the crop
        points = box_ops.swap_sides(points, flips, permutation, axis=-2)
        weights = box_ops.swap_sides(_weights(visibility), flips, permutation)
        return matrices, *heatmap_ops.encode_answers(points, weights, image_size, heatmap_size, sigma_px, codec)

    return prepare


@functools.lru_cache(maxsize=8)
def _encoder(image_size, heatmap_size, codec, sigma_px):
    """A function of people and where their crops lie that gives targets and weights."""

    @tf.function(jit_compile=True, autograph=False)
    def targets(keypoints, visibility, matrices):
        points = box_ops.transform_points(keypoints, matrices)  # [B, K, 2] pixels of the crop
        return heatmap_ops.encode_answers(points, _weights(visibility), image_size, heatmap_size, sigma_px, codec)

    return targets


def _weights(visibility):
    """1 for a keypoint that is labelled, occluded or not: [B, K] -> [B, K] float32."""
    return tf.cast(visibility > 0, tf.float32)


def _sizes(image_size, heatmap_size, codec):
    """Sizes as pairs of ints; None for the heatmaps of a codec that has none."""
    heatmap_ops.check_codec(codec)
    image_size = _size(image_size)
    if codec not in heatmap_ops.CODECS:
        return image_size, None
    if heatmap_size is None:
        if image_size[0] % 4 or image_size[1] % 4:
            raise ValueError(f"image_size must be multiples of 4, got {image_size}; change it or give heatmap_size.")
        heatmap_size = (image_size[0] // 4, image_size[1] // 4)
    return image_size, _size(heatmap_size)


def _size(size):
    return tuple(int(side) for side in size)
