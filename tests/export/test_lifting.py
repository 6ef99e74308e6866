"""Lifters in other runtimes: whole tracks and single frames, against the predictor and the batch form."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, export, models, predictors, skeletons

COCO, H36M = skeletons.COCO, skeletons.H36M
ROOT = skeletons.Skeleton("root", ("hip",), ())
SIZE = (720, 1280)

FRESH = """
for name, keys in (("plain", {key.split("/")[0] for key in requests if "/" in key}), ("coco", ("gaps", "whole"))):
    served = tf.saved_model.load(f"{name}/1").signatures["serving_default"]
    for key in sorted(keys):
        inputs = {i: tf.constant(requests[f"{key}/{i}"]) for i in ("keypoints", "scores", "frame_size")}
        keep(f"{name}/{key}", served(**inputs))
signatures = tf.saved_model.load("stream/1").signatures
frames = requests["frames"]
people = len(frames)
state, poses = signatures["initial_state"](num_tracks=tf.constant(people)), []
for t in range(frames.shape[1]):
    answer = signatures["step"](
        keypoints=tf.constant(frames[:, t]),
        frame_size=tf.constant([[720, 1280]] * people),
        reset=tf.constant(requests["reset"][:, t]),
        **state,
    )
    poses.append(answer.pop("poses_m"))
    state = answer
keep("stream", {"poses_m": np.stack(poses, axis=1)})
"""


def tiny_network(seed=0, **options):
    """As a trained one: a fresh network hardly tells one pose from another."""
    keras.utils.set_random_seed(seed)
    network = models.TemporalLifter(**({"filter_widths": (3, 3), "channels": 16} | options))
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if "variance" not in weight.path:
            weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return network


def people(count=2, frames=12, seed=0):
    """Keypoints that wander over a picture of 1280 x 720: [M, T, 17, 2]."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 6, (count, frames, 17, 2)).cumsum(axis=1)
    return (random.uniform(200, 500, (count, 1, 17, 2)) + steps).astype("float32")


