"""Tracks: longer takes of the puppets, seen by four cameras that stand still, with the 3D pose of every frame.

In a take a performer does one thing again and again, gets about between times, and now and then does something else.
Each camera's view is a track of detected H36M keypoints, as a network would have found them in the pictures.
"""

import dataclasses

import numpy as np
import track_records

from kerapose.skeletons import COCO, H36M

from . import body, camera, detector, motions, performers

JOINTS = [body.POINTS.index({"hip": "pelvis", "head": "head_top"}.get(name, name)) for name in H36M.keypoints]
# What a take is called, and which motions it is about; nobody sits down again who has not stood up.
TWO_MOTIONS = {"wave": ("wave_left", "wave_right"), "sit": ("sit_down", "stand_up")}
ACTIONS = {
    name: (name,) for name in motions.ACTIONS if not any(name in both for both in TWO_MOTIONS.values())
} | TWO_MOTIONS
GETTING_ABOUT, GETTING_ABOUT_SHARES = ("walk", "turn", "run"), (0.6, 0.2, 0.2)
LEAST_FRAMES, MOST_FRAMES = 180, 300
MOST_REACH_M = 2.2  # how far from the middle of the floor a pelvis may get
STREAM = 9  # apart from the parts of `scene` and `stills`, so that none changes the others

FRAME_SIZES = ((1000, 1000), (1080, 1920), (720, 1280), (480, 640))  # height, width
FRAME_SHARES = (0.4, 0.2, 0.2, 0.2)
FOCAL_SHARES = (0.75, 1.2)  # of the width
NUM_VIEWS = 4
DISTANCES_M = (3.5, 8.0)  # from the middle of the floor
STANDS_M = (0.8, 2.2)  # above it
NEAREST_M = 1.5  # along the optical axis
MARGIN = 0.04  # of the picture on each side, which nobody enters

# How well a network finds each joint, in the manner of COCO's sigmas: those of COCO, and ours for the rest.
SIGMAS = np.array(
    [
        COCO.sigmas[COCO.index(name)]
        if name in COCO.keypoints
        else {"hip": 0.08, "spine": 0.08, "thorax": 0.06, "head": 0.045}[name]
        for name in H36M.keypoints
    ]
)
# Of the deviation that the sigmas stand for. Networks tuned to a few people in one room err less than COCO's do.
ERROR_SHARE = 0.22
SWAPPED = {
    "arms": [H36M.index(f"{side}_{joint}") for side in body.SIDES for joint in ("shoulder", "elbow", "wrist")],
    "legs": [H36M.index(f"{side}_{joint}") for side in body.SIDES for joint in ("hip", "knee", "ankle")],
}
SWAP_SHARE = 0.25  # of the tracks


@dataclasses.dataclass(frozen=True)
class View:
    """A camera that stands still, with a lens that distorts.

    Attributes:
        name: what it is called, the same in all takes.
        frame_size: (height, width), pixels.
        focal_px: float array [2], focal lengths along x and y, pixels.
        center_px: float array [2], principal point, pixels.
        radial: float array [3], k1, k2 and k3.
        tangential: float array [2], p1 and p2.
        position_m: float array [3], in the world.
        rotation: float array [3, 3], world axes to camera axes.
    """

    name: str
    frame_size: tuple
    focal_px: np.ndarray
    center_px: np.ndarray
    radial: np.ndarray
    tangential: np.ndarray
    position_m: np.ndarray
    rotation: np.ndarray

    def described(self):
        """Gives the camera in the form of `track_records`."""
        return {
            "name": self.name,
            "orientation": quaternion(self.rotation.T),  # camera axes to world axes
            "translation_m": self.position_m,
            "focal_px": self.focal_px,
            "center_px": self.center_px,
            "radial": self.radial,
            "tangential": self.tangential,
            "frame_size": self.frame_size,
        }


@dataclasses.dataclass(frozen=True)
class Take:
    """A person who moves for a while, and the cameras.

    Attributes:
        performer: the `performers.Performer`.
        action: what the take is about, a name of `ACTIONS`.
        points_m: float array [T, P, 3], metres, in the order of `body.POINTS`.
        views: the `View`s.
        fps: frames a second.
    """

    performer: performers.Performer
    action: str
    points_m: np.ndarray
    views: list
    fps: int


def make_take(seed, number, take):
    """Makes a take.

    Args:
        seed: int, the data set's seed.
        number: int, the performer's number; the action goes by it.
        take: int, which of the performer's takes.

    Returns:
        Take: the same for the same arguments.

    Example:
        >>> make_take(0, 3, 0).points_m.shape[1:]
        (27, 3)
    """
    performer = performers.make_performer(seed, number)
    rng = _generator(seed, number, take, part=0)
    action = list(ACTIONS)[(number + take) % len(ACTIONS)]
    fps = int(rng.integers(25, 31))
    points_m = perform(performer, rng, fps, action)
    while np.abs(points_m[:, 0, :2]).max() > MOST_REACH_M:
        points_m = perform(performer, rng, fps, action)
    return Take(performer, action, points_m, place_views(rng, points_m), fps)


