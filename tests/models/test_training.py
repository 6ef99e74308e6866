"""Every model that trains can be trained anywhere: compiled by XLA, repeatably on a GPU, and by PyTorch.

Under JAX models are trained in test_jax_backend, by the one process that computes all with it.
"""

import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import traceback

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_models
from tensorflow.python.framework import config as tensorflow_config
from tiny_models import ALL_MODELS, TRAINED, UNTRAINED, assert_learns, in_training

from kerapose import estimators, layers, models, training
from kerapose.skeletons import Skeleton

HERE = pathlib.Path(__file__).resolve().parent

# The operations whose GPU kernel refuses to run once operations are to be repeatable, by TensorFlow 2.21's own error
# texts; where only some forms of one do so, what tells them. The texts also speak of segment reductions, but since 2.8
# each of them has a repeatable kernel, and of depthwise convolutions with a cuDNN that is older than TensorFlow takes.
UNREPEATABLE = {
    "ResizeNearestNeighborGrad": None,
    "AdjustContrast": None,
    "AdjustContrastv2": None,
    "SparseTensorDenseMatMul": None,
    "CropAndResizeGradImage": None,
    "CropAndResizeGradBoxes": None,
    "FusedBatchNormGrad": lambda node: not node.attr["is_training"].b,
    "FusedBatchNormGradV2": lambda node: not node.attr["is_training"].b,
    "FusedBatchNormGradV3": lambda node: not node.attr["is_training"].b,
    "MaxPoolGradWithArgmax": None,
    "Dilation2DBackpropFilter": None,
    "Dilation2DBackpropInput": None,
    "Bincount": None,
    "DenseBincount": None,
    "FakeQuantWithMinMaxVarsGradient": None,
    "FakeQuantWithMinMaxVarsPerChannelGradient": None,
    "SoftmaxCrossEntropyWithLogits": None,  # the Python function takes another way
    "SparseSoftmaxCrossEntropyWithLogits": None,  # likewise
    "ScatterAdd": None,  # of variables by reference, with their kin
    "ScatterSub": None,
    "ScatterUpdate": None,
    "Svd": None,
    "DebugNumericSummaryV2": None,
    "Timestamp": None,
}

# The steps of these are part of others', which are always compiled, so that their own may wait: the blocks of SlowOnly
# and MC3ResNet18 are those of the videos' networks, and the student of the distiller is an hourglass.
PARTS = {
    models.SlowOnly: models.RGBPoseConv3D,
    models.MC3ResNet18: models.STARTransformer,
    models.StackedHourglass: training.Distiller,
}
COMPILED = [
    pytest.param(model, marks=[pytest.mark.slow] if model in PARTS else [])
    for model in ALL_MODELS
    if model not in UNTRAINED
]

# Writes what training each model for one step raised, or null.
PROGRAM = """
import json, traceback

import without_tensorflow

import keras
import tiny_models
import torch
from numpy_weights import draw_with_numpy

# On processors without AVX-512 the oneDNN of PyTorch 2.13 writes beyond its memory in gradients of 3D convolutions.
torch.backends.mkldnn.enabled = False
tiny_models.shrink()
draw_with_numpy()
raised = {}
for model in tiny_models.TRAINED:
    try:
        tiny_models.assert_learns(*tiny_models.in_training(model, jit_compile=False, run_eagerly=True))
        raised[model.__name__] = None
    except Exception:
        raised[model.__name__] = traceback.format_exc()
raised["volumes"] = tiny_models.volumes()
print(json.dumps(raised))
"""


@pytest.fixture(autouse=True, scope="module")
def shallow():
    with pytest.MonkeyPatch.context() as patch:
        tiny_models.shrink(patch.setattr)
        yield
    for kept in (prepared, raised_here, traced):  # Python looks for garbage in all that is alive, for all later tests
        kept.cache_clear()


@contextlib.contextmanager
def repeatable_operations():
    """Operations are to be repeatable: some functions of TensorFlow then trace others, and XLA refuses some."""
    tf.config.experimental.enable_op_determinism()
    yield
    tensorflow_config.disable_op_determinism()  # TensorFlow has no public way back


@pytest.fixture
def repeatable():
    with repeatable_operations():
        yield


