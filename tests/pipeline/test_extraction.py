"""Data sets out of videos: what is found once stays found, bad videos cost only themselves, and nothing is lost."""

import errno
import json
import logging
import pathlib
import subprocess
import sys
import time

import av
import numpy as np
import pytest

from kerapose import files
from kerapose.data import clips, frames, labels, predictions, pyskl
from kerapose.pipeline import Pipeline, extraction, on_ray
from kerapose.skeletons import COCO, H36M

MADE_WITH = {"model": "walkers"}


def maker(log=None, happens=None):
    """A function that makes a pipeline of two people who walk where the picture is not black; `log` gets each source.

    All that it needs is in it: it is sent to other processes.
    """
    names, skeleton = COCO.keypoints, COCO

    def make():
        import numpy as np

        from kerapose import predictors
        from kerapose.pipeline import Pipeline

        class Walkers:
            def __init__(self):
                self.skeleton, self.calls = skeleton, 0

            def __call__(self, image):
                self.calls += 1
                if happens is not None:
                    happens(self.calls, image)
                if image.max() < 20:  # nobody
                    return []
                body = np.stack([np.arange(17) % 5 * 6.0, np.arange(17) * 3.0], axis=-1)
                poses = []
                for x, score in ((5 + float(image[0, 0, 0]) / 8, 0.9), (60.0, 0.7)):
                    keypoints, scores = (body + (x, 5)).astype("float32"), np.full(17, score, "float32")
                    scores[2] = 0.2
                    box = np.array([x, 5, x + 24, 60], "float32")
                    poses.append(predictors.Pose(keypoints, scores, names, box))
                return poses

        class Counted(Pipeline):
            def __call__(self, source):
                if log is not None:
                    log(source)
                return super().__call__(source)

        return Counted(Walkers(), min_score=0.3)

    return make


