"""The puppets as videos: camera, stage, frames that agree with the keypoints, and the builder."""

import dataclasses
import importlib
import pathlib
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import frames as encoded
from kerapose.skeletons import COCO

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
puppets = importlib.import_module("puppets.puppets_dataset_builder")
camera, detector, motions, render, scene, stills, videos = (
    importlib.import_module(f"puppets.{name}")
    for name in ("camera", "detector", "motions", "render", "scene", "stills", "videos")
)

SEED = 7
FEW_PERFORMERS = {"train": range(0, 1), "validation": range(1, 2), "test": range(2, 3)}
FEW_ACTIONS = {name: motions.ACTIONS[name] for name in ("run", "punch")}


@dataclasses.dataclass(frozen=True)
class Filmed:
    """A scene before the camera that films it."""

    points_m: np.ndarray
    figures: list
    view: object
    stage: object


def film_set(number, action, thing=False):
    one = scene.make_scene(SEED, number, action, 0)
    rng = np.random.default_rng([SEED, number])
    points_m = one.points_m[:: videos.SKIPPED]
    view = videos.place_camera(rng, one.view, points_m, one.performer.height_m, one.fps / videos.SKIPPED)
    looks = stills.draw_looks(SEED, number, rng)
    figures = [render.Figure(points, one.performer.height_m, looks) for points in points_m]
    stage = videos.set_stage(rng, view, figures)
    return Filmed(points_m, figures, view, dataclasses.replace(stage, thing=number if thing else None))


@pytest.fixture(scope="module")
def sets():
    """Each action, each by another performer, by action."""
    return {action: film_set(number, action) for number, action in enumerate(motions.ACTIONS)}


def one_frame(view, frame):
    return dataclasses.replace(view, rotation=view.rotation[frame : frame + 1])


# -------------------------------------------------------------------------------------------------------- the builder
class PuppetVideosTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = puppets.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["videos"]
    SPLITS = {"train": 1, "validation": 1, "test": 1}
    EXAMPLE_DIR = ROOT / "datasets" / "puppets"  # nothing is read: the videos are drawn

    def setUp(self):
        super().setUp()
        for few in (
            mock.patch.dict(puppets.PERFORMERS, FEW_PERFORMERS),
            mock.patch.dict(motions.ACTIONS, {"punch": FEW_ACTIONS["punch"]}, clear=True),
            mock.patch.object(videos, "SKIPPED", 10),
        ):
            few.start()
            self.addCleanup(few.stop)


def test_elements(tmp_path, monkeypatch):
    monkeypatch.setattr(puppets, "PERFORMERS", {"train": FEW_PERFORMERS["train"]})
    with mock.patch.dict(motions.ACTIONS, FEW_ACTIONS, clear=True):
        builder = puppets.Builder(data_dir=tmp_path, config="videos")
        builder.download_and_prepare()
    expected = videos.make_video(puppets.SEED, 0, "punch", 0)  # as processes of their own film it, with all actions
    assert builder.info.metadata["skeleton"] == COCO.name
    clips = {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split="train"))}
    assert sorted(clips) == ["performer000_punch_0", "performer000_run_0"]
    assert builder.info.features["label"].int2str(int(clips["performer000_punch_0"]["label"])) == "punch"
    clip = clips["performer000_punch_0"]
    for key in ("keypoints", "scores", "frame_size"):
        np.testing.assert_array_equal(clip[key], expected[key])
        assert clip[key].dtype == expected[key].dtype
    seen = encoded.read(clip["video"])
    assert seen.shape == expected["frames"].shape and len(seen) == clip["keypoints"].shape[1]
    assert tuple(seen.shape[1:3]) == tuple(clip["frame_size"])
    error = np.abs(seen.astype(float) - expected["frames"]).mean(axis=(1, 2, 3))
    assert error.max() < 10  # what the codec leaves of the grain
    assert encoded.probe(clip["video"]).fps == pytest.approx(expected["fps"], rel=1e-2)


