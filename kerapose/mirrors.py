"""Mirroring: whether figures may be mirrored, and which class of action a mirrored clip has.

Figures may be mirrored only where left and right are known (`Skeleton.knows_sides`).
"""

from collections.abc import Sequence
from typing import TypeVar

from absl import logging

from kerapose import sides
from kerapose.skeletons import Skeleton

__all__ = [
    "allowed",
    "are_known",
    "mirrored_labels",
]

Wanted = TypeVar("Wanted", float, bool)


def are_known(*skeletons: Skeleton) -> bool:
    """Tells whether all of some skeletons know their left and right.

    Args:
        *skeletons: any number of `Skeleton`.

    Returns:
        A bool.

    Example:
        >>> from kerapose import mirrors, skeletons
        >>> unknown = skeletons.Skeleton("worm", ("head", "middle", "tail"), edges=((0, 1), (1, 2)))
        >>> mirrors.are_known(skeletons.COCO), mirrors.are_known(skeletons.COCO, unknown)
        (True, False)
    """
    return all(skeleton.knows_sides for skeleton in skeletons)


def allowed(wanted: Wanted, *skeletons: Skeleton) -> Wanted:
    """Allows a mirroring where left and right are known; where they are not, there is none, and a warning is logged.

    Args:
        wanted: the probability of mirroring, or whether to mirror.
        *skeletons: the `Skeleton` of each set of keypoints that would be mirrored.

    Returns:
        `wanted`, or 0 or False in its place.

    Example:
        >>> from kerapose import mirrors, skeletons
        >>> unknown = skeletons.Skeleton("worm", ("head", "middle", "tail"), edges=((0, 1), (1, 2)))
        >>> mirrors.allowed(0.5, skeletons.COCO), mirrors.allowed(0.5, unknown), mirrors.allowed(True, unknown)
        (0.5, 0.0, False)
    """
    if not wanted or are_known(*skeletons):
        return wanted
    for skeleton in dict.fromkeys(skeletons):
        if not skeleton.knows_sides:
            alone = sides.keypoints_alone(skeleton.keypoints, skeleton.flip_pairs)
            names = f"{sides.some(alone)} without its mirror image" if alone else sides.some(skeleton.keypoints)
            logging.warning(
                "Left and right must be known to mirror, the keypoints of %s do not tell them (%s), so nothing is "
                "mirrored; give flip_pairs to the Skeleton, to from_coco or to datasets/build.py, () if none change "
                "places.",
                skeleton.name,
                names,
            )
    return type(wanted)(0)


def mirrored_labels(class_names: Sequence[str], flip_pairs: Sequence[Sequence[int | str]] | None = None) -> list[int]:
    """Gives the class that each action becomes in a mirror: "Wave Left" becomes "Wave Right" where both are classes.

    Names are read by `sides`. If a class names a side and has no mirror image, a warning is logged.

    Args:
        class_names: of the labels, in order.
        flip_pairs: pairs of classes that change places in a mirror, by name or number, and all that do; an empty list
            where none does. None: found by the names.

    Returns:
        A list of C ints: for each class its image, which is the class itself if it has no side.

    Raises:
        ValueError: if a pair has a class that does not exist, or a class is in two of them.

    Example:
        >>> from kerapose import mirrors
        >>> mirrors.mirrored_labels(["clap", "wave_left", "wave_right"])
        [0, 2, 1]
        >>> mirrors.mirrored_labels(["clap", "serve", "return"], flip_pairs=[("serve", "return")])
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
                sides.some(alone),
            )
    else:
        pairs = sides.given_pairs(flip_pairs, names, "class")
    labels = list(range(len(names)))
    for left, right in pairs:
        labels[left], labels[right] = right, left
    return labels
