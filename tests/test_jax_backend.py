"""The same files under KERAS_BACKEND=jax, in one process in which TensorFlow cannot be imported.

It computes what all these tests ask for: to start and to compile is what takes its time.
"""

import functools
import importlib.util
import json
import os
import pathlib
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerapose import layers, models
from kerapose.ops import alignment, boxes, grouping, heatmaps, images, pafs, sequences, virtual_cameras
from kerapose.skeletons import COCO, OPENPOSE

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs jax; pip install 'kerapose[jax]'"
)

# The goldens of the networks, and the arguments that differ from the published default.
NETWORKS = {
    "c3d_light": ("C3D", {"num_stages": 3}),
    "slowonly_odd": ("SlowOnly", {}),
    "x3d_shallow": ("X3D", {"gamma_d": 1.0}),
}
POSE_NETWORKS = {
    "hrnet_w16_tiny_64x64": ("HRNet", {"num_joints": 17, "width": 16, "num_modules": (1, 1, 1), "num_blocks": 1}),
    "hourglass_1stack_64_increase": (
        "StackedHourglass",
        {"num_joints": 16, "num_stacks": 1, "filters": 64, "increase": 32},
    ),
}
BIN_NETWORKS = {
    "rtmpose_tiny_96x64": (
        "RTMPose",
        {"depth_factor": 0.34, "width_factor": 0.125, "final_kernel": 3, "gau_width": 32, "gau_key": 16},
    ),
}
FIELD_NETWORKS = {"lwopenpose_1ref_128x160": ("LightweightOpenPose", {"num_refinements": 1})}
TRAINED = {  # layers with a training step of their own, and the shape of what they are given
    "convolution": ("ConvNorm", {"filters": 6, "kernel_size": (3, 3, 3)}, (2, 4, 6, 5, 3)),
    "image_convolution": (
        "ConvNorm",
        {"filters": 6, "kernel_size": (3, 3), "strides": 2, "use_bias": True},
        (2, 6, 5, 3),
    ),
    "dilated": ("ConvNorm", {"filters": 6, "kernel_size": (3, 3), "dilation": 2}, (2, 6, 5, 3)),
    "dilated_depthwise": (
        "ConvNorm",
        {"filters": 3, "kernel_size": (3, 3), "dilation": 2, "depthwise": True},
        (2, 6, 5, 3),
    ),
    "frames_transposed": ("FrameConvTransposeNorm", {"filters": 6}, (2, 3, 6, 5, 4)),
    "transposed": ("ConvTransposeNorm", {"filters": 6, "kernel_size": 3, "use_bias": True}, (2, 6, 5, 3)),
    "norm": ("BatchNorm", {"activation": "relu"}, (2, 6, 5, 3)),
    "temporal": ("TemporalConvNorm", {"filters": 6, "width": 3, "dilation": 2}, (2, 9, 5)),
    "strided": ("TemporalConvNorm", {"filters": 6, "width": 3, "strided": True}, (2, 9, 5)),
}
STAR = {"rgb_shape": (4, 32, 32, 3), "num_joints": 5, "width": 12, "num_heads": 3, "base_filters": 4}
STAR |= {"encoder_layers": 1, "decoder_layers": 1}  # its other patterns of attention too are in it
POSES = {"image_shape": (64, 64, 3), "depth": 18, "base_filters": 8, "deconv_filters": (8, 6, 4)}
ALIKE = {  # networks that are compared with themselves under TensorFlow, whose goldens are none or large
    "star": ("STARTransformer", {"num_classes": 6, **STAR}),
    "simple_baseline": ("SimpleBaseline", {"num_joints": 5, "deconv_kernels": (4, 3, 2), **POSES}),
}
LENGTHS = (20, 60, 96)
CODEC_SIZES = (256, 192), (64, 48)

# Models that take a step of `fit` here. Of the others SlowOnly, MC3ResNet18, StackedHourglass and TemporalLifter are
# parts of these, and HRNet is made of the layers of its kin: of them JAX always compiles the way forward alone.
LEARNING = (
    *("C3D", "X3D", "RGBPoseConv3D", "STARTransformer", "SimpleBaseline", "LightweightOpenPose", "RTMPose"),
    *("DeepPose", "EfficientLocalization", "Distiller", "LiftTrainer"),
)
OF_THEIR_PARTS = ("SlowOnly", "MC3ResNet18", "StackedHourglass", "TemporalLifter", "HRNet", "ConvolutionalPoseMachine")

