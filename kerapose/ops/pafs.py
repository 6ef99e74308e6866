"""Fields of a whole picture: where the keypoints of all its people lie, and which belong together.

`encode_heatmaps` and `encode` draw what bottom-up networks learn to draw: a heatmap for each keypoint, and for each
limb a part affinity field (PAF), the limb's direction wherever the limb is. `ops.grouping` reads both.

Cell j of a map stands for the picture's x = j * stride + (stride - 1) / 2, the middle of the pixels that it covers.
"""

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import Edges, Size, Tensor

__all__ = [
    "encode",
    "encode_heatmaps",
]

# A Gaussian ends where it has fallen to a hundredth.
MAX_EXPONENT = 4.6052


def encode_heatmaps(
    keypoints: Tensor,
    weights: Tensor | None,
    size: Size,
    stride: int = 8,
    sigma_px: float = 7.0,
    published: bool = False,
) -> Tensor:
    """Draws one Gaussian for each keypoint of each person, and the background that they leave.

    Where people overlap their Gaussians add up, to 1 at most. The background is 1 less the highest heatmap.

    Args:
        keypoints: [..., M, K, 2], pixels of the picture, x first; M may be 0. What is not finite is not drawn.
        weights: [..., M, K], drawn if above 0, such as COCO's visibility; 0 for people who are only padding. None:
            all are drawn.
        size: (h, w) of the maps, cells.
        stride: pixels of the picture in a cell.
        sigma_px: standard deviation, pixels of the picture.
        published: whether to cut each Gaussian where the published loop stops, at the last cell that ends within 4σ to
            the right and below. With the published σ of 7 pixels at stride 8 that cuts nothing; it does from about
            half a stride downwards.

    Returns:
        [..., h, w, K + 1] float32; the last map is the background.

    Raises:
        ValueError: if the shapes do not fit together, or a size, stride or σ is not positive.

    Example:
        >>> from kerapose.ops import pafs
        >>> maps = pafs.encode_heatmaps(keypoints[:, 0], None, size=(30, 40))  # of a picture of 240 x 320
        >>> tuple(maps.shape), float(np.asarray(maps)[0, 0, -1])  # the background is 1 where nobody is
        ((30, 40, 18), 1.0)

    Paper: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017; Osokin,
    "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018.
    """
    _check_positive(size=size, stride=stride, sigma_px=sigma_px)
    points, drawn = _points(keypoints, weights)
    height, width = size
    columns = _gaussian(points[..., 0], width, stride, sigma_px, published)  # [..., M, w, K]
    rows = _gaussian(points[..., 1], height, stride, sigma_px, published)  # [..., M, h, K]
    rows = rows * ops.cast(drawn, "float32")[..., None, :]
    bumps = rows[..., :, None, :] * columns[..., None, :, :]  # [..., M, h, w, K]
    bumps = ops.where(bumps >= np.float32(np.exp(-MAX_EXPONENT)), bumps, 0.0)
    heatmaps = ops.minimum(ops.sum(bumps, axis=-4), 1.0)  # [..., h, w, K]
    background = 1.0 - ops.max(heatmaps, axis=-1, keepdims=True)
    return ops.concatenate([heatmaps, background], axis=-1)  # [..., h, w, K + 1]


