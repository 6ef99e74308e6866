"""Grouping: from the heatmaps and part affinity fields of an image to the people in it.

The network of a bottom-up method says where there are noses and where there are wrists, and along each limb which way
it points. Here peaks of the heatmaps become candidates for keypoints, the fields say which two candidates are joined by
a limb, and keypoints that are joined, directly or through others, are a person.

There are two forms of the same rule. `group_numpy` is written to be read. `group` treats all joints, limbs and people
at once, in a graph. Both compute in float32 and add up in the same order, so that both decide alike at thresholds and
ties, and give the same people. Where XLA compiles `group`, it rounds a sum of two products once less, which shows in
the last digit of the scores.

The published program has accidents of its own. ``group_numpy(..., published=True)`` keeps them all, to compare with
published results; nothing else here does.

Papers: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017; Osokin,
"Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019.
"""

import keras
import numpy as np

from kerapose.ops.graphs import ops
from kerapose.ops.grouping_numpy import (
    CANDIDATES_PER_PEAK,
    PUBLISHED_LIMB_ORDER,
    check_maps,
    check_rule,
    find_peaks_numpy,
    group_numpy,
    least_passing,
    limb_tree,
    sum_by_halves,
)
from kerapose.types import Edges, Tensor

__all__ = [
    "PUBLISHED_LIMB_ORDER",
    "find_peaks",
    "find_peaks_numpy",
    "group",
    "group_numpy",
    "limb_tree",
    "people_score",
]

# So many cells of a row are first told by their highest one.
BLOCK = 12

# So many pairs of peaks are looked at in one go: more work where there are few people, more goes where there are many.
PAIRS_AT_ONCE = 64


def people_score(person_scores: Tensor, num_keypoints: Tensor) -> Tensor:
    """Gives the score by which COCO's evaluation ranks people: a person's sum times one less than its keypoints.

    Args:
        person_scores: [P], of `group` or `group_numpy`.
        num_keypoints: [P], likewise.

    Returns:
        [P], float.

    Example:
        >>> from kerapose.ops import grouping
        >>> np.asarray(grouping.people_score(np.float32([10.0, 0.0]), np.int32([5, 0]))).tolist()
        [40.0, 0.0]

    Paper: Osokin, 2018; see the top of this module.
    """
    return person_scores * ops.cast(ops.maximum(num_keypoints - 1, 0), person_scores.dtype)


