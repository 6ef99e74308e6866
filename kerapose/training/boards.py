"""Curves and pictures of a training in TensorBoard, after every epoch."""

import typing
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerapose import metrics, visualize
from kerapose.data import tracks
from kerapose.layers import HeatmapVolume
from kerapose.ops import heatmaps
from kerapose.skeletons import Skeleton
from kerapose.training import pictures
from kerapose.training.workers import workers_of
from kerapose.types import Array, Path, Tensor

NUM_CLIPS = 4  # that are drawn, when training begins or after each epoch
SHOWN_FRAMES = 8  # of a clip of a video


class TensorBoard(keras.callbacks.Callback):
    """Writes the figures of every epoch; a subclass adds its pictures.

    Keras's own TensorBoard callback begins its step count anew when a run is resumed; this one goes on.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = str(folder)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.writes = workers_of(self.model).is_chief
        if not self.writes:
            return
        self.writer = tf.summary.create_file_writer(self.folder)
        with self.writer.as_default(step=0):
            self.draw_once()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not self.writes:
            return
        with self.writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.scalar(f"epoch/{name}", value)
            tf.summary.scalar("epoch/learning_rate", float(self.model.optimizer.learning_rate))
            self.draw()
        self.writer.flush()

    def draw_once(self) -> None:
        """Writes what is shown when training begins or goes on."""

    def draw(self) -> None:
        """Writes what is shown after each epoch."""


class ClipBoard(TensorBoard):
    """Adds the volumes of some clips, once, and the confusion matrix of every epoch.

    Args:
        folder: of the event files.
        validation: batches of clips and labels.
        volume: the `HeatmapVolume` of the model.
        skeleton: the `Skeleton` of the clips.
        class_names: of the labels.
    """

    def __init__(
        self,
        folder: Path,
        validation: tf.data.Dataset,
        volume: HeatmapVolume,
        skeleton: Skeleton,
        class_names: Sequence[str],
    ):
        super().__init__(folder)
        self.validation = validation
        self.volume = volume
        self.skeleton = skeleton
        self.class_names = class_names

    def draw_once(self) -> None:
        clips, labels = next(iter(self.validation))
        volumes = np.asarray(self.volume(clips), "float32")  # [B, T, H, W, C]
        colors = None if self.volume.edges is None else self.skeleton.edge_colors  # COCO has as many limbs as joints
        for i in range(min(NUM_CLIPS, len(labels))):
            strip = visualize.volume_strip(
                volumes[i],
                colors=colors,
                keypoints=clips["keypoints"][i].numpy(),
                scores=clips["scores"][i].numpy(),
                skeleton=self.skeleton,
            )
            tf.summary.image(f"volumes/{i}_{self.class_names[int(labels[i])]}", strip[None])

    def draw(self) -> None:
        _write_confusion_matrix(self.model, self.validation, self.class_names)


class VideoBoard(TensorBoard):
    """Adds the frames of some clips with their skeletons, once, and the confusion matrix of every epoch.

    The model is one of `training.video_model`: of frames, of skeletons or of both.

    Args:
        folder: of the event files.
        validation: batches of clips and labels, as `data.videos.evaluation` gives them.
        skeleton: the `Skeleton` of the clips.
        class_names: of the labels.
    """

    def __init__(self, folder: Path, validation: tf.data.Dataset, skeleton: Skeleton, class_names: Sequence[str]):
        super().__init__(folder)
        self.validation = validation
        self.skeleton = skeleton
        self.class_names = class_names

    def draw_once(self) -> None:
        clips, labels = next(self.validation.as_numpy_iterator())
        self.some = {name: value[:NUM_CLIPS] for name, value in clips.items()}, labels[:NUM_CLIPS]
        for name, clip in self._named_clips():
            tf.summary.image(f"clips/{name}", self._strip(clip)[None])

    def draw(self) -> None:
        _write_confusion_matrix(self.model, self.validation, self.class_names)

    def _named_clips(self):
        """Each clip of `some`, in the pixels of its frames or, without frames, of its volume, under a name."""
        clips, labels = self.some
        for i, label in enumerate(labels):
            clip = {name: value[i] for name, value in clips.items()}
            yield f"{i}_{self.class_names[int(label)]}", pictures.on_frames(clip, self._pose_size())

    def _pose_size(self):
        """Height and width of the volume that the keypoints are for."""
        return self.model.pose_shape and self.model.pose_shape[1:3]

    def _strip(self, clip):
        if "rgb" not in clip:
            people = clip["keypoints"], clip["scores"]
            return visualize.clip_strip(*people, self.skeleton, self._pose_size(), SHOWN_FRAMES)
        nobody = np.zeros((0, len(clip["rgb"]), self.skeleton.num_keypoints, 2))
        people = clip.get("keypoints", nobody), clip.get("scores")
        return visualize.video_strip(clip["rgb"], *people, self.skeleton, SHOWN_FRAMES)


class AttentionBoard(VideoBoard):
    """Adds to `VideoBoard`, for every epoch, where the class tokens of a STARTransformer look in the same clips.

    Args:
        folder: of the event files.
        validation: see `VideoBoard`.
        skeleton: see `VideoBoard`.
        class_names: see `VideoBoard`.
    """

    def draw(self) -> None:
        super().draw()
        clips, _ = self.some
        volume = self.model.get_layer("volume")({name: clips[name] for name in ("keypoints", "scores")})
        rgb = keras.ops.convert_to_tensor(clips["rgb"])  # Keras wants all of them so
        maps = self.model.network.attention_maps({"rgb": rgb, "pose": volume})
        grid, joints = (np.asarray(maps[name], "float32") for name in ("grid", "joints"))
        for i, (name, clip) in enumerate(self._named_clips()):
            people = clip["keypoints"], clip["scores"], self.skeleton
            picture = visualize.draw_attention(clip["rgb"], grid[i], joints[i], *people, num_frames=SHOWN_FRAMES)
            tf.summary.image(f"attention/{name}", picture[None])


class PoseBoard(TensorBoard):
    """Adds, for every epoch, the truth, what was found and, if there are some, the predicted heatmaps of some crops.

    Args:
        folder: of the event files.
        people: what `pictures.some_people` gives.
        skeleton: their `Skeleton`.
        codec: of the training, one of `ops.heatmaps.ALL_CODECS`.
        normalization: of the crops.
    """

    def __init__(
        self,
        folder: Path,
        people: dict[str, Array],
        skeleton: Skeleton,
        codec: str,
        normalization: dict[str, typing.Any] | None,
    ):
        super().__init__(folder)
        self.people = people
        self.options = {"skeleton": skeleton, "codec": codec, "normalization": normalization}

    def draw(self) -> None:
        outputs = pictures.answers_of(self.model, self.people["crop"], len(self.people["crop"]))
        answers = heatmaps.read_outputs(outputs, self.options["codec"])
        tf.summary.image("truth_found_heatmaps", pictures.poses(self.people, answers, **self.options)[None])


class FieldBoard(TensorBoard):
    """Adds, for every epoch, the true fields of some images beside those found by the last stage of a network.

    The model gives fields [B, S, h, w, K + 1 + 2 * E], those of all stages.

    Args:
        folder: of the event files.
        batch: what `pictures.some_fields` gives.
        skeleton: the `Skeleton` of the fields.
    """

    def __init__(self, folder: Path, batch: Sequence[Array], skeleton: Skeleton):
        super().__init__(folder)
        self.batch = batch
        self.skeleton = skeleton

    def draw(self) -> None:
        pixels, truth, _ = self.batch
        found = pictures.answers_of(self.model, pixels, len(pixels))[:, -1]  # [B, h, w, C]
        tf.summary.image("true_fields_found_fields", pictures.fields(pixels, truth, found, self.skeleton)[None])


class LiftBoard(TensorBoard):
    """Adds, for every epoch, some frames in 2D with the poses found and the true ones in 3D below them.

    Args:
        folder: of the event files.
        lift: function from screen coordinates [B, T, K, 2] to poses [B, T, J, 3] in metres, root-relative, with the
            weights as they are in training: `estimators.TrackLifter.lift`, say.
        known: `data.tracks.Tracks` to choose frames from.
    """

    def __init__(self, folder: Path, lift: Callable[[Tensor], Tensor], known: tracks.Tracks):
        super().__init__(folder)
        self.lift = lift
        self.shown = pictures.some_tracks(known)
        self.skeletons = known.skeleton, known.pose_skeleton

    def draw(self) -> None:
        found = np.asarray(self.lift(self.shown["keypoints_screen"]), "float32")
        tf.summary.image("found_over_truth", pictures.lifts(self.shown, found, *self.skeletons)[None])


def _write_confusion_matrix(model, validation, class_names):
    """Of a model's answers, or of their fusion where it gives several."""
    known, predicted = [], []
    for clips, labels in validation:
        found = pictures.answers_of(model, clips, len(labels))
        known.append(labels)
        predicted.append((found["fused"] if isinstance(found, dict) else found).argmax(-1))
    matrix = metrics.confusion_matrix(np.concatenate(known), np.concatenate(predicted), len(class_names))
    tf.summary.image("confusion_matrix", pictures.confusion_image(matrix, class_names)[None])
