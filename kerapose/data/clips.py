"""The pipeline of action recognition: sequences of keypoints to batches of clips.

Every source yields the same element, and every step is a pure function of it:

    {"keypoints": [M, T, K, 2] pixels, "scores": [M, T, K], "frame_size": [2] height and width,
     "label": int, "name": str}

Batches are ({"keypoints": [B, M, L, K, 2] pixels of the volume, "scores": [B, M, L, K]}, labels [B]); people that a
clip lacks beside others of its batch have score 0, so nothing is drawn for them. `layers.HeatmapVolume` turns such a
batch into volumes inside a model, `volumes` does so in the pipeline.
"""

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import sides, skeletons
from kerapose.data import order, prepared, pyskl
from kerapose.data.gate import mirrors, some
from kerapose.ops import clips as clip_ops
from kerapose.ops import heatmaps, sequences

NotPreparedError = prepared.NotPreparedError
SHUFFLE_BUFFER = 10_000  # clips, where nobody knows how many there are


def from_arrays(keypoints, labels, skeleton, scores=None, frame_sizes=None, names=None, num_classes=None):
    """A dataset of sequences that are in memory.

    Args:
        keypoints: list of [M, T, K, 2] (or [T, K, 2] for one person) arrays, pixels, x first; (0, 0) where missing.
        labels: list of class indices.
        skeleton: the `Skeleton` of the keypoints.
        scores: list of [M, T, K] (or [T, K]) arrays. None: 1 where a keypoint is not (0, 0).
        frame_sizes: list of (height, width), pixels, or one pair for all. None: just large enough for the keypoints.
        names: list of clip names. None: their numbers.
        num_classes: how many classes there are. None: not checked.

    Returns:
        A `tf.data.Dataset` of elements.

    Raises:
        ValueError: naming the first clip that is not as described (see `check`).

    Example:
        >>> dataset = from_arrays([walk, run], labels=[0, 1], skeleton=skeletons.COCO, frame_sizes=(1080, 1920))
    """
    if len(keypoints) != len(labels):
        raise ValueError(f"Each clip has one label, got {len(keypoints)} clips and {len(labels)} labels; match them.")
    elements = []
    for i, points in enumerate(keypoints):
        size = frame_sizes if frame_sizes is None or np.ndim(frame_sizes) == 1 else frame_sizes[i]
        name = str(i if names is None else names[i])
        given = None if scores is None else scores[i]
        elements.append(make_element(points, skeleton, given, size, labels[i], name, num_classes))
    return _from_elements(elements, range(len(elements)), skeleton)


def make_element(keypoints, skeleton, scores=None, frame_size=None, label=0, name="0", num_classes=None):
    """One checked sequence, as every source yields it.

    Args:
        keypoints: [M, T, K, 2] (or [T, K, 2] for one person), pixels, x first; (0, 0) where missing.
        skeleton: the `Skeleton` of the keypoints.
        scores: [M, T, K] (or [T, K]). None: 1 where a keypoint is not (0, 0).
        frame_size: (height, width), pixels. None: just large enough for the keypoints.
        label: class index.
        name: what errors call the sequence.
        num_classes: how many classes there are. None: the label is not checked.

    Returns:
        {"keypoints", "scores", "frame_size", "label", "name"}, NumPy arrays but for the name.

    Raises:
        ValueError: if the sequence is not as described (see `check`).
    """
    keypoints = np.asarray(keypoints, "float32")
    keypoints = keypoints[None] if keypoints.ndim == 3 else keypoints  # [M, T, K, 2]
    scores = np.asarray(np.any(keypoints != 0, axis=-1) if scores is None else scores, "float32")
    if frame_size is None:
        coordinate_axes = tuple(range(keypoints.ndim - 1))
        finite = np.where(np.isfinite(keypoints), keypoints, 0.0)
        frame_size = np.ceil(finite.max(axis=coordinate_axes, initial=1.0))[::-1]
    checked = {
        "keypoints": keypoints,
        "scores": scores[None] if scores.ndim == 2 else scores,  # [M, T, K]
        "frame_size": np.asarray(frame_size, "int32"),
        "label": np.int64(label),
        "name": name,
    }
    _check_element(checked, skeleton, num_classes)
    return checked


