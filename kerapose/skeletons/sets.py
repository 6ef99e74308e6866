"""The keypoint sets that users meet."""

import dataclasses
from collections.abc import Sequence

from kerapose.skeletons.skeleton import Skeleton

# One body part a line.
# fmt: off

# COCO keypoints (Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014). The limbs stand in the order in
# which published limb checkpoints have their channels; the sigmas are those of COCO's own evaluation.
COCO = Skeleton(
    name="coco",
    keypoints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    edges=(
        (0, 5), (0, 6),
        (5, 7), (7, 9), (6, 8), (8, 10),
        (5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16),
        (0, 1), (0, 2), (1, 3), (2, 4),
        (11, 12),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035,
        0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
        0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)

# MPII (Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014), in the
# order of its annotation; its "pelvis" is `hip` here. MPII is scored by PCKh and has no sigmas of its own: these
# are mmpose's, kept as published although 0.179 for the shoulders is far from COCO's 0.079.
MPII = Skeleton(
    name="mpii",
    keypoints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "hip", "thorax", "upper_neck", "head_top",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    ),
    edges=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5),
        (6, 7), (7, 8), (8, 9),
        (10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15),
    ),
    sigmas=(
        0.089, 0.083, 0.107, 0.107, 0.083, 0.089,
        0.026, 0.026, 0.026, 0.026,
        0.062, 0.072, 0.179, 0.179, 0.072, 0.062,
    ),
)

