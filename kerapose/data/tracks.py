"""The pipeline of lifting: tracks of 2D keypoints and their 3D poses to batches of windows.

A track is what one camera saw of one person over time. `Tracks` holds all frames of all tracks one after another, 2D on
the screen and 3D in the space of the camera (`ops.cameras`), and training is no more than rows of those arrays: a
sample is a chunk, the frames to be predicted, and the network sees a window, the chunk with half a receptive field on
either side of it (all of it before the chunk if the network is causal). Windows are gathered in the graph, a batch at a
time; where one reaches past an end of its track, the frame at that end is repeated.

    chunk                    [start, end)
    window      [start - pad - shift, end + pad - shift)      pad = receptive_field // 2, shift = pad if causal, else 0

Batches for a lifter alone are (keypoints [B, W, K, 2], root-relative poses [B, chunk_length, J, 3]); those for joint
training with a trajectory network are dicts (`training`). The root of a pose is its joint 0.
"""

import dataclasses
import hashlib
import weakref

import numpy as np
import tensorflow as tf

from kerapose import skeletons
from kerapose.data import gate, prepared, selection
from kerapose.data.gate import mirrors
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.gate import tracks as track_gate
from kerapose.ops import cameras as camera_ops
from kerapose.ops import sequences as sequence_ops

