"""Attention of STAR-Transformer: zigzag and binary against full, time and peak memory, forward and backward.

    python benchmarks/attention.py [--batch=4] [--precision=bfloat16]

Queries, keys and values are those of one layer of the paper's network: 16 frames of 49 grid and 17 joint tokens, 8
heads of 64 features. "zigzag" and "binary" hold two matrices of scores, of half the frames by the other half each; "one
of zigzag" is the first of its two alone. Times are the least of several runs, taken in turn in one process. Memory is
what a process of its own holds at its peak beyond what it held before the call: on a GPU by TensorFlow's own count,
else by /proc (Linux only).

Predicted: each matrix of scores has a quarter of the full one's entries, and scores are nearly all of the time and of
the memory: so 4 times less for one of them, and 2 times for both. Backward somewhat less, since the gradients of
queries, keys and values are of the same size for all.

Got on two cores (AMD EPYC), float32, batch 4: forward 1.7 (zigzag) and 1.8 times (binary) in time, 2.0 times in memory,
4.1 times for one of zigzag's two matrices; both ways 1.8 to 1.9 times in time, 1.8 in memory, 3.8 for one of the two.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import pathlib
import subprocess
import sys

import tensorflow as tf
from absl import app, flags
from memory import megabytes
from networks import seconds

from kerapose.ops import attention

FLAGS = flags.FLAGS
FRAMES, TOKENS, HEADS, FEATURES = 16, 49 + 17, 8, 64


def one_of_zigzag(queries, keys, values):
    """Odd frames look at even ones, and not the reverse."""
    return attention.full_attention(queries[:, :, 1::2], keys[:, :, ::2], values[:, :, ::2])


PATTERNS = {
    "full": attention.full_attention,
    "zigzag": attention.zigzag_attention,
    "binary": attention.binary_attention,
    "one of zigzag": one_of_zigzag,
}
WAYS = ("forward", "both ways")


def inputs(frames=FRAMES):
    """Queries, keys and values [3, B, heads, T, S, D]."""
    shape = (3, FLAGS.batch, HEADS, frames, TOKENS, FEATURES)
    return tf.cast(tf.random.stateless_normal(shape, (0, 0)), FLAGS.precision)


def forward_of(pattern):
    return tf.function(lambda x: tf.reduce_sum(tf.cast(pattern(*tf.unstack(x)), "float32")))


def both_ways_of(pattern):
    """Forward and backward: the gradient to queries, keys and values, summed up so that little has to be copied."""

    @tf.function
    def run(x):
        parts = tf.unstack(x)
        with tf.GradientTape() as tape:
            tape.watch(parts)
            attended = tf.cast(pattern(*parts), "float32")
            loss = tf.reduce_sum(tf.square(attended))
        return tf.add_n([tf.reduce_sum(tf.cast(gradient, "float32")) for gradient in tape.gradient(loss, parts)])

    return run


MAKERS = dict(zip(WAYS, (forward_of, both_ways_of), strict=True))


def peak_of(function, x):
    """Megabytes that the call holds at its peak, beyond what there was before it."""
    function(x[..., :2, :, :]).numpy()  # what it takes to be traced does not count
    if tf.config.list_physical_devices("GPU"):
        before = tf.config.experimental.get_memory_info("GPU:0")["current"]
        tf.config.experimental.reset_memory_stats("GPU:0")
        function(x).numpy()
        return (tf.config.experimental.get_memory_info("GPU:0")["peak"] - before) / 2**20
    before = megabytes("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew at what is held now
    function(x).numpy()
    return megabytes("VmHWM") - before


def measured_peak(name, way):
    """Megabytes at the peak, measured in a process of its own."""
    one = [sys.executable, __file__, f"--peak_of={name},{way}", f"--batch={FLAGS.batch}"]
    done = subprocess.run([*one, f"--precision={FLAGS.precision}"], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def main(_):
    if FLAGS.peak_of:
        name, way = FLAGS.peak_of
        print(peak_of(MAKERS[way](PATTERNS[name]), inputs()))
        return
    print(
        f"{FLAGS.batch} clips of {FRAMES} x {TOKENS} tokens, {HEADS} heads of {FEATURES}, {FLAGS.precision}, "
        f"least of {FLAGS.repeats}; ratios say how many times less than full"
    )
    print(f"{'':10} {'pattern':14} {'ms a clip':>10} {'ratio':>6} {'peak, MB a clip':>16} {'ratio':>6}")
    x = inputs()
    for way, make in MAKERS.items():
        times = seconds([make(pattern) for pattern in PATTERNS.values()], x, FLAGS.repeats)
        peaks = [measured_peak(name, way) for name in PATTERNS]
        for name, time, peak in zip(PATTERNS, times, peaks, strict=True):
            milliseconds, ratio = time * 1e3 / FLAGS.batch, times[0] / time
            memory = f"{peak / FLAGS.batch:16.1f} {peaks[0] / max(peak, 1e-9):6.2f}"
            print(f"{way:10} {name:14} {milliseconds:10.2f} {ratio:6.2f} {memory}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("batch", 4, "Clips a batch.", lower_bound=1)
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of queries, keys and values.")
    flags.DEFINE_integer("repeats", 5, "Counted runs of each; the fastest counts.", lower_bound=1)
    flags.DEFINE_list("peak_of", None, "Pattern and way whose peak this process measures, in place of everything.")
    app.run(main)
