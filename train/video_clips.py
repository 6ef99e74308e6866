"""What the training scripts of videos with skeletons share: flags, splits, training and testing of one network."""

import json

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging
from keras import ops

from kerapose import export, metrics, models, predictors
from kerapose.data import prepared, videos
from kerapose.estimators.video_recognizer import clip_shapes
from kerapose.layers import HeatmapVolume
from kerapose.ops import clips as clip_ops
from train import common, pictures

SMALL_DATASET = "puppets/videos"
CONDITIONS = ("plain", "dark", "missed")  # of the tests: as it is, in the dark, with joints that a detector missed
LIGHT, NOISE_LEVELS, MISSED_SHARE = 0.05, 4.0, 0.5  # of the last two
FREE = ("workdir", "data_dir", "check", "conditions", "num_clips", "export")  # flags that a run may be given anew
ROLES = ("train", "validation", "test")
# The stage of a network of frames that may be taught where the joints are: an eighth of the picture high and wide.
TAUGHT = {models.SlowOnly: "layer2", models.MC3ResNet18: "layer3", models.STARTransformer: "layer3"}
TAUGHT_SIGMA_PX = 0.8


def define_flags(workdir, networks, recipes):
    """Defines the flags that both scripts have.

    Args:
        workdir: default of the work folder.
        networks: names of the variants.
        recipes: names of the recipes.
    """
    common.define_flags(workdir, batch_size=None, epochs=None)
    flags.DEFINE_string("dataset", SMALL_DATASET, "TFDS name of a dataset of videos with keypoints.")
    flags.DEFINE_string("train_split", "train", "Split to train on.")
    flags.DEFINE_string("validation_split", "validation", "Split that chooses the best weights; empty: the last ones.")
    flags.DEFINE_string("test_split", "test", "Split of the final figures.")
    flags.DEFINE_bool("check", True, "Whether to look at every video and its keypoints once before training begins.")
    flags.DEFINE_multi_string("skip", [], "Name of a video to leave out; may be given several times.")
    flags.DEFINE_enum("variant", None, sorted(networks), "Network.")
    flags.DEFINE_enum(
        "recipe",
        None,
        sorted(recipes),
        f"What flags below are if not given; by default small for {SMALL_DATASET}, else published.",
    )
    flags.DEFINE_integer("size", None, "Height and width of a training clip, pixels; the variant's own if not given.")
    flags.DEFINE_bool("use_scores", True, "Whether a keypoint is drawn as high as its score, or all with 1.")
    common.define_flip_flags(probability=0.5, flip_test=False)
    flags.DEFINE_float("momentum", 0.9, "Of SGD.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("clip_norm", 40.0, "Greatest norm of all gradients together.", lower_bound=0.0)
    flags.DEFINE_list("conditions", list(CONDITIONS), f"Of the final test, of {', '.join(CONDITIONS)}.")
    define_recipe_flags()


def define_recipe_flags():
    """Defines the shared flags whose defaults a recipe says; --batch_size and --epochs are among these."""
    flags.DEFINE_integer("num_clips", None, "Clips a video in the final test.", lower_bound=1)
    flags.DEFINE_float("learning_rate", None, "At its peak.", lower_bound=0.0)
    flags.DEFINE_enum("optimizer", None, ["sgd", "adamw"], "What applies the gradients.")
    flags.DEFINE_float("weight_decay", None, "L2 of SGD, as PyTorch has it, or AdamW's own.", lower_bound=0.0)
    flags.DEFINE_enum("schedule", None, ["constant", "step", "cosine"], "How the learning rate falls.")
    flags.DEFINE_multi_integer(
        "decay_epochs", None, "Epochs done when --schedule=step falls to a tenth; in proportion to --epochs."
    )
    flags.DEFINE_float("warmup_epochs", None, "Over which the learning rate rises from 0.", lower_bound=0.0)
    flags.DEFINE_float("dropout", None, "Share of activations that training drops.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_float("sigma_px", None, "Of the Gaussians, pixels of the volume.", lower_bound=0.1)
    flags.DEFINE_float(
        "least_area",
        None,
        "Of the random crop, as a fraction of the people's box.",
        lower_bound=0.01,
        upper_bound=1.0,
    )
    flags.DEFINE_float("color_jitter", None, "Spread of brightness, contrast and saturation.", lower_bound=0.0)
    flags.DEFINE_float(
        "keypoint_weight",
        None,
        "Of a loss that teaches the features of frames where the joints are; 0 in the papers, for pretrained networks.",
        lower_bound=0.0,
    )
    flags.DEFINE_float("missed_share", None, "Of the keypoints, lost in training.", lower_bound=0.0, upper_bound=1.0)


def resolve(config, recipes):
    """The configuration with the recipe's values where no flag was given.

    Args:
        config: dict of the flags' values by name.
        recipes: {"published": dict, "small": dict}.

    Returns:
        The configuration.

    Raises:
        ValueError: if flags contradict each other.
    """
    name = config["recipe"] or ("small" if config["dataset"] == SMALL_DATASET else "published")
    given = {key: value for key, value in config.items() if value is not None}
    recipe = recipes[name]
    config = config | recipe | given | {"recipe": name}
    config = common.set_decay_epochs(config, recipe, given)
    if config["size"] and config["size"] % 4:
        raise ValueError(
            f"--size is a multiple of 4, since heatmaps have a quarter of it, got {config['size']}; give "
            f"{config['size'] // 4 * 4 + 4}, say."
        )
    strangers = [condition for condition in config["conditions"] if condition not in CONDITIONS]
    if strangers or not config["conditions"]:
        got = repr(strangers[0]) if strangers else "none"
        raise ValueError(f"--conditions are of {', '.join(CONDITIONS)}, got {got}; use these.")
    return config


def load(config):
    """Reads and checks the splits.

    Args:
        config: the configuration.

    Returns:
        {"train": dataset, ...}, the `Skeleton` of their keypoints, and the names of the classes.
    """
    splits, skipped = dict.fromkeys(ROLES), []
    for role in ROLES:
        name, split = config["dataset"], config[f"{role}_split"]
        if role == "validation" and not split:
            continue
        splits[role], info = common.load_split(name, split, config["data_dir"], videos.from_tfds)
        skeleton, class_names = prepared.skeleton_of(info.metadata["skeleton"]), info.features["label"].names
        names = common.names_to_skip(config, role)
        skipped += names
        splits[role] = videos.skip(splits[role], names) if names else splits[role]
        if config["check"]:
            count = videos.check(splits[role], skeleton, len(class_names))
            logging.info("%s: %d videos of %s, split %s.", role, count, name, split)
    common.refuse_strangers(config, skipped)
    splits["train"] = videos.trainable(splits["train"])
    return splits, skeleton, class_names


# ---------------------------------------------------------------------------------------------------- training
def shapes_of(network):
    """The shapes of the clips that a network sees: {"rgb": [L, H, W, 3], "pose": [L', h, w, K]}, or one of the two."""
    shapes = zip(("rgb", "pose"), clip_shapes(network), strict=True)
    return {modality: shape for modality, shape in shapes if shape}


def read_shapes(network, num_keypoints, config):
    """The shapes of the clips that a training reads: `shapes_of`, and keypoints for frames that are taught by them."""
    shapes = shapes_of(network)
    if is_taught(network, config) and "pose" not in shapes:
        _, _, height, width, _ = taught_features(network).shape
        shapes["pose"] = (shapes["rgb"][0], height, width, num_keypoints)
    return shapes


def is_taught(network, config):
    """Whether a training teaches the features of frames where the joints are."""
    return config["keypoint_weight"] > 0 and type(network) in TAUGHT and "rgb" in shapes_of(network)


def taught_features(network):
    """The features [B, L, h, w, C] that are taught."""
    stage = TAUGHT[type(network)]
    return [layer for layer in network.layers if layer.name.startswith(f"{stage}_")][-1].output


def make_model(network, num_keypoints, config):
    """Clips to logits: heatmaps are drawn inside the model, where the accelerator is; the network is its attribute.

    Args:
        network: of {"rgb", "pose"} or of one of them, to logits or a dict of logits by pathway.
        num_keypoints: K.
        config: the configuration.

    Returns:
        A model from a batch of `videos.training` to what the network gives; of several pathways "fused", too, the mean
        of their probabilities. Its attribute `pose_size` is the height and width that the keypoints are for.
    """
    shapes, inputs, seen = read_shapes(network, num_keypoints, config), {}, {}
    if "rgb" in shapes:
        inputs["rgb"] = seen["rgb"] = keras.Input(shapes["rgb"], name="rgb")
    if "pose" in shapes:
        frames, height, width, num_keypoints = shapes["pose"]
        inputs["keypoints"] = keras.Input((None, frames, num_keypoints, 2), name="keypoints")
        inputs["scores"] = keras.Input((None, frames, num_keypoints), name="scores")
        volume = HeatmapVolume(height, width, sigma_px=config["sigma_px"], name="volume")
        seen["pose"] = volume({name: inputs[name] for name in ("keypoints", "scores")})
    seen = seen if isinstance(network.input_shape, dict) else next(iter(seen.values()))
    if is_taught(network, config):
        logits, features = keras.Model(network.input, [network.output, taught_features(network)])(seen)
        teacher = KeypointTeacher(shapes["pose"][1], config["keypoint_weight"], name="teacher")
        outputs = teacher(logits, features, inputs["keypoints"], inputs["scores"])
    else:
        outputs = network(seen)
    if isinstance(outputs, dict):
        probabilities = [keras.layers.Softmax(dtype="float32")(logits) for logits in outputs.values()]
        outputs = outputs | {"fused": keras.layers.Average(dtype="float32", name="fused")(probabilities)}
    model = keras.Model(inputs, outputs)
    model.network = network
    model.pose_size = shapes["pose"][1:3] if "pose" in shapes else None
    return model


class KeypointTeacher(keras.layers.Layer):
    """Adds a loss that teaches features where the joints are, so that a small network learns to see people.

    For each visible joint a 1 x 1 convolution chooses among the places of its frame; the loss is the cross entropy with
    the joint's heatmap. Nobody needs the joints of a network that was so taught: only training does.

    Args:
        height: of the volume that the keypoints are for, pixels.
        weight: of the loss.

    Input: anything, which is given back, features [B, L, h, w, C], keypoints [B, M, L, K, 2], scores [B, M, L, K].
    """

    def __init__(self, height, weight, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.weight = weight
        self.autocast = False  # keypoints are not rounded to bfloat16

    def build(self, outputs_shape, features_shape, keypoints_shape, scores_shape):
        self.volume = HeatmapVolume(*features_shape[2:4], sigma_px=TAUGHT_SIGMA_PX, dtype="float32")
        self.choose = keras.layers.Dense(keypoints_shape[-2], dtype="float32", name="choose")
        self.choose.build(features_shape)

    def call(self, outputs, features, keypoints, scores):
        _, frames, height, width, _ = features.shape
        places = (-1, frames, height * width, scores.shape[-1])  # [B, L, h*w, K]
        moved = {"keypoints": keypoints * (height / self.height), "scores": scores}
        heat = ops.reshape(self.volume(moved), places)
        chosen = ops.log_softmax(ops.reshape(self.choose(features), places), axis=2)
        self.add_loss(-self.weight * ops.divide_no_nan(ops.sum(heat * chosen), ops.sum(heat)))
        return outputs


def compile_model(model, num_classes, config, steps):
    """Gives a model its optimizer, the cross entropy of each pathway, and the figures of their fusion.

    Args:
        model: of `make_model`.
        num_classes: number of actions.
        config: of this training: learning rate, schedule, epochs.
        steps: an epoch.

    Returns:
        The name of the validation figure that decides which weights are best.
    """
    figures = [
        keras.metrics.SparseCategoricalAccuracy(name="top1"),
        keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5"),
        metrics.MeanClassAccuracy(num_classes, name="mean_class"),
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fused = isinstance(model.output, dict)
    if fused:
        pathways = [name for name in model.output if name != "fused"]
        loss = dict.fromkeys(pathways, loss)
        top1 = {name: [keras.metrics.SparseCategoricalAccuracy(name="top1")] for name in pathways}
        figures = {"fused": figures} | top1
    model.compile(make_optimizer(config, steps), loss, metrics=figures)
    model.optimizer.build(model.trainable_variables)
    return "val_fused_top1" if fused else "val_top1"


def make_optimizer(config, steps):
    """SGD with momentum and L2, or Adam with decoupled weight decay; all gradients together are clipped."""
    schedule, decay = common.make_schedule(config, steps, factor=0.1), config["weight_decay"]
    if config["optimizer"] == "adamw":
        # Without a decay no decay: Keras would trace the schedule once more for every weight.
        return keras.optimizers.Adam(schedule, weight_decay=decay or None, global_clipnorm=config["clip_norm"])
    return common.SGDL2(schedule, momentum=config["momentum"], l2=decay, global_clipnorm=config["clip_norm"])


def train(make_network, splits, skeleton, class_names, config, folder, board=pictures.VideoBoard):
    """Trains a network, or goes on where it was cut short.

    Args:
        make_network: function without arguments that builds it, with the weights that it starts from.
        splits: of `load`.
        skeleton: the `Skeleton` of the keypoints.
        class_names: of the labels.
        config: of this training.
        folder: of its files.
        board: what writes curves and pictures for TensorBoard.

    Returns:
        The network with the best weights.
    """
    folder.mkdir(exist_ok=True)
    keras.utils.set_random_seed(config["seed"])
    steps = -(-int(splits["train"].cardinality()) // config["batch_size"])
    with common.make_strategy(config["strategy"]).scope():
        model = make_model(make_network(), skeleton.num_keypoints, config)
        monitor = compile_model(model, len(class_names), config, steps)
    resume = common.Resume(folder, monitor if splits["validation"] else None)
    done = resume.restore(model)
    if done < config["epochs"]:
        shown = validation(model, splits["validation"] or splits["test"], skeleton, config)
        model.fit(
            training(model, splits["train"], skeleton, class_names, config, first_step=done * steps),
            epochs=config["epochs"],
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,  # the pipeline does that
            verbose=common.in_terminal(),
            validation_data=for_outputs(shown, model) if splits["validation"] else None,
            callbacks=[board(folder / "logs", shown, skeleton, class_names), resume],
        )
    pictures.save_curves(folder / "curves.png", resume.history)
    return keras.models.load_model(folder / "best.keras")


def training(model, dataset, skeleton, class_names, config, first_step):
    """The endless batches of a training, as `fit` takes them."""
    options = reading(model.network, skeleton.num_keypoints, config)
    sides = [shape[1] for shape in (options["rgb_shape"], options["pose_shape"]) if shape]
    batches = videos.training(
        dataset,
        skeleton,
        seed=config["seed"],
        first_step=first_step,
        flip_probability=config["flip_probability"],
        flip_labels=config["flip_labels"],
        color_jitter=config["color_jitter"],
        missed_share=config["missed_share"],
        area_range=(config["least_area"], 1.0),
        short_side_px=clip_ops.whole_side(max(sides)),
        **options,
    )
    return for_outputs(batches, model)


def validation(model, dataset, skeleton, config):
    """One clip of every video, in order: batches and labels."""
    return videos.evaluation(dataset, **reading(model.network, skeleton.num_keypoints, config))


def reading(network, num_keypoints, config):
    """How clips are read, in every pipeline; keypoints that frames are taught by are those of the same frames."""
    shapes = read_shapes(network, num_keypoints, config)
    return {
        "batch_size": config["batch_size"],
        "rgb_shape": shapes.get("rgb"),
        "pose_shape": shapes.get("pose"),
        "aligned": config["aligned"] or is_taught(network, config),
        "use_scores": config["use_scores"],
    }


def for_outputs(batches, model):
    """Gives each output of a model the labels."""
    if not isinstance(model.output, dict):
        return batches
    names = list(model.output)
    return batches.map(lambda clips, labels: (clips, dict.fromkeys(names, labels)))


# ---------------------------------------------------------------------------------------------------- testing
def save_confusions(folder, labels, found, class_names):
    """Writes the confusion matrix of each condition."""
    for condition, answers in found.items():
        matrix = metrics.confusion_matrix(labels, answers["fused"].argmax(-1), len(class_names))
        pictures.save_confusion_matrix(folder / f"confusion_matrix_{condition}.png", matrix, class_names)


def make_recognizer(network, skeleton, class_names, config):
    """The network as it is tested and served: on clips of the people's whole box."""
    names = ("num_clips", "flip_test", "flip_labels", "aligned", "use_scores", "sigma_px")
    return predictors.make_video_recognizer(network, skeleton, class_names, **{name: config[name] for name in names})


def test(recognizer, dataset, config):
    """What a recognizer makes of every video of a split, under each condition that is tested.

    Args:
        recognizer: a `VideoRecognizer`.
        dataset: of elements.
        config: the configuration.

    Returns:
        Labels [B]; and by condition the probabilities [B, C] of each pathway and of their fusion, {"fused": ...}.
    """
    # Without AutoGraph, which has nothing to convert here.
    answer = tf.function(recognizer.recognize, reduce_retracing=True, autograph=False)
    count, labels, found = int(dataset.cardinality()), [], {}
    for condition in config["conditions"]:
        batches = degraded(dataset, recognizer, condition, config).batch(1).prefetch(1)
        bar = common.make_bar(count, f"{condition} video")
        answers, labels = [], []
        for inputs, label in batches:
            answers.append({name: value[0].numpy() for name, value in answer(**{"frames": None} | inputs).items()})
            labels.append(int(label[0]))
            bar.add(1)
        found[condition] = {name: np.stack([one[name] for one in answers]) for name in answers[0]}
    return np.array(labels), found


def degraded(dataset, recognizer, condition, config):
    """What a recognizer takes of every video, and its label, under a condition of the tests."""
    shapes = shapes_of(recognizer.network)
    frames = {f"{modality}_frames": shape[0] for modality, shape in shapes.items()}

    @tf.autograph.experimental.do_not_convert
    def prepare(index, element):
        seeds = tf.stack([config["seed"], tf.cast(index, tf.int32)])
        if condition == "missed":
            keypoints, scores = videos.missed(element["keypoints"], element["scores"], seeds, MISSED_SHARE)
            element = element | {"keypoints": keypoints, "scores": scores}
        inputs = videos.sampled(element, num_clips=config["num_clips"], aligned=config["aligned"], **frames)
        if condition == "dark" and "frames" in inputs:
            inputs["frames"] = videos.darkened(inputs["frames"], seeds, LIGHT, NOISE_LEVELS)
        return inputs, element["label"]

    return dataset.enumerate().map(prepare, tf.data.AUTOTUNE)


def figures(labels, found):
    """The figures by condition of what `test` gives: top-1, top-5 and mean-class accuracy of the fusion."""
    return {condition: metrics.action_metrics(labels, answers["fused"]) for condition, answers in found.items()}


def finish(results, recognizer, skeleton, class_names, config, workdir):
    """Shows the figures, exports the recognizer if flags say so, and writes the figures last: they tell of an end.

    Args:
        results: figures by network and condition.
        recognizer: the `VideoRecognizer` that was trained for.
        skeleton: the `Skeleton` of the keypoints.
        class_names: of the labels.
        config: the configuration.
        workdir: folder of the run.
    """
    print(table(results))
    if config["export"]:
        # A number is the version of a model to TensorFlow Serving, which serves the folder above it.
        path = workdir / "saved_model" / "1"
        export.video_saved_model(recognizer, path, class_names, skeleton.num_keypoints, overwrite=True)
        logging.info("Wrote %s.", path)
    common.write_whole(workdir / "metrics.json", json.dumps(results, indent=2).encode())


def table(results):
    """The figures of every network under every condition as text, a line each."""
    rows = [(network, condition, figures) for network, by in results.items() for condition, figures in by.items()]
    names = list(rows[0][2])
    widths = [max(len(row[i]) for row in rows) + 2 for i in (0, 1)]
    lines = [" " * sum(widths) + "".join(f"{name:>12}" for name in names)]
    for network, condition, figures in rows:
        numbers = "".join(f"{100 * figures[name]:12.1f}" for name in names)
        lines.append(f"{network:{widths[0]}}{condition:{widths[1]}}{numbers}")
    return "\n".join(lines)
