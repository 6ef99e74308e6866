"""Trained networks for other runtimes: SavedModels of the whole way from raw input to answer, LiteRT and ONNX files.

The SavedModels need no Python of ours. Their signatures are what TensorFlow Serving's predict call, gRPC or REST, asks
for; each output has the requests' batch axis first, as the REST form of rows wants it. A request that cannot be
answered fails with one sentence.

Inputs and outputs of each are in the docstring of its module: `actions`, `videos`, `poses`, `people` and `lifting`.
`networks` has networks alone.
"""

from kerapose.export.actions import saved_model
from kerapose.export.lifting import lifter_saved_model, streaming_litert, streaming_saved_model
from kerapose.export.networks import litert, onnx
from kerapose.export.people import people_saved_model
from kerapose.export.poses import pose_saved_model
from kerapose.export.videos import video_saved_model

__all__ = [
    "lifter_saved_model",
    "litert",
    "onnx",
    "people_saved_model",
    "pose_saved_model",
    "saved_model",
    "streaming_litert",
    "streaming_saved_model",
    "video_saved_model",
]
