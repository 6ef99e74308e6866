"""`training.TopDown`, as a script and here: from a small data set to a file that knows itself; resumed; what reaches
what; given wrong options."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, evaluation, export, losses, models, predictors, training, weights
from kerapose.data import crops
from kerapose.models import stacked_hourglass
from kerapose.training import TopDown, pictures, runs, topdown
from kerapose.training.options import choose

EPOCHS = 4
OPTIONS = {
    "dataset": "groups",
    "recipe": "small",
    "model": "simple_baseline",
    "precision": "float32",
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 0.02,
    "rotation_probability": 0.0,
    "color_jitter": 0.0,
}
TINY = {
    "simple_baseline": {"depth": 18, "deconv_filters": (8, 8, 8), "image_shape": (64, 64, 3)},
    "hrnet": {"width": 4, "num_modules": (1, 1, 1), "num_blocks": 1, "image_shape": (64, 64, 3)},
    "hourglass": {"num_stacks": 2, "filters": 8, "image_shape": (64, 64, 3)},
}


@keras.saving.register_keras_serializable("tests")
class FewLayers(models.SimpleBaseline.__base__):
    """A network of heatmaps that is built, trained and exported in seconds; it stands in for SimpleBaseline."""

    VARIANTS = {"resnet18_tiny": {}, "stacked": {"filters": 8, "num_stacks": 2}}

    def __init__(self, num_joints, image_shape=(48, 48, 3), filters=12, num_stacks=None, **kwargs):
        inputs = keras.Input(image_shape)
        x = keras.layers.Conv2D(filters, 5, 2, "same", activation="relu", name="stem")(inputs)
        for i, strides in enumerate((2, 1)):  # the last pixel sees most of the doll
            x = keras.layers.Conv2D(filters, 7, strides, "same", use_bias=False, name=f"conv{i}")(x)
            x = keras.layers.BatchNormalization(momentum=0.8, name=f"norm{i}")(x)
            x = keras.layers.ReLU(name=f"relu{i}")(x)
        heads = [
            keras.layers.Conv2D(num_joints, 1, kernel_initializer="zeros", dtype="float32", name=f"head{i}")(x)
            for i in range(num_stacks or 1)
        ]
        super().__init__(inputs, keras.ops.stack(heads, axis=1) if num_stacks else heads[0], **kwargs)
        self.num_joints, self.image_shape = num_joints, tuple(image_shape)
        self.filters, self.num_stacks = filters, num_stacks


# The script runs with that network, too, and draws few people.
WITH_FEW_LAYERS = f"""
import runpy
from kerapose.training import pictures, topdown
pictures.NUM_PEOPLE = 2
topdown.MODELS["simple_baseline"] = runpy.run_path({__file__!r})["FewLayers"]
"""


# ---------------------------------------------------------------------------------------------------- running
@pytest.fixture(scope="module")
def start(run_script, script_without_xla):
    """Runs the script with the network above; what else is prepared comes after it."""

    def run(workdir, data_dir, prepare="", **flags):
        return run_script(
            "topdown", OPTIONS, workdir, data_dir, script_without_xla + WITH_FEW_LAYERS + prepare, **flags
        )

    return run


@pytest.fixture(scope="module", autouse=True)
def few_layers():
    """Puts the network above in the place of SimpleBaseline, and draws few people."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(topdown.MODELS, "simple_baseline", FewLayers)
        patch.setattr(pictures, "NUM_PEOPLE", 2)
        yield


