import base64
import contextlib
import json
import re
import shutil
import struct
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import export, models, predictors, skeletons

COCO = skeletons.COCO
NAMES = ["clap", "wave_left", "wave_right", "köpfen", "kick"]
FRAMES = (1, 5, 12, 20, 60, 130)  # looped, looped, skipping, one frame a segment

FRESH = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "kerapose":
            raise ModuleNotFoundError("no kerapose here")

sys.meta_path.insert(0, Refuse())
try:
    import kerapose
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("kerapose can be imported, so this shows nothing")

import numpy as np
import tensorflow as tf

requests, answers = dict(np.load("requests.npz")), {}
for name in json.loads(sys.argv[1]):
    served = tf.saved_model.load(f"{name}/1").signatures["serving_default"]
    for key in sorted({key.split("/")[0] for key in requests}):
        inputs = {i: tf.constant(requests[f"{key}/{i}"]) for i in ("keypoints", "scores", "frame_size")}
        for output, value in served(**inputs).items():
            value = value.numpy()
            answers[f"{name}/{key}/{output}"] = value.astype("S") if value.dtype == object else value
assert "kerapose" not in sys.modules
np.savez("answers.npz", **answers)
"""


@contextlib.contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    yield
    keras.config.set_dtype_policy(before)


def with_random_weights(network, seed=0, shift=0.2, classifier=1.0):
    """Every weight counts: a fresh network's last norms of residual branches are zero."""
    random = np.random.default_rng(seed)
    for weight in network.weights:
        noise = random.normal(size=weight.shape)
        if weight.path.endswith("moving_variance"):
            weight.assign(np.exp(0.2 * noise))
        elif weight.path.endswith("gamma"):
            weight.assign(1 + 0.2 * noise)
        elif len(weight.shape) == 1:
            weight.assign(shift * noise)
        elif len(weight.shape) == 2:
            weight.assign(classifier * noise)
        else:
            weight.assign(noise * np.sqrt(2 / np.prod(weight.shape[:-1])))
    return network


def tiny_network(channels=17, seed=0):
    """As decided as a trained network: without shifts and with large logits, small differences of clips show."""
    network = models.C3D(len(NAMES), input_shape=(8, 24, 24, channels), base_filters=4, num_stages=3)
    return with_random_weights(network, seed, shift=0.0, classifier=30.0)


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


def joint_recognizer(seed=0):
    return models.ActionRecognizer(tiny_network(17, seed), COCO.flip_permutation, num_clips=2)


@pytest.fixture(scope="module")
def recognizers():
    """What is exported, by folder name: lists of recognizers whose probabilities are averaged."""
    joint = joint_recognizer()
    limb = models.ActionRecognizer(tiny_network(COCO.num_edges, 1), COCO.edge_flip_permutation, COCO.edges, num_clips=2)
    with policy("mixed_bfloat16"):
        bfloat16 = joint_recognizer()
    return {"joint": [joint], "limb": [limb], "fused": [joint, limb], "bfloat16": [bfloat16]}


@pytest.fixture(scope="module")
def served(recognizers, tmp_path_factory):
    """A folder with `<name>/1` for each of the recognizers, as TensorFlow Serving likes it."""
    folder = tmp_path_factory.mktemp("served")
    for name, exported in recognizers.items():
        path = folder / name / "1"
        assert export.saved_model(exported, path, NAMES, COCO.num_keypoints) == path
    return folder


@pytest.fixture(scope="module")
def requests():
    requests = {f"T{frames}": sequences(frames=frames, seed=frames) for frames in FRAMES}
    padded = sequences(frames=20)
    padded["keypoints"][1, 1], padded["scores"][1, 1] = 0.0, 0.0  # the second sequence has one person only
    return requests | {"padded": padded, "one": sequences(batch=1, people=1)}


