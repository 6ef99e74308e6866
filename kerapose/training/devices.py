"""What a training runs on: seeds, precision, determinism, devices."""

import pathlib

import keras
import tensorflow as tf
from absl import logging


def set_up(config):
    """Seeds everything, makes operations repeatable where they are to be, and sets the precision policy.

    Args:
        config: dict of "seed", "precision" and "deterministic".
    """
    keras.utils.set_random_seed(config["seed"])
    if is_deterministic(config):
        tf.config.experimental.enable_op_determinism()
    precision = config["precision"]
    if precision == "auto":
        precision = "mixed_bfloat16" if _cpu_multiplies_bfloat16() and not _gpus() else "float32"
    keras.config.set_dtype_policy(precision)
    logging.info("Computing in %s.", precision)


def is_deterministic(config):
    """Whether operations are to be repeatable: as the flag says, else on a CPU."""
    return not _gpus() if config["deterministic"] is None else config["deterministic"]


def make_strategy(name):
    """The `tf.distribute` strategy of a flag: one device, or a copy of the model on each."""
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
