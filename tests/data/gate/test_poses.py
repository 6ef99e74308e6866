"""The gate of 3D skeletons: units, axes, gaps and people who are nobody."""

import numpy as np
import pytest

from kerapose.data import clips, gate
from kerapose.data.gate import poses
from kerapose.skeletons import KINECT_V1, NTU

# Metres above the floor, and to the person's left; facing the sensor.
HEIGHTS = {"head": 1.7, "upper_neck": 1.5, "thorax": 1.4, "spine": 1.2, "hip": 1.0}
HEIGHTS |= {"shoulder": 1.4, "elbow": 1.1, "wrist": 0.9, "hand": 0.8, "knee": 0.5, "ankle": 0.1, "foot": 0.05}
ASIDE = {"shoulder": 0.2, "elbow": 0.25, "wrist": 0.3, "hand": 0.3, "hip": 0.1, "knee": 0.1, "ankle": 0.1, "foot": 0.1}


def standing(skeleton=KINECT_V1, people=1, frames=4, seed=0):
    """[M, T, K, 3] world, z up, 3 m before a sensor that looks along y."""
    body = []
    for name in skeleton.keypoints:
        side = {"left": 1, "right": -1}.get(name.split("_")[0], 0)
        part = next((part for part in HEIGHTS if name in (part, f"left_{part}", f"right_{part}")), "hand")
        body.append((side * ASIDE.get(part, 0), 0, HEIGHTS[part]))
    random = np.random.default_rng(seed)
    places = np.arange(people)[:, None, None, None] * (0.8, 0, 0) + (0, 3, -1)
    return (body + places + random.normal(0, 0.01, (people, frames, skeleton.num_keypoints, 3))).astype("float32")


def as_kinect(world):
    """The axes of a sensor: x to its left, y up, z away."""
    return np.stack([-world[..., 0], world[..., 2], world[..., 1]], -1)


def read(given, skeleton=KINECT_V1, **options):
    report = gate.Report("clips")
    clip = poses.read_poses(report, given, skeleton, **options)
    report.close()
    return clip


def test_axes_of_a_sensor_become_those_of_the_world():
    world = standing()
    np.testing.assert_array_equal(poses.to_world(as_kinect(world), "y"), world)
    assert poses.to_world(world, "z") is world
    half = as_kinect(world).astype("float16")
    assert poses.to_world(half, "y").dtype == np.float16
    turn = poses.to_world(np.eye(3), "y")
    assert np.linalg.det(turn) == pytest.approx(1)  # a rotation: left stays left
    with pytest.raises(ValueError, match='up must be "y" or "z", got \'x\'; turn the poses'):
        poses.to_world(world, "x")


def test_what_is_missing_is_brought_to_the_convention():
    given = standing(people=2)
    given[0, 1, 3], given[0, 2, 4, 1] = 0, np.nan
    given[1] = 0  # as files fill up people
    clip = read(given, label=np.float32(2), name="a")
    expected = np.ones((1, 4, 20), "float32")
    expected[0, 1, 3] = expected[0, 2, 4] = 0
    np.testing.assert_array_equal(clip["scores"], expected)
    np.testing.assert_array_equal(clip["poses_m"], np.where(expected[..., None] > 0, given[:1], 0))
    assert clip["label"] == 2 and clip["name"] == "a" and clip["poses_m"].dtype == np.float32
    scores = np.full((4, 20), 0.5)
    scores[1] = 0
    alone = read(standing()[0], scores=scores)  # one person without the axis
    np.testing.assert_array_equal(alone["scores"], scores[None].astype("float32"))
    assert not alone["poses_m"][0, 1].any()


def test_a_clip_of_nobody_keeps_one_person(caplog):
    clip = read(np.zeros((2, 3, 20, 3)), people=poses.sequences.PEOPLE_OF_FILE)
    assert clip["poses_m"].shape == (1, 3, 20, 3) and not clip["scores"].any()
    with pytest.raises(gate.BadDataError, match="A clip shows somebody"):
        read(np.zeros((2, 3, 20, 3)))


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda x: x * 1000, "metres, .* got one of another size .16.*; divide them by 1000"),
        (lambda x: x * 100, "by 100 if in centimetres, and if the third is a score, give the first two as keypoints"),
        (lambda x: x * 1e-3, "Poses are in metres, their largest side 0.02 to 10"),
        (lambda x: x[..., :2], r"3D skeletons are \[M, T, K, 3\], got one of another shape \(\(1, 4, 20, 2\)\)"),
        (lambda x: x[:, :, :17], "those of the skeleton, .*17 and 20 of kinect_v1"),
        (lambda x: x[:, :0], "at least one frame"),
    ],
)
def test_what_cannot_be_is_refused(change, match):
    with pytest.raises(gate.BadDataError, match=match):
        read(change(standing()))


def test_units_are_those_of_most_clips():
    few = [standing(seed=i) * (1000 if i == 0 else 1) for i in range(3)]
    clips.from_poses(few, [0] * 3, KINECT_V1)
    with pytest.raises(clips.BadDataError, match="got 2 of 3 clips") as error:
        clips.from_poses([*few[:2], few[1] * 1000], [0] * 3, KINECT_V1, names=["a", "b", "c"])
    assert error.value.names == ("a", "c")


@pytest.mark.parametrize("skeleton", [KINECT_V1, NTU], ids=["kinect_v1", "ntu"])
def test_people_who_do_not_stand_along_z_are_told_of(skeleton, monkeypatch):
    told = []
    monkeypatch.setattr(gate.report.logging, "warning", lambda text, *args: told.append(text % args))
    world = [standing(skeleton, seed=i) for i in range(3)]
    lying = np.stack([world[0][..., 2], world[0][..., 1], world[0][..., 0]], -1)
    clips.from_poses([*world[:2], lying], [0] * 3, skeleton)  # one who lies down
    assert not told
    clips.from_poses([as_kinect(one) for one in world], [0] * 3, skeleton, up="y")
    assert not told
    for wrong in (as_kinect, lambda one: one * (1, 1, -1)):  # y up, or z down
        clips.from_poses([wrong(one) for one in world], [0] * 3, skeleton)
        assert "People stand along z, got 3 of 3 clips" in told.pop() and not told


def test_scores_and_labels_are_judged_as_those_of_keypoints():
    with pytest.raises(gate.BadDataError, match="Scores are 0 to 1, got one with a score above 10"):
        read(standing(), scores=np.full((1, 4, 20), 95.0))
    with pytest.raises(gate.BadDataError, match="0 to 2, got one with another label .3."):
        read(standing(), label=3, num_classes=3)
    with pytest.raises(gate.BadDataError, match="one score for each keypoint"):
        read(standing(), scores=np.ones((1, 4, 19)))