def request(count=2, frames=12, lost=0.0, seed=0):
    keypoints = people(count, frames, seed)
    scores = np.random.default_rng(seed + 1).uniform(0.2, 1, keypoints.shape[:-1]).astype("float32")
    gone = np.random.default_rng(seed + 2).random(scores.shape) < lost
    gone[:, frames // 2] = False
    scores[gone] = 0
    keypoints[gone & (scores.cumsum(axis=-1) % 0.5 < 0.25)] = np.nan  # some say so in both ways
    return {"keypoints": keypoints, "scores": scores, "frame_size": np.tile(np.int32(SIZE), (count, 1))}


@pytest.fixture(scope="module")
def predictor():
    return predictors.Lifter(tiny_network(), H36M, trajectory=tiny_network(1, num_joints_out=1))


@pytest.fixture(scope="module")
def stream():
    return estimators.StreamingLifter(tiny_network(2, causal=True), H36M)


@pytest.fixture(scope="module")
def served(predictor, stream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    path = folder / "plain" / "1"
    assert export.lifter_saved_model(predictor.lifter, path, max_tracks=4, max_frames=3 * 40) == path
    export.lifter_saved_model(predictor.lifter, folder / "coco" / "1", conversion=skeletons.mapping(COCO, H36M))
    path = folder / "stream" / "1"
    assert export.streaming_saved_model(stream, path, max_tracks=3) == path
    return folder


@pytest.fixture(scope="module")
def run(served):
    return tf.saved_model.load(served / "plain" / "1").signatures["serving_default"]


@pytest.fixture(scope="module")
def run_stream(served):
    return tf.saved_model.load(served / "stream" / "1").signatures


@pytest.fixture(scope="module")
def requests():
    return {
        "whole": request(),
        "one": request(1, frames=1),
        "short": request(1, frames=4, lost=0.3),
        "gaps": request(3, frames=40, lost=0.6),
    }


@pytest.fixture(scope="module")
def frames():
    """Two people in 24 frames; another comes in the place of the second one at frame 13."""
    reset = np.zeros((2, 24), bool)
    reset[1, 13] = True
    return {"frames": people(2, 24, seed=5), "reset": reset}


@pytest.fixture(scope="module")
def fresh_answers(served, requests, frames, run_fresh):
    """What the SavedModels answer in a process without kerapose."""
    arrays = {f"{key}/{name}": array for key, inputs in requests.items() for name, array in inputs.items()}
    return run_fresh(served, FRESH, arrays | frames)


# ---------------------------------------- whole tracks
@pytest.mark.parametrize("name", ["plain", "coco"])
def test_a_process_without_kerapose_lifts_alike(predictor, requests, fresh_answers, name):
    lift = predictors.Lifter(predictor.lifter.network, COCO if name == "coco" else H36M, predictor.lifter.trajectory)
    for key in requests if name == "plain" else ("gaps", "whole"):
        inputs = requests[key]
        expected = lift(inputs["keypoints"], SIZE, inputs["scores"])
        assert np.abs(expected.poses_m).max() > 0.1
        for output in ("poses_m", "poses_camera_m"):
            actual = fresh_answers[f"{name}/{key}/{output}"]
            np.testing.assert_allclose(actual, getattr(expected, output), atol=1e-4, err_msg=key)
        assert not fresh_answers[f"{name}/{key}/poses_m"][:, :, 0].any()
        names = np.char.decode(fresh_answers[f"{name}/{key}/keypoint_names"])
        assert names.tolist() == [list(H36M.keypoints)] * len(inputs["keypoints"])


def test_the_answers_depend_on_gaps_and_set(fresh_answers, run, requests):
    assert np.abs(fresh_answers["plain/gaps/poses_m"] - fresh_answers["coco/gaps/poses_m"]).max() > 0.01
    full = requests["gaps"] | {"keypoints": people(3, 40), "scores": np.ones((3, 40, 17), "float32")}
    without = run(**{name: tf.constant(array) for name, array in full.items()})["poses_m"]
    assert np.abs(fresh_answers["plain/gaps/poses_m"] - without).max() > 0.01


def test_a_shorter_track_may_be_filled_up_with_frames_of_score_0(run, requests):
    inputs = requests["whole"]
    filled_up = {name: array.copy() for name, array in inputs.items()}
    filled_up["keypoints"][1, 7:], filled_up["scores"][1, 7:] = 0, 0
    together = run(**{name: tf.constant(array) for name, array in filled_up.items()})
    alone = {name: tf.constant(array[1:, :7] if array.ndim > 2 else array[1:]) for name, array in inputs.items()}
    for output, value in run(**alone).items():
        if output.endswith("_m"):
            np.testing.assert_allclose(together[output][1:, :7], value, atol=1e-5)


def test_a_server_is_warmed_up(served, replay):
    for name, longest in (("plain", 120), ("coco", 240)):  # no longer than was allowed
        answers = replay(served / name / "1")["serving_default"]
        assert [answer["poses_m"].shape for answer in answers] == [(1, 48, 17, 3), (1, longest, 17, 3)]
    answers = replay(served / "stream" / "1")
    for signature in ("step", "serving_default"):
        assert [answer["poses_m"].shape for answer in answers[signature]] == [(1, 17, 3)]


def test_the_signature_is_the_documented_one(run, served):
    inputs = {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in run.structured_input_signature[1].items()}
    assert inputs == {
        "keypoints": ("float32", [None, None, 17, 2]),
        "scores": ("float32", [None, None, 17]),
        "frame_size": ("int32", [None, 2]),
    }
    outputs = {name: (spec.dtype.name, spec.shape.as_list()[2:]) for name, spec in run.structured_outputs.items()}
    assert outputs == {
        "poses_m": ("float32", [17, 3]),
        "poses_camera_m": ("float32", [17, 3]),
        "keypoint_names": ("string", []),
    }


def test_rest_rows(run, requests, fresh_answers):
    """What a REST client sends for two tracks, and gets back as rows."""
    lists = {name: array.tolist() for name, array in requests["whole"].items()}
    rows = json.loads(
        json.dumps({"instances": [{name: values[i] for name, values in lists.items()} for i in range(2)]})
    )
    types = {name: spec.dtype for name, spec in run.structured_input_signature[1].items()}
    inputs = {name: tf.constant([row[name] for row in rows["instances"]], types[name]) for name in types}
    outputs = run(**inputs)
    assert {len(value) for value in outputs.values()} == {2}
    np.testing.assert_allclose(outputs["poses_m"], fresh_answers["plain/whole/poses_m"], atol=1e-4)


def changed(name, index, value):
    def change(inputs):
        array = inputs[name].copy()
        array[index] = value
        return {name: array}

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"keypoints": r["keypoints"][0]}, "keypoints must have 4 axes, .* got the shape .12 17 2.; add"),
        (
            lambda r: {name: np.repeat(value, 3, axis=0) for name, value in r.items()},
            "A request may have at most 4 tracks, got 6; send the others in requests of their own",
        ),
        (
            lambda r: {name: np.repeat(r[name], 6, axis=1) for name in ("keypoints", "scores")},
            "A request may have at most 120 frames in all, got 144; cut the tracks, or send fewer",
        ),
        (lambda r: {"scores": r["scores"][0]}, "scores must have 3 axes, .* got the shape .12 17.; add"),
        (
            lambda r: {"frame_size": r["frame_size"][0]},
            r"frame_size must have 2 axes, \[B, 2\], got the shape .2.; add",
        ),
        (
            lambda r: {"keypoints": r["keypoints"][:, :, :15], "scores": r["scores"][..., :15]},
            r"keypoints must be \[B, T, 17, 2\], got .2 12 15 2.; give the keypoint set",
        ),
        (lambda r: {"scores": r["scores"][:, :9]}, "got .2 9 17. for .2 12 17 2.; give one score"),
        (lambda r: {"frame_size": r["frame_size"][:1]}, "for each track, got .1 2. for 2 tracks; repeat"),
        (
            lambda r: {"keypoints": r["keypoints"][:, :0], "scores": r["scores"][:, :0]},
            "at least one track and frame, got 2 tracks of 0 frames; leave",
        ),
        (lambda r: {name: array[:0] for name, array in r.items()}, "got 0 tracks of 12 frames; leave"),
        (changed("frame_size", (1, 0), 0), "height and width in pixels, got .0 1280. for track 1; give the size"),
        (changed("scores", (1, slice(None), 4), 0), "score above 0 for keypoint 4 of track 1; leave the track out"),
        (changed("scores", 1, 0), "score above 0 for keypoint 0 of track 1; leave the track out"),
        (changed("keypoints", (0, slice(None), 16), np.nan), "score above 0 for keypoint 16 of track 0; leave"),
    ],
)
def test_a_bad_request_gets_one_sentence(run, requests, change, sentence):
    inputs = requests["whole"] | change(requests["whole"])
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        run(**{name: tf.constant(array) for name, array in inputs.items()})


