"""Pictures of videos are checked by their pixels, those of real frames by where people stand in them."""

import av
import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import COCO, Skeleton

STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
HEAT = np.array(visualize.videos.HEAT_COLOR)


def gradient(frames=5, height=60, width=80):
    """Grey frames [T, H, W, 3], each of a shade of its own, brighter from left to right."""
    shades = 20 + 10 * np.arange(frames)[:, None, None] + 40 * np.arange(width) // width
    return np.repeat(np.broadcast_to(shades, (frames, height, width))[..., None], 3, axis=-1).astype(np.uint8)


def walking(frames=5, step=5.0):
    """A stick that walks to the right: [1, T, 3, 2]."""
    points = np.repeat(np.array([[[(20, 20), (40, 20), (20, 40)]]], float), frames, axis=1)
    points[..., 0] += step * np.arange(frames)[None, :, None]
    return points


def panels_of(picture, count):
    """Cuts a strip of equal panels at its gaps."""
    width = (picture.shape[1] - (count - 1) * visualize.GAP_PX) // count
    return [picture[:, start : start + width] for start in range(0, picture.shape[1], width + visualize.GAP_PX)]


def coloured(panel):
    return np.ptp(panel.astype(int), axis=-1) > 60


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), stream


# ---------------------------------------- strips
def test_panels_are_numbered_by_their_frames(monkeypatch):
    told = []
    monkeypatch.setattr(visualize.videos, "contact_sheet", lambda panels, columns, captions: told.append(captions))
    visualize.video_strip(gradient(7), walking(7), None, STICK, num_frames=3)
    grid, joints = np.full((7, 2, 2), 1 / 56), np.full((7, 3), 1 / 42)
    visualize.draw_attention(gradient(7), grid, joints, walking(7), None, STICK, num_frames=3)
    assert told == [["0", "3", "6"], [f"{frame}: grid 7.1%, joints 7.1%" for frame in (0, 3, 6)]]


def test_a_strip_shows_the_frames_with_their_people_in_order():
    frames, keypoints = gradient(), walking()
    before = frames.copy()
    picture = visualize.video_strip(frames, keypoints, None, STICK, num_frames=3, panel_height=60)
    assert picture.shape == (60, 3 * 80 + 2 * visualize.GAP_PX, 3)
    assert picture.dtype == np.uint8
    for frame, panel in zip((0, 2, 4), panels_of(picture, 3), strict=True):
        np.testing.assert_array_equal(panel[0], frames[frame, 0])
        for (x, y), color in zip(keypoints[0, frame].astype(int), STICK.colors, strict=True):
            assert tuple(panel[y, x]) == color
    np.testing.assert_array_equal(frames, before)


def test_a_strip_is_enlarged_with_its_people():
    picture = visualize.video_strip(gradient(1), walking(1), None, STICK, panel_height=240)
    assert picture.shape == (240, 320, 3)
    for (x, y), color in zip(walking(1)[0, 0], STICK.colors, strict=True):
        assert tuple(picture[int(4 * (y + 0.5)), int(4 * (x + 0.5))]) == color


def test_unsure_joints_are_left_out_of_a_strip():
    scores = np.ones((1, 5, 3))
    scores[:, 2] = 0.2
    panels = panels_of(visualize.video_strip(gradient(), walking(), scores, STICK, panel_height=60), 5)
    assert [coloured(panel).any() for panel in panels] == [True, True, False, True, True]
    nobody = visualize.video_strip(gradient(), np.zeros((0, 5, 3, 2)), np.zeros((0, 5, 3)), STICK)
    assert not coloured(nobody).any()


def test_a_cropped_strip_shows_where_the_people_go_in_all_frames():
    frames, keypoints = gradient(9, 600, 800), walking(9, step=20) + (300, 200)
    keypoints[0, 3, 1] = 1e9, -1e9  # a stray point changes nothing
    picture = visualize.video_strip(frames, keypoints, None, STICK, num_frames=9, cropped=True, panel_height=120)
    panels = panels_of(picture, 9)
    first = np.array([np.nonzero(coloured(panel))[1].min() for panel in panels])
    np.testing.assert_allclose(np.diff(first), np.diff(first).mean(), atol=1.1)
    columns = np.nonzero(np.any([coloured(panel).any(axis=0) for panel in panels], axis=0))[0]
    assert np.ptp(columns) > 0.75 * panels[0].shape[1]  # all but the margins
    # Left of the first panel is the frame's column 320 - 0.12 * 180, rounded down: what lies there has its shade.
    assert panels[0][60, 0, 0] == frames[0, 0, 298, 0]


