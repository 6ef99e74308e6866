"""Images in other processes: SavedModels of poses, and how they are served."""

import base64
import json
import re
import struct

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, export, predictors, skeletons

BIRD = skeletons.Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))
OPTIONS = {"codec": "hourglass", "box_padding": 1.1, "normalization": {"bgr": True}, "max_batch": 3}  # all unusual

FRESH = """
signatures = tf.saved_model.load("1").signatures
encoded, boxes = tf.constant([requests[f"file_{i}"].tobytes() for i in range(3)]), requests["boxes"]
calls = {"batch": {"image_bytes": encoded, "boxes": tf.constant(boxes)}, "whole": {"image_bytes": encoded}}
for i in range(3):
    used = boxes[i : i + 1, boxes[i].any(axis=-1)]
    calls[f"one_{i}"] = {"image_bytes": encoded[i : i + 1], "boxes": tf.constant(used)}
calls["nobody"] = {"image_bytes": encoded[:2], "boxes": tf.zeros((2, 0, 4))}
calls["padding"] = {"image_bytes": encoded[:2], "boxes": tf.zeros((2, 3, 4))}
for call, inputs in calls.items():
    keep(call, signatures["whole_image" if call == "whole" else "serving_default"](**inputs))
"""


def small_network(stacks=True):
    """Of one stack, or of an output without stacks, and of so few layers that it is written in no time."""
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same")(crops)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    maps = keras.layers.Conv2D(3, 5, padding="same")(x)
    return keras.Model(crops, keras.layers.Reshape((1, 16, 16, 3))(maps) if stacks else maps)


def photo(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image, ending=".png"):
    done, data = cv2.imencode(ending, image[..., ::-1])
    assert done
    return data.tobytes()


