"""Batches made elsewhere: who makes which, that they are the same ones in the same order, and what cannot leave."""

import functools
import os
import select
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from kerapose.data import clips, crops, people, service, tracks
from kerapose.skeletons import COCO


def counted(first_step, per=1):
    """Batches whose content tells their number: of one element each, or of `per` elements."""
    elements = tf.data.Dataset.counter(first_step * per).map(lambda i: (i, i * i))

    def finish(elements):
        made = elements.map(lambda i, square: ({"square": square, "text": tf.strings.as_string(i)}, i + 1))
        return made if per == 1 else made.batch(per)

    return service.shareable(elements, finish, per)


def flat(dataset, count):
    return [tf.nest.flatten(batch) for batch in dataset.take(count).as_numpy_iterator()]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for array, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, expected)


def lane(batches, lane, lanes, count):
    """Numbers and batches of a lane."""
    made = service._lanes_of[batches](lane, lanes)
    return [(int(number), tf.nest.flatten(batch)) for number, batch in made.take(count).as_numpy_iterator()]


# ---------------------------------------- lanes
@pytest.mark.parametrize("per", [1, 3])
@pytest.mark.parametrize("first_step", [0, 5])
def test_lanes_have_every_batch_once(first_step, per):
    made = counted(first_step, per)
    found = sorted(sum([lane(made, i, 3, 4) for i in range(3)], []), key=lambda one: one[0])
    assert [number for number, _ in found] == list(range(12))
    assert_same([batch for _, batch in found], flat(made, 12))


def test_a_share_is_made_by_the_worker_of_its_name_alone():
    name = next(iter(tf.data.Dataset.from_tensors(0).map(lambda _: service._own_name()))).numpy().decode()
    assert name.split()[1] == str(os.getpid())
    assert [(number, label) for number, *_, label in flat(service._share(counted(5), name, 1, 3), 3)] == [
        (1, 7),
        (4, 10),
        (7, 13),
    ]
    assert [number for number, *_ in flat(service._share(counted(5), "another 1 2", 1, 3), 2)] == [-1, -1]


def test_changed_batches_and_those_that_follow_keep_their_numbers():
    easy = service.changed(counted(2), lambda inputs, label: (inputs, -label))
    both = service.until(easy, 5, counted(7))
    wanted = [-(i + 1) if i < 7 else i + 1 for i in range(2, 12)]
    assert [label for *_, label in flat(both, 10)] == wanted
    found = sorted(sum([lane(both, i, 2, 5) for i in range(2)], []), key=lambda one: one[0])
    assert_same([batch for _, batch in found], flat(both, 10))


def clip_batches(first_step):
    random = np.random.default_rng(0)
    keypoints = list(random.uniform(10, 90, (7, 2, 12, 17, 2)).astype("float32"))
    dataset = clips.from_arrays(keypoints, list(range(7)), COCO, frame_sizes=(100, 100))
    return clips.training(dataset, COCO, batch_size=2, num_frames=8, first_step=first_step)


