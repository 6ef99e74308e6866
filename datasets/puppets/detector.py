"""The detector: what a keypoint network would have made of the picture.

It sees the COCO keypoints with errors that last for a few frames, loses some, puts some elsewhere, takes left for right
now and then, and is less sure of what the body itself hides.
"""

import numpy as np

from kerapose.skeletons import COCO

from . import body, camera

KEYPOINTS = [body.POINTS.index(name) for name in COCO.keypoints]
# Solid parts that hide what lies behind them: two points and a radius as a share of stature.
SOLIDS = (
    ("pelvis", "thorax", 0.075),
    ("nose", "head_top", 0.05),
    *((f"{side}_shoulder", f"{side}_elbow", 0.028) for side in body.SIDES),
    *((f"{side}_elbow", f"{side}_wrist", 0.022) for side in body.SIDES),
    *((f"{side}_hip", f"{side}_knee", 0.042) for side in body.SIDES),
    *((f"{side}_knee", f"{side}_ankle", 0.030) for side in body.SIDES),
)
SWAPPED = {
    "all": range(len(COCO.keypoints)),
    "arms": [COCO.index(f"{side}_{joint}") for side in body.SIDES for joint in ("shoulder", "elbow", "wrist")],
    "legs": [COCO.index(f"{side}_{joint}") for side in body.SIDES for joint in ("hip", "knee", "ankle")],
}
SWAP_SHARE = 0.25  # of the clips
# Thresholds, in standard deviations, below which a slowly changing random number loses a keypoint.
LOST_IN_SIGHT, LOST_HIDDEN = -2.5, -1.7


def detect(rng, view, points_m, height_m, fps, covered=False):
    """Makes noisy keypoints and scores of a person seen by a camera.

    Args:
        rng: NumPy random generator.
        view: the `camera.Camera`.
        points_m: float array [T, P, 3], metres, in the order of `body.POINTS`.
        height_m: the person's stature, metres.
        fps: frames a second.
        covered: bool array [T, K], which keypoints something else than the body hides.

    Returns:
        float32 array [T, K, 2]: pixels, x first, and float32 array [T, K]: scores from 0 to 1, for K COCO keypoints. A
        keypoint that was not found has score 0 and lies at (0, 0).
    """
    points_px, depth = camera.project(view, points_m)
    pixels_per_metre = view.focal_px / depth[:, :1]  # [T, 1], at the pelvis
    height_px = height_m * pixels_per_metre
    hidden = self_occlusion(points_px, depth, height_m, pixels_per_metre) | faces_away(points_m, view)  # [T, K]
    hidden = hidden | covered
    quality = np.clip(rng.lognormal(0, 0.3), 0.5, 1.8)
    # COCO's sigma is in units of the square root of the area, which is near 0.45 of the height of a standing person.
    expected_px = 0.45 * np.array(COCO.sigmas) * height_px
    spread_px = 0.35 * quality * np.where(hidden, 2.0, 1.0) * expected_px  # [T, K]
    error_px = spread_px[..., None] * jitter(rng, points_px.shape[0], (len(KEYPOINTS), 2), fps)
    keypoints = points_px[:, KEYPOINTS] + error_px  # [T, K, 2]
    scores = confidence(rng, np.linalg.norm(error_px, axis=-1) / expected_px, hidden, quality)
    keypoints, scores = _swap_sides(rng, keypoints, scores)
    return _lose(rng, keypoints, scores, hidden, height_px, fps, view)


def jitter(rng, num_frames, shape, fps, seconds=0.12):
    """Draws noise of unit variance [T, *shape] that is alike in neighbouring frames, with a part that is not."""
    frames = np.arange(num_frames)
    blend = np.exp(-np.abs(frames[:, None] - frames) / (seconds * fps))  # [T, T]
    blend /= np.linalg.norm(blend, axis=1, keepdims=True)
    white = rng.normal(size=(2, num_frames, int(np.prod(shape))))
    slow, fast = blend @ white[0], white[1]
    return (np.sqrt(0.8) * slow + np.sqrt(0.2) * fast).reshape(num_frames, *shape)