NotPreparedError = prepared.NotPreparedError
BadDataError = gate.BadDataError
CAMERA_FIELDS = ("focal_px", "center_px", "radial", "tangential")  # of a camera's own numbers
PLACEMENT_FIELDS = ("orientation", "translation_m")
_told = weakref.WeakKeyDictionary()  # by tracks: the warnings that the gate gave when they were read
_LABELLED, _UNLABELLED, _AUGMENTATION = range(3)  # streams of random numbers


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tracks:
    """All frames of S tracks, one track after another: N frames in all.

    Args:
        keypoints_screen: [N, K, 2], screen (`ops.cameras.normalize_screen`).
        scores: [N, K]; 0 where a keypoint was not seen and its place is a guess.
        poses_camera_m: [N, J, 3], metres, camera space, not root-relative. None: not labelled.
        poses_world_m: [N, J, 3], metres, world, z up. None: not known.
        lengths: [S] frames of each track.
        cameras: [S, 9], the camera of each (`ops.cameras.normalize_intrinsics`). None: not known.
        frame_sizes: [S, 2] height and width, pixels.
        fps: [S] frames a second.
        names, subjects, actions, camera_names: S strings each; a name is a track's own.
        skeleton: the `Skeleton` of the keypoints.
        pose_skeleton: the `Skeleton` of the poses.
        orientations: [S, 4], the quaternion (w, x, y, z) that turns camera axes into world axes. None: not known.
        translations_m: [S, 3], where in the world each camera stands, metres. None: not known.

    Example:
        >>> tracks = from_tfds("puppets/tracks", "train")
        >>> walks = tracks.select(actions=["walk"]).every(2)
    """

    keypoints_screen: np.ndarray
    scores: np.ndarray
    poses_camera_m: np.ndarray | None
    poses_world_m: np.ndarray | None
    lengths: np.ndarray
    cameras: np.ndarray | None
    frame_sizes: np.ndarray
    fps: np.ndarray
    names: list[str]
    subjects: list[str]
    actions: list[str]
    camera_names: list[str]
    skeleton: skeletons.Skeleton
    pose_skeleton: skeletons.Skeleton
    orientations: np.ndarray | None = None
    translations_m: np.ndarray | None = None

    def __len__(self):
        """S, the number of tracks."""
        return len(self.lengths)

    def __repr__(self):
        known = "2D" if self.poses_camera_m is None else "2D and 3D"
        return f"Tracks({len(self)} of {self.skeleton.name}, {self.num_frames} frames, {known})"

    @property
    def num_frames(self) -> int:
        """N, the number of frames of all tracks together."""
        return len(self.keypoints_screen)

    @property
    def starts(self) -> np.ndarray:
        """[S] at which frame each track begins."""
        return np.cumsum(self.lengths) - self.lengths

    def select(self, subjects=None, actions=None, names=None):
        """Keeps some of the tracks, in their order.

        Args:
            subjects, actions, names: which to keep, a list of strings each. None: all.

        Returns:
            `Tracks`.

        Raises:
            ValueError: naming what none of the tracks has, or if the wishes together leave no track.

        Example:
            >>> labelled = tracks.select(subjects=["S1"])
        """
        keep = np.ones(len(self), bool)
        for field, wanted in (("subjects", subjects), ("actions", actions), ("names", names)):
            if wanted is None:
                continue
            if isinstance(wanted, str):
                raise ValueError(f"{field} must be a list of strings, got {wanted!r}; write [{wanted!r}].")
            present = getattr(self, field)
            strangers = sorted(set(wanted) - set(present))
            if strangers:
                known = sorted(set(present))
                some = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
                raise ValueError(f"{field} must be among {some}, got {', '.join(strangers)}; choose from those.")
            keep &= np.isin(present, list(wanted))
        if not keep.any():
            raise ValueError(
                f"A selection must have at least one track, got none for subjects {subjects}, actions {actions} and "
                f"names {names}; widen one of them."
            )
        chosen = np.flatnonzero(keep)
        return self._cut(chosen, [slice(0, self.lengths[i]) for i in chosen])

    def every(self, step):
        """Keeps every `step`-th frame of each track, the first one among them, and lowers the frame rate.

        Args:
            step: a positive int; 2 halves the frame rate.

        Returns:
            `Tracks`.

        Raises:
            ValueError: if `step` is not positive.
        """
        if step < 1:
            raise ValueError(f"step must be at least 1, got {step}; 1 keeps all frames.")
        kept = self._cut(range(len(self)), [slice(0, length, step) for length in self.lengths])
        return dataclasses.replace(kept, fps=self.fps / np.float32(step))

    def share(self, fraction, seed=0):
        """Keeps one run of frames of each track, as the published code does to train on few labels.

        Where the run lies depends on the seed and the take alone, so that all cameras show the same moments of it.

        Args:
            fraction: of the frames of each track, above 0 and at most 1; at least one frame is left.
            seed: of the places, an int.

        Returns:
            `Tracks`.

        Raises:
            ValueError: if `fraction` is out of range.

        Example:
            >>> tenth = tracks.share(0.1)
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}; 0.1 keeps a tenth.")
        runs = []
        for i, length in enumerate(self.lengths.tolist()):
            count = max(1, round(length * fraction))
            start = int(_hashed(f"{seed} {self._take(i)}") * (length - count + 1))
            runs.append(slice(start, start + count))
        return self._cut(range(len(self)), runs)

    def _take(self, i):
        """The name of a track without its camera: the same for all views of one take."""
        before, _, after = f"/{self.names[i]}/".rpartition(f"/{self.camera_names[i]}/")
        return f"{before}/{after}"

    def _cut(self, chosen, runs):
        """The tracks of these indices, of each the frames of its slice."""
        starts, chosen = self.starts, list(chosen)
        frames = [np.arange(starts[i], starts[i] + self.lengths[i])[run] for i, run in zip(chosen, runs, strict=True)]
        rows = np.concatenate(frames)
        changed = {"lengths": np.array([len(run) for run in frames])}
        for field in ("keypoints_screen", "scores", "poses_camera_m", "poses_world_m"):
            values = getattr(self, field)
            changed[field] = None if values is None else values[rows]
        for field in ("cameras", "orientations", "translations_m", "frame_sizes", "fps"):
            values = getattr(self, field)
            changed[field] = None if values is None else values[chosen]
        for field in ("names", "subjects", "actions", "camera_names"):
            changed[field] = [getattr(self, field)[i] for i in chosen]
        return dataclasses.replace(self, **changed)


# ---------------------------------------- sources
def from_tfds(name, split, data_dir=None, min_score=0.0, skip=()):
    """The tracks in one split of a prepared TFDS dataset.

    Args:
        name: of the dataset and its config ("puppets/tracks", "h36m/gt").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.
        min_score: a keypoint whose score is not above it counts as not seen, and its place is filled in as by
            `fill_gaps`. One that a whole track lacks is at (0, 0), which is logged. None: all stay.
        skip: names of tracks to leave out, such as those of the error that refused the dataset.

    Returns:
        `Tracks`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        BadDataError: naming the tracks that are not as described (see `check`).
        ValueError: if it has no such split, holds no tracks, or none of a name to skip.

    Example:
        >>> tracks = from_tfds("puppets/tracks", "train")
    """
    builder = prepared.find(name, split, data_dir)
    metadata = builder.info.metadata or {}
    described = [metadata.get(key) for key in ("skeleton", "pose_skeleton")]
    if "poses_world_m" not in builder.info.features or None in described:
        raise ValueError(f"{name} must hold tracks with poses and say their skeletons, it does not; use another.")
    skeleton, pose_skeleton = (prepared.skeleton_of(each) for each in described)
    elements, names, skip = [], [], selection.names_of(skip, "tracks")
    for element in builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator():
        element |= {key: element[key].decode() for key in ("name", "subject", "action", "camera_name")}
        names.append(element["name"])
        if element["name"] not in skip:
            elements.append(element)
    selection.skipped(skip, names, "tracks")
    return _from_elements(elements, skeleton, pose_skeleton, min_score=min_score)


def from_arrays(
    keypoints,
    frame_sizes,
    skeleton=skeletons.H36M,
    pose_skeleton=skeletons.H36M,
    poses_world_m=None,
    poses_camera_m=None,
    cameras=None,
    scores=None,
    names=None,
    subjects=None,
    actions=None,
    camera_names=None,
    fps=50.0,
    trim=False,
):
    """Tracks of arrays that are in memory; without poses they are unlabelled.

    Args:
        keypoints: list of [T, K, 2] arrays, pixels, x first. What is missing, (0, 0), NaN or of score 0, is filled in
            as by `fill_gaps`; what a whole track lacks is at (0, 0), which is logged.
        frame_sizes: list of (height, width), pixels, or one pair for all.
        skeleton: the `Skeleton` of the keypoints.
        pose_skeleton: the `Skeleton` of the poses, its root first.
        poses_world_m: list of [T, J, 3], metres, world; asks for cameras that say where they stand.
        poses_camera_m: list of [T, J, 3], metres, camera space. None: made of `poses_world_m`.
        cameras: list of dicts, or one dict for all: "focal_px" [2], "center_px" [2], "radial" [3] and "tangential" [2]
            in the order of `ops.cameras.project`, and with poses of the world "orientation" [4] and "translation_m"
            [3]. None: not known, which will do for a lifter alone.
        scores: list of [T, K]; 0 where missing. None: 1 where a keypoint is not missing.
        names: list of strings, no two the same. None: the numbers of the tracks.
        subjects, actions, camera_names: lists of strings. None: "".
        fps: frames a second, of all tracks or a list.
        trim: whether frames of 2D beyond the last one of 3D are cut off, as the files of Human3.6M need it.

    Returns:
        `Tracks`.

    Raises:
        BadDataError: naming the tracks that are not as described (see `check`), have more frames of 3D than of 2D, or,
            without `trim`, other ones.
        ValueError: if the lists do not match.

    Example:
        >>> tracks = from_arrays([walk, run], (1002, 1000), poses_camera_m=[walk_m, run_m])
    """
    count = len(keypoints)
    given = {
        "keypoints": keypoints,
        "frame_size": sequence_gate.sizes_of_all(frame_sizes, count),
        "poses_world_m": poses_world_m,
        "poses_camera_m": poses_camera_m,
        "camera": [cameras] * count if isinstance(cameras, dict) else cameras,
        "scores": scores,
        "name": [str(i) for i in range(count)] if names is None else names,
        "subject": [""] * count if subjects is None else subjects,
        "action": [""] * count if actions is None else actions,
        "camera_name": [""] * count if camera_names is None else camera_names,
        "fps": [fps] * count if np.ndim(fps) == 0 else fps,
    }
    given = {key: values for key, values in given.items() if values is not None}
    for key, values in given.items():
        if isinstance(values, str) or len(values) != count:
            got = repr(values) if isinstance(values, str) else len(values)
            raise ValueError(f"There must be one {key} for each of {count} tracks, got {got}; match the lists.")
    elements = [{key: values[i] for key, values in given.items()} for i in range(count)]
    return _from_elements(elements, skeleton, pose_skeleton, trim)


def check(tracks):
    """Raises if a network could not be trained on tracks; what is only odd is logged.

    Args:
        tracks: `Tracks`.

    Returns:
        How many tracks there are.

    Raises:
        BadDataError: naming all tracks with NaN or infinity, nobody seen, a frame size, focal length or frame rate
            that is none, poses that are not in metres, or scores above 10; and where more than half of the tracks do
            it, those with keypoints about (0, 0) or beyond the frame. Its `names` are for `skip`.
        ValueError: if arrays do not fit one another or a skeleton, names are not all different, or there is no track.

    Example:
        >>> check(tracks.select(subjects=["S9"]))
        2
    """
    return _check(tracks, _told.get(tracks, set()))


def _check(tracks, told):
    """What `check` does, and what warnings were given already; these are kept with the tracks."""
    _check_arrays(tracks)
    report = gate.Report("tracks", ", or leave them out with `skip(tracks, error.names)`")
    report.told |= told
    same_joints = tracks.skeleton.keypoints == tracks.pose_skeleton.keypoints
    for i, start in enumerate(tracks.starts):
        rows = slice(start, start + tracks.lengths[i])
        track = {
            "keypoints_screen": tracks.keypoints_screen[rows],
            "scores": tracks.scores[rows],
            "frame_size": tracks.frame_sizes[i],
            "name": tracks.names[i],
            "fps": tracks.fps[i],
            "camera": None if tracks.cameras is None else tracks.cameras[i],
        }
        for field in ("poses_camera_m", "poses_world_m"):
            values = getattr(tracks, field)
            track[field] = None if values is None else values[rows]
        track_gate.note_track(report, track, same_joints)
    report.close()
    _told[tracks] = report.told
    return len(tracks)


def _check_arrays(tracks):
    """Raises if the arrays of tracks do not fit one another."""
    if len(tracks) == 0:
        raise ValueError("Tracks must be at least one, got none; check the split and how it was prepared.")
    if len(set(tracks.names)) < len(tracks):
        repeated = next(name for i, name in enumerate(tracks.names) if name in tracks.names[:i])
        raise ValueError(f"Names of tracks must differ, got {repeated!r} more than once; number them.")
    sets = {"keypoints_screen": (tracks.skeleton, 2), "poses_camera_m": (tracks.pose_skeleton, 3)}
    sets["poses_world_m"] = sets["poses_camera_m"]
    for field in ("scores", *sets):
        values = getattr(tracks, field)
        if values is not None and len(values) != tracks.lengths.sum():
            raise ValueError(
                f"{field} must have as many frames as the tracks together, {tracks.lengths.sum()}, got {len(values)}; "
                "correct the lengths."
            )
        if values is not None and field in sets:
            skeleton, size = sets[field]
            if values.shape[1:] != (skeleton.num_keypoints, size):
                raise ValueError(
                    f"{field} of {skeleton.name} must be [N, {skeleton.num_keypoints}, {size}], got "
                    f"{list(values.shape)}; give the skeleton that they were made with."
                )


def skip(tracks, names):
    """Leaves tracks out; how many is logged.

    Args:
        tracks: `Tracks`.
        names: of those to leave out, such as those of a `BadDataError`.

    Returns:
        `Tracks`.

    Raises:
        ValueError: naming those that are not there, or if none is left.

    Example:
        >>> tracks = skip(tracks, ["S1/Walking/54138969"])
    """
    names = selection.skipped(names, tracks.names, "tracks")
    return tracks.select(names=[name for name in tracks.names if name not in names])


def fill_gaps(keypoints, scores=None, min_score=0.0, skeleton=None):
    """Fills in the keypoints that a detector lost: by a straight line in time inside a track, held at its ends.

    Args:
        keypoints: [..., T, K, 2], pixels or screen. A keypoint that is NaN or infinite was not seen.
        scores: [..., T, K]; not seen where NaN or not above `min_score`. None: seen where finite and not (0, 0).
        min_score: the score that one must exceed to be seen.
        skeleton: the `Skeleton` of the keypoints, for their names in errors.

    Returns:
        keypoints [..., T, K, 2] float32, all finite, those that were seen unchanged, and scores [..., T, K] float32, 0
        for those that were not.

    Raises:
        ValueError: if shapes do not fit, there is no frame, or a keypoint is seen in no frame of a track.

    Example:
        >>> keypoints, scores = fill_gaps(detected, scores, min_score=0.1, skeleton=skeletons.COCO)
    """
    keypoints, scores, never = _fill(keypoints, scores, min_score)
    if never.any():
        lost = np.flatnonzero(never.reshape(-1, never.shape[-1]).any(axis=0))
        names = [str(i) for i in lost] if skeleton is None else [skeleton.keypoints[i] for i in lost]
        raise ValueError(
            f"Each keypoint must be seen in at least one frame of a track, got none for {', '.join(names)}; lower "
            "min_score, or leave the track or the keypoints out."
        )
    return keypoints, scores


# ---------------------------------------- samples
def chunks(lengths, chunk_length=1, flip=False):
    """Cuts tracks into the chunks of frames that are predicted together, in the published order.

    Where a length is no multiple of the chunk's, the chunks stand centred on the track and reach past both of its ends.

    Args:
        lengths: [S] frames of each track.
        chunk_length: frames a chunk.
        flip: whether each chunk comes a second time, mirrored: track by track, after all plain ones.

    Returns:
        [P, 4] int64: track, start, end (not included), both counted from the beginning of the track, 1 if mirrored.

    Raises:
        ValueError: if `chunk_length` is not positive.

    Example:
        >>> chunks([3], chunk_length=2).tolist()
        [[0, 0, 2, 0], [0, 2, 4, 0]]
    """
    if chunk_length < 1:
        raise ValueError(f"chunk_length must be at least 1, got {chunk_length}; 1 predicts one frame a window.")
    rows = []
    for track, length in enumerate(lengths):
        count = -(-int(length) // chunk_length)
        starts = np.arange(count) * chunk_length - (count * chunk_length - int(length)) // 2
        plain = np.stack([np.full(count, track), starts, starts + chunk_length, np.zeros(count, int)], axis=1)
        rows += [plain, plain + [0, 0, 0, 1]] if flip else [plain]
    return np.concatenate(rows).astype("int64") if rows else np.zeros((0, 4), "int64")


def windows(frames, first, last, start, count):
    """Gathers runs of frames, in a graph; where one reaches past an end of its track, the frame there is repeated.

    Args:
        frames: [N, ...], all frames of all tracks.
        first, last: [B] ints, the rows of `frames` where the track of each window begins and ends, both included.
        start: [B] ints, the row where each window begins, which may lie before `first` or behind `last`.
        count: frames a window.

    Returns:
        [B, count, ...].

    Example:
        >>> windows(tf.range(10), [4], [8], [3], 3).numpy().tolist()
        [[4, 4, 5]]
    """
    rows = tf.convert_to_tensor(start)[:, None] + tf.range(count, dtype=tf.convert_to_tensor(start).dtype)
    first, last = tf.convert_to_tensor(first, rows.dtype), tf.convert_to_tensor(last, rows.dtype)
    return tf.gather(frames, tf.clip_by_value(rows, first[:, None], last[:, None]))


def steps_per_epoch(tracks, batch_size=1024, chunk_length=1, flip=True, unlabelled=None):
    """How many batches of `training` show each chunk once; with `unlabelled`, each of the larger set.

    Args:
        tracks, batch_size, chunk_length, flip, unlabelled: as of `training`.

    Returns:
        int; the last batch of an epoch may be a short one.
    """
    flip = flip and mirrors.are_known(tracks.skeleton, tracks.pose_skeleton)  # as `training` does
    sets = [tracks] if unlabelled is None else [tracks, unlabelled]
    return max(_num_batches(len(chunks(each.lengths, chunk_length, flip)), batch_size) for each in sets)


# ---------------------------------------- batches
def training(
    tracks,
    receptive_field,
    batch_size=1024,
    chunk_length=1,
    causal=False,
    flip=True,
    seed=0,
    first_step=0,
    unlabelled=None,
    trajectory=False,
    augment=None,
):
    """Endless batches of windows, in an order drawn anew for each epoch.

    The n-th batch is a function of the tracks, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had.

    Args:
        tracks: `Tracks` with poses.
        receptive_field: frames that the network needs for one pose, odd.
        batch_size: chunks a batch; the last batch of an epoch has what is left. The published code counts frames:
            its 1024 are 1024 // `chunk_length` chunks.
        chunk_length: frames a chunk.
        causal: whether the network sees no frame after those that it predicts.
        flip: whether each chunk comes twice an epoch, plain and mirrored, each a sample of its own, as published; where
            a skeleton does not know its sides, none is mirrored.
        seed: of order and augmentation. None: the order is that of `chunks`, the augmentation that of seed 0.
        first_step: how many batches to skip; they are only counted.
        unlabelled: `Tracks` of known cameras whose poses, if any, are not used. Each batch has `batch_size` chunks of
            them behind those of `tracks`. An epoch is one of the larger set, and the smaller one starts again, in a new
            order, whenever it is through.
        trajectory: whether targets have the trajectory too; always with `unlabelled`.
        augment: a pure function of a batch and int32 [2] seeds, which gives the batch changed (`data.views`). The batch
            is {"poses_world_m" and "poses_m" (camera space, not root-relative) [B, W, J, 3], "keypoints" [B, W, K, 2]
            screen; if known "camera" [B, 9], "orientation" [B, 4], "translation_m" [B, 3]}, all of the frames of the
            windows. Of what it gives, "keypoints", "poses_m" and "camera" are used; mirroring comes after it. The
            unlabelled are left as they are.

    Returns:
        A `tf.data.Dataset` of batches, W = receptive_field + chunk_length - 1 frames a window. Plain: (keypoints
        [B, W, K, 2] screen, root-relative poses [B, chunk_length, J, 3] metres). With `trajectory` or `unlabelled`:
        ({"keypoints", "camera": [B, 9], "labelled": [B] 1 or 0}, {"poses_m": root-relative [B, chunk_length, J, 3],
        "trajectory_m": [B, chunk_length, 3]}), both targets 0 where not labelled.

    Raises:
        ValueError: if a number is out of range, or the tracks lack poses or cameras that are asked for, or the two sets
            have other keypoints.

    Example:
        >>> network = models.TemporalLifter(filter_widths=(3, 3, 3), strided=True)
        >>> batches = training(tracks, network.receptive_field)
        >>> network.fit(batches, steps_per_epoch=steps_per_epoch(tracks))

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training",
    CVPR 2019.
    """
    joint = trajectory or unlabelled is not None
    _check_numbers(receptive_field=receptive_field, batch_size=batch_size, chunk_length=chunk_length)
    _check_sets(tracks, unlabelled, joint, augment)
    pad = receptive_field // 2
    before = 2 * pad if causal else pad  # frames of a window before its chunk
    flip = mirrors.allowed(flip, tracks.skeleton, tracks.pose_skeleton)
    sets = [tracks] if unlabelled is None else [tracks, unlabelled]
    sources = [_Source(each, chunk_length, flip, before, receptive_field + chunk_length - 1) for each in sets]
    orders = [
        _orders(source.num_chunks, batch_size, seed, stream, first_step)
        for source, stream in zip(sources, (_LABELLED, _UNLABELLED), strict=False)
    ]

    def make(step, *chosen):
        seeds = _draw_seeds(seed or 0, _AUGMENTATION, step)
        batches = [
            source.batch(indices, with_poses=i == 0, augment=augment if i == 0 else None, seeds=seeds)
            for i, (source, indices) in enumerate(zip(sources, chosen, strict=True))
        ]
        if not joint:
            poses = batches[0]["poses_m"]
            return batches[0]["keypoints"], poses - poses[:, :, :1]
        return _joint_batch(batches)

    counted = tf.data.Dataset.zip(tf.data.Dataset.counter(first_step), *orders)
    return counted.map(make, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def padded_batches(tracks, batch_size):
    """Batches of whole tracks, in order, each held at its last frame up to the length of the longest of its batch.

    A lifter that repeats the frames at the ends of what it is given (`estimators.TrackLifter`) gives a track the
    same poses in such a batch as alone.

    Args:
        tracks: `Tracks`.
        batch_size: tracks a batch; the last batch has what is left.

    Returns:
        A `tf.data.Dataset` of {"keypoints_screen": [B, T, K, 2], "frame_size": [B, 2], "mask": [B, T] true for frames
        of the track, "length": [B], "index": [B] which track}, and where known "camera": [B, 9], "poses_m":
        root-relative [B, T, J, 3] and "trajectory_m": [B, T, 3].

    Raises:
        ValueError: if `batch_size` is not positive.

    Example:
        >>> for batch in padded_batches(tracks, 8):
        ...     poses = lifter.lift(batch["keypoints_screen"])[batch["mask"]]
    """
    _check_numbers(batch_size=batch_size)
    starts, lengths = _on_cpu(tracks.starts, "int32"), _on_cpu(tracks.lengths, "int32")
    keypoints, frame_sizes = _on_cpu(tracks.keypoints_screen), _on_cpu(tracks.frame_sizes, "int32")
    poses = None if tracks.poses_camera_m is None else _on_cpu(tracks.poses_camera_m)
    cameras = None if tracks.cameras is None else _on_cpu(tracks.cameras)

    def make(index):
        start, length = tf.gather(starts, index), tf.gather(lengths, index)
        longest = tf.reduce_max(length)
        batch = {
            "keypoints_screen": windows(keypoints, start, start + length - 1, start, longest),
            "frame_size": tf.gather(frame_sizes, index),
            "mask": tf.sequence_mask(length, longest),
            "length": length,
            "index": index,
        }
        if cameras is not None:
            batch["camera"] = tf.gather(cameras, index)
        if poses is not None:
            absolute = windows(poses, start, start + length - 1, start, longest)
            batch |= {"poses_m": absolute - absolute[:, :, :1], "trajectory_m": absolute[:, :, 0]}
        return batch

    indices = tf.data.Dataset.range(len(tracks), output_type=tf.int32).batch(batch_size)
    return indices.map(make, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def sequences(tracks):
    """The tracks one by one, for an evaluation of each as a whole.

    Args:
        tracks: `Tracks`.

    Yields:
        {"keypoints_screen": [T, K, 2], "scores": [T, K], "frame_size": [2], "fps", "name", "subject", "action",
        "camera_name"}, and where known "camera": [9], "poses_m": root-relative [T, J, 3], "trajectory_m": [T, 3] and
        "poses_world_m": [T, J, 3]; NumPy arrays.

    Example:
        >>> lengths = {track["name"]: len(track["poses_m"]) for track in sequences(tracks)}
    """
    for i, start in enumerate(tracks.starts):
        rows = slice(start, start + tracks.lengths[i])
        track = {
            "keypoints_screen": tracks.keypoints_screen[rows],
            "scores": tracks.scores[rows],
            "frame_size": tracks.frame_sizes[i],
            "fps": float(tracks.fps[i]),
            "name": tracks.names[i],
            "subject": tracks.subjects[i],
            "action": tracks.actions[i],
            "camera_name": tracks.camera_names[i],
        }
        if tracks.cameras is not None:
            track["camera"] = tracks.cameras[i]
        if tracks.poses_camera_m is not None:
            absolute = tracks.poses_camera_m[rows]
            track |= {"poses_m": absolute - absolute[:, :1], "trajectory_m": absolute[:, 0]}
        if tracks.poses_world_m is not None:
            track["poses_world_m"] = tracks.poses_world_m[rows]
        yield track


# ---------------------------------------- helpers: reading
def _from_elements(elements, skeleton, pose_skeleton, trim=False, min_score=0.0):
    """Checks elements as TFDS datasets have them, takes each to its camera, and lays them end to end."""
    if not elements:
        raise ValueError("Tracks must be at least one, got none; check the split and how it was prepared.")
    report = gate.Report("tracks", ", or leave them out by name")
    tracks = [_read_element(report, element, skeleton, pose_skeleton, trim, min_score) for element in elements]
    report.close()

    def end_to_end(field, dtype="float32", join=np.concatenate):
        values = [track[field] for track in tracks]
        lacking = [track["name"] for track in tracks if track[field] is None]
        if 0 < len(lacking) < len(tracks):
            raise ValueError(f"All tracks or none must have {field}, got none in track {lacking[0]}; make two of them.")
        return None if lacking else join(values).astype(dtype)

    made = Tracks(
        keypoints_screen=end_to_end("keypoints_screen"),
        scores=end_to_end("scores"),
        poses_camera_m=end_to_end("poses_camera_m"),
        poses_world_m=end_to_end("poses_world_m"),
        lengths=np.array([len(track["keypoints"]) for track in tracks]),
        cameras=end_to_end("camera", join=np.stack),
        frame_sizes=end_to_end("frame_size", "int32", np.stack),
        fps=end_to_end("fps", join=np.array),
        names=[track["name"] for track in tracks],
        subjects=[str(track["subject"]) for track in tracks],
        actions=[str(track["action"]) for track in tracks],
        camera_names=[str(track["camera_name"]) for track in tracks],
        skeleton=skeleton,
        pose_skeleton=pose_skeleton,
        orientations=end_to_end("orientation", join=np.stack),
        translations_m=end_to_end("translation_m", join=np.stack),
    )
    _check(made, report.told)
    return made


def _read_element(report, element, skeleton, pose_skeleton, trim, min_score):
    """A track with screen coordinates, camera-space poses and camera [9] added; None, and noted, if it is none."""
    track = {"poses_world_m": None, "poses_camera_m": None, "camera": None, "scores": None} | element
    track |= dict.fromkeys(PLACEMENT_FIELDS)
    track["name"] = name = str(track["name"])
    for key in ("keypoints", "scores", "poses_world_m", "poses_camera_m"):
        values = None if track[key] is None else sequence_gate.numbers(track[key])
        if key == "keypoints" and values is not None and track["scores"] is None:
            sequence_gate.note_large(report, values, name)
        with np.errstate(over="ignore"):
            track[key] = values if values is None else values.astype("float32")
    poses = track["poses_world_m"] if track["poses_camera_m"] is None else track["poses_camera_m"]
    if trim and poses is not None and poses.ndim and track["keypoints"] is not None:
        trimmed = [key for key in ("keypoints", "scores") if track[key] is not None]
        track |= {key: track[key][: len(poses)] for key in trimmed}
    if not track_gate.note_track_form(report, track, skeleton, pose_skeleton):
        return None
    if min_score is not None:
        track |= _without_gaps(report, track["keypoints"], track["scores"], min_score, name)
    size = track["frame_size"] = sequence_gate.frame_size_of(track["frame_size"])
    track["fps"] = track_gate.frame_rate(track["fps"])
    try:
        track["keypoints_screen"] = np.asarray(camera_ops.normalize_screen(track["keypoints"], size))
        return track | _in_camera(track["camera"], poses, track["poses_camera_m"], size)
    except (KeyError, ValueError) as error:
        lacks = isinstance(error, KeyError)
        report.note(track_gate.CAMERA_NUMBERS, name, f"no {error.args[0]}" if lacks else str(error).rstrip("."))
    return None


def _without_gaps(report, keypoints, scores, min_score, name):
    """{"keypoints", "scores"} of a track by the one convention, its gaps filled; a keypoint never seen is at (0, 0)."""
    keypoints, scores, nowhere = sequence_gate.without_missing(keypoints, scores)
    if nowhere:
        report.note(sequence_gate.NOWHERE, name, f"{nowhere} keypoints")
    keypoints, scores, never = _fill(keypoints, scores, min_score)
    return {"keypoints": np.where(never[:, None], np.float32(0), keypoints), "scores": scores}


def _in_camera(camera, poses, poses_camera_m, size):
    """{"camera" [9], its placement where known, and "poses_camera_m"} of a track."""
    made = {"camera": None, "poses_camera_m": poses_camera_m}
    if camera is not None:
        own = [_numbers(camera, field) for field in CAMERA_FIELDS]
        made["camera"] = np.asarray(camera_ops.normalize_intrinsics(*own, size.tolist()))
        if all(field in camera for field in PLACEMENT_FIELDS):
            made |= {field: _numbers(camera, field) for field in PLACEMENT_FIELDS}
    if poses_camera_m is None and poses is not None:
        if camera is None:
            raise ValueError("cameras must be given with poses of the world, got none; or give poses_camera_m.")
        placement = [_numbers(camera, field) for field in PLACEMENT_FIELDS]
        made["poses_camera_m"] = np.asarray(camera_ops.world_to_camera(poses, *placement))
    return made


def _numbers(camera, field):
    values = sequence_gate.numbers(camera[field])
    if values is None:
        raise ValueError(f"{field} must be numbers, got {camera[field]!r}")
    return values


def _fill(keypoints, scores, min_score):
    """`fill_gaps`, but for keypoints that are never seen [..., K]: those stay as they are."""
    keypoints = np.asarray(keypoints, "float32")
    if keypoints.ndim < 3 or keypoints.shape[-1] != 2 or 0 in keypoints.shape:
        raise ValueError(
            f"keypoints must be [..., T, K, 2] with at least one frame, got {list(keypoints.shape)}; reshape them."
        )
    finite = np.isfinite(keypoints).all(axis=-1)  # [..., T, K]
    scores = np.any(keypoints != 0, axis=-1) if scores is None else scores
    scores = np.asarray(scores, "float32")
    if scores.shape != finite.shape:
        raise ValueError(f"scores must be {finite.shape}, one a keypoint, got {scores.shape}; reshape them.")
    seen = finite & (scores > min_score)  # false for NaN
    never = ~seen.any(axis=-2)  # [..., K]
    keep = (seen | never[..., None, :])[..., None]
    filled = np.where(keep, keypoints, sequence_ops.fill_gaps(keypoints, seen))
    return filled, np.where(seen, scores, np.float32(0)), never


def _hashed(text):
    """A number in [0, 1) that is a function of a text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little") / 2**48


