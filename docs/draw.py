"""Draws the pictures of README.md from the puppets data sets.

python datasets/build.py puppets && python datasets/build.py puppets/videos && python docs/draw.py
"""

import pathlib

import cv2
import numpy as np

from kerapose import skeletons, visualize
from kerapose.data import clips, videos
from kerapose.data import frames as frame_data
from kerapose.ops import clips as clip_ops
from kerapose.ops import heatmaps

FOLDER = pathlib.Path(__file__).parent / "pictures"
SIZE = (64, 64)
WIDTH = 1400
ACTION = "kick"


def main():
    save("volumes.png", volumes())
    save("video.png", video())


def video():
    """Frames of a rendered clip, one in which little is hidden, with the keypoints that a detector would see."""
    clip = max(clips_of(*videos.from_tfds("puppets/videos", "test")), key=lambda clip: clip["scores"].mean())
    frames = frame_data.read(clip["video"])
    strip = visualize.video_strip(frames, clip["keypoints"], clip["scores"], skeletons.COCO, num_frames=8, cropped=True)
    return of_width(strip)


def volumes():
    """A clip as skeletons, as joint heatmaps and as limb heatmaps, below each other."""
    clip = next(clips_of(*clips.from_tfds("puppets", "test")))
    skeleton = skeletons.COCO
    strip = visualize.clip_strip(clip["keypoints"], clip["scores"], skeleton, clip["frame_size"], num_frames=8)
    keypoints, scores = clip_ops.evaluation_clips(clip["keypoints"], clip["scores"], clip["frame_size"], size=SIZE)
    keypoints, scores = np.asarray(keypoints[0]), np.asarray(scores[0])
    overlay = {"keypoints": keypoints, "scores": scores, "skeleton": skeleton, "num_frames": 8}
    joints = visualize.volume_strip(np.asarray(heatmaps.joint_volume(keypoints, scores, *SIZE)), **overlay)
    limbs = visualize.volume_strip(
        np.asarray(heatmaps.limb_volume(keypoints, scores, skeleton.edges, *SIZE)), **overlay
    )
    gap = np.full((8, WIDTH, 3), 255, np.uint8)
    return np.concatenate([of_width(strip), gap, of_width(joints), gap, of_width(limbs)])


def clips_of(dataset, info):
    """Yields the clips of the action that is shown."""
    label = info.features["label"].str2int(ACTION)
    return (clip for clip in dataset.as_numpy_iterator() if clip["label"] == label)


def of_width(row):
    """A row of panels brought to the pictures' width."""
    return cv2.resize(row, (WIDTH, round(row.shape[0] * WIDTH / row.shape[1])), interpolation=cv2.INTER_AREA)


def save(name, picture):
    cv2.imwrite(str(FOLDER / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
