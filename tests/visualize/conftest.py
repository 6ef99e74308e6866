"""Fixtures of the drawings' tests: a person in space, and readers of animation files."""

import av
import numpy as np
import pytest
from PIL import Image

from kerapose.skeletons import H36M


@pytest.fixture(scope="session")
def standing():
    """A function that gives a person of Human3.6M's joints in camera space, facing the camera, root-relative.

    That is [17, 3], or with a number of frames [T, 17, 3], in which the person wobbles.
    """

    def standing(frames=None):
        pose = np.zeros((17, 3))
        for name, x, y in [
            ("knee", 0.1, 0.45), ("ankle", 0.12, 0.9), ("hip", 0.12, 0.0),
            ("shoulder", 0.2, -0.5), ("elbow", 0.4, -0.3), ("wrist", 0.5, -0.05),
        ]:  # fmt: skip
            pose[H36M.index(f"left_{name}"), :2] = x, y
            pose[H36M.index(f"right_{name}"), :2] = -x, y
        for name, y in (("spine", -0.25), ("thorax", -0.5), ("nose", -0.62), ("head", -0.75)):
            pose[H36M.index(name), 1] = y
        if frames is None:
            return pose
        wobble = np.sin(np.arange(frames)[:, None, None] / 5 + np.arange(17)[:, None])
        return pose + 0.05 * wobble * [1, 0, 1]

    return standing


@pytest.fixture(scope="session")
def read_gif():
    """A function that reads a GIF: its frames as RGB, and how many milliseconds each is shown."""

    def read_gif(path):
        with Image.open(path) as file:
            frames, times = [], []
            for index in range(file.n_frames):
                file.seek(index)
                frames.append(np.array(file.convert("RGB")))
                times.append(file.info["duration"])
        return np.stack(frames), times

    return read_gif


@pytest.fixture(scope="session")
def read_mp4():
    """A function that reads an MP4: its frames as RGB, their number a second, and the name of the codec."""

    def read_mp4(path):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            return np.stack(frames), stream.average_rate, stream.codec_context.name

    return read_mp4
