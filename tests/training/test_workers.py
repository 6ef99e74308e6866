"""What workers tell each other, whatever carries it: here threads of one process."""

import concurrent.futures
import functools
import pathlib
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerapose
from kerapose.data.order import Share
from kerapose.training import devices, multi_worker
from kerapose.training.workers import WorkerLostError, Workers, workers_of

ROOT = pathlib.Path(kerapose.__file__).resolve().parents[1]


class Threads(Workers):
    """Workers that are threads of one process, which add up arrays at a barrier."""

    def __init__(self, index, count, said, barrier):
        super().__init__(index, count)
        self.said, self.barrier = said, barrier

    def summed(self, array):
        array = np.asarray(array)
        assert array.ndim == 1 and np.issubdtype(array.dtype, np.integer) and array.size
        self.said[self.index] = array.astype("int32")
        self.barrier.wait(10)
        total = np.sum([self.said[i] for i in range(self.count)], axis=0, dtype="int32")
        self.barrier.wait(10)
        return total


def together(count, do):
    """What each of so many workers gets from a function of it: its answer, or its error."""

    def one(worker):
        try:
            return do(worker)
        except Exception as error:
            return error

    said, barrier = {}, threading.Barrier(count)
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, [Threads(i, count, said, barrier) for i in range(count)]))


@pytest.mark.parametrize("content", [None, b"", b"a", bytes(range(256)) * 3 + b"\xff"])
def test_all_get_what_the_chief_has(content):
    assert together(3, lambda worker: worker.from_chief(content if worker.is_chief else b"another")) == [content] * 3


def test_all_read_the_file_of_the_chief(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "state.npz").write_bytes(b"of the chief")

    def read(worker, name):
        with worker.file_of_chief(tmp_path / str(worker.index) / name) as file:
            return file.name, file.exists() and file.read_bytes()

    assert together(2, functools.partial(read, name="state.npz")) == [("state.npz", b"of the chief")] * 2
    assert together(2, functools.partial(read, name="none")) == [("none", False)] * 2


def test_what_the_chief_does_all_are_given(tmp_path):
    def write(worker):
        return worker.on_chief(lambda: (tmp_path / f"{worker.index}").write_text("x"))

    assert together(3, write) == [1] * 3
    assert [file.name for file in tmp_path.iterdir()] == ["0"]


def test_where_the_chief_fails_all_do(tmp_path):
    def fail(worker):
        return worker.on_chief(lambda: (tmp_path / "no" / "folder").write_text("x"))

    first, *others = together(3, fail)
    assert isinstance(first, FileNotFoundError)
    assert {str(error) for error in others} == {f"The first worker must be able to go on, got: {first}"}


def test_where_the_chief_fails_without_a_word_all_do():
    def run_out():
        raise MemoryError

    def fail(worker):
        return worker.on_chief(run_out)

    first, second = together(2, fail)
    assert isinstance(first, MemoryError)
    assert str(second) == "The first worker must be able to go on, got: MemoryError"


def test_those_who_see_the_same_go_on_and_others_do_not():
    same = {"data (train)": [9, "a"], "data (test)": [3, "b"]}
    assert together(3, lambda worker: worker.agree(same)) == [None] * 3
    errors = together(3, lambda worker: worker.agree(same | {"data (test)": [3 + (worker.index == 1), "b"]}))
    assert {str(error) for error in errors} == {
        "All workers must have the same data (test), got [3, 'b'] on worker 0 and [4, 'b'] on worker 1; make them "
        "alike."
    }


def test_one_alone_does_what_it_is_told(tmp_path):
    alone = Workers()
    assert alone.is_chief and alone.devices == 1 and alone.from_chief(b"x") == b"x" and alone.on_chief(lambda: 3) == 3
    with alone.file_of_chief(tmp_path / "x") as file, alone.together():
        assert file == tmp_path / "x"


def test_a_lost_worker_is_one_sentence():
    class Two(Workers):
        def tells_of_a_loss(self, error):
            return isinstance(error, ConnectionError)

    sentence = "All 2 workers must stay until the end, got one that worker 1 no longer reaches; start the same command"
    with pytest.raises(WorkerLostError, match=sentence), Two(1, 2).together():
        raise ConnectionError("a long story")
    with pytest.raises(KeyError), Two(1, 2).together():
        raise KeyError("another")


class Telling(Workers):
    """The second of two, who notes what it tells the first."""

    def __init__(self):
        super().__init__(1, 2)
        self.told = []

    def tells_of_a_loss(self, error):
        return isinstance(error, ConnectionError)

    def tell_of_an_end(self, reason):
        self.told.append(reason)


