import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, models, skeletons
from kerapose.estimators import VideoRecognizer
from kerapose.ops import boxes, heatmaps, sequences

COCO = skeletons.COCO
NUM_CLASSES = 5
RGB_SHAPE, POSE_SHAPE = (4, 20, 16, 3), (16, 10, 8, 17)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
HEIGHT, WIDTH = 60, 80


class Spy:
    """Stands in for a network: keeps the clips that it is asked about, and gives its answers in turn."""

    def __init__(self, rgb_shape, pose_shape, answers):
        shapes = {"rgb": rgb_shape, "pose": pose_shape}
        self.input = {name: keras.Input(shape) for name, shape in shapes.items() if shape}
        self.input = self.input if len(self.input) == 2 else next(iter(self.input.values()))
        self.output = keras.tree.map_structure(lambda logits: keras.Input(logits.shape[1:]), answers[0])
        self.answers = answers
        self.asked = []

    def __call__(self, clip, training):
        assert training is False
        self.asked.append(keras.tree.map_structure(keras.ops.convert_to_numpy, clip))
        answer = self.answers[(len(self.asked) - 1) % len(self.answers)]
        return keras.tree.map_structure(keras.ops.convert_to_tensor, answer)


def network(rgb_shape=RGB_SHAPE, pose_shape=POSE_SHAPE, heads=None, seed=0):
    """As decided as a trained one; with a head for each kind of clip, or one for both."""
    keras.utils.set_random_seed(seed)
    inputs, logits = {}, {}
    for name, shape in (("rgb", rgb_shape), ("pose", pose_shape)):
        if shape:
            inputs[name] = keras.Input(shape, name=name)
            x = keras.layers.Conv3D(4, 3, padding="same", activation="relu")(inputs[name])
            x = keras.layers.Dense(NUM_CLASSES, name=f"head_{name}")(keras.layers.Flatten()(x))
            logits[name] = x * 30.0 if name == "pose" else x
    one = sum(logits.values())
    if len(inputs) == 1:
        return keras.Model(next(iter(inputs.values())), one)
    return keras.Model(inputs, one if heads == 1 else logits)


def recognizer_of(network, skeleton=COCO, **options):
    return VideoRecognizer(network, skeleton, [f"class {number}" for number in range(NUM_CLASSES)], **options)


def videos(batch=2, people=2, frames=30, height=HEIGHT, width=WIDTH, seed=0):
    """People who each drift before a picture of noise."""
    random = np.random.default_rng(seed)
    pose = random.uniform(5, 25, (batch, people, 1, 1, 2)) + random.uniform(0, 25, (batch, people, 1, 17, 2))
    drift = random.uniform(-0.2, 0.2, (batch, people, 1, 1, 2)) * np.arange(frames)[:, None, None]
    return {
        "frames": random.integers(0, 256, (batch, frames, height, width, 3), dtype="uint8"),
        "keypoints": (pose + drift).astype("float32"),
        "scores": random.uniform(0.2, 1.0, (batch, people, frames, 17)).astype("float32"),
    }


def answer(recognizer, inputs):
    return keras.ops.convert_to_numpy(recognizer(inputs))


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def slow_cutout(frame, box, size):
    """Pixel after pixel: four taps, halves between pixels, black beyond the frame."""
    left, top, right, bottom = box
    picture = np.zeros((*size, 3))

    def tap(row, column):
        inside = 0 <= row < frame.shape[0] and 0 <= column < frame.shape[1]
        return frame[row, column].astype("float64") if inside else np.zeros(3)

    for i in range(size[0]):
        for j in range(size[1]):
            y = np.clip((i + 0.5) * (bottom - top) / size[0] - 0.5, 0, bottom - top - 1) + top
            x = np.clip((j + 0.5) * (right - left) / size[1] - 0.5, 0, right - left - 1) + left
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            for row, weight_y in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
                for column, weight_x in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
                    picture[i, j] += weight_y * weight_x * tap(row, column)
    return picture


