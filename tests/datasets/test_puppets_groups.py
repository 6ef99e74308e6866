"""The puppets in groups: who is put where, what is told of whom, ways that cross, and the builder."""

import dataclasses
import importlib
import pathlib
import sys
from unittest import mock

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import frames as encoded
from kerapose.skeletons import COCO, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
puppets = importlib.import_module("puppets.puppets_dataset_builder")
body, camera, canvas, groups, motions, performers, render, stills = (
    importlib.import_module(f"puppets.{name}")
    for name in ("body", "camera", "canvas", "groups", "motions", "performers", "render", "stills")
)

SEED = 7
MANY = range(12)
FEW_PERFORMERS = {"train": range(0, 3), "validation": range(3, 5), "test": range(5, 8)}
FEW_GROUPS = {"train": 2, "validation": 1, "test": 1}
SHORT = (12, 12)  # frames of a video
FEET = [body.POINTS.index(f"{side}_{end}") for side in body.SIDES for end in ("heel", "toe")]


# -------------------------------------------------------------------------------------------------------- the builder
def in_one_process(make, arguments, chunksize=1):
    return map(make, arguments)


class PuppetGroupsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = puppets.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["groups"]
    SPLITS = {"train": 6, "validation": 2, "test": 3}
    EXAMPLE_DIR = ROOT / "datasets" / "puppets"  # nothing is read: the pictures are drawn

    def setUp(self):
        super().setUp()
        for few in (
            mock.patch.dict(puppets.PERFORMERS, FEW_PERFORMERS),
            mock.patch.dict(puppets.GROUPS, FEW_GROUPS),
            mock.patch.object(puppets, "in_processes", in_one_process),
        ):
            few.start()
            self.addCleanup(few.stop)


def test_records_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(puppets, "PERFORMERS", FEW_PERFORMERS)
    monkeypatch.setattr(puppets, "GROUPS", {"train": 2})
    builder = puppets.Builder(data_dir=tmp_path, config="groups")
    builder.download_and_prepare()  # in processes of their own
    assert Skeleton(**builder.info.metadata["skeleton"]) == COCO
    records = builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    records = list(tfds.as_numpy(records))
    assert len(records) == len({int(record["image_id"]) for record in records}) == 6
    people_ids = np.concatenate([record["people"]["id"] for record in records])
    assert len(np.unique(people_ids)) == len(people_ids) > 6
    for record in records:
        number, index = record["name"].decode().removeprefix("performer").removesuffix(".jpg").split("_")
        group = groups.make_group(puppets.SEED, int(number), int(index), FEW_PERFORMERS["train"])
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert image.shape == group["image"].shape
        assert np.abs(image.astype(float) - group["image"]).mean() < 8  # what JPEG leaves of the grain
        for key in ("keypoints", "visibility", "box", "area", "head_size", "is_crowd"):
            np.testing.assert_allclose(record["people"][key], [person[key] for person in group["people"]], rtol=1e-6)


def test_records_of_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(puppets, "PERFORMERS", FEW_PERFORMERS)
    monkeypatch.setattr(puppets, "GROUP_VIDEOS", {"test": 2})
    monkeypatch.setattr(puppets, "in_processes", in_one_process)
    monkeypatch.setattr(groups, "VIDEO_FRAMES", SHORT)
    builder = puppets.Builder(data_dir=tmp_path, config="group_videos")
    builder.download_and_prepare()
    assert list(builder.info.splits) == ["test"] and builder.info.metadata["skeleton"] == COCO.name
    clips = {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split="test"))}
    assert sorted(clips) == ["group00", "group01"]
    expected = groups.make_group_video(puppets.SEED, 1, FEW_PERFORMERS["test"])
    for key in ("keypoints", "scores", "frame_size"):
        np.testing.assert_array_equal(clips["group01"][key], expected[key])
        assert clips["group01"][key].dtype == expected[key].dtype
    video = clips["group01"]["video"]
    np.testing.assert_allclose(encoded.read(video).mean(axis=(1, 2)), expected["frames"].mean(axis=(1, 2)), atol=3)
    assert encoded.probe(video) == encoded.VideoInfo(SHORT[0], tuple(expected["frame_size"].tolist()), 15.0)


