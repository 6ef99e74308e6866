"""Still images: one to three clothed people before a background, some of them behind each other or behind things."""

import dataclasses
import functools

import cv2
import numpy as np

from kerapose.skeletons import COCO

from . import backgrounds, body, camera, canvas, looks, motions, render, scene

KEYPOINTS = [body.POINTS.index(name) for name in COCO.keypoints]
HEIGHTS = (224, 288)  # pixels, least and most
LEAST_SEEN = 0.3  # of each person's outline; a picture with less is made again without what hides them
LEAST_KEYPOINTS = 4  # in the picture, likewise
MOST_GRAIN = 0.03  # deviation of the noise, of colours of 0 to 1
GRAIN_DEVIATION = 104  # of what `draw_grain` gives, the sum of two bytes
STREAM = 7  # apart from the parts of `scene`, so that neither changes the other


def make_still(seed, number, index, performers):
    """Makes one picture.

    Args:
        seed: int, the data set's seed.
        number: int, the performer in the middle of it.
        index: int, which of the performer's pictures; the action goes by it.
        performers: the numbers of the performers who may stand by.

    Returns:
        dict: "image", uint8 array [H, W, 3], RGB; "quality", the JPEG quality to keep it in; "people", a list of dicts
        as `tell` gives them, the one in the middle first.

    Example:
        >>> make_still(0, 3, 0, range(8))["people"][0]["keypoints"].shape
        (17, 2)
    """
    for attempt in range(3):
        rng = np.random.default_rng([seed, number, index, STREAM])
        people, view = gather(rng, seed, number, index, performers, alone=attempt == 2)
        board = paint(rng, people, view, things=attempt == 0)
        truth = [tell(board, figure, view, owner) for owner, figure in enumerate(people, start=1)]
        if all(person is not None for person in truth):
            break
    truth = [person for person in truth if person is not None]
    return {"image": develop(rng, board.color), "quality": int(rng.integers(70, 96)), "people": truth}


def make_picture(arguments):
    """The picture as it is kept: `make_still` of its arguments, a tuple, with the image as the bytes of a JPEG file."""
    still = make_still(*arguments)
    return still | {"image": jpeg(still["image"], still["quality"])}


# ---------------------------------------------------------------------------------------------------- who and where
def gather(rng, seed, number, index, performers, alone=False):
    """Chooses the people and the camera.

    Returns:
        list of `render.Figure`, and a `camera.Camera` of one frame.
    """
    actions = list(motions.ACTIONS)
    action, take = actions[index % len(actions)], index // len(actions)
    one = known_scene(seed, number, action, take)
    frame = rng.integers(len(one.points_m))
    people = [_figure(one, frame, seed, number, take)]
    view = frame_camera(rng, one.view, frame, one.points_m[frame])
    others = [other for other in performers if other != number]
    for _ in range(rng.choice(3, p=(0.45, 0.35, 0.2)) if others else 0):
        other, action = looks.pick(rng, others), looks.pick(rng, actions)
        beside = known_scene(seed, other, action, 0)
        figure = _figure(beside, rng.integers(len(beside.points_m)), seed, other, 0)
        figure = stand_by(rng, figure, people, view)
        if figure is not None and not alone:
            people.append(figure)
    return people, view


@functools.lru_cache(maxsize=2048)
def known_scene(seed, number, action, take):
    """As `scene.make_scene`, which many pictures of one data set ask for the same."""
    return scene.make_scene(seed, number, action, take)


def _figure(one, frame, seed, number, take):
    clothes = np.random.default_rng([seed, number, take, STREAM])
    return render.Figure(one.points_m[frame], one.performer.height_m, draw_looks(seed, number, clothes))


def draw_looks(seed, number, clothes):
    """The `looks.Looks` of a performer, always the same person, in clothes drawn from a generator."""
    return looks.draw_looks(np.random.default_rng([seed, number, STREAM]), clothes)


