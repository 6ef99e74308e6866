"""What the mean pose and linear regression make of the tracks: errors that any lifter has to beat.

    python datasets/build.py puppets/tracks
    python datasets/puppets/linear_lifter.py

One frame's detected keypoints, on the screen (`kerapose.ops.cameras`), give one frame's pose in camera space, relative
to its root, by least squares; with `--centred` they are first moved and scaled to the person, so that the regression
sees neither place nor distance. It runs for a few seconds and prints the mean per-joint error of each split in
millimetres, of the training split's mean pose and of the regression; README.md has the figures.
"""

import argparse

import numpy as np
import tensorflow_datasets as tfds

from kerapose.data import prepared
from kerapose.ops import cameras


def read_frames(builder, split):
    """Reads a split as screen keypoints [N, K, 2], root-relative camera-space poses [N, J, 3], metres, actions [N]."""
    keypoints, poses_m, actions = [], [], []
    for track in tfds.as_numpy(builder.as_dataset(split=split)):
        camera = track["camera"]
        keypoints.append(np.asarray(cameras.normalize_screen(track["keypoints"], track["frame_size"])))
        seen = cameras.world_to_camera(track["poses_world_m"], camera["orientation"], camera["translation_m"])
        poses_m.append(np.asarray(seen) - np.asarray(seen)[:, :1])
        actions += [track["action"].decode()] * len(seen)
    return np.concatenate(keypoints), np.concatenate(poses_m), np.array(actions)


def centre(keypoints):
    """Moves keypoints [N, K, 2] to their root and divides them by their size."""
    moved = keypoints - keypoints[:, :1]
    return moved / np.sqrt((moved**2).mean(axis=(1, 2), keepdims=True))


def fit(keypoints, poses_m):
    """Gives least-squares weights [1 + K * 2, J * 3]."""
    return np.linalg.lstsq(_rows(keypoints), poses_m.reshape(len(poses_m), -1).astype(float), rcond=None)[0]


def predict(weights, keypoints):
    """Applies the weights of `fit` to keypoints [N, K, 2]: poses [N, J, 3]."""
    return (_rows(keypoints) @ weights).reshape(len(keypoints), -1, 3)


def error_mm(predicted_m, poses_m, actions):
    """Gives the mean per-joint error of poses [N, J, 3], metres: the plain mean over actions [N], millimetres."""
    errors = np.linalg.norm(predicted_m - poses_m, axis=-1).mean(axis=-1)
    return 1000 * np.mean([errors[actions == action].mean() for action in np.unique(actions)])


def _rows(keypoints):
    flat = keypoints.reshape(len(keypoints), -1).astype(float)
    return np.concatenate([np.ones((len(flat), 1)), flat], axis=1)


def run(data_dir=None, centred=False):
    """Fits on the training split: dict of "mean pose" and "linear regression" errors in mm, each a dict by split."""
    builder = prepared.find("puppets/tracks", "train", data_dir)
    splits = {split: read_frames(builder, split) for split in ("train", "validation", "test")}
    prepare = centre if centred else (lambda keypoints: keypoints)
    keypoints, poses_m, _ = splits["train"]
    mean_m, weights = poses_m.mean(axis=0), fit(prepare(keypoints), poses_m)
    return {
        "mean pose": {split: error_mm(mean_m, poses, actions) for split, (_, poses, actions) in splits.items()},
        "linear regression": {
            split: error_mm(predict(weights, prepare(points)), poses, actions)
            for split, (points, poses, actions) in splits.items()
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of the prepared data sets; TFDS's own by default")
    parser.add_argument("--centred", action="store_true", help="show the regression neither place nor distance")
    arguments = parser.parse_args()
    for name, errors in run(arguments.data_dir, arguments.centred).items():
        print(f"{name}, MPJPE: " + ", ".join(f"{split} {value:.1f} mm" for split, value in errors.items()))


if __name__ == "__main__":
    main()
