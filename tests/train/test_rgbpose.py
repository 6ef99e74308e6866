"""`training.RGBPose`, from a few videos to a served model; cut short and resumed; given wrong options."""

import dataclasses
import functools
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import models, predictors, presets, training
from kerapose.data import videos
from kerapose.layers import ConvNorm, layer_name
from kerapose.models import slowonly
from kerapose.skeletons import COCO
from kerapose.training import RGBPose, rgbpose, runs
from kerapose.training import videos as video_training
from train import rgbpose as script

EPOCHS = 2
SHAPES = {"rgb": (4, 48, 48, 3), "pose": (16, 12, 12, 17)}
TINY = {
    models.SlowOnly: {
        "slowonly_rgb_tiny": slowonly.RGB_PATH | {"base_filters": 8, "stage_blocks": (1,) * 4},
        "slowonly_pose_path_tiny": slowonly.POSE_PATH | {"base_filters": 8, "stage_blocks": (1,) * 3},
    },
    models.RGBPoseConv3D: {
        "rgbpose_tiny": {"rgb_shape": SHAPES["rgb"], "pose_shape": SHAPES["pose"], "rgb_filters": 8, "pose_filters": 8}
        | {"rgb_blocks": (1,) * 4, "pose_blocks": (1,) * 3}
    },
}
OPTIONS = {
    "dataset": "gestures",
    "recipe": "small",
    "precision": "float32",
    "rgb_batch_size": 4,
    "rgb_epochs": 4,
    "pose_batch_size": 4,
    "pose_epochs": 3,
    "batch_size": 4,
    "epochs": EPOCHS,
    "optimizer": "sgd",
    "rgb_learning_rate": 0.02,
    "pose_learning_rate": 0.02,
    "learning_rate": 0.02,
    "weight_decay": 1e-4,
    "color_jitter": 0.0,
    "least_area": 0.8,
    "dropout": 0.1,
    "num_clips": 2,
}


# ---------------------------------------------------------------------------------------------------- running
def one_convolution(x, filters, strides, inflated, name, *_):
    """Stands in for a bottleneck: it is built, trained and exported in less time."""
    return ConvNorm(4 * filters, (3 if inflated else 1, 3, 3), strides, name=layer_name(f"{name}.conv1"))(x)


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    """Networks of the recipe's variant that are built and trained in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slowonly, "bottleneck", one_convolution)
        for cls, variants in TINY.items():
            for name, arguments in variants.items():
                patch.setitem(cls.VARIANTS, name, arguments)
        yield


@pytest.fixture(scope="module")
def finished(gestures_dir, tmp_path_factory, computing_repeatably, cut_after):
    """The work folder of a whole run of the joint network alone, tested on the videos as they are."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    with cut_after({"both": EPOCHS - 1}):
        RGBPose(workdir, data_dir=gestures_dir, from_scratch=True, conditions=["plain"], **OPTIONS).run()
    return workdir


@pytest.fixture(scope="module")
def best(finished):
    """The network that the whole run has left, which tests only look at."""
    return keras.models.load_model(finished / "both" / "best.keras")


@pytest.fixture(scope="module")
def options(finished, gestures_dir, options_of):
    """The options of the whole run, to make its training anew: a function of changes."""
    return functools.partial(options_of, RGBPose, finished, gestures_dir, check=False)


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, state, metrics_of):
    _, history = state(finished / "both")
    assert len(history) == EPOCHS
    assert max(epoch["val_fused_top1"] for epoch in history) > 0.7
    assert set(history[0]) >= {"rgb_loss", "pose_loss", "rgb_top1", "pose_top1", "fused_mean_class"}
    for epoch in history:
        assert epoch["loss"] == pytest.approx(epoch["rgb_loss"] + epoch["pose_loss"], rel=1e-3)
    for pathway in ("rgb", "pose"):
        assert history[-1][f"{pathway}_loss"] < 0.8 * history[0][f"{pathway}_loss"]
    found = metrics_of(finished)
    assert set(found) == {"both", "both_rgb", "both_pose"}
    for by_condition in found.values():
        assert list(by_condition) == ["plain"]
        for figures in by_condition.values():
            assert set(figures) == {"top1", "top5", "mean_class"}
            assert 0 <= figures["top1"] <= figures["top5"] == 1  # of three classes
    assert found["both"]["plain"]["top1"] > 0.8


