"""What a valid clip is, and a video with its keypoints; and of keypoints over time what tracks share with these.

A door reads each clip with `read_clip`, which brings it to the one convention and notes what it finds in a `Report`,
which the door closes when all samples are through.
"""

import collections
import dataclasses
import typing
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from kerapose.data.gate.report import ALL, Report, Rule
from kerapose.ops import heatmaps
from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike, Size

NEAR_ORIGIN_PX = 1.5  # a person whose keypoints are this close to (0, 0) is one of 0..1 or -1..1
MOST_NEAR = 0.9  # of the seen keypoints that near: a few that went astray do not hide the unit of the others
FEWEST_JOINTS = 3  # that one of several people shows: fewer may be a detector's stray keypoints, not a person
PERCENT = 100.0  # the largest coordinate of one in percent
LARGE_FRAME_PX = 400  # both sides of a frame that people who stay within 100 px of its corner do not fill
PERCENT_SHARE = 0.9  # of the clips that stay within it, if their unit is percent
PERCENT_SPREAD = 60.0  # that these clips together take up along x and y: more than a small person in a corner does
TRIM = 0.02  # of the keypoints on either side of a clip that are not counted as its extent: those that went astray
PLACEHOLDER = -1.0  # x and y of a keypoint that some sources say instead of (0, 0)
PLACEHOLDER_REACH = 1e-3  # how far from it one is that went to the screen and back
MANY_PLACEHOLDERS = 0.05  # of the seen keypoints: no detector finds so many on one point outside the frame
MOST_BEYOND = 0.5  # of the seen keypoints outside the frame; if it is more, that is not the frame they were found in
MOST_NEGATIVE = 0.25  # of the seen keypoints left of the frame or above it, where they are counted from its corner
FIT_SHARE = 0.01  # of the seen keypoints that may lie outside a frame that they fit
MISFIT_SHARE = 0.2  # from which share on they do not fit: people who are cut off have less beyond it
LARGEST_SIDE = np.iinfo("int32").max  # of a frame, pixels
LARGEST_LABEL = np.iinfo("int64").max
HIGHEST_SCORE = 1.5  # heatmaps of some networks have peaks a little above 1
IMPOSSIBLE_SCORE = 10.0  # logits do not reach it, percent do

SHAPE = Rule("Keypoints are [M, T, K, 2]", "of another shape", "reshape them")
SKELETON = Rule(
    "Keypoints are those of the skeleton",
    "with another number of them",
    "give the skeleton that the keypoints were made with",
)
ONE_SCORE = Rule("There is one score for each keypoint", "with scores of another shape", "reshape them")
FRAMES = Rule("A clip has at least one frame", "without any", "check how it was cut")
PEOPLE = Rule(
    "A clip shows somebody",
    f"in which nobody is seen, with no score of {heatmaps.MIN_SCORE} or more",
    "set the scores to 1 if they are not known (training leaves such clips out, tests keep them)",
    ALL,
)
PEOPLE_OF_FILE = dataclasses.replace(PEOPLE, impossible_above=1)  # a file of empty clips alone is read all the same
FRAME_SIZE = Rule(
    "frame_size is (height, width), whole numbers of pixels from 1 on",
    "with another size",
    "give the size of the video frames",
)
PIXELS = Rule(
    "Keypoints are in pixels",
    f"with {MOST_NEAR:.0%} or more of the seen ones, or of a person's, within {NEAR_ORIGIN_PX} px of (0, 0)",
    "multiply them by width and height if they are 0..1",
    0.5,
)
IN_PERCENT = Rule(
    "Keypoints are in pixels",
    f"that keep within 0 to {PERCENT:g} px and fill it, of frames of {LARGE_FRAME_PX} px and more",
    "multiply them by width / 100 and height / 100 if they are percent",
    1,
)
FINITE_PLACES = Rule(
    "Places of keypoints are numbers that float32 holds", "with larger ones", "these count as missing", 1
)
PLACED = Rule(
    "A keypoint with a score has a place",
    f"with more than {MANY_PLACEHOLDERS:.0%} of the seen ones at (-1, -1)",
    "give those a score of 0 if they are missing",
    1,
)
INSIDE = Rule(
    "Keypoints lie in the frame",
    f"with more than {MOST_BEYOND:.0%} of the seen ones beyond it",
    "give frame_size (height, width), the size that they refer to",
    0.5,
)
SWAPPED = Rule(
    "frame_size is (height, width)",
    "whose keypoints fit a frame of (width, height) alone",
    "turn the two numbers round if that is so",
    1,
)
CORNER = Rule(
    "Keypoints are counted from the frame's upper left corner",
    f"with more than {MOST_NEGATIVE:.0%} of the seen ones left of it or above",
    "add half of width and height if they are counted from the centre",
    1,
)
SCORES = Rule("Scores are 0 to 1", f"with a score above {IMPOSSIBLE_SCORE:g}", "divide them by 100 if they are percent")
HIGH_SCORES = Rule("Scores are 0 to 1", f"with a score above {HIGHEST_SCORE}", "bring them to this range", 1)
NOWHERE = Rule(
    "A keypoint with a score has a finite score and place other than (0, 0)",
    "with keypoints that have none",
    "these count as missing, score 0",
    1,
)
NAMES = Rule("Names of clips differ", "with the name of another", "`skip` would leave out all of a name", 1)
VIDEO = Rule("A clip has a whole video", "whose video cannot be read", "get or encode it again")
DAMAGED = Rule("Videos should be whole", "of which something is lost", "get them again for the rest", 1)
LENGTH = Rule(
    "Keypoints are given for every frame of the video",
    "with another number of frames",
    "give those of this very video, (0, 0) in frames without any",
)
VIDEO_SHAPE = Rule(
    "Keypoints refer to a frame of the video's shape", "with one of another shape", "correct frame_size (height, width)"
)


