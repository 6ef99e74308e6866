"""Keypoint sets: names, limbs, left and right, OKS sigmas and colours, and the maps from one set to another.

The same joint has the same name in every set, and the maps go by names alone: ``left_`` and ``right_`` are the person's
own, ``hip`` lies between the hips, ``thorax`` and ``neck`` at the height of the shoulders, ``upper_neck`` where neck
and skull meet.

- of people: ``COCO``, ``MPII``, ``OPENPOSE``, ``BODY_25``, ``HALPE26``, ``WHOLEBODY``, ``BLAZEPOSE``, ``JHMDB``,
  ``PENN_ACTION``;
- of people in space: ``H36M``, ``HUMANEVA``, ``NTU`` (Kinect v2), ``KINECT_V1``, ``MSR_ACTION3D``, ``FLORENCE3D``;
- of one hand: ``HAND``; of animals: ``AP10K``.

``ALL`` has them all, `get` finds one by its name, and for any other keypoints one makes a `Skeleton`. ``DERIVED`` says
which joints are computed from others, `is_sigma` what a sigma may be (above 0, at most ``LARGEST_SIGMA``).

Example:
    >>> from kerapose import skeletons
    >>> converted, _ = skeletons.convert(keypoints, scores, skeletons.COCO, skeletons.H36M)
    >>> converted.shape, skeletons.H36M.keypoints[:3]
    ((2, 30, 17, 2), ('hip', 'right_hip', 'right_knee'))
    >>> {skeleton.name: skeleton.num_keypoints for skeleton in skeletons.ALL}
    {'coco': 17, 'mpii': 16, 'h36m': 17, 'openpose': 18, 'ntu': 25, 'jhmdb': 15, 'humaneva': 15, 'penn_action': 13,
     'body_25': 25, 'halpe26': 26, 'hand': 21, 'wholebody': 133, 'ap10k': 17, 'kinect_v1': 20, 'blazepose': 33,
     'msr_action3d': 20, 'florence3d': 15}
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
