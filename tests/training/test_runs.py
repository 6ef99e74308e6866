"""A training from its options to a file that knows itself, of two small stages: whole, cut short, and run again."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerapose
from kerapose import layers, presets
from kerapose.training import runs
from kerapose.training.options import Option, common_options

STEPS = 3


class Answer:
    """An estimator as far as a training knows one."""

    def __init__(self, network):
        self.network = network

    def save(self, path):
        pathlib.Path(path).write_text(json.dumps(self.training))


class Doubling(runs.Training):
    """Learns to double numbers: by one layer, and then by two, of which the first comes from the stage before."""

    OPTIONS = [
        *common_options("runs/doubling", "numbers", epochs=3),
        Option("recipe", str, None, "What others are if not given.", choices=("published", "small")),
        Option("units", int, None, "Of the layer.", least=1),
        Option("factor", float, 2.0, "By which numbers are multiplied.", tested=True),
    ]
    RECIPES = {"published": {"units": 8, "batch_size": 4}, "small": {"units": 2, "batch_size": 3}}
    SMALL_DATASET = "numbers"

    def load(self):
        if self.config["train_split"] != "train":
            raise ValueError("numbers has the splits train, test; use one of them.")
        self.did = ["load"]

    def prepare(self):
        self.did.append("prepare")
        if self.config["units"] == 7:
            raise ValueError("units are no 7; use 6 or 8.")

    def batches(self, first_step):
        self.did.append(first_step)

        @tf.autograph.experimental.do_not_convert  # nothing to convert, which takes long to find out
        def make(step):
            x = tf.random.stateless_normal((self.config["batch_size"], 4), [self.config["seed"], step])
            return x, self.config["factor"] * x

        return tf.data.Dataset.counter(first_step).map(make)

    def stage(self, name, layers=(), callbacks=()):
        keras.utils.set_random_seed(self.config["seed"])
        own = keras.layers.Dense(self.config["units"])
        model = keras.Sequential([keras.Input((4,)), *layers, own, keras.layers.Dropout(0.1), keras.layers.Dense(4)])
        model.compile("adam", "mse", run_eagerly=True)  # faster than tracing so few steps
        validation = self.batches(1000).take(1)
        how = {"validation": validation, "monitor": "val_loss", "least": True, "callbacks": callbacks}
        return runs.Stage(model, self.workdir / name, self.batches, STEPS, self.config["epochs"], **how)

    def stages(self):
        yield self.stage("first")
        first = keras.models.load_model(self.workdir / "first" / "best.keras").layers[0]
        yield self.stage("second", [first])

    def estimator(self):
        return Answer(runs.load_network(self.workdir / "second" / "best.keras"))

    def evaluate(self, estimator):
        x = np.eye(4, dtype="float32")
        return {"error": float(np.abs(estimator.network(x) - 2 * x).mean())}

    def draw(self, estimator):
        assert estimator.training and not (self.workdir / "metrics.json").exists()
        (self.workdir / "drawn.txt").write_text("as a picture")

    def export(self, estimator, path):
        self.exported = path
        if self.config["export"] and self.config["factor"] == 0:
            raise OSError("no space left on device")


@pytest.fixture(autouse=True)
def set_up(monkeypatch):
    """What is set for the whole process, without its being done: other tests go on."""
    asked = []
    monkeypatch.setattr(runs, "set_up", asked.append)
    return asked


@pytest.fixture
def undrawn(monkeypatch):
    """Lets stages draw no curves: `finished` has them."""
    monkeypatch.setattr(runs.pictures, "save_curves", lambda *_: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The work folder of a whole run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "set_up", lambda config: None)
        Doubling(workdir).run()
    return workdir


def states(workdir):
    found = {}
    for name in ("first", "second"):
        with np.load(workdir / name / "state.npz") as state:
            found |= {f"{name}/{key}": value for key, value in state.items()}
    return found


def assert_same(workdir, expected):
    ours, theirs = states(workdir), states(expected)
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert (workdir / "metrics.json").read_text() == (expected / "metrics.json").read_text()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------- options
def test_what_is_not_given_is_the_recipes(tmp_path):
    def config(**given):
        return Doubling(tmp_path / "_".join([*map(str, given.values()), "run"]), **given).config

    assert [config()[name] for name in ("recipe", "units", "batch_size", "epochs")] == ["small", 2, 3, 3]
    assert [config(dataset="other")[name] for name in ("recipe", "units", "batch_size")] == ["published", 8, 4]
    assert config(dataset="other", recipe="small")["units"] == 2
    assert [config(units=np.int64(5))[name] for name in ("units", "batch_size")] == [5, 3]
    assert config(units=None)["units"] == 2


def test_the_work_folder_is_the_one_given_or_the_options_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Doubling().workdir == Doubling(workdir=None).workdir == pathlib.Path("runs/doubling")
    assert (tmp_path / "runs" / "doubling" / "config.json").is_file()
    for workdir in ("a/run", tmp_path / "b"):
        assert Doubling(workdir).workdir == pathlib.Path(workdir)
        assert pathlib.Path(workdir).is_dir()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"unit": 3}, "Options of a training go by their names, got 'unit'; did you mean units?"),
        ({"units": 0}, "units must be at least 1, got 0; give more"),
        ({"units": "3"}, "units must be a whole number, got '3'; correct it"),
        ({"factor": float("nan")}, "factor must be a finite number, got nan; correct it"),
        ({"recipe": "own"}, "recipe must be one of published, small, got 'own'; use one of them"),
        ({"train_split": "training"}, "numbers has the splits train, test; use one of them"),
        ({"units": 7}, "units are no 7; use 6 or 8"),
    ],
)
def test_a_mistaken_option_takes_no_work_folder(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        Doubling(tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="workdir must be text, got 3; correct it"):
        Doubling(3)


def test_everything_is_looked_at_and_set_before_the_folder_is_taken(tmp_path, set_up, monkeypatch):
    monkeypatch.setattr(runs, "open_workdir", lambda workdir, config: pathlib.Path(workdir))
    training = Doubling(tmp_path / "run", seed=5)
    assert training.did == ["load", "prepare"] and not (tmp_path / "run").exists()
    (config,) = set_up
    assert config is training.config and config["seed"] == 5


# ---------------------------------------- a whole run
def test_a_run_leaves_figures_curves_and_a_file_that_knows_itself(finished):
    figures = json.loads((finished / "metrics.json").read_text())
    config = json.loads((finished / "config.json").read_text())
    assert not {"workdir", "data_dir", "export"} & set(config)
    assert (config["units"], config["recipe"], config["seed"], config["deterministic"]) == (2, "small", 0, True)
    assert json.loads((finished / "model.keras").read_text()) == {
        "kerapose": kerapose.__version__,
        "kind": "Doubling",
        "options": config,
        "figures": figures,
    }
    left = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    of_stages = {f"{name}/{file}" for name in ("first", "second") for file in ("best.keras", "state.npz", "curves.png")}
    assert left == of_stages | {"metrics.json", "config.json", "model.keras", "drawn.txt"}


def told(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelname == level]


def test_a_run_says_what_there_is_to_do_and_what_it_leaves(finished, tmp_path, undrawn, caplog):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "second")
    (tmp_path / "run" / "metrics.json").unlink()
    with caplog.at_level("INFO", logger="absl"):
        Doubling(tmp_path / "run").run()
    run = tmp_path / "run"
    begins = "3 steps an epoch, epochs 1 to 3; the first step takes longest."
    ends = f"Done: {run / 'model.keras'}, for predictors.load; figures in {run / 'metrics.json'}."
    lines = told(caplog, "INFO")
    assert lines.count(begins) == 1 and lines[-1] == ends  # nothing is left of the first stage
    assert not told(caplog, "WARNING")


@pytest.mark.parametrize(
    "steps, batch_size, rule",
    [
        (1, 128, "all samples are in one batch (batch_size 128); a smaller batch_size learns more."),
        (1, None, "all samples are in one batch; a smaller batch_size learns more."),
        (1, 1, None),
        (2, 128, None),
    ],
)
def test_an_epoch_of_one_step_is_warned_of(tmp_path, caplog, steps, batch_size, rule):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    def batches(first_step):
        return tf.data.Dataset.from_tensors((np.ones((2, 1)), np.ones((2, 1)))).repeat()

    stage = runs.Stage(model, tmp_path, batches, steps, 1, batch_size=batch_size)
    stage.arguments()
    assert told(caplog, "WARNING") == ([] if rule is None else [f"An epoch has 1 step, since {rule}"])


def test_cells_of_a_notebook_do_what_a_script_does(finished, tmp_path, undrawn):
    training = Doubling(tmp_path)
    for stage in training.stages():
        assert not stage.is_done
        stage.model.fit(**stage.arguments())
        assert stage.is_done and stage.done == 3
    figures = training.finish()
    assert_same(tmp_path, finished)
    left = files(tmp_path)
    for stage in training.stages():  # the cell is run again
        assert stage.is_done
        assert stage.model.fit(**stage.arguments()).history == {}
        stage.model.fit(**stage.arguments())
    (tmp_path / "metrics.json").unlink()
    assert training.finish() == figures
    for path, content in left.items():
        assert path.read_bytes() == content, path


class Interrupt(keras.callbacks.Callback):
    """Somebody who stops a cell after so many steps of a stage."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("which, after", [("first", 1), ("second", 7)])
