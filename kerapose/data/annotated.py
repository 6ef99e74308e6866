"""Images with labelled people, as `data.crops` and `data.people` both read, check and cut them.

What is here goes for elements of either: one a person there, one an image with all its people here and there.
"""

import functools
import pathlib
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import coco, gate, prepared, selection
from kerapose.data import images as image_files
from kerapose.data.gate import images as rules
from kerapose.ops import images as image_ops
from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike, Path, Size, Tensor

IMAGE_FIELDS = ("image", "path", "pixels")  # one of them
PIXEL_SHAPE = (-1, -1, 3)  # any height and width
WHOLE_FIELDS = ("image_id", "person_id")
TYPES = {"visibility": "int32", "is_crowd": "bool", "image_id": "int64", "person_id": "int64", "size": "int32"}
SHUFFLE_BUFFER = 4096  # people; 0.3 GB of COCO's images


_sound_datasets = weakref.WeakSet()  # whose annotations the gate has seen


# ---------------------------------------- sources
def read_records(name: str, split: str, data_dir: Path | None = None) -> tuple[tf.data.Dataset, Skeleton]:
    """The records of a prepared TFDS dataset of images, their files not decoded, and its skeleton: see `from_tfds`."""
    builder = prepared.find(name, split, data_dir)
    metadata = builder.info.metadata or {}
    if "people" not in builder.info.features or "skeleton" not in metadata:
        raise ValueError(f"{name} must hold images with people and say their skeleton, it does not; use another.")
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = builder.as_dataset(split=split, shuffle_files=False, decoders=decoders).map(_in_convention)
    return records, prepared.skeleton_of(metadata["skeleton"])


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def _in_convention(record):
    """A record whose keypoints are at (0, 0) where they are not labelled, and whose size is 0 if it is not said."""
    people = dict(record["people"])
    people["keypoints"] = tf.where(people["visibility"][..., None] > 0, people["keypoints"], 0.0)
    return {"size": tf.zeros(2, tf.int32)} | record | {"people": people}


def image_folder(path: Path) -> pathlib.Path:
    """The folder of the images of a COCO file, as a `Path`."""
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"image_dir must be a folder, got {path}; give the one that holds the images.")
    return path


def paths_of(folder: Path, names: Iterable[str]) -> Array:
    """The paths of images by their names in a COCO file, as text: [N]."""
    paths = {name: str(coco.image_path(folder, name)) for name in dict.fromkeys(names)}
    return np.array([paths[name] for name in names], object)


def sizes_of(images: Sequence[Path | bytes | Array] | Array, sizes: ArrayLike | None) -> Array:
    """[N, 2] annotated (height, width) of images, `sizes` if given: else of arrays their own, of others 0.

    Raises:
        ValueError: if sizes are no whole numbers.
    """
    if sizes is not None:
        sizes = rules.as_numbers(sizes, "sizes")
        wrong = ~((sizes % 1 == 0) & (sizes >= 0) & (sizes < 2**31))
        if wrong.any():
            raise ValueError(
                f"sizes must be whole numbers of pixels, (height, width), got {sizes[wrong][0]:g}; round them, or give "
                "0 where a size is not known."
            )
        return sizes.astype("int32")
    own = [np.shape(image)[:2] if hasattr(image, "shape") and np.ndim(image) > 1 else (0, 0) for image in images]
    return np.array(own, "int32").reshape(-1, 2)


def as_tensors(fields: Mapping[str, Array], skeleton: Skeleton, count: int | None = None) -> dict[str, Tensor]:
    """Arrays of N people in the types and shapes of elements."""
    count = len(fields["box"]) if count is None else count
    shapes = {"keypoints": (skeleton.num_keypoints, 2), "visibility": (skeleton.num_keypoints,)}
    shapes |= {"box": (4,), "size": (2,)}
    tensors = {}
    for key, value in fields.items():
        shape = (count, *shapes.get(key, ()))
        is_text = key in ("name", "path")
        value = value if is_text else rules.as_numbers(value, key, None)
        if np.shape(value) != shape:
            raise ValueError(
                f"{key} of {count} people with the keypoints of {skeleton.name} has the shape {shape}, got "
                f"{np.shape(value)}; reshape it, or give the skeleton that the keypoints were made with."
            )
        if key == "visibility":
            value = np.where(np.isin(value, rules.VISIBILITIES), value, -1)  # what is none stays wrong as an int
        if key in WHOLE_FIELDS and not (value == np.rint(value)).all():
            raise ValueError(f"{key} must be whole numbers, got {value[value != np.rint(value)][0]:g}; number them.")
        if key == "is_crowd" and not np.isin(value, (0, 1)).all():
            raise ValueError(f"is_crowd must be True or False, got {value[~np.isin(value, (0, 1))][0]:g}; correct it.")
        tensors[key] = tf.constant(list(value), tf.string) if is_text else value.astype(TYPES.get(key, "float32"))
    if "keypoints" in tensors:
        tensors["keypoints"] = rules.in_convention(tensors["keypoints"], tensors["visibility"]).astype("float32")
    return tensors


