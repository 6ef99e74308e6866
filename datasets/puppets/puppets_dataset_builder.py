"""puppets: procedurally animated people, as a pose detector sees them in clips, videos, still images, and 3D tracks."""

import concurrent.futures
import multiprocessing

import clip_records
import cv2
import image_records
import tensorflow_datasets as tfds
import track_records

from kerapose.skeletons import COCO, H36M

from . import motions, scene, stills, tracks, videos

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
        tfds.core.BuilderConfig(
            name="videos", description="Videos of the clips' actions with detected COCO keypoints."
        ),
        tfds.core.BuilderConfig(name="images", description="Still images of clothed people with COCO keypoints."),
        tfds.core.BuilderConfig(name="tracks", description="Takes before four cameras, with 3D poses of H36M joints."),
    ]

    def _info(self):
        if self.builder_config.name == "images":
            return self._images_info()
        if self.builder_config.name == "tracks":
            return self._tracks_info()
        with_video = self.builder_config.name == "videos"
        return self.dataset_info_from_configs(
            features=clip_records.features(COCO, list(motions.ACTIONS), with_video),
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
        if self.builder_config.name == "videos":
            return {split: self._generate_videos(numbers) for split, numbers in PERFORMERS.items()}
        return {split: self._generate_examples(numbers) for split, numbers in PERFORMERS.items()}

    def _generate_examples(self, numbers):
        for name, scene_of in takes(numbers):
            yield name, scene.make_clip(SEED, *scene_of) | {"label": scene_of[1], "name": name}

    def _generate_videos(self, numbers):
        names, scenes = zip(*takes(numbers), strict=True)
        # Filming takes minutes, so each core films. Processes are spawned: a fork of TensorFlow's threads may hang.
        with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            clips = pool.map(videos.make_clip, [(SEED, *scene_of) for scene_of in scenes], chunksize=4)
            for name, (_, action, _), clip in zip(names, scenes, clips, strict=True):
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


def takes(numbers):
    """Yields each take of each action by some performers: its name and its (performer, action, take)."""
    for number in numbers:
        for action in motions.ACTIONS:
            for take in range(TAKES):
                yield f"performer{number:03d}_{action}_{take}", (number, action, take)


def jpeg(image, quality):
    """Encodes RGB uint8 [H, W, 3]."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
