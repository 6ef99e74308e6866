"""Trains RGBPose-Conv3D: a video with its skeleton sequences in, an action out.

    python -m train.rgbpose

makes the puppets/videos dataset, trains a network of frames, one of skeletons and, from these two, the one of both, and
tests all three: in the light, in the dark, and with joints missed. That took half an hour on two cores that other work
shared, and gave 44, 90 and 92 % top-1 on performers never seen. README.md has other commands.
"""

import inspect
import pathlib

from absl import app, flags, logging

from kerapose import metrics, models
from train import common, video_clips

FLAGS = flags.FLAGS
SINGLE = ("rgb", "pose")
NETWORKS = {  # by what they see
    "rgbpose": {"rgb": "slowonly_rgb", "pose": "slowonly_pose_path", "both": "rgbpose"},
    "rgbpose_tiny": {"rgb": "slowonly_rgb_tiny", "pose": "slowonly_pose_path_tiny", "both": "rgbpose_tiny"},
}

# What a flag is that is not given, by recipe. "published": the paper's own, for NTU60; batch sizes are those of 8 GPUs,
# of 16 for the single networks. "small": puppets on two cores.
PUBLISHED = {
    "variant": "rgbpose",
    "optimizer": "sgd",
    "rgb_batch_size": 96,
    "rgb_epochs": 180,
    "rgb_learning_rate": 0.15,
    "rgb_weight_decay": 1e-4,
    "pose_batch_size": 128,
    "pose_epochs": 180,
    "pose_learning_rate": 0.2,
    "pose_weight_decay": 3e-4,
    "batch_size": 48,
    "epochs": 20,
    "learning_rate": 0.0075,
    "weight_decay": 1e-4,
    "schedule": "step",
    "decay_epochs": [12, 16],
    "warmup_epochs": 0.0,
    "dropout": 0.5,
    "sigma_px": 0.7,
    "least_area": 0.56,
    "color_jitter": 0.0,
    "keypoint_weight": 0.0,
    "missed_share": 0.0,
    "num_clips": 10,
}
SMALL = PUBLISHED | {
    "variant": "rgbpose_tiny",
    "optimizer": "adamw",
    "rgb_batch_size": 8,
    "rgb_epochs": 40,
    "rgb_learning_rate": 0.003,
    "rgb_weight_decay": 0.02,
    "pose_batch_size": 8,
    "pose_epochs": 24,
    "pose_learning_rate": 0.003,
    "pose_weight_decay": 0.02,
    "batch_size": 8,
    "epochs": 10,
    "learning_rate": 0.001,
    "weight_decay": 0.02,
    "schedule": "cosine",
    "decay_epochs": [],
    "warmup_epochs": 1.0,
    "dropout": 0.2,
    "color_jitter": 0.2,
    "keypoint_weight": 0.5,
    "num_clips": 2,
}
RECIPES = {"published": PUBLISHED, "small": SMALL}
OF_STAGE = ("batch_size", "epochs", "learning_rate", "weight_decay")  # flags that each of the networks has
FREE = (*video_clips.FREE, "modality")


def define_flags():
    """Defines the flags of this script and returns their names."""
    others = set(FLAGS)
    video_clips.define_flags("runs/rgbpose", NETWORKS, RECIPES)
    flags.DEFINE_enum(
        "modality", "both", [*SINGLE, "both"], "What the network sees; both: first the network of each, then the joint."
    )
    flags.DEFINE_string(
        "pretrained",
        None,
        "Work folder of a run whose rgb/best.keras and pose/best.keras the joint network starts from.",
    )
    flags.DEFINE_bool("from_scratch", False, "Whether the joint network starts from random weights.")
    flags.DEFINE_bool("aligned", True, "Whether both pathways' frames are of one clock, or sampled each for itself.")
    for modality in SINGLE:
        name = f"of the network of {modality} alone."
        flags.DEFINE_integer(f"{modality}_batch_size", None, f"Clips a step {name}", lower_bound=1)
        flags.DEFINE_integer(f"{modality}_epochs", None, f"Passes over the training split {name}", lower_bound=1)
        flags.DEFINE_float(f"{modality}_learning_rate", None, f"At its peak, {name}", lower_bound=0.0)
        flags.DEFINE_float(f"{modality}_weight_decay", None, f"As --weight_decay, {name}", lower_bound=0.0)
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
    singles = load_pretrained(config)
    if singles:
        make_network("both", len(class_names), skeleton.num_keypoints, singles, config)()  # of weights that may not fit
    options = {key: value for key, value in config.items() if key not in FREE}
    workdir = common.open_workdir(config["workdir"], options)
    config = config | {"flip_labels": labels_in_mirror}
    common.set_up(config)
    answers = {}
    for modality in stages(config):
        make = make_network(modality, len(class_names), skeleton.num_keypoints, singles, config)
        folder = workdir / modality
        network = video_clips.train(make, splits, skeleton, class_names, stage(config, modality), folder)
        singles[modality] = network
        recognizer = video_clips.make_recognizer(network, skeleton, class_names, config)
        labels, answers[modality] = video_clips.test(recognizer, splits["test"], config)
        logging.info("Test, %s: %s", modality, video_clips.figures(labels, answers[modality]))
        video_clips.save_confusions(folder, labels, answers[modality], class_names)
    results = figures(labels, answers)
    video_clips.finish(results, recognizer, skeleton, class_names, config, workdir)
    return results


