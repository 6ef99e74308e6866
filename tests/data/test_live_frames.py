"""Frames of what is still going on: files that grow, and streams from the net."""

import functools
import http.server
import threading
import time

import av
import numpy as np
import pytest

from kerapose.data import frames
from kerapose.data.frames import live


def film(path, count, container_format):
    """Writes a film of `count` frames, of which each is brighter than the one before, 31 times."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5", "tune": "zerolatency"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for level in range(count):
            picture = np.full((48, 64, 3), 8 * (level % 31), "uint8")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def noisy_film(path):
    """An MP4 file whose index lies at its end, so far from the frames that nobody has both at once."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), "uint8")
    path.write_bytes(frames.encode(noise, fps=25))
    content = path.read_bytes()
    assert content.index(b"moov") - content.index(b"mdat") > 200_000


def levels(video):
    return [round(float(frame.picture.mean()) / 8) for frame in video]


@pytest.mark.parametrize("container_format", ["mpegts", "matroska"])
def test_a_file_is_read_while_it_is_written(tmp_path, container_format):
    film(tmp_path / "whole", 100, container_format)
    content = (tmp_path / "whole").read_bytes()
    parts = [content[start : start + len(content) // 20] for start in range(0, len(content), len(content) // 20)]
    growing, written = tmp_path / "growing", []
    growing.write_bytes(parts[0])

    def grow():
        for part in parts[1:]:
            time.sleep(0.05)
            with open(growing, "ab") as file:
                file.write(part)
            written.append(part)

    writer = threading.Thread(target=grow)
    writer.start()
    video = frames.LiveVideo(growing, patience_s=1.0)
    assert video.is_endless and video.fps == pytest.approx(25, abs=0.1)
    seen, progress = [], []
    for frame in video:
        seen.append(frame)
        progress.append(len(written))
    writer.join()
    assert levels(seen) == [level % 31 for level in range(100)]
    np.testing.assert_allclose(np.diff([frame.time_s for frame in seen]), 0.04, atol=2e-3)
    assert progress[0] < 15 and progress[-1] >= 18  # the first is given out long before the last is written


def test_a_file_that_no_longer_grows_is_over(tmp_path):
    film(tmp_path / "done.ts", 6, "mpegts")
    start = time.monotonic()
    assert levels(frames.LiveVideo(tmp_path / "done.ts", patience_s=0.3)) == list(range(6))
    assert 0.3 < time.monotonic() - start < 5


@pytest.fixture
def server(tmp_path):
    """The address of a server of files."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_whole_file_from_the_net_waits_for_whoever_reads(tmp_path, server):
    film(tmp_path / "film.mp4", 8, "mp4")
    video = frames.LiveVideo(f"{server}/film.mp4")
    assert not video.is_endless and video.fps == pytest.approx(25)
    assert levels(video) == list(range(8))
    with pytest.raises(
        ValueError, match="A stream must be one that FFmpeg can read from where it is, got .*nothing.mp4"
    ):
        frames.LiveVideo(f"{server}/nothing.mp4")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), "int16"), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="A stream must have video, got .*sound.mkv without"):
        frames.LiveVideo(tmp_path / "sound.mkv", patience_s=0.1)


def test_an_mp4_file_that_is_not_closed_says_what_to_do(tmp_path):
    film(tmp_path / "film.mp4", 8, "mp4")
    content = (tmp_path / "film.mp4").read_bytes()
    (tmp_path / "open.mp4").write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(
        ValueError, match=r"got .*open.mp4 .*; have it recorded as .ts, .mkv or fragmented MP4, or wait"
    ):
        frames.LiveVideo(tmp_path / "open.mp4", patience_s=0.1)


def test_an_mp4_file_with_its_index_at_its_end_says_what_to_do(tmp_path, server):
    noisy_film(tmp_path / "film.mp4")
    for given, remedy in [
        (tmp_path / "film.mp4", "wait until it is closed and leave follow out"),
        (f"{server}/film.mp4", r"that an MP4 file begins with its index \(faststart\)"),  # this one cannot seek
    ]:
        with pytest.raises(ValueError, match=f"from where it is, got .*film.mp4 .*{remedy}"):
            next(iter(frames.LiveVideo(given, patience_s=0.1)))


@pytest.mark.parametrize("given, is_one", [("rtsp://a/b", True), ("HTTP://a", True), ("a.mp4", False)])
def test_addresses_are_told_from_paths(given, is_one):
    assert live.is_address(given) is is_one
    assert not live.is_address("C:\\films\\a.mp4") and not live.is_address("camera:0")
