"""Whole tracks: one by one, and in batches of unequal lengths."""

import numpy as np
from strolls import CAMERA, SIZE, arrays, take, walk

from kerapose.data import tracks as track_data
from kerapose.ops import cameras as camera_ops


def smoothed(screen):
    """A stand-in for a lifter of receptive field 5 that repeats the frames at the ends: a moving average."""
    padded = np.pad(screen, ((0, 0), (2, 2), (0, 0), (0, 0)), "edge")
    return sum(padded[:, i : i + screen.shape[1]] for i in range(5)) / 5


def test_a_padded_track_is_lifted_as_alone(tracks):
    batches = take(track_data.padded_batches(tracks, 2), 5)
    assert [batch["keypoints_screen"].shape for batch in batches] == [(2, 9, 17, 2), (1, 14, 17, 2)]
    assert [batch["index"].tolist() for batch in batches] == [[0, 1], [2]]
    np.testing.assert_array_equal(batches[0]["mask"], [[True] * 9, [True] * 5 + [False] * 4])
    alone = list(track_data.sequences(tracks))
    for batch in batches:
        lifted = smoothed(batch["keypoints_screen"])
        for row, i in enumerate(batch["index"]):
            length = batch["length"][row]
            expected = smoothed(alone[i]["keypoints_screen"][None])[0]
            np.testing.assert_array_equal(lifted[row, :length], expected)
            np.testing.assert_array_equal(batch["poses_m"][row, :length], alone[i]["poses_m"])
            np.testing.assert_array_equal(batch["trajectory_m"][row, :length], alone[i]["trajectory_m"])
            np.testing.assert_array_equal(batch["camera"][row], alone[i]["camera"])
            np.testing.assert_array_equal(batch["frame_size"][row], SIZE)


def test_sequences_are_whole_and_root_relative(tracks):
    given = list(track_data.sequences(tracks))
    assert [track["name"] for track in given] == ["S0/walk 0/c0", "S1/walk 1/c0", "S2/walk 2/c0"]
    assert [track["action"] for track in given] == ["walk", "run", "walk"] and given[1]["subject"] == "S1"
    for i, track in enumerate(given):
        world = walk((9, 5, 14)[i], i)
        np.testing.assert_array_equal(track["poses_world_m"], world)
        expected = np.asarray(camera_ops.world_to_camera(world, CAMERA["orientation"], CAMERA["translation_m"]))
        np.testing.assert_allclose(track["poses_m"] + track["trajectory_m"][:, None], expected, atol=1e-6)
        assert (track["poses_m"][:, 0] == 0).all() and (track["trajectory_m"][:, 2] > 2).all()
    bare = track_data.from_arrays(arrays()["keypoints"], SIZE)
    assert (
        "poses_m" not in next(track_data.sequences(bare))
        and "camera" not in take(track_data.padded_batches(bare, 3), 1)[0]
    )
