"""What the training scripts share: the work folder, resuming, the optimizer, datasets by name, devices."""

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from kerapose import metrics
from kerapose.data import clips, prepared

BUILD = pathlib.Path(__file__).resolve().parent.parent / "datasets" / "build.py"
NEEDS_NO_FILES = ("puppets",)  # datasets that are made, not read


def define_flags(workdir, batch_size, epochs):
    """The flags that every training script has; read them with `flags.FLAGS`."""
    flags.DEFINE_string("workdir", workdir, "Folder of checkpoints, curves and figures; a run found there is resumed.")
    flags.DEFINE_string("data_dir", None, "Where datasets/build.py put the dataset; by default TFDS's own folder.")
    flags.DEFINE_integer("batch_size", batch_size, "Samples a step, over all devices.", lower_bound=1)
    flags.DEFINE_integer("epochs", epochs, "Passes over the training split.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of initialization, shuffling, augmentation and dropout.", lower_bound=0)
    flags.DEFINE_enum(
        "precision",
        "auto",
        ["auto", "float32", "mixed_bfloat16", "mixed_float16"],
        "Of the computation; weights are float32. auto: mixed_bfloat16 on a CPU that multiplies in it, else float32.",
    )
    flags.DEFINE_bool(
        "deterministic",
        None,
        "Whether the same seed gives the same weights, to the last bit, and a run that was cut short and resumed those "
        "of one that was not. By default on a CPU, where it costs little, and off on a GPU, where it costs more: "
        "slower operations, and none compiled by XLA.",
    )
    flags.DEFINE_enum("strategy", "none", ["none", "mirrored"], "mirrored: a copy of the model on each device.")
    flags.DEFINE_bool("export", False, "Whether to write a SavedModel at the end.")


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


def in_terminal():
    """Whether somebody looks on as it happens: without a terminal there is a line an epoch, and no bar."""
    return sys.stdout.isatty()


def make_bar(count, unit_name):
    """A bar of so many units, None for nobody knows; without a terminal a line at its end, if that is known."""
    return keras.utils.Progbar(count, unit_name=unit_name, verbose=1 if in_terminal() else 2)


def make_strategy(name):
    """The `tf.distribute` strategy of a flag: one device, or a copy of the model on each."""
    if name == "none":
        return tf.distribute.get_strategy()
    devices = _gpus() or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    logging.info("Mirrored over %d devices.", strategy.num_replicas_in_sync)
    return strategy


def load_split(name, split, data_dir, read=clips.from_tfds):
    """One split of a dataset, after preparing one that needs no files of the user's.

    Args:
        name: of the dataset, as TFDS has it.
        split: name of the split.
        data_dir: where the dataset is. None: TFDS's own folder.
        read: the `from_tfds` of a pipeline.

    Returns:
        What `read` gives for the three.
    """
    try:
        return read(name, split, data_dir)
    except clips.NotPreparedError:
        if name.split("/")[0] not in NEEDS_NO_FILES:
            raise
    logging.info("Preparing %s, once.", name)
    command = [sys.executable, str(BUILD), name] + ([f"--data_dir={data_dir}"] if data_dir else [])
    subprocess.run(command, check=True, env=os.environ | ({} if in_terminal() else {"TQDM_DISABLE": "1"}))
    return read(name, split, data_dir)


def names_to_skip(config, role):
    """Which samples of a split --skip names.

    Args:
        config: dict of "dataset", "data_dir", "skip", and "train_split" or that of another role.
        role: "train", "validation" or "test".

    Returns:
        A list of names; empty, without a look at the dataset, where nothing is to be skipped.
    """
    if not config["skip"]:
        return []
    split = config[f"{role}_split"]
    builder = prepared.find(config["dataset"], split, config["data_dir"])
    records = builder.as_dataset(split=split, shuffle_files=False).map(lambda record: record["name"])
    present = {name.decode() for name in records.as_numpy_iterator()}
    return sorted(present.intersection(config["skip"]))


def refuse_strangers(config, skipped):
    """Raises a ValueError if --skip names a sample that no split had; `skipped` are the names that splits had."""
    strangers = sorted(set(config["skip"]).difference(skipped))
    if strangers:
        raise ValueError(
            f"--skip names samples of {config['dataset']}, {strangers[0]!r} is in none of its splits; correct the name."
        )


