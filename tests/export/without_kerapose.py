"""Imported first, it leaves a process without kerapose and without Keras, as a server is."""

import importlib.machinery
import sys


class Refuse:
    """Finds nothing of these names."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kerapose", "keras", "jax"):  # TensorFlow brings in the last two where it can
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ModuleNotFoundError(f"no {spec.name} here")

    exec_module = create_module


sys.meta_path.insert(0, Refuse())
