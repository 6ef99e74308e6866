"""Boxes that a detector found: read from a file, and as the people of a data set."""

import importlib
import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import coco, crops, detections, gate
from kerapose.data.detections import read_boxes
from kerapose.skeletons import Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders
image_records = importlib.import_module("image_records")

BIRD = Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))
SIZES = dict.fromkeys(range(4), (90, 120))
CORNERS = np.float32([[60, 30, 110, 80], [70, 40, 115, 85]])


def results(**changes):
    return [
        {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.4} | changes,
        {"image_id": 7, "category_id": 1, "bbox": [1.5, 2.5, 10, 10], "score": 0.9},
        {"image_id": 7, "category_id": 3, "bbox": [5, 5, 5, 5], "score": 1.0},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.1},
    ]


def written(folder, content):
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def test_boxes_are_read_by_image_the_surest_first(tmp_path):
    path = written(tmp_path, results())
    read = read_boxes(path)
    assert list(read) == [7, 9]
    np.testing.assert_array_equal(read[7][0], [[1.5, 2.5, 11.5, 12.5], [10, 20, 40, 60]])
    np.testing.assert_allclose(read[7][1], [0.9, 0.4])
    assert read[7][0].dtype == read[7][1].dtype == np.float32
    assert list(read_boxes(path, min_score=0.2)) == [7]
    np.testing.assert_allclose(read_boxes(path, min_score=0.4)[7][1], [0.9, 0.4])  # the lowest that is read
    assert read_boxes(path, max_boxes=1)[7][0].shape == (1, 4)
    np.testing.assert_array_equal(read_boxes(path, category_id=3)[7][0], [[5, 5, 10, 10]])


def test_boxes_of_a_real_detector(shared_data):
    read = read_boxes(shared_data("coco_mini") / "person_detections_mini.json", min_score=0.5)
    boxes, scores = read[785]
    np.testing.assert_allclose(boxes[0], [277.118, 45.700, 502.210, 379.260], atol=1e-3)
    assert all((score[:-1] >= score[1:]).all() and score.min() >= 0.5 for _, score in read.values())
    assert len(scores) == len(boxes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, "must be a JSON list of detections, .*; give a detector's results in COCO's form"),
        ([{"image_id": 7, "bbox": [1, 2, 3, 4]}], "must be a JSON list of detections"),
        (
            results(bbox=[1, 2, 0, 4]),
            "both sizes above 0, got .1.0, 2.0, 0.0, 4.0. for image 7 in .*; drop it",
        ),
        (results(bbox=[1, 2, 3]), r"must have a bbox of 4 numbers, .* got \[1, 2, 3\] in 1 of 4"),
        (results(bbox=[1, 2, float("nan"), 4]), "must be x, y, width, height"),
        (results(bbox=[9, 8, -2, 4]), "must be x, y, width, height with both sizes above 0"),
        (results(bbox=None), "a bbox of 4 numbers, x, y, width, height, got None in 1 of 4"),
        (results(score="high"), "a number as score, got 'high' in 1 of 4"),
        (results(image_id="street"), "an image_id, a whole number, got 'street' in 1 of 4"),
        ([{"image_id": 7, "bbox": [0.1, 0.2, 0.3, 0.6], "score": 1}] * 2, "Boxes are in pixels, got 2 of 2 boxes"),
    ],
)
def test_a_bad_file_of_boxes_gets_one_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_boxes(written(tmp_path, content))


def test_boxes_of_other_categories_are_counted(tmp_path, monkeypatch):
    said = []
    for level in ("info", "warning"):
        monkeypatch.setattr(
            coco.logging, level, lambda message, *values, level=level: said.append((level, message % values))
        )
    found = [{"image_id": 7, "bbox": [1, 2, 30, 40], "score": 0.5, "category_id": kind} for kind in (0, 0, 2)]
    path = written(tmp_path, found)
    assert read_boxes(path) == {}
    assert len(said) == 1 and said[0][0] == "warning"
    assert "3 of 3 boxes are left out, whose category_id is not 1 but 0, 2" in said[0][1]
    assert len(read_boxes(path, category_id=0)[7][0]) == 2
    assert said[1][0] == "info" and "1 of 3 boxes are left out" in said[1][1]


