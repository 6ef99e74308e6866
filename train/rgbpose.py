"""Trains RGBPose-Conv3D: a video with its skeleton sequences in, an action out.

    python -m train.rgbpose

makes the puppets/videos dataset, trains a network of frames, one of skeletons and, from these two, the one of both, and
tests all three: in the light, in the dark, and with joints missed. That took half an hour on two cores that other work
shared, and gave 44, 90 and 92 % top-1 on performers never seen. docs/results.md has other commands.
"""

from kerapose import training
from train import common

TRAINING = training.RGBPose

if __name__ == "__main__":
    common.main(TRAINING)
