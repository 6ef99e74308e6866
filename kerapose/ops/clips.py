"""From a sequence of keypoints to the clips that a network sees: sampling, then the geometry of PoseConv3D's recipe."""

from keras import ops

from kerapose.ops import boxes, sequences


def evaluation_clips(keypoints, scores, frame_size, num_frames=48, num_clips=1, size=(64, 64), padding=0.25):
    """The deterministic clips of a sequence, as the published validation and test modes make them.

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

    Returns:
        keypoints [..., N, M, L, K, 2] in pixels of the volume, scores [..., N, M, L, K].

    Example:
        >>> keypoints, scores = evaluation_clips(k, s, [1080, 1920], num_clips=10)  # k: [2, 300, 17, 2]
        >>> keypoints.shape
        (10, 2, 48, 17, 2)
    """
    frames = sequences.sample_frames(ops.shape(keypoints)[-3], num_frames, num_clips)  # [N, L]
    keypoints, scores = take_frames(keypoints, scores, ops.reshape(frames, (-1,)))  # [..., M, N*L, K, 2]
    keypoints, box_size = compact(keypoints, frame_size, padding)
    keypoints = boxes.resize(keypoints, box_size, size)
    return _split_clips(keypoints, num_clips, -3), _split_clips(scores, num_clips, -2)


def whole_side(crop_side):
    """The side of the people's whole box beside that of a random crop of it: 64 for 56 pixels, as published.

    Training crops the box and brings the crop to the size of the volume; tests bring the whole box to this size, where
    people appear as large as in training.
    """
    return round(crop_side * 8 / 7)


def training_clip(
    keypoints,
    scores,
    frame_size,
    words,
    crop_uniforms,
    flip,
    flip_permutation,
    num_frames=48,
    size=(56, 56),
    padding=0.25,
    short_side_px=64,
    area_range=(0.56, 1.0),
    aspect_range=(3 / 4, 4 / 3),
    rotation=0.0,
):
    """One random clip of a sequence: sampled, cropped to the people, then randomly cropped, resized and mirrored.

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

    Returns:
        keypoints [M, L, K, 2] in pixels of the volume, scores [M, L, K].
    """
    frames = sequences.sample_frames(ops.shape(keypoints)[1], num_frames, 1, words, random_start=True)[0]  # [L]
    keypoints, scores = take_frames(keypoints, scores, frames)
    keypoints, box_size = compact(keypoints, frame_size, padding)
    keypoints = boxes.rotate(keypoints, box_size, rotation)
    resized = boxes.short_side_size(box_size, short_side_px)
    keypoints = boxes.resize(keypoints, box_size, resized)
    crop_box = boxes.random_crop_box(resized, area_range, aspect_range, crop_uniforms)
    keypoints = boxes.resize(boxes.crop(keypoints, crop_box), boxes.box_size(crop_box), size)
    mirrored, mirrored_scores = boxes.flip_keypoints(keypoints, scores, float(size[1]), flip_permutation)
    return ops.where(flip, mirrored, keypoints), ops.where(flip, mirrored_scores, scores)


def take_frames(keypoints, scores, frames):
    """The frames of a sequence by index [L]: [..., M, T, K, 2] -> [..., M, L, K, 2], and the scores likewise."""
    keypoints, scores = ops.cast(keypoints, "float32"), ops.cast(scores, "float32")
    return ops.take(keypoints, frames, axis=-3), ops.take(scores, frames, axis=-2)


def full_scores(scores):
    """1 for every keypoint of a person who has a score above 0; a person without one is padding and stays undrawn.

    Args:
        scores: [..., M, T, K].

    Returns:
        [..., M, T, K] float32.
    """
    is_person = ops.any(scores > 0, axis=(-2, -1), keepdims=True)  # [..., M, 1, 1]
    return ops.broadcast_to(ops.cast(is_person, "float32"), ops.shape(scores))


def compact(keypoints, frame_size, padding=0.25):
    """Moves keypoints into the square box round all people of all frames.

    Args:
        keypoints: [..., M, T, K, 2], pixels.
        frame_size: [..., 2] height and width, pixels.
        padding: as a fraction of the box's half size.

    Returns:
        keypoints [..., M, T, K, 2] in pixels of the box, and its height and width [..., 2].
    """
    box = boxes.compact_box(keypoints, frame_size, padding)
    return boxes.crop_compact(keypoints, box), boxes.box_size(box)


def _split_clips(x, num_clips, frame_axis):
    """[..., M, N*L, ...] -> [..., N, M, L, ...]."""
    rank = len(x.shape)
    people, frames = rank + frame_axis - 1, rank + frame_axis
    shape = list(ops.shape(x))
    shape[frames : frames + 1] = [num_clips, shape[frames] // num_clips]
    x = ops.reshape(x, shape)  # [..., M, N, L, ...]
    return ops.swapaxes(x, people, frames)
