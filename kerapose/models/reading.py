"""Reads the `.keras` file of an estimator or a network, and runs no code of it."""

import json
import pathlib
import zipfile

import keras

from kerapose.files import whole
from kerapose.presets.table import SAVED
from kerapose.types import Path

CHECKPOINTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")  # PyTorch's
HDF5_SIGNATURE = b"\x89HDF"
ZIP_SIGNATURE = b"PK"


def read(path: Path, what: str = "A model") -> keras.Model:
    """Reads a `.keras` file of an estimator or a network, and runs no code of it.

    Args:
        path: of the file, or of a folder with `model.keras` in it.
        what: the file is, for errors: "--model".

    Returns:
        The estimator or network, not compiled.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none, is damaged, or has what is not known here; one sentence says so.

    Example:
        >>> from kerapose.models import reading
        >>> estimator = reading.read("runs/topdown/model.keras")
        >>> type(estimator).__name__, type(estimator.network).__name__
        ('PoseEstimator', 'SimpleBaseline')
    """
    path = pathlib.Path(path)
    path = path / SAVED if (path / SAVED).is_file() else path
    content = _configuration(path, what)
    # Not compiled, it needs no loss and no optimizer: those of its training may be strangers.
    strangers = sorted(set(_strangers({key: value for key, value in content.items() if key != "compile_config"})))
    if strangers:
        raise ValueError(
            f"{what} must have only what is known here, got {path} with {', '.join(strangers)}; import the package "
            "that it is from before, or update kerapose."
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises any of a dozen kinds
        reason = str(error).strip().split("\n")[0].rstrip(".")
        if isinstance(error, ValueError) and str(content.get("registered_name")).startswith("kerapose>"):
            # A sentence of ours says more.
            raise ValueError(f"{what} must be a file that this kerapose reads, got {path}: {reason}.") from error
        raise ValueError(
            f"{what} must be a whole .keras file of an estimator or a network, got {path}, which Keras does not load "
            f"({reason}); save it anew with model.save."
        ) from error


def save(model: keras.Model, folder: Path) -> None:
    """Writes a model as `model.keras` into a folder, which is made: `read(folder)` reads it."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / SAVED) as part:
        model.save(part)


def _configuration(path, what):
    """What a `.keras` file says of itself, without making anything of it."""
    rule = f"{what} must be a .keras file, got {path}"
    if path.is_dir():
        is_served = (path / "saved_model.pb").is_file()
        found = "a SavedModel, which is for servers" if is_served else "a folder"
        raise ValueError(f"{rule}, which is {found}; give the file model.keras of the training.")
    if not path.is_file():
        raise FileNotFoundError(f"{rule}, where there is no file; check the path.")
    if path.suffix in CHECKPOINTS:
        raise ValueError(
            f"{rule}, a checkpoint of PyTorch; build its network, read it with weights.load_torch(network, path), and "
            "save that."
        )
    with open(path, "rb") as file:
        begin = file.read(4)
    if begin.startswith(HDF5_SIGNATURE):
        raise ValueError(f"{rule}, which is HDF5 and has weights alone; build the model and save it with model.save.")
    if not begin.startswith(ZIP_SIGNATURE):
        raise ValueError(f"{rule}, which is something else; save the model with model.save.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            content = None if damaged else json.loads(archive.read("config.json"))
    except zipfile.BadZipFile:
        damaged = "its end"
    except (KeyError, ValueError):
        raise ValueError(f"{rule}, an archive of something else; save the model with model.save.") from None
    if damaged:
        raise ValueError(f"{rule}, which is cut short or damaged ({damaged}); copy or download it again.")
    if not isinstance(content, dict):
        raise ValueError(f"{rule}, whose configuration is no model's; save the model with model.save.")
    return content


def _strangers(content):
    """The names of what Keras would not find, or of code that it would have to run, anywhere in a configuration."""
    if isinstance(content, list):
        for one in content:
            yield from _strangers(one)
    elif isinstance(content, dict):
        name, registered = content.get("class_name"), content.get("registered_name")
        if name in ("Lambda", "__lambda__"):
            yield "code of its own (a Lambda), which is never run"
        elif isinstance(name, str) and "config" in content and "registered_name" in content:
            is_keras = str(content.get("module")).split(".")[0] == "keras"
            if not is_keras and keras.saving.get_registered_object(registered or name) is None:
                yield str(content["config"] if name == "function" else registered or name)
        for one in content.values():
            yield from _strangers(one)
