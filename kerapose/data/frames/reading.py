"""The frames of a video file: how many there are, some of them, or one after another."""

import bisect
import dataclasses
import fractions
import itertools
import typing
from collections.abc import Iterator

import numpy as np
from absl import logging

from kerapose.data.frames.display import Display
from kerapose.data.packets import listed, opened
from kerapose.types import Array, ArrayLike, Path, Size

ROUNDING_PX = 2  # that compression may add to a side or take from it: most codecs want even ones
MOST_LOST = 0.5  # of the frames of a video may be beyond decoding; one that has lost more is refused
NEAR = 12  # frames to either side of a lost one among which a whole one is looked for before all others
MOST_HELD = 16  # frames that wait for an earlier one: as many as a decoder may hold back itself
# Decoders that leave out what no other frame refers to if told so packet by packet; others, as dav1d, stay with it.
SKIPPING = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"}


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    Args:
        num_frames: how many frames there are.
        frame_size: (height, width) as shown, pixels. Where the pixels of the file are not square, its width is
            stretched if they are wide, its height if they are high.
        fps: frames a second, on average.
        gaps: (frame, count) pairs: so many frames seem to have been lost from the file right behind that one, by the
            times of the others; they are not counted, nor have they numbers.
        damage: what is wrong with the file as a whole, in words; "" if nothing is known. Frames that cannot be decoded
            are found when they are read.
        pixel: width of a pixel of the file by its height, as shown: by it (or one by it, if it is below 1) x (or y) of
            keypoints that were found in stored pixels has to be multiplied.

    Example:
        >>> from kerapose.data import frames
        >>> info = frames.probe("walk.mp4")
        >>> info.num_frames / info.fps  # seconds
        2.0
        >>> info.damage  # nothing is wrong with it
        ''
    """

    num_frames: int
    frame_size: tuple[int, int]
    fps: float
    gaps: tuple[tuple[int, int], ...] = ()
    damage: str = ""
    pixel: fractions.Fraction = dataclasses.field(default=fractions.Fraction(1), repr=False)


class Frame(typing.NamedTuple):
    """A frame and what is known of it.

    Args:
        picture: [H, W, 3] uint8 RGB.
        time_s: when it is shown, seconds on the clock of the file, which need not begin at 0; None if nothing is said.
        is_lost: whether it cannot be decoded; the picture is then that of another.
        dropped: how many frames before it were left out, by somebody who could not keep up with a camera.

    Example:
        >>> from kerapose.data import frames
        >>> first, second, *_ = frames.iterate("walk.mp4", with_times=True)
        >>> second.picture.shape, second.time_s, second.is_lost
        ((240, 320, 3), 0.06667, False)
    """

    picture: np.ndarray
    time_s: float | None = None
    is_lost: bool = False
    dropped: int = 0


def probe(source: Path | bytes, name: str | None = None, tell: bool = True) -> VideoInfo:
    """Counts the frames of a video and finds their size.

    They are counted one by one, since the header of a file may be wrong; only the first is decoded.

    Args:
        source: path of a video file, or its content as bytes.
        name: what errors and warnings call it. None: its path.
        tell: whether to warn of damage, which is in the answer anyway.

    Returns:
        A `VideoInfo`.

    Raises:
        ValueError: if this is not a video, or none of its frames can be decoded.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose.data import frames
        >>> frames.probe("walk.mp4")
        VideoInfo(num_frames=30, frame_size=(240, 320), fps=15.0, gaps=(), damage='')
    """
    with opened(source, name) as packets:
        decoder = _Decoder(packets)
        picture = decoder.first()
        if tell:
            _tell_damage(packets)
        size = tuple(picture.shape[:2])
        fps, gaps = packets.mean_fps(), tuple(packets.gaps)
        return VideoInfo(packets.num_frames, size, fps, gaps, packets.damage, decoder.pixel)


def read(
    source: Path | bytes,
    indices: ArrayLike | None = None,
    name: str | None = None,
    told: set[tuple[str, int]] | None = None,
) -> Array:
    """Decodes frames of a video.

    In the place of a frame that cannot be decoded stands the nearest one that can, of two the earlier one.

    Args:
        source: path of a video file, or its content as bytes.
        indices: [L] numbers of frames, in any order, the same more than once if need be. None: all frames.
        name: what errors and warnings call it. None: its path.
        told: a set, in which videos are noted whose lost frames have been told of, and of which nothing is told again:
            a training reads them over and over. None: each call tells.

    Returns:
        [L, H, W, 3] uint8 RGB, in the order of `indices`.

    Raises:
        ValueError: if this is not a video, has no such frame, or has lost more than `MOST_LOST` of its frames.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose.data import frames
        >>> frames.read("walk.mp4", [0, 15, 29]).shape  # [L, H, W, 3]
        (3, 240, 320, 3)
    """
    with opened(source, name) as packets:
        last = packets.num_frames - 1
        if indices is None:
            _tell_damage(packets)
        indices = np.arange(last + 1) if indices is None else np.asarray(indices, "int64").reshape(-1)
        outside = indices[(indices < 0) | (indices > last)]
        if len(outside):
            raise ValueError(f"Frames of {packets.name} are 0 to {last}, got {outside[0]}; ask for those.")
        wanted, decoder = set(indices.tolist()) or {0}, _Decoder(packets)
        frames, lost = _gathered(decoder, indices, wanted)
        if decoder.find_order():
            frames, lost = _gathered(decoder, indices, wanted)
        if len(lost) > MOST_LOST * len(wanted):  # bad luck, or a bad file
            _refuse_losses(packets, sorted(set(range(last + 1)) - {number for number, _ in decoder.in_order()}))
        if lost:
            video = packets.name, hash(source)
            if told is None or video not in told:
                _tell_losses(packets, sorted(lost))
            if told is not None:
                told.add(video)
            nearest = decoder.nearest(lost)
            if frames is None:
                frames = np.empty((len(indices), *next(iter(nearest.values())).shape), "uint8")
            for number in lost:
                frames[indices == number] = nearest[number]
        return frames


def iterate(source: Path | bytes, num_frames: int | None = None, with_times: bool = False) -> Iterator[Array | Frame]:
    """Decodes the frames of a video one after another, of which only the last one or two are in memory.

    Where times are wrong or frames are lost, up to `MOST_HELD` more wait in memory for one that is shown before them.
    In the place of a frame that cannot be decoded stands the one before it; at the beginning, the first that can be.

    Args:
        source: path of a video file, or its content as bytes.
        num_frames: how many to give, from the first on. None: all.
        with_times: whether to give each as a `Frame`, which says when it is shown and whether it was lost.

    Yields:
        [H, W, 3] uint8 RGB each, or a `Frame`.

    Raises:
        ValueError: if this is not a video, none of its frames can be decoded, as soon as it is known to have lost more
            than `MOST_LOST` of them, or when a frame comes that is of another size.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose.data import frames
        >>> brightness = [frame.mean() for frame in frames.iterate("walk.mp4")]
        >>> len(brightness), round(float(brightness[0]))
        (30, 118)
    """
    with opened(source) as packets:
        if num_frames is None:
            _tell_damage(packets)
        count = packets.num_frames if num_frames is None else min(int(num_frames), packets.num_frames)
        lost = []
        try:
            for number, picture, is_lost in _without_holes(packets, count):
                if is_lost:
                    lost.append(number)
                    if len(lost) > MOST_LOST * packets.num_frames:
                        refused, lost = lost, []
                        _refuse_losses(packets, refused)
                yield Frame(picture, packets.time_s(number), is_lost) if with_times else picture
        finally:
            _tell_losses(packets, lost)


def same_shape(video_size: Size, frame_size: Size) -> bool:
    """Whether frames of a size may have become a video of another size, but for rounding.

    Args:
        video_size: (height, width) of the video, pixels.
        frame_size: (height, width) of the frames, pixels.

    Returns:
        A bool.

    Example:
        >>> from kerapose.data import frames
        >>> frames.same_shape((360, 640), (1080, 1920)), frames.same_shape((480, 640), (1080, 1920))
        (True, False)
    """
    video, frame = np.asarray(video_size, "float64"), np.asarray(frame_size, "float64")
    least, most = (video - ROUNDING_PX) / frame, (video + ROUNDING_PX) / frame  # factors from one to the other
    return bool(least.max() <= most.min())


class _Decoder:
    """Frames from the packets of a video. What cannot be decoded is left out; everything else keeps its number."""

    def __init__(self, packets):
        self.packets = packets
        self._display = Display()
        self._numbers = packets.numbers  # by the time of a packet, or by its place once `find_order` has found it
        self._has_skipped = False  # whether the open decoder has left out frames
        self._is_sure = True  # that where there are no times, frames come out without holes, and can be counted

    @property
    def pixel(self):
        """Its width by its height, of the last frame, as shown."""
        return self._display.pixel

    def first(self):
        """The first frame that can be decoded, [H, W, 3]."""
        found = itertools.chain(self._skipping({0}) if self.packets.numbers is not None else (), self.in_order())
        _, picture = next(found, (None, None))
        if picture is None:
            _refuse_losses(self.packets, range(self.packets.num_frames))
        return picture

    def in_order(self):
        """Gives (number, [H, W, 3]) of each frame that can be decoded, from the first on."""
        return self._between(0, len(self.packets.table), range(self.packets.num_frames), skip=False)

    def by_number(self):
        """As `in_order`, but a frame that is decoded late, as its time is wrong, still comes at its turn."""
        if self.packets.numbers is None:  # numbered as they are decoded
            yield from self.in_order()
            return
        stored = [self._numbers.get(packet.time) for packet in self.packets.table if not packet.is_hidden]
        stored = [number for number in stored if number is not None]
        if _most_before(stored) > MOST_HELD:
            count = self.packets.num_frames
            for start in range(0, count, MOST_HELD):
                block = self.decoded(range(start, min(start + MOST_HELD, count)))
                yield from sorted(block, key=lambda found: found[0])
            return
        places, held = {number: place for place, number in enumerate(stored)}, {}
        due = passed = 0
        for number, picture in self.in_order():
            held[number], passed = picture, max(passed, places[number])
            reach = passed - self.packets.stream.codec_context.reorder_depth  # what is stored before is lost
            while held and not any(places[missing] > reach for missing in range(due, min(held))):
                due = min(held) + 1
                yield due - 1, held.pop(due - 1)
        yield from sorted(held.items())

    def decoded(self, wanted):
        """Gives (number, [H, W, 3]) of those wanted frames that can be decoded, in whatever order."""
        missing, end = set(wanted), len(self.packets.table)
        if self.packets.numbers is not None:
            for number, picture in self._skipping(wanted):
                missing.discard(number)
                yield number, picture
            end = max((end for _, end in self._spans(missing)), default=0)
        if missing:  # no times, or a frame that refers to more than its file says: from the beginning
            yield from self._between(0, end, missing, skip=False)

    def nearest(self, lost):
        """{number of each lost frame: the nearest frame that can be decoded, the earlier one of two}."""
        found = {}
        for reach in (NEAR, self.packets.num_frames):
            near = {other for number in lost for other in range(number - reach, number + reach + 1)} - lost
            for other, picture in self._skipping(near) if self.packets.numbers is not None else self.in_order():
                for number in lost - {other}:
                    rank = abs(other - number), other > number
                    if number not in found or rank < found[number][0]:
                        found[number] = rank, picture
            if len(found) == len(lost):
                break
        return {number: picture for number, (_, picture) in found.items()}

    def find_order(self, is_needed=False):
        """Numbers the frames of a file without times, if need be; whether that was done.

        As long as all come out, they can be counted. Else the whole file is decoded to see which packets they are of.
        """
        if self._numbers is not None or (self._is_sure and not is_needed):
            return False
        places = [frame.pts for frame in self._frames(0, len(self.packets.table), {0})]
        hidden = {place for place, packet in enumerate(self.packets.table) if packet.is_hidden}
        places = [place for place in dict.fromkeys(places) if place is not None]
        for lost in sorted(set(range(len(self.packets.table))) - hidden - set(places)):
            # Stored before those that are stored after it, and shown before the first of them that is shown.
            behind = (row for row, place in enumerate(places) if place > lost)
            places.insert(next(behind, len(places)), lost)
        self._numbers = {place: number for number, place in enumerate(places)}
        return True

    def _skipping(self, wanted):
        """As `decoded`, but without another look at what cannot be decoded from the nearest key frame on."""
        for start, end in self._spans(wanted):
            yield from self._between(start, end, wanted, skip=True)

    def _spans(self, wanted):
        """The packets (first, last + 1) that frames take: from a key frame to the frame itself, overlaps merged."""
        table, keys, spans = self.packets.table, [], []
        for place, packet in enumerate(table):
            if packet.is_key:
                keys.append(place)
            if self._numbers.get(packet.time) not in wanted or packet.is_hidden:
                continue
            # A frame that is stored after a key frame and shown before it may also refer to what came before.
            leads = keys and packet.time < table[keys[-1]].time
            known = keys[:-1] if leads else keys
            spans.append((known[-1] if known else 0, place + 1))
        merged = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def _between(self, start, end, wanted, skip):
        """Gives the wanted frames among those of some packets; `skip`: others are decoded only where referred to."""
        left = set(wanted)
        for count, frame in enumerate(self._frames(start, end, left, skip)):
            number = count if self._numbers is None else self._numbers.get(frame.pts)
            if number in left and not frame.is_corrupt:
                left.discard(number)
                yield number, self._display(frame, self.packets.stream)

    def _frames(self, start, end, left, skip=False):
        """Gives the frames of PyAV of some packets until none is left that is wanted."""
        import av

        if self._has_skipped and not skip:  # a last resort is no place for what a decoder may have kept
            self.packets.reopen()
            self._has_skipped = False
        self.packets.start_at(start)
        context = self.packets.stream.codec_context
        skip = self._has_skipped = skip and context.codec.name in SKIPPING
        context.flush_buffers()
        fed = given = delay = 0
        for place, packet in itertools.chain(self.packets.between(start, end), [(None, None)]):
            if not left:
                return
            if packet is not None and self.packets.numbers is None:
                packet.pts = place
            is_needed = not skip or packet is None or self._numbers.get(packet.pts) in left
            context.skip_frame = "DEFAULT" if is_needed else "NONREF"
            try:
                frames = context.decode(packet)  # None asks for what is held back
            except av.FFmpegError:  # whoever wanted it misses it
                frames = []
                self._is_sure = False
            fed, given = fed + (packet is not None), given + len(frames)
            if frames and not delay:
                delay = 1 + fed - len(frames)
            self._is_sure &= fed - given < (delay or fed + 1)
            yield from frames
        self._is_sure &= given == fed and self.packets.table[0].is_key


def _most_before(numbers):
    """How many larger numbers stand before one of a list, at most."""
    seen, most = [], 0
    for number in numbers:
        place = bisect.bisect(seen, number)
        most = max(most, len(seen) - place)
        seen.insert(place, number)
    return most


def _gathered(decoder, indices, wanted):
    """Frames [L, H, W, 3] of the indices, None if there is none, and the set of those that cannot be decoded."""
    frames, lost = None, set(wanted)
    for number, picture in decoder.decoded(wanted):
        if frames is None:
            frames = np.empty((len(indices), *picture.shape), "uint8")
        if picture.shape != frames.shape[1:]:
            refuse_sizes(frames.shape[1:3], picture.shape[:2], number)
        frames[indices == number] = picture
        lost.discard(number)
    return frames, lost


def _without_holes(packets, count):
    """Gives (number, picture, whether it is that of another) of the first frames of a video, in order."""
    decoder, due, last = _Decoder(packets), 0, None
    decoder.find_order(is_needed=True)
    for number, picture in decoder.by_number():
        picture = np.ascontiguousarray(picture)
        if last is not None and picture.shape != last.shape:
            refuse_sizes(last.shape[:2], picture.shape[:2], number)
        for lost in range(due, min(number, count)):
            yield lost, (picture if last is None else last).copy(), True
        if number >= count:
            return
        yield number, picture, False
        due, last = number + 1, picture
        if due == count:
            return
    if last is None:
        _refuse_losses(packets, range(packets.num_frames))
    for lost in range(due, count):
        yield lost, last.copy(), True


def _tell_damage(packets):
    if packets.damage:
        logging.warning(
            "Videos should be whole, got %s, %s; what there is of it is used, get it again for the rest.",
            packets.name,
            packets.damage,
        )


def _tell_losses(packets, lost):
    if lost:
        logging.warning(
            "Frames of a video should be whole, got %d of %d of %s that cannot be decoded (%s); the nearest others "
            "stand in their places, and those that refer to them may show traces: get or encode it again.",
            len(lost),
            packets.num_frames,
            packets.name,
            listed(lost),
        )


def _refuse_losses(packets, lost):
    """Raises if too many frames of a video cannot be decoded."""
    if len(lost) > MOST_LOST * packets.num_frames:
        raise ValueError(
            f"At least {1 - MOST_LOST:.0%} of the frames of a video must be whole, got {len(lost)} of "
            f"{packets.num_frames} of {packets.name} that cannot be decoded ({listed(lost)}); get or encode it again."
        )


def refuse_sizes(expected: Size, size: Size, number: int) -> typing.NoReturn:
    """Refuses a frame of another size than those before it.

    Args:
        expected: (height, width) of those before it, pixels.
        size: (height, width) of the frame, pixels.
        number: of the frame, from 0.

    Raises:
        ValueError: always.

    Example:
        >>> from kerapose.data import frames
        >>> frames.refuse_sizes((240, 320), (480, 640), number=7)
        Traceback (most recent call last):
            ...
        ValueError: Frames of a video have one size, got 240 x 320 and then 480 x 640 in frame 7; bring them to
        one.
    """
    raise ValueError(
        f"Frames of a video have one size, got {expected[0]} x {expected[1]} and then {size[0]} x {size[1]} in frame "
        f"{number}; bring them to one."
    )
