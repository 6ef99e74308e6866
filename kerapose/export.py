"""Trained networks for other runtimes: SavedModels of the whole way from raw input to answer, LiteRT and ONNX files.

The SavedModels need no Python of ours. Their signatures are what TensorFlow Serving's predict call, gRPC or REST, asks
for; each output has the requests' batch axis first, as the REST form of rows wants it. A request that cannot be
answered fails with one sentence.

`saved_model`, from keypoints to actions: `serving_default` takes and gives

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
padded, because clips are sampled from all of them.

`pose_saved_model`, from images to keypoints: `serving_default` takes and gives

| input | type | shape | |
| --- | --- | --- | --- |
| `image_bytes` | string | [B] | JPEG or PNG files, each of a size of its own; turned upright as the camera noted |
| `boxes` | float32 | [B, N, 4] | left, top, right, bottom, pixels of the upright image; all 0 where only padding |

| output | type | shape | |
| --- | --- | --- | --- |
| `keypoints` | float32 | [B, N, K, 2] | pixels of the upright image, x first; 0 for padding |
| `scores` | float32 | [B, N, K] | 0 for padding |
| `keypoint_names` | string | [B, K] | |

`whole_image` takes `image_bytes` alone and looks for one person, or animal, in the whole of each image: N is 1. B and N
are free. The crops of all images go through the network together, so that a server that batches requests gains by it.
In REST an image is {"b64": "..."}, and one image with two boxes is
{"instances": [{"image_bytes": {"b64": "..."}, "boxes": [[10, 20, 110, 320], [200, 30, 290, 310]]}]}.

`lifter_saved_model`, from tracks of keypoints to poses in space: `serving_default` takes and gives

| input | type | shape | |
| --- | --- | --- | --- |
| `keypoints` | float32 | [B, T, K, 2] | pixels of the frame, x first |
| `scores` | float32 | [B, T, K] | 1 where they are not known, 0 where a keypoint is missing |
| `frame_size` | int32 | [B, 2] | height and width, pixels |

| output | type | shape | |
| --- | --- | --- | --- |
| `poses_m` | float32 | [B, T, J, 3] | metres from joint 0: x right, y down, z away from the camera |
| `poses_camera_m` | float32 | [B, T, J, 3] | from the camera's centre, if there is a trajectory network |
| `keypoint_names` | string | [B, J] | of the joints |

B and T are free. What a detector lost for a while goes straight from where it was lost to where it came back. So a
track that is shorter than another of its request may be filled up with frames of score 0: it stays where it ended,
which is what becomes of every track beyond its end.

`streaming_saved_model` and `streaming_litert`, a frame at a time: `initial_state` gives the state of M people before
their first frame, and `step` takes what it gave, with

| input of `step` | type | shape | |
| --- | --- | --- | --- |
| `keypoints` | float32 | [M, K, 2] | pixels of the frame, x first |
| `frame_size` | int32 | [M, 2] | height and width, pixels |
| `reset` | bool | [M] | whether this is the first frame of another person |

and gives `poses_m` [M, J, 3], as above, and the next state under the same names. Nothing is kept between two calls. In
REST that is the form of columns, since the state counts its frames once for all people.
"""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from kerapose.data import images
from kerapose.ops import cameras, heatmaps, sequences

JPEG_END, PNG_END = b"\xff\xd9", b"IEND"  # there may be more behind them


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


