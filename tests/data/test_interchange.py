"""People in the forms of other programs, there and back."""

import json
import sys
import types

import numpy as np
import pytest

from kerapose import tracking
from kerapose.data import gate, interchange
from kerapose.data.predictions import Moment, Predictions
from kerapose.skeletons import BLAZEPOSE, BODY_25, COCO, H36M, JHMDB, OPENPOSE, convert

SIZE = (240, 320)


def found_people(skeleton, counts=(2, 0, 1), seed=0):
    random, moments = np.random.default_rng(seed), []
    for number, count in enumerate(counts):
        keypoints = random.uniform(5, 200, (count, skeleton.num_keypoints, 2)).round(2)
        scores = random.uniform(0.1, 1, keypoints.shape[:2]).round(3)
        keypoints[:, 3], scores[:, 3] = 0, 0
        boxes = np.zeros((count, 4))
        moments.append(Moment(number, np.arange(count) + 5, scores.mean(axis=1), boxes, keypoints, scores))
    return Predictions("walk.mp4", skeleton, 25.0, SIZE, moments)


@pytest.mark.parametrize("skeleton", [BODY_25, OPENPOSE], ids=lambda skeleton: skeleton.name)
def test_openpose_there_and_back(tmp_path, skeleton):
    found = found_people(skeleton)
    paths = interchange.write_openpose(found, tmp_path / "out", "wal k_1")
    assert [path.name for path in paths] == [f"wal k_1_{number:012d}_keypoints.json" for number in range(3)]
    person = json.loads(paths[2].read_text())["people"][0]
    assert person["person_id"] == [5] and person["face_keypoints_2d"] == []
    assert len(person["pose_keypoints_2d"]) == 3 * skeleton.num_keypoints
    back = interchange.read_openpose(tmp_path / "out", SIZE, fps=25.0)
    assert back.skeleton is skeleton and back.frame_size == SIZE and back.num_frames == 3
    for moment, expected in zip(back.moments, found.moments, strict=True):
        np.testing.assert_allclose(moment.keypoints, expected.keypoints, atol=1e-9)
        np.testing.assert_allclose(moment.keypoint_scores, expected.keypoint_scores, atol=1e-9)
    places = found.moments[2].keypoints[0][found.moments[2].keypoint_scores[0] > 0]
    np.testing.assert_allclose(back.moments[2].boxes[0], [*places.min(axis=0), *places.max(axis=0)])
    assert [moment.time_s for moment in back.moments] == [0, 0.04, 0.08]
    assert [moment.ids.tolist() for moment in back.moments] == [[0, 1], [], [2]]  # nobody knows who is who


def test_other_keypoints_become_openposes(tmp_path):
    found = found_people(COCO)
    interchange.write_openpose(found, tmp_path, "a")
    back = interchange.read_openpose(tmp_path, SIZE)
    expected, scores = convert(found.moments[0].keypoints, found.moments[0].keypoint_scores, COCO, OPENPOSE)
    np.testing.assert_allclose(back.moments[0].keypoints, expected, atol=1e-3)
    np.testing.assert_allclose(back.moments[0].keypoint_scores, scores, atol=1e-3)
    with pytest.raises(ValueError, match="those of jhmdb, right_eye, left_eye, right_ear, left_ear do not"):
        interchange.write_openpose(found_people(JHMDB), tmp_path, "a")
    assert H36M.name  # a set without eyes is refused as well
    with pytest.raises(ValueError, match="those of h36m"):
        interchange.write_openpose(found_people(H36M), tmp_path, "a")


def test_frames_without_a_file_are_lost_and_old_names_known(tmp_path):
    person = {"pose_keypoints": [10.0, 20.0, 0.5] * 18}
    for number in (2, 4):
        (tmp_path / f"v_{number:012d}_keypoints.json").write_text(json.dumps({"version": 0.1, "people": [person]}))
    found = interchange.read_openpose(tmp_path, SIZE)
    assert [len(moment.ids) for moment in found.moments] == [0, 0, 1, 0, 1]
    assert [moment.is_lost for moment in found.moments] == [True, True, False, True, False]
    assert found.moments[4].time_s is None


def test_a_tracker_says_who_is_who(tmp_path):
    found = found_people(BODY_25, (2,))
    found.moments.extend([found.moments[0]] * 3)
    interchange.write_openpose(found, tmp_path, "a")
    back = interchange.read_openpose(tmp_path, SIZE, fps=25.0)
    track = tracking.Tracker(back.skeleton, back.fps)
    for moment in back.moments:
        moment.ids, moment.keypoints = track(moment.keypoints, moment.keypoint_scores, moment.scores)
    assert [person.is_seen.sum() for person in back.people] == [4, 4]


