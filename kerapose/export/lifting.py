"""SavedModels and LiteRT files from tracks of keypoints to poses in space, whole tracks or a frame at a time.

`serving_default` of `lifter_saved_model`, of whole tracks, takes and gives

============  =======  ============  =========================================================
input         type     shape
============  =======  ============  =========================================================
`keypoints`   float32  [B, T, K, 2]  pixels of the frame, x first, (0, 0) or NaN where missing
`scores`      float32  [B, T, K]     1 where they are not known, 0 where a keypoint is missing
`frame_size`  int32    [B, 2]        height and width, pixels
============  =======  ============  =========================================================

================  =======  ============  ============================================================
output            type     shape
================  =======  ============  ============================================================
`poses_m`         float32  [B, T, J, 3]  metres from joint 0: x right, y down, z away from the camera
`poses_camera_m`  float32  [B, T, J, 3]  from the camera's centre, if there is a trajectory network
`keypoint_names`  string   [B, J]        of the joints
================  =======  ============  ============================================================

B and T are free up to the limits that were exported. What a detector lost for a while goes straight from where it was
lost to where it came back. So a track that is shorter than another of its request may be filled up with frames of
score 0: it stays where it ended, which is what becomes of every track beyond its end.

`streaming_saved_model` and `streaming_litert`, a frame at a time: `initial_state` gives the state of M people before
their first frame, and `step` takes what it gave, with

===============  =======  =========  =================================================
input of `step`  type     shape
===============  =======  =========  =================================================
`keypoints`      float32  [M, K, 2]  pixels of the frame, x first
`frame_size`     int32    [M, 2]     height and width, pixels
`reset`          bool     [M]        whether this is the first frame of another person
===============  =======  =========  =================================================

and gives `poses_m` [M, J, 3], as above, and the next state under the same names. Nothing is kept between two calls. In
REST that is the form of columns, since the state counts its frames once for all people.
"""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from kerapose import estimators
from kerapose.export.archives import (
    check_axes,
    check_ending,
    first_false,
    first_false_or_zero,
    require,
    unshaped,
    whole,
    write_signatures,
)
from kerapose.export.limits import MAX_FRAMES, MAX_STREAMED, MAX_TRACKS, at_most, check_limits
from kerapose.export.places import check_places, refuse_unscaled_frame
from kerapose.export.serving import WARM_UP_FRAMES, apart, places, served, write_served
from kerapose.ops import cameras, sequences
from kerapose.ops.clips import is_seen
from kerapose.types import ArrayLike, Path


def lifter_saved_model(
    lifter: estimators.TrackLifter,
    path: Path,
    overwrite: bool = False,
    conversion: ArrayLike | None = None,
    max_tracks: int = MAX_TRACKS,
    max_frames: int = MAX_FRAMES,
) -> pathlib.Path:
    """Writes a SavedModel that takes whole tracks of keypoints, of any length, and gives poses in space.

    All that `predictors.Lifter` does is inside: gaps, the conversion of keypoint sets, the ends of a track, the mirror
    image and, if there is one, the trajectory.

    Args:
        lifter: a `TrackLifter`, whose names they are.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/lifter/1").
        overwrite: whether a SavedModel already there is replaced.
        conversion: [K_in, K], what the network's keypoints are worked out from where requests have K of another set:
            `skeletons.mapping(COCO, H36M)`. None: requests have the network's own.
        max_tracks: the most tracks that a request may have.
        max_frames: the most frames of a request, of all its tracks together.

    Returns:
        The path.

    Raises:
        ValueError: if conversion and lifter do not fit together, or a limit is below 1.
        FileExistsError: if something is already there.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import export, predictors
        >>> lifter = predictors.load("runs/lifter/model.keras").estimator
        >>> path = export.lifter_saved_model(lifter, "models/lifter/1")
        >>> served = tf.saved_model.load(path).signatures["serving_default"]
        >>> request = {"keypoints": keypoints[:1], "scores": scores[:1], "frame_size": [frame_size]}
        >>> answer = served(**{name: tf.constant(value) for name, value in request.items()})
        >>> tuple(answer["poses_m"].shape), answer["keypoint_names"].numpy()[0, :2].tolist()
        ((1, 30, 17, 3), [b'hip', b'right_hip'])
    """
    limits = {"max_tracks": max_tracks, "max_frames": max_frames}
    check_limits(**limits)
    num_keypoints = _num_keypoints(lifter, conversion)
    signature = [
        tf.TensorSpec((None, None, num_keypoints, 2), tf.float32, "keypoints"),
        tf.TensorSpec((None, None, num_keypoints), tf.float32, "scores"),
        tf.TensorSpec((None, 2), tf.int32, "frame_size"),
    ]
    with served(path, overwrite, apart("tracks", max_tracks, "each has a length of its own")) as part:
        signatures = {"serving_default": (_lifting_function(lifter, conversion, limits), signature)}
        lengths = sorted({min(length, max_frames) for length in (WARM_UP_FRAMES, 5 * WARM_UP_FRAMES)})
        requests = [places(1, length, num_keypoints) for length in lengths]
        write_served(part, signatures, {"serving_default": requests})
    return pathlib.Path(path)