def test_how_many_there_are():
    counts = [len(puppets.PERFORMERS[split]) * count for split, count in puppets.GROUPS.items()]
    assert counts == [1216, 96, 192]
    assert puppets.GROUP_VIDEOS == {"test": 24}


# -------------------------------------------------------------------------------------------------------- the pictures
@dataclasses.dataclass(frozen=True)
class Picture:
    """What goes into a picture and what comes out."""

    people: list
    crowd: list
    view: object
    board: object
    truth: list


def picture(number, index):
    rng = np.random.default_rng([SEED, number, index, groups.STREAM])
    people, crowd, view = groups.gather(rng, SEED, number, index, MANY)
    board = stills.paint(rng, people, view, crowd=crowd)
    return Picture(people, crowd, view, board, groups.tell(board, people, view))


@pytest.fixture(scope="module")
def pictures():
    return [picture(number, index) for number in range(5) for index in range(4)]


def told(one):
    """Pairs each (owner, figure) of a picture with its record, or with None."""
    records = {tuple(person["box"]): person for person in one.truth if not person["is_crowd"]}
    for owner, figure in enumerate(one.people, start=1):
        box = stills.outline_box(one.board, owner)
        yield owner, figure, None if box is None else records.get(tuple(box))


def test_keypoints_are_where_the_camera_sees_them(pictures):
    labelled = 0
    for one in pictures:
        height, width = one.view.frame_size
        for _, figure, person in told(one):
            if person is None or not person["visibility"].any():
                assert person is None or not person["keypoints"].any()
                continue
            expected = camera.project(one.view, figure.points_m[None])[0][0, groups.KEYPOINTS]
            inside = ((expected > -0.5) & (expected < np.array([width, height]) - 0.5)).all(axis=1)
            np.testing.assert_array_equal(person["visibility"] > 0, inside)
            np.testing.assert_allclose(person["keypoints"][inside], expected[inside], atol=1e-3)
            assert not person["keypoints"][~inside].any()
            labelled += 1
    assert labelled > 40


def test_boxes_and_areas_are_those_of_what_is_drawn(pictures):
    for one in pictures:
        for owner, _, person in told(one):
            area = np.count_nonzero(one.board.owner == owner)
            if person is None:
                assert area < groups.LEAST_AREA_PX or np.ptp(np.nonzero(one.board.outlines[owner]), axis=1).min() == 0
                continue
            rows, columns = np.nonzero(one.board.outlines[owner])
            assert person["box"].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
            assert person["area"] == area >= groups.LEAST_AREA_PX
            enough = area >= stills.LEAST_SEEN * len(rows)
            assert enough or not person["visibility"].any()


def test_a_crowd_is_far_off_and_told_as_one(pictures):
    crowds = [one for one in pictures if one.crowd]
    assert len(crowds) >= 3
    for one in crowds:
        depth = one.people[0].points_m[0, 0]
        assert 6 <= len(one.crowd) <= 12 and min(figure.points_m[0, 0] for figure in one.crowd) > 2 * depth
        told_crowds = [person["is_crowd"] for person in one.truth]
        assert sum(told_crowds) <= 1 and not any(told_crowds[:-1])
        if told_crowds[-1]:
            person, owner = one.truth[-1], len(one.people) + 1
            assert not person["visibility"].any() and not person["keypoints"].any()
            assert person["area"] == np.count_nonzero(one.board.owner == owner) > 0
            left, top, right, bottom = person["box"].astype(int)
            rows, columns = np.nonzero(one.board.owner == owner)
            assert left <= columns.min() <= columns.max() <= right and top <= rows.min() <= rows.max() <= bottom
            assert bottom - top < 0.35 * one.view.frame_size[0]
    assert any(person["is_crowd"] for one in crowds for person in one.truth)
    assert not any(person["is_crowd"] for one in pictures if not one.crowd for person in one.truth)


