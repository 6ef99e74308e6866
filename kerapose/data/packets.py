"""The packets of a video file: where each frame is in it, when it is shown, and what is missing.

A file is never whole in memory. It is gone through once for a table of its packets, without their data, and once more
for the data of those that are decoded: from key frame to key frame where its container has an index, else from its
beginning. `data.frames` decodes.
"""

import contextlib
import io
import itertools
import os
import re
import typing
from collections.abc import Iterable, Iterator

import numpy as np

from kerapose.types import ArrayLike, Path

INDEXED = ("mov", "matroska", "avi")  # containers, as FFmpeg calls them, in which a key frame is found at once
HELD = ("gif", "apng", "webp")  # containers of drawings, in which a picture that stays is stored once
NEAR_BYTES = 1 << 18  # packets up to so far ahead are read, not jumped over
READ_BYTES = 1 << 16  # at a time
MOST_FAILURES = 3  # to read on, one after another, until the rest of a file is given up
TS_PACKET, TS_SYNC = 188, 0x47  # an MPEG transport stream is cut into packets of this many bytes, each with this first
# Frames seem to be lost where all others are equally far apart in time and there is room for whole ones:
LEAST_STEPS = 8  # from frame to frame; fewer show no rate
STEP_TOLERANCE = 0.01  # of a step, or one tick of the file's clock, if that is more: times are rounded to ticks
MOST_GAPS = 0.1  # of the steps; where more are wide, the rate varies and nothing is lost
HOLE = 1.5  # steps: frames further apart have others between them
MARK_REACH = 8  # frames between a loss and the packet that FFmpeg marks for it, at most
BLOCK_BYTES = 100  # between the data of two Matroska blocks there are their heads, at most so long
NAMED = 5  # places in a sentence

_RIFF, _MATROSKA, _MATROSKA_BODY, _MP4 = b"RIFF", b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"ftyp"


class Packet(typing.NamedTuple):
    """What is known of a packet but its data; times are in ticks of the stream's clock."""

    time: int | None  # when it is shown
    stored: int | None  # when it is decoded
    duration: int  # how long it is shown; 0 if that is not known
    position: int | None  # in the file
    size: int
    is_key: bool
    is_hidden: bool  # decoded, but not shown
    is_marked: bool  # by FFmpeg: data is missing in it or near it

    @classmethod
    def of(cls, packet: typing.Any) -> typing.Self:
        flags = packet.is_keyframe, packet.is_discard, packet.is_corrupt
        return cls(packet.pts, packet.dts, packet.duration or 0, packet.pos, packet.size, *flags)

    @property
    def key(self) -> tuple[int | None, int | None, int]:
        return self.time, self.position, self.size


@contextlib.contextmanager
def opened(source: Path | bytes, name: str | None = None) -> Iterator["Packets"]:
    """Opens a video and goes through its packets; no frame is decoded yet.

    Args:
        source: path of a video file, or its content as bytes.
        name: what errors and warnings call it. None: its path.

    Yields:
        `Packets`.

    Raises:
        ValueError: if this is not a video, or one without any frame.
        FileNotFoundError: if there is no such file.
    """
    is_content = isinstance(source, bytes)
    name = name or ("the video" if is_content else os.fspath(source))
    file = io.BytesIO(source) if is_content else io.FileIO(source)  # neither copies what is in it
    with file, contextlib.closing(Packets(file, name)) as packets:
        yield packets


