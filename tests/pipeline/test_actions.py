"""Windows that slide: who is asked about when, and what comes of the answers."""

import keras
import numpy as np
import pytest

from kerapose import Pipeline, estimators, models, predictors, skeletons
from kerapose.pipeline import windows
from kerapose.skeletons import COCO
from tests.pipeline.conftest import NAMES, Dancers, pictures


def made(recognizer, find=None, **options):
    options = {"window": 12, "step": 5, "average": 1, "min_probability": 0.0, "smooth": False} | options
    return Pipeline(find or Dancers(), action=predictors.SkeletonAction(recognizer), **options)


def test_each_window_is_what_the_recognizer_says_of_its_frames(recognizer):
    find = Dancers([lambda frame: True, lambda frame: frame >= 6])
    result = made(recognizer, find)(pictures(24), fps=10)
    found = [(action.id, action.frames) for action in result.actions]
    assert found == [(0, (0, 11)), (1, (6, 11)), (0, (5, 16)), (1, (6, 16)), (0, (10, 21)), (1, (10, 21))] + [
        (0, (12, 23)),
        (1, (12, 23)),
    ]
    recognize = predictors.SkeletonAction(recognizer, num_clips=1)
    for action in result.actions:
        person = result.people[action.id]
        frames = slice(action.frames[0], action.frames[1] + 1)
        expected = recognize.probabilities(person.keypoints[frames], person.scores[frames], (80, 160))
        given = [action.probabilities[name] for name in NAMES]
        np.testing.assert_allclose(given, expected, atol=2e-5)
        assert action.name == NAMES[int(np.argmax(expected))]
        assert list(action.probabilities) == [NAMES[i] for i in np.argsort(-expected)]
        assert action.times_s == pytest.approx((action.frames[0] / 10, action.frames[1] / 10))
    assert len({tuple(action.probabilities.values()) for action in result.actions}) == 8
    assert result.people[1].actions == tuple(action for action in result.actions if action.id == 1)


def test_an_error_of_a_source_costs_neither_the_frame_before_it_nor_its_actions(recognizer):
    def broken():
        yield from pictures(7)
        raise OSError("torn")

    seen = []
    with pytest.raises(OSError, match="torn"):
        seen.extend(made(recognizer).stream(broken()))
    assert [moment.frame for moment in seen] == [*range(7)]
    assert [action.frames for action in seen[-1].actions] == [(0, 6)]


@pytest.mark.parametrize(
    "count, ends", [(5, [4]), (7, [6]), (12, [11]), (13, [11, 12]), (17, [11, 16]), (18, [11, 16, 17])]
)
def test_a_source_ends_with_a_window_of_its_own_unless_one_ends_there(recognizer, count, ends):
    result = made(recognizer)(pictures(count))
    assert [action.frames[1] for action in result.actions] == ends
    assert [moment.frame for moment in result.moments if moment.actions] == ends


def test_whoever_is_hardly_seen_in_a_window_is_not_asked_about(recognizer):
    """A quarter of a window of 12 frames are 3."""
    find = Dancers([lambda frame: True, lambda frame: frame >= 10, lambda frame: frame >= 9])
    result = made(recognizer, find)(pictures(12))
    assert [action.id for action in result.actions] == [0, result.moments[9].ids[-1]]


def test_nobody_there_is_no_action(recognizer):
    result = made(recognizer, Dancers([lambda frame: False]))(pictures(12))
    assert result.people == () and result.actions == ()
    result = made(recognizer, Dancers([lambda frame: False]), together=True)(pictures(12))
    assert result.actions == () and result.moments[11].actions == ()


