"""Files that know themselves give the predictor that one would make by hand; others say what is wrong with them."""

import json
import zipfile

import keras
import numpy as np
import pytest

from kerapose import estimators, models, predictors, skeletons
from kerapose.data import frames
from kerapose.models import reading
from kerapose.predictors import loading

COCO, H36M = skeletons.COCO, skeletons.H36M
NAMES = ("clap", "wave left", "wave right", "kick")
SIZE = (96, 128)
FOX = skeletons.Skeleton("fox", ("snout", "left_ear", "right_ear"), ((0, 1), (0, 2)))
NORMALIZATION = {"mean": [0.2, 0.3, 0.4], "std": [0.5, 0.5, 0.5], "bgr": True}


def heatmap_network():
    """Of few layers: what its file says of it does not depend on them."""
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    return keras.Model(crops, keras.layers.Conv2D(3, 5, padding="same")(x))


def field_network():
    """Of smooth maps, with large kernels."""
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(8)(images)
    maps = [keras.layers.Conv2D(4, 5, padding="same", kernel_initializer="he_normal")(x) for _ in range(2)]
    return keras.Model(images, maps)


def simple_baseline():
    return models.SimpleBaseline(17, image_shape=(64, 48, 3), depth=18, deconv_filters=(8, 8, 8))


def lightweight_openpose():
    return models.LightweightOpenPose(4, 4, num_refinements=0, filters=8, trunk_width=0.125, head_filters=8)


def volume_network(seed=0):
    keras.utils.set_random_seed(seed)
    network = models.C3D(len(NAMES), (8, 28, 28, 17), base_filters=4, num_stages=3)
    classifier = network.get_layer("fc_cls")
    classifier.kernel.assign(classifier.kernel * 50)  # as decided as a trained one
    return network


def video_network():
    keras.utils.set_random_seed(0)
    small = {"rgb_filters": 4, "pose_filters": 4, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}
    return models.RGBPoseConv3D(len(NAMES), (2, 28, 28, 3), (8, 7, 7, 17), **small)


def lifting_network(**options):
    keras.utils.set_random_seed(0)
    return models.TemporalLifter(filter_widths=(3, 3), channels=16, **options)


def picture():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype("uint8")


def people(count=2, length=12):
    random = np.random.default_rng(0)
    keypoints = random.uniform(5, 20, (count, 1, 1, 2)) + random.uniform(0, 70, (count, length, 17, 2))
    return keypoints.astype("float32"), random.uniform(0.2, 1, (count, length, 17)).astype("float32")


def saved(model, folder):
    path = folder / "model.keras"
    model.save(path)
    return path


def assert_same_poses(poses, expected):
    assert len(poses) == len(expected) > 0
    for pose, other in zip(poses, expected, strict=True):
        assert pose.names == other.names
        np.testing.assert_array_equal(pose.keypoints, other.keypoints)
        np.testing.assert_array_equal(pose.scores, other.scores)


# ---------------------------------------- each kind
def test_top_down(tmp_path):
    options = {"codec": "udp", "box_padding": 1.1, "flip_test": False, "normalization": NORMALIZATION}
    path = saved(estimators.PoseEstimator(heatmap_network(), FOX, **options), tmp_path)
    boxes = [[10, 5, 70, 90], [30, 20, 120, 70]]
    find = predictors.load(path)
    expected = predictors.TopDownPose(heatmap_network(), FOX, **options)(picture(), boxes)
    assert isinstance(find, predictors.TopDownPose) and find.skeleton == FOX
    assert_same_poses(find(picture(), boxes), expected)
    assert "left_ear" in find(picture())[0]
    options = {"detector": lambda image: (np.float32(boxes), np.float32([0.9, 0.8]))}
    assert_same_poses(predictors.load(str(path), **options)(picture()), expected)
    assert predictors.load(path, flip_test=True).estimator.flip_test


