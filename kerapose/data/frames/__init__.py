"""Encoded videos to frames and back, through FFmpeg (PyAV).

Frames are numbered from 0 in the order in which they are shown, however they are stored and whatever their times are:
frame t is the one that keypoints [:, t] belong to. Decoded are those that are asked for and those that they refer to.
They are as the file says that they are to be looked at: turned and mirrored, and with square pixels.

A damaged packet costs its frame, not the video: another one stands in its place, all others keep their numbers, and one
warning says so. What a file has lost as a whole (its end, packets that were cut out) is told by `probe`, and by `read`
and `iterate` where they give all frames.
"""

from kerapose.data.frames.finding import CONTAINERS, find, is_hidden, named
from kerapose.data.frames.live import LiveVideo, is_address
from kerapose.data.frames.reading import Frame, VideoInfo, iterate, probe, read, refuse_sizes, same_shape
from kerapose.data.frames.writing import encode, steady_x264, wrap_jpegs

__all__ = [
    "CONTAINERS",
    "Frame",
    "LiveVideo",
    "VideoInfo",
    "encode",
    "find",
    "is_address",
    "is_hidden",
    "iterate",
    "named",
    "probe",
    "read",
    "refuse_sizes",
    "same_shape",
    "steady_x264",
    "wrap_jpegs",
]
