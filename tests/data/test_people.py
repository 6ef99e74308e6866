"""The bottom-up pipeline: sources, bad input, reproducible batches of fields as published, evaluation in order."""

import hashlib
import itertools
import json
import pickle
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from scipy import ndimage

from kerapose.data import annotated, crops, order, people
from kerapose.ops import images as image_ops
from kerapose.ops import pafs
from kerapose.skeletons import COCO, MPII, OPENPOSE, Skeleton

SIZE = (64, 80)  # of the network's images, in most tests
CELLS = (8, 10)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # leaves pixels as they are
SIDES = ("left", "right")
FEW = Skeleton("few", ("head", "left_hand", "right_hand"), ((0, 1), (0, 2)))
STILL = {"flip_probability": 0.0, "scale_range": (1.0, 1.0), "rotation_degrees": 0.0, "shift_px": 0.0}

# Prints a digest of batches 3 and 4, in a process that is set up as the training scripts are.
OTHER_PROCESS = """
import hashlib, pathlib, pickle, sys
import keras, tensorflow
from kerapose.data import people
from kerapose.skeletons import COCO, OPENPOSE
keras.utils.set_random_seed(0)
tensorflow.config.experimental.enable_op_determinism()
dataset = people.from_arrays(**pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), skeleton=COCO)
total = hashlib.sha256()
for batch in people.training(dataset, COCO, OPENPOSE, 4, (64, 80), seed=3, first_step=3).take(2):
    for array in batch:
        total.update(array.numpy().tobytes())
print(total.hexdigest())
"""


