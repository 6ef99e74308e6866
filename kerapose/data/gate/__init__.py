"""The one gate: here it is said what a valid sample is, once for each kind, and every door asks.

- `images.py`: people in an image, that is keypoints, visibility and boxes;
- `sequences.py`: a clip, and a video with its keypoints;
- `tracks.py`: a track, and a pose in space;
- `poses.py`: a clip of 3D skeletons.

The doors are whatever samples come in by: `from_arrays`, `from_poses`, `from_coco`, `from_pyskl` and `from_tfds` of the
pipelines and their `check`, the builders of `datasets/`, the predictors, and, as far as a graph can, the exported
models.

What is impossible is an error with the names of the samples, which `skip` leaves out (`BadDataError`); what is only
suspicious is one warning with their number and the first names (`report.py`). Inside the gate there is one convention
of what is missing: a keypoint whose score (of images: visibility) is 0, and whose place is (0, 0) and means nothing.
Whether samples may be mirrored, `kerapose.mirrors` says.
"""

from kerapose.data.gate.report import ALL, BadDataError, Report, Rule, some

__all__ = ["ALL", "BadDataError", "Report", "Rule", "some"]
