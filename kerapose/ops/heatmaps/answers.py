"""What top-down networks learn and answer, by the codec of their training: one way in and back for all codecs."""

import typing

from kerapose.ops.graphs import ops
from kerapose.ops.heatmaps import codecs, regression, simcc
from kerapose.types import ArrayLike, Size, Tensor

ALL_CODECS = (*codecs.CODECS, "regression", "simcc")
Answers = Tensor | dict[str, Tensor]


def encode_answers(
    keypoints: Tensor,
    weights: Tensor | None,
    image_size: Size,
    heatmap_size: Size | None = None,
    sigma_px: float = 2.0,
    codec: str = "gaussian",
) -> tuple[Answers, Tensor]:
    """Gives what a top-down network learns: heatmaps, coordinates or, as RTMPose does, two vectors a keypoint.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.
        heatmap_size: (h, w) of heatmaps; of no meaning for the codecs regression and simcc.
        sigma_px: as in `encode`, likewise; those of SimCC go by the size (`simcc_sigmas`).
        codec: one of `ALL_CODECS`.

    Returns:
        What `encode` gives, [..., h, w, K]; with "regression" what `encode_regression` gives, [..., K, 2]; with "simcc"
        a dict of "x", [..., K, 2 * W], and "y", [..., K, 2 * H]. Weights [..., K].

    Raises:
        ValueError: if there is no such codec.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> labels, weights = heatmaps.encode_answers(keypoints[:, 0], None, (256, 192), codec="simcc")
        >>> {axis: tuple(vectors.shape) for axis, vectors in labels.items()}  # of two people
        {'x': (2, 17, 384), 'y': (2, 17, 512)}
        >>> heatmaps.encode_answers(keypoints[:, 0], None, (256, 192), (64, 48))[0].shape
        TensorShape([2, 64, 48, 17])

    Papers: see `encode`, `encode_regression` and `simcc_sigmas`.
    """
    check_codec(codec)
    if codec == "regression":
        return regression.encode_regression(keypoints, weights, image_size)
    if codec == "simcc":
        sigmas = simcc.simcc_sigmas(image_size)
        x, y, weights = simcc.encode_simcc(keypoints, weights, image_size, sigma_bins=sigmas)
        return {"x": x, "y": y}, weights
    return codecs.encode(keypoints, weights, image_size, heatmap_size, sigma_px, codec)


def decode_answers(
    answers: Answers, image_size: Size, codec: str = "gaussian", **options: typing.Any
) -> tuple[Tensor, Tensor]:
    """Finds the keypoints of what a top-down network answers.

    Args:
        answers: as `encode_answers` gives them for that codec; of coordinates [..., K, 4], too, with sigmas in 0 .. 1.
        image_size: (height, width) of the crop, pixels.
        codec: one of `ALL_CODECS`, that of the training.
        **options: of `decode` or, with the codec simcc, of `decode_simcc`; its `split_ratio` follows from the answers.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K].

    Raises:
        ValueError: if there is no such codec.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> for codec in ("dark", "regression", "simcc"):
        ...     answers, _ = heatmaps.encode_answers([[97.7, 130.0]], None, (256, 192), (64, 48), codec=codec)
        ...     found, scores = heatmaps.decode_answers(answers, (256, 192), codec)
        ...     print(codec, np.asarray(found).tolist())
        dark [[97.7, 130.0]]
        regression [[97.7, 130.0]]
        simcc [[97.5, 130.0]]

    Papers: see `encode_answers`.
    """
    check_codec(codec)
    if codec == "regression":
        return regression.decode_regression(answers, image_size, **options)
    if codec == "simcc":
        options = {"sigma_bins": simcc.simcc_sigmas(image_size)} | options
        ratio = answers["x"].shape[-1] / image_size[1]
        return simcc.decode_simcc(answers["x"], answers["y"], ratio, **options)
    return codecs.decode(answers, image_size, codec, **options)


