"""The picture or video of a source, with its people drawn in, and the JSON file of who was seen."""

import pathlib
import tempfile
import threading
from collections.abc import Iterator

import cv2
import tqdm

from kerapose import visualize
from kerapose.data import predictions
from kerapose.data.predictions import Moment
from kerapose.pipeline import Pipeline
from kerapose.pipeline.drawing import Drawer
from kerapose.pipeline.sources import Source


class Recording:
    """A source while it is worked on.

    Args:
        pipeline: that finds who is there.
        source: `pipeline.sources.Source`.
        trail: in how many of the last frames the way of each person is drawn.
    """

    def __init__(self, pipeline: Pipeline, source: Source, trail: int):
        self.pipeline = pipeline
        self.source = source
        self.trail = trail
        self.num_frames = 0  # that are done
        self.dropped = 0  # that nobody looked at
        self.error = None  # that ended it early
        self.best_score = None  # of any keypoint so far; None: nobody had one

    def moments(self, bar: tqdm.tqdm, stop: threading.Event, lifts: bool) -> Iterator[Moment]:
        """Yields frame after frame, until they end, an error comes, or the user has enough.

        An error before the first frame is done is raised; a later one is kept, so that what was done can be written.
        """
        moments = self.pipeline.watch(self.source, lifts)
        while not stop.is_set() or not self.num_frames:
            try:
                moment = next(moments, None)
            except Exception as error:
                if not self.num_frames:
                    raise
                self.error = error
                return
            if moment is None:
                return
            self.num_frames += 1
            self.dropped += moment.dropped
            if moment.keypoint_scores.size:
                best = float(moment.keypoint_scores.max())
                self.best_score = best if self.best_score is None else max(self.best_score, best)
            yield moment
            bar.update()

    @property
    def found_somebody(self) -> bool:
        """Whether any keypoint counted so far."""
        return self.best_score is not None and self.best_score > self.pipeline.min_score

    def write(self, bar: tqdm.tqdm, stop: threading.Event, output: pathlib.Path) -> list[pathlib.Path]:
        """Works through the source and writes its two files, both or none; gives their paths."""
        source = self.source
        picture = f"{source.name}.{'png' if source.fps is None else 'mp4'}"
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output) as folder:
            folder = pathlib.Path(folder)
            with open(folder / "notes.json", "w", encoding="utf-8") as notes:
                # A pose is lifted from frames before and after it, so they are gone through twice; a camera cannot.
                if self.pipeline.lifter is None or source.is_live:
                    pictures = self._drawn(self.moments(bar, stop, self.pipeline.lifter is not None), notes)
                else:
                    pictures = self._lifted(self.moments(bar, stop, False), notes)
                if source.fps is None:
                    (image,) = pictures
                    (folder / picture).write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
                else:
                    visualize.write_mp4(folder / picture, pictures, source.shown_fps or source.fps)
            (folder / "notes.json").rename(folder / f"{source.name}.json")
            for name in (picture, f"{source.name}.json"):
                (folder / name).replace(output / name)
        return [output / picture, output / f"{source.name}.json"]

    def _drawn(self, moments, notes):
        """Yields the pictures with the people, each as soon as it is done, and notes them."""
        pipeline, writer = self.pipeline, None
        window = None if pipeline.windows is None else pipeline.windows.window
        draw = Drawer(pipeline.skeleton, pipeline.min_score, self.trail, window)
        for moment in moments:
            if writer is None:
                sets = pipeline.skeleton, self.source.shown_fps or self.source.fps
                size = moment.picture.shape[:2]
                head = predictions.head_of(self.source.given, *sets, size, pipeline.pose_skeleton, pipeline.min_score)
                writer = predictions.JsonWriter(notes, head)
            writer.add(moment)
            yield draw(moment.picture, moment)
        writer.end()

    def _lifted(self, moments, notes):
        """Yields the pictures with the people and their poses, once all are known, and notes them."""
        result = self.pipeline.collected(self.source, moments)
        result.write_json(notes)
        drawn = result.draw(trail=self.trail)
        yield from [drawn] if self.source.fps is None else drawn
