"""Every model of the package in its smallest form: arguments, inputs, and something to learn. Any backend runs it.

A model that is new has to be entered here: the tests go through `models.__all__`.
"""

import contextlib
import functools

import keras
import numpy as np

from kerapose import estimators, losses, metrics, models, training
from kerapose.layers import ConvNorm, HeatmapVolume
from kerapose.models import hrnet, lightweight_openpose, simple_baseline, stacked_hourglass
from kerapose.models.network import Network
from kerapose.skeletons import Skeleton

TINY = Skeleton(
    "tiny",
    ("head", "left_hand", "right_hand", "left_foot", "right_foot"),
    ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4)),
    sigmas=(0.1, 0.2, 0.2, 0.3, 0.3),
    colors=((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12), (13, 14, 15)),
)
EAR = Skeleton("ear", ("nose", "left_ear", "right_ear"), ((0, 1), (1, 2), (0, 2)))
CLASSES = ("clap", "wave left", "wave right", "jump", "sit", "turn left", "turn right")
RECORD = {"script": "topdown", "options": {"epochs": 3, "size": [64, 64], "note": None}, "figures": {"ap": 0.5}}

# Every argument of every network, none at its default.
NETWORK_ARGUMENTS = {
    models.C3D: {
        "num_classes": 7,
        "input_shape": (4, 18, 21, 5),
        "base_filters": 4,
        "num_stages": 3,
        "temporal_downsample": True,
        "dropout": 0.2,
    },
    models.SlowOnly: {
        "num_classes": 7,
        "input_shape": (4, 18, 21, 5),
        "base_filters": 4,
        "stage_blocks": (1, 2),
        "inflate": (True, False),
        "spatial_strides": (1, 2),
        "temporal_strides": (2, 1),
        "stem_stride": 2,
        "stem_pool_stride": 2,
        "dropout": 0.2,
        "zero_init_residual": False,
    },
    models.X3D: {
        "num_classes": 7,
        "input_shape": (4, 18, 21, 5),
        "base_filters": 8,
        "stage_blocks": (1, 1),
        "gamma_d": 1.5,
        "gamma_w": 1.5,
        "gamma_b": 2.0,
        "spatial_strides": (1, 2),
        "se_ratio": 0.25,
        "se_style": "all",
        "swish": True,
        "dropout": 0.2,
    },
    models.SimpleBaseline: {
        "num_joints": 5,
        "image_shape": (64, 32, 3),
        "depth": 101,
        "deconv_filters": (6, 4),
        "deconv_kernels": (2, 3),
        "deconv_bias": True,
        "final_kernel": 3,
        "stride_on_1x1": True,
        "base_filters": 8,
    },
    models.HRNet: {
        "num_joints": 5,
        "image_shape": (64, 32, 3),
        "width": 4,
        "num_modules": (1, 1, 1),
        "num_blocks": 1,
        "block": "bottleneck",
        "final_kernel": 3,
    },
    models.StackedHourglass: {
        "num_joints": 5,
        "image_shape": (64, 128, 3),
        "num_stacks": 2,
        "filters": 8,
        "increase": 4,
    },
    models.ConvolutionalPoseMachine: {
        "num_joints": 5,
        "image_shape": (32, 24, 3),
        "num_stages": 2,
        "filters": 6,
        "stem_filters": 8,
    },
    models.DeepPose: {
        "num_joints": 5,
        "image_shape": (64, 32, 3),
        "depth": 101,
        "uncertainty": True,
        "base_filters": 8,
    },
    models.EfficientLocalization: {
        "num_joints": 5,
        "image_shape": (32, 24, 3),
        "filters": 6,
        "pooling": 4,
        "num_resolutions": 1,
        "crop_size": 8,
        "dropout": 0.2,
        "norm": True,
    },
    models.RTMPose: {
        "num_joints": 5,
        "image_shape": (64, 96, 3),
        "depth_factor": 0.2,
        "width_factor": 0.0625,
        "final_kernel": 3,
        "gau_width": 12,
        "gau_key": 6,
    },
    models.LightweightOpenPose: {
        "num_heatmaps": 5,
        "num_pafs": 8,
        "image_shape": (44, 56, 3),
        "num_refinements": 2,
        "filters": 6,
        "trunk_width": 0.125,
        "head_filters": 4,
        "elu_alignment": True,
        "relu6": True,
    },
    models.RGBPoseConv3D: {
        "num_classes": 7,
        "rgb_shape": (2, 32, 48, 3),
        "pose_shape": (8, 8, 12, 5),
        "rgb_filters": 8,
        "pose_filters": 4,
        "rgb_blocks": (1, 1, 1, 1),
        "pose_blocks": (1, 1, 1),
        "dropout": 0.2,
        "zero_init_residual": False,
    },
    models.MC3ResNet18: {"num_classes": 7, "input_shape": (4, 32, 40, 3), "base_filters": 4},
    models.STARTransformer: {
        "num_classes": 7,
        "rgb_shape": (4, 32, 48, 3),
        "num_joints": 5,
        "joint_layer": 3,
        "width": 12,
        "num_heads": 3,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "mlp_ratio": 2,
        "patterns": ("binary", "full"),
        "base_filters": 4,
        "dropout": 0.2,
    },
    models.TemporalLifter: {
        "num_joints": 5,
        "in_features": 3,
        "num_joints_out": 4,
        "out_features": 2,
        "filter_widths": (3, 5),
        "channels": 8,
        "dropout": 0.5,
        "causal": True,
        "dense": True,
    },
}
# "strided" excludes "dense"; without a refinement most of the network would be missing.
LEFT_OUT = {models.TemporalLifter: {"strided"}, models.EfficientLocalization: {"refinement"}}


