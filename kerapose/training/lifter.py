"""The lifter of 2D tracks to 3D poses (VideoPose3D), supervised or with part of the labels alone."""

import math
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import estimators, evaluation, export, losses, metrics, models, presets, visualize
from kerapose.data import service, tracks, views
from kerapose.data.order import WHOLE, Share
from kerapose.evaluation.lifting import compiled
from kerapose.training import boards, data, pictures
from kerapose.training.lift_trainer import LiftTrainer
from kerapose.training.options import Option, common_options
from kerapose.training.runs import Stage, Training
from kerapose.training.workdir import load_network, start_from
from kerapose.types import Tensor

# How people are seen anew, where view_share asks for it.
VIEWS = {"turn_degrees": 30.0, "shift_m": 0.2, "body_spread": 0.03, "bone_spread": 0.03, "limb_degrees": 12.0}

# What an option is that is not given, by recipe. "published": the paper's own, for Human3.6M; batches count predicted
# frames, each of which is followed by its mirror image. "small": puppets in minutes on two cores.
PUBLISHED = VIEWS | {
    "view_share": 0.0,
    "filter_widths": [3, 3, 3, 3, 3],
    "channels": 1024,
    "dropout": 0.25,
    "batch_size": 1024,
    "epochs": 80,
    "learning_rate": 1e-3,
    "lr_decay": 0.95,
    "norm_momentum_start": 0.1,
    "norm_momentum_end": 0.001,
    "warmup_epochs": 1,
    "validation_split": "",
}
PUBLISHED_SEMI_SUPERVISED = {
    "filter_widths": [3, 3, 3],
    "batch_size": 64,
    "epochs": 200,
    "lr_decay": 0.98,
    "warmup_epochs": 5,
}
SMALL = VIEWS | {
    "view_share": 0.0,
    "filter_widths": [3, 3, 3],
    "channels": 256,
    "dropout": 0.1,
    "batch_size": 256,
    "epochs": 12,
    "learning_rate": 1e-3,
    "lr_decay": 0.8,
    "norm_momentum_start": 0.1,
    "norm_momentum_end": 0.02,  # of so few steps
    "warmup_epochs": 1,
    "validation_split": "validation",
}
RECIPES = {
    "published": {"supervised": PUBLISHED, "semi_supervised": PUBLISHED | PUBLISHED_SEMI_SUPERVISED},
    "small": {"supervised": SMALL, "semi_supervised": SMALL},
}

OPTIONS = [
    *common_options("runs/lifter", "puppets/tracks", validation_split=None),
    Option(
        "recipe",
        str,
        None,
        "What options below are if not given; by default small for puppets/tracks, or published.",
        choices=tuple(sorted(RECIPES)),
    ),
    Option("frame_step", int, 1, "Every how manyth frame of all splits is taken.", least=1, tested=True),
    Option("causal", bool, False, "Whether the lifter sees no later frames."),
    Option("chunk_length", int, 1, "Frames of a window that are predicted together.", least=1),
    Option("flip", bool, True, "Whether every window is also trained on as its mirror image."),
    Option("flip_test", bool, True, "Whether the tests average with the mirrored track.", tested=True),
    Option("trajectory", bool, False, "Whether a second network learns where the root is, in camera space."),
    Option("pretrained", str, None, ".keras file of a trained lifter to start from."),
    Option("pretrained_trajectory", str, None, ".keras file of a trained trajectory network to start from."),
    Option("labelled_subjects", [str], [], "Subjects of the training split whose poses are known; none: all."),
    Option("labelled_share", float, 1.0, "Of each of their sequences, one run.", least=1e-6, most=1.0),
    Option("semi_supervised", bool, False, "Whether the 2D tracks without known poses are learnt from, too."),
    Option("bone_length_term", bool, True, "Whether semi_supervised compares the lengths of bones."),
    Option("distortion", bool, True, "Whether semi_supervised projects through the distortion of the lens."),
    # From here on the defaults are in RECIPES; batch_size, epochs and validation_split are among these.
    Option("filter_widths", [int], None, "Of the first layer and of each block, odd; their product is the window."),
    Option("channels", int, None, "Of every layer.", least=1),
    Option("dropout", float, None, "Share of the activations that is dropped.", least=0.0, most=1.0),
    Option("learning_rate", float, None, "Of Amsgrad Adam in the first epoch.", least=0.0),
    Option("lr_decay", float, None, "By which it is multiplied after each epoch.", least=0.0, most=1.0),
    *(
        Option(
            f"norm_momentum_{end}",
            float,
            None,
            f"Share of a batch in the running statistics of batch norm, at the {end}.",
            least=1e-9,
            most=1.0,
        )
        for end in ("start", "end")
    ),
    Option("warmup_epochs", int, None, "Before semi_supervised sets in.", least=0),
    Option("view_share", float, None, "Share of the windows in which people are seen anew.", least=0.0, most=1.0),
    Option("turn_degrees", float, None, "How far they are then turned about the vertical.", least=0.0),
    Option("shift_m", float, None, "Spread of their new place, metres.", least=0.0),
    Option("body_spread", float, None, "Spread of the logarithm of their new size.", least=0.0),
    Option("bone_spread", float, None, "Spread of the logarithm of each bone's new length.", least=0.0),
    Option("limb_degrees", float, None, "Spread of the turn of each joint.", least=0.0),
]


