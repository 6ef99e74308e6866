"""Keypoints, and the pixels they are drawn on: what all codecs share."""

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import Array, Size, Tensor

_FAR = -1e6  # pixels


def as_float32(keypoints: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor]:
    keypoints = ops.cast(keypoints, "float32")
    scores = ops.ones_like(keypoints[..., 0]) if scores is None else ops.cast(scores, "float32")
    return keypoints, scores


def finite(keypoints: Tensor) -> Tensor:
    """Moves what is NaN or infinite far outside of any image."""
    return ops.where(ops.isfinite(keypoints), keypoints, _FAR)


def pixels(size: int) -> Tensor:
    """0 .. size - 1, float32 [size, 1]: a tensor, since PyTorch's do not reckon with arrays."""
    return ops.convert_to_tensor(np.arange(size, dtype="float32")[:, None])


def stride(image_size: Size, heatmap_size: Size, udp: bool = False, edge_to_edge: bool = False) -> Array:
    """Pixels of the image per pixel of the heatmap: float32, x and y."""
    image, heatmap = np.float64(image_size[::-1]), np.float64(heatmap_size[::-1])
    if udp:
        return np.float32((image - (not edge_to_edge)) / (heatmap - 1))
    return np.float32(image / heatmap)


def with_lead(values: Tensor, lead: tuple[Tensor, ...]) -> Tensor:
    """Gives the first axis of `values` the leading shape that it was made of."""
    return values if len(lead) == 1 else ops.reshape(values, (*lead, *values.shape[1:]))
