"""build.py: from the command line to tfds.load, and what it does when it is stopped or misused."""

import functools
import importlib.util
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags

from kerapose.skeletons import Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "datasets" / "build.py"
JHMDB, PYSKL = (ROOT / "datasets" / name / "dummy_data" for name in ("jhmdb", "pyskl_clips"))
spec = importlib.util.spec_from_file_location("datasets_build", BUILD)
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

# Has a process run build.py with the arguments up to "--", and another one build jhmdb likewise, which is killed when
# it has made one clip; then reads jhmdb in each folder, with nothing of this repository at hand. It parts from itself
# before TensorFlow has done anything.
READER = f"""
import importlib.util, os, runpy, signal, sys
import tensorflow
import tensorflow_datasets as tfds
assert not any(map(importlib.util.find_spec, ("jhmdb", "build")))
between = sys.argv.index("--")
arguments, folders = sys.argv[1:between], sys.argv[between + 1:]

def killed_after_one_clip():
    import build
    builder = build.builder_class("jhmdb")
    made = builder._generate_examples
    def one_clip_only(self, arrays, split):
        yield next(made(self, arrays, split))
        os.kill(os.getpid(), signal.SIGKILL)
    builder._generate_examples = one_clip_only
    build.run("jhmdb", data_dir=folders[1], manual_dir={str(JHMDB)!r})

def script():
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")

for work in (script, killed_after_one_clip):
    process = os.fork()
    if not process:
        sys.path.insert(0, {str(BUILD.parent)!r})  # as of a script there
        work()
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
for folder in folders:
    try:
        clips = {{split: len(list(ds)) for split, ds in tfds.load("jhmdb", data_dir=folder).items()}}
        print(sorted(clips.items()), tfds.load("jhmdb", split="test1", data_dir=folder).element_spec["keypoints"].shape)
    except tfds.core.DatasetNotFoundError:
        print("not found")
"""


def run_python(*arguments, cwd, **environment):
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_builds_from_the_command_line_and_leaves_nothing_readable_when_killed(tmp_path):
    complete, incomplete = tmp_path / "complete", tmp_path / "incomplete"
    # Without --data_dir the data set goes where TFDS keeps its own.
    script = (BUILD, "jhmdb", f"--manual_dir={JHMDB}")
    done = run_python("-c", READER, *script, "--", complete, incomplete, cwd=tmp_path, TFDS_DATA_DIR=str(complete))
    assert f"jhmdb is prepared: {complete / 'jhmdb' / '1.0.0'}\n  train1: 3\n  test1: 1\n  train2: 2\n" in done.stdout
    assert 'Read it with tfds.load("jhmdb", split="train1").' in done.stdout
    counts = [("test1", 1), ("test2", 2), ("test3", 1), ("train1", 3), ("train2", 2), ("train3", 3)]
    said = [line for line in done.stdout.splitlines() if line[:1] in ("-", "0", "[", "n")]
    assert said == ["0", "-9", f"{counts} (None, None, 15, 2)", "not found"], done.stderr
    assert list((incomplete / "jhmdb").iterdir())  # the killed one had begun to write

    build.run("jhmdb", incomplete, JHMDB)  # what the killed one left is no hindrance
    assert len(tfds.builder_from_directory(incomplete / "jhmdb" / "1.0.0").as_dataset(split="train1")) == 3


@pytest.fixture
def command_line(tmp_path, monkeypatch):
    """Runs build.py with arguments in this process, whose own flags stay as they are."""

    def run(*arguments):
        values = flags.FlagValues()
        for kind in ("string", "bool", "integer", "enum", "multi_string"):
            define = functools.partial(getattr(flags, f"DEFINE_{kind}"), flag_values=values)
            monkeypatch.setattr(build.flags, f"DEFINE_{kind}", define)
        monkeypatch.setattr(build.flags, "FLAGS", values)
        build.flags.DEFINE_integer("verbosity", 0, "Of absl; given, so that it stays as it is.")
        build.define_flags()
        build.main(values(["build.py", "--verbosity=0", *map(str, arguments)]))

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as monkeypatch:
        yield run


