"""Human3.6M, from the files that VideoPose3D keeps it in; README.md tells more."""

import dataclasses

import tensorflow_datasets as tfds
import track_records
import videopose3d

from kerapose.skeletons import COCO, H36M, Skeleton

POSITIONS = "data_3d_h36m.npz"
DATASET = videopose3d.Dataset(
    table="h36m_dataset.py",
    cameras=("54138969", "55011271", "58860488", "60457274"),
    fps=50,
    pose_skeleton=H36M,
    # Of Human3.6M's 32 joints, those that move and are no second copy, as VideoPose3D chooses them.
    joints=(0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27),
    num_joints=32,
    subjects={"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")},
)


@dataclasses.dataclass(eq=False)
class H36mConfig(tfds.core.BuilderConfig):
    """One source of 2D keypoints.

    Args:
        file: name of the file with them; None projects the poses.
        skeleton: the keypoints.
    """

    file: str | None = None
    skeleton: Skeleton = H36M


def detected(name, skeleton, description):
    return H36mConfig(name=name, description=description, file=f"data_2d_h36m_{name}.npz", skeleton=skeleton)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the sequences of seven subjects, each once for every of four cameras."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        H36mConfig(name="gt", description="2D keypoints projected from the 3D poses."),
        detected("cpn_ft_h36m_dbb", H36M, "Cascaded pyramid network, fine-tuned on Human3.6M."),
        detected("detectron_ft_h36m", H36M, "Mask R-CNN, fine-tuned on Human3.6M."),
        detected("detectron_pt_coco", COCO, "Mask R-CNN, trained on COCO."),
    ]

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self):  # noqa: N802, the name is TFDS's
        """One sentence for this config's files."""
        files = ", ".join(filter(None, [POSITIONS, self.builder_config.file]))
        return f"{files} and {DATASET.table} (the cameras) belong in it, as datasets/h36m/README.md says."

    def _info(self):
        skeleton = self.builder_config.skeleton
        return self.dataset_info_from_configs(
            features=track_records.features(skeleton.num_keypoints, H36M.num_keypoints),
            supervised_keys=None,
            metadata=track_records.metadata(skeleton, H36M, left_out=[]),
        )

    def _split_generators(self, dl_manager):
        folder, config = dl_manager.manual_dir, self.builder_config
        videopose3d.require_files(folder, [POSITIONS, config.file], self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        cameras = videopose3d.read_cameras(folder, DATASET)
        positions = videopose3d.read_positions(folder / POSITIONS, DATASET)
        detections = (
            videopose3d.read_detections(folder / config.file, config.skeleton, DATASET) if config.file else None
        )
        return videopose3d.splits(self.info, config.skeleton, positions, detections, cameras, DATASET)

    _generate_examples = staticmethod(videopose3d.examples)
