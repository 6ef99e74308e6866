"""`training.StarTransformer`, from a few videos to a served model; cut short and resumed; given wrong options."""

import functools
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import models, predictors, training, weights
from kerapose.data import videos
from kerapose.layers import ConvNorm
from kerapose.models import mc3_resnet18
from kerapose.skeletons import COCO
from kerapose.training import StarTransformer, runs, star_transformer
from kerapose.training import videos as video_training
from train import star_transformer as script

EPOCHS = 2
TINY = {"rgb_shape": (4, 48, 48, 3), "base_filters": 8, "width": 32, "num_heads": 2, "encoder_layers": 1}
TINY |= {"decoder_layers": 1, "mlp_ratio": 2}
OPTIONS = {
    "dataset": "gestures",
    "train_split": "test",  # six videos; the slow test learns from all
    "recipe": "small",
    "precision": "float32",
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 3e-3,
    "backbone_epochs": 0,
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


@pytest.fixture(autouse=True, scope="module")
def tiny_network():
    """A network of the recipe's variant that is built and trained in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mc3_resnet18, "stages", few_stages)
        patch.setitem(models.STARTransformer.VARIANTS, "star_tiny", TINY)
        yield


@pytest.fixture(scope="module")
def finished(gestures_dir, tmp_path_factory, computing_repeatably, cut_after, step_by_step):
    """The work folder of a whole run, without a backbone that was trained before."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    training = StarTransformer(workdir, data_dir=gestures_dir, **OPTIONS)
    with cut_after({"whole": EPOCHS - 1}), step_by_step():
        training.fit()
    training.finish()
    return workdir


@pytest.fixture(scope="module")
def best(finished):
    """The network that the whole run has left, which tests only look at."""
    return keras.models.load_model(finished / "best.keras")


@pytest.fixture(scope="module")
def options(finished, gestures_dir, options_of):
    """The options of the whole run, to make its training anew: a function of changes."""
    return functools.partial(options_of, StarTransformer, finished, gestures_dir, check=False)


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_a_little_of_few_videos(finished, state, metrics_of):
    _, history = state(finished)
    assert len(history) == EPOCHS and history[-1]["loss"] < 0.95 * history[0]["loss"]
    assert {"val_loss", "val_top1", "val_mean_class"} < set(history[0])
    found = metrics_of(finished)
    assert list(found) == ["star"] and list(found["star"]) == ["plain", "dark", "missed"]
    for figures in found["star"].values():
        assert set(figures) == {"top1", "top5", "mean_class"}
        assert 0 <= figures["top1"] <= figures["top5"] == 1  # of three classes


def test_leaves_weights_and_pictures(finished, best):
    assert isinstance(best, models.STARTransformer) and best.patterns == ("zigzag", "binary")
    assert best.rgb_shape == (4, 48, 48, 3) and best.num_classes == 3 and not best.compiled
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


def test_leaves_a_file_that_knows_itself(finished, best, postures, metrics_of):
    """What a file of such a recognizer says of videos, as it was tested, is in the tests of RGBPose."""
    recognizer = predictors.load(finished / "model.keras").recognizer
    assert recognizer.skeleton == COCO and recognizer.class_names == postures and recognizer.num_clips == 2
    for weight, expected in zip(recognizer.network.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert recognizer.training["kind"] == "StarTransformer" and recognizer.training["figures"] == metrics_of(finished)


# ---------------------------------------------------------------------------------------------------- resuming
def test_a_run_that_was_cut_short_goes_on_where_it_was(finished, options, tmp_path, state, watch):
    """With the weights, the epochs and the clips that it would have had; it ends alike in the slow test below."""
    for file in (finished / "cut").iterdir():
        shutil.copy(file, tmp_path / file.name)
    read = watch(videos, "training", lambda *args, **how: None)
    watch(video_training, "for_outputs", lambda batches, model: batches)
    (stage,) = StarTransformer(tmp_path, **options()).stages()
    arguments = stage.arguments()
    arrays, history = state(finished / "cut")
    assert stage.done == arguments["initial_epoch"] == len(history) == EPOCHS - 1 and not stage.is_done
    assert read[0][1]["first_step"] == (EPOCHS - 1) * arguments["steps_per_epoch"] == 2
    for i, weight in enumerate(stage.model.weights):
        np.testing.assert_array_equal(weight, arrays[f"variable_{i}"])


@pytest.mark.slow  # two minutes
def test_both_networks_learn_and_a_run_that_was_cut_short_ends_as_the_whole_one(
    gestures_dir, tmp_path, state, same_weights, metrics_of, computing_repeatably, cut_after, assert_serves_as_tested
):
    """By the loop of a notebook, from the backbone of the whole run and what it had left after some epochs."""
    whole, cut, options = (
        tmp_path / "whole",
        tmp_path / "cut",
        OPTIONS | {"train_split": "train", "backbone_epochs": 2, "epochs": 3},
    )
    with cut_after({"whole": 2}):
        training = StarTransformer(whole, data_dir=gestures_dir, export=True, **options)
        training.run()
    assert_serves_as_tested(training)
    figures = metrics_of(whole)
    assert list(figures) == ["backbone", "star"] and figures["star"]["plain"]["top1"] > 0.6

    shutil.copytree(whole / "backbone", cut / "backbone")
    for file in (whole / "cut").iterdir():
        shutil.copy(file, cut / file.name)
    training = StarTransformer(cut, data_dir=gestures_dir, **options)
    for stage in training.stages():
        stage.model.fit(**stage.arguments())
    (expected, expected_history), (arrays, history) = state(whole), state(cut)
    assert history == expected_history and len(history) == 3 and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(cut / "best.keras", whole / "best.keras")
    assert training.finish() == figures


# ---------------------------------------------------------------------------------------------------- every option
OTHER = {
    "workdir": None,  # in the test
    "dataset": "gestures",
    "data_dir": None,
    "train_split": "test",
    "validation_split": "",
    "test_split": "validation",
    "skip": ["200", "101"],
    "batch_size": 3,
    "epochs": 9,
    "seed": 7,
    "precision": "float32",
    "deterministic": False,
    "strategy": "multi_worker",
    "worker_hosts": ["first:1", "second:2"],
    "worker_index": 1,
    "data_service": "grpc://there:5",
    "sync_batch_norm": True,
    "export": True,
    "check": False,
    "variant": "star_tiny",
    "recipe": "published",
    "size": 40,
    "use_scores": False,
    "flip_probability": 0.25,
    "flip_test": True,
    "flip_pairs": ["stand:spread"],
    "momentum": 0.7,
    "clip_norm": 11.0,
    "conditions": ["missed", "dark"],
    "num_clips": 3,
    "learning_rate": 0.02,
    "optimizer": "adamw",
    "weight_decay": 3e-3,
    "schedule": "step",
    "decay_epochs": [4, 7],
    "warmup_epochs": 2.0,
    "dropout": 0.3,
    "sigma_px": 0.9,
    "least_area": 0.8,
    "color_jitter": 0.1,
    "keypoint_weight": 0.4,
    "missed_share": 0.2,
    "attention": "full",
    "pretrained": "elsewhere",
    "pretrained_backbone": "elsewhere",
    "backbone_epochs": 11,
    "backbone_learning_rate": 0.03,
}


def test_every_option_counts(gestures_dir, tmp_path, watch, others_than_defaults, as_after_an_epoch):
    """But for what training starts from, which excludes a backbone of its own: that is in the tests below."""
    others_than_defaults(StarTransformer, OTHER | {"workdir": "a", "data_dir": "a"})
    given = {name: value for name, value in OTHER.items() if not name.startswith("pretrained")}
    read, checked = (watch(videos, name) for name in ("from_tfds", "check"))
    evaluated, trained_on = (watch(videos, name, lambda *args, **how: None) for name in ("evaluation", "training"))
    watch(video_training, "for_outputs", lambda batches, model: batches)
    set_up = watch(runs, "set_up", lambda config: None)
    strategies = watch(runs, "make_strategy", lambda *place: tf.distribute.get_strategy())
    served = watch(runs.service, "served", lambda batches, address: batches)
    nothing = {condition: {"fused": np.eye(3)} for condition in ("missed", "dark")}
    tested = watch(video_training.evaluation, "video_probabilities", lambda *args: (np.arange(3), nothing))
    exported = watch(video_training.export, "video_saved_model", lambda *args, **options: None)
    made = StarTransformer(**given | {"workdir": str(tmp_path / "run"), "data_dir": gestures_dir})
    ((config,), _) = set_up[0]
    assert (config["seed"], config["precision"], config["deterministic"]) == (7, "float32", False)
    assert [args for args, _ in read] == [("gestures", split, gestures_dir) for split in ("test", "validation")]
    assert checked == [] and made.workdir == tmp_path / "run"
    counts = {role: split and int(split.cardinality()) for role, split in made.splits.items()}
    assert counts == {"train": 5, "validation": None, "test": 3}

    expected = {  # folder, epochs, rates by epoch
        models.MC3ResNet18: ("run/backbone", 11, {0: 0.0, 1: 0.015, 2: 0.03, 3: 0.03, 4: 0.003, 7: 3e-4}),
        models.STARTransformer: ("run", 9, {0: 0.0, 1: 0.01, 2: 0.02, 3: 0.02, 4: 0.002, 7: 2e-4}),
    }
    for kind, stage in zip(expected, made.stages(), strict=True):
        folder, epochs, rates = expected[kind]
        assert (stage.folder, stage.steps, stage.epochs) == (tmp_path / folder, 2, epochs)
        assert stage.validation is None and stage.resume.monitor is None
        optimizer, network = stage.model.optimizer, stage.model.network
        assert isinstance(network, kind) and type(optimizer) is keras.optimizers.Adam
        assert (optimizer.weight_decay, optimizer.global_clipnorm) == (3e-3, 11.0)
        found = [float(optimizer._learning_rate(2 * epoch)) for epoch in rates]
        np.testing.assert_allclose(found, list(rates.values()), rtol=1e-5, atol=1e-8)
        assert stage.model.get_layer("teacher").weight == 0.4
        stage.arguments()
        volume = (4, 5, 5, 17) if kind is models.MC3ResNet18 else (4, 10, 10, 17)
        reading = {"batch_size": 3, "rgb_shape": (4, 40, 40, 3), "pose_shape": volume}
        reading |= {"aligned": True, "use_scores": False}
        assert evaluated[-1][1] == reading
        assert trained_on[-1][1] == reading | {
            "seed": 7,
            "first_step": 0,
            "flip_probability": 0.25,
            "flip_labels": [2, 1, 0],
            "color_jitter": 0.1,
            "missed_share": 0.2,
            "area_range": (0.8, 1.0),
            "short_side_px": 46,
        }
        as_after_an_epoch(stage)
    assert stage.model.get_layer("volume").sigma_px == 0.9
    assert network.patterns == ("full", "full") and network.dropout == 0.3
    backbone = keras.models.load_model(tmp_path / "run" / "backbone" / "best.keras")
    np.testing.assert_array_equal(
        network.get_layer("layer1_0").get_weights()[0], backbone.get_layer("layer1_0").get_weights()[0]
    )
    assert [place[:4] for place, _ in strategies] == [("multi_worker", 3, ["first:1", "second:2"], 1)]
    assert {address for (_, address), _ in served} == {"grpc://there:5"}

    results = made.finish()
    assert list(results) == ["backbone", "star"] and list(results["backbone"]) == ["missed", "dark"]
    assert [args[1:] for args, _ in tested] == [(made.splits["test"], ["missed", "dark"], 7)] * 2
    ((recognizer, path), how) = exported[0]
    assert path == made.workdir / "saved_model" / "1" and how == {"overwrite": True}
    assert isinstance(recognizer.network, models.STARTransformer) and recognizer.training["figures"] == results
    assert (recognizer.num_clips, recognizer.flip_test, recognizer.flip_labels) == (3, True, (2, 1, 0))
    assert (recognizer.aligned, recognizer.use_scores, recognizer.sigma_px) == (True, False, 0.9)
    assert (made.workdir / "confusion_matrix_dark.png").exists()


def test_the_published_optimizer_has_momentum_and_a_constant_rate():
    config = resolved(momentum=0.7, clip_norm=11.0, weight_decay=1e-3)
    optimizer = video_training.make_optimizer(config, steps=10)
    assert isinstance(optimizer, training.SGDL2)
    assert (optimizer.momentum, optimizer.l2, optimizer.global_clipnorm) == (0.7, 1e-3, 11.0)
    for step in (0, 10, 2999):
        np.testing.assert_allclose(optimizer._learning_rate(step), 2e-4, rtol=1e-6)


def test_the_ablation_has_full_attention_alone_and_starts_from_a_trained_network(finished, best, tmp_path, options):
    """Of a layer, the pattern has no weights: what was trained with the one goes on with the other."""
    file = str(finished / "best.keras")
    made = StarTransformer(tmp_path, **options(attention="full", pretrained=file, backbone_epochs=3))
    network = made.outline  # built as every network of the training
    assert network.patterns == ("full", "full") != best.patterns and made.config["backbone_epochs"] == 0
    for weight, expected in zip(network.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_backbone_is_loaded(tmp_path, options, monkeypatch):
    loaded = []
    monkeypatch.setattr(weights, "load_backbone", lambda network, path: loaded.append((network, path)))
    file = tmp_path / "mc3_18.pth"
    file.write_bytes(b"")
    made = StarTransformer(tmp_path / "run", **options(pretrained_backbone=str(file)))
    assert loaded == [(made.outline, str(file))]
    backbone = made.make_backbone()
    backbone.save(tmp_path / "backbone.keras")
    made = StarTransformer(tmp_path / "other", **options(pretrained_backbone=str(tmp_path / "backbone.keras")))
    np.testing.assert_array_equal(
        made.outline.get_layer("layer1_0").get_weights()[0], backbone.get_layer("layer1_0").get_weights()[0]
    )


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="penn_action", **given):
    """The configuration that options come to, without data."""
    made = StarTransformer.__new__(StarTransformer)
    made.given = given
    return made.resolve(runs.choose(StarTransformer.OPTIONS, given | {"dataset": dataset}))


def test_no_option_means_the_small_recipe_and_another_data_set_the_published_one():
    config = resolved("puppets/videos")
    assert (config["recipe"], config["variant"]) == ("small", "star_tiny")
    config = resolved()
    assert (config["recipe"], config["variant"], config["optimizer"]) == ("published", "star", "sgd")
    assert (config["batch_size"], config["epochs"], config["learning_rate"], config["size"]) == (4, 300, 2e-4, 112)
    assert resolved(epochs=7, size=96)["epochs"] == 7 and resolved(size=96)["size"] == 96


def test_every_recipe_says_all_there_is_to_say():
    assert set(star_transformer.PUBLISHED) == set(star_transformer.SMALL)
    without_default = {option.name for option in StarTransformer.OPTIONS if option.default is None}
    assert without_default - set(star_transformer.PUBLISHED) == {
        *("data_dir", "deterministic", "recipe", "size", "flip_pairs", "pretrained", "pretrained_backbone"),
        *("worker_hosts", "worker_index", "data_service"),
    }


# ---------------------------------------------------------------------------------------------------- wrong options
def test_a_work_folder_of_another_configuration_is_left_alone(finished, files, options):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        StarTransformer(finished, **options(learning_rate=0.1))
    assert "learning_rate 0.003 there and 0.1 here; give another workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "has the splits .*, got 'val'; use one of them"),
        ({"conditions": ["foggy"]}, "conditions must be one of plain, dark, missed, got 'foggy'; use one of them"),
        ({"conditions": []}, "conditions are of plain, dark, missed, got none; use these"),
        ({"size": 50}, "size is a multiple of 4, .*, got 50; give 52, say"),
        ({"decay_epochs": [15]}, "Each of decay_epochs is less than the 2 epochs, got 15; leave it out"),
        ({"pretrained_backbone": "none.pth"}, "pretrained_backbone is a file, got none.pth, which does not"),
        ({"pretrained": "none.keras"}, "A pretrained network must be a .keras file, got none.keras, where there is no"),
        ({"pretrained": "a", "pretrained_backbone": "b"}, "exclude each other, got both; leave one out"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_option_takes_no_work_folder(tmp_path, changes, match, options):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        StarTransformer(tmp_path / "run", **options(**changes))
    assert not (tmp_path / "run").exists()


def test_the_script_is_of_this_training():
    assert script.TRAINING is StarTransformer


@pytest.mark.slow
def test_several_workers_train_as_one(train_as_one, tmp_path, gestures_dir):
    flags = OPTIONS | {"epochs": 2, "size": 48, "dropout": 0.1, "missed_share": 0.1, "learning_rate": 1e-4}
    train_as_one("star_transformer", flags, tmp_path, gestures_dir, most=1e-3)
