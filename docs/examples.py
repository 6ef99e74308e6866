"""What the examples of docstrings and pages refer to: a few arrays, and small files of the names that they use.

An example says `keypoints`, "street.jpg" or "runs/topdown/model.keras", as a reader's own would. Tests run it in a
folder where these exist (`put_files`), with the arrays of `names` at hand. The networks in the files are small and have
learnt nothing: an example may show shapes, names and rules, never how well something was found.
"""

import json
import pathlib
import pickle

import cv2
import numpy as np

FRAME_SIZE = (240, 320)  # height, width
NUM_FRAMES = 30

# A person who stands, as COCO's 17 keypoints, in body heights from the middle of the hips, y down.
STANDING = np.array(
    [[0, -0.38], [0.02, -0.4], [-0.02, -0.4], [0.04, -0.39], [-0.04, -0.39], [0.1, -0.3], [-0.1, -0.3], [0.15, -0.15]]
    + [[-0.15, -0.15], [0.17, 0.0], [-0.17, 0.0], [0.06, 0.0], [-0.06, 0.0], [0.07, 0.25], [-0.07, 0.25], [0.07, 0.48]]
    + [[-0.07, 0.48]],
    np.float32,
)
# The same, as Human3.6M's 17 joints, metres from the hip, x right, y down, z away.
STANDING_M = np.array(
    [[0, 0, 0], [-0.13, 0, 0], [-0.13, 0.45, 0], [-0.13, 0.9, 0.03], [0.13, 0, 0], [0.13, 0.45, 0], [0.13, 0.9, 0.03]]
    + [[0, -0.25, 0], [0, -0.5, 0], [0, -0.58, -0.05], [0, -0.7, 0], [0.16, -0.48, 0], [0.2, -0.2, 0], [0.22, 0.05, 0]]
    + [[-0.16, -0.48, 0], [-0.2, -0.2, 0], [-0.22, 0.05, 0]],
    np.float32,
)


def walking(num_people=2):
    """People who cross the picture and swing their wrists: keypoints [M, T, 17, 2] in pixels, scores [M, T, 17]."""
    steps = np.arange(NUM_FRAMES, dtype=np.float32)
    swing = np.sin(steps / 3)[:, None]  # [T, 1]
    people = []
    for person in range(num_people):
        figure = np.repeat(STANDING[None] * 160, NUM_FRAMES, axis=0)  # [T, 17, 2]
        figure[:, [9, 10], 0] += swing * (20.0, -20.0)
        figure[..., 0] += 80 + 120 * person + steps[:, None]
        figure[..., 1] += 120
        people.append(figure)
    keypoints = np.stack(people)  # [M, T, 17, 2]
    return keypoints, np.full(keypoints.shape[:-1], 0.9, np.float32)


def names():
    """The arrays that examples name without saying where they come from."""
    keypoints, scores = walking()
    poses_m = np.repeat(STANDING_M[None], NUM_FRAMES, axis=0)  # [T, 17, 3]
    poses_m[:, 13, 2] += np.sin(np.arange(NUM_FRAMES) / 3)  # a wrist swings forward and back
    return {
        "np": np,
        "keypoints": keypoints,  # [M, T, K, 2] pixels, two people, 30 frames, COCO's keypoints
        "scores": scores,  # [M, T, K]
        "frame_size": FRAME_SIZE,  # height, width
        "labels": [0],  # what is done in the one clip that `keypoints` are
        "image": picture(),  # [H, W, 3] uint8 RGB
        "boxes": np.array([[40, 30, 120, 210], [160, 30, 240, 210]], np.float32),  # left, top, right, bottom
        "poses_m": poses_m,  # [T, J, 3] metres, Human3.6M's joints
    }


def picture(frame=0):
    """Two people on a grey street: `[H, W, 3]` uint8 RGB."""
    from kerapose import skeletons, visualize

    keypoints, scores = walking()
    street = np.full((*FRAME_SIZE, 3), (120, 124, 130), np.uint8)
    street[200:] = (90, 90, 92)
    return visualize.draw_skeletons(street, keypoints[:, frame], scores[:, frame], skeletons.COCO)


# ---------------------------------------- files
def write_picture(path):
    cv2.imwrite(str(path), cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR))


def write_video(path):
    from kerapose import visualize

    visualize.write_mp4(path, [picture(frame) for frame in range(NUM_FRAMES)], fps=15)


