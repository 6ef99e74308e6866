"""A run that is killed and started again ends as one that was not."""

import hashlib
import json
import pathlib

import keras
import numpy as np
from absl import logging

from kerapose.evaluation.progress import in_terminal
from kerapose.files import whole


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
                    f"{file} was written by another model than the one being trained; give another workdir."
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
