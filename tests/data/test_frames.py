"""Videos written here, each frame with its number drawn in it, read back; the real ones against OpenCV."""

import fractions
import io

import av
import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerapose.data import frames

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
    pictures, container_format="mp4", codec="libx264", options=None, times=None, rotation=None, file=None, **more
):
    """A video by plain PyAV: its bytes, unless a file is given. `times` are in hundredths of a second."""
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    buffer = io.BytesIO()
    with av.open(file or buffer, "w", format=container_format, options=more) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        if times is not None:
            stream.codec_context.time_base = fractions.Fraction(1, 100)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[i]), fractions.Fraction(1, 100)
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


def draws(count=20):
    random = np.random.default_rng(1)
    return [random.integers(0, COUNT, random.integers(1, 9)) for _ in range(count)]


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
def test_real_videos_equal_opencv(shared_data, name):
    path = shared_data("videos") / name
    capture = cv2.VideoCapture(str(path))
    info = frames.probe(path)
    assert info.num_frames == int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    expected = np.stack([capture.read()[1][..., ::-1] for _ in range(3)])
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


def test_an_mp4_file_cut_behind_its_index(pictures, tmp_path):
    path = tmp_path / "clip.mp4"
    write(pictures, options=B_FRAMES, file=str(path), movflags="faststart")  # by name: it is read again in the end
    video = path.read_bytes()
    assert frames.probe(video).num_frames == COUNT
    ends = sorted(position + size for _, position, size in packets(video))
    for whole in (0, 1, 30, COUNT - 1):
        with pytest.raises(
            ValueError, match=f"must be whole, got the video, which ends after {whole} of {COUNT} frame"
        ):
            frames.read(video[: ends[whole] - 1], [0])


def test_an_mp4_file_cut_inside_its_index(pictures, tmp_path):
    path = tmp_path / "clip.mp4"
    write(pictures, file=str(path), movflags="faststart")
    video = path.read_bytes()
    with pytest.raises(ValueError, match="must be whole, got"):
        frames.probe(video[: video.index(b"moov") + 60])


@pytest.mark.parametrize("container_format, codec, total", [("avi", "mjpeg", " of 60"), ("matroska", "libx264", "")])
def test_other_files_that_are_cut(pictures, container_format, codec, total):
    video = write(pictures, container_format, codec)
    positions = sorted(position for _, position, _ in packets(video))
    with pytest.raises(ValueError, match=f"must be whole, got the video, which ends after 20{total} frames; get it"):
        frames.probe(video[: positions[20] + 9])


def test_a_cut_that_leaves_all_frames_does_no_harm(pictures):
    video = write(pictures, "avi", "mjpeg")
    index = video.rfind(b"idx1")
    assert numbers(frames.read(video[: index + 100], [59, 0])) == [59, 0]


@pytest.mark.parametrize("container_format, codec", [("mp4", "libx264"), ("avi", "mjpeg")])
def test_a_damaged_frame_is_named(pictures, container_format, codec):
    video = write(pictures, container_format, codec, {} if codec == "mjpeg" else B_FRAMES)
    stored = sorted(packets(video))
    _, position, size = stored[12]  # a key frame
    video = video[:position] + bytes(size) + video[position + size :]
    with pytest.raises(ValueError, match="must be whole, got frame 12 of the video that cannot be decoded"):
        frames.read(video, [11, 12, 40])
    given = []
    with pytest.raises(ValueError, match="must be whole, got frame 12 of the video that cannot be decoded"):
        given.extend(frames.iterate(video))
    assert numbers(np.array(given)) == list(range(len(given)))


@pytest.mark.parametrize("index", [-1, COUNT])
def test_a_frame_that_is_not_there(pictures, index):
    with pytest.raises(ValueError, match=f"Frames of the video are 0 to {COUNT - 1}, got {index}; ask for those"):
        frames.read(write(pictures), [3, index])


def test_frames_of_two_sizes(pictures):
    small, large = (av.open(io.BytesIO(write(part, "h264"))) for part in (pictures[:3], pictures[:3, :, :64]))
    joined = b"".join(bytes(packet) for container in (small, large) for packet in container.demux(video=0))
    with pytest.raises(ValueError, match="have one size, got 48 x 96 and then 48 x 64 in frame 3"):
        frames.read(joined)


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
