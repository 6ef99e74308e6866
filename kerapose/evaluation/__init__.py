"""The protocols of the papers: an estimator and a data set in, figures out."""

from kerapose.evaluation.people import find_people, people
from kerapose.evaluation.poses import can_measure_ap, find_poses, poses

__all__ = ["can_measure_ap", "find_people", "find_poses", "people", "poses"]
