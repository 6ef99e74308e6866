"""What a valid image with people is: said once, for every door that such samples come in by.

A sample is a person in an image. The rules look at arrays of N people, of a whole data set if there is one: "keypoints"
[N, K, 2] and "box" [N, 4] left, top, right, bottom in pixels, "visibility" [N, K], "area", "head_size" and "is_crowd"
[N], and the "name" [N] of their images. A `Report` is told of what breaks a rule, and says in the end whether that is
impossible or only suspicious.

- Numbers. Impossible: not finite where labelled, visibility other than 0, 1, 2, sides of boxes reversed, areas below 0.
- Units. Impossible: the keypoints, boxes or areas of most people in 0..1, COCO's boxes as corners. Suspicious: those of
  fewer people.
- Places. Impossible: somebody far beside the picture, a box beside it, most people outside of their boxes. Suspicious:
  fewer people outside of theirs, single keypoints far beside the picture, many keypoints at (0, 0).
- Files. Impossible: not there, not whole, of another size than annotated. Suspicious: mirrored by Exif data, which a
  size does not show.

A rule that speaks of most people states its share in `impossible_above`; people near the corner of a picture, cut off
by its border, or tiny, break none.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kerapose.data.gate.report import BadDataError, Report, Rule
from kerapose.types import Array, ArrayLike, Path, Size

VISIBILITIES = (0, 1, 2)  # not labelled, occluded, visible
UNIT = 1.5  # coordinates up to this are in 0..1 or -1..1, and a little beyond
UNIT_SHARE = 0.8  # of somebody's labelled keypoints, where the others are outliers
TINY_PX = 16  # in pictures up to this size nothing can be said of units
FAR = 0.25  # of the side of a picture: a keypoint that is so far beyond the border is not just cut off
NEAR_PX = 3.0  # what a keypoint may lie outside of a box or picture without a word, for clicks are not exact
BOX_MARGIN = 0.25  # of the side of a box: how far outside of it keypoints are its own
MOST = 0.5  # share of people above which it is no accident
MANY = 0.05  # share of people from which on placeholders are told of
# A box in corners that is read as x, y, width, height reaches beyond its picture if its middle is right of or below
# that of the picture: half of them or more do so, and in true files hardly any by a tenth of the picture.
BEYOND, BEYOND_SHARE = 0.1, 0.3
WHOLE_SHARE = 0.95  # of the boxes that must be whole and inside their pictures if they are corners
FILLED = 0.5  # of width and of height: keypoints that fill so much of a box as corners speak for it ...
SMALLER = 0.6  # ... if it has at most this share of the area of the box as x, y, width, height
LEAST_BOXES = 3  # what fewer boxes say of their form may be an accident
ENOUGH_BOXES = 20  # and what fewer say in pictures of unknown size
HELD = 0.9  # share of somebody's labelled keypoints that the right reading of a box holds
AGAINST = 0.1  # share of people whose keypoints lie in x, y, width, height alone: more, and there are no corners
PERCENT, PERCENT_FILLED, PERCENT_SIDE = 100.0, 90.0, 200  # what percentages reach, and sides that need more

# ---------------------------------------- rules of people
FINITE_KEYPOINTS = Rule(
    "Labelled keypoints are finite",
    "with a labelled keypoint that is not finite",
    "give it a place, or visibility 0 where it has none",
)
VISIBILITY = Rule(
    "Visibility is 0 not labelled, 1 occluded or 2 visible",
    "with visibility other than 0, 1, 2",
    "give 0 where nobody has labelled a keypoint, and 1 or 2 in place of scores",
)
FINITE_BOXES = Rule(
    "Boxes, areas and sizes of heads are finite", "with a box, an area or a head that is not finite", "correct them"
)
ORDER = Rule(
    "Boxes are left, top, right, bottom with sides that are not negative",
    "with a box whose right or bottom comes before its left or top",
    "make x, y, width, height into x, y, x + width, y + height, and turn reversed boxes round",
)
NEGATIVE = Rule("Areas and sizes of heads are not negative", "with a negative area or head", "correct them")
PIXEL_KEYPOINTS = Rule(
    "Keypoints are in pixels",
    f"with {UNIT_SHARE:.0%} or more of the labelled keypoints within {UNIT:g} px of (0, 0)",
    "multiply them by the width and height of the picture",
    MOST,
)
PIXEL_BOXES = Rule(
    "Boxes are in pixels",
    f"with a box within {UNIT:g} px of (0, 0)",
    "multiply them by the width and height of the picture",
    MOST,
)
PIXEL_AREAS = Rule(
    "Areas are in pixels^2",
    "with an area of at most 1 in a larger box",
    "multiply them by the width times the height of the picture",
    MOST,
)
LARGE_AREA = Rule(
    "Nobody is larger than the picture", "with an area above that of picture and box", "give the area in pixels^2"
)
IN_BOX = Rule(
    "Keypoints lie in the boxes of their people",
    "with more than half of the labelled ones outside of the box and its margin",
    "give boxes as left, top, right, bottom in pixels of the same picture",
    MOST,
)
FAR_PEOPLE = Rule(
    "People are in their pictures",
    "with all labelled keypoints far beside the picture",
    "give keypoints in pixels of the picture as it is shown, x first, and its size with width and height not exchanged",
)
UNSEEN_PEOPLE = Rule(
    "People are seen in their pictures",
    "with all labelled keypoints outside of the picture",
    "give keypoints in pixels of the picture as it is shown, x first",
    MOST,
)
FAR_KEYPOINTS = Rule(
    "Keypoints are in or near their pictures",
    f"with a labelled keypoint more than {FAR:.0%} of the picture beyond its border",
    "correct it, or give it visibility 0",
    MOST,
)
BESIDE = Rule(
    "Boxes show a part of their pictures",
    "with a box outside of the image",
    "give boxes in pixels of the picture as it is shown",
)
PLACEHOLDERS = Rule(
    "A keypoint without a place is not labelled",
    "with a labelled keypoint at exactly (0, 0) or (-1, -1)",
    "give it visibility 0 if it is a placeholder",
    1.0,
)
CORNERS = Rule(
    "A bbox of COCO is x, y, width, height",
    "with a bbox that fits as left, top, right, bottom alone",
    "take left from right and top from bottom",
    BEYOND_SHARE,
)
PERHAPS_CORNERS = Rule(
    "A bbox of COCO is x, y, width, height",
    "with a bbox that could be left, top, right, bottom",
    "take left from right and top from bottom if it is",
    1.0,
)
PERHAPS_PERCENT = Rule(
    "Keypoints and boxes are in pixels",
    f"with keypoints and box within {PERCENT:g} px of (0, 0) in larger pictures, as all are",
    "multiply them by a hundredth of width and height of the picture if they are percentages",
    1.0,
)

# ---------------------------------------- rules of images
THERE = Rule(
    "Image files are where the annotations say",
    "not there",
    "put them there, or give the folder that their names begin in",
)
WHOLE = Rule(
    "Images are whole JPEG or PNG files", "that cannot be decoded", "convert them, or copy or download them again"
)
AS_SHOWN = Rule(
    "Annotations are of pictures as they are shown",
    "stored in the annotated size but turned by Exif orientation",
    "strip the orientation from the files if they were annotated as stored, or annotate what is shown",
)
SAME_SIZE = Rule(
    "Pictures have the size that they were annotated in",
    "of another size, scaled, cropped or turned since",
    "take the pictures that were annotated, or scale their annotations and sizes",
)
EXCHANGED = Rule(
    "Annotated sizes are those of the pictures",
    "annotated with width and height exchanged, as all are",
    "exchange them in the annotations, or take the pictures that were annotated if they were turned since",
)
UNSEEN_TURN = Rule(
    "Annotations are taken to be of pictures as they are shown",
    "turned or mirrored by Exif orientation, which the annotated size does not show",
    "strip the orientation if they were annotated as stored",
    1.0,
)


# ---------------------------------------- numbers of users
def as_numbers(values: ArrayLike, what: str, dtype: str | None = "float64") -> Array:
    """An array of what a user gives as numbers.

    Args:
        values: numbers, lists of these, arrays.
        what: they are, for the error: "boxes".
        dtype: of the array. None: their own, if it is one of numbers.

    Raises:
        ValueError: if they are something else, or rows of different lengths.
    """
    if isinstance(values, str | bytes | dict | set):
        raise ValueError(f"{what} must be numbers, got a {type(values).__name__}; give a list or an array of them.")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # rows of different lengths
        raise ValueError(f"{what} must be numbers in rows of one length, got others; correct them.") from None
    if array.dtype.kind in "biuf":
        return array if dtype is None else array.astype(dtype)
    others = [value for value in array.reshape(-1).tolist() if isinstance(value, str | bytes)]
    try:
        if not others:
            return array.astype(dtype or "float64")  # None becomes NaN
    except (TypeError, ValueError, OverflowError):
        others = array.reshape(-1).tolist()
    raise ValueError(f"{what} must be numbers, got {others[0]!r}; convert them.")


# ---------------------------------------- what is missing
def in_convention(keypoints: ArrayLike, visibility: ArrayLike) -> Array:
    """Keypoints, but those that are not labelled at (0, 0): [..., K, 2], [..., K] -> [..., K, 2]."""
    return np.where((np.asarray(visibility) > 0)[..., None], keypoints, 0.0)


def visibility_of(keypoints: ArrayLike) -> Array:
    """Visibility where nobody has said it: 0 for keypoints at (0, 0) or NaN, 2 for others: [..., K, 2] -> [..., K]."""
    keypoints = np.asarray(keypoints)
    return 2 * (np.any(keypoints != 0, axis=-1) & ~np.any(np.isnan(keypoints), axis=-1))


def counted(reasons: Mapping[str, Array]) -> str:
    """Why people are left out, and how many; somebody may be left out for two reasons: {reason: [N] bool} -> text."""
    return ", ".join(f"{wrong.sum()} {reason}" for reason, wrong in reasons.items() if wrong.any())


# ---------------------------------------- people
def note_people(report: Report, people: Mapping[str, Array], sizes: ArrayLike | None = None) -> None:
    """Notes which people break a rule, and counts them.

    Args:
        report: a `Report` on people.
        people: dict of arrays, see above.
        sizes: [N, 2] (height, width) of their pictures, 0 where not known. None: none is.
    """
    names, count = people["name"], len(people["box"])
    report.seen(count)
    if not count:
        return
    sizes = np.zeros((count, 2)) if sizes is None else np.asarray(sizes, "float64")
    sound = _note_numbers(report, people)
    labelled = (people["visibility"] > 0) & (sound & ~people["is_crowd"])[:, None]  # [N, K]
    keypoints = np.where(labelled[..., None], people["keypoints"], 0.0).astype("float64")
    box = np.where(sound[:, None], people["box"], 0.0).astype("float64")
    off_units = _note_units(report, names, keypoints, labelled, box, people["area"], sizes)
    in_pixels = labelled & ~off_units[:, None]
    _note_places(report, names, keypoints, in_pixels, box, sizes)
    picture, own = np.prod(sizes, axis=1), np.prod(box[:, 2:] - box[:, :2], axis=1)
    too_large = people["area"] > 1.05 * np.maximum(picture, own)  # not 1, for areas are rounded
    large = sound & (picture > 0) & ~_is_tiny(sizes) & too_large
    report.note_all(LARGE_AREA, names, large, lambda i: f"{people['area'][i]:g} in a picture of {picture[i]:g}")


def _note_numbers(report, people):
    """Who has numbers that can be right: [N] bool."""
    names, box, area, visibility = (people[key] for key in ("name", "box", "area", "visibility"))
    heads = people.get("head_size", np.zeros(len(box)))
    finite = (np.isfinite(people["keypoints"]) | ~(visibility > 0)[..., None]).all(axis=(1, 2))
    finite_box = np.isfinite(box).all(axis=1) & np.isfinite(area) & np.isfinite(heads)
    with np.errstate(invalid="ignore"):  # NaN is noted as such
        is_reversed = (box[:, 2:] < box[:, :2]).any(axis=1)
        negative = (area < 0) & ~is_reversed | (heads < 0)  # the area of a reversed box is no second fault
    known = np.isin(visibility, VISIBILITIES).all(axis=1)
    report.note_all(FINITE_KEYPOINTS, names, ~finite)
    report.note_all(FINITE_BOXES, names, ~finite_box)
    report.note_all(VISIBILITY, names, ~known)
    report.note_all(ORDER, names, is_reversed, lambda i: _written(box[i]))
    report.note_all(NEGATIVE, names, negative)
    return finite & finite_box & known & ~is_reversed & ~negative


def _note_units(report, names, keypoints, labelled, box, area, sizes):
    """Whose keypoints are in 0..1, [N] bool."""
    has, large = labelled.any(axis=1), ~_is_tiny(sizes)
    near = (np.abs(keypoints) <= UNIT).all(axis=2) & labelled  # [N, K]
    # Of whole pixels near the corner there are some, of fractions of a picture hardly any that are whole.
    fractions = ((keypoints % 1 != 0).any(axis=2) & near).any(axis=1)
    unit = has & large & fractions & (near.sum(axis=1) >= UNIT_SHARE * labelled.sum(axis=1))
    unit &= labelled[unit].sum() > 1  # a single keypoint says nothing
    unit &= ~_fit_in_pixels(keypoints, near, box, sizes)
    report.note_all(PIXEL_KEYPOINTS, names, unit, lambda i: _first_keypoint(keypoints[i], near[i]), has)
    boxed = box.any(axis=1)
    # The reader of COCO files has told of those that it left without area.
    unit_box = is_unit_box(box, sizes) & (box[:, 2:] > box[:, :2]).all(axis=1)
    report.note_all(PIXEL_BOXES, names, unit_box, lambda i: _written(box[i]), boxed)
    own = np.prod(box[:, 2:] - box[:, :2], axis=1)
    measured = (own > TINY_PX) & (area > 0)
    report.note_all(PIXEL_AREAS, names, measured & (area <= 1), lambda i: f"{area[i]:g}", measured)
    return unit


def _fit_in_pixels(keypoints, near, box, sizes):
    """Whose keypoints near (0, 0) lie in their box as pixels, and beside it as fractions of the picture: [N] bool.

    In a picture of unknown size that is so for boxes which are tiny themselves.
    """
    side = box[:, 2:] - box[:, :2]
    boxed = (side > 0).all(axis=1) & (box[:, 2:] > UNIT).any(axis=1)
    in_pixels = _share_inside(keypoints, near, box, BOX_MARGIN * side + NEAR_PX) >= HELD
    size = sizes[:, None, ::-1]  # [N, 1, 2] width, height
    readings = keypoints * size, (keypoints + 1) / 2 * size, keypoints * size.max(axis=2, keepdims=True)
    scaled = [_share_inside(points, near, box, BOX_MARGIN * side + NEAR_PX) > MOST for points in readings]
    known = (sizes > 0).all(axis=1)
    return boxed & in_pixels & np.where(known, ~np.any(scaled, axis=0), (side <= TINY_PX).all(axis=1))


def _share_inside(keypoints, labelled, box, margin):
    """The share of the labelled keypoints [N, K, 2] in a box [N, 4] and its margin [N, 2], 1 of none: [N]."""
    low, high = (box[:, :2] - margin)[:, None], (box[:, 2:] + margin)[:, None]
    inside = ((keypoints >= low) & (keypoints <= high)).all(axis=2) & labelled
    count = labelled.sum(axis=1)
    return np.where(count > 0, inside.sum(axis=1) / np.maximum(count, 1), 1.0)


def is_unit_box(box: Array, sizes: Array) -> Array:
    """Whether boxes [N, 4] in pictures of (height, width) [N, 2], 0 where not known, can be fractions alone: [N] bool.

    A box of whole numbers in a picture of a size that is not known is not held against it.
    """
    has_area, fractions = (box[:, 2:] > box[:, :2]).all(axis=1), (box % 1 != 0).any(axis=1)
    certain = fractions | (has_area & (sizes > 0).all(axis=1)) | (has_area & (len(box) > 1))
    return (np.abs(box) <= UNIT).all(axis=1) & box.any(axis=1) & certain & ~_is_tiny(sizes)


def _is_tiny(sizes):
    return (sizes > 0).all(axis=1) & (sizes <= TINY_PX).all(axis=1)


def _note_places(report, names, keypoints, labelled, box, sizes):
    """Notes whose keypoints or boxes are elsewhere; people with keypoints of which something else is said have none."""
    has = labelled.any(axis=1)
    side = box[:, 2:] - box[:, :2]
    margin = np.maximum(BOX_MARGIN * side, NEAR_PX)[:, None]
    outside = ((keypoints < box[:, None, :2] - margin) | (keypoints > box[:, None, 2:] + margin)).any(axis=2) & labelled
    known = (sizes > 0).all(axis=1)
    beside = is_beside(box, sizes) & has & known
    boxed = has & (side > 0).all(axis=1) & ~beside
    lost = boxed & (outside.sum(axis=1) > labelled.sum(axis=1) / 2)

    def found(i):
        return f"{_first_keypoint(keypoints[i], outside[i])} with the box {_written(box[i])}"

    report.note_all(IN_BOX, names, lost, found, boxed)
    report.note_all(BESIDE, names, beside, lambda i: f"{_written(box[i])} in a picture of {_size(sizes[i])}")

    size = np.where(known[:, None], sizes, 1.0)[:, None, ::-1]  # [N, 1, 2] width, height
    beyond = np.maximum(-keypoints, keypoints - size + 1).max(axis=2)  # [N, K] px
    far = np.maximum(-keypoints / size, (keypoints + 1) / size - 1).max(axis=2)  # [N, K] sides
    far = (far > FAR) & (beyond > NEAR_PX) & labelled & known[:, None]
    all_far = (far | ~labelled).all(axis=1) & has & known
    unseen = ((beyond > NEAR_PX) | ~labelled).all(axis=1) & has & known & ~all_far

    def found_beside(i):
        return f"{_first_keypoint(keypoints[i], labelled[i])} in a picture of {_size(sizes[i])}"

    report.note_all(FAR_PEOPLE, names, all_far, found_beside)
    report.note_all(UNSEEN_PEOPLE, names, unseen, found_beside, has)
    report.note_all(FAR_KEYPOINTS, names, far.any(axis=1) & ~all_far, None, has)
    placeholder = ((keypoints == 0).all(axis=2) | (keypoints == -1).all(axis=2)) & labelled
    if placeholder.any(axis=1).sum() > MANY * has.sum():
        report.note_all(PLACEHOLDERS, names, placeholder.any(axis=1))


def is_beside(box: Array, sizes: Array) -> Array:
    """Whether boxes [N, 4] share nothing with pictures of (height, width) [N, 2]: [N] bool."""
    left, top, right, bottom = box.T
    return (left > sizes[:, 1] - 0.5) | (top > sizes[:, 0] - 0.5) | (right < -0.5) | (bottom < -0.5)


def note_bboxes(
    report: Report,
    names: Sequence[str] | Array,
    bbox: Array,
    sizes: Array,
    keypoints: Array | None = None,
    visibility: Array | None = None,
) -> None:
    """Notes which boxes of a COCO file are in other units, or corners: what no longer shows once they are read.

    Args:
        report: a `Report` on people or boxes, which counts them.
        names: [N] of their images.
        bbox: [N, 4] as they stand in the file, said to be x, y, width, height.
        sizes: [N, 2] (height, width) of the pictures, 0 where not known.
        keypoints: [N, K, 2]. None: there are none.
        visibility: [N, K].
    """
    report.seen(len(bbox))
    sound = np.isfinite(bbox).all(axis=1) & (bbox[:, 2:] > 0).all(axis=1)
    bbox = np.where(sound[:, None], bbox, 0.0)
    corners = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    unit = is_unit_box(corners, sizes)
    report.note_all(PIXEL_BOXES, names, unit, lambda i: _written(bbox[i]), sound)
    known = (sizes > 0).all(axis=1)
    limits = np.where(known[:, None], sizes, np.inf)[:, ::-1]  # width, height
    low, high = bbox[:, :2], bbox[:, 2:]
    whole = sound & (high > low).all(axis=1) & (high <= limits + NEAR_PX).all(axis=1) & (low >= -NEAR_PX).all(axis=1)
    told = whole & (low + high > (1 + BEYOND) * limits).any(axis=1)
    if keypoints is not None:
        against = sound & _fits_plain_alone(keypoints, visibility, bbox)
        told = (told | whole & _fills(keypoints, visibility, low, high)) & ~against
        _note_percent(report, names, bbox, sound, sizes, keypoints, visibility)
        if against.sum() > AGAINST * (sound & (visibility > 0).any(axis=1)).sum():
            return
    if whole.sum() >= WHOLE_SHARE * sound.sum() and not unit.any():
        if told.sum() >= LEAST_BOXES:
            report.note_all(CORNERS, names, told, lambda i: _written(bbox[i]), sound)
        elif told.any() and told.sum() == sound.sum():
            report.note_all(PERHAPS_CORNERS, names, told, lambda i: _written(bbox[i]), sound)
        smaller = whole & (np.prod(high - low, axis=1) <= SMALLER * np.prod(high, axis=1))
        if not known.any() and sound.sum() >= ENOUGH_BOXES and smaller.sum() > MOST * sound.sum():
            report.note_all(PERHAPS_CORNERS, names, smaller, lambda i: _written(bbox[i]), sound)


def _fits_plain_alone(keypoints, visibility, bbox):
    """Whose keypoints lie in their bbox as x, y, width, height, but not as corners: [N] bool."""
    labelled = (visibility > 0) & np.isfinite(keypoints).all(axis=2)
    plain = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    margin = np.full((len(bbox), 2), NEAR_PX)
    in_plain, in_corners = (_share_inside(keypoints, labelled, box, margin) for box in (plain, bbox))
    return (in_plain >= HELD) & (in_corners < HELD)


def _note_percent(report, names, bbox, sound, sizes, keypoints, visibility):
    """Notes everybody if all coordinates of several pictures of different sizes end just at 100."""
    known = sound & (sizes >= PERCENT_SIDE).all(axis=1)
    labelled = (visibility > 0)[..., None] & np.isfinite(keypoints)
    points = np.where(labelled, keypoints, 0.0).reshape(-1, 2)
    ends = np.concatenate([points, bbox[:, :2] + bbox[:, 2:]])
    several = len(set(map(str, names))) >= LEAST_BOXES and len(np.unique(sizes, axis=0)) > 1
    filled = len(points) > 0 and (points.max(axis=0) >= PERCENT_FILLED).all()
    if known.all() and several and filled and ends.min() >= -NEAR_PX and ends.max() <= PERCENT + NEAR_PX:
        report.note_all(PERHAPS_PERCENT, names, sound, lambda i: _written(bbox[i]))


def _fills(keypoints, visibility, low, high):
    """Whether keypoints are all inside a box of these corners and fill it, which is far the smaller one: [N] bool."""
    labelled = (visibility > 0)[..., None] & np.isfinite(keypoints)
    least = np.where(labelled, keypoints, np.inf).min(axis=1)  # [N, 2]
    most = np.where(labelled, keypoints, -np.inf).max(axis=1)
    inside = (least >= low - NEAR_PX).all(axis=1) & (most <= high + NEAR_PX).all(axis=1)
    filled = (most - least >= FILLED * (high - low)).all(axis=1)
    return inside & filled & (np.prod(high - low, axis=1) <= SMALLER * np.prod(high, axis=1))


# ---------------------------------------- images
def note_images(
    report: Report,
    names: Sequence[str] | Array,
    sizes: ArrayLike,
    found: ArrayLike,
    orientations: ArrayLike | None = None,
    paths: Sequence[Path] | Array | None = None,
) -> Array:
    """Notes which images cannot be used, and counts them.

    Args:
        report: a `Report` on images.
        names: [N].
        sizes: [N, 2] annotated (height, width), 0 where nobody has said it.
        found: [N, 2] (height, width) as they are shown; 0 where an image cannot be decoded, -1 where it is not there.
        orientations: [N] 1 .. 8 of their Exif data. None: 1.
        paths: [N] of their files, for errors. None: their names.

    Returns:
        [N] bool: which can be used.
    """
    report.seen(len(names))
    sizes, found = np.asarray(sizes).reshape(-1, 2), np.asarray(found).reshape(-1, 2)
    orientations = np.ones(len(names), int) if orientations is None else np.asarray(orientations)
    paths = names if paths is None else paths
    named = [f"no {path}" if str(path) != str(name) else "" for path, name in zip(paths, names, strict=True)]
    report.note_all(THERE, names, found[:, 0] < 0, lambda i: named[i])
    report.note_all(WHOLE, names, found[:, 0] == 0)
    readable, said = found[:, 0] > 0, (sizes > 0).all(axis=1)
    other = readable & said & (found != sizes).any(axis=1)
    as_stored = other & (orientations >= 5) & (found[:, ::-1] == sizes).all(axis=1)

    def told(i):
        return f"annotated as {_size(sizes[i])}, shown as {_size(found[i])}"

    square = found[:, 0] == found[:, 1]
    exchanged = other & ~as_stored & (found[:, ::-1] == sizes).all(axis=1)
    exchanged &= exchanged.sum() == (readable & said & ~square).sum()  # a single one is more likely turned
    report.note_all(AS_SHOWN, names, as_stored, lambda i: f"{told(i)}, Exif orientation {orientations[i]}")
    report.note_all(EXCHANGED, names, exchanged, told)
    report.note_all(SAME_SIZE, names, other & ~as_stored & ~exchanged, told)
    hidden = (orientations > 1) & readable & ~other & ((orientations < 5) | square | ~said)
    report.note_all(UNSEEN_TURN, names, hidden)
    return readable & ~other


# ---------------------------------------- boxes that a predictor is given
def check_boxes(boxes: ArrayLike, size: Size, given: bool = True) -> Array:
    """Refuses boxes in one image that a predictor cannot be asked about.

    Args:
        boxes: [N, 4] left, top, right, bottom, pixels.
        size: (height, width) of the image.
        given: whether a user gave them, who may mistake their units; a detector cannot.

    Returns:
        [N, 4] float32.

    Raises:
        BadDataError: if one is not finite, reversed, without area or outside of the image, or all are in 0..1.
    """
    boxes = as_numbers(boxes, "boxes", "float32")
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, 4], left, top, right, bottom, got {boxes.shape}; give a list of boxes.")
    height, width = size
    sizes = np.tile([float(height), float(width)], (len(boxes), 1))
    finite = np.isfinite(boxes).all(axis=1)
    fractions = is_unit_box(np.where(finite[:, None], boxes, 0.0), sizes) & given
    rules = (
        (finite, "have finite coordinates", "leave it out"),
        (~fractions | (not fractions.all()), "be in pixels", "multiply it by width and height of the image"),
        (
            (boxes[:, 2:] > boxes[:, :2]).all(axis=1),
            "be left, top, right, bottom, with right > left and bottom > top",
            "COCO's x, y, w, h is x, y, x + w, y + h here",
        ),
        (
            (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1),
            f"show a part of the image, which is {width} wide and {height} high",
            "leave it out, or check that it is in pixels of this image",
        ),
    )
    for kept, rule, remedy in rules:
        if not kept.all():
            wrong = int(np.argmin(kept))
            raise BadDataError(f"A box must {rule}, got {boxes[wrong].tolist()} for box {wrong}; {remedy}.")
    return boxes


def check_scores(scores: ArrayLike, where: Path) -> Array:
    """Refuses scores of boxes that are none.

    Args:
        scores: [N] numbers.
        where: they are, for the error: "box_scores".

    Returns:
        [N] float64.

    Raises:
        BadDataError: if one is not in 0..1.
    """
    scores = as_numbers(scores, where)
    wrong = ~((scores >= 0) & (scores <= 1 + 1e-6))  # NaN is wrong; a sum of float32 may end a little above 1
    if wrong.any():
        place = int(np.argmax(wrong))
        first = scores.reshape(-1)[place]
        remedy = "divide percentages by 100" if first > 1 else "leave the box out, or give its score"
        raise BadDataError(f"{where} must be 0 to 1, got {first:g} for box {place}; {remedy}.")
    return scores


def _written(box):
    return "[" + ", ".join(f"{side:.6g}" for side in box) + "]"


def _first_keypoint(keypoints, which):
    x, y = keypoints[int(np.argmax(which))]
    return f"keypoint at ({x:.4g}, {y:.4g})"


def _size(size):
    return f"{int(size[1])} x {int(size[0])} (width x height)"