def from_pyskl(path, split, skeleton, num_classes=None):
    """A dataset of one split of a PYSKL annotation file.

    Args:
        path: of the pickle, which is read safely.
        split: name of a split in it ("xsub_train").
        skeleton: the `Skeleton` of its keypoints.
        num_classes: how many classes there are. None: not checked.

    Returns:
        A `tf.data.Dataset` of elements.

    Raises:
        ValueError: if the file or a clip in it is not as described, or it has no such split.
        FileNotFoundError: if there is no such file.

    Example:
        >>> dataset = from_pyskl("ntu60_hrnet.pkl", "xsub_train", skeletons.COCO, num_classes=60)
    """
    annotations = pyskl.read_annotations(path, skeleton, num_classes)
    if split not in annotations.splits:
        raise ValueError(f"{path} has the splits {', '.join(annotations.splits)}, got {split!r}; use one of them.")
    return _from_elements(annotations.clips, annotations.splits[split], skeleton)


def from_tfds(name, split, data_dir=None):
    """A dataset of one split of a prepared TFDS dataset, with its description.

    Args:
        name: of the dataset and its config ("puppets", "pyskl_clips/ntu60").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.

    Returns:
        A `tf.data.Dataset` of elements, and the `tfds.core.DatasetInfo`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        ValueError: if it has no such split.
    """
    builder = prepared.find(name, split, data_dir)
    return builder.as_dataset(split=split, shuffle_files=False), builder.info


def convert(dataset, source, target):
    """Maps the keypoints of a dataset from one set to another, so that a network of one can learn from the other.

    Args:
        dataset: of elements with the keypoints of `source`.
        source: a `Skeleton`.
        target: a `Skeleton` whose joints can all be derived from those of `source` (`skeletons.mapping`).

    Returns:
        A `tf.data.Dataset` of elements with the keypoints of `target`, as `skeletons.convert` gives them: a derived
        joint has the least score of those that it is made of, and is missing where one of them is.

    Raises:
        ValueError: naming the joints that cannot be derived.

    Example:
        >>> dataset = convert(coco_clips, skeletons.COCO, skeletons.JHMDB)
    """
    matrix = skeletons.mapping(source, target)  # [K', K]
    made_of = (matrix != 0)[None, None]  # [1, 1, K', K]
    lacking = [name for name, row in zip(target.keypoints, matrix, strict=True) if not row.any()]
    if lacking:
        raise ValueError(
            f"Keypoints of {target.name} must follow from those of {source.name}, {', '.join(lacking)} cannot; give "
            "another set."
        )

    def apply(element):
        keypoints, scores = element["keypoints"], element["scores"]
        present = tf.reduce_any(keypoints != 0, axis=-1) & (scores > 0) & tf.math.is_finite(scores)  # [M, T, K]
        present &= tf.reduce_all(tf.math.is_finite(keypoints), axis=-1)
        keypoints = tf.where(present[..., None], keypoints, 0.0)
        derived_present = tf.reduce_all(present[:, :, None] | ~made_of, axis=-1)  # [M, T, K']
        derived = tf.einsum("jk,mtkx->mtjx", matrix, keypoints)
        least = tf.reduce_min(tf.where(made_of, scores[:, :, None], np.float32(np.inf)), axis=-1)
        return element | {
            "keypoints": tf.where(derived_present[..., None], derived, 0.0),
            "scores": tf.where(derived_present, least, 0.0),
        }

    return dataset.map(apply, tf.data.AUTOTUNE)


def check(dataset, skeleton, num_classes):
    """Reads a whole dataset once and raises on the first clip that a network could not be trained on.

    Args:
        dataset: of elements.
        skeleton: the `Skeleton` that its keypoints should have.
        num_classes: how many classes there are.

    Returns:
        How many clips there are.

    Raises:
        ValueError: naming the clip: wrong shapes or number of keypoints, no frames, NaN, no visible keypoint, a label
            out of range; or if there is no clip at all.
    """
    count = 0
    for element in dataset.as_numpy_iterator():
        _check_element(element | {"name": element["name"].decode()}, skeleton, num_classes)
        count += 1
    if count == 0:
        raise ValueError("A dataset has at least one clip, got none; check the split and how it was prepared.")
    return count


