"""PYSKL annotation files: every form and protocol, and every way in which one can be wrong."""

import _codecs
import os
import pathlib
import pickle

import numpy as np
import pytest

from kerapose import skeletons
from kerapose.data import pyskl


def annotation(name, label=0, people=1, frames=5, keypoints=17, seed=0, dtype=np.float16):
    rng = np.random.default_rng(seed)
    return {
        "frame_dir": name,
        "label": label,
        "img_shape": (240, 320),
        "original_shape": (240, 320),
        "total_frames": frames,
        "keypoint": rng.uniform(0, 240, (people, frames, keypoints, 2)).astype(dtype),
        "keypoint_score": rng.uniform(0, 1, (people, frames, keypoints)).astype(dtype),
    }


def content():
    annotations = [annotation("a", 0), annotation("b", 2, people=2, frames=7, seed=1), annotation("c", 1, seed=2)]
    return {"split": {"train": ["a", "b"], "val": ["c"]}, "annotations": annotations}


def save(folder, value, protocol=2, name="set.pkl"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def read_clip(folder, clip, **arguments):
    return pyskl.read_annotations(save(folder, [clip]), **arguments).clips[clip["frame_dir"]]


def refuse(folder, value, match, **arguments):
    with pytest.raises(pyskl.AnnotationError, match=match):
        pyskl.read_annotations(save(folder, value), **arguments)


def assert_same_clip(clip, expected):
    np.testing.assert_array_equal(clip["keypoints"], expected["keypoint"].astype(np.float32))
    np.testing.assert_array_equal(clip["scores"], expected["keypoint_score"].astype(np.float32))
    np.testing.assert_array_equal(clip["frame_size"], expected["img_shape"])
    assert (clip["name"], clip["label"]) == (expected["frame_dir"], expected["label"])


# ---------------------------------------------------------------------------------------------------- what is read
@pytest.mark.parametrize("protocol", range(6))
def test_reads_every_protocol(tmp_path, protocol):
    annotations = pyskl.read_annotations(save(tmp_path, content(), protocol), skeletons.COCO, num_classes=3)
    assert annotations.splits == {"train": ["a", "b"], "val": ["c"]}
    assert annotations.num_keypoints == 17
    assert list(annotations.clips) == ["a", "b", "c"]
    for expected in content()["annotations"]:
        assert_same_clip(annotations.clips[expected["frame_dir"]], expected)


def test_clip_has_the_dtypes_of_an_element(tmp_path):
    clip = read_clip(tmp_path, annotation("a"))
    assert set(clip) == {"keypoints", "scores", "frame_size", "label", "name"}
    assert [clip[key].dtype for key in ("keypoints", "scores", "frame_size")] == [np.float32, np.float32, np.int32]
    assert type(clip["label"]) is int


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("spelling", [b"numpy.core", b"numpy._core"])
def test_reads_what_either_numpy_wrote(tmp_path, protocol, spelling):
    clip = annotation("a", label=np.int64(3))
    written = pickle.dumps([clip], protocol)
    if protocol >= 4:  # without its frame, and with the lengths of the names put right
        written = written[:2] + written[11:]
        for module in (b"multiarray", b"numeric"):
            old, new = b"numpy._core." + module, spelling + b"." + module
            written = written.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
    else:
        written = written.replace(b"numpy._core", spelling)
    assert spelling in written
    path = tmp_path / "set.pkl"
    path.write_bytes(written)
    assert_same_clip(pyskl.read_annotations(path).clips["a"], clip)


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i2", ">u2"])
def test_reads_every_number_type(tmp_path, protocol, dtype):
    clip = annotation("a", people=2, dtype=np.float64)
    clip["keypoint"] = clip["keypoint"].round().astype(dtype)
    read = pyskl.read_annotations(save(tmp_path, [clip], protocol)).clips["a"]
    np.testing.assert_array_equal(read["keypoints"], clip["keypoint"].astype(np.float32))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_reads_arrays_whatever_their_order_in_memory(tmp_path, protocol):
    clip = annotation("a", people=3)
    expected = dict(clip)
    clip["keypoint"] = np.asfortranarray(clip["keypoint"])
    clip["keypoint_score"] = clip["keypoint_score"].transpose(2, 0, 1).copy().transpose(1, 2, 0)
    assert_same_clip(pyskl.read_annotations(save(tmp_path, [clip], protocol)).clips["a"], expected)


def test_reads_the_older_list(tmp_path):
    annotations = pyskl.read_annotations(save(tmp_path, content()["annotations"]))
    assert annotations.splits == {"clips": ["a", "b", "c"]}


def test_reads_lists_where_arrays_are_usual(tmp_path):
    clip = annotation("a")
    lists = clip | {key: clip[key].tolist() for key in ("keypoint", "keypoint_score")} | {"img_shape": [240, 320]}
    assert_same_clip(read_clip(tmp_path, lists), clip)


@pytest.mark.parametrize("missing", [(0, 0), (np.nan, np.nan), (7, np.inf)])
def test_scores_are_one_where_there_are_none_and_a_joint_is_not_missing(tmp_path, missing):
    clip = annotation("a", people=2)
    del clip["keypoint_score"]
    clip["keypoint"][0, 2, 9], clip["keypoint"][1] = missing, missing
    expected = np.ones((2, 5, 17))
    expected[0, 2, 9] = expected[1] = 0
    found = read_clip(tmp_path, clip)
    np.testing.assert_array_equal(found["scores"], expected)
    assert not found["keypoints"][expected == 0].any()


def test_every_reading_gives_arrays_of_its_own(tmp_path):
    clips = pyskl.read_annotations(save(tmp_path, content())).clips
    clips["a"]["keypoints"][:] = -1
    assert_same_clip(clips["a"], content()["annotations"][0])


def test_missing_joints_become_zero_and_are_counted(tmp_path, caplog):
    value = content()
    value["annotations"][0]["keypoint"][0, 2, 5] = np.nan, 7
    value["annotations"][0]["keypoint"][0, 3, 6] = 9, np.inf
    value["annotations"][1]["keypoint_score"][1, 4, 8] = np.nan
    value["annotations"][2] = annotation("c", dtype=np.float64)
    value["annotations"][2]["keypoint"][0, 1, 1] = 1e300  # no float32
    annotations = pyskl.read_annotations(save(tmp_path, value))
    assert [record.getMessage() for record in caplog.records] == [
        "set.pkl: A keypoint with a score has a finite score and place other than (0, 0), got 3 of 3 clips with "
        "keypoints that have none (a, b, c: 2 keypoints); these count as missing, score 0."
    ]
    for name, place in (("a", (0, 2, 5)), ("a", (0, 3, 6)), ("b", (1, 4, 8)), ("c", (0, 1, 1))):
        clip = annotations.clips[name]
        np.testing.assert_array_equal(clip["keypoints"][place], [0, 0])
        assert clip["scores"][place] == 0
        assert np.count_nonzero(clip["scores"]) == clip["scores"].size - (2 if name == "a" else 1)


def test_a_clip_without_people_is_kept(tmp_path, caplog):
    value = content()
    value["annotations"][1] = annotation("b", 2, people=0, frames=7)
    clip = pyskl.read_annotations(save(tmp_path, value)).clips["b"]
    assert clip["keypoints"].shape == (1, 7, 17, 2) and not clip["keypoints"].any() and not clip["scores"].any()
    assert "got 1 of 3 clips in which nobody is seen" in caplog.text


# ---------------------------------------------------------------------------------------------------- Kinetics' form
def compressed(name, people_per_frame, seed=0, **changes):
    rng = np.random.default_rng(seed)
    frame_inds = np.repeat(np.arange(len(people_per_frame)), people_per_frame).astype(np.int16)
    rows = rng.uniform(0.1, 1, (len(frame_inds), 17, 3)).astype(np.float16)
    rows[..., :2] *= 200
    entry = {"frame_dir": name, "label": 1, "img_shape": (240, 320), "total_frames": len(people_per_frame)}
    return entry | {"frame_inds": frame_inds, "keypoint": rows} | changes


def slowly_unpacked(entry):
    """The figures by a loop over skeletons: frames without anybody go, in a crowd the 10 highest scores stay."""
    frames = sorted(set(entry["frame_inds"].tolist()))
    people = [entry["keypoint"][entry["frame_inds"] == frame] for frame in frames]  # T arrays [people, K, 3]
    most = max(map(len, people))
    if most > 10:
        people = [sorted(rows, key=lambda row: -row[:, 2].astype(np.float32).sum())[:10] for rows in people]
    keypoints = np.zeros((min(most, 10), len(frames), 17, 2), np.float32)
    scores = np.zeros((min(most, 10), len(frames), 17), np.float32)
    for t, rows in enumerate(people):
        for m, row in enumerate(rows):
            keypoints[m, t], scores[m, t] = row[:, :2], row[:, 2]
    return keypoints, scores


@pytest.mark.parametrize("people_per_frame", [[1, 1, 1], [2, 0, 1, 3, 0], [0, 0, 1], [4, 12, 0, 9, 11], [10, 10]])
def test_unpacks_skeletons_listed_one_by_one(tmp_path, people_per_frame):
    entry = compressed("k", people_per_frame)
    keypoints, scores = slowly_unpacked(entry)
    clip = read_clip(tmp_path, entry)
    np.testing.assert_array_equal(clip["keypoints"], keypoints)
    np.testing.assert_array_equal(clip["scores"], scores)


def test_unpacks_skeletons_in_any_order_of_frames(tmp_path):
    entry = compressed("k", [1, 1, 1, 1])
    order = [2, 0, 3, 1]
    shuffled = entry | {"frame_inds": entry["frame_inds"][order], "keypoint": entry["keypoint"][order]}
    np.testing.assert_array_equal(read_clip(tmp_path, shuffled)["keypoints"], slowly_unpacked(entry)[0])


def test_a_compressed_clip_without_people_is_kept(tmp_path, caplog):
    clip = read_clip(tmp_path, compressed("k", [0, 0, 0, 0]))
    assert clip["keypoints"].shape == (1, 4, 17, 2) and not clip["scores"].any()
    assert "got one in which nobody is seen" in caplog.text


def test_refuses_frames_beyond_the_clip(tmp_path):
    refuse(tmp_path, [compressed("k", [1, 1, 1], total_frames=2)], "'k'.*0 to below `total_frames` .2., got 0 to 2")
    refuse(tmp_path, [compressed("k", [1, 1], frame_inds=np.arange(3))], r"'k'.*\(3,\) and \(2, 17, 3\)")


def kinetics(folder, raw_folder="data/k400/kpfiles"):
    """An annotation file like Kinetics-400's: three clips, alternately in two keypoint files."""
    entries = [compressed(name, [1, 2, 1], seed) for seed, name in enumerate(("x", "y", "z"))]
    files = ("p.pkl", "q.pkl", "p.pkl")
    for file in set(files):
        inside = {e["frame_dir"]: {"keypoint": e["keypoint"]} for e, f in zip(entries, files, strict=True) if f == file}
        save(folder, inside, name=f"kpfiles/{file}")
    toc = [{key: value for key, value in entry.items() if key != "keypoint"} for entry in entries]
    for entry, file in zip(toc, files, strict=True):
        entry |= {"raw_file": f"{raw_folder}/{file}", "box_score": np.ones(4, np.float16), "valid": {0.5: 3}}
    return {"split": {"train": ["x", "y", "z"]}, "annotations": toc}, entries


@pytest.mark.parametrize("raw_folder", ["data/k400/kpfiles", "kpfiles"])
def test_reads_keypoint_files(tmp_path, monkeypatch, raw_folder):
    value, entries = kinetics(tmp_path, raw_folder)
    annotations = pyskl.read_annotations(save(tmp_path, value), skeletons.COCO, num_classes=2)
    assert annotations.splits == {"train": ["x", "z", "y"]}  # each keypoint file is needed only once
    opened, load = [], pyskl.load_pickle
    monkeypatch.setattr(pyskl, "load_pickle", lambda path: opened.append(path.name) or load(path))
    clips = {name: annotations.clips[name] for name in annotations.splits["train"]}
    assert opened in (["q.pkl"], ["p.pkl", "q.pkl"])
    for entry in entries:
        np.testing.assert_array_equal(clips[entry["frame_dir"]]["keypoints"], slowly_unpacked(entry)[0])


def test_counts_missing_joints_in_keypoint_files(tmp_path, caplog):
    value, entries = kinetics(tmp_path)
    entries[1]["keypoint"][0, 3] = np.nan
    save(tmp_path, {"y": {"keypoint": entries[1]["keypoint"]}}, name="kpfiles/q.pkl")
    clip = pyskl.read_annotations(save(tmp_path, value)).clips["y"]
    assert clip["scores"][0, 0, 3] == 0 and not clip["keypoints"][0, 0, 3].any()
    assert f"{tmp_path / 'kpfiles' / 'q.pkl'}: A keypoint with a score has" in caplog.text
    assert "(y: 1 keypoints)" in caplog.text


def test_missing_keypoint_files_are_asked_for_at_once(tmp_path):
    value, _ = kinetics(tmp_path)
    (tmp_path / "kpfiles" / "p.pkl").unlink()
    with pytest.raises(FileNotFoundError, match="p.pkl is not there.*unpack the published kpfiles archive into"):
        pyskl.read_annotations(save(tmp_path, value))


def test_keypoint_files_must_fit_the_annotation_file(tmp_path):
    value, _ = kinetics(tmp_path)
    path = save(tmp_path, value)
    save(tmp_path, {"other": {}}, name="kpfiles/q.pkl")
    annotations = pyskl.read_annotations(path)
    with pytest.raises(pyskl.AnnotationError, match="'y'.*must have an entry of that name"):
        annotations.clips["y"]
    save(tmp_path, [1], name="kpfiles/p.pkl")
    with pytest.raises(pyskl.AnnotationError, match="p.pkl: a keypoint file must be a dict of clips, this is a list"):
        pyskl.read_annotations(path)
    del value["annotations"][0]["raw_file"]
    refuse(tmp_path, value, "'x'.*`keypoint`, or `raw_file`")


# ---------------------------------------------------------------------------------------------------- hostile files
class Call:
    """Pickles as a call, which an ordinary unpickler carries out; with a state it is then set up by that."""

    def __init__(self, function, arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path, protocol):
    marker = tmp_path / "it_ran"
    value = content() | {"more": Call(os.system, (f"touch {marker}",))}
    path = save(tmp_path, value, protocol)
    with pytest.raises(pyskl.AnnotationError, match=rf"set.pkl: .* asks for {os.system.__module__}.system"):
        pyskl.read_annotations(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the file is live: anybody else's reader would have run it
    assert marker.exists()


@pytest.mark.parametrize(
    "function, arguments, name",
    [
        (eval, ("1",), "builtins.eval"),
        (getattr, ("", "upper"), "builtins.getattr"),
        (np.load, ("x",), "numpy.load"),
        (np.memmap, ("x",), "numpy.memmap"),
        (pathlib.PurePosixPath, ("x",), "pathlib.PurePosixPath"),
    ],
)
def test_other_calls_are_refused_by_name(tmp_path, function, arguments, name):
    refuse(tmp_path, Call(function, arguments), f"asks for {name}")


def test_a_keypoint_file_is_read_as_carefully(tmp_path):
    value, _ = kinetics(tmp_path)
    save(tmp_path, {"x": Call(eval, ("1",))}, name="kpfiles/p.pkl")
    refuse(tmp_path, value, "p.pkl: .* asks for builtins.eval")


def lying_array(code, state, shape=(1, 1, 1, 2)):
    reconstruct = np.zeros(1).__reduce__()[0]
    raw = b"\x41" * 8 * int(np.prod(shape))
    return Call(
        reconstruct, (np.ndarray, (0,), b"b"), (1, shape, Call(np.dtype, (code, False, True), state), False, raw)
    )


def test_what_a_pickle_says_of_a_dtype_is_not_believed(tmp_path):
    # Flag 63 says "these floats are pointers to objects"; NumPy's own reader would believe it.
    clip = annotation("a") | {"total_frames": 1, "keypoint_score": None, "img_shape": (3_000_000, 3_000_000)}
    clip["keypoint"] = lying_array("f8", (3, "<", None, None, None, 8, 8, 63))
    keypoints = read_clip(tmp_path, clip)["keypoints"]
    np.testing.assert_array_equal(keypoints, np.full((1, 1, 1, 2), np.frombuffer(b"\x41" * 8)[0], np.float32))


@pytest.mark.parametrize(
    "code, state",
    [("V8", (3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0)), ("O", (3, "|", None, None, None, -1, -1, 63))],
)
def test_arrays_of_anything_but_numbers_and_text_are_refused(tmp_path, code, state):
    refuse(tmp_path, [annotation("a") | {"keypoint": lying_array(code, state)}], "must be of numbers or text")


def test_arrays_must_fit_their_bytes(tmp_path):
    for shape in ((9, 9, 9, 2), (-1, -1, 1, 2)):
        clip = annotation("a") | {"keypoint": lying_array("f8", (3, "<", None, None, None, -1, -1, 0))}
        state = clip["keypoint"].reduced[2]
        clip["keypoint"].reduced = (*clip["keypoint"].reduced[:2], (1, shape, *state[2:]))
        refuse(tmp_path, [clip], "damaged, cut short or no pickle")


def test_arrays_are_made_in_no_other_way(tmp_path):
    refuse(tmp_path, [Call(np.ndarray, ((2, 2), "f4"))], "must be saved by NumPy itself")
    refuse(tmp_path, [Call(_codecs.encode, ("abc", "rot13"))], "as latin1, this file asks for 'rot13'")


# ---------------------------------------------------------------------------------------------------- damaged files
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, protocol):
    whole = save(tmp_path, content(), protocol).read_bytes()
    path = tmp_path / "cut.pkl"
    for length in [*range(0, len(whole), len(whole) // 50), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(pyskl.AnnotationError, match="cut.pkl: the file must be a whole pickle.*download it again"):
            pyskl.read_annotations(path)


def test_files_that_are_no_annotation_pickle(tmp_path):
    path = tmp_path / "readme.pkl"
    path.write_text("<html>404: not found</html>")
    with pytest.raises(pyskl.AnnotationError, match="no pickle"):
        pyskl.read_annotations(path)
    with pytest.raises(FileNotFoundError, match="There is no annotation file .*absent.pkl"):
        pyskl.read_annotations(tmp_path / "absent.pkl")
    refuse(tmp_path, 3, "this is a int")
    refuse(tmp_path, {"keypoints": [], "labels": []}, "this is a dict of .'keypoints', 'labels'.")
    refuse(tmp_path, {"annotations": content()["annotations"]}, "`split` must be a dict")
    refuse(tmp_path, [], "at least one clip")
    refuse(tmp_path, [3], "annotation 0 must be a dict, got a int")


# ---------------------------------------------------------------------------------------------------- impossible clips
@pytest.mark.parametrize(
    "changes, match",
    [
        ({"label": 3}, "set.pkl: Labels are whole numbers, 0 to 2, got 1 of 3 .* .a: 3."),
        ({"label": True}, "0 to 2, got .* .a: True"),
        ({"label": np.nan}, "0 to 2, got .* .a: nan"),
        ({"label": "1"}, "0 to 2, got .* .a: '1'"),
        ({"img_shape": (240.5, 320)}, ".a: .240.5, 320."),
        ({"keypoint_score": np.full((1, 5, 17), 95)}, "Scores are 0 to 1, got .* .a: 95.; divide"),
        ({"label": -1}, "0 to 2, got .* .a: -1"),
        ({"label": None}, "0 to 2, got .* .a: .."),
        ({"label": 1.5}, "0 to 2, got .* .a: 1.5"),
        ({"label": [1, 2]}, "0 to 2, got .* .a: .1, 2."),
        ({"img_shape": None}, "frame_size is .height, width.*got .* .a: .."),
        ({"img_shape": (240, 320, 3)}, ".a: .240, 320, 3."),
        ({"img_shape": (0, 320)}, ".a: .0, 320."),
        ({"total_frames": 9}, "'a': `total_frames` must be the number of frames in `keypoint`, got 9 and 5"),
        ({"keypoint_score": np.ones((1, 4, 17))}, r"'a': `keypoint_score` must be \(1, 5, 17\).*got \(1, 4, 17\)"),
        ({"keypoint": np.ones((1, 5, 25, 3))}, "'a': .* three coordinates, a 3D skeleton, and only 2D ones are read"),
        ({"keypoint": np.ones((5, 17, 2))}, r"must be \[people, frames, keypoints, 2\], got \(5, 17, 2\)"),
        ({"keypoint": np.ones((1, 0, 17, 2)), "total_frames": 0}, "'a': a clip must have at least one frame"),
        ({"keypoint": np.array([["x", "y"]])}, "`keypoint` must be an array of numbers"),
        ({"keypoint": [[1, 2], [3]]}, "`keypoint` must be an array of numbers, got a list"),
        ({"keypoint": np.ones((1, 5, 18, 2)), "keypoint_score": None}, "this one has 18 and skeleton coco 17"),
        ({"frame_dir": None}, "annotation 0 must have a name in `frame_dir`, got None"),
    ],
)
def test_impossible_clips_are_named(tmp_path, changes, match):
    value = content()
    value["annotations"][0] |= changes
    refuse(tmp_path, value, match, skeleton=skeletons.COCO, num_classes=3)


def test_the_published_3d_form_is_refused_as_such(tmp_path):
    clip = {"frame_dir": "a", "label": 0, "total_frames": 4, "keypoint": np.ones((2, 4, 25, 3), np.float16)}
    refuse(tmp_path, {"split": {"train": ["a"]}, "annotations": [clip]}, "3D skeleton")


def test_all_clips_have_the_keypoints_of_the_first(tmp_path):
    value = content()
    value["annotations"][2] = annotation("c", keypoints=18)
    refuse(tmp_path, value, "'c': all clips must have the same keypoints, this one has 18 and clip 'a' 17")


def test_labels_are_open_without_a_number_of_classes(tmp_path):
    assert read_clip(tmp_path, annotation("a", label=700))["label"] == 700
    refuse(tmp_path, [annotation("a", label=-1)], "whole numbers, from 0 on, got one .* .a: -1")


@pytest.mark.parametrize(
    "split, match",
    [
        ({"train": ["a", "p", "q"]}, "split 'train' names 2 clips that have no annotation, the first is 'p'"),
        ({"train": ["a", "b", "a"]}, "split 'train' must name each clip once, 'a' is twice"),
        ({"train": "a"}, "a split must be a name and a list of clip names, got 'train' and a str"),
        ({3: ["a"]}, "got 3 and a list"),
        ({}, "`split` must be a dict"),
    ],
)
def test_impossible_splits_are_named(tmp_path, split, match):
    refuse(tmp_path, content() | {"split": split}, match)


def test_a_clip_is_annotated_once(tmp_path):
    refuse(tmp_path, [annotation("a"), annotation("a")], "'a' is twice")


def test_splits_may_be_arrays(tmp_path):
    annotations = pyskl.read_annotations(save(tmp_path, content() | {"split": {"train": np.array(["c", "a"])}}))
    assert annotations.splits == {"train": ["c", "a"]}


# ---------------------------------------------------------------------------------------------------- a real file
def test_reads_a_real_file(shared_data):
    path = shared_data("jhmdb") / "jhmdb_gt.pkl"
    annotations = pyskl.read_annotations(path, skeletons.JHMDB, num_classes=14)
    counts = {split: len(names) for split, names in annotations.splits.items()}
    assert counts == {"train1": 433, "test1": 176, "train2": 433, "test2": 176, "train3": 434, "test3": 175}
    assert sum(clip["keypoints"].shape[1] for clip in annotations.clips.values()) == 21126
    expected = {entry["frame_dir"]: entry for entry in pickle.loads(path.read_bytes())["annotations"]}
    for name, clip in annotations.clips.items():
        assert_same_clip(clip, expected[name])


# ---------------------------------------------------------------------------------------------------- going on
def test_all_bad_clips_are_named_and_can_be_left_out(tmp_path):
    value = content()
    value["annotations"][0]["label"], value["annotations"][1]["img_shape"] = 7, None
    path = save(tmp_path, value)
    with pytest.raises(pyskl.AnnotationError) as error:
        pyskl.read_annotations(path, num_classes=3)
    assert set(error.value.names) == {"a", "b"}
    annotations = pyskl.read_annotations(path, num_classes=3, skip=error.value.names)
    assert list(annotations.clips) == ["c"] and annotations.splits == {"train": [], "val": ["c"]}
    with pytest.raises(ValueError, match="Clips to skip are in .*set.pkl, x are not"):
        pyskl.read_annotations(path, skip=["a", "x"])


def test_all_malformed_clips_are_named(tmp_path):
    value = content()
    for index in (0, 2):
        value["annotations"][index]["keypoint"] = np.ones((5, 17, 2))
    with pytest.raises(pyskl.AnnotationError, match="'a': `keypoint` must be .* So are 1 other clips .c.") as error:
        pyskl.read_annotations(save(tmp_path, value))
    assert error.value.names == ("a", "c")


def test_a_label_may_be_any_whole_number(tmp_path):
    for label in (np.int64(2), np.float32(2), np.array([2])):
        assert read_clip(tmp_path, annotation("a", label=label), num_classes=3)["label"] == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"total_frames": "30"}, "`total_frames` must be a whole number of frames, got '30'"),
        ({"total_frames": 2.5}, "`total_frames` must be a whole number of frames, got 2.5"),
        ({"img_shape": (2**40, 5)}, "frame_size is .height, width."),
        ({"img_shape": [1, [2]]}, "frame_size is .height, width."),
    ],
)
def test_figures_that_are_none_are_named(tmp_path, change, match):
    value = content()
    value["annotations"][0] |= change
    with pytest.raises(pyskl.AnnotationError, match=match):
        pyskl.read_annotations(save(tmp_path, value))