def test_the_command_line_says_in_a_sentence_what_is_missing(tmp_path, capsys, command_line):
    with pytest.raises(SystemExit) as stopped:
        command_line("jhmdb", f"--data_dir={tmp_path}")
    assert not capsys.readouterr().out
    manual = tmp_path / "downloads" / "manual"
    said = str(stopped.value.code)  # which Python writes to the standard error
    assert f"The manual folder {manual} is missing or empty. GT_train_1.pkl to GT_test_3.pkl belong in it" in said
    assert "https://github.com/fandulu/DD-Net" in said


def test_names_every_data_set_of_the_folder():
    assert {"jhmdb", "pyskl_clips"} <= set(build.available())
    assert all((BUILD.parent / name / f"{name}_dataset_builder.py").is_file() for name in build.available())


@pytest.mark.parametrize(
    "name, own_file, match",
    [
        ("jhmbd", {}, "There is no data set 'jhmbd'; there are .*jhmdb, .*pyskl_clips"),
        ("../datasets", {}, "There is no data set '..'"),
        ("jhmdb/small", {}, "There is no published jhmdb/small, there is jhmdb."),
        ("pyskl_clips/ntu61", {}, "There is no published pyskl_clips/ntu61, there is pyskl_clips/ntu60, .*give --file"),
        ("pyskl_clips/ntu60", {"file": "x.pkl", "num_classes": 3}, "must not be called ntu60"),
        ("pyskl_clips/custom", {"num_classes": 3}, "--num_classes goes with --file and pyskl_clips/custom"),
        ("pyskl_clips/ntu60", {"skip": ["c0"]}, "--skip goes with --file and pyskl_clips/custom"),
        ("coco_keypoints/2017", {"skip": ["1.jpg"]}, "--skip goes with --annotations and coco_keypoints/custom"),
        ("jhmdb", {"file": "x.pkl"}, "--file goes with --file and pyskl_clips/custom"),
        ("coco_keypoints/mice", {}, "no published coco_keypoints/mice, there is coco_keypoints/2017; .* --annotations"),
        ("coco_keypoints/mice", {"images": "."}, "--images goes with --annotations and coco_keypoints/custom"),
        ("coco_keypoints/2017", {"annotations": {"a": "b"}}, "must not be called 2017"),
        (
            "coco_keypoints/mice",
            {"annotations": {"a": "b"}, "file": "x"},
            "--file goes with --file and pyskl_clips/custom",
        ),
        ("puppets/images", {"annotations": {"a": "b"}}, "--annotations goes with --annotations and coco_keypoints/"),
    ],
)
def test_unknown_names_and_flags_are_refused(tmp_path, name, own_file, match):
    with pytest.raises(ValueError, match=match):
        build.run(name, tmp_path, PYSKL, **own_file)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no annotation file absent.pkl"):
        build.run("pyskl_clips/custom", tmp_path, file="absent.pkl", num_classes=3)
    with pytest.raises(FileNotFoundError, match=f"no hmdb51_hrnet.pkl or hmdb51_2d.pkl in {PYSKL}; download it from"):
        build.run("pyskl_clips/hmdb51", tmp_path, PYSKL)


def test_builds_a_file_of_ones_own(tmp_path, capsys):
    path = tmp_path / "my.pkl"
    clip = {"frame_dir": "a", "label": 1, "img_shape": (4, 6), "keypoint": np.full((1, 2, 18, 2), 3.0)}
    path.write_bytes(pickle.dumps([clip]))
    builder = build.run("pyskl_clips/custom", tmp_path, file=str(path), num_classes=2, skeleton="openpose")
    assert builder.info.splits["clips"].num_examples == 1
    assert (
        f"pyskl_clips/custom is prepared: {tmp_path}/pyskl_clips/custom/1.0.0\n  clips: 1\n" in capsys.readouterr().out
    )
    content = [clip, clip | {"frame_dir": "c0", "label": 1.5}]
    path.write_bytes(pickle.dumps(content))
    given = {"file": str(path), "num_classes": 2, "skip": ["c0"]}
    build.run("pyskl_clips/custom", tmp_path / "fewer", **given)
    assert "\n  clips: 1\n  left out: 1 (c0)\n" in capsys.readouterr().out