# ---------------------------------------- helpers: batches
class _Source:
    """Tracks as tensors, and the windows of any of their chunks."""

    def __init__(self, tracks, chunk_length, flip, before, window_length):
        self.mirrors = _mirrors(tracks.skeleton, tracks.pose_skeleton) if flip else None
        self.before, self.window_length, self.chunk_length = before, window_length, chunk_length
        table = chunks(tracks.lengths, chunk_length, flip)
        self.num_chunks = len(table)
        # Tensors, which graphs take as arguments: NumPy arrays would become constants in them, of 2 GB at most.
        self.chunks = _on_cpu(table, "int32")
        self.firsts = _on_cpu(tracks.starts, "int32")
        self.lasts = _on_cpu(tracks.starts + tracks.lengths - 1, "int32")
        self.keypoints = _on_cpu(tracks.keypoints_screen)
        self.cameras = None if tracks.cameras is None else _on_cpu(tracks.cameras)
        self.placements = {}
        if tracks.orientations is not None:
            placements = (tracks.orientations, tracks.translations_m)
            self.placements = {field: _on_cpu(v) for field, v in zip(PLACEMENT_FIELDS, placements, strict=True)}
        self.poses = None if tracks.poses_camera_m is None else _on_cpu(tracks.poses_camera_m)
        self.poses_world = None if tracks.poses_world_m is None else _on_cpu(tracks.poses_world_m)

    def batch(self, indices, with_poses, augment, seeds):
        """{"keypoints", if known "camera", if asked for "poses_m" in camera space} of the chunks of these indices."""
        track, start, _, mirrored = tf.unstack(tf.gather(self.chunks, indices), axis=1)
        first, last = tf.gather(self.firsts, track), tf.gather(self.lasts, track)
        start = first + start

        def gather(frames, offset, count):
            return windows(frames, first, last, start + offset, count)

        batch = {"keypoints": gather(self.keypoints, -self.before, self.window_length)}  # [B, W, K, 2]
        if self.cameras is not None:
            batch["camera"] = tf.gather(self.cameras, track)  # [B, 9]
        if augment is not None:
            batch["poses_m"] = gather(self.poses, -self.before, self.window_length)  # [B, W, J, 3]
            batch["poses_world_m"] = gather(self.poses_world, -self.before, self.window_length)
            batch |= {field: tf.gather(values, track) for field, values in self.placements.items()}
            batch = _augmented(batch, augment, seeds)
            batch["poses_m"] = batch["poses_m"][:, self.before : self.before + self.chunk_length]
        elif with_poses:
            batch["poses_m"] = gather(self.poses, 0, self.chunk_length)  # [B, chunk_length, J, 3]
        return _mirrored(batch, self.mirrors, mirrored) if self.mirrors else batch


