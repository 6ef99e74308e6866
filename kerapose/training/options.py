"""What one may choose of a training: a table of options, from which notebooks and the flags of scripts are held."""

import collections.abc
import dataclasses
import difflib
import math
import numbers
import os
import typing

import numpy as np

STRATEGIES = ("none", "mirrored", "multi_worker", "jax_data_parallel")
OF_SEVERAL_HOSTS = ("multi_worker", "jax_data_parallel")


@dataclasses.dataclass(frozen=True)
class Option:
    """One thing that may be chosen.

    Args:
        name: of the keyword argument, and of the flag.
        kind: str, int, float or bool; [str], [int] or [float] for a list.
        default: what it is if it is not given. None: what the recipe says, or nothing.
        help: what it is, with its unit.
        least: the smallest value.
        most: the largest value.
        choices: all values there are; none: any.
        repeated: of a list, whether a command line gives the flag once for each value instead of once with commas.
        free: whether a run that is resumed may have another value than it began with.
        tested: whether the test of a preset, without any training, depends on it.

    Example:
        >>> from kerapose.training.options import Option
        >>> option = Option("box_padding", float, 1.25, "How many times larger than its box a crop is.", least=0.1)
        >>> option.checked(1), option.checked(None)
        (1.0, None)
    """

    name: str
    kind: type | list[type]
    default: typing.Any
    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple = ()
    repeated: bool = False
    free: bool = False
    tested: bool = False

    def checked(self, value: typing.Any) -> typing.Any:
        """A value that was given, in its kind: NumPy's numbers as Python's, paths as text, sequences as lists.

        Args:
            value: of the option, or None, which stays so.

        Raises:
            ValueError: if it is of another kind, or none that it may be.
        """
        if value is None:
            return None
        if not isinstance(self.kind, list):
            return self._single(value, self.kind)
        is_list = isinstance(value, collections.abc.Sequence) and not isinstance(value, str | bytes)
        if not is_list and not (isinstance(value, np.ndarray) and value.ndim == 1):
            remedy = f"give [{value!r}]" if isinstance(value, str | numbers.Number) else "give its values in a list"
            raise ValueError(f"{self.name} must be a list, got {value!r}; {remedy}.")
        return [self._single(one, self.kind[0]) for one in value]

    def _single(self, value, kind):
        is_bool = isinstance(value, bool | np.bool_)
        sound = {
            str: isinstance(value, str | os.PathLike),
            bool: is_bool,
            int: isinstance(value, numbers.Integral) and not is_bool,
            float: isinstance(value, numbers.Real) and not is_bool,
        }[kind]
        if not sound:
            raise ValueError(f"{self.name} must be {KINDS[kind]}, got {value!r}; correct it.")
        value = str(os.fspath(value)) if kind is str else kind(value)
        if self.choices and value not in self.choices:
            said = ", ".join(str(choice) for choice in self.choices)
            raise ValueError(f"{self.name} must be one of {said}, got {value!r}; use one of them.")
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{self.name} must be a finite number, got {value}; correct it.")
        if self.least is not None and value < self.least:
            raise ValueError(f"{self.name} must be at least {self.least}, got {value}; give more.")
        if self.most is not None and value > self.most:
            raise ValueError(f"{self.name} must be at most {self.most}, got {value}; give less.")
        return value


KINDS = {str: "text", bool: "True or False", int: "a whole number", float: "a number"}


