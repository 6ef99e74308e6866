"""The command that draws people and writes them down, by what lies in its files."""

import argparse
import functools
import http.server
import io
import json
import os
import re
import signal
import threading
import types

import av
import cv2
import keras
import numpy as np
import pytest
import tqdm

from kerapose import commands, estimators, models, predictors, skeletons, tracking, visualize
from kerapose.commands import networks, predict
from kerapose.commands.recording import Recording
from kerapose.data import frames
from kerapose.pipeline import Pipeline, sources
from kerapose.skeletons import COCO, H36M, MPII, OPENPOSE

HEIGHTS = {"nose": 6, "eye": 3, "ear": 5, "shoulder": 18, "elbow": 30, "wrist": 40, "hip": 45, "knee": 65, "ankle": 85}
SIDES = {"left": 6, "right": -6}
ALONE = "--skeleton", "coco", "--codec", "gaussian"  # what a top-down network does not know
FOX = skeletons.Skeleton(
    "fox", ("snout", "left_ear", "right_ear", "tail"), ((0, 1), (0, 2), (0, 3)), colors=((250, 120, 0),) * 4
)

FOXES = skeletons.Skeleton("head", FOX.keypoints[:3], FOX.edges[:2]), FOX  # of a lifter: what it takes and gives


def body(x, y=10.0):
    return np.array([(SIDES.get(n.split("_")[0], 0), HEIGHTS[n.split("_")[-1]]) for n in COCO.keypoints]) + (x, y)


class Walkers:
    """In place of a predictor: two people who walk towards each other, the second from frame 2 on.

    With `until`, what is to happen at that frame happens.
    """

    skeleton = COCO

    def __init__(self, happens=None, until=None):
        self.calls, self.happens, self.until = 0, happens, until

    def __call__(self, image):
        frame, self.calls = self.calls, self.calls + 1
        if frame == self.until:
            self.happens()
        people = [self.pose(30 + 2 * frame, 0.9)]
        return people[::-1] if frame < 2 else [self.pose(130 - 2 * frame, 0.8), *people]

    def pose(self, x, score):
        keypoints, scores = body(x).astype("float32"), np.full(17, score, "float32")
        keypoints[3], scores[3] = 0, 0  # an ear that is never found
        box = np.array([x - 6, 10, x + 6, 95], "float32")
        return predictors.Pose(keypoints, scores, COCO.keypoints, box)


def textured(count=8, height=112, width=160):
    """Frames [T, H, W, 3] that drift, of a smooth texture."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 120, (height // 8 + count, width // 8, 3)).astype("uint8")
    large = cv2.resize(coarse, (width, 8 * len(coarse)), interpolation=cv2.INTER_CUBIC)
    return np.stack([large[2 * t : 2 * t + height] for t in range(count)])


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "walk.mp4"
    path.write_bytes(frames.encode(textured(), fps=12.5))
    return path


def parsed(arguments):
    """What the command makes of its arguments."""
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def walk(monkeypatch, tmp_path):
    """A function that runs the command on a source with `Walkers` and gives the content of the output's folder."""

    def walk(source, *options, find=None, min_score=0.0):
        find = find or Walkers()
        monkeypatch.setattr(networks, "make_predictor", lambda arguments: find)
        score = ["--min_score", str(min_score)] if min_score else []
        arguments = [str(source), "--model", "none", "--output", str(tmp_path / "out"), *score, *options]
        written = predict.predict(parsed(arguments))
        assert all(path.is_file() for path in written)
        return written

    return walk


def saved(model, path):
    model.save(path)
    return str(path)


def record(pictures, trail, min_score=0.0):
    """Draws pictures of `Walkers`, as they are found."""
    source = sources.opened(pictures, fps=12.5)
    recording = Recording(Pipeline(Walkers(), min_score=min_score, smooth=False), source, trail)
    moments = recording.moments(tqdm.tqdm(disable=True), threading.Event(), False)
    assert len(list(recording._drawn(moments, io.StringIO()))) == len(pictures)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Each file of a network is read once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.models, "load_model", functools.cache(keras.models.load_model))
        yield


@pytest.fixture(scope="module")
def lifter(tmp_path_factory):
    network = models.TemporalLifter(filter_widths=(3,), channels=8, dropout=0.0)
    return saved(estimators.TrackLifter(network, H36M), tmp_path_factory.mktemp("lifter") / "model.keras")


@pytest.fixture(scope="module")
def top_down(tmp_path_factory):
    network = models.SimpleBaseline(
        17, image_shape=(64, 64, 3), depth=18, deconv_filters=(8, 8, 8), name="simple_baseline"
    )
    return saved(network, tmp_path_factory.mktemp("top_down") / "network.keras")


@pytest.fixture(scope="module")
def bottom_up(tmp_path_factory):
    keras.utils.set_random_seed(0)
    network = models.LightweightOpenPose(19, 38, num_refinements=0, filters=8, trunk_width=0.125, head_filters=8)
    for weight in network.trainable_weights:  # a fresh network gives maps without peaks
        if weight.path.endswith("kernel"):
            weight.assign(1.5 * weight)
    return saved(network, tmp_path_factory.mktemp("bottom_up") / "network.keras")


# ---------------------------------------- videos
def test_a_video_becomes_a_video_and_a_json_file_with_identities(walk, video, tmp_path, capsys):
    written = walk(video, "--trail", "4")
    assert [path.name for path in written] == left_in(tmp_path / "out")[::-1] == ["walk.mp4", "walk.json"]
    content = json.loads(written[1].read_text())
    assert {key: content[key] for key in ("source", "frame_size")} == {"source": str(video), "frame_size": [112, 160]}
    assert content["fps"] == pytest.approx(12.5)
    assert content["skeleton"] == json.loads(json.dumps(COCO.to_dict()))
    assert "pose_skeleton" not in content
    assert [one["frame"] for one in content["frames"]] == list(range(8))
    assert [[person["id"] for person in one["people"]] for one in content["frames"]] == [[0]] * 2 + [[1, 0]] * 6
    person = content["frames"][0]["people"][0]
    assert [one["time"] for one in content["frames"]] == pytest.approx(np.arange(8) / 12.5)
    assert all(one.keys() == {"frame", "time", "people"} for one in content["frames"])
    assert person.keys() == {"id", "score", "box", "keypoints"}
    assert person["box"] == [24, 10, 36, 95]
    assert person["score"] == pytest.approx(0.9 * 16 / 17, abs=1e-4)
    assert np.array(person["keypoints"]).shape == (17, 3)
    assert person["keypoints"][3] == [0, 0, 0]
    assert person["keypoints"][0] == [30, 16, 0.9]
    said = capsys.readouterr().err
    assert said == f"{video}: 8/8 frames\n"  # and no control characters, as in a terminal
    info = frames.probe(written[0])
    assert (info.num_frames, info.frame_size) == (8, (112, 160))
    assert info.fps == pytest.approx(12.5)