@pytest.mark.parametrize("wrong", [["a"], {"a": 1}, 3])
def test_a_split_lists_names(tmp_path, wrong):
    value = content()
    value["split"]["val"] = [wrong]
    for skip in ((), ("b",)):
        with pytest.raises(pyskl.AnnotationError, match="split 'val' lists clip names, got a"):
            pyskl.read_annotations(save(tmp_path, value), skip=skip)
    with pytest.raises(ValueError, match=r"write \['a'\]"):
        pyskl.read_annotations(save(tmp_path, content()), skip="a")


# ---------------------------------------------------------------------------------------------------- what is written
def elements():
    annotations = content()["annotations"]
    return [
        {"name": a["frame_dir"], "label": a["label"], "frame_size": a["img_shape"], "keypoints": a["keypoint"]}
        | {"scores": a["keypoint_score"]}
        for a in annotations
    ]


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_written_file_is_read_again(tmp_path, precision):
    path = tmp_path / "new folder" / "own.pkl"
    pyskl.write_annotations(path, elements(), content()["split"], precision)
    annotations = pyskl.read_annotations(path, skeletons.COCO, num_classes=3)
    assert annotations.splits == content()["split"] and list(annotations.clips) == ["a", "b", "c"]
    for expected in content()["annotations"]:  # of float16 numbers
        assert_same_clip(annotations.clips[expected["frame_dir"]], expected)
    written = pickle.loads(path.read_bytes())["annotations"][1]
    assert written.keys() == annotation("b").keys() and written["keypoint"].dtype == precision
    assert written["img_shape"] == written["original_shape"] == (240, 320) and type(written["label"]) is int
    assert [file.name for file in path.parent.iterdir()] == ["own.pkl"]


