"""Encoded videos to frames and back, through FFmpeg (PyAV).

Frames are numbered from 0 in the order in which they are shown, however they are stored and whatever their times are:
frame t is the one that keypoints [:, t] belong to. Decoded are those that are asked for and those that they refer to.
"""

import collections
import contextlib
import dataclasses
import fractions
import io
import itertools
import os
import pathlib

import numpy as np

CONTAINERS = (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
RGB_ENDING = "_rgb"  # that NTU RGB+D has behind the names of its clips
ROUNDING_PX = 2  # that compression may add to a side or take from it: most codecs want even ones
KEY_FRAME_EVERY = 12  # a random frame of a video then costs six on average, and the file is a little larger
_RIFF, _MATROSKA, _MATROSKA_BODY, _MP4 = b"RIFF", b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"ftyp"
_JPEG_FRAMES, _JPEG_SCAN, _JPEG_END = {0xC0, 0xC1, 0xC2}, 0xDA, b"\xff\xd9"  # markers: size, pixels, end


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    Args:
        num_frames: how many frames there are.
        frame_size: (height, width) as shown, pixels.
        fps: frames a second, on average.
    """

    num_frames: int
    frame_size: tuple[int, int]
    fps: float


def probe(source):
    """Counts the frames of a video and finds their size.

    They are counted one by one, since the header of a file may be wrong; only the first is decoded.

    Args:
        source: path of a video file, or its content as bytes.

    Returns:
        A `VideoInfo`.

    Raises:
        ValueError: if this is not a video, or not a whole one.
        FileNotFoundError: if there is no such file.

    Example:
        >>> probe("hug.mp4")
        VideoInfo(num_frames=72, frame_size=(1080, 1920), fps=28.05)
    """
    with _opened(source) as video:
        (_, picture) = next(_decoded(video, {0}))
        return VideoInfo(video.num_frames, picture.shape[:2], _mean_fps(video))


def read(source, indices=None):
    """Decodes frames of a video, turned the way that the file says they are to be looked at.

    Args:
        source: path of a video file, or its content as bytes.
        indices: [L] numbers of frames, in any order, the same more than once if need be. None: all frames.

    Returns:
        [L, H, W, 3] uint8 RGB, in the order of `indices`.

    Raises:
        ValueError: if this is not a video, or not a whole one, or has no such frame.
        FileNotFoundError: if there is no such file.

    Example:
        >>> read("hug.mp4", [0, 36, 71]).shape
        (3, 1080, 1920, 3)
    """
    with _opened(source) as video:
        last = video.num_frames - 1
        indices = np.arange(last + 1) if indices is None else np.asarray(indices, "int64").reshape(-1)
        outside = indices[(indices < 0) | (indices > last)]
        if len(outside):
            raise ValueError(f"Frames of {video.name} are 0 to {last}, got {outside[0]}; ask for those.")
        frames = None
        for number, picture in _decoded(video, set(indices.tolist()) or {0}):
            if frames is None:
                frames = np.empty((len(indices), *picture.shape), "uint8")
            if picture.shape != frames.shape[1:]:
                _refuse_sizes(frames.shape[1:3], picture.shape[:2], number)
            frames[indices == number] = picture
        return frames


def iterate(source, num_frames=None):
    """Decodes the frames of a video one after another, of which one at a time is in memory beside the encoded file.

    Args:
        source: path of a video file, or its content as bytes.
        num_frames: how many to give, from the first on. None: all.

    Yields:
        [H, W, 3] uint8 RGB each, turned as `read` does.

    Raises:
        ValueError: if this is not a video, or not a whole one, or when a frame comes that cannot be decoded.
        FileNotFoundError: if there is no such file.

    Example:
        >>> brightness = [frame.mean() for frame in iterate("hug.mp4")]
    """
    with _opened(source) as video:
        count = video.num_frames if num_frames is None else min(num_frames, video.num_frames)
        for expected, (number, picture) in enumerate(_decoded(video, range(count))):
            if number != expected:  # it was passed over, and comes late if at all
                raise ValueError(
                    f"Frames of a video must be whole, got frame {expected} of {video.name} that cannot be decoded; "
                    "get or encode it again, or end before it."
                )
            yield np.ascontiguousarray(picture)


def encode(frames, fps, crf=20, key_frame_every=KEY_FRAME_EVERY):
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
        >>> pathlib.Path("walk.mp4").write_bytes(encode(frames, fps=25))
    """
    import av

    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("A video has at least one frame, got none; give some.")
    size = np.shape(first)[:2]
    if any(side % 2 for side in size):
        raise ValueError(f"Frames of an MP4 file have even sides, got {size[0]} x {size[1]}; crop or pad them.")
    options = {"crf": str(crf), "preset": "veryfast", "g": str(key_frame_every), "threads": "1"}
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
                _refuse_sizes(size, picture.shape[:2], number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def wrap_jpegs(jpegs, fps):
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
        >>> video = wrap_jpegs([path.read_bytes() for path in sorted(folder.glob("*.jpg"))], fps=25)
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
                _refuse_sizes(size, other, number)
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base, packet.is_keyframe = stream, 1 / stream.average_rate, True
            packet.pts = packet.dts = number
            container.mux(packet)
    return file.getvalue()


def find(folder, names):
    """Finds the video files of clips by the names of the clips.

    Args:
        folder: where the videos are, or folders with them; links are followed.
        names: of the clips; a folder in a name is one that the video's folder must end in.

    Returns:
        dict: each name to a list of paths, of none, one or more files.
    """
    by_stem, found = _videos_by_stem(pathlib.Path(folder)), {}
    for name in names:
        *parents, stem = pathlib.PurePosixPath(name).parts
        found[name] = [path for path in by_stem[stem] if list(path.parts[-1 - len(parents) : -1]) == parents]
    return found


def same_shape(video_size, frame_size):
    """Whether frames of a size (height, width) may have become a video of another size, but for rounding."""
    video, frame = np.asarray(video_size, "float64"), np.asarray(frame_size, "float64")
    least, most = (video - ROUNDING_PX) / frame, (video + ROUNDING_PX) / frame  # factors from one to the other
    return bool(least.max() <= most.min())


def _videos_by_stem(folder):
    """All videos in a folder, those below it and those that links lead to, by their names without endings."""
    there, seen, waiting = collections.defaultdict(list), set(), collections.deque([folder])
    while waiting:
        here = waiting.popleft()
        if here.resolve() in seen:  # a link that leads back
            continue
        seen.add(here.resolve())
        for path in sorted(here.iterdir()):
            if path.is_dir():
                waiting.append(path)
            elif path.suffix.lower() in CONTAINERS:
                for stem in {path.stem, path.stem.removesuffix(RGB_ENDING)}:
                    there[stem].append(path)
    return there


# ---------------------------------------- reading
@dataclasses.dataclass(frozen=True)
class _Video:
    """An opened video: what it is called, its packets in the order of decoding, and the number of the frame of each.

    `numbers` is by the time of the packet; None where the times say nothing, as of a raw stream.
    """

    name: str
    stream: object
    packets: list
    num_frames: int
    numbers: dict | None


@contextlib.contextmanager
def _opened(source):
    """Opens a video and reads its packets: the encoded form is in memory then, and no frame is decoded yet."""
    import av  # late, since it brings the whole of FFmpeg with it

    is_content = isinstance(source, bytes)
    name = "the video" if is_content else os.fspath(source)
    # Never by its path: FFmpeg would take the ending for what the file is, and draw the text of a .txt.
    content = source if is_content else pathlib.Path(source).read_bytes()
    length, declared = len(content), _declared_length(content)
    # Where the header says all, FFmpeg need not decode the first frames to find out what is inside.
    options = {"analyzeduration": "1"} if _says_all(content) else {}
    try:
        container = av.open(io.BytesIO(content), container_options=options)
    except av.FFmpegError as error:
        if declared > length:
            raise ValueError(
                f"A video must be whole, got {length:,} of at least {declared:,} bytes of {name}, without the end of "
                "which no frame can be found; get it again."
            ) from error
        raise ValueError(
            f"A video must be a file that FFmpeg reads (MP4, AVI, MKV, ...), got {length:,} bytes of something else "
            f"as {name}; convert it."
        ) from error
    with container:
        yield _read_packets(container, name, declared > length)


def _read_packets(container, name, is_cut):
    """The `_Video` of an opened file, once it is known to be whole."""
    import av

    cover = av.stream.Disposition.attached_pic
    stream = next((stream for stream in container.streams.video if not stream.disposition & cover), None)
    if stream is None and is_cut:
        raise ValueError(f"A video must be whole, got {name}, which ends before its first frame; get it again.")
    if stream is None:
        raise ValueError(f"A video must have moving pictures, got {name} without any; give another file.")
    if stream.codec_context is None:
        raise ValueError(f"A video must be in a form that FFmpeg decodes, got {name}, which is not; convert it.")
    try:
        packets = [packet for packet in container.demux(stream) if packet.size]
    except av.FFmpegError as error:
        raise ValueError(f"A video must be whole, got {name}, in which {error.strerror}; get it again.") from error
    whole = sum(not packet.is_corrupt for packet in packets)
    if is_cut and not 0 < stream.frames <= whole:
        total = f" of {stream.frames}" if stream.frames else ""
        raise ValueError(f"A video must be whole, got {name}, which ends after {whole}{total} frames; get it again.")
    shown = [packet.pts for packet in packets if not packet.is_discard]
    if not shown:
        raise ValueError(f"A video has at least one frame, got none in {name}; give another file.")
    in_order = None not in shown and sorted(set(shown))
    # AVI has no times: for streams whose frames are stored in another order, FFmpeg then gives the order of storage.
    is_guess = container.format.name == "avi" and stream.codec_context.has_b_frames and in_order == shown
    is_timed = in_order and len(in_order) == len(shown) and not is_guess
    stream.codec_context.thread_count = 1  # videos are read side by side; threads within one would only wait
    numbers = {time: number for number, time in enumerate(in_order)} if is_timed else None
    return _Video(name, stream, packets, len(shown), numbers)


def _decoded(video, wanted):
    """Gives (number, [H, W, 3]) of each wanted frame, in whatever order; raises if one cannot be decoded."""
    missing = set(wanted)
    if video.numbers is not None:
        for start, end in _needed_packets(video, wanted):
            for number, picture in _decoded_between(video, start, end, missing, skip=True):
                missing.discard(number)
                yield number, picture
    if missing:  # no times, or a frame that refers to more than its file says: from the beginning
        for number, picture in _decoded_between(video, 0, len(video.packets), set(missing), skip=False):
            missing.discard(number)
            yield number, picture
    if missing:
        raise ValueError(
            f"Frames of a video must be whole, got frame {min(missing)} of {video.name} that cannot be decoded; get or "
            "encode it again."
        )


def _needed_packets(video, wanted):
    """The packets (first, last + 1) that wanted frames take: from a key frame to the frame itself, overlaps merged."""
    keys, spans = [], []
    for place, packet in enumerate(video.packets):
        if packet.is_keyframe:
            keys.append(place)
        if video.numbers.get(packet.pts) not in wanted or packet.is_discard:
            continue
        # A frame that is stored after a key frame and shown before it may also refer to what came before.
        leads = keys and packet.pts < video.packets[keys[-1]].pts
        known = keys[:-1] if leads else keys
        spans.append((known[-1] if known else 0, place + 1))
    merged = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _decoded_between(video, start, end, wanted, skip):
    """Gives the wanted frames among those of some packets; with `skip`, others are decoded only where referred to."""
    import av

    context = video.stream.codec_context
    context.flush_buffers()
    convert = av.video.reformatter.VideoReformatter()
    left, count = set(wanted), 0
    for packet in [*video.packets[start:end], None]:  # None asks for what is held back
        if not left:
            return
        unneeded = skip and packet is not None and video.numbers.get(packet.pts) not in left
        context.skip_frame = "NONREF" if unneeded else "DEFAULT"
        try:
            frames = context.decode(packet)
        except av.FFmpegError:  # whoever wanted it misses it
            frames = []
        for frame in frames:
            number = count if video.numbers is None else video.numbers.get(frame.pts)
            count += 1
            if number in left and not frame.is_corrupt:
                left.discard(number)
                picture = convert.reformat(frame, format="rgb24").to_ndarray()
                yield number, np.rot90(picture, round(frame.rotation / 90))


def _mean_fps(video):
    """From the times of the frames; from the header where they say nothing."""
    if video.numbers is None or video.num_frames == 1:
        return float(video.stream.average_rate or video.stream.guessed_rate or 0.0)
    span = (max(video.numbers) - min(video.numbers)) * video.stream.time_base
    return float((video.num_frames - 1) / span)


def _says_all(content):
    return content[4:8] == _MP4 or content[:4] == _MATROSKA


def _declared_length(content):
    """How long a file is by what its own structure says, bytes; 0 where it says nothing."""
    if content[:4] == _RIFF:  # AVI
        return 8 + int.from_bytes(content[4:8], "little")
    if content[:4] == _MATROSKA:
        size, start = _matroska_number(content, 4)
        start += size or 0
        size, start_of_body = _matroska_number(content, start + 4)
        is_known = content[start : start + 4] == _MATROSKA_BODY and size is not None
        return start_of_body + size if is_known else 0
    end = 0
    while content[4:8] == _MP4 and end < len(content):  # from box to box
        size = int.from_bytes(content[end : end + 4], "big")
        if size == 1:
            size = int.from_bytes(content[end + 8 : end + 16], "big")
        if size == 0:  # to the end, wherever that is
            return 0
        end += max(size, 8)
    return end


def _matroska_number(content, place):
    """A number whose leading zero bits say how many bytes it has (None: "unknown"), and where it ends."""
    first = int.from_bytes(content[place : place + 1], "big")
    end = place + 9 - first.bit_length()
    largest = (1 << 7 * (end - place)) - 1
    number = int.from_bytes(content[place:end], "big") & largest
    return None if number == largest else number, end


# ---------------------------------------- writing
@contextlib.contextmanager
def _written(file, container_format, codec, pixel_format, fps, size, options=None):
    """Opens a file for one stream of video."""
    import av

    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}; 25 is usual.")
    with av.open(file, "w", format=container_format) as container:
        rate = fractions.Fraction(fps).limit_denominator(1001)
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


def _refuse_sizes(expected, size, number):
    raise ValueError(
        f"Frames of a video have one size, got {expected[0]} x {expected[1]} and then {size[0]} x {size[1]} in frame "
        f"{number}; bring them to one."
    )