class Lifter(Training):
    """Trains a `TemporalLifter`, and beside it a trajectory network where one is asked for; see `Training`.

    `best.keras` and `trajectory.keras` are in the dilated form, for tracks of any length; the one that trains on single
    frames is the strided form.

    Args:
        workdir: folder of the run, which is gone on with if it is there. None: `runs/lifter`.
        **options: of `OPTIONS`, by name.

    Raises:
        NotPreparedError: if the data set is not there.
        ValueError: see `Training`.

    Example:
        >>> from kerapose import training
        >>> options = {"dataset": "puppets/tracks", "data_dir": ".", "epochs": 1, "precision": "float32"}
        >>> lifter = training.Lifter("runs/lift", filter_widths=[3, 3], channels=16, **options)
        >>> for stage in lifter.stages():
        ...     history = stage.model.fit(**stage.arguments())
        Epoch 1/1: loss ..., mpjpe_mm ..., val_mpjpe_mm ...
        >>> lifter.estimator().pose_skeleton.name  # the `TrackLifter` that a test asks
        'h36m'

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-supervised Training",
    CVPR 2019.
    """

    OPTIONS = OPTIONS
    TASK = "lifting"
    RECIPES = RECIPES
    SMALL_DATASET = "puppets/tracks"

    def recipe(self, name: str, config: dict[str, typing.Any]) -> dict[str, typing.Any]:
        return self.RECIPES[name]["semi_supervised" if config["semi_supervised"] else "supervised"]

    def resolve(self, config: dict[str, typing.Any]) -> dict[str, typing.Any]:
        config = super().resolve(config)
        if config["chunk_length"] > config["batch_size"]:
            raise ValueError(
                f"batch_size counts predicted frames and so is at least chunk_length, got {config['batch_size']} and "
                f"{config['chunk_length']}; give a larger batch_size."
            )
        if config["semi_supervised"] and not config["labelled_subjects"] and config["labelled_share"] == 1:
            raise ValueError(
                "semi_supervised learns from tracks whose poses are not known, got none; give labelled_subjects or a "
                "labelled_share less than 1."
            )
        if config["semi_supervised"] and config["warmup_epochs"] >= config["epochs"]:
            raise ValueError(
                f"warmup_epochs is less than the {config['epochs']} of epochs, got {config['warmup_epochs']}; give "
                "fewer, or leave out semi_supervised."
            )
        if config["pretrained_trajectory"] and not has_trajectory(config):
            raise ValueError("pretrained_trajectory starts a trajectory network, got none; give trajectory, too.")
        return config

    def load(self) -> None:
        self.splits = load_splits(self.config)

    def prepare(self) -> None:
        config, known = self.config, self.splits["train"]
        self.steps = tracks.steps_per_epoch(known, unlabelled=self.splits["unlabelled"], **batching(config))
        with self.strategy.scope():
            self.model, self.forms = make_model(config, known, self.steps)

    def stages(self) -> Iterator[Stage]:
        dilated = {name: network for name, (_, network) in self.forms.items()}
        validation = self.splits["validation"]
        shown = validation or self.splits["test"]
        lifter = make_lifter(dilated.values(), shown, self.config)
        lift = compiled(lifter, lifter.lift)
        yield Stage(
            self.model,
            self.workdir,
            lambda **where: make_batches(self.splits, self.config, steps=self.steps, **where),
            self.steps,
            self.config["epochs"],
            monitor="val_mpjpe_mm" if validation else None,
            least=True,
            networks=dilated,
            callbacks=[
                Schedule(self.config, [trained for trained, _ in self.forms.values()]),
                Validation(self.forms, lifter, lift, validation),
                boards.LiftBoard(self.workdir / "logs", lift, shown),
            ],
            **self.sharing(),
        )

    def estimator(self) -> estimators.TrackLifter:
        # Tested and served in float32, whatever it was trained in: a bfloat16 metre is good to 4 millimetres.
        keras.config.set_dtype_policy("float32")
        networks = [load_network(self.workdir / name, "trained") for name in self.forms]
        return make_lifter(networks, self.splits["test"], self.config)

    def evaluate(self, estimator: estimators.TrackLifter) -> dict[str, typing.Any]:
        results = evaluation.lifting_figures(estimator, self.splits["test"])
        print(table(results))
        return results

    def figures(self, results: dict[str, typing.Any], preset: presets.Preset) -> dict[str, float | None]:
        return {"MPJPE": results["mpjpe_mm"], "P-MPJPE": results["p_mpjpe_mm"]}

    def draw(self, estimator: estimators.TrackLifter) -> None:
        """Draws some frames of some tracks, and one track as a moving picture."""
        known = self.splits["test"]
        shown = pictures.some_tracks(known)
        found = np.asarray(estimator.lift(shown["keypoints_screen"]))
        picture = pictures.lifts(shown, found, known.skeleton, known.pose_skeleton)
        pictures.save_png(self.workdir / "predictions.png", picture)
        visualize.write_animation(
            self.workdir / "predictions.gif",
            pictures.SCREEN_PX * shown["keypoints_screen"][0],
            found[0],
            known.skeleton,
            known.pose_skeleton,
            truth_m=shown["poses_m"][0],
            fps=float(known.fps[known.names.index(shown["name"][0])]),
        )

    def export(self, estimator: estimators.TrackLifter, path: pathlib.Path) -> None:
        export.lifter_saved_model(estimator, path, overwrite=True)


