"""Trains PoseConv3D: skeleton sequences in, actions out.

    python -m train.poseconv3d

makes the puppets dataset, trains C3D-tiny on it for 26 epochs and tests it: about 8 minutes on two cores with bfloat16
instructions, 92.6 % top-1 on performers never seen. README.md has the commands of the published settings and of
JHMDB.
"""

import inspect
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from kerapose import export, metrics, models, predictors, skeletons
from kerapose.data import clips
from kerapose.layers import HeatmapVolume
from kerapose.ops import clips as clip_ops
from train import common, pictures

FLAGS = flags.FLAGS
NETWORKS = {variant: cls for cls in (models.C3D, models.SlowOnly, models.X3D) for variant in cls.VARIANTS}


def define_flags():
    """Defines the flags of this script and returns their names."""
    others = set(FLAGS)
    common.define_flags(workdir="runs/poseconv3d", batch_size=16, epochs=26)
    flags.DEFINE_string("dataset", "puppets", "TFDS name of a dataset of keypoint sequences.")
    flags.DEFINE_string("train_split", "train", "Split to train on.")
    flags.DEFINE_string("validation_split", "validation", "Split that chooses the best weights; empty: the last ones.")
    flags.DEFINE_string("test_split", "test", "Split of the final figures.")
    flags.DEFINE_multi_string("skip", [], "Name of a clip to leave out; may be given several times.")
    flags.DEFINE_enum("skeleton", "coco", [skeleton.name for skeleton in skeletons.ALL], "Keypoint set of the network.")
    flags.DEFINE_string("dataset_skeleton", None, "Keypoint set of the dataset, if it is to be mapped to --skeleton.")
    flags.DEFINE_string("pretrained", None, "Work folder of a run whose networks to start from; the classifier is new.")
    flags.DEFINE_enum("variant", "c3d_tiny", sorted(NETWORKS), "Network.")
    flags.DEFINE_enum("modality", "joint", ["joint", "limb", "both"], "What volumes show; both: two networks, fused.")
    flags.DEFINE_integer("base_filters", None, "Width of the network; the variant's own if not given.")
    flags.DEFINE_integer("num_frames", None, "Frames a clip; the variant's own if not given.")
    flags.DEFINE_integer("size", None, "Height and width of a training volume, pixels; the variant's own if not given.")
    flags.DEFINE_integer("test_size", None, "Height and width of a test volume; 8/7 of --size if not given.")
    flags.DEFINE_float("sigma_px", 0.6, "Of the Gaussians, pixels of the volume.")
    flags.DEFINE_bool("use_scores", True, "Whether a keypoint is drawn as high as its score, or all with 1.")
    flags.DEFINE_float("learning_rate", 0.05, "Peak, for the batch size given; published: 0.4 for 256 clips.")
    flags.DEFINE_float("warmup_epochs", 1.0, "Epochs over which the learning rate rises from 0.")
    flags.DEFINE_float("momentum", 0.9, "Of SGD.")
    flags.DEFINE_float("weight_decay", 3e-4, "L2, as PyTorch has it.")
    flags.DEFINE_float("clip_norm", 40.0, "Greatest norm of all gradients together.")
    flags.DEFINE_float("dropout", 0.5, "Before the classifier.")
    flags.DEFINE_float("least_area", 0.56, "Of the random crop, as a fraction of the people's box.")
    flags.DEFINE_float("rotation_degrees", 0.0, "Greatest angle by which a training clip is turned.")
    flags.DEFINE_integer("num_clips", 10, "Clips a sequence in the final test.")
    common.define_flip_flags(probability=0.5, flip_test=True)
    return sorted(set(FLAGS) - others)


