"""Losses: what networks of heatmaps, fields, coordinates, SimCC's vectors and poses in space are trained on.

The classes are `keras.losses.Loss`, for `compile`. The functions take tensors and give scalars. All compute in float32,
whatever the model computes in.
"""

from kerapose.losses.bins import SimCCDivergence
from kerapose.losses.coordinates import ResidualLikelihood, SmoothL1
from kerapose.losses.flows import RealNVP
from kerapose.losses.heatmaps import FieldsL2, JointsMSE, JointsOHKM
from kerapose.losses.poses import (
    MPJPE,
    bone_length_penalty,
    bone_lengths,
    mpjpe,
    n_mpjpe,
    reprojection,
    weighted_mpjpe,
)

__all__ = [
    "FieldsL2",
    "JointsMSE",
    "JointsOHKM",
    "MPJPE",
    "RealNVP",
    "ResidualLikelihood",
    "SimCCDivergence",
    "SmoothL1",
    "bone_length_penalty",
    "bone_lengths",
    "mpjpe",
    "n_mpjpe",
    "reprojection",
    "weighted_mpjpe",
]
