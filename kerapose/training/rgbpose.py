"""RGBPose-Conv3D: a video with its skeleton sequences in, an action out."""

import pathlib
from collections.abc import Iterator

import keras
from absl import logging

from kerapose import estimators, metrics, models, presets
from kerapose.training import data
from kerapose.training.options import Option
from kerapose.training.runs import Stage
from kerapose.training.videos import VideoTraining, figures_of, table, video_options
from kerapose.training.workdir import load_network
from kerapose.types import Array

SINGLE = ("rgb", "pose")
NETWORKS = {  # by what they see
    "rgbpose": {"rgb": "slowonly_rgb", "pose": "slowonly_pose_path", "both": "rgbpose"},
    "rgbpose_tiny": {"rgb": "slowonly_rgb_tiny", "pose": "slowonly_pose_path_tiny", "both": "rgbpose_tiny"},
}

# What an option is that is not given, by recipe. "published": the paper's own, for NTU60; batch sizes are those of 8
# GPUs, of 16 for the single networks. "small": puppets on two cores.
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
OF_STAGE = ("batch_size", "epochs", "learning_rate", "weight_decay")  # options that each of the networks has


def stage_options(modality: str) -> list[Option]:
    """The options of the training of a single network."""
    of = f"of the network of {modality} alone."
    return [
        Option(f"{modality}_batch_size", int, None, f"Clips a step {of}", least=1),
        Option(f"{modality}_epochs", int, None, f"Passes over the training split {of}", least=1),
        Option(f"{modality}_learning_rate", float, None, f"At its peak, {of}", least=0.0),
        Option(f"{modality}_weight_decay", float, None, f"As weight_decay, {of}", least=0.0),
    ]


OPTIONS = [
    *video_options("runs/rgbpose", NETWORKS, RECIPES),
    Option(
        "modality",
        str,
        "both",
        "What the network sees; both: first the network of each, then the joint.",
        choices=(*SINGLE, "both"),
        free=True,
    ),
    Option(
        "pretrained",
        str,
        None,
        "Work folder of a run whose rgb/best.keras and pose/best.keras the joint network starts from.",
    ),
    Option("from_scratch", bool, False, "Whether the joint network starts from random weights."),
    Option("aligned", bool, True, "Whether both pathways' frames are of one clock, or sampled each for itself."),
    *(option for modality in SINGLE for option in stage_options(modality)),
]