# Reads inputs.npz, writes outputs.npz, in the folder that it is given.
PROGRAM = """
import importlib, json, pathlib, sys, traceback, warnings

import without_tensorflow

import jax
import keras
import numpy as np
import tiny_models
from numpy_weights import draw_with_numpy

from kerapose import estimators, layers, losses, metrics, models, skeletons, training, weights
from kerapose.ops import alignment, boxes, cameras, grouping, heatmaps, pafs, sequences, virtual_cameras
from kerapose.ops import images as image_ops

assert keras.backend.backend() == "jax"
folder = pathlib.Path(sys.argv[1])
plan = json.loads((folder / "plan.json").read_text())
inputs = np.load(folder / "inputs.npz")
outputs = {}
draw_with_numpy()


def whole(function, *arrays):
    '''What a function gives, compiled as one program: without, JAX would compile one for each operation and shape.'''
    return jax.jit(function)(*arrays)


def predict(name, network, batch):
    prefix = f"{name}/state/"
    state = {key.removeprefix(prefix): inputs[key] for key in inputs if key.startswith(prefix)}
    outputs[name] = weights.load_torch(network, state).predict(batch, verbose=0)


for name, (cls, options) in plan["networks"].items():
    clips = np.moveaxis(inputs[f"{name}/input_imgs"], 1, -1)
    predict(name, getattr(models, cls)(60, clips.shape[1:], **options), clips)
for name, (cls, options) in plan["pose_networks"].items():
    images = inputs[f"{name}/input_image"]
    images = images if images.shape[-1] == 3 else np.moveaxis(images, 1, -1)
    predict(name, getattr(models, cls)(image_shape=images.shape[1:], **options), images)
for name, (cls, options) in plan["field_networks"].items():
    predict(name, getattr(models, cls)(**options), np.moveaxis(inputs[f"{name}/input_image"], 1, -1))
    outputs |= {f"{name}/{i}": maps for i, maps in enumerate(outputs.pop(name))}
for name, (cls, options) in plan["bin_networks"].items():
    images = np.moveaxis(inputs[f"{name}/input_image"], 1, -1)
    predict(name, getattr(models, cls)(5, images.shape[1:], **options), images)
    outputs |= {f"{name}/{axis}": logits for axis, logits in outputs.pop(name).items()}

video = {name: np.moveaxis(inputs[f"rgbpose_slim/input_{name}"], 1, -1) for name in ("imgs", "heatmap_imgs")}
prefix = "rgbpose_slim/state/"
state = {key.removeprefix(prefix): inputs[key] for key in inputs if key.startswith(prefix)}
shapes = (video["imgs"].shape[1:], video["heatmap_imgs"].shape[1:])
network = weights.load_torch(models.RGBPoseConv3D(60, *shapes, rgb_filters=16, pose_filters=8), state)
logits = network.predict({"rgb": video["imgs"], "pose": video["heatmap_imgs"]}, verbose=0)
outputs |= {f"rgbpose_slim/{pathway}": values for pathway, values in logits.items()}

for name, (cls, options) in plan["alike"].items():
    network = getattr(models, cls)(**options)
    network.set_weights([inputs[f"{name}/weight_{i}"] for i in range(len(network.weights))])
    given = {key.split("/")[2]: inputs[key] for key in inputs if key.startswith(f"{name}/x/")}
    outputs[name] = whole(network, given.get("image", given))

track = inputs["temporal_27_causal/input_poses_2d"]
prefix = "temporal_27_causal/state/"
state = {key.removeprefix(prefix): inputs[key] for key in inputs if key.startswith(prefix)}
lifter = weights.load_torch(models.TemporalLifter(filter_widths=(3, 3, 3), channels=64, causal=True), state)
outputs["lifted"] = whole(lifter, track)
outputs["whole_track"] = whole(estimators.TrackLifter(lifter, skeletons.H36M, flip_test=False).lift, track)
stream, found = estimators.StreamingLifter(lifter, skeletons.H36M), []
step, state = jax.jit(stream.step), stream.initial_state(len(track))
for frame in range(track.shape[1]):
    poses, state = step(track[:, frame], state)
    found.append(poses)
outputs["stream"] = np.stack(found, axis=1)
outputs["aligned"] = whole(alignment.align, inputs["losses/input_predicted"], inputs["losses/input_target"])
outputs["projected"] = whole(cameras.project, inputs["camera/points"], inputs["camera/intrinsic"])

keypoints, scores, limbs = inputs["keypoints"], inputs["scores"], skeletons.COCO.edges
clip = {"keypoints": keypoints[None], "scores": scores[None]}
outputs["joints"] = whole(lambda *people: heatmaps.joint_volume(*people, 48, 64), keypoints, scores)
outputs["limbs"] = whole(lambda *people: heatmaps.limb_volume(*people, limbs, 48, 64), keypoints, scores)
outputs["layer_joints"] = whole(layers.HeatmapVolume(48, 64), clip)[0]
outputs["layer_limbs"] = whole(layers.HeatmapVolume(48, 64, limbs), clip)[0]
words = sequences.published_words(48, 2, 0)
for length in plan["lengths"]:
    outputs[f"frames_{length}"] = whole(lambda: sequences.sample_frames(length, 48, 10))
    draw = lambda words: sequences.sample_frames(length, 48, 2, words, random_start=True)
    outputs[f"random_frames_{length}"] = whole(draw, words)
draw = lambda words: sequences.sample_frames(100, 8, 2, words, random_start=True, p_interval=(0.5, 1.0))
outputs["interval_frames"] = whole(draw, words)
see = lambda poses: virtual_cameras.keypoints_seen(poses, np.ones((1, 2, 17)), 0.5, 0.3, 2.0)[0]
outputs["view"] = whole(see, inputs["uniforms_3d"])
outputs["box"] = whole(lambda keypoints: boxes.compact_box(keypoints, (48, 64)), keypoints)
ranges = (64, 80), (0.56, 1.0), (0.75, 4 / 3)
outputs["crop"] = whole(lambda uniforms: boxes.random_crop_box(*ranges, uniforms), inputs["uniforms"])

people, edges = inputs["people"], skeletons.OPENPOSE.edges
outputs["heatmaps"] = whole(lambda people: pafs.encode_heatmaps(people, None, (20, 23)), people)
outputs["fields"] = whole(lambda people: pafs.encode(people, None, edges, (20, 23)), people)
enlarge = lambda maps: image_ops.resize_cubic(maps, (80, 92))
enlarged = [whole(enlarge, outputs[name]) for name in ("heatmaps", "fields")]
outputs |= {"enlarged": enlarged[0]}
found = whole(lambda *maps: grouping.group(*maps, edges), enlarged[0][..., :-1], enlarged[1])
outputs |= {f"found/{name}": value for name, value in found.items()}

for name, (cls, options, shape) in plan["trained"].items():
    layer = getattr(layers, cls)(**options)
    layer.build(shape)
    layer.set_weights([inputs[f"{name}/weight_{i}"] for i in range(len(layer.weights))])
    variables = layer.trainable_variables, layer.non_trainable_variables
    state = [[variable.value for variable in kind] for kind in variables]
    outputs[f"{name}/predicted"], _ = whole(layer.stateless_call, *state, inputs[f"{name}/x"])
    step = lambda *given: layer.stateless_call(*given, training=True)
    outputs[f"{name}/trained"], moved = whole(step, *state, inputs[f"{name}/x"])
    moved = dict(zip([variable.name for variable in layer.non_trainable_variables], moved))
    outputs |= {f"{name}/{kind}": moved[kind] for kind in ("moving_mean", "moving_variance")}



def codecs(keypoints, weights, maps, sizes=plan["codec_sizes"]):
    found = {}
    for codec in heatmaps.CODECS:
        found[codec] = heatmaps.encode(keypoints, weights, *sizes, codec=codec)
        found[codec] += heatmaps.decode(maps, sizes[0], codec)
    found["offsets"] = heatmaps.encode_offsets(keypoints, weights, *sizes)
    found["offsets"] += heatmaps.decode_offsets(found["offsets"][0], sizes[0])
    found["simcc"] = heatmaps.encode_simcc(keypoints, weights, sizes[0])
    found["simcc"] += heatmaps.decode_simcc(*found["simcc"][:2], dark=True)
    found["merged"] = (heatmaps.merge_flipped(maps, maps, np.arange(9)[::-1]),)
    for codec in ("regression", "simcc"):
        answers, kept = heatmaps.encode_answers(keypoints, weights, sizes[0], codec=codec)
        merged = heatmaps.merge_flipped_answers(answers, answers, np.arange(12)[::-1], sizes[0], codec)
        decoded = heatmaps.decode_answers(merged, sizes[0], codec)
        found[codec + "_answers"] = (kept, *keras.tree.flatten(merged), *decoded)
    return found


with warnings.catch_warnings():
    warnings.filterwarnings("error", category=UserWarning, module="kerapose")
    found = whole(codecs, *(inputs[f"codecs/{name}"] for name in ("keypoints", "weights", "maps")))
outputs |= {f"codecs/{name}_{i}": array for name, arrays in found.items() for i, array in enumerate(arrays)}


def network_of_heatmaps(filters, stacks):
    image = keras.Input((16, 16, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(filters, 3, 2, "same")(image))
    return keras.Model(image, keras.ops.stack([keras.layers.Conv2D(4, 1)(x) for _ in range(stacks)], axis=1))


random = np.random.default_rng(0)
crops, targets = random.random((4, 16, 16, 3), "float32"), random.random((4, 8, 8, 4), "float32")
student, teacher = network_of_heatmaps(4, 2), network_of_heatmaps(8, 3)
distiller = training.Distiller(student, teacher, alpha=0.3)
distiller.compile(optimizer="adam", loss=losses.JointsMSE(), metrics=[metrics.HeatmapPCK()])
answers, taught = whole(lambda crops: (student(crops), teacher(crops)[:, -1]), crops)
expected = [0.5 * np.mean((answers - maps[:, None]) ** 2) for maps in (taught, targets)]
expected.append(metrics.heatmap_accuracy(targets, answers)["mean"])
before = distiller.evaluate(crops, targets, batch_size=2, verbose=0, return_dict=True)
outputs["distiller/expected"] = np.array(expected)
outputs |= {f"distiller/{name}": value for name, value in before.items()}
weights_of_joints = random.choice([0.0, 1.0], (4, 4)).astype("float32")
history = distiller.fit(crops, targets, batch_size=2, sample_weight=weights_of_joints, epochs=5, verbose=0).history
outputs["distiller/history"] = np.array(history["loss"])
outputs["distiller/taught"] = np.stack([taught, whole(lambda crops: teacher(crops)[:, -1], crops)])
given = targets, answers, weights_of_joints
outputs["mined"] = np.array([losses.JointsOHKM(k)(*given) for k in (2, 4)] + [losses.JointsMSE()(*given)])

tiny_models.shrink()
raised = {}
for model in tiny_models.TRAINED:
    if model.__name__ in plan["of_their_parts"]:
        continue
    try:
        tiny_models.assert_learns(*tiny_models.in_training(model, jit_compile=True))
        raised[model.__name__] = None
    except Exception:
        raised[model.__name__] = traceback.format_exc()
(folder / "raised.json").write_text(json.dumps(raised))

for module in plan["without_tensorflow"]:
    importlib.import_module(module)
assert "tensorflow" not in sys.modules
np.savez(folder / "outputs.npz", **{name: np.asarray(value) for name, value in outputs.items()})
"""


