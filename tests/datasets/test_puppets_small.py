"""The small configs of the puppets: they hold a part of what the large ones do, and trainings take them alike."""

import importlib
import pathlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose import training

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
puppets = importlib.import_module("puppets.puppets_dataset_builder")
groups, stills, videos = (importlib.import_module(f"puppets.{name}") for name in ("groups", "stills", "videos"))

FEW = {
    "PERFORMERS": {"train": range(0, 6), "validation": range(6, 8), "test": range(8, 10)},
    "SMALL_ACTIONS": ("punch", "clap"),
    "SMALL_CLIPS": {"train": 3, "validation": 1, "test": 2},
    "SMALL_VIDEOS": {"train": 1, "validation": 1, "test": 1},
    "SMALL_TRACKS": {"train": 2, "validation": 1, "test": 1},
    "SMALL_IMAGES": {"train": (3, 2), "validation": (1, 1), "test": (2, 1)},
    "SMALL_GROUPS": {"train": (2, 2), "validation": (1, 1), "test": (1, 1)},
}
COUNTS = {
    "small_clips": {"train": 6, "validation": 2, "test": 4},
    "small_videos": {"train": 2, "validation": 2, "test": 2},
    "small_tracks": {"train": 8, "validation": 4, "test": 4},
    "small_images": {"train": 6, "validation": 1, "test": 2},
    "small_groups": {"train": 4, "validation": 1, "test": 1},
}


def test_how_many_there_are():
    clips = {split: 5 * len(puppets.PERFORMERS[split][:count]) for split, count in puppets.SMALL_CLIPS.items()}
    assert clips == {"train": 320, "validation": 80, "test": 160}
    assert {split: 5 * count for split, count in puppets.SMALL_VIDEOS.items()} == {
        "train": 80,
        "validation": 10,
        "test": 30,
    }
    tracks = {split: 4 * count for split, count in puppets.SMALL_TRACKS.items()}
    assert tracks == {"train": 96, "validation": 16, "test": 32}
    of_images, of_groups = (
        {split: people * count for split, (people, count) in counts.items()}
        for counts in (puppets.SMALL_IMAGES, puppets.SMALL_GROUPS)
    )
    assert of_images == {"train": 400, "validation": 40, "test": 80}
    assert of_groups == {"train": 160, "validation": 16, "test": 32}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The four, of few performers and two actions, made in this process; the code that is at hand reads them, too."""
    folder = tmp_path_factory.mktemp("puppets")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FEW.items():
            patch.setattr(puppets, name, value)
        patch.setattr(puppets, "in_processes", lambda make, arguments, chunksize=1: map(make, arguments))
        patch.setattr(videos, "SKIPPED", 10)
        for config in COUNTS:
            puppets.Builder(data_dir=folder, config=config).download_and_prepare()
        yield folder


@pytest.mark.parametrize("config", COUNTS)
def test_they_are_a_part_of_the_large_ones(built, config):
    builder = tfds.builder(f"puppets/{config}", data_dir=built)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == COUNTS[config]
    names = {
        split: {one["name"].decode() for one in tfds.as_numpy(builder.as_dataset(split=split))}
        for split in COUNTS[config]
    }
    performers = {split: {int(name[9:12]) for name in of_split} for split, of_split in names.items()}
    for split, numbers in performers.items():
        assert numbers == set(FEW["PERFORMERS"][split][: len(numbers)])  # the first of them
    large = puppets.Builder(data_dir=built, config=config.removeprefix("small_"))
    assert set(large.info.features) == set(builder.info.features)


def test_bystanders_are_of_the_whole_split(built):
    records = tfds.builder("puppets/small_images", data_dir=built).as_dataset(split="train")
    for record in tfds.as_numpy(records):
        number, index = record["name"].decode().removeprefix("performer").removesuffix(".jpg").split("_")
        still = stills.make_still(puppets.SEED, int(number), int(index), FEW["PERFORMERS"]["train"])
        expected = np.stack([person["keypoints"] for person in still["people"]])
        np.testing.assert_allclose(record["people"]["keypoints"], expected, rtol=1e-6)


def test_labels_are_those_of_the_few_actions(built):
    builder = tfds.builder("puppets/small_clips", data_dir=built)
    label = builder.info.features["label"]
    assert label.names == ["clap", "punch"]  # in the order of all actions
    for clip in tfds.as_numpy(builder.as_dataset(split="test")):
        assert label.int2str(int(clip["label"])) == clip["name"].decode().split("_")[1]


@pytest.mark.parametrize(
    "kind, dataset",
    [
        (training.TopDown, "small_images"),
        (training.Lifter, "small_tracks"),
        (training.OpenPose, "small_groups"),
        (training.RGBPose, "small_videos"),
        (training.StarTransformer, "small_videos"),
    ],
)
def test_trainings_have_the_recipe_of_the_large_ones(kind, dataset):
    training_of = kind.__new__(kind)
    training_of._choose(None, {"dataset": f"puppets/{dataset}"})
    assert training_of.config["recipe"] == "small"
    large = kind.__new__(kind)
    large._choose(None, {"dataset": f"puppets/{dataset.removeprefix('small_')}"})
    assert large.config == training_of.config | {"dataset": large.config["dataset"]}