def with_orientation(jpeg, orientation):
    """The file with a note of the camera how it was held, as Exif has it."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II" + struct.pack("<HI", 42, 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.fixture(scope="module")
def estimator(randomized):
    return estimators.PoseEstimator(randomized(small_network(stacks=False)), BIRD, **OPTIONS)


@pytest.fixture(scope="module")
def served(estimator, tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "1"
    # As much as these tests ask, and no more.
    assert export.pose_saved_model(estimator, path, max_images=3, max_pixels=80 * 150, max_boxes=4) == path
    return path


@pytest.fixture(scope="module")
def run(served):
    return tf.saved_model.load(served).signatures["serving_default"]


@pytest.fixture(scope="module")
def asked():
    """Files of three sizes and forms, the last one lying on its side, and 4, 1 and 2 boxes, filled up with zeros."""
    files = [encode(photo(90, 120)), encode(photo(70, 60, seed=1), ".jpg")]
    files.append(with_orientation(encode(photo(80, 150, seed=2), ".jpg"), 6))
    boxes = np.zeros((3, 4, 4), "float32")
    boxes[0] = [[10, 20, 60, 80], [-15, -10, 40, 30], [50, 30, 200, 85], [20, 20, 30, 70]]
    boxes[1, 0] = [5.5, 3.25, 50, 66]
    boxes[2, :2] = [[0, 0, 80, 150], [20, 90, 60, 140]]  # below what lies on its side
    return {"files": files, "boxes": boxes}


@pytest.fixture(scope="module")
def fresh_answers(served, asked, run_fresh):
    """What the SavedModel answers in a process without kerapose."""
    files = {f"file_{i}": np.frombuffer(data, np.uint8) for i, data in enumerate(asked["files"])}
    return run_fresh(served.parent, FRESH, files | {"boxes": asked["boxes"]})


def test_a_process_without_kerapose_finds_the_same_keypoints(estimator, asked, fresh_answers):
    find = predictors.TopDownPose(estimator)
    for i, (data, boxes) in enumerate(zip(asked["files"], asked["boxes"], strict=True)):
        used = boxes[boxes.any(axis=-1)]
        poses = find(data, used)
        keypoints, scores = np.array([p.keypoints for p in poses]), np.array([p.scores for p in poses])
        for call, row in (("batch", i), (f"one_{i}", 0)):
            actual = {key: fresh_answers[f"{call}/{key}"][row] for key in ("keypoints", "scores")}
            np.testing.assert_allclose(actual["keypoints"][: len(used)], keypoints, atol=1e-3)
            np.testing.assert_allclose(actual["scores"][: len(used)], scores, rtol=1e-5, atol=1e-5)
            assert not actual["keypoints"][len(used) :].any()
            assert not actual["scores"][len(used) :].any()
        whole = find(data)[0]
        np.testing.assert_allclose(fresh_answers["whole/keypoints"][i, 0], whole.keypoints, atol=1e-3)
        np.testing.assert_allclose(fresh_answers["whole/scores"][i, 0], whole.scores, rtol=1e-5, atol=1e-5)


def test_poses_depend_on_file_box_and_options(estimator, asked, fresh_answers):
    keypoints = fresh_answers["batch/keypoints"]
    assert np.ptp(keypoints[0], axis=0).min() > 5
    assert np.abs(keypoints[2, 0] - keypoints[2, 1]).max() > 5
    poses = predictors.TopDownPose(estimator.network, BIRD)(asked["files"][0], asked["boxes"][0])
    assert np.abs(keypoints[0] - [pose.keypoints for pose in poses]).max() > 1


def test_names_and_shapes_are_those_of_the_request(fresh_answers):
    for call, batch, boxes in (("batch", 3, 4), ("one_2", 1, 2), ("whole", 3, 1), ("nobody", 2, 0), ("padding", 2, 3)):
        answer = {key: fresh_answers[f"{call}/{key}"] for key in ("keypoints", "scores", "keypoint_names")}
        assert answer["keypoints"].shape == (batch, boxes, 3, 2)
        assert answer["scores"].shape == (batch, boxes, 3)
        assert np.char.decode(answer["keypoint_names"]).tolist() == [list(BIRD.keypoints)] * batch
    assert not fresh_answers["padding/scores"].any()


def test_boxes_that_a_server_filled_up_are_padding(run, asked, fresh_answers):
    """TensorFlow Serving's pad_variable_length_inputs takes the first number of a request."""
    boxes = np.where(asked["boxes"].any(axis=-1, keepdims=True), asked["boxes"], np.float32(5.5))
    answer = run(image_bytes=tf.constant(asked["files"]), boxes=tf.constant(boxes))
    np.testing.assert_allclose(answer["keypoints"], fresh_answers["batch/keypoints"], atol=1e-3)


def test_the_signatures_are_the_documented_ones(served, signatures):
    known = signatures(served)
    image = {"image_bytes": ("string", [-1])}
    for name, inputs, boxes in (
        ("serving_default", image | {"boxes": ("float32", [-1, -1, 4])}, -1),
        ("whole_image", image, 1),
    ):
        outputs = {
            "keypoints": ("float32", [-1, boxes, 3, 2]),
            "scores": ("float32", [-1, boxes, 3]),
            "keypoint_names": ("string", [-1, 3]),
        }
        assert known[name] == (inputs, outputs)


def test_a_server_is_warmed_up(served, replay):
    answers = replay(served)
    assert [answer["keypoints"].shape for answer in answers["serving_default"]] == [(1, 1, 3, 2), (1, 4, 3, 2)]
    assert [answer["keypoints"].shape for answer in answers["whole_image"]] == [(1, 1, 3, 2)]


def test_predict_requests_of_tensorflow_serving(served, asked, fresh_answers, serve):
    files, boxes = {"image_bytes": asked["files"]}, {"boxes": asked["boxes"]}
    answer = serve(served, files | boxes)
    for name in ("keypoints", "scores"):
        np.testing.assert_allclose(answer[name], fresh_answers[f"batch/{name}"], rtol=1e-4, atol=1e-3)