def network_of_places(kind):
    """Of coordinates, or of vectors."""
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 48, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 8, strides=8, activation="relu")(crops))
    sizes = {"x": 96, "y": 128} if kind == "vectors" else {"both": 4 if kind == "uncertain" else 2}
    outputs = {
        name: keras.layers.Reshape((FOX.num_keypoints, size))(keras.layers.Dense(FOX.num_keypoints * size)(x))
        for name, size in sizes.items()
    }
    return keras.Model(crops, outputs.get("both", outputs))


@pytest.mark.parametrize("kind", ["coordinates", "uncertain", "vectors"])
def test_top_down_without_heatmaps(kind, tmp_path):
    path = saved(estimators.PoseEstimator(network_of_places(kind), FOX, normalization=NORMALIZATION), tmp_path)
    find = predictors.load(path)
    assert find.estimator.codec == ("simcc" if kind == "vectors" else "regression")
    boxes = [[10, 5, 70, 90], [30, 20, 120, 70]]
    expected = predictors.TopDownPose(network_of_places(kind), FOX, normalization=NORMALIZATION)(picture(), boxes)
    assert_same_poses(find(picture(), boxes), expected)


def test_bottom_up(tmp_path):
    options = {"height": 80, "max_people": 5, "decoding": {"threshold": 0.01}, "normalization": NORMALIZATION}
    path = saved(estimators.BottomUpEstimator(field_network(), FOX, **options), tmp_path)
    find = predictors.load(path)
    assert isinstance(find, predictors.BottomUpPose)
    assert_same_poses(find(picture()), predictors.BottomUpPose(field_network(), FOX, **options)(picture()))
    other = predictors.load(path, height=64, published=True)
    assert (other.estimator.height, other.published, other.skeleton) == (64, True, FOX)


def test_actions_of_joints_and_limbs(tmp_path):
    networks, options = {"joint": volume_network(), "limb": volume_network(1)}, {"sigma_px": 0.8, "padding": 0.1}
    path = saved(estimators.ActionRecognizer(networks, COCO, NAMES, num_clips=2, **options), tmp_path)
    recognize = predictors.load(path)
    expected = predictors.SkeletonAction(networks, COCO, NAMES, num_clips=2, **options)
    assert isinstance(recognize, predictors.SkeletonAction)
    actions = recognize(*people(), SIZE)
    assert actions == expected(*people(), SIZE)
    assert [action.name for action in actions] != list(NAMES)
    once = predictors.load(path, num_clips=1)
    assert once.recognizer.num_clips == 1 and once.estimator is once.recognizer


def test_actions_of_videos(tmp_path):
    options = {"num_clips": 2, "sigma_px": 0.9, "normalization": NORMALIZATION}
    network = video_network()
    whole = estimators.VideoRecognizer(network, COCO, NAMES, **options).on_whole_box()
    recognize = predictors.load(saved(whole, tmp_path))
    expected = predictors.Action(network, NAMES, COCO, **options)
    film = frames.encode(np.stack([picture()] * 12), fps=25)
    assert isinstance(recognize, predictors.Action) and recognize.estimator is recognize.recognizer
    assert recognize(film, *people()) == expected(film, *people())


def test_tracks(tmp_path):
    trajectory = lifting_network(num_joints_out=1)
    path = saved(estimators.TrackLifter(lifting_network(), H36M, trajectory=trajectory), tmp_path)
    lift, keypoints = predictors.load(path), people(1)[0][0]
    assert isinstance(lift, predictors.Lifter) and lift.skeleton == lift.input_skeleton == H36M
    assert lift.estimator is lift.lifter
    expected = predictors.Lifter(lifting_network(), H36M, trajectory)(keypoints, SIZE)
    np.testing.assert_array_equal(lift(keypoints, SIZE).poses_m, expected.poses_m)
    np.testing.assert_array_equal(lift(keypoints, SIZE).poses_camera_m, expected.poses_camera_m)
    of_coco = predictors.load(path, skeleton=COCO, min_score=0.3)
    expected = predictors.Lifter(lifting_network(), COCO)(keypoints, SIZE)
    assert (of_coco.skeleton, of_coco.input_skeleton, of_coco.min_score) == (COCO, H36M, 0.3)
    np.testing.assert_array_equal(of_coco(keypoints, SIZE).poses_m, expected.poses_m)


