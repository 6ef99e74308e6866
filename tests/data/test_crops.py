"""The top-down pipeline: sources, bad input, reproducible training batches as published, evaluation in order."""

import hashlib
import itertools
import json
import pickle
import struct
import subprocess
import sys

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from kerapose import skeletons
from kerapose.data import annotated, coco, crops, order
from kerapose.data import people as people_data
from kerapose.ops import boxes, heatmaps
from kerapose.ops import images as image_ops
from kerapose.skeletons import COCO, MPII

SIZE = (64, 48)  # of crops, in most tests
IMAGENET = {"mean": np.array([0.485, 0.456, 0.406]), "std": np.array([0.229, 0.224, 0.225])}  # the usual normalization
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # leaves pixels as they are
STILL = {"flip_probability": 0.0, "scale_factor": 0.0, "rotation_probability": 0.0, "half_body_probability": 0.0}

# Prints a digest of batches 5 to 7, in a process that is set up as the training scripts are.
OTHER_PROCESS = """
import hashlib, pathlib, pickle, sys
import keras, tensorflow
from kerapose.data import crops, order
from kerapose.skeletons import COCO
keras.utils.set_random_seed(0)
tensorflow.config.experimental.enable_op_determinism()
dataset = crops.from_arrays(**pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), skeleton=COCO)
total = hashlib.sha256()
for batch in crops.training(dataset, COCO, 4, (64, 48), seed=3, first_step=5).take(3):
    for array in batch:
        total.update(array.numpy().tobytes())
print(total.hexdigest())
"""


