"""Files that move hold what was drawn, at the speed of the track."""

import contextlib
import fractions
import types

import av
import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import H36M
from kerapose.visualize import panels, poses_3d


def seen(poses):
    """Their 2D keypoints in pixels."""
    return 500 + 200 * poses[..., :2]


def drawn(keypoints, poses, frame, **options):
    """One frame of an animation, drawn from a track in which all frames have the extent of the whole."""
    flat, solid, caption = list(
        poses_3d.lift_panels(keypoints, poses, H36M, H36M, None, None, range(len(poses)), **options)
    )[frame]
    return panels.side_by_side([panels.captioned(flat, frame), panels.captioned(solid, caption)])


def test_a_gif_holds_what_was_drawn_at_its_speed(tmp_path, standing, read_gif):
    poses = standing(frames=14)
    path = tmp_path / "new" / "track.GIF"
    count = visualize.write_animation(path, seen(poses), poses, H36M, H36M, fps=30, panel_height=160)
    frames, times = read_gif(path)
    assert count == len(frames) == 14
    assert sum(times) == pytest.approx(1000 * 14 / 30, abs=10)
    assert set(times) <= {30, 40}
    for index in (0, 6, 13):
        picture = drawn(seen(poses), poses, index, panel_height=160)
        assert frames[index].shape == picture.shape
        difference = abs(frames[index].astype(int) - picture)
        assert difference.mean() < 1
        assert difference.max() < 90  # 256 colours


def test_a_gif_of_a_fast_track_has_every_other_frame(tmp_path, standing, read_gif):
    poses = standing(frames=31)
    count = visualize.write_animation(tmp_path / "a.gif", seen(poses), poses, H36M, H36M, fps=60, panel_height=120)
    frames, times = read_gif(tmp_path / "a.gif")
    assert count == len(frames) == 16
    assert sum(times) == pytest.approx(1000 * 16 / 30, abs=10)
    picture = drawn(seen(poses), poses, 20, panel_height=120)
    assert abs(frames[10].astype(int) - picture).mean() < 1


def test_an_mp4_holds_what_was_drawn_at_its_speed(tmp_path, capsys, standing, read_mp4):
    poses = standing(frames=12)
    options = {"panel_height": 161}  # odd, which H.264 does not take
    path = tmp_path / "track.mp4"
    count = visualize.write_animation(path, seen(poses), poses, H36M, H36M, fps=29.97, progress=True, **options)
    frames, rate, codec = read_mp4(path)
    assert codec.startswith("h264")
    assert count == len(frames) == 12
    assert float(rate) == pytest.approx(29.97, abs=0.01)
    picture = drawn(seen(poses), poses, 7, **options)
    assert frames.shape[1] == 162
    assert frames.shape[2] - picture.shape[1] in (0, 1)
    assert abs(frames[7, :161, : picture.shape[1]].astype(int) - picture).mean() < 6  # chroma has half the size
    assert "12/12" in capsys.readouterr().out


def test_frames_may_come_one_by_one(tmp_path, standing, read_gif):
    poses = standing(frames=5)
    images = [np.full((100, 140, 3), 40 * index, np.uint8) for index in range(5)]
    options = {"fps": 10, "panel_height": 100}
    arguments = tmp_path / "a.gif", seen(poses) / 10, poses, H36M, H36M, poses
    visualize.write_animation(*arguments, frames=(image for image in images), **options)
    frames, _ = read_gif(tmp_path / "a.gif")
    for index in range(5):
        assert abs(frames[index][:4, :140].astype(int) - 40 * index).max() < 20
    for frames, message in [
        (images[:4], "frames must be 5, one per pose, got 4; cut the track"),
        ([*images, images[0]], "frames must be 5, one per pose, got more; cut them"),
        ([*images[:4], images[4][:50]], r"size of the first, \(100, 140, 3\), got \(50, 140, 3\) at 4"),
        ([image / 255 for image in images], "image must be RGB uint8"),
    ]:
        with pytest.raises(ValueError, match=message):
            visualize.write_animation(tmp_path / "b.mp4", *arguments[1:], frames=frames, **options)
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("a.avi", {}, "path must end in .gif or .mp4, got '.*a.avi'"),
        ("a", {}, "path must end in"),
        ("a.gif", {"fps": 0}, "fps must be a positive number of frames a second, got 0"),
        ("a.mp4", {"fps": np.nan}, "fps must be a positive number"),
        ("a.mp4", {"axes": "up"}, "axes must be"),
    ],
)
def test_write_animation_refuses(tmp_path, path, options, message, standing):
    poses = standing(frames=3)
    with pytest.raises(ValueError, match=message):
        visualize.write_animation(tmp_path / path, seen(poses), poses, H36M, H36M, **options)
    assert not list(tmp_path.iterdir())


def test_videos_are_written_for_browsers_and_lose_little(monkeypatch):
    """H.264 of a constant quality that the eye takes for none lost, in the colours that every player knows."""
    told, codec = [], types.SimpleNamespace(is_open=False)
    stream = types.SimpleNamespace(encode=lambda *given: [], codec_context=codec)
    writer = types.SimpleNamespace(add_stream=lambda codec, **how: told.append((codec, how)) or stream, mux=lambda _: 0)
    monkeypatch.setattr(av, "open", lambda file, mode, format: contextlib.nullcontext(writer))
    for fps in (12.5, 1e-6):
        visualize.animations.encode_mp4([np.zeros((32, 48, 3), np.uint8)], fps)
    options = {"crf": "18", "preset": "veryfast"}
    rates = fractions.Fraction(25, 2), visualize.animations.SLOWEST_FPS
    assert told == [("libx264", {"rate": rate, "options": options}) for rate in rates]
    assert (stream.pix_fmt, stream.height, stream.width) == ("yuv420p", 32, 48)


def test_a_pose_alone_is_no_track(tmp_path, standing):
    with pytest.raises(ValueError, match=r"poses_m of h36m must be \[T, 17, 3\] or .*, got \(17, 3\)"):
        visualize.write_animation(tmp_path / "a.gif", seen(standing(frames=1)), standing(), H36M, H36M)


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_single_frame_or_none(tmp_path, ending, standing):
    poses = standing(frames=1)
    path = tmp_path / f"a.{ending}"
    assert visualize.write_animation(path, seen(poses), poses, H36M, H36M, panel_height=100) == 1
    assert path.stat().st_size
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        visualize.write_animation(tmp_path / f"b.{ending}", seen(poses)[:0], poses[:0], H36M, H36M)
