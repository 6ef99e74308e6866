"""Trained networks for other runtimes: a SavedModel that takes keypoints, LiteRT and ONNX files that take volumes.

The SavedModel has the whole way from keypoints to probabilities inside and needs no Python of ours. Its signature
`serving_default` is what TensorFlow Serving's predict call, gRPC or REST, asks for:

| input | type | shape | |
| --- | --- | --- | --- |
| `keypoints` | float32 | [B, M, T, K, 2] | pixels of the frame, x first, (0, 0) where missing |
| `scores` | float32 | [B, M, T, K] | 1 where they are not known, 0 for people who only pad the batch |
| `frame_size` | int32 | [B, 2] | height and width, pixels |

| output | type | shape | |
| --- | --- | --- | --- |
| `probabilities` | float32 | [B, C] | in the order of the labels |
| `classes` | string | [B, C] | their names, in the same order |
| `top_class` | string | [B] | the name of the most probable one |

B, M and T are free. The sequences of one request have the same number of frames; the frames of a sequence are never
padded, because clips are sampled from all of them. A request that cannot be answered fails with one sentence.
"""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

from kerapose.ops import heatmaps


def saved_model(recognizers, path, class_names, num_keypoints, overwrite=False):
    """Writes a SavedModel that takes sequences of keypoints and gives class names and probabilities.

    Args:
        recognizers: an `ActionRecognizer`, or several (joints and limbs) whose probabilities are averaged.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/actions/1").
        class_names: [C] names in the order of the labels.
        num_keypoints: K of the sequences (`Skeleton.num_keypoints`).
        overwrite: whether a SavedModel already there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if names, keypoints and recognizers do not fit together.
        FileExistsError: if something is already there.

    Example:
        >>> export.saved_model(recognizer, "models/actions/1", class_names, skeletons.COCO.num_keypoints)
        >>> served = tf.saved_model.load("models/actions/1").signatures["serving_default"]
        >>> served(keypoints=k, scores=s, frame_size=[[1080, 1920]])["top_class"]  # k: [1, 2, 300, 17, 2]
        [b'wave']
    """
    recognizers = recognizers if isinstance(recognizers, list | tuple) else [recognizers]
    class_names = [str(name) for name in class_names]
    for recognizer in recognizers:
        _check_recognizer(recognizer, class_names, num_keypoints)
    archive = keras.export.ExportArchive()
    for recognizer in recognizers:
        archive.track(recognizer.network)
    signature = [
        tf.TensorSpec((None, None, None, num_keypoints, 2), tf.float32, "keypoints"),
        tf.TensorSpec((None, None, None, num_keypoints), tf.float32, "scores"),
        tf.TensorSpec((None, 2), tf.int32, "frame_size"),
    ]
    with _whole(path, overwrite) as part:
        archive.add_endpoint("serving_default", _serving_function(recognizers, class_names), signature)
        archive.write_out(part, verbose=False)
    return pathlib.Path(path)


def litert(network, path, overwrite=False):
    """Writes a network of volumes as a LiteRT file, in float32, for any batch size.

    Its one signature takes `volume` [B, T, H, W, C] and gives `logits` [B, num_classes].

    Args:
        network: C3D, SlowOnly or X3D, of any precision policy.
        path: of the file, ending in `.tflite`.
        overwrite: whether a file already there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the path does not end in `.tflite`.
        FileExistsError: if there is a file already.

    Example:
        >>> export.litert(network, "actions.tflite")
        >>> run = ai_edge_litert.interpreter.Interpreter("actions.tflite").get_signature_runner()
        >>> run(volume=volumes)["logits"].shape  # volumes: [4, 48, 56, 56, 17]
        (4, 60)
    """
    _check_ending(path, ".tflite")
    with _whole(path, overwrite) as part:
        _float32_copy(network).export(part, format="litert", verbose=False)
    return pathlib.Path(path)