# ---------------------------------------------------------------------------------------------------- people in images
def picture(seed=0, size=(90, 120)):
    """A smooth coloured picture, so that a fraction of a pixel makes a small difference."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 6, size[1] // 6, 3), "uint8")
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def person(seed=0, size=(90, 120), skeleton=COCO):
    """Box, keypoints and visibility of somebody: every second keypoint of the lower half is not labelled."""
    random = np.random.default_rng(seed)
    left, top = random.uniform(0.05, 0.3, 2) * size[::-1]
    right, bottom = random.uniform(0.6, 0.95, 2) * size[::-1]
    points = random.uniform((left, top), (right, bottom), (skeleton.num_keypoints, 2))
    visibility = random.integers(1, 3, skeleton.num_keypoints)
    visibility[12::2] = 0
    points[visibility == 0] = 0
    return np.array([left, top, right, bottom]), points, visibility


def people(count=10, images_of=3, **changes):
    """Arguments of `from_arrays`: `count` people in `images_of` images of different sizes."""
    sizes = [(90, 120), (120, 90), (64, 64)][:images_of]
    pictures = [picture(i, size) for i, size in enumerate(sizes)]
    box, points, visibility = zip(*(person(i, sizes[i % images_of]) for i in range(count)), strict=True)
    arrays = {
        "images": [pictures[i % images_of] for i in range(count)],
        "boxes": np.stack(box).astype("float32"),
        "keypoints": np.stack(points).astype("float32"),
        "visibility": np.stack(visibility),
    }
    return arrays | changes


def read(batches, count=None):
    batches = batches if count is None else batches.take(count)
    return [tuple(array.numpy() for array in batch) for batch in batches]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for array, wanted in zip(itertools.chain(*batches), itertools.chain(*expected), strict=True):
        np.testing.assert_array_equal(array, wanted)


def jpeg(image):
    return cv2.imencode(".jpg", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def png(image):
    is_rgb = image.ndim == 3 and image.shape[2] == 3
    return cv2.imencode(".png", image[..., ::-1] if is_rgb else image)[1].tobytes()


def rotated_jpeg(image):
    """A JPEG that lies on its side, and says so: orientation 6, to be turned clockwise."""
    content = jpeg(np.rot90(image))
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


@pytest.fixture(scope="module")
def dataset():
    return crops.from_arrays(**people(), skeleton=COCO)


# ---------------------------------------------------------------------------------------------------- from arrays
def test_from_arrays_gives_the_arrays_back(dataset):
    given = people()
    assert int(dataset.cardinality()) == 10
    for i, element in enumerate(dataset.as_numpy_iterator()):
        np.testing.assert_array_equal(element["keypoints"], given["keypoints"][i])
        np.testing.assert_array_equal(element["visibility"], given["visibility"][i])
        np.testing.assert_array_equal(element["box"], given["boxes"][i])
        np.testing.assert_array_equal(annotated.decoded(element), given["images"][i])
        left, top, right, bottom = given["boxes"][i]
        assert element["area"] == pytest.approx((right - left) * (bottom - top))
        assert element["image_id"] == i % 3 and element["person_id"] == i and element["name"] == str(i % 3).encode()
        assert element["head_size"] == 0 and not element["is_crowd"]
    types = {key: spec.dtype.name for key, spec in dataset.element_spec.items()}
    assert types == {
        **dict.fromkeys(("keypoints", "box", "area", "head_size"), "float32"),
        **dict.fromkeys(("image_id", "person_id"), "int64"),
        **dict.fromkeys(("visibility", "size"), "int32"),
        "is_crowd": "bool",
        "name": "string",
        "pixels": "uint8",
    }


def test_from_arrays_takes_what_is_known():
    given = people(3)
    known = {
        "areas": [1.0, 2.0, 3.0],
        "head_sizes": [4.0, 0.0, 5.0],
        "is_crowd": [False, True, False],
        "image_ids": [7, 8, 9],
        "person_ids": [30, 20, 10],
        "names": ["a.jpg", "b.jpg", "c.jpg"],
    }
    found = crops.annotations(crops.from_arrays(**given, skeleton=COCO, **known), COCO)
    for key, field in zip(known, ("area", "head_size", "is_crowd", "image_id", "person_id", "name"), strict=True):
        assert found[field].tolist() == known[key]


def test_from_arrays_takes_labelled_to_be_what_is_not_at_the_origin():
    given = people(1, visibility=None)
    given["keypoints"][0, 3] = (0, 5)
    (element,) = crops.from_arrays(**given, skeleton=COCO).as_numpy_iterator()
    expected = [2 if point.any() else 0 for point in given["keypoints"][0]]
    assert element["visibility"].tolist() == expected and expected[3] == 2 and 0 in expected


def test_from_arrays_takes_an_array_of_images():
    images = np.stack([picture(i, (64, 64)) for i in range(6)])
    dataset = crops.from_arrays(**people(6, images=images), skeleton=COCO)
    for i, element in enumerate(dataset.as_numpy_iterator()):
        np.testing.assert_array_equal(element["pixels"], images[i])
        assert element["image_id"] == i


@pytest.mark.parametrize("form", ["grey", "grey with axis", "alpha"])
def test_from_arrays_makes_rgb(form):
    image = picture()
    grey = image[..., 0]
    given, wanted = {
        "grey": (grey, np.stack([grey] * 3, axis=-1)),
        "grey with axis": (grey[..., None], np.stack([grey] * 3, axis=-1)),
        "alpha": (np.concatenate([image, grey[..., None]], axis=-1), image),
    }[form]
    (element,) = crops.from_arrays(**people(1, images=[given]), skeleton=COCO).as_numpy_iterator()
    np.testing.assert_array_equal(annotated.decoded(element), wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [picture().astype("float32")]}, r"Images are uint8 .*, got float32 \[90, 120, 3\]; convert them"),
        ({"images": [picture()[..., :2]]}, r"Images are uint8 .*, got uint8 \[90, 120, 2\]"),
        (
            {"keypoints": np.ones((1, 15, 2))},
            r"keypoints of 1 people .* coco has the shape \(1, 17, 2\), got \(1, 15, 2\)",
        ),
        ({"visibility": np.ones((1, 16))}, r"visibility .* \(1, 17\), got \(1, 16\); reshape it, or give the skeleton"),
        ({"boxes": np.ones((2, 4))}, r"box of 1 people .* \(1, 4\), got \(2, 4\)"),
    ],
)
def test_from_arrays_refuses_other_shapes(changes, message):
    with pytest.raises(ValueError, match=message):
        crops.from_arrays(**people(1) | changes, skeleton=COCO)


def test_from_arrays_refuses_a_mixture():
    given = people(2)
    given["images"][1] = "image.jpg"
    with pytest.raises(ValueError, match="all paths, all bytes or all arrays, got a mixture"):
        crops.from_arrays(**given, skeleton=COCO)


@pytest.mark.parametrize("size", [(0, 0), (0, 99), (99, 0), (4, 6)])
def test_a_size_of_which_a_side_is_not_known_is_held_against_no_picture(size):
    element = {"pixels": tf.zeros((4, 6, 3), tf.uint8), "size": tf.constant(size), "name": tf.constant("a.jpg")}
    assert annotated.decoded(element).shape == (4, 6, 3)


# ---------------------------------------------------------------------------------------------------- COCO files
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_of_a_picture_tells_its_size_as_it_is_shown(tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[coco.ORIENTATION_TAG] = orientation
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert coco.header_size(tmp_path / "a.jpg") == ((30, 20) if orientation >= 5 else (20, 30))


CATEGORY = {"id": 3, "name": "mouse", "keypoints": ["snout", "leftear", "rightear"], "skeleton": [[1, 2], [1, 3]]}


def annotation(number, image_id, **changes):
    points = [10 + number, 20, 2, 30, 40 + number, 1, 0, 0, 0]
    entry = {"id": number, "image_id": image_id, "category_id": 3, "keypoints": points, "bbox": [5, 6, 50, 40 + number]}
    return entry | {"area": 100.5 + number, "iscrowd": 0} | changes


def write_coco(folder, people, categories=(CATEGORY,), listed=((4, "d.png"), (2, "b.png"), (9, "i.png"))):
    for i, (_, name) in enumerate(listed):
        (folder / name).write_bytes(png(picture(i)))
    content = {
        "images": [{"id": image_id, "file_name": name, "height": 90, "width": 120} for image_id, name in listed],
        "annotations": people,
        "categories": list(categories),
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder / "annotations.json", folder


def test_from_coco_reads_people_image_after_image(tmp_path):
    bare = annotation(5, 4)
    del bare["area"], bare["iscrowd"], bare["category_id"]
    others = annotation(8, 2, category_id=1, keypoints=[1, 2, 3])  # of a category without keypoints
    given = [annotation(1, 2), bare, others, annotation(2, 4, iscrowd=1), annotation(3, 2)]
    file, folder = write_coco(tmp_path, given, [{"id": 1, "name": "cage"}, CATEGORY])
    dataset, skeleton = crops.from_coco(file, folder)
    assert skeleton.keypoints == ("snout", "leftear", "rightear") and skeleton.flip_pairs == ((1, 2),)
    elements = list(dataset.as_numpy_iterator())
    assert [element["person_id"] for element in elements] == [5, 2, 1, 3]
    assert [element["name"] for element in elements] == [b"d.png", b"d.png", b"b.png", b"b.png"]
    first, second = elements[:2]
    assert first["box"].tolist() == [5, 6, 54, 50] and first["size"].tolist() == [90, 120]  # to the last pixel's middle
    assert first["area"] == 50 * 45 and not first["is_crowd"]
    assert second["area"] == np.float32(102.5) and second["is_crowd"] and second["image_id"] == 4
    assert second["keypoints"].tolist() == [[12, 20], [30, 42], [0, 0]] and second["visibility"].tolist() == [2, 1, 0]
    np.testing.assert_array_equal(annotated.decoded(first), picture(0))
    assert crops.check(dataset, skeleton) == 4


def test_from_coco_can_be_given_a_skeleton_and_a_category(tmp_path):
    rat = CATEGORY | {"id": 7, "name": "rat"}
    file, folder = write_coco(tmp_path, [annotation(1, 2), annotation(2, 2, category_id=7)], [CATEGORY, rat])
    own = skeletons.Skeleton("own", ("nose", "left_ear", "right_ear"), (), sigmas=(0.1, 0.1, 0.1))
    dataset, skeleton = crops.from_coco(file, folder, own, category="rat")
    assert skeleton is own
    assert [element["person_id"] for element in dataset.as_numpy_iterator()] == [2]
    for names in (None, ["mouse", "rat"]):
        both, _ = crops.from_coco(file, folder, own, category=names)
        assert [element["person_id"] for element in both.as_numpy_iterator()] == [1, 2]
    with pytest.raises(ValueError, match="one with keypoints, .*annotations.json has mouse, rat, got cat; give anoth"):
        crops.from_coco(file, folder, category="cat")
    with pytest.raises(ValueError, match="coco has 17 keypoints, got 3 in .*annotations.json; give the skeleton"):
        crops.from_coco(file, folder, COCO, category="rat")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"keypoints": [1, 2, 3]}, r"annotations.json: .* of 3 x 3 numbers, got \[1, 2, 3\] in 1 of 2 \(id 2\)"),
        ({"keypoints": [1, 2, 2, 3, "4", 2, 0, 0, 0]}, r"keypoints of 3 x 3 numbers, got .*'4'.* in 1 of 2 \(id 2\)"),
        ({"keypoints": "many"}, r"keypoints of 3 x 3 numbers, got 'many' in 1 of 2 \(id 2\)"),
        ({"bbox": [1, 2, 3]}, r"a bbox of 4 numbers, .* got \[1, 2, 3\] in 1 of 2 \(id 2\)"),
        ({"bbox": ...}, r"a bbox of 4 numbers, .* bbox is lacking in 1 of 2 \(id 2\); give each person a box"),
        ({"bbox": None}, r"a bbox of 4 numbers, .* got None in 1 of 2 \(id 2\)"),
        ({"bbox": [1, 2, None, 4]}, r"a bbox of 4 numbers, .* got \[1, 2, None, 4\]"),
        ({"area": "big"}, r"a number as area, got 'big' in 1 of 2 \(id 2\); leave it out"),
        ({"iscrowd": 2}, r"iscrowd 0 or 1, got 2 in 1 of 2 \(id 2\)"),
        ({"category_id": 9}, r"category_id must be one of the categories, 3, got 9 in 1 annotations \(id 2\)"),
        ({"category_id": "mouse"}, r"a whole number as category_id, got 'mouse' in 1 of 2 \(id 2\)"),
        ({"id": ...}, r"an id, a whole number, id is lacking in 1 of 2 \(id number 1\); number them"),
        ({"image_id": 1.5}, r"an image_id, a whole number, got 1.5 in 1 of 2 \(id 2\)"),
        ({"image_id": ...}, r"an image_id, a whole number, image_id is lacking in 1 of 2 \(id 2\)"),
        ({"id": 1}, "Every annotation has an id of its own, got 1 again; correct them"),
        ({"image_id": 77}, r"has people in 1 images that are not listed \(77\); list them"),
    ],
)
def test_from_coco_names_what_is_malformed(tmp_path, second, message):
    second = {key: value for key, value in (annotation(2, 2) | second).items() if value is not ...}
    file, folder = write_coco(tmp_path, [annotation(1, 2), second])
    with pytest.raises(ValueError, match=message):
        crops.from_coco(file, folder)


def test_from_coco_can_be_given_pairs_of_sides(tmp_path):
    numbered = CATEGORY | {"keypoints": ["1", "2", "3"]}
    file, folder = write_coco(tmp_path, [annotation(1, 2)], [numbered])
    boxes = folder / "boxes.json"
    boxes.write_text(json.dumps([{"image_id": 2, "bbox": [5, 6, 50, 40], "score": 0.5, "category_id": 3}]))
    assert not crops.from_coco(file, folder)[1].knows_sides
    for pairs, wanted in (([("2", "3")], ((1, 2),)), ([(2, 1)], ((2, 1),)), ([], ())):
        for read in (crops.from_coco, people_data.from_coco):
            skeleton = read(file, folder, flip_pairs=pairs)[1]
            assert skeleton.flip_pairs == wanted and skeleton.knows_sides
        assert crops.from_coco(file, folder, detections=boxes, flip_pairs=pairs)[1] == skeleton
    own = skeletons.Skeleton("own", ("a", "b", "c"), ())
    for read in (crops.from_coco, people_data.from_coco):
        with pytest.raises(ValueError, match="there is no keypoint 'two'; choose from 1, 2, 3"):
            read(file, folder, flip_pairs=[("1", "two")])
        with pytest.raises(ValueError, match="for the skeleton that is made of the category, got own too; give it its"):
            read(file, folder, own, flip_pairs=[("a", "b")])


def test_from_coco_refuses_other_files(tmp_path):
    file, folder = write_coco(tmp_path, [], listed=((1, "a.png"), (1, "b.png")))
    with pytest.raises(ValueError, match="Every image has an id of its own"):
        crops.from_coco(file, folder)
    with pytest.raises(FileNotFoundError, match="image_dir must be a folder, got .*nowhere; give the one"):
        crops.from_coco(file, folder / "nowhere")
    with pytest.raises(FileNotFoundError):
        crops.from_coco(folder / "nowhere.json", folder)
    file.write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(ValueError, match="lacks categories; give the file of annotated keypoints"):
        crops.from_coco(file, folder)


def test_from_coco_takes_detections_in_place_of_people(tmp_path):
    file, folder = write_coco(tmp_path, [annotation(1, 2)])
    found = [
        {"image_id": 2, "category_id": 3, "bbox": [9, 9, 30, 40], "score": 0.15},
        {"image_id": 2, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.75},
        {"image_id": 4, "bbox": [3, 4, 50, 60], "score": 0.5},
        {"image_id": 4, "category_id": 3, "bbox": [3, 4, 50, 60], "score": 0.1},
        {"image_id": 4, "category_id": 1, "bbox": [3, 4, 50, 60], "score": 0.9},
    ]
    (folder / "found.json").write_text(json.dumps(found))
    dataset, skeleton = crops.from_coco(file, folder, detections=folder / "found.json", min_score=0.2)
    assert crops.evaluation(dataset, skeleton).element_spec["score"].dtype == tf.float32
    found = crops.annotations(dataset, skeleton)
    assert found["score"].tolist() == [0.5, 0.75] and found["image_id"].tolist() == [4, 2]
    assert found["person_id"].tolist() == [2, 1] and found["box"].tolist() == [[3, 4, 53, 64], [1, 2, 31, 42]]
    assert found["area"].tolist() == [3000, 1200] and not found["visibility"].any()
    (folder / "found.json").write_text(json.dumps([{"image_id": 2, "bbox": [1, 2, 30, 40]}]))
    with pytest.raises(ValueError, match=r"found.json must be a JSON list of detections, each .*; give a detector"):
        crops.from_coco(file, folder, detections=folder / "found.json")


def test_real_annotations(shared_data):
    coco, mice = shared_data("coco_mini"), shared_data("openfield")
    dataset, skeleton = crops.from_coco(coco / "person_keypoints_mini.json", coco / "images")
    assert skeleton is COCO and crops.check(dataset, COCO) == 14
    assert int(crops.trainable(dataset, COCO).cardinality()) == 12
    found, _ = crops.from_coco(
        coco / "person_keypoints_mini.json", coco / "images", detections=coco / "person_detections_mini.json"
    )
    assert int(found.cardinality()) == 118
    dataset, skeleton = crops.from_coco(mice / "test_5.json", mice / "images")
    assert skeleton.keypoints == ("snout", "leftear", "rightear", "tailbase")
    assert crops.check(dataset, skeleton) == int(crops.trainable(dataset, skeleton).cardinality()) == 6


# ---------------------------------------------------------------------------------------------------- TFDS
class Pictures(tfds.core.GeneratorBasedBuilder):
    """The people above, one record an image; another config is never prepared, a third has no people."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("three", "others", "clips", "own")]

    def _info(self):
        person = {
            "keypoints": tfds.features.Tensor(shape=(17, 2), dtype=np.float32),
            "visibility": tfds.features.Tensor(shape=(17,), dtype=np.int32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "area": np.float32,
            "head_size": np.float32,
            "is_crowd": np.bool_,
            "id": np.int64,
        }
        image = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_id": np.int64,
            "name": tfds.features.Text(),
            "people": tfds.features.Sequence(person),
        }
        features = {"name": tfds.features.Text()} if self.builder_config.name == "clips" else image
        own = COCO.to_dict() | {"name": "own", "sigmas": None}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(skeleton=own if self.builder_config.name == "own" else COCO.to_dict()),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        given = people()
        for image_id in range(4):  # in the last one there is nobody
            image = picture() if image_id == 3 else given["images"][image_id]
            name = f"{image_id}.png"
            if self.builder_config.name == "clips":
                yield name, {"name": name}
                continue
            inside = [
                {
                    "keypoints": given["keypoints"][i],
                    "visibility": given["visibility"][i].astype("int32"),
                    "box": given["boxes"][i],
                    "area": 10.0 * i,
                    "head_size": 3.0,
                    "is_crowd": i == 4,
                    "id": i,
                }
                for i in range(image_id, 10, 3)
                if image_id < 3
            ]
            yield name, {"image": image, "image_id": image_id, "name": name, "people": inside}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    for config in ("three", "clips", "own"):
        Pictures(data_dir=folder, config=config).download_and_prepare()
    return folder


