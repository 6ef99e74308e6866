"""`training.OpenPose`, as a script and here: in phases to a file that knows itself; resumed; what reaches what; given
wrong options."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import evaluation, export, models, predictors, skeletons, training, weights
from kerapose.data import people
from kerapose.training import OpenPose, openpose, optimizers, pictures, runs
from kerapose.training.openpose import RECIPES
from kerapose.training.options import choose

EPOCHS = 2  # of each phase
PHASES = [{"refinements": count, "epochs": 1, "learning_rate": 1e-3, "decay_epochs": []} for count in (0, 1)]
OPTIONS = {
    "dataset": "groups",
    "recipe": "small",
    "precision": "float32",
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 0.005,
    "schedule": "cosine",
    "warmup_epochs": 0,
    "l2": 1e-5,
    "bias_rate": 2,
    "refinement_rate": 1,
    "image_size": 64,
    "sigma_px": 4,
    "smallest_scale": 0.9,
    "largest_scale": 1.1,
    "rotation_degrees": 0,
    "shift_px": 8,
    "flip_probability": 0,
    "color_jitter": 0,
    "test_height": 64,
}


@keras.saving.register_keras_serializable("tests")
class FewFields(models.LightweightOpenPose.__base__):
    """A network of fields that is built, trained and exported in seconds; it stands in for LightweightOpenPose."""

    VARIANTS = {"openpose": {}, "openpose_tiny": {}, "narrow": {"filters": 8}}
    stride = 8

    def __init__(
        self,
        num_heatmaps,
        num_pafs,
        image_shape=(None, None, 3),
        num_refinements=1,
        filters=24,
        trunk_width=1.0,
        head_filters=24,
        **kwargs,
    ):
        outputs = {"heatmaps": num_heatmaps, "pafs": num_pafs}
        x = inputs = keras.Input(image_shape)
        for i, kernel in enumerate((5, 7, 9)):  # a cell sees a whole doll
            x = keras.layers.Conv2D(filters, kernel, 2, "same", use_bias=False, name=f"model_{i}")(x)
            x = keras.layers.BatchNormalization(momentum=0.8, name=f"model_{i}_norm")(x)
            x = keras.layers.ReLU(name=f"model_{i}_relu")(x)
        fields = []
        for stage in ("initial_stage", *(f"refinement_stages_{i}" for i in range(num_refinements))):
            seen = keras.layers.Concatenate(name=f"{stage}_seen")([x, *fields[-2:]]) if fields else x
            hidden = keras.layers.Conv2D(head_filters, 3, padding="same", activation="relu", name=f"{stage}_0")(seen)
            fields += [
                keras.layers.Conv2D(count, 1, kernel_initializer="zeros", dtype="float32", name=f"{stage}_{name}")(
                    hidden
                )
                for name, count in outputs.items()
            ]
        super().__init__(inputs, fields, **kwargs)
        self.num_heatmaps, self.num_pafs, self.image_shape = num_heatmaps, num_pafs, tuple(image_shape)
        self.num_refinements, self.filters = num_refinements, filters
        self.trunk_width, self.head_filters = trunk_width, head_filters


# The script runs with that network, too, in two phases, and draws few images.
PREPARATION = f"""
import runpy
from kerapose.training import openpose, pictures
openpose.models.LightweightOpenPose = runpy.run_path({__file__!r})["FewFields"]
openpose.RECIPES["small"]["phases"] = {PHASES}
pictures.NUM_IMAGES = 1
"""

# What is drawn changes nothing, so only a whole run does it.
DRAWING_NOTHING = """
import keras
from kerapose.training import boards, openpose, pictures
pictures.some_fields = lambda *args, **options: None
boards.FieldBoard = lambda *args: keras.callbacks.Callback()
openpose.OpenPose.draw = lambda self, estimator: None
"""


# ---------------------------------------------------------------------------------------------------- running
@pytest.fixture(scope="module")
def start(run_script, script_without_xla):
    """Runs the script with the network above; what else is prepared comes after it."""

    def run(workdir, data_dir, prepare="", **flags):
        prepare = script_without_xla + PREPARATION + prepare
        return run_script("openpose", OPTIONS, workdir, data_dir, prepare, **flags)

    return run


@pytest.fixture
def few_fields(monkeypatch):
    """Puts the network above in the place of the real one."""
    monkeypatch.setattr(models, "LightweightOpenPose", FewFields)


@pytest.fixture(scope="module")
def finished(groups_dir, tmp_path_factory, computing_repeatably, without_xla, cut_after):
    """The work folder of a whole run, with what kills in the phases would have left."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch, cut_after({"phase1": 1, "phase2": EPOCHS - 1}):
        patch.setattr(models, "LightweightOpenPose", FewFields)
        patch.setitem(RECIPES["small"], "phases", PHASES)
        patch.setattr(pictures, "NUM_IMAGES", 1)
        OpenPose(workdir, data_dir=groups_dir, **OPTIONS).run()
    return workdir