def test_huge_ids_of_images_are_refused(tmp_path):
    found = [{"image_id": 2**70, "bbox": [1, 2, 30, 40], "score": 0.5}]
    with pytest.raises(ValueError, match="boxes.json: detections must have an image_id, a whole number, got 118"):
        read_boxes(written(tmp_path, found))


@pytest.mark.parametrize("scores", [[90.0, 80.0], [0.5, np.nan], [-0.1, 0.4], [1.0, 1.2]])
def test_scores_are_zero_to_one(tmp_path, scores):
    remedy = "divide percentages by 100" if max(scores) > 1 else "leave the box out, or give its score"
    found = [{"image_id": 7, "bbox": [1, 2, 30, 40], "score": score} for score in scores]
    with pytest.raises(gate.BadDataError, match=f"boxes.json: scores must be 0 to 1, got .* for box [01]; {remedy}"):
        read_boxes(written(tmp_path, found))


def test_other_units_are_refused():
    as_read = np.concatenate([CORNERS[:, :2], CORNERS[:, :2] + CORNERS[:, 2:]], axis=1)  # x + width, y + height
    with pytest.raises(ValueError, match="found.json: A bbox of COCO is x, y, width, height, got 8 of 8 boxes"):
        detections.check_units("found.json", {i: (as_read, np.ones(2)) for i in range(4)}, SIZES)
    with pytest.raises(ValueError, match="found.json: Boxes are in pixels, got 8 of 8 boxes"):
        detections.check_units("found.json", {i: (CORNERS / 120, np.ones(2)) for i in range(4)}, SIZES)
    detections.check_units("found.json", {i: (CORNERS, np.ones(2)) for i in range(4)}, SIZES)


# ---------------------------------------- the people of a data set
class Birds(tfds.core.GeneratorBasedBuilder):
    """Three images of 90 x 120 without anybody."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = "."

    def _info(self):
        metadata = tfds.core.MetadataDict({"skeleton": BIRD.to_dict()})
        return tfds.core.DatasetInfo(builder=self, features=image_records.features(BIRD), metadata=metadata)

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        for number in range(3):
            image = np.full((90, 120, 3), 50 * number, "uint8")
            yield number, {"image": image, "image_id": number, "name": f"{number}.png", "people": []}


@pytest.fixture(scope="module")
def birds_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds")
    Birds(data_dir=str(folder)).download_and_prepare()
    return str(folder)


def box(image_id, left, score):
    return {"image_id": image_id, "bbox": [left, 20, 30, 40], "score": score}


def test_boxes_become_people_of_the_images(birds_dir, tmp_path, caplog):
    path = written(tmp_path, [box(2, 10, 0.5), box(0, 20, 0.25), box(2, 30, 0.75), box(9, 40, 1.0), box(1, 50, 1.0)])
    people, skeleton = detections.from_tfds(path, "birds", "test", birds_dir, skip=["1.png"])
    assert skeleton == BIRD and "has boxes in 2 images that are not tested" in caplog.text
    known = crops.annotations(people, skeleton)
    boxes = list(zip(*(known[key].tolist() for key in ("image_id", "name", "score", "box")), strict=True))
    sure, unsure = (2, "2.png", 0.75, [30, 20, 60, 60]), (2, "2.png", 0.5, [10, 20, 40, 60])
    assert sorted(boxes) == sorted([(0, "0.png", 0.25, [20, 20, 50, 60]), sure, unsure])
    assert boxes.index(sure) + 1 == boxes.index(unsure)
    assert not known["visibility"].any()
    (batch,) = crops.evaluation(people, skeleton, normalization={"mean": [0.0] * 3, "std": [1.0] * 3})
    brightest = tf.reduce_max(batch["crop"], axis=(1, 2, 3)).numpy()
    np.testing.assert_allclose(brightest, 50 * known["image_id"] / 255, atol=1e-3)  # each is cut from its image


def test_boxes_of_another_split_or_other_units_are_refused(birds_dir, tmp_path):
    with pytest.raises(ValueError, match="in images of the split test, got none in .*boxes.json; give the detector's"):
        detections.from_tfds(written(tmp_path, [box(7, 10, 0.5)]), "birds", "test", birds_dir)
    corners = [{"image_id": i, "bbox": CORNERS[0].tolist(), "score": 0.5} for i in range(3)]
    with pytest.raises(gate.BadDataError, match="A bbox of COCO is x, y, width, height, got 3 of 3 boxes"):
        detections.from_tfds(written(tmp_path, corners), "birds", "test", birds_dir)
