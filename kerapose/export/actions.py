"""SavedModels from keypoints to actions.

`serving_default` of `saved_model` takes and gives

============  =======  ===============  ========================================================================
input         type     shape
============  =======  ===============  ========================================================================
`keypoints`   float32  [B, M, T, K, 2]  pixels of the frame, x first, (0, 0) or NaN where missing
`scores`      float32  [B, M, T, K]     1 where not known, 0 where missing and for people who only pad the batch
`frame_size`  int32    [B, 2]           height and width, pixels
============  =======  ===============  ========================================================================

===============  =======  ======  =================================
output           type     shape
===============  =======  ======  =================================
`probabilities`  float32  [B, C]  in the order of the labels
`classes`        string   [B, C]  their names, in the same order
`top_class`      string   [B]     the name of the most probable one
===============  =======  ======  =================================

B, M and T are free up to the limits that were exported. The sequences of one request have the same number of frames;
the frames of a sequence are never padded, because clips are sampled from all of them.
"""

import pathlib

import tensorflow as tf

from kerapose import estimators
from kerapose.export.archives import check_axes, first_false, require, unshaped
from kerapose.export.limits import MAX_FRAMES, MAX_PEOPLE, MAX_SEQUENCES, at_most, check_limits
from kerapose.export.places import check_places
from kerapose.export.serving import WARM_UP_FRAMES, apart, places, served, write_served
from kerapose.ops import heatmaps
from kerapose.ops.clips import is_seen
from kerapose.types import Path, Tensor


def saved_model(
    recognizer: estimators.ActionRecognizer,
    path: Path,
    overwrite: bool = False,
    max_sequences: int = MAX_SEQUENCES,
    max_people: int = MAX_PEOPLE,
    max_frames: int = MAX_FRAMES,
) -> pathlib.Path:
    """Writes a SavedModel that takes sequences of keypoints and gives class names and probabilities.

    Args:
        recognizer: an `ActionRecognizer`, whose names and keypoints they are.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/actions/1").
        overwrite: whether a SavedModel already there is replaced.
        max_sequences: the most sequences that a request may have.
        max_people: the most people of a sequence, padding included.
        max_frames: the most frames of a request, of all its sequences together.

    Returns:
        The path.

    Raises:
        ValueError: if a limit is below 1.
        FileExistsError: if something is already there.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import export, predictors
        >>> recognizer = predictors.load("runs/poseconv3d/model.keras", num_clips=1).estimator
        >>> path = export.saved_model(recognizer, "models/actions/1")
        >>> served = tf.saved_model.load(path).signatures["serving_default"]
        >>> request = {"keypoints": keypoints[None], "scores": scores[None], "frame_size": [frame_size]}
        >>> answer = served(**{name: tf.constant(value) for name, value in request.items()})
        >>> answer["classes"].numpy().tolist(), tuple(answer["probabilities"].shape)
        ([[b'walk', b'kick']], (1, 2))
    """
    num_keypoints = recognizer.skeleton.num_keypoints
    signature = [
        tf.TensorSpec((None, None, None, num_keypoints, 2), tf.float32, "keypoints"),
        tf.TensorSpec((None, None, None, num_keypoints), tf.float32, "scores"),
        tf.TensorSpec((None, 2), tf.int32, "frame_size"),
    ]
    limits = {"max_sequences": max_sequences, "max_people": max_people, "max_frames": max_frames}
    check_limits(**limits)
    with served(path, overwrite, apart("sequences", max_sequences, "each has a length of its own")) as part:
        signatures = {"serving_default": (_serving_function(recognizer, limits), signature)}
        frames, counts = min(WARM_UP_FRAMES, max_frames), sorted({1, min(2, max_people)})
        requests = [places(1, count, frames, num_keypoints) for count in counts]
        write_served(part, signatures, {"serving_default": requests})
    return pathlib.Path(path)


