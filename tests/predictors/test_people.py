"""Images in, named keypoints out; boxes from files and from detectors."""

import dataclasses
import importlib.util
import json
import sys

import cv2
import keras
import numpy as np
import pytest

from kerapose import estimators, skeletons
from kerapose.data import crops, gate
from kerapose.predictors import Keypoint, PersonDetector, Pose, TopDownPose

COCO = skeletons.COCO
BIRD = skeletons.Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))
BOXES = np.array([[10, 20, 60, 80], [-15, -10, 40, 30], [50, 30, 200, 85], [20, 20, 30, 70]], "float32")


def pose_network(num_keypoints=3, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(num_keypoints, 5, padding="same")(x))


@pytest.fixture(scope="module")
def find():
    return TopDownPose(pose_network(), BIRD)


def photo(height=90, width=120, seed=0):
    """Smooth colours, which JPEG keeps nearly as they are."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, ending=".png"):
    done, data = cv2.imencode(ending, image[..., ::-1] if image.ndim == 3 else image)
    assert done
    return data.tobytes()


def arrays_of(poses):
    return np.array([pose.keypoints for pose in poses]), np.array([pose.scores for pose in poses])


def assert_same(poses, expected):
    for actual, array in zip(arrays_of(poses), arrays_of(expected), strict=True):
        np.testing.assert_allclose(actual, array, rtol=1e-5, atol=1e-3)


def test_a_pose_for_each_box_as_the_estimator_finds_it(find):
    image = photo()
    poses = find(image, BOXES, box_scores=[0.9, 0.8, 0.7, 0.6])
    keypoints, scores = estimators.PoseEstimator(pose_network(), BIRD)({"image": image, "boxes": BOXES})
    actual = arrays_of(poses)
    np.testing.assert_allclose(actual[0], keypoints, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(actual[1], scores, rtol=1e-5, atol=1e-5)
    assert np.ptp(actual[0], axis=0).min() > 5
    np.testing.assert_array_equal([pose.box for pose in poses], BOXES)
    assert [pose.box_score for pose in poses] == [0.9, 0.8, 0.7, 0.6]


def test_keypoints_go_by_their_names(find):
    pose = find(photo(), BOXES)[2]
    assert isinstance(pose, Pose)
    for index, name in enumerate(BIRD.keypoints):
        keypoint = pose[name]
        assert isinstance(keypoint, Keypoint)
        np.testing.assert_allclose(keypoint, [*pose.keypoints[index], pose.scores[index]])
        assert keypoint.score == pytest.approx(pose.scores[index])
    assert list(pose) == list(BIRD.keypoints)
    assert pose.as_dict() == {name: pose[name] for name in BIRD.keypoints}
    assert "beak" in pose and "tail" not in pose
    with pytest.raises(KeyError, match="no keypoint 'tail'; choose from beak, left_wing, right_wing"):
        pose["tail"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        pose.box_score = 0.0
    assert pose.score == pytest.approx(pose.scores.mean())
    half = find(photo(), BOXES[2:3], box_scores=[0.5])[0]
    assert half.score == pytest.approx(pose.score / 2)
    json.dumps(pose.as_dict())  # plain numbers


def test_without_boxes_the_whole_image_is_one(find):
    image = photo(70, 130)
    poses = find(image)
    np.testing.assert_array_equal(poses[0].box, [0, 0, 130, 70])
    assert_same(poses, find(image, [[0, 0, 130, 70]]))


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), ()])
def test_without_anybody_there_is_nobody(find, boxes):
    assert find(photo(), boxes) == []


def test_more_boxes_than_the_network_sees_at_once(find):
    image = photo()
    boxes = np.tile(BOXES, (3, 1))[:11]
    assert_same(TopDownPose(pose_network(), BIRD, max_batch=4)(image, boxes), find(image, boxes))


def test_images_of_all_kinds(find, tmp_path):
    image = photo()
    expected = find(image, BOXES)
    (tmp_path / "photo.png").write_bytes(encoded(image))
    same = {
        "path": tmp_path / "photo.png",
        "text": str(tmp_path / "photo.png"),
        "bytes": encoded(image),
        "uint16": image.astype("uint16") * 257,
        "rgba": np.concatenate([image, np.full((90, 120, 1), 7, "uint8")], axis=-1),
        "strided": np.ascontiguousarray(image[::-1])[::-1],
    }
    for given in same.values():
        assert_same(find(given, BOXES), expected)
    grey = image[..., 1]
    expected = find(np.stack([grey] * 3, axis=-1), BOXES)
    for given in (grey, grey[..., None], encoded(grey)):
        assert_same(find(given, BOXES), expected)
    jpeg = cv2.imdecode(np.frombuffer(encoded(image, ".jpg"), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert_same(find(encoded(image, ".jpg"), BOXES), find(jpeg, BOXES))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((90, 120, 3), "float32"),
            "must be uint8, 0 to 255, or uint16, got float32; multiply by 255 if it is",
        ),
        (np.zeros((90, 120, 3), "int64"), "must be uint8, 0 to 255, or uint16, got int64"),
        (
            np.zeros((3, 90, 120), "uint8"),
            r"must be \[H, W, 3\], .* got the shape \(3, 90, 120\); move the channels last",
        ),
        (np.zeros((1, 90, 120, 3), "uint8"), "got the shape .1, 90, 120, 3.; .* one image at a time"),
        (np.zeros((0, 120, 3), "uint8"), "got the shape .0, 120, 3."),
        (b"no image", "The encoded image must be a whole JPEG or PNG file, got 8 bytes that cannot be decoded"),
        (encoded(photo())[:2000], "must be a whole JPEG or PNG file, got 2000 bytes"),
        (encoded(photo(), ".jpg")[:1500], "must be a whole JPEG or PNG file, got 1500 bytes"),
    ],
)
def test_a_bad_image_gets_one_sentence(find, image, message):
    with pytest.raises(ValueError, match=message):
        find(image, BOXES)


def test_a_bad_file_is_named(find, tmp_path):
    (tmp_path / "notes.jpg").write_text("words")
    with pytest.raises(ValueError, match="notes.jpg must be a whole JPEG or PNG file, got 5 bytes"):
        find(tmp_path / "notes.jpg")
    with pytest.raises(FileNotFoundError):
        find(tmp_path / "nothing.jpg")


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([np.nan, 0, 10, 10], "A box must have finite coordinates, got .* for box 1; leave it out"),
        ([0, 0, np.inf, 10], "A box must have finite coordinates"),
        (
            [30, 10, 30, 50],
            r"with right > left and bottom > top, got \[30.0, 10.0, 30.0, 50.0\] for box 1; COCO's x, y, w, h",
        ),
        ([30, 40, 20, 50], "with right > left and bottom > top"),
        ([120, 10, 150, 50], "show a part of the image, which is 120 wide and 90 high, got .* for box 1; leave it out"),
        ([10, -50, 50, 0], "show a part of the image"),
        ([20, 30, 15, 20], r"right > left .*, got \[20.0, 30.0, 15.0, 20.0\] for box 1; COCO's x, y, w, h is x, y, x"),
    ],
)
def test_a_bad_box_gets_one_sentence(find, box, message):
    with pytest.raises(ValueError, match=message):
        find(photo(), [[0, 0, 20, 20], box])


@pytest.mark.parametrize(
    "boxes", [[[0.1, 0.2, 0.6, 0.9]], [[0, 0, 1, 1]], [[0.3, 0.1, 0.5, 0.4], [-0.2, -0.5, 0.7, 0.8]]]
)
def test_boxes_in_fractions_are_refused(find, boxes):
    with pytest.raises(gate.BadDataError, match=r"A box must be in pixels, got .* for box 0; multiply it by width and"):
        find(photo(), boxes)
    assert len(find(photo(), [*boxes, [10, 10, 50, 60]])) == len(boxes) + 1  # of one among others nothing is said
    tiny = TopDownPose(find.estimator, detector=lambda image: (np.float32(boxes[:1]).clip(0), [0.5]))
    assert len(tiny(photo())) == 1  # nor of what a detector finds


@pytest.mark.parametrize("scores", [[90.0, 80.0], [0.5, np.nan], [-0.1, 0.4], [1.0, 1.2]])
def test_scores_of_boxes_are_zero_to_one(find, scores):
    remedy = "divide percentages by 100" if max(scores) > 1 else "leave the box out, or give its score"
    with pytest.raises(gate.BadDataError, match=f"box_scores must be 0 to 1, got .* for box [01]; {remedy}"):
        find(photo(), BOXES[:2], box_scores=scores)


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ({"left": 1}, "boxes must be numbers, got a dict; give a list or an array"),
        ("1, 2, 3, 4", "boxes must be numbers, got a str; give"),
        ([[1, 2, 30, 40], [1, 2]], "boxes must be numbers in rows of one length, got others; correct them"),
        ([["1", "2", "30", "wide"]], "boxes must be numbers, got '1'; convert them"),
    ],
)
def test_boxes_that_are_no_numbers_are_refused(find, boxes, sentence):
    with pytest.raises(ValueError, match=sentence):
        find(photo(), boxes)


def test_paths_of_no_file_get_a_sentence(find, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="An image must be a JPEG or PNG file, .*nope.jpg is no such file; check"
    ):
        find(tmp_path / "nope.jpg")
    with pytest.raises(
        FileNotFoundError, match="An image must be a JPEG or PNG file, .* is a folder; give the path of"
    ):
        find(str(tmp_path))


def test_boxes_of_another_shape_are_refused(find):
    with pytest.raises(ValueError, match=r"boxes must be \[N, 4\], left, top, right, bottom, got \(4,\); give a list"):
        find(photo(), [0, 0, 20, 20])
    with pytest.raises(ValueError, match=r"box_scores must be one per box, \[4\], got \(2,\)"):
        find(photo(), BOXES, box_scores=[0.5, 0.5])
    with pytest.raises(ValueError, match="box_scores need their boxes, got none"):
        find(photo(), box_scores=[0.5])


def test_options_reach_the_estimator():
    options = {"codec": "udp", "flip_test": False, "shift": True, "box_padding": 1.1, "max_batch": 3}
    estimator = TopDownPose(pose_network(), BIRD, **options).estimator
    assert {name: getattr(estimator, name) for name in options} == options
    assert estimator.skeleton is BIRD
    taken = TopDownPose(estimator)
    assert taken.estimator is estimator and taken.skeleton is BIRD
    faster = TopDownPose(estimator, flip_test=True, max_batch=2).estimator
    assert (faster.flip_test, faster.max_batch, faster.codec, faster.network) == (True, 2, "udp", estimator.network)


def test_a_network_of_another_skeleton_is_refused():
    with pytest.raises(ValueError, match="A network for coco gives 17 keypoints, got one of 3; give the skeleton"):
        TopDownPose(pose_network(), COCO)
    estimator = estimators.PoseEstimator(pose_network(), BIRD)
    with pytest.raises(ValueError, match="This PoseEstimator has its own skeleton, codec, by which it was trained"):
        TopDownPose(estimator, COCO, codec="udp")
    with pytest.raises(ValueError, match="A network alone does not know its skeleton, got Functional; give"):
        TopDownPose(pose_network())


def test_what_is_predicted_is_what_is_tested():
    """The pipeline of evaluation and the predictor cut the same crops and find the same keypoints."""
    image, skeleton = photo(), BIRD
    keypoints = np.tile(np.array([[30.0, 40.0], [20.0, 50.0], [40.0, 60.0]], "float32"), (4, 1, 1))
    for codec in ("gaussian", "udp"):
        estimator = estimators.PoseEstimator(pose_network(), skeleton, codec=codec)
        dataset = crops.from_arrays([encoded(image)] * 4, BOXES, keypoints, np.full((4, 3), 2), skeleton)
        batches = crops.evaluation(dataset, skeleton, batch_size=3, image_size=(64, 48), udp=estimator.udp)
        found = [estimator.from_crops(batch["crop"], batch["matrix"]) for batch in batches]
        tested = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        predicted = arrays_of(TopDownPose(estimator)(image, BOXES))
        np.testing.assert_allclose(tested[0], predicted[0], atol=0.02)
        np.testing.assert_allclose(tested[1], predicted[1], atol=1e-4)


# ---------------------------------------- boxes from a detector
class Converter:
    def __init__(self, image_size, crop=False, pad=False):
        self.image_size, self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = image_size, crop, pad
        self.antialias = False


class Preprocessor:
    def __init__(self, converter):
        self.image_converter = converter


class BrightDetector:
    """Stands for a detector of KerasHub: finds the bright rectangle of an image of the size that it wants."""

    num_classes = 80

    def __init__(self, bounding_box_format, converter=None):
        self.bounding_box_format = bounding_box_format
        self.preprocessor = Preprocessor(converter) if converter else None

    def predict(self, batch, verbose="auto"):
        assert batch.shape[0] == 1 and batch.dtype == np.uint8
        height, width = batch.shape[1:3]
        if self.preprocessor:
            assert (height, width) == self.preprocessor.image_converter.image_size
        rows, columns = np.nonzero(batch[0].min(axis=-1) > 128)
        person = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        boxes = [person, [0, 0, 9, 9], [3, 3, 9, 9], [-50, -50, -3, -3], [-1] * 4]
        boxes = keras.utils.bounding_boxes.convert_format(
            np.array([boxes], "float32"), source="xyxy", target=self.bounding_box_format, height=height, width=width
        )
        return {
            "boxes": keras.ops.convert_to_numpy(boxes),
            "labels": np.array([[0, 2, 0, 0, -1]]),
            "confidence": np.array([[0.7, 0.99, 0.3, 0.9, -1.0]], "float32"),
            "num_detections": np.array([4]),
        }


CONVERTERS = {
    "none": None,
    "stretched": Converter((128, 128)),
    "padded": Converter((128, 128), pad=True),
    "cropped": Converter((96, 160), crop=True),
}


@pytest.mark.parametrize("converter", CONVERTERS)
@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xywh", "center_xywh", "rel_yxyx"])
def test_people_are_found_in_pixels_of_the_image(box_format, converter):
    image = np.zeros((100, 200, 3), "uint8")
    image[20:70, 140:180] = 255
    boxes, scores = PersonDetector(BrightDetector(box_format, CONVERTERS[converter]))(image)
    np.testing.assert_allclose(boxes, [[140, 20, 180, 70]], atol=1.6)  # a pixel of the smaller image
    np.testing.assert_allclose(scores, [0.7])
    assert boxes.dtype == scores.dtype == np.float32


def test_the_label_of_a_person_and_the_least_score_count():
    image = np.zeros((100, 200, 3), "uint8")
    image[20:70, 140:180] = 255
    assert len(PersonDetector(BrightDetector("xyxy"), min_score=0.2)(image)[0]) == 2
    assert len(PersonDetector(BrightDetector("xyxy"), min_score=np.float32(0.7))(image)[0]) == 1  # the lowest itself
    boxes, scores = PersonDetector(BrightDetector("xyxy"), person_class=2)(image)
    np.testing.assert_allclose(boxes, [[0, 0, 9, 9]])
    none, _ = PersonDetector(BrightDetector("xyxy"), min_score=0.95)(image)
    assert none.shape == (0, 4)


def test_a_pose_for_each_person_that_was_found():
    image = np.zeros((100, 200, 3), "uint8")
    image[20:70, 140:180] = 255
    find = TopDownPose(pose_network(), BIRD, detector=PersonDetector(BrightDetector("yxyx"), min_score=0.2))
    poses = find(image)
    np.testing.assert_allclose([pose.box for pose in poses], [[140, 20, 180, 70], [3, 3, 9, 9]])
    np.testing.assert_allclose([pose.box_score for pose in poses], [0.7, 0.3])
    assert_same(poses, find(image, [[140, 20, 180, 70], [3, 3, 9, 9]]))
    nobody = TopDownPose(pose_network(), BIRD, detector=lambda image: (np.zeros((0, 4)), np.zeros(0)))
    assert nobody(image) == []


def test_an_unknown_set_of_classes_needs_its_person():
    detector = BrightDetector("xyxy")
    detector.num_classes = 20
    with pytest.raises(ValueError, match="person_class must be given for a detector of 20 classes"):
        PersonDetector(detector)
    assert PersonDetector(detector, person_class=14).person_class == 14
    detector.num_classes = 91
    assert PersonDetector(detector).person_class == 1


def test_without_kerashub_a_preset_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'kerapose\[detector\]'"):
        PersonDetector("dfine_medium_coco")


def keras_hub_preprocessor(crop):
    import keras_hub

    options = {"image_size": (128, 128), "scale": 1 / 255, "crop_to_aspect_ratio": crop}
    converter = keras_hub.layers.RetinaNetImageConverter(**options)
    return keras_hub.models.RetinaNetObjectDetectorPreprocessor(image_converter=converter)


@pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="needs the extra kerapose[detector]")
def test_a_detector_of_kerashub(tmp_path):
    import keras_hub

    keras.utils.set_random_seed(0)
    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone=keras_hub.models.RetinaNetBackbone(
            image_encoder=keras_hub.models.ResNetBackbone(
                input_conv_filters=[64],
                input_conv_kernel_sizes=[7],
                stackwise_num_filters=[64, 16, 16, 16],
                stackwise_num_blocks=[1, 1, 1, 1],
                stackwise_num_strides=[1, 2, 2, 2],
                block_type="basic_block",
                image_shape=(None, None, 3),
            ),
            min_level=3,
            max_level=5,
            use_p5=False,
        ),
        num_classes=91,
        bounding_box_format="yxyx",
        preprocessor=keras_hub_preprocessor(crop=True),
    )
    decoder = keras_hub.layers.NonMaxSuppression("yxyx", from_logits=True, confidence_threshold=0.0, max_detections=30)
    detector.prediction_decoder = decoder
    for weight in detector.box_head.weights[-2:]:
        weight.assign(0 * weight)  # the boxes are their anchors then, not miles away
    image = photo(96, 192)
    for crop in (True, False):
        detector.preprocessor = keras_hub_preprocessor(crop)
        # The same image in the size that the preprocessor gives it, by hand.
        if crop:
            seen, scale = np.zeros((128, 128, 3), "uint8"), (128 / 192, 128 / 192)
            seen[:64] = cv2.resize(image, (128, 64))
        else:
            seen, scale = cv2.resize(image, (128, 128)), (128 / 192, 128 / 96)
        found = {name: value[0] for name, value in detector.predict(seen[None], verbose=0).items()}
        label = np.bincount(found["labels"][:20]).argmax()
        boxes, scores = PersonDetector(detector, min_score=0.0, person_class=label)(image)
        kept = found["labels"] == label
        expected = found["boxes"][kept][:, [1, 0, 3, 2]] / (*scale, *scale)
        expected = np.clip(expected, 0, [192, 96, 192, 96])
        inside = (expected[:, 2:] > expected[:, :2]).all(axis=1)
        assert len(boxes) == inside.sum() > 0
        np.testing.assert_allclose(boxes, expected[inside], rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(scores, found["confidence"][kept][inside], rtol=1e-5)

    detector.save_to_preset(tmp_path / "preset")  # a preset of one's own needs no download
    again, _ = PersonDetector(tmp_path / "preset", min_score=0.0, person_class=label)(image)
    assert again.shape[1] == 4
