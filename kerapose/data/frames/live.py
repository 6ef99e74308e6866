"""Frames of what is still going on: a stream from the net, or a file that is still being written."""

import os
import pathlib
import re
import time
from collections.abc import Iterator

from kerapose.data.frames.display import Display
from kerapose.data.frames.reading import Frame, refuse_sizes
from kerapose.types import Path

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
PATIENCE_S = 5.0  # for which a growing file may stay as it is
ANALYZED_US = 1_000_000  # of a growing file, from which FFmpeg tells what is in it; the first frame waits for that
PAUSE_S = 0.02  # between two looks at a file that has not grown


def is_address(given: object) -> bool:
    """Whether something is the address of a stream: rtsp://, http://, https://, rtmp://, udp:// ...

    Args:
        given: what a user gives as a video; only text can be an address.

    Returns:
        A bool.

    Example:
        >>> from kerapose.data import frames
        >>> frames.is_address("rtsp://192.168.0.7/stream"), frames.is_address("walk.mp4")
        (True, False)
    """
    return isinstance(given, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", given) is not None


class LiveVideo:
    """The frames of a stream or of a growing file, each as soon as it is there.

    Nothing is known of what is to come: no number of frames, no times but those of the frames so far. A frame that
    cannot be decoded is left out.

    Args:
        source: address of a stream (rtsp://, http:// ...), or path of a file that is being written, in a form that can
            be read before it is closed: MPEG-TS (.ts), Matroska (.mkv), fragmented MP4.
        patience_s: seconds for which a file may stay as it is before it counts as done.

    Attributes:
        fps: frames a second as the stream says; None if it does not.
        is_endless: whether it goes on by the clock, as a camera does, and not at the speed at which it is read, as a
            whole file that a server sends.

    Raises:
        ValueError: if it cannot be opened, or is no video.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose.data import frames
        >>> video = frames.LiveVideo("rtsp://192.168.0.7/stream")  # doctest: +SKIP
        >>> video = frames.LiveVideo("walk.mp4", patience_s=0)  # a file, which is whole already
        >>> times_s = [frame.time_s for frame in video]
        >>> video.fps, len(times_s), times_s[-1]
        (15.0, 30, 1.933)
    """

    def __init__(self, source: Path, patience_s: float = PATIENCE_S):
        self.name = str(source)
        of_net = is_address(self.name)
        self._file = None if of_net else _Growing(source, patience_s)
        self._container = self._opened(of_net)
        if not self._container.streams.video:
            self.close()
            raise ValueError(f"A stream must have video, got {self.name} without; give another.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE"  # threads that each hold a frame back would delay the newest one
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.is_endless = not of_net or self._container.duration is None

    def __iter__(self) -> Iterator[Frame]:
        """The frames; it ends with the stream.

        Raises:
            ValueError: if the stream breaks off, or a frame has another size than the first.
        """
        import av

        display, shape, count = Display(), None, 0
        try:
            for packet in self._container.demux(self._stream):
                for frame in _decoded(packet):
                    picture = display(frame, self._stream)
                    shape = shape or picture.shape
                    if picture.shape != shape:
                        refuse_sizes(shape[:2], picture.shape[:2], count)
                    yield Frame(picture, None if frame.time is None else float(frame.time))
                    count += 1
        except av.FFmpegError as error:
            if not count:  # its beginning says where the frames are, and they cannot be had
                raise self._unreadable(error) from error
            raise ValueError(
                f"A stream must go on, got {self.name} up to an error behind {count} frames ({error}); open it again."
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the stream."""
        self._container.close()
        if self._file is not None:
            self._file.close()

    def _opened(self, of_net):
        import av  # late, since it brings the whole of FFmpeg with it

        try:
            if of_net:
                options = {"rtsp_transport": "tcp"} if self.name.lower().startswith("rtsp") else {}
                return av.open(self.name, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
            return av.open(self._file, mode="r", options={"analyzeduration": str(ANALYZED_US)})
        except (av.FFmpegError, OSError) as error:
            if self._file is not None:
                self._file.close()
            raise self._unreadable(error) from error

    def _unreadable(self, error):
        remedy = (
            "have it recorded as .ts, .mkv or fragmented MP4, or wait until it is closed and leave follow out"
            if self._file is not None
            else "check the address and the server, and that an MP4 file begins with its index (faststart)"
        )
        return ValueError(
            f"A stream must be one that FFmpeg can read from where it is, got {self.name} ({error}); {remedy}."
        )


def _decoded(packet):
    """The frames of a packet; none where it cannot be decoded."""
    import av

    try:
        return packet.decode()
    except av.InvalidDataError:
        return []


class _Growing:
    """A file that is read from front to back and waits at its end for more."""

    def __init__(self, path, patience_s):
        if not pathlib.Path(path).is_file():
            raise FileNotFoundError(
                f"A growing file must be there, got {path}, where there is no file; check the path."
            )
        self._file = open(os.fspath(path), "rb", buffering=0)  # noqa: SIM115, it is closed by `close`
        self._patience_s = patience_s

    def read(self, count):
        end = time.monotonic() + self._patience_s
        while True:
            content = self._file.read(count)
            if content or time.monotonic() > end:
                return content
            time.sleep(PAUSE_S)

    def close(self):
        self._file.close()