def load_images(config, pipeline):
    """Reads and checks the splits of a dataset of images, and leaves out what is not to be used.

    Args:
        config: dict of "dataset", "data_dir", "skip", "check", and "train_split", "validation_split" (empty: none) and
            "test_split".
        pipeline: `data.crops` or `data.people`.

    Returns:
        {"train": what can be learnt from, "validation": elements or None, "test": elements}, and their `Skeleton`.

    Raises:
        ValueError: if the dataset cannot be trained on, or has no image that is to be skipped.
    """
    splits, left_out = {"validation": None}, set()
    for role in ("train", "validation", "test"):
        name, split = config["dataset"], config[f"{role}_split"]
        if role == "validation" and not split:
            continue
        elements, skeleton = load_split(name, split, config["data_dir"], pipeline.from_tfds)
        if config["skip"]:
            present = set(config["skip"]) & set(pipeline.annotations(elements, skeleton)["name"])
            elements, left_out = pipeline.skip(elements, present), left_out | present
        if config["check"]:
            logging.info("%s: %d people of %s, split %s.", role, pipeline.check(elements, skeleton), name, split)
        splits[role] = pipeline.trainable(elements, skeleton) if role == "train" else elements
    strangers = sorted(set(config["skip"]) - left_out)
    if strangers:
        raise ValueError(f"--skip names an image of {config['dataset']}, {strangers[0]} is none; correct the name.")
    return splits, skeleton


def define_flip_flags(probability, flip_test):
    """Defines the flags of mirroring clips, for scripts of actions.

    Args:
        probability: default of --flip_probability.
        flip_test: default of --flip_test.
    """
    flags.DEFINE_float(
        "flip_probability", probability, "Of mirroring a clip; 0: none is.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_bool("flip_test", flip_test, "Whether the final test averages with the mirrored clips.")
    flags.DEFINE_list(
        "flip_pairs", None, "LEFT:RIGHT,... classes that change places in a mirror; by default found by their names."
    )


def flip_labels(class_names, config):
    """Which class each becomes in a mirror, by the flags of `define_flip_flags`; None where nothing is mirrored."""
    pairs = config["flip_pairs"]
    if pairs is not None:
        pairs = [tuple(pair.split(":")) for pair in pairs]
        bad = [":".join(pair) for pair in pairs if len(pair) != 2]
        if bad:
            raise ValueError(f"--flip_pairs must be pairs like wave_left:wave_right, got {bad[0]!r}; correct it.")
    elif not config["flip_probability"] and not config["flip_test"]:
        return None
    return clips.mirrored_labels(class_names, pairs)


def can_measure_ap(skeleton):
    """Whether a skeleton has the sigmas that average precision is measured by; if not, that is told."""
    try:
        metrics.sound_sigmas(skeleton.sigmas, skeleton.num_keypoints)
    except ValueError as error:
        logging.warning("AP of %s is not measured: %s", skeleton.name, error)
        return False
    return True


def open_workdir(workdir, config):
    """Makes the work folder, or checks that the run found there has the same configuration.

    Args:
        workdir: path.
        config: dict of everything that the result depends on. "deterministic" may be None, as the flag is if it was
            not given.

    Returns:
        The folder as a path.

    Raises:
        ValueError: if the folder holds a run of another configuration; nothing in it is touched.
    """
    workdir = pathlib.Path(workdir)
    file = workdir / "config.json"
    config = json.loads(json.dumps(config))
    if "deterministic" in config:
        config["deterministic"] = is_deterministic(config)
    if file.exists():
        found = json.loads(file.read_text())
        if "deterministic" in config:
            found = {"deterministic": True} | found  # as every run was before there was a choice
        differing = [key for key in sorted(set(found) | set(config)) if found.get(key) != config.get(key)]
        if differing:
            said = ", ".join(f"{key} {found.get(key)!r} there and {config.get(key)!r} here" for key in differing)
            raise ValueError(
                f"A work folder belongs to one configuration, but {workdir} differs: {said}; give another --workdir, "
                "or the flags of that run to resume it."
            )
    else:
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(config, indent=2).encode())
    return workdir


