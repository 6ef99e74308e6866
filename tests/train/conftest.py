"""Fixtures of the scripts' tests: a script in a process of its own, whole or killed, and what a run leaves behind.

Each file of tests says once which script it runs and with which flags:

    @pytest.fixture(scope="module")
    def start(run_script):
        return functools.partial(run_script, "lifter", FLAGS)
"""

import concurrent.futures
import contextlib
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow.python.framework import config as tensorflow_config

from kerapose import skeletons
from kerapose.data import frames as video_frames
from kerapose.skeletons import COCO
from kerapose.training import runs
from kerapose.training.data import load_images

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders
clip_records, image_records = map(importlib.import_module, ("clip_records", "image_records"))


@pytest.fixture(scope="session")
def prepare_clips(tmp_path_factory):
    """A function that makes an annotation file a data set, as datasets/build.py does, and gives its TFDS folder."""
    spec = importlib.util.spec_from_file_location("datasets_build", ROOT / "datasets" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)

    def prepare(name, split, annotations, class_names, skeleton):
        folder = tmp_path_factory.mktemp("data")
        (folder / "own.pkl").write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
        (folder / "names.txt").write_text("\n".join(class_names))
        own_file = {"file": str(folder / "own.pkl"), "class_names": str(folder / "names.txt"), "skeleton": skeleton}
        build.run(name, str(folder / "tfds"), **own_file)
        return str(folder / "tfds")

    return prepare


# Runs a script after {prepare}, which finds it as `script`, and its training as `script.TRAINING`.
PROGRAM = """
from train import common, {script} as script
{prepare}
common.main(script.TRAINING)
"""

# Ends the process as SIGKILL does: it has no time to put anything in order.
KILLED = """
import os, signal
from kerapose.training import runs
replace = os.replace

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

class Killed(runs.Resume):
    def on_epoch_begin(self, now, logs=None):
        self.now = now
    def on_train_batch_end(self, step, logs=None):
        if self.now == {epoch} and step == {step}:
            kill()
    def on_epoch_end(self, now, logs=None):
        def replace_or_kill(source, target):
            if {step} is None and now == {epoch} and str(target).endswith("state.npz"):
                kill()
            replace(source, target)
        os.replace = replace_or_kill
        super().on_epoch_end(now, logs)

runs.Resume = Killed
"""

# Where XLA would take longer to compile than the rest of a training; data sets of images ask for it. Graphs run as they
# are written, too, as in the tests' own process: optimized, they differ in the last bits.
WITHOUT_XLA = """
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
function = tf.function
tf.function = lambda *args, jit_compile=None, **options: function(*args, **options)
"""

TWO_DEVICES = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


