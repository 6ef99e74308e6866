"""What a valid track is, and a pose in space.

A door notes with `note_track_form` whether there are the arrays of a track at all, and with `note_track` what their
figures say. Its keypoints are judged as those of a clip are (`sequences.py`).
"""

import typing
from collections.abc import Mapping

import numpy as np

from kerapose.data.gate.report import Report, Rule
from kerapose.data.gate.sequences import FRAME_SIZE, ONE_SCORE, frame_size_of, note_places, numbers, plain
from kerapose.ops import cameras
from kerapose.skeletons import Skeleton
from kerapose.types import Array

PERSON_M = (0.5, 2.5)  # the largest side of the box round a person's joints: from one who curls up to arms held up
POSE_M = (0.02, 10.0)  # beyond it, metres are not what the figures are in: millimetres give 1700, normalized ones 0.001
FARTHEST_M = 100.0  # from the camera to a person; a place in millimetres is thousands away
FOCAL_SHARE = (0.1, 100.0)  # of the frame's width: a lens of more than 157 degrees, and one of half a degree
MOST_MISSED = 0.2  # of the frame's width, from a keypoint to where the camera sees its joint
SAME_PLACE_M = 1e-6  # how close a root is to the camera's centre if poses are from the root

TRACK_FRAMES = Rule("A track has at least one frame", "without any", "check how it was cut")
SAME_FRAMES = Rule(
    "2D and 3D have the same frames", "with others", "trim=True cuts the 2D off where it is longer; else cut the poses"
)
FPS = Rule("fps is a positive number", "with another fps", "give the frame rate of the video")
FINITE = Rule("Figures of tracks are finite", "with NaN or infinity", "cut the track there")
TRACK_PERSON = Rule(
    "A track shows its person",
    "with nothing seen in any frame",
    "set the scores to 1 if they are not known",
)
TRACK_KEYPOINTS = Rule(
    "Each keypoint is seen in at least one frame of its track",
    "with some that are in none",
    "these stand at (0, 0): lower min_score, or leave tracks or keypoints out",
    1,
)
CAMERA = Rule("A camera is nine finite numbers, the focal lengths positive", "with another camera", "give none, or all")
CAMERA_NUMBERS = Rule("Cameras have the numbers that are asked for", "with another camera", "correct it")
METRES = Rule(
    f"Poses are in metres, their largest side {POSE_M[0]:g} to {POSE_M[1]:g}",
    "of another size",
    "divide them by 1000 if they are in millimetres, by 100 if in centimetres",
)
PERSONS = Rule(
    f"People are {PERSON_M[0]:g} to {PERSON_M[1]:g} m large", "of another size", "check the unit of the poses", 1
)
ABSOLUTE = Rule(
    "poses_camera_m are counted from the camera's centre",
    "with the root there in most frames",
    "add the way of the root if they are counted from it",
    1,
)
IN_FRONT = Rule(
    "People are in front of the camera, z above 0", "who are behind it in most frames", "check its orientation", 1
)
NEAR = Rule(f"People are within {FARTHEST_M:g} m of the camera", "who are farther", "give its translation in metres", 1)
FOCAL = Rule(
    f"focal_px is in pixels, {FOCAL_SHARE[0]:g} to {FOCAL_SHARE[1]:g} times the frame's width",
    "with another focal length",
    "multiply it by half the width if it is of a normalized camera",
)
SEEN_SO = Rule(
    "Cameras see the joints where the keypoints are",
    f"with a median distance of more than {MOST_MISSED:.0%} of the width",
    "check units and axes of cameras and poses, and whether 2D and 3D are of the same frames",
    1,  # what a detector found may be another person, and calibrations are not all exact
)


def frame_rate(fps: typing.Any) -> float | None:
    """A frame rate as a float; None for what is none: NaN, infinity, 0, True, text."""
    value = numbers(fps)
    if value is None or value.shape != () or value.dtype.kind not in "iuf" or not np.isfinite(value) or value <= 0:
        return None
    return float(value)


def note_track_form(
    report: Report, track: Mapping[str, typing.Any], skeleton: Skeleton, pose_skeleton: Skeleton
) -> bool:
    """Counts a track and notes what is wrong with its arrays, before anything is made of them.

    Args:
        report: a `Report`.
        track: {"name", "keypoints" [T, K, 2], "scores" [T, K] or None, "frame_size", "fps", "poses_world_m" and
            "poses_camera_m" [T, J, 3] or None}.
        skeleton: the `Skeleton` of the keypoints.
        pose_skeleton: the `Skeleton` of the poses.

    Returns:
        Whether all is as it should be.
    """
    report.seen()
    name, keypoints, scores = track["name"], track["keypoints"], track["scores"]
    sound = _note_array(report, "keypoints", keypoints, skeleton, 2, name)
    if sound and scores is not None and np.shape(scores) != keypoints.shape[:2]:
        report.note(ONE_SCORE, name, f"{np.shape(scores)} for {keypoints.shape}")
        sound = False
    for field in ("poses_world_m", "poses_camera_m"):
        poses = track[field]
        if poses is not None:
            good = _note_array(report, field, poses, pose_skeleton, 3, name)
            if good and sound and len(poses) != len(keypoints):
                report.note(SAME_FRAMES, name, f"{len(keypoints)} of 2D and {len(poses)} of 3D")
                good = False
            sound = sound and good and _note_finite(report, field, poses, name)
    if frame_size_of(track["frame_size"]) is None:
        report.note(FRAME_SIZE, name, plain(track["frame_size"]))
        sound = False
    if frame_rate(track["fps"]) is None:
        report.note(FPS, name, plain(track["fps"]))
        sound = False
    return sound


