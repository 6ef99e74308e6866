"""Names of layers that stand for modules of published networks."""


def layer_name(module: str) -> str:
    """What a layer is called that is the module of a published network: without dots, which PyTorch's backend refuses.

    Args:
        module: its name there, as "layer1.0.conv2", which the layer keeps in `torch_names`.

    Example:
        >>> layer_name("layer1.0.conv2")
        'layer1_0_conv2'
    """
    return module.replace(".", "_")