def test_an_unused_keypoint_need_not_be_seen(served, requests):
    run = tf.saved_model.load(served / "coco" / "1").signatures["serving_default"]
    inputs = {name: array.copy() for name, array in requests["whole"].items()}
    expected = run(**{name: tf.constant(array) for name, array in inputs.items()})["poses_m"]
    ears = [COCO.index("left_ear"), COCO.index("right_ear")]
    inputs["keypoints"][:, :, ears], inputs["scores"][:, :, ears] = np.nan, 0
    actual = run(**{name: tf.constant(array) for name, array in inputs.items()})["poses_m"]
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    inputs["scores"][0, :, COCO.index("left_eye")] = 0
    with pytest.raises(tf.errors.InvalidArgumentError, match="for keypoint 1 of track 0; leave"):
        run(**{name: tf.constant(array) for name, array in inputs.items()})


def test_what_does_not_fit_together_is_refused(predictor, served, tmp_path):
    lifter = predictor.lifter
    for wrong in (np.eye(15), np.zeros((17, 17)), skeletons.mapping(skeletons.JHMDB, COCO)):
        with pytest.raises(ValueError, match="for each of the network's 17 keypoints, got .*; give skeletons.mapping"):
            export.lifter_saved_model(lifter, tmp_path / "1", conversion=wrong)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.lifter_saved_model(lifter, served / "plain" / "1")


# ---------------------------------------- frame by frame
def batch_poses(network, keypoints, reset):
    """The batch form of each part of each track, relative to its joint 0: [M, T, K, 2] -> [M, T, J, 3]."""
    lifter = estimators.TrackLifter(network, H36M, flip_test=False)
    tracks_m = []
    for track, begins in zip(keypoints, reset, strict=True):
        starts = [0, *np.flatnonzero(begins[1:]) + 1, len(track)]
        parts = [
            lifter({"keypoints": track[None, start:end], "frame_size": np.int32([SIZE])})["poses_m"][0]
            for start, end in zip(starts[:-1], starts[1:], strict=True)
        ]
        tracks_m.append(np.concatenate(parts))
    poses = np.array(tracks_m)
    return poses - poses[:, :, :1]


def test_a_served_stream_is_the_batch_form(stream, frames, fresh_answers):
    expected = batch_poses(stream.network, frames["frames"], frames["reset"])
    np.testing.assert_allclose(fresh_answers["stream/poses_m"], expected, atol=2e-5)
    assert np.abs(expected).max() > 0.1
    unbroken = batch_poses(stream.network, frames["frames"], np.zeros((2, 24), bool))
    assert np.abs(unbroken[1, 13:] - expected[1, 13:]).max() > 0.01


