"""Published checkpoints into our networks, from files of PyTorch, of keras.applications and of OpenVINO.

Each weight of a layer has a name in PyTorch, which the layer keeps in ``torch_names``: ("layer1.0.conv2.conv",
"layer1.0.conv2.bn") in a layer "layer1_0_conv2", say. Weights are matched by these names, never by order or by shape.
"""

import typing
from collections.abc import Mapping
from pathlib import Path

import keras

from kerapose.weights import applications, files, matching, openvino

__all__ = ["load_backbone", "load_flow", "load_openvino", "load_torch"]


def load_torch(model: keras.Model, source: str | Path | Mapping[str, typing.Any]) -> keras.Model:
    """Loads the weights of a published PyTorch checkpoint into a network of ours.

    All or nothing: if any name is missing, left over, repeated or misshapen, the model is left as it was. Two kinds of
    names may be in the file without a place in ours: PyTorch's counters of batches, and what `unused_torch_weights` of
    the model names, weights that the reference holds and never uses. These must have the right shape, too.

    Args:
        model: a network of `kerapose.models`.
        source: a mapping of PyTorch state-dict names to arrays or tensors, or the path of a `.pth`, `.pt`, `.bin` or
            `.safetensors` file (".pth.tar" is a `.pth` too). The first three are read with `weights_only=True`, so they
            can run no code; that needs the extra ``kerapose[torch]``. Wrappings ("module.", "backbone.", "cls_head.",
            "keypoint_head.", "head.", a "state_dict" entry; for a lifter "model_pos" or, with one output joint,
            "model_traj") are stripped.

    Returns:
        The same model.

    Raises:
        ValueError: naming every weight that is missing, left over, repeated or misshapen; or if the file is of no known
            kind or broken.
        FileNotFoundError: if there is no such file.
        ImportError: if reading the file needs a package that is not installed.

    Example:
        >>> from kerapose import models, weights
        >>> network = models.TemporalLifter(17, filter_widths=(1,), channels=4)
        >>> names = [f"expand_bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        >>> state = {"expand_conv.weight": np.zeros((4, 34, 1)), **{name: np.ones(4) for name in names}}
        >>> state |= {"shrink.weight": np.zeros((51, 4, 1)), "shrink.bias": np.arange(51)}
        >>> network = weights.load_torch(network, state)  # or a path: "pretrained_h36m_cpn.bin"
        >>> np.asarray(network(np.zeros((1, 1, 17, 2))))[0, 0, :2]  # the biases of two joints
        array([[0., 1., 2.],
               [3., 4., 5.]], dtype=float32)
    """
    outputs = next((name for name in ("joints", "heatmaps") if hasattr(model, f"num_{name}")), "classes")
    remedy = f"build the model with the variant, input channels and number of {outputs} that the file was trained with"
    state = files.read(source, getattr(model, "torch_nestings", ()))
    return matching.load(model, matching.slots_of(model), state, remedy)


def load_backbone(model: keras.Model, source: str | Path | Mapping[str, typing.Any] | keras.Model) -> keras.Model:
    """Loads what a network for ImageNet or Kinetics has learnt into one of ours, whose last layers stay as they are.

    All or nothing, as `load_torch`. What only the classifier has may be in the file and is left out: `fc` of a ResNet;
    of an HRNet `incre_modules`, `downsamp_modules`, `final_layer`, `classifier`, and the rows of the last fusion that
    lead to coarser branches; whatever stands behind a CSPNeXt, in an RTMPose too; `fc` of an MC3; `model.12`,
    `model.13` and `fc` of a MobileNet; the classifier of a network of actions, so that ours may have other classes.

    Args:
        model: SimpleBaseline, HRNet, RTMPose, LightweightOpenPose, STARTransformer, or a network of actions.
        source: as for `load_torch`, with the names of torchvision's ResNets and MC3, of the published HRNets and
            CSPNeXts or of the MobileNet v1 that Lightweight OpenPose is trained from (marvis/pytorch-mobilenet). Or a
            network of keras.applications, itself or an `.h5` file of its weights: for a SimpleBaseline of depth 50, 101
            or 152 with ``stride_on_1x1=True`` a ResNet, which wants images normalized by
            ``ops.images.normalize(images, mean=(0.40760, 0.45796, 0.48502), std=(1 / 255,) * 3, bgr=True)``; for a
            LightweightOpenPose with ``relu6=True`` a MobileNet (v1), which wants ``mean=(0.5,) * 3, std=(0.5,) * 3``.
            Where it halves an image, that MobileNet pads the right and lower side alone, ours pads both: cells lie 7
            pixels further up and left.

    Returns:
        The same model.

    Raises:
        ValueError: naming every weight that is missing, left over, repeated or misshapen; if the model has no such
            backbone or strides elsewhere; or if the file is of no known kind or broken.
        FileNotFoundError: if there is no such file.
        ImportError: if reading the file needs a package that is not installed.

    Example:
        >>> import keras
        >>> from kerapose import models, weights
        >>> pose = weights.load_backbone(models.SimpleBaseline(17), "resnet50-0676ba61.pth")  # doctest: +SKIP
        >>> network = models.LightweightOpenPose.from_variant("openpose_tiny", trunk_width=0.25, relu6=True)
        >>> mobilenet = keras.applications.MobileNet((64, 64, 3), alpha=0.25, include_top=False, weights=None)
        >>> network = weights.load_backbone(network, mobilenet)
        >>> ours, theirs = network.get_layer("model_0"), mobilenet.get_layer("conv1")
        >>> bool(np.all(ours.get_weights()[0] == theirs.get_weights()[0]))
        True
    """
    head = getattr(model, "HEAD", ())
    if not head:
        raise ValueError(
            "load_backbone is for networks whose last layers may be others than the file's, got "
            f"{type(model).__name__}, which has none such; use load_torch."
        )
    layers = applications.read(source)
    if layers is None:
        state = files.read(source)
    else:
        convert = applications.as_mobilenet if hasattr(model, "relu6") else applications.as_resnet
        state = convert(model, layers)
    slots = matching.slots_of(model, head)
    remedy = "build the model with the depth or width of the file; a whole pose network is for load_torch"
    return matching.load(model, slots, state, remedy, model.NOT_IN_POSE)


