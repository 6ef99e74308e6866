"""The pipeline of lifting: sources, bad input, gaps, chunks and windows as published, reproducible training batches."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import tracks as track_data
from kerapose.ops import cameras as camera_ops
from kerapose.skeletons import COCO, H36M

SIZE = (1002, 1000)  # height and width, pixels
CAMERA = {
    "orientation": np.array([0.5, -0.5, 0.5, -0.5], "float32"),  # looks along the x axis of the world
    "translation_m": np.array([-5.0, 0.3, 1.2], "float32"),
    "focal_px": np.array([1145.0, 1144.0], "float32"),
    "center_px": np.array([512.0, 515.0], "float32"),
    "radial": np.array([-0.2, 0.24, -0.003], "float32"),
    "tangential": np.array([-0.0009, -0.0014], "float32"),
}
CHUNKED = ["chunked_1_pad13", "chunked_1_pad13_causal_cameras", "chunked_1_shuffled", "chunked_3_pad4"]


def walk(frames, seed=0):
    """Poses [T, 17, 3] in the world: a person of random shape who drifts, metres."""
    random = np.random.default_rng(seed)
    body = random.uniform(-0.6, 0.6, (1, 17, 3)) + [0, 0, 1.0]
    path = np.linspace(0, 1, frames)[:, None, None] * random.uniform(-1, 1, (1, 1, 3)) * [1, 1, 0]
    return (body + path + random.normal(0, 0.02, (frames, 17, 3))).astype("float32")


def seen(poses_world_m, camera=CAMERA, size=SIZE):
    """What a camera sees of poses: pixels [T, J, 2]."""
    poses = camera_ops.world_to_camera(poses_world_m, camera["orientation"], camera["translation_m"])
    own = camera_ops.normalize_intrinsics(*(camera[key] for key in track_data.CAMERA_FIELDS), size)
    return np.asarray(camera_ops.denormalize_screen(camera_ops.project(poses, own), size))


def arrays(lengths=(9, 5, 14), **more):
    """Arguments of `from_arrays`."""
    poses = [walk(length, seed) for seed, length in enumerate(lengths)]
    return {
        "keypoints": [seen(each) for each in poses],
        "frame_sizes": SIZE,
        "poses_world_m": poses,
        "cameras": CAMERA,
        "names": [f"S{i}/walk {i}/c0" for i in range(len(lengths))],
        "subjects": [f"S{i}" for i in range(len(lengths))],
        "actions": ["walk", "run", "walk", "sit"][: len(lengths)],
        "camera_names": ["c0"] * len(lengths),
    } | more


@pytest.fixture(scope="module")
def tracks():
    return track_data.from_arrays(**arrays())


def of_golden(case):
    """The tracks of a golden, as they are: its numbers are no real ones. Unknown cameras are 0."""
    count = sum(name.startswith("input_poses_2d_") for name in case.arrays)
    keypoints = [case[f"input_poses_2d_{i}"] for i in range(count)]
    cameras = [case[f"input_camera_{i}"] if f"input_camera_{i}" in case else np.zeros(9) for i in range(count)]
    poses = np.concatenate([case[f"input_poses_3d_{i}"] for i in range(count)])
    empty = [""] * count
    return track_data.Tracks(
        keypoints_screen=np.concatenate(keypoints),
        scores=np.ones((len(poses), 17), "float32"),
        poses_camera_m=poses,
        poses_world_m=poses,
        lengths=np.array([len(each) for each in keypoints]),
        cameras=np.array(cameras, "float32"),
        frame_sizes=np.full((count, 2), 1000),
        fps=np.full(count, 50.0),
        names=[str(i) for i in range(count)],
        subjects=empty,
        actions=empty,
        camera_names=empty,
        skeleton=COCO,  # whose sides are those of the golden's keypoints
        pose_skeleton=H36M,
    )


def of_batch(batch):
    """(keypoints, camera-space poses, cameras) of a batch for joint training, as the goldens have them."""
    inputs, targets = tf.nest.map_structure(np.asarray, batch)
    assert (targets["poses_m"][:, :, 0] == 0).all()
    return inputs["keypoints"], targets["poses_m"] + targets["trajectory_m"][:, :, None], inputs["camera"]


def take(batches, count):
    return [tf.nest.map_structure(np.asarray, batch) for batch in batches.take(count)]


def assert_same(first, second):
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)


# ---------------------------------------- chunks and windows as published
@pytest.mark.parametrize("name", CHUNKED)
def test_chunks_are_the_published_ones(golden, name):
    case = golden(name)
    pairs = track_data.chunks(of_golden(case).lengths, case.config["arguments"]["chunk_length"], flip=True)
    assert pairs.dtype == np.int64
    np.testing.assert_array_equal(pairs, case["output_pairs"])
    plain = track_data.chunks(of_golden(case).lengths, case.config["arguments"]["chunk_length"])
    np.testing.assert_array_equal(plain, case["output_pairs"][case["output_pairs"][:, 3] == 0])


def of_arguments(case):
    arguments = case.config["arguments"]
    return {
        "receptive_field": 2 * arguments["pad"] + 1,
        "batch_size": arguments["batch_size"],
        "chunk_length": arguments["chunk_length"],
        "causal": arguments["causal_shift"] > 0,
        "trajectory": True,
    }


@pytest.mark.parametrize("name", [name for name in CHUNKED if "shuffled" not in name])
def test_an_epoch_in_order_is_the_published_one(golden, name):
    case = golden(name)
    arguments = case.config["arguments"]
    assert [left for left, _ in COCO.flip_pairs] == arguments["kps_left"]
    assert sorted(left for left, _ in H36M.flip_pairs) == arguments["joints_left"]
    tracks = of_golden(case)
    steps = int(case["output_num_batches"])
    assert track_data.steps_per_epoch(tracks, arguments["batch_size"], arguments["chunk_length"]) == steps
    batches = track_data.training(tracks, seed=None, **of_arguments(case))
    for i, batch in enumerate(batches.take(2 * steps)):  # the second epoch is like the first
        keypoints, poses, cameras = of_batch(batch)
        case.check(f"output_batch{i % steps}_2d", keypoints)
        case.check(f"output_batch{i % steps}_3d", poses)
        if arguments["cameras"]:
            case.check(f"output_batch{i % steps}_cam", cameras)


def test_a_shuffled_epoch_has_the_published_samples(golden):
    case = golden("chunked_1_shuffled")
    count = int(case["output_num_batches"])
    published = {
        key: np.concatenate([case[f"output_batch{i}_{key}"] for i in range(count)]).reshape(28, -1)
        for key in ("2d", "3d")
    }
    published = np.unique(np.concatenate([published["2d"], published["3d"]], axis=1), axis=0)
    orders = []
    batches = take(track_data.training(of_golden(case), **of_arguments(case)), 3 * count)
    for epoch in range(3):
        samples = [of_batch(batch)[:2] for batch in batches[epoch * count : (epoch + 1) * count]]
        samples = np.concatenate([np.concatenate([x.reshape(len(x), -1) for x in pair], axis=1) for pair in samples])
        assert len(samples) == 28
        np.testing.assert_allclose(np.unique(samples, axis=0), published, atol=1e-6)
        orders.append(samples)
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(orders, 2))


def test_a_whole_track_is_padded_and_mirrored_as_published(golden):
    case = golden("unchunked_pad13")
    keypoints, count = case["input_poses_2d"], len(case["input_poses_2d"])
    plain = track_data.windows(keypoints, [0], [count - 1], [-13], count + 26)
    case.check("output_batch_2d", np.concatenate([plain, camera_ops.mirror(plain, COCO.flip_permutation)]))
    poses = case["input_poses_3d"][None]
    case.check("output_batch_3d", np.concatenate([poses, camera_ops.mirror(poses, H36M.flip_permutation)]))
    camera = case["input_camera"][None]
    case.check("output_cam", np.concatenate([camera, camera_ops.mirror_camera(camera)]))


def slow_windows(frames, first, last, start, count):
    padded = [
        np.stack([frames[min(max(s + i, a), b)] for i in range(count)])
        for a, b, s in np.stack([first, last, start], axis=1)
    ]
    return np.stack(padded)


def test_windows_repeat_the_frames_at_the_ends():
    frames = np.random.default_rng(0).normal(size=(30, 4, 2)).astype("float32")
    first, last = np.array([0, 0, 7, 7, 7, 29]), np.array([6, 6, 28, 28, 28, 29])
    start = np.array([-3, 5, 7, -40, 60, 28])
    expected = slow_windows(frames, first, last, start, 5)
    np.testing.assert_array_equal(track_data.windows(frames, first, last, start, 5), expected)
    inside = tf.data.Dataset.from_tensors((first, last, start)).map(lambda *a: track_data.windows(frames, *a, 5))
    np.testing.assert_array_equal(next(iter(inside)), expected)
    assert inside.element_spec.shape.as_list() == [6, 5, 4, 2]


def test_chunks_refuse_no_length():
    with pytest.raises(ValueError, match="chunk_length must be at least 1, got 0"):
        track_data.chunks([3], 0)
    assert track_data.chunks([], 3).shape == (0, 4)


# ---------------------------------------- training
def test_a_network_is_trained_on_plain_batches(tracks):
    batches = track_data.training(tracks, 3, batch_size=12)
    assert [spec.shape.as_list() for spec in batches.element_spec] == [[None, 3, 17, 2], [None, 1, 17, 3]]
    steps = track_data.steps_per_epoch(tracks, 12)
    assert steps == 5 and [len(keypoints) for keypoints, _ in take(batches, 10)] == [12, 12, 12, 12, 8] * 2
    network = keras.Sequential([keras.layers.Reshape((102,)), keras.layers.Dense(51), keras.layers.Reshape((1, 17, 3))])
    network.compile(keras.optimizers.Adam(0.01), "mse")
    losses = network.fit(batches, steps_per_epoch=steps, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("causal", "chunk_length"), [(False, 1), (True, 1), (False, 4), (True, 4)])
def test_what_the_camera_makes_of_the_targets_is_what_the_network_sees(tracks, causal, chunk_length):
    batches = track_data.training(tracks, 5, 16, chunk_length, causal=causal, trajectory=True)
    count = 0
    for batch in batches.take(track_data.steps_per_epoch(tracks, 16, chunk_length)):
        keypoints, poses, cameras = of_batch(batch)
        predicted = keypoints[:, 4:] if causal else keypoints[:, 2:-2]
        np.testing.assert_allclose(camera_ops.project(poses, cameras), predicted, atol=2e-6)  # mirrored ones too
        count += len(keypoints)
    assert count == 2 * sum(-(-length // chunk_length) for length in (9, 5, 14))


def test_without_flip_every_chunk_comes_once(tracks):
    keypoints, poses = take(track_data.training(tracks, 1, 64, flip=False), 1)[0]
    assert len(keypoints) == 28
    own = np.unique(tracks.keypoints_screen.reshape(28, -1), axis=0)
    np.testing.assert_array_equal(np.unique(keypoints.reshape(28, -1), axis=0), own)
    assert (poses[:, :, 0] == 0).all()


def jitter(batch, seeds):
    """An augmentation that moves everything by random numbers."""
    shift = tf.random.stateless_normal(tf.shape(batch["poses_m"])[:1], seeds)[:, None, None, None]
    return batch | {"poses_m": batch["poses_m"] + shift, "keypoints": batch["keypoints"] + 2 * shift}


def test_a_run_that_was_cut_short_goes_on_with_the_same_batches(tracks):
    def make(first_step):
        unlabelled = track_data.from_arrays(**arrays((8, 8)))
        more = {"unlabelled": unlabelled, "augment": jitter, "seed": 3}
        return track_data.training(tracks, 3, batch_size=12, first_step=first_step, **more)

    whole = take(make(0), 17)
    for first_step in (5, 13):  # the beginning of an epoch and the midst of one
        tf.random.set_seed(first_step)  # which must not matter
        resumed = take(make(first_step), 17 - first_step)
        for first, second in zip(whole[first_step:], resumed, strict=True):
            assert_same(first, second)
    assert not np.array_equal(whole[0][0]["keypoints"][:12], whole[5][0]["keypoints"][:12])  # of two epochs


def test_seeds_give_other_orders(tracks):
    first, second, again = (take(track_data.training(tracks, 3, 56, seed=seed), 1)[0] for seed in (0, 1, 0))
    assert not np.array_equal(first[0], second[0])
    assert_same(first, again)


def test_unlabelled_tracks_stand_behind_labelled_ones(tracks):
    more = arrays((31, 20)) | {"poses_world_m": None}
    unlabelled = track_data.from_arrays(**more)
    assert unlabelled.poses_camera_m is None
    steps = track_data.steps_per_epoch(tracks, 10, unlabelled=unlabelled)
    assert steps == 11 and track_data.steps_per_epoch(tracks, 10) == 6
    batches = take(track_data.training(tracks, 3, batch_size=10, unlabelled=unlabelled), steps + 1)
    sizes = [(int(inputs["labelled"].sum()), int((1 - inputs["labelled"]).sum())) for inputs, _ in batches]
    assert sizes == [(10, 10)] * 5 + [(6, 10)] + [(10, 10)] * 4 + [(10, 2), (6, 10)]
    seen_unlabelled = []
    for inputs, targets in batches:
        count = int(inputs["labelled"].sum())
        assert (inputs["labelled"][:count] == 1).all() and inputs["camera"].shape == (len(inputs["keypoints"]), 9)
        assert (targets["poses_m"][count:] == 0).all() and (targets["trajectory_m"][count:] == 0).all()
        assert (targets["trajectory_m"][:count, :, 2] > 1).all()
        seen_unlabelled.append(inputs["keypoints"][count:])
    epoch = np.concatenate(seen_unlabelled[:steps])
    assert len(np.unique(epoch.reshape(len(epoch), -1), axis=0)) == 102  # each of 51 frames, plain and mirrored
    plain, mirrored = epoch, np.asarray(camera_ops.mirror(epoch, H36M.flip_permutation))
    np.testing.assert_array_equal(*(np.unique(x.reshape(len(epoch), -1), axis=0) for x in (plain, mirrored)))


def test_augmentation_comes_before_the_mirror_and_the_cut(tracks):
    seen_specs, seen_seeds = [], []

    def number(batch, seeds):
        """Puts the frame's place in its window into x of the right ankle, which a mirror makes the left one's."""
        seen_specs.append({key: value.shape.as_list() for key, value in batch.items()})
        assert seeds.dtype == tf.int32
        world = batch["poses_world_m"]
        place = tf.range(7, dtype=tf.float32)[None, :, None, None] * tf.one_hot([3], 17)[..., None] * [1.0, 0, 0]
        seed = tf.cast(seeds[:1], tf.float32)[None, None] * tf.one_hot([16], 17)[..., None]
        return {
            "poses_m": tf.zeros_like(world) + place,
            "keypoints": tf.zeros_like(batch["keypoints"]) + seed[None],
            "camera": batch["camera"] * 0 + tf.range(9.0),
        }

    more = {"batch_size": 56, "chunk_length": 3, "causal": True, "augment": number, "trajectory": True}
    batches = take(track_data.training(tracks, 5, **more), 2)
    world = {key: [None, 7, 17, 3] for key in ("poses_world_m", "poses_m")}
    cameras = {"camera": [None, 9], "orientation": [None, 4], "translation_m": [None, 3]}
    assert seen_specs[0] == world | {"keypoints": [None, 7, 17, 2]} | cameras
    for inputs, targets in batches:
        mirrored = inputs["camera"][:, 2] < 0
        assert 0 < mirrored.sum() < len(mirrored)
        np.testing.assert_array_equal(inputs["camera"][:, 7], np.where(mirrored, -7, 7))
        ankles = targets["poses_m"][:, :, [3, 6], 0]  # the last three frames of seven: 4, 5, 6
        np.testing.assert_array_equal(
            ankles[~mirrored], np.broadcast_to([[4, 0], [5, 0], [6, 0]], (*ankles[~mirrored].shape,))
        )
        np.testing.assert_array_equal(
            ankles[mirrored], np.broadcast_to([[0, -4], [0, -5], [0, -6]], (*ankles[mirrored].shape,))
        )
        seen_seeds.append(inputs["keypoints"].max())
    assert seen_seeds[0] != seen_seeds[1]


def test_augmentation_of_plain_batches_and_of_half_a_batch(tracks):
    plain = take(track_data.training(tracks, 3, 12, seed=4), 1)[0]
    same = take(track_data.training(tracks, 3, 12, seed=4, augment=lambda batch, seeds: batch), 1)[0]
    assert_same(plain, same)
    moved = take(track_data.training(tracks, 3, 12, seed=4, augment=jitter), 1)[0]
    np.testing.assert_allclose(moved[1], plain[1], atol=1e-6)  # all joints by the same, as is the root
    assert np.abs(moved[0] - plain[0]).max() > 0.1
    with pytest.raises(ValueError, match="augment must give keypoints, poses_m, camera, got no poses_m, camera"):
        track_data.training(tracks, 3, augment=lambda batch, seeds: {"keypoints": batch["keypoints"]})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"receptive_field": 4}, "receptive_field must be odd, got 4; use 3 or 5"),
        ({"receptive_field": -1}, "receptive_field must be at least 1, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"chunk_length": 0}, "chunk_length must be at least 1, got 0"),
    ],
)
def test_training_refuses_impossible_numbers(tracks, more, message):
    with pytest.raises(ValueError, match=message):
        track_data.training(tracks, **{"receptive_field": 3} | more)


def test_training_says_what_its_tracks_lack(tracks):
    def without(*fields):
        return dataclasses.replace(tracks, **dict.fromkeys(fields))

    with pytest.raises(ValueError, match="tracks must have poses to train on"):
        track_data.training(without("poses_camera_m"), 3)
    with pytest.raises(ValueError, match="augment must have poses_world_m"):
        track_data.training(without("poses_world_m"), 3, augment=jitter)
    with pytest.raises(ValueError, match="tracks must have cameras for joint training"):
        track_data.training(without("cameras"), 3, trajectory=True)
    with pytest.raises(ValueError, match="unlabelled must have cameras for joint training"):
        track_data.training(tracks, 3, unlabelled=without("cameras"))
    with pytest.raises(ValueError, match="unlabelled must have the keypoints of tracks, h36m, got coco"):
        track_data.training(tracks, 3, unlabelled=dataclasses.replace(tracks, skeleton=COCO))
    keypoints, _ = take(track_data.training(without("cameras", "poses_world_m"), 3), 1)[0]
    assert keypoints.shape == (56, 3, 17, 2)  # which a lifter alone does not need


# ---------------------------------------- evaluation
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


# ---------------------------------------- parts of tracks
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


# ---------------------------------------- gaps
def slow_fill(keypoints, seen):
    filled = keypoints.copy()
    for k, axis in itertools.product(range(keypoints.shape[1]), range(2)):
        frames = np.flatnonzero(seen[:, k])
        line = np.interp(np.arange(len(keypoints)), frames, keypoints[frames, k, axis])
        filled[:, k, axis] = np.where(seen[:, k], keypoints[:, k, axis], line)
    return filled


def test_gaps_are_filled_by_straight_lines():
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 500, (3, 40, 17, 2)).astype("float32")
    scores = random.uniform(0.2, 1, (3, 40, 17)).astype("float32")
    lost = random.uniform(size=scores.shape) < 0.5
    lost[:, 20] = False
    broken = np.where((lost & (random.uniform(size=lost.shape) < 0.5))[..., None], np.nan, keypoints)
    scores[lost] = random.choice([0, 0.1, np.nan], lost.sum())
    filled, filled_scores = track_data.fill_gaps(broken, scores, min_score=0.1)
    assert filled.dtype == filled_scores.dtype == np.float32
    expected = np.stack([slow_fill(*pair) for pair in zip(keypoints, ~lost, strict=True)])
    np.testing.assert_allclose(filled, expected, atol=1e-3)
    np.testing.assert_array_equal(filled[~lost], keypoints[~lost])
    np.testing.assert_array_equal(filled_scores, np.where(lost, 0, scores))


def test_gaps_without_scores_are_zeros_and_nan():
    keypoints = np.arange(1, 21, dtype="float32").reshape(5, 2, 2)
    keypoints[1, 0], keypoints[0, 1], keypoints[4, 1] = 0, np.nan, np.inf
    filled, scores = track_data.fill_gaps(keypoints)
    np.testing.assert_array_equal(filled[:, 0], [[1, 2], [5, 6], [9, 10], [13, 14], [17, 18]])
    np.testing.assert_array_equal(filled[:, 1], [[7, 8], [7, 8], [11, 12], [15, 16], [15, 16]])
    np.testing.assert_array_equal(scores, [[1, 0], [0, 1], [1, 1], [1, 1], [1, 0]])
    one, _ = track_data.fill_gaps(keypoints[2:3])
    np.testing.assert_array_equal(one, keypoints[2:3])


def test_a_joint_that_is_never_seen_is_named():
    keypoints, scores = np.ones((6, 17, 2)), np.ones((6, 17))
    scores[:, [3, 16]] = 0
    with pytest.raises(
        ValueError, match="seen in at least one frame of a track, got none for right_ankle, right_wrist"
    ):
        track_data.fill_gaps(keypoints, scores, skeleton=H36M)
    with pytest.raises(ValueError, match="got none for 3, 16"):
        track_data.fill_gaps(keypoints, scores)
    with pytest.raises(ValueError, match=r"with at least one frame, got \[0, 17, 2\]"):
        track_data.fill_gaps(keypoints[:0], scores[:0])
    with pytest.raises(ValueError, match="scores must be"):
        track_data.fill_gaps(keypoints, scores[:3])


# ---------------------------------------- sources
def test_from_arrays_takes_poses_to_their_camera(tracks):
    world = np.concatenate(arrays()["poses_world_m"])
    x, y, z = np.moveaxis(world - CAMERA["translation_m"], -1, 0)
    np.testing.assert_allclose(tracks.poses_camera_m, np.stack([-y, -z, x], axis=-1), atol=1e-6)
    pixels = np.concatenate(arrays()["keypoints"])
    np.testing.assert_allclose(tracks.keypoints_screen, pixels / 500 - [1, 1.002], atol=1e-6)
    np.testing.assert_allclose(tracks.cameras[1, :4], [2.29, 2.288, 0.024, 0.028], atol=1e-6)
    np.testing.assert_allclose(tracks.cameras[2, 4:], [-0.2, 0.24, -0.003, -0.0009, -0.0014], atol=1e-6)
    for field in ("keypoints_screen", "scores", "poses_camera_m", "poses_world_m", "cameras", "fps"):
        assert getattr(tracks, field).dtype == np.float32
    assert tracks.starts.tolist() == [0, 9, 14] and track_data.check(tracks) == 3
    given = track_data.from_arrays(
        **arrays() | {"poses_world_m": None, "poses_camera_m": np.split(tracks.poses_camera_m, [9, 14])}
    )
    np.testing.assert_array_equal(given.poses_camera_m, tracks.poses_camera_m)
    assert given.poses_world_m is None


def test_2d_is_trimmed_to_3d():
    longer = arrays()
    longer["keypoints"][1] = np.concatenate([longer["keypoints"][1]] * 2)
    with pytest.raises(ValueError, match="S1/walk 1/c0: 10 of 2D and 5 of 3D.; trim=True cuts the 2D off"):
        track_data.from_arrays(**longer)
    trimmed = track_data.from_arrays(**longer, trim=True)
    np.testing.assert_array_equal(trimmed.keypoints_screen, track_data.from_arrays(**arrays()).keypoints_screen)
    shorter = arrays()
    shorter["keypoints"][2] = shorter["keypoints"][2][:11]
    for trim in (False, True):
        with pytest.raises(ValueError, match="S2/walk 2/c0: 11 of 2D and 14 of 3D.;.* cut the poses"):
            track_data.from_arrays(**shorter, trim=trim)


def changed(field, value):
    """The arguments of `from_arrays`, the middle track with another value."""
    given = arrays()
    values = given.get(field) or [None] * 3
    values = [values] * 3 if isinstance(values, dict | tuple) else list(values)
    values[1] = value(values[1])
    return given | {field: values}


def poked(value):
    """A function that puts a value into a copy of an array."""

    def poke(array):
        array = array.copy()
        array[3, 5, 1] = value
        return array

    return poke


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("poses_world_m", poked(np.inf), "NaN or infinity .S1/walk 1/c0: poses_world_m of frame 3.; cut the track"),
        ("scores", lambda _: np.full((5, 17), np.nan), "A track shows its person, got .* .S1/walk 1/c0."),
        ("scores", lambda _: np.ones((5, 16)), r"one score for each keypoint.*\(5, 16\) for \(5, 17, 2\)"),
        ("scores", lambda _: np.full((5, 17), 95), "Scores are 0 to 1, got .* .S1/walk 1/c0: 95.; divide them by 100"),
        ("keypoints", lambda x: x[:, :16], r"keypoints of h36m are \[T, K, 2\], K 17, got .*1/c0: \(5, 16, 2\)"),
        ("poses_world_m", lambda x: x[:, :16], r"poses_world_m of h36m .* J 17, got .*1/c0: \(5, 16, 3\)"),
        ("poses_world_m", lambda x: x[..., :2], r"\[T, J, 3\].*S1/walk 1/c0: \(5, 17, 2\)"),
        ("poses_world_m", lambda x: x * 1000, "Poses are in metres, .* .S1/walk 1/c0: .*; divide them by 1000"),
        ("keypoints", lambda x: x[None], r"\[T, K, 2\].*S1/walk 1/c0: \(1, 5, 17, 2\)"),
        ("keypoints", lambda x: x[:0], "A track has at least one frame, got .* .S1/walk 1/c0"),
        ("frame_sizes", lambda _: (0, 1000), r"frame_size is \(height, width\).*S1/walk 1/c0: \(0, 1000\)"),
        ("frame_sizes", lambda _: (1080.5, 1000), r"frame_size is \(height, width\).*1/c0: \(1080.5, 1000\)"),
        ("frame_sizes", lambda _: (1000,), r"frame_size is \(height, width\).*S1/walk 1/c0: \(1000,\)"),
        ("cameras", lambda x: {k: x[k] for k in x if k != "radial"}, "S1/walk 1/c0: no radial"),
        ("cameras", lambda x: x | {"focal_px": [0.0, 1.0]}, "S1/walk 1/c0: focal_px must be positive"),
        ("cameras", lambda x: x | {"focal_px": [2.3, 2.3]}, "focal_px is in pixels, .*S1/walk 1/c0: .*multiply it by"),
        ("cameras", lambda x: x | {"orientation": [1.0, 1, 0, 0]}, "S1/walk 1/c0: orientation must be a unit"),
        ("names", lambda _: "S0/walk 0/c0", "Names of tracks must differ, got 'S0/walk 0/c0' more than once"),
        ("poses_world_m", lambda _: None, "must have poses_camera_m, got none in track S1/walk 1/c0; make two"),
        ("fps", lambda _: 0.0, "fps is a positive number, got .* .S1/walk 1/c0: 0.0"),
    ],
)
def test_a_bad_track_is_named(field, value, message):
    given = changed(field, value)
    if field == "fps":
        given["fps"] = [50.0, 0.0, 50.0]
    if field == "scores":
        given["scores"] = [np.ones((9, 17)), value(None), np.ones((14, 17))]
    with pytest.raises(ValueError, match=message) as raised:
        track_data.from_arrays(**given)
    assert "\n" not in str(raised.value)
    if field != "names" and "make two" not in message:
        assert raised.value.names == ("S1/walk 1/c0",)


@pytest.mark.parametrize("lost", [np.nan, np.inf, 0.0, -1.0, 5.0])
def test_what_is_missing_is_filled_in_at_both_doors(prepared, lost):
    """As `strolls/lost`: joint 5 is lost in two frames, joint 9 in all; the place that stands there does not count."""
    given = arrays()
    given["scores"] = [np.ones(keypoints.shape[:2]) for keypoints in given["keypoints"]]
    given["keypoints"] = [keypoints.copy() for keypoints in given["keypoints"]]
    for keypoints, scores in zip(given["keypoints"], given["scores"], strict=True):
        keypoints[2:4, 5] = keypoints[:, 9] = lost
        scores[2:4, 5] = scores[:, 9] = 0
    stored = track_data.from_tfds("strolls/lost", "train", prepared)
    without_scores = not np.isfinite(lost) or lost == 0
    for scores in [given["scores"], None] if without_scores else [given["scores"]]:
        found = track_data.from_arrays(**given | {"scores": scores})
        for name in found.names:
            ours, theirs = (part.select(names=[name]) for part in (found, stored))
            np.testing.assert_allclose(ours.keypoints_screen, theirs.keypoints_screen, atol=1e-6)
            np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_gaps_that_were_filled_before_stay_as_they_are():
    given = arrays()
    given["keypoints"][1] = given["keypoints"][1].copy()
    given["keypoints"][1][2:4, 5] = np.nan
    filled = [track_data.fill_gaps(keypoints, skeleton=H36M) for keypoints in given["keypoints"]]
    once = track_data.from_arrays(**given)
    pairs = {"keypoints": [keypoints for keypoints, _ in filled], "scores": [scores for _, scores in filled]}
    twice = track_data.from_arrays(**given | pairs)
    np.testing.assert_array_equal(once.keypoints_screen, twice.keypoints_screen)
    np.testing.assert_array_equal(once.scores, twice.scores)


@pytest.mark.parametrize("scale", [1 / 1000, 1 / 800])
@pytest.mark.parametrize("scores", [None, 1])
def test_keypoints_that_are_not_in_pixels_are_refused(scale, scores):
    given = arrays()
    given["keypoints"] = [keypoints * scale for keypoints in given["keypoints"]]
    given["scores"] = scores and [np.ones(keypoints.shape[:2]) for keypoints in given["keypoints"]]
    with pytest.raises(track_data.BadDataError, match="Keypoints are in pixels, got 3 of 3 tracks") as error:
        track_data.from_arrays(**given)
    assert len(error.value.names) == 3


def test_a_frame_that_most_keypoints_are_beyond_is_refused():
    with pytest.raises(track_data.BadDataError, match="Keypoints lie in the frame, got 3 of 3 tracks"):
        track_data.from_arrays(**arrays() | {"frame_sizes": (300, 400), "cameras": CAMERA | {"center_px": [200, 150]}})


@pytest.mark.parametrize(
    "change",
    [
        {"translation_m": CAMERA["translation_m"] * [1, 1, 1000]},
        {"focal_px": CAMERA["focal_px"] * 6},
        {"center_px": [0.5, 0.5]},
    ],
)
def test_cameras_that_see_something_else_are_told_of(change, caplog):
    track_data.from_arrays(**arrays() | {"cameras": CAMERA | change})
    assert "Cameras see the joints where the keypoints are, got 3 of 3 tracks" in caplog.text


def test_what_is_only_odd_is_counted_in_one_warning(tracks, caplog):
    given = arrays() | {"poses_world_m": None, "cameras": None, "fps": np.float32(50)}
    given["poses_camera_m"] = np.split(tracks.poses_camera_m * [[[1]]], [9, 14])
    root = given["poses_camera_m"][1][:, :1]
    given["poses_camera_m"][1] = root + (given["poses_camera_m"][1] - root) * 0.2  # a child's doll
    given["scores"] = [np.ones(keypoints.shape[:2]) for keypoints in given["keypoints"]]
    given["scores"][2] *= 3
    given["keypoints"][0] = given["keypoints"][0] / 1000
    track_data.from_arrays(**given)
    (record,) = caplog.records
    for part in ("1 of 3 tracks of another size (S1", "Scores are 0 to 1, got 1 of 3", "in pixels, got 1 of 3 tracks"):
        assert part in record.getMessage()


def test_poses_that_are_not_in_camera_space_are_told_of(tracks, caplog):
    poses = np.split(tracks.poses_camera_m, [9, 14])
    given = arrays() | {"poses_world_m": None, "cameras": None}
    for changed_poses, message in (
        ([each - each[:, :1] for each in poses], "counted from the camera's centre, got 3 of 3"),
        ([each * [1, 1, -1] for each in poses], "in front of the camera, z above 0, got 3 of 3"),
        ([each + [0, 0, 5000] for each in poses], "within 100 m of the camera, got 3 of 3"),
    ):
        caplog.clear()
        track_data.from_arrays(**given | {"poses_camera_m": changed_poses})
        assert message in caplog.text


@pytest.mark.parametrize("fps", [np.float32(50), np.int64(50), 50, np.array(50.0)])
def test_numpy_numbers_are_numbers(fps):
    given = arrays() | {"fps": fps, "frame_sizes": np.array(SIZE, "float64")}
    assert track_data.from_arrays(**given).fps.tolist() == [50.0] * 3


@pytest.mark.parametrize("fps", [0, -1, np.nan, np.inf, True, "50"])
def test_what_is_no_frame_rate_is_refused(fps):
    with pytest.raises(track_data.BadDataError, match="fps is a positive number, got 3 of 3 tracks"):
        track_data.from_arrays(**arrays() | {"fps": fps})


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


def test_lists_must_match():
    with pytest.raises(ValueError, match="There must be one name for each of 3 tracks, got 2; match the lists"):
        track_data.from_arrays(**arrays() | {"names": ["a", "b"]})
    with pytest.raises(ValueError, match="Tracks must be at least one, got none"):
        track_data.from_arrays([], SIZE)
    with pytest.raises(ValueError, match="cameras must be given with poses of the world"):
        track_data.from_arrays(**arrays() | {"cameras": None})


def test_check_reads_tracks_of_ones_own(tracks):
    broken = tracks.keypoints_screen.copy()
    broken[10, 0] = np.nan
    with pytest.raises(track_data.BadDataError, match="NaN or infinity .S1/walk 1/c0: keypoints_screen of frame 1"):
        track_data.check(dataclasses.replace(tracks, keypoints_screen=broken))
    with pytest.raises(ValueError, match="poses_camera_m must have as many frames as the tracks together, 28, got 27"):
        track_data.check(dataclasses.replace(tracks, poses_camera_m=tracks.poses_camera_m[1:]))
    cameras = tracks.cameras * [[1], [-1], [1]]
    with pytest.raises(ValueError, match="nine finite numbers, the focal lengths positive, got .*S1/walk 1/c0"):
        track_data.check(dataclasses.replace(tracks, cameras=cameras))


class Strolls(tfds.core.GeneratorBasedBuilder):
    """A tiny data set as the 3D ones of datasets/ are; `lost` hides a joint for some frames, another one throughout."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("whole", "lost", "never_prepared")]

    def _info(self):
        def track(*shape):
            return tfds.features.Tensor(shape=(None, *shape), dtype=np.float32, encoding="zlib")

        numbers = {key: tfds.features.Tensor(shape=value.shape, dtype=np.float32) for key, value in CAMERA.items()}
        features = {"keypoints": track(17, 2), "scores": track(17), "poses_world_m": track(17, 3)}
        features |= {"camera": numbers, "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32)}
        features |= {key: tfds.features.Text() for key in ("subject", "action", "camera_name", "name")}
        metadata = tfds.core.MetadataDict(skeleton=H36M.to_dict(), pose_skeleton=H36M.to_dict())
        features = tfds.features.FeaturesDict(features | {"fps": np.float32})
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        given = arrays()
        for i in range(3):
            scores = np.ones(given["keypoints"][i].shape[:2], "float32")
            if self.builder_config.name == "lost":
                scores[2:4, 5], scores[:, 9] = 0, 0
            yield (
                i,
                {
                    "keypoints": given["keypoints"][i],
                    "scores": scores,
                    "poses_world_m": given["poses_world_m"][i],
                    "camera": CAMERA,
                    "frame_size": SIZE,
                    "subject": given["subjects"][i],
                    "action": given["actions"][i],
                    "camera_name": "c0",
                    "name": given["names"][i],
                    "fps": 50.0,
                },
            )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    for config in ("whole", "lost"):
        Strolls(config=config, data_dir=folder).download_and_prepare()
    return folder


def test_from_tfds_equals_from_arrays(prepared, tracks):
    read = track_data.from_tfds("strolls/whole", "train", prepared)
    assert read.skeleton is H36M and read.pose_skeleton is H36M
    order = np.argsort(read.names)
    assert [read.names[i] for i in order] == tracks.names
    for i in range(3):
        ours, theirs = (part.select(names=[tracks.names[i]]) for part in (tracks, read))
        for field in ("keypoints_screen", "scores", "poses_camera_m", "poses_world_m", "cameras", "frame_sizes", "fps"):
            np.testing.assert_array_equal(getattr(theirs, field), getattr(ours, field))
        assert (theirs.subjects, theirs.actions, theirs.camera_names) == (ours.subjects, ours.actions, ["c0"])


def test_from_tfds_fills_gaps(prepared, tracks):
    name = "S2/walk 2/c0"
    whole = tracks.select(names=[name]).keypoints_screen
    left = track_data.from_tfds("strolls/lost", "train", prepared, min_score=None).select(names=[name])
    np.testing.assert_array_equal(left.keypoints_screen, whole)
    filled = track_data.from_tfds("strolls/lost", "train", prepared).select(names=[name])
    line = whole[1, 5] + (whole[4, 5] - whole[1, 5]) * np.array([[1 / 3], [2 / 3]])
    np.testing.assert_allclose(filled.keypoints_screen[2:4, 5], line, atol=1e-5)
    np.testing.assert_array_equal(np.delete(filled.keypoints_screen, [5, 9], axis=1), np.delete(whole, [5, 9], axis=1))
    np.testing.assert_allclose(filled.keypoints_screen[:, 9], np.tile([-1, -1.002], (14, 1)))  # (0, 0) in pixels
    assert filled.scores.sum() == 14 * 17 - 14 - 2


def test_from_tfds_tells_how_to_prepare(prepared):
    with pytest.raises(track_data.NotPreparedError, match="run: python datasets/build.py strolls/never_prepared"):
        track_data.from_tfds("strolls/never_prepared", "train", prepared)
    with pytest.raises(ValueError, match="strolls/whole has the splits train, got 'test'; use one of them"):
        track_data.from_tfds("strolls/whole", "test", prepared)


def test_real_motion_capture(shared_data):
    folder = shared_data("cmu_mocap")
    with np.load(folder / "cmu_mocap_h36m17.npz") as file:
        takes = {name: file[name] for name in json.loads((folder / "meta.json").read_text())["split"]["test"]}
    given = json.loads((folder / "cameras.json").read_text())["cameras"]
    names = ("orientation", "translation", "focal_length", "center", "radial_distortion", "tangential_distortion")
    cameras = {each["id"]: {ours: each[theirs] for ours, theirs in zip(CAMERA, names, strict=True)} for each in given}
    sizes = {each["id"]: (each["res_h"], each["res_w"]) for each in given}
    views = [(take, camera) for take in takes for camera in cameras]
    tracks = track_data.from_arrays(
        [seen(takes[take], cameras[camera], sizes[camera]) for take, camera in views],
        [sizes[camera] for _, camera in views],
        poses_world_m=[takes[take] for take, _ in views],
        cameras=[cameras[camera] for _, camera in views],
        names=[f"{take}/{camera}" for take, camera in views],
        subjects=[take.split("/")[0] for take, _ in views],
        camera_names=[camera for _, camera in views],
        fps=60.0,
    )
    assert len(tracks) == 20 and tracks.num_frames == 4 * 2829 and np.abs(tracks.keypoints_screen).max() < 1.01
    assert track_data.steps_per_epoch(tracks) == -(-8 * 2829 // 1024)
    tenth = tracks.share(0.1)
    by_view = tenth.poses_world_m[: 4 * tenth.lengths[0]].reshape(4, -1, 17, 3)
    np.testing.assert_array_equal(by_view, by_view[:1].repeat(4, axis=0))
    for batch in track_data.training(tracks, 81, batch_size=256, trajectory=True).take(2):
        keypoints, poses, own = of_batch(batch)
        np.testing.assert_allclose(camera_ops.project(poses, own), keypoints[:, 40:41], atol=5e-6)
