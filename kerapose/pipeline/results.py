"""What a pipeline finds in a whole source."""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from kerapose import files, visualize
from kerapose.data import predictions, slots
from kerapose.pipeline.drawing import Drawer
from kerapose.types import Array, Path

GAP_PX = 4  # between the picture and the poses in space


@dataclasses.dataclass(eq=False)
class Result(predictions.Predictions):
    """Everybody in an image or a video: `people`, each with `keypoints` [T, K, 2], `scores`, `poses_m`, `actions`.

    A `Pipeline` makes it. What it has besides is that of `data.predictions.Predictions`: `people`, `moments`, `fps`,
    `frame_size`, `skeleton`.

    Args:
        window: frames of a window of actions. None without a recognizer.
        again: gives the pictures once more. None where they are gone, as those of a camera.
        error: that ended the source early; what was found before it is here. None: it came to its end.

    Example:
        >>> import kerapose
        >>> pipeline = kerapose.Pipeline("runs/topdown/model.keras", "runs/lifter/model.keras", min_score=-1.0)
        >>> result = pipeline("walk.mp4", max_frames=5)
        >>> result.frame_size, result.skeleton.name, result.people[0].poses_m.shape
        ((240, 320), 'coco', (5, 17, 3))
    """

    window: int | None = None
    again: Callable[[], Iterator[Array]] | None = None
    error: Exception | None = None

    def to_json(self, path: Path | None = None) -> dict[str, typing.Any]:
        """The content of the JSON file (`data.predictions`), which is also written if there is a path.

        Args:
            path: of the file. None: nothing is written.

        Returns:
            A dict of what JSON can hold.

        Example:
            >>> import kerapose
            >>> result = kerapose.Pipeline("runs/topdown/model.keras", min_score=-1.0)("street.jpg")
            >>> list(result.to_json("street.json"))
            ['source', 'skeleton', 'fps', 'frame_size', 'min_score', 'frames']
        """
        content = super().to_json()
        if path is not None:
            text = json.dumps(content, allow_nan=False, ensure_ascii=False)
            files.write_whole(path, text.encode())
        return content

    def to_clips(self, max_people: int = slots.MAX_PEOPLE) -> dict[str, typing.Any]:
        """The people as a clip, for a training or a recognizer.

        Args:
            max_people: M at most, the most important ones (`data.slots.fill`).

        Returns:
            {"keypoints": [M, T, K, 2] pixels, (0, 0) where missing, "scores": [M, T, K], "frame_size": (height, width)}
            and, with a lifter, "poses_m": [M, T, J, 3] metres.

        Raises:
            ValueError: if `max_people` is below 1.

        Example:
            >>> import kerapose
            >>> result = kerapose.Pipeline("runs/topdown/model.keras", min_score=-1.0)([image] * 4)
            >>> clip = result.to_clips()  # of four frames
            >>> clip["keypoints"].shape, clip["scores"].shape, clip["frame_size"]
            ((1, 4, 17, 2), (1, 4, 17), (240, 320))
        """
        filled = slots.fill(self, max_people)
        clip = {"keypoints": filled.keypoints, "scores": filled.scores, "frame_size": self.frame_size}
        return clip if filled.poses_m is None else clip | {"poses_m": filled.poses_m}

    def draw(self, path: Path | None = None, trail: int = 0) -> Array | Iterator[Array]:
        """Draws the people into the pictures, with their 3D poses beside these.

        Args:
            path: where to write it, an image (.png) or a video (.mp4). None: nowhere.
            trail: over how many of the last frames the path of each person is drawn.

        Returns:
            Of an image the picture, uint8 [H, W, 3]; of a video without a path an iterator over its pictures, with a
            path the last of them.

        Raises:
            ValueError: if the pictures are gone, or the path has another ending.

        Example:
            >>> import kerapose
            >>> result = kerapose.Pipeline("runs/topdown/model.keras", min_score=-1.0)("street.jpg")
            >>> result.draw("street_drawn.png").shape
            (240, 320, 3)
        """
        ending = ".png" if self.fps is None else ".mp4"
        if path is not None and pathlib.Path(path).suffix.lower() != ending:
            what = "an image" if self.fps is None else "a video"
            raise ValueError(f"People in {what} are drawn into a file {ending}, got {path}; change the ending.")
        if self.again is None:
            raise ValueError(
                f"To draw people takes their pictures, got those of {self.source}, which are gone; draw them as they "
                "come, by Pipeline.stream."
            )
        pictures = self._drawn(trail)
        if self.fps is None:
            (picture,) = pictures
            if path is not None:
                files.write_whole(path, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
            return picture
        if path is None:
            return pictures
        last = []

        def kept():
            for picture in pictures:
                last[:] = [picture]
                yield picture

        with files.whole(path) as part:
            visualize.write_mp4(part, kept(), self.fps)
        return last[0]

    def _drawn(self, trail):
        draw = Drawer(self.skeleton, self.min_score, trail, self.window)
        panels, height = None, self.frame_size[0]
        if self.pose_skeleton is not None:
            ids, poses = [one.ids for one in self.moments], [one.poses_m for one in self.moments]
            panels = visualize.people_panels(ids, poses, self.pose_skeleton, height)
            gap = np.full((height, GAP_PX, 3), 255, np.uint8)
        for picture, moment in zip(self.again(), self.moments, strict=False):  # it may have ended early
            drawn = draw(picture, moment)
            yield drawn if panels is None else np.concatenate([drawn, gap, next(panels)], axis=1)
