"""Pictures of the concept pages: of our own functions, with no training."""

import functools

import cv2
import numpy as np

from drawing import paper
from kerapose import skeletons, visualize
from kerapose.data import clips, tracks
from kerapose.data.prepared import NotPreparedError
from kerapose.ops import boxes, cameras, heatmaps, sequences, virtual_cameras
from kerapose.ops import clips as clip_ops

SIDE = 64  # of the volumes drawn, pixels
SCALE = 5  # picture pixels for one of a volume
CROP, MAP = (256, 192), (64, 48)  # height and width of a crop, and of its heatmaps


# ---------------------------------------- heatmap volumes
def volumes():
    """A clip as skeletons, as joint heatmaps and as limb heatmaps, below each other."""
    clip, skeleton = _clip("kick"), skeletons.COCO
    strip = visualize.clip_strip(clip["keypoints"], clip["scores"], skeleton, clip["frame_size"], num_frames=8)
    keypoints, scores = _in_volume(clip)
    overlay = {"keypoints": keypoints, "scores": scores, "skeleton": skeleton, "num_frames": 8}
    joints = visualize.volume_strip(np.asarray(heatmaps.joint_volume(keypoints, scores, SIDE, SIDE)), **overlay)
    limbs = visualize.volume_strip(
        np.asarray(heatmaps.limb_volume(keypoints, scores, skeleton.edges, SIDE, SIDE)),
        colors=skeleton.edge_colors,  # there are as many limbs as joints
        **overlay,
    )
    return paper.column([strip, joints, limbs])


def sigma():
    """One frame in joint and limb volumes of several widths of the Gaussian."""
    keypoints, scores = _kicking()
    sigmas = (0.3, 0.6, 1.2, 2.4)
    panels = [_panel(kind, keypoints, scores, sigma_px) for kind in ("joints", "limbs") for sigma_px in sigmas]
    return paper.of_width(paper.sheet(panels, [f"sigma {value} px" for value in sigmas] * 2, 4))


def scores():
    """One frame with sure, unsure and missing joints, and two people in one volume."""
    keypoints, sure = _kicking()
    sure = np.ones_like(sure)
    leg = [skeletons.COCO.index(f"left_{joint}") for joint in ("hip", "knee", "ankle")]
    unsure, lost = sure.copy(), sure.copy()
    unsure[..., leg], lost[..., leg] = 0.3, 0.0
    two = np.concatenate([keypoints - (13, 0), keypoints[..., ::-1, :, :] + (11, 2)])
    cases = [(keypoints, sure), (keypoints, unsure), (keypoints, lost), (two, np.concatenate([sure, sure]))]
    names = ("all scores 1", "left leg 0.3", "left leg 0", "two people: the maximum")
    panels = [_panel(kind, *case, 0.6) for kind in ("joints", "limbs") for case in cases]
    return paper.of_width(paper.sheet(panels, names * 2, 4))


def kick_panels():
    """One frame of a kick as the joint volume and the limb volume have it."""
    keypoints, sure = _kicking()
    return [_panel(kind, keypoints, np.ones_like(sure), 0.6) for kind in ("joints", "limbs")]


def _panel(kind, keypoints, scores, sigma_px):
    if kind == "joints":
        volume, colors = heatmaps.joint_volume(keypoints, scores, SIDE, SIDE, sigma_px), skeletons.COCO.colors
    else:
        volume = heatmaps.limb_volume(keypoints, scores, skeletons.COCO.edges, SIDE, SIDE, sigma_px)
        colors = skeletons.COCO.edge_colors
    return visualize.draw_volume(np.asarray(volume), 0, colors, scale=SCALE)


def _kicking():
    """One frame of a kick: keypoints [1, 1, 17, 2] of a volume, scores [1, 1, 17]."""
    keypoints, scores = _in_volume(_clip("kick"))
    return keypoints[:, 40:41], scores[:, 40:41]


