"""Training of bottom-up 2D pose: an image in, the keypoints of everybody in it out."""

import functools
import shutil
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from absl import logging

from kerapose import estimators, evaluation, export, losses, models, presets, skeletons
from kerapose.data import people
from kerapose.files import whole
from kerapose.ops import grouping
from kerapose.skeletons import Skeleton
from kerapose.training import boards, pictures
from kerapose.training.data import load_images
from kerapose.training.optimizers import AdamL2, make_schedule, set_decay_epochs
from kerapose.training.options import Option, common_options
from kerapose.training.runs import Stage, Training
from kerapose.training.workdir import load_network, load_start
from kerapose.types import Path

# What an option is that is not given. "published": Lightweight OpenPose on COCO, the batch size that of one GPU; each
# phase starts from the best weights of the one before, the first from a MobileNet for ImageNet (backbone_weights).
# "small": puppets in minutes on two cores.
RECIPES = {
    "published": {
        "variant": "openpose",
        "phases": [
            {"refinements": refinements, "epochs": 280, "learning_rate": 4e-5, "decay_epochs": [100, 200, 260]}
            for refinements in (1, 1, 3)
        ],
        "batch_size": 80,
        "schedule": "step",
        "decay_factor": 0.333,
        "warmup_epochs": 0.0,
        "l2": 5e-4,
        "bias_rate": 2.0,
        "refinement_rate": 4.0,
        "image_size": 368,
        "sigma_px": 7.0,
        "smallest_scale": 0.5,
        "largest_scale": 1.1,
        "rotation_degrees": 40.0,
        "shift_px": 40.0,
        "color_jitter": 0.0,
        "test_height": 368,
    },
    "small": {
        "variant": "openpose_tiny",
        "phases": [{"refinements": 1, "epochs": 8, "learning_rate": 3e-3, "decay_epochs": []}],
        "batch_size": 8,
        "schedule": "cosine",
        "decay_factor": 0.1,
        "warmup_epochs": 0.5,
        "l2": 1e-5,
        "bias_rate": 1.0,
        "refinement_rate": 1.0,
        "image_size": 224,
        "sigma_px": 7.0,
        "smallest_scale": 0.6,
        "largest_scale": 1.4,
        "rotation_degrees": 20.0,
        "shift_px": 30.0,
        "color_jitter": 0.2,
        "test_height": 256,
    },
}
OF_PHASES = ("epochs", "learning_rate", "decay_epochs")  # options that hold for every phase
AUGMENTATION = ("flip_probability", "rotation_degrees", "shift_px", "color_jitter")
REFINEMENT = "refinement_stages_"  # the names of the layers of these stages begin so, and go on with their number
WIDTHS = ("filters", "trunk_width", "head_filters")  # of networks of one variant
OPTIONS = [
    *common_options("runs/openpose", "puppets/groups"),
    Option(
        "check",
        bool,
        True,
        "Whether to look at every image and person once before training begins.",
        free=True,
        tested=True,
    ),
    Option(
        "skeleton",
        str,
        None,
        "Keypoints to train, by the name of their set; by default openpose, which has a neck, for those of COCO, and "
        "for others the data set's own.",
    ),
    Option("variant", str, None, "Form of the network, a key of LightweightOpenPose.VARIANTS."),
    Option(
        "refinements",
        [int],
        None,
        "Refinement stages of the network; given several times, those of each phase.",
        repeated=True,
    ),
    Option(
        "recipe",
        str,
        None,
        "What is taken for options that are not given; by default small for puppets/groups, else published.",
        choices=tuple(sorted(RECIPES)),
    ),
    Option("pretrained", str, None, ".keras file of a trained network to start from; new stages are new."),
    Option("backbone_weights", str, None, "File, or preset, of a MobileNet, trained on ImageNet, to start from."),
    Option("max_people", int, 20, "Whom the final test finds in an image at most.", least=1, free=True, tested=True),
    Option("flip_probability", float, 0.5, "Of mirroring.", least=0.0, most=1.0),
    # Of these, and of batch_size and epochs, which are those of each phase, the defaults are in RECIPES.
    Option("learning_rate", float, None, "Of Adam at its peak, in each phase.", least=0.0),
    Option("schedule", str, None, "How the learning rate falls.", choices=("step", "cosine")),
    Option(
        "decay_epochs",
        [int],
        None,
        "Epochs of a phase done when it falls, for the schedule step; in proportion to epochs.",
        repeated=True,
    ),
    Option("decay_factor", float, None, "By which it falls then.", least=0.0, most=1.0),
    Option("warmup_epochs", float, None, "Over which it rises from 0.", least=0.0),
    Option("l2", float, None, "Weight decay of kernels that are not depthwise.", least=0.0),
    Option("bias_rate", float, None, "Factor of the learning rate for biases.", least=0.0),
    Option("refinement_rate", float, None, "The same for the refinement stages' kernels.", least=0.0),
    Option("image_size", int, None, "Side of the images to train on, pixels.", least=8),
    Option("sigma_px", float, None, "Of the Gaussians, pixels of the image.", least=0.1),
    Option("smallest_scale", float, None, "Of a person: 1 for 0.6 of image_size.", least=0.01),
    Option("largest_scale", float, None, "Likewise.", least=0.01),
    Option("rotation_degrees", float, None, "By which an image is turned at most.", least=0.0),
    Option("shift_px", float, None, "By which a person is off the middle at most, pixels.", least=0.0),
    Option("color_jitter", float, None, "Spread of brightness, contrast and saturation.", least=0.0),
    Option(
        "test_height", int, None, "To which test images are brought, pixels; 0: as is.", least=0, free=True, tested=True
    ),
]