@pytest.fixture(scope="module")
def inputs(golden):
    random = np.random.default_rng(0)
    people = golden("heatmap_joint")
    arrays = {
        "keypoints": people["input_keypoint"],
        "scores": people["input_keypoint_score"],
        "uniforms": random.random(22, "float32"),
        "uniforms_3d": np.random.default_rng(1).random((1, 2, 17, 3), "float32"),
        "people": golden("openpose_target_a")["input_people"][..., :2].astype("float32"),
    }
    for name, (cls, options, shape) in TRAINED.items():
        layer = getattr(layers, cls)(**options)
        layer.build(shape)
        arrays[f"{name}/x"] = random.random(shape, "float32")
        arrays |= {f"{name}/weight_{i}": random.uniform(0.5, 1.5, w.shape) for i, w in enumerate(layer.weights)}
    for name in (*NETWORKS, *POSE_NETWORKS, *FIELD_NETWORKS, *BIN_NETWORKS):
        case = golden(name)
        given = "input_imgs" if name in NETWORKS else "input_image"
        arrays[f"{name}/{given}"] = case[given]
        arrays |= {f"{name}/state/{weight}": array for weight, array in case.state_dict.items()}
    video = golden("rgbpose_slim")
    arrays |= {f"rgbpose_slim/{name}": video[name] for name in ("input_imgs", "input_heatmap_imgs")}
    arrays |= {f"rgbpose_slim/state/{weight}": array for weight, array in video.state_dict.items()}
    for name in ALIKE:
        network = alike(name)
        arrays |= {f"{name}/weight_{i}": weight for i, weight in enumerate(network.get_weights())}
        shapes = network.input_shape if isinstance(network.input_shape, dict) else {"image": network.input_shape}
        arrays |= {f"{name}/x/{key}": random.random((2, *shape[1:]), "float32") for key, shape in shapes.items()}
    lifter, losses, camera = (golden(name) for name in ("temporal_27_causal", "losses", "camera_h36m"))
    arrays["temporal_27_causal/input_poses_2d"] = lifter["input_poses_2d"]
    arrays |= {f"temporal_27_causal/state/{weight}": array for weight, array in lifter.state_dict.items()}
    arrays |= {f"losses/{name}": losses[name] for name in ("input_predicted", "input_target")}
    arrays |= {"camera/points": camera["output_cam0_camera"], "camera/intrinsic": camera["output_cam0_intrinsic"]}
    maps = heatmaps.encode(random.uniform(20, 170, (2, 9, 2)), np.ones((2, 9)), *CODEC_SIZES)[0]
    arrays["codecs/maps"] = (np.asarray(maps) + random.random(maps.shape) * 1e-2).astype("float32")
    arrays["codecs/keypoints"] = random.uniform(-20, 210, (2, 12, 2)).astype("float32")
    arrays["codecs/weights"] = (random.random((2, 12)) < 0.8).astype("float32")
    return arrays