def pose_saved_model(estimator, path, keypoint_names, overwrite=False):
    """Writes a SavedModel that takes encoded images with boxes and gives keypoints in pixels of the images.

    All that `predictors.TopDownPose` does with given boxes is inside: decoding, cropping, normalizing, the network, the
    mirror image and the way back.

    Args:
        estimator: a `PoseEstimator`.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/pose/1").
        keypoint_names: [K] names (`Skeleton.keypoints`).
        overwrite: whether a SavedModel already there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if names and estimator do not fit together.
        FileExistsError: if something is already there.

    Example:
        >>> export.pose_saved_model(predictor.estimator, "models/pose/1", skeletons.COCO.keypoints)
        >>> served = tf.saved_model.load("models/pose/1").signatures["serving_default"]
        >>> served(image_bytes=tf.constant([jpeg]), boxes=[[[412, 157, 465, 295]]])["keypoints"].shape
        [1, 1, 17, 2]
    """
    keypoint_names = [str(name) for name in keypoint_names]
    if len(keypoint_names) != len(estimator.flip_permutation):
        raise ValueError(
            f"keypoint_names must name each keypoint of the network, got {len(keypoint_names)} names for "
            f"{len(estimator.flip_permutation)} keypoints; give the keypoints of the skeleton it was trained with."
        )
    encoded = tf.TensorSpec((None,), tf.string, "image_bytes")
    boxes = tf.TensorSpec((None, None, 4), tf.float32, "boxes")
    serve, serve_whole = _pose_functions(estimator, keypoint_names)
    archive = keras.export.ExportArchive()
    archive.track(estimator.network)
    with _whole(path, overwrite) as part:
        archive.add_endpoint("serving_default", serve, [encoded, boxes])
        archive.add_endpoint("whole_image", serve_whole, [encoded])
        archive.write_out(part, verbose=False)
    return pathlib.Path(path)


def litert(network, path, overwrite=False):
    """Writes a network as a LiteRT file, in float32, for any batch size.

    Its one signature takes `volume` [B, T, H, W, C] and gives `logits` [B, num_classes]; or, of a network of images, it
    takes `image` [B, H, W, 3], normalized as in training, and gives `heatmaps` as the network does.

    Args:
        network: a network of `kerapose.models`, of any precision policy.
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
    """Writes a network as an ONNX file, in float32, for any batch size.

    It takes `volume` [B, T, H, W, C] and gives `logits` [B, num_classes]; or, of a network of images, it takes `image`
    [B, H, W, 3], normalized as in training, and gives `heatmaps` as the network does.

    Args:
        network: a network of `kerapose.models`, of any precision policy.
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


def lifter_saved_model(lifter, path, keypoint_names, overwrite=False, conversion=None):
    """Writes a SavedModel that takes whole tracks of keypoints, of any length, and gives poses in space.

    All that `predictors.Lifter` does is inside: gaps, the conversion of keypoint sets, the ends of a track, the mirror
    image and, if there is one, the trajectory.

    Args:
        lifter: a `TrackLifter`.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/lifter/1").
        keypoint_names: [J] names of the poses' joints (`Skeleton.keypoints`).
        overwrite: whether a SavedModel already there is replaced.
        conversion: [K_in, K], what the network's keypoints are worked out from where requests have K of another set:
            `skeletons.mapping(COCO, H36M)`. None: requests have the network's own.

    Returns:
        The path.

    Raises:
        ValueError: if names, conversion and lifter do not fit together.
        FileExistsError: if something is already there.

    Example:
        >>> export.lifter_saved_model(predictor.lifter, "models/lifter/1", skeletons.H36M.keypoints)
        >>> served = tf.saved_model.load("models/lifter/1").signatures["serving_default"]
        >>> served(keypoints=k, scores=s, frame_size=[[1080, 1920]])["poses_m"].shape  # k: [1, 300, 17, 2]
        [1, 300, 17, 3]
    """
    keypoint_names = [str(name) for name in keypoint_names]
    num_keypoints = _check_lifter(lifter, keypoint_names, conversion)
    archive = keras.export.ExportArchive()
    archive.track(lifter.network)
    if lifter.trajectory is not None:
        archive.track(lifter.trajectory)
    signature = [
        tf.TensorSpec((None, None, num_keypoints, 2), tf.float32, "keypoints"),
        tf.TensorSpec((None, None, num_keypoints), tf.float32, "scores"),
        tf.TensorSpec((None, 2), tf.int32, "frame_size"),
    ]
    with _whole(path, overwrite) as part:
        archive.add_endpoint("serving_default", _lifting_function(lifter, keypoint_names, conversion), signature)
        archive.write_out(part, verbose=False)
    return pathlib.Path(path)


