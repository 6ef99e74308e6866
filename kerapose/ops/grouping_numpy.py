"""The NumPy form of grouping, and what it shares with the form for graphs: see `ops.grouping`, which gives its names.

From top to bottom: the people of an image, peaks, limbs and their matching, people put together; the published rule;
the tree of limbs and the checks, which both forms share.
"""

import collections
import typing
from collections.abc import Callable, Sequence

import numpy as np

from kerapose.types import Array, Edges, Shape, Tensor

#: The published program goes through OpenPose's 19 limbs in another order than that of the channels of its checkpoints,
#: which is the order of `skeletons.OPENPOSE.edges`: at step i it takes limb ``PUBLISHED_LIMB_ORDER[i]``.
PUBLISHED_LIMB_ORDER = (6, 10, 7, 8, 11, 12, 0, 1, 2, 3, 4, 5, 14, 15, 17, 16, 18, 9, 13)

# Of so many times `max_peaks` candidates a joint, the surest ones, are peaks chosen.
CANDIDATES_PER_PEAK = 4

Tree = collections.namedtuple("Tree", "order parents limbs others")


def group_numpy(
    heatmaps: Array,
    pafs: Array,
    edges: Edges,
    max_people: int = 20,
    max_peaks: int = 32,
    threshold: float = 0.1,
    radius: float = 6.0,
    num_points: int = 10,
    min_dot: float = 0.05,
    min_share: float = 0.8,
    min_keypoints: int = 3,
    min_score: float = 0.2,
    published: bool = False,
    limb_order: Sequence[int] | None = None,
) -> dict[str, typing.Any]:
    """Finds the people in the maps of one image, as `group` does, step by step and in NumPy.

    Args:
        heatmaps: see `group`; NumPy arrays.
        pafs: see `group`.
        edges: see `group`.
        max_people: see `group`.
        max_peaks: see `group`.
        threshold: see `group`.
        radius: see `group`.
        num_points: see `group`.
        min_dot: see `group`.
        min_share: see `group`.
        min_keypoints: see `group`.
        min_score: see `group`.
        published: whether to keep the rule of the published program, with all its accidents. Peaks are those of
            `find_peaks_numpy` with ``published=True``, in whole cells. Limbs are taken one kind after the other: one
            whose first end is in a person gives it its second, any other begins a person, so that one person can be
            found in two parts, and a person in one part can lose a keypoint to a later limb. Limbs outside the tree
            only fill gaps, with keypoints that may be another person's too, and those count for nothing. People stand
            in the order in which they were begun, and there is room for all: `max_people` and `max_peaks` do not count.
        limb_order: with `published`, the limbs (indices of `edges`) in the order in which they are taken, None for
            that of `edges`. The published program's own for `skeletons.OPENPOSE` is `PUBLISHED_LIMB_ORDER`.

    Returns:
        A dict with the entries of `group`, without padding: `keypoints` [M, K, 2], `scores` [M, K], `person_scores`
        [M], `num_keypoints` [M], `count`, `num_found`, `overflow`.

    Raises:
        ValueError: as `group`, and if a map holds anything that is not finite, or `limb_order` is given without
            `published` or is not an order of all limbs.

    Example:
        >>> from kerapose.ops import grouping, pafs
        >>> arms, limbs = keypoints[:, 0, 5:10:2], [(0, 1), (1, 2)]  # shoulder, elbow and wrist of two people
        >>> heatmaps = pafs.encode_heatmaps(arms, None, size=(120, 160), stride=2)[..., :-1]
        >>> fields = pafs.encode(arms, None, limbs, size=(120, 160), stride=2)
        >>> people = grouping.group_numpy(np.asarray(heatmaps), np.asarray(fields), limbs)
        >>> people["keypoints"].shape, people["num_keypoints"].tolist()
        ((2, 3, 2), [3, 3])

    Paper: Cao et al., CVPR 2017; Osokin, 2018; see the top of `ops.grouping`.
    """
    heatmaps, pafs = np.asarray(heatmaps, "float32"), np.asarray(pafs, "float32")
    check_maps(heatmaps.shape, pafs.shape, edges)
    check_rule(max_people, max_peaks, threshold, radius, num_points, min_keypoints)
    check_finite(heatmaps, pafs)
    limb_order = checked_order(limb_order, len(edges), published)
    tree = limb_tree(edges, heatmaps.shape[-1])
    least = least_passing(num_points, min_share)
    fields = [pafs[..., 2 * limb : 2 * limb + 2] for limb in range(len(edges))]  # [H, W, 2] each
    if published:
        peaks = [find_peaks_numpy(heatmap, None, threshold, radius, True) for heatmap in np.moveaxis(heatmaps, -1, 0)]
        matches = [
            _match_as_published(_limb_scores_as_published(field, peaks[a], peaks[b], num_points, min_dot, least))
            for field, (a, b) in zip(fields, edges, strict=True)
        ]
        people = _assemble_as_published(peaks, matches, edges, tree, limb_order)
        return _listed_as_published(people, peaks, min_keypoints, min_score)

    cells, overflows = zip(
        *(_peak_cells(heatmap, max_peaks, threshold, radius) for heatmap in np.moveaxis(heatmaps, -1, 0)), strict=True
    )
    matches = [
        _match_numpy(_limb_scores_numpy(field, cells[a], cells[b], num_points, min_dot, least))
        for field, (a, b) in zip(fields, edges, strict=True)
    ]
    people = _join_numpy(_assemble_numpy(cells, matches, edges, tree), matches, edges, tree)
    people = _scored_numpy(people, heatmaps, cells, tree, min_keypoints, min_score)
    people.sort(key=lambda person: -person["score"])
    num_found = len(people)
    people = people[:max_people]
    return {
        "keypoints": np.array([p["keypoints"] for p in people], "float32").reshape(-1, heatmaps.shape[-1], 2),
        "scores": np.array([p["scores"] for p in people], "float32").reshape(-1, heatmaps.shape[-1]),
        "person_scores": np.array([p["score"] for p in people], "float32"),
        "num_keypoints": np.array([len(p["peaks"]) for p in people], "int32"),
        "count": np.int32(len(people)),
        "num_found": np.int32(num_found),
        "overflow": np.bool_(any(overflows) or num_found > max_people),
    }


