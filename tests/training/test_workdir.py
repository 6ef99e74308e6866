"""The folder of a run, which belongs to one configuration, and the weights of others that a run starts from."""

import json

import keras
import numpy as np
import pytest

from kerapose import estimators, models, presets, skeletons, training
from kerapose.training import poseconv3d, workdir

CONFIG = {"variant": "c3d_light", "epochs": 3, "limits": (0.5, 1.0), "pretrained": None}


# ---------------------------------------- work folders
def test_open_workdir_makes_it_and_takes_it_again(tmp_path):
    workdir = training.open_workdir(str(tmp_path / "runs" / "a"), CONFIG)
    assert workdir == tmp_path / "runs" / "a"
    assert json.loads((workdir / "config.json").read_text())["variant"] == "c3d_light"
    (workdir / "joint").mkdir()
    assert training.open_workdir(workdir, CONFIG) == workdir


def test_open_workdir_refuses_an_option_that_was_not_there_or_is_gone(tmp_path):
    training.open_workdir(tmp_path, {"seed": 0, "old": 1})
    with pytest.raises(ValueError, match="old 1 there and None here"):
        training.open_workdir(tmp_path, {"seed": 0})
    with pytest.raises(ValueError, match="new None there and 2 here"):
        training.open_workdir(tmp_path, {"seed": 0, "old": 1, "new": 2})


def test_open_workdir_refuses_another_configuration(tmp_path):
    workdir = training.open_workdir(tmp_path, CONFIG)
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(ValueError, match="one configuration") as error:
        training.open_workdir(tmp_path, CONFIG | {"epochs": 4, "seed": 7})
    assert str(error.value) == (
        f"A work folder belongs to one configuration, but {tmp_path} differs: epochs 3 there and 4 here, "
        "seed None there and 7 here; give another workdir, or the options of that run to resume it."
    )
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.parametrize("given, kept", [(None, True), (True, True), (False, False)])
def test_open_workdir_keeps_whether_a_run_is_deterministic(tmp_path, given, kept):
    workdir = training.open_workdir(tmp_path, CONFIG | {"deterministic": given})  # on a CPU
    assert json.loads((workdir / "config.json").read_text())["deterministic"] is kept
    for same in (given, kept):
        assert training.open_workdir(tmp_path, CONFIG | {"deterministic": same}) == tmp_path
    with pytest.raises(ValueError, match=f"deterministic {kept} there and {not kept} here"):
        training.open_workdir(tmp_path, CONFIG | {"deterministic": not kept})


def test_a_run_keeps_to_its_backend_which_was_tensorflow(tmp_path):
    training.open_workdir(tmp_path, CONFIG)
    assert training.open_workdir(tmp_path, CONFIG | {"backend": "tensorflow"}) == tmp_path
    with pytest.raises(ValueError, match="backend 'tensorflow' there and 'jax' here"):
        training.open_workdir(tmp_path, CONFIG | {"backend": "jax"})


def test_a_run_from_before_the_choice_was_deterministic(tmp_path):
    training.open_workdir(tmp_path, CONFIG)
    training.open_workdir(tmp_path, CONFIG | {"deterministic": None})
    with pytest.raises(ValueError, match="deterministic True there and False here"):
        training.open_workdir(tmp_path, CONFIG | {"deterministic": False})


