"""The splits of a run: found, checked, without what is left out; and which class each becomes in a mirror."""

import re
import types

import numpy as np
import pytest
import tensorflow as tf

from kerapose import presets, skeletons
from kerapose.data import prepared
from kerapose.training import data

SPLITS = {"train": ["a", "b", "c"], "validation": ["d", "e"], "test": ["a", "f"]}
CONFIG = {"dataset": "mice", "data_dir": "tfds", "skip": []} | {f"{role}_split": role for role in SPLITS}
MOUSE = skeletons.Skeleton("mouse", ("snout", "tail"), ())


def named(split):
    return tf.data.Dataset.from_tensor_slices({"name": SPLITS[split], "label": np.arange(len(SPLITS[split])) % 2})


def names_of(elements):
    return [element["name"].decode() for element in elements.as_numpy_iterator()]


@pytest.fixture(autouse=True)
def looked_up(monkeypatch):
    """The data sets that are looked up; all are there."""
    asked = []

    def find(*place):
        asked.append(place)
        return types.SimpleNamespace(as_dataset=lambda split, shuffle_files: named(split))

    monkeypatch.setattr(prepared, "find", find)
    return asked


# ---------------------------------------- what is left out
def test_names_to_skip_are_those_that_a_split_has(looked_up):
    assert data.names_to_skip(CONFIG, "train") == [] and not looked_up
    config = CONFIG | {"skip": ["f", "c", "a", "nobody"]}
    assert [data.names_to_skip(config, role) for role in SPLITS] == [["a", "c"], [], ["a", "f"]]
    assert looked_up == [("mice", role, "tfds") for role in SPLITS]


def test_what_no_split_has_is_refused():
    data.refuse_strangers(CONFIG, [])
    data.refuse_strangers(CONFIG | {"skip": ["a"]}, ["a", "b", "a"])
    with pytest.raises(ValueError, match="^skip names samples of mice, 'm' is in none of its splits; correct the name"):
        data.refuse_strangers(CONFIG | {"skip": ["z", "m", "a"]}, {"a"})


# ---------------------------------------- splits
class Actions:
    """A pipeline of actions, such as `data.clips`, that notes what is checked."""

    def __init__(self, metadata="coco"):
        self.checked = []
        self.info = types.SimpleNamespace(
            features={"label": types.SimpleNamespace(names=["run", "rest"])}, metadata={"skeleton": metadata}
        )

    def from_tfds(self, name, split, data_dir):
        assert (name, data_dir) == ("mice", "tfds")
        return named(split), self.info

    def check(self, elements, skeleton, num_classes):
        self.checked.append((names_of(elements), skeleton, num_classes))
        return len(self.checked[-1][0])


@pytest.fixture
def clips(monkeypatch):
    """The functions of `data.clips` on samples of nothing but names."""

    def skip(elements, names):
        return elements.filter(lambda element: tf.reduce_all(element["name"] != list(names)))

    monkeypatch.setattr(data.clips, "skip", skip)
    monkeypatch.setattr(data.clips, "trainable", lambda elements: elements.filter(lambda e: e["name"] != b"b"))
    converted = []
    monkeypatch.setattr(data.clips, "convert", lambda elements, *sets: (converted.append(sets), elements)[1])
    return converted


def test_clips_are_read_checked_and_left_out(clips):
    pipeline = Actions()
    splits, skeleton, class_names = data.load_clips(CONFIG | {"skip": ["a", "d"]}, pipeline)
    assert {role: names_of(elements) for role, elements in splits.items()} == {
        "train": ["c"],  # what can be learnt from
        "validation": ["e"],
        "test": ["f"],
    }
    assert skeleton is skeletons.COCO and class_names == ["run", "rest"] and not clips
    expected = [["b", "c"], ["e"], ["f"]]
    assert pipeline.checked == [(names, skeletons.COCO, 2) for names in expected]
    with pytest.raises(ValueError, match="skip names samples of mice, 'z' is in none"):
        data.load_clips(CONFIG | {"skip": ["a", "z"]}, Actions())


def test_clips_may_be_mapped_and_left_unchecked_and_need_no_validation(clips):
    pipeline = Actions()
    config = CONFIG | {"dataset_skeleton": "coco", "check": False, "validation_split": ""}
    splits, skeleton, _ = data.load_clips(config, pipeline, skeletons.JHMDB)
    assert skeleton is skeletons.JHMDB and splits["validation"] is None and not pipeline.checked
    assert clips == [(skeletons.COCO, skeletons.JHMDB)] * 2


def test_a_data_set_that_does_not_say_its_keypoints_is_told_them(clips, monkeypatch):
    pipeline, before = Actions(), Actions.from_tfds

    def untold(*given):
        elements, info = before(pipeline, *given)
        info.metadata = {"skeleton": None}
        return elements, info

    monkeypatch.setattr(pipeline, "from_tfds", untold)
    with pytest.raises(ValueError, match="mice must say which keypoints it has, which it does not; give skeleton"):
        data.load_clips(CONFIG, pipeline)
    assert data.load_clips(CONFIG, pipeline, skeletons.MPII)[1] is skeletons.MPII


