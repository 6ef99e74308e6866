"""What holds for every test: how graphs are made. And for examples of docstrings: the arrays and files they name."""

import gc
import os
import sys

# Read when TensorFlow is first imported, so before any test; processes that tests start have them, too.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What XLA compiles here, of TensorFlow or JAX, runs a few times on little: making fast code costs more than it saves.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false",
)

import numpy as np
import pytest

from docs import examples


def pytest_collection_finish():
    """Spares the tests what pays only in long runs.

    Graphs run as they are written: Grappler would take longer over each than it saves. Processes that tests start
    optimize theirs, as a user's does: scripts, and what loads a SavedModel without kerapose. And what was imported is
    not looked through for garbage again and again.
    """
    gc.collect()
    gc.freeze()
    if "tensorflow" in sys.modules:  # else another backend computes
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(autouse=True)
def _example(request, doctest_namespace):
    """Gives an example of a docstring its arrays, and the files that it names in the folder where it runs."""
    test = getattr(request.node, "dtest", None)
    if test is None:
        yield
        return
    folder = request.getfixturevalue("examples_folder")
    examples.put_files("".join(example.source for example in test.examples), folder)
    doctest_namespace.update(examples.names())
    place = os.getcwd()
    os.chdir(folder)
    keras = sys.modules.get("keras")
    if keras:  # how far something is, nobody looks at, and it would be taken for what the example gives
        keras.config.disable_interactive_logging()
    try:
        with np.printoptions(precision=4, suppress=True):
            yield
    finally:
        os.chdir(place)
        if keras:
            keras.config.enable_interactive_logging()
