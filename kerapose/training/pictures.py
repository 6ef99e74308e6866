"""Pictures of a training: what is drawn, of which samples, and as files."""

import contextlib
import typing
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from kerapose import visualize
from kerapose.data import annotated, crops, tracks
from kerapose.data import people as people_data
from kerapose.files import write_whole
from kerapose.ops import boxes, heatmaps, images
from kerapose.skeletons import Skeleton
from kerapose.training.workers import workers_of
from kerapose.types import Array, Path

NUM_PEOPLE = 8  # whose poses are drawn after each epoch
NUM_IMAGES = 6  # of which the fields are drawn after each epoch, or the people at the end
FIELDS_HEIGHT = 256  # of each picture of the former, pixels
NUM_TRACKS = 4  # of which frames are lifted and drawn after each epoch
TRACK_FRAMES = 81  # of each track that are lifted
STRIP_FRAMES = 4  # of those that are drawn
SCREEN_PX = 500  # by which screen coordinates, -1 to 1, are drawn
LEAST_SCORE = 0.1  # of a keypoint that is drawn


def answers_of(model: keras.Model, batch: typing.Any, count: int) -> typing.Any:
    """What a model predicts of a batch of so many: under a distribution strategy each device answers to all of it."""
    batch = keras.tree.map_structure(np.asarray, batch)  # JAX takes no tensor of TensorFlow
    if workers_of(model).count > 1:  # the chief alone looks; the others have no part in it
        own = [(variable, np.asarray(variable)) for variable in model.variables]  # under JAX they are of all hosts
        with keras.StatelessScope(own) if keras.backend.backend() == "jax" else contextlib.nullcontext():
            answers = keras.tree.map_structure(np.asarray, model(batch, training=False))
    else:
        answers = model.predict_on_batch(batch)
    return keras.tree.map_structure(lambda answer: answer[:count], answers)


def on_frames(clip: dict[str, Array], pose_size: tuple[int, int] | None) -> dict[str, Array]:
    """A clip of `data.videos` to be drawn: pixels as a picture has them, keypoints at its frames and in their pixels.

    Args:
        clip: {"rgb": [L, h, w, 3] normalized as ImageNet, "keypoints": [M, L', K, 2], "scores": [M, L', K]}, NumPy;
            without "rgb" it is left as it is.
        pose_size: height and width that the keypoints refer to; None where there are none.

    Returns:
        {"rgb": uint8 [L, h, w, 3], "keypoints": [M, L, K, 2], "scores": [M, L, K]}, the last two where they were.
    """
    if "rgb" not in clip:
        return clip
    shown = {"rgb": np.asarray(images.denormalize(clip["rgb"]))}
    if pose_size is None:
        return shown
    count, (height, width) = len(shown["rgb"]), shown["rgb"].shape[1:3]
    times = np.arange(count) * clip["keypoints"].shape[1] // count  # on one clock; else the nearest that is known
    scale = np.array([width / pose_size[1], height / pose_size[0]])
    return shown | {"keypoints": clip["keypoints"][:, times] * scale, "scores": clip["scores"][:, times]}


