"""`python -m train.rgbpose`, from a few videos to a served model; killed and resumed; given wrong flags."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import models
from kerapose.layers import ConvNorm, layer_name
from kerapose.models import slowonly
from train import common, rgbpose, video_clips

EPOCHS = {"rgb": 8, "pose": 5, "both": 4}
SHAPES = {"rgb": (4, 48, 48, 3), "pose": (16, 12, 12, 17)}
TINY = {
    models.SlowOnly: {
        "tests_rgb": slowonly.RGB_PATH | {"base_filters": 8, "stage_blocks": (1,) * 4},
        "tests_pose": slowonly.POSE_PATH | {"base_filters": 8, "stage_blocks": (1,) * 3},
    },
    models.RGBPoseConv3D: {
        "tests": {"rgb_shape": SHAPES["rgb"], "pose_shape": SHAPES["pose"], "rgb_filters": 8, "pose_filters": 8}
        | {"rgb_blocks": (1,) * 4, "pose_blocks": (1,) * 3}
    },
}
NETWORKS = {"rgb": "tests_rgb", "pose": "tests_pose", "both": "tests"}
FLAGS = {
    "dataset": "gestures",
    "recipe": "small",
    "variant": "tests",
    "precision": "float32",
    "rgb_batch_size": 4,
    "rgb_epochs": EPOCHS["rgb"],
    "pose_batch_size": 4,
    "pose_epochs": EPOCHS["pose"],
    "batch_size": 4,
    "epochs": EPOCHS["both"],
    "optimizer": "sgd",
    "rgb_learning_rate": 0.02,
    "pose_learning_rate": 0.02,
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "color_jitter": 0.0,
    "least_area": 0.8,
    "dropout": 0.1,
    "num_clips": 2,
}


@pytest.mark.parametrize("faint", [0.5, 0.1, 0.01])
def test_a_faint_joint_teaches_as_much_as_a_sure_one(faint):
    """What is taught is a mean over what is seen: it does not grow with the scores."""
    random = np.random.default_rng(0)
    teacher = video_clips.KeypointTeacher(height=32, weight=1.0)
    features = random.random((1, 2, 8, 8, 3)).astype("float32")
    keypoints = np.full((1, 1, 2, 1, 2), 16.0, "float32")
    taught = []
    for score in (1.0, faint):
        teacher(features[:, 0, 0, 0], features, keypoints, np.full((1, 1, 2, 1), score, "float32"))
        taught.append(float(teacher.losses[0]))
    assert taught[0] == pytest.approx(taught[1], rel=1e-4) and taught[0] > 1


# ---------------------------------------------------------------------------------------------------- running
def one_convolution(x, filters, strides, inflated, name, *_):
    """Stands in for a bottleneck: it is built, trained and exported in less time."""
    return ConvNorm(4 * filters, (3 if inflated else 1, 3, 3), strides, name=layer_name(f"{name}.conv1"))(x)


PREPARE = f"""
import runpy
from kerapose.models import slowonly
tests = runpy.run_path({__file__!r})
slowonly.bottleneck = tests["one_convolution"]
script.NETWORKS["tests"] = tests["NETWORKS"]
for cls, variants in tests["TINY"].items():
    cls.VARIANTS.update(variants)
"""


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """The same networks in this process."""
    monkeypatch.setattr(slowonly, "bottleneck", one_convolution)
    monkeypatch.setitem(rgbpose.NETWORKS, "tests", NETWORKS)
    for cls, variants in TINY.items():
        for name, arguments in variants.items():
            monkeypatch.setitem(cls.VARIANTS, name, arguments)


@pytest.fixture(scope="module")
def start(run_script):
    """Runs the script with the tiny networks; `prepare` comes on top."""

    def run(workdir, data_dir, prepare="", **flags):
        return run_script("rgbpose", FLAGS, workdir, data_dir, prepare=PREPARE + prepare, **flags)

    return run


@pytest.fixture(scope="module")
def finished(gestures_dir, tmp_path_factory, start):
    """The work folder of a whole run: both single networks, then the joint one."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = start(workdir, gestures_dir, export=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return workdir


@pytest.fixture
def run_here(computing_as_tests_do):
    """`rgbpose.run` in this process."""
    return rgbpose.run