def test_a_stream_lifts_whole_tracks_alike(tmp_path):
    stream = estimators.StreamingLifter(lifting_network(causal=True), COCO, H36M, training={"epochs": 3})
    lift, keypoints = predictors.load(saved(stream, tmp_path)), people(1)[0][0]
    assert lift.lifter.training == {"epochs": 3}
    assert isinstance(lift, predictors.Lifter) and (lift.skeleton, lift.pose_skeleton) == (COCO, H36M)
    screen = keypoints / SIZE[1] * 2 - np.float32([1, SIZE[0] / SIZE[1]])
    poses = np.concatenate([stream(frame[None]) for frame in screen])
    np.testing.assert_allclose(lift(keypoints, SIZE).poses_m, poses - poses[:, :1], atol=1e-5)


def test_a_stream_keeps_the_set_of_its_poses():
    stream = estimators.StreamingLifter(lifting_network(causal=True), H36M, COCO)  # both have 17
    lift = loading.predictor_of(stream)
    assert (lift.input_skeleton, lift.pose_skeleton) == (H36M, COCO)


def test_what_the_file_knows_is_not_overruled(tmp_path):
    path = saved(estimators.PoseEstimator(heatmap_network(), FOX), tmp_path)
    with pytest.raises(
        ValueError, match="This PoseEstimator has its own codec, by which it was trained; choose others"
    ):
        predictors.load(path, codec="dark")
    with pytest.raises(ValueError, match="This PoseEstimator has its own skeleton, by which it was trained"):
        predictors.load(path, skeleton=COCO)
    assert predictors.load(path, skeleton=FOX, codec="gaussian").skeleton == FOX  # it may be said, if it is true


# ---------------------------------------- networks alone
@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (simple_baseline, r"SimpleBaseline alone; .* or predictors.TopDownPose\(network, skeleton, codec="),
        (
            lightweight_openpose,
            r"LightweightOpenPose alone; .* or predictors.BottomUpPose\(network, skeleton\), network be",
        ),
        (
            lambda: network_of_places("coordinates"),
            r"Functional alone; .* or predictors.TopDownPose\(network, skeleton, n",
        ),
        (lambda: network_of_places("vectors"), r"Functional alone; .* or predictors.TopDownPose\(network, skeleton, n"),
        (volume_network, r'C3D alone; .* or predictors.SkeletonAction\({"joint": network}, skeleton, class_names\)'),
        (video_network, r"RGBPoseConv3D alone; .* or predictors.Action\(network, class_names, skeleton\), network be"),
        (
            lifting_network,
            r"TemporalLifter alone; .* or predictors.Lifter\(network, skeleton, pose_skeleton=..., input",
        ),
        (lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "Sequential alone; .* an estimator of"),
    ],
)
def test_a_network_alone_is_asked_for_what_it_lacks(make, remedy, tmp_path):
    path = saved(make(), tmp_path)
    with pytest.raises(ValueError, match="A file must know what its network was trained for, got .* a " + remedy):
        predictors.load(path)


# ---------------------------------------- bad files
@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return saved(estimators.PoseEstimator(heatmap_network(), FOX), tmp_path_factory.mktemp("good"))


def refusal(path, kind=ValueError):
    """The one sentence that is said of a file."""
    with pytest.raises(kind) as caught:
        predictors.load(path)
    said = str(caught.value)
    assert str(path) in said and said.endswith(".") and "\n" not in said
    return said