@pytest.mark.parametrize(
    "error, told",
    [
        (ValueError("a\n  b"), "worker 1 ended by ValueError: a b"),
        (KeyboardInterrupt(), "worker 1 ended by KeyboardInterrupt"),
        (SystemExit("no more."), "worker 1 ended by SystemExit: no more"),
    ],
)
def test_who_fails_tells_the_others_why(error, told):
    worker = Telling()
    with pytest.raises(type(error)), worker.together():
        raise error
    assert worker.told == [told]
    sentence = "All 2 workers must stay until the end, got worker 0 ended by Bad: x y; start the same command on all"
    with pytest.raises(WorkerLostError, match=sentence), Telling().together():
        raise ConnectionError("Aborted by: worker 0 ended by Bad: x y\nRestart your program")


def test_what_all_know_is_not_told_again():
    def refuse(worker):
        with worker.together():
            worker.agree({"epochs": worker.index})

    class Both(Threads):
        def tell_of_an_end(self, reason):
            raise AssertionError(reason)

    said, barrier = {}, threading.Barrier(2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        errors = [future.exception() for future in [pool.submit(refuse, Both(i, 2, said, barrier)) for i in (0, 1)]]
    assert [type(error) for error in errors] == [ValueError] * 2


# ---------------------------------------- TensorFlow's
def test_a_model_without_a_strategy_is_trained_alone():
    inputs = keras.Input((2,))
    found = workers_of(keras.Model(inputs, keras.layers.Dense(1)(inputs)))
    assert (found.index, found.count, found.devices, found.share) == (0, 1, 1, Share())


def test_another_version_of_keras_is_refused(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    with pytest.raises(RuntimeError, match=r"tried with Keras 3\.15, got 3\.99\.0; install that version"):
        multi_worker.step_round_keras()


def test_workers_join_before_anything_is_computed():
    tf.constant(1)
    with pytest.raises(RuntimeError, match="must join before TensorFlow computes anything"):
        devices.make_strategy("multi_worker", 4, ["127.0.0.1:1", "127.0.0.1:2"], 0)


def test_workers_are_those_of_their_strategy():
    with pytest.raises(ValueError, match="are those of multi_worker or jax_data_parallel, got the strategy mirrored"):
        devices.make_strategy("mirrored", 4, ["127.0.0.1:1", "127.0.0.1:2"], 0)


def test_stepping_round_keras_changes_nothing_for_others():
    """In a process of its own, since it is the whole process's."""
    program = """
import numpy as np, keras, tensorflow as tf
from kerapose.training import multi_worker

def fitted():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    history = model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, verbose=0, shuffle=False).history
    return history, model.predict(np.ones((3, 3)), verbose=0).tolist()

before = fitted()
multi_worker.step_round_keras()
multi_worker.step_round_keras()
assert fitted() == before
one = tf.distribute.MirroredStrategy(["CPU:0"])
with one.scope():
    assert fitted() == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


STAGED = """
import sys, time, keras, numpy as np, tensorflow as tf
from kerapose.training import MultiWorkers, make_strategy
from kerapose.training.runs import Stage

index, folder, hosts = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
strategy = make_strategy("multi_worker", 2, hosts, index, {"seed": 0})
try:
    make_strategy("multi_worker", 2, hosts, index, {"seed": index})
except ValueError as error:
    print(error)

def stage(weight):
    with strategy.scope():
        inputs = keras.Input((1,))
        model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
        model.set_weights([np.full((1, 1), weight, "float32"), np.zeros(1, "float32")])
    data = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.ones((1, 1)))).repeat()
    return Stage(model, folder, lambda first_step, share=None: data, 1, 1, batch_size=2)

stage(1.0)
try:
    stage(float(index))
except ValueError as error:
    print(error)
began = time.monotonic()
try:
    with MultiWorkers(strategy).together():
        if index == 1:
            raise KeyboardInterrupt
        stage(1.0)
except KeyboardInterrupt:
    time.sleep(20)  # as a notebook that stays open
except RuntimeError as error:
    print(error)
    print("at once" if time.monotonic() - began < 10 else "late")
"""


@pytest.mark.slow
def test_workers_that_differ_or_fail_are_found_out_by_all(free_hosts, tmp_path):
    """Other options of a second strategy, other weights to begin with, and one that is interrupted."""
    hosts = free_hosts(2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STAGED, str(index), tmp_path / str(index), *hosts],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    first, second = ([line for line in process.communicate()[0].splitlines() if line] for process in processes)
    assert first[:2] == second
    assert first[0] == "All workers must have the same seed, got 0 on worker 0 and 1 on worker 1; make them alike."
    assert first[1].startswith("All workers must have the same weights to begin with, got ")
    assert "got worker 1 ended by KeyboardInterrupt; start the same command on all" in first[2]
    assert first[3] == "at once"
