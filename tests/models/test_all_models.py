"""What holds for every model of the package: its configuration is complete, and a saved file changes nothing."""

import contextlib
import functools
import inspect

import keras
import numpy as np
import pytest
from tiny_models import ALL_MODELS, LEFT_OUT, NETWORKS, NOT_SAVED, arguments_of, input_of, shrink, without_weights

from kerapose import estimators, models, training
from kerapose.models.network import Network
from kerapose.skeletons import Skeleton

# The papers' own counts of the parameters of pose networks, in 100,000.
PUBLISHED_PARAMETERS = {
    (models.SimpleBaseline, "resnet50"): 340,
    (models.SimpleBaseline, "resnet101"): 530,
    (models.SimpleBaseline, "resnet152"): 686,
    (models.HRNet, "w32"): 285,
    (models.HRNet, "w48"): 636,
    (models.ConvolutionalPoseMachine, "cpm"): 313,
    (models.DeepPose, "deeppose_r50"): 236,
    (models.DeepPose, "deeppose_r101"): 426,
    (models.DeepPose, "deeppose_r152"): 582,
    (models.RTMPose, "rtmpose_t"): 33,
    (models.RTMPose, "rtmpose_s"): 55,
    (models.RTMPose, "rtmpose_m"): 136,
    (models.RTMPose, "rtmpose_l"): 277,
    (models.RTMPose, "rtmpose_x"): 493,
    (models.LightweightOpenPose, "openpose"): 41,
    (models.TemporalLifter, "27_frames"): 86,
    (models.TemporalLifter, "81_frames"): 128,
    (models.TemporalLifter, "243_frames"): 170,
}

# The papers' own counts of networks of actions, in thousands, without the classifier; no paper counts the others.
PUBLISHED_THOUSANDS = {
    (models.SlowOnly, "slowonly"): 2000,
    (models.SlowOnly, "slowonly_wd"): 7900,
    (models.SlowOnly, "slowonly_hr"): 8000,
    (models.C3D, "c3d"): 6900,
    (models.C3D, "c3d_s"): 3400,
    (models.C3D, "c3d_light"): 3400,
    (models.X3D, "x3d"): 531,
    (models.X3D, "x3d_s"): 241,
    (models.X3D, "x3d_shallow"): 241,
}
UNCOUNTED = {(models.SlowOnly, "slowonly_346"), (models.C3D, "c3d_tiny")}
UNCOUNTED |= {(models.SlowOnly, f"slowonly_{of}{size}") for of in ("rgb", "pose_path") for size in ("", "_tiny")}

WITH_TWO_NETWORKS = (estimators.ActionRecognizer, estimators.TrackLifter, training.LiftTrainer)
VARIANTS = [(model, variant) for model in NETWORKS for variant in model.VARIANTS]


@pytest.fixture(autouse=True)
def shallow(request, monkeypatch):
    """Fewer blocks here and there and one level in an hourglass, since each block takes its time in each test."""
    if "variant" not in request.fixturenames:
        shrink(monkeypatch.setattr)


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """What is kept for these tests goes with them: garbage is looked for in all that is alive, for later tests too."""
    yield
    for kept in (given_to, built, answers):
        kept.cache_clear()


def parameters_of(model):
    """The arguments of `__init__` by name, without self and Keras's own."""
    parameters = inspect.signature(model.__init__).parameters.values()
    return {p.name: p for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}


@functools.cache
def given_to(model):
    return arguments_of(model)


@functools.cache
def built(model):
    """A model of `build` with these arguments, once for all tests that change nothing about it."""
    return build(model, given_to(model))


@functools.cache
def answers(model):
    """Its outputs as it was built."""
    return outputs_of(built(model), input_of(model))


