"""A server of exported models under load: right answers and hostile requests at once, over gRPC, in bounded memory."""

import functools
import io
import pathlib
import re
import struct
import time
import zlib
from concurrent import futures

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from PIL import Image

from kerapose import estimators, export, models, predictors, skeletons
from kerapose.export import limits, serving

COCO = skeletons.COCO
BIRD = skeletons.Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))
NAMES = ["clap", "wave_left", "wave_right", "kick"]
CLIENTS = 8
MEGABYTE = 2**20


# ---------------------------------------- what is served
def picture(size, seed=0):
    """Smooth colours, unlike in each file: [H, W, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


def file_of(image, kind="JPEG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def people(frames=20, seed=0):
    """Two people who each drift over a frame: a request without its axis of sequences."""
    random = np.random.default_rng(seed)
    pose = random.uniform(100, 500, (2, 1, 1, 2)) + random.uniform(0, 150, (2, 1, 17, 2))
    drift = random.uniform(-3, 3, (2, 1, 1, 2)) * np.arange(frames)[:, None, None]
    return {
        "keypoints": (pose + drift).astype("float32"),
        "scores": random.uniform(0.2, 1.0, (2, frames, 17)).astype("float32"),
        "frame_size": np.array([720, 1280], "int32"),
    }


@pytest.fixture(scope="module")
def pose_estimator(randomized):
    keras.utils.set_random_seed(0)
    crops = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    maps = keras.layers.Conv2D(3, 5, padding="same")(x)
    return estimators.PoseEstimator(randomized(keras.Model(crops, maps)), BIRD, max_batch=8)


@pytest.fixture(scope="module")
def recognizer(randomized):
    network = models.C3D(len(NAMES), input_shape=(8, 24, 24, 17), base_filters=4, num_stages=3)
    network = randomized(network, shift=0.0, classifier=30.0)
    return estimators.ActionRecognizer(network, COCO, NAMES, 24, num_clips=2)


@pytest.fixture(scope="module")
def base(pose_estimator, recognizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    export.pose_saved_model(pose_estimator, folder / "pose" / "1")
    export.saved_model(recognizer, folder / "actions" / "3")
    return folder


@pytest.fixture(scope="module")
def server(base, start_server):
    with start_server(base / "pose", base / "actions") as client:
        yield client


@pytest.fixture(scope="module")
def good(pose_estimator, recognizer):
    """{request: (model, inputs, signature, what the predictor answers)}; all are unlike each other."""
    find, requests = predictors.TopDownPose(pose_estimator), {}
    for i, (size, count) in enumerate((((90, 120), 1), ((400, 300), 3), ((720, 1280), 6), ((65, 150), 2))):
        data, random = file_of(picture(size, i), ("JPEG", "PNG")[i % 2]), np.random.default_rng(i)
        corners = np.sort(random.uniform(0.05, 0.95, (count, 2, 2)), axis=1) + [[[0, 0], [0.05, 0.05]]]
        boxes = (corners * size[::-1]).reshape(1, count, 4).astype("float32")
        poses = find(data, boxes[0])
        expected = {name: np.array([[getattr(pose, name) for pose in poses]]) for name in ("keypoints", "scores")}
        requests[f"pose_{i}"] = "pose", {"image_bytes": [data], "boxes": boxes}, "", expected
    whole = find(data)[0]
    expected = {"keypoints": whole.keypoints[None, None], "scores": whole.scores[None, None]}
    requests["whole"] = "pose", {"image_bytes": [data]}, "whole_image", expected
    requests["nobody"] = "pose", {"image_bytes": [data], "boxes": np.zeros((1, 0, 4), "float32")}, "", {"scores": None}
    for i, frames in enumerate((3, 20, 60)):
        inputs = {name: value[None] for name, value in people(frames, i).items()}
        expected = {"probabilities": np.asarray(recognizer(inputs))}
        requests[f"actions_{i}"] = "actions", inputs, "", expected
    return requests


def check(answer, expected):
    for name, value in expected.items():
        if value is None:
            assert answer[name].size == 0
        else:
            np.testing.assert_allclose(answer[name], value, rtol=1e-3, atol=2e-3)


# ---------------------------------------- what is hostile
def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, first=b"", whole=True):
    """A grey PNG file of one bit a pixel, black; not whole: of its first row alone."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    row, packer = bytes(1 + -(-width // 8)), zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height if whole else 1)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + first + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_of(width, height):
    """A JPEG file whose header states another size than it has."""
    data = file_of(picture((32, 32)))
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