def merge_flipped_answers(
    answers: Answers,
    answers_of_flipped_image: Answers,
    flip_permutation: ArrayLike,
    image_size: Size,
    codec: str = "gaussian",
    shift: bool | None = None,
) -> Answers:
    """Averages what a network answers to an image with what it answers to its mirror image.

    Args:
        answers: as `decode_answers` takes them.
        answers_of_flipped_image: likewise.
        flip_permutation: [K], the keypoint that each one is in a mirror (`Skeleton.flip_permutation`).
        image_size: (height, width) of the crop, pixels.
        codec: one of `ALL_CODECS`, that of the training.
        shift: as in `merge_flipped` and `merge_flipped_regression`. None: as published (`is_shifted`). The codec simcc
            has none.

    Returns:
        As `answers`.

    Raises:
        ValueError: if there is no such codec, or it has no shift.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.ops import heatmaps
        >>> answers, _ = heatmaps.encode_answers(keypoints[:, 0], None, (256, 192), codec="simcc")
        >>> order = skeletons.COCO.flip_permutation
        >>> merged = heatmaps.merge_flipped_answers(answers, answers, order, (256, 192), "simcc")
        >>> tuple(merged["x"].shape)
        (2, 17, 384)

    Papers: see `encode_answers`.
    """
    shift = is_shifted(codec) if shift is None else shift
    if codec == "regression":
        given = answers, answers_of_flipped_image, flip_permutation
        return regression.merge_flipped_regression(*given, image_size, shift)
    if codec == "simcc":
        if shift:
            raise ValueError("The codec simcc has no shift, got shift=True; leave it out, as published.")
        return simcc.merge_flipped_simcc(answers, answers_of_flipped_image, flip_permutation)
    return codecs.merge_flipped(answers, answers_of_flipped_image, flip_permutation, shift)


def read_outputs(outputs: Answers, codec: str = "gaussian") -> Answers:
    """Brings what a network gives, of whatever precision, to the answers that are merged and decoded.

    Args:
        outputs: heatmaps [B, h, w, K] or, of several stacks or stages, of which the last counts, [B, S, h, w, K];
            coordinates [B, K, 2], or [B, K, 4] with the logits of sigmas; {"x": [B, K, bins], "y": [B, K, bins]}.
        codec: one of `ALL_CODECS`, that of the training.

    Returns:
        float32 answers, as `decode_answers` takes them.

    Raises:
        ValueError: if there is no such codec.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> heatmaps.read_outputs(np.zeros((1, 6, 32, 24, 17))).shape  # of six stages
        TensorShape([1, 32, 24, 17])
        >>> float(heatmaps.read_outputs(np.zeros((1, 17, 4)), "regression")[0, 0, 2])  # a sigma
        0.5

    Papers: see `encode_answers`.
    """
    check_codec(codec)
    if codec == "regression":
        return regression.bound_sigmas(outputs)
    if codec == "simcc":
        return {axis: ops.cast(outputs[axis], "float32") for axis in ("x", "y")}
    maps = ops.cast(outputs, "float32")
    return maps[:, -1] if len(maps.shape) == 5 else maps  # [B, h, w, K]


def codecs_of(output_shape: typing.Any) -> tuple[tuple[str, ...], int]:
    """Tells by the shape of a network's output which codecs it may have been trained with, and for how many keypoints.

    Args:
        output_shape: of a Keras model, batch first; of several outputs a dict of them.

    Returns:
        Some of `ALL_CODECS`, the usual one first, and K.

    Raises:
        ValueError: if no codec has such an output.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> heatmaps.codecs_of((None, 17, 4)), heatmaps.codecs_of({"x": (None, 17, 384), "y": (None, 17, 512)})
        ((('regression',), 17), (('simcc',), 17))
        >>> heatmaps.codecs_of((None, 64, 48, 17))
        (('gaussian', 'dark', 'udp', 'hourglass'), 17)
    """
    if isinstance(output_shape, dict) and set(output_shape) == {"x", "y"}:
        x, y = output_shape["x"], output_shape["y"]
        if len(x) == len(y) == 3 and x[1] == y[1]:
            return ("simcc",), x[1]
    elif isinstance(output_shape, tuple) and len(output_shape) in (4, 5):
        return codecs.CODECS, output_shape[-1]
    elif isinstance(output_shape, tuple) and len(output_shape) == 3 and output_shape[2] in (2, 4):
        return ("regression",), output_shape[1]
    raise ValueError(
        "The network must give heatmaps [B, h, w, K] or [B, S, h, w, K], coordinates [B, K, 2] or [B, K, 4], or "
        f'{{"x": [B, K, bins], "y": [B, K, bins]}}, got {output_shape}; use SimpleBaseline, HRNet, DeepPose or '
        "RTMPose, say."
    )


def is_shifted(codec: str) -> bool:
    """Whether the tests of its paper, or of its published programs, move what a mirror image gave by a pixel.

    Args:
        codec: one of `ALL_CODECS`.

    Returns:
        A bool.

    Raises:
        ValueError: if there is no such codec.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> [codec for codec in heatmaps.ALL_CODECS if heatmaps.is_shifted(codec)]
        ['gaussian', 'dark', 'regression']
    """
    check_codec(codec)
    return codec in ("gaussian", "dark", "regression")


def check_codec(codec: str) -> None:
    """Refuses what is none of `ALL_CODECS`.

    Args:
        codec: its name.

    Raises:
        ValueError: if there is no such codec.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> heatmaps.check_codec("simcc")
    """
    if codec not in ALL_CODECS:
        raise ValueError(f"codec must be one of {', '.join(ALL_CODECS)}, got {codec!r}; use the one of the training.")
