"""The frames of a clip: decoded in a graph, of a whole video, in the dark, and with joints that were missed."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kerapose.data import frames
from kerapose.data import images as image_files
from kerapose.ops import sequences
from kerapose.ops.graphs import ops
from kerapose.types import Tensor

__all__ = [
    "darkened",
    "decode",
    "missed",
    "sampled",
]

_TOLD = set()  # videos whose lost frames have been told of


def decode(video: Tensor, indices: Tensor, name: Tensor = "", is_path: bool = False) -> Tensor:
    """Decodes some frames of a video, and of the others only what these need.

    In the place of a frame that cannot be decoded stands the nearest one, and one warning a video says so.

    Args:
        video: scalar string, the content of a file.
        indices: [L] int32, frames in the order of presentation, counted from 0; in any order, any of them twice.
        name: scalar string, what errors call the video.
        is_path: whether `video` is the path of a file, which is then not read as a whole.

    Returns:
        [L, H, W, 3] uint8, RGB.

    Raises:
        tf.errors.InvalidArgumentError: when run, naming the video, if it cannot be read or has no such frame.

    Example:
        >>> import pathlib
        >>> from kerapose.data import videos
        >>> frames = videos.decode(pathlib.Path("walk.mp4").read_bytes(), [0, 10, 20])
        >>> tuple(frames.shape), frames.dtype.name
        ((3, 240, 320, 3), 'uint8')
    """

    def read(video, indices, name):
        video, name = (x.item() if isinstance(x, np.ndarray) else x for x in (video, name))  # arrays where eager
        return _read_frames(os.fsdecode(video) if is_path else video, indices, name.decode())

    indices, name = tf.convert_to_tensor(indices, tf.int32), tf.convert_to_tensor(name)
    # Declared stateless, which it is: tf.data would otherwise run one at a time where operations are deterministic.
    decoded = tf.numpy_function(read, [video, indices, name], tf.uint8, stateful=False)
    return tf.ensure_shape(decoded, (indices.shape[0], None, None, 3))


def sampled(
    element: Mapping[str, Tensor],
    rgb_frames: int | None = None,
    pose_frames: int | None = None,
    num_clips: int = 10,
    aligned: bool = True,
) -> dict[str, Tensor]:
    """What `estimators.VideoRecognizer.recognize` takes of a video: the frames of its clips, and all keypoints.

    A map for a dataset of elements, to be batched by one, since videos differ in length and size. The frames are whole
    ones: 80 of them have half a gigabyte at 1920 x 1080 pixels, so do not prefetch many.

    Args:
        element: one element.
        rgb_frames: pictures a clip, L. None: the network sees none, and "frames" is left out.
        pose_frames: poses a clip, L'. None: the network sees none.
        num_clips: clips a video, N.
        aligned: see `ops.sequences.sample_rgb_and_pose`.

    Returns:
        {"frames": [N*L, H, W, 3] uint8, the clips one after the other, "keypoints": [M, T, K, 2] float32, "scores":
        [M, T, K] float32, "frame_size": [2] int32}.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import videos
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> inputs = dataset.map(lambda element: videos.sampled(element, rgb_frames=4, num_clips=2))
        >>> {name: tuple(array.shape) for name, array in next(iter(inputs)).items()}  # 2 clips of 4 frames
        {'keypoints': (2, 30, 17, 2), 'scores': (2, 30, 17), 'frames': (8, 240, 320, 3), 'frame_size': (2,)}
    """
    rgb = None
    if rgb_frames:
        rgb, _ = sample(tf.shape(element["keypoints"])[1], rgb_frames, pose_frames, num_clips, aligned)  # [N, L]
        rgb = tf.reshape(rgb, (-1,))
    return read_clip(element, rgb) | {"frame_size": element["frame_size"]}


def darkened(frames: Tensor, seeds: Tensor, light: float = 0.05, noise_levels: float = 4.0) -> Tensor:
    """Frames as if there had been little light: darker by a factor, with the noise of the sensor.

    Args:
        frames: [..., H, W, C] uint8.
        seeds: [2] ints; the same seeds give the same noise.
        light: what remains of the brightness.
        noise_levels: standard deviation of the noise, in levels of 0 .. 255, of each pixel and colour for itself.

    Returns:
        [..., H, W, C] uint8.

    Example:
        >>> from kerapose.data import videos
        >>> dark = videos.darkened(image, seeds=[0, 1], light=0.1)
        >>> round(float(image.mean())), round(float(np.asarray(dark).mean()))
        (119, 12)
    """
    frames = tf.convert_to_tensor(frames)
    noise = tf.random.stateless_normal(tf.shape(frames), seeds, stddev=noise_levels)
    dark = tf.saturate_cast(tf.round(tf.cast(frames, tf.float32) * light + noise), tf.uint8)
    return tf.ensure_shape(dark, frames.shape)


def missed(
    keypoints: Tensor, scores: Tensor, seeds: Tensor, share: float = 0.5, run_frames: float = 8.0
) -> tuple[Tensor, Tensor]:
    """Keypoints as if the detector had missed some: each joint is lost for whole runs of frames.

    Args:
        keypoints: [..., T, K, 2].
        scores: [..., T, K].
        seeds: [2] ints; the same seeds lose the same.
        share: of the keypoints that are lost, on average.
        run_frames: mean length of the runs in which it is decided anew whether a joint is lost, frames.

    Returns:
        keypoints and scores of the same shapes, (0, 0) and 0 where lost.

    Example:
        >>> from kerapose.data import videos
        >>> _, left = videos.missed(keypoints, scores, seeds=[0, 1], share=0.5)
        >>> round(float(np.mean(np.asarray(left) > 0)), 2)  # about half of the keypoints are left
        0.51
    """
    uniforms = tf.random.stateless_uniform(tf.concat([[2], tf.shape(scores)], axis=0), seeds)  # [2, ..., T, K]
    run = tf.cumsum(tf.cast(uniforms[0] < 1.0 / run_frames, tf.int32), axis=-2)  # that a frame belongs to
    run -= run[..., :1, :]
    kept = ops.take_along_axis(uniforms[1], run, axis=-2) >= share
    return tf.where(kept[..., None], keypoints, 0.0), tf.where(kept, scores, 0.0)


def sample(
    length: Tensor,
    rgb_frames: int | None,
    pose_frames: int | None,
    num_clips: int,
    aligned: bool,
    words: Tensor | None = None,
    random_start: bool = False,
) -> tuple[Tensor, Tensor]:
    """Indices of frames [N, L] and [N, L'], the same ones where only one of the numbers is given.

    So a network of pictures alone sees the box of the people in these.
    """
    if rgb_frames and pose_frames:
        return sequences.sample_rgb_and_pose(
            length, rgb_frames, pose_frames, num_clips, words, random_start, aligned=aligned
        )
    indices = sequences.sample_frames(length, rgb_frames or pose_frames, num_clips, words, random_start)
    return indices, indices


def read_clip(element: dict[str, Tensor], rgb: Tensor | None) -> dict[str, Tensor]:
    """{"frames": those of the indices [L], if there are any, "keypoints" and "scores" of all frames}."""
    clip = {"keypoints": element["keypoints"], "scores": element["scores"]}
    if rgb is not None and "jpegs" in element:
        clip["frames"] = _decode_jpegs(element["jpegs"], rgb)
    elif rgb is not None:
        is_path = "video" not in element
        clip["frames"] = decode(element["path" if is_path else "video"], rgb, element["name"], is_path)
    return clip


def _decode_jpegs(jpegs, indices):
    """Frames of these indices [L]: [L, H, W, 3] uint8."""
    spec = tf.TensorSpec((None, None, 3), tf.uint8)
    return tf.map_fn(image_files.decode, tf.gather(jpegs, indices), fn_output_signature=spec)


# ---------------------------------------- reading, with errors that name the clip
def called(source: str | bytes, name: str) -> str | None:
    """What errors call the video of a clip."""
    return f"the video of clip {name}" if name and isinstance(source, bytes) else None  # else by its path


def _read_frames(source, indices, name):
    return _named(name, frames.read, source, indices, called(source, name), told=_TOLD)


def _named(name, function, *arguments, **options):
    """Calls a function and has its error name the clip."""
    try:
        return function(*arguments, **options)
    except (ValueError, IndexError, OSError) as error:
        raise ValueError(f"Clip {name}: {error}") from error
