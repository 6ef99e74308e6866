"""Sequences of keypoints in, named actions out."""

import keras
import numpy as np
import pytest

from kerapose import estimators, models, skeletons
from kerapose.ops import clips, heatmaps
from kerapose.predictors import ScoredAction, SkeletonAction

COCO = skeletons.COCO
NAMES = ["clap", "wave_left", "wave_right", "kick"]
SIZE = (720, 1280)


def tiny_network(channels=17, seed=0):
    keras.utils.set_random_seed(seed)
    network = models.C3D(len(NAMES), input_shape=(8, 24, 24, channels), base_filters=4, num_stages=3)
    classifier = network.get_layer("fc_cls")
    classifier.kernel.assign(classifier.kernel * 50)  # as decided as a trained one
    return network


@pytest.fixture(scope="module")
def joint_network():
    return tiny_network(seed=0)


@pytest.fixture(scope="module")
def limb_network():
    return tiny_network(COCO.num_edges, seed=1)


@pytest.fixture(scope="module")
def recognize(joint_network):
    return SkeletonAction(joint_network, COCO, NAMES, num_clips=2)


def sequence(people=2, frames=30, seed=0):
    random = np.random.default_rng(seed)
    keypoints = random.uniform(100, 500, (people, 1, 1, 2)) + random.uniform(0, 200, (people, frames, 17, 2))
    return keypoints.astype("float32"), random.uniform(0.2, 1.0, (people, frames, 17)).astype("float32")


def slow_probabilities(network, modality, keypoints, scores, num_clips):
    """One clip and one mirror image after the other."""
    pixels = round(network.input_shape[2] * 8 / 7)
    clip_keypoints, clip_scores = clips.evaluation_clips(keypoints, scores, SIZE, 8, num_clips, (pixels, pixels))
    permutation, edges = (
        (COCO.flip_permutation, None) if modality == "joint" else (COCO.edge_flip_permutation, COCO.edges)
    )
    network = network.resized((8, pixels, pixels, 17))
    swap = [0, 2, 1, 3]  # waving with the left hand is waving with the right one in a mirror
    answers = []
    for points, score in zip(clip_keypoints, clip_scores, strict=True):
        if edges is None:
            volume = heatmaps.joint_volume(points, score, pixels, pixels)
        else:
            volume = heatmaps.limb_volume(points, score, edges, pixels, pixels)
        volume = keras.ops.convert_to_numpy(volume)  # [L, H, W, C]
        for view, order in ((volume, [0, 1, 2, 3]), (volume[:, :, ::-1][..., list(permutation)], swap)):
            logits = network(view[None], training=False)
            answers.append(keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0, order])
    return np.mean(answers, axis=0)


@pytest.mark.parametrize("frames", [1, 5, 30])
def test_probabilities_are_the_mean_over_clips_and_mirror_images(joint_network, recognize, frames):
    keypoints, scores = sequence(frames=frames)
    expected = slow_probabilities(joint_network, "joint", keypoints, scores, num_clips=2)
    np.testing.assert_allclose(recognize.probabilities(keypoints, scores, SIZE), expected, rtol=1e-4, atol=1e-6)


def test_joints_and_limbs_are_averaged(joint_network, limb_network):
    networks = {"joint": joint_network, "limb": limb_network}
    keypoints, scores = sequence()
    expected = [slow_probabilities(network, name, keypoints, scores, num_clips=3) for name, network in networks.items()]
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    fused = SkeletonAction(networks, COCO, NAMES, num_clips=3)
    np.testing.assert_allclose(
        fused.probabilities(keypoints, scores, SIZE), np.mean(expected, axis=0), rtol=1e-4, atol=1e-6
    )
    assert list(fused.recognizer.network) == ["joint", "limb"]
    limb_alone = SkeletonAction({"limb": limb_network}, COCO, NAMES, num_clips=3)
    np.testing.assert_allclose(limb_alone.probabilities(keypoints, scores, SIZE), expected[1], rtol=1e-4, atol=1e-6)