def streaming_saved_model(stream, path, overwrite=False):
    """Writes a SavedModel that takes one frame of every person at a time and gives their poses at once.

    Its endpoints are `step`, which is also `serving_default`, and `initial_state`, which takes `num_tracks`, a number.

    Args:
        stream: a `StreamingLifter`.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/stream/1").
        overwrite: whether a SavedModel already there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the network takes more of a keypoint than x and y.
        FileExistsError: if something is already there.

    Example:
        >>> export.streaming_saved_model(StreamingLifter(network), "models/stream/1")
        >>> served = tf.saved_model.load("models/stream/1").signatures
        >>> state = served["initial_state"](num_tracks=tf.constant(1))
        >>> size, reset = tf.constant([[1080, 1920]]), tf.constant([False])
        >>> answer = served["step"](keypoints=k, frame_size=size, reset=reset, **state)  # k: [1, 17, 2]
        >>> poses_m = answer.pop("poses_m")  # [1, 17, 3]; what is left is the next state
    """
    with _whole(path, overwrite) as part:
        _streaming_archive(stream, None, checked=True).write_out(part, verbose=False)
    return pathlib.Path(path)


def streaming_litert(stream, path, num_tracks=1, overwrite=False):
    """Writes a LiteRT file that takes one frame at a time and gives the pose at once, in float32.

    It has the two signatures of `streaming_saved_model`, `initial_state` without an input, and cannot refuse a request:
    a keypoint that is not finite would spoil the poses of a whole receptive field, so give the last known place.

    Args:
        stream: a `StreamingLifter` of any precision policy.
        path: of the file, ending in `.tflite`.
        num_tracks: M, how many people each step takes.
        overwrite: whether a file already there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the path does not end in `.tflite`, or the network takes more of a keypoint than x and y.
        FileExistsError: if there is a file already.

    Example:
        >>> export.streaming_litert(StreamingLifter(network), "lifter.tflite")
        >>> interpreter = ai_edge_litert.interpreter.Interpreter("lifter.tflite")
        >>> state = interpreter.get_signature_runner("initial_state")()
        >>> step = interpreter.get_signature_runner("step")
        >>> answer = step(keypoints=k, frame_size=size, reset=np.array([False]), **state)
        >>> poses_m = answer.pop("poses_m")  # [1, 17, 3]; what is left is the next state
    """
    _check_ending(path, ".tflite")
    if num_tracks < 1:
        raise ValueError(f"num_tracks must be at least 1, got {num_tracks}; use 1 for one person.")
    with _whole(path, overwrite) as part, tempfile.TemporaryDirectory() as folder:
        archive = _streaming_archive(stream, num_tracks, checked=False)
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["initial_state", "step"])
        part.write_bytes(converter.convert())
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


def _pose_functions(estimator, keypoint_names):
    """(image_bytes, boxes) and (image_bytes) to {"keypoints", "scores", "keypoint_names"}."""
    names = tf.constant(keypoint_names)  # [K]
    count = len(keypoint_names)
    shapes = (None, *estimator.image_size, 3), (None, 2, 3)  # of crops, of matrices
    # A function of its own: the network is in the file once, not once for each signature.
    find = tf.function(estimator.from_crops, [tf.TensorSpec(shape, tf.float32) for shape in shapes])

    def cut(request):
        image = _decoded(request["image_bytes"], request["index"])
        if "boxes" in request:
            boxes = _boxes_in_image(request, tf.shape(image))
            boxes = tf.boolean_mask(boxes, tf.logical_not(_is_padding(boxes)))
        else:
            height, width = tf.unstack(tf.shape(image)[:2])
            boxes = tf.cast(tf.stack([0, 0, width, height])[None], tf.float32)
        return estimator.crops(image, boxes)

    def cut_all(inputs):
        """The crops of all images, one image's after the other's: [P, H, W, 3], [P, 2, 3]."""
        requests = inputs | {"index": tf.range(tf.shape(inputs["image_bytes"])[0])}
        spec = tuple(tf.RaggedTensorSpec(shape, tf.float32, ragged_rank=0) for shape in shapes)
        # An image after the other: more at once would only take more memory.
        crops, matrices = tf.map_fn(cut, requests, parallel_iterations=1, fn_output_signature=spec)
        return crops.values, matrices.values

    def serve(image_bytes, boxes):
        inputs = _checked_images({"image_bytes": image_bytes, "boxes": boxes})
        people = tf.where(tf.logical_not(_is_padding(inputs["boxes"])))  # [P, 2]: image, box
        shape = tf.shape(inputs["boxes"], tf.int64)[:2]  # B, N
        keypoints, scores = find(*cut_all(inputs))  # [P, K, 2], [P, K]
        return {
            "keypoints": tf.scatter_nd(people, keypoints, tf.concat([shape, (count, 2)], axis=0)),
            "scores": tf.scatter_nd(people, scores, tf.concat([shape, (count,)], axis=0)),
            "keypoint_names": tf.broadcast_to(names, tf.stack([shape[0], count])),
        }

    def serve_whole(image_bytes):
        inputs = _checked_images({"image_bytes": image_bytes})
        keypoints, scores = find(*cut_all(inputs))  # [B, K, 2], [B, K]
        every_name = tf.broadcast_to(names, tf.shape(scores))
        return {"keypoints": keypoints[:, None], "scores": scores[:, None], "keypoint_names": every_name}

    return serve, serve_whole