def test_rest_rows_of_one_image(run, asked, fresh_answers):
    """The call of the documentation: what a REST client sends, and what it gets back as rows."""
    instance = {
        "image_bytes": {"b64": base64.b64encode(asked["files"][2]).decode()},
        "boxes": asked["boxes"][2, :2].tolist(),
    }
    rows = json.loads(json.dumps({"instances": [instance]}))["instances"]
    outputs = run(
        image_bytes=tf.constant([base64.b64decode(row["image_bytes"]["b64"]) for row in rows]),
        boxes=tf.constant([row["boxes"] for row in rows], tf.float32),
    )
    assert {len(value) for value in outputs.values()} == {1}  # or the answer could not be given in rows
    np.testing.assert_allclose(outputs["keypoints"], fresh_answers["one_2/keypoints"], atol=1e-3)


def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"boxes": r["boxes"][0]}, r"boxes must have 3 axes, \[B, N, 4\], got the shape .4 4.; add"),
        (lambda r: {"image_bytes": r["image_bytes"][0]}, r"image_bytes must have 1 axis, \[B\], got the shape ..; add"),
        (lambda r: {"boxes": r["boxes"][:2]}, "for 3 images, got .2 4 4.; fill up with boxes of zeros"),
        (lambda r: {"boxes": r["boxes"][..., :3]}, "for 3 images, got .3 4 3.; fill up"),
        (lambda r: {name: value[:0] for name, value in r.items()}, "at least one image, got 0; leave it out"),
        (lambda r: {name: [*value, value[0]] for name, value in r.items()}, "at most 3 images, got 4; send the others"),
        (
            lambda r: {"boxes": np.tile(r["boxes"], (1, 5, 1))[:, :5]},
            "at most 4 boxes an image, got 5; send the others",
        ),
        (
            lambda r: {"image_bytes": [*r["image_bytes"][:2], encode(photo(80, 151))]},
            "An image must have 1 to 12000 pixels, got 151 wide and 80 high for image 2; make it smaller",
        ),
        (
            lambda r: {"image_bytes": [*r["image_bytes"][:2], b"no image"]},
            "must be JPEG or PNG files, got 8 bytes of something else for image 2; in REST give each as b64",
        ),
        (lambda r: {"image_bytes": [b"", *r["image_bytes"][1:]]}, "got 0 bytes of something else for image 0"),
        (
            lambda r: {"image_bytes": [r["image_bytes"][0][:2000], *r["image_bytes"][1:]]},
            "must be whole files, got 2000 bytes without an end for image 0; send it anew",
        ),
        (
            lambda r: {"image_bytes": [r["image_bytes"][0], r["image_bytes"][1][:900], r["image_bytes"][2]]},
            "must be whole files, got 900 bytes without an end for image 1",
        ),
        (
            lambda r: {"boxes": with_value(r["boxes"], (1, 0, 2), np.nan)},
            "A box must be finite with right > left and bottom > top, or all zeros for padding, got .* in image 1",
        ),
        (lambda r: {"boxes": with_value(r["boxes"], (2, 3), np.inf)}, "A box must be finite .* in image 2"),
        (
            lambda r: {"boxes": with_value(r["boxes"], (0, 3), [20, 20, 20, 70])},
            "right > left .* got .20 20 20 70. in image 0; COCO's x, y, w, h",
        ),
        (lambda r: {"boxes": with_value(r["boxes"], (1, 2), [30, 40, 20, 50])}, "right > left .* in image 1"),
        (
            lambda r: {"boxes": with_value(r["boxes"], (2, 2), [100, 10, 140, 60])},
            "must show a part of its image, got .100 10 140 60. in image 2, which is 80 wide and 150 high; leave",
        ),
        *(  # that only touch it
            (lambda r, box=box: {"boxes": with_value(r["boxes"], (2, 2), box)}, "must show a part of its image, got .*")
            for box in ([80, 10, 140, 60], [10, 150, 40, 190], [-20, 10, 0, 60], [10, -20, 40, 0])
        ),
        (
            lambda r: {"boxes": np.tile(np.float32([0.25, 0.1, 0.75, 0.9]), (3, 4, 1))},
            "Boxes must be in pixels, got .0.25 0.1 0.75 0.9. in image 0, which is .* wide and .* high; multiply",
        ),
        (
            lambda r: {"boxes": with_value(r["boxes"], 1, [0, 0, 1, 1])},
            "Boxes must be in pixels, got .0 0 1 1. in image 1",
        ),
    ],
)
def test_a_bad_request_gets_one_sentence(run, asked, change, sentence):
    inputs = {"image_bytes": asked["files"], "boxes": asked["boxes"]}
    inputs = inputs | change(inputs)
    boxes, encoded = inputs["boxes"], tf.constant(inputs["image_bytes"], tf.string)
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        run(image_bytes=encoded, boxes=tf.constant(boxes))
    assert re.search(sentence, str(error.value).replace("\\'", "'"))


