"""Trains PoseConv3D: skeleton sequences in, actions out.

    python -m train.poseconv3d

makes the puppets dataset, trains C3D-tiny on it for 26 epochs and tests it: about 8 minutes on two cores with bfloat16
instructions, 92.6 % top-1 on performers never seen. docs/results.md has the commands of other data sets, and
docs/guides/actions.md the published settings.
"""

from kerapose import training
from train import common

TRAINING = training.PoseConv3D

if __name__ == "__main__":
    common.main(TRAINING)
