"""SavedModels from images to keypoints.

`serving_default` of `pose_saved_model` takes and gives

=============  =======  =========  ================================================================================
input          type     shape
=============  =======  =========  ================================================================================
`image_bytes`  string   [B]        JPEG or PNG files, each of a size of its own; turned upright as the camera noted
`boxes`        float32  [B, N, 4]  left, top, right, bottom, pixels of the upright image; all 0 where only padding
=============  =======  =========  ================================================================================

================  =======  ============  ===================================================
output            type     shape
================  =======  ============  ===================================================
`keypoints`       float32  [B, N, K, 2]  pixels of the upright image, x first; 0 for padding
`scores`          float32  [B, N, K]     0 for padding
`keypoint_names`  string   [B, K]
================  =======  ============  ===================================================

`whole_image` takes `image_bytes` alone and looks for one person, or animal, in the whole of each image: N is 1. B and N
are free up to the limits that were exported. The crops of all images go through the network together, so that a server
that batches requests gains by it. In REST an image is {"b64": "..."}, and one image with two boxes is
{"instances": [{"image_bytes": {"b64": "..."}, "boxes": [[10, 20, 110, 320], [200, 30, 290, 310]]}]}.
"""

import pathlib

import numpy as np
import tensorflow as tf

from kerapose import estimators
from kerapose.data.gate.images import TINY_PX, UNIT
from kerapose.export.archives import first_false_or_zero, require
from kerapose.export.encoded import check_images, decoded
from kerapose.export.limits import MAX_BOXES, MAX_IMAGES, MAX_PIXELS, at_most, check_limits
from kerapose.export.serving import WARM_UP_PICTURES, fitting, picture, served, together, write_served
from kerapose.types import Path


def pose_saved_model(
    estimator: estimators.PoseEstimator,
    path: Path,
    overwrite: bool = False,
    max_images: int = MAX_IMAGES,
    max_pixels: int = MAX_PIXELS,
    max_boxes: int = MAX_BOXES,
) -> pathlib.Path:
    """Writes a SavedModel that takes encoded images with boxes and gives keypoints in pixels of the images.

    All that `predictors.TopDownPose` does with given boxes is inside: decoding, cropping, normalizing, the network, the
    mirror image and the way back.

    Args:
        estimator: a `PoseEstimator`, whose names they are.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/pose/1").
        overwrite: whether a SavedModel already there is replaced.
        max_images: the most images that a request may have.
        max_pixels: the most pixels of an image, as its header states them.
        max_boxes: the most boxes of an image, padding included.

    Returns:
        The path.

    Raises:
        ValueError: if a limit is below 1.
        FileExistsError: if something is already there.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import export, predictors
        >>> estimator = predictors.load("runs/topdown/model.keras", flip_test=False).estimator
        >>> path = export.pose_saved_model(estimator, "models/pose/1")
        >>> served = tf.saved_model.load(path).signatures["serving_default"]
        >>> found = served(image_bytes=tf.io.read_file("street.jpg")[None], boxes=tf.constant(boxes[None]))
        >>> tuple(found["keypoints"].shape), found["keypoint_names"].numpy()[0, 0]  # two boxes
        ((1, 2, 17, 2), b'nose')
    """
    encoded = tf.TensorSpec((None,), tf.string, "image_bytes")
    boxes = tf.TensorSpec((None, None, 4), tf.float32, "boxes")
    limits = {"max_images": max_images, "max_pixels": max_pixels, "max_boxes": max_boxes}
    check_limits(**limits)
    serve, serve_whole = _pose_functions(estimator, **limits)
    why = "the network sees all their crops at once, and an image with fewer boxes than another is filled up"
    with served(path, overwrite, together("images", max_images, why)) as part:
        signatures = {"serving_default": (serve, [encoded, boxes]), "whole_image": (serve_whole, [encoded])}
        write_served(part, signatures, _warm_up(max_pixels, max_boxes))
    return pathlib.Path(path)


def _warm_up(max_pixels, max_boxes):
    """Requests of one person and of four in an image."""
    height, width = fitting(WARM_UP_PICTURES[0], max_pixels)
    image = {"image_bytes": [picture((height, width))]}
    lefts = np.arange(4)[:, None] * width / 4
    boxes = np.concatenate([lefts, 0 * lefts, lefts + width / 4, 0 * lefts + height], axis=1)
    counts = sorted({min(count, max_boxes) for count in (1, 4)})
    return {"serving_default": [image | {"boxes": boxes[None, :count]} for count in counts], "whole_image": [image]}


