"""What kernels begin with, as PyTorch and the papers have it."""

import keras


def he_normal() -> keras.initializers.Initializer:
    """Makes He's initializer by the fan-out, as PyTorch's ResNets have it.

    Make a new one for each kernel: one initializer would give kernels of one shape the same numbers.

    Returns:
        A `keras.initializers.Initializer`.

    Example:
        >>> from kerapose import layers
        >>> kernel = layers.he_normal()((3, 3, 64, 128))
        >>> float(np.std(kernel))  # the root of 2 / (3 * 3 * 128)
        0.04

    Paper: He et al., "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
    ICCV 2015.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def torch_uniform() -> keras.initializers.Initializer:
    """Makes the initializer that PyTorch's convolutions have by default: uniform, up to the root of 1 / fan-in.

    Returns:
        A `keras.initializers.Initializer`.

    Example:
        >>> from kerapose import layers
        >>> kernel = layers.torch_uniform()((3, 3, 64, 128))
        >>> float(np.abs(kernel).max())  # the root of 1 / (3 * 3 * 64)
        0.04
    """
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def small_normal() -> keras.initializers.Initializer:
    """Makes the initializer of pose networks' last layers: the first heatmaps are nearly 0, as most of the true ones.

    Returns:
        A `keras.initializers.Initializer`.

    Example:
        >>> from kerapose import layers
        >>> float(np.std(layers.small_normal()((1, 1, 256, 17))))
        0.001
    """
    return keras.initializers.RandomNormal(stddev=0.001)
