"""Networks of top-down 2D pose as they are trained: with the loss and the figure of what they answer."""

import keras

from kerapose import losses, metrics, models
from kerapose.models.network import output_shapes
from kerapose.ops import heatmaps
from kerapose.training.distiller import Distiller
from kerapose.types import Tensor


def heatmap_model(
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss | None = None,
    teacher: keras.Model | None = None,
    alpha: float = 0.5,
) -> keras.Model:
    """A network of heatmaps, coordinates or SimCC in a compiled model that trains it, with a PCK as "pck".

    Args:
        network: to be trained, of one's own, too: crops [B, H, W, 3] -> heatmaps [B, h, w, K] or, of several stacks,
            each of which is supervised, [B, S, h, w, K]; coordinates [B, K, 2], or [B, K, 4] with the logits of sigmas;
            or the logits of SimCC, {"x": [B, K, bins], "y": [B, K, bins]}.
        optimizer: a Keras optimizer.
        loss: of targets, answers and weights of joints; with SimCC it is asked for the vectors along x and for those
            along y, and the two are added. One with weights of its own has them in a layer, its attribute `flow`; they
            are trained in the same step, and are no part of the network. None: the published one of such answers: for
            heatmaps `losses.JointsMSE()`, of a ConvolutionalPoseMachine summed over its stages; for coordinates
            `losses.SmoothL1()`, and `losses.ResidualLikelihood()` where sigmas are with them; for SimCC
            `losses.SimCCDivergence()`.
        teacher: a trained network whose heatmaps are learnt too (`Distiller`). None: there is none.
        alpha: its share of the loss.

    Returns:
        A compiled model, for batches of `data.crops`; its attribute `network` is the network, which is what to keep.
        The figure is `HeatmapPCK` or `CoordinatePCK`.

    Raises:
        ValueError: if teacher and network do not fit each other, or the network gives no such answers.

    Example:
        >>> import keras
        >>> from kerapose import models, training
        >>> shape = {"image_shape": (32, 32, 3), "base_filters": 8, "deconv_filters": (8,), "deconv_kernels": (4,)}
        >>> network = models.SimpleBaseline(17, depth=18, **shape)
        >>> model = training.heatmap_model(network, keras.optimizers.Adam(1e-3))
        >>> crops, heatmaps, weights = np.ones((2, 32, 32, 3)), np.zeros((2, 2, 2, 17)), np.ones((2, 17))
        >>> sorted(model.evaluate(crops, heatmaps, sample_weight=weights, verbose=0, return_dict=True))
        ['loss', 'pck']
    """
    codec = heatmaps.codecs_of(output_shapes(network))[0][0]  # the usual one: heatmaps are trained alike by all codecs
    loss = _usual_loss(network, codec) if loss is None else loss
    if teacher is not None:
        model = Distiller(network, teacher, alpha)
    elif codec == "simcc":
        model = VectorModel(network)
    else:
        inputs = keras.Input(network.input_shape[1:])
        model = keras.Model(inputs, network(inputs))
    model.network = network
    if getattr(loss, "flow", None) is not None:
        model.flow = loss.flow  # by which Keras knows its weights
    figures = {
        "gaussian": lambda: [metrics.HeatmapPCK(published=False, name="pck")],
        "regression": lambda: [metrics.CoordinatePCK(name="pck")],
        "simcc": lambda: None,  # the model's own
    }
    model.compile(optimizer, loss, weighted_metrics=figures[codec]())
    model.optimizer.build(model.trainable_variables)
    return model


class VectorModel(keras.Model):
    """A network of SimCC with its figure, which is one of both vectors: to Keras each output has figures of its own."""

    def __init__(self, network: keras.Model):
        inputs = keras.Input(network.input_shape[1:])
        super().__init__(inputs, network(inputs))
        self.pck = metrics.CoordinatePCK(name="pck")
        self.pck.build(output_shapes(network)["x"][1])

    def compute_metrics(
        self,
        x: Tensor,
        y: dict[str, Tensor],
        y_pred: dict[str, Tensor],
        sample_weight: Tensor | dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        # Keras wants them for each output when a batch is of arrays, not of a pipeline.
        weights = sample_weight["x"] if isinstance(sample_weight, dict) else sample_weight
        self.pck.update_state(y, y_pred, weights)
        return super().compute_metrics(x, y, y_pred, sample_weight)


def _usual_loss(network, codec):
    """The published one of what a network answers."""
    if codec == "simcc":
        return losses.SimCCDivergence()
    if codec == "regression":
        return losses.SmoothL1() if network.output_shape[-1] == 2 else losses.ResidualLikelihood()
    if isinstance(network, models.ConvolutionalPoseMachine):  # its stages are added
        return losses.JointsMSE(1.0, squared_weights=False, stack_weights=1.0)
    return losses.JointsMSE()