# ---------------------------------------------------------------------------------------------------- people in images
def picture(seed=0, size=(90, 120)):
    """A smooth coloured picture, so that a fraction of a pixel makes a small difference."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 6, size[1] // 6, 3), "uint8")
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def group(boxes, seed=0, skeleton=COCO, **changes):
    """People with these boxes: keypoints anywhere in them, about a fifth not labelled."""
    random = np.random.default_rng(seed)
    boxes = np.array(boxes, "float32").reshape(-1, 4)
    shape = (len(boxes), skeleton.num_keypoints)
    points = random.uniform(boxes[:, None, :2], boxes[:, None, 2:], (*shape, 2)).astype("float32")
    visibility = random.choice([0, 1, 2, 2, 2], shape)
    points[visibility == 0] = 0
    return {"keypoints": points, "visibility": visibility, "box": boxes} | changes


def arrays():
    """Arguments of `from_arrays`: four images with 4, 1, 0 and 2 people, of whom 5 are main ones."""
    sizes = [(90, 120), (120, 90), (50, 70), (64, 64)]
    crowded = group([(5, 5, 50, 80), (60, 10, 110, 85), (0, 60, 119, 89), (80, 0, 119, 20)], 0)
    crowded |= {"is_crowd": np.array([False, False, True, False])}
    crowded["visibility"][2:] = 0  # of the crowd, and of somebody in the background
    crowded["keypoints"][2:] = 0
    groups = [crowded, group([(10, 20, 80, 110)], 1), group([]), group([(2, 2, 40, 60), (28, 5, 62, 60)], 2)]
    return {"images": [picture(i, size) for i, size in enumerate(sizes)], "people": groups}


MAINS = [(0, 0), (0, 1), (1, 0), (3, 0), (3, 1)]  # image, person


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


def training(dataset, skeleton=COCO, target=OPENPOSE, **changes):
    return people.training(
        dataset, skeleton, target, **{"batch_size": 4, "image_size": SIZE, "seed": 3, "normalization": PLAIN} | changes
    )


@pytest.fixture
def uncompiled():
    tf.config.run_functions_eagerly(True)  # XLA takes longer for shapes of a single test than it saves there
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def dataset():
    return people.from_arrays(**arrays(), skeleton=COCO)


# ---------------------------------------------------------------------------------------------------- from arrays
def test_from_arrays_gives_the_arrays_back(dataset):
    given = arrays()
    elements = list(dataset.as_numpy_iterator())
    assert int(dataset.cardinality()) == len(elements) == 4
    next_person = 0
    for i, (element, image, group) in enumerate(zip(elements, given["images"], given["people"], strict=True)):
        count = len(group["box"])
        for key in ("keypoints", "visibility", "box"):
            np.testing.assert_array_equal(element[key], group[key])
        np.testing.assert_array_equal(element["area"], np.prod(group["box"][:, 2:] - group["box"][:, :2], axis=1))
        np.testing.assert_array_equal(element["is_crowd"], group.get("is_crowd", np.zeros(count, bool)))
        np.testing.assert_array_equal(element["person_id"], np.arange(next_person, next_person + count))
        np.testing.assert_array_equal(element["head_size"], np.zeros(count))
        np.testing.assert_array_equal(annotated.decoded(element), image)
        assert element["image_id"] == i and element["name"] == str(i).encode()
        next_person += count
    of_person = crops.from_arrays([picture()], np.zeros((1, 4)), np.zeros((1, 17, 2)), None, COCO).element_spec
    assert {key: spec.dtype for key, spec in dataset.element_spec.items()} == {
        key: spec.dtype for key, spec in of_person.items()
    }
    assert dataset.element_spec["keypoints"].shape.as_list() == [None, 17, 2]


def test_from_arrays_takes_what_is_known():
    points = np.zeros((2, 17, 2))
    points[0, 3], points[1, 4] = (0, 5), (7, 8)
    known = {"area": [1.0, 2.0], "head_size": [4.0, 0.0], "is_crowd": [False, True], "person_id": [30, 20]}
    one = {"keypoints": points, "box": np.ones((2, 4))} | known
    other = {"keypoints": [], "box": []}
    dataset = people.from_arrays([picture(), picture(1)], [one, other], COCO, image_ids=[9, 4], names=["a", "b"])
    found = people.annotations(dataset, COCO)
    for key, value in known.items():
        np.testing.assert_array_equal(found[key], value)
    assert found["image_id"].tolist() == [9, 9] and found["name"].tolist() == ["a", "a"]
    assert people.image_ids(dataset).tolist() == [9, 4]
    assert np.argwhere(found["visibility"]).tolist() == [[0, 3], [1, 4]] and found["visibility"].max() == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": [group([(0, 0, 9, 9)], skeleton=MPII)]}, r"Image 0: keypoints of 1 .* \(1, 17, 2\), got \(1, 16,"),
        ({"people": [group([(0, 0, 9, 9)], box=np.ones((2, 4)))]}, r"Image 0: box of 1 people .* \(1, 4\), got \(2, 4"),
        ({"people": [{"keypoints": []}]}, r"People have keypoints, box and .* image 0 have keypoints; rename these or"),
        ({"people": [group([], ages=[])]}, r"image 0 have keypoints, visibility, box, ages; rename these or leave"),
        ({"people": []}, "people must be one for each of the 1 images, got 0; give as many"),
        ({"names": ["a", "b"]}, "names must be one for each of the 1 images, got 2; give as many"),
        ({"images": ["a", "b"], "people": [group([])] * 2, "image_ids": [3, 3]}, "an id of its own, image_ids repeats"),
        ({"images": ["a", b"b"], "people": [group([])] * 2}, "all paths, all bytes or all arrays, got a mixture"),
        ({"images": [picture().astype("float32")]}, r"Images are uint8 .*, got float32 \[90, 120, 3\]; convert them"),
    ],
)
def test_from_arrays_refuses_what_is_not_as_described(changes, message):
    with pytest.raises(ValueError, match=message):
        people.from_arrays(**{"images": [picture()], "people": [group([])]} | changes, skeleton=COCO)


# ---------------------------------------------------------------------------------------------------- COCO files
CATEGORY = {"id": 3, "name": "mouse", "keypoints": ["snout", "leftear", "rightear"], "skeleton": [[1, 2], [1, 3]]}


def annotation(number, image_id, **changes):
    points = [10 + number, 20, 2, 30, 40 + number, 1, 0, 0, 0]
    entry = {"id": number, "image_id": image_id, "category_id": 3, "keypoints": points, "bbox": [5, 6, 50, 40 + number]}
    return entry | {"area": 2000.5 + number, "iscrowd": 0} | changes


def write_coco(folder, annotations, listed=((4, "d.png"), (2, "b.png"), (9, "i.png"))):
    for i, (_, name) in enumerate(listed):
        (folder / name).write_bytes(png(picture(i)))
    content = {
        "images": [{"id": image_id, "file_name": name, "height": 90, "width": 120} for image_id, name in listed],
        "annotations": annotations,
        "categories": [CATEGORY],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder / "annotations.json", folder


def test_from_coco_reads_all_images_in_the_order_of_the_file(tmp_path):
    file, folder = write_coco(tmp_path, [annotation(1, 9), annotation(5, 4), annotation(2, 9, iscrowd=1)])
    dataset, skeleton = people.from_coco(file, folder)
    assert skeleton.keypoints == ("snout", "leftear", "rightear")
    elements = list(dataset.as_numpy_iterator())
    assert [element["name"] for element in elements] == [b"d.png", b"b.png", b"i.png"]
    assert [element["person_id"].tolist() for element in elements] == [[5], [], [1, 2]]
    assert people.image_ids(dataset).tolist() == [4, 2, 9]
    np.testing.assert_array_equal(annotated.decoded(elements[1]), picture(1))
    assert elements[2]["is_crowd"].tolist() == [False, True]
    wanted = crops.annotations(crops.from_coco(file, folder)[0], skeleton)
    found = people.annotations(dataset, skeleton)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value)
    assert people.check(dataset, skeleton) == 3
    # Of three keypoints two are enough to be a main person, though the published five are not there.
    assert int(people.trainable(dataset, skeleton, min_area=2002).cardinality()) == 1


def test_from_coco_refuses_what_is_malformed(tmp_path):
    file, folder = write_coco(tmp_path, [annotation(1, 77)])
    with pytest.raises(ValueError, match=r"has people in 1 images that are not listed \(77\)"):
        people.from_coco(file, folder)
    with pytest.raises(FileNotFoundError, match="image_dir must be a folder, got .*nowhere; give the one"):
        people.from_coco(file, folder / "nowhere")


# ---------------------------------------------------------------------------------------------------- TFDS
class Gatherings(tfds.core.GeneratorBasedBuilder):
    """The people above, one record an image; another config is never prepared."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("four", "others")]

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
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(image),
            metadata=tfds.core.MetadataDict(skeleton=COCO.to_dict()),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for element in people.from_arrays(**arrays(), skeleton=COCO).as_numpy_iterator():
            fields = {key: element[key] for key in people.samples.PERSON_FIELDS if key != "person_id"}
            inside = [
                {key: value[i] for key, value in fields.items()} | {"id": element["person_id"][i]}
                for i in range(len(element["box"]))
            ]
            record = {"image": element["pixels"], "people": inside, "image_id": element["image_id"]}
            yield element["name"].decode(), record | {"name": element["name"].decode()}