# ---------------------------------------- codecs
def codecs():
    """The map that each codec draws of one keypoint, where the keypoint is, and where it is found again."""
    place = np.array([[102.6, 121.7]], np.float32)
    figure, axes = paper.chart(14, 3.5, columns=5)
    drawn = {codec: heatmaps.encode(place, None, CROP, MAP, codec=codec)[0] for codec in heatmaps.CODECS}
    for panel, (codec, maps) in zip(axes[0], drawn.items(), strict=False):
        (found,), _ = heatmaps.decode(maps, CROP, codec=codec)
        stride = (np.array(CROP) - 1) / (np.array(MAP) - 1) if codec == "udp" else np.array(CROP) / MAP
        _show_cells(panel, np.asarray(maps)[..., 0], place[0] / stride[::-1], np.asarray(found) / stride[::-1])
        error = np.linalg.norm(np.asarray(found) - place[0])
        panel.set_title(f'"{codec}"\n{error:.2f} px of the crop off', color=paper.INK, fontsize=11)
    x_labels, y_labels, _ = heatmaps.encode_simcc(place, None, CROP)
    panel = axes[0, -1]
    for number, (labels, name) in enumerate(((x_labels, "along x"), (y_labels, "along y"))):
        labels, color = np.asarray(labels)[0], paper.COLORS[number]
        panel.plot(np.arange(len(labels)) / 2, labels, color=color, label=name)
        panel.axvline(place[0, number], color=color, linewidth=0.8, linestyle=":")
    panel.set_xlim(85, 140)
    panel.set_ylim(0, 1.35)
    panel.set_xlabel("pixels of the crop", color=paper.INK)
    panel.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")
    (found,), _ = heatmaps.decode_simcc(x_labels, y_labels)
    error = np.linalg.norm(np.asarray(found) - place[0])
    panel.set_title(f"SimCC, two vectors\n{error:.2f} px of the crop off", color=paper.INK, fontsize=11)
    return paper.rendered(figure)


def _show_cells(panel, heat, true, found, reach=8):
    panel.imshow(heat, cmap="magma", vmin=0, vmax=1)
    panel.grid(False)
    panel.plot(*true, "+", color="#57e389", markersize=16, markeredgewidth=2, label="true")
    panel.plot(*found, "o", color="white", markersize=9, markerfacecolor="none", markeredgewidth=1.6, label="found")
    middle = np.round(true)
    panel.set_xticks(np.arange(middle[0] - 8, middle[0] + 9, 4))
    panel.set_yticks(np.arange(middle[1] - 8, middle[1] + 9, 4))
    panel.set_xlabel("cells of the map", color=paper.INK)
    panel.set_xlim(middle[0] - reach - 0.5, middle[0] + reach + 0.5)
    panel.set_ylim(middle[1] + reach + 0.5, middle[1] - reach - 0.5)
    legend = panel.legend(loc="lower right", fontsize=8, facecolor="#222222", framealpha=0.8)
    for text in legend.get_texts():
        text.set_color("white")


