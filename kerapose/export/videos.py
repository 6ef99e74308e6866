"""SavedModels from videos and keypoints to actions.

`serving_default` of `video_saved_model` takes and gives

===========  =======  ===============  ========================================================================
input        type     shape
===========  =======  ===============  ========================================================================
`frames`     uint8    [B, T, H, W, 3]  RGB
`keypoints`  float32  [B, M, T, K, 2]  pixels of the frames, x first, (0, 0) or NaN where missing
`scores`     float32  [B, M, T, K]     1 where not known, 0 where missing and for people who only pad the batch
===========  =======  ===============  ========================================================================

===============  =======  ======  =================================
output           type     shape
===============  =======  ======  =================================
`probabilities`  float32  [B, C]  in the order of the labels
`classes`        string   [B, C]  their names, in the same order
`top_class`      string   [B]     the name of the most probable one
===============  =======  ======  =================================

`other_size` takes `frame_size`, int32 [B, 2], besides: height and width in pixels that the keypoints refer to, where
they were found in the same video at another size. B, M, T, H and W are free up to the limits that were exported; the
videos of one request have the same number of frames, and are never padded. A network of volumes alone takes no frames:
its only signature is `serving_default` with `keypoints`, `scores` and `frame_size`.
"""

import pathlib

import numpy as np
import tensorflow as tf

from kerapose import estimators
from kerapose.export.actions import check_sequences
from kerapose.export.archives import check_axes, require, unshaped
from kerapose.export.limits import MAX_FRAME_PIXELS, MAX_FRAMES, MAX_PEOPLE, MAX_SEQUENCES, check_limits
from kerapose.export.serving import WARM_UP_FRAMES, WARM_UP_SIZE, apart, fitting, places, served, write_served
from kerapose.types import Path


def video_saved_model(
    recognizer: estimators.VideoRecognizer,
    path: Path,
    overwrite: bool = False,
    max_sequences: int = MAX_SEQUENCES,
    max_people: int = MAX_PEOPLE,
    max_frames: int = MAX_FRAMES,
    max_pixels: int = MAX_FRAME_PIXELS,
) -> pathlib.Path:
    """Writes a SavedModel that takes videos with keypoints and gives class names and probabilities.

    Args:
        recognizer: a `VideoRecognizer`, whose names and keypoints they are.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/videos/1").
        overwrite: whether a SavedModel already there is replaced.
        max_sequences: the most videos that a request may have.
        max_people: the most people of a video, padding included.
        max_frames: the most frames of a request, of all its videos together.
        max_pixels: the most pixels of a frame.

    Returns:
        The path.

    Raises:
        ValueError: if a limit is below 1.
        FileExistsError: if something is already there.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import export, predictors
        >>> recognizer = predictors.load("runs/rgbpose/model.keras", num_clips=1).estimator
        >>> path = export.video_saved_model(recognizer, "models/videos/1")
        >>> served = tf.saved_model.load(path).signatures["serving_default"]
        >>> frames = np.repeat(image[None], 30, axis=0)  # [T, H, W, 3]
        >>> request = {"frames": frames[None], "keypoints": keypoints[None], "scores": scores[None]}
        >>> answer = served(**{name: tf.constant(value) for name, value in request.items()})
        >>> answer["classes"].numpy().tolist(), tuple(answer["probabilities"].shape)
        ([[b'walk', b'kick']], (1, 2))
    """
    num_keypoints = recognizer.skeleton.num_keypoints
    inputs = {
        "frames": tf.TensorSpec((None, None, None, None, 3), tf.uint8, "frames"),
        "keypoints": tf.TensorSpec((None, None, None, num_keypoints, 2), tf.float32, "keypoints"),
        "scores": tf.TensorSpec((None, None, None, num_keypoints), tf.float32, "scores"),
        "frame_size": tf.TensorSpec((None, 2), tf.int32, "frame_size"),
    }
    limits = {"max_sequences": max_sequences, "max_people": max_people, "max_frames": max_frames}
    check_limits(**limits, max_pixels=max_pixels)
    with served(path, overwrite, apart("videos", max_sequences, "each has a length and a size of its own")) as part:
        functions = _signatures(recognizer, inputs, limits, max_pixels)
        signatures = {name: (serve, [inputs[key] for key in taken]) for name, (serve, taken) in functions.items()}
        frames, size = min(WARM_UP_FRAMES, max_frames), fitting(WARM_UP_SIZE, max_pixels)
        request = places(1, 1, frames, num_keypoints, size=size)
        request["frames"] = np.full((1, frames, *size, 3), 128, "uint8")
        write_served(part, signatures, {name: [request] for name in signatures})
    return pathlib.Path(path)


