"""Published checkpoints by name: what each is, where its publisher has it, and with what figures.

`models.SimpleBaseline.from_preset(name)` gives the network, `predictors.load(name)` the predictor, and
`kerapose predict street.mp4 --model=NAME` the answer. Nothing of them comes with kerapose: a file is fetched from its
publisher when it is first asked for, and checked.
"""

from kerapose.presets.files import FetchError, fetch
from kerapose.presets.table import TASKS, File, Preset, class_names, get, is_name, names

__all__ = ["TASKS", "FetchError", "File", "Preset", "class_names", "fetch", "get", "is_name", "names"]
