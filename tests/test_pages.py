"""What README and pages say: their Python runs, their commands have the flags that they give, links lead somewhere.

Links between pages are followed by `make docs`.
"""

import contextlib
import functools
import importlib.util
import io
import pathlib
import re
import shlex

import pytest
from absl import flags

from docs import examples
from kerapose import commands
from train import common

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONG = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")  # pages that are not in docs/
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *(ROOT / name for name in LONG),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "datasets").rglob("*.md"),
        *(ROOT / "notebooks").glob("*.md"),
    ]
    if not path.is_symlink()
)
BLOCK = re.compile(
    r"^(?P<before>[^\n]*)\n+```(?P<kind>python|bash|sh|shell)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
NOT_RUN = "<!-- not run: "  # in the line before a block, with the reason


def blocks(page, *kinds):
    """Yields the code of a page's blocks of some kinds, and the line before each."""
    for found in BLOCK.finditer("\n" + (ROOT / page).read_text(encoding="utf-8")):
        if found["kind"] in kinds:
            yield found["code"], found["before"]


def test_the_readme_has_two_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


# ---------------------------------------- Python
def runs(page):
    return [code for code, before in blocks(page, "python") if not before.startswith(NOT_RUN)]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md" and runs(page)])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = examples.names() | {"__name__": page}
    examples.put_files((ROOT / page).read_text(encoding="utf-8"), tmp_path)
    for number, code in enumerate(runs(page), start=1):
        exec(compile(code, f"{page}, block {number}", "exec"), namespace)


def test_a_block_that_is_not_run_says_why():
    for page in PAGES:
        for _, before in blocks(page, "python"):
            if "not run" in before:
                assert re.fullmatch(r"<!-- not run: .{8,} -->", before), f"{page}: {before}"


# ---------------------------------------- commands
def command_lines(page):
    """Yields the words of each command of a page that is ours, without what a shell does with them."""
    for code, _ in blocks(page, "bash", "sh", "shell"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for command in split(words):
                if is_ours(command):
                    yield command


def is_ours(command):
    if command[:2] == ["python", "-m"]:
        return command[2].startswith("train.")
    return command[:1] == ["kerapose"] or command[:2] in (["python", "datasets/build.py"], ["make", "train"])


def split(words):
    """Commands of one line: those before and after `&&`, `;` and `|`, without variables that are set before them."""
    command = []
    for word in [*words, ";"]:
        if word in ("&&", ";", "|", "&"):
            yield command
            command = []
        elif command or not re.match(r"^[A-Z_]+=", word):
            command.append(word)


@pytest.fixture
def flag_parser(monkeypatch):
    """A function that defines flags anew and parses words with them."""

    def parse(define, words):
        values = flags.FlagValues()
        with monkeypatch.context() as patch:
            patch.setattr(flags, "FLAGS", values)
            for name in [name for name in dir(flags) if name.startswith("DEFINE")]:
                patch.setattr(flags, name, functools.partial(getattr(flags, name), flag_values=values))
            define()
            values(["script", *words])

    return parse


@pytest.mark.parametrize("page", [page for page in PAGES if any(True for _ in command_lines(page))])
def test_the_commands_of_a_page_have_the_flags_that_it_gives(page, flag_parser):
    for words in command_lines(page):
        try:
            check(words, flag_parser)
        except (flags.Error, SystemExit, ImportError, AssertionError) as error:
            pytest.fail(f"{page}: {shlex.join(words)}: {error}")


def check(words, parse):
    if words[0] == "kerapose":
        check_program(words[1:])
    elif words[0] == "make":
        task = dict(word.split("=", 1) for word in words[2:] if "=" in word).get("TASK", "poseconv3d")
        importlib.import_module(f"train.{task}")
    elif words[1] == "-m":
        script = importlib.import_module(words[2])
        parse(lambda: define_training(script.TRAINING.OPTIONS), words[3:])
    else:
        build = load_build()
        parse(build.define_flags, words[2:])
        name = words[2].split("/")[0] if len(words) > 2 and not words[2].startswith("-") else None
        assert name is None or (ROOT / "datasets" / name).is_dir() or name.isupper(), f"no data set {name}"


def define_training(options):
    common.define_flags(options)
    flags.DEFINE_string("preset", None, "As `main` does.")
    flags.DEFINE_bool("evaluate", False, "As `main` does.")


def check_program(words):
    """Parses the words of `kerapose` and does nothing."""
    command = words[0].replace("-", "_") if words and not words[0].startswith("-") else None
    if command is None:
        return
    module = importlib.import_module(f"kerapose.commands.{command}")
    run, module.run = module.run, lambda arguments: None
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            commands.main(words)
    except SystemExit as end:
        raise AssertionError(told.getvalue()) from end
    finally:
        module.run = run


@functools.cache
def load_build():
    spec = importlib.util.spec_from_file_location("build", ROOT / "datasets" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("python -m train.topdown --epochs=3", None),
        ("python -m train.topdown --no_such_flag=3", "no_such_flag"),
        ("python -m train.topdown --epochs=many", "many"),
        ("python datasets/build.py puppets --overwrite", None),
        ("python datasets/build.py no_such_set", "no_such_set"),
        ("kerapose predict street.mp4 --model=openpose_omz", None),
        ("kerapose predict street.mp4 --model=openpose_omz --hieght=3", "hieght"),
    ],
)
def test_a_wrong_command_is_found(line, lacks, flag_parser):
    if lacks is None:
        check(shlex.split(line), flag_parser)
    else:
        with pytest.raises((flags.Error, AssertionError), match=lacks):
            check(shlex.split(line), flag_parser)


# ---------------------------------------- links
@pytest.mark.parametrize("page", LONG)
def test_links_of_the_long_pages_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8")):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_a_place_in_docs_is_found_from_anywhere():
    """No page leads into the folder of links `docs/notebooks` or `docs/data_sets`, which only the builder needs."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert not re.search(r"\]\([^)]*docs/(notebooks|data_sets)/", text), page