def streaming_saved_model(
    stream: estimators.StreamingLifter, path: Path, overwrite: bool = False, max_tracks: int = MAX_STREAMED
) -> pathlib.Path:
    """Writes a SavedModel that takes one frame of every person at a time and gives their poses at once.

    Its endpoints are `step`, which is also `serving_default`, and `initial_state`, which takes `num_tracks`, a number.
    A server must not gather several requests: each state counts its frames once for all its people. So there are no
    batching parameters with it.

    Args:
        stream: a `StreamingLifter`.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/stream/1").
        overwrite: whether a SavedModel already there is replaced.
        max_tracks: the most people of a stream.

    Returns:
        The path.

    Raises:
        ValueError: if the network takes more of a keypoint than x and y, or the limit is below 1.
        FileExistsError: if something is already there.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import estimators, export, models, skeletons
        >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=True)
        >>> stream = estimators.StreamingLifter(network, skeletons.H36M)
        >>> served = tf.saved_model.load(export.streaming_saved_model(stream, "models/stream/1")).signatures
        >>> state = served["initial_state"](num_tracks=tf.constant(1))
        >>> frame = {"keypoints": tf.constant(keypoints[:1, 0]), "frame_size": tf.constant([frame_size])}
        >>> answer = served["step"](**frame, reset=tf.constant([False]), **state)
        >>> tuple(answer.pop("poses_m").shape)
        (1, 17, 3)
        >>> sorted(answer)  # the next state
        ['buffer_0', 'buffer_1', 'fresh', 'position']
    """
    check_limits(max_tracks=max_tracks)
    with served(path, overwrite, batching=None) as part:
        frame = places(1, stream.network.input_shape[2]) | {"reset": [False]}
        state = {name: np.asarray(value) for name, value in stream.initial_state(1).items()}
        requests = {"step": [frame | state], "initial_state": [{"num_tracks": 1}]}
        write_served(part, _streaming_signatures(stream, None, max_tracks), requests)
    return pathlib.Path(path)


