"""Draws clothed people, by their 3D points, and things that stand about, on a `canvas.Canvas`."""

import dataclasses

import numpy as np

from . import body, canvas, looks

# Radii as a share of stature, for a person of average girth.
RADIUS = {
    "shoulder": 0.030,
    "elbow": 0.024,
    "wrist": 0.0165,
    "palm": 0.019,
    "fingers": 0.011,
    "chest": 0.055,
    "waist": 0.058,
    "hip": 0.060,
    "thigh": 0.050,
    "knee": 0.033,
    "calf": 0.034,
    "ankle": 0.021,
    "heel": 0.021,
    "toe": 0.016,
    "neck": 0.031,
}
# The skull as an ellipsoid, in shares of the head's length (`body.SEGMENT_SHARES`), axes forward, left and up.
SKULL_CENTER, SKULL_RADII = (0.03, 0.0, 0.64), (0.30, 0.245, 0.365)
# A keypoint is in sight when what is seen there is no nearer than this, a share of stature: how deep in the body it is.
DEPTH_SHARES = {
    "nose": 0.03, "eye": 0.03, "ear": 0.035,
    "shoulder": 0.115, "elbow": 0.06, "wrist": 0.04,
    "hip": 0.14, "knee": 0.085, "ankle": 0.045,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Figure:
    """A person at one moment.

    Attributes:
        points_m: float array [P, 3], the world, metres, in the order of `body.POINTS`.
        height_m: stature, metres.
        looks: the `looks.Looks`.
    """

    points_m: np.ndarray
    height_m: float
    looks: looks.Looks


def to_camera(view, frame, points_m):
    """Takes points [..., 3] of the world into the axes of a `camera.Camera` at one of its frames."""
    return (points_m - view.position_m) @ view.rotation[frame].T


def draw_person(board, figure, points_m, owner):
    """Draws a person.

    Args:
        board: the `canvas.Canvas`.
        figure: the `Figure`.
        points_m: float array [P, 3], its points in camera axes.
        owner: positive int, the person's number on the canvas.
    """
    person = _Person(board, figure, dict(zip(body.POINTS, points_m, strict=True)), owner)
    # Far parts first: an edge blends with what is already there.
    for _, draw in sorted(person.parts(), key=lambda part: -part[0]):
        draw()


def skull(points_m, height_m):
    """Gives the skull's centre [3] and half axes [3, 3] (columns forward, left, up) from a person's points [P, 3]."""
    place = dict(zip(body.POINTS, points_m, strict=True))
    up = place["head_top"] - place["thorax"]
    length = np.linalg.norm(up)
    up = up / length
    left = place["left_ear"] - place["right_ear"]
    left = left / np.linalg.norm(left)
    forward = np.cross(left, up)
    frame = np.stack([forward, left, up], axis=1) * length
    return place["thorax"] + frame @ SKULL_CENTER, frame * SKULL_RADII


class _Person:
    """One person while being drawn."""

    def __init__(self, board, figure, place, owner):
        self.board, self.looks, self.place, self.owner = board, figure.looks, place, owner
        self.height = figure.height_m
        points = np.stack([place[name] for name in body.POINTS])
        self.head, self.head_axes = skull(points, self.height)
        across = place["left_shoulder"] - place["right_shoulder"] + place["left_hip"] - place["right_hip"]
        trunk = place["thorax"] - place["pelvis"]
        front = np.cross(across, trunk)
        self.front = front / max(np.linalg.norm(front), 1e-9)
        self.faces_us = self.front @ place["spine"] < 0

    def radius(self, name):
        return RADIUS[name] * self.height * self.looks.girth

    def parts(self):
        """Yields (depth, function that draws) for each part."""
        yield from self.trunk()
        yield from self.skull()
        for side in body.SIDES:
            yield from self.arm(side)
            yield from self.leg(side)

    def part(self, centers, radii, paint, **options):
        """A part that is the hull of balls: its depth and a function that draws it."""
        centers = np.asarray(centers)
        return centers[:, 2].mean(), lambda: self.board.hull(centers, radii, paint, self.owner, **options)

    def limb(self, centers, radii, paint, **options):
        """Parts that are cones from ball to ball."""
        for ends in zip(centers[:-1], centers[1:], strict=True):
            ends, thick = np.stack(ends), radii[:2]
            radii = radii[1:]
            yield (
                ends[:, 2].mean(),
                lambda ends=ends, thick=thick: self.board.cone(ends, thick, paint, self.owner, **options),
            )

    def cloth(self, fabric, start, end, across_m=0.1):
        """Lays a fabric along a bone."""
        (first, last), scale = self.board.project(np.stack([start, end]))
        along = (last - first) / max(np.linalg.norm(end - start), 1e-6)
        length = np.linalg.norm(along)
        if length < 0.15 * scale[0]:  # seen from its end
            along = np.array([0.0, 0.15 * scale[0]])
            length = along[1]
        across = np.array([-along[1], along[0]]) / length * scale[0]
        return canvas.Paint(fabric, first, across, along)

    # ------------------------------------------------------------------------------------------------ trunk
    def trunk(self):
        place, worn = self.place, self.looks
        waist = place["pelvis"] + 0.25 * (place["spine"] - place["pelvis"])
        half = 0.5 * (place["left_shoulder"] - place["right_shoulder"])
        up = (place["thorax"] - place["spine"]) / np.linalg.norm(place["thorax"] - place["spine"])
        shoulders = [place["left_shoulder"] - 0.22 * half, place["right_shoulder"] + 0.22 * half]
        collar = place["thorax"] + 0.024 * self.height * up
        middle = [place["spine"] + 0.4 * half, place["spine"] - 0.4 * half]
        hips = [place["left_hip"] + 0.1 * half, place["right_hip"] - 0.1 * half]
        belt = [waist + 0.46 * half, waist - 0.46 * half]
        hip, thick, shoulder = self.radius("hip"), self.radius("waist"), self.radius("shoulder")
        if worn.skirt:
            yield self.skirt(belt)
        else:
            seat = [self.along_leg(side, 0.18) for side in body.SIDES]
            yield self.part(
                [*hips, *belt, *seat],
                np.array([hip, hip, 0.92 * thick, 0.92 * thick, 0.98 * hip, 0.98 * hip]),
                self.cloth(worn.trousers, waist, place["pelvis"]),
                lift_m=0.01 if worn.tucked else -0.1,
            )
        yield self.part(
            [*shoulders, collar, *middle, *(belt if worn.tucked else hips)],
            np.array([shoulder, shoulder, 0.8 * shoulder] + [thick] * 4) * (1.0 if worn.tucked else 1.08),
            self.shirt(),
            round_m=self.radius("chest"),
            lift_m=0.0 if worn.tucked else 0.015,
        )
        nape = place["thorax"] + 0.25 * (self.head - place["thorax"])
        yield from self.limb([nape, self.head], [self.radius("neck")] * 2, worn.skin)

    def skirt(self, belt):
        place, worn = self.place, self.looks
        hems = [self.along_leg(side, worn.leg) for side in body.SIDES]
        hip, thick, wide = self.radius("hip"), 0.95 * self.radius("waist"), 1.1 * self.radius("thigh")
        fabric = self.cloth(worn.trousers, place["pelvis"], (hems[0] + hems[1]) / 2)
        centers = [*belt, place["left_hip"], place["right_hip"], *hems]
        return self.part(centers, np.array([thick, thick, hip, hip, wide, wide]), fabric, lift_m=0.02)

    def along_leg(self, side, reach):
        """The place on a leg that cloth reaches: 0 is the hip, 1 the knee, 2 the ankle."""
        hip, knee, ankle = (self.place[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        return hip + reach * (knee - hip) if reach < 1 else knee + (reach - 1) * (ankle - knee)

    def shirt(self):
        """The shirt's fabric, with what is only on its front: places are metres to the person's left and downwards."""
        place, worn = self.place, self.looks
        (left, right, top, bottom), scale = self.board.project(
            np.stack([place["left_shoulder"], place["right_shoulder"], place["thorax"], place["pelvis"]])
        )
        trunk_m = np.linalg.norm(place["thorax"] - place["pelvis"])
        width_m = np.linalg.norm(place["left_shoulder"] - place["right_shoulder"])
        along, across = (bottom - top) / trunk_m, (left - right) / width_m
        if np.linalg.norm(along) < 0.2 * scale[2]:
            along = np.array([0.0, 0.2 * scale[2]])
        turned = abs(along[0] * across[1] - along[1] * across[0]) / (np.linalg.norm(along) * scale[2])
        if turned < 0.12:  # seen from the side: no breadth to lay a pattern along
            across = np.array([-along[1], along[0]]) / np.linalg.norm(along) * scale[2]
        shows = self.faces_us and turned > 0.12

        def pattern(u, v):
            color = np.broadcast_to(worn.shirt(u, v), (*u.shape, 3))
            if not shows:
                return color
            neck = np.clip((1 - np.sqrt((u / 0.06) ** 2 + ((v + 0.02) / 0.085) ** 2)) * 6 + 0.5, 0, 1)[..., None]
            if worn.front != "none":
                color = color + self.on_front(u, v, trunk_m)[..., None] * (worn.front_color - color)
            return color + neck * (worn.skin - color)

        return canvas.Paint(pattern, top, across, along)

    def on_front(self, u, v, trunk_m):
        """How much of the front's own colour is at places of the shirt, 0 to 1."""
        worn = self.looks
        if worn.front == "print":
            half = 0.05 + 0.06 * worn.front_size
            return np.clip((half - np.maximum(np.abs(u), np.abs(v - 0.42 * trunk_m))) * 60 + 0.5, 0, 1)
        if worn.front == "buttons":
            near = v - 0.09 * np.floor(v / 0.09) - 0.045
            return np.clip((0.012 - np.hypot(u, near)) * 120 + 0.5, 0, 1)
        if worn.front == "open":
            half = 0.03 + 0.05 * worn.front_size
            return np.clip((half - np.abs(u)) * 60 + 0.5, 0, 1)
        raise ValueError(f"front must be one of {', '.join(looks.FRONTS)}, got {worn.front!r}.")

    # ------------------------------------------------------------------------------------------------ limbs
    def arm(self, side):
        place, worn = self.place, self.looks
        shoulder, elbow, wrist, hand = (place[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand"))
        thick = [self.radius("shoulder"), self.radius("elbow"), self.radius("wrist")]
        shoulder = shoulder + 0.12 * (place["thorax"] - shoulder)
        bulge = elbow + 0.25 * (wrist - elbow)
        radii = [*thick[:2], 1.05 * thick[1], thick[2]]
        bare = 2 if worn.sleeve > 1.5 else 0  # a long sleeve covers all but the end
        yield from self.limb([shoulder, elbow, bulge, wrist][bare:], radii[bare:], worn.skin)
        yield from self.sleeve([shoulder, elbow, wrist], thick, worn.sleeve, worn.shirt, 1.2)
        palm, tip = wrist + 0.4 * (hand - wrist), wrist + 0.93 * (hand - wrist)
        radii = [0.9 * thick[2], self.radius("palm"), self.radius("fingers")]
        yield from self.limb([wrist, palm, tip], radii, worn.skin)
        thumb = wrist + 0.55 * (hand - wrist) + 0.022 * self.height * self.front
        yield from self.limb([wrist + 0.2 * (hand - wrist), thumb], [self.radius("fingers")] * 2, worn.skin)

    def leg(self, side):
        place, worn = self.place, self.looks
        hip, knee, ankle = (place[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        thick = [self.radius(name) for name in ("thigh", "knee", "ankle")]
        calf = knee + 0.3 * (ankle - knee)
        if worn.leg < (0.9 if worn.skirt else 1.5):
            top = self.along_leg(side, max(worn.leg, 0.2) if worn.skirt else 0.2)
            yield from self.limb([top, knee], thick[:2], worn.skin)
        start = self.along_leg(side, max(worn.leg, 1.0) if worn.skirt else 1.0)
        radii = [thick[1], self.radius("calf"), thick[2]]
        bare = 1 if worn.leg > 1.5 else 0
        yield from self.limb([start, calf, ankle][bare:], radii[bare:], worn.skin)
        if not worn.skirt:
            yield from self.sleeve([self.along_leg(side, 0.18), knee, ankle], thick, worn.leg, worn.trousers, 1.12)
        yield from self.shoe(side)

    def sleeve(self, joints, thick, reach, fabric, loose):
        """Cloth round a limb of two bones, as far as it reaches; it narrows less than the limb in it."""
        widths = loose * np.array([thick[0], 0.4 * thick[0] + 0.6 * thick[1], 0.35 * thick[1] + 0.65 * thick[2]])
        for bone in range(2):
            share = np.clip(reach - bone, 0, 1)
            if share == 0:
                return
            start, end = joints[bone], joints[bone] + share * (joints[bone + 1] - joints[bone])
            radii = [widths[bone], widths[bone] + share * (widths[bone + 1] - widths[bone])]
            yield from self.limb([start, end], radii, self.cloth(fabric, start, end), lift_m=0.015)

    def shoe(self, side):
        place, worn = self.place, self.looks
        heel, toe, ankle = (place[f"{side}_{name}"] for name in ("heel", "toe", "ankle"))
        sole = toe - heel
        up = ankle - (heel + 0.25 * sole)
        up = up / max(np.linalg.norm(up), 1e-6)
        radii = np.array([self.radius("heel"), self.radius("heel"), self.radius("toe")])
        spots = np.stack([heel + 0.12 * sole, heel + 0.7 * sole, toe - 0.08 * sole])
        yield from self.limb(spots + radii[:, None] * up, radii, worn.shoes)
        yield from self.limb([ankle, heel + 0.25 * sole + radii[0] * up], [self.radius("ankle") * 1.1] * 2, worn.shoes)
        yield from self.limb(spots + 0.4 * radii[:, None] * up, 0.5 * radii, worn.sole)

    # ------------------------------------------------------------------------------------------------ head
    def skull(self):
        place, worn = self.place, self.looks
        forward, left, up = (self.head_axes / np.array(SKULL_RADII)).T  # one length of the head each
        depth = self.head[2]
        yield depth, lambda: self.board.ellipsoid(self.head, self.head_axes, self.face, self.owner)
        for side in body.SIDES:
            ear = np.stack([0.06 * forward, 0.03 * left, 0.095 * up], axis=1)
            middle = place[f"{side}_ear"] - (place[f"{side}_ear"] - self.head) * 0.02
            yield middle[2], lambda ear=ear, middle=middle: self.board.ellipsoid(middle, ear, worn.skin, self.owner)
        nose = place["nose"]
        bridge, tip = nose - 0.05 * forward + 0.09 * up, nose - 0.045 * forward
        yield from self.limb([bridge, tip], [0.024 * self.size, 0.044 * self.size], worn.skin * np.float32(0.97))
        yield from self.hair(forward, up)

    @property
    def size(self):
        return np.linalg.norm(self.place["head_top"] - self.place["thorax"])

    def hair(self, forward, up):
        worn, size, depth = self.looks, self.size, self.head[2] - 0.001
        if worn.cap:
            yield depth, lambda: self.board.ellipsoid(self.head, self.head_axes * 1.12, self.cap, self.owner)
            brim = self.head + 0.13 * up
            spots = [brim + 0.2 * forward, brim + 0.44 * forward - 0.03 * up]
            thick = np.array([0.17, 0.13]) * size
            yield self.part(spots, thick, worn.cap_color * np.float32(0.8), round_m=0.03 * size)
        if worn.haircut != "none":
            grown = 1.35 if worn.haircut == "round" else 1.09
            yield depth, lambda: self.board.ellipsoid(self.head, self.head_axes * grown, self.locks, self.owner)
        if worn.haircut == "long":
            nape = self.place["thorax"] - 0.2 * forward + 0.1 * up
            back = self.head - 0.14 * forward + 0.05 * up
            yield from self.limb([back, nape], [0.27 * size, 0.24 * size], worn.hair)
        if worn.haircut == "tail":
            tie = self.head - 0.33 * forward + 0.1 * up
            spots = [tie, tie - 0.12 * forward - 0.15 * up, tie - 0.1 * forward - 0.45 * up]
            yield from self.limb(spots, np.array([0.08, 0.1, 0.04]) * size, worn.hair)
        if worn.haircut == "bun":
            bun = self.head - 0.2 * forward + 0.36 * up
            yield from self.limb([bun, bun], [0.13 * size] * 2, worn.hair)

    def locks(self, unit):
        """Where hair grows on the head: higher over the face than behind the ears."""
        f, _, u = np.moveaxis(unit, -1, 0)
        line = np.interp(f, [-1, -0.2, 0.1, 0.4, 1.0], [-0.55, -0.4, 0.15, 0.55, 0.7])
        strands = 1 + 0.06 * np.sin(40 * unit[..., 1] + 9 * f)
        return self.looks.hair * strands[..., None], np.clip((u - line) * 12 + 0.5, 0, 1)

    def cap(self, unit):
        f, _, u = np.moveaxis(unit, -1, 0)
        return np.broadcast_to(self.looks.cap_color, unit.shape), np.clip((u - 0.3 - 0.1 * f) * 12 + 0.5, 0, 1)

    def face(self, unit):
        """The face's colours; all of it is on the front of the head."""
        f, across, u = np.moveaxis(unit, -1, 0)
        worn = self.looks
        color = np.broadcast_to(worn.skin, unit.shape).copy()

        def dab(color, share, paint):
            return color + np.clip(share, 0, 1)[..., None] * (np.asarray(paint) - color)

        front = f > 0.1
        side = np.abs(across)
        if worn.beard:
            grown = (u + 0.28 + 0.25 * np.maximum(0.4 - f, 0)) * -10 + 0.5
            color = dab(color, grown * (f > -0.25), worn.hair)
        lips = 5 * (1 - np.hypot(across / 0.26, (u + 0.5) / 0.075))
        color = dab(color, lips * front, worn.skin * (0.75, 0.45, 0.45))
        color = dab(color, 4 * (1 - np.hypot((side - 0.42) / 0.19, (u - 0.03) / 0.11)) * front, (0.97, 0.97, 0.97))
        color = dab(color, 4 * (1 - np.hypot((side - 0.42) / 0.09, (u - 0.03) / 0.10)) * front, (0.12, 0.09, 0.08))
        brow = 5 * (1 - np.hypot((side - 0.42) / 0.22, (u - 0.24) / 0.05))
        color = dab(color, brow * front, worn.hair * 0.8)
        if worn.glasses:
            rim = np.hypot((side - 0.42) / 0.3, (u - 0.03) / 0.2)
            color = dab(color, (0.22 - np.abs(rim - 1)) * 8 * front, (0.08, 0.08, 0.1))
            color = dab(color, (0.05 - np.abs(u - 0.06)) * 30 * (side > 0.7) * front, (0.08, 0.08, 0.1))
        return color, np.ones(f.shape, np.float32)


# ---------------------------------------------------------------------------------------------------- what is seen
def seen(board, keypoints_px, depth_m, names, height_m, owner):
    """Tells how well keypoints can be seen.

    Args:
        board: the canvas when all is drawn.
        keypoints_px: float array [K, 2].
        depth_m: float array [K].
        names: K names, as in `kerapose.skeletons`.
        height_m: the person's stature.
        owner: the person's number.

    Returns:
        int32 array [K]: 0 outside the picture, 1 hidden by a thing, by somebody else or by the own body, 2 in sight.
    """
    height, width = board.depth_m.shape
    column, row = np.round(keypoints_px).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    slack = height_m * np.array([DEPTH_SHARES[name.split("_")[-1]] for name in names])
    in_sight = (board.owner[row, column] == owner) & (board.depth_m[row, column] > depth_m - slack)
    return np.where(inside, 1 + in_sight, 0).astype(np.int32)


def uncovered(board, points_m, owner):
    """Tells which points of a person are in the picture with nothing but the person's own body in front.

    Args:
        board: the canvas when all is drawn.
        points_m: float array [K, 3], camera axes.
        owner: the person's number.

    Returns:
        bool array [K].
    """
    height, width = board.depth_m.shape
    column, row = np.round(board.project(points_m)[0]).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    foreign = (board.owner[row, column] != owner) & (board.owner[row, column] != 0)
    return inside & ~(foreign & (board.depth_m[row, column] < points_m[:, 2]))


# ---------------------------------------------------------------------------------------------------- things
def draw_box(board, center_m, half_m, turn, color, owner=-1):
    """Draws a cuboid whose faces are parallel to the columns of `turn` [3, 3], camera axes."""
    corners = center_m + (np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * half_m) @ turn.T
    # What shines through between two faces is the box too.
    board.hull(corners, 1e-3, 0.9 * color, owner, lift_m=-float(np.linalg.norm(half_m)))
    for axis in range(3):
        for sign in (-1, 1):
            outward = sign * turn[:, axis]
            middle = center_m + half_m[axis] * outward
            if outward @ middle >= 0:  # the far side
                continue
            first, second = (half_m[other] * turn[:, other] for other in range(3) if other != axis)
            ring = [first + second, first - second, -first - second, second - first]
            board.polygon(middle + np.stack(ring), color, owner)
