"""Every script's training under KERAS_BACKEND=jax: on four devices as on one, resumed as if never cut short; two hosts.

Processes of their own do the work, since Keras has one backend a process: `trained_on_jax.py` says what the first does.
"""

import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import training
from kerapose.training import devices, jax_devices, workers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TRAININGS = ("poseconv3d", "lifter", "semi_supervised", "topdown", "teacher", "openpose", "rgbpose", "star_transformer")
# Adam makes a step of the rate's size of a gradient that is nothing but rounding.
CLOSE = {"lifter": 1e-4, "semi_supervised": 1e-4, "openpose": 1e-4}
ENVIRONMENT = os.environ | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def jax_installed():
    pytest.importorskip("jax", reason="needs jax; pip install 'kerapose[jax]'")


@pytest.fixture(scope="module")
def clips_dir(prepare_clips):
    of_tests = runpy.run_path(str(HERE / "test_poseconv3d.py"))
    return prepare_clips("pyskl_clips/custom", *of_tests["annotated"](), of_tests["POSTURES"], "coco")


@pytest.fixture(scope="module")
def run(jax_installed, clips_dir, gestures_dir, groups_dir, tmp_path_factory):
    """A function that runs `trained_on_jax.py` in a folder, which it gives."""
    walkers = str(tmp_path_factory.mktemp("walkers"))
    runpy.run_path(str(HERE / "test_lifter.py"))["Walkers"](data_dir=walkers).download_and_prepare()
    folders = dict.fromkeys(TRAININGS, groups_dir) | dict.fromkeys(("lifter", "semi_supervised"), walkers)
    folders |= {"poseconv3d": clips_dir, "rgbpose": gestures_dir, "star_transformer": gestures_dir}

    def run(what, backend="jax"):
        folder = tmp_path_factory.mktemp(what)
        done = subprocess.run(
            [sys.executable, str(HERE / "trained_on_jax.py"), what, str(folder), json.dumps(folders)],
            cwd=ROOT,
            env=ENVIRONMENT | {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return folder

    return run


@pytest.fixture(scope="module")
def found(run):
    """What `trained_on_jax.py` found of every training."""
    return json.loads((run("train") / "found.json").read_text())


@pytest.mark.slow  # two processes that build all networks
def test_the_same_batches_come_as_under_tensorflow(run):
    ours, theirs = run("batches"), run("batches", "tensorflow")
    for name in TRAININGS:
        with np.load(ours / f"{name}.npz") as batch, np.load(theirs / f"{name}.npz") as expected:
            assert set(batch) == set(expected)
            for array in expected:
                assert batch[array].dtype == expected[array].dtype
                np.testing.assert_allclose(batch[array], expected[array], rtol=1e-5, atol=1e-4)


@pytest.mark.slow  # minutes, of all of them together
@pytest.mark.parametrize("name", TRAININGS)
def test_four_devices_train_as_one(found, name):
    assert found["devices"] == 4 and found[name]["devices_of_training"] == 4
    assert found[name]["difference"] < CLOSE.get(name, 1e-5)
    whole, alone = found[name]["history"][0], found[name]["alone_history"]
    assert whole["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    figures = [figure for figure in alone if not figure.endswith("loss")]
    assert [whole[figure] for figure in figures] == pytest.approx([alone[figure] for figure in figures], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_goes_to_its_end_and_goes_on_where_it_was_cut_short(found, name):
    assert found[name]["metrics"] and found[name]["devices_of_the_test"] == [1]
    assert len(found[name]["history"]) == 2 and np.isfinite([epoch["loss"] for epoch in found[name]["history"]]).all()
    assert found[name]["resumed_alike"]


PROGRAM = """
from train import common, poseconv3d as script
{prepare}
common.main(script.TRAINING)
"""


@pytest.mark.slow  # five processes
def test_two_hosts_train_as_one_and_go_on_where_they_were_killed(jax_installed, clips_dir, tmp_path, state, killed_at):
    options = runpy.run_path(str(HERE / "test_poseconv3d.py"))["OPTIONS"] | {"epochs": 2, "precision": "float32"}
    options |= {"data_dir": clips_dir, "strategy": "jax_data_parallel"}

    def start(workdir, devices, prepare="", **flags):
        flags = options | {"workdir": workdir} | flags
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(prepare=prepare)] + [f"--{name}={flags[name]}" for name in flags],
            cwd=ROOT,
            env=ENVIRONMENT | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def both(prepare=""):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            hosts = f"localhost:{free.getsockname()[1]},localhost:1"  # the first one's counts
        return [start(tmp_path / str(i), 2, prepare, worker_hosts=hosts, worker_index=i) for i in range(2)]

    for process in both(killed_at(epoch=1, step=3)):
        process.communicate(timeout=600)
        assert process.returncode != 0
    assert not (tmp_path / "0" / "metrics.json").exists()
    for process in [*both(), start(tmp_path / "alone", 4)]:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said[-4000:]
    (ours, history), (alone, expected) = (state(tmp_path / name / "joint") for name in ("0", "alone"))
    assert [epoch["loss"] for epoch in history] == pytest.approx([epoch["loss"] for epoch in expected], rel=1e-5)
    for name in [name for name in alone if name.startswith("variable")]:
        np.testing.assert_allclose(ours[name], alone[name], atol=1e-4)
    assert (tmp_path / "0" / "metrics.json").exists() and not (tmp_path / "1").exists()  # the first one writes


# ---------------------------------------------------------------------------------------------------- refused
def test_each_backend_has_its_own_strategies(monkeypatch):
    with pytest.raises(ValueError, match="jax_data_parallel is a strategy of JAX, got KERAS_BACKEND=tensorflow; set"):
        training.make_strategy("jax_data_parallel", 8)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for name in ("mirrored", "multi_worker"):
        with pytest.raises(ValueError, match=f"{name} is a strategy of TensorFlow, got KERAS_BACKEND=jax; use jax_d"):
            training.make_strategy(name, 8)


def test_a_saved_model_is_tensorflows(monkeypatch):
    jax_devices.begin(export=True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"written by TensorFlow, got export under KERAS_BACKEND=jax; leave it out"):
        jax_devices.begin(export=True)
    jax_devices.begin(export=False)


def test_a_gpu_is_repeatable_under_jax_where_xla_was_told_so(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true --xla_dump_to=x")
    jax_devices.check_jax_determinism()
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    with pytest.raises(ValueError, match="got deterministic with XLA_FLAGS='--xla_dump_to=x'; add --xla_gpu_determ"):
        jax_devices.check_jax_determinism()


# ---------------------------------------------------------------------------------------------------- shared
def test_a_batch_is_a_multiple_of_the_devices():
    strategy = object.__new__(jax_devices.DataParallel)
    workers.Workers.__init__(strategy, devices=4)
    for batch_size in (None, 8):
        devices.check_batch_size(batch_size, strategy)
    with pytest.raises(ValueError, match="batch_size is divided by 4 devices of 1 workers, got 6; give 8, say"):
        devices.check_batch_size(6, strategy)


@pytest.mark.parametrize("index, count", [(0, 1), (0, 2), (1, 2)])
def test_what_devices_cannot_share_is_repeated_until_they_can(index, count):
    strategy = object.__new__(jax_devices.DataParallel)
    workers.Workers.__init__(strategy, index, count, devices=4)
    x = np.arange(14)
    full, last = strategy.evenly(tf.data.Dataset.from_tensor_slices((x, -x)).batch(8)).as_numpy_iterator()
    rows = slice(8 // count * index, 8 // count * (index + 1))
    np.testing.assert_array_equal(full[0], x[:8][rows])
    rows = slice(12 // count * index, 12 // count * (index + 1))
    np.testing.assert_array_equal(last[0], np.tile(x[8:], 2)[rows])
    np.testing.assert_array_equal(last[1], -last[0])
