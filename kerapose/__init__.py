"""Human pose and skeleton-based action recognition in Keras 3: `from kerapose import models, weights`."""

import importlib
import pkgutil

__version__ = "0.2.0"


def __dir__():
    return ["__version__", "Pipeline", *(module.name for module in pkgutil.iter_modules(__path__))]


def __getattr__(name):
    """Imports a module of the package when it is first named, so that nothing is loaded that is not used."""
    if name == "Pipeline":
        return importlib.import_module(f"{__name__}.pipeline").Pipeline
    if name in __dir__():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"kerapose has no module {name!r}; it has {', '.join(__dir__()[1:])}.")
