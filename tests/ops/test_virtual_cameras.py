"""Virtual cameras against a slow NumPy form, and what must hold of any camera."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import cameras, virtual_cameras

SIZE = (480, 640)


def slow_view(poses, scores, azimuth, height, distance, frame_size):
    """One joint after another by rotation matrices, the camera's axes found by vector products."""
    seen = np.isfinite(poses).all(-1) & (poses != 0).any(-1) & (scores > 0)
    center = poses[seen].mean(axis=0)
    away = np.array([distance * np.sin(azimuth), -distance * np.cos(azimuth), height], float)
    forward = -away / np.linalg.norm(away)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    depths = [forward @ (poses[place] - center) for place in map(tuple, np.argwhere(seen))]
    back = max(np.linalg.norm(away), virtual_cameras.NEAREST_M - min(depths))
    rays = np.zeros((*poses.shape[:-1], 2))
    for place in map(tuple, np.argwhere(seen)):
        from_camera = poses[place] - (center - back * forward)
        rays[place] = np.array([right @ from_camera, down @ from_camera]) / (forward @ from_camera)
    half = np.array(frame_size[::-1]) / 2
    focal = 0.9 / np.abs(rays / half).max()
    return np.where(seen[..., None], half + focal * rays, 0), np.where(seen, scores, 0)


def people(seed=0, count=2, frames=5, joints=6):
    random = np.random.default_rng(seed)
    poses = (
        random.normal(0, 0.4, (count, frames, joints, 3)) + random.uniform(-1, 1, (count, 1, 1, 3)) + (0.3, 3.0, 0.2)
    )
    scores = random.uniform(0.2, 1, poses.shape[:-1])
    poses[0, 1, 2], poses[0, 2, 3], scores[0, 3, 4] = 0, np.nan, 0
    return poses.astype("float32"), scores.astype("float32")


@tf.function(autograph=False, reduce_retracing=True)
def in_graph(poses, scores, azimuth, height, distance):
    return virtual_cameras.keypoints_seen(poses, scores, azimuth, height, distance, SIZE)


@pytest.mark.parametrize("azimuth", [0.0, 0.7, np.pi / 2, -2.5, np.pi])
@pytest.mark.parametrize("height, distance", [(0.0, 3.0), (1.5, 2.5), (-0.4, 0.6), (3.0, 0.2)])
def test_views_equal_the_slow_form(azimuth, height, distance):
    poses, scores = people()
    expected, expected_scores = slow_view(poses, scores, azimuth, height, distance, SIZE)
    for see in (in_graph, lambda *given: virtual_cameras.keypoints_seen(*given, SIZE)):
        keypoints, found = see(poses, scores, *map(np.float32, (azimuth, height, distance)))
        np.testing.assert_allclose(keypoints, expected, atol=0.05)
        np.testing.assert_allclose(found, expected_scores, rtol=1e-6)


def test_everybody_is_in_the_picture_and_one_joint_near_its_border():
    for seed in range(8):
        poses, scores = people(seed)
        azimuth, height, distance = np.random.default_rng(seed).uniform((-3, 0, 0.1), (3, 2, 4)).astype("float32")
        keypoints, found = in_graph(poses, scores, azimuth, height, distance)
        aside = np.abs(keypoints.numpy()[found.numpy() > 0] / (320, 240) - 1)
        assert np.isclose(aside.max(), 0.9, atol=1e-4)


def test_azimuth_0_sees_what_a_depth_sensor_saw():
    """Of a person who faces it the left hand is on the picture's right, and the head is above."""
    head, left, right = (0.0, 2.8, 0.6), (0.4, 2.8, 0.2), (-0.4, 2.8, 0.2)
    ((points,),), _ = virtual_cameras.keypoints_seen([[[head, left, right]]], np.ones((1, 1, 3)))
    points = np.asarray(points)
    assert points[1, 0] > points[0, 0] > points[2, 0]
    assert points[0, 1] < points[1, 1] and np.isclose(points[1, 1], points[2, 1])


def test_behind_is_the_mirror_image_of_before_and_turning_the_people_is_going_round_the_other_way():
    poses, scores = people()
    poses, scores = poses * (1, 0, 1), np.ones_like(scores)  # flat, so that both sides see the same perspective
    poses = np.where(np.isfinite(poses) & (poses != 0), poses, 0.01)
    front, back = (in_graph(poses, scores, np.float32(a), 0.0, 3.0)[0].numpy() for a in (0, np.pi))
    np.testing.assert_allclose(back, front * (-1, 1) + (640, 0), atol=0.05)
    angle = 0.6
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])  # clockwise
    turned, _ = in_graph((poses @ turn.T).astype("float32"), scores, 0.0, 0.5, 3.0)
    gone_round, _ = in_graph(poses, scores, np.float32(angle), 0.5, 3.0)
    np.testing.assert_allclose(turned, gone_round, atol=0.05)


def test_a_longer_way_flattens_and_does_not_shrink():
    poses, scores = people()
    near, far, farther = (in_graph(poses, scores, 0.3, 0.0, np.float32(d))[0].numpy() for d in (3.0, 300.0, 3000.0))
    np.testing.assert_allclose(far, farther, atol=1.0)
    assert np.abs(near - far).max() > 10


def test_nobody_and_one_joint_are_no_nan():
    keypoints, found = in_graph(np.zeros((2, 3, 4, 3), "float32"), np.ones((2, 3, 4), "float32"), 0.0, 0.0, 3.0)
    assert not np.any(keypoints) and not np.any(found)
    poses = np.zeros((1, 1, 4, 3), "float32")
    poses[0, 0, 1] = (0.2, 3.0, 0.1)
    keypoints, found = in_graph(poses, np.ones((1, 1, 4), "float32"), 0.0, 0.0, 3.0)
    np.testing.assert_allclose(keypoints[0, 0], [(0, 0), (320, 240), (0, 0), (0, 0)], atol=1e-3)
    assert np.array_equal(found[0, 0], [0, 1, 0, 0])


def test_orientation_is_that_of_cameras_in_the_world():
    for azimuth, elevation in ((0.0, 0.0), (0.8, 0.3), (-2.0, -0.5)):
        quaternion = np.asarray(virtual_cameras.orientation(azimuth, elevation))
        assert np.isclose(np.linalg.norm(quaternion), 1)
        forward = np.asarray(cameras.rotate(quaternion, (0.0, 0.0, 1.0)))
        cos = np.cos(elevation)
        expected = (-np.sin(azimuth) * cos, np.cos(azimuth) * cos, -np.sin(elevation))
        np.testing.assert_allclose(forward, expected, atol=1e-6)
        right = np.asarray(cameras.rotate(quaternion, (1.0, 0.0, 0.0)))
        np.testing.assert_allclose(right, (np.cos(azimuth), np.sin(azimuth), 0), atol=1e-6)
