"""Who imports whom: the table of CONTRIBUTING.md, read off the source of every file."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TREES = ("kerapose", "datasets", "train", "benchmarks")

# A room may import itself and these; "data.pyskl" is one module of a room.
MAY_IMPORT = {
    "kerapose": set(),  # kerapose/__init__.py
    "types": set(),
    "sides": set(),
    "skeletons": {"sides"},
    "mirrors": {"sides", "skeletons"},
    "files": set(),
    "ops": set(),
    "layers": {"ops"},  # relaxed: HeatmapVolume is a layer round a function of ops
    "presets": set(),
    # relaxed: a network loads its own published weights by name
    "models": {"layers", "ops", "files", "weights", "presets"},
    "losses": {"ops"},
    "metrics": {"ops", "files", "skeletons", "data.coco"},  # relaxed: one reader of COCO's files, one rule of sigmas
    "data": {"ops", "sides", "mirrors", "skeletons", "files"},
    "visualize": {"skeletons"},
    "estimators": {"kerapose", "models", "presets", "layers", "ops", "sides", "mirrors", "skeletons"},
    "weights": {"layers", "ops"},
    "training": {
        "kerapose",  # the version, which a trained file notes
        "estimators",
        "evaluation",  # a training ends with its test
        "export",
        "models",
        "presets",
        "layers",
        "losses",
        "metrics",
        "data",
        "ops",
        "sides",
        "mirrors",
        "skeletons",
        "files",
        "visualize",
        "weights",
    },
    "evaluation": {"estimators", "metrics", "data", "ops", "skeletons"},
    # relaxed: an exported model decodes images as training does, and refuses what the predictors refuse
    "export": {"estimators", "models", "layers", "ops", "skeletons", "data.images", "data.gate"},
    "predictors": {"estimators", "models", "presets", "data", "ops", "sides", "skeletons", "visualize", "files"},
    "tracking": {"metrics", "skeletons"},
    "pipeline": {
        "predictors",
        "estimators",
        "tracking",
        "data",
        "ops",
        "skeletons",
        "files",
        "visualize",
    },
    # relaxed: one reader of each kind of file, one gate, one way to find a prepared data set, and one projection
    "datasets": {
        "skeletons",
        "files",
        "data.pyskl",
        "data.labels",
        "data.pickles",
        "data.coco",
        "data.gate",
        "data.images",
        "data.frames",
        "data.prepared",
        "ops.cameras",
    },
}
for room in set(MAY_IMPORT) - {"kerapose", "types"}:
    MAY_IMPORT[room] |= {"types"}
# What people start from a command line may import everything below it.
MAY_IMPORT["commands"] = set(MAY_IMPORT) - {"datasets"}
MAY_IMPORT["__main__"] = {"commands"}
MAY_IMPORT["predict"] = {"commands"}  # the command's former name
MAY_IMPORT["train"] = MAY_IMPORT["commands"] | {"commands"}  # data sets by name, through TFDS
MAY_IMPORT["benchmarks"] = MAY_IMPORT["train"] | {"train"}
MAY_USE_TENSORFLOW = {"data", "export", "training", "evaluation", "train", "datasets", "benchmarks"}
# Relaxed: under this very condition a layer may call a faster TensorFlow kernel. Other backends never see it.
TENSORFLOW_GUARD = "keras.backend.backend() == 'tensorflow'"
MAY_USE_TENSORFLOW_GUARDED = {"layers"}


def violations(root):
    """One sentence for each import under `root` that the tables above do not allow."""
    return [
        f"{path.relative_to(root)}:{line}: {complaint}"
        for tree in TREES
        for path in sorted((root / tree).rglob("*.py"))
        for line, complaint in file_violations(root, path)
    ]


def file_violations(root, path):
    relative = path.relative_to(root)
    room = room_of_file(relative)
    if room not in MAY_IMPORT:
        yield 1, f"the room {room} is not in the table; add it there and to CONTRIBUTING.md."
        return
    source = ast.parse(path.read_text())
    guarded = guarded_nodes(source)
    for node in ast.walk(source):
        for name in imported_names(node, relative):
            for complaint in (
                room_complaint(root, room, name),
                tensorflow_complaint(room, name, node in guarded),
                flags_complaint(relative, room, name),
            ):
                if complaint:
                    yield node.lineno, complaint


def room_of_file(relative):
    """kerapose/models/c3d.py -> models, kerapose/tracking.py -> tracking, train/common.py -> train."""
    parts = relative.with_suffix("").parts
    if parts[0] != "kerapose":
        return parts[0]
    return "kerapose" if parts[1] == "__init__" else parts[1]


def imported_names(node, relative):
    """The full dotted names that an import statement asks for, relative ones resolved; of any other node, none."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = relative.parent.parts  # of a module and of an __init__.py alike
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    return [f"{base}.{alias.name}" for alias in node.names]


def room_complaint(root, room, name):
    target = our_module(root, name)
    if target is None or target.split(".")[0] == room:
        return None
    if any(f"{target}.".startswith(f"{allowed}.") for allowed in MAY_IMPORT[room]):
        return None
    allowed = ", ".join(sorted(MAY_IMPORT[room])) or "nothing of ours"
    return f"imports {name}; {room} may import {allowed}."


