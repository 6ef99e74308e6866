"""From a video to people, poses and actions: `kerapose.Pipeline`, whole or as it happens.

A pipeline joins predictors, a tracker and sources of pictures. Called, it works through a whole source and gives a
`Result`; `Pipeline.stream` gives one `data.predictions.Moment` after the other, of a camera for one.
"""

from kerapose.pipeline.pipeline import Pipeline
from kerapose.pipeline.results import Result

__all__ = ["Pipeline", "Result"]
