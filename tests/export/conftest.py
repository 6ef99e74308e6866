"""Fixtures of the exports' tests: networks to export, a process without our code, and TensorFlow Serving's call."""

import contextlib
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

HERE = pathlib.Path(__file__).parent
SERVER = """
import json
import os
import sys
import traceback

sys.path.insert(0, FOLDER)
import without_kerapose
import numpy as np
import tensorflow as tf

try:
    import kerapose
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("kerapose can be imported, so this shows nothing")

for line in sys.stdin:
    folder, program, arguments = json.loads(line)
    os.chdir(folder)
    sys.argv[1:] = arguments
    answers = {}

    def keep(key, outputs):
        for name, value in outputs.items():
            value = np.asarray(value)
            answers[f"{key}/{name}"] = value.astype("S") if value.dtype == object else value

    said = "done"
    try:
        exec(program, {"np": np, "tf": tf, "sys": sys, "requests": dict(np.load("requests.npz")), "keep": keep})
        assert "kerapose" not in sys.modules and "keras" not in sys.modules
        np.savez("answers.npz", **answers)
    except BaseException:
        said = traceback.format_exc()
    print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="session")
def run_fresh():
    """A function that runs a program in a process that can import neither kerapose nor Keras, as a server cannot.

    It takes the folder of SavedModels that the process works in, the program, the arrays that it asks with, by name,
    and further arguments, which are `sys.argv[1:]` there. The program finds `np`, `tf`, the arrays as `requests`, and
    `keep(key, outputs)`, which notes what a signature answered. The function gives all that was noted:
    {"key/output": array}, texts as bytes. One process, which takes seconds to start, runs the programs of all files.
    """
    process = None

    def run(folder, program, requests, *arguments):
        nonlocal process
        if process is None:
            command = [sys.executable, "-I", "-c", SERVER.replace("FOLDER", repr(str(HERE)))]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        np.savez(folder / "requests.npz", **requests)
        process.stdin.write(json.dumps([str(folder), program, arguments]) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        assert said, "the process ended before it answered"
        assert json.loads(said) == "done", json.loads(said)
        return dict(np.load(folder / "answers.npz"))

    yield run
    if process is not None:
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def serve():
    """A function that answers a predict call as TensorFlow Serving does: by the names of the signature's tensors.

    It takes the folder of a SavedModel, its inputs by name and the name of the signature, and gives the outputs. What
    TensorFlow Serving gets and sends are messages in bytes, and so they are here.
    """

    def answer(path, inputs, signature_name="serving_default"):
        predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
        request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        request = predict_pb2.PredictRequest.FromString(request.SerializeToString())
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(path))
            signature = meta_graph.signature_def[signature_name]
            assert signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
            assert set(request.inputs) == set(signature.inputs)
            feed = {}
            for name, tensor in request.inputs.items():
                expected = signature.inputs[name]
                assert tensor.dtype == expected.dtype
                assert tf.TensorShape(expected.tensor_shape).is_compatible_with(tf.TensorShape(tensor.tensor_shape))
                feed[expected.name] = tf.make_ndarray(tensor)
            values = session.run({name: info.name for name, info in signature.outputs.items()}, feed)
        for name, value in values.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value, signature.outputs[name].dtype))
        response = predict_pb2.PredictResponse.FromString(response.SerializeToString())
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    return answer


@pytest.fixture(scope="session")
def signatures():
    """A function that reads a SavedModel's signatures: {signature: ({input: (dtype, shape)}, {output: ...})}.

    Axes of any length are -1.
    """

    def described(tensors):
        return {name: (tf.as_dtype(t.dtype).name, [d.size for d in t.tensor_shape.dim]) for name, t in tensors.items()}

    def read(path):
        saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        known = saved.meta_graphs[0].signature_def
        return {
            name: (described(signature.inputs), described(signature.outputs))
            for name, signature in known.items()
            if signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
        }

    return read


@pytest.fixture(scope="session")
def policy():
    """A context manager that sets Keras' precision policy by name for a while."""

    @contextlib.contextmanager
    def policy(name):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(name)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    return policy


@pytest.fixture(scope="session")
def randomized():
    """A function that gives a network random weights, all of which count, and returns it.

    A fresh network's last norms of residual branches are zero. `shift` is the spread of biases and of norms' shifts,
    `classifier` that of dense kernels: without shifts and with large logits, small differences of inputs show.
    """

    def randomize(network, seed=0, shift=0.2, classifier=1.0):
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

    return randomize


class Client:
    """A server in a process of its own, asked over gRPC; its memory in bytes."""

    def __init__(self, process, port):
        grpc = pytest.importorskip("grpc")
        prediction_service_pb2_grpc = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
        self.process, self.port = process, port
        sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=sizes)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def __call__(self, model, inputs, signature=""):
        """The outputs; whoever is refused gets grpc.RpcError. Inputs are arrays, or messages as they are."""
        predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, value in inputs.items():
            tensor = value if hasattr(value, "SerializeToString") else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(tensor)
        response = self.stub.Predict(request, timeout=60)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def memory(self, kind="VmRSS"):
        """Resident bytes, now, or the most so far ("VmHWM")."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))


@pytest.fixture(scope="session")
def start_server():
    """A context manager that starts `serving_server.py` with model folders and options, and gives a `Client`."""

    @contextlib.contextmanager
    def start(*arguments):
        command = [sys.executable, "-I", str(HERE / "serving_server.py"), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            said = process.stdout.readline()
            assert said, "the server ended before it was ready"
            client = Client(process, json.loads(said)["port"])
            yield client
            client.channel.close()
        finally:
            process.communicate(timeout=60)

    return start


@pytest.fixture(scope="session")
def replay():
    """A function that answers a SavedModel's warm-up requests, which must fit its signatures and leave none out.

    It gives {signature: [outputs, ...]}. It also looks that no part of the graph asks for XLA, which TensorFlow Serving
    has switched off.
    """

    def answer(path):
        prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        functions = saved.meta_graphs[0].graph_def.library.function
        assert functions and not any(function.attr["_XlaMustCompile"].b for function in functions)
        known, answers = tf.saved_model.load(path).signatures, {}
        for record in tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests")):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            function = known[request.model_spec.signature_name]
            specs = function.structured_input_signature[1]
            assert {name: tf.as_dtype(proto.dtype) for name, proto in request.inputs.items()} == {
                name: spec.dtype for name, spec in specs.items()
            }
            inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
            answers.setdefault(request.model_spec.signature_name, []).append(function(**inputs))
        assert set(answers) == set(known)
        assert sum(map(len, answers.values())) <= 1000
        return answers

    return answer
