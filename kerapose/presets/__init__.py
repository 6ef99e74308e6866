"""Published checkpoints by name: what each is, where its publisher has it, and with what figures.

``models.SimpleBaseline.from_preset(name)`` gives the network, ``predictors.load(name)`` the predictor, and
``kerapose predict street.mp4 --model=NAME`` the answer. kerapose brings no weights with it: a file is fetched from its
publisher when it is first asked for, and checked.

`TASKS` are the kinds of them: "top-down pose", "bottom-up pose", "lifting", "skeleton actions", "video actions" and
"start", networks of ImageNet or Kinetics from which a training may start (`weights.load_backbone`).
"""

from kerapose.presets.files import FetchError, fetch
from kerapose.presets.table import TASKS, File, Preset, class_names, get, is_name, names

__all__ = ["TASKS", "FetchError", "File", "Preset", "class_names", "fetch", "get", "is_name", "names"]
