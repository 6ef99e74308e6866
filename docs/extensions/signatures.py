"""Signatures as they are written: `Tensor` and `ArrayLike` by these names, and what a layer of Keras takes.

Autodoc writes out what the names of types stand for, and of Keras's classes it reads a `__new__` that takes anything.
"""

import ast
import inspect
import textwrap


def as_written(app, what, name, obj, options, signature, return_annotation):
    """The arguments of a function, a method or an `__init__` as in its source, and what it returns."""
    is_class = what in ("class", "exception")
    if signature is None or not (is_class or what in ("function", "method")):
        return None
    try:
        source = inspect.getsource(obj.__init__ if is_class else inspect.unwrap(obj))
    except (OSError, TypeError):  # made by `dataclasses`, or of Python itself
        return None
    (node,) = ast.parse(textwrap.dedent(source)).body
    if not isinstance(node, ast.FunctionDef):
        return None
    positional = node.args.posonlyargs or node.args.args
    if positional and positional[0].arg in ("self", "cls"):
        del positional[0]
    returned = None if is_class or node.returns is None else _text(node.returns)
    return f"({_text(node.args)})", returned


def _text(node):
    return ast.unparse(node).replace("typing.", "")


def setup(app):
    app.connect("autodoc-process-signature", as_written)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
