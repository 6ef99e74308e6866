"""The body: segment lengths, named points and forward kinematics, in metres.

The world has z up and the floor at z = 0. A person at yaw 0 looks along +x and has the left hand at +y. A pose is a
dict of joint angles in radians, one array [T] for each name of `ANGLES`; with 0 everywhere a person stands upright with
hanging arms.

Signs: flexion brings a limb forward, or folds an elbow or a knee. Abduction takes a limb away from the body. Rotation
turns a limb outward about its own axis. Pitch and flexion of the trunk lean forward; bend, roll and tilt lean to the
left; twist, turn and yaw turn to the left. Thighs are measured from the vertical, not from the tilted pelvis, so a
leaning trunk does not drag the legs along. A foot's pitch is measured from the floor: 0 is flat, positive is toes down.
"""

import numpy as np

SIDES = ("left", "right")

ANGLES = (
    "yaw",
    "pelvis_pitch",
    "pelvis_roll",
    "spine_flexion",
    "spine_bend",
    "spine_twist",
    "head_flexion",
    "head_tilt",
    "head_turn",
) + tuple(
    f"{side}_{angle}"
    for side in SIDES
    for angle in (
        "shoulder_flexion",
        "shoulder_abduction",
        "shoulder_rotation",
        "elbow_flexion",
        "hip_flexion",
        "hip_abduction",
        "hip_rotation",
        "knee_flexion",
        "foot_pitch",
    )
)

# Enough points for the COCO and the H36M sets of 17; heels and toes are where the body meets the floor.
POINTS = ("pelvis", "spine", "thorax", "head_top", "nose", "left_eye", "right_eye", "left_ear", "right_ear") + tuple(
    f"{side}_{joint}"
    for side in SIDES
    for joint in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "heel", "toe")
)

# Each bone keeps its length whatever the pose.
BONES = (("pelvis", "spine"), ("spine", "thorax"), ("thorax", "head_top"), ("thorax", "nose")) + tuple(
    (start if start in POINTS else f"{side}_{start}", f"{side}_{end}")
    for side in SIDES
    for start, end in (
        ("nose", "eye"),
        ("eye", "ear"),
        ("thorax", "shoulder"),
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("wrist", "hand"),
        ("pelvis", "hip"),
        ("hip", "knee"),
        ("knee", "ankle"),
        ("ankle", "heel"),
        ("ankle", "toe"),
    )
)

# Lengths as a share of stature: R. Drillis and R. Contini, "Body Segment Parameters", 1966, as drawn in D. A. Winter,
# "Biomechanics and Motor Control of Human Movement", figure 4.1. Joint centres lie inside the breadths given there
# (0.129 for half the shoulders, 0.191 for the hips). The face, which the figure leaves out, lies about its eye line.
SEGMENT_SHARES = {
    "trunk": 0.288,  # hip joint at 0.530 to shoulder at 0.818
    "shoulder_half_width": 0.118,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hand": 0.108,
    "hip_half_width": 0.055,
    "thigh": 0.245,
    "shank": 0.246,
    "ankle_height": 0.039,
    "foot": 0.152,
    "head": 0.182,  # shoulder line to the top of the head
}


def segment_lengths(height_m, scales=None):
    """Gives each segment's length in metres.

    Args:
        height_m: stature in metres.
        scales: optional dict of factors, by segment name, for a person whose proportions differ from the average.

    Returns:
        dict: segment name to metres.

    Example:
        >>> round(segment_lengths(1.80)["thigh"], 3)
        0.441
    """
    scales = scales or {}
    return {name: height_m * share * scales.get(name, 1.0) for name, share in SEGMENT_SHARES.items()}


def place(angles, lengths, bearing=None, flight_m=None):
    """Poses a body by forward kinematics and moves it over the floor as its feet do.

    The feet carry the body: where a foot that bears weight touches the floor, it stays in place, and the lowest point
    of both feet is on the floor, except in flight.

    Args:
        angles: dict of float arrays [T], radians, one for each name of `ANGLES`.
        lengths: dict of metres, from `segment_lengths`.
        bearing: optional float array [T], share of the weight on the left foot, 0 to 1; half when None.
        flight_m: optional float array [T], height of the lowest foot point above the floor.

    Returns:
        float array [T, P, 3]: metres, in the order of `POINTS`; the pelvis starts above the world's origin.
    """
    points = forward_kinematics(angles, lengths)
    soles = np.stack([points[:, [POINTS.index(f"{side}_{end}") for end in ("heel", "toe")]] for side in SIDES], axis=1)
    bearing = np.full(len(points), 0.5) if bearing is None else bearing
    root = np.zeros_like(points[:, 0])
    root[1:, :2] = np.cumsum(_root_steps(soles, np.stack([bearing, 1 - bearing], axis=1)), axis=0)
    root[:, 2] = -soles[..., 2].min(axis=(1, 2))
    if flight_m is not None:
        root[:, 2] += flight_m
    return points + root[:, None]