def test_the_report_tells_of_each_split_what_was_counted_in_it():
    """And where the data are, in the words that read them."""
    split = types.SimpleNamespace
    counts = {
        "train": {"people": 3, "corrupt_images_left_out": ["a.jpg"]},
        "test": {"people": 5},
        "mice": {"people": 9},
    }
    info = split(
        metadata={"counts": counts, "left_out": ["c0", "c1"]},
        splits={name: split(num_examples=count) for name, count in (("train", 7), ("test", 8), ("plain", 2))},
    )
    builder = split(name="mice", builder_config_name="own", data_dir="there/mice/own/1.0.0", info=info)
    assert build.report(builder, "there", "is prepared").split("\n") == [
        "mice/own is prepared: there/mice/own/1.0.0",
        "  train: 7 images, 3 people, 1 corrupt images left out (a.jpg)",
        "  test: 8 images, 5 people",
        "  plain: 2",
        "  left out: 2 (c0, c1)",
        'Read it with tfds.load("mice/own", split="train", data_dir="there").',
    ]
    builder.builder_config_name, info.metadata = None, None
    plain = build.report(builder, None, "is prepared").split("\n")
    assert plain[1:] == ["  train: 7", "  test: 8", "  plain: 2", 'Read it with tfds.load("mice", split="train").']


def mice(folder):
    """Two COCO keypoint files, a folder with their images, of which one is cut short."""
    category = {"id": 1, "name": "mouse", "keypoints": ["snout", "one", "other"]}
    mouse = {"category_id": 1, "keypoints": [1, 1, 2, 3, 1, 2, 3, 4, 1], "bbox": [0, 0, 6, 5], "area": 30}
    (folder / "images").mkdir()
    for number, split in enumerate(("train", "test")):
        images = [{"id": 2 * number + place, "file_name": f"{split}{place}.png"} for place in range(2)]
        people = [mouse | {"id": image["id"], "image_id": image["id"]} for image in images]
        content = {"images": images, "annotations": people, "categories": [category]}
        (folder / f"{split}.json").write_text(json.dumps(content))
        for image in images:
            picture = np.random.default_rng(image["id"]).integers(0, 256, (8, 9, 3), np.uint8)
            cv2.imwrite(str(folder / "images" / image["file_name"]), picture)
    path = folder / "images" / "test1.png"
    path.write_bytes(path.read_bytes()[:-50])


def test_builds_coco_files_of_ones_own_from_the_command_line(tmp_path, capsys, command_line):
    mice(tmp_path)
    given = ("--annotations=train:train.json,test:test.json", "--images=images", "--data_dir=data")
    given += ("--flip_pairs=one:other", "--sigmas=0.1,0.2,0.2")
    files = {split: str(tmp_path / f"{split}.json") for split in ("train", "test")}
    with pytest.raises(ValueError, match=r"test: Images are whole JPEG or PNG files, got 1 of 2 .*\(test1.png\)"):
        build.run("coco_keypoints/mice", tmp_path / "data", annotations=files, images=str(tmp_path / "images"))
    assert not list(tmp_path.glob("data/coco_keypoints/mice/1.0.0"))
    command_line("coco_keypoints/mice", *given, "--skip_corrupt")
    said = capsys.readouterr().out
    assert "  train: 2 images, 2 people\n" in said
    assert "  test: 1 images, 1 people, 1 corrupt images left out (test1.png)\n" in said
    builder = tfds.builder("coco_keypoints/mice", data_dir=tmp_path / "data")
    skeleton = Skeleton(**builder.info.metadata["skeleton"])
    assert skeleton.flip_pairs == ((1, 2),) and skeleton.sigmas == (0.1, 0.2, 0.2)
    assert [len(record["people"]["id"]) for record in tfds.as_numpy(builder.as_dataset(split="train"))] == [1, 1]


