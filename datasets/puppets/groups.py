"""Groups: still images and short videos of several people, beside each other, behind each other and far off.

Both are drawn as the pictures of `stills` and the films of `videos` are. The camera stands at the world's origin, some
way above the floor, and looks along x; what is to its left has a positive y.
"""

import dataclasses

import numpy as np

from . import body, camera, looks, motions, performers, render, stills, videos

STREAM = 13  # apart from the parts of `scene` and the streams of the other modules, so that none changes another
STATURE_M = 1.7  # that distances are worked out for
NEAREST_M = 1.3  # along the optical axis
ROLL = np.radians(2.0)  # deviation

# ---- images
HEIGHTS = (256, 320)  # pixels, least and most
WIDTH_SHARES = (1.0, 1.6)  # of the height
FOCAL_SHARES = (1.1, 2.0)  # of the height
HEIGHT_SHARES, CUT_OFF_SHARES = (0.45, 0.9), (0.9, 1.5)  # of the height, stature of the one whom the camera looks at
CUT_OFF_SHARE = 0.12  # of the images
LEAST_HEIGHT_SHARE, MOST_HEIGHT_SHARE = 0.26, 1.6  # of the others
COUNT_SHARES = (0.10, 0.22, 0.24, 0.20, 0.14, 0.10)  # of the images, with 1 to 6 people
LEAST_AREA_PX = 16  # that is seen of whoever is in the record, with labelled keypoints or without
LEAST_APART_M = 0.45  # from pelvis to pelvis
FACING_SHARE = 0.45  # of the people look towards the camera, the others anywhere
CROWD_SHARE = 0.18  # of the images; in some of them it is out of sight
CROWD_COUNTS = (6, 13)  # people in it, the last excluded
CROWD_HEIGHT_SHARES = (0.07, 0.14)  # of the height, stature

# ---- videos
VIDEO_FPS = 15
STEPS = 2  # of a motion in each frame of a video, so that feet that bear weight stay where they are
VIDEO_FRAMES = (36, 60)  # least and most
VIDEO_HEIGHT, VIDEO_WIDTHS = 256, (320, 400)  # pixels
BLOCK_PX = 16  # sides are multiples of it, as the encoder cuts pictures up
VIDEO_HEIGHT_SHARES = (0.5, 0.8)  # of the height, stature where somebody passes nearest
VIDEO_DEPTHS = (1.0, 2.2)  # where people pass, in units of the nearest
VIDEO_COUNT_SHARES = (0.25, 0.30, 0.25, 0.20)  # of the videos, with 2 to 5 people
PAN_SHARE = 0.5  # of the videos; the others' camera stands still
PAN = (np.radians(3), np.radians(9))  # to each side of the middle
ROUTES, ROUTE_SHARES = ("across", "back", "along"), (0.4, 0.35, 0.25)  # of the third person and those after
RUN_SHARE = 0.12  # of the people
KEYPOINTS = stills.KEYPOINTS


# ---------------------------------------------------------------------------------------------------- the images
def make_group(seed, number, index, performers):
    """Makes one picture of one to six people, and perhaps of a crowd far behind them.

    Args:
        seed: int, the data set's seed.
        number: int, the performer whom the camera looks at.
        index: int, which of the performer's pictures; the performer's action goes by it.
        performers: the numbers of the performers who may be there too.

    Returns:
        dict: as of `stills.make_still`. "people" has everybody of whom more than a few pixels are seen, the performer
        first, and "is_crowd" of each; those of whom too little is seen (`stills.is_seen`) have no labelled keypoint. A
        crowd comes last, as one of them with a box about all of it.

    Example:
        >>> make_group(0, 3, 0, range(8))["people"][0]["keypoints"].shape
        (17, 2)
    """
    for attempt in range(3):
        rng = np.random.default_rng([seed, number, index, STREAM])
        people, crowd, view = gather(rng, seed, number, index, performers, alone=attempt == 2)
        board = stills.paint(rng, people, view, things=attempt == 0, crowd=crowd)
        truth = tell(board, people, view)
        if truth and truth[0]["visibility"].any():
            break
    return {"image": stills.develop(rng, board.color), "quality": int(rng.integers(70, 96)), "people": truth}