def find_peaks_numpy(
    heatmap: Array, max_peaks: int | None = 32, threshold: float = 0.1, radius: float = 6.0, published: bool = False
) -> Array:
    """Finds the peaks of one heatmap: step 1 of `group`.

    Args:
        heatmap: [H, W], float.
        max_peaks: how many there may be; with `published` there is no bound.
        threshold: least height; a peak is above it, with `published` not below it.
        radius: distance that two peaks keep, cells.
        published: whether to keep the accidents of the published program. Neighbours of the same height hide each
            other, so that a plateau has no peak. From left to right, each peak forbids those further right that are
            nearer than `radius`, however much higher they are. Places are whole cells.

    Returns:
        [N, 3] float: x, y in cells, and the score; best first, with `published` from left to right.

    Raises:
        ValueError: if the heatmap holds anything that is not finite.

    Example:
        >>> from kerapose.ops import grouping
        >>> heatmap = np.zeros((5, 7), "float32")
        >>> heatmap[2, 3:5] = 0.8, 0.4  # higher on the right of the peak than on the left
        >>> grouping.find_peaks_numpy(heatmap).tolist()
        [[3.17, 2.0, 0.8]]
    """
    heatmap = np.asarray(heatmap, "float32")
    check_finite(heatmap)
    if not published:
        cells = _peak_cells(heatmap, max_peaks, threshold, radius)[0]
        places = [_top_of_parabola(heatmap, x, y) for x, y in cells]
        scores = heatmap[cells[:, 1], cells[:, 0]]
        return np.concatenate([np.array(places, "float32").reshape(-1, 2), scores[:, None]], axis=1)

    heatmap = np.where(heatmap < np.float32(threshold), np.float32(0), heatmap)
    x, y = np.nonzero(_above(heatmap, _shifted(heatmap, 0.0), strict=(True, True, True, True)).T)  # from left to right
    kept = []
    for place in zip(x.tolist(), y.tolist(), strict=True):
        if all(_squared_distance(place, other) >= radius**2 for other in kept):
            kept.append(place)
    kept = np.array(kept, int).reshape(-1, 2)
    return np.concatenate([kept, heatmap[kept[:, 1], kept[:, 0], None].astype("float64")], axis=1)


