"""PoseConv3D: skeleton sequences in, actions out."""

import pathlib
from collections.abc import Iterator

import keras
import numpy as np
from absl import logging

from kerapose import estimators, evaluation, export, metrics, models, presets, skeletons
from kerapose.data import clips
from kerapose.ops import clips as clip_ops
from kerapose.training import boards, data, pictures
from kerapose.training.action_models import action_model, compile_for_actions
from kerapose.training.optimizers import SGDL2, cosine_decay
from kerapose.training.options import Option, common_options, flip_options
from kerapose.training.runs import Stage, Training
from kerapose.training.workdir import load_network, start_from
from kerapose.types import Path

NETWORKS = {variant: cls for cls in (models.C3D, models.SlowOnly, models.X3D) for variant in cls.VARIANTS}
MODALITIES = ("joint", "limb")
VIEW_OPTIONS = ("turn_degrees", "view_heights_m", "view_distances_m", "test_azimuths")

OPTIONS = [
    *common_options("runs/poseconv3d", "puppets", batch_size=16, epochs=26),
    Option(
        "skeleton",
        str,
        None,
        "Keypoint set of the network; the data set's own if not given.",
        choices=tuple(skeleton.name for skeleton in skeletons.ALL),
        tested=True,
    ),
    Option(
        "dataset_skeleton",
        str,
        None,
        "Keypoint set of the data set, if it is to be mapped to skeleton.",
        tested=True,
    ),
    Option(
        "pretrained",
        str,
        None,
        "Work folder of a run, or name of a preset, whose networks to start from; the classifier is new.",
    ),
    Option("variant", str, "c3d_tiny", "Network.", choices=tuple(sorted(NETWORKS))),
    Option(
        "modality",
        str,
        "joint",
        "What volumes show; both: two networks, fused.",
        choices=(*MODALITIES, "both"),
    ),
    Option("base_filters", int, None, "Width of the network; the variant's own if not given."),
    Option("num_frames", int, None, "Frames a clip; the variant's own if not given."),
    Option("size", int, None, "Height and width of a training volume, pixels; the variant's own if not given."),
    Option("test_size", int, None, "Height and width of a test volume; 8/7 of size if not given."),
    Option("sigma_px", float, 0.6, "Of the Gaussians, pixels of the volume."),
    Option("use_scores", bool, True, "Whether a keypoint is drawn as high as its score, or all with 1."),
    Option("learning_rate", float, 0.05, "Peak, for the batch size given; published: 0.4 for 256 clips."),
    Option("warmup_epochs", float, 1.0, "Epochs over which the learning rate rises from 0."),
    Option("momentum", float, 0.9, "Of SGD."),
    Option("weight_decay", float, 3e-4, "L2, as PyTorch has it."),
    Option("clip_norm", float, 40.0, "Greatest norm of all gradients together."),
    Option("dropout", float, 0.5, "Before the classifier."),
    Option("least_area", float, 0.56, "Of the random crop, as a fraction of the people's box."),
    Option("rotation_degrees", float, 0.0, "Greatest angle by which a training clip is turned."),
    Option(
        "p_interval",
        [float],
        [1.0, 1.0],
        "Least and greatest share of a sequence that a training clip is taken from.",
        least=0.0,
        most=1.0,
    ),
    Option(
        "turn_degrees",
        float,
        0.0,
        "3D skeletons: how far the camera of a training clip goes round the people, to either side.",
        least=0.0,
        most=180.0,
    ),
    Option("view_heights_m", [float], [0.0, 0.0], "3D skeletons: its least and greatest height above their centre."),
    Option("view_distances_m", [float], [3.0, 3.0], "3D skeletons: its least and greatest distance."),
    Option(
        "test_azimuths",
        [float],
        [0.0],
        "3D skeletons: where the final test sees them from, degrees counter-clockwise; answers are averaged.",
        free=True,
        tested=True,
    ),
    Option("num_clips", int, 10, "Clips a sequence in the final test.", tested=True),
    *flip_options(probability=0.5, flip_test=True),
]


