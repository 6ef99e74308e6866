"""The folder of a run, and the files of others that a run starts from."""

import json
import pathlib
import typing

import keras

from kerapose import models, presets, weights
from kerapose.files import read_json, write_whole
from kerapose.models.reading import read
from kerapose.training.devices import is_deterministic
from kerapose.types import Path

BEFORE = {"deterministic": True, "backend": "tensorflow"}  # of runs whose configuration does not say it


def open_workdir(workdir: Path, config: dict[str, typing.Any]) -> pathlib.Path:
    """Makes the work folder, or checks that the run found there has the same configuration.

    Args:
        workdir: path.
        config: dict of everything that the result depends on, for JSON. "deterministic" may be None, as the option is
            if it was not given.

    Returns:
        The folder as a path.

    Raises:
        ValueError: if the folder holds a run of another configuration, which is not touched, or is none.

    Example:
        >>> from kerapose import training
        >>> training.open_workdir("runs/seventh", {"epochs": 12, "seed": 7}).name
        'seventh'
        >>> training.open_workdir("runs/seventh", {"epochs": 24, "seed": 7})
        Traceback (most recent call last):
            ...
        ValueError: A work folder belongs to one configuration, but runs/seventh differs: epochs 12 there and 24
        here; give another workdir, or the options of that run to resume it.
    """
    workdir = pathlib.Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"A work folder must be a folder, got {workdir}, which is a file; give another workdir.")
    file = workdir / "config.json"
    config = json.loads(json.dumps(config))
    if "deterministic" in config:
        config["deterministic"] = is_deterministic(config)
    if file.exists():
        found = read_json(file, "the configuration of a run")
        # As every run was before there was a choice.
        found = {name: value for name, value in BEFORE.items() if name in config} | found
        differing = [key for key in sorted(set(found) | set(config)) if found.get(key) != config.get(key)]
        if differing:
            said = ", ".join(f"{key} {found.get(key)!r} there and {config.get(key)!r} here" for key in differing)
            raise ValueError(
                f"A work folder belongs to one configuration, but {workdir} differs: {said}; give another workdir, "
                "or the options of that run to resume it."
            )
    else:
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(config, indent=2).encode())
    return workdir


def load_network(path: Path, role: str = "pretrained") -> keras.Model:
    """The network of a `.keras` file, of its own or inside an estimator, or of a preset.

    Args:
        path: of the file; or a name of `presets.names()`.
        role: what an error calls the network.

    Returns:
        A `keras.Model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, or an estimator of several networks, or if there is no such preset.
        presets.FetchError: if the weights of a preset cannot be fetched.

    Example:
        >>> from kerapose import training
        >>> network = training.load_network("runs/topdown/model.keras")
        >>> type(network).__name__, network.input_shape
        ('SimpleBaseline', (None, 64, 48, 3))
    """
    if presets.is_name(path):
        return getattr(models, presets.get(path).network).from_preset(path)
    found = read(path, f"A {role} network")
    inner = getattr(found, "network", None)
    if isinstance(inner, dict):  # of an `ActionRecognizer`, by modality
        if len(inner) > 1:
            raise ValueError(
                f"A {role} network is a single one, got those of {' and '.join(sorted(inner))} in {path}; give the "
                "best.keras of one of them."
            )
        (inner,) = inner.values()
    return inner if isinstance(inner, keras.Model) else found


def start_from(network: keras.Model, path: Path, options_to_match: str) -> list[str]:
    """Copies the weights of a trained network, but for those that another number of outputs gives another shape.

    Args:
        network: to be trained.
        path: of a `.keras` file of the same kind of network.
        options_to_match: those that an error tells to give as that network had them.

    Returns:
        The names of the layers that are new.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, or a layer has another name or shape there.

    Example:
        >>> from kerapose import models, training
        >>> network = models.C3D(60, input_shape=(8, 32, 32, 17), base_filters=4, num_stages=3)
        >>> new = training.start_from(network, "runs/poseconv3d/model.keras", "base_filters")  # of 2 classes
        >>> new == [network.layers[-1].name]  # all but the classifier is copied
        True
    """
    trained = load_network(path)
    ours, theirs = ({layer.name: layer for layer in model.layers if layer.weights} for model in (network, trained))
    outputs, outputs_there = network.output_shape[-1], trained.output_shape[-1]
    new = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        shapes, shapes_there = (
            [tuple(weight.shape) for weight in layers[name].weights] if name in layers else "none"
            for layers in (ours, theirs)
        )
        if shapes == shapes_there:
            continue
        if shapes_there == "none" or shapes != _replaced(shapes_there, outputs_there, outputs):
            raise ValueError(
                f"A pretrained network has the layers of the one to train, but {name} {shapes} meets {shapes_there} "
                f"in {path}; give the same {options_to_match}."
            )
        new.append(name)
    for name in set(ours) - set(new):
        ours[name].set_weights(theirs[name].get_weights())
    return new


def load_start(network: keras.Model, source: Path) -> None:
    """Gives a network what one for ImageNet has learnt, of a file or of a preset: see `weights.load_backbone`.

    Args:
        network: to be trained.
        source: of the file; or a name of `presets.names(task="start")`.
    """
    if presets.is_name(source):
        preset = presets.get(source)
        if preset.task != "start":
            starts = ", ".join(presets.names("start"))
            raise ValueError(f"A backbone starts from one of {starts}, got the preset {source}; use one of them.")
        source = presets.fetch(preset)
    weights.load_backbone(network, source)


def _replaced(shapes, old, new):
    """Shapes with every side of one length brought to another."""
    return [tuple(new if side == old else side for side in shape) for shape in shapes]
