"""`training.PoseConv3D` of 3D skeletons: learns clips from random views; views where there are none."""

import keras
import numpy as np
import pytest

from kerapose import evaluation, predictors, skeletons
from kerapose.data import clips
from kerapose.training import PoseConv3D

POSTURES = ("stand", "raise_left", "raise_right")  # the last two are each other's mirror image
OPTIONS = {
    "dataset": "pyskl_clips/depth",
    "skeleton": "kinect_v1",
    "validation_split": "",
    "test_split": "val",
    "num_frames": 4,
    "size": 24,
    "base_filters": 4,
    "batch_size": 4,
    "epochs": 6,
    "dropout": 0.1,
    "num_clips": 1,
}
VIEWS = {"turn_degrees": 50.0, "view_heights_m": [-0.3, 0.6], "view_distances_m": [2.0, 4.0]}
HEIGHTS = {"head": 0.7, "thorax": 0.4, "spine": 0.2, "hip": 0.0, "shoulder": 0.4, "elbow": 0.1, "wrist": -0.1}
HEIGHTS |= {"hand": -0.2, "knee": -0.5, "ankle": -0.9, "foot": -0.95}
ASIDE = {"shoulder": 0.2, "elbow": 0.25, "wrist": 0.3, "hand": 0.3, "hip": 0.1, "knee": 0.1, "ankle": 0.1, "foot": 0.1}
RAISED = {"elbow": (0.35, 0.7), "wrist": (0.4, 1.0), "hand": (0.4, 1.1)}  # aside, up


def posture(label, seed, frames=12):
    """A swaying person in one of three postures before a Kinect: [1, T, 20, 3], x to its left, y up, z away."""
    random = np.random.default_rng(seed)
    body = []
    for name in skeletons.KINECT_V1.keypoints:
        side, _, part = name.rpartition("_")
        aside, up = ASIDE.get(part, 0), HEIGHTS[part]
        if POSTURES[label] == f"raise_{side}" and part in RAISED:
            aside, up = RAISED[part]
        body.append(({"left": -aside, "right": aside}.get(side, 0), up, -0.12 if part == "foot" else 0))
    sway = 0.05 * np.sin(np.linspace(0, 6, frames) + random.uniform(0, 6))[:, None, None] * (1, 0, 0.5)
    body = np.array(body) * random.uniform(0.85, 1.1) + sway + (random.uniform(-0.5, 0.5), 0, 2.8)
    return (body + random.normal(0, 0.01, body.shape))[None].astype("float32")


@pytest.fixture(scope="module")
def data_dir(prepare_clips):
    """A TFDS folder in which pyskl_clips/depth holds 60 training and 6 other clips of 3D skeletons."""
    annotations, split = [], {"train": [], "val": []}
    for i in range(66):
        name, keypoints = f"clip{i}", posture(i % 3, seed=i)
        annotations.append({"frame_dir": name, "label": i % 3, "total_frames": 12, "keypoint": keypoints})
        split["train" if i < 60 else "val"].append(name)
    return prepare_clips("pyskl_clips/depth", split, annotations, POSTURES, "kinect_v1")


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, computing_repeatably):
    workdir = tmp_path_factory.mktemp("runs") / "views"
    PoseConv3D(workdir, data_dir=data_dir, test_azimuths=[-40, 40], **VIEWS, **OPTIONS).run()
    return workdir


def test_learns_from_anywhere_what_can_be_learnt(finished, data_dir, metrics_of):
    assert metrics_of(finished)["joint"]["top1"] == metrics_of(finished)["joint_one_clip"]["top1"] == 1.0
    recognizer = keras.models.load_model(finished / "model.keras")
    dataset, _ = clips.from_tfds("pyskl_clips/depth", "val", data_dir)
    labels, mean = evaluation.action_probabilities(recognizer, dataset, (-40, 40))
    each = [
        evaluation.action_probabilities(recognizer, clips.seen_from(dataset, azimuth)) for azimuth in (-40, 40)
    ]  # as keypoints
    np.testing.assert_array_equal(labels, each[0][0])
    np.testing.assert_allclose(mean, (each[0][1] + each[1][1]) / 2, atol=1e-6)
    assert np.abs(each[0][1] - each[1][1]).max() > 1e-4
    with pytest.raises(ValueError, match="azimuths_degrees must be at least one angle, got none"):
        evaluation.action_probabilities(recognizer, dataset, ())
    with pytest.raises(ValueError, match=r"those of 3D skeletons, got \[45.0\] for keypoints; leave them out"):
        evaluation.action_probabilities(recognizer, clips.seen_from(dataset), (45,))


def test_what_was_trained_recognizes_keypoints(finished, data_dir):
    recognize = predictors.load(finished / "model.keras")
    dataset, info = clips.from_tfds("pyskl_clips/depth", "val", data_dir)
    for element in clips.seen_from(dataset).as_numpy_iterator():
        (best,) = recognize(element["keypoints"], element["scores"], frame_size=element["frame_size"], top=1)
        assert best.name == info.features["label"].names[element["label"]]
    assert recognize.estimator.skeleton == skeletons.KINECT_V1


def test_views_are_those_of_3d_skeletons(data_dir, tmp_path, computing_as_tests_do, monkeypatch):
    monkeypatch.setattr(clips, "holds_poses", lambda dataset: False)
    match = r"turn_degrees is of 3D skeletons, got 60.0 and the keypoints of pyskl_clips/depth; leave it out"
    with pytest.raises(ValueError, match=match):
        PoseConv3D(tmp_path / "run", data_dir=data_dir, turn_degrees=60.0, **OPTIONS)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"heights_m must be two numbers, the lesser first, got \[1.0\]"):
        PoseConv3D(tmp_path / "run", data_dir=data_dir, view_heights_m=[1.0], **OPTIONS)
    with pytest.raises(ValueError, match="p_interval must be at most 1.0, got 2.0"):
        PoseConv3D(tmp_path / "run", data_dir=data_dir, p_interval=[0.5, 2.0], **OPTIONS)
