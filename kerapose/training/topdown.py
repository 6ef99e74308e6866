"""Training of top-down 2D pose: the image of a person in, keypoints out."""

import functools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from kerapose import estimators, evaluation, export, losses, metrics, models, presets, skeletons
from kerapose.data import crops, detections
from kerapose.ops import heatmaps
from kerapose.ops.images import PLAIN_NORMALIZATION
from kerapose.training import boards, pictures
from kerapose.training.data import load_images
from kerapose.training.optimizers import make_schedule, set_decay_epochs
from kerapose.training.options import Option, common_options
from kerapose.training.pose_models import heatmap_model
from kerapose.training.runs import Stage, Training
from kerapose.training.workdir import load_network, load_start, start_from
from kerapose.types import Path

MODELS = {"simple_baseline": models.SimpleBaseline, "hrnet": models.HRNet, "hourglass": models.StackedHourglass}
NORMALIZATION = {"simple_baseline": {}, "hrnet": {}, "hourglass": PLAIN_NORMALIZATION}  # {}: ImageNet

# What an option is that is not given, by recipe and model. "published": the papers' own, for COCO and, with the
# hourglass, MPII; batch sizes are those of 4 GPUs (1 for the hourglass). "small": puppets in minutes on two cores.
# sigma_px goes with the image size of the variant that is named here, and grows with a larger one.
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
AUGMENTATION = (
    "flip_probability",
    "scale_factor",
    "rotation_degrees",
    "rotation_probability",
    "half_body_probability",
    "color_jitter",
)
SHARE = {"least": 0.0, "most": 1.0}
OPTIONS = [
    *common_options("runs/topdown", "puppets/images"),
    Option(
        "check",
        bool,
        True,
        "Whether to look at every image and person once before training begins.",
        free=True,
        tested=True,
    ),
    Option(
        "detections", str, None, "COCO results file of a detector, whose boxes are tested too.", free=True, tested=True
    ),
    Option("model", str, "simple_baseline", "Network.", choices=tuple(sorted(MODELS))),
    Option("variant", str, None, "Form of the network, a key of its VARIANTS."),
    Option(
        "recipe",
        str,
        None,
        "What is taken for options that are not given; by default small for puppets/images, else published.",
        choices=tuple(sorted(RECIPES)),
    ),
    Option("pretrained", str, None, ".keras file of a trained network to start from; the last layer is new."),
    Option("backbone_weights", str, None, "File, or preset, of the backbone, trained on ImageNet, to start from."),
    Option("teacher", str, None, ".keras file of a trained network whose heatmaps are learnt too."),
    Option("alpha", float, 0.5, "Share of the teacher's heatmaps in the loss.", **SHARE),
    Option("ohkm", int, 0, "How many of a person's joints count, the worst; 0: all.", least=0),
    Option("flip_probability", float, 0.5, "Of mirroring.", **SHARE),
    Option("box_padding", float, 1.25, "How many times larger than its box a crop is.", least=0.1, tested=True),
    Option("flip_test", bool, True, "Whether the final test averages with the mirrored crops.", tested=True),
    # Of these, and of batch_size and epochs, the defaults are in RECIPES.
    Option("image_height", int, None, "Of a crop, pixels; the variant's own if not given.", least=1),
    Option("image_width", int, None, "Of a crop, pixels; the variant's own if not given.", least=1),
    Option("codec", str, None, "How keypoints become heatmaps and back.", choices=tuple(heatmaps.CODECS)),
    Option("sigma_px", float, None, "Of the Gaussians, pixels of the heatmap.", least=0.1),
    Option("learning_rate", float, None, "Of Adam at its peak.", least=0.0),
    Option("schedule", str, None, "How the learning rate falls.", choices=("step", "cosine")),
    Option(
        "decay_epochs",
        [int],
        None,
        "Epochs done when it falls, for the schedule step; in proportion to epochs.",
        repeated=True,
    ),
    Option("decay_factor", float, None, "By which it falls then.", **SHARE),
    Option("warmup_epochs", float, None, "Over which it rises from 0.", least=0.0),
    Option("scale_factor", float, None, "A crop is scaled by 1 - this to 1 + this.", least=0.0),
    Option("rotation_degrees", float, None, "Spread of the angle by which a crop is turned.", least=0.0),
    Option("rotation_probability", float, None, "Of turning a crop.", **SHARE),
    Option("half_body_probability", float, None, "Of cropping to the upper or lower half of a body.", **SHARE),
    Option("color_jitter", float, None, "Spread of brightness, contrast and saturation.", least=0.0),
]