def make_picture(arguments):
    """The picture as it is kept: `make_group` of its arguments, a tuple, with the image as the bytes of a JPEG file."""
    group = make_group(*arguments)
    return group | {"image": stills.jpeg(group["image"], group["quality"])}


def gather(rng, seed, number, index, performers, alone=False):
    """Chooses the people, the crowd and the camera.

    Returns:
        list of `render.Figure`, list of those of the crowd, and a `camera.Camera` of one frame.
    """
    actions = list(motions.ACTIONS)
    view, distance = draw_camera(rng)
    first = draw_figure(rng, seed, number, actions[index % len(actions)])
    people = [_moved(first, [distance, _across(view, distance, rng.uniform(0.2, 0.8))])]
    count = rng.choice(len(COUNT_SHARES), p=COUNT_SHARES)
    others = rng.permutation([other for other in performers if other != number])
    for other in others[: 0 if alone else count].tolist():
        figure = join(rng, draw_figure(rng, seed, other, looks.pick(rng, actions)), people, view)
        if figure is not None:
            people.append(figure)
    crowd = draw_crowd(rng, seed, performers, view) if rng.random() < CROWD_SHARE else []
    return people, crowd, view


def draw_camera(rng):
    """Draws a camera that looks at somebody, and how far away: a `camera.Camera` of one frame, and metres."""
    height = int(rng.integers(HEIGHTS[0], HEIGHTS[1] + 1))
    width = round(height * rng.uniform(*WIDTH_SHARES))
    focal_px = height * rng.uniform(*FOCAL_SHARES)
    share = rng.uniform(*(CUT_OFF_SHARES if rng.random() < CUT_OFF_SHARE else HEIGHT_SHARES))
    distance = max(focal_px * STATURE_M / (share * height), NEAREST_M)
    slack_m = max(1 - share, 0.2) * height * distance / focal_px
    target_m = np.array([distance, 0, STATURE_M / 2 + rng.uniform(-0.4, 0.4) * slack_m])
    position_m = np.array([0, 0, rng.uniform(0.6, 2.3)])
    rotation = camera.look_at(position_m, target_m[None], roll=rng.normal(0, ROLL))
    return camera.Camera((height, width), focal_px, np.array([width, height]) / 2, position_m, rotation), distance


def draw_figure(rng, seed, number, action):
    """Draws a moment of an action, turned and dressed anew: a `render.Figure` whose pelvis is above the origin."""
    one = stills.known_scene(seed, number, action, 0)
    points_m = one.points_m[rng.integers(len(one.points_m))]
    # Motions begin with a look along x, which is away from the camera.
    turn = np.pi + rng.normal(0, 0.5) if rng.random() < FACING_SHARE else rng.uniform(0, 2 * np.pi)
    points_m = (points_m - points_m[0] * (1, 1, 0)) @ body.rotation("z", turn).T
    return render.Figure(points_m, one.performer.height_m, stills.draw_looks(seed, number, rng))


def join(rng, figure, people, view, tries=12):
    """Puts a figure on the floor beside, behind or before one of the people, or elsewhere; None if there is no room."""
    height, width = view.frame_size
    for _ in range(tries):
        near = looks.pick(rng, people).points_m[0, :2]
        where = rng.choice(("beside", "behind", "elsewhere"), p=(0.4, 0.3, 0.3))
        side, end = rng.choice((-1, 1), size=2)
        if where == "beside":
            spot = near + (rng.normal(0, 0.15), side * rng.uniform(0.5, 0.9))
        elif where == "behind":
            spot = near + (end * rng.uniform(0.5, 2.0), side * rng.uniform(0.1, 0.5))
        else:
            depth = people[0].points_m[0, 0] * rng.uniform(0.85, 2.4)
            spot = np.array([depth, _across(view, depth, rng.uniform(0.05, 0.95))])
        apart_m = min(np.linalg.norm(spot - other.points_m[0, :2]) for other in people)
        if spot[0] < NEAREST_M or apart_m < LEAST_APART_M:
            continue
        share = view.focal_px * figure.height_m / (spot[0] * height)
        column = view.center_px[0] - view.focal_px * spot[1] / spot[0]
        if LEAST_HEIGHT_SHARE < share < MOST_HEIGHT_SHARE and 0 < column < width:
            return _moved(figure, spot)
    return None