def _mirrors(skeleton, pose_skeleton):
    """For each field of a batch [2, D, D]: what leaves its numbers as they are, and what mirrors them."""

    def pair(size, mirror):
        basis = np.eye(size, dtype="float32")
        return _on_cpu(np.stack([basis, mirror(basis)]))

    def points(skeleton, axes):
        shape = (-1, skeleton.num_keypoints, axes)
        size, order = skeleton.num_keypoints * axes, skeleton.flip_permutation
        return pair(size, lambda basis: np.reshape(camera_ops.mirror(basis.reshape(shape), order), (size, size)))

    return {
        "keypoints": points(skeleton, 2),
        "poses_m": points(pose_skeleton, 3),
        "camera": pair(9, lambda basis: np.asarray(camera_ops.mirror_camera(basis))),
    }


def _mirrored(batch, mirrors, which):
    """The batch, of which `which` [B] ints says what is mirrored, 1, and what is not, 0.

    Mirroring is linear. The product with its matrix is exact, as each row has a single 1 or -1, and much faster than
    exchanging joints and then choosing samples.
    """
    return {
        key: tf.reshape(
            tf.reshape(values, [tf.shape(values)[0], -1, mirrors[key].shape[-1]]) @ tf.gather(mirrors[key], which),
            tf.shape(values),
        )
        for key, values in batch.items()
    }


