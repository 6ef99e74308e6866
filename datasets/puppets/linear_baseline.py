"""What a linear classifier makes of the puppets: multinomial logistic regression on flattened coordinates.

    python datasets/build.py puppets
    python datasets/puppets/linear_baseline.py

Each clip becomes 16 frames of keypoints, centred on the person and divided by the person's size, in one row of numbers.
The weight decay that is best on the validation split is taken. It runs for half a minute and prints top-1 on the test
split; README.md has the figure.
"""

import argparse

import keras
import numpy as np
import tensorflow_datasets as tfds

FRAMES = 16
WEIGHT_DECAYS = (1e-4, 3e-4, 1e-3, 3e-3)


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


def load_rows(split, data_dir):
    """Reads a split as rows [N, num_frames * K * 2] and labels [N]."""
    rows, labels = [], []
    for clip in tfds.as_numpy(tfds.load("puppets/clips", split=split, data_dir=data_dir)):
        rows.append(flatten(clip["keypoints"][0], clip["scores"][0]))
        labels.append(clip["label"])
    return np.array(rows, np.float32), np.array(labels)


def fit(rows, labels, num_classes, weight_decay, seed=0):
    """Fits logistic regression: one dense layer, with a penalty of `weight_decay` times the squared weights."""
    keras.utils.set_random_seed(seed)
    penalty = keras.regularizers.L2(weight_decay)
    model = keras.Sequential([keras.layers.Dense(num_classes, kernel_regularizer=penalty)])
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, decay_steps=600)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(rows, labels, batch_size=len(rows), epochs=600, verbose=0)
    return model


def accuracy(model, rows, labels):
    """Gives top-1, 0 to 1."""
    return np.mean(np.argmax(model.predict(rows, verbose=0), axis=-1) == labels)


def run(data_dir=None):
    """Fits on the training split, chooses the weight decay on the validation split, and gives top-1 on the test split."""
    try:
        names = tfds.builder("puppets/clips", data_dir=data_dir).info.features["label"].names
    except tfds.core.DatasetNotFoundError as error:
        raise FileNotFoundError(
            f"puppets is not in {data_dir or 'the default data folder'}; build it with python datasets/build.py puppets."
        ) from error
    train, validation, test = (load_rows(split, data_dir) for split in ("train", "validation", "test"))
    models = [fit(*train, len(names), weight_decay) for weight_decay in WEIGHT_DECAYS]
    best = max(models, key=lambda model: accuracy(model, *validation))
    return {"train": accuracy(best, *train), "validation": accuracy(best, *validation), "test": accuracy(best, *test)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of the prepared data sets; TFDS's own by default")
    top1 = run(parser.parse_args().data_dir)
    print("linear classifier, top-1: " + ", ".join(f"{split} {share:.1%}" for split, share in top1.items()))


if __name__ == "__main__":
    main()
