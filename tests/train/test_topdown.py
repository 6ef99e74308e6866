"""`python -m train.topdown`, from a small data set to a served model; killed and resumed; taught; given wrong flags."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose import models, skeletons
from train import topdown

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOLL = skeletons.Skeleton(
    "doll",
    ("nose", "left_hand", "right_hand", "left_foot", "right_foot"),
    edges=((0, 1), (0, 2), (0, 3), (0, 4)),
    sigmas=(0.1,) * 5,
)
COLORS = np.array([[250, 240, 60], [240, 60, 60], [240, 60, 60], [60, 90, 250], [60, 90, 250]])
EPOCHS = 5
COUNTS = {"train": 40, "validation": 8, "test": 8}  # images
FLAGS = {
    "dataset": "dolls",
    "recipe": "small",
    "model": "simple_baseline",
    "precision": "float32",
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 0.01,
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

    def __init__(self, num_joints, image_shape=(64, 64, 3), filters=16, num_stacks=None, **kwargs):
        inputs = keras.Input(image_shape)
        x = keras.layers.Conv2D(filters, 5, 2, "same", activation="relu", name="stem")(inputs)
        for i, strides in enumerate((2, 1, 1)):  # the last pixel sees most of the doll
            x = keras.layers.Conv2D(filters, 7, strides, "same", use_bias=False, name=f"conv{i}")(x)
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(x)
            x = keras.layers.ReLU(name=f"relu{i}")(x)
        heads = [
            keras.layers.Conv2D(num_joints, 1, kernel_initializer="zeros", dtype="float32", name=f"head{i}")(x)
            for i in range(num_stacks or 1)
        ]
        super().__init__(inputs, keras.ops.stack(heads, axis=1) if num_stacks else heads[0], **kwargs)
        self.num_joints, self.image_shape = num_joints, tuple(image_shape)
        self.filters, self.num_stacks = filters, num_stacks


# The script runs with that network, too.
WITH_FEW_LAYERS = f"""
import runpy
script.MODELS["simple_baseline"] = runpy.run_path({__file__!r})["FewLayers"]
"""


# ---------------------------------------------------------------------------------------------------- data
def draw_image(random, count):
    """An image with dolls side by side: a yellow nose between red hands over blue feet."""
    height, width = 90, 80 * count
    image = random.uniform(0, 60, (height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    people = []
    for i in range(count):
        size = random.uniform(22, 28)
        shape = np.array([[0, -1], [-0.9, 0], [0.9, 0], [-0.6, 1], [0.6, 1]])
        moved = shape + random.uniform(-1, 1, shape.shape) * [[0.6, 0], [0.3, 0.6], [0.3, 0.6], [0.4, 0], [0.4, 0]]
        points = moved * size + (80 * i + random.uniform(38, 42), 45)
        for (x, y), color in zip(points, COLORS, strict=True):
            image[(rows - y) ** 2 + (columns - x) ** 2 < 25] = color
        visibility = np.full(5, 2)
        visibility[random.integers(5)] = random.integers(3)
        people.append((np.where(visibility[:, None] > 0, points, 0), visibility, size))
    return image.astype("uint8"), people


def make_record(number, random):
    """An image of one or two dolls, of whom the last one is a crowd now and then."""
    image, people = draw_image(random, count=1 + number % 2)
    keypoints = np.array([points for points, _, _ in people], "float32")
    visibility = np.array([seen for _, seen, _ in people], "int32")
    boxes = []
    for points, seen, _ in people:
        known = points[seen > 0]
        boxes.append([*(known.min(axis=0) - 6), *(known.max(axis=0) + 6)])
    crowd = np.zeros(len(people), bool)
    if number % 4 == 3:
        crowd[-1], keypoints[-1], visibility[-1] = True, 0, 0
    boxes = np.array(boxes, "float32")
    return {
        "image": image,
        "image_id": number,
        "name": f"{number}.png",
        "people": {
            "keypoints": keypoints,
            "visibility": visibility,
            "box": boxes,
            "area": np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1),
            "head_size": np.array([0.4 * size for _, _, size in people], "float32"),
            "is_crowd": crowd,
            "id": 10 * number + np.arange(len(people)),
        },
    }


class Dolls(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = ROOT  # that of a builder in a package of its own

    def _info(self):
        person = {
            "keypoints": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
            "visibility": tfds.features.Tensor(shape=(5,), dtype=np.int32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "area": np.float32,
            "head_size": np.float32,
            "is_crowd": np.bool_,
            "id": np.int64,
        }
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_id": np.int64,
            "name": tfds.features.Text(),
            "people": tfds.features.Sequence(person),
        }
        metadata = tfds.core.MetadataDict({"skeleton": DOLL.to_dict()})
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), metadata=metadata)

    def _split_generators(self, dl_manager):
        starts = {"train": 0, "validation": 100, "test": 200}
        return {split: self._generate_examples(starts[split], count) for split, count in COUNTS.items()}

    def _generate_examples(self, start, count):
        for number in range(start, start + count):
            yield number, make_record(number, np.random.default_rng(number))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    Dolls(data_dir=str(folder)).download_and_prepare()
    return str(folder)


# ---------------------------------------------------------------------------------------------------- running
@pytest.fixture(scope="module")
def start(run_script):
    """Runs the script with the network above; what else is prepared comes after it."""

    def run(workdir, data_dir, prepare="", **flags):
        return run_script("topdown", FLAGS, workdir, data_dir, WITH_FEW_LAYERS + prepare, **flags)

    return run


def config_of(finished, data_dir, workdir, **changes):
    """What the script would be run with, to run it here."""
    shared = {"workdir": str(workdir), "data_dir": data_dir, "export": False, "check": False, "detections": None}
    return json.loads((finished / "config.json").read_text()) | shared | changes


@pytest.fixture
def real_networks(monkeypatch):
    for model, cls in topdown.MODELS.items():
        monkeypatch.setitem(cls.VARIANTS, "tests", TINY[model])
    monkeypatch.setitem(topdown.MODELS["hrnet"].VARIANTS, "tall", {"image_shape": (384, 288, 3)})


@pytest.fixture
def run_here(real_networks, computing_as_tests_do, monkeypatch):
    """`topdown.run` in this process, with the same network."""
    monkeypatch.setitem(topdown.MODELS, "simple_baseline", FewLayers)
    return topdown.run


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, start):
    """The work folder of a whole run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = start(workdir, data_dir, export=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return workdir


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, state, metrics_of):
    found = metrics_of(finished)
    _, history = state(finished)
    assert len(history) == EPOCHS
    assert history[-1]["loss"] < 0.5 * history[0]["loss"] and max(epoch["val_pck"] for epoch in history) > 0.8
    assert found["people"] == 10  # and two crowds
    assert found["pixel_error"] < 2.5 and found["pck@0.2"] > 0.95 and found["pckh@0.5"] > 0.9
    assert found["coco"]["AP50"] > 0.95 and found["coco"]["AR"] > 0.8
    assert list(found["joints"]) == list(DOLL.keypoints) and "mpii" not in found
    for joint in found["joints"].values():
        assert set(joint) == {"labelled", "pixel_error", "pck@0.2", "pckh@0.5"}
        assert 0 < joint["labelled"] <= 10
    labelled = np.array([joint["labelled"] for joint in found["joints"].values()])
    errors = np.array([joint["pixel_error"] for joint in found["joints"].values()])
    assert found["pixel_error"] == pytest.approx((labelled * errors).sum() / labelled.sum())


