"""The temporal lifter: its published figures, its forms, the stream, whole tracks, and the joint training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, losses, models, training, weights
from kerapose.ops import cameras
from kerapose.skeletons import H36M, Skeleton

TEMPORAL = ("temporal_27", "temporal_27_1f", "temporal_27_1f_causal", "temporal_27_causal", "temporal_27_dense")
CASES = (*TEMPORAL, "temporal_mixed_widths", "trajectory_27")
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)


def build(case):
    """The network of a golden's configuration, with its weights."""
    arguments = case.config["arguments"]
    network = models.TemporalLifter(
        arguments["num_joints_in"],
        arguments["in_features"],
        arguments["num_joints_out"],
        filter_widths=arguments["filter_widths"],
        channels=arguments["channels"],
        dropout=arguments["dropout"],
        causal=arguments["causal"],
        dense=arguments.get("dense", False),
        strided=case.config["class"] == "TemporalModelOptimized1f",
    )
    return weights.load_torch(network, case.state_dict)


def small(seed=0, **options):
    """A small network whose running statistics are no initializer's."""
    keras.utils.set_random_seed(seed)
    network = models.TemporalLifter(5, **({"filter_widths": (3, 3), "channels": 16} | options))
    random = np.random.default_rng(seed)
    for layer in network.convolutions():
        layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(random.normal(0, 0.3, layer.beta.shape))
        layer.moving_mean.assign(random.normal(0, 0.3, layer.moving_mean.shape))
        layer.moving_variance.assign(random.uniform(0.5, 1.5, layer.moving_variance.shape))
    return network


def tracks(frames, batch=2, joints=5, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, frames, joints, 2)).astype("float32")


def points(pairs, count=5):
    """A set of keypoints without names, of which some pairs change places in a mirror."""
    return Skeleton("points", tuple(map(str, range(count))), (), flip_pairs=tuple(pairs))


FIVE = points([(1, 2)])
ROOT = points((), 1)


# ---------------------------------------- the published network
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_the_published_network_gives(golden, name):
    case = golden(name)
    network = build(case)
    case.check("output_poses", network(case["input_poses_2d"]))
    assert network.receptive_field == case.config["receptive_field"]
    assert network.pad == network.receptive_field // 2
    assert network.causal_shift == (network.pad if case.config["arguments"]["causal"] else 0)
    assert sum(np.prod(v.shape) for v in network.trainable_variables) == case.config["parameters"]


@pytest.mark.parametrize("name", ["temporal_27_evaluate", "trajectory_27_evaluate"])
def test_a_whole_track_is_padded_and_averaged_with_its_mirror_image_as_published(golden, name):
    case = golden(name)
    network, track = build(case), case["input_poses_2d"][None]
    config = case.config["procedure_arguments"]
    keypoints = points(zip(config["kps_left"], config["kps_right"], strict=True), 17)
    joints = points(zip(config["joints_left"], config["joints_right"], strict=True), 17)
    is_trajectory = network.num_joints_out == 1
    pose = models.TemporalLifter(channels=8, filter_widths=(3, 3, 3)) if is_trajectory else network
    for flip_test, output in ((True, "output_poses"), (False, "output_poses_unflipped")):
        trajectory = network if is_trajectory else None
        lifter = estimators.TrackLifter(pose, keypoints, joints, trajectory, flip_test=flip_test)
        answer = lifter.follow(track)[0][:, None] if is_trajectory else lifter.lift(track)[0]
        case.check(output, answer)


def test_a_published_checkpoint_file_is_read(golden, tmp_path):
    torch = pytest.importorskip("torch")
    case = golden("temporal_27")
    state = {f"module.{name}": torch.tensor(array) for name, array in case.state_dict.items()}
    file = {"epoch": 80, "random_state": np.random.RandomState(0), "optimizer": {"state": {}}, "model_pos": state}
    network = models.TemporalLifter(filter_widths=(3, 3, 3), channels=64)
    for is_new in (True, False):
        torch.save(file, tmp_path / "pretrained_h36m_cpn.bin", _use_new_zipfile_serialization=is_new)
        weights.load_torch(network, tmp_path / "pretrained_h36m_cpn.bin")
        case.check("output_poses", network(case["input_poses_2d"]))


def test_a_checkpoint_of_semi_supervised_training_holds_two_networks(golden):
    pose, trajectory = golden("temporal_27"), golden("trajectory_27")
    file = {"model_pos": pose.state_dict, "model_traj": trajectory.state_dict}
    pose.check("output_poses", weights.load_torch(build(pose), file)(pose["input_poses_2d"]))
    trajectory.check("output_poses", weights.load_torch(build(trajectory), file)(trajectory["input_poses_2d"]))


