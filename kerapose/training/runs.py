"""A training from its options to a file that knows itself: what all of them have in common."""

import functools
import json
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator

import keras
import tensorflow as tf
from absl import logging

import kerapose
from kerapose import estimators, layers, presets
from kerapose.data import service
from kerapose.data.shapes import few_shapes
from kerapose.estimators.published import estimator_of
from kerapose.evaluation.progress import in_terminal
from kerapose.files import whole, write_whole
from kerapose.models.reading import SAVED
from kerapose.training import data, pictures
from kerapose.training.devices import check_batch_size, filled_up, is_deterministic, make_strategy, set_up
from kerapose.training.jax_devices import DataParallel, begin
from kerapose.training.multi_worker import MultiWorkers
from kerapose.training.options import OF_SEVERAL_HOSTS, Option, choose, free_names, names_tested
from kerapose.training.resume import Resume, checksum
from kerapose.training.workdir import load_network, open_workdir
from kerapose.training.workers import Workers, workers_of
from kerapose.types import Path


class Stage:
    """A compiled model with its data in a folder: trained, or gone on with where it was cut short.

    Args:
        model: built and compiled; what is kept of it is its attribute `network`, or what `networks` says.
        folder: of `state.npz` and `best.keras`; what is found there is resumed.
        batches: function of `first_step`, the number of steps done, that gives endless batches from there on; where
            several workers train, of `share`, too, this worker's part of each batch (`data.order.Share`).
        steps: of an epoch.
        epochs: to be done.
        validation: batches whose figures are told after each epoch. None: there are none.
        monitor: the figure that decides which weights are best. None: the last ones are kept.
        least: whether the least figure wins instead of the greatest.
        networks: {file name: network} to be kept in place of the model's.
        callbacks: of this training; their pictures are drawn before its state is kept.
        batch_size: samples of a batch, which several devices share; the last one of the validation is `filled_up`.
        sync_batch_norm: whether the batch norms of several devices and workers see the whole batch.
        data_service: "grpc://HOST:PORT" of a tf.data service whose workers make the batches (`data.service`). None:
            this process does.

    Raises:
        ValueError: if the folder holds the state of another model; if several devices are to share the validation, and
            no batch size is given; if the optimizer does what Keras cannot do on several devices; if the batches cannot
            be made by a service.
        ConnectionError: if there is no service.
        WorkerLostError: by `fit`, if one of several workers ends.

    Example:
        >>> import keras
        >>> import tensorflow as tf
        >>> from kerapose import training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> def batches(first_step):  # endless, from that step on
        ...     return tf.data.Dataset.from_tensors((np.ones((4, 1)), np.ones((4, 1)))).repeat()
        >>> stage = training.Stage(model, "runs/stage", batches, steps=1, epochs=2)
        >>> history = model.fit(**stage.arguments())
        Epoch 1/2: loss 1
        Epoch 2/2: loss 0.36
        >>> stage.is_done, stage.best().output_shape
        (True, (None, 1))
    """

    def __init__(
        self,
        model: keras.Model,
        folder: Path,
        batches: Callable[..., tf.data.Dataset],
        steps: int,
        epochs: int,
        validation: tf.data.Dataset | None = None,
        monitor: str | None = None,
        least: bool = False,
        networks: dict[str, keras.Model] | None = None,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        batch_size: int | None = None,
        sync_batch_norm: bool = False,
        data_service: str | None = None,
    ):
        self.model = model
        self.workers = workers_of(model)
        self.folder = pathlib.Path(folder)
        self.batches = batches if data_service is None else service.served(batches, data_service)
        self.steps = steps
        self.epochs = epochs
        validation = None if validation is None else few_shapes(validation)
        if self.workers.devices > 1:
            refuse_what_devices_cannot_share(model.optimizer)
            if sync_batch_norm:
                layers.synchronize(model)
            if validation is not None and batch_size is None:
                raise ValueError("Devices share batches of a known size, got batch_size None; give the validation's.")
            check_batch_size(batch_size, getattr(model, "distribute_strategy", self.workers))  # JAX's are one
            validation = None if validation is None else filled_up(validation, batch_size)
        self.batch_size = batch_size
        self.validation = validation
        self.callbacks = list(callbacks)
        self.resume = Resume(folder, monitor, least, networks)
        self.resume.restore(model)
        if self.workers.count > 1:
            self.workers.agree({"weights to begin with": checksum(model)})

    @property
    def done(self) -> int:
        """How many epochs are done."""
        return len(self.resume.history)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be trained."""
        return self.done >= self.epochs

    def arguments(self) -> dict[str, typing.Any]:
        """What `model.fit` is to be given, by name, to do what is left; the model gets the state of the last epoch.

        Where nothing is left, `fit` does nothing with them. Where it was interrupted, it begins that epoch anew.
        """
        done = self.resume.restore(self.model)
        if done < self.epochs and self.workers.is_chief:
            self._tell(done)
        batches = functools.partial(self.batches, first_step=done * self.steps)
        several, validation = self.workers.count > 1, self.validation
        divided = self.workers.divided_whole if several else self.workers.evenly
        shared = self.workers.divided(lambda share: batches(share=share)) if several else self.workers.evenly(batches())
        return {
            "x": few_shapes(shared),
            "epochs": self.epochs,
            "initial_epoch": done,
            "steps_per_epoch": self.steps,
            "shuffle": False,  # the pipeline does that
            "verbose": in_terminal() and self.workers.is_chief,
            "validation_data": validation and divided(validation),
            "validation_steps": int(validation.cardinality()) if several and validation else None,
            "callbacks": [*self.callbacks, self.resume, _Curves(self.resume)],
        }

    def _tell(self, done):
        """Says how much there is to do, and warns where an epoch is one step: few of them teach little."""
        of_size = "" if self.batch_size is None else f" (batch_size {self.batch_size})"
        logging.info(
            "%d step%s an epoch%s, epochs %d to %d; the first step takes longest.",
            self.steps,
            "" if self.steps == 1 else "s",
            of_size,
            done + 1,
            self.epochs,
        )
        if self.steps < 2 and self.batch_size != 1:
            logging.warning(
                "An epoch has 1 step, since all samples are in one batch%s; a smaller batch_size learns more.", of_size
            )

    def fit(self) -> None:
        """Trains what is left, if anything."""
        with self.workers.together():
            if not self.is_done:
                self.model.fit(**self.arguments())

    def best(self, name: str = "best.keras") -> keras.Model:
        """The network of the best weights, read from its file.

        Args:
            name: of the file, of those that are kept.

        Raises:
            ValueError: if no epoch is done.
        """
        if not self.done:
            raise ValueError(f"Weights are there after one epoch at least, got none in {self.folder}; train first.")
        with self.workers.file_of_chief(self.folder / name) as file:
            return load_network(file, "trained")


def refuse_what_devices_cannot_share(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuses an optimizer that Keras cannot use where several devices train."""
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        value = getattr(optimizer, name, None)
        if value:
            raise ValueError(
                f"{name} is of an optimizer of one device, got {value} where several train; leave it out"
                + (", and give a larger batch_size." if name.startswith("gradient") else ".")
            )


