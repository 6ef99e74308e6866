"""Which frames of a sequence a clip is made of.

Uniform sampling (Duan et al., CVPR 2022) cuts a sequence into as many segments as the clip has frames and draws one
frame from each. The published test mode is the training sampler after seeding NumPy's legacy generator with 255, so
its exact indices are a function of that generator's raw words. Here the words are an argument of one sampler:
`published_words` for tests and for serving, random ones for training.
"""

import functools
from collections.abc import Sequence

import keras
import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import Array, Tensor

__all__ = [
    "PUBLISHED_SEED",
    "fill_gaps",
    "num_words",
    "published_words",
    "sample_frames",
    "sample_rgb_and_pose",
]

#: Of NumPy's legacy generator, from which the published test mode draws its frames.
PUBLISHED_SEED = 255
_DISCARDED = 2  # words that the published code consumes for every clip on a ratio that is always 1
_ANY = 2**31 - 1


def num_words(num_frames: int, num_clips: int = 1) -> int:
    """Gives how many random words `sample_frames` may consume.

    A draw below n takes fewer than two words on average. This leaves more than eight standard deviations of room.

    Args:
        num_frames: frames a clip.
        num_clips: clips a sequence.

    Returns:
        The number of words.

    Example:
        >>> from kerapose.ops import sequences
        >>> sequences.num_words(num_frames=48)
        250
    """
    draws = num_clips * (num_frames + 1 + _DISCARDED)
    return 2 * draws + 12 * int(draws**0.5) + 64


def published_words(num_frames: int, num_clips: int = 1, seed: int = PUBLISHED_SEED) -> Array:
    """Gives the raw stream of NumPy's legacy generator (MT19937), which the published test mode draws from.

    Args:
        num_frames: frames a clip.
        num_clips: clips a sequence.
        seed: of the generator; 255 in the published test mode.

    Returns:
        [P] int32, the lower 31 bits of each word (no draw needs more).

    Example:
        >>> from kerapose.ops import sequences
        >>> sequences.published_words(num_frames=48)[:2].tolist()
        [1992592179, 1460470953]
    """
    words = np.random.RandomState(seed).randint(0, 2**32, num_words(num_frames, num_clips), dtype=np.uint32)
    return (words & _ANY).astype("int32")


def sample_frames(
    length: Tensor,
    num_frames: int,
    num_clips: int = 1,
    words: Tensor | None = None,
    random_start: bool = False,
    p_interval: Sequence[float] = (1.0, 1.0),
) -> Tensor:
    """Draws the frames of `num_clips` clips from a sequence.

    A sequence shorter than a clip is played in a loop. One shorter than two clips gives its frames in order with some
    skipped. A longer one gives one frame from each of `num_frames` equal segments. With `p_interval` each clip is taken
    from an interval of the sequence: a share of its frames, drawn between two bounds and rounded down, at a random
    place. As published, the loop of an interval shorter than a clip runs on behind the interval's end.

    Args:
        length: frames of the sequence, int or int32 scalar tensor.
        num_frames: frames a clip.
        num_clips: clips.
        words: [P] int32 random words in [0, 2³¹), P at least `num_words(num_frames, num_clips)`. None: the published
            test mode's.
        random_start: whether a looped clip starts at a random frame (training) or at evenly spread ones (test).
        p_interval: least and greatest share, above 0 and up to 1; an interval has at least one frame. (1, 1): the whole
            sequence.

    Returns:
        [num_clips, num_frames] int32 indices in [0, length).

    Raises:
        ValueError: if `p_interval` is no such range.

    Example:
        >>> from kerapose.ops import sequences
        >>> np.asarray(sequences.sample_frames(length=30, num_frames=8, num_clips=2)).tolist()
        [[1, 5, 8, 14, 15, 19, 23, 28], [0, 3, 10, 13, 16, 18, 22, 27]]

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; `p_interval` is that of its code,
    PYSKL, for graph networks.
    """
    least, most = check_p_interval(p_interval)
    if least == 1.0:
        return _sample(length, num_frames, num_clips, words, random_start)[0]
    words = published_words(num_frames, num_clips) if words is None else words
    return _sample_intervals(length, num_frames, num_clips, words, random_start, least, most)