def test_a_cropped_strip_has_a_margin_within_the_picture():
    """Of a picture of 60 x 80: points on its right and lower edge are outside of it, those before are inside."""
    part, size = visualize.videos._people_part, (60, 80)
    whole = 0, 60, 0, 80
    for outside in ((80, 30), (40, 60), (-1, 30), (40, -1)):
        assert part(np.float64([outside]), size) == whole
    assert part(np.float64([(79, 59)]), size) == (55, 60, 75, 80)  # 0.12 of 32 pixels round a point
    assert part(np.float64([(0, 0)]), size) == (0, 5, 0, 5)
    assert part(np.float64([(10, 20), (60, 30)]), size) == (14, 37, 4, 67)  # and of the longer side of a box


def test_a_cropped_strip_of_nobody_shows_whole_frames():
    far = np.full((1, 5, 3, 2), -500.0)
    whole = visualize.video_strip(gradient(), far, None, STICK)
    np.testing.assert_array_equal(visualize.video_strip(gradient(), far, None, STICK, cropped=True), whole)
    corner = np.full((1, 5, 3, 2), (79.0, 59.0))
    assert visualize.video_strip(gradient(), corner, None, STICK, cropped=True).shape[0] == 240


@pytest.mark.parametrize(
    ("frames", "keypoints", "message"),
    [
        (
            gradient()[0],
            walking(),
            r"frames must be RGB uint8 \[T, H, W, 3\] and at least one, got uint8 \(60, 80, 3\)",
        ),
        (gradient().astype("float32"), walking(), "got float32 .*; take one clip of a batch, and ops.images.denorm"),
        (gradient()[:0], walking(0), r"at least one, got uint8 \(0, 60, 80, 3\)"),
        (gradient(), walking(4), "keypoints must have the video's 5 frames, got 4; cut both to the same ones"),
        (gradient(), walking()[0], r"keypoints of stick must be \[M, T, 3, 2\], got \(5, 3, 2\)"),
    ],
)
def test_video_strip_refuses(frames, keypoints, message):
    with pytest.raises(ValueError, match=message):
        visualize.video_strip(frames, keypoints, None, STICK)


# ---------------------------------------- attention
def looking(frames=5):
    """Attention that is all on cell (1, 3) of 4 x 4 and on one joint, more of it frame by frame: grid and joints."""
    grid, joints = np.zeros((frames, 4, 4)), np.zeros((frames, 3))
    grid[:, 1, 3] = joints[:, 1] = (1 + np.arange(frames)) / (frames * (frames + 1))
    return grid, joints


def heat_of(panel):
    """How much of the heat's colour a panel has, 0 to 1: green is what it lacks and grey does not."""
    panel = panel.astype(float)
    return (panel[..., 0] - panel[..., 1]) / (HEAT[0] - HEAT[1])


def test_heat_lies_on_its_cell_and_grows_with_attention():
    frames, (grid, joints) = gradient(), looking()
    options = {"scores": np.zeros((1, 5, 3)), "skeleton": STICK, "num_frames": 5, "panel_height": 60}
    panels = panels_of(visualize.draw_attention(frames, grid, joints, walking(), **options), 5)
    highest = []
    for panel in panels:
        heat = heat_of(panel)[:45]  # above the caption
        rows, columns = np.mgrid[:45, :80]
        assert (heat * rows).sum() / heat.sum() == pytest.approx(22, abs=0.3)  # rows 15 to 29 are the cell's
        assert heat[:, :50].max() == 0
        assert heat[22, 79] == pytest.approx(heat.max(), abs=0.01)  # and to the border of the frame
        highest.append(heat.max())
    share, mean = grid[:, 1, 3], grid.mean()
    np.testing.assert_allclose(highest, 0.85 * (share - mean) / (share.max() - mean), atol=0.02)


def test_attention_that_is_spread_evenly_gives_no_heat_and_joints_of_middle_size():
    frames, keypoints = np.zeros((2, 200, 200, 3), np.uint8), np.full((1, 2, 3, 2), 100.0)
    noise = 0.001 * np.random.default_rng(0).uniform(-1, 1, (2, 4, 4))
    options = {"scores": None, "skeleton": STICK, "num_frames": 1, "panel_height": 200}
    picture = visualize.draw_attention(frames, 0.02 * (1 + noise), np.full((2, 3), 0.01), keypoints, **options)
    assert (np.abs(heat_of(picture[:60])) < 0.01).all()
    assert not picture[:60].any()
    area = np.count_nonzero(picture[60:140, 60:140].any(axis=-1))
    assert np.sqrt(area / np.pi) == pytest.approx(0.05 * 200 / np.sqrt(2), abs=1.5)


