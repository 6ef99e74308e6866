"""Clips and tracks of what was found in videos, out of the JSON files of it."""

import json
import logging

import numpy as np
import pytest

from kerapose.data import clips, predictions, slots, tracks
from kerapose.data.predictions import Moment, Predictions
from kerapose.skeletons import COCO, H36M


def found_in(path, starts=(40, 120), num_frames=12, gone=(), fps=25.0, skeleton=COCO):
    """Writes and gives `Predictions` of people who walk from places x on; the first is gone in some frames."""
    random = np.random.default_rng(0)
    body = random.uniform(0, 60, (skeleton.num_keypoints, 2)) + (0, 100)
    moments = []
    for t in range(num_frames):
        ids = np.array([i for i in range(len(starts)) if i or t not in gone], int)
        keypoints = np.array([body + (starts[i] + 3 * t, 0) for i in ids]).reshape(-1, skeleton.num_keypoints, 2)
        scores = np.full(keypoints.shape[:2], 0.75)
        scores[:, 2] = 0.25
        boxes = np.zeros((len(ids), 4))
        moments.append(Moment(t, ids, scores.mean(axis=1), boxes, keypoints, scores, time_s=t / 25))
    found = Predictions(str(path), skeleton, fps, (240, 320), moments)
    path.write_text(json.dumps(found.to_json()))
    return predictions.read(path)


def test_clips_are_the_slots_of_the_files(tmp_path, caplog):
    paths = [tmp_path / "a.json", tmp_path / "b b.json"]
    found = [found_in(paths[0], (40, 120, 200)), found_in(paths[1], (40,), 7, gone=(2, 3))]
    with caplog.at_level(logging.INFO, "absl"):
        dataset = clips.from_predictions(paths, [3, 1], COCO, num_classes=4)
    assert "In 1 of 2 clips there are more people than max_people, 2." in caplog.text
    elements = list(dataset.as_numpy_iterator())
    assert [element["keypoints"].shape for element in elements] == [(2, 12, 17, 2), (1, 7, 17, 2)]
    for element, one, path, label in zip(elements, found, paths, (3, 1), strict=True):
        filled = slots.fill(one)
        np.testing.assert_array_equal(element["keypoints"], filled.keypoints)
        np.testing.assert_array_equal(element["scores"], filled.scores)
        assert element["frame_size"].tolist() == [240, 320] and element["name"].decode() == str(path)
        assert element["label"] == label
    assert not elements[1]["scores"][0, 2:4].any()
    assert clips.check(dataset, COCO, 4) == 2


def test_a_clip_in_which_nobody_was_found_is_kept(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "empty.json"]
    found_in(paths[0]), found_in(paths[1], starts=())
    dataset = clips.from_predictions(paths, [0, 1], COCO)
    shapes = [element["keypoints"].shape for element in dataset.as_numpy_iterator()]
    assert shapes == [(2, 12, 17, 2), (1, 12, 17, 2)]
    assert clips.check(dataset, COCO, 2) == 2 and int(clips.trainable(dataset).cardinality()) == 1


def test_what_counts_as_found_is_what_did_where_it_was_found(tmp_path):
    path = tmp_path / "a.json"
    found = found_in(path)
    path.write_text(json.dumps(found.to_json() | {"min_score": 0.5}))
    assert predictions.read(path).min_score == 0.5
    (element,) = clips.from_predictions([path], [0], COCO).as_numpy_iterator()
    assert not element["scores"][:, :, 2].any() and element["scores"][:, :, 3].all()
    assert not tracks.from_predictions([path]).scores[:, 2].any()
    (element,) = clips.from_predictions([path], [0], COCO, min_score=0.0).as_numpy_iterator()
    assert element["scores"].all()


def test_clips_of_another_skeleton_are_refused(tmp_path):
    found_in(tmp_path / "a.json")
    with pytest.raises(ValueError, match="must be those of h36m, got coco in .*a.json"):
        clips.from_predictions([tmp_path / "a.json"], [0], H36M)
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ValueError, match="must be what kerapose predict writes"):
        clips.from_predictions([tmp_path / "b.json"], [0], COCO)


def test_tracks_are_the_identities_of_the_files(tmp_path, caplog):
    path = tmp_path / "a.json"
    found_in(path, gone=(0, 5, 11))
    found_in(tmp_path / "b.json", (40,), 1)
    with caplog.at_level(logging.INFO, "absl"):
        made = tracks.from_predictions([path, tmp_path / "b.json"])
    assert "1 people are left out who are seen in less than 2 frames." in caplog.text
    assert made.names == [f"{path}/0", f"{path}/1"] and made.lengths.tolist() == [10, 12]
    assert made.poses_camera_m is None and made.fps.tolist() == [25, 25] and made.skeleton == COCO
    assert not made.scores[4].any() and (made.scores[5] > 0).all()
    between = (made.keypoints_screen[3] + made.keypoints_screen[5]) / 2  # filled in by a straight line
    np.testing.assert_allclose(made.keypoints_screen[4], between, atol=1e-6)
    np.testing.assert_allclose(made.keypoints_screen[1] - made.keypoints_screen[0], [[3 / 160, 0]] * 17, atol=1e-4)
    assert not tracks.from_predictions([path], min_score=0.5).scores[:, 2].any()


def test_tracks_that_are_refused(tmp_path):
    found_in(tmp_path / "a.json", (40,), 3)
    found_in(tmp_path / "image.json", (40,), 1, fps=None)
    found_in(tmp_path / "other.json", skeleton=H36M)
    with pytest.raises(ValueError, match="got an image in .*image.json"):
        tracks.from_predictions([tmp_path / "image.json"])
    with pytest.raises(ValueError, match="one keypoint set, coco; got keypoints of h36m in .*other.json"):
        tracks.from_predictions([tmp_path / "a.json", tmp_path / "other.json"])
    with pytest.raises(ValueError, match="got nobody seen in 9 frames"):
        tracks.from_predictions([tmp_path / "a.json"], min_frames=9)