def test_from_tfds_equals_from_arrays(tmp_path, dataset):
    Gatherings(data_dir=str(tmp_path), config="four").download_and_prepare()
    found, skeleton = people.from_tfds("gatherings/four", "train", str(tmp_path))
    assert skeleton is COCO and int(found.cardinality()) == 4
    expected = {element["image_id"]: element for element in dataset.as_numpy_iterator()}
    for element in found.as_numpy_iterator():
        wanted = expected.pop(element["image_id"])
        for key in (*people.samples.PERSON_FIELDS, "name"):
            np.testing.assert_array_equal(element[key], wanted[key])
        assert element["image"].startswith(b"\x89PNG")  # which is not decoded before its batch
        np.testing.assert_array_equal(annotated.decoded(element), wanted["pixels"])
    assert not expected and int(people.trainable(found, COCO).cardinality()) == len(MAINS)
    with pytest.raises(people.NotPreparedError, match="gatherings/others is not prepared in .* run: python datasets/"):
        people.from_tfds("gatherings/others", "train", str(tmp_path))


# ---------------------------------------------------------------------------------------------------- samples
def published_mains(group, min_keypoints=5, min_area=32 * 32, min_distance=0.3):
    """Who is a main person, one after the other."""
    mains = []
    for i, (left, top, right, bottom) in enumerate(group["box"]):
        few = np.count_nonzero(group["visibility"][i]) < min_keypoints
        if few or group["area"][i] < min_area or group["is_crowd"][i] or left == right or top == bottom:
            continue
        is_close = False
        for j in mains:
            other = group["box"][j]
            x, y = (left + right - other[0] - other[2]) / 2, (top + bottom - other[1] - other[3]) / 2
            is_close |= np.hypot(x, y) < min_distance * (other[2] - other[0])
        if not is_close:
            mains.append(i)
    return mains


@pytest.mark.parametrize("options", [{}, {"min_keypoints": 9, "min_area": 300.0, "min_distance": 0.6}])
def test_main_people_are_those_of_a_slow_version(options):
    random = np.random.default_rng(0)
    groups = []
    for i in range(60):
        count = random.integers(0, 9)
        corner, extent = random.uniform(0, 60, (count, 2)), random.uniform(0, 80, (count, 2)) // 4 * 4
        one = group(np.concatenate([corner, corner + extent], axis=1), i)
        one["visibility"] *= random.random((count, 17)) < random.random((count, 1))
        one |= {"is_crowd": random.random(count) < 0.1, "area": extent.prod(axis=1) * random.uniform(0.2, 1, count)}
        groups.append(one)
    dataset = people.from_arrays([picture()] * 60, groups, COCO)
    samples = people.trainable(dataset, COCO, **options)
    found = [(int(sample["image_id"]), int(sample["main"])) for sample in samples]
    assert found == [(i, main) for i, one in enumerate(groups) for main in published_mains(one, **options)]
    assert int(samples.cardinality()) == len(found) > 20
    assert people.trainable(samples, COCO) is samples


def test_who_is_no_main_person_is_counted(monkeypatch, dataset):
    said = []
    monkeypatch.setattr(logging, "info", lambda message, *args: said.append(message % args))
    samples = people.trainable(dataset, COCO)
    assert [(int(sample["image_id"]), int(sample["main"])) for sample in samples] == MAINS
    assert said == [
        "2 of 7 people are no main ones: 1 crowds, 2 with less than 5 labelled keypoints, 1 with an area of less than "
        "1024 pixels."
    ]


@pytest.mark.parametrize(("skeleton", "least"), [(FEW, 2), (COCO, 5)], ids=["few", "coco"])
def test_of_a_small_skeleton_half_the_keypoints_are_enough(skeleton, least):
    count = skeleton.num_keypoints
    visibility = np.array([[2] * shown + [0] * (count - shown) for shown in (least - 1, least)])
    one = {"keypoints": np.full((2, count, 2), 30.0), "box": [(0, 0, 40, 40), (20, 20, 60, 60)]}
    samples = people.trainable(people.from_arrays([picture()], [one | {"visibility": visibility}], skeleton), skeleton)
    assert [int(sample["main"]) for sample in samples] == [1]


