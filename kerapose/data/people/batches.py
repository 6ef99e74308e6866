"""Batches of images with their fields."""

import functools
import typing
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kerapose import mirrors, skeletons
from kerapose.data import annotated, order, service
from kerapose.data.people.samples import limbless, trainable
from kerapose.data.shapes import check_positive
from kerapose.ops import boxes as box_ops
from kerapose.ops import images as image_ops
from kerapose.ops import pafs
from kerapose.types import Size

GREY = 128.0  # what lies outside of an image, 0 .. 255
NUM_UNIFORMS = 8  # random numbers of an augmentation
BUCKETS = [2**n for n in range(1, 17)]  # numbers of people, to which those of a batch are padded


def training(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    target: skeletons.Skeleton | None = None,
    batch_size: int = 32,
    image_size: Size = (368, 368),
    seed: int = 0,
    first_step: int = 0,
    sigma_px: float = 7.0,
    stride: int = 8,
    thickness: float = 1.0,
    published: bool = False,
    flip_probability: float = 0.5,
    scale_range: Sequence[float] = (0.5, 1.1),
    target_size: float = 0.6,
    rotation_degrees: float = 40.0,
    shift_px: float = 40.0,
    color_jitter: float = 0.0,
    normalization: Mapping[str, typing.Any] | None = None,
    shuffle_buffer: int | None = None,
    share: order.Share = order.WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled batches of images with their fields, scaled, turned, shifted and mirrored as published.

    Each sample (`trainable`) is an image that is scaled, turned and shifted so that its main person is seen; everybody
    else in it is drawn in the fields too. A keypoint outside of the image is absent, as published. One outside of what
    is seen is not: its limbs are drawn as far as they reach in. The n-th batch is a function of the dataset, the
    arguments and n alone: with `first_step` a run that was cut short goes on with the very batches that it would have
    had.

    Args:
        dataset: of elements, or of the samples that `trainable` made of them.
        skeleton: their `Skeleton`.
        target: the `Skeleton` to be trained, whose keypoints are worked out by `skeletons.mapping`: OPENPOSE, with its
            neck between the shoulders, of people with COCO's keypoints. What is worked out from several is labelled if
            all of these are. None: `skeleton`.
        batch_size: samples a batch.
        image_size: (height, width) of the images, pixels, multiples of the stride.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; whole passes are not even read.
        sigma_px: standard deviation of the heatmaps' Gaussians, pixels of the image.
        stride: pixels a cell of the fields.
        thickness: how far from a limb its field reaches, cells.
        published: whether to draw the fields just as the published code (`ops.pafs`).
        flip_probability: of mirroring an image; where the skeleton to be trained does not know its sides, none is.
        scale_range: least and greatest factor of the size, evenly distributed.
        target_size: height of the main person's box, as a fraction of the image, at a factor of 1.
        rotation_degrees: greatest angle to either side, evenly distributed.
        shift_px: how far the main person may be from the middle, along each axis, evenly distributed.
        color_jitter: strength of `ops.images.jitter`; 0 in the published recipe.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: `ops.images.OPENPOSE_NORMALIZATION`.
        shuffle_buffer: samples to draw the next one from. None: all where images are not in elements but in files, or
            in memory as arrays anyway; else 4096.
        share: of each batch that is made, where several workers train (`data.order.Share`).

    Returns:
        A `tf.data.Dataset` of (images [B, H, W, 3], targets [B, h, w, K+1+2E], mask [B, h, w, 1]), float32. The mask is
        0 in boxes of crowds and of people without a labelled keypoint, save where the box of somebody with one is.

    Raises:
        BadDataError: as `trainable` does. An image that cannot be decoded raises when its turn comes: `check` first.
        ValueError: if sizes do not fit, or a keypoint of `target` cannot be worked out.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import people
        >>> dataset, skeleton = people.from_coco("people.json", image_dir=".")
        >>> batches = people.training(dataset, skeleton, skeletons.OPENPOSE, batch_size=2, image_size=(64, 64))
        >>> [tuple(array.shape) for array in next(iter(batches))]  # 18 keypoints, background, 19 limbs
        [(2, 64, 64, 3), (2, 8, 8, 57), (2, 8, 8, 1)]

    Papers: Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", TPAMI 2019;
    Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019.
    """
    image_size = _size(image_size, stride)
    fields = _fields(skeleton, target or skeleton, image_size, sigma_px, stride, thickness, published)
    normalization = image_ops.OPENPOSE_NORMALIZATION if normalization is None else normalization
    finish = annotated.finisher(normalization, color_jitter)
    samples, size = trainable(dataset, skeleton), share.size(batch_size)
    turn = np.float32(np.radians(rotation_degrees))
    flip_probability = mirrors.allowed(flip_probability, target or skeleton)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(number, batch):
        step = first_step + share.step(number)
        uniforms = share.rows(number, tf.random.stateless_uniform((batch_size, NUM_UNIFORMS), [seed, step]))
        flips = uniforms[:, 0] < flip_probability
        factors = scale_range[0] + uniforms[:, 1] * (scale_range[1] - scale_range[0])
        angles = (2 * uniforms[:, 2] - 1) * turn
        shifts = (2 * uniforms[:, 3:5] - 1) * shift_px
        people = _padded(batch)
        matrices = _matrices(people, image_size, target_size * factors, angles, shifts, flips)
        pixels, sizes = annotated.cut(batch, matrices, image_size)
        pixels = finish(_on_grey(pixels, sizes, matrices), uniforms[:, 5:])
        return pixels, *fields(people, sizes, matrices, flips)

    if shuffle_buffer is None and "image" in samples.element_spec:
        shuffle_buffer = annotated.SHUFFLE_BUFFER
    elements = order.shuffled_endlessly(samples, seed, first_step * batch_size, shuffle_buffer)
    elements = annotated.with_handles(share.of_stream(elements, batch_size))
    batches = elements.ragged_batch(size, drop_remainder=True).enumerate()

    def augmented(batches):
        return batches.map(augment, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return service.shareable(batches, augmented)


def validation(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    target: skeletons.Skeleton | None = None,
    batch_size: int = 32,
    image_size: Size = (368, 368),
    sigma_px: float = 7.0,
    stride: int = 8,
    thickness: float = 1.0,
    published: bool = False,
    target_size: float = 0.6,
    normalization: Mapping[str, typing.Any] | None = None,
) -> tf.data.Dataset:
    """Batches as those of `training`, of every sample once, in order, scaled but otherwise as they are.

    Args:
        dataset: of elements, or of the samples that `trainable` made of them.
        skeleton: their `Skeleton`.
        target: see `training`.
        batch_size: samples a batch; the last one is filled up with zeros, whose mask is 0.
        image_size: see `training`, as all that follow.
        sigma_px: see `training`.
        stride: see `training`.
        thickness: see `training`.
        published: see `training`.
        target_size: see `training`.
        normalization: see `training`.

    Returns:
        A `tf.data.Dataset` of (images [B, H, W, 3], targets [B, h, w, K+1+2E], mask [B, h, w, 1]), float32.

    Raises:
        BadDataError: as `trainable` does.
        ValueError: as `training` does.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import people
        >>> dataset, skeleton = people.from_coco("people.json", image_dir=".")
        >>> batches = people.validation(dataset, skeleton, skeletons.OPENPOSE, batch_size=4, image_size=(64, 64))
        >>> images, targets, mask = next(iter(batches))
        >>> np.asarray(mask).any(axis=(1, 2, 3)).tolist()  # two samples, and two that fill up the batch
        [True, True, False, False]
    """
    check_positive(batch_size=batch_size)
    image_size = _size(image_size, stride)
    fields = _fields(skeleton, target or skeleton, image_size, sigma_px, stride, thickness, published)
    finish = annotated.finisher(image_ops.OPENPOSE_NORMALIZATION if normalization is None else normalization, 0.0)
    samples = trainable(dataset, skeleton)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(batch):
        people = _padded(batch)
        count = tf.shape(people["box"])[0]
        zeros = tf.zeros((count, 3))
        flips = zeros[:, 0] > 0
        matrices = _matrices(people, image_size, target_size + zeros[:, 0], zeros[:, 0], zeros[:, :2], flips)
        pixels, sizes = annotated.cut(batch, matrices, image_size)
        pixels = finish(_on_grey(pixels, sizes, matrices), zeros)
        arrays = pixels, *fields(people, sizes, matrices, flips)
        return tuple(_filled_up(array, batch_size) for array in arrays)

    batches = annotated.with_handles(samples).ragged_batch(batch_size)
    return batches.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def evaluation(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The images of a dataset, one at a time and whole: what a predictor is to find the people in.

    Args:
        dataset: of elements.

    Returns:
        A `tf.data.Dataset` of {"image": [H, W, 3] uint8 RGB, upright, "image_id", "name"}, in the order of the dataset.

    Example:
        >>> from kerapose.data import people
        >>> dataset, _ = people.from_coco("people.json", image_dir=".")
        >>> element = next(iter(people.evaluation(dataset)))
        >>> tuple(element["image"].shape), int(element["image_id"])
        ((240, 320, 3), 1)
    """

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(element):
        return {"image": annotated.decoded(element), "image_id": element["image_id"], "name": element["name"]}

    return dataset.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


# ---------------------------------------- people
def _padded(batch):
    """What is drawn of the people of a batch, of whom each image has as many: nobody has a box without area."""
    most = tf.reduce_max(batch["box"].row_lengths())
    bucket = tf.gather(BUCKETS, tf.searchsorted(tf.constant(BUCKETS, tf.int64), [most]))[0]

    def dense(ragged):
        array = ragged.to_tensor()  # [B, M, ...]
        array = tf.pad(array, [[0, 0], [0, bucket - tf.cast(most, tf.int32)]] + [[0, 0]] * (array.shape.rank - 2))
        return tf.ensure_shape(array, (ragged.shape[0], None, *ragged.shape[2:]))

    people = {key: dense(batch[key]) for key in ("keypoints", "visibility", "box", "is_crowd")}
    return people | {"main": batch["main"]}


def _matrices(people, image_size, heights, angles, shifts, flips):
    """Where images lie: main people have these heights, as fractions, and are this far from the middle: [B, 2, 3]."""
    box = tf.gather(people["box"], people["main"], batch_dims=1)  # [B, 4]
    low, high = box[:, :2], box[:, 2:]
    extent = tf.maximum(high[:, 1:] - low[:, 1:], 1.0) / heights[:, None]  # [B, 1] pixels that are seen, from top down
    sizes = extent * [1.0, image_size[1] / image_size[0]]
    matrices = box_ops.affine((low + high) / 2, sizes, image_size, angles, flips)
    return matrices + tf.pad(shifts[:, :, None], [[0, 0], [0, 0], [2, 0]])


@functools.lru_cache(maxsize=8)  # pipelines of the same fields share what is compiled
def _fields(skeleton, target, image_size, sigma_px, stride, thickness, published):
    """A function of people, sizes of images, matrices and flips that gives targets and masks."""
    matrix = skeletons.mapping(skeleton, target)  # [K of the target, K]
    lacking = skeletons.lacking(skeleton, target)
    if lacking:
        raise ValueError(
            f"{target.name} keypoints must follow from those of {skeleton.name}, {', '.join(lacking)} cannot; train a "
            "set without them."
        )
    if not target.edges:
        raise ValueError(limbless(target))
    is_same = np.array_equal(matrix, np.eye(len(matrix)))
    size = image_size[0] // stride, image_size[1] // stride

    @tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of many
    def draw(people, sizes, matrices, flips):
        keypoints, is_crowd = people["keypoints"], people["is_crowd"]
        labelled = (people["visibility"] > 0) & ~is_crowd[..., None]  # [B, M, K]
        limits = tf.cast(tf.reverse(sizes, [-1]), tf.float32)[:, None, None]  # width, height
        inside = tf.reduce_all((keypoints >= 0) & (keypoints < limits), axis=-1)
        weights = tf.cast(labelled & inside, tf.float32)
        if not is_same:
            keypoints = tf.matmul(matrix, keypoints)  # [B, M, K of the target, 2]
            lost = tf.matmul(1.0 - weights, np.float32(matrix > 0), transpose_b=True) > 0
            weights = tf.where(lost, 0.0, 1.0)
        points = box_ops.transform_points(keypoints, matrices[:, None])  # pixels of the network's image
        points = box_ops.swap_sides(points, flips[:, None], target.flip_permutation, axis=-2)
        weights = box_ops.swap_sides(weights, flips[:, None], target.flip_permutation)
        heatmaps = pafs.encode_heatmaps(points, weights, size, stride, sigma_px, published)
        limbs = pafs.encode(points, weights, target.edges, size, stride, thickness, published)
        is_seen = tf.reduce_any(labelled, axis=-1)  # [B, M]
        return tf.concat([heatmaps, limbs], axis=-1), _mask(people["box"], is_seen, matrices, size, stride)

    return draw


def _mask(box, is_seen, matrices, size, stride):
    """0 for cells in the boxes of those who are not seen, unless they are in the box of somebody who is.

    Args:
        box: [B, M, 4], pixels of the image.
        is_seen: [B, M] bool.
        matrices: [B, 2, 3], from pixels of the image to those of the network's.
        size: (h, w), cells.
        stride: pixels a cell.

    Returns:
        [B, h, w, 1] float32.
    """
    y, x = np.meshgrid(*(np.arange(side) * stride + (stride - 1) / 2 for side in size), indexing="ij")
    cells = np.stack([x, y], axis=-1).reshape(-1, 2)  # [h*w, 2] pixels of the network's image
    cells = box_ops.transform_points(cells, box_ops.invert_affine(matrices))  # [B, h*w, 2] pixels of the image
    inside = (cells[:, None] > box[:, :, None, :2]) & (cells[:, None] < box[:, :, None, 2:])  # [B, M, h*w, 2]
    inside = tf.reduce_all(inside, axis=-1)
    seen = tf.reduce_any(inside & is_seen[..., None], axis=1)  # [B, h*w]
    unseen = tf.reduce_any(inside & ~is_seen[..., None], axis=1)
    return tf.reshape(tf.where(unseen & ~seen, 0.0, 1.0), (-1, *size, 1))  # [B, h, w, 1]


def _filled_up(array, count):
    """The rows of an array and as many of zeros as there are missing."""
    missing = count - tf.shape(array)[0]
    array = tf.pad(array, [[0, missing]] + [[0, 0]] * (array.shape.rank - 1))
    return tf.ensure_shape(array, (count, *array.shape[1:]))


# ---------------------------------------- pixels
@tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of many
def _on_grey(pixels, sizes, matrices):
    """Images as they were cut, black outside: the same, grey outside.

    Args:
        pixels: [B, H, W, 3], 0 .. 255.
        sizes: [B, 2] (height, width) of what they were cut from.
        matrices: [B, 2, 3], from pixels of that to pixels of these.

    Returns:
        [B, H, W, 3].
    """
    image_size = pixels.shape[1:3]
    y, x = np.meshgrid(*(np.arange(side) for side in image_size), indexing="ij")
    places = np.stack([x, y], axis=-1).reshape(-1, 2)  # [H*W, 2]
    places = box_ops.transform_points(places, box_ops.invert_affine(matrices))  # [B, H*W, 2] pixels of the image
    limits = tf.cast(tf.reverse(sizes, [-1]), tf.float32)[:, None]  # width, height
    # How much of a pixel is the image: 1 inside, less within a pixel of its border, where the warp fades to black.
    covered = tf.clip_by_value(tf.minimum(places + 1.0, limits - places), 0.0, 1.0)
    covered = tf.reshape(tf.reduce_prod(covered, axis=-1), (-1, *image_size, 1))  # [B, H, W, 1]
    return pixels + GREY * (1.0 - covered)


def _size(image_size, stride):
    """(height, width) as ints."""
    image_size = tuple(int(side) for side in image_size)
    if image_size[0] % stride or image_size[1] % stride:
        raise ValueError(f"image_size must be multiples of the stride {stride}, got {image_size}; change one of them.")
    return image_size