def some_people(dataset: tf.data.Dataset, skeleton: Skeleton, **options: typing.Any) -> dict[str, Array]:
    """A batch of people from all over a dataset, as `crops.evaluation` with these options gives it, in NumPy."""
    people = crops.trainable(dataset, skeleton)
    step = max(1, int(people.cardinality()) // NUM_PEOPLE)
    options = options | {"batch_size": NUM_PEOPLE}
    return next(crops.evaluation(people.shard(step, 0), skeleton, **options).as_numpy_iterator())


def poses(
    people: dict[str, Array],
    answers: Array | dict[str, Array],
    skeleton: Skeleton,
    codec: str,
    normalization: dict[str, typing.Any] | None,
) -> Array:
    """Draws the truth, what was found and, of a network of these, the heatmaps of people: RGB uint8 [H, W, 3].

    Args:
        people: a batch of `crops.evaluation`.
        answers: to its crops: heatmaps [B, h, w, K], or another codec's (`ops.heatmaps.decode_answers`).
        skeleton: the `Skeleton` of the people.
        codec: of the training.
        normalization: of the crops.
    """
    found, scores = heatmaps.decode_answers(answers, people["crop"].shape[1:3], codec)
    return visualize.compare_poses(
        images.denormalize(people["crop"], **normalization),
        boxes.transform_points(people["keypoints"], people["matrix"]),
        found,
        skeleton,
        truth_scores=people["visibility"] > 0,
        predicted_scores=scores,
        heatmaps=np.asarray(answers, "float32") if codec in heatmaps.CODECS else None,
        min_score=LEAST_SCORE,
        aligned_corners=codec == "udp",
    )


def some_fields(dataset: tf.data.Dataset, skeleton: Skeleton, **options: typing.Any) -> tuple[Array, ...]:
    """A batch of images from all over a dataset, as `people.validation` with these options gives it, in NumPy."""
    samples = people_data.trainable(dataset, skeleton)
    count = int(samples.cardinality())
    options = options | {"batch_size": min(NUM_IMAGES, count)}
    chosen = samples.shard(max(1, count // NUM_IMAGES), 0)
    return next(people_data.validation(chosen, skeleton, **options).as_numpy_iterator())


def fields(pixels: Array, truth: Array, found: Array, skeleton: Skeleton) -> Array:
    """Draws true heatmaps and limbs of images beside those found: RGB uint8 [H, W, 3].

    Args:
        pixels: [B, H, W, 3], as `data.people` gives them to a network.
        truth: [B, h, w, K + 1 + 2 * E] fields, heatmaps first.
        found: [B, h, w, K + 1 + 2 * E], likewise.
        skeleton: the `Skeleton` of the fields.
    """
    shown = np.asarray(images.denormalize(pixels, **images.OPENPOSE_NORMALIZATION))
    count = skeleton.num_keypoints + 1
    pairs = [
        visualize.draw_fields(image, maps[i][..., :count], maps[i][..., count:], skeleton, panel_height=FIELDS_HEIGHT)
        for i, image in enumerate(shown)
        for maps in (truth, found)
    ]
    return visualize.contact_sheet(pairs, columns=2)


def some_images(dataset: tf.data.Dataset) -> list[dict[str, Array]]:
    """Images from all over a dataset of `data.people` with what is known of the people in them, in NumPy: a list."""
    count = len(people_data.image_ids(dataset))
    chosen = dataset.shard(max(1, count // NUM_IMAGES), 0).take(NUM_IMAGES)

    def decode(element):
        return {name: element[name] for name in ("keypoints", "visibility")} | {"image": annotated.decoded(element)}

    return list(chosen.map(decode).as_numpy_iterator())


def people_found(
    shown: list[dict[str, Array]], estimator: keras.Model, found_skeleton: Skeleton, skeleton: Skeleton
) -> Array:
    """Draws the true people of images, those found, and the fields that they were found by: RGB uint8 [H, W, 3].

    Args:
        shown: what `some_images` gives.
        estimator: a `BottomUpEstimator`.
        found_skeleton: the `Skeleton` that it finds.
        skeleton: that of the images.
    """
    strips = []
    for element in shown:
        image = element["image"]
        found = {name: np.asarray(value) for name, value in estimator(image).items()}
        heatmaps, pafs, matrix = (np.asarray(part) for part in estimator.fields(image))
        people = [
            visualize.draw_skeletons(image, element["keypoints"], element["visibility"] > 0, skeleton, 0.5),
            visualize.draw_skeletons(image, found["keypoints"], found["scores"] > 0, found_skeleton, 0.5),
        ]
        maps = visualize.draw_fields(image, heatmaps, pafs, found_skeleton, matrix)
        strips.append(visualize.contact_sheet([visualize.contact_sheet(people, columns=2), maps], columns=2))
    return visualize.contact_sheet(strips, columns=1)


def some_tracks(known: tracks.Tracks) -> dict[str, typing.Any]:
    """The middle of some tracks from all over the set, of one length, so that they are lifted as one batch.

    Args:
        known: `data.tracks.Tracks`.

    Returns:
        {"keypoints_screen": [B, T, K, 2], "poses_m": [B, T, J, 3] root-relative, "name": list}; without poses where
        the set has none.
    """
    whole = list(tracks.sequences(known))
    lengths = sorted((len(track["keypoints_screen"]) for track in whole), reverse=True)
    count = min(TRACK_FRAMES, lengths[:NUM_TRACKS][-1])
    whole = [track for track in whole if len(track["keypoints_screen"]) >= count]
    chosen = [whole[i] for i in np.linspace(0, len(whole) - 1, min(NUM_TRACKS, len(whole))).round().astype(int)]
    fields = [field for field in ("keypoints_screen", "poses_m") if field in chosen[0]]
    parts = {field: np.stack([_middle(track[field], count) for track in chosen]) for field in fields}
    return parts | {"name": [track["name"] for track in chosen]}


def lifts(shown: dict[str, typing.Any], found: Array, skeleton: Skeleton, pose_skeleton: Skeleton) -> Array:
    """Draws tracks in 2D with the poses found, and the true ones in grey, in 3D below: RGB uint8 [H, W, 3].

    Args:
        shown: what `some_tracks` gives.
        found: [B, T, J, 3] poses in metres, root-relative.
        skeleton: the `Skeleton` of the keypoints.
        pose_skeleton: that of the poses.
    """
    strips = [
        visualize.lift_strip(
            SCREEN_PX * shown["keypoints_screen"][i],
            found[i],
            skeleton,
            pose_skeleton,
            shown["poses_m"][i] if "poses_m" in shown else None,
            num_frames=STRIP_FRAMES,
            panel_height=220,
        )
        for i in range(len(found))
    ]
    return visualize.contact_sheet(strips, columns=2, gap_px=4 * visualize.GAP_PX)


def confusion_image(matrix: Array, class_names: Sequence[str]) -> Array:
    """Draws a confusion matrix: RGB uint8 [H, W, 3]."""
    return visualize.figure_to_image(visualize.confusion_matrix_figure(matrix, list(class_names)))


def save_confusion_matrix(path: Path, matrix: Array, class_names: Sequence[str]) -> None:
    """Writes a confusion matrix as PNG."""
    save_png(path, confusion_image(matrix, class_names))


def save_curves(path: Path, history: list[dict[str, float]]) -> None:
    """Writes the curves of a run as PNG; `history` is a list of {name: value}, one per epoch."""
    if history:
        curves = {name: [figures[name] for figures in history] for name in history[0]}
        save_png(path, visualize.figure_to_image(visualize.curves_figure(curves)))


def save_png(path: Path, image: Array) -> None:
    """Writes a picture, RGB uint8 [H, W, 3], as PNG."""
    write_whole(path, tf.io.encode_png(image).numpy())


def _middle(frames, count):
    start = (len(frames) - count) // 2
    return frames[start : start + count]
