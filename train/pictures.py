"""Curves and pictures of a training run, in TensorBoard and as files."""

import keras
import numpy as np
import tensorflow as tf

from kerapose import metrics, visualize
from train import common

NUM_CLIPS = 4  # whose volumes are drawn when training begins


class TensorBoard(keras.callbacks.Callback):
    """Writes figures of every epoch, the volumes of some clips once, and the confusion matrix every epoch.

    Keras's own TensorBoard callback begins its step count anew when a run is resumed; this one goes on.

    Args:
        folder: of the event files.
        validation: batches of clips and labels.
        volume: the `HeatmapVolume` of the model.
        skeleton: the `Skeleton` of the clips.
        class_names: of the labels.
    """

    def __init__(self, folder, validation, volume, skeleton, class_names):
        super().__init__()
        self.folder = str(folder)
        self.validation = validation
        self.volume = volume
        self.skeleton = skeleton
        self.class_names = class_names

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(self.folder)
        clips, labels = next(iter(self.validation))
        volumes = np.asarray(self.volume(clips), "float32")  # [B, T, H, W, C]
        with self.writer.as_default(step=0):
            for i in range(min(NUM_CLIPS, len(labels))):
                strip = visualize.volume_strip(
                    volumes[i],
                    keypoints=clips["keypoints"][i].numpy(),
                    scores=clips["scores"][i].numpy(),
                    skeleton=self.skeleton,
                )
                tf.summary.image(f"volumes/{i}_{self.class_names[int(labels[i])]}", strip[None])

    def on_epoch_end(self, epoch, logs=None):
        answers = [(labels, self.model.predict_on_batch(clips).argmax(-1)) for clips, labels in self.validation]
        labels, predicted = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        matrix = metrics.confusion_matrix(labels, predicted, len(self.class_names))
        with self.writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.scalar(f"epoch/{name}", value)
            tf.summary.scalar("epoch/learning_rate", float(self.model.optimizer.learning_rate))
            tf.summary.image("confusion_matrix", _confusion_image(matrix, self.class_names)[None])
        self.writer.flush()


def save_confusion_matrix(path, matrix, class_names):
    """Writes a confusion matrix as PNG."""
    _save_png(path, _confusion_image(matrix, class_names))


def save_curves(path, history):
    """Writes the curves of a run as PNG; `history` is a list of {name: value}, one per epoch."""
    if history:
        curves = {name: [figures[name] for figures in history] for name in history[0]}
        _save_png(path, visualize.figure_to_image(visualize.curves_figure(curves)))


def _confusion_image(matrix, class_names):
    return visualize.figure_to_image(visualize.confusion_matrix_figure(matrix, list(class_names)))


def _save_png(path, image):
    common.write_whole(path, tf.io.encode_png(image).numpy())
