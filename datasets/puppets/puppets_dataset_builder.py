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
# Of the first performers of each split alone, clips and videos of these actions alone: for notebooks.
SMALL_ACTIONS = ("walk", "jump", "clap", "squat", "kick")
SMALL_CLIPS = {"train": 64, "validation": 16, "test": 32}  # performers
SMALL_VIDEOS = {"train": 16, "validation": 2, "test": 6}  # performers
SMALL_TRACKS = {"train": 24, "validation": 4, "test": 8}  # performers
SMALL_IMAGES = {"train": (40, 10), "validation": (8, 5), "test": (16, 5)}  # performers, images of each
SMALL_GROUPS = {"train": (40, 4), "validation": (8, 2), "test": (16, 2)}  # likewise


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
        tfds.core.BuilderConfig(name="small_clips", description="The clips of five actions."),
        tfds.core.BuilderConfig(name="small_videos", description="Some videos of five actions."),
        tfds.core.BuilderConfig(name="small_tracks", description="Some of the tracks."),
        tfds.core.BuilderConfig(name="small_images", description="Some of the images."),
        tfds.core.BuilderConfig(name="small_groups", description="Some of the groups."),
    ]

    @property
    def kind(self):
        """The config of which a small one has a part, else the config itself."""
        return self.builder_config.name.removeprefix("small_")

    @property
    def actions(self):
        """The names of the actions of clips and videos, in the order of their labels."""
        is_small = self.builder_config.name != self.kind
        return [action for action in motions.ACTIONS if not is_small or action in SMALL_ACTIONS]

    def _info(self):
        if self.kind in ("images", "groups"):
            return self._images_info()
        if self.kind == "tracks":
            return self._tracks_info()
        with_video = self.kind in ("videos", "group_videos")
        return self.dataset_info_from_configs(
            features=clip_records.features(COCO, self.actions, with_video),
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
        make = {
            "clips": self._generate_examples,
            "videos": self._generate_videos,
            "images": self._generate_images,
            "groups": self._generate_groups,
            "group_videos": self._generate_group_videos,
            "tracks": self._generate_tracks,
        }[self.kind]
        return {split: make(*arguments) for split, arguments in self._parts().items()}

    def _parts(self):
        """By split what its records are made of: performers; of pictures how many of each, and who may stand by."""
        config = self.builder_config.name
        if config in ("images", "groups"):
            counts = {"images": IMAGES, "groups": GROUPS}[config]
            return {split: (PERFORMERS[split], count, PERFORMERS[split]) for split, count in counts.items()}
        if config in ("small_images", "small_groups"):
            counts = {"small_images": SMALL_IMAGES, "small_groups": SMALL_GROUPS}[config]
            return {split: (PERFORMERS[split][:n], count, PERFORMERS[split]) for split, (n, count) in counts.items()}
        if config in ("small_clips", "small_videos", "small_tracks"):
            counts = {"small_clips": SMALL_CLIPS, "small_videos": SMALL_VIDEOS, "small_tracks": SMALL_TRACKS}[config]
            return {split: (PERFORMERS[split][:n],) for split, n in counts.items()}
        if config == "group_videos":
            return {split: (PERFORMERS[split], count) for split, count in GROUP_VIDEOS.items()}
        return {split: (numbers,) for split, numbers in PERFORMERS.items()}

    def _generate_examples(self, numbers):
        for name, scene_of in takes(numbers, self.actions):
            yield name, scene.make_clip(SEED, *scene_of) | {"label": scene_of[1], "name": name}

    def _generate_videos(self, numbers):
        names, scenes = zip(*takes(numbers, self.actions), strict=True)
        clips = in_processes(videos.make_clip, [(SEED, *scene_of) for scene_of in scenes], chunksize=4)
        for name, (_, action, _), clip in zip(names, scenes, clips, strict=True):
            yield name, clip | {"label": action, "name": name}

    def _generate_group_videos(self, numbers, count):
        clips = in_processes(groups.make_group_clip, [(SEED, index, numbers) for index in range(count)])
        for index, clip in enumerate(clips):
            name = f"group{index:02d}"
            yield name, clip | {"label": "walk", "name": name}  # as nearly all do

    def _generate_images(self, numbers, count, bystanders):
        yield from drawn(stills.make_picture, numbers, count, bystanders)

    def _generate_groups(self, numbers, count, bystanders):
        yield from drawn(groups.make_picture, numbers, count, bystanders)

    def _generate_tracks(self, numbers):
        for number in numbers:
            for take in range(TRACK_TAKES):
                for record in tracks.make_tracks(SEED, number, take):
                    yield record["name"], record


def takes(numbers, actions):
    """Yields each take of each of some actions by some performers: its name and its (performer, action, take)."""
    for number in numbers:
        for action in actions:
            for take in range(TAKES):
                yield f"performer{number:03d}_{action}_{take}", (number, action, take)


def drawn(make, numbers, count, bystanders):
    """Yields the records of `count` pictures of each of some performers, among whom others may stand."""
    wanted = [(number, index) for number in numbers for index in range(count)]
    made = in_processes(make, [(SEED, *picture, bystanders) for picture in wanted], chunksize=8)
    for (number, index), picture in zip(wanted, made, strict=True):
        yield image_record(number, index, picture["image"], picture["people"])


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
