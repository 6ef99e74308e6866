"""Chunks and windows as published, and batches to train on that are reproducible from any step on."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from strolls import arrays, assert_same, of_batch, take

from kerapose.data import order
from kerapose.data import tracks as track_data
from kerapose.ops import cameras as camera_ops
from kerapose.skeletons import COCO, H36M

CHUNKED = ["chunked_1_pad13", "chunked_1_pad13_causal_cameras", "chunked_1_shuffled", "chunked_3_pad4"]


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
@pytest.mark.parametrize("batch_size", [0, -1])
def test_steps_refuse_batches_of_nothing(tracks, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}; give a positive number"):
        track_data.steps_per_epoch(tracks, batch_size)


def test_plain_batches_are_of_keypoints_and_poses(tracks):
    batches = track_data.training(tracks, 3, batch_size=12)
    assert [spec.shape.as_list() for spec in batches.element_spec] == [[None, 3, 17, 2], [None, 1, 17, 3]]
    steps = track_data.steps_per_epoch(tracks, 12)
    assert steps == 5 and [len(keypoints) for keypoints, _ in take(batches, 10)] == [12, 12, 12, 12, 8] * 2


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
    tf.random.set_seed(13)  # which must not matter
    for first, second in zip(whole[13:], take(make(13), 4), strict=True):  # from the midst of an epoch on
        assert_same(first, second)
    assert not np.array_equal(whole[0][0]["keypoints"][:12], whole[5][0]["keypoints"][:12])  # of two epochs


@pytest.mark.parametrize("count, replicas", [(2, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("augment", [None, jitter])
def test_several_workers_make_the_same_batches(put_together, tracks, count, replicas, augment):
    """Of the labelled and of the unlabelled; parts of the last batch of an epoch differ by one at most."""

    def make(share=order.WHOLE, **more):
        more |= {"augment": augment, "seed": 3, "first_step": 2}
        return track_data.training(tracks, 3, batch_size=12, share=share, **more)

    whole = take(make(), 5)
    assert [len(keypoints) for keypoints, _ in whole] == [12, 12, 8, 12, 12]
    for parts, (keypoints, poses) in zip(put_together(make, 5, count, replicas), whole, strict=True):
        sizes = [len(part) for part, *_ in parts]
        assert max(sizes) - min(sizes) <= 1 and sum(sizes) == len(keypoints)
        np.testing.assert_array_equal(np.concatenate([part for part, *_ in parts]), keypoints)
        np.testing.assert_array_equal(np.concatenate([part for _, part, _ in parts]), poses)
        # With its weights the mean over parts of the means is the mean of all.
        means = [np.mean(part[:, 0, 1, 2] * weights) for _, part, weights in parts]
        np.testing.assert_allclose(np.mean(means), np.mean(poses[:, 0, 1, 2]), rtol=1e-5)
    unlabelled = track_data.from_arrays(**arrays((8, 9)))
    (whole,) = take(make(unlabelled=unlabelled), 1)
    (parts,) = put_together(lambda share: make(share, unlabelled=unlabelled), 1, count, replicas)
    for labelled in (0, 1):
        chosen = [inputs["keypoints"][inputs["labelled"] == labelled] for inputs, _ in [whole, *parts]]
        np.testing.assert_array_equal(np.concatenate(chosen[1:]), chosen[0])


def test_a_batch_of_too_few_chunks_is_refused(tracks):
    with pytest.raises(ValueError, match="Each of 2 devices needs a chunk of every batch, got a last one of 1; change"):
        track_data.training(tracks, 3, batch_size=11, share=order.Share(0, 2))


def test_seeds_give_other_orders(tracks):
    first, second = (take(track_data.training(tracks, 3, 56, seed=seed), 1)[0] for seed in (0, 1))
    assert not np.array_equal(first[0], second[0])
    inputs, _ = take(track_data.training(tracks, 3, 56, unlabelled=tracks), 1)[0]
    assert not np.array_equal(inputs["keypoints"][:56], inputs["keypoints"][56:])  # each has an order of its own


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

    def seen_anew(batch, seeds):
        """The same frames of the world's poses, where the camera sees them."""
        placed = batch["orientation"], batch["translation_m"]
        return batch | {"poses_m": camera_ops.world_to_camera(batch["poses_world_m"], *placed)}

    seen = take(track_data.training(tracks, 3, 12, seed=4, augment=seen_anew), 1)[0]
    np.testing.assert_allclose(seen[1], plain[1], atol=1e-5)
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


def seeds_of(tracks, count=3, **options):
    """The seeds that an augmentation is given for so many batches."""

    def told(batch, seeds):
        return batch | {"keypoints": tf.zeros_like(batch["keypoints"]) + tf.cast(seeds, tf.float32)}

    batches = take(track_data.training(tracks, 3, 12, flip=False, augment=told, **options), count)
    return [tuple(keypoints[0, 0, 0]) for keypoints, _ in batches]


def test_augmentation_has_seeds_of_its_own_for_each_step_of_each_run(tracks):
    first = seeds_of(tracks)
    assert len({*first, *seeds_of(tracks, seed=1)}) == 6
    assert seeds_of(tracks, seed=None) == first  # those of seed 0
    assert seeds_of(tracks, 1, first_step=2) == first[2:]