def load_network(path, role="pretrained"):
    """The network of a `.keras` file; `role` is what an error calls it."""
    if not pathlib.Path(path).is_file():
        raise ValueError(f"A {role} network is a .keras file, got {path}, which does not exist; check the path.")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever unzipping, parsing and rebuilding may raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"A {role} network is a .keras file, {path} cannot be read: {reason}") from error


def start_from(network, path, flags_to_match):
    """Copies the weights of a trained network, but for those that another number of outputs gives another shape.

    Args:
        network: to be trained.
        path: of a `.keras` file of the same kind of network.
        flags_to_match: the flags that an error tells to give as that network had them.

    Returns:
        The names of the layers that are new.

    Raises:
        ValueError: if there is no such file, or a layer has another name or shape there.
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
                f"in {path}; give the same {flags_to_match}."
            )
        new.append(name)
    for name in set(ours) - set(new):
        ours[name].set_weights(theirs[name].get_weights())
    return new


@contextlib.contextmanager
def whole(path):
    """Gives a path to write to and puts the file in place at the end: a kill leaves the old one or the new one.

    Args:
        path: of the file; what is written to in its stead has the same ending.

    Example:
        >>> with whole("runs/poseconv3d/joint/best.keras") as part:
        ...     network.save(part)
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    yield part
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def write_whole(path, content):
    """Writes bytes as `whole` does."""
    with whole(path) as part:
        part.write_bytes(content)


