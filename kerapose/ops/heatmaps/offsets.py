"""UDP's second codec: a disc round each keypoint, and the way to it from every pixel."""

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.ops.heatmaps.blurring import blur
from kerapose.ops.heatmaps.grids import as_float32, finite, pixels, stride, with_lead
from kerapose.ops.heatmaps.maxima import first_maximum, gather
from kerapose.types import Size, Tensor


def encode_offsets(
    keypoints: Tensor, weights: Tensor | None, image_size: Size, heatmap_size: Size, radius_factor: float = 0.0546875
) -> tuple[Tensor, Tensor]:
    """Draws three maps per keypoint: a disc round it, and the way to it from each pixel, along x and along y.

    Pixels of the maps and of the crop relate as with the codec udp of `encode`. A keypoint is drawn if its weight is
    above 0.5. As published, it keeps its weight where its disc lies outside of the maps: its offsets are drawn over the
    whole map, and still lead to it.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first. Whatever is not finite is not drawn.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.
        heatmap_size: (h, w) of the maps.
        radius_factor: radius of the disc and unit of the offsets, as a share of the greater of h and w.

    Returns:
        Maps [..., h, w, 3 * K] float32, for each keypoint its disc, x offset and y offset; weights [..., K] float32.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> maps, _ = heatmaps.encode_offsets([[96.0, 128.0]], None, (256, 192), (64, 48))
        >>> tuple(maps.shape), np.asarray(maps)[32, 20].tolist()  # 4 pixels left of the keypoint: outside of its disc
        ((64, 48, 3), [0.0, 1.04, -0.11])

    Paper: Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation",
    CVPR 2020.
    """
    keypoints, weights = as_float32(keypoints, weights)
    weights = ops.where(ops.all(ops.isfinite(keypoints), axis=-1), weights, 0.0)
    points = finite(keypoints) / stride(image_size, heatmap_size, udp=True)
    height, width = heatmap_size
    radius = radius_factor * max(height, width)
    x = (points[..., None, :, 0] - pixels(width)) / radius  # [..., W, K]
    y = (points[..., None, :, 1] - pixels(height)) / radius  # [..., H, K]
    drawn = ops.cast(weights > 0.5, "float32")[..., None, None, :]  # [..., 1, 1, K]
    whole = np.ones((height, width, 1), "float32")
    x, y = x[..., None, :, :] * whole, y[..., :, None, :] * whole  # [..., H, W, K]
    disc = ops.cast(ops.square(x) + ops.square(y) <= 1, "float32")
    maps = ops.stack([disc * drawn, x * drawn, y * drawn], axis=-1)  # [..., H, W, K, 3]
    return ops.reshape(maps, (*ops.shape(maps)[:-2], 3 * maps.shape[-2])), weights  # [..., H, W, 3*K]


def decode_offsets(
    maps: Tensor,
    image_size: Size,
    radius_factor: float = 0.0546875,
    blur_kernel: int = 11,
    missing_px: float = -1.0,
    edge_to_edge: bool = False,
) -> tuple[Tensor, Tensor]:
    """Finds the keypoints of the maps of `encode_offsets`: the maximum of each blurred disc, and the offsets there.

    Args:
        maps: [..., h, w, 3 * K].
        image_size: (height, width) of the crop, pixels.
        radius_factor: as in `encode_offsets`.
        blur_kernel: half the width of the Gaussian blur, heatmap pixels: the kernel has 2 * blur_kernel + 1.
        missing_px: as in `decode`.
        edge_to_edge: as in `decode`.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K], the maxima of the blurred discs.

    Raises:
        ValueError: if the number of maps is no multiple of 3.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> maps, _ = heatmaps.encode_offsets([[97.7, 130.0]], None, (256, 192), (64, 48))
        >>> found, scores = heatmaps.decode_offsets(maps, (256, 192))
        >>> np.asarray(found).tolist()
        [[97.7, 130.0]]

    Paper: see `encode_offsets`.
    """
    maps = ops.cast(maps, "float32")
    if maps.shape[-1] % 3:
        raise ValueError(f"There must be 3 maps per keypoint, got {maps.shape[-1]}; give those of encode_offsets.")
    lead, (height, width) = ops.shape(maps)[:-3], maps.shape[-3:-1]
    maps = ops.reshape(maps, (-1, height, width, maps.shape[-1] // 3, 3))  # [N, h, w, K, 3]
    scores, x, y = first_maximum(blur(maps[..., 0], 2 * blur_kernel + 1, border="mirror"))  # [N, K]
    offsets = [gather(maps[..., axis], x[:, None], y[:, None])[:, 0] for axis in (1, 2)]
    points = ops.cast(ops.stack([x, y], axis=-1), "float32")  # [N, K, 2]
    points = points + ops.stack(offsets, axis=-1) * (radius_factor * max(height, width))
    points = ops.where(scores[..., None] > 0, points, missing_px)
    points = points * stride(image_size, (height, width), True, edge_to_edge)
    return with_lead(points, lead), with_lead(scores, lead)