def slow_answers(net, inputs, rgb_shape=RGB_SHAPE, pose_shape=POSE_SHAPE, num_clips=2, aligned=True, flip_labels=None):
    """One video, one clip, one frame after the other: the logits' softmaxes by head, means over the clips."""
    both = rgb_shape and pose_shape
    results = []
    for frames, keypoints, scores in zip(inputs["frames"], inputs["keypoints"], inputs["scores"], strict=True):
        if both:
            sampled = sequences.sample_rgb_and_pose(
                len(frames), rgb_shape[0], pose_shape[0], num_clips, aligned=aligned
            )
        else:
            sampled = [sequences.sample_frames(len(frames), (rgb_shape or pose_shape)[0], num_clips)] * 2
        rgb, pose = (np.asarray(indices) for indices in sampled)
        box = np.asarray(boxes.compact_box(keypoints[:, pose.ravel()], frames.shape[1:3]))
        found = []
        for clip in range(num_clips):
            seen = {}
            if rgb_shape:
                pictures = np.stack([slow_cutout(frames[i], box, rgb_shape[1:3]) for i in rgb[clip]])
                seen["rgb"] = (pictures / 255 - MEAN) / STD
            if pose_shape:
                points = (keypoints[:, pose[clip]] - box[:2]) * (pose_shape[2], pose_shape[1]) / (box[2:] - box[:2])
                volume = heatmaps.joint_volume(points, scores[:, pose[clip]], *pose_shape[1:3], sigma_px=0.7)
                seen["pose"] = keras.ops.convert_to_numpy(volume)
            views = [(seen, range(NUM_CLASSES))]
            if flip_labels is not None:
                mirrored = {name: x[:, :, ::-1] for name, x in seen.items()}
                if pose_shape:
                    mirrored["pose"] = mirrored["pose"][..., list(COCO.flip_permutation)]
                views.append((mirrored, flip_labels))
            for view, order in views:
                clip_of_one = {name: x[None].astype("float32") for name, x in view.items()}
                logits = net(clip_of_one if both else next(iter(clip_of_one.values())), training=False)
                logits = logits if isinstance(logits, dict) else {"fused": logits}
                found.append({name: softmax(np.asarray(x))[0][list(order)] for name, x in logits.items()})
        results.append({name: np.mean([one[name] for one in found], axis=0) for name in found[0]})
    return {name: np.stack([one[name] for one in results]) for name in results[0]}


# ---------------------------------------- what it answers
@pytest.mark.parametrize("aligned", [True, False])
def test_it_is_the_mean_over_clips_and_heads(aligned):
    net, inputs = network(), videos()
    expected = slow_answers(net, inputs, aligned=aligned)
    recognizer = recognizer_of(net, num_clips=2, aligned=aligned)
    fused = (expected["rgb"] + expected["pose"]) / 2
    np.testing.assert_allclose(answer(recognizer, inputs), fused, rtol=1e-3, atol=1e-5)
    rgb, _ = recognizer.samples(30)
    parts = recognizer.recognize(inputs["frames"][:, rgb.ravel()], inputs["keypoints"], inputs["scores"])
    assert set(parts) == {"rgb", "pose", "fused"}
    for name, value in (expected | {"fused": fused}).items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    for part in expected.values():  # or the network would have ignored its input
        assert np.abs(part[0] - part[1]).max() > 1e-2


@pytest.mark.parametrize("kind", ["both", "rgb", "pose"])
def test_networks_of_one_output_or_one_kind_of_clip(kind):
    shapes = {"rgb_shape": RGB_SHAPE if kind != "pose" else None, "pose_shape": POSE_SHAPE if kind != "rgb" else None}
    net, inputs = network(**shapes, heads=1), videos()
    expected = slow_answers(net, inputs, **shapes)["fused"]
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    recognizer = recognizer_of(net, num_clips=2)
    np.testing.assert_allclose(answer(recognizer, inputs), expected, rtol=1e-3, atol=1e-5)
    rgb, pose = recognizer.samples(30)
    assert rgb.shape == (2, 0 if kind == "pose" else 4) and pose.shape == (2, 0 if kind == "rgb" else 16)
    assert rgb.dtype == pose.dtype == np.int32
    frame_size = np.array([[HEIGHT, WIDTH]] * 2)
    frames = None if kind == "pose" else inputs["frames"][:, rgb.ravel()]
    parts = recognizer.recognize(frames, inputs["keypoints"], inputs["scores"], frame_size)
    assert set(parts) == {"fused"}
    np.testing.assert_allclose(parts["fused"], expected, rtol=1e-3, atol=1e-5)


def test_in_a_mirror_left_and_right_keypoints_and_classes_change_places():
    net, inputs, swap = network(), videos(batch=1), (1, 0, 2, 4, 3)
    expected = slow_answers(net, inputs, flip_labels=swap)
    options = {"num_clips": 2, "flip_test": True, "flip_labels": swap}
    actual = answer(recognizer_of(net, **options), inputs)
    np.testing.assert_allclose(actual, (expected["rgb"] + expected["pose"]) / 2, rtol=1e-3, atol=1e-5)
    plain = answer(recognizer_of(net, num_clips=2), inputs)
    assert np.abs(actual - plain).max() > 1e-2


