"""The estimators of published checkpoints, with all that these were trained with."""

from kerapose import models, presets, skeletons
from kerapose.estimators.action_recognizer import ActionRecognizer
from kerapose.estimators.bottom_up_estimator import BottomUpEstimator
from kerapose.estimators.estimator import Estimator
from kerapose.estimators.pose_estimator import PoseEstimator
from kerapose.estimators.track_lifter import TrackLifter
from kerapose.estimators.video_recognizer import VideoRecognizer
from kerapose.models.network import Network
from kerapose.ops.images import PLAIN_NORMALIZATION

# Where the published test differs from what its codec or task has by default.
DECODING = {"resnet152_coco_384x288_dark": {"blur_kernel": 17}}
NORMALIZATION = {
    "princeton": PLAIN_NORMALIZATION,
    "open_model_zoo": {"mean": [0.502] * 3, "std": [1.0] * 3, "bgr": True},
}
TEST_MARGIN_PX = 8  # by which volumes are larger in the published test than in training
TEST_CLIPS = 10


def estimator_of(name: str) -> Estimator:
    """The estimator of a preset: its network, and the skeleton, codec, normalization, classes and sizes of its test.

    Args:
        name: of `presets.names()`.

    Raises:
        ValueError: if there is no such preset, or it finds nothing by itself.
        presets.FetchError: if its weights cannot be fetched.

    Example:
        >>> from kerapose.estimators import published
        >>> published.estimator_of("hrnet_w32_coco_256x192_udp").codec  # doctest: +SKIP
        'udp'
    """
    preset = presets.get(name)
    if preset.task == "start" or not preset.keypoints:
        raise ValueError(
            f"The preset {name} is of a network that sees no people by itself; use it as models.{preset.network}."
            "from_preset, or as a start of a training."
        )
    sets = [skeletons.get(one) for one in preset.keypoints]
    network = getattr(models, preset.network).from_preset(name)
    record = {
        "preset": name,
        "publisher": preset.publisher.name,
        "licence": preset.publisher.licence,
        "data": preset.data,
        "figures": preset.figures,
        "measured": preset.publisher.measured,
    }
    return _MAKERS[preset.task](preset, network, sets, training=record)


def _top_down(preset: presets.Preset, network: Network, sets, **options):
    options |= {"normalization": NORMALIZATION.get(preset.publisher.key), "decoding": DECODING.get(preset.name)}
    return PoseEstimator(network, *sets, codec=preset.kind, **options)


def _bottom_up(preset: presets.Preset, network: Network, sets, **options):
    options["normalization"] = NORMALIZATION.get(preset.publisher.key)
    return BottomUpEstimator(network, *sets, **options)


def _lifting(preset: presets.Preset, network: Network, sets, **options):
    return TrackLifter(network, *sets, **options)


def _skeleton_actions(preset: presets.Preset, network: Network, sets, **options):
    options |= {"size": preset.size[0] + TEST_MARGIN_PX, "num_clips": TEST_CLIPS, "flip_test": True}
    return ActionRecognizer({preset.kind: network}, *sets, presets.class_names(preset.classes), **options)


def _video_actions(preset: presets.Preset, network: Network, sets, **options):
    options |= {"num_clips": TEST_CLIPS} | ({"sigma_px": 0.6} if preset.kind == "pose" else {})
    recognizer = VideoRecognizer(network, *sets, presets.class_names(preset.classes), **options)
    return recognizer if preset.kind == "rgb" else recognizer.on_whole_box()  # as published


_MAKERS = {
    "top-down pose": _top_down,
    "bottom-up pose": _bottom_up,
    "lifting": _lifting,
    "skeleton actions": _skeleton_actions,
    "video actions": _video_actions,
}