def video(path, count=6, size=(64, 96), black=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = np.zeros((count, *size, 3), "uint8")
    if not black:
        pictures += np.linspace(60, 200, count).astype("uint8")[:, None, None, None]
    path.write_bytes(frames.encode(pictures, fps=10))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of videos of two classes, of even and odd sizes, with strange names, and one of nobody."""
    folder = tmp_path_factory.mktemp("videos")
    video(folder / "clap" / "1.mp4")
    video(folder / "clap" / "zwei Wörter, é.mp4", 3, (50, 70))
    video(folder / "swing" / "1.mp4", 1)
    video(folder / "swing" / "nobody.mp4", 4, black=True)
    return folder


def extract(videos, output, make=None, made_with=MADE_WITH, **options):
    found = frames.named([videos])
    return extraction.extract(found, labels.of_folders(found), make or maker(), output, made_with, **options)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---------------------------------------- what comes out
def test_a_folder_becomes_a_data_set(videos, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "absl"):
        done = extract(videos, tmp_path / "out")
    assert not done.failures and done.num_videos == 4
    assert [path.name for path in done.written] == ["annotations.pkl", "classes.txt", "report.json"]
    assert (tmp_path / "out" / "classes.txt").read_text() == "clap\nswing\n"
    assert "1 of 4 clips have nobody whose keypoints count (swing/nobody)." in caplog.text
    annotations = pyskl.read_annotations(done.written[0], COCO, num_classes=2)
    names = ["clap/1", "clap/zwei Wörter, é", "swing/1", "swing/nobody"]
    assert annotations.splits == {"clips": names}
    assert [annotations.clips[name]["label"] for name in names] == [0, 0, 1, 1]
    assert [annotations.clips[name]["keypoints"].shape for name in names] == [
        *((2, 6, 17, 2), (2, 3, 17, 2), (2, 1, 17, 2), (1, 4, 17, 2))
    ]
    assert annotations.clips[names[1]]["frame_size"].tolist() == [50, 70]
    clip = annotations.clips[names[0]]
    assert not clip["scores"][:, :, 2].any() and clip["scores"][0, :, 3] == pytest.approx(0.9, abs=1e-4)
    found = predictions.read(tmp_path / "out" / "people" / f"{names[0]}.json")
    np.testing.assert_allclose(clip["keypoints"][0, 4, 5], found.people[0].keypoints[4, 5])
    assert len(list(clips.from_pyskl(done.written[0], "clips", COCO, 2))) == 4
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["videos"] == report["clips"] == 4 and report["splits"] == {"clips": 4}
    assert report["empty"] == ["swing/nobody"] and report["failures"] == []


def test_splits_classes_and_people_as_asked(videos, tmp_path, caplog):
    splits = {"train": ["clap/1", "swing/nobody"], "test": ["swing/1", "clap/zwei Wörter, é"]}
    with caplog.at_level(logging.WARNING, "absl"):
        done = extract(videos, tmp_path, splits=splits, class_names=["swing", "hop", "clap"], max_people=1)
    assert "3 of 4 clips have more people than max_people, 1, of whom" in caplog.text
    annotations = pyskl.read_annotations(done.written[0], COCO, num_classes=3)
    assert annotations.splits == splits and annotations.clips["clap/1"]["label"] == 2
    assert annotations.clips["clap/1"]["keypoints"].shape[0] == 1


def test_poses_in_space_have_annotations_of_their_own(videos, tmp_path):
    def make():
        pipeline = maker()()

        def lifted(source):
            found = Pipeline.__call__(pipeline, source)
            found.pose_skeleton = H36M
            for number, moment in enumerate(found.moments):
                moment.poses_m = np.zeros((len(moment.ids), 17, 3))
                moment.poses_m[:, 1::2] = 0.1 * number, -0.05 * number, 0.2 * number  # right, up, away
                moment.poses_m[:, 1::2] += (0, 0, 0) if number else (1e-3, 0, 0)
                moment.poses_m[1:] = np.nan
            return found

        class Lifting:
            pose_skeleton, min_score, __call__ = H36M, 0.3, staticmethod(lifted)

        return Lifting()

    done = extract(videos, tmp_path, make)
    assert [path.name for path in done.written][:2] == ["annotations.pkl", "annotations_3d.pkl"]
    annotations = pyskl.read_annotations(done.written[1], H36M, 2, up="y")
    assert annotations.is_3d and annotations.splits == pyskl.read_annotations(done.written[0]).splits
    poses = annotations.clips["clap/1"]["poses_m"]  # z up, one of two people, who lifts the root from its place
    assert poses.shape == (1, 6, 17, 3)
    np.testing.assert_allclose(poses[0, 4], np.tile([[0.0, 3.0, 0.0], [0.4, 3.8, 0.2]], (9, 1))[:17], atol=1e-6)
    assert (annotations.clips["clap/1"]["scores"] == 1).all()


# ---------------------------------------- bad videos
def test_bad_videos_cost_only_themselves(videos, tmp_path):
    found = frames.named([videos])
    (tmp_path / "text.mp4").write_text("no video")
    whole = (videos / "clap" / "1.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "empty.mp4").touch()
    bad = {name: tmp_path / f"{name}.mp4" for name in ("text", "cut", "empty", "gone")}
    rows = labels.of_folders(found) | {name: labels.Row(name, "clap") for name in bad}
    done = extraction.extract(bad | found, rows, maker(), tmp_path / "out", MADE_WITH)
    assert sorted(done.failures) == sorted(bad)
    assert "No such file" in done.failures["gone"]
    annotations = pyskl.read_annotations(done.written[0])
    assert sorted(annotations.clips) == sorted(found)
    report = json.loads(done.written[-1].read_text())
    assert [(one["name"], one["path"]) for one in report["failures"]] == [
        (name, str(bad[name])) for name in done.failures
    ]
    assert left_parts(tmp_path) == []


def left_parts(folder):
    return [path.name for path in folder.rglob("*") if ".part" in path.name]


def test_a_video_that_breaks_off_is_no_clip(videos, tmp_path):
    def happens(call, image):
        if call == 4:
            raise RuntimeError("out of memory\nand more")

    done = extract(videos, tmp_path, maker(happens=happens))
    assert done.failures == {"clap/1": "RuntimeError: out of memory"}
    assert not (tmp_path / "people" / "clap" / "1.json").exists()


def test_where_none_is_readable_there_is_no_data_set(tmp_path):
    (tmp_path / "a.mp4").write_text("no")
    rows = {"a": labels.Row("a", "clap")}
    with pytest.raises(ValueError, match="At least one video must be readable, got 1 that are not"):
        extraction.extract({"a": tmp_path / "a.mp4"}, rows, maker(), tmp_path / "out", MADE_WITH)
    assert not (tmp_path / "out" / "annotations.pkl").exists()


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_turned_video_is_upright_in_its_clip(tmp_path, degrees):
    video(tmp_path / "flat.mp4", 2, (96, 128))
    turned = tmp_path / "v" / "turned.mp4"
    turned.parent.mkdir()
    with av.open(tmp_path / "flat.mp4") as source, av.open(turned, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    done = extraction.extract(
        {"turned": turned}, {"turned": labels.Row("turned", "a")}, maker(), tmp_path / "out", MADE_WITH
    )
    size = pyskl.read_annotations(done.written[0]).clips["turned"]["frame_size"].tolist()
    assert size == ([128, 96] if degrees == 90 else [96, 128])


def test_a_split_whose_videos_are_all_bad_is_told(videos, tmp_path, caplog):
    (tmp_path / "bad.mp4").write_text("no")
    found = frames.named([videos, tmp_path / "bad.mp4"])
    rows = {name: labels.Row(name, "a", split="val" if name == "bad" else "train") for name in found}
    with caplog.at_level(logging.WARNING, "absl"):
        done = extraction.extract(found, rows, maker(), tmp_path / "out", MADE_WITH)
    assert "No video of the split val can be read" in caplog.text
    assert list(pyskl.read_annotations(done.written[0]).splits) == ["train"]


# ---------------------------------------- once, and no more than once
def test_nothing_is_done_twice(videos, tmp_path, caplog):
    worked = []
    first = extract(videos, tmp_path, maker(worked.append))
    before = content(tmp_path)
    assert len(worked) == 4
    assert extract(videos, tmp_path, maker(worked.append)).written == first.written
    assert len(worked) == 4 and content(tmp_path) == before
    (tmp_path / "people" / "swing" / "1.json").write_text('{"source"')  # as another program may have left it
    extract(videos, tmp_path, maker(worked.append))
    assert [pathlib.Path(path).name for path in worked[4:]] == ["1.mp4"] and content(tmp_path) == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_run_that_was_stopped_goes_on_where_it_was(videos, tmp_path, stop):
    worked = []

    def log(source):
        worked.append(source)
        if len(worked) == 3:
            raise stop

    with pytest.raises(stop):
        extract(videos, tmp_path / "out", maker(log))
    assert len(content(tmp_path / "out")) == 2 and left_parts(tmp_path) == []
    extract(videos, tmp_path / "out", maker(log))
    assert len(worked) == 5 and worked[2] == worked[3]
    extract(videos, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_full_disk_ends_the_run_and_leaves_whole_files(videos, tmp_path, monkeypatch):
    write, written = pathlib.Path.write_bytes, []

    def full(path, data):
        written.append(path)
        if len(written) == 3:
            write(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left on device"):
            extract(videos, tmp_path / "out")
    assert len(content(tmp_path / "out")) == 2 and left_parts(tmp_path) == []
    extract(videos, tmp_path / "out")
    extract(videos, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_people_of_another_model_are_refused(videos, tmp_path):
    extract(videos, tmp_path, made_with={"model": "a", "height": 256})
    with pytest.raises(
        ValueError, match=r"the same model and options, got .*clap/1.json with another height, model; .*/people if"
    ):
        extract(videos, tmp_path, made_with={"model": "b"})
    extract(videos, tmp_path, made_with={"height": 256, "model": "a"}, max_people=1)  # which says nothing of people


def test_a_video_that_was_replaced_is_looked_at_again(tmp_path, caplog):
    video(tmp_path / "v" / "a" / "1.mp4")
    video(tmp_path / "v" / "b" / "1.mp4")
    worked = []
    extract(tmp_path / "v", tmp_path / "out", maker(worked.append))
    video(tmp_path / "v" / "b" / "1.mp4", 9)
    with caplog.at_level(logging.WARNING, "absl"):
        done = extract(tmp_path / "v", tmp_path / "out", maker(worked.append))
    assert "b/1.mp4 is not as it was when its people were found" in caplog.text and len(worked) == 3
    assert pyskl.read_annotations(done.written[0]).clips["b/1"]["keypoints"].shape[1] == 9


def test_what_a_file_was_made_with_is_in_its_first_line(videos, tmp_path):
    extract(videos, tmp_path)
    path = tmp_path / "people" / "clap" / "1.json"
    made = json.loads(path.read_text().splitlines()[0] + "]}")["made_with"]
    assert made == {"options": MADE_WITH, "bytes": (videos / "clap" / "1.mp4").stat().st_size}
    assert files.read_json(path)["made_with"] == made and files.read_json(path)["min_score"] == 0.3


def whole_files(folder):
    paths = [path for path in folder.rglob("*.json") if ".part" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


SLOWLY = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
import test_extraction as here
def wait(source):
    time.sleep(0.5)
here.extract(pathlib.Path({videos!r}), {output!r}, here.maker(wait))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(many, tmp_path):
    people = tmp_path / "out" / "people"
    given = {"tests": str(pathlib.Path(__file__).parent), "videos": str(many), "output": str(tmp_path / "out")}
    process = subprocess.Popen([sys.executable, "-c", SLOWLY.format(**given)], stderr=subprocess.DEVNULL)
    while len(whole_files(people)) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = whole_files(people)
    assert 3 <= len(before) < 10
    worked = []
    done = extract(many, tmp_path / "out", maker(worked.append))
    assert len(worked) == 11 - len(before) and list(done.failures) == ["a/bad"]
    assert before.items() <= content(people).items()
    extract(many, tmp_path / "plain")
    assert content(tmp_path / "out") == content(tmp_path / "plain")


# ---------------------------------------- engines
def test_engines_that_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        on_ray.Engine(0)
    with pytest.raises(ValueError, match="actors_per_gpu must be at least 0, got -1"):
        on_ray.Engine(1, actors_per_gpu=-1)


@pytest.mark.parametrize(
    ("there", "workers", "per_gpu", "shared"),
    [
        ({"CPU": 8.0}, 8, None, 0),
        ({"CPU": 8.0}, 4, 0, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 2, None, 1),
        ({"CPU": 8.0, "GPU": 2.0}, 8, 4, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 8, 0, 0),
    ],
)
def test_shares_of_gpus(there, workers, per_gpu, shared):
    assert on_ray.check_room(there, on_ray.Engine(workers, actors_per_gpu=per_gpu)) == shared


@pytest.mark.parametrize(
    ("there", "workers", "per_gpu", "match"),
    [
        ({"CPU": 8.0}, 1, 2, "left out where there is no GPU, got 2"),
        ({"CPU": 8.0}, 9, None, "got 9 for 8 processors; take fewer"),
        ({"CPU": 8.0, "GPU": 2.0}, 3, None, "got 3 for 2 GPUs of 1 each; raise actors_per_gpu"),
        ({"CPU": 8.0, "GPU": 2.0}, 5, 2, "got 5 for 2 GPUs of 2 each"),
    ],
)
def test_more_workers_than_there_is_room_for(there, workers, per_gpu, match):
    with pytest.raises(ValueError, match=match):
        on_ray.check_room(there, on_ray.Engine(workers, actors_per_gpu=per_gpu))


def test_without_ray_several_workers_are_asked_to_install_it(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'kerapose\[extract\]'"):
        extract(videos, tmp_path, engine=on_ray.Engine(2))


# ---------------------------------------- Ray
@pytest.fixture
def many(tmp_path):
    """A folder of ten videos and a bad one."""
    for number in range(10):
        video(tmp_path / "videos" / "ab"[number % 2] / f"{number}.mp4", 5 + number)
    (tmp_path / "videos" / "a" / "bad.mp4").write_text("no video")
    return tmp_path / "videos"


@pytest.mark.slow
def test_a_machine_that_dies_costs_no_video_and_none_is_done_twice(many, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    def slowly(call, image):
        import time  # in another process

        time.sleep(0.05)

    plain = extract(many, tmp_path / "plain")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        write, written = files.write_whole, []

        def write_and_kill(path, content):
            written.append(path)
            if len(written) == 2:
                cluster.remove_node(other, allow_graceful=False)
            write(path, content)

        monkeypatch.setattr(extraction.files, "write_whole", write_and_kill)
        done = extract(many, tmp_path / "ray", maker(happens=slowly), engine=on_ray.Engine(2))
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert done.failures == plain.failures and list(done.failures) == ["a/bad"]
    assert content(tmp_path / "ray") == content(tmp_path / "plain")
    people = [path for path in written if path.suffix == ".json" and path.name != "report.json"]
    assert len(people) == len(set(people)) == 10


@pytest.mark.slow
def test_what_kills_its_process_costs_itself_and_what_cannot_be_made_ends_the_run(many, tmp_path):
    pytest.importorskip("ray")

    def deadly(call, image):
        import os

        if image.shape[0] == 40:
            os._exit(1)

    def broken():
        raise OSError("there is no model")

    video(many / "a" / "deadly.mp4", 3, (40, 40))
    done = extract(many, tmp_path / "out", maker(happens=deadly), engine=on_ray.Engine(2))
    assert sorted(done.failures) == ["a/bad", "a/deadly"] and done.failures["a/deadly"] == extraction.DIED
    with pytest.raises(ValueError, match="able to load the model, got OSError: there is no model"):
        extract(many, tmp_path / "none", broken, engine=on_ray.Engine(1))
    with pytest.raises(ValueError, match="workers must find room, got 99 for"):
        extract(many, tmp_path / "none", engine=on_ray.Engine(99))
    assert not (tmp_path / "none").exists()
