"""Trains the lifting of 2D tracks to 3D poses (VideoPose3D), supervised or with part of the labels alone.

    python -m train.lifter

makes the puppets/tracks dataset, trains a small lifter of 27 frames on it and tests it: about 4 minutes on two cores,
50 mm MPJPE on people never seen. docs/results.md has other commands.
"""

from kerapose import training
from train import common

TRAINING = training.Lifter

if __name__ == "__main__":
    common.main(TRAINING)
