"""3D skeletons in the pipeline of clips: sources, fixed views, a random view of each training clip."""

import pickle

import numpy as np
import pytest
import tensorflow as tf

from kerapose.data import clips, pyskl
from kerapose.ops import virtual_cameras
from kerapose.skeletons import KINECT_V1, NTU, convert

FRAMES = 6


def people(seed, count=1, length=9, joints=25):
    """Upright people of random limbs, z up: [M, T, K, 3]."""
    random = np.random.default_rng(seed)
    body = random.uniform((-0.4, -0.3, -0.9), (0.4, 0.3, 0.8), (count, 1, joints, 3)) + (0, 3, 0)
    body = body + np.arange(count)[:, None, None, None] * (0.9, 0, 0)
    return (body + random.normal(0, 0.05, (count, length, joints, 3))).astype("float32")


LENGTHS = (9, 30, 4, 13, 7)


@pytest.fixture(scope="module")
def arrays():
    return [people(i, count=1 + i % 2, length=length) for i, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def dataset(arrays):
    return clips.from_poses(arrays, list(range(5)), NTU, num_classes=5)


def read(batches, count=None):
    batches = batches if count is None else batches.take(count)
    return [(clip["keypoints"].numpy(), clip["scores"].numpy(), labels.numpy()) for clip, labels in batches]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, wanted in zip(batches, expected, strict=True):
        for array, other in zip(batch, wanted, strict=True):
            np.testing.assert_array_equal(array, other)


# ---------------------------------------------------------------------------------------------------- sources
def test_from_poses_gives_the_arrays_back(arrays, dataset):
    assert clips.holds_poses(dataset) and int(dataset.cardinality()) == 5
    for i, element in enumerate(dataset.as_numpy_iterator()):
        np.testing.assert_array_equal(element["poses_m"], arrays[i])
        np.testing.assert_array_equal(element["scores"], np.ones(arrays[i].shape[:3]))
        assert set(element) == {"poses_m", "scores", "label", "name"}
        assert element["label"] == i and element["name"] == str(i).encode()
    assert clips.check(dataset, NTU, 5) == 5


def test_from_poses_turns_axes_and_wants_one_of_each(arrays):
    kinect = [np.stack([-x[..., 0], x[..., 2], x[..., 1]], -1) for x in arrays[:2]]
    turned = clips.from_poses(kinect, [0, 1], NTU, up="y")
    for element, expected in zip(turned.as_numpy_iterator(), arrays, strict=False):
        np.testing.assert_array_equal(element["poses_m"], expected)
    with pytest.raises(ValueError, match="labels are one for each of 2 clips, got 1; match the lists"):
        clips.from_poses(kinect, [0], NTU)
    with pytest.raises(ValueError, match="names are one for each of 2 clips, got 3"):
        clips.from_poses(kinect, [0, 1], NTU, names="abc")


def pyskl_file(folder, world):
    """A file in the form of PYSKL's 3D ones: Kinect's axes, float16, the second person filled up with zeros."""
    annotations = []
    for i, poses in enumerate(world):
        kinect = np.stack([-poses[..., 0], poses[..., 2], poses[..., 1]], -1).astype(np.float16)
        filled = np.concatenate([kinect, np.zeros_like(kinect)])[:2]
        annotations.append({"frame_dir": f"c{i}", "label": i, "total_frames": poses.shape[1], "keypoint": filled})
    content = {"split": {"train": ["c0", "c1"], "val": ["c2"]}, "annotations": annotations}
    path = folder / "ntu60_3danno.pkl"
    path.write_bytes(pickle.dumps(content))
    return path, content


def test_pyskls_3d_files_are_recognized(tmp_path, arrays):
    path, content = pyskl_file(tmp_path, arrays[:3])
    elements = list(clips.from_pyskl(path, "train", NTU, num_classes=5).as_numpy_iterator())
    for element, world in zip(elements, arrays, strict=False):
        assert element["poses_m"].shape == world.shape  # who is filled up is nobody
        np.testing.assert_allclose(element["poses_m"], world, atol=2e-3)
    with pytest.raises(pyskl.AnnotationError, match="this one has 25 and skeleton kinect_v1 20"):
        clips.from_pyskl(path, "train", KINECT_V1)
    with pytest.raises(pyskl.AnnotationError, match="a 3D skeleton, and only 2D ones are read"):
        pyskl.read_annotations(path, NTU)
    flat = content["annotations"][2]
    flat |= {"keypoint": flat["keypoint"][..., :2] * 100, "img_shape": (480, 640)}
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(
        pyskl.AnnotationError, match="'c2': all clips must be of 2D .* this one has 2 .* before 3; make"
    ):
        clips.from_pyskl(path, "train", NTU)
    content["annotations"][2] = content["annotations"][1] | {"frame_dir": "c2", "label": 9}
    content["annotations"][0]["keypoint"] = content["annotations"][0]["keypoint"] * 100
    content["annotations"][1]["keypoint"] = content["annotations"][1]["keypoint"] * 100
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(pyskl.AnnotationError, match="in metres, .* got 2 of 3 .*0 to 4, got 1 of 3 .*c2: 9") as error:
        clips.from_pyskl(path, "train", NTU, num_classes=5)
    assert set(error.value.names) == {"c0", "c1", "c2"}


def test_sets_are_mapped_in_space(arrays, dataset):
    for element, poses in zip(clips.convert(dataset, NTU, KINECT_V1).as_numpy_iterator(), arrays, strict=True):
        expected, _ = convert(poses, np.ones(poses.shape[:3]), NTU, KINECT_V1)
        np.testing.assert_allclose(element["poses_m"], expected, atol=1e-6)


def test_clips_without_anybody_are_not_learnt_from(arrays):
    empty = [*arrays[:2], np.zeros((2, 4, 25, 3))]
    kept = clips.trainable(clips.from_poses(empty, [0, 1, 2], NTU))
    assert [element["label"] for element in kept.as_numpy_iterator()] == [0, 1]


# ---------------------------------------------------------------------------------------------------- fixed views
def test_fixed_views_are_those_of_the_camera(arrays, dataset):
    viewed = clips.seen_from(dataset, 90, height_m=0.5, distance_m=2)
    assert not clips.holds_poses(viewed) and int(viewed.cardinality()) == 5
    assert clips.check(viewed, NTU, 5) == 5
    for element, poses in zip(viewed.as_numpy_iterator(), arrays, strict=True):
        expected, scores = virtual_cameras.keypoints_seen(poses, np.ones(poses.shape[:3]), np.pi / 2, 0.5, 2.0)
        np.testing.assert_allclose(element["keypoints"], expected, atol=0.05)
        np.testing.assert_array_equal(element["scores"], scores)
        np.testing.assert_array_equal(element["frame_size"], virtual_cameras.FRAME_SIZE)
    with pytest.raises(ValueError, match="Only 3D skeletons can be seen from anywhere, got keypoints"):
        clips.seen_from(viewed)
    with pytest.raises(ValueError, match=r"distances_m must be above 0, got \[0.0, 0.0\]"):
        clips.seen_from(dataset, distance_m=0)


def test_evaluation_sees_from_in_front(dataset):
    expected = read(clips.evaluation(clips.seen_from(dataset), 3, FRAMES, (24, 24)))
    assert_same(read(clips.evaluation(dataset, 3, FRAMES, (24, 24))), expected)


# ---------------------------------------------------------------------------------------------------- random views
WHOLE = {"area_range": (1.0, 1.0), "aspect_range": (1.0, 1.0), "flip_probability": 0.0}
ANYWHERE = clips.Views((-180, 180), (-0.5, 1.0), (2, 5))


def training(dataset, views=None, **changes):
    options = {"batch_size": 2, "num_frames": FRAMES, "size": (24, 24), "seed": 3, "views": views} | changes
    return clips.training(dataset, NTU, **options)


@pytest.fixture(scope="module")
def uninterrupted(dataset):
    return read(training(dataset, ANYWHERE), 10)


def test_the_same_seed_gives_the_same_views(dataset, uninterrupted):
    assert_same(read(training(dataset, ANYWHERE), 3), uninterrupted[:3])
    assert_same(read(training(dataset, ANYWHERE, first_step=4), 6), uninterrupted[4:])
    assert (read(training(dataset, ANYWHERE, seed=4), 1)[0][0] != uninterrupted[0][0]).any()


def test_every_clip_has_a_view_of_its_own():
    """Of one frame that is whole, batches differ in nothing but the view."""
    one = clips.from_poses([people(0, length=1)], [0], NTU)
    views = [clip[0][0] for clip in read(training(one, ANYWHERE, batch_size=1, **WHOLE), 6)]
    assert min(np.abs(a - b).max() for i, a in enumerate(views) for b in views[:i]) > 0.5
    fixed = [clip[0] for clip in read(training(one, batch_size=1, **WHOLE), 3)]
    np.testing.assert_array_equal(fixed[0], fixed[1])
    quarter = read(training(one, clips.Views((90, 90)), batch_size=1, **WHOLE), 1)[0][0]
    expected = read(training(clips.seen_from(one, 90), batch_size=1, **WHOLE), 1)[0][0]
    np.testing.assert_allclose(quarter, expected, atol=1e-3)


def test_views_leave_frames_crops_and_mirrors_as_they_are(dataset):
    fixed = read(training(dataset, num_frames=8), 5)
    assert_same(read(training(clips.seen_from(dataset), num_frames=8), 5), fixed)


def test_views_are_spread_over_their_ranges():
    views = clips.Views((-90, 30), (0.5, 1.5), (2, 2))
    drawn = np.array([[float(value) for value in views.draw((0, i))] for i in range(200)])
    drawn[:, 0] = np.degrees(drawn[:, 0])
    for values, low, high in zip(drawn.T[:2], (-90, 0.5), (30, 1.5), strict=True):
        assert low <= values.min() < low + 0.1 * (high - low) and high - 0.1 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.08 * (high - low))
    assert (drawn[:, 2] == 2).all()
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.2