def test_from_tfds_equals_from_arrays(prepared, dataset):
    read_back, skeleton = crops.from_tfds("pictures/three", "train", prepared)
    assert skeleton is COCO
    expected = list(dataset.as_numpy_iterator())
    elements = list(read_back.as_numpy_iterator())
    assert sorted(element["person_id"] for element in elements) == list(range(10))
    for element in elements:
        wanted = expected[element["person_id"]]
        for key in ("keypoints", "visibility", "box", "image_id"):
            np.testing.assert_array_equal(element[key], wanted[key])
        assert element["area"] == 10 * element["person_id"] and element["is_crowd"] == (element["person_id"] == 4)
        assert element["name"] == b"%d.png" % element["image_id"] and element["head_size"] == 3
        assert element["image"].startswith(b"\x89PNG")  # which is not decoded before its batch
        np.testing.assert_array_equal(annotated.decoded(element), annotated.decoded(wanted))
    assert crops.check(read_back, COCO) == 10
    assert {key: spec for key, spec in read_back.element_spec.items() if key != "image"} == {
        key: spec for key, spec in dataset.element_spec.items() if key != "pixels"
    }


def test_from_tfds_knows_other_skeletons(prepared):
    _, skeleton = crops.from_tfds("pictures/own", "train", prepared)
    assert skeleton.name == "own" and skeleton.sigmas is None and skeleton.flip_pairs == COCO.flip_pairs


