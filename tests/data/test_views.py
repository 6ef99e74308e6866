"""Augmentation of lifting: other views are those that a real camera would have had."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kerapose.data import tracks, views
from kerapose.ops import cameras
from kerapose.skeletons import H36M

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
CAMERA = {
    "orientation": np.float32([0.5, -0.5, 0.5, -0.5]),  # looks along the world's x, with z up
    "translation_m": np.float32([-6, 0, 1]),
    "focal_px": np.float32([1145, 1144]),
    "center_px": np.float32([512, 515]),
    "radial": np.float32([-0.2, 0.24, -0.003]),
    "tangential": np.float32([-0.001, -0.0014]),
}


def people(frames=40, seed=0):
    """A person who drifts about before the camera, [T, 17, 3] metres in the world."""
    random = np.random.default_rng(seed)
    body = random.uniform((-0.3, -0.3, 0), (0.3, 0.3, 1.7), (17, 3))
    body[0] = (0, 0, 0.9)
    path = np.cumsum(random.normal(0, 0.02, (frames, 1, 3)) * (1, 1, 0), axis=0)
    return (body + path + random.normal(0, 0.03, (frames, 17, 3))).astype("float32")


def known(**options):
    world = [people(40, 0), people(25, 1)]
    seen = [np.float32(np.full((len(poses), 17, 2), 500)) for poses in world]
    return tracks.from_arrays(seen, (1002, 1000), poses_world_m=world, cameras=CAMERA, **options)


def batch(seed=0):
    """The first batch of an augmented training of joint networks."""
    augment = views.random_views(PARENTS)
    (x, y), *_ = tracks.training(known(), 9, 32, flip=False, trajectory=True, augment=augment, seed=seed).take(1)
    return {key: values.numpy() for key, values in (x | y).items()}


first_batch = functools.cache(batch)


def anew(share=1.0, **options):
    """What an augmentation makes of 32 windows of one track, without the training round it."""
    track = known()
    frames = np.arange(32)[:, None] + np.arange(9)
    given = {key: getattr(track, f"{key}s")[:1].repeat(32, axis=0) for key in ("camera", "orientation")}
    given |= {"translation_m": track.translations_m[:1].repeat(32, axis=0), "keypoints": track.keypoints_screen[frames]}
    given |= {"poses_m": track.poses_camera_m[frames], "poses_world_m": track.poses_world_m[frames]}
    given = {key: tf.constant(value, tf.float32) for key, value in given.items()}
    made = views.random_views(PARENTS, share=share, **options)(given, tf.constant([3, 4]))
    return {key: values.numpy()[:, 4:5] for key, values in made.items() if key in ("keypoints", "poses_m")}


def bones(poses):
    return np.linalg.norm(poses[..., 1:, :] - poses[..., PARENTS[1:], :], axis=-1)


def test_keypoints_are_the_projection_of_the_poses_that_are_learnt():
    made = first_batch()
    poses = made["poses_m"] + made["trajectory_m"][:, :, None]  # [B, 1, J, 3]
    seen = np.asarray(cameras.project(poses, made["camera"]))
    np.testing.assert_allclose(made["keypoints"][:, 4:5], seen, atol=1e-5)
    assert np.abs(made["keypoints"]).max() < 1.2


def test_people_are_turned_about_the_vertical_and_moved():
    world = np.stack([people(9, seed) for seed in range(200)])
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 200).astype("float32")
    shifts = np.random.default_rng(1).normal(0, 0.3, (200, 3)).astype("float32")
    turned = views.turned(tf.constant(world), angles, shifts).numpy()
    for before, after, angle, shift in zip(world, turned, angles, shifts, strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        middle = before[4, 0]
        np.testing.assert_allclose(after, (before - middle) @ turn.T + middle + shift, atol=1e-5)


def test_bones_keep_their_lengths_unless_a_spread_is_asked_for():
    plain = bones(anew()["poses_m"])
    of_people = np.concatenate([bones(people(40, 0)), bones(people(25, 1))])
    for lengths in plain[:, 0]:
        assert np.abs(of_people - lengths).max(axis=-1).min() < 1e-4
    spread = bones(anew(body_spread=0.1)["poses_m"])
    assert 0.05 < np.std(np.log(spread / plain)) < 0.2
    factors = spread / plain
    np.testing.assert_allclose(factors, np.broadcast_to(factors[..., :1], factors.shape), rtol=1e-3)
    factors = bones(anew(bone_spread=0.1)["poses_m"]) / plain
    assert 0.05 < np.std(np.log(factors)) < 0.2 and np.std(np.log(factors), axis=-1).min() > 0.01


def rotation(turn):
    """The matrix of an axis times an angle, by Rodrigues' formula."""
    angle = np.linalg.norm(turn)
    x, y, z = turn / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_rebuilt_bodies_against_a_slow_version():
    random = np.random.default_rng(0)
    poses, scales = random.normal(0, 1, (3, 4, 17, 3)).astype("float32"), random.uniform(0.5, 2, (3, 17))
    turns = random.normal(0, 0.7, (3, 17, 3))
    expected = poses.copy()
    for b, t in np.ndindex(3, 4):
        turned_by = [np.eye(3)]
        for joint in range(1, 17):
            parent = PARENTS[joint]
            turned_by.append(turned_by[parent] @ rotation(turns[b, joint]))
            bone = scales[b, joint] * turned_by[joint] @ (poses[b, t, joint] - poses[b, t, parent])
            expected[b, t, joint] = expected[b, t, parent] + bone
    made = views.rebuilt(tf.constant(poses), scales.astype("float32"), turns.astype("float32"), PARENTS)
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_turned_limbs_keep_their_lengths_and_move_alike_in_all_frames():
    np.testing.assert_allclose(bones(anew(limb_degrees=20)["poses_m"]), bones(anew()["poses_m"]), atol=1e-4)
    still = tf.repeat(tf.constant(people(1)[None]), 9, axis=1)
    turns = np.random.default_rng(0).normal(0, 0.5, (1, 17, 3)).astype("float32")
    made = views.rebuilt(still, np.ones((1, 17), "float32"), turns, PARENTS).numpy()
    np.testing.assert_allclose(made, np.repeat(made[:, :1], 9, axis=1), atol=1e-6)
    assert np.abs(made - still).max() > 0.05


