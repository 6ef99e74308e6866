"""Decoding against OpenCV and Pillow, on files that are written here; the compiled crop against the plain one."""

import io
import itertools
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from kerapose.data import images
from kerapose.ops import boxes

SIZE = (37, 54)  # odd ones, and not a multiple of a JPEG block
ORIENTATIONS = range(1, 9)


@pytest.fixture(scope="module")
def picture():
    """Smooth colours, unlike each other in every corner."""
    noise = np.random.default_rng(0).uniform(-60, 320, (5, 7, 3))
    return np.clip(cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC), 0, 255).astype("uint8")


def encode(picture, file_format, **options):
    """A file of a picture, by Pillow."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def encode_with_opencv(picture):
    """A PNG file of any depth (Pillow has no colours of 16 bits)."""
    return cv2.imencode(".png", picture)[1].tobytes()


def decode_with_opencv(content):
    return cv2.imdecode(np.frombuffer(content, "uint8"), cv2.IMREAD_COLOR)[..., ::-1]


def tiff(order, entries, offset=8):
    """A TIFF file of one directory: entries are (tag, type, value)."""
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        if kind == 3:
            directory += struct.pack(f"{order}HHIHH", tag, kind, 1, value, 0xABCD)  # whatever stands in the unused half
        else:
            directory += struct.pack(f"{order}HHII", tag, kind, 1, value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, offset)
    return head.ljust(offset, b"\x12") + directory + struct.pack(f"{order}I", 0)


def orientation_entries(orientation, kind=3):
    return [(0x010F, 4, 77), (0x0112, kind, orientation), (0x011A, 4, 99)]


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(name, content):
    """A PNG chunk; libpng checks the checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def behind_the_start(jpeg, *segments):
    """A JPEG file with more segments right behind its first two bytes."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def turned(stored, orientation):
    """What orientation 1 .. 8 means, word for word: where the first row and the first column of the file belong."""
    turns = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.swapaxes(p[::-1, ::-1], 0, 1),
        8: lambda p: np.rot90(p, 1),
    }
    return turns[orientation](stored)


decode_in_a_graph = tf.function(images.decode, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def check_decoded(content, expected):
    for decoded in (images.decode, decode_in_a_graph):
        actual = decoded(content)
        assert actual.dtype == tf.uint8
        np.testing.assert_array_equal(actual, expected)


# ---------------------------------------- kinds of files
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 92, "subsampling": 0},
        {"quality": 75, "subsampling": 1},
        {"quality": 75, "subsampling": 2},
        {"quality": 80, "progressive": True},
        {"quality": 80, "optimize": True, "restart_marker_rows": 1},
    ],
)
def test_jpeg_bit_by_bit(picture, options):
    content = encode(picture, "JPEG", **options)
    check_decoded(content, np.asarray(Image.open(io.BytesIO(content))))
    check_decoded(content, decode_with_opencv(content))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_colours(picture, mode):
    content = encode(Image.fromarray(picture).convert(mode), "JPEG")
    check_decoded(content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
def test_png(picture, mode):
    image = Image.fromarray(picture)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(picture[..., 0]))  # transparent here and there: its colours count all the same
    content = encode(image.convert(mode), "PNG")
    check_decoded(content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("options", [{"bits": 4}, {"bits": 2}, {"transparency": 3}])
def test_png_with_a_palette(picture, options):
    content = encode(Image.fromarray(picture).quantize(2 ** options.get("bits", 4)), "PNG", **options)
    check_decoded(content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits_keeps_the_upper_eight(channels):
    deep = np.random.default_rng(1).integers(0, 2**16, (*SIZE, channels)).astype("uint16")
    expected = np.broadcast_to((deep >> 8).astype("uint8")[..., :3][..., ::-1], (*SIZE, 3))
    check_decoded(encode_with_opencv(deep), expected)


def test_a_photograph(shared_data):
    content = sorted((shared_data("coco_mini") / "images").iterdir())[0].read_bytes()
    check_decoded(content, decode_with_opencv(content))


# ---------------------------------------- orientation
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(picture, orientation, order):
    jpeg = encode(picture, "JPEG")  # Pillow begins it with the segment of JFIF
    stored = decode_with_opencv(jpeg)
    exif = segment(0xE1, b"Exif\0\0" + tiff(order, orientation_entries(orientation)))
    for content in (
        behind_the_start(jpeg, exif),
        jpeg[:20] + exif + jpeg[20:],  # behind that of JFIF
    ):
        check_decoded(content, turned(stored, orientation))
        np.testing.assert_array_equal(images.decode(content, upright=False), stored)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        np.testing.assert_array_equal(upright, turned(stored, orientation))
        np.testing.assert_array_equal(decode_with_opencv(content), turned(stored, orientation))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_of_png(picture, orientation):
    png = encode(picture, "PNG")
    exif = chunk(b"eXIf", tiff("<>"[orientation % 2], orientation_entries(orientation)))
    text = chunk(b"tEXt", b"Title\0eXIf and IDAT")
    for content in (png[:33] + exif + png[33:], png[:33] + text + exif + png[33:]):  # behind the header
        check_decoded(content, turned(picture, orientation))


def jpeg_oddities():
    """Name, what stands before the picture, and the orientation that it means."""
    six = tiff("<", orientation_entries(6))
    exif = segment(0xE1, b"Exif\0\0" + six)
    return {
        "other data first": ([segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), segment(0xE2, b"I" * 65533), exif], 6),
        "comment first": ([segment(0xFE, b"Exif\0\0 was here"), exif], 6),
        "fill bytes": ([b"\xff\xff\xff", exif], 6),
        "first of two": ([exif, segment(0xE1, b"Exif\0\0" + tiff("<", orientation_entries(3)))], 6),
        "a long number": ([segment(0xE1, b"Exif\0\0" + tiff(">", orientation_entries(8, kind=4)))], 8),
        "directory further on": ([segment(0xE1, b"Exif\0\0" + tiff(">", orientation_entries(5), offset=50))], 5),
        "last of the file's entries": (
            [segment(0xE1, b"Exif\0\0" + tiff("<", [(7, 3, 1)] * 99 + [(0x0112, 3, 7)]))],
            7,
        ),
        # What makes no sense is no orientation.
        "none in the directory": ([segment(0xE1, b"Exif\0\0" + tiff("<", [(0x010F, 4, 6)]))], 1),
        "empty directory": ([segment(0xE1, b"Exif\0\0" + tiff("<", []))], 1),
        "zero": ([segment(0xE1, b"Exif\0\0" + tiff("<", orientation_entries(0)))], 1),
        "nine": ([segment(0xE1, b"Exif\0\0" + tiff(">", orientation_entries(9)))], 1),
        "no TIFF": ([segment(0xE1, b"Exif\0\0XX" + six[2:])], 1),
        "empty": ([segment(0xE1, b"Exif\0\0")], 1),
        "name only": ([segment(0xE1, b"Exif")], 1),
        "cut off": ([segment(0xE1, b"Exif\0\0" + six[:20])], 1),
        "offset beyond the end": ([segment(0xE1, b"Exif\0\0II*\0\xf0\xff\xff\xff" + six[8:])], 1),
        "entries beyond the end": ([segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + six[10:34])], 6),
    }


@pytest.mark.parametrize("name", jpeg_oddities())
def test_exif_of_odd_files(picture, name):
    segments, orientation = jpeg_oddities()[name]
    jpeg = encode(picture, "JPEG")
    check_decoded(behind_the_start(jpeg, *segments), turned(decode_with_opencv(jpeg), orientation))


def test_what_is_skipped_has_an_end(picture):
    """A loop over two million segments would take half a minute."""
    jpeg, png = encode(picture, "JPEG"), encode(picture, "PNG")
    stored = decode_with_opencv(jpeg)
    for between in (b"\xff" * 2_000_000, b"\xff\xe5\x00\x02" * 500_000):
        start = time.process_time()
        np.testing.assert_array_equal(decode_in_a_graph(jpeg[:2] + between + jpeg[2:]), stored)
        assert time.process_time() - start < 5
    start = time.process_time()
    np.testing.assert_array_equal(decode_in_a_graph(png[:33] + chunk(b"teSt", b"") * 50_000 + png[33:]), picture)
    assert time.process_time() - start < 5


# ---------------------------------------- size
stored_size_in_a_graph = tf.function(
    images.stored_size, input_signature=[tf.TensorSpec((), tf.string)], autograph=False
)


@pytest.mark.parametrize("file_format, options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_the_stored_size_needs_the_header_alone(picture, file_format, options):
    content = encode(picture, file_format, **options)
    sideways = content
    if file_format == "JPEG":
        sideways = behind_the_start(content, segment(0xE1, b"Exif\0\0" + tiff(">", orientation_entries(6))))
    for whole in (content, sideways, content[:-40], content[:30] if file_format == "PNG" else content):
        for size in (images.stored_size, stored_size_in_a_graph):
            assert size(whole).numpy().tolist() == list(SIZE)


def test_the_stored_size_of_a_large_file_and_of_what_hides_it(picture):
    header = struct.pack(">IIBBBBB", 2**31 - 1, 70_000, 8, 2, 0, 0, 0)
    assert images.stored_size(images.PNG_SIGNATURE + chunk(b"IHDR", header)).numpy().tolist() == [70_000, 2**31 - 1]
    png = encode(picture, "PNG")
    for content in (png[:8] + chunk(b"heRe", bytes(13)) + png[8:], png[:8], png[:20]):
        assert images.stored_size(content).numpy().tolist()[0] == 0
    for content in (b"", b"\xff\xd8\xff", b"GIF89a"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            images.stored_size(content)


# ---------------------------------------- what is refused
def refusal(content):
    """The errors of `decode` as a text, eagerly and in a graph."""
    for decoded in (images.decode, decode_in_a_graph):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            decoded(content)
        yield str(error.value)


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "WebP", "TIFF"])
def test_other_formats_are_refused_by_name(picture, file_format):
    content = encode(picture, file_format)
    for message in refusal(content):
        sentence = f"An image must be a JPEG or PNG file, got {len(content)} bytes of {file_format}; convert it."
        assert sentence in message


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "something else"),
        (b"\xff\xd8", "something else"),
        (b"<svg/>", "something else"),
        (b"\0\0\0\x18ftypheic", "HEIF or AVIF"),
        (b"\0" * 1000, "something else"),
    ],
)
def test_what_is_no_image_is_refused(content, kind):
    for message in refusal(content):
        assert f"An image must be a JPEG or PNG file, got {len(content)} bytes of {kind}; convert it." in message


@pytest.mark.parametrize("file_format, options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_truncated_files_are_refused(picture, file_format, options):
    content = encode(picture, file_format, **options)
    exif = behind_the_start(content, segment(0xE1, b"Exif\0\0" + tiff("<", orientation_entries(6))))
    for whole in (content, exif) if file_format == "JPEG" else (content,):
        for kept in (8, 30, 60, len(whole) // 2, len(whole) - 40, len(whole) - 1):
            for message in refusal(whole[:kept]):
                assert f"Invalid {file_format}" in message or "Uncompress failed" in message


def test_a_damaged_png_is_refused(picture):
    content = bytearray(encode(picture, "PNG"))
    content[len(content) // 2] ^= 255
    for message in refusal(bytes(content)):
        assert "Invalid PNG" in message


# ---------------------------------------- tf.data
def test_inside_tf_data(picture):
    jpeg, png = encode(picture, "JPEG"), encode(picture[:20, :9], "PNG")
    sideways = behind_the_start(jpeg, segment(0xE1, b"Exif\0\0" + tiff(">", orientation_entries(8))))
    dataset = tf.data.Dataset.from_tensor_slices([jpeg, png, sideways]).map(images.decode)
    assert dataset.element_spec == tf.TensorSpec((None, None, 3), tf.uint8)
    stored = decode_with_opencv(jpeg)
    for image, expected in zip(dataset, [stored, picture[:20, :9], turned(stored, 8)], strict=True):
        np.testing.assert_array_equal(image, expected)


def test_a_bad_file_among_good_ones(picture):
    good = encode(picture, "PNG")
    dataset = tf.data.Dataset.from_tensor_slices([good, good[:50], b"", good]).map(images.decode)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid PNG"):
        list(dataset)
    assert len(list(dataset.ignore_errors())) == 2


# ---------------------------------------- export
def test_decode_inside_a_saved_model(picture, tmp_path):
    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
        def __call__(self, encoded):
            return images.decode(encoded)

    tf.saved_model.save(Server(), str(tmp_path))
    served = tf.saved_model.load(str(tmp_path))
    jpeg = encode(picture, "JPEG")
    sideways = behind_the_start(jpeg, segment(0xE1, b"Exif\0\0" + tiff(">", orientation_entries(6))))
    np.testing.assert_array_equal(served(tf.constant(sideways)), turned(decode_with_opencv(jpeg), 6))
    with pytest.raises(tf.errors.InvalidArgumentError, match="An image must be a JPEG or PNG file, got 3 bytes"):
        served(tf.constant(b"abc"))


# ---------------------------------------- crop
def crops_of(image):
    """Centres, sizes, rotations and flips: inside, across each border, far outside, all of it, a single pixel."""
    height, width = image.shape[:2]
    regions = [
        ([width / 2, height / 2], [height / 3, width / 3]),
        ([0.0, 0.0], [height, width]),
        ([width, height / 2], [height / 2, width / 2]),
        ([width / 2, height / 2], [3 * height, 3 * width]),
        ([-500.0, 9000.0], [50.0, 40.0]),
        ([5.3, 7.9], [1.0, 1.0]),
    ]
    for (center, size), rotation, flip in itertools.product(regions, (0.0, 0.8), (False, True)):
        yield np.asarray(boxes.affine(center, size, (24, 18), rotation, flip))


@pytest.mark.parametrize(
    "size, dtype", [((60, 80), "uint8"), ((60, 80), "float32"), ((1, 1), "uint8"), ((200, 300), "uint8")]
)
def test_crop_is_warp(size, dtype):
    image = np.random.default_rng(2).integers(0, 256, (*size, 3)).astype(dtype)
    maps = np.stack(list(crops_of(image)))
    warped = boxes.warp(image, maps, (24, 18))
    for matrix, expected in zip(maps, warped, strict=True):
        # Offsets are counted from the part that is read, so they are rounded elsewhere.
        np.testing.assert_allclose(images.crop(image, matrix, (24, 18)), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e30, 0.0])
def test_crop_through_a_senseless_map_is_finite(value):
    image = np.full((5, 7, 3), 200, "uint8")
    crop = images.crop(image, np.float32([[value, 0, value], [0, 1, 0]]), (4, 6))
    assert np.all(np.isfinite(crop))


def test_crop_inside_tf_data(picture):
    files = [encode(picture, "PNG"), encode(np.tile(picture, (4, 4, 1)), "PNG")]
    matrix = np.asarray(boxes.affine([27.0, 18.0], [40.0, 30.0], (32, 24), 0.3))
    dataset = tf.data.Dataset.from_tensor_slices(files)
    dataset = dataset.map(lambda file: images.crop(images.decode(file), matrix, (32, 24)))
    assert dataset.element_spec.shape == (32, 24, 3)
    for file, crop in zip(files, dataset, strict=True):
        expected = boxes.warp(images.decode(file), matrix[None], (32, 24))[0]
        np.testing.assert_allclose(crop, expected, rtol=0, atol=0.05)


def test_sizes_share_what_is_compiled():
    """Pictures of all sizes below a bucket go through one and the same trace."""
    matrix = np.asarray(boxes.affine([9.0, 9.0], [11.0, 7.0], (22, 14)))
    images.crop(np.zeros((20, 20, 3), "uint8"), matrix, (22, 14))
    before = images._sample.experimental_get_tracing_count()
    for side in range(21, 30):
        images.crop(np.zeros((side, 2 * side, 3), "uint8"), matrix, (22, 14))
    assert images._sample.experimental_get_tracing_count() - before <= 1
