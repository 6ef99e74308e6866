"""The pipeline of video and skeleton together: encoded videos with keypoints to batches of clips of both.

Every source yields the same element, that of `data.clips` with its video, and every step is a pure function of it::

    {"video": the content of a file, MP4, AVI, MKV ..., "keypoints": [M, T, K, 2] pixels, "scores": [M, T, K],
     "frame_size": [2] height and width that the keypoints refer to, "label": int, "name": str}

In place of "video" it may have "path", a file to be read when its turn comes, or "jpegs": [T] contents of JPEG files,
the frames one by one, which TensorFlow decodes by itself. T is the number of frames of the video, and keypoints of
index t belong to its t-th frame in the order of presentation, whatever the frame rate does.

Batches are ({"rgb": [B, L, h, w, 3] normalized, "keypoints": [B, M, L', K, 2] pixels of the pose volume, "scores":
[B, M, L', K]}, labels [B]); for a network of one pathway the keys of the other are left out, and no video is decoded
for keypoints alone. Frames and keypoints are cut out, resized and mirrored together. Videos stay encoded until their
clip is made, and then only the frames are decoded that it has. `data.clips.convert`, `mirrors.mirrored_labels`,
`data.clips.skip` and `data.clips.trainable` serve here too, the latter two under this name as well.
"""

from kerapose.data.clips import skip, trainable
from kerapose.data.gate import BadDataError
from kerapose.data.prepared import NotPreparedError
from kerapose.data.videos.batches import evaluation, training
from kerapose.data.videos.checks import check
from kerapose.data.videos.pictures import darkened, decode, missed, sampled
from kerapose.data.videos.sources import NoVideoError, from_arrays, from_pyskl, from_tfds

__all__ = [
    "BadDataError",
    "NoVideoError",
    "NotPreparedError",
    "check",
    "darkened",
    "decode",
    "evaluation",
    "from_arrays",
    "from_pyskl",
    "from_tfds",
    "missed",
    "sampled",
    "skip",
    "trainable",
    "training",
]