def small_hourglass(filters):
    return models.StackedHourglass(5, (64, 64, 3), num_stacks=1, filters=filters)


def estimator_arguments():
    return {
        "network": small_hourglass(4),
        "skeleton": TINY,
        "codec": "dark",
        "flip_test": False,
        "shift": False,
        "box_padding": 1.5,
        "normalization": {"mean": [0.4, 0.5, 0.6], "bgr": True},
        "decoding": {"blur_kernel": 7},
        "max_batch": 2,
        "training": RECORD,
    }


def bottom_up_arguments():
    return {
        "network": models.LightweightOpenPose(4, 6, num_refinements=0, filters=6, trunk_width=0.125, head_filters=4),
        "skeleton": EAR,
        "height": 64,
        "stride": 16,
        "upsample": 2,
        "max_people": 3,
        "max_peaks": 5,
        "normalization": {"mean": [0.4, 0.5, 0.6], "bgr": False},
        "decoding": {"threshold": 0.2, "radius": 3},
        "training": RECORD,
    }


def distiller_arguments():
    """With a teacher whose norms are not to be trained, of whatever kind."""
    crop = keras.Input((64, 64, 3))
    heatmaps = keras.layers.Conv2D(5, 1)(ConvNorm(6, (3, 3), 4)(crop))
    teacher = keras.Model(crop, heatmaps)
    return {"student": small_hourglass(4), "teacher": teacher, "alpha": 0.25, "teach_unlabelled": False}


def recognizer_arguments():
    return {
        "network": {
            "limb": models.C3D(7, (4, 18, 21, 5), base_filters=4, num_stages=3),
            "joint": models.C3D(7, (3, 18, 21, 5), base_filters=4, num_stages=3),
        },
        "skeleton": TINY,
        "class_names": CLASSES,
        "size": (18, 21),
        "num_clips": 2,
        "flip_test": False,
        "flip_labels": (0, 2, 1, 3, 4, 6, 5),
        "use_scores": False,
        "sigma_px": 0.8,
        "padding": 0.5,
        "training": RECORD,
    }


def video_recognizer_arguments():
    return {
        "network": models.RGBPoseConv3D(
            7, (4, 32, 32, 3), (16, 8, 8, 5), rgb_filters=4, pose_filters=4, rgb_blocks=(1,) * 4, pose_blocks=(1,) * 3
        ),
        "skeleton": TINY,
        "class_names": CLASSES,
        "num_clips": 2,
        "flip_test": True,
        "flip_labels": (0, 2, 1, 3, 4, 6, 5),
        "aligned": False,
        "use_scores": False,
        "sigma_px": 0.8,
        "padding": 0.5,
        "normalization": {"mean": [0.4, 0.5, 0.6], "bgr": True},
        "training": RECORD,
    }