def test_no_turn_of_limbs_changes_nothing():
    poses = people(9)[None]
    made = views.rebuilt(tf.constant(poses), np.ones((1, 17), "float32"), np.zeros((1, 17, 3), "float32"), PARENTS)
    np.testing.assert_allclose(made, poses, atol=1e-6)


def test_people_turn_no_further_than_asked():
    """With nothing else changed, the angle of the hips in the world is that of the recording, but for 10 degrees."""
    plain, turned = anew(shift_m=0.0, turn_degrees=0.0), anew(shift_m=0.0, turn_degrees=10.0)
    hips = (made["poses_m"][:, 0, 1] - made["poses_m"][:, 0, 0] for made in (plain, turned))
    before, after = (hip[:, [0, 2]] for hip in hips)  # seen from above
    angles = [np.arctan2(*points.T) for points in (before, after)]
    difference = np.degrees((angles[1] - angles[0] + np.pi) % (2 * np.pi) - np.pi)
    assert 5 < np.abs(difference).max() < 10.5


def test_people_are_moved_a_third_as_far_upwards_as_aside():
    plain, moved = (anew(shift_m=shift, turn_degrees=0.0)["poses_m"] for shift in (0.0, 0.3))
    shifts = (moved - plain)[:, 0]  # [B, J, 3]: right, down, away
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1], shifts.shape), atol=1e-5)
    np.testing.assert_allclose(shifts[:, 0].std(axis=0), (0.3, 0.1, 0.3), rtol=0.5)


def test_the_share_is_kept_and_the_rest_is_as_recorded():
    made = anew(share=0.5)
    centre = np.asarray(cameras.normalize_screen(np.float32([[500, 500]]), (1002, 1000)))[0]
    is_recorded = np.isclose(made["keypoints"], centre, atol=1e-6).all(axis=(1, 2, 3))
    assert 6 < is_recorded.sum() < 26
    untouched = anew(share=0.0)
    assert np.isclose(untouched["keypoints"], centre, atol=1e-6).all()


