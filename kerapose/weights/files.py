"""Reads the files of published checkpoints, and runs no code of them."""

import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import logging

# Entries that hold the state dict, and those of which an average over the last steps was kept beside it.
NESTINGS = ("state_dict", "model", "model_state_dict")
AVERAGES = ("state_dict_ema", "model_ema")
# What MMEngine keeps the weights before averaging in, and how MMCV names them among the others.
PLAIN_BESIDE_AVERAGES = "ema_state_dict"
PLAIN_PREFIX = "ema_"
# Older files of OpenMMLab have what images are normalized by among their weights.
NO_WEIGHTS = ("data_preprocessor.mean", "data_preprocessor.std")

# Whose objects trainings keep beside the weights: figures, times, states of generators, configurations. They are read
# as something that holds nothing and does nothing.
HARMLESS = (
    *("numpy", "mmengine", "mmcv", "mmpose", "mmaction", "mmcls", "pyskl"),
    *("argparse", "pathlib", "datetime", "decimal", "fractions", "uuid", "enum", "functools"),
)
HARMLESS_BUILTINS = (
    *("getattr", "set", "frozenset", "int", "float", "complex", "str", "list", "dict", "tuple", "range", "slice"),
)
HARMLESS_NAMES = (
    *("_codecs.encode", "collections.deque", "collections.defaultdict"),
    *(f"builtins.{name}" for name in HARMLESS_BUILTINS),
)
REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")


def read(source: str | Path | Mapping[str, typing.Any], nestings: Iterable[str] = ()) -> Mapping[str, typing.Any]:
    """A flat mapping of names to arrays, whatever the source; `nestings` are names that hold the state dict in it."""
    if isinstance(source, str | Path):
        source = _read_file(Path(source))
    if not hasattr(source, "items"):
        raise ValueError(f"A checkpoint maps names to arrays, got a {type(source).__name__}; save its state dict.")
    averages = next((key for key in AVERAGES if hasattr(source.get(key), "items") and source[key]), None)
    if averages is not None:
        logging.info("Of plain weights and their averages over the last steps, %s, the averages are loaded.", averages)
        source = source[averages]
        nestings = (*nestings, "module")  # of a file that keeps beside them how they were averaged
    elif PLAIN_BESIDE_AVERAGES in source:
        logging.info("Averages of the weights over the last steps are loaded: the file has them as its state dict.")
    for key in (*nestings, *NESTINGS):
        if key in source and hasattr(source[key], "items"):
            source = source[key]
    for name, array in source.items():
        if not isinstance(name, str) or isinstance(array, _Unread):
            raise ValueError(
                f"A checkpoint maps names to tensors, got something else under {name!r}; save a state dict of PyTorch."
            )
    left_out = _no_weights(source)
    return {name: array for name, array in source.items() if _inner(name) not in left_out}


def _inner(name):
    """A name without what wrappers of whole networks put before it."""
    for wrapping in ("module.", "model."):
        name = name.removeprefix(wrapping)
    return name


def _no_weights(state):
    """The names that no network has: of a preprocessor, and of weights before averaging, as MMCV keeps them."""
    plain = {f"{PLAIN_PREFIX}{_inner(name).replace('.', '_')}" for name in state} & {_inner(name) for name in state}
    if plain:
        logging.info("Averages of the weights over the last steps are loaded; %d plain ones are left out.", len(plain))
    return plain | set(NO_WEIGHTS)


def _read_file(path):
    existing(path)
    suffix = Path(path.name.removesuffix(".tar")).suffix  # "mobilenet.pth.tar" is no archive, only called one
    if suffix not in (".pth", ".pt", ".bin", ".safetensors"):
        raise ValueError(
            f"A checkpoint ends in .pth, .pt, .bin or .safetensors, got {path.name}; convert or rename it."
        )
    load = _loader(suffix)
    try:
        return load(path)
    except Exception as error:
        refused = _refused(error)
        if refused:
            raise ValueError(
                f"A checkpoint has weights and notes of its training, got {path} with {refused}, which could run "
                "code and is not read; get the file from its publisher, or save the state dict alone."
            ) from error
        # PyTorch's advice to read a file without safety is none of ours.
        said = [line.strip() for line in str(error).rpartition("WeightsUnpickler error:")[2].splitlines()]
        reason = next((line for line in said if line and "weights_only" not in line), type(error).__name__)
        raise ValueError(
            f"{path} is not a readable checkpoint of plain tensors ({reason}); download it again, or save its state "
            "dict by itself."
        ) from error


def existing(path: Path) -> Path:
    """The path, if there is a file."""
    if not path.is_file():
        raise FileNotFoundError(f"A checkpoint is a file, got {path}, which does not exist; check the path.")
    return path


def need(module: str, package: str, extra: str) -> typing.Any:
    """A module of a package that not everybody has."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise ImportError(f"Reading this file needs {package}; pip install 'kerapose[{extra}]'.") from error


def _loader(suffix):
    if suffix == ".safetensors":
        return need("safetensors.numpy", "safetensors", "torch").load_file
    torch = need("torch", "torch", "torch")

    def load(path):
        # PyTorch's safe reader makes weights and refuses all else, one name at a time: what is harmless is made nothing
        # of, and it is asked again.
        unread = []
        while True:
            try:
                with torch.serialization.safe_globals(unread):
                    return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                refused = _refused(error)
                if refused is None or not _is_harmless(refused) or refused in {name for _, name in unread}:
                    raise
                unread.append((STANDINS.get(refused, _Unread), refused))

    return load


def _refused(error):
    """What PyTorch's reader refuses to make, "package.module.name"; None if it complains of something else."""
    match = REFUSED.search(str(error))
    if match is None:
        return None
    return match[1] if "." in match[1] else f"builtins.{match[1]}"


def _is_harmless(name):
    return name.split(".")[0] in HARMLESS or name in HARMLESS_NAMES


class _Unread:
    """Stands for whatever of a file is not read."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass


def _no_list(*arguments):
    return []


def _no_dict(*arguments):
    return {}


# What is filled after it was made: PyTorch's reader fills nothing but lists and dicts.
STANDINS = {"collections.deque": _no_list, "collections.defaultdict": _no_dict}
