"""The bounds of the gate's rules for clips and tracks: what is just within one is told apart from what is just beyond.

Frames are never square, so that height and width cannot stand for each other.
"""

import types

import numpy as np
import pytest

from kerapose.data.gate import Report, images, sequences
from kerapose.data.gate import tracks as track_gate
from kerapose.skeletons import H36M

SIZE = (300, 500)  # height, width
INSIDE = (450.0, 250.0)


def broken(note, *given):
    """The rules that a sample breaks, and those for which its figures are gathered that all samples break."""
    report = Report("samples")
    note(report, *given, "name")
    report._judge()
    return set(report._breaches)


def places(*groups):
    """Keypoints [P, 2] of counts and places: 3, (x, y), ..."""
    return np.concatenate([np.tile(np.float64(place), (count, 1)) for count, place in groups])


def rules_of(points, size=SIZE, score=1.0):
    return broken(sequences.note_places, points[None], np.full((1, len(points)), score), size)


# ---------------------------------------- keypoints
@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [
        (sequences.PLACED, ((1, (-1, -1)), (19, INSIDE)), ((2, (-1, -1)), (19, INSIDE))),
        (sequences.PIXELS, ((17, (1.5, 1)), (3, INSIDE)), ((18, (1.5, 1)), (2, INSIDE))),
        (sequences.PIXELS, ((20, (1.5001, 1)),), ((20, (-1.5, 1.5)),)),
        (sequences.INSIDE, ((10, (500.1, 250)), (10, INSIDE)), ((11, (500.1, 250)), (9, INSIDE))),
        (sequences.INSIDE, ((20, (500, 300)),), ((20, (499, 300.5)),)),
        (sequences.INSIDE, ((20, (0, 300)),), ((20, (-0.5, 299)),)),
        (sequences.CORNER, ((5, (-3, 250)), (15, INSIDE)), ((6, (250, -3)), (14, INSIDE))),
        (sequences.CORNER, ((20, (0, 100)),), ((20, (100, -0.1)),)),
        (sequences.SWAPPED, ((20, (200, 300)), (80, (200, 250))), ((21, (200, 500)), (79, (200, 250)))),
        (
            sequences.SWAPPED,
            ((50, (300, 500)), (2, (301, 200)), (48, (200, 200))),
            ((50, (300, 500)), (1, (301, 200)), (49, (200, 200))),
        ),
    ],
)
def test_keypoints_break_a_rule_just_beyond_its_bound(rule, within, beyond):
    assert rule not in rules_of(places(*within))
    assert rule in rules_of(places(*beyond))


@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [(sequences.SCORES, 10.0, 10.1), (sequences.HIGH_SCORES, 1.5, 1.6), (sequences.HIGH_SCORES, 10.1, 10.0)],
)
def test_scores_break_a_rule_just_beyond_its_bound(rule, within, beyond):
    points = places((4, INSIDE))
    assert rule not in rules_of(points, score=within)
    assert rule in rules_of(points, score=beyond)


def test_two_joints_of_one_of_several_people_are_no_person():
    """Three near the corner are one in other units."""
    keypoints, scores = np.tile(np.float64(INSIDE), (2, 4, 17, 1)), np.ones((2, 4, 17))
    keypoints[1] = 0.7
    for joints in (2, 3):
        scores[1] = np.arange(17) < joints
        assert (sequences.PIXELS in broken(sequences.note_places, keypoints, scores, SIZE)) == (joints == 3)


@pytest.mark.parametrize(
    ("size", "low", "high", "is_told"),
    [
        ((400, 600), (0, 0), (100, 60), True),
        ((399, 600), (0, 0), (100, 60), False),  # of small frames
        ((600, 399), (0, 0), (100, 60), False),
        ((400, 600), (0, 0), (100, 59), False),  # that is a person in a corner
        ((400, 600), (0, 0), (59, 100), False),
        ((400, 600), (0, 0), (101, 60), False),
        ((400, 600), (-1, 0), (100, 60), False),
    ],
)
def test_percent_fill_a_hundred_pixels_of_a_large_frame(size, low, high, is_told):
    points = places((10, low), (10, high)) + 0.0
    assert (sequences.IN_PERCENT in rules_of(points, size)) == is_told