def test_somebody_must_be_left(dataset):
    nobody = people.from_arrays([picture()] * 2, [group([]), group([])], COCO)
    assert len(people.annotations(nobody, COCO)["box"]) == 0 and people.image_ids(nobody).tolist() == [0, 1]
    strangers = people.from_arrays([picture()], [group([(0, 0, 9, 9)], visibility=np.zeros((1, 17)))], COCO)
    empty = people.from_arrays([], [], COCO)
    assert people.image_ids(empty).tolist() == []
    for use in (people.trainable, people.check, people.training, people.validation):
        if use in (people.trainable, people.check):  # the others ask `trainable`
            with pytest.raises(
                ValueError, match="one main person to learn from, got 0 people in 2 images; check the s"
            ):
                use(nobody, COCO)
            with pytest.raises(ValueError, match="got 1 people in 1 images, 1 with less than 5 labelled keypoints, 1"):
                use(strangers, COCO)
            with pytest.raises(ValueError, match="A dataset has at least one image, got none; check the split"):
                use(empty, COCO)
        with pytest.raises(ValueError, match=r"mpii has 16 keypoints, got \[17, 2\] in the dataset; give the skeleton"):
            use(dataset, MPII)


def test_real_annotations(shared_data):
    folder = shared_data("coco_mini")
    dataset, skeleton = people.from_coco(folder / "person_keypoints_mini.json", folder / "images")
    assert skeleton is COCO and people.check(dataset, COCO) == 14 and len(people.image_ids(dataset)) == 4
    samples = people.trainable(dataset, COCO)
    assert [(int(sample["image_id"]), int(sample["main"])) for sample in samples] == [
        *((785, 0), (40083, 0), (40083, 1)),
        *((196141, 0), (196141, 1), (196141, 3), (196141, 4)),
        *((197388, i) for i in range(5)),
    ]
    shapes = {int(element["image_id"]): element["image"].shape for element in people.evaluation(dataset)}
    assert shapes == {785: (425, 640, 3), 40083: (333, 500, 3), 196141: (429, 640, 3), 197388: (392, 640, 3)}


# ---------------------------------------------------------------------------------------------------- bad input
def test_unsound_annotations_are_refused_by_name():
    """Of what cannot be right, in annotations and in files, test_gate_images.py has all kinds."""
    given = arrays()
    given["people"][1]["keypoints"][0, 3, 0] = np.nan
    dataset = people.from_arrays(**given, skeleton=COCO)
    message = r"1 of 7 people with a labelled keypoint that is not finite \(1\).*, or leave them out with `skip"
    for use in (people.check, people.trainable, people.training, people.validation):
        with pytest.raises(people.BadDataError, match=message) as error:
            use(dataset, COCO)
    left = people.skip(dataset, error.value.names)
    assert int(left.cardinality()) == 3 and people.check(left, COCO) == 6
    with pytest.raises(ValueError, match="Images to skip are in the dataset, 9.jpg are not; correct the names"):
        people.skip(dataset, ["9.jpg"])


def test_a_box_outside_of_the_image_is_refused_by_name():
    given = arrays()
    given["people"][1]["box"][:] = (95, 10, 150, 50)
    given["people"][0]["box"][3] = (130, 10, 150, 50)  # nobody learns from this one
    dataset = people.from_arrays(**given, skeleton=COCO)
    with pytest.raises(people.BadDataError, match=r"1 of 7 people with a box outside of the image \(1: "):
        people.check(dataset, COCO)


def test_sizes_and_skeletons_must_fit(dataset):
    with pytest.raises(ValueError, match=r"multiples of the stride 8, got \(64, 84\); change one of them"):
        training(dataset, image_size=(64, 84))
    with pytest.raises(ValueError, match="mpii keypoints must follow from those of coco, head_top cannot; train a set"):
        training(dataset, COCO, MPII)


# ---------------------------------------------------------------------------------------------------- reproducible
@pytest.fixture(scope="module")
def pipeline(dataset):
    return training(dataset, normalization=None)


@pytest.fixture(scope="module")
def uninterrupted(pipeline):
    return read(pipeline, 5)  # 4 passes over 5 samples


def test_batches_have_the_promised_shapes(pipeline, uninterrupted):
    channels = OPENPOSE.num_keypoints + 1 + 2 * OPENPOSE.num_edges
    shapes = [[4, *SIZE, 3], [4, *CELLS, channels], [4, *CELLS, 1]]
    assert [spec.shape.as_list() for spec in pipeline.element_spec] == shapes
    for pixels, targets, mask in uninterrupted:
        assert all(array.dtype == np.float32 for array in (pixels, targets, mask))
        assert -0.5 <= pixels.min() < -0.3 and 0.3 < pixels.max() < 0.5
        assert targets[..., :18].max() > 0.7 and abs(targets[..., 19:]).max() > 0.9
        assert set(np.unique(mask)) <= {0, 1}
    assert any((mask == 0).any() for *_, mask in uninterrupted)


def test_a_seed_makes_the_batches(pipeline, uninterrupted, dataset):
    tf.random.set_seed(99)  # somebody else's seed
    assert_same(read(pipeline, 2), uninterrupted[:2])
    other = read(training(dataset, seed=4), 1)[0]
    assert all((array != wanted).any() for array, wanted in zip(other[:2], uninterrupted[0][:2], strict=True))


