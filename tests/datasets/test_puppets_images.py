"""The puppets as still images: the canvas, what is seen of whom, the pictures and their truth, and the builder."""

import dataclasses
import importlib
import pathlib
import sys
from unittest import mock

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.skeletons import COCO, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
puppets = importlib.import_module("puppets.puppets_dataset_builder")
backgrounds, body, camera, canvas, looks, render, scene, stills = (
    importlib.import_module(f"puppets.{name}")
    for name in ("backgrounds", "body", "camera", "canvas", "looks", "render", "scene", "stills")
)

SEED = 7
FEW_PERFORMERS = {"train": range(0, 3), "validation": range(3, 4), "test": range(4, 6)}
FEW_IMAGES = {"train": 3, "validation": 2, "test": 2}
LIGHT = canvas.Light(np.array([0.0, -0.6, -0.8]), 0.5)
RED, BLUE = np.array([1, 0, 0], np.float32), np.array([0, 0, 1], np.float32)


# -------------------------------------------------------------------------------------------------------- the builder
def in_one_process(make, arguments, chunksize=1):
    return map(make, arguments)


class PuppetImagesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = puppets.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["images"]
    SPLITS = {"train": 9, "validation": 2, "test": 4}
    EXAMPLE_DIR = ROOT / "datasets" / "puppets"  # nothing is read: the pictures are drawn

    def setUp(self):
        super().setUp()
        for few in (
            mock.patch.dict(puppets.PERFORMERS, FEW_PERFORMERS),
            mock.patch.dict(puppets.IMAGES, FEW_IMAGES),
            mock.patch.object(puppets, "in_processes", in_one_process),
        ):
            few.start()
            self.addCleanup(few.stop)


def test_records(tmp_path, monkeypatch):
    monkeypatch.setattr(puppets, "PERFORMERS", FEW_PERFORMERS)
    monkeypatch.setattr(puppets, "IMAGES", FEW_IMAGES)
    builder = puppets.Builder(data_dir=tmp_path, config="images")
    builder.download_and_prepare()  # in processes of their own
    assert Skeleton(**builder.info.metadata["skeleton"]) == COCO
    records = builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    records = list(tfds.as_numpy(records))
    people_ids = np.concatenate([record["people"]["id"] for record in records])
    assert len(np.unique(people_ids)) == len(people_ids) >= 9
    for record in records:
        number, index = record["name"].decode().removeprefix("performer").removesuffix(".jpg").split("_")
        still = stills.make_still(puppets.SEED, int(number), int(index), FEW_PERFORMERS["train"])
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert image.shape == still["image"].shape
        assert np.abs(image.astype(float) - still["image"]).mean() < 8  # what JPEG leaves of the grain
        for key in ("keypoints", "visibility", "box", "area", "head_size"):
            expected = np.stack([person[key] for person in still["people"]])
            np.testing.assert_allclose(record["people"][key], expected, rtol=1e-6)
        assert not record["people"]["is_crowd"].any()


def test_how_many_there_are_and_of_whom():
    assert [len(puppets.PERFORMERS[split]) * count for split, count in puppets.IMAGES.items()] == [2432, 240, 480]


# -------------------------------------------------------------------------------------------------------- the pictures
@pytest.fixture(scope="module")
def pictures():
    """What goes into eighteen pictures and what comes out: people, camera, canvas, truth."""
    made = []
    for number in range(3):
        for index in range(6):
            rng = np.random.default_rng([SEED, number, index])
            people, view = stills.gather(rng, SEED, number, index, range(6))
            board = stills.paint(rng, people, view)
            truth = [stills.tell(board, figure, view, owner) for owner, figure in enumerate(people, start=1)]
            made.append((people, view, board, truth))
    return made


def test_keypoints_are_where_the_camera_sees_them(pictures):
    for people, view, _, truth in pictures:
        for figure, person in zip(people, truth, strict=True):
            if person is None:
                continue
            points_px, _ = camera.project(view, figure.points_m[None])
            expected = points_px[0, [body.POINTS.index(name) for name in COCO.keypoints]]
            inside = person["visibility"] > 0
            np.testing.assert_allclose(person["keypoints"][inside], expected[inside], atol=1e-3)
            assert not person["keypoints"][~inside].any()
            # Half a pixel beyond the border rounds to the outermost one.
            height, width = view.frame_size
            in_frame = ((expected > -0.5) & (expected < np.array([width, height]) - 0.5)).all(axis=1)
            np.testing.assert_array_equal(inside, in_frame)