def _pose_functions(estimator, max_images, max_pixels, max_boxes):
    """(image_bytes, boxes) and (image_bytes) to {"keypoints", "scores", "keypoint_names"}."""
    names = tf.constant(estimator.skeleton.keypoints)  # [K]
    count = estimator.skeleton.num_keypoints
    shapes = (None, *estimator.image_size, 3), (None, 2, 3)  # of crops, of matrices
    # A function of its own: the network is in the file once, not once for each signature.
    find = tf.function(estimator.from_crops, [tf.TensorSpec(shape, tf.float32) for shape in shapes])

    def cut(request):
        image = decoded(request["image_bytes"], request["index"], max_pixels)
        if "boxes" in request:
            boxes = _boxes_in_image(request, tf.shape(image))
            boxes = tf.boolean_mask(boxes, tf.logical_not(_is_padding(boxes)))
        else:
            height, width = tf.unstack(tf.shape(image)[:2])
            boxes = tf.cast(tf.stack([0, 0, width, height])[None], tf.float32)
        return estimator.crops(image, boxes)

    def cut_all(inputs):
        """The crops of all images, one image's after the other's: [P, H, W, 3], [P, 2, 3]."""
        requests = inputs | {"index": tf.range(tf.shape(inputs["image_bytes"])[0])}
        spec = tuple(tf.RaggedTensorSpec(shape, tf.float32, ragged_rank=0) for shape in shapes)
        # An image after the other: more at once would only take more memory.
        crops, matrices = tf.map_fn(cut, requests, parallel_iterations=1, fn_output_signature=spec)
        return crops.values, matrices.values

    def serve(image_bytes, boxes):
        inputs = _checked_images({"image_bytes": image_bytes, "boxes": boxes}, max_images, max_boxes)
        people = tf.where(tf.logical_not(_is_padding(inputs["boxes"])))  # [P, 2]: image, box
        shape = tf.shape(inputs["boxes"], tf.int64)[:2]  # B, N
        keypoints, scores = find(*cut_all(inputs))  # [P, K, 2], [P, K]
        return {
            "keypoints": tf.scatter_nd(people, keypoints, tf.concat([shape, (count, 2)], axis=0)),
            "scores": tf.scatter_nd(people, scores, tf.concat([shape, (count,)], axis=0)),
            "keypoint_names": tf.broadcast_to(names, tf.stack([shape[0], count])),
        }

    def serve_whole(image_bytes):
        inputs = _checked_images({"image_bytes": image_bytes}, max_images, max_boxes)
        keypoints, scores = find(*cut_all(inputs))  # [B, K, 2], [B, K]
        every_name = tf.broadcast_to(names, tf.shape(scores))
        return {"keypoints": keypoints[:, None], "scores": scores[:, None], "keypoint_names": every_name}

    return serve, serve_whole


def _is_padding(boxes):
    """[..., N, 4] -> [..., N]. When TensorFlow Serving fills boxes up, it is with one of their numbers, not with 0."""
    return tf.reduce_all(tf.equal(boxes, boxes[..., :1]), axis=-1)


def _checked_images(inputs, max_images, max_boxes):
    """The images and boxes, if there are any, behind assertions: each gives one sentence on a wrong request."""
    signature = {name: value.shape for name, value in inputs.items()}
    inputs = check_images(inputs, max_images, **({"boxes": ("B", "N", 4)} if "boxes" in inputs else {}))
    if "boxes" in inputs:
        inputs = _check_boxes(inputs, tf.size(inputs["image_bytes"]), max_boxes)
    return {name: tf.ensure_shape(value, signature[name]) for name, value in inputs.items()}


def _check_boxes(inputs, num_images, max_boxes):
    shape = tf.shape(inputs["boxes"])
    inputs = at_most(inputs, shape[1], max_boxes, "boxes an image", "send the others in requests of their own")
    inputs = require(
        tf.logical_and(tf.equal(shape[0], num_images), tf.equal(shape[2], 4)),
        "boxes must be [B, N, 4], left, top, right, bottom, for {} images, got {}; fill up with boxes of zeros where "
        "an image has fewer.",
        (num_images, shape),
        inputs,
    )
    boxes = tf.reshape(inputs["boxes"], (-1, 4))  # [B*N, 4]
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1)
    has_area = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    good = tf.logical_and(finite, tf.logical_or(has_area, _is_padding(boxes)))
    wrong = first_false_or_zero(good)
    return require(
        tf.reduce_all(good),
        "A box must be finite with right > left and bottom > top, or all zeros for padding, got {} in image {}; COCO's "
        "x, y, w, h is x, y, x + w, y + h here.",
        (tf.gather(_never_empty(boxes), wrong), wrong // tf.maximum(tf.shape(inputs["boxes"], tf.int64)[1], 1)),
        inputs,
    )


def _boxes_in_image(request, size):
    """The boxes [N, 4], once each is known to show a part of its image, whose size is (height, width, 3)."""
    boxes = request["boxes"]
    height, width = tf.unstack(tf.cast(size[:2], tf.float32))
    begins = tf.reduce_all(boxes[:, :2] < tf.stack([width, height]), axis=-1)
    ends = tf.reduce_all(boxes[:, 2:] > 0.0, axis=-1)
    good = tf.logical_or(tf.logical_and(begins, ends), _is_padding(boxes))
    in_pixels = tf.reduce_any(tf.abs(boxes) > UNIT, axis=-1)
    people = tf.boolean_mask(in_pixels, tf.logical_not(_is_padding(boxes)))
    boxes = require(
        tf.reduce_any(tf.concat([people, [tf.size(people) == 0, tf.reduce_max(size[:2]) <= TINY_PX]], axis=0)),
        "Boxes must be in pixels, got {} in image {}, which is {} wide and {} high; multiply them by width and height.",
        (tf.gather(_never_empty(boxes), first_false_or_zero(in_pixels)), request["index"], size[1], size[0]),
        {"boxes": boxes},
    )["boxes"]
    return require(
        tf.reduce_all(good),
        "A box must show a part of its image, got {} in image {}, which is {} wide and {} high; leave it out, or check "
        "that it is in pixels of the upright image.",
        (tf.gather(_never_empty(boxes), first_false_or_zero(good)), request["index"], size[1], size[0]),
        {"boxes": boxes},
    )["boxes"]


def _never_empty(boxes):
    """A sentence is made up before it is known whether it is needed, and so its box must exist."""
    return tf.concat([boxes, tf.zeros((1, 4))], axis=0)