def build(model, arguments, seed=0):
    """A model with weights that no initializer gives: biases and running statistics matter too."""
    network = model(**arguments, name="mine")
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        else:  # kernels keep the scale, or the deeper networks would overflow
            deviation = np.sqrt(2 / np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.3
            weight.assign(random.normal(0, deviation, weight.shape))
    return network


def outputs_of(model, inputs):
    """All outputs as one list of arrays."""
    if isinstance(model, estimators.StreamingLifter):
        model.reset()
    if isinstance(model, estimators.BottomUpEstimator):  # there may be nobody in noise
        return [np.asarray(output) for output in model.fields(inputs)]
    return [np.asarray(output) for output in keras.tree.flatten(model(inputs))]


def assert_answers_alike(other, model):
    for output, expected in zip(outputs_of(other, input_of(model)), answers(model), strict=True):
        np.testing.assert_array_equal(output, expected)


def names(value):
    return getattr(value, "__name__", value)


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_every_argument_is_an_attribute_and_in_the_config(model):
    given, parameters = given_to(model), parameters_of(model)
    assert set(given) == set(parameters) - LEFT_OUT.get(model, set()), "the table above names every argument"
    assert all(value != parameters[name].default for name, value in given.items()), "and leaves none at its default"
    network, left_out = built(model), NOT_SAVED.get(model, set())
    config = network.get_config()
    assert set(parameters) - left_out <= set(config)
    for name, value in given.items():
        if name in left_out:
            assert name not in config
            continue
        attribute = getattr(network, name)
        if name == "input_shape":  # Keras's own attribute leads with the batch
            attribute = attribute[1:]
        assert attribute == value, name
        assert config[name] == in_config(value), name


def in_config(value):
    if isinstance(value, dict):
        return {name: in_config(one) for name, one in value.items()}
    if isinstance(value, Skeleton):
        return value.to_dict()
    return keras.saving.serialize_keras_object(value) if isinstance(value, Network) else value


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_names_have_no_dots(model):
    parts = [*built(model)._flatten_layers(), *built(model).variables]
    assert [part.name for part in parts if "." in part.name] == []


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_lists_do_as_well_as_tuples(model):
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given_to(model).items()}
    with without_weights() if model in NETWORKS else contextlib.nullcontext():
        assert model(**listed, name="mine").get_config() == built(model).get_config()


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_a_saved_model_is_the_same_model(model, tmp_path):
    network = built(model)
    assert all(np.isfinite(output).all() and output.std() > 0 for output in answers(model))
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is model and loaded.name == "mine"
    assert loaded.get_config() == network.get_config()
    assert_answers_alike(loaded, model)
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in network.weights]
    assert [weight.shape for weight in loaded.weights] == [weight.shape for weight in network.weights]


# The weights of other networks and of what is built around them are found in the same way, in whole files too.
@pytest.mark.parametrize("model", [models.C3D, *WITH_TWO_NETWORKS], ids=names)
def test_saved_weights_fit_a_model_built_alike(model, tmp_path):
    other = build(model, arguments_of(model), seed=1)
    before = outputs_of(other, input_of(model))
    assert any(np.any(a != b) for a, b in zip(before, answers(model), strict=True))
    built(model).save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert_answers_alike(other, model)


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_training_and_inference_differ_and_inference_is_deterministic(model):
    network = built(model)
    assert_answers_alike(network, model)
    before = network.get_weights()
    trained = keras.tree.flatten(network(input_of(model), training=True))
    network.set_weights(before)
    assert all(np.any(np.asarray(a) != b) for a, b in zip(trained, answers(model), strict=True))


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_any_batch_size_gives_the_same_outputs(model):
    network, inputs = built(model), input_of(model)
    keras.tree.map_structure_up_to(inputs, assert_fits, inputs, network.input_shape)
    one = keras.tree.map_structure(lambda x: x[1:], inputs)
    for alone, output in zip(outputs_of(network, one), answers(model), strict=True):
        np.testing.assert_allclose(alone[0], output[1], rtol=1e-4, atol=1e-4 * np.abs(output).max())


def assert_fits(array, shape):
    """A network's shape of an input names every axis but the batch, or leaves it open."""
    assert shape[0] is None and all(known in (None, size) for known, size in zip(shape, array.shape, strict=True))


