"""Images in, everybody in them out by name: people whose maps are known, and those of a network of random weights."""

import logging
import types

import cv2
import keras
import numpy as np
import pytest

from kerapose import estimators, models, skeletons
from kerapose.ops import grouping, pafs
from kerapose.predictors import BottomUpPose, Keypoint, Pose

OPENPOSE = skeletons.OPENPOSE
BIRD = skeletons.Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))
# A person 100 high, its hips in the middle of the bottom.
STANDING = np.array(
    [(0, 8), (0, 20), (-12, 21), (-16, 38), (-19, 54), (12, 21), (17, 38), (20, 54), (-8, 56), (-8, 78), (-9, 98)]
    + [(8, 56), (9, 78), (9, 98), (-3, 5), (3, 5), (-7, 8), (7, 8)],
    "float64",
)


@keras.saving.register_keras_serializable("tests")
class Painted(keras.layers.Layer):
    """Maps of known people, whatever the image shows: those cells of them that the network's input has."""

    def __init__(self, people, weights, cells=(64, 64), **kwargs):
        super().__init__(**kwargs)
        self.heatmaps = np.asarray(pafs.encode_heatmaps(people, weights, cells))[None]
        self.pafs = np.asarray(pafs.encode(people, weights, OPENPOSE.edges, cells))[None]

    def call(self, images):
        height, width = (size // 8 for size in keras.ops.shape(images)[1:3])
        nothing = 0.0 * images[:, :1, :1, :1]
        return [nothing + keras.ops.convert_to_tensor(maps)[:, :height, :width] for maps in (self.heatmaps, self.pafs)]


def painted_network(people, weights=None):
    """For people [M, 18, 2] in pixels of the network's input; where a weight [M, 18] is 0 a keypoint is not drawn."""
    images = keras.Input((None, None, 3))
    return keras.Model(images, Painted(people, np.ones(people.shape[:2]) if weights is None else weights)(images))


def random_network(seed=0, num_keypoints=3, num_limbs=2):
    """Of smooth maps: large kernels."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(8)(images)
    channels = num_keypoints + 1, 2 * num_limbs
    return keras.Model(
        images, [keras.layers.Conv2D(c, 5, padding="same", kernel_initializer="he_normal")(x) for c in channels]
    )


def seen_by_network(points, size, height, square=False):
    """Pixels of an image -> pixels of the network's input, by hand: resized by one factor, padded to whole cells."""
    scale = height / size[0]
    width = round(size[1] * scale)
    columns, rows = -(-max(width, height if square else 0) // 8), -(-height // 8)
    corner = (columns * 8 - width) // 2, (rows * 8 - height) // 2
    return (points + 0.5) * scale - 0.5 + corner, scale, corner


def three_people(size):
    """[3, 18, 2] pixels of an image, side by side, each larger than the one before."""
    scale = size[0] / 256
    return np.stack(
        [STANDING * s * scale + (x * scale, y * scale) for s, x, y in ((1.2, 60, 60), (1.6, 170, 40), (2, 300, 30))]
    )


def photo(height=90, width=120, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, ending=".png"):
    done, data = cv2.imencode(ending, image[..., ::-1] if image.ndim == 3 else image)
    assert done
    return data.tobytes()


def arrays_of(poses, num_keypoints=3):
    keypoints = np.array([pose.keypoints for pose in poses]).reshape(-1, num_keypoints, 2)
    return keypoints, np.array([pose.scores for pose in poses]).reshape(-1, num_keypoints)


def assert_same(poses, expected):
    assert len(poses) == len(expected) > 0
    for actual, array in zip(arrays_of(poses), arrays_of(expected), strict=True):
        np.testing.assert_allclose(actual, array, rtol=1e-4, atol=1e-2)


# ---------------------------------------- known people
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(("size", "height"), [((517, 811), 250), ((101, 157), 256), ((256, 437), None)])
def test_everybody_comes_out_by_name_where_they_are(size, height, published):
    people = three_people(size)
    seen, scale, _ = seen_by_network(people, size, height or size[0])
    find = BottomUpPose(painted_network(seen), OPENPOSE, published, height=height)
    poses = find(np.zeros((*size, 3), "uint8"))
    assert len(poses) == 3 and all(isinstance(pose, Pose) for pose in poses)
    poses = sorted(poses, key=lambda pose: pose["nose"].x)
    for pose, person in zip(poses, people, strict=True):
        assert list(pose) == list(OPENPOSE.keypoints)
        for name, point in zip(OPENPOSE.keypoints, person, strict=True):
            assert isinstance(pose[name], Keypoint) and pose[name].score > 0.5
            # As published, half a cell is missing, and places are whole cells of the maps: 2 pixels of the input.
            assert np.abs(np.array(pose[name][:2]) - point).max() < (2.5 if published else 1.0) / scale
    errors = (arrays_of(poses, 18)[0] - people) * scale
    # The published way back leaves out half a pixel of the image, and that a cell is the middle of two of the input.
    np.testing.assert_allclose(errors.mean(axis=(0, 1)), 0.5 * scale - 1 if published else 0.0, atol=0.3)


def test_missing_keypoints_are_at_zero_and_boxes_round_those_found():
    size = (256, 400)
    people, weights = three_people(size), np.ones((3, 18))
    hidden = [OPENPOSE.keypoints.index(name) for name in ("right_wrist", "left_ankle", "left_ear")]
    weights[1, hidden] = 0
    weights[2, 3:] = 0  # nose, neck and a shoulder: the least that is a person
    for published in (False, True):
        poses = BottomUpPose(painted_network(people, weights), OPENPOSE, published)(np.zeros((*size, 3), "uint8"))
        assert [int((pose.scores > 0).sum()) for pose in poses] == [18, 15, 3]  # the surest first
        assert poses[0]["nose"].x == pytest.approx(people[0, 0, 0], abs=2.5)
        for pose, person, weight in zip(poses, people, weights, strict=True):
            np.testing.assert_array_equal(pose.scores > 0, weight > 0)
            assert not pose.keypoints[weight == 0].any()
            found = person[weight > 0]
            np.testing.assert_allclose(pose.box, [*found.min(axis=0), *found.max(axis=0)], atol=2.5)
            assert pose.box_score == 1.0
            assert pose.score == pytest.approx(pose.scores.mean())


def test_of_too_many_the_surest_are_given_with_a_warning(caplog):
    size = (256, 400)
    people, weights = three_people(size), np.ones((3, 18))
    weights[0, 10:] = 0
    network, image = painted_network(people, weights), np.zeros((*size, 3), "uint8")
    with caplog.at_level(logging.WARNING, logger="absl"):
        poses = BottomUpPose(network, OPENPOSE, max_people=2)(image)
    assert sorted(round(pose["nose"].x / 100) for pose in poses) == [2, 3]
    assert "3 people were found, at most 2 are given" in caplog.text and "raise max_people" in caplog.text


@pytest.mark.parametrize("overflow", [True, False])
def test_of_too_many_keypoints_of_a_kind_a_warning_tells_too(caplog, overflow):
    """However few people are made of the others; and without too many none, however many there are."""
    found = {"keypoints": np.ones((3, 3, 2)), "scores": np.ones((3, 3)), "num_found": 2 if overflow else 3}
    found |= {"count": found["num_found"], "overflow": overflow}
    find = object.__new__(BottomUpPose)
    find.skeleton, find.published = BIRD, False
    find.estimator = types.SimpleNamespace(predict_on_batch=lambda image: found, max_people=3, max_peaks=5)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert len(find(photo())) == found["count"]
    told = "2 people were found, at most 3 are given, made of at most 5 keypoints of a kind" in caplog.text
    assert told == overflow == bool(caplog.records)


@pytest.mark.parametrize("published", [False, True])
def test_where_nobody_is_there_is_nobody(published):
    find = BottomUpPose(painted_network(np.zeros((0, 18, 2)), np.zeros((0, 18))), OPENPOSE, published, height=None)
    assert find(np.full((5, 3, 3), 128, "uint8")) == []


# ---------------------------------------- the published way
@pytest.mark.parametrize("size", [(150, 231), (301, 200), (90, 64)])
def test_published_is_the_demonstration_step_by_step(size):
    """The published steps with OpenCV: resize, normalize, pad to at least a square, enlarge, group, and back."""
    network, image, height = random_network(), photo(*size), 250
    poses = BottomUpPose(network, BIRD, published=True, height=height)(image)
    scale = height / size[0]
    resized = cv2.resize(image[..., ::-1].astype("float32"), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    width = max(resized.shape[1], height)
    top, left = ((-(-side // 8) * 8 - old) // 2 for side, old in ((height, height), (width, resized.shape[1])))
    padded = np.zeros((-(-height // 8) * 8, -(-width // 8) * 8, 3), "float32")
    padded[top : top + resized.shape[0], left : left + resized.shape[1]] = (resized - 128) / 256
    maps = [np.asarray(output)[0] for output in network(padded[None])]
    maps = [cv2.resize(each, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for each in maps]
    found = grouping.group_numpy(maps[0][..., :3], maps[1], BIRD.edges, published=True)
    order = np.argsort(-found["person_scores"], kind="stable")
    assert len(order) > 2
    expected = (found["keypoints"][order] * 8 / 4 - (left, top)) / scale
    expected[found["scores"][order] == 0] = 0
    keypoints, scores = arrays_of(poses)
    np.testing.assert_allclose(keypoints, expected, atol=1e-3)
    np.testing.assert_allclose(scores, found["scores"][order], atol=1e-3)


def test_openpose_is_grouped_in_the_published_order_of_limbs(monkeypatch):
    seen = []
    true_form = grouping.group_numpy

    def spy(*maps, limb_order=None, **options):
        seen.append(limb_order)
        return true_form(*maps, limb_order=limb_order, **options)

    monkeypatch.setattr(grouping, "group_numpy", spy)
    image = np.zeros((256, 400, 3), "uint8")
    BottomUpPose(painted_network(three_people((256, 400))), OPENPOSE, published=True)(image)
    BottomUpPose(random_network(), BIRD, published=True)(image)
    assert seen == [grouping.PUBLISHED_LIMB_ORDER, None]


# ---------------------------------------- what is given and taken
@pytest.fixture(scope="module")
def find():
    return BottomUpPose(random_network(), BIRD, height=96)


def test_it_is_what_the_estimator_finds(find, caplog):
    image = photo()
    expected = estimators.BottomUpEstimator(random_network(), BIRD, height=96)(image)
    count = int(expected["count"])
    assert count > 1
    assert not expected["overflow"]
    with caplog.at_level(logging.WARNING, logger="absl"):
        keypoints, scores = arrays_of(find(image))
    assert not [record for record in caplog.records if record.name == "absl"]
    np.testing.assert_allclose(keypoints, expected["keypoints"][:count], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(scores, expected["scores"][:count], rtol=1e-4, atol=1e-5)


def test_images_of_all_kinds(find, tmp_path):
    image = photo()
    expected = find(image)
    (tmp_path / "photo.png").write_bytes(encoded(image))
    rgba = np.concatenate([image, np.full((90, 120, 1), 7, "uint8")], axis=-1)
    for given in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        encoded(image),
        image.astype("uint16") * 257,
        rgba,
    ):
        assert_same(find(given), expected)
    grey = image[..., 1]
    for given in (grey, encoded(grey)):
        assert_same(find(given), find(np.stack([grey] * 3, axis=-1)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((90, 120, 3), "float32"), r"must be uint8, 0 to 255, or uint16, got float32"),
        (np.zeros((1, 90, 120, 3), "uint8"), "one image at a time"),
        (np.zeros((0, 120, 3), "uint8"), "got the shape .0, 120, 3."),
        (b"no image", "The encoded image must be a whole JPEG or PNG file, got 8 bytes"),
    ],
)
def test_a_bad_image_gets_one_sentence(find, image, message):
    with pytest.raises(ValueError, match=message):
        find(image)


def test_options_reach_the_estimator():
    options = {"height": 64, "stride": 8, "upsample": 2, "max_people": 3, "max_peaks": 5, "decoding": {"radius": 3}}
    estimator = BottomUpPose(random_network(), BIRD, **options).estimator
    assert {name: getattr(estimator, name) for name in options} == options
    assert estimator.skeleton is BIRD
    taken = BottomUpPose(estimator)
    assert taken.estimator is estimator and taken.skeleton is BIRD
    higher = BottomUpPose(estimator, height=None, published=True)
    assert higher.published and (higher.estimator.height, higher.estimator.max_people) == (None, 3)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(
        ValueError, match="for openpose gives 19 heatmaps and 38 PAFs, got one of 4 and 4; give the skel"
    ):
        BottomUpPose(random_network(), OPENPOSE)
    estimator = estimators.BottomUpEstimator(random_network(), BIRD)
    with pytest.raises(ValueError, match="This BottomUpEstimator has its own skeleton, stride, by which it was tr"):
        BottomUpPose(estimator, skeletons.COCO, stride=4)
    with pytest.raises(ValueError, match="A network alone does not know its skeleton, got Functional; give skeleton="):
        BottomUpPose(random_network())
    with pytest.raises(ValueError, match="must give heatmaps .* use LightweightOpenPose"):
        BottomUpPose(keras.Model(image := keras.Input((64, 64, 3)), keras.layers.Conv2D(3, 4, 4)(image)), BIRD)


def test_lightweight_openpose_goes_with_its_skeleton():
    network = models.LightweightOpenPose.from_variant("openpose_tiny", num_heatmaps=19)
    estimator = BottomUpPose(network, OPENPOSE, height=64).estimator
    heatmaps, fields, _ = estimator.fields(photo(50, 71))
    assert heatmaps.shape == (32, 48, 18) and fields.shape == (32, 48, 38)
    assert estimator.stride == network.stride


def test_several_images_of_one_size_are_seen_as_each_alone(find):
    images = np.stack([photo(seed=seed) for seed in range(4)] + [np.zeros_like(photo())])
    together = find.batch(images)
    alone = [find(image) for image in images]
    assert [len(poses) for poses in together] == [len(poses) for poses in alone] and len(alone[0]) > 0
    assert len({len(poses) for poses in alone}) > 1
    for poses, expected in zip(together[:4], alone[:4], strict=True):  # in the fifth there is nobody
        assert_same(poses, expected)
    assert find.batch(images[:0]) == []
    published = BottomUpPose(find.estimator, published=True)
    for poses, expected in zip(published.batch(images[:2]), [published(image) for image in images[:2]], strict=True):
        assert_same(poses, expected)


@pytest.mark.parametrize("images", [photo(), np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), "uint8"), [photo()]])
def test_what_is_no_batch_of_images_is_refused(find, images):
    with pytest.raises(ValueError, match=r"images must be RGB uint8 \[N, H, W, 3\], got"):
        find.batch(images)
