"""Trains top-down 2D pose: the image of a person in, keypoints out.

    python -m train.topdown

makes the puppets/images dataset, trains a small SimpleBaseline on it for 12 epochs and tests it: 10 to 15 minutes on
two cores, 50 % PCKh and a mean error of 15 pixels on people never seen. docs/results.md has other commands.
"""

from kerapose import training
from train import common

TRAINING = training.TopDown

if __name__ == "__main__":
    common.main(TRAINING)