class PoseConv3D(Training):
    """Trains networks of joint volumes, of limb volumes, or of both, whose answers are fused; see `Training`.

    The work folder has a folder for each modality: `joint`, `limb`.

    Args:
        workdir: folder of the run, which is gone on with if it is there. None: `runs/poseconv3d`.
        **options: of `OPTIONS`, by name.

    Raises:
        NotPreparedError: if the data set is not there.
        ValueError: see `Training`.

    Example:
        >>> from kerapose import training
        >>> where = {"dataset": "puppets/clips", "data_dir": "."}
        >>> poseconv3d = training.PoseConv3D("runs/actions", modality="both", precision="float32", **where)
        >>> poseconv3d.class_names
        ['walk', 'kick']
        >>> results = poseconv3d.run()  # doctest: +SKIP

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    OPTIONS = OPTIONS
    TASK = "skeleton actions"

    def resolve(self, config: dict) -> dict:
        frames, size, *_ = NETWORKS[config["variant"]].argument_of(config["variant"], "input_shape")
        return config | {"num_frames": config["num_frames"] or frames, "size": config["size"] or size}

    def record(self, results: dict) -> dict:
        return super().record(results) | {"clips": clips.usual(self.splits["train"])}

    def load(self) -> None:
        name = self.config["skeleton"]
        if name is None and self.config["dataset_skeleton"] is not None:
            raise ValueError("dataset_skeleton is mapped to skeleton, got none; give the keypoint set of the network.")
        skeleton = None if name is None else skeletons.get(name)
        self.splits, self.skeleton, self.class_names = data.load_clips(self.config, clips, skeleton)
        self.flip_labels = data.flip_labels(self.class_names, self.config)
        self.modalities = MODALITIES if self.config["modality"] == "both" else (self.config["modality"],)
        self.views = views_of(self.config, self.splits)
        self.tested = None  # labels [B] and probabilities [B, C] of the test split

    def stages(self) -> Iterator[Stage]:
        for modality in self.modalities:
            yield self.stage(modality)

    def stage(self, modality: str) -> Stage:
        """The training of the network of one modality."""
        config, folder = self.config, self.workdir / modality
        keras.utils.set_random_seed(config["seed"])
        steps = -(-int(self.splits["train"].cardinality()) // config["batch_size"])
        channels = self.skeleton.num_keypoints if modality == "joint" else self.skeleton.num_edges
        with self.strategy.scope():
            network = make_network(config, len(self.class_names), channels)
            if config["pretrained"]:
                start_from(network, pretrained(config, modality), "variant, base_filters and skeleton")
            model = action_model(network, self.skeleton, modality, config["sigma_px"])
            monitor = compile_for_actions(model, len(self.class_names), make_optimizer(config, steps))
        size = (config["size"], config["size"])
        reading = {name: config[name] for name in ("batch_size", "num_frames", "use_scores")} | {"size": size}
        validation = self.splits["validation"]
        shown = clips.evaluation(validation or self.splits["test"], **reading)

        def batches(**where):
            return clips.training(
                self.splits["train"],
                self.skeleton,
                **where,
                flip_labels=self.flip_labels,
                area_range=(config["least_area"], 1.0),
                short_side_px=clip_ops.whole_side(config["size"]),
                views=self.views,
                **{name: config[name] for name in ("seed", "flip_probability", "rotation_degrees", "p_interval")},
                **reading,
            )

        volume = model.get_layer("volume")
        return Stage(
            model,
            folder,
            batches,
            steps,
            config["epochs"],
            validation=shown if validation else None,
            monitor=monitor if validation else None,
            callbacks=[boards.ClipBoard(folder / "logs", shown, volume, self.skeleton, self.class_names)],
            **self.sharing(),
        )

    def estimator(self) -> estimators.ActionRecognizer:
        networks = {name: load_network(self.workdir / name / "best.keras", "trained") for name in self.modalities}
        names = ("num_clips", "flip_test", "use_scores", "sigma_px")
        options = {name: self.config[name] for name in names}
        options |= {"size": self.config["test_size"], "flip_labels": self.flip_labels}
        return estimators.ActionRecognizer(networks, self.skeleton, self.class_names, **options)

    def evaluate(self, estimator: estimators.ActionRecognizer) -> dict[str, dict[str, float]]:
        """The figures by modality: on one clip a sequence, as they are tested, and of the fusion of both."""
        results, probabilities, test = {}, [], (self.splits["test"], self.config["test_azimuths"])
        for modality, network in estimator.network.items():
            alone = estimators.ActionRecognizer(**(estimator.arguments() | {"network": {modality: network}}))
            once = alone.changed(num_clips=1, flip_test=False)
            results[f"{modality}_one_clip"] = evaluation.action_figures(once, *test)
            labels, found = evaluation.action_probabilities(alone, *test)
            results[modality] = metrics.action_metrics(labels, found)
            probabilities.append(found)
            logging.info("Test, %s: %s", modality, results[modality])
        self.tested = labels, np.mean(probabilities, axis=0)  # as the estimator of both does
        if len(probabilities) > 1:
            results["fusion"] = metrics.action_metrics(*self.tested)
            logging.info("Test, joint + limb: %s", results["fusion"])
        return results

    def refuse(self, preset: presets.Preset) -> None:
        data.refuse_other_classes(preset, self.class_names)

    def figures(self, results: dict[str, dict[str, float]], preset: presets.Preset) -> dict[str, float | None]:
        return {"top-1": results[preset.kind]["top1"], "mean class": results[preset.kind]["mean_class"]}

    def draw(self, estimator: estimators.ActionRecognizer) -> None:
        labels, probabilities = self.tested
        matrix = metrics.confusion_matrix(labels, probabilities.argmax(-1), len(self.class_names))
        pictures.save_confusion_matrix(self.workdir / "confusion_matrix.png", matrix, self.class_names)

    def export(self, estimator: estimators.ActionRecognizer, path: pathlib.Path) -> None:
        export.saved_model(estimator, path, overwrite=True)


def views_of(config: dict, splits: dict) -> clips.Views | None:
    """The views of training clips; None where the splits hold keypoints, of which no view may be asked for."""
    defaults = {option.name: option.default for option in OPTIONS}
    asked = [name for name in VIEW_OPTIONS if config[name] != defaults[name]]
    if any(clips.holds_poses(split) for split in splits.values() if split is not None):
        turn = config["turn_degrees"]
        return clips.Views((-turn, turn), config["view_heights_m"], config["view_distances_m"])
    if asked:
        raise ValueError(
            f"{asked[0]} is of 3D skeletons, got {config[asked[0]]} and the keypoints of {config['dataset']}; leave it "
            "out, or give a data set of 3D skeletons."
        )
    return None


def pretrained(config: dict, modality: str) -> Path:
    """The file or the name of the network that one of a modality starts from."""
    source = config["pretrained"]
    if not presets.is_name(source):
        return pathlib.Path(source) / modality / "best.keras"
    kind = presets.get(source).kind
    if kind != modality:
        raise ValueError(f"The preset {source} is of {kind or 'no'} volumes, got the modality {modality}; give {kind}.")
    return source


def make_network(config: dict, num_classes: int, channels: int) -> keras.Model:
    """The network of volumes that the options ask for."""
    shape = (config["num_frames"], config["size"], config["size"], channels)
    changes = {"input_shape": shape, "dropout": config["dropout"]}
    if config["base_filters"]:
        changes["base_filters"] = config["base_filters"]
    return NETWORKS[config["variant"]].from_variant(config["variant"], num_classes, **changes)


def make_optimizer(config: dict, steps: int) -> SGDL2:
    """SGD with warm-up, cosine decay to 0, clipping and L2."""
    warmup = round(config["warmup_epochs"] * steps)
    schedule = cosine_decay(config["learning_rate"], config["epochs"] * steps, warmup)
    return SGDL2(schedule, momentum=config["momentum"], l2=config["weight_decay"], global_clipnorm=config["clip_norm"])
