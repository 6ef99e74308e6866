"""The whole way from keypoints to an action: clips, heatmap volumes, networks, and the mean over clips."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from kerapose import mirrors, skeletons
from kerapose.estimators.estimator import Estimator, check_class_names, check_skeleton, mirrored_labels
from kerapose.layers import HeatmapVolume
from kerapose.ops import clips, heatmaps
from kerapose.ops.graphs import ops
from kerapose.types import Tensor

MODALITIES = ("joint", "limb")


@keras.saving.register_keras_serializable("kerapose")
class ActionRecognizer(Estimator):
    """Recognizes the action of a sequence of keypoints of any length, as PoseConv3D is tested.

    It samples clips, crops them to the people, draws their volumes, asks the network about each and about its mirror
    image, and averages the probabilities.

    Args:
        network: a network of volumes [B, L, H, W, K] of joints, any of C3D, SlowOnly, X3D; or {"joint": network,
            "limb": network}, either or both, whose probabilities are averaged, volumes of limbs being [B, L, H, W, E].
        skeleton: the `Skeleton` of the keypoints.
        class_names: [C] names in the order of the labels.
        size: height and width of the volumes, pixels, or one number for both. None: 8/7 of the network's, as published
            (trained at 56, tested at 64): training crops see 7/8 of the people's box, tests all of it. A network of
            another size is copied.
        num_clips: clips of a sequence; the published test takes 10.
        flip_test: whether to average with the mirrored volumes. Where the skeleton does not know its sides, nothing is
            mirrored, and a warning says so.
        flip_labels: [C] the class that each becomes in a mirror. None: by the names (`mirrors.mirrored_labels`).
        use_scores: whether a keypoint is drawn as high as its score, or all with 1.
        sigma_px: of the Gaussians, pixels of the volume.
        padding: of the compact box, as a fraction of its half size.
        training: how it was trained, a dict of what JSON can hold.

    Input: {"keypoints": [B, M, T, K, 2] pixels, x first, (0, 0) where missing, "scores": [B, M, T, K], zero for
    padding, "frame_size": [B, 2] height and width in pixels}. Output: probabilities [B, C].

    Raises:
        ValueError: if networks, skeleton and names do not fit together.

    Example:
        >>> from kerapose import estimators, models, skeletons
        >>> network = models.C3D(2, input_shape=(8, 32, 32, 17), base_filters=4, num_stages=3)
        >>> recognizer = estimators.ActionRecognizer(network, skeletons.COCO, ["walk", "kick"], num_clips=2)
        >>> sequence = {"keypoints": keypoints[None], "scores": scores[None], "frame_size": np.array([frame_size])}
        >>> tuple(recognizer(sequence).shape), recognizer.class_names
        ((1, 2), ('walk', 'kick'))

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    CHOICES = ("size", "num_clips", "flip_test", "flip_labels")

    def __init__(
        self,
        network: keras.Model | dict[str, keras.Model],
        skeleton: skeletons.Skeleton,
        class_names: Sequence[str],
        size: int | tuple[int, int] | None = None,
        num_clips: int = 1,
        flip_test: bool = True,
        flip_labels: Sequence[int] | None = None,
        use_scores: bool = True,
        sigma_px: float = 0.6,
        padding: float = 0.25,
        training: dict | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(training, **kwargs)
        check_skeleton(skeleton)
        networks = network if isinstance(network, dict) else {"joint": network}
        _check_networks(networks, skeleton)
        self.skeleton = skeleton
        self.num_classes = next(iter(networks.values())).output_shape[-1]
        for modality, one in networks.items():
            self.class_names = check_class_names(class_names, one.output_shape[-1], f"{modality} network")
        self.size = _size_of(networks, size)
        self.network = {modality: _resized(one, self.size) for modality, one in networks.items()}
        self.num_clips = num_clips
        self.flip_test = mirrors.allowed(flip_test, skeleton)
        self.flip_labels = mirrored_labels(flip_labels, self.class_names, self.flip_test)
        self.use_scores = use_scores
        self.sigma_px = sigma_px
        self.padding = padding
        edges, options = {"joint": None, "limb": skeleton.edges}, {"sigma_px": sigma_px, "dtype": self.dtype_policy}
        self.volumes = {name: HeatmapVolume(*self.size, edges[name], name=name, **options) for name in networks}
        self.probabilities = layers.Softmax(dtype="float32", name="probabilities")
        self.built = True  # nothing has weights but the networks

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        """Probabilities of the actions; Keras calls it."""
        return self.from_clips(self.clips(inputs))

    def clips(self, inputs: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The clips of sequences, which have one shape whatever the length of a sequence.

        It also works inside a `tf.data` pipeline, on any backend.

        Args:
            inputs: what the recognizer is called with.

        Returns:
            For each modality {"keypoints": [B*N, M, L, K, 2] pixels of the volume, "scores": [B*N, M, L, K]}, N clips
            of L frames of each sequence.

        Example:
            >>> from kerapose import predictors
            >>> recognizer = predictors.load("runs/poseconv3d/model.keras", num_clips=3).estimator
            >>> sequence = {"keypoints": keypoints[None], "scores": scores[None], "frame_size": np.array([frame_size])}
            >>> tuple(recognizer.clips(sequence)["joint"]["keypoints"].shape)  # 3 clips of 8 frames
            (3, 2, 8, 17, 2)
        """
        lengths = {modality: network.input_shape[1] for modality, network in self.network.items()}
        sampled = {length: self._clips(inputs, length) for length in dict.fromkeys(lengths.values())}
        return {modality: sampled[length] for modality, length in lengths.items()}

    def from_clips(self, clips: dict[str, dict[str, Tensor]]) -> Tensor:
        """Names the actions of sequences by their clips.

        Args:
            clips: what `clips` gives.

        Returns:
            Probabilities [B, num_classes] float32.

        Example:
            >>> from kerapose import predictors
            >>> recognizer = predictors.load("runs/poseconv3d/model.keras", num_clips=3).estimator
            >>> sequence = {"keypoints": keypoints[None], "scores": scores[None], "frame_size": np.array([frame_size])}
            >>> tuple(recognizer.from_clips(recognizer.clips(sequence)).shape)
            (1, 2)
        """
        answers = [self._answer(modality, **clips[modality]) for modality in self.network]
        return sum(answers) / len(answers)

    def _clips(self, inputs, num_frames):
        """The clips of all sequences, for networks of so many frames."""
        keypoints, scores = inputs["keypoints"], inputs["scores"]
        if not self.use_scores:
            scores = clips.full_scores(scores)
        sampling = {"num_frames": num_frames, "num_clips": self.num_clips, "size": self.size}
        keypoints, scores = clips.evaluation_clips(
            keypoints, scores, inputs["frame_size"], padding=self.padding, **sampling
        )  # [B, N, M, L, K, 2], [B, N, M, L, K]
        people, num_keypoints = ops.shape(keypoints)[2], keypoints.shape[-2]
        keypoints = ops.reshape(keypoints, (-1, people, num_frames, num_keypoints, 2))
        return {"keypoints": keypoints, "scores": ops.reshape(scores, (-1, people, num_frames, num_keypoints))}

    def _answer(self, modality, keypoints, scores):
        """What one network says of clips, [B, C], the mean over a sequence's clips and their mirror images."""
        network, of_limbs = self.network[modality], modality == "limb"
        volumes = self.volumes[modality]({"keypoints": keypoints, "scores": scores})  # [B*N, L, H, W, K or E]
        answer = self._mean_over_clips(network, volumes)
        if not self.flip_test:
            return answer
        permutation = self.skeleton.edge_flip_permutation if of_limbs else self.skeleton.flip_permutation
        mirrored = self._mean_over_clips(network, heatmaps.flip_volume(volumes, permutation))
        return (answer + ops.take(mirrored, np.asarray(self.flip_labels, "int32"), axis=-1)) / 2

    def _mean_over_clips(self, network, volumes):
        """[B*N, L, H, W, K or E] -> [B, C]."""
        probabilities = self.probabilities(network(volumes, training=False))  # [B*N, C]
        return ops.mean(ops.reshape(probabilities, (-1, self.num_clips, self.num_classes)), axis=1)

    def compute_output_shape(self, input_shape: typing.Any) -> typing.Any:
        """Shape of the output for shapes of the inputs; Keras asks for it."""
        return (input_shape["keypoints"][0], self.num_classes)


def _check_networks(networks, skeleton):
    """Refuses what are no networks of joints and limbs of a skeleton."""
    if not networks:
        raise ValueError('There must be at least one network, got none; give {"joint": network}.')
    for modality, network in networks.items():
        if modality not in MODALITIES:
            raise ValueError(f'A modality is "joint" or "limb", got {modality!r}; use one of them.')
        expected = skeleton.num_edges if modality == "limb" else skeleton.num_keypoints
        shape = network.input_shape
        if not isinstance(shape, tuple) or len(shape) != 5:
            raise ValueError(
                f"A {modality} network takes volumes [B, L, H, W, C], got one of {shape}; use C3D, SlowOnly or X3D."
            )
        if shape[-1] != expected:
            raise ValueError(
                f"A {modality} network for {skeleton.name} takes {expected} channels, got one of {shape[-1]}; give the "
                "skeleton and the modality that it was trained with."
            )


def _size_of(networks, size):
    """Height and width of the volumes of all networks."""
    if size is not None:
        return (int(size),) * 2 if np.ndim(size) == 0 else tuple(int(side) for side in size)
    sizes = {network.input_shape[2:4] for network in networks.values()}
    if len(sizes) > 1:
        raise ValueError(f"The networks must take volumes of one size, got {sorted(sizes)}; give size, say 64.")
    return tuple(clips.whole_side(side) for side in sizes.pop())


def _resized(network, size):
    """The network for volumes of a size; it is itself if they have that size already."""
    _, length, *own, channels = network.input_shape
    if tuple(own) == size:
        return network
    if not hasattr(network, "resized"):
        raise ValueError(
            f"A network of this package can be copied for volumes of another size, got {type(network).__name__} of "
            f"{tuple(own)} for {size}; give that size."
        )
    return network.resized((length, *size, channels))
