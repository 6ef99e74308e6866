"""A small network learns from the annotation and from a larger network at once."""

import typing

import keras
from keras import ops

from kerapose.types import Tensor


class _Teacher:
    """A network that Keras, looking through the attributes of a model, does not see: neither tracked nor saved."""

    def __init__(self, network):
        self.network = network

    def __call__(self, crops):
        """The heatmaps, of the last stack if there are several: [B, H, W, 3] -> [B, h, w, K]."""
        heatmaps = self.network(crops, training=False)
        return ops.stop_gradient(heatmaps[:, -1] if len(heatmaps.shape) == 5 else heatmaps)


@keras.saving.register_keras_serializable("kerapose")
class Distiller(keras.Model):
    """Trains a student on the heatmaps of a teacher beside those of the annotation.

    Both parts are measured by the loss of `compile`, against every stack of the student that gives several:
    `alpha * loss(teacher's heatmaps, student's) + (1 - alpha) * loss(true heatmaps, student's)`. What the student's
    own regularization adds is in either part, so in full in their sum. Called, evaluated and asked to predict, a
    `Distiller` is its student; `fit` and `evaluate` also report `distillation_loss` and `ground_truth_loss`.

    The teacher sees the same crops, in inference mode. It is none of the model's weights and is not saved: what is
    saved holds the student alone, and needs `set_teacher` to be trained on.
    Under a distribution strategy, build both networks in its scope.

    Args:
        student: a built network, crops [B, H, W, 3] -> heatmaps [B, h, w, K] or [B, S, h, w, K].
        teacher: a trained network of heatmaps of the same size and joints, of crops of the same size and
            normalization; of several stacks the last one teaches. None: as read from a file, without one yet.
        alpha: the teacher's share of the loss, 0 to 1; at 0 the training is exactly that of the student without one.
        teach_unlabelled: whether the teacher's heatmaps count at all joints alike, as in the paper, so that it also
            teaches those that nobody annotated; weights of whole people, [B], still hold. False: joints have the same
            weights [B, K] in both parts.

    Raises:
        ValueError: if alpha lies outside 0 to 1, or the networks do not fit each other.

    Example:
        >>> import keras
        >>> from kerapose import losses, training
        >>> def small_network():  # crops [B, 32, 32, 3] -> heatmaps [B, 8, 8, 17]
        ...     return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(17, 4, strides=4)])
        >>> distiller = training.Distiller(small_network(), small_network(), alpha=0.5)
        >>> distiller.compile("sgd", losses.JointsMSE())
        >>> crops, heatmaps, weights = np.ones((2, 32, 32, 3)), np.zeros((2, 8, 8, 17)), np.ones((2, 17))
        >>> sorted(distiller.fit(crops, heatmaps, sample_weight=weights, verbose=0).history)
        ['distillation_loss', 'ground_truth_loss', 'loss']
        >>> distiller.student.save("student.keras")

    Paper: Zhang et al., "Fast Human Pose Estimation", CVPR 2019.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None,
        alpha: float = 0.5,
        teach_unlabelled: bool = True,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha}; use 0.5 as in the paper.")
        _check_student(student)
        self.student = student
        self.alpha = alpha
        self.teach_unlabelled = teach_unlabelled
        self.set_teacher(teacher)
        self.distillation_loss = keras.metrics.Mean(name="distillation_loss")
        self.ground_truth_loss = keras.metrics.Mean(name="ground_truth_loss")
        self.autocast = False  # the student casts its crops itself; the teacher has its own precision
        self.built = True

    def set_teacher(self, teacher: keras.Model | None) -> None:
        """Gives the student a teacher: the first one after it was read from a file, or another one.

        Args:
            teacher: as in `__init__`.

        Raises:
            ValueError: if the networks do not fit each other.

        Example:
            >>> import keras
            >>> from kerapose import training
            >>> def small_network(num_joints):
            ...     return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(num_joints, 4, strides=4)])
            >>> distiller = training.Distiller(small_network(17), None)  # as it is read from a file
            >>> distiller.set_teacher(small_network(17))
            >>> distiller.set_teacher(small_network(16))
            Traceback (most recent call last):
                ...
            ValueError: heatmaps of teacher and student must have one shape, got (8, 8, 16) and (8, 8, 17); build
            both for the same image_shape and num_joints.
        """
        if teacher is not None:
            _check_teacher(teacher, self.student)
        self.teacher = None if teacher is None else _Teacher(teacher)
        self.train_function = self.test_function = None  # they hold the former one

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The heatmaps of the student: crops [B, H, W, 3] -> [B, h, w, K] or [B, S, h, w, K]."""
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool | None = True,
    ) -> Tensor:
        """The loss against the teacher's heatmaps and those of the annotation, each with its share."""
        if self.teacher is None:
            raise ValueError(
                "a Distiller needs a teacher to be trained or evaluated, got none; give it one with set_teacher."
            )
        taught = super().compute_loss(x, self.teacher(x), y_pred, self._teacher_weights(sample_weight), training)
        annotated = super().compute_loss(x, y, y_pred, sample_weight, training)
        self._track(taught, annotated, ops.shape(y_pred)[0])
        # Without its share the teacher leaves no trace, not even a zero times what may be infinite.
        return annotated if self.alpha == 0 else self.alpha * taught + (1 - self.alpha) * annotated

    def _teacher_weights(self, sample_weight):
        if sample_weight is None or not self.teach_unlabelled:
            return sample_weight
        return sample_weight if len(sample_weight.shape) < 2 else None  # of people, or of joints

    def _track(self, taught, annotated, batch_size):
        # Keras divides the losses, not the metrics, by the number of replicas. A loss of 1 shows by how much.
        one = keras.losses.MeanAbsoluteError(dtype="float32")([[0.0]], [[1.0]])
        self.distillation_loss.update_state(taught / ops.cast(one, taught.dtype), sample_weight=batch_size)
        self.ground_truth_loss.update_state(annotated / ops.cast(one, annotated.dtype), sample_weight=batch_size)

    def compute_output_shape(self, input_shape: typing.Any) -> typing.Any:
        """That of the student."""
        return self.student.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, typing.Any]:
        """The student and the options; a teacher is not kept."""
        return {
            "name": self.name,
            "student": keras.saving.serialize_keras_object(self.student),
            "alpha": self.alpha,
            "teach_unlabelled": self.teach_unlabelled,
        }

    @classmethod
    def from_config(cls, config: dict[str, typing.Any]) -> typing.Self:
        """Makes a `Distiller` of `get_config`, without a teacher."""
        student = keras.saving.deserialize_keras_object(config.pop("student"))
        return cls(student, teacher=None, **config)


def _check_student(student):
    if not getattr(student, "built", False) or len(student.output_shape) not in (4, 5):
        raise ValueError(
            f"student must be a built network of heatmaps, got {student}; use one such as SimpleBaseline or HRNet."
        )


def _check_teacher(teacher, student):
    if not getattr(teacher, "built", False) or len(teacher.output_shape) not in (4, 5):
        raise ValueError(
            f"teacher must be a trained network of heatmaps, got {teacher}; use one such as SimpleBaseline or HRNet."
        )
    for what, of_teacher, of_student in (
        ("crops", teacher.input_shape[1:], student.input_shape[1:]),
        ("heatmaps", teacher.output_shape[-3:], student.output_shape[-3:]),
    ):
        if any(a != b for a, b in zip(of_teacher, of_student, strict=True) if a is not None and b is not None):
            raise ValueError(
                f"{what} of teacher and student must have one shape, got {of_teacher} and {of_student}; "
                "build both for the same image_shape and num_joints."
            )