def test_probabilities_are_averaged_over_the_newest_windows_of_a_person(recognizer):
    find = [lambda frame: True, lambda frame: True]
    alone = made(recognizer, Dancers(find))(pictures(30))
    mean = made(recognizer, Dancers(find), average=3)(pictures(30))
    for person in (0, 1):
        each = [[one.probabilities[name] for name in NAMES] for one in alone.people[person].actions]
        found = [[one.probabilities[name] for name in NAMES] for one in mean.people[person].actions]
        expected = [np.mean(each[max(0, end - 2) : end + 1], axis=0) for end in range(len(each))]
        assert len(each) == 5
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_whoever_comes_back_after_a_whole_window_begins_anew(recognizer):
    def seen(frame):
        return frame < 12 or frame >= 25

    options = {"window": 12, "step": 12, "average": 9}
    result = made(recognizer, Dancers([seen]), **options)(pictures(37), fps=30)
    assert [moment.ids.tolist() for moment in result.moments][25] == [0]  # the same identity
    alone = made(recognizer, Dancers([seen]), **options | {"average": 1})(pictures(37), fps=30)
    assert [one.frames for one in result.actions] == [(0, 11), (25, 35), (25, 36)]
    first, second, _ = result.actions
    assert second.probabilities == alone.actions[1].probabilities != first.probabilities


def test_all_together_begin_anew_after_nobody(recognizer):
    def seen(frame):
        return frame < 12 or frame >= 26

    options = {"window": 12, "step": 12, "together": True}
    result, alone = (made(recognizer, Dancers([seen]), average=average, **options)(pictures(36)) for average in (9, 1))
    assert [action.frames for action in result.actions] == [(0, 11), (26, 35)]
    assert result.actions[1].probabilities == alone.actions[1].probabilities


def test_what_is_not_probable_enough_has_no_name(recognizer):
    named = made(recognizer)(pictures(12)).actions[0]
    best = named.probabilities[named.name]
    assert made(recognizer, min_probability=best - 1e-4)(pictures(12)).actions[0].name == named.name
    unnamed = made(recognizer, min_probability=best + 1e-4)(pictures(12)).actions[0]
    assert unnamed.name is None and unnamed.probabilities == named.probabilities


def test_all_together_are_one_clip_of_the_surest(recognizer):
    find = Dancers([lambda frame: True] * 3)
    result = made(recognizer, find, together=True, most_people=2)(pictures(12, width=240))
    (action,) = result.actions
    assert action.id is None and action.frames == (0, 11)
    both = [np.stack([getattr(person, name) for person in result.people[:2]]) for name in ("keypoints", "scores")]
    expected = predictors.SkeletonAction(recognizer, num_clips=1).probabilities(*both, (80, 240))
    np.testing.assert_allclose([action.probabilities[name] for name in NAMES], expected, atol=2e-5)
    assert all(person.actions == () for person in result.people)


def test_unsure_keypoints_change_nothing(recognizer):
    class Unsure(Dancers):
        def __call__(self, image):
            (pose,) = super().__call__(image)
            pose.keypoints[4], pose.scores[4] = self.place, 0.25
            return [pose]

    answers = []
    for Unsure.place in ((3, 3), (90, 60)):
        answers.append(made(recognizer, Unsure(), min_score=0.25)(pictures(12)).actions[0])
    assert answers[0] == answers[1] != made(recognizer, Unsure(), min_score=0.2)(pictures(12)).actions[0]


def test_keypoints_become_those_of_the_recognizer_by_name(recognizer):
    network = models.C3D.from_variant("c3d_tiny", 4, input_shape=(8, 14, 14, 13), base_filters=4)
    names = tuple(name for name in COCO.keypoints if "eye" not in name and "ear" not in name)
    few = skeletons.Skeleton("few", names, ((0, 1), (0, 2)))
    action = predictors.SkeletonAction(estimators.ActionRecognizer(network, few, NAMES))
    result = Pipeline(Dancers(), action=action, window=8, min_probability=0.0)(pictures(8))
    person = result.people[0]
    kept = [COCO.index(name) for name in names]
    expected = predictors.SkeletonAction(action.recognizer, num_clips=1).probabilities(
        person.keypoints[:, kept], person.scores[:, kept], (80, 160)
    )
    np.testing.assert_allclose([result.actions[0].probabilities[name] for name in NAMES], expected, atol=2e-5)
    with pytest.raises(
        ValueError, match="The recognizer sees keypoints of coco, which must follow .*: left_eye, .* ca"
    ):
        Pipeline(Dancers(skeleton=few), action=predictors.SkeletonAction(recognizer))


