"""Trains STAR-Transformer: a video with its skeleton sequences in, an action out.

    python -m train.star_transformer

makes the puppets/videos dataset, trains on it a small MC3 of frames alone and, from there, a small STAR-Transformer,
and tests both: in the light, in the dark, and with joints missed. That took 50 minutes on two cores that other work
shared, and gave 55 and 54 % top-1 on performers never seen. README.md has other commands.
"""

import functools
import inspect
import pathlib

from absl import app, flags, logging

from kerapose import models, weights
from train import common, pictures, video_clips

FLAGS = flags.FLAGS
ATTENTION = {"star": ("zigzag", "binary"), "full": ("full", "full")}  # of the encoder's and of the decoder's layers

# What a flag is that is not given, by recipe. "published": the paper's own, which says no more than optimizer, learning
# rate, momentum, batch size and epochs. "small": puppets on two cores, where no file of weights is at hand.
PUBLISHED = {
    "variant": "star",
    "backbone_epochs": 0,
    "backbone_learning_rate": 0.0,
    "optimizer": "sgd",
    "batch_size": 4,
    "epochs": 300,
    "learning_rate": 2e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
    "decay_epochs": [],
    "warmup_epochs": 0.0,
    "dropout": 0.1,
    "sigma_px": 0.7,
    "least_area": 0.56,
    "color_jitter": 0.0,
    "keypoint_weight": 0.0,
    "missed_share": 0.0,
    "num_clips": 10,
}
SMALL = PUBLISHED | {
    "variant": "star_tiny",
    "backbone_epochs": 30,
    "backbone_learning_rate": 3e-3,
    "optimizer": "adamw",
    "batch_size": 8,
    "epochs": 10,
    "learning_rate": 1e-3,
    "weight_decay": 0.02,
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "color_jitter": 0.2,
    "keypoint_weight": 0.5,
    "num_clips": 2,
}
RECIPES = {"published": PUBLISHED, "small": SMALL}


def define_flags():
    """Defines the flags of this script and returns their names."""
    others = set(FLAGS)
    video_clips.define_flags("runs/star_transformer", models.STARTransformer.VARIANTS, RECIPES)
    flags.DEFINE_enum(
        "attention", "star", sorted(ATTENTION), "star: full, zigzag and binary, as in the paper; full: full alone."
    )
    flags.DEFINE_string("pretrained", None, ".keras file of a trained network to start from; the last layer is new.")
    flags.DEFINE_string(
        "pretrained_backbone",
        None,
        "PyTorch file of an MC3-18, trained on Kinetics, or .keras file of one of ours, to start the backbone from.",
    )
    flags.DEFINE_integer(
        "backbone_epochs", None, "Passes over the training split of an MC3 of frames alone, before; 0: none."
    )
    flags.DEFINE_float("backbone_learning_rate", None, "At its peak, of that MC3.", lower_bound=0.0)
    return sorted(set(FLAGS) - others)


def run(config):
    """Trains, tests and exports one configuration.

    Args:
        config: dict of the flags' values by name.

    Returns:
        What `<workdir>/metrics.json` holds: the figures by network and condition.
    """
    config = resolve(config)
    splits, skeleton, class_names = video_clips.load(config)  # before a folder is taken: a flag may be mistaken
    labels_in_mirror = common.flip_labels(class_names, config)
    common.set_up(config)
    counts = len(class_names), skeleton.num_keypoints
    network = make_network(*counts, config)  # of weights that may not fit
    options = {key: value for key, value in config.items() if key not in video_clips.FREE}
    workdir = common.open_workdir(config["workdir"], options)
    config = config | {"flip_labels": labels_in_mirror}
    shared, results, backbone = (splits, skeleton, class_names), {}, None
    if config["backbone_epochs"]:
        make = functools.partial(make_backbone, network)
        backbone = video_clips.train(make, *shared, backbone_stage(config), workdir / "backbone")
        recognizer = video_clips.make_recognizer(backbone, skeleton, class_names, config)
        results["backbone"] = video_clips.figures(*video_clips.test(recognizer, splits["test"], config))
    make = functools.partial(make_network, *counts, config, backbone)
    network = video_clips.train(make, *shared, config, workdir, pictures.AttentionBoard)
    recognizer = video_clips.make_recognizer(network, skeleton, class_names, config)
    labels, answers = video_clips.test(recognizer, splits["test"], config)
    results["star"] = video_clips.figures(labels, answers)
    video_clips.save_confusions(workdir, labels, answers, class_names)
    video_clips.finish(results, recognizer, skeleton, class_names, config, workdir)
    return results


def resolve(config):
    """The configuration with the recipe's values where no flag was given."""
    config = video_clips.resolve(config | {"aligned": True}, RECIPES)  # a frame's joints are tokens of that frame
    config["size"] = config["size"] or rgb_shape(config["variant"])[1]
    if config["pretrained"] and config["pretrained_backbone"]:
        raise ValueError("--pretrained and --pretrained_backbone exclude each other, got both; leave one out.")
    backbone = config["pretrained_backbone"]
    if backbone or config["pretrained"]:
        config["backbone_epochs"] = 0
    if backbone and not pathlib.Path(backbone).is_file():
        raise ValueError(f"--pretrained_backbone is a file, got {backbone}, which does not exist; correct it.")
    return config


def rgb_shape(variant):
    """The shape of the clips that a variant takes if not told otherwise."""
    default = inspect.signature(models.STARTransformer).parameters["rgb_shape"].default
    return models.STARTransformer.VARIANTS[variant].get("rgb_shape", default)


def backbone_stage(config):
    """The configuration of the training of the backbone."""
    own = {key: config[f"backbone_{key}"] for key in ("epochs", "learning_rate")}
    return config | own


def make_backbone(network):
    """The MC3 of frames alone that the backbone of a network is."""
    shape = {"input_shape": network.rgb_shape, "base_filters": network.base_filters}
    return models.MC3ResNet18(network.num_classes, **shape)


def make_network(num_classes, num_joints, config, backbone=None):
    """The network that the flags ask for, with the weights that it starts from."""
    network = models.STARTransformer.from_variant(
        config["variant"],
        num_classes,
        rgb_shape=(rgb_shape(config["variant"])[0], config["size"], config["size"], 3),
        num_joints=num_joints,
        patterns=ATTENTION[config["attention"]],
        dropout=config["dropout"],
    )
    file = config["pretrained_backbone"]
    if backbone is not None:
        network.start_from(backbone)
    elif file and file.endswith(".keras"):
        network.start_from(common.load_network(file))
    elif file:
        weights.load_backbone(network, file)
    if config["pretrained"]:
        new = common.start_from(network, config["pretrained"], "--variant and --attention")
        logging.info("Starting from %s; new: %s.", config["pretrained"], ", ".join(new) or "no layer")
    return network


def main(names):
    logging.set_verbosity(logging.INFO)
    run({name: FLAGS[name].value for name in names})


if __name__ == "__main__":
    names = define_flags()
    app.run(lambda _: main(names))