def make_tracks(seed, number, take):
    """Makes what each camera has of a take; see `make_take` for the arguments.

    Returns:
        list of dicts, one a camera: the records of `track_records`.
    """
    made = make_take(seed, number, take)
    rng = _generator(seed, number, take, part=1)
    subject = f"performer{number:03d}"
    records = []
    for view in made.views:
        keypoints, scores = detect(rng, view, made.points_m, made.performer.height_m, made.fps)
        records.append(
            track_records.record(
                name=f"{subject}/{made.action} {take}",
                camera=view.described(),
                keypoints=keypoints,
                poses_world_m=made.points_m[:, JOINTS],
                fps=made.fps,
                subject=subject,
                action=made.action,
                scores=scores,
            )
        )
    return records


# --------------------------------------------------------------------------------------------------------- the motion
def perform(performer, rng, fps, action):
    """Strings motions together and gives the body's points [T, P, 3], metres, their range centred on the origin."""
    num_frames = rng.integers(LEAST_FRAMES, MOST_FRAMES + 1)
    motion = None
    for name in script(rng, action):
        following = motions.ACTIONS[name](performer, rng, fps)
        if name in ("walk", "run"):
            steer(following, rng, fps)
        motion = following if motion is None else motions.join(motion, following, fps)
        if len(motion.bearing) >= num_frames:
            break
    points_m = body.place(motion.angles, performer.lengths, motion.bearing, motion.flight_m)[:num_frames]
    pelvis_m = points_m[:, 0, :2]
    return points_m - np.append((pelvis_m.min(axis=0) + pelvis_m.max(axis=0)) / 2, 0)


def script(rng, action):
    """Names one motion after the other, without end."""
    first = True
    while True:
        if not first or rng.random() < 0.5:
            yield str(rng.choice(GETTING_ABOUT, p=GETTING_ABOUT_SHARES))
        yield from ACTIONS[action]
        if rng.random() < 0.25:
            yield from ACTIONS[str(rng.choice(list(ACTIONS)))]
        first = False


def steer(motion, rng, fps):
    """Bends the path of a walk or run into an arc, while there are steps, so that people stay in the room."""
    rate = rng.choice((-1, 1)) * rng.uniform(0.2, 1.2)  # radians a second
    window = np.hanning(round(0.8 * fps) + 2)[1:-1]
    stepping = np.convolve(np.pad(2 * np.abs(motion.bearing - 0.5), len(window), mode="edge"), window, mode="same")
    stepping = np.clip(stepping[len(window) : -len(window)] / window.sum(), 0, 1)
    motion.angles["yaw"] = motion.angles["yaw"] + rate * np.cumsum(stepping) / fps


# -------------------------------------------------------------------------------------------------------- the cameras
def place_views(rng, points_m):
    """Stands cameras of one make all round a person [T, P, 3], as near as they can be and still see it all: a list."""
    views = [None]
    while None in views:
        frame_size = FRAME_SIZES[rng.choice(len(FRAME_SIZES), p=FRAME_SHARES)]
        focal_share, first = rng.uniform(*FOCAL_SHARES), rng.uniform(-np.pi, np.pi)
        azimuths = first + 2 * np.pi * np.arange(NUM_VIEWS) / NUM_VIEWS + rng.normal(0, 0.2, size=NUM_VIEWS)
        views = [
            _place_view(rng, points_m, f"c{place}", frame_size, focal_share, azimuth)
            for place, azimuth in enumerate(azimuths)
        ]
    return views


def _place_view(rng, points_m, name, frame_size, focal_share, azimuth):
    """One of them, or None where it would have to stand too far away."""
    size_px = np.array(frame_size[::-1])
    center_px = size_px * (0.5 + rng.normal(0, 0.01, size=2))
    focal_px = focal_share * size_px[0] * (1 + rng.normal(0, (0.005, 0.001)).cumsum())  # the pixels are nearly square
    stands_m, roll = rng.uniform(*STANDS_M), rng.normal(0, np.radians(1.5))
    target_m = np.append(rng.normal(0, 0.1, size=2), rng.uniform(0.85, 1.05))
    k1 = rng.uniform(-0.25, -0.05)
    radial = np.array([k1, rng.uniform(0.8, 1.3) * -k1, rng.normal(0, 0.004)])
    tangential = rng.normal(0, 0.0012, size=2)
    nearest, farthest = DISTANCES_M
    for distance in np.arange(nearest + abs(rng.normal(0, 0.3)), farthest, 0.25):
        position_m = np.append(distance * np.array([np.cos(azimuth), np.sin(azimuth)]), stands_m)
        rotation = camera.look_at(position_m, target_m[None], roll)
        # Without the distortion, which draws the edges inwards.
        lens = camera.Camera(frame_size, focal_px[0], center_px, position_m, rotation)
        points_px, depth = camera.project(lens, points_m)
        inside = ((points_px > MARGIN * size_px) & (points_px < (1 - MARGIN) * size_px)).all()
        if inside and depth.min() > NEAREST_M:
            return View(name, frame_size, focal_px, center_px, radial, tangential, position_m, rotation[0])
    return None