def mirrored_labels(class_names, flip_pairs=None):
    """Which class an action becomes in a mirror: "Wave Left" becomes "Wave Right" where both are classes.

    Names are read by `sides`. Of classes that name a side and have no mirror image one warning tells.

    Args:
        class_names: of the labels, in order.
        flip_pairs: pairs of classes that change places in a mirror, by name or number, where names do not tell; no
            others change then, and `()` says that none does. None: found by the names.

    Returns:
        [C] ints, a permutation that is its own inverse; the identity for classes without a side.

    Raises:
        ValueError: if a pair has a class that there is not, or a class is in two of them.

    Example:
        >>> mirrored_labels(["clap", "wave_left", "wave_right"])
        [0, 2, 1]
        >>> mirrored_labels(["clap", "serve", "return"], flip_pairs=[("serve", "return")])
        [0, 2, 1]
    """
    names = [str(name) for name in class_names]
    if flip_pairs is None:
        pairs = sides.class_pairs(names)
        alone = sides.classes_alone(names, pairs)
        if alone:
            logging.warning(
                "A class that names a side needs its mirror image among the classes, or its mirrored clips are "
                "labelled wrongly, got %d of %d without (%s); switch mirroring off, or give flip_pairs, () if they "
                "look the same in a mirror.",
                len(alone),
                len(names),
                some(alone),
            )
    else:
        pairs = sides.given_pairs(flip_pairs, names, "class")
    labels = list(range(len(names)))
    for left, right in pairs:
        labels[left], labels[right] = right, left
    return labels


def training(
    dataset,
    skeleton,
    batch_size=16,
    num_frames=48,
    size=(56, 56),
    seed=0,
    first_step=0,
    flip_probability=0.5,
    flip_labels=None,
    rotation_degrees=0.0,
    use_scores=True,
    **augmentation,
):
    """Endless shuffled batches of random clips.

    The n-th batch is a function of the dataset, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: clips a batch.
        num_frames: frames a clip, L.
        size: height and width of the volume, pixels.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; they are not augmented, only counted.
        flip_probability: of mirroring a clip; where the skeleton does not know its sides, none is.
        flip_labels: [C] the class that each becomes in a mirror (`mirrored_labels`). None: its own.
        rotation_degrees: greatest angle by which a clip is turned, either way; 0 in the published recipe.
        use_scores: whether a keypoint is drawn as high as its score, or all of a person's, missing ones too, with 1.
        **augmentation: `padding`, `short_side_px`, `area_range`, `aspect_range` of `ops.clips.training_clip`.

    Returns:
        A `tf.data.Dataset` of batches.

    Example:
        >>> batches = training(dataset, skeletons.COCO, batch_size=32)
        >>> model.fit(batches, steps_per_epoch=100)
    """
    words = sequences.num_words(num_frames)
    flip_probability = mirrors.allowed(flip_probability, skeleton)

    def augment(index, element):
        draws = tf.random.stateless_uniform((words,), [2 * seed, index], 0, 2**31 - 1, tf.int32)
        uniforms = tf.random.stateless_uniform((24,), [2 * seed + 1, index])
        flip = uniforms[0] < flip_probability
        angle = (uniforms[1] * 2 - 1) * np.float32(np.radians(rotation_degrees))
        keypoints, scores = clip_ops.training_clip(
            element["keypoints"],
            element["scores"] if use_scores else clip_ops.full_scores(element["scores"]),
            element["frame_size"],
            draws,
            uniforms[2:],
            flip,
            skeleton.flip_permutation,
            num_frames,
            size,
            rotation=angle,
            **augmentation,
        )
        label = element["label"]
        if flip_labels is not None:
            label = tf.where(flip, tf.gather(tf.constant(flip_labels, tf.int64), label), label)
        return {"keypoints": keypoints, "scores": scores}, label

    dataset, first = dataset.cache(), first_step * batch_size
    buffer_size = None if int(dataset.cardinality()) >= 0 else SHUFFLE_BUFFER
    elements = order.shuffled_endlessly(dataset, seed, first, buffer_size).enumerate(first)
    return _batched(elements.map(augment, tf.data.AUTOTUNE), batch_size)


def evaluation(dataset, batch_size=16, num_frames=48, size=(64, 64), use_scores=True, padding=0.25):
    """Batches of one deterministic clip a sequence, in order, the last one as small as it comes.

    Args:
        dataset: of elements.
        batch_size: clips a batch.
        num_frames: frames a clip, L.
        size: height and width of the volume, pixels.
        use_scores: as in `training`.
        padding: of the compact box, as a fraction of its half size.

    Returns:
        A `tf.data.Dataset` of batches.
    """

    def prepare(element):
        keypoints, scores = clip_ops.evaluation_clips(
            element["keypoints"],
            element["scores"] if use_scores else clip_ops.full_scores(element["scores"]),
            element["frame_size"],
            num_frames,
            size=size,
            padding=padding,
        )
        return {"keypoints": keypoints[0], "scores": scores[0]}, element["label"]

    # Not cached: whoever looks at one batch and stops may leave a cache that ends there, without a word.
    return _batched(dataset.map(prepare, tf.data.AUTOTUNE), batch_size)


