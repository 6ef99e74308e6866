"""Tracks: what cameras saw of people over time, all frames of all tracks one after another."""

import dataclasses
import hashlib
import typing
from collections.abc import Collection

import numpy as np

from kerapose import skeletons


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
        >>> from kerapose.data import tracks
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> walks = known.select(actions=["walk"]).every(2)
        >>> len(walks), walks.num_frames, float(walks.fps[0])
        (4, 60, 12.5)
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

    def __len__(self) -> int:
        """S, the number of tracks."""
        return len(self.lengths)

    def __repr__(self) -> str:
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

    def select(
        self,
        subjects: Collection[str] | None = None,
        actions: Collection[str] | None = None,
        names: Collection[str] | None = None,
    ) -> typing.Self:
        """Keeps some of the tracks, in their order.

        Args:
            subjects, actions, names: which to keep, a list of strings each. None: all.

        Returns:
            `Tracks`.

        Raises:
            ValueError: naming what none of the tracks has, or if the wishes together leave no track.

        Example:
            >>> from kerapose.data import tracks
            >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
            >>> known.select(subjects=["S1"]).names
            ['S1/walk/front']
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

    def every(self, step: int) -> typing.Self:
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

    def share(self, fraction: float, seed: int = 0) -> typing.Self:
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
            >>> from kerapose.data import tracks
            >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
            >>> known.share(0.1).lengths.tolist()  # of 30 frames each
            [3, 3, 3, 3]
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


def _hashed(text):
    """A number in [0, 1) that is a function of a text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little") / 2**48
