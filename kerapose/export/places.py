"""What the served models of keypoints ask of their places and scores: the gate's impossible rules, in the graph.

A request is refused where the predictors refuse it; what is only suspicious passes, since a graph has nobody to warn.
"""

import tensorflow as tf

from kerapose.data.gate import sequences as gate
from kerapose.export.archives import first_false, require
from kerapose.ops.clips import is_seen
from kerapose.types import Tensor


def check_places(
    inputs: dict[str, Tensor],
    kind: str,
    rank: int,
    remedy: str = "give frame_size (height, width), the size that they refer to",
) -> dict[str, Tensor]:
    """The inputs {"keypoints", "scores", "frame_size", ...}, once their units and origin can be right.

    Args:
        inputs: keypoints [B, ..., K, 2], scores [B, ..., K], frame_size [B, 2] and others.
        kind: what one of the B is called in errors.
        rank: of the keypoints.
        remedy: what to do about keypoints beyond the frame.

    Returns:
        The inputs.
    """
    keypoints, scores = tf.ensure_shape(inputs["keypoints"], (None,) * rank), inputs["scores"]
    size = tf.cast(inputs["frame_size"], tf.float32)
    seen = is_seen(keypoints, scores)
    inputs = _refuse_unscaled(inputs, keypoints, seen, kind)
    rest = list(range(1, rank - 1))
    highest = tf.reduce_max(tf.where(seen, scores, 0.0), axis=rest)  # [B]
    sane = highest <= gate.IMPOSSIBLE_SCORE
    inputs = require(
        tf.reduce_all(sane),
        f"scores must be 0 to 1, got {{}} in {kind} {{}}; divide them by 100 if they are percent.",
        (tf.gather(highest, first_false(sane)), first_false(sane)),
        inputs,
    )
    limit = tf.reshape(tf.reverse(size, [1]), (-1, *[1] * len(rest), 2))  # x first
    outside = tf.reduce_any(tf.logical_or(keypoints < 0.0, keypoints > limit), axis=-1)
    counts = [tf.math.count_nonzero(flags, rest) for flags in (tf.logical_and(seen, outside), seen)]  # [B] each
    within = tf.cast(counts[0], tf.float32) <= gate.MOST_BEYOND * tf.cast(counts[1], tf.float32)
    wrong = first_false(within)
    return require(
        tf.reduce_all(within),
        f"keypoints must lie in the frame, got {{}} of {{}} beyond height and width {{}} for {kind} {{}}; {remedy}.",
        (tf.gather(counts[0], wrong), tf.gather(counts[1], wrong), tf.gather(inputs["frame_size"], wrong), wrong),
        inputs,
    )


def refuse_unscaled_frame(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs {"keypoints" [M, K, 2], ...} of one frame, once its people are not all at the origin."""
    keypoints = tf.ensure_shape(inputs["keypoints"], (None,) * 3)[None]  # [1, M, K, 2]
    return _refuse_unscaled(inputs, keypoints, is_seen(keypoints, tf.ones(tf.shape(keypoints)[:-1])), "frame")


def _refuse_unscaled(inputs, keypoints, seen, kind):
    """The inputs, once neither any of the B nor one of its people (axis 1 of rank 5) is unscaled."""
    rank = keypoints.shape.rank
    placed = tf.logical_and(
        seen, tf.reduce_any(tf.abs(keypoints - gate.PLACEHOLDER) >= gate.PLACEHOLDER_REACH, axis=-1)
    )
    rest = list(range(1, rank - 1))
    placed = tf.logical_or(placed, tf.logical_and(seen, ~tf.reduce_any(placed, rest, keepdims=True)))
    distances = tf.reduce_max(tf.abs(keypoints), axis=-1)
    near = tf.logical_and(placed, distances <= gate.NEAR_ORIGIN_PX)
    unscaled = _mostly(near, placed, rest)  # [B]
    if rank == 5:
        joints = tf.math.count_nonzero(tf.reduce_any(placed, axis=2), axis=-1)  # [B, M]
        people = tf.logical_and(_mostly(near, placed, [2, 3]), joints >= gate.FEWEST_JOINTS)
        unscaled = tf.logical_or(unscaled, tf.reduce_any(people, axis=1))
    farthest = tf.reduce_max(tf.where(near, distances, 0.0), axis=rest)  # [B]
    return require(
        tf.reduce_all(~unscaled),
        f"keypoints must be in pixels, got none beyond {{}} in {kind} {{}}; multiply them by width and height.",
        (tf.gather(farthest, first_false(~unscaled)), first_false(~unscaled)),
        inputs,
    )


def _mostly(near, placed, axes):
    """Whether there are any placed ones, and at least `MOST_NEAR` of them are near."""
    counts = [tf.cast(tf.math.count_nonzero(flags, axes), tf.float32) for flags in (near, placed)]
    return tf.logical_and(counts[1] > 0, counts[0] >= gate.MOST_NEAR * counts[1])
