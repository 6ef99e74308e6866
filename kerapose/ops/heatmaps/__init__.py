"""Heatmap codecs: from keypoints to heatmaps and back.

`encode` draws what top-down networks learn to draw and `decode` reads it, with the rounding of the publication that a
codec is named after (`CODECS`: "gaussian", "dark", "udp" and "hourglass"). `encode_offsets` and `encode_simcc` are two
more codecs, whose output is not one map a keypoint.

`joint_volume` and `limb_volume` draw what PoseConv3D sees. Both are one broadcast expression over people, frames,
rows, columns and keypoints (or limbs). Their windows and exceptions are those of the published generator (Duan et al.,
"Revisiting Skeleton-based Action Recognition", CVPR 2022; PYSKL's GeneratePoseTarget), so that a published checkpoint
sees exactly the input that it was trained on. Keypoints with a score below `MIN_SCORE`, 0.001, are not drawn.
"""

from kerapose.ops.heatmaps.codecs import CODECS, decode, encode, merge_flipped
from kerapose.ops.heatmaps.offsets import decode_offsets, encode_offsets
from kerapose.ops.heatmaps.simcc import decode_simcc, encode_simcc
from kerapose.ops.heatmaps.volumes import MIN_SCORE, flip_volume, joint_volume, limb_volume

__all__ = [
    "CODECS",
    "MIN_SCORE",
    "decode",
    "decode_offsets",
    "decode_simcc",
    "encode",
    "encode_offsets",
    "encode_simcc",
    "flip_volume",
    "joint_volume",
    "limb_volume",
    "merge_flipped",
]