def test_flags_that_hold_several_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parsed = build.parse(
        annotations="train:a.json, test:/b:c.json",
        images="d",
        flip_pairs="x:y",
        sigmas="0.1,1",
        category="dog",
        file="z",
    )
    assert parsed == {
        "annotations": {"train": "a.json", "test": "/b:c.json"},
        "images": "d",
        "flip_pairs": [("x", "y")],
        "sigmas": [0.1, 1.0],
        "category": "dog",
        "file": "z",
    }
    assert build.parse(images="train:a,test:b")["images"] == {"train": "a", "test": "b"}
    (tmp_path / "odd:name").mkdir()
    assert build.parse(images="odd:name")["images"] == "odd:name"
    assert build.parse(flip_pairs="")["flip_pairs"] == []
    assert build.parse(category="dog, cat")["category"] == ["dog", "cat"]
    assert build.parse() == dict.fromkeys(("annotations", "images", "flip_pairs", "sigmas", "category"))


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"annotations": "a.json"}, "--annotations must be pairs like a:b,c:d, got 'a.json'"),
        ({"annotations": "train:"}, "--annotations must be pairs"),
        ({"annotations": ""}, "--annotations must be pairs"),
        ({"annotations": "train:a,train:b"}, r"must name each split once, got \['train', 'train'\]"),
        ({"flip_pairs": "a:b,c"}, "--flip_pairs must be pairs"),
        ({"sigmas": "0.1,much"}, "--sigmas must be numbers separated by commas, got '0.1,much'"),
    ],
)
def test_flags_that_do_not(flags, match):
    with pytest.raises(ValueError, match=match):
        build.parse(**flags)


def train_names(data_dir):
    builder = tfds.builder_from_directory(data_dir / "pyskl_clips" / "ntu60" / "1.0.0")
    return sorted(clip["name"].decode() for clip in tfds.as_numpy(builder.as_dataset(split="xsub_train")))


def test_what_is_there_stays_unless_it_is_to_be_overwritten(tmp_path, capsys):
    manual, data = tmp_path / "manual", tmp_path / "data"
    shutil.copytree(PYSKL, manual)
    build.run("pyskl_clips/ntu60", data, manual)
    names = train_names(data)
    path = manual / "ntu60_hrnet.pkl"
    content = pickle.loads(path.read_bytes())
    content["split"]["xsub_train"].pop()
    path.write_bytes(pickle.dumps(content))

    capsys.readouterr()
    build.run("pyskl_clips/ntu60", data, manual)
    assert "was there already and is left as it is (--overwrite builds it again)" in capsys.readouterr().out
    assert train_names(data) == names

    builder = build.run("pyskl_clips/ntu60", data, manual, overwrite=True)
    assert "is prepared anew" in capsys.readouterr().out
    assert train_names(data) == names[:1] == sorted(content["split"]["xsub_train"])
    assert builder.info.splits["xsub_train"].num_examples == 1
    assert sorted(folder.name for folder in data.iterdir()) == ["downloads", "pyskl_clips"]


def test_overwriting_keeps_the_old_one_when_the_new_one_fails(tmp_path):
    manual, data = tmp_path / "manual", tmp_path / "data"
    shutil.copytree(PYSKL, manual)
    build.run("pyskl_clips/ntu60", data, manual)
    names = train_names(data)
    path = manual / "ntu60_hrnet.pkl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut short"):
        build.run("pyskl_clips/ntu60", data, manual, overwrite=True)
    assert train_names(data) == names
    assert sorted(folder.name for folder in data.iterdir()) == ["downloads", "pyskl_clips"]


def test_overwriting_keeps_the_old_one_when_the_new_one_cannot_be_put_in_its_place(tmp_path, monkeypatch):
    old = tmp_path / "clips"
    old.mkdir()
    (old / "record").write_text("old")
    monkeypatch.setattr(build, "prepare", lambda *given: None)  # nothing is there to be renamed
    with pytest.raises(FileNotFoundError):
        build.rebuild(lambda folder: types.SimpleNamespace(data_dir=str(pathlib.Path(folder, "clips"))), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clips"] and (old / "record").read_text() == "old"
