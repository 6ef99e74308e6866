"""The whole way: sources in, results out, files of them, and errors."""

import json
import threading
import time

import cv2
import numpy as np
import pytest

import kerapose
from kerapose import Pipeline, models, predictors, visualize
from kerapose.data import frames, predictions
from kerapose.pipeline import sources
from kerapose.skeletons import COCO, H36M
from tests.pipeline.conftest import Dancers, pictures


def video_of(count=10, height=80, width=160):
    ramp = np.linspace(0, 200, width, dtype="uint8")
    return np.stack([np.broadcast_to(np.roll(ramp, 3 * t)[None, :, None], (height, width, 3)) for t in range(count)])


# ---------------------------------------- sources
def test_videos_arrays_and_pictures_one_after_another_are_the_same(tmp_path):
    (tmp_path / "dance.mp4").write_bytes(frames.encode(video_of(), fps=20))
    decoded = frames.read(tmp_path / "dance.mp4")
    by_file = Pipeline(Dancers())(tmp_path / "dance.mp4")
    by_array = Pipeline(Dancers())(decoded, fps=20)
    by_pictures = Pipeline(Dancers())(iter(decoded), fps=20)
    assert (by_file.fps, by_file.frame_size, by_file.source) == (20, (80, 160), str(tmp_path / "dance.mp4"))
    for other in (by_array, by_pictures):
        assert [moment.to_json() for moment in other.moments] == [moment.to_json() for moment in by_file.moments]
        assert other.fps == 20
    assert all(moment.picture is None for moment in by_file.moments)
    assert Pipeline(Dancers())(tmp_path / "dance.mp4", max_frames=3).num_frames == 3
    assert Pipeline(Dancers())(decoded, max_frames=3).num_frames == 3
    assert Pipeline(Dancers())(iter(decoded), max_frames=3).num_frames == 3


def test_images_are_one_frame(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), video_of(1)[0])
    by_file, by_array = Pipeline(Dancers())(str(tmp_path / "one.png")), Pipeline(Dancers())(video_of(1)[0])
    for result in (by_file, by_array):
        assert result.fps is None and result.people[0].keypoints.shape == (1, 17, 2)
        assert result.draw().shape == (80, 160, 3) and (result.draw() != video_of(1)[0]).any()
    assert by_file.moments[0].time_s is None


def test_a_stream_gives_each_frame_with_its_picture():
    video = video_of(4)
    moments = list(Pipeline(Dancers()).stream(video, fps=20))
    assert [moment.frame for moment in moments] == [0, 1, 2, 3]
    assert [moment.time_s for moment in moments] == pytest.approx([0, 0.05, 0.1, 0.15])
    for moment, picture in zip(moments, video, strict=True):
        np.testing.assert_array_equal(moment.picture, picture)


def test_a_stream_is_worked_on_frame_by_frame(monkeypatch):
    """No picture is fetched before the one before it is given out."""
    given = []

    def camera():
        for number in range(5):
            given.append(number)
            yield pictures(1)[0]

    for moment in Pipeline(Dancers()).stream(camera()):
        assert given == list(range(moment.frame + 1))


class Slow:
    """Frames by the clock: each appears when the test says so."""

    def __init__(self, count):
        self.count, self.taken, self.may = count, 0, threading.Semaphore(0)

    def __iter__(self):
        for number in range(self.count):
            self.may.acquire()
            self.taken = number + 1
            yield frames.Frame(np.full((4, 4, 3), number, "uint8"), float(number))


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_newest_frame_is_the_next_and_those_left_out_are_counted():
    slow = Slow(6)
    newest = sources._Newest(iter(slow), None)
    slow.may.release(1)
    first = next(newest)
    assert (first.time_s, first.dropped) == (0, 0)
    slow.may.release(3)  # three come while the first is worked on
    wait_until(lambda: slow.taken == 4 and newest._dropped == 2)
    third = next(newest)
    assert (third.time_s, third.dropped) == (3, 2)
    slow.may.release(2)
    rest = list(newest)
    assert rest[-1].time_s == 5 and sum(1 + one.dropped for one in rest) == 2
    newest._thread.join(5)
    assert not newest._thread.is_alive()