def quantization():
    """How far from a keypoint the codecs find it again: by its place, and by the maps' size."""
    figure, ((left, right),) = paper.chart(14, 4.4, columns=2)
    across = np.linspace(96, 108, 97, dtype=np.float32)
    places = np.stack([across, np.full_like(across, 128)], axis=-1)[:, None]  # [N, 1, 2]
    random = np.random.default_rng(0).uniform((48, 64), (144, 192), (200, 1, 2)).astype(np.float32)
    for (name, trip), color in zip(ROUND_TRIPS.items(), paper.COLORS, strict=False):
        if name not in ("dark", "hourglass"):  # dark lies on udp's line
            left.plot(across, trip(places, MAP)[:, 0, 0] - across, color=color, label=name)
        found = [trip(random, (height, height * 3 // 4)) for height in HEIGHTS]
        errors = [float(np.linalg.norm(each - random, axis=-1).mean()) for each in found]
        right.plot(HEIGHTS, errors, "o-", color=color, label=name)
    left.set_xlabel("true x, pixels of the crop (a cell of the map is 4)", color=paper.INK)
    left.set_ylabel("found x - true x, pixels", color=paper.INK)
    left.set_ylim(-2.2, 3.6)
    left.legend(frameon=False, ncols=2, fontsize=9, loc="upper center")
    right.set_xlabel("height of the maps of a crop of 256 x 192", color=paper.INK)
    right.set_ylabel("mean distance, pixels of the crop", color=paper.INK)
    right.set_xticks(HEIGHTS)
    right.set_yscale("log")
    right.set_ylim(1e-3, 30)
    right.legend(frameon=False, ncols=2, fontsize=9, loc="upper center")
    return paper.rendered(figure)


HEIGHTS = (32, 64, 96, 128)  # of maps
BLURS = dict(zip(HEIGHTS, (5, 11, 17, 21), strict=True))  # that dark and udp read them with, cells


def _round_trip(drawn_by, read_by=None, **options):
    def trip(points, size):
        maps, _ = heatmaps.encode(points, None, CROP, size, sigma_px=size[0] / 32, codec=drawn_by)
        options["blur_kernel"] = BLURS[size[0]]
        return np.asarray(heatmaps.decode(maps, CROP, codec=read_by or drawn_by, **options)[0])

    return trip


def _simcc_trip(points, size):
    ratio = size[0] / 32
    x_labels, y_labels, _ = heatmaps.encode_simcc(points, None, CROP, split_ratio=ratio, sigma_bins=3 * ratio)
    return np.asarray(heatmaps.decode_simcc(x_labels, y_labels, split_ratio=ratio)[0])


ROUND_TRIPS = {
    "gaussian": _round_trip("gaussian"),
    "drawn by dark, read by gaussian": _round_trip("dark", "gaussian"),
    "hourglass": _round_trip("hourglass"),
    "udp": _round_trip("udp"),
    "dark": _round_trip("dark"),
    "SimCC, height / 32 bins a pixel": _simcc_trip,
}


# ---------------------------------------- cameras
def spaces():
    """One pose of a track in the world, before its camera, relative to its root, on the screen and in pixels."""
    known, row, pose_world = track("kick")
    camera = np.asarray(cameras.world_to_camera(pose_world, known.orientations[row], known.translations_m[row]))
    skeleton = known.pose_skeleton
    screen = np.asarray(cameras.project(camera, known.cameras[row]))
    height, width = known.frame_sizes[row].tolist()
    pixels = np.asarray(cameras.denormalize_screen(screen, (height, width)))
    hip, shown = pixels[0], {"panel_height": 420}
    frame = np.full((height, width, 3), (44, 49, 62), np.uint8)
    frame = visualize.draw_skeletons(frame, pixels[None], None, skeleton, line_width=max(4, width // 200))
    pictures = {
        f"world, metres, z up\nhip {_numbers(pose_world[0])}": visualize.draw_pose_3d(
            pose_world, skeleton, axes="world", azimuth=30, **shown
        ),
        f"camera, metres, z away from it\nhip {_numbers(camera[0])}": visualize.draw_pose_3d(
            camera, skeleton, axes="camera", azimuth=0, **shown
        ),
        f"the picture: hip {_numbers(hip, 0)} pixels,\nhip {_numbers(screen[0])} on the screen": frame,
    }
    figure, (panels,) = paper.chart(14, 4.1, columns=3, width_ratios=(1, 1, 1.75))
    for panel, (title, picture) in zip(panels, pictures.items(), strict=True):
        panel.imshow(picture)
        panel.set_title(title, color=paper.INK, fontsize=11, loc="left")
        panel.set_xticks(())
        panel.set_yticks(())
        panel.spines[:].set_visible(False)
    panel.set_xticks((0, width / 2, width), ("0", f"{width // 2}", f"{width} px"))
    panel.set_yticks((0, height / 2, height), ("0", f"{height // 2}", f"{height} px"))
    ratio = height / width
    places = ((0, 0, "(-1, {:.2f})", "left", "top"), (0.5, 0.5, "(0, 0)", "center", "center"))
    for x, y, text, across, down in (*places, (1, 1, "(1, {:.2f})", "right", "bottom")):
        label = text.format(ratio * (2 * y - 1))
        place = (0.01 + 0.98 * x) * width, (0.02 + 0.96 * y) * height
        panel.text(*place, label, color="#8fb4ff", ha=across, va=down, fontsize=11)
    return paper.rendered(figure)


def views():
    """One pose as virtual cameras see it that have gone round it, and from above."""
    known, _, pose_world = track("kick")
    size, skeleton = 280, known.pose_skeleton
    panels, captions = [], []
    for degrees, height_m in ((0, 0.0), (45, 0.0), (90, 0.0), (180, 0.0), (45, 3.0)):
        seen, _ = virtual_cameras.keypoints_seen(
            pose_world[None, None],
            np.ones((1, 1, len(pose_world)), np.float32),
            np.float32(np.deg2rad(degrees)),
            np.float32(height_m),
            frame_size=(size, size),
        )
        panels.append(
            visualize.draw_skeletons(paper.blank(size, size), np.asarray(seen)[:, 0], None, skeleton, line_width=3)
        )
        captions.append(f"azimuth {degrees}" + (f", {height_m:g} m above" if height_m else ""))
    return paper.of_width(paper.sheet(panels, captions, 5))


def distortion():
    """A grid in space as lenses without distortion and with some show it."""
    figure, axes = paper.chart(12, 3.6, columns=4)
    lines = np.linspace(-0.9, 0.9, 9, dtype=np.float32)
    fine = np.linspace(-0.9, 0.9, 61, dtype=np.float32)
    lenses = (
        ("none", {}),
        ("k1 = -0.12, barrel", {4: -0.12}),
        ("k1 = 0.12, pincushion", {4: 0.12}),
        ("p1 = p2 = 0.06, tangential", {7: 0.06, 8: 0.06}),
    )
    for panel, (title, terms) in zip(axes[0], lenses, strict=True):
        camera = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0], np.float32)
        for place, value in terms.items():
            camera[place] = value
        for constant in lines:
            for points in (
                np.stack([np.full_like(fine, constant), fine], -1),
                np.stack([fine, np.full_like(fine, constant)], -1),
            ):
                space = np.concatenate([points, np.ones((len(points), 1), np.float32)], axis=-1)
                seen = np.asarray(cameras.project(space, camera))
                panel.plot(*seen.T, color=paper.COLORS[0], linewidth=1)
        panel.set_title(title, color=paper.INK, fontsize=11)
        panel.set_aspect("equal")
        panel.set_xlim(-1.3, 1.3)
        panel.set_ylim(1.3, -1.3)
    return paper.rendered(figure)


# ---------------------------------------- missing keypoints
def missing():
    """What a keypoint at (0, 0) does where it is taken for a place, and where it counts as missing."""
    clip, skeleton = _clip("kick"), skeletons.COCO
    keypoints, shown = clip["keypoints"][:, 40:41].copy(), np.ones((1, 1, 17), np.float32)
    lost = [skeleton.index(f"left_{joint}") for joint in ("elbow", "wrist")]
    keypoints[..., lost, :] = 0
    height, width = clip["frame_size"].tolist()
    scores_known = shown.copy()
    scores_known[..., lost] = 0
    as_place = np.where(keypoints == 0, 1, keypoints)  # what a reader who knows no (0, 0) would take it for
    panels = []
    for points, visible in ((as_place, shown), (keypoints, scores_known)):
        left, top, right, bottom = np.asarray(boxes.compact_box(points, (height, width)))
        frame = np.full((height, width, 3), (44, 49, 62), np.uint8)
        frame = visualize.draw_skeletons(
            frame, points[:, 0], visible[:, 0], skeleton, 0.5, boxes=[[left, top, right, bottom]]
        )
        inside, box_size = clip_ops.compact(points, (height, width))
        inside = boxes.resize(inside, box_size, (SIDE, SIDE))
        volume = np.asarray(heatmaps.limb_volume(inside, visible, skeleton.edges, SIDE, SIDE))
        seen = visualize.draw_volume(volume, 0, skeleton.edge_colors, scale=SCALE)
        frame = cv2.resize(frame, (round(width * 320 / height), 320), interpolation=cv2.INTER_AREA)
        panels += [frame, seen]
    captions = ("taken for a place", "its limb volume", "missing", "its limb volume")
    row = [paper.captioned(panel, caption) for panel, caption in zip(panels, captions, strict=True)]
    return paper.of_width(
        np.concatenate(
            [piece for panel in row for piece in (panel, np.full((320, paper.GAP, 3), 255, np.uint8))][:-1], axis=1
        )
    )


def gaps():
    """A wrist that is lost for some frames, and what fills the gaps of a track that is lifted."""
    clip = _clip("kick")
    keypoints, sure = clip["keypoints"][0, 24:], clip["scores"][0, 24:]  # [T, K, 2], [T, K]
    ankle = skeletons.COCO.index("left_ankle")
    true = np.where(sure[:, ankle] > 0, keypoints[:, ankle, 0], np.nan)
    found = sure > 0
    found[14:20, ankle] = found[30:33, ankle] = found[38:44, ankle] = found[54:, ankle] = False
    filled = np.asarray(sequences.fill_gaps(keypoints, found))[:, ankle, 0]
    figure, ((panel,),) = paper.chart(12, 3)
    times = np.arange(len(true))
    panel.plot(times, true, color=paper.PALE, linewidth=1.2, label="where it was")
    panel.plot(times, filled, color=paper.COLORS[1], linewidth=1.8, label="filled")
    seen = found[:, ankle]
    panel.plot(times[seen], keypoints[seen, ankle, 0], "o", color=paper.COLORS[0], markersize=4, label="found")
    panel.set_xlabel("frame", color=paper.INK)
    panel.set_ylabel("x of the left ankle, pixels", color=paper.INK)
    panel.legend(frameon=False, fontsize=9)
    return paper.rendered(figure)


# ---------------------------------------- left and right
def mirror():
    """A person, the mirror image with names as they were, and with left and right exchanged."""
    clip, skeleton = _clip("wave_left"), skeletons.COCO
    height = clip["keypoints"][0, :, skeleton.index("left_wrist"), 1]
    sure = clip["scores"][0].min(axis=-1) > 0.4  # [T], all joints
    frame = int(np.argmin(np.where(sure, height, np.inf)))  # the hand is up
    one = {name: clip[name][:, frame : frame + 1] for name in ("keypoints", "scores")}
    keypoints, scores = clip_ops.evaluation_clips(
        one["keypoints"], one["scores"], clip["frame_size"], 1, size=(280, 280), padding=0.3
    )
    keypoints, scores = np.asarray(keypoints)[0, :, 0], np.asarray(scores)[0, :, 0]
    same = np.arange(skeleton.num_keypoints)
    wrong, _ = boxes.flip_keypoints(keypoints, scores, 280.0, same)
    right, _ = boxes.flip_keypoints(keypoints, scores, 280.0, skeleton.flip_permutation)
    panels = [
        visualize.draw_skeletons(paper.blank(280, 280), np.asarray(each), None, skeleton, line_width=4)
        for each in (keypoints, wrong, right)
    ]
    captions = ("as it is", "mirrored, names kept: wrong", "mirrored, names exchanged")
    return paper.sheet(panels, captions, 3)


# ---------------------------------------- sampling
def sampling():
    """Which frames of sequences of several lengths a clip of 16 frames is made of."""
    figure, axes = paper.chart(13, 5.2, rows=4, height_ratios=[1.2, 1.2, 1.6, 1.6])
    rows = (
        (10, 3, {}, "10 frames, shorter than a clip: played in a loop"),
        (24, 3, {}, "24 frames, less than two clips: in order, some skipped"),
        (120, 3, {}, "120 frames: one of each of 16 segments"),
        (120, 3, {"p_interval": (0.3, 0.6)}, "120 frames, p_interval (0.3, 0.6): segments of a part"),
    )
    for panel, (length, count, options, title) in zip(axes[:, 0], rows, strict=True):
        indices = np.asarray(sequences.sample_frames(length, 16, count, **options))
        for clip, chosen in enumerate(indices):
            panel.plot(chosen, np.full(16, -clip), "o", color=paper.COLORS[clip], markersize=6)
            if length < 16:
                for frame in np.unique(chosen):
                    times = int((chosen == frame).sum())
                    panel.annotate(f"{times}x", (frame, -clip), (4, 3), textcoords="offset points", fontsize=8)
        if not options and length >= 32:
            for edge in np.arange(17) * length // 16:
                panel.axvline(edge - 0.5, color=paper.PALE, linewidth=0.6, linestyle=":")
        panel.set_title(title, color=paper.INK, fontsize=11, loc="left")
        panel.set_xlim(-1, length)
        panel.set_ylim(-count + 0.4, 0.6)
        panel.set_yticks(-np.arange(count), [f"clip {clip}" for clip in range(count)])
        panel.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("frame of the sequence", color=paper.INK)
    return paper.rendered(figure)


def clocks():
    """The frames that pictures and poses of a clip come from, on one clock and each drawn for itself."""
    figure, axes = paper.chart(13, 2.8, rows=2)
    for panel, aligned in zip(axes[:, 0], (True, False), strict=True):
        rgb, pose = sequences.sample_rgb_and_pose(200, 8, 32, aligned=aligned)
        for place, (chosen, color) in enumerate(((rgb, 1), (pose, 0))):
            chosen = np.asarray(chosen)[0]
            panel.plot(chosen, np.full(len(chosen), -place), "s" if place == 0 else "o", color=paper.COLORS[color])
            if place == 0:
                for frame in chosen:
                    panel.axvline(frame, color=paper.PALE, linewidth=0.7, linestyle=":")
        panel.set_title(
            "aligned=True: each picture is the frame of a pose" if aligned else "aligned=False, as published",
            color=paper.INK,
            fontsize=11,
            loc="left",
        )
        panel.set_yticks((0, -1), ("8 pictures", "32 poses"))
        panel.set_ylim(-1.6, 0.6)
        panel.grid(visible=False)
    axes[-1, 0].set_xlabel("frame of the sequence", color=paper.INK)
    return paper.rendered(figure)


def receptive_field():
    """What one pose of a lifter sees of a track: centred, and causal."""
    figure, axes = paper.chart(13, 4, columns=2)
    widths, last = (3, 3, 3), 26
    for panel, causal in zip(axes[0], (False, True), strict=True):
        shown = {last if causal else 13}
        dilation = int(np.prod(widths))
        for layer in range(len(widths), -1, -1):
            color = paper.COLORS[1] if layer in (0, len(widths)) else paper.COLORS[0]
            everywhere = np.arange(last + 1)
            panel.plot(everywhere, np.full(last + 1, layer), "o", color=paper.GRID, markersize=5)
            panel.plot(sorted(shown), np.full(len(shown), layer), "o", color=color, markersize=6)
            if layer == 0:
                break
            dilation //= widths[layer - 1]
            steps = np.arange(widths[layer - 1]) * dilation
            steps = steps - (steps[-1] if causal else steps[-1] // 2)
            below = {frame + int(step) for frame in shown for step in steps}
            for frame in shown:
                for step in steps:
                    panel.plot([frame, frame + step], [layer, layer - 1], color=paper.PALE, linewidth=0.7)
            shown = below
        panel.set_title(
            "causal: it ends with the newest frame" if causal else "centred: 13 frames before and after",
            color=paper.INK,
            fontsize=11,
            loc="left",
        )
        panel.set_yticks(range(4), ("2D keypoints", "width 3", "width 3, dilation 3", "width 3, dilation 9: pose"))
        panel.set_xlabel("frame", color=paper.INK)
        panel.grid(visible=False)
    return paper.rendered(figure)


# ---------------------------------------- what is drawn
def _clip(action):
    """The first test clip of puppets of an action."""
    dataset, info = prepared(clips.from_tfds, "puppets", "test")
    label = info.features["label"].str2int(action)
    return next(clip for clip in dataset.as_numpy_iterator() if clip["label"] == label)


def _in_volume(clip):
    keypoints, scores = clip_ops.evaluation_clips(
        clip["keypoints"], clip["scores"], clip["frame_size"], size=(SIDE, SIDE)
    )
    return np.asarray(keypoints[0]), np.asarray(scores[0])


@functools.cache
def track(action):
    """The first test track of puppets of an action: the set, its number, and the pose [J, 3] that is shown."""
    known = prepared(tracks.from_tfds, "puppets/tracks", "test").select(actions=[action])
    poses = known.poses_world_m[: known.lengths[0]]
    ankle = known.pose_skeleton.index("right_ankle")
    return known, 0, poses[np.argmax(poses[:, ankle, 2])]


def prepared(read, name, split):
    try:
        return read(name, split)
    except NotPreparedError as error:
        raise paper.MissingError(f"python datasets/build.py {name}") from error


def _numbers(values, digits=2):
    return "(" + ", ".join(f"{value:.{digits}f}" for value in values) + ")"


PICTURES = {
    function.__name__: function
    for function in (
        volumes,
        sigma,
        scores,
        codecs,
        quantization,
        spaces,
        views,
        distortion,
        missing,
        gaps,
        mirror,
        sampling,
        clocks,
        receptive_field,
    )
}