def _peak_cells(heatmap, max_peaks, threshold, radius):
    """Cells [n, 2], x first, of one heatmap's peaks, best first; and whether there may be more."""
    high = np.where(heatmap > np.float32(threshold), heatmap, np.float32(-np.inf))
    summits = _above(high, _shifted(high, -np.inf), strict=(True, True, False, False))
    y, x = np.nonzero(summits)  # in row order
    best_first = np.argsort(-heatmap[y, x], kind="stable")
    num_candidates = CANDIDATES_PER_PEAK * max_peaks
    kept = []
    for i in best_first[:num_candidates]:
        place = int(x[i]), int(y[i])
        if all(_squared_distance(place, other) >= radius**2 for other in kept):
            kept.append(place)
    more = len(best_first) > num_candidates or len(kept) > max_peaks
    return np.array(kept[:max_peaks], int).reshape(-1, 2), more


def _shifted(heatmap, outside):
    """For each cell its neighbours above, to the left, below and to the right: 4 times [H, W]."""
    around = np.pad(heatmap, 1, constant_values=outside)
    return around[:-2, 1:-1], around[1:-1, :-2], around[2:, 1:-1], around[1:-1, 2:]


def _above(heatmap, neighbors, strict):
    pairs = zip(neighbors, strict, strict=True)
    return np.all([heatmap > near if above else heatmap >= near for near, above in pairs], axis=0)


def _squared_distance(one, other):
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2


def _top_of_parabola(heatmap, x, y):
    """The place of a peak between cells."""
    return x + _offset(heatmap[y, :], x), y + _offset(heatmap[:, x], y)


def _offset(values, i):
    """From cell i to the top of the parabola through it and its neighbours, 0 at the border."""
    if i == 0 or i == len(values) - 1:
        return np.float32(0)
    low, middle, high = values[i - 1 : i + 2]
    curve = (middle - low) + (middle - high)
    return np.clip(np.float32(0.5) * (high - low) / curve, -0.5, 0.5) if curve > 0 else np.float32(0)


def _limb_scores_numpy(field, first, second, num_points, min_dot, least):
    """Scores of one kind of limb between peaks [A, 2] and [B, 2], 0 where it cannot be: [A, B]."""
    start = first[:, None].astype("float32")  # [A, 1, 2]
    limb = second.astype("float32") - start  # [A, B, 2]
    length = np.sqrt(np.square(limb[..., 0]) + np.square(limb[..., 1]))
    direction = limb / np.maximum(length, np.float32(1))[..., None]
    steps = np.arange(num_points, dtype="float32")[:, None, None, None]
    places = np.floor((start * (num_points - 1) + limb * steps) / (num_points - 1) + np.float32(0.5)).astype(int)
    sampled = field[places[..., 1], places[..., 0]]  # [points, A, B, 2]
    along = sampled[..., 0] * direction[..., 0] + sampled[..., 1] * direction[..., 1]
    passes = along > np.float32(min_dot)
    count = np.sum(passes, axis=0)
    total = sum_by_halves(np.where(passes, along, np.float32(0)), np.pad)
    return np.where(count >= least, total / np.maximum(count, 1).astype("float32"), np.float32(0))


