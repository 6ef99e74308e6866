"""Heatmap codecs: from keypoints to heatmaps and back.

`encode` draws what top-down networks learn to draw and `decode` reads it, with the rounding of the publication that a
codec is named after (`CODECS`: "gaussian", "dark", "udp" and "hourglass"). `encode_offsets`, `encode_regression` and
`encode_simcc` are three more codecs, whose output is not one map a keypoint. What pipelines and estimators know,
`ALL_CODECS`, has one way in and back, whatever the output is: `encode_answers` and `decode_answers`.

`joint_volume` and `limb_volume` draw what PoseConv3D sees. Both are one broadcast expression over people, frames,
rows, columns and keypoints (or limbs). Their windows and exceptions are those of the published generator (Duan et al.,
"Revisiting Skeleton-based Action Recognition", CVPR 2022; PYSKL's GeneratePoseTarget), so that a published checkpoint
sees exactly the input that it was trained on. Keypoints with a score below `MIN_SCORE`, 0.001, are not drawn.
"""

from kerapose.ops.heatmaps.answers import (
    ALL_CODECS,
    check_codec,
    codecs_of,
    decode_answers,
    encode_answers,
    is_shifted,
    merge_flipped_answers,
    read_outputs,
)
from kerapose.ops.heatmaps.codecs import CODECS, decode, encode, merge_flipped
from kerapose.ops.heatmaps.offsets import decode_offsets, encode_offsets
from kerapose.ops.heatmaps.regression import (
    bound_sigmas,
    decode_regression,
    encode_regression,
    merge_flipped_regression,
)
from kerapose.ops.heatmaps.simcc import decode_simcc, encode_simcc, merge_flipped_simcc, simcc_sigmas
from kerapose.ops.heatmaps.volumes import MIN_SCORE, flip_volume, joint_volume, limb_volume

__all__ = [
    "ALL_CODECS",
    "CODECS",
    "MIN_SCORE",
    "bound_sigmas",
    "check_codec",
    "codecs_of",
    "decode",
    "decode_answers",
    "decode_offsets",
    "decode_regression",
    "decode_simcc",
    "encode",
    "encode_answers",
    "encode_offsets",
    "encode_regression",
    "encode_simcc",
    "flip_volume",
    "is_shifted",
    "joint_volume",
    "limb_volume",
    "merge_flipped",
    "merge_flipped_answers",
    "merge_flipped_regression",
    "merge_flipped_simcc",
    "read_outputs",
    "simcc_sigmas",
]
