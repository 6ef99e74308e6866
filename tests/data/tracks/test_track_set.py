"""Parts of tracks: some of them, some of their frames, one run of each; and what is left out."""

import numpy as np
import pytest
from strolls import arrays

from kerapose.data import tracks as track_data


def test_select(tracks):
    assert repr(tracks) == "Tracks(3 of h36m, 28 frames, 2D and 3D)"
    walks = tracks.select(actions=["walk"])
    assert walks.names == ["S0/walk 0/c0", "S2/walk 2/c0"] and walks.lengths.tolist() == [9, 14]
    assert len(walks) == 2 and walks.num_frames == 23
    np.testing.assert_array_equal(walks.poses_camera_m[9:], tracks.poses_camera_m[14:])
    assert tracks.select(subjects=["S1", "S2"], actions=["walk"]).subjects == ["S2"]
    assert len(tracks.select(names=["S1/walk 1/c0"])) == 1 and len(tracks.select()) == 3
    with pytest.raises(ValueError, match="subjects must be among S0, S1, S2, got S9; choose from those"):
        tracks.select(subjects=["S0", "S9"])
    with pytest.raises(ValueError, match="actions must be a list of strings, got 'walk'"):
        tracks.select(actions="walk")
    with pytest.raises(ValueError, match="must have at least one track, got none for subjects"):
        tracks.select(subjects=["S1"], actions=["walk"])


def test_every(tracks):
    halved = tracks.every(2)
    assert halved.lengths.tolist() == [5, 3, 7] and halved.fps.tolist() == [25.0] * 3
    np.testing.assert_array_equal(halved.keypoints_screen[5:8], tracks.keypoints_screen[9:14:2])
    with pytest.raises(ValueError, match="step must be at least 1, got 0"):
        tracks.every(0)


def test_share_keeps_the_same_run_of_all_views():
    more = arrays((200, 200, 90))
    more["names"] = ["S1/walk/c0", "S1/walk/c1", "S1/run/c0"]
    more["poses_world_m"][1] = more["poses_world_m"][0]
    more["keypoints"][1], more["camera_names"] = more["keypoints"][0], ["c0", "c1", "c0"]
    whole = track_data.from_arrays(**more)
    tenth = whole.share(0.1)
    assert tenth.lengths.tolist() == [20, 20, 9]
    np.testing.assert_array_equal(tenth.poses_world_m[:20], tenth.poses_world_m[20:40])
    begins = [
        np.flatnonzero((whole.poses_world_m == whole.share(0.1, seed).poses_world_m[0]).all(axis=(1, 2)))[0]
        for seed in range(8)
    ]
    assert len(set(begins)) > 4
    begin = begins[0]
    np.testing.assert_array_equal(tenth.poses_world_m[:20], whole.poses_world_m[begin : begin + 20])
    assert whole.share(0.001).lengths.tolist() == [1, 1, 1] and whole.share(1.0).num_frames == whole.num_frames
    with pytest.raises(ValueError, match="fraction must be above 0 and at most 1, got 1.5"):
        whole.share(1.5)


def test_skip(prepared, tracks):
    rest = track_data.skip(tracks, ["S1/walk 1/c0"])
    assert rest.names == ["S0/walk 0/c0", "S2/walk 2/c0"] and rest.num_frames == 23
    read = track_data.from_tfds("strolls/whole", "train", prepared, skip=["S1/walk 1/c0"])
    assert sorted(read.names) == rest.names
    for leave_out in (
        lambda: track_data.skip(tracks, ["S9"]),
        lambda: track_data.from_tfds("strolls/whole", "train", prepared, skip=["S9"]),
    ):
        with pytest.raises(ValueError, match="Tracks to skip are in the dataset, S9 are not; correct the names"):
            leave_out()