def test_a_written_file_is_one_for_numpy_1(tmp_path):
    pyskl.write_annotations(tmp_path / "own.pkl", elements(), {"train": ["a"]})
    raw = (tmp_path / "own.pkl").read_bytes()
    assert b"numpy._core" not in raw and raw.count(b"numpy.core.multiarray") == 1


def test_poses_in_space_are_written_too(tmp_path):
    poses = np.random.default_rng(0).normal(size=(2, 5, 17, 3)).astype("float32")
    clip = {"name": b"a", "label": np.int64(1), "poses_m": poses}
    pyskl.write_annotations(tmp_path / "own.pkl", [clip], {"train": ["a"]})
    (written,) = pickle.loads((tmp_path / "own.pkl").read_bytes())["annotations"]
    np.testing.assert_array_equal(written["keypoint"], poses)
    assert written.keys() == {"frame_dir", "label", "total_frames", "keypoint"} and written["total_frames"] == 5
    annotations = pyskl.read_annotations(tmp_path / "own.pkl", up="z")
    assert annotations.is_3d and annotations.clips["a"]["label"] == 1
    np.testing.assert_array_equal(annotations.clips["a"]["poses_m"], poses)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"keypoints": np.zeros((1, 5, 34))}, r"keypoints must be \[M, T, K, 2\], got \(1, 5, 34\) in a"),
        ({"keypoints": np.zeros((1, 0, 17, 2))}, r"got \(1, 0, 17, 2\) in a"),
        ({"scores": np.zeros((1, 5, 16))}, r"one a keypoint, got \(1, 5, 16\) in a"),
        ({"poses_m": np.zeros((1, 5, 17, 2))}, r"poses_m must be \[M, T, K, 3\], got \(1, 5, 17, 2\) in a"),
        ({"frame_size": (240,)}, r"frame_size must be \(height, width\), got \(240,\) in a"),
        ({"label": 1.5}, "A label must be a class index, got 1.5 in a"),
        ({"name": "b"}, "got two called b; rename one"),
    ],
)
def test_clips_that_are_not_written(tmp_path, change, match):
    clips = elements()
    clips[0] |= change
    with pytest.raises(ValueError, match=match):
        pyskl.write_annotations(tmp_path / "own.pkl", clips, {"train": ["a"]})
    assert not (tmp_path / "own.pkl").exists()


