"""What is drawn goes by the lowest score that is asked for, and that score itself is drawn, by whatever draws."""

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import Skeleton

STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
PERSON = np.array([[(10, 12), (44, 18), (18, 34)]], float)  # [1, K, 2] in 40 x 60
STILL = PERSON.copy()  # that no test moves
CLIP = PERSON[:, None].repeat(2, axis=1)  # [1, T, K, 2]
POSE = np.array([[(0, 0, 0), (0.3, 0.1, 0), (0.1, 0.3, 0.1)]])  # [1, J, 3]
FRAMES = np.zeros((2, 40, 60, 3), np.uint8)


def annotated(scores, monkeypatch, **options):
    """The pictures of a video that is not encoded."""
    monkeypatch.setattr(visualize.videos, "encode_mp4", lambda pictures, fps: np.stack(list(pictures)).tobytes())
    monkeypatch.setattr(visualize.videos.pathlib.Path, "write_bytes", lambda path, content: told.append(content))
    told = []
    visualize.annotate_video("out.mp4", FRAMES, CLIP, scores, STICK, **options)
    return np.frombuffer(told[0], np.uint8)


def attention(scores, _, **options):
    grid, joints = np.full((2, 2, 3), 0.05), np.full((2, 3), 0.05)
    return visualize.draw_attention(FRAMES, grid, joints, CLIP, scores, STICK, **options)


DRAWN = {  # from scores of a clip [1, T, K] to a picture
    "skeletons": lambda s, _, **how: visualize.draw_skeletons(FRAMES[0], PERSON, s[:, 0], STICK, **how),
    "identities": lambda s, _, **how: visualize.draw_identities(FRAMES[0], PERSON, s[:, 0], STICK, [3], **how),
    "truth": lambda s, _, **how: visualize.compare_poses(FRAMES[:1], PERSON, STILL, STICK, s[:, 0], **how),
    "found": lambda s, _, **how: visualize.compare_poses(FRAMES[:1], STILL, PERSON, STICK, None, s[:, 0], **how),
    "strip": lambda s, _, **how: visualize.video_strip(FRAMES, CLIP, s, STICK, **how),
    "cropped strip": lambda s, _, **how: visualize.video_strip(FRAMES, CLIP, s, STICK, cropped=True, **how),
    "attention": attention,
    "video": annotated,
    "clip": lambda s, _, **how: visualize.clip_strip(CLIP, s, STICK, (40, 60), **how),
    "volume": lambda s, _, **how: visualize.draw_volume(
        np.zeros((2, 40, 60, 3)), None, None, CLIP, s, STICK, scale=1, **how
    ),
    "lift": lambda s, _, **how: visualize.draw_lift(
        PERSON[0], POSE[0], STICK, STICK, image=FRAMES[0], scores=s[0, 0], **how
    ),
    "lifted track": lambda s, _, **how: visualize.lift_strip(
        CLIP, POSE.repeat(2, axis=0)[None], STICK, STICK, frames=FRAMES, scores=s, **how
    ),
    "volumes": lambda s, _, **how: visualize.volume_strip(
        np.zeros((2, 40, 60, 3)), keypoints=CLIP, scores=s, skeleton=STICK, **how
    ),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_scores_from_the_lowest_on_are_drawn(draw, monkeypatch):
    scores = np.full((1, 2, 3), 0.75)
    scores[..., 1] = 0.5
    sure, none = np.ones_like(scores), np.zeros_like(scores)
    part = np.where(scores > 0.5, 1.0, 0.0)

    def drawn(scores, **options):
        return draw(scores, monkeypatch, **options)

    np.testing.assert_array_equal(drawn(scores, min_score=0.5), drawn(sure))
    np.testing.assert_array_equal(drawn(scores, min_score=0.625), drawn(part))
    np.testing.assert_array_equal(drawn(scores, min_score=0.8), drawn(none))
    assert not np.array_equal(drawn(sure), drawn(part)) and not np.array_equal(drawn(part), drawn(none))
    np.testing.assert_array_equal(drawn(0.3 * sure), drawn(sure))  # the lowest one where none is given
    np.testing.assert_array_equal(drawn(0.29 * sure), drawn(none))


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("place", [(3, 2), (0, 0), (500, -40), (np.nan, 7)])
def test_where_a_joint_is_that_is_not_drawn_changes_nothing(draw, place, monkeypatch):
    scores = np.ones((1, 2, 3))
    scores[..., 1] = 0.1
    before = draw(scores, monkeypatch)
    moved = PERSON.copy()
    moved[:, 1] = place
    monkeypatch.setitem(globals(), "PERSON", moved)
    monkeypatch.setitem(globals(), "CLIP", moved[:, None].repeat(2, axis=1))
    np.testing.assert_array_equal(draw(scores, monkeypatch), before)