class Packets:
    """The packets of an opened video, in the order of storage, and what they tell of its frames.

    Attributes:
        name: for errors and warnings.
        stream: PyAV's; another one after each `start_at`.
        table: list of `Packet`.
        num_frames: how many are shown.
        numbers: of frames, by the times of their packets; None where times say nothing, as of a raw stream.
        gaps: list of (number of a frame, how many are missing behind it), as the times of the others tell.
        damage: what is wrong with the file as a whole, in words; "" if nothing is known.
    """

    def __init__(self, file: typing.BinaryIO, name: str):
        self.name = name
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        self._declared = declared_length(file, self._length)
        self._interruption = None
        self._container = None
        self._places = None
        try:
            self._open()
            self._read_table()
        except BaseException:
            self.close()
            raise
        self._find_order()

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def reopen(self) -> None:
        """Goes to the beginning with a decoder that knows of nothing yet."""
        self._open()

    def start_at(self, start: int) -> None:
        """Goes to where the packet of a place in the table is, or before it."""
        if self._place <= start and sum(packet.size for packet in self.table[self._place : start]) <= NEAR_BYTES:
            return
        if not self._jump(start):
            self._open()

    def between(self, start: int, end: int) -> Iterator[tuple[int, typing.Any]]:
        """Gives (place, packet of PyAV) of places in the table, where `start_at` has gone."""
        while self._place < end:
            packet = next(self._rest, None)
            if packet is None:
                return
            self._place += 1
            if self._place > start:
                yield self._place - 1, packet

    def mean_fps(self) -> float:
        """Frames a second, by their times; by the header where they say nothing."""
        if self.numbers is None or self.num_frames == 1:
            return float(self.stream.average_rate or self.stream.guessed_rate or 0.0)
        span = (self._shown[-1] - self._shown[0]) * self.stream.time_base
        return float((self.num_frames - 1) / span)

    def time_s(self, number: int) -> float | None:
        """When a frame is shown, in seconds on the clock of the file; None if that is not known."""
        if self._shown is not None:
            return float(self._shown[number] * self.stream.time_base)
        fps = self.mean_fps()
        return number / fps if fps > 0 else None

    # ---------------------------------------- the container
    def _open(self):
        """Opens the file at its beginning, once more if it is open."""
        import av  # late, since it brings the whole of FFmpeg with it

        self.close()
        head = _bytes_at(self._file, 0, 8)
        # Where the header says all, FFmpeg need not decode the first frames to find out what is inside.
        options = {"analyzeduration": "1"} if head[4:] == _MP4 or head[:4] == _MATROSKA else {}
        self._file.seek(0)
        options = {"container_options": options, "metadata_errors": "replace", "buffer_size": READ_BYTES}
        try:
            self._container = av.open(_Nameless(self._file), **options)
        except Exception as error:  # whatever comes out of FFmpeg and PyAV where a file is damaged
            if self._declared > self._length:
                raise ValueError(
                    f"A video must be whole, got {self._length:,} of at least {self._declared:,} bytes of {self.name}, "
                    "without the end of which no frame can be found; get it again."
                ) from error
            raise ValueError(
                f"A video must be a file that FFmpeg reads (MP4, AVI, MKV, ...), got {self._length:,} bytes of "
                f"something else as {self.name}; convert it."
            ) from error
        cover = av.stream.Disposition.attached_pic
        moving = [stream for stream in self._container.streams.video if not stream.disposition & cover]
        self.stream = moving[0] if moving else None
        if self.stream is not None and self.stream.codec_context is not None:
            self.stream.codec_context.thread_count = 1  # videos are read side by side; threads within one only wait
        self._rest, self._place = self._demuxed(), 0

    def _demuxed(self):
        """Gives the packets from where the container is, past what cannot be read.

        What PyAV raises on a damaged file is not always FFmpeg's: a stream that turns up late is an IndexError.
        """
        failures = 0
        while failures < MOST_FAILURES:
            try:
                for packet in self._container.demux(self.stream):
                    if packet.size:
                        failures = 0
                        yield packet
                return
            except Exception as error:
                failures += 1
                self._interruption = getattr(error, "strerror", None) or "its structure is damaged"

    def _jump(self, start):
        """Goes to a place in the table or before it without opening the file again; whether that worked."""
        if self._container.format.name.split(",")[0] not in INDEXED:
            return self._jump_to(start, 0, unsupported_byte_offset=True)
        times = dict.fromkeys((self.table[start].time, self.table[start].stored))  # whichever of them the index goes by
        return any(self._jump_to(start, time) for time in times if time is not None)

    def _jump_to(self, start, offset, **kind):
        if self._places is None:
            keys = [packet.key for packet in self.table]
            self._places = dict(zip(keys, itertools.count(), strict=False)) if len(set(keys)) == len(keys) else {}
        try:
            self._container.seek(offset, stream=self.stream, **kind)
        except Exception:  # the index is damaged
            return False
        rest = self._demuxed()
        first = next(rest, None)
        place = None if first is None else self._places.get(Packet.of(first).key)
        if place is None or place > start or (kind and place > 0):
            return False
        self._rest, self._place = itertools.chain([first], rest), place
        return True

    # ---------------------------------------- the table
    def _read_table(self):
        is_shorter = self._is_shorter = self._declared > self._length
        if self.stream is None and is_shorter:
            raise ValueError(
                f"A video must be whole, got {self.name}, which ends before its first frame; get it again."
            )
        if self.stream is None:
            raise ValueError(f"A video must have moving pictures, got {self.name} without any; give another file.")
        if self.stream.codec_context is None:
            raise ValueError(
                f"A video must be in a form that FFmpeg decodes, got {self.name}, which is not; convert it."
            )
        self.table = [Packet.of(packet) for packet in self._rest]
        self._place = len(self.table)
        if is_shorter and self.table and self.table[-1].is_marked:
            self.table.pop()  # the file ends in the middle of it
        is_all = 0 < self.stream.frames <= len(self.table)
        self._is_cut = self._interruption is not None or (is_shorter and not is_all)
        if self._is_cut and not self.table:
            raise ValueError(
                f"A video must be whole, got {self.name}, which ends before its first frame; get it again."
            )
        if all(packet.is_hidden for packet in self.table):
            raise ValueError(f"A video has at least one frame, got none in {self.name}; give another file.")

    def _find_order(self):
        """Which frame each packet has, and where some are missing."""
        times = [packet.time for packet in self.table if not packet.is_hidden]
        self.num_frames, self.numbers, self.gaps = len(times), None, []
        self._shown = None if None in times else sorted(times)  # when
        promised, marked = self._num_promised(), []
        # AVI has no times: for streams whose frames are stored in another order, FFmpeg gives the order of storage.
        is_avi = self._container.format.name == "avi"
        is_guess = is_avi and self.stream.codec_context.has_b_frames and self._shown == times
        if is_guess:
            self._shown = None
        if self._shown and len(set(times)) == len(times):
            self._is_cut |= self._ends_before_its_time()
            self._shown = self._shown[: self._num_whole()]
            self.num_frames = len(self._shown)
            self.numbers = {time: number for number, time in enumerate(self._shown)}
            marked = [self.numbers.get(packet.time) for packet in self.table if packet.is_marked]
            marked = [number for number in marked if number is not None]
            self.gaps = find_gaps(self._shown) if self._may_lose() else []
            marked = [number for number in marked if not any(_are_near(number, gap) for gap in self.gaps)]
        self.damage = self._described(promised, sorted(marked))

    def _num_promised(self):
        """How many frames the index or the header of an MP4 or AVI file counts and has time for; 0 if it is silent.

        What an edit list leaves out has no time: that is no damage.
        """
        shown, total = [packet for packet in self.table if not packet.is_hidden], self.stream.duration or 0
        container = self._container.format.name.split(",")[0]
        if container == "mov" and self.stream.frames > len(shown):
            step = np.median([packet.duration for packet in shown])
            missing = total - sum(packet.duration for packet in shown)
        elif container == "avi":  # a frame that is held has its place in the header, but no packet
            stored = sorted(packet.stored for packet in shown if packet.stored is not None)
            step = np.median(np.diff(stored)) if len(stored) > 1 else 1
            missing = total - stored[-1] - step if stored else 0
        else:
            return 0
        return len(shown) + int(missing / step + STEP_TOLERANCE) if step > 0 and missing > 0 else 0

    def _ends_before_its_time(self):
        """Whether there is time for another frame before the end that Matroska notes of each stream."""
        noted = re.fullmatch(r"(\d+):(\d+):([\d.]+)", self.stream.metadata.get("DURATION", ""))
        last = max(packet.duration for packet in self.table if packet.time == self._shown[-1])
        step = steady_step(self._shown) or max([*np.diff(self._shown), last])
        if noted is None or step <= 0:
            return False
        end_s = np.dot([3600, 60, 1], [float(part) for part in noted.groups()])
        return end_s / float(self.stream.time_base) > self._shown[-1] + HOLE * step

    def _num_whole(self):
        """How many frames, from the first on, have no others between them that the end of a file has cut off.

        What would be stored next is shown later than the last packet was decoded: there may be holes behind that.
        """
        decoded_until = self.table[-1].stored
        if not self._is_cut or decoded_until is None or len(self._shown) == 1:
            return len(self._shown)
        steps = np.diff(self._shown)
        is_hole = (steps > HOLE * np.median(steps)) & (np.array(self._shown[1:]) > decoded_until)
        return int(np.argmax(is_hole)) + 1 if is_hole.any() else len(self._shown)

    def _may_lose(self):
        """Whether frames may be missing where there is time for them, or one is only shown longer there.

        A transport stream counts its packets, but whoever left one out in writing it left out the count as well.
        """
        container = self._container.format.name.split(",")[0]
        if container == "mov" or container in HELD:  # its index names every frame
            return False
        if container == "matroska":  # one block is behind the other
            placed = [packet for packet in self.table if packet.position is not None]
            between = [after.position - one.position - one.size for one, after in itertools.pairwise(placed)]
            return self._is_shorter or max(between, default=0) > BLOCK_BYTES
        return True

    def _described(self, promised, marked):
        found = []
        if self._is_cut:
            total = f" of {self.stream.frames}" if self.stream.frames > self.num_frames else ""
            reason = f" ({self._interruption})" if self._interruption else ""
            found.append(f"which ends too early, after {self.num_frames}{total} frames{reason}")
        elif promised > self.num_frames:
            found.append(f"of which {self.num_frames} of {promised} frames are found")
        if self.gaps:
            count, places = sum(missing for _, missing in self.gaps), [before for before, _ in self.gaps]
            found.append(
                f"in which there is time for {count} more frame{'s'[: count > 1]} behind frame{'s'[: len(places) > 1]} "
                f"{listed(places)}: lost, or shown longer"
            )
        if marked:
            found.append(f"in which data is missing in or near frame{'s'[: len(marked) > 1]} {listed(marked)}")
        return " and ".join(found)