def write_coco(path):
    """Annotations in COCO's format, and street.jpg, which they are of."""
    from kerapose import skeletons

    write_picture(path.parent / "street.jpg")
    keypoints, _ = walking()
    people = []
    for number, figure in enumerate(keypoints[:, 0], start=1):
        (left, top), (right, bottom) = figure.min(axis=0).tolist(), figure.max(axis=0).tolist()
        rows = np.concatenate([figure, np.full((17, 1), 2)], axis=1)  # x, y, visibility
        people.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "keypoints": rows.ravel().tolist(),
                "num_keypoints": 17,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
            }
        )
    limbs = [[a + 1, b + 1] for a, b in skeletons.COCO.edges]
    category = {"id": 1, "name": "person", "keypoints": list(skeletons.COCO.keypoints), "skeleton": limbs}
    images = [{"id": 1, "file_name": "street.jpg", "height": FRAME_SIZE[0], "width": FRAME_SIZE[1]}]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))


def write_pyskl(path):
    """A PYSKL file of four clips."""
    keypoints, scores = walking()
    annotations = [
        {
            "frame_dir": f"clip{number}",
            "label": number % 2,
            "img_shape": FRAME_SIZE,
            "original_shape": FRAME_SIZE,
            "total_frames": NUM_FRAMES,
            "keypoint": keypoints + number,
            "keypoint_score": scores,
        }
        for number in range(4)
    ]
    split = {"train": ["clip0", "clip1"], "test": ["clip2", "clip3"]}
    path.write_bytes(pickle.dumps({"split": split, "annotations": annotations}))


def write_topdown(path):
    from kerapose import estimators, models, skeletons

    network = models.SimpleBaseline(
        17, image_shape=(64, 48, 3), depth=18, base_filters=8, deconv_filters=(16, 16), deconv_kernels=(4, 4)
    )
    estimators.PoseEstimator(network, skeletons.COCO).save(path)


def write_openpose(path):
    from kerapose import estimators, models, skeletons

    network = models.LightweightOpenPose.from_variant("openpose_tiny", num_refinements=0)
    estimators.BottomUpEstimator(network, skeletons.OPENPOSE).save(path)


def write_lifter(path, causal=False):
    from kerapose import estimators, models, skeletons

    network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=causal)
    estimators.TrackLifter(network, skeletons.H36M, skeletons.H36M).save(path)


def write_causal_lifter(path):
    write_lifter(path, causal=True)


def write_recognizer(path):
    from kerapose import estimators, models, skeletons

    network = models.C3D(2, input_shape=(8, 32, 32, 17), base_filters=4, num_stages=3)
    estimators.ActionRecognizer(network, skeletons.COCO, class_names=("walk", "kick")).save(path)


def write_video_recognizer(path):
    from kerapose import estimators, models, skeletons

    network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", num_classes=2)
    estimators.VideoRecognizer(network, skeletons.COCO, class_names=("walk", "kick")).save(path)


def write_predictions(path):
    """What `kerapose predict` writes of walk.mp4."""
    from kerapose import skeletons
    from kerapose.data import predictions

    keypoints, scores = walking()
    moments = []
    for frame in range(NUM_FRAMES):
        points = keypoints[:, frame]
        boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
        figures = {"boxes": boxes, "keypoints": points, "keypoint_scores": scores[:, frame], "time_s": frame / 15}
        moments.append(predictions.Moment(frame, np.arange(2), np.full(2, 0.9), **figures))
    with open(path, "w", encoding="utf-8") as file:
        predictions.Predictions("walk.mp4", skeletons.COCO, 15.0, FRAME_SIZE, moments).write_json(file)


def write_labels(path):
    path.write_text("video,label,subject\nwalk,walk,S1\nwalk2,walk,S2\nkick,kick,S1\nkick2,kick,S2\n")


def write_class_names(path):
    path.write_text("walk\nkick\n")


def write_data_set(path):
    """A small data set, as `datasets/build.py` prepares the one of that name; an example gives `data_dir="."`."""
    from docs import example_data_sets

    example_data_sets.write(path)


FILES = {
    "street.jpg": write_picture,
    "walk.mp4": write_video,
    "people.json": write_coco,
    "clips.pkl": write_pyskl,
    "predicted/walk.json": write_predictions,
    "labels.csv": write_labels,
    "classes.txt": write_class_names,
    "runs/topdown/model.keras": write_topdown,
    "runs/openpose/model.keras": write_openpose,
    "runs/lifter/model.keras": write_lifter,
    "runs/causal_lifter/model.keras": write_causal_lifter,
    "runs/poseconv3d/model.keras": write_recognizer,
    "runs/rgbpose/model.keras": write_video_recognizer,
    "puppets/clips": write_data_set,
    "puppets/videos": write_data_set,
    "puppets/images": write_data_set,
    "puppets/groups": write_data_set,
    "puppets/tracks": write_data_set,
}


def write_alike(write, path):
    """Writes a file whose network, if it has one, is the same each time."""
    import keras

    keras.utils.set_random_seed(0)
    write(path)


def put_files(text, folder):
    """Makes those of `FILES` that a text names and that a folder does not have yet."""
    for name, write in FILES.items():
        path = pathlib.Path(folder) / name
        if name in text and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_alike(write, path)