@pytest.fixture(scope="session")
def run_script():
    """A function that runs `train/<script>.py` in a process of its own and waits for its end.

    It takes the script's name, the flags of all runs of a file of tests, the work folder, the TFDS folder, `prepare`,
    Python that comes before the flags are defined and finds the script's module as `script`, and further flags. It
    gives the finished process: `returncode`, `stdout` and `stderr`.
    """

    def run(script, shared_flags, workdir, data_dir, prepare="", **flags):
        flags = shared_flags | {"workdir": workdir, "data_dir": data_dir} | flags
        program = ["-c", PROGRAM.format(script=script, prepare=prepare)] if prepare else ["-m", f"train.{script}"]
        process = subprocess.run(
            [sys.executable, *program, *(f"--{name}={value}" for name, value in flags.items())],
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        for output in (process.stdout, process.stderr):  # nobody looks on, so that no bar is drawn
            assert not {"\r", "\b", "\x1b"} & set(output), output
        return process

    return run


@pytest.fixture(scope="session")
def killed_at():
    """A function that gives the `prepare` of a run that is killed in an epoch, counted from 0.

    With a step, after that step of the epoch; without one, at its end, when its best weights are in place and its state
    is not.
    """
    return lambda epoch, step=None: KILLED.format(epoch=epoch, step=step)


# Keeps the weights that a process has at the end of each stage.
KEPT = """
import numpy as np
from kerapose.training import runs
fit, kept = runs.Stage.fit, []

def fit_and_keep(stage):
    fit(stage)
    weights = [np.asarray(weight) for weight in stage.model.weights]
    np.savez("{file}_" + str(len(kept)), *weights)
    kept.append(stage)

runs.Stage.fit = fit_and_keep
"""


@pytest.fixture(scope="session")
def run_workers(run_script, free_hosts):
    """A function that runs a script as several workers at once, as `run_script` does one.

    Each has a work folder of its own below the one that is given, as on machines that share none. `prepare` and further
    flags may be dicts of a worker's own, by its index.
    """

    def run(script, shared_flags, workdir, data_dir, count, prepare=None, own_flags=None, **flags):
        hosts = ",".join(free_hosts(count))

        def one(index):
            place = {"strategy": "multi_worker", "worker_hosts": hosts, "worker_index": index}
            kept = KEPT.format(file=workdir / f"{index}")
            own = {"data_dir": data_dir} | (own_flags or {}).get(index, {})
            given = kept + (prepare or {}).get(index, "")
            return run_script(script, shared_flags, workdir / str(index), prepare=given, **place, **flags, **own)

        workdir.mkdir(exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    return run


@pytest.fixture(scope="session")
def train_as_one(run_script, run_workers, killed_at):
    """A function that trains alone, and with several workers of which one is killed before all are started again.

    It asserts that all workers end with the same weights, and that these are those of the one process: 95 of 100 within
    1e-5, and none further off than `most`. Sums in another order have other last digits, and Adam makes steps of full
    length of gradients that are nothing but such digits.
    """

    def train(script, shared_flags, folder, data_dir, count=2, most=1e-5, prepare="", **flags):
        flags |= {"precision": "float32"}
        kept = prepare + KEPT.format(file=folder / "alone")
        alone = run_script(script, shared_flags, folder / "0", data_dir, kept, **flags)
        assert alone.returncode == 0, alone.stderr[-4000:]
        together = functools.partial(run_workers, script, shared_flags, folder / "several", data_dir, count)
        flags |= {"sync_batch_norm": True}
        prepared = dict.fromkeys(range(count), prepare)
        *others, killed = together(prepared | {count - 1: prepare + killed_at(1, 0)}, **flags)
        assert killed.returncode == -9, killed.stderr[-4000:]
        for other in others:
            assert other.returncode == 1 and "workers must stay until the end" in other.stderr, other.stderr[-4000:]
        done = together(prepared, **flags)
        for one in done:
            assert one.returncode == 0, one.stderr[-4000:]
        assert "Resuming after epoch 1" in done[0].stderr
        kept = sorted(folder.glob("alone_*.npz"))
        assert kept
        for file in kept:
            expected, *found = (
                np.concatenate([array.ravel() for array in np.load(each).values()])
                for each in (file, *(folder / "several" / file.name.replace("alone", f"{i}") for i in range(count)))
            )
            for each in found[1:]:
                np.testing.assert_array_equal(each, found[0])
            differences = np.abs(found[0] - expected)
            assert np.quantile(differences, 0.95) < 1e-5 and differences.max() <= most, (
                file.name,
                [(share, float(np.quantile(differences, share))) for share in (0.5, 0.9, 0.99, 1)],
            )
        assert (folder / "several" / "0" / "metrics.json").exists()
        assert not any((folder / "several" / str(index)).exists() for index in range(1, count))

    return train


@pytest.fixture(scope="session")
def script_without_xla():
    """The `prepare` of a run in which nothing is compiled by XLA but what was when its modules were imported."""
    return WITHOUT_XLA


@pytest.fixture(scope="module")
def without_xla():
    """The same in this process, for the tests of a whole file."""
    function = tf.function
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "function", lambda *args, jit_compile=None, **options: function(*args, **options))
        yield


@pytest.fixture(scope="session")
def step_by_step():
    """A context in which Keras runs steps op by op: a few of them take less long than to trace one."""

    @contextlib.contextmanager
    def running():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("keras.src.trainers.trainer.Trainer.run_eagerly", property(lambda *_: True, lambda *_: None))
            yield

    return running


@pytest.fixture(scope="session")
def two_devices():
    """The `prepare` of a run that sees the one processor as two devices, for `strategy="mirrored"`."""
    return TWO_DEVICES


@pytest.fixture
def computing_as_tests_do(monkeypatch):
    """Lets a training run in this process without changing how other tests compute: it only sets the seed."""
    monkeypatch.setattr(runs, "set_up", lambda config: keras.utils.set_random_seed(config["seed"]))


@pytest.fixture(scope="module")
def computing_repeatably():
    """Lets trainings run in this process as in one of their own, but for precision; afterwards all is as before.

    For the tests of a whole file: two runs with the same options end with the same bits.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "set_up", lambda config: keras.utils.set_random_seed(config["seed"]))
        tf.config.experimental.enable_op_determinism()
        yield
        tensorflow_config.disable_op_determinism()  # TensorFlow has no public way back


@pytest.fixture(scope="session")
def cut_after():
    """A context in which trainings leave a copy of what they keep as it was after an epoch, counted from 1.

    It takes {folder of a stage: epoch}. The copies, what a kill would leave, are in the folder `cut` below it.
    """

    @contextlib.contextmanager
    def cutting(epochs):
        class Cut(runs.Resume):
            def on_epoch_end(self, epoch, logs=None):
                super().on_epoch_end(epoch, logs)
                if epochs.get(self.folder.name) == epoch + 1:
                    (self.folder / "cut").mkdir()
                    for name in ("state.npz", "best.keras"):
                        shutil.copy(self.folder / name, self.folder / "cut" / name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "Resume", Cut)
            yield

    return cutting


@pytest.fixture(scope="session")
def others_than_defaults():
    """A function that asserts that options name every one that a training has, with a value that is not its default."""

    def check(training, options):
        defaults = {option.name: option.default for option in training.OPTIONS}
        assert set(options) == set(defaults)
        assert [name for name in options if options[name] == defaults[name]] == []

    return check


@pytest.fixture(scope="session")
def as_after_an_epoch():
    """A function that leaves what a stage keeps after its first epoch, without one."""

    def leave(stage):
        stage.resume.set_model(stage.model)
        stage.resume.on_epoch_end(0, {stage.resume.monitor or "loss": 0.5})

    return leave


@pytest.fixture
def watch(monkeypatch):
    """A function that writes down with what a function is called from now on: a list of (arguments, options).

    It takes the owner of the function, its name, and, if that is not to be called, what is in its stead.
    """

    def watching(owner, name, instead=None):
        function, calls = instead or getattr(owner, name), []

        def watched(*args, **options):
            calls.append((args, options))
            return function(*args, **options)

        monkeypatch.setattr(owner, name, watched)
        return calls

    return watching


@pytest.fixture(scope="session")
def load_once():
    """`training.data.load_images`, for trainings of this process, which reads no splits twice."""
    loaded = {}

    def load(config, pipeline):
        names = ("dataset", "data_dir", "train_split", "validation_split", "test_split", "skip", "check")
        key = json.dumps([pipeline.__name__, *(config[name] for name in names)])
        if key not in loaded:
            loaded[key] = load_images(config, pipeline)
        return loaded[key]

    return load


class Calls:
    """Stands in for functions, and notes what they are called with, in `noted`: {name: [(args, kwargs), ...]}."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.noted = {}

    def watch(self, module, name, answer=None):
        """From here on a function only notes its arguments, and gives an answer, which may be a function of them."""

        def noting(*args, **kwargs):
            self.noted.setdefault(name, []).append((args, kwargs))
            return answer(*args, **kwargs) if callable(answer) else answer

        self.monkeypatch.setattr(module, name, noting)

    def last(self, name):
        """The arguments by place, and by name, of the last call."""
        return self.noted[name][-1]


@pytest.fixture
def calls(monkeypatch):
    """Stands in for functions, and notes what they are called with: see `Calls`."""
    return Calls(monkeypatch)


@pytest.fixture(scope="session")
def options_of():
    """A function that gives the options of a finished run, to make its training anew in this process.

    It takes the class of the training, the work folder of the run, the TFDS folder, and changes, by name.
    """

    def of(training, finished, data_dir, **changes):
        names = {option.name for option in training.OPTIONS}
        kept = json.loads((finished / "config.json").read_text())
        return {name: value for name, value in kept.items() if name in names} | {"data_dir": data_dir} | changes

    return of


@pytest.fixture(scope="session")
def assert_serves_as_tested():
    """A function that asserts that the SavedModel of a finished training of videos says what its test has found."""

    def check(training):
        labels, found = training.tested[list(training.tested)[-1]]
        answer = tf.saved_model.load(str(training.workdir / "saved_model" / "1")).signatures["serving_default"]
        for i, element in enumerate(training.splits["test"].as_numpy_iterator()):
            count = element["keypoints"].shape[1]
            inputs = {"frames": video_frames.read(element["video"], range(count))}
            inputs |= {name: element[name] for name in ("keypoints", "scores")}
            said = answer(**{name: tf.constant(value[None]) for name, value in inputs.items()})
            np.testing.assert_allclose(said["probabilities"][0], found["plain"]["fused"][i], atol=1e-3)
            assert element["label"] == labels[i]

    return check


@pytest.fixture(scope="session")
def metrics_of():
    """A function that reads the figures of a run, `metrics.json` of its work folder."""
    return lambda workdir: json.loads((workdir / "metrics.json").read_text())


@pytest.fixture(scope="session")
def state():
    """A function that reads the last state of a network's training from its folder.

    It gives the arrays by name, and the figures of the epochs, a dict each.
    """

    def read(folder):
        with np.load(folder / "state.npz") as file:
            arrays = dict(file)
        return arrays, json.loads(str(arrays["history"]))

    return read


@pytest.fixture(scope="session")
def files():
    """A function that gives content and time of change of every file below a folder, by path."""
    return lambda folder: {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="session")
def same_weights():
    """A function that says whether two `.keras` files hold the same weights, to the last bit."""

    def same(first, second):
        ours, theirs = (keras.models.load_model(path).get_weights() for path in (first, second))
        return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))

    return same