def onnx(network, path, overwrite=False):
    """Writes a network of volumes as an ONNX file, in float32, for any batch size.

    It takes `volume` [B, T, H, W, C] and gives `logits` [B, num_classes].

    Args:
        network: C3D, SlowOnly or X3D, of any precision policy.
        path: of the file, ending in `.onnx`.
        overwrite: whether a file already there is replaced.

    Returns:
        The path.

    Raises:
        ImportError: if tf2onnx is not installed.
        ValueError: if the path does not end in `.onnx`.
        FileExistsError: if there is a file already.

    Example:
        >>> export.onnx(network, "actions.onnx")
        >>> session = onnxruntime.InferenceSession("actions.onnx")
        >>> session.run(["logits"], {"volume": volumes})[0].shape  # volumes: [4, 48, 56, 56, 17]
        (4, 60)
    """
    _check_ending(path, ".onnx")
    if importlib.util.find_spec("tf2onnx") is None:
        raise ImportError("Writing ONNX needs tf2onnx, which is not installed; pip install 'kerapose[export]'.")
    with _whole(path, overwrite) as part:
        _float32_copy(network).export(part, format="onnx", verbose=False)
    return pathlib.Path(path)


def _serving_function(recognizers, class_names):
    """(keypoints, scores, frame_size) to {"probabilities", "classes", "top_class"}."""
    names = tf.constant(class_names)  # [C]

    def answer(sequence):
        inputs = {name: value[None] for name, value in sequence.items()}  # [1, M, T, K, 2], [1, M, T, K], [1, 2]
        return tf.add_n([recognizer(inputs)[0] for recognizer in recognizers]) / len(recognizers)  # [C]

    def serve(keypoints, scores, frame_size):
        inputs = _checked({"keypoints": keypoints, "scores": scores, "frame_size": frame_size})
        # One sequence is already a batch of clips for the network; more at once would only take more memory.
        spec = tf.TensorSpec(names.shape, tf.float32)
        probabilities = tf.map_fn(answer, inputs, parallel_iterations=1, fn_output_signature=spec)  # [B, C]
        return {
            "probabilities": probabilities,
            "classes": tf.broadcast_to(names, tf.shape(probabilities)),
            "top_class": tf.gather(names, tf.argmax(probabilities, axis=-1)),
        }

    return serve


def _checked(inputs):
    """The inputs, behind assertions in the graph: each gives one sentence on a request that cannot be answered."""
    signature = {name: value.shape for name, value in inputs.items()}
    # No runtime holds a request against the signature, but the graph's optimizer takes the signature at its word and
    # would drop the checks. So the shapes are forgotten here, to be found out anew.
    inputs = {name: tf.compat.v1.placeholder_with_default(value, None) for name, value in inputs.items()}
    inputs = _check_values(_check_shapes(inputs, num_keypoints=signature["keypoints"][3]))
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _check_shapes(inputs, num_keypoints):
    axes = {"keypoints": ("B", "M", "T", num_keypoints, 2), "scores": ("B", "M", "T", num_keypoints)}
    axes["frame_size"] = ("B", 2)
    for name, expected in axes.items():
        given = tf.shape(inputs[name])
        inputs = _require(
            tf.equal(tf.size(given), len(expected)),
            f"{name} must have {len(expected)} axes, [{', '.join(map(str, expected))}], got the shape {{}}; add those "
            "that are missing.",
            (given,),
            inputs,
        )
    shape, scores_shape, size_shape = (tf.shape(inputs[name]) for name in axes)
    inputs = _require(
        tf.reduce_all(tf.equal(shape[3:], axes["keypoints"][3:])),
        f"keypoints must be [B, M, T, {num_keypoints}, 2], got {{}}; give the keypoint set that the network was "
        "trained with.",
        (shape,),
        inputs,
    )
    inputs = _require(
        tf.reduce_all(tf.equal(scores_shape, shape[:4])),
        "scores must be [B, M, T, K] for keypoints [B, M, T, K, 2], got {} for {}; give one score for each keypoint.",
        (scores_shape, shape),
        inputs,
    )
    inputs = _require(
        tf.reduce_all(tf.equal(size_shape, [shape[0], 2])),
        "frame_size must be [B, 2], height and width for each sequence, got {} for {} sequences; repeat it if it is "
        "the same for all.",
        (size_shape, shape[0]),
        inputs,
    )
    return _require(
        tf.reduce_min(shape) > 0,
        "A request must have at least one sequence, person and frame, got {} sequences of {} people and {} frames; "
        "leave empty sequences out.",
        (shape[0], shape[1], shape[2]),
        inputs,
    )