def with_config(path, source, change):
    """A copy of a file with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps(change(json.loads(content)))
            new.writestr(name, content)
    return path


def test_what_is_not_there_or_no_file(tmp_path):
    assert "where there is no file; check the path" in refusal(tmp_path / "model.keras", FileNotFoundError)
    assert "which is a folder; give the file model.keras" in refusal(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert "which is a SavedModel, which is for servers" in refusal(tmp_path)


def test_files_of_something_else(tmp_path, good):
    for name, content, message in (
        ("text.keras", b"no network", "which is something else; save the model"),
        ("empty.keras", b"", "which is something else"),
        ("weights.keras", b"\x89HDF\r\n\x1a\n", "which is HDF5 and has weights alone"),
        (
            "checkpoint.pth",
            good.read_bytes(),
            "a checkpoint of PyTorch; build its network, read it with weights.load_to",
        ),
        ("model.safetensors", b"", "a checkpoint of PyTorch"),
    ):
        (tmp_path / name).write_bytes(content)
        assert message in refusal(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("thesis.tex", "words")
    assert "an archive of something else" in refusal(tmp_path / "other.keras")
    assert "whose configuration is no model's" in refusal(with_config(tmp_path / "list.keras", good, lambda _: [1]))


def test_a_loss_that_is_not_known_here_does_not_matter(tmp_path):
    class Strange(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.abs(y_true - y_pred)

    network = heatmap_network()
    network.compile("adam", Strange())
    found = reading.read(saved(network, tmp_path))
    assert not found.compiled
    np.testing.assert_array_equal(found.get_weights()[0], network.get_weights()[0])


def test_a_file_that_was_cut_short_or_damaged(tmp_path, good):
    content = bytearray(good.read_bytes())
    (tmp_path / "short.keras").write_bytes(content[: len(content) // 2])
    assert "which is cut short or damaged" in refusal(tmp_path / "short.keras")
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "damaged.keras").write_bytes(content)
    assert "which is cut short or damaged (model.weights.h5)" in refusal(tmp_path / "damaged.keras")


def test_a_file_of_another_format_or_version(tmp_path, good):
    def changed(**changes):
        return lambda content: content | {"config": content["config"] | changes}

    newer = with_config(tmp_path / "newer.keras", good, changed(format=2, kerapose="9.9"))
    assert "must have the format 1, got 2 of kerapose 9.9; get that kerapose" in refusal(newer)
    later = with_config(tmp_path / "later.keras", good, changed(tremble=0.5))
    assert "tremble" in refusal(later)
    odd = with_config(tmp_path / "odd.keras", good, changed(codec="msra"))
    assert "codec must be one of gaussian, dark, udp, hourglass, regression, simcc, got 'msra'" in refusal(odd)


def test_a_class_that_nobody_here_knows(tmp_path, good):
    def renamed(content):
        return content | {"module": "keras_pose.nets", "class_name": "PoseNet", "registered_name": "keras_pose>PoseNet"}

    said = refusal(with_config(tmp_path / "model.keras", good, renamed))
    assert "only what is known here, got" in said and "with keras_pose>PoseNet; import the package" in said

    def nested(content):
        content["config"]["network"] |= {"class_name": "Nobody", "registered_name": "nobody>Nobody", "module": "nobody"}
        return content

    assert "with nobody>Nobody; import" in refusal(with_config(tmp_path / "nested.keras", good, nested))


def test_no_code_of_a_file_is_run(tmp_path, good):
    ran = tmp_path / "ran"
    crops = keras.Input((64, 48, 3))
    x = keras.layers.Lambda(lambda x, path=str(ran): open(path, "w").close() or x)(crops)
    network = keras.Model(crops, keras.layers.Conv2D(3, 3, strides=4, padding="same")(x))
    path = saved(estimators.PoseEstimator(network, FOX), tmp_path)
    ran.unlink()  # when it was built
    assert "with code of its own (a Lambda), which is never run" in refusal(path)
    assert not ran.exists()

    def gadget(content):
        code = {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}
        content["config"]["normalization"] = {"mean": code}
        return content

    assert "with eval; import" in refusal(with_config(tmp_path / "gadget.keras", good, gadget))


def test_a_layer_of_ones_own_that_is_registered_is_known(tmp_path):
    @keras.saving.register_keras_serializable("tests_of_loading")
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2.0 * x

    crops = keras.Input((64, 48, 3))
    network = keras.Model(crops, keras.layers.Conv2D(3, 3, strides=4, padding="same")(Doubled()(crops)))
    assert predictors.load(saved(estimators.PoseEstimator(network, FOX), tmp_path)).skeleton == FOX
