"""What a training runs on: seeds, precision, determinism, devices."""

import pathlib
import typing

import keras
import tensorflow as tf
from absl import logging


def set_up(config: dict[str, typing.Any]) -> None:
    """Seeds everything, makes operations repeatable where they are to be, and sets the precision policy.

    All of it is the whole process's, and once made repeatable, operations stay so.

    Args:
        config: dict of "seed", an int; "precision", the name of a policy of Keras, or "auto": mixed_bfloat16 on a CPU
            that multiplies in it, or float32; and "deterministic", None for: on a CPU alone.

    Example:
        >>> set_up({"seed": 0, "precision": "auto", "deterministic": None})
    """
    keras.utils.set_random_seed(config["seed"])
    if is_deterministic(config):
        tf.config.experimental.enable_op_determinism()
    precision = config["precision"]
    if precision == "auto":
        precision = "mixed_bfloat16" if _cpu_multiplies_bfloat16() and not _gpus() else "float32"
    keras.config.set_dtype_policy(precision)
    logging.info("Computing in %s.", precision)


def is_deterministic(config: dict[str, typing.Any]) -> bool:
    """Whether operations are to be repeatable: as "deterministic" says, or where that is None on a CPU."""
    return not _gpus() if config["deterministic"] is None else config["deterministic"]


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a name.

    Args:
        name: "none", one device; or "mirrored", a copy of the model on each.

    Raises:
        ValueError: if it is another name.

    Example:
        >>> with make_strategy("mirrored").scope():
        ...     model = make_model()
    """
    if name not in ("none", "mirrored"):
        raise ValueError(f"strategy must be none or mirrored, got {name!r}; use one of them.")
    if name == "none":
        return tf.distribute.get_strategy()
    devices = _gpus() or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    logging.info("Mirrored over %d devices.", strategy.num_replicas_in_sync)
    return strategy


def _gpus():
    return tf.config.list_logical_devices("GPU")


def _cpu_multiplies_bfloat16():
    """Whether the processor says that it has matrix or vector instructions for bfloat16 (Linux)."""
    try:
        said = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in said or "avx512_bf16" in said