def _match_numpy(scores):
    """Takes limbs best first, each peak once: [A, B] -> {first peak: (second peak, score)}."""
    taken, used = {}, set()
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        a, b = divmod(int(flat), scores.shape[1])
        if scores[a, b] > 0 and a not in taken and b not in used:
            taken[a] = b, scores[a, b]
            used.add(b)
    return taken


def _assemble_numpy(cells, matches, edges, tree):
    """Puts people together along the tree: {"peaks": {joint: peak}, "limbs": {joint: score of its limb}} each."""
    people, person_of = [], {}
    for joint in tree.order:
        parent, limb = tree.parents[joint], tree.limbs[joint]
        links = {}  # from a peak of this joint to one of its parent
        if parent >= 0:
            parent_first = edges[limb][0] == parent
            pairs = [(a, b, score) for a, (b, score) in matches[limb].items()]
            links = {b: (a, score) for a, b, score in pairs} if parent_first else {a: (b, s) for a, b, s in pairs}
        for peak in range(len(cells[joint])):
            if peak in links:
                above, score = links[peak]
                person = person_of[parent, above]
                person["limbs"][joint] = score
            else:
                person = {"peaks": {}, "limbs": {}}
                people.append(person)
            person["peaks"][joint] = peak
            person_of[joint, peak] = person
    return people


def _join_numpy(people, matches, edges, tree):
    """Makes one person of two that a limb outside the tree joins, if they have no joint in common; best limb first."""
    limbs = [
        (-score, place, (edges[limb][0], a), (edges[limb][1], b))
        for place, limb in enumerate(tree.others)
        for a, (b, score) in matches[limb].items()
    ]
    for _, _, first, second in sorted(limbs):
        one, other = (next(p for p in people if p["peaks"].get(joint) == peak) for joint, peak in (first, second))
        if not one["peaks"].keys() & other["peaks"].keys():
            earlier, later = sorted([one, other], key=people.index)
            earlier["peaks"] |= later["peaks"]
            earlier["limbs"] |= later["limbs"]
            people = [person for person in people if person is not later]
    return people


def _scored_numpy(people, heatmaps, cells, tree, min_keypoints, min_score):
    """Adds keypoints and scores to those people who are complete and sure enough, drops the others."""
    kept = []
    for person in people:
        keypoints, scores = np.zeros((len(cells), 2), "float32"), np.zeros(len(cells), "float32")
        for joint, peak in person["peaks"].items():
            x, y = cells[joint][peak]
            keypoints[joint] = _top_of_parabola(heatmaps[..., joint], x, y)
            scores[joint] = heatmaps[y, x, joint]
        limb_scores = [person["limbs"].get(joint, 0) for joint in tree.order]
        total = sum_by_halves(np.float32([*scores[list(tree.order)], *limb_scores]), np.pad)
        count = len(person["peaks"])
        if count >= min_keypoints and total / np.float32(count) >= np.float32(min_score):
            kept.append(person | {"keypoints": keypoints, "scores": scores, "score": total})
    return kept


# ---------------------------------------- as published
def _limb_scores_as_published(field, first, second, num_points, min_dot, least):
    """Scores of one kind of limb between peaks [A, 3] and [B, 3], 0 where it cannot be: [A, B] float64."""
    start = first[:, None, :2].astype("float32")  # [A, 1, 2]
    limb = second[:, :2].astype("float32") - start  # [A, B, 2]
    length = np.sqrt(np.sum(limb**2, axis=-1, keepdims=True))
    direction = limb / (length + np.float32(1e-6))
    steps = np.arange(num_points, dtype="float32")[:, None, None, None]
    places = np.round(limb * np.float32(1 / (num_points - 1)) * steps + start).astype(int)  # [points, A, B, 2]
    along = np.sum(field[places[..., 1], places[..., 0]] * direction, axis=-1)  # [points, A, B]
    passes = along > np.float32(min_dot)
    count = np.sum(passes, axis=0)
    scores = np.sum(along * passes, axis=0) / (count + 1e-6)
    return np.where(count >= least, scores, 0.0)