def _check_values(inputs):
    keypoints, scores, frame_size = inputs["keypoints"], inputs["scores"], inputs["frame_size"]
    finite = tf.logical_and(tf.reduce_all(tf.math.is_finite(keypoints), axis=-1), tf.math.is_finite(scores))
    finite = tf.reduce_all(finite, axis=(1, 2, 3))  # [B]
    visible = tf.reduce_any(scores >= heatmaps.MIN_SCORE, axis=(1, 2, 3))  # [B]
    positive = tf.reduce_all(frame_size > 0, axis=1)  # [B]
    inputs = _require(
        tf.reduce_all(finite),
        "keypoints and scores must be finite, got NaN or infinity in sequence {}; set missing keypoints to (0, 0) and "
        "their scores to 0.",
        (_first_false(finite),),
        inputs,
    )
    inputs = _require(
        tf.reduce_all(visible),
        f"A sequence must show at least one keypoint, got no score of {heatmaps.MIN_SCORE} or more in sequence {{}}; "
        "leave it out, or set the scores to 1 if they are not known.",
        (_first_false(visible),),
        inputs,
    )
    return _require(
        tf.reduce_all(positive),
        "frame_size must be height and width in pixels, got {} for sequence {}; give the size of the video frames.",
        (tf.gather(frame_size, _first_false(positive)), _first_false(positive)),
        inputs,
    )


def _require(condition, sentence, values, inputs):
    """The inputs, available only once the condition holds: what follows cannot fail before it with a worse message."""
    assertion = tf.debugging.Assert(condition, [tf.strings.format(sentence, values)])
    with tf.control_dependencies([assertion]):
        return {name: tf.identity(value) for name, value in inputs.items()}


def _first_false(flags):
    """The index of the first False: [B] -> scalar."""
    return tf.argmin(tf.cast(flags, tf.int32))


def _float32_copy(network):
    """The same network computing in float32, with `volume` in and `logits` out; converters know no other precision."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = type(network).from_config(network.get_config())
        copy.set_weights(network.get_weights())
        volume = keras.Input(copy.input_shape[1:], name="volume")
        model = keras.Model(volume, {"logits": copy(volume)})
        model(tf.zeros((1, *copy.input_shape[1:])))  # Keras exports ONNX only of a model that has been called
    finally:
        keras.config.set_dtype_policy(policy)
    return model


def _check_recognizer(recognizer, class_names, num_keypoints):
    classes = recognizer.network.output_shape[-1]
    if classes != len(class_names):
        raise ValueError(
            f"class_names must name each class of the network, got {len(class_names)} names for {classes} classes; "
            "give the names of the data set that it was trained on."
        )
    if recognizer.edges is None:
        least = most = len(recognizer.flip_permutation)
    else:
        least, most = max(max(edge) for edge in recognizer.edges) + 1, None
    if num_keypoints < least or (most is not None and num_keypoints > most):
        raise ValueError(
            f"num_keypoints must be that of the recognizer's skeleton, got {num_keypoints} where it needs "
            f"{'' if most else 'at least '}{least}; give Skeleton.num_keypoints."
        )


def _check_ending(path, ending):
    if pathlib.Path(path).suffix != ending:
        raise ValueError(f"The file must end in {ending}, got {path}; rename it.")


@contextlib.contextmanager
def _whole(path, overwrite):
    """Gives a path to write to, and moves what was written to `path` at the end: all of it or nothing is there."""
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"Nothing may be at {path} yet, but there is; give another path, or overwrite=True.")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(f"Only a SavedModel is overwritten, but {path} is another folder; give another path.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = pathlib.Path(folder) / path.name
        yield part
        if path.is_dir():  # a full folder cannot be replaced in one step
            old = pathlib.Path(folder).with_suffix(".old")
            os.replace(path, old)
            os.replace(part, path)
            shutil.rmtree(old)
        else:
            os.replace(part, path)
