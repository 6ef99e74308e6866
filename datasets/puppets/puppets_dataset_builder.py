"""puppets: procedurally animated people, alone and in groups: detected clips, videos, still images, and 3D tracks."""

import concurrent.futures
import multiprocessing

import clip_records
import image_records
import tensorflow_datasets as tfds
import track_records

from kerapose.skeletons import COCO, H36M

from . import groups, motions, scene, stills, tracks, videos

SEED = 2022
# Performers by number: nobody appears in two splits.
PERFORMERS = {"train": range(0, 64), "validation": range(64, 80), "test": range(80, 112)}
TAKES = 1  # of each action by each performer
TRACK_TAKES = 1  # by each performer
IMAGES = {"train": 38, "validation": 15, "test": 15}  # of each performer
GROUPS = {"train": 19, "validation": 6, "test": 6}  # images with each performer in the middle
GROUP_VIDEOS = {"test": 24}


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
        tfds.core.BuilderConfig(name="groups", description="Still images of several people, with true COCO keypoints."),
        tfds.core.BuilderConfig(
            name="group_videos", description="Videos of people who walk about and cross, with true COCO keypoints."
        ),
        tfds.core.BuilderConfig(name="tracks", description="Takes before four cameras, with 3D poses of H36M joints."),
    ]

    def _info(self):
        if self.builder_config.name in ("images", "groups"):
            return self._images_info()
        if self.builder_config.name == "tracks":
            return self._tracks_info()
        with_video = self.builder_config.name in ("videos", "group_videos")
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
        config = self.builder_config.name
        make = {
            "clips": self._generate_examples,
            "videos": self._generate_videos,
            "images": self._generate_images,
            "groups": self._generate_groups,
            "group_videos": self._generate_group_videos,
            "tracks": self._generate_tracks,
        }[config]
        counts = {"images": IMAGES, "groups": GROUPS, "group_videos": GROUP_VIDEOS}.get(config)
        if counts is None:
            return {split: make(numbers) for split, numbers in PERFORMERS.items()}
        return {split: make(PERFORMERS[split], count) for split, count in counts.items()}

    def _generate_examples(self, numbers):
        for name, scene_of in takes(numbers):
            yield name, scene.make_clip(SEED, *scene_of) | {"label": scene_of[1], "name": name}

    def _generate_videos(self, numbers):
        names, scenes = zip(*takes(numbers), strict=True)
        clips = in_processes(videos.make_clip, [(SEED, *scene_of) for scene_of in scenes], chunksize=4)
        for name, (_, action, _), clip in zip(names, scenes, clips, strict=True):
            yield name, clip | {"label": action, "name": name}

    def _generate_group_videos(self, numbers, count):
        clips = in_processes(groups.make_group_clip, [(SEED, index, numbers) for index in range(count)])
        for index, clip in enumerate(clips):
            name = f"group{index:02d}"
            yield name, clip | {"label": "walk", "name": name}  # as nearly all do

    def _generate_images(self, numbers, count):
        for number, index in pictures(numbers, count):
            still = stills.make_still(SEED, number, index, numbers)
            yield image_record(number, index, stills.jpeg(still["image"], still["quality"]), still["people"])

    def _generate_groups(self, numbers, count):
        wanted = list(pictures(numbers, count))
        made = in_processes(groups.make_picture, [(SEED, *picture, numbers) for picture in wanted], chunksize=8)
        for (number, index), group in zip(wanted, made, strict=True):
            yield image_record(number, index, group["image"], group["people"])

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


def pictures(numbers, count):
    """Yields (performer, which picture) of `count` pictures of each of some performers."""
    for number in numbers:
        for index in range(count):
            yield number, index


def image_record(number, index, image, people):
    """The key and the record of a picture: `image_records` describes it.

    Args:
        number: int, the performer.
        index: int, which of the performer's pictures.
        image: bytes of a JPEG file.
        people: list of dicts; "is_crowd" may be left out.
    """
    name, image_id = f"performer{number:03d}_{index:02d}.jpg", 100 * number + index
    people = [{"is_crowd": False} | person | {"id": 10 * image_id + place} for place, person in enumerate(people)]
    return name, {"image": image, "image_id": image_id, "name": name, "people": people}


def in_processes(make, arguments, chunksize=1):
    """Yields `make(one)` for one after the other of some arguments, made on all cores: drawing takes minutes."""
    # Processes are spawned: a fork of TensorFlow's threads may hang.
    with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(make, arguments, chunksize=chunksize)
