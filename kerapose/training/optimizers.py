"""Optimizers and schedules as PyTorch has them, by which published recipes are meant."""

import typing
from collections.abc import Collection, Iterable

import keras

from kerapose.types import Tensor

Rate: typing.TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("kerapose")
class SGDL2(keras.optimizers.SGD):
    """SGD with weight decay as PyTorch has it: added to the gradient after clipping, and so subject to the momentum.

    Keras's own `weight_decay` is decoupled from the momentum; with it, published recipes decay ten times too little.

    Args:
        learning_rate: a number or a schedule.
        l2: the published weight decay.
        **kwargs: of `keras.optimizers.SGD`: momentum, global_clipnorm, ...

    Example:
        >>> import keras
        >>> from kerapose import training
        >>> weight = keras.Variable([1.0])
        >>> training.SGDL2(0.1, l2=0.5).apply([keras.ops.zeros(1)], [weight])  # no gradient but the decay
        >>> float(weight[0])  # 1 - 0.1 * 0.5
        0.95
    """

    def __init__(self, learning_rate: Rate = 0.01, l2: float = 0.0, **kwargs: typing.Any):
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Adds the decay to the gradient of one variable, and applies it as SGD does."""
        decayed = gradient + keras.ops.cast(variable, gradient.dtype) * self.l2
        super().update_step(decayed, variable, learning_rate)

    def get_config(self) -> dict[str, typing.Any]:
        """The arguments, of which a file makes the optimizer anew."""
        return super().get_config() | {"l2": self.l2}


@keras.saving.register_keras_serializable("kerapose")
class AdamL2(keras.optimizers.Adam):
    """Adam with PyTorch's groups of weights: weight decay added to the gradient, and a learning rate for each group.

    Args:
        learning_rate: a number or a schedule.
        l2: {path of a variable: its published weight decay}; others have none.
        rates: {path of a variable: factor of the learning rate}; others have 1.
        **kwargs: of `keras.optimizers.Adam`.

    Raises:
        ValueError: in `build`, if a path is not that of a variable to be trained.

    Example:
        >>> import keras
        >>> from kerapose import training
        >>> layer = keras.layers.Dense(1, name="head")
        >>> layer.build((None, 4))
        >>> optimizer = training.AdamL2(1e-3, l2={"head/kernel": 5e-4}, rates={"head/bias": 2.0})
        >>> optimizer.apply([keras.ops.ones((4, 1)), keras.ops.ones(1)], [layer.kernel, layer.bias])
        >>> float(layer.bias[0])  # a first step of Adam is as long as the learning rate, here twice
        -0.002
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        l2: dict[str, float] | None = None,
        rates: dict[str, float] | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(learning_rate, **kwargs)
        self.l2 = dict(l2 or {})
        self.rates = dict(rates or {})

    def build(self, variables: list[keras.Variable]) -> None:
        """Finds the variables of the groups by their paths."""
        paths = [variable.path for variable in variables]
        strangers = sorted((set(self.l2) | set(self.rates)) - set(paths))
        if strangers:
            raise ValueError(f"l2 and rates are of variables to be trained, {strangers[0]} is none; correct the path.")
        self._of_index = [(self.l2.get(path, 0.0), self.rates.get(path, 1.0)) for path in paths]
        super().build(variables)

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Adds the decay to the gradient of one variable, and applies it at the rate of its group."""
        l2, rate = self._of_index[self._get_variable_index(variable)]
        decayed = gradient + keras.ops.cast(variable, gradient.dtype) * l2
        super().update_step(decayed, variable, learning_rate * rate)

    def get_config(self) -> dict[str, typing.Any]:
        """The arguments, of which a file makes the optimizer anew."""
        return super().get_config() | {"l2": self.l2, "rates": self.rates}


@keras.saving.register_keras_serializable("kerapose")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is multiplied by a factor at some steps, after an optional linear rise from 0 (MultiStepLR).

    Args:
        peak: the learning rate before the first of the steps.
        boundaries: steps, counted from 0, at which it is multiplied.
        factor: by which.
        warmup_steps: over which it rises to the peak.

    Example:
        >>> from kerapose import training
        >>> schedule = training.StepDecay(1e-3, boundaries=[100, 200], warmup_steps=10)
        >>> [round(float(schedule(step)), 6) for step in (5, 50, 150, 250)]
        [0.0005, 0.001, 0.0001, 1e-05]
    """

    def __init__(self, peak: float, boundaries: Iterable[int], factor: float = 0.1, warmup_steps: int = 0):
        self.peak = peak
        self.boundaries = [int(step) for step in boundaries]
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step: Tensor) -> Tensor:
        step = keras.ops.cast(step, "float32")
        rate = self.peak * keras.ops.minimum(1.0, step / self.warmup_steps if self.warmup_steps else 1.0)
        for boundary in self.boundaries:
            rate = keras.ops.where(step >= boundary, rate * self.factor, rate)
        return rate

    def get_config(self) -> dict[str, typing.Any]:
        """The arguments, of which a file makes the schedule anew."""
        names = ("peak", "boundaries", "factor", "warmup_steps")
        return {name: getattr(self, name) for name in names}


def set_decay_epochs(
    config: dict[str, typing.Any], recipe: dict[str, typing.Any], given: Collection[str]
) -> dict[str, typing.Any]:
    """Epochs done when the learning rate falls: those that were given, else the recipe's in proportion to the epochs.

    Args:
        config: dict with "epochs" and "decay_epochs".
        recipe: dict with those that the recipe has.
        given: the options that were given, by name.

    Returns:
        The configuration with "decay_epochs".

    Raises:
        ValueError: if one that was given comes when all is done.
    """
    if "decay_epochs" not in given:
        share = config["epochs"] / recipe["epochs"]
        return config | {"decay_epochs": [max(1, round(epoch * share)) for epoch in recipe["decay_epochs"]]}
    late = [epoch for epoch in config["decay_epochs"] if epoch >= config["epochs"]]
    if late:
        raise ValueError(
            f"Each of decay_epochs is less than the {config['epochs']} epochs, got {late[0]}; leave it out."
        )
    return config


def make_schedule(
    config: dict[str, typing.Any], steps: int, factor: float
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate by step, of `steps` an epoch: after a rise half a cosine, or a fall by a factor at some epochs.

    Args:
        config: dict of "learning_rate", "epochs", "warmup_epochs", "decay_epochs", and "schedule": "cosine", "step",
            or another, by which it stays.
        steps: of an epoch.
        factor: by which it falls.
    """
    warmup = round(config["warmup_epochs"] * steps)
    if config["schedule"] == "cosine":
        return cosine_decay(config["learning_rate"], config["epochs"] * steps, warmup)
    falls = config["decay_epochs"] if config["schedule"] == "step" else []
    return StepDecay(config["learning_rate"], [epoch * steps for epoch in falls], factor, warmup)


def cosine_decay(peak: float, total_steps: int, warmup_steps: int = 0) -> keras.optimizers.schedules.CosineDecay:
    """The learning rate of half a cosine from a peak to 0, after a linear rise from 0.

    Args:
        peak: the largest learning rate.
        total_steps: of the whole training; from there on it is 0.
        warmup_steps: of these, those of the rise.

    Returns:
        A schedule, for the `learning_rate` of an optimizer.

    Example:
        >>> from kerapose import training
        >>> schedule = training.cosine_decay(0.1, total_steps=1000, warmup_steps=100)
        >>> [float(schedule(step)) for step in (50, 100, 550, 1000)]
        [0.05, 0.1, 0.05, 0.0]
    """
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else peak,
        max(1, total_steps - warmup_steps),
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
