"""StreamingLifter: a causal TemporalLifter that takes one frame at a time and remembers what it needs of the past."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerapose import skeletons
from kerapose.estimators.estimator import Estimator, check_skeleton
from kerapose.types import Tensor


@keras.saving.register_keras_serializable("kerapose")
class StreamingLifter(Estimator):
    """Gives the poses of a causal lifter frame by frame: a frame costs one column of the network, not a whole window.

    Each convolution over time with a width w and a dilation d keeps its last (w - 1) * d inputs in a ring buffer.
    Before its first frame a track is taken to have stood still; `TrackLifter` pads its tracks by their first frame, so
    that both give the same poses.

    The state goes in and comes out (`step`), so that it may live on a client, in a served model or in JAX. Called as a
    function, the object keeps the state itself. Norms are folded into the convolutions once, when it is made: what the
    network learns later does not reach it.

    Args:
        network: a causal `TemporalLifter`, in the dilated or strided form.
        skeleton: the `Skeleton` of the K keypoints that it was trained on.
        pose_skeleton: the `Skeleton` of the J joints of the poses; of a trajectory network, a set of the root alone.
        training: how it was trained, a dict of what JSON can hold.

    Raises:
        ValueError: if the network is not causal, or dense, or does not fit the skeletons; if the number of tracks
            changes between two frames.

    Example:
        >>> from kerapose import estimators, models, skeletons
        >>> from kerapose.ops import cameras
        >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=True)
        >>> stream = estimators.StreamingLifter(network, skeletons.H36M)
        >>> for frame in range(3):
        ...     poses_m = stream(cameras.normalize_screen(keypoints[:, frame], frame_size))  # two people
        >>> tuple(poses_m.shape)
        (2, 17, 3)
        >>> stream.reset([1])  # another person has taken the place of the second
    """

    def __init__(
        self,
        network: keras.Model,
        skeleton: skeletons.Skeleton,
        pose_skeleton: skeletons.Skeleton = skeletons.H36M,
        training: dict | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(training, **kwargs)
        check_skeleton(skeleton)
        check_skeleton(pose_skeleton, "pose_skeleton")
        if not network.causal or network.dense:
            form = "dense" if network.causal else "not causal"
            raise ValueError(
                f"A stream needs a causal, dilated network, got one that is {form}; train with causal=True."
            )
        counts, found = (skeleton.num_keypoints, pose_skeleton.num_keypoints), network.output_shape[-2]
        if counts != (network.num_joints, found):
            raise ValueError(
                f"A stream from {skeleton.name} to {pose_skeleton.name} takes {counts[0]} keypoints and gives "
                f"{counts[1]} joints, got a network of {network.num_joints} and {found}; give the skeletons that it "
                "was trained with."
            )
        self.network = network
        self.skeleton = skeleton
        self.pose_skeleton = pose_skeleton
        self.num_joints, self.in_features = network.num_joints, network.in_features
        self.pose_shape = network.output_shape[-2:]
        # (width, dilation) of every convolution, the first over time, then in pairs: over time, of one frame.
        dilations = np.cumprod((1, *network.filter_widths[:-1]))
        self.taps = [(int(w), int(d)) for w, d in zip(network.filter_widths, dilations, strict=True)]
        self.kernels, self.shifts = [], []
        for layer in network.convolutions():
            kernel, shift = layer.folded()
            width, channels, filters = kernel.shape
            kernel = ops.reshape(kernel, (width * channels, filters))
            for name, values, kept in (("kernel", kernel, self.kernels), ("shift", shift, self.shifts)):
                variable = self.add_weight(name=f"{layer.name}_{name}", shape=values.shape, trainable=False)
                variable.assign(values)
                kept.append(variable)
        self.shrink = network.get_layer("shrink")
        self.state = None

    def initial_state(self, num_tracks: int) -> dict[str, Tensor]:
        """The state before the first frame of `num_tracks` tracks.

        Args:
            num_tracks: M, the number of people.

        Returns:
            {"position": [1] int32, the number of frames so far, "fresh": [M] float32, 1 for tracks without a past,
            "buffer_0", ...: [M, (w - 1) * d, C] float32 past inputs of each convolution over time}.

        Example:
            >>> from kerapose import estimators, models, skeletons
            >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=True)
            >>> stream = estimators.StreamingLifter(network, skeletons.H36M)
            >>> {name: tuple(value.shape) for name, value in stream.initial_state(2).items()}
            {'position': (1,), 'fresh': (2,), 'buffer_0': (2, 2, 34), 'buffer_1': (2, 6, 16)}
        """
        sizes = [self.num_joints * self.in_features] + [self.network.channels] * (len(self.taps) - 1)
        buffers = {
            f"buffer_{i}": ops.zeros((num_tracks, (width - 1) * dilation, channels), "float32")
            for i, ((width, dilation), channels) in enumerate(zip(self.taps, sizes, strict=True))
            if width > 1
        }
        return {"position": ops.zeros((1,), "int32"), "fresh": ops.ones((num_tracks,), "float32")} | buffers

    def step(
        self, keypoints: Tensor, state: dict[str, Tensor], reset: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Lifts one frame of each track.

        Args:
            keypoints: [M, K, 2], screen coordinates (`ops.cameras.normalize_screen`).
            state: from `initial_state` or the last step.
            reset: [M] true where another track begins with this frame. None: nowhere.

        Returns:
            poses [M, J, 3], metres, relative to the root as the network gives it, and the new state.

        Example:
            >>> from kerapose import estimators, models, skeletons
            >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=True)
            >>> stream = estimators.StreamingLifter(network, skeletons.H36M)
            >>> poses_m, state = stream.step(np.zeros((2, 17, 2), "float32"), stream.initial_state(2))
            >>> tuple(poses_m.shape), np.asarray(state["position"])
            ((2, 17, 3), array([1], dtype=int32))
        """
        fresh = state["fresh"] if reset is None else ops.maximum(state["fresh"], ops.cast(reset, "float32"))
        position, new = state["position"], {}
        x = ops.reshape(ops.cast(keypoints, "float32"), (-1, self.num_joints * self.in_features))  # [M, K*F]
        x = self._column(x, 0, 0, state, position, fresh, new)
        for block in range(1, len(self.taps)):
            y = self._column(x, block, 2 * block - 1, state, position, fresh, new)
            x = x + self._dense(y, 2 * block)
        poses = ops.reshape(self.shrink(x), (-1, *self.pose_shape))  # [M, J, 3]
        return poses, {"position": position + 1, "fresh": ops.zeros_like(fresh)} | new

    def _column(self, x, index, layer, state, position, fresh, new):
        """One column of a convolution over time: [M, C] -> [M, C']; puts the buffer that follows into `new`."""
        width, dilation = self.taps[index]
        if width == 1:
            return self._dense(x, layer)
        size, name = (width - 1) * dilation, f"buffer_{index}"
        frame = ops.expand_dims(x, 1)  # [M, 1, C]
        buffer = ops.where(ops.reshape(fresh, (-1, 1, 1)) > 0, frame, state[name])  # [M, size, C]
        oldest = position % size
        places = [(oldest + tap * dilation) % size for tap in range(width - 1)]
        past = [ops.reshape(ops.take(buffer, place, axis=1), (-1, x.shape[-1])) for place in places]
        is_oldest = ops.reshape(ops.equal(ops.arange(size, dtype="int32"), oldest), (1, size, 1))
        new[name] = ops.where(is_oldest, frame, buffer)
        return self._dense(ops.concatenate([*past, x], axis=-1), layer)

    def _dense(self, x, layer):
        return ops.relu(ops.matmul(x, self.kernels[layer]) + self.shifts[layer])

    def call(self, keypoints: Tensor) -> Tensor:
        """Lifts one frame of each track, [M, K, 2], and keeps the state; Keras calls it.

        The number of tracks may not change before `reset()`.
        """
        if self.state is not None and len(self.state["fresh"]) != len(keypoints):
            raise ValueError(
                f"A stream has a fixed number of tracks, {len(self.state['fresh'])}, got a frame of {len(keypoints)}; "
                "call reset() to begin anew."
            )
        state = self.initial_state(len(keypoints)) if self.state is None else self.state
        poses, self.state = self.step(keypoints, state)
        return poses

    def reset(self, tracks: Sequence[int] | None = None) -> None:
        """Forgets the past of some tracks, given by their indices, or of all; after all, their number may change."""
        if tracks is None or self.state is None:
            self.state = None
            return
        fresh = ops.convert_to_numpy(self.state["fresh"]).copy()
        fresh[np.asarray(tracks)] = 1
        self.state = self.state | {"fresh": ops.convert_to_tensor(fresh)}