def _lifting_function(lifter, keypoint_names, conversion):
    """(keypoints, scores, frame_size) to {"poses_m", "poses_camera_m", "keypoint_names"}."""
    names = tf.constant(keypoint_names)  # [J]
    matrix = None if conversion is None else np.asarray(conversion, "float32")

    def serve(keypoints, scores, frame_size):
        inputs = {"keypoints": keypoints, "scores": scores, "frame_size": frame_size}
        inputs = _checked_tracks(inputs, None if matrix is None else np.flatnonzero(matrix.any(axis=0)))
        keypoints = sequences.fill_gaps(inputs["keypoints"], _is_found(inputs))  # [B, T, K, 2]
        if matrix is not None:
            keypoints = tf.matmul(matrix, keypoints)  # [B, T, K_in, 2]
        found = lifter({"keypoints": keypoints, "frame_size": inputs["frame_size"]}, training=False)
        poses = found["poses_m"] - found["poses_m"][:, :, :1]
        answer = {"poses_m": poses}
        if "trajectory_m" in found:
            answer["poses_camera_m"] = poses + found["trajectory_m"][:, :, None]
        answer["keypoint_names"] = tf.broadcast_to(names, tf.stack([tf.shape(poses)[0], len(keypoint_names)]))
        return answer

    return serve


def _checked_tracks(inputs, needed):
    """As `_checked`, for tracks; `needed` are the keypoints that anything depends on, None for all."""
    signature = {name: value.shape for name, value in inputs.items()}
    inputs = {name: tf.compat.v1.placeholder_with_default(value, None) for name, value in inputs.items()}
    num_keypoints = signature["keypoints"][2]
    axes = {"keypoints": ("B", "T", num_keypoints, 2), "scores": ("B", "T", num_keypoints), "frame_size": ("B", 2)}
    inputs = _check_axes(inputs, axes)
    shape, scores_shape, size_shape = (tf.shape(inputs[name]) for name in axes)
    rules = (
        (
            tf.reduce_all(tf.equal(shape[2:], axes["keypoints"][2:])),
            f"keypoints must be [B, T, {num_keypoints}, 2], got {{}}; give the keypoint set that was exported.",
            (shape,),
        ),
        (
            tf.reduce_all(tf.equal(scores_shape, shape[:3])),
            "scores must be [B, T, K] for keypoints [B, T, K, 2], got {} for {}; give one score for each keypoint.",
            (scores_shape, shape),
        ),
        (
            tf.reduce_all(tf.equal(size_shape, [shape[0], 2])),
            "frame_size must be [B, 2], height and width for each track, got {} for {} tracks; repeat it if it is the "
            "same for all.",
            (size_shape, shape[0]),
        ),
        (
            tf.reduce_min(shape) > 0,
            "A request must have at least one track and frame, got {} tracks of {} frames; leave empty tracks out.",
            (shape[0], shape[1]),
        ),
    )
    for condition, sentence, values in rules:
        inputs = _require(condition, sentence, values, inputs)
    inputs = _check_frame_sizes(inputs, "track")
    inputs = _check_found(inputs, np.arange(num_keypoints) if needed is None else needed)
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _check_frame_sizes(inputs, whose):
    positive = tf.reduce_all(inputs["frame_size"] > 0, axis=1)  # [B]
    wrong = _first_false_or_zero(positive)
    return _require(
        tf.reduce_all(positive),
        f"frame_size must be height and width in pixels, got {{}} for {whose} {{}}; give the size of the video frames.",
        (tf.gather(tf.concat([inputs["frame_size"], [[0, 0]]], axis=0), wrong), wrong),
        inputs,
    )


