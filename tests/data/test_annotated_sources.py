"""Sources of annotated images: their options arrive, and bounds and sizes are what they are said to be."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerapose.data import annotated, coco, crops, detections, people
from kerapose.data.people import samples
from kerapose.skeletons import Skeleton

BIRD = Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))


class ToldError(Exception):
    """Raised in place of reading, with what was to be read."""


def telling(*given, **options):
    raise ToldError(given, options)


def told_by(function, *given, **options):
    with pytest.raises(ToldError) as told:
        function(*given, **options)
    assert not told.value.args[1]
    return told.value.args[0]


# ---------------------------------------- options
@pytest.mark.parametrize("source", [crops.from_coco, people.from_coco])
def test_every_option_of_a_file_reaches_its_reader(monkeypatch, tmp_path, source):
    for name in ("read_people", "read_images"):
        monkeypatch.setattr(coco, name, telling)
    options = {"skeleton": BIRD, "category": "swan", "flip_pairs": [(1, 2)]}
    assert told_by(source, "own.json", tmp_path, **options) == ("own.json", BIRD, "swan", tmp_path, [(1, 2)])
    assert told_by(source, "own.json", tmp_path) == ("own.json", None, None, tmp_path, None)


def test_every_option_of_detections_reaches_their_reader(monkeypatch, tmp_path):
    monkeypatch.setattr(coco, "read_detections", telling)
    options = {"skeleton": BIRD, "category": "swan", "flip_pairs": [(1, 2)]}
    given = told_by(crops.from_coco, "own.json", tmp_path, detections="boxes.json", min_score=0.4, **options)
    assert given == ("boxes.json", "own.json", BIRD, "swan", 0.4, tmp_path, [(1, 2)])
    given = told_by(crops.from_coco, "own.json", tmp_path, detections="boxes.json")
    assert given == ("boxes.json", "own.json", None, None, 0.0, tmp_path, None)


def test_prepared_data_are_looked_for_where_the_caller_says(monkeypatch):
    monkeypatch.setattr(annotated, "read_records", telling)
    for source in (crops.from_tfds, people.from_tfds):
        assert told_by(source, "puppets/images", "test", "here") == ("puppets/images", "test", "here")
        assert told_by(source, "puppets/images", "test") == ("puppets/images", "test", None)
    monkeypatch.setattr(detections, "read_boxes", lambda path: {})
    monkeypatch.setattr(crops, "from_tfds", telling)
    assert told_by(detections.from_tfds, "b.json", "puppets/images", "test", "here")[1:] == ("test", "here")


def test_every_option_of_samples_reaches_their_rules(monkeypatch):
    monkeypatch.setattr(annotated, "check_keypoints", lambda *given: None)
    monkeypatch.setattr(annotated, "check_people", lambda *given: None)
    monkeypatch.setattr(samples, "_read", lambda *given: ("people", "images"))
    monkeypatch.setattr(samples, "_mains", telling)
    dataset = tf.data.Dataset.from_tensors({"box": 0})
    assert told_by(people.trainable, dataset, BIRD, 2, 9.0, 0.1) == ("people", "images", BIRD, 2, 9.0, 0.1)
    usual = None, samples.MIN_AREA, samples.MIN_DISTANCE
    assert told_by(people.trainable, dataset, BIRD) == ("people", "images", BIRD, *usual)


# ---------------------------------------- bounds
def test_main_people_are_just_large_sure_and_far_enough_apart():
    """Of seven: with one keypoint less, a pixel less, without a side, a crowd, and one a little too close."""
    boxes = np.tile(np.float64([0, 0, 20, 50]), (7, 1)) + 100 * np.arange(7)[:, None]
    boxes[3, 2] = boxes[3, 0]
    boxes[6] = boxes[5] + [5.9, 0, 5.9, 0]  # 0.3 of the width is 6
    labelled = np.arange(3) < np.array([2, 1, 2, 2, 2, 2, 2])[:, None]
    areas = np.array([1000, 1000, 999.0, 1000, 1000, 1000, 1000])
    fields = {"box": boxes, "visibility": labelled * 2, "area": areas, "is_crowd": np.arange(7) == 4}
    for apart, last in ((0.0, False), (0.1, True)):
        fields["box"][6, [0, 2]] += apart
        found = fields | {"image_id": np.zeros(7, int)}
        is_main, reasons = samples._mains(found, {"count": [7]}, BIRD, 2, 1000.0, 0.3)
        assert is_main.tolist() == [True, False, False, False, False, True, last]
        assert [int(which.sum()) for which in reasons.values()] == [1, 1, 1, 1, int(not last)]
    elsewhere = fields | {"image_id": np.arange(7) // 6}
    elsewhere["box"][6] = elsewhere["box"][5]
    assert samples._mains(elsewhere, {"count": [6, 1]}, BIRD, 2, 1000.0, 0.3)[0][6]


def test_boxes_of_a_detector_are_just_sure_enough(monkeypatch):
    found = {"bbox": np.tile(np.float64([10, 20, 30, 40]), (5, 1)), "score": np.array([0.2, 0.5, 0.9, 0.49, 0.7])}
    found |= {"image_id": np.array([7, 7, 7, 7, 8]), "category_id": np.array([1, 1, 1, 1, 1], object)}
    monkeypatch.setattr(detections.files, "read_json", lambda *given: found)
    monkeypatch.setattr(coco, "boxes_of", lambda content, path: content)
    boxes = detections.read_boxes("boxes.json", min_score=0.5)
    assert {image: scores.tolist() for image, (_, scores) in boxes.items()} == {
        7: [np.float32(0.9), 0.5],
        8: [np.float32(0.7)],
    }
    np.testing.assert_array_equal(boxes[8][0], [[10, 20, 40, 60]])
    surest = detections.read_boxes("boxes.json", max_boxes=1)
    assert [len(scores) for _, scores in surest.values()] == [1, 1] and surest[7][1][0] == np.float32(0.9)
    found["category_id"][:4] = 18
    assert set(detections.read_boxes("boxes.json")) == {8}
    assert set(detections.read_boxes("boxes.json", category_id=18)) == {7}


@pytest.mark.parametrize(
    ("bbox", "box"),
    [
        ((10, 5, 30, 40), (10, 5, 39, 44)),
        ((-5, -7, 30, 40), (0, 0, 29, 39)),  # the size is that of the file
        ((90, 30, 30, 40), (90, 30, 99, 49)),  # of an image of 50 x 100
        ((10, 20, 1, 0), (10, 20, 10, 20)),
        ((10, 20, -1, 5), (10, 20, 9, 25)),  # which is for the gate
        ((np.nan, 20, 4, 5), (np.nan, 20, np.nan, 25)),
    ],
)
def test_boxes_end_at_the_border_of_a_picture_of_any_form(bbox, box):
    cut = coco.clipped(np.float64([bbox, np.float64(bbox)[[1, 0, 3, 2]]]), np.float64([[50, 100], [100, 50]]))
    np.testing.assert_array_equal(cut[0], box)
    np.testing.assert_array_equal(cut[1], np.float64(box)[[1, 0, 3, 2]])
    if np.isfinite(bbox).all() and min(bbox) >= 0:
        x, y, width, height = bbox
        unknown = coco.clipped(np.float64([bbox]), np.zeros((1, 2)))[0]
        np.testing.assert_array_equal(unknown, [x, y, x + max(width - 1, 0), y + max(height - 1, 0)])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_size_of_a_picture_is_as_it_is_shown(orientation, form):
    file, exif = io.BytesIO(), PIL.Image.Exif()
    exif[coco.ORIENTATION_TAG] = orientation
    PIL.Image.new("RGB", (30, 20)).save(file, form, exif=exif)
    assert coco.header_size(io.BytesIO(file.getvalue())) == ((30, 20) if orientation > 4 else (20, 30))


def test_files_of_nothing_have_no_size():
    assert coco.header_size(io.BytesIO(b"nothing")) == (0, 0)


def test_sizes_of_pictures_are_height_and_width():
    images = [np.zeros((4, 7, 3), "uint8"), np.zeros((5, 2), "uint8")]
    np.testing.assert_array_equal(annotated.sizes_of(images, None)[:, :2], [[4, 7], [5, 2]])
