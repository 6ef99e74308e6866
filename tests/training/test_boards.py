"""What TensorBoard is shown."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose import skeletons
from kerapose.layers import HeatmapVolume
from kerapose.training import boards


@pytest.mark.parametrize("limbs", [False, True])
def test_volumes_have_the_colours_of_what_they_are_of(limbs, tmp_path, monkeypatch):
    skeleton = skeletons.COCO  # of as many limbs as joints
    clips = {"keypoints": tf.fill((1, 1, 2, 17, 2), 8.0), "scores": tf.ones((1, 1, 2, 17))}
    drawn = []
    monkeypatch.setattr(
        boards.visualize,
        "volume_strip",
        lambda volume, colors=None, **options: drawn.append(colors) or np.zeros((4, 4, 3), np.uint8),
    )
    monkeypatch.setattr(tf.summary, "image", lambda *arguments: None)
    volume = HeatmapVolume(16, 16, edges=skeleton.edges if limbs else None)
    boards.ClipBoard(tmp_path, [(clips, tf.constant([0]))], volume, skeleton, ["walk"]).draw_once()
    assert drawn == [skeleton.edge_colors if limbs else None]
