"""The humaneva builder: on its dummy data, and the lenses that it has to find."""

import functools
import importlib
import json
import pathlib
import shutil
import sys
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.skeletons import COCO, HUMANEVA, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
humaneva = importlib.import_module("humaneva.humaneva_dataset_builder")
videopose3d = importlib.import_module("videopose3d")

DUMMY = ROOT / "datasets" / "humaneva" / "dummy_data"
DETECTRON = "data_2d_humaneva15_detectron_pt_coco.npz"
# The lens that the dummy data were made with.
LENS = {"focal_px": [760, 755], "center_px": [322, 236], "radial": [-0.22, 0.12, 0], "tangential": [0.001, -0.0008]}
LENS_ERROR = {"focal_px": 1, "center_px": 0.5, "radial": 0.05, "tangential": 1e-3}


class HumanevaTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = humaneva.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["gt"]
    SPLITS = {"train": 27, "validation": 24}  # 9 and 8 sequences, 3 cameras


def build(data_dir, config, manual_dir=DUMMY):
    builder = humaneva.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


@functools.cache  # which tests only look at
def elements(builder, *splits):
    found = [element for split in splits for element in tfds.as_numpy(builder.as_dataset(split=split))]
    return {element["name"].decode(): element for element in found}


def handed(data_dir, config, split, manual_dir):
    """The elements that a builder hands to TFDS, and what it left out; that they come back, tests of others see."""
    builder = humaneva.Builder(data_dir=data_dir, config=config)
    elements = builder._split_generators(types.SimpleNamespace(manual_dir=manual_dir))[split]
    return dict(elements), builder.info.metadata


def trusted(path, key):
    """NumPy's own reading of our own files."""
    return np.load(path, allow_pickle=True)[key].item()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("humaneva")
    return {config: build(data_dir, config) for config in ("gt", "detectron_pt_coco")}


@pytest.fixture
def folder(tmp_path):
    """A copy of the dummy data, to damage."""
    return shutil.copytree(DUMMY, tmp_path / "manual")


# ---------------------------------------------------------------------------------------------------- what it makes
@pytest.mark.parametrize("config, file", [("gt", humaneva.PROJECTED), ("detectron_pt_coco", DETECTRON)])
def test_elements_are_those_of_the_files(built, config, file):
    positions, keypoints = trusted(DUMMY / humaneva.POSITIONS, "positions_3d"), trusted(DUMMY / file, "positions_2d")
    for split, prefix in {"train": "Train/", "validation": "Validate/"}.items():
        found = elements(built[config], split)
        assert set(found) == {
            f"{subject}/{action}/{camera}"
            for subject in positions
            for action in positions[subject]
            for place, camera in enumerate(("C1", "C2", "C3"))
            if subject.startswith(prefix) and keypoints[subject][action][place] is not None
        }
        for name, element in found.items():
            subject, action, camera = name.rsplit("/", 2)
            np.testing.assert_array_equal(element["poses_world_m"], positions[subject][action])
            np.testing.assert_array_equal(
                element["keypoints"], keypoints[subject][action][["C1", "C2", "C3"].index(camera)]
            )
            np.testing.assert_array_equal(element["scores"], np.ones(element["keypoints"].shape[:2]))
            assert (element["subject"].decode(), element["action"].decode()) == (subject[-2:], action.split(" ")[0])
            assert element["fps"] == 60 and tuple(element["frame_size"]) == (480, 640)


def test_what_is_left_out_is_told(built):
    left_out = ["Train/S2/Box 1 chunk0/C3 without keypoints"]
    left_out += ["Unlabeled/S4 without poses", "Unlabeled/Train/S1 without poses"]
    assert sorted(built["detectron_pt_coco"].info.metadata["left_out"]) == left_out
    assert list(built["gt"].info.metadata["left_out"]) == []


def test_the_metadata_have_both_skeletons(built):
    for config, skeleton in {"gt": HUMANEVA, "detectron_pt_coco": COCO}.items():
        assert Skeleton(**built[config].info.metadata["skeleton"]) == skeleton
        assert Skeleton(**built[config].info.metadata["pose_skeleton"]) == HUMANEVA


