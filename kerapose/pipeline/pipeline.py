"""The whole way: pictures in; people, their poses in space, and what they do, out."""

import itertools
import os
import typing
from collections.abc import Iterable, Iterator

import numpy as np

from kerapose import predictors, skeletons, tracking
from kerapose.data.predictions import Moment
from kerapose.pipeline import sources
from kerapose.pipeline.results import Result
from kerapose.pipeline.space import LiveLift, lift_tracks
from kerapose.pipeline.windows import Watcher, Windows
from kerapose.predictors.networks import require_keypoints
from kerapose.types import Array, Path

SURE_SCORE = 0.3  # of top-down keypoints: a heatmap has a maximum also where there is nothing
AVERAGE = 3  # windows
SURE_PROBABILITY = 0.5
STEPS = 4  # in which a window moves on by its length
TOGETHER = 2  # people of a clip, where the training does not tell how many it saw


class Pipeline:
    """Finds people in images and videos, keeps their identities, lifts them to 3D and names their actions.

    Actions are those of windows of L frames that slide along. So at F frames a second the first name comes after L / F
    seconds, and a change of action shows after about half a window, L / (2 F) seconds, and ``average - 1`` half steps
    more. Only the window is kept for it: memory and the cost of a frame do not grow with the length of a stream.

    Args:
        pose: what finds people: a `predictors.TopDownPose` or `BottomUpPose`; or what `predictors.load` takes, the
            `model.keras` of a training or the name of a preset. Any function from an image to a list of
            `predictors.Pose` with a `skeleton` will do.
        lifter: what lifts them: a `predictors.Lifter`, or what `predictors.load` takes. None: nothing does.
        action: what names their actions: a `predictors.SkeletonAction` or `Action`, or what `predictors.load` takes.
            None: nothing does. Each window is seen as one clip.
        detector: of people, for a top-down `pose` that is loaded here.
        min_score: a keypoint counts as found where its score is above it. None: 0.3 top-down, 0 bottom-up.
        smooth: whether keypoints are smoothed over time (`tracking.OneEuro`).
        window: L, frames. None: as long as the clips of the training were in the middle, where its file says so, else
            as many as the network sees.
        step: frames from the end of a window to that of the next. None: L / 4.
        average: over so many windows of a person the probabilities are averaged, the newest and those before. None: 3.
        min_probability: what is less probable gets no name. None: 0.5.
        together: whether all people of a window are one clip with one name, as for actions of several people, or each
            is a clip. None: as in the training, where its file says so, else each.
        most_people: of a clip, the surest ones. None: as in the training, else 2.
        batch: frames that go through a bottom-up network together, where they need not be waited for; more than one is
            faster on a GPU.

    Raises:
        ValueError: if a number is not as described, or keypoints that one part needs do not follow from those that
            another gives.

    Example:
        >>> import kerapose
        >>> files = {"pose": "runs/topdown/model.keras", "action": "runs/poseconv3d/model.keras"}
        >>> pipeline = kerapose.Pipeline(**files, min_score=-1.0)  # these networks have learnt nothing: take all
        >>> result = pipeline("walk.mp4", max_frames=12)
        >>> result.people[0].keypoints.shape  # the first person in 12 frames
        (12, 17, 2)
        >>> result.window, result.people[0].actions[0].frames  # windows of 8 frames, the first of them
        (8, (0, 7))
    """

    def __init__(
        self,
        pose: typing.Any,
        lifter: predictors.Lifter | Path | None = None,
        action: predictors.SkeletonAction | predictors.Action | Path | None = None,
        detector: typing.Any = None,
        min_score: float | None = None,
        smooth: bool = True,
        window: int | None = None,
        step: int | None = None,
        average: int | None = None,
        min_probability: float | None = None,
        together: bool | None = None,
        most_people: int | None = None,
        batch: int = 1,
    ):
        self.pose = _loaded(pose, "pose", None, **({} if detector is None else {"detector": detector}))
        self.skeleton = self.pose.skeleton
        of_lifter = {"skeleton": self.skeleton}
        self.lifter = None if lifter is None else _loaded(lifter, "lifter", predictors.Lifter, **of_lifter)
        kinds = predictors.SkeletonAction, predictors.Action
        self.action = None if action is None else _of_one_clip(_loaded(action, "action", kinds))
        usual = SURE_SCORE if isinstance(self.pose, predictors.TopDownPose) else 0.0
        self.min_score = usual if min_score is None else min_score
        if not np.isfinite(self.min_score):
            raise ValueError(f"min_score must be a finite number, got {min_score}; 0.3 is usual.")
        self.smooth = smooth
        self.batch = batch
        if batch != int(batch) or batch < 1:
            raise ValueError(f"batch must be a whole number of frames of at least 1, got {batch}; 1 is each alone.")
        if batch > 1 and not hasattr(self.pose, "batch"):
            raise ValueError(
                f"batch is for bottom-up networks, got {batch} for {type(self.pose).__name__}, which has the people of "
                "a frame in one batch anyway; leave it out."
            )
        self.windows = None
        sliding = {"window": window, "step": step, "average": average, "min_probability": min_probability}
        sliding = sliding | {"together": together, "most_people": most_people}
        if self.action is not None:
            require_keypoints(self.skeleton, self.action.skeleton, "recognizer")
            self.windows = _windows(self.action, **sliding)
        elif any(value is not None for value in sliding.values()):
            name = next(name for name, value in sliding.items() if value is not None)
            raise ValueError(f"{name} is for an action, got it without; leave it out, or give a recognizer as action.")

    @property
    def pose_skeleton(self) -> skeletons.Skeleton | None:
        """The `Skeleton` of the 3D poses; None without a lifter."""
        return None if self.lifter is None else self.lifter.pose_skeleton

    def __call__(
        self,
        source: Path | Array | Iterable[Array],
        max_frames: int | None = None,
        fps: float | None = None,
        follow: bool = False,
    ) -> Result:
        """Works through a whole source; people are lifted by their whole tracks, from before and after each frame.

        Args:
            source: path of an image (.jpg, .jpeg, .png) or of a video; RGB uint8 [H, W, 3], an image, or [T, H, W, 3],
                a video; pictures [H, W, 3] one after another; "camera:0"; the address of a stream (rtsp://, http://).
            max_frames: how many to look at, which a camera needs. None: all.
            fps: frames a second of pictures. None: 30.
            follow: whether the file of a video is still being written.

        Returns:
            A `Result`.

        Raises:
            ValueError, FileNotFoundError: if a source is not as described, is no image or video, or breaks off at its
                very beginning.

        Example:
            >>> import kerapose
            >>> pipeline = kerapose.Pipeline("runs/topdown/model.keras", min_score=-1.0)
            >>> pipeline("street.jpg").people[0].keypoints.shape  # an image is one frame
            (1, 17, 2)
        """
        source = sources.opened(source, max_frames, fps, follow, self.pose)
        if source.is_live and max_frames is None:
            raise ValueError(f"{source.given} has no end; give max_frames, or use stream().")
        result = self.collected(source, self.watch(source))
        if result.error is not None:
            raise result.error
        return result

    def stream(
        self,
        source: Path | Array | Iterable[Array],
        max_frames: int | None = None,
        fps: float | None = None,
        follow: bool = False,
    ) -> Iterator[Moment]:
        """Works through a source frame by frame, as it comes; nothing is kept of what is past.

        Of a camera or a stream, the newest frame is always the next: where the networks take longer than a frame lasts,
        the frames between are left out, and `dropped` says how many.

        Args:
            source: as for a call.
            max_frames: how many to look at. None: all.
            fps: frames a second of pictures. None: 30.
            follow: whether the file of a video is still being written.

        Yields:
            A `data.predictions.Moment` for each frame, with its `picture`.

        Raises:
            ValueError, FileNotFoundError: as for a call; and if there is a lifter that looks into the future.

        Example:
            >>> import kerapose
            >>> pipeline = kerapose.Pipeline("runs/topdown/model.keras", min_score=-1.0)
            >>> for moment in pipeline.stream("walk.mp4", max_frames=3):  # or "camera:0", or "rtsp://..."
            ...     print(moment.frame, f"{moment.time_s:.2f} s", moment.keypoints.shape)
            0 0.00 s (1, 17, 2)
            1 0.07 s (1, 17, 2)
            2 0.13 s (1, 17, 2)
        """
        yield from self.watch(sources.opened(source, max_frames, fps, follow, self.pose), self.lifter is not None)

    def watch(self, source: sources.Source, lifts: bool = False) -> Iterator[Moment]:
        """The moments of a source that is open.

        Args:
            source: of `pipeline.sources`.
            lifts: whether each moment has its 3D poses as it comes.

        Yields:
            A `data.predictions.Moment` for each frame.
        """
        fps = source.shown_fps or source.fps or sources.USUAL_FPS
        track = tracking.Tracker(self.skeleton, fps, smooth=self.smooth, min_score=self.min_score)
        lift = LiveLift(self.lifter, self.min_score, round(fps)) if lifts else None
        watcher, waiting, number = None, None, -1
        try:
            for (picture, time_s, is_lost, dropped), poses in self._found(source):
                if waiting is not None:
                    yield waiting
                    waiting = None
                number += dropped + 1
                moment = self._seen(poses, track)
                moment.frame, moment.time_s, moment.is_lost, moment.dropped = number, time_s, is_lost, dropped
                moment.picture = picture
                if lift is not None:
                    moment.poses_m = lift.see(moment, picture.shape[:2])
                if self.action is None:
                    yield moment
                    continue
                if watcher is None:
                    watcher = Watcher(self.action, self.windows, self.skeleton, picture.shape[:2])
                moment.actions = watcher.see(moment, moment.keypoint_scores > self.min_score, picture)
                if source.is_live:  # it would wait for the next frame, to see whether there is one
                    yield moment
                else:
                    waiting = moment
            if waiting is not None:
                waiting.actions += watcher.rest()
                yield waiting
        except Exception:  # the frame before it counts
            if waiting is not None:
                waiting.actions += watcher.rest()
                yield waiting
            raise
        finally:  # whoever has enough lets go of the camera
            getattr(source.frames, "close", lambda: None)()

    def collected(self, source: sources.Source, moments: Iterable[Moment]) -> Result:
        """The `Result` of moments, the people lifted by their whole tracks.

        Args:
            source: that the moments are of.
            moments: what `watch` gives.

        Returns:
            A `Result`; an error after the first frame is kept in it.
        """
        kept, size, error = [], None, None
        moments = iter(moments)
        while True:
            try:
                moment = next(moments, None)
            except Exception as found:
                if not kept:
                    raise
                error = found
                break
            if moment is None:
                break
            size = size or moment.picture.shape[:2]
            moment.picture = None
            kept.append(moment)
        if not kept:
            raise ValueError(f"A source must have at least one frame, got none from {source.given}; leave it out.")
        result = Result(
            source=source.given,
            skeleton=self.skeleton,
            fps=source.fps if source.shown_fps is None else source.shown_fps,
            frame_size=size,
            moments=kept,
            pose_skeleton=self.pose_skeleton,
            min_score=self.min_score,
            window=None if self.windows is None else self.windows.window,
            again=source.again,
            error=error,
        )
        if self.lifter is not None and any(moment.poses_m is None for moment in kept):
            lift_tracks(result, self.lifter, self.min_score)
        return result

    def _found(self, source):
        """(frame, poses) of each frame."""
        if self.batch == 1 or source.is_live:
            for frame in source.frames:
                yield frame, [] if frame.is_lost else self.pose(frame.picture)
            return
        together, error = [], None
        while error is None:
            try:
                together = []
                together.extend(itertools.islice(source.frames, self.batch))
            except Exception as found:  # those before it count
                error = found
            whole = [frame.picture for frame in together if not frame.is_lost]
            poses = iter(self.pose.batch(np.stack(whole)) if whole else ())
            for frame in together:
                yield frame, [] if frame.is_lost else next(poses)
            if not together:
                break
        if error is not None:
            raise error

    def _seen(self, poses, track):
        """The people of a frame, once each has an identity."""
        count = self.skeleton.num_keypoints
        keypoints = np.array([pose.keypoints for pose in poses], "float64").reshape(-1, count, 2)
        keypoint_scores = np.array([pose.scores for pose in poses], "float64").reshape(-1, count)
        scores = np.array([pose.score for pose in poses], "float64")
        if not all(np.isfinite(values).all() for values in (keypoints, keypoint_scores, scores)):
            raise ValueError(
                "Keypoints and scores are finite numbers, got others from the network; load sound weights."
            )
        ids, keypoints = track(keypoints, keypoint_scores, scores)
        boxes = np.array([pose.box for pose in poses], "float64").reshape(-1, 4)
        return Moment(-1, ids, scores, boxes, keypoints, keypoint_scores)