def _is_found(inputs):
    """Where a detector found a keypoint: [B, T, K] bool."""
    return tf.logical_and(tf.reduce_all(tf.math.is_finite(inputs["keypoints"]), axis=-1), inputs["scores"] > 0.0)


def _check_found(inputs, needed):
    """Each keypoint that is needed is in at least one frame of each track: what is in none has no place to be put."""
    seen = tf.gather(tf.reduce_any(_is_found(inputs), axis=1), needed, axis=1)  # [B, K']
    wrong = tf.unravel_index(_first_false(tf.reshape(seen, (-1,))), tf.shape(seen, tf.int64))
    return _require(
        tf.reduce_all(seen),
        "A keypoint must be in at least one frame of a track, got no finite one with a score above 0 for keypoint {} "
        "of track {}; leave the track out if nobody is in it, or set the scores to 1 if they are not known.",
        (tf.gather(tf.constant(needed), wrong[1]), wrong[0]),
        inputs,
    )


def _streaming_archive(stream, num_tracks, checked):
    """The endpoints `step` and `initial_state`; `num_tracks` None leaves M free."""
    _, _, num_keypoints, features = stream.network.input_shape
    if features != 2:
        raise ValueError(f"A served stream takes points (x, y), got a network of in_features={features}; use one of 2.")
    specs = {
        "keypoints": tf.TensorSpec((num_tracks, num_keypoints, 2), tf.float32, "keypoints"),
        "frame_size": tf.TensorSpec((num_tracks, 2), tf.int32, "frame_size"),
        "reset": tf.TensorSpec((num_tracks,), tf.bool, "reset"),
    }
    given = tuple(specs)
    two = stream.initial_state(2)
    for name, value in stream.initial_state(1).items():
        # What differs is M; the counter of frames is one for all tracks.
        shape = [a if a == b else num_tracks for a, b in zip(value.shape, two[name].shape, strict=True)]
        specs[name] = tf.TensorSpec(shape, keras.backend.standardize_dtype(value.dtype), name)

    def step(inputs):
        state = {name: value for name, value in inputs.items() if name not in given}
        inputs = {name: inputs[name] for name in given}
        if checked:
            tracks = [tf.shape(value)[0] for name, value in state.items() if specs[name].shape[0] is None]
            inputs = _checked_frame(inputs, tracks)
        screen = cameras.normalize_screen(inputs["keypoints"], inputs["frame_size"])
        poses, state = stream.step(screen, state, inputs["reset"])
        # A trajectory network has one joint alone, whose way is the answer.
        return {"poses_m": poses - poses[:, :1] if poses.shape[1] > 1 else poses, **state}

    def initial_state(count=num_tracks):
        return dict(stream.initial_state(count))

    archive = keras.export.ExportArchive()  # it finds the variables by itself
    archive.add_endpoint("step", step, [specs])
    counts = [tf.TensorSpec((), tf.int32, "num_tracks")] if num_tracks is None else []
    archive.add_endpoint("initial_state", initial_state, counts)
    return archive