def test_what_is_no_work_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="A work folder must be a folder, got .*file, which is a file; give another"):
        training.open_workdir(tmp_path / "file", CONFIG)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json must be the configuration of a run, it is cut short"):
        training.open_workdir(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == "{"


# ---------------------------------------- fine-tuning
def network(num_classes=3, seed=0, **changes):
    keras.utils.set_random_seed(seed)
    options = {"input_shape": (4, 16, 16, 17), "base_filters": 4, "num_stages": 3} | changes
    return models.C3D(num_classes, **options)


def test_start_from_copies_everything_where_the_classes_are_the_same(tmp_path):
    trained, fresh = network(), network(seed=1)
    trained.save(tmp_path / "best.keras")
    assert training.start_from(fresh, tmp_path / "best.keras", "variant") == []
    for weight, expected in zip(fresh.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_start_from_takes_the_network_out_of_a_recognizer(tmp_path):
    trained = network()
    estimators.ActionRecognizer(trained, skeletons.COCO, ("a", "b", "c")).save(tmp_path / "model.keras")
    fresh = network(seed=1)
    assert training.start_from(fresh, tmp_path / "model.keras", "variant") == []
    np.testing.assert_array_equal(fresh.get_weights()[0], trained.get_weights()[0])


def test_load_network_refuses_a_recognizer_of_two(tmp_path):
    both = {"joint": network(), "limb": network(input_shape=(4, 16, 16, skeletons.COCO.num_edges))}
    estimators.ActionRecognizer(both, skeletons.COCO, ("a", "b", "c")).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"got those of joint and limb in .*; give the best.keras of one"):
        training.load_network(tmp_path / "model.keras")


def test_start_from_leaves_the_classifier_of_other_classes(tmp_path):
    trained, fresh = network(num_classes=5), network(seed=1)
    trained.save(tmp_path / "best.keras")
    classifier = fresh.layers[-1].get_weights()
    assert training.start_from(fresh, tmp_path / "best.keras", "variant") == [fresh.layers[-1].name]
    for ours, theirs in zip(fresh.layers[:-1], trained.layers[:-1], strict=True):
        for weight, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
    for weight, expected in zip(fresh.layers[-1].get_weights(), classifier, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("changes", [{"base_filters": 8}, {"num_stages": 4}, {"input_shape": (4, 16, 16, 15)}])
def test_start_from_refuses_another_network(tmp_path, changes):
    network(5, **changes).save(tmp_path / "best.keras")
    with pytest.raises(ValueError, match="has the layers of the one to train, .*; give the same variant"):
        training.start_from(network(), tmp_path / "best.keras", "variant")


def test_start_from_refuses_a_file_of_something_else(tmp_path):
    (tmp_path / "best.keras").write_bytes(b"nothing that could be unzipped")
    with pytest.raises(ValueError, match="A pretrained network must be a .keras file, got .*, which is something"):
        training.start_from(network(), tmp_path / "best.keras", "variant")


def test_start_from_wants_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a .keras file, got .*, where there is no file; check"):
        training.start_from(network(), tmp_path / "best.keras", "variant")


# ---------------------------------------- presets
def test_a_network_to_start_from_may_be_a_preset(monkeypatch):
    asked = []
    monkeypatch.setattr(models.SlowOnly, "from_preset", lambda name: asked.append(name) or "network")
    assert workdir.load_network("slowonly_346_k400_joint") == "network" and asked == ["slowonly_346_k400_joint"]
    with pytest.raises(ValueError, match="There is no preset 'slowonly_347', nor such a file or folder; the nearest"):
        workdir.load_network("slowonly_347")


def test_what_imagenet_has_taught_may_be_a_preset(monkeypatch):
    asked = []
    monkeypatch.setattr(presets, "fetch", lambda preset: f"the file of {preset.name}")
    monkeypatch.setattr(workdir.weights, "load_backbone", lambda *given: asked.append(given))
    workdir.load_start("network", "resnet50_imagenet")
    workdir.load_start("network", "resnet50.pth")
    assert asked == [("network", "the file of resnet50_imagenet"), ("network", "resnet50.pth")]
    with pytest.raises(
        ValueError, match="A backbone starts from one of .*hrnet_w32_imagenet.*, got the preset resnet50_c"
    ):
        workdir.load_start("network", "resnet50_coco_256x192")


def test_each_modality_starts_from_its_own(tmp_path):
    found = [poseconv3d.pretrained({"pretrained": str(tmp_path)}, modality) for modality in ("joint", "limb")]
    assert found == [tmp_path / modality / "best.keras" for modality in ("joint", "limb")]
    config = {"pretrained": "slowonly_ntu60_xsub_limb"}
    assert poseconv3d.pretrained(config, "limb") == "slowonly_ntu60_xsub_limb"
    with pytest.raises(ValueError, match="preset slowonly_ntu60_xsub_limb is of limb volumes, got the modality joint"):
        poseconv3d.pretrained(config, "joint")