def streaming_litert(
    stream: estimators.StreamingLifter, path: Path, num_tracks: int = 1, overwrite: bool = False
) -> pathlib.Path:
    """Writes a LiteRT file that takes one frame at a time and gives the pose at once, in float32.

    It has the two signatures of `streaming_saved_model`, `initial_state` without an input. It cannot refuse a request:
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
        >>> from ai_edge_litert.interpreter import Interpreter
        >>> from kerapose import estimators, export, models, skeletons
        >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=True)
        >>> stream = estimators.StreamingLifter(network, skeletons.H36M)
        >>> interpreter = Interpreter(str(export.streaming_litert(stream, "lifter.tflite")))
        >>> state, step = interpreter.get_signature_runner("initial_state")(), interpreter.get_signature_runner("step")
        >>> frame = {"keypoints": keypoints[:1, 0], "frame_size": np.array([frame_size], "int32")}
        >>> answer = step(**frame, reset=np.array([False]), **state)
        >>> answer.pop("poses_m").shape, sorted(answer)  # the pose, and the next state
        ((1, 17, 3), ['buffer_0', 'buffer_1', 'fresh', 'position'])
    """
    check_ending(path, ".tflite")
    if num_tracks < 1:
        raise ValueError(f"num_tracks must be at least 1, got {num_tracks}; use 1 for one person.")
    with whole(path, overwrite) as part, tempfile.TemporaryDirectory() as folder:
        write_signatures(folder, _streaming_signatures(stream, num_tracks))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["initial_state", "step"])
        part.write_bytes(converter.convert())
    return pathlib.Path(path)


def _lifting_function(lifter, conversion, limits):
    """(keypoints, scores, frame_size) to {"poses_m", "poses_camera_m", "keypoint_names"}."""
    names = tf.constant(lifter.pose_skeleton.keypoints)  # [J]
    matrix = None if conversion is None else np.asarray(conversion, "float32")

    def serve(keypoints, scores, frame_size):
        inputs = {"keypoints": keypoints, "scores": scores, "frame_size": frame_size}
        inputs = _checked_tracks(inputs, None if matrix is None else np.flatnonzero(matrix.any(axis=0)), **limits)
        keypoints = sequences.fill_gaps(
            inputs["keypoints"], is_seen(inputs["keypoints"], inputs["scores"])
        )  # [B, T, K, 2]
        if matrix is not None:
            keypoints = tf.matmul(matrix, keypoints)  # [B, T, K_in, 2]
        found = lifter({"keypoints": keypoints, "frame_size": inputs["frame_size"]}, training=False)
        poses = found["poses_m"] - found["poses_m"][:, :, :1]
        answer = {"poses_m": poses}
        if "trajectory_m" in found:
            answer["poses_camera_m"] = poses + found["trajectory_m"][:, :, None]
        answer["keypoint_names"] = tf.broadcast_to(names, tf.shape(poses)[:3:2])
        return answer

    return serve


def _checked_tracks(inputs, needed, max_tracks, max_frames):
    """The tracks, behind assertions; `needed` are the keypoints that anything depends on, None for all."""
    signature = {name: value.shape for name, value in inputs.items()}
    num_keypoints = signature["keypoints"][2]
    axes = {"keypoints": ("B", "T", num_keypoints, 2), "scores": ("B", "T", num_keypoints), "frame_size": ("B", 2)}
    inputs = check_axes(unshaped(inputs), axes)
    shape, scores_shape, size_shape = (tf.shape(inputs[name]) for name in axes)
    inputs = at_most(inputs, shape[0], max_tracks, "tracks", "send the others in requests of their own")
    inputs = at_most(inputs, shape[0] * shape[1], max_frames, "frames in all", "cut the tracks, or send fewer")
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
        inputs = require(condition, sentence, values, inputs)
    inputs = _check_frame_sizes(inputs, "track")
    inputs = _check_found(inputs, np.arange(num_keypoints) if needed is None else needed)
    inputs = check_places(inputs, "track", rank=4)
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _check_frame_sizes(inputs, whose):
    positive = tf.reduce_all(inputs["frame_size"] > 0, axis=1)  # [B]
    wrong = first_false_or_zero(positive)
    return require(
        tf.reduce_all(positive),
        f"frame_size must be height and width in pixels, got {{}} for {whose} {{}}; give the size of the video frames.",
        (tf.gather(tf.concat([inputs["frame_size"], [[0, 0]]], axis=0), wrong), wrong),
        inputs,
    )