def small_lifter(**options):
    return models.TemporalLifter(5, filter_widths=(3, 3), channels=8, **options)


def track_lifter_arguments():
    return {
        "network": small_lifter(num_joints_out=3),
        "skeleton": TINY,
        "pose_skeleton": EAR,
        "trajectory": small_lifter(num_joints_out=1),
        "flip_test": False,
        "training": RECORD,
    }


def stream_arguments():
    return {"network": small_lifter(causal=True), "skeleton": TINY, "pose_skeleton": TINY, "training": RECORD}


def lift_trainer_arguments():
    return {
        "network": small_lifter(),
        "trajectory": small_lifter(num_joints_out=1),
        "parents": (-1, 0, 1, 0, 3),
        "distortion": False,
        "bone_length_term": False,
    }


# What is built around a network, and what of its arguments a saved file leaves out on purpose.
BUILT_AROUND = {
    estimators.ActionRecognizer: recognizer_arguments,
    estimators.VideoRecognizer: video_recognizer_arguments,
    estimators.PoseEstimator: estimator_arguments,
    estimators.BottomUpEstimator: bottom_up_arguments,
    training.Distiller: distiller_arguments,
    estimators.TrackLifter: track_lifter_arguments,
    estimators.StreamingLifter: stream_arguments,
    training.LiftTrainer: lift_trainer_arguments,
}
NOT_SAVED = {training.Distiller: {"teacher"}}

NETWORKS = [getattr(models, name) for name in models.__all__]
ALL_MODELS = [*NETWORKS, *BUILT_AROUND]


def shrink(setattr=setattr):
    """Takes blocks out of the deepest networks, since each takes its time in each test; `setattr` may be a test's."""
    setattr(stacked_hourglass, "DEPTH", 1)
    setattr(hrnet, "STEM_BLOCKS", 1)
    setattr(lightweight_openpose, "TRUNK", lightweight_openpose.TRUNK[3:8])
    setattr(lightweight_openpose, "REFINEMENT_BLOCKS", 1)
    setattr(simple_baseline, "RESNETS", simple_baseline.RESNETS | {101: ((1, 2), True)})


@contextlib.contextmanager
def without_weights():
    """Models that are built here have variables of shapes alone, for what looks at no more."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session(free_memory=False)  # or Keras would make up later for the variables that it left out


def arguments_of(model):
    return BUILT_AROUND[model]() if model in BUILT_AROUND else NETWORK_ARGUMENTS[model]


@functools.cache
def input_shape_of(network):
    """Of a network's class, which is built once to be asked."""
    return network(**arguments_of(network)).input_shape


def input_of(model):
    random = np.random.default_rng(1)
    if model is models.TemporalLifter:
        return random.random((2, 20, 5, 3), "float32")
    if model is estimators.StreamingLifter:
        return random.random((2, 5, 2), "float32")
    if model is training.LiftTrainer:
        return {"keypoints": random.random((2, 12, 5, 2), "float32")}
    if model is estimators.TrackLifter:
        keypoints = random.uniform(1, 90, (2, 7, 5, 2)).astype("float32")
        return {"keypoints": keypoints, "frame_size": np.array([[90, 120], [100, 100]], "int32")}
    if issubclass(model, Network):
        shapes = input_shape_of(model)
        if isinstance(shapes, dict):
            return {name: random.random((2, *shape[1:]), "float32") for name, shape in shapes.items()}
        return random.random((2, *shapes[1:]), "float32")
    if model is training.Distiller:
        return random.random((2, 64, 64, 3), "float32")
    if model is estimators.BottomUpEstimator:
        return random.integers(0, 256, (80, 100, 3)).astype("uint8")
    if model is estimators.PoseEstimator:
        boxes = np.array([[10, 5, 60, 90], [30, 20, 80, 70], [0, 0, 100, 80]], "float32")
        return {"image": random.integers(0, 256, (80, 100, 3)).astype("uint8"), "boxes": boxes}
    keypoints = random.uniform(1, 90, (2, 2, 6, 5, 2)).astype("float32")  # [B, M, T, K, 2]
    scores = random.random((2, 2, 6, 5), "float32")
    if model is estimators.VideoRecognizer:
        frames = random.integers(0, 256, (2, 6, 90, 100, 3)).astype("uint8")
        return {"frames": frames, "keypoints": keypoints, "scores": scores}
    return {"keypoints": keypoints, "scores": scores, "frame_size": np.array([[90, 120], [100, 100]], "int32")}


