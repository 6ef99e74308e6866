"""What kernels begin with, as PyTorch and the papers have it."""

import keras


def he_normal() -> keras.initializers.Initializer:
    """He's initializer by the fan-out, as PyTorch's ResNets have it; a new one for each kernel, or they would agree."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def torch_uniform() -> keras.initializers.Initializer:
    """What PyTorch begins a convolution with that no recipe initializes: uniform, up to the root of 1 / fan-in."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def small_normal() -> keras.initializers.Initializer:
    """What pose networks begin their last layers with: the first heatmaps are nearly zero, as the true ones are."""
    return keras.initializers.RandomNormal(stddev=0.001)