def run(config):
    """Trains, tests and exports one configuration.

    Args:
        config: dict of the flags' values by name.

    Returns:
        What `<workdir>/metrics.json` holds: the figures by modality.
    """
    frames, size = volume_shape(config["variant"])
    config = config | {"num_frames": config["num_frames"] or frames, "size": config["size"] or size}
    options = {key: value for key, value in config.items() if key not in ("workdir", "data_dir", "export")}
    skeleton = skeletons.get(config["skeleton"])
    splits, class_names = load(config, skeleton)  # before a folder is taken: a flag may be mistaken
    config["flip_labels"] = common.flip_labels(class_names, config)
    workdir = common.open_workdir(config["workdir"], options)
    common.set_up(config)
    results, recognizers, probabilities = {}, {}, []
    modalities = ("joint", "limb") if config["modality"] == "both" else (config["modality"],)
    for modality in modalities:
        network = train_one(modality, splits, skeleton, class_names, config, workdir / modality)
        once, recognizers[modality] = make_recognizers(network, modality, skeleton, class_names, config)
        results[f"{modality}_one_clip"] = metrics.action_metrics(*test(once, splits["test"]))
        labels, predicted = test(recognizers[modality], splits["test"])
        results[modality] = metrics.action_metrics(labels, predicted)
        probabilities.append(predicted)
        logging.info("Test, %s: %s", modality, results[modality])
    if len(modalities) == 2:
        results["fusion"] = metrics.action_metrics(labels, np.mean(probabilities, axis=0))
        logging.info("Test, joint + limb: %s", results["fusion"])
    matrix = metrics.confusion_matrix(labels, np.mean(probabilities, axis=0).argmax(-1), len(class_names))
    pictures.save_confusion_matrix(workdir / "confusion_matrix.png", matrix, class_names)
    if config["export"]:
        # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
        path, channels = workdir / "saved_model" / "1", skeleton.num_keypoints
        export.saved_model(list(recognizers.values()), path, class_names, channels, overwrite=True)
        logging.info("Wrote %s.", path)
    common.write_whole(workdir / "metrics.json", json.dumps(results, indent=2).encode())
    return results


def load(config, skeleton):
    """Reads and checks the splits: {"train": dataset, ...}, and the names of the classes."""
    splits, skipped = {}, []
    for role in ("train", "validation", "test"):
        if not config[f"{role}_split"]:
            splits[role] = None
            continue
        splits[role], info = common.load_split(config["dataset"], config[f"{role}_split"], config["data_dir"])
        names = common.names_to_skip(config, role)
        skipped += names
        splits[role] = clips.skip(splits[role], names) if names else splits[role]
        if config["dataset_skeleton"]:
            splits[role] = clips.convert(splits[role], skeletons.get(config["dataset_skeleton"]), skeleton)
        class_names = info.features["label"].names
        count = clips.check(splits[role], skeleton, len(class_names))
        logging.info("%s: %d clips of %s, split %s.", role, count, config["dataset"], config[f"{role}_split"])
    common.refuse_strangers(config, skipped)
    splits["train"] = clips.trainable(splits["train"])
    return splits, class_names