@pytest.mark.parametrize(("count", "is_told"), [(9, True), (8, False)])
def test_most_clips_have_to_be_in_percent_to_be_told_of(count, is_told):
    extents = [[(0, 0), (100, 60)]] * count + [[(0, 0), (101, 60)]] * (10 - count)
    found, _ = sequences._in_percent(extents)
    assert found.tolist() == [is_told] * count + [False] * (10 - count)


@pytest.mark.parametrize("side", [1, sequences.LARGEST_SIDE])
def test_sizes_of_frames_have_bounds(side):
    assert sequences.frame_size_of((side, 7)).tolist() == [side, 7] and sequences.frame_size_of((7, side)) is not None
    other = 0 if side == 1 else side + 1
    assert sequences.frame_size_of((other, 7)) is None and sequences.frame_size_of((7, other)) is None


def test_labels_have_bounds():
    assert [sequences.class_index(label, 3) for label in (-1, 0, 2, 3)] == [None, 0, 2, None]
    assert sequences.class_index(sequences.LARGEST_LABEL) is None
    assert sequences.class_index(sequences.LARGEST_LABEL - 1) == sequences.LARGEST_LABEL - 1
    assert [sequences.whole_number(value) for value in (2.0, 2.5, -3, np.nan, np.inf)] == [2, None, -3, None, None]


def test_keypoints_without_a_size_have_one_that_is_just_large_enough():
    report = Report("clips")
    element = sequences.read_clip(report, np.tile(np.float32([40.5, 20.0]), (1, 2, 17, 1)), label=3, name="one")
    assert element["frame_size"].tolist() == [20, 41] and (element["label"], element["name"]) == (3, "one")
    assert report.total == 1


@pytest.mark.parametrize("same", [True, False])
def test_a_video_is_that_of_the_keypoints_by_length_and_shape(same):
    info = types.SimpleNamespace(num_frames=9 if same else 8, frame_size=SIZE, damage="", pixel=1)
    report, asked = Report("clips"), []
    sequences.note_video(report, 9, (30, 50), info, "one", lambda *sizes: asked.append(sizes) or same)
    assert set(report._breaches) == (set() if same else {sequences.LENGTH, sequences.VIDEO_SHAPE})
    assert asked[0] == (SIZE, (30, 50))
    if not same:
        assert report._breaches[sequences.VIDEO_SHAPE].found == "50 x 30 pixels and 500 x 300 of the video"


# ---------------------------------------- tracks
def pose(size, root=(0.0, 0.0, 5.0), frames=3):
    """Poses [T, J, 3] of a size in metres and a place."""
    poses = np.zeros((frames, 17, 3))
    poses[:, 1, 1] = size
    return poses + root


@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [
        (track_gate.METRES, 0.02, 0.0199),
        (track_gate.METRES, 10.0, 10.01),
        (track_gate.PERSONS, 0.5, 0.499),
        (track_gate.PERSONS, 2.5, 2.51),
    ],
)
def test_poses_have_the_size_of_people(rule, within, beyond):
    assert rule not in broken(track_gate.note_size, pose(within, (0, 0, 0)))
    assert rule in broken(track_gate.note_size, pose(beyond, (0, 0, 0)))


