"""From keypoints to named actions."""

import typing

import numpy as np

from kerapose import estimators, sides
from kerapose.data import clips
from kerapose.data.gate import mirrors
from kerapose.ops import clips as clip_ops


class ScoredAction(typing.NamedTuple):
    """An action and how probable it is."""

    name: str
    probability: float


class SkeletonAction:
    """Names the action of a sequence of keypoints.

    Each sequence is seen as in the published test: several clips, each also mirrored, all probabilities averaged.

    Args:
        network: C3D, SlowOnly or X3D trained on joint volumes; or {"joint": network, "limb": network}, either or both,
            whose probabilities are averaged.
        skeleton: the `Skeleton` of the keypoints.
        class_names: [C] names in the order of the labels.
        num_clips: clips a sequence; fewer are faster.
        **options: `size`, `flip_test`, `flip_labels`, `use_scores`, `sigma_px`, `padding` of `make_recognizer`, as in
            training.

    Raises:
        ValueError: if network, skeleton and names do not fit together.

    Example:
        >>> recognize = SkeletonAction({"joint": joint_network, "limb": limb_network}, skeletons.COCO, class_names)
        >>> recognize(keypoints, scores, frame_size=(1080, 1920))  # [M, T, 17, 2] pixels, [M, T, 17]
        [ScoredAction(name='kick', probability=0.97), ScoredAction(name='jump', probability=0.02), ...]

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    def __init__(self, network, skeleton, class_names, num_clips=10, **options):
        networks = network if isinstance(network, dict) else {"joint": network}
        if not networks:
            raise ValueError('There must be at least one network, got none; give {"joint": network}.')
        self.skeleton = skeleton
        self.class_names = [str(name) for name in class_names]
        options = with_flip_test(options, True, self.class_names, skeleton)
        self.recognizers = {
            modality: make_recognizer(one, modality, skeleton, self.class_names, num_clips=num_clips, **options)
            for modality, one in networks.items()
        }

    def __call__(self, keypoints, scores=None, frame_size=None, top=5):
        """Recognizes one sequence.

        Args:
            keypoints: [M, T, K, 2], or [T, K, 2] for one person, pixels, x first; (0, 0) or NaN where missing. Any M
                and T.
            scores: [M, T, K] or [T, K]; missing where 0. None: 1 where a keypoint is not missing.
            frame_size: (height, width), pixels. None: just large enough for the keypoints.
            top: how many actions to name.

        Returns:
            A list of `ScoredAction`, the most probable first.

        Raises:
            ValueError: if the sequence is not as described, or shows nobody.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}; use 1 for the best action alone.")
        probabilities = self.probabilities(keypoints, scores, frame_size)  # [C]
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [ScoredAction(self.class_names[i], float(probabilities[i])) for i in best]

    def probabilities(self, keypoints, scores=None, frame_size=None):
        """The probability of every class, in the order of the labels: [C] float32; arguments as for a call."""
        element = clips.make_element(keypoints, self.skeleton, scores, frame_size)
        inputs = {name: element[name][None] for name in ("keypoints", "scores", "frame_size")}
        answers = [recognizer.predict_on_batch(inputs)[0] for recognizer in self.recognizers.values()]
        return np.mean(answers, axis=0)


def make_recognizer(network, modality, skeleton, class_names, size=None, **options):
    """Puts round a network what the published test puts round it: keypoints in, probabilities out.

    Args:
        network: C3D, SlowOnly or X3D.
        modality: "joint" or "limb", what the volumes show that it was trained on.
        skeleton: the `Skeleton` of the keypoints.
        class_names: [C] names in the order of the labels; those of a left and a right change places in a mirror
            (`clips.mirrored_labels`).
        size: height and width of the volumes, pixels. None: 8/7 of the network's, as published (trained at 56, tested
            at 64): training crops see 7/8 of the people's box, tests all of it.
        **options: `num_clips`, `flip_test`, `flip_labels`, `use_scores`, `sigma_px`, `padding` of
            `estimators.ActionRecognizer`. Where the skeleton does not know its sides, there is no flip test.

    Returns:
        An `ActionRecognizer`.

    Raises:
        ValueError: if network, modality, skeleton and names do not fit together.

    Example:
        >>> recognizer = make_recognizer(network, "limb", skeletons.COCO, class_names, num_clips=10)
    """
    if modality not in ("joint", "limb"):
        raise ValueError(f'A modality is "joint" or "limb", got {modality!r}; use one of them.')
    limb = modality == "limb"
    _, num_frames, height, width, channels = network.input_shape
    expected = skeleton.num_edges if limb else skeleton.num_keypoints
    if channels != expected:
        raise ValueError(
            f"A {modality} network for {skeleton.name} takes {expected} channels, got one of {channels}; give the "
            "skeleton and the modality that it was trained with."
        )
    num_classes = network.output_shape[-1]
    if len(class_names) != num_classes:
        raise ValueError(
            f"class_names must name each class of the {modality} network, got {len(class_names)} names for "
            f"{num_classes} classes; give the names of the data set that it was trained on."
        )
    height, width = (size, size) if size else (clip_ops.whole_side(height), clip_ops.whole_side(width))
    recognizer = estimators.ActionRecognizer(
        network.resized((num_frames, height, width, channels)),
        skeleton.edge_flip_permutation if limb else skeleton.flip_permutation,
        skeleton.edges if limb else None,
        **with_flip_test(options, True, class_names, skeleton),
    )
    recognizer.jit_compile = False  # a new length of sequence would be a new compilation
    return recognizer


def with_flip_test(options, default, class_names, *skeletons):
    """The options of a recognizer with what becomes of its flip test.

    Args:
        options: `flip_test` and `flip_labels`, or none of them, and others.
        default: what `flip_test` is where it is not among the options.
        class_names: [C] of the labels.
        *skeletons: of the keypoints that are mirrored.

    Returns:
        The options: `flip_test` only where sides are known, and `flip_labels`, by the names if not given.
    """
    flip_test = mirrors.allowed(options.get("flip_test", default), *skeletons)
    labels = options.get("flip_labels")
    if labels is None:
        # Of classes without a mirror image only a test with mirrors has to tell: pairs that are given are not doubted.
        labels = clips.mirrored_labels(class_names, None if flip_test else sides.class_pairs(class_names))
    return options | {"flip_test": flip_test, "flip_labels": labels}
