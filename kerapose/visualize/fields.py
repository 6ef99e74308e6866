"""What a bottom-up network sees in an image: where the joints of all people are, and which way their limbs run."""

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array
from kerapose.visualize.images import draw_heatmaps
from kerapose.visualize.panels import SUBPIXEL_BITS, checked_image, fixed_point, resized, side_by_side

ARROW_WHITE = 0.5  # share of white in the colour of an arrow, the rest is its limb's
ARROW_SPACING_PX = 8  # arrows stand no closer than this, or their heads run into each other
ARROW_SHARE = 0.85  # of the way to the next arrow that one of full length takes
ARROW_TIP = 0.4  # of an arrow's length
DIMMED = 0.5  # how bright the image is under the fields


def draw_fields(
    image: Array,
    heatmaps: Array,
    pafs: Array,
    skeleton: Skeleton,
    matrix: Array | None = None,
    min_length: float = 0.25,
    panel_height: int | None = None,
    opacity: float = 0.9,
) -> Array:
    """Draws the heatmaps of an image beside its part affinity fields, both over the image, which is greyed and dimmed.

    Left, every joint's heat has the joint's colour. Right, every limb's field has the limb's colour, the stronger the
    longer its vectors are, and arrows in a lighter one say where it points; where limbs cross, the arrow is that of the
    longest vector.

    Args:
        image: RGB uint8 `[H, W, 3]`; it is not changed.
        heatmaps: `[h, w, K]` or, with the background last, which is not drawn, `[h, w, K + 1]`.
        pafs: `[h, w, 2E]`, x and y of each limb, in the order of the skeleton's edges.
        skeleton: the set the fields are of.
        matrix: `[2, 3]` from cells of the maps, x first, to pixels of the image, without rotation; None for maps that
            end where the image does.
        min_length: vectors shorter than this have no arrow.
        panel_height: pixels, to which the image is brought; None leaves it as it is.
        opacity: of what is at 1, from 0 to 1.

    Returns:
        RGB uint8 `[H', W', 3]`: two panels side by side.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> from kerapose import predictors, visualize
        >>> estimator = predictors.load("runs/openpose/model.keras", height=64).estimator
        >>> heatmaps, pafs, matrix = map(np.asarray, estimator.fields(image))
        >>> visualize.draw_fields(image, heatmaps, pafs, estimator.skeleton, matrix, panel_height=120).shape
        (120, 324, 3)

    Paper: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017.
    """
    panel = checked_image(image)
    heat, vectors = _checked_fields(heatmaps, pafs, skeleton)
    steps, first = _places(heat.shape, panel.shape, matrix)
    if panel_height is not None:
        panel, scale = resized(panel, panel_height)
        steps, first = steps * scale, (first + 0.5) * scale - 0.5
    panel = np.round(DIMMED * panel).astype(np.uint8)
    lengths = np.linalg.norm(vectors, axis=-1)  # [h, w, E]
    left = draw_heatmaps(panel, _spread(heat, panel.shape[:2], steps, first), skeleton, opacity=opacity)
    lit = _spread(lengths, panel.shape[:2], steps, first)
    right = draw_heatmaps(panel, lit, colors=np.array(skeleton.edge_colors), opacity=opacity)
    _draw_arrows(right, vectors, lengths, steps, first, min_length, skeleton.edge_colors)
    return side_by_side([left, right])


