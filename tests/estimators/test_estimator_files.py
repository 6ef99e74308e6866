"""A file of an estimator knows what was trained, and changes nothing."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest
from tiny_models import BUILT_AROUND, CLASSES, EAR, TINY, arguments_of, input_of, shrink

from kerapose import estimators, models
from kerapose.models.network import argument_names
from kerapose.skeletons import COCO, Skeleton, UnknownPairs

ESTIMATORS = [getattr(estimators, name) for name in estimators.__all__ if name != "Estimator"]
NAMELESS = Skeleton("nameless", ("1", "2", "3", "4", "5"), TINY.edges)
ONE_SIDED = Skeleton("hand", ("left_wrist", "left_thumb", "right_wrist", "4", "5"), TINY.edges)
CENTRED = dataclasses.replace(NAMELESS, flip_pairs=())
PAIRED = dataclasses.replace(NAMELESS, flip_pairs=((1, 2), (3, 4)), sigmas=(0.5,) * 5, colors=((9, 8, 7),) * 5)
RECORD = {
    "options": {"epochs": 3, "class_name": "of a class", "config": {"rate": 1e-3, "steps": [1, 2, None]}},
    "figures": {"pck": 0.25, "by_joint": {"head": 1.0}},
}


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    shrink(monkeypatch.setattr)


def names(value):
    return getattr(value, "__name__", value)


def kept(estimator, folder):
    estimator.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def outputs_of(model, inputs):
    if isinstance(model, estimators.BottomUpEstimator):  # there may be nobody in noise
        return model.fields(inputs)
    if isinstance(model, estimators.StreamingLifter):
        model.reset()
    return keras.tree.flatten(model(inputs))


def test_every_estimator_is_in_the_table_of_tiny_models():
    assert set(ESTIMATORS) <= set(BUILT_AROUND)
    assert all(issubclass(model, estimators.Estimator) for model in ESTIMATORS)


@pytest.mark.parametrize("model", ESTIMATORS, ids=names)
def test_a_file_has_the_skeleton_and_the_record_of_the_training_whole(model, tmp_path):
    arguments = arguments_of(model) | {"training": None}
    estimator = model(**arguments)
    assert estimator.training is None
    estimator.training = RECORD
    loaded = kept(estimator, tmp_path)
    assert loaded.training == RECORD
    assert loaded.skeleton == arguments["skeleton"] and loaded.skeleton.colors == arguments["skeleton"].colors
    for name in set(argument_names(model)) - {"network", "trajectory", "training"}:
        assert getattr(loaded, name) == getattr(estimator, name) == arguments[name], name
    again = [np.asarray(output) for output in outputs_of(loaded, input_of(model))]
    for output, expected in zip(again, outputs_of(estimator, input_of(model)), strict=True):
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("skeleton", [TINY, NAMELESS, ONE_SIDED, CENTRED, PAIRED], ids=lambda s: s.name)
def test_skeletons_of_all_kinds_are_kept_whole(skeleton, tmp_path):
    network = models.TemporalLifter(5, filter_widths=(3,), channels=4)
    loaded = kept(estimators.TrackLifter(network, skeleton, skeleton), tmp_path)
    for ours in (loaded.skeleton, loaded.pose_skeleton):
        assert ours == skeleton and hash(ours) == hash(skeleton)
        assert ours.knows_sides == skeleton.knows_sides
        assert type(ours.flip_pairs) is type(skeleton.flip_pairs)
        assert ours.to_dict() == skeleton.to_dict()
    assert loaded.flip_test == skeleton.knows_sides
    assert isinstance(NAMELESS.flip_pairs, UnknownPairs) and not isinstance(CENTRED.flip_pairs, UnknownPairs)


def test_a_loaded_estimator_says_nothing_again(tmp_path, caplog):
    network = models.C3D(7, (4, 18, 21, 5), base_filters=4, num_stages=3)
    recognizer = estimators.ActionRecognizer(network, NAMELESS, (*CLASSES[:-1], "kick left"))
    assert "Left and right must be known" in caplog.text and not recognizer.flip_test
    caplog.clear()
    loaded = kept(recognizer, tmp_path)
    assert not caplog.records
    assert loaded.size == recognizer.size == (21, 24) == loaded.network["joint"].input_shape[2:4]
    assert loaded.class_names == (*CLASSES[:-1], "kick left")


def test_a_network_is_in_the_file_once(tmp_path):
    network = models.TemporalLifter(5, filter_widths=(3, 3), channels=64)
    network.save(tmp_path / "network.keras")
    estimators.TrackLifter(network, TINY, TINY).save(tmp_path / "model.keras")
    alone, whole = ((tmp_path / name).stat().st_size for name in ("network.keras", "model.keras"))
    assert whole < alone + 10_000


def test_the_configuration_says_which_kerapose_wrote_it(tmp_path):
    network = models.TemporalLifter(5, filter_widths=(3,), channels=4)
    estimators.TrackLifter(network, TINY, TINY).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = json.loads(file.read("config.json"))["config"]
    assert config["format"] == 1 and isinstance(config["kerapose"], str)
    assert config["skeleton"] == json.loads(json.dumps(TINY.to_dict()))


@pytest.mark.parametrize(("number", "remedy"), [(2, "get that kerapose"), (0, "build it anew from its network")])
def test_another_format_is_refused_in_one_sentence(number, remedy):
    network = models.TemporalLifter(5, filter_widths=(3,), channels=4)
    config = estimators.TrackLifter(network, TINY, TINY).get_config()
    with pytest.raises(ValueError, match=f"TrackLifter must have the format 1, got {number} of kerapose 9.9; {remedy}"):
        estimators.TrackLifter.from_config(config | {"format": number, "kerapose": "9.9"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1], "training must be a dict or None, got list"),
        ("topdown", "training must be a dict or None, got str"),
        ({"skeleton": COCO}, r"that JSON can hold, which it is not \(Object of type Skeleton is not JSON"),
        ({"figure": np.float32(1)}, r"which it is not \(Object of type float32 is not JSON serializable\); give lists"),
    ],
)
def test_a_record_that_no_file_can_hold_is_refused(record, message):
    estimator = estimators.TrackLifter(models.TemporalLifter(5, filter_widths=(3,), channels=4), TINY, TINY)
    with pytest.raises(ValueError, match=message):
        estimator.training = record


def test_some_settings_may_be_chosen_anew_and_the_others_not():
    network = models.LightweightOpenPose(4, 6, num_refinements=0, filters=6, trunk_width=0.125, head_filters=4)
    of_keras = {"name": "mine", "dtype": "mixed_bfloat16"}
    estimator = estimators.BottomUpEstimator(network, EAR, max_people=3, training=RECORD, **of_keras)
    assert estimator.changed() is estimator
    other = estimator.changed(height=64, decoding={"threshold": 0.2})
    assert (other.height, other.decoding, other.max_people, estimator.height) == (64, {"threshold": 0.2}, 3, 256)
    assert other.network is network and other.training == RECORD
    assert (other.name, other.dtype_policy.name) == ("mine", "mixed_bfloat16")
    with pytest.raises(ValueError, match="has its own stride, skeleton, by which it was trained; choose others of hei"):
        estimator.changed(height=64, stride=4, skeleton=TINY)
    stream = estimators.StreamingLifter(models.TemporalLifter(5, filter_widths=(3,), causal=True), TINY, TINY)
    with pytest.raises(ValueError, match="has its own flip_test, by which it was trained; give its network"):
        stream.changed(flip_test=True)