def _loaded(given, what, kinds, **options):
    """A predictor that somebody made, or the one of a file or a name."""
    if isinstance(given, str | os.PathLike):
        given = predictors.load(given, **options)
    elif options.get("detector") is not None:
        raise ValueError("detector is for a pose that is loaded here, got it for a predictor; give it to that.")
    fits = callable(given) and hasattr(given, "skeleton") if kinds is None else isinstance(given, kinds)
    wrong = kinds is None and isinstance(given, predictors.Lifter | predictors.SkeletonAction | predictors.Action)
    if not fits or wrong:
        needed = {"pose": "TopDownPose or BottomUpPose", "lifter": "Lifter", "action": "SkeletonAction or Action"}
        raise ValueError(
            f"{what} must be a predictor ({needed[what]}), or the file or name of one, got {type(given).__name__}; "
            "give another."
        )
    return given


def _of_one_clip(action):
    """The recognizer for windows: of several clips of one window, each would be nearly the same."""
    return type(action)(action.estimator, num_clips=1)


def _windows(action, window, step, average, min_probability, together, most_people):
    told = (action.estimator.training or {}).get("clips", {})
    window = told.get("frames") if window is None else window
    window = _frames_of(action) if window is None else window
    step = max(1, window // STEPS) if step is None else step
    average = AVERAGE if average is None else average
    min_probability = SURE_PROBABILITY if min_probability is None else min_probability
    for name, value in (("window", window), ("step", step), ("average", average)):
        if value != int(value) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value}; leave it out for the usual.")
    if not 0 <= min_probability <= 1:
        raise ValueError(f"min_probability must be 0 to 1, got {min_probability}; 0 gives every window a name.")
    if most_people is None:
        most_people = max(told.get("people", TOGETHER), 1)
    if most_people < 1:
        raise ValueError(f"most_people must be at least 1, got {most_people}; 2 are usual.")
    together = told.get("people", 1) > 1 if together is None else together
    return Windows(int(window), int(step), int(average), min_probability, together, int(most_people))


def _frames_of(action):
    """Frames of the clips that a recognizer's network sees, the most of several."""
    estimator = action.estimator
    if isinstance(action, predictors.Action):
        return max(shape[0] for shape in (estimator.rgb_shape, estimator.pose_shape) if shape)
    return max(network.input_shape[1] for network in estimator.network.values())
