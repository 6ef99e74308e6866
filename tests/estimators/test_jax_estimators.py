"""Estimators of poses under KERAS_BACKEND=jax, in a process of its own in which TensorFlow cannot be imported."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerapose import estimators, skeletons

TRIANGLE = skeletons.Skeleton("triangle", ("top", "left", "right"), ((0, 1), (0, 2)))
LIMBS_PX = np.array([(0, 0), (-40, 30), (40, 30)])  # of everybody, from the top one
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import sys

sys.modules["tensorflow"] = None
import keras
import numpy as np

from kerapose import estimators, skeletons

assert keras.backend.backend() == "jax"
given = dict(np.load(sys.argv[1]))
skeleton = skeletons.Skeleton("triangle", ("top", "left", "right"), ((0, 1), (0, 2)))

images = keras.Input((None, None, 3))
network = keras.Model(images, [keras.layers.Conv2D(4, 8, strides=8)(images) for _ in range(2)])
network.set_weights([given[f"people_weight_{i}"] for i in range(4)])
plain = {"mean": (0, 0, 0), "std": (1, 1, 1)}
estimator = estimators.BottomUpEstimator(network, skeleton, height=128, normalization=plain)
estimator.jit_compile = True  # one compilation takes a quarter of the time of those of all operations
found = estimator.predict_on_batch(given["people_image"])

crops = keras.Input((64, 48, 3))
x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
network = keras.Model(crops, keras.layers.Conv2D(3, 5, padding="same")(x))
network.set_weights([given[f"pose_weight_{i}"] for i in range(4)])
estimator = estimators.PoseEstimator(network, skeleton)
keypoints, scores = estimator.predict_on_batch({"image": given["pose_image"], "boxes": given["boxes"]})
np.savez(sys.argv[2], pose_keypoints=keypoints, pose_scores=scores, **found)
"""


def people_network():
    """Heatmaps that are red, green and blue, averaged over each cell, and fields that have one direction everywhere."""
    images = keras.Input((None, None, 3))
    heatmaps, fields = layers = [keras.layers.Conv2D(4, 8, strides=8) for _ in range(2)]
    network = keras.Model(images, [layer(images) for layer in layers])
    average = np.zeros((8, 8, 3, 4), "float32")
    average[..., :3] = np.eye(3) / 64
    heatmaps.set_weights([average, np.zeros(4, "float32")])
    fields.set_weights([0 * average, (LIMBS_PX[1:] / 50).ravel()])
    return network


def people_picture():
    """uint8 [150, 281, 3]: three people, of whom the keypoints are blobs of red, of green and of blue."""
    y, x = np.mgrid[:150, :281]
    image = np.zeros((150, 281, 3))
    for top in ((60, 30), (190, 90), (180, 20)):
        for channel, (px, py) in enumerate(top + LIMBS_PX * 150 / 128):
            image[..., channel] += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 11**2))
    return np.round(255 * np.minimum(image, 1)).astype("uint8")


def pose_network():
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    return keras.Model(crops, keras.layers.Conv2D(3, 5, padding="same")(x))


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax; pip install 'kerapose[jax]'")
def test_jax_without_tensorflow_gives_the_same(tmp_path):
    networks, boxes = {"people": people_network(), "pose": pose_network()}, [[10, 20, 60, 80], [-15, -10, 40, 30]]
    images = {"people": people_picture(), "pose": np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)}
    given = {f"{name}_image": image for name, image in images.items()} | {"boxes": np.array(boxes, "float32")}
    for name, network in networks.items():
        given |= {f"{name}_weight_{i}": weight for i, weight in enumerate(network.get_weights())}
    np.savez(tmp_path / "given.npz", **given)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    people = estimators.BottomUpEstimator(networks["people"], TRIANGLE, height=128, normalization=PLAIN)
    expected = people(images["people"])
    assert expected["count"] == 3
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=0.01)
    inputs = {"image": images["pose"], "boxes": given["boxes"]}
    keypoints, scores = estimators.PoseEstimator(networks["pose"], TRIANGLE)(inputs)
    np.testing.assert_allclose(found["pose_keypoints"], keypoints, atol=0.01)
    np.testing.assert_allclose(found["pose_scores"], scores, atol=1e-4)