def _match_as_published(scores):
    """Takes limbs best first, ties from the last to the first: [A, B] -> {first peak: (second peak, score)}."""
    taken, used = {}, set()
    for flat in np.argsort(scores.T, axis=None, kind="stable")[::-1]:
        b, a = divmod(int(flat), scores.shape[0])
        if scores[a, b] > 0 and a not in taken and b not in used:
            taken[a] = b, scores[a, b]
            used.add(b)
    return taken


def _assemble_as_published(peaks, matches, edges, tree, limb_order):
    """Puts people together limb by limb: {"peaks": {joint: peak}, "score": ..., "count": ...} each."""
    people = []
    for limb in limb_order:
        first, second = edges[limb]
        for a, (b, score) in matches[limb].items():
            if limb in tree.others:
                for person in people:
                    if person["peaks"].get(first) == a and second not in person["peaks"]:
                        person["peaks"][second] = b
                    elif person["peaks"].get(second) == b and first not in person["peaks"]:
                        person["peaks"][first] = a
                continue
            having_first = [person for person in people if person["peaks"].get(first) == a]
            for person in having_first:
                person["peaks"][second] = b
                person["count"] += 1
                person["score"] += peaks[second][b, 2] + score
            if not having_first:
                total = peaks[first][a, 2] + peaks[second][b, 2] + score
                people.append({"peaks": {first: a, second: b}, "count": 2, "score": total})
    return people


def _listed_as_published(people, peaks, min_keypoints, min_score):
    people = [p for p in people if p["count"] >= min_keypoints and p["score"] / p["count"] >= min_score]
    table = np.zeros((len(people), len(peaks), 3), "float32")
    for row, person in zip(table, people, strict=True):
        for joint, peak in person["peaks"].items():
            row[joint] = peaks[joint][peak]
    return {
        "keypoints": table[..., :2],
        "scores": table[..., 2],
        "person_scores": np.array([p["score"] for p in people], "float64"),
        "num_keypoints": np.array([p["count"] for p in people], "int32"),
        "count": np.int32(len(people)),
        "num_found": np.int32(len(people)),
        "overflow": np.bool_(False),
    }


# ---------------------------------------- what both forms share
def limb_tree(edges: Edges, num_keypoints: int) -> Tree:
    """Finds the limbs that reach every keypoint from the first one in the fewest steps, breadth first.

    Args:
        edges: E pairs of keypoint indices (`Skeleton.edges`).
        num_keypoints: number of keypoints, K.

    Returns:
        A named tuple: `order` [K], the keypoints as they are reached, ties in the order of `edges`; for each keypoint
        `parents` [K], the one it is reached from, and `limbs` [K], the limb by which, both -1 for keypoint 0; and
        `others`, the limbs that lead to a keypoint that has been reached already.

    Raises:
        ValueError: if an edge names no keypoint, or the limbs do not join all keypoints.

    Example:
        >>> from kerapose.ops import grouping
        >>> grouping.limb_tree([(0, 1), (1, 2), (0, 2)], 3)
        Tree(order=(0, 1, 2), parents=(-1, 0, 0), limbs=(-1, 0, 2), others=(1,))
    """
    edges = [tuple(int(end) for end in edge) for edge in edges]
    for edge in edges:
        if len(edge) != 2 or not all(0 <= end < num_keypoints for end in edge):
            raise ValueError(
                f"edges must be pairs of keypoints from 0 to {num_keypoints - 1}, one for each heatmap without the "
                f"background, got {edge}; give the edges of the skeleton that the network was trained for."
            )
    parents, limbs, order = {0: -1}, {0: -1}, [0]
    for near in order:  # it grows
        for limb, edge in enumerate(edges):
            if near in edge:
                far = edge[1] if edge[0] == near else edge[0]
                if far not in parents:
                    parents[far], limbs[far] = near, limb
                    order.append(far)
    if len(order) < num_keypoints:
        missing = sorted(set(range(num_keypoints)) - set(order))
        raise ValueError(
            f"The limbs must join all keypoints to keypoint 0 for people to be put together, got no way to {missing}; "
            "give heatmaps without their background channel, and edges that reach every keypoint."
        )
    others = tuple(limb for limb in range(len(edges)) if limb not in limbs.values())
    joints = range(num_keypoints)
    return Tree(tuple(order), tuple(parents[k] for k in joints), tuple(limbs[k] for k in joints), others)