class TopDown(Training):
    """Trains a network of heatmaps on crops of people, and tests it as the papers do.

    What is left is a `PoseEstimator`. `OPTIONS` says what may be chosen, `RECIPES` what is taken where nothing is.

    Args:
        workdir: folder of the run, which is gone on with if it is there.
        **options: of `OPTIONS`, by name.

    Raises:
        ValueError: see `Training`.

    Example:
        >>> from kerapose import training
        >>> where = {"dataset": "puppets/images", "data_dir": "."}
        >>> topdown = training.TopDown("runs/people", precision="float32", **where)
        >>> [topdown.config[name] for name in ("recipe", "model", "variant", "epochs")]
        ['small', 'simple_baseline', 'resnet18_tiny', 12]
        >>> topdown.run()["pck@0.2"]  # doctest: +SKIP
        0.93

    Papers: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; Sun et al., "Deep
    High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019; Newell et al., "Stacked Hourglass
    Networks for Human Pose Estimation", ECCV 2016; Zhang et al., "Fast Human Pose Estimation", CVPR 2019 (a teacher).
    """

    OPTIONS = OPTIONS
    TASK = "top-down pose"
    RECIPES = RECIPES
    SMALL_DATASET = "puppets/images"

    def recipe(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        return self.RECIPES[name][config["model"]]

    def resolve(self, config: dict[str, Any]) -> dict[str, Any]:
        config = super().resolve(config)
        recipe = self.recipe(config["recipe"], config)
        height, width, _ = image_shape(config["model"], config["variant"])
        config |= {"image_height": config["image_height"] or height, "image_width": config["image_width"] or width}
        if "sigma_px" not in self.given:
            config["sigma_px"] *= config["image_height"] / image_shape(config["model"], recipe["variant"])[0]
        return set_decay_epochs(config, recipe, self.given)

    def load(self) -> None:
        config = self.config
        self.splits, self.skeleton = load_images(config, crops)
        self.detected = None
        if config["detections"]:
            metrics.sound_sigmas(self.skeleton.sigmas, self.skeleton.num_keypoints)  # or they cannot be scored
            source = {key: config[key] for key in ("data_dir", "skip")}
            self.detected, _ = detections.from_tfds(
                config["detections"], config["dataset"], config["test_split"], **source
            )

    def prepare(self) -> None:
        config = self.config
        self.steps = -(-int(self.splits["train"].cardinality()) // config["batch_size"])
        with self.strategy.scope():
            network = make_network(config, self.skeleton.num_keypoints)
            schedule = make_schedule(config, self.steps, config["decay_factor"])
            self.model = heatmap_model(
                network,
                keras.optimizers.Adam(schedule, epsilon=1e-8),  # PyTorch's
                make_loss(config, self.skeleton.num_keypoints),
                load_network(config["teacher"], "teaching") if config["teacher"] else None,
                config["alpha"],
            )

    def stages(self) -> Iterator[Stage]:
        config = self.config
        shared = self.cutting() | {key: config[key] for key in ("batch_size", "codec", "sigma_px")}
        if config["codec"] in heatmaps.CODECS:
            shared["heatmap_size"] = self.model.network.output_shape[-3:-1]
        augmentation = {key: config[key] for key in AUGMENTATION} | {"seed": config["seed"]}
        validation = self.splits["validation"]
        yield Stage(
            self.model,
            self.workdir,
            functools.partial(crops.training, self.splits["train"], self.skeleton, **augmentation, **shared),
            self.steps,
            config["epochs"],
            crops.validation(validation, self.skeleton, **shared) if validation else None,
            "val_pck" if validation else None,
            callbacks=[self.board(validation or self.splits["test"])],
            **self.sharing(),
        )

    def board(self, people: tf.data.Dataset) -> boards.PoseBoard:
        """The callback that writes curves, and pictures of some of the people, for TensorBoard."""
        reading = {"codec": self.config["codec"], "normalization": NORMALIZATION[self.config["model"]]}
        return boards.PoseBoard(self.workdir / "logs", self.some_people(people), self.skeleton, **reading)

    def some_people(self, people: tf.data.Dataset) -> dict[str, Any]:
        """A batch to be drawn."""
        return pictures.some_people(people, self.skeleton, udp=self.config["codec"] == "udp", **self.cutting())

    def cutting(self) -> dict[str, Any]:
        """How crops are cut, in every pipeline."""
        return {
            "image_size": (self.config["image_height"], self.config["image_width"]),
            "box_padding": self.config["box_padding"],
            "normalization": NORMALIZATION[self.config["model"]],
        }

    def estimator(self) -> estimators.PoseEstimator:
        reading = {key: self.config[key] for key in ("codec", "flip_test", "box_padding")}
        network = load_network(self.workdir / "best.keras", "trained")
        normalization = NORMALIZATION[self.config["model"]]
        return estimators.PoseEstimator(network, self.skeleton, normalization=normalization, **reading)

    def evaluate(self, estimator: estimators.PoseEstimator) -> dict[str, Any]:
        results = evaluation.pose_figures(
            estimator, self.splits["test"], self.skeleton, self.detected, self.config["batch_size"]
        )
        logging.info("Test: %s", {name: value for name, value in results.items() if name != "joints"})
        return results

    def refuse(self, preset: presets.Preset) -> None:
        known = skeletons.get(preset.keypoints[0])
        if known.keypoints != self.skeleton.keypoints:
            raise ValueError(
                f"The data must have the keypoints that {preset.name} finds, got {self.skeleton.name} for "
                f"{known.name}; use another preset."
            )

    def figures(self, results: dict[str, Any], preset: presets.Preset) -> dict[str, float | None]:
        # AP of the true boxes is another figure than that of a detector's, which is published.
        coco, mpii = results.get("coco_detected_boxes") or {}, results.get("mpii") or {}
        return {"AP": coco.get("AP"), "AR": coco.get("AR"), "PCKh@0.5": mpii.get("Mean")}

    def draw(self, estimator: estimators.PoseEstimator) -> None:
        cutting = {name: getattr(estimator, name) for name in ("image_size", "box_padding", "normalization")}
        udp = estimator.codec == "udp"
        shown = pictures.some_people(self.splits["test"], self.skeleton, udp=udp, **cutting)
        answers = estimator.answers(shown["crop"])
        reading = {"codec": estimator.codec, "normalization": estimator.normalization}
        pictures.save_png(self.workdir / "predictions.png", pictures.poses(shown, answers, self.skeleton, **reading))

    def export(self, estimator: estimators.PoseEstimator, path: Path) -> None:
        export.pose_saved_model(estimator, path, overwrite=True)


def image_shape(model: str, variant: str) -> tuple[int, int, int]:
    """The shape of the crops that a variant takes if not told otherwise.

    Args:
        model: a key of `MODELS`.
        variant: a key of its `VARIANTS`.

    Raises:
        ValueError: if there is no such variant.

    Example:
        >>> from kerapose.training import topdown
        >>> topdown.image_shape("hrnet", "w32")
        (256, 192, 3)
    """
    cls = MODELS[model]
    if variant not in cls.VARIANTS:
        raise ValueError(f"{model} has the variants {', '.join(cls.VARIANTS)}, got {variant!r}; use one of them.")
    return cls.argument_of(variant, "image_shape")


def make_network(config: dict[str, Any], num_joints: int) -> keras.Model:
    """The network that a configuration asks for, with the weights that it starts from.

    Args:
        config: dict of "model", "variant", "image_height", "image_width", "backbone_weights" and "pretrained".
        num_joints: K.
    """
    shape = (config["image_height"], config["image_width"], 3)
    network = MODELS[config["model"]].from_variant(config["variant"], num_joints, image_shape=shape)
    if config["backbone_weights"]:
        load_start(network, config["backbone_weights"])
    if config["pretrained"]:
        new = start_from(network, config["pretrained"], "model and variant")
        logging.info("Starting from %s; new: %s.", config["pretrained"], ", ".join(new) or "no layer")
    return network


def make_loss(config: dict[str, Any], num_joints: int) -> keras.losses.Loss:
    """The mean squared error of heatmaps, of all joints or of the worst.

    Args:
        config: dict of "model", for the published factor, and "ohkm".
        num_joints: K.

    Raises:
        ValueError: if more joints are to count than there are.
    """
    factor = 1.0 if config["model"] == "hourglass" else 0.5  # as published
    if config["ohkm"] > num_joints:
        raise ValueError(f"ohkm is at most the number of joints, {num_joints}, got {config['ohkm']}; give fewer.")
    return losses.JointsOHKM(config["ohkm"], factor) if config["ohkm"] else losses.JointsMSE(factor)
