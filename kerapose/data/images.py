"""Encoded pictures to pixels, and pixels to crops, by TensorFlow operations alone.

So both functions run eagerly, inside `tf.data` and inside an exported SavedModel alike.
"""

import tensorflow as tf

from kerapose.ops import boxes
from kerapose.types import Size, Tensor

__all__ = [
    "crop",
    "decode",
    "orientation",
    "stored_size",
]

JPEG_SIGNATURE, PNG_SIGNATURE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
OTHER_FORMATS = (  # what they are called, and which bytes stand where
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("WebP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("HEIF or AVIF", 4, b"ftyp"),
)
FIRST_APPLICATION_MARKER = 0xE0  # from here on: data of applications, and comments; below: those of the picture itself
EXIF_MARKER, FILL_BYTE = 0xE1, 0xFF
ORIENTATION_TAG = 0x0112
LONG = 4  # the type of a TIFF number of four bytes; the others that count here have two
PNG_HEADER = 24  # bytes up to and with the size of the picture
MARGIN = 16  # zeros behind the bytes of a file, so that a few can be read anywhere
MOST_SEGMENTS = 1000  # looked at in front of a picture; files have tens, and each takes longer to skip than to send
BUCKETS = [2**n for n in range(14, 31)]  # numbers of pixels


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def decode(encoded: Tensor, upright: bool = True) -> Tensor:
    """Decodes a JPEG or PNG file to RGB, turned the way that its Exif data say it is to be looked at.

    The pixels are those that OpenCV and Pillow give, bit by bit. Grey is spread over the three channels, an alpha
    channel is dropped, and of 16 bits the upper eight are kept.

    Args:
        encoded: scalar string, the content of the file.
        upright: whether to turn it. False: for annotations that count pixels of the file as it is stored.

    Returns:
        [H, W, 3] uint8.

    Raises:
        tf.errors.InvalidArgumentError: when run, if the content is not a JPEG or PNG file, or not a whole one.

    Example:
        >>> import pathlib
        >>> from kerapose.data import images
        >>> tuple(images.decode(pathlib.Path("street.jpg").read_bytes()).shape)
        (240, 320, 3)
    """
    encoded = tf.convert_to_tensor(encoded)
    data = tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, MARGIN]])  # [bytes]
    is_png = _holds(data, 0, PNG_SIGNATURE)
    is_known = tf.logical_or(is_png, _holds(data, 0, JPEG_SIGNATURE))
    encoded = tf.cond(is_known, lambda: encoded, lambda: _refuse(encoded, data))
    # This operation takes PNG files as well. Its default method for JPEG is a grey level off all other decoders.
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    if upright:
        kind = _orientation_in(data, is_png)
        image = tf.cond(tf.equal(kind, 1), lambda: image, lambda: _turn(image, kind))
    return tf.ensure_shape(image, (None, None, 3))


def orientation(encoded: Tensor) -> Tensor:
    """How a JPEG or PNG file is to be turned by its Exif data.

    Args:
        encoded: scalar string, the content of the file.

    Returns:
        Scalar int64, 1 .. 8 as Exif numbers them; 1, which is upright, where the data do not say it.

    Example:
        >>> import pathlib
        >>> from kerapose.data import images
        >>> int(images.orientation(pathlib.Path("street.jpg").read_bytes()))  # upright
        1
    """
    data = tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, MARGIN]])  # [bytes]
    return _orientation_in(data, _holds(data, 0, PNG_SIGNATURE))


