"""Every door of mirroring asks whether left and right are known, and says once if they are not."""

import functools

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, mirrors, models, predictors
from kerapose.data import clips, crops, frames, people, tracks, videos
from kerapose.skeletons import COCO, H36M, Skeleton

K = 5
EDGES = ((0, 1), (1, 2), (2, 3), (3, 4))
UNKNOWN = Skeleton("numbers", ("1", "2", "3", "4", "5"), EDGES)
CENTRED = Skeleton("numbers", UNKNOWN.keypoints, EDGES, flip_pairs=())  # known: nothing changes places
HALF_NAMED = Skeleton("half", ("ear left", "ear right", "paw left", "4", "5"), ())
SENTENCE = "Left and right must be known to mirror, the keypoints of numbers do not tell them (1, 2, 3, 4, 5), so"


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if "Left and right must be known" in record.getMessage()]


# ---------------------------------------- the decision
def test_what_is_wanted_is_done_where_sides_are_known(caplog):
    assert mirrors.allowed(0.5, COCO, H36M) == 0.5
    assert mirrors.allowed(1.0, CENTRED) == 1.0 and mirrors.allowed(True, CENTRED) is True
    assert mirrors.allowed(0.0, UNKNOWN) == 0.0 and mirrors.allowed(False, UNKNOWN) is False
    assert not caplog.records


@pytest.mark.parametrize("skeleton", [UNKNOWN, Skeleton("mouse", ("snout", "tail"), ((0, 1),)), HALF_NAMED])
def test_where_sides_are_unknown_nothing_is_mirrored_and_one_sentence_says_so(skeleton, caplog):
    assert mirrors.allowed(0.5, skeleton, COCO, skeleton) == 0.0
    assert mirrors.allowed(True, COCO, skeleton) is False
    assert len(warnings(caplog)) == 2
    assert all(f"the keypoints of {skeleton.name} do" in text for text in warnings(caplog))
    assert skeleton is not HALF_NAMED or "(paw left without its mirror image)" in warnings(caplog)[0]
    assert "give flip_pairs to the Skeleton, to from_coco or to datasets/build.py, () if" in warnings(caplog)[0]


@pytest.mark.parametrize(
    ("names", "alone"),
    [
        (("left_wrist", "left_thumb1", "left_thumb2"), "left_wrist, left_thumb1, left_thumb2"),
        (("nose", "left_eye", "right_eye", "left_ear", "tail"), "left_ear"),
        (("RightWrist", "RightThumb"), "RightWrist, RightThumb"),
    ],
)
def test_the_keypoints_without_image_are_named(names, alone, caplog):
    assert mirrors.allowed(0.5, Skeleton("part", names, ((0, 1),))) == 0.0
    (sentence,) = warnings(caplog)
    assert f"({alone} without its mirror image)" in sentence


def test_a_lifter_mirrors_only_if_it_knows_the_sides_of_both_sets():
    network = models.TemporalLifter(K, filter_widths=(3,), channels=4)
    for sets, is_mirrored in (((CENTRED, CENTRED), True), ((CENTRED, UNKNOWN), False), ((UNKNOWN, CENTRED), False)):
        assert estimators.TrackLifter(network, *sets).flip_test is is_mirrored


# ---------------------------------------- trainings
def points(*shape, seed=0):
    return np.random.default_rng(seed).uniform(20, 70, (*shape, K, 2)).astype("float32")


def image(seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), "uint8")
    return cv2.resize(coarse, (96, 80), interpolation=cv2.INTER_CUBIC)


def of_crops(skeleton, flip):
    boxes = np.tile(np.float32([10, 10, 80, 75]), (4, 1))
    dataset = crops.from_arrays([image(i) for i in range(4)], boxes, points(4), None, skeleton)
    return crops.training(dataset, skeleton, 4, (32, 32), flip_probability=flip)


def of_people(skeleton, flip):
    some = [{"keypoints": points(1, seed=i), "box": np.float32([[10, 10, 80, 75]])} for i in range(4)]
    dataset = people.from_arrays([image(i) for i in range(4)], some, skeleton)
    return people.training(dataset, skeleton, batch_size=2, image_size=(64, 64), flip_probability=flip)


def of_clips(skeleton, flip):
    dataset = clips.from_arrays(list(points(4, 1, 12)), [0, 1, 2, 3], skeleton, frame_sizes=(80, 96))
    return clips.training(dataset, skeleton, 4, 6, (24, 24), flip_probability=flip, flip_labels=[1, 0, 3, 2])