# ---------------------------------------- what is to be learnt
def of_heatmaps(model):
    """Targets and weights of joints, and what `compile` takes of loss and figures."""
    network = model(**arguments_of(model))
    return network, heatmaps_for(network)


def heatmaps_for(network):
    random = np.random.default_rng(2)
    targets = random.random((2, *network.output_shape[-3:]), "float32")
    weights = np.array([[1, 1, 0, 1, 1], [1, 0.5, 1, 1, 0]], "float32")
    return (targets, weights), {"loss": losses.JointsMSE(), "weighted_metrics": [metrics.HeatmapPCK()]}


def of_coordinates(model):
    """With the flow of the loss, which learns along."""
    network, loss = model(**arguments_of(model)), losses.ResidualLikelihood()
    network.flow = loss.flow
    targets = np.random.default_rng(2).random((2, 5, 2), "float32")
    weights = np.array([[1, 1, 0, 1, 1], [1, 0.5, 1, 1, 0]], "float32")
    return network, ((targets, weights), {"loss": loss})


def of_bins(model):
    network, random = model(**arguments_of(model)), np.random.default_rng(2)
    bins = {axis: random.random((2, *logits.shape[1:]), "float32") for axis, logits in network.output.items()}
    targets = {axis: values / values.sum(axis=-1, keepdims=True) for axis, values in bins.items()}
    unit = network.get_layer("gau")
    for kernel in (unit.widen, unit.narrow):  # which begin so small that so few numbers' gradients are lost in rounding
        kernel.assign(kernel * 30)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    return network, ((targets,), {"loss": dict.fromkeys(targets, loss)})


def of_fields(model):
    network = model(**arguments_of(model))
    inputs = keras.Input(network.input_shape[1:])
    fields = network(inputs)
    stages = [keras.ops.concatenate(pair, axis=-1) for pair in zip(fields[::2], fields[1::2], strict=True)]
    stacked = keras.Model(inputs, keras.ops.stack(stages, axis=1))
    targets = np.random.default_rng(2).random((2, *stacked.output_shape[-3:]), "float32")
    return stacked, ((targets, np.ones((*targets.shape[:3], 1), "float32")), {"loss": losses.FieldsL2()})


def of_classes(model):
    network = model(**arguments_of(model))
    labels, loss = np.array([1, 4]), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if isinstance(network.output, dict):
        return network, ((dict.fromkeys(network.output, labels),), {"loss": dict.fromkeys(network.output, loss)})
    figures = [
        keras.metrics.SparseCategoricalAccuracy(),
        keras.metrics.SparseTopKCategoricalAccuracy(5),
        metrics.MeanClassAccuracy(7),
    ]
    return network, ((labels,), {"loss": loss, "metrics": figures})


def of_poses(model):
    network = model(**arguments_of(model) | {"out_features": 3})
    spec = keras.KerasTensor(input_of(model).shape)
    poses = np.random.default_rng(2).random((2, *network.compute_output_spec(spec).shape[1:]), "float32")
    return network, ((poses,), {"loss": losses.MPJPE(), "metrics": [metrics.MeanPerJointError(name="mpjpe_mm")]})


def of_a_teacher(model):
    network = model(**arguments_of(model))
    return network, heatmaps_for(network.student)