@pytest.fixture(scope="module")
def finished(groups_dir, tmp_path_factory, computing_repeatably, without_xla, cut_after):
    """The work folder of a whole run, with what a kill in its last epoch would have left."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    with cut_after({"whole": EPOCHS - 1}):
        TopDown(workdir, data_dir=groups_dir, check=False, **OPTIONS).run()  # OpenPose's looks at the same data
    return workdir


@pytest.fixture
def real_networks(monkeypatch):
    """Adds a small variant to each network, and a tall one."""
    monkeypatch.setitem(topdown.MODELS, "simple_baseline", models.SimpleBaseline)
    for model, cls in topdown.MODELS.items():
        monkeypatch.setitem(cls.VARIANTS, "tests", TINY[model])
    monkeypatch.setitem(topdown.MODELS["hrnet"].VARIANTS, "tall", {"image_shape": (384, 288, 3)})
    monkeypatch.setattr(stacked_hourglass, "DEPTH", 1)


@pytest.fixture
def again(real_networks, load_once, monkeypatch, options_of, finished, groups_dir):
    """A function that makes the training anew, in another folder, or with other options.

    It draws nothing, which changes nothing.
    """
    monkeypatch.setitem(topdown.MODELS, "simple_baseline", FewLayers)
    monkeypatch.setattr(topdown, "load_images", load_once)
    monkeypatch.setattr(topdown.boards, "PoseBoard", lambda *args, **options: keras.callbacks.Callback())
    monkeypatch.setattr(TopDown, "some_people", lambda self, people: None)
    monkeypatch.setattr(TopDown, "draw", lambda self, estimator: None)

    def make(workdir, **changes):
        return TopDown(**options_of(TopDown, finished, groups_dir, workdir=workdir, check=False) | changes)

    return make


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, doll, groups_tested, state, metrics_of):
    found = metrics_of(finished)
    _, history = state(finished)
    assert len(history) == EPOCHS
    assert history[-1]["loss"] < 0.5 * history[0]["loss"] and max(epoch["val_pck"] for epoch in history) > 0.5
    visible = np.concatenate([record["people"]["visibility"] for record in groups_tested]) > 0
    assert found["people"] == visible.any(axis=1).sum() < len(visible)  # not the crowd
    assert found["pixel_error"] < 2.5 and found["pck@0.2"] > 0.95 and found["pckh@0.5"] > 0.9
    assert found["coco"]["AP50"] > 0.95 and found["coco"]["AR"] > 0.8
    assert list(found["joints"]) == list(doll.keypoints) and "mpii" not in found
    labelled = [joint["labelled"] for joint in found["joints"].values()]
    assert labelled == visible.sum(axis=0).tolist()


def test_leaves_weights_and_pictures(finished):
    network = keras.models.load_model(finished / "best.keras")
    assert network.input_shape == (None, 48, 48, 3) and network.output_shape == (None, 12, 12, 5)
    assert not network.compiled
    for name in ("curves.png", "predictions.png"):
        image = tf.io.decode_png((finished / name).read_bytes()).numpy()
        assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_leaves_curves_and_pictures_for_tensorboard(finished, events):
    steps, noted = events(finished / "logs")
    for tag in ("loss", "pck", "val_loss", "val_pck", "learning_rate"):
        assert steps[f"epoch/{tag}"] == list(range(EPOCHS))
    assert steps["truth_found_heatmaps"] == list(range(EPOCHS))
    drawn = noted["truth_found_heatmaps"]
    assert min(np.ptp(picture) for picture in drawn) > 100
    assert (drawn[0] != drawn[-1]).any()  # what was found changed


def test_leaves_a_file_that_knows_itself(finished, doll, same_weights, metrics_of, tmp_path):
    estimator = predictors.load(finished / "model.keras").estimator
    assert estimator.skeleton == doll and estimator.codec == "dark" and estimator.image_size == (48, 48)
    assert estimator.training["kind"] == "TopDown" and estimator.training["figures"] == metrics_of(finished)
    said = estimator.training["options"]
    assert said["learning_rate"] == 0.02 and said["variant"] == "resnet18_tiny" and "workdir" not in said
    estimator.network.save(tmp_path / "network.keras")
    assert same_weights(tmp_path / "network.keras", finished / "best.keras")


@pytest.mark.slow  # tests/export/test_poses.py has the serving itself
def test_leaves_a_model_that_answers_as_it_was_tested(
    finished, groups_dir, doll, groups_tested, tmp_path, start, metrics_of
):
    """The served model, on the test images with the dolls' boxes: its error is the one in the figures."""
    for name in ("config.json", "state.npz", "best.keras"):
        shutil.copyfile(finished / name, tmp_path / name)
    assert start(tmp_path, groups_dir, export=True, check=False).returncode == 0
    answer = tf.saved_model.load(str(tmp_path / "saved_model" / "1")).signatures["serving_default"]
    distances = []
    for record in groups_tested:
        people = record["people"]
        said = answer(image_bytes=tf.io.encode_png(record["image"])[None], boxes=tf.constant(people["box"][None]))
        assert said["keypoint_names"].numpy()[0].astype(str).tolist() == list(doll.keypoints)
        apart = np.linalg.norm(said["keypoints"].numpy()[0] - people["keypoints"], axis=-1)
        distances.append(apart[people["visibility"] > 0])
    assert np.concatenate(distances).mean() == pytest.approx(metrics_of(finished)["pixel_error"], rel=0.02)