def test_leaves_weights_and_pictures(finished):
    network = keras.models.load_model(finished / "best.keras")
    assert network.input_shape == (None, 64, 64, 3) and network.output_shape == (None, 16, 16, 5)
    assert not network.compiled
    for name in ("curves.png", "predictions.png"):
        image = tf.io.decode_png((finished / name).read_bytes()).numpy()
        assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_leaves_curves_and_pictures_for_tensorboard(finished, events):
    steps, noted = events(finished / "logs")
    for tag in ("loss", "pck", "val_loss", "val_pck", "learning_rate"):
        assert steps[f"epoch/{tag}"] == list(range(EPOCHS))
    assert steps["truth_found_heatmaps"] == list(range(EPOCHS))
    pictures = noted["truth_found_heatmaps"]
    assert min(np.ptp(picture) for picture in pictures) > 100
    assert (pictures[0] != pictures[-1]).any()  # what was found changed


def test_leaves_a_model_that_answers_as_it_was_tested(finished, data_dir, metrics_of):
    """The served model, on the test images with the dolls' boxes: its error is the one in the figures."""
    answer = tf.saved_model.load(str(finished / "saved_model" / "1")).signatures["serving_default"]
    distances = []
    for number in range(200, 200 + COUNTS["test"]):
        record = make_record(number, np.random.default_rng(number))
        people = record["people"]
        image = tf.io.encode_png(record["image"])[None]
        said = answer(image_bytes=image, boxes=tf.constant(people["box"][None]))
        assert said["keypoint_names"].numpy()[0].astype(str).tolist() == list(DOLL.keypoints)
        apart = np.linalg.norm(said["keypoints"].numpy()[0] - people["keypoints"], axis=-1)
        distances.append(apart[people["visibility"] > 0])
    assert np.concatenate(distances).mean() == pytest.approx(metrics_of(finished)["pixel_error"], rel=0.02)


