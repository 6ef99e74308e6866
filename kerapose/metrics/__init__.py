"""Figures of merit, as the papers report them: of keypoints, of people in images, of poses in space and of actions.

Functions take arrays of a whole data set and give floats. The classes `HeatmapPCK`, `CoordinatePCK`,
`MeanPerJointError` and `MeanClassAccuracy` are `keras.metrics.Metric`, to watch in `fit`.
"""

from kerapose.metrics.actions import MeanClassAccuracy, action_metrics, confusion_matrix
from kerapose.metrics.average_precision import coco_ap, coco_results
from kerapose.metrics.keypoints import (
    MPII_GROUPS,
    MPII_UNCOUNTED,
    CoordinatePCK,
    HeatmapPCK,
    auc,
    head_size,
    heatmap_accuracy,
    pck,
    pckh,
    pixel_error,
)
from kerapose.metrics.lifting import (
    AUC_THRESHOLDS_M,
    LIFTING_FIGURES,
    MeanPerJointError,
    auc_3d,
    lifting_metrics,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pck_3d,
)
from kerapose.metrics.people import (
    box_nms,
    oks,
    oks_between,
    oks_nms,
    rescore,
    soft_oks_nms,
    sound_sigmas,
)

__all__ = [
    "action_metrics",
    "auc",
    "auc_3d",
    "AUC_THRESHOLDS_M",
    "box_nms",
    "coco_ap",
    "coco_results",
    "confusion_matrix",
    "CoordinatePCK",
    "head_size",
    "heatmap_accuracy",
    "HeatmapPCK",
    "LIFTING_FIGURES",
    "lifting_metrics",
    "MeanClassAccuracy",
    "MeanPerJointError",
    "MPII_GROUPS",
    "MPII_UNCOUNTED",
    "mpjpe",
    "mpjve",
    "n_mpjpe",
    "oks",
    "oks_between",
    "oks_nms",
    "p_mpjpe",
    "pck",
    "pck_3d",
    "pckh",
    "pixel_error",
    "rescore",
    "soft_oks_nms",
    "sound_sigmas",
]
