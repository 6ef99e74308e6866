"""Images with labelled people, as `data.crops` and `data.people` both read, check and cut them.

What is here goes for elements of either: one a person there, one an image with all its people here and there.
"""

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import coco, prepared
from kerapose.data import images as image_files
from kerapose.ops import images as image_ops

IMAGE_FIELDS = ("image", "path", "pixels")  # one of them
VISIBILITIES = (0, 1, 2)  # not labelled, occluded, visible
PIXEL_SHAPE = (-1, -1, 3)  # any height and width
SHUFFLE_BUFFER = 4096  # people; 0.3 GB of COCO's images


class BadDataError(ValueError):
    """Images or annotations that a network could not be trained on; `names` are the images', for `skip`."""

    def __init__(self, message, names):
        super().__init__(message)
        self.names = tuple(names)


# ---------------------------------------- sources
def read_records(name, split, data_dir=None):
    """The records of a prepared TFDS dataset of images, their files not decoded, and its skeleton: see `from_tfds`."""
    builder = prepared.find(name, split, data_dir)
    metadata = builder.info.metadata or {}
    if "people" not in builder.info.features or "skeleton" not in metadata:
        raise ValueError(f"{name} must hold images with people and say their skeleton, it does not; use another.")
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = builder.as_dataset(split=split, shuffle_files=False, decoders=decoders)
    return records, prepared.skeleton_of(metadata["skeleton"])


def image_folder(path):
    """The folder of the images of a COCO file, as a `Path`."""
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"image_dir must be a folder, got {path}; give the one that holds the images.")
    return path


def as_tensors(fields, skeleton, count=None):
    """Arrays of N people in the types and shapes of elements."""
    count = len(fields["box"]) if count is None else count
    shapes = {"keypoints": (skeleton.num_keypoints, 2), "visibility": (skeleton.num_keypoints,), "box": (4,)}
    types = {"visibility": "int32", "is_crowd": "bool", "image_id": "int64", "person_id": "int64"}
    tensors = {}
    for key, value in fields.items():
        shape = (count, *shapes.get(key, ()))
        if np.shape(value) != shape:
            raise ValueError(
                f"{key} of {count} people with the keypoints of {skeleton.name} has the shape {shape}, got "
                f"{np.shape(value)}; reshape it, or give the skeleton that the keypoints were made with."
            )
        if key == "visibility":
            value = np.where(np.isin(value, VISIBILITIES), value, -1)  # what is none of them stays wrong as an int
        is_text = key in ("name", "path")
        tensors[key] = tf.constant(list(value), tf.string) if is_text else np.asarray(value, types.get(key, "float32"))
    return tensors


def shared_images(images):
    """A dataset of what images are read from; an object that comes again is not copied."""
    made = {}
    for image in images:
        if id(image) not in made:
            made[id(image)] = _image_fields(image)
    if not made:
        return tf.data.Dataset.from_tensor_slices({"image": tf.constant([], tf.string)})
    first = next(iter(made.values()))
    if any(set(fields) != set(first) for fields in made.values()):
        raise ValueError("Images must be all paths, all bytes or all arrays, got a mixture; read or encode some.")
    if "path" in first:
        return tf.data.Dataset.from_tensor_slices({"path": [str(image) for image in images]})
    return tf.data.experimental.from_list([made[id(image)] for image in images])


def is_path(image):
    return isinstance(image, str | pathlib.Path)


def _image_fields(image):
    if is_path(image):
        return {"path": str(image)}
    if isinstance(image, bytes):
        return {"image": tf.constant(image)}
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise ValueError(
            f"Images are uint8 [H, W, 3], [H, W, 4] or [H, W], got {image.dtype} {list(image.shape)}; convert them."
        )
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]
    return {"pixels": tf.constant(image)}


# ---------------------------------------- pixels
def decoded(element):
    """The image of an element: [H, W, 3] uint8 RGB, upright."""
    if "pixels" in element:
        return element["pixels"]
    return _decode(tf.io.read_file(element["path"]) if "path" in element else element["image"])


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def _decode(encoded):
    """`data.images.decode`, whose graph is larger than the rest of a pipeline, made once for all pipelines."""
    return image_files.decode(encoded)


def with_handles(dataset):
    """Elements that can be batched: handles stand for images that are in memory as pixels, which are not copied."""

    def wrap(element):
        empty = tf.raw_ops.EmptyTensorList(element_shape=PIXEL_SHAPE, max_num_elements=1, element_dtype=tf.uint8)
        return element | {"pixels": tf.raw_ops.TensorListPushBack(input_handle=empty, tensor=element["pixels"])}

    return dataset.map(wrap) if "pixels" in dataset.element_spec else dataset


