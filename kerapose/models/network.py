"""What all networks share: their variants and their configuration."""

import inspect
import typing
from collections.abc import Mapping

import keras
import numpy as np
from absl import logging

from kerapose import presets, weights
from kerapose.models import reading
from kerapose.types import ArrayLike, Config, Path, Shape


class Network(keras.Model):
    """What all networks share: a functional Keras model whose configuration is the arguments of its own `__init__`.

    A subclass builds its graph in ``__init__``, hands it to ``super().__init__(inputs, outputs)``, and keeps every
    argument as an attribute of the same name; `VARIANTS` names the published forms by the arguments that they change.

    Example:
        >>> from kerapose import models
        >>> sorted(models.SimpleBaseline.VARIANTS)[:3]
        ['resnet101', 'resnet152', 'resnet18']
        >>> models.C3D.from_variant("c3d_tiny", num_classes=3).get_config()["base_filters"]
        16
    """

    VARIANTS = {}

    # For `weights.load_backbone`: beginnings of the names of layers that begin anew, and patterns of the PyTorch names
    # that the file has in their place.
    HEAD = ()
    NOT_IN_POSE = ()

    @classmethod
    def from_variant(cls, variant: str, *outputs: int, **changes: typing.Any) -> typing.Self:
        """Builds a published form of the network, without its weights.

        Args:
            variant: a key of `VARIANTS`.
            *outputs: the class's first argument, `num_classes` or `num_joints`; by name or by place.
            **changes: any argument of the class, in place of the variant's.

        Returns:
            The network, its weights as drawn by Keras.

        Raises:
            ValueError: if there is no such variant or argument.

        Example:
            >>> from kerapose import models
            >>> network = models.C3D.from_variant("c3d_tiny", num_classes=60, dropout=0.2)
            >>> network.num_stages, network.base_filters, network.dropout
            (3, 16, 0.2)
        """
        strange = sorted(set(changes) - {*cls.argument_names(), "name", "dtype", "trainable"})
        if strange:  # which Keras would swallow
            known = ", ".join(cls.argument_names())
            raise ValueError(f"{cls.__name__} has the arguments {known}, got {strange[0]!r}; correct the name.")
        return cls(*outputs, **(cls._variant(variant) | changes))

    @classmethod
    def from_preset(cls, preset: Path, *outputs: int, **changes: typing.Any) -> typing.Self:
        """Builds a published network with its weights, which are fetched when they are first asked for.

        Args:
            preset: a name of `presets.names()`; or a `.keras` file of such a network or of an estimator of one, or the
                folder that `save_preset` wrote.
            *outputs: of a network of actions, another number of classes, whose last layer then begins anew; by name or
                by place.
            **changes: any argument of the class, in place of the preset's: another `dropout`, say.

        Returns:
            The network with its weights.

        Raises:
            ValueError: if there is no such preset, or it is of another class; if a file has no such network.
            FileNotFoundError: if there is no such file.
            presets.FetchError: if the weights cannot be fetched, with where to put them by hand.

        Example:
            >>> from kerapose import models
            >>> network = models.SlowOnly.from_preset("slowonly_ntu60_xsub_joint")  # doctest: +SKIP
            >>> network = models.TemporalLifter.from_preset("runs/lifter/model.keras")  # the network of an estimator
            >>> network.receptive_field
            9
        """
        if not presets.is_name(preset):
            if outputs or changes:
                raise ValueError(f"A file has a network as it is, got {preset} and changes; give the file alone.")
            return cls._of_file(preset)
        name, preset = preset, presets.get(preset)
        if preset.network != cls.__name__:
            raise ValueError(f"The preset {name} is of models.{preset.network}, got {cls.__name__}; use that class.")
        if preset.task == "start":
            raise ValueError(
                f"The preset {name} has no head for people; build a network, and give it what has been learnt: "
                f"weights.load_backbone(network, presets.fetch({name!r}))."
            )
        if len(outputs) > 1 or outputs and preset.counted in changes:
            raise ValueError(f"{cls.__name__}.from_preset takes one {preset.counted}, got more; leave one out.")
        count = outputs[0] if outputs else changes.pop(preset.counted, preset.outputs)
        if count != preset.outputs and not preset.task.endswith("actions"):
            raise ValueError(
                f"A preset for {preset.task} keeps its {preset.counted}, {preset.outputs} of {name}, got {count}; "
                "train a network of your own, from ImageNet on."
            )
        model = cls.from_variant(preset.variant, **(preset.arguments | changes | {preset.counted: count}))
        file = presets.fetch(preset)
        if file.suffix == ".xml":
            weights.load_openvino(model, file)
        elif count == preset.outputs:
            weights.load_torch(model, file)
        else:
            weights.load_backbone(model, file)
            logging.info("%s begins with a new head, for %d classes instead of %d.", name, count, preset.outputs)
        return model

    @classmethod
    def _of_file(cls, path):
        found = reading.read(path)
        network = getattr(found, "network", found)
        if not isinstance(network, cls):
            raise ValueError(
                f"{path} must have a {cls.__name__}, got {type(found).__name__}"
                + ("" if network is found else f" of {type(network).__name__}")
                + "; use its own class."
            )
        return network

    def save_preset(self, folder: Path) -> None:
        """Writes the network with its weights into a folder, for `from_preset(folder)`.

        Args:
            folder: which is made; the file in it is `model.keras`.

        Example:
            >>> from kerapose import models
            >>> network = models.TemporalLifter(17, filter_widths=(3, 3), channels=16)
            >>> network.save_preset("nine_frames")
            >>> models.TemporalLifter.from_preset("nine_frames").filter_widths
            (3, 3)
        """
        reading.save(self, folder)

    @classmethod
    def argument_of(cls, variant: str, name: str) -> typing.Any:
        """The value of an argument in a published variant, without building it.

        Args:
            variant: a key of `VARIANTS`.
            name: of the argument.

        Returns:
            Its value: the variant's, else the default.

        Raises:
            ValueError: if there is no such variant.

        Example:
            >>> from kerapose import models
            >>> models.SlowOnly.argument_of("slowonly", "input_shape")
            (48, 56, 56, 17)
        """
        return cls._variant(variant).get(name, inspect.signature(cls).parameters[name].default)

    @classmethod
    def _variant(cls, variant):
        if variant not in cls.VARIANTS:
            known = ", ".join(cls.VARIANTS)
            raise ValueError(f"{cls.__name__} has the variants {known}, got {variant!r}; use one of them.")
        return cls.VARIANTS[variant]

    @classmethod
    def argument_names(cls) -> list[str]:
        """The names of the arguments of the class, in their order, without Keras's own (`name`, `dtype`).

        Example:
            >>> from kerapose import models
            >>> models.StackedHourglass.argument_names()
            ['num_joints', 'image_shape', 'num_stacks', 'filters', 'increase']
        """
        return argument_names(cls)

    @property
    def input_shape(self) -> Shape | dict[str, Shape]:
        """Shape of the input, batch first; of several inputs a dictionary by name."""
        return keras.tree.map_structure(lambda tensor: tensor.shape, self.input)

    def resized(self, *shapes: Shape) -> typing.Self:
        """The same network with the same weights for inputs of another shape, on which the weights do not depend.

        Args:
            *shapes: of each input in the order of the arguments, (T, H, W, C) or (H, W, C), C as before.

        Returns:
            A new network; the weights are copied.

        Raises:
            ValueError: if there are more or fewer shapes than inputs.

        Example:
            >>> from kerapose import models
            >>> network = models.C3D(60, input_shape=(8, 56, 56, 17), base_filters=8, num_stages=3)
            >>> network.resized((8, 64, 64, 17)).input_shape  # trained on 56 x 56 pixels, tested on 64 x 64
            (None, 8, 64, 64, 17)
        """
        names = [name for name in self.argument_names() if name.endswith("_shape")]
        if len(shapes) != len(names):
            raise ValueError(f"{type(self).__name__} is resized by {' and '.join(names)}, got {len(shapes)} shapes.")
        changes = dict(zip(names, map(tuple, shapes), strict=True))
        copy = type(self).from_config(self.get_config() | changes)
        copy.set_weights(self.get_weights())
        return copy

    def unused_torch_weights(self) -> dict[str, Shape]:
        """Weights that published files hold and never use, {PyTorch name: shape}; empty for most classes."""
        return {}

    def get_config(self) -> Config:
        """The arguments of the class by name, of which Keras builds the network anew."""
        config = {name: getattr(self, name) for name in self.argument_names()}
        if "input_shape" in config:
            config["input_shape"] = self.input_shape[1:]  # the attribute is Keras's, which leads with the batch
        return config | {"name": self.name}

    @classmethod
    def from_config(cls, config: Config) -> typing.Self:
        """A network of the configuration that `get_config` gives."""
        return cls(**config)