def test_a_run_that_was_cut_short_goes_on_with_its_batches(uninterrupted):
    given = arrays()
    given["images"] = [png(image) for image in given["images"]]  # another source of the same
    dataset = people.from_arrays(**given, skeleton=COCO)
    assert_same(read(training(dataset, normalization=None, first_step=3), 2), uninterrupted[3:])


@pytest.mark.parametrize("count, replicas", [(2, 1), (2, 2)])
def test_several_workers_make_the_same_batches(put_together, dataset, uninterrupted, count, replicas):
    batches = put_together(
        lambda share: training(dataset, first_step=3, share=share, normalization=None), 2, count, replicas
    )
    assert_same([tuple(map(np.concatenate, zip(*parts, strict=True))) for parts in batches], uninterrupted[3:5])


@pytest.mark.slow  # a quarter of a minute; test_clips.py has the same of its sister
def test_a_fresh_process_goes_on_with_the_batches(uninterrupted, tmp_path):
    file = tmp_path / "arrays"
    file.write_bytes(pickle.dumps(arrays()))
    command = [sys.executable, "-c", OTHER_PROCESS, str(file)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert other.returncode == 0, other.stderr
    digest = hashlib.sha256()
    for array in itertools.chain(*uninterrupted[3:]):
        digest.update(array.tobytes())
    assert other.stdout.split()[-1] == digest.hexdigest()


def test_every_sample_is_seen_once_a_pass_in_another_order():
    """Each image has a grey of its own, which shows in the middle of what the network sees."""
    images = [np.full((60, 60, 3), 20 * i, "uint8") for i in range(9)]
    groups = [group([(10, 10, 50, 50)] * (i != 4), i) for i in range(9)]  # nobody in the fifth
    batches = training(people.from_arrays(images, groups, COCO), shift_px=4.0)
    seen = np.concatenate([pixels[:, 32, 40, 0] for pixels, *_ in read(batches, 6)]).reshape(3, 8)
    wanted = [20 * i for i in range(9) if i != 4]
    np.testing.assert_allclose(np.sort(seen), [wanted] * 3, atol=1e-3)
    assert len({tuple(one.round()) for one in seen}) == 3


def test_encoded_images_are_drawn_from_a_buffer_of_bounded_size(monkeypatch, dataset):
    class SeenError(Exception):
        pass

    def shuffled(dataset, seed, first, buffer_size):
        raise SeenError(seed, first, buffer_size)

    monkeypatch.setattr(order, "shuffled_endlessly", shuffled)
    encoded = people.from_arrays([tf.io.encode_png(picture()).numpy()], [group([(0, 0, 60, 60)])], COCO)
    for given, options, size in (
        (encoded, {}, annotated.SHUFFLE_BUFFER),
        (encoded, {"shuffle_buffer": 7}, 7),
        (dataset, {}, None),  # whose pixels are in memory anyway
    ):
        with pytest.raises(SeenError) as seen:
            people.training(given, COCO, batch_size=4, seed=3, first_step=5, **options)
        assert seen.value.args == (3, 20, size)


def test_every_option_of_a_pipeline_reaches_the_fields(monkeypatch, dataset):
    """And without options the recipe is the published one."""
    told, sizes, batches = {}, [], people.batches

    class Shuffled:
        def ragged_batch(self, batch_size, drop_remainder=False):
            sizes.append((batch_size, drop_remainder))
            return self

        def __getattr__(self, name):
            return lambda *given: self

    def keep(name):
        return lambda *given: told.setdefault(name, []).append(given)

    def with_handles(elements):
        told.setdefault("order", []).append(elements[1:] if isinstance(elements, tuple) else "in order")
        return Shuffled()

    monkeypatch.setattr(batches, "trainable", lambda dataset, skeleton: dataset)
    monkeypatch.setattr(order, "shuffled_endlessly", lambda *given: given)
    monkeypatch.setattr(annotated, "with_handles", with_handles)
    monkeypatch.setattr(annotated, "finisher", keep("finisher"))
    monkeypatch.setattr(batches, "_fields", keep("_fields"))
    monkeypatch.setattr(batches.mirrors, "allowed", keep("mirrors"))
    fields = {"batch_size": 5, "image_size": (64, 96), "sigma_px": 3.0, "stride": 16, "thickness": 2.0}
    fields |= {"published": True, "normalization": PLAIN}
    options = {"flip_probability": 0.1, "color_jitter": 0.7, "seed": 9, "first_step": 2, "shuffle_buffer": 11}
    people.training(dataset, COCO, OPENPOSE, **fields, **options)
    people.training(dataset, COCO)
    people.validation(dataset, COCO, OPENPOSE, **fields)
    people.validation(dataset, COCO)
    own, usual = (COCO, OPENPOSE, (64, 96), 3.0, 16, 2.0, True), (COCO, COCO, (368, 368), 7.0, 8, 1.0, False)
    assert told["_fields"] == [own, usual] * 2
    published = image_ops.OPENPOSE_NORMALIZATION
    assert told["finisher"] == [(PLAIN, 0.7), (published, 0.0), (PLAIN, 0.0), (published, 0.0)]
    assert told["mirrors"] == [(0.1, OPENPOSE), (0.5, COCO)]  # of what is trained, which alone is mirrored
    assert told["order"] == [(9, 10, 11), (0, 0, None), "in order", "in order"]
    assert sizes == [(5, True), (32, True), (5, False), (32, False)]


# ---------------------------------------------------------------------------------------------------- as published
def translation(x, y):
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def published_matrix(box, size, uniforms, options, mirrored):
    """Scales the image, turns it about its centre, cuts round the person: in double precision, one after the other."""
    height, width = size
    left, top, right, bottom = box
    center = np.array([(left + right) / 2, (top + bottom) / 2])
    if mirrored:  # the picture first, then all that is known of it
        center[0] = width - 1 - center[0]
    low, high = options["scale_range"]
    scale = options["target_size"] * SIZE[0] / (bottom - top) * (low + (high - low) * uniforms[1])
    radians = np.deg2rad((2 * uniforms[2] - 1) * options["rotation_degrees"])
    cos, sin = np.cos(radians), np.sin(radians)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    middle = scale * width / 2, scale * height / 2
    matrix = translation(*middle) @ turn @ translation(-middle[0], -middle[1]) @ np.diag([scale, scale, 1])
    x, y, _ = matrix @ [*center, 1]
    shift = (2 * uniforms[3:5] - 1) * options["shift_px"]
    matrix = translation(SIZE[1] / 2 - x + shift[0], SIZE[0] / 2 - y + shift[1]) @ matrix
    return (matrix @ np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]) if mirrored else matrix)[:2]