def test_a_recognizer_of_pictures_sees_those_of_the_window():
    keras.utils.set_random_seed(0)
    rgb, pose = keras.Input((4, 16, 16, 3), name="rgb"), keras.Input((8, 4, 4, 17), name="pose")
    x = keras.layers.Conv3D(4, 3, activation="relu", kernel_initializer="he_normal")(rgb)
    y = keras.layers.Conv3D(4, 3, activation="relu")(pose)
    pooled = [keras.layers.GlobalAveragePooling3D()(one) for one in (x, y)]
    logits = keras.layers.Dense(4)(keras.layers.Concatenate()(pooled))
    network = keras.Model({"rgb": rgb, "pose": pose}, logits)
    recognize = predictors.Action(estimators.VideoRecognizer(network, COCO, NAMES, num_clips=3))
    video = np.random.default_rng(0).integers(0, 255, (20, 80, 160, 3), "uint8")
    find = Dancers([lambda frame: True, lambda frame: frame > 13])
    pipeline = Pipeline(find, action=recognize, window=10, step=5, average=1, min_probability=0.0)
    result = pipeline(video)
    one = recognize.estimator.changed(num_clips=1)
    expected = predictors.Action(one)
    assert [action.frames for action in result.actions] == [(0, 9), (5, 14), (10, 19), (14, 19)]
    for action in result.actions:
        person = result.people[action.id]
        frames = slice(action.frames[0], action.frames[1] + 1)
        answer = expected.probabilities(video[frames], person.keypoints[frames], person.scores[frames])
        np.testing.assert_allclose([action.probabilities[name] for name in NAMES], answer, atol=2e-5)


def test_frames_that_are_kept_are_no_larger_than_needed():
    large = windows._reduced(np.zeros((1080, 1920, 3), "uint8"))
    assert large.shape == (480, 853, 3)
    small = np.zeros((480, 640, 3), "uint8")
    assert windows._reduced(small) is small


def test_what_is_kept_does_not_grow(recognizer):
    pipeline = made(recognizer, Dancers([lambda frame: True, lambda frame: frame % 40 < 9]))
    watcher = windows.Watcher(pipeline.action, pipeline.windows, COCO, (80, 160))
    track_ids = set()
    for moment in pipeline.stream(iter(pictures(200))):
        track_ids |= set(moment.ids.tolist())
        watcher.see(moment, moment.keypoint_scores > 0, moment.picture)
        assert len(watcher._seen) <= 12 and len(watcher._past) <= 2 and len(watcher._last_seen) <= 2
    assert len(track_ids) > 3


def test_options_are_refused_in_a_sentence(recognizer):
    for options, message in [
        ({"window": 0}, "window must be a whole number of at least 1, got 0"),
        ({"step": 2.5}, "step must be a whole number of at least 1, got 2.5"),
        ({"average": 0}, "average must be a whole number of at least 1, got 0"),
        ({"min_probability": 1.5}, "min_probability must be 0 to 1, got 1.5"),
        ({"most_people": 0}, "most_people must be at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            made(recognizer, **options)


@pytest.mark.parametrize("name", ["window", "step", "average", "min_probability", "together", "most_people"])
def test_options_of_actions_without_a_recognizer_are_refused(name):
    with pytest.raises(
        ValueError, match=f"{name} is for an action, got it without; leave it out, or give a recognizer"
    ):
        Pipeline(Dancers(), **{name: 0})


def test_defaults_are_those_of_the_training_where_the_file_knows(recognizer):
    action = predictors.SkeletonAction(recognizer)
    assert Pipeline(Dancers(), action=action).windows == windows.Windows(8, 2, 3, 0.5, False, 2)
    told = estimators.ActionRecognizer(recognizer.network, COCO, NAMES, training={"clips": {"frames": 60, "people": 3}})
    action = predictors.SkeletonAction(told)
    assert Pipeline(Dancers(), action=action).windows == windows.Windows(60, 15, 3, 0.5, True, 3)
    assert Pipeline(Dancers(), action=action, window=20, together=False).windows.window == 20
