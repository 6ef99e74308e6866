"""Keypoint sets: names, limbs, left and right, OKS sigmas and colours, and the maps from one set to another.

The same joint has the same name in every set, which is all the maps go by: `left_` and `right_` are the person's own,
`hip` lies between the hips, `thorax` and `neck` at the height of the shoulders, `upper_neck` where neck and skull meet.

Example:
    >>> from kerapose.skeletons import COCO, H36M, convert
    >>> keypoints_h36m, scores_h36m = convert(keypoints, scores, COCO, H36M)  # [M, T, 17, 2], [M, T, 17]
"""

from kerapose.skeletons.maps import DERIVED, convert, lacking, mapping
from kerapose.skeletons.sets import (
    ALL,
    AP10K,
    BLAZEPOSE,
    BODY_25,
    COCO,
    FLORENCE3D,
    H36M,
    HALPE26,
    HAND,
    HUMANEVA,
    JHMDB,
    KINECT_V1,
    MPII,
    MSR_ACTION3D,
    NTU,
    OPENPOSE,
    PENN_ACTION,
    WHOLEBODY,
    from_coco_category,
    get,
)
from kerapose.skeletons.skeleton import (
    CENTER_COLOR,
    LARGEST_SIGMA,
    LEFT_COLORS,
    LOWER_BODY,
    RIGHT_COLORS,
    Skeleton,
    UnknownPairs,
    is_sigma,
)

__all__ = [
    "ALL",
    "AP10K",
    "BLAZEPOSE",
    "BODY_25",
    "CENTER_COLOR",
    "COCO",
    "DERIVED",
    "FLORENCE3D",
    "H36M",
    "HALPE26",
    "HAND",
    "HUMANEVA",
    "JHMDB",
    "KINECT_V1",
    "LARGEST_SIGMA",
    "LEFT_COLORS",
    "LOWER_BODY",
    "MPII",
    "MSR_ACTION3D",
    "NTU",
    "OPENPOSE",
    "PENN_ACTION",
    "RIGHT_COLORS",
    "Skeleton",
    "UnknownPairs",
    "WHOLEBODY",
    "convert",
    "from_coco_category",
    "get",
    "is_sigma",
    "lacking",
    "mapping",
]
