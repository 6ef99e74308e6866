"""`python -m train.star_transformer`, from a few videos to a served model; killed and resumed; given wrong flags."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import models
from kerapose.layers import ConvNorm
from kerapose.models import mc3_resnet18
from train import common, star_transformer

EPOCHS = 8
TINY = {"rgb_shape": (4, 48, 48, 3), "base_filters": 8, "width": 32, "num_heads": 2, "encoder_layers": 1}
TINY |= {"decoder_layers": 1, "mlp_ratio": 2}
FLAGS = {
    "dataset": "gestures",
    "recipe": "small",
    "variant": "tests",
    "precision": "float32",
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 3e-3,
    "backbone_epochs": 2,
    "backbone_learning_rate": 3e-3,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "color_jitter": 0.0,
    "least_area": 0.8,
    "num_clips": 2,
}


# ---------------------------------------------------------------------------------------------------- running
def few_stages(x, filters):
    """Stands in for the backbone: one convolution a stage, which is built, trained and exported in seconds."""
    features = {"stem": ConvNorm(filters, (3, 7, 7), (1, 2, 2), name="stem")(x)}
    x = features["stem"]
    for stage in range(4):
        strides = (1, 1, 1) if stage == 0 else (1, 2, 2)
        features[f"layer{stage + 1}"] = x = ConvNorm(filters, (1, 3, 3), strides, name=f"layer{stage + 1}_0")(x)
    return features


PREPARE = f"""
import runpy
from kerapose import models
from kerapose.models import mc3_resnet18
tests = runpy.run_path({__file__!r})
mc3_resnet18.stages = tests["few_stages"]
models.STARTransformer.VARIANTS["tests"] = tests["TINY"]
"""


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    """The same network in this process."""
    monkeypatch.setattr(mc3_resnet18, "stages", few_stages)
    monkeypatch.setitem(models.STARTransformer.VARIANTS, "tests", TINY)


@pytest.fixture(scope="module")
def start(run_script):
    """Runs the script with the tiny network; `prepare` comes on top."""

    def run(workdir, data_dir, prepare="", **flags):
        return run_script("star_transformer", FLAGS, workdir, data_dir, prepare=PREPARE + prepare, **flags)

    return run


@pytest.fixture(scope="module")
def finished(gestures_dir, tmp_path_factory, start):
    """The work folder of a whole run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = start(workdir, gestures_dir, export=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return workdir


@pytest.fixture
def run_here(computing_as_tests_do):
    """`star_transformer.run` in this process."""
    return star_transformer.run


@pytest.fixture(scope="module")
def config_of(finished, gestures_dir, video_config_of):
    """What the script would be run with, to run it here: a function of the work folder and of changes."""
    return functools.partial(video_config_of, finished, gestures_dir)


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, state, metrics_of):
    _, history = state(finished)
    assert len(history) == EPOCHS
    assert history[-1]["loss"] < 0.75 * history[0]["loss"] and max(epoch["val_top1"] for epoch in history) > 0.6
    found = metrics_of(finished)
    assert list(found) == ["backbone", "star"] and list(found["star"]) == ["plain", "dark", "missed"]
    # Six videos of three classes, and figures that differ in their last bits between processors: far above chance.
    assert found["star"]["plain"]["top1"] > 0.6
    for figures in found["star"].values():
        assert set(figures) == {"top1", "top5", "mean_class"}
        assert 0 <= figures["top1"] <= figures["top5"] == 1  # of three classes


def test_leaves_weights_and_pictures(finished):
    network = keras.models.load_model(finished / "best.keras")
    assert isinstance(network, models.STARTransformer) and network.patterns == ("zigzag", "binary")
    assert network.rgb_shape == (4, 48, 48, 3) and network.num_classes == 3 and not network.compiled
    for name in ("curves", "confusion_matrix_plain", "confusion_matrix_dark", "confusion_matrix_missed"):
        image = tf.io.decode_png((finished / f"{name}.png").read_bytes()).numpy()
        assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_leaves_curves_and_pictures_for_tensorboard(finished, events, postures):
    seen, images = events(finished / "logs")
    epochs = list(range(EPOCHS))
    for tag in ("loss", "top1", "mean_class", "val_loss", "val_top1", "val_mean_class", "learning_rate"):
        assert seen[f"epoch/{tag}"] == epochs
    assert seen["confusion_matrix"] == epochs
    for kind, count in (("clips", 1), ("attention", EPOCHS)):
        drawn = {tag: pictures for tag, pictures in images.items() if tag.startswith(f"{kind}/")}
        assert len(drawn) == 4 and {tag.partition("_")[2] for tag in drawn} <= set(postures)
        for pictures in drawn.values():
            assert len(pictures) == count and min(np.ptp(picture) for picture in pictures) > 100


