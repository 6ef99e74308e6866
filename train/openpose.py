"""Trains bottom-up 2D pose: an image in, the keypoints of everybody in it out.

    python -m train.openpose

makes the puppets/groups dataset, trains a small Lightweight OpenPose on it for 8 epochs and tests it: 20 to 25 minutes
on two cores, AP 0.15 and AP50 0.40 on people never seen. docs/results.md has other commands.
"""

from kerapose import training
from train import common

TRAINING = training.OpenPose

if __name__ == "__main__":
    common.main(TRAINING)
