"""The three patterns of attention, against full attention with a mask, written in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import attention

PATTERNS = {
    "full": (attention.full_attention, lambda asking, asked, frames: True),
    "zigzag": (attention.zigzag_attention, lambda asking, asked, frames: asking % 2 != asked % 2),
    "binary": (
        attention.binary_attention,
        lambda asking, asked, frames: (asking < frames // 2) != (asked < frames // 2),
    ),
}


def tokens(shape, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for _ in range(3)]


def masked(queries, keys, values, may_look):
    """Every token of [T, S, D] looks at those tokens of the frames that its own frame may look at, one by one."""
    frames, count, features = queries.shape
    attended = np.zeros(queries.shape)
    for asking in range(frames):
        seen = [asked for asked in range(frames) if may_look(asking, asked, frames)]
        seen_keys = keys[seen].reshape(-1, features).astype("float64")
        seen_values = values[seen].reshape(-1, features)
        for token in range(count):
            scores = seen_keys @ queries[asking, token] / np.sqrt(features)
            weights = np.exp(scores - scores.max())
            attended[asking, token] = weights / weights.sum() @ seen_values
    return attended


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("frames", [2, 6])
def test_a_pattern_is_masked_full_attention(name, frames):
    attend, may_look = PATTERNS[name]
    queries, keys, values = tokens((2, 3, frames, 5, 4))
    attended = np.asarray(attend(queries, keys, values))
    assert attended.shape == queries.shape
    for clip in range(2):
        for head in range(3):
            expected = masked(queries[clip, head], keys[clip, head], values[clip, head], may_look)
            np.testing.assert_allclose(attended[clip, head], expected, atol=2e-6)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_graph_gives_the_same_for_any_batch_and_without_one(name):
    attend, _ = PATTERNS[name]
    queries, keys, values = tokens((4, 2, 4, 3, 8))
    expected = np.asarray(attend(queries, keys, values))
    signature = [tf.TensorSpec((None, 2, 4, 3, 8))] * 3
    np.testing.assert_allclose(
        tf.function(attend, input_signature=signature)(queries, keys, values), expected, atol=1e-6
    )
    np.testing.assert_allclose(attend(queries[0, 0], keys[0, 0], values[0, 0]), expected[0, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["zigzag", "binary"])
def test_values_of_the_own_half_have_no_effect(name):
    attend, may_look = PATTERNS[name]
    queries, keys, values = tokens((1, 1, 4, 3, 8))
    before = np.asarray(attend(queries, keys, values))
    values[:, :, 2] += 1.0
    changed = np.any(np.asarray(attend(queries, keys, values)) != before, axis=(0, 1, 3, 4))
    assert changed.tolist() == [may_look(frame, 2, 4) for frame in range(4)]


def test_weights_sum_to_one_and_keep_small_ones_in_bfloat16():
    queries, keys, _ = (tf.cast(x, "bfloat16") for x in tokens((1, 500, 8)))
    weights = attention.attention_weights(queries, keys)
    assert weights.dtype == tf.float32 and weights.shape == (1, 500, 500)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", ["zigzag", "binary"])
def test_an_odd_number_of_frames_has_no_halves(name):
    with pytest.raises(ValueError, match=f"{name} attention pairs two halves .* even, got 3; use 4."):
        PATTERNS[name][0](*tokens((1, 1, 3, 2, 4)))