def _augmented(batch, augment, seeds):
    """What `augment` makes of a batch, in the shapes that it had."""
    changed = augment(batch, seeds)
    wanted = [key for key in ("keypoints", "poses_m", "camera") if key in batch]
    missing = [key for key in wanted if key not in changed]
    if missing:
        raise ValueError(f"augment must give {', '.join(wanted)}, got no {', '.join(missing)}; return a whole batch.")
    return {key: tf.ensure_shape(tf.cast(changed[key], tf.float32), batch[key].shape) for key in wanted}


def _joint_batch(batches):
    """Labelled samples and, where there are any, unlabelled ones behind them, as joint training takes them."""
    poses = batches[0]["poses_m"]
    root = poses[:, :, 0]
    targets = {"poses_m": poses - root[:, :, None], "trajectory_m": root}
    labelled = [tf.fill(tf.shape(batch["camera"])[:1], np.float32(i == 0)) for i, batch in enumerate(batches)]
    if len(batches) > 1:
        count = tf.shape(batches[1]["camera"])[0]
        targets = {
            key: tf.pad(value, [[0, count]] + [[0, 0]] * (value.shape.rank - 1)) for key, value in targets.items()
        }
    inputs = {key: tf.concat([batch[key] for batch in batches], axis=0) for key in ("keypoints", "camera")}
    return inputs | {"labelled": tf.concat(labelled, axis=0)}, targets