def stored_size(encoded: Tensor) -> Tensor:
    """(height, width) that the header of a JPEG or PNG file states, before anything is decoded.

    Args:
        encoded: scalar string, the content of the file.

    Returns:
        [2] int64, as the file is stored, not turned; (0, 0) of a PNG file that does not begin with its header.

    Raises:
        tf.errors.InvalidArgumentError: when run, if it is not a PNG file and has no header of a JPEG file.

    Example:
        >>> import pathlib
        >>> from kerapose.data import images
        >>> np.asarray(images.stored_size(pathlib.Path("street.jpg").read_bytes())).tolist()
        [240, 320]
    """
    head = tf.strings.substr(encoded, 0, PNG_HEADER)
    data = tf.pad(tf.io.decode_raw(head, tf.uint8), [[0, PNG_HEADER]])  # signature, length, IHDR, width, height

    def of_png():
        size = tf.stack([_number(_read(data, place, 4)) for place in (20, 16)])
        # Decoders skip what they do not know in front of the header: there, these bytes could say anything.
        return tf.where(_holds(data, 12, b"IHDR"), size, 0)

    def of_jpeg():
        return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)

    return tf.cond(_holds(data, 0, PNG_SIGNATURE), of_png, of_jpeg)


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)  # one graph for all who look
def look(encoded: Tensor) -> tuple[Tensor, Tensor]:
    """(height, width) of a JPEG or PNG file as it is shown, and its `orientation`: scalar string -> [2], scalar."""
    return tf.shape(decode(encoded))[:2], orientation(encoded)


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def crop(image: Tensor, matrix: Tensor, output_size: Size) -> Tensor:
    """Cuts one crop out of an image as `ops.boxes.warp` does, compiled: the faster form on the CPU.

    Only that part of the image is read which the crop shows. It is padded to one of a few sizes, so that there are only
    a few versions to compile, each when it is first needed.

    Args:
        image: [H, W, C], uint8 or float.
        matrix: [2, 3], from pixels of the image to pixels of the crop (`ops.boxes.affine`).
        output_size: (h, w) of the crop.

    Returns:
        [h, w, C] float32, in the units of `image`.

    Example:
        >>> from kerapose.data import images
        >>> from kerapose.ops import boxes
        >>> matrix = boxes.affine((80.0, 120.0), (150.0, 200.0), (64, 48))  # centre, size, output size
        >>> part = images.crop(image, matrix, (64, 48))
        >>> tuple(part.shape), part.dtype.name
        ((64, 48, 3), 'float32')
    """
    image = tf.convert_to_tensor(image)
    inverse = boxes.invert_affine(matrix)
    left, top, right, bottom = tf.unstack(_needed_part(tf.shape(image), inverse, output_size))
    part = image[top:bottom, left:right]
    shape = tf.shape(part)
    count = shape[0] * shape[1]
    bucket = tf.gather(BUCKETS, tf.searchsorted(BUCKETS, [count]))[0]
    zeros = tf.zeros((bucket - count, shape[2]), image.dtype)
    pixels = tf.concat([tf.reshape(part, (count, shape[2])), zeros], axis=0)  # [bucket, C]
    pixels = tf.ensure_shape(pixels, (None, image.shape[2]))
    corner = tf.cast(tf.stack([left, top]), tf.float32)[:, None]
    inverse = inverse - tf.pad(corner, [[0, 0], [2, 0]])  # to pixels of the part
    return _sample(pixels, shape[:2], inverse, tuple(output_size))


def _needed_part(shape, inverse, output_size):
    """The box [4] of the pixels that a crop shows and of one more on each side; at least a pixel of the image."""
    last_row, last_column = output_size[0] - 1, output_size[1] - 1
    corners = [[0, 0], [last_column, 0], [0, last_row], [last_column, last_row]]
    reach = boxes.transform_points(corners, inverse)  # [4, 2]
    reach = tf.where(tf.math.is_finite(reach), reach, 0.0)
    size = tf.cast(shape[1::-1], tf.float32)  # width, height
    low = tf.clip_by_value(tf.floor(tf.reduce_min(reach, axis=0)) - 1.0, 0.0, size - 1.0)
    high = tf.clip_by_value(tf.math.ceil(tf.reduce_max(reach, axis=0)) + 2.0, low + 1.0, size)
    return tf.cast(tf.concat([low, high], axis=0), tf.int32)


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)  # one pass over memory in place of fifty
def _sample(pixels, size, inverse, output_size):
    return boxes.sample(pixels, (size[0], size[1]), inverse[None], output_size)[0]


# ---------------------------------------- what the bytes of a file say
def _refuse(encoded, data):
    kind = tf.constant("something else")
    for name, position, signature in OTHER_FORMATS:
        kind = tf.where(_holds(data, position, signature), name, kind)
    count = tf.strings.as_string(tf.size(data) - MARGIN)
    parts = ["An image must be a JPEG or PNG file, got ", count, " bytes of ", kind, "; convert it."]
    tf.debugging.Assert(False, [tf.strings.join(parts)])
    return tf.identity(encoded)


def _orientation_in(data, is_png):
    """The orientation of the bytes of a file, with a margin: [bytes] -> 1 .. 8."""
    exif = tf.cond(is_png, lambda: _exif_of_png(data), lambda: _exif_of_jpeg(data))
    return tf.cond(tf.size(exif) > 0, lambda: _orientation(exif), lambda: tf.constant(1, tf.int64))