def test_who_is_seen_anew_says_nothing_of_the_side_that_they_turn_to():
    plain, made = (anew(share, shift_m=0.0, turn_degrees=20.0 * share)["poses_m"] for share in (0.0, 0.5))
    before, after = ((poses[:, 0, 1] - poses[:, 0, 0])[:, [0, 2]] for poses in (plain, made))  # hips, seen from above
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    assert (turns < -1e-4).sum() > 2 and (turns > 1e-4).sum() > 2 and (np.abs(turns) < 1e-6).sum() > 2


def test_every_draw_has_a_stream_of_its_own(monkeypatch):
    """What is drawn of bodies, bones, limbs, sides and places says nothing of the others."""
    seeds = []
    for name in ("stateless_normal", "stateless_uniform"):
        draw = getattr(tf.random, name)
        monkeypatch.setattr(
            tf.random,
            name,
            lambda shape, seed, *bounds, draw=draw: seeds.append(tuple(seed)) or draw(shape, seed, *bounds),
        )
    poses = tf.zeros((2, 3, 3, 3)) + [0.0, 0, 5]
    batch = {"keypoints": tf.zeros((2, 3, 3, 2)), "poses_m": poses, "poses_world_m": poses, "camera": tf.ones((2, 9))}
    batch |= {"orientation": tf.constant([[1.0, 0, 0, 0]] * 2), "translation_m": tf.zeros((2, 3))}
    augment = views.random_views((-1, 0, 1), share=0.5, body_spread=0.1, bone_spread=0.1, limb_degrees=5)
    augment(batch, np.array([7, 3]))
    assert len(seeds) == len(set(seeds)) == 6


def test_the_same_seed_gives_the_same_views_and_another_seed_others():
    first, again, other = first_batch(), batch(), batch(seed=1)
    np.testing.assert_array_equal(first["keypoints"], again["keypoints"])
    assert np.abs(np.sort(first["keypoints"].ravel()) - np.sort(other["keypoints"].ravel())).max() > 1e-3


def test_a_view_that_would_leave_the_picture_is_left_out():
    poses = np.zeros((3, 5, 17, 3), "float32") + np.float32([0, 0, 5])
    poses[1, 2, 3] = (5.5, 0, 5)  # further aside than away
    poses[2, 0, 0] = (0, 0, 0.5)  # too near
    np.testing.assert_array_equal(views.is_in_view(tf.constant(poses)), [True, False, False])


@pytest.mark.parametrize(
    ("place", "is_seen"),
    [
        ((0, 0, views.NEAREST_M), False),
        ((0, 0, views.NEAREST_M * 1.001), True),
        ((4, 0, 4), False),
        ((0, -4, 4), False),
        ((3.99, -3.99, 4), True),
    ],
)
def test_the_nearest_and_the_widest_place_of_a_view_are_out_of_it(place, is_seen):
    poses = np.zeros((1, 2, 17, 3), "float32") + np.float32([0, 0, 4])
    poses[0, 1, 5] = place
    assert bool(views.is_in_view(tf.constant(poses))[0]) == is_seen


def test_the_least_and_greatest_numbers_are_taken():
    nothing = {"turn_degrees": 0, "shift_m": 0, "body_spread": 0, "bone_spread": 0, "limb_degrees": 0}
    for share in (0, 1):
        assert callable(views.random_views((-1, 0, 1), share=share, **nothing))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.5}, "from 0 to 1, got 1.5"),
        ({"shift_m": -1.0}, "shift_m must not be negative, got -1.0"),
        ({"bone_spread": -0.1}, "bone_spread must not be negative"),
        ({"limb_degrees": -1.0}, "limb_degrees must not be negative, got -1.0"),
        ({"parents": (-1, 2, 0)}, r"an earlier joint for each other, got \[-1, 2, 0\]"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        views.random_views(**({"parents": PARENTS} | options))


def test_cameras_must_be_known_and_keypoints_those_of_the_poses():
    augment = views.random_views(PARENTS)
    world = [people()]
    nowhere = tracks.from_arrays(
        [np.zeros((40, 17, 2)) + 100],
        (1002, 1000),
        poses_world_m=world,
        poses_camera_m=[world[0] + np.float32([0, 0, 5])],
    )
    with pytest.raises(ValueError, match="Other views need camera of the cameras, got none"):
        tracks.training(nowhere, 9, augment=augment)
    assert H36M.num_keypoints == len(PARENTS)
