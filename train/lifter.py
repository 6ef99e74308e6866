"""Trains the lifting of 2D tracks to 3D poses (VideoPose3D), supervised or with part of the labels alone.

    python -m train.lifter

makes the puppets/tracks dataset, trains a small lifter of 27 frames on it and tests it: about 4 minutes on two cores,
50 mm MPJPE on people never seen. README.md has other commands.
"""

import functools
import json
import math

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from kerapose import estimators, export, losses, metrics, models, training, visualize
from kerapose.data import tracks, views
from kerapose.data.gate import mirrors
from train import common, pictures

FLAGS = flags.FLAGS

# How people are seen anew, where --view_share asks for it.
VIEWS = {"turn_degrees": 30.0, "shift_m": 0.2, "body_spread": 0.03, "bone_spread": 0.03, "limb_degrees": 12.0}

# What a flag is that is not given, by recipe. "published": the paper's own, for Human3.6M; batches count predicted
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
FREE = ("workdir", "data_dir", "export")  # flags that a run may be given anew


def define_flags():
    """Defines the flags of this script and returns their names."""
    others = set(FLAGS)
    common.define_flags(workdir="runs/lifter", batch_size=None, epochs=None)
    flags.DEFINE_string("dataset", "puppets/tracks", "TFDS name of a dataset of 2D tracks with 3D poses.")
    flags.DEFINE_string("train_split", "train", "Split to train on.")
    flags.DEFINE_string("validation_split", None, "Split that chooses the best weights; empty: the last ones.")
    flags.DEFINE_string("test_split", "test", "Split of the final figures.")
    flags.DEFINE_multi_string("skip", [], "Name of a track to leave out; may be given several times.")
    flags.DEFINE_integer("frame_step", 1, "Every how manyth frame of all splits is taken.", lower_bound=1)
    flags.DEFINE_enum(
        "recipe",
        None,
        sorted(RECIPES),
        "What flags below are if not given; by default small for puppets/tracks, else published.",
    )
    flags.DEFINE_bool("causal", False, "Whether the lifter sees no later frames.")
    flags.DEFINE_integer("chunk_length", 1, "Frames of a window that are predicted together.", lower_bound=1)
    flags.DEFINE_bool("flip", True, "Whether every window is also trained on as its mirror image.")
    flags.DEFINE_bool("flip_test", True, "Whether the tests average with the mirrored track.")
    flags.DEFINE_bool("trajectory", False, "Whether a second network learns where the root is, in camera space.")
    flags.DEFINE_string("pretrained", None, ".keras file of a trained lifter to start from.")
    flags.DEFINE_string("pretrained_trajectory", None, ".keras file of a trained trajectory network to start from.")
    flags.DEFINE_list("labelled_subjects", [], "Subjects of the training split whose poses are known; none: all.")
    flags.DEFINE_float("labelled_share", 1.0, "Of each of their sequences, one run.", lower_bound=1e-6, upper_bound=1.0)
    flags.DEFINE_bool("semi_supervised", False, "Whether the 2D tracks without known poses are learnt from, too.")
    flags.DEFINE_bool("bone_length_term", True, "Whether --semi_supervised compares the lengths of bones.")
    flags.DEFINE_bool("distortion", True, "Whether --semi_supervised projects through the distortion of the lens.")
    define_recipe_flags()
    return sorted(set(FLAGS) - others)


