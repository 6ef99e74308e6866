"""Type hints: every public function and method says what it takes and gives, read off the source of every file."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Rooms whose functions have no hints yet; to become empty.
NOT_YET = set()


def room_of(path):
    """kerapose/ops/boxes.py -> ops.boxes, kerapose/tracking.py -> tracking."""
    return ".".join(path.relative_to(ROOT / "kerapose").with_suffix("").parts)


def typed_files():
    return [
        path
        for path in sorted((ROOT / "kerapose").rglob("*.py"))
        if not any(f"{room_of(path)}.".startswith(f"{room}.") for room in NOT_YET)
    ]


def missing_hints(source):
    """One sentence for each hint that a public function or method of a public class lacks."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield from missing_of(node, node.name, is_method=False)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and (is_special(inner.name) or not inner.name.startswith("_")):
                    yield from missing_of(inner, f"{node.name}.{inner.name}", is_method=True)


def is_special(name):
    return name.startswith("__") and name.endswith("__")


def missing_of(function, name, is_method):
    arguments = function.args
    places = [*arguments.posonlyargs, *arguments.args]
    is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    places = places[1:] if is_method and not is_static else places  # self, or the class
    for argument in [*places, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]:
        if argument is not None and argument.annotation is None:
            yield f"{function.lineno}: {name} does not say of what type {argument.arg} is."
    if function.returns is None and not (name.endswith(".__init__") and places):
        yield f"{function.lineno}: {name} does not say what it returns."


def test_public_functions_say_what_they_take_and_give():
    files = typed_files()
    assert len(files) > 60
    found = [f"{path.relative_to(ROOT)}:{lack}" for path in files for lack in missing_hints(path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("def f(a, b: int) -> int: ...", ["a"]),
        ("def f(a: int): ...", ["returns"]),
        ("def f(*names, key, **options) -> None: ...", ["names", "key", "options"]),
        ("def _f(a): ...", []),
        ("class A:\n    def __init__(self, a: int): ...\n    def _g(self, b): ...", []),
        ("class A:\n    def __call__(self, a): ...", ["a", "returns"]),
        ("class A:\n    @staticmethod\n    def f(a) -> int: ...", ["a"]),
        ("class A:\n    @classmethod\n    def f(cls, a) -> int: ...", ["a"]),
        ("class _A:\n    def f(self, a): ...", []),
        ("def f() -> int:\n    def g(a): ...", []),
    ],
)
def test_a_missing_hint_is_found(source, lacks):
    found = list(missing_hints(source))
    assert len(found) == len(lacks)
    assert all(lack in sentence for lack, sentence in zip(lacks, found, strict=True))