@pytest.mark.parametrize("given", ["left out", "none"])
def test_a_clip_without_scores_is_one_of_ones(tmp_path, given):
    (clip,) = [clip for clip in elements() if clip["name"] == "b"]
    expected = np.where((clip["keypoints"] != 0).any(axis=-1), 1, 0)
    clip |= {"scores": None}
    if given == "left out":
        del clip["scores"]
    pyskl.write_annotations(tmp_path / "own.pkl", [clip], {"train": ["b"]})
    (written,) = pickle.loads((tmp_path / "own.pkl").read_bytes())["annotations"]
    assert "keypoint_score" not in written and written["img_shape"] == (240, 320)
    np.testing.assert_array_equal(pyskl.read_annotations(tmp_path / "own.pkl").clips["b"]["scores"], expected)


@pytest.mark.parametrize(
    ("missing", "match"),
    [
        (["keypoints"], r"has name, label, keypoints, frame_size and, if known, scores, got b without keypoints; add"),
        (["frame_size", "label"], r"got b without label and frame_size; add what is missing\.$"),
        (["name"], r"got clip 1 without name; add"),
    ],
)
def test_a_clip_that_lacks_something_is_refused_by_its_name(tmp_path, missing, match):
    clips = elements()
    clips[1] = {key: value for key, value in clips[1].items() if key not in missing}
    with pytest.raises(ValueError, match=match) as error:
        pyskl.write_annotations(tmp_path / "own.pkl", clips, {"train": ["a"]})
    assert type(error.value) is ValueError and not (tmp_path / "own.pkl").exists()
    with pytest.raises(ValueError, match="A clip has name, label, poses_m, got s without label; add"):
        pyskl.write_annotations(tmp_path / "own.pkl", [{"name": b"s", "poses_m": np.ones((1, 5, 17, 3))}], {})


def test_splits_and_precisions_that_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="clips that there are, got d in train"):
        pyskl.write_annotations(tmp_path / "own.pkl", elements(), {"train": ["a", "d"]})
    with pytest.raises(ValueError, match="got none in val"):
        pyskl.write_annotations(tmp_path / "own.pkl", elements(), {"train": ["a"], "val": []})
    with pytest.raises(ValueError, match="precision must be float16 or float32, got 'int8'"):
        pyskl.write_annotations(tmp_path / "own.pkl", elements(), {"train": ["a"]}, "int8")