def _orders(num_chunks, batch_size, seed, stream, first_step):
    """Endless batches of indices of chunks, beginning with that of `first_step`."""
    steps = _num_batches(num_chunks, batch_size)
    first_epoch, first_batch = divmod(first_step, steps)

    def order_of(epoch):
        order = tf.range(num_chunks)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, _draw_seeds(seed, stream, epoch))
        begin = tf.where(epoch == first_epoch, np.int64(first_batch), np.int64(0))
        batches = tf.data.Dataset.range(begin, steps)
        return batches.map(lambda i: order[i * batch_size : (i + 1) * batch_size])

    return tf.data.Dataset.counter(first_epoch).flat_map(order_of)


def _draw_seeds(seed, stream, index):
    """int32 [2], another for each stream and index."""
    key = tf.stack([tf.constant(3 * seed + stream, tf.int64), tf.cast(index, tf.int64)])
    return tf.random.stateless_uniform((2,), key, 0, 2**31 - 1, tf.int32)


def _num_batches(num_chunks, batch_size):
    return -(-num_chunks // batch_size)


def _on_cpu(values, dtype="float32"):
    """A tensor in main memory, where pipelines run; on an accelerator each of them would fetch it back."""
    with tf.device("CPU"):
        return tf.constant(np.asarray(values, dtype))


def _check_numbers(**numbers):
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; give a positive number.")
    field = numbers.get("receptive_field", 1)
    if field % 2 == 0:
        raise ValueError(f"receptive_field must be odd, got {field}; use {field - 1} or {field + 1}.")


def _check_sets(tracks, unlabelled, joint, augment):
    """What `training` asks of its tracks beyond `check`."""
    if tracks.poses_camera_m is None:
        raise ValueError("tracks must have poses to train on, got 2D alone; give tracks without poses as unlabelled.")
    if augment is not None and tracks.poses_world_m is None:
        raise ValueError("augment must have poses_world_m to work on, got tracks without; give poses of the world.")
    for name, each in (("tracks", tracks), ("unlabelled", unlabelled)):
        if joint and each is not None and each.cameras is None:
            raise ValueError(f"{name} must have cameras for joint training, got none; give from_arrays its cameras.")
    if unlabelled is not None and unlabelled.skeleton != tracks.skeleton:
        raise ValueError(
            f"unlabelled must have the keypoints of tracks, {tracks.skeleton.name}, got {unlabelled.skeleton.name}; "
            "convert one of them first."
        )