def test_mirroring_changes_sides_in_the_picture():
    """In the mirror a raised left hand is a raised right one on the other side of the picture."""
    poses = people(0, length=1)
    hands = [NTU.index("left_hand"), NTU.index("right_hand")]
    poses[0, 0, hands] = [(0.3, 3, 1.5), (-0.3, 3, -0.2)]
    one = clips.from_poses([poses], [0], NTU)
    plain = read(training(one, batch_size=1, **WHOLE), 1)[0][0][0, 0, 0]
    mirrored = read(training(one, batch_size=1, **WHOLE | {"flip_probability": 1.0}), 1)[0][0][0, 0, 0]
    np.testing.assert_allclose(mirrored[hands[1]], (24 - plain[hands[0], 0], plain[hands[0], 1]), atol=1e-4)
    assert plain[hands[0], 1] < plain[hands[1], 1] and mirrored[hands[1], 1] < mirrored[hands[0], 1]


def test_views_are_ranges_and_of_3d_skeletons(dataset):
    with pytest.raises(ValueError, match=r"heights_m must be two numbers, the lesser first, got \(1.0, 0.0\)"):
        clips.Views(heights_m=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"azimuths_degrees must be two numbers"):
        clips.Views(azimuths_degrees=(0, 1, 2))
    with pytest.raises(ValueError, match="two numbers, the lesser first, got 90"):
        clips.Views(azimuths_degrees=90)
    with pytest.raises(ValueError, match="distances_m must be above 0"):
        clips.Views(distances_m=(0, 2))
    with pytest.raises(ValueError, match="views are those of 3D skeletons, got a dataset of keypoints"):
        training(clips.seen_from(dataset), ANYWHERE)


