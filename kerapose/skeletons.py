"""Keypoint sets: names, limbs, left and right, OKS sigmas and colours, and the maps from one set to another.

The same joint has the same name in every set, which is all the maps go by: `left_` and `right_` are the person's own,
`hip` lies between the hips, `thorax` and `neck` at the height of the shoulders, `upper_neck` where neck and skull meet.

Example:
    >>> from kerapose.skeletons import COCO, H36M, convert
    >>> keypoints_h36m, scores_h36m = convert(keypoints, scores, COCO, H36M)  # [M, T, 17, 2], [M, T, 17]
"""

import dataclasses
import numbers
import typing
from collections.abc import Sequence

import numpy as np

from kerapose import sides
from kerapose.types import Array

# ---------------------------------------- colours
# Left warm, right cool, centre neutral. Along a side the colour runs from the first to the second of its two ends,
# in the order of the keypoints, so that neighbours differ and a joint and its mirror stand at the same point.
LEFT_COLORS = (255, 205, 60), (235, 60, 70)
RIGHT_COLORS = (85, 225, 215), (70, 95, 245)
CENTER_COLOR = (222, 226, 232)

# A keypoint two body sizes away is then as alike as one 0.2 sizes away by COCO's largest sigma, 0.107 (MPII's: 0.179).
LARGEST_SIGMA = 1.0

LOWER_BODY = ("hip", "pelvis", "knee", "ankle", "foot", "toe", "heel")