def slow_warp(image, matrix):
    """Bilinear, grey outside of the image."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    x, y, _ = np.einsum("ij,jhw->ihw", inverse, np.stack([x, y, np.ones_like(x)]))
    channels = [
        ndimage.map_coordinates(image[..., c] / 1.0, [y, x], order=1, mode="grid-constant", cval=128.0)
        for c in (0, 1, 2)
    ]
    return np.stack(channels, axis=-1)


def slow_mask(group, matrix):
    """Cell by cell: 0 in the box of a crowd or of somebody without keypoints, if in nobody else's."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    mask = np.ones((*CELLS, 1))
    for row, column in np.ndindex(*CELLS):
        x, y, _ = inverse @ (8 * column + 3.5, 8 * row + 3.5, 1)
        inside = [left < x < right and top < y < bottom for left, top, right, bottom in group["box"]]
        seen = (group["visibility"] > 0).any(axis=1) & ~group.get("is_crowd", np.zeros(len(inside), bool))
        mask[row, column] = not any(inside) or any(np.array(inside) & seen)
    return mask


def openpose_of(group, size):
    """Keypoints with a neck between the shoulders, in OpenPose's order, and whether they are labelled in the image."""
    points = group["keypoints"].astype("float64")
    labelled = group["visibility"] > 0
    labelled &= ((points >= 0) & (points < size[::-1])).all(axis=-1)
    left, right = COCO.index("left_shoulder"), COCO.index("right_shoulder")
    points = np.concatenate([points, (points[:, [left]] + points[:, [right]]) / 2], axis=1)
    labelled = np.concatenate([labelled, labelled[:, [left]] & labelled[:, [right]]], axis=1)
    names = (*COCO.keypoints, "neck")
    order = [names.index(name) for name in OPENPOSE.keypoints]
    return points[:, order], labelled[:, order]


def test_training_equals_a_slow_version_of_the_published_one():
    """But for how fields are drawn as published, which the golden below has."""
    options = {"flip_probability": 0.8, "scale_range": (0.8, 1.6), "target_size": 0.8, "rotation_degrees": 180.0}
    options |= {"shift_px": 5.0, "published": False}
    seed, step = 7, 2
    given = arrays()
    image, one = given["images"][0], given["people"][0]
    one["visibility"][1] = 0  # so that there is one main person
    one["keypoints"][0, COCO.index("right_elbow")] = (-2, 30)  # outside of the image, so absent
    one["visibility"][0] = 2
    dataset = people.from_arrays([image], [one], COCO)
    batches = read(training(dataset, seed=seed, first_step=step, **options), 3)
    pixels, targets, mask = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    steps = range(step, step + 3)
    uniforms = np.concatenate([tf.random.stateless_uniform((4, people.batches.NUM_UNIFORMS), [seed, n]) for n in steps])
    points, labelled = openpose_of(one, image.shape[:2])
    assert not labelled[0, OPENPOSE.index("right_elbow")] and labelled[0].sum() == 17
    swapped = dict(OPENPOSE.flip_pairs) | {b: a for a, b in OPENPOSE.flip_pairs}
    flips = uniforms[:, 0] < options["flip_probability"]
    for i in range(12):
        matrix = published_matrix(one["box"][0], image.shape[:2], uniforms[i], options, flips[i])
        np.testing.assert_allclose(pixels[i], slow_warp(image, matrix), atol=0.05)
        order = [swapped.get(k, k) for k in range(18)] if flips[i] else list(range(18))
        moved, weights = (points @ matrix[:, :2].T + matrix[:, 2])[:, order], labelled[:, order]
        heatmaps = pafs.encode_heatmaps(moved, weights, CELLS, published=options["published"])
        np.testing.assert_allclose(targets[i, ..., :19], heatmaps, atol=1e-4)
        fields = pafs.encode(moved, weights, OPENPOSE.edges, CELLS, published=options["published"])
        assert (abs(targets[i, ..., 19:] - np.array(fields)).max(axis=-1) > 1e-4).sum() <= 1  # a cell on the very edge
        np.testing.assert_array_equal(mask[i], slow_mask(one, matrix))
    assert 0 < flips.sum() < 12 and 0 < (mask == 0).mean() < 0.9