def draw_crowd(rng, seed, performers, view):
    """Draws people who stand together far off: a list of `render.Figure`."""
    height, width = view.frame_size
    depth = view.focal_px * STATURE_M / (rng.uniform(*CROWD_HEIGHT_SHARES) * height)
    middle, reach = rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.2)
    crowd = []
    for _ in range(rng.integers(*CROWD_COUNTS)):
        figure = draw_figure(rng, seed, int(looks.pick(rng, performers)), looks.pick(rng, list(motions.ACTIONS)))
        spot = [depth * rng.uniform(0.9, 1.15), _across(view, depth, middle + rng.uniform(-reach, reach))]
        crowd.append(_moved(figure, spot))
    return crowd


def _across(view, depth, share):
    """How far to the camera's left it is, metres, that a share of the width of the picture is at a depth."""
    return (0.5 - share) * view.frame_size[1] * depth / view.focal_px


def _moved(figure, spot):
    return dataclasses.replace(figure, points_m=figure.points_m + np.append(spot, 0))


def tell(board, people, view):
    """Gives the truth about the people and, if there is one, the crowd behind them: a list as `make_group` has it."""
    truth = []
    for owner, figure in enumerate(people, start=1):
        person = stills.measure(board, figure, view, owner)
        if person is None or not _is_noticed(person["box"], person["area"]):
            continue
        if not stills.is_seen(board, person, owner):
            person |= unlabelled()
        truth.append(person | {"is_crowd": False})
    owner = len(people) + 1
    box, area = stills.outline_box(board, owner), float(np.count_nonzero(board.owner == owner))
    if box is not None and _is_noticed(box, area):
        truth.append(unlabelled() | {"box": box, "area": area, "head_size": 0.0, "is_crowd": True})
    return truth


def _is_noticed(box, area):
    """Whether somebody with a box and an area that is seen is more than a few pixels to whoever annotates a picture."""
    return area >= LEAST_AREA_PX and bool((box[2:] > box[:2]).all())


def unlabelled():
    """The keypoints of somebody who has none that is labelled."""
    return {"keypoints": np.zeros((len(KEYPOINTS), 2), np.float32), "visibility": np.zeros(len(KEYPOINTS), np.int32)}


# ---------------------------------------------------------------------------------------------------- the videos
def make_group_video(seed, index, performers):
    """Films two to five people who walk about and cross each other's way.

    Args:
        seed: int, the data set's seed.
        index: int, which of the videos.
        performers: the numbers of the performers, of whom nobody is there twice.

    Returns:
        dict: "frames" uint8 [T, H, W, 3], RGB; "fps" float, frames a second; "keypoints" float32 [M, T, K, 2], pixels,
        x first, where they truly are, also outside the picture; "scores" float32 [M, T, K], 1 where a keypoint is in
        the picture and neither another person nor a thing hides it, else 0; "frame_size" int32 [2], height and width.
        Row m is the same person in all frames.

    Raises:
        ValueError: if there are fewer than two performers.

    Example:
        >>> make_group_video(0, 3, range(8))["keypoints"].shape[2:]
        (17, 2)
    """
    rng = np.random.default_rng([seed, index, STREAM])
    view, walkers = rehearse(rng, seed, performers)
    dressed = [(walker, stills.draw_looks(seed, walker.number, rng)) for walker in walkers]
    casts = [
        [render.Figure(walker.points_m[frame], walker.height_m, worn) for walker, worn in dressed]
        for frame in range(len(view.rotation))
    ]
    stage = videos.set_stage(rng, view, [looks.pick(rng, cast) for cast in casts])
    frames, keypoints, scores = [], [], []
    for frame, (picture, board) in enumerate(videos.shoot(rng, stage, view, casts)):
        seen = [render.to_camera(view, frame, figure.points_m[KEYPOINTS]) for figure in casts[frame]]
        frames.append(picture)
        keypoints.append([board.project(points_m)[0] for points_m in seen])
        scores.append([render.uncovered(board, points_m, owner) for owner, points_m in enumerate(seen, start=1)])
    return {
        "frames": np.stack(frames),
        "fps": float(VIDEO_FPS),
        "keypoints": np.array(keypoints, np.float32).swapaxes(0, 1),  # [M, T, K, 2]
        "scores": np.array(scores, np.float32).swapaxes(0, 1),  # [M, T, K]
        "frame_size": np.array(view.frame_size, np.int32),
    }