# ---------------------------------------- single values
def whole_number(value: typing.Any) -> int | None:
    """A whole number as an int, of NumPy or not, or 2.0; None for what is none: 1.5, NaN, True, text, several."""
    value = numbers(value)
    if value is None or value.size != 1 or value.dtype.kind not in "iuf":
        return None
    value = value.item()
    return int(value) if np.isfinite(value) and value == int(value) else None


def class_index(label: typing.Any, num_classes: int | None = None) -> int | None:
    """A label as an int from 0 to below `num_classes`; None for what is no class.

    An array of one number is that number. 1.5 is no class, nor are NaN, True, "1", or a one-hot array.
    """
    index = whole_number(label)
    return index if index is not None and 0 <= index < (LARGEST_LABEL if num_classes is None else num_classes) else None


def frame_size_of(frame_size: typing.Any) -> Array | None:
    """(height, width) as int32 [2]; None for what is no size of a frame, such as 1080.5."""
    if np.shape(numbers(frame_size)) != (2,):
        return None
    sides = [whole_number(side) for side in frame_size]
    return None if None in sides or not 1 <= min(sides) <= max(sides) <= LARGEST_SIDE else np.array(sides, "int32")


def sizes_of_all(frame_sizes: Sequence[Size] | Size, count: int) -> Sequence[Size]:
    """The size of each of N frames, of a list of them or one for all; a ValueError if there is no such thing."""
    one = "frame_sizes is one (height, width), or a list with one for each"
    try:
        sizes = list(frame_sizes)
    except TypeError:
        raise ValueError(f"{one}, got {frame_sizes!r}; give the size of the video frames.") from None
    if len(sizes) == 2 and np.ndim(sizes[0]) == 0 and sizes[0] is not None:
        return [frame_sizes] * count
    if len(sizes) != count:
        raise ValueError(f"{one}, got {len(sizes)} sizes for {count}; match the lists.")
    return sizes


def plain(value: typing.Any) -> str:
    """A value as one writes it: 99 rather than np.int64(99)."""
    return repr(value.tolist() if isinstance(value, np.generic | np.ndarray) else value)


# ---------------------------------------- what is missing
def is_seen(keypoints: Array, scores: Array) -> Array:
    """Which keypoints [..., 2 or 3] were seen: finite, not all 0, of a finite score [...] above 0."""
    with np.errstate(invalid="ignore"):
        placed = np.isfinite(keypoints).all(axis=-1) & (keypoints != 0).any(axis=-1)
        return placed & np.isfinite(scores) & (scores > 0)