def images():
    """Arguments of `crops.from_arrays` and `people.from_arrays`: five people in five pictures."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(5)]
    return pictures, random.uniform(5, 35, (5, 17, 2))


def crop_batches(first_step):
    pictures, keypoints = images()
    people = crops.from_arrays(pictures, [[4, 4, 36, 36]] * 5, keypoints, np.full((5, 17), 2), COCO)
    return crops.training(people, COCO, batch_size=2, image_size=(32, 32), first_step=first_step)


def people_batches(first_step):
    pictures, keypoints = images()
    each = [{"box": [[4, 4, 36, 36]], "keypoints": points[None]} for points in keypoints]
    samples = people.trainable(people.from_arrays(pictures, each, COCO), COCO, min_area=0.0)
    return people.training(samples, COCO, batch_size=2, image_size=(32, 32), first_step=first_step)


def track_batches(first_step):
    random = np.random.default_rng(0)
    keypoints, poses = random.uniform(0, 100, (2, 20, 17, 2)), random.uniform(-1, 1, (2, 20, 17, 3)) + [0, 0, 4]
    walks = tracks.from_arrays(list(keypoints), [(100, 100)] * 2, poses_camera_m=list(poses))
    return tracks.training(walks, 3, batch_size=7, first_step=first_step)


@pytest.mark.parametrize(
    "batches",
    [
        clip_batches,
        track_batches,
        pytest.param(crop_batches, marks=pytest.mark.slow),  # compiled by XLA, each lane for itself
        pytest.param(people_batches, marks=pytest.mark.slow),
    ],
)
def test_a_lane_of_a_pipeline_is_every_so_manieth_batch(batches):
    whole = flat(batches(3), 6)  # across the end of a pass
    for i in range(2):
        for number, batch in lane(batches(3), i, 2, 3):
            assert_same([batch], [whole[number]])


# ---------------------------------------- what is refused
def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


@pytest.fixture
def listening():
    """The address of something that answers, for what is refused before anything is sent there."""
    with socket.create_server(("localhost", 0)) as server:
        yield f"grpc://localhost:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["localhost:5050", "http://localhost:5050", "grpc://localhost", "grpc://:5050"])
def test_an_address_is_one(address):
    with pytest.raises(ValueError, match=r"must be grpc://HOST:PORT, got .*; correct it\."):
        service.served(counted, address)


def test_a_dispatcher_must_be_there():
    with pytest.raises(
        ConnectionError, match=r"nothing answers at grpc://localhost:\d+ .*; start one by kerapose data-"
    ):
        service.served(counted, f"grpc://localhost:{free_port()}")


def test_batches_that_need_this_process_are_refused_at_once(listening):
    with pytest.raises(ValueError, match=r"need Python in this process .*leave data_service out\."):
        service.served(clip_batches, listening)  # samples out of memory


def test_what_is_too_much_to_be_sent_is_refused_at_once(listening, monkeypatch):
    monkeypatch.setattr(service, "_MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"a graph of at most 10000 bytes, .* got \d+; prepare .*data_service out\."):
        service.served(track_batches, listening)


def test_batches_without_numbers_are_refused_at_once(listening):
    with pytest.raises(ValueError, match=r"can be shared by their numbers, got others; .*data_service out\."):
        service.served(lambda first_step: counted(first_step).map(lambda inputs, label: label), listening)


# ---------------------------------------- with servers, each in a process of its own
@pytest.fixture(scope="module")
def server():
    """A function that starts `kerapose data-service` and gives its process and the line that it prints first."""
    started = []

    def start(*words):
        command = [sys.executable, "-m", "kerapose", "data-service", *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        assert select.select([process.stdout], [], [], 60)[0], f"{words} said nothing"
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def dispatcher(server):
    """Where one listens."""
    port = free_port()
    _, said = server("--role=dispatcher", f"--port={port}")
    assert said == f"dispatcher listens at grpc://localhost:{port}"
    return f"localhost:{port}"


def in_time(batches, seconds=60):
    """The batches as they come, of which none takes longer."""
    iterator = iter(batches)

    def late(*_):
        raise TimeoutError("No batch came.")

    before = signal.signal(signal.SIGALRM, late)
    try:
        while True:
            signal.alarm(seconds)
            yield tf.nest.flatten(next(iterator))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_batches_are_the_same_whichever_workers_come_and_go(server, dispatcher):
    workers = [server("--role=worker", f"--dispatcher={dispatcher}")[0] for _ in range(2)]
    batches = service.served(functools.partial(counted, per=3), f"grpc://{dispatcher}")
    found = in_time(batches(first_step=4))
    wanted = iter(flat(counted(4, per=3), 600))

    def go_on(count):
        assert_same(
            [[np.asarray(array) for array in next(found)] for _ in range(count)], [next(wanted) for _ in range(count)]
        )

    go_on(50)
    os.kill(workers[0].pid, signal.SIGKILL)
    go_on(100)
    workers.append(server("--role=worker", f"--dispatcher={dispatcher}")[0])
    time.sleep(2)  # until it is known
    go_on(100)
    os.kill(workers[1].pid, signal.SIGKILL)
    go_on(100)
    os.kill(workers[2].pid, signal.SIGKILL)  # the last one
    server("--role=worker", f"--dispatcher={dispatcher}")
    go_on(100)
    found.close()
