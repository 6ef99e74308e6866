"""A prepared data set of videos with its frames as JPEGs, which TensorFlow decodes by itself; README.md tells more."""

import dataclasses

import cv2
import numpy as np
import tensorflow_datasets as tfds

from kerapose.data import frames, prepared

QUALITY = 95  # of JPEGs, of 100


@dataclasses.dataclass(eq=False)
class FramesConfig(tfds.core.BuilderConfig):
    """One data set of videos.

    Args:
        source: its name, as TFDS has it.
        quality: of the JPEGs, 1 to 100.
    """

    source: str = ""
    quality: int = QUALITY


def own(name, source, quality=QUALITY):
    """Makes the config of a data set of videos.

    Args:
        name: what the data set is called after the slash.
        source: name of a data set of videos that is prepared in the same folder ("penn_action").
        quality: of the JPEGs, 1 to 100.

    Returns:
        A `FramesConfig`.

    Example:
        >>> Builder(config=own("penn_action", "penn_action")).download_and_prepare()
    """
    return FramesConfig(name=name, description=f"{source}, quality {quality}", source=source, quality=quality)


def named(name):
    """Refuses a config without its source."""
    raise ValueError(f"jpeg_frames/{name} is made of a data set of videos; give its name as --source.")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds one config: the splits and clips of its source, each frame a JPEG."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = None

    def _source(self):
        """The builder of the data set of videos."""
        source = self.builder_config.source
        builder = prepared.find(source, None, self.data_dir_root)
        if "video" not in builder.info.features:
            raise ValueError(f"A source is a data set with videos, {source} has none; give another one.")
        return builder

    def _info(self):
        source = self._source().info
        kept = {name: feature for name, feature in source.features.items() if name != "video"}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                kept | {"jpegs": tfds.features.Tensor(shape=(None,), dtype=np.object_)}
            ),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(**(source.metadata or {})),
        )

    def _split_generators(self, dl_manager):
        source = self._source()
        return {split: self._generate_examples(source, split) for split in source.info.splits}

    def _generate_examples(self, source, split):
        for record in tfds.as_numpy(source.as_dataset(split=split, shuffle_files=False)):
            name = record["name"].decode()
            pictures = frames.read(record.pop("video"), name=f"the video of clip {name}")
            yield name, record | {"jpegs": [encoded(picture, self.builder_config.quality) for picture in pictures]}


def encoded(picture, quality):
    """A picture [H, W, 3] uint8 RGB as JPEG, the colours as fine as the rest."""
    options = cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()