def test_a_bfloat16_network_finds_poses_too(tmp_path, asked, policy):
    with policy("mixed_bfloat16"):
        estimator = estimators.PoseEstimator(small_network(), BIRD)
    export.pose_saved_model(estimator, tmp_path / "1")
    run = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    answer = run(image_bytes=tf.constant(asked["files"][:1]), boxes=tf.constant(asked["boxes"][:1]))
    poses = predictors.TopDownPose(estimator, BIRD)(asked["files"][0], asked["boxes"][0])
    assert answer["scores"].dtype == tf.float32
    np.testing.assert_allclose(answer["scores"][0], [pose.scores for pose in poses], rtol=0.02)


def network_without_heatmaps(kind):
    """Of coordinates, with their sigmas or without, or of vectors, which the whole crop moves."""
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 48, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 8, strides=8, activation="relu")(crops))

    def head(count):
        return keras.layers.Reshape((3, count))(keras.layers.Dense(3 * count)(x))

    if kind == "vectors":
        return keras.Model(crops, {"x": head(96), "y": head(128)})
    return keras.Model(crops, head(4 if kind == "uncertain" else 2))


@pytest.fixture(scope="module")
def without_heatmaps(tmp_path_factory, asked, run_fresh):
    """Estimators of each kind, and what their SavedModels answer in a process without kerapose."""
    folder, made = tmp_path_factory.mktemp("places"), {}
    program = [
        "encoded = tf.constant([requests[f'file_{i}'].tobytes() for i in range(3)])",
        "for kind in ('coordinates', 'uncertain', 'vectors'):",
        "    serve = tf.saved_model.load(f'{kind}/1').signatures['serving_default']",
        "    keep(kind, serve(image_bytes=encoded, boxes=tf.constant(requests['boxes'])))",
    ]
    for kind in ("coordinates", "uncertain", "vectors"):
        made[kind] = estimators.PoseEstimator(network_without_heatmaps(kind), BIRD, max_batch=3)
        export.pose_saved_model(made[kind], folder / kind / "1", max_images=3, max_pixels=80 * 150, max_boxes=4)
    files = {f"file_{i}": np.frombuffer(data, np.uint8) for i, data in enumerate(asked["files"])}
    return made, run_fresh(folder, "\n".join(program), files | {"boxes": asked["boxes"]})


@pytest.mark.parametrize("kind", ["coordinates", "uncertain", "vectors"])
def test_other_answers_than_heatmaps_are_served_as_they_are_predicted(kind, without_heatmaps, asked):
    made, answers = without_heatmaps
    find = predictors.TopDownPose(made[kind])
    for i, (data, boxes) in enumerate(zip(asked["files"], asked["boxes"], strict=True)):
        poses = find(data, boxes[boxes.any(axis=-1)])
        found = answers[f"{kind}/keypoints"][i, : len(poses)], answers[f"{kind}/scores"][i, : len(poses)]
        np.testing.assert_allclose(found[0], [pose.keypoints for pose in poses], rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(found[1], [pose.scores for pose in poses], rtol=1e-4, atol=1e-4)


def test_what_is_there_is_kept_unless_overwritten(estimator, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.pose_saved_model(estimator, tmp_path / "1")
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"mine"