@pytest.fixture
def again(few_fields, load_once, monkeypatch, options_of, finished, groups_dir):
    """A function that makes the training anew, in another folder, or with other options.

    It draws nothing, which changes nothing.
    """
    monkeypatch.setitem(RECIPES["small"], "phases", PHASES)
    monkeypatch.setattr(openpose, "load_images", load_once)
    monkeypatch.setattr(openpose.boards, "FieldBoard", lambda *args: keras.callbacks.Callback())
    monkeypatch.setattr(pictures, "some_fields", lambda *args, **options: None)
    monkeypatch.setattr(OpenPose, "draw", lambda self, estimator: None)

    def make(workdir, **changes):
        changes = {"test_height": OPTIONS["test_height"]} | changes  # which is not kept with a run
        return OpenPose(**options_of(OpenPose, finished, groups_dir, workdir=workdir, check=False) | changes)

    return make


def copy_run(finished, workdir, **phases):
    """Puts in a work folder what a run would have left: of each phase, named with the folder it is copied from."""
    workdir.mkdir(exist_ok=True)
    shutil.copyfile(finished / "config.json", workdir / "config.json")
    for phase, folder in phases.items():
        shutil.copytree(finished / folder, workdir / phase, ignore=shutil.ignore_patterns("logs", "cut"))


def pretend_trained(stage):
    """Keeps a stage as it is, as if an epoch had been done."""
    stage.resume.set_model(stage.model)
    stage.resume.on_epoch_end(0, {"val_loss": 1.0})


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, groups_tested, state, metrics_of):
    found = metrics_of(finished)
    (_, first), (_, second) = (state(finished / phase) for phase in ("phase1", "phase2"))
    assert len(first) == len(second) == EPOCHS
    assert first[-1]["loss"] < 0.6 * first[0]["loss"]
    assert second[-1]["val_loss"] < 0.9 * second[0]["val_loss"]  # of two stages, one of them new
    labelled = sum((record["people"]["visibility"] > 0).any(axis=1).sum() for record in groups_tested)
    assert set(found) == {"images", "people", "people_found", "images_beyond_bounds", "coco"}
    assert (found["images"], found["people"], found["images_beyond_bounds"]) == (len(groups_tested), labelled, 0)
    assert labelled <= found["people_found"] <= labelled + 2  # a crowd of one doll may be found, too
    assert found["coco"]["AP50"] > 0.8


def test_leaves_weights_and_pictures(finished, doll, same_weights):
    networks = [keras.models.load_model(finished / name / "best.keras") for name in ("phase1", "phase2", "")]
    assert [network.num_refinements for network in networks] == [0, 1, 1]
    assert networks[0].output_shape == [(None, None, None, 6), (None, None, None, 8)]
    assert not networks[2].compiled
    assert same_weights(finished / "best.keras", finished / "phase2" / "best.keras")
    for name in ("phase1/curves.png", "phase2/curves.png", "predictions.png"):
        image = tf.io.decode_png((finished / name).read_bytes()).numpy()
        assert min(image.shape[:2]) >= 80 and np.ptp(image) > 100