@functools.cache
def alike(name):
    """One of `ALIKE`, with weights that are all its own."""
    cls, options = ALIKE[name]
    keras.utils.set_random_seed(0)
    network, random = getattr(models, cls)(**options), np.random.default_rng(0)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return network


def modules_without_tensorflow():
    """What must not import TensorFlow by the rules of test_imports, but for those who need an extra or read options."""
    rules = runpy.run_path(str(HERE / "test_imports.py"))
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / "kerapose").rglob("*.py"))]
    left_out = rules["MAY_USE_TENSORFLOW"] | {"predictors", "pipeline", "commands"}
    modules = [".".join(path.with_suffix("").parts) for path in paths if rules["room_of_file"](path) not in left_out]
    assert "kerapose.ops.boxes" in modules
    return modules


@pytest.fixture(scope="module")
def outputs(inputs, tmp_path_factory):
    """What one process under JAX computes of everything."""
    return computed(inputs, tmp_path_factory.mktemp("jax"), OF_THEIR_PARTS)


def computed(inputs, folder, of_their_parts):
    np.savez(folder / "inputs.npz", **inputs)
    plan = {"networks": NETWORKS, "pose_networks": POSE_NETWORKS, "field_networks": FIELD_NETWORKS}
    plan |= {"bin_networks": BIN_NETWORKS}
    plan |= {"trained": TRAINED, "lengths": LENGTHS, "alike": ALIKE, "codec_sizes": CODEC_SIZES}
    plan |= {"of_their_parts": of_their_parts, "without_tensorflow": modules_without_tensorflow()}
    (folder / "plan.json").write_text(json.dumps(plan))
    backend = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_cpu_parallel_codegen_split_count=1",  # as much in less time
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE / "models"))),
    }
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=os.environ | backend,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr
    with np.load(folder / "outputs.npz") as file:
        return dict(file) | {"raised": json.loads((folder / "raised.json").read_text())}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_the_published_network(golden, outputs, name):
    golden(name).check("output_logits", outputs[name])