def check_maps(heatmaps: Shape, pafs: Shape, edges: Edges) -> None:
    """Checks two shapes, in which None stands for what only the graph will know."""
    if len(heatmaps) != 3 or len(pafs) != 3:
        raise ValueError(
            f"heatmaps must be [H, W, K] and pafs [H, W, 2E], of one image, got {tuple(heatmaps)} and {tuple(pafs)}; "
            "call this for each image of a batch."
        )
    sizes = zip(heatmaps[:2], pafs[:2], strict=True)
    if any(a != b for a, b in sizes if None not in (a, b)) or 0 in heatmaps:
        raise ValueError(
            f"heatmaps and pafs must be of the same size, not empty, got {tuple(heatmaps)} and {tuple(pafs)}; "
            "resize both to the same height and width."
        )
    if heatmaps[2] is None or pafs[2] != 2 * len(edges):
        raise ValueError(
            f"pafs must have 2 channels for each of {len(edges)} limbs, and the numbers of channels be known, got "
            f"{tuple(pafs)} and heatmaps {tuple(heatmaps)}; give the edges that the network was trained for."
        )


def check_rule(
    max_people: int, max_peaks: int, threshold: float, radius: float, num_points: int, min_keypoints: int
) -> None:
    least = {"max_people": (max_people, 1), "max_peaks": (max_peaks, 1), "min_keypoints": (min_keypoints, 1)}
    least |= {"threshold": (threshold, 0), "radius": (radius, 0), "num_points": (num_points, 2)}
    for name, (value, bound) in least.items():
        if not value >= bound:
            raise ValueError(f"{name} must be at least {bound}, got {value}; see kerapose.ops.grouping.group.")


def check_finite(*maps: Array) -> None:
    for array in maps:
        if not np.all(np.isfinite(array)):
            place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ValueError(
                f"Maps must be finite, got {array[place]} at {place} (row, column, channel); look at the network's "
                "weights and at the image."
            )


def checked_order(limb_order: Sequence[int] | None, num_limbs: int, published: bool) -> Sequence[int]:
    if limb_order is None:
        return range(num_limbs)
    if not published or sorted(limb_order) != list(range(num_limbs)):
        raise ValueError(
            f"limb_order must have each of {num_limbs} limbs once, and goes with published=True, got "
            f"{tuple(limb_order)}; leave it out, or give PUBLISHED_LIMB_ORDER for OpenPose's limbs."
        )
    return tuple(limb_order)


def least_passing(num_points: int, min_share: float) -> int:
    """The least number of `num_points` places that is more than `min_share` of them."""
    return next((count for count in range(num_points + 1) if count / num_points > min_share), num_points + 1)


def sum_by_halves(values: Tensor, pad: Callable[..., Tensor]) -> Tensor:
    """The sum over the first axis, the second half on top of the first, again and again.

    So it is rounded alike wherever it runs: a chain of additions is put into another order by TensorFlow, which this
    is not, since there is a cut between any two of them.

    Args:
        values: [n, ...], float32.
        pad: `ops.pad` or `np.pad`, whichever `values` are for.

    Returns:
        [...].
    """
    size = 1 << (values.shape[0] - 1).bit_length()
    values = pad(values, ((0, size - values.shape[0]), *[(0, 0)] * (len(values.shape) - 1)))
    while size > 1:
        size //= 2
        values = values[:size] + values[size:]
    return values[0]
