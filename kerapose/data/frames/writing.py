"""Frames and pictures to video files that are the same each time."""

import contextlib
import fractions
import io
import itertools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from kerapose.data.frames.reading import refuse_sizes
from kerapose.types import Array

# With AVX-512 x264 gives other bytes about once in seventy times (350 encodings on a loaded machine, PyAV 18); with all
# that comes before it, it never did, and gave those that are usual with it.
WITHOUT_AVX512 = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,AVX2"
KEY_FRAME_EVERY = 12  # a random frame of a video then costs six on average, and the file is a little larger
SLOWEST_FPS = fractions.Fraction(1, 1001)  # of a written file; slower ones would be rounded to none
_JPEG_FRAMES, _JPEG_SCAN, _JPEG_END = {0xC0, 0xC1, 0xC2}, 0xDA, b"\xff\xd9"  # markers: size, pixels, end


def encode(frames: Iterable[Array], fps: float, crf: int = 20, key_frame_every: int = KEY_FRAME_EVERY) -> bytes:
    """Encodes frames as H.264 in an MP4 file, which browsers play.

    The same frames give the same bytes, on however many cores.

    Args:
        frames: [T, H, W, 3] uint8 RGB, or anything that gives T pictures one after another; sides are even.
        fps: frames a second.
        crf: the constant rate factor of the encoder, 0 .. 51: the lower, the better and the larger.
        key_frame_every: greatest distance between frames that are decoded without others.

    Returns:
        bytes of the file.

    Raises:
        ValueError: if there is no frame, one has another type or size, a side is odd, or `fps` is not positive.

    Example:
        >>> import pathlib
        >>> from kerapose.data import frames
        >>> video = frames.encode([image] * 10, fps=25)
        >>> _ = pathlib.Path("still.mp4").write_bytes(video)
        >>> frames.probe("still.mp4").num_frames
        10
    """
    import av

    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("A video has at least one frame, got none; give some.")
    size = np.shape(first)[:2]
    if any(side % 2 for side in size):
        raise ValueError(f"Frames of an MP4 file have even sides, got {size[0]} x {size[1]}; crop or pad them.")
    options = {"crf": str(crf), "preset": "veryfast", "g": str(int(key_frame_every)), "threads": "1"}
    options |= steady_x264()
    file = io.BytesIO()
    with _written(file, "mp4", "libx264", "yuv420p", fps, size, options) as (container, stream):
        for number, picture in enumerate(itertools.chain([first], frames)):
            picture = np.ascontiguousarray(picture)
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise ValueError(
                    f"Frames are [H, W, 3] uint8 RGB, got {picture.shape} {picture.dtype} in frame {number}; convert "
                    "them."
                )
            if picture.shape[:2] != size:
                refuse_sizes(size, picture.shape[:2], number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def steady_x264() -> dict[str, str]:
    """Options of FFmpeg's libx264 with which the same pictures give the same bytes, on every machine at hand.

    Returns:
        dict, to be merged into an encoder's options; empty where the processor (Linux) has nothing to leave out.

    Example:
        >>> import av
        >>> from kerapose.data import frames
        >>> options = {"crf": "18"} | frames.steady_x264()
        >>> with av.open("steady.mp4", "w") as container:
        ...     stream = container.add_stream("libx264", rate=25, options=options)
        >>> stream.codec_context.name
        'libx264'
    """
    try:
        has_avx512 = "avx512" in pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        has_avx512 = False
    return {"x264-params": WITHOUT_AVX512} if has_avx512 else {}


def wrap_jpegs(jpegs: Sequence[bytes], fps: float) -> bytes:
    """Puts JPEG files, unchanged, one after another into a video file (Motion JPEG in AVI).

    So a folder of pictures becomes one file, and `read` decodes any frame of it without the others.

    Args:
        jpegs: list of bytes, the content of the files, in order.
        fps: frames a second.

    Returns:
        bytes of the file.

    Raises:
        ValueError: if there is none, one is not a whole JPEG file, their sizes differ, or `fps` is not positive.

    Example:
        >>> import pathlib
        >>> from kerapose.data import frames
        >>> video = frames.wrap_jpegs([pathlib.Path("street.jpg").read_bytes()] * 3, fps=25)
        >>> frames.read(video).shape
        (3, 240, 320, 3)
    """
    import av

    if not jpegs:
        raise ValueError("A video has at least one frame, got none; give some.")
    size = _jpeg_size(jpegs[0], 0)
    file = io.BytesIO()
    with _written(file, "avi", "mjpeg", "yuvj420p", fps, size) as (container, stream):
        container.start_encoding()  # settles the time base
        for number, jpeg in enumerate(jpegs):
            other = _jpeg_size(jpeg, number)
            if other != size:
                refuse_sizes(size, other, number)
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base, packet.is_keyframe = stream, 1 / stream.average_rate, True
            packet.pts = packet.dts = number
            container.mux(packet)
    return file.getvalue()


@contextlib.contextmanager
def _written(file, container_format, codec, pixel_format, fps, size, options=None):
    """Opens a file for one stream of video."""
    import av

    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}; 25 is usual.")
    with av.open(file, "w", format=container_format) as container:
        rate = max(fractions.Fraction(float(fps)).limit_denominator(1001), SLOWEST_FPS)
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        yield container, stream


def _jpeg_size(jpeg, number):
    """(height, width) of a JPEG file, from the segments in front of its pixels; raises unless it is a whole one."""
    place, size = 2, None
    while jpeg[:2] == b"\xff\xd8" and place + 9 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker in _JPEG_FRAMES:  # length, precision, height, width
            size = tuple(int.from_bytes(jpeg[i : i + 2], "big") for i in (place + 5, place + 7))
        if marker == _JPEG_SCAN:
            break
        place += 1 if marker == 0xFF else 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    if size is None:
        raise ValueError(
            f"Pictures must be JPEG files, got {len(jpeg):,} bytes of something else in frame {number}; convert it."
        )
    if jpeg.find(_JPEG_END, place) < 0:  # FFmpeg would show what there is
        raise ValueError(
            f"Pictures must be whole, got {len(jpeg):,} bytes in frame {number} without an end; get it again."
        )
    return size
