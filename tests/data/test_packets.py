"""Files that are larger than what is held of them, and frames that are missing in them."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from kerapose.data import frames, packets

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEGABYTES = 64  # of the file; what is held of it must be far less
MEASURE = """
import pathlib, sys
import av
from kerapose.data import frames

def peak_mb():
    line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

frames.read(sys.argv[1], [0])  # what has to be loaded and allocated once
before = peak_mb()
frames.probe(sys.argv[1])
frames.read(sys.argv[1], [5, 300, 800, 1000, 200, 999, 17, 64])
assert sum(1 for _ in frames.iterate(sys.argv[1])) == 1024
print(peak_mb() - before)
"""


@pytest.fixture(scope="module", params=["avi", "matroska", "mov"])
def large_file(request, tmp_path_factory):
    """A video of large, uncompressed frames."""
    import av

    path = tmp_path_factory.mktemp("large") / f"film.{request.param}"
    random = np.random.default_rng(0)
    with av.open(str(path), "w", format=request.param) as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = 128, 256, "yuyv422"
        picture = av.VideoFrame.from_ndarray(random.integers(0, 256, (128, 256, 3), "uint8"), "rgb24")
        for _ in range(MEGABYTES * 2**20 // (128 * 256 * 2)):
            container.mux(stream.encode(picture.reformat(format="yuyv422")))
        container.mux(stream.encode())
    assert path.stat().st_size > MEGABYTES * 2**20
    return path


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="peak memory is read off /proc")
def test_a_file_is_never_whole_in_memory(large_file):
    """Measured by the kernel in a process of its own: Python does not see what FFmpeg allocates."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(large_file)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < MEGABYTES / 8


# ---------------------------------------- frames that are missing
def steady(count=40, step=3003):
    return np.arange(count) * step


@pytest.mark.parametrize("step", [1, 33, 512, 3003])
@pytest.mark.parametrize("lost", [[20], [20, 21, 22], [5, 30], [1, 2, 15, 38], list(range(3, 27))])
def test_gaps_between_equal_steps(step, lost):
    times = np.delete(steady(step=step), lost)
    gaps = packets.find_gaps(times)
    assert sum(missing for _, missing in gaps) == len(lost)
    assert [times[before] // step + 1 for before, _ in gaps] == [one for one in lost if one - 1 not in lost]


@pytest.mark.parametrize("rate", [24000 / 1001, 29.97, 59.94, 144])
def test_rounded_times_are_steady(rate):
    milliseconds = np.round(1000 * np.arange(200) / rate)
    assert packets.find_gaps(milliseconds) == []
    assert packets.find_gaps(np.delete(milliseconds, [50, 51])) == [(49, 2)]


@pytest.mark.parametrize(
    "times",
    [
        np.delete(steady(), np.arange(2, 40, 5)),  # a fifth of the steps are double: frames that repeat are left out
        np.cumsum(np.random.default_rng(0).integers(20, 47, 100)),
        np.cumsum(np.tile([3003, 4504, 3003, 4505], 20)),  # film on television
        np.cumsum([*[100] * 20, 250, *[100] * 20]),  # a pause of no whole number of frames
        steady(8),
        [0],
    ],
    ids=["repeats", "any", "pulldown", "pause", "short", "one"],
)
def test_no_gaps_where_the_rate_varies_or_is_not_known(times):
    assert packets.find_gaps(times) == []


def test_places_in_a_sentence():
    assert packets.listed([3]) == "3"
    assert packets.listed([3, 7, 12]) == "3, 7 and 12"
    assert packets.listed([1, 2, 3, 4, 5]) == "1, 2, 3, 4 and 5"
    assert packets.listed(range(1, 37)) == "1, 2, 3, 4, 5 and 31 more"


def test_bytes_are_not_copied(tmp_path):
    content = frames.encode(np.zeros((3, 16, 16, 3), "uint8"), 25)
    with packets.opened(content) as opened:
        assert opened._file.getvalue() is content  # BytesIO shares what it is given until somebody writes