def test_whoever_is_as_fast_as_the_camera_gets_all_frames():
    slow = Slow(5)
    newest = sources._Newest(iter(slow), None)
    for number in range(5):
        slow.may.release()
        frame = next(newest)
        assert (frame.time_s, frame.dropped) == (number, 0)
    assert list(newest) == []


def test_an_error_of_a_camera_reaches_whoever_waits_and_enough_is_enough():
    def broken():
        yield frames.Frame(np.zeros((4, 4, 3), "uint8"))
        raise ValueError("unplugged")

    newest = sources._Newest(broken(), None)
    with pytest.raises(ValueError, match="unplugged"):
        list(newest)
    slow = Slow(100)
    slow.may.release(100)
    newest = sources._Newest(iter(slow), 1)
    assert len(list(newest)) == 1
    wait_until(lambda: not newest._thread.is_alive())


def test_frames_that_were_left_out_have_numbers(monkeypatch):
    shown = [frames.Frame(pictures(1)[0], 0.0, False, 0), frames.Frame(pictures(1)[0], 0.4, False, 3)]
    source = sources.Source("camera_0", "camera:0", 10.0, None, iter(shown), True)
    moments = list(Pipeline(Dancers()).watch(source))
    assert [(moment.frame, moment.dropped) for moment in moments] == [(0, 0), (4, 3)]
    assert moments[1].to_json()["dropped"] == 3 and "dropped" not in moments[0].to_json()


def test_sources_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    pipeline = Pipeline(Dancers())
    for given, options, message in [
        (tmp_path / "no.mp4", {}, "the file of an image or a video, got .*no.mp4, which is not there"),
        (tmp_path, {}, "got .*, a folder; check it"),
        (None, {}, "A source must be a path, .* got NoneType; convert it"),
        (iter(()), {}, "at least one frame, got none from pictures"),
        ([video_of(1)[0], video_of(1, 40)[0]], {}, "one size, got 80 x 160 and then 40 x 160 in frame 1"),
        (video_of(1)[0], {"fps": 25}, "fps is for pictures one after another, got 25 for an image"),
        (pictures(2), {"max_frames": 1.5}, "max_frames must be a whole number of at least 1, got 1.5"),
        (tmp_path / "text.mp4", {}, "FFmpeg reads"),
        (np.zeros((4, 4), "uint8"), {}, r"A source must be a path, .* got an array \[4, 4\]; convert it"),
        (b"bytes", {}, "A source must be a path, .* got bytes"),
        (pictures(0), {}, "at least one frame, got an array of none"),
        (pictures(2), {"fps": 0}, "fps must be above 0 and finite, got 0"),
        (pictures(2), {"max_frames": 0}, "max_frames must be a whole number of at least 1, got 0"),
        (pictures(2), {"follow": True}, "follow is for a file that is being written, got pictures"),
        (tmp_path / "text.mp4", {"fps": 25}, "fps is for pictures, got it for .*text.mp4, which says its own"),
        (tmp_path / "text.mp4", {"follow": True}, "got .*text.mp4 .*; have it recorded as .ts, .mkv"),
        (tmp_path / "no.ts", {"follow": True}, "A growing file must be there, got .*no.ts"),
        ("rtsp://127.0.0.1:9/nothing", {}, "got rtsp://127.0.0.1:9/nothing .*; check the address"),
    ]:
        with pytest.raises((ValueError, OSError), match=message):
            pipeline(given, **options)


# ---------------------------------------- results
def test_a_person_is_there_over_all_frames_with_gaps(tmp_path):
    result = Pipeline(Dancers([lambda frame: frame != 2, lambda frame: frame >= 3]), smooth=False)(video_of(5))
    first, second = result.people
    assert (first.id, second.id) == (0, 1)
    assert first.is_seen.tolist() == [True, True, False, True, True]
    assert first.keypoints.shape == (5, 17, 2) and first.boxes.shape == (5, 4) and first.poses_m is None
    assert not first.keypoints[2].any() and not first.scores[2].any() and first.person_scores[2] == 0
    find = Dancers()
    np.testing.assert_allclose(first.keypoints[4], find.keypoints(0, 4), atol=1e-4)
    np.testing.assert_allclose(second.keypoints[3], find.keypoints(1, 3), atol=1e-4)
    assert not second.keypoints[:3].any() and second.scores[3] == pytest.approx(np.full(17, 0.8))


