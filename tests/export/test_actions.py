"""Sequences of keypoints in other processes: SavedModels of actions, how they are served, and how they are written."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, export, models, skeletons
from kerapose.export import archives, places, serving

COCO = skeletons.COCO
NAMES = ["clap", "wave_left", "wave_right", "köpfen", "kick"]
FRAMES = (1, 5, 12, 130)  # looped, looped, skipping, one frame a segment

FRESH = """
for name, keys in (("fused", sorted({key.split("/")[0] for key in requests})), ("bfloat16", ["T12"])):
    served = tf.saved_model.load(f"{name}/1").signatures["serving_default"]
    for key in keys:
        inputs = {i: tf.constant(requests[f"{key}/{i}"]) for i in ("keypoints", "scores", "frame_size")}
        keep(f"{name}/{key}", served(**inputs))
"""


def sequences(batch=2, people=2, frames=30, seed=0):
    """People who each drift, in a pose of their own, with a few keypoints visible."""
    random = np.random.default_rng(seed)
    pose = random.uniform(100, 500, (batch, people, 1, 1, 2)) + random.uniform(0, 200, (batch, people, 1, 17, 2))
    drift = random.uniform(-4, 4, (batch, people, 1, 1, 2)) * np.arange(frames)[:, None, None]
    scores = random.uniform(0.2, 1.0, (batch, people, frames, 17)) * (random.random((batch, people, 1, 17)) < 0.6)
    return {
        "keypoints": (pose + drift).astype("float32"),
        "scores": scores.astype("float32"),
        "frame_size": np.tile(np.array([720, 1280], "int32"), (batch, 1)),
    }


@pytest.fixture(scope="module")
def tiny_network(randomized):
    """A function that makes a network as decided as a trained one."""

    def make(channels=17, seed=0):
        network = models.C3D(len(NAMES), input_shape=(8, 24, 24, channels), base_filters=4, num_stages=3)
        return randomized(network, seed, shift=0.0, classifier=30.0)

    return make


@pytest.fixture(scope="module")
def joint_recognizer(tiny_network):
    return lambda seed=0: estimators.ActionRecognizer(tiny_network(17, seed), COCO, NAMES, 24, num_clips=2)


@pytest.fixture(scope="module")
def recognizers(tiny_network, joint_recognizer, policy):
    """What is exported, by folder name: of joints and limbs in float32, and of joints alone in bfloat16."""
    networks = {"joint": tiny_network(), "limb": tiny_network(COCO.num_edges, 1)}
    with policy("mixed_bfloat16"):
        bfloat16 = joint_recognizer()
    fused = estimators.ActionRecognizer(networks, COCO, NAMES, 24, num_clips=2)
    return {"fused": fused, "bfloat16": bfloat16}


@pytest.fixture(scope="module")
def served(recognizers, tmp_path_factory):
    """A folder with `<name>/1` for each of the recognizers, as TensorFlow Serving likes it."""
    folder = tmp_path_factory.mktemp("served")
    for name, exported in recognizers.items():
        path = folder / name / "1"
        # As much as these tests ask, and no more.
        assert export.saved_model(exported, path, max_sequences=2, max_people=2, max_frames=2 * FRAMES[-1]) == path
    return folder


@pytest.fixture(scope="module")
def run(served):
    return tf.saved_model.load(served / "fused" / "1").signatures["serving_default"]


@pytest.fixture(scope="module")
def requests():
    requests = {f"T{frames}": sequences(frames=frames, seed=frames) for frames in FRAMES}
    padded = sequences(frames=12)
    padded["keypoints"][1, 1], padded["scores"][1, 1] = 0.0, 0.0  # the second sequence has one person only
    return requests | {"padded": padded, "one": sequences(batch=1, people=1)}


@pytest.fixture(scope="module")
def fresh_answers(served, recognizers, requests, run_fresh):
    """What the SavedModels answer in a process without kerapose."""
    arrays = {f"{key}/{name}": array for key, request in requests.items() for name, array in request.items()}
    return run_fresh(served, FRESH, arrays)


@pytest.mark.parametrize(
    ("name", "keys", "tolerance"),
    [("fused", None, {"rtol": 1e-4, "atol": 1e-6}), ("bfloat16", ["T12"], {"atol": 0.005})],
)
def test_a_process_without_kerapose_answers_alike(recognizers, requests, fresh_answers, name, keys, tolerance):
    for key in keys or requests:
        request = requests[key]
        expected = np.asarray(recognizers[name](request))
        actual = fresh_answers[f"{name}/{key}/probabilities"]
        np.testing.assert_allclose(actual, expected, **tolerance, err_msg=key)
        classes = np.char.decode(fresh_answers[f"{name}/{key}/classes"])
        assert classes.tolist() == [NAMES] * len(actual)
        top = np.char.decode(fresh_answers[f"{name}/{key}/top_class"])
        assert top.tolist() == [NAMES[i] for i in actual.argmax(axis=-1)]


def test_the_answers_depend_on_request_and_precision(fresh_answers, joint_recognizer, requests):
    answers = [fresh_answers[f"fused/T{frames}/probabilities"][i] for frames in FRAMES for i in range(2)]
    apart = [np.abs(a - b).max() for i, a in enumerate(answers) for b in answers[:i]]
    assert min(apart) > 1e-3
    exact = np.asarray(joint_recognizer()(requests["T12"]))
    assert np.abs(fresh_answers["bfloat16/T12/probabilities"] - exact).max() > 1e-5


# ---------------------------------------- TensorFlow Serving
def test_a_server_is_warmed_up(served, replay):
    for name in ("fused", "bfloat16"):
        answers = replay(served / name / "1")["serving_default"]
        np.testing.assert_allclose([np.sum(answer["probabilities"]) for answer in answers], [1, 1], atol=1e-3)


def test_the_signature_is_the_documented_one(served, signatures):
    inputs, outputs = signatures(served / "fused" / "1")["serving_default"]
    assert inputs == {
        "keypoints": ("float32", [-1, -1, -1, 17, 2]),
        "scores": ("float32", [-1, -1, -1, 17]),
        "frame_size": ("int32", [-1, 2]),
    }
    assert outputs == {
        "probabilities": ("float32", [-1, 5]),
        "classes": ("string", [-1, 5]),
        "top_class": ("string", [-1]),
    }


def test_predict_requests_and_responses_of_tensorflow_serving(served, requests, fresh_answers, serve):
    answer = serve(served / "fused" / "1", requests["T12"])
    assert set(answer) == {"probabilities", "classes", "top_class"}
    for name, value in answer.items():
        expected = fresh_answers[f"fused/T12/{name}"]
        if name == "probabilities":
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(value.astype("S"), expected)


def test_rest_rows_and_columns(run, requests, fresh_answers):
    """The two JSON forms of the predict call: a list of sequences, or each input for all of them."""
    dtypes = {name: spec.dtype.as_numpy_dtype for name, spec in run.structured_input_signature[1].items()}
    lists = {name: array.tolist() for name, array in requests["T12"].items()}
    rows = json.dumps({"instances": [{name: values[i] for name, values in lists.items()} for i in range(2)]})
    columns = json.dumps({"inputs": lists})
    from_rows = {name: [row[name] for row in json.loads(rows)["instances"]] for name in dtypes}
    answers = []
    for inputs in (from_rows, json.loads(columns)["inputs"]):
        outputs = run(**{name: tf.constant(np.array(inputs[name], dtype)) for name, dtype in dtypes.items()})
        plain = {name: value.numpy() for name, value in outputs.items()}
        assert {len(value) for value in plain.values()} == {2}  # or the answer could not be given in rows
        decode = np.vectorize(lambda value: value.decode() if isinstance(value, bytes) else float(value), otypes="O")
        answers.append(json.loads(json.dumps({name: decode(value).tolist() for name, value in plain.items()})))
    for answer in answers:
        assert answer["classes"] == [NAMES, NAMES]
        assert answer["top_class"] == np.char.decode(fresh_answers["fused/T12/top_class"]).tolist()
        np.testing.assert_allclose(answer["probabilities"], fresh_answers["fused/T12/probabilities"], rtol=1e-4)


# ---------------------------------------- bad requests
def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def repeated(request, axis, times=2):
    """The request with more sequences, people or frames."""
    changed = ("keypoints", "scores", "frame_size") if axis == 0 else ("keypoints", "scores")
    return {name: np.concatenate([request[name]] * times, axis) for name in changed}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"keypoints": r["keypoints"][0]}, "keypoints must have 5 axes, .* got the shape .2 30 17 2.; add"),
        (lambda r: repeated(r, 0), "A request may have at most 2 sequences, got 4; send the others in requests"),
        (lambda r: repeated(r, 1), "at most 2 people a sequence, got 4; leave out those who are seen the least"),
        (lambda r: repeated(r, 2, 5), "at most 260 frames in all, got 300; cut the sequences, or send fewer"),
        (lambda r: {"scores": r["scores"][0]}, "scores must have 4 axes, .* got the shape .2 30 17.; add"),
        (
            lambda r: {"frame_size": r["frame_size"][0]},
            r"frame_size must have 2 axes, \[B, 2\], got the shape .2.; add",
        ),
        (
            lambda r: {"keypoints": r["keypoints"][:, :, :, :15], "scores": r["scores"][..., :15]},
            r"keypoints must be \[B, M, T, 17, 2\], got .2 2 30 15 2.; give the keypoint set",
        ),
        (
            lambda r: {"scores": r["scores"][:, :1]},
            "scores must be .* got .2 1 30 17. for .2 2 30 17 2.; give one score",
        ),
        (
            lambda r: {"frame_size": r["frame_size"][:1]},
            "height and width for each sequence, got .1 2. for 2 sequences",
        ),
        (
            lambda r: {"keypoints": r["keypoints"][:, :, :0], "scores": r["scores"][:, :, :0]},
            "at least one sequence, person and frame, got 2 sequences of 2 people and 0 frames; leave",
        ),
        (
            lambda r: {"keypoints": r["keypoints"][:, :0], "scores": r["scores"][:, :0]},
            "at least one sequence, person and frame, got 2 sequences of 0 people and 30 frames; leave",
        ),
        (
            lambda r: {name: array[:0] for name, array in r.items()},
            "at least one sequence, person and frame, got 0 sequences of 2 people and 30 frames; leave",
        ),
        (
            lambda r: {"keypoints": with_value(r["keypoints"], 1, r["keypoints"][1] / 1280)},
            "keypoints must be in pixels, got none beyond 0.* in sequence 1; multiply",
        ),
        (
            lambda r: {"keypoints": with_value(r["keypoints"], 0, r["keypoints"][0] + 5000)},
            "keypoints must lie in the frame, got .* for sequence 0; give frame_size",
        ),
        (
            lambda r: {"scores": with_value(r["scores"], (1, 1, 29, 16), 95.0)},
            "scores must be 0 to 1, got 95 in sequence 1; divide them by 100",
        ),
        (
            lambda r: {"scores": with_value(r["scores"], 1, 0.0)},
            "at least one keypoint, got no score of 0.001 or more in sequence 1; leave it out, or set",
        ),
        (
            lambda r: {"frame_size": with_value(r["frame_size"], (1, 0), 0)},
            "height and width in pixels, got .0 1280. for sequence 1; give the size",
        ),
    ],
)
def test_a_bad_request_gets_one_sentence(run, change, sentence):
    request = sequences()
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        run(**{name: tf.constant(array) for name, array in (request | change(request)).items()})


# ---------------------------------------- writing
def test_what_is_there_is_kept_unless_overwritten(served, recognizers, joint_recognizer, tmp_path):
    path, inputs = tmp_path / "1", {name: tf.constant(array) for name, array in sequences().items()}
    first, second = recognizers["fused"], joint_recognizer(seed=2)
    shutil.copytree(served / "fused" / "1", path)
    content = (path / "saved_model.pb").read_bytes()
    with pytest.raises(FileExistsError, match="give another path, or overwrite=True"):
        export.saved_model(second, path)
    assert (path / "saved_model.pb").read_bytes() == content
    export.saved_model(second, path, overwrite=True)
    probabilities = tf.saved_model.load(path).serving_default(**inputs)["probabilities"]  # the same by attribute
    np.testing.assert_allclose(probabilities, second(inputs), rtol=1e-4, atol=1e-6)
    assert np.abs(first(inputs) - second(inputs)).max() > 1e-2
    assert {entry.name for entry in tmp_path.iterdir()} == {"1", "batching_parameters.txt", "models.config"}


def test_a_folder_that_is_no_saved_model_is_never_overwritten(joint_recognizer, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    with pytest.raises(FileExistsError, match="Only a SavedModel is overwritten"):
        export.saved_model(joint_recognizer(), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "words"


@pytest.mark.parametrize("exists", [False, True])
def test_a_write_that_fails_leaves_everything_as_it_was(served, joint_recognizer, tmp_path, monkeypatch, exists):
    path = tmp_path / "1"
    if exists:
        shutil.copytree(served / "fused" / "1", path)
    before = sorted(entry.relative_to(tmp_path) for entry in tmp_path.rglob("*"))
    content = (path / "saved_model.pb").read_bytes() if exists else None

    def full_disk(path, signatures):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(serving, "write_signatures", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export.saved_model(joint_recognizer(), path, overwrite=True)
    assert sorted(entry.relative_to(tmp_path) for entry in tmp_path.rglob("*")) == before
    assert not exists or (path / "saved_model.pb").read_bytes() == content


def test_keypoints_may_be_anywhere_in_an_oblong_frame():
    def checked(place):
        inputs = {"keypoints": tf.constant([[[[place] * 17]]]), "scores": tf.ones((1, 1, 1, 17))}
        return places.check_places(inputs | {"frame_size": tf.constant([[100, 400]])}, "sequence", rank=5)

    assert checked([300.0, 50.0])["keypoints"].shape == (1, 1, 1, 17, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="17 of 17 beyond height and width"):
        checked([50.0, 300.0])


@pytest.mark.parametrize(("joints", "is_person"), [(2, False), (3, True)])
def test_one_of_several_people_may_not_be_in_fractions_of_the_frame(joints, is_person):
    points = np.zeros((1, 2, 4, 17, 2), "float32")
    points[0, 0], points[0, 1, :, :joints] = 50.0, 0.5
    given = {"keypoints": tf.constant(points), "scores": tf.ones((1, 2, 4, 17)), "frame_size": tf.constant([[90, 90]])}
    if not is_person:  # but what a detector found by accident
        assert places.check_places(given, "sequence", rank=5)["keypoints"].shape == points.shape
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"keypoints must be in pixels, got none beyond 0\.5"):
        places.check_places(given, "sequence", rank=5)


def test_a_call_that_names_no_signature_is_answered_by_the_first(tmp_path):
    number = tf.TensorSpec((), tf.float32, "number")
    signatures = {"double": (lambda number: {"twice": 2 * number}, [number]), "begin": (lambda: {"number": 0.0}, [])}
    archives.write_signatures(tmp_path / "1", signatures)
    served = tf.saved_model.load(tmp_path / "1").signatures
    assert set(served) == {"double", "begin", "serving_default"}
    assert served["serving_default"](number=tf.constant(3.0))["twice"] == 6