def test_the_picture_shows_the_people_that_the_json_file_has(walk, video):
    drawn, notes = walk(video)
    pictures, plain = frames.read(drawn), frames.read(video)
    for frame, one in enumerate(json.loads(notes.read_text())["frames"]):
        changed = np.abs(pictures[frame].astype(int) - plain[frame]).max(axis=-1) > 60
        for person in one["people"]:
            color = visualize.identity_colors([person["id"]])[0].astype(int)
            x, y, _ = np.array(person["keypoints"][COCO.index("left_knee")]).round().astype(int)
            assert np.abs(pictures[frame, y, x] - color).max() < 90  # chroma has half the size
        assert changed[:, 145:].sum() == 0


class Unsure(Walkers):
    """In place of a predictor: people whose scores rise up to 0.25; or nobody at all."""

    def __init__(self, people=True):
        super().__init__()
        self.people = people

    def __call__(self, image):
        self.calls += 1
        return [self.pose(30, score) for score in (0.1, min(0.05 * self.calls, 0.25))] if self.people else []


@pytest.mark.parametrize("lifted", [False, True])
def test_of_a_source_in_which_nobody_counts_it_is_said_once(walk, video, lifter, capsys, lifted):
    options = ["--lifter", lifter] if lifted else []

    def told(find, min_score):
        walk(video, *options, find=find, min_score=min_score)
        return [line for line in capsys.readouterr().err.splitlines() if "nobody" in line]

    best = f"{video}: nobody was found above --min_score=0.3; the best score of a keypoint was 0.25."
    assert told(Unsure(), 0.3) == [best]
    assert told(Unsure(people=False), 0.3) == [f"{video}: nobody was found above --min_score=0.3, and nobody below it."]
    assert told(Unsure(), 0.2) == told(Walkers(), 0.0) == []


def test_of_each_image_of_a_folder_in_which_nobody_counts_it_is_said(walk, tmp_path, capsys):
    folder = tmp_path / "images"
    images(folder, "a.png", "b.png")
    walk(folder, find=Unsure(), min_score=0.15)
    told = [line for line in capsys.readouterr().err.splitlines() if "nobody" in line]
    rule = "nobody was found above --min_score=0.15; the best score of a keypoint was 0.1."
    assert told == [f"{folder / name}: {rule}" for name in ("a.png", "b.png")]


def test_keypoints_are_smoothed_unless_raw_ones_are_wanted(walk, video):
    content = [json.loads(walk(video, *options)[1].read_text()) for options in ((), ("--raw",))]
    smooth, raw = (one["frames"][5]["people"][1]["keypoints"][0][0] for one in content)
    assert raw == 40
    assert 30 < smooth < 39.9


def test_keypoints_are_smoothed_at_the_rate_of_the_video(walk, tmp_path):
    shown = []
    for fps in (5, 60):
        path = tmp_path / f"{fps}.mp4"
        path.write_bytes(frames.encode(textured(), fps=fps))
        content = json.loads(walk(path)[1].read_text())
        shown.append([one["people"][-1]["keypoints"][0][0] for one in content["frames"][2:]])  # noses of the first
        track, find = tracking.Tracker(COCO, fps), Walkers()
        expected = []
        for _ in range(8):
            poses = find(None)
            _, smoothed = track(
                *(np.stack([getattr(pose, name) for pose in poses]) for name in ("keypoints", "scores"))
            )
            expected.append(smoothed[-1, 0, 0])
        np.testing.assert_allclose(shown[-1], expected[2:], atol=0.006)
    assert np.abs(np.subtract(*shown)).max() > 0.5


def test_a_trail_goes_through_the_last_frames_that_were_asked_for(monkeypatch):
    drawn = []
    monkeypatch.setattr(visualize, "draw_identities", lambda image, *people, **_: drawn.append(people[3:5]) or image)
    record(textured(6), 3)
    trails = [dict(zip(ids.tolist(), trails, strict=True)) for ids, trails in drawn]
    assert [len(trail[0]) for trail in trails] == [1, 2, 3, 3, 3, 3]
    assert [len(trail[1]) for trail in trails[2:]] == [1, 2, 3, 3]
    seen = np.delete(body(0), 3, axis=0)  # without the ear that is never found
    np.testing.assert_allclose(trails[5][0], [np.median(seen, axis=0) + (30 + 2 * t, 0) for t in (3, 4, 5)], atol=1e-4)


def test_max_frames_ends_a_video(walk, video):
    find = Walkers()
    drawn, notes = walk(video, "--max_frames", "3", find=find)
    assert frames.probe(drawn).num_frames == len(json.loads(notes.read_text())["frames"]) == find.calls == 3


def test_a_video_is_never_whole_in_memory(walk, tmp_path, monkeypatch):
    path = tmp_path / "long.mp4"
    path.write_bytes(frames.encode(textured(60), fps=30))
    decoded, before = [], frames.iterate

    def counted(*arguments):
        for picture in before(*arguments):
            decoded.append(len(find.waiting))
            find.waiting.append(picture)
            yield picture

    class Draining(Walkers):
        waiting = []

        def __call__(self, image):
            self.waiting.pop()
            return super().__call__(image)

    find = Draining()
    monkeypatch.setattr(frames, "iterate", counted)
    walk(path, find=find)
    assert decoded == [0] * 60