# ---------------------------------------------------------------------------------------------------- intervals
def test_training_clips_are_taken_from_intervals(dataset):
    """Scores tell the frames: of half a sequence, no clip reaches from its beginning to its end."""
    keypoints = np.random.default_rng(0).uniform(50, 200, (1, 120, 25, 2))
    scores = np.broadcast_to(np.linspace(0.1, 1, 120)[None, :, None], (1, 120, 25))
    flat = clips.from_arrays([keypoints], [0], NTU, [scores], (240, 320))
    halves = read(training(flat, batch_size=1, p_interval=(0.5, 0.5)), 12)
    spans = [np.ptp(clip_scores.max(axis=-1)) / 0.9 for _, clip_scores, _ in halves]
    assert max(spans) < 0.5 and min(spans) > 0.3
    assert_same(read(training(flat, batch_size=1, p_interval=(1, 1)), 2), read(training(flat, batch_size=1), 2))
    with pytest.raises(ValueError, match="p_interval must be two shares"):
        training(dataset, p_interval=(0, 1))


def test_a_pipeline_of_views_is_a_graph(dataset):
    """No step of it asks Python for anything but the elements."""
    spec = training(dataset, ANYWHERE).element_spec
    assert spec[0]["keypoints"].shape.as_list() == [None, None, FRAMES, 25, 2]
    assert isinstance(spec[1], tf.TensorSpec)
