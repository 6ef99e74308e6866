"""From a file that knows itself to the predictor that goes with it."""

import typing

import keras

from kerapose import estimators, models, presets
from kerapose.estimators.published import estimator_of
from kerapose.estimators.video_recognizer import RGB_CHANNELS
from kerapose.models.reading import read
from kerapose.predictors.actions import SkeletonAction
from kerapose.predictors.bottom_up import BottomUpPose
from kerapose.predictors.lifting import Lifter
from kerapose.predictors.people import TopDownPose
from kerapose.predictors.videos import Action
from kerapose.types import Path

Predictor = TopDownPose | BottomUpPose | SkeletonAction | Action | Lifter

# How a network alone becomes a predictor, by what it gives or takes.
BY_HAND = {
    "fields": "predictors.BottomUpPose(network, skeleton)",
    "heatmaps": "predictors.TopDownPose(network, skeleton, codec=..., normalization=...)",
    "places": "predictors.TopDownPose(network, skeleton, normalization=...)",
    "tracks": "predictors.Lifter(network, skeleton, pose_skeleton=..., input_skeleton=...)",
    "volumes": 'predictors.SkeletonAction({"joint": network}, skeleton, class_names), or "limb"',
    "clips": "predictors.Action(network, class_names, skeleton)",
}


def load(path: Path, **options: typing.Any) -> Predictor:
    """Makes the predictor of a published checkpoint, or of the file that a training ends with.

    The file knows what it needs: skeleton, names, codec, normalization and the rest are those of the training. No code
    of the file is run.

    Args:
        path: name of a preset (`presets.names()`); or a `.keras` file of an estimator: of `PoseEstimator`,
            `BottomUpEstimator`, `ActionRecognizer`, `VideoRecognizer`, `TrackLifter`, or of `StreamingLifter`, whose
            poses of whole tracks are the same; or the folder of its `model.keras`.
        **options: what its predictor takes besides (`detector`, `published`, the `skeleton` of the keypoints that a
            `Lifter` is to be given), and the `CHOICES` of the estimator (`flip_test`, `num_clips`, `height`).

    Returns:
        A `TopDownPose`, `BottomUpPose`, `SkeletonAction`, `Action` or `Lifter`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, is damaged or newer than this kerapose, or has a network alone, which does
            not know what its numbers mean; one sentence says what is lacking. If there is no such preset.
        presets.FetchError: if the weights of a preset cannot be fetched.

    Example:
        >>> from kerapose import predictors, skeletons
        >>> find = predictors.load("resnet50_coco_256x192")  # doctest: +SKIP
        >>> find = predictors.load("runs/topdown/model.keras", flip_test=False)
        >>> find("street.jpg", boxes=boxes)[0]["left_wrist"]
        Keypoint(x=..., y=..., score=...)
        >>> lift = predictors.load("runs/lifter/model.keras", skeleton=skeletons.COCO)
        >>> lift(keypoints, frame_size).poses_m.shape  # of two people
        (2, 30, 17, 3)
    """
    model = estimator_of(path) if presets.is_name(path) else read(path)
    if not isinstance(model, estimators.Estimator):
        raise ValueError(
            f"A file must know what its network was trained for, got {path} with a {type(model).__name__} alone; give "
            f"the model.keras of the training, or {_by_hand(model)}, network being keras.models.load_model's."
        )
    return predictor_of(model, **options)


def predictor_of(estimator: estimators.Estimator, **options: typing.Any) -> Predictor:
    """The predictor of an estimator; options as for `load`."""
    if isinstance(estimator, estimators.StreamingLifter):
        estimator = estimators.TrackLifter(
            estimator.network,
            estimator.skeleton,
            estimator.pose_skeleton,
            flip_test=False,  # as a stream
            training=estimator.training,
        )
    for kind, predictor in (
        (estimators.PoseEstimator, TopDownPose),
        (estimators.BottomUpEstimator, BottomUpPose),
        (estimators.ActionRecognizer, SkeletonAction),
        (estimators.VideoRecognizer, Action),
        (estimators.TrackLifter, Lifter),
    ):
        if isinstance(estimator, kind):
            return predictor(estimator, **options)
    raise ValueError(f"A predictor is of one of {', '.join(estimators.__all__)}, got {type(estimator).__name__}.")


def kind_of(network: keras.Model) -> str | None:
    """What a network alone is for, by what goes in and comes out: a key of `BY_HAND`; None if for none of these."""
    given, found = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    if isinstance(given, dict):
        return "clips" if set(given) == {"rgb", "pose"} else None
    if isinstance(network, models.TemporalLifter):
        return "tracks"
    if not isinstance(given, tuple):
        return None
    if len(given) == 5:
        return "clips" if given[-1] == RGB_CHANNELS else "volumes"
    if len(given) != 4 or given[-1] != RGB_CHANNELS:
        return None
    if isinstance(found, list):
        if isinstance(network.output, dict):
            return "places" if set(network.output) == {"x", "y"} else None
        return "fields" if len(found) % 2 == 0 else None
    if not isinstance(found, tuple):
        return None
    if len(found) == 3:
        return "places" if found[-1] in (2, 4) else None
    return "heatmaps" if len(found) in (4, 5) else None


def _by_hand(network):
    kind = kind_of(network)
    return BY_HAND[kind] if kind else "an estimator of kerapose.estimators"
