"""A set of keypoints: names, limbs, left and right, sigmas and colours."""

import dataclasses
import numbers
import typing

import numpy as np

from kerapose import sides

# ---------------------------------------- colours
# Left warm, right cool, centre neutral. Along a side the colour runs from the first to the second of its two ends,
# in the order of the keypoints, so that neighbours differ and a joint and its mirror stand at the same point.
LEFT_COLORS = (255, 205, 60), (235, 60, 70)
RIGHT_COLORS = (85, 225, 215), (70, 95, 245)
CENTER_COLOR = (222, 226, 232)

# A keypoint two body sizes away is then as alike as one 0.2 sizes away by COCO's largest sigma, 0.107 (MPII's: 0.179).
LARGEST_SIGMA = 1.0

LOWER_BODY = ("hip", "pelvis", "knee", "ankle", "foot", "toe", "heel", "back_paw", "root_of_tail")


class UnknownPairs(tuple):
    """The flip pairs of a set whose left and right are not known, a tuple of those that the names tell.

    An empty tuple of any other kind says that nothing changes places in a mirror; this one says that it is not known
    what does (`Skeleton.knows_sides`).

    Example:
        >>> from kerapose import skeletons
        >>> half = skeletons.Skeleton("half a face", ("nose", "left_eye"), edges=((0, 1),))
        >>> isinstance(half.flip_pairs, skeletons.UnknownPairs), half.knows_sides
        (True, False)
    """


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A named set of keypoints, the limbs between them, and what mirroring does to both.

    Args:
        name: what errors and files call the set.
        keypoints: K unique names. A joint of one side says so in its name (`sides` has the spellings), best by
            ``left_`` or ``right_`` at the beginning.
        edges: E limbs, pairs of keypoint indices. A limb has no direction when it is mirrored or compared.
        flip_pairs: pairs of indices, or of names, that change places in a mirror, left first, and all that do; an empty
            tuple where none do. None pairs the names that differ only in their side: ``left_ear`` and ``right_ear``,
            ``EarL`` and ``EarR``, ``paw_FL`` and ``paw_FR``. If there are no such names, or one has a side and no
            mirror image, as in a set of one hand, left and right are not known (`knows_sides`), and nothing is
            mirrored.
        sigmas: K object keypoint similarity constants, above 0 and at most 1, in units of the square root of the
            object's area; None where none are published.
        colors: K RGB colours, 0 to 255; None gives warm colours to the left, cool ones to the right and a neutral one
            to the centre.

    Raises:
        ValueError: when names repeat, an edge or pair points nowhere, a limb has no mirror image where sides are known,
            or a count does not match.

    Example:
        >>> from kerapose.skeletons import Skeleton
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
        """For each keypoint of a mirrored figure, the index it had before.

        Example:
            >>> from kerapose.skeletons import COCO
            >>> mirrored = keypoints[..., COCO.flip_permutation, :] * [-1, 1]  # x is negated, sides are exchanged
            >>> keypoints[0, 0, COCO.index("right_wrist")].tolist(), mirrored[0, 0, COCO.index("left_wrist")].tolist()
            ([52.8, 120.0], [-52.8, 120.0])
        """
        source = list(range(self.num_keypoints))
        for left, right in self.flip_pairs:
            source[left], source[right] = right, left
        return tuple(source)

    @property
    def edge_flip_permutation(self) -> tuple[int, ...]:
        """For each limb of a mirrored figure, the index it had before; a limb's direction does not count.

        Where sides are not known, a limb may have no mirror image; it keeps its place then.
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
            >>> from kerapose.skeletons import H36M
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
        """Gives all of it as lists and numbers, for a file; ``Skeleton(**content)`` makes the set again.

        Flip pairs are None where they are not known.

        Example:
            >>> from kerapose.skeletons import COCO, Skeleton
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
            >>> from kerapose.skeletons import COCO
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
        told = {frozenset(pair) for pair in sides.keypoint_pairs(self.keypoints)}
        by_name = {index for pair in told for index in pair}
        for pair in self.flip_pairs:
            if frozenset(pair) in told:
                continue
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
    """Tells whether a value can be an object keypoint similarity constant: a number above 0, at most `LARGEST_SIGMA`.

    Args:
        value: anything.

    Returns:
        A bool; False for text and truth values.

    Example:
        >>> from kerapose.skeletons import is_sigma
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
