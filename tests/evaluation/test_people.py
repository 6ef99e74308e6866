"""The protocol of bottom-up 2D pose, against figures worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose import evaluation, metrics, skeletons
from kerapose.data import people

IDS = (7, 5, 9)  # of images


class Finder:
    """In place of an estimator: two people in each image, of whom one has no neck and no left wrist."""

    skeleton = skeletons.OPENPOSE

    def __init__(self, overflow=False):
        self.keypoints = np.zeros((3, 18, 2), "float32")
        self.keypoints[:2] = np.random.default_rng(0).uniform(0, 90, (2, 18, 2))
        self.scores = np.zeros((3, 18), "float32")
        self.scores[:2] = 0.5
        self.missing = [skeletons.OPENPOSE.index(name) for name in ("neck", "left_wrist")]
        self.scores[1, self.missing] = 0
        self.keypoints[1, self.missing] = 0
        self.overflow = overflow

    def __call__(self, image):
        height = tf.shape(image)[0]
        return {
            "keypoints": tf.constant(self.keypoints) + tf.cast(height, tf.float32),
            "scores": tf.constant(self.scores),
            "person_scores": tf.constant([30.0, 20.0, 0.0]),
            "num_keypoints": tf.constant([18, 16, 0]),
            "count": tf.constant(2) * tf.cast(height < 50, tf.int32),  # nobody in a higher one
            "num_found": tf.constant(2),
            "overflow": tf.logical_and(self.overflow, height < 50),
        }

    def in_coco(self, height):
        """The two people of an image: [2, 17, 2], in COCO's keypoints."""
        places = [skeletons.OPENPOSE.index(name) for name in skeletons.COCO.keypoints]
        return self.keypoints[:2, places] + height


def images(*owners):
    """Images of the heights 40, 50 and 30, whose people are given: a list of [M, 17, 2] each."""
    pixels = [np.zeros((height, 60, 3), "uint8") for height in (40, 50, 30)]
    known = []
    for points in owners:
        points = np.asarray(points, "float32").reshape(-1, 17, 2)
        boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=-1) if len(points) else []
        known.append({"keypoints": points, "box": boxes})
    return people.from_arrays(pixels, known, skeletons.COCO, image_ids=IDS)


def test_people_are_found_in_every_image_and_given_as_the_data_set_has_them():
    finder = Finder(overflow=True)
    nobody = images([], [], [])
    found, cut_short = evaluation.found_people(finder, nobody, skeletons.COCO)
    assert cut_short == 2
    np.testing.assert_array_equal(found["image_id"], [7, 7, 9, 9])
    np.testing.assert_allclose(found["score"], [30 * 17, 20 * 15] * 2)  # as published: once less than its keypoints
    expected = finder.in_coco(40)
    expected[1, skeletons.COCO.index("left_wrist")] = 0
    np.testing.assert_allclose(found["keypoints"][:2], expected)
    empty, _ = evaluation.found_people(finder, nobody.take(2).skip(1), skeletons.COCO)
    assert empty["keypoints"].shape == (0, 17, 2) and empty["score"].shape == empty["image_id"].shape == (0,)


def test_the_figures_are_those_worked_out_by_hand():
    """Three people are known: one is found to the pixel, one nowhere, and one in an image where nobody is found."""
    finder = Finder()
    data = images(finder.in_coco(40)[:1], finder.in_coco(50)[:1], [])
    found = evaluation.people_figures(finder, data, skeletons.COCO)
    assert (found["images"], found["people"], found["people_found"], found["images_beyond_bounds"]) == (3, 2, 4, 0)
    assert found["coco"]["AR"] == pytest.approx(1 / 2)
    assert found["coco"]["AP"] == pytest.approx(51 / 101)  # up to a recall of a half it is right


def test_ap_is_of_all_images_and_by_the_sigmas_of_the_set(monkeypatch):
    """Those without anybody are known by their numbers alone."""
    asked = []
    monkeypatch.setattr(metrics, "coco_ap", lambda *given, **options: asked.append((given, options)) or {"AP": 1.0})
    figures = evaluation.people_figures(Finder(overflow=True), images([], [], []), skeletons.COCO)
    (((truth, found, sigmas), options),) = asked
    assert sigmas == skeletons.COCO.sigmas and sorted(options.pop("image_ids")) == sorted(IDS) and not options
    assert len(truth["image_id"]) == 0 and found["image_id"].tolist() == [7, 7, 9, 9]
    assert figures == {"images": 3, "people": 0, "people_found": 4, "images_beyond_bounds": 2, "coco": {"AP": 1.0}}


def test_crowds_and_people_without_keypoints_are_not_counted(caplog):
    bare = skeletons.Skeleton("bare", skeletons.COCO.keypoints, skeletons.COCO.edges)
    data = images(np.zeros((2, 17, 2)) + 9, np.zeros((2, 17, 2)), [])
    data = data.map(lambda image: image | {"is_crowd": tf.range(tf.shape(image["is_crowd"])[0]) == 0})
    found = evaluation.people_figures(Finder(), data, bare)
    assert found["people"] == 1 and "coco" not in found
    assert "AP is left out: the skeleton bare has no sigmas" in caplog.text
