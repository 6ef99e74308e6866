"""Attention among the tokens of a clip: of every frame to every frame, or of one half of the frames to the other.

Queries, keys and values are [..., T, S, D]: T frames of S tokens each, D features a head; batch and heads lead.

Paper: Ahn et al., "STAR-Transformer: A Spatio-temporal Cross Attention Transformer for Human Action Recognition", WACV
2023.
"""

from kerapose.ops.graphs import ops
from kerapose.types import Tensor


def full_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """FAttn: every token looks at the tokens of all frames.

    The matrix of scores has T²S² entries.

    Args:
        queries: [..., T, S, D].
        keys: [..., T, S, D].
        values: [..., T, S, D].

    Returns:
        [..., T, S, D].

    Example:
        >>> q = k = v = np.random.normal(size=(2, 8, 16, 66, 64))
        >>> full_attention(q, k, v).shape
        (2, 8, 16, 66, 64)
    """
    attended = attend(*(_flat(x) for x in (queries, keys, values)))
    return ops.reshape(attended, ops.shape(queries))


def zigzag_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """ZAttn: tokens of odd frames look at those of even frames, and the reverse.

    The two matrices of scores have T²S²/4 entries each: half of the full one's in all.

    Args:
        queries: [..., T, S, D], T even.
        keys: [..., T, S, D].
        values: [..., T, S, D].

    Returns:
        [..., T, S, D].

    Raises:
        ValueError: if T is odd.
    """
    queries, keys, values = (_interleaved(x, "zigzag") for x in (queries, keys, values))  # [..., 2, T/2, S, D]
    attended = _across(queries, keys, values)
    return ops.reshape(ops.swapaxes(attended, -4, -3), _frame_shape(attended))


def binary_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """BAttn: tokens of the first half of the frames look at those of the second, and the reverse.

    The two matrices of scores have T²S²/4 entries each: half of the full one's in all.

    Args:
        queries: [..., T, S, D], T even.
        keys: [..., T, S, D].
        values: [..., T, S, D].

    Returns:
        [..., T, S, D].

    Raises:
        ValueError: if T is odd.
    """
    queries, keys, values = (_halved(x, "binary") for x in (queries, keys, values))  # [..., 2, T/2, S, D]
    attended = _across(queries, keys, values)
    return ops.reshape(attended, _frame_shape(attended))


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention: [..., N, D], [..., N', D], [..., N', D] -> [..., N, D]."""
    return ops.matmul(ops.cast(attention_weights(queries, keys), values.dtype), values)


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """How much each query looks at each key: [..., N, D], [..., N', D] -> [..., N, N'] float32, of sum 1 over N'."""
    scores = ops.matmul(queries * queries.shape[-1] ** -0.5, ops.swapaxes(keys, -1, -2))
    return ops.softmax(ops.cast(scores, "float32"), axis=-1)  # bfloat16 would lose the small ones of a long row


def _across(queries, keys, values):
    """Each of two groups of frames looks at the other: [..., 2, T/2, S, D] -> the same shape."""
    shape = ops.shape(queries)
    queries, keys, values = (_flat(x) for x in (queries, keys, values))  # [..., 2, T/2*S, D]
    attended = attend(queries, ops.flip(keys, axis=-3), ops.flip(values, axis=-3))
    return ops.reshape(attended, shape)


def _flat(x):
    """[..., T, S, D] -> [..., T*S, D]."""
    *batch, frames, tokens, features = ops.shape(x)
    return ops.reshape(x, (*batch, frames * tokens, features))


def _halved(x, name):
    """[..., T, S, D] -> [..., 2, T/2, S, D]: the first half, then the second."""
    *batch, frames, tokens, features = ops.shape(x)
    _refuse_odd(frames, name)
    return ops.reshape(x, (*batch, 2, frames // 2, tokens, features))


def _interleaved(x, name):
    """[..., T, S, D] -> [..., 2, T/2, S, D]: frames 0, 2, 4, ..., then 1, 3, 5, ..."""
    *batch, frames, tokens, features = ops.shape(x)
    _refuse_odd(frames, name)
    return ops.swapaxes(ops.reshape(x, (*batch, frames // 2, 2, tokens, features)), -4, -3)


def _frame_shape(x):
    """[..., 2, T/2, S, D] or [..., T/2, 2, S, D] -> the shape [..., T, S, D]."""
    *batch, groups, frames, tokens, features = ops.shape(x)
    return (*batch, groups * frames, tokens, features)


def _refuse_odd(frames, name):
    if isinstance(frames, int) and frames % 2:
        raise ValueError(
            f"{name} attention pairs two halves of the frames, so their number is even, got {frames}; use {frames + 1}."
        )
