"""The pipeline of top-down 2D pose: images with people to batches of crops, one crop a person.

Every source yields the same element, one a person, and every step is a pure function of it::

    {"image": encoded JPEG or PNG, "keypoints": [K, 2] pixels of the image, "visibility": [K] 0 not labelled,
     1 occluded, 2 visible, "box": [4] left, top, right, bottom in pixels, "area": pixels^2, "head_size": pixels, 0 if
     not known, "is_crowd": bool, "image_id": int, "person_id": int, "name": file name of the image, "size": [2]
     annotated height and width of the image, 0 if not known}

A keypoint that is not labelled lies at (0, 0). What a valid sample is says the gate, `data.gate.images`.

In place of "image" it may have "path", a file to be read when its turn comes, or "pixels", [H, W, 3] uint8 RGB, of
which each image is in memory once. Batches for training are (crops [B, H, W, 3], targets, weights [B, K]), and what the
targets are says the codec: heatmaps [B, h, w, K], coordinates [B, K, 2], or the vectors of SimCC, {"x": [B, K, 2 * W],
"y": [B, K, 2 * H]}.

Images stay encoded until their batch is made; then each is decoded once for the people in a row that share it, and each
person is warped once, from the image to the crop. Shuffling keeps the encoded images of `shuffle_buffer` people in
memory, once for all people of an image, and nothing of images that are read by their paths.
"""

from kerapose.data.annotated import skip
from kerapose.data.crops.batches import evaluation, training, validation
from kerapose.data.crops.checks import annotations, check, trainable
from kerapose.data.crops.sources import from_arrays, from_coco, from_tfds
from kerapose.data.gate import BadDataError
from kerapose.data.prepared import NotPreparedError

__all__ = [
    "BadDataError",
    "NotPreparedError",
    "annotations",
    "check",
    "evaluation",
    "from_arrays",
    "from_coco",
    "from_tfds",
    "skip",
    "trainable",
    "training",
    "validation",
]