def test_actions_are_named_best_first(recognize):
    keypoints, scores = sequence()
    probabilities = recognize.probabilities(keypoints, scores, SIZE)
    actions = recognize(keypoints, scores, SIZE)
    assert [NAMES.index(action.name) for action in actions] == list(np.argsort(-probabilities))
    np.testing.assert_allclose([action.probability for action in actions], np.sort(probabilities)[::-1])
    assert recognize(keypoints, scores, SIZE, top=2) == actions[:2]
    assert isinstance(actions[0], ScoredAction) and isinstance(actions[0].probability, float)


def test_one_person_needs_no_people_axis(recognize):
    keypoints, scores = sequence(people=1)
    assert recognize(keypoints[0], scores[0], SIZE) == recognize(keypoints, scores, SIZE)


def test_scores_and_frame_size_may_be_left_out(recognize):
    keypoints, _ = sequence()
    keypoints[0, 3, 5] = 0.0
    scores = np.ones(keypoints.shape[:3], "float32")
    scores[0, 3, 5] = 0.0
    fitting = np.ceil(keypoints.max(axis=(0, 1, 2)))[::-1]
    np.testing.assert_allclose(recognize.probabilities(keypoints), recognize.probabilities(keypoints, scores, fitting))


def test_options_reach_the_recognizer(joint_network):
    options = {"num_clips": 3, "flip_test": False, "use_scores": False, "sigma_px": 0.8, "padding": 0.1}
    recognizer = SkeletonAction(joint_network, COCO, NAMES, size=32, **options).recognizer
    assert {name: getattr(recognizer, name) for name in options} == options
    assert recognizer.network["joint"].input_shape == (None, 8, 32, 32, 17)
    assert recognizer.flip_labels == (0, 2, 1, 3)


def test_recognizers_have_the_published_test_size_and_the_network_keeps_its_own():
    network = models.C3D(len(NAMES), input_shape=(8, 56, 56, 17), base_filters=4, num_stages=3)
    tested = SkeletonAction(network, COCO, NAMES).recognizer.network["joint"]
    assert tested.input_shape == (None, 8, 64, 64, 17)
    assert network.input_shape == (None, 8, 56, 56, 17)
    for ours, theirs in zip(tested.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("lost", [np.nan, np.inf, -1.0, 5.0])
def test_what_is_missing_is_nowhere(recognize, lost):
    keypoints, scores = (array.copy() for array in sequence())
    keypoints[0, 2:9, 3:6], scores[0, 2:9, 3:6] = 0, 0
    expected = recognize.probabilities(keypoints, scores, SIZE)
    keypoints[0, 2:9, 3:6] = lost
    np.testing.assert_array_equal(recognize.probabilities(keypoints, scores, SIZE), expected)
    if not np.isfinite(lost):
        np.testing.assert_array_equal(
            recognize.probabilities(keypoints, np.maximum(scores, 1e-9) * (scores > 0), SIZE), expected
        )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda k, s: (k[:, :0], s[:, :0]), "at least one frame, got one without any"),
        (lambda k, s: (k[:0], s[:0]), "A clip shows somebody, got one in which nobody is seen"),
        (lambda k, s: (k, np.zeros_like(s)), "nobody is seen, with no score of 0.001 or more"),
        (lambda k, s: (np.zeros_like(k), None), "A clip shows somebody"),
        (lambda k, s: (k, 100 * s), "Scores are 0 to 1, got one with a score above 10"),
        (lambda k, s: (k / 1280, s), "Keypoints are in pixels, got one"),
        (lambda k, s: (k / 640 - 1, s), "Keypoints are in pixels, got one"),
        (lambda k, s: (k[:, :, :15], s[:, :, :15]), "those of the skeleton, got .* .15 and 17 of coco"),
        (lambda k, s: (k, s[:1]), r"one score for each keypoint, got .*\(1, 30, 17\) for \(2, 30, 17, 2\)"),
        (lambda k, s: (k[0, 0], s[0, 0]), r"Keypoints are \[M, T, K, 2\], got .*\(17, 2\)"),
        (lambda k, s: (np.concatenate([k, k], axis=-1), s), r"Keypoints are \[M, T, K, 2\], got .*\(2, 30, 17, 4\)"),
        (lambda k, s: ([], None), r"Keypoints are \[M, T, K, 2\], got .*\(0,\)"),
    ],
)
@pytest.mark.parametrize("frame_size", [SIZE, None])
def test_a_bad_sequence_gets_one_sentence(recognize, change, sentence, frame_size):
    with pytest.raises(ValueError, match=sentence):
        recognize(*change(*sequence()), frame_size)