@pytest.mark.parametrize("frames, widths", [(243, (3, 3, 3, 3, 3)), (45, (3, 5, 3)), (7, (7,)), (1, (1, 1, 1))])
def test_the_receptive_field_is_the_product_of_the_widths(frames, widths):
    network = models.TemporalLifter(5, filter_widths=widths, channels=4)
    assert network.receptive_field == frames
    assert network(tracks(frames + 4)).shape == (2, 5, 5, 3)


def test_every_frame_of_the_receptive_field_matters_and_no_other():
    network = small(filter_widths=(3, 5))
    track = tracks(40, batch=1)
    before = np.asarray(network(track))
    track[:, 20] += 1
    changed = np.abs(np.asarray(network(track)) - before).max(axis=(0, 2, 3)) > 1e-6
    assert np.flatnonzero(changed).tolist() == list(range(6, 21))


def test_the_papers_size_of_the_network():
    network = models.TemporalLifter.from_variant("243_frames", num_joints=17)
    count = sum(np.prod(variable.shape) for variable in network.trainable_variables)
    assert round(count / 1e4) == 1695  # 16.95 million: table 4 of the paper


# ---------------------------------------- forms
@pytest.mark.parametrize("causal, widths", [(False, (3, 1, 5)), (True, (5, 3))])
def test_all_forms_give_the_same_poses(causal, widths):
    dilated = small(causal=causal, filter_widths=widths)
    frames = dilated.receptive_field
    windows = tracks(frames, batch=3)
    expected = np.asarray(dilated(windows))
    strided, dense = dilated.as_form(strided=True), dilated.as_form(dense=True)
    assert strided.input_shape[1] == frames and dense.input_shape[1] is None
    np.testing.assert_allclose(strided(windows), expected, atol=2e-6)
    np.testing.assert_allclose(dense(windows), expected, atol=2e-6)
    np.testing.assert_allclose(strided.as_form()(windows), expected, atol=0)
    np.testing.assert_allclose(dense.as_form()(windows), expected, atol=0)
    np.testing.assert_allclose(dense.as_form(strided=True)(windows), expected, atol=2e-6)
    np.testing.assert_allclose(dense(tracks(frames + 6)), dilated(tracks(frames + 6)), atol=2e-6)


def test_a_dense_network_of_its_own_has_no_other_form():
    with pytest.raises(ValueError, match=r"zero between the taps has another form, layers_conv.0 is not; train it"):
        small(dense=True).as_form()


@pytest.mark.parametrize("strided", [False, True])
def test_training_and_inference_agree_on_the_statistics_of_a_batch(strided):
    """With the running statistics set to those of the batch, inference is training without dropout."""
    network = small(dropout=0.0, strided=strided)
    windows = tracks(9, batch=1024)
    network.set_norm_momentum(0.0)
    trained = np.asarray(network(windows, training=True))
    np.testing.assert_allclose(network(windows), trained, atol=0.01)  # but for the unbiased variance
    before = network.get_layer("expand_conv").moving_mean.numpy().copy()
    network.set_norm_momentum(1.0)
    network(windows[:32] + 1, training=True)
    np.testing.assert_array_equal(network.get_layer("expand_conv").moving_mean, before)


def test_the_momentum_of_the_norms_changes_in_a_compiled_step():
    network = small(dropout=0.0)
    step = tf.function(lambda x: network(x, training=True))
    step(tracks(9, batch=8))
    network.set_norm_momentum(1.0)
    before = network.get_layer("expand_conv").moving_variance.numpy().copy()
    step(tracks(9, batch=8))
    np.testing.assert_array_equal(network.get_layer("expand_conv").moving_variance, before)


def test_coordinates_are_not_rounded_to_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = models.TemporalLifter(5, filter_widths=(3,), channels=8)
    finally:
        keras.config.set_dtype_policy("float32")
    track = np.full((1, 3, 5, 2), 1.0, "float32")
    first = network.get_layer("expand_conv")
    kernel = np.zeros(first.kernel.shape, "float32")
    kernel[0, 0], kernel[0, 2] = 100.0, -100.0  # how much further right the first joint is than the second
    first.kernel.assign(kernel)
    moved = track + np.array([[1e-3, 0]] + 4 * [[0, 0]], "float32")  # half a pixel of 1000; bfloat16 would not see it
    x, y = (np.asarray(keras.Model(network.input, first.output)(v)).astype("float32") for v in (track, moved))
    assert np.abs(x - y).max() > 0 and network(track).dtype == "float32"