def make_group_clip(arguments):
    """The video as it is kept: `make_group_video` of its arguments, a tuple, as `videos.encoded` gives it."""
    return videos.encoded(make_group_video(*arguments))


@dataclasses.dataclass(frozen=True)
class Walker:
    """Somebody who gets about before the camera.

    Attributes:
        number: the performer's number.
        height_m: stature, metres.
        points_m: float array [T, P, 3], metres, in the order of `body.POINTS`.
    """

    number: int
    height_m: float
    points_m: np.ndarray


def rehearse(rng, seed, performers):
    """Chooses the camera and at least two people who get past each other: a `camera.Camera` of T frames, `Walker`s."""
    if len(performers) < 2:
        raise ValueError(f"A group video needs at least 2 performers, got {len(performers)}; give more.")
    while True:
        view, nearest = draw_film_camera(rng)
        count = 2 + rng.choice(len(VIDEO_COUNT_SHARES), p=VIDEO_COUNT_SHARES)
        side, walkers = rng.choice((-1, 1)), []
        for place, number in enumerate(rng.permutation(performers)[:count].tolist()):
            # The first two meet, the one from the left and the other from the right.
            route = "across" if place < 2 else rng.choice(ROUTES, p=ROUTE_SHARES)
            walker = draw_walker(rng, seed, number, view, nearest, route, -side if place == 1 else side, walkers)
            if walker is not None:
                walkers.append(walker)
            elif place < 2:
                break
            side = side if place == 0 else rng.choice((-1, 1))
        if len(walkers) > 1 and pass_by(view, *walkers[:2]):
            return view, walkers


def pass_by(view, first, second):
    """Tells whether two `Walker`s pass each other in the picture, so that the one on the left is then on the right."""
    one, other = (camera.project(view, walker.points_m[:, :1])[0][:, 0, 0] for walker in (first, second))
    is_left = one < other  # [T]
    return bool(is_left.any() and not is_left.all())


def draw_film_camera(rng):
    """Draws a camera that stands still or pans slowly, and how far from it people pass at least, metres."""
    num_frames = rng.integers(VIDEO_FRAMES[0], VIDEO_FRAMES[1] + 1)
    height, width = VIDEO_HEIGHT, int(rng.choice(range(VIDEO_WIDTHS[0], VIDEO_WIDTHS[1] + 1, BLOCK_PX)))
    focal_px = height * rng.uniform(1.1, 1.6)
    nearest = focal_px * STATURE_M / (rng.uniform(*VIDEO_HEIGHT_SHARES) * height)
    position_m = np.array([0, 0, rng.uniform(0.9, 2.3)])
    reach = rng.choice((-1, 1)) * rng.uniform(*PAN) if rng.random() < PAN_SHARE else 0.0
    azimuth = np.linspace(-reach, reach, num_frames)
    # At what is a little behind the nearest, so that the heads and the feet of all are seen.
    far = 1.3 * nearest
    target_m = np.stack([far * np.cos(azimuth), far * np.sin(azimuth), np.full(num_frames, rng.uniform(0.8, 1.0))], 1)
    rotation = camera.look_at(position_m, target_m, roll=rng.normal(0, ROLL / 2))
    return camera.Camera((height, width), focal_px, np.array([width, height]) / 2, position_m, rotation), nearest