@functools.cache
def prepared(model):
    """A compiled model and a batch, once for all tests."""
    return in_training(model, run_eagerly=True)


@functools.cache
def raised_here(model):
    """What one step of `fit` raised under TensorFlow."""
    try:
        assert_learns(*prepared(model))
    except Exception:
        return traceback.format_exc()


def as_tensors(batch):
    return keras.tree.map_structure(tf.constant, batch)


def step_function(model, batch):
    """The training step of a model that `fit` has run, as a function that XLA compiles, and its graph."""
    step = tf.function(model.train_step, autograph=False, jit_compile=True)
    return step, step.get_concrete_function(as_tensors(batch)).graph


@functools.cache
def traced(model):
    raised_here(model)
    with repeatable_operations():
        return step_function(*prepared(model))


def unrepeatable(graph):
    """The names of the operations, in a graph and in all functions that it calls, that a GPU does not repeat."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return sorted(
        {
            node.op
            for node in nodes
            if node.op in UNREPEATABLE and (UNREPEATABLE[node.op] is None or UNREPEATABLE[node.op](node))
        }
    )


def names(value):
    return getattr(value, "__name__", value)


def test_every_model_is_trained_or_known_not_to_be():
    assert set(ALL_MODELS) == set(TRAINED) | UNTRAINED and not set(TRAINED) & UNTRAINED
    assert {getattr(estimators, name) for name in estimators.__all__} - {estimators.Estimator} <= set(ALL_MODELS)
    models_that_train = {getattr(training, name) for name in training.__all__}
    assert {one for one in models_that_train if isinstance(one, type) and issubclass(one, keras.Model)} <= set(TRAINED)


# ---------------------------------------- XLA
@pytest.mark.parametrize("model", COMPILED, ids=names)
def test_forward_and_backward_compile(model):
    step, _ = traced(model)
    assert step.experimental_get_compiler_ir(as_tensors(prepared(model)[1]))(stage="hlo")


def test_parts_are_parts():
    for part, whole in PARTS.items():
        layers_of_part, layers_of_whole = (kinds_of(prepared(model)[0]) for model in (part, whole))
        assert layers_of_part <= layers_of_whole


def kinds_of(network):
    """The kinds of layers with weights: the class, and what a convolution goes over."""
    layers = [layer for layer in network._flatten_layers(include_self=False) if layer.weights]
    layers = [layer for layer in layers if not isinstance(layer, keras.Model)]
    return {(type(layer).__name__, len(getattr(layer, "kernel_size", ()))) for layer in layers}


def test_what_does_not_compile_is_seen():
    enlarged = gradient_of(lambda x: tf.square(tf.image.resize(x, (8, 8), "nearest")))  # what is constant is folded
    step = tf.function(enlarged, jit_compile=True)
    with pytest.raises(Exception, match="ResizeNearestNeighborGrad"):
        step.experimental_get_compiler_ir(tf.ones((1, 4, 4, 3)))(stage="hlo")


# ---------------------------------------- repeatable operations
@pytest.mark.parametrize("model", COMPILED, ids=names)
def test_a_training_step_is_repeatable_on_a_gpu(model):
    _, graph = traced(model)
    assert unrepeatable(graph) == []


@pytest.mark.parametrize("modality", ["joint", "rgb"])
def test_so_is_that_of_a_network_of_actions(modality, repeatable):
    """With what trainings put around a network: volumes drawn in the model, taught features, their optimizers."""
    random = np.random.default_rng(0)
    batch = {"keypoints": random.uniform(0, 18, (2, 1, 4, 5, 2)), "scores": random.random((2, 1, 4, 5))}
    if modality == "joint":
        network = models.C3D(7, (4, 18, 21, 5), base_filters=4, num_stages=3)
        model = training.action_model(network, Skeleton("letters", tuple("abcde"), ((0, 1),)))
    else:
        options = {"stage_blocks": (1, 1), "inflate": (False, True), "spatial_strides": (1, 2)}
        network = models.SlowOnly(7, (4, 32, 40, 3), 4, temporal_strides=(1, 1), **options)
        model = training.video_model(network, 5, keypoint_weight=0.5)
        batch["rgb"] = random.random((2, 4, 32, 40, 3))
    training.compile_for_actions(model, 7, training.SGDL2(0.1, momentum=0.9, l2=1e-4, global_clipnorm=40.0))
    batch = {name: array.astype("float32") for name, array in batch.items()}
    model.run_eagerly = True  # to build what a step needs
    model.train_on_batch(batch, np.array([1, 4]))
    _, graph = step_function(model, (batch, np.array([1, 4])))
    assert unrepeatable(graph) == []


@pytest.mark.parametrize("frozen", [layers.BatchNorm(), layers.ConvNorm(4, (3, 3))], ids=["norm", "convolution"])
def test_so_is_that_of_frozen_norms(frozen, repeatable):
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, frozen(layers.ConvNorm(4, (1, 1))(inputs)))
    frozen.trainable = False
    model.compile("adam", "mse", run_eagerly=True)
    batch = (np.ones((2, 6, 6, 4), "float32"),) * 2
    model.train_on_batch(*batch)
    _, graph = step_function(model, batch)
    assert unrepeatable(graph) == []


def gradient_of(function):
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    return gradient


def frozen_norm(x):
    ones = tf.ones(3)
    return tf.compat.v1.nn.fused_batch_norm(x, ones, ones, ones, ones, is_training=False)[0]


def in_a_loop(function):
    return lambda x: tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, function(x)), [0, x])[1]


REFUSED = {
    "ResizeNearestNeighborGrad": gradient_of(lambda x: tf.image.resize(x, (8, 8), "nearest")),
    "AdjustContrastv2": in_a_loop(lambda x: tf.image.adjust_contrast(x, 2.0)),
    "CropAndResizeGradImage": lambda x: tf.raw_ops.CropAndResizeGradImage(
        grads=x, boxes=[[0.0, 0, 1, 1]], box_ind=[0], image_size=[1, 4, 4, 3], T=tf.float32
    ),
    "FusedBatchNormGradV3": gradient_of(frozen_norm),
    "DenseBincount": lambda x: tf.math.bincount(tf.cast(x[0, 0, :, 0], "int32")),
    "SparseTensorDenseMatMul": lambda x: tf.sparse.sparse_dense_matmul(tf.sparse.eye(4), x[0, 0]),
    "SparseSoftmaxCrossEntropyWithLogits": lambda x: tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=x[0, 0], labels=tf.zeros(4, "int32")
    ),
}


@pytest.mark.parametrize("operation", REFUSED)
def test_what_is_not_repeatable_is_seen(operation, repeatable):
    function = tf.function(REFUSED[operation]).get_concrete_function(tf.TensorSpec((1, 4, 4, 3)))
    assert unrepeatable(function.graph) == [operation]


@pytest.mark.parametrize(
    "function",
    [
        gradient_of(lambda x: tf.gather(x, [0, 0, 1], axis=1)),
        gradient_of(lambda x: tf.compat.v1.nn.fused_batch_norm(x, tf.ones(3), tf.ones(3))[0]),
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(tf.zeros(4, "int32"), x[0, 0]),
        lambda x: tf.math.unsorted_segment_sum(x[0, 0], tf.constant([0, 1, 1, 0]), 2),
    ],
    ids=["gather", "norm in training", "cross entropy", "segments"],
)
def test_what_is_repeatable_is_not(function, repeatable):
    assert unrepeatable(tf.function(function).get_concrete_function(tf.TensorSpec((1, 4, 4, 3))).graph) == []


# ---------------------------------------- one step of `fit`
@functools.cache
def under_torch():
    """What one step of each model raised in a process of PyTorch's, and the volumes that it draws."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch; pip install 'kerapose[torch]'")
    options = {"KERAS_BACKEND": "torch"}
    options["OMP_NUM_THREADS"] = "1"  # PyTorch's others would spend their time on waiting
    options["PYTHONPATH"] = os.pathsep.join(map(str, (HERE.parent.parent, HERE)))
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | options,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("model", TRAINED, ids=names)
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_step_of_fit_changes_the_weights(model, backend):
    raised = raised_here(model) if backend == "tensorflow" else under_torch()[model.__name__]
    assert raised is None, raised


def test_pytorch_draws_the_same_volumes():
    expected = np.array(tiny_models.volumes())
    assert expected.max() > 0.1
    np.testing.assert_allclose(under_torch()["volumes"], expected, atol=1e-6)
