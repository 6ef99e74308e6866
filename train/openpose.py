"""Trains bottom-up 2D pose: an image in, the keypoints of everybody in it out.

    python -m train.openpose

makes the puppets/groups dataset, trains a small Lightweight OpenPose on it for 8 epochs and tests it: 20 to 25 minutes
on two cores, AP 0.15 and AP50 0.40 on people never seen. README.md has other commands.
"""

import functools
import json
import shutil

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from kerapose import estimators, export, losses, metrics, models, skeletons, weights
from kerapose.data import people
from kerapose.ops import grouping
from train import common, pictures

FLAGS = flags.FLAGS

# What a flag is that is not given. "published": Lightweight OpenPose on COCO, the batch size that of one GPU; each
# phase starts from the best weights of the one before, the first from a MobileNet for ImageNet (--backbone_weights).
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
OF_PHASES = ("epochs", "learning_rate", "decay_epochs")  # flags that hold for every phase
FREE = ("workdir", "data_dir", "check", "test_height", "max_people", "export")  # flags that a run may be given anew
AUGMENTATION = ("flip_probability", "rotation_degrees", "shift_px", "color_jitter")
REFINEMENT = "refinement_stages_"  # the names of the layers of these stages begin so, and go on with their number
WIDTHS = ("filters", "trunk_width", "head_filters")  # of networks of one variant


def define_flags():
    """Defines the flags of this script and returns their names."""
    others = set(FLAGS)
    common.define_flags(workdir="runs/openpose", batch_size=None, epochs=None)
    flags.DEFINE_string("dataset", "puppets/groups", "TFDS name of a dataset of images with people.")
    flags.DEFINE_string("train_split", "train", "Split to train on.")
    flags.DEFINE_string("validation_split", "validation", "Split that chooses the best weights; empty: the last ones.")
    flags.DEFINE_string("test_split", "test", "Split of the final figures.")
    flags.DEFINE_bool("check", True, "Whether to look at every image and person once before training begins.")
    flags.DEFINE_multi_string("skip", [], "Name of an image to leave out; may be given several times.")
    flags.DEFINE_string(
        "skeleton",
        None,
        "Keypoints to train, by the name of their set; by default openpose, which has a neck, for those of COCO, and "
        "for others the dataset's own.",
    )
    flags.DEFINE_string("variant", None, "Form of the network, a key of LightweightOpenPose.VARIANTS.")
    flags.DEFINE_multi_integer(
        "refinements", None, "Refinement stages of the network; given several times, those of each phase."
    )
    flags.DEFINE_enum(
        "recipe",
        None,
        sorted(RECIPES),
        "What flags below are if not given; by default small for puppets/groups, else published.",
    )
    flags.DEFINE_string("pretrained", None, ".keras file of a trained network to start from; new stages are new.")
    flags.DEFINE_string("backbone_weights", None, "PyTorch file of a MobileNet, trained on ImageNet, to start from.")
    flags.DEFINE_integer("max_people", 20, "Whom the final test finds in an image at most.", lower_bound=1)
    flags.DEFINE_float("flip_probability", 0.5, "Of mirroring.", lower_bound=0.0, upper_bound=1.0)
    define_recipe_flags()
    return sorted(set(FLAGS) - others)