def cut(batch, matrices, image_size):
    """Cuts one crop out of each image of a batch of elements; those in a row who share an image share its decoding.

    Args:
        batch: elements, of which only the images count.
        matrices: [B, 2, 3], from pixels of the image to pixels of the crop.
        image_size: (height, width) of the crops.

    Returns:
        crops [B, H, W, 3] float32, 0 .. 255, black outside of the image, and sizes [B, 2] int32 of the images.
    """
    count = tf.shape(matrices)[0]
    if "pixels" in batch:
        shared = tf.zeros(count, tf.bool)
    else:
        hashes = tf.strings.to_hash_bucket_fast(batch["path" if "path" in batch else "image"], 2**63 - 1)
        shared = tf.concat([[False], hashes[1:] == hashes[:-1]], axis=0)

    def step(i, image, crops, sizes):
        image = tf.cond(shared[i], lambda: image, lambda: _image_of(batch, i))
        crops = crops.write(i, image_files.crop(image, matrices[i], image_size))
        return i + 1, image, crops, sizes.write(i, tf.shape(image)[:2])

    crops = tf.TensorArray(tf.float32, count, element_shape=(*image_size, 3))
    start = (0, tf.zeros((0, 0, 3), tf.uint8), crops, tf.TensorArray(tf.int32, count, element_shape=(2,)))
    invariants = (tf.TensorShape(()), tf.TensorShape((None, None, 3)), tf.TensorShape(None), tf.TensorShape(None))
    *_, crops, sizes = tf.while_loop(lambda i, *_: i < count, step, start, invariants)
    crops = tf.ensure_shape(crops.stack(), (matrices.shape[0], *image_size, 3))
    return crops, tf.ensure_shape(sizes.stack(), (matrices.shape[0], 2))


def _image_of(batch, i):
    """The image of the i-th of a batch of elements."""
    if "pixels" in batch:
        return tf.raw_ops.TensorListGetItem(
            input_handle=batch["pixels"][i], index=0, element_shape=PIXEL_SHAPE, element_dtype=tf.uint8
        )
    return decoded({key: batch[key][i] for key in ("image", "path") if key in batch})


def finisher(normalization, color_jitter):
    """A function of crops [B, H, W, 3] and random numbers [B, 3] that gives what the network sees."""
    normalization = dict(normalization or {})

    @tf.function(jit_compile=True)  # one pass over memory in place of many
    def finish(crops, uniforms):
        if color_jitter:
            crops = image_ops.jitter(crops, uniforms, color_jitter)
        return image_ops.normalize(crops, **normalization)

    return finish


# ---------------------------------------- checks
def without_image(element):
    return {key: value for key, value in element.items() if key not in IMAGE_FIELDS}


def check_keypoints(dataset, skeleton):
    given = dataset.element_spec["keypoints"].shape[-2:]
    if not given.is_compatible_with((skeleton.num_keypoints, 2)):
        raise ValueError(
            f"{skeleton.name} has {skeleton.num_keypoints} keypoints, got {list(given)} in the dataset; give the "
            "skeleton that the keypoints were made with."
        )


def has_no_name_of(dataset, names):
    """Whether the image of each element has none of a set of names, each of which some image must have: [N] bool."""
    present = [name.decode() for name in dataset.map(lambda element: element["name"]).as_numpy_iterator()]
    strangers = sorted(names - set(present))
    if strangers:
        raise ValueError(f"Images to skip are in the dataset, {coco.some(strangers)} are not; correct the names.")
    return np.array([name not in names for name in present], bool)


def kept(dataset, keep):
    """The elements of a dataset for which an array [N] is true, and how many these are."""
    if not keep.all():
        dataset = tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensor_slices(keep))
        dataset = dataset.filter(lambda _, is_kept: is_kept).map(lambda element, _: element)
    return dataset.apply(tf.data.experimental.assert_cardinality(int(keep.sum())))


def image_sizes(dataset, wanted):
    """Height and width of the image of each element for which an array [N] is true, (0, 0) where it cannot be read."""
    sizes, count = [], wanted.sum()
    iterator = iter(kept(dataset, wanted).map(lambda element: tf.shape(decoded(element))[:2], tf.data.AUTOTUNE))
    while len(sizes) < count:
        try:
            sizes.append(next(iterator).numpy())
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):  # the iterator goes on with the next one
            sizes.append(np.zeros(2, "int32"))
    return sizes


def unsound(people):
    """What is wrong with annotations: {complaint: [N] bool}."""
    finite = np.isfinite(people["keypoints"]).all(axis=(1, 2))
    box, area = people["box"], people["area"]
    with np.errstate(invalid="ignore"):  # NaN is counted as such
        return {
            "with a keypoint that is not finite": ~finite,
            "with a box or an area that is not finite": ~(np.isfinite(box).all(axis=1) & np.isfinite(area)),
            "with visibility other than 0, 1, 2": ~np.isin(people["visibility"], VISIBILITIES).all(axis=1),
            "with a box whose right or bottom comes before its left or top": (box[:, 2:] < box[:, :2]).any(axis=1),
            "with a negative area": area < 0,
        }


def is_outside(box, sizes):
    """Whether boxes [N, 4] share nothing with images of (height, width) [N, 2]: [N] bool."""
    left, top, right, bottom = box.T
    return (left > sizes[:, 1] - 0.5) | (top > sizes[:, 0] - 0.5) | (right < -0.5) | (bottom < -0.5)


def raise_unsound(problems, names, unreadable=()):
    """Raises one error on all that is wrong, if there is something."""
    complaints = [f"{len(unreadable)} images cannot be decoded ({coco.some(unreadable)})"] if len(unreadable) else []
    bad = list(unreadable)
    for complaint, wrong in problems.items():
        if wrong.any():
            complaints.append(f"{wrong.sum()} people {complaint} ({coco.some(dict.fromkeys(names[wrong]))})")
            bad += names[wrong].tolist()
    if complaints:
        raise BadDataError(
            f"Images can be read and annotations are sound, got {'; '.join(complaints)}; repair them, or leave their "
            "images out with `skip(dataset, error.names)`.",
            dict.fromkeys(bad),
        )


def counted(reasons):
    """Why people are left out, and how many; somebody may be left out for two reasons."""
    return ", ".join(f"{wrong.sum()} {reason}" for reason, wrong in reasons.items() if wrong.any())