@pytest.mark.parametrize("pathway", ["rgb", "pose"])
def test_logits_equal_those_of_the_published_rgbpose(golden, outputs, pathway):
    golden("rgbpose_slim").check(f"output_logits_{pathway}", outputs[f"rgbpose_slim/{pathway}"])


@pytest.mark.parametrize("name", ALIKE)
def test_a_network_gives_the_same_as_under_tensorflow(inputs, outputs, name):
    given = {key.split("/")[2]: array for key, array in inputs.items() if key.startswith(f"{name}/x/")}
    expected = np.asarray(alike(name)(given.get("image", given)))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(outputs[name], expected, atol=1e-4)


@pytest.mark.parametrize("name", POSE_NETWORKS)
def test_heatmaps_equal_those_of_the_published_network(golden, outputs, name):
    output = "output_stack0" if name.startswith("hourglass") else "output_heatmaps"
    maps = outputs[name][:, 0] if name.startswith("hourglass") else outputs[name]
    golden(name).check(output, np.moveaxis(maps, -1, 1))


@pytest.mark.parametrize("name", FIELD_NETWORKS)
def test_fields_equal_those_of_the_published_network_stage_by_stage(golden, outputs, name):
    names = [f"output_stage{stage}_{field}" for stage in range(2) for field in ("heatmaps", "pafs")]
    for i, output in enumerate(names):
        golden(name).check(output, np.moveaxis(outputs[f"{name}/{i}"], -1, 1))


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("name", BIN_NETWORKS)
def test_logits_of_bins_equal_those_of_the_published_network(golden, outputs, name, axis):
    golden(name).check(f"output_simcc_{axis}", outputs[f"{name}/{axis}"])


