"""What is installed: a wheel is built of a copy of the sources, and looked into and run without the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import kerapose

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in ("kerapose", "datasets", "train"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", f"--wheel-dir={folder}"]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_the_package_and_nothing_else(wheel):
    assert wheel.name == f"kerapose-{kerapose.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    endings = ("*.py", "*.csv", "*.txt")
    files = [path for ending in endings for path in (ROOT / "kerapose").rglob(ending)]
    sources = {path.relative_to(ROOT).as_posix() for path in files}
    about = {name.partition("/")[2] for name in names if ".dist-info/" in name}
    assert {name for name in names if ".dist-info/" not in name} == sources | {"kerapose/py.typed"}
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}


def test_its_metadata_say_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = f"kerapose-{kerapose.__version__}.dist-info"
        metadata, entries = (archive.read(f"{name}/{file}").decode() for file in ("METADATA", "entry_points.txt"))
    head, _, description = metadata.partition("\n\n")
    assert description.strip() == (ROOT / "README.md").read_text().strip()
    for line in ("License-Expression: Apache-2.0", "Classifier: Typing :: Typed", "Requires-Python: >=3.11,<3.14"):
        assert line in head.splitlines()
    assert "kerapose = kerapose.commands:main" in entries


def test_it_runs_without_the_checkout(wheel, tmp_path):
    code = "import kerapose, kerapose.__main__ as program; print(kerapose.__file__); program.main(['--version'])"
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    place, version = done.stdout.splitlines()
    assert place.startswith(str(wheel)) and version == f"kerapose {kerapose.__version__}"