def _signatures(recognizer, specs, limits, max_pixels):
    """{name: (function, names of its inputs)}."""
    names = tf.constant(recognizer.class_names)  # [C]
    taken = list(specs) if recognizer.rgb_shape else ["keypoints", "scores", "frame_size"]

    # A function of its own: the network is in the file once, not once for each signature.
    @tf.function(input_signature=[{name: specs[name] for name in taken}])
    def find(inputs):
        # One video is already a batch of frames for the network; more at once would only take more memory.
        one = tf.TensorSpec(names.shape, tf.float32)
        return tf.map_fn(_answer, inputs, parallel_iterations=1, fn_output_signature=one)  # [B, C]

    def _answer(video):
        return recognizer({name: value[None] for name, value in video.items()})[0]  # [C]

    def serve(**inputs):
        probabilities = find(_checked(inputs, specs, limits, max_pixels))
        return {
            "probabilities": probabilities,
            "classes": tf.broadcast_to(names, tf.shape(probabilities)),
            "top_class": tf.gather(names, tf.argmax(probabilities, axis=-1)),
        }

    def of_frames(frames, keypoints, scores):
        return serve(frames=frames, keypoints=keypoints, scores=scores)

    def of_another_size(frames, keypoints, scores, frame_size):
        return serve(frames=frames, keypoints=keypoints, scores=scores, frame_size=frame_size)

    def of_keypoints(keypoints, scores, frame_size):
        return serve(keypoints=keypoints, scores=scores, frame_size=frame_size)

    if not recognizer.rgb_shape:
        return {"serving_default": (of_keypoints, taken)}
    return {"serving_default": (of_frames, taken[:-1]), "other_size": (of_another_size, taken)}


def _checked(inputs, specs, limits, max_pixels):
    """The inputs with the frame size, behind assertions in the graph: each gives one sentence on a bad request."""
    inputs = unshaped(inputs)
    if "frames" in inputs:
        inputs = check_axes(inputs, {"frames": ("B", "T", "H", "W", 3)})
        shape = tf.shape(inputs["frames"])
        inputs = require(
            tf.logical_and(tf.equal(shape[4], 3), tf.reduce_all(shape[2:4] > 0)),
            "frames must be RGB [B, T, H, W, 3], got {}; move the channels last.",
            (shape,),
            inputs,
        )
        inputs = require(
            shape[2] <= max_pixels // tf.maximum(shape[3], 1),
            f"A frame may have at most {max_pixels} pixels, got {{}} wide and {{}} high; make the video smaller.",
            (shape[3], shape[2]),
            inputs,
        )
        if "frame_size" not in inputs:
            inputs["frame_size"] = tf.broadcast_to(shape[2:4], (shape[0], 2))
    inputs = check_axes(inputs, {"keypoints": ("B", "M", "T", specs["keypoints"].shape[3], 2)})
    if "frames" in inputs:
        inputs = _check_lengths(inputs)
    remedy = "give frame_size, the size that they refer to, to the signature other_size"
    inputs = check_sequences(inputs, specs["keypoints"].shape[3], limits, remedy=remedy)
    return {name: tf.ensure_shape(value, specs[name].shape) for name, value in inputs.items()}


def _check_lengths(inputs):
    frames, keypoints = tf.shape(inputs["frames"]), tf.shape(inputs["keypoints"])
    return require(
        tf.reduce_all(tf.equal(frames[:2], tf.gather(keypoints, [0, 2]))),
        "keypoints must be given for every frame of every video, got {} videos of {} frames and keypoints of {} videos "
        "of {} frames; give those of these very videos, (0, 0) in frames without any.",
        (frames[0], frames[1], keypoints[0], keypoints[2]),
        inputs,
    )