def project(view, points_m):
    """Projects points [T, P, 3] of the world, metres: [T, P, 2], pixels, and depths [T, P], metres."""
    points_px = track_records.project("puppets", points_m, view.described())
    return points_px, (points_m - view.position_m) @ view.rotation[2]


def quaternion(rotation):
    """Turns a rotation matrix [3, 3] into a unit quaternion (w, x, y, z) with w >= 0.

    It is the eigenvector of the greatest eigenvalue of a symmetric matrix, at any angle: I. Y. Bar-Itzhack, "New Method
    for Extracting the Quaternion from a Rotation Matrix", J. Guidance, Control, and Dynamics, 2000.
    """
    odd = np.array([rotation[(i + 2) % 3, (i + 1) % 3] - rotation[(i + 1) % 3, (i + 2) % 3] for i in range(3)])
    trace = np.trace(rotation)
    matrix = np.empty((4, 4))
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = trace, odd, odd
    matrix[1:, 1:] = rotation + rotation.T - trace * np.eye(3)
    values, vectors = np.linalg.eigh(matrix)
    found = vectors[:, np.argmax(values)]
    return found if found[0] >= 0 else -found


# ------------------------------------------------------------------------------------------------------- the detector
def detect(rng, view, points_m, height_m, fps):
    """Makes noisy keypoints and scores of a person seen by a camera that stands still; see `detector`.

    Args:
        rng: NumPy random generator.
        view: the `View`.
        points_m: float array [T, P, 3], metres, in the order of `body.POINTS`.
        height_m: the person's stature, metres.
        fps: frames a second.

    Returns:
        float32 array [T, K, 2]: pixels, x first, and float32 array [T, K]: scores from 0 to 1, for K H36M keypoints. A
        keypoint that was not found has score 0 and stays where it was last found.
    """
    points_px, depth = project(view, points_m)
    pixels_per_metre = view.focal_px[0] / depth[:, :1]  # [T, 1], at the pelvis
    height_px = height_m * pixels_per_metre
    hidden = detector.self_occlusion(points_px, depth, height_m, pixels_per_metre, JOINTS)  # [T, K]
    hidden[:, H36M.index("nose")] |= detector.faces_away(points_m, view)[:, COCO.index("nose")]
    quality = np.clip(rng.lognormal(0, 0.3), 0.5, 1.8)
    expected_px = 0.45 * SIGMAS * height_px
    spread_px = ERROR_SHARE * quality * np.where(hidden, 2.0, 1.0) * expected_px  # [T, K]
    error_px = spread_px[..., None] * detector.jitter(rng, len(points_px), (len(JOINTS), 2), fps)
    keypoints = points_px[:, JOINTS] + error_px  # [T, K, 2]
    scores = detector.confidence(rng, np.linalg.norm(error_px, axis=-1) / expected_px, hidden, quality)
    keypoints, scores = _swap_sides(rng, keypoints, scores)
    return _lose(rng, keypoints, scores, hidden, height_px, fps)


def _swap_sides(rng, keypoints, scores):
    """Takes left for right for a few frames of some tracks."""
    if rng.random() > SWAP_SHARE:
        return keypoints, scores
    which = SWAPPED[str(rng.choice(tuple(SWAPPED)))]
    source = np.array(H36M.flip_permutation)[which]
    start = rng.integers(0, len(keypoints))
    frames = slice(start, start + rng.integers(2, 7))
    keypoints[frames, which], scores[frames, which] = keypoints[frames, source], 0.9 * scores[frames, source]
    return keypoints, scores


def _lose(rng, keypoints, scores, hidden, height_px, fps):
    """Loses keypoints for a while: most are not found and stay where they were, others are found far off."""
    num_frames, num_keypoints = scores.shape
    luck = detector.jitter(rng, num_frames, (num_keypoints,), fps)
    lost = luck < np.where(hidden, detector.LOST_HIDDEN, detector.LOST_IN_SIGHT) - 0.3
    # One decision for the whole track and keypoint, so that a lost keypoint does not blink.
    elsewhere = lost & (rng.random(num_keypoints) < 0.25)
    offset_px = height_px[..., None] * rng.uniform(-0.2, 0.2, size=(num_keypoints, 2))
    keypoints = np.where(elsewhere[..., None], keypoints + offset_px, keypoints)
    scores = np.where(elsewhere, rng.uniform(0.03, 0.3, size=scores.shape), scores)
    absent = lost & ~elsewhere
    last = np.maximum.accumulate(np.where(absent, 0, np.arange(num_frames)[:, None]), axis=0)  # [T, K]
    keypoints = np.take_along_axis(keypoints, last[..., None], axis=0)
    return keypoints.astype(np.float32), np.where(absent, 0, scores).astype(np.float32)


def _generator(seed, number, take, part):
    """Gives motion and cameras (part 0) and detector (part 1) generators of their own; see `scene`."""
    return np.random.default_rng([seed, number, take, part, STREAM])