def of_videos(skeleton, flip):
    film = frames.wrap_jpegs([cv2.imencode(".jpg", image(t))[1].tobytes() for t in range(6)], 25)
    dataset = videos.from_arrays([film] * 2, list(points(2, 1, 6)), [0, 1], skeleton)
    shapes = {"rgb_shape": (2, 32, 32, 3), "pose_shape": (4, 16, 16, K)}
    return videos.training(dataset, skeleton, 2, **shapes, flip_probability=flip, flip_labels=[1, 0])


def some_tracks(skeleton, pose_skeleton):
    poses = np.random.default_rng(1).normal(0, 1, (9, K, 3)) + (0, 0, 5)
    arrays = [points(9, seed=i) for i in range(2)]
    sets = {"skeleton": skeleton, "pose_skeleton": pose_skeleton}
    return tracks.from_arrays(arrays, (80, 96), poses_camera_m=[poses, poses + 1], **sets)


def of_tracks(skeleton, flip):
    return tracks.training(some_tracks(skeleton, CENTRED), 3, 18, flip=flip > 0, seed=None)


def first(batches):
    return [np.asarray(part) for part in keras.tree.flatten(next(iter(batches)))]


@pytest.fixture
def uncompiled():
    tf.config.run_functions_eagerly(True)  # XLA takes seconds for crops of this size and fields of this skeleton
    yield
    tf.config.run_functions_eagerly(False)


@functools.cache
def plain(door):
    """The first batch where nothing is to be mirrored."""
    return first(door(CENTRED, 0.0))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("door", [of_crops, of_people, of_clips, of_videos, of_tracks])
