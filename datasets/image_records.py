"""What all image data sets of this folder share: the record of one image and its people, and reading its file."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import images

NAMES_SHOWN = 5  # in an error


def features(skeleton):
    """The features of one image; README.md beside this file says what they mean."""
    count = skeleton.num_keypoints
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_id": np.int64,
            "name": tfds.features.Text(),
            "people": tfds.features.Sequence(
                {
                    "keypoints": tfds.features.Tensor(shape=(count, 2), dtype=np.float32),
                    "visibility": tfds.features.Tensor(shape=(count,), dtype=np.int32),
                    "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "area": np.float32,
                    "head_size": np.float32,
                    "is_crowd": np.bool_,
                    "id": np.int64,
                }
            ),
        }
    )


class ImageFiles:
    """Reads the image files of one split and keeps account of those that are no good.

    Args:
        split: the split's name, for errors.
        folder: where the files are, as an `epath.Path`.
        skip_corrupt: whether a file that cannot be decoded is left out; else `close` refuses it.
        remedy: what else can be done about such files, for errors.

    Attributes:
        missing, corrupt, resized: names of such files, in the order in which they came.
    """

    def __init__(self, split, folder, skip_corrupt=False, remedy=""):
        self.split, self.folder, self.skip_corrupt, self.remedy = split, folder, skip_corrupt, remedy
        self.missing, self.corrupt, self.resized, self.num_good = [], [], [], 0
        self._size = tf.function(lambda encoded: tf.shape(images.decode(encoded)), [tf.TensorSpec((), tf.string)])

    def read(self, name, size=None):
        """Reads one file.

        Args:
            name: of the file in the folder.
            size: (height, width) that the image must have when it is upright; None takes any.

        Returns:
            The file's bytes and its (height, width), or None when it is no good.
        """
        try:
            encoded = (self.folder / name).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self.missing.append(name)
            return None
        try:
            found = tuple(self._size(encoded).numpy()[:2].tolist())
        except tf.errors.InvalidArgumentError:
            self.corrupt.append(name)
            return None
        if size is not None and found != tuple(size):
            self.resized.append(f"{name} is {found[0]} x {found[1]}, not {size[0]} x {size[1]}")
            return None
        self.num_good += 1
        return encoded, found

    def close(self):
        """Refuses the split, naming and counting its bad files, unless they are to be left out.

        Raises:
            FileNotFoundError: when files are missing.
            ValueError: when files cannot be decoded, when none is left, or when some are not of the annotated size.
        """
        if self.missing:
            raise FileNotFoundError(
                f"{self.split}: {len(self.missing)} images are not in {self.folder} ({some(self.missing)}); put them "
                "there or name the folder where they are."
            )
        if self.resized:
            raise ValueError(
                f"{self.split}: turned as its Exif data say, an image must have the height and width of its "
                f"annotation, {len(self.resized)} do not ({some(self.resized)}); take the images that were annotated."
            )
        if self.corrupt and not self.skip_corrupt:
            raise ValueError(
                f"{self.split}: {len(self.corrupt)} images in {self.folder} are not whole JPEG or PNG files "
                f"({some(self.corrupt)}); get them anew{self.remedy}."
            )
        if not self.num_good:
            raise ValueError(f"{self.split}: a split must have at least one whole image, got none; leave it out.")


def some(names):
    """The first of some names, and how many more there are: for an error."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(str(name) for name in names[:NAMES_SHOWN]) + more


def counts(people):
    """Counts the people of a split, whose fields are lists: for a data set's metadata."""
    boxes = np.asarray(people["box"], float).reshape(-1, 4)
    return {
        "people": len(boxes),
        "crowds": int(np.sum(people["is_crowd"], dtype=int)),
        "people_without_keypoints": int(sum(not np.any(labels) for labels in people["visibility"])),
        "boxes_without_area": int(np.sum((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))),
    }