def test_a_run_that_was_cut_short_ends_as_the_whole_one(finished, tmp_path, monkeypatch, undrawn, which, after):
    """Once with the same objects, as a cell that is run again, and once with new ones, as a new process has them."""
    make = Doubling.stage

    def interrupted(self, name, layers=()):
        return make(self, name, layers, [Interrupt(after)] if name == which and self.interrupted else ())

    monkeypatch.setattr(Doubling, "stage", interrupted)
    monkeypatch.setattr(Doubling, "interrupted", True, raising=False)
    training = Doubling(tmp_path / "run")
    last = None
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        for last in training.stages():  # noqa: B007
            last.fit()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert last.done == after // STEPS and last.folder.name == which
    last.callbacks.clear()
    training.did.clear()
    last.fit()  # the same object
    assert training.did == [after // STEPS * STEPS]  # the batches of the epoch that was cut short
    monkeypatch.setattr(Doubling, "interrupted", False)
    for workdir in ("run", "copy")[which == "second" :]:  # there, and elsewhere
        Doubling(tmp_path / workdir).run()
        assert_same(tmp_path / workdir, finished)


def test_a_stage_tells_fit_all_there_is(tmp_path, undrawn):
    training = Doubling(tmp_path)
    mine = keras.callbacks.Callback()
    stage = training.stage("first", [], [mine])
    arguments = stage.arguments()
    names = ("epochs", "initial_epoch", "steps_per_epoch", "shuffle", "validation_data")
    assert [arguments[name] for name in names] == [3, 0, STEPS, False, stage.validation]
    assert arguments["callbacks"][:2] == [mine, stage.resume]  # pictures before the state
    with pytest.raises(ValueError, match="after one epoch at least, got none in .*first; train first"):
        stage.best()
    stage.fit()
    assert stage.best().count_params() == stage.model.count_params()


def test_devices_share_validation_in_batches_of_one_size(tmp_path):
    """On a fake of two devices: the real ones are in the slow tests of the scripts."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = tf.data.Dataset.from_tensor_slices((np.ones((5, 1)), np.ones((5, 1)))).batch(4)
    two = types.SimpleNamespace(num_replicas_in_sync=2, scope=contextlib.nullcontext)
    shared = [model, tmp_path, None, STEPS, 1, batches]
    assert runs.Stage(*shared, batch_size=4).validation is batches
    model._distribute_strategy = two
    filled = runs.Stage(*shared, batch_size=4).validation
    assert [len(weights) for _, _, weights in filled.as_numpy_iterator()] == [4, 4]
    with pytest.raises(ValueError, match="batches of a known size, got batch_size None; give the validation's"):
        runs.Stage(*shared)


@pytest.mark.parametrize(
    "more, rule",
    [
        ({"gradient_accumulation_steps": 4}, "got 4 where several train; leave it out, and give a larger batch_size"),
        (
            {"use_ema": True, "ema_overwrite_frequency": 5},
            "ema_overwrite_frequency is .*got 5 where several train",
        ),
    ],
)
def test_what_keras_cannot_do_on_several_devices_is_refused(tmp_path, more, rule):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, **more), "mse")
    runs.Stage(model, tmp_path, None, STEPS, 1)  # one can
    model._distribute_strategy = types.SimpleNamespace(num_replicas_in_sync=2, scope=contextlib.nullcontext)
    with pytest.raises(ValueError, match=rule):
        runs.Stage(model, tmp_path, None, STEPS, 1, batch_size=4)


def test_batch_norms_of_several_devices_are_synchronized_where_that_is_asked_for(tmp_path):
    two = types.SimpleNamespace(num_replicas_in_sync=2, scope=contextlib.nullcontext)
    for asked in (False, True):
        inner = keras.Sequential([keras.Input((4, 4, 2)), layers.BatchNorm(), keras.layers.BatchNormalization()])
        inputs = keras.Input((4, 4, 2))
        model = keras.Model(inputs, inner(inputs))
        model.compile("sgd", "mse")
        model._distribute_strategy = two
        runs.Stage(model, tmp_path / str(asked), None, STEPS, 1, batch_size=4, sync_batch_norm=asked)
        assert [layer.synchronized for layer in inner.layers] == [asked, asked]


def test_a_service_makes_the_batches(tmp_path, monkeypatch):
    """On a fake of one: the real one is in the tests of `data.service`."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    def served(batches, address):
        return lambda first_step: (batches, address, first_step)

    monkeypatch.setattr(runs.service, "served", served)
    stage = runs.Stage(model, tmp_path, len, STEPS, 1, data_service="grpc://there:1")
    assert stage.arguments()["x"] == (len, "grpc://there:1", 0)
    assert runs.Stage(model, tmp_path, len, STEPS, 1).batches is len


# ---------------------------------------- run again
def test_a_second_run_with_other_options_is_refused(finished):
    before = files(finished)
    with pytest.raises(ValueError, match="to one configuration, .*: factor 2.0 there and 3.0 here; give another"):
        Doubling(finished, factor=3)
    with pytest.raises(ValueError, match="deterministic True there and False here"):
        Doubling(finished, deterministic=False)
    assert files(finished) == before


def test_a_second_run_may_have_other_free_options(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "moved")
    (tmp_path / "moved" / "metrics.json").unlink()
    training = Doubling(tmp_path / "moved", export=True, data_dir=tmp_path, epochs=3, deterministic=True)
    training.run()
    assert training.exported == tmp_path / "moved" / "saved_model" / "1"
    assert_same(tmp_path / "moved", finished)


def test_the_figures_come_last(tmp_path, undrawn):
    training = Doubling(tmp_path, epochs=1, factor=0, export=True)
    with pytest.raises(OSError, match="no space left"):
        training.run()
    assert (tmp_path / "model.keras").exists() and not (tmp_path / "metrics.json").exists()


# ---------------------------------------- presets
class Published(Answer):
    CHOICES = ("factor",)

    def __init__(self, name, factor=2.0):
        super().__init__(lambda x: factor * x)
        self.name, self.factor = name, factor

    def changed(self, **choices):
        return Published(self.name, **choices) if choices else self


@pytest.fixture
def preset(monkeypatch):
    """A table of one preset, and a training that tests those of its kind."""
    one = dataclasses.replace(presets.get("lifter_h36m_cpn"), name="twice", figures="error 0.100, other 3.0 mm")
    monkeypatch.setattr(presets, "get", lambda name: one)
    monkeypatch.setattr(runs, "estimator_of", Published)
    monkeypatch.setattr(Doubling, "TASK", "lifting")
    monkeypatch.setattr(Doubling, "figures", lambda self, results, preset: {"error": results["error"]})
    monkeypatch.setattr(Doubling, "draw", lambda self, estimator: None)
    return one


def test_a_preset_is_tested_beside_its_published_figures(tmp_path, preset, set_up):
    found = Doubling.test_preset("twice", tmp_path / "run", batch_size=5)
    figures = {"error": {"found": 0.0, "published": 0.1}, "other": {"found": None, "published": 3.0}}
    assert found["error"] == 0 and found["published"] == {
        "preset": "twice",
        "measured": preset.publisher.measured,
        "figures": figures,
    }
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == found
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "metrics.json"]
    ((config),) = set_up
    assert config["roles"] == ["test"] and config["precision"] == "float32" and config["batch_size"] == 5