def test_json_is_read_back_as_it_was(tmp_path, recognizer):
    lifter = predictors.Lifter(
        models.TemporalLifter(filter_widths=(3,), channels=8), COCO, pose_skeleton=H36M, input_skeleton=H36M
    )
    action = predictors.SkeletonAction(recognizer)
    pipeline = Pipeline(Dancers([lambda frame: True, lambda frame: frame > 3]), lifter, action, min_probability=0.0)
    result = pipeline(video_of(12), fps=20)
    content = result.to_json(tmp_path / "dance.json")
    read = predictions.read(tmp_path / "dance.json")
    assert read.to_json() == content == json.loads((tmp_path / "dance.json").read_text(encoding="utf-8"))
    assert (read.skeleton, read.pose_skeleton, read.fps, read.frame_size) == (COCO, H36M, 20, (80, 160))
    for one, other in zip(read.people, result.people, strict=True):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.006)
        np.testing.assert_allclose(one.poses_m, other.poses_m, atol=6e-5)
        np.testing.assert_allclose(one.scores, other.scores, atol=6e-5)
        np.testing.assert_array_equal(one.is_seen, other.is_seen)
        assert [action.name for action in one.actions] == [action.name for action in other.actions]
    assert read.actions[0].times_s == (0.0, 0.35)


@pytest.mark.parametrize(
    "content", [[], {}, {"frames": []}, {"source": "a"}, {"annotations": [], "images": []}, "text"]
)
def test_another_json_file_is_refused(tmp_path, content):
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"other.json must be what kerapose predict writes, got something else \("):
        predictions.read(tmp_path / "other.json")


def test_results_are_drawn_with_their_poses_beside_the_picture(tmp_path):
    lifter = predictors.Lifter(
        models.TemporalLifter(filter_widths=(3,), channels=8), COCO, pose_skeleton=H36M, input_skeleton=H36M
    )
    result = Pipeline(Dancers(), lifter)(video_of(4), fps=20)
    shown = list(result.draw())
    assert len(shown) == 4 and shown[0].shape == (80, 160 + 4 + 80, 3)
    last = result.draw(tmp_path / "drawn.mp4")
    np.testing.assert_array_equal(last, shown[-1])
    assert frames.probe(tmp_path / "drawn.mp4").num_frames == 4
    gone = Pipeline(Dancers())(iter(video_of(3)))
    with pytest.raises(
        ValueError, match="takes their pictures, got those of pictures, which are gone; draw them as th"
    ):
        gone.draw()
    for drawn, given, ending in [(result, "drawn.png", ".mp4"), (Pipeline(Dancers())(video_of(1)[0]), "a.jpg", ".png")]:
        with pytest.raises(ValueError, match=f"drawn into a file {ending}, got .*{given}; change the ending"):
            drawn.draw(tmp_path / given)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.mp4"]


def test_names_of_actions_stand_beside_the_identity_while_they_are_new(monkeypatch, recognizer):
    captions, everybody = [], []
    monkeypatch.setattr(visualize, "draw_identities", lambda image, *_, captions: captions_of(captions) or image)
    monkeypatch.setattr(visualize, "write_caption", lambda image, text: everybody.append(text) or image)

    def captions_of(given):
        captions.append(given)

    def drawn(**options):
        action = predictors.SkeletonAction(recognizer)
        options = {"window": 8, "step": 4, "average": 1, "min_probability": 0.0} | options
        result = Pipeline(Dancers(), action=action, **options)(video_of(12))
        captions.clear(), everybody.clear()
        list(result.draw())
        return result.actions

    actions = drawn()
    texts = [f"{one.name} {one.probabilities[one.name]:.0%}" for one in actions]
    assert captions == [[""]] * 7 + [[texts[0]]] * 4 + [[texts[1]]] and not everybody
    actions = drawn(together=True)
    texts = [f"{one.name} {one.probabilities[one.name]:.0%}" for one in actions]
    assert captions == [[""]] * 12 and everybody == [texts[0]] * 4 + [texts[1]]
    drawn(min_probability=1.0)
    assert captions == [[""]] * 12


def test_an_error_of_the_network_is_raised():
    class Broken(Dancers):
        def __call__(self, image):
            if self.frame == 3:
                raise RuntimeError("out of memory")
            return super().__call__(image)

    with pytest.raises(RuntimeError, match="out of memory"):
        Pipeline(Broken())(video_of(5))