def without_missing(keypoints: ArrayLike, scores: ArrayLike | None = None) -> tuple[Array, Array, int]:
    """Brings keypoints to the one convention: what is missing is at (0, 0) and has score 0.

    Args:
        keypoints: [..., K, 2], (0, 0), NaN or infinity where missing; without scores also where it is (-1, -1). Poses
            [..., K, 3] likewise, but for the last.
        scores: [..., K], 0, less, or NaN where missing. None: not known.

    Returns:
        keypoints of the same shape and scores [..., K] (1 where not known), float32, and how many keypoints had a
        score, or NaN for one, and yet were missing.
    """
    with np.errstate(over="ignore"):  # what is too large for float32 is missing too
        keypoints = np.asarray(keypoints, "float32")
        placed = ~_is_placeholder(keypoints) if keypoints.shape[-1] == 2 else np.ones(keypoints.shape[:-1], bool)
        given = np.asarray(placed if scores is None else scores, "float32")
    seen = is_seen(keypoints, given)
    nowhere = 0 if scores is None else int(np.count_nonzero(~seen & ~(given <= 0)))
    return np.where(seen[..., None], keypoints, np.float32(0)), np.where(seen, given, np.float32(0)), nowhere


# ---------------------------------------- clips
def read_clip(
    report: Report,
    keypoints: ArrayLike,
    skeleton: Skeleton | None = None,
    scores: ArrayLike | None = None,
    frame_size: Size | None = None,
    label: typing.Any = 0,
    name: str = "",
    num_classes: int | None = None,
    people: Rule = PEOPLE,
) -> dict[str, typing.Any] | None:
    """Brings a clip to the one convention and notes what is wrong with it.

    Args:
        report: a `Report`.
        keypoints: [M, T, K, 2] (or [T, K, 2] for one person), pixels, x first. Missing: (0, 0), NaN or a score of 0.
        skeleton: the `Skeleton` of the keypoints. None: not checked.
        scores: [M, T, K] (or [T, K]). None: 1 where a keypoint is not missing.
        frame_size: (height, width), pixels. None: just large enough for the keypoints.
        label: class index.
        name: what errors call the clip.
        num_classes: how many classes there are. None: any label from 0 on.
        people: the rule on clips that show nobody; `PEOPLE` refuses samples of which none shows anybody.

    Returns:
        {"keypoints": float32 [M, T, K, 2], "scores": float32 [M, T, K], "frame_size": int32 [2], "label": int64,
        "name"}, M at least 1; None if it is so wrong that there is no such thing.
    """
    arrays = clip_arrays(report, keypoints, skeleton, scores, name)
    known = frame_size is not None
    size, index = note_description(report, frame_size if known else (1, 1), label, name, num_classes)
    if arrays is None or size is None or index is None:
        return None
    size = size if known else None
    if arrays[1] is None:
        note_large(report, arrays[0], name)
    keypoints, scores, nowhere = without_missing(*arrays)
    if nowhere:
        report.note(NOWHERE, name, f"{nowhere} keypoints")
    if not (scores >= heatmaps.MIN_SCORE).any():
        report.note(people, name)
    note_places(report, keypoints, scores, size, name)
    if size is None:
        size = np.ceil(keypoints.max(axis=(0, 1, 2), initial=1.0))[::-1].astype("int32")
    return {"keypoints": keypoints, "scores": scores, "frame_size": size, "label": np.int64(index), "name": name}


def note_description(
    report: Report, frame_size: Size | None, label: typing.Any, name: str, num_classes: int | None = None
) -> tuple[Array | None, int | None]:
    """Counts a clip and notes whether its frame size and label are such; arguments as of `read_clip`.

    Returns:
        int32 [2] and an int, None for what is none.
    """
    report.seen()
    size, index = frame_size_of(frame_size), class_index(label, num_classes)
    if size is None:
        report.note(FRAME_SIZE, name, plain(frame_size))
    if index is None:
        report.note(_labels(num_classes), name, plain(label))
    return size, index


def note_rows(report: Report, keypoints: Array, scores: Array, name: str) -> None:
    """Counts a clip and notes what is wrong with its keypoints [N, K, 2] and scores [N, K], one a person and frame."""
    report.seen()
    keypoints, scores, nowhere = without_missing(keypoints, scores)
    if nowhere:
        report.note(NOWHERE, name, f"{nowhere} keypoints")
    note_places(report, keypoints, scores, None, name)