# ---------------------------------------- images
def test_images_and_folders_of_images_become_pictures_of_their_own(walk, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing")
    for name, picture in zip(("b.jpg", "a.png", "c.JPEG"), textured(3), strict=True):
        cv2.imwrite(str(folder / name), picture[..., ::-1])
    written = walk(folder, find=Walkers())
    assert left_in(tmp_path / "out") == ["a.json", "a.png", "b.json", "b.png", "c.json", "c.png"]
    assert [path.name for path in written[::2]] == ["a.png", "b.png", "c.png"]
    content = json.loads((tmp_path / "out" / "c.json").read_text())
    assert content["fps"] is None
    assert content["source"] == str(folder / "c.JPEG")
    assert [person["id"] for person in content["frames"][0]["people"]] == [0, 1]  # of this image, not of the one before
    picture = predictors.read_image(tmp_path / "out" / "a.png")
    original = predictors.read_image(folder / "a.png")
    assert picture.shape == original.shape
    np.testing.assert_array_equal(picture[:, 100:], original[:, 100:])
    assert (picture[:, :60] != original[:, :60]).any()
    assert [path.name for path in walk(folder / "b.jpg")] == ["b.png", "b.json"]


# ---------------------------------------- poses in space
def test_each_person_is_lifted_and_stands_beside_the_picture(walk, video, lifter):
    drawn, notes = walk(video, "--lifter", lifter)
    content = json.loads(notes.read_text())
    assert content["pose_skeleton"]["name"] == "h36m"
    people = [person for one in content["frames"] for person in one["people"]]
    poses = np.array([person["pose_3d"] for person in people])
    assert poses.shape == (14, 17, 3)
    np.testing.assert_array_equal(poses[:, 0], 0)
    info, pictures = frames.probe(drawn), frames.read(drawn)
    assert (info.num_frames, info.frame_size[0]) == (8, 112)
    assert info.frame_size[1] == 160 + 4 + 54  # two stages below each other
    assert np.abs(pictures[0, :, 160:164].astype(int) - 255).max() < 40
    # The whole track of a person is lifted, not a frame for itself.
    lift = predictors.Lifter(keras.models.load_model(lifter), COCO)
    one = np.array([[p["keypoints"] for p in one["people"] if p["id"] == 1][0] for one in content["frames"][2:]])
    expected = lift(one[..., :2], (112, 160), one[..., 2]).poses_m
    found = [p["pose_3d"] for one in content["frames"][2:] for p in one["people"] if p["id"] == 1]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_an_image_is_lifted_too(walk, tmp_path, lifter):
    cv2.imwrite(str(tmp_path / "one.png"), textured(1)[0])
    picture, notes = walk(tmp_path / "one.png", "--lifter", lifter)
    assert np.array(json.loads(notes.read_text())["frames"][0]["people"][0]["pose_3d"]).shape == (17, 3)
    assert predictors.read_image(picture).shape == (112, 160 + 4 + 112, 3)


def test_who_shows_too_little_has_no_pose_in_space(walk, video, lifter):
    class Half(Walkers):
        def pose(self, x, score):
            pose = super().pose(x, score)
            if score == 0.8:
                pose.scores[11:] = 0
            return pose

    _, notes = walk(video, "--lifter", lifter, find=Half())
    poses = {}
    for one in json.loads(notes.read_text())["frames"]:
        for person in one["people"]:
            poses.setdefault(person["id"], []).append(person["pose_3d"])
    assert poses[1] == [None] * 6
    assert np.array(poses[0]).shape == (8, 17, 3)


def test_unsure_and_missing_keypoints_change_nothing(walk, video, lifter):
    """In every second frame most keypoints of everybody are unsure: wherever they are, nothing else differs."""

    class Unsure(Walkers):
        place = None

        def pose(self, x, score):
            pose = super().pose(x, score)
            if self.calls % 2 == 0:
                pose.keypoints[8:], pose.scores[8:] = self.place, 0.25
            return pose

    found = []
    for Unsure.place in ((3, 3), (150, 105)):
        drawn, notes = walk(video, "--lifter", lifter, "--trail", "6", find=Unsure(), min_score=0.3)
        people = [person for one in json.loads(notes.read_text())["frames"] for person in one["people"]]
        assert [person["keypoints"][16] == [*Unsure.place, 0.25] for person in people].count(True) == 7
        found.append(([(person["id"], person["pose_3d"]) for person in people], frames.read(drawn)))
    assert found[0][0] == found[1][0] and found[0][0][0][1] is not None
    np.testing.assert_array_equal(found[0][1], found[1][1])


# ---------------------------------------- endings
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_what_was_done_so_far(walk, video):
    before = signal.getsignal(signal.SIGINT)
    drawn, notes = walk(video, find=Walkers(interrupt, until=4))
    assert frames.probe(drawn).num_frames == len(json.loads(notes.read_text())["frames"]) == 5
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_a_folder_after_the_image(walk, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), textured(1)[0])
    walk(folder, find=Walkers(interrupt, until=1))
    assert left_in(tmp_path / "out") == ["0.json", "0.png", "1.json", "1.png"]


def fail():
    raise RuntimeError("out of order")


def interrupt_twice():
    interrupt()
    interrupt()


@pytest.mark.parametrize("lifted", [False, True])
def test_a_second_ctrl_c_leaves_what_was_there(walk, video, tmp_path, lifter, lifted):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "walk.mp4").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        walk(video, *(["--lifter", lifter] if lifted else []), find=Walkers(interrupt_twice, until=4))
    assert left_in(tmp_path / "out") == ["walk.mp4"]
    assert (tmp_path / "out" / "walk.mp4").read_text() == "before"


@pytest.mark.parametrize("until", [1, 4, 7])
@pytest.mark.parametrize("lifted", [False, True])
def test_an_error_in_the_middle_leaves_what_was_done_before(walk, video, tmp_path, lifter, lifted, until):
    with pytest.raises(
        predict.IncompleteError, match=f"behind {until} of 8 frames .RuntimeError: out of order"
    ) as said:
        walk(video, *(["--lifter", lifter] if lifted else []), find=Walkers(fail, until=until))
    drawn, notes = said.value.written
    assert "; walk.mp4 and walk.json have those before it." in str(said.value)
    assert isinstance(said.value.__cause__, RuntimeError)
    content = json.loads(notes.read_text())["frames"]
    assert len(content) == frames.probe(drawn).num_frames == until
    assert all("pose_3d" in person for one in content for person in one["people"]) == lifted


def test_an_error_at_the_beginning_leaves_nothing(walk, video, tmp_path):
    with pytest.raises(RuntimeError, match="^out of order$"):
        walk(video, find=Walkers(fail, until=0))
    assert left_in(tmp_path / "out") == []


