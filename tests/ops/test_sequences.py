"""Frame sampling against the published indices and NumPy's legacy generator, one call at a time; gaps of tracks."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import sequences

unconverted = tf.autograph.experimental.do_not_convert  # AutoGraph has nothing to do there, and takes long to see it
GOLDEN_LENGTHS = (1, 5, 20, 47, 48, 60, 95, 96, 97, 150, 300)


def slow_sample(length, num_frames, num_clips, seed, random_start=False, p_interval=None):
    """Uniform sampling with the calls of the legacy generator that the published indices come from.

    `seed` may be a generator, which then goes on from where it is.
    """
    random = seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)
    clips, whole = [], length
    for clip in range(num_clips):
        place = 0
        if p_interval is None:
            random.random_sample()  # the published code draws a share of the sequence here, of which this is the whole
        else:
            share = random_share(random) * (p_interval[1] - p_interval[0]) + p_interval[0]
            length = max(1, int(share * whole))
            place = random.randint(whole - length + 1)
        if length < num_frames:
            start = clip if length < num_clips else clip * length // num_clips
            if random_start:
                start = random.randint(0, length)
            indices = start + np.arange(num_frames)
        elif length < 2 * num_frames:
            skipped_before = np.zeros(num_frames + 1, int)
            skipped_before[random.choice(num_frames + 1, length - num_frames, replace=False)] = 1
            indices = np.arange(num_frames) + np.cumsum(skipped_before)[:-1]
        else:
            edges = np.arange(num_frames + 1) * length // num_frames
            indices = edges[:-1] + random.randint(np.diff(edges))
        clips.append((indices + place) % whole)
    return np.stack(clips)


def random_share(random):
    """A number in [0, 1) as the generator makes it, of the lower 31 bits of its two words: the op has no more."""
    first, second = (int(random.randint(0, 2**32, dtype=np.uint32)) % 2**31 for _ in range(2))
    return ((first >> 4) * 2**26 + (second >> 5)) / 2**53


@functools.cache
def sampler(num_frames, num_clips=1, random_start=False, p_interval=(1.0, 1.0)):
    """The op as one graph for any length and any words; None stands for the published words."""
    count = sequences.num_words(num_frames, num_clips)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32), tf.TensorSpec((count,), tf.int32)], autograph=False)
    def sample(length, words):
        return sequences.sample_frames(length, num_frames, num_clips, words, random_start, p_interval)

    published = sequences.published_words(num_frames, num_clips)
    return lambda length, words=None: sample(length, published if words is None else words).numpy()


# ---------------------------------------- published indices
@pytest.mark.parametrize("num_clips, output", [(10, "output_test_n"), (1, "output_test1_n")])
def test_golden_of_the_test_mode(golden, num_clips, output):
    case = golden("uniform_sample_48")
    for length in GOLDEN_LENGTHS:
        indices = sampler(48, num_clips)(length)
        assert indices.shape == (num_clips, 48)
        case.check(f"{output}{length}", np.ravel(indices))


@pytest.mark.parametrize(
    "num_clips, seed, output", [(1, 0, "train_n{}_s0"), (1, 7, "train_n{}_s7"), (2, 0, "train2_n{}_s0")]
)
def test_golden_of_the_training_mode(golden, num_clips, seed, output):
    case, words = golden("uniform_sample_48"), sequences.published_words(48, num_clips, seed)
    for length in GOLDEN_LENGTHS:
        indices = sampler(48, num_clips, random_start=True)(length, words)
        case.check("output_" + output.format(length), np.ravel(indices))


@pytest.mark.parametrize("name", ["pipeline_val", "pipeline_test", "pipeline_train", "pipeline_train_limb"])
def test_golden_frames_of_a_whole_pipeline(golden, name):
    case = golden(name)
    num_frames, num_clips, training = case.config["clip_len"], case.config["num_clips"], case.config["kind"] == "train"
    words = sequences.published_words(num_frames, num_clips, case.config["seed"]) if training else None
    length = case["input_keypoint"].shape[1]
    indices = sequences.sample_frames(length, num_frames, num_clips, words, random_start=training)
    np.testing.assert_array_equal(np.ravel(indices), case["output_frame_inds"])


# ---------------------------------------- against the slow version
@pytest.mark.parametrize("num_frames, num_clips", [(48, 10), (1, 2)])
def test_every_length_equals_the_legacy_generator(num_frames, num_clips):
    sample = sampler(num_frames, num_clips)
    for length in range(1, max(100, 4 * num_frames)):  # longer ones are cut into segments as those of two or more are
        expected = slow_sample(length, num_frames, num_clips, sequences.PUBLISHED_SEED)
        np.testing.assert_array_equal(sample(length), expected, err_msg=f"{length} frames")


@pytest.mark.parametrize("num_frames, num_clips", [(48, 1), (16, 3)])
def test_random_start_at_every_length_equals_the_legacy_generator(num_frames, num_clips):
    sample = sampler(num_frames, num_clips, random_start=True)
    for length in range(1, 3 * num_frames):
        words = sequences.published_words(num_frames, num_clips, seed=length)
        expected = slow_sample(length, num_frames, num_clips, length, random_start=True)
        np.testing.assert_array_equal(sample(length, words), expected, err_msg=f"{length} frames")


@pytest.mark.parametrize("length", [48 * 3, 48 * 5, 48 * 9, 48 * 257])
def test_words_last_where_most_are_rejected(length):
    """Draws below 2^k + 1 reject nearly every second word: no other length consumes more."""
    sample = sampler(48, 10)
    for seed in range(15):
        words = sequences.published_words(48, 10, seed)
        np.testing.assert_array_equal(sample(length, words), slow_sample(length, 48, 10, seed))


def test_published_words_are_the_raw_stream():
    words = sequences.published_words(48, 10)
    assert words.dtype == np.int32
    assert words.min() >= 0
    assert len(words) == sequences.num_words(48, 10)
    random = np.random.RandomState(sequences.PUBLISHED_SEED)
    assert words[:50].tolist() == [random.randint(0, 2**32, dtype=np.uint32) % 2**31 for _ in range(50)]
    np.testing.assert_array_equal(words[:100], sequences.published_words(48)[:100])


# ---------------------------------------- of intervals
@pytest.mark.parametrize("p_interval", [(0.5, 1.0), (0.29, 0.29), (1.0, 1.0)])
@pytest.mark.parametrize("num_clips, random_start", [(1, True), (3, True), (3, False)])
def test_intervals_equal_the_legacy_generator(p_interval, num_clips, random_start):
    sample, random_lengths = sampler(8, num_clips, random_start, p_interval), np.random.default_rng(0)
    for length in (*range(1, 40), 100, *random_lengths.integers(41, 400, 10).tolist()):  # 0.29 * 100 is below 29
        words = sequences.published_words(8, num_clips, seed=length)
        expected = slow_sample(length, 8, num_clips, length, random_start, p_interval)
        np.testing.assert_array_equal(sample(length, words), expected, err_msg=f"{length} frames")


def test_intervals_of_the_test_mode_are_the_published_generators():
    """Where the share is fixed, no bit of the generator is missing: these are its very indices."""
    expected = slow_sample(150, 16, 4, sequences.PUBLISHED_SEED, p_interval=(0.95, 0.95))
    np.testing.assert_array_equal(sequences.sample_frames(150, 16, 4, p_interval=(0.95, 0.95)), expected)


def test_intervals_have_the_shares_and_lie_everywhere():
    sample, firsts, lasts = sampler(8, 1, True, (0.5, 0.75)), [], []
    for seed in range(300):
        (indices,) = sample(200, sequences.published_words(8, 1, seed))
        firsts.append(indices[0])
        lasts.append(indices[-1])
    spread = np.subtract(lasts, firsts)
    assert spread.max() < 150 and spread.min() > 0.75 * 100  # 6 whole segments of the 8 at least
    assert min(firsts) < 10 and max(lasts) > 190
    assert 85 < np.median(spread) < 140


@pytest.mark.parametrize("p_interval", [(0.0, 1.0), (0.8, 0.5), (0.5, 1.1), (0.5,), (float("nan"), 1.0)])
def test_shares_of_intervals_are_shares(p_interval):
    with pytest.raises(ValueError, match="p_interval must be two shares .* half of one or more"):
        sequences.sample_frames(100, 8, p_interval=p_interval)


# ---------------------------------------- what random words give
def random_words(num_frames, num_clips, seed):
    count = sequences.num_words(num_frames, num_clips)
    return np.random.default_rng(seed).integers(0, 2**31, count, "int32")


def many_clips(length, num_frames, num_clips, random_start=False):
    """At least `num_clips` clips from as many random words as it takes, 25 clips at a time."""
    sample = sampler(num_frames, 25, random_start)
    return np.concatenate([sample(length, random_words(num_frames, 25, seed)) for seed in range(num_clips // 25)])


@pytest.mark.parametrize("random_start", [False, True])
def test_indices_are_in_range_and_ordered(random_start):
    sample = sampler(16, 3, random_start)
    for seed, length in enumerate([1, 2, 3, 15, 16, 17, 31, 32, 33, 100, 5000]):
        indices = sample(length, random_words(16, 3, seed))
        assert indices.dtype == np.int32 and indices.shape == (3, 16)
        assert indices.min() >= 0 and indices.max() < length
        step = np.diff(indices, axis=1)
        if length < 16:
            assert np.all((step == 1) | (step == 1 - length))
        else:
            assert np.all(step >= 1)
            assert length >= 32 or np.all(step <= length - 15)


def test_a_long_sequence_gives_every_frame_of_each_segment_equally_often():
    length, num_frames, num_clips = 70, 10, 2000  # ten segments of seven frames
    indices = many_clips(length, num_frames, num_clips)
    assert np.all(indices // 7 == np.arange(10))
    counts = np.stack([np.bincount(column % 7, minlength=7) for column in indices.T])
    expected = num_clips / 7
    chi_squared = np.sum((counts - expected) ** 2 / expected)  # 60 degrees of freedom
    assert chi_squared < 60 + 5 * np.sqrt(2 * 60)


def test_skipped_frames_are_spread_evenly():
    length, num_frames, num_clips = 14, 10, 3000  # four of eleven places are skipped
    indices = many_clips(length, num_frames, num_clips)
    step = np.diff(np.concatenate([np.full((num_clips, 1), -1), indices, np.full((num_clips, 1), length)], 1), axis=1)
    skips = step - 1
    assert np.all((skips == 0) | (skips == 1))
    assert np.all(skips.sum(1) == 4)
    np.testing.assert_allclose(skips.mean(0), 4 / 11, atol=5 * np.sqrt(4 * 7 / 121 / num_clips))


def test_looped_clips_start_anywhere_in_training_and_evenly_spread_in_test():
    trained = many_clips(5, num_frames=8, num_clips=500, random_start=True)
    assert set(trained[:, 0]) == {0, 1, 2, 3, 4}
    counts = np.bincount(trained[:, 0])
    np.testing.assert_allclose(counts, 100, atol=5 * np.sqrt(500 * 0.2 * 0.8))
    for length, starts in ((5, [0, 1, 2, 3, 4]), (7, [0, 2, 4]), (2, [0, 1, 0, 1])):
        np.testing.assert_array_equal(sequences.sample_frames(length, 8, len(starts))[:, 0], starts)


def test_the_same_words_give_the_same_frames_and_others_give_others():
    sample = sampler(16)
    words, others = random_words(16, 1, 3), random_words(16, 1, 4)
    np.testing.assert_array_equal(sample(100, words), sample(100, words))
    assert np.any(sample(100, words) != sample(100, others))


# ---------------------------------------- inside tf.data
def test_inside_tf_data_with_lengths_known_only_when_it_runs():
    lengths = [1, 7, 15, 16, 20, 31, 32, 33, 300]
    words = np.stack([sequences.published_words(16, 2, seed=length) for length in lengths])
    clips = tf.data.Dataset.from_tensor_slices((lengths, words))
    clips = clips.map(unconverted(lambda length, w: sequences.sample_frames(length, 16, 2, w, True)))
    assert clips.element_spec == tf.TensorSpec((2, 16), tf.int32)
    for length, indices in zip(lengths, clips, strict=True):
        np.testing.assert_array_equal(indices, slow_sample(length, 16, 2, length, random_start=True))


def test_int64_lengths_from_a_dataset():
    sample = unconverted(lambda length: sequences.sample_frames(length, 48, 10))
    clips = tf.data.Dataset.range(40, 200, 37).map(sample)
    for length, indices in zip(range(40, 200, 37), clips, strict=True):
        np.testing.assert_array_equal(indices, slow_sample(length, 48, 10, sequences.PUBLISHED_SEED))


# ---------------------------------------- pictures and poses
PAIR_LENGTHS = (6, 20, 40, 64, 120)


@pytest.mark.parametrize("length", PAIR_LENGTHS)
def test_golden_of_pictures_and_poses(golden, length):
    case = golden("mm_uniform_sample")
    assert tuple(case.config["num_frames"]) == PAIR_LENGTHS
    words = sequences.published_words(8 + 32, seed=1)
    for mode, options in (
        ("test10", {"num_clips": 10}),
        ("test1", {}),
        ("train_s1", {"words": words, "random_start": True}),
    ):
        rgb, pose = sequences.sample_rgb_and_pose(length, 8, 32, aligned=False, **options)
        case.check(f"output_rgb_{mode}_n{length}", np.ravel(rgb))
        case.check(f"output_pose_{mode}_n{length}", np.ravel(pose))


@functools.cache
def pair_sampler(rgb_frames, pose_frames, num_clips=1, random_start=False, aligned=True):
    count = sequences.num_words(rgb_frames + pose_frames, num_clips)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32), tf.TensorSpec((count,), tf.int32)], autograph=False)
    def sample(length, words):
        return sequences.sample_rgb_and_pose(length, rgb_frames, pose_frames, num_clips, words, random_start, aligned)

    return lambda length, words: [indices.numpy() for indices in sample(length, words)]


@pytest.mark.parametrize("rgb_frames, pose_frames, num_clips, random_start", [(8, 32, 10, False), (6, 2, 3, True)])
def test_poses_are_drawn_from_where_the_pictures_left_the_generator(rgb_frames, pose_frames, num_clips, random_start):
    sample = pair_sampler(rgb_frames, pose_frames, num_clips, random_start, aligned=False)
    for length in range(2, 3 * max(rgb_frames, pose_frames), 3):
        words = sequences.published_words(rgb_frames + pose_frames, num_clips, seed=length)
        random = np.random.RandomState(length)
        for count, indices in zip((rgb_frames, pose_frames), sample(length, words), strict=True):
            expected = slow_sample(length, count, num_clips, random, random_start)
            np.testing.assert_array_equal(indices, expected, err_msg=f"{length} frames")


@pytest.mark.parametrize("length", [8 * 3, 8 * 257, 32 * 3, 32 * 257])
def test_words_last_for_pictures_and_poses(length):
    sample = pair_sampler(8, 32, 10, aligned=False)
    for seed in range(10):
        random = np.random.RandomState(seed)
        rgb, pose = sample(length, sequences.published_words(8 + 32, 10, seed))
        np.testing.assert_array_equal(rgb, slow_sample(length, 8, 10, random))
        np.testing.assert_array_equal(pose, slow_sample(length, 32, 10, random))


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("length", [5, 50, 300])
def test_on_one_clock_a_picture_is_the_frame_of_its_pose(length, random_start):
    sample = pair_sampler(8, 32, 3, random_start)
    words = random_words(8 + 32, 3, seed=length)
    rgb, pose = sample(length, words)
    assert rgb.shape == (3, 8) and pose.shape == (3, 32) and rgb.dtype == pose.dtype == np.int32
    np.testing.assert_array_equal(pose, sampler(32, 3, random_start)(length, words[: sequences.num_words(32, 3)]))
    for i in range(8):
        np.testing.assert_array_equal(rgb[:, i], pose[:, i * 32 // 8])


def test_on_one_clock_the_published_words_are_the_default():
    rgb, pose = sequences.sample_rgb_and_pose(100, 16, 16)
    np.testing.assert_array_equal(rgb, pose)
    np.testing.assert_array_equal(pose, sequences.sample_frames(100, 16))


@pytest.mark.parametrize("rgb_frames, pose_frames", [(12, 32), (32, 8)])
def test_on_one_clock_the_rates_have_a_whole_ratio(rgb_frames, pose_frames):
    with pytest.raises(ValueError, match=f"multiple of rgb_frames, got {pose_frames} and {rgb_frames}; change one"):
        sequences.sample_rgb_and_pose(100, rgb_frames, pose_frames)


def test_pictures_and_poses_inside_tf_data():
    sample = unconverted(lambda length: sequences.sample_rgb_and_pose(length, 8, 32, 2, aligned=False))
    clips = tf.data.Dataset.range(5, 200, 13).map(sample)
    assert clips.element_spec == (tf.TensorSpec((2, 8), tf.int32), tf.TensorSpec((2, 32), tf.int32))
    for length, (rgb, pose) in zip(range(5, 200, 13), clips, strict=True):
        np.testing.assert_array_equal(rgb, slow_sample(length, 8, 2, sequences.PUBLISHED_SEED))
        np.testing.assert_array_equal(pose, slow_sample(length, 32, 2, sequences.PUBLISHED_SEED))


# ---------------------------------------- gaps
def slow_fill(keypoints, found):
    """Each coordinate of each keypoint by itself, between the frames that have it."""
    filled = np.zeros_like(keypoints)
    for *track, k, axis in np.ndindex(*keypoints.shape[:-3], *keypoints.shape[-2:]):
        place = (*track, slice(None), k)
        frames = np.flatnonzero(found[place])
        if len(frames):
            filled[(*place, axis)] = np.interp(np.arange(found.shape[-2]), frames, keypoints[(*place, axis)][frames])
    return filled


@pytest.mark.parametrize("lost, lead", [(0.0, ()), (0.3, (2, 2)), (0.9, (3,))])
def test_gaps_are_filled_along_straight_lines(lost, lead):
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 1000, (*lead, 30, 5, 2)).astype("float32")
    found = random.random((*lead, 30, 5)) >= lost
    given = np.where(found[..., None], keypoints, np.nan)
    expected = slow_fill(keypoints, found)
    results = [sequences.fill_gaps(given, found)]
    if lost == 0.3:
        results += tf.data.Dataset.from_tensors((given, found)).map(unconverted(sequences.fill_gaps))
        unknown = [tf.TensorSpec([None] * (len(lead) + rank), dtype) for rank, dtype in ((3, "float32"), (2, "bool"))]
        results.append(tf.function(sequences.fill_gaps, input_signature=unknown, autograph=False)(given, found))
    for filled in results:
        np.testing.assert_allclose(filled, expected, atol=1e-3)
        np.testing.assert_array_equal(np.asarray(filled)[found], keypoints[found])


def test_a_keypoint_that_is_never_found_is_zero():
    filled = np.asarray(sequences.fill_gaps(np.full((4, 2, 2), np.nan), np.array([[False, True]] * 4)))
    assert (filled[:, 0] == 0).all() and np.isnan(filled[:, 1]).all()
