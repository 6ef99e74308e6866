"""`python -m train.openpose`, from a small data set to a served model; in phases; killed and resumed; wrong flags."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import models, skeletons
from kerapose.data import people
from train import common, openpose

EPOCHS = 5  # of each phase
PHASES = [{"refinements": count, "epochs": 1, "learning_rate": 1e-3, "decay_epochs": []} for count in (0, 1)]
FLAGS = {
    "dataset": "groups",
    "recipe": "small",
    "precision": "float32",
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 0.003,
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
        for i, (kernel, strides) in enumerate(((5, 2), (5, 2), (5, 2), (7, 1), (7, 1))):  # a cell sees a whole doll
            x = keras.layers.Conv2D(filters, kernel, strides, "same", use_bias=False, name=f"model_{i}")(x)
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


# The script runs with that network, too, in two phases, and without XLA, which here would take longer to compile than
# the rest of the training.
PREPARATION = f"""
import runpy
import tensorflow as tf

function = tf.function
tf.function = lambda *args, jit_compile=None, **options: function(*args, **options)
script.models.LightweightOpenPose = runpy.run_path({__file__!r})["FewFields"]
script.RECIPES["small"]["phases"] = {PHASES}
script.pictures.NUM_IMAGES = 2
"""

# After every epoch there is a copy of the phase's folder: what a kill would have left.
KEEPING = """
import shutil
from train import common

class Keeping(common.Resume):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        shutil.copytree(self.folder, self.folder.with_name(f"{self.folder.name}_after_{epoch + 1}"))

common.Resume = Keeping
"""

# What is drawn changes nothing, so only a whole run does it.
DRAWING_NOTHING = """
import keras
import numpy as np