@pytest.fixture(scope="module")
def config_of(finished, gestures_dir, video_config_of):
    """What the script would be run with, to run it here: a function of the work folder and of changes."""
    return functools.partial(video_config_of, finished, gestures_dir, modality="both")


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, state, metrics_of):
    for modality, epochs in EPOCHS.items():
        _, history = state(finished / modality)
        assert len(history) == epochs
        assert max(epoch["val_fused_top1" if modality == "both" else "val_top1"] for epoch in history) > 0.8
    assert set(history[0]) >= {"rgb_loss", "pose_loss", "rgb_top1", "pose_top1", "fused_mean_class"}
    for epoch in history:
        assert epoch["loss"] == pytest.approx(epoch["rgb_loss"] + epoch["pose_loss"], rel=1e-3)
    found = metrics_of(finished)
    assert set(found) == {"rgb", "pose", "both", "both_rgb", "both_pose", "late_fusion"}
    for by_condition in found.values():
        assert list(by_condition) == ["plain", "dark", "missed"]
        for figures in by_condition.values():
            assert set(figures) == {"top1", "top5", "mean_class"}
            assert 0 <= figures["top1"] <= figures["top5"] == 1  # of three classes
    assert min(found[network]["plain"]["top1"] for network in ("rgb", "both")) > 0.8
    assert found["pose"]["dark"] == found["pose"]["plain"]  # it sees no frames


def test_the_joint_network_begins_as_the_single_ones_end(finished, state):
    """The mean of the first epoch is better than that of those which it starts from."""
    joint, rgb, pose = (state(finished / modality)[1] for modality in ("both", "rgb", "pose"))
    assert joint[0]["rgb_loss"] < 0.7 * rgb[0]["loss"] and joint[0]["pose_loss"] < 0.7 * pose[0]["loss"]


def test_leaves_weights_and_pictures(finished):
    for modality, shape in SHAPES.items():
        network = keras.models.load_model(finished / modality / "best.keras")
        assert isinstance(network, models.SlowOnly) and network.input_shape == (None, *shape)
    network = keras.models.load_model(finished / "both" / "best.keras")
    assert isinstance(network, models.RGBPoseConv3D) and not network.compiled
    assert {name: shape[1:] for name, shape in network.input_shape.items()} == SHAPES
    for modality in EPOCHS:
        for name in ("curves", "confusion_matrix_plain", "confusion_matrix_dark", "confusion_matrix_missed"):
            image = tf.io.decode_png((finished / modality / f"{name}.png").read_bytes()).numpy()
            assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_leaves_curves_and_pictures_for_tensorboard(finished, events, postures):
    for modality, epochs in EPOCHS.items():
        seen, images = events(finished / modality / "logs")
        prefix = "fused_" if modality == "both" else ""
        for tag in ("loss", "learning_rate", f"val_{prefix}top1", f"val_{prefix}mean_class"):
            assert seen[f"epoch/{tag}"] == list(range(epochs))
        assert seen["confusion_matrix"] == list(range(epochs))
        clips = {tag.partition("_")[2]: pictures for tag, pictures in images.items() if tag.startswith("clips/")}
        assert clips and set(clips) <= set(postures)
        assert all(np.ptp(picture) > 100 for pictures in clips.values() for picture in pictures)


def test_leaves_a_model_that_answers_as_it_was_tested(finished, gesture_videos, postures, metrics_of):
    answer = tf.saved_model.load(str(finished / "saved_model" / "1")).signatures["serving_default"]
    hits = []
    for video, keypoints, label in gesture_videos:
        scores = np.full(keypoints.shape[:3], 0.9, "float32")
        inputs = {"frames": video, "keypoints": keypoints, "scores": scores}
        said = answer(**{name: tf.constant(value[None]) for name, value in inputs.items()})
        hits.append(said["top_class"].numpy()[0].decode() == postures[label])
    assert np.mean(hits) == pytest.approx(metrics_of(finished)["both"]["plain"]["top1"])


# ---------------------------------------------------------------------------------------------------- resuming
@pytest.mark.slow  # a minute; what it keeps is kept as in test_topdown.py and test_lifter.py
def test_a_killed_run_ends_as_the_whole_one(
    finished, gestures_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    """The joint network from the single ones of the whole run; killed in the middle of an epoch, and started anew."""
    flags = {"pretrained": finished, "check": False}
    killed = start(tmp_path, gestures_dir, prepare=killed_at(epoch=2, step=3), **flags)
    assert killed.returncode == -9, killed.stderr[-4000:]
    assert len(state(tmp_path / "both")[1]) == 2 and not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, gestures_dir, **flags, conditions="plain")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 2" in done.stderr and "Epoch 3/4" in done.stdout and "Epoch 2/" not in done.stdout
    (expected, expected_history), (arrays, history) = state(finished / "both"), state(tmp_path / "both")
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(tmp_path / "both" / "best.keras", finished / "both" / "best.keras")
    whole, found = metrics_of(finished), metrics_of(tmp_path)
    assert set(found) == {"both", "both_rgb", "both_pose"}
    assert all(found[name] == {"plain": whole[name]["plain"]} for name in found)


