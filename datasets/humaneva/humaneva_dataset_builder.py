"""HumanEva-I, from the files that VideoPose3D keeps it in; README.md tells more."""

import dataclasses
import logging

import numpy as np
import tensorflow_datasets as tfds
import track_records
import videopose3d

from kerapose.skeletons import COCO, HUMANEVA, Skeleton

POSITIONS, PROJECTED = "data_3d_humaneva15.npz", "data_2d_humaneva15_gt.npz"
PEOPLE = ("S1", "S2", "S3")
DATASET = videopose3d.Dataset(
    table="humaneva_dataset.py",
    cameras=("C1", "C2", "C3"),
    fps=60,
    pose_skeleton=HUMANEVA,
    joints=tuple(range(HUMANEVA.num_keypoints)),
    num_joints=HUMANEVA.num_keypoints,
    subjects={
        "train": tuple(f"Train/{person}" for person in PEOPLE),
        "validation": tuple(f"Validate/{person}" for person in PEOPLE),
    },
)
# VideoPose3D's table says where HumanEva's cameras stand, but not what their lenses do.
KNOWN = ("orientation", "translation_m")
LENS_POINTS = 20000  # that a lens is fitted to, at most
LENS_STEPS = 20
LARGEST_MISS_PX = 3  # of a fitted lens, before a warning

_log = logging.getLogger("kerapose.datasets.humaneva")