def _exif_of_jpeg(data):
    """The Exif data among the segments in front of the picture: [bytes] of a TIFF file, none if there are none."""

    def is_exif(head):  # 255, marker, two bytes of length, name
        return tf.logical_and(tf.equal(head[1], EXIF_MARKER), _equal(head[4:], b"Exif\0\0"))

    def is_other(_, head):
        is_application = tf.logical_and(tf.equal(head[0], 255), head[1] >= FIRST_APPLICATION_MARKER)
        return tf.logical_and(is_application, tf.logical_not(is_exif(head)))

    def skip(position, head):
        length = tf.where(tf.equal(head[1], FILL_BYTE), tf.constant(1, tf.int64), 2 + _number(head[2:4]))
        return position + length, _read(data, position + length, 10)

    start = tf.constant(2, tf.int64)
    begin = (start, _read(data, start, 10))
    position, head = tf.while_loop(is_other, skip, begin, maximum_iterations=MOST_SEGMENTS)
    end = tf.where(is_exif(head), position + 2 + _number(head[2:4]), 0)
    return data[position + 10 : end]


def _exif_of_png(data):
    """The same among the chunks of a PNG file."""

    def is_other(position, head):  # four bytes of length, name
        is_last = tf.logical_or(_equal(head[4:], b"eXIf"), _equal(head[4:], b"IDAT"))
        return tf.logical_and(position < tf.size(data, tf.int64), tf.logical_not(is_last))

    def skip(position, head):
        position += 12 + _number(head[:4])  # a checksum is behind the data
        return position, _read(data, position, 8)

    start = tf.constant(len(PNG_SIGNATURE), tf.int64)
    begin = (start, _read(data, start, 8))
    position, head = tf.while_loop(is_other, skip, begin, maximum_iterations=MOST_SEGMENTS)
    end = tf.where(_equal(head[4:], b"eXIf"), position + 8 + _number(head[:4]), 0)
    return data[position + 8 : end]


def _orientation(exif):
    """The orientation 1 .. 8 in the first directory of a TIFF file; where there is none that makes sense: 1."""
    exif = tf.pad(exif, [[0, MARGIN]])
    order = _read(exif, 0, 2)
    little_endian = _equal(order, b"II")
    is_tiff = tf.logical_or(little_endian, _equal(order, b"MM"))
    start = _number(_read(exif, 4, 4), little_endian)
    count = _number(_read(exif, start, 2), little_endian)
    entries = tf.cast(exif[start + 2 : start + 2 + 12 * count], tf.int64)
    entries = tf.reshape(entries[: tf.size(entries) // 12 * 12], (-1, 12))  # tag, type, count, value
    tags, types = _number(entries[:, :2], little_endian), _number(entries[:, 2:4], little_endian)
    longs, shorts = _number(entries[:, 8:], little_endian), _number(entries[:, 8:10], little_endian)
    values = tf.where(tf.equal(types, LONG), longs, shorts)
    is_orientation = tf.logical_and(is_tiff, tf.equal(tags, ORIENTATION_TAG))
    is_valid = tf.logical_and(values >= 1, values <= 8)
    found = tf.boolean_mask(values, tf.logical_and(is_orientation, is_valid))
    return tf.concat([found, [1]], axis=0)[0]


def _turn(image, orientation):
    """Brings an image of an orientation 2 .. 8 upright: transposes it, if it lies on its side, and mirrors it."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    mirrored = [tf.reduce_any(tf.equal(orientation, kinds)) for kinds in ([3, 4, 7, 8], [2, 3, 6, 7])]
    return tf.reverse(image, tf.boolean_mask([0, 1], tf.stack(mirrored)))


def _holds(data, position, signature):
    return _equal(data[position : position + len(signature)], signature)


def _equal(values, signature):
    return tf.reduce_all(tf.equal(values, tf.constant(list(signature), values.dtype)))


def _read(data, position, count):
    """[count] bytes from a position on, as int64; beyond the end of a file, zeros."""
    position = tf.minimum(tf.cast(position, tf.int64), tf.size(data, tf.int64) - count)
    return tf.cast(tf.slice(data, [position], [count]), tf.int64)


def _number(digits, little_endian=False):
    """The whole numbers that bytes stand for: [..., bytes] -> [...]."""
    weights = tf.constant([256**n for n in range(digits.shape[-1])], tf.int64)
    return tf.reduce_sum(digits * tf.where(little_endian, weights, weights[::-1]), axis=-1)