# ---------------------------------------- variants
@pytest.mark.parametrize("model, variant", VARIANTS, ids=names)
def test_a_variant_changes_what_its_table_says(model, variant):
    first = next(iter(parameters_of(model)))  # num_classes, num_joints or num_heatmaps
    axis = -2 if model in (models.TemporalLifter, models.DeepPose, models.RTMPose) else -1
    with without_weights():
        network = model.from_variant(variant, **{first: 17})
    config = network.get_config()
    for name, parameter in parameters_of(model).items():
        expected = 17 if name == first else model.VARIANTS[variant].get(name, parameter.default)
        assert config[name] == expected, name
    outputs = keras.tree.flatten(network.output)
    for output in outputs[::2] if model is models.LightweightOpenPose else outputs:  # between them its fields
        assert output.shape[0] is None and output.shape[axis] == 17
    count = sum(np.prod(variable.shape) for variable in network.trainable_variables)
    if (model, variant) in PUBLISHED_PARAMETERS:
        assert round(count / 1e5) == PUBLISHED_PARAMETERS[model, variant]
    if (model, variant) in PUBLISHED_THOUSANDS:
        thousands = (count - sum(np.prod(weight.shape) for weight in network.get_layer("fc_cls").weights)) / 1000
        published = PUBLISHED_THOUSANDS[model, variant]
        # Three digits are given for X3D, two for the others.
        assert round(thousands) == published if model is models.X3D else thousands == pytest.approx(published, rel=0.01)
    elif model in (models.C3D, models.SlowOnly, models.X3D):
        assert (model, variant) in UNCOUNTED


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_a_variant_takes_changes(model):
    changes = {"input_shape": (4, 20, 24, 3), "base_filters": 8, "image_shape": (64, 64, 3), "channels": 8}
    changes |= {"rgb_filters": 8, "width": 16} if model in (models.RGBPoseConv3D, models.STARTransformer) else {}
    first, *others = parameters_of(model)
    changes = {name: value for name, value in changes.items() if name in others}
    with without_weights():
        config = model.from_variant(list(model.VARIANTS)[-1], 3, **changes).get_config()
    assert {name: config[name] for name in changes} == changes and config[first] == 3
    assert changes


def test_a_variant_that_does_not_exist_is_refused_with_those_that_do():
    known = ", ".join(models.C3D.VARIANTS)
    with pytest.raises(ValueError, match=f"C3D has the variants {known}, got 'c3d_xxl'; use one of them."):
        models.C3D.from_variant("c3d_xxl", num_classes=3)


# ---------------------------------------- errors
@pytest.mark.parametrize("num_stages", [0, 2, 5])
def test_c3d_has_three_or_four_stages(num_stages):
    with pytest.raises(ValueError, match=f"3 or 4 stages, got num_stages={num_stages}; use 4, or 3"):
        models.C3D(5, num_stages=num_stages)


def test_slowonly_takes_as_many_entries_for_every_stage():
    with pytest.raises(ValueError, match=r"one entry per stage, got lengths \[4, 3, 3, 3\]; give all four"):
        models.SlowOnly(5, stage_blocks=(3, 4, 6, 3))
    with pytest.raises(ValueError, match=r"got lengths \[3, 3, 3, 1\]"):
        models.SlowOnly(5, temporal_strides=(1,))


def test_x3d_takes_as_many_entries_for_every_stage():
    with pytest.raises(ValueError, match="stage_blocks and spatial_strides .* got lengths 3 and 2; give both"):
        models.X3D(5, spatial_strides=(2, 2))


def test_x3d_knows_two_styles_of_squeeze_excitation():
    with pytest.raises(ValueError, match='se_style is "half" or "all", got \'every\'; use "half"'):
        models.X3D(5, se_style="every")


def test_x3d_squeezes_every_second_block_or_all():
    def squeezed(**options):
        with without_weights():
            network = models.X3D(5, (4, 16, 16, 3), 8, (2, 3), 1.0, spatial_strides=(2, 2), **options)
        return [layer.name.removesuffix("_se_module_fc1") for layer in network.layers if layer.name.endswith("fc1")]

    assert squeezed() == []
    assert squeezed(se_ratio=0.25) == ["layer1_0", "layer2_0", "layer2_2"]
    assert squeezed(se_ratio=0.25, se_style="all") == ["layer1_0", "layer1_1", "layer2_0", "layer2_1", "layer2_2"]
