"""Whether figures may be mirrored: only where it is known which keypoints then change places."""

from absl import logging

from kerapose import sides
from kerapose.data.gate import report
from kerapose.skeletons import Skeleton


def are_known(*skeletons: Skeleton) -> bool:
    """Whether all of some skeletons know their left and right."""
    return all(skeleton.knows_sides for skeleton in skeletons)


def allowed(wanted: float, *skeletons: Skeleton) -> float:
    """What is done of a mirroring that is wanted: all of it where left and right are known, else none, which is told.

    Args:
        wanted: the probability of mirroring, or whether to mirror.
        *skeletons: the `Skeleton` of each set of keypoints that would be mirrored.

    Returns:
        `wanted`, or 0 or False in its stead.

    Example:
        >>> flip_probability = allowed(0.5, skeletons.COCO)
    """
    if not wanted or are_known(*skeletons):
        return wanted
    for skeleton in dict.fromkeys(skeletons):
        if not skeleton.knows_sides:
            alone = sides.keypoints_alone(skeleton.keypoints, skeleton.flip_pairs)
            names = f"{report.some(alone)} without its mirror image" if alone else report.some(skeleton.keypoints)
            logging.warning(
                "Left and right must be known to mirror, the keypoints of %s do not tell them (%s), so nothing is "
                "mirrored; give flip_pairs to the Skeleton, to from_coco or to datasets/build.py, () if none change "
                "places.",
                skeleton.name,
                names,
            )
    return type(wanted)(0)