def test_keypoints_of_another_size_are_scaled():
    recognizer = recognizer_of(network())
    inputs = videos()
    larger = inputs | {"keypoints": inputs["keypoints"] * (1.5, 2.0), "frame_size": np.array([[120, 120]] * 2, "int32")}
    np.testing.assert_allclose(answer(recognizer, larger), answer(recognizer, inputs), atol=1e-4)
    stated = inputs | {"frame_size": np.array([[HEIGHT, WIDTH]] * 2, "int32")}
    np.testing.assert_allclose(answer(recognizer, stated), answer(recognizer, inputs), atol=1e-6)


def test_people_of_score_zero_change_nothing():
    recognizer = recognizer_of(network(), num_clips=2, use_scores=False)
    inputs = videos(people=1)
    padded = inputs | {
        "keypoints": np.pad(inputs["keypoints"], [(0, 0), (0, 2), (0, 0), (0, 0), (0, 0)]),
        "scores": np.pad(inputs["scores"], [(0, 0), (0, 2), (0, 0), (0, 0)]),
    }
    np.testing.assert_allclose(answer(recognizer, padded), answer(recognizer, inputs), atol=1e-6)


def test_without_scores_every_keypoint_of_a_person_counts_alike():
    inputs, net = videos(), network()
    ones = inputs | {"scores": np.ones_like(inputs["scores"])}
    plain = answer(recognizer_of(net), ones)
    without = recognizer_of(net, use_scores=False)
    np.testing.assert_allclose(answer(without, inputs), plain, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 7, 20, 70])
def test_any_length_gives_probabilities(frames):
    recognizer = recognizer_of(network(), num_clips=2)
    probabilities = answer(recognizer, videos(batch=1, people=1, frames=frames))
    assert probabilities.shape == (1, NUM_CLASSES)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    rgb, pose = recognizer.samples(frames)
    assert min(rgb.min(), pose.min()) >= 0 and max(rgb.max(), pose.max()) < frames
    np.testing.assert_array_equal(rgb, pose[:, ::4])  # one clock


def test_normalization_and_sigma_reach_the_network():
    spy = Spy(RGB_SHAPE, POSE_SHAPE, [np.zeros((2, NUM_CLASSES), "float32")])
    options = {"sigma_px": 2.0, "normalization": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "bgr": True}}
    inputs = videos()
    answer(recognizer_of(spy, **options), inputs)
    answer(recognizer_of(spy), inputs)
    custom, usual = spy.asked
    pictures = custom["rgb"][..., ::-1]
    assert pictures.min() >= 0 and 0.5 < pictures.max() <= 1
    np.testing.assert_allclose((pictures - MEAN) / STD, usual["rgb"], atol=1e-4)
    assert custom["pose"].mean() > 2 * usual["pose"].mean()


def test_pictures_alone_have_a_mirror_whatever_the_skeleton_knows():
    """They have no sides that change places, as keypoints have."""
    unsided = skeletons.Skeleton("unsided", tuple(f"joint {i}" for i in range(17)), COCO.edges)
    answers = [np.zeros((2, NUM_CLASSES), "float32")]
    for shapes, mirrored in (((RGB_SHAPE, None), True), ((None, POSE_SHAPE), False), ((RGB_SHAPE, POSE_SHAPE), False)):
        spy = Spy(*shapes, answers)
        assert recognizer_of(spy, unsided, flip_test=True, flip_labels=range(NUM_CLASSES)).flip_test is mirrored


@pytest.mark.parametrize("option", ["num_clips", "aligned", "use_scores", "padding", "sigma_px"])
def test_every_option_changes_what_the_network_sees(option):
    value = {"num_clips": 2, "aligned": False, "use_scores": False, "padding": 0.7, "sigma_px": 1.2}[option]
    inputs, seen = videos(batch=1, people=1), []
    for options in ({}, {option: value}):
        spy = Spy(RGB_SHAPE, POSE_SHAPE, [np.zeros((1, NUM_CLASSES), "float32")])
        recognizer = recognizer_of(spy, **options)
        answer(recognizer, inputs)
        seen.append(spy.asked[0])
        assert recognizer.arguments()[option] == options.get(option, recognizer_of(spy).arguments()[option])
    assert any((one != other).any() for one, other in zip(seen[0].values(), seen[1].values(), strict=True))