def choose(options: collections.abc.Iterable[Option], given: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """The value of every option: what was given, else its default.

    Args:
        options: those there are.
        given: {name: value}; None for what is not given.

    Returns:
        {name: value}, in the order of the options.

    Raises:
        ValueError: if there is no such option, or one cannot have this value.

    Example:
        >>> from kerapose.training.options import Option, choose
        >>> choose([Option("epochs", int, 12, "Passes over the training split.", least=1)], {"epochs": 3})
        {'epochs': 3}
    """
    options = list(options)
    names = [option.name for option in options]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
            raise ValueError(f"Options of a training go by their names, got {name!r}; {remedy}")
    values = {}
    for option in options:
        value = option.checked(given.get(option.name))
        value = option.default if value is None else value
        values[option.name] = list(value) if isinstance(value, list | tuple) else value  # nobody shares the default's
    return values


def names_tested(options: collections.abc.Iterable[Option]) -> list[str]:
    """The names of those options that the test of a preset depends on."""
    return [option.name for option in options if option.tested]


def free_names(options: collections.abc.Iterable[Option]) -> list[str]:
    """The names of those options that a run may be given anew when it is resumed."""
    return [option.name for option in options if option.free]


# ---------------------------------------- those of every training
def common_options(
    workdir: str,
    dataset: str,
    batch_size: int | None = None,
    epochs: int | None = None,
    validation_split: str | None = "validation",
) -> list[Option]:
    """The options that every training has.

    Args:
        workdir: default of the work folder.
        dataset: default of the data set.
        batch_size: default; None: what the recipe says.
        epochs: likewise.
        validation_split: likewise.

    Example:
        >>> from kerapose.training.options import common_options
        >>> options = common_options("runs/mine", "puppets/clips", epochs=12)
        >>> {option.name: option.default for option in options if option.name in ("dataset", "epochs", "seed")}
        {'dataset': 'puppets/clips', 'epochs': 12, 'seed': 0}
    """
    return [
        Option(
            "workdir",
            str,
            workdir,
            "Folder of checkpoints, curves and figures; a run there is resumed.",
            free=True,
            tested=True,
        ),
        Option("dataset", str, dataset, "TFDS name of the data set.", tested=True),
        Option(
            "data_dir",
            str,
            None,
            "Where datasets/build.py put the data set; by default TFDS's own folder.",
            free=True,
            tested=True,
        ),
        Option("train_split", str, "train", "Split to train on."),
        Option(
            "validation_split",
            str,
            validation_split,
            "Split that chooses the best weights; empty: the last ones.",
        ),
        Option("test_split", str, "test", "Split of the final figures.", tested=True),
        Option("skip", [str], [], "Names of samples to leave out, of any split.", repeated=True, tested=True),
        Option("batch_size", int, batch_size, "Samples a step, over all devices.", least=1, tested=True),
        Option("epochs", int, epochs, "Passes over the training split.", least=1),
        Option("seed", int, 0, "Of initialization, shuffling, augmentation and dropout.", least=0, tested=True),
        Option(
            "precision",
            str,
            "auto",
            "Of the computation; weights are float32. auto: mixed_bfloat16 on a CPU that multiplies in it, or float32.",
            choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
            tested=True,
        ),
        Option(
            "deterministic",
            bool,
            None,
            "Whether the same seed gives the same weights, to the last bit, and a run that was cut short and resumed "
            "those of one that was not. By default on a CPU, where it costs little, and off on a GPU, where it costs "
            "more: slower operations, and none compiled by XLA.",
            tested=True,
        ),
        Option(
            "strategy",
            str,
            "none",
            "mirrored: a copy of the model on each device. multi_worker: on each device of several machines, on all of "
            "which the same command is started; they are given by worker_hosts and worker_index, or by TF_CONFIG. "
            "jax_data_parallel: on each device of JAX, of all hosts, under KERAS_BACKEND=jax.",
            choices=STRATEGIES,
        ),
        Option(
            "worker_hosts",
            [str],
            None,
            "HOST:PORT of each worker with commas between them, the same on all; the first one writes the files.",
            free=True,
        ),
        Option("worker_index", int, None, "Which of them this one is, from 0 on.", least=0, free=True),
        Option(
            "sync_batch_norm",
            bool,
            False,
            "Whether batch norms see the whole batch, over all devices and workers, or each device's part of it.",
        ),
        Option(
            "data_service",
            str,
            None,
            "grpc://HOST:PORT of a tf.data service (kerapose data-service) whose workers make the batches: the same "
            "ones, in the same order. None: this process makes them.",
            free=True,
        ),
        Option("export", bool, False, "Whether to write a SavedModel at the end.", free=True),
    ]


def flip_options(probability: float, flip_test: bool) -> list[Option]:
    """The options of mirroring clips, for trainings of actions.

    Args:
        probability: default of `flip_probability`.
        flip_test: default of `flip_test`.
    """
    return [
        Option("flip_probability", float, probability, "Of mirroring a clip; 0: none is.", least=0.0, most=1.0),
        Option("flip_test", bool, flip_test, "Whether the final test averages with the mirrored clips.", tested=True),
        Option(
            "flip_pairs",
            [str],
            None,
            "LEFT:RIGHT,... classes that change places in a mirror; by default found by their names.",
        ),
    ]