def check_sides(image_shape: Shape, stride: int) -> None:
    """Refuses an image whose sides are no multiples of a stride; the error has the nearest that are. None is any."""
    below, above = (
        (*(nearest(side, stride, up) for side in image_shape[:2]), *image_shape[2:]) for up in (False, True)
    )
    if below != above:
        fitting = f"{above}" if 0 in below[:2] else f"{below} or {above}"
        raise ValueError(
            f"The sides of image_shape must be multiples of {stride}, got {tuple(image_shape)}; use {fitting}."
        )


def nearest(side: int | None, stride: int, up: bool) -> int | None:
    """The multiple of a stride that is nearest to a side: from below, or from above; a multiple is its own."""
    return None if side is None else (-(-side // stride) if up else side // stride) * stride


def output_shapes(network: keras.Model) -> Shape | list[Shape] | dict[str, Shape]:
    """The shape of a network's output, batch first; of several outputs a list or dict, as it gives them."""
    return keras.tree.map_structure(lambda tensor: tensor.shape, output_of(network))


def output_of(network: keras.Model) -> typing.Any:
    """The symbolic output of a functional or sequential network; of several a list or dict, as it gives them.

    Raises:
        AttributeError: if the network is neither, or is not built.
    """
    return network.outputs[0] if isinstance(network, keras.Sequential) else network.output  # the former has no `output`


def argument_names(cls: type) -> list[str]:
    """The names of the arguments of a class's `__init__`, without self and Keras's own."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]


def plain_arguments(arguments: Mapping[str, ArrayLike] | None) -> dict[str, typing.Any]:
    """Keyword arguments, None for none, as a configuration keeps them: arrays and tuples become lists of numbers."""
    return {name: np.asarray(value).tolist() for name, value in (arguments or {}).items()}