class Images:
    """A pipeline of images, such as `data.crops`, that notes what is checked."""

    def __init__(self):
        self.checked = []

    def from_tfds(self, name, split, data_dir):
        assert (name, data_dir) == ("mice", "tfds")
        return named(split), MOUSE

    def annotations(self, elements, skeleton):
        return {"name": names_of(elements)}

    def skip(self, elements, names):
        return elements.filter(lambda element: tf.reduce_all(element["name"] != list(names)))

    def check(self, elements, skeleton):
        self.checked.append((names_of(elements), skeleton))
        return len(self.checked[-1][0])

    def trainable(self, elements, skeleton):
        assert skeleton is MOUSE
        return elements.filter(lambda element: element["name"] != b"b")


def test_images_are_read_checked_and_left_out():
    pipeline = Images()
    splits, skeleton = data.load_images(CONFIG | {"skip": ["a", "d"], "check": True}, pipeline)
    found = {role: names_of(elements) for role, elements in splits.items()}
    assert found == {"train": ["c"], "validation": ["e"], "test": ["f"]} and skeleton is MOUSE
    assert pipeline.checked == [(names, MOUSE) for names in (["b", "c"], ["e"], ["f"])]
    with pytest.raises(ValueError, match="skip names samples of mice, 'z' is in none"):
        data.load_images(CONFIG | {"skip": ["a", "z"], "check": False}, Images())
    pipeline = Images()
    assert data.load_images(CONFIG | {"check": False, "validation_split": ""}, pipeline)[0]["validation"] is None
    assert not pipeline.checked


@pytest.mark.parametrize("pipeline", [Actions, Images])
@pytest.mark.parametrize("role", SPLITS)
def test_of_a_validation_that_is_not_there_it_is_told_how_to_do_without(clips, monkeypatch, pipeline, role):
    before = pipeline.from_tfds

    def from_tfds(self, name, split, data_dir):
        if split == "none":
            raise prepared.NoSplitError(f"{name} has the splits train, test, got {split!r}")
        return before(self, name, split, data_dir)

    monkeypatch.setattr(pipeline, "from_tfds", from_tfds)
    remedy = "give one of them, or validation_split='' (--validation_split=) for none"
    expected = f"mice has the splits train, test, got 'none'; {remedy if role == 'validation' else 'use one of them'}."
    load = data.load_clips if pipeline is Actions else data.load_images
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        load(CONFIG | {"check": False, f"{role}_split": "none"}, pipeline())


# ---------------------------------------- mirrors
def flips(**changes):
    return {"flip_pairs": None, "flip_probability": 0.5, "flip_test": False} | changes


def test_a_test_alone_reads_no_other_split(clips):
    splits, _, names = data.load_clips(CONFIG | {"roles": ["test"]}, Actions())
    assert set(splits) == {"test", "validation"} and splits["validation"] is None
    assert names_of(splits["test"]) == ["a", "f"] and list(names)
    splits, _ = data.load_images(CONFIG | {"roles": ["test"], "check": True}, Images())
    assert set(splits) == {"test", "validation"} and names_of(splits["test"]) == ["a", "f"]


def test_a_preset_of_other_classes_is_refused():
    preset = presets.get("slowonly_ntu60_xsub_joint")
    data.refuse_other_classes(preset, ["a"] * 60)
    with pytest.raises(ValueError, match="that slowonly_ntu60_xsub_joint knows, got 3 and 60; use NTU RGB.D, which"):
        data.refuse_other_classes(preset, ["a", "b", "c"])


def test_labels_in_a_mirror_are_those_of_the_options(caplog):
    names = ["Wave Left", "serve", "Wave Right", "return", "kick left"]
    assert data.flip_labels(names, flips()) == [2, 1, 0, 3, 4]
    assert data.flip_labels(names, flips(flip_probability=0.0, flip_test=True)) == [2, 1, 0, 3, 4]
    assert len(caplog.records) == 2  # kick left has no image
    assert data.flip_labels(names, flips(flip_probability=0.0)) is None
    assert data.flip_labels(names, flips(flip_pairs=["serve:return"])) == [0, 3, 2, 1, 4]
    assert data.flip_labels(names, flips(flip_pairs=[])) == [0, 1, 2, 3, 4]
    assert len(caplog.records) == 2
    with pytest.raises(ValueError, match="there is no class 'smash'; choose from Wave Left, serve"):
        data.flip_labels(names, flips(flip_pairs=["serve:smash"]))
    for pair in ("serve", "a:b:c"):
        with pytest.raises(ValueError, match=f"^flip_pairs must be pairs like wave_left:wave_right, got '{pair}'"):
            data.flip_labels(names, flips(flip_pairs=[pair]))
