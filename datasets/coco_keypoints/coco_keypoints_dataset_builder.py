"""Images and people of COCO keypoint files: COCO itself, or files of one's own; README.md tells more."""

import dataclasses
import re

import image_records
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kerapose import skeletons
from kerapose.data import coco

ADDRESS = "http://images.cocodataset.org"


@dataclasses.dataclass(eq=False)
class CocoConfig(tfds.core.BuilderConfig):
    """Annotation files and the images they are about.

    Args:
        annotations: split to annotation file; empty for COCO, whose files are downloaded.
        images: split to the folder of its images.
        skeleton: the `Skeleton` of all splits.
        category: name of the category whose people are taken, or a list of such names; None takes all with the same
            keypoints.
        skip_corrupt: whether images that cannot be decoded are left out, in place of being refused.
        skip: names of images that are left out.
        only_people: the splits whose images without anybody are left out.
    """

    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    images: dict[str, str] = dataclasses.field(default_factory=dict)
    skeleton: skeletons.Skeleton = skeletons.COCO
    category: str | list[str] | None = None
    skip_corrupt: bool = False
    skip: tuple[str, ...] = ()
    only_people: tuple[str, ...] = ()


def own(name, annotations, images=None, category=None, flip_pairs=None, sigmas=None, skip_corrupt=False, skip=()):
    """Makes the config of files of one's own.

    Args:
        name: what the data set is called after the slash: "custom", or a name that tells several apart.
        annotations: dict of split to annotation file.
        images: folder of the images, or a dict of split to folder; None for the annotation file's own.
        category: name of the category whose people are taken, or a list of names of several with the same keypoints;
            may be left out when all have the same.
        flip_pairs: pairs of names that change places in a mirror, left first; None finds them by the names.
        sigmas: one object keypoint similarity constant a keypoint; None for COCO's, where the keypoints are COCO's.
        skip_corrupt: whether images that cannot be decoded are left out, in place of being refused.
        skip: names of images that are left out, with their people.

    Returns:
        A `CocoConfig`.

    Raises:
        FileNotFoundError: when a file or folder is not there.
        ValueError: when a file is bad, a split's name cannot be used or the splits have different keypoints.

    Example:
        >>> config = own("mice", {"train": "mice/train.json", "test": "mice/test.json"}, images="mice/images")
        >>> Builder(config=config).download_and_prepare()
    """
    if name in Builder.builder_configs:
        raise ValueError(f"Files of your own must not be called {name}, which is COCO itself; use custom.")
    folders = dict.fromkeys(annotations, images) if images is None or isinstance(images, str) else dict(images)
    if set(folders) != set(annotations):
        raise ValueError(f"images must be one folder or one for each of {list(annotations)}, got {list(folders)}.")
    found, names = {}, set()
    for split, file in annotations.items():
        if not re.fullmatch(r"[\w-]+", split) or split.lower() == "all":
            raise ValueError(f"A split's name must be letters, digits, _ or - and not 'all', got {split!r}; rename it.")
        path = epath.Path(file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"There is no annotation file {path} for the split {split}; correct --annotations.")
        folder = epath.Path(folders[split]).expanduser() if folders[split] else path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder} with the images of the split {split}; give --images.")
        annotations, folders = annotations | {split: str(path)}, folders | {split: str(folder)}
        listed, _, skeleton = coco.read_images(path, category=category)
        found[split] = _known_better(skeleton, flip_pairs, sigmas)
        names.update(listed["name"])
    strangers = sorted(set(skip) - names)
    if strangers:
        raise ValueError(f"--skip must name images of the annotation files, {strangers[0]} is none; correct the name.")
    first, *others = found
    different = [split for split in others if found[split] != found[first]]
    if different:
        raise ValueError(
            f"The splits must have the same keypoints, those of {different[0]} are {found[different[0]].keypoints} and "
            f"those of {first} {found[first].keypoints}; make a data set of each."
        )
    return CocoConfig(
        name=name,
        description=f"{len(annotations)} splits, {found[first].num_keypoints} keypoints",
        annotations=annotations,
        images=folders,
        skeleton=found[first],
        category=category,
        skip_corrupt=skip_corrupt,
        skip=tuple(skip),
    )


def _known_better(skeleton, flip_pairs, sigmas):
    """The skeleton of an annotation file, with what the user knows better."""
    if flip_pairs is None and sigmas is None:
        return skeleton
    edges = [(start + 1, end + 1) for start, end in skeleton.edges]
    content = {"name": skeleton.name, "keypoints": skeleton.keypoints, "skeleton": edges}
    return skeletons.from_coco_category(content, flip_pairs=flip_pairs, sigmas=sigmas or skeleton.sigmas)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the images and people of one config."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        CocoConfig(name="2017", description="COCO 2017, people with 17 keypoints.", only_people=("train",)),
    ]

    def _info(self):
        skeleton = self.builder_config.skeleton
        return self.dataset_info_from_configs(
            features=image_records.features(skeleton),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(skeleton=skeleton.to_dict(), counts={}),
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        files, folders = config.annotations, config.images
        if not files:
            files, folders = self._download(dl_manager)
        return {split: self._generate_examples(split, files[split], epath.Path(folders[split])) for split in files}

    def _download(self, dl_manager):
        """COCO's own annotation files and image folders, by split."""
        years = {"train": "train2017", "validation": "val2017"}
        addresses = {split: f"{ADDRESS}/zips/{year}.zip" for split, year in years.items()}
        addresses["annotations"] = f"{ADDRESS}/annotations/annotations_trainval2017.zip"
        paths = dl_manager.download_and_extract(addresses)
        annotations = epath.Path(paths["annotations"]) / "annotations"
        files = {split: annotations / f"person_keypoints_{year}.json" for split, year in years.items()}
        return files, {split: epath.Path(paths[split]) / year for split, year in years.items()}

    def _generate_examples(self, split, file, folder):
        config = self.builder_config
        listed, fields, _ = coco.read_images(file, config.skeleton, config.category, folder)
        remedy = ", or leave their images out with --skip" if config.annotations else ""
        columns = (listed[key].tolist() for key in ("image_id", "name", "size", "count"))
        files = image_records.ImageFiles(split, folder, config.skip_corrupt, remedy)
        kept, stop = [], 0
        for image_id, name, size, count in zip(*columns, strict=True):
            start, stop = stop, stop + count  # people come image after image
            if (split in config.only_people and not count) or name in config.skip:
                continue
            read = files.read(name, size)
            if read is None:
                continue
            people = [person(fields, place) for place in range(start, stop)]
            kept += people
            yield image_id, {"image": read[0], "image_id": image_id, "name": name, "people": people}
        used = ~np.isin(fields["name"], config.skip)
        files.close({key: value[used] for key, value in fields.items()}, f"{file}, {split}")
        told = {"images": files.num_good, "corrupt_images_left_out": files.corrupt}
        told["images_skipped"] = [name for name in listed["name"].tolist() if name in config.skip]
        self.info.metadata["counts"][split] = told | image_records.counts(
            {key: [one[key] for one in kept] for key in ("box", "is_crowd", "visibility")}
        )


def person(fields, place):
    """One person of a record."""
    return {
        "keypoints": fields["keypoints"][place].astype(np.float32),
        "visibility": fields["visibility"][place].astype(np.int32),
        "box": fields["box"][place].astype(np.float32),
        "area": float(fields["area"][place]),
        "head_size": 0.0,
        "is_crowd": bool(fields["is_crowd"][place]),
        "id": int(fields["person_id"][place]),
    }
