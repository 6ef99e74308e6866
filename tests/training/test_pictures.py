"""What training shows of its validation split."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerapose.data import crops, people, tracks
from kerapose.layers import HeatmapVolume
from kerapose.ops import images
from kerapose.skeletons import H36M, Skeleton
from kerapose.training import boards, pictures


def make_tracks(lengths):
    """People who wobble five metres from the camera."""
    pose = np.random.default_rng(0).uniform(-0.5, 0.5, (17, 3))
    wobble = np.sin(np.concatenate([np.arange(length) for length in lengths])[:, None, None] / 5 + np.arange(3))
    poses = pose + 0.05 * wobble + [0, 0, 5]  # [N, 17, 3]
    count = len(lengths)
    return tracks.Tracks(
        keypoints_screen=poses[..., :2] / poses[..., 2:],
        scores=np.ones((len(poses), 17)),
        poses_camera_m=poses,
        poses_world_m=None,
        lengths=np.array(lengths),
        cameras=None,
        frame_sizes=np.full((count, 2), 1000),
        fps=np.full(count, 50.0),
        names=[f"take_{index}" for index in range(count)],
        subjects=["S1"] * count,
        actions=["walk"] * count,
        camera_names=["c0"] * count,
        skeleton=H36M,
        pose_skeleton=H36M,
    )


def test_tracks_are_shown_from_all_over_the_set():
    known = make_tracks([90, 5, 81, 100, 120, 84, 95])
    shown = pictures.some_tracks(known)
    assert shown["name"] == ["take_0", "take_3", "take_4", "take_6"]  # the short one cannot be shown
    assert shown["keypoints_screen"].shape == (4, 81, 17, 2)
    whole = {track["name"]: track for track in tracks.sequences(known)}
    np.testing.assert_array_equal(shown["poses_m"][1], whole["take_3"]["poses_m"][9:90])
    short = pictures.some_tracks(make_tracks([4, 7]))
    assert short["poses_m"].shape == (2, 4, 17, 3)


def test_the_board_draws_with_the_weights_of_the_epoch(tmp_path, events):
    asked = []

    def lift(screen):
        asked.append(len(screen))
        return tf.zeros((*screen.shape[:3], 3)) + 0.1 * len(asked) * tf.range(17.0)[:, None]

    board = boards.LiftBoard(tmp_path, lift, make_tracks([30, 40, 30]))
    board.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(learning_rate=1e-3)))
    board.on_train_begin()
    for epoch in (0, 1):
        board.on_epoch_end(epoch, {"loss": 1.0})
    assert asked == [3, 3]
    steps, noted = events(tmp_path)
    assert steps["found_over_truth"] == [0, 1]
    first, second = noted["found_over_truth"]
    assert (first != second).any()
    assert (np.ptp(first.astype(int), axis=-1) > 60).any()  # in colours


# ---------------------------------------- clips of videos
STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
CLASSES = ["kick", "jump"]


def make_clips(count=3, frames=4, size=32, rate=4, modalities=("rgb", "pose")):
    """Grey clips in which a stick walks to the right, two people in the first: batches of two, and labels."""
    keypoints = np.array([(8, 8), (24, 8), (8, 24)], "float32") / 4  # of a volume of a quarter of the size
    keypoints = np.tile(keypoints, (count, 2, rate * frames, 1, 1))  # [B, M, L', K, 2]
    keypoints[..., 0] += np.linspace(0, 2, rate * frames)[:, None]
    scores = np.ones(keypoints.shape[:-1], "float32")
    scores[1:, 1] = 0
    grey = images.normalize(np.full((count, frames, size, size, 3), 128, "uint8"))
    clips = {"rgb": np.asarray(grey)} if "rgb" in modalities else {}
    clips |= {"keypoints": keypoints, "scores": scores} if "pose" in modalities else {}
    return tf.data.Dataset.from_tensor_slices((clips, np.arange(count) % 2)).batch(2)


def make_model(clips, attention=None):
    """A model of these clips, of several answers where it sees both frames and keypoints."""
    shapes = {name: spec.shape[1:] for name, spec in clips.element_spec[0].items()}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    flat = [layers.GlobalAveragePooling3D()(inputs["rgb"])] if "rgb" in inputs else []
    if "keypoints" in inputs:
        volume = HeatmapVolume(8, 8, name="volume")({name: inputs[name] for name in ("keypoints", "scores")})
        flat.append(layers.GlobalAveragePooling3D()(volume))
    answers = [layers.Dense(2)(x) for x in flat]
    if len(answers) == 2:
        answers = {"rgb": answers[0], "pose": answers[1], "fused": layers.Average()(answers)}
    model = keras.Model(inputs, answers if isinstance(answers, dict) else answers[0])
    model.network = types.SimpleNamespace(attention_maps=attention)
    model.pose_shape = (*inputs["keypoints"].shape[2:3], 8, 8, 3) if "keypoints" in inputs else None
    model.compile("sgd")
    return model


def run_board(board, model, epochs=2):
    board.set_model(model)
    board.on_train_begin()
    for epoch in range(epochs):
        board.on_epoch_end(epoch, {"loss": 1.0})


def coloured(picture):
    return np.ptp(picture.astype(int), axis=-1) > 60


@pytest.mark.parametrize("modalities", [("rgb", "pose"), ("rgb",), ("pose",)])
def test_clips_are_shown_once_with_what_is_known_of_them(tmp_path, events, modalities):
    clips = make_clips(modalities=modalities)
    run_board(boards.VideoBoard(tmp_path, clips, STICK, CLASSES), make_model(clips))
    steps, noted = events(tmp_path)
    assert steps["clips/0_kick"] == steps["clips/1_jump"] == [0]
    assert steps["confusion_matrix"] == [0, 1]
    assert "clips/2_kick" not in steps  # of the first batch
    picture = noted["clips/0_kick"][0]
    assert coloured(picture).any() == ("pose" in modalities)
    if "rgb" in modalities:
        assert picture.shape == (240, 4 * 240 + 3 * 4, 3)
        assert (picture[:200, 200:240] == 128).all()  # the pixels as they were before normalization


def test_keypoints_of_the_volume_are_drawn_on_their_frames():
    (clips, _) = next(make_clips().as_numpy_iterator())
    clip = pictures.on_frames({name: value[0] for name, value in clips.items()}, (8, 8))
    assert clip["rgb"].dtype == np.uint8
    assert (clip["rgb"] == 128).all()
    assert clip["keypoints"].shape == (2, 4, 3, 2)
    assert clip["scores"].shape == (2, 4, 3)
    np.testing.assert_allclose(clip["keypoints"][0, :, 0, 1], 8)
    walked = np.linspace(0, 2, 16)[::4]  # RGB frame i is pose frame 4 * i
    np.testing.assert_allclose(clip["keypoints"][0, :, 1, 0], 24 + 4 * walked, rtol=1e-6)


def test_keypoints_of_an_oblong_volume_are_drawn_on_oblong_frames():
    clip = {
        "rgb": np.zeros((4, 16, 48, 3), "float32"),
        "keypoints": np.ones((1, 8, 3, 2)),
        "scores": np.ones((1, 8, 3)),
    }
    np.testing.assert_array_equal(pictures.on_frames(clip, (8, 12))["keypoints"], np.full((1, 4, 3, 2), (4, 2)))


def test_attention_is_drawn_after_every_epoch_over_the_frames(tmp_path, events):
    asked = []

    def attention(inputs):
        asked.append({name: value.shape for name, value in inputs.items()})
        grid = np.zeros((2, 4, 2, 2), "float32")
        grid[:, :, 0, len(asked) - 1] = 0.1
        return {"grid": grid, "joints": np.full((2, 4, 3), 0.01, "float32")}

    clips = make_clips(rate=1)
    run_board(boards.AttentionBoard(tmp_path, clips, STICK, CLASSES), make_model(clips, attention))
    assert asked == 2 * [{"rgb": (2, 4, 32, 32, 3), "pose": (2, 4, 8, 8, 3)}]
    steps, noted = events(tmp_path)
    assert steps["attention/0_kick"] == steps["attention/1_jump"] == [0, 1]
    assert steps["clips/0_kick"] == [0]
    left, right = (picture[40, :240] for picture in noted["attention/0_kick"])
    assert coloured(left[:60]).all() and not coloured(left[200:]).any()
    assert coloured(right[200:]).all() and not coloured(right[:20]).any()


# ---------------------------------------- fields
def make_groups(count=13):
    """Grey images of a stick each, whose number is in its pixels."""
    keypoints = np.array([[(20, 20), (50, 20), (20, 60)]], "float32")
    boxes = np.array([(15, 15, 55, 65)], "float32")
    shown = [np.full((80, 90, 3), 40 + 10 * number, "uint8") for number in range(count)]
    return people.from_arrays(shown, [{"keypoints": keypoints, "box": boxes}] * count, STICK)


def test_fields_are_shown_of_images_from_all_over_the_set_beside_what_was_found(tmp_path, events):
    batch = pictures.some_fields(make_groups(), STICK, image_size=(64, 64), batch_size=50, sigma_px=4.0)
    pixels, truth, mask = batch
    assert pixels.shape == (6, 64, 64, 3) and truth.shape == (6, 8, 8, 4 + 4) and mask.shape == (6, 8, 8, 1)
    shades = np.asarray(images.denormalize(pixels, **images.OPENPOSE_NORMALIZATION))[:, 32, 32, 0]
    np.testing.assert_array_equal(shades, 40 + 20 * np.arange(6))  # every second one
    inputs = keras.Input((64, 64, 3))
    stage = layers.Conv2D(8, 8, 8, kernel_initializer="zeros")
    model = keras.Model(inputs, keras.ops.stack([stage(inputs), 0 * stage(inputs) + 0.5], axis=1))
    model.compile("sgd")
    run_board(boards.FieldBoard(tmp_path, batch, STICK), model, epochs=1)  # large pictures take long to encode
    steps, noted = events(tmp_path)
    assert steps["true_fields_found_fields"] == [0]
    picture = noted["true_fields_found_fields"][0]
    found = np.full_like(truth, 0.5)  # of the last stage
    np.testing.assert_array_equal(picture, pictures.fields(pixels, truth, found, STICK))
    assert picture.shape == (6 * 256 + 5 * 4, 4 * 256 + 3 * 4, 3)
    assert coloured(picture[:, :512]).any() and (picture[:, :516] != picture[:, 520:]).any()


def test_a_small_set_is_shown_as_a_whole():
    pixels, _, mask = pictures.some_fields(make_groups(2), STICK, image_size=(64, 64), sigma_px=4.0)
    assert len(pixels) == 2 and mask.any(axis=(1, 2, 3)).all()
    assert len(pictures.some_images(make_groups(2))) == 2
    shown = pictures.some_images(make_groups())
    assert [int(element["image"][0, 0, 0]) for element in shown] == [40, 60, 80, 100, 120, 140]
    assert shown[0]["keypoints"].shape == (1, 3, 2) and shown[0]["visibility"].all()


def test_people_are_shown_from_all_over_the_set(monkeypatch):
    read = {}
    monkeypatch.setattr(
        crops, "evaluation", lambda found, skeleton, **how: read.update(how) or found.batch(how["batch_size"])
    )
    places = np.tile(np.float32([[2, 2], [2, 6], [6, 6]]), (34, 1, 1))
    boxes = np.tile(np.float32([0, 0, 8, 8]), (34, 1))
    dataset = crops.from_arrays([np.zeros((9, 9, 3), "uint8")] * 34, boxes, places, None, STICK)
    shown = pictures.some_people(dataset, STICK, image_size=(64, 48), batch_size=3)
    assert shown["person_id"].tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert read == {"image_size": (64, 48), "batch_size": pictures.NUM_PEOPLE}