class OpenPose(Training):
    """Trains a Lightweight OpenPose on images of people, in phases, and tests it as COCO does.

    Each phase begins with the best weights of the one before, may have more refinement stages, and goes on in the same
    stream of batches; its folder is `phase1`, `phase2`, ... in the work folder. What is left is a `BottomUpEstimator`.
    `OPTIONS` says what may be chosen, `RECIPES` what is taken where nothing is.

    Args:
        workdir: folder of the run, which is gone on with if it is there.
        **options: of `OPTIONS`, by name.

    Raises:
        ValueError: see `Training`.

    Example:
        >>> from kerapose import training
        >>> where = {"dataset": "puppets/groups", "data_dir": "."}
        >>> openpose = training.OpenPose("runs/groups", precision="float32", **where)
        >>> openpose.config["recipe"], openpose.config["variant"]
        ('small', 'openpose_tiny')
        >>> results = openpose.run()  # doctest: +SKIP

    Paper: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019.
    """

    OPTIONS = OPTIONS
    TASK = "bottom-up pose"
    RECIPES = RECIPES
    SMALL_DATASET = "puppets/groups"

    def resolve(self, config: dict[str, Any]) -> dict[str, Any]:
        config = super().resolve(config)
        _check(config)
        planned_phases = config["phases"]
        phases, done = [], 0
        for number, count in enumerate(config["refinements"] or [phase["refinements"] for phase in planned_phases]):
            planned = planned_phases[min(number, len(planned_phases) - 1)]
            phase = planned | {key: config[key] for key in OF_PHASES if key in self.given}
            phase = set_decay_epochs(phase, planned, self.given)  # in proportion to the epochs of the phase
            phases.append(phase | {"refinements": count, "epochs_before": done})
            done += phases[-1]["epochs"]
        return config | {"phases": phases}

    def load(self) -> None:
        self.splits, self.skeleton = load_images(self.config, people)
        self.target = choose_skeleton(self.config["skeleton"], self.skeleton)

    def prepare(self) -> None:
        self.make_estimator(make_network(self.config, self.target, self.config["phases"][0]["refinements"]))

    def stages(self) -> Iterator[Stage]:
        config, start = self.config, None
        batches, steps, validation, shown = self.data()
        for number, phase in enumerate(config["phases"]):
            keras.utils.set_random_seed(config["seed"] + number)  # new weights do not depend on what was done before
            with self.strategy.scope():
                model = make_model(config, self.target, phase, start, steps)
            folder = self.workdir / f"phase{number + 1}"
            stage = Stage(
                model,
                folder,
                functools.partial(_go_on, batches, phase["epochs_before"] * steps),
                steps,
                phase["epochs"],
                validation,
                "val_loss" if validation else None,
                least=True,
                callbacks=[boards.FieldBoard(folder / "logs", shown, self.target)],
                **self.sharing(),
            )
            if not stage.is_done:
                logging.info("Phase %d of %d: %s.", number + 1, len(config["phases"]), phase)
            yield stage
            start = stage.best()
        if self.workers.is_chief:
            with whole(self.workdir / "best.keras") as part:
                shutil.copyfile(folder / "best.keras", part)

    def data(self) -> tuple[typing.Any, ...]:
        """What all phases are trained with.

        Returns:
            A function of the number of steps done that gives the batches from there on, the steps of an epoch, the
            batches of validation or None, and a batch to draw.
        """
        config, splits = self.config, self.splits
        size = config["image_size"]
        shared = {"target": self.target, "image_size": (size, size)}
        shared |= {key: config[key] for key in ("batch_size", "sigma_px")}
        augmentation = {key: config[key] for key in AUGMENTATION}
        augmentation |= {"scale_range": (config["smallest_scale"], config["largest_scale"]), "seed": config["seed"]}
        return (
            functools.partial(people.training, splits["train"], self.skeleton, **augmentation, **shared),
            -(-int(splits["train"].cardinality()) // config["batch_size"]),
            people.validation(splits["validation"], self.skeleton, **shared) if splits["validation"] else None,
            pictures.some_fields(splits["validation"] or splits["test"], self.skeleton, **shared),
        )

    def make_estimator(self, network: keras.Model) -> estimators.BottomUpEstimator:
        """All that is around a network when it is tested and exported."""
        return estimators.BottomUpEstimator(network, self.target, **self.bounds())

    def bounds(self) -> dict[str, int | None]:
        """To which height images are brought, and how many people are found."""
        return {"height": self.config["test_height"] or None, "max_people": self.config["max_people"]}

    def estimator(self) -> estimators.BottomUpEstimator:
        return self.make_estimator(load_network(self.workdir / "best.keras", "trained"))

    def evaluate(self, estimator: estimators.BottomUpEstimator) -> dict[str, Any]:
        results = evaluation.people_figures(estimator, self.splits["test"], self.skeleton)
        logging.info("Test: %s", results)
        return results

    def published(self, name: str) -> estimators.BottomUpEstimator:
        return super().published(name).changed(**self.bounds())

    def figures(self, results: dict[str, Any], preset: presets.Preset) -> dict[str, float | None]:
        return {"AP": (results.get("coco") or {}).get("AP")}

    def draw(self, estimator: estimators.BottomUpEstimator) -> None:
        shown = pictures.some_images(self.splits["test"])
        drawn = pictures.people_found(shown, estimator, self.target, self.skeleton)
        pictures.save_png(self.workdir / "predictions.png", drawn)

    def export(self, estimator: estimators.BottomUpEstimator, path: Path) -> None:
        export.people_saved_model(estimator, path, overwrite=True)


def fields_model(
    network: keras.Model, image_size: tuple[int, int], optimizer: keras.optimizers.Optimizer
) -> keras.Model:
    """A network of fields in a compiled model that trains all its stages together, by `losses.FieldsL2`.

    Args:
        network: to be trained, of one's own, too: images [B, H, W, 3] -> [heatmaps, PAFs, heatmaps, PAFs, ...], stage
            by stage, [B, h, w, K + 1] and [B, h, w, 2 * E].
        image_size: (height, width) of the images to train on, pixels.
        optimizer: a Keras optimizer; `AdamL2` with `weight_groups` as published.

    Returns:
        A compiled model, for batches of `data.people`, that gives the stages as one tensor,
        [B, S, h, w, K + 1 + 2 * E]; its attribute `network` is the network, which is what to keep.

    Example:
        >>> from kerapose import models, skeletons, training
        >>> target = skeletons.OPENPOSE
        >>> network = models.LightweightOpenPose.from_variant("openpose_tiny")
        >>> optimizer = training.AdamL2(4e-5, epsilon=1e-8, **training.weight_groups(network.trainable_weights))
        >>> model = training.fields_model(network, (64, 64), optimizer)
        >>> model.output_shape, target.num_keypoints + 1 + 2 * target.num_edges  # [B, S, h, w, K + 1 + 2 * E]
        ((None, 2, 8, 8, 57), 57)
    """
    inputs = keras.Input((*image_size, 3))
    fields = network(inputs)
    stages = [keras.ops.concatenate(pair, axis=-1) for pair in zip(fields[::2], fields[1::2], strict=True)]
    model = keras.Model(inputs, keras.ops.stack(stages, axis=1))
    model.network = network
    model.compile(optimizer, losses.FieldsL2())
    model.optimizer.build(model.trainable_variables)
    return model


def weight_groups(
    variables: Iterable[keras.Variable], l2: float = 5e-4, bias_rate: float = 2.0, refinement_rate: float = 4.0
) -> dict[str, dict[str, float]]:
    """Which weights decay, and how fast each learns, as published, by their names.

    Kernels decay, depthwise ones and all other weights do not. Biases learn `bias_rate` times as fast, those that shift
    a batch norm too; kernels of refinement stages `refinement_rate` times, and their biases both. Scale and shift of
    batch norms learn the same everywhere, and so do depthwise kernels.

    Args:
        variables: of a LightweightOpenPose, to be trained.
        l2: weight decay of kernels.
        bias_rate: see above.
        refinement_rate: see above.

    Returns:
        {"l2": {path of a variable: its weight decay}, "rates": {path: factor of the learning rate}}, the arguments of
        `AdamL2`.

    Example:
        >>> from kerapose import models, training
        >>> network = models.LightweightOpenPose.from_variant("openpose_tiny")
        >>> groups = training.weight_groups(network.trainable_weights)
        >>> sorted(groups), sorted(set(groups["rates"].values()))  # how many times the learning rate
        (['l2', 'rates'], [1.0, 2.0, 4.0, 8.0])

    Paper: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019; its published
    code.
    """
    decays, rates = {}, {}
    for variable in variables:
        layer, _, name = variable.path.rpartition("/")
        refinement = refinement_rate if layer.startswith(REFINEMENT) else 1.0
        if name == "kernel" and not layer.endswith("_depthwise"):
            decays[variable.path] = l2
            rates[variable.path] = refinement
        if name == "bias":
            rates[variable.path] = bias_rate * refinement
        if name == "beta":
            rates[variable.path] = bias_rate
    return {"l2": decays, "rates": rates}


def choose_skeleton(name: str | None, skeleton: Skeleton) -> Skeleton:
    """The skeleton to train: the one of that name, or by default OpenPose's for COCO's keypoints, else the data set's.

    Args:
        name: of a set of keypoints. None: not given.
        skeleton: of the data set.

    Raises:
        ValueError: if there is no such set, its keypoints do not follow from those of the data set, or its limbs do not
            join them.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.training import openpose
        >>> openpose.choose_skeleton(None, skeletons.COCO).name
        'openpose'
    """
    if name is None:
        target = skeletons.OPENPOSE if skeleton.keypoints == skeletons.COCO.keypoints else skeleton
    else:
        target = skeleton if name == skeleton.name else skeletons.get(name)
    lacking = _underivable(skeleton, target)
    if lacking:
        raise ValueError(
            f"The keypoints of the skeleton to train follow from those of the data set, {', '.join(lacking)} of "
            f"{target.name} cannot be had from {skeleton.name}; name another, or leave the option out."
        )
    grouping.limb_tree(target.edges, target.num_keypoints)  # refuses limbs that make no person
    lost = _underivable(target, skeleton)
    if lost:
        logging.warning("%s has no %s: the test counts them as not found.", target.name, ", ".join(lost))
    return target


def make_network(
    config: dict[str, Any], target: Skeleton, refinements: int, start: keras.Model | None = None
) -> keras.Model:
    """A network with the weights that it starts from: those of another, else what the options say of the first phase.

    Args:
        config: dict of "variant", "recipe", "backbone_weights" and "pretrained".
        target: the `Skeleton` to train.
        refinements: stages of the network.
        start: the trained network of the phase before. None: there is none.

    Raises:
        ValueError: if a file to start from is not there, or holds another kind of network.
    """
    outputs = {"num_heatmaps": target.num_keypoints + 1, "num_pafs": 2 * target.num_edges}
    network = models.LightweightOpenPose.from_variant(config["variant"], num_refinements=refinements, **outputs)
    source = "the phase before"
    if start is None:
        source = config["pretrained"]
        if config["backbone_weights"]:
            load_start(network, config["backbone_weights"])
        if config["recipe"] == "published" and not (config["backbone_weights"] or source):
            logging.warning(
                "The published recipe starts from backbone_weights of ImageNet, here all weights are random."
            )
        start = load_network(source) if source else None
    if start is not None:
        new = _start_from(network, start, source)
        logging.info("Starting from %s; new: %s.", source, ", ".join(new) or "no layer")
    return network


def make_model(
    config: dict[str, Any], target: Skeleton, phase: dict[str, Any], start: keras.Model | None, steps: int
) -> keras.Model:
    """The network of a phase in a compiled model, `fields_model`, with the published optimizer.

    Args:
        config: the configuration.
        target: the `Skeleton` to train.
        phase: one of `config["phases"]`.
        start: see `make_network`.
        steps: of an epoch.
    """
    network = make_network(config, target, phase["refinements"], start)
    groups = {key: config[key] for key in ("l2", "bias_rate", "refinement_rate")}
    optimizer = AdamL2(
        make_schedule(config | phase, steps, config["decay_factor"]),
        epsilon=1e-8,  # PyTorch's
        **weight_groups(network.trainable_weights, **groups),
    )
    return fields_model(network, (config["image_size"], config["image_size"]), optimizer)


def _check(config):
    """Refuses what does not go together."""
    if config["variant"] not in models.LightweightOpenPose.VARIANTS:
        known = ", ".join(models.LightweightOpenPose.VARIANTS)
        raise ValueError(f"variant is one of {known}, got {config['variant']!r}; use one of them.")
    if config["image_size"] % models.LightweightOpenPose.stride:
        stride = models.LightweightOpenPose.stride
        below = config["image_size"] // stride * stride
        fitting = f"{below} or {below + stride}" if below else stride
        raise ValueError(f"image_size is a multiple of {stride}, got {config['image_size']}; use {fitting}.")
    if config["smallest_scale"] > config["largest_scale"]:
        raise ValueError(
            f"smallest_scale is not above largest_scale, got {config['smallest_scale']} and "
            f"{config['largest_scale']}; exchange them."
        )
    refinements = config["refinements"]
    if refinements is not None and (not refinements or min(refinements) < 0):
        raise ValueError(f"refinements are one number from 0 up for each phase, got {refinements}; give [1], say.")


def _go_on(batches, steps_before, first_step, **share):
    """The batches of a phase: all phases go through one stream."""
    return batches(first_step=steps_before + first_step, **share)


def _underivable(source, target):
    """The names of those keypoints of a skeleton that cannot be worked out from another's."""
    known = skeletons.mapping(source, target).any(axis=1)  # [K of the target]
    return [name for name, is_known in zip(target.keypoints, known, strict=True) if not is_known]


def _start_from(network, trained, source):
    """Copies the weights of a trained network, but for those that other keypoints and limbs give another shape.

    Args:
        network: to be trained.
        trained: a network of the same variant; it may have fewer refinement stages, or more.
        source: where that is from, for errors.

    Returns:
        The names of the layers that are new.

    Raises:
        ValueError: if it is another kind of network.
    """
    sizes, sizes_there = ([getattr(net, name, None) for name in WIDTHS] for net in (network, trained))
    if not isinstance(trained, models.LightweightOpenPose) or sizes != sizes_there:
        raise ValueError(
            f"A pretrained network is a LightweightOpenPose with {', '.join(WIDTHS)} of {sizes}, got a "
            f"{type(trained).__name__} with {sizes_there} in {source}; give the same variant."
        )
    theirs = {layer.name: layer.get_weights() for layer in trained.layers}
    new = []
    for layer in network.layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if shapes == [weight.shape for weight in theirs.get(layer.name, [])]:
            layer.set_weights(theirs[layer.name] if shapes else [])
        else:
            new.append(layer.name)
    return new
