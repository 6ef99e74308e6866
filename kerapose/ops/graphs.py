"""`keras.ops` that also work in TensorFlow's graphs under another backend, for the pipelines that all of them have."""

import functools
import importlib
import sys
import types
import typing

import keras
from keras import ops as keras_ops


class _AnyGraph:
    """`keras.ops`, or a module of it, whose functions are TensorFlow's in a graph of TensorFlow, else the backend's.

    Keras chooses a backend for the whole process: the functions in a graph are its own ones, told another backend.
    """

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name: str) -> typing.Any:
        found = getattr(self._module, name)
        if isinstance(found, types.ModuleType):
            found = _AnyGraph(found)
            setattr(self, name, found)
            return found
        return _on_tensorflow(found) if in_graph() else found


def in_graph() -> bool:
    """Whether a graph of TensorFlow is being made, of a pipeline, say."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and not tensorflow.executing_eagerly()


def _on_tensorflow(function):
    """A function of `keras.ops` that computes in TensorFlow."""
    backend = importlib.import_module("keras.src.backend.tensorflow")
    name = function.__name__
    return getattr(backend, name) if hasattr(backend, name) else _scope_on_tensorflow(function.__module__)[name]


@functools.cache
def _scope_on_tensorflow(name):
    """The global names of a module of `keras.ops` as its functions find them under the backend TensorFlow."""
    module, backend = sys.modules[name], importlib.import_module("keras.src.backend.tensorflow")
    told = vars(sys.modules["keras.src.backend"]) | vars(backend) | {"backend": lambda: "tensorflow"}
    scope = vars(module) | {"backend": types.SimpleNamespace(**told)}
    for own, value in vars(module).items():
        if isinstance(value, types.FunctionType) and value.__module__ == name:
            scope[own] = types.FunctionType(value.__code__, scope, own, value.__defaults__, value.__closure__)
            scope[own].__kwdefaults__ = value.__kwdefaults__
    return scope


ops = keras_ops if keras.backend.backend() == "tensorflow" else _AnyGraph(keras_ops)
