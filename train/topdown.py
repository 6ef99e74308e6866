"""Trains top-down 2D pose: the image of a person in, keypoints out.

    python -m train.topdown

makes the puppets/images dataset, trains a small SimpleBaseline on it for 12 epochs and tests it: 10 to 15 minutes on
two cores, 50 % PCKh and a mean error of 15 pixels on people never seen. README.md has other commands.
"""

import inspect
import io
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import app, flags, logging

from kerapose import export, losses, metrics, models, predictors, skeletons, training, weights
from kerapose.data import coco, crops, gate, prepared
from kerapose.data.gate.images import note_bboxes
from kerapose.ops import boxes, heatmaps
from train import common, pictures

FLAGS = flags.FLAGS
MODELS = {"simple_baseline": models.SimpleBaseline, "hrnet": models.HRNet, "hourglass": models.StackedHourglass}
NORMALIZATION = {"simple_baseline": {}, "hrnet": {}, "hourglass": {"mean": [0.0] * 3, "std": [1.0] * 3}}  # {}: ImageNet

# What a flag is that is not given, by recipe and model. "published": the papers' own, for COCO and, with the hourglass,
# MPII; batch sizes are those of 4 GPUs (1 for the hourglass). "small": puppets in minutes on two cores. sigma_px goes
# with the image size of the variant that is named here, and grows with a larger one.
PUBLISHED = {
    "variant": "resnet50",
    "codec": "gaussian",
    "sigma_px": 2.0,
    "batch_size": 128,
    "epochs": 140,
    "learning_rate": 1e-3,
    "schedule": "step",
    "decay_epochs": [90, 120],
    "decay_factor": 0.1,
    "warmup_epochs": 0.0,
    "scale_factor": 0.3,
    "rotation_degrees": 40.0,
    "rotation_probability": 0.6,
    "half_body_probability": 0.0,
    "color_jitter": 0.0,
}
PUBLISHED_HRNET = {
    "variant": "w32",
    "epochs": 210,
    "decay_epochs": [170, 200],
    "scale_factor": 0.35,
    "rotation_degrees": 45.0,
    "half_body_probability": 0.3,
}
PUBLISHED_HOURGLASS = {
    "variant": "hourglass8",
    "codec": "hourglass",
    "sigma_px": 1.0,
    "batch_size": 16,
    "decay_epochs": [70],
    "decay_factor": 0.2,
    "scale_factor": 0.25,
    "rotation_degrees": 30.0,
    "rotation_probability": 1.0,
}
SMALL = {
    "variant": "resnet18_tiny",
    "codec": "dark",
    "sigma_px": 1.5,
    "batch_size": 16,
    "epochs": 12,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "decay_epochs": [],
    "decay_factor": 0.1,
    "warmup_epochs": 0.5,
    "scale_factor": 0.25,
    "rotation_degrees": 30.0,
    "rotation_probability": 0.5,
    "half_body_probability": 0.0,
    "color_jitter": 0.2,
}
RECIPES = {
    "published": {
        "simple_baseline": PUBLISHED,
        "hrnet": PUBLISHED | PUBLISHED_HRNET,
        "hourglass": PUBLISHED | PUBLISHED_HOURGLASS,
    },
    "small": {
        "simple_baseline": SMALL,
        "hrnet": SMALL | {"variant": "w16_tiny"},
        "hourglass": SMALL | {"variant": "hourglass2_small", "codec": "hourglass", "sigma_px": 1.0},
    },
}
FREE = ("workdir", "data_dir", "check", "detections", "export")  # flags that a run may be given anew
AUGMENTATION = (
    "flip_probability",
    "scale_factor",
    "rotation_degrees",
    "rotation_probability",
    "half_body_probability",
    "color_jitter",
)