def test_what_is_in_the_image_lies_where_the_heatmap_says():
    """Joints are marked in the image, left ones red, right ones blue; a mirror makes left ones of right ones."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:220, :240]
    names = ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_ankle", "right_ankle"]
    places = [(120, 50), (160, 75), (80, 80), (145, 120), (95, 125), (150, 170), (85, 175)]
    image, points, visibility = np.zeros((220, 240, 3)), np.zeros((1, 17, 2)), np.zeros((1, 17))
    for name, place in zip(names, places, strict=True):
        place = np.array(place) + random.uniform(-2, 2, 2)
        colour = np.array([name.startswith("left"), name == "nose", name.startswith("right")])
        image += 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 18)[..., None] * colour
        points[0, COCO.index(name)], visibility[0, COCO.index(name)] = place, 2
    one = {"keypoints": points, "visibility": visibility, "box": [[70.0, 40, 170, 185]]}
    dataset = people.from_arrays([image.round().astype("uint8")], [one], COCO)
    batches = read(training(dataset, shift_px=10.0, scale_range=(0.8, 1.1)), 8)
    pixels, targets, _ = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    rows, columns = np.mgrid[: CELLS[0], : CELLS[1]]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    colours, errors = [], []
    for shown, drawn in zip(pixels, targets, strict=True):
        for name in names:
            heatmap = drawn[..., OPENPOSE.index(name)]
            if heatmap.sum() == 0:
                continue
            at = np.array([(heatmap * columns).sum(), (heatmap * rows).sum()]) / heatmap.sum() * 8 + 3.5
            if not ((at > 23) & (at < (57, 41))).all():  # where neither is cut off
                continue
            near = (x - at[0]) ** 2 + (y - at[1]) ** 2 < 4.5**2
            mass = np.where(near[..., None], shown, 0).sum(axis=-1)
            errors.append(np.hypot((mass * x).sum() / mass.sum() - at[0], (mass * y).sum() / mass.sum() - at[1]))
            colour = np.where(near[..., None], shown, 0).sum(axis=(0, 1)).argmax()
            colours.append(("left", "nose", "right")[colour] + " in place of " + name.split("_")[0])
    assert len(errors) > 50 and max(errors) < 0.3
    assert set(colours) == {"nose in place of nose", *(f"{a} in place of {b}" for a in SIDES for b in SIDES)}


def test_keypoints_and_targets_are_as_published(golden, uncompiled):
    """The box of the main person is the whole image of the golden, so that nothing moves."""
    case = golden("openpose_target_a")
    given, wanted = case["input_coco_keypoints"], case["output_converted"]
    labelled = (given[..., 2] <= 1) & given[..., :2].any(axis=-1)  # in COCO's files (0, 0) is not labelled
    box = np.tile([0.0, 0, 184, 160], (3, 1))
    one = {"keypoints": given[..., :2], "visibility": labelled.astype("int32"), "box": box}
    dataset = people.from_arrays([picture(size=(160, 184))], [one], COCO)
    options = {"image_size": (160, 184), "target_size": 1.0, "published": True, "batch_size": 1}
    ((_, (targets,), _),) = read(training(dataset, **STILL, **options), 1)
    drawn = wanted[..., 2] <= 1
    assert drawn[:, 1].any() and not drawn[:, 1].all()  # necks
    heatmaps = pafs.encode_heatmaps(wanted[..., :2], drawn, (20, 23), published=True)
    np.testing.assert_allclose(targets[..., :19], heatmaps, atol=1e-5)
    fields = pafs.encode(wanted[..., :2], drawn, OPENPOSE.edges, (20, 23), published=True)
    np.testing.assert_allclose(targets[..., 19:], fields, atol=1e-5)


def test_the_mask_lies_on_the_crowd_in_the_image():
    """The crowd is painted red: the mask must be 0 where the network sees red, and nowhere else."""
    image = np.zeros((120, 120, 3), "uint8")
    image[30:91, 60:111, 0] = 255
    one = group([(20, 20, 70, 100), (59.5, 29.5, 110.5, 90.5)], is_crowd=[False, True])
    image[20:100, 20:70, 0] = 0  # the one with keypoints is in front
    batches = read(training(people.from_arrays([image], [one], COCO), target_size=0.9), 6)
    for pixels, _, mask in batches:
        blocks = pixels.reshape(4, 8, 8, 10, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(4, *CELLS, 64, 3)
        redness = (blocks[..., 0] - blocks[..., 1]).mean(axis=-1) / 255
        sure = (redness < 0.1) | (redness > 0.9)  # not cells across the border
        np.testing.assert_array_equal((redness > 0.5)[sure], (mask[..., 0] == 0)[sure])
        assert (redness > 0.9).any() and sure.mean() > 0.6


def test_people_outside_of_what_is_seen_leave_nothing():
    near, far = (10, 5, 40, 45), (220, 5, 290, 45)
    both = group([near, far], area=[2000.0, 100.0])  # the second one is no main person
    alone = {key: value[:1] for key, value in both.items()}
    closer = both | {"box": np.array([near, (20, 5, 90, 45)]), "keypoints": both["keypoints"] - [[[0, 0]], [[200, 0]]]}
    dataset = people.from_arrays([picture(size=(50, 300))] * 4, [both, alone, closer, alone], COCO)
    ((_, targets, mask),) = read(people.validation(dataset, COCO, OPENPOSE, 4, SIZE))
    np.testing.assert_array_equal(targets[0], targets[1])
    assert (targets[2] != targets[1]).any() and mask.all()


def test_images_smaller_than_the_stride():
    sizes = [(5, 7), (1, 1), (1, 9), (7, 2)]
    images = [np.full((*size, 3), 200, "uint8") for size in sizes]
    groups = [group([(-0.5, -0.5, width - 0.5, height - 0.5)], area=[4000.0]) for height, width in sizes]
    dataset = people.from_arrays(images, groups, COCO)
    ((pixels, targets, _),) = read(people.validation(dataset, COCO, OPENPOSE, 4, SIZE, normalization=PLAIN))
    np.testing.assert_allclose(pixels[:, 32, 40], 200, atol=0.01)
    np.testing.assert_allclose(pixels[[0, 1, 3], 0, 0], 128, atol=0.01)  # the other one is as wide as what is seen
    assert np.isfinite(targets).all() and (targets[..., :18].max(axis=(1, 2, 3)) > 0.5).all()


def test_color_jitter_changes_colours_alone(dataset, uninterrupted):
    ((pixels, *others),) = read(training(dataset, color_jitter=0.4), 1)
    assert_same([others], [uninterrupted[0][1:]])
    plain = 256 * uninterrupted[0][0][..., ::-1] + 128  # as published: blue first, from -1/2 to 1/2
    uniforms = tf.random.stateless_uniform((4, people.batches.NUM_UNIFORMS), [3, 0])[:, 5:]
    np.testing.assert_allclose(pixels, image_ops.jitter(plain, uniforms, 0.4), atol=0.05)
    assert abs(pixels - plain).mean() > 2


# ---------------------------------------------------------------------------------------------------- evaluation
def test_validation_is_every_sample_once_unmoved(dataset, uncompiled):
    options = {"batch_size": 4, "image_size": SIZE, "normalization": PLAIN, "target_size": 0.45}
    found = read(people.validation(dataset, COCO, OPENPOSE, **options))
    assert [len(pixels) for pixels, *_ in found] == [4, 4]
    pixels, targets, mask = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    assert not pixels[5:].any() and not targets[5:].any() and not mask[5:].any() and mask[:5].any()
    given = arrays()
    for i, (number, main) in enumerate(MAINS):
        image, one = given["images"][number], given["people"][number]
        still = STILL | {"target_size": 0.45}
        matrix = published_matrix(one["box"][main], image.shape[:2], np.full(8, 0.5), still, False)
        np.testing.assert_allclose(pixels[i], slow_warp(image, matrix), atol=0.05)
        points, labelled = openpose_of(one, image.shape[:2])
        heatmaps = pafs.encode_heatmaps(points @ matrix[:, :2].T + matrix[:, 2], labelled, CELLS)
        np.testing.assert_allclose(targets[i, ..., :19], heatmaps, atol=1e-4)
        np.testing.assert_array_equal(mask[i], slow_mask(one, matrix))


FILES = {
    "JPEG": (jpeg, lambda image: cv2.imdecode(np.frombuffer(jpeg(image), "uint8"), 1)[..., ::-1]),
    "PNG": (png, lambda image: image),
    "grey PNG": (lambda image: png(image[..., 0]), lambda image: np.stack([image[..., 0]] * 3, axis=-1)),
    "RGBA PNG": (lambda image: png(np.concatenate([image[..., ::-1], image[..., :1]], axis=-1)), lambda image: image),
    "EXIF-rotated JPEG": (
        rotated_jpeg,
        lambda image: np.rot90(cv2.imdecode(np.frombuffer(jpeg(np.rot90(image)), "uint8"), 1)[..., ::-1], -1),
    ),
}


def test_files_of_all_kinds_are_their_pixels(tmp_path):
    """In batches, where they are cut as crops are, test_crops.py has them."""
    image = picture(5)
    paths = [tmp_path / str(i) for i in range(len(FILES))]
    for path, (encode, _) in zip(paths, FILES.values(), strict=True):
        path.write_bytes(encode(image))
    dataset = people.from_arrays(paths, [group([(10, 10, 60, 80)])] * len(FILES), COCO, names=FILES)
    elements = list(people.evaluation(dataset))
    assert [int(element["image_id"]) for element in elements] == list(range(len(FILES)))
    for element, (name, (_, shown)) in zip(elements, FILES.items(), strict=True):
        assert element["image"].dtype == tf.uint8 and element["name"] == name
        np.testing.assert_allclose(element["image"].numpy() / 1.0, shown(image), atol=1, err_msg=name)
