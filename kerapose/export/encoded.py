"""What exports of images share: encoded images in a request, checked with one sentence each, and their pixels."""

import tensorflow as tf

from kerapose.data import images
from kerapose.export.archives import check_axes, require, unshaped
from kerapose.export.limits import at_most
from kerapose.types import Tensor

JPEG_END, PNG_END = b"\xff\xd9", b"IEND"  # there may be more behind them
# Each goes over all pixels again, however short it is; a progressive file has ten, and thousands could be sent.
MOST_SCANS = 100


def check_images(inputs: dict[str, Tensor], max_images: int, **axes: tuple) -> dict[str, Tensor]:
    """The inputs of a request, without their static shapes, behind assertions: there are images, all have their axes.

    `inputs` has `image_bytes`, encoded images [B], and others whose axes are given by their names, as for `check_axes`.
    """
    inputs = check_axes(unshaped(inputs), {"image_bytes": ("B",)} | axes)
    count = tf.size(inputs["image_bytes"])
    inputs = require(count > 0, "A request must have at least one image, got {}; leave it out.", (count,), inputs)
    return at_most(inputs, count, max_images, "images", "send the others in requests of their own")


def decoded(encoded: Tensor, index: Tensor, max_pixels: int) -> Tensor:
    """The pixels of an encoded image: scalar -> uint8 [H, W, 3]. The sentences are here to name the image."""
    length = tf.strings.length(encoded)
    is_jpeg, is_png = (
        tf.equal(tf.strings.substr(encoded, 0, len(signature)), signature)
        for signature in (images.JPEG_SIGNATURE, images.PNG_SIGNATURE)
    )
    inputs = require(
        tf.logical_or(is_jpeg, is_png),
        "image_bytes must be JPEG or PNG files, got {} bytes of something else for image {}; in REST give each as "
        "b64, base64 of the file.",
        (length, index),
        {"encoded": encoded},
    )
    data = tf.io.decode_raw(inputs["encoded"], tf.uint8)  # [bytes]
    ends = tf.cond(is_jpeg, lambda: _contains(data, JPEG_END), lambda: _contains(data, PNG_END))
    inputs = require(
        ends,
        "image_bytes must be whole files, got {} bytes without an end for image {}; send it anew.",
        (length, index),
        inputs,
    )
    size = images.stored_size(inputs["encoded"])  # before the memory is taken that the header asks for
    inputs = require(
        tf.logical_and(tf.reduce_all(size > 0), size[0] <= max_pixels // tf.maximum(size[1], 1)),
        f"An image must have 1 to {max_pixels} pixels, got {{}} wide and {{}} high for image {{}}; make it smaller, or "
        "write it anew.",
        (size[1], size[0], index),
        inputs,
    )
    scans = tf.where(is_jpeg, _num_scans(data), 0)
    inputs = require(
        scans <= MOST_SCANS,
        f"A JPEG file may have at most {MOST_SCANS} scans, got {{}} for image {{}}; write it anew.",
        (scans, index),
        inputs,
    )
    return images.decode(inputs["encoded"])


def _contains(data, pattern):
    """Whether bytes [N] contain a pattern."""
    places = tf.size(data) - len(pattern) + 1
    matches = [tf.equal(data[offset : offset + places], byte) for offset, byte in enumerate(pattern)]
    return tf.reduce_any(tf.reduce_all(matches, axis=0))


def _num_scans(data):
    """How often bytes [N] hold the head of a JPEG file's scan: its marker, the length 6 + 2 n and n, of components."""
    data = tf.pad(data, [[0, 4]])
    marker, kind, high, low, count = (data[place : tf.size(data) - 4 + place] for place in range(5))
    is_head = tf.equal(marker, 0xFF) & tf.equal(kind, 0xDA) & tf.equal(high, 0)
    return tf.math.count_nonzero(is_head & (count >= 1) & (count <= 4) & tf.equal(low, 6 + 2 * count))