def test_boxes_and_areas_are_those_of_the_drawn_people(pictures):
    for _, view, board, truth in pictures:
        height, width = view.frame_size
        for owner, person in enumerate(truth, start=1):
            if person is None:
                continue
            left, top, right, bottom = person["box"]
            rows, columns = np.nonzero(board.outlines[owner])
            assert (left, top) == (columns.min(), rows.min()) and 0 <= left < right < width
            assert (right, bottom) == (columns.max(), rows.max()) and 0 <= top < bottom < height
            assert person["area"] == np.count_nonzero(board.owner == owner) <= np.count_nonzero(board.outlines[owner])
            labelled = person["keypoints"][person["visibility"] > 0]
            assert (labelled >= (left - 2, top - 2)).all() and (labelled <= (right + 2, bottom + 2)).all()
            visible = np.round(person["keypoints"][person["visibility"] == 2]).astype(int)
            assert (board.owner[visible[:, 1], visible[:, 0]] == owner).all()


def test_heads_are_measured_as_if_there_were_a_box_about_them():
    figure, view = standing(0.0)
    board = plain_board(view)
    render.draw_person(board, figure, render.to_camera(view, 0, figure.points_m), 1)
    person = stills.tell(board, figure, view, 1)
    points = dict(zip(body.POINTS, camera.project(view, figure.points_m[None])[0][0], strict=True))
    across = points["left_ear"][0] - points["right_ear"][0]
    upright = (points["thorax"] - points["head_top"])[1]
    np.testing.assert_allclose(person["head_size"], 0.6 * np.hypot(across, 0.73 * upright), rtol=0.05)


def test_pictures_have_company_and_hidden_joints(pictures):
    counts = [len(people) for people, *_ in pictures]
    assert set(counts) == {1, 2, 3}
    labels = np.concatenate([person["visibility"] for *_, truth in pictures for person in truth if person])
    assert 0.5 < np.mean(labels == 2) < 0.85 and np.mean(labels == 1) > 0.1 and np.any(labels == 0)


