"""Images with any number of people in other processes: SavedModels from encoded images to everybody in them."""

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
DIRECTIONS = np.array([(-0.8, 0.6), (0.8, 0.6)], "float32")  # of both limbs of everybody
SIZES = ((150, 231), (97, 61), (80, 190), (5, 3))  # as the files are stored; the third lies on its side
PEOPLE = {0: [(60, 25), (140, 60), (180, 20)], 1: [(30, 20)], 2: [(35, 40), (40, 110)]}  # where their beaks are
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
OUTPUTS = ("keypoints", "scores", "person_scores", "count", "num_found", "overflow")

FRESH = """
run = tf.saved_model.load("1").signatures["serving_default"]
encoded = tf.constant([requests[f"file_{i}"].tobytes() for i in range(4)])
keep("batch", run(image_bytes=encoded))
for i in (2, 3):
    keep(f"one_{i}", run(image_bytes=encoded[i : i + 1]))
"""


def seeing_network():
    """Heatmaps that are red, green and blue, averaged over each cell, and fields of one direction everywhere."""
    images = keras.Input((None, None, 3))
    heatmaps, fields = (keras.layers.Conv2D(4, 8, strides=8) for _ in range(2))
    network = keras.Model(images, [heatmaps(images), fields(images)])
    average = np.zeros((8, 8, 3, 4), "float32")
    average[..., :3] = np.eye(3) / 64
    heatmaps.set_weights([average, np.zeros(4, "float32")])
    fields.set_weights([0 * average, DIRECTIONS.ravel()])
    return network


def birds(beaks):
    """[M, 3, 2] pixels."""
    beaks = np.array(beaks, "float64").reshape(-1, 1, 2)
    return np.concatenate([beaks, beaks + 30 * DIRECTIONS], axis=1)


def picture(people, size):
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.zeros((*size, 3))
    for number, person in enumerate(people):
        for channel, (px, py) in enumerate(person):
            image[..., channel] += (1 - 0.1 * number) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 6**2))
    return np.round(255 * np.minimum(image, 1)).astype("uint8")


def encode(image, ending=".png"):
    done, data = cv2.imencode(
        ending,
        image[..., ::-1],
        [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111] if ending == ".jpg" else [],
    )
    assert done
    return data.tobytes()