# ---------------------------------------------------------------------------------------------------- going on
def test_a_run_that_was_cut_short_goes_on_where_it_was(finished, tmp_path, again, state, calls):
    """With the weights, the epochs and the crops that it would have had; it ends alike in the slow test below."""
    shutil.copytree(finished / "cut", tmp_path / "run")
    calls.watch(crops, "training")
    (stage,) = again(tmp_path / "run").stages()
    arguments = stage.arguments()
    arrays, history = state(finished / "cut")
    assert stage.done == arguments["initial_epoch"] == len(history) == EPOCHS - 1 and not stage.is_done
    assert calls.last("training")[1]["first_step"] == (EPOCHS - 1) * arguments["steps_per_epoch"] > 0
    for i, weight in enumerate(stage.model.get_weights()):
        np.testing.assert_array_equal(weight, arrays[f"variable_{i}"])
    assert int(stage.model.optimizer.iterations) == (EPOCHS - 1) * stage.steps


@pytest.mark.slow  # two more processes
def test_a_killed_run_ends_as_the_whole_one(
    finished, groups_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    """Killed in the middle of an epoch; started anew, it goes on after the one before."""
    killed = start(tmp_path, groups_dir, prepare=killed_at(epoch=2, step=3), check=False)
    assert killed.returncode == -9, killed.stderr[-4000:]
    assert len(state(tmp_path)[1]) == 2
    assert not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, groups_dir, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 2" in done.stderr and f"Epoch 3/{EPOCHS}" in done.stdout
    assert "Epoch 2/" not in done.stdout
    (expected, expected_history), (arrays, history) = state(finished), state(tmp_path)
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(tmp_path / "best.keras", finished / "best.keras")
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_finished_run_is_only_tested_again(finished, groups_tested, tmp_path, again, monkeypatch, files, metrics_of):
    """Now with a detector's boxes, too: those of the dolls, and one that holds nobody."""
    results = [{"image_id": 201, "category_id": 1, "bbox": [0, 0, 12, 9], "score": 0.1}]
    for record in groups_tested:
        people = record["people"]
        for left, top, right, bottom in people["box"][~people["is_crowd"]].tolist():
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": record["image_id"], "category_id": 1, "bbox": box, "score": 0.9})
    (tmp_path / "boxes.json").write_text(json.dumps(results))
    before, expected = files(finished), metrics_of(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    found = again(finished, detections=str(tmp_path / "boxes.json")).run()
    with_boxes = found.pop("coco_detected_boxes")
    assert found == expected
    assert with_boxes["boxes"] == found["people"] + 1
    assert with_boxes["AP50"] > 0.9 and with_boxes["AR"] == pytest.approx(found["coco"]["AR"])  # the same people
    for name in ("state.npz", "best.keras", "config.json"):
        assert files(finished)[finished / name] == before[finished / name]


# ---------------------------------------------------------------------------------------------------- starting points
def test_a_trained_network_is_begun_with_and_without_validation_the_last_weights_are_kept(finished, tmp_path, again):
    """The network of the file that knows itself."""
    training = again(tmp_path / "run", pretrained=str(finished / "model.keras"), validation_split="", ohkm=3)
    trained = keras.models.load_model(finished / "best.keras").get_weights()
    for weight, expected in zip(training.model.network.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(weight, expected)
    (stage,) = training.stages()
    assert stage.validation is None and stage.resume.monitor is None


@pytest.mark.slow  # tests/training/test_distiller.py has the learning itself
def test_a_teacher_is_learnt_from(finished, tmp_path, again, state):
    """By a student of two stacks, each of which is supervised."""
    teacher = str(finished / "best.keras")
    again(tmp_path / "run", variant="stacked", teacher=teacher, alpha=0.9, epochs=1).run()
    arrays, history = state(tmp_path / "run")
    for epoch in history:
        parts = 0.9 * epoch["distillation_loss"] + 0.1 * epoch["ground_truth_loss"]
        assert epoch["loss"] == pytest.approx(parts, rel=1e-4)
    network = keras.models.load_model(tmp_path / "run" / "best.keras")  # the student alone
    assert network.output_shape == (None, 2, 12, 12, 5)
    sizes = [array.size for name, array in arrays.items() if name.startswith("variable")]
    assert sum(sizes) < 3.2 * network.count_params()  # the teacher is not kept


@pytest.mark.parametrize("model, variant", [("hourglass", "tests"), ("simple_baseline", "resnet18_tiny")])
def test_pretrained_leaves_only_new_joints_new(model, variant, tmp_path, real_networks, monkeypatch):
    """In several stacks, whose heads are seen by the next, and in one network with one head."""
    monkeypatch.setitem(topdown.MODELS, "simple_baseline", FewLayers)
    config = resolved(model, variant=variant, recipe="small")
    trained = topdown.make_network(config, 7)
    trained.save(tmp_path / "trained.keras")
    keras.utils.set_random_seed(1)
    other = topdown.make_network(config | {"pretrained": tmp_path / "trained.keras"}, 5)
    differing = {
        layer.name
        for layer in other.layers
        if layer.weights
        and any(
            (w.shape != t.shape or (w != t).any())
            for w, t in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True)
        )
    }
    assert 0 < len(differing) < len([layer for layer in other.layers if layer.weights]) / 2


def test_networks_of_ones_own_are_trained():
    """As a notebook does it, by what is public: by the mean over all joints, or by the worst of each of two stacks."""
    model = training.heatmap_model(FewLayers(5), keras.optimizers.SGD(0.1))
    assert isinstance(model.loss, losses.JointsMSE) and model.loss.factor == 0.5
    network = FewLayers(5, filters=4, num_stacks=2)
    model = training.heatmap_model(network, keras.optimizers.SGD(0.1), losses.JointsOHKM(3))
    assert model.network is network
    random = np.random.default_rng(0)
    batch = [random.random(shape, "float32") for shape in ((2, 48, 48, 3), (2, 12, 12, 5), (2, 5))]
    model.run_eagerly = True  # one step is not worth a trace
    figures = model.train_on_batch(*batch, return_dict=True)
    assert set(figures) == {"loss", "pck"} and figures["loss"] > 0
    for name in ("head0", "head1"):
        assert (network.get_layer(name).bias.numpy() != 0).any()  # it began with zeros


# ---------------------------------------------------------------------------------------------------- what reaches what
def every_option(groups_dir, tmp_path):
    """A value for each option that is neither its default nor a recipe's."""
    return {
        "workdir": str(tmp_path / "run"),
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
        "detections": str(tmp_path / "boxes.json"),
        "model": "hourglass",
        "variant": "tests",
        "recipe": "small",
        "pretrained": "pretrained.keras",
        "backbone_weights": "backbone.pth",
        "teacher": "teacher.keras",
        "alpha": 0.25,
        "ohkm": 3,
        "flip_probability": 0.125,
        "box_padding": 1.5,
        "flip_test": False,
        "image_height": 64,
        "image_width": 128,
        "codec": "udp",
        "sigma_px": 2.5,
        "learning_rate": 0.5,
        "schedule": "step",
        "decay_epochs": [4],
        "decay_factor": 0.75,
        "warmup_epochs": 2.0,
        "scale_factor": 0.0625,
        "rotation_degrees": 11.0,
        "rotation_probability": 0.375,
        "half_body_probability": 0.1875,
        "color_jitter": 0.3125,
    }


def test_every_option_reaches_what_it_is_for(groups_dir, doll, tmp_path, real_networks, calls):
    given = every_option(groups_dir, tmp_path)
    assert set(given) == {option.name for option in TopDown.OPTIONS}
    recipes = [recipe for by_model in topdown.RECIPES.values() for recipe in by_model.values()]
    for option in TopDown.OPTIONS:
        others = [option.default, *(recipe.get(option.name, option.default) for recipe in recipes)]
        assert given[option.name] not in others or option.name in ("recipe", "schedule")  # of two values
    boxes = [{"image_id": number, "bbox": [9, 9, 40, 50], "score": 0.7} for number in (1, 2, 3)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    calls.watch(runs, "make_strategy", lambda *place: tf.distribute.get_strategy())
    calls.watch(runs.service, "served", lambda batches, address: batches)
    calls.watch(weights, "load_backbone")
    calls.watch(topdown, "start_from", [])
    teacher = models.StackedHourglass(5, image_shape=(64, 128, 3), num_stacks=1, filters=8)
    calls.watch(topdown, "load_network", lambda path, role: teacher)
    for name in ("training", "validation", "check"):
        calls.watch(crops, name)
    shown = {"crop": np.zeros((1, 64, 128, 3), "float32")}
    calls.watch(pictures, "some_people", shown)
    calls.watch(pictures, "poses", np.zeros((8, 8, 3), "uint8"))
    calls.watch(evaluation, "pose_figures", {"pixel_error": 1.0})
    calls.watch(export, "pose_saved_model")
    calls.watch(runs, "set_up")

    made = TopDown(**given)
    (stage,) = made.stages()
    stage.arguments()
    (tmp_path / "run" / "best.keras").touch()
    assert made.finish() == {"pixel_error": 1.0}

    # what is read, and what it is read for
    names = {role: set(crops.annotations(people, doll)["name"]) for role, people in made.splits.items()}
    assert names["train"] == {"101.png", "103.png", "105.png"} and names["validation"] <= {
        f"{i}.png" for i in range(200, 206)
    }
    assert "1.png" in names["test"] and not {"2.png", "4.png"} & names["test"]
    assert "check" not in calls.noted
    cutting = {"image_size": (64, 128), "box_padding": 1.5, "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3}}
    drawing = {"codec": "udp", "sigma_px": 2.5, "heatmap_size": (16, 32), "batch_size": 3}
    augmentation = {"flip_probability": 0.125, "scale_factor": 0.0625, "rotation_degrees": 11.0, "color_jitter": 0.3125}
    augmentation |= {"rotation_probability": 0.375, "half_body_probability": 0.1875, "seed": 5, "first_step": 0}
    assert calls.last("training") == ((made.splits["train"], doll), cutting | drawing | augmentation)
    assert calls.last("validation") == ((made.splits["validation"], doll), cutting | drawing)
    assert calls.last("some_people") == ((made.splits["test"], doll), cutting | {"udp": True})

    # what is trained, and how
    assert stage.epochs == 6 and stage.steps == 2 and stage.resume.monitor == "val_pck"
    ((config,), _) = calls.last("set_up")
    assert (config["seed"], config["precision"], config["deterministic"]) == (5, "float32", False)
    assert calls.last("make_strategy")[0][:4] == ("multi_worker", 3, ["first:1", "second:2"], 1)
    assert calls.last("served")[0][1] == "grpc://there:5"
    network = made.model.student
    assert isinstance(network, models.StackedHourglass) and network.num_stacks == 2 and network.filters == 8
    assert calls.last("load_backbone")[0] == (network, "backbone.pth")
    assert calls.last("start_from")[0][:2] == (network, "pretrained.keras")
    assert made.model.teacher.network is teacher and made.model.alpha == 0.25
    assert (made.model.loss.top_k, made.model.loss.factor) == (3, 1.0)
    assert made.model.optimizer.epsilon == 1e-8
    rates = [float(made.model.optimizer._learning_rate(step)) for step in (0, 2, 4, 7, 8)]
    assert rates == pytest.approx([0.0, 0.25, 0.5, 0.5, 0.375])

    # what is tested, left and said
    estimator, *rest = calls.last("pose_figures")[0]
    assert (estimator.codec, estimator.box_padding, estimator.flip_test) == ("udp", 1.5, False)
    assert estimator.skeleton == doll and estimator.normalization == cutting["normalization"]
    assert rest == [made.splits["test"], doll, made.detected, 3]
    found = crops.annotations(made.detected, doll)
    assert sorted(found["image_id"]) == [1, 3] and found["box"].tolist() == [[9, 9, 49, 59]] * 2
    assert calls.last("poses")[1] == {"codec": "udp", "normalization": cutting["normalization"]}
    assert calls.last("pose_saved_model")[0] == (estimator, tmp_path / "run" / "saved_model" / "1")
    free = {"workdir", "data_dir", "check", "detections", "worker_hosts", "worker_index", "data_service", "export"}
    expected = {name: value for name, value in given.items() if name not in free} | {"backend": "tensorflow"}
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == expected
    assert keras.models.load_model(tmp_path / "run" / "model.keras").training["options"] == expected


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(model="hrnet", dataset="coco_keypoints", **options):
    """The configuration that options come to, before anything is read."""
    training = object.__new__(TopDown)
    training.given = {"model": model, "dataset": dataset} | options
    return training.resolve(choose(TopDown.OPTIONS, training.given))


def test_no_option_means_the_small_recipe_and_another_data_set_the_published_one():
    assert resolved(dataset="puppets/images")["recipe"] == "small"
    assert resolved(dataset="puppets/images", recipe="published")["variant"] == "w32"
    config = resolved()
    assert config["recipe"] == "published" and config["half_body_probability"] == 0.3
    assert (config["epochs"], config["decay_epochs"]) == (210, [170, 200])
    assert resolved(epochs=21)["decay_epochs"] == [17, 20]  # in proportion
    assert resolved(epochs=21, decay_epochs=[5])["decay_epochs"] == [5]


def test_images_are_of_the_size_of_the_variant_and_gaussians_grow_with_them(real_networks):
    def size(config):
        return config["image_height"], config["image_width"], config["sigma_px"]

    assert size(resolved()) == (256, 192, 2.0)
    assert size(resolved(variant="tall")) == (384, 288, 3.0)  # as published
    assert size(resolved(image_height=384, image_width=288)) == (384, 288, 3.0)
    assert size(resolved(variant="tall", sigma_px=2.5)) == (384, 288, 2.5)
    assert size(resolved(variant="tall", image_height=128, image_width=96)) == (128, 96, 1.0)
    assert size(resolved("hourglass")) == (256, 256, 1.0)
    assert size(resolved("hourglass", recipe="small")) == (128, 128, 1.0)


def test_every_recipe_says_all_there_is_to_say():
    for recipe in topdown.RECIPES.values():
        assert set(recipe) == set(topdown.MODELS)
        for values in recipe.values():
            assert set(values) == set(topdown.SMALL)


# ---------------------------------------------------------------------------------------------------- wrong options
def test_a_work_folder_of_another_configuration_is_left_alone(finished, again, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        again(finished, learning_rate=0.1)
    assert "learning_rate 0.02 there and 0.1 here; give another workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "groups has the splits train, validation, test, got 'val'; use one of them"),
        ({"train_split": ""}, "groups has the splits train, validation, test, got ''; use one of them"),
        ({"variant": "resnet_7"}, "simple_baseline has the variants .*, got 'resnet_7'; use one of them"),
        ({"decay_epochs": [3, 99]}, "decay_epochs is less than the .* epochs, got 99; leave it out"),
        ({"skip": ["nobody.png"]}, "skip names samples of groups, 'nobody.png' is in none of its splits; correct"),
        ({"detections": "nothing.json"}, "nothing.json must be a JSON list of detections, there is no such file"),
        ({"ohkm": 9}, "ohkm is at most the number of joints, 5, got 9; give fewer"),
        ({"teacher": "none.keras"}, "A teaching network must be a .keras file, got none.keras, where there is no"),
        ({"pretrained": "none.keras"}, "A pretrained network must be a .keras file, got none.keras, where there is no"),
        (
            {
                "model": "hrnet",
                "variant": "tests",
                "image_height": 64,
                "image_width": 64,
                "backbone_weights": "none.pth",
            },
            "none.pth, which does not exist; check the path",
        ),
        ({"model": "hourglass", "variant": "tests", "image_height": 50}, "must be .*, got"),
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
    done = start(tmp_path, groups_dir, prepare=two_devices, strategy="mirrored")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path)
    assert len(history) == EPOCHS and history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert metrics_of(tmp_path)["pck@0.2"] > 0.8


# ---------------------------------------------------------------------------------------------------- presets
def test_a_preset_of_any_size_and_codec_is_tested_and_drawn(
    groups_dir, tmp_path, doll, monkeypatch, computing_as_tests_do, real_networks
):
    estimator = estimators.PoseEstimator(FewLayers(doll.num_keypoints, (32, 64, 3)), doll, codec="udp", flip_test=False)
    monkeypatch.setattr(runs, "estimator_of", lambda name: estimator)
    given = {"dataset": "groups", "data_dir": groups_dir, "check": False}
    with pytest.raises(
        ValueError, match=f"keypoints that hrnet_w32_coco_256x192_udp finds, got {doll.name} for coco; use"
    ):
        TopDown.test_preset("hrnet_w32_coco_256x192_udp", tmp_path, **given)
    monkeypatch.setattr(topdown.skeletons, "get", lambda name: doll)
    found = TopDown.test_preset("hrnet_w32_coco_256x192_udp", tmp_path, **given)
    assert found["people"] > 0 and (tmp_path / "predictions.png").is_file()
    # AP is published of a detector's boxes, and there are none here.
    assert found["published"]["figures"]["AP"] == {"found": None, "published": 0.762}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["preset"] == "hrnet_w32_coco_256x192_udp" and not {"codec", "epochs", "model"} & set(config)


@pytest.mark.slow
def test_several_workers_train_as_one(train_as_one, tmp_path, groups_dir):
    flags = OPTIONS | {"variant": "resnet18_tiny", "train_split": "test", "image_height": 64, "image_width": 64}
    flags |= {"rotation_probability": 0.5, "color_jitter": 0.2, "epochs": 2, "learning_rate": 1e-4}
    train_as_one("topdown", flags, tmp_path, groups_dir, most=1e-3)
