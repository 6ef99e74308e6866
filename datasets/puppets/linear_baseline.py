"""What a linear classifier makes of the puppets: multinomial logistic regression on flattened coordinates.

    python datasets/build.py puppets
    python datasets/puppets/linear_baseline.py                       # or --name=puppets/videos

Each clip becomes 16 frames of keypoints, centred on the person and divided by the person's size, in one row of numbers.
The weight decay that is best on the validation split is taken. It runs for half a minute and prints top-1 of each
split; README.md has the figures.
"""

import argparse

import keras
import numpy as np
import tensorflow_datasets as tfds

from kerapose.data import prepared

FRAMES = 16
WEIGHT_DECAYS = (1e-3, 1e-2, 3e-2, 1e-1)


def flatten(keypoints, scores, num_frames=FRAMES):
    """Makes one row of a clip, from which place and size of the person are taken away.

    Args:
        keypoints: float array [T, K, 2], pixels.
        scores: float array [T, K]; a keypoint of score 0 was not found and is put at the centre.
        num_frames: frames to take, evenly spread over the clip from the first to the last.

    Returns:
        float array [num_frames * K * 2].
    """
    found = scores > 0
    # A percent on each side is left out, so that a keypoint found far off does not set the size.
    low, high = np.percentile(keypoints[found], (1, 99), axis=0)
    centred = (keypoints - (low + high) / 2) / np.max(high - low)
    centred = np.where(found[..., None], centred, 0)
    frames = np.linspace(0, len(keypoints) - 1, num_frames).round().astype(int)
    return centred[frames].ravel()


def read_rows(builder, split):
    """Reads a split as rows [N, num_frames * K * 2] and labels [N]."""
    rows, labels = [], []
    for clip in tfds.as_numpy(builder.as_dataset(split=split)):
        rows.append(flatten(clip["keypoints"][0], clip["scores"][0]))
        labels.append(clip["label"])
    return np.array(rows, np.float32), np.array(labels)


def fit(rows, labels, num_classes, weight_decay, seed=0):
    """Fits logistic regression: one dense layer, with a penalty of `weight_decay` times the squared weights."""
    keras.utils.set_random_seed(seed)
    to_unit_variance = keras.layers.Normalization()
    to_unit_variance.adapt(rows)
    model = keras.Sequential(
        [to_unit_variance, keras.layers.Dense(num_classes, kernel_regularizer=keras.regularizers.L2(weight_decay))]
    )
    batch_size, epochs = 64, 60
    steps = -(-len(rows) // batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, steps * epochs)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps,
    )
    model.fit(rows, labels, batch_size=batch_size, epochs=epochs, verbose=0)
    return model


def accuracy(model, rows, labels):
    """Gives top-1, 0 to 1."""
    return np.mean(np.argmax(model.predict(rows, batch_size=len(rows), verbose=0), axis=-1) == labels)


def run(data_dir=None, name="puppets/clips"):
    """Fits on the training split with the weight decay that suits the validation split: top-1, 0 to 1, by split."""
    builder = prepared.find(name, "train", data_dir)
    splits = {split: read_rows(builder, split) for split in ("train", "validation", "test")}
    num_classes = builder.info.features["label"].num_classes
    models = [fit(*splits["train"], num_classes, weight_decay) for weight_decay in WEIGHT_DECAYS]
    best = max(models, key=lambda model: accuracy(model, *splits["validation"]))
    return {split: accuracy(best, *rows_and_labels) for split, rows_and_labels in splits.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of the prepared data sets; TFDS's own by default")
    parser.add_argument("--name", default="puppets/clips", help="the data set and its config")
    arguments = parser.parse_args()
    top1 = run(arguments.data_dir, arguments.name)
    print("linear classifier, top-1: " + ", ".join(f"{split} {share:.1%}" for split, share in top1.items()))


if __name__ == "__main__":
    main()