def _checked_frame(inputs, tracks):
    """As `_checked`, for one frame of every person; `tracks` is how many each part of the state belongs to."""
    signature = {name: value.shape for name, value in inputs.items()}
    inputs = {name: tf.compat.v1.placeholder_with_default(value, None) for name, value in inputs.items()}
    num_keypoints = signature["keypoints"][1]
    inputs = _check_axes(inputs, {"keypoints": ("M", num_keypoints, 2), "frame_size": ("M", 2), "reset": ("M",)})
    shape, size_shape, reset_shape = (tf.shape(inputs[name]) for name in inputs)
    inputs = _require(
        tf.reduce_all(tf.equal(shape[1:], (num_keypoints, 2))),
        f"keypoints must be [M, {num_keypoints}, 2], got {{}}; give the set that the network was trained with.",
        (shape,),
        inputs,
    )
    inputs = _require(
        tf.logical_and(
            tf.reduce_all(tf.equal(size_shape, [shape[0], 2])), tf.reduce_all(tf.equal(reset_shape, shape[:1]))
        ),
        "frame_size must be [M, 2] and reset [M] for keypoints [M, K, 2], got {} and {} for {}; give each for every "
        "person.",
        (size_shape, reset_shape, shape),
        inputs,
    )
    inputs = _require(
        tf.reduce_all(tf.equal(tracks, shape[0])),
        "The state must be of as many people as the frame, got {} for {}; begin anew from initial_state.",
        (tf.reduce_max(tracks), shape[0]),
        inputs,
    )
    finite = tf.reduce_all(tf.math.is_finite(inputs["keypoints"]), axis=(1, 2))  # [M]
    inputs = _require(
        tf.reduce_all(finite),
        "keypoints must be finite, got NaN or infinity for person {}; give the last known place of a missing one.",
        (_first_false_or_zero(finite),),
        inputs,
    )
    inputs = _check_frame_sizes(inputs, "person")
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _is_padding(boxes):
    """[..., N, 4] -> [..., N]. When TensorFlow Serving fills boxes up, it is with one of their numbers, not with 0."""
    return tf.reduce_all(tf.equal(boxes, boxes[..., :1]), axis=-1)


def _decoded(encoded, index):
    """The pixels of an encoded image: scalar -> uint8 [H, W, 3]. The sentences are here to name the image."""
    length = tf.strings.length(encoded)
    is_jpeg, is_png = (
        tf.equal(tf.strings.substr(encoded, 0, len(signature)), signature)
        for signature in (images.JPEG_SIGNATURE, images.PNG_SIGNATURE)
    )
    inputs = _require(
        tf.logical_or(is_jpeg, is_png),
        "image_bytes must be JPEG or PNG files, got {} bytes of something else for image {}; in REST give each as "
        "b64, base64 of the file.",
        (length, index),
        {"encoded": encoded},
    )
    data = tf.io.decode_raw(inputs["encoded"], tf.uint8)  # [bytes]
    ends = tf.cond(is_jpeg, lambda: _contains(data, JPEG_END), lambda: _contains(data, PNG_END))
    inputs = _require(
        ends,
        "image_bytes must be whole files, got {} bytes without an end for image {}; send it anew.",
        (length, index),
        inputs,
    )
    return images.decode(inputs["encoded"])


def _contains(data, pattern):
    """Whether bytes [N] contain a pattern."""
    places = tf.size(data) - len(pattern) + 1
    matches = [tf.equal(data[offset : offset + places], byte) for offset, byte in enumerate(pattern)]
    return tf.reduce_any(tf.reduce_all(matches, axis=0))