def define_recipe_flags():
    """Defines the flags whose defaults are in RECIPES; --batch_size and --epochs, of each phase, are among these."""
    flags.DEFINE_float("learning_rate", None, "Of Adam at its peak, in each phase.", lower_bound=0.0)
    flags.DEFINE_enum("schedule", None, ["step", "cosine"], "How the learning rate falls.")
    flags.DEFINE_multi_integer(
        "decay_epochs", None, "Epochs of a phase done when --schedule=step falls; in proportion to --epochs."
    )
    flags.DEFINE_float("decay_factor", None, "By which it falls then.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("warmup_epochs", None, "Over which it rises from 0.", lower_bound=0.0)
    flags.DEFINE_float("l2", None, "Weight decay of kernels that are not depthwise.", lower_bound=0.0)
    flags.DEFINE_float("bias_rate", None, "Factor of the learning rate for biases.", lower_bound=0.0)
    flags.DEFINE_float("refinement_rate", None, "The same for the refinement stages' kernels.", lower_bound=0.0)
    flags.DEFINE_integer("image_size", None, "Side of the images to train on, pixels.", lower_bound=8)
    flags.DEFINE_float("sigma_px", None, "Of the Gaussians, pixels of the image.", lower_bound=0.1)
    flags.DEFINE_float("smallest_scale", None, "Of a person: 1 for 0.6 of --image_size.", lower_bound=0.01)
    flags.DEFINE_float("largest_scale", None, "Likewise.", lower_bound=0.01)
    flags.DEFINE_float("rotation_degrees", None, "By which an image is turned at most.", lower_bound=0.0)
    flags.DEFINE_float("shift_px", None, "By which a person is off the middle at most, pixels.", lower_bound=0.0)
    flags.DEFINE_float("color_jitter", None, "Spread of brightness, contrast and saturation.", lower_bound=0.0)
    flags.DEFINE_integer("test_height", None, "To which test images are brought, pixels; 0: as is.", lower_bound=0)


def run(config):
    """Trains, tests and exports one configuration.

    Args:
        config: dict of the flags' values by name.

    Returns:
        What `<workdir>/metrics.json` holds.
    """
    config = resolve(config)
    splits, skeleton = common.load_images(config, people)  # before a folder is taken: a flag may be mistaken
    target = choose_skeleton(config["skeleton"], skeleton)
    common.set_up(config)
    make_estimator(make_network(config, target, config["phases"][0]["refinements"]), target, config)
    options = {key: value for key, value in config.items() if key not in FREE}
    workdir = common.open_workdir(config["workdir"], options)
    data, best = prepare(splits, skeleton, target, config), None
    for number in range(len(config["phases"])):
        best = train(number, best, data, target, config, workdir)
    with common.whole(workdir / "best.keras") as part:
        shutil.copyfile(best, part)
    estimator = make_estimator(keras.models.load_model(best), target, config)
    results = test(estimator, splits["test"], target, skeleton)
    logging.info("Test: %s", results)
    shown = pictures.some_images(splits["test"])
    pictures.save_png(workdir / "predictions.png", pictures.people_found(shown, estimator, target, skeleton))
    if config["export"]:
        # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
        path = workdir / "saved_model" / "1"
        export.people_saved_model(estimator, path, target.keypoints, overwrite=True)
        logging.info("Wrote %s.", path)
    common.write_whole(workdir / "metrics.json", json.dumps(results, indent=2).encode())
    return results


def resolve(config):
    """The configuration with the recipe's values where no flag was given, and its phases."""
    name = config["recipe"] or ("small" if config["dataset"] == "puppets/groups" else "published")
    recipe = RECIPES[name]
    given = {key: value for key, value in config.items() if value is not None}
    config = config | recipe | given | {"recipe": name}
    if config["variant"] not in models.LightweightOpenPose.VARIANTS:
        known = ", ".join(models.LightweightOpenPose.VARIANTS)
        raise ValueError(f"--variant is one of {known}, got {config['variant']!r}; use one of them.")
    if config["image_size"] % models.LightweightOpenPose.stride:
        stride = models.LightweightOpenPose.stride
        raise ValueError(f"--image_size is a multiple of {stride}, got {config['image_size']}; round it.")
    if config["smallest_scale"] > config["largest_scale"]:
        raise ValueError(
            f"--smallest_scale is not above --largest_scale, got {config['smallest_scale']} and "
            f"{config['largest_scale']}; exchange them."
        )
    refinements = given.get("refinements", [phase["refinements"] for phase in recipe["phases"]])
    if min(refinements) < 0:
        raise ValueError(f"Each of --refinements is at least 0, got {min(refinements)}; 1 is the published number.")
    phases, done = [], 0
    for number, count in enumerate(refinements):
        planned = recipe["phases"][min(number, len(recipe["phases"]) - 1)]
        phase = planned | {key: given[key] for key in OF_PHASES if key in given}
        phase = common.set_decay_epochs(phase, planned, given)  # in proportion to the epochs of the phase
        phases.append(phase | {"refinements": count, "epochs_before": done})
        done += phases[-1]["epochs"]
    return config | {"phases": phases}


def choose_skeleton(name, skeleton):
    """The skeleton to train: the one of that name, or by default OpenPose's for COCO's keypoints, else the dataset's.

    Raises:
        ValueError: if there is no such set, its keypoints do not follow from those of the dataset, or its limbs do not
            join them.
    """
    if name is None:
        target = skeletons.OPENPOSE if skeleton.keypoints == skeletons.COCO.keypoints else skeleton
    else:
        target = skeleton if name == skeleton.name else skeletons.get(name)
    lacking = underivable(skeleton, target)
    if lacking:
        raise ValueError(
            f"The keypoints of --skeleton follow from those of the dataset, {', '.join(lacking)} of {target.name} "
            f"cannot be had from {skeleton.name}; name another, or leave the flag out."
        )
    grouping.limb_tree(target.edges, target.num_keypoints)  # refuses limbs that make no person
    lost = underivable(target, skeleton)
    if lost:
        logging.warning("%s has no %s: the test counts them as not found.", target.name, ", ".join(lost))
    return target


def underivable(source, target):
    """The names of those keypoints of a skeleton that cannot be worked out from another's."""
    known = skeletons.mapping(source, target).any(axis=1)  # [K of the target]
    return [name for name, is_known in zip(target.keypoints, known, strict=True) if not is_known]


def make_network(config, target, refinements, start=None):
    """A network with the weights that it starts from: those of a file, else what the flags say of the first phase."""
    outputs = {"num_heatmaps": target.num_keypoints + 1, "num_pafs": 2 * target.num_edges}
    network = models.LightweightOpenPose.from_variant(config["variant"], num_refinements=refinements, **outputs)
    if start is None and config["backbone_weights"]:
        weights.load_backbone(network, config["backbone_weights"])
    if start is None and config["recipe"] == "published" and not (config["backbone_weights"] or config["pretrained"]):
        logging.warning("The published recipe starts from --backbone_weights of ImageNet, here all weights are random.")
    start = start or config["pretrained"]
    if start:
        new = start_from(network, start)
        logging.info("Starting from %s; new: %s.", start, ", ".join(new) or "no layer")
    return network


def start_from(network, path):
    """Copies the weights of a trained network, but for those that other keypoints and limbs give another shape.

    Args:
        network: to be trained.
        path: of the `.keras` file of a network of the same variant; it may have fewer refinement stages, or more.

    Returns:
        The names of the layers that are new.

    Raises:
        ValueError: if there is no such file, or it holds another kind of network.
    """
    trained = common.load_network(path)
    sizes, sizes_there = ([getattr(net, name, None) for name in WIDTHS] for net in (network, trained))
    if not isinstance(trained, models.LightweightOpenPose) or sizes != sizes_there:
        raise ValueError(
            f"A pretrained network is a LightweightOpenPose with {', '.join(WIDTHS)} of {sizes}, got a "
            f"{type(trained).__name__} with {sizes_there} in {path}; give the same --variant."
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


def make_model(config, target, phase, start, steps, strategy):
    """The network of a phase in a compiled model that gives its stages as one tensor, [B, S, h, w, K + 1 + 2 * E]."""
    with strategy.scope():
        network = make_network(config, target, phase["refinements"], start)
        inputs = keras.Input((config["image_size"], config["image_size"], 3))
        fields = network(inputs)
        stages = [keras.ops.concatenate(pair, axis=-1) for pair in zip(fields[::2], fields[1::2], strict=True)]
        model = keras.Model(inputs, keras.ops.stack(stages, axis=1))
        model.network = network
        optimizer = common.AdamL2(
            common.make_schedule(config | phase, steps, config["decay_factor"]),
            epsilon=1e-8,  # PyTorch's
            **weight_groups(network.trainable_weights, config),
        )
        model.compile(optimizer, losses.FieldsL2())
        model.optimizer.build(model.trainable_variables)
    return model


def weight_groups(variables, config):
    """Which weights decay, and how fast each learns, as published, by their names: the arguments of `AdamL2`.

    Kernels decay, depthwise ones and all other weights do not. Biases learn `bias_rate` times as fast, those that shift
    a batch norm too; kernels of refinement stages `refinement_rate` times, and their biases both. Scale and shift of
    batch norms learn the same everywhere, and so do depthwise kernels.
    """
    l2, rates = {}, {}
    for variable in variables:
        layer, _, name = variable.path.rpartition("/")
        refinement = config["refinement_rate"] if layer.startswith(REFINEMENT) else 1.0
        if name == "kernel" and not layer.endswith("_depthwise"):
            l2[variable.path] = config["l2"]
            rates[variable.path] = refinement
        if name == "bias":
            rates[variable.path] = config["bias_rate"] * refinement
        if name == "beta":
            rates[variable.path] = config["bias_rate"]
    return {"l2": l2, "rates": rates}


def prepare(splits, skeleton, target, config):
    """What all phases are trained with.

    Args:
        splits: what `load` gives.
        skeleton: their `Skeleton`.
        target: the `Skeleton` to train.
        config: the configuration.

    Returns:
        {"training": function of the number of steps done that gives the batches from there on, "steps": of an epoch,
        "validation": batches, or None, "shown": a batch to draw, "strategy": how it is spread over devices}.
    """
    size = config["image_size"]
    shared = {"target": target, "image_size": (size, size)} | {key: config[key] for key in ("batch_size", "sigma_px")}
    augmentation = {key: config[key] for key in AUGMENTATION}
    augmentation |= {"scale_range": (config["smallest_scale"], config["largest_scale"]), "seed": config["seed"]}
    validation = people.validation(splits["validation"], skeleton, **shared) if splits["validation"] else None
    return {
        "training": functools.partial(people.training, splits["train"], skeleton, **augmentation, **shared),
        "steps": -(-int(splits["train"].cardinality()) // config["batch_size"]),
        "validation": validation,
        "shown": pictures.some_fields(splits["validation"] or splits["test"], skeleton, **shared),
        "strategy": common.make_strategy(config["strategy"]),  # one: two would mix up what their devices exchange
    }


def train(number, start, data, target, config, workdir):
    """Trains a phase, or goes on where it was cut short; returns the path of its best weights.

    Args:
        number: of the phase, from 0.
        start: path of the best weights of the phase before; None: there is none.
        data: what `prepare` gives.
        target: the `Skeleton` that is trained.
        config: the configuration.
        workdir: path of the work folder; that of the phase is in it.
    """
    phase, folder = config["phases"][number], workdir / f"phase{number + 1}"
    keras.utils.set_random_seed(config["seed"] + number)  # new weights do not depend on what was done before them
    model = make_model(config, target, phase, start, data["steps"], data["strategy"])
    resume = common.Resume(folder, "val_loss" if data["validation"] else None, least=True)
    done = resume.restore(model)
    if done < phase["epochs"]:
        logging.info("Phase %d of %d: %s.", number + 1, len(config["phases"]), phase)
        past = phase["epochs_before"] + done  # all phases go through one stream of batches
        model.fit(
            data["training"](first_step=past * data["steps"]),
            epochs=phase["epochs"],
            initial_epoch=done,
            steps_per_epoch=data["steps"],
            shuffle=False,  # the pipeline does that
            verbose=common.in_terminal(),
            validation_data=data["validation"],
            callbacks=[pictures.FieldBoard(folder / "logs", data["shown"], target), resume],
        )
    pictures.save_curves(folder / "curves.png", resume.history)
    return folder / "best.keras"


def make_estimator(network, target, config):
    """All that is around the network when it is tested and exported."""
    height = config["test_height"] or None
    return estimators.BottomUpEstimator(network, target.edges, height=height, max_people=config["max_people"])


def test(estimator, dataset, target, skeleton):
    """The figures of the test split, as `metrics.json` holds them.

    Args:
        estimator: a `BottomUpEstimator`.
        dataset: of images, those without people too.
        target: the `Skeleton` that the estimator finds.
        skeleton: that of the dataset, in which people are compared.

    Returns:
        dict of figures and dicts.
    """
    truth, image_ids = people.annotations(dataset, skeleton), people.image_ids(dataset)
    found, cut_short = find(estimator, dataset, target, skeleton)
    labelled = (truth["visibility"] > 0).any(axis=1) & ~truth["is_crowd"]
    results = {
        "images": len(image_ids),
        "people": int(labelled.sum()),
        "people_found": len(found["image_id"]),
        "images_beyond_bounds": cut_short,
    }
    if common.can_measure_ap(skeleton):
        results["coco"] = metrics.coco_ap(truth, found, skeleton.sigmas, image_ids=image_ids)
    return results


def find(estimator, dataset, target, skeleton):
    """Everybody in every image of a dataset.

    Args:
        estimator: a `BottomUpEstimator`.
        dataset: of images.
        target: the `Skeleton` that the estimator finds.
        skeleton: the one to give keypoints in.

    Returns:
        {"image_id": [N], "keypoints": [N, K, 2] px, (0, 0) where not found, as published, "score": [N]}, and in how
        many images somebody was left out for the estimator's bounds.
    """
    answer = tf.function(estimator, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    image_ids, keypoints, scores, ranks = [], [], [], []
    cut_short = 0
    bar = common.make_bar(None, "image")
    for element in people.evaluation(dataset):
        found = {name: value.numpy() for name, value in answer(element["image"]).items()}
        count = found["count"]
        image_ids += [int(element["image_id"])] * count
        keypoints.append(found["keypoints"][:count])
        scores.append(found["scores"][:count])
        ranks.append(grouping.people_score(found["person_scores"][:count], found["num_keypoints"][:count]))
        cut_short += int(found["overflow"])
        bar.add(1)
    keypoints, scores = np.concatenate(keypoints), np.concatenate(scores)
    keypoints, _ = skeletons.convert(keypoints, scores, target, skeleton, missing="zero")
    found = {"image_id": np.array(image_ids, int), "keypoints": keypoints}
    return found | {"score": np.concatenate(ranks)}, cut_short


def main(names):
    logging.set_verbosity(logging.INFO)
    run({name: FLAGS[name].value for name in names})


if __name__ == "__main__":
    names = define_flags()
    app.run(lambda _: main(names))