@pytest.mark.parametrize("frame_size", [(0, 1280), (720,), (720, -1), 720, (720.5, 1280), (True, 1280)])
def test_a_bad_frame_size_gets_one_sentence(recognize, frame_size):
    with pytest.raises(
        ValueError, match=r"frame_size is \(height, width\), whole numbers .*give the size of the video"
    ):
        recognize(*sequence(), frame_size)


def test_top_below_one_is_refused(recognize):
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        recognize(*sequence(), SIZE, top=0)


def test_what_does_not_fit_together_is_refused(joint_network):
    with pytest.raises(ValueError, match="got 3 names for 4 classes; give the names"):
        SkeletonAction(joint_network, COCO, NAMES[:3])
    with pytest.raises(ValueError, match="A joint network for jhmdb takes 15 channels, got one of 17"):
        SkeletonAction(joint_network, skeletons.JHMDB, NAMES)
    with pytest.raises(ValueError, match='A modality is "joint" or "limb", got \'bone\''):
        SkeletonAction({"bone": joint_network}, COCO, NAMES)
    with pytest.raises(ValueError, match="at least one network, got none"):
        SkeletonAction({}, COCO, NAMES)


def test_a_recognizer_knows_all_but_what_one_may_choose(joint_network):
    recognizer = estimators.ActionRecognizer(joint_network, COCO, NAMES, num_clips=2, sigma_px=0.8)
    keypoints, scores = sequence()
    taken = SkeletonAction(recognizer)
    assert taken.recognizer is recognizer and (taken.skeleton, taken.class_names) == (COCO, tuple(NAMES))
    expected = SkeletonAction(joint_network, COCO, NAMES, num_clips=2, sigma_px=0.8)(keypoints, scores, SIZE)
    assert taken(keypoints, scores, SIZE) == expected
    assert SkeletonAction(joint_network, COCO, NAMES).recognizer.num_clips == 10
    fewer = SkeletonAction(recognizer, num_clips=1, flip_test=False).recognizer
    assert (fewer.num_clips, fewer.flip_test, fewer.sigma_px, recognizer.num_clips) == (1, False, 0.8, 2)
    assert fewer.network["joint"] is recognizer.network["joint"]
    assert SkeletonAction(recognizer, COCO, NAMES).recognizer is recognizer
    with pytest.raises(ValueError, match="This ActionRecognizer has its own class_names, sigma_px, by which it was tr"):
        SkeletonAction(recognizer, COCO, NAMES[::-1], sigma_px=0.6)


def test_a_network_alone_is_asked_for_what_it_lacks(joint_network):
    with pytest.raises(ValueError, match="does not know its skeleton and class_names, got C3D; give skeleton=..., cla"):
        SkeletonAction(joint_network)
    with pytest.raises(ValueError, match="does not know its class_names, got C3D; give class_names=... as in its tr"):
        SkeletonAction(joint_network, COCO)


def test_the_best_are_named_as_many_as_are_wanted(monkeypatch):
    """And what is asked about is handed on as it is."""
    asked, recognize = [], object.__new__(SkeletonAction)
    recognize.class_names = [f"class {number}" for number in range(7)]
    found = np.float32([0.05, 0.3, 0.1, 0.3, 0.05, 0.1, 0.1])
    monkeypatch.setattr(SkeletonAction, "probabilities", lambda self, *given: asked.append(given) or found)
    for top in (1, 2, 7, 9):
        best = recognize("keypoints", "scores", (3, 4), top=top)
        assert [one.name for one in best] == [f"class {i}" for i in (1, 3, 2, 5, 6, 0, 4)[:top]]
        assert [one.probability for one in best] == found[[1, 3, 2, 5, 6, 0, 4]][:top].tolist()
    assert asked == [("keypoints", "scores", (3, 4))] * 4
    assert len(recognize("keypoints", "scores", (3, 4))) == 5