class _Nameless:
    """A file without its name: FFmpeg would take the ending for what the file is, and draw the text of a .txt."""

    def __init__(self, file):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def listed(places: Iterable[int]) -> str:
    """The first of some places, and how many more there are: "3, 7 and 12", "1, 2, 3, 4, 5 and 31 more"."""
    places = [str(place) for place in places]
    shown, more = places[:NAMED], len(places) - NAMED
    last = f"{more} more" if more > 0 else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last


def _are_near(number, gap):
    return abs(number - gap[0]) <= MARK_REACH


def find_gaps(times: ArrayLike) -> list[tuple[int, int]]:
    """Where frames seem to be lost, by the times of the others.

    Args:
        times: [T] ticks, in order.

    Returns:
        list of (index of the time before the gap, how many times are missing), empty where the frame rate varies.
    """
    step = steady_step(times)
    if step is None:
        return []
    counts = np.rint(np.diff(times) / step).astype(int)
    return [(int(before), int(counts[before]) - 1) for before in np.flatnonzero(counts > 1)]


def steady_step(times: ArrayLike) -> float | None:
    """The ticks from one time to the next, if all are equal but for a few whole multiples; None where they vary."""
    steps = np.diff(times)
    if len(steps) < LEAST_STEPS:
        return None
    tolerance = max(1.0, STEP_TOLERANCE * np.median(steps))
    is_usual = np.abs(steps - np.median(steps)) <= tolerance
    step = steps[is_usual].mean()
    counts = np.rint(steps / step)
    is_gap = (counts > 1) & (np.abs(steps - counts * step) <= tolerance)
    is_steady = (is_usual | is_gap).all() and is_gap.sum() <= MOST_GAPS * len(steps)
    return float(step) if is_steady else None


