"""LiftTrainer: a pose network and a trajectory network trained together, on labelled and on unlabelled tracks."""

import typing
from collections.abc import Sequence

import keras
from keras import ops

from kerapose import losses
from kerapose.layers import replicas
from kerapose.models import TemporalLifter
from kerapose.types import Tensor


@keras.saving.register_keras_serializable("kerapose")
class LiftTrainer(keras.Model):
    """Trains a lifter by poses where there are some, and by their projection where there are none.

    Labelled samples teach the pose, relative to the root, and where the root is before the camera, the latter with the
    inverse of its depth as weight. For the other samples the pose, placed at the predicted root, is projected into the
    camera and compared with the keypoints that went in, and its bones shall on average be as long as those of the
    labelled people's. With none but labelled samples it trains the two networks side by side.

    Keypoints of another set than the joints of the pose cannot be compared with a projection: there is no such term
    then, and every sample should be labelled.

    The keypoints that a prediction is compared with are those of the frame that it is for, of a causal network the last
    ones of the window. (The published script always takes those in the middle.)

    Args:
        network: a `TemporalLifter`, in any form.
        trajectory: a `TemporalLifter` of the same receptive field with one output joint.
        parents: [J] the joint above each, -1 for the root, which is joint 0.
        distortion: whether the camera's lens distortion is part of the projection.
        bone_length_term: whether the bones of unlabelled people are compared with those of labelled ones.

    Input: {"keypoints": [B, T, K, 2] screen coordinates, "camera": [B, 9] (`ops.cameras`), "labelled": [B], 1 or 0}.
    Targets: {"poses_m": [B, T', J, 3] relative to the root, "trajectory_m": [B, T', 3]}, camera space, metres; what
    they are for samples without labels does not matter. Output: {"poses_m", "trajectory_m"} like the targets.

    `unsupervised_weight`, a variable, is the weight of the terms for unlabelled samples; the paper has 0 in the first
    epoch and 1 thereafter. The terms are metrics of `fit`: pose, trajectory, reprojection, bone_length.

    Example:
        >>> import keras
        >>> from kerapose import models, skeletons, training
        >>> from kerapose.data import tracks
        >>> shape = {"filter_widths": (3, 3), "channels": 16, "strided": True}
        >>> lifter, trajectory = models.TemporalLifter(**shape), models.TemporalLifter(num_joints_out=1, **shape)
        >>> trainer = training.LiftTrainer(lifter, trajectory, skeletons.H36M.parents)
        >>> trainer.compile(keras.optimizers.Adam(1e-3, amsgrad=True), run_eagerly=True)  # of one step
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> unlabelled = tracks.from_tfds("puppets/tracks", "test", data_dir=".")
        >>> batches = tracks.training(known, lifter.receptive_field, batch_size=8, unlabelled=unlabelled)
        >>> history = trainer.fit(batches, steps_per_epoch=1, verbose=0)
        >>> sorted(history.history)
        ['bone_length', 'loss', 'pose', 'reprojection', 'trajectory']

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-supervised Training",
    CVPR 2019.
    """

    def __init__(
        self,
        network: TemporalLifter,
        trajectory: TemporalLifter,
        parents: Sequence[int],
        distortion: bool = True,
        bone_length_term: bool = True,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        if network.receptive_field != trajectory.receptive_field or network.causal != trajectory.causal:
            raise ValueError(
                "Both networks see the same frames, got receptive fields of "
                f"{network.receptive_field} and {trajectory.receptive_field}, causal {network.causal} and "
                f"{trajectory.causal}; build them alike."
            )
        self.network = network
        self.trajectory = trajectory
        self.parents = tuple(int(parent) for parent in parents)
        self.distortion = distortion
        self.bone_length_term = bone_length_term
        self.unsupervised_weight = self.add_weight(
            name="unsupervised_weight", shape=(), initializer="ones", trainable=False, autocast=False
        )
        names = ("pose", "trajectory", "reprojection", "bone_length")
        self.terms = {name: keras.metrics.Mean(name=name) for name in names}
        self.autocast = False  # cameras and keypoints are not rounded to bfloat16

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """The poses and the way of the root in one batch; see Input and Output."""
        keypoints = inputs["keypoints"]
        poses = self.network(keypoints, training=training)  # [B, T', J, 3]
        return {"poses_m": poses, "trajectory_m": self.trajectory(keypoints, training=training)[:, :, 0]}

    def compute_loss(
        self,
        x: dict[str, Tensor] | None = None,
        y: dict[str, Tensor] | None = None,
        y_pred: dict[str, Tensor] | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """The sum of `loss_terms`, those of unlabelled samples by their weight."""
        terms = self.loss_terms(x, y, y_pred)
        for name, value in terms.items():
            self.terms[name].update_state(value)
        unsupervised = terms["reprojection"] + terms["bone_length"]
        loss = terms["pose"] + terms["trajectory"] + self.unsupervised_weight * unsupervised
        return loss / replicas.count()  # the gradients of all copies are added up

    def loss_terms(self, x: dict[str, Tensor], y: dict[str, Tensor], y_pred: dict[str, Tensor]) -> dict[str, Tensor]:
        """The four terms of the loss, scalars; a term that no sample of the batch has a part in is 0.

        Of several copies of the model each has a part of the batch; the mean of their terms is the term of the whole.
        """
        labelled = ops.cast(x["labelled"], "float32")  # [B]
        # Weights whose mean over the batch is 1: a mean of the weighted samples is the mean of those that count.
        of_labelled, of_unlabelled = (shares(mask)[:, None, None] for mask in (labelled, 1.0 - labelled))
        poses, root = y_pred["poses_m"], ops.expand_dims(y_pred["trajectory_m"], 2)  # [B, T', J, 3], [B, T', 1, 3]
        true_root = ops.expand_dims(ops.cast(y["trajectory_m"], "float32"), 2)
        depth = ops.where(labelled[:, None, None] > 0, true_root[..., 2], 1.0)  # [B, T', 1]
        return {
            "pose": losses.weighted_mpjpe(y["poses_m"], poses, of_labelled),
            "trajectory": losses.weighted_mpjpe(true_root, root, of_labelled / depth),
            "reprojection": self._reprojection(x, poses, root, of_unlabelled),
            "bone_length": self._bone_length_penalty(poses, of_labelled, of_unlabelled),
        }

    def _reprojection(self, x, poses, root, of_unlabelled):
        """`losses.reprojection` of the unlabelled samples in a batch."""
        if x["keypoints"].shape[2] != poses.shape[2]:
            return ops.zeros(())
        seen = self._seen(x["keypoints"], ops.shape(poses)[1])  # [B, T', K, 2]
        return losses.reprojection(poses, root, seen, x["camera"], self.distortion, of_unlabelled)

    def _bone_length_penalty(self, poses, of_labelled, of_unlabelled):
        """`losses.bone_length_penalty` of the two kinds of samples in one batch; 0 unless there are both."""
        if not self.bone_length_term:
            return ops.zeros(())
        lengths = losses.bone_lengths(poses, self.parents)  # [B, T', J-1]
        difference = replicas.mean(ops.mean((of_labelled - of_unlabelled) * lengths, axis=(0, 1)))  # [J-1]
        both = ops.minimum(*(replicas.mean(ops.max(weights)) for weights in (of_labelled, of_unlabelled))) > 0
        return ops.where(both, ops.mean(ops.abs(difference)), 0.0)

    def _seen(self, keypoints, frames):
        """The keypoints of the frames that poses are predicted for."""
        first = 2 * self.network.pad if self.network.causal else self.network.pad
        return keypoints[:, first : first + frames]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means of the four terms."""
        return [*super().metrics, *self.terms.values()]

    def get_config(self) -> dict[str, typing.Any]:
        """The networks and the options."""
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "trajectory": keras.saving.serialize_keras_object(self.trajectory),
            "parents": self.parents,
            "distortion": self.distortion,
            "bone_length_term": self.bone_length_term,
        }

    @classmethod
    def from_config(cls, config: dict[str, typing.Any]) -> typing.Self:
        """Makes a `LiftTrainer` of `get_config`."""
        config = dict(config)
        for name in ("network", "trajectory"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def shares(mask: Tensor) -> Tensor:
    """[B] of ones and zeros, divided by its mean; zeros if there is no one.

    Of several copies of a model, each with a part of the batch, by the mean of the whole, so that the mean of their
    means is that of the whole, too, where their parts are of unequal size.
    """
    if replicas.count() == 1:
        return mask / ops.maximum(ops.mean(mask), 1e-6)
    size = ops.cast(ops.shape(mask)[0], "float32")
    ones, sizes = ops.unstack(replicas.mean(ops.stack([ops.sum(mask), size])), 2)
    return mask * (size / sizes) / ops.maximum(ones / sizes, 1e-6)
