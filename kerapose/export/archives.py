"""What the exports share: files that are whole or not there, and checks in the graph that give one sentence."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from kerapose.types import Path, Tensor

DEFAULT = "serving_default"


@contextlib.contextmanager
def whole(path: Path, overwrite: bool) -> Iterator[pathlib.Path]:
    """Gives a path to write to, and moves what was written to `path` at the end: all of it or nothing is there."""
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"Nothing may be at {path} yet, but there is; give another path, or overwrite=True.")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(f"Only a SavedModel is overwritten, but {path} is another folder; give another path.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = pathlib.Path(folder) / path.name
        yield part
        if path.is_dir():  # a full folder cannot be replaced in one step
            old = pathlib.Path(folder).with_suffix(".old")
            os.replace(path, old)
            os.replace(part, path)
            shutil.rmtree(old)
        else:
            os.replace(part, path)


def write_signatures(folder: Path, signatures: dict[str, tuple[Callable, list]]) -> None:
    """Writes {signature: (function, specs of what it takes)} as a SavedModel, with the variables that they use."""
    # Each is given as it was once traced: saving would trace a tf.function again, which would take as long anew.
    traced = {
        name: tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
        for name, (function, specs) in signatures.items()
    }
    traced.setdefault(DEFAULT, traced[default_of(signatures)])
    module = tf.Module()
    module.used = [function.variables for function in traced.values()]
    for name, function in traced.items():  # so that who loads it in Python may call loaded.serving_default(...), too
        setattr(module, name, function)
    tf.saved_model.save(module, str(folder), signatures=traced)


def default_of(signatures: dict[str, tuple[Callable, list]]) -> str:
    """The name of the signature by which a call that names none is answered: the first, if none has that name."""
    return DEFAULT if DEFAULT in signatures else next(iter(signatures))


def check_ending(path: Path, ending: str) -> None:
    """Raises a ValueError if a path does not end as its format wants it."""
    if pathlib.Path(path).suffix != ending:
        raise ValueError(f"The file must end in {ending}, got {path}; rename it.")


def unshaped(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of a signature, {name: tensor}, without their static shapes."""
    # No runtime holds a request against the signature, but the graph's optimizer takes the signature at its word and
    # would drop the checks. So the shapes are forgotten here, to be found out anew.
    return {name: tf.compat.v1.placeholder_with_default(value, None) for name, value in inputs.items()}


def check_axes(inputs: dict[str, Tensor], axes: dict[str, tuple]) -> dict[str, Tensor]:
    """The inputs, each known to have as many axes as `axes` names for it: {"keypoints": ("B", "T", 17, 2), ...}."""
    for name, expected in axes.items():
        given = tf.shape(inputs[name])
        axes_text = f"{len(expected)} {'axis' if len(expected) == 1 else 'axes'}, [{', '.join(map(str, expected))}]"
        inputs = require(
            tf.equal(tf.size(given), len(expected)),
            f"{name} must have {axes_text}, got the shape {{}}; add those that are missing.",
            (given,),
            inputs,
        )
    return inputs


def require(condition: Tensor, sentence: str, values: Iterable[Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, available only once the condition holds: what follows cannot fail before it with a worse message."""
    assertion = tf.debugging.Assert(condition, [tf.strings.format(sentence, values)])
    with tf.control_dependencies([assertion]):
        return {name: tf.identity(value) for name, value in inputs.items()}


def first_false(flags: Tensor) -> Tensor:
    """The index of the first False: [B] -> scalar."""
    return tf.argmin(tf.cast(flags, tf.int32))


def first_false_or_zero(flags: Tensor) -> Tensor:
    """As `first_false`, and 0 where there are no flags at all."""
    return first_false(tf.concat([flags, tf.ones((1,), tf.bool)], axis=0))
