"""What all metrics for `compile` have in common: they are called and kept as Keras's own are."""

import keras
import pytest

from kerapose import metrics

MADE = {
    "mean_class": (metrics.MeanClassAccuracy, {"num_classes": 7}, "mean_class_accuracy"),
    "heatmaps": (metrics.HeatmapPCK, {"threshold": 0.3, "published": False}, "heatmap_pck"),
    "coordinates": (metrics.CoordinatePCK, {"threshold": 0.3}, "coordinate_pck"),
    "lifting": (metrics.MeanPerJointError, {}, "mpjpe_mm"),
}


@pytest.mark.parametrize("which", MADE)
def test_every_option_is_kept_and_comes_back_from_a_file(which):
    cls, options, name = MADE[which]
    metric = cls(**options, name="own", dtype="float64")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    for one in (metric, again):
        assert (type(one), one.name, one.dtype) == (cls, "own", "float64")
        assert {key: getattr(one, key) for key in options} == options
    assert (cls(**options).name, cls(**options).dtype) == (name, "float32")