def test_the_exit_status_says_that_not_all_was_done(monkeypatch, capsys, video, tmp_path):
    monkeypatch.setattr(networks, "make_predictor", lambda arguments: Walkers(fail, until=3))
    with pytest.raises(SystemExit) as ended:
        commands.main(["predict", str(video), "--model", "none", "--output", str(tmp_path / "out")])
    out, error = capsys.readouterr()
    assert ended.value.code == 1
    assert out.split() == [str(tmp_path / "out" / name) for name in ("walk.mp4", "walk.json")]
    assert "kerapose predict: A video is worked through to its end, got" in error and "Traceback" not in error


# ---------------------------------------- damaged sources
def film(container_format, codec, spoiled=(), count=20, **options):
    """A video with zeros in some of its frames, by the order of storage, which is that of their numbers."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        steady = frames.steady_x264() if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=25, options={"g": "1", **steady, **options})
        stream.height, stream.width = 112, 160
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in textured(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    content = bytearray(buffer.getvalue())
    with av.open(io.BytesIO(bytes(content))) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for frame in spoiled:
        position, size = places[frame]
        content[position + 200 : position + size] = bytes(size - 200)
    return bytes(content)


@pytest.mark.parametrize("form", [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mjpeg")])
@pytest.mark.parametrize("lost", [[5], [0, 1, 19], [3, 4, 5, 6, 12]])
def test_damaged_frames_are_marked_and_all_others_keep_their_places(walk, tmp_path, caplog, form, lost):
    path, find = tmp_path / "walk.video", Walkers()
    path.write_bytes(film(*form, lost))
    drawn, notes = walk(path, find=find)
    content = json.loads(notes.read_text())["frames"]
    assert [one["frame"] for one in content] == list(range(20))
    assert [one["frame"] for one in content if one.get("lost")] == lost
    assert [bool(one["people"]) for one in content] == [i not in lost for i in range(20)]
    np.testing.assert_allclose(np.diff([one["time"] for one in content]), 0.04, atol=1e-3)
    assert find.calls == 20 - len(lost)
    info = frames.probe(drawn)
    assert (info.num_frames, info.fps) == (20, pytest.approx(25, abs=0.1))
    assert (
        len([one for one in caplog.records if f"got {len(lost)} of 20 of {path} that cannot" in one.getMessage()]) == 1
    )
    plain, shown = frames.read(path), frames.read(drawn)
    assert np.abs(shown[:, :, 148:].astype(int) - plain[:, :, 148:]).mean() < 8  # of a lost one that before it


def test_a_video_that_breaks_off_is_written_as_far_as_it_goes(walk, tmp_path, caplog):
    for name, content in (
        ("a.mkv", film("matroska", "libx264")),
        ("b.ts", film("mpegts", "libx264")),
        ("c.avi", film("avi", "mjpeg")),
    ):
        (tmp_path / name).write_bytes(content[: int(0.6 * len(content)) // 188 * 188 + 30])
        caplog.clear()
        drawn, notes = walk(tmp_path / name)
        count = len(json.loads(notes.read_text())["frames"])
        assert frames.probe(drawn).num_frames == count and 6 <= count <= 14
        assert f"got {tmp_path / name}, which ends too early, after {count}" in caplog.text


def test_a_video_with_too_much_damage_is_written_as_far_as_it_is_known(walk, tmp_path):
    path = tmp_path / "walk.avi"
    path.write_bytes(film("avi", "mjpeg", range(6, 20)))
    with pytest.raises(
        predict.IncompleteError, match=r"behind 16 of 20 frames \(At least 50% of .* got 11 of 20"
    ) as said:
        walk(path)
    assert len(json.loads(said.value.written[1].read_text())["frames"]) == 16
    path.write_bytes(film("avi", "mjpeg", range(20)))
    with pytest.raises(ValueError, match="got 20 of 20 of .* that cannot be decoded"):
        walk(path)


def images(folder, *names):
    folder.mkdir()
    for name, picture in zip(names, textured(len(names)), strict=True):
        cv2.imwrite(str(folder / name), picture)
    return folder


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: b"no image"]
)
def test_an_image_that_cannot_be_read_costs_only_itself(walk, tmp_path, damage):
    folder = images(tmp_path / "images", "a.png", "b.jpg", "c.PNG", "d.JPG")
    (folder / "b.jpg").write_bytes(damage((folder / "b.jpg").read_bytes()))
    with pytest.raises(predict.IncompleteError, match=r"got 1 of 4 that do not \(.*b.jpg: .*\); mend or rem") as said:
        walk(folder)
    assert [path.name for path in said.value.written] == [f"{x}.{ending}" for x in "acd" for ending in ("png", "json")]
    assert left_in(tmp_path / "out") == sorted(path.name for path in said.value.written)
    assert json.loads((tmp_path / "out" / "a.json").read_text())["frames"][0]["time"] is None


def test_an_image_on_which_the_predictor_fails_costs_only_itself(walk, tmp_path):
    folder = images(tmp_path / "images", "a.png", "b.png", "c.png")
    with pytest.raises(predict.IncompleteError, match=r"got 1 of 3 .*b.png: RuntimeError: out of order"):
        walk(folder, find=Walkers(fail, until=1))
    assert left_in(tmp_path / "out") == ["a.json", "a.png", "c.json", "c.png"]


def test_what_is_not_read_of_a_folder_is_named(walk, tmp_path, caplog):
    folder = images(tmp_path / "images", "a.png", "b.JPG", ".hidden.png")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"")
    walk(folder)
    assert not caplog.records and left_in(tmp_path / "out") == ["a.json", "a.png", "b.json", "b.png"]
    (folder / "more").mkdir()
    for name in ("c.tiff", "walk.MP4", "notes.txt", "d.heic", "e.webp"):
        (folder / name).write_bytes(b"")
    walk(folder, "--output", str(folder / "predicted"))
    (record,) = caplog.records
    assert "got 6 others in" in record.getMessage()
    assert "(c.tiff, d.heic, e.webp, more, notes.txt and 1 more)" in record.getMessage()
    for name in ("a.png", "b.JPG"):
        (folder / name).unlink()
    with pytest.raises(
        ValueError, match="got none in .*images, but c.tiff, d.heic, e.webp, more, notes.txt and 2 more;"
    ):
        walk(folder)


# ---------------------------------------- cameras
class Camera:
    """In place of `cv2.VideoCapture`: seven pictures, blue first; 0 is the only camera."""

    def __init__(self, number):
        self.number, self.left, self.released = number, [*textured(7)[..., ::-1]], False
        Camera.last = self

    def isOpened(self):
        return self.number == 0

    def get(self, _):
        return 20.0

    def read(self):
        return (True, self.left.pop(0)) if self.left else (False, None)

    def release(self):
        self.released = True


def test_a_camera_is_followed_until_it_ends_or_is_enough(walk, monkeypatch, tmp_path):
    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(sources, "TRIAL_FRAMES", 2)
    find = Walkers()
    drawn, notes = walk("camera:0", find=find)
    content = json.loads(notes.read_text())
    assert (drawn.name, notes.name) == ("camera_0.mp4", "camera_0.json")
    assert content["source"] == "camera:0"
    assert 0 < content["fps"] <= 20
    times = [one["time"] for one in content["frames"]]
    assert all(before < after for before, after in zip(times, times[1:], strict=False))
    shown = content["frames"]
    # The first three are for its speed; this camera waits for nobody, so some of the others are left out.
    assert sum(1 + one.get("dropped", 0) for one in shown) == 4 and frames.probe(drawn).num_frames == len(shown)
    assert shown[-1]["frame"] == 3
    assert Camera.last.released
    plain = textured(7)[3 + shown[0]["frame"]]
    assert np.abs(frames.read(drawn)[0, :, 140:].astype(int) - plain[:, 140:]).mean() < 12  # red is red
    assert len(json.loads(walk("camera:0", "--max_frames", "1")[1].read_text())["frames"]) == 1
    with pytest.raises(ValueError, match="camera:1 must be a camera that OpenCV can read, got no picture; check its"):
        walk("camera:1")


def test_the_speed_of_a_camera_is_that_of_its_own_pictures(monkeypatch):
    """Each is given to the network as it will be later; where one is lacking, the first stands for it."""
    seen, clock = [], iter(np.arange(0, 100, 0.25))
    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(sources, "TRIAL_FRAMES", 8)
    monkeypatch.setattr(sources.time, "perf_counter", lambda: next(clock))
    source = sources.opened("camera:0", 3, find=seen.append)
    np.testing.assert_array_equal(seen, textured(7)[[0, *range(1, 7), 0, 0]])
    assert source.shown_fps == source.fps == 20  # of the camera: the network would manage 32
    assert (source.name, source.given, source.num_frames, source.is_live) == ("camera_0", "camera:0", 3, True)
    clock = iter(np.arange(0, 100, 2.0))
    source = sources.opened("camera:0", find=seen.append)
    assert (source.fps, source.shown_fps) == (20, 4)  # of the network


def test_a_camera_that_does_not_tell_its_speed_has_the_usual_one(monkeypatch):
    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "get", lambda *_: 0.0)
    clock = iter(np.arange(0, 100, 1e-3))
    monkeypatch.setattr(sources.time, "perf_counter", lambda: next(clock))
    source = sources.opened("camera:0")
    assert source.fps == sources.USUAL_FPS and source.num_frames is None


def test_without_a_camera_one_sentence_says_so(walk):
    with pytest.raises(ValueError, match="camera:97 must be a camera"):
        walk("camera:97")


# ---------------------------------------- streams
def test_a_file_that_grows_is_followed_to_its_end(walk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(frames, "LiveVideo", functools.partial(frames.LiveVideo, patience_s=0.5))
    (tmp_path / "walk.ts").write_bytes(film("mpegts", "libx264"))
    drawn, notes = walk(tmp_path / "walk.ts", "--follow")
    content = json.loads(notes.read_text())
    assert (drawn.name, content["source"]) == ("walk.mp4", str(tmp_path / "walk.ts"))
    assert sum(1 + one.get("dropped", 0) for one in content["frames"]) == 20 and content["frames"][-1]["frame"] == 19
    dropped = 20 - len(content["frames"])
    said = f"{len(content['frames'])}/? frames" + (f", {dropped} left out to keep up" if dropped else "")
    assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match="follow is for a file that is being written, got camera:0"):
        walk("camera:0", "--follow")


def test_a_film_from_the_net_is_drawn_with_its_poses(walk, tmp_path, lifter):
    (tmp_path / "walk.mp4").write_bytes(film("mp4", "libx264"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/walk.mp4"
        drawn, notes = walk(address, "--lifter", lifter, "--max_frames", "6")
        server.shutdown()
    content = json.loads(notes.read_text())
    assert re.fullmatch(r"127_0_0_1_\d+_walk_mp4.mp4", drawn.name) and content["source"] == address
    assert len(content["frames"]) == frames.probe(drawn).num_frames == 6
    assert all(np.shape(person["pose_3d"]) == (17, 3) for one in content["frames"] for person in one["people"])


def test_a_camera_lifts_as_it_happens(walk, monkeypatch, tmp_path, lifter):
    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    with pytest.raises(
        ValueError, match="To lift as it happens takes a causal lifter, got one that looks into the fut"
    ):
        walk("camera:0", "--lifter", lifter)
    assert left_in(tmp_path / "out") == []
    network = models.TemporalLifter(filter_widths=(3,), channels=8, causal=True)
    causal = saved(estimators.TrackLifter(network, H36M), tmp_path / "causal.keras")
    _, notes = walk("camera:0", "--lifter", causal, "--max_frames", "1")
    content = json.loads(notes.read_text())
    assert content["pose_skeleton"]["name"] == "h36m" and np.shape(content["frames"][0]["people"][0]["pose_3d"]) == (
        17,
        3,
    )


# ---------------------------------------- actions
def test_actions_are_written_with_their_times_and_drawn(walk, video, tmp_path, monkeypatch, top_down):
    network = models.C3D.from_variant("c3d_tiny", 2, input_shape=(8, 14, 14, 17), base_filters=4)
    path = saved(estimators.ActionRecognizer(network, COCO, ("walk", "wait")), tmp_path / "action.keras")
    told, before = [], visualize.draw_identities

    def draw(*given, captions, **options):
        told.append(captions)
        return before(*given, captions=captions, **options)

    monkeypatch.setattr(visualize, "draw_identities", draw)
    options = "--window", "4", "--step", "2", "--min_probability", "0", "--average", "1"
    content = json.loads(walk(video, "--action", path, *options)[1].read_text())
    actions = [one["actions"] for one in content["frames"]]
    assert [[action["id"] for action in one] for one in actions] == [[], [], [], [0, 1], [], [0, 1], [], [0, 1]]
    first = actions[5][0]
    assert first["frames"] == [2, 5] and first["time"] == pytest.approx([2 / 12.5, 5 / 12.5])
    assert first["name"] == max(first["probabilities"], key=first["probabilities"].get)
    assert told[2] == ["", ""] and told[7] == [
        f"{one['name']} {one['probabilities'][one['name']]:.0%}"
        for one in sorted(actions[7], key=lambda one: -one["id"])
    ]
    with pytest.raises(FileNotFoundError, match="--action must be a .keras file, got .*no.keras, where there is no f"):
        walk(video, "--action", str(tmp_path / "no.keras"))
    with pytest.raises(
        ValueError, match="--action must be a recognizer, .* got SimpleBaseline in .*network.keras; give"
    ):
        walk(video, "--action", top_down)
    with pytest.raises(
        ValueError, match="--action must be for skeleton actions or .*, got the preset openpose_omz for b"
    ):
        walk(video, "--action", "openpose_omz")


# ---------------------------------------- networks
@pytest.fixture
def made(monkeypatch):
    """The predictors that the command has made."""
    made, before = [], networks.make_predictor

    def make(arguments):
        made.append(before(arguments))
        return made[-1]

    monkeypatch.setattr(networks, "make_predictor", make)
    return made


def test_top_down_networks_take_each_frame_for_one_person(video, top_down, tmp_path, capsys, made):
    options = ["--output", str(tmp_path / "out"), "--min_score", "-10", "--max_frames", "3"]
    commands.main(["predict", str(video), "--model", top_down, *ALONE, *options])
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in ("walk.mp4", "walk.json")]
    content = json.loads((tmp_path / "out" / "walk.json").read_text())
    assert content["skeleton"]["name"] == "coco"
    assert [[person["id"] for person in one["people"]] for one in content["frames"]] == [[0]] * 3
    assert content["frames"][0]["people"][0]["box"] == [0, 0, 160, 112]
    (find,) = made
    assert isinstance(find, predictors.TopDownPose)
    (pose,) = find(frames.read(video, [0])[0])
    found = np.array(content["frames"][0]["people"][0]["keypoints"])
    np.testing.assert_allclose(found[:, :2], pose.keypoints, atol=0.01)


def test_bottom_up_networks_find_everybody_in_real_videos(shared_data, bottom_up, tmp_path, made):
    source = shared_data("videos") / "mmpose_demo.mp4"
    options = ["--skeleton", "openpose", "--output", str(tmp_path), "--height", "128"]
    arguments = [str(source), "--model", bottom_up, *options]
    drawn, notes = predict.predict(parsed(arguments))
    content = json.loads(notes.read_text())
    assert content["skeleton"]["name"] == "openpose"
    assert content["fps"] == 5
    assert frames.probe(drawn).num_frames == len(content["frames"]) == 5
    assert frames.probe(drawn).frame_size == (540, 960)
    (find,) = made
    assert isinstance(find, predictors.BottomUpPose)
    assert find.estimator.height == 128
    poses = find(frames.read(source, [0])[0])
    assert len(content["frames"][0]["people"]) == len(poses) > 0
    for person, pose in zip(content["frames"][0]["people"], poses, strict=True):
        np.testing.assert_allclose(np.array(person["keypoints"])[:, :2], pose.keypoints, atol=0.01)


def test_published_checkpoints_are_loaded(golden, video, tmp_path):
    torch = pytest.importorskip("torch")
    case = golden("lwopenpose_1ref_128x160")
    state = {name: torch.from_numpy(weight) for name, weight in case.state_dict.items()}
    torch.save({"state_dict": state}, tmp_path / "published.pth")
    arguments = parsed([str(video), "--model", str(tmp_path / "published.pth")])
    find = networks.make_predictor(arguments)
    assert isinstance(find, predictors.BottomUpPose)
    assert find.skeleton == OPENPOSE
    assert find.estimator.network.num_refinements == 1
    assert Pipeline(find).min_score == 0
    state.popitem()
    torch.save({"state_dict": state}, tmp_path / "published.pth")
    with pytest.raises(ValueError, match="missing"):
        networks.make_predictor(arguments)


def test_a_network_alone_goes_by_the_options(top_down, tmp_path):
    def options(*given):
        return parsed(["walk.mp4", "--model", top_down, *given])

    pipeline = predict.make_pipeline(options("--skeleton", "coco", "--codec", "udp"))
    find = pipeline.pose
    assert (find.estimator.codec, find.skeleton, pipeline.min_score) == ("udp", COCO, 0.3)
    assert find.estimator.normalization == {}
    assert predict.make_pipeline(options(*ALONE, "--min_score", "0.1")).min_score == 0.1
    assert predict.make_pipeline(options(*ALONE, "--min_score", "0")).min_score == 0  # which is not nothing
    (tmp_path / "own.json").write_text(json.dumps(COCO.to_dict() | {"name": "own"}))
    own = options("--skeleton", str(tmp_path / "own.json"), "--codec", "gaussian")
    assert networks.make_predictor(own).skeleton.name == "own"
    network = models.StackedHourglass(17, image_shape=(64, 64, 3), num_stacks=1, filters=16)
    path = saved(network, tmp_path / "hourglass.keras")
    arguments = ["walk.mp4", "--model", path, "--skeleton", "coco", "--codec", "hourglass"]
    find = networks.make_predictor(parsed(arguments))
    assert find.estimator.normalization == {"mean": [0] * 3, "std": [1] * 3}


def test_a_lifter_alone_goes_by_the_options(tmp_path):
    network = models.TemporalLifter(filter_widths=(3,), channels=8)
    options = "--lifter_skeleton", "coco", "--pose_skeleton", "h36m"
    arguments = ["walk.mp4", "--model", "any", "--lifter", saved(network, tmp_path / "best.keras"), *options]
    lift = networks.make_lifter(parsed(arguments), OPENPOSE)
    assert (lift.skeleton, lift.input_skeleton, lift.pose_skeleton) == (OPENPOSE, COCO, H36M)
    assert networks.make_lifter(parsed(["walk.mp4", "--model", "any"]), OPENPOSE) is None


class Asked:
    """In place of a predictor: what it was made of."""

    def __init__(self, *given, **options):
        self.given, self.options = given, options


def test_every_option_reaches_the_predictor_of_a_network_alone(monkeypatch):
    """Whatever the other options are."""
    for name in ("TopDownPose", "BottomUpPose", "PersonDetector", "Lifter"):
        monkeypatch.setattr(predictors, name, type(name, (Asked,), {}))
    monkeypatch.setattr(networks, "_read", lambda path, what, tasks: models_by_path[path])
    heatmaps, fields, places = types.SimpleNamespace(), types.SimpleNamespace(), types.SimpleNamespace()
    hourglass = object.__new__(type("Hourglass", (models.StackedHourglass,), {}))
    known = object.__new__(type("Pose", (estimators.PoseEstimator,), {}))
    finder = object.__new__(type("People", (estimators.BottomUpEstimator,), {}))
    lifter = object.__new__(type("Track", (models.TemporalLifter,), {}))
    kinds = {id(heatmaps): "heatmaps", id(hourglass): "heatmaps", id(fields): "fields"}
    kinds[id(places)] = "places"
    monkeypatch.setattr(networks, "kind_of", lambda model: kinds.get(id(model)))
    models_by_path = {"a": heatmaps, "b": fields, "c": hourglass, "d": known, "e": finder, "f": lifter, "g": places}

    def made(*arguments):
        find = networks.make_predictor(parsed(["walk.mp4", "--model", *arguments]))
        return type(find).__name__, *find.given, find.options

    pose = "--skeleton", "mpii", "--codec", "udp"
    kind, network, skeleton, detector, options = made("a", *pose, "--detector", "dfine")
    assert (kind, network, skeleton, options) == ("TopDownPose", heatmaps, MPII, {"codec": "udp"})
    assert (type(detector).__name__, detector.given) == ("PersonDetector", ("dfine",))
    assert made("a", *pose) == ("TopDownPose", heatmaps, MPII, None, {"codec": "udp"})
    plain = {"codec": "udp", "normalization": networks.PLAIN_NORMALIZATION}
    assert made("c", *pose) == ("TopDownPose", hourglass, MPII, None, plain)
    kind, network, options = made("d", "--detector", "dfine")
    assert (kind, network, options["detector"].given) == ("TopDownPose", known, ("dfine",))
    assert made("g", *pose[:2]) == ("TopDownPose", places, MPII, None, {"codec": None})  # its output tells the codec
    bottom_up = "--skeleton", "openpose", "--height", "200"
    assert made("b", *bottom_up) == ("BottomUpPose", fields, OPENPOSE, {"height": 200})
    assert made("b", *bottom_up[:2]) == ("BottomUpPose", fields, OPENPOSE, {})
    assert made("e", "--height", "200") == ("BottomUpPose", finder, {"height": 200})
    sets = "--lifter_skeleton", "coco", "--pose_skeleton", "h36m"
    lift = networks.make_lifter(parsed(["walk.mp4", "--model", "a", "--lifter", "f", *sets]), OPENPOSE)
    assert lift.given == (lifter, OPENPOSE) and lift.options == {"pose_skeleton": H36M, "input_skeleton": COCO}


def test_every_option_reaches_the_pipeline(monkeypatch, video, tmp_path):
    made, find, act = [], Walkers(), object()

    class Told(Pipeline):
        def __init__(self, *given, **options):
            made.append((given, options))
            super().__init__(find, None, None, min_score=options["min_score"], smooth=options["smooth"])

    monkeypatch.setattr(predict, "Pipeline", Told)
    monkeypatch.setattr(networks, "make_predictor", lambda arguments: find)
    monkeypatch.setattr(networks, "make_action", lambda arguments: arguments.action and act)
    arguments = [str(video), "--model", "none", "--output", str(tmp_path / "out"), "--max_frames", "1"]
    predict.predict(parsed(arguments))
    predict.predict(parsed([*arguments, "--raw", "--min_score", "0.25", "--batch", "4"]))
    assert made == [
        ((find, None, None), {"min_score": None, "smooth": True, "batch": 1}),
        ((find, None, None), {"min_score": 0.25, "smooth": False, "batch": 4}),
    ]
    numbers = ["--window", "20", "--step", "3", "--average", "2", "--min_probability", "0.7", "--no-together"]
    predict.predict(parsed([*arguments, "--action", "any", *numbers]))
    given, options = made[-1]
    assert given == (find, None, act)
    chosen = {"window": 20, "step": 3, "average": 2, "min_probability": 0.7, "together": False}
    assert options == {"min_score": None, "smooth": True, "batch": 1} | chosen


def test_the_least_numbers_that_make_sense_are_taken(walk, video):
    content = json.loads(walk(video, "--max_frames", "1", "--trail", "0")[1].read_text())
    assert len(content["frames"]) == 1


def test_a_keypoint_of_just_the_least_score_does_not_count(monkeypatch):
    """As the option says: up to it."""
    drawn = []
    monkeypatch.setattr(visualize, "draw_identities", lambda image, *people, **_: drawn.append(people) or image)
    record(textured(1), 2, float(np.float32(0.9)))
    assert not drawn[0][1].any() and [len(way) for way in drawn[0][4]] == [0] * len(drawn[0][3])


# ---------------------------------------- files that know themselves
@pytest.fixture(scope="module")
def fox(tmp_path_factory):
    """The file of an estimator of foxes, whose heatmaps are not what the default codec expects."""
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    network = keras.Model(crops, keras.layers.Conv2D(4, 5, padding="same")(x))
    estimator = estimators.PoseEstimator(network, FOX, codec="udp", box_padding=1.0, normalization={"mean": [0.0] * 3})
    return saved(estimator, tmp_path_factory.mktemp("fox") / "model.keras")


def test_a_file_that_knows_itself_needs_no_option(fox, tmp_path, capsys):
    picture = textured(1)[0]
    cv2.imwrite(str(tmp_path / "fox.png"), picture[..., ::-1])
    commands.main(["predict", tmp_path / "fox.png", "--model", fox, "--output", tmp_path / "out", "--min_score", "-10"])
    written = capsys.readouterr().out.split()
    assert written == [str(tmp_path / "out" / name) for name in ("fox.png", "fox.json")]
    content = json.loads((tmp_path / "out" / "fox.json").read_text())
    assert skeletons.Skeleton(**content["skeleton"]) == FOX
    (person,) = content["frames"][0]["people"]
    (pose,) = predictors.load(fox)(picture)
    assert pose.names == FOX.keypoints
    np.testing.assert_allclose(np.array(person["keypoints"])[:, :2], pose.keypoints, atol=0.01)
    drawn = cv2.imread(written[0])[..., ::-1].astype(int)
    x, y = np.clip(np.round(pose["tail"][:2]).astype(int), 3, [156, 108])
    assert np.abs(drawn - picture)[y - 3 : y + 4, x - 3 : x + 4].max() > 60  # it is drawn where it was found


def test_a_known_lifter_takes_what_was_found(video, fox, tmp_path, capsys):
    lifter = estimators.TrackLifter(models.TemporalLifter(3, num_joints_out=4, filter_widths=(3,), channels=8), *FOXES)
    path = saved(lifter, tmp_path / "lifter.keras")
    options = "--output", tmp_path / "out", "--min_score", "-10", "--max_frames", "3"
    commands.main(["predict", str(video), "--model", fox, "--lifter", path, *options])
    content = json.loads((tmp_path / "out" / "walk.json").read_text())
    assert content["pose_skeleton"]["keypoints"] == list(FOX.keypoints)
    assert np.array(content["frames"][1]["people"][0]["pose_3d"]).shape == (4, 3)


# ---------------------------------------- refusals
def refusal(capsys, *arguments):
    """What the command says when it ends with an error."""
    with pytest.raises(SystemExit) as ended:
        commands.main(["predict", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().split("\n")[-1]


@pytest.mark.parametrize("field", ["keypoints", "scores"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_whose_numbers_are_none_is_refused(walk, video, tmp_path, field, value):
    class Broken(Walkers):
        def pose(self, x, score):
            pose = super().pose(x, score)
            getattr(pose, field)[5] = value
            return pose

    with pytest.raises(ValueError, match="are finite numbers, got others from the network; load sound weights"):
        walk(video, find=Broken())
    assert left_in(tmp_path / "out") == []


def test_what_cannot_be_read_is_refused_in_one_sentence(capsys, tmp_path, video, top_down, lifter):
    said = refusal(capsys, tmp_path / "no.mp4", "--model", top_down)
    assert said.startswith(
        "kerapose predict: SOURCE must be a video, an image, a folder of images, camera:0 or an address, got "
    )
    (tmp_path / "empty").mkdir()
    assert "A folder must have images" in refusal(capsys, tmp_path / "empty", "--model", top_down)
    (tmp_path / "text.mp4").write_text("not a video")
    network = "--model", top_down, *ALONE, "--output", tmp_path / "out"
    assert "must be a file that FFmpeg reads" in refusal(capsys, tmp_path / "text.mp4", *network)
    (tmp_path / "no_frames.mp4").write_bytes(b"")
    assert "A video must" in refusal(capsys, tmp_path / "no_frames.mp4", *network)
    (tmp_path / "text.png").write_text("not an image")
    assert "must be a whole JPEG or PNG file" in refusal(capsys, tmp_path / "text.png", *network)
    assert "--follow is for a video that is still" in refusal(capsys, tmp_path / "text.png", "--follow", *network)
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / "empty" / name), textured(1)[0])
    assert "names of their own, got two called a" in refusal(capsys, tmp_path / "empty", "--model", top_down)
    said = refusal(capsys, video, "--model", top_down, "--output", tmp_path)
    assert "--output must be another folder than the source's" in said
    assert left_in(tmp_path / "out") == []


def test_networks_that_do_not_fit_are_refused_in_one_sentence(
    capsys, tmp_path, video, top_down, lifter, bottom_up, fox
):
    (tmp_path / "text.keras").write_text("not a network")
    (tmp_path / "set.json").write_text('{"name": "own"}')
    own, alone = tmp_path / "set.json", ("--model", top_down, *ALONE)
    bare = saved(models.TemporalLifter(filter_widths=(3,), channels=8), tmp_path / "best.keras")
    lift = (*alone, "--lifter")
    for options, message in [
        (("--model", tmp_path / "no.keras"), "--model must be a .keras file, got .*no.keras, where there is no file"),
        (("--model", tmp_path / "text.keras"), "--model must be a .keras file, got .*, which is something else; save"),
        (("--model", lifter), "--model must find people in images, got TrackLifter in .* a lifter as --lifter"),
        (
            ("--model", top_down),
            "not know its skeleton and codec, got SimpleBaseline in .*; give --skeleton and --c",
        ),
        (
            ("--model", top_down, "--skeleton", "coco"),
            "not know its codec, got SimpleBaseline in .* give --codec as",
        ),
        (
            ("--model", bottom_up),
            "not know its skeleton, got LightweightOpenPose in .*; give --skeleton as in its",
        ),
        ((*alone, "--height", 128), "--height is for bottom-up networks, got it for another network"),
        (("--model", bottom_up, "--codec", "udp"), "--codec is for top-down networks, got it for another"),
        (("--model", bottom_up, "--detector", "any"), "--detector is for top-down networks, got it for another"),
        (("--model", fox, *ALONE), "--skeleton is for a network alone, got it for .*model.keras, which knows its own"),
        (("--model", fox, *ALONE[2:]), "--codec is for a network alone, got it for .*model.keras, which knows its own"),
        (("--model", top_down, "--skeleton", "openpose", *ALONE[2:]), "A network for openpose gives 18 keypoints, got"),
        (("--model", top_down, *ALONE[:2], "--codec", "bird"), "codec must be one of"),
        (("--model", top_down, "--skeleton", "bird", *ALONE[2:]), "A skeleton must be one of coco"),
        (("--model", top_down, "--skeleton", own, *ALONE[2:]), "must be as Skeleton.to_dict"),
        ((*lift, top_down), "--lifter must be a TrackLifter or its network, a TemporalLifter, got SimpleBaseline"),
        (
            (*lift, lifter, "--pose_skeleton", "h36m"),
            "--pose_skeleton is for a network alone, got it for .*model.keras",
        ),
        (
            (*lift, bare),
            "know its lifter_skeleton and pose_skeleton, got TemporalLifter in .*; give --lifter_skeleton",
        ),
        ((*lift, tmp_path / "no.keras"), "--lifter must be a .keras file, got .*, where there is no file"),
        ((*alone, "--pose_skeleton", "h36m"), "--pose_skeleton is for a --lifter, got it for another"),
        ((*alone, "--trail", -1), "--trail must be at least 0 frames, got -1"),
        ((*alone, "--max_frames", 0), "--max_frames must be at least 1, got 0"),
    ]:
        said = refusal(capsys, video, *options, "--output", tmp_path / "out")
        assert re.search(message, said), said
    assert left_in(tmp_path / "out") == []