def _serving_function(recognizer, limits):
    """(keypoints, scores, frame_size) to {"probabilities", "classes", "top_class"}."""
    names = tf.constant(recognizer.class_names)  # [C]

    def answer(sequence):
        inputs = {name: value[None] for name, value in sequence.items()}  # [1, M, T, K, 2], [1, M, T, K], [1, 2]
        return recognizer(inputs)[0]  # [C]

    def serve(keypoints, scores, frame_size):
        inputs = _checked({"keypoints": keypoints, "scores": scores, "frame_size": frame_size}, limits)
        # One sequence is already a batch of clips for the network; more at once would only take more memory.
        spec = tf.TensorSpec(names.shape, tf.float32)
        probabilities = tf.map_fn(answer, inputs, parallel_iterations=1, fn_output_signature=spec)  # [B, C]
        return {
            "probabilities": probabilities,
            "classes": tf.broadcast_to(names, tf.shape(probabilities)),
            "top_class": tf.gather(names, tf.argmax(probabilities, axis=-1)),
        }

    return serve


def _checked(inputs, limits):
    """The inputs, behind assertions in the graph: each gives one sentence on a request that cannot be answered."""
    signature = {name: value.shape for name, value in inputs.items()}
    inputs = check_sequences(unshaped(inputs), signature["keypoints"][3], limits)
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def check_sequences(
    inputs: dict[str, Tensor], num_keypoints: int, limits: dict[str, int], **remedy: str
) -> dict[str, Tensor]:
    """The inputs {"keypoints", "scores", "frame_size", ...}, once those three are known to be sequences with people."""
    inputs = _check_values(_check_shapes(inputs, num_keypoints, **limits))
    return check_places(inputs, "sequence", rank=5, **remedy)


def _check_shapes(inputs, num_keypoints, max_sequences, max_people, max_frames):
    axes = {"keypoints": ("B", "M", "T", num_keypoints, 2), "scores": ("B", "M", "T", num_keypoints)}
    axes["frame_size"] = ("B", 2)
    inputs = check_axes(inputs, axes)
    shape, scores_shape, size_shape = (tf.shape(inputs[name]) for name in axes)
    inputs = at_most(inputs, shape[0], max_sequences, "sequences", "send the others in requests of their own")
    inputs = at_most(inputs, shape[1], max_people, "people a sequence", "leave out those who are seen the least")
    inputs = at_most(inputs, shape[0] * shape[2], max_frames, "frames in all", "cut the sequences, or send fewer")
    inputs = require(
        tf.reduce_all(tf.equal(shape[3:], axes["keypoints"][3:])),
        f"keypoints must be [B, M, T, {num_keypoints}, 2], got {{}}; give the keypoint set that the network was "
        "trained with.",
        (shape,),
        inputs,
    )
    inputs = require(
        tf.reduce_all(tf.equal(scores_shape, shape[:4])),
        "scores must be [B, M, T, K] for keypoints [B, M, T, K, 2], got {} for {}; give one score for each keypoint.",
        (scores_shape, shape),
        inputs,
    )
    inputs = require(
        tf.reduce_all(tf.equal(size_shape, [shape[0], 2])),
        "frame_size must be [B, 2], height and width for each sequence, got {} for {} sequences; repeat it if it is "
        "the same for all.",
        (size_shape, shape[0]),
        inputs,
    )
    return require(
        tf.reduce_min(shape) > 0,
        "A request must have at least one sequence, person and frame, got {} sequences of {} people and {} frames; "
        "leave empty sequences out.",
        (shape[0], shape[1], shape[2]),
        inputs,
    )


def _check_values(inputs):
    keypoints, scores, frame_size = inputs["keypoints"], inputs["scores"], inputs["frame_size"]
    drawn = tf.logical_and(is_seen(keypoints, scores), scores >= heatmaps.MIN_SCORE)
    visible = tf.reduce_any(drawn, axis=(1, 2, 3))  # [B]
    positive = tf.reduce_all(frame_size > 0, axis=1)  # [B]
    inputs = require(
        tf.reduce_all(visible),
        f"A sequence must show at least one keypoint, got no score of {heatmaps.MIN_SCORE} or more in sequence {{}}; "
        "leave it out, or set the scores to 1 if they are not known.",
        (first_false(visible),),
        inputs,
    )
    return require(
        tf.reduce_all(positive),
        "frame_size must be height and width in pixels, got {} for sequence {}; give the size of the video frames.",
        (tf.gather(frame_size, first_false(positive)), first_false(positive)),
        inputs,
    )