@keras.saving.register_keras_serializable("kerapose")
class SGDL2(keras.optimizers.SGD):
    """SGD with weight decay as PyTorch has it: added to the gradient after clipping, and so subject to the momentum.

    Keras's own `weight_decay` is decoupled from the momentum; with it, published recipes decay ten times too little.

    Args:
        l2: the published weight decay.
    """

    def __init__(self, learning_rate=0.01, l2=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        decayed = gradient + keras.ops.cast(variable, gradient.dtype) * self.l2
        super().update_step(decayed, variable, learning_rate)

    def get_config(self):
        return super().get_config() | {"l2": self.l2}


@keras.saving.register_keras_serializable("kerapose")
class AdamL2(keras.optimizers.Adam):
    """Adam with PyTorch's groups of weights: weight decay added to the gradient, and a learning rate for each group.

    Args:
        l2: {path of a variable: its published weight decay}; others have none.
        rates: {path of a variable: factor of the learning rate}; others have 1.

    Raises:
        ValueError: in `build`, if a path is not that of a variable to be trained.

    Example:
        >>> optimizer = AdamL2(4e-5, l2={"conv/kernel": 5e-4}, rates={"conv/bias": 2.0})
    """

    def __init__(self, learning_rate=0.001, l2=None, rates=None, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2 = dict(l2 or {})
        self.rates = dict(rates or {})

    def build(self, variables):
        paths = [variable.path for variable in variables]
        strangers = sorted((set(self.l2) | set(self.rates)) - set(paths))
        if strangers:
            raise ValueError(f"l2 and rates are of variables to be trained, {strangers[0]} is none; correct the path.")
        self._of_index = [(self.l2.get(path, 0.0), self.rates.get(path, 1.0)) for path in paths]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        l2, rate = self._of_index[self._get_variable_index(variable)]
        decayed = gradient + keras.ops.cast(variable, gradient.dtype) * l2
        super().update_step(decayed, variable, learning_rate * rate)

    def get_config(self):
        return super().get_config() | {"l2": self.l2, "rates": self.rates}


@keras.saving.register_keras_serializable("kerapose")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is multiplied by a factor at some steps, after an optional linear rise from 0.

    Args:
        peak: the learning rate before the first of the steps.
        boundaries: steps, counted from 0, at which it is multiplied.
        factor: by which.
        warmup_steps: over which it rises to the peak.

    Example:
        >>> schedule = StepDecay(1e-3, [90 * steps_per_epoch, 120 * steps_per_epoch])
    """

    def __init__(self, peak, boundaries, factor=0.1, warmup_steps=0):
        self.peak = peak
        self.boundaries = [int(step) for step in boundaries]
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rate = self.peak * keras.ops.minimum(1.0, step / self.warmup_steps if self.warmup_steps else 1.0)
        for boundary in self.boundaries:
            rate = keras.ops.where(step >= boundary, rate * self.factor, rate)
        return rate

    def get_config(self):
        names = ("peak", "boundaries", "factor", "warmup_steps")
        return {name: getattr(self, name) for name in names}


def set_decay_epochs(config, recipe, given):
    """Epochs done when the learning rate falls: those that were given, else the recipe's in proportion to the epochs.

    Args:
        config: dict with "epochs" and "decay_epochs".
        recipe: dict with those that the recipe has.
        given: the flags that were given.

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
            f"Each of --decay_epochs is less than the {config['epochs']} of --epochs, got {late[0]}; leave it out."
        )
    return config


def make_schedule(config, steps, factor):
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


def cosine_decay(peak, total_steps, warmup_steps):
    """The learning rate of half a cosine from a peak to 0, after a linear rise from 0."""
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else peak,
        max(1, total_steps - warmup_steps),
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


class Resume(keras.callbacks.Callback):
    """Keeps the whole state of a training run after every epoch, and the best weights as `best.keras`.

    Where there is no terminal, it also prints the epoch's figures in one line; `fit` is told `verbose=in_terminal()`.

    The state is one file, replaced as a whole: weights, optimizer, dropout's generators, figures of past epochs. With a
    pipeline that can skip (`clips.training(first_step=...)`), a run killed at any moment and started again ends with
    the same weights as one that was not.

    Args:
        folder: where `state.npz` and `best.keras` are.
        monitor: the figure that decides which weights are best; the greatest wins, the earliest among equals. None:
            the last weights are kept.
        least: whether the least figure wins instead.
        networks: those to keep with the best weights, by file name. None: the model's attribute `network`, as
            `best.keras`.
    """

    def __init__(self, folder, monitor, least=False, networks=None):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.monitor = monitor
        self.sign = -1 if least else 1
        self.networks = networks
        self.history = []

    def restore(self, model):
        """Puts the state of the last whole epoch into a compiled model; returns how many epochs are done."""
        file = self.folder / "state.npz"
        if not file.exists():
            return 0
        variables = _all_variables(model)
        with np.load(file) as state:
            self.history = json.loads(str(state["history"]))
            if str(state["fingerprint"]) != _fingerprint(variables):
                raise ValueError(
                    f"{file} was written by another model than the one being trained; give another --workdir."
                )
            for i, variable in enumerate(variables):
                variable.assign(state[f"variable_{i}"])
        logging.info("Resuming after epoch %d.", len(self.history))
        return len(self.history)

    def on_epoch_end(self, epoch, logs=None):
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not in_terminal():
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"Epoch {epoch + 1}/{(self.params or {}).get('epochs')}: {said}", flush=True)
        if self.monitor is None or all(self._better(figures, past) for past in self.history):
            for name, network in (self.networks or {"best.keras": self.model.network}).items():
                with whole(self.folder / name) as part:
                    network.save(part)
        self.history.append(figures)
        variables = _all_variables(self.model)
        arrays = {f"variable_{i}": np.asarray(variable) for i, variable in enumerate(variables)}
        with whole(self.folder / "state.npz") as part:
            np.savez(part, history=json.dumps(self.history), fingerprint=_fingerprint(variables), **arrays)

    def _better(self, figures, past):
        return self.sign * figures[self.monitor] > self.sign * past[self.monitor]


def _all_variables(model):
    """Weights, dropout's generators and the optimizer's variables, in a fixed order."""
    generators = [layer.seed_generator.state for layer in model._flatten_layers() if hasattr(layer, "seed_generator")]
    return [*model.weights, *generators, *model.optimizer.variables]


def _fingerprint(variables):
    description = ";".join(f"{tuple(variable.shape)}{variable.dtype}" for variable in variables)
    return hashlib.sha256(description.encode()).hexdigest()


def _replaced(shapes, old, new):
    """Shapes with every side of one length brought to another."""
    return [tuple(new if side == old else side for side in shape) for shape in shapes]


def _gpus():
    return tf.config.list_logical_devices("GPU")


def _cpu_multiplies_bfloat16():
    """Whether the processor says that it has matrix or vector instructions for bfloat16 (Linux)."""
    try:
        said = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in said or "avx512_bf16" in said