def encode(
    keypoints: Tensor,
    weights: Tensor | None,
    edges: Edges,
    size: Size,
    stride: int = 8,
    thickness: float = 1.0,
    published: bool = False,
) -> Tensor:
    """Draws the part affinity fields: on each limb the unit vector from its first to its second keypoint.

    A cell is on a limb, as in Cao et al., if it is at most `thickness` from the line and lies between the two ends. A
    limb shorter than a cell is drawn one cell long, about its middle. It could fall between the cells otherwise, as
    those between the eyes of people far away would. Where limbs of several people cross, their vectors are averaged.

    Args:
        keypoints: [..., M, K, 2], pixels of the picture, x first; M may be 0. What is not finite is not drawn.
        weights: [..., M, K]; a limb is drawn if both of its ends have more than 0. None: all are drawn.
        edges: [E, 2] keypoint indices, first and second end of each limb (`Skeleton.edges`).
        size: (h, w) of the maps, cells.
        stride: pixels of the picture in a cell.
        thickness: half the width of a limb, cells.
        published: whether to draw as the published Lightweight OpenPose does: cell j stands for x = j * stride, half a
            cell off the heatmaps; cells near the line count within the limb's box grown by `thickness`, so beyond its
            ends too; and the last person who covers a cell has it alone.

    Returns:
        [..., h, w, 2E] float32: x of limb e in channel 2e, y in 2e + 1.

    Raises:
        ValueError: if the shapes do not fit together, an edge points to no keypoint, or a size, stride or thickness is
            not positive.

    Example:
        >>> from kerapose.ops import pafs
        >>> limb = [[[20.0, 36.0], [100.0, 36.0]]]  # one person, one limb, which points to the right
        >>> fields = pafs.encode(limb, None, [(0, 1)], size=(8, 16))
        >>> tuple(fields.shape), np.asarray(fields)[4, 8].tolist(), np.asarray(fields)[0, 8].tolist()
        ((8, 16, 2), [1.0, 0.0], [0.0, 0.0])

    Paper: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017; Osokin,
    "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018.
    """
    _check_positive(size=size, stride=stride, thickness=thickness)
    points, drawn = _points(keypoints, weights)
    edges = _check_edges(edges, points.shape[-2])
    shift = 0.0 if published else (stride - 1) / 2
    points = (points - np.float32(shift)) / np.float32(stride)  # cells
    ends = ops.moveaxis(ops.take(points, edges, axis=-2), -4, -3)  # [..., E, M, 2 ends, 2]
    drawn = ops.swapaxes(ops.all(ops.take(drawn, edges, axis=-1), axis=-1), -1, -2)  # [..., E, M]
    limb = ends[..., 1, :] - ends[..., 0, :]  # [..., E, M, 2]
    length = ops.sqrt(ops.sum(ops.square(limb), axis=-1))  # [..., E, M]
    drawn = ops.logical_and(drawn, length >= 1e-7)  # a point has no direction

    covers = _covers_published if published else _covers
    covered = ops.logical_and(covers(ends, limb, length, size, thickness), drawn[..., None, None])  # [..., E, M, h, w]
    covered = ops.cast(_last_only(covered) if published else covered, "float32")
    covered = ops.reshape(covered, (*ops.shape(covered)[:-2], size[0] * size[1]))  # [..., E, M, h*w]
    # One product sums up the vectors of all people and counts them.
    direction = limb / ops.maximum(length, 1e-7)[..., None]
    vectors = ops.concatenate([direction, ops.ones_like(direction[..., :1])], axis=-1)  # [..., E, M, 3]
    sums = ops.matmul(ops.swapaxes(vectors, -1, -2), covered)  # [..., E, 3, h*w]
    fields = sums[..., :2, :] / ops.maximum(sums[..., 2:, :], 1.0)
    fields = ops.reshape(fields, (*ops.shape(fields)[:-3], 2 * len(edges), *size))  # [..., 2E, h, w]
    return ops.moveaxis(fields, -3, -1)  # [..., h, w, 2E]


# ---------------------------------------- cells
def _gaussian(centers_px, count, stride, sigma_px, published):
    """exp(-(x - centre)² / 2σ²) at the middles of the cells: [..., K] -> [..., count, K]."""
    cell = np.arange(count, dtype="float32")[:, None]
    offset = cell * stride + np.float32((stride - 1) / 2) - centers_px[..., None, :]
    values = ops.exp(ops.square(offset) * np.float32(-0.5 / sigma_px**2))
    if published:
        values = ops.where((cell + 1) * stride <= centers_px[..., None, :] + 4 * sigma_px, values, 0.0)
    return values


