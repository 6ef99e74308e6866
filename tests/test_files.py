"""JSON files of others: read whatever their encoding, refused by name where they are none."""

import json
import re

import pytest

from kerapose import files

CONTENT = {"images": [{"id": 1, "file_name": "Mäuse.jpg"}], "box": [0.5, 1e3], "nobody": None}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_byte_order_mark_says_the_encoding(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(CONTENT, ensure_ascii=False).encode(encoding))
    assert files.read_json(path) == CONTENT


@pytest.mark.parametrize("raw", [b"[]", b" {}\n", b"3.5", b'"text"', b"null"])
def test_any_json_is_read(tmp_path, raw):
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    assert files.read_json(str(path)) == json.loads(raw)


def test_what_breaks_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "runs" / "best.keras"
    files.write_whole(path, b"old")

    def write():
        with files.whole(path) as part:
            assert part.suffix == path.suffix
            part.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]
    files.write_whole(path, b"new")
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_a_digest_changes_with_content_and_names(tmp_path):
    files.write_whole(tmp_path / "a" / "one", b"1")
    files.write_whole(tmp_path / "b" / "one", b"1")
    same = files.digest(tmp_path / "a")
    assert same == files.digest(tmp_path / "b") and len(same) == 64
    assert files.digest(tmp_path / "a" / "one") == files.digest(tmp_path / "b" / "one")
    (tmp_path / "b" / "one").rename(tmp_path / "b" / "two")
    assert files.digest(tmp_path / "b") != same
    files.write_whole(tmp_path / "a" / "one", b"2")
    assert files.digest(tmp_path / "a") != same


WHOLE = json.dumps(CONTENT).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty; write or get it again"),
        (b"\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (WHOLE[:25], "is cut short in line 1; copy or download it again"),
        (WHOLE[:-1], "is cut short in line 1"),
        (b'{"a":\n[1,\n', "is cut short in line 3"),
        (b"scorer,x,y\n1,2,3\n", "is no JSON from line 1, column 1 on: scorer,x,y"),
        (b'{"a": 1}\n{"a": 2}\n', 'is no JSON from line 2, column 1 on: {"a": 2}'),
        (b"<html><body>404</body></html>", "is no JSON from line 1, column 1 on: <html><body>404"),
        (b'{"name": "M\xe4use"}', "in UTF-8, got other bytes at place 11; save it as UTF-8"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "in UTF-8, got other bytes at place 0"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(tmp_path, raw, said):
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        files.read_json(path, "a COCO keypoint file")
    assert str(error.value).startswith(f"{path} must be a COCO keypoint file") and str(error.value).endswith(".")


@pytest.mark.parametrize("name", ["none.json", "."])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="must be a list of cameras, there is no such file; check the path"):
        files.read_json(tmp_path / name, "a list of cameras")
