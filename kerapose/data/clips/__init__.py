"""The pipeline of action recognition: sequences of keypoints to batches of clips.

Every source yields the same element, and every step is a pure function of it::

    {"keypoints": [M, T, K, 2] pixels, "scores": [M, T, K], "frame_size": [2] height and width,
     "label": int, "name": str}

or, of 3D skeletons, which a virtual camera turns into that (`seen_from`, `training`)::

    {"poses_m": [M, T, K, 3] metres, z up, "scores": [M, T, K], "label": int, "name": str}

Batches are ({"keypoints": [B, M, L, K, 2] pixels of the volume, "scores": [B, M, L, K]}, labels [B]); people that a
clip lacks beside others of its batch have score 0, so nothing is drawn for them. `layers.HeatmapVolume` turns such a
batch into volumes inside a model, `volumes` does so in the pipeline. What a valid clip is says the gate,
`data.gate.sequences`, of 3D skeletons `data.gate.poses`.
"""

from kerapose.data.clips.batches import evaluation, training, volumes
from kerapose.data.clips.checks import check, skip, trainable, usual
from kerapose.data.clips.sources import (
    convert,
    from_arrays,
    from_poses,
    from_predictions,
    from_pyskl,
    from_tfds,
    make_element,
    seen_from,
)
from kerapose.data.gate import BadDataError
from kerapose.data.prepared import NotPreparedError
from kerapose.data.virtual_views import Views, holds_poses

__all__ = [
    "BadDataError",
    "NotPreparedError",
    "Views",
    "check",
    "convert",
    "evaluation",
    "from_arrays",
    "from_poses",
    "from_predictions",
    "from_pyskl",
    "from_tfds",
    "holds_poses",
    "make_element",
    "seen_from",
    "skip",
    "trainable",
    "training",
    "usual",
    "volumes",
]