script.pictures.some_fields = lambda *args, **options: None
script.pictures.FieldBoard = lambda *args: keras.callbacks.Callback()
script.pictures.people_found = lambda *args: np.zeros((8, 8, 3), "uint8")
"""


# ---------------------------------------------------------------------------------------------------- running
@pytest.fixture(scope="module")
def start(run_script):
    """Runs the script with the network above; what else is prepared comes after it."""

    def run(workdir, data_dir, prepare="", **flags):
        return run_script("openpose", FLAGS, workdir, data_dir, PREPARATION + prepare, **flags)

    return run


def config_of(finished, data_dir, workdir, **changes):
    """What the script would be run with, to run it here."""
    shared = {"workdir": str(workdir), "data_dir": data_dir, "export": False, "check": False}
    shared |= {"test_height": 64, "max_people": 20}
    return json.loads((finished / "config.json").read_text()) | shared | changes


@pytest.fixture
def run_here(computing_as_tests_do, few_fields, monkeypatch):
    """`openpose.run` in this process, with the same network and phases."""
    monkeypatch.setitem(openpose.RECIPES["small"], "phases", PHASES)
    monkeypatch.setattr(openpose.pictures, "some_fields", lambda *args, **options: None)
    monkeypatch.setattr(openpose.pictures, "people_found", lambda *args: np.zeros((8, 8, 3), "uint8"))
    return openpose.run


@pytest.fixture
def few_fields(monkeypatch):
    """Puts the network above in the place of the real one."""
    monkeypatch.setattr(models, "LightweightOpenPose", FewFields)


@pytest.fixture(scope="module")
def finished(groups_dir, tmp_path_factory, start):
    """The work folder of a whole run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = start(workdir, groups_dir, prepare=KEEPING, export=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return workdir


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, groups_tested, state, metrics_of):
    found = metrics_of(finished)
    (_, first), (_, second) = (state(finished / phase) for phase in ("phase1", "phase2"))
    assert len(first) == len(second) == EPOCHS
    assert first[-1]["loss"] < 0.6 * first[0]["loss"]
    assert second[-1]["val_loss"] < 0.8 * second[0]["val_loss"]  # of two stages, one of them new
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
        assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_a_phase_starts_from_the_best_weights_of_the_one_before(finished):
    """The first step of a phase is as small as its learning rate: layers that are not new are still close by."""
    first, second = (
        keras.models.load_model(finished / name) for name in ("phase1/best.keras", "phase2_after_1/best.keras")
    )
    rates = [
        np.corrcoef(layer.kernel.numpy().ravel(), second.get_layer(layer.name).kernel.numpy().ravel())[0, 1]
        for layer in first.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert min(rates) > 0.8
    new = {layer.name for layer in second.layers} - {layer.name for layer in first.layers}
    assert new and all(name.startswith("refinement_stages_0_") for name in new if "stage" in name)


def test_leaves_curves_and_pictures_for_tensorboard(finished, events):
    for phase in ("phase1", "phase2"):
        steps, noted = events(finished / phase / "logs")
        for tag in ("loss", "val_loss", "learning_rate"):
            assert steps[f"epoch/{tag}"] == list(range(EPOCHS))
        assert steps["true_fields_found_fields"] == list(range(EPOCHS))
        pictures = noted["true_fields_found_fields"]
        assert min(np.ptp(picture) for picture in pictures) > 100
        assert (pictures[0] != pictures[-1]).any()  # what was found changed


def test_leaves_a_model_that_answers_as_it_was_tested(finished, groups_tested, doll, metrics_of):
    """The served model, on the test images: it finds as many people, and the dolls' joints where they are."""
    answer = tf.saved_model.load(str(finished / "saved_model" / "1")).signatures["serving_default"]
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
    assert np.median(distances) < 7  # pixels, of dolls of 50


# ---------------------------------------------------------------------------------------------------- resuming
def check_same(workdir, finished, state, same_weights, metrics_of):
    for phase in ("phase1", "phase2"):
        (expected, expected_history), (arrays, history) = state(finished / phase), state(workdir / phase)
        assert history == expected_history and set(arrays) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        assert same_weights(workdir / phase / "best.keras", finished / phase / "best.keras")
    assert metrics_of(workdir) == metrics_of(finished)


@pytest.mark.slow  # half a minute
def test_a_run_cut_short_in_a_phase_ends_as_the_whole_one(
    finished, groups_dir, tmp_path, start, state, same_weights, metrics_of
):
    """It goes on in the first phase after its first epoch, and with the second one, of which there is nothing."""
    shutil.copytree(finished / "phase1_after_1", tmp_path / "phase1")
    shutil.copyfile(finished / "config.json", tmp_path / "config.json")
    done = start(tmp_path, groups_dir, prepare=DRAWING_NOTHING, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 1" in done.stderr and "Phase 2 of 2" in done.stderr
    assert "Epoch 1/" in done.stdout.split("Phase 1")[-1] and done.stdout.count("Epoch 1/") == 1  # of the second
    check_same(tmp_path, finished, state, same_weights, metrics_of)


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
    check_same(tmp_path, finished, state, same_weights, metrics_of)


def test_a_finished_run_is_only_tested_again(finished, groups_dir, run_here, monkeypatch, files, metrics_of):
    before = files(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    expected = metrics_of(finished)
    found = run_here(config_of(finished, groups_dir, finished))
    assert found["people_found"] == expected["people_found"]
    assert found["coco"]["AP"] == pytest.approx(expected["coco"]["AP"], abs=0.05)
    for name in ("phase1/state.npz", "phase2/state.npz", "phase2/best.keras", "config.json"):
        assert files(finished)[finished / name] == before[finished / name]


# ---------------------------------------------------------------------------------------------------- the network
def small_config(**changes):
    given = {"recipe": "small", "dataset": "groups", "variant": "openpose_tiny", "pretrained": None}
    return openpose.resolve(given | {"backbone_weights": None, "strategy": "none"} | changes)


def test_weights_learn_and_decay_as_published(doll):
    network = models.LightweightOpenPose.from_variant("openpose_tiny")
    config = {"l2": 5e-4, "bias_rate": 2.0, "refinement_rate": 4.0}
    groups = openpose.weight_groups(network.trainable_weights, config)

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


def test_the_stages_are_trained_together(doll, few_fields):
    config = small_config(image_size=64, bias_rate=2.0, refinement_rate=3.0)
    phase = config["phases"][0] | {"refinements": 2}
    model = openpose.make_model(config, doll, phase, None, steps=10, strategy=common.make_strategy("none"))
    pixels = np.random.default_rng(0).normal(0, 0.3, (2, 64, 64, 3)).astype("float32")
    for layer in model.network.layers:  # the last ones begin with zeros
        layer.set_weights([weight + 0.01 for weight in layer.get_weights()])
    stages = model.predict_on_batch(pixels)
    assert stages.shape == (2, 3, 8, 8, 6 + 8) and (stages[:, 0] != stages[:, 1]).any()
    last = [np.asarray(part) for part in model.network(pixels)[-2:]]
    np.testing.assert_allclose(stages[:, -1], np.concatenate(last, axis=-1), rtol=1e-3)
    assert model.optimizer.rates["refinement_stages_1_pafs/bias"] == 6.0 and model.optimizer.epsilon == 1e-8


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
    with pytest.raises(ValueError, match=r"with filters, .* of \[8, 1.0, 24\], got .* \[24, 1.0, 24\]"):
        openpose.make_network(small_config(variant="narrow", pretrained=path), doll, 1)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(ValueError, match="got a Sequential with .*; give the same --variant"):
        openpose.make_network(small_config(pretrained=path), doll, 1)


def test_a_backbone_that_is_not_there_is_refused(doll):
    with pytest.raises((ValueError, FileNotFoundError), match="none.pth"):
        openpose.make_network(small_config(backbone_weights="none.pth"), doll, 1)


# ---------------------------------------------------------------------------------------------------- people
class Finder:
    """In place of an estimator: two people in each image, of whom one has no neck and no left wrist."""

    def __init__(self, overflow=False):
        self.keypoints = np.zeros((3, 18, 2), "float32")
        self.keypoints[:2] = np.random.default_rng(0).uniform(0, 90, (2, 18, 2))
        self.scores = np.zeros((3, 18), "float32")
        self.scores[:2] = 0.5
        self.missing = [skeletons.OPENPOSE.index(name) for name in ("neck", "left_wrist")]
        self.scores[1, self.missing] = 0
        self.keypoints[1, self.missing] = 0
        self.overflow = overflow

    def __call__(self, image):
        return {
            "keypoints": tf.constant(self.keypoints) + tf.cast(tf.shape(image)[0], tf.float32),
            "scores": tf.constant(self.scores),
            "person_scores": tf.constant([30.0, 20.0, 0.0]),
            "num_keypoints": tf.constant([18, 16, 0]),
            "count": tf.constant(2) * tf.cast(tf.shape(image)[0] < 50, tf.int32),  # nobody in a higher one
            "num_found": tf.constant(2),
            "overflow": tf.constant(self.overflow),
        }


def test_people_are_found_in_every_image_and_given_as_the_dataset_has_them():
    images = [np.zeros((height, 60, 3), "uint8") for height in (40, 50, 30)]
    nobody = [{"keypoints": [], "box": []}] * 3
    dataset = people.from_arrays(images, nobody, skeletons.COCO, image_ids=[7, 5, 9])
    finder = Finder(overflow=True)
    found, cut_short = openpose.find(finder, dataset, skeletons.OPENPOSE, skeletons.COCO)
    assert cut_short == 3
    np.testing.assert_array_equal(found["image_id"], [7, 7, 9, 9])
    np.testing.assert_allclose(found["score"], [30 * 17, 20 * 15] * 2)  # as published: once less than its keypoints
    for number, name in enumerate(skeletons.COCO.keypoints):
        expected = finder.keypoints[:2, skeletons.OPENPOSE.index(name)] + 40
        expected[1] *= name != "left_wrist"
        np.testing.assert_allclose(found["keypoints"][:2, number], expected)
    empty, _ = openpose.find(finder, dataset.take(2).skip(1), skeletons.OPENPOSE, skeletons.COCO)
    assert empty["keypoints"].shape == (0, 17, 2) and empty["score"].shape == empty["image_id"].shape == (0,)


def test_coco_is_trained_with_a_neck_and_other_sets_as_they_are(doll, caplog):
    assert openpose.choose_skeleton(None, skeletons.COCO) is skeletons.OPENPOSE
    assert openpose.choose_skeleton(None, doll) is doll and openpose.choose_skeleton("doll", doll) is doll
    assert openpose.choose_skeleton("coco", skeletons.COCO) is skeletons.COCO
    assert not caplog.records
    assert openpose.choose_skeleton("humaneva", skeletons.H36M) is skeletons.HUMANEVA
    assert "humaneva has no nose: the test counts them as not found" in caplog.text


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="coco_keypoints", **flags):
    return openpose.resolve({"dataset": dataset, "recipe": None, "variant": None} | flags)


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


def test_no_flag_means_the_small_recipe_and_flags_hold_for_every_phase():
    assert resolved("puppets/groups")["recipe"] == "small" and len(resolved("puppets/groups")["phases"]) == 1
    assert resolved("puppets/groups", recipe="published")["image_size"] == 368
    config = resolved(epochs=28, learning_rate=1e-4)
    assert [phase["epochs_before"] for phase in config["phases"]] == [0, 28, 56]
    for phase in config["phases"]:
        assert (phase["epochs"], phase["learning_rate"], phase["decay_epochs"]) == (28, 1e-4, [10, 20, 26])
    assert {tuple(phase["decay_epochs"]) for phase in resolved(decay_epochs=[5])["phases"]} == {(5,)}
    config = resolved(refinements=[0, 2, 2, 4])
    assert [phase["refinements"] for phase in config["phases"]] == [0, 2, 2, 4]
    assert openpose.resolve(config)["phases"] == config["phases"]


def test_the_learning_rate_of_a_phase_falls_as_published():
    config = resolved()
    schedule = common.make_schedule(config | config["phases"][2], steps=10, factor=config["decay_factor"])
    rates = [float(schedule(step)) for step in (0, 999, 1000, 2000, 2600)]
    assert rates == pytest.approx([4e-5, 4e-5, 4e-5 * 0.333, 4e-5 * 0.333**2, 4e-5 * 0.333**3], rel=1e-5)


def test_every_recipe_says_all_there_is_to_say():
    first, *others = openpose.RECIPES.values()
    for recipe in others:
        assert set(recipe) == set(first)
    for recipe in openpose.RECIPES.values():
        for phase in recipe["phases"]:
            assert set(phase) == {"refinements", "epochs", "learning_rate", "decay_epochs"}


# ---------------------------------------------------------------------------------------------------- wrong flags
def test_a_work_folder_of_another_configuration_is_left_alone(finished, groups_dir, run_here, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        run_here(config_of(finished, groups_dir, finished, sigma_px=5.0))
    assert "sigma_px 4.0 there and 5.0 here; give another --workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "groups has the splits train, validation, test, got 'val'; use one of them"),
        ({"variant": "openpose9"}, "--variant is one of openpose, .*, got 'openpose9'; use one of them"),
        ({"decay_epochs": [1, 99]}, "--decay_epochs is less than the .* of --epochs, got 99; leave it out"),
        ({"refinements": [1, -1]}, "--refinements is at least 0, got -1; 1 is the published number"),
        ({"image_size": 60}, "--image_size is a multiple of 8, got 60; round it"),
        ({"smallest_scale": 1.2}, "--smallest_scale is not above --largest_scale, got 1.2 and 1.1; exchange them"),
        ({"skip": ["nobody.png"]}, "--skip names an image of groups, nobody.png is none; correct the name"),
        ({"skeleton": "nobody"}, "A skeleton must be one of coco, .* got 'nobody'"),
        ({"skeleton": "humaneva"}, "follow from those of the dataset, hip, .* of humaneva cannot be had from doll"),
        ({"pretrained": "none.keras"}, "A pretrained network is a .keras file, got none.keras, which does not exist"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_flag_takes_no_work_folder(finished, groups_dir, tmp_path, run_here, changes, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        run_here(config_of(finished, groups_dir, tmp_path / "run", **changes))
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