# ---------------------------------------- how it works
def test_clips_go_one_after_the_other():
    answers = list(np.random.default_rng(0).normal(size=(10, 2, NUM_CLASSES)).astype("float32"))
    spy = Spy(RGB_SHAPE, POSE_SHAPE, answers)
    actual = answer(recognizer_of(spy, num_clips=10), videos())
    assert len(spy.asked) == 10
    assert {clip["rgb"].shape for clip in spy.asked} == {(2, *RGB_SHAPE)}
    assert {clip["pose"].shape for clip in spy.asked} == {(2, *POSE_SHAPE)}
    np.testing.assert_allclose(actual, softmax(np.stack(answers)).mean(axis=0), rtol=1e-5)


def test_an_answer_that_is_not_a_number_comes_back():
    spy = Spy(RGB_SHAPE, POSE_SHAPE, [np.full((2, NUM_CLASSES), np.nan, "float32")])
    assert np.isnan(answer(recognizer_of(spy, num_clips=3), videos())).all()


def test_a_graph_has_one_network_and_takes_any_length_and_size():
    net = network()
    recognizer = recognizer_of(net, num_clips=10)
    spec = {
        "frames": tf.TensorSpec((None, None, None, None, 3), tf.uint8),
        "keypoints": tf.TensorSpec((None, None, None, 17, 2)),
        "scores": tf.TensorSpec((None, None, None, 17)),
    }
    traced = tf.function(recognizer, input_signature=[spec])
    graph = traced.get_concrete_function().graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    assert sum(node.op == "Conv3D" for node in nodes) == 2  # one each of pictures and poses
    for inputs in (videos(), videos(batch=1, people=3, frames=7, height=48, width=50, seed=1)):
        np.testing.assert_allclose(traced(inputs), answer(recognizer, inputs), atol=1e-5)


def test_the_frames_of_samples_do_in_a_graph_too():
    recognizer = recognizer_of(network(), num_clips=2)
    shapes = {
        "frames": (None, None, None, None, 3),
        "keypoints": (None, None, None, 17, 2),
        "scores": (None,) * 3 + (17,),
    }
    specs = [tf.TensorSpec(shape, "uint8" if name == "frames" else "float32") for name, shape in shapes.items()]
    recognize = tf.function(recognizer.recognize, input_signature=specs)
    for length in (30, 12):
        inputs = videos(batch=1, frames=length, seed=length)
        sampled = inputs | {"frames": inputs["frames"][:, recognizer.samples(length)[0].ravel()]}
        np.testing.assert_allclose(recognize(**sampled)["fused"], answer(recognizer, inputs), atol=1e-5)


@pytest.mark.parametrize("kind", ["both", "rgb", "pose"])
def test_clips_that_a_pipeline_has_cut_do_too(kind):
    shapes = {"both": {}, "rgb": {"pose_shape": None}, "pose": {"rgb_shape": None}}[kind]
    recognizer = recognizer_of(network(**shapes), num_clips=2, flip_test=True)
    inputs = videos()
    rgb, _ = recognizer.samples(inputs["keypoints"].shape[2])
    given = {name: inputs[name] for name in ("keypoints", "scores")} | {"frames": inputs["frames"][:, rgb.ravel()]}
    if kind == "pose":
        given |= {"frames": None, "frame_size": np.full((2, 2), (HEIGHT, WIDTH))}
    parts = recognizer.clips(**given)
    assert set(parts) == {"both": {"rgb", "keypoints", "scores"}, "rgb": {"rgb"}, "pose": {"keypoints", "scores"}}[kind]
    expected = recognizer.recognize(**given)
    for name, found in recognizer.from_clips(parts).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


def test_keras_predicts_with_it():
    recognizer = recognizer_of(network(), num_clips=2)
    inputs = videos(batch=3)
    np.testing.assert_allclose(
        recognizer.predict(inputs, batch_size=2, verbose=0), answer(recognizer, inputs), atol=1e-5
    )


def small_rgbpose(rgb_shape=(4, 32, 32, 3), pose_shape=(16, 8, 8, 17)):
    small = {"rgb_filters": 4, "pose_filters": 4, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}
    return models.RGBPoseConv3D(NUM_CLASSES, rgb_shape, pose_shape, **small)


