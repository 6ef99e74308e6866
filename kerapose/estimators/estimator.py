"""What all estimators share: they know their skeleton and how they were trained, and so does a file of one."""

import json
import typing
from collections.abc import Sequence

import keras

from kerapose import __version__, mirrors, sides, skeletons
from kerapose.models import reading
from kerapose.models.network import argument_names
from kerapose.types import Path

FORMAT = 1  # of a file's configuration: a kerapose that writes another raises it, and an older one refuses the file


class Estimator(keras.Model):
    """What all estimators share: a network with all that it takes to go from raw input to an answer with names.

    The configuration is the arguments of a class's own ``__init__``, each an attribute of the same name, the skeletons
    whole. So a saved file says by itself what was trained: `predictors.load` needs nothing else.

    ``CHOICES`` names those arguments that have nothing to do with the training: whoever predicts may choose others.

    Args:
        training: how the network was trained, a dict of what JSON can hold, or None; it may also be set later.
        **kwargs: `name` and `dtype` of Keras.

    Raises:
        ValueError: if `training` is not such a dict.

    Example:
        >>> from kerapose import predictors
        >>> estimator = predictors.load("runs/topdown/model.keras").estimator
        >>> estimator.skeleton.name, estimator.codec, estimator.CHOICES
        ('coco', 'gaussian', ('flip_test', 'shift', 'box_padding', 'decoding', 'max_batch'))
    """

    CHOICES = ()

    def __init__(self, training: dict | None = None, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.training = training
        self.autocast = False  # pixels are not rounded to bfloat16
        self.built = True  # nothing has weights but the networks
        self.jit_compile = False  # each new length or size of input would be a new compilation

    @property
    def training(self) -> dict | None:
        """How the network was trained: options, data set, figures; saved with it."""
        return self._training

    @training.setter
    def training(self, record: dict | None) -> None:
        if isinstance(record, bool):
            return  # PyTorch's modules say by this name whether they train, which an estimator never does
        try:
            record = json.loads(json.dumps(record))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"training must be a dict that JSON can hold, which it is not ({error}); give lists, numbers and text."
            ) from None
        if not isinstance(record, dict | None):
            raise ValueError(
                f"training must be a dict or None, got {type(record).__name__}; give the record as a dict."
            )
        self._training = record

    def arguments(self) -> dict:
        """The arguments that would build the estimator again, with the very same networks."""
        own = {name: getattr(self, name) for name in argument_names(type(self))}
        return {"name": self.name, "dtype": self.dtype_policy} | own

    def changed(self, **choices: typing.Any) -> "Estimator":
        """The estimator with other values of some of its `CHOICES`; the networks are the same.

        Args:
            **choices: arguments by name. Others than `CHOICES` may be named, with the value that they have.

        Returns:
            A new estimator with the very same networks.

        Raises:
            ValueError: if an argument that the training has set is to have another value.

        Example:
            >>> from kerapose import predictors
            >>> estimator = predictors.load("runs/topdown/model.keras").estimator
            >>> fast = estimator.changed(flip_test=False)
            >>> fast.flip_test, fast.network is estimator.network
            (False, True)
        """
        free = {name: value for name, value in choices.items() if name in self.CHOICES}
        others = [name for name in choices if name not in free and not _agree(getattr(self, name, None), choices[name])]
        if others:
            anew = f"choose others of {', '.join(self.CHOICES)}, or " if self.CHOICES else ""
            raise ValueError(
                f"This {type(self).__name__} has its own {', '.join(others)}, by which it was trained; {anew}give its "
                "network to set all."
            )
        return type(self)(**(self.arguments() | free)) if free else self

    def save_preset(self, folder: Path) -> None:
        """Writes the estimator into a folder, for `predictors.load`.

        Args:
            folder: which is made; the file in it is `model.keras`.

        Example:
            >>> from kerapose import predictors
            >>> lifter = predictors.load("runs/lifter/model.keras").estimator
            >>> lifter.save_preset("mine")
            >>> predictors.load("mine").estimator.network.receptive_field
            9
        """
        reading.save(self, folder)

    def get_config(self) -> dict:
        """The arguments of the class as a file has them, with the version of kerapose."""
        own = {name: _plain(getattr(self, name)) for name in argument_names(type(self))}
        return super().get_config() | {"format": FORMAT, "kerapose": __version__} | own

    @classmethod
    def from_config(cls, config: dict) -> "Estimator":
        """An estimator of the configuration that `get_config` gives.

        Raises:
            ValueError: if a newer kerapose wrote it, or it does not fit together.
        """
        config = dict(config)
        version, number = config.pop("kerapose", "0.1"), config.pop("format", 0)
        if number != FORMAT:
            newer = number > FORMAT
            raise ValueError(
                f"A file of {cls.__name__} must have the format {FORMAT}, got {number} of kerapose {version}; "
                + ("get that kerapose." if newer else "build it anew from its network, and save it.")
            )
        for name in ("skeleton", "pose_skeleton"):
            if name in config:
                config[name] = skeletons.Skeleton(**config[name])
        for name in ("network", "trajectory"):
            if config.get(name) is not None:
                config[name] = _networks(config[name])
        return cls(**config)


def check_skeleton(skeleton: skeletons.Skeleton, what: str = "skeleton") -> None:
    """Refuses what is no `Skeleton`: a permutation or a name, say."""
    if not isinstance(skeleton, skeletons.Skeleton):
        raise ValueError(
            f"{what} must be the Skeleton that the network was trained with, got {type(skeleton).__name__}; give "
            "skeletons.COCO, say, or one of your own."
        )


def check_class_names(class_names: Sequence[str], num_classes: int, what: str = "network") -> tuple[str, ...]:
    """The names as a tuple of texts, once there is one for each class."""
    names = tuple(str(name) for name in class_names)
    if len(names) != num_classes:
        raise ValueError(
            f"class_names must name each class of the {what}, got {len(names)} names for {num_classes} classes; give "
            "the names of the data set that it was trained on."
        )
    return names


def mirrored_labels(flip_labels: Sequence[int] | None, class_names: Sequence[str], flip_test: bool) -> tuple[int, ...]:
    """[C] the class that each becomes in a mirror, by the names where `flip_labels` does not say it."""
    if flip_labels is None:
        # Of classes without a mirror image only a test with mirrors has to tell.
        flip_labels = mirrors.mirrored_labels(class_names, None if flip_test else sides.class_pairs(class_names))
    labels = tuple(int(label) for label in flip_labels)
    if sorted(labels) != list(range(len(class_names))):
        raise ValueError(
            f"flip_labels must have the mirror image of each of {len(class_names)} classes, got {labels}; see "
            "mirrors.mirrored_labels, or give None to go by the names."
        )
    return labels


def _agree(own, given):
    """Whether somebody says of a skeleton, of names or of a codec what is known already."""
    if isinstance(given, skeletons.Skeleton | str):
        return own == given
    return isinstance(own, tuple) and isinstance(given, list | tuple) and own == tuple(given)


def _plain(value):
    """An argument as a file has it."""
    if isinstance(value, skeletons.Skeleton):
        return value.to_dict()
    if isinstance(value, keras.Model):
        return keras.saving.serialize_keras_object(value)
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _networks(config):
    """A network, or several by name, of a configuration."""
    if "class_name" in config:
        return keras.saving.deserialize_keras_object(config)
    return {name: keras.saving.deserialize_keras_object(one) for name, one in config.items()}