def frame_camera(rng, view, frame, points_m):
    """Turns a camera of one scene into one of a picture in which the person fills much of the height."""
    height = int(rng.integers(HEIGHTS[0], HEIGHTS[1] + 1))
    width = int(height * rng.uniform(0.8, 1.45))
    seen = render.to_camera(view, frame, points_m)
    flat = seen[:, :2] / seen[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    share = rng.uniform(0.5, 0.92) if rng.random() < 0.85 else rng.uniform(0.92, 1.7)  # some are cut off
    focal_px = min(share * height / (high[1] - low[1]), 1.4 * share * width / (high[0] - low[0]))
    place = np.array([width, height]) * (rng.uniform(0.25, 0.75), 0.5)
    slack = np.maximum(height - focal_px * (high[1] - low[1]), 0.25 * height)
    place[1] += rng.uniform(-0.5, 0.5) * slack
    center_px = place - focal_px * (low + high) / 2
    return camera.Camera((height, width), focal_px, center_px, view.position_m, view.rotation[frame : frame + 1])


def stand_by(rng, figure, people, view, tries=8, least_m=0.5):
    """Turns a figure and puts it on the floor near the first of the people; None where there is no room for it."""
    first = people[0].points_m[0]
    toward = first[:2] - view.position_m[:2]
    distance = np.linalg.norm(toward)
    toward = toward / distance
    sideways = np.array([-toward[1], toward[0]])
    for _ in range(tries):
        along, across = rng.uniform(-0.35, 0.6) * distance, rng.uniform(-0.45, 0.45) * distance
        spot = first[:2] + along * toward + across * sideways
        turned = (figure.points_m - figure.points_m[0] * (1, 1, 0)) @ body.rotation("z", rng.uniform(0, 2 * np.pi)).T
        points_m = turned + np.append(spot, 0)
        points_px, depth = camera.project(view, points_m[None])
        free = all(np.linalg.norm(spot - other.points_m[0, :2]) > least_m for other in people)
        if free and depth.min() > camera.NEAREST_M and camera.in_frame(view, points_px[0, KEYPOINTS]).mean() > 0.5:
            return dataclasses.replace(figure, points_m=points_m)
    return None


# ---------------------------------------------------------------------------------------------------- the picture
def paint(rng, people, view, things=True, crowd=()):
    """Draws the background, the people and the things about them.

    Args:
        rng: NumPy random generator.
        people: list of `render.Figure`; the owners on the canvas are 1 and so on, in their order.
        view: the `camera.Camera`, of one frame.
        things: whether something may stand before them.
        crowd: more of them, who share the owner after that of the last of the people.

    Returns:
        The `canvas.Canvas`.
    """
    board = canvas.Canvas(
        backgrounds.draw(rng, view.frame_size, floor_places(view)), view.focal_px, view.center_px, draw_light(rng)
    )
    everybody = [*people, *crowd]
    seen = [render.to_camera(view, 0, figure.points_m) for figure in everybody]
    for points_m in seen:
        cast_shadow(board, points_m, view, rng.uniform(0.2, 0.6))
    for place in sorted(range(len(everybody)), key=lambda place: -seen[place][0, 2]):  # the farthest first
        render.draw_person(board, everybody[place], seen[place], owner=min(place, len(people)) + 1)
    if things:
        for _ in range(rng.choice(3, p=(0.5, 0.35, 0.15))):
            put_thing(rng, board, view, people[rng.integers(len(people))])
    return board


def draw_light(rng):
    direction = np.array([rng.normal(0, 0.8), -abs(rng.normal(0.7, 0.4)), -abs(rng.normal(0.9, 0.4))])
    return canvas.Light(direction / np.linalg.norm(direction), rng.uniform(0.35, 0.75))


def floor_places(view):
    """Where each pixel's ray meets the floor, metres from the camera's foot: float32 [H, W, 2], far off if nowhere."""
    height, width = view.frame_size
    x = ((np.arange(width) - view.center_px[0]) / view.focal_px).astype(np.float32)
    y = ((np.arange(height) - view.center_px[1]) / view.focal_px).astype(np.float32)[:, None]
    right, down, forward = view.rotation[0].astype(np.float32)  # the camera's axes in the world
    sinking = -(x * right[2] + y * down[2] + forward[2])
    reach = np.where(sinking > 1e-3, np.float32(view.position_m[2]) / np.maximum(sinking, 1e-3), backgrounds.NOWHERE_M)
    return np.stack([reach * (x * right[axis] + y * down[axis] + forward[axis]) for axis in (0, 1)], axis=-1)


def cast_shadow(board, points_m, view, strength):
    """Darkens the floor about the feet of a person [P, 3], camera axes, by a share of at most `strength`."""
    down = view.rotation[0] @ (0, 0, -1.0)
    shade = np.zeros(board.depth_m.shape, np.float32)
    for side in body.SIDES:
        heel, toe = (points_m[body.POINTS.index(f"{side}_{end}")] for end in ("heel", "toe"))
        height_m = view.position_m[2] - down @ (heel + toe) / 2  # above the floor
        middle = (heel + toe) / 2 + down * height_m
        if middle[2] < camera.NEAREST_M:
            continue
        flat = view.rotation[0] @ np.eye(3)[:, :2] * (0.2 + 0.3 * height_m)
        ring = middle + np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], 1) @ flat.T
        pixels, _ = board.project(ring)
        cv2.fillConvexPoly(
            shade, np.round(np.clip(pixels, -4000, 4000)).astype(np.int32), strength / (1 + 2 * height_m)
        )
    board.color *= (1 - cv2.GaussianBlur(shade, (0, 0), 3))[..., None]