def define_flags():
    """Defines the flags of this script and returns their names."""
    others = set(FLAGS)
    common.define_flags(workdir="runs/topdown", batch_size=None, epochs=None)
    flags.DEFINE_string("dataset", "puppets/images", "TFDS name of a dataset of images with people.")
    flags.DEFINE_string("train_split", "train", "Split to train on.")
    flags.DEFINE_string("validation_split", "validation", "Split that chooses the best weights; empty: the last ones.")
    flags.DEFINE_string("test_split", "test", "Split of the final figures.")
    flags.DEFINE_bool("check", True, "Whether to look at every image and person once before training begins.")
    flags.DEFINE_multi_string("skip", [], "Name of an image to leave out; may be given several times.")
    flags.DEFINE_string("detections", None, "COCO results file of a person detector, whose boxes are tested too.")
    flags.DEFINE_enum("model", "simple_baseline", sorted(MODELS), "Network.")
    flags.DEFINE_string("variant", None, "Form of the network, a key of its VARIANTS.")
    flags.DEFINE_enum(
        "recipe",
        None,
        sorted(RECIPES),
        "What flags below are if not given; by default small for puppets/images, else published.",
    )
    flags.DEFINE_string("pretrained", None, ".keras file of a trained network to start from; the last layer is new.")
    flags.DEFINE_string("backbone_weights", None, "PyTorch file of the backbone, trained on ImageNet, to start from.")
    flags.DEFINE_string("teacher", None, ".keras file of a trained network whose heatmaps are learnt too.")
    flags.DEFINE_float("alpha", 0.5, "Share of the teacher's heatmaps in the loss.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_integer("ohkm", 0, "How many of a person's joints count, the worst; 0: all.", lower_bound=0)
    flags.DEFINE_float("flip_probability", 0.5, "Of mirroring.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("box_padding", 1.25, "How many times larger than its box a crop is.", lower_bound=0.1)
    flags.DEFINE_bool("flip_test", True, "Whether the final test averages with the mirrored crops.")
    define_recipe_flags()
    return sorted(set(FLAGS) - others)


def define_recipe_flags():
    """Defines the flags whose defaults are in RECIPES; --batch_size and --epochs are among these."""
    flags.DEFINE_integer("image_height", None, "Of a crop, pixels; the variant's own if not given.", lower_bound=1)
    flags.DEFINE_integer("image_width", None, "Of a crop, pixels; the variant's own if not given.", lower_bound=1)
    flags.DEFINE_enum("codec", None, list(heatmaps.CODECS), "How keypoints become heatmaps and back.")
    flags.DEFINE_float("sigma_px", None, "Of the Gaussians, pixels of the heatmap.", lower_bound=0.1)
    flags.DEFINE_float("learning_rate", None, "Of Adam at its peak.", lower_bound=0.0)
    flags.DEFINE_enum("schedule", None, ["step", "cosine"], "How the learning rate falls.")
    flags.DEFINE_multi_integer(
        "decay_epochs", None, "Epochs done when --schedule=step falls; in proportion to --epochs."
    )
    flags.DEFINE_float("decay_factor", None, "By which it falls then.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("warmup_epochs", None, "Over which it rises from 0.", lower_bound=0.0)
    flags.DEFINE_float("scale_factor", None, "A crop is scaled by 1 - this to 1 + this.", lower_bound=0.0)
    flags.DEFINE_float("rotation_degrees", None, "Spread of the angle by which a crop is turned.", lower_bound=0.0)
    for name, what in (("rotation", "turning a crop"), ("half_body", "cropping to the upper or lower half of a body")):
        flags.DEFINE_float(f"{name}_probability", None, f"Of {what}.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("color_jitter", None, "Spread of brightness, contrast and saturation.", lower_bound=0.0)


def run(config):
    """Trains, tests and exports one configuration.

    Args:
        config: dict of the flags' values by name.

    Returns:
        What `<workdir>/metrics.json` holds.
    """
    config = resolve(config)
    splits, skeleton = common.load_images(config, crops)  # before a folder is taken: a flag may be mistaken
    detected = load_detections(config, splits["test"], skeleton)
    common.set_up(config)
    steps = -(-int(splits["train"].cardinality()) // config["batch_size"])
    model = make_model(config, skeleton.num_keypoints, steps)
    options = {key: value for key, value in config.items() if key not in FREE}
    workdir = common.open_workdir(config["workdir"], options)
    network = train(model, splits, skeleton, config, workdir, steps)
    reading = {key: config[key] for key in ("codec", "box_padding", "flip_test")}
    normalization = NORMALIZATION[config["model"]]
    estimator = predictors.make_estimator(network, skeleton, normalization=normalization, **reading)
    results = test(estimator, splits["test"], detected, skeleton, config)
    logging.info("Test: %s", {name: value for name, value in results.items() if name != "joints"})
    save_poses(workdir / "predictions.png", estimator, splits["test"], skeleton, config)
    if config["export"]:
        # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
        path = workdir / "saved_model" / "1"
        export.pose_saved_model(estimator, path, skeleton.keypoints, overwrite=True)
        logging.info("Wrote %s.", path)
    common.write_whole(workdir / "metrics.json", json.dumps(results, indent=2).encode())
    return results


def resolve(config):
    """The configuration with the recipe's values where no flag was given."""
    name = config["recipe"] or ("small" if config["dataset"] == "puppets/images" else "published")
    recipe = RECIPES[name][config["model"]]
    given = {key: value for key, value in config.items() if value is not None}
    config = config | recipe | given | {"recipe": name}
    shape = image_shape(config["model"], config["variant"])
    config |= {side: given.get(side, shape[i]) for i, side in enumerate(("image_height", "image_width"))}
    if "sigma_px" not in given:
        config["sigma_px"] *= config["image_height"] / image_shape(config["model"], recipe["variant"])[0]
    return common.set_decay_epochs(config, recipe, given)


def image_shape(model, variant):
    """The shape of the crops that a variant takes if not told otherwise."""
    cls = MODELS[model]
    if variant not in cls.VARIANTS:
        known = ", ".join(cls.VARIANTS)
        raise ValueError(f"--model={model} has the variants {known}, got {variant!r}; use one of them.")
    default = inspect.signature(cls).parameters["image_shape"].default
    return cls.VARIANTS[variant].get("image_shape", default)


def load_detections(config, people, skeleton):
    """What a detector found in the test split.

    Args:
        config: the configuration; without "detections" there is nothing to load.
        people: elements of the test split.
        skeleton: their `Skeleton`.

    Returns:
        A dataset of elements, one a box, that have a "score" and no labelled keypoint; and the ids of all the images,
        those without a box too.
    """
    if not config["detections"]:
        return None
    if skeleton.sigmas is None:
        raise ValueError(
            f"--detections are scored by similarities that need sigmas, {skeleton.name} has none; prepare the "
            "data set with --sigmas, or leave the flag out."
        )
    if not pathlib.Path(config["detections"]).is_file():
        raise ValueError(f"--detections is a JSON file, got {config['detections']}, which does not exist; correct it.")
    found = predictors.read_boxes(config["detections"])
    builder = prepared.find(config["dataset"], config["test_split"], config["data_dir"])
    records = builder.as_dataset(
        split=config["test_split"], shuffle_files=False, decoders={"image": tfds.decode.SkipDecoding()}
    )
    skipped = [name.encode() for name in config["skip"]]
    sizes = {
        int(record["image_id"]): coco.header_size(io.BytesIO(record["image"]))
        for record in records.as_numpy_iterator()
        if record["name"] not in skipped
    }
    ids = list(sizes)
    strangers = set(found) - set(ids)
    if len(strangers) == len(found):
        raise ValueError(
            f"--detections are boxes in images of the split {config['test_split']}, got none in "
            f"{config['detections']}; give the detector's results for these images."
        )
    if strangers:
        logging.warning("%s has boxes in %d images that are not tested.", config["detections"], len(strangers))
    check_units(config["detections"], found, sizes)
    signature = people.element_spec | {"score": tf.TensorSpec((), tf.float32)}
    unknown = {key: np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for key, spec in people.element_spec.items()}

    def elements():
        for record in records.as_numpy_iterator():
            image_id = int(record["image_id"])
            of_image = {key: record[key] for key in ("image", "image_id", "name")}
            for box, score in zip(*found.get(image_id, ((), ())), strict=True):
                if record["name"] not in skipped:
                    yield unknown | of_image | {"box": box, "score": score}

    return tf.data.Dataset.from_generator(elements, output_signature=signature), ids


def check_units(path, found, sizes):
    """Refuses detected boxes in 0..1, or that are corners.

    Args:
        path: of their file, for the error.
        found: what `predictors.read_boxes` gives.
        sizes: dict of image id to (height, width).
    """
    owners = [image_id for image_id, (boxes_there, _) in found.items() for _ in boxes_there if image_id in sizes]
    corners = np.concatenate([boxes_there for image_id, (boxes_there, _) in found.items() if image_id in sizes])
    bbox = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    report = gate.Report("boxes", remedy="", source=path)
    note_bboxes(report, owners, bbox, np.array([sizes[image_id] for image_id in owners]))
    report.close()


def cutting(config):
    """How crops are cut, in every pipeline."""
    return {
        "image_size": (config["image_height"], config["image_width"]),
        "box_padding": config["box_padding"],
        "normalization": NORMALIZATION[config["model"]],
    }


def make_model(config, num_joints, steps):
    """The network that the flags ask for, in a compiled model that trains it; the network is its attribute."""
    with common.make_strategy(config["strategy"]).scope():
        network = make_network(config, num_joints)
        if config["teacher"]:
            model = training.Distiller(network, common.load_network(config["teacher"], "teaching"), config["alpha"])
        else:
            inputs = keras.Input(network.input_shape[1:])
            model = keras.Model(inputs, network(inputs))
        model.network = network
        schedule = common.make_schedule(config, steps, config["decay_factor"])
        model.compile(
            keras.optimizers.Adam(schedule, epsilon=1e-8),  # PyTorch's
            make_loss(config, num_joints),
            weighted_metrics=[metrics.HeatmapPCK(published=False, name="pck")],
        )
        model.optimizer.build(model.trainable_variables)
    return model


def make_network(config, num_joints):
    """The network that the flags ask for, with the weights that it starts from."""
    cls = MODELS[config["model"]]
    shape = (config["image_height"], config["image_width"], 3)
    network = cls.from_variant(config["variant"], num_joints, image_shape=shape)
    if config["backbone_weights"]:
        weights.load_backbone(network, config["backbone_weights"])
    if config["pretrained"]:
        new = common.start_from(network, config["pretrained"], "--model and --variant")
        logging.info("Starting from %s; new: %s.", config["pretrained"], ", ".join(new) or "no layer")
    return network


def make_loss(config, num_joints):
    """The mean squared error of heatmaps, of all joints or of the worst."""
    factor = 1.0 if config["model"] == "hourglass" else 0.5  # as published
    if config["ohkm"] > num_joints:
        raise ValueError(f"--ohkm is at most the number of joints, {num_joints}, got {config['ohkm']}; give fewer.")
    return losses.JointsOHKM(config["ohkm"], factor) if config["ohkm"] else losses.JointsMSE(factor)


def train(model, splits, skeleton, config, workdir, steps):
    """Trains a model, or goes on where it was cut short; returns its network with the best weights."""
    resume = common.Resume(workdir, "val_pck" if splits["validation"] else None)
    done = resume.restore(model)
    shared = cutting(config) | {"batch_size": config["batch_size"]}
    if done < config["epochs"]:
        drawing = {"heatmap_size": model.network.output_shape[-3:-1]}
        drawing |= {key: config[key] for key in ("codec", "sigma_px")}
        batches = crops.training(
            splits["train"],
            skeleton,
            seed=config["seed"],
            first_step=done * steps,
            **{key: config[key] for key in AUGMENTATION},
            **shared,
            **drawing,
        )
        model.fit(
            batches,
            epochs=config["epochs"],
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,  # the pipeline does that
            verbose=common.in_terminal(),
            validation_data=crops.validation(splits["validation"], skeleton, **shared, **drawing)
            if splits["validation"]
            else None,
            callbacks=[make_board(splits["validation"] or splits["test"], skeleton, config, workdir), resume],
        )
    pictures.save_curves(workdir / "curves.png", resume.history)
    return keras.models.load_model(workdir / "best.keras")


def make_board(dataset, skeleton, config, workdir):
    """The callback that writes curves and pictures for TensorBoard."""
    shown = pictures.some_people(dataset, skeleton, udp=config["codec"] == "udp", **cutting(config))
    reading = {"codec": config["codec"], "normalization": NORMALIZATION[config["model"]]}
    return pictures.PoseBoard(workdir / "logs", shown, skeleton, **reading)


def save_poses(path, estimator, dataset, skeleton, config):
    """Draws the truth, what was found and the heatmaps of some people."""
    shown = pictures.some_people(dataset, skeleton, udp=config["codec"] == "udp", **cutting(config))
    maps = estimator.heatmaps(shown["crop"])
    reading = {"codec": config["codec"], "normalization": NORMALIZATION[config["model"]]}
    pictures.save_png(path, pictures.poses(shown, maps, skeleton, **reading))


def test(estimator, dataset, detected, skeleton, config):
    """The figures of the test split, as `metrics.json` holds them.

    Args:
        estimator: a `PoseEstimator`.
        dataset: of people; their own boxes are cut out.
        detected: what `load_detections` gives: their boxes are tested too.
        skeleton: the `Skeleton` of the people.
        config: the configuration.

    Returns:
        dict of figures and dicts.
    """
    people = find(estimator, crops.trainable(dataset, skeleton), skeleton, config)
    results = distances(people, skeleton)
    if common.can_measure_ap(skeleton):
        truth = crops.annotations(dataset, skeleton)  # crowds and people without keypoints, too
        results["coco"] = metrics.coco_ap(truth, as_detections(people, config), skeleton.sigmas, nms="oks")
    if detected is not None:
        boxes_found, image_ids = detected
        people = find(estimator, boxes_found, skeleton, config)
        found = as_detections(people, config)
        results["coco_detected_boxes"] = metrics.coco_ap(
            truth, found, skeleton.sigmas, nms="oks", image_ids=image_ids
        ) | {"boxes": len(people["box"])}
    return results


def find(estimator, dataset, skeleton, config):
    """All people of a dataset, as `crops.evaluation` gives them, with "found" [N, K, 2] and "found_scores" [N, K]."""
    cut = cutting(config) | {"batch_size": config["batch_size"], "udp": config["codec"] == "udp"}
    signature = [tf.TensorSpec((None, *cut["image_size"], 3)), tf.TensorSpec((None, 2, 3))]
    answer = tf.function(estimator.from_crops, input_signature=signature)
    parts = []
    bar = common.make_bar(None, "batch")
    for batch in crops.evaluation(dataset, skeleton, **cut):
        batch["found"], batch["found_scores"] = answer(batch.pop("crop"), batch.pop("matrix"))
        parts.append({key: value.numpy() for key, value in batch.items()})
        bar.add(1)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def distances(people, skeleton):
    """How far what was found is from the truth: in pixels, boxes (PCK) and, where they are known, heads (PCKh)."""
    found, truth, visible = people["found"], people["keypoints"], people["visibility"]
    sides = (people["box"][:, 2:] - people["box"][:, :2]).max(axis=-1)
    figures = {
        "pixel_error": metrics.pixel_error(found, truth, visible),
        "pck@0.2": metrics.pck(found, truth, visible, sides, threshold=0.2),
    }
    known = people["head_size"] > 0
    heads = found[known], truth[known], visible[known], people["head_size"][known]
    if known.any():
        figures["pckh@0.5"] = metrics.pck(*heads, threshold=0.5)
    results = {"people": len(found)} | {name: _number(figure["mean"]) for name, figure in figures.items()}
    if known.any() and skeleton.keypoints == skeletons.MPII.keypoints:
        results["mpii"] = {name: _number(value) for name, value in metrics.pckh(*heads).items()}
    results["joints"] = {
        joint: {"labelled": int((visible[:, k] > 0).sum())}
        | {name: _number(figure["joints"][k]) for name, figure in figures.items()}
        for k, joint in enumerate(skeleton.keypoints)
    }
    return results


def _number(value):
    """A figure for JSON, which has no NaN: None where there is none."""
    return None if np.isnan(value) else value


def as_detections(people, config):
    """What was found as `metrics.coco_ap` takes it; a box of the ground truth has the score 1."""
    ratio = config["image_width"] / config["image_height"]
    _, sizes = boxes.crop_region(people["box"], ratio, config["box_padding"])
    return {
        "image_id": people["image_id"],
        "keypoints": people["found"],
        "score": metrics.rescore(people.get("score", np.ones(len(people["box"]))), people["found_scores"]),
        "area": np.prod(sizes, axis=-1),  # of the crop: as published, for the suppression of doubles
    }


def main(names):
    logging.set_verbosity(logging.INFO)
    run({name: FLAGS[name].value for name in names})


if __name__ == "__main__":
    names = define_flags()
    app.run(lambda _: main(names))