def resolve(config):
    """The configuration with the recipe's values where no flag was given."""
    config = video_clips.resolve(config, RECIPES)
    config["size"] = config["size"] or shapes(config["variant"])["rgb"][1]
    if config["pretrained"] and config["from_scratch"]:
        raise ValueError("--pretrained and --from_scratch exclude each other, got both; leave one out.")
    for flag in ("pretrained", "from_scratch"):
        if config[flag] and config["modality"] != "both":
            raise ValueError(
                f"--{flag} is about the joint network, got it with --modality={config['modality']}; leave one out."
            )
    return config


def shapes(variant):
    """The shapes of the clips that the pathways of a variant take if not told otherwise, {"rgb", "pose"}."""
    given = models.RGBPoseConv3D.VARIANTS[NETWORKS[variant]["both"]]
    parameters = inspect.signature(models.RGBPoseConv3D).parameters
    return {m: given.get(f"{m}_shape", parameters[f"{m}_shape"].default) for m in SINGLE}


def load_pretrained(config):
    """The single networks that the joint one is to start from, {"rgb", "pose"}, if the flags name a run with such."""
    if not config["pretrained"]:
        return {}
    folder = pathlib.Path(config["pretrained"])
    return {modality: common.load_network(folder / modality / "best.keras") for modality in SINGLE}


def stages(config):
    """What is trained, in this order."""
    alone = config["modality"] != "both" or config["pretrained"] or config["from_scratch"]
    return (config["modality"],) if alone else (*SINGLE, "both")


def stage(config, modality):
    """The configuration of the training of one network."""
    if modality == "both":
        return config
    own = {key: config[f"{modality}_{key}"] for key in OF_STAGE}
    return config | own | {"schedule": "cosine"}  # as published


def make_network(modality, num_classes, num_keypoints, singles, config):
    """A function that builds the network of a modality, with the weights that it starts from."""
    frames = {pathway: shape[0] for pathway, shape in shapes(config["variant"]).items()}
    size = config["size"]
    clips = {"rgb": (frames["rgb"], size, size, 3), "pose": (frames["pose"], size // 4, size // 4, num_keypoints)}
    variant = NETWORKS[config["variant"]][modality]

    def make():
        if modality != "both":
            shape = clips[modality]
            return models.SlowOnly.from_variant(variant, num_classes, input_shape=shape, dropout=config["dropout"])
        given = {f"{pathway}_shape": shape for pathway, shape in clips.items()}
        network = models.RGBPoseConv3D.from_variant(variant, num_classes, dropout=config["dropout"], **given)
        if singles:
            network.start_from(**singles)
        return network

    return make


def figures(labels, answers):
    """The figures by network and condition.

    Args:
        labels: [B].
        answers: by modality and condition, what `video_clips.test` gives.

    Returns:
        "rgb" and "pose" are the single networks, "both" the joint one, and "both_rgb" and "both_pose" its pathways;
        "late_fusion" is the mean of what the single ones say.
    """
    answers = {modality: dict(by_condition) for modality, by_condition in answers.items()}
    if all(modality in answers for modality in SINGLE):
        rgb, pose = (answers[modality] for modality in SINGLE)
        answers["late_fusion"] = {
            condition: {"fused": (rgb[condition]["fused"] + pose[condition]["fused"]) / 2} for condition in rgb
        }
    results = {}
    for modality, by_condition in answers.items():
        for condition, heads in by_condition.items():
            for head, probabilities in heads.items():
                name = modality if head == "fused" else f"{modality}_{head}"
                results.setdefault(name, {})[condition] = metrics.action_metrics(labels, probabilities)
    return results


def main(names):
    logging.set_verbosity(logging.INFO)
    run({name: FLAGS[name].value for name in names})


if __name__ == "__main__":
    names = define_flags()
    app.run(lambda _: main(names))
