"""Networks of actions as they are trained: volumes drawn inside the model, taught features, several outputs."""

import keras
import numpy as np
import pytest

from kerapose import models, skeletons, training
from kerapose.layers import ConvNorm, layer_name
from kerapose.models import slowonly
from kerapose.ops import heatmaps
from kerapose.training import action_models

LETTERS = skeletons.Skeleton("letters", tuple("abcde"), ((0, 1), (2, 3), (3, 4)))


def small_c3d(channels, frames=4):
    return models.C3D(3, (frames, 18, 21, channels), base_filters=4, num_stages=3)


# ---------------------------------------- one network of volumes
@pytest.mark.parametrize(("modality", "channels"), [("joint", 5), ("limb", 3)])
def test_volumes_are_drawn_inside_the_model(modality, channels):
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 18, (2, 1, 4, 5, 2)).astype("float32")
    clip = {"keypoints": keypoints, "scores": random.random((2, 1, 4, 5)).astype("float32")}
    network = small_c3d(channels)
    model = training.action_model(network, LETTERS, modality, sigma_px=0.9)
    assert model.network is network
    drawn = {"joint": heatmaps.joint_volume, "limb": heatmaps.limb_volume}[modality]
    edges = (LETTERS.edges,) if modality == "limb" else ()
    volume = drawn(clip["keypoints"], clip["scores"], *edges, height=18, width=21, sigma_px=0.9)
    np.testing.assert_allclose(model(clip), network(volume), atol=1e-5)


@pytest.mark.parametrize(
    ("modality", "channels", "match"),
    [
        ("limb", 5, "network must take the 3 channels of a limb volume of letters, got one of 5; build it for them"),
        ("bone", 5, 'modality must be "joint" or "limb", got \'bone\'; use one of them'),
    ],
)
def test_a_network_of_other_volumes_is_refused(modality, channels, match):
    with pytest.raises(ValueError, match=match):
        training.action_model(small_c3d(channels), LETTERS, modality)


# ---------------------------------------- networks of clips of videos
@pytest.fixture
def few_layers(monkeypatch):
    """RGBPose-Conv3D with a convolution in the place of each stage."""

    def one_convolution(x, filters, strides, inflated, name, *_):
        return ConvNorm(4 * filters, (3 if inflated else 1, 3, 3), strides, name=layer_name(f"{name}.conv1"))(x)

    small = {"rgb_filters": 8, "pose_filters": 8, "rgb_blocks": (1,) * 4, "pose_blocks": (1,) * 3}
    monkeypatch.setattr(slowonly, "bottleneck", one_convolution)
    monkeypatch.setitem(models.RGBPoseConv3D.VARIANTS, "rgbpose_tiny", small)


def test_several_pathways_have_losses_of_their_own_and_one_fused_answer(few_layers):
    shapes = {"rgb_shape": (1, 32, 32, 3), "pose_shape": (4, 8, 8, 5)}
    network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", 3, **shapes)
    model = training.video_model(network, num_keypoints=5)
    assert (model.rgb_shape, model.pose_shape, model.is_taught) == (*shapes.values(), False)
    random = np.random.default_rng(0)
    batch = {"rgb": random.random((2, 1, 32, 32, 3)), "keypoints": random.uniform(0, 8, (2, 1, 4, 5, 2))}
    batch = {name: array.astype("float32") for name, array in batch.items()}
    batch["scores"] = np.ones((2, 1, 4, 5), "float32")
    answers = model(batch)
    probabilities = [keras.ops.softmax(answers[name]) for name in ("rgb", "pose")]
    np.testing.assert_allclose(answers["fused"], sum(probabilities) / 2, atol=1e-6)
    assert training.compile_for_actions(model, 3, "adam") == "val_fused_top1"
    model.run_eagerly = True
    said = model.train_on_batch(batch, dict.fromkeys(answers, np.array([0, 2])), return_dict=True)
    assert {"rgb_loss", "pose_loss", "rgb_top1", "pose_top1", "fused_top1", "fused_top5", "fused_mean_class"} < set(
        said
    )


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_frames_are_taught_by_the_keypoints_of_the_same_frames(weight):
    """Whatever the clock of other networks: the teacher's keypoints are those of the frames themselves."""
    network = models.MC3ResNet18(3, (4, 32, 48, 3), base_filters=4)
    model = training.video_model(network, num_keypoints=5, keypoint_weight=weight)
    assert model.rgb_shape == (4, 32, 48, 3) and model.is_taught == (weight > 0)
    assert model.pose_shape == ((4, 4, 6, 5) if weight else None)
    if weight:
        assert model.get_layer("teacher").weight == weight


@pytest.mark.parametrize(
    ("network", "following"),
    [
        (lambda: models.MC3ResNet18(3, (4, 32, 48, 3), base_filters=4), "layer4"),
        (lambda: models.SlowOnly(3, (4, 32, 48, 3), 4, (2, 2, 1), (False,) * 3, (1, 2, 2), (1, 1, 1)), "layer3"),
    ],
    ids=["mc3", "slowonly"],
)
def test_what_is_taught_is_what_the_next_stage_sees(network, following):
    network = network()
    first = next(layer for layer in network.layers if layer.name.startswith(following))
    assert action_models.taught_features(network) is first.input


@pytest.mark.parametrize("faint", [0.5, 0.1, 0.01])
def test_a_faint_joint_teaches_as_much_as_a_sure_one(faint):
    """What is taught is a mean over what is seen: it does not grow with the scores."""
    random = np.random.default_rng(0)
    teacher = training.KeypointTeacher(height=32, weight=1.0)
    features = random.random((1, 2, 8, 8, 3)).astype("float32")
    keypoints = np.full((1, 1, 2, 1, 2), 16.0, "float32")
    taught = []
    for score in (1.0, faint):
        teacher(features[:, 0, 0, 0], features, keypoints, np.full((1, 1, 2, 1), score, "float32"))
        taught.append(float(teacher.losses[0]))
    assert taught[0] == pytest.approx(taught[1], rel=1e-4) and taught[0] > 1
    assert training.KeypointTeacher.from_config(teacher.get_config()).height == 32