def note_track(report: Report, track: Mapping[str, typing.Any], same_joints: bool) -> None:
    """Counts a track and notes what is wrong with its figures.

    Args:
        report: a `Report`.
        track: {"name", "keypoints_screen" [T, K, 2], "scores" [T, K] 0 where missing, "frame_size" [2], "fps", and,
            None where not known, "camera" [9], "poses_world_m" and "poses_camera_m" [T, J, 3]}.
        same_joints: whether keypoints and poses are of the same set.
    """
    report.seen()
    name, scores, frame_size = track["name"], track["scores"], track["frame_size"]
    if frame_size_of(frame_size) is None:
        report.note(FRAME_SIZE, name, plain(frame_size))
        return
    if frame_rate(track["fps"]) is None:
        report.note(FPS, name, plain(track["fps"]))
    fields = ("keypoints_screen", "scores", "poses_world_m", "poses_camera_m")
    finite = [_note_finite(report, field, track[field], name) for field in fields if track[field] is not None]
    if not all(finite):
        return
    seen = scores > 0
    if not seen.any():
        report.note(TRACK_PERSON, name)
    elif not seen.any(axis=0).all():
        report.note(TRACK_KEYPOINTS, name, f"keypoints {', '.join(map(str, np.flatnonzero(~seen.any(axis=0))))}")
    keypoints = np.asarray(cameras.denormalize_screen(track["keypoints_screen"], frame_size))  # [T, K, 2]
    note_places(report, keypoints, scores, frame_size, name)
    poses = track["poses_camera_m"]
    if poses is not None:
        note_size(report, poses, name)
        _note_place(report, poses, name)
    if track["camera"] is not None and _note_camera(report, track["camera"], name) and poses is not None:
        _note_projection(report, keypoints, scores, poses, track["camera"], frame_size, same_joints, name)


def _note_array(report, field, values, skeleton, size, name):
    axes, count = ("K", "J")[size - 2], skeleton.num_keypoints
    if np.ndim(values) != 3 or values.shape[1:] != (count, size):
        rule = f"{field} of {skeleton.name} are [T, {axes}, {size}], {axes} {count}"
        remedy = "reshape them, or give the skeleton that they were made with"
        report.note(Rule(rule, "of another shape", remedy), name, "no numbers" if values is None else values.shape)
        return False
    if not len(values):
        report.note(TRACK_FRAMES, name)
    return len(values) > 0


def _note_finite(report, field, values, name):
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(bad):
        report.note(FINITE, name, f"{field} of frame {bad[0]}")
    return not len(bad)


def note_size(report: Report, poses: Array, name: str, metres: Rule = METRES) -> None:
    """Notes poses [T, J, 3] that are not as large as a person in metres, against that rule."""
    size = float(np.median((poses.max(axis=1) - poses.min(axis=1)).max(axis=-1)))  # the largest side, of most frames
    if not POSE_M[0] <= size <= POSE_M[1]:
        report.note(metres, name, f"{size:.4g}")
    elif not PERSON_M[0] <= size <= PERSON_M[1]:
        report.note(PERSONS, name, f"{size:.3g} m")


def _note_place(report, poses, name):
    """Notes poses [T, J, 3] in camera space that are not where a camera sees people."""
    distance, depth = np.median(np.linalg.norm(poses[:, 0], axis=-1)), np.median(poses[:, 0, 2])
    if distance <= SAME_PLACE_M:
        report.note(ABSOLUTE, name)
    elif depth <= 0:
        report.note(IN_FRONT, name, f"z {depth:.3g} m")
    elif distance > FARTHEST_M:
        report.note(NEAR, name, f"{distance:.4g} m")


def _note_camera(report, camera, name):
    """Notes a camera [9] that is none; whether it is one."""
    if not np.isfinite(camera).all() or not (camera[:2] > 0).all():
        report.note(CAMERA, name, np.asarray(camera).tolist())
        return False
    shares = camera[:2] / 2  # a screen is 2 wide
    if not ((shares >= FOCAL_SHARE[0]) & (shares <= FOCAL_SHARE[1])).all():
        report.note(FOCAL, name, f"{shares[0]:.3g} times")
        return False
    return True


def _note_projection(report, keypoints, scores, poses, camera, frame_size, same_joints, name):
    """Notes where a camera does not see poses [T, J, 3] where the keypoints [T, K, 2] are.

    Where the sets differ, the middle of what is seen is compared with the middle of the joints.
    """
    ahead = (poses[..., 2] > 0).all(axis=1) & (scores > 0).any(axis=1)  # [T]
    if not ahead.any():
        return
    poses, keypoints, seen = poses[ahead], keypoints[ahead], scores[ahead] > 0
    projected = np.asarray(cameras.denormalize_screen(cameras.project(poses, camera), frame_size))  # [T, J, 2]
    if same_joints:
        missed = np.linalg.norm(projected - keypoints, axis=-1)[seen]
    else:
        middle = np.where(seen[..., None], keypoints, 0).sum(axis=1) / seen.sum(axis=1)[:, None]  # [T, 2]
        missed = np.linalg.norm(projected.mean(axis=1) - middle, axis=-1)
    missed = float(np.median(missed)) / int(frame_size[1])
    if not missed <= MOST_MISSED:
        report.note(SEEN_SO, name, f"{missed:.0%}")
