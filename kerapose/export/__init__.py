"""Trained networks for other runtimes: SavedModels of the whole way from raw input to answer, LiteRT and ONNX files.

A SavedModel needs TensorFlow alone, not kerapose. Its signatures are what TensorFlow Serving's predict call, gRPC or
REST, asks for; each output has the batch axis of the request first, as the REST form of rows wants it. A request that
cannot be answered fails with one sentence.

What goes in and comes out is described for each kind of model: the modules `actions`, `videos`, `poses`, `people` and
`lifting`. `litert` and `onnx` write networks alone, without what prepares their input.
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