def train_one(modality, splits, skeleton, class_names, config, folder):
    """Trains the network of one modality, or goes on where it was cut short; returns it with the best weights."""
    folder.mkdir(exist_ok=True)
    keras.utils.set_random_seed(config["seed"])
    size = (config["size"], config["size"])
    channels = skeleton.num_keypoints if modality == "joint" else skeleton.num_edges
    count = int(splits["train"].cardinality())
    steps = -(-count // config["batch_size"])
    with common.make_strategy(config["strategy"]).scope():
        network = make_network(config, len(class_names), channels)
        if config["pretrained"]:
            common.start_from(
                network,
                pathlib.Path(config["pretrained"]) / modality / "best.keras",
                "--variant, --base_filters and --skeleton",
            )
        model = make_model(network, modality, skeleton, config)
        model.compile(
            make_optimizer(config, steps),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[
                keras.metrics.SparseCategoricalAccuracy(name="top1"),
                keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5"),
                metrics.MeanClassAccuracy(len(class_names), name="mean_class"),
            ],
        )
        model.optimizer.build(model.trainable_variables)
    resume = common.Resume(folder, "val_top1" if splits["validation"] else None)
    done = resume.restore(model)
    if done < config["epochs"]:
        shared = {"batch_size": config["batch_size"], "num_frames": config["num_frames"], "size": size}
        shared["use_scores"] = config["use_scores"]
        batches = clips.training(
            splits["train"],
            skeleton,
            seed=config["seed"],
            first_step=done * steps,
            area_range=(config["least_area"], 1.0),
            short_side_px=clip_ops.whole_side(config["size"]),
            flip_probability=config["flip_probability"],
            flip_labels=config["flip_labels"],
            rotation_degrees=config["rotation_degrees"],
            **shared,
        )
        shown = clips.evaluation(splits["validation"] or splits["test"], **shared)
        callbacks = [
            pictures.ClipBoard(folder / "logs", shown, model.get_layer("volume"), skeleton, class_names),
            resume,
        ]
        model.fit(
            batches,
            epochs=config["epochs"],
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,  # the pipeline does that
            verbose=common.in_terminal(),
            validation_data=shown if splits["validation"] else None,
            callbacks=callbacks,
        )
    pictures.save_curves(folder / "curves.png", resume.history)
    return keras.models.load_model(folder / "best.keras")


def volume_shape(variant):
    """Frames and side of the volumes that a variant takes if not told otherwise."""
    cls = NETWORKS[variant]
    default = inspect.signature(cls).parameters["input_shape"].default
    return cls.VARIANTS[variant].get("input_shape", default)[:2]


def make_network(config, num_classes, channels):
    """The network of volumes that the flags ask for."""
    shape = (config["num_frames"], config["size"], config["size"], channels)
    changes = {"input_shape": shape, "dropout": config["dropout"]}
    if config["base_filters"]:
        changes["base_filters"] = config["base_filters"]
    return NETWORKS[config["variant"]].from_variant(config["variant"], num_classes, **changes)


def make_model(network, modality, skeleton, config):
    """Keypoint clips to logits: the volumes are drawn inside the model, where the accelerator is."""
    frames, height, width, _ = network.input_shape[1:]
    shape = (None, frames, skeleton.num_keypoints)
    inputs = {"keypoints": keras.Input((*shape, 2), name="keypoints"), "scores": keras.Input(shape, name="scores")}
    edges = skeleton.edges if modality == "limb" else None
    volume = HeatmapVolume(height, width, edges, config["sigma_px"], name="volume")
    model = keras.Model(inputs, network(volume(inputs)))
    model.network = network
    return model


def make_optimizer(config, steps):
    """SGD with warm-up, cosine decay to 0, clipping and L2."""
    warmup = round(config["warmup_epochs"] * steps)
    schedule = common.cosine_decay(config["learning_rate"], config["epochs"] * steps, warmup)
    return common.SGDL2(
        schedule, momentum=config["momentum"], l2=config["weight_decay"], global_clipnorm=config["clip_norm"]
    )


def make_recognizers(network, modality, skeleton, class_names, config):
    """The network as it is tested: on one clip a sequence, and on as many as the flags say, each mirrored too."""
    shared = {"size": config["test_size"]} | {key: config[key] for key in ("flip_labels", "use_scores", "sigma_px")}
    return [
        predictors.make_recognizer(network, modality, skeleton, class_names, **clips_of_test, **shared)
        for clips_of_test in (
            {"num_clips": 1, "flip_test": False},
            {"num_clips": config["num_clips"], "flip_test": config["flip_test"]},
        )
    ]


def test(recognizer, dataset):
    """Labels [B] and probabilities [B, C] of every sequence of a split."""
    answer = tf.function(lambda keypoints: recognizer(keypoints), reduce_retracing=True)
    batches = dataset.batch(1).prefetch(tf.data.AUTOTUNE)
    labels, probabilities = [], []
    bar = common.make_bar(int(dataset.cardinality()), "sequence")
    for element in batches:
        inputs = {key: element[key] for key in ("keypoints", "scores", "frame_size")}
        probabilities.append(answer(inputs)[0].numpy())
        labels.append(int(element["label"][0]))
        bar.add(1)
    return np.array(labels), np.stack(probabilities)


def main(names):
    logging.set_verbosity(logging.INFO)
    run({name: FLAGS[name].value for name in names})


if __name__ == "__main__":
    names = define_flags()
    app.run(lambda _: main(names))
