"""What TensorFlow Serving finds in a SavedModel and beside it, besides the graph.

===========================================  =========================================================
file
===========================================  =========================================================
`1/assets.extra/tf_serving_warmup_requests`  requests that a server answers before it takes others
`1/batching_params.pbtxt`                    how requests are gathered, for a server of several models
`batching_parameters.txt`                    the same, for a server of this one
`models.config`                              a sample: the model's name, its versions and their labels
===========================================  =========================================================

The last two belong to the model, not to a version, and may be changed by hand: they are written where there are none.
A path that does not end in a number is no version of a model. A server would not find it, so nothing is put beside it.
"""

import contextlib
import json
import math
import pathlib
import textwrap
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kerapose.export.archives import DEFAULT, default_of, whole, write_signatures
from kerapose.types import ArrayLike, Path

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
WARM_UP_PICTURES = ((720, 1280), (1280, 720))  # (height, width) of those in requests that images are sent in
WARM_UP_SIZE = (240, 320)  # of a video
WARM_UP_FRAMES = 48  # of a video or a sequence
GATHERED_MICROSECONDS = 2000  # that a request may wait for others
THREADS, WAITING = 2, 64  # a request has all cores to itself: more at once take more memory, and hardly less time

# Messages of tensorflow_serving/apis, by the numbers of their fields. The package that has them,
# tensorflow-serving-api, wants a newer TensorFlow than this one does.
PREDICT_LOG, REQUEST, MODEL, INPUTS, SIGNATURE, KEY, VALUE = 6, 1, 1, 2, 3, 1, 2


@contextlib.contextmanager
def served(path: Path, overwrite: bool, batching: str | None) -> Iterator[pathlib.Path]:
    """As `archives.whole`, for a SavedModel: adds what is said here, `batching` being of `apart` or `together`."""
    path = pathlib.Path(path)
    with whole(path, overwrite) as part:
        yield part
        if batching is not None:
            (part / "batching_params.pbtxt").write_text(batching, encoding="utf-8")
    if not (path.name.isascii() and path.name.isdecimal()):
        return
    name = path.resolve().parent.name
    beside = {"batching_parameters.txt": batching, "models.config": _sample(name, int(path.name))}
    for file, text in beside.items():
        if text is not None and not (path.parent / file).exists():
            with whole(path.parent / file, overwrite=False) as part:
                part.write_text(text, encoding="utf-8")


def write_served(
    folder: Path, signatures: dict[str, tuple[Callable, list]], requests: dict[str, list[dict[str, ArrayLike]]]
) -> None:
    """Writes signatures, as `archives.write_signatures`, with requests of each that a server is warmed up by."""
    write_signatures(folder, signatures)
    file = pathlib.Path(folder) / WARM_UP_FILE
    file.parent.mkdir()
    asked = {name: name for name in signatures} | {DEFAULT: default_of(signatures)}
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, own in asked.items():
            specs = signatures[own][1]
            for request in requests[own]:
                tensors = {spec.name: _tensor(request[spec.name], spec.dtype) for spec in tf.nest.flatten(specs)}
                writer.write(_prediction_log(name, tensors))


# ---------------------------------------- how requests are gathered
def apart(rows: str, most: int, why: str) -> str:
    """Batching parameters by which each row, one of the B, is answered alone.

    Args:
        rows: what the B are, in the plural: "sequences".
        most: how many of them a request may have.
        why: they stay apart; it completes "The sequences of ... are answered one by one: ...".
    """
    return _parameters(
        f"The {rows} of all requests are answered one by one: {why}.",
        f"max_batch_size {{ value: {most} }}",
        "max_execution_batch_size { value: 1 }",
        "enable_large_batch_splitting { value: true }",
        "batch_timeout_micros { value: 0 }",
    )


def together(rows: str, most: int, why: str) -> str:
    """Batching parameters by which up to `most` rows of several requests are answered together, and filled up."""
    return _parameters(
        f"The {rows} of several requests are answered together: {why}. A wrong request fails with all that it is "
        "answered with, so this is for clients whom one trusts; others want a server without --enable_batching.",
        f"max_batch_size {{ value: {most} }}",
        f"batch_timeout_micros {{ value: {GATHERED_MICROSECONDS} }}",
        "pad_variable_length_inputs: true",
    )


def _parameters(comment, *lines):
    lines += (f"num_batch_threads {{ value: {THREADS} }}", f"max_enqueued_batches {{ value: {WAITING} }}")
    comment = textwrap.wrap(f"For TensorFlow Serving's --enable_batching. {comment}", 118)
    return "\n".join([*(f"# {line}" for line in comment), *lines, ""])


def _sample(name, version):
    """A server's configuration with one model, at the place where the documentation mounts it."""
    return f"""\
# For TensorFlow Serving's --model_config_file, with --allow_version_labels_for_unavailable_models: else a label is
# given only to a version that is loaded already, which none is at the start. base_path is absolute, as the server sees
# it. To try another version, add it to the versions and label it "canary".
model_config_list {{
  config {{
    name: {json.dumps(name, ensure_ascii=False)}
    base_path: {json.dumps(f"/models/{name}", ensure_ascii=False)}
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: {version} }} }}
    version_labels {{ key: "stable" value: {version} }}
  }}
}}
"""


# ---------------------------------------- requests of typical sizes
def fitting(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """(height, width), both divided by one number, so that they have at most so many pixels."""
    divisor = math.ceil(math.sqrt(size[0] * size[1] / max_pixels))
    return tuple(max(side // max(divisor, 1), 1) for side in size)


def picture(size: tuple[int, int]) -> bytes:
    """A JPEG file of smooth colours, (height, width)."""
    rows, columns = np.meshgrid(*(np.linspace(0, 1, side) for side in size), indexing="ij")
    colours = np.stack([rows, columns, rows * columns], axis=-1)
    return tf.io.encode_jpeg((255 * colours).astype("uint8")).numpy()


def places(*axes: int, size: tuple[int, int] = WARM_UP_PICTURES[0]) -> dict[str, np.ndarray]:
    """Keypoints [B, ..., K, 2] on a line through a frame of (height, width), their scores, and that frame's size."""
    share = np.linspace(0.25, 0.75, axes[-1])[:, None]
    return {
        "keypoints": np.broadcast_to(share * size[::-1], (*axes, 2)).astype("float32"),
        "scores": np.ones(axes, "float32"),
        "frame_size": np.tile(np.array(size, "int32"), (axes[0], 1)),
    }


# ---------------------------------------- messages
def _tensor(value, dtype):
    """A TensorProto; of one value alone, such as grey frames, it is as small as that value."""
    value = np.asarray(value)
    if dtype != tf.string and value.size and (value == value.flat[0]).all():
        return tf.make_tensor_proto(value.flat[0], dtype, value.shape)
    return tf.make_tensor_proto(value, dtype)


def _prediction_log(signature, tensors):
    """A PredictionLog of a request: which model it is for, the server knows."""
    request = _field(MODEL, _field(SIGNATURE, signature.encode()))
    for name, tensor in tensors.items():
        request += _field(INPUTS, _field(KEY, name.encode()) + _field(VALUE, tensor.SerializeToString()))
    return _field(PREDICT_LOG, _field(REQUEST, request))


def _field(number, content):
    """A field of a message whose content is bytes, text or a message: its number and type 2, its length, itself."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number):
    """A whole number, seven bits a byte, the lowest first; the eighth says that another byte follows."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes(digits) + bytes([number])