def test_leaves_a_file_that_knows_itself(finished, doll, same_weights, metrics_of, tmp_path):
    estimator = predictors.load(finished / "model.keras").estimator
    assert estimator.skeleton == doll and (estimator.height, estimator.max_people) == (64, 20)
    assert estimator.training["kind"] == "OpenPose" and estimator.training["figures"] == metrics_of(finished)
    said = estimator.training["options"]
    assert [phase["refinements"] for phase in said["phases"]] == [0, 1] and "test_height" not in said
    estimator.network.save(tmp_path / "network.keras")
    assert same_weights(tmp_path / "network.keras", finished / "best.keras")


def test_leaves_curves_and_pictures_for_tensorboard(finished, events):
    for phase in ("phase1", "phase2"):
        steps, noted = events(finished / phase / "logs")
        for tag in ("loss", "val_loss", "learning_rate"):
            assert steps[f"epoch/{tag}"] == list(range(EPOCHS))
        assert steps["true_fields_found_fields"] == list(range(EPOCHS))
        drawn = noted["true_fields_found_fields"]
        assert min(np.ptp(picture) for picture in drawn) > 100
        assert (drawn[0] != drawn[-1]).any()  # what was found changed


@pytest.mark.slow  # tests/export/test_people.py has the serving itself
def test_leaves_a_model_that_answers_as_it_was_tested(
    finished, groups_dir, groups_tested, doll, tmp_path, start, metrics_of
):
    """The served model, on the test images: it finds as many people, and the dolls' joints where they are."""
    copy_run(finished, tmp_path / "run", phase1="phase1", phase2="phase2")
    done = start(tmp_path / "run", groups_dir, prepare=DRAWING_NOTHING, export=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    answer = tf.saved_model.load(str(tmp_path / "run" / "saved_model" / "1")).signatures["serving_default"]
    total, distances = 0, []
    for record in groups_tested:
        said = answer(image_bytes=tf.io.encode_png(record["image"])[None])
        assert said["keypoint_names"].numpy()[0].astype(str).tolist() == list(doll.keypoints)
        count = int(said["count"][0])
        total += count
        for points in record["people"]["keypoints"][~record["people"]["is_crowd"]]:
            found = said["keypoints"].numpy()[0, :count]
            distances.append(np.linalg.norm(found - points, axis=-1).mean(axis=-1).min())
    assert total == metrics_of(finished)["people_found"]
    assert np.median(distances) < 10  # pixels, of dolls of 50, after two short phases


# ---------------------------------------------------------------------------------------------------- going on
def check_same(workdir, finished, state, same_weights):
    for phase in ("phase1", "phase2"):
        (expected, expected_history), (arrays, history) = state(finished / phase), state(workdir / phase)
        assert history == expected_history and set(arrays) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        assert same_weights(workdir / phase / "best.keras", finished / phase / "best.keras")


@pytest.mark.slow  # a quarter of a minute; the next two show the parts of it
@pytest.mark.parametrize("phases", [{"phase1": "phase1/cut"}, {"phase1": "phase1", "phase2": "phase2/cut"}])
def test_a_run_that_was_cut_short_ends_as_the_whole_one(finished, tmp_path, again, state, same_weights, phases):
    """By the loop of a notebook, from what a kill in either phase would have left."""
    copy_run(finished, tmp_path / "run", **phases)
    for stage in again(tmp_path / "run").stages():
        stage.model.fit(**stage.arguments())
    check_same(tmp_path / "run", finished, state, same_weights)
    assert same_weights(tmp_path / "run" / "best.keras", finished / "best.keras")


def test_a_run_that_was_cut_short_in_a_later_phase_goes_on_there(finished, tmp_path, again, state, calls):
    """With the weights and in the order of the whole one."""
    copy_run(finished, tmp_path / "run", phase1="phase1", phase2="phase2/cut")
    calls.watch(people, "training")
    first, second = again(tmp_path / "run").stages()
    assert first.is_done and not second.is_done
    assert second.arguments()["initial_epoch"] == EPOCHS - 1
    ((_, asked),) = calls.noted["training"]
    assert asked["first_step"] == (2 * EPOCHS - 1) * second.steps
    arrays, _ = state(finished / "phase2" / "cut")
    for i, weight in enumerate(second.model.get_weights()):
        np.testing.assert_array_equal(weight, arrays[f"variable_{i}"])


@pytest.mark.slow  # over a minute: four processes
def test_a_killed_run_ends_as_the_whole_one(
    finished, groups_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    """Killed in an epoch, then at the end of a phase, then in the next phase, and started anew each time."""
    for moment, done in (((1, 2), [1, 0]), ((EPOCHS - 1, None), [EPOCHS - 1, 0]), ((0, 4), [EPOCHS, 0])):
        killed = start(tmp_path, groups_dir, prepare=DRAWING_NOTHING + killed_at(*moment), check=False)
        assert killed.returncode == -9, killed.stderr[-4000:]
        kept = [tmp_path / phase for phase in ("phase1", "phase2")]
        assert [len(state(folder)[1]) if (folder / "state.npz").exists() else 0 for folder in kept] == done
        assert not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, groups_dir, prepare=DRAWING_NOTHING, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    check_same(tmp_path, finished, state, same_weights)
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_finished_run_is_only_tested_again(finished, again, monkeypatch, files, metrics_of, watch):
    before, expected = files(finished), metrics_of(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    tested = watch(evaluation, "people_figures", lambda *args: expected)
    made = again(finished)
    assert made.run() == expected
    (((estimator, *_), _),) = tested
    ours, theirs = (net.get_weights() for net in (estimator.network, keras.models.load_model(finished / "best.keras")))
    assert all(map(np.array_equal, ours, theirs))
    for name in ("phase1/state.npz", "phase2/state.npz", "phase2/best.keras", "config.json"):
        assert files(finished)[finished / name] == before[finished / name]


# ---------------------------------------------------------------------------------------------------- the network
def small_config(**changes):
    given = {"recipe": "small", "dataset": "groups", "variant": "openpose_tiny"} | changes
    return resolved(**given)


def test_weights_learn_and_decay_as_published():
    network = models.LightweightOpenPose.from_variant("openpose_tiny")
    groups = training.weight_groups(network.trainable_weights)

    def of(path):
        return groups["rates"].get(path, 1.0), groups["l2"].get(path, 0.0)

    assert of("model_3_depthwise/kernel") == of("cpm_trunk_1_depthwise/kernel") == (1.0, 0.0)
    assert of("model_3_pointwise/kernel") == of("cpm_conv/kernel") == of("initial_stage_pafs_1_0/kernel") == (1.0, 5e-4)
    assert of("model_3_pointwise/gamma") == of("refinement_stages_0_trunk_2_trunk_1/gamma") == (1.0, 0.0)
    assert of("model_3_pointwise/beta") == of("refinement_stages_0_trunk_2_trunk_1/beta") == (2.0, 0.0)
    assert of("cpm_align/bias") == of("initial_stage_heatmaps_1_0/bias") == (2.0, 0.0)
    assert of("refinement_stages_0_trunk_2_trunk_1/kernel") == of("refinement_stages_0_pafs_1_0/kernel") == (4.0, 5e-4)
    assert of("refinement_stages_0_trunk_2_trunk_1/bias") == of("refinement_stages_0_heatmaps_0/bias") == (8.0, 0.0)
    known = {variable.path for variable in network.trainable_weights}
    assert set(groups["l2"]) | set(groups["rates"]) <= known
    assert sum(path.endswith("/kernel") for path in known - set(groups["l2"])) == 11 + 3  # the depthwise ones


def test_the_stages_of_a_network_of_ones_own_are_trained_together():
    """As a notebook does it, by what is public."""
    network = FewFields(6, 8, num_refinements=2)
    groups = training.weight_groups(network.trainable_weights, bias_rate=2.0, refinement_rate=3.0)
    model = training.fields_model(network, (64, 48), training.AdamL2(1e-3, **groups))
    model.run_eagerly = True  # one step is not worth a trace
    assert model.network is network and model.optimizer.rates["refinement_stages_1_pafs/bias"] == 6.0
    random = np.random.default_rng(0)
    pixels = random.normal(0, 0.3, (2, 64, 48, 3)).astype("float32")
    for layer in network.layers:  # the last ones begin with zeros
        layer.set_weights([weight + 0.01 for weight in layer.get_weights()])
    stages = model.predict_on_batch(pixels)
    assert stages.shape == (2, 3, 8, 6, 6 + 8) and (stages[:, 0] != stages[:, 1]).any()
    last = [np.asarray(part) for part in network(pixels)[-2:]]
    np.testing.assert_allclose(stages[:, -1], np.concatenate(last, axis=-1), rtol=1e-3)
    before = network.get_layer("refinement_stages_1_pafs").bias.numpy()
    model.train_on_batch(pixels, random.random((2, 8, 6, 14), "float32"), np.ones((2, 8, 6, 1)))
    assert (network.get_layer("refinement_stages_1_pafs").bias.numpy() != before).all()


def test_only_new_stages_and_layers_of_other_keypoints_are_new(doll, tmp_path, few_fields):
    trained = openpose.make_network(small_config(), doll, 1)
    trained.save(tmp_path / "trained.keras")
    pretrained = small_config(pretrained=str(tmp_path / "trained.keras"))
    same, more, fewer, other = (
        openpose.make_network(pretrained, skeleton, count)
        for skeleton, count in ((doll, 1), (doll, 3), (doll, 0), (skeletons.OPENPOSE, 1))
    )
    known = {layer.name: layer.get_weights() for layer in trained.layers}

    def new_layers(network):
        """Those with other weights, or other shapes where zeros are equal."""
        return {
            layer.name
            for layer in network.layers
            if layer.weights
            and not all(map(np.array_equal, layer.get_weights(), known.get(layer.name, [np.nan] * len(layer.weights))))
        }

    assert not new_layers(same) and not new_layers(fewer)
    assert {name.rpartition("_")[0] for name in new_layers(more)} == {f"refinement_stages_{i}" for i in "12"}
    assert new_layers(other) == {"refinement_stages_0_0"} | {
        f"{stage}_{field}" for stage in ("initial_stage", "refinement_stages_0") for field in ("heatmaps", "pafs")
    }


def test_what_is_no_such_network_is_refused(doll, tmp_path, few_fields):
    path = str(tmp_path / "wrong.keras")
    openpose.make_network(small_config(), doll, 0).save(path)
    with pytest.raises(ValueError, match=r"with filters, .* of \[8, 1.0, 24\], got .* \[24, 1.0, 24\] in .*wrong"):
        openpose.make_network(small_config(variant="narrow", pretrained=path), doll, 1)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(ValueError, match="got a Sequential with .*; give the same variant"):
        openpose.make_network(small_config(pretrained=path), doll, 1)


def test_a_backbone_that_is_not_there_is_refused(doll):
    with pytest.raises((ValueError, FileNotFoundError), match="none.pth"):
        openpose.make_network(small_config(backbone_weights="none.pth"), doll, 1)


def test_coco_is_trained_with_a_neck_and_other_sets_as_they_are(doll, caplog):
    assert openpose.choose_skeleton(None, skeletons.COCO) is skeletons.OPENPOSE
    assert openpose.choose_skeleton(None, doll) is doll and openpose.choose_skeleton("doll", doll) is doll
    assert openpose.choose_skeleton("coco", skeletons.COCO) is skeletons.COCO
    assert not caplog.records
    assert openpose.choose_skeleton("humaneva", skeletons.H36M) is skeletons.HUMANEVA
    assert "humaneva has no nose: the test counts them as not found" in caplog.text


# ---------------------------------------------------------------------------------------------------- what reaches what
def every_option(groups_dir, workdir):
    """A value for each option that is neither its default nor a recipe's."""
    return {
        "workdir": str(workdir),
        "dataset": "groups",
        "data_dir": groups_dir,
        "train_split": "validation",
        "validation_split": "test",
        "test_split": "train",
        "skip": ["2.png", "102.png"],
        "batch_size": 3,
        "epochs": 6,
        "seed": 5,
        "precision": "float32",
        "deterministic": False,
        "strategy": "multi_worker",
        "worker_hosts": ["first:1", "second:2"],
        "worker_index": 1,
        "data_service": "grpc://there:5",
        "sync_batch_norm": True,
        "export": True,
        "check": False,
        "skeleton": "marionette",
        "variant": "narrow",
        "refinements": [1, 0, 2],
        "recipe": "small",
        "pretrained": "pretrained.keras",
        "backbone_weights": "backbone.pth",
        "max_people": 7,
        "flip_probability": 0.125,
        "learning_rate": 0.5,
        "schedule": "step",
        "decay_epochs": [4],
        "decay_factor": 0.75,
        "warmup_epochs": 2.0,
        "l2": 0.0078125,
        "bias_rate": 5.0,
        "refinement_rate": 3.0,
        "image_size": 96,
        "sigma_px": 4.5,
        "smallest_scale": 0.7,
        "largest_scale": 1.2,
        "rotation_degrees": 11.0,
        "shift_px": 13.0,
        "color_jitter": 0.3125,
        "test_height": 80,
    }


def watch_everything(calls, doll):
    """Lets a training only note what it asks for, but for its networks; gives the one that is pretrained."""
    load_network, trained = openpose.load_network, FewFields(6, 8, filters=8, num_refinements=1)
    calls.watch(runs, "set_up")
    calls.watch(openpose, "choose_skeleton", doll)
    calls.watch(runs, "make_strategy", lambda *place: tf.distribute.get_strategy())
    calls.watch(runs.service, "served", lambda batches, address: batches)
    calls.watch(keras.utils, "set_random_seed")
    calls.watch(weights, "load_backbone")
    calls.watch(
        openpose, "load_network", lambda path, *role: trained if path == "pretrained.keras" else load_network(path)
    )
    calls.watch(people, "training")
    calls.watch(people, "validation", "batches")
    calls.watch(people, "check")
    calls.watch(pictures, "some_fields")
    calls.watch(pictures, "some_images")
    calls.watch(pictures, "people_found", np.zeros((8, 8, 3), "uint8"))
    calls.watch(evaluation, "people_figures", {"people": 1})
    calls.watch(export, "people_saved_model")
    return trained


def test_every_option_reaches_what_it_is_for(groups_dir, doll, tmp_path, few_fields, calls):
    given = every_option(groups_dir, tmp_path / "run")
    assert set(given) == {option.name for option in OpenPose.OPTIONS}
    for option in OpenPose.OPTIONS:
        others = [option.default, *(recipe.get(option.name, option.default) for recipe in RECIPES.values())]
        assert given[option.name] not in others or option.name in ("recipe", "schedule")  # of two values
    trained = watch_everything(calls, doll)
    made, stages = OpenPose(**given), []
    for stage in made.stages():
        stage.arguments()
        pretend_trained(stage)
        stages.append(stage)
    assert made.finish() == {"people": 1}

    # what is read, and what it is read for
    names = {role: set(people.annotations(images, doll)["name"]) for role, images in made.splits.items()}
    assert names["train"] == {"101.png", "103.png", "105.png"}
    assert names["validation"] == {"201.png", "202.png", "203.png", "205.png"}
    assert "1.png" in names["test"] and not {"2.png", "4.png"} & names["test"]
    assert "check" not in calls.noted and calls.last("choose_skeleton")[0] == ("marionette", doll)
    shared = {"target": doll, "image_size": (96, 96), "batch_size": 3, "sigma_px": 4.5}
    augmentation = {"flip_probability": 0.125, "rotation_degrees": 11.0, "shift_px": 13.0, "color_jitter": 0.3125}
    augmentation |= {"scale_range": (0.7, 1.2), "seed": 5}
    asked = calls.noted["training"]
    assert [args for args, _ in asked] == [(made.splits["train"], doll)] * 3
    steps = stages[0].steps
    assert steps == -(-int(made.splits["train"].cardinality()) // 3)
    assert [options for _, options in asked] == [
        shared | augmentation | {"first_step": first} for first in (0, 6 * steps, 12 * steps)
    ]
    for name in ("validation", "some_fields"):
        assert calls.last(name) == ((made.splits["validation"], doll), shared)

    # what is trained, and how
    (config,), _ = calls.last("set_up")
    assert (config["seed"], config["precision"], config["deterministic"]) == (5, "float32", False)
    assert [place[:4] for place, _ in calls.noted["make_strategy"]] == [("multi_worker", 3, ["first:1", "second:2"], 1)]
    assert calls.last("served")[0][1] == "grpc://there:5"
    assert [args for args, _ in calls.noted["set_random_seed"]] == [(5,), (6,), (7,)]
    assert [stage.folder.name for stage in stages] == ["phase1", "phase2", "phase3"]
    assert [stage.model.network.num_refinements for stage in stages] == [1, 0, 2]
    assert calls.last("load_backbone")[0] == (stages[0].model.network, "backbone.pth")
    for stage, start in zip(stages, (trained, *(stage.model.network for stage in stages)), strict=False):
        assert stage.epochs == 6 and (stage.resume.monitor, stage.resume.sign) == ("val_loss", -1)
        assert stage.callbacks[0].skeleton == doll and stage.model.network.filters == 8
        kernels = (network.get_layer("model_0").kernel.numpy() for network in (stage.model.network, start))
        np.testing.assert_array_equal(*kernels)
        optimizer = stage.model.optimizer
        assert optimizer.epsilon == 1e-8 and optimizer.l2["model_0/kernel"] == 0.0078125
        assert optimizer.rates["initial_stage_pafs/bias"] == 5.0
        rates = [float(optimizer._learning_rate(step)) for step in (0, steps, 2 * steps, 4 * steps - 1, 4 * steps)]
        assert rates == pytest.approx([0.0, 0.25, 0.5, 0.5, 0.375])
    assert optimizer.rates["refinement_stages_1_pafs/kernel"] == 3.0

    # what is tested, left and said
    estimator, *rest = calls.last("people_figures")[0]
    assert (estimator.height, estimator.max_people, estimator.skeleton) == (80, 7, doll)
    assert rest == [made.splits["test"], doll]
    assert calls.last("some_images")[0] == (made.splits["test"],)
    assert calls.last("people_found")[0] == (None, estimator, doll, doll)
    assert calls.last("people_saved_model")[0] == (estimator, tmp_path / "run" / "saved_model" / "1")
    free = {
        "workdir",
        "data_dir",
        "check",
        "test_height",
        "max_people",
        "worker_hosts",
        "worker_index",
        "data_service",
        "export",
    }
    expected = {name: value for name, value in given.items() if name not in free} | {"backend": "tensorflow"}
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert {name: written[name] for name in expected} == expected and set(written) - set(expected) == {"phases"}
    assert keras.models.load_model(tmp_path / "run" / "model.keras").training["options"] == written


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="coco_keypoints", **options):
    """The configuration that options come to, before anything is read."""
    made = object.__new__(OpenPose)
    made.given = {"dataset": dataset} | options
    return made.resolve(choose(OpenPose.OPTIONS, made.given))


def test_the_published_recipe_has_three_phases():
    config = resolved()
    assert config["recipe"] == "published" and (config["variant"], config["batch_size"]) == ("openpose", 80)
    assert (config["l2"], config["bias_rate"], config["refinement_rate"]) == (5e-4, 2.0, 4.0)
    assert (config["image_size"], config["sigma_px"], config["decay_factor"]) == (368, 7.0, 0.333)
    shared = {"epochs": 280, "learning_rate": 4e-5, "decay_epochs": [100, 200, 260]}
    assert config["phases"] == [
        shared | {"refinements": refinements, "epochs_before": 280 * number}
        for number, refinements in enumerate((1, 1, 3))
    ]


def test_no_option_means_the_small_recipe_and_options_hold_for_every_phase():
    assert resolved("puppets/groups")["recipe"] == "small" and len(resolved("puppets/groups")["phases"]) == 1
    assert resolved("puppets/groups", recipe="published")["image_size"] == 368
    config = resolved(epochs=28, learning_rate=1e-4)
    assert [phase["epochs_before"] for phase in config["phases"]] == [0, 28, 56]
    for phase in config["phases"]:
        assert (phase["epochs"], phase["learning_rate"], phase["decay_epochs"]) == (28, 1e-4, [10, 20, 26])
    assert {tuple(phase["decay_epochs"]) for phase in resolved(decay_epochs=[5])["phases"]} == {(5,)}
    config = resolved(refinements=[0, 2, 2, 4])
    assert [phase["refinements"] for phase in config["phases"]] == [0, 2, 2, 4]
    with pytest.raises(ValueError, match="refinements are one number from 0 up for each phase, got .*; give .1., say"):
        resolved(refinements=[])


def test_the_learning_rate_of_a_phase_falls_as_published():
    config = resolved()
    schedule = optimizers.make_schedule(config | config["phases"][2], steps=10, factor=config["decay_factor"])
    rates = [float(schedule(step)) for step in (0, 999, 1000, 2000, 2600)]
    assert rates == pytest.approx([4e-5, 4e-5, 4e-5 * 0.333, 4e-5 * 0.333**2, 4e-5 * 0.333**3], rel=1e-5)


def test_every_recipe_says_all_there_is_to_say():
    first, *others = RECIPES.values()
    for recipe in others:
        assert set(recipe) == set(first)
    for recipe in RECIPES.values():
        for phase in recipe["phases"]:
            assert set(phase) == {"refinements", "epochs", "learning_rate", "decay_epochs"}


# ---------------------------------------------------------------------------------------------------- wrong options
def test_a_work_folder_of_another_configuration_is_left_alone(finished, again, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        again(finished, sigma_px=5.0)
    assert "sigma_px 4.0 there and 5.0 here; give another workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "groups has the splits train, validation, test, got 'val'; use one of them"),
        ({"variant": "openpose9"}, "variant is one of openpose, .*, got 'openpose9'; use one of them"),
        ({"decay_epochs": [1, 99]}, "decay_epochs is less than the .* epochs, got 99; leave it out"),
        ({"refinements": [1, -1]}, "refinements are one number from 0 up for each phase, got .1, -1.; give .1., say"),
        ({"image_size": 60}, "image_size is a multiple of 8, got 60; use 56 or 64"),
        ({"smallest_scale": 1.2}, "smallest_scale is not above largest_scale, got 1.2 and 1.1; exchange them"),
        ({"skip": ["nobody.png"]}, "skip names samples of groups, 'nobody.png' is in none of its splits; correct"),
        ({"skeleton": "nobody"}, "A skeleton must be one of coco, .* got 'nobody'"),
        ({"skeleton": "humaneva"}, "follow from those of the data set, hip, .* of humaneva cannot be had from doll"),
        ({"pretrained": "none.keras"}, "A pretrained network must be a .keras file, got none.keras, where there is no"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_option_takes_no_work_folder(tmp_path, again, changes, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        again(tmp_path / "run", **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- distribution
@pytest.mark.slow  # a minute: every pass of two devices over so few dolls mostly waits
def test_mirrored_over_two_devices(groups_dir, tmp_path, start, state, metrics_of, two_devices):
    done = start(tmp_path, groups_dir, prepare=two_devices + DRAWING_NOTHING, strategy="mirrored")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path / "phase2")
    assert len(history) == EPOCHS and history[-1]["val_loss"] < 0.9 * history[0]["val_loss"]
    assert metrics_of(tmp_path)["coco"]["AP50"] > 0.5


@pytest.mark.slow
def test_several_workers_train_as_one(train_as_one, tmp_path, groups_dir):
    """In two phases, the second of which begins on all with what the first worker has kept of the first."""
    flags = OPTIONS | {"train_split": "test", "epochs": 2, "learning_rate": 1e-4}
    train_as_one("openpose", flags, tmp_path, groups_dir, most=1e-3, prepare=PREPARATION)
