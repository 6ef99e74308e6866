"""Draws the pictures of README.md from the puppets data set.

python datasets/build.py puppets && python docs/pictures.py
"""

import pathlib

import cv2
import numpy as np

from kerapose import skeletons, visualize
from kerapose.data import clips
from kerapose.ops import clips as clip_ops
from kerapose.ops import heatmaps

FOLDER = pathlib.Path(__file__).parent
SIZE = (64, 64)
ACTION = "kick"


def main():
    dataset, info = clips.from_tfds("puppets", "test")
    label = info.features["label"].str2int(ACTION)
    clip = next(clip for clip in dataset.as_numpy_iterator() if clip["label"] == label)
    skeleton = skeletons.COCO
    strip = visualize.clip_strip(clip["keypoints"], clip["scores"], skeleton, clip["frame_size"], num_frames=8)
    keypoints, scores = clip_ops.evaluation_clips(clip["keypoints"], clip["scores"], clip["frame_size"], size=SIZE)
    keypoints, scores = np.asarray(keypoints[0]), np.asarray(scores[0])
    overlay = {"keypoints": keypoints, "scores": scores, "skeleton": skeleton, "num_frames": 8}
    joints = visualize.volume_strip(np.asarray(heatmaps.joint_volume(keypoints, scores, *SIZE)), **overlay)
    limbs = visualize.volume_strip(
        np.asarray(heatmaps.limb_volume(keypoints, scores, skeleton.edges, *SIZE)), **overlay
    )
    width = 1400
    rows = [
        cv2.resize(row, (width, round(row.shape[0] * width / row.shape[1])), interpolation=cv2.INTER_AREA)
        for row in (strip, joints, limbs)
    ]
    gap = np.full((8, width, 3), 255, np.uint8)
    picture = np.concatenate([rows[0], gap, rows[1], gap, rows[2]])
    cv2.imwrite(str(FOLDER / "volumes.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