def draw_walker(rng, seed, number, view, nearest, route, side, others, tries=30):
    """Draws a `Walker` on a route who runs into nobody; None where there is no way.

    Args:
        rng: NumPy random generator.
        seed: int, the data set's seed.
        number: the performer's number.
        view: the `camera.Camera` of T frames.
        nearest: how far from the camera people pass at least, metres.
        route: "across" the picture, "back" into it after having left it, or "along" the line of sight.
        side: 1 for those who walk to the left ("across") or leave on the left ("back"), -1 for the right.
        others: the `Walker`s who are there already.
        tries: ways to draw.
    """
    performer = performers.make_performer(seed, number)
    num_frames = len(view.rotation)
    for _ in range(tries):
        middle = round(num_frames * rng.uniform(0.4, 0.6))  # when half of the way is done
        depth = nearest * rng.uniform(*VIDEO_DEPTHS)
        half_m = _across(view, depth, 0.0)
        points_m = stroll(rng, performer, num_frames, side if route == "back" else 0, middle)
        if route == "across":
            heading, spot = side * np.pi / 2 + rng.normal(0, 0.3), (depth, rng.uniform(-0.5, 0.5) * half_m)
        elif route == "back":
            heading, spot = side * np.pi / 2 + rng.normal(0, 0.2), (depth, side * (half_m + rng.uniform(0.5, 1.2)))
        else:
            heading = rng.choice((0, np.pi)) + rng.normal(0, 0.3)
            spot = (depth, rng.uniform(-0.7, 0.7) * half_m)
        points_m = lay(points_m, middle, heading, spot)
        if fits(points_m, view, nearest, route, others):
            return Walker(number, performer.height_m, points_m)
    return None


def stroll(rng, performer, num_frames, turn, middle):
    """Walks or runs for some frames: float array [T, P, 3], metres.

    Args:
        rng: NumPy random generator.
        performer: the `performers.Performer`.
        num_frames: T.
        turn: 1 or -1 for whoever turns about, to the left or to the right; 0 for who does not.
        middle: the frame of the turn.
    """
    steps, fps = num_frames * STEPS, VIDEO_FPS * STEPS
    gait = motions.run if rng.random() < RUN_SHARE else motions.walk
    motion = gait(performer, rng, fps)
    while len(motion.bearing) < steps:
        motion = motions.join(motion, gait(performer, rng, fps), fps)
    seconds = (np.arange(len(motion.bearing)) - middle * STEPS) / fps
    motion.angles["yaw"] = motion.angles["yaw"] + turn * np.pi * motions.ease(0.5 + seconds / rng.uniform(1.1, 1.6))
    points_m = body.place(motion.angles, performer.lengths, motion.bearing, motion.flight_m)
    return points_m[:steps:STEPS]


def lay(points_m, middle, heading, spot):
    """Turns and moves a walk [T, P, 3] so that it comes to a spot [2] at its middle frame, from a direction."""
    pelvis_m = points_m[:, 0, :2]
    gone = pelvis_m[middle] - pelvis_m[0]
    turn = body.rotation("z", heading - np.arctan2(gone[1], gone[0]))
    return (points_m - np.append(pelvis_m[middle], 0)) @ turn.T + np.append(spot, 0)


def fits(points_m, view, nearest, route, others):
    """Tells whether a way [T, P, 3] is before the camera, clear of the others' and as its route has it."""
    pelvis_m = points_m[:, 0, :2]
    points_px, depth = camera.project(view, points_m)
    if depth.min() < max(0.75 * nearest, NEAREST_M):
        return False
    if any(np.linalg.norm(pelvis_m - other.points_m[:, 0, :2], axis=1).min() < LEAST_APART_M for other in others):
        return False
    inside = camera.in_frame(view, points_px[:, KEYPOINTS])  # [T, K]
    if inside.any(axis=1).mean() < 0.4:
        return False
    if route != "back":
        return True
    away = np.flatnonzero(~inside.any(axis=1))
    # Well in the picture both before and after having been away for some frames.
    return bool(
        len(away) >= 4 and inside[: away[0]].all(axis=1).sum() >= 4 and inside[away[-1] + 1 :].all(axis=1).sum() >= 4
    )