class _Curves(keras.callbacks.Callback):
    """Draws the curves of all epochs beside the state, when all are done."""

    def __init__(self, resume):
        super().__init__()
        self.resume = resume

    def on_train_end(self, logs=None):
        if not workers_of(self.model).is_chief:
            return
        pictures.save_curves(self.resume.folder / "curves.png", self.resume.history)


class Training:
    """A whole training: its options, its data, one stage or several, its test, and the file that is left of it.

    A subclass says what may be chosen (`OPTIONS`, `RECIPES`), and has `load`, `stages`, `estimator`, `evaluate` and
    `export`. Options are checked, data are read and networks built once, before a work folder is taken: an option may
    be mistaken. Where the work folder holds a run with the same options, it is gone on with.

    Seed, precision and determinism are set for the whole process, so that trainings of one process come one after
    another.

    Args:
        workdir: folder of the run. None: the option's default.
        **options: of `OPTIONS`, by name. None: as if not given.

    Attributes:
        given: {name: value} of the options that were given.
        config: {name: value} of all.
        strategy: of the devices, and of the workers.
        workers: who trains together, `training.workers.Workers`.
        workdir: the folder, a `pathlib.Path`; where several workers train, the first one alone writes there.

    Raises:
        NotPreparedError: if the data set is not there.
        BadDataError: if it cannot be trained on.
        ValueError: if an option is unknown, cannot have its value, or does not fit the data; if the folder holds a run
            with other options.

    Example:
        >>> from kerapose import training
        >>> where = {"dataset": "puppets/tracks", "data_dir": "."}
        >>> lifter = training.Lifter("runs/lifted", epochs=1, precision="float32", **where)
        >>> lifter.config["recipe"], lifter.config["batch_size"], lifter.workdir.name
        ('small', 256, 'lifted')
        >>> training.Lifter("runs/other", epoch=1, **where)
        Traceback (most recent call last):
            ...
        ValueError: Options of a training go by their names, got 'epoch'; did you mean epochs?
    """

    OPTIONS: typing.ClassVar[list[Option]] = []
    TASK: typing.ClassVar[str | None] = None  # of the presets that `test_preset` takes
    RECIPES: typing.ClassVar[dict] = {}  # {"published": {name: value of an option that is not given}, "small": ...}
    SMALL_DATASET: typing.ClassVar[str | None] = None  # for which the recipe is small by default

    def __init__(self, workdir: Path | None = None, **options: typing.Any):
        self._choose(workdir, options)
        self._share_out(self.config["strategy"])
        with self.workers.together():
            self.load()
            if self.workers.count > 1:
                self.workers.agree(self.seen())
            set_up(self.config)
            self.prepare()
            self.workdir = pathlib.Path(self.config["workdir"])
            self.workers.on_chief(lambda: str(open_workdir(self.workdir, self.lasting())))

    def _choose(self, workdir, options):
        given = {"workdir": workdir} | options
        config = choose(self.OPTIONS, given)
        self.given = {name: config[name] for name, value in given.items() if value is not None}
        self.config = self.resolve(config)

    def _share_out(self, strategy):
        """Makes the strategy, before anything is computed; workers whose options differ find out here."""
        config = self.config
        begin(config["export"])
        told = {name: value for name, value in config.items() if name not in free_names(self.OPTIONS)}
        given = (config["worker_hosts"], config["worker_index"], told)
        given = given if strategy in OF_SEVERAL_HOSTS else ()
        self.strategy = make_strategy(strategy, config["batch_size"], *given)
        self.workers = self.strategy if isinstance(self.strategy, Workers) else MultiWorkers(self.strategy)

    @classmethod
    def test_preset(cls, name: str, workdir: Path | None = None, **options: typing.Any) -> dict[str, typing.Any]:
        """Tests a published checkpoint by the paper's protocol, without any training.

        Args:
            name: of `presets.names()`.
            workdir: folder of figures and pictures. None: of the preset's name, in `runs`.
            **options: as of the training: "dataset", "test_split", "data_dir" and so on. What the estimator may choose
                (`num_clips`, `flip_test`) is the published test's unless given.

        Returns:
            What `metrics.json` holds: the figures of the test, and under "published" those that are published of the
            preset, each beside the one that was found here, with how the publisher measured.

        Raises:
            ValueError: if there is no such preset, it is for another task, or does not fit the data.
            presets.FetchError: if its weights cannot be fetched.
            NotPreparedError: if the data set is not there.

        Example:
            >>> from kerapose import training
            >>> name = "hrnet_w32_coco_256x192"
            >>> found = training.TopDown.test_preset(name, dataset="coco_keypoints/2017")  # doctest: +SKIP
            >>> found["published"]["figures"]["AP"]  # doctest: +SKIP
            {'found': 0.767, 'published': 0.749}
            >>> training.Lifter.test_preset(name)
            Traceback (most recent call last):
                ...
            ValueError: Lifter tests presets for lifting, got hrnet_w32_coco_256x192 for top-down pose; use another.
        """
        preset = presets.get(name)
        if preset.task != cls.TASK:
            tests = f"tests presets for {cls.TASK}" if cls.TASK else "has no presets to test"
            raise ValueError(f"{cls.__name__} {tests}, got {name} for {preset.task}; use another.")
        tested = names_tested(cls.OPTIONS)
        untested = sorted(name for name, value in options.items() if value is not None and name not in tested)
        if untested:
            raise ValueError(f"{untested[0]} is of a training, which {name} has behind it; leave it out.")
        training = cls.__new__(cls)
        training._choose(f"runs/{name}" if workdir is None else workdir, options)
        # As published: what is computed in 16 bits has other last digits.
        precision = training.config["precision"] if "precision" in training.given else "float32"
        training.config |= {"preset": name, "roles": ["test"], "precision": precision}
        training._share_out("none")
        training.load()
        training.refuse(preset)
        set_up(training.config)
        estimator = training.published(name)
        training.workdir = open_workdir(training.config["workdir"], training.lasting())
        results = training.evaluate(estimator)
        found = training.figures(results, preset)
        figures = {key: {"found": found.get(key), "published": value} for key, value in preset.published.items()}
        results |= {"published": {"preset": name, "measured": preset.publisher.measured, "figures": figures}}
        for key, both in figures.items():
            logging.info("%s of %s: %s here, %s published.", key, name, both["found"], both["published"])
        write_whole(training.workdir / "metrics.json", json.dumps(results, indent=2).encode())
        training.draw(estimator)
        logging.info("Done: figures in %s.", training.workdir / "metrics.json")
        return results

    def refuse(self, preset: presets.Preset) -> None:
        """Refuses a preset that does not fit the data, before it is fetched."""

    def published(self, name: str) -> estimators.Estimator:
        """The estimator of a preset, with the choices that were given."""
        estimator = estimator_of(name)
        return estimator.changed(**{name: self.given[name] for name in estimator.CHOICES if name in self.given})

    def figures(self, results: dict[str, typing.Any], preset: presets.Preset) -> dict[str, float | None]:
        """Of what a test of a preset has found, the figures by the names that they are published under."""
        return {}

    def resolve(self, config: dict[str, typing.Any]) -> dict[str, typing.Any]:
        """The value of every option, where none was given the recipe's; refuses what does not go together."""
        if not self.RECIPES:
            return config
        is_small = config["dataset"].replace("/small_", "/") == self.SMALL_DATASET  # or a part of it
        name = config["recipe"] or ("small" if is_small else "published")
        recipe = {key: value for key, value in self.recipe(name, config).items() if key not in self.given}
        return config | recipe | {"recipe": name}

    def recipe(self, name: str, config: dict[str, typing.Any]) -> dict[str, typing.Any]:
        """The values of a recipe."""
        return self.RECIPES[name]

    def lasting(self) -> dict[str, typing.Any]:
        """The options that the result depends on: those that a run keeps when it is resumed."""
        dropped = set(free_names(self.OPTIONS))
        if "preset" in self.config:  # nothing of a training counts
            dropped |= {option.name for option in self.OPTIONS if not option.tested}
        lasting = {name: value for name, value in self.config.items() if name not in dropped}
        return lasting | {"deterministic": is_deterministic(self.config), "backend": keras.backend.backend()}

    def sharing(self, config: dict[str, typing.Any] | None = None) -> dict[str, typing.Any]:
        """Who shares a `Stage`, of its arguments: as a configuration says, or that of the whole training."""
        return {name: (config or self.config)[name] for name in ("batch_size", "sync_batch_norm", "data_service")}

    def seen(self) -> dict[str, typing.Any]:
        """What the data look like, by which workers find out that theirs differ."""
        return {f"data ({role})": data.outline(split) for role, split in self.splits.items() if split is not None}

    def load(self) -> None:
        """Reads and checks the data: `splits` by role, and what else there is."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Builds what may be mistaken, before a folder is taken."""

    def stages(self) -> Iterator[Stage]:
        """Yields one `Stage` after another: each may begin with what the one before has left."""
        raise NotImplementedError

    def estimator(self) -> keras.Model:
        """The estimator with the best weights, once all stages are done."""
        raise NotImplementedError

    def evaluate(self, estimator: keras.Model) -> dict[str, typing.Any]:
        """The figures of the test split, for JSON."""
        raise NotImplementedError

    def draw(self, estimator: keras.Model) -> None:
        """Writes pictures of what the estimator makes of the test split, once that was evaluated."""

    def export(self, estimator: keras.Model, path: pathlib.Path) -> None:
        """Writes the estimator as a SavedModel."""
        raise NotImplementedError

    def fit(self) -> None:
        """Trains all stages, each from where it was cut short."""
        with self.workers.together():
            for stage in self.stages():
                stage.fit()

    def finish(self) -> dict[str, typing.Any]:
        """Tests what was trained, and writes the file that knows itself, pictures and figures.

        Returns:
            What `metrics.json` holds; where several workers train, the first one finds it out for all.
        """
        DataParallel.end()  # the test is one device's
        with self.workers.together():
            return self.workers.on_chief(self._finish)

    def _finish(self):
        estimator = self.estimator()
        results = self.evaluate(estimator)
        estimator.training = self.record(results)
        with whole(self.workdir / SAVED) as part:
            estimator.save(part)
        self.draw(estimator)
        if self.config["export"]:
            # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
            path = self.workdir / "saved_model" / "1"
            self.export(estimator, path)
            logging.info("Wrote %s.", path)
        # The figures last: they tell of an end.
        write_whole(self.workdir / "metrics.json", json.dumps(results, indent=2).encode())
        logging.info(
            "Done: %s, for predictors.load; figures in %s.", self.workdir / SAVED, self.workdir / "metrics.json"
        )
        return results

    def record(self, results: dict[str, typing.Any]) -> dict[str, typing.Any]:
        """How it was trained, for the file: the options that count, and the figures."""
        return {
            "kerapose": kerapose.__version__,
            "kind": type(self).__name__,
            "options": self.lasting(),
            "figures": results,
        }

    def run(self) -> dict[str, typing.Any]:
        """Trains, tests and writes all; returns the figures."""
        self.fit()
        return self.finish()
