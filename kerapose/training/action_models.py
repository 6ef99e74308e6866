"""Networks of actions as they are trained: heatmaps drawn inside the model, features taught by joints, losses."""

import typing

import keras
import tensorflow as tf
from keras import ops

from kerapose import metrics, models
from kerapose.data import service
from kerapose.estimators.video_recognizer import clip_shapes
from kerapose.layers import HeatmapVolume, replicas
from kerapose.skeletons import Skeleton
from kerapose.types import Tensor

# The stage of a network of frames that may be taught where the joints are: an eighth of the picture high and wide.
TAUGHT = {models.SlowOnly: "layer2", models.MC3ResNet18: "layer3", models.STARTransformer: "layer3"}
TAUGHT_SIGMA_PX = 0.8


def action_model(
    network: keras.Model, skeleton: Skeleton, modality: str = "joint", sigma_px: float = 0.6
) -> keras.Model:
    """A network of volumes as it is trained: the volumes are drawn inside the model, where the accelerator is.

    Args:
        network: of volumes [B, L, H, W, K], or [B, L, H, W, E] of limbs, to logits: any of C3D, SlowOnly, X3D, or one
            of your own.
        skeleton: the `Skeleton` of the keypoints.
        modality: what the volumes show, "joint" or "limb".
        sigma_px: of the Gaussians, pixels of the volume.

    Returns:
        A model from a batch of `data.clips.training`, {"keypoints": [B, M, L, K, 2] pixels of the volume, "scores":
        [B, M, L, K]}, to logits; the network is its attribute `network`.

    Raises:
        ValueError: if the network does not take such volumes.

    Example:
        >>> from kerapose import models, skeletons, training
        >>> from kerapose.data import clips
        >>> network = models.C3D.from_variant("c3d_tiny", 2, input_shape=(8, 16, 16, 17))
        >>> model = training.action_model(network, skeletons.COCO)
        >>> training.compile_for_actions(model, num_classes=2, optimizer="adam")
        'val_top1'
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> batches = clips.training(dataset, skeletons.COCO, batch_size=2, num_frames=8, size=(16, 16))
        >>> history = model.fit(batches, steps_per_epoch=1, verbose=0)
        >>> model.network is network, sorted(history.history)
        (True, ['loss', 'mean_class', 'top1', 'top5'])
    """
    if modality not in ("joint", "limb"):
        raise ValueError(f'modality must be "joint" or "limb", got {modality!r}; use one of them.')
    edges = skeleton.edges if modality == "limb" else None
    channels = skeleton.num_edges if modality == "limb" else skeleton.num_keypoints
    _, frames, height, width, found = network.input_shape
    if found != channels:
        raise ValueError(
            f"network must take the {channels} channels of a {modality} volume of {skeleton.name}, got one of {found}; "
            "build it for them."
        )
    shape = (None, frames, skeleton.num_keypoints)
    inputs = {"keypoints": keras.Input((*shape, 2), name="keypoints"), "scores": keras.Input(shape, name="scores")}
    volume = HeatmapVolume(height, width, edges, sigma_px, name="volume")
    model = keras.Model(inputs, network(volume(inputs)))
    model.network = network
    return model


