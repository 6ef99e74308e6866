"""The kinect_actions builder: on its dummy data, on damaged files, and on the real files where there are some."""

import importlib
import pathlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose import skeletons
from kerapose.data import clips

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
kinect_actions = importlib.import_module("kinect_actions.kinect_actions_dataset_builder")

DUMMY = ROOT / "datasets" / "kinect_actions" / "dummy_data"
CONFIGS = ("florence3d", "msr_action3d")


class Florence3DTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = kinect_actions.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["florence3d"]
    SPLITS = {"train": 4, "test": 2}


class MsrAction3DTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = kinect_actions.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["msr_action3d"]
    SPLITS = {"train": 4, "test": 2}


def build(data_dir, config, manual_dir):
    builder = kinect_actions.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def clips_of(builder, split):
    return {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split=split))}


def test_the_world_is_that_of_both_files(tmp_path):
    """The dummy people raise the right arm or bend, 2.8 m before the sensor; one file is y up, one z up, mirrored."""
    seen = {}
    for config in CONFIGS:
        builder = build(tmp_path, config, DUMMY)
        skeleton = skeletons.get(builder.info.metadata["skeleton"])
        train, test = (clips_of(builder, split) for split in ("train", "test"))
        names = builder.info.features["label"].names
        assert len(names) == {"florence3d": 9, "msr_action3d": 20}[config]
        assert set(test) == {f"{names[0].replace(' ', '_')}_s02_002", f"{names[-1].replace(' ', '_')}_s02_003"}
        assert {name.split("_s")[-1][:2] for name in train} == {"01", "03"}
        for name, clip in (train | test).items():
            poses, scores = clip["poses_m"][0], clip["scores"][0]
            is_lost = name.endswith("004")  # in one frame, where the file has zeros
            assert (scores == 0).any(axis=1).tolist() == [t == 1 and is_lost for t in range(len(poses))]
            assert not poses[scores == 0].any()
            hips = poses[0, [skeleton.index(f"{side}_hip") for side in ("left", "right")]]
            assert 2.6 < hips[:, 1].mean() < 3.0 and hips[0, 0] > hips[1, 0]
            wrists = poses[-1, [skeleton.index(f"{side}_wrist") for side in ("left", "right")], 2]
            assert (wrists[1] > wrists[0] + 0.7) == (clip["label"] == 0)
            seen.setdefault((config, int(clip["label"])), []).append(poses[0, skeleton.index("head")])
        assert clips.check(clips.from_tfds(f"kinect_actions/{config}", "train", tmp_path)[0], skeleton, len(names)) == 4
    for label, other in ((0, 0), (8, 19)):
        np.testing.assert_allclose(
            *(np.mean(seen[key], 0) for key in (("florence3d", label), ("msr_action3d", other))), atol=0.03
        )


def changed(folder, config="florence3d", **changes):
    arrays = dict(np.load(DUMMY / f"{config}.npz"))
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    np.savez(folder / f"{config}.npz", **arrays)
    return folder / f"{config}.npz"


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"joints": lambda x: x[:, :14]}, r"joints must be \[frames, 15, 3\]; make the file anew"),
        ({"joints": lambda x: x[:-1]}, "lengths must be above 0 and add up to the frames"),
        ({"labels": lambda x: x + 1}, "labels must lie from 0 to 8"),
        ({"labels": lambda x: x[:-1]}, "one whole number a clip"),
        ({"lengths": lambda x: x[None]}, "must have 3, 1, 1, 1, 1 axes"),
        ({"subjects": lambda x: 2 * x}, "some subjects must be odd and some even"),
        ({"names": lambda x: x[:-1]}, "names must be those of 9 classes"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        kinect_actions.read(changed(tmp_path, **changes), kinect_actions.Builder.builder_configs["florence3d"])


def test_files_that_are_none_are_refused(tmp_path):
    config = kinect_actions.Builder.builder_configs["florence3d"]
    path = tmp_path / "florence3d.npz"
    with pytest.raises(FileNotFoundError, match=f"There is no {path}; put it there"):
        kinect_actions.read(path, config)
    path.write_bytes((DUMMY / "florence3d.npz").read_bytes()[:900])
    with pytest.raises(ValueError, match="must be a whole .npz file without pickles"):
        kinect_actions.read(path, config)
    np.savez(path, joints=np.zeros((1, 15, 3)))
    with pytest.raises(ValueError, match="must have the arrays joints, lengths, labels, subjects, names"):
        kinect_actions.read(path, config)


def test_other_units_are_told_of(tmp_path):
    changed(tmp_path, joints=lambda x: x * 1000)
    with pytest.raises(ValueError, match="in metres, .* got 4 of 4 clips .* divide them by 1000 if they are in millim"):
        build(tmp_path / "built", "florence3d", tmp_path)


@pytest.mark.parametrize("config, clip_counts", [("florence3d", (109, 106)), ("msr_action3d", (284, 273))])
def test_real_files(shared_data, tmp_path, config, clip_counts):
    """Upright people before the sensor, who wave with the right arm: on MSR Action3D all, on Florence 3D most."""
    builder = build(tmp_path, config, shared_data("kinect_actions"))
    skeleton = skeletons.get(builder.info.metadata["skeleton"])
    moved = []
    for split, count in zip(("train", "test"), clip_counts, strict=True):
        elements = clips_of(builder, split)
        assert len(elements) == count
        for clip in elements.values():
            poses = clip["poses_m"][0][clip["scores"][0].all(axis=1)]  # [T, K, 3]
            if len(poses) > 1 and clip["label"] == 0:  # wave
                steps = np.linalg.norm(np.diff(poses, axis=0), axis=-1).sum(axis=0)
                moved.append(steps[skeleton.index("right_wrist")] > steps[skeleton.index("left_wrist")])
            if len(poses):
                head, ankle = (np.median(poses[:, skeleton.index(name)], 0) for name in ("head", "left_ankle"))
                assert head[2] > ankle[2] and 1.5 < head[1] < 4.5
    assert np.mean(moved) > {"florence3d": 0.6, "msr_action3d": 0.99}[config]