def test_videos_are_the_scenes_of_the_clips(sets):
    assert [len(numbers) * len(motions.ACTIONS) for numbers in puppets.PERFORMERS.values()] == [896, 224, 448]
    for number, action in enumerate(sets):
        clip = scene.make_clip(SEED, number, action, 0)
        assert len(sets[action].points_m) == -(-clip["keypoints"].shape[1] // videos.SKIPPED)


def test_the_same_arguments_make_the_same_video_and_others_make_others(monkeypatch):
    monkeypatch.setattr(videos, "SKIPPED", 12)  # few frames do
    first, again = (videos.make_video(SEED, 3, "kick", 0) for _ in range(2))
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
    for other in [(SEED + 1, 3, "kick", 0), (SEED, 4, "kick", 0), (SEED, 3, "clap", 0), (SEED, 3, "kick", 1)]:
        made = videos.make_video(*other)["frames"]
        assert made.shape != first["frames"].shape or np.abs(made.astype(float) - first["frames"]).mean() > 5, other


# -------------------------------------------------------------------------------------------------------- the camera
def test_frames_are_small_and_even_and_people_fill_much_of_them(sets):
    heights = {}
    for action, filmed in sets.items():
        height, width = filmed.view.frame_size
        assert height % 2 == width % 2 == 0
        assert videos.HEIGHTS[0] <= height <= videos.HEIGHTS[1] and videos.WIDTHS[0] <= width <= videos.WIDTHS[1]
        points_px, depth = camera.project(filmed.view, filmed.points_m)
        assert depth.min() > 0.5, action
        assert camera.in_frame(filmed.view, points_px).mean() > 0.9, action
        heights[action] = np.ptp(points_px[..., 1], axis=1).max() / height
    assert min(heights.values()) > 0.35 and np.median(list(heights.values())) < 0.9


def test_the_camera_goes_by_where_the_person_is_and_not_by_what_the_person_does():
    """Where nobody gets about, the camera of a squat is that of any other action of the same length."""
    stands, squats = (scene.make_scene(SEED, 1, action, 0).points_m[:40] for action in ("clap", "squat"))
    squats = squats + (stands[:, :1] - squats[:, :1]) * (1, 1, 0)
    squats = squats + (stands[:, 0, 2].mean() - squats[:, 0, 2].mean()) * np.array([0, 0, 1])
    view = scene.make_scene(SEED, 1, "clap", 0).view
    one, other = (videos.place_camera(np.random.default_rng(0), view, each, 1.7, 10) for each in (stands, squats))
    assert one.frame_size == other.frame_size
    np.testing.assert_allclose(one.rotation, other.rotation, atol=1e-9)
    assert one.focal_px == pytest.approx(other.focal_px, rel=0.05)


def test_the_widest_camera_sees_what_each_frame_sees(sets):
    for filmed in sets.values():
        wide = videos.widest(filmed.view)
        height, width = filmed.view.frame_size
        for frame in range(len(filmed.figures)):
            # Points of the world at the corners of a frame, five metres away.
            corners = np.array([[x, y] for x in (0, width - 1) for y in (0, height - 1)])
            rays = np.column_stack([(corners - filmed.view.center_px) / filmed.view.focal_px, np.ones(4)])
            world = filmed.view.position_m + 5 * rays @ filmed.view.rotation[frame]
            pixels, _ = camera.project(wide, world[None])
            assert camera.in_frame(wide, pixels).all()


# -------------------------------------------------------------------------------------------------------- the frames
def test_what_is_behind_the_person_stands_still_in_the_world(sets):
    """A mark on the floor of the backdrop is found in every frame where that frame's camera sees the place."""
    filmed = sets["run"]
    places = stills.floor_places(filmed.stage.view)
    spot = filmed.points_m[:, 0].mean(axis=0) * (1, 1, 0)
    away = np.linalg.norm(places - (spot - filmed.view.position_m)[:2], axis=-1)
    marked = dataclasses.replace(filmed.stage, backdrop=np.repeat(np.float32(away < 0.25)[..., None], 3, axis=-1))
    found = 0
    for frame, figure in enumerate(filmed.figures):
        view = one_frame(filmed.view, frame)
        far_off = dataclasses.replace(figure, points_m=figure.points_m + (0, 0, 50))
        color = videos.paint(dataclasses.replace(marked, shadow=0.0), view, far_off).color[..., 0]
        expected, _ = camera.project(view, spot[None, None])
        if not camera.in_frame(view, expected + 8).all() or not camera.in_frame(view, expected - 8).all():
            continue
        rows, columns = np.nonzero(color > 0.5)
        np.testing.assert_allclose([columns.mean(), rows.mean()], expected[0, 0], atol=1.5)
        found += 1
    assert found > 5


def test_drawn_people_and_keypoints_coincide(sets):
    """The camera's keypoints lie on the person's pixels, the detector's near them."""
    for action, filmed in sets.items():
        rng = np.random.default_rng(3)
        height_m = filmed.figures[0].height_m
        found, scores = detector.detect(rng, filmed.view, filmed.points_m, height_m, 9)
        true_px = camera.project(filmed.view, filmed.points_m[:, detector.KEYPOINTS])[0]
        on_body, near = [], []
        for frame in range(0, len(filmed.figures), 10):
            board = videos.paint(filmed.stage, one_frame(filmed.view, frame), filmed.figures[frame])
            rows, columns = np.nonzero(board.owner == 1)
            for points, kept, told in (
                (true_px[frame], camera.in_frame(filmed.view, true_px[frame]), on_body),
                (found[frame], scores[frame] > 0.5, near),
            ):
                away = np.hypot(points[kept, :1] - columns, points[kept, 1:] - rows).min(axis=1)
                told.extend(away < (1.5 if told is on_body else 4))
        assert np.mean(on_body) > 0.97 and np.mean(near) > 0.95, action


def test_a_thing_stands_still_and_what_it_hides_is_told():
    hidden = []
    for one in (film_set(number, "jump", thing=True) for number in range(4)):
        one = dataclasses.replace(one, figures=one.figures[:4])
        rng = np.random.default_rng(0)
        with mock.patch.object(videos, "set_stage", lambda *arguments, stage=one.stage: stage):
            frames, covered = videos.film(rng, one.view, one.figures)
        assert frames.dtype == np.uint8 and frames.shape == (len(one.figures), *one.view.frame_size, 3)
        assert covered.shape == (len(one.figures), COCO.num_keypoints)
        board = videos.paint(one.stage, one_frame(one.view, 0), one.figures[0])
        assert (board.owner == -1).any()
        hidden.append(covered.mean())
        bare = dataclasses.replace(one.stage, thing=None)
        with mock.patch.object(videos, "set_stage", lambda *arguments, stage=bare: stage):
            assert not videos.film(rng, one.view, one.figures[:2])[1].any()
    assert 0.02 < np.mean(hidden) < 0.6


def test_the_detector_is_less_sure_of_what_a_thing_hides(sets):
    filmed = sets["clap"]
    arguments = (filmed.view, filmed.points_m, filmed.figures[0].height_m, 9)
    sure, unsure = (
        [detector.detect(np.random.default_rng(seed), *arguments, covered)[1].mean() for seed in range(5)]
        for covered in (False, True)
    )
    assert np.mean(unsure) < 0.8 * np.mean(sure)


def test_exposure_stays_and_grain_changes():
    filmed = film_set(2, "clap")
    still = [filmed.figures[0]] * 4
    view = dataclasses.replace(filmed.view, rotation=filmed.view.rotation[[0] * 4])
    frames = videos.film(np.random.default_rng(5), view, still)[0].astype(float)
    differences = frames[1:] - frames[:-1]
    assert 0 < differences.std() < 20
    assert np.abs(differences.mean(axis=(1, 2, 3))).max() < 0.5