def define_recipe_flags():
    """Defines the flags whose defaults are in RECIPES; --batch_size, --epochs, --validation_split are among these."""
    flags.DEFINE_list("filter_widths", None, "Of the first layer and of each block; their product is the window.")
    flags.DEFINE_integer("channels", None, "Of every layer.", lower_bound=1)
    flags.DEFINE_float("dropout", None, "Share of the activations that is dropped.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("learning_rate", None, "Of Amsgrad Adam in the first epoch.", lower_bound=0.0)
    flags.DEFINE_float(
        "lr_decay", None, "By which it is multiplied after each epoch.", lower_bound=0.0, upper_bound=1.0
    )
    for end in ("start", "end"):
        flags.DEFINE_float(
            f"norm_momentum_{end}",
            None,
            f"Share of a batch in the running statistics of batch norm, at the {end}.",
            lower_bound=1e-9,
            upper_bound=1.0,
        )
    flags.DEFINE_integer("warmup_epochs", None, "Before --semi_supervised sets in.", lower_bound=0)
    flags.DEFINE_float(
        "view_share", None, "Share of the windows in which people are seen anew.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_float("turn_degrees", None, "How far they are then turned about the vertical.", lower_bound=0.0)
    flags.DEFINE_float("shift_m", None, "Spread of their new place, metres.", lower_bound=0.0)
    flags.DEFINE_float("body_spread", None, "Spread of the logarithm of their new size.", lower_bound=0.0)
    flags.DEFINE_float("bone_spread", None, "Spread of the logarithm of each bone's new length.", lower_bound=0.0)
    flags.DEFINE_float("limb_degrees", None, "Spread of the turn of each joint.", lower_bound=0.0)


def run(config):
    """Trains, tests and exports one configuration.

    Args:
        config: dict of the flags' values by name.

    Returns:
        What `<workdir>/metrics.json` holds.
    """
    config = resolve(config)
    splits = load(config)  # before a folder is taken: a flag may be mistaken
    common.set_up(config)
    steps = tracks.steps_per_epoch(splits["train"], unlabelled=splits["unlabelled"], **batching(config))
    model, forms = make_model(config, splits["train"], steps)
    workdir = common.open_workdir(config["workdir"], {key: config[key] for key in config if key not in FREE})
    lifter = train(model, forms, splits, config, workdir, steps)
    results = test(lifter, splits["test"])
    print(table(results))
    save_poses(workdir, lifter, splits["test"])
    if config["export"]:
        # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
        path = workdir / "saved_model" / "1"
        export.lifter_saved_model(lifter, path, splits["test"].pose_skeleton.keypoints, overwrite=True)
        logging.info("Wrote %s.", path)
    common.write_whole(workdir / "metrics.json", json.dumps(results, indent=2).encode())
    return results


def resolve(config):
    """The configuration with the recipe's values where no flag was given."""
    name = config["recipe"] or ("small" if config["dataset"] == "puppets/tracks" else "published")
    recipe = RECIPES[name]["semi_supervised" if config["semi_supervised"] else "supervised"]
    given = {key: value for key, value in config.items() if value is not None}
    config = config | recipe | given | {"recipe": name}
    config["filter_widths"] = _whole_numbers(config["filter_widths"])
    if config["chunk_length"] > config["batch_size"]:
        raise ValueError(
            f"--batch_size counts predicted frames and so is at least --chunk_length, got {config['batch_size']} and "
            f"{config['chunk_length']}; give a larger --batch_size."
        )
    if config["semi_supervised"] and not config["labelled_subjects"] and config["labelled_share"] == 1:
        raise ValueError(
            "--semi_supervised learns from tracks whose poses are not known, got none; give --labelled_subjects or a "
            "--labelled_share less than 1."
        )
    if config["semi_supervised"] and config["warmup_epochs"] >= config["epochs"]:
        raise ValueError(
            f"--warmup_epochs is less than the {config['epochs']} of --epochs, got {config['warmup_epochs']}; give "
            "fewer, or leave out --semi_supervised."
        )
    if config["pretrained_trajectory"] and not has_trajectory(config):
        raise ValueError("--pretrained_trajectory starts a trajectory network, got none; give --trajectory, too.")
    return config


def _whole_numbers(widths):
    try:
        return [int(width) for width in widths]
    except ValueError:
        raise ValueError(
            f"--filter_widths is a list of odd numbers, got {','.join(widths)}; give for example 3,3,3."
        ) from None


def has_trajectory(config):
    """Whether a second network learns where the root is; projecting a pose needs that."""
    return config["trajectory"] or config["semi_supervised"]


def load(config):
    """Reads the splits and checks the flags about them.

    Returns:
        dict of `Tracks`: "train", "test", and "validation" and "unlabelled", which may be None.
    """
    splits, skipped = {"validation": None, "unlabelled": None}, []

    def read(name, split, data_dir):
        names = common.names_to_skip(config, role)
        skipped.extend(names)
        return tracks.from_tfds(name, split, data_dir, skip=names)

    for role in ("train", "validation", "test"):
        name, split = config["dataset"], config[f"{role}_split"]
        if role == "validation" and not split:
            continue
        splits[role] = common.load_split(name, split, config["data_dir"], read).every(config["frame_step"])
    common.refuse_strangers(config, skipped)
    skeleton, pose_skeleton = splits["train"].skeleton, splits["train"].pose_skeleton
    for flag in ("semi_supervised", "view_share"):
        if config[flag] and skeleton.keypoints != pose_skeleton.keypoints:
            raise ValueError(
                f"--{flag} projects poses onto keypoints, which must be of the same set, got {skeleton.name} for poses "
                f"of {pose_skeleton.name}; leave it out for {config['dataset']}."
            )
    splits["train"], splits["unlabelled"] = labels(splits["train"], config)
    for role, found in splits.items():
        if found is not None:
            logging.info("%s: %d tracks, %d frames.", role, len(found), found.num_frames)
    return splits


def labels(known, config):
    """The tracks whose poses are learnt, and those of which the 2D alone is or None."""
    chosen = config["labelled_subjects"]
    strangers = sorted(set(chosen) - set(known.subjects))
    if strangers:
        raise ValueError(
            f"--labelled_subjects are of the {', '.join(sorted(set(known.subjects)))} of {config['dataset']}, got "
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
            "--semi_supervised learns from the other subjects, but --labelled_subjects names all; leave some out."
        )
    # As published, other subjects where subjects were named. Else the whole split, of which a part is labelled.
    return labelled, known.select(subjects=others) if chosen else known


def batching(config):
    """How windows are put together, in the pipeline and in counting its steps."""
    chunk_length = config["chunk_length"]
    return {
        "batch_size": config["batch_size"] // chunk_length,
        "chunk_length": chunk_length,
        "flip": config["flip"],
    }


def make_model(config, known, steps):
    """The networks that the flags ask for, in a compiled model that trains them.

    Returns:
        The model; and by the name of the file that is left of it, each network as it is trained and in its dilated
        form, for whole tracks. Where single frames are predicted, the strided form is trained.
    """
    with common.make_strategy(config["strategy"]).scope():
        dilated = {"best.keras": make_network(config, known, known.pose_skeleton.num_keypoints, "pretrained")}
        if has_trajectory(config):
            dilated["trajectory.keras"] = make_network(config, known, 1, "pretrained_trajectory")
        strided = config["chunk_length"] == 1
        forms = {name: (network.as_form(strided=strided), network) for name, network in dilated.items()}
        trained = [network for network, _ in forms.values()]
        figures = {}
        if has_trajectory(config):
            terms = {key: config[key] for key in ("distortion", "bone_length_term")}
            model = training.LiftTrainer(*trained, known.pose_skeleton.parents, **terms)
        else:
            inputs = keras.Input(trained[0].input_shape[1:])
            model = keras.Model(inputs, trained[0](inputs))
            figures = {"loss": losses.MPJPE(), "metrics": [metrics.MeanPerJointError(name="mpjpe_mm")]}
        model.compile(make_optimizer(config, steps), **figures)
        model.optimizer.build(model.trainable_variables)
    return model, forms


def make_network(config, known, num_joints_out, pretrained):
    """A lifter that the flags ask for, with the weights that it starts from."""
    network = models.TemporalLifter(
        known.skeleton.num_keypoints,
        num_joints_out=num_joints_out,
        **{key: config[key] for key in ("filter_widths", "channels", "dropout", "causal")},
    )
    if config[pretrained]:
        common.start_from(network, config[pretrained], "--filter_widths, --channels and --dataset")
        logging.info("Starting from %s.", config[pretrained])
    return network


def make_optimizer(config, steps):
    """Amsgrad Adam, whose learning rate falls after each epoch."""
    rate = keras.optimizers.schedules.ExponentialDecay(
        config["learning_rate"], steps, config["lr_decay"], staircase=True
    )
    return keras.optimizers.Adam(rate, epsilon=1e-8, amsgrad=True)  # PyTorch's epsilon


def norm_momentum(config, epoch):
    """Share of a batch in the running statistics of batch norm, in one epoch: it falls exponentially."""
    start, end = config["norm_momentum_start"], config["norm_momentum_end"]
    return start * math.exp(-epoch / config["epochs"] * math.log(start / end))


def train(model, forms, splits, config, workdir, steps):
    """Trains a model, or goes on where it was cut short; returns a `TrackLifter` with the best weights."""
    resume = common.Resume(
        workdir,
        "val_mpjpe_mm" if splits["validation"] else None,
        least=True,
        networks={name: dilated for name, (_, dilated) in forms.items()},
    )
    done = resume.restore(model)
    if done < config["epochs"]:
        shown = splits["validation"] or splits["test"]
        lifter = make_lifter([dilated for _, dilated in forms.values()], shown, config)
        lift = make_answer(lifter, lifter.lift)
        model.fit(
            make_batches(splits, config, done, steps),
            epochs=config["epochs"],
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,  # the pipeline does that
            verbose=common.in_terminal(),
            callbacks=[
                Schedule(config, [trained for trained, _ in forms.values()]),
                Validation(forms, lift, splits["validation"]),
                pictures.LiftBoard(workdir / "logs", lift, shown),
                resume,
            ],
        )
    pictures.save_curves(workdir / "curves.png", resume.history)
    # Tested and served in float32, whatever it was trained in: a bfloat16 metre is good to 4 millimetres.
    keras.config.set_dtype_policy("float32")
    return make_lifter([keras.models.load_model(workdir / name) for name in forms], splits["test"], config)


def make_batches(splits, config, done, steps):
    """The batches of an endless training, from the first step of the epoch after those that are done."""
    augment = None
    if config["view_share"]:
        options = {key: config[key] for key in VIEWS}
        parents = splits["train"].pose_skeleton.parents
        augment = views.random_views(parents, share=config["view_share"], **options)
    batches = functools.partial(
        tracks.training,
        splits["train"],
        math.prod(config["filter_widths"]),
        causal=config["causal"],
        seed=config["seed"],
        unlabelled=splits["unlabelled"],
        trajectory=has_trajectory(config),
        augment=augment,
        **batching(config),
    )
    warmup = config["warmup_epochs"] if config["semi_supervised"] else 0
    if done >= warmup:
        return batches(first_step=done * steps)
    labelled = batches(first_step=done * steps).take((warmup - done) * steps).map(labelled_alone)
    return labelled.concatenate(batches(first_step=warmup * steps)).prefetch(tf.data.AUTOTUNE)


def labelled_alone(inputs, targets):
    """A batch without its unlabelled samples, which would otherwise count in the statistics of the batch norms."""
    known = inputs["labelled"] > 0
    return tf.nest.map_structure(lambda values: tf.boolean_mask(values, known), (inputs, targets))


class Schedule(keras.callbacks.Callback):
    """Sets what a recipe changes from epoch to epoch: functions of the epoch alone, so that a run can be resumed.

    Args:
        config: the configuration.
        networks: in the form in which they are trained.
    """

    def __init__(self, config, networks):
        super().__init__()
        self.config = config
        self.networks = networks

    def on_epoch_begin(self, epoch, logs=None):
        for network in self.networks:
            network.set_norm_momentum(1 - norm_momentum(self.config, epoch))  # Keras counts what is kept
        if self.config["semi_supervised"]:
            self.model.unsupervised_weight.assign(float(epoch >= self.config["warmup_epochs"]))


class Validation(keras.callbacks.Callback):
    """Brings the dilated networks up to date after every epoch, and adds what whole tracks of a split score with them.

    Args:
        forms: pairs of networks, as trained and dilated, by the name of the file.
        lift: what `make_answer` gives for a `TrackLifter` of the dilated ones.
        known: `Tracks` of the split; None: there is none.
    """

    def __init__(self, forms, lift, known):
        super().__init__()
        self.forms = forms
        self.lift = lift
        self.known = known

    def on_epoch_end(self, epoch, logs=None):
        for trained, dilated in self.forms.values():
            dilated.set_weights(trained.get_weights())
        if self.known is not None:
            figures = metrics.lifting_metrics(lifted(self.lift, self.known))
            logs |= {f"val_{name}": value for name, value in figures.items() if name != "actions"}


def make_lifter(networks, known, config):
    """A `TrackLifter` for the keypoints and poses of some tracks."""
    network, trajectory = [*networks, None][:2]
    sets = known.skeleton, known.pose_skeleton
    flip_test = mirrors.allowed(config["flip_test"], *sets)
    return estimators.TrackLifter(
        network, *(one.flip_permutation for one in sets), trajectory=trajectory, flip_test=flip_test
    )


def make_answer(lifter, ask):
    """The function that a `TrackLifter` is asked by about whole tracks, compiled once for all lengths.

    Args:
        lifter: the `TrackLifter`.
        ask: its method: `lifter.lift`, or `lifter.follow` for the trajectory.

    Returns:
        Function from screen coordinates [B, T, K, 2] to poses [B, T, J, 3], or the way of the root [B, T, 3], metres.
    """
    screen = tf.TensorSpec((None, None, *lifter.network.input_shape[2:]))
    return tf.function(lambda keypoints: ask(keypoints), input_signature=[screen])


def lifted(lift, known):
    """Every track with the poses that were found: a list of dicts for `metrics.lifting_metrics`."""
    return [
        {
            "predicted": lift(track["keypoints_screen"][None])[0].numpy(),
            "truth": track["poses_m"],
            "action": track["action"],
            "subject": track["subject"],
            "name": track["name"],
        }
        for track in tracks.sequences(known)
    ]


def test(lifter, known):
    """The figures of the test split, as `metrics.json` holds them."""
    found = lifted(make_answer(lifter, lifter.lift), known)
    results = {"tracks": len(found), "frames": known.num_frames} | _numbers(metrics.lifting_metrics(found))
    by_subject = {}
    for track in found:
        by_subject.setdefault(track["subject"], []).append(track)
    results["subjects"] = {
        subject: {key: value for key, value in _numbers(metrics.lifting_metrics(of_one)).items() if key != "actions"}
        for subject, of_one in by_subject.items()
    }
    if lifter.trajectory is not None:
        follow = make_answer(lifter, lifter.follow)
        errors = [
            np.linalg.norm(follow(track["keypoints_screen"][None])[0] - track["trajectory_m"], axis=-1)
            for track in tracks.sequences(known)
        ]
        results["trajectory_mm"] = 1000 * float(np.concatenate(errors).mean())
    return results


def save_poses(workdir, lifter, known):
    """Draws some frames of some tracks, and one track as a moving picture."""
    shown = pictures.some_tracks(known)
    found = np.asarray(lifter.lift(shown["keypoints_screen"]))
    pictures.save_png(workdir / "predictions.png", pictures.lifts(shown, found, known.skeleton, known.pose_skeleton))
    visualize.write_animation(
        workdir / "predictions.gif",
        pictures.SCREEN_PX * shown["keypoints_screen"][0],
        found[0],
        known.skeleton,
        known.pose_skeleton,
        truth_m=shown["poses_m"][0],
        fps=float(known.fps[known.names.index(shown["name"][0])]),
    )


def _numbers(figures):
    """Figures for JSON, which has no NaN: None where there is none."""
    if isinstance(figures, dict):
        return {name: _numbers(value) for name, value in figures.items()}
    return None if np.isnan(figures) else figures


def table(results):
    """The figures of every action as text, a line each, and last their mean over the actions, as published."""
    rows = [*results["actions"].items(), ("mean of actions", results)]
    names = list(rows[0][1])
    width = max(len(action) for action, _ in rows)
    lines = [" " * width + "".join(f"{name:>12}" for name in names)]
    for action, row in rows:
        figures = ("-" if row[name] is None else f"{row[name]:.2f}" for name in names)
        lines.append(f"{action:{width}}" + "".join(f"{figure:>12}" for figure in figures))
    return "\n".join(lines)


def main(names):
    logging.set_verbosity(logging.INFO)
    run({name: FLAGS[name].value for name in names})


if __name__ == "__main__":
    names = define_flags()
    app.run(lambda _: main(names))
