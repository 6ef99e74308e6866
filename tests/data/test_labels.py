"""Labels, classes and splits: what is read, what is matched, and what is refused."""

import logging
import os
import unicodedata

import pytest

from kerapose.data import frames, labels
from kerapose.data.labels import Row


@pytest.fixture
def csv(tmp_path):
    """A function that writes a CSV file and gives its path."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def rows_of(*videos, **columns):
    return {name: Row(name, **({"label": "a"} | {key: values[i] for key, values in columns.items()}))
            for i, name in enumerate(videos)}  # fmt: skip


# ---------------------------------------- the file
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", ", " ; "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_as_it_comes(csv, encoding, separator, newline):
    lines = [("Video", "label", "note", "SUBJECT"), ("é a.mp4", "two words", "x", "S1"), (), ("b", "two words", "", "")]
    path = csv(newline.join(separator.join(line) for line in lines) + newline, encoding)
    assert labels.read_labels(path) == [
        Row("é a.mp4", "two words", "S1", None, 2),
        Row("b", "two words", None, None, 4),
    ]


def test_csv_with_splits_and_quotes(csv):
    path = csv('split,label,video\ntrain,"clap, twice","a,1.mp4"\ntest,clap,b\n')
    assert labels.read_labels(path) == [
        Row("a,1.mp4", "clap, twice", None, "train", 2),
        Row("b", "clap", None, "test", 3),
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "a line for each video, got none in .*labels.csv"),
        ("video,label\n", "a line for each video, got none"),
        ("a.mp4,clap\n", "columns video and label, each once, got a.mp4, clap in"),
        ("video,label,label\na,b,c\n", "got one of them twice"),
        ("video,label\na\n", "must have a label, got none in line 2 of .*fill it in"),
        ("video,label\n,clap\n", "must have a video, got none in line 2"),
        ("video,label,split\na,b,\n", "must have a split, got none in line 2"),
        ('video,label\na,"b\nc,d"\n', r"stand in one line, got 'b\\nc,d' in line 3"),
        ("video,label\na,b,c\n", "no more cells than the head, 2, got 3 in line 2"),
        ("video,label,split\na,b,all\n", "not 'all', got 'all' in line 2"),
        ("video,label,split\na,b,my split\n", "got 'my split' in line 2"),
    ],
)
def test_csv_that_is_refused(csv, text, match):
    with pytest.raises(ValueError, match=match):
        labels.read_labels(csv(text))


def test_csv_in_another_encoding_or_nowhere(csv, tmp_path):
    with pytest.raises(ValueError, match="UTF-8, got other bytes at place 12"):
        labels.read_labels(csv("video,label\né,b", "latin1"))
    with pytest.raises(FileNotFoundError, match="there is no .*none.csv"):
        labels.read_labels(tmp_path / "none.csv")


# ---------------------------------------- whose label it is
def test_a_row_goes_by_the_name_with_ending_or_without_or_by_the_end_of_the_path(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é")
    places = ["clap/1.mp4", "clap/2.mp4", "swing/1.mp4", "swing/v.2.avi", f"swing/{decomposed}.mp4", "7.mp4", "x/8.mp4"]
    videos = {place.rpartition(".")[0]: tmp_path / "videos" / place for place in places}
    texts = ["clap/1", "./clap\\2.mp4", str(tmp_path / "videos/swing/1.mp4"), "v.2", "swing/é.mp4", "7.mp4", "8"]
    found = labels.matched([Row(text, text) for text in texts], videos)
    assert [row.label for row in found.values()] == texts and list(found) == list(videos)


def test_a_row_that_may_mean_two_is_refused_unless_one_has_this_very_name(tmp_path):
    videos = {name: tmp_path / f"{name}.mp4" for name in ("1", "clap/1", "swing/1", "swing/2")}
    found = labels.matched([Row("clap/1", "c"), Row("1", "a"), Row("swing/1", "s"), Row("2", "s")], videos)
    assert [row.label for row in found.values()] == ["a", "c", "s", "s"]
    del videos["1"]
    with pytest.raises(ValueError, match="got 1.mp4 in line 4 of labels.csv, which may be clap/1, swing/1; write more"):
        labels.matched([Row("1.mp4", "a", line=4)], videos, "labels.csv")
    twins = {"a.mp4": tmp_path / "a.mp4", "a.avi": tmp_path / "a.avi"}
    assert len(labels.matched([Row("a.mp4", "x"), Row("a.avi", "y")], twins)) == 2
    with pytest.raises(ValueError, match="which may be a.avi, a.mp4"):
        labels.matched([Row("a", "x")], twins)


def test_a_video_without_a_row_is_refused_and_a_row_without_a_video_told(tmp_path, caplog):
    videos = {"a": tmp_path / "a.mp4", "b": tmp_path / "b.mp4"}
    with pytest.raises(ValueError, match=r"got 1 of 2 that labels.csv does not name \(b\); add"):
        labels.matched([Row("a", "x")], videos, "labels.csv")
    with pytest.raises(ValueError, match=r"name \(b\), and 2 lines that name none of them \(C:.v.b.mp4, b.MP4\); add"):
        labels.matched([Row(name, "x") for name in ("a", "C:\\v\\b.mp4", "b.MP4")], videos, "labels.csv")
    with pytest.raises(ValueError, match="got a in the lines 2 and 5 of labels.csv"):
        labels.matched([Row("a", "x", line=2), Row("b", "x", line=3), Row("a.mp4", "x", line=5)], videos, "labels.csv")
    with caplog.at_level(logging.WARNING, "absl"):
        labels.matched([Row(name, "x") for name in ("a", "b", "c", "d/e")], videos, "labels.csv")
    assert "labels.csv has labels of 2 videos that are not there (c, d/e)." in caplog.text


def test_labels_by_folders(tmp_path):
    videos = {"clap/1": tmp_path / "clap/1.mp4", "set/swing/1": tmp_path / "set/swing/1.mp4"}
    assert [row.label for row in labels.of_folders(videos).values()] == ["clap", "swing"]
    with pytest.raises(ValueError, match="got all 1 in 'clap'"):
        labels.of_folders({"clap/1": tmp_path / "clap/1.mp4"})


def test_class_names(tmp_path):
    assert labels.class_names(["swing", "clap", "swing"]) == ["clap", "swing"]
    with pytest.raises(ValueError, match=r"Labels must be .* numbers before all of them \(1 clap, 2. swing\)"):
        labels.class_names(["2. swing", "1 clap"])  # whose file would be refused
    path = tmp_path / "classes.txt"
    path.write_text("swing\nwave\nclap\n")
    assert labels.class_names(["swing", "clap"], path) == ["swing", "wave", "clap"]
    with pytest.raises(ValueError, match="classes of .*classes.txt, got hop; add them"):
        labels.class_names(["hop", "clap"], path)


def test_names_of_classes_may_begin_with_numbers(tmp_path):
    path = tmp_path / "names.txt"
    for names in (["3 steps", "10 steps"], ["2 hands", "clap"], ["0", "1"]):
        path.write_text("\n".join(names))
        assert labels.read_class_names(path) == names


# ---------------------------------------- splits
def test_without_a_wish_all_are_in_one_split():
    assert labels.split(rows_of("a", "b")) == {"clips": ["a", "b"]}


def test_by_the_column():
    rows = rows_of("a", "b", "c", split=["val", "train", "train"])
    assert list(labels.split(rows).items()) == [("train", ["b", "c"]), ("val", ["a"])]


def test_by_share_of_each_class_and_the_same_each_time():
    names = [f"{label}{i}" for label in "abc" for i in range({"a": 50, "b": 10, "c": 1}[label])]
    rows = rows_of(*names, label=[name[0] for name in names])
    made = labels.split(rows, test_share=0.2)
    assert [sum(name[0] == label for name in made["test"]) for label in "abc"] == [10, 2, 0]
    assert sorted(made["train"] + made["test"]) == sorted(names) and list(made) == ["train", "test"]
    assert labels.split(dict(reversed(rows.items())), test_share=0.2)["test"] == made["test"][::-1]
    more = rows | rows_of("a50", label=["a"])
    assert len(set(labels.split(more, test_share=0.2)["test"]) ^ set(made["test"])) <= 2
    assert labels.split(rows_of("a", "b"), test_share=0.9)["train"]  # one stays


def test_classes_of_which_nothing_is_tested_are_named(caplog):
    rows = rows_of(*"abcdefg", label=["x"] * 5 + ["y"] * 2)
    with caplog.at_level(logging.WARNING, "absl"):
        assert len(labels.split(rows, test_share=0.2)["test"]) == 1
    assert "The split test has no clip of 1 classes (y)." in caplog.text


def test_by_subject_and_the_classes_that_are_not_learnt(caplog):
    rows = rows_of(*"abcd", label=["x", "x", "y", "x"], subject=["S1", "S2", "S2", None])
    with caplog.at_level(logging.WARNING, "absl"):
        assert labels.split(rows, test_subjects=["S2"]) == {"train": ["a", "d"], "test": ["b", "c"]}
    assert "train has no clip of 1 classes (y)" in caplog.text
    assert "1 clips without a subject go to train, whoever they show (d)." in caplog.text


@pytest.mark.parametrize(
    ("wish", "match"),
    [
        ({"test_share": 0.0}, "between 0 and 1, got 0"),
        ({"test_share": 1.0}, "between 0 and 1, got 1"),
        ({"test_share": 0.1}, "enough for one clip of a class that has two, got 0.1"),
        ({"test_share": 0.5, "test_subjects": ["S1"]}, "in one way, got test_share and test_subjects"),
        ({"test_subjects": ["S9"]}, r"column subject of the labels \(S1, S2\), got S9"),
        ({"test_subjects": []}, "got none"),
        ({"test_subjects": ["S2", "S1"]}, "somebody to learn from, got all 2"),
    ],
)
def test_splits_that_are_refused(wish, match):
    with pytest.raises(ValueError, match=match):
        labels.split(rows_of("a", "b", subject=["S1", "S2"]), **wish)


def test_a_column_and_a_share_are_refused():
    with pytest.raises(ValueError, match="got a column split and test_share"):
        labels.split(rows_of("a", split=["train"]), test_share=0.2)


# ---------------------------------------- names of videos
def make(folder, *places):
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).touch()


def test_names_are_places_without_endings_and_keep_them_where_two_are_alike(tmp_path, caplog):
    make(tmp_path, "v/clap/1.mp4", "v/clap/1.AVI", "v/clap/v.2.mkv", "v/é x/1.mp4", "v/.hidden.mp4", "v/labels.csv")
    with caplog.at_level(logging.WARNING, "absl"):
        found = frames.named([tmp_path / "v"])
    assert list(found) == ["clap/1.AVI", "clap/1.mp4", "clap/v.2", "é x/1"]
    assert found["clap/v.2"] == tmp_path / "v/clap/v.2.mkv"
    assert "1 other files" in caplog.text and "(1 .csv)" in caplog.text


def test_globs_videos_and_lists_name_videos_too(tmp_path):
    make(tmp_path, "v/clap/1.mp4", "v/swing/1.mp4", "w/a.mp4")
    assert list(frames.named([f"{tmp_path}/v/*/1.mp4"])) == ["clap/1", "swing/1"]
    assert list(frames.named([f"{tmp_path}/v/**"])) == ["clap/1", "swing/1"]
    assert list(frames.named([tmp_path / "v", tmp_path / "w/a.mp4"])) == ["clap/1", "swing/1", "a"]
    (tmp_path / "list.txt").write_text(f"\ufeffw/a.mp4\n\n{tmp_path}/v/clap/1.mp4\r\n../else/b.mp4\n", "utf-8")
    outside = "/".join((tmp_path.parent / "else/b").parts[1:])
    found = frames.named([tmp_path / "list.txt"])
    assert list(found) == ["w/a", "v/clap/1", outside] and not found[outside].exists()


def test_sources_that_are_refused(tmp_path):
    make(tmp_path, "v/1.mp4", "w/1.mp4", "x/notes.md")
    with pytest.raises(ValueError, match="names of their own, got 1 in .*v and in .*w; give the folder above"):
        frames.named([tmp_path / "v", tmp_path / "w"])
    with pytest.raises(ValueError, match=r"must have videos \(.*\), got none in .*x"):
        frames.named([tmp_path / "x"])
    with pytest.raises(ValueError, match=r"got none in .*\*.mp4"):
        frames.named([f"{tmp_path}/x/*.mp4"])
    with pytest.raises(FileNotFoundError, match="got .*nowhere, which is not there"):
        frames.named([tmp_path / "nowhere"])
    (tmp_path / "y").mkdir()
    with open(os.fsencode(tmp_path / "y") + b"/caf\xe9.mp4", "wb"):
        pass
    with pytest.raises(ValueError, match=r"must be in UTF-8, got b'.*/caf\\xe9.mp4'; rename them"):
        frames.named([tmp_path / "y"])
    (tmp_path / "list").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="text in UTF-8, got other bytes at place 0 of .*list"):
        frames.named([tmp_path / "list"])


def test_a_table_is_no_list_of_videos(tmp_path):
    (tmp_path / "labels.csv").write_text("video,label\na.mp4,swing\n")
    with pytest.raises(ValueError, match="must have their paths alone, got the table .*labels.csv; give it as labels"):
        frames.named([tmp_path / "labels.csv"])