# ---------------------------------------------------------------------------------------------------- videos
POSTURES = ("stand", "crouch", "spread")
SIDE = 48  # of a video, pixels
COUNTS = {"train": 96, "validation": 4, "test": 6}  # videos


def draw_gesture(label, seed, length=14):
    """A person of lines who sways in one of three postures: uint8 [T, 48, 48, 3] and keypoints [1, T, 17, 2]."""
    random = np.random.default_rng(seed)
    x = np.array([0, -0.1, 0.1, -0.2, 0.2, -0.4, 0.4, -0.5, 0.5, -0.5, 0.5, -0.3, 0.3, -0.3, 0.3, -0.3, 0.3])
    y = np.array([1.8, 1.9, 1.9, 1.85, 1.85, 1.5, 1.5, 1.1, 1.1, 0.7, 0.7, 0.8, 0.8, 0.4, 0.4, 0, 0])
    if POSTURES[label] == "crouch":
        y = 0.35 * y
    if POSTURES[label] == "spread":
        x[7:11], y[7:11] = [-0.8, 0.8, -1.2, 1.2], 1.5
    body = np.stack([x, 0.9 - y], -1) * random.uniform(14, 17)
    sway = 2 * np.sin(np.linspace(0, 6, length) + random.uniform(0, 6))[:, None, None]
    keypoints = (body + sway + SIDE / 2).astype("float32")  # [T, 17, 2]
    video = random.integers(0, 60, (length, SIDE, SIDE, 3)).astype("uint8")
    for frame, points in zip(video, keypoints.astype(int).tolist(), strict=True):
        for start, end in COCO.edges:
            cv2.line(frame, points[start], points[end], (230, 200, 90), 2)
    return video, keypoints[None]


