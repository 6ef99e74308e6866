"""Fixtures of all tests: measured cases of the published references (goldens), real data, TensorBoard's files."""

import dataclasses
import json
import os
import pathlib
import socket
import zlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_ignore_collect(collection_path):
    """No examples are looked for in what tests only use: some of it is to be run, not imported."""
    is_helper = collection_path.suffix == ".py" and not collection_path.name.startswith("test_")
    return True if is_helper else None


@dataclasses.dataclass(frozen=True)
class Golden:
    """One measured case: `case["input_imgs"]` is an array, `case.config` and `case.state_dict` are dicts."""

    name: str
    config: dict
    state_dict: dict
    arrays: dict

    def __getitem__(self, name):
        return self.arrays[name]

    def __contains__(self, name):
        return name in self.arrays

    def tolerance(self, output):
        """The `rtol` and `atol` of an output, as keyword arguments of NumPy's comparisons."""
        return self.config.get("tolerance_by_output", {}).get(output, self.config["tolerance"])

    def check(self, output, actual):
        """Asserts that `actual` has the shape and, within the case's tolerance, the values of `output`."""
        actual = np.asarray(actual)
        assert actual.shape == self[output].shape, f"{self.name}: {output} has the shape {actual.shape}"
        np.testing.assert_allclose(actual, self[output], **self.tolerance(output), err_msg=f"{self.name}: {output}")


@pytest.fixture(scope="session")
def golden():
    """A function that loads `tests/goldens/<name>.npz` as a `Golden`."""
    return load_golden


@pytest.fixture(scope="session")
def shared_data():
    """A function that gives the folder of a real data set, or skips the test where there is none."""
    return find_shared_data


@pytest.fixture(scope="session")
def events():
    """A function that reads TensorBoard's files of a folder: the steps of each tag, and what was noted at them.

    That is an array each time: a picture [H, W, 3], or a number.
    """

    import tensorflow as tf  # not under another backend, where it may not even be installed

    def read(folder):
        steps, noted = {}, {}
        for path in sorted(folder.iterdir()):
            for record in tf.data.TFRecordDataset(str(path)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    steps.setdefault(value.tag, []).append(event.step)
                    content = tf.make_ndarray(value.tensor)
                    if value.metadata.plugin_data.plugin_name == "images":  # width, height, one encoded picture
                        content = tf.io.decode_png(content[2]).numpy()
                    noted.setdefault(value.tag, []).append(content)
        return steps, noted

    return read


def load_golden(name):
    with np.load(ROOT / "tests" / "goldens" / f"{name}.npz") as file:
        arrays = dict(file)
    config = json.loads(arrays.pop("config").item())
    state = json.loads(arrays.pop("state").item()) if "state" in arrays else []
    constants = config.get("constants", {})  # what holds the same in every checkpoint
    state_dict = {
        weight: np.float32(constants[weight]) if weight in constants else make_weight(weight, tuple(shape))
        for weight, shape in state
    }
    return Golden(name, config, state_dict, arrays)


def make_weight(name, shape):
    """The float32 weight that the measured network had under a state-dict name: a function of name and shape alone."""
    random = np.random.RandomState(zlib.crc32(name.encode()))  # this legacy generator never changes its stream
    if name.endswith("running_var"):
        weight = random.uniform(0.5, 1.5, shape)  # a variance is positive
    elif name.endswith(("running_mean", "bias")):
        weight = random.standard_normal(shape) * 0.1
    elif len(shape) == 1:  # a batch norm's scale
        weight = random.standard_normal(shape) * 0.1 + 1.0
    elif shape:  # a kernel, outputs first: He's variance for its fan-in
        weight = random.standard_normal(shape) * np.sqrt(2.0 / max(1, np.prod(shape[1:])))
    else:
        weight = random.standard_normal()
    return np.array(weight, np.float32).reshape(shape)


def find_shared_data(name):
    folder = pathlib.Path(os.environ.get("KERAPOSE_DATA", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set KERAPOSE_DATA to the folder that holds {name}/")
    return folder


@pytest.fixture(scope="session")
def free_hosts():
    """A function that gives so many addresses of this machine that nobody has."""

    def find(count):
        doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        hosts = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
        for door in doors:
            door.close()
        return hosts

    return find
