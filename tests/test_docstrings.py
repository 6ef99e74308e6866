"""What the reference shows: every public function and class has its parts, in the house's order, and an example.

That the examples are true, `pytest` finds by running them (`conftest.py`).
"""

import importlib
import inspect
import pathlib
import re
import types
import typing

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("Args:", "Returns:", "Yields:", "Raises:", "Example:", "Paper:")  # in this order


def modules():
    """Names of the modules whose public names the reference shows, not of those that it shows without their members."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    shown = re.compile(r"automodule:: (\S+)$(?!\n +:no-members:)", re.MULTILINE)
    return [name for page in pages for name in shown.findall(page.read_text(encoding="utf-8"))]


def public(module):
    """The public functions and classes of a module, by name."""
    names = getattr(module, "__all__", None)
    if names is None:
        own = vars(module).items()
        names = [name for name, value in own if name[0] != "_" and getattr(value, "__module__", "") == module.__name__]
    found = {name: getattr(module, name) for name in names}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, type | types.FunctionType) and value.__module__.startswith("kerapose")
    }


def lacks(value):
    """One word for each thing that a docstring lacks."""
    text = inspect.getdoc(value) or ""
    if not text:
        yield "a docstring"
        return
    if not re.match(r"[A-Z0-9(`\"].*?[.:](\s|$)", text.split("\n\n")[0], re.DOTALL):
        yield "a sentence at the beginning"
    is_error = isinstance(value, type) and issubclass(value, Exception)
    parts = [part for part in PARTS if re.search(rf"^{part}", text, re.MULTILINE)]
    places = [text.index(f"\n{part}") for part in parts]
    if places != sorted(places):
        yield f"the order {', '.join(PARTS)}"
    if takes_something(value) and not is_error and "Args:" not in parts:
        yield "Args"
    if isinstance(value, types.FunctionType) and gives_something(value) and not {"Returns:", "Yields:"} & set(parts):
        yield "Returns"
    if not is_error and (">>>" not in text or "Example:" not in parts):
        yield "an example"


def takes_something(value):
    call = value.__init__ if isinstance(value, type) else value
    if call is object.__init__ or (isinstance(value, type) and "__init__" not in vars(value)):
        return False
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.name != "self" and p.kind not in kinds for p in inspect.signature(call).parameters.values())


def gives_something(function):
    nothing = (None, "None", typing.NoReturn, inspect.Signature.empty)
    return inspect.signature(function).return_annotation not in nothing


@pytest.mark.parametrize("name", modules())
def test_public_names_have_all_that_a_reader_needs(name):
    found = public(importlib.import_module(name))
    assert found or getattr(importlib.import_module(name), "__all__", None)
    missing = [f"{name}.{key} lacks {lack}." for key, value in found.items() for lack in lacks(value)]
    assert not missing, "\n".join(missing)


def test_the_reference_shows_every_room():
    rooms = {path.stem if path.suffix else path.name for path in (ROOT / "kerapose").iterdir()} - NOT_SHOWN
    shown = {name.split(".")[1] for name in modules()}
    assert rooms == shown


# What only the house itself, or the shell, calls.
NOT_SHOWN = {"__init__", "__main__", "__pycache__", "commands", "files", "predict", "py", "sides", "types"}


@pytest.mark.parametrize(
    ("text", "lack"),
    [
        ("Sums.\n\nArgs:\n    a: one.\n\nReturns:\n    A sum.\n\nExample:\n    >>> 1\n    1", None),
        ("Sums.\n\nReturns:\n    A sum.\n\nExample:\n    >>> 1\n    1", "Args"),
        ("Sums.\n\nArgs:\n    a: one.\n\nExample:\n    >>> 1\n    1", "Returns"),
        ("Sums.\n\nArgs:\n    a: one.\n\nReturns:\n    A sum.", "an example"),
        ("Sums.\n\nReturns:\n    A sum.\n\nArgs:\n    a: one.\n\nExample:\n    >>> 1\n    1", "the order"),
        ("sums a\n\nArgs:\n    a: one.\n\nReturns:\n    A sum.\n\nExample:\n    >>> 1\n    1", "a sentence"),
    ],
)
def test_what_a_docstring_lacks_is_found(text, lack):
    def function(a: int) -> int: ...

    function.__doc__ = text
    found = list(lacks(function))
    assert (not found) if lack is None else (len(found) == 1 and found[0].startswith(lack))
