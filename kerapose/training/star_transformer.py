"""STAR-Transformer: a video with its skeleton sequences in, an action out."""

import pathlib
from collections.abc import Iterator

import keras
from absl import logging

from kerapose import estimators, models, presets
from kerapose.training import boards
from kerapose.training.options import Option
from kerapose.training.runs import Stage
from kerapose.training.videos import VideoTraining, figures_of, table, video_options
from kerapose.training.workdir import load_network, load_start, start_from

ATTENTION = {"star": ("zigzag", "binary"), "full": ("full", "full")}  # of the encoder's and of the decoder's layers

# What an option is that is not given, by recipe. "published": the paper's own, which says no more than optimizer,
# learning rate, momentum, batch size and epochs. "small": puppets on two cores, where no file of weights is at hand.
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

OPTIONS = [
    *video_options("runs/star_transformer", models.STARTransformer.VARIANTS, RECIPES),
    Option(
        "attention",
        str,
        "star",
        "star: full, zigzag and binary, as in the paper; full: full alone.",
        choices=tuple(sorted(ATTENTION)),
    ),
    Option("pretrained", str, None, ".keras file of a trained network to start from; the last layer is new."),
    Option(
        "pretrained_backbone",
        str,
        None,
        "PyTorch file of an MC3-18, trained on Kinetics, or .keras file of one of ours, to start the backbone from.",
    ),
    Option(
        "backbone_epochs",
        int,
        None,
        "Passes over the training split of an MC3 of frames alone, before; 0: none.",
        least=0,
    ),
    Option("backbone_learning_rate", float, None, "At its peak, of that MC3.", least=0.0),
]


class StarTransformer(VideoTraining):
    """Trains an MC3 of frames alone, and from there a STAR-Transformer; see `Training`.

    The files of the former lie in the folder `backbone` of the work folder, those of the latter in itself.

    Args:
        workdir: folder of the run, which is gone on with if it is there. None: `runs/star_transformer`.
        **options: of `OPTIONS`, by name.

    Raises:
        NotPreparedError: if the data set is not there.
        ValueError: see `Training`.

    Example:
        >>> from kerapose import training
        >>> where = {"dataset": "puppets/videos", "data_dir": "."}
        >>> star = training.StarTransformer("runs/star", precision="float32", **where)
        >>> star.config["recipe"]
        'small'
        >>> results = star.run()  # doctest: +SKIP

    Paper: Ahn et al., "STAR-Transformer: A Spatio-temporal Cross Attention Transformer for Human Action Recognition",
    WACV 2023.
    """

    OPTIONS = OPTIONS
    RECIPES = RECIPES

    def resolve(self, config: dict) -> dict:
        config = super().resolve(config) | {"aligned": True}  # a frame's joints are tokens of that frame
        config["size"] = config["size"] or models.STARTransformer.argument_of(config["variant"], "rgb_shape")[1]
        if config["pretrained"] and config["pretrained_backbone"]:
            raise ValueError("pretrained and pretrained_backbone exclude each other, got both; leave one out.")
        backbone = config["pretrained_backbone"]
        if backbone or config["pretrained"]:
            config["backbone_epochs"] = 0
        if backbone and presets.is_name(backbone):
            presets.get(backbone)  # refuses what is none
        elif backbone and not pathlib.Path(backbone).is_file():
            raise ValueError(f"pretrained_backbone is a file, got {backbone}, which does not exist; correct it.")
        return config

    def prepare(self) -> None:
        self.outline = self.make_network()  # of weights that may not fit

    def stages(self) -> Iterator[Stage]:
        backbone, config = None, self.config
        if config["backbone_epochs"]:
            own = {key: config[f"backbone_{key}"] for key in ("epochs", "learning_rate")}
            stage = self.stage(self.make_backbone, config | own, self.workdir / "backbone")
            yield stage
            backbone = stage.best()
        yield self.stage(lambda: self.make_network(backbone), config, self.workdir, boards.AttentionBoard)

    def make_backbone(self) -> keras.Model:
        """The MC3 of frames alone that the backbone of the network is."""
        shape = {"input_shape": self.outline.rgb_shape, "base_filters": self.outline.base_filters}
        return models.MC3ResNet18(self.outline.num_classes, **shape)

    def make_network(self, backbone: keras.Model | None = None) -> keras.Model:
        """The network that the options ask for, with the weights that it starts from."""
        config = self.config
        frames, *_ = models.STARTransformer.argument_of(config["variant"], "rgb_shape")
        network = models.STARTransformer.from_variant(
            config["variant"],
            len(self.class_names),
            rgb_shape=(frames, config["size"], config["size"], 3),
            num_joints=self.skeleton.num_keypoints,
            patterns=ATTENTION[config["attention"]],
            dropout=config["dropout"],
        )
        file = config["pretrained_backbone"]
        if backbone is not None:
            network.start_from(backbone)
        elif file and file.endswith(".keras"):
            network.start_from(load_network(file))
        elif file:
            load_start(network, file)
        if config["pretrained"]:
            new = start_from(network, config["pretrained"], "variant and attention")
            logging.info("Starting from %s; new: %s.", config["pretrained"], ", ".join(new) or "no layer")
        return network

    def estimator(self) -> estimators.VideoRecognizer:
        return self.recognizer(load_network(self.workdir / "best.keras", "trained"))

    def evaluate(self, estimator: estimators.VideoRecognizer) -> dict[str, dict[str, dict[str, float]]]:
        """The figures by network and condition: of the MC3 of frames alone, if one was trained, and of the whole."""
        recognizers = {"star": estimator}
        if self.config["backbone_epochs"]:
            backbone = load_network(self.workdir / "backbone" / "best.keras", "trained")
            recognizers = {"backbone": self.recognizer(backbone)} | recognizers
        results = {name: figures_of(*self.test(name, recognizer)) for name, recognizer in recognizers.items()}
        print(table(results))
        return results

    def draw(self, estimator: estimators.VideoRecognizer) -> None:
        self.save_confusions("star", self.workdir)
