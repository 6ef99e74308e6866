"""The whole way from a track of 2D keypoints to 3D poses: screen coordinates, padding, the mirror image, a network."""

import typing

import keras
from keras import ops

from kerapose import mirrors, skeletons
from kerapose.estimators.estimator import Estimator, check_skeleton
from kerapose.ops import cameras
from kerapose.types import Tensor


@keras.saving.register_keras_serializable("kerapose")
class TrackLifter(Estimator):
    """Lifts whole tracks of any length, as VideoPose3D is tested.

    It pads each track by its first and last frame so that every frame gets a pose, asks the network about the track and
    about its mirror image, and averages.

    Args:
        network: a `TemporalLifter`, in any form; it works in the dilated one.
        skeleton: the `Skeleton` of the K keypoints that it was trained on.
        pose_skeleton: the `Skeleton` of the J joints of the poses.
        trajectory: a `TemporalLifter` with one output joint, which places the root in camera space. None: there is
            none, and poses are relative to the root only.
        flip_test: whether to average with the mirrored track. Where a skeleton does not know its sides, nothing is
            mirrored, and a warning says so.
        training: how it was trained, a dict of what JSON can hold.

    Input: {"keypoints": [B, T, K, 2] pixels, x first, "frame_size": [B, 2] height and width in pixels} and, for tracks
    of unequal lengths that were padded to T, "length": [B] frames. Output: {"poses_m": [B, T, J, 3] metres, relative to
    the root, axes of the camera (x right, y down, z away)} and, with a trajectory network, "trajectory_m": [B, T, 3]
    metres, where the root is before the camera. Frames after the length of a track repeat its last one.

    Raises:
        ValueError: if networks and skeletons do not fit together.

    Example:
        >>> from kerapose import estimators, models, skeletons
        >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16)
        >>> lifter = estimators.TrackLifter(network, skeletons.H36M)
        >>> found = lifter({"keypoints": keypoints, "frame_size": np.array([frame_size] * 2)})
        >>> tuple(found["poses_m"].shape)  # two tracks of 30 frames
        (2, 30, 17, 3)

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-supervised Training",
    CVPR 2019.
    """

    CHOICES = ("flip_test",)

    def __init__(
        self,
        network: keras.Model,
        skeleton: skeletons.Skeleton,
        pose_skeleton: skeletons.Skeleton = skeletons.H36M,
        trajectory: keras.Model | None = None,
        flip_test: bool = True,
        training: dict | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(training, **kwargs)
        check_skeleton(skeleton)
        check_skeleton(pose_skeleton, "pose_skeleton")
        self.skeleton = skeleton
        self.pose_skeleton = pose_skeleton
        self.network = dilated(network)
        self.trajectory = None if trajectory is None else dilated(trajectory)
        self.flip_test = mirrors.allowed(flip_test, skeleton, pose_skeleton)
        self.built = True  # nothing has weights but the networks
        self._check()

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """3D poses of tracks; Keras calls it."""
        keypoints, frame_size = inputs["keypoints"], ops.cast(inputs["frame_size"], "float32")
        lengths = inputs.get("length")
        screen = cameras.normalize_screen(keypoints, ops.expand_dims(frame_size, 1))  # [B, T, K, 2]
        answer = {"poses_m": self.lift(screen, lengths)}
        if self.trajectory is not None:
            answer["trajectory_m"] = self.follow(screen, lengths)
        return answer

    def lift(self, screen: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Poses of tracks in screen coordinates (`ops.cameras.normalize_screen`).

        Args:
            screen: [B, T, K, 2].
            lengths: [B] frames of each track, behind which there is padding. None: T of each.

        Returns:
            [B, T, J, 3] metres, relative to the root.
        """
        return self._ask(self.network, screen, lengths, self.pose_skeleton.flip_permutation)

    def follow(self, screen: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Where the root is before the camera, by the trajectory network.

        Args:
            screen: as for `lift`.
            lengths: likewise.

        Returns:
            [B, T, 3] metres.
        """
        return self._ask(self.trajectory, screen, lengths, (0,))[:, :, 0]

    def _ask(self, network, screen, lengths, output_flip_permutation):
        screen = pad_track(ops.cast(screen, "float32"), network.pad, network.causal_shift, lengths)
        if not self.flip_test:
            return network(screen, training=False)
        mirrored = cameras.mirror(screen, self.skeleton.flip_permutation)
        both = ops.concatenate([screen, mirrored], axis=0)  # [2*B, T', K, 2]
        plain, mirrored = ops.split(network(both, training=False), 2, axis=0)
        return (plain + cameras.mirror(mirrored, output_flip_permutation)) / 2

    def compute_output_spec(self, inputs: dict[str, Tensor]) -> typing.Any:
        """Shapes and types of the outputs; Keras asks for it."""
        batch, frames = inputs["keypoints"].shape[:2]
        joints = self.pose_skeleton.num_keypoints
        answer = {"poses_m": keras.KerasTensor((batch, frames, joints, 3), "float32")}
        if self.trajectory is not None:
            answer["trajectory_m"] = keras.KerasTensor((batch, frames, 3), "float32")
        return answer

    def _check(self):
        _, _, joints_out, features = self.network.output_shape
        if self.network.num_joints != self.skeleton.num_keypoints:
            raise ValueError(
                f"A network that takes {self.skeleton.name} has {self.skeleton.num_keypoints} keypoints, got one of "
                f"{self.network.num_joints}; give the skeleton that it was trained with."
            )
        if joints_out != self.pose_skeleton.num_keypoints:
            raise ValueError(
                f"A network for {self.pose_skeleton.name} gives {self.pose_skeleton.num_keypoints} joints, got one of "
                f"{joints_out}; give the pose_skeleton that it was trained with."
            )
        if self.network.in_features != 2 or features != 3:
            raise ValueError(
                "A TrackLifter turns points (x, y) into (x, y, z), got a network with "
                f"in_features={self.network.in_features} and out_features={features}; use one with 2 and 3."
            )
        if self.trajectory is not None and self.trajectory.output_shape[-2:] != (1, 3):
            raise ValueError(
                f"A trajectory network gives one joint, got {self.trajectory.output_shape[-2]}; build it with "
                "num_joints_out=1."
            )
        if self.trajectory is not None and self.trajectory.num_joints != self.network.num_joints:
            raise ValueError(
                "The two networks take the same keypoints, got "
                f"{self.network.num_joints} and {self.trajectory.num_joints}; train them together."
            )


def dilated(network: keras.Model) -> keras.Model:
    """The form of a network that takes tracks of any length."""
    return network.as_form() if network.strided else network


def pad_track(track: Tensor, pad: int, causal_shift: int = 0, lengths: Tensor | None = None) -> Tensor:
    """Repeats the first and the last frame of tracks.

    Args:
        track: [B, T, ...].
        pad: frames to add at both ends.
        causal_shift: how many of them to move from the end to the beginning.
        lengths: [B] frames of each track, for tracks that were padded before. None: T.

    Returns:
        [B, T + 2 * pad, ...].
    """
    frames = ops.shape(track)[1]
    indices = ops.arange(frames + 2 * pad) - (pad + causal_shift)
    if lengths is None:
        return ops.take(track, ops.clip(indices, 0, frames - 1), axis=1)
    last = ops.expand_dims(ops.cast(lengths, "int32"), 1) - 1  # [B, 1]
    indices = ops.minimum(ops.maximum(ops.expand_dims(ops.cast(indices, "int32"), 0), 0), last)  # [B, T']
    indices = ops.reshape(indices, (-1, frames + 2 * pad, *(1 for _ in track.shape[2:])))
    return ops.take_along_axis(track, indices, axis=1)