def put_thing(rng, board, view, figure):
    """Puts a box, a pole, a table or a rail between the camera and somebody."""
    rotation = view.rotation[0]
    pelvis = figure.points_m[0]
    share = rng.uniform(0.55, 0.88)  # of the way to the person
    spot = view.position_m + share * (pelvis - view.position_m)
    toward = pelvis[:2] - view.position_m[:2]
    sideways = np.array([-toward[1], toward[0]]) / np.linalg.norm(toward)
    spot[:2] += rng.normal(0, 0.25) * sideways
    turn = rotation @ body.rotation("z", np.arctan2(toward[1], toward[0]) + rng.normal(0, 0.4))
    color = looks.random_color(rng)

    def block(x, y, z, half):
        center = rotation @ (np.array([x, y, z]) - view.position_m)
        render.draw_box(board, center, np.array(half), turn, color)

    kind = looks.pick(rng, ("box", "pole", "table", "rail"))
    if kind == "box":
        half = rng.uniform((0.1, 0.1, 0.1), (0.3, 0.35, 0.45))
        block(*spot[:2], half[2], half)
    elif kind == "pole":
        block(*spot[:2], 1.5, (rng.uniform(0.02, 0.07),) * 2 + (1.5,))
    elif kind == "table":
        half, top = rng.uniform(0.3, 0.8), rng.uniform(0.6, 0.85)
        block(*spot[:2], top, (0.3, half, 0.025))
        for sign in (-0.9, 0.9):
            block(*(spot[:2] + sign * half * sideways), top / 2, (0.03, 0.03, top / 2))
    else:
        for height in np.linspace(0.3, rng.uniform(0.7, 1.0), rng.integers(2, 5)):
            block(*spot[:2], height, (0.02, 1.5, 0.025))


@dataclasses.dataclass(frozen=True)
class Film:
    """What makes a photograph of colours.

    Attributes:
        light: float32 array [H, W], the exposure, with a vignette.
        tint: float32 array [3].
        gamma: exponent of the colours.
        blur_px: deviation of the blur, 0 for none.
        grey: whether it is black and white.
    """

    light: np.ndarray
    tint: np.ndarray
    gamma: float
    blur_px: float
    grey: bool

    def expose(self, color):
        """Changes colours [H, W, 3], 0 to 1."""
        color = cv2.pow(np.clip(color * self.light[..., None] * self.tint, 0, 1), self.gamma)
        if self.blur_px > 0:
            color = cv2.GaussianBlur(color, (0, 0), self.blur_px)
        return np.repeat(color.mean(axis=-1, keepdims=True), 3, axis=-1) if self.grey else color