def test_frames_without_heat_are_grey():
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), np.uint8)
    empty = np.zeros((2, 7, 7)), np.zeros((2, 3))
    picture = visualize.draw_attention(frames, *empty, np.full((1, 2, 3, 2), np.nan), None, STICK, panel_height=60)
    np.testing.assert_allclose(picture[:45, :80, 0], frames[0, :45] @ [0.299, 0.587, 0.114], atol=1)
    assert (np.ptp(picture[:45].astype(int), axis=-1) == 0).all()


def test_a_joint_has_an_area_by_its_attention():
    frames, keypoints = np.zeros((1, 200, 200, 3), np.uint8), np.array([[[(50, 50), (150, 50), (50, 120)]]], float)
    joints = np.array([[0.02, 0.08, 0.0]])
    picture = visualize.draw_attention(
        frames, np.zeros((1, 7, 7)), joints, keypoints, None, STICK, panel_height=200, num_frames=1
    )
    radii = [np.count_nonzero(picture[y, x:].any(axis=-1)) for x, y in keypoints[0, 0, :1].astype(int)]
    assert radii[0] < 60
    discs = [picture[25:75, 25:75], picture[25:75, 125:175], picture[95:145, 25:75]]
    areas = [np.count_nonzero(disc.any(axis=-1)) for disc in discs]
    assert np.sqrt(areas[1] / np.pi) == pytest.approx(0.05 * 200, abs=1.5)
    assert 3 < areas[1] / areas[0] < 5
    assert 0 < areas[2] < 20  # of no attention, but to be seen
    for (x, y), color in zip(keypoints[0, 0, :2].astype(int), STICK.colors, strict=False):
        assert tuple(picture[y, x]) == color


def test_the_joint_of_least_attention_lies_on_top_and_missing_joints_are_left_out():
    frames, keypoints = np.zeros((1, 200, 200, 3), np.uint8), np.full((1, 1, 3, 2), 100.0)
    options = {"skeleton": STICK, "panel_height": 200}
    grid, joints = np.zeros((1, 7, 7)), np.array([[0.01, 0.3, 0.05]])
    picture = visualize.draw_attention(frames, grid, joints, keypoints, None, **options)
    assert tuple(picture[100, 100]) == STICK.colors[0]
    assert tuple(picture[100, 107]) == STICK.colors[1]
    scores = np.array([[[0.1, 0.9, 0.1]]])
    picture = visualize.draw_attention(frames, grid, joints, keypoints, scores, **options)
    assert tuple(picture[100, 100]) == STICK.colors[1]


@pytest.mark.parametrize(
    ("grid", "joints", "message"),
    [
        (np.zeros((7, 7)), np.zeros((5, 3)), r"grid must be \[T, gh, gw\] and not empty, got \(7, 7\); take one clip"),
        (np.zeros((5, 0, 7)), np.zeros((5, 3)), "not empty"),
        (
            np.zeros((5, 7, 7)),
            np.zeros((5, 17)),
            r"joints of stick must be \[T, 3\], got \(5, 17\); check the skeleton",
        ),
        (np.zeros((4, 7, 7)), np.zeros((5, 3)), "grid must have the video's 5 frames, got 4"),
        (np.zeros((5, 7, 7)), np.zeros((6, 3)), "joints must have the video's 5 frames, got 6"),
        (np.full((5, 7, 7), 0.1), np.zeros((5, 3)), "up to 1 at most over a clip, got 0 as the lowest and 24.5 in all"),
        (np.full((5, 7, 7), -0.1), np.zeros((5, 3)), "got -0.1 as the lowest"),
        (np.full((5, 7, 7), np.nan), np.zeros((5, 3)), "average it over heads and queries"),
    ],
)
def test_draw_attention_refuses(grid, joints, message):
    with pytest.raises(ValueError, match=message):
        visualize.draw_attention(gradient(), grid, joints, walking(), None, STICK)