class Gestures(tfds.core.GeneratorBasedBuilder):
    """A data set of such videos, whose labels are the postures."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = ROOT  # that of a builder in a package of its own

    def _info(self):
        features = clip_records.features(COCO, POSTURES, with_video=True)
        metadata = tfds.core.MetadataDict({"skeleton": COCO.name})
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata)

    def _split_generators(self, dl_manager):
        starts = {"train": 0, "validation": 100, "test": 200}
        return {split: self._generate_examples(starts[split], count) for split, count in COUNTS.items()}

    def _generate_examples(self, start, count):
        for number in range(start, start + count):
            video, keypoints = draw_gesture(number % 3, number)
            yield (
                number,
                {
                    "video": video_frames.encode(video, fps=10),
                    "keypoints": keypoints,
                    "scores": np.full(keypoints.shape[:3], 0.9, "float32"),
                    "frame_size": (SIDE, SIDE),
                    "label": number % 3,
                    "name": str(number),
                },
            )


@pytest.fixture(scope="session")
def postures():
    """The names of the classes of `gestures_dir`."""
    return POSTURES


@pytest.fixture(scope="session")
def gestures_dir(tmp_path_factory):
    """A TFDS folder with the data set "gestures": 96 + 4 + 6 videos of three postures, with COCO keypoints."""
    folder = tmp_path_factory.mktemp("gestures")
    Gestures(data_dir=str(folder)).download_and_prepare()
    return str(folder)


# ---------------------------------------------------------------------------------------------------- groups
DOLL = skeletons.Skeleton(
    "doll",
    ("nose", "left_hand", "right_hand", "left_foot", "right_foot"),
    edges=((0, 1), (0, 2), (0, 3), (0, 4)),
    sigmas=(0.1,) * 5,
)
DOLL_COLORS = np.array([[250, 240, 60], [240, 60, 60], [60, 240, 90], [60, 90, 250], [230, 60, 230]])
DOLL_SHAPE = np.array([[0, -0.6], [-0.8, 0], [0.8, 0], [-0.5, 0.8], [0.5, 0.8]])
GROUP_COUNTS = {"train": 24, "validation": 6, "test": 6}  # images


def draw_group(number):
    """An image of up to three dolls, of joints of five colours: a record of TFDS.

    The last of some is a crowd, and of the first now and then a joint is occluded, or nobody has labelled it.
    """
    random = np.random.default_rng(number)
    count = number % 4
    width = 60 * max(count, 1)
    image = random.uniform(0, 60, (80, width, 3))
    rows, columns = np.mgrid[:80, :width]
    moved = DOLL_SHAPE + random.uniform(-0.15, 0.15, (count, 5, 2))
    keypoints = 27 * moved + np.stack([60 * np.arange(count) + 30, np.full(count, 40)], axis=-1)[:, None]  # [M, 5, 2]
    for points in keypoints:
        for (x, y), color in zip(points, DOLL_COLORS, strict=True):
            image[(rows - y) ** 2 + (columns - x) ** 2 < 36] = color
    is_crowd = np.zeros(count, bool)
    is_crowd[2:] = number % 8 == 3
    visibility = np.full((count, 5), 2) * ~is_crowd[:, None]
    visibility[:1, number % 5] = number % 3
    boxes = np.concatenate([keypoints.min(axis=1) - 6, keypoints.max(axis=1) + 6], axis=-1).reshape(count, 4)
    return {
        "image": image.astype("uint8"),
        "image_id": number,
        "name": f"{number}.png",
        "people": {
            "keypoints": np.where(visibility[..., None] > 0, keypoints, 0).astype("float32"),
            "visibility": visibility.astype("int32"),
            "box": boxes.astype("float32"),
            "area": np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1).astype("float32"),
            "head_size": np.full(count, 11, "float32"),
            "is_crowd": is_crowd,
            "id": 10 * number + np.arange(count),
        },
    }


class Groups(tfds.core.GeneratorBasedBuilder):
    """A data set of such images."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = ROOT  # that of a builder in a package of its own

    def _info(self):
        metadata = tfds.core.MetadataDict({"skeleton": DOLL.to_dict()})
        return tfds.core.DatasetInfo(builder=self, features=image_records.features(DOLL), metadata=metadata)

    def _split_generators(self, dl_manager):
        starts = {"train": 0, "validation": 100, "test": 200}
        return {split: self._generate_examples(starts[split], count) for split, count in GROUP_COUNTS.items()}

    def _generate_examples(self, start, count):
        for number in range(start, start + count):
            yield number, draw_group(number)


@pytest.fixture(scope="session")
def doll():
    """The skeleton of the people of `groups_dir`."""
    return DOLL


@pytest.fixture(scope="session")
def groups_dir(tmp_path_factory):
    """A TFDS folder with the data set "groups": 24 + 6 + 6 images of none to three dolls, some with a crowd."""
    folder = tmp_path_factory.mktemp("groups")
    Groups(data_dir=str(folder)).download_and_prepare()
    return str(folder)


@pytest.fixture(scope="session")
def groups_tested():
    """The test split of `groups_dir`, as it was drawn: records of TFDS."""
    return [draw_group(number) for number in range(200, 200 + GROUP_COUNTS["test"])]