@pytest.mark.parametrize("num_tracks", [1, 2])
def test_a_litert_stream_is_the_batch_form_and_the_stream(stream, frames, tmp_path, num_tracks):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    path = tmp_path / "stream.tflite"
    assert export.streaming_litert(stream, path, num_tracks) == path
    interpreter = interpreters.Interpreter(str(path))
    step, state = interpreter.get_signature_runner("step"), interpreter.get_signature_runner("initial_state")()
    keypoints, reset = frames["frames"][-num_tracks:], frames["reset"][-num_tracks:]
    screen = keypoints / SIZE[1] * 2 - np.float32([1, SIZE[0] / SIZE[1]])
    own, poses = stream.initial_state(num_tracks), []
    for t in range(24):
        size = np.tile(np.int32(SIZE), (num_tracks, 1))
        answer = step(keypoints=keypoints[:, t], frame_size=size, reset=reset[:, t], **state)
        poses.append(answer.pop("poses_m"))
        state = answer
        expected, own = stream.step(screen[:, t], own, reset[:, t])
        np.testing.assert_allclose(poses[-1], expected - expected[:, :1], atol=2e-5)
    expected = batch_poses(stream.network, keypoints, reset)
    np.testing.assert_allclose(np.stack(poses, axis=1), expected, atol=2e-5)


def test_a_stream_of_the_trajectory_gives_the_way(tmp_path):
    stream = estimators.StreamingLifter(tiny_network(3, causal=True, num_joints_out=1), H36M, ROOT)
    run = tf.saved_model.load(export.streaming_saved_model(stream, tmp_path / "1")).signatures
    keypoints = people(1, 1)[:, 0]
    state = run["initial_state"](num_tracks=tf.constant(1))
    inputs = {"keypoints": keypoints, "frame_size": [SIZE], "reset": [False]}
    answer = run["step"](**{name: tf.constant(value) for name, value in inputs.items()}, **state)
    screen = keypoints / SIZE[1] * 2 - np.float32([1, SIZE[0] / SIZE[1]])
    expected, _ = stream.step(screen, stream.initial_state(1))
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(answer["poses_m"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"keypoints": r["keypoints"][0]}, r"keypoints must have 3 axes, \[M, 17, 2\], got the shape .17 2."),
        (lambda r: {"keypoints": r["keypoints"][:, :15]}, r"must be \[M, 17, 2\], got .2 15 2.; give the set"),
        (
            lambda r: {name: np.repeat(value, 2, axis=0) for name, value in r.items()},
            "A request may have at most 3 people, got 4; send the others in a stream of their own",
        ),
        (lambda r: {"frame_size": r["frame_size"][:1]}, "got .1 2. and .2. for .2 17 2.; give each for every person"),
        (lambda r: {"reset": r["reset"][:1]}, "got .2 2. and .1. for .2 17 2.; give each for every person"),
        (changed("keypoints", (1, 3, 0), np.nan), "must be finite, got NaN or infinity for person 1; give the last"),
        (changed("frame_size", (1, 1), 0), "height and width in pixels, got .720 0. for person 1; give the size"),
    ],
)
def test_a_bad_frame_gets_one_sentence(run_stream, change, sentence):
    inputs = {
        "keypoints": people(2, 1)[:, 0],
        "frame_size": np.tile(np.int32(SIZE), (2, 1)),
        "reset": np.zeros(2, bool),
    }
    inputs = {name: tf.constant(array) for name, array in (inputs | change(inputs)).items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        run_stream["step"](**inputs, **run_stream["initial_state"](num_tracks=tf.constant(2)))


@pytest.mark.parametrize("num_tracks", [4, 2**31 - 1, 0, -1])
def test_a_stream_of_too_many_or_nobody_is_refused(run_stream, num_tracks):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"num_tracks must be 1 to 3, got {num_tracks}; give"):
        run_stream["initial_state"](num_tracks=tf.constant(num_tracks))


def test_a_stream_is_never_gathered(served):
    assert sorted(path.name for path in (served / "stream").iterdir()) == ["1", "models.config"]
    assert not (served / "stream" / "1" / "batching_params.pbtxt").exists()


def test_a_state_of_other_people_is_refused(run_stream):
    inputs = {"keypoints": people(2, 1)[:, 0], "frame_size": np.tile(np.int32(SIZE), (2, 1)), "reset": [False, False]}
    inputs = {name: tf.constant(array) for name, array in inputs.items()}
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="state must be of as many people as the frame, got 3 for 2"
    ):
        run_stream["step"](**inputs, **run_stream["initial_state"](num_tracks=tf.constant(3)))


def test_streams_are_refused_by_ending_and_number_and_kept(stream, served, tmp_path):
    with pytest.raises(ValueError, match=r"must end in .tflite, got .*; rename it"):
        export.streaming_litert(stream, tmp_path / "stream.bin")
    with pytest.raises(ValueError, match="num_tracks must be at least 1, got 0; use 1"):
        export.streaming_litert(stream, tmp_path / "stream.tflite", num_tracks=0)
    scored = estimators.StreamingLifter(tiny_network(in_features=3, causal=True), H36M)
    with pytest.raises(ValueError, match="got a network of in_features=3; use one of 2"):
        export.streaming_litert(scored, tmp_path / "stream.tflite")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.streaming_saved_model(stream, served / "stream" / "1")
    assert list(tmp_path.iterdir()) == []
