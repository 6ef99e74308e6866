"""puppets: procedurally animated people, as a pose detector sees them in clips, in still images, and in 3D tracks."""

import cv2
import image_records
import numpy as np
import tensorflow_datasets as tfds
import track_records

from kerapose.skeletons import COCO, H36M

from . import motions, scene, stills, tracks

SEED = 2022
# Performers by number: nobody appears in two splits.
PERFORMERS = {"train": range(0, 64), "validation": range(64, 80), "test": range(80, 112)}
TAKES = 1  # of each action by each performer
TRACK_TAKES = 1  # by each performer
IMAGES = {"train": 38, "validation": 15, "test": 15}  # of each performer


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the puppets data set; README.md beside this file describes it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="clips", description="Detected COCO keypoints of one action a clip."),
        tfds.core.BuilderConfig(name="images", description="Still images of clothed people with COCO keypoints."),
        tfds.core.BuilderConfig(name="tracks", description="Takes before four cameras, with 3D poses of H36M joints."),
    ]

    def _info(self):
        if self.builder_config.name == "images":
            return self._images_info()
        if self.builder_config.name == "tracks":
            return self._tracks_info()
        figure = (None, None, COCO.num_keypoints)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "keypoints": tfds.features.Tensor(shape=(*figure, 2), dtype=np.float32, encoding="zlib"),
                    "scores": tfds.features.Tensor(shape=figure, dtype=np.float32, encoding="zlib"),
                    "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
                    "label": tfds.features.ClassLabel(names=list(motions.ACTIONS)),
                    "name": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(skeleton=COCO.name),
        )

    def _images_info(self):
        return self.dataset_info_from_configs(
            features=image_records.features(COCO),
            metadata=tfds.core.MetadataDict(skeleton=COCO.to_dict()),
        )

    def _tracks_info(self):
        return self.dataset_info_from_configs(
            features=track_records.features(H36M.num_keypoints, H36M.num_keypoints),
            metadata=track_records.metadata(H36M, H36M),
        )

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "images":
            return {split: self._generate_images(numbers, IMAGES[split]) for split, numbers in PERFORMERS.items()}
        if self.builder_config.name == "tracks":
            return {split: self._generate_tracks(numbers) for split, numbers in PERFORMERS.items()}
        return {split: self._generate_examples(numbers) for split, numbers in PERFORMERS.items()}

    def _generate_examples(self, numbers):
        for number in numbers:
            for action in motions.ACTIONS:
                for take in range(TAKES):
                    name = f"performer{number:03d}_{action}_{take}"
                    clip = scene.make_clip(SEED, number, action, take)
                    yield name, clip | {"label": action, "name": name}

    def _generate_images(self, numbers, count):
        for number in numbers:
            for index in range(count):
                name, image_id = f"performer{number:03d}_{index:02d}.jpg", 100 * number + index
                still = stills.make_still(SEED, number, index, numbers)
                people = [
                    person | {"is_crowd": False, "id": 10 * image_id + place}
                    for place, person in enumerate(still["people"])
                ]
                yield (
                    name,
                    {
                        "image": jpeg(still["image"], still["quality"]),
                        "image_id": image_id,
                        "name": name,
                        "people": people,
                    },
                )

    def _generate_tracks(self, numbers):
        for number in numbers:
            for take in range(TRACK_TAKES):
                for record in tracks.make_tracks(SEED, number, take):
                    yield record["name"], record


def jpeg(image, quality):
    """Encodes RGB uint8 [H, W, 3]."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
