"""The splits of a run: found by name, checked once, without what is to be left out."""

import contextlib
import hashlib
import types
import typing
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import mirrors, presets, skeletons
from kerapose.data import clips, prepared, tracks
from kerapose.skeletons import Skeleton

ROLES = ("train", "validation", "test")


def roles(config: dict[str, typing.Any]) -> Sequence[str]:
    """What the splits of a run are for: those of a training, or "roles" of its options, where less is asked for."""
    return config.get("roles", ROLES)


@contextlib.contextmanager
def reading(role: str) -> Iterator[None]:
    """Where the split of a role is read: of a validation that is not there, the error says how to do without one."""
    try:
        yield
    except prepared.NoSplitError as error:
        if role != "validation":
            raise
        remedy = "give one of them, or validation_split='' (--validation_split=) for none"
        raise prepared.NoSplitError(error.rule, remedy) from None


def names_to_skip(config: dict[str, typing.Any], role: str) -> list[str]:
    """Which samples of a split are to be left out.

    Args:
        config: dict of "dataset", "data_dir", "skip", and "train_split" or that of another role.
        role: "train", "validation" or "test".

    Returns:
        A list of names; empty, without a look at the dataset, where nothing is to be skipped.
    """
    if not config["skip"]:
        return []
    split = config[f"{role}_split"]
    builder = prepared.find(config["dataset"], split, config["data_dir"])
    records = builder.as_dataset(split=split, shuffle_files=False).map(lambda record: record["name"])
    present = {name.decode() for name in records.as_numpy_iterator()}
    return sorted(present.intersection(config["skip"]))


def refuse_strangers(config: dict[str, typing.Any], skipped: Collection[str]) -> None:
    """Refuses to skip a sample that no split had.

    Args:
        config: dict of "dataset" and "skip".
        skipped: the names that splits had.

    Raises:
        ValueError: naming the first sample that is in none.
    """
    strangers = sorted(set(config["skip"]).difference(skipped))
    if strangers:
        raise ValueError(
            f"skip names samples of {config['dataset']}, {strangers[0]!r} is in none of its splits; correct the name."
        )


def load_clips(
    config: dict[str, typing.Any], pipeline: types.ModuleType, skeleton: Skeleton | None = None
) -> tuple[dict[str, typing.Any], Skeleton, list[str]]:
    """Reads and checks the splits of a dataset of actions, and leaves out what is not to be used.

    Args:
        config: dict of "dataset", "data_dir", "skip", and "train_split", "validation_split" (empty: none) and
            "test_split"; "dataset_skeleton", if keypoints of that set are to be mapped to `skeleton`; "check", if it is
            to be chosen whether every sample is looked at before.
        pipeline: `data.clips` or `data.videos`.
        skeleton: that the keypoints have or are mapped to. None: the one that the dataset says it has.

    Returns:
        {"train": what can be learnt from, "validation": elements or None, "test": elements}, the `Skeleton` of their
        keypoints, and the names of the classes.

    Raises:
        ValueError: if the dataset cannot be trained on, or has no sample that is to be skipped.
    """
    splits, left_out = {"validation": None}, []
    for role in roles(config):
        name, split = config["dataset"], config[f"{role}_split"]
        if role == "validation" and not split:
            continue
        with reading(role):
            splits[role], info = pipeline.from_tfds(name, split, config["data_dir"])
        names = names_to_skip(config, role)
        left_out += names
        splits[role] = clips.skip(splits[role], names) if names else splits[role]
        class_names = info.features["label"].names
        if skeleton is None:
            told = (info.metadata or {}).get("skeleton")
            if told is None:
                raise ValueError(f"{name} must say which keypoints it has, which it does not; give skeleton.")
            skeleton = prepared.skeleton_of(told)
        if config.get("dataset_skeleton"):
            splits[role] = clips.convert(splits[role], skeletons.get(config["dataset_skeleton"]), skeleton)
        if config.get("check", True):
            count = pipeline.check(splits[role], skeleton, len(class_names))
            logging.info("%s: %d samples of %s, split %s.", role, count, name, split)
    refuse_strangers(config, left_out)
    if "train" in splits:
        splits["train"] = clips.trainable(splits["train"])
    return splits, skeleton, class_names


def load_images(config: dict[str, typing.Any], pipeline: types.ModuleType) -> tuple[dict[str, typing.Any], Skeleton]:
    """Reads and checks the splits of a dataset of images, and leaves out what is not to be used.

    Args:
        config: dict of "dataset", "data_dir", "skip", "check", and "train_split", "validation_split" (empty: none) and
            "test_split".
        pipeline: `data.crops` or `data.people`.

    Returns:
        {"train": what can be learnt from, "validation": elements or None, "test": elements}, and their `Skeleton`.

    Raises:
        ValueError: if the dataset cannot be trained on, or has no image that is to be skipped.
    """
    splits, left_out = {"validation": None}, set()
    for role in roles(config):
        name, split = config["dataset"], config[f"{role}_split"]
        if role == "validation" and not split:
            continue
        with reading(role):
            elements, skeleton = pipeline.from_tfds(name, split, config["data_dir"])
        if config["skip"]:
            present = set(config["skip"]) & set(pipeline.annotations(elements, skeleton)["name"])
            elements, left_out = pipeline.skip(elements, present), left_out | present
        if config["check"]:
            logging.info("%s: %d people of %s, split %s.", role, pipeline.check(elements, skeleton), name, split)
        splits[role] = pipeline.trainable(elements, skeleton) if role == "train" else elements
    refuse_strangers(config, left_out)
    return splits, skeleton


def outline(split: tf.data.Dataset | tracks.Tracks) -> list:
    """What tells one split from another that was read in its place: how much it holds, and a sum of how it begins."""
    if isinstance(split, tracks.Tracks):
        return [len(split), split.num_frames, _sum_of([split.keypoints_screen[:100_000], split.names])]
    first = next(iter(split.take(1)), None)
    return [int(split.cardinality()), _sum_of([] if first is None else tf.nest.flatten(first))]


def _sum_of(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        array = np.asarray(array)
        digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return digest.hexdigest()[:16]


def flip_labels(class_names: Sequence[str], config: dict[str, typing.Any]) -> list[int] | None:
    """Which class each becomes in a mirror.

    Args:
        class_names: of the labels.
        config: dict of the options of `flip_options`.

    Returns:
        [C] labels; None where nothing is mirrored.

    Raises:
        ValueError: if a pair is none, or names a class that is not there.
    """
    pairs = config["flip_pairs"]
    if pairs is not None:
        pairs = [tuple(pair.split(":")) for pair in pairs]
        bad = [":".join(pair) for pair in pairs if len(pair) != 2]
        if bad:
            raise ValueError(f"flip_pairs must be pairs like wave_left:wave_right, got {bad[0]!r}; correct it.")
    elif not config["flip_probability"] and not config["flip_test"]:
        return None
    return mirrors.mirrored_labels(class_names, pairs)


def refuse_other_classes(preset: presets.Preset, class_names: Sequence[str]) -> None:
    """Refuses a preset of other classes than those of the data, as far as their number tells."""
    if preset.outputs != len(class_names):
        raise ValueError(
            f"The data must have the classes that {preset.name} knows, got {len(class_names)} and {preset.outputs}; "
            f"use {preset.data}, which it was trained on."
        )
