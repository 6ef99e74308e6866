"""A run that is killed and started again ends as one that was not."""

import contextlib
import hashlib
import json
import math
import pathlib
import zipfile

import keras
import numpy as np
from absl import logging

from kerapose.evaluation.progress import in_terminal
from kerapose.files import whole
from kerapose.training.workers import workers_of
from kerapose.types import Path


class Resume(keras.callbacks.Callback):
    """Keeps the whole state of a training run after every epoch, and the best weights as `best.keras`.

    The state is one file, replaced as a whole: weights, optimizer, dropout's generators, figures of past epochs. With
    batches that depend on their number alone (`clips.training(first_step=...)`), a run killed at any moment and started
    again ends with the same weights as one that was not. Keras shuffles arrays by generators of its own: give
    `shuffle=False` with them.

    Where there is no terminal, it also prints the epoch's figures in one line.

    Args:
        folder: where `state.npz` and `best.keras` are, or will be.
        monitor: the figure that decides which weights are best; the greatest wins, the earliest among equals; NaN never
            does. None: the last weights are kept.
        least: whether the least figure wins instead.
        networks: {file name: network}, what is kept with the best weights. None: the model's attribute `network` if it
            has one, else the model itself, as `best.keras`.

    Example:
        >>> import keras
        >>> from kerapose import training
        >>> def make_model():
        ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        ...     model.compile(keras.optimizers.SGD(0.1), "mse")
        ...     return model
        >>> x, y = np.ones((4, 1)), np.ones((4, 1))
        >>> for epochs in (2, 3):  # the second run goes on where the first one ended
        ...     model, resume = make_model(), training.Resume("runs/line", "loss", least=True)
        ...     options = {"initial_epoch": resume.restore(model), "shuffle": False, "verbose": 0}
        ...     history = model.fit(x, y, epochs=epochs, callbacks=[resume], **options)
        Epoch 1/2: loss 1
        Epoch 2/2: loss 0.36
        Epoch 3/3: loss 0.1296
    """

    def __init__(
        self,
        folder: Path,
        monitor: str | None = None,
        least: bool = False,
        networks: dict[str, keras.Model] | None = None,
    ):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.monitor = monitor
        self.sign = -1 if least else 1
        self.networks = networks
        self.history = None  # dicts of figures, an epoch each; None: not asked for yet

    @property
    def file(self) -> pathlib.Path:
        """Where the state is."""
        return self.folder / "state.npz"

    @property
    def writes(self) -> bool:
        """Whether this process keeps anything: of several workers the first one alone does."""
        return workers_of(self.model).is_chief

    def restore(self, model: keras.Model) -> int:
        """Puts the state of the last whole epoch, if there is one, into a model; to be called before every `fit`.

        Args:
            model: built and compiled.

        Returns:
            How many epochs are done, `fit`'s `initial_epoch`.

        Raises:
            ValueError: if the model is not built and compiled, or the state is that of another model; the model is as
                it was then.
        """
        variables = _all_variables(model)
        with workers_of(model).file_of_chief(self.file) as file:
            if not file.exists():
                self.history = []
                return 0
            arrays, fingerprint, history = _read(file)
        if fingerprint != _fingerprint(variables):
            raise ValueError(
                f"{self.file} was written by another model than the one being trained; give another folder, or the "
                "model of that run."
            )
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"variable_{i}"])
        self.history = history
        return len(history)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Refuses a model that `restore` was not called with."""
        if self.history is None:
            raise ValueError(
                f"A run must be looked for in {self.folder} before one is trained there; give fit "
                "initial_epoch=resume.restore(model)."
            )
        if self.history:
            logging.info("Resuming after epoch %d.", len(self.history))
        if not self.history:  # what was there before the first epoch, should that be cut short
            self._write()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Refuses an epoch that does not come after those that are done."""
        if epoch != len(self.history):
            raise ValueError(
                f"initial_epoch must be the number of epochs done, {len(self.history)} in {self.folder}, got {epoch}; "
                "give fit initial_epoch=resume.restore(model)."
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Tells the figures where there is no terminal; writes the state, and the best weights if they are new."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not in_terminal() and self.writes:
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"Epoch {epoch + 1}/{(self.params or {}).get('epochs')}: {said}", flush=True)
        if self._is_best(figures) and self.writes:
            for name, network in (self.networks or {"best.keras": getattr(self.model, "network", self.model)}).items():
                with whole(self.folder / name) as part:
                    network.save(part)
        self.history.append(figures)
        self._write()

    def _is_best(self, figures):
        """Whether the monitored figure is better than that of every epoch before."""
        if self.monitor is None:
            return True
        if self.monitor not in figures:
            raise ValueError(
                f"monitor must be a figure of the epochs, {', '.join(figures)}, got {self.monitor!r}; give another, or "
                "fit the data that it is of."
            )
        own, *past = (
            -math.inf if math.isnan(each[self.monitor]) else self.sign * each[self.monitor]
            for each in (figures, *self.history)
        )
        return all(own > other for other in past)

    def _write(self):
        variables = _all_variables(self.model)
        arrays = {f"variable_{i}": np.asarray(variable) for i, variable in enumerate(variables)}
        if not self.writes:  # but it may have had a part in what was read
            return
        with whole(self.file) as part:
            np.savez(part, history=json.dumps(self.history), fingerprint=_fingerprint(variables), **arrays)


def _read(file):
    """The arrays of a state, its fingerprint, and the figures of its epochs."""
    try:
        with np.load(file) as state:
            arrays = dict(state)
        return arrays, str(arrays.pop("fingerprint")), json.loads(str(arrays.pop("history")))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} must be the state of a run, it is something else; give another folder, or move it away."
        ) from error


def _all_variables(model):
    """Weights, dropout's generators and the optimizer's variables, in a fixed order."""
    if not model.weights or not model.compiled:
        lacking = "compile it" if model.weights else "call it on a batch"
        raise ValueError(f"A model to be resumed must be built and compiled, {model.name} is not; {lacking} first.")
    if not model.optimizer.built:
        strategy = getattr(model, "distribute_strategy", None)  # of TensorFlow alone
        with strategy.scope() if strategy else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)
    weights = model.weights
    known = {id(weight) for weight in weights}
    generators = [variable for variable in model.variables if id(variable) not in known]
    return [*weights, *generators, *model.optimizer.variables]


def checksum(model: keras.Model) -> str:
    """A sum of all values that a training goes on from: where several workers train, all have the same."""
    digest = hashlib.sha256()
    for variable in _all_variables(model):
        digest.update(np.asarray(variable).tobytes())
    return digest.hexdigest()[:16]


def _fingerprint(variables):
    description = ";".join(f"{tuple(variable.shape)}{variable.dtype}" for variable in variables)
    return hashlib.sha256(description.encode()).hexdigest()