@pytest.mark.parametrize("width, remedy", [(4, "use 3 or 5"), (2, "use 1 or 3"), (0, "use 1 or 1")])
def test_even_widths_are_refused(width, remedy):
    with pytest.raises(ValueError, match=f"filter_widths must be odd, got {width}; {remedy}"):
        models.TemporalLifter(filter_widths=(3, width))


def test_a_track_shorter_than_the_receptive_field_is_refused():
    with pytest.raises(ValueError, match="at least the 9 frames of the receptive field, got 8; repeat"):
        small()(tracks(8))
    with pytest.raises(ValueError, match="expected shape=.*None, None, 5, 2.*found shape=.*2, 9, 6, 2"):
        small()(tracks(9, joints=6))


def test_forms_and_momentum_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="dense or strided, got both"):
        models.TemporalLifter(dense=True, strided=True)
    with pytest.raises(ValueError, match="one width for each convolution"):
        models.TemporalLifter(filter_widths=())
    with pytest.raises(ValueError, match="from 0 to 1, got 1.5"):
        small().set_norm_momentum(1.5)


# ---------------------------------------- whole tracks
def test_a_track_of_any_length_keeps_its_length():
    lifter = estimators.TrackLifter(small(), FIVE, FIVE, trajectory=small(1, num_joints_out=1))
    for frames in (1, 2, 9, 30):
        keypoints = 100 + 50 * tracks(frames)
        answer = lifter({"keypoints": keypoints, "frame_size": np.array([[200, 300], [240, 320]])})
        assert answer["poses_m"].shape == (2, frames, 5, 3) and answer["trajectory_m"].shape == (2, frames, 3)


def test_a_track_is_seen_in_screen_coordinates_and_padded_by_its_ends():
    network = small()
    lifter = estimators.TrackLifter(network, FIVE, FIVE, flip_test=False)
    keypoints = 100 + 50 * tracks(6, batch=1)
    screen = keypoints / 300 * 2 - [1, 200 / 300]
    padded = np.concatenate([screen[:, :1]] * 4 + [screen] + [screen[:, -1:]] * 4, axis=1)
    answer = lifter({"keypoints": keypoints, "frame_size": np.array([[200, 300]])})
    np.testing.assert_allclose(answer["poses_m"], network(padded), atol=1e-5)


@pytest.mark.parametrize("causal, flip_test", [(False, True), (True, False)])
def test_padded_tracks_of_unequal_lengths_give_what_each_gives_alone(causal, flip_test):
    """Whatever stands behind their ends, which a lifter that looks ahead would see."""
    networks = {"network": small(causal=causal), "trajectory": small(1, num_joints_out=1, causal=causal)}
    lifter = estimators.TrackLifter(skeleton=FIVE, pose_skeleton=FIVE, flip_test=flip_test, **networks)
    keypoints, sizes, lengths = 100 + 50 * tracks(20, batch=3), np.array([[200, 300]] * 3), np.array([20, 7, 1])
    together = lifter({"keypoints": keypoints, "frame_size": sizes, "length": lengths})
    for i, frames in enumerate(lengths):
        alone = lifter({"keypoints": keypoints[i : i + 1, :frames], "frame_size": sizes[:1]})
        for name, expected in alone.items():
            np.testing.assert_allclose(together[name][i, :frames], expected[0], atol=1e-6, err_msg=name)


def test_the_mirrored_track_gets_the_mirrored_poses():
    skeleton = points([(1, 2), (3, 4)])
    permutation = list(skeleton.flip_permutation)
    lifter = estimators.TrackLifter(small(), skeleton, skeleton)
    screen = tracks(12)
    poses = np.asarray(lifter.lift(screen))
    mirrored = np.asarray(lifter.lift(screen[:, :, permutation] * [-1, 1]))
    np.testing.assert_allclose(mirrored, poses[:, :, permutation] * [-1, 1, 1], atol=1e-6)


