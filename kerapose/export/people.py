"""SavedModels from images to everybody in them.

`serving_default` of `people_saved_model` takes and gives

=============  ======  =====  ================================================================================
input          type    shape
=============  ======  =====  ================================================================================
`image_bytes`  string  [B]    JPEG or PNG files, each of a size of its own; turned upright as the camera noted
=============  ======  =====  ================================================================================

================  =======  ============  ===========================================================================
output            type     shape
================  =======  ============  ===========================================================================
`keypoints`       float32  [B, P, K, 2]  pixels of the upright image, x first; 0 where missing and for padding
`scores`          float32  [B, P, K]     0 where missing and for padding
`person_scores`   float32  [B, P]        the surest person first; 0 for padding
`count`           int32    [B]           how many of the P are people, 0 where there is nobody
`num_found`       int32    [B]           how many people were found; of more than P the surest are given
`overflow`        bool     [B]           whether the estimator's bounds left people out, or peaks that they are made of
`keypoint_names`  string   [B, K]
================  =======  ============  ===========================================================================

P is the estimator's `max_people`; B is free up to the limit that was exported. The images go through the network one
after the other, since each has a size of its own. In REST an image is {"b64": "..."}:
{"instances": [{"image_bytes": {"b64": "..."}}]}.
"""

import pathlib

import tensorflow as tf

from kerapose import estimators
from kerapose.export.archives import require
from kerapose.export.encoded import check_images, decoded
from kerapose.export.limits import MAX_IMAGES, MAX_OBLONG, MAX_PIXELS, MAX_WHOLE_PIXELS, check_limits
from kerapose.export.serving import WARM_UP_PICTURES, apart, fitting, picture, served, write_served
from kerapose.types import Path


def people_saved_model(
    estimator: estimators.BottomUpEstimator,
    path: Path,
    overwrite: bool = False,
    max_images: int = MAX_IMAGES,
    max_pixels: int | None = None,
) -> pathlib.Path:
    """Writes a SavedModel that takes encoded images and gives the keypoints of everybody in each.

    All that `predictors.BottomUpPose` does is inside: decoding, resizing, normalizing, the network, the grouping and
    the way back to pixels of the image.

    Args:
        estimator: a `BottomUpEstimator`, whose names they are.
        path: folder to write; for TensorFlow Serving it is named by a number, the version ("models/people/1").
        overwrite: whether a SavedModel already there is replaced.
        max_images: the most images that a request may have.
        max_pixels: the most pixels of an image, as its header states them. None: 50 million; but 1920 x 1080 if the
            estimator's `height` is None, so that the network sees each image as it is.

    Returns:
        The path.

    Raises:
        ValueError: if a limit is below 1.
        FileExistsError: if something is already there.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import export, predictors
        >>> estimator = predictors.load("runs/openpose/model.keras", height=64, max_people=5).estimator
        >>> path = export.people_saved_model(estimator, "models/people/1")
        >>> served = tf.saved_model.load(path).signatures["serving_default"]
        >>> found = served(image_bytes=tf.io.read_file("street.jpg")[None])
        >>> tuple(found["keypoints"].shape), found["keypoint_names"].numpy()[0, 0]  # found["count"] rows are people
        ((1, 5, 18, 2), b'nose')
    """
    encoded = tf.TensorSpec((None,), tf.string, "image_bytes")
    if max_pixels is None:
        max_pixels = MAX_PIXELS if estimator.height else MAX_WHOLE_PIXELS
    check_limits(max_images=max_images, max_pixels=max_pixels)
    with served(path, overwrite, apart("images", max_images, "each has a size of its own")) as part:
        signatures = {"serving_default": (_people_function(estimator, max_images, max_pixels), [encoded])}
        images = [picture(fitting(size, max_pixels)) for size in WARM_UP_PICTURES]
        write_served(part, signatures, {"serving_default": [{"image_bytes": [image]} for image in images]})
    return pathlib.Path(path)


def _people_function(estimator, max_images, max_pixels):
    """image_bytes [B] to the outputs by name."""
    names = tf.constant(estimator.skeleton.keypoints)  # [K]
    most, num_keypoints = estimator.max_people, estimator.skeleton.num_keypoints
    specs = {
        "keypoints": tf.TensorSpec((most, num_keypoints, 2), tf.float32),
        "scores": tf.TensorSpec((most, num_keypoints), tf.float32),
        "person_scores": tf.TensorSpec((most,), tf.float32),
        "count": tf.TensorSpec((), tf.int32),
        "num_found": tf.TensorSpec((), tf.int32),
        "overflow": tf.TensorSpec((), tf.bool),
    }

    def find(request):
        image = decoded(request["image_bytes"], request["index"], max_pixels)
        if not estimator.height:
            image = _not_too_oblong(image, request["index"])
        found = estimator(image)
        return {name: tf.ensure_shape(found[name], spec.shape) for name, spec in specs.items()}

    def serve(image_bytes):
        encoded = tf.ensure_shape(check_images({"image_bytes": image_bytes}, max_images)["image_bytes"], (None,))
        requests = {"image_bytes": encoded, "index": tf.range(tf.size(encoded))}
        # An image after the other: more at once would only take more memory.
        found = tf.map_fn(find, requests, parallel_iterations=1, fn_output_signature=specs)
        return found | {"keypoint_names": tf.broadcast_to(names, (tf.size(encoded), num_keypoints))}

    return serve


def _not_too_oblong(image, index):
    """The image [H, W, 3], once its sides are not too unlike each other."""
    height, width = tf.unstack(tf.shape(image)[:2])
    return require(
        tf.maximum(height, width) <= MAX_OBLONG * tf.minimum(height, width),
        f"An image that the network sees as it is may be at most {MAX_OBLONG} times as long as wide, got {{}} wide and "
        "{} high for image {}; cut it.",
        (width, height, index),
        {"image": image},
    )["image"]