def test_people_stand_together_in_many_ways(pictures):
    assert {len(one.people) for one in pictures} == {1, 2, 3, 4, 5, 6}
    overlaps, distances, hidden = 0, [], 0
    for one in pictures:
        height, width = one.view.frame_size
        assert groups.HEIGHTS[0] <= height <= groups.HEIGHTS[1] and 1.0 <= round(width / height, 2) <= 1.6
        places = np.array([figure.points_m[0, :2] for figure in one.people])
        apart = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(len(places))
        assert apart.min() >= groups.LEAST_APART_M
        assert all(-1e-6 < figure.points_m[:, 2].min() < 0.8 for figure in one.people)
        distances.append(places[:, 0].max() / places[:, 0].min())
        outlines = [one.board.outlines.get(owner) for owner in range(1, len(one.people) + 1)]
        outlines = [outline for outline in outlines if outline is not None]
        overlaps += any((a & b).any() for place, a in enumerate(outlines) for b in outlines[:place])
        hidden += sum(not person["visibility"].any() and not person["is_crowd"] for person in one.truth)
    assert overlaps > 12 and max(distances) > 1.8 and hidden > 0
    labels = np.concatenate([person["visibility"] for one in pictures for person in one.truth])
    labels = labels[labels.reshape(-1, 17).any(axis=1).repeat(17)]
    assert 0.5 < np.mean(labels == 2) < 0.85 and np.mean(labels == 1) > 0.1 and np.any(labels == 0)


def test_nobody_is_in_a_picture_twice():
    numbers = []

    def note(rng, seed, number, action):
        numbers.append(number)
        return draw_figure(rng, seed, number, action)

    draw_figure = groups.draw_figure
    with mock.patch.object(groups, "draw_figure", note), mock.patch.object(groups, "CROWD_SHARE", 0.0):
        for index in range(20):
            numbers.clear()
            groups.gather(np.random.default_rng(index), SEED, 4, index, MANY)
            assert numbers[0] == 4 and len(set(numbers)) == len(numbers) and set(numbers) <= set(MANY)