def check_p_interval(p_interval: Sequence[float]) -> tuple[float, float]:
    """The two shares of `sample_frames` as floats; a ValueError if they are no shares, the lesser first."""
    shares = tuple(float(share) for share in p_interval)
    if len(shares) != 2 or not 0 < shares[0] <= shares[1] <= 1:
        raise ValueError(
            f"p_interval must be two shares of a sequence, 0 < least <= greatest <= 1, got {list(p_interval)}; "
            "(1, 1) takes whole sequences, (0.5, 1) half of one or more."
        )
    return shares


def sample_rgb_and_pose(
    length: Tensor,
    rgb_frames: int,
    pose_frames: int,
    num_clips: int = 1,
    words: Tensor | None = None,
    random_start: bool = False,
    aligned: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draws the frames of clips that have pictures at one rate and poses at another (RGBPose-Conv3D).

    On one clock (`aligned`) the poses are those of `sample_frames`, and picture i is the frame of pose i * L' / L: the
    lateral connections of the network, which have this stride, put it there. As published (not `aligned`), pictures
    and poses are drawn independently: in tests both from the words of a newly seeded generator, in training the poses
    from the words that the pictures have left.

    Args:
        length: frames of the sequence, int or int32 scalar tensor.
        rgb_frames: pictures a clip, L.
        pose_frames: poses a clip, L'; on one clock a multiple of L.
        num_clips: clips, N.
        words: [P] int32 random words in [0, 2³¹), P at least `num_words(rgb_frames + pose_frames, num_clips)`. None:
            the published test mode's.
        random_start: see `sample_frames`.
        aligned: whether pictures and poses are on one clock, or each for itself as published.

    Returns:
        [N, L] and [N, L'] int32 indices in [0, length).

    Raises:
        ValueError: if `aligned` and `pose_frames` is not a multiple of `rgb_frames`.

    Example:
        >>> from kerapose.ops import sequences
        >>> rgb, pose = sequences.sample_rgb_and_pose(length=30, rgb_frames=2, pose_frames=8)
        >>> np.asarray(rgb).tolist(), np.asarray(pose).tolist()
        ([[1, 15]], [[1, 5, 8, 14, 15, 19, 23, 28]])

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    if aligned:
        if pose_frames % rgb_frames:
            raise ValueError(
                f"On one clock pose_frames must be a multiple of rgb_frames, got {pose_frames} and {rgb_frames}; "
                "change one, or use aligned=False."
            )
        pose = sample_frames(length, pose_frames, num_clips, words, random_start)
        return pose[:, :: pose_frames // rgb_frames], pose
    if words is None:
        return tuple(sample_frames(length, count, num_clips, None, random_start) for count in (rgb_frames, pose_frames))
    words = ops.cast(words, "int32")
    rgb, used = _sample(length, rgb_frames, num_clips, words, random_start)
    left = ops.roll(words, -used)
    return rgb, _sample(length, pose_frames, num_clips, left, random_start)[0]


def fill_gaps(keypoints: Tensor, found: Tensor) -> Tensor:
    """Fills gaps of a track: linearly between the nearest frames that have a keypoint, constant before and after them.

    Args:
        keypoints: [..., T, K, 2], pixels or any other unit; what a missing one holds does not matter.
        found: [..., T, K] bool.

    Returns:
        [..., T, K, 2] float32; those that were found are as given, those found in no frame are 0.

    Example:
        >>> from kerapose.ops import sequences
        >>> track, found = [[[2.0, 0.0]], [[0.0, 0.0]], [[4.0, 2.0]]], [[True], [False], [True]]
        >>> np.asarray(sequences.fill_gaps(track, found)).tolist()
        [[[2.0, 0.0]], [[3.0, 1.0]], [[4.0, 2.0]]]
    """
    found = ops.cast(found, "bool")
    points = ops.where(ops.expand_dims(found, -1), ops.cast(keypoints, "float32"), 0.0)
    known = ops.cast(found, "int32")
    count = ops.shape(known)[-2]
    frames = ops.reshape(ops.cast(ops.arange(count), "int32"), (-1, 1))  # [T, 1]
    places = ops.argsort(frames + (1 - known) * count, axis=-2)  # the known frames in order, then the others
    so_far = ops.cumsum(known, axis=-2)
    last = ops.maximum(so_far[..., -1:, :] - 1, 0)
    before, after = (
        ops.take_along_axis(places, ops.minimum(ops.maximum(place, 0), last), axis=-2)
        for place in (so_far - 1, so_far - known)
    )  # [..., T, K], the frame itself where it is known
    share = ops.cast(frames - before, "float32") / ops.cast(ops.maximum(after - before, 1), "float32")
    share = ops.expand_dims(ops.where(ops.equal(before, after), 0.0, share), -1)  # [..., T, K, 1]
    start, end = (ops.take_along_axis(points, ops.expand_dims(place, -1), axis=-3) for place in (before, after))
    return start + share * (end - start)


def _sample_intervals(length, num_frames, num_clips, words, random_start, least, most):
    """What `sample_frames` gives of intervals, [N, L]: clip by clip, since each may be looped, skipping or segmented.

    The two words that whole sequences discard are those of the share. Of the numbers that the published generator
    makes of 32 bits a word, these are made of the 31 that a word has here.
    """
    length, words = ops.cast(length, "int32"), ops.cast(words, "int32")
    double = "float32" if keras.backend.backend() == "jax" else "float64"  # JAX has no other, unless it is told to
    clips = []
    for clip in range(num_clips):
        first, second = (ops.cast(words[place], double) for place in (0, 1))
        uniform = ops.floor(first / 2.0**4) / 2.0**27 + ops.floor(second / 2.0**5) / 2.0**53
        share = uniform * (most - least) + least
        count = ops.cast(ops.floor(share * ops.cast(length, double)), "int32")
        count = ops.clip(count, 1, length)
        place, used = _draws(words, ops.reshape(length - count, (1,)), 1)  # [1, 1]
        # A draw from one number takes no word; the sampler discards two words, which are behind us.
        words = ops.roll(words, -ops.where(count < length, used - _DISCARDED, 0))
        indices, used = _sample(count, num_frames, 1, words, random_start, (clip, num_clips))
        clips.append((indices[0] + place[0, 0]) % length)
        words = ops.roll(words, -used)
    return ops.stack(clips)


def _sample(length, num_frames, num_clips, words, random_start, one_of=None):
    """What `sample_frames` gives of whole sequences, and how many of the words it took to get there.

    `one_of` is the number of the one clip of an interval, and of how many it is: those of tests start evenly spread.
    Its loop runs on behind the interval's end.
    """
    length, is_published = ops.cast(length, "int32"), words is None
    words = ops.cast(published_words(num_frames, num_clips) if is_published else words, "int32")

    def looped():
        if random_start:
            start, used = _draws(words, ops.broadcast_to(length - 1, (1,)), num_clips)  # [N, 1]
            used = ops.where(length > 1, used, num_clips * _DISCARDED)  # a draw from one number takes no word
        else:
            clip = ops.arange(num_clips, dtype="int32")[:, None] if one_of is None else np.array([[one_of[0]]], "int32")
            total = num_clips if one_of is None else one_of[1]
            start = ops.where(length < total, clip, clip * length // total)
            used = ops.convert_to_tensor(num_clips * _DISCARDED, "int32")
        frames = start + ops.arange(num_frames, dtype="int32")
        return frames % length if one_of is None else frames, used

    def skipping():
        if is_published:
            order, used = _published_orders(num_frames, num_clips), 0  # nobody asks for the words that are left
        else:
            last = np.arange(num_frames, 0, -1, dtype="int32")
            swaps, used = _draws(words, last, num_clips)  # [N, L]
            order = _shuffled(swaps)
        used = ops.convert_to_tensor(used, "int32")
        rank = ops.argsort(order, axis=-1)  # where each place went: the first length - L of them are skipped
        skipped = ops.cast(rank < length - num_frames, "int32")
        return ops.arange(num_frames, dtype="int32") + ops.cumsum(skipped, axis=-1)[:, :-1], used

    def segmented():
        edges = ops.arange(num_frames + 1, dtype="int32") * length // num_frames
        offsets, used = _draws(words, edges[1:] - edges[:-1] - 1, num_clips)  # [N, L]
        return edges[:-1] + offsets, used

    indices, used = ops.cond(
        length < num_frames, looped, lambda: ops.cond(length < 2 * num_frames, skipping, segmented)
    )
    return ops.cast(indices, "int32"), used


@functools.cache
def _published_orders(num_frames, num_clips):
    """What `_shuffled` makes of `published_words`, by NumPy's generator itself: one for all lengths, [N, L + 1]."""
    random, orders = np.random.RandomState(PUBLISHED_SEED), []
    for _ in range(num_clips):
        random.rand()  # takes the words that are discarded
        orders.append(random.permutation(num_frames + 1))
    return np.array(orders, "int32")


def _draws(words, highest, num_clips):
    """Uniform integers in [0, highest], by masked rejection as NumPy's legacy generator makes them.

    Word p serves draw d(p), the number of words accepted before it. Starting from "all accepted", the loop corrects
    d until it agrees with itself; the agreeing prefix grows at every turn, and a few turns settle it.

    Args:
        words: [P] int32.
        highest: [D] int32, inclusive upper ends of the draws of one clip.
        num_clips: how often the draws are made; before each time the published code discards two words.

    Returns:
        [num_clips, D] int32, and the number of words consumed.
    """
    plan = ops.concatenate([np.full(_DISCARDED, _ANY, "int32"), ops.cast(highest, "int32")])
    plan = ops.tile(plan, [num_clips])  # [N * (2 + D)]
    mask = plan
    for shift in (1, 2, 4, 8, 16):
        mask = ops.bitwise_or(mask, ops.right_shift(mask, np.int32(shift)))
    final = int(plan.shape[0]) - 1

    def accept(draw):
        masked = ops.bitwise_and(words, ops.take(mask, draw))
        return masked, ops.cast(masked <= ops.take(plan, draw), "int32")

    def correct(draw, _):
        _, accepted = accept(draw)
        corrected = ops.minimum(ops.cumsum(accepted) - accepted, final)
        return corrected, ops.any(corrected != draw)

    start = ops.minimum(ops.arange(words.shape[0], dtype="int32"), final)
    draw, _ = ops.while_loop(lambda _, changed: changed, correct, (start, ops.convert_to_tensor(True)))
    masked, accepted = accept(draw)
    position = ops.searchsorted(ops.cumsum(accepted), ops.arange(1, final + 2, dtype="int32"))
    drawn = ops.take(masked, ops.cast(position, "int32"))
    used = ops.cast(position[-1], "int32") + 1
    return ops.reshape(drawn, (num_clips, -1))[:, _DISCARDED:], used  # [N, D]


def _shuffled(swaps):
    """The Fisher-Yates shuffle of 0 .. L, given whom places L, L - 1, ..., 1 swap with: [N, L] -> [N, L + 1]."""
    num_clips, length = swaps.shape
    places = ops.arange(length + 1, dtype="int32")

    def swap(step, order):
        here = length - step
        there = ops.take(swaps, step, axis=1)[:, None]  # [N, 1]
        held_here = ops.take(order, here, axis=1)[:, None]
        held_there = ops.take_along_axis(order, there, axis=1)
        order = ops.where(places == there, held_here, order)
        return ops.where(places == here, held_there, order)

    return ops.fori_loop(0, length, swap, ops.tile(places[None], [num_clips, 1]))