def _covers(ends, limb, length, size, thickness):
    """Which cells lie on each limb, by the rule of Cao et al.: [..., E, M, ...] -> [..., E, M, h, w]."""
    x, y = _offsets(ops.mean(ends, axis=-2), size)  # from the middle
    limb_x, limb_y, length = limb[..., 0, None, None], limb[..., 1, None, None], length[..., None, None]
    # Distances times the length, not divided by it: they are exact where coordinates are halves or quarters of cells,
    # and so a cell at a distance of just `thickness` is on the limb.
    near = ops.abs(x * limb_y - y * limb_x) <= thickness * length
    between = ops.abs(x * limb_x + y * limb_y) <= 0.5 * ops.maximum(length, 1.0) * length
    return ops.logical_and(near, between)


def _covers_published(ends, limb, length, size, thickness):
    """The same by the published rule, whose ranges run from int(low) to int(high), the end left out."""
    start, end = ends[..., 0, :], ends[..., 1, :]
    x, y = _offsets(start, size)
    across = ops.abs(x * limb[..., 1, None, None] - y * limb[..., 0, None, None])
    covered = across <= thickness * length[..., None, None]
    low, high = ops.minimum(start, end) - thickness, ops.maximum(start, end) + thickness  # [..., E, M, 2]
    for axis, cell in enumerate(_cells(size)):
        low_cell, high_cell = low[..., axis, None, None], high[..., axis, None, None]  # [..., E, M, 1, 1]
        inside = ops.logical_and(cell + 1 > low_cell, cell + 1 <= high_cell)
        covered = ops.logical_and(covered, inside)
    return covered  # [..., E, M, h, w]


def _offsets(origin, size):
    """How far each column and row is from a limb's origin: [..., E, M, 2] -> [..., E, M, 1, w], [..., E, M, h, 1]."""
    return tuple(cell - origin[..., axis, None, None] for axis, cell in enumerate(_cells(size)))


def _cells(size):
    """The numbers of the columns [1, w] and of the rows [h, 1]."""
    return np.arange(size[1], dtype="float32")[None, :], np.arange(size[0], dtype="float32")[:, None]


def _last_only(covered):
    """Leaves of all people who cover a cell only the last: [..., E, M, h, w]."""
    person = ops.arange(1, ops.shape(covered)[-3] + 1, dtype="int32")[:, None, None]  # [M, 1, 1]
    last = ops.max(ops.where(covered, person, 0), axis=-3, keepdims=True, initial=0)
    return ops.logical_and(covered, person == last)


# ---------------------------------------- arguments
def _points(keypoints, weights):
    """Keypoints [..., M, K, 2] float32, the origin for those that are not drawn, and which are, [..., M, K]."""
    keypoints = ops.cast(keypoints, "float32")
    shape = tuple(keypoints.shape)
    if len(shape) < 3 or shape[-1] != 2:
        raise ValueError(
            f"keypoints must be [..., M, K, 2], pixels of the picture, got {shape}; give one person as [1, K, 2]."
        )
    drawn = ops.all(ops.isfinite(keypoints), axis=-1)  # [..., M, K]
    if weights is not None:
        weights = ops.cast(weights, "float32")
        given = tuple(weights.shape)
        if len(given) != len(shape) - 1 or any(
            a != b and None not in (a, b) for a, b in zip(given, shape[:-1], strict=True)
        ):
            raise ValueError(f"weights must be {shape[:-1]}, one per keypoint, got {given}; None draws all.")
        drawn = ops.logical_and(drawn, weights > 0)
    return ops.where(drawn[..., None], keypoints, 0.0), drawn


def _check_positive(size, **numbers):
    if len(size) != 2 or any(int(count) < 1 for count in size):
        raise ValueError(f"size must be two whole numbers from 1, (h, w), got {size}; an image of 368 has 46 cells.")
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}; leave it out for the published one.")


def _check_edges(edges, num_keypoints):
    """[E, 2] int32."""
    edges = np.asarray(edges, "int32")
    if edges.ndim != 2 or edges.shape[1] != 2 or not len(edges):
        raise ValueError(f"edges must be [E, 2] with one limb or more, got {edges.shape}; give Skeleton.edges.")
    if edges.min() < 0 or edges.max() >= num_keypoints:
        raise ValueError(
            f"edges must join keypoints of 0 to {num_keypoints - 1}, got {edges.min()} to {edges.max()}; "
            "check that they are of the same skeleton."
        )
    return edges