def test_a_track_lifter_takes_the_strided_form_too():
    network = small()
    screen = tracks(12)
    expected = estimators.TrackLifter(network, FIVE, FIVE).lift(screen)
    np.testing.assert_array_equal(
        estimators.TrackLifter(network.as_form(strided=True), FIVE, FIVE).lift(screen), expected
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"skeleton": points((), 4)},
            "A network that takes points has 4 keypoints, got one of 5; give the skeleton that",
        ),
        (
            {"pose_skeleton": H36M},
            "A network for h36m gives 17 joints, got one of 5; give the pose_skeleton that it was",
        ),
        ({"skeleton": range(5)}, "skeleton must be the Skeleton .* got range; give skeletons.COCO, say"),
        ({"pose_skeleton": None}, "pose_skeleton must be the Skeleton .* got NoneType"),
        ({"trajectory": small()}, "A trajectory network gives one joint, got 5; build it with num_joints_out=1"),
        ({"network": small(in_features=3)}, "got a network with in_features=3 and out_features=3"),
    ],
)
def test_networks_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        estimators.TrackLifter(**({"network": small(), "skeleton": FIVE, "pose_skeleton": FIVE} | options))


# ---------------------------------------- the stream
@pytest.mark.parametrize("widths", [(3, 1, 5), (1, 3)])
def test_a_stream_gives_the_poses_of_the_batch(widths):
    network = small(causal=True, filter_widths=widths)
    screen = tracks(32)
    expected = np.asarray(estimators.TrackLifter(network, FIVE, FIVE, flip_test=False).lift(screen))
    assert expected.std(axis=1).min() > 1e-3
    stream = estimators.StreamingLifter(network, FIVE, FIVE)
    answers = np.stack([np.asarray(stream(screen[:, t])) for t in range(32)], axis=1)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_a_stream_keeps_no_more_than_it_needs():
    network = models.TemporalLifter.from_variant("243_frames", num_joints=17, channels=8, causal=True)
    state = estimators.StreamingLifter(network, H36M).initial_state(3)
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "position": (1,),
        "fresh": (3,),
        "buffer_0": (3, 2, 34),
        **{f"buffer_{i}": (3, 2 * 3**i, 8) for i in range(1, 5)},
    }


def test_a_reset_track_begins_anew_and_the_others_go_on():
    network = small(causal=True)
    screen = tracks(16)
    lift = estimators.TrackLifter(network, FIVE, FIVE, flip_test=False).lift
    by_hand, by_step = estimators.StreamingLifter(network, FIVE, FIVE), estimators.StreamingLifter(network, FIVE, FIVE)
    state, answers, stateless = by_step.initial_state(2), [], []
    for t in range(16):
        if t == 7:
            by_hand.reset([1])
        answers.append(np.asarray(by_hand(screen[:, t])))
        poses, state = by_step.step(screen[:, t], state, reset=np.array([False, t == 7]))
        stateless.append(np.asarray(poses))
    answers = np.stack(answers, axis=1)
    np.testing.assert_allclose(answers[0], lift(screen)[0], atol=1e-5)
    np.testing.assert_allclose(answers[1, :7], lift(screen[:, :7])[1], atol=1e-5)
    np.testing.assert_allclose(answers[1, 7:], lift(screen[:, 7:])[1], atol=1e-5)
    np.testing.assert_array_equal(np.stack(stateless, axis=1), answers)


def test_the_number_of_tracks_changes_only_when_all_begin_anew():
    stream = estimators.StreamingLifter(small(causal=True), FIVE, FIVE)
    stream(tracks(1, batch=2)[:, 0])
    with pytest.raises(ValueError, match="fixed number of tracks, 2, got a frame of 3; call reset"):
        stream(tracks(1, batch=3)[:, 0])
    stream.reset()
    assert stream(tracks(1, batch=3)[:, 0]).shape == (3, 5, 3)


@pytest.mark.parametrize("options, form", [({}, "not causal"), ({"causal": True, "dense": True}, "dense")])
def test_a_stream_needs_a_causal_network(options, form):
    with pytest.raises(ValueError, match=f"needs a causal, dilated network, got one that is {form}"):
        estimators.StreamingLifter(small(**options), FIVE, FIVE)


def test_a_stream_is_equal_to_the_batch_on_motion_capture(shared_data):
    takes = np.load(shared_data("cmu_mocap") / "cmu_mocap_h36m17.npz")
    keypoints = takes["S02/02_05"][:300, :, [0, 2]][None]  # [1, T, K, 2], seen from the side, metres
    network = models.TemporalLifter.from_variant("243_frames", num_joints=17, channels=32, causal=True)
    expected = estimators.TrackLifter(network, H36M, flip_test=False).lift(keypoints)
    stream = estimators.StreamingLifter(network, H36M)
    step, state, answers = tf.function(stream.step, autograph=False), stream.initial_state(1), []
    for t in range(keypoints.shape[1]):
        poses, state = step(keypoints[:, t], state)
        answers.append(poses.numpy())
    np.testing.assert_allclose(np.stack(answers, axis=1), expected, atol=1e-5)


