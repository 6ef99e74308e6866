"""Videos with keypoints in other processes: SavedModels, how they are served, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, export, models, skeletons

COCO = skeletons.COCO
NAMES = ["clap", "wave_left", "wave_right", "köpfen", "kick"]
VIDEO_INPUTS = ("frames", "keypoints", "scores")

FRESH = """
for name in sys.argv[1:]:
    signatures = tf.saved_model.load(f"{name}/1").signatures
    for key in sorted({key.split("/")[0] for key in requests}):
        inputs = {i: tf.constant(requests[f"{key}/{i}"]) for i in ("frames", "keypoints", "scores", "frame_size")}
        if name == "pose":
            del inputs["frames"]
            keep(f"{name}/{key}", signatures["serving_default"](**inputs))
        else:
            if key == "padded":
                keep(f"{name}/{key}/other_size", signatures["other_size"](**inputs))
            del inputs["frame_size"]
            keep(f"{name}/{key}", signatures["serving_default"](**inputs))
"""


def videos(batch=2, people=2, frames=20, height=48, width=64, seed=0):
    """People who each drift before a picture of noise; the keypoints are in pixels of it."""
    random = np.random.default_rng(seed)
    pose = random.uniform(5, 15, (batch, people, 1, 1, 2)) + random.uniform(0, 25, (batch, people, 1, 17, 2))
    drift = random.uniform(-0.1, 0.1, (batch, people, 1, 1, 2)) * np.arange(frames)[:, None, None]
    return {
        "frames": random.integers(0, 256, (batch, frames, height, width, 3), dtype="uint8"),
        "keypoints": (pose + drift).astype("float32"),
        "scores": random.uniform(0.2, 1.0, (batch, people, frames, 17)).astype("float32"),
        "frame_size": np.tile(np.array([height, width], "int32"), (batch, 1)),
    }


@pytest.fixture(scope="module")
def rgbpose(randomized):
    """A small network of both, as decided as a trained one."""
    small = {"rgb_filters": 4, "pose_filters": 4, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}
    network = models.RGBPoseConv3D(len(NAMES), (2, 32, 32, 3), (8, 8, 8, 17), **small)
    return randomized(network, shift=0.0, classifier=0.3)


@pytest.fixture(scope="module")
def recognizers(rgbpose, randomized):
    """What is exported, by folder name."""
    pose = randomized(models.C3D(len(NAMES), (8, 24, 24, 17), 4, num_stages=3), shift=0.0, classifier=30.0)
    mirror = {"flip_test": True, "flip_labels": (0, 2, 1, 3, 4)}
    return {
        "both": estimators.VideoRecognizer(rgbpose, COCO, NAMES, num_clips=2),
        "pose": estimators.VideoRecognizer(pose, COCO, NAMES, num_clips=2, **mirror),
    }


@pytest.fixture(scope="module")
def served(recognizers, tmp_path_factory):
    """A folder with `<name>/1` for each of the recognizers, as TensorFlow Serving likes it."""
    folder = tmp_path_factory.mktemp("served")
    for name, recognizer in recognizers.items():
        path = folder / name / "1"
        # As much as these tests ask, and no more.
        most = {"max_sequences": 2, "max_people": 2, "max_frames": 40, "max_pixels": 50 * 70}
        assert export.video_saved_model(recognizer, path, **most) == path
    return folder


@pytest.fixture(scope="module")
def loaded(served):
    """The signatures of the network of both, {name: function}, loaded once."""
    return tf.saved_model.load(served / "both" / "1").signatures


@pytest.fixture(scope="module")
def requests():
    padded = videos(frames=12, seed=1)
    padded["keypoints"][1, 1], padded["scores"][1, 1] = 0.0, 0.0  # the second video has one person only
    short = videos(batch=1, people=1, frames=3, height=50, width=70, seed=2)
    return {"long": videos(frames=20), "short": short, "padded": padded}


@pytest.fixture(scope="module")
def fresh_answers(served, recognizers, requests, run_fresh):
    """What the SavedModels answer in a process without kerapose; `other_size` is asked with the video's own."""
    arrays = {f"{key}/{name}": array for key, request in requests.items() for name, array in request.items()}
    return run_fresh(served, FRESH, arrays, *recognizers)


