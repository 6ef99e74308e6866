# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Export and serve
#
# A trained model leaves Python. An *estimator* holds the whole way from raw input to answer in one graph: it decodes a
# JPEG file, cuts out the people, normalizes, asks the network, averages with the mirror image, reads the heatmaps, and
# goes back to pixels of the image. So a SavedModel of it takes bytes and gives keypoints, and whoever asks needs
# TensorFlow alone, or no TensorFlow at all behind TensorFlow Serving.

# %%
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import warnings

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from kerapose import estimators, export, models, predictors, skeletons, visualize
from kerapose.ops import images

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
WORKDIR = pathlib.Path("../runs/notebooks/export_and_serve")
MODELS = WORKDIR / "models"  # what a server will be given
shutil.rmtree(WORKDIR, ignore_errors=True)
WORKDIR.mkdir(parents=True)
keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it tells of every folder that it writes
warnings.simplefilter("ignore", FutureWarning)  # of what the converters use

# %% [markdown]
# ## An estimator
# Yours is what a training leaves: `predictors.load("runs/topdown/model.keras").estimator`. Here is a small network that
# has learnt nothing. What it finds means nothing, then; but that all runtimes find the same can be shown with it as
# well as with any other.

# %%
network = models.SimpleBaseline.from_variant("resnet18_tiny", 17)
last = network.layers[-1]
last.set_weights([1e6 * value for value in last.get_weights()])  # else an untrained network's heatmaps are all but flat
estimator = estimators.PoseEstimator(network, skeletons.COCO, codec="dark")
find_pose = predictors.TopDownPose(estimator)

# %% [markdown]
# And a picture with two people and their boxes, as a JPEG file:

# %%
STANDING = [[0, -0.38], [0.02, -0.4], [-0.02, -0.4], [0.04, -0.39], [-0.04, -0.39], [0.1, -0.3], [-0.1, -0.3]]
STANDING += [[0.15, -0.15], [-0.15, -0.15], [0.17, 0.0], [-0.17, 0.0], [0.06, 0.0], [-0.06, 0.0], [0.07, 0.25]]
STANDING += [[-0.07, 0.25], [0.07, 0.48], [-0.07, 0.48]]  # in body heights from the hips
figures = np.array(STANDING) * 170 + np.array([[[100, 120]], [[220, 125]]])  # [2, 17, 2] pixels
boxes = np.concatenate([figures.min(axis=1) - 8, figures.max(axis=1) + 8], axis=1).astype("float32")  # [2, 4]
street = np.full((240, 320, 3), (120, 124, 130), np.uint8)
picture = visualize.draw_skeletons(street, figures, None, skeletons.COCO, boxes=boxes)
jpeg = tf.io.encode_jpeg(picture).numpy()
print(len(jpeg), "bytes")
Image.fromarray(picture)

# %% [markdown]
# ## A SavedModel of the whole way
# The number at the end of the path is the version, as TensorFlow Serving wants it.

# %%
path = export.pose_saved_model(estimator, MODELS / "pose" / "1", max_pixels=1920 * 1080)
for file in sorted(file for file in (MODELS / "pose").rglob("*") if file.is_file()):
    print(f"{file.stat().st_size:>9,}  {file.relative_to(MODELS)}")

# %% [markdown]
# Beside the graph and its weights there are requests of usual sizes, which a server answers before it takes others, and
# files that say how it may gather requests.
#
# ## Ask it with TensorFlow alone
# Another process, which has never heard of kerapose. It sends the bytes of the file, and gets keypoints in
# pixels of the image.

# %%
CLIENT = """
import json
import sys

import numpy as np
import tensorflow as tf

model, jpeg, boxes = sys.argv[1:]
served = tf.saved_model.load(model).signatures["serving_default"]
found = served(image_bytes=tf.constant([open(jpeg, "rb").read()]), boxes=tf.constant([json.loads(boxes)], tf.float32))
assert "kerapose" not in sys.modules
names = [name.decode() for name in found["keypoint_names"].numpy()[0]]
print(json.dumps({"names": names, "keypoints": found["keypoints"].numpy()[0].tolist()}))
"""
(WORKDIR / "client.py").write_text(CLIENT)
(WORKDIR / "street.jpg").write_bytes(jpeg)
command = [sys.executable, WORKDIR / "client.py", path, WORKDIR / "street.jpg", json.dumps(boxes.tolist())]
answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
served_keypoints = np.array(answer["keypoints"])  # [2, 17, 2] pixels
dict(zip(answer["names"][:3], served_keypoints[0].round(1).tolist(), strict=False))

# %% [markdown]
# The predictor in this process, asked the same:

# %%
poses = find_pose(jpeg, boxes)
for index, pose in enumerate(poses):
    apart = abs(served_keypoints[index] - pose.keypoints).max()
    print(f"person {index}: at most {apart:.5f} px apart")

# %% [markdown]
# ## What is refused
# A server is asked by strangers. What cannot be answered fails with one sentence, which says the rule, what was sent,
# and what to do. It reaches the client as the message of the error.

# %%
served = tf.saved_model.load(str(path)).signatures["serving_default"]


def ask(image_bytes, boxes):
    try:
        served(image_bytes=tf.constant([image_bytes]), boxes=tf.constant([boxes], tf.float32))
    except tf.errors.InvalidArgumentError as error:
        sentence = str(error).split("assertion failed: [")[-1].split("]\n")[0]
        print("-", sentence.splitlines()[0], "\n")


