"""From a video to people, poses and actions: `kerapose.Pipeline`, whole or as it happens."""

from kerapose.pipeline.pipeline import Pipeline
from kerapose.pipeline.results import Result

__all__ = ["Pipeline", "Result"]