def test_the_same_arguments_make_the_same_picture_and_others_make_another():
    first = stills.make_still(SEED, 2, 4, range(6))
    stills.known_scene.cache_clear()
    again = stills.make_still(SEED, 2, 4, range(6))
    np.testing.assert_array_equal(first["image"], again["image"])
    assert len(first["people"]) == len(again["people"])
    for one, other in zip(first["people"], again["people"], strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    for arguments in [(SEED + 1, 2, 4), (SEED, 3, 4), (SEED, 2, 5)]:
        other = stills.make_still(*arguments, range(6))["image"]
        assert other.shape != first["image"].shape or np.abs(other.astype(float) - first["image"]).mean() > 5


def test_nobody_is_all_but_hidden():
    for index in range(12):
        still = stills.make_still(SEED, 5, index, range(6))
        assert 1 <= len(still["people"]) <= 3
        for person in still["people"]:
            assert (person["visibility"] > 0).sum() >= 4
            left, top, right, bottom = person["box"]
            assert person["area"] > 0.05 * (right - left) * (bottom - top)


def test_bystanders_stand_apart_on_the_floor(pictures):
    for people, *_ in pictures:
        places = np.array([figure.points_m[0, :2] for figure in people])
        apart = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(len(places))
        assert apart.min() >= 0.5
        # Bodies are moved and turned, never lifted: the lowest point stays where the motion has it.
        assert all(-1e-6 < figure.points_m[:, 2].min() < 0.8 for figure in people)


def test_clothes_change_and_people_do_not():
    first, again, later = (stills._figure(scene.make_scene(SEED, 1, "walk", 0), 0, SEED, 1, take) for take in (0, 0, 1))
    for name in ("skin", "hair", "girth", "haircut", "beard", "glasses"):
        assert np.all(getattr(first.looks, name) == getattr(later.looks, name))
    assert np.all(first.looks.shirt.color == again.looks.shirt.color)
    assert np.any(first.looks.shirt.color != later.looks.shirt.color)


# -------------------------------------------------------------------------------------------------------- what is seen
def standing(azimuth, size=(200, 160), **changed_looks):
    """Somebody who stands upright, and a camera on one side: 0 is in front, pi behind."""
    points_m = body.place({name: np.zeros(1) for name in body.ANGLES}, body.segment_lengths(1.75))[0]
    person, clothes = np.random.default_rng(3), np.random.default_rng(4)
    dressed = looks.draw_looks(person, clothes)
    dressed = dataclasses.replace(dressed, **{"haircut": "short", "cap": False, "skirt": False} | changed_looks)
    figure = render.Figure(points_m, 1.75, dressed)
    position_m = np.array([5 * np.cos(azimuth), 5 * np.sin(azimuth), 1.0])
    turn = camera.look_at(position_m, np.array([[0.0, 0.0, 0.9]]), 0.0)
    return figure, camera.Camera(size, 450.0, np.array([size[1], size[0]]) / 2, position_m, turn)


def plain_board(view):
    return canvas.Canvas(np.full((*view.frame_size, 3), 0.5, np.float32), view.focal_px, view.center_px, LIGHT)


def drawn(azimuth, wall_m=None, **changed_looks):
    """The canvas with one person, and the visibility by keypoint; `wall_m` is the distance of a wall."""
    figure, view = standing(azimuth, **changed_looks)
    board = plain_board(view)
    points_m = render.to_camera(view, 0, figure.points_m)
    render.draw_person(board, figure, points_m, 1)
    if wall_m is not None:
        corners = np.array([[-9, -9, wall_m], [9, -9, wall_m], [9, 9, wall_m], [-9, 9, wall_m]], float)
        board.polygon(corners, BLUE, -1)
    person = stills.tell(board, figure, view, 1)
    return board, dict(zip(COCO.keypoints, person["visibility"].tolist(), strict=True)) if person else None


def test_a_face_is_seen_from_the_front_and_not_from_behind():
    _, front = drawn(0.0)
    assert set(front.values()) == {2}
    _, behind = drawn(np.pi)
    assert {name for name, label in behind.items() if label == 1} == {"nose", "left_eye", "right_eye"}
    _, covered = drawn(np.pi, haircut="long")
    assert covered["left_ear"] == covered["right_ear"] == 1


def test_the_far_side_is_hidden_by_the_near_one():
    _, left = drawn(np.pi / 2)
    for joint in ("ear", "shoulder", "hip", "knee", "ankle"):
        assert left[f"left_{joint}"] == 2 and left[f"right_{joint}"] == 1, joint
    _, right = drawn(-np.pi / 2)
    for joint in ("ear", "shoulder", "hip", "knee", "ankle"):
        assert right[f"right_{joint}"] == 2 and right[f"left_{joint}"] == 1, joint


def test_a_wall_before_somebody_hides_and_one_behind_does_not():
    board, hidden = drawn(0.0, wall_m=2.0)
    assert hidden is None and not (board.owner == 1).any() and board.outlines[1].any()
    board, seen = drawn(0.0, wall_m=9.0)
    assert set(seen.values()) == {2} and (board.owner == -1).any()


def test_the_front_does_not_look_like_the_back():
    front, behind = drawn(0.0)[0], drawn(np.pi)[0]
    both = front.outlines[1] & behind.outlines[1][:, ::-1]
    head = np.flatnonzero(both.any(axis=1))[:22]
    difference = np.abs(front.color - behind.color[:, ::-1]).max(axis=-1)[head][both[head]]
    assert np.mean(difference > 0.1) > 0.25


def test_a_raised_left_arm_is_on_the_right_of_a_picture_from_the_front():
    figure, view = standing(0.0)
    angles = {name: np.zeros(1) for name in body.ANGLES} | {"left_shoulder_abduction": np.full(1, 1.5)}
    points_m = body.place(angles, body.segment_lengths(1.75))[0]
    raised, hanging = plain_board(view), plain_board(view)
    render.draw_person(raised, render.Figure(points_m, 1.75, figure.looks), render.to_camera(view, 0, points_m), 1)
    render.draw_person(hanging, figure, render.to_camera(view, 0, figure.points_m), 1)
    columns = np.nonzero(raised.outlines[1] & ~hanging.outlines[1])[1]
    assert len(columns) > 100 and columns.min() > view.center_px[0]
    wrist, _ = raised.project(render.to_camera(view, 0, points_m[body.POINTS.index("left_wrist")]))
    assert raised.outlines[1][int(wrist[1]), int(wrist[0])]


def test_every_haircut_and_front_can_be_drawn():
    figure, view = standing(0.4)
    pictures = []
    for haircut in sorted(set(looks.HAIRCUTS)):
        for front in sorted(set(looks.FRONTS)):
            one = dataclasses.replace(figure.looks, haircut=haircut, front=front, skirt=True)
            board = plain_board(view)
            render.draw_person(
                board, render.Figure(figure.points_m, 1.75, one), render.to_camera(view, 0, figure.points_m), 1
            )
            assert np.isfinite(board.color).all() and board.color.min() >= 0 and board.color.max() < 1.3
            pictures.append(board.color.tobytes())
    assert len(set(pictures)) == len(pictures) == 24


# ---------------------------------------------------------------------------------------------------------- the canvas
def board_of(size=(60, 80), focal_px=100.0):
    center_px = np.array([size[1] - 1, size[0] - 1]) / 2
    return canvas.Canvas(np.zeros((*size, 3), np.float32), focal_px, center_px, LIGHT)


def disc(board, middle_px, radius_px):
    y, x = np.mgrid[: board.owner.shape[0], : board.owner.shape[1]]
    return np.hypot(x - middle_px[0], y - middle_px[1]) < radius_px


@pytest.mark.parametrize("shape", ["cone", "hull", "ellipsoid"])
def test_a_ball_covers_a_disc_and_comes_forward_by_its_radius(shape):
    board = board_of()
    center, radius = np.array([0.2, -0.1, 2.0]), 0.3
    if shape == "ellipsoid":
        board.ellipsoid(center, radius * np.eye(3), RED, 1)
    else:
        getattr(board, shape)(np.stack([center, center]), [radius, radius], RED, 1)
    expected = disc(board, board.project(center)[0], radius * 50)
    assert np.mean(board.outlines[1] != expected) < 0.01
    np.testing.assert_array_equal(board.owner == 1, board.outlines[1])
    column, row = np.round(board.project(center)[0]).astype(int)
    forward = {"cone": radius, "hull": 0.8 * radius, "ellipsoid": radius}[shape]
    np.testing.assert_allclose(board.depth_m[row, column], 2 - forward, atol=0.01)
    assert np.isinf(board.depth_m[~board.outlines[1]]).all()
    assert board.color[..., 0].max() > 0.9 and not board.color[..., 1:].any()


def test_a_cone_narrows_and_leans_into_the_picture():
    board = board_of()
    ends = np.array([[-0.4, 0, 2.0], [0.5, 0, 2.5]])
    board.cone(ends, [0.2, 0.1], RED, 1)
    (left, middle), (right, _) = np.round(board.project(ends)[0]).astype(int)
    height = board.outlines[1].sum(axis=0)
    np.testing.assert_allclose(height[[left, right]], [2 * 0.2 * 50, 2 * 0.1 * 40], atol=1.5)
    along = board.depth_m[middle, left:right]
    assert (np.diff(along) > 0).all()
    np.testing.assert_allclose(along[[0, -1]], [1.8, 2.4], atol=0.03)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_nearer_hides_the_farther_in_whatever_order(order):
    board = board_of()
    shapes = {1: (2.0, RED), 2: (3.0, BLUE)}
    for owner in order:
        depth, color = shapes[owner]
        board.cone(np.array([[0, 0, depth], [0.1, 0, depth]]), [0.3, 0.3], color, owner)
    assert board.outlines[1].sum() > 400 and board.outlines[2].sum() > 200
    np.testing.assert_array_equal(board.owner == 1, board.outlines[1])
    assert not (board.owner[board.outlines[1] & board.outlines[2]] == 2).any()
    inside = disc(board, board.project(np.array([0, 0, 2.0]))[0], 12)
    assert (board.color[inside][:, 0] > 0.4).all() and not board.color[inside][:, 2].any()


def test_limbs_that_cross_hide_each_other_half_by_half():
    board = board_of()
    board.cone(np.array([[-0.5, -0.3, 2.2], [0.5, 0.3, 2.8]]), [0.1, 0.1], RED, 1)
    board.cone(np.array([[-0.5, -0.3, 2.8], [0.5, 0.3, 2.2]]), [0.1, 0.1], BLUE, 2)
    both = board.outlines[1] & board.outlines[2]
    left = np.arange(80) < 35
    right = np.arange(80) > 45
    assert (board.owner[:, left][both[:, left]] == 1).mean() > 0.9
    assert (board.owner[:, right][both[:, right]] == 2).mean() > 0.9


def test_a_leaning_plane_has_its_true_depth():
    board = board_of()
    corners = np.array([[-0.5, -0.4, 2.0], [0.5, -0.4, 3.0], [0.5, 0.4, 3.0], [-0.5, 0.4, 2.0]])
    board.polygon(corners, RED, 3)
    rows, columns = np.nonzero(board.owner == 3)
    rays = (np.stack([columns, rows], axis=1) - board.center_px) / board.focal_px
    # The plane is z = 2.5 + x, and x = ray z.
    np.testing.assert_allclose(board.depth_m[rows, columns], 2.5 / (1 - rays[:, 0]), rtol=1e-3)
    assert len(rows) > 1000


def test_what_is_outside_or_behind_is_not_drawn():
    board = board_of()
    for center in ([9, 0, 2.0], [0, 0, -1.0], [0, 0, 0.05]):
        center = np.array(center, float)
        board.cone(np.stack([center, center]), [0.1, 0.1], RED, 1)
        board.hull(np.stack([center, center]), 0.1, RED, 1)
        board.ellipsoid(center, 0.1 * np.eye(3), RED, 1)
        board.polygon(center + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]), RED, 1)
    assert not board.color.any() and not board.owner.any()