def of_tracks(model):
    network = model(**arguments_of(model) | {"distortion": True, "bone_length_term": True})
    poses = np.random.default_rng(2).random((2, 4, 5, 3), "float32")
    return network, (({"poses_m": poses, "trajectory_m": poses[:, :, 0] + 3.0},), {})


# How each model that trains is trained, and those that only answer.
TRAINED = {
    models.C3D: of_classes,
    models.SlowOnly: of_classes,
    models.X3D: of_classes,
    models.RGBPoseConv3D: of_classes,
    models.MC3ResNet18: of_classes,
    models.STARTransformer: of_classes,
    models.SimpleBaseline: of_heatmaps,
    models.HRNet: of_heatmaps,
    models.StackedHourglass: of_heatmaps,
    models.ConvolutionalPoseMachine: of_heatmaps,
    models.DeepPose: of_coordinates,
    models.EfficientLocalization: of_heatmaps,
    models.RTMPose: of_bins,
    models.LightweightOpenPose: of_fields,
    models.TemporalLifter: of_poses,
    training.Distiller: of_a_teacher,
    training.LiftTrainer: of_tracks,
}
UNTRAINED = {
    estimators.ActionRecognizer,
    estimators.VideoRecognizer,
    estimators.PoseEstimator,
    estimators.BottomUpEstimator,
    estimators.TrackLifter,
    estimators.StreamingLifter,
}


def in_training(model, **options):
    """A compiled model and a batch (x, y) or (x, y, weights) for it, all of two samples.

    Args:
        model: its class.
        **options: more for `compile`.
    """
    keras.utils.set_random_seed(0)
    network, (targets, given) = TRAINED[model](model)
    for weight in network.trainable_weights:
        if weight.path.endswith("gamma"):  # the zero at the end of some branches would keep their gradients away
            weight.assign(np.ones(weight.shape))
    inputs = input_of(model)
    if model is training.LiftTrainer:
        camera = np.tile(np.array([2.2, 2.2, 0, 0, 0, 0, 0, 0, 0], "float32"), (2, 1))
        inputs = inputs | {"camera": camera, "labelled": np.array([1, 0], "float32")}
    optimizer = keras.optimizers.SGD(1.0)  # so large that a norm's scale of one moves by more than its rounding
    if model is models.C3D:  # one shows what more Keras's optimizer can do: it makes up half of what is to be compiled
        schedule = keras.optimizers.schedules.CosineDecay(0.05, 10)
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, global_clipnorm=40.0)
    network.compile(optimizer, **given, **options)
    return network, (inputs, *targets)


def assert_learns(model, batch):
    """One step of `fit` has a finite loss, changes every weight that counts, and statistics, and leaves all finite."""
    before = [np.array(weight) for weight in map(keras.ops.convert_to_numpy, model.weights)]
    x, y, *weights = batch
    loss = model.fit(x, y, sample_weight=weights[0] if weights else None, batch_size=2, verbose=0).history["loss"]
    after = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    assert np.isfinite(loss).all() and all(np.isfinite(weight).all() for weight in after), loss
    moving, unused = {weight.path for weight in model.trainable_weights}, biases_before_norms(model)
    moving |= {weight.path for weight in model.weights if "moving_" in weight.path}
    still = [w.path for w, now, was in zip(model.weights, after, before, strict=True) if np.all(now == was)]
    assert len(unused) < 0.3 * len(moving) and not (moving & set(still)) - unused, still


def biases_before_norms(model):
    """The paths of the biases of convolutions that a norm follows in the same layer: they change nothing."""
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "gamma") and hasattr(layer, "bias")]
    return {layer.bias.path for layer in layers if layer.bias is not None}


def volumes():
    """Joint and limb volumes of a clip of two people, one after another, as a list of numbers."""
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 9, (1, 2, 3, 4, 2)).astype("float32")
    clip = {"keypoints": keypoints, "scores": np.ones((1, 2, 3, 4), "float32")}
    drawn = [HeatmapVolume(9, 8, edges)(clip) for edges in (None, ((0, 1), (1, 2), (2, 3)))]
    return [float(value) for volume in drawn for value in keras.ops.convert_to_numpy(volume).ravel()]