# Human3.6M (Ionescu et al., TPAMI 2014), the 17 joints and the order of VideoPose3D (Pavllo et al., CVPR 2019). Its
# "foot" is the ankle. Joint 9, "neck/nose", lies near the nose and is `nose` here; `head` is near the top of the head.
H36M = Skeleton(
    name="h36m",
    keypoints=(
        "hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "nose", "head",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    edges=(
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6),
        (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
)

# The 18 keypoints of OpenPose (Cao et al., CVPR 2017) in the order of Lightweight OpenPose (Osokin, 2018): COCO's and a
# neck, which is defined as the middle of the shoulders. The limbs stand and point as the channels of the part affinity
# fields do in the published checkpoints, those from a shoulder to an ear among them. The sigmas are COCO's, with the
# neck's equal to the shoulders', as in the published tracking.
OPENPOSE = Skeleton(
    name="openpose",
    keypoints=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    edges=(
        (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
        (1, 2), (2, 3), (3, 4), (2, 16), (1, 5), (5, 6), (6, 7), (5, 17),
        (1, 0), (0, 14), (0, 15), (14, 16), (15, 17),
    ),
    sigmas=(
        0.026, 0.079,
        0.079, 0.072, 0.062, 0.079, 0.072, 0.062,
        0.107, 0.087, 0.089, 0.107, 0.087, 0.089,
        0.025, 0.025, 0.035, 0.035,
    ),
)

# NTU RGB+D (Shahroudy et al., CVPR 2016): the 25 joints of Kinect v2 in its order. "Base of the spine" is `hip` here,
# "middle of the spine" `spine`, "spine at the shoulders" `thorax` and "neck" `upper_neck`; `head` is its middle.
NTU = Skeleton(
    name="ntu",
    keypoints=(
        "hip", "spine", "upper_neck", "head",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot",
        "right_hip", "right_knee", "right_ankle", "right_foot",
        "thorax", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    edges=(
        (0, 1), (1, 20), (20, 2), (2, 3),
        (20, 4), (4, 5), (5, 6), (6, 7), (7, 21), (6, 22),
        (20, 8), (8, 9), (9, 10), (10, 11), (11, 23), (10, 24),
        (0, 12), (12, 13), (13, 14), (14, 15),
        (0, 16), (16, 17), (17, 18), (18, 19),
    ),
)

# JHMDB (Jhuang et al., "Towards understanding action recognition", ICCV 2013). `face` is its middle; `belly` lies
# low, a fifth of the way from the hips to the neck. JHMDB is scored by PCK and has no sigmas: these are mmpose's.
JHMDB = Skeleton(
    name="jhmdb",
    keypoints=(
        "neck", "belly", "face",
        "right_shoulder", "left_shoulder", "right_hip", "left_hip",
        "right_elbow", "left_elbow", "right_knee", "left_knee",
        "right_wrist", "left_wrist", "right_ankle", "left_ankle",
    ),
    edges=(
        (0, 1), (0, 2), (0, 3), (0, 4),
        (3, 7), (7, 11), (4, 8), (8, 12),
        (1, 5), (1, 6), (5, 9), (9, 13), (6, 10), (10, 14),
    ),
    sigmas=(
        0.025, 0.107, 0.025,
        0.079, 0.079, 0.107, 0.107,
        0.072, 0.072, 0.087, 0.087,
        0.062, 0.062, 0.089, 0.089,
    ),
)

# HumanEva-I (Sigal, Balan and Black, IJCV 2010), the 15 joints and the order of VideoPose3D (Pavllo et al., CVPR 2019).
# Its "pelvis" is `hip` here; `thorax` is the top of its torso, `head` one point of the head.
HUMANEVA = Skeleton(
    name="humaneva",
    keypoints=(
        "hip", "thorax",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
        "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle",
        "head",
    ),
    edges=(
        (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7),
        (0, 8), (8, 9), (9, 10), (0, 11), (11, 12), (12, 13),
        (1, 14),
    ),
)

# Penn Action (Zhang, Zhu and Derpanis, "From Actemes to Action", ICCV 2013), in the order of its labels. `head` is one
# point of the head. It has no neck: the head hangs on the shoulders.
PENN_ACTION = Skeleton(
    name="penn_action",
    keypoints=(
        "head",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    edges=(
        (0, 1), (0, 2),
        (1, 3), (3, 5), (2, 4), (4, 6),
        (1, 7), (7, 9), (9, 11), (2, 8), (8, 10), (10, 12),
        (7, 8),
    ),
)
# fmt: on

ALL = (COCO, MPII, H36M, OPENPOSE, NTU, JHMDB, HUMANEVA, PENN_ACTION)


def get(name: str) -> Skeleton:
    """Finds one of the sets above by its name.

    Args:
        name: "coco", "mpii", "h36m", "openpose", "ntu", "jhmdb", "humaneva" or "penn_action".

    Returns:
        The Skeleton.

    Raises:
        ValueError: when there is no such set.

    Example:
        >>> get("coco").num_keypoints
        17
    """
    for skeleton in ALL:
        if skeleton.name == name:
            return skeleton
    known = ", ".join(skeleton.name for skeleton in ALL)
    raise ValueError(f"A skeleton must be one of {known}, got {name!r}; for another, make your own Skeleton.")


def from_coco_category(
    category: dict,
    name: str | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
    sigmas: Sequence[float] | None = None,
) -> Skeleton:
    """Makes the set of a COCO keypoint category, the `categories` entry of an annotation file.

    One of the sets above is taken where the names are its own, in its order. Else the limbs are the category's: one
    that is given twice is taken once, and the mirror images that an annotation tool left out are added where left and
    right are known.

    Args:
        category: has `keypoints`, K names, and may have `skeleton`, pairs of places counted from 1, and `name`.
        name: what the set is called; None takes the category's name.
        flip_pairs: pairs of indices counted from 0, or of names; None finds them by the names.
        sigmas: K object keypoint similarity constants; None takes those of a set above where it is one.

    Returns:
        The Skeleton.

    Raises:
        ValueError: when the category has no keypoints, or as `Skeleton` does.

    Example:
        >>> category = {"name": "mouse", "keypoints": ["snout", "leftear", "rightear"], "skeleton": [[1, 2]]}
        >>> mouse = from_coco_category(category)
        >>> mouse.edges, mouse.flip_pairs
        (((0, 1), (0, 2)), ((1, 2),))
    """
    title = name or str(category.get("name", "own"))
    names = tuple(category.get("keypoints") or ())
    if not names or not all(isinstance(keypoint, str) for keypoint in names):
        raise ValueError(f"{title}: a category must have the names of its keypoints, got {list(names)}; add them.")
    known = [skeleton for skeleton in ALL if skeleton.keypoints == names]
    if known and flip_pairs is None:
        return known[0] if sigmas is None else dataclasses.replace(known[0], sigmas=sigmas)
    bare = Skeleton(title, names, (), flip_pairs, sigmas)
    edges = {}  # an ordered set: the same two ends are one limb, whichever stands first
    for start, end in category.get("skeleton") or ():
        edges.setdefault(frozenset((int(start) - 1, int(end) - 1)), (int(start) - 1, int(end) - 1))
    for edge in list(edges.values()) if bare.knows_sides else ():
        if all(0 <= place < len(names) for place in edge):
            image = tuple(bare.flip_permutation[place] for place in edge)
            edges.setdefault(frozenset(image), image)
    return dataclasses.replace(bare, edges=tuple(edges.values()))