def video_model(
    network: keras.Model, num_keypoints: int, sigma_px: float = 0.7, keypoint_weight: float = 0.0
) -> keras.Model:
    """A network of frames, of volumes or of both as it is trained: the volumes are drawn inside the model.

    Args:
        network: of {"rgb": [B, L, H, W, 3], "pose": [B, L', h, w, K]} or of one of the two tensors, to logits or a dict
            of logits by pathway: any of RGBPoseConv3D, STARTransformer, SlowOnly, MC3ResNet18, or one of your own.
        num_keypoints: K.
        sigma_px: of the Gaussians, pixels of the volume.
        keypoint_weight: of a loss that teaches the features of frames where the joints are (`KeypointTeacher`), for a
            SlowOnly, MC3ResNet18 or STARTransformer that sees frames; 0, as published: none.

    Returns:
        A model from a batch of `data.videos.training` to what the network gives; of several pathways "fused", too, the
        mean of their probabilities. Its attributes are `network`; `rgb_shape` and `pose_shape`, what that pipeline is
        to be given; and `is_taught`, whether the keypoints must be those of the same frames (`aligned=True`).

    Raises:
        ValueError: if the network takes other clips.

    Example:
        >>> from kerapose import models, training
        >>> shapes = {"rgb_shape": (4, 32, 32, 3), "pose_shape": (16, 8, 8, 17)}
        >>> network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", 2, **shapes)
        >>> model = training.video_model(network, num_keypoints=17)
        >>> {name: tuple(output.shape) for name, output in model.output.items()}
        {'rgb': (None, 2), 'pose': (None, 2), 'fused': (None, 2)}
        >>> model.rgb_shape, model.pose_shape  # for `data.videos.training`
        ((4, 32, 32, 3), (16, 8, 8, 17))
    """
    rgb_shape, pose_shape = clip_shapes(network)
    is_taught = keypoint_weight > 0 and type(network) in TAUGHT and bool(rgb_shape)
    if is_taught and not pose_shape:
        _, _, height, width, _ = taught_features(network).shape
        pose_shape = (rgb_shape[0], height, width, num_keypoints)
    inputs, seen = {}, {}
    if rgb_shape:
        inputs["rgb"] = seen["rgb"] = keras.Input(rgb_shape, name="rgb")
    if pose_shape:
        frames, height, width, num_keypoints = pose_shape
        inputs["keypoints"] = keras.Input((None, frames, num_keypoints, 2), name="keypoints")
        inputs["scores"] = keras.Input((None, frames, num_keypoints), name="scores")
        volume = HeatmapVolume(height, width, sigma_px=sigma_px, name="volume")
        seen["pose"] = volume({name: inputs[name] for name in ("keypoints", "scores")})
    seen = seen if isinstance(network.input_shape, dict) else next(iter(seen.values()))
    if is_taught:
        logits, features = keras.Model(network.input, [network.output, taught_features(network)])(seen)
        teacher = KeypointTeacher(pose_shape[1], keypoint_weight, name="teacher")
        outputs = teacher(logits, features, inputs["keypoints"], inputs["scores"])
    else:
        outputs = network(seen)
    if isinstance(outputs, dict):
        probabilities = [keras.layers.Softmax(dtype="float32")(logits) for logits in outputs.values()]
        outputs = outputs | {"fused": keras.layers.Average(dtype="float32", name="fused")(probabilities)}
    model = keras.Model(inputs, outputs)
    model.network, model.is_taught = network, is_taught
    model.rgb_shape, model.pose_shape = rgb_shape, pose_shape
    return model


def taught_features(network: keras.Model) -> Tensor:
    """The features [B, L, h, w, C] of a network of frames that a `KeypointTeacher` teaches."""
    stage = TAUGHT[type(network)]
    return [layer for layer in network.layers if layer.name.startswith(f"{stage}_")][-1].output