class RGBPose(VideoTraining):
    """Trains a network of frames, one of skeletons, and from these two the one of both; see `Training`.

    The work folder has a folder for each: `rgb`, `pose`, `both`. A training of one modality goes on in the work folder
    of another.

    Args:
        workdir: folder of the run, which is gone on with if it is there. None: `runs/rgbpose`.
        **options: of `OPTIONS`, by name.

    Raises:
        NotPreparedError: if the data set is not there.
        ValueError: see `Training`.

    Example:
        >>> from kerapose import training
        >>> where = {"dataset": "puppets/videos", "data_dir": "."}
        >>> rgbpose = training.RGBPose("runs/both", precision="float32", **where)
        >>> rgbpose.modalities
        ('rgb', 'pose', 'both')
        >>> results = rgbpose.run()  # doctest: +SKIP

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    OPTIONS = OPTIONS
    TASK = "video actions"
    RECIPES = RECIPES

    def resolve(self, config: dict) -> dict:
        config = super().resolve(config)
        config["size"] = config["size"] or clip_shapes_of(config["variant"])["rgb"][1]
        if config["pretrained"] and config["from_scratch"]:
            raise ValueError("pretrained and from_scratch exclude each other, got both; leave one out.")
        for option in ("pretrained", "from_scratch"):
            if config[option] and config["modality"] != "both":
                raise ValueError(
                    f"{option} is about the joint network, got it with the modality {config['modality']}; leave one "
                    "out."
                )
        return config

    def prepare(self) -> None:
        self.singles = {}  # what the joint network starts from
        if self.config["pretrained"]:
            folder = pathlib.Path(self.config["pretrained"])
            self.singles = {name: load_network(folder / name / "best.keras") for name in SINGLE}
            self.make_network("both")  # of weights that may not fit

    @property
    def modalities(self) -> tuple[str, ...]:
        """What is trained, in this order, or tested of a preset."""
        config = self.config
        if "preset" in config:
            return ("both",)
        alone = config["modality"] != "both" or config["pretrained"] or config["from_scratch"]
        return (config["modality"],) if alone else (*SINGLE, "both")

    def stages(self) -> Iterator[Stage]:
        for modality in self.modalities:
            stage = self.stage(
                lambda modality=modality: self.make_network(modality),
                stage_config(self.config, modality),
                self.workdir / modality,
            )
            yield stage
            if modality != self.modalities[-1]:
                self.singles[modality] = stage.best()

    def make_network(self, modality: str) -> keras.Model:
        """The network of a modality, with the weights that it starts from."""
        config, num_classes = self.config, len(self.class_names)
        variant, size = NETWORKS[config["variant"]][modality], config["size"]
        frames = {pathway: shape[0] for pathway, shape in clip_shapes_of(config["variant"]).items()}
        shapes = {
            "rgb": (frames["rgb"], size, size, 3),
            "pose": (frames["pose"], size // 4, size // 4, self.skeleton.num_keypoints),
        }
        dropout = {"dropout": config["dropout"]}
        if modality != "both":
            return models.SlowOnly.from_variant(variant, num_classes, input_shape=shapes[modality], **dropout)
        shapes = {f"{pathway}_shape": shape for pathway, shape in shapes.items()}
        network = models.RGBPoseConv3D.from_variant(variant, num_classes, **shapes, **dropout)
        if self.singles:
            network.start_from(**self.singles)
        return network

    def trained(self, modality: str) -> estimators.VideoRecognizer:
        """The recognizer of the best weights of a modality."""
        return self.recognizer(load_network(self.workdir / modality / "best.keras", "trained"))

    def estimator(self) -> estimators.VideoRecognizer:
        return self.trained(self.modalities[-1])

    def evaluate(self, estimator: estimators.VideoRecognizer) -> dict[str, dict[str, dict[str, float]]]:
        """The figures by network and condition."""
        for modality in self.modalities:
            recognizer = estimator if modality == self.modalities[-1] else self.trained(modality)
            labels, answers = self.test(modality, recognizer)
            logging.info("Test, %s: %s", modality, figures_of(labels, answers))
        results = figures(labels, {modality: answers for modality, (_, answers) in self.tested.items()})
        print(table(results))
        return results

    def refuse(self, preset: presets.Preset) -> None:
        data.refuse_other_classes(preset, self.class_names)

    def figures(self, results: dict, preset: presets.Preset) -> dict[str, float | None]:
        return {"top-1": results["both"].get("plain", {}).get("top1")}

    def draw(self, estimator: estimators.VideoRecognizer) -> None:
        for modality in self.tested:
            self.save_confusions(modality, self.workdir / modality)


def stage_config(config: dict, modality: str) -> dict:
    """The configuration of the training of one network."""
    if modality == "both":
        return config
    own = {key: config[f"{modality}_{key}"] for key in OF_STAGE}
    return config | own | {"schedule": "cosine"}  # as published


def clip_shapes_of(variant: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the clips that the pathways of a variant take if not told otherwise, {"rgb", "pose"}."""
    joint = NETWORKS[variant]["both"]
    return {name: models.RGBPoseConv3D.argument_of(joint, f"{name}_shape") for name in SINGLE}


def figures(labels: Array, answers: dict[str, dict[str, dict[str, Array]]]) -> dict[str, dict[str, dict[str, float]]]:
    """The figures by network and condition.

    Args:
        labels: [B].
        answers: by modality, what `evaluation.video_probabilities` gives.

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
