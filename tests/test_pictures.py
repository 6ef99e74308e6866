"""The pictures of the pages: each is drawn by a function, is small, and says what it lacks where it cannot be drawn."""

import pathlib
import re
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def draw():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw

        yield draw
    finally:
        sys.path.remove(str(ROOT / "docs"))


def shown():
    """The names of the pictures that README.md and the pages show."""
    pages = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink())]
    return {
        name for page in pages for name in re.findall(r"pictures/(\w+)\.(?:png|jpg)", page.read_text(encoding="utf-8"))
    }


def files():
    return [path for path in PICTURES.iterdir() if path.suffix != ".json"]


def test_each_picture_that_is_shown_has_a_function_and_is_there(draw):
    assert shown() <= set(draw.PICTURES)
    assert all(draw.paper.path_of(name).exists() for name in shown())


def test_no_picture_is_there_for_nothing():
    assert {path.stem for path in files()} <= shown()


def test_pictures_are_small():
    assert not [path.name for path in files() if path.stat().st_size > 300_000]


@pytest.mark.parametrize("name", ["clocks", "receptive_field"])
def test_a_picture_of_no_data_is_drawn(draw, name):
    drawn = draw.PICTURES[name]()
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    assert drawn.shape[1] <= 1400


def test_what_is_lacking_is_told(draw, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(draw.trained, "RUNS", tmp_path)
    with pytest.raises(SystemExit):
        draw.main(["poses"])
    assert "make train TASK=topdown" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "ending"), [("noise", ".png"), ("poses", ".jpg")])
def test_a_large_picture_is_written_small(draw, tmp_path, monkeypatch, name, ending):
    monkeypatch.setattr(draw.paper, "FOLDER", tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (300, 1600, 3), np.uint8)
    path = draw.paper.save(name, noise)
    assert path.suffix == ending
    assert path.stat().st_size <= draw.paper.MOST_BYTES


def test_a_wrong_name_is_refused(draw):
    with pytest.raises(SystemExit, match="no picture volume; there are volumes"):
        draw.main(["volume"])