@keras.saving.register_keras_serializable("kerapose")
class KeypointTeacher(keras.layers.Layer):
    """Adds a loss that teaches features where the joints are, so that a small network learns to see people.

    For each visible joint a 1 x 1 convolution chooses among the places of its frame; the loss is the cross entropy with
    the joint's heatmap. Nobody needs the joints of a network that was so taught: only training does.

    Args:
        height: of the volume that the keypoints are for, pixels.
        weight: of the loss.

    Input: anything, which is given back, features [B, L, h, w, C], keypoints [B, M, L, K, 2], scores [B, M, L, K].

    Example:
        >>> from kerapose import training
        >>> teacher = training.KeypointTeacher(height=56, weight=0.5)
        >>> features = np.ones((1, 30, 7, 7, 8), np.float32)  # of 30 frames
        >>> logits = teacher(np.zeros((1, 2)), features, keypoints[None] * 56 / 320, scores[None])
        >>> tuple(logits.shape), len(teacher.losses), bool(teacher.losses[0] > 0)
        ((1, 2), 1, True)
    """

    def __init__(self, height: int, weight: float, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.height = height
        self.weight = weight
        self.autocast = False  # keypoints are not rounded to bfloat16

    def build(
        self,
        outputs_shape: tuple[int | None, ...],
        features_shape: tuple[int | None, ...],
        keypoints_shape: tuple[int | None, ...],
        scores_shape: tuple[int | None, ...],
    ) -> None:
        """Makes the convolution that chooses among the places of a frame."""
        self.volume = HeatmapVolume(*features_shape[2:4], sigma_px=TAUGHT_SIGMA_PX, dtype="float32")
        self.choose = keras.layers.Dense(keypoints_shape[-2], dtype="float32", name="choose")
        self.choose.build(features_shape)

    def call(self, outputs: typing.Any, features: Tensor, keypoints: Tensor, scores: Tensor) -> typing.Any:
        """Gives `outputs` back, and adds the loss of what the features say of the joints."""
        _, frames, height, width, _ = features.shape
        places = (-1, frames, height * width, scores.shape[-1])  # [B, L, h*w, K]
        moved = {"keypoints": keypoints * (height / self.height), "scores": scores}
        heat = ops.reshape(self.volume(moved), places)
        chosen = ops.log_softmax(ops.reshape(self.choose(features), places), axis=2)
        # Of several copies of the model by what all of them have: the mean of their losses is that of the whole batch.
        self.add_loss(-self.weight * ops.divide_no_nan(ops.sum(heat * chosen), replicas.mean(ops.sum(heat))))
        return outputs

    def get_config(self) -> dict[str, typing.Any]:
        """The arguments, of which a file makes the layer anew."""
        return super().get_config() | {"height": self.height, "weight": self.weight}


def compile_for_actions(model: keras.Model, num_classes: int, optimizer: str | keras.optimizers.Optimizer) -> str:
    """Gives a model its optimizer, the cross entropy of each pathway, and the figures of their fusion.

    Args:
        model: of `action_model` or `video_model`.
        num_classes: number of actions.
        optimizer: a Keras optimizer, or its name.

    Returns:
        The name of the validation figure that decides which weights are best.

    Example:
        >>> from kerapose import models, skeletons, training
        >>> network = models.C3D.from_variant("c3d_tiny", 60, input_shape=(8, 16, 16, 17))
        >>> model = training.action_model(network, skeletons.COCO)
        >>> optimizer = training.SGDL2(0.1, momentum=0.9, l2=3e-4)
        >>> training.compile_for_actions(model, num_classes=60, optimizer=optimizer)
        'val_top1'
    """
    figures = [
        keras.metrics.SparseCategoricalAccuracy(name="top1"),
        keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5"),
        metrics.MeanClassAccuracy(num_classes, name="mean_class"),
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fused = isinstance(model.output, dict)
    if fused:
        pathways = [name for name in model.output if name != "fused"]
        loss = dict.fromkeys(pathways, loss)
        top1 = {name: [keras.metrics.SparseCategoricalAccuracy(name="top1")] for name in pathways}
        figures = {"fused": figures} | top1
    model.compile(optimizer, loss, weighted_metrics=figures)
    model.optimizer.build(model.trainable_variables)
    return "val_fused_top1" if fused else "val_top1"


def for_outputs(batches: tf.data.Dataset, model: keras.Model) -> tf.data.Dataset:
    """Gives each output of a model the labels, as `fit` wants them of a model of several.

    Args:
        batches: of clips and labels.
        model: of `action_model` or `video_model`.

    Returns:
        A `tf.data.Dataset` of clips and {name of an output: labels}; of a model of one output, `batches`.

    Example:
        >>> import keras
        >>> from kerapose import skeletons, training
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> batches = clips.training(dataset, skeletons.COCO, batch_size=2, num_frames=16, size=(28, 28))
        >>> logits = keras.Input((2,))
        >>> model = keras.Model(logits, {"rgb": logits, "pose": logits})  # stands for one of two pathways
        >>> sorted(training.for_outputs(batches, model).element_spec[1])
        ['pose', 'rgb']
    """
    if not isinstance(model.output, dict):
        return batches
    names = list(model.output)
    return service.changed(batches, lambda clips, labels: (clips, dict.fromkeys(names, labels)))