# ---------------------------------------- videos
def test_a_video_holds_its_frames_with_people_and_actions(tmp_path, capsys):
    frames, keypoints = gradient(6, 201, 301) // 2 + 100, 2 * walking(6) + (40, 40)
    path = tmp_path / "new" / "out.mp4"
    options = {"fps": 12.5, "progress": True}
    actions = [("hug", 0.83), ("walk", 0.05)]
    count = visualize.annotate_video(path, iter(frames), keypoints, None, STICK, actions, **options)
    assert count == 6
    assert "6/6" in capsys.readouterr().out
    shown, stream = read(path)
    assert float(stream.average_rate) == 12.5
    assert shown.shape == (6, 202, 302, 3)  # an even size
    for index in range(6):
        expected = visualize.draw_skeletons(frames[index], keypoints[:, index], None, STICK)
        difference = np.abs(shown[index, 60:201, :301].astype(int) - expected[60:])
        assert difference.mean() < 3  # what compression leaves
    ground = np.abs(shown[0].astype(int) - visualize.BACKGROUND).max(axis=-1) < 12
    assert ground[:25, :30].mean() > 0.4  # two lines in the upper left corner
    assert not ground[60:].any()
    assert shown[0, :30, :60].max() > 180  # the letters


def test_a_video_without_actions_has_no_text(tmp_path):
    visualize.annotate_video(tmp_path / "out.mp4", gradient(), walking(), np.zeros((1, 5, 3)), STICK)
    shown, _ = read(tmp_path / "out.mp4")
    assert np.abs(shown.astype(int) - gradient()).max() < 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "out.avi"}, "path must end in .mp4, got '.*out.avi'"),
        ({"fps": 0}, "fps must be a positive number of frames a second, got 0"),
        ({"fps": np.nan}, "fps must be a positive number"),
        ({"frames": gradient(4)}, "frames must be 5, as many as of keypoints, got 4; cut the keypoints to them"),
        ({"frames": gradient(6)}, "frames must be 5, as many as of keypoints, got more; cut them to the keypoints"),
        ({"keypoints": walking(0)}, "at least one frame, got 0"),
        (
            {"frames": [*gradient(4), gradient(1, 64)[0]]},
            r"size of the first, \(60, 80, 3\), got \(64, 80, 3\) at 4",
        ),
        ({"frames": gradient().astype("float32")}, "image must be RGB uint8"),
    ],
)
def test_annotate_video_refuses_and_leaves_no_file(tmp_path, changes, message):
    arguments = {"path": "out.mp4", "frames": gradient(), "keypoints": walking(), "scores": None, "skeleton": STICK}
    arguments |= changes
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(ValueError, match=message):
        visualize.annotate_video(**arguments)
    assert not list(tmp_path.iterdir())


# ---------------------------------------- real frames
def test_real_people_are_cut_out_where_they_stand(shared_data, tmp_path):
    frames, _ = read(shared_data("videos") / "demo_skeleton.mp4")
    frames = frames[:2]
    # Two men stand in the first frames: nose, ankles and wrists of both, as read off the picture, the rest unknown.
    keypoints, scores = np.zeros((2, 2, 17, 2)), np.zeros((2, 2, 17))
    seen = {"nose": (776, 344), "right_wrist": (708, 650), "left_ankle": (832, 836), "right_ankle": (710, 870)}
    others = {"nose": (1028, 306), "left_wrist": (1092, 596), "left_ankle": (1040, 824), "right_ankle": (970, 836)}
    for person, places in enumerate((seen, others)):
        for name, place in places.items():
            keypoints[person, :, COCO.index(name)] = place
            scores[person, :, COCO.index(name)] = 0.9
    strip = visualize.video_strip(frames, keypoints, scores, COCO, cropped=True, panel_height=360)
    first = panels_of(strip, 2)[0]
    margin = 0.12 * (870 - 306)
    top, left = int(306 - margin), int(708 - margin)
    scale = 360 / (int(np.ceil(870 + margin)) + 1 - top)
    for person in range(2):
        for joint in np.flatnonzero(scores[person, 0]):
            x, y = (keypoints[person, 0, joint] + 0.5 - (left, top)) * scale - 0.5
            assert tuple(first[round(y), round(x)]) == COCO.colors[joint]
    size = strip.shape[1] // 2
    assert 0.6 < size / 360 < 0.9  # two people beside each other are about as wide as high
    assert visualize.annotate_video(tmp_path / "real.mp4", frames, keypoints, scores, COCO, [("hug", 0.5)]) == 2