def test_leaves_a_model_that_answers_as_it_was_tested(finished, gesture_videos, postures, metrics_of):
    answer = tf.saved_model.load(str(finished / "saved_model" / "1")).signatures["serving_default"]
    hits = []
    for video, keypoints, label in gesture_videos:
        scores = np.full(keypoints.shape[:3], 0.9, "float32")
        inputs = {"frames": video, "keypoints": keypoints, "scores": scores}
        said = answer(**{name: tf.constant(value[None]) for name, value in inputs.items()})
        hits.append(said["top_class"].numpy()[0].decode() == postures[label])
    assert np.mean(hits) == pytest.approx(metrics_of(finished)["star"]["plain"]["top1"])


# ---------------------------------------------------------------------------------------------------- resuming
@pytest.mark.slow  # a minute and a half; see test_rgbpose.py, which has the same loop
def test_a_killed_run_ends_as_the_whole_one(
    finished, gestures_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    """Killed in the middle of an epoch; started anew, it goes on after the one before."""
    killed = start(tmp_path, gestures_dir, prepare=killed_at(epoch=3, step=2), check=False)
    assert killed.returncode == -9, killed.stderr[-4000:]
    assert len(state(tmp_path)[1]) == 3 and not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, gestures_dir, check=False, conditions="plain")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 3" in done.stderr and f"Epoch 4/{EPOCHS}" in done.stdout
    assert "Epoch 3/" not in done.stdout
    (expected, expected_history), (arrays, history) = state(finished), state(tmp_path)
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(tmp_path / "best.keras", finished / "best.keras")
    assert metrics_of(tmp_path)["star"]["plain"] == metrics_of(finished)["star"]["plain"]


# ---------------------------------------------------------------------------------------------------- other flags
@pytest.mark.slow  # half a minute
def test_the_ablation_has_full_attention_alone_and_starts_from_a_trained_network(
    finished, tmp_path, run_here, config_of
):
    """Of a layer, the pattern has no weights: what was trained with the one goes on with the other."""
    pretrained = str(finished / "best.keras")
    config = config_of(tmp_path, attention="full", pretrained=pretrained, epochs=1)
    found = run_here(config | {"learning_rate": 1e-6, "optimizer": "sgd", "validation_split": ""})
    assert keras.models.load_model(tmp_path / "best.keras").patterns == ("full", "full")
    assert found["star"]["plain"]["top1"] > 0.5  # of what it started from


def test_a_backbone_is_loaded(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(star_transformer.weights, "load_backbone", lambda network, path: loaded.append((network, path)))
    file = tmp_path / "mc3_18.pth"
    file.write_bytes(b"")
    config = resolved(variant="tests", pretrained_backbone=str(file), attention="star")
    network = star_transformer.make_network(3, 13, config)
    assert loaded == [(network, str(file))] and network.num_joints == 13


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="penn_action", **flags):
    names = ("recipe", "size", "pretrained", "pretrained_backbone")
    return star_transformer.resolve({"dataset": dataset, "conditions": ["plain"]} | dict.fromkeys(names) | flags)


def test_no_flag_means_the_small_recipe_and_another_data_set_the_published_one():
    config = resolved("puppets/videos")
    assert (config["recipe"], config["variant"]) == ("small", "star_tiny")
    config = resolved()
    assert (config["recipe"], config["variant"], config["optimizer"]) == ("published", "star", "sgd")
    assert (config["batch_size"], config["epochs"], config["learning_rate"], config["size"]) == (4, 300, 2e-4, 112)
    assert resolved(epochs=7, size=96)["epochs"] == 7 and resolved(size=96)["size"] == 96


def test_every_recipe_says_all_there_is_to_say():
    assert set(star_transformer.PUBLISHED) == set(star_transformer.SMALL)


def test_the_published_optimizer_has_a_constant_rate():
    optimizer = star_transformer.video_clips.make_optimizer(resolved() | {"momentum": 0.9, "clip_norm": 40.0}, steps=10)
    assert isinstance(optimizer, common.SGDL2) and (optimizer.momentum, optimizer.l2) == (0.9, 0.0)
    for step in (0, 10, 2999):
        np.testing.assert_allclose(optimizer._learning_rate(step), 2e-4, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- wrong flags
def test_a_work_folder_of_another_configuration_is_left_alone(finished, files, run_here, config_of):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        run_here(config_of(finished, learning_rate=0.1))
    assert "learning_rate 0.003 there and 0.1 here; give another --workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "has the splits .*, got 'val'; use one of them"),
        ({"conditions": ["foggy"]}, "--conditions are of plain, dark, missed, got 'foggy'; use these"),
        ({"conditions": []}, "--conditions are of plain, dark, missed, got none; use these"),
        ({"size": 50}, "--size is a multiple of 4, .*, got 50; give 52, say"),
        ({"decay_epochs": [15]}, "Each of --decay_epochs is less than the 8 of --epochs, got 15; leave it out"),
        ({"pretrained_backbone": "none.pth"}, "--pretrained_backbone is a file, got none.pth, which does not"),
        ({"pretrained": "none.keras"}, "A pretrained network is a .keras file, got none.keras, which does not exist"),
        ({"pretrained": "a", "pretrained_backbone": "b"}, "exclude each other, got both; leave one out"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_flag_takes_no_work_folder(tmp_path, run_here, changes, match, config_of):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        run_here(config_of(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
