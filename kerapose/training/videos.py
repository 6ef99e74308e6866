"""What the trainings of videos with skeletons share: options, splits, one network's stage, and its test."""

import pathlib
from collections.abc import Callable, Iterable

import keras

from kerapose import estimators, evaluation, export, metrics
from kerapose.data import clips, videos
from kerapose.ops import clips as clip_ops
from kerapose.training import boards, data, pictures
from kerapose.training.action_models import compile_for_actions, for_outputs, video_model
from kerapose.training.optimizers import SGDL2, make_schedule, set_decay_epochs
from kerapose.training.options import Option, common_options, flip_options
from kerapose.training.runs import Stage, Training
from kerapose.types import Array

SMALL_DATASET = "puppets/videos"


def video_options(workdir: str, variants: Iterable[str], recipes: Iterable[str]) -> list[Option]:
    """The options that all trainings of videos have.

    Args:
        workdir: default of the work folder.
        variants: names of the networks.
        recipes: names of the recipes.
    """
    return [
        *common_options(workdir, SMALL_DATASET),
        Option(
            "check",
            bool,
            True,
            "Whether to look at every video and its keypoints once before training begins.",
            free=True,
            tested=True,
        ),
        Option("variant", str, None, "Network.", choices=tuple(sorted(variants))),
        Option(
            "recipe",
            str,
            None,
            f"What options below are if not given; by default small for {SMALL_DATASET}, else published.",
            choices=tuple(sorted(recipes)),
        ),
        Option("size", int, None, "Height and width of a training clip, pixels; the variant's own if not given."),
        Option("use_scores", bool, True, "Whether a keypoint is drawn as high as its score, or all with 1."),
        *flip_options(probability=0.5, flip_test=False),
        Option("momentum", float, 0.9, "Of SGD.", least=0.0, most=1.0),
        Option("clip_norm", float, 40.0, "Greatest norm of all gradients together.", least=0.0),
        Option(
            "conditions",
            [str],
            list(evaluation.VIDEO_CONDITIONS),
            f"Of the final test, of {', '.join(evaluation.VIDEO_CONDITIONS)}.",
            choices=evaluation.VIDEO_CONDITIONS,
            free=True,
            tested=True,
        ),
        *recipe_options(),
    ]


def recipe_options() -> list[Option]:
    """The shared options whose defaults a recipe says, besides batch_size and epochs."""
    return [
        Option("num_clips", int, None, "Clips a video in the final test.", least=1, free=True, tested=True),
        Option("learning_rate", float, None, "At its peak.", least=0.0),
        Option("optimizer", str, None, "What applies the gradients.", choices=("sgd", "adamw")),
        Option("weight_decay", float, None, "L2 of SGD, as PyTorch has it, or AdamW's own.", least=0.0),
        Option("schedule", str, None, "How the learning rate falls.", choices=("constant", "step", "cosine")),
        Option(
            "decay_epochs",
            [int],
            None,
            "Epochs done when the schedule step falls to a tenth; in proportion to epochs.",
            repeated=True,
        ),
        Option("warmup_epochs", float, None, "Over which the learning rate rises from 0.", least=0.0),
        Option("dropout", float, None, "Share of activations that training drops.", least=0.0, most=1.0),
        Option("sigma_px", float, None, "Of the Gaussians, pixels of the volume.", least=0.1),
        Option(
            "least_area", float, None, "Of the random crop, as a fraction of the people's box.", least=0.01, most=1.0
        ),
        Option("color_jitter", float, None, "Spread of brightness, contrast and saturation.", least=0.0),
        Option(
            "keypoint_weight",
            float,
            None,
            "Of a loss that teaches the features of frames where the joints are; 0 in the papers, for pretrained "
            "networks.",
            least=0.0,
        ),
        Option("missed_share", float, None, "Of the keypoints, lost in training.", least=0.0, most=1.0),
    ]