def forward_kinematics(angles, lengths):
    """Poses a body around a pelvis that stays at the origin.

    Args:
        angles: dict of float arrays [T], radians, one for each name of `ANGLES`.
        lengths: dict of metres, from `segment_lengths`.

    Returns:
        float array [T, P, 3]: metres, in the order of `POINTS`.
    """
    points = {"pelvis": np.zeros((len(angles["yaw"]), 3))}
    heading = rotation("z", angles["yaw"])
    pelvis = heading @ rotation("x", -angles["pelvis_roll"]) @ rotation("y", angles["pelvis_pitch"])
    half_spine = (
        rotation("z", angles["spine_twist"] / 2)
        @ rotation("x", -angles["spine_bend"] / 2)
        @ rotation("y", angles["spine_flexion"] / 2)
    )
    lower_back = pelvis @ half_spine
    chest = lower_back @ half_spine
    points["spine"] = points["pelvis"] + along(lower_back, 0, 0, lengths["trunk"] / 2)
    points["thorax"] = points["spine"] + along(chest, 0, 0, lengths["trunk"] / 2)
    _add_head(points, angles, lengths, chest)
    for side, outward in (("left", 1), ("right", -1)):
        _add_arm(points, angles, lengths, chest, side, outward)
        _add_leg(points, angles, lengths, heading, pelvis, side, outward)
    return np.stack([points[name] for name in POINTS], axis=1)  # [T, P, 3]


def _add_head(points, angles, lengths, chest):
    head = (
        chest
        @ rotation("z", angles["head_turn"])
        @ rotation("x", -angles["head_tilt"])
        @ rotation("y", angles["head_flexion"])
    )
    size = lengths["head"]
    points["head_top"] = points["thorax"] + along(head, 0, 0, size)
    points["nose"] = points["thorax"] + along(head, 0.36 * size, 0, 0.55 * size)
    for side, outward in (("left", 1), ("right", -1)):
        points[f"{side}_eye"] = points["thorax"] + along(head, 0.28 * size, outward * 0.10 * size, 0.65 * size)
        points[f"{side}_ear"] = points["thorax"] + along(head, 0.03 * size, outward * 0.25 * size, 0.60 * size)


def _add_arm(points, angles, lengths, chest, side, outward):
    upper_arm = (
        chest
        @ rotation("x", outward * angles[f"{side}_shoulder_abduction"])
        @ rotation("y", -angles[f"{side}_shoulder_flexion"])
        @ rotation("z", outward * angles[f"{side}_shoulder_rotation"])
    )
    forearm = upper_arm @ rotation("y", -angles[f"{side}_elbow_flexion"])
    shoulder = points["thorax"] + along(chest, 0, outward * lengths["shoulder_half_width"], 0)
    elbow = shoulder + along(upper_arm, 0, 0, -lengths["upper_arm"])
    wrist = elbow + along(forearm, 0, 0, -lengths["forearm"])
    points[f"{side}_shoulder"], points[f"{side}_elbow"], points[f"{side}_wrist"] = shoulder, elbow, wrist
    points[f"{side}_hand"] = wrist + along(forearm, 0, 0, -lengths["hand"])


def _add_leg(points, angles, lengths, heading, pelvis, side, outward):
    thigh = (
        heading
        @ rotation("x", outward * angles[f"{side}_hip_abduction"])
        @ rotation("y", -angles[f"{side}_hip_flexion"])
        @ rotation("z", outward * angles[f"{side}_hip_rotation"])
    )
    shank = thigh @ rotation("y", angles[f"{side}_knee_flexion"])
    toe_out = rotation("z", outward * angles[f"{side}_hip_rotation"])
    foot = heading @ toe_out @ rotation("y", angles[f"{side}_foot_pitch"])
    hip = points["pelvis"] + along(pelvis, 0, outward * lengths["hip_half_width"], 0)
    knee = hip + along(thigh, 0, 0, -lengths["thigh"])
    ankle = knee + along(shank, 0, 0, -lengths["shank"])
    points[f"{side}_hip"], points[f"{side}_knee"], points[f"{side}_ankle"] = hip, knee, ankle
    points[f"{side}_heel"] = ankle + along(foot, -0.25 * lengths["foot"], 0, -lengths["ankle_height"])
    points[f"{side}_toe"] = ankle + along(foot, 0.75 * lengths["foot"], 0, -lengths["ankle_height"])


def leg_reach(angles, lengths, side):
    """Gives how far the ankle hangs below the hip, metres: [T]."""
    thigh = angles[f"{side}_hip_flexion"]
    shank = thigh - angles[f"{side}_knee_flexion"]
    reach = lengths["thigh"] * np.cos(thigh) + lengths["shank"] * np.cos(shank)
    return reach * np.cos(angles[f"{side}_hip_abduction"])


def _root_steps(soles, bearing, softness_m=0.01):
    """Moves the pelvis [T-1, 2] so that soles [T, 2 feet, 2 ends, 3] stay in place, each by its weight [T, 2]."""
    lowest = soles[..., 2].min(axis=2, keepdims=True)
    contact = np.exp(-(soles[..., 2] - lowest) / softness_m)  # [T, 2, 2]
    contact *= bearing[..., None] / contact.sum(axis=2, keepdims=True)
    contact = (contact[1:] + contact[:-1]) / 2
    return -np.einsum("tfe,tfed->td", contact, np.diff(soles[..., :2], axis=0))


def rotation(axis, angle):
    """Makes rotation matrices about one axis.

    Args:
        axis: "x", "y" or "z".
        angle: float array [T], radians, right-handed.

    Returns:
        float array [T, 3, 3].
    """
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., [0, 1, 2], [0, 1, 2]] = 1
    matrix[..., first, first] = matrix[..., second, second] = cos
    matrix[..., first, second], matrix[..., second, first] = -sin, sin
    return matrix


def along(frame, x, y, z):
    """Gives the offset (x, y, z), metres in a segment's own axes, in world axes: [T, 3]."""
    return frame[:, :, 0] * x + frame[:, :, 1] * y + frame[:, :, 2] * z
