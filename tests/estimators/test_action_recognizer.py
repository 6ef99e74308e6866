import keras
import numpy as np
import pytest

from kerapose import models, skeletons
from kerapose.estimators import ActionRecognizer
from kerapose.ops import clips, heatmaps

COCO = skeletons.COCO


class Spy:
    """Stands in for a network: keeps the volumes that it is asked about, and gives its answers in turn."""

    def __init__(self, input_shape, answers):
        self.input_shape = (None, *input_shape)
        self.output_shape = (None, answers[0].shape[-1])
        self.answers = answers
        self.asked = []

    def __call__(self, volumes, training):
        assert training is False
        self.asked.append(volumes)
        return keras.ops.convert_to_tensor(self.answers[(len(self.asked) - 1) % len(self.answers)])

    def last_volumes(self):
        """What the last round of questions was about (Keras asks a first time for shapes alone)."""
        return np.concatenate([keras.ops.convert_to_numpy(x) for x in self.asked[-len(self.answers) :]])


def tiny_network(channels=17, seed=0):
    keras.utils.set_random_seed(seed)
    network = models.C3D(5, input_shape=(8, 24, 24, channels), base_filters=4, num_stages=3)
    classifier = network.get_layer("fc_cls")
    classifier.kernel.assign(classifier.kernel * 50)  # as decided as a trained one
    return network


def recognizer_of(network, names=None, **options):
    """Round a network as it is, of volumes of its own size."""
    networks = network if isinstance(network, dict) else {"joint": network}
    one = next(iter(networks.values()))
    names = [f"class {number}" for number in range(one.output_shape[-1])] if names is None else names
    return ActionRecognizer(network, COCO, names, one.input_shape[2:4], **options)


def sequences(batch=2, people=2, frames=30, seed=0):
    random = np.random.default_rng(seed)
    corner = random.uniform(100, 500, (batch, people, 1, 1, 2))
    keypoints = corner + random.uniform(0, 200, (batch, people, frames, 17, 2))
    scores = random.uniform(0.2, 1.0, (batch, people, frames, 17))
    return {
        "keypoints": keypoints.astype("float32"),
        "scores": scores.astype("float32"),
        "frame_size": np.full((batch, 2), [720, 1280], "int32"),
    }


def answer(recognizer, inputs):
    return keras.ops.convert_to_numpy(recognizer(inputs))


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_the_network_sees_the_published_volumes(golden):
    case = golden("pipeline_test")
    num_clips, frames = case.config["num_clips"], case.config["clip_len"]
    expected = case["output_imgs"]  # [N plain, then N mirrored, C, L, H, W]
    answers = [np.zeros((num_clips, 4), "float32")] * 2
    spy = Spy((frames, *expected.shape[-2:], 17), answers)
    recognizer = recognizer_of(spy, num_clips=num_clips)
    recognizer(
        {
            "keypoints": case["input_keypoint"][None],
            "scores": case["input_keypoint_score"][None],
            "frame_size": np.array([case.config["img_shape"]]),
        }
    )
    case.check("output_imgs", np.moveaxis(spy.last_volumes(), -1, 1))


@pytest.mark.parametrize("flip_test", [False, True])
def test_clips_are_averaged_as_published(golden, flip_test):
    case = golden("average_clips")
    logits = case["input_cls_score"]  # [B, N, classes]
    # With a flip test, the first half of the published views are clips here and the other half their mirror images.
    views = np.split(logits, 2, axis=1) if flip_test else [logits]
    spy = Spy((8, 24, 24, 17), [view.reshape(-1, view.shape[-1]) for view in views])
    recognizer = recognizer_of(spy, num_clips=views[0].shape[1], flip_test=flip_test)
    case.check("output_prob", answer(recognizer, sequences(len(logits))))


def test_in_a_mirror_left_and_right_classes_change_places():
    plain, mirrored = np.random.default_rng(0).normal(size=(2, 2, 3)).astype("float32")  # [B, classes] each
    spy = Spy((8, 24, 24, 17), [plain, mirrored])
    recognizer = recognizer_of(spy, flip_labels=(1, 0, 2))
    expected = (softmax(plain) + softmax(mirrored)[:, [1, 0, 2]]) / 2
    np.testing.assert_allclose(answer(recognizer, sequences(batch=2)), expected, rtol=1e-5)