def self_occlusion(points_px, depth_m, height_m, pixels_per_metre, keypoints=KEYPOINTS):
    """Tells which keypoints lie behind a solid part of the body.

    Args:
        points_px: float array [T, P, 2], pixels.
        depth_m: float array [T, P], metres.
        height_m: stature, metres.
        pixels_per_metre: float array [T, 1].
        keypoints: K places in `body.POINTS`.

    Returns:
        bool array [T, K].
    """
    start, end = (np.array([body.POINTS.index(solid[i]) for solid in SOLIDS]) for i in (0, 1))
    radius_m = height_m * np.array([solid[2] for solid in SOLIDS])  # [S]
    point = points_px[:, keypoints, None]  # [T, K, 1, 2]
    first, last = points_px[:, None, start], points_px[:, None, end]  # [T, 1, S, 2]
    bone = last - first
    share = np.sum((point - first) * bone, axis=-1) / np.maximum(np.sum(bone**2, axis=-1), 1e-6)
    share = np.clip(share, 0, 1)  # [T, K, S], of the nearest spot on the bone
    distance_m = np.linalg.norm(point - first - share[..., None] * bone, axis=-1) / pixels_per_metre[..., None]
    spot_depth = depth_m[:, None, start] + share * (depth_m[:, None, end] - depth_m[:, None, start])
    # A joint inside a solid is part of it: only what lies clearly behind is hidden.
    behind = depth_m[:, keypoints, None] - spot_depth > 1.2 * radius_m
    return np.any((distance_m < radius_m) & behind, axis=-1)


def faces_away(points_m, view):
    """Tells which keypoints of the face are on the far side of the head: bool array [T, K], False for the others."""
    place = {name: points_m[:, body.POINTS.index(name)] for name in COCO.keypoints[:5]}
    skull = (place["left_ear"] + place["right_ear"]) / 2
    toward = _unit(view.position_m - skull)
    hidden = np.zeros((len(points_m), len(KEYPOINTS)), dtype=bool)
    for name, point in place.items():
        cosine = np.sum(_unit(point - skull) * toward, axis=-1)
        hidden[:, COCO.index(name)] = cosine < -0.2
    return hidden


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def confidence(rng, error, hidden, quality):
    """Gives scores [T, K] that fall with the error, in units of what is expected, and where the keypoint is hidden."""
    best = np.clip(0.97 - 0.06 * quality + rng.normal(0, 0.03), 0.7, 0.98)
    scores = best * np.where(hidden, 0.6, 1.0) * np.exp(-0.25 * error**2)
    return np.clip(scores + rng.normal(0, 0.03, size=scores.shape), 0.05, 1.0)


def _swap_sides(rng, keypoints, scores):
    """Takes left for right for a few frames of some clips."""
    if rng.random() > SWAP_SHARE:
        return keypoints, scores
    which = list(SWAPPED[rng.choice(tuple(SWAPPED))])
    source = np.array(COCO.flip_permutation)[which]
    start = rng.integers(0, len(keypoints))
    frames = slice(start, start + rng.integers(2, 7))
    keypoints[frames, which], scores[frames, which] = keypoints[frames, source], 0.9 * scores[frames, source]
    return keypoints, scores


def _lose(rng, keypoints, scores, hidden, height_px, fps, view):
    """Loses keypoints for a while: most are not found, others are found far off with little confidence."""
    num_frames, num_keypoints = scores.shape
    luck = jitter(rng, num_frames, (num_keypoints,), fps)
    lost = luck < np.where(hidden, LOST_HIDDEN, LOST_IN_SIGHT)
    # One decision for the whole clip and keypoint, so that a lost keypoint does not blink.
    elsewhere = lost & (rng.random(num_keypoints) < 0.4)
    offset_px = height_px[..., None] * rng.uniform(-0.4, 0.4, size=(num_keypoints, 2))
    keypoints = np.where(elsewhere[..., None], keypoints + offset_px, keypoints)
    scores = np.where(elsewhere, rng.uniform(0.03, 0.3, size=scores.shape), scores)
    absent = (lost & ~elsewhere) | ~camera.in_frame(view, keypoints)
    keypoints, scores = np.where(absent[..., None], 0, keypoints), np.where(absent, 0, scores)
    return keypoints.astype(np.float32), scores.astype(np.float32)