# ---------------------------------------- in a graph: all joints, limbs and people at once
def group(
    heatmaps: Tensor,
    pafs: Tensor,
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
) -> dict[str, Tensor]:
    """Finds the people in the maps of one image.

    1. A cell of a heatmap is a peak if it is above `threshold`, more than its neighbours above and to the left and no
       less than those below and to the right: one cell of a plateau. Peaks are taken best first, ties in row order,
       and each forbids those nearer than `radius`. A parabola along x and one along y give its place between cells.
    2. A limb between two peaks is sampled at the cells nearest to `num_points` places from end to end. It is possible
       if at more than `min_share` of them the field has a component of more than `min_dot` along the limb; its score is
       the mean of these.
    3. For each limb of the skeleton the best possible one is taken, then the next best that has no end in common with
       those taken, and so on; ties by the better peak of its first end, then of its second.
    4. The limbs of `limb_tree` join keypoints to people; no joint can come twice. Each other limb then makes one person
       of two that have no joint in common, the best of all of these limbs first.
    5. A person's score is the sum of its keypoints' scores and of its limbs' in the tree. People with less than
       `min_keypoints` keypoints, or whose score divided by their number is below `min_score`, are dropped.

    What is not finite in a heatmap counts as 0, and no limb passes where a field is not finite.

    Args:
        heatmaps: [H, W, K] without background, any H and W; float.
        pafs: [H, W, 2E], x and y for each limb, pointing from its first end to its second.
        edges: E pairs of keypoint indices (`Skeleton.edges`), in the order of the fields.
        max_people: P, how many people there is room for.
        max_peaks: N, how many peaks a joint may have. Work and memory grow with its square.
        threshold: heatmaps' least height; a peak is above.
        radius: distance that two peaks of a joint keep, cells.
        num_points: places along a limb.
        min_dot: bound of the field's component along the limb; a place passes if it is above.
        min_share: bound of the share of places that pass; a limb is possible if it is above.
        min_keypoints: least number of keypoints of a person.
        min_score: least score of a person, divided by the number of its keypoints.

    Returns:
        A dict. `keypoints` [P, K, 2] float32, cells of the map, x first, 0 where missing; `scores` [P, K] float32, the
        heatmaps' values, 0 where missing; `person_scores` [P] float32, best first; `num_keypoints` [P] int32; `count`
        [] int32, how many of the P are people, all else being 0; `num_found` [] int32, how many there were before the
        bound; `overflow` [] bool, whether people or peaks were left out for want of room.

    Raises:
        ValueError: if shapes do not fit, an argument is out of range, or the limbs do not join all keypoints.

    Example:
        >>> from kerapose.ops import grouping, pafs
        >>> arms, limbs = keypoints[:, 0, 5:10:2], [(0, 1), (1, 2)]  # shoulder, elbow and wrist of two people
        >>> heatmaps = pafs.encode_heatmaps(arms, None, size=(120, 160), stride=2)[..., :-1]
        >>> fields = pafs.encode(arms, None, limbs, size=(120, 160), stride=2)
        >>> people = grouping.group(heatmaps, fields, limbs)
        >>> int(people["count"]), tuple(people["keypoints"].shape)  # there is room for 20
        (2, (20, 3, 2))
        >>> arms[0].tolist(), (np.asarray(people["keypoints"])[0] * 2 + 0.5).tolist()  # pixels
        ([[96.0, 72.0], [104.0, 96.0], [107.2, 120.0]], [[96.0, 72.0], [104.0, 96.0], [107.2, 120.0]])

    Paper: Cao et al., CVPR 2017; Osokin, 2018; see the top of this module.
    """
    heatmaps, pafs = ops.cast(heatmaps, "float32"), ops.cast(pafs, "float32")
    check_maps(heatmaps.shape, pafs.shape, edges)
    check_rule(max_people, max_peaks, threshold, radius, num_points, min_keypoints)
    num_joints = heatmaps.shape[-1]
    tree = limb_tree(edges, num_joints)
    peaks = find_peaks(heatmaps, max_peaks, threshold, radius)
    # From here on joints stand in the order of the tree, each behind its parent.
    place = np.argsort(tree.order)  # of a joint
    cells, keypoints, scores = (
        ops.take(peaks[name], np.array(tree.order), axis=0) for name in ("cells", "keypoints", "scores")
    )  # [K, N, 2], [K, N, 2], [K, N]
    ends = place[np.array(edges, int).reshape(-1, 2)]  # [E, 2]
    least = least_passing(num_points, min_share)
    limb_scores = _limb_scores(pafs, cells, scores > 0, ends, num_points, min_dot, least)  # [E, N, N]
    matches = _match(limb_scores)
    parents, strengths = _tree_links(matches, tree, ends, num_joints, max_peaks)  # [K*N]
    person = _follow(parents, num_joints)
    person = _join_others(person, matches, tree, ends, num_joints, max_peaks)
    table = _tabulate(person, ops.reshape(scores, (-1,)), strengths, num_joints, max_peaks)
    return _best_people(table, keypoints, place, peaks["overflow"], max_people, min_keypoints, min_score)


