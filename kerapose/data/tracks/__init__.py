"""The pipeline of lifting: tracks of 2D keypoints and their 3D poses to batches of windows.

A track is what one camera saw of one person over time. `Tracks` holds all frames of all tracks one after another, 2D on
the screen and 3D in the space of the camera (`ops.cameras`), and training is no more than rows of those arrays: a
sample is a chunk, the frames to be predicted, and the network sees a window, the chunk with half a receptive field on
either side of it (all of it before the chunk if the network is causal). Windows are gathered in the graph, a batch at a
time; where one reaches past an end of its track, the frame at that end is repeated::

    chunk                    [start, end)
    window      [start - pad - shift, end + pad - shift)      pad = receptive_field // 2, shift = pad if causal, else 0

Batches for a lifter alone are (keypoints [B, W, K, 2], root-relative poses [B, chunk_length, J, 3]); those for joint
training with a trajectory network are dicts (`training`). The root of a pose is its joint 0.
"""

from kerapose.data.gate import BadDataError
from kerapose.data.prepared import NotPreparedError
from kerapose.data.tracks.batches import training
from kerapose.data.tracks.checks import check, skip
from kerapose.data.tracks.chunking import chunks, steps_per_epoch, windows
from kerapose.data.tracks.gaps import fill_gaps
from kerapose.data.tracks.reading import CAMERA_FIELDS, PLACEMENT_FIELDS, from_arrays, from_predictions, from_tfds
from kerapose.data.tracks.track_set import Tracks
from kerapose.data.tracks.whole import padded_batches, sequences

__all__ = [
    "CAMERA_FIELDS",
    "PLACEMENT_FIELDS",
    "BadDataError",
    "NotPreparedError",
    "Tracks",
    "check",
    "chunks",
    "fill_gaps",
    "from_arrays",
    "from_predictions",
    "from_tfds",
    "padded_batches",
    "sequences",
    "skip",
    "steps_per_epoch",
    "training",
    "windows",
]