class VideoTraining(Training):
    """What `RGBPose` and `StarTransformer` share; see `Training`.

    Its attributes are `splits`, {"train": elements, "validation": elements or None, "test": elements}; `skeleton`;
    `class_names`; and `flip_labels`, the class that each becomes in a mirror.
    """

    SMALL_DATASET = SMALL_DATASET

    def resolve(self, config: dict) -> dict:
        config = super().resolve(config)
        config = set_decay_epochs(config, self.RECIPES[config["recipe"]], self.given)
        if config["size"] and config["size"] % 4:
            raise ValueError(
                f"size is a multiple of 4, since heatmaps have a quarter of it, got {config['size']}; give "
                f"{config['size'] // 4 * 4 + 4}, say."
            )
        if not config["conditions"]:
            raise ValueError(f"conditions are of {', '.join(evaluation.VIDEO_CONDITIONS)}, got none; use these.")
        return config

    def load(self) -> None:
        self.splits, self.skeleton, self.class_names = data.load_clips(self.config, videos)
        self.flip_labels = data.flip_labels(self.class_names, self.config)
        self.tested = {}  # by network: labels [B] and, by condition and output, probabilities [B, C]

    def record(self, results: dict) -> dict:
        return super().record(results) | {"clips": clips.usual(self.splits["train"])}

    # ---------------------------------------- training
    def stage(
        self,
        make_network: Callable[[], keras.Model],
        config: dict,
        folder: pathlib.Path,
        board: type = boards.VideoBoard,
    ) -> Stage:
        """The training of one network.

        Args:
            make_network: function without arguments that builds it, with the weights that it starts from.
            config: of this training: its batch size, epochs, learning rate.
            folder: of its files.
            board: what writes curves and pictures for TensorBoard.
        """
        keras.utils.set_random_seed(config["seed"])
        steps = -(-int(self.splits["train"].cardinality()) // config["batch_size"])
        with self.strategy.scope():
            drawing = {name: config[name] for name in ("sigma_px", "keypoint_weight")}
            model = video_model(make_network(), self.skeleton.num_keypoints, **drawing)
            monitor = compile_for_actions(model, len(self.class_names), make_optimizer(config, steps))
        reading = clips_of(model, config)
        validation = self.splits["validation"]
        shown = videos.evaluation(validation or self.splits["test"], **reading)

        def batches(**where):
            sides = [shape[1] for shape in (model.rgb_shape, model.pose_shape) if shape]
            read = videos.training(
                self.splits["train"],
                self.skeleton,
                **where,
                flip_labels=self.flip_labels,
                area_range=(config["least_area"], 1.0),
                short_side_px=clip_ops.whole_side(max(sides)),
                **{name: config[name] for name in ("seed", "flip_probability", "color_jitter", "missed_share")},
                **reading,
            )
            return for_outputs(read, model)

        return Stage(
            model,
            folder,
            batches,
            steps,
            config["epochs"],
            validation=for_outputs(shown, model) if validation else None,
            monitor=monitor if validation else None,
            callbacks=[board(folder / "logs", shown, self.skeleton, self.class_names)],
            **self.sharing(config),
        )

    # ---------------------------------------- testing
    def recognizer(self, network: keras.Model) -> estimators.VideoRecognizer:
        """A network as it is tested and served: on clips of the people's whole box."""
        names = ("num_clips", "flip_test", "aligned", "use_scores", "sigma_px")
        options = {name: self.config[name] for name in names} | {"flip_labels": self.flip_labels}
        return estimators.VideoRecognizer(network, self.skeleton, self.class_names, **options).on_whole_box()

    def test(self, name: str, recognizer: estimators.VideoRecognizer) -> tuple[Array, dict]:
        """What `evaluation.video_probabilities` finds of the test split, kept by the name of the network."""
        how = self.config["conditions"], self.config["seed"]
        self.tested[name] = evaluation.video_probabilities(recognizer, self.splits["test"], *how)
        return self.tested[name]

    def save_confusions(self, name: str, folder: pathlib.Path) -> None:
        """Writes the confusion matrix of a network that was tested, under each condition."""
        labels, found = self.tested[name]
        for condition, answers in found.items():
            matrix = metrics.confusion_matrix(labels, answers["fused"].argmax(-1), len(self.class_names))
            pictures.save_confusion_matrix(folder / f"confusion_matrix_{condition}.png", matrix, self.class_names)

    def export(self, estimator: estimators.VideoRecognizer, path: pathlib.Path) -> None:
        export.video_saved_model(estimator, path, overwrite=True)


def make_optimizer(config: dict, steps: int) -> keras.optimizers.Optimizer:
    """SGD with momentum and L2, or Adam with decoupled weight decay; all gradients together are clipped.

    Args:
        config: dict of "optimizer", "weight_decay", "momentum", "clip_norm", and of what `make_schedule` takes.
        steps: of an epoch.
    """
    schedule, decay = make_schedule(config, steps, factor=0.1), config["weight_decay"]
    if config["optimizer"] == "adamw":
        # Without a decay no decay: Keras would trace the schedule once more for every weight.
        return keras.optimizers.Adam(schedule, weight_decay=decay or None, global_clipnorm=config["clip_norm"])
    return SGDL2(schedule, momentum=config["momentum"], l2=decay, global_clipnorm=config["clip_norm"])


def clips_of(model: keras.Model, config: dict) -> dict:
    """How clips are read for a model of `video_model`, in every pipeline.

    Keypoints that frames are taught by are those of the same frames, whatever the clocks of the two.
    """
    return {
        "batch_size": config["batch_size"],
        "rgb_shape": model.rgb_shape,
        "pose_shape": model.pose_shape,
        "aligned": config["aligned"] or model.is_taught,
        "use_scores": config["use_scores"],
    }


def figures_of(labels: Array, answers: dict[str, dict[str, Array]]) -> dict[str, dict[str, float]]:
    """The figures by condition of what `evaluation.video_probabilities` gives, those of the fusion."""
    return {condition: metrics.action_metrics(labels, heads["fused"]) for condition, heads in answers.items()}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures of every network under every condition as text, a line each."""
    rows = [(network, condition, figures) for network, by in results.items() for condition, figures in by.items()]
    names = list(rows[0][2])
    widths = [max(len(row[i]) for row in rows) + 2 for i in (0, 1)]
    lines = [" " * sum(widths) + "".join(f"{name:>12}" for name in names)]
    for network, condition, figures in rows:
        numbers = "".join(f"{100 * figures[name]:12.1f}" for name in names)
        lines.append(f"{network:{widths[0]}}{condition:{widths[1]}}{numbers}")
    return "\n".join(lines)