def test_a_pattern_lies_along_its_shape():
    board = board_of()
    cloth = looks.Cloth(RED, BLUE, "stripes", 0.1)
    (first, last), scale = board.project(np.array([[-0.5, 0, 2.0], [0.5, 0, 2.0]]))
    paint = canvas.Paint(cloth, first, np.array([0, scale[0]]), np.array([scale[0], 0]))
    board.cone(np.array([[-0.5, 0, 2.0], [0.5, 0, 2.0]]), [0.2, 0.2], paint, 1)
    line = board.color[30, 16:64]
    blue = line[:, 2] > line[:, 0]
    assert np.count_nonzero(np.diff(blue.astype(int))) in (18, 19, 20)  # ten stripes of a metre
    upright = board.color[25:35, 16:64] @ (1, 0, -1)
    assert np.abs(np.sign(upright) - np.sign(upright[5])).mean() < 0.1


@pytest.mark.parametrize("pattern", looks.PATTERNS[2:])
def test_patterns_have_both_colours(pattern):
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, 60), np.linspace(0, 0.6, 60))
    colors = looks.Cloth(RED, BLUE, pattern, 0.1)(u, v)
    plain = pattern == "plain"
    assert (np.ptp(colors[..., 2]) > 0.9) != plain
    assert colors.min() >= 0 and colors.max() <= 1


