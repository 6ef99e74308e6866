"""Names of layers that stand for modules of published networks."""


def layer_name(module: str) -> str:
    """Gives the name of a layer that stands for a module: without dots, which Keras's PyTorch backend refuses.

    Args:
        module: its name in the published network, as "layer1.0.conv2", which the layer keeps in `torch_names`.

    Returns:
        The name of the layer.

    Example:
        >>> from kerapose import layers
        >>> layers.layer_name("layer1.0.conv2")
        'layer1_0_conv2'
    """
    return module.replace(".", "_")