def shared_images(images: Sequence[Path | bytes | Array] | Array) -> tf.data.Dataset:
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


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def with_image(element: dict[str, Tensor], image: dict[str, Tensor]) -> dict[str, Tensor]:
    """An element with what its image is read from."""
    return element | image


def is_path(image: typing.Any) -> bool:
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
def decoded(element: Mapping[str, Tensor]) -> Tensor:
    """The image of an element: [H, W, 3] uint8 RGB, upright; when run, it must have the size it was annotated in."""
    image = element["pixels"] if "pixels" in element else _decode(_encoded(element))
    found, size = tf.shape(image)[:2], element["size"]
    good = tf.logical_or(tf.reduce_all(tf.equal(size, found)), tf.reduce_any(tf.equal(size, 0)))
    sentence = "A picture must have the height and width that it was annotated in, got (name, annotated, shown)"
    told = [sentence, element["name"], size, found, "; `check` tells why."]
    with tf.control_dependencies([tf.debugging.Assert(good, told)]):
        return tf.identity(image)


def _encoded(element):
    return tf.io.read_file(element["path"]) if "path" in element else element["image"]


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def _decode(encoded):
    """`data.images.decode`, whose graph is larger than the rest of a pipeline, made once for all pipelines."""
    return image_files.decode(encoded)