def note_large(report: Report, keypoints: Array, name: str) -> None:
    """Notes finite places that are missing as float32, where no score tells of it (`NOWHERE`)."""
    limit = np.finfo("float32").max
    with np.errstate(invalid="ignore"):
        large = np.isfinite(keypoints) & (np.abs(keypoints) > limit)
    if large.any():
        report.note(FINITE_PLACES, name, f"{float(np.abs(keypoints[large]).max()):.3g}")


def note_places(report: Report, keypoints: Array, scores: Array, frame_size: Size | None, name: str) -> None:
    """Notes what is wrong with the units and the origin of keypoints, looking at all of a sample.

    Args:
        report: a `Report`.
        keypoints: [M, T, K, 2] of several people, or [..., K, 2], pixels, missing ones at (0, 0).
        scores: [M, T, K] or [..., K], 0 where missing.
        frame_size: (height, width), pixels. None: not known.
        name: of the sample.
    """
    points = keypoints[scores > 0]  # [P, 2]
    if not len(points):
        return
    if frame_size is not None:
        large = min(frame_size) >= LARGE_FRAME_PX
        extent = np.quantile(points, (TRIM, 1 - TRIM), axis=0) if large else np.full((2, 2), np.nan)  # [2, 2]
        report.gather(IN_PERCENT, name, extent, _in_percent)
    placeholders = _is_placeholder(points).mean()
    if placeholders > MANY_PLACEHOLDERS:
        report.note(PLACED, name, f"{placeholders:.0%}")
    near = _unit_found(keypoints, scores)
    if near:
        report.note(PIXELS, name, near)
    elif frame_size is not None:
        beyond, turned = (_share_beyond(points, size) for size in (frame_size, frame_size[::-1]))
        height, width = (int(side) for side in frame_size)
        found = f"{beyond:.0%} beyond height {height} and width {width}"
        if beyond > MOST_BEYOND:
            report.note(INSIDE, name, found)
        if beyond > MISFIT_SHARE and turned <= FIT_SHARE:
            report.note(SWAPPED, name, found)
        negative = (points < 0).any(axis=-1).mean()
        if negative > MOST_NEGATIVE:
            report.note(CORNER, name, f"{negative:.0%}")
    note_scores(report, scores, name)


def note_scores(report: Report, scores: Array, name: str) -> None:
    """Notes scores [...] that are in percent or the like."""
    highest = scores.max(initial=0.0)
    if highest > IMPOSSIBLE_SCORE:
        report.note(SCORES, name, f"{highest:g}")
    elif highest > HIGHEST_SCORE:
        report.note(HIGH_SCORES, name, f"{highest:g}")


def _is_placeholder(points):
    """Which points [..., 2] are (-1, -1), as far as a way to the screen and back leaves it so."""
    return (np.abs(points - PLACEHOLDER) < PLACEHOLDER_REACH).all(axis=-1)


def _unit_found(keypoints, scores):
    """What shows that keypoints [(M,) ..., K, 2], or those of one of M people, are in no pixels; "" if nothing does."""
    seen = scores > 0
    placed = seen & ~_is_placeholder(keypoints)
    if not placed.any():
        return _near_origin(keypoints[seen])
    found = _near_origin(keypoints[placed])
    if found or keypoints.ndim != 4 or len(keypoints) == 1:
        return found
    for person, (own, there) in enumerate(zip(keypoints, placed, strict=True)):
        found = _near_origin(own[there]) if np.count_nonzero(there.any(axis=0)) >= FEWEST_JOINTS else ""
        if found:
            return f"{found} of person {person}"
    return ""


def _near_origin(points):
    """What shows that points [P, 2] are in no pixels, those that went astray left out; "" if nothing does."""
    distances = np.abs(points).max(axis=-1)  # [P]
    near = distances <= NEAR_ORIGIN_PX
    if near.mean() < MOST_NEAR:
        return ""
    return f"{'none' if near.all() else f'{1 - near.mean():.1%}'} beyond {distances[near].max():.2g}"


def _in_percent(extents):
    """Which clips are in percent, by their extents [N, 2, 2] (NaN where the frame is small), and what shows it."""
    extents = np.array(extents)
    within = (extents[:, 0] >= 0).all(axis=-1) & (extents[:, 1] <= PERCENT).all(axis=-1)  # [N]
    if within.mean() < PERCENT_SHARE:
        return np.zeros(len(within), bool), ""
    spread = extents[within, 1].max(axis=0) - extents[within, 0].min(axis=0)
    return within & (spread.min() >= PERCENT_SPREAD), f"over {spread[0]:.0f} x {spread[1]:.0f} px"