@pytest.fixture(scope="module")
def fresh_answers(served, recognizers, requests):
    """What the SavedModels answer in a process that cannot import kerapose."""
    arrays = {f"{key}/{name}": array for key, request in requests.items() for name, array in request.items()}
    np.savez(served / "requests.npz", **arrays)
    command = [sys.executable, "-I", "-c", FRESH, json.dumps(list(recognizers))]
    done = subprocess.run(command, cwd=served, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(served / "answers.npz"))


@pytest.mark.parametrize("name", ["joint", "limb", "fused", "bfloat16"])
def test_a_process_without_kerapose_answers_alike(recognizers, requests, fresh_answers, name):
    tolerance = {"atol": 0.005} if name == "bfloat16" else {"rtol": 1e-4, "atol": 1e-6}
    for key, request in requests.items():
        expected = np.mean([recognizer(request) for recognizer in recognizers[name]], axis=0)
        actual = fresh_answers[f"{name}/{key}/probabilities"]
        np.testing.assert_allclose(actual, expected, **tolerance, err_msg=key)
        classes = np.char.decode(fresh_answers[f"{name}/{key}/classes"])
        assert classes.tolist() == [NAMES] * len(actual)
        top = np.char.decode(fresh_answers[f"{name}/{key}/top_class"])
        assert top.tolist() == [NAMES[i] for i in actual.argmax(axis=-1)]


def test_the_answers_depend_on_request_and_precision(fresh_answers):
    answers = [fresh_answers[f"joint/T{frames}/probabilities"][i] for frames in FRAMES for i in range(2)]
    apart = [np.abs(a - b).max() for i, a in enumerate(answers) for b in answers[:i]]
    assert min(apart) > 1e-3
    assert not np.array_equal(fresh_answers["bfloat16/T20/probabilities"], fresh_answers["joint/T20/probabilities"])


# ---------------------------------------- TensorFlow Serving
def serve(path, request):
    """Answers a serialized PredictRequest as TensorFlow Serving does: by the names of the signature's tensors."""
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    request = predict_pb2.PredictRequest.FromString(request)
    response = predict_pb2.PredictResponse()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(path))
        signature = meta_graph.signature_def[request.model_spec.signature_name]
        assert signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
        assert set(request.inputs) == set(signature.inputs)
        feed = {}
        for name, tensor in request.inputs.items():
            assert tensor.dtype == signature.inputs[name].dtype
            feed[signature.inputs[name].name] = tf.make_ndarray(tensor)
        values = session.run({name: info.name for name, info in signature.outputs.items()}, feed)
    for name, value in values.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(value, signature.outputs[name].dtype))
    return response.SerializeToString()


def read_signature(path):
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def["serving_default"]


def described(tensors):
    return {name: (tf.as_dtype(t.dtype).name, [d.size for d in t.tensor_shape.dim]) for name, t in tensors.items()}


def test_the_signature_is_the_documented_one(served):
    signature = read_signature(served / "joint" / "1")
    assert described(signature.inputs) == {
        "keypoints": ("float32", [-1, -1, -1, 17, 2]),
        "scores": ("float32", [-1, -1, -1, 17]),
        "frame_size": ("int32", [-1, 2]),
    }
    assert described(signature.outputs) == {
        "probabilities": ("float32", [-1, 5]),
        "classes": ("string", [-1, 5]),
        "top_class": ("string", [-1]),
    }


def test_predict_requests_and_responses_of_tensorflow_serving(served, requests, fresh_answers):
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    path = served / "joint" / "1"
    signature = read_signature(path)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "actions"
    request.model_spec.signature_name = "serving_default"
    for name, info in signature.inputs.items():
        array = requests["T20"][name]
        assert tf.TensorShape(info.tensor_shape).is_compatible_with(array.shape)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array, info.dtype))
    response = predict_pb2.PredictResponse.FromString(serve(path, request.SerializeToString()))
    assert set(response.outputs) == set(signature.outputs)
    for name, tensor in response.outputs.items():
        assert tensor.dtype == signature.outputs[name].dtype
        value, expected = tf.make_ndarray(tensor), fresh_answers[f"joint/T20/{name}"]
        if name == "probabilities":
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(value.astype("S"), expected)