@pytest.mark.parametrize("name", ["both", "pose"])
def test_a_process_without_kerapose_answers_alike(recognizers, requests, fresh_answers, name):
    answers = []
    for key, request in requests.items():
        expected = np.asarray(recognizers[name](request))
        for signature in ("", "/other_size") if (name, key) == ("both", "padded") else ("",):
            actual = fresh_answers[f"{name}/{key}{signature}/probabilities"]
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5, err_msg=key)
            classes = np.char.decode(fresh_answers[f"{name}/{key}{signature}/classes"])
            assert classes.tolist() == [NAMES] * len(actual)
            top = np.char.decode(fresh_answers[f"{name}/{key}{signature}/top_class"])
            assert top.tolist() == [NAMES[i] for i in actual.argmax(axis=-1)]
        answers.extend(expected)
    assert min(np.abs(a - b).max() for i, a in enumerate(answers) for b in answers[:i]) > 1e-3


def test_a_server_is_warmed_up(served, replay):
    for name, known in (("both", {"serving_default", "other_size"}), ("pose", {"serving_default"})):
        answers = replay(served / name / "1")
        assert {signature for signature, (answer,) in answers.items() if answer["classes"].shape == (1, 5)} == known


def test_the_signatures_are_the_documented_ones(served, signatures):
    keypoints = {"keypoints": ("float32", [-1, -1, -1, 17, 2]), "scores": ("float32", [-1, -1, -1, 17])}
    frames, size = {"frames": ("uint8", [-1, -1, -1, -1, 3])}, {"frame_size": ("int32", [-1, 2])}
    outputs = {
        "probabilities": ("float32", [-1, 5]),
        "classes": ("string", [-1, 5]),
        "top_class": ("string", [-1]),
    }
    assert signatures(served / "both" / "1") == {
        "serving_default": (frames | keypoints, outputs),
        "other_size": (frames | keypoints | size, outputs),
    }
    assert signatures(served / "pose" / "1") == {"serving_default": (keypoints | size, outputs)}


def test_keypoints_of_another_size_are_scaled(loaded, requests, fresh_answers):
    larger = requests["long"] | {"keypoints": requests["long"]["keypoints"] * 2, "frame_size": [[96, 128]] * 2}
    actual = loaded["other_size"](**{name: tf.constant(array) for name, array in larger.items()})["probabilities"]
    np.testing.assert_allclose(actual, fresh_answers["both/long/probabilities"], rtol=1e-3, atol=1e-5)


