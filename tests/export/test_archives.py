"""What all exports do alike: nothing that is there is lost, unless the caller says so."""

import contextlib
import inspect
import pathlib
import types

import keras
import numpy as np
import pytest

from kerapose import estimators, export, models, skeletons
from kerapose.export import archives, serving


class WrittenError(Exception):
    """Raised in place of writing."""


def network():
    return keras.Sequential([keras.Input((8, 16, 3)), keras.layers.Conv2D(3, 1)])


def stream():
    return estimators.StreamingLifter(
        models.TemporalLifter(filter_widths=(3,), channels=8, causal=True), skeletons.H36M
    )


def known(**options):
    """What an export asks an estimator about before it writes."""
    bird = types.SimpleNamespace(num_keypoints=3, keypoints=("a", "b", "c"))
    return types.SimpleNamespace(
        skeleton=bird, image_size=(8, 16), height=8, from_crops=lambda *inputs: inputs, **options
    )


GIVEN = {  # what is exported, and how the file is called
    "lifter_saved_model": (known, "1"),
    "litert": (network, "1.tflite"),
    "onnx": (network, "1.onnx"),
    "people_saved_model": (known, "1"),
    "pose_saved_model": (known, "1"),
    "saved_model": (known, "1"),
    "streaming_litert": (stream, "1.tflite"),
    "streaming_saved_model": (stream, "1"),
    "video_saved_model": (known, "1"),
}


@pytest.mark.parametrize("name", export.__all__)
def test_every_export_overwrites_only_where_it_is_told_to(name, monkeypatch, tmp_path):
    told, write = [], getattr(export, name)

    @contextlib.contextmanager
    def whole(path, overwrite):
        told.append((path, overwrite))
        raise WrittenError
        yield

    make, file = GIVEN[name]
    module = inspect.getmodule(write)
    for place in (module, serving):
        monkeypatch.setattr(place, "whole", whole, raising=False)
    if name == "onnx":
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda package: package)
    for options in ({}, {"overwrite": True}, {"overwrite": False}):
        with pytest.raises(WrittenError):
            write(make(), tmp_path / file, **options)
    assert told == [(tmp_path / file, overwrite) for overwrite in (False, True, False)]


def test_a_path_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "1.txt"
    with contextlib.suppress(WrittenError), archives.whole(path, False) as part:
        part.write_text("half")
        raise WrittenError
    assert not list(path.parent.iterdir())
    for text in ("first", "second"):
        with archives.whole(str(path), text == "second") as part:
            assert part.name == path.name and not part.exists()
            part.write_text(text)
        assert path.read_text() == text and list(path.parent.iterdir()) == [path]
    with pytest.raises(FileExistsError, match="give another path, or overwrite=True"), archives.whole(path, False):
        pass
    assert path.read_text() == "second"


def test_a_folder_that_is_replaced_has_nothing_of_the_old_one(tmp_path):
    path = tmp_path / "1"
    for name in ("old", "new"):
        with archives.whole(path, name == "new") as part:
            part.mkdir()
            for file in ("saved_model.pb", name):
                (part / file).write_text(name)
    assert {one.name: one.read_text() for one in path.iterdir()} == {"saved_model.pb": "new", "new": "new"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_signature_answers_where_none_is_named(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(archives.tf.saved_model, "save", lambda module, folder, signatures: saved.append(signatures))
    spec = [archives.tf.TensorSpec((2,), name="x")]
    own = {"step": (lambda x: {"y": x}, spec), "other": (lambda x: {"z": 2 * x}, spec)}
    archives.write_signatures(tmp_path, own)
    archives.write_signatures(tmp_path, own | {"serving_default": (lambda x: {"w": x}, spec)})
    assert [list(one["serving_default"].structured_outputs) for one in saved] == [["y"], ["w"]]
    assert set(saved[0]) == {"step", "other", "serving_default"}


def test_the_first_false_is_named():
    for flags, first in (([True, False, False], 1), ([False, True], 0), ([True, True], 0)):
        assert int(archives.first_false(archives.tf.constant(flags))) == first
    assert int(archives.first_false_or_zero(np.array([], bool))) == 0
    assert int(archives.first_false_or_zero(np.array([True, False]))) == 1


@pytest.mark.parametrize("path", ["a.onnx", pathlib.Path("a.tflite.txt"), "tflite"])
def test_another_ending_is_refused(path):
    archives.check_ending("a.tflite", ".tflite")
    with pytest.raises(ValueError, match="The file must end in .tflite, got .*; rename it"):
        archives.check_ending(path, ".tflite")
