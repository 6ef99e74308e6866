"""What holds for every model of the package: its configuration is complete, and a saved file changes nothing."""

import inspect

import keras
import numpy as np
import pytest

from kerapose import models
from kerapose.models.network import Network

# Every argument of every network, none at its default.
NETWORK_ARGUMENTS = {
    models.C3D: {
        "num_classes": 7,
        "input_shape": (4, 18, 21, 5),
        "base_filters": 4,
        "num_stages": 3,
        "temporal_downsample": True,
        "dropout": 0.2,
    },
    models.SlowOnly: {
        "num_classes": 7,
        "input_shape": (4, 18, 21, 5),
        "base_filters": 4,
        "stage_blocks": (1, 2),
        "inflate": (True, False),
        "spatial_strides": (1, 2),
        "temporal_strides": (2, 1),
        "stem_stride": 2,
        "stem_pool_stride": 2,
        "dropout": 0.2,
    },
    models.X3D: {
        "num_classes": 7,
        "input_shape": (4, 18, 21, 5),
        "base_filters": 8,
        "stage_blocks": (1, 2),
        "gamma_d": 1.5,
        "gamma_w": 1.5,
        "gamma_b": 2.0,
        "spatial_strides": (1, 2),
        "se_ratio": 0.25,
        "se_style": "all",
        "swish": True,
        "dropout": 0.2,
    },
}


def recognizer_arguments():
    return {
        "network": models.C3D(7, (4, 18, 21, 5), base_filters=4, num_stages=3),
        "flip_permutation": (0, 2, 1, 4, 3),
        "edges": ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4)),
        "num_clips": 2,
        "flip_test": False,
        "flip_labels": (0, 2, 1, 3, 4, 6, 5),
        "use_scores": False,
        "sigma_px": 0.8,
        "padding": 0.5,
    }


ALL_MODELS = [getattr(models, name) for name in models.__all__]
NETWORKS = [model for model in ALL_MODELS if issubclass(model, Network)]
VARIANTS = [(model, variant) for model in NETWORKS for variant in model.VARIANTS]


def arguments_of(model):
    return recognizer_arguments() if model is models.ActionRecognizer else NETWORK_ARGUMENTS[model]


def parameters_of(model):
    """The arguments of `__init__` by name, without self and Keras's own."""
    parameters = inspect.signature(model.__init__).parameters.values()
    return {p.name: p for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}


def build(model, seed=0):
    """A model with weights that no initializer gives: biases and running statistics matter too."""
    network = model(**arguments_of(model), name="mine")
    random = np.random.default_rng(seed)
    for weight in network.weights:
        is_variance = weight.path.endswith("moving_variance")
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if is_variance else random.normal(0.1, 0.3, weight.shape))
    return network


def input_of(model):
    random = np.random.default_rng(1)
    if issubclass(model, Network):
        return random.random((2, *arguments_of(model)["input_shape"]), "float32")
    keypoints = random.uniform(1, 90, (2, 2, 6, 5, 2)).astype("float32")  # [B, M, T, K, 2]
    scores = random.random((2, 2, 6, 5), "float32")
    return {"keypoints": keypoints, "scores": scores, "frame_size": np.array([[90, 120], [100, 100]], "int32")}


def names(value):
    return getattr(value, "__name__", value)


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_every_argument_is_an_attribute_and_in_the_config(model):
    given, parameters = arguments_of(model), parameters_of(model)
    assert set(given) == set(parameters), "the table above names every argument"
    assert all(given[name] != p.default for name, p in parameters.items()), "and leaves none at its default"
    network = model(**given)
    config = network.get_config()
    assert set(parameters) <= set(config)
    for name, value in given.items():
        attribute = getattr(network, name)
        if name == "input_shape":  # Keras's own attribute leads with the batch
            attribute = attribute[1:]
        assert attribute == value, name
        assert config[name] == (keras.saving.serialize_keras_object(value) if name == "network" else value), name


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_lists_do_as_well_as_tuples(model):
    given = arguments_of(model)
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    assert model(**listed, name="mine").get_config() == model(**given, name="mine").get_config()


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_a_saved_model_is_the_same_model(model, tmp_path):
    network, inputs = build(model), input_of(model)
    outputs = np.asarray(network(inputs))
    assert np.isfinite(outputs).all() and outputs.std() > 0
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is model and loaded.name == "mine"
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(inputs), outputs)
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in network.weights]


@pytest.mark.parametrize("model", ALL_MODELS, ids=names)
def test_saved_weights_fit_a_model_built_alike(model, tmp_path):
    network, inputs = build(model, seed=0), input_of(model)
    network(inputs)
    other = build(model, seed=1)
    other(inputs)
    network.save_weights(tmp_path / "model.weights.h5")
    assert np.any(np.asarray(other(inputs)) != np.asarray(network(inputs)))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(inputs), network(inputs))


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_a_model_from_its_config_has_the_same_layers(model):
    network = build(model)
    clone = model.from_config(network.get_config())
    assert [layer.name for layer in clone.layers[1:]] == [layer.name for layer in network.layers[1:]]  # after the input
    assert [weight.shape for weight in clone.weights] == [weight.shape for weight in network.weights]


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_training_and_inference_differ_and_inference_is_deterministic(model):
    network, clips = build(model), input_of(model)
    np.testing.assert_array_equal(network(clips), network(clips))
    assert np.any(np.asarray(network(clips, training=True)) != np.asarray(network(clips)))


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_any_batch_size_gives_the_same_logits(model):
    network, clips = build(model), input_of(model)
    assert network.input_shape == (None, *clips.shape[1:])
    together = np.asarray(network(clips))
    for clip, logits in zip(clips, together, strict=True):
        np.testing.assert_allclose(network(clip[None])[0], logits, rtol=1e-4)


# ---------------------------------------- variants
@pytest.mark.parametrize("model, variant", VARIANTS, ids=names)
def test_a_variant_changes_what_its_table_says(model, variant):
    network = model.from_variant(variant, num_classes=9)
    config = network.get_config()
    for name, parameter in parameters_of(model).items():
        expected = 9 if name == "num_classes" else model.VARIANTS[variant].get(name, parameter.default)
        assert config[name] == expected, name
    assert network.output_shape == (None, 9)


@pytest.mark.parametrize("model", NETWORKS, ids=names)
def test_a_variant_takes_changes(model):
    changes = {"input_shape": (4, 20, 24, 3), "base_filters": 8, "dropout": 0.1}
    config = model.from_variant(list(model.VARIANTS)[-1], num_classes=3, **changes).get_config()
    assert {name: config[name] for name in changes} == changes


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
        network = models.X3D(5, (4, 16, 16, 3), 8, (2, 3), 1.0, spatial_strides=(2, 2), **options)
        return [layer.name.removesuffix(".se_module.fc1") for layer in network.layers if layer.name.endswith("fc1")]

    assert squeezed() == []
    assert squeezed(se_ratio=0.25) == ["layer1.0", "layer2.0", "layer2.2"]
    assert squeezed(se_ratio=0.25, se_style="all") == ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer2.2"]