def has_trajectory(config: dict[str, typing.Any]) -> bool:
    """Whether a second network learns where the root is; projecting a pose needs that."""
    return config["trajectory"] or config["semi_supervised"]


# ---------------------------------------- data
def load_splits(config: dict[str, typing.Any]) -> dict[str, tracks.Tracks | None]:
    """Reads the splits and checks the options about them.

    Returns:
        dict of `Tracks`: "train", "test", and "validation" and "unlabelled", which may be None.
    """
    splits, skipped = {"validation": None, "unlabelled": None}, []
    for role in data.roles(config):
        name, split = config["dataset"], config[f"{role}_split"]
        if role == "validation" and not split:
            continue
        with data.reading(role):
            names = data.names_to_skip(config, role)
            splits[role] = tracks.from_tfds(name, split, config["data_dir"], skip=names).every(config["frame_step"])
        skipped.extend(names)
    data.refuse_strangers(config, skipped)
    if "train" not in splits:
        return splits
    skeleton, pose_skeleton = splits["train"].skeleton, splits["train"].pose_skeleton
    for option in ("semi_supervised", "view_share"):
        if config[option] and skeleton.keypoints != pose_skeleton.keypoints:
            raise ValueError(
                f"{option} projects poses onto keypoints, which must be of the same set, got {skeleton.name} for poses "
                f"of {pose_skeleton.name}; leave it out for {config['dataset']}."
            )
    splits["train"], splits["unlabelled"] = labels(splits["train"], config)
    for role, found in splits.items():
        if found is not None:
            logging.info("%s: %d tracks, %d frames.", role, len(found), found.num_frames)
    return splits


