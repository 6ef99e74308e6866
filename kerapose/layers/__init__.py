"""Blocks that two or more models use, channels last, in `keras.ops`.

They run on TensorFlow, JAX and PyTorch. Where a kernel of TensorFlow is faster than the same formula in `keras.ops`, a
layer calls that kernel under TensorFlow's backend. All of them have gradients that XLA compiles and that a GPU can
repeat. Layers with weights have `torch_names`, the names of their modules in published checkpoints, by which
`weights.load_torch` goes.
"""

from kerapose.layers.blocks import basic_block, bottleneck, heatmap_head, numbered_conv
from kerapose.layers.conv_norm import ConvNorm
from kerapose.layers.convolutions import add_bias, depthwise_convolution, pad_symmetric
from kerapose.layers.dense import Dense
from kerapose.layers.dropout import Dropout
from kerapose.layers.initializers import he_normal, small_normal, torch_uniform
from kerapose.layers.names import layer_name
from kerapose.layers.norms import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, BatchNorm, batch_norm, synchronize
from kerapose.layers.resizing import FramePool, Upsample
from kerapose.layers.temporal import TemporalConvNorm
from kerapose.layers.transposed import ConvTransposeNorm, FrameConvTransposeNorm
from kerapose.layers.volumes import HeatmapVolume

__all__ = [
    "BATCH_NORM_EPSILON",
    "BATCH_NORM_MOMENTUM",
    "BatchNorm",
    "ConvNorm",
    "ConvTransposeNorm",
    "Dense",
    "Dropout",
    "FrameConvTransposeNorm",
    "FramePool",
    "HeatmapVolume",
    "TemporalConvNorm",
    "Upsample",
    "add_bias",
    "basic_block",
    "batch_norm",
    "bottleneck",
    "depthwise_convolution",
    "he_normal",
    "heatmap_head",
    "layer_name",
    "numbered_conv",
    "pad_symmetric",
    "small_normal",
    "synchronize",
    "torch_uniform",
]
