"""Videos: an action as a camera filmed it, the performer in clothes, and what a detector finds in the frames.

The camera stands where the scene has it and turns after the person, so that what is behind the person is one picture
for the whole video, seen through a homography.
"""

import dataclasses

import cv2
import numpy as np

from kerapose.data import frames as encoding

from . import backgrounds, camera, canvas, detector, motions, render, scene, stills

HEIGHTS = (128, 144)  # pixels, least and most, even as videos are
WIDTHS = (96, 176)
HEIGHT_SHARES = (0.5, 0.8)  # of the picture's height, stature where the person is nearest to the camera
SKIPPED = 3  # one of so many frames of the scene is filmed
DRIFT_M = (0.12, 0.12, 0.05)  # deviation of how far the camera's aim drifts in a second
THING_SHARE = 0.3  # of the videos have a thing between the camera and the person
FARTHEST = 3.0  # the backdrop ends so many focal lengths from its middle, 72 degrees
STREAM = 11  # apart from the parts of `scene` and the stream of `stills`, so that none changes another


def make_video(seed, number, action, take):
    """Films a scene and finds the keypoints in it; see `scene.make_scene` for the arguments.

    Returns:
        dict: "frames" uint8 [T, H, W, 3], RGB; "fps" float, frames a second; "keypoints" float32 [1, T, K, 2], pixels,
        x first; "scores" float32 [1, T, K]; "frame_size" int32 [2], height and width.

    Example:
        >>> make_video(0, 3, "walk", 0)["keypoints"].shape[2:]
        (17, 2)
    """
    one = scene.make_scene(seed, number, action, take)
    rng = np.random.default_rng([seed, number, list(motions.ACTIONS).index(action), take, STREAM])
    person, points_m, fps = one.performer, one.points_m[::SKIPPED], one.fps / SKIPPED
    view = place_camera(rng, one.view, points_m, person.height_m, fps)
    looks = stills.draw_looks(seed, number, clothes=rng)
    frames, covered = film(rng, view, [render.Figure(points, person.height_m, looks) for points in points_m])
    keypoints, scores = detector.detect(rng, view, points_m, person.height_m, fps, covered)
    return {
        "frames": frames,
        "fps": fps,
        "keypoints": keypoints[None],  # [1, T, K, 2]
        "scores": scores[None],  # [1, T, K]
        "frame_size": np.array(view.frame_size, np.int32),
    }


def make_clip(arguments):
    """The clip as it is kept: `make_video` of its arguments, a tuple, as `encoded` gives it."""
    return encoded(make_video(*arguments))


def encoded(clip):
    """Gives a clip with "video", the bytes of an MP4 file, in place of "frames" and "fps"."""
    kept = {key: value for key, value in clip.items() if key not in ("frames", "fps")}
    return kept | {"video": encoding.encode(clip["frames"], clip["fps"])}