# ----------------------------------------------------------------------------------------------------- the backgrounds
def test_floor_places_are_where_rays_meet_the_floor():
    _, view = standing(0.7)
    places = stills.floor_places(view)
    below = np.abs(places).max(axis=-1) < 1e3
    assert below[-1].all() and not below[0].any()
    rows, columns = np.nonzero(below)
    points_m = np.column_stack([places[below] + view.position_m[:2], np.zeros(len(rows))])
    points_px, _ = camera.project(view, points_m[None])
    np.testing.assert_allclose(points_px[0], np.stack([columns, rows], axis=1), atol=0.05)


@pytest.mark.parametrize("kind", ["room", "outdoors", "gradient", "clouds", "stripes"])
def test_backgrounds_differ_and_are_pictures(kind):
    _, view = standing(0.7)
    ground = stills.floor_places(view)
    first, again, other = (
        getattr(backgrounds, kind)(np.random.default_rng(seed), view.frame_size, ground) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (*view.frame_size, 3) and np.isfinite(first).all() and first.std() > 0
    assert np.abs(first - other).mean() > 0.01
    finished = backgrounds.draw(np.random.default_rng(1), view.frame_size, ground)
    assert finished.dtype == np.float32 and finished.min() >= 0 and finished.max() <= 1


def test_a_photograph_is_a_picture_of_the_same_thing():
    color = np.zeros((40, 60, 3), np.float32)
    color[:, 30:] = 0.8
    photographs = [stills.develop(np.random.default_rng(seed), color) for seed in range(5)]
    for photograph in photographs:
        assert photograph.dtype == np.uint8 and photograph.shape == color.shape
        assert photograph[:, 35:].mean() > photograph[:, :25].mean() + 60
    assert len({photograph.tobytes() for photograph in photographs}) == 5
