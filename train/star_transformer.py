"""Trains STAR-Transformer: a video with its skeleton sequences in, an action out.

    python -m train.star_transformer

makes the puppets/videos dataset, trains on it a small MC3 of frames alone and, from there, a small STAR-Transformer,
and tests both: in the light, in the dark, and with joints missed. That took 50 minutes on two cores that other work
shared, and gave 55 and 54 % top-1 on performers never seen. docs/results.md has other commands.
"""

from kerapose import training
from train import common

TRAINING = training.StarTransformer

if __name__ == "__main__":
    common.main(TRAINING)
