"""Pictures that a training leaves in its work folder, or that are drawn with the network in it."""

import functools
import io
import pathlib

import cv2
import numpy as np
from PIL import Image

from drawing import concepts, paper
from kerapose import visualize

RUNS = pathlib.Path(__file__).resolve().parents[2] / "runs"
PEOPLE_SHOWN = 2  # images of groups
TRACK_FRAMES = 100


def left_behind(task, name):
    """A picture that the training of a task ended with."""
    path = _of(task, name)
    return np.asarray(Image.open(path).convert("RGB"))


def people():
    """Two of the clearer test images of groups: who was found, and the fields by which."""
    from kerapose import predictors
    from kerapose.data import people as people_data
    from kerapose.training import pictures

    path = _of("openpose", "model.keras")
    images, _ = concepts.prepared(people_data.from_tfds, "puppets/groups", "test")
    estimator = predictors.load(str(path)).estimator
    shown = [element["image"] for element in pictures.some_images(images)]
    strips = []
    for image in sorted(shown, key=functools.partial(_clearness, estimator))[-PEOPLE_SHOWN:]:
        found = {name: np.asarray(value) for name, value in estimator(image).items()}
        heatmaps, pafs, matrix = (np.asarray(part) for part in estimator.fields(image))
        drawn = visualize.draw_skeletons(image, found["keypoints"], found["scores"] > 0, estimator.skeleton, 0.5)
        maps = visualize.draw_fields(image, heatmaps, pafs, estimator.skeleton, matrix)
        strips.append(visualize.contact_sheet([drawn, maps], columns=2))
    return visualize.contact_sheet(strips, columns=1)


def overview():
    """The way from a picture to an action: people who were found, their heatmaps, a pose in space, and volumes."""
    path = paper.path_of("people")
    if not path.exists():
        raise paper.MissingError("python docs/draw.py people")
    found = np.asarray(Image.open(path).convert("RGB"))
    height, width = found.shape[0] // 2, found.shape[1] // 3
    lower = found[-height + paper.GAP :, : 2 * width]  # the second image, and its heatmaps beside it
    side = lower.shape[0]
    joints, limbs = concepts.kick_panels()
    small = (side - paper.GAP) // 2
    volumes = cv2.resize(paper.column([joints, limbs], small), (small, side), interpolation=cv2.INTER_AREA)
    known, _, pose_m = concepts.track("kick")
    space = visualize.draw_pose_3d(pose_m, known.pose_skeleton, axes="world", azimuth=30, panel_height=side)
    gap = np.full((side, paper.GAP, 3), 255, np.uint8)
    return paper.of_width(np.concatenate([lower, gap, space, gap, volumes], axis=1))


def track():
    """A track in space for the page on which it can be turned: lifted, with the truth, where there is a lifter."""
    known, row, _ = concepts.track("kick")
    frames = slice(0, TRACK_FRAMES)
    content = {"poses_m": known.poses_world_m[frames], "fps": known.fps[row]}
    lifter = RUNS / "lifter" / "model.keras"
    if lifter.exists():
        from kerapose import predictors
        from kerapose.ops import cameras

        size = known.frame_sizes[row]
        pixels = np.asarray(cameras.denormalize_screen(known.keypoints_screen[: known.lengths[row]], size))
        found = predictors.load(str(lifter))(pixels, frame_size=tuple(size.tolist()))
        true = known.poses_camera_m[frames]
        content |= {"poses_m": found.poses_m[frames], "truth_m": true - true[:, :1]}
    file = io.BytesIO()
    np.savez_compressed(file, **{name: np.float32(value).round(4) for name, value in content.items()})
    return file.getvalue()


def _clearness(estimator, image):
    return float(np.asarray(estimator(image)["person_scores"]).sum())


def _of(task, name):
    path = RUNS / task / name
    if not path.exists():
        raise paper.MissingError(f"make train TASK={task}")
    return path


PICTURES = {
    "poses": functools.partial(left_behind, "topdown", "predictions.png"),
    "people": people,
    "lift": functools.partial(left_behind, "lifter", "predictions.png"),
    "confusion_matrix": functools.partial(left_behind, "poseconv3d", "confusion_matrix.png"),
    "overview": overview,
    "track": track,
}