def test_rest_rows_and_columns(served, requests, fresh_answers):
    """The two JSON forms of the predict call: a list of sequences, or each input for all of them."""
    run = tf.saved_model.load(served / "joint" / "1").signatures["serving_default"]
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
        assert answer["top_class"] == np.char.decode(fresh_answers["joint/T12/top_class"]).tolist()
        np.testing.assert_allclose(answer["probabilities"], fresh_answers["joint/T12/probabilities"], rtol=1e-4)


# ---------------------------------------- bad requests
def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"keypoints": r["keypoints"][0]}, "keypoints must have 5 axes, .* got the shape .2 30 17 2.; add"),
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
            lambda r: {"keypoints": with_value(r["keypoints"], (1, 0, 3, 4, 1), np.nan)},
            "must be finite, got NaN or infinity in sequence 1; set missing keypoints to",
        ),
        (
            lambda r: {"keypoints": with_value(r["keypoints"], (0, 0, 3, 4, 0), np.inf)},
            "must be finite, got NaN or infinity in sequence 0; set missing keypoints to",
        ),
        (
            lambda r: {"scores": with_value(r["scores"], (1, 1, 29, 16), np.nan)},
            "must be finite, got NaN or infinity in sequence 1; set missing keypoints to",
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
def test_a_bad_request_gets_one_sentence(served, change, sentence):
    run = tf.saved_model.load(served / "joint" / "1").signatures["serving_default"]
    request = sequences()
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        run(**{name: tf.constant(array) for name, array in (request | change(request)).items()})


# ---------------------------------------- writing
def test_what_is_there_is_kept_unless_overwritten(served, recognizers, tmp_path):
    path, inputs = tmp_path / "1", {name: tf.constant(array) for name, array in sequences().items()}
    (first,), second = recognizers["joint"], joint_recognizer(seed=2)

    def served_probabilities():
        return tf.saved_model.load(path).signatures["serving_default"](**inputs)["probabilities"]

    shutil.copytree(served / "joint" / "1", path)
    with pytest.raises(FileExistsError, match="give another path, or overwrite=True"):
        export.saved_model(second, path, NAMES, 17)
    np.testing.assert_allclose(served_probabilities(), first(inputs), rtol=1e-4, atol=1e-6)
    export.saved_model(second, path, NAMES, 17, overwrite=True)
    np.testing.assert_allclose(served_probabilities(), second(inputs), rtol=1e-4, atol=1e-6)
    assert np.abs(first(inputs) - second(inputs)).max() > 1e-2
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_a_folder_that_is_no_saved_model_is_never_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    with pytest.raises(FileExistsError, match="Only a SavedModel is overwritten"):
        export.saved_model(joint_recognizer(), tmp_path / "thesis", NAMES, 17, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "words"


@pytest.mark.parametrize("exists", [False, True])
def test_a_write_that_fails_leaves_everything_as_it_was(served, tmp_path, monkeypatch, exists):
    path = tmp_path / "1"
    if exists:
        shutil.copytree(served / "joint" / "1", path)
    before = sorted(entry.relative_to(tmp_path) for entry in tmp_path.rglob("*"))
    content = (path / "saved_model.pb").read_bytes() if exists else None

    def full_disk(model, path, **options):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export.saved_model(joint_recognizer(), path, NAMES, 17, overwrite=True)
    assert sorted(entry.relative_to(tmp_path) for entry in tmp_path.rglob("*")) == before
    assert not exists or (path / "saved_model.pb").read_bytes() == content


def test_what_does_not_fit_together_is_refused(recognizers, tmp_path):
    with pytest.raises(ValueError, match="got 4 names for 5 classes; give the names"):
        export.saved_model(recognizers["joint"], tmp_path / "1", NAMES[:4], 17)
    with pytest.raises(ValueError, match="got 15 where it needs 17; give Skeleton.num_keypoints"):
        export.saved_model(recognizers["joint"], tmp_path / "1", NAMES, 15)
    with pytest.raises(ValueError, match="got 15 where it needs at least 17"):
        export.saved_model(recognizers["limb"], tmp_path / "1", NAMES, 15)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------- LiteRT and ONNX
def run_litert(path, volumes):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    return interpreter.get_signature_runner()(volume=volumes)["logits"]


def run_onnx(path, volumes):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return session.run(["logits"], {"volume": volumes})[0]


FORMATS = {"litert": (export.litert, "actions.tflite", run_litert), "onnx": (export.onnx, "actions.onnx", run_onnx)}
NETWORKS = {  # short ones: a converter takes seconds for each block
    "c3d": (models.C3D, {"base_filters": 4}),
    "c3d_t": (models.C3D, {"base_filters": 4, "num_stages": 3, "temporal_downsample": True}),
    "slowonly": (
        models.SlowOnly,
        {
            "base_filters": 4,
            "stage_blocks": (1, 1),
            "inflate": (False, True),
            "spatial_strides": (2, 2),
            "temporal_strides": (1, 2),
        },
    ),
    "slowonly_strided_stem": (
        models.SlowOnly,
        {
            "base_filters": 4,
            "stage_blocks": (1,),
            "inflate": (True,),
            "spatial_strides": (1,),
            "temporal_strides": (1,),
            "stem_stride": 2,
            "stem_pool_stride": 2,
        },
    ),
    "x3d": (models.X3D, {"base_filters": 8, "stage_blocks": (1, 1), "spatial_strides": (2, 2), "gamma_d": 1.0}),
    "x3d_se_swish": (
        models.X3D,
        {
            "base_filters": 8,
            "stage_blocks": (1,),
            "spatial_strides": (2,),
            "gamma_d": 1.0,
            "se_ratio": 1 / 16,
            "swish": True,
        },
    ),
}


def volumes_like(network, batch):
    return np.random.default_rng(batch).random((batch, *network.input_shape[1:]), dtype="float32")


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_same_logits_in_other_runtimes(tmp_path, file_format, name):
    cls, arguments = NETWORKS[name]
    network = with_random_weights(cls(5, input_shape=(8, 24, 24, 17), **arguments))
    write, file, run = FORMATS[file_format]
    assert write(network, tmp_path / file) == tmp_path / file
    for batch in (1, 3):
        volumes = volumes_like(network, batch)
        expected = network(volumes, training=False)
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(run(tmp_path / file, volumes), expected, rtol=1e-3, atol=1e-4)
    assert [entry.name for entry in tmp_path.iterdir()] == [file]


def test_a_network_of_another_precision_is_written_in_float32(tmp_path):
    exact = with_random_weights(tiny_network())
    with policy("mixed_bfloat16"):
        network = with_random_weights(tiny_network())
        export.onnx(network, tmp_path / "actions.onnx")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    volumes = volumes_like(network, 2)
    expected = exact(volumes, training=False)
    np.testing.assert_allclose(run_onnx(tmp_path / "actions.onnx", volumes), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(network(volumes, training=False) - expected).max() > 1e-3


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_are_refused_by_ending_and_kept(tmp_path, file_format):
    write, file, _ = FORMATS[file_format]
    with pytest.raises(ValueError, match=f"must end in {(tmp_path / file).suffix}, got .*; rename it"):
        write(tiny_network(), tmp_path / "actions.bin")
    (tmp_path / file).write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(tiny_network(), tmp_path / file)
    assert (tmp_path / file).read_bytes() == b"mine"
    write(tiny_network(), tmp_path / file, overwrite=True)
    assert len((tmp_path / file).read_bytes()) > 1000


def test_onnx_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'kerapose\[export\]'"):
        export.onnx(tiny_network(), tmp_path / "actions.onnx")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------- poses
BIRD = skeletons.Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))
CODECS = {"gaussian": {}, "hourglass": {"codec": "hourglass", "flip_test": False, "normalization": {"bgr": True}}}

FRESH_POSES = """
import sys

import numpy as np
import tensorflow as tf

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kerapose", "keras"):
            raise ModuleNotFoundError(f"no {name} here")

for name in [name for name in sys.modules if name.split(".")[0] == "keras"]:
    del sys.modules[name]  # TensorFlow brought it in
sys.meta_path.insert(0, Refuse())
requests, answers = dict(np.load("pose_requests.npz")), {}
for name in sys.argv[1:]:
    signatures = tf.saved_model.load(f"{name}/1").signatures
    encoded = tf.constant([requests[f"file_{i}"].tobytes() for i in range(3)])
    boxes = requests["boxes"]
    calls = {"batch": ("serving_default", {"image_bytes": encoded, "boxes": tf.constant(boxes)})}
    for i in range(3):
        used = boxes[i][boxes[i].any(axis=-1)]
        one = {"image_bytes": encoded[i : i + 1], "boxes": tf.constant(used[None])}
        calls[f"one_{i}"] = ("serving_default", one)
    calls["whole"] = ("whole_image", {"image_bytes": encoded})
    calls["nobody"] = ("serving_default", {"image_bytes": encoded[:2], "boxes": tf.zeros((2, 0, 4))})
    calls["padding"] = ("serving_default", {"image_bytes": encoded[:2], "boxes": tf.zeros((2, 3, 4))})
    for call, (signature, inputs) in calls.items():
        for output, value in signatures[signature](**inputs).items():
            value = value.numpy()
            answers[f"{name}/{call}/{output}"] = value.astype("S") if value.dtype == object else value
assert "kerapose" not in sys.modules and "keras" not in sys.modules
np.savez("pose_answers.npz", **answers)
"""


def pose_network():
    network = models.SimpleBaseline(3, image_shape=(64, 64, 3), depth=18, deconv_filters=(8, 8, 8))
    return with_random_weights(network)


def small_network():
    """Of one stack, and of so few layers that it is written in no time."""
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    maps = keras.layers.Conv2D(3, 5, padding="same")(x)
    return keras.Model(crops, keras.layers.Reshape((1, 16, 16, 3))(maps))


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
def pose_estimators():
    return {
        name: models.PoseEstimator(network, BIRD.flip_permutation, max_batch=3, **CODECS[name])
        for name, network in (("gaussian", pose_network()), ("hourglass", small_network()))
    }


@pytest.fixture(scope="module")
def served_poses(pose_estimators, tmp_path_factory):
    folder = tmp_path_factory.mktemp("poses")
    for name, estimator in pose_estimators.items():
        path = folder / name / "1"
        assert export.pose_saved_model(estimator, path, BIRD.keypoints) == path
    return folder


@pytest.fixture(scope="module")
def run_poses(served_poses):
    return tf.saved_model.load(served_poses / "gaussian" / "1").signatures["serving_default"]


@pytest.fixture(scope="module")
def pose_request():
    """Files of three sizes and forms, the last one lying on its side, and 4, 1 and 2 boxes, filled up with zeros."""
    files = [encode(photo(90, 120)), encode(photo(70, 60, seed=1), ".jpg")]
    files.append(with_orientation(encode(photo(80, 150, seed=2), ".jpg"), 6))
    boxes = np.zeros((3, 4, 4), "float32")
    boxes[0] = [[10, 20, 60, 80], [-15, -10, 40, 30], [50, 30, 200, 85], [20, 20, 30, 70]]
    boxes[1, 0] = [5.5, 3.25, 50, 66]
    boxes[2, :2] = [[0, 0, 80, 150], [20, 90, 60, 140]]  # below what lies on its side
    return {"files": files, "boxes": boxes}


@pytest.fixture(scope="module")
def fresh_poses(served_poses, pose_request):
    """What the SavedModels answer in a process that can import neither kerapose nor Keras."""
    files = {f"file_{i}": np.frombuffer(data, np.uint8) for i, data in enumerate(pose_request["files"])}
    np.savez(served_poses / "pose_requests.npz", boxes=pose_request["boxes"], **files)
    command = [sys.executable, "-I", "-c", FRESH_POSES, *CODECS]
    done = subprocess.run(command, cwd=served_poses, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(served_poses / "pose_answers.npz"))


@pytest.mark.parametrize("name", CODECS)
def test_a_process_without_kerapose_finds_the_same_keypoints(pose_estimators, pose_request, fresh_poses, name):
    find = predictors.TopDownPose(pose_estimators[name], BIRD)
    for i, (data, boxes) in enumerate(zip(pose_request["files"], pose_request["boxes"], strict=True)):
        used = boxes[boxes.any(axis=-1)]
        poses = find(data, used)
        keypoints, scores = np.array([p.keypoints for p in poses]), np.array([p.scores for p in poses])
        for call, row in (("batch", i), (f"one_{i}", 0)):
            actual = {key: fresh_poses[f"{name}/{call}/{key}"][row] for key in ("keypoints", "scores")}
            np.testing.assert_allclose(actual["keypoints"][: len(used)], keypoints, atol=1e-3)
            np.testing.assert_allclose(actual["scores"][: len(used)], scores, rtol=1e-5, atol=1e-5)
            assert not actual["keypoints"][len(used) :].any()
            assert not actual["scores"][len(used) :].any()
        whole = find(data)[0]
        np.testing.assert_allclose(fresh_poses[f"{name}/whole/keypoints"][i, 0], whole.keypoints, atol=1e-3)
        np.testing.assert_allclose(fresh_poses[f"{name}/whole/scores"][i, 0], whole.scores, rtol=1e-5, atol=1e-5)


def test_poses_depend_on_file_box_and_codec(fresh_poses):
    keypoints = fresh_poses["gaussian/batch/keypoints"]
    assert np.ptp(keypoints[0], axis=0).min() > 5
    assert np.abs(keypoints[2, 0] - keypoints[2, 1]).max() > 5
    assert np.abs(keypoints - fresh_poses["hourglass/batch/keypoints"]).max() > 1


def test_names_and_shapes_are_those_of_the_request(fresh_poses):
    for call, batch, boxes in (("batch", 3, 4), ("one_2", 1, 2), ("whole", 3, 1), ("nobody", 2, 0), ("padding", 2, 3)):
        answer = {key: fresh_poses[f"gaussian/{call}/{key}"] for key in ("keypoints", "scores", "keypoint_names")}
        assert answer["keypoints"].shape == (batch, boxes, 3, 2)
        assert answer["scores"].shape == (batch, boxes, 3)
        assert np.char.decode(answer["keypoint_names"]).tolist() == [list(BIRD.keypoints)] * batch
    assert not fresh_poses["gaussian/padding/scores"].any()


def test_boxes_that_a_server_filled_up_are_padding(run_poses, pose_request, fresh_poses):
    """TensorFlow Serving's pad_variable_length_inputs takes the first number of a request."""
    boxes = np.where(pose_request["boxes"].any(axis=-1, keepdims=True), pose_request["boxes"], np.float32(5.5))
    answer = run_poses(image_bytes=tf.constant(pose_request["files"]), boxes=tf.constant(boxes))
    np.testing.assert_allclose(answer["keypoints"], fresh_poses["gaussian/batch/keypoints"], atol=1e-3)


def test_the_signatures_of_poses_are_the_documented_ones(served_poses):
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    saved = saved_model_pb2.SavedModel.FromString((served_poses / "gaussian" / "1" / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    image = {"image_bytes": ("string", [-1])}
    assert described(signatures["serving_default"].inputs) == image | {"boxes": ("float32", [-1, -1, 4])}
    assert described(signatures["whole_image"].inputs) == image
    for name, boxes in (("serving_default", -1), ("whole_image", 1)):
        assert described(signatures[name].outputs) == {
            "keypoints": ("float32", [-1, boxes, 3, 2]),
            "scores": ("float32", [-1, boxes, 3]),
            "keypoint_names": ("string", [-1, 3]),
        }


def test_predict_requests_of_images(served_poses, pose_request, fresh_poses):
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    for signature in ("serving_default", "whole_image"):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "pose"
        request.model_spec.signature_name = signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(pose_request["files"]))
        if signature == "serving_default":
            request.inputs["boxes"].CopyFrom(tf.make_tensor_proto(pose_request["boxes"]))
        answer = serve(served_poses / "gaussian" / "1", request.SerializeToString())
        response = predict_pb2.PredictResponse.FromString(answer)
        call = "batch" if signature == "serving_default" else "whole"
        for name in ("keypoints", "scores"):
            value = tf.make_ndarray(response.outputs[name])
            np.testing.assert_allclose(value, fresh_poses[f"gaussian/{call}/{name}"], rtol=1e-4, atol=1e-3)


def test_rest_rows_of_one_image(run_poses, pose_request, fresh_poses):
    """The call of the documentation: what a REST client sends, and what it gets back as rows."""
    instance = {
        "image_bytes": {"b64": base64.b64encode(pose_request["files"][2]).decode()},
        "boxes": pose_request["boxes"][2, :2].tolist(),
    }
    rows = json.loads(json.dumps({"instances": [instance]}))["instances"]
    outputs = run_poses(
        image_bytes=tf.constant([base64.b64decode(row["image_bytes"]["b64"]) for row in rows]),
        boxes=tf.constant([row["boxes"] for row in rows], tf.float32),
    )
    assert {len(value) for value in outputs.values()} == {1}  # or the answer could not be given in rows
    np.testing.assert_allclose(outputs["keypoints"], fresh_poses["gaussian/one_2/keypoints"], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"boxes": r["boxes"][0]}, r"boxes must have 3 axes, \[B, N, 4\], got the shape .4 4.; add"),
        (lambda r: {"image_bytes": r["image_bytes"][0]}, r"image_bytes must have 1 axis, \[B\], got the shape ..; add"),
        (lambda r: {"boxes": r["boxes"][:2]}, "for 3 images, got .2 4 4.; fill up with boxes of zeros"),
        (lambda r: {"boxes": r["boxes"][..., :3]}, "for 3 images, got .3 4 3.; fill up"),
        (lambda r: {name: value[:0] for name, value in r.items()}, "at least one image, got 0; leave it out"),
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
    ],
)
def test_a_bad_request_for_poses_gets_one_sentence(run_poses, pose_request, change, sentence):
    request = {"image_bytes": pose_request["files"], "boxes": pose_request["boxes"]}
    request = request | change(request)
    boxes, encoded = request["boxes"], tf.constant(request["image_bytes"], tf.string)
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        run_poses(image_bytes=encoded, boxes=tf.constant(boxes))
    assert re.search(sentence, str(error.value).replace("\\'", "'"))


def test_a_bfloat16_network_finds_poses_too(tmp_path, pose_request):
    with policy("mixed_bfloat16"):
        estimator = models.PoseEstimator(small_network(), BIRD.flip_permutation)
    export.pose_saved_model(estimator, tmp_path / "1", BIRD.keypoints)
    run = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    answer = run(image_bytes=tf.constant(pose_request["files"][:1]), boxes=tf.constant(pose_request["boxes"][:1]))
    poses = predictors.TopDownPose(estimator, BIRD)(pose_request["files"][0], pose_request["boxes"][0])
    assert answer["scores"].dtype == tf.float32
    np.testing.assert_allclose(answer["scores"][0], [pose.scores for pose in poses], rtol=0.02)


def test_poses_that_do_not_fit_together_are_refused(pose_estimators, tmp_path):
    with pytest.raises(ValueError, match="got 17 names for 3 keypoints; give the keypoints of the skeleton"):
        export.pose_saved_model(pose_estimators["gaussian"], tmp_path / "1", COCO.keypoints)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.pose_saved_model(pose_estimators["gaussian"], tmp_path / "1", BIRD.keypoints)
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"mine"