@functools.cache
def hostile():
    """{name: (model, inputs, signature, code, what the answer says)}."""
    data = file_of(picture((90, 120)))
    box, lots = np.float32([[[10, 20, 60, 80]]]), np.tile(np.float32([10, 20, 60, 80]), (1, 10_000, 1))
    one = {name: value[None] for name, value in people().items()}
    shape = tf.make_tensor_proto(np.float32([1]))
    for size in (1, 2**30, 4):
        shape.tensor_shape.dim.add().size = size
    shape.tensor_shape.dim.pop(0)
    progressive = file_of(picture((90, 120)), progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    fill = data[:2] + b"\xff" * (2 * MEGABYTE) + data[2:]
    segments = data[:2] + b"\xff\xe5\x00\x02" * 500_000 + data[2:]

    def image(content, boxes=box):
        return "pose", {"image_bytes": [content], "boxes": boxes}, ""

    def clips(**changed):
        return "actions", one | changed, ""

    wrong = "INVALID_ARGUMENT"
    return {
        "another model": ("poses", {}, "", "NOT_FOUND", "There is no model 'poses'"),
        "another signature": ("pose", {}, "train", wrong, "There is no signature 'train'"),
        "an input missing": ("pose", {"image_bytes": [data]}, "", wrong, "Inputs must be .* got"),
        "an input too many": (*image(data)[:2], "whole_image", wrong, "Inputs must be"),
        "another type": (*image(data, box.astype("float64")), wrong, "boxes must be float32, got float64"),
        "a gigabyte that is a number": (*image(data, shape), wrong, "boxes must have at most"),
        "boxes without an axis": (*image(data, box[0]), wrong, r"boxes must have 3 axes, \[B, N, 4\]"),
        "boxes of three": (*image(data, box[..., :3]), wrong, r"boxes must be \[B, N, 4\]"),
        "boxes for two images": (*image(data, np.tile(box, (2, 1, 1))), wrong, "for 1 images, got"),
        "10,000 boxes": (*image(data, lots), wrong, "at most 50 boxes an image, got 10000; send the others"),
        "NaN": (*image(data, np.float32([[[np.nan, 20, 60, 80]]])), wrong, "A box must be finite"),
        "infinity": (*image(data, np.float32([[[0, 0, np.inf, 80]]])), wrong, "A box must be finite"),
        "a box outside": (*image(data, np.float32([[[500, 20, 600, 80]]])), wrong, "must show a part of its image"),
        "a box in 0..1": (*image(data, np.float32([[[0, 0, 0.5, 1]]])), wrong, "Boxes must be in pixels"),
        "nothing": (*image(b""), wrong, "must be JPEG or PNG files, got 0 bytes of something else for image 0"),
        "text": (*image(b"<svg/>"), wrong, "must be JPEG or PNG files, got 6 bytes"),
        "a GIF": (*image(file_of(picture((9, 9)), "GIF")), wrong, "must be JPEG or PNG files"),
        "half a JPEG": (*image(data[: len(data) // 2]), wrong, "must be whole files"),
        "half a JPEG with an end": (*image(data[: len(data) // 2] + b"\xff\xd9"), None, ""),  # grey from there on
        "noise behind a signature": (*image(data[:3] + b"\x12\xff\xd9" * 99), wrong, "Invalid JPEG data"),
        "20,000 x 20,000": (*image(png(20_000, 20_000)), wrong, "1 to 50000000 pixels, got 20000 wide and 20000 high"),
        "65,500 x 65,500": (*image(jpeg_of(65_500, 65_500)), wrong, "got 65500 wide and 65500 high for image 0"),
        "a PNG of 2^31": (*image(png(2**31 - 1, 2**31 - 1, whole=False)[:60] + b"IEND"), wrong, "1 to 50000000 pixels"),
        "a PNG of no pixels": (*image(png(0, 5, whole=False)), wrong, "1 to 50000000 pixels, got 0 wide"),
        "a hidden size": (*image(png(20_000, 20_000, chunk(b"heRe", bytes(8) + b"\1" * 8))), wrong, "got 0 wide and 0"),
        "a PNG of one row": (*image(png(400, 400, whole=False)), wrong, "Invalid PNG data"),
        "two megabytes of padding": (*image(fill), None, ""),
        "half a million segments": (*image(segments), None, ""),
        "1,000 scans": (*image(progressive[:-2] + scan * 1000 + b"\xff\xd9"), wrong, "at most 100 scans, got 1010"),
        "10,000 images": (
            "pose",
            {"image_bytes": [b"x"] * 10_000},
            "whole_image",
            wrong,
            "at most 8 images, got 10000",
        ),
        "no images": ("pose", {"image_bytes": np.array([], "O")}, "whole_image", wrong, "at least one image, got 0"),
        "an image and a bomb": (
            *("pose", {"image_bytes": [data, png(20_000, 20_000)]}, "whole_image"),
            *(wrong, "got 20000 wide and 20000 high for image 1"),
        ),
        "keypoints all NaN": (*clips(keypoints=one["keypoints"] * np.nan), wrong, "must show at least one keypoint"),
        "percent": (*clips(scores=one["scores"] * 100), wrong, "scores must be 0 to 1"),
        "keypoints in 0..1": (*clips(keypoints=one["keypoints"] / 2000), wrong, "keypoints must be in pixels"),
        "keypoints at 1e30": (*clips(keypoints=one["keypoints"] * 1e30), wrong, "keypoints must lie in the frame"),
        "a frame below 0": (*clips(frame_size=-one["frame_size"]), wrong, "frame_size must be height and width"),
        "no frames": (
            *clips(keypoints=one["keypoints"][:, :, :0], scores=one["scores"][:, :, :0]),
            *(wrong, "at least one sequence, person and frame"),
        ),
        "10,000 people": (
            *clips(keypoints=np.ones((1, 10_000, 1, 17, 2), "float32"), scores=np.ones((1, 10_000, 1, 17), "float32")),
            *(wrong, "at most 10 people a sequence, got 10000"),
        ),
        "50,000 frames": (
            *clips(keypoints=np.ones((1, 1, 50_000, 17, 2), "float32"), scores=np.ones((1, 1, 50_000, 17), "float32")),
            *(wrong, "at most 10000 frames in all, got 50000; cut the sequences"),
        ),
        "5,000 sequences": (
            *clips(
                keypoints=np.ones((5000, 1, 1, 17, 2), "float32"),
                scores=np.ones((5000, 1, 1, 17), "float32"),
                frame_size=np.ones((5000, 2), "int32"),
            ),
            *(wrong, "at most 16 sequences, got 5000"),
        ),
    }


def ask(server, request):
    """What a request got: a code and a message, or "OK" and the outputs."""
    grpc = pytest.importorskip("grpc")
    model, inputs, signature, *_ = request
    try:
        return "OK", server(model, inputs, signature)
    except grpc.RpcError as error:
        return error.code().name, error.details()


def check_refused(found, name):
    code, answer = found
    *_, expected, sentence = hostile()[name]
    assert code == (expected or "OK"), (name, answer)
    assert expected is None or re.search(sentence, answer), (name, answer)


def storm(server, good, rounds):
    """Clients at once, each with good requests and hostile ones between them, in an order of its own: their number."""

    def client(number):
        order = np.random.default_rng(number).permutation([*good, *hostile()])
        for name in order:
            if name in good:
                check(server(*good[name][:3]), good[name][3])
            else:
                check_refused(ask(server, hostile()[name]), name)
        return len(order)

    with futures.ThreadPoolExecutor(CLIENTS) as clients:
        return sum(clients.map(client, range(CLIENTS * rounds)))


# ---------------------------------------- under load
@pytest.mark.parametrize("name", hostile())
def test_a_hostile_request_gets_one_sentence_at_once(server, name):
    start = time.perf_counter()
    check_refused(ask(server, hostile()[name]), name)
    assert time.perf_counter() - start < 5  # 0.1 s alone on a machine; unrefused, some take minutes and gigabytes


def test_noise_is_no_request(server):
    grpc = pytest.importorskip("grpc")
    call = server.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError, match="deserializing request"):
        call(b"\xff" * 1000, timeout=60)


def test_each_client_gets_its_own_answer_among_hostile_ones(server, good):
    before = server.memory()
    assert storm(server, good, rounds=1) == CLIENTS * (len(good) + len(hostile()))
    assert server.process.poll() is None
    # Two messages of 64 MB for each thread, and what is made of them; a single bomb would take 1200 MB.
    assert server.memory("VmHWM") - before < 600 * MEGABYTE
    for model, inputs, signature, expected in good.values():
        check(server(model, inputs, signature), expected)


def test_the_client_of_the_documentation(server, good, tmp_path, monkeypatch):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "export_and_serving.md").read_text(encoding="utf-8")
    (program,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "insecure_channel" in block)
    monkeypatch.chdir(tmp_path)
    pathlib.Path("street.jpg").write_bytes(good["pose_2"][1]["image_bytes"][0])
    found = {}
    assert program.count("localhost:8500") == 1
    exec(program.replace("localhost:8500", f"127.0.0.1:{server.port}"), found)
    boxes = np.float32([[[10, 20, 110, 320], [200, 30, 290, 310]]])
    expected = server("pose", {"image_bytes": good["pose_2"][1]["image_bytes"], "boxes": boxes})
    np.testing.assert_array_equal(found["keypoints"], expected["keypoints"])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_hours(server, good):
    storm(server, good, rounds=2)
    before = server.memory()
    for _ in range(5):
        storm(server, good, rounds=2)
    assert server.memory() - before < 100 * MEGABYTE


# ---------------------------------------- the files
def test_warm_up_requests_are_the_messages_of_tensorflow_serving():
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    inputs = {
        "texts": tf.make_tensor_proto([b"a" * 300, b""]),
        "grey": serving._tensor(np.full((1, 30, 40), 7, "uint8"), tf.uint8),
        "mixed": serving._tensor(np.float32([[1, 2]]), tf.float32),
    }
    expected = log_pb2.PredictionLog()
    expected.predict_log.request.model_spec.signature_name = "step" * 40
    for name, tensor in inputs.items():
        expected.predict_log.request.inputs[name].CopyFrom(tensor)
    assert log_pb2.PredictionLog.FromString(serving._prediction_log("step" * 40, inputs)) == expected
    assert (tf.make_ndarray(inputs["grey"]) == np.full((1, 30, 40), 7, "uint8")).all()
    assert inputs["grey"].ByteSize() < 50


def check_sample(folder, name, version):
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    sample = (folder / "models.config").read_text(encoding="utf-8")
    (model,) = text_format.Parse(sample, config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (name, f"/models/{name}", "tensorflow")
    assert list(model.model_version_policy.specific.versions) == [version]
    assert dict(model.version_labels) == {"stable": version}


def test_any_folder_is_a_name(tmp_path):
    folder = tmp_path / 'a "b" \\ Größe'
    with serving.served(folder / "20260101", False, None) as part:
        part.mkdir()
    check_sample(folder, folder.name, 20260101)
    assert not (folder / "batching_parameters.txt").exists()


def test_files_beside_a_version(base):
    for name, version in (("pose", 1), ("actions", 3)):
        assert sorted(path.name for path in (base / name).iterdir()) == sorted(
            [str(version), "batching_parameters.txt", "models.config"]
        )
        check_sample(base / name, name, version)
        assert (base / name / "batching_parameters.txt").read_text() == (
            base / name / str(version) / "batching_params.pbtxt"
        ).read_text()


def batching_parameters():
    """The message of TensorFlow Serving's session_bundle_config.proto, which the package of its API leaves out."""
    int64 = "max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="tests", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message, kinds = file.message_type.add(name="BatchingParameters"), descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate((*int64, "max_execution_batch_size", "enable_large_batch_splitting"), 1):
        wrapper = "Bool" if name.startswith("enable") else "Int64"
        kind = {"type": kinds.TYPE_MESSAGE, "type_name": f".google.protobuf.{wrapper}Value"}
        message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, **kind)
    message.field.add(name="pad_variable_length_inputs", number=7, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_BOOL)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.BatchingParameters"))()


def test_requests_are_gathered_only_where_they_may_be(base):
    empty = batching_parameters()
    pose, actions = (
        text_format.Parse((base / name / "batching_parameters.txt").read_text(), type(empty)())
        for name in ("pose", "actions")
    )
    assert pose.max_batch_size.value == limits.MAX_IMAGES and pose.pad_variable_length_inputs
    assert not pose.HasField("max_execution_batch_size")
    assert actions.max_batch_size.value == limits.MAX_SEQUENCES and not actions.pad_variable_length_inputs
    assert actions.max_execution_batch_size.value == 1 and actions.enable_large_batch_splitting.value
    for given in (pose, actions):
        assert given.num_batch_threads.value > 0 and given.max_enqueued_batches.value > 0


def test_what_was_changed_by_hand_stays(tmp_path):
    for version in ("1", "02"):
        with serving.served(tmp_path / "m" / version, False, f"# {version}") as part:
            part.mkdir()
        (tmp_path / "m" / "models.config").write_text("mine")
    assert (tmp_path / "m" / "models.config").read_text() == "mine"
    assert (tmp_path / "m" / "batching_parameters.txt").read_text() == "# 1"
    assert (tmp_path / "m" / "02" / "batching_params.pbtxt").read_text() == "# 02"


@pytest.mark.parametrize("name", ["model", "v1", "1.5", "²"])
def test_nothing_is_put_beside_what_is_no_version(tmp_path, name):
    with serving.served(tmp_path / name, False, "# as said") as part:
        part.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_write_that_fails_leaves_nothing_beside_it(tmp_path):
    with pytest.raises(RuntimeError, match="full"), serving.served(tmp_path / "m" / "1", False, "#"):
        raise RuntimeError("full")
    assert not list((tmp_path / "m").iterdir())


@pytest.mark.parametrize(
    "write, name",
    [
        (export.pose_saved_model, "max_boxes"),
        (export.people_saved_model, "max_pixels"),
        (export.saved_model, "max_people"),
        (export.video_saved_model, "max_pixels"),
        (export.lifter_saved_model, "max_frames"),
        (export.streaming_saved_model, "max_tracks"),
    ],
)
def test_a_limit_of_nothing_is_refused(write, name, recognizer, tmp_path):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0; leave it out"):
        write(recognizer, tmp_path / "1", **{name: 0})
    assert not list(tmp_path.iterdir())


def test_warm_up_pictures_are_no_larger_than_allowed():
    assert serving.fitting((720, 1280), 720 * 1280) == (720, 1280)
    for most in (1, 100, 12_000, 500_000):
        height, width = serving.fitting((720, 1280), most)
        assert 1 <= height * width <= most
    assert tf.io.decode_jpeg(serving.picture((9, 16))).shape == (9, 16, 3)
