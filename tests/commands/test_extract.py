"""The command that makes a data set of clips out of videos: what it passes on, what it refuses, how it ends."""

import argparse
import json
import pickle

import keras
import numpy as np
import pytest

from kerapose import commands, models, predictors
from kerapose.commands import extract, networks
from kerapose.data import frames, labels, pickles, pyskl
from kerapose.pipeline import extraction
from kerapose.skeletons import COCO, OPENPOSE


def parsed(*words):
    parser = argparse.ArgumentParser()
    extract.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


class Somebody:
    """In place of a predictor: a person in each picture, at the height of its brightness."""

    skeleton = COCO

    def __call__(self, image):
        keypoints = (np.arange(34.0).reshape(17, 2) + image.mean() / 10).astype("float32")
        return [predictors.Pose(keypoints, np.full(17, 0.9, "float32"), COCO.keypoints, np.array([0, 0, 40, 40.0]))]


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    for number, place in enumerate(("clap/1.mp4", "clap/2.mp4", "swing/3.mp4", "swing/4.mp4")):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(frames.encode(np.full((3, 48, 64, 3), 60 + 30 * number, "uint8"), fps=10))
    return folder


@pytest.fixture
def somebody(monkeypatch):
    monkeypatch.setattr(networks, "make_predictor", lambda arguments: Somebody())


def written(output):
    return pyskl.read_annotations(output / "annotations.pkl")


# ---------------------------------------- what it does
def test_labels_splits_and_classes_of_files(videos, somebody, tmp_path, capsys):
    table = tmp_path / "labels.csv"
    table.write_text("video;label;subject\n1;wave;S1\n2.mp4;wave;S2\nswing/3;hop;S1\n4;hop;S3\n", "utf-8-sig")
    (tmp_path / "classes.txt").write_text("wave\nsit\nhop\n")
    options = "--class_names", tmp_path / "classes.txt", "--test_subjects", "S2, S3", "--max_people", 1
    words = "extract", videos, "--labels", table, "--model", "none", "--output", tmp_path / "out", *options
    commands.main(words)
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out" / name) for name in ("annotations.pkl", "classes.txt", "report.json")
    ]
    annotations = written(tmp_path / "out")
    assert annotations.splits == {"train": ["clap/1", "swing/3"], "test": ["clap/2", "swing/4"]}
    assert [clip["label"] for clip in annotations.clips.values()] == [0, 0, 2, 2]
    assert labels.read_class_names(tmp_path / "out" / "classes.txt") == ["wave", "sit", "hop"]


def test_labels_are_folders_without_a_file_and_a_share_is_for_the_test(videos, somebody, tmp_path):
    done = extract.extract(parsed(videos, "--model=x", "--output", tmp_path / "out", "--test_share=0.5"))
    annotations = written(tmp_path / "out")
    assert {name: len(clips) for name, clips in annotations.splits.items()} == {"train": 2, "test": 2}
    assert (tmp_path / "out" / "classes.txt").read_text() == "clap\nswing\n" and not done.failures


def test_options_reach_the_pipeline(videos, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(networks, "make_predictor", lambda arguments: seen.append(arguments) or Somebody())
    arguments = parsed(videos, "--model=x", "--height=99", "--skeleton=coco", "--min_score=0.95", "--raw")
    pipeline = extract.make_pipeline(extract._found_by(arguments))
    assert (pipeline.min_score, pipeline.smooth, pipeline.lifter) == (0.95, False, None)
    assert (seen[0].height, seen[0].skeleton, seen[0].model) == (99, "coco", "x")
    pickle.dumps(extract._found_by(arguments))  # goes to other processes


def test_a_network_of_its_own_finds_people(videos, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    network = models.LightweightOpenPose(19, 38, num_refinements=0, filters=8, trunk_width=0.125, head_filters=8)
    for weight in network.trainable_weights:  # a fresh network gives maps without peaks
        if weight.path.endswith("kernel"):
            weight.assign(1.5 * weight)
    network.save(tmp_path / "network.keras")
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3)).astype("uint8")
    (videos / "clap" / "1.mp4").write_bytes(frames.encode(noise, fps=10))
    monkeypatch.chdir(tmp_path)
    words = "videos", "--model=network.keras", "--skeleton=openpose", "--height=64", "--output=out"
    done = extract.extract(parsed(*words))
    clips = pickles.load_pickle(done.written[0])["annotations"]  # an untrained network's scores are beyond 0..1
    assert not done.failures and [clip["keypoint"].shape[1:] for clip in clips] == [
        (count, OPENPOSE.num_keypoints, 2) for count in (2, 3, 3, 3)
    ]
    made = json.loads((tmp_path / "out" / "report.json").read_text())["made_with"]
    assert made["model"].startswith("network.keras ") and made["height"] == 64 and made["skeleton"] == "openpose"
    with pytest.raises(ValueError, match="the same model and options, got .* with another height"):
        extract.extract(parsed(*words, "--height=32"))
    (tmp_path / "network.keras").write_bytes((tmp_path / "network.keras").read_bytes() + b"0")
    with pytest.raises(ValueError, match="the same model and options, got .* with another model"):
        extract.extract(parsed(*words))


# ---------------------------------------- how it ends
def test_bad_videos_are_named_at_the_end(videos, somebody, tmp_path, capsys):
    (videos / "clap" / "bad.mp4").write_text("no video")
    with pytest.raises(SystemExit) as end:
        commands.main(["extract", videos, "--model=x", "--output", tmp_path / "out"])
    told = capsys.readouterr()
    assert end.value.code == 1 and str(tmp_path / "out" / "annotations.pkl") in told.out
    assert "1 of 5 videos cannot be read" in told.err and "\n  clap/bad: A video must be a file" in told.err
    assert len(written(tmp_path / "out").clips) == 4


def test_ctrl_c_says_how_to_go_on(videos, tmp_path, monkeypatch, capsys):
    calls = []

    class Interrupted(Somebody):
        def __call__(self, image):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return super().__call__(image)

    monkeypatch.setattr(networks, "make_predictor", lambda arguments: Interrupted())
    with pytest.raises(SystemExit) as end:
        commands.main(["extract", videos, "--model=x", "--output", tmp_path / "out"])
    assert end.value.code == 130 and "the same command goes on" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").rglob("*.json")] == ["1.json"]
    commands.main(["extract", videos, "--model=x", "--output", tmp_path / "out"])
    assert len(calls) == 5 + 9 and len(written(tmp_path / "out").clips) == 4


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--max_people=0"], "--max_people must be at least 1, got 0"),
        (["--workers=-1"], "--workers must be at least 0, got -1"),
        (["--ray_address=auto"], "--ray_address is for --workers, got it without"),
        (["--actors_per_gpu=2"], "--actors_per_gpu is for --workers"),
        (["--labels=none.csv"], "there is no none.csv"),
        (["--test_share=2"], "test_share must lie between 0 and 1"),
        (["--class_names=none.txt"], "none.txt must have one class name a line"),
    ],
)
def test_words_that_are_refused(videos, somebody, tmp_path, words, match, capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(["extract", videos, "--model=x", "--output", tmp_path / "out", *words])
    assert end.value.code == 2 and match in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_workers_are_an_engine(videos, monkeypatch):
    given = []
    monkeypatch.setattr(extraction, "extract", lambda *arguments: given.append(arguments))
    extract.extract(parsed(videos, "--model=x", "--workers=3", "--ray_address=auto", "--actors_per_gpu=2"))
    engine = given[0][-1]
    assert (engine.workers, engine.ray_address, engine.actors_per_gpu) == (3, "auto", 2)