# ---------------------------------------- how long a file should be
def declared_length(file: typing.BinaryIO, length: int) -> int:
    """How long a file is by what its own structure says, bytes; 0 where it says nothing."""
    head = _bytes_at(file, 0, 64)
    if head[:4] == _RIFF:  # AVI
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == _MATROSKA:
        size, start = _matroska_number(head, 4)
        start += size or 0
        body = _bytes_at(file, start, 16)
        size, start_of_body = _matroska_number(body, 4)
        return start + start_of_body + size if body[:4] == _MATROSKA_BODY and size is not None else 0
    if head[:1] == bytes([TS_SYNC]) and _bytes_at(file, TS_PACKET, 1) == head[:1]:
        return -(-length // TS_PACKET) * TS_PACKET
    end = 0
    while head[4:8] == _MP4 and end < length:  # from box to box
        box = _bytes_at(file, end, 16)
        if not re.fullmatch(rb"[\w \xa9-]{4}", box[4:8]):  # no name of a box: something stands behind the last one
            return end
        size = int.from_bytes(box[:4], "big")
        if size == 1:
            size = int.from_bytes(box[8:], "big")
        if size == 0:  # to the end, wherever that is
            return 0
        end += max(size, 8)
    return end


def _bytes_at(file, place, count):
    file.seek(place)
    return file.read(count)


def _matroska_number(content, place):
    """A number whose leading zero bits say how many bytes it has (None: "unknown"), and where it ends."""
    first = int.from_bytes(content[place : place + 1], "big")
    end = place + 9 - first.bit_length()
    largest = (1 << 7 * (end - place)) - 1
    number = int.from_bytes(content[place:end], "big") & largest
    return None if number == largest else number, end