def test_predict_requests_and_responses_of_tensorflow_serving(served, requests, fresh_answers, serve):
    answer = serve(served / "both" / "1", {name: requests["short"][name] for name in VIDEO_INPUTS})
    assert set(answer) == {"probabilities", "classes", "top_class"}
    np.testing.assert_allclose(answer["probabilities"], fresh_answers["both/short/probabilities"], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(answer["top_class"].astype("S"), fresh_answers["both/short/top_class"])


def test_the_network_is_in_the_file_once(served):
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    saved = saved_model_pb2.SavedModel.FromString((served / "both" / "1" / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    assert sum(any(node.op == "Softmax" for node in function.node_def) for function in functions) == 1


# ---------------------------------------- bad requests
def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"frames": r["frames"][0]}, r"frames must have 5 axes, .* got the shape .20 48 64 3.; add"),
        (
            lambda r: {"frames": np.moveaxis(r["frames"], -1, 2)},
            r"frames must be RGB \[B, T, H, W, 3\], got .2 20 3 48 64.; move the channels last",
        ),
        (
            lambda r: {"frames": np.zeros((2, 20, 51, 70, 3), "uint8")},
            "A frame may have at most 3500 pixels, got 70 wide and 51 high; make the video smaller",
        ),
        (
            lambda r: {name: value[[0, 1, 0]] for name, value in r.items()},
            "at most 2 sequences, got 3; send the others",
        ),
        (
            lambda r: {name: r[name][:, [0, 1, 0]] for name in ("keypoints", "scores")},
            "at most 2 people a sequence, got 3; leave out those who are seen the least",
        ),
        (
            lambda r: {name: np.repeat(value, 2, axis=1 + (name != "frames")) for name, value in r.items()},
            "at most 40 frames in all, got 80; cut the sequences, or send fewer",
        ),
        (lambda r: {"frames": r["frames"][:, :, :0]}, "frames must be RGB .* got .2 20 0 64 3."),
        (lambda r: {"frames": r["frames"][..., :1]}, "frames must be RGB .* got .2 20 48 64 1."),
        (
            lambda r: {"frames": r["frames"][:, :19]},
            "for every frame of every video, got 2 videos of 19 frames and keypoints of 2 videos of 20 frames; give",
        ),
        (
            lambda r: {"frames": r["frames"][:1]},
            "got 1 videos of 20 frames and keypoints of 2 videos of 20 frames; give",
        ),
        (
            lambda r: {name: array[:, :0] if name == "frames" else array[:, :, :0] for name, array in r.items()},
            "at least one sequence, person and frame, got 2 sequences of 2 people and 0 frames; leave",
        ),
        (
            lambda r: {"keypoints": r["keypoints"][:, :0], "scores": r["scores"][:, :0]},
            "at least one sequence, person and frame, got 2 sequences of 0 people and 20 frames; leave",
        ),
        (lambda r: {"keypoints": r["keypoints"][0]}, "keypoints must have 5 axes, .* got the shape .2 20 17 2.; add"),
        (
            lambda r: {"keypoints": r["keypoints"][:, :, :, :15], "scores": r["scores"][..., :15]},
            r"keypoints must be \[B, M, T, 17, 2\], got .2 2 20 15 2.; give the keypoint set",
        ),
        (lambda r: {"scores": r["scores"][:, :1]}, "scores must be .* got .2 1 20 17. for .2 2 20 17 2.; give one"),
        (
            lambda r: {"keypoints": with_value(r["keypoints"], 1, r["keypoints"][1] / 64)},
            "keypoints must be in pixels, got none beyond .* in sequence 1; multiply",
        ),
        (
            lambda r: {"scores": with_value(r["scores"], 1, 0.0)},
            "at least one keypoint, got no score of 0.001 or more in sequence 1; leave it out, or set",
        ),
        (
            lambda r: {"keypoints": with_value(r["keypoints"], 1, r["keypoints"][1] * 20)},
            "must lie in the frame, got 680 of 680 beyond height and width .48 64. for sequence 1; give frame_size",
        ),
    ],
)
def test_a_bad_request_gets_one_sentence(loaded, change, sentence):
    request = {name: array for name, array in videos().items() if name in VIDEO_INPUTS}
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        loaded["serving_default"](**{name: tf.constant(array) for name, array in (request | change(request)).items()})


@pytest.mark.parametrize(
    ("frame_size", "sentence"),
    [
        ([48, 64], r"frame_size must have 2 axes, \[B, 2\], got the shape .2.; add"),
        ([[48, 64]], "height and width for each sequence, got .1 2. for 2 sequences"),
        ([[48, 64], [48, 0]], "height and width in pixels, got .48 0. for sequence 1; give the size"),
    ],
)
def test_a_bad_frame_size_gets_one_sentence(loaded, frame_size, sentence):
    request = videos() | {"frame_size": np.array(frame_size, "int32")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        loaded["other_size"](**{name: tf.constant(array) for name, array in request.items()})


# ---------------------------------------- writing
def test_what_is_there_is_kept_unless_overwritten(recognizers, served):
    with pytest.raises(FileExistsError, match="give another path, or overwrite=True"):
        export.video_saved_model(recognizers["both"], served / "both" / "1")