def with_orientation(jpeg, orientation):
    """The file with a note of the camera how it was held, as Exif has it."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II" + struct.pack("<HI", 42, 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.fixture(scope="module")
def files():
    """Images of four sizes and forms: three birds, one, two on a picture that lies on its side, and nobody."""
    upright = [picture(birds(PEOPLE[i]), SIZES[i] if i < 2 else SIZES[i][::-1]) for i in range(3)]
    stored = encode(np.rot90(upright[2]), ".jpg")  # to be turned clockwise
    nobody = encode(np.full((*SIZES[3], 3), 9, "uint8"))
    return [encode(upright[0]), encode(upright[1], ".jpg"), with_orientation(stored, 6), nobody]


@pytest.fixture(scope="module")
def estimator():
    return estimators.BottomUpEstimator(seeing_network(), BIRD, height=160, normalization=PLAIN, max_people=2)


@pytest.fixture(scope="module")
def served(estimator, tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "1"
    # As much as these tests ask, and no more.
    assert export.people_saved_model(estimator, path, max_images=5, max_pixels=150 * 231) == path
    return path


@pytest.fixture(scope="module")
def run(served):
    return tf.saved_model.load(served).signatures["serving_default"]


@pytest.fixture(scope="module")
def fresh_answers(served, files, run_fresh):
    """What the SavedModel answers in a process without kerapose."""
    return run_fresh(served.parent, FRESH, {f"file_{i}": np.frombuffer(data, np.uint8) for i, data in enumerate(files)})


def test_a_process_without_kerapose_finds_the_same_people(estimator, files, fresh_answers):
    find = predictors.BottomUpPose(estimator, BIRD)
    for i, data in enumerate(files):
        poses = find(data)
        for call, row in [("batch", i), (f"one_{i}", 0)] if i > 1 else [("batch", i)]:
            answer = {key: fresh_answers[f"{call}/{key}"][row] for key in OUTPUTS}
            count = answer["count"]
            assert answer["num_found"] == len(PEOPLE.get(i, []))
            assert count == len(poses) == min(answer["num_found"], 2)
            assert answer["overflow"] == (answer["num_found"] > 2)
            for key in ("keypoints", "scores"):
                expected = np.array([getattr(pose, key) for pose in poses]).reshape(-1, *answer[key].shape[1:])
                np.testing.assert_allclose(answer[key][:count], expected, rtol=1e-5, atol=1e-3)
                assert not answer[key][count:].any()
            assert (answer["person_scores"] > 0).sum() == count
            assert (np.diff(answer["person_scores"][:count]) < 0).all()


@pytest.mark.parametrize("i", PEOPLE)
def test_people_are_found_where_they_are_in_the_upright_image(fresh_answers, i):
    expected = birds(PEOPLE[i][:2])  # the first are drawn the brightest
    np.testing.assert_allclose(fresh_answers["batch/keypoints"][i, : len(expected)], expected, atol=1.5)


def test_names_and_shapes_are_those_of_the_request(fresh_answers):
    for call, batch in (("batch", 4), ("one_3", 1)):
        shapes = {key: fresh_answers[f"{call}/{key}"].shape for key in OUTPUTS}
        assert shapes == {
            "keypoints": (batch, 2, 3, 2),
            "scores": (batch, 2, 3),
            "person_scores": (batch, 2),
            "count": (batch,),
            "num_found": (batch,),
            "overflow": (batch,),
        }
        names = np.char.decode(fresh_answers[f"{call}/keypoint_names"]).tolist()
        assert names == [list(BIRD.keypoints)] * batch


def test_a_server_is_warmed_up(served, replay):
    assert [answer["count"].shape for answer in replay(served)["serving_default"]] == [(1,), (1,)]


def test_what_a_network_sees_as_it_is_may_not_be_so_large(estimator, tmp_path):
    export.people_saved_model(estimator.changed(height=None), tmp_path / "1")
    run = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    for size, sentence in (
        ((1080, 1921), "1 to 2073600 pixels, got 1921 wide and 1080 high for image 0; make it smaller"),
        ((33, 2), "at most 16 times as long as wide, got 2 wide and 33 high for image 0; cut it"),
        ((10, 161), "at most 16 times as long as wide, got 161 wide and 10 high"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            run(image_bytes=tf.constant([encode(np.zeros((*size, 3), "uint8"))]))
    assert run(image_bytes=tf.constant([encode(np.zeros((32, 2, 3), "uint8"))]))["count"].numpy().tolist() == [0]


def test_the_signature_is_the_documented_one(served, signatures):
    assert signatures(served) == {
        "serving_default": (
            {"image_bytes": ("string", [-1])},
            {
                "keypoints": ("float32", [-1, 2, 3, 2]),
                "scores": ("float32", [-1, 2, 3]),
                "person_scores": ("float32", [-1, 2]),
                "count": ("int32", [-1]),
                "num_found": ("int32", [-1]),
                "overflow": ("bool", [-1]),
                "keypoint_names": ("string", [-1, 3]),
            },
        )
    }


def test_predict_requests_of_tensorflow_serving(served, files, fresh_answers, serve):
    answer = serve(served, {"image_bytes": files})
    for name in OUTPUTS:
        np.testing.assert_allclose(answer[name], fresh_answers[f"batch/{name}"], rtol=1e-4, atol=1e-3)


def test_rest_rows_of_one_image(run, files, fresh_answers):
    """The call of the documentation: what a REST client sends, and what it gets back as rows."""
    instance = {"image_bytes": {"b64": base64.b64encode(files[2]).decode()}}
    rows = json.loads(json.dumps({"instances": [instance]}))["instances"]
    outputs = run(image_bytes=tf.constant([base64.b64decode(row["image_bytes"]["b64"]) for row in rows]))
    assert {len(value) for value in outputs.values()} == {1}  # or the answer could not be given in rows
    np.testing.assert_allclose(outputs["keypoints"], fresh_answers["one_2/keypoints"], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: files[0], r"image_bytes must have 1 axis, \[B\], got the shape ..; add"),
        (lambda files: [files], r"image_bytes must have 1 axis, \[B\], got the shape .1 4.; add"),
        (lambda files: [], "at least one image, got 0; leave it out"),
        (
            lambda files: 2 * files,
            "A request may have at most 5 images, got 8; send the others in requests of their own",
        ),
        (
            lambda files: [files[0], encode(np.zeros((151, 231, 3), "uint8"))],
            "must have 1 to 34650 pixels, got 231 wide and 151 high for image 1; make it smaller",
        ),
        (
            lambda files: [*files[:2], b"no image"],
            "must be JPEG or PNG files, got 8 bytes of something else for image 2; in REST give each as b64",
        ),
        (lambda files: [b"", *files], "got 0 bytes of something else for image 0"),
        (
            lambda files: [files[0], files[1][:900], files[2]],
            "must be whole files, got 900 bytes without an end for image 1; send it anew",
        ),
    ],
)
def test_a_bad_request_gets_one_sentence(run, files, change, sentence):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        run(image_bytes=tf.constant(change(files), tf.string))
    assert re.search(sentence, str(error.value).replace("\\'", "'"))


def test_what_is_there_is_kept_unless_overwritten(estimator, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.people_saved_model(estimator, tmp_path / "1")
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"mine"