# ---------------------------------------------------------------------------------------------------- other flags
def test_one_modality_goes_on_in_the_work_folder_of_another(tmp_path, run_here, config_of):
    """The modality is no part of the configuration; all else is. There need not be a validation split."""
    config = config_of(tmp_path, pose_epochs=1, aligned=False, validation_split="")
    found = run_here(config | {"modality": "pose"})
    assert set(found) == {"pose"} and not (tmp_path / "rgb").exists()
    assert set(rgbpose.stages(config | {"modality": "rgb"})) == {"rgb"}
    with pytest.raises(ValueError, match="belongs to one configuration"):
        run_here(config | {"modality": "rgb", "rgb_learning_rate": 0.5})


def test_frames_are_taught_by_the_keypoints_of_the_same_frames():
    """Whatever the clocks of the two pathways: the teacher's keypoints are those of the frames themselves."""
    config = {"keypoint_weight": 0.5, "aligned": False, "use_scores": True, "batch_size": 4, "sigma_px": 0.7}
    config |= {"size": 48, "variant": "tests", "dropout": 0.0}
    network = rgbpose.make_network("rgb", 3, 17, {}, config)()
    shapes = video_clips.read_shapes(network, 17, config)
    assert shapes["pose"][0] == shapes["rgb"][0] == 4
    assert video_clips.reading(network, 17, config)["aligned"]
    assert not video_clips.reading(network, 17, config | {"keypoint_weight": 0.0})["aligned"]


def test_from_scratch_needs_no_single_networks(tmp_path, config_of):
    config = rgbpose.resolve(config_of(tmp_path, from_scratch=True))
    assert rgbpose.stages(config) == ("both",) and rgbpose.load_pretrained(config) == {}


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="rgb_pose_clips/ntu60", **flags):
    names = ("recipe", "size", "pretrained", "from_scratch")
    config = {"dataset": dataset, "conditions": ["plain"], "modality": "both"} | dict.fromkeys(names)
    return rgbpose.resolve(config | flags)


def test_no_flag_means_the_small_recipe_and_another_data_set_the_published_one():
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
        stage = rgbpose.stage(config, modality)
        names = ("batch_size", "epochs", "learning_rate", "weight_decay", "schedule")
        assert tuple(stage[name] for name in names) == values
    rate = common.make_schedule(rgbpose.stage(config, "both"), steps=100, factor=0.1)
    np.testing.assert_allclose([rate(step) for step in (0, 1199, 1200, 1600)], [7.5e-3, 7.5e-3, 7.5e-4, 7.5e-5])


def test_every_recipe_says_all_there_is_to_say():
    assert set(rgbpose.PUBLISHED) == set(rgbpose.SMALL)


def test_late_fusion_is_the_mean_of_the_single_networks():
    labels = np.array([0, 1])
    rgb = {"plain": {"fused": np.array([[0.9, 0.1], [0.6, 0.4]])}}
    pose = {"plain": {"fused": np.array([[0.6, 0.4], [0.1, 0.9]])}}
    both = {"plain": {"rgb": rgb["plain"]["fused"], "pose": pose["plain"]["fused"], "fused": np.eye(2)}}
    found = rgbpose.figures(labels, {"rgb": rgb, "pose": pose, "both": both})
    top1 = {name: by_condition["plain"]["top1"] for name, by_condition in found.items()}
    assert top1 == {"rgb": 0.5, "pose": 1.0, "both": 1.0, "both_rgb": 0.5, "both_pose": 1.0, "late_fusion": 1.0}


# ---------------------------------------------------------------------------------------------------- wrong flags
def test_a_work_folder_of_another_configuration_is_left_alone(finished, files, run_here, config_of):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        run_here(config_of(finished, rgb_learning_rate=0.1))
    assert "rgb_learning_rate 0.02 there and 0.1 here; give another --workdir" in str(error.value)
    assert files(finished) == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        (
            {"pretrained": "nowhere"},
            "A pretrained network is a .keras file, got nowhere/rgb/best.keras, which",
        ),
        ({"pretrained": "a", "from_scratch": True}, "exclude each other, got both; leave one out"),
        ({"pretrained": "a", "modality": "rgb"}, "--pretrained is about the joint network, got it with --modality=rgb"),
        ({"conditions": ["foggy"]}, "--conditions are of plain, dark, missed, got 'foggy'; use these"),
        ({"size": 50}, "--size is a multiple of 4, .*, got 50; give 52, say"),
        ({"decay_epochs": [9]}, "Each of --decay_epochs is less than the 4 of --epochs, got 9; leave it out"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_flag_takes_no_work_folder(tmp_path, run_here, changes, match, config_of):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        run_here(config_of(tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