@pytest.mark.parametrize("skeletons", [(H36M, FIVE), (FIVE, H36M)])
def test_a_stream_of_other_skeletons_is_refused(skeletons):
    with pytest.raises(ValueError, match="takes .* keypoints and gives .* joints, got a network of 5 and 5; give the"):
        estimators.StreamingLifter(small(causal=True), *skeletons)


# ---------------------------------------- training two networks together
@pytest.mark.parametrize("name", ["semi_supervised_loss", "semi_supervised_loss_linear"])
def test_the_terms_of_the_loss_are_the_published_ones(golden, name):
    case = golden(name)
    arguments = case.config["arguments"]
    widths = {27: (3, 3, 3), 9: (3, 3)}[arguments["receptive_field"]]
    networks = (models.TemporalLifter(filter_widths=widths, channels=2, num_joints_out=out) for out in (17, 1))
    distortion = not arguments["linear_projection"]
    trainer = training.LiftTrainer(*networks, arguments["parents"], distortion)
    poses, window = case["input_batch_3d"].copy(), case["input_batch_2d_semi"]
    labelled, unlabelled, frames = len(poses), len(window), poses.shape[1]
    root = poses[:, :, 0].copy()
    poses[:, :, 0] = 0
    anything = np.full((unlabelled, frames, 17, 3), 7.0, "float32")
    x = {
        "keypoints": np.concatenate([np.zeros((labelled, *window.shape[1:]), "float32"), window]),
        "camera": np.concatenate([np.ones((labelled, 9), "float32"), case["input_cam_semi"]]),
        "labelled": np.repeat([1.0, 0.0], [labelled, unlabelled]),
    }
    y = {"poses_m": np.concatenate([poses, anything]), "trajectory_m": np.concatenate([root, 0 * anything[:, :, 0]])}
    predicted = {
        "poses_m": case["input_predicted_3d_pos_cat"],
        "trajectory_m": case["input_predicted_traj_cat"][:, :, 0],
    }
    order = np.random.default_rng(0).permutation(labelled + unlabelled)  # in any order
    x, y, predicted = ({key: value[order] for key, value in part.items()} for part in (x, y, predicted))
    terms = trainer.loss_terms(x, y, predicted)
    case.check("output_loss_3d_pos", terms["pose"])
    case.check("output_loss_traj", terms["trajectory"])
    case.check("output_loss_reconstruction", terms["reprojection"])
    case.check("output_penalty", terms["bone_length"])
    case.check("output_loss_total", trainer.compute_loss(x, y, predicted))


def make_trainer(causal=False, **options):
    network = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=causal, dropout=0.0)
    trajectory = models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=causal, num_joints_out=1)
    return training.LiftTrainer(network, trajectory, PARENTS, **options)


def sample(count, labelled, seed=0):
    random = np.random.default_rng(seed)
    x = {
        "keypoints": random.uniform(-0.5, 0.5, (count, 11, 17, 2)).astype("float32"),
        "camera": np.tile(np.array([2.3, 2.3, 0, 0, -0.2, 0.2, 0, 0, 0], "float32"), (count, 1)),
        "labelled": np.asarray(labelled, "float32"),
    }
    y = {
        "poses_m": random.normal(0, 0.4, (count, 3, 17, 3)).astype("float32"),
        "trajectory_m": random.normal(0, 0.3, (count, 3, 3)).astype("float32") + np.array([0, 0, 5], "float32"),
    }
    return x, y


def test_terms_without_samples_are_zero_and_their_gradients_finite():
    trainer = make_trainer()
    for labelled, absent in (
        ([1, 1], ("reprojection", "bone_length")),
        ([0, 0], ("pose", "trajectory", "bone_length")),
    ):
        x, y = sample(2, labelled)
        y = {key: np.zeros_like(value) if labelled == [0, 0] else value for key, value in y.items()}
        with tf.GradientTape() as tape:
            loss = trainer.compute_loss(x, y, trainer(x, training=True))
        assert all(np.isfinite(g).all() for g in tape.gradient(loss, trainer.trainable_variables) if g is not None)
        terms = trainer.loss_terms(x, y, trainer(x))
        assert {name for name, value in terms.items() if float(value) == 0} == set(absent)