def small_star(rgb_shape=(4, 32, 32, 3)):
    small = {"width": 8, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1, "base_filters": 4}
    return models.STARTransformer(NUM_CLASSES, rgb_shape, **small)


@pytest.mark.parametrize(
    "make", [small_rgbpose, small_star, lambda: models.MC3ResNet18(NUM_CLASSES, (4, 32, 32, 3), 4)]
)
def test_our_networks_do(make):
    inputs, probabilities = videos(), []
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            net = make()
        finally:
            keras.config.set_dtype_policy(before)
        probabilities.append(answer(recognizer_of(net), inputs))
    assert probabilities[1].dtype == np.float32
    np.testing.assert_allclose(*probabilities, atol=0.02)
    assert np.any(probabilities[0] != probabilities[1])


def test_a_saved_recognizer_answers_alike(tmp_path):
    options = {"flip_test": True, "flip_labels": (1, 0, 2, 3, 4), "sigma_px": 0.9, "padding": 0.1, "aligned": False}
    recognizer = recognizer_of(network(), num_clips=2, **options)
    expected, config = answer(recognizer, videos()), recognizer.get_config()
    recognizer.save(tmp_path / "recognizer.keras")
    again = keras.models.load_model(tmp_path / "recognizer.keras")
    assert again.get_config() | {"network": None} == config | {"network": None}
    np.testing.assert_allclose(answer(again, videos()), expected, atol=1e-6)


def test_the_whole_box_is_seen_at_the_scale_of_the_crops():
    net = small_rgbpose((8, 224, 112, 3), (32, 56, 28, 17))
    recognizer = recognizer_of(net, num_clips=3, sigma_px=0.9, name="mine")
    whole = recognizer.on_whole_box()
    assert (whole.rgb_shape, whole.pose_shape) == ((8, 256, 128, 3), (32, 64, 32, 17))
    assert (whole.num_clips, whole.sigma_px, whole.name) == (3, 0.9, "mine")
    assert recognizer.rgb_shape == (8, 224, 112, 3)
    for ours, theirs in zip(whole.network.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole = recognizer_of(small_star((4, 96, 96, 3))).on_whole_box()
    assert (whole.rgb_shape, whole.pose_shape) == ((4, 108, 108, 3), (4, 27, 27, 17))
    pose = models.C3D(NUM_CLASSES, (8, 56, 56, 17), base_filters=4, num_stages=3)
    assert recognizer_of(pose).on_whole_box().pose_shape == (8, 64, 64, 17)


# ---------------------------------------- what is refused
def test_what_does_not_fit_together_is_refused():
    with pytest.raises(
        ValueError, match="must be that of the training, got jhmdb with 15 keypoints for volumes of 17 channels; give"
    ):
        recognizer_of(network(), skeletons.JHMDB)
    with pytest.raises(ValueError, match="num_clips must be at least 1, got 0"):
        recognizer_of(network(), num_clips=0)
    inputs = keras.Input((4, None, 32, 3))
    loose = keras.Model(inputs, keras.layers.GlobalAveragePooling3D()(inputs))
    with pytest.raises(ValueError, match=r"of a fixed size, got \(4, None, 32, 3\) for rgb; give it one"):
        recognizer_of(loose)


def of_inputs(**shapes):
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    return keras.Model(inputs, [keras.layers.Flatten()(x) for x in inputs.values()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: of_inputs(rgb=RGB_SHAPE, depth=RGB_SHAPE),
        lambda: of_inputs(rgb=(*RGB_SHAPE[:3], 1), pose=POSE_SHAPE),
        lambda: keras.Model(image := keras.Input((64, 64, 3)), keras.layers.Conv2D(17, 1)(image)),
        lambda: estimators.ActionRecognizer(network(rgb_shape=None), COCO, "abcde", POSE_SHAPE[1:3]),
    ],
)
def test_a_network_of_something_else_is_refused(make):
    with pytest.raises(ValueError, match="The network must take .* or one of the two tensors, got .*; use RGBPose"):
        recognizer_of(make())


def test_frames_that_are_lacking_are_named():
    inputs = videos()
    recognizer = recognizer_of(network(), num_clips=2)
    with pytest.raises(ValueError, match="There must be 2 clips of 4 frames, got 30 frames; give those that samples()"):
        recognizer.recognize(**inputs)
    for needy in (recognizer, recognizer_of(network(rgb_shape=None))):
        with pytest.raises(ValueError, match="frames of the video are needed, got none"):
            needy.recognize(None, inputs["keypoints"], inputs["scores"])