def with_handles(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Elements that can be batched: handles stand for images that are in memory as pixels, which are not copied."""

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def wrap(element):
        empty = tf.raw_ops.EmptyTensorList(element_shape=PIXEL_SHAPE, max_num_elements=1, element_dtype=tf.uint8)
        return element | {"pixels": tf.raw_ops.TensorListPushBack(input_handle=empty, tensor=element["pixels"])}

    return dataset.map(wrap) if "pixels" in dataset.element_spec else dataset


def cut(batch: Mapping[str, Tensor], matrices: Tensor, image_size: Size) -> tuple[Tensor, Tensor]:
    """Cuts one crop out of each image of a batch of elements; those in a row who share an image share its decoding.

    Args:
        batch: elements, of which only the images count.
        matrices: [B, 2, 3], from pixels of the image to pixels of the crop.
        image_size: (height, width) of the crops.

    Returns:
        crops [B, H, W, 3] float32, 0 .. 255, black outside of the image, and sizes [B, 2] int32 of the images.
    """
    images = {key: batch[key] for key in (*IMAGE_FIELDS, "size", "name") if key in batch}
    return _cut(images, matrices, tuple(image_size))


@tf.function(autograph=False)  # a graph larger than the rest of a pipeline, made once for all pipelines
def _cut(batch, matrices, image_size):
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
    element = {key: value[i] for key, value in batch.items() if key != "pixels"}
    if "pixels" in batch:
        element["pixels"] = tf.raw_ops.TensorListGetItem(
            input_handle=batch["pixels"][i], index=0, element_shape=PIXEL_SHAPE, element_dtype=tf.uint8
        )
    return decoded(element)


def finisher(normalization: Mapping[str, typing.Any] | None, color_jitter: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of crops [B, H, W, 3] and random numbers [B, 3] that gives what the network sees."""

    def fixed(value):  # so that it can be looked up
        return value if np.ndim(value) == 0 else tuple(value)

    options = {key: fixed(value) for key, value in (normalization or {}).items()}
    return _finisher(tuple(sorted(options.items())), fixed(color_jitter))


@functools.lru_cache(maxsize=8)  # pipelines of the same options share what is compiled
def _finisher(normalization, color_jitter):
    @tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of many
    def finish(crops, uniforms):
        if color_jitter:
            crops = image_ops.jitter(crops, uniforms, color_jitter)
        return image_ops.normalize(crops, **dict(normalization))

    return finish


# ---------------------------------------- checks
@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def without_image(element: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in element.items() if key not in IMAGE_FIELDS}


def check_keypoints(dataset: tf.data.Dataset, skeleton: Skeleton) -> None:
    given = dataset.element_spec["keypoints"].shape[-2:]
    if not given.is_compatible_with((skeleton.num_keypoints, 2)):
        raise ValueError(
            f"{skeleton.name} has {skeleton.num_keypoints} keypoints, got {list(given)} in the dataset; give the "
            "skeleton that the keypoints were made with."
        )


def check_people(people: Mapping[str, Array]) -> None:
    """Raises if annotations cannot be right as far as they alone show it: what training looks at without `check`.

    Args:
        people: arrays of N people, with the "size" [N, 2] of their images, as far as it is known.

    Raises:
        BadDataError: naming the images.
    """
    report = gate.Report("people")
    rules.note_people(report, people, people["size"])
    report.close()


def check(
    dataset: tf.data.Dataset,
    is_read: ArrayLike,
    images: Mapping[str, Array],
    people: Mapping[str, Array],
    of_person: ArrayLike,
) -> None:
    """Decodes images, and raises if one of these or an annotation cannot be right.

    Args:
        dataset: of elements.
        is_read: [elements] bool, whose images are decoded.
        images: {"name" [I], "size" [I, 2]} of these.
        people: arrays of N people.
        of_person: [N] the places of their images among the I.

    Raises:
        BadDataError: naming the images.
    """
    of_images, of_people = gate.Report("images"), gate.Report("people")
    found, orientations, paths = _looked_at(dataset, is_read)
    good = rules.note_images(of_images, images["name"], images["size"], found, orientations, paths)
    sizes = np.where(good[:, None], found, 0)  # of another size keypoints say nothing
    rules.note_people(of_people, people, sizes[of_person])
    of_images.close(of_people)


def _looked_at(dataset, wanted):
    """Of the images of elements for which an array [N] is true: sizes [I, 2], orientations, paths if they have some.

    A size is 0 where an image cannot be decoded, -1 where it is not there.
    """

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def look(element):
        if "pixels" in element:
            return tf.shape(element["pixels"])[:2], tf.constant(1, tf.int64)
        return image_files.look(_encoded(element))

    dataset, count = selection.kept(dataset, wanted), wanted.sum()
    iterator, sizes, orientations = iter(dataset.map(look, tf.data.AUTOTUNE)), [], []
    while len(sizes) < count:
        size, kind = np.zeros(2, "int32"), 1
        try:
            size, kind = (value.numpy() for value in next(iterator))
        except tf.errors.NotFoundError:  # the iterator goes on with the next one
            size = size - 1
        except (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError, tf.errors.PermissionDeniedError):
            pass
        sizes.append(size)
        orientations.append(kind)
    paths = None
    if "path" in dataset.element_spec and any(size[0] < 0 for size in sizes):
        paths = [path.decode() for path in dataset.map(lambda element: element["path"]).as_numpy_iterator()]
    return np.array(sizes).reshape(-1, 2), np.array(orientations), paths


def mark_sound(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset, of which it is known from now on that the gate has seen its annotations."""
    _sound_datasets.add(dataset)
    return dataset


def is_sound(dataset: tf.data.Dataset) -> bool:
    """Whether the gate has seen its annotations."""
    return dataset in _sound_datasets


def skip(dataset: tf.data.Dataset, names: Iterable[str]) -> tf.data.Dataset:
    """Leaves images out of a dataset; how many these are is logged.

    Args:
        dataset: of elements.
        names: of the images, such as those of a `BadDataError`.

    Returns:
        A `tf.data.Dataset` of elements, whose `cardinality()` is known.

    Raises:
        ValueError: naming those that the dataset does not have.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_tfds("puppets/images", "train", data_dir=".")
        >>> fewer = crops.skip(dataset, ["street0.jpg"])
        >>> int(fewer.cardinality())  # of eight people, two in each image
        6
    """
    return selection.without(dataset, names, "images")
