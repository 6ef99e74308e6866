"""puppets: procedurally animated people who do 14 actions, as a pose detector sees them."""

import numpy as np
import tensorflow_datasets as tfds

from kerapose.skeletons import COCO

from . import motions, scene

SEED = 2022
# Performers by number: nobody appears in two splits.
PERFORMERS = {"train": range(0, 64), "validation": range(64, 80), "test": range(80, 112)}
TAKES = 1  # of each action by each performer


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the puppets data set; README.md beside this file describes it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="clips", description="Detected COCO keypoints of one action a clip."),
    ]

    def _info(self):
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

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(numbers) for split, numbers in PERFORMERS.items()}

    def _generate_examples(self, numbers):
        for number in numbers:
            for action in motions.ACTIONS:
                for take in range(TAKES):
                    name = f"performer{number:03d}_{action}_{take}"
                    clip = scene.make_clip(SEED, number, action, take)
                    yield name, clip | {"label": action, "name": name}