def find_peaks(heatmaps: Tensor, max_peaks: int = 32, threshold: float = 0.1, radius: float = 6.0) -> dict[str, Tensor]:
    """Finds the peaks of each heatmap: step 1 of `group`.

    Args:
        heatmaps: [H, W, K], float.
        max_peaks: N, how many peaks a joint may have.
        threshold: heatmaps' least height; a peak is above.
        radius: distance that two peaks of a joint keep, cells.

    Returns:
        A dict. `cells` [K, N, 2] int, x first, best first, 0 where there are no more peaks; `keypoints` [K, N, 2]
        float32, their places between cells; `scores` [K, N] float32, 0 where there are no more; `overflow` [K] bool,
        whether a joint has more peaks than `max_peaks`, or so many candidates that it may have.

    Example:
        >>> from kerapose.ops import grouping, pafs
        >>> heatmaps = pafs.encode_heatmaps(keypoints[:, 0, :1], None, size=(30, 40))[..., :-1]
        >>> peaks = grouping.find_peaks(heatmaps)
        >>> np.asarray(peaks["cells"])[0, :3].tolist()  # of two noses
        [[10, 7], [25, 7], [0, 0]]
    """
    heatmaps = ops.cast(heatmaps, "float32")
    num_joints, num_candidates = heatmaps.shape[-1], CANDIDATES_PER_PEAK * max_peaks
    summits = _summits(heatmaps, threshold)
    width = ops.cast(ops.shape(summits)[1], _INDEX)
    heights, index = _highest(summits, num_candidates + 1)  # [K, C + 1]: one more shows whether there are more
    too_many = heights[:, -1] > 0
    heights, index = heights[:, :-1], index[:, :-1]  # [K, C]
    kept = _surest_apart(index % width, index // width, heights > 0, radius)

    heights = ops.where(kept, heights, 0.0)
    scores, order = ops.top_k(heights, max_peaks)  # [K, N]; equal ones stay in their order
    first = np.arange(num_joints, dtype=_INDEX)[:, None] * num_candidates
    index = ops.take(ops.reshape(index, (-1,)), ops.cast(order, _INDEX) + first)  # [K, N]
    index = ops.where(scores > 0, index, 0)
    cells = ops.stack([index % width, index // width], axis=-1)  # [K, N, 2]
    keypoints = ops.cast(cells, "float32") + _summit_offsets(heatmaps, cells)
    return {
        "cells": cells,
        "keypoints": ops.where(scores[..., None] > 0, keypoints, 0.0),
        "scores": scores,
        "overflow": ops.logical_or(too_many, ops.sum(ops.cast(kept, "int32"), axis=1) > max_peaks),
    }


def _summits(maps, threshold):
    """Keeps of each map the cells that are above the threshold and one of a plateau's, 0 elsewhere.

    [H, W, K] -> [H, W', K], widened to whole blocks.
    """
    # What cannot be a peak, NaN too, is as low as what lies outside.
    possible = ops.logical_and(maps > threshold, maps < np.inf)
    high = ops.where(possible, maps, ops.zeros_like(maps))
    wider = -ops.shape(maps)[1] % BLOCK
    around = ops.pad(high, ((1, 1), (1, 1 + wider), (0, 0)))
    high = around[1:-1, 1:-1]
    before = ops.maximum(around[:-2, 1:-1], around[1:-1, :-2])
    after = ops.maximum(around[2:, 1:-1], around[1:-1, 2:])
    return high * ops.cast(ops.logical_and(high > before, high >= after), "float32")


def _highest(maps, count):
    """The highest cells of each map [H, W', K], ties in row order: heights and indices [K, count], 0 if too few."""
    num_joints = maps.shape[-1]
    blocks = ops.reshape(maps, (-1, BLOCK, num_joints))
    num_blocks = ops.cast(ops.shape(blocks)[0], _INDEX)
    # Blocks stand in the order of their cells, so that the first `count` blocks hold the first `count` cells, ties and
    # all. There may be less blocks than that, and cells for each of those `count` in any case.
    tops = ops.concatenate([ops.transpose(ops.max(blocks, axis=1)), np.zeros((num_joints, count), "float32")], axis=1)
    tops, block = ops.top_k(tops, count)  # [K, count]
    block = ops.sort(ops.where(tops > 0, ops.cast(block, _INDEX), num_blocks), axis=1)  # in row order again
    cells = ops.reshape(block[..., None] * BLOCK + np.arange(BLOCK, dtype=_INDEX), (num_joints, -1))
    joint = np.arange(num_joints, dtype=_INDEX)[:, None]
    index = ops.minimum(cells, num_blocks * BLOCK - 1) * num_joints + joint
    heights = ops.where(cells < num_blocks * BLOCK, ops.take(ops.reshape(maps, (-1,)), index), 0.0)
    heights, place = ops.top_k(heights, count)
    return heights, ops.take(ops.reshape(cells, (-1,)), ops.cast(place, _INDEX) + joint * (count * BLOCK))


def _surest_apart(x, y, possible, radius):
    """Which candidates stay if, best first, each forbids those nearer than `radius`: [K, C] each -> [K, C] bool."""
    x, y = ops.cast(x, "float32"), ops.cast(y, "float32")
    squared = ops.square(x[:, :, None] - x[:, None, :]) + ops.square(y[:, :, None] - y[:, None, :])  # [K, C, C]
    num_candidates = x.shape[1]
    better = np.tri(num_candidates, k=-1, dtype="float32")  # [i, j]: whether j stands before i
    forbids = ops.cast(squared < radius**2, "float32") * better  # [K, C, C]

    def any_of(candidates):
        return ops.matmul(forbids, ops.cast(candidates, "float32")[..., None])[..., 0] > 0  # [K, C]

    def step(kept, open_):
        # Whoever has no better one nearby that is still open is certain to stay: many are decided at once.
        chosen = ops.logical_and(open_, ops.logical_not(any_of(open_)))
        kept = ops.logical_or(kept, chosen)
        open_ = ops.logical_and(open_, ops.logical_not(ops.logical_or(chosen, any_of(chosen))))
        return kept, open_

    start = (ops.zeros_like(possible), possible)
    return ops.while_loop(lambda kept, open_: ops.any(open_), step, start, maximum_iterations=num_candidates)[0]


def _summit_offsets(maps, cells):
    """Where the parabola through each cell and its two neighbours has its top, along x and along y: [K, N, 2]."""
    num_joints = maps.shape[-1]
    flat, joint = ops.reshape(maps, (-1,)), np.arange(num_joints, dtype=_INDEX)[:, None]
    height, width = (ops.cast(size, _INDEX) for size in ops.shape(maps)[:2])
    size = ops.stack([width, height])
    inside = ops.logical_and(cells > 0, cells < size - 1)

    def values(step):  # along x and along y
        x = ops.clip(cells[..., 0] + step, 0, size[0] - 1)
        y = ops.clip(cells[..., 1] + step, 0, size[1] - 1)
        along_x = ops.take(flat, (cells[..., 1] * width + x) * num_joints + joint)
        along_y = ops.take(flat, (y * width + cells[..., 0]) * num_joints + joint)
        return ops.stack([along_x, along_y], axis=-1)  # [K, N, 2]

    low, middle, high = values(-1), values(0), values(1)
    curve = (middle - low) + (middle - high)
    inside = ops.logical_and(inside, ops.logical_and(curve > 0, curve < np.inf))  # never where one is NaN
    offset = 0.5 * (high - low) / ops.where(inside, curve, 1.0)
    return ops.where(inside, ops.clip(offset, -0.5, 0.5), 0.0)


def _limb_scores(pafs, cells, found, ends, num_points, min_dot, least):
    """Scores of all limbs between all pairs of peaks, 0 where there is none: [E, N, N], first ends in rows."""
    num_limbs, max_peaks = len(ends), cells.shape[1]
    width = ops.cast(ops.shape(pafs)[1], _INDEX)
    fields, limb = ops.reshape(pafs, (-1, 2)), np.arange(num_limbs, dtype=_INDEX)[:, None]  # [H*W*E, 2], [E, 1]
    points = ops.cast(cells, "float32")  # [K, N, 2]
    starts, stops = ops.take(points, ends[:, 0], axis=0), ops.take(points, ends[:, 1], axis=0)  # [E, N, 2]
    first, second, back = _pairs(max_peaks)  # [chunks, pairs], of the better peaks first: few peaks, few chunks
    chunk = np.arange(len(first), dtype="int32")[:, None, None]
    most = ops.max(ops.sum(ops.cast(found, "int32"), axis=1))

    def step(i, scores):
        pairs = (ops.take(side, i, axis=0) for side in (first, second))
        start, stop = (ops.take(end, pair, axis=1) for end, pair in zip((starts, stops), pairs, strict=True))
        x, y, direction_x, direction_y = _places(start, stop, num_points)  # [points, E, pairs], [E, pairs] twice
        index = (ops.cast(y, _INDEX) * width + ops.cast(x, _INDEX)) * num_limbs + limb
        field_x, field_y = ops.unstack(ops.take(fields, index, axis=0), 2, axis=-1)
        along = field_x * direction_x + field_y * direction_y
        passes = ops.logical_and(along > min_dot, along < np.inf)
        total = sum_by_halves(ops.where(passes, along, 0.0), ops.pad)
        count = ops.sum(ops.cast(passes, "float32"), axis=0)
        new = ops.where(count >= least, total / ops.maximum(count, 1.0), 0.0)
        return i + 1, ops.where(ops.equal(chunk, i), new, scores)

    start = (ops.zeros((), "int32"), ops.zeros((len(first), num_limbs, PAIRS_AT_ONCE), "float32"))
    scores = ops.while_loop(lambda i, scores: i * PAIRS_AT_ONCE < most * most, step, start)[1]
    scores = ops.reshape(ops.transpose(scores, (1, 0, 2)), (num_limbs, -1))
    scores = ops.reshape(ops.take(scores, back, axis=1), (num_limbs, max_peaks, max_peaks))
    has_start, has_stop = (ops.take(found, ends[:, side], axis=0) for side in (0, 1))  # [E, N]
    return ops.where(ops.logical_and(has_start[:, :, None], has_stop[:, None]), scores, 0.0)


def _pairs(max_peaks):
    """All pairs of peaks, those among the first n before any others, in chunks; and where each pair stands [N*N]."""
    first, second = np.divmod(np.arange(max_peaks**2), max_peaks)
    order = np.argsort(np.maximum(first, second), kind="stable")
    padding = (0, -len(order) % PAIRS_AT_ONCE)
    chunks = [np.pad(side[order], padding).reshape(-1, PAIRS_AT_ONCE) for side in (first, second)]
    return *chunks, np.argsort(order)


def _places(start, stop, num_points):
    """The cells nearest to places from start to stop, and the direction from one to the other."""
    limb = stop - start  # [E, pairs, 2]
    length = ops.sqrt(ops.square(limb[..., 0]) + ops.square(limb[..., 1]))
    direction = limb / ops.maximum(length, 1.0)[..., None]  # cells are whole: a limb is 0 or at least 1 long
    # In whole numbers but for one division: places fall into the same cells wherever this runs.
    steps = np.arange(num_points, dtype="float32")[:, None, None]
    x, y = (
        ops.floor((start[..., i] * (num_points - 1) + limb[..., i] * steps) / (num_points - 1) + 0.5) for i in (0, 1)
    )
    return x, y, direction[..., 0], direction[..., 1]


def _match(scores):
    """Takes limbs best first, each peak once: [E, N, N] -> the scores of those taken, 0 elsewhere."""

    def step(taken, left):
        # What is the first best of its row and of its column comes before all that would exclude it.
        first_of_row = _first_maximum(left, axis=2)
        first_of_column = _first_maximum(left, axis=1)
        chosen = ops.logical_and(ops.logical_and(first_of_row, first_of_column), left > 0)
        used = ops.logical_or(ops.any(chosen, axis=2, keepdims=True), ops.any(chosen, axis=1, keepdims=True))
        return ops.where(chosen, left, taken), ops.where(used, 0.0, left)

    start = (ops.zeros_like(scores), scores)
    return ops.while_loop(lambda taken, left: ops.any(left > 0), step, start, maximum_iterations=scores.shape[1])[0]


def _first_maximum(values, axis):
    """Whether an entry is the first of the greatest along an axis."""
    size = values.shape[axis]
    place = np.arange(size, dtype="int32").reshape([-1 if i == axis else 1 for i in range(3)])
    best = values >= ops.max(values, axis=axis, keepdims=True)
    return ops.equal(place, ops.min(ops.where(best, place, size), axis=axis, keepdims=True))


def _tree_links(matches, tree, ends, num_joints, max_peaks):
    """For each peak the one that its limb of the tree leads to, or itself, and that limb's score, or 0: [K*N] each."""
    own = np.arange(num_joints * max_peaks, dtype=_INDEX).reshape(num_joints, max_peaks)
    if num_joints == 1:
        return ops.convert_to_tensor(own[0]), ops.zeros((max_peaks,), "float32")
    limbs = np.array([tree.limbs[joint] for joint in tree.order[1:]])  # [K - 1], of the joints from the second on
    child_last = ends[limbs, 1] == np.arange(1, num_joints)
    taken = ops.take(matches, limbs, axis=0)  # [K - 1, N, N]
    taken = ops.where(child_last[:, None, None], ops.transpose(taken, (0, 2, 1)), taken)  # the joint's peaks in rows
    strengths = ops.max(taken, axis=2)  # [K - 1, N]
    partner = ops.cast(ops.argmax(taken > 0, axis=2), _INDEX)
    above = np.where(child_last, ends[limbs, 0], ends[limbs, 1]).astype(_INDEX)  # the joint's parent
    parents = ops.where(strengths > 0, above[:, None] * max_peaks + partner, own[1:])
    parents = ops.concatenate([own[:1], parents], axis=0)
    strengths = ops.concatenate([np.zeros((1, max_peaks), "float32"), strengths], axis=0)
    return ops.reshape(parents, (-1,)), ops.reshape(strengths, (-1,))


def _follow(parents, num_joints):
    """The peak from which each one descends: [K*N], the number of its person."""
    for _ in range((num_joints - 1).bit_length()):  # each time twice as far up
        parents = ops.take(parents, parents)
    return parents


def _join_others(person, matches, tree, ends, num_joints, max_peaks):
    """Makes one person of two, with the lower number, for limbs that are not in the tree: [K*N] -> [K*N]."""
    if not tree.others:
        return person
    others = np.array(tree.others)
    taken = ops.take(matches, others, axis=0)  # [X, N, N]
    peak = np.arange(max_peaks, dtype=_INDEX)
    first = ends[others, 0].astype(_INDEX)[:, None] * max_peaks + peak  # [X, N]
    second = ends[others, 1].astype(_INDEX)[:, None] * max_peaks
    second = second + ops.cast(ops.argmax(taken > 0, axis=2), _INDEX)
    apart = ops.not_equal(ops.take(person, first), ops.take(person, second))
    strengths = ops.reshape(ops.where(apart, ops.max(taken, axis=2), 0.0), (-1,))  # [X*N]
    strengths, order = ops.top_k(strengths, strengths.shape[0])
    first = ops.take(np.reshape(first, -1), order)
    second = ops.take(ops.reshape(second, (-1,)), order)
    count = ops.sum(ops.cast(strengths > 0, "int32"))

    def joints_of(number, person):
        return ops.any(ops.reshape(ops.equal(person, number), (num_joints, max_peaks)), axis=1)  # [K]

    def step(i, person):
        one, other = ops.take(person, first[i]), ops.take(person, second[i])
        clash = ops.any(ops.logical_and(joints_of(one, person), joints_of(other, person)))
        low, high = ops.minimum(one, other), ops.maximum(one, other)
        joins = ops.logical_and(ops.equal(person, high), ops.logical_not(clash))
        return i + 1, ops.where(joins, low, person)

    return ops.while_loop(lambda i, person: i < count, step, (ops.zeros((), "int32"), person))[1]


def _tabulate(person, scores, strengths, num_joints, max_peaks):
    """Sorts peaks into people: peak, score and limb score of each person's joint, [K*N, K] each, 0 where missing."""
    joint = np.repeat(np.arange(num_joints, dtype=_INDEX), max_peaks)
    size = num_joints * max_peaks
    # A row beyond the last is for what is no peak.
    index = ops.where(scores > 0, person, size) * num_joints + joint
    columns = ops.stack([np.tile(np.arange(max_peaks, dtype="float32"), num_joints), scores, strengths], axis=-1)
    table = ops.scatter(index[:, None], columns, ((size + 1) * num_joints, 3))[: size * num_joints]
    table = ops.reshape(table, (size, num_joints, 3))
    return ops.cast(table[..., 0], _INDEX), table[..., 1], table[..., 2]


def _best_people(table, keypoints, place, peaks_overflow, max_people, min_keypoints, min_score):
    """Step 5 of `group`, and what it returns."""
    peak, scores, strengths = table  # [K*N, K]
    num_joints, max_peaks = keypoints.shape[:2]
    totals = sum_by_halves(ops.transpose(ops.concatenate([scores, strengths], axis=1)), ops.pad)  # [K*N]
    num_keypoints = ops.sum(ops.cast(scores > 0, "int32"), axis=1)
    share = totals / ops.cast(ops.maximum(num_keypoints, 1), "float32")
    kept = ops.logical_and(num_keypoints >= min_keypoints, share >= min_score)
    num_found = ops.sum(ops.cast(kept, "int32"))

    room = min(max_people, num_joints * max_peaks)
    totals, best = ops.top_k(ops.where(kept, totals, 0.0), room)  # [P]
    rows = np.arange(num_joints, dtype=_INDEX) * max_peaks
    scores = ops.where(totals[:, None] > 0, ops.take(scores, best, axis=0), 0.0)  # [P, K]
    keypoints = ops.take(ops.reshape(keypoints, (-1, 2)), ops.take(peak, best, axis=0) + rows, axis=0)  # [P, K, 2]
    keypoints = ops.where(scores[..., None] > 0, keypoints, 0.0)
    num_keypoints = ops.sum(ops.cast(scores > 0, "int32"), axis=1)
    people = {
        "keypoints": ops.take(keypoints, place, axis=1),
        "scores": ops.take(scores, place, axis=1),
        "person_scores": totals,
        "num_keypoints": num_keypoints,
    }
    empty = max_people - room
    people = {name: ops.pad(x, [(0, empty)] + [(0, 0)] * (len(x.shape) - 1)) for name, x in people.items()}
    overflow = ops.logical_or(ops.any(peaks_overflow), num_found > max_people)
    return people | {"count": ops.minimum(num_found, max_people), "num_found": num_found, "overflow": overflow}


_INDEX = "int64" if keras.backend.backend() == "tensorflow" else "int32"  # JAX has no other unless told to