# ---------------------------------------------------------------------------------------------------- resuming
def test_a_killed_run_ends_as_the_whole_one(
    finished, data_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    """Killed in the middle of an epoch; started anew, it goes on after the one before."""
    killed = start(tmp_path, data_dir, prepare=killed_at(epoch=2, step=3), check=False)
    assert killed.returncode == -9, killed.stderr[-4000:]
    assert len(state(tmp_path)[1]) == 2
    assert not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, data_dir, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 2" in done.stderr and f"Epoch 3/{EPOCHS}" in done.stdout
    assert "Epoch 2/" not in done.stdout
    (expected, expected_history), (arrays, history) = state(finished), state(tmp_path)
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(tmp_path / "best.keras", finished / "best.keras")
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_finished_run_is_only_tested_again(finished, data_dir, tmp_path, run_here, monkeypatch, files, metrics_of):
    before = files(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    expected = metrics_of(finished)
    found = run_here(config_of(finished, data_dir, finished))
    assert found["pixel_error"] == pytest.approx(expected["pixel_error"], rel=1e-3)
    for name in ("state.npz", "best.keras", "config.json"):
        assert files(finished)[finished / name] == before[finished / name]


# ---------------------------------------------------------------------------------------------------- other flags
@pytest.mark.slow  # a quarter of a minute; tests/models/test_distiller.py has the learning itself
def test_a_teacher_is_learnt_from(finished, data_dir, tmp_path, run_here, state):
    """By a student of two stacks, each of which is supervised."""
    teacher = str(finished / "best.keras")
    changes = {"variant": "stacked", "teacher": teacher, "alpha": 0.9, "epochs": 1}
    run_here(config_of(finished, data_dir, tmp_path, **changes))
    arrays, history = state(tmp_path)
    for epoch in history:
        parts = 0.9 * epoch["distillation_loss"] + 0.1 * epoch["ground_truth_loss"]
        assert epoch["loss"] == pytest.approx(parts, rel=1e-4)
    network = keras.models.load_model(tmp_path / "best.keras")  # the student alone
    assert network.output_shape == (None, 2, 16, 16, 5)
    sizes = [array.size for name, array in arrays.items() if name.startswith("variable")]
    assert sum(sizes) < 3.2 * network.count_params()  # the teacher is not kept


def test_boxes_of_a_detector_are_tested_too(finished, data_dir, tmp_path, run_here, state):
    """With the true boxes and one that holds nobody; trained on the worst joints, without a validation split."""
    results = [{"image_id": 201, "category_id": 1, "bbox": [0, 0, 12, 9], "score": 0.1}]
    for number in range(200, 200 + COUNTS["test"]):
        people = make_record(number, np.random.default_rng(number))["people"]
        for left, top, right, bottom in people["box"][~people["is_crowd"]].tolist():
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": number, "category_id": 1, "bbox": box, "score": 0.9})
    (tmp_path / "boxes.json").write_text(json.dumps(results))
    flags = {"detections": str(tmp_path / "boxes.json"), "validation_split": "", "ohkm": 3, "schedule": "step"}
    flags |= {"pretrained": str(finished / "best.keras"), "epochs": 2, "decay_epochs": [1], "learning_rate": 1e-5}
    found = run_here(config_of(finished, data_dir, tmp_path / "run", **flags))
    assert found["coco_detected_boxes"]["boxes"] == found["people"] + 1
    assert found["coco"]["AP50"] > 0.9 and found["coco_detected_boxes"]["AP50"] > 0.9
    assert found["coco_detected_boxes"]["AR"] == pytest.approx(found["coco"]["AR"])  # the same people at the same boxes
    assert found["pixel_error"] < 4  # of what it started from
    _, history = state(tmp_path / "run")
    assert "val_pck" not in history[0] and len(history) == 2


def test_boxes_of_a_detector_in_other_units_are_refused():
    sizes = dict.fromkeys(range(4), (90, 120))
    boxes = np.float32([[60, 30, 110, 80], [70, 40, 115, 85]])  # as corners
    as_read = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)  # x + width, y + height
    with pytest.raises(ValueError, match="found.json: A bbox of COCO is x, y, width, height, got 8 of 8 boxes"):
        topdown.check_units("found.json", {i: (as_read, np.ones(2)) for i in range(4)}, sizes)
    with pytest.raises(ValueError, match="found.json: Boxes are in pixels, got 8 of 8 boxes"):
        topdown.check_units("found.json", {i: (boxes / 120, np.ones(2)) for i in range(4)}, sizes)
    topdown.check_units("found.json", {i: (boxes, np.ones(2)) for i in range(4)}, sizes)


@pytest.mark.parametrize("model", sorted(topdown.MODELS))
def test_pretrained_leaves_only_new_joints_new(model, tmp_path, real_networks):
    given = {"model": model, "variant": "tests", "pretrained": None, "backbone_weights": None}
    config = topdown.resolve(FLAGS | given)
    trained = topdown.make_network(config, 7)
    trained.save(tmp_path / "trained.keras")
    keras.utils.set_random_seed(1)
    same, other = (topdown.make_network(config | {"pretrained": tmp_path / "trained.keras"}, k) for k in (7, 5))
    for weight, expected in zip(same.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
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


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(model="hrnet", dataset="coco_keypoints", **flags):
    return topdown.resolve({"model": model, "dataset": dataset, "recipe": None, "variant": None} | flags)


def test_no_flag_means_the_small_recipe_and_another_data_set_the_published_one():
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


# ---------------------------------------------------------------------------------------------------- wrong flags
def test_a_work_folder_of_another_configuration_is_left_alone(finished, data_dir, run_here, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        run_here(config_of(finished, data_dir, finished, learning_rate=0.1))
    assert "learning_rate 0.01 there and 0.1 here; give another --workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "dolls has the splits train, validation, test, got 'val'; use one of them"),
        ({"train_split": ""}, "dolls has the splits train, validation, test, got ''; use one of them"),
        ({"variant": "resnet_7"}, "--model=simple_baseline has the variants .*, got 'resnet_7'; use one of them"),
        ({"decay_epochs": [3, 99]}, "--decay_epochs is less than the .* of --epochs, got 99; leave it out"),
        ({"skip": ["nobody.png"]}, "--skip names an image of dolls, nobody.png is none; correct the name"),
        ({"detections": "nothing.json"}, "--detections is a JSON file, got nothing.json, which does not exist"),
        ({"ohkm": 9}, "--ohkm is at most the number of joints, 5, got 9; give fewer"),
        ({"teacher": "none.keras"}, "A teaching network is a .keras file, got none.keras, which does not exist"),
        ({"pretrained": "none.keras"}, "A pretrained network is a .keras file, got none.keras, which does not exist"),
        (
            {"model": "hrnet", "variant": "tests", "backbone_weights": "none.pth"},
            "none.pth, which does not exist; check the path",
        ),
        ({"model": "hourglass", "variant": "tests", "image_height": 50}, "must be .*, got"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_flag_takes_no_work_folder(finished, data_dir, tmp_path, run_here, changes, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        run_here(config_of(finished, data_dir, tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- distribution
@pytest.mark.slow  # a minute: every pass of two devices over so few dolls mostly waits
def test_mirrored_over_two_devices(data_dir, tmp_path, start, state, metrics_of, two_devices):
    done = start(tmp_path, data_dir, prepare=two_devices, strategy="mirrored")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path)
    assert len(history) == EPOCHS and history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert metrics_of(tmp_path)["pck@0.2"] > 0.8