def draw_film(rng, size):
    """Draws the `Film` of a picture of a size: exposure, tint, vignette and blur."""
    height, width = size
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope, edge = rng.normal(0, 0.1, size=2).tolist(), rng.uniform(0, 0.15)
    light = rng.uniform(0.65, 1.2) * (1 + slope[0] * x + slope[1] * y - edge * (x * x + y * y))
    tint = rng.normal(1, 0.04, size=3).astype(np.float32)
    gamma = rng.uniform(0.75, 1.25)
    blur_px = rng.uniform(0.4, 1.2) if rng.random() < 0.4 else 0.0
    return Film(light, tint, gamma, blur_px, grey=bool(rng.random() < 0.04))


def draw_grain(rng, size):
    """Draws the noise [H, W, 1] of a picture of a size, with a deviation of `GRAIN_DEVIATION`."""
    height, width = size
    # Bytes come much faster than normal numbers; the sum of two is bell-shaped enough.
    first, second = np.frombuffer(rng.bytes(2 * height * width), np.uint8).reshape(2, height, width, 1)
    return first.astype(np.float32) + second - 255


def develop(rng, color):
    """Turns colours of 0 to 1 into a photograph: exposure, tint, vignette, blur and noise; uint8 [H, W, 3]."""
    size = color.shape[:2]
    color = draw_film(rng, size).expose(color)
    grain = draw_grain(rng, size)
    return to_bytes(color + rng.uniform(0, MOST_GRAIN) / GRAIN_DEVIATION * grain)


def to_bytes(color):
    return cv2.convertScaleAbs(np.clip(color, 0, 1), alpha=255)


def jpeg(image, quality):
    """Encodes RGB uint8 [H, W, 3]."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


# ---------------------------------------------------------------------------------------------------- the truth
def tell(board, figure, view, owner):
    """Gives the truth about a person as `measure` does, but None when too little of the person is seen."""
    person = measure(board, figure, view, owner)
    return person if person is not None and is_seen(board, person, owner) else None


def is_seen(board, person, owner):
    """Tells whether enough is seen of a person that `measure` has measured."""
    outline = np.count_nonzero(board.outlines[owner])
    return bool(person["area"] >= LEAST_SEEN * outline and np.count_nonzero(person["visibility"]) >= LEAST_KEYPOINTS)


def measure(board, figure, view, owner):
    """Gives the truth about a person, however little of the person is seen.

    Args:
        board: the `canvas.Canvas` when all is drawn.
        figure: the `render.Figure`.
        view: the `camera.Camera`, of one frame.
        owner: the person's number on the canvas.

    Returns:
        dict: "keypoints" float32 [K, 2], pixels, x first; "visibility" int32 [K], see `render.seen`; "box" float32 [4],
        the first and last column and row that the person covers, as if nothing hid it: left, top, right, bottom; "area"
        in pixels of what is seen of the person; "head_size" in pixels, 0.6 of the diagonal of the head's box. None
        when the person would not be in the picture even alone.
    """
    box = outline_box(board, owner)
    if box is None:
        return None
    points_m = render.to_camera(view, 0, figure.points_m)
    keypoints_px, _ = board.project(points_m[KEYPOINTS])
    visibility = render.seen(board, keypoints_px, points_m[KEYPOINTS, 2], COCO.keypoints, figure.height_m, owner)
    head, axes = render.skull(points_m, figure.height_m)
    _, scale = board.project(head)
    half = np.sqrt((axes[:2] ** 2).sum(axis=1)) * scale
    return {
        "keypoints": np.where(visibility[:, None] > 0, keypoints_px, 0).astype(np.float32),
        "visibility": visibility,
        "box": box,
        "area": float(np.count_nonzero(board.owner == owner)),
        "head_size": float(0.6 * 2 * np.hypot(*half)),
    }


def outline_box(board, owner):
    """The first and last column and row that an owner covers, as if nothing were in front; None for none.

    Returns:
        float32 array [4], left, top, right, bottom, or None.
    """
    outline = board.outlines.get(owner)
    if outline is None or not outline.any():
        return None
    rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
