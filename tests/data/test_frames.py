"""Videos written here, each frame with its number drawn in it, read back; the real ones against OpenCV."""

import fractions
import io

import av
import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerapose.data import frames
from kerapose.visualize import animations

COUNT, SIZE = 60, (48, 96)
BITS, STRIPE = 8, 12  # the number of a frame, as black and white stripes in its upper half
B_FRAMES = {"bf": "3", "g": "12"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}
FORMS = {  # container, encoder, its options
    "mp4": ("mp4", "libx264", B_FRAMES),
    "mp4, one key frame": ("mp4", "libx264", {"bf": "3", "g": "250"}),
    "mp4, open": ("mp4", "libx264", OPEN_GOP),
    "mp4, hevc": ("mp4", "libx265", {"x265-params": "keyint=12:open-gop=1:log-level=none"}),
    "mp4, refreshed in columns": ("mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}),
    "mkv": ("matroska", "libx264", B_FRAMES),
    "webm": ("webm", "libvpx-vp9", {"g": "12"}),
    "webm, vp8": ("webm", "libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    "mkv, av1": ("matroska", "libsvtav1", {"preset": "12", "svtav1-params": "keyint=12"}),
    "mp4, av1": ("mp4", "libaom-av1", {"cpu-used": "8", "g": "12", "lag-in-frames": "8"}),
    "ts, open": ("mpegts", "libx264", OPEN_GOP),
    "mpg": ("mpeg", "mpeg2video", {"bf": "2"}),
    "avi": ("avi", "mpeg4", {"bf": "2"}),
    "avi, no times": ("avi", "libx264", B_FRAMES),
    "h264, no times": ("h264", "libx264", B_FRAMES),
    "avi, pictures": ("avi", "mjpeg", {}),
    "wmv": ("asf", "wmv2", {}),
}


@pytest.fixture(scope="module")
def pictures():
    noise = np.random.default_rng(0).integers(110, 140, (COUNT, *SIZE, 3), "uint8")
    bits = np.arange(COUNT)[:, None] >> np.arange(BITS) & 1  # [T, bits]
    noise[:, : SIZE[0] // 2] = 255 * np.repeat(bits, STRIPE, axis=1)[:, None, :, None]
    return noise


def numbers(decoded):
    """Which frames these are, read off their stripes."""
    stripes = decoded.reshape(len(decoded), SIZE[0], BITS, STRIPE, 3)[:, 4:20, :, 3:9]
    return ((stripes.mean(axis=(1, 3, 4)) > 128) << np.arange(BITS)).sum(-1).tolist()


def write(
    pictures,
    container_format="mp4",
    codec="libx264",
    options=None,
    times=None,
    rotation=None,
    file=None,
    clock=100,
    pixel=None,
    **more,
):
    """A video by plain PyAV: its bytes, unless a file is given. `times` are in parts of a second, by `clock`."""
    options = dict(options or {})
    if codec == "libx264":  # what a spoiled frame does hangs on the bytes, and they must be the same each time
        steady = frames.steady_x264().get("x264-params")
        options["x264-params"] = ":".join(filter(None, [options.get("x264-params"), steady]))
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    buffer = io.BytesIO()
    with av.open(file or buffer, "w", format=container_format, options=more) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        if times is not None:
            stream.codec_context.time_base = fractions.Fraction(1, clock)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[i]), fractions.Fraction(1, clock)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def packets(video):
    """Where each frame is in a file, in the order of storage: (time, position, size)."""
    with av.open(io.BytesIO(video)) as container:
        return [(packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damage(video, frame):
    """The same file with noise in place of the middle of a frame."""
    stored = packets(video)
    _, position, size = sorted(stored)[frame]
    garbage = np.random.default_rng(0).bytes(size // 2)
    return video[: position + size // 4] + garbage + video[position + size // 4 + len(garbage) :]


def spoiled(video, frame, kept=24):
    """The same file with zeros in place of all but the beginning of a frame, which most codecs do not decode then."""
    _, position, size = sorted(packets(video))[frame]
    if video[:1] != b"\x47":
        kept = min(kept, size // 4)
        return video[: position + kept] + bytes(size - kept) + video[position + size :]
    parts, place = [video[i : i + 188] for i in range(0, len(video), 188)], position // 188
    if size < 188:  # a transport packet is full at its end
        kept += 188 - size
        parts[place] = parts[place][:kept] + bytes(188 - kept)
    while place + 1 < len(parts) and not parts[place + 1][1] & 64:
        place += 1
        parts[place] = parts[place][:4] + bytes(184)
    return b"".join(parts)


def draws(count=20):
    random = np.random.default_rng(1)
    return [random.integers(0, COUNT, random.integers(1, 9)) for _ in range(count)]


def retimed(video, frame, other):
    """An FLV file in which a frame, by its place in storage, says another time, milliseconds."""
    _, position, _ = packets(video)[frame]
    place = position + 4
    while video[place] != 9:  # the kind of a part that holds pictures, right in front of its size and its time
        place -= 1
    stamp = other.to_bytes(4, "big")
    return video[: place + 4] + stamp[1:] + stamp[:1] + video[place + 8 :]


# ---------------------------------------- the right frames
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_video(pictures, form):
    video = write(pictures, *FORMS[form])
    info = frames.probe(video)
    assert (info.num_frames, info.frame_size) == (COUNT, SIZE)
    assert info.fps == pytest.approx(25, rel=1e-3)
    whole = frames.read(video)
    assert whole.shape == (COUNT, *SIZE, 3) and whole.dtype == np.uint8
    assert numbers(whole) == list(range(COUNT))
    for indices in draws():
        np.testing.assert_array_equal(frames.read(video, indices), whole[indices], err_msg=str(indices))
    np.testing.assert_array_equal(list(frames.iterate(video)), whole)
    np.testing.assert_array_equal(list(frames.iterate(video, 5)), whole[:5])


@pytest.mark.parametrize("container_format", ["mp4", "matroska"])
def test_times_do_not_matter(pictures, container_format):
    """Neither that frames are shown for different times nor that the first is shown late."""
    times = 100 + np.cumsum(np.random.default_rng(0).integers(1, 9, COUNT))
    video = write(pictures, container_format, options=B_FRAMES, times=times)
    assert len(set(np.diff(sorted(time for time, _, _ in packets(video))))) > 3
    assert frames.probe(video).fps == pytest.approx((COUNT - 1) * 100 / (times[-1] - times[0]), rel=1e-3)
    assert numbers(frames.read(video)) == list(range(COUNT))
    for indices in draws():
        assert numbers(frames.read(video, indices)) == indices.tolist()


def test_times_that_repeat_do_not_matter(pictures):
    """As where times are rounded too coarsely: then the order of decoding tells which frame is which."""
    video = write(pictures, "matroska", options=B_FRAMES, times=np.arange(COUNT) // 2)
    assert len({time for time, _, _ in packets(video)}) < COUNT
    assert frames.probe(video).num_frames == COUNT
    for indices in [np.arange(COUNT), *draws()]:
        assert numbers(frames.read(video, indices)) == indices.tolist()


def test_frames_that_the_file_hides_do_not_count(pictures, tmp_path):
    """An edit list that begins at the sixth frame, as of a video cut without encoding it anew."""
    video = bytearray(write(pictures, options=B_FRAMES))
    field = slice(video.find(b"elst") + 16, video.find(b"elst") + 20)
    frame_time = np.diff(sorted(time for time, _, _ in packets(video)))[0]
    video[field] = (int.from_bytes(video[field], "big") + 5 * int(frame_time)).to_bytes(4, "big")
    video = bytes(video)
    (tmp_path / "cut.mp4").write_bytes(video)
    found, first = cv2.VideoCapture(str(tmp_path / "cut.mp4")).read()
    assert found and numbers(first[None]) == [5]
    assert frames.probe(video).num_frames == COUNT - 5
    assert numbers(frames.read(video)) == list(range(5, COUNT))
    assert numbers(frames.read(video, [7, 0, 54])) == [12, 5, 59]


def test_one_frame(pictures):
    video = write(pictures[7:8])
    assert frames.probe(video) == frames.VideoInfo(1, SIZE, 25.0)
    assert numbers(frames.read(video, [0, 0])) == [7, 7]


def test_a_path_and_its_content_are_the_same(pictures, tmp_path):
    path = tmp_path / "clip.txt"  # whatever the ending says
    path.write_bytes(write(pictures))
    for source in (path, str(path)):
        assert frames.probe(source) == frames.probe(path.read_bytes())
        np.testing.assert_array_equal(frames.read(source, [9, 3]), frames.read(path.read_bytes(), [9, 3]))


def test_no_indices_give_no_frames(pictures):
    assert frames.read(write(pictures[:4]), []).shape == (0, *SIZE, 3)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_is_upright(pictures, rotation, tmp_path):
    path = tmp_path / "turned.mp4"
    path.write_bytes(write(pictures[:3], rotation=rotation))
    turned = frames.read(path, [1])[0]
    assert frames.probe(path).frame_size == turned.shape[:2] == np.rot90(pictures[1], rotation // 90).shape[:2]
    assert numbers(np.rot90(turned, -rotation // 90)[None]) == [1]
    capture = cv2.VideoCapture(str(path))
    expected = [capture.read()[1] for _ in range(2)][1][..., ::-1]
    np.testing.assert_allclose(turned, expected, atol=4)


TURNS = {  # a, b, c, d of a display matrix, and what it does to a picture
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "upside down and mirrored": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "turned": ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
    "turned to the right": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "turned to the left": ((0, -1, 1, 0), np.rot90),
    "turned and mirrored": ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    "turned and mirrored the other way": ((0, -1, -1, 0), lambda picture: np.rot90(picture.swapaxes(0, 1), 2)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_display_matrix_with_or_without_a_mirror_is_followed(pictures, turn):
    (a, b, c, d), turned = TURNS[turn]
    video = write(pictures[:3])
    expected = turned(frames.read(video)[1])
    place = video.index(b"tkhd") + 44
    matrix = b"".join(int(part).to_bytes(4, "big", signed=True) for part in np.array([a, b, 0, c, d, 0, 0, 0]) * 2**16)
    video = video[:place] + matrix + video[place + len(matrix) :]
    assert frames.probe(video).frame_size == expected.shape[:2]
    np.testing.assert_array_equal(frames.read(video, [1])[0], expected)
    np.testing.assert_array_equal(list(frames.iterate(video))[1], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_of_a_jpeg_turns_it(pictures, orientation):
    """FFmpeg hands the Exif on as side data that PyAV has no name for."""
    jpeg = tf.io.encode_jpeg(pictures[5]).numpy()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, *[0] * 7])
    jpeg = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    expected = cv2.imdecode(np.frombuffer(jpeg, "uint8"), cv2.IMREAD_COLOR)[..., ::-1]
    video = frames.wrap_jpegs([jpeg] * 3, fps=25)
    assert frames.probe(video).frame_size == expected.shape[:2]
    for decoded in (frames.read(video)[1], frames.read(video, [2])[0], list(frames.iterate(video))[0]):
        assert decoded.shape == expected.shape and np.abs(decoded.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("container_format, codec", [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mpeg4")])
@pytest.mark.parametrize(
    "ratio, size", [((64, 45), (48, 137)), ((2, 1), (48, 192)), ((8, 9), (54, 96)), ((1, 1), SIZE), ((1, 90), SIZE)]
)
def test_pixels_are_square(pictures, container_format, codec, ratio, size):
    """Wide pixels make a picture wider, high ones make it higher."""
    video = write(pictures[:4], container_format, codec, pixel=fractions.Fraction(*ratio))
    plain = frames.read(write(pictures[:4], container_format, codec))
    assert frames.probe(video).frame_size == size
    decoded = frames.read(video)
    assert decoded.shape == (4, *size, 3)
    expected = np.stack([cv2.resize(picture, size[::-1]) for picture in plain])
    assert np.abs(decoded.astype(int) - expected).mean() < 2
    assert numbers(np.stack([cv2.resize(picture, SIZE[::-1]) for picture in decoded])) == [0, 1, 2, 3]


def test_pixels_are_made_square_before_a_picture_is_turned(pictures):
    video = write(pictures[:2], pixel=fractions.Fraction(2), rotation=90)
    info = frames.probe(video)
    assert (info.frame_size, info.pixel) == ((192, 48), fractions.Fraction(1, 2))


def test_times_of_frames_are_those_of_the_file(pictures):
    times = 100 + np.cumsum(np.random.default_rng(0).integers(1, 9, COUNT))
    for container_format in ("mp4", "matroska", "mpegts"):
        video = write(pictures, container_format, options=B_FRAMES, times=times)
        given = [one.time_s for one in frames.iterate(video, with_times=True)]
        np.testing.assert_allclose(np.subtract(given, given[0]), (times - times[0]) / 100, atol=2e-3)
    for form in ("avi", "h264, no times"):  # here the rate is all there is
        given = [one.time_s for one in frames.iterate(write(pictures, *FORMS[form]), 5, True)]
        np.testing.assert_allclose(np.diff(given), 1 / 25)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64, np.int16])
def test_numpy_scalars_are_numbers(pictures, number):
    jpegs = [tf.io.encode_jpeg(picture).numpy() for picture in pictures[:3]]
    assert frames.probe(frames.wrap_jpegs(jpegs, fps=number(25))).fps == 25
    video = frames.encode(pictures, fps=number(25), crf=number(20), key_frame_every=number(12))
    assert frames.probe(video) == frames.VideoInfo(COUNT, SIZE, 25.0)
    if number in (np.int64, np.int16):
        assert numbers(np.array(list(frames.iterate(video, number(5))))) == list(range(5))
        assert frames.same_shape((number(48), number(96)), np.array([96, 192], number))


def test_only_what_is_needed_is_decoded(pictures):
    """Damage does no harm to frames that are shown before the next key frame or after it."""
    video = damage(write(pictures, options=B_FRAMES), 15)
    assert numbers(frames.read(video, [3, 11, 24, 40, 59])) == [3, 11, 24, 40, 59]
    of_pictures = damage(write(pictures, "avi", "mjpeg"), 15)
    others = [i for i in range(COUNT) if i != 15]
    assert numbers(frames.read(of_pictures, others)) == others


def test_inside_tf_data(pictures):
    video = write(pictures, options=B_FRAMES)
    dataset = tf.data.Dataset.from_tensor_slices([[5, 1], [59, 0], [7, 7]])

    def read(indices):
        decoded = tf.numpy_function(lambda i: frames.read(video, i), [indices], tf.uint8)
        return indices, tf.ensure_shape(decoded, (2, *SIZE, 3))

    for indices, decoded in dataset.map(read, tf.data.AUTOTUNE):
        assert numbers(decoded.numpy()) == indices.numpy().tolist()


@pytest.mark.parametrize("name", ["mmpose_demo.mp4", "demo_skeleton.mp4"])
def test_real_videos_equal_opencv(shared_data, name, caplog):
    path = shared_data("videos") / name
    capture = cv2.VideoCapture(str(path))
    info = frames.probe(path)
    assert info.num_frames == int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    expected = np.stack([capture.read()[1][..., ::-1] for _ in range(3)])
    assert not caplog.records  # one of them has a frame that is shown six times as long as the others
    decoded = frames.read(path, [2, 0, 2])
    assert decoded.shape[1:3] == info.frame_size
    assert np.abs(decoded.astype(int) - expected[[2, 0, 2]]).mean() < 0.5  # one of the two may round otherwise


# ---------------------------------------- bad files
@pytest.mark.parametrize(
    "content", [b"", b"A video.\n" * 200, bytes(5000), np.random.default_rng(0).bytes(9000)], ids=len
)
def test_not_a_video(content):
    for function in (frames.probe, frames.read):
        with pytest.raises(ValueError, match=rf"FFmpeg reads .* got {len(content):,} bytes of something else as the v"):
            function(content)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Not a video.\n" * 50)
    with pytest.raises(ValueError, match=f"as {path}; convert it"):
        frames.probe(path)
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        frames.read(tmp_path / "none.mp4")


def test_sound_alone():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), "int16"), "s16", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match="must have moving pictures, got the video without any"):
        frames.probe(buffer.getvalue())


def test_a_codec_that_nothing_decodes(pictures):
    video = write(pictures[:3]).replace(b"avc1", b"zzz1")
    with pytest.raises(ValueError, match="must be in a form that FFmpeg decodes"):
        frames.read(video)


def test_an_mp4_file_cut_before_its_index(pictures):
    video = write(pictures)
    with pytest.raises(ValueError, match=r"must be whole, got 2,000 of at least [\d,]+ bytes of the video"):
        frames.probe(video[:2000])


def test_an_mp4_file_cut_behind_its_index(pictures, tmp_path, caplog):
    path = tmp_path / "clip.mp4"
    write(pictures, options=B_FRAMES, file=str(path), movflags="faststart")  # by name: it is read again in the end
    video = path.read_bytes()
    assert frames.probe(video).num_frames == COUNT and not caplog.records
    ends = sorted(position + size for _, position, size in packets(video))
    for stored in (1, 30, COUNT - 1):
        caplog.clear()
        info = frames.probe(video[: ends[stored] - 1])
        assert stored - 3 <= info.num_frames <= stored  # without frames that are shown behind others which are cut off
        assert numbers(frames.read(video[: ends[stored] - 1])) == list(range(info.num_frames))
        said = f"should be whole, got the video, which ends too early, after {info.num_frames} of {COUNT} frames;"
        assert [said in record.getMessage() for record in caplog.records] == [True, True]
    with pytest.raises(ValueError, match="must be whole, got the video, which ends before its first frame; get it"):
        frames.read(video[: ends[0] - 1], [0])


def test_an_mp4_file_cut_inside_its_index(pictures, tmp_path):
    path = tmp_path / "clip.mp4"
    write(pictures, file=str(path), movflags="faststart")
    video = path.read_bytes()
    with pytest.raises(ValueError, match="must be whole, got"):
        frames.probe(video[: video.index(b"moov") + 60])


@pytest.mark.parametrize(
    "form, total",
    [("avi, pictures", " of 60"), ("mkv", ""), ("webm", ""), ("ts, open", ""), ("mp4, in parts", " of 31")],
)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_other_files_that_are_cut_give_what_is_whole(pictures, form, total, share, caplog):
    """As a download or a disk that ended: all frames until then, in order, and a word."""
    container_format, codec, options = FORMS.get(form, ("mp4", "libx264", B_FRAMES))
    parts = {"movflags": "frag_keyframe+empty_moov"} if form == "mp4, in parts" else {}
    video = write(pictures, container_format, codec, options, **parts)
    ends = [position + size for _, position, size in packets(video)]
    end = int(share * len(video)) // 188 * 188 + 100  # in the middle of a packet of a transport stream
    whole = sum(one <= end for one in ends)
    cut = video[:end]
    info = frames.probe(cut)
    assert whole - 16 <= info.num_frames <= whole + 1
    assert "which ends too early, after " in info.damage and info.damage in caplog.records[-1].getMessage()
    assert len(list(frames.iterate(cut))) == info.num_frames
    sure = info.num_frames - 1  # the end may be in the middle of the last one
    assert numbers(frames.read(cut, np.arange(sure))) == list(range(sure))


def test_a_cut_that_leaves_all_frames_does_no_harm(pictures):
    video = write(pictures, "avi", "mjpeg")
    index = video.rfind(b"idx1")
    assert numbers(frames.read(video[: index + 100], [59, 0])) == [59, 0]


# ---------------------------------------- damaged files
@pytest.mark.parametrize("form", ["mp4", "mkv", "ts, open", "avi, pictures"])
@pytest.mark.parametrize("frame", [12, 59])
def test_a_damaged_frame_is_replaced_and_named(pictures, form, frame, caplog):
    video = write(pictures, *FORMS[form])
    whole = frames.read(video)
    video = spoiled(video, frame)
    decoded = frames.read(video)
    assert len(decoded) == COUNT and decoded.shape == whole.shape
    lost = [one.is_lost for one in frames.iterate(video, None, True)]
    assert len(lost) == COUNT and lost[frame] and 1 <= sum(lost) <= 12
    assert f"of {COUNT} of the video that cannot be decoded (" in caplog.text
    assert len(caplog.records) == 2 and f"({frame}" in caplog.records[0].getMessage()
    before, behind = frame - 16, frame + 13  # frames refer to others as far as the next key frame
    others = [i for i in range(COUNT) if not before <= i < behind]
    np.testing.assert_array_equal(decoded[others], whole[others])
    alone = frames.read(video, [frame, frame])
    assert alone.shape[0] == 2 and numbers(alone)[0] in (frame - 1, frame - 2)


def test_the_nearest_frame_stands_for_a_lost_one(pictures, caplog):
    video = write(pictures, "avi", "mjpeg")
    for frame in (0, 20, 21, 22, 23, 40, 59):
        video = spoiled(video, frame)
    assert numbers(frames.read(video, [23, 22, 20, 0, 59, 21, 40, 39, 40])) == [24, 24, 19, 1, 58, 19, 39, 39, 39]
    (record,) = caplog.records
    assert "got 7 of 60 of the video that cannot be decoded (0, 20, 21, 22, 23 and 2 more)" in record.getMessage()
    caplog.clear()
    given = list(frames.iterate(video, with_times=True))
    assert numbers(np.array([one.picture for one in given]))[18:25] == [18, 19, 19, 19, 19, 19, 24]
    assert numbers(np.array([one.picture for one in given]))[:2] == [1, 1]
    assert [i for i, one in enumerate(given) if one.is_lost] == [0, 20, 21, 22, 23, 40, 59]
    assert len(caplog.records) == 1
    assert frames.probe(video) == frames.VideoInfo(COUNT, SIZE, 25.0)
    caplog.clear()
    assert numbers(frames.read(video, [5, 30])) == [5, 30] and not caplog.records  # nothing was lost of these


@pytest.mark.parametrize("form", ["avi", "avi, no times", "h264, no times"])
@pytest.mark.parametrize("frame", [9, 16, 30])
def test_numbers_do_not_shift_where_there_are_no_times(pictures, form, frame):
    """There frames are counted, and one that does not come out must count all the same."""
    video = write(pictures, *FORMS[form])
    whole, stored = frames.read(video), packets(video)
    _, position, size = stored[frame]
    garbage = np.random.default_rng(0).integers(1, 256, size - 6, "uint8").tobytes()  # no zeros: they would divide it
    video = video[: position + 6] + garbage + video[position + size :]
    decoded = frames.read(video)
    assert len(decoded) == len(list(frames.iterate(video))) == COUNT
    far = [i for i in range(COUNT) if not frame - 12 <= i < frame + 14]
    np.testing.assert_array_equal(decoded[far], whole[far])
    np.testing.assert_array_equal(frames.read(video, far[-3:]), whole[far[-3:]])
    np.testing.assert_array_equal(np.array(list(frames.iterate(video)))[far], whole[far])


@pytest.mark.parametrize("form", ["mp4", "mp4, one key frame", "avi, pictures"])
def test_a_video_that_has_lost_most_of_its_frames_is_refused(pictures, form):
    video, count = write(pictures[:20], *FORMS[form]), 20
    for frame in range(10):
        video = spoiled(video, frame, kept=0)
    if form == "avi, pictures":
        assert numbers(frames.read(video, range(8, 12))) == [10, 10, 10, 11]
    for frame in range(10, count):
        video = spoiled(video, frame, kept=0)
    with pytest.raises(ValueError, match=r"At least 50% of .* got 20 of 20 of the video that cannot be decoded \(0, 1"):
        frames.probe(video)
    for given in ([3], None):
        with pytest.raises(ValueError, match="At least 50% of the frames of a video must be whole, got"):
            frames.read(video, given)
    with pytest.raises(ValueError, match="At least 50% of the frames of a video must be whole, got"):
        list(frames.iterate(video))


def test_more_than_half_lost_is_told_as_soon_as_it_is_known(pictures):
    video = write(pictures, "avi", "mjpeg")
    for frame in range(20, 55):
        video = spoiled(video, frame)
    given = []
    with pytest.raises(ValueError, match="got 31 of 60 of the video"):
        given.extend(frames.iterate(video))
    assert numbers(np.array(given)) == [*range(20), *[19] * 30]
    with pytest.raises(ValueError, match="got 35 of 60 of the video"):
        frames.read(video, [30, 31])
    assert numbers(frames.read(video, [3, 19])) == [3, 19]


# ---------------------------------------- frames that are not there
def without(video, frame, form="ts"):
    """A transport stream without the packets of a frame, in the order of storage."""
    parts = [video[i : i + 188] for i in range(0, len(video), 188)]
    is_film = [(part[1] & 31) << 8 | part[2] == 256 for part in parts]
    starts = [i for i, part in enumerate(parts) if is_film[i] and part[1] & 64] + [len(parts)]
    return b"".join(part for i, part in enumerate(parts) if not (is_film[i] and starts[frame] <= i < starts[frame + 1]))


@pytest.mark.parametrize("options", [{"bf": "0", "g": "12"}, B_FRAMES, OPEN_GOP])
@pytest.mark.parametrize("frame", [4, 20, 29])
def test_a_packet_cut_out_of_a_transport_stream_is_told(pictures, options, frame, caplog):
    video = write(pictures[:40], "mpegts", options=options)
    assert frames.probe(video).gaps == () and not caplog.records
    order = sorted(time for time, _, _ in packets(video))
    cut = without(video, frame)
    info = frames.probe(cut)
    (lost,) = set(order) - {time for time, _, _ in packets(cut)}
    before = order.index(lost) - 1
    assert (info.num_frames, info.gaps) == (39, ((before, 1),))
    assert f"in which there is time for 1 more frame behind frame {before}: lost, or shown longer" in caplog.text
    assert len(caplog.records) == 1
    assert len(list(frames.iterate(cut))) == 39
    assert len(caplog.records) > 1 and info.damage in caplog.text


@pytest.mark.parametrize("rate", [25, 30, 24000 / 1001])
@pytest.mark.parametrize("container_format", ["flv", "mp4", "matroska", "mpegts"])
def test_a_gap_in_time_is_told_unless_the_container_shows_that_it_is_none(pictures, rate, container_format, caplog):
    """FLV and transport streams have nothing but times; in the others all is there, so a frame is shown longer."""
    times = np.round(24000 * np.delete(np.arange(43), [7, 8, 30]) / rate)
    video = write(pictures[:40], container_format, options={"bf": "0"}, times=times, clock=24000)
    info = frames.probe(video)
    assert info.num_frames == 40
    if container_format in ("flv", "mpegts"):
        assert info.gaps == ((6, 2), (27, 1))
        assert "there is time for 3 more frames behind frames 6 and 27: lost, or shown longer" in caplog.text
    else:
        assert (info.gaps, info.damage) == ((), "") and not caplog.records


@pytest.mark.parametrize("form", ["mkv", "webm"])
@pytest.mark.parametrize("place", [6, 20, 33])
def test_blocks_lost_from_the_middle_of_a_matroska_file_are_told(pictures, form, place, caplog):
    """Where even the head of a block is destroyed, FFmpeg goes on at the next group of blocks without a word."""
    video = write(pictures, *FORMS[form])
    _, position, size = packets(video)[place]
    for damaged in (
        video[:position] + bytes(size) + video[position + size :],
        video[:position] + video[position + size :],
    ):
        caplog.clear()
        info = frames.probe(damaged)
        assert info.num_frames < COUNT
        assert info.damage in caplog.text and len(caplog.records) == 1
        assert "there is time for" in info.damage or "ends too early" in info.damage


@pytest.mark.parametrize("missing", [1, 4, 400])
@pytest.mark.parametrize("form", ["avi", "avi, no times", "avi, pictures"])
def test_an_avi_header_that_counts_more_frames_is_told(pictures, form, missing, caplog):
    video = write(pictures, *FORMS[form])
    assert frames.probe(video).damage == "" and not caplog.records
    field = video.index(b"strh") + 8 + 32
    assert int.from_bytes(video[field : field + 4], "little") == COUNT
    info = frames.probe(video[:field] + (COUNT + missing).to_bytes(4, "little") + video[field + 4 :])
    assert info.num_frames == COUNT and info.damage == f"of which {COUNT} of {COUNT + missing} frames are found"
    assert info.damage in caplog.text


@pytest.mark.parametrize("count", [2, 6, 40])
def test_an_mp4_index_that_counts_more_frames_is_told(pictures, count, caplog):
    """The frames of a chunk, of which a damaged table says that it has fewer."""
    video = write(pictures, options=B_FRAMES)
    field = video.index(b"stsc") + 16
    damaged = video[:field] + count.to_bytes(4, "big") + video[field + 4 :]
    info = frames.probe(damaged)
    assert info.num_frames == count and f"of which {count} of {COUNT} frames are found" == info.damage
    assert info.damage in caplog.text
    assert numbers(frames.read(damaged, [0, count - 1]))[0] == 0


@pytest.mark.parametrize("place", [2, 4, 6])
def test_a_matroska_file_with_few_frames_left_is_told(pictures, place, caplog):
    video = write(pictures, "matroska", options={"bf": "0"})
    stored = packets(video)
    end = stored[-1][1] + stored[-1][2]
    info = frames.probe(video[: stored[place][1] - 8] + bytes(end - stored[place][1] + 8) + video[end:])
    assert info.num_frames <= place + 1 and "ends too early" in info.damage and info.damage in caplog.text


def test_whatever_a_demuxer_raises_is_damage(pictures, caplog):
    """A transport stream that goes on with another numbering of its parts: PyAV raises an IndexError."""
    video = write(pictures[:30], "mpegts", options={"bf": "0"})
    other = write(pictures[:30], "mpegts", options={"bf": "0"}, mpegts_start_pid="0x200", mpegts_pmt_start_pid="0x300")
    with pytest.raises(IndexError), av.open(io.BytesIO(video + other)) as container:
        list(container.demux(video=0))
    info = frames.probe(video + other)
    assert info.num_frames == 30 and "its structure is damaged" in info.damage
    assert numbers(frames.read(video + other)) == list(range(30)) and "its structure is damaged" in caplog.text


@pytest.mark.parametrize("container_format, codec", [("gif", "gif"), ("apng", "apng")])
def test_a_drawing_that_stays_is_no_loss(pictures, container_format, codec, caplog):
    times = 4 * np.delete(np.arange(33), [7, 8, 20])
    video = write(pictures[:30], container_format, codec, times=times)
    info = frames.probe(video)
    assert (info.num_frames, info.gaps, info.damage) == (30, (), "") and not caplog.records


def test_junk_behind_the_last_box_is_no_cut(pictures):
    whole = write(pictures, options=B_FRAMES, movflags="frag_keyframe+empty_moov")
    for junk in (bytes(999), b"\xff" * 999, np.random.default_rng(0).bytes(5000)):
        info = frames.probe(whole + junk)
        assert (info.num_frames, info.damage) == (COUNT, "")
    assert "ends too early" in frames.probe(whole[: len(whole) * 3 // 4]).damage


@pytest.mark.parametrize("container_format", ["matroska", "mp4", "mpegts"])
@pytest.mark.parametrize("kind", ["any", "jitter", "two rates", "every third twice", "slower and slower"])
def test_a_rate_that_varies_is_no_loss(pictures, container_format, kind, caplog):
    random = np.random.default_rng(0)
    steps = {
        "any": random.integers(1, 9, COUNT),
        "jitter": 8 + random.integers(-2, 3, COUNT),
        "two rates": np.repeat([4, 8], COUNT // 2),
        "every third twice": np.tile([4, 4, 8], COUNT // 3),
        "slower and slower": 3 + np.arange(COUNT) // 6,
    }[kind]
    video = write(pictures, container_format, options={"bf": "0"}, times=np.cumsum(steps))
    info = frames.probe(video)
    assert (info.num_frames, info.gaps, info.damage) == (COUNT, (), "")
    assert len(frames.read(video)) == COUNT and not caplog.records


def test_a_mark_of_lost_data_is_told_where_no_frame_is_missing(pictures, caplog):
    """A transport packet from the middle of a frame: the stream counts its packets."""
    video = write(
        np.random.default_rng(0).integers(0, 255, pictures[:30].shape, "uint8"), "mpegts", options={"bf": "0"}
    )
    parts = [video[i : i + 188] for i in range(0, len(video), 188)]
    inside = next(i for i in range(len(parts) // 2, len(parts)) if parts[i][1] & 64 == 0)
    info = frames.probe(b"".join(parts[:inside] + parts[inside + 1 :]))
    assert info.num_frames == 30 and not info.gaps
    assert "in which data is missing in or near frame" in caplog.text


@pytest.mark.parametrize("options", [{"bf": "0", "g": "12"}, B_FRAMES])
@pytest.mark.parametrize("frame, time", [(20, 2**31), (20, 1500), (24, 0), (20, 0)])
def test_one_wrong_time_costs_iterate_no_more_than_read(pictures, options, frame, time):
    """The frame has another number by it, but both give the same frames under the same numbers."""
    video = retimed(write(pictures, "flv", options=options), frame, time)
    whole = frames.read(video)
    assert len(set(numbers(whole))) >= COUNT - 1
    np.testing.assert_array_equal(list(frames.iterate(video)), whole)
    assert sum(frame.is_lost for frame in frames.iterate(video, with_times=True)) <= 1


def test_a_lost_frame_holds_no_others_back(pictures):
    """Where nothing may come late, frames are given as soon as they are decoded."""
    video = spoiled(write(pictures, *FORMS["avi, pictures"]), 20)
    given = frames.iterate(video, with_times=True)
    assert [next(given).is_lost for _ in range(23)] == [False] * 20 + [True] + [False] * 2


@pytest.mark.parametrize("index", [-1, COUNT])
def test_a_frame_that_is_not_there(pictures, index):
    with pytest.raises(ValueError, match=f"Frames of the video are 0 to {COUNT - 1}, got {index}; ask for those"):
        frames.read(write(pictures), [3, index])


def test_frames_of_two_sizes(pictures):
    small, large = (av.open(io.BytesIO(write(part, "h264"))) for part in (pictures[:3], pictures[:3, :, :64]))
    joined = b"".join(bytes(packet) for container in (small, large) for packet in container.demux(video=0))
    message = "have one size, got 48 x 96 and then 48 x 64 in frame 3"
    with pytest.raises(ValueError, match=message):
        frames.read(joined)
    given = frames.iterate(joined)
    assert [next(given).shape for _ in range(3)] == [(*SIZE, 3)] * 3
    with pytest.raises(ValueError, match=message):
        next(given)


# ---------------------------------------- writing
def test_encode_and_read_back(pictures):
    video = frames.encode(pictures, fps=29.97)
    info = frames.probe(video)
    assert (info.num_frames, info.frame_size) == (COUNT, SIZE)
    assert info.fps == pytest.approx(29.97)
    decoded = frames.read(video)
    assert numbers(decoded) == list(range(COUNT))
    assert np.abs(decoded.astype(int) - pictures).mean() < 8  # noise, with half the resolution in colour
    assert video == frames.encode(list(pictures), fps=29.97) == frames.encode(iter(pictures), fps=29.97)


@pytest.mark.parametrize("fps", [1 / 5000, 1e-6, 1e-300])
def test_frames_however_slow_are_written(pictures, fps):
    video = frames.encode(pictures[:3], fps)
    assert numbers(frames.read(video)) == [0, 1, 2] and frames.probe(video).fps == pytest.approx(1 / 1001)
    assert numbers(frames.read(animations.encode_mp4(pictures[:3], fps))) == [0, 1, 2]


def test_crf_and_key_frames(pictures):
    with av.open(io.BytesIO(frames.encode(pictures, 25, key_frame_every=5))) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert sum(keys) >= COUNT // 5
    assert (
        len(frames.encode(pictures, 25, crf=40))
        < len(frames.encode(pictures, 25))
        < len(frames.encode(pictures, 25, 5))
    )


@pytest.mark.parametrize(
    "given, fps, message",
    [
        ([], 25, "at least one frame, got none"),
        (np.zeros((2, 47, 96, 3), "uint8"), 25, "even sides, got 47 x 96; crop or pad"),
        (np.zeros((2, 48, 96, 3)), 25, r"uint8 RGB, got \(48, 96, 3\) float64 in frame 0"),
        (np.zeros((2, 48, 96), "uint8"), 25, r"uint8 RGB, got \(48, 96\) uint8 in frame 0"),
        ([np.zeros((48, 96, 3), "uint8"), np.zeros((48, 90, 3), "uint8")], 25, "48 x 96 and then 48 x 90 in frame 1"),
        (np.zeros((2, 48, 96, 3), "uint8"), 0, "fps must be a positive number of frames a second, got 0"),
        (np.zeros((2, 48, 96, 3), "uint8"), float("nan"), "got nan"),
    ],
)
def test_what_cannot_be_encoded(given, fps, message):
    with pytest.raises(ValueError, match=message):
        frames.encode(given, fps)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"chroma_downsampling": False}, {"format": "grayscale"}]
)
def test_jpegs_are_kept_as_they_are(pictures, options):
    odd = pictures[:20, :47, :95]
    odd = odd[..., :1] if options.get("format") else odd
    jpegs = [tf.io.encode_jpeg(picture, **options).numpy() for picture in odd]
    video = frames.wrap_jpegs(jpegs, fps=30)
    with av.open(io.BytesIO(video)) as container:
        assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == jpegs
    assert frames.probe(video) == frames.VideoInfo(20, (47, 95), 30.0)
    decoded = frames.read(video, [13, 2, 2])
    for index, picture in zip([13, 2, 2], decoded, strict=True):
        expected = tf.io.decode_jpeg(jpegs[index], channels=3, dct_method="INTEGER_ACCURATE").numpy()
        assert np.abs(picture.astype(int) - expected).mean() < 2  # colours of half the resolution are spread otherwise


def test_jpegs_that_are_none_or_differ(pictures):
    jpegs = [tf.io.encode_jpeg(picture).numpy() for picture in (pictures[0], pictures[1, :40])]
    png = tf.io.encode_png(pictures[0]).numpy()
    for given, message in (
        ([], "at least one frame, got none"),
        (jpegs, "48 x 96 and then 40 x 96 in frame 1"),
        ([jpegs[0], png], rf"must be JPEG files, got {len(png):,} bytes of something else in frame 1"),
        ([jpegs[0], b""], "got 0 bytes of something else in frame 1"),
        ([jpegs[0][:100]], "got 100 bytes of something else in frame 0"),
        ([jpegs[0], jpegs[0][:-200]], "Pictures must be whole, got .* in frame 1 without an end"),
    ):
        with pytest.raises(ValueError, match=message):
            frames.wrap_jpegs(given, 25)
    with pytest.raises(ValueError, match="fps must be a positive number of frames a second, got -1"):
        frames.wrap_jpegs(jpegs[:1], -1)
