"""What all image data sets of this folder share: the record of one image and its people, and reading its file."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import coco, gate, images
from kerapose.data.gate import images as rules


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
        remedy: what else can be done about bad files, for errors.

    Attributes:
        corrupt: names of files that cannot be decoded, in the order in which they came.
        num_good: how many were read.
    """

    def __init__(self, split, folder, skip_corrupt=False, remedy=""):
        self.split, self.folder, self.skip_corrupt, self.remedy = split, folder, skip_corrupt, remedy
        self.corrupt, self.num_good = [], 0
        self._looked_at = []  # name, annotated size, shown size, orientation, path

    def read(self, name, size=(0, 0)):
        """Reads one file.

        Args:
            name: of the file in the folder.
            size: annotated (height, width), 0 where not known.

        Returns:
            The file's bytes and its (height, width), or None when it is no good.
        """
        path = coco.image_path(self.folder, name)
        found, orientation, encoded = (-1, -1), 1, None
        if path.is_file():
            encoded = path.read_bytes()
            try:
                found, orientation = (value.numpy().tolist() for value in images.look(encoded))
            except tf.errors.InvalidArgumentError:
                found = (0, 0)
                self.corrupt.append(name)
        if found[0] != 0 or not self.skip_corrupt:
            self._looked_at.append((name, tuple(size), tuple(found), orientation, path))
        if found[0] <= 0:
            return None
        self.num_good += 1
        return encoded, tuple(found)

    def close(self, people=None, where=None):
        """Refuses the split, naming and counting its bad files, unless they are to be left out, and its bad people.

        Pictures come before people: in one that is of another size than annotated nobody's place says anything.

        Args:
            people: what `coco.read_people` gives, or arrays like these. None: there are none to look at.
            where: they are from, for the error. None: the split.

        Raises:
            BadDataError: when files are not there, cannot be decoded or are not of the annotated size, or people cannot
                be right, as in every pipeline.
            ValueError: when none is left.
        """
        of_images = gate.Report("images", self.remedy, source=where or self.split)
        of_people = gate.Report("people", self.remedy)
        sizes = {}
        if self._looked_at:
            good = rules.note_images(of_images, *zip(*self._looked_at, strict=True))
            sizes = {one[0]: one[2] for one, is_good in zip(self._looked_at, good, strict=True) if is_good}
        if people is not None:
            shown = np.array([sizes.get(name, (0, 0)) for name in people["name"]]).reshape(-1, 2)
            rules.note_people(of_people, people, shown)
        of_images.close(of_people)
        if not self.num_good:
            raise ValueError(f"{self.split}: a split must have at least one whole image, got none; leave it out.")


def counts(people):
    """Counts the people of a split, whose fields are lists: for a data set's metadata."""
    boxes = np.asarray(people["box"], float).reshape(-1, 4)
    return {
        "people": len(boxes),
        "crowds": int(np.sum(people["is_crowd"], dtype=int)),
        "people_without_keypoints": int(sum(not np.any(labels) for labels in people["visibility"])),
        "boxes_without_area": int(np.sum((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))),
    }
