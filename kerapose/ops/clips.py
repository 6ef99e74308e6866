"""From a sequence of keypoints to the clips that a network sees: sampling, then the geometry of PoseConv3D's recipe.

A keypoint is missing if its score is 0 or less, if it is not finite, or if it is at (0, 0). Before anything else it is
moved to (0, 0) and its score set to 0 (`without_missing`). The published code keeps such a keypoint where it has a
score or a place; with ``published=True`` so do these functions.
"""

from collections.abc import Sequence

from kerapose.ops import boxes, images, sequences
from kerapose.ops.graphs import ops
from kerapose.types import ArrayLike, Size, Tensor

__all__ = [
    "compact",
    "evaluation_clips",
    "evaluation_video_clip",
    "full_scores",
    "is_seen",
    "take_frames",
    "training_clip",
    "training_video_clip",
    "whole_side",
    "without_missing",
]


def evaluation_clips(
    keypoints: Tensor,
    scores: Tensor,
    frame_size: Tensor,
    num_frames: int = 48,
    num_clips: int = 1,
    size: Size = (64, 64),
    padding: float = 0.25,
    published: bool = False,
) -> tuple[Tensor, Tensor]:
    """Makes the deterministic clips of a sequence, as the published validation and test modes do.

    Frames are sampled uniformly, the people of all sampled frames are cropped together with a compact square box, and
    the box is brought to the size of the volume.

    Args:
        keypoints: [..., M, T, K, 2], pixels, x first; (0, 0) where missing.
        scores: [..., M, T, K].
        frame_size: [..., 2] height and width of the frame, pixels.
        num_frames: frames a clip, L.
        num_clips: clips a sequence, N.
        size: height and width of the volume, pixels.
        padding: how much wider than the people the box is, as a fraction of its half size.
        published: whether missing keypoints are taken as they are given.

    Returns:
        keypoints [..., N, M, L, K, 2] in pixels of the volume, scores [..., N, M, L, K].

    Example:
        >>> from kerapose.ops import clips
        >>> found, found_scores = clips.evaluation_clips(keypoints, scores, frame_size, num_frames=16, num_clips=3)
        >>> tuple(found.shape), tuple(found_scores.shape)  # of 2 people, 30 frames
        ((3, 2, 16, 17, 2), (3, 2, 16, 17))

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    frames = sequences.sample_frames(ops.shape(keypoints)[-3], num_frames, num_clips)  # [N, L]
    keypoints, scores = take_frames(keypoints, scores, ops.reshape(frames, (-1,)))  # [..., M, N*L, K, 2]
    keypoints, scores = (keypoints, scores) if published else without_missing(keypoints, scores)
    keypoints, box_size = compact(keypoints, frame_size, padding)
    keypoints = boxes.resize(keypoints, box_size, size)
    return _split_clips(keypoints, num_clips, -3), _split_clips(scores, num_clips, -2)


def whole_side(crop_side: int) -> int:
    """Gives the side of the volume in tests for that in training: 64 for 56 pixels, as published.

    Training crops the box round the people at random and brings the crop to the size of the volume. Tests bring the
    whole box to this greater size, where people appear as large as in training.

    Args:
        crop_side: of the volume in training, pixels.

    Returns:
        The side of the volume in tests, pixels.

    Example:
        >>> from kerapose.ops import clips
        >>> clips.whole_side(56)
        64
    """
    return round(crop_side * 8 / 7)


def training_clip(
    keypoints: Tensor,
    scores: Tensor,
    frame_size: Tensor,
    words: Tensor,
    crop_uniforms: Tensor,
    flip: Tensor,
    flip_permutation: ArrayLike,
    num_frames: int = 48,
    size: Size = (56, 56),
    padding: float = 0.25,
    short_side_px: float = 64,
    area_range: Sequence[float] = (0.56, 1.0),
    aspect_range: Sequence[float] = (3 / 4, 4 / 3),
    rotation: Tensor = 0.0,
    published: bool = False,
    p_interval: Sequence[float] = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Makes one random clip of a sequence: sampled, cropped to the people, then randomly cropped, resized, mirrored.

    The random numbers are arguments, so that the caller decides where they come from.

    Args:
        keypoints: [M, T, K, 2], pixels, x first; (0, 0) where missing.
        scores: [M, T, K].
        frame_size: [2] height and width of the frame, pixels.
        words: [P] int32, for `sequences.sample_frames`.
        crop_uniforms: [22] in [0, 1), for `boxes.random_crop_box`.
        flip: bool scalar, whether to mirror the clip.
        flip_permutation: [K] (`Skeleton.flip_permutation`).
        num_frames: frames of the clip, L.
        size: height and width of the volume, pixels.
        padding: of the compact box, as a fraction of its half size.
        short_side_px: to what the short side of the compact box is brought before the random crop.
        area_range: of the random crop, fractions of the compact box.
        aspect_range: of the random crop, width / height.
        rotation: angle in radians by which to turn the people in their box; 0 in the published recipe.
        published: whether missing keypoints are taken as they are given.
        p_interval: least and greatest share of the sequence that the clip is taken from (`sequences.sample_frames`).

    Returns:
        keypoints [M, L, K, 2] in pixels of the volume, scores [M, L, K].

    Raises:
        ValueError: if `p_interval` is no range of shares.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.ops import clips, sequences
        >>> random = np.random.default_rng(0)
        >>> words = random.integers(2**31 - 1, size=sequences.num_words(16), dtype="int32")
        >>> order = skeletons.COCO.flip_permutation
        >>> clip, _ = clips.training_clip(keypoints, scores, frame_size, words, random.random(22), True, order, 16)
        >>> tuple(clip.shape)
        (2, 16, 17, 2)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; its published training mode.
    """
    length = ops.shape(keypoints)[1]
    frames = sequences.sample_frames(length, num_frames, 1, words, random_start=True, p_interval=p_interval)[0]  # [L]
    keypoints, scores = take_frames(keypoints, scores, frames)
    keypoints, scores = (keypoints, scores) if published else without_missing(keypoints, scores)
    keypoints, box_size = compact(keypoints, frame_size, padding)
    keypoints = boxes.rotate(keypoints, box_size, rotation)
    resized = boxes.short_side_size(box_size, short_side_px)
    keypoints = boxes.resize(keypoints, box_size, resized)
    crop_box = boxes.random_crop_box(resized, area_range, aspect_range, crop_uniforms)
    keypoints = boxes.resize(boxes.crop(keypoints, crop_box), boxes.box_size(crop_box), size)
    mirrored, mirrored_scores = boxes.flip_keypoints(keypoints, scores, float(size[1]), flip_permutation)
    return ops.where(flip, mirrored, keypoints), ops.where(flip, mirrored_scores, scores)