# -------------------------------------------------------------------------------------------------------- the camera
def place_camera(rng, view, points_m, height_m, fps):
    """Turns the camera of a scene into one that films it: zoomed, close after the person, held by hand.

    Nothing here goes by the action: the zoom follows from stature and distance, and the camera wanders even where it
    has nobody to follow.

    Args:
        rng: NumPy random generator.
        view: the scene's `camera.Camera`; where it stands and the shape of its picture are kept.
        points_m: float array [T, P, 3], the person, metres; point 0 is the pelvis.
        height_m: stature, metres.
        fps: frames a second.

    Returns:
        Camera of T frames.
    """
    height = 2 * int(rng.integers(HEIGHTS[0] // 2, HEIGHTS[1] // 2 + 1))
    width = 2 * round(float(np.clip(height * view.frame_size[1] / view.frame_size[0], *WIDTHS)) / 2)
    pelvis_m = points_m[:, 0]
    middle_m = pelvis_m.mean(axis=0)
    seconds = (np.arange(len(pelvis_m)) / fps)[:, None]
    followed_m = (camera.smooth(pelvis_m, reach=3) - middle_m) * (1, 1, 0)  # up and down it would show who sits down
    target_m = middle_m + rng.uniform(0.75, 1.0) * followed_m  # [T, 3]
    target_m = target_m + rng.normal(0, (0.1, 0.1, 0.05)) + (seconds - seconds.mean()) * rng.normal(0, DRIFT_M)
    target_m = target_m + rng.uniform(0, 0.04) * detector.jitter(rng, len(pelvis_m), (3,), fps, seconds=0.4)
    rotation = camera.look_at(view.position_m, target_m, roll=rng.normal(0, np.radians(2.0)))
    nearest_m = np.linalg.norm(pelvis_m - view.position_m, axis=1).min()
    focal_px = rng.uniform(*HEIGHT_SHARES) * height * nearest_m / height_m
    return camera.Camera((height, width), focal_px, np.array([width, height]) / 2, view.position_m, rotation)


def widest(view):
    """The one camera, of one frame, that sees all that a camera sees in its T frames, as far as `FARTHEST`."""
    rotation = view.rotation[len(view.rotation) // 2]
    height, width = view.frame_size
    corners = np.array([[x, y, 1] for x in (0, width - 1) for y in (0, height - 1)], np.float64)
    rays = corners @ np.linalg.inv(_lens(view)).T @ view.rotation  # [T, 4, 3], in the world
    x, y, z = np.moveaxis(rays @ rotation.T, -1, 0)
    flat = np.clip(np.stack([x, y], axis=-1) / np.maximum(z, 0.1)[..., None], -FARTHEST, FARTHEST)
    low, high = (view.focal_px * end(flat, axis=(0, 1)) for end in (np.min, np.max))
    width, height = np.ceil(high - low).astype(int) + 2
    return camera.Camera((int(height), int(width)), view.focal_px, 0.5 - low, view.position_m, rotation[None])


def _lens(view):
    """The matrix [3, 3] that takes rays in camera axes to pixels."""
    return np.array([[view.focal_px, 0, view.center_px[0]], [0, view.focal_px, view.center_px[1]], [0, 0, 1]])


# ---------------------------------------------------------------------------------------------------------- the film
@dataclasses.dataclass(frozen=True)
class Stage:
    """What stays the same from frame to frame.

    Attributes:
        backdrop: float32 array [H', W', 3], RGB, 0 to 1, what is behind the person.
        view: the `camera.Camera`, of one frame, that sees all of it.
        light: the `canvas.Light`, its direction in the world.
        shadow: 0 to 1, how dark it is about the feet.
        thing: seed of the thing between the camera and the person, None where there is none.
        middle: the `render.Figure` that the thing stands before.
    """

    backdrop: np.ndarray
    view: camera.Camera
    light: canvas.Light
    shadow: float
    thing: int | None
    middle: render.Figure


def film(rng, view, figures):
    """Films a person.

    Args:
        rng: NumPy random generator.
        view: the `camera.Camera` of T frames.
        figures: list of T `render.Figure`.

    Returns:
        uint8 array [T, H, W, 3], RGB, and bool array [T, K], which keypoints a thing hides.
    """
    stage = set_stage(rng, view, figures)
    frames, covered = [], []
    for frame, (picture, board) in enumerate(shoot(rng, stage, view, [(figure,) for figure in figures])):
        frames.append(picture)
        covered.append(_covered(board, render.to_camera(view, frame, figures[frame].points_m[detector.KEYPOINTS])))
    return np.stack(frames), np.stack(covered)


def shoot(rng, stage, view, casts):
    """Films people on a stage, frame by frame.

    Args:
        rng: NumPy random generator.
        stage: the `Stage`.
        view: the `camera.Camera` of T frames.
        casts: T sequences of `render.Figure`, who is there in each frame.

    Yields:
        uint8 array [H, W, 3], RGB, and the frame's `canvas.Canvas`, on which the people are the owners 1 and so on.
    """
    exposure, grain = stills.draw_film(rng, view.frame_size), rng.uniform(0, stills.MOST_GRAIN) / stills.GRAIN_DEVIATION
    for frame, cast in enumerate(casts):
        board = paint(stage, dataclasses.replace(view, rotation=view.rotation[frame : frame + 1]), *cast)
        color = exposure.expose(board.color) + grain * stills.draw_grain(rng, view.frame_size)
        yield stills.to_bytes(color), board


def set_stage(rng, view, figures):
    """Draws the `Stage`; see `film` for the arguments."""
    wide = widest(view)
    light = stills.draw_light(rng)
    light = dataclasses.replace(light, direction=light.direction @ wide.rotation[0])
    return Stage(
        backdrop=backgrounds.draw(rng, wide.frame_size, stills.floor_places(wide)),
        view=wide,
        light=light,
        shadow=rng.uniform(0.2, 0.6),
        thing=int(rng.integers(2**32)) if rng.random() < THING_SHARE else None,
        middle=figures[len(figures) // 2],
    )


def paint(stage, view, *figures):
    """Draws one frame: a `canvas.Canvas` of people, owners 1 and so on, on a stage before a camera of one frame."""
    height, width = view.frame_size
    light = dataclasses.replace(stage.light, direction=view.rotation[0] @ stage.light.direction)
    board = canvas.Canvas(
        cv2.warpPerspective(
            stage.backdrop,
            _lens(stage.view) @ stage.view.rotation[0] @ view.rotation[0].T @ np.linalg.inv(_lens(view)),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        view.focal_px,
        view.center_px,
        light,
    )
    seen = [render.to_camera(view, 0, figure.points_m) for figure in figures]
    for points_m in seen:
        stills.cast_shadow(board, points_m, view, stage.shadow)
    for place in sorted(range(len(figures)), key=lambda place: -seen[place][0, 2]):  # the farthest first
        render.draw_person(board, figures[place], seen[place], owner=place + 1)
    if stage.thing is not None:  # the same one each time, for it stands still
        stills.put_thing(np.random.default_rng(stage.thing), board, view, stage.middle)
    return board


def _covered(board, points_m):
    """Tells which points [K, 3], camera axes, are hidden by a thing: bool array [K]."""
    height, width = board.depth_m.shape
    points_px, _ = board.project(points_m)
    column, row = np.clip(np.round(points_px), 0, (width - 1, height - 1)).astype(int).T
    return board.owner[row, column] < 0