def test_from_tfds_tells_how_to_prepare(prepared):
    with pytest.raises(crops.NotPreparedError, match="pictures/others is not prepared in .* run: python datasets/"):
        crops.from_tfds("pictures/others", "train", prepared)
    with pytest.raises(ValueError, match="pictures/three has the splits train, got 'test'; use one of them"):
        crops.from_tfds("pictures/three", "test", prepared)
    with pytest.raises(ValueError, match="pictures/clips must hold images with people and say their skeleton"):
        crops.from_tfds("pictures/clips", "train", prepared)


# ---------------------------------------------------------------------------------------------------- bad input
def test_what_training_cannot_use_is_left_out_and_counted(monkeypatch):
    given = people(6)
    given["visibility"][1] = 0
    given["boxes"][2, 2] = given["boxes"][2, 0]
    given["boxes"][4, 3] = given["boxes"][4, 1]
    dataset = crops.from_arrays(**given, skeleton=COCO, is_crowd=[False, True, False, True, False, False])
    said = []
    monkeypatch.setattr(logging, "info", lambda message, *args: said.append(message % args))
    used = crops.trainable(dataset, COCO)
    assert said == [
        "4 of 6 people are left out of training: 2 crowds, 1 without a labelled keypoint, 2 without the area of a box."
    ]
    assert int(used.cardinality()) == 2
    assert [element["person_id"] for element in used.as_numpy_iterator()] == [0, 5]
    assert crops.trainable(used, COCO) is used and len(said) == 1
    (batch,) = crops.evaluation(dataset, COCO, image_size=SIZE)  # where everybody counts
    assert batch["person_id"].numpy().tolist() == list(range(6)) and np.isfinite(batch["crop"]).all()
    assert int(crops.validation(dataset, COCO, 1, SIZE).cardinality()) == 2
    assert crops.check(dataset, COCO) == 6


def test_each_person_is_checked_in_the_image_that_it_is_in(monkeypatch):
    """Whatever the ids of images that come one after the other."""
    told = []
    monkeypatch.setattr(
        annotated,
        "check",
        lambda dataset, is_first, images, people, places: told.append(
            (is_first.tolist(), images["name"].tolist(), images["size"].tolist(), places.tolist())
        ),
    )
    pictures = [np.zeros((20 + i, 30, 3), "uint8") for i in range(4)]
    images = [pictures[i] for i in (0, 1, 1, 2, 3, 3)]
    given = {"boxes": [[1, 2, 9, 9]] * 6, "keypoints": np.ones((6, 17, 2)), "visibility": np.full((6, 17), 2)}
    dataset = crops.from_arrays(images, **given, skeleton=COCO, image_ids=[9, 3, 3, 7, 5, 5])
    assert crops.check(dataset, COCO) == 6
    firsts = [True, True, False, True, True, False]
    assert told == [(firsts, ["9", "3", "7", "5"], [[20 + i, 30] for i in range(4)], [0, 1, 1, 2, 3, 3])]


def test_somebody_must_be_left():
    dataset = crops.from_arrays(**people(2, visibility=np.zeros((2, 17))), skeleton=COCO)
    for use in (crops.trainable, crops.check, crops.training, crops.validation):
        with pytest.raises(ValueError, match="at least one person to learn from, got 2 people, 2 without a labelled"):
            use(dataset, COCO)
    empty = crops.from_arrays([], [], [], [], COCO)
    for use in (crops.trainable, crops.check, crops.training):
        with pytest.raises(ValueError, match="A dataset has at least one person, got none; check the split"):
            use(empty, COCO)


def test_another_skeleton_is_refused(dataset):
    for use in (crops.trainable, crops.check, crops.training, crops.validation, crops.evaluation):
        with pytest.raises(ValueError, match=r"mpii has 16 keypoints, got \[17, 2\] in the dataset; give the skeleton"):
            use(dataset, MPII)