def our_module(root, name):
    """A dotted name as the table writes it ("models.c3d.C3D", "datasets.puppets"), or None where it is not ours."""
    first, _, rest = name.partition(".")
    if first == "kerapose":
        # Neither a bare `import kerapose` nor a star says which room is meant: both count as the whole package.
        return "kerapose" if rest in ("", "*") or rest.startswith("__") else rest
    if (root / "datasets" / first).is_dir():  # found by that name from datasets/build.py
        return f"datasets.{name}"
    return name if first in TREES else None


def tensorflow_complaint(room, name, guarded):
    if not name.split(".")[0].startswith("tensorflow") or room in MAY_USE_TENSORFLOW:
        return None
    if guarded and room in MAY_USE_TENSORFLOW_GUARDED:
        return None
    return f"imports {name}; {room} is written in keras.ops and must run without TensorFlow."


def flags_complaint(relative, room, name):
    is_flags = f"{name}.".startswith(("absl.flags.", "absl.app.")) or name in ("absl", "absl.*")
    if not is_flags or room in ("train", "benchmarks") or relative.as_posix() == "datasets/build.py":
        return None
    return f"imports {name}; flags are for train/, benchmarks/ and datasets/build.py."


def guarded_nodes(source):
    """Every node inside `if keras.backend.backend() == "tensorflow":` (not in its else)."""
    guards = (
        node for node in ast.walk(source) if isinstance(node, ast.If) and ast.unparse(node.test) == TENSORFLOW_GUARD
    )
    return {inner for guard in guards for statement in guard.body for inner in ast.walk(statement)}


def test_every_import_is_allowed():
    assert (ROOT / "kerapose" / "__init__.py").is_file()
    found = violations(ROOT)
    assert not found, "\n".join(found)


def write_tree(root, files):
    (root / "datasets" / "puppets").mkdir(parents=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


GUARDED = 'import keras\nif keras.backend.backend() == "tensorflow":\n    import tensorflow as tf\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kerapose/ops/boxes.py", "from kerapose import models"),
        ("kerapose/ops/boxes.py", "from ..models.c3d import C3D"),
        ("kerapose/ops/__init__.py", "from ..skeletons import COCO"),
        ("kerapose/skeletons.py", "import kerapose.ops.heatmaps as h"),
        ("kerapose/models/c3d.py", "from .. import skeletons"),
        ("kerapose/models/c3d.py", "import kerapose"),
        ("kerapose/models/c3d.py", "from kerapose import *"),
        ("kerapose/models/c3d.py", "def late():\n    from kerapose.skeletons import COCO"),
        ("kerapose/models/c3d.py", "import tensorflow as tf"),
        ("kerapose/models/c3d.py", GUARDED),
        ("kerapose/layers/norms.py", "import tensorflow as tf"),
        ("kerapose/layers/norms.py", GUARDED + "else:\n    import tensorflow_datasets"),
        ("kerapose/losses.py", "from tensorflow.nn import relu"),
        ("kerapose/data/clips.py", "from kerapose.models import C3D"),
        ("kerapose/data/clips.py", "from absl import flags"),
        ("kerapose/visualize/images.py", "from kerapose import ops"),
        ("kerapose/export/actions.py", "from kerapose.data import clips"),
        ("kerapose/weights/x.py", "import train.common"),
        ("kerapose/weights/x.py", "from absl.flags import FLAGS"),
        ("kerapose/metrics/people.py", "from datasets.puppets import body"),
        ("kerapose/metrics/people.py", "import puppets.body"),
        ("kerapose/__init__.py", "from kerapose import models"),
        ("kerapose/new_room.py", "import math"),
        ("datasets/puppets/body.py", "from kerapose.data import clips"),
        ("datasets/puppets/body.py", "from kerapose import data"),
        ("datasets/puppets/body.py", "from kerapose.ops import boxes"),
        ("datasets/puppets/body.py", "from absl import app"),
        ("train/poseconv3d.py", "from datasets.puppets import body"),
        ("benchmarks/networks.py", "import puppets"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, name, text):
    write_tree(tmp_path, {name: text})
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(f"{name}:")


def test_allowed_imports_pass(tmp_path):
    files = {
        "kerapose/__init__.py": "import importlib",
        "kerapose/ops/boxes.py": "import numpy as np\nfrom keras import ops\nfrom . import sequences",
        "kerapose/layers/norms.py": GUARDED + "from kerapose.ops import heatmaps",
        "kerapose/models/c3d.py": "from kerapose.layers import ConvNorm\nfrom .network import Network",
        "kerapose/data/clips.py": "import tensorflow as tf\nfrom ..ops import sequences\nfrom absl import logging",
        "kerapose/export/actions.py": "import tensorflow\nfrom kerapose.data import images\nfrom ..ops import heatmaps",
        "kerapose/predictors/people.py": "from kerapose import data, models, ops, skeletons, visualize",
        "datasets/build.py": "from absl import app, flags\nimport puppets.scene",
        "datasets/puppets/scene.py": "from . import body\nfrom kerapose.skeletons import COCO",
        "datasets/track_records.py": "from kerapose.ops import cameras as camera_ops",
        "datasets/pyskl_clips/reader.py": "from kerapose.data.pyskl import read\nfrom kerapose.data import pyskl",
        "train/poseconv3d.py": "import kerapose\nfrom kerapose import models, weights\nfrom train import common",
        "benchmarks/networks.py": "from absl import app, flags\nfrom kerapose import models\nfrom train import common",
    }
    write_tree(tmp_path, files)
    assert violations(tmp_path) == []
