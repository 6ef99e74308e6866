"""Networks alone as LiteRT and ONNX files, without what prepares their input."""

import importlib.util
import pathlib
import tempfile

import keras
import tensorflow as tf

from kerapose.estimators.video_recognizer import RGB_CHANNELS
from kerapose.export.archives import check_ending, whole, write_signatures
from kerapose.models.network import output_of
from kerapose.types import Path


def litert(network: keras.Model, path: Path, overwrite: bool = False) -> pathlib.Path:
    """Writes a network as a LiteRT file, in float32, for any batch size.

    Its one signature takes `volume` [B, T, H, W, C] and gives `logits` [B, num_classes]; or, of a network of images, it
    takes `image` [B, H, W, 3], normalized as in training, and gives `heatmaps`, `coordinates`, or SimCC's `x` and `y`,
    as the network does.

    Args:
        network: a network of `kerapose.models`, of any precision policy.
        path: of the file, ending in `.tflite`.
        overwrite: whether a file already there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the path does not end in `.tflite`, or it is no such network.
        FileExistsError: if there is a file already.

    Example:
        >>> from ai_edge_litert.interpreter import Interpreter
        >>> from kerapose import export, models
        >>> network = models.SimpleBaseline.from_variant("resnet18_tiny", num_joints=17, image_shape=(64, 64, 3))
        >>> run = Interpreter(str(export.litert(network, "pose.tflite"))).get_signature_runner()
        >>> run(image=np.zeros((2, 64, 64, 3), "float32"))["heatmaps"].shape
        (2, 16, 16, 17)
    """
    check_ending(path, ".tflite")
    model = _float32_copy(network)
    signature = [tf.TensorSpec(model.input_shape, tf.float32, model.input.name)]
    with whole(path, overwrite) as part, tempfile.TemporaryDirectory() as folder:
        # Not model.export, which writes and reads such a folder twice.
        write_signatures(folder, {"serving_default": (lambda x: model(x, training=False), signature)})
        part.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    return pathlib.Path(path)


def onnx(network: keras.Model, path: Path, overwrite: bool = False) -> pathlib.Path:
    """Writes a network as an ONNX file, in float32, for any batch size.

    It takes `volume` [B, T, H, W, C] and gives `logits` [B, num_classes]; or, of a network of images, it takes `image`
    [B, H, W, 3], normalized as in training, and gives `heatmaps`, `coordinates`, or SimCC's `x` and `y`, as the network
    does.

    Args:
        network: a network of `kerapose.models`, of any precision policy.
        path: of the file, ending in `.onnx`.
        overwrite: whether a file already there is replaced.

    Returns:
        The path.

    Raises:
        ImportError: if tf2onnx is not installed.
        ValueError: if the path does not end in `.onnx`, or it is no such network.
        FileExistsError: if there is a file already.

    Example:
        >>> import onnxruntime
        >>> from kerapose import export, models
        >>> network = models.C3D(60, input_shape=(8, 32, 32, 17), base_filters=4, num_stages=3)
        >>> session = onnxruntime.InferenceSession(export.onnx(network, "actions.onnx"))
        >>> session.run(["logits"], {"volume": np.zeros((4, 8, 32, 32, 17), "float32")})[0].shape
        (4, 60)
    """
    check_ending(path, ".onnx")
    if importlib.util.find_spec("tf2onnx") is None:
        raise ImportError("Writing ONNX needs tf2onnx, which is not installed; pip install 'kerapose[export]'.")
    with whole(path, overwrite) as part:
        _float32_copy(network).export(part, format="onnx", verbose=False)
    return pathlib.Path(path)


def _float32_copy(network):
    """The same network computing in float32, its input and output named; converters know no other precision."""
    given = getattr(network, "input_shape", None)
    is_one = isinstance(given, tuple) and _output_names(network) is not None
    if not (is_one and (len(given) == 5 or (len(given) == 4 and given[-1] == RGB_CHANNELS))):
        raise ValueError(
            "A network is one from an image to heatmaps, coordinates or SimCC's vectors, or from a volume to logits, "
            f"got {type(network).__name__} of inputs {given}; give one of these, of one modality if there are several."
        )
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = type(network).from_config(network.get_config())
        copy.set_weights(network.get_weights())
        inputs = keras.Input(copy.input_shape[1:], name="volume" if len(copy.input_shape) == 5 else "image")
        outputs, name = copy(inputs), _output_names(copy)
        model = keras.Model(inputs, outputs if isinstance(outputs, dict) else {name: outputs})
        model(tf.zeros((1, *copy.input_shape[1:])))  # Keras exports ONNX only of a model that has been called
    finally:
        keras.config.set_dtype_policy(policy)
    return model


def _output_names(network):
    """What a network's output is called in a file; of several outputs their names, of other networks None."""
    try:
        output = output_of(network)
    except AttributeError:
        return None
    if isinstance(output, dict):
        return tuple(output) if set(output) == {"x", "y"} else None
    if isinstance(output, list | tuple):
        return None
    return {2: "logits", 3: "coordinates"}.get(len(output.shape), "heatmaps")