@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [
        (track_gate.ABSOLUTE, (0, 0, 2e-6), (0, 0, 1e-6)),
        (track_gate.IN_FRONT, (0, 5, 0.01), (0, 5, 0.0)),
        (track_gate.NEAR, (0, 0, 100), (0, 0, 100.1)),
        (track_gate.NEAR, (60, 0, 80), (60, 1, 81)),  # aslant
    ],
)
def test_poses_are_where_a_camera_sees_people(rule, within, beyond):
    assert broken(track_gate._note_place, pose(1.7, within)) == set()
    assert broken(track_gate._note_place, pose(1.7, beyond)) == {rule}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("focal", "rule"),
    [
        (0.2, None),
        (0.19, track_gate.FOCAL),
        (200.0, None),
        (201.0, track_gate.FOCAL),
        (0.0, track_gate.CAMERA),
        (np.nan, track_gate.CAMERA),
    ],
)
def test_cameras_have_focal_lengths_of_lenses(axis, focal, rule):
    camera = np.array([2.0, 2.0, 0, 0, 0, 0, 0, 0, 0])
    camera[axis] = focal
    assert broken(track_gate._note_camera, camera) == ({rule} - {None})


@pytest.mark.parametrize(("fps", "rate"), [(1e-3, 1e-3), (0, None), (-1, None), (np.inf, None), (True, None), (25, 25)])
def test_frame_rates_are_above_zero(fps, rate):
    assert track_gate.frame_rate(fps) == rate


@pytest.mark.parametrize("same_joints", [True, False])
@pytest.mark.parametrize(("off_px", "is_told"), [(99.0, False), (101.0, True)])
def test_cameras_see_joints_within_a_fifth_of_the_width(off_px, is_told, same_joints):
    poses, camera = pose(1.7), np.array([2.0, 2.0, 0, 0, 0, 0, 0, 0, 0])
    projected = np.asarray(track_gate.cameras.denormalize_screen(track_gate.cameras.project(poses, camera), SIZE))
    keypoints, scores = projected + (off_px, 0), np.ones((3, 17))
    rules = broken(track_gate._note_projection, keypoints, scores, poses, camera, SIZE, same_joints)
    assert (track_gate.SEEN_SO in rules) == is_told


def test_a_track_of_one_frame_is_a_track():
    track = {"name": "one", "keypoints": np.ones((1, 17, 2)), "scores": np.ones((1, 17)), "frame_size": SIZE, "fps": 25}
    track |= {"poses_world_m": None, "poses_camera_m": pose(1.7, frames=1)}
    report = Report("tracks")
    assert track_gate.note_track_form(report, track, H36M, H36M) and report.total == 1 and not report._breaches
    for change, rule in (
        ({"keypoints": np.ones((0, 17, 2)), "scores": None}, track_gate.TRACK_FRAMES),
        ({"poses_camera_m": pose(1.7, frames=2)}, track_gate.SAME_FRAMES),
        ({"scores": np.ones((1, 16))}, sequences.ONE_SCORE),
        ({"fps": 0}, track_gate.FPS),
        ({"frame_size": (0, 5)}, sequences.FRAME_SIZE),
    ):
        report = Report("tracks")
        assert not track_gate.note_track_form(report, track | change, H36M, H36M)
        assert rule in report._breaches


@pytest.mark.parametrize(
    ("box", "is_refused"),
    [
        ((79, 10, 90, 20), False),
        ((80, 10, 90, 20), True),
        ((10, 39, 20, 50), False),
        ((10, 40, 20, 50), True),
        ((-9, 10, 1, 20), False),
        ((-9, 10, 0, 20), True),
        ((10, -9, 20, 1), False),
        ((10, -9, 20, 0), True),
        ((10, 10, 10, 20), True),
        ((10, 10, 20, 10), True),
        ((10, 10, 10.5, 10.5), False),
    ],
)
def test_boxes_show_a_part_of_a_picture_of_any_form(box, is_refused):
    for given, size in ((box, (40, 80)), (np.take(box, [1, 0, 3, 2]), (80, 40))):
        if is_refused:
            with pytest.raises(ValueError, match="A box must"):
                images.check_boxes([given], size)
        else:
            np.testing.assert_array_equal(images.check_boxes([given], size), [given])
