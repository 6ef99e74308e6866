"""The whole way from keypoints to an action: clips, heatmap volumes, a network, and the mean over clips."""

import keras
import numpy as np
from keras import layers, ops

from kerapose.layers import HeatmapVolume
from kerapose.ops import clips, heatmaps


@keras.saving.register_keras_serializable("kerapose")
class ActionRecognizer(keras.Model):
    """Recognizes the action of a sequence of keypoints of any length, as PoseConv3D is tested.

    It samples clips, crops them to the people, draws their volumes, asks the network about each and about its mirror
    image, and averages the probabilities. It is what is tested, what predicts and what is exported.

    Args:
        network: a network of volumes [B, L, H, W, C], any of C3D, SlowOnly, X3D; L, H and W are read from its input.
        flip_permutation: [K] (`Skeleton.flip_permutation`), or [E] for limbs (`Skeleton.edge_flip_permutation`).
        edges: [E, 2] limbs (`Skeleton.edges`) that the network was trained on. None: joints.
        num_clips: clips a sequence; the published test takes 10.
        flip_test: whether to average with the mirrored volumes.
        flip_labels: [num_classes] the class that each becomes in a mirror, for classes that have a side. None: its own.
        use_scores: whether a keypoint is drawn as high as its score, or all with 1.
        sigma_px: of the Gaussians.
        padding: of the compact box, as a fraction of its half size.

    Input: {"keypoints": [B, M, T, K, 2] pixels, x first, (0, 0) where missing, "scores": [B, M, T, K], zero for
    padding, "frame_size": [B, 2] height and width in pixels}. Output: probabilities [B, num_classes].

    Example:
        >>> recognizer = ActionRecognizer(network, skeletons.COCO.flip_permutation, num_clips=10)
        >>> recognizer({"keypoints": k, "scores": s, "frame_size": np.array([[1080, 1920]])}).shape
        (1, 60)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    def __init__(
        self,
        network,
        flip_permutation,
        edges=None,
        num_clips=1,
        flip_test=True,
        flip_labels=None,
        use_scores=True,
        sigma_px=0.6,
        padding=0.25,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _, num_frames, height, width, channels = network.input_shape
        if channels != len(flip_permutation):
            raise ValueError(
                f"flip_permutation has one entry per channel of the network, got {len(flip_permutation)} for "
                f"{channels} channels; use the flip_permutation of the joints, or of the limbs (edge_flip_permutation)."
            )
        self.network = network
        self.flip_permutation = tuple(int(i) for i in flip_permutation)
        self.edges = None if edges is None else tuple((int(a), int(b)) for a, b in edges)
        self.num_clips = num_clips
        self.flip_test = flip_test
        self.flip_labels = None if flip_labels is None else tuple(int(i) for i in flip_labels)
        self.use_scores = use_scores
        self.sigma_px = sigma_px
        self.padding = padding
        self.num_frames = num_frames
        self.volume_size = (height, width)
        self.volume = HeatmapVolume(height, width, self.edges, sigma_px, name="volume")
        self.probabilities = layers.Softmax(dtype="float32", name="probabilities")
        self.autocast = False  # pixels are not rounded to bfloat16

    def call(self, inputs):
        keypoints, scores = inputs["keypoints"], inputs["scores"]
        if not self.use_scores:
            scores = clips.full_scores(scores)
        sampling = {"num_frames": self.num_frames, "num_clips": self.num_clips, "size": self.volume_size}
        keypoints, scores = clips.evaluation_clips(
            keypoints, scores, inputs["frame_size"], padding=self.padding, **sampling
        )  # [B, N, M, L, K, 2], [B, N, M, L, K]
        people, num_keypoints = ops.shape(keypoints)[2], keypoints.shape[-2]
        keypoints = ops.reshape(keypoints, (-1, people, self.num_frames, num_keypoints, 2))  # [B*N, M, L, K, 2]
        scores = ops.reshape(scores, (-1, people, self.num_frames, num_keypoints))
        volumes = self.volume({"keypoints": keypoints, "scores": scores})  # [B*N, L, H, W, C]
        probabilities = self._mean_over_clips(volumes)
        if self.flip_test:
            mirrored = self._mean_over_clips(heatmaps.flip_volume(volumes, self.flip_permutation))
            if self.flip_labels is not None:
                mirrored = ops.take(mirrored, np.asarray(self.flip_labels, "int32"), axis=-1)
            probabilities = (probabilities + mirrored) / 2
        return probabilities

    def _mean_over_clips(self, volumes):
        """[B*N, L, H, W, C] -> [B, num_classes]."""
        probabilities = self.probabilities(self.network(volumes, training=False))  # [B*N, num_classes]
        return ops.mean(ops.reshape(probabilities, (-1, self.num_clips, probabilities.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape["keypoints"][0], self.network.output_shape[-1])

    def get_config(self):
        return {
            "name": self.name,
            "network": keras.saving.serialize_keras_object(self.network),
            "flip_permutation": self.flip_permutation,
            "edges": self.edges,
            "num_clips": self.num_clips,
            "flip_test": self.flip_test,
            "flip_labels": self.flip_labels,
            "use_scores": self.use_scores,
            "sigma_px": self.sigma_px,
            "padding": self.padding,
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)
