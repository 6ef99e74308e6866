"""The notebooks as they are stored: without outputs, in step with their texts, and all in the table."""

import json
import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path):
    return json.loads(path.read_text())["cells"]


@named
def test_nothing_of_a_run_is_stored(path):
    for cell in cells_of(path):
        assert cell["metadata"] == {}
        assert "id" not in cell  # see notebooks/jupytext.toml
        assert cell["cell_type"] != "code" or (cell["outputs"] == [] and cell["execution_count"] is None)


@named
def test_any_python_runs_it(path):
    metadata = json.loads(path.read_text())["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert set(metadata) <= {"kernelspec", "jupytext"}


@named
def test_it_says_what_its_text_says(path):
    jupytext = pytest.importorskip("jupytext")
    text = jupytext.read(path.with_suffix(".py"))
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in cells_of(path)]
    assert found == [(cell.cell_type, cell.source) for cell in text.cells], "run: jupytext --sync notebooks/*.py"


@named
def test_it_begins_with_its_title_and_can_be_made_fast(path):
    first, *_ = cells_of(path)
    assert first["cell_type"] == "markdown" and re.match(r"# \S", "".join(first["source"]))
    code = ["".join(cell["source"]) for cell in cells_of(path) if cell["cell_type"] == "code"]
    assert 'FAST = "KERAPOSE_FAST" in os.environ' in code[0]


@named
def test_its_links_lead_somewhere(path):
    for cell in cells_of(path):
        for target in re.findall(
            r"\]\(([^)#:]+)\)", "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        ):
            assert (FOLDER / target).exists(), target


def test_the_table_has_every_notebook():
    assert NOTEBOOKS
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.ipynb\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [path.stem for path in NOTEBOOKS] == sorted(path.stem for path in FOLDER.glob("*.py"))