def test_the_skeleton_is_that_of_videopose3d():
    parents = [-1, 0, 1, 2, 3, 1, 5, 6, 0, 8, 9, 0, 11, 12, 1]
    assert set(HUMANEVA.edges) == {(parent, child) for child, parent in enumerate(parents) if child}
    left, right = [2, 3, 4, 8, 9, 10], [5, 6, 7, 11, 12, 13]
    assert set(HUMANEVA.flip_pairs) == set(zip(left, right, strict=True))


def test_files_must_be_there(folder, tmp_path):
    (folder / humaneva.PROJECTED).unlink()
    (folder / DETECTRON).unlink()
    with pytest.raises(FileNotFoundError, match=f"There is no {humaneva.PROJECTED} nor {DETECTRON} in .*README.md"):
        build(tmp_path / "built", "detectron_pt_coco", folder)


# ---------------------------------------------------------------------------------------------------- lenses
def test_the_lenses_are_found(built):
    for config in built.values():
        for element in elements(config, "train", "validation").values():
            for key, value in LENS.items():
                np.testing.assert_allclose(element["camera"][key], value, atol=LENS_ERROR[key])
        assert set(config.info.metadata["lens_miss_px"]) == {f"S{s}/C{c}" for s in (1, 2, 3) for c in (1, 2, 3)}
        assert max(config.info.metadata["lens_miss_px"].values()) < 1e-3


def test_a_lens_is_found_from_noisy_points_too():
    random = np.random.default_rng(0)
    rays = random.uniform(-0.4, 0.4, (5000, 2))
    numbers = np.array([1150, 1140, 510, 490, -0.2, 0.2, 0.001, -0.002])
    lens, miss_px = humaneva.fit_lens("C1", rays, humaneva._bent(numbers, rays) + random.normal(0, 1, (5000, 2)))
    np.testing.assert_allclose(np.concatenate([lens["focal_px"], lens["center_px"]]), numbers[:4], atol=1)
    np.testing.assert_allclose(lens["radial"], [-0.2, 0.2, 0], atol=0.03)
    np.testing.assert_allclose(lens["tangential"], numbers[6:], atol=5e-4)
    assert miss_px == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_lens_that_cannot_be_found_is_asked_for():
    rays = np.random.default_rng(0).uniform(-0.4, 0.4, (100, 2))
    with pytest.raises(
        ValueError, match="S1/C1: data_2d_.* must show the lens by .* at least two poses, it has 20 joints"
    ):
        humaneva.fit_lens("S1/C1", rays[:20], rays[:20])
    with pytest.raises(ValueError, match="S1/C1: no lens makes the keypoints .*; give a cameras.json with all"):
        humaneva.fit_lens("S1/C1", rays, -500 * rays)


def test_lenses_in_a_file_are_taken_as_they_are(folder, tmp_path):
    camera = {"orientation": [0.5, -0.5, 0.5, -0.5], "translation": [-4, 0, 1], "f": [1000, 1000], "c": [320, 240]}
    camera |= {"k": [0, 0, 0], "p_videopose3d": [0, 0], "w": 640, "h": 480}
    cameras = [camera | {"camera": name} for name in ("C1", "C2", "C3")]
    (folder / "cameras.json").write_text(json.dumps({"cameras": cameras}))
    found, metadata = handed(tmp_path / "built", "gt", "validation", folder)
    assert found and dict(metadata["lens_miss_px"]) == {}
    for element in found.values():
        np.testing.assert_array_equal(element["camera"]["focal_px"], [1000, 1000])
        np.testing.assert_array_equal(element["camera"]["translation_m"], [-4, 0, 1])


def test_a_subject_must_have_cameras(folder, tmp_path):
    path = folder / "humaneva_dataset.py"
    path.write_text(path.read_text().replace('"S2"', '"S5"').replace("'S2'", "'S5'"))
    with pytest.raises(ValueError, match="The cameras of S2 must be known, only those of S1, S3 are; add them"):
        build(tmp_path / "built", "gt", folder)
