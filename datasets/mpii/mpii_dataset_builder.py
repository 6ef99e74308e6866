"""MPII Human Pose, from the annotation files that top-down networks are published with; README.md tells more."""

import pathlib

import image_records
import numpy as np
import tensorflow_datasets as tfds

from kerapose import files
from kerapose.data import gate
from kerapose.skeletons import MPII

from . import mat5

ADDRESS = "http://human-pose.mpi-inf.mpg.de"
FILES = {"train": "train.json", "validation": "valid.json"}
HEADS = {"validation": "gt_valid.mat"}  # the head boxes that MPII's own score goes by
SCALE_PX = 200  # a person of scale 1 is said to be that high
LOWER = 15  # of those 200 pixels, how far the published networks take the centre to lie too high
HEAD_SHARE = 0.6  # of the diagonal of the head's box


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the images and people of MPII's training and validation part."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"images/ belongs in it with MPII's images from {ADDRESS}, and train.json, valid.json and gt_valid.mat (there "
        "or in annot/) as SimpleBaseline and HRNet publish them."
    )

    def _info(self):
        return self.dataset_info_from_configs(
            features=image_records.features(MPII),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(skeleton=MPII.to_dict(), counts={}, head_sizes={}),
        )

    def _split_generators(self, dl_manager):
        folder = dl_manager.manual_dir
        files = {split: find(folder, name) for split, name in FILES.items()}
        missing = [FILES[split] for split, path in files.items() if path is None]
        missing += [] if (folder / "images").is_dir() else ["images/"]
        if missing:
            names = " nor ".join(missing)
            raise FileNotFoundError(f"There is no {names} in {folder}. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        generators = {}
        for split, path in files.items():
            people = read(path)
            heads = find(folder, HEADS[split]) if split in HEADS else None
            if heads is not None:
                people["head_size"] = read_head_sizes(heads, people)
            self.info.metadata["head_sizes"][split] = heads.name if heads is not None else "keypoints"
            generators[split] = self._generate_examples(split, folder / "images", people)
        return generators

    def _generate_examples(self, split, folder, people):
        places = {}
        for place, name in enumerate(people["image"]):
            places.setdefault(name, []).append(place)
        image_files = image_records.ImageFiles(split, folder)
        for number, (name, here) in enumerate(places.items()):
            read_file = image_files.read(name)
            if read_file is None:
                continue
            stem = pathlib.PurePath(name).stem
            image_id = int(stem) if stem.isdigit() else number
            record = {"image": read_file[0], "image_id": image_id, "name": name}
            yield name, record | {"people": [person(people, place) for place in here]}
        people |= {"is_crowd": np.zeros(len(people["image"]), bool), "name": people["image"]}
        image_files.close(people)
        self.info.metadata["counts"][split] = {"images": image_files.num_good} | image_records.counts(people)


def find(folder, name):
    """The path of an annotation file in a folder or its `annot`, None where it is in neither."""
    return next((path for path in (folder / name, folder / "annot" / name) if path.exists()), None)


def person(people, place):
    """One person of a record."""
    fields = {key: people[key][place] for key in ("keypoints", "visibility", "box", "area", "head_size")}
    return fields | {"is_crowd": False, "id": place}


def read(path):
    """Reads an annotation file.

    Pixels count from 1 in the file and from 0 here. The box is the square that the published networks go by, of which
    they cut out 1.25: 200 pixels times the scale, with its middle 15 pixels times the scale below the annotated centre.

    Args:
        path: train.json or valid.json.

    Returns:
        dict: "image", N names, "keypoints" float32 [N, K, 2], "visibility" int32 [N, K], "box" float32 [N, 4], left,
        top, right and bottom, "area" float32 [N], of the box, and "head_size" float32 [N], see `head_length`.

    Raises:
        ValueError: when the file is damaged or not as described, naming people by their number from 0.
    """
    what = "a JSON list of people with an image each"
    content = files.read_json(path, what)
    if not isinstance(content, list) or not all(isinstance(one, dict) and one.get("image") for one in content):
        raise ValueError(f"{path} must be {what}, it is something else; get it anew.")
    images = [str(person["image"]) for person in content]
    if not images:
        raise ValueError(f"{path} must have at least one person, it has none; get it anew.")
    count = MPII.num_keypoints
    joints = _numbers(path, content, "joints", (count, 2))
    labelled = _numbers(path, content, "joints_vis", (count,)) > 0
    center, scale = _numbers(path, content, "center", (2,)), _numbers(path, content, "scale", ())
    keypoints = np.where(labelled[..., None], joints - 1, 0).astype(np.float32)
    middle, half = center + (0, 1) * (LOWER * scale)[:, None] - 1, SCALE_PX / 2 * scale[:, None]
    box = np.concatenate([middle - half, middle + half], axis=1)
    box[(center[:, 0] == -1) | (scale <= 0)] = 0  # nobody has said where these are
    return {
        "image": images,
        "keypoints": keypoints,
        "visibility": (2 * labelled).astype(np.int32),
        "box": box.astype(np.float32),
        "area": ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).astype(np.float32),
        "head_size": head_length(keypoints, labelled),
    }


def _numbers(path, content, key, shape):
    """A field of all people, [N, *shape]."""
    fields = [person.get(key) for person in content]
    bad = [place for place, field in enumerate(fields) if not _is_sound(field, shape)]
    if bad:
        raise ValueError(
            f"{path}: each person must have {key} of {' x '.join(map(str, shape)) or 'one'} finite numbers, "
            f"{len(bad)} have not (number {gate.some(bad)}); get it anew."
        )
    return np.array(fields, float)


def _is_sound(field, shape):
    try:
        field = np.array(field, float)
    except (TypeError, ValueError):
        return False
    return field.shape == shape and bool(np.isfinite(field).all())


def head_length(keypoints, labelled):
    """How far the top of the head is from where neck and skull meet, pixels: [N], 0 where one is not labelled."""
    top, neck = MPII.index("head_top"), MPII.index("upper_neck")
    length = np.linalg.norm(keypoints[:, top] - keypoints[:, neck], axis=-1)
    return np.where(labelled[:, top] & labelled[:, neck], length, 0).astype(np.float32)


def read_head_sizes(path, people):
    """Reads the sizes of heads from the file that MPII's score is published with.

    Args:
        path: gt_valid.mat.
        people: what `read` gives of valid.json, whose order the file has.

    Returns:
        float32 array [N]: 0.6 of the diagonal of the head's box, pixels.

    Raises:
        ValueError: when the file is damaged, or is not about these people.
    """
    arrays, count = mat5.read(path), len(people["image"])
    shapes = {"headboxes_src": (2, 2, count), "pos_gt_src": (MPII.num_keypoints, 2, count)}
    found = {name: arrays[name].shape for name in shapes if name in arrays}
    if found != shapes:
        raise ValueError(
            f"{path} must have the arrays {shapes}, for the {count} people of valid.json, got {found}; take both from "
            "one place."
        )
    boxes, joints = arrays["headboxes_src"], arrays["pos_gt_src"]
    labelled = people["visibility"] > 0
    apart = np.abs(np.moveaxis(joints, -1, 0) - 1 - people["keypoints"]).max(axis=-1)  # [N, K]
    if (apart[labelled] > 1).any():
        wrong = np.flatnonzero((apart > 1).any(axis=1, where=labelled)).tolist()
        raise ValueError(
            f"{path} must have the joints of valid.json, {len(wrong)} people have others (number "
            f"{gate.some(wrong)}); take both from one place."
        )
    return (HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)).astype(np.float32)