def test_poses_equal_those_of_the_published_lifter_frame_by_frame_too(golden, outputs):
    case = golden("temporal_27_causal")
    case.check("output_poses", outputs["lifted"])
    case.check("output_poses", outputs["whole_track"][:, 26:])
    np.testing.assert_allclose(outputs["stream"], outputs["whole_track"], atol=1e-5)


def test_geometry(golden, inputs, outputs):
    golden("camera_h36m").check("output_cam0_project", outputs["projected"])
    aligned = alignment.align(inputs["losses/input_predicted"], inputs["losses/input_target"])
    np.testing.assert_allclose(outputs["aligned"], aligned, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "layer_"])
def test_volumes(golden, inputs, outputs, prefix):
    golden("heatmap_joint").check("output_heatmaps", np.moveaxis(outputs[f"{prefix}joints"], -1, 1))
    limbs = heatmaps.limb_volume(inputs["keypoints"], inputs["scores"], COCO.edges, 48, 64)
    np.testing.assert_allclose(outputs[f"{prefix}limbs"], limbs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_frames(golden, outputs, length):
    case = golden("uniform_sample_48")
    case.check(f"output_test_n{length}", outputs[f"frames_{length}"].ravel())
    case.check(f"output_train2_n{length}_s0", outputs[f"random_frames_{length}"].ravel())
    assert outputs[f"frames_{length}"].dtype == sequences.sample_frames(length, 48).dtype == np.int32


def test_frames_of_intervals_and_virtual_views(inputs, outputs):
    words = sequences.published_words(48, 2, 0)
    expected = sequences.sample_frames(100, 8, 2, words, random_start=True, p_interval=(0.5, 1.0))
    np.testing.assert_array_equal(outputs["interval_frames"], expected)
    expected, _ = virtual_cameras.keypoints_seen(inputs["uniforms_3d"], np.ones((1, 2, 17)), 0.5, 0.3, 2.0)
    np.testing.assert_allclose(outputs["view"], expected, atol=0.01)


def test_boxes(inputs, outputs):
    np.testing.assert_array_equal(outputs["box"], boxes.compact_box(inputs["keypoints"], (48, 64)))
    crop = boxes.random_crop_box((64, 80), (0.56, 1.0), (0.75, 4 / 3), inputs["uniforms"])
    np.testing.assert_array_equal(outputs["crop"], crop)


def test_fields_and_the_people_in_them(inputs, outputs):
    expected = (
        pafs.encode_heatmaps(inputs["people"], None, (20, 23)),
        pafs.encode(inputs["people"], None, OPENPOSE.edges, (20, 23)),
    )
    for name, maps in zip(("heatmaps", "fields"), expected, strict=True):
        np.testing.assert_allclose(outputs[name], maps, atol=1e-5)
    heatmaps_large, fields_large = (images.resize_cubic(maps, (80, 92)) for maps in expected)
    np.testing.assert_allclose(outputs["enlarged"], heatmaps_large, atol=1e-5)
    found = grouping.group(heatmaps_large[..., :-1], fields_large, OPENPOSE.edges)
    assert found["count"] == outputs["found/count"] > 1
    for name in ("keypoints", "scores", "person_scores"):
        np.testing.assert_allclose(
            outputs[f"found/{name}"], found[name], rtol=1e-3, atol=1e-3
        )  # a sample may round over


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_moves_the_same_statistics(inputs, outputs, name):
    cls, options, shape = TRAINED[name]
    layer = getattr(layers, cls)(**options)
    layer.build(shape)
    layer.set_weights([inputs[f"{name}/weight_{i}"] for i in range(len(layer.weights))])
    x = inputs[f"{name}/x"]
    np.testing.assert_allclose(outputs[f"{name}/predicted"], layer(x), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(outputs[f"{name}/trained"], layer(x, training=True), rtol=1e-3, atol=1e-4)
    for statistic in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(outputs[f"{name}/{statistic}"], getattr(layer, statistic), rtol=1e-4)


# ---------------------------------------- codecs of heatmaps
def test_codecs(inputs, outputs):
    keypoints, weights, maps = (inputs[f"codecs/{name}"] for name in ("keypoints", "weights", "maps"))
    image, grid = CODEC_SIZES

    def check(name, arrays):
        for i, array in enumerate(arrays):
            # A Newton step on a map that is nearly flat is long, and float32 leaves few digits of it.
            found = outputs[f"codecs/{name}_{i}"]
            np.testing.assert_allclose(found, array, rtol=1e-3, atol=5e-3, err_msg=f"{name}_{i}")

    for codec in heatmaps.CODECS:
        encoded = heatmaps.encode(keypoints, weights, image, grid, codec=codec)
        check(codec, (*encoded, *heatmaps.decode(maps, image, codec)))
    offsets = heatmaps.encode_offsets(keypoints, weights, image, grid)
    check("offsets", (*offsets, *heatmaps.decode_offsets(offsets[0], image)))
    labels = heatmaps.encode_simcc(keypoints, weights, image)
    check("simcc", (*labels, *heatmaps.decode_simcc(*labels[:2], dark=True)))
    check("merged", (heatmaps.merge_flipped(maps, maps, np.arange(9)[::-1]),))
    for codec in ("regression", "simcc"):
        answers, kept = heatmaps.encode_answers(keypoints, weights, image, codec=codec)
        merged = heatmaps.merge_flipped_answers(answers, answers, np.arange(12)[::-1], image, codec)
        decoded = heatmaps.decode_answers(merged, image, codec)
        check(codec + "_answers", (kept, *keras.tree.flatten(merged), *decoded))


# ---------------------------------------- training
def test_every_model_that_trains_is_trained_or_made_of_parts_of_those(outputs):
    assert set(outputs["raised"]) == set(LEARNING)


@pytest.mark.parametrize("name", LEARNING)
def test_a_step_of_fit_changes_the_weights(outputs, name):
    raised = outputs["raised"][name]
    assert raised is None, raised


@pytest.mark.slow  # most of a minute
def test_so_does_that_of_the_others(inputs, tmp_path):
    raised = computed(inputs, tmp_path, of_their_parts=[])["raised"]
    assert set(raised) == {*LEARNING, *OF_THEIR_PARTS} and not any(raised.values()), raised


def test_a_distiller_learns_from_its_teacher_and_leaves_it_alone(outputs):
    names = "distillation_loss", "ground_truth_loss", "heatmap_pck"
    expected = outputs["distiller/expected"]
    assert [outputs[f"distiller/{name}"] for name in names] == pytest.approx(expected, rel=1e-4)
    assert outputs["distiller/loss"] == pytest.approx(0.3 * expected[0] + 0.7 * expected[1], rel=1e-4)
    history, (taught, afterwards) = outputs["distiller/history"], outputs["distiller/taught"]
    assert history[-1] < history[0]
    np.testing.assert_array_equal(taught, afterwards)


def test_hard_keypoints_are_mined(outputs):
    of_two, of_all, mean_square = outputs["mined"]
    assert of_two > of_all == pytest.approx(mean_square, rel=1e-5)
