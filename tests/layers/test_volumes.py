"""Heatmap volumes drawn inside a model against the function of `ops`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import layers
from kerapose.ops import heatmaps
from kerapose.skeletons import COCO


def clips_of_keypoints(batch=2, people=2, frames=3):
    random = np.random.default_rng(0)
    keypoints = random.uniform(-2, 58, (batch, people, frames, 17, 2)).astype("float32")
    return {"keypoints": keypoints, "scores": random.uniform(0, 1, keypoints.shape[:-1]).astype("float32")}


def volume_of(clips, edges, sigma_px=0.6):
    if edges is None:
        return np.asarray(heatmaps.joint_volume(clips["keypoints"], clips["scores"], 48, 56, sigma_px))
    return np.asarray(heatmaps.limb_volume(clips["keypoints"], clips["scores"], edges, 48, 56, sigma_px))


@pytest.mark.parametrize("sigma_px", [0.6, 1.0])
@pytest.mark.parametrize("edges", [None, COCO.edges, [[5, 7], [7, 9]]])
def test_heatmap_volume_equals_the_op(edges, sigma_px):
    clips = clips_of_keypoints()
    layer = layers.HeatmapVolume(48, 56, edges, sigma_px)
    volume = layer(clips)
    np.testing.assert_array_equal(volume, volume_of(clips, edges, sigma_px))
    shapes = {name: array.shape for name, array in clips.items()}
    assert layer.compute_output_shape(shapes) == volume.shape


@pytest.mark.parametrize("edges", [None, COCO.edges])
def test_heatmap_volume_inside_a_model_takes_any_number_of_people_and_frames(edges):
    inputs = {
        "keypoints": keras.Input((None, None, 17, 2), name="keypoints"),
        "scores": keras.Input((None, None, 17), name="scores"),
    }
    model = keras.Model(inputs, layers.HeatmapVolume(48, 56, edges)(inputs))
    assert model.output_shape == (None, None, 48, 56, 17)
    for people, frames in ((1, 4), (3, 1)):
        clips = clips_of_keypoints(2, people, frames)
        np.testing.assert_allclose(model(clips), volume_of(clips, edges), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("edges", [None, COCO.edges])
def test_mixed_precision_rounds_the_volume_and_not_the_keypoints(edges):
    clips = clips_of_keypoints()
    layer = layers.HeatmapVolume(48, 56, edges, dtype="mixed_bfloat16")
    inputs = {name: keras.Input(array.shape[1:], name=name) for name, array in clips.items()}
    for volume in (layer(clips), keras.Model(inputs, layer(inputs))(clips)):
        assert volume.dtype == tf.bfloat16
        expected = volume_of(clips, edges)
        np.testing.assert_allclose(tf.cast(volume, tf.float32), expected, rtol=2.0**-8, atol=1e-7)
    rounded = clips | {"keypoints": tf.cast(tf.cast(clips["keypoints"], tf.bfloat16), tf.float32)}
    assert np.abs(volume_of(rounded, edges) - expected).max() > 0.05  # what a rounded coordinate would have cost


@pytest.mark.parametrize("edges", [None, ((5, 7), (7, 9))])
def test_heatmap_volume_config_round_trip(edges):
    layer = layers.HeatmapVolume(48, 56, edges, 0.8, name="volume")
    config = layer.get_config()
    assert {"height": 48, "width": 56, "edges": edges, "sigma_px": 0.8}.items() <= config.items()
    serialized = keras.saving.serialize_keras_object(layer)
    clone = keras.saving.deserialize_keras_object(serialized)
    assert clone.get_config() == config
    clips = clips_of_keypoints()
    np.testing.assert_array_equal(clone(clips), layer(clips))
