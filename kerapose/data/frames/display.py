"""How a decoded frame is to be looked at: with square pixels, turned and mirrored as its file says."""

import fractions
import typing

import numpy as np

from kerapose.types import Array

WIDEST_PIXEL = 8  # or highest, by its other side; a file that says more than that of its pixels says nothing
UNNAMED = 16  # kinds of side data that FFmpeg may have behind the last that PyAV has a name for


class Display:
    """Turns the frames of one video upright; `pixel` is the width of the last one's pixels by their height, as shown.

    Example:
        >>> import av
        >>> from kerapose.data.frames.display import Display
        >>> with av.open("walk.mp4") as container:
        ...     stream, display = container.streams.video[0], Display()
        ...     pictures = [display(frame, stream) for frame in container.decode(stream)]
        >>> len(pictures), pictures[0].shape, display.pixel
        (30, (240, 320, 3), Fraction(1, 1))
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter  # late, since it brings the whole of FFmpeg with it

        self.pixel = fractions.Fraction(1)
        self._convert = VideoReformatter()
        self._rotation, self._matrix = None, None  # of the last frame

    def __call__(self, frame: typing.Any, stream: typing.Any) -> Array:
        """[H, W, 3] uint8 RGB of a frame of PyAV's, and the stream that it is of."""
        ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1  # of a pixel's sides
        is_sane = fractions.Fraction(1, WIDEST_PIXEL) <= ratio <= WIDEST_PIXEL
        self.pixel = fractions.Fraction(ratio if is_sane else 1)
        height, width = round(frame.height / min(self.pixel, 1)), round(frame.width * max(self.pixel, 1))
        picture = self._convert.reformat(frame, width, height, format="rgb24").to_ndarray()
        if frame.rotation != self._rotation:  # else as before: side data is not looked at in vain, see `_matrix_of`
            self._rotation, self._matrix = frame.rotation, _matrix_of(frame)
        a, b, c, d = self._matrix
        if abs(b) + abs(c) > abs(a) + abs(d):
            picture, a, d, self.pixel = picture.swapaxes(0, 1), c, b, 1 / self.pixel
        return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _matrix_of(frame):
    """(a, b, c, d) of the display matrix of a frame of PyAV: it is shown at x' = a x + c y, y' = b x + d y.

    A frame whose side data was looked at refers to itself, and is in memory until the garbage collector comes.
    """
    try:
        side_data = frame.side_data
    except ValueError:  # there is some of a kind that PyAV has no name for, as the Exif of a JPEG
        side_data = _with_named_side_data(frame).side_data
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1.0, 0.0, 0.0, 1.0
    a, b, _, c, d = np.frombuffer(matrix, "int32")[:5].astype("float64").tolist()
    return a, b, c, d


def _with_named_side_data(frame):
    """A frame of PyAV without the side data that only FFmpeg has names for, which it is asked to take off."""
    import av
    from av.sidedata.sidedata import Type

    named = max(kind.value for kind in Type)
    graph = av.filter.Graph()
    shape = {"width": frame.width, "height": frame.height, "format": frame.format, "time_base": fractions.Fraction(1)}
    takers = [graph.add("sidedata", f"mode=delete:type={named + 1 + i}") for i in range(UNNAMED)]
    graph.link_nodes(graph.add_buffer(**shape), *takers, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()