class UnknownPairs(tuple):
    """The flip pairs that names tell of where they do not tell all: unlike `()`, by which nothing changes places."""


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A named set of keypoints, the limbs between them, and what mirroring does to both.

    Args:
        name: what errors and files call the set.
        keypoints: K unique names; a joint of one side says so in its name (`sides` has the spellings), best by `left_`
            or `right_` at the beginning.
        edges: E limbs, pairs of keypoint indices. A limb has no direction when it is mirrored or compared.
        flip_pairs: pairs of indices, or of names, that change places in a mirror, left first; `()` where none do. None
            pairs the names that differ only in their side: `left_ear` and `right_ear`, `EarL` and `EarR`, `paw_FL` and
            `paw_FR`; if there are no such names, or one has a side and no mirror image, as in a set of one hand, left
            and right are not known (`knows_sides`), and nothing is mirrored. Pairs given by hand are all that change
            places.
        sigmas: K object keypoint similarity constants, above 0 and at most 1, in units of the square root of the
            object's area; None where none are published.
        colors: K RGB colours, 0 to 255; None gives left warm, right cool, centre neutral ones.

    Raises:
        ValueError: when names repeat, an edge or pair points nowhere, a limb has no mirror image where sides are known,
            or a count does not match.

    Example:
        >>> mouse = Skeleton("mouse", ("snout", "left_ear", "right_ear", "tail"), edges=((0, 1), (0, 2), (0, 3)))
        >>> mouse.flip_permutation
        (0, 2, 1, 3)
    """

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    sigmas: tuple[float, ...] | None = None
    colors: tuple[tuple[int, int, int], ...] | None = None
    knows_sides: bool = dataclasses.field(init=False)  # whether flip_pairs were given, or the names tell them

    def __post_init__(self) -> None:
        self._check_names()
        self._set("edges", tuple((int(a), int(b)) for a, b in self.edges))
        self._check_edges()
        pairs = self._pairs_by_name() if self.flip_pairs is None else self.flip_pairs
        # A kind of tuple, not a flag: `dataclasses.replace` hands it on, and `flip_pairs=()` replaces it.
        kind = UnknownPairs if isinstance(pairs, UnknownPairs) else tuple
        try:
            self._set("flip_pairs", kind(sides.given_pairs(pairs, self.keypoints, "keypoint")))
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        self._set("knows_sides", kind is tuple)
        self._check_flip_pairs()
        self._check_mirrored_edges()
        if self.sigmas is not None:
            self._check_sigmas()
            self._set("sigmas", tuple(float(sigma) for sigma in self.sigmas))
        colors = _side_colors(self.keypoints, self.flip_pairs) if self.colors is None else self.colors
        self._set("colors", tuple(tuple(int(value) for value in color) for color in colors))
        self._check_colors()

    @property
    def num_keypoints(self) -> int:
        """K, the number of keypoints."""
        return len(self.keypoints)

    @property
    def num_edges(self) -> int:
        """E, the number of limbs."""
        return len(self.edges)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """For each keypoint of a mirrored figure, the index it had before: `mirrored = figure[..., permutation, :]`."""
        source = list(range(self.num_keypoints))
        for left, right in self.flip_pairs:
            source[left], source[right] = right, left
        return tuple(source)

    @property
    def edge_flip_permutation(self) -> tuple[int, ...]:
        """For each limb of a mirrored figure, the index it had before; a limb's direction does not count.

        Where sides are not known, a limb may be without an image and then keeps its place.
        """
        position = {frozenset(edge): index for index, edge in enumerate(self.edges)}
        return tuple(position.get(self._mirrored(edge), index) for index, edge in enumerate(self.edges))

    @property
    def edge_colors(self) -> tuple[tuple[int, int, int], ...]:
        """One RGB colour per limb, halfway between those of its two ends."""
        ends = [(self.colors[a], self.colors[b]) for a, b in self.edges]
        return tuple(_blend(first, second, 0.5) for first, second in ends)

    @property
    def upper_body(self) -> tuple[int, ...]:
        """Indices of the keypoints above the hips: those with none of `LOWER_BODY` in their names."""
        names = enumerate(self.keypoints)
        return tuple(index for index, name in names if not any(part in name.lower() for part in LOWER_BODY))

    @property
    def parents(self) -> tuple[int, ...]:
        """For each keypoint the next one on the way to the root, which is the first keypoint; -1 for the root.

        Raises:
            ValueError: when the limbs are no tree, that is when some keypoint has no such way or more than one.

        Example:
            >>> H36M.parents
            (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
        """
        parents, reached = {0: -1}, [0]
        for near in reached:  # it grows
            for edge in self.edges:
                if near in edge:
                    far = edge[1] if edge[0] == near else edge[0]
                    if far not in parents:
                        parents[far] = near
                        reached.append(far)
        if len(reached) < self.num_keypoints or self.num_edges >= self.num_keypoints:
            raise ValueError(
                f"{self.name}: the limbs must be a tree to have a way from each keypoint to {self.keypoints[0]}, got "
                f"{self.num_edges} limbs that join {len(reached)} of {self.num_keypoints} keypoints; give a set with "
                "one limb less than keypoints, all joined."
            )
        return tuple(parents[index] for index in range(self.num_keypoints))

    def to_dict(self) -> dict:
        """Gives all of it as lists and numbers, for a file; `Skeleton(**content)` makes the set again.

        Flip pairs are None where they are not known.

        Example:
            >>> Skeleton(**COCO.to_dict()) == COCO
            True
        """
        return {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "edges": [list(edge) for edge in self.edges],
            "flip_pairs": [list(pair) for pair in self.flip_pairs] if self.knows_sides else None,
            "sigmas": None if self.sigmas is None else list(self.sigmas),
            "colors": [list(color) for color in self.colors],
        }

    def index(self, name: str) -> int:
        """Gives the index of a keypoint.

        Args:
            name: the keypoint's name.

        Returns:
            Its place in `keypoints`.

        Raises:
            ValueError: when this set has no keypoint of that name.

        Example:
            >>> COCO.index("left_wrist")
            9
        """
        if name not in self.keypoints:
            raise ValueError(f"{self.name} has no keypoint {name!r}; choose from {', '.join(self.keypoints)}.")
        return self.keypoints.index(name)

    def _set(self, field, value):
        object.__setattr__(self, field, value)  # the instance is frozen only once __post_init__ is over

    def _pairs_by_name(self):
        pairs = sides.keypoint_pairs(self.keypoints)
        return pairs if pairs and not sides.keypoints_alone(self.keypoints, pairs) else UnknownPairs(pairs)

    def _mirrored(self, edge):
        return frozenset(self.flip_permutation[end] for end in edge)

    def _check_names(self):
        if isinstance(self.keypoints, str) or not self.keypoints:
            raise ValueError(f"{self.name}: keypoints must be a non-empty tuple of names, got {self.keypoints!r}.")
        self._set("keypoints", tuple(self.keypoints))
        repeated = sorted({name for name in self.keypoints if self.keypoints.count(name) > 1})
        if repeated:
            raise ValueError(f"{self.name}: keypoint names must be unique, got {', '.join(repeated)} more than once.")

    def _check_edges(self):
        last = self.num_keypoints - 1
        for edge in self.edges:
            if not all(0 <= end <= last for end in edge) or edge[0] == edge[1]:
                raise ValueError(f"{self.name}: an edge must join two different keypoints of 0 to {last}, got {edge}.")
        repeated = [edge for edge in self.edges if edge[::-1] in self.edges or self.edges.count(edge) > 1]
        if repeated:
            raise ValueError(f"{self.name}: each edge must be given once, got {repeated[0]} twice; drop one.")

    def _check_flip_pairs(self):
        by_name = {index for pair in sides.keypoint_pairs(self.keypoints) for index in pair}
        for pair in self.flip_pairs:
            names = [self.keypoints[index] for index in pair]
            # Names that tell nothing may be paired by hand in any way, others only as they tell.
            if not sides.are_images(*names) and (by_name & set(pair) or sides.keypoints_alone(names, [])):
                raise ValueError(
                    f"{self.name}: a flip pair must be the left_ and right_ keypoint of one name, "
                    f"got {names[0]} and {names[1]}; correct the pair or the names."
                )

    def _check_mirrored_edges(self):
        if not self.knows_sides:
            return  # nothing is mirrored
        edges = {frozenset(edge) for edge in self.edges}
        for edge in self.edges:
            if self._mirrored(edge) not in edges:
                image = tuple(self.flip_permutation[end] for end in edge)
                raise ValueError(f"{self.name}: the mirror image {image} of edge {edge} must be an edge too; add it.")

    def _check_sigmas(self):
        sigmas = list(self.sigmas) if np.iterable(self.sigmas) else []
        if len(sigmas) != self.num_keypoints or not all(map(is_sigma, sigmas)):
            raise ValueError(
                f"{self.name}: sigmas must be {self.num_keypoints} positive numbers, one per keypoint, of at most "
                f"{LARGEST_SIGMA:g}, got {self.sigmas!r}; correct them, or give None."
            )

    def _check_colors(self):
        valid = all(len(color) == 3 and all(0 <= value <= 255 for value in color) for color in self.colors)
        if len(self.colors) != self.num_keypoints or not valid:
            raise ValueError(
                f"{self.name}: colors must be {self.num_keypoints} RGB triples of 0 to 255, one per keypoint, "
                f"got {len(self.colors)}: {self.colors}; or give None."
            )


def is_sigma(value: typing.Any) -> bool:
    """Whether a value can be an object keypoint similarity constant: a number above 0, at most `LARGEST_SIGMA`.

    Args:
        value: anything.

    Returns:
        bool; False for text and truth values.

    Example:
        >>> is_sigma(0.05), is_sigma(True), is_sigma("0.05"), is_sigma(1e30)
        (True, False, False, False)
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and bool(0 < value <= LARGEST_SIGMA)


def _blend(first, second, share):
    return tuple(round((1 - share) * a + share * b) for a, b in zip(first, second, strict=True))


def _side_colors(keypoints, flip_pairs):
    """The colour rule at the top of the file, applied to one set of names."""
    colors = [CENTER_COLOR] * len(keypoints)
    for place, pair in enumerate(flip_pairs):
        share = place / max(len(flip_pairs) - 1, 1)
        is_turned = sides.keypoint_pairs([keypoints[index] for index in pair]) == [(1, 0)]
        left, right = pair[::-1] if is_turned else pair
        colors[left], colors[right] = _blend(*LEFT_COLORS, share), _blend(*RIGHT_COLORS, share)
    return colors


# ---------------------------------------- the sets
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


# ---------------------------------------- maps between sets
# Joints that can be worked out from others: each has its formulas, the best first, as weights that sum to 1. A formula
# may use joints that are themselves worked out, so COCO's `spine` is a quarter of each hip and each shoulder.
# COCO to H36M is thus what lifters of COCO detections are fed with (MotionBERT, Zhu et al., ICCV 2023): hip and thorax
# are the middles of hips and shoulders, spine the middle of the two, the "neck/nose" joint the nose, head the middle of
# the eyes, which is lower than where Human3.6M has it.
DERIVED = {
    "hip": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"neck": 1.0}, {"left_shoulder": 0.5, "right_shoulder": 0.5}),
    "neck": ({"thorax": 1.0}, {"left_shoulder": 0.5, "right_shoulder": 0.5}),
    "spine": ({"hip": 0.5, "thorax": 0.5},),
    "belly": ({"hip": 0.8, "neck": 0.2},),  # the median over JHMDB's annotations
    "upper_neck": ({"thorax": 0.5, "nose": 0.5},),
    "nose": ({"face": 1.0}, {"upper_neck": 0.5, "head": 0.5}),
    "face": ({"nose": 1.0},),
    "head": ({"head_top": 1.0}, {"left_eye": 0.5, "right_eye": 0.5}, {"left_ear": 0.5, "right_ear": 0.5}),
}


