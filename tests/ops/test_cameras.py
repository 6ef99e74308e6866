"""Cameras against the published ones, real Human3.6M frames and a slow version, eagerly and inside `tf.data`."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import cameras
from kerapose.skeletons import H36M


def in_tf_data(function, *arrays):
    """What a function of arrays gives inside `tf.data`, where the length of the first axis is not known."""
    signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays)
    elements = tf.data.Dataset.from_generator(lambda: [arrays], output_signature=signature)
    (result,) = elements.map(tf.autograph.experimental.do_not_convert(function))
    return result


EVERYWHERE = pytest.mark.parametrize("run", [lambda f, *arrays: f(*arrays), in_tf_data], ids=["eager", "tf.data"])


# ---------------------------------------- the slow versions: one point after the other, in float64
def slow_rotate(quaternion, vector):
    w, x, y, z = quaternion
    return (
        vector
        @ np.array(
            [
                [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
            ]
        ).T
    )


def slow_project(point, camera, distortion):
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = camera
    x, y = (min(max(value / point[2], -1), 1) for value in point[:2])
    if distortion:
        r2 = x * x + y * y
        stretch = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * x + p2 * y
        x, y = x * stretch + p1 * r2, y * stretch + p2 * r2
    return fx * x + cx, fy * y + cy


def over_points(function, points, *per_sequence):
    """A function of one point and the numbers of its sequence, over [B, T, J, 3]."""
    results = [
        [[function(point, *(values[b] for values in per_sequence)) for point in frame] for frame in points[b]]
        for b in range(len(points))
    ]
    return np.array(results)


def drawn(seed=0, batch=3):
    """Poses in the world round its origin, cameras about 5 m away that look anywhere, and their own numbers."""
    random = np.random.default_rng(seed)
    points = random.normal(0, 0.6, (batch, 4, 5, 3))
    orientation = random.normal(size=(batch, 4))
    orientation /= np.linalg.norm(orientation, axis=-1, keepdims=True)
    translation = random.normal(0, 3, (batch, 3))
    camera = np.concatenate([random.uniform(1.5, 3, (batch, 2)), random.normal(0, 0.1, (batch, 7))], axis=-1)
    return [array.astype("float32") for array in (points, orientation, translation, camera)]


def of_camera(case, n):
    """What the golden holds of one camera: (its inputs by name, its outputs by name)."""
    return (lambda name: case[f"input_cam{n}_{name}"]), (lambda name: f"output_cam{n}_{name}")


# ---------------------------------------- goldens
@pytest.mark.parametrize("n", range(4))
def test_golden_cameras(golden, n):
    case = golden("camera_h36m")
    given, output = of_camera(case, n)
    raw, frame_size = given("raw_intrinsic"), given("resolution_wh")[::-1]
    camera = cameras.normalize_intrinsics(raw[:2], raw[2:4], raw[4:7], raw[7:], frame_size)
    case.check(output("intrinsic"), camera)
    world = case["output_positions_world_17"]
    pose_of_camera = given("orientation"), given("translation_mm") / 1000
    points = cameras.world_to_camera(world, *pose_of_camera)
    case.check(output("camera"), points)
    case.check(output("world_again"), cameras.camera_to_world(points, *pose_of_camera))
    case.check(output("project"), cameras.project(points, camera))
    case.check(output("project_linear"), cameras.project(points, camera, distortion=False))
    pixels = cameras.denormalize_screen(case[output("project")], frame_size)
    case.check(output("pixels"), pixels)
    case.check(output("normalized"), cameras.normalize_screen(case[output("pixels")], frame_size))


@EVERYWHERE
def test_golden_points_near_the_camera_are_clipped(golden, run):
    case = golden("camera_h36m")
    intrinsics = np.stack([case[f"output_cam{n}_intrinsic"] for n in range(4)])
    near = case["input_near"]
    case.check("output_near_project", run(cameras.project, near, intrinsics))
    case.check(
        "output_near_project_linear", run(lambda p, c: cameras.project(p, c, distortion=False), near, intrinsics)
    )


@EVERYWHERE
def test_golden_rotations(golden, run):
    case = golden("camera_h36m")
    case.check("output_qrot", run(cameras.rotate, case["input_q"], case["input_v"]))
    case.check("output_qinverse", run(cameras.conjugate, case["input_q"]))


def test_golden_sides_are_those_of_the_skeleton(golden):
    case = golden("camera_h36m")
    left, right = case["output_joints_left"], case["output_joints_right"]
    assert {tuple(sorted(pair)) for pair in zip(left, right, strict=True)} == {
        tuple(sorted(pair)) for pair in H36M.flip_pairs
    }


# ---------------------------------------- real frames
def test_real_frames_of_human36m(shared_data):
    folder = shared_data("h36m_mini")
    table = json.loads((folder / "cameras.json").read_text())["cameras"]
    with np.load(folder / "h36m_body3d_mini.npz") as file:
        frames = dict(file)
    for name, world, in_camera, seen in zip(
        frames["imgname"],
        frames["keypoints_3d_world"],
        frames["keypoints_3d_cam"],
        frames["keypoints_2d"],
        strict=True,
    ):
        (entry,) = (c for c in table if c["subject"] == name.split("/")[0] and f".{c['camera']}_" in name)
        points = cameras.world_to_camera(world, entry["orientation"], entry["T"])
        np.testing.assert_allclose(points, in_camera[:, :3], atol=1e-5)
        np.testing.assert_allclose(cameras.camera_to_world(points, entry["orientation"], entry["T"]), world, atol=1e-5)
        frame_size = entry["h"], entry["w"]
        camera = cameras.normalize_intrinsics(entry["f"], entry["c"], entry["k"], entry["p_videopose3d"], frame_size)
        pixels = cameras.denormalize_screen(cameras.project(points, camera), frame_size)
        np.testing.assert_allclose(pixels, seen[:, :2], atol=1e-3)
        swapped = cameras.normalize_intrinsics(entry["f"], entry["c"], entry["k"], entry["p"], frame_size)
        assert np.abs(cameras.project(points, swapped) - cameras.project(points, camera)).max() > 1e-5


# ---------------------------------------- against the slow versions
@EVERYWHERE
@pytest.mark.parametrize("distortion", [True, False])
def test_projection_equals_the_loop(run, distortion):
    points, _, _, camera = drawn()
    points[..., 2] += 4
    points[0, 0, 0] = 2.0, -7.0, 0.5  # beyond the clip
    points[1, 0, 0, 2] = -4.0  # behind the camera
    expected = over_points(lambda point, c: slow_project(point, c, distortion), points, camera)
    result = run(lambda p, c: cameras.project(p, c, distortion=distortion), points, camera)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@EVERYWHERE
def test_world_to_camera_equals_the_loop_and_comes_back(run):
    points, orientation, translation, _ = drawn()
    back = orientation * np.array([1, -1, -1, -1], "float32")
    expected = over_points(lambda p, q, t: slow_rotate(q, p - t), points.astype("float64"), back, translation)
    in_camera = run(cameras.world_to_camera, points, orientation, translation)
    np.testing.assert_allclose(in_camera, expected, atol=5e-6)
    again = run(cameras.camera_to_world, np.asarray(in_camera), orientation, translation)
    np.testing.assert_allclose(again, points, atol=5e-6)


def test_one_camera_serves_points_of_any_rank():
    points, orientation, translation, camera = drawn()
    points[..., 2] += 4
    for shape in ((3,), (5, 3), (3, 4, 5, 3)):
        some = points.reshape(-1, 3)[: int(np.prod(shape[:-1]))].reshape(shape)
        moved = cameras.world_to_camera(some, orientation[1], translation[1])
        seen = cameras.project(some, camera[1])
        assert moved.shape == shape and seen.shape == (*shape[:-1], 2)
        one = some.reshape(-1, 3)[-1]
        np.testing.assert_allclose(np.reshape(seen, (-1, 2))[-1], slow_project(one, camera[1], True), rtol=1e-4)


@EVERYWHERE
def test_each_track_may_have_its_own_frame_size(run):
    keypoints = np.random.default_rng(0).uniform(0, 1000, (3, 3, 5, 2)).astype("float32")  # as many tracks as frames
    sizes = np.array([[480, 640], [1002, 1000], [1080, 1920]], "int32")
    expected = np.array([k / w * 2 - [1, h / w] for k, (h, w) in zip(keypoints.astype("float64"), sizes, strict=True)])
    screen = run(lambda k, s: cameras.normalize_screen(k, s[:, None]), keypoints, sizes)
    np.testing.assert_allclose(screen, expected, atol=1e-6)
    again = run(lambda k, s: cameras.denormalize_screen(k, s[:, None]), np.asarray(screen), sizes)
    np.testing.assert_allclose(again, keypoints, atol=2e-4)
    alone = cameras.normalize_screen(keypoints[1], [1002, 1000])
    np.testing.assert_array_equal(alone, screen[1])


@EVERYWHERE
def test_intrinsics_of_many_cameras(run):
    focal = np.array([[1145, 1143], [640, 650]], "float32")
    centre = np.array([[512, 515], [320, 200]], "float32")
    radial, tangential = np.full((2, 3), 0.1, "float32"), np.full((2, 2), 0.2, "float32")
    sizes = np.array([[1002, 1000], [480, 640]], "int32")
    together = run(cameras.normalize_intrinsics, focal, centre, radial, tangential, sizes)
    for n in range(2):
        one = cameras.normalize_intrinsics(focal[n], centre[n], radial[n], tangential[n], sizes[n])
        np.testing.assert_allclose(together[n], one, rtol=1e-6)
    shared = cameras.normalize_intrinsics(focal, centre, radial[0], tangential[0], (480, 640))
    assert shared.shape == (2, 9)
    np.testing.assert_allclose(shared[1], together[1], rtol=1e-6)


# ---------------------------------------- mirror images
def test_a_mirrored_pose_is_seen_mirrored_by_the_mirrored_camera():
    random = np.random.default_rng(0)
    poses = random.normal(0, 0.5, (2, 3, 17, 3)).astype("float32") + np.array([0, 0, 4], "float32")
    camera = np.concatenate([random.uniform(2, 3, (2, 2)), random.normal(0, 0.1, (2, 7))], axis=-1).astype("float32")
    order = H36M.flip_permutation
    seen = cameras.project(cameras.mirror(poses, order), cameras.mirror_camera(camera))
    np.testing.assert_allclose(seen, cameras.mirror(cameras.project(poses, camera), order), atol=1e-5)
    np.testing.assert_array_equal(cameras.mirror(cameras.mirror(poses, order), order), poses)
    np.testing.assert_array_equal(cameras.mirror_camera(cameras.mirror_camera(camera)), camera)


@EVERYWHERE
def test_mirror_is_that_of_the_published_pipeline(run):
    points = np.random.default_rng(0).normal(size=(4, 17, 3)).astype("float32")
    expected = points * np.array([-1, 1, 1], "float32")
    left, right = [4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]
    expected[:, left + right] = expected[:, right + left]
    np.testing.assert_array_equal(run(lambda p: cameras.mirror(p, H36M.flip_permutation), points), expected)
    np.testing.assert_array_equal(
        run(lambda p: cameras.mirror(p, H36M.flip_permutation), points[..., :2].copy()), expected[..., :2]
    )


# ---------------------------------------- gradients and symbolic inputs
def test_gradients_are_finite_at_the_clip_and_at_no_depth():
    points = tf.Variable([[[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1e-6, 0.0, 1e-30], [3.0, 0.1, 1.0], [0.1, 0.2, 4.0]]])
    camera = tf.Variable([2.0, 2.0, 0.0, 0.0, -0.2, 0.2, 0.0, 0.01, 0.01])
    for distortion in (True, False):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cameras.project(points, camera, distortion) ** 2)
        gradient = tape.gradient(loss, points).numpy()
        assert np.isfinite(gradient).all() and np.abs(gradient[0, 4]).min() > 0


def test_functions_take_symbolic_tensors():
    keypoints, sizes = keras.Input((None, 17, 2)), keras.Input((2,))
    model = keras.Model([keypoints, sizes], cameras.normalize_screen(keypoints, sizes[:, None]))
    points = np.full((2, 3, 17, 2), 100.0, "float32")
    sizes = np.array([[480, 640], [100, 200]], "float32")
    result = model([points, sizes])
    np.testing.assert_allclose(result, cameras.normalize_screen(points, sizes[:, None]), atol=1e-6)


# ---------------------------------------- bad input
KEYPOINTS = np.ones((2, 3, 17, 2), "float32")
POSES = np.ones((2, 3, 17, 3), "float32")
UNIT = np.array([[1.0, 0, 0, 0]] * 2, "float32")
CAMERA = np.ones((2, 9), "float32")


def spoilt(array, value=np.nan):
    array = array.copy()
    array.flat[3] = value
    return array


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cameras.normalize_screen(KEYPOINTS, None), "frame_size must be .height, width. in pixels, got None"),
        (lambda: cameras.normalize_screen(KEYPOINTS, (0, 640)), r"frame_size must be positive, got \[0, 640\]"),
        (lambda: cameras.normalize_screen(KEYPOINTS, (480, -1)), "frame_size must be positive"),
        (lambda: cameras.denormalize_screen(KEYPOINTS, (np.nan, 640)), "frame_size must be positive"),
        (lambda: cameras.normalize_screen(KEYPOINTS, 640), r"frame_size must be .height, width. or \[\.\.\., 2\]"),
        (lambda: cameras.normalize_screen(KEYPOINTS, [[480, 640]] * 2), r"3 axes.*\(2, 2\); \[B, 1, 2\] gives each"),
        (lambda: cameras.normalize_screen(KEYPOINTS[..., :1], (4, 4)), r"keypoints must be \[\.\.\., 2\], got"),
        (lambda: cameras.normalize_screen(spoilt(KEYPOINTS), (4, 4)), "keypoints must be numbers, got 1 that"),
        (lambda: cameras.project(POSES[..., :2], CAMERA), r"points_m must be \[\.\.\., 3\], got \(2, 3, 17, 2\)"),
        (lambda: cameras.project(POSES, CAMERA[:, :4]), r"camera must be \[\.\.\., 9\], got \(2, 4\)"),
        (lambda: cameras.project(POSES[:, 0], CAMERA), r"camera must have two axes less .* \(2, 9\) for \(2, 17, 3\)"),
        (lambda: cameras.project(spoilt(POSES, np.inf), CAMERA), "points_m must be numbers, got 1 that"),
        (lambda: cameras.world_to_camera(spoilt(POSES), UNIT, UNIT[:, :3]), "points_m must be numbers"),
        (lambda: cameras.world_to_camera(POSES, 0.5 * UNIT, UNIT[:, :3]), "unit quaternion .* one of length 0.5;"),
        (lambda: cameras.camera_to_world(POSES, UNIT, UNIT), r"translation_m must be \[\.\.\., 3\], got \(2, 4\)"),
        (lambda: cameras.rotate(UNIT[:, :3], UNIT[:, :3]), r"quaternion must be \[\.\.\., 4\], got \(2, 3\)"),
        (lambda: cameras.mirror(KEYPOINTS, (0, 1)), "flip_permutation must exchange the 17 joints in pairs"),
        (lambda: cameras.mirror(KEYPOINTS[..., :3, :], (1, 2, 0)), "flip_permutation must exchange the 3 joints"),
        (
            lambda: cameras.mirror(CAMERA, range(9)),
            r"points must be \[\.\.\., J, 2\] or .* got \(2, 9\)",
        ),
        (lambda: cameras.mirror_camera(UNIT), r"camera must be \[\.\.\., 9\]"),
        (
            lambda: cameras.normalize_intrinsics((0, 5), (1, 1), (0, 0, 0), (0, 0), (4, 4)),
            "focal_px must be positive",
        ),
        (
            lambda: cameras.normalize_intrinsics((5, 5), (1, 1), (0, 0), (0, 0), (4, 4)),
            r"radial must be \[\.\.\., 3\]",
        ),
        (
            lambda: cameras.normalize_intrinsics((5, 5), (1, 1), (0, 0, 0), (0, 0), (0, 4)),
            "frame_size must be positive",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