def test_leaves_weights_and_pictures(finished, best):
    assert isinstance(best, models.RGBPoseConv3D) and not best.compiled
    assert {name: shape[1:] for name, shape in best.input_shape.items()} == SHAPES
    for name in ("curves", "confusion_matrix_plain"):
        image = tf.io.decode_png((finished / "both" / f"{name}.png").read_bytes()).numpy()
        assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_leaves_curves_and_pictures_for_tensorboard(finished, events, postures):
    seen, images = events(finished / "both" / "logs")
    for tag in ("loss", "learning_rate", "val_fused_top1", "val_fused_mean_class"):
        assert seen[f"epoch/{tag}"] == list(range(EPOCHS))
    assert seen["confusion_matrix"] == list(range(EPOCHS))
    clips = {tag.partition("_")[2]: pictures for tag, pictures in images.items() if tag.startswith("clips/")}
    assert clips and set(clips) <= set(postures)
    assert all(np.ptp(picture) > 100 for pictures in clips.values() for picture in pictures)


def test_leaves_a_file_that_knows_itself(finished, best, gestures_dir, postures, metrics_of):
    recognize = predictors.load(finished / "model.keras")
    tested, _ = videos.from_tfds("gestures", "test", gestures_dir)
    hits = [
        recognize(clip["video"], clip["keypoints"], clip["scores"])[0].name == postures[clip["label"]]
        for clip in tested.as_numpy_iterator()
    ]
    assert np.mean(hits) == pytest.approx(metrics_of(finished)["both"]["plain"]["top1"])
    recognizer = recognize.recognizer
    assert recognizer.skeleton == COCO and recognizer.class_names == postures and recognizer.num_clips == 2
    assert recognizer.rgb_shape[1:3] == (56, 56)  # the whole box is seen, in as much detail as a crop of it
    for weight, expected in zip(recognizer.network.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert recognizer.training["kind"] == "RGBPose" and recognizer.training["figures"] == metrics_of(finished)


# ---------------------------------------------------------------------------------------------------- resuming
def test_a_run_that_was_cut_short_goes_on_where_it_was(finished, options, tmp_path, state, watch):
    """With the weights, the epochs and the clips that it would have had; it ends alike in the slow test below."""
    shutil.copytree(finished / "both" / "cut", tmp_path / "both")
    read = watch(videos, "training", lambda *args, **how: None)
    watch(video_training, "for_outputs", lambda batches, model: batches)
    (stage,) = RGBPose(tmp_path, **options()).stages()
    arguments = stage.arguments()
    arrays, history = state(finished / "both" / "cut")
    assert stage.done == arguments["initial_epoch"] == len(history) == EPOCHS - 1 and not stage.is_done
    assert read[0][1]["first_step"] == (EPOCHS - 1) * arguments["steps_per_epoch"] == 24
    for i, weight in enumerate(stage.model.weights):
        np.testing.assert_array_equal(weight, arrays[f"variable_{i}"])


@pytest.mark.slow  # two minutes
def test_all_three_networks_learn_and_a_run_that_was_cut_short_ends_as_the_whole_one(
    gestures_dir, tmp_path, state, same_weights, metrics_of, computing_repeatably, cut_after, assert_serves_as_tested
):
    """By the loop of a notebook, from the single networks of the whole run and what it had left after some epochs."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with cut_after({"both": 2}):
        training = RGBPose(whole, data_dir=gestures_dir, export=True, **OPTIONS)
        training.run()
    assert_serves_as_tested(training)
    joint, rgb, pose = (state(whole / modality)[1] for modality in ("both", "rgb", "pose"))
    assert (len(rgb), len(pose), len(joint)) == (4, 3, EPOCHS)
    # The mean of the first epoch is better than that of those which it starts from.
    assert joint[0]["rgb_loss"] < 0.7 * rgb[0]["loss"] and joint[0]["pose_loss"] < 0.7 * pose[0]["loss"]
    figures = metrics_of(whole)
    assert set(figures) == {"rgb", "pose", "both", "both_rgb", "both_pose", "late_fusion"}
    assert min(figures[network]["plain"]["top1"] for network in ("rgb", "both")) > 0.8
    assert figures["pose"]["dark"] == figures["pose"]["plain"]  # it sees no frames

    shutil.copytree(whole / "both" / "cut", cut / "both")
    training = RGBPose(cut, data_dir=gestures_dir, pretrained=str(whole), **OPTIONS)
    for stage in training.stages():
        assert stage.folder == cut / "both" and stage.done == 2
        stage.model.fit(**stage.arguments())
    (expected, expected_history), (arrays, history) = state(whole / "both"), state(cut / "both")
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(cut / "both" / "best.keras", whole / "both" / "best.keras")
    assert training.finish() == {name: figures[name] for name in ("both", "both_pose", "both_rgb")}


# ---------------------------------------------------------------------------------------------------- every option
OTHER = {
    "workdir": None,  # in the test
    "dataset": "gestures",
    "data_dir": None,
    "train_split": "test",
    "validation_split": "train",
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
    "variant": "rgbpose_tiny",
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
    "optimizer": "sgd",
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
    "modality": None,
    "pretrained": None,
    "from_scratch": False,
    "aligned": False,
    "rgb_batch_size": 2,
    "rgb_epochs": 6,
    "rgb_learning_rate": 0.03,
    "rgb_weight_decay": 1e-3,
    "pose_batch_size": 5,
    "pose_epochs": 5,
    "pose_learning_rate": 0.04,
    "pose_weight_decay": 2e-3,
}


def test_every_option_counts(gestures_dir, tmp_path, watch, others_than_defaults, as_after_an_epoch):
    """In a training of all three; what excludes that, in the tests below."""
    others_than_defaults(
        RGBPose, OTHER | {"workdir": "a", "data_dir": "a", "modality": "rgb", "pretrained": "a", "from_scratch": True}
    )
    given = {name: value for name, value in OTHER.items() if name not in ("modality", "pretrained", "from_scratch")}
    read, checked = (watch(videos, name) for name in ("from_tfds", "check"))
    evaluated, trained_on = (watch(videos, name, lambda *args, **how: None) for name in ("evaluation", "training"))
    watch(video_training, "for_outputs", lambda batches, model: batches)
    set_up = watch(runs, "set_up", lambda config: None)
    strategies = watch(runs, "make_strategy", lambda *place: tf.distribute.get_strategy())
    served = watch(runs.service, "served", lambda batches, address: batches)
    nothing = {condition: {"fused": np.eye(3)} for condition in ("missed", "dark")}
    tested = watch(video_training.evaluation, "video_probabilities", lambda *args: (np.arange(3), nothing))
    exported = watch(video_training.export, "video_saved_model", lambda *args, **options: None)
    made = RGBPose(**given | {"workdir": str(tmp_path / "run"), "data_dir": gestures_dir})
    ((config,), _) = set_up[0]
    assert (config["seed"], config["precision"], config["deterministic"]) == (7, "float32", False)
    assert [args for args, _ in read] == [
        ("gestures", split, gestures_dir) for split in ("test", "train", "validation")
    ]
    assert checked == []
    counts = {role: int(split.cardinality()) for role, split in made.splits.items()}
    assert counts == {"train": 5, "validation": 96, "test": 3} and made.workdir == tmp_path / "run"

    expected = {  # batch size, steps, epochs, L2, rates by epoch: the single ones fall by half a cosine
        "rgb": (2, 3, 6, 1e-3, {0: 0.0, 1: 0.015, 2: 0.03, 4: 0.015}),
        "pose": (5, 1, 5, 2e-3, {0: 0.0, 1: 0.02, 2: 0.04, 5: 0.0}),
        "both": (3, 2, 9, 3e-3, {0: 0.0, 1: 0.01, 2: 0.02, 3: 0.02, 4: 0.002, 7: 2e-4}),
    }
    clips = {"rgb": (4, 40, 40, 3), "pose": (16, 10, 10, 17)}
    for modality, stage in zip(expected, made.stages(), strict=True):
        batch_size, steps, epochs, decay, rates = expected[modality]
        assert (stage.folder, stage.steps, stage.epochs) == (made.workdir / modality, steps, epochs)
        assert stage.resume.monitor == ("val_fused_top1" if modality == "both" else "val_top1")
        optimizer, network = stage.model.optimizer, stage.model.network
        assert isinstance(optimizer, training.SGDL2)
        assert (optimizer.momentum, optimizer.l2, optimizer.global_clipnorm) == (0.7, decay, 11.0)
        found = [float(optimizer._learning_rate(steps * epoch)) for epoch in rates]
        np.testing.assert_allclose(found, list(rates.values()), rtol=1e-5, atol=1e-8)
        assert network.dropout == 0.3
        if modality == "rgb":
            assert stage.model.get_layer("teacher").weight == 0.4
        else:
            assert stage.model.get_layer("volume").sigma_px == 0.9
        stage.arguments()
        # Frames alone are taught by keypoints: of an eighth of the size, and of the same frames.
        pose_shape = (4, 5, 5, 17) if modality == "rgb" else clips["pose"]
        reading = {"batch_size": batch_size, "rgb_shape": None if modality == "pose" else clips["rgb"]}
        reading |= {"pose_shape": pose_shape, "aligned": modality == "rgb", "use_scores": False}
        assert evaluated[-1][1] == reading
        assert trained_on[-1][1] == reading | {
            "seed": 7,
            "first_step": 0,
            "flip_probability": 0.25,
            "flip_labels": [2, 1, 0],
            "color_jitter": 0.1,
            "missed_share": 0.2,
            "area_range": (0.8, 1.0),
            "short_side_px": 46 if modality != "pose" else 11,
        }
        assert stage.workers.devices == 1 and stage.batch_size == batch_size
        as_after_an_epoch(stage)
    assert [place[:4] for place, _ in strategies] == [("multi_worker", 3, ["first:1", "second:2"], 1)]
    assert {address for (_, address), _ in served} == {"grpc://there:5"}
    assert_starts_from(network, made.workdir)

    results = made.finish()
    assert list(results) == ["rgb", "pose", "both", "late_fusion"] and list(results["pose"]) == ["missed", "dark"]
    assert [args[1:] for args, _ in tested] == [(made.splits["test"], ["missed", "dark"], 7)] * 3
    ((recognizer, path), how) = exported[0]
    assert path == made.workdir / "saved_model" / "1" and how == {"overwrite": True}
    assert isinstance(recognizer.network, models.RGBPoseConv3D) and recognizer.training["figures"] == results
    assert (recognizer.num_clips, recognizer.flip_test, recognizer.flip_labels) == (3, True, (2, 1, 0))
    assert (recognizer.aligned, recognizer.use_scores, recognizer.sigma_px) == (False, False, 0.9)
    for modality in ("rgb", "pose", "both"):
        assert (made.workdir / modality / "confusion_matrix_dark.png").exists()


def assert_starts_from(network, folder):
    """Whether the first layers of a joint network are those of the single ones in a folder."""
    for modality in ("rgb", "pose"):
        single = keras.models.load_model(folder / modality / "best.keras").get_layer("conv1")
        ours = network.get_layer(f"{modality}_path_conv1")
        np.testing.assert_array_equal(ours.get_weights()[0], single.get_weights()[0])


def test_one_modality_goes_on_in_the_work_folder_of_another(tmp_path, options):
    """The modality is no part of the configuration; all else is. There need not be a validation split."""
    options = functools.partial(options, from_scratch=False)
    made = RGBPose(tmp_path, **options(modality="pose", validation_split=""))
    (stage,) = made.stages()
    assert stage.folder == tmp_path / "pose" and not (tmp_path / "rgb").exists() and stage.validation is None
    assert RGBPose(tmp_path, **options(modality="rgb", validation_split="")).modalities == ("rgb",)
    with pytest.raises(ValueError, match="belongs to one configuration"):
        RGBPose(tmp_path, **options(modality="rgb", validation_split="", rgb_learning_rate=0.5))


def test_the_joint_network_may_start_from_those_of_another_run(finished, tmp_path, options):
    made = RGBPose(tmp_path / "alone", **options())
    assert made.config["from_scratch"] and made.modalities == ("both",) and made.singles == {}
    old = tmp_path / "old"
    for modality in ("rgb", "pose"):
        (old / modality).mkdir(parents=True)
        made.make_network(modality).save(old / modality / "best.keras")
    made = RGBPose(tmp_path / "run", **options(from_scratch=False, pretrained=str(old)))
    assert made.modalities == ("both",)
    assert_starts_from(made.make_network("both"), old)


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="rgb_pose_clips/ntu60", **given):
    """The configuration that options come to, without data."""
    made = RGBPose.__new__(RGBPose)
    made.given = given
    return made.resolve(runs.choose(RGBPose.OPTIONS, given | {"dataset": dataset}))


def test_no_option_means_the_small_recipe_and_another_data_set_the_published_one():
    config = resolved("puppets/videos")
    assert (config["recipe"], config["variant"]) == ("small", "rgbpose_tiny")
    config = resolved()
    assert (config["recipe"], config["variant"], config["size"]) == ("published", "rgbpose", 224)
    assert resolved(epochs=10)["decay_epochs"] == [6, 8]  # in proportion
    assert resolved(epochs=10, decay_epochs=[5])["decay_epochs"] == [5]


def test_every_network_has_its_own_published_training():
    config = resolved()
    expected = {
        "rgb": (96, 180, 0.15, 1e-4, "cosine"),
        "pose": (128, 180, 0.2, 3e-4, "cosine"),
        "both": (48, 20, 0.0075, 1e-4, "step"),
    }
    for modality, values in expected.items():
        stage = rgbpose.stage_config(config, modality)
        names = ("batch_size", "epochs", "learning_rate", "weight_decay", "schedule")
        assert tuple(stage[name] for name in names) == values
    rate = video_training.make_schedule(rgbpose.stage_config(config, "both"), steps=100, factor=0.1)
    np.testing.assert_allclose([rate(step) for step in (0, 1199, 1200, 1600)], [7.5e-3, 7.5e-3, 7.5e-4, 7.5e-5])


def test_every_recipe_says_all_there_is_to_say():
    assert set(rgbpose.PUBLISHED) == set(rgbpose.SMALL)
    without_default = {option.name for option in RGBPose.OPTIONS if option.default is None}
    assert without_default - set(rgbpose.PUBLISHED) == {
        *(
            "data_dir",
            "deterministic",
            "recipe",
            "size",
            "flip_pairs",
            "pretrained",
            "worker_hosts",
            "worker_index",
            "data_service",
        )
    }


def test_late_fusion_is_the_mean_of_the_single_networks():
    labels = np.array([0, 1])
    rgb = {"plain": {"fused": np.array([[0.9, 0.1], [0.6, 0.4]])}}
    pose = {"plain": {"fused": np.array([[0.6, 0.4], [0.1, 0.9]])}}
    both = {"plain": {"rgb": rgb["plain"]["fused"], "pose": pose["plain"]["fused"], "fused": np.eye(2)}}
    found = rgbpose.figures(labels, {"rgb": rgb, "pose": pose, "both": both})
    top1 = {name: by_condition["plain"]["top1"] for name, by_condition in found.items()}
    assert top1 == {"rgb": 0.5, "pose": 1.0, "both": 1.0, "both_rgb": 0.5, "both_pose": 1.0, "late_fusion": 1.0}


# ---------------------------------------------------------------------------------------------------- wrong options
def test_a_work_folder_of_another_configuration_is_left_alone(finished, files, options):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        RGBPose(finished, **options(rgb_learning_rate=0.1))
    assert "rgb_learning_rate 0.02 there and 0.1 here; give another workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        (
            {"pretrained": "nowhere"},
            "A pretrained network must be a .keras file, got nowhere/rgb/best.keras, where",
        ),
        ({"pretrained": "a", "from_scratch": True}, "exclude each other, got both; leave one out"),
        ({"pretrained": "a", "modality": "rgb"}, "pretrained is about the joint network, got it with the modality rgb"),
        ({"conditions": ["foggy"]}, "conditions must be one of plain, dark, missed, got 'foggy'; use one of them"),
        ({"size": 50}, "size is a multiple of 4, .*, got 50; give 52, say"),
        ({"decay_epochs": [9]}, "Each of decay_epochs is less than the 2 epochs, got 9; leave it out"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_option_takes_no_work_folder(tmp_path, changes, match, options):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        RGBPose(tmp_path / "run", **options(**{"from_scratch": False} | changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_script_is_of_this_training():
    assert script.TRAINING is RGBPose


# ---------------------------------------------------------------------------------------------------- presets
def test_a_preset_is_tested_as_a_network_of_ones_own(
    finished, gestures_dir, tmp_path, monkeypatch, metrics_of, postures, computing_as_tests_do
):
    row = dataclasses.replace(presets.get("rgbpose_ntu60_xsub"), outputs=len(postures))
    monkeypatch.setattr(presets, "get", lambda name: row)
    monkeypatch.setattr(runs, "estimator_of", lambda name: predictors.load(finished / "model.keras").estimator)
    given = {"dataset": "gestures", "data_dir": gestures_dir, "conditions": ["plain"], "check": False}
    found = RGBPose.test_preset("rgbpose_ntu60_xsub", tmp_path, **given)
    expected = metrics_of(finished)
    assert found["both"]["plain"] == pytest.approx(expected["both"]["plain"])
    assert {"both_rgb", "both_pose"} < set(found) and "rgb" not in found
    top1 = expected["both"]["plain"]["top1"]
    assert found["published"]["figures"] == {"top-1": {"found": pytest.approx(top1), "published": 0.969}}
    assert (tmp_path / "both" / "confusion_matrix_plain.png").is_file()


@pytest.mark.slow
def test_several_workers_train_as_one(train_as_one, tmp_path, gestures_dir):
    flags = OPTIONS | {"train_split": "test", "rgb_epochs": 2, "pose_epochs": 1, "epochs": 1, "size": 48}
    flags |= {"rgb_learning_rate": 0.002, "pose_learning_rate": 0.002, "learning_rate": 0.002}
    train_as_one("rgbpose", flags, tmp_path, gestures_dir, most=1e-3)