def note_repeated(report: Report, names: Iterable[str]) -> None:
    """Notes names of clips that come more than once: who leaves one out leaves out all of that name."""
    counts = collections.Counter(map(str, names))
    report.note_all(NAMES, list(counts), [count > 1 for count in counts.values()])


def note_video(
    report: Report, length: int, frame_size: Size, info: typing.Any, name: str, same_shape: Callable[[Size, Size], bool]
) -> None:
    """Notes whether a video is that of the keypoints.

    Args:
        report: a `Report`.
        length: T, frames of the keypoints.
        frame_size: (height, width) that the keypoints refer to, pixels.
        info: what `data.frames.probe` says of the video.
        name: of the clip.
        same_shape: `data.frames.same_shape`.
    """
    if info.damage:
        report.note(DAMAGED, name, info.damage)
    if info.num_frames != length:
        damage = f", {info.damage}" if info.damage else ""
        report.note(LENGTH, name, f"{length} of them and {info.num_frames} frames{damage}")
    height, width = info.frame_size
    if not same_shape(info.frame_size, frame_size):
        shown = f"{int(width)} x {int(height)}"
        stored = height * min(info.pixel, 1), width / max(info.pixel, 1)
        why = ""
        if info.pixel != 1 and same_shape([float(side) for side in stored], frame_size):
            axis, factor = ("x", info.pixel) if info.pixel > 1 else ("y", 1 / info.pixel)
            why = (
                f", whose pixels are {info.pixel.numerator} : {info.pixel.denominator}, so it is shown {shown}: "
                f"multiply {axis} by {float(factor):.4g}"
            )
        report.note(
            VIDEO_SHAPE,
            name,
            f"{int(frame_size[1])} x {int(frame_size[0])} pixels and {shown} of the video{why}",
        )


# ---------------------------------------- helpers
def clip_arrays(
    report: Report,
    keypoints: ArrayLike,
    skeleton: Skeleton | None,
    scores: ArrayLike | None,
    name: str,
    shape_rule: Rule = SHAPE,
    num_coordinates: int = 2,
) -> tuple[Array, Array | None] | None:
    """Notes whether figures of a clip are arrays that fit together; arguments as of `read_clip`.

    Returns:
        Keypoints [M, T, K, `num_coordinates`], M at least 1, and scores [M, T, K] or None; None if they are none.
    """
    keypoints, scores = numbers(keypoints), None if scores is None else numbers(scores)
    shape, scores_shape = np.shape(keypoints), np.shape(scores)
    if keypoints is None or len(shape) not in (3, 4) or shape[-1] != num_coordinates:
        report.note(shape_rule, name, shape if keypoints is not None else "no numbers")
        return None
    keypoints = keypoints[None] if len(shape) == 3 else keypoints
    if skeleton is not None and shape[-2] != skeleton.num_keypoints:
        report.note(SKELETON, name, f"{shape[-2]} and {skeleton.num_keypoints} of {skeleton.name}")
        return None
    if scores is not None and scores_shape not in (keypoints.shape[:3], shape[:-1]):
        report.note(ONE_SCORE, name, f"{scores_shape} for {shape}")
        return None
    if 0 in keypoints.shape[1:]:
        report.note(FRAMES, name)
        return None
    if not len(keypoints):
        return np.zeros((1, *keypoints.shape[1:])), None
    return keypoints, None if scores is None else scores.reshape(keypoints.shape[:3])


def numbers(values: typing.Any) -> Array | None:
    """An array of numbers; None for what is none, text or lists of different lengths."""
    try:
        values = np.asarray(values)
    except ValueError:
        return None
    return values if values.dtype.kind in "iufb" else None


def _labels(num_classes):
    allowed = "from 0 on" if num_classes is None else f"0 to {num_classes - 1}"
    return Rule(f"Labels are whole numbers, {allowed}", "with another label", "correct it, or the number of classes")


def _share_beyond(points, frame_size):
    """The share of points [P, 2] that lie outside a frame of (height, width)."""
    return float(((points < 0) | (points > np.asarray(frame_size)[::-1])).any(axis=-1).mean())