# Of what cannot be right, test_gate_images.py has all kinds.
UNSOUND = {
    "NaN": ({"keypoints": (2, 3, 0, np.nan)}, r"1 of 3 people with a labelled keypoint that is not finite \(2\)"),
    "NaN visibility": ({"visibility": (1, 5, np.nan)}, r"1 of 3 people with visibility other than 0, 1, 2 \(1\)"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_annotations_are_refused_by_name(case):
    change, message = UNSOUND[case]
    given = people(3)
    given["visibility"] = given["visibility"].astype("float32")
    for key, (*place, value) in change.items():
        given[key][tuple(place)] = value
    dataset = crops.from_arrays(**given, skeleton=COCO)
    pipelines = (crops.training, crops.validation) if case == "NaN" else ()  # which ask `trainable`
    for use in (crops.check, crops.trainable, *pipelines):
        with pytest.raises(crops.BadDataError, match=message + ".*, or leave them out with `skip") as error:
            use(dataset, COCO)
    left = crops.skip(dataset, error.value.names)
    assert int(left.cardinality()) == 2 and crops.check(left, COCO) == 2


def test_a_box_outside_of_the_image_is_refused_by_name():
    given = people(6, images_of=1)
    outside = [(120, 10, 150, 50), (-60, 10, -1, 50), (10, 90, 50, 120), (10, -20, 50, -0.6)]
    given["boxes"][1:5] = outside
    given["boxes"][5] = (-30, -30, 60, 130)  # only reaches over the border
    dataset = crops.from_arrays(**given, skeleton=COCO, image_ids=range(6))
    with pytest.raises(crops.BadDataError, match=r"4 of 6 people with a box outside of the .* \(1, 2, 3, 4: ") as error:
        crops.check(dataset, COCO)
    assert error.value.names == ("1", "2", "3", "4")
    for use in (crops.trainable, crops.evaluation):
        with pytest.raises(crops.BadDataError, match="4 of 6 people with a box outside of the image"):
            use(dataset, COCO)


def test_images_that_cannot_be_read_are_refused_by_name(tmp_path, dataset):
    whole = jpeg(picture())
    contents = [whole, whole[: len(whole) // 2], b"", b"GIF89a, or not", whole, png(picture())[:900], None, whole]
    names = [tmp_path / f"{i}.jpg" for i in range(8)]
    for name, content in zip(names, contents, strict=True):
        if content is not None:
            name.write_bytes(content)
    dataset = crops.from_arrays(**people(8, images_of=1, images=names), skeleton=COCO)
    with pytest.raises(crops.BadDataError) as error:
        crops.check(dataset, COCO)
    bad = [str(names[i]) for i in (1, 2, 3, 5, 6)]
    assert f"4 of 8 images that cannot be decoded ({', '.join(bad[:4])})" in str(error.value)
    assert f"1 of 8 images not there ({bad[4]})" in str(error.value) and sorted(error.value.names) == bad
    left = crops.skip(dataset, error.value.names)
    assert crops.check(left, COCO) == 3
    assert [element["person_id"] for element in left.as_numpy_iterator()] == [0, 4, 7]
    with pytest.raises(tf.errors.OpError):  # never left out in silence
        list(crops.evaluation(dataset, COCO, image_size=SIZE))


def test_an_error_names_a_few_and_counts_the_others():
    given = people(9)
    given["visibility"][1:] = 3
    dataset = crops.from_arrays(**given, skeleton=COCO, image_ids=range(9), names=[f"{i}.jpg" for i in range(9)])
    with pytest.raises(
        crops.BadDataError, match=r"8 of 9 people .* \(1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg and 3 more\)"
    ) as error:
        crops.check(dataset, COCO)
    assert len(error.value.names) == 8


def test_skip_wants_names_of_the_dataset(dataset):
    with pytest.raises(ValueError, match="Images to skip are in the dataset, 4, 5 are not; correct the names"):
        crops.skip(dataset, ["1", "5", "4"])
    left = crops.skip(dataset, ["1", "2"])
    assert int(left.cardinality()) == 4
    assert [element["person_id"] for element in left.as_numpy_iterator()] == [0, 3, 6, 9]


def sixteen_bits(image):
    return image.astype("uint16") * 256 + 77


FILES = {
    "JPEG": (jpeg, lambda image: cv2.imdecode(np.frombuffer(jpeg(image), "uint8"), 1)[..., ::-1], 1.0),
    "PNG": (png, lambda image: image, 0.0),
    "grey PNG": (lambda image: png(image[..., 0]), lambda image: np.stack([image[..., 0]] * 3, axis=-1), 0.0),
    "grey JPEG": (
        lambda image: jpeg(image[..., 0]),
        lambda image: cv2.imdecode(np.frombuffer(jpeg(image[..., 0]), "uint8"), 1),
        1.0,
    ),
    "RGBA PNG": (
        lambda image: png(np.concatenate([image[..., ::-1], image[..., :1]], axis=-1)),
        lambda image: image,
        0.0,
    ),
    "16-bit PNG": (lambda image: png(sixteen_bits(image)), lambda image: image, 0.0),
    "16-bit grey PNG": (
        lambda image: png(sixteen_bits(image[..., 0])),
        lambda image: np.stack([image[..., 0]] * 3, axis=-1),
        0.0,
    ),
    "EXIF-rotated JPEG": (
        rotated_jpeg,
        lambda image: np.rot90(cv2.imdecode(np.frombuffer(jpeg(np.rot90(image)), "uint8"), 1)[..., ::-1], -1),
        1.0,
    ),
}


def test_files_of_all_kinds_give_the_crop_of_their_pixels(tmp_path):
    image = picture(5)
    given = [tmp_path / str(i) for i in range(len(FILES))]
    for path, (encode, *_) in zip(given, FILES.values(), strict=True):
        path.write_bytes(encode(image))
    shown = [np.ascontiguousarray(pixels(image)) for _, pixels, _ in FILES.values()]
    same = people(1)
    same = {key: np.repeat(same[key], len(FILES), axis=0) for key in ("boxes", "keypoints", "visibility")}
    found, wanted = (
        next(iter(crops.evaluation(crops.from_arrays(one, **same, skeleton=COCO), COCO, image_size=SIZE)))["crop"]
        for one in (given, shown)
    )
    for (kind, (*_, levels)), crop, expected in zip(FILES.items(), found.numpy(), wanted.numpy(), strict=True):
        np.testing.assert_allclose(crop * 255 * 0.225, expected * 255 * 0.225, atol=levels + 1e-3, err_msg=kind)


# ---------------------------------------------------------------------------------------------------- training
def training(dataset, **changes):
    return crops.training(dataset, COCO, **{"batch_size": 4, "image_size": SIZE, "seed": 3} | changes)


@pytest.fixture(scope="module")
def pipeline(dataset):
    return training(dataset)


@pytest.fixture(scope="module")
def uninterrupted(pipeline):
    return read(pipeline, 10)  # 4 passes over 10 people


def test_another_seed_makes_other_batches(dataset, uninterrupted):
    other = read(training(dataset, seed=4), 1)[0]
    assert all((array != wanted).any() for array, wanted in zip(other, uninterrupted[0], strict=True))


def test_every_iterator_gives_the_same_batches(pipeline, uninterrupted):
    assert_same(read(pipeline, 3), uninterrupted[:3])  # into the second pass


def test_batches_have_the_promised_shapes(uninterrupted):
    for pixels, maps, weights in uninterrupted:
        assert pixels.shape == (4, 64, 48, 3) and maps.shape == (4, 16, 12, 17) and weights.shape == (4, 17)
        assert all(array.dtype == np.float32 for array in (pixels, maps, weights))
        assert maps.max() > 0.9 and not maps.transpose(0, 3, 1, 2)[weights == 0].any()
        assert abs(pixels).max() < 3 and pixels.std() > 0.5


def test_a_run_that_was_cut_short_goes_on_with_its_batches(dataset, uninterrupted):
    assert_same(read(training(dataset, first_step=7), 3), uninterrupted[7:])  # in the middle of the third pass


@pytest.mark.parametrize("count, replicas", [(2, 1), (2, 2)])
def test_several_workers_make_the_same_batches(put_together, dataset, uninterrupted, count, replicas):
    batches = put_together(lambda share: training(dataset, first_step=7, share=share), 2, count, replicas)
    assert_same([tuple(map(np.concatenate, zip(*parts, strict=True))) for parts in batches], uninterrupted[7:9])


@pytest.mark.slow  # a process of its own; test_clips.py has the same of its sister
def test_a_fresh_process_goes_on_with_the_batches(uninterrupted, tmp_path):
    file = tmp_path / "arrays"
    file.write_bytes(pickle.dumps(people()))
    command = [sys.executable, "-c", OTHER_PROCESS, str(file)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert other.returncode == 0, other.stderr
    digest = hashlib.sha256()
    for array in itertools.chain(*uninterrupted[5:8]):
        digest.update(array.tobytes())
    assert other.stdout.split()[-1] == digest.hexdigest()


def test_another_source_gives_the_same_batches(uninterrupted):
    tf.random.set_seed(99)  # somebody else's seed
    given = people()
    encoded = {id(image): png(image) for image in given["images"]}
    given["images"] = [encoded[id(image)] for image in given["images"]]
    assert_same(read(training(crops.from_arrays(**given, skeleton=COCO)), 3), uninterrupted[:3])


def test_every_person_is_seen_once_a_pass_in_another_order(prepared, dataset):
    for source, buffer in ((dataset, None), (crops.from_tfds("pictures/own", "train", prepared)[0], 4)):
        elements = order.shuffled_endlessly(crops.trainable(source, COCO), 3, 0, buffer)
        count = int(crops.trainable(source, COCO).cardinality())
        seen = [int(element["person_id"]) for element in elements.take(8 * count).as_numpy_iterator()]
        passes = np.reshape(seen, (8, count))
        assert all(sorted(one) == sorted(passes[0]) for one in passes) and len(set(map(tuple, passes))) == 8
        later = order.shuffled_endlessly(crops.trainable(source, COCO), 3, 3 * count + 2, buffer)
        rest = [int(element["person_id"]) for element in later.take(count).as_numpy_iterator()]
        assert rest == seen[3 * count + 2 : 4 * count + 2]


def test_encoded_images_are_drawn_from_a_buffer_of_bounded_size(monkeypatch, dataset):
    class SeenError(Exception):
        pass

    def shuffled(dataset, seed, first, buffer_size):
        raise SeenError(seed, first, buffer_size)

    monkeypatch.setattr(order, "shuffled_endlessly", shuffled)
    given = people()
    encoded = given | {"images": [tf.io.encode_png(image).numpy() for image in given["images"]]}
    encoded = crops.from_arrays(**encoded, skeleton=COCO)
    for elements, options, size in (
        (encoded, {}, annotated.SHUFFLE_BUFFER),
        (encoded, {"shuffle_buffer": 7}, 7),
        (dataset, {}, None),  # whose pixels are in memory anyway
    ):
        with pytest.raises(SeenError) as seen:
            crops.training(elements, COCO, batch_size=4, seed=3, first_step=5, **options)
        assert seen.value.args == (3, 20, size)


def test_every_option_of_a_pipeline_reaches_the_crops_and_the_heatmaps(monkeypatch, dataset):
    """And without options the recipe is the published one."""
    told, sizes = {}, []

    def keep(name):
        return lambda *given: told.setdefault(name, []).append(given) or {"evaluation": dataset}.get(name)

    class Shuffled:
        def batch(self, batch_size, drop_remainder):
            sizes.append((batch_size, drop_remainder))
            return self

        def __getattr__(self, name):
            return lambda *given: self

    monkeypatch.setattr(crops.batches, "trainable", lambda dataset, skeleton: dataset)
    monkeypatch.setattr(order, "shuffled_endlessly", lambda *given: given)
    monkeypatch.setattr(
        annotated, "with_handles", lambda elements: told.setdefault("order", []).append(elements[1:]) or Shuffled()
    )
    for place, name in ((crops.batches, "_preparer"), (crops.batches, "_encoder"), (annotated, "finisher")):
        monkeypatch.setattr(place, name, keep(name))
    asked = {"image_size": (64, 48), "heatmap_size": (32, 12), "codec": "udp", "sigma_px": 3.0, "box_padding": 1.5}
    changes = {"flip_probability": 0.1, "scale_factor": 0.2, "rotation_degrees": 90.0, "rotation_probability": 0.3}
    changes |= {"half_body_probability": 0.4, "shift_factor": 0.6, "color_jitter": 0.7, "normalization": PLAIN}
    more = {"batch_size": 5, "seed": 9, "first_step": 2, "shuffle_buffer": 11}
    crops.training(dataset, COCO, **asked, **changes, **more)
    crops.training(dataset, COCO)
    own, usual = told["_preparer"]
    joints = COCO.flip_permutation, COCO.upper_body
    assert own == (*joints, (64, 48), (32, 12), "udp", 3.0, 1.5, (0.1, 0.2, np.float32(np.pi / 2), 0.3, 0.4, 0.6))
    turn = np.float32(np.radians(40))
    assert usual == (*joints, (256, 192), (64, 48), "gaussian", 2.0, 1.25, (0.5, 0.35, turn, 0.6, 0.3, 0.0))
    assert told["finisher"] == [(PLAIN, 0.7), (None, 0.0)]
    assert told["order"] == [(9, 10, 11), (0, 0, None)] and sizes == [(5, True), (32, True)]
    monkeypatch.setattr(crops.batches, "evaluation", keep("evaluation"))
    monkeypatch.setattr(tf.data.Dataset, "map", lambda dataset, *given: dataset)
    crops.validation(dataset, COCO, 5, **asked, normalization=PLAIN)
    crops.validation(dataset, COCO)
    assert told["_encoder"] == [((64, 48), (32, 12), "udp", 3.0), ((256, 192), (64, 48), "gaussian", 2.0)]
    own, usual = told["evaluation"]
    assert own[1:] == (COCO, 5, (64, 48), True, 1.5, PLAIN) and usual[1:] == (COCO, 32, (256, 192), False, 1.25, None)


# ---------------------------------------------------------------------------------------------------- as published
def published_region(box, points, visibility, uniforms, normals, options, aspect=48 / 64):
    """Centre (x, y), width, rotation in degrees and flip of a person, in double precision, as the HRNet repository."""
    left, top, right, bottom = box
    center, width, height = np.array([left + right, top + bottom]) / 2, right - left, bottom - top
    width, height = (width, width / aspect) if width > aspect * height else (height * aspect, height)
    width = width * options["box_padding"]
    labelled = [k for k in range(17) if visibility[k] > 0]
    if len(labelled) > 8 and uniforms[2] < options["half_body_probability"]:
        upper, lower = [k for k in labelled if k <= 10], [k for k in labelled if k > 10]
        takes_upper = uniforms[3] < 0.691462 and len(upper) > 2  # a normal number is below 0.5 as often
        selected = upper if takes_upper or len(lower) <= 2 else lower
        if len(selected) >= 2:
            chosen = points[selected].astype("float64")
            center, (width, height) = chosen.mean(axis=0), np.ptp(chosen, axis=0)
            width = 1.5 * (width if width > aspect * height else height * aspect)
    center = center + (2 * uniforms[4:6] - 1) * options["shift_factor"] * np.array([width, width / aspect])
    factor = options["scale_factor"]
    width = width * np.clip(normals[0] * factor + 1, 1 - factor, 1 + factor)
    turn = options["rotation_degrees"]
    angle = np.clip(normals[1] * turn, -2 * turn, 2 * turn) if uniforms[0] < options["rotation_probability"] else 0.0
    return center, width, angle, uniforms[1] < options["flip_probability"]


def published_matrix(center, width, degrees, size=SIZE):
    """From three points: the centre, one above it, and the third corner of a right angle."""
    height, width_out = size
    radians = np.deg2rad(degrees)
    direction = np.array([np.sin(radians), -np.cos(radians)]) * width / 2
    source = [center, center + direction]
    target = [np.array([width_out / 2, height / 2]), np.array([width_out / 2, height / 2 - width_out / 2])]
    for points in (source, target):
        arm = points[0] - points[1]
        points.append(points[1] + np.array([-arm[1], arm[0]]))
    square = np.hstack([np.array(source), np.ones((3, 1))])
    return np.linalg.solve(square, np.array(target)).T


def slow_warp(image, matrix, size=SIZE):
    """Each pixel of the crop from the four round its place, in double precision, black outside."""
    rows, columns = np.indices(size)
    places = np.stack([columns, rows, np.ones(size)], axis=-1) @ np.linalg.inv(np.vstack([matrix, [0, 0, 1]])).T
    x, y = np.clip(places[..., 0], -1, image.shape[1]), np.clip(places[..., 1], -1, image.shape[0])
    padded = np.pad(image.astype("float64"), ((1, 2), (1, 2), (0, 0)))
    i, j = np.floor(y).astype(int) + 1, np.floor(x).astype(int) + 1
    dy, dx = (y + 1 - i)[..., None], (x + 1 - j)[..., None]
    above, below = ((1 - dx) * padded[k, j] + dx * padded[k, j + 1] for k in (i, i + 1))
    return (1 - dy) * above + dy * below


def slow_heatmaps(points, labelled, sigma=2, size=(16, 12)):
    maps, weights = np.zeros((*size, len(points))), labelled.astype("float64")
    for k in np.flatnonzero(labelled):
        column, row = (int(value / 4 + 0.5) for value in points[k])
        reach = 3 * sigma
        if column - reach >= size[1] or row - reach >= size[0] or column + reach + 1 < 0 or row + reach + 1 < 0:
            weights[k] = 0
            continue
        for i in range(max(0, row - reach), min(size[0], row + reach + 1)):
            for j in range(max(0, column - reach), min(size[1], column + reach + 1)):
                maps[i, j, k] = np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
    return maps, weights


PUBLISHED = {
    "flip_probability": 0.5,
    "scale_factor": 0.35,
    "rotation_degrees": 45.0,
    "rotation_probability": 0.6,
    "half_body_probability": 0.3,
    "shift_factor": 0.0,
    "box_padding": 1.25,
}


def test_training_equals_a_slow_version_of_the_published_one():
    """With more half bodies than published, and shifts, which that has none of."""
    options = PUBLISHED | {"half_body_probability": 0.5, "shift_factor": 0.2, "box_padding": 1.1}
    count, seed, step = 16, 7, 2
    given = people(1, images_of=1)
    image, box, points, visibility = (given[key][0] for key in ("images", "boxes", "keypoints", "visibility"))
    dataset = crops.from_arrays(**given, skeleton=COCO)
    ((pixels, maps, weights),) = read(
        training(dataset, batch_size=count, seed=seed, first_step=step, normalization=PLAIN, **options), 1
    )
    uniforms = tf.random.stateless_uniform((count, crops.batches.NUM_UNIFORMS), [2 * seed, step]).numpy()
    normals = tf.random.stateless_normal((count, 2), [2 * seed + 1, step]).numpy()
    swapped = dict(COCO.flip_pairs) | {b: a for a, b in COCO.flip_pairs}
    halves = uniforms[:, 2] < options["half_body_probability"]
    assert 3 < halves.sum() < count - 3 and (visibility > 0).sum() > 8
    flips, angles, widths = [], [], []
    for i in range(count):
        center, width, angle, flip = published_region(box, points, visibility, uniforms[i], normals[i], options)
        shown, moved, labelled = image, points.astype("float64"), visibility > 0
        if flip:  # the picture first, then all that is known of it
            last = image.shape[1] - 1
            order = [swapped.get(k, k) for k in range(17)]
            shown, center = image[:, ::-1], np.array([last - center[0], center[1]])
            moved, labelled = np.stack([last - moved[order, 0], moved[order, 1]], axis=1), labelled[order]
        matrix = published_matrix(center, width, angle)
        np.testing.assert_allclose(pixels[i], slow_warp(shown, matrix), atol=0.05)
        expected, expected_weights = slow_heatmaps(moved @ matrix[:, :2].T + matrix[:, 2], labelled)
        np.testing.assert_allclose(maps[i], expected, atol=1e-5)
        np.testing.assert_array_equal(weights[i], expected_weights)
        flips, angles, widths = [*flips, flip], [*angles, angle], [*widths, width]
    assert 0 < sum(flips) < count and 0 in angles and np.ptp(angles) > 30 and len(set(widths)) > 8


def test_only_who_has_more_than_eight_labelled_keypoints_is_cut_in_half(monkeypatch):
    # Not compiled for so little.
    monkeypatch.setattr(crops.batches.tf, "function", lambda **options: lambda function: function)
    always = (0.0, 0.0, np.float32(0), 0.0, 1.0, 0.0)  # cut in half, and nothing else
    joints = COCO.flip_permutation, COCO.upper_body
    prepare = crops.batches._preparer.__wrapped__(*joints, SIZE, (16, 12), "gaussian", 2.0, 1.25, always)
    box, points = np.float32([[0, 0, 60, 90]] * 2), np.random.default_rng(0).uniform(10, 50, (2, 17, 2))
    visibility = np.arange(17) < np.array([[8], [9]])
    uniforms, normals = np.full((2, crops.batches.NUM_UNIFORMS), 0.5, "float32"), np.zeros((2, 2), "float32")
    matrices, *_ = prepare(box, points.astype("float32"), 2 * visibility.astype("int32"), uniforms, normals)
    whole = boxes.affine(*boxes.crop_region(box, 48 / 64, 1.25), SIZE)
    assert [np.allclose(found, plain) for found, plain in zip(matrices, whole, strict=True)] == [True, False]


def test_crops_are_those_of_opencv():
    """The published crop itself: `cv2.warpAffine` of the same matrices, within what OpenCV rounds."""
    given = people(6)
    dataset = crops.from_arrays(**given, skeleton=COCO)
    (batch,) = crops.evaluation(dataset, COCO, image_size=SIZE, normalization=PLAIN)
    for image, matrix, crop in zip(given["images"], batch["matrix"].numpy(), batch["crop"].numpy(), strict=True):
        expected = cv2.warpAffine(image, matrix.astype("float64"), SIZE[::-1], flags=cv2.INTER_LINEAR)
        np.testing.assert_allclose(crop, expected, atol=4.5)
        assert abs(crop - expected).mean() < 0.5


def dots(points, size=(96, 128)):
    """A black picture with a white blob round each point, an image of its own for each of the 17."""
    y, x = np.mgrid[: size[0], : size[1]]
    blobs = [255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points]
    return [np.stack([blob] * 3, axis=-1).round().astype("uint8") for blob in blobs]


def test_what_is_in_the_image_lies_where_the_heatmap_says():
    """For UDP; the rounded heatmaps are compared above.

    One keypoint a picture, marked in it: crop and heatmap must have their maxima in the same place."""
    random = np.random.default_rng(0)
    points = random.uniform((34, 22), (94, 74), (17, 2))
    keypoints, visibility = np.zeros((17, 17, 2)), np.zeros((17, 17), int)
    keypoints[range(17), range(17)], visibility[range(17), range(17)] = points, 2
    box = np.tile([24.0, 14.0, 104.0, 82.0], (17, 1))
    dataset = crops.from_arrays(dots(points), box, keypoints, visibility, COCO)
    options = {"batch_size": 34, "image_size": (128, 96), "codec": "udp", "normalization": PLAIN, "scale_factor": 0.2}
    ((pixels, maps, weights),) = read(training(dataset, rotation_degrees=30.0, **options), 1)
    places, sides = [], set()
    for crop, drawn, weight in zip(pixels, maps, weights, strict=True):
        (k,) = np.flatnonzero(weight)
        sides.add(k)
        assert crop.max() > 100
        y, x = np.mgrid[:128, :96]
        mass = crop[..., 0] / crop[..., 0].sum()
        in_crop = np.array([(mass * x).sum(), (mass * y).sum()])
        rows, columns = np.mgrid[:32, :24]
        mass = drawn[..., k] / drawn[..., k].sum()
        in_map = np.array([(mass * columns).sum(), (mass * rows).sum()])
        stride = np.array([95 / 23, 127 / 31])
        if 7 < in_map[0] < 17 and 7 < in_map[1] < 25:  # where neither is cut off
            places.append(np.abs(in_map * stride - in_crop).max())
    assert len(places) > 12 and max(places) < 0.1 and len(sides) > 12


def test_crops_for_udp_lie_by_the_centres_of_their_pixels_as_they_are_tested():
    """And a mirrored one is the other from right to left, to the pixel, with its joints swapped."""
    dataset = crops.from_arrays(**people(1, images_of=1), skeleton=COCO)
    still = STILL | {"batch_size": 8, "codec": "udp", "normalization": PLAIN, "flip_probability": 0.5}
    (batch,) = read(training(dataset, **still), 1)
    flips = tf.random.stateless_uniform((8, crops.batches.NUM_UNIFORMS), [6, 0])[:, 1].numpy() < 0.5
    plain, maps, weights = (array[~flips][:1] for array in batch)
    mirrored, mirrored_maps, mirrored_weights = (array[flips][:1] for array in batch)
    assert len(plain) == len(mirrored) == 1
    (tested,) = crops.evaluation(dataset, COCO, image_size=SIZE, udp=True, normalization=PLAIN)
    np.testing.assert_allclose(plain, tested["crop"], atol=0.05)
    np.testing.assert_allclose(mirrored, plain[:, :, ::-1], atol=0.05)
    order = list(COCO.flip_permutation)
    np.testing.assert_allclose(mirrored_maps, maps[:, :, ::-1][..., order], atol=1e-4)
    np.testing.assert_array_equal(mirrored_weights, weights[:, order])
    assert (maps[..., order] != maps).any()


def test_color_jitter_changes_colours_alone(dataset, uninterrupted):
    pixels, *others = uninterrupted[0]
    plain = 255 * (pixels * IMAGENET["std"] + IMAGENET["mean"]), *others
    (jittered,) = read(training(dataset, color_jitter=0.4, normalization=PLAIN), 1)
    np.testing.assert_array_equal(plain[1], jittered[1])
    uniforms = tf.random.stateless_uniform((4, crops.batches.NUM_UNIFORMS), [6, 0]).numpy()[:, -3:]
    for before, after, numbers in zip(plain[0], jittered[0], uniforms, strict=True):
        brightness, contrast, saturation = 1 + 0.4 * (2 * numbers - 1)
        grey = np.array([0.299, 0.587, 0.114])
        expected = np.clip(before * brightness, 0, 255)
        mean = (expected @ grey).mean()
        expected = np.clip(mean + (expected - mean) * contrast, 0, 255)
        level = (expected @ grey)[..., None]
        np.testing.assert_allclose(after, np.clip(level + (expected - level) * saturation, 0, 255), atol=0.02)
        assert abs(after - before).mean() > 2


def test_sizes_must_fit(dataset):
    with pytest.raises(ValueError, match=r"multiples of 4, got \(64, 50\); change it or give heatmap_size"):
        training(dataset, image_size=(64, 50))
    pixels, maps, _ = training(dataset, image_size=(64, 50), heatmap_size=(20, 15)).element_spec
    assert pixels.shape == (4, 64, 50, 3) and maps.shape == (4, 20, 15, 17)


# ---------------------------------------------------------------------------------------------------- evaluation
def test_evaluation_keeps_the_order_the_ids_and_the_last_batch(dataset):
    given = people()
    batches = list(crops.evaluation(dataset, COCO, 4, SIZE, normalization={"bgr": True}))
    assert [len(batch["crop"]) for batch in batches] == [4, 4, 2]
    assert set(batches[0]) == {"crop", "matrix"} | set(dataset.element_spec) - {"pixels"}
    merged = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    assert merged["person_id"].tolist() == list(range(10)) and merged["image_id"].tolist() == [i % 3 for i in range(10)]
    for key, name in (("box", "boxes"), ("keypoints", "keypoints"), ("visibility", "visibility")):
        np.testing.assert_array_equal(merged[key], given[name])
    regions = boxes.crop_region(given["boxes"], 48 / 64)
    np.testing.assert_array_equal(merged["matrix"], boxes.affine(*regions, SIZE))
    for i, image in enumerate(given["images"]):
        expected = image_ops.normalize(boxes.warp(image, merged["matrix"][i : i + 1], SIZE), bgr=True)[0]
        np.testing.assert_allclose(merged["crop"][i], expected, atol=1e-4)


def test_evaluation_can_be_unbiased(dataset):
    (batch,) = crops.evaluation(dataset, COCO, image_size=SIZE, udp=True, box_padding=1.0)
    regions = boxes.crop_region(people()["boxes"], 48 / 64, padding=1.0)
    np.testing.assert_array_equal(batch["matrix"], boxes.affine(*regions, SIZE, udp=True))


def test_people_in_a_row_share_their_image_and_nobody_elses(tmp_path):
    given = people(9)
    paths = {id(image): tmp_path / f"{i}.png" for i, image in enumerate(given["images"])}
    for image in given["images"]:
        paths[id(image)].write_bytes(png(image))
    order = [0, 3, 6, 1, 4, 2, 5, 8, 7]  # three in a row, two, three, then one whose image has been before
    given = {key: [value[i] for i in order] for key, value in given.items()}
    expected = next(iter(crops.evaluation(crops.from_arrays(**given, skeleton=COCO), COCO, image_size=SIZE)))
    given["images"] = [paths[id(image)] for image in given["images"]]
    same_ids = {"image_ids": np.zeros(9, "int64"), "names": ["one"] * 9}  # which say nothing of the files
    dataset = crops.from_arrays(**given, skeleton=COCO, **same_ids)
    found = np.concatenate([batch["crop"] for batch in crops.evaluation(dataset, COCO, 5, SIZE)])
    np.testing.assert_array_equal(found, expected["crop"])


def test_validation_is_evaluation_with_targets(dataset):
    batches = read(crops.validation(dataset, COCO, 4, SIZE, sigma_px=1.5, codec="udp"))
    assert [len(pixels) for pixels, *_ in batches] == [4, 4, 2]
    for (pixels, maps, weights), batch in zip(batches, crops.evaluation(dataset, COCO, 4, SIZE, udp=True), strict=True):
        np.testing.assert_array_equal(pixels, batch["crop"])
        points = boxes.transform_points(batch["keypoints"], batch["matrix"])
        labelled = (batch["visibility"].numpy() > 0).astype("float32")
        expected, expected_weights = heatmaps.encode(points, labelled, SIZE, (16, 12), 1.5, "udp")
        np.testing.assert_allclose(maps, expected, atol=1e-5)
        np.testing.assert_array_equal(weights, expected_weights)


@pytest.mark.parametrize("codec", ["regression", "simcc"])
def test_targets_without_heatmaps(dataset, codec):
    """Of any size, and where people are mirrored, labels come from the side that is then theirs."""
    size = (66, 50)  # no multiple of 4, which is the heatmaps' rule
    for batch, truth in zip(
        crops.validation(dataset, COCO, 4, size, codec=codec), crops.evaluation(dataset, COCO, 4, size), strict=True
    ):
        points = boxes.transform_points(truth["keypoints"], truth["matrix"])
        labelled = (truth["visibility"].numpy() > 0).astype("float32")
        pixels, found, weights = batch
        expected, expected_weights = heatmaps.encode_answers(points, labelled, size, codec=codec)
        np.testing.assert_array_equal(pixels, truth["crop"])
        np.testing.assert_array_equal(weights, expected_weights)
        for actual, wanted in zip(*map(tf.nest.flatten, (found, expected)), strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-5)
    options = STILL | {"flip_probability": 1.0, "normalization": PLAIN}
    pixels, found, weights = next(iter(crops.training(dataset, COCO, 8, size, codec=codec, seed=2, **options)))
    _, maps, seen = next(iter(crops.training(dataset, COCO, 8, size, (66, 50), "dark", seed=2, **options)))
    places, _ = heatmaps.decode_answers(found, size, codec)
    expected, _ = heatmaps.decode(maps, size, "dark")
    inside = (np.asarray(weights) > 0.5) & (np.asarray(seen) > 0.5)
    inside &= np.all((np.asarray(expected) > 8) & (np.asarray(expected) < np.array(size[::-1]) - 8), axis=-1)
    assert inside.sum() > 20
    np.testing.assert_allclose(places.numpy()[inside], expected.numpy()[inside], atol=0.3)


def test_codecs_and_their_sizes_are_checked_before_anything_is_read(dataset):
    for make in (crops.training, crops.validation):
        with pytest.raises(
            ValueError, match="codec must be one of gaussian, .*, got 'simc'; use the one of the training"
        ):
            make(dataset, COCO, image_size=SIZE, codec="simc")
        with pytest.raises(ValueError, match="image_size must be multiples of 4, got"):
            make(dataset, COCO, image_size=(66, 50))


def test_annotations_are_the_ground_truth(prepared):
    dataset, _ = crops.from_tfds("pictures/three", "train", prepared)
    found, given = crops.annotations(dataset, COCO), people()
    assert len(found["box"]) == 10
    for i, number in enumerate(found["person_id"]):
        np.testing.assert_array_equal(found["keypoints"][i], given["keypoints"][number])
        assert found["is_crowd"][i] == (number == 4) and found["name"][i] == f"{number % 3}.png"
