"""The protocol of top-down 2D pose, against figures worked out by hand."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import evaluation, metrics, skeletons
from kerapose.data import crops
from kerapose.estimators import PoseEstimator
from kerapose.evaluation import poses

LAMP = skeletons.Skeleton("lamp", ("head", "left_hand", "right_hand"), edges=((0, 1), (0, 2)), sigmas=(0.1, 0.1, 0.1))
PLACES = np.float32([[[20, 12], [12, 30], [30, 28]], [[60, 20], [52, 40], [70, 36]]])  # [N, K, 2], of lights
BOXES = np.float32([[10, 8, 34, 34], [50, 16, 74, 44]])


def lights():
    """A dark image of two people of three lights each: a red head, a green left hand and a blue right one."""
    image = np.zeros((56, 84, 3), "uint8")
    for person in PLACES.astype(int):
        for channel, (x, y) in enumerate(person):
            image[y - 1 : y + 2, x - 1 : x + 2, channel] = 255
    return image


def seeing(skeleton=LAMP, **options):
    """An estimator that finds lights where they are: its heatmaps are the colours."""
    inputs = keras.Input((64, 48, 3))
    network = keras.Model(inputs, keras.layers.AveragePooling2D(2)(inputs))
    normalization = {"mean": [0.0] * 3, "std": [1.0] * 3}
    return PoseEstimator(network, skeleton, flip_test=False, normalization=normalization, **options)


def people(truth=PLACES, visibility=None, **options):
    """The two as a data set, with another truth: [2, 3, 2]."""
    image = lights()
    visible = np.full((2, 3), 2) if visibility is None else visibility
    return crops.from_arrays([image, image], BOXES, truth, visible, LAMP, **options)


def test_the_figures_are_those_worked_out_by_hand():
    """Of five labelled joints one is 6 pixels off: more than a fifth of the box of 26 and than half of a head of 10."""
    truth = PLACES + np.float32([[[0, 0], [0, 6], [0, 0]], [[0, 0], [0, 0], [0, 0]]])
    visibility = np.array([[2, 1, 2], [2, 2, 0]])
    found = evaluation.pose_figures(seeing(), people(truth, visibility, head_sizes=[10, 10]), LAMP, batch_size=1)
    assert found["people"] == 2
    assert found["pixel_error"] == pytest.approx(6 / 5, abs=0.6)  # and half a pixel each, of heatmaps half as fine
    assert found["pck@0.2"] == found["pckh@0.5"] == pytest.approx(4 / 5)
    assert [joint["labelled"] for joint in found["joints"].values()] == [2, 2, 1]
    assert found["joints"]["left_hand"]["pck@0.2"] == pytest.approx(1 / 2)
    assert found["joints"]["head"]["pixel_error"] < 0.7
    # Similarities: 1 of the second person, and of the first the mean of 1, 1 and exp(-36 / (2 * 24 * 26 * 0.2^2)).
    similarity = (2 + np.exp(-36 / (2 * 24 * 26 * 0.04))) / 3
    assert 0.8 < similarity < 0.85
    assert found["coco"]["AR75"] == 1.0 and found["coco"]["AR"] == pytest.approx((10 + 7) / 20, abs=0.01)
    assert "mpii" not in found and "coco_detected_boxes" not in found


@pytest.mark.parametrize("sides", [(10, 30), (30, 10)])
def test_distances_go_by_the_longer_side_of_a_box_whatever_its_form(sides):
    """Of a box of 30 pixels, 5 of 6 joints are within a fifth of it, and the third just is not."""
    truth = np.full((2, 3, 2), 40.0)
    found = truth + np.float64([[[5.9, 0], [0, 5.9], [6.1, 0]], [[0, 0], [0, 0], [-5.9, 0]]])
    box = np.tile(np.float64([20, 20, 20 + sides[0], 20 + sides[1]]), (2, 1))
    people = {"found": found, "keypoints": truth, "visibility": np.array([[2, 1, 2], [2, 2, 1]]), "box": box}
    figures = poses._distances(people | {"head_size": np.array([0.0, 11.0])}, LAMP)
    assert figures["pck@0.2"] == pytest.approx(5 / 6) and figures["people"] == 2
    assert figures["pckh@0.5"] == pytest.approx(2 / 3)  # of the one whose head is known
    assert [joint["labelled"] for joint in figures["joints"].values()] == [2, 2, 2]


def test_every_option_reaches_the_steps_of_the_test(monkeypatch):
    """People at once, and what is to be told of people in boxes of a detector."""
    asked, scored, box = [], [], np.float64([[10, 20, 40, 30]])

    def found(estimator, people, skeleton, batch_size):
        asked.append((people, skeleton, batch_size))
        one = {"found": np.ones((1, 3, 2)), "found_scores": np.ones((1, 3)), "keypoints": np.ones((1, 3, 2))}
        other = {"visibility": np.ones((1, 3)), "box": box, "head_size": np.zeros(1), "image_id": np.array([7])}
        return one | other | ({"score": np.array([0.5])} if people == "detected" else {})

    truth = {"image_id": np.array([5, 7])}
    monkeypatch.setattr(poses, "found_poses", found)
    monkeypatch.setattr(crops, "trainable", lambda people, skeleton: f"trainable {people}")
    monkeypatch.setattr(crops, "annotations", lambda people, skeleton: truth)
    monkeypatch.setattr(metrics, "coco_ap", lambda *given, **options: scored.append((given, options)) or {})
    estimator = types.SimpleNamespace(skeleton=LAMP, image_size=(64, 32), box_padding=1.5)
    figures = evaluation.pose_figures(estimator, "people", LAMP, "detected", batch_size=7)
    assert asked == [("trainable people", LAMP, 7), ("detected", LAMP, 7)]
    assert figures["coco_detected_boxes"] == {"boxes": 1}
    for (known, found, sigmas), options in scored:
        assert known is truth and sigmas == LAMP.sigmas and options["nms"] == "oks"
        np.testing.assert_allclose(found["area"], 45 * 90)  # 30 x 10, grown to the form of the crop, and padded
    np.testing.assert_array_equal(scored[1][1]["image_ids"], [5, 7])
    assert scored[1][0][1]["score"][0] == scored[0][0][1]["score"][0] / 2
    evaluation.pose_figures(estimator, "people", LAMP)
    assert asked[-1][2] == 32


def test_crowds_have_no_figures_of_their_own():
    far_off = PLACES + np.float32([[[0, 0]], [[0, 20]]])
    found = evaluation.pose_figures(seeing(), people(far_off, is_crowd=[False, True], head_sizes=[10, 10]), LAMP)
    assert found["people"] == 1 and found["pixel_error"] < 0.7
    assert [joint["labelled"] for joint in found["joints"].values()] == [1, 1, 1]


def test_boxes_of_a_detector_are_tested_in_all_images():
    """One box of two is found, and a surer one where nobody is, in an image of its own."""
    nothing = np.zeros((56, 84, 3), "uint8")
    detected = crops.from_arrays(
        [lights(), nothing], BOXES, np.zeros((2, 3, 2)), np.zeros((2, 3)), LAMP, image_ids=[0, 1]
    )
    scores = np.float32([0.5, 0.9])
    detected = detected.enumerate().map(lambda i, person: person | {"score": keras.ops.take(scores, i)})
    bright = seeing()  # gives every box the same scores, since nothing is suppressed there
    found = evaluation.pose_figures(bright, people(), LAMP, detected)
    assert found["coco"]["AP"] == 1.0
    assert found["coco_detected_boxes"]["boxes"] == 2
    assert found["coco_detected_boxes"]["AR"] == pytest.approx(1 / 2)
    assert found["coco_detected_boxes"]["AP"] == pytest.approx(51 / 101)  # up to a recall of a half it is sure


def test_poses_are_as_sure_as_the_detector_of_their_boxes(monkeypatch):
    told, options = [], []
    monkeypatch.setattr(
        metrics, "coco_ap", lambda truth, found, *_, **how: options.append(how) or told.append(found["score"]) or {}
    )
    detected = people().enumerate().map(lambda i, person: person | {"score": tf.gather([0.5, 0.9], i)})
    evaluation.pose_figures(seeing(), people(), LAMP, detected)
    np.testing.assert_allclose(told[1], told[0] * [0.5, 0.9], rtol=1e-6)
    assert [how["nms"] for how in options] == ["oks", "oks"]  # doubles are as bad there as here


def test_doubles_are_looked_for_by_the_area_of_the_crop(monkeypatch):
    told = []
    monkeypatch.setattr(metrics, "coco_ap", lambda truth, found, *args, **options: told.append(found["area"]) or {})
    for box_padding in (1.0, 2.0):
        evaluation.pose_figures(seeing(box_padding=box_padding), people(), LAMP)
    height = 24 * 64 / 48  # that goes with the width of both boxes
    np.testing.assert_allclose(told, [[24 * height] * 2, [4 * 24 * height] * 2])


def test_what_is_not_labelled_or_has_no_sigmas_has_no_figure(caplog):
    bare = dataclasses.replace(LAMP, sigmas=None)
    visibility = np.array([[2, 2, 0], [2, 2, 0]])
    data = people(visibility=visibility)
    found = evaluation.pose_figures(seeing(bare), data, bare)
    assert found["joints"]["right_hand"] == {"labelled": 0, "pixel_error": None, "pck@0.2": None}
    assert not {"coco", "pckh@0.5"} & set(found)
    assert "AP is left out: the skeleton lamp has no sigmas" in caplog.text
    with pytest.raises(ValueError, match="sigmas must be one positive number per keypoint"):
        evaluation.pose_figures(seeing(bare), data, bare, detected=data)


def test_mpii_has_a_figure_of_its_own():
    mpii = skeletons.MPII
    inputs = keras.Input((64, 48, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(16, 4, 4, kernel_initializer="zeros")(inputs))
    points = np.random.default_rng(0).uniform(12, 40, (1, 16, 2))
    data = crops.from_arrays([lights()], BOXES[:1], points, np.full((1, 16), 2), mpii, head_sizes=[5.0])
    found = evaluation.pose_figures(PoseEstimator(network, mpii), data, mpii)
    assert set(found["mpii"]) == set(metrics.pckh(points, points, np.ones((1, 16)), [5.0]))


def test_everybody_is_found_as_the_estimator_was_trained(monkeypatch):
    """Whatever it was trained with, and whoever makes up the last batch; crowds too."""
    asked = []
    cut = crops.evaluation
    monkeypatch.setattr(crops, "evaluation", lambda *args, **options: asked.append(options) or cut(*args, **options))
    for codec, padding in (("gaussian", 1.25), ("udp", 1.5)):
        estimator = seeing(codec=codec, box_padding=padding)
        data = people(is_crowd=[False, True])
        found = evaluation.found_poses(estimator, data, LAMP, batch_size=1)
        np.testing.assert_allclose(found["found"], PLACES, atol=0.7)
        assert found["found_scores"].shape == (2, 3) and found["is_crowd"].tolist() == [False, True]
        expected = {"image_size": (64, 48), "udp": codec == "udp", "box_padding": padding}
        assert asked.pop() == expected | {"normalization": {"mean": [0.0] * 3, "std": [1.0] * 3}}


def test_other_keypoints_are_refused():
    data = crops.from_arrays([lights()], BOXES[:1], np.ones((1, 17, 2)), np.full((1, 17), 2), skeletons.COCO)
    with pytest.raises(ValueError, match="tested on the keypoints that it finds, got one of lamp for people of coco"):
        evaluation.pose_figures(seeing(), data, skeletons.COCO)


@pytest.mark.parametrize("skeleton", [skeletons.H36M, skeletons.Skeleton("mouse", ("snout", "tail"), ())])
def test_a_set_without_sigmas_is_told(skeleton, caplog):
    assert evaluation.can_measure_ap(skeletons.COCO) and not caplog.records
    assert not evaluation.can_measure_ap(skeleton)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"AP is left out: the skeleton {skeleton.name} has no sigmas, and")
    assert "--sigmas of datasets/build.py" in record.getMessage()