def test_a_causal_network_is_compared_with_the_last_frames_of_the_window():
    trainer, x = make_trainer(causal=True), sample(2, [0, 0])[0]
    x["keypoints"][:] = np.arange(11, dtype="float32")[:, None, None]  # each frame its number
    np.testing.assert_array_equal(trainer._seen(x["keypoints"], 3)[0, :, 0, 0], [8, 9, 10])
    np.testing.assert_array_equal(make_trainer()._seen(x["keypoints"], 3)[0, :, 0, 0], [4, 5, 6])


def test_the_unsupervised_terms_wait_for_their_weight():
    trainer, (x, y) = make_trainer(), sample(4, [1, 0, 1, 0])
    predicted = trainer(x)
    terms = {name: float(value) for name, value in trainer.loss_terms(x, y, predicted).items()}
    assert min(terms.values()) > 0
    trainer.unsupervised_weight.assign(0.0)
    assert float(trainer.compute_loss(x, y, predicted)) == pytest.approx(terms["pose"] + terms["trajectory"], rel=1e-5)
    trainer.unsupervised_weight.assign(1.0)
    assert float(trainer.compute_loss(x, y, predicted)) == pytest.approx(sum(terms.values()), rel=1e-5)


def test_without_the_bone_length_term_it_is_zero():
    trainer, (x, y) = make_trainer(bone_length_term=False), sample(4, [1, 0, 1, 0])
    assert float(trainer.loss_terms(x, y, trainer(x))["bone_length"]) == 0


def test_keypoints_of_another_set_are_not_compared_with_the_projection():
    networks = (models.TemporalLifter(15, num_joints_out=out, filter_widths=(3, 3), channels=8) for out in (17, 1))
    trainer, (x, y) = training.LiftTrainer(*networks, PARENTS), sample(4, [1, 1, 1, 1])
    x["keypoints"] = x["keypoints"][:, :, :15]
    terms = {name: float(value) for name, value in trainer.loss_terms(x, y, trainer(x)).items()}
    assert terms["reprojection"] == terms["bone_length"] == 0 < min(terms["pose"], terms["trajectory"])


def test_fit_lowers_every_term():
    """Real geometry: keypoints are projections of the poses, half of which nobody tells."""
    keras.utils.set_random_seed(0)
    trainer, (x, y) = make_trainer(), sample(64, np.arange(64) % 2)
    poses = y["poses_m"][:, 1:2] + y["trajectory_m"][:, 1:2, None]  # still people
    seen = np.asarray(cameras.project(poses, x["camera"]))
    x["keypoints"] = np.repeat(seen, 11, axis=1)
    y = {"poses_m": np.repeat(poses - poses[:, :, :1], 3, axis=1), "trajectory_m": np.repeat(poses[:, :, 0], 3, axis=1)}
    trainer.compile(keras.optimizers.Adam(3e-3, amsgrad=True))
    trainer.optimizer.build(trainer.trainable_variables)  # or the step would be traced twice
    steps = tf.data.Dataset.from_tensors((x, y)).repeat()
    history = trainer.fit(steps, steps_per_epoch=5, epochs=12, verbose=0).history
    first, last = ({name: values[epoch] for name, values in history.items()} for epoch in (0, -1))
    assert set(last) == {"loss", "pose", "trajectory", "reprojection", "bone_length"}
    for name in ("pose", "trajectory", "reprojection"):
        assert last[name] < 0.7 * first[name], name
    assert last["bone_length"] < first["bone_length"]
    parts = [last[name] for name in ("pose", "trajectory", "reprojection", "bone_length")]
    assert last["loss"] == pytest.approx(sum(parts), rel=1e-4)


def test_two_networks_that_see_different_frames_are_refused():
    with pytest.raises(ValueError, match="see the same frames, got receptive fields of 9 and 27"):
        training.LiftTrainer(small(), small(filter_widths=(3, 3, 3)), PARENTS)


def test_a_lifter_overfits_a_handful_of_windows():
    keras.utils.set_random_seed(0)
    network = models.TemporalLifter(5, filter_widths=(3, 3), channels=64, dropout=0.0, strided=True)
    x, y = tracks(9, batch=8), np.random.default_rng(2).normal(0, 0.4, (8, 1, 5, 3)).astype("float32")
    network.compile(keras.optimizers.Adam(3e-3), losses.MPJPE(), run_eagerly=True)
    history = [network.train_on_batch(x, y) for _ in range(12)]
    assert history[-1] < 0.5 * history[0]