def test_the_same_arguments_make_the_same_picture_and_others_make_another():
    first = groups.make_group(SEED, 2, 3, MANY)
    stills.known_scene.cache_clear()
    again = groups.make_group(SEED, 2, 3, MANY)
    np.testing.assert_array_equal(first["image"], again["image"])
    assert len(first["people"]) == len(again["people"])
    for one, other in zip(first["people"], again["people"], strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    for arguments in [(SEED + 1, 2, 3), (SEED, 3, 3), (SEED, 2, 4)]:
        other = groups.make_group(*arguments, MANY)["image"]
        assert other.shape != first["image"].shape or np.abs(other.astype(float) - first["image"]).mean() > 5


def test_the_one_in_the_middle_has_labelled_keypoints():
    for index in range(8):
        assert groups.make_group(SEED, 5, index, MANY)["people"][0]["visibility"].any()


# -------------------------------------------------------------------------------------------------------- what is seen
VIEW = camera.Camera(
    (200, 160), 300.0, np.array([80.0, 100.0]), np.array([0, 0, 1.0]), camera.look_at(0, np.array([[1.0, 0, 0]]), 0.0)
)


def standing(spot, turn=np.pi):
    """Somebody who stands upright on a spot, by default with a look at the camera."""
    points_m = body.place({name: np.zeros(1) for name in body.ANGLES}, body.segment_lengths(1.75))[0]
    points_m = points_m @ body.rotation("z", turn).T + np.append(spot, 0)
    return render.Figure(points_m, 1.75, stills.draw_looks(SEED, 0, np.random.default_rng(4)))


def drawn(*figures):
    light = canvas.Light(np.array([0.0, -0.6, -0.8]), 0.5)
    board = canvas.Canvas(np.full((*VIEW.frame_size, 3), 0.5, np.float32), VIEW.focal_px, VIEW.center_px, light)
    for owner, figure in enumerate(figures, start=1):
        render.draw_person(board, figure, render.to_camera(VIEW, 0, figure.points_m), owner)
    return board


def screen(board, share):
    """Puts a screen before everybody that hides, from above, a share of somebody of 1.75 m at a distance of 5 m."""
    depth, side = 2.0, 3.0
    low = (1.0 - 1.75 * (1 - share)) * depth / 5  # below the camera, which is 1 m above the floor
    corners = [[-side, -side, depth], [side, -side, depth], [side, low, depth], [-side, low, depth]]
    board.polygon(np.array(corners), np.ones(3, np.float32), -1)


def test_who_is_hardly_seen_stays_without_labelled_keypoints():
    figure = standing((5.0, 0.0))
    (whole,) = groups.tell(drawn(figure), [figure], VIEW)
    assert (whole["visibility"] == 2).all() and not whole["is_crowd"]
    board = drawn(figure)
    screen(board, share=0.9)
    (feet,) = groups.tell(board, [figure], VIEW)
    assert not feet["visibility"].any() and not feet["keypoints"].any()
    assert 0 < feet["area"] < 0.2 * whole["area"] and feet["box"].tolist() == whole["box"].tolist()
    board = drawn(figure)
    screen(board, share=1.5)
    assert groups.tell(board, [figure], VIEW) == []


def test_others_hide_and_the_own_body_does_not():
    behind, before = standing((6.0, 0.05), turn=0.0), standing((4.0, 0.17), turn=np.pi / 2)
    board = drawn(behind, before)
    seen = [render.to_camera(VIEW, 0, figure.points_m[groups.KEYPOINTS]) for figure in (behind, before)]
    assert render.uncovered(board, seen[1], 2).all()  # half of it on the far side of the own body
    points_px = np.round(board.project(seen[0])[0]).astype(int)
    expected = ~board.outlines[2][points_px[:, 1], points_px[:, 0]]
    uncovered = render.uncovered(board, seen[0], 1)
    np.testing.assert_array_equal(uncovered, expected)
    assert uncovered.any() and not uncovered.all() and uncovered[COCO.index("right_hip")]
    assert not render.uncovered(board, seen[0] + (0, 9.0, 0), 1).any()  # outside the picture
    screen(board, share=1.5)
    assert not render.uncovered(board, seen[1], 2).any()


# -------------------------------------------------------------------------------------------------------- the ways
@pytest.fixture(scope="module")
def rehearsals():
    """The camera and the walkers of some videos."""
    return [groups.rehearse(np.random.default_rng([SEED, index]), SEED, MANY) for index in range(16)]


def pelvis_px(view, walker):
    return camera.project(view, walker.points_m[:, :1])[0][:, 0]


def test_two_to_five_people_pass_each_other(rehearsals):
    assert {len(walkers) for _, walkers in rehearsals} == {2, 3, 4, 5}
    for view, walkers in rehearsals:
        numbers = [walker.number for walker in walkers]
        assert len(set(numbers)) == len(numbers) and set(numbers) <= set(MANY)
        assert all(len(walker.points_m) == len(view.rotation) for walker in walkers)
        ahead = pelvis_px(view, walkers[0])[:, 0] < pelvis_px(view, walkers[1])[:, 0]
        assert ahead.any() and not ahead.all()
        for place, walker in enumerate(walkers):
            for other in walkers[:place]:
                away_m = np.linalg.norm(walker.points_m[:, 0, :2] - other.points_m[:, 0, :2], axis=1)
                assert away_m.min() >= groups.LEAST_APART_M
            assert camera.project(view, walker.points_m)[1].min() >= groups.NEAREST_M
            assert walker.points_m[..., 2].min() > -1e-6  # on the floor


def test_people_walk_on_their_feet(rehearsals):
    """While the body goes on, the foot that bears it stays: in each frame some heel or toe hardly moves."""
    fast, still = [], []
    for _, walkers in rehearsals:
        for walker in walkers:
            moved_m = np.linalg.norm(np.diff(walker.points_m[..., :2], axis=0), axis=-1)  # [T - 1, P]
            fast.append(moved_m[:, 0].mean() * groups.VIDEO_FPS)
            still.append(np.median(moved_m[:, FEET].min(axis=1)) / np.median(moved_m[:, 0]))
    assert 0.8 < np.median(fast) < 2.0 and max(fast) > 1.4  # metres a second
    assert np.median(still) < 0.15 and np.quantile(still, 0.8) < 0.35


def test_some_leave_the_picture_and_come_back():
    rng = np.random.default_rng(SEED)
    came_back = 0
    for number in range(8):
        view, nearest = groups.draw_film_camera(rng)
        walker = groups.draw_walker(rng, SEED, number, view, nearest, "back", 1, [])
        if walker is None:
            continue
        points_px, _ = camera.project(view, walker.points_m[:, groups.KEYPOINTS])
        inside = camera.in_frame(view, points_px).any(axis=1)
        away = np.flatnonzero(~inside)
        assert len(away) >= 4 and inside[: away[0]].any() and inside[away[-1] + 1 :].any()
        # Left and entered again on the same side, the left one, facing the other way.
        assert (points_px[away, :, 0] < 0).any()
        first, last = (np.diff(walker.points_m[:, 0, 1])[part].mean() for part in (slice(0, 8), slice(-8, None)))
        assert first > 0 > last
        came_back += 1
    assert came_back >= 4


def test_the_camera_stands_still_or_pans_slowly(rehearsals):
    pans = 0
    for view, _ in rehearsals:
        forward = view.rotation[:, 2]
        azimuth = np.degrees(np.arctan2(forward[:, 1], forward[:, 0]))
        assert np.ptp(azimuth) <= 18.01 and np.ptp(view.rotation @ [0, 0, 1.0], axis=0).max() < 1e-9
        steps = np.diff(azimuth)
        assert np.allclose(steps, steps[0], atol=1e-9)
        pans += abs(steps[0]) > 1e-6
        height, width = view.frame_size
        assert height % groups.BLOCK_PX == width % groups.BLOCK_PX == 0
    assert 3 <= pans <= 13


# -------------------------------------------------------------------------------------------------------- the films
def test_films_show_what_is_told(monkeypatch):
    monkeypatch.setattr(groups, "VIDEO_FRAMES", SHORT)
    rehearsed, boards = [], []

    def note(rng, stage, view, casts):
        rehearsed.append((view, casts))
        for frame, board in shoot(rng, stage, view, casts):
            boards.append(board)
            yield frame, board

    shoot = groups.videos.shoot
    with mock.patch.object(groups.videos, "shoot", note):
        video = groups.make_group_video(SEED, 0, MANY)
    ((view, casts),) = rehearsed
    keypoints, scores = video["keypoints"], video["scores"]
    count = len(casts[0])
    assert keypoints.shape == (count, SHORT[0], 17, 2) and scores.shape == keypoints.shape[:-1]
    assert video["frames"].shape == (SHORT[0], *video["frame_size"], 3) and set(np.unique(scores)) == {0, 1}
    points_m = np.array([[figure.points_m for figure in cast] for cast in casts]).swapaxes(0, 1)  # [M, T, P, 3]
    for person in range(count):
        expected, _ = camera.project(view, points_m[person][:, groups.KEYPOINTS])
        np.testing.assert_allclose(keypoints[person], expected, rtol=1e-5, atol=1e-3)
    height, width = video["frame_size"]
    inside = ((keypoints > -0.5) & (keypoints < np.array([width, height]) - 0.5)).all(axis=-1)
    assert inside[scores > 0].all()
    nearby = np.argwhere(scores > 0)[::7]
    for person, frame, joint in nearby:  # what is scored lies on the person's own pixels, or within two of them
        column, row = np.round(keypoints[person, frame, joint]).astype(int)
        patch = boards[frame].owner[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        assert (patch == person + 1).any()
    covered = np.argwhere(inside & (scores == 0))
    for person, frame, joint in covered:
        column, row = np.round(keypoints[person, frame, joint]).astype(int)
        assert boards[frame].owner[row, column] not in (0, person + 1)
    again = groups.make_group_video(SEED, 0, MANY)
    for key, value in video.items():
        np.testing.assert_array_equal(value, again[key])


def test_the_kept_clip_is_the_video_in_a_file(monkeypatch):
    monkeypatch.setattr(groups, "VIDEO_FRAMES", SHORT)
    clip = groups.make_group_clip((SEED, 3, range(2)))
    assert sorted(clip) == ["frame_size", "keypoints", "scores", "video"]
    assert len(clip["keypoints"]) == 2
    assert encoded.probe(clip["video"]).num_frames == clip["keypoints"].shape[1] == SHORT[0]


def test_one_performer_is_no_group():
    with pytest.raises(ValueError, match="at least 2 performers, got 1; give more"):
        groups.make_group_video(SEED, 0, range(1))