def volumes(batches, size, edges=None, sigma_px=0.6):
    """Turns batches of clips into batches of heatmap volumes, for a network without a `HeatmapVolume` before it.

    Args:
        batches: of `training` or `evaluation`.
        size: height and width of the volume, as given there.
        edges: limbs to draw (`Skeleton.edges`). None: the joints.
        sigma_px: standard deviation of the Gaussians, pixels of the volume.

    Returns:
        A `tf.data.Dataset` of (volumes [B, L, H, W, K or E], labels [B]).
    """

    @tf.function(jit_compile=True)  # one pass over memory in place of a dozen
    def draw(clip):
        if edges is None:
            return heatmaps.joint_volume(clip["keypoints"], clip["scores"], *size, sigma_px)
        return heatmaps.limb_volume(clip["keypoints"], clip["scores"], edges, *size, sigma_px)

    drawn = batches.map(lambda clips, labels: (draw(clips), labels), tf.data.AUTOTUNE)
    return drawn.prefetch(2)


def _from_elements(elements, keys, skeleton):
    """A dataset of `elements[key]` for each key; an element is fetched when its turn comes."""
    signature = {
        "keypoints": tf.TensorSpec((None, None, skeleton.num_keypoints, 2), tf.float32),
        "scores": tf.TensorSpec((None, None, skeleton.num_keypoints), tf.float32),
        "frame_size": tf.TensorSpec((2,), tf.int32),
        "label": tf.TensorSpec((), tf.int64),
        "name": tf.TensorSpec((), tf.string),
    }
    dataset = tf.data.Dataset.from_generator(lambda: (elements[key] for key in keys), output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(keys)))


def _batched(clips, batch_size):
    """Pads people with zeros (score 0) to the most in each batch."""
    return clips.padded_batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _check_element(element, skeleton, num_classes):
    """Raises one sentence on the first thing that is wrong with a clip."""
    keypoints, scores, name = element["keypoints"], element["scores"], element["name"]
    if keypoints.ndim != 4 or keypoints.shape[3] != 2:
        raise ValueError(f"Keypoints are [M, T, K, 2], got {keypoints.shape} in clip {name}; reshape them.")
    if keypoints.shape[2] != skeleton.num_keypoints:
        raise ValueError(
            f"{skeleton.name} has {skeleton.num_keypoints} keypoints, got {keypoints.shape[2]} in clip {name}; give "
            "the skeleton that the keypoints were made with."
        )
    if scores.shape != keypoints.shape[:3]:
        raise ValueError(f"Scores are {keypoints.shape[:3]} here, got {scores.shape} in clip {name}; one a keypoint.")
    if 0 in keypoints.shape:
        raise ValueError(
            f"A clip has at least one person and one frame, got {keypoints.shape[0]} people and {keypoints.shape[1]} "
            f"frames in clip {name}; leave it out."
        )
    if not np.isfinite(keypoints).all() or not np.isfinite(scores).all():
        count = int((~np.isfinite(keypoints).all(-1) | ~np.isfinite(scores)).sum())
        raise ValueError(
            f"Keypoints and scores are finite, got {count} keypoints with NaN or infinity in clip {name}; set missing "
            "keypoints to (0, 0) and their scores to 0."
        )
    if not (scores >= heatmaps.MIN_SCORE).any():
        raise ValueError(
            f"A clip shows at least one keypoint, got no score of {heatmaps.MIN_SCORE} or more in clip {name}; leave "
            "it out, or set the scores to 1 if they are not known."
        )
    frame_size = element["frame_size"]
    if frame_size.shape != (2,) or not (frame_size > 0).all():
        raise ValueError(
            f"frame_size is (height, width) in pixels, got {frame_size.tolist()} in clip {name}; give the size of the "
            "video frames."
        )
    if num_classes is not None and not 0 <= element["label"] < num_classes:
        raise ValueError(
            f"Labels are 0 to {num_classes - 1}, got {element['label']} in clip {name}; correct the label or the "
            "number of classes."
        )