@pytest.mark.parametrize("modality", ["joint", "limb"])
def test_it_is_the_mean_over_clips_and_mirror_images(modality):
    limb = modality == "limb"
    network = tiny_network(COCO.num_edges if limb else COCO.num_keypoints)
    permutation = COCO.edge_flip_permutation if limb else COCO.flip_permutation
    inputs = sequences(batch=2)
    actual = answer(recognizer_of({modality: network}, num_clips=3), inputs)
    for i in range(2):
        keypoints, scores = clips.evaluation_clips(
            inputs["keypoints"][i], inputs["scores"][i], inputs["frame_size"][i], 8, 3, (24, 24)
        )  # [N, M, L, K, 2], [N, M, L, K]
        if limb:
            volumes = heatmaps.limb_volume(keypoints, scores, COCO.edges, 24, 24)
        else:
            volumes = heatmaps.joint_volume(keypoints, scores, 24, 24)
        volumes = keras.ops.convert_to_numpy(volumes)  # [N, L, H, W, C]
        mirrored = volumes[:, :, :, ::-1][..., list(permutation)]
        logits = [keras.ops.convert_to_numpy(network(v, training=False)) for v in (volumes, mirrored)]
        np.testing.assert_allclose(actual[i], softmax(np.concatenate(logits)).mean(axis=0), rtol=1e-4, atol=1e-6)
    assert np.abs(actual[0] - actual[1]).max() > 1e-2  # or the network would have ignored its input


@pytest.mark.parametrize("option", ["num_clips", "use_scores", "padding", "sigma_px"])
def test_every_option_changes_what_the_network_sees(option):
    value = {"num_clips": 2, "use_scores": False, "padding": 0.7, "sigma_px": 1.2}[option]
    inputs, seen = sequences(batch=1, people=1), []
    for options in ({}, {option: value}):
        spy = Spy((8, 16, 24, 17), [np.zeros((options.get("num_clips", 1), 5), "float32")])
        recognizer = recognizer_of(spy, flip_test=False, **options)
        answer(recognizer, inputs)
        seen.append(keras.ops.convert_to_numpy(spy.asked[-1]))
        assert seen[-1].shape[1:] == (8, 16, 24, 17)
    assert len(seen[0]) != len(seen[1]) or np.abs(seen[0] - seen[1]).max() > 0.01


def test_volumes_are_drawn_in_the_precision_of_the_recognizer():
    spy = Spy((8, 16, 24, 17), [np.zeros((1, 5), "float32")])
    recognizer = recognizer_of(spy, flip_test=False, dtype="mixed_bfloat16")
    recognizer(sequences(batch=1))
    assert keras.backend.standardize_dtype(spy.asked[-1].dtype) == "bfloat16"
    assert recognizer.arguments()["dtype"].compute_dtype == "bfloat16"


def test_people_of_score_zero_change_nothing():
    recognizer = recognizer_of(tiny_network(), num_clips=2)
    inputs = sequences(batch=2, people=1)
    padded = {
        "keypoints": np.pad(inputs["keypoints"], [(0, 0), (0, 2), (0, 0), (0, 0), (0, 0)]),
        "scores": np.pad(inputs["scores"], [(0, 0), (0, 2), (0, 0), (0, 0)]),
        "frame_size": inputs["frame_size"],
    }
    np.testing.assert_allclose(answer(recognizer, padded), answer(recognizer, inputs), atol=1e-6)


def test_without_scores_every_keypoint_of_a_person_counts_alike():
    inputs = sequences()
    ones = inputs | {"scores": np.ones_like(inputs["scores"])}
    network = tiny_network()
    plain = answer(recognizer_of(network), ones)
    scoreless = recognizer_of(network, use_scores=False)
    np.testing.assert_allclose(answer(scoreless, inputs), plain, atol=1e-6)


def test_without_scores_a_person_of_score_zero_is_still_padding():
    recognizer = recognizer_of(tiny_network(), use_scores=False)
    alone = sequences(people=1)
    beside = alone | {
        "keypoints": np.pad(alone["keypoints"], [(0, 0), (0, 1), (0, 0), (0, 0), (0, 0)]),
        "scores": np.pad(alone["scores"], [(0, 0), (0, 1), (0, 0), (0, 0)]),
    }
    np.testing.assert_allclose(answer(recognizer, beside), answer(recognizer, alone), atol=1e-6)


@pytest.mark.parametrize("frames", [1, 5, 8, 13, 16, 100])
def test_any_length_gives_probabilities(frames):
    recognizer = recognizer_of(tiny_network(), num_clips=2)
    probabilities = answer(recognizer, sequences(batch=3, people=1, frames=frames))
    assert probabilities.shape == (3, 5)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)