ask(jpeg, [[0.1, 0.1, 0.4, 0.9]])  # shares of the picture in place of pixels
ask(jpeg, [[400, 20, 500, 100]])
ask(b"GIF89a", [[10, 10, 60, 60]])
ask(jpeg, [[10, 10, 60, 60]] * 51)
ask(tf.io.encode_jpeg(np.zeros((1200, 1800, 3), np.uint8)).numpy(), [[10, 10, 60, 60]])

# %% [markdown]
# How much is too much are arguments of the export: `max_images`, `max_boxes`, and the `max_pixels` that were chosen
# above; 50 million is the default. A picture's size is read in its header, before anything is decoded, so a few
# kilobytes cannot ask for gigabytes.

# %% [markdown]
# ## The network alone: LiteRT and ONNX
# For other runtimes the network goes by itself, in float32, for any batch size. What comes before it and after it is
# then yours to do: crops normalized as in training in, heatmaps out.

# %%
export.litert(network, WORKDIR / "pose.tflite")
export.onnx(network, WORKDIR / "pose.onnx")
crops = np.asarray(images.normalize(np.random.default_rng(0).integers(0, 256, (2, 128, 96, 3)).astype("float32")))

keras_maps = network.predict_on_batch(crops)
litert_maps = Interpreter(str(WORKDIR / "pose.tflite")).get_signature_runner()(image=crops)["heatmaps"]
session = onnxruntime.InferenceSession(str(WORKDIR / "pose.onnx"))
onnx_maps = session.run(["heatmaps"], {"image": crops})[0]
for name, maps in (("LiteRT", litert_maps), ("ONNX Runtime", onnx_maps)):
    print(
        f"{name}: {maps.shape}, at most {abs(maps - keras_maps).max():.1e} from Keras, of {abs(keras_maps).max():.1e}"
    )

# %% [markdown]
# ## A lifter that is fed frame by frame
# A causal lifter sees the past alone, so it can answer each frame at once. `StreamingLifter` keeps what it needs of the
# past in a state that goes in and comes out, and computes nothing twice. As a served model it keeps nothing between two
# calls, so that any server can answer any of them.

# %%
lifter = models.TemporalLifter(filter_widths=(3, 3, 3), channels=64, causal=True)
stream = estimators.StreamingLifter(lifter, skeletons.H36M, skeletons.H36M)
path = export.streaming_saved_model(stream, MODELS / "stream" / "1")
served = tf.saved_model.load(str(path)).signatures

FRAMES = 10 if FAST else 60
SIZE = (1080, 1920)
steps = np.random.default_rng(0).normal(0, 4, (FRAMES, 17, 2)).cumsum(axis=0)
track = (steps + np.linspace((700, 300), (1000, 800), 17)).astype("float32")  # [T, 17, 2] pixels
state = served["initial_state"](num_tracks=tf.constant(1))
streamed = []
for keypoints in track:
    frame = {
        "keypoints": tf.constant(keypoints[None]),
        "frame_size": tf.constant([SIZE]),
        "reset": tf.constant([False]),
    }
    state = dict(served["step"](**frame, **state))
    streamed.append(state.pop("poses_m").numpy()[0])  # [17, 3] metres from the hip
{name: value.shape for name, value in state.items()}

# %% [markdown]
# The whole track at once, by the predictor, gives the same poses:

# %%
lift = predictors.Lifter(lifter, skeletons.H36M, pose_skeleton=skeletons.H36M, flip_test=False)
whole = lift(track, SIZE).poses_m  # [T, 17, 3]
print(f"at most {1000 * abs(np.stack(streamed) - whole).max():.4f} mm apart in {FRAMES} frames")

# %% [markdown]
# The same two functions as a LiteRT file, for a telephone:

# %%
file = export.streaming_litert(stream, WORKDIR / "stream.tflite")
interpreter = Interpreter(str(file))
state = interpreter.get_signature_runner("initial_state")()
step = interpreter.get_signature_runner("step")
apart = 0.0
for keypoints, pose_m in zip(track, streamed, strict=True):
    frame = {"keypoints": keypoints[None], "frame_size": np.array([SIZE], "int32"), "reset": np.array([False])}
    state = step(**frame, **state)
    apart = max(apart, abs(state.pop("poses_m")[0] - pose_m).max())
print(f"{file.stat().st_size:,} bytes; at most {1000 * apart:.4f} mm apart")

# %% [markdown]
# ## Serve it
# With Docker, in the folder that holds `models`:
#
# ```bash
# docker run -p 8500:8500 -p 8501:8501 -v $PWD/models/pose:/models/pose -e MODEL_NAME=pose \
#     tensorflow/serving:2.21.0
# ```
#
# Over REST the bytes of a file are base64, and one image with its boxes is one instance. This is the body of a request
# to `http://localhost:8501/v1/models/pose:predict`:

# %%
instance = {"image_bytes": {"b64": base64.b64encode(jpeg).decode()}, "boxes": boxes.astype(float).round(1).tolist()}
print(json.dumps({"instances": [instance | {"image_bytes": {"b64": instance["image_bytes"]["b64"][:40] + "..."}}]}))

# %% [markdown]
# The next version goes to `models/pose/2`. The server finds it, warms it up, and takes it over.
#
# The other estimators are exported alike: everybody in an image (`export.people_saved_model`), actions from keypoints
# (`export.saved_model`) and from videos (`export.video_saved_model`), whole tracks to 3D (`export.lifter_saved_model`).
# Every training does it by itself with `export=True`.
#
# ## Read on
# - [Export and serving](../docs/guides/export_and_serving.md): several models, versions and canaries, limits, batching
# - [Performance](../docs/guides/performance.md)
# - [Lifting](../docs/guides/lifting.md): causal lifters, and what they cost
