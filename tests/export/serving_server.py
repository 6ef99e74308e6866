"""A small stand-in for TensorFlow Serving: its predict call over gRPC, answered by TensorFlow's SavedModel runtime.

    python -I tests/export/serving_server.py MODEL_FOLDER ... [--no_warm_up] [--threads=4]

A MODEL_FOLDER has the model's name and holds its versions, of which the highest is served. As TensorFlow Serving does,
it answers a model's warm-up requests before it takes others and does not start if one of them fails; it holds the names
and types of inputs against the signature, and shapes against nothing; and the code and message of a graph's error are
those of the answer. It prints a line of JSON, {"port", "load_s"}, when it is ready, and ends with its standard input.

It cannot import kerapose or Keras: what is served needs neither.
"""

import json
import os
import pathlib
import sys
import time
from concurrent import futures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # each refused request would be a line
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import without_kerapose  # noqa: E402, F401, I001

import grpc  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc  # noqa: E402

MOST_BYTES = 64 * 2**20  # of a message, and of a tensor that it stands for
CODES = {code.value[0]: code for code in grpc.StatusCode}


class RefusedError(Exception):
    """A request that no graph is asked about."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers by the models' names."""

    def __init__(self, models):
        self.models = models

    def Predict(self, request, context):  # noqa: N802, gRPC's name
        try:
            return self.answer(request, request.model_spec.name)
        except RefusedError as error:
            context.abort(error.code, error.message)
        except tf.errors.OpError as error:
            context.abort(CODES[error.error_code], error.message)

    def answer(self, request, name):
        spec, response = request.model_spec, predict_pb2.PredictResponse()
        if name not in self.models:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no model {name!r}; ask for one that is served.")
        function = self.models[name].get(spec.signature_name or "serving_default")
        if function is None:
            sentence = f"There is no signature {spec.signature_name!r}; ask for one that the model has."
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, sentence)
        outputs = function(**unpacked(request.inputs, function.structured_input_signature[1]))
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy(), value.dtype, value.shape))
        return response


def unpacked(inputs, specs):
    """The tensors of a request, once their names and types are those of the signature."""
    refused = grpc.StatusCode.INVALID_ARGUMENT
    if set(inputs) != set(specs):
        raise RefusedError(refused, f"Inputs must be {sorted(specs)}, got {sorted(inputs)}; give these alone.")
    tensors = {}
    for name, proto in inputs.items():
        dtype = specs[name].dtype
        if proto.dtype != dtype.as_datatype_enum:
            given = tf.as_dtype(proto.dtype).name
            raise RefusedError(refused, f"{name} must be {dtype.name}, got {given}; convert it.")
        count = int(np.prod([max(axis.size, 0) for axis in proto.tensor_shape.dim], dtype=object))
        if count * max(dtype.size, 1) > MOST_BYTES:
            raise RefusedError(refused, f"{name} must have at most {MOST_BYTES} bytes, got {count} values; send less.")
        try:
            tensors[name] = tf.constant(tf.make_ndarray(proto), dtype)
        except (TypeError, ValueError) as error:
            raise RefusedError(refused, f"{name} must be a whole tensor, got one that is none ({error}).") from error
    return tensors


def loaded(folder):
    """The signatures of the highest version in a folder, and the file of its warm-up requests."""
    version = max((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    return tf.saved_model.load(str(version)).signatures, version / "assets.extra" / "tf_serving_warmup_requests"


def main(arguments):
    start = time.perf_counter()
    folders = [pathlib.Path(argument) for argument in arguments if not argument.startswith("--")]
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments if argument.startswith("--"))
    found = {folder.name: loaded(folder) for folder in folders}
    service = Predictions({name: signatures for name, (signatures, _) in found.items()})
    if "no_warm_up" not in options:
        for name, (_, warm_up) in found.items():
            for record in tf.data.TFRecordDataset(str(warm_up)):
                log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
                service.answer(log.predict_log.request, name)
    assert not {"kerapose", "keras"} & set(sys.modules)
    sizes = [("grpc.max_receive_message_length", MOST_BYTES), ("grpc.max_send_message_length", MOST_BYTES)]
    server = grpc.server(futures.ThreadPoolExecutor(int(options.get("threads", 4))), options=sizes)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"port": port, "load_s": time.perf_counter() - start}), flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main(sys.argv[1:])