def mapping(source: Skeleton, target: Skeleton) -> Array:
    """Gives the matrix that turns keypoints of one set into those of another, by name.

    Args:
        source: the set the keypoints are in.
        target: the set wanted.

    Returns:
        float32 `[K_target, K_source]`. A row has one 1 where both sets have the joint, the weights of `DERIVED` where
        it is worked out, and zeros where it cannot be; every other row sums to 1.

    Example:
        >>> float(mapping(COCO, H36M)[H36M.index("hip"), COCO.index("left_hip")])
        0.5
    """
    rows = [_formula(name, source) for name in target.keypoints]
    return np.stack([np.zeros(source.num_keypoints, np.float32) if row is None else row for row in rows])


def _formula(name, source, asked=()):
    """The weights `[K_source]` that make up a joint, None where it cannot be had; `asked` stops going in circles."""
    if name in source.keypoints:
        return np.eye(source.num_keypoints, dtype=np.float32)[source.index(name)]
    if name in asked:
        return None
    for formula in DERIVED.get(name, ()):
        parts = [_formula(part, source, (*asked, name)) for part in formula]
        if all(part is not None for part in parts):
            return sum(np.float32(weight) * part for weight, part in zip(formula.values(), parts, strict=True))
    return None


def convert(
    keypoints: Array, scores: Array, source: Skeleton, target: Skeleton, missing: str = "error"
) -> tuple[Array, Array]:
    """Turns keypoints and scores of one set into those of another.

    A joint is missing where its score is 0 or less, where it or its score is not finite, and where x and y, without a
    z, are both exactly 0. What is worked out from it is missing too: it has score 0 and the place 0. The other joints
    are untouched.

    Args:
        keypoints: `[..., K_source, 2 or 3]`, any unit; what is missing may be anywhere.
        scores: `[..., K_source]`.
        source: the set the keypoints are in.
        target: the set wanted.
        missing: "error", or "zero" to give joints that cannot be worked out coordinates 0 and score 0.

    Returns:
        float32 keypoints `[..., K_target, 2 or 3]` and scores `[..., K_target]`, a joint's score being the lowest of
        those it was worked out from.

    Raises:
        ValueError: when shapes do not fit the source set, or a joint cannot be worked out and `missing` is "error".

    Example:
        >>> keypoints, scores = convert(np.ones((1, 48, 17, 2)), np.ones((1, 48, 17)), COCO, H36M)
        >>> keypoints.shape, scores.shape
        ((1, 48, 17, 2), (1, 48, 17))
    """
    keypoints, scores = np.asarray(keypoints, np.float32), np.asarray(scores, np.float32)
    _check_figures(keypoints, scores, source)
    matrix = mapping(source, target)
    used = matrix > 0
    lacking = [name for name, row in zip(target.keypoints, used, strict=True) if not row.any()]
    if missing not in ("error", "zero"):
        raise ValueError(f'missing must be "error" or "zero", got {missing!r}.')
    if lacking and missing == "error":
        raise ValueError(
            f"{target.name} keypoints must follow from those of {source.name}, {', '.join(lacking)} cannot; "
            'use missing="zero" to give them score 0.'
        )
    found = np.isfinite(keypoints).all(axis=-1) & np.isfinite(scores) & (scores > 0)  # [..., K_source]
    if keypoints.shape[-1] == 2:  # a pose in space may well have its root at 0
        found &= (keypoints != 0).any(axis=-1)
    mapped = matrix @ np.where(found[..., None], keypoints, 0)  # [..., K_target, 2 or 3]
    lost = (~found).astype(np.float32) @ used.T.astype(np.float32) > 0  # [..., K_target]
    contributing = np.where(used, scores[..., None, :], np.inf)  # [..., K_target, K_source]
    lowest = np.where(used.any(axis=-1), contributing.min(axis=-1), 0)  # [..., K_target]
    return np.where(lost[..., None], 0, mapped).astype(np.float32), np.where(lost, 0, lowest).astype(np.float32)


def _check_figures(keypoints, scores, source):
    if keypoints.ndim < 2 or keypoints.shape[-2] != source.num_keypoints or keypoints.shape[-1] not in (2, 3):
        raise ValueError(
            f"keypoints of {source.name} must be [..., {source.num_keypoints}, 2 or 3], got {keypoints.shape}; "
            "check which set they are in."
        )
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f"scores must be {keypoints.shape[:-1]}, one per keypoint, got {scores.shape}.")