def _check_found(inputs, needed):
    """Each keypoint that is needed is in at least one frame of each track: what is in none has no place to be put."""
    seen = tf.gather(tf.reduce_any(is_seen(inputs["keypoints"], inputs["scores"]), axis=1), needed, axis=1)  # [B, K']
    wrong = tf.unravel_index(first_false(tf.reshape(seen, (-1,))), tf.shape(seen, tf.int64))
    return require(
        tf.reduce_all(seen),
        "A keypoint must be in at least one frame of a track, got no finite one with a score above 0 for keypoint {} "
        "of track {}; leave the track out if nobody is in it, or set the scores to 1 if they are not known.",
        (tf.gather(tf.constant(needed), wrong[1]), wrong[0]),
        inputs,
    )


def _streaming_signatures(stream, num_tracks, max_tracks=None):
    """The functions `step` and `initial_state` with what they take; `num_tracks` None leaves M free up to `max_tracks`.

    Without `max_tracks` nothing is checked.
    """
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
        if max_tracks:
            tracks = [tf.shape(value)[0] for name, value in state.items() if specs[name].shape[0] is None]
            inputs = _checked_frame(inputs, tracks, max_tracks)
        screen = cameras.normalize_screen(inputs["keypoints"], inputs["frame_size"])
        poses, state = stream.step(screen, state, inputs["reset"])
        # A trajectory network has one joint alone, whose way is the answer.
        return {"poses_m": poses - poses[:, :1] if poses.shape[1] > 1 else poses, **state}

    def initial_state(count=num_tracks):
        if max_tracks:
            inputs = require(
                tf.logical_and(count >= 1, count <= max_tracks),
                f"num_tracks must be 1 to {max_tracks}, got {{}}; give the number of people in the first frame.",
                (count,),
                {"num_tracks": count},
            )
            count = inputs["num_tracks"]
        return dict(stream.initial_state(count))

    counts = [tf.TensorSpec((), tf.int32, "num_tracks")] if num_tracks is None else []
    return {"step": (step, [specs]), "initial_state": (initial_state, counts)}


def _checked_frame(inputs, tracks, max_tracks):
    """One frame of every person, behind assertions; `tracks` is how many each part of the state belongs to."""
    signature = {name: value.shape for name, value in inputs.items()}
    num_keypoints = signature["keypoints"][1]
    axes = {"keypoints": ("M", num_keypoints, 2), "frame_size": ("M", 2), "reset": ("M",)}
    inputs = check_axes(unshaped(inputs), axes)
    shape, size_shape, reset_shape = (tf.shape(inputs[name]) for name in inputs)
    inputs = at_most(inputs, shape[0], max_tracks, "people", "send the others in a stream of their own")
    inputs = require(
        tf.reduce_all(tf.equal(shape[1:], (num_keypoints, 2))),
        f"keypoints must be [M, {num_keypoints}, 2], got {{}}; give the set that the network was trained with.",
        (shape,),
        inputs,
    )
    inputs = require(
        tf.logical_and(
            tf.reduce_all(tf.equal(size_shape, [shape[0], 2])), tf.reduce_all(tf.equal(reset_shape, shape[:1]))
        ),
        "frame_size must be [M, 2] and reset [M] for keypoints [M, K, 2], got {} and {} for {}; give each for every "
        "person.",
        (size_shape, reset_shape, shape),
        inputs,
    )
    inputs = require(
        tf.reduce_all(tf.equal(tracks, shape[0])),
        "The state must be of as many people as the frame, got {} for {}; begin anew from initial_state.",
        (tf.reduce_max(tracks), shape[0]),
        inputs,
    )
    finite = tf.reduce_all(tf.math.is_finite(inputs["keypoints"]), axis=(1, 2))  # [M]
    inputs = require(
        tf.reduce_all(finite),
        "keypoints must be finite, got NaN or infinity for person {}; give the last known place of a missing one.",
        (first_false_or_zero(finite),),
        inputs,
    )
    inputs = refuse_unscaled_frame(_check_frame_sizes(inputs, "person"))
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _num_keypoints(lifter, conversion):
    """K of the requests, once all fits together."""
    num_keypoints = lifter.skeleton.num_keypoints
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