def load_openvino(model: keras.Model, source: str | Path) -> keras.Model:
    """Loads Open Model Zoo's `human-pose-estimation-0001`, or a network like it, from OpenVINO's own form.

    All or nothing, as `load_torch`. Such a file has its batch norms folded into the convolutions; ours then become
    norms that change nothing. To train such a network further, one needs more than a few images.

    Args:
        model: a `LightweightOpenPose` of the variant "openpose_omz".
        source: path of the `.xml` file, with its `.bin` beside it: weights in 32 bits, in 16, or in 8 with their
            scales. What is rounded between the layers of such a file is not rounded here. That needs the extra
            ``kerapose[openvino]``.

    Returns:
        The same model. It wants images as the file's network does:
        ``ops.images.normalize(images, mean=(0.502,) * 3, std=(1.0,) * 3, bgr=True)``.

    Raises:
        ValueError: naming every weight that is missing, left over or misshapen; or if the file is broken, or has
            operations that are not known here.
        FileNotFoundError: if one of the two files is not there.
        ImportError: if OpenVINO is not installed.

    Example:
        >>> from kerapose import models, weights
        >>> network = models.LightweightOpenPose.from_variant("openpose_omz", trunk_width=0.25)
        >>> network.elu_alignment  # what sets this form apart
        True
        >>> network = weights.load_openvino(network, "human-pose-estimation-0001.xml")  # doctest: +SKIP
    """
    if not hasattr(model, "num_pafs"):
        raise ValueError(f"load_openvino is for LightweightOpenPose, got {type(model).__name__}; use load_torch.")
    state = openvino.read(Path(source), model)
    return matching.load(model, matching.slots_of(model), state, 'build the model with the variant "openpose_omz"')


def load_flow(flow: keras.layers.Layer, source: str | Path | Mapping[str, typing.Any]) -> keras.layers.Layer:
    """Loads the flow of a network of residual likelihood, which its published file has beside it, to train it further.

    All or nothing, as `load_torch`. What else is in the file is left out; `load_torch` takes that into the network.

    Args:
        flow: of a `losses.ResidualLikelihood`, its `flow`.
        source: as for `load_torch`.

    Returns:
        The same flow.

    Raises:
        ValueError: naming every weight that is missing, left over, repeated or misshapen; if the file has no flow, or
            is of no known kind or broken.
        FileNotFoundError: if there is no such file.
        ImportError: if reading the file needs a package that is not installed.

    Example:
        >>> from kerapose import losses, weights
        >>> loss = losses.ResidualLikelihood()
        >>> flow = weights.load_flow(loss.flow, "td-reg_res50_rle-pretrained.pth")  # doctest: +SKIP
        >>> weights.load_flow(loss.flow, {"head.fc.bias": np.zeros(68)})
        Traceback (most recent call last):
        ValueError: A file of residual likelihood has a flow_model, got none; give one of such a network.
    """
    state = {
        name.rpartition("flow_model.")[2]: array for name, array in files.read(source).items() if "flow_model." in name
    }
    if not state:
        raise ValueError("A file of residual likelihood has a flow_model, got none; give one of such a network.")
    slots = matching.slots_by_name(flow.torch_weights())
    return matching.load(flow, slots, state, "build the flow with the couplings and the width of the file")