@pytest.mark.parametrize(
    ("people", "match"),
    [
        ([{"pose_keypoints_2d": [1.0, 2.0, 0.5] * 20}], "have 25 or 18 keypoints, all as many, got 20"),
        ([{"pose_keypoints_2d": [1.0, 2.0] * 25}], "x, y and score each, got something else"),
        ([{"pose": []}], "must have people with pose_keypoints_2d"),
        ({"a": 1}, "must have people with pose_keypoints_2d"),
    ],
)
def test_files_that_are_not_openposes(tmp_path, people, match):
    (tmp_path / "v_000000000000_keypoints.json").write_text(json.dumps({"people": people}))
    with pytest.raises(ValueError, match=match):
        interchange.read_openpose(tmp_path, SIZE)


def test_folders_that_are_not_openposes(tmp_path):
    with pytest.raises(FileNotFoundError, match="got none in .*; give the folder of --write_json"):
        interchange.read_openpose(tmp_path, SIZE)
    for name in ("a", "b"):
        interchange.write_openpose(found_people(OPENPOSE), tmp_path, name)
    with pytest.raises(ValueError, match="files of one video, got a, b in"):
        interchange.read_openpose(tmp_path, SIZE)
    with pytest.raises(FileNotFoundError, match="c_000000000000_keypoints.json and so on, got those of a, b"):
        interchange.read_openpose(tmp_path, SIZE, name="c")
    assert interchange.read_openpose(tmp_path, SIZE, name="b").num_frames == 3
    with pytest.raises(ValueError, match=r"frame_size must be \(height, width\) in pixels, got 5"):
        interchange.read_openpose(tmp_path, 5, name="b")
    found = found_people(OPENPOSE)
    for moment in found.moments:
        moment.keypoints /= 320
    interchange.write_openpose(found, tmp_path / "c", "a")
    with pytest.raises(gate.BadDataError, match="in pixels, .*--keypoint_scale says the unit"):
        interchange.read_openpose(tmp_path / "c", SIZE)


# ---------------------------------------- MediaPipe
def landmark(x, y, visibility):
    return types.SimpleNamespace(x=x, y=y, z=0.1, visibility=visibility)


def test_mediapipe_of_either_api():
    random = np.random.default_rng(0)
    people = [[landmark(*random.uniform(0, 1, 3)) for _ in range(33)] for _ in range(2)]
    tasks = types.SimpleNamespace(pose_landmarks=people)
    solutions = types.SimpleNamespace(pose_landmarks=types.SimpleNamespace(landmark=people[0]))
    nobody = types.SimpleNamespace(pose_landmarks=None), types.SimpleNamespace(pose_landmarks=[])
    found = interchange.from_mediapipe([tasks, solutions, *nobody], SIZE, fps=10)
    assert found.skeleton is BLAZEPOSE and [len(moment.ids) for moment in found.moments] == [2, 1, 0, 0]
    nose = found.moments[0].keypoints[1, 0]
    np.testing.assert_allclose(nose, [people[1][0].x * 320, people[1][0].y * 240])
    assert found.moments[1].keypoint_scores[0, 7] == people[0][7].visibility
    people[0][5].visibility = None
    assert interchange.from_mediapipe([tasks], SIZE).moments[0].keypoint_scores[0, 5] == 1
    assert BLAZEPOSE.keypoints[15:17] == ("left_wrist", "right_wrist") and BLAZEPOSE.index("right_foot_index") == 32
    with pytest.raises(ValueError, match="have 33 landmarks, got 21 in frame 0"):
        interchange.from_mediapipe([types.SimpleNamespace(pose_landmarks=[people[0][:21]])], SIZE)


# ---------------------------------------- supervision
def test_supervision_draws_our_people():
    supervision = pytest.importorskip("supervision")
    found = found_people(COCO)
    points = interchange.to_supervision(found.moments[0], COCO)
    np.testing.assert_allclose(points.xy, found.moments[0].keypoints, rtol=1e-6)
    np.testing.assert_allclose(points.keypoint_confidence, found.moments[0].keypoint_scores, rtol=1e-6)
    assert points.data["tracker_id"].tolist() == [5, 6] and len(points) == 2
    edges = [(start + 1, end + 1) for start, end in COCO.edges]
    drawn = supervision.EdgeAnnotator(edges=edges).annotate(np.zeros((*SIZE, 3), "uint8"), points)
    assert drawn.any()
    assert len(interchange.to_supervision(found.moments[1], COCO)) == 0


def test_supervision_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        interchange.to_supervision(found_people(COCO).moments[0], COCO)