def labels(known: tracks.Tracks, config: dict[str, typing.Any]) -> tuple[tracks.Tracks, tracks.Tracks | None]:
    """The tracks whose poses are learnt, and those of which the 2D alone is or None."""
    chosen = config["labelled_subjects"]
    strangers = sorted(set(chosen) - set(known.subjects))
    if strangers:
        raise ValueError(
            f"labelled_subjects are of the {', '.join(sorted(set(known.subjects)))} of {config['dataset']}, got "
            f"{strangers[0]!r}; correct the name."
        )
    others = [subject for subject in sorted(set(known.subjects)) if subject not in chosen]
    labelled = known.select(subjects=chosen) if chosen else known
    if config["labelled_share"] < 1:
        labelled = labelled.share(config["labelled_share"], config["seed"])
    if not config["semi_supervised"]:
        return labelled, None
    if chosen and not others:
        raise ValueError(
            "semi_supervised learns from the other subjects, but labelled_subjects names all; leave some out."
        )
    # As published, other subjects where subjects were named. Else the whole split, of which a part is labelled.
    return labelled, known.select(subjects=others) if chosen else known


def batching(config: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """How windows are put together, in the pipeline and in counting its steps."""
    chunk_length = config["chunk_length"]
    return {
        "batch_size": config["batch_size"] // chunk_length,
        "chunk_length": chunk_length,
        "flip": config["flip"],
    }


def make_batches(
    splits: dict[str, tracks.Tracks | None],
    config: dict[str, typing.Any],
    first_step: int,
    steps: int,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """The batches of an endless training of so many steps an epoch, from a step on, or a worker's share of them."""
    augment = None
    if config["view_share"]:
        options = {key: config[key] for key in VIEWS}
        parents = splits["train"].pose_skeleton.parents
        augment = views.random_views(parents, share=config["view_share"], **options)

    def batches(first_step):
        return tracks.training(
            splits["train"],
            math.prod(config["filter_widths"]),
            causal=config["causal"],
            seed=config["seed"],
            first_step=first_step,
            unlabelled=splits["unlabelled"],
            trajectory=has_trajectory(config),
            augment=augment,
            share=share,
            **batching(config),
        )

    warmup = config["warmup_epochs"] * steps if config["semi_supervised"] else 0
    if first_step >= warmup:
        return batches(first_step)
    labelled = service.changed(batches(first_step), labelled_alone)
    return service.until(labelled, (warmup - first_step) * share.replicas, batches(warmup))


@tf.autograph.experimental.do_not_convert
def labelled_alone(inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], ...]:
    """A batch without its unlabelled samples, which would otherwise count in the statistics of the batch norms."""
    known = inputs["labelled"] > 0
    return tf.nest.map_structure(lambda values: tf.boolean_mask(values, known), (inputs, targets))


# ---------------------------------------- networks
Forms: typing.TypeAlias = dict[str, tuple[models.TemporalLifter, models.TemporalLifter]]  # as trained, dilated


def make_model(config: dict[str, typing.Any], known: tracks.Tracks, steps: int) -> tuple[keras.Model, Forms]:
    """The networks that the options ask for, in a compiled model that trains them.

    Returns:
        The model; and by the name of the file that is left of it, each network as it is trained and in its dilated
        form, for whole tracks. Where single frames are predicted, the strided form is trained.
    """
    dilated = {"best.keras": make_network(config, known, known.pose_skeleton.num_keypoints, "pretrained")}
    if has_trajectory(config):
        dilated["trajectory.keras"] = make_network(config, known, 1, "pretrained_trajectory")
    strided = config["chunk_length"] == 1
    forms = {name: (network.as_form(strided=strided), network) for name, network in dilated.items()}
    trained = [network for network, _ in forms.values()]
    figures = {}
    if has_trajectory(config):
        terms = {key: config[key] for key in ("distortion", "bone_length_term")}
        model = LiftTrainer(*trained, known.pose_skeleton.parents, **terms)
    else:
        inputs = keras.Input(trained[0].input_shape[1:])
        model = keras.Model(inputs, trained[0](inputs))
        figures = {"loss": losses.MPJPE(), "metrics": [metrics.MeanPerJointError(name="mpjpe_mm")]}
    model.compile(make_optimizer(config, steps), **figures)
    model.optimizer.build(model.trainable_variables)
    return model, forms


def make_network(
    config: dict[str, typing.Any], known: tracks.Tracks, num_joints_out: int, pretrained: str
) -> models.TemporalLifter:
    """A lifter that the options ask for, with the weights that it starts from."""
    network = models.TemporalLifter(
        known.skeleton.num_keypoints,
        num_joints_out=num_joints_out,
        **{key: config[key] for key in ("filter_widths", "channels", "dropout", "causal")},
    )
    if config[pretrained]:
        start_from(network, config[pretrained], "filter_widths, channels and dataset")
        logging.info("Starting from %s.", config[pretrained])
    return network


def make_lifter(
    networks: Iterable[models.TemporalLifter], known: tracks.Tracks, config: dict[str, typing.Any]
) -> estimators.TrackLifter:
    """A `TrackLifter` of a network and, if there is one, a trajectory network, for the sets of some tracks."""
    network, trajectory = [*networks, None][:2]
    sets = known.skeleton, known.pose_skeleton
    return estimators.TrackLifter(network, *sets, trajectory=trajectory, flip_test=config["flip_test"])


def make_optimizer(config: dict[str, typing.Any], steps: int) -> keras.optimizers.Adam:
    """Amsgrad Adam, whose learning rate falls after each epoch."""
    rate = keras.optimizers.schedules.ExponentialDecay(
        config["learning_rate"], steps, config["lr_decay"], staircase=True
    )
    return keras.optimizers.Adam(rate, epsilon=1e-8, amsgrad=True)  # PyTorch's epsilon


def norm_momentum(config: dict[str, typing.Any], epoch: int) -> float:
    """Share of a batch in the running statistics of batch norm, in one epoch: it falls exponentially."""
    start, end = config["norm_momentum_start"], config["norm_momentum_end"]
    return start * math.exp(-epoch / config["epochs"] * math.log(start / end))


class Schedule(keras.callbacks.Callback):
    """Sets what a recipe changes from epoch to epoch: functions of the epoch alone, so that a run can be resumed.

    Args:
        config: the configuration.
        networks: in the form in which they are trained.
    """

    def __init__(self, config: dict[str, typing.Any], networks: Iterable[models.TemporalLifter]):
        super().__init__()
        self.config = config
        self.networks = list(networks)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        for network in self.networks:
            network.set_norm_momentum(1 - norm_momentum(self.config, epoch))  # Keras counts what is kept
        if self.config["semi_supervised"]:
            self.model.unsupervised_weight.assign(float(epoch >= self.config["warmup_epochs"]))


class Validation(keras.callbacks.Callback):
    """Brings the dilated networks up to date after every epoch, and adds what whole tracks of a split score with them.

    Args:
        forms: pairs of networks, as trained and dilated, by the name of the file.
        lifter: a `TrackLifter` of the dilated ones.
        lift: it, compiled.
        known: `Tracks` of the split; None: there is none.
    """

    def __init__(
        self,
        forms: Forms,
        lifter: estimators.TrackLifter,
        lift: Callable[[Tensor], Tensor],
        known: tracks.Tracks | None,
    ):
        super().__init__()
        self.forms = forms
        self.lifter = lifter
        self.lift = lift
        self.known = known

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for trained, dilated in self.forms.values():
            dilated.set_weights(trained.get_weights())
        if self.known is not None:
            figures = metrics.lifting_metrics(evaluation.lifted_tracks(self.lifter, self.known, self.lift))
            logs |= {f"val_{name}": value for name, value in figures.items() if name != "actions"}


def table(results: dict[str, typing.Any]) -> str:
    """The figures of every action as text, a line each, and last their mean over the actions, as published."""
    rows = [*results["actions"].items(), ("mean of actions", results)]
    names = list(rows[0][1])
    width = max(len(action) for action, _ in rows)
    lines = [" " * width + "".join(f"{name:>12}" for name in names)]
    for action, row in rows:
        figures = ("-" if row[name] is None else f"{row[name]:.2f}" for name in names)
        lines.append(f"{action:{width}}" + "".join(f"{figure:>12}" for figure in figures))
    return "\n".join(lines)
