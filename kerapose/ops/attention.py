"""Attention among the tokens of a clip: of every frame to every frame, or of one half of the frames to the other.

Queries, keys and values are [..., T, S, D]: T frames of S tokens each, D features a head. Axes of batch and heads
stand before these.

Paper: Ahn et al., "STAR-Transformer: A Spatio-temporal Cross Attention Transformer for Human Action Recognition", WACV
2023.
"""

from kerapose.ops.graphs import ops
from kerapose.types import Tensor

__all__ = [
    "attend",
    "attention_weights",
    "binary_attention",
    "full_attention",
    "zigzag_attention",
]


def full_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Full attention (FAttn): every token looks at the tokens of all frames.

    The matrix of scores has T²S² entries.

    Args:
        queries: [..., T, S, D], float.
        keys: [..., T, S, D].
        values: [..., T, S, D].

    Returns:
        [..., T, S, D], of the type of `values`.

    Example:
        >>> from kerapose.ops import attention
        >>> tokens = np.ones((2, 4, 3, 8), "float32")  # 2 heads, 4 frames of 3 tokens, 8 features
        >>> tuple(attention.full_attention(tokens, tokens, tokens).shape)
        (2, 4, 3, 8)

    Paper: Ahn et al., WACV 2023; see the top of this module.
    """
    attended = attend(*(_flat(x) for x in (queries, keys, values)))
    return ops.reshape(attended, ops.shape(queries))


def zigzag_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Zigzag attention (ZAttn): tokens of odd frames look at those of even frames, and the reverse.

    The two matrices of scores have T²S²/4 entries each, together half of those of full attention.

    Args:
        queries: [..., T, S, D], T even, float.
        keys: [..., T, S, D].
        values: [..., T, S, D].

    Returns:
        [..., T, S, D], of the type of `values`.

    Raises:
        ValueError: if T is odd.

    Example:
        >>> from kerapose.ops import attention
        >>> frames = np.arange(4, dtype="float32").reshape(4, 1, 1)  # 4 frames of one token, which is their number
        >>> equal = np.zeros_like(frames)  # all queries and keys alike: the mean of what is seen
        >>> np.asarray(attention.zigzag_attention(equal, equal, frames)).ravel().tolist()
        [2.0, 1.0, 2.0, 1.0]

    Paper: Ahn et al., WACV 2023; see the top of this module.
    """
    queries, keys, values = (_interleaved(x, "zigzag") for x in (queries, keys, values))  # [..., 2, T/2, S, D]
    attended = _across(queries, keys, values)
    return ops.reshape(ops.swapaxes(attended, -4, -3), _frame_shape(attended))


def binary_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Binary attention (BAttn): tokens of the first half of the frames look at those of the second, and the reverse.

    The two matrices of scores have T²S²/4 entries each, together half of those of full attention.

    Args:
        queries: [..., T, S, D], T even, float.
        keys: [..., T, S, D].
        values: [..., T, S, D].

    Returns:
        [..., T, S, D], of the type of `values`.

    Raises:
        ValueError: if T is odd.

    Example:
        >>> from kerapose.ops import attention
        >>> frames = np.arange(4, dtype="float32").reshape(4, 1, 1)  # 4 frames of one token, which is their number
        >>> equal = np.zeros_like(frames)  # all queries and keys alike: the mean of what is seen
        >>> np.asarray(attention.binary_attention(equal, equal, frames)).ravel().tolist()
        [2.5, 2.5, 0.5, 0.5]

    Paper: Ahn et al., WACV 2023; see the top of this module.
    """
    queries, keys, values = (_halved(x, "binary") for x in (queries, keys, values))  # [..., 2, T/2, S, D]
    attended = _across(queries, keys, values)
    return ops.reshape(attended, _frame_shape(attended))


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention of N queries to P keys and their values.

    Args:
        queries: [..., N, D], float.
        keys: [..., P, D].
        values: [..., P, D].

    Returns:
        [..., N, D], of the type of `values`.

    Example:
        >>> from kerapose.ops import attention
        >>> keys, values = np.eye(2, dtype="float32") * 20, np.array([[1.0, 0.0], [0.0, 5.0]], "float32")
        >>> np.asarray(attention.attend(keys[1:], keys, values)).tolist()  # a query that is the second key
        [[0.0, 5.0]]
    """
    return ops.matmul(ops.cast(attention_weights(queries, keys), values.dtype), values)


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """How much each of N queries looks at each of P keys.

    Args:
        queries: [..., N, D], float.
        keys: [..., P, D].

    Returns:
        [..., N, P] float32, of sum 1 over the keys.

    Example:
        >>> from kerapose.ops import attention
        >>> queries, keys = np.array([[0.0, 0.0], [4.0, 0.0]], "float32"), np.eye(2, dtype="float32")
        >>> np.asarray(attention.attention_weights(queries, keys)).tolist()
        [[0.5, 0.5], [0.94, 0.06]]
    """
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