# ---------------------------------------- batches
class Together(Dancers):
    """Several frames at once; `sizes` are how many."""

    def __init__(self, *there):
        super().__init__(*there)
        self.sizes = []

    def batch(self, images):
        self.sizes.append(len(images))
        return [self(image) for image in images]


def test_frames_in_batches_are_the_same_as_each_alone():
    video = video_of(10)
    there = [lambda frame: True, lambda frame: frame % 4 == 1]
    alone, find = Pipeline(Dancers(there))(video), Together(there)
    together = Pipeline(find, batch=4)(video)
    assert find.sizes == [4, 4, 2]
    assert [moment.to_json() for moment in together.moments] == [moment.to_json() for moment in alone.moments]
    exact = Together(there)
    assert Pipeline(exact, batch=5)(video).num_frames == 10 and exact.sizes == [5, 5]


def test_a_batch_leaves_lost_frames_out_and_an_error_costs_none_before_it():
    def shown():
        for number in range(7):
            yield frames.Frame(pictures(1)[0], number / 10, number in (1, 2))
        raise ValueError("torn")

    find = Together()
    moments = Pipeline(find, batch=4).watch(sources.Source("a", "a.mp4", 10.0, None, shown()))
    seen = []
    with pytest.raises(ValueError, match="torn"):
        seen.extend(moments)
    assert [len(moment.ids) for moment in seen] == [1, 0, 0, 1, 1, 1, 1] and find.sizes == [2, 3]


def test_what_goes_on_by_the_clock_waits_for_no_batch():
    shown = iter([frames.Frame(pictures(1)[0], 0.0), frames.Frame(pictures(1)[0], 0.1)])
    find = Together()
    assert len(list(Pipeline(find, batch=4).watch(sources.Source("c", "camera:0", 10.0, None, shown, True)))) == 2
    assert find.sizes == []
    for options, message in [
        ({"batch": 0}, "batch must be a whole number of frames of at least 1, got 0"),
        ({"batch": 2}, "batch is for bottom-up networks, got 2 for Dancers"),
    ]:
        with pytest.raises(ValueError, match=message):
            Pipeline(Dancers(), **options)


# ---------------------------------------- parts
def test_the_parts_are_predictors_files_or_names(tmp_path, recognizer, monkeypatch):
    recognizer.save(tmp_path / "model.keras")
    pipeline = Pipeline(Dancers(), action=tmp_path / "model.keras")
    assert pipeline.action.class_names == recognizer.class_names
    assert pipeline.action.recognizer.num_clips == 1
    asked = []
    monkeypatch.setattr(predictors, "load", lambda path, **options: asked.append((path, options)) or Dancers())
    assert isinstance(Pipeline("openpose_omz").pose, Dancers)
    assert isinstance(Pipeline("hrnet", detector=len).pose, Dancers)
    assert asked == [("openpose_omz", {}), ("hrnet", {"detector": len})]
    for options, message in [
        ({"pose": 3}, r"pose must be a predictor \(TopDownPose or BottomUpPose\), or the file or name .* got int"),
        ({"pose": predictors.SkeletonAction(recognizer)}, "pose must be .* got SkeletonAction"),
        ({"pose": Dancers(), "lifter": Dancers()}, r"lifter must be a predictor \(Lifter\), .* got Dancers"),
        ({"pose": Dancers(), "action": recognizer}, "action must be .* got ActionRecognizer"),
        ({"pose": Dancers(), "detector": len}, "detector is for a pose that is loaded here"),
    ]:
        with pytest.raises(ValueError, match=message):
            Pipeline(**options)


def test_the_pipeline_is_the_package_s():
    assert kerapose.Pipeline is Pipeline and "Pipeline" in dir(kerapose)


def test_top_down_networks_count_only_what_is_sure():
    class Sure(predictors.TopDownPose):
        def __init__(self):
            self.skeleton = COCO

    assert Pipeline(Sure()).min_score == 0.3
    assert Pipeline(Sure(), min_score=0).min_score == 0
    assert Pipeline(Dancers()).min_score == 0
    with pytest.raises(ValueError, match="min_score must be a finite number, got nan"):
        Pipeline(Dancers(), min_score=float("nan"))
