"""The protocols of the papers: an estimator and a data set in, figures out."""

from kerapose.evaluation.actions import action_figures, action_probabilities
from kerapose.evaluation.lifting import lifted_tracks, lifting_figures
from kerapose.evaluation.people import found_people, people_figures
from kerapose.evaluation.poses import can_measure_ap, found_poses, pose_figures
from kerapose.evaluation.videos import VIDEO_CONDITIONS, video_figures, video_probabilities

__all__ = [
    "VIDEO_CONDITIONS",
    "action_figures",
    "action_probabilities",
    "can_measure_ap",
    "found_people",
    "found_poses",
    "lifted_tracks",
    "lifting_figures",
    "people_figures",
    "pose_figures",
    "video_figures",
    "video_probabilities",
]
