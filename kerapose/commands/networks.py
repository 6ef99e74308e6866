"""From the files on a command line to predictors: one that knows itself needs no option, a network alone is asked."""

import argparse
import json
import pathlib

import keras

from kerapose import estimators, models, predictors, presets, skeletons, weights
from kerapose.estimators.published import estimator_of
from kerapose.models.reading import CHECKPOINTS, read
from kerapose.ops.images import PLAIN_NORMALIZATION
from kerapose.predictors.loading import kind_of, predictor_of

FINDS = ("top-down pose", "bottom-up pose")  # tasks of the presets that find people


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines the arguments by which `make_predictor` and `make_lifter` go."""
    add = parser.add_argument
    add("--model", required=True, metavar="FILE", help="model.keras of a training, a preset, or a published .pth")
    add(
        "--skeleton",
        metavar="SET",
        help="of a network alone: its keypoint set, a name (coco, openpose, ...) or a JSON file of Skeleton.to_dict()",
    )
    add("--height", type=int, metavar="PX", help="bottom-up: what a frame is resized to for the network")
    add("--detector", metavar="PRESET", help="top-down: KerasHub's detector of people, dfine_medium_coco for one")
    add("--codec", help="of a network of heatmaps alone: as in its training, gaussian for one")
    add("--lifter", metavar="FILE", help="model.keras of a lifter's training, or a preset")
    add("--lifter_skeleton", metavar="SET", help="of a lifter's network alone: the keypoint set that it takes")
    add("--pose_skeleton", metavar="SET", help="of a lifter's network alone: the keypoint set of its poses")
    add("--min_score", type=float, help="keypoints up to this do not count (default: 0 bottom-up, 0.3 top-down)")
    add("--batch", type=int, default=1, metavar="FRAMES", help="bottom-up: frames at once, for a GPU (default: 1)")
    add("--raw", action="store_true", help="leave keypoints as they are found; without it they are smoothed over time")


def make_predictor(arguments: argparse.Namespace) -> predictors.BottomUpPose | predictors.TopDownPose:
    """What finds people in an image.

    Args:
        arguments: `model`, `skeleton`, `codec`, `height`, `detector` of the command line.

    Returns:
        The predictor.

    Raises:
        ValueError, OSError: if file and options do not fit together, or options lack that the file needs.
    """
    path = pathlib.Path(arguments.model)
    model = _published(arguments) if _is_published(path) else _read(arguments.model, "--model", FINDS)
    if isinstance(model, estimators.PoseEstimator) or kind_of(model) in ("heatmaps", "places"):
        _refuse(arguments, "bottom-up networks", "height")
        find = _top_down(model, arguments)
    elif isinstance(model, estimators.BottomUpEstimator) or kind_of(model) == "fields":
        _refuse(arguments, "top-down networks", "detector", "codec")
        find = _bottom_up(model, arguments)
    else:
        raise ValueError(
            f"--model must find people in images, got {type(model).__name__} in {path}; give a PoseEstimator or "
            "BottomUpEstimator, or a network of one, and a lifter as --lifter."
        )
    return find


def make_lifter(arguments: argparse.Namespace, skeleton: skeletons.Skeleton) -> predictors.Lifter | None:
    """What lifts the keypoints that are found, if there is such a file on the command line.

    Args:
        arguments: `lifter`, `lifter_skeleton`, `pose_skeleton` of the command line.
        skeleton: the `Skeleton` of the keypoints.

    Returns:
        The predictor, or None.

    Raises:
        ValueError, OSError: as for `make_predictor`, or if the lifter's keypoints do not follow from those.
    """
    if arguments.lifter is None:
        _refuse(arguments, "a --lifter", "lifter_skeleton", "pose_skeleton")
        return None
    model = _read(arguments.lifter, "--lifter", ("lifting",))
    if isinstance(model, estimators.TrackLifter | estimators.StreamingLifter):
        _refuse_known(arguments, arguments.lifter, "lifter_skeleton", "pose_skeleton")
        return predictor_of(model, skeleton=skeleton)
    if not isinstance(model, models.TemporalLifter):
        raise ValueError(
            f"--lifter must be a TrackLifter or its network, a TemporalLifter, got {type(model).__name__} in "
            f"{arguments.lifter}; give the model.keras of a lifter's training."
        )
    _ask(arguments, model, arguments.lifter, "lifter_skeleton", "pose_skeleton")
    pose_skeleton, own = _skeleton(arguments.pose_skeleton), _skeleton(arguments.lifter_skeleton)
    return predictors.Lifter(model, skeleton, pose_skeleton=pose_skeleton, input_skeleton=own)


def make_action(arguments: argparse.Namespace) -> predictors.SkeletonAction | predictors.Action | None:
    """What names the actions of people, if there is such a file on the command line.

    Args:
        arguments: `action` of the command line.

    Raises:
        ValueError, OSError: if it is something else.
    """
    if arguments.action is None:
        return None
    model = _read(arguments.action, "--action", ("skeleton actions", "video actions"))
    if not isinstance(model, estimators.ActionRecognizer | estimators.VideoRecognizer):
        raise ValueError(
            f"--action must be a recognizer, which knows the names of its classes, got {type(model).__name__} in "
            f"{arguments.action}; give the model.keras of a training of poseconv3d, rgbpose or star_transformer."
        )
    return predictor_of(model)


def _read(path, what, tasks):
    if not presets.is_name(path):
        return read(path, what)
    task = presets.get(path).task
    if task not in tasks:  # before it is fetched
        raise ValueError(
            f"{what} must be for {' or '.join(tasks)}, got the preset {path} for {task}; kerapose presets lists others."
        )
    return estimator_of(path)


def _top_down(model, arguments):
    detector = arguments.detector and predictors.PersonDetector(arguments.detector)
    if isinstance(model, estimators.PoseEstimator):
        _refuse_known(arguments, arguments.model, "skeleton", "codec")
        return predictors.TopDownPose(model, detector=detector)
    _ask(arguments, model, arguments.model, "skeleton", *(["codec"] if kind_of(model) == "heatmaps" else []))
    options = {"normalization": PLAIN_NORMALIZATION} if isinstance(model, models.StackedHourglass) else {}
    return predictors.TopDownPose(model, _skeleton(arguments.skeleton), detector, codec=arguments.codec, **options)


def _bottom_up(model, arguments):
    options = {} if arguments.height is None else {"height": arguments.height}
    if isinstance(model, estimators.BottomUpEstimator):
        if not _is_published(arguments.model):
            _refuse_known(arguments, arguments.model, "skeleton")
        return predictors.BottomUpPose(model, **options)
    _ask(arguments, model, arguments.model, "skeleton")
    return predictors.BottomUpPose(model, _skeleton(arguments.skeleton), **options)


def _is_published(path):
    return pathlib.Path(path).suffix in CHECKPOINTS and pathlib.Path(path).is_file()


def _published(arguments):
    """A `BottomUpEstimator` with the weights of a published checkpoint, of one refinement stage or three."""
    skeleton = skeletons.OPENPOSE if arguments.skeleton is None else _skeleton(arguments.skeleton)
    outputs = {"num_heatmaps": skeleton.num_keypoints + 1, "num_pafs": 2 * skeleton.num_edges}
    refusals = []
    for variant in ("openpose", "openpose3"):
        network = models.LightweightOpenPose.from_variant(variant, **outputs)
        try:
            weights.load_torch(network, arguments.model)
        except ValueError as error:
            refusals.append(error)
        else:
            return estimators.BottomUpEstimator(network, skeleton)
    raise refusals[0]


def _ask(arguments: argparse.Namespace, network: keras.Model, path, *names):
    """Refuses a network alone unless the options say what it does not know."""
    lacking = [name for name in names if getattr(arguments, name) is None]
    if lacking:
        raise ValueError(
            f"A network alone does not know its {' and '.join(lacking)}, got {type(network).__name__} in {path}; give "
            f"{' and '.join(f'--{name}' for name in lacking)} as in its training, or the model.keras of the training, "
            "which knows."
        )


def _refuse(arguments, kind, *names):
    for name in names:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for {kind}, got it for another network; leave it out.")


def _refuse_known(arguments, path, *names):
    for name in names:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for a network alone, got it for {path}, which knows its own; leave it out.")


def _skeleton(given):
    """The set of a name, or of a JSON file."""
    if not given.endswith(".json"):
        return skeletons.get(given)
    try:
        return skeletons.Skeleton(**json.loads(pathlib.Path(given).read_text()))
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"A skeleton's file must be as Skeleton.to_dict() gives it, got {given} ({error}).") from error
