"""Files that move: lifted tracks as GIF or MP4."""

import fractions
import io
import pathlib
import sys
import typing
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from kerapose.skeletons import Skeleton
from kerapose.types import Array, Path
from kerapose.visualize.panels import BACKGROUND, captioned, side_by_side
from kerapose.visualize.poses_3d import lift_panels

SLOWEST_FPS = fractions.Fraction(1, 1001)  # of a written file; slower ones would be rounded to none
GIF_MAX_FPS = 50  # browsers slow down a GIF that asks for more


def write_animation(
    path: Path,
    keypoints: Array,
    poses_m: Array,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: Array | None = None,
    frames: Iterable[Array] | None = None,
    fps: float = 30.0,
    progress: bool = False,
    **options: typing.Any,
) -> int:
    """Writes a lifted track as a GIF or an MP4 (H.264): the 2D keypoints left, the 3D poses right.

    Viewpoint and scale stay the same all through. A GIF shows at most 50 frames a second, so of a faster track it has
    every second or third frame; it is played at the speed of the track all the same.

    Args:
        path: of the file, ending in .gif or .mp4; its folder is made if need be. A file that is there is replaced.
        keypoints: `[T, K, 2]` or `[M, T, K, 2]`, pixels of the frame, x first.
        poses_m: `[T, J, 3]` or `[M, T, J, 3]`, metres.
        skeleton: the set the keypoints are in.
        pose_skeleton: the set the poses are in.
        truth_m: the true poses, of the shape of `poses_m`, drawn in grey behind; None for none.
        frames: T images of one size, RGB uint8 `[H, W, 3]`, an array or anything that gives one after another, as the
            reader of a video does; None for a blank cut to where the people go.
        fps: frames a second of the track.
        progress: whether to print a bar.
        **options: as for `draw_lift`, with `scores` `[T, K]` or `[M, T, K]`.

    Returns:
        The number of frames in the file.

    Raises:
        ValueError: when a shape, the number of frames, `fps` or the ending of the path does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> visualize.write_animation("lift.gif", keypoints[0, :5], poses_m[:5], skeletons.COCO, skeletons.H36M, fps=15)
        5
    """
    path = pathlib.Path(path)
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise ValueError(f"path must end in .gif or .mp4, got {str(path)!r}.")
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}.")
    total = np.shape(poses_m)[-3] if np.ndim(poses_m) > 2 else 1
    step = int(np.ceil(fps / GIF_MAX_FPS)) if ending == ".gif" else 1
    shown = range(0, total, step)
    drawn = lift_panels(keypoints, poses_m, skeleton, pose_skeleton, truth_m, frames, shown, **options)
    pictures = (
        side_by_side([captioned(flat, frame), captioned(solid, caption)])
        for frame, (flat, solid, caption) in zip(shown, drawn, strict=True)
    )
    pictures = with_bar(pictures, len(shown)) if progress else pictures
    if ending == ".gif":
        content = _gif(pictures, len(shown), fps / step, skeleton.colors + pose_skeleton.colors)
    else:
        content = encode_mp4(pictures, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)  # only now: a track that is refused half way must not leave half a file
    return len(shown)


def _gif(pictures, count, fps, colors):
    """Pictures as a GIF with one palette for all: those of each frame for itself would flicker."""
    pictures = iter(pictures)
    first = next(pictures)
    shades = np.linspace(0, 1, 6)[:, None, None]
    swatches = shades * np.array(sorted(set(colors))) + (1 - shades) * np.array(BACKGROUND)  # [6, N, 3]
    swatches = np.tile(swatches.reshape(1, -1, 3), (8, 1, 1)).round().astype(np.uint8)
    sample = np.full((first.shape[0] + 8, max(first.shape[1], swatches.shape[1]), 3), BACKGROUND, np.uint8)
    sample[: first.shape[0], : first.shape[1]], sample[-8:, : swatches.shape[1]] = first, swatches
    palette = Image.fromarray(sample).quantize(256)

    def indexed(picture):
        return Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)

    # A GIF counts in hundredths of a second: rounded one by one the delays would add up to another speed.
    times_ms = 10 * np.round(100 * np.arange(count + 1) / fps).astype(int)
    options = {"save_all": True, "duration": np.diff(times_ms).tolist(), "loop": 0}
    buffer = io.BytesIO()
    indexed(first).save(buffer, "GIF", append_images=(indexed(picture) for picture in pictures), **options)
    return buffer.getvalue()


def write_mp4(path: Path, pictures: Iterable[Array], fps: float = 30.0) -> int:
    """Writes pictures as an MP4 (H.264), each one when it comes, so that a video of any length needs little memory.

    The file gets its name after the last picture. Where anything goes wrong before, no file is left behind.

    Args:
        path: of the file, ending in .mp4; its folder is made if need be. A file that is there is replaced.
        pictures: RGB uint8 `[H, W, 3]` of one size, anything that gives one after another.
        fps: frames a second.

    Returns:
        The number of frames in the file.

    Raises:
        ValueError: when there is no picture, a shape, `fps` or the ending of the path does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> frames = keypoints.swapaxes(0, 1)  # [T, M, K, 2]
        >>> pictures = (visualize.draw_skeletons(image, people, None, skeletons.COCO) for people in frames)
        >>> visualize.write_mp4("drawn.mp4", pictures, fps=15)
        30
    """
    path, counted = pathlib.Path(path), [0]
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path must end in .mp4, got {str(path)!r}.")
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            _encode(file, _of_one_size(pictures, counted), fps)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return counted[0]


def encode_mp4(pictures: Iterable[Array], fps: float) -> bytes:
    """Pictures as H.264 in an MP4 that browsers play."""
    buffer = io.BytesIO()
    _encode(buffer, pictures, fps)
    return buffer.getvalue()


def _encode(file, pictures, fps):
    """Writes pictures as H.264 in an MP4 into an open file."""
    import av  # late, since it brings the whole of FFmpeg with it

    with av.open(file, "w", format="mp4") as container:
        rate = max(fractions.Fraction(float(fps)).limit_denominator(1001), SLOWEST_FPS)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            odd = [side % 2 for side in picture.shape[:2]]  # chroma has half the size, so sides must be even
            picture = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def _of_one_size(pictures, counted):
    """Passes the pictures on, if they are as they should be, and counts them in the list `counted`."""
    size = None
    for picture in pictures:
        picture = np.asarray(picture)
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            raise ValueError(
                f"pictures must be RGB uint8 [H, W, 3], got {picture.dtype} {picture.shape}; convert them."
            )
        size = size or picture.shape
        if picture.shape != size:
            raise ValueError(
                f"all pictures must have the size of the first, {size}, got {picture.shape} at {counted[0]}; resize "
                "them."
            )
        counted[0] += 1
        yield picture
    if not counted[0]:
        raise ValueError("a video must have at least one picture, got none; give some.")


def with_bar(pictures: Iterable[Array], count: int) -> Iterator[Array]:
    """Passes the pictures on and prints how many there have been: a bar, or a line at the end if nobody looks on."""
    from keras.utils import Progbar  # late, since a backend starts with it and no picture needs one

    bar = Progbar(count, unit_name="frame", verbose=1 if sys.stdout.isatty() else 2)
    for picture in pictures:
        yield picture
        bar.add(1)
