"""The pipeline of bottom-up 2D pose: images with any number of people to batches of images with their fields.

It is the sister of `data.crops`. Every source yields the same element, one an image, where `crops` has one a person::

    {"image": encoded JPEG or PNG, "keypoints": [M, K, 2] pixels of the image, "visibility": [M, K] 0 not labelled,
     1 occluded, 2 visible, "box": [M, 4] left, top, right, bottom in pixels, "area": [M] pixels^2, "head_size": [M]
     pixels, 0 if not known, "is_crowd": [M] bool, "person_id": [M] ints, "image_id": int, "name": file name of the
     image, "size": [2] annotated height and width of the image, 0 if not known}

A keypoint that is not labelled lies at (0, 0). What a valid sample is says the gate, `data.gate.images`.

M differs from image to image and may be 0. In place of "image" it may have "path", a file to be read when its turn
comes, or "pixels", [H, W, 3] uint8 RGB. Batches for training are (images [B, H, W, 3], targets [B, h, w, K+1+2E], mask
[B, h, w, 1]): an image is warped once, so that a main person in it has a certain size and place, and the targets are
the heatmaps of K keypoints and of the background, then x and y of the part affinity fields of E limbs.

Images stay encoded until their batch is made. One with several main people is decoded anew for each of them, unless
they come in a row. Shuffling keeps the encoded images of `shuffle_buffer` samples in memory, once for all samples of an
image, and nothing of images that are read by their paths. A batch of 80 images of 368 x 368 takes 130 MB, and up to as
many batches are in the making as there are cores.
"""

from kerapose.data.annotated import skip
from kerapose.data.gate import BadDataError
from kerapose.data.people.batches import evaluation, training, validation
from kerapose.data.people.samples import annotations, check, from_arrays, from_coco, from_tfds, image_ids, trainable
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
    "image_ids",
    "skip",
    "trainable",
    "training",
    "validation",
]