def evaluation_video_clip(
    frames: Tensor | None,
    keypoints: Tensor,
    scores: Tensor,
    frame_size: Tensor,
    rgb_size: Size,
    pose_size: Size,
    padding: float = 0.25,
    published: bool = False,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Makes the deterministic clip of sampled frames and keypoints: both are cropped to one box round the people.

    Args:
        frames: [..., L, H, W, 3], of any numeric type, 0 .. 255; None for a clip of keypoints alone.
        keypoints: [..., M, L', K, 2], pixels, x first; (0, 0) where missing. L' may differ from L.
        scores: [..., M, L', K].
        frame_size: [..., 2] height and width, pixels, that the keypoints refer to. Where the frames have another size,
            the keypoints are scaled to it.
        rgb_size: height and width of the pictures that come out, pixels.
        pose_size: height and width of the heatmap volume, pixels.
        padding: how much wider than the people the box is, as a fraction of its half size; black beyond the frame.
        published: whether missing keypoints are taken as they are given.

    Returns:
        frames [..., L, h, w, 3] float32, 0 .. 255, or None; keypoints [..., M, L', K, 2] in pixels of the volume;
        scores [..., M, L', K].

    Example:
        >>> from kerapose.ops import clips
        >>> frames = np.stack([image] * 8)  # 8 frames of pictures, 16 of keypoints
        >>> sampled = clips.take_frames(keypoints, scores, np.arange(16))
        >>> rgb, pose, _ = clips.evaluation_video_clip(frames, *sampled, frame_size, (96, 96), (64, 64))
        >>> tuple(rgb.shape), tuple(pose.shape)
        ((8, 96, 96, 3), (2, 16, 17, 2))

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; its published test mode.
    """
    keypoints, scores = (keypoints, scores) if published else without_missing(keypoints, scores)
    keypoints, frame_size = _in_pixels_of(frames, keypoints, frame_size)
    box = boxes.compact_box(keypoints, frame_size, padding)
    keypoints = boxes.resize(boxes.crop_compact(keypoints, box), boxes.box_size(box), pose_size)
    rgb = None if frames is None else images.crop_resize(frames, box, rgb_size)
    return rgb, keypoints, ops.cast(scores, "float32")


def training_video_clip(
    frames: Tensor | None,
    keypoints: Tensor,
    scores: Tensor,
    frame_size: Tensor,
    crop_uniforms: Tensor,
    flip: Tensor,
    flip_permutation: ArrayLike,
    rgb_size: Size,
    pose_size: Size,
    padding: float = 0.25,
    short_side_px: float = 256,
    area_range: Sequence[float] = (0.56, 1.0),
    aspect_range: Sequence[float] = (3 / 4, 4 / 3),
    published: bool = False,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Makes a random clip of sampled frames and keypoints: both are cropped and mirrored alike.

    The box round the people and the random crop of it become one box, so that each pixel is interpolated only once.

    Args:
        frames: [L, H, W, 3], of any numeric type, 0 .. 255; None for a clip of keypoints alone.
        keypoints: [M, L', K, 2], pixels, x first; (0, 0) where missing. L' may differ from L.
        scores: [M, L', K].
        frame_size: [2] height and width, pixels, that the keypoints refer to. Where the frames have another size, the
            keypoints are scaled to it.
        crop_uniforms: [22] in [0, 1), for `boxes.random_crop_box`.
        flip: bool scalar, whether to mirror the clip.
        flip_permutation: [K] (`Skeleton.flip_permutation`).
        rgb_size: height and width of the pictures that come out, pixels.
        pose_size: height and width of the heatmap volume, pixels.
        padding: of the compact box, as a fraction of its half size; black beyond the frame.
        short_side_px: to what the short side of the compact box is brought before the random crop, which has whole
            pixels there.
        area_range: of the random crop, fractions of the compact box.
        aspect_range: of the random crop, width / height.
        published: whether missing keypoints are taken as they are given.

    Returns:
        frames [L, h, w, 3] float32, 0 .. 255, or None; keypoints [M, L', K, 2] in pixels of the volume; scores
        [M, L', K].

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.ops import clips
        >>> frames, uniforms = np.stack([image] * 2), np.random.default_rng(0).random(22)
        >>> sampled = clips.take_frames(keypoints, scores, np.arange(4))
        >>> flip, sizes = (True, skeletons.COCO.flip_permutation), ((96, 96), (56, 56))
        >>> rgb, pose, _ = clips.training_video_clip(frames, *sampled, frame_size, uniforms, *flip, *sizes)
        >>> tuple(rgb.shape), tuple(pose.shape)
        ((2, 96, 96, 3), (2, 4, 17, 2))

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; its published training mode.
    """
    keypoints, scores = (keypoints, scores) if published else without_missing(keypoints, scores)
    keypoints, frame_size = _in_pixels_of(frames, keypoints, frame_size)
    box = boxes.compact_box(keypoints, frame_size, padding)
    resized = boxes.short_side_size(boxes.box_size(box), short_side_px)
    crop_box = boxes.random_crop_box(resized, area_range, aspect_range, crop_uniforms)
    keypoints = boxes.resize(boxes.crop_compact(keypoints, box), boxes.box_size(box), resized)
    keypoints = boxes.resize(boxes.crop(keypoints, crop_box), boxes.box_size(crop_box), pose_size)
    mirrored, mirrored_scores = boxes.flip_keypoints(keypoints, scores, float(pose_size[1]), flip_permutation)
    keypoints, scores = ops.where(flip, mirrored, keypoints), ops.where(flip, mirrored_scores, scores)
    if frames is None:
        return None, keypoints, scores
    scale = ops.flip(boxes.box_size(box) / resized, axis=-1)  # [2], x first
    seen_box = ops.tile(box[:2], [2]) + crop_box * ops.tile(scale, [2])  # in pixels of the frame
    seen_box = ops.where(flip, ops.take(seen_box, [2, 1, 0, 3]), seen_box)
    return images.crop_resize(frames, seen_box, rgb_size), keypoints, scores


def take_frames(keypoints: Tensor, scores: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Takes frames of a sequence by their numbers.

    Args:
        keypoints: [..., M, T, K, 2], in any unit.
        scores: [..., M, T, K].
        frames: [L] int, numbers of frames, 0 to T - 1, in any order.

    Returns:
        keypoints [..., M, L, K, 2] and scores [..., M, L, K], float32.

    Example:
        >>> from kerapose.ops import clips
        >>> taken, _ = clips.take_frames(keypoints, scores, [0, 10, 20])
        >>> tuple(taken.shape)
        (2, 3, 17, 2)
    """
    keypoints, scores = ops.cast(keypoints, "float32"), ops.cast(scores, "float32")
    return ops.take(keypoints, frames, axis=-3), ops.take(scores, frames, axis=-2)


def without_missing(keypoints: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Moves missing keypoints to (0, 0) and sets their scores to 0, so that no box grows by them and none is drawn.

    Args:
        keypoints: [..., K, 2], or poses [..., K, 3]; missing where not finite, or all 0.
        scores: [..., K]; missing where not finite, or not above 0.

    Returns:
        keypoints and scores of the same shapes, float32.

    Example:
        >>> from kerapose.ops import clips
        >>> cleaned, _ = clips.without_missing([[30.0, 40.0], [-1.0, -1.0]], [0.9, 0.0])
        >>> np.asarray(cleaned).tolist()
        [[30.0, 40.0], [0.0, 0.0]]
    """
    keypoints, scores = ops.cast(keypoints, "float32"), ops.cast(scores, "float32")
    seen = is_seen(keypoints, scores)  # [..., K]
    return ops.where(seen[..., None], keypoints, 0.0), ops.where(seen, scores, 0.0)


def is_seen(keypoints: Tensor, scores: Tensor) -> Tensor:
    """Tells which keypoints were seen: finite, not all 0, of a finite score above 0.

    Args:
        keypoints: [..., K, 2], or poses [..., K, 3], a tensor or array of floats.
        scores: [..., K], likewise.

    Returns:
        [..., K] bool.

    Example:
        >>> from kerapose.ops import clips
        >>> np.asarray(clips.is_seen(np.float32([[30, 40], [0, 0], [20, 50]]), np.float32([0.9, 0.5, 0.0]))).tolist()
        [True, False, False]
    """
    placed = ops.logical_and(ops.all(ops.isfinite(keypoints), axis=-1), ops.any(keypoints != 0.0, axis=-1))
    return ops.logical_and(placed, ops.logical_and(ops.isfinite(scores), scores > 0.0))


def full_scores(scores: Tensor, published: bool = False) -> Tensor:
    """Gives 1 for every keypoint that has a score above 0, and 0 for the others.

    Args:
        scores: [..., M, T, K].
        published: whether all keypoints of a person who has such a score get 1, missing ones too.

    Returns:
        [..., M, T, K] float32.

    Example:
        >>> from kerapose.ops import clips
        >>> np.asarray(clips.full_scores(np.array([[[0.9, 0.3, 0.0]]]))).tolist()
        [[[1.0, 1.0, 0.0]]]
    """
    drawn = ops.cast(scores, "float32") > 0.0
    if published:
        drawn = ops.any(drawn, axis=(-2, -1), keepdims=True)  # [..., M, 1, 1]
    return ops.broadcast_to(ops.cast(drawn, "float32"), ops.shape(scores))


def compact(keypoints: Tensor, frame_size: Tensor, padding: float = 0.25) -> tuple[Tensor, Tensor]:
    """Moves keypoints into the square box round all people of all frames.

    Args:
        keypoints: [..., M, T, K, 2], pixels.
        frame_size: [..., 2] height and width, pixels.
        padding: how much the box is widened on each side, as a fraction of half its size.

    Returns:
        keypoints [..., M, T, K, 2] in pixels of the box, and its height and width [..., 2], pixels.

    Example:
        >>> from kerapose.ops import clips
        >>> moved, box_size = clips.compact(keypoints, frame_size)
        >>> np.asarray(box_size).tolist()
        [291.0, 292.0]
    """
    box = boxes.compact_box(keypoints, frame_size, padding)
    return boxes.crop_compact(keypoints, box), boxes.box_size(box)


def _in_pixels_of(frames, keypoints, frame_size):
    """Keypoints in pixels of the frames, whose size may differ from that of the annotation, and that size [..., 2]."""
    keypoints, frame_size = ops.cast(keypoints, "float32"), ops.cast(frame_size, "float32")
    if frames is None:
        return keypoints, frame_size
    size = ops.cast(ops.stack(ops.shape(frames)[-3:-1]), "float32")
    return boxes.resize(keypoints, frame_size, size), ops.broadcast_to(size, ops.shape(frame_size))


def _split_clips(x, num_clips, frame_axis):
    """[..., M, N*L, ...] -> [..., N, M, L, ...]."""
    rank = len(x.shape)
    people, frames = rank + frame_axis - 1, rank + frame_axis
    shape = list(ops.shape(x))
    shape[frames : frames + 1] = [num_clips, shape[frames] // num_clips]
    x = ops.reshape(x, shape)  # [..., M, N, L, ...]
    return ops.swapaxes(x, people, frames)