def test_what_an_estimator_may_choose_may_be_given(tmp_path, preset, set_up):
    found = Doubling.test_preset("twice", tmp_path, factor=3.0, precision="mixed_bfloat16")
    assert found["error"] == 0.25 and set_up[0]["precision"] == "mixed_bfloat16"


def test_a_training_that_a_preset_has_behind_it_has_no_options(tmp_path, preset):
    with pytest.raises(ValueError, match="^epochs is of a training, which twice has behind it; leave it out"):
        Doubling.test_preset("twice", tmp_path / "run", epochs=3)
    Doubling.test_preset("twice", tmp_path / "run", epochs=None)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["preset"] == "twice" and config["factor"] == 2 and not {"epochs", "units", "recipe"} & set(config)


def test_what_does_not_fit_is_refused_before_it_is_fetched(tmp_path, preset, monkeypatch):
    def refuse(self, preset):
        raise ValueError("of other numbers")

    monkeypatch.setattr(runs, "estimator_of", lambda name: pytest.fail("it is fetched"))
    monkeypatch.setattr(Doubling, "refuse", refuse)
    with pytest.raises(ValueError, match="of other numbers"):
        Doubling.test_preset("twice", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_costs_no_figures(tmp_path, preset, monkeypatch):
    def fail(self, estimator):
        raise RuntimeError("no picture")

    monkeypatch.setattr(Doubling, "draw", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        Doubling.test_preset("twice", tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["error"] == 0


def test_a_preset_has_a_folder_of_its_own(tmp_path, preset, monkeypatch, finished):
    monkeypatch.chdir(tmp_path)
    Doubling.test_preset("twice")
    assert (tmp_path / "runs" / "twice" / "metrics.json").is_file()
    before = files(finished)
    with pytest.raises(
        ValueError, match="belongs to one configuration, but .* differs: .*preset None there and 'twice'"
    ):
        Doubling.test_preset("twice", finished)
    assert files(finished) == before


def test_a_preset_for_another_task_is_refused(tmp_path, preset, monkeypatch):
    monkeypatch.setattr(Doubling, "TASK", "top-down pose")
    with pytest.raises(
        ValueError, match="Doubling tests presets for top-down pose, got twice for lifting; use another"
    ):
        Doubling.test_preset("twice", tmp_path / "run")
    monkeypatch.setattr(Doubling, "TASK", None)
    with pytest.raises(ValueError, match="Doubling has no presets to test, got twice for lifting; use another"):
        Doubling.test_preset("twice", tmp_path / "run")
    assert not (tmp_path / "run").exists()
