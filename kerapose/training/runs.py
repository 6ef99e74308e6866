"""A training from its options to a file that knows itself: what all of them have in common."""

import json

import keras
from absl import logging

import kerapose
from kerapose.evaluation.progress import in_terminal
from kerapose.files import whole, write_whole
from kerapose.training import pictures
from kerapose.training.devices import set_up
from kerapose.training.options import choose, free_names
from kerapose.training.resume import Resume
from kerapose.training.workdir import load_network, open_workdir


class Stage:
    """A compiled model with its data in a folder: trained, or gone on with where it was cut short.

    Args:
        model: a compiled `keras.Model` whose attribute `network` is what is kept, unless `networks` says more.
        folder: of `state.npz` and `best.keras`; what is found there is resumed.
        batches: function of `first_step`, the number of steps done, that gives endless batches from there on.
        steps: of an epoch.
        epochs: to be done.
        validation: batches whose figures are told after each epoch. None: there are none.
        monitor: the figure that decides which weights are best. None: the last ones are kept.
        least: whether the least figure wins instead of the greatest.
        networks: {file name: network} to be kept in place of the model's.
        callbacks: of this training; their pictures are drawn before its state is kept.

    Example:
        >>> stage.model.fit(**stage.arguments())
        >>> network = stage.best()
    """

    def __init__(
        self,
        model,
        folder,
        batches,
        steps,
        epochs,
        validation=None,
        monitor=None,
        least=False,
        networks=None,
        callbacks=(),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.model = model
        self.folder = folder
        self.batches = batches
        self.steps = steps
        self.epochs = epochs
        self.validation = validation
        self.callbacks = list(callbacks)
        self.resume = Resume(folder, monitor, least, networks)
        self.done = self.resume.restore(model)

    @property
    def is_done(self):
        """Whether nothing is left to be trained."""
        return self.done >= self.epochs

    def arguments(self):
        """What `model.fit` is to be given, by name."""
        return {
            "x": self.batches(first_step=self.done * self.steps),
            "epochs": self.epochs,
            "initial_epoch": self.done,
            "steps_per_epoch": self.steps,
            "shuffle": False,  # the pipeline does that
            "verbose": in_terminal(),
            "validation_data": self.validation,
            "callbacks": [*self.callbacks, self.resume, _Curves(self.resume)],
        }

    def fit(self):
        """Trains what is left, if anything."""
        if not self.is_done:
            self.model.fit(**self.arguments())
            self.done = self.epochs

    def best(self, name="best.keras"):
        """The network of the best weights, read from its file."""
        return load_network(self.folder / name, "trained")


class _Curves(keras.callbacks.Callback):
    """Draws the curves of all epochs beside the state, when all are done."""

    def __init__(self, resume):
        super().__init__()
        self.resume = resume

    def on_train_end(self, logs=None):
        pictures.save_curves(self.resume.folder / "curves.png", self.resume.history)


class Training:
    """A whole training: its options, its data, one stage or several, its test, and the file that is left of it.

    A subclass says what may be chosen (`OPTIONS`, `RECIPES`), and has `load`, `stages`, `estimator`, `evaluate` and
    `draw`. Options are checked, data are read and networks built once, before a work folder is taken: an option may be
    mistaken. Where the work folder holds a run with the same options, it is gone on with.

    Args:
        workdir: folder of the run. None: the option's default.
        **options: of `OPTIONS`, by name.

    Raises:
        ValueError: if an option is unknown, cannot have its value, or does not fit the data; if the folder holds a run
            with other options.

    Example:
        >>> training = PoseConv3D("runs/mine", dataset="puppets")
        >>> for stage in training.stages():
        ...     stage.model.fit(**stage.arguments())
        >>> training.finish()["joint"]["top1"]
        0.926
        >>> recognize = predictors.load("runs/mine/model.keras")
    """

    OPTIONS = ()  # `Option`s
    RECIPES = {}  # {"published": {name: value of an option that is not given}, "small": ...}
    SMALL_DATASET = None  # for which the recipe is small by default

    def __init__(self, workdir=None, **options):
        given = {"workdir": None if workdir is None else str(workdir)} | options
        self.given = {name: value for name, value in given.items() if value is not None}
        self.config = self.resolve(choose(self.OPTIONS, given))
        self.load()
        set_up(self.config)
        self.prepare()
        free = free_names(self.OPTIONS)
        self.workdir = open_workdir(
            self.config["workdir"], {name: value for name, value in self.config.items() if name not in free}
        )

    def resolve(self, config):
        """The value of every option, where none was given the recipe's; refuses what does not go together."""
        if not self.RECIPES:
            return config
        name = config["recipe"] or ("small" if config["dataset"] == self.SMALL_DATASET else "published")
        recipe = {key: value for key, value in self.recipe(name, config).items() if key not in self.given}
        return config | recipe | {"recipe": name}

    def recipe(self, name, config):
        """The values of a recipe."""
        return self.RECIPES[name]

    def load(self):
        """Reads and checks the data."""
        raise NotImplementedError

    def prepare(self):
        """Builds what may be mistaken, before a folder is taken."""

    def stages(self):
        """Yields the `Stage`s, one after another: each may begin with what the one before has left."""
        raise NotImplementedError

    def estimator(self):
        """The estimator with the best weights, once all stages are done."""
        raise NotImplementedError

    def evaluate(self, estimator):
        """The figures of the test split, for JSON."""
        raise NotImplementedError

    def draw(self, estimator):
        """Writes pictures of what the estimator makes of the test split, once that was evaluated."""

    def export(self, estimator, path):
        """Writes the estimator as a SavedModel."""
        raise NotImplementedError

    def fit(self):
        """Trains all stages, each from where it was cut short."""
        for stage in self.stages():
            stage.fit()

    def finish(self):
        """Tests what was trained, and writes the file that knows itself, pictures and figures.

        Returns:
            What `metrics.json` holds.
        """
        estimator = self.estimator()
        results = self.evaluate(estimator)
        estimator.training = self.record(results)
        with whole(self.workdir / "model.keras") as part:
            estimator.save(part)
        self.draw(estimator)
        if self.config["export"]:
            # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
            path = self.workdir / "saved_model" / "1"
            self.export(estimator, path)
            logging.info("Wrote %s.", path)
        # The figures last: they tell of an end.
        write_whole(self.workdir / "metrics.json", json.dumps(results, indent=2).encode())
        return results

    def record(self, results):
        """How it was trained, for the file: the options that count, and the figures."""
        free = free_names(self.OPTIONS)
        return {
            "kerapose": kerapose.__version__,
            "kind": type(self).__name__,
            "options": {name: value for name, value in self.config.items() if name not in free},
            "figures": results,
        }

    def run(self):
        """Trains, tests and writes all; returns the figures."""
        self.fit()
        return self.finish()