@dataclasses.dataclass(eq=False)
class HumanevaConfig(tfds.core.BuilderConfig):
    """One source of 2D keypoints.

    Args:
        file: name of the file with them.
        skeleton: the keypoints.
    """

    file: str = PROJECTED
    skeleton: Skeleton = HUMANEVA


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the sequences of three subjects, each once for every of three colour cameras."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        HumanevaConfig(name="gt", description="2D keypoints projected from the 3D poses."),
        HumanevaConfig(
            name="detectron_pt_coco",
            description="Mask R-CNN, trained on COCO.",
            file="data_2d_humaneva15_detectron_pt_coco.npz",
            skeleton=COCO,
        ),
    ]

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self):  # noqa: N802, the name is TFDS's
        """One sentence for this config's files."""
        files = dict.fromkeys([POSITIONS, PROJECTED, self.builder_config.file])
        return (
            f"{', '.join(files)} and {DATASET.table} (the cameras) belong in it, as datasets/humaneva/README.md says."
        )

    def _info(self):
        skeleton = self.builder_config.skeleton
        return self.dataset_info_from_configs(
            features=track_records.features(skeleton.num_keypoints, HUMANEVA.num_keypoints),
            supervised_keys=None,
            metadata=track_records.metadata(skeleton, HUMANEVA, left_out=[], lens_miss_px={}),
        )

    def _split_generators(self, dl_manager):
        folder, config = dl_manager.manual_dir, self.builder_config
        videopose3d.require_files(folder, [POSITIONS, PROJECTED, config.file], self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        positions = videopose3d.read_positions(folder / POSITIONS, DATASET)
        projected = videopose3d.read_detections(folder / PROJECTED, HUMANEVA, DATASET)
        detections = projected
        if config.file != PROJECTED:
            detections = videopose3d.read_detections(folder / config.file, config.skeleton, DATASET)
        cameras = videopose3d.read_cameras(folder, DATASET, KNOWN)
        cameras, miss_px = with_lenses(cameras, positions, projected)
        self.info.metadata["lens_miss_px"] = miss_px
        return videopose3d.splits(self.info, config.skeleton, positions, detections, cameras, DATASET)

    _generate_examples = staticmethod(videopose3d.examples)


# ---------------------------------------------------------------------------------------------------- lenses
def with_lenses(cameras, positions, projected):
    """Finds the lenses of the cameras whose file does not tell them.

    Args:
        cameras: what `videopose3d.read_cameras` gives; a camera whose lens is not known has focal lengths of 0.
        positions: what `videopose3d.read_positions` gives.
        projected: what `videopose3d.read_detections` gives of the projected poses.

    Returns:
        The cameras with their lenses, and a dict of how far the projections by those that were found are from the
        file's, the root mean square in pixels, by "S1/C1".

    Raises:
        ValueError: when a lens cannot be found.
    """
    complete, miss_px = {}, {}
    for person in PEOPLE:
        complete[person] = []
        for place, camera in enumerate(cameras.get(person, cameras.get(None, ()))):
            if camera["focal_px"].min() == 0:
                name = f"{person}/{camera['name']}"
                lens, miss_px[name] = fit_lens(name, *_pairs(person, place, camera, positions, projected))
                camera = camera | lens
                if miss_px[name] > LARGEST_MISS_PX:
                    _log.warning("%s: the fitted lens misses the keypoints by %.1f px", name, miss_px[name])
            complete[person].append(camera)
    return {person: own for person, own in complete.items() if own}, miss_px


def _pairs(person, place, camera, positions, projected):
    """Where joints are on the axes of a camera, [N, 2], unit depth, and in its picture, [N, 2], pixels."""
    rays, keypoints = [], []
    for subject in positions:
        if subject.rpartition("/")[2] != person:
            continue
        for action, poses in positions[subject].items():
            views = projected.get(subject, {}).get(action)
            if views is not None and views[place] is not None:
                count = min(len(poses), len(views[place]))
                known = np.isfinite(poses[:count]).all(axis=(1, 2))  # [T]
                poses_camera_m = track_records.to_camera(poses[:count][known], camera)
                keypoints.append(np.asarray(views[place][:count][known, :, :2], np.float64).reshape(-1, 2))
                rays.append((poses_camera_m[..., :2] / np.maximum(poses_camera_m[..., 2:], 1e-3)).reshape(-1, 2))
    rays, keypoints = np.concatenate([np.zeros((0, 2)), *rays]), np.concatenate([np.zeros((0, 2)), *keypoints])
    use = np.isfinite(rays).all(axis=1) & np.isfinite(keypoints).all(axis=1) & (np.abs(rays) < 1).all(axis=1)
    step = max(1, use.sum() // LENS_POINTS)
    return rays[use][::step], keypoints[use][::step]


def fit_lens(name, rays, keypoints):
    """Fits focal lengths, principal point and distortion to what a camera made of known points.

    Gauss-Newton on eight numbers: k3 stays 0, as people in the middle of the picture do not tell it from k2.

    Args:
        name: of the camera, for errors.
        rays: [N, 2], x / z and y / z in camera space.
        keypoints: [N, 2], pixels.

    Returns:
        dict of "focal_px", "center_px", "radial" and "tangential", and the root mean square distance, pixels.

    Raises:
        ValueError: when there are too few points.
    """
    if len(rays) < 2 * HUMANEVA.num_keypoints:
        raise ValueError(
            f"{name}: {PROJECTED} must show the lens by the projections of at least two poses, it has "
            f"{len(rays)} joints; give a {videopose3d.CAMERAS} with all numbers of the cameras."
        )
    lens = np.zeros(8)  # fx, fy, cx, cy, k1, k2, p1, p2
    for axis in range(2):
        lens[[axis, axis + 2]] = np.polyfit(rays[:, axis], keypoints[:, axis], 1)
    for _ in range(LENS_STEPS):
        scale = np.maximum(np.abs(lens), 1) * 1e-6
        slopes = [(_bent(lens + step, rays) - _bent(lens - step, rays)).ravel() for step in np.diag(scale)]
        jacobian = np.stack(slopes, axis=1) / (2 * scale)  # [2 N, 8]
        lens = lens + np.linalg.lstsq(jacobian, (keypoints - _bent(lens, rays)).ravel(), rcond=None)[0]
    miss = np.sqrt(np.square(keypoints - _bent(lens, rays)).sum(axis=1).mean())
    if not np.isfinite(miss) or lens[:2].min() <= 0:
        raise ValueError(
            f"{name}: no lens makes the keypoints of {PROJECTED} out of the poses; give a {videopose3d.CAMERAS} with "
            "all numbers of the cameras."
        )
    radial = np.append(lens[4:6], 0)
    return {"focal_px": lens[:2], "center_px": lens[2:4], "radial": radial, "tangential": lens[6:]}, float(miss)


def _bent(lens, rays):
    """The formula of `kerapose.ops.cameras.project`, in float64 and pixels."""
    squared = np.square(rays).sum(axis=1, keepdims=True)
    stretch = 1 + lens[4] * squared + lens[5] * squared**2 + (rays * lens[6:]).sum(axis=1, keepdims=True)
    return lens[:2] * (rays * stretch + lens[6:] * squared) + lens[2:4]
