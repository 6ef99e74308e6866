"""Heatmap volumes drawn inside a model."""

import typing

import keras
from keras import ops

from kerapose.ops import heatmaps
from kerapose.types import Config, Edges, Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class HeatmapVolume(keras.layers.Layer):
    """Draws clips of keypoints as heatmap volumes inside of a model, so on the accelerator.

    Args:
        height: rows of the volume.
        width: columns of the volume.
        edges: [E, 2] limbs to draw (`Skeleton.edges`). None: the keypoints themselves.
        sigma_px: standard deviation of the Gaussians, pixels of the volume.

    Input: a dict of `keypoints` [B, M, T, K, 2], pixels of the volume, x first, and `scores` [B, M, T, K], 0 for
    padding. Output: [B, T, H, W, K], or [B, T, H, W, E] with `edges`.

    Example:
        >>> from kerapose import layers, skeletons
        >>> clip = {"keypoints": keypoints[None] * 0.2, "scores": scores[None]}  # [1, 2, 30, 17, 2]
        >>> tuple(layers.HeatmapVolume(48, 64)(clip).shape)
        (1, 30, 48, 64, 17)
        >>> tuple(layers.HeatmapVolume(48, 64, edges=skeletons.COCO.edges[:4])(clip).shape)
        (1, 30, 48, 64, 4)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    def __init__(
        self, height: int, width: int, edges: Edges | None = None, sigma_px: float = 0.6, **kwargs: typing.Any
    ):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.edges = None if edges is None else tuple((int(a), int(b)) for a, b in edges)
        self.sigma_px = sigma_px
        self.autocast = False  # a bfloat16 coordinate is off by up to a quarter of a pixel

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        keypoints, scores = inputs["keypoints"], inputs["scores"]
        size = {"height": self.height, "width": self.width, "sigma_px": self.sigma_px}
        if self.edges is None:
            volume = heatmaps.joint_volume(keypoints, scores, **size)
        else:
            volume = heatmaps.limb_volume(keypoints, scores, self.edges, **size)
        return ops.cast(volume, self.compute_dtype)  # [B, T, H, W, K or E]

    def compute_output_shape(self, input_shape: dict[str, Shape]) -> Shape:
        batch, _, frames, num_keypoints, _ = input_shape["keypoints"]
        return (batch, frames, self.height, self.width, len(self.edges) if self.edges else num_keypoints)

    def get_config(self) -> Config:
        return super().get_config() | {
            "height": self.height,
            "width": self.width,
            "edges": self.edges,
            "sigma_px": self.sigma_px,
        }