def _checked_images(inputs):
    """As `_checked`, for images and boxes."""
    signature = {name: value.shape for name, value in inputs.items()}
    inputs = {name: tf.compat.v1.placeholder_with_default(value, None) for name, value in inputs.items()}
    axes = {name: ("B", "N", 4) if name == "boxes" else ("B",) for name in inputs}
    inputs = _check_axes(inputs, axes)
    count = tf.size(inputs["image_bytes"])
    inputs = _require(count > 0, "A request must have at least one image, got {}; leave it out.", (count,), inputs)
    if "boxes" in inputs:
        inputs = _check_boxes(inputs, count)
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _check_boxes(inputs, num_images):
    shape = tf.shape(inputs["boxes"])
    inputs = _require(
        tf.logical_and(tf.equal(shape[0], num_images), tf.equal(shape[2], 4)),
        "boxes must be [B, N, 4], left, top, right, bottom, for {} images, got {}; fill up with boxes of zeros where "
        "an image has fewer.",
        (num_images, shape),
        inputs,
    )
    boxes = tf.reshape(inputs["boxes"], (-1, 4))  # [B*N, 4]
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1)
    has_area = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    good = tf.logical_and(finite, tf.logical_or(has_area, _is_padding(boxes)))
    wrong = _first_false_or_zero(good)
    return _require(
        tf.reduce_all(good),
        "A box must be finite with right > left and bottom > top, or all zeros for padding, got {} in image {}; COCO's "
        "x, y, w, h is x, y, x + w, y + h here.",
        (tf.gather(_never_empty(boxes), wrong), wrong // tf.maximum(tf.shape(inputs["boxes"], tf.int64)[1], 1)),
        inputs,
    )


def _boxes_in_image(request, size):
    """The boxes [N, 4], once each is known to show a part of its image, whose size is (height, width, 3)."""
    boxes = request["boxes"]
    height, width = tf.unstack(tf.cast(size[:2], tf.float32))
    begins = tf.reduce_all(boxes[:, :2] < tf.stack([width, height]), axis=-1)
    ends = tf.reduce_all(boxes[:, 2:] > 0.0, axis=-1)
    good = tf.logical_or(tf.logical_and(begins, ends), _is_padding(boxes))
    return _require(
        tf.reduce_all(good),
        "A box must show a part of its image, got {} in image {}, which is {} wide and {} high; leave it out, or check "
        "that it is in pixels of the upright image.",
        (tf.gather(_never_empty(boxes), _first_false_or_zero(good)), request["index"], size[1], size[0]),
        {"boxes": boxes},
    )["boxes"]


def _never_empty(boxes):
    """A sentence is made up before it is known whether it is needed, and so its box must exist."""
    return tf.concat([boxes, tf.zeros((1, 4))], axis=0)


def _first_false_or_zero(flags):
    """As `_first_false`, and 0 where there are no flags at all."""
    return _first_false(tf.concat([flags, tf.ones((1,), tf.bool)], axis=0))


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
    inputs = _check_axes(inputs, axes)
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


def _check_axes(inputs, axes):
    for name, expected in axes.items():
        given = tf.shape(inputs[name])
        axes_text = f"{len(expected)} {'axis' if len(expected) == 1 else 'axes'}, [{', '.join(map(str, expected))}]"
        inputs = _require(
            tf.equal(tf.size(given), len(expected)),
            f"{name} must have {axes_text}, got the shape {{}}; add those that are missing.",
            (given,),
            inputs,
        )
    return inputs


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
    """The same network computing in float32, its input and output named; converters know no other precision."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = type(network).from_config(network.get_config())
        copy.set_weights(network.get_weights())
        inputs = keras.Input(copy.input_shape[1:], name="volume" if len(copy.input_shape) == 5 else "image")
        model = keras.Model(inputs, {"logits" if len(copy.output_shape) == 2 else "heatmaps": copy(inputs)})
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


def _check_lifter(lifter, keypoint_names, conversion):
    """K of the requests, once all fits together."""
    num_joints, num_keypoints = lifter.network.output_shape[2], lifter.network.input_shape[2]
    if len(keypoint_names) != num_joints:
        raise ValueError(
            f"keypoint_names must name each joint of the poses, got {len(keypoint_names)} names for {num_joints} "
            "joints; give the keypoints of the poses' skeleton."
        )
    if conversion is None:
        return num_keypoints
    conversion = np.asarray(conversion)
    if conversion.ndim != 2 or len(conversion) != num_keypoints or not conversion.any(axis=1).all():
        raise ValueError(
            f"conversion must be [K_in, K] with a row that is not zero for each of the network's {num_keypoints} "
            f"keypoints, got {conversion.shape}; give skeletons.mapping(source, target) of sets where all can be "
            "worked out."
        )
    return conversion.shape[1]


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