def test_a_saved_recognizer_answers_alike(tmp_path):
    networks = {"limb": tiny_network(seed=1), "joint": tiny_network()}
    recognizer = recognizer_of(networks, num_clips=3, flip_labels=(1, 0, 2, 3, 4), sigma_px=0.8, padding=0.1)
    before = answer(recognizer, sequences())
    recognizer.save(tmp_path / "recognizer.keras")
    again = keras.models.load_model(tmp_path / "recognizer.keras")
    assert again.get_config() == recognizer.get_config()
    np.testing.assert_allclose(answer(again, sequences()), before, atol=1e-6)


def test_the_answers_of_joints_and_limbs_are_averaged():
    networks, inputs = {"joint": tiny_network(seed=1), "limb": tiny_network(seed=2)}, sequences()
    one, other = (answer(recognizer_of({name: network}), inputs) for name, network in networks.items())
    np.testing.assert_allclose(answer(recognizer_of(networks), inputs), (one + other) / 2, atol=1e-7)
    assert np.abs(one - other).max() > 1e-2


def test_networks_may_take_clips_of_different_lengths():
    keras.utils.set_random_seed(0)
    short, inputs = models.C3D(5, (4, 24, 24, 17), base_filters=4, num_stages=3), sequences()
    networks = {"joint": tiny_network(seed=1), "limb": short}
    one, other = (answer(recognizer_of({name: network}), inputs) for name, network in networks.items())
    np.testing.assert_allclose(answer(recognizer_of(networks), inputs), (one + other) / 2, atol=1e-7)


def test_volumes_show_as_large_people_as_the_crops_of_the_training():
    network = models.C3D(5, (8, 28, 56, 17), base_filters=4, num_stages=3)
    recognizer = ActionRecognizer(network, COCO, "abcde")
    assert recognizer.size == (32, 64) and recognizer.network["joint"].input_shape == (None, 8, 32, 64, 17)
    for actual, expected in zip(recognizer.network["joint"].weights, network.weights, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert ActionRecognizer(network, COCO, "abcde", size=40).size == (40, 40)
    assert ActionRecognizer(network, COCO, "abcde", size=(28, 56)).network["joint"] is network


def test_left_and_right_classes_are_found_by_their_names(caplog):
    recognizer = recognizer_of(tiny_network(), ["clap", "wave left", "wave right", "kick left", "rest"])
    assert recognizer.flip_labels == (0, 2, 1, 3, 4)
    assert [record.getMessage() for record in caplog.records if "needs its mirror image" in record.getMessage()]
    caplog.clear()
    recognizer_of(tiny_network(), ["clap", "wave left", "wave right", "kick left", "rest"], flip_test=False)
    assert not caplog.records


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ({}, {}, 'at least one network, got none; give {"joint": network}'),
        ({"depth": 17}, {}, 'A modality is "joint" or "limb", got \'depth\''),
        ({"joint": 15}, {}, "A joint network for coco takes 17 channels, got one of 15; give the skeleton and the"),
        ({"limb": 15}, {}, "A limb network for coco takes 17 channels, got one of 15"),
        ({"limb": 17}, {"class_names": "abc"}, "each class of the limb network, got 3 names for 5 classes"),
        ({"joint": 17}, {"flip_labels": (0, 1, 2)}, r"mirror image of each of 5 classes, got \(0, 1, 2\)"),
        ({"joint": 17}, {"flip_labels": (0, 1, 2, 3, 3)}, "mirror image of each of 5 classes"),
        ({"joint": 17}, {"skeleton": COCO.flip_permutation}, "skeleton must be the Skeleton .* got tuple; give skel"),
        ({"joint": 17}, {"skeleton": skeletons.JHMDB}, "A joint network for jhmdb takes 15 channels, got one of 17"),
    ],
)
def test_what_does_not_fit_is_refused(network, options, message):
    networks = {modality: tiny_network(channels) for modality, channels in network.items()}
    with pytest.raises(ValueError, match=message):
        ActionRecognizer(networks, **({"skeleton": COCO, "class_names": "abcde"} | options))


def test_networks_of_two_sizes_are_refused_unless_one_is_given():
    networks = {"joint": tiny_network(), "limb": models.C3D(5, (8, 28, 28, 17), base_filters=4, num_stages=3)}
    with pytest.raises(ValueError, match=r"volumes of one size, got \[\(24, 24\), \(28, 28\)\]; give size"):
        ActionRecognizer(networks, COCO, "abcde")
    assert ActionRecognizer(networks, COCO, "abcde", size=24).size == (24, 24)
