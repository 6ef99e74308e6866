"""Once this is imported, TensorFlow cannot be: for programs under another backend, before they import Keras."""

import importlib.machinery
import sys


class Refused:
    """Finds TensorFlow (PyTorch, too, asks where it is without importing it) and refuses to load it."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] == "tensorflow" else None

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not to be imported under this backend")

    def exec_module(self, module):
        raise AssertionError("never reached: there is no module")


sys.meta_path.insert(0, Refused())