def _draw_arrows(panel, vectors, lengths, steps, first, min_length, colors):
    """Draws the longest vector of every cell, or of every n-th where cells are small, round the middle of the cell."""
    every = np.maximum(1, np.ceil(ARROW_SPACING_PX / steps)).astype(int)  # x, y
    strongest = lengths.argmax(axis=-1)  # [h, w]
    rows, columns = np.mgrid[every[1] // 2 : len(vectors) : every[1], every[0] // 2 : vectors.shape[1] : every[0]]
    rows, columns = rows.reshape(-1), columns.reshape(-1)
    limbs = strongest[rows, columns]  # [N]
    arrows, norms = vectors[rows, columns, limbs], lengths[rows, columns, limbs]  # [N, 2], [N]
    arrows = arrows / np.maximum(norms, 1)[:, None]  # none is drawn longer than a unit vector
    arrows = arrows * ARROW_SHARE * (every * steps).min()
    middles = np.stack([columns, rows], axis=-1) * steps + first
    starts, ends = fixed_point(middles - arrows / 2).tolist(), fixed_point(middles + arrows / 2).tolist()
    lighter = np.round(ARROW_WHITE * 255 + (1 - ARROW_WHITE) * np.array(colors)).astype(int).tolist()
    for i in np.flatnonzero((norms > 0) & (norms >= min_length)):
        cv2.arrowedLine(panel, starts[i], ends[i], lighter[limbs[i]], 1, cv2.LINE_AA, SUBPIXEL_BITS, ARROW_TIP)


def _spread(maps, size, steps, first):
    """Maps `[h, w, C]` over an image of a size, cell j at j * step + first: `[H, W, C]`; 0 where no cell is.

    Between cells it is linear, and beyond the last one as in that one, to its edge.
    """
    matrix = np.array([[steps[0], 0, first[0]], [0, steps[1], first[1]]], np.float64)
    options = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    channels = [  # one by one: OpenCV warps four at most
        cv2.warpAffine(np.ascontiguousarray(maps[..., c]), matrix, size[::-1], **options) for c in range(maps.shape[-1])
    ]
    inside = [  # the maps, along x and y
        np.abs((np.arange(side) - first[axis]) / steps[axis] - (count - 1) / 2) <= count / 2
        for axis, (side, count) in enumerate(zip(size[::-1], maps.shape[1::-1], strict=True))
    ]
    return np.stack(channels, axis=-1) * (inside[1][:, None] & inside[0])[..., None]


def _places(shape, image_shape, matrix):
    """Where the cells of maps lie: the step from one to the next and the place of the first, x and y, in pixels."""
    if matrix is None:
        steps = np.array([image_shape[1] / shape[1], image_shape[0] / shape[0]])
        return steps, (steps - 1) / 2
    matrix = np.asarray(matrix, np.float64)
    fits = matrix.shape == (2, 3) and np.isfinite(matrix).all() and (matrix.diagonal() > 0).all()
    if not fits or matrix[0, 1] != 0 or matrix[1, 0] != 0:
        raise ValueError(
            "matrix must be [2, 3] from cells to pixels, enlarging and moving only, got "
            f"{matrix.tolist()}; take that of BottomUpEstimator.fields, or None."
        )
    return matrix.diagonal(), matrix[:, 2]


def _checked_fields(heatmaps, pafs, skeleton):
    """The maps as float32, without the background `[h, w, K]` and with vectors apart `[h, w, E, 2]`."""
    heat, pafs = (np.nan_to_num(np.asarray(maps, np.float32)) for maps in (heatmaps, pafs))
    joints, limbs = skeleton.num_keypoints, skeleton.num_edges
    if heat.ndim != 3 or heat.shape[-1] not in (joints, joints + 1) or not heat.size:
        raise ValueError(
            f"heatmaps of {skeleton.name} must be [h, w, {joints}], or with the background [h, w, {joints + 1}], and "
            f"not empty, got {heat.shape}; take one image of a batch, and check the skeleton."
        )
    if pafs.shape != (*heat.shape[:2], 2 * limbs):
        raise ValueError(
            f"pafs of {skeleton.name} must be {[*heat.shape[:2], 2 * limbs]}, of the heatmaps' size and two for each "
            f"limb, got {list(pafs.shape)}; take those of the same stage, and check the skeleton."
        )
    return heat[..., :joints], pafs.reshape(*pafs.shape[:2], limbs, 2)
