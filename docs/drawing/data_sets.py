"""Pictures of other data of puppets, and of what a published network finds in them."""

import json
import pathlib
import subprocess
import sys
import tempfile

import cv2
import numpy as np

from drawing import concepts, paper
from kerapose import presets, skeletons, visualize
from kerapose.data import frames as frame_data
from kerapose.data import videos

PRESET = "openpose_omz"
SHOWN_FRAMES, MARGIN_PX = 4, 20
ONE_LINE = 100  # characters of the excerpt of the JSON file


def video():
    """Frames of a rendered clip, one in which little is hidden, with the keypoints that a detector would see."""
    dataset, info = concepts.prepared(videos.from_tfds, "puppets/videos", "test")
    label = info.features["label"].str2int("kick")
    kicks = (clip for clip in dataset.as_numpy_iterator() if clip["label"] == label)
    clip = max(kicks, key=lambda clip: clip["scores"].mean())
    frames = frame_data.read(clip["video"])
    strip = visualize.video_strip(frames, clip["keypoints"], clip["scores"], skeletons.COCO, num_frames=8, cropped=True)
    return paper.of_width(strip)


def predict():
    """What `kerapose predict` draws in a video of several people, by a published network; and what it writes."""
    try:
        presets.fetch(PRESET)
    except presets.FetchError as error:
        raise paper.MissingError(f"fetch {PRESET}: {error}") from error
    dataset, _ = concepts.prepared(videos.from_tfds, "puppets/group_videos", "test")
    clips = list(dataset.take(8).as_numpy_iterator())
    clip = max(clips, key=lambda clip: clip["scores"].mean())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "walk.mp4").write_bytes(clip["video"])
        command = [sys.executable, "-m", "kerapose", "predict", "walk.mp4", f"--model={PRESET}", "--output=predicted"]
        subprocess.run(command, cwd=folder, check=True)
        frames = frame_data.read(folder / "predicted" / "walk.mp4")
        written = json.loads((folder / "predicted" / "walk.json").read_text())
    (paper.FOLDER / "predict.json").write_text(excerpt(written))
    people = [frame["people"] for frame in written["frames"]]
    chosen = np.linspace(len(frames) // 4, len(frames) - 1, SHOWN_FRAMES).round().astype(int)
    boxes = np.array([person["box"] for frame in chosen for person in people[frame]])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0) - MARGIN_PX, boxes[:, 2:].max(axis=0) + MARGIN_PX
    rows, columns = (slice(max(0, int(low)), int(high)) for low, high in ((top, bottom), (left, right)))
    shown = [cv2.resize(frames[i][rows, columns], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for i in chosen]
    return paper.of_width(visualize.contact_sheet(shown, columns=2))


def excerpt(written):
    """The beginning of what was written: the head, and two keypoints of the first person of the first full frame."""
    frame = next(frame for frame in written["frames"] if frame["people"])
    person = frame["people"][0]
    skeleton = written["skeleton"]
    short = written | {
        "skeleton": {"name": skeleton["name"], "keypoints": [*skeleton["keypoints"][:2], "..."]},
        "frames": [
            frame | {"people": [person | {"keypoints": [*person["keypoints"][:2], "..."]}]},
            "...",
        ],
    }
    short = json.loads(json.dumps(short), parse_float=lambda text: round(float(text), 2))
    return _indented(short) + "\n"


def _indented(value, depth=0):
    """JSON with whatever fits on a line on one."""
    line = json.dumps(value)
    if len(line) + 2 * depth <= ONE_LINE or not isinstance(value, dict | list):
        return line
    inner = "  " * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {_indented(each, depth + 1)}" for key, each in value.items()]
    else:
        parts = [inner + _indented(each, depth + 1) for each in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n" + ",\n".join(parts) + f"\n{'  ' * depth}{last}"


PICTURES = {function.__name__: function for function in (video, predict)}