def test_a_training_of_unknown_sides_is_that_without_mirrors(door, caplog):
    wanted = plain(door)
    assert not warnings(caplog)
    unknown = first(door(UNKNOWN, 1.0))
    assert len(warnings(caplog)) == 1 and warnings(caplog)[0].startswith(SENTENCE)
    for ours, other in zip(unknown, wanted, strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("door", [of_clips, of_tracks])
def test_sides_that_are_known_by_hand_are_mirrored(door, caplog):
    pairs = zip(plain(door), first(door(CENTRED, 1.0)), strict=True)
    assert any(ours.shape != other.shape or (ours != other).any() for ours, other in pairs)
    assert not warnings(caplog)


@pytest.mark.usefixtures("uncompiled")
def test_pictures_alone_have_no_sides(caplog):
    film = frames.wrap_jpegs([cv2.imencode(".jpg", image(t))[1].tobytes() for t in range(6)], 25)
    dataset = videos.from_arrays([film], list(points(1, 1, 6)), [0], UNKNOWN)
    options = {"batch_size": 1, "rgb_shape": (2, 32, 32, 3), "pose_shape": None}
    plain, mirrored = (first(videos.training(dataset, UNKNOWN, flip_probability=p, **options)) for p in (0.0, 1.0))
    np.testing.assert_allclose(mirrored[0], plain[0][:, :, :, ::-1], atol=1e-3)
    assert not warnings(caplog)


@pytest.mark.parametrize("sets", [(UNKNOWN, CENTRED), (CENTRED, UNKNOWN), (UNKNOWN, UNKNOWN)])
def test_an_epoch_of_tracks_has_as_many_steps_as_batches_show_chunks(sets, caplog):
    known = some_tracks(*sets)
    assert tracks.steps_per_epoch(known, 3, flip=True) == 6 == tracks.steps_per_epoch(known, 3, flip=False)
    assert not warnings(caplog)  # it counts; the training tells
    batches = tracks.training(known, 3, 3, flip=True, seed=None)
    plain = tracks.training(known, 3, 3, flip=False, seed=None)
    for ours, wanted in zip(batches.take(7), plain.take(7), strict=True):
        np.testing.assert_array_equal(ours[0], wanted[0])
    assert len(warnings(caplog)) == 1
    assert tracks.steps_per_epoch(some_tracks(CENTRED, CENTRED), 3, flip=True) == 12


# ---------------------------------------- tests with mirrors
@functools.cache
def network_of(make):
    if make is estimator:
        heads = keras.Input((32, 32, 3)), keras.layers.Conv2D(K, 3, strides=4, padding="same")
        return keras.Model(heads[0], heads[1](heads[0]))
    if make is recognizer:
        return models.C3D(2, input_shape=(4, 16, 16, K), base_filters=2, num_stages=3)
    if make is video_recognizer:
        return models.SlowOnly(2, input_shape=(4, 16, 16, K), base_filters=2, stage_blocks=(1, 1, 1))
    return models.TemporalLifter(K, filter_widths=(3,), channels=4)


def estimator(skeleton, **options):
    return estimators.PoseEstimator(network_of(estimator), skeleton, **options)


def recognizer(skeleton, **options):
    names = ["wave left", "wave right"]
    return predictors.SkeletonAction(network_of(recognizer), skeleton, names, **options).recognizer


def video_recognizer(skeleton, **options):
    return predictors.Action(network_of(video_recognizer), ["wave left", "wave right"], skeleton, **options).recognizer


def lifter(skeleton, **options):
    return predictors.Lifter(network_of(lifter), skeleton, pose_skeleton=skeleton, **options).lifter


@pytest.mark.parametrize("make", [estimator, recognizer, video_recognizer, lifter])
def test_a_flip_test_of_unknown_sides_is_none(make, caplog):
    assert make(CENTRED, flip_test=True).flip_test and not make(CENTRED, flip_test=False).flip_test
    assert not make(UNKNOWN, flip_test=False).flip_test
    assert not warnings(caplog)
    assert not make(UNKNOWN, flip_test=True).flip_test
    assert len(warnings(caplog)) == 1 and warnings(caplog)[0].startswith(SENTENCE)
    by_default = make(CENTRED).flip_test
    assert by_default == (make is not video_recognizer)
    assert not make(UNKNOWN).flip_test
    assert len(warnings(caplog)) == 1 + by_default


def test_a_flip_test_of_pictures_alone_needs_no_sides(caplog):
    network = models.SlowOnly(2, input_shape=(4, 32, 32, 3), base_filters=2, stage_blocks=(1, 1, 1))
    assert estimators.VideoRecognizer(network, UNKNOWN, ["a", "b"], flip_test=True).flip_test
    assert not caplog.records


# ---------------------------------------- labels
def test_mirrored_labels():
    names = ["wave_left", "clap", "wave_right", "kick_left", "turn right", "turn left"]
    assert mirrors.mirrored_labels(names) == [2, 1, 0, 3, 5, 4]  # nothing mirrors kick_left
    assert mirrors.mirrored_labels(["a", "b"]) == mirrors.mirrored_labels([0, 1]) == [0, 1]
    assert (
        mirrors.mirrored_labels([0, 1], flip_pairs=[(0, 1)]) == mirrors.mirrored_labels([7, 8], [("7", 1.0)]) == [1, 0]
    )
    assert mirrors.mirrored_labels(["Swiping Left", "No gesture", "Swiping Right", "CW", "CCW"]) == [2, 1, 0, 4, 3]
    permutation = mirrors.mirrored_labels(names)
    assert [permutation[i] for i in permutation] == list(range(6))


def test_classes_without_a_mirror_image_are_told_once(caplog):
    names = ["Wave Left", "wave right", "kick left", "TURN_RIGHT", "clockwise", "bright"]
    mirrors.mirrored_labels(names)
    (record,) = caplog.records
    sentence = record.getMessage()
    assert "got 3 of 6 without (kick left, TURN_RIGHT, clockwise); switch mirroring off, or give flip_pairs" in sentence
    caplog.clear()
    mirrors.mirrored_labels(["wave left", "wave right", "leftover", "copyright"])
    mirrors.mirrored_labels(names, flip_pairs=[("Wave Left", "wave right")])  # whoever gives pairs knows
    assert not caplog.records


def test_pairs_of_classes_can_be_given():
    names = ["serve", "left hook", "return", "right hook"]
    assert mirrors.mirrored_labels(names, [("serve", "return")]) == [2, 1, 0, 3]
    assert mirrors.mirrored_labels(names, [(1, "right hook"), [0, np.int64(2)]]) == [2, 3, 0, 1]
    assert mirrors.mirrored_labels(names, ()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="there is no class 'smash'; choose from serve, left hook, return, right hook"):
        mirrors.mirrored_labels(names, [("serve", "smash")])
    with pytest.raises(ValueError, match="each class once, got 'serve' twice; drop one"):
        mirrors.mirrored_labels(names, [("serve", "return"), ("serve", 3)])
