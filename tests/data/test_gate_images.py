"""The gate for people in images: one bad sample is refused or warned of by all doors alike, a good one passes."""

import importlib
import json
import pathlib
import re
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerapose import metrics
from kerapose.data import annotated, coco, crops, gate, people
from kerapose.data.gate import images as rules
from kerapose.data.gate import report
from kerapose.skeletons import COCO, Skeleton
from kerapose.training import data as training_data

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "datasets"))  # as build.py finds the builders
coco_keypoints = importlib.import_module("coco_keypoints.coco_keypoints_dataset_builder")

FIVE = Skeleton("five", ("snout", "left_ear", "right_ear", "tail", "back"), ((0, 1), (0, 2), (0, 3)))
MOUSE = Skeleton("mouse", ("snout", "left_ear", "right_ear", "tail"), ((0, 1), (0, 2), (0, 3)))
SIZES = ((90, 120), (120, 90), (100, 100))
BOXES = ((20.0, 10.0, 80.0, 70.0), (15.0, 30.0, 75.0, 110.0), (30.0, 30.0, 90.0, 92.0))
OTHER_BOXES = ((60.0, 30.0, 118.0, 88.0), (40.0, 20.0, 88.0, 60.0), (4.0, 5.0, 50.0, 60.0))
SIZE, CELLS = (64, 48), (64, 64)


class Scene:
    """Three pictures of two mice each, in files, and all that a door is told of them; a test spoils it."""

    def __init__(self, folder):
        self.folder, self.names = folder, [f"{i}.jpg" for i in range(3)]
        self.sizes = np.array(SIZES)
        for i, size in enumerate(SIZES):
            self.write(i, size)
        self.image = np.repeat(np.arange(3), 2)  # [6] of each mouse
        self.boxes = np.array([box for pair in zip(BOXES, OTHER_BOXES, strict=True) for box in pair])
        places = np.array([(0.5, 0.1), (0.3, 0.3), (0.7, 0.3), (0.45, 0.9)])
        self.keypoints = self.boxes[:, None, :2] + places * (self.boxes[:, None, 2:] - self.boxes[:, None, :2])
        self.visibility = np.tile([2, 1, 2, 2], (6, 1)).astype("float64")
        self.areas = np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1) * 0.6
        self.crowds = np.zeros(6, bool)
        self.skeleton = MOUSE

    def write(self, i, size, **options):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), "uint8")
        PIL.Image.fromarray(pixels).save(self.folder / self.names[i], **options)

    def scale(self, what):
        """Coordinates as fractions of their pictures."""
        return what / np.tile(self.sizes[self.image, ::-1], what.shape[-1] // 2).reshape(6, *[1] * (what.ndim - 2), -1)

    def crops(self):
        paths = [self.folder / self.names[i] for i in self.image]
        return crops.from_arrays(
            paths,
            self.boxes,
            self.keypoints,
            self.visibility,
            self.skeleton,
            areas=self.areas,
            is_crowd=self.crowds,
            image_ids=self.image,
            names=[self.names[i] for i in self.image],
            sizes=self.sizes[self.image],
        )

    def people(self):
        fields = {"keypoints": self.keypoints, "box": self.boxes, "visibility": self.visibility}
        fields |= {"area": self.areas, "is_crowd": self.crowds}
        groups = [{key: value[self.image == i] for key, value in fields.items()} for i in range(3)]
        paths = [self.folder / name for name in self.names]
        return people.from_arrays(paths, groups, self.skeleton, names=self.names, sizes=self.sizes)

    def file(self, change=lambda content: None):
        """The same as a COCO file, after a change; boxes reach from edge to edge there."""
        bbox = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)
        bbox[:, 2:] += bbox[:, 2:] > 2  # fractions are not a pixel wider
        triples = np.concatenate([self.keypoints, self.visibility[..., None]], axis=2).reshape(len(bbox), -1)
        content = {
            "images": [
                {"id": i, "file_name": self.names[i], "height": int(h), "width": int(w)}
                for i, (h, w) in enumerate(self.sizes)
            ],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": int(self.image[i]),
                    "category_id": 1,
                    "bbox": bbox[i].tolist(),
                    "keypoints": triples[i].tolist(),
                    "area": float(self.areas[i]),
                    "iscrowd": int(self.crowds[i]),
                }
                for i in range(len(bbox))
            ],
            "categories": [
                {"id": 1, "name": "mouse", "keypoints": list(self.skeleton.keypoints), "skeleton": [[1, 2]]}
            ],
        }
        change(content)
        path = self.folder / "annotations.json"
        path.write_text(json.dumps(content))
        return path


def built(scene, change=lambda content: None):
    """The records that the builder of COCO files makes, without writing them."""
    config = coco_keypoints.own("mice", {"train": str(scene.file(change))}, images=str(scene.folder))
    builder = coco_keypoints.Builder(data_dir=str(scene.folder / "prepared"), config=config)
    return [record for _, record in builder._generate_examples("train", config.annotations["train"], scene.folder)]


def spoilt(change):
    return change or (lambda content: None)


# What a sample comes in by, given a scene and perhaps a change of its COCO file. Those of FILES decode each picture;
# between them, DOORS have each source, each pipeline and each function that looks at samples. REST goes by these.
FILES = {
    "crops.from_arrays, check": lambda scene, _: crops.check(scene.crops(), scene.skeleton),
    "people.from_coco, check": lambda s, change: people.check(*people.from_coco(s.file(spoilt(change)), s.folder)),
    "builder": lambda scene, change: built(scene, spoilt(change)),
}
DOORS = FILES | {
    "people.from_arrays, trainable": lambda scene, _: people.trainable(scene.people(), scene.skeleton),
    "crops.from_coco, trainable": lambda s, change: crops.trainable(*crops.from_coco(s.file(spoilt(change)), s.folder)),
}
REST = {
    "people.from_arrays, check": lambda scene, _: people.check(scene.people(), MOUSE),
    "crops.from_coco, check": lambda s, change: crops.check(*crops.from_coco(s.file(spoilt(change)), s.folder)),
    "crops.trainable": lambda scene, _: crops.trainable(scene.crops(), MOUSE),
    "crops.training": lambda scene, _: crops.training(scene.crops(), MOUSE, 2, SIZE),
    "crops.validation": lambda scene, _: crops.validation(scene.crops(), MOUSE, 2, SIZE),
    "crops.evaluation": lambda scene, _: crops.evaluation(scene.crops(), MOUSE, 2, SIZE),
    "people.training": lambda scene, _: people.training(scene.people(), MOUSE, MOUSE, 2, CELLS),
    "people.validation": lambda scene, _: people.validation(scene.people(), MOUSE, MOUSE, 2, CELLS),
    "people.from_coco, trainable": lambda s, change: people.trainable(
        *people.from_coco(s.file(spoilt(change)), s.folder)
    ),
}
# All doors show the kinds of EVERYWHERE; the others are of the same rules, and shown by arrays and by a file.
FEW = {door: DOORS[door] for door in ("crops.from_arrays, check", "crops.from_coco, trainable")}
EVERYWHERE = {"keypoints 0..1", "boxes 0..1", "a negative area", "infinity", "visibility 3", "a box beside"}
EVERYWHERE |= {"keypoints of another box", "as it is", "a crowd", "NaN without a label", "a keypoint far beside"}
COCO_DOORS = [door for door in DOORS if "coco" in door or door == "builder"]


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


@pytest.fixture
def warned(monkeypatch):
    """What was warned of at the gate and by the reader of COCO files."""
    said = []

    def warn(message, *values):
        if not message.startswith("Using custom data"):  # TFDS's, of every config of one's own
            said.append(message % values)

    monkeypatch.setattr(report.logging, "warning", warn)
    return said


@pytest.fixture
def undecoded(monkeypatch, scene):
    """`check` asks the headers of pictures for sizes where people alone are the matter: decoding takes most time.

    They come in the order of the scene, and where some are left out, these are the last ones.
    """

    def look(dataset, wanted):
        paths = [str(scene.folder / name) for name in scene.names[: wanted.sum()]]
        return np.array([coco.header_size(path) for path in paths]), np.ones(len(paths), int), None

    monkeypatch.setattr(annotated, "_looked_at", look)


def set_to(field, place, value):
    def spoil(scene):
        getattr(scene, field)[place] = value

    return spoil


def scaled(scene, keypoints=True, boxes=False, signed=False):
    if keypoints:
        scene.keypoints = scene.scale(scene.keypoints) * (2 if signed else 1) - signed
    if boxes:
        scene.boxes = scene.scale(scene.boxes)


def shifted(x, y, which=slice(None), boxes=False):
    def spoil(scene):
        scene.keypoints[which] += (x, y)
        if boxes:
            scene.boxes[which] += (x, y, x, y)

    return spoil


def x_y_width_height(scene):
    scene.boxes[:, 2:] -= scene.boxes[:, :2]


def with_outliers(y):
    """Half of the people have five keypoints, of which one is elsewhere."""

    def spoil(scene):
        scaled(scene)
        scene.keypoints = np.concatenate([scene.keypoints, scene.keypoints[:, :1]], axis=1)
        scene.visibility = np.concatenate([scene.visibility, scene.visibility[:, :1]], axis=1)
        scene.keypoints[::2, 4, 1] = y
        scene.skeleton = FIVE

    return spoil


def whole_pictures(scene):
    scaled(scene)
    scene.boxes[:, :2], scene.boxes[:, 2:] = 0, scene.sizes[scene.image, ::-1] - 1


IMPOSSIBLE = {
    "keypoints 0..1": (scaled, "Keypoints are in pixels, got 6 of 6 people"),
    "keypoints -1..1": (lambda scene: scaled(scene, signed=True), "Keypoints are in pixels, got 6 of 6 people"),
    "boxes 0..1": (lambda scene: scaled(scene, False, True), "Boxes are in pixels, got 6 of 6 people"),
    "all 0..1": (lambda scene: scaled(scene, True, True), "oxes are in pixels|A bbox"),
    "areas 0..1": (lambda scene: setattr(scene, "areas", scene.areas / 1e4), "Areas are in pixels.2, got 6 of 6"),
    "an area above the picture": (set_to("areas", 1, 1e6), "Nobody is larger than the picture, got 1 of 6 .*0.jpg"),
    "a negative area": (set_to("areas", 3, -2.0), "Areas .* are not negative, got 1 of 6 people .*1.jpg"),
    "a NaN area": (set_to("areas", 0, np.nan), "Boxes, areas .* finite, got 1 of 6 people .*0.jpg"),
    "NaN where labelled": (set_to("keypoints", (2, 1, 0), np.nan), "keypoints are finite, got 1 of 6 people .*1.jpg"),
    "infinity": (set_to("keypoints", (5, 3), np.inf), "keypoints are finite, got 1 of 6 people .*2.jpg"),
    "a NaN box": (set_to("boxes", (4, 2), np.nan), "Boxes, areas .* finite, got 1 of 6 people .*2.jpg"),
    "visibility 3": (set_to("visibility", (0, 0), 3), "Visibility is 0 .* got 1 of 6 people .*0.jpg"),
    "a score as visibility": (set_to("visibility", (0, 0), 0.7), "Visibility is 0 .* got 1 of 6 people .*0.jpg"),
    "negative visibility": (set_to("visibility", (3, 2), -1), "Visibility is 0 .* got 1 of 6 people .*1.jpg"),
    "a box turned round": (
        set_to("boxes", 1, (80, 80, 20, 30)),
        "Boxes are left, .* got 1 of 6 people .*0.jpg: .80, 8",
    ),
    "somebody far beside": (shifted(-3000, 0, 0), "People are in their pictures, got 1 of 6 people .*0.jpg: keypoint"),
    "all far beside": (shifted(0, 9000, boxes=True), "People are in their pictures, got 6 of 6 people"),
    "keypoints of another box": (shifted(-70, 40), "Keypoints lie in the boxes|in their pictures, got [4-6] of 6"),
    "a box beside": (
        set_to("boxes", 4, (300, 10, 340, 60)),
        "a part of their pictures, got 1 of 6 people .*2.jpg: .300",
    ),
    "a box far beside": (
        set_to("boxes", 2, (5000, 5000, 5010, 5010)),
        "a part of their pictures, got 1 of 6 people .*1.jpg: .5000",
    ),
    "a box to the left": (
        set_to("boxes", 0, (-80, 10, -20, 70)),
        "a part of their pictures, got 1 of 6 people .*0.jpg: .-80",
    ),
    "outliers beside 0..1": (with_outliers(1.7), "Keypoints are in pixels, got 6 of 6 people"),
    "outliers far from 0..1": (with_outliers(77), "Keypoints are in pixels, got 6 of 6 people"),
    "0..1 in whole pictures": (whole_pictures, "Keypoints are in pixels, got 6 of 6 people"),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_is_impossible_is_refused_by_every_door(scene, undecoded, kind):
    spoil, sentence = IMPOSSIBLE[kind]
    spoil(scene)
    for door, enter in (DOORS if kind in EVERYWHERE else FEW).items():
        with pytest.raises(gate.BadDataError, match=sentence) as error:
            enter(scene, None)
        assert error.value.names and "\n" not in str(error.value), door


def test_all_other_doors_refuse_it_alike_and_skip_leaves_it_out(scene, undecoded):
    spoil, sentence = IMPOSSIBLE["infinity"]
    spoil(scene)
    for enter in REST.values():
        with pytest.raises(gate.BadDataError, match=sentence) as error:
            enter(scene, None)
    assert error.value.names == ("2.jpg",)
    for pipeline, dataset in ((crops, scene.crops()), (people, scene.people())):
        assert pipeline.check(pipeline.skip(dataset, error.value.names), MOUSE) == 4


def fractions_near_the_origin(scene):
    """A tiny person in the corner, clicked between pixels."""
    scene.boxes[0], scene.areas[0] = (0, 0, 3, 3), 9
    scene.keypoints[0] = (0.5, 0.7), (1.2, 1.1), (0.8, 0.2), (1.4, 1.3)


def near_the_origin(scene):
    scene.boxes[0], scene.areas[0] = (0, 0, 40, 40), 900
    scene.keypoints[0] = (1, 1), (1, 0), (0, 1), (1, 1)


def single_at_one(scene):
    for name in ("image", "boxes", "keypoints", "visibility", "areas", "crowds"):
        setattr(scene, name, getattr(scene, name)[:2])  # people in the first picture; the other one is a main person
    scene.boxes[0], scene.visibility[0], scene.keypoints[0, 0] = (0, 0, 50, 50), (2, 0, 0, 0), (1, 1)


def cut_off(scene):
    scene.boxes[0], scene.keypoints[0, 3] = (0, 0, 60, 89), (30, 93)
    scene.keypoints[0, 1] = (-2, 40)


def tiny(scene):
    scene.boxes[2] = (50, 50, 54, 53)
    scene.keypoints[2], scene.areas[2] = [(50, 50), (52, 51), (54, 53), (51, 52)], 9


def crowd(scene):
    scene.crowds[5], scene.visibility[5], scene.keypoints[5] = True, 0, 0


SOUND = {
    "as it is": lambda scene: None,
    "near the origin": near_the_origin,
    "fractions near the origin": fractions_near_the_origin,
    "one keypoint at (1, 1)": single_at_one,
    "cut off by the border": cut_off,
    "tiny": tiny,
    "a crowd": crowd,
    "a box without area": set_to("boxes", 3, (40, 20, 40, 60)),
    "NaN without a label": lambda scene: (
        set_to("visibility", (0, 1), 0)(scene),
        set_to("keypoints", (0, 1), np.nan)(scene),
    ),
    "(-1, -1) without a label": lambda scene: (
        set_to("visibility", (slice(None), 2), 0)(scene),
        set_to("keypoints", (slice(None), 2), -1)(scene),
    ),
    "far beside without a label": lambda scene: (
        set_to("visibility", (4, 1), 0)(scene),
        set_to("keypoints", (4, 1), 9999)(scene),
    ),
}


@pytest.mark.parametrize("kind", SOUND)
def test_what_is_sound_passes_every_door_without_a_word(scene, undecoded, warned, kind):
    SOUND[kind](scene)
    for enter in (DOORS if kind in EVERYWHERE else FEW).values():
        enter(scene, None)
    assert warned == []


SUSPICIOUS = {
    "a keypoint far beside": (set_to("keypoints", (2, 0), (400, 20)), "beyond its border .1.jpg"),
    "one of many in 0..1": (
        lambda scene: set_to("keypoints", 3, scene.scale(scene.keypoints)[3])(scene),
        "Keypoints are in pixels, got 1 of 6 people",
    ),
    "outside of the box": (shifted(55, 0, 5), "Keypoints lie in the boxes .* got 1 of 6 people .*2.jpg: keypoint at"),
    "labelled in the corner": (set_to("keypoints", (1, 2), 0), "without a place .* got 1 of 6 people .*0.jpg"),
    "labelled at -1": (set_to("keypoints", (4, 3), -1), "without a place .* got 1 of 6 people .*2.jpg"),
}


@pytest.mark.parametrize("kind", SUSPICIOUS)
def test_what_is_suspicious_is_warned_of_by_every_door(scene, undecoded, warned, kind):
    spoil, sentence = SUSPICIOUS[kind]
    spoil(scene)
    for door, enter in (DOORS if kind in EVERYWHERE else FEW).items():
        warned.clear()
        enter(scene, None)
        assert len(warned) == 1 and re.search(sentence, warned[0]), door


def test_boxes_as_x_y_width_height_are_refused_where_corners_are_meant(scene, undecoded):
    x_y_width_height(scene)
    for door, enter in DOORS.items():
        if door not in COCO_DOORS:
            with pytest.raises(gate.BadDataError, match="with sides that are not negative, got [1-6] of 6"):
                enter(scene, None)


def corners(content):
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]


def without_sizes(content):
    corners(content)
    for image in content["images"]:
        del image["width"], image["height"]


@pytest.mark.parametrize("door", COCO_DOORS)
@pytest.mark.parametrize("change", [corners, without_sizes])
def test_corners_are_refused_where_x_y_width_height_are_meant(scene, door, change):
    with pytest.raises(gate.BadDataError, match="bbox of COCO is x, y, width, height, got [3-6] of 6 people"):
        DOORS[door](scene, change)


def test_real_boxes_tell_corners_from_x_y_width_height(shared_data, warned, tmp_path):
    mini, mice = shared_data("coco_mini"), shared_data("openfield")
    for folder, name in ((mini, "person_keypoints_mini.json"), (mice, "test_5.json")):
        content = json.loads((folder / name).read_text())
        coco.read_people(folder / name, image_dir=folder / "images")
        assert warned == []
        corners(content)
        (tmp_path / "corners.json").write_text(json.dumps(content))
        with pytest.raises(gate.BadDataError, match="corners.json: A bbox of COCO is x, y, width, height"):
            coco.read_people(tmp_path / "corners.json", image_dir=folder / "images")
    found = json.loads((mini / "person_detections_mini.json").read_text())
    for one in found:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    (tmp_path / "found.json").write_text(json.dumps(found))
    with pytest.raises(gate.BadDataError, match="found.json: A bbox of COCO is x, y, width, height, got .* boxes"):
        coco.read_detections(tmp_path / "found.json", mini / "person_keypoints_mini.json")


# ---------------------------------------------------------------------------------------------------- files
def turned(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def missing(scene):
    (scene.folder / "1.jpg").unlink()


def cut_short(scene):
    path = scene.folder / "1.jpg"
    path.write_bytes(path.read_bytes()[:700])


FILE_FAULTS = {
    "turned": (
        lambda scene: scene.write(1, SIZES[1], exif=turned(6)),
        "as they are shown, got 1 of 3 .* orientation 6",
    ),
    "scaled": (lambda scene: scene.write(1, (60, 45)), "as 90 x 120 .width x height., shown as 45 x 60 .width x heig"),
    "cropped": (lambda scene: scene.write(1, (120, 80)), "size that they were annotated in, got 1 of 3 images"),
    "turned in itself": (
        lambda scene: scene.write(1, (90, 120)),
        "size that they were annotated in, got 1 of 3 images",
    ),
    "not there": (missing, "files are where the annotations say, got 1 of 3 images not there"),
    "cut short": (cut_short, "whole JPEG or PNG files, got 1 of 3 images that cannot be decoded .1.jpg"),
}


@pytest.mark.parametrize("kind", FILE_FAULTS)
def test_files_that_cannot_be_used_are_refused_by_every_door_that_reads_them(scene, kind):
    spoil, sentence = FILE_FAULTS[kind]
    spoil(scene)
    for door, enter in FILES.items():
        if door in FEW or kind in ("turned", "not there"):  # the other kinds are the same rules'
            with pytest.raises(gate.BadDataError, match=sentence) as error:
                enter(scene, None)
            assert error.value.names == ("1.jpg",)
    if kind == "not there":
        assert crops.check(crops.skip(scene.crops(), ["1.jpg"]), MOUSE) == 4


def test_scripts_of_training_skip_a_picture_that_cannot_be_read(scene, monkeypatch):
    cut_short(scene)
    monkeypatch.setattr(crops, "from_tfds", lambda *_: crops.from_coco(scene.file(), scene.folder))
    config = {"dataset": "mice", "data_dir": None, "check": True, "skip": []}
    config |= {"train_split": "train", "validation_split": "", "test_split": "test"}
    with pytest.raises(gate.BadDataError, match="whole JPEG or PNG files, got 1 of 3 images") as error:
        training_data.load_images(config, crops)
    splits, _ = training_data.load_images(config | {"skip": list(error.value.names)}, crops)
    assert int(splits["train"].cardinality()) == int(splits["test"].cardinality()) == 4
    with pytest.raises(ValueError, match="skip names samples of mice, .9.jpg. is in none of its splits; correct"):
        training_data.load_images(config | {"skip": ["9.jpg"], "check": False}, crops)


def test_without_check_no_batch_has_a_picture_of_another_size(scene):
    """In both ways that lead from a file to pixels: whole pictures, and what all other pipelines cut of them."""
    FILE_FAULTS["turned"][0](scene)
    for dataset in (crops.evaluation(scene.crops(), MOUSE, 6, SIZE), people.evaluation(scene.people())):
        with pytest.raises(tf.errors.InvalidArgumentError, match="height and width that it was annotated in.*1.jpg"):
            for _ in dataset:
                pass


def test_turns_that_a_size_does_not_show_are_counted(scene, warned):
    for i, orientation in enumerate((2, 3, 4)):
        scene.write(i, SIZES[i], exif=turned(orientation))
    for enter in FILES.values():
        warned.clear()
        enter(scene, None)
        assert len(warned) == 1 and "as they are shown, got 3 of 3 images turned or mirrored" in warned[0]


def far_exchanged(scene):
    """So that people would be far beside pictures of the size that is said."""
    scene.boxes[1::2] = scene.boxes[::2]
    scene.sizes = scene.sizes[:, ::-1]


def test_sizes_come_before_people_and_exchanged_ones_are_called_so(scene):
    far_exchanged(scene)
    scene.sizes[2] = scene.sizes[2, ::-1]  # square
    for enter in FILES.values():
        with pytest.raises(gate.BadDataError, match="got 2 of 3 images annotated with width and height exchanged") as e:
            enter(scene, None)
        assert e.value.names == ("0.jpg", "1.jpg") and "in their pictures" not in str(e.value)


@pytest.mark.parametrize(
    ("sizes", "found", "count"),
    [
        ([(90, 120)], [(120, 90)], 1),
        ([(90, 120), (0, 0), (60, 50)], [(120, 90), (30, 40), (50, 60)], 2),
        ([(90, 120), (70, 70)], [(120, 90), (70, 70)], 1),
        ([(90, 120), (60, 50)], [(120, 90), (60, 50)], 0),
        ([(90, 120), (60, 50)], [(120, 90), (30, 25)], 0),
    ],
)
def test_sizes_are_exchanged_where_all_are(sizes, found, count):
    said = gate.Report("images")
    rules.note_images(said, [f"{i}.jpg" for i in range(len(sizes))], sizes, found)
    with pytest.raises(gate.BadDataError) as error:
        said.close()
    assert ("width and height exchanged" in str(error.value)) == bool(count)
    assert count == 0 or len(error.value.names) == count


CLOSE_UPS = [[200, 150, 560, 400], [150, 120, 500, 450], [220, 140, 420, 420], [180, 160, 550, 380]]


def bboxes_noted(bbox, keypoints, sizes):
    """What the gate says of the boxes of a file."""
    said, names = gate.Report("people"), [f"{i}.jpg" for i in range(len(bbox))]
    rules.note_bboxes(said, names, np.float64(bbox), np.float64(sizes), keypoints, np.full(keypoints.shape[:2], 2))
    said.close()


@pytest.mark.parametrize("joints", [3, 5, 17])
@pytest.mark.parametrize("seed", [0, 1])
def test_keypoints_speak_against_corners(warned, joints, seed):
    """Close-ups whose boxes are padded and reach beyond the picture; the very numbers are corners of other people."""
    random = np.random.default_rng(seed)
    keypoints = random.uniform((210, 160), (630, 470), (4, joints, 2))
    keypoints[:, 0] = 630, 470
    bboxes_noted(CLOSE_UPS, keypoints, [(480, 640)] * 4)
    assert warned == []
    low, high = np.float64(CLOSE_UPS)[:, None, :2], np.float64(CLOSE_UPS)[:, None, 2:]
    inside = low + random.uniform(0, 1, (4, joints, 2)) * (high - low)
    with pytest.raises(gate.BadDataError, match="A bbox of COCO is x, y, width, height, got [34] of 4 people"):
        bboxes_noted(CLOSE_UPS, inside, [(480, 640)] * 4)


def test_percentages_are_suspicious(warned):
    random, sizes = np.random.default_rng(0), [(480, 640), (425, 640), (640, 480), (300, 400)]
    bbox = [[10, 20, 60, 79], [0, 0, 99.5, 98], [30, 5, 40, 90], [50, 50, 45, 50]]
    low, side = np.float64(bbox)[:, None, :2], np.float64(bbox)[:, None, 2:]
    keypoints = low + random.uniform(0, 1, (4, 6, 2)) * side
    keypoints[1, 0] = 97, 96
    bboxes_noted(bbox, keypoints, sizes)
    assert len(warned) == 1 and "are percentages" in warned[0]
    warned.clear()
    for others in ([(90, 120)] * 4, [(480, 640)] * 4):  # small pictures; such of one size
        bboxes_noted(bbox, keypoints, others)
    bboxes_noted(bbox, keypoints * 1.2, sizes)
    bboxes_noted(bbox, keypoints * 0.5, sizes)
    assert warned == []


def test_boxes_in_fractions_among_others_are_told_of_once(scene, undecoded, warned):
    def change(content):
        content["annotations"][2]["bbox"] = [0.2, 0.3, 0.4, 0.5]

    for door in ("people.from_coco, check", "crops.from_coco, trainable"):
        warned.clear()
        DOORS[door](scene, change)
        assert len(warned) == 1 and "Boxes are in pixels, got 1 of 6 people" in warned[0]
        assert "[0.2, 0.3, 0.4, 0.5]" in warned[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"visibility": [["yes"] * 4]}, "visibility must be numbers, got 'yes'; convert them"),
        ({"areas": ["large"]}, "area must be numbers, got 'large'"),
        ({"image_ids": ["img_7"]}, "image_id must be numbers, got 'img_7'"),
        ({"image_ids": [1.5]}, "image_id must be whole numbers, got 1.5; number them"),
        ({"sizes": [(np.nan, 64)]}, "sizes must be whole numbers of pixels, .height, width., got nan; round them"),
        ({"sizes": [(48.5, 64)]}, "sizes must be whole numbers of pixels, .height, width., got 48.5; round them"),
        ({"is_crowd": ["no"]}, "is_crowd must be numbers, got 'no'"),
        ({"is_crowd": [0.3]}, "is_crowd must be True or False, got 0.3"),
        ({"boxes": [[1, 2, 3, 4], [1, 2]]}, "boxes must be numbers in rows of one length"),
        ({"keypoints": {"snout": [1, 2]}}, "keypoints must be numbers, got a dict; give a list"),
    ],
)
def test_arrays_of_something_else_get_one_sentence(changes, sentence):
    given = {"boxes": [[1, 2, 30, 40]], "keypoints": [[[5.0, 6], [7, 8], [9, 9], [2, 2]]], "visibility": None} | changes
    with pytest.raises(ValueError, match=sentence) as error:
        crops.from_arrays([np.zeros((48, 64, 3), "uint8")], skeleton=MOUSE, **given)
    assert "\n" not in str(error.value)
    if "keypoints" in changes or "boxes" in changes or "visibility" in changes:
        names = {"boxes": "box", "keypoints": "keypoints", "visibility": "visibility"}
        group = {names[key]: value for key, value in given.items() if key in names and value is not None}
        with pytest.raises(ValueError, match="Image 0: (box|keypoints|visibility) must be numbers"):
            people.from_arrays([np.zeros((48, 64, 3), "uint8")], [group], MOUSE)


def test_large_ids_stay_as_they_are():
    images, given = [np.zeros((48, 64, 3), "uint8")], ([[1, 2, 30, 40]], [[[5.0, 6], [7, 8], [9, 9], [2, 2]]])
    dataset = crops.from_arrays(images, *given, None, MOUSE, image_ids=[2**60 + 1])
    assert next(iter(dataset))["image_id"].numpy() == 2**60 + 1


def test_a_skeleton_without_limbs_is_told_of(scene, undecoded, warned):
    bare = Skeleton("bare", MOUSE.keypoints, ())
    assert people.check(scene.people(), bare) == 6  # a target may have limbs
    assert len(warned) == 1 and "needs limbs between keypoints, bare has none; give edges" in warned[0]
    for make in (people.training, people.validation):
        with pytest.raises(ValueError, match="needs limbs between keypoints, bare has none; give edges"):
            make(scene.people(), bare, None, 2, CELLS)


# ---------------------------------------------------------------------------------------------------- COCO files
def nulls(content):
    for one in content["annotations"]:
        one["keypoints"][3:6] = [None, None, 0]
        one["keypoints"][6:9] = [float("nan"), float("nan"), 0]
        one["keypoints"][9:12] = [None, None, None]


def triples(content):
    for one in content["annotations"]:
        one["keypoints"] = [one["keypoints"][i : i + 3] for i in range(0, 12, 3)]


def text_ids(content):
    for entry in (*content["images"], *content["annotations"], *content["categories"]):
        entry |= {key: str(entry[key]) for key in ("id", "image_id", "category_id") if key in entry}


def unsaid(content):
    for one in content["annotations"]:
        one |= {"area": None, "iscrowd": None}
        del one["category_id"]


def backslashes(content):
    for image in content["images"]:
        image["file_name"] = ".\\" + image["file_name"]


READ = {"nulls": nulls, "triples": triples, "ids as text": text_ids, "unsaid": unsaid, "backslashes": backslashes}


@pytest.mark.parametrize("form", READ)
def test_other_ways_of_writing_are_read(scene, form):
    DOORS["crops.from_coco, trainable"](scene, READ[form])
    arrays = coco.read_people(scene.file(READ[form]))[0]
    assert arrays["image_id"].tolist() == [0, 0, 1, 1, 2, 2]
    if form == "nulls":
        assert not arrays["keypoints"][:, 1:].any() and not arrays["visibility"][:, 1:].any()
    else:
        np.testing.assert_array_equal(arrays["keypoints"], scene.keypoints)


def each(part, **changes):
    def change(content):
        for entry in content[part]:
            for key, value in changes.items():
                entry.pop(key, None)
                entry |= {} if value is ... else {key: value}

    return change


MALFORMED = {
    "no file_name": (
        each("images", file_name=...),
        "must have a file_name, file_name is lacking in 3 of 3 .id 0, 1, 2",
    ),
    "a number as file_name": (each("images", file_name=7), "must have a file_name, got 7 in 3 of 3"),
    "no id of images": (each("images", id=...), "images must have an id, a whole number, id is lacking in 3 of 3"),
    "one id of images": (each("images", id=0), "Every image has an id of its own, got 0 again"),
    "a text as width": (each("images", width="wide"), "pixels as width, got 'wide' in 3 of 3 .id 0, 1, 2"),
    "a negative height": (each("images", height=-4), "pixels as height, got -4 in 3 of 3"),
    "half a pixel": (each("images", height=4.5), "pixels as height, got 4.5 in 3 of 3"),
    "named ids": (each("annotations", id="mouse"), "an id, a whole number, got 'mouse' in 6 of 6 .*; number them"),
    "a null id": (each("annotations", id=None), "an id, a whole number, got None in 6 of 6"),
    "named images": (each("annotations", image_id="img_7"), "an image_id, a whole number, got 'img_7' in 6 of 6"),
    "images not listed": (
        each("annotations", image_id=77),
        "has people in 1 images that are not listed .77.; list them",
    ),
    "a null bbox": (each("annotations", bbox=None), "a bbox of 4 numbers, x, y, width, height, got None in 6 of 6"),
    "numbers as text": (each("annotations", bbox=["1", 2, 3, 4]), "a bbox of 4 numbers, .* got .'1', 2, 3, 4. in 6"),
    "too few keypoints": (
        each("annotations", keypoints=[1, 2, 2]),
        "keypoints of 3 x 4 numbers, got .1, 2, 2. in 6 of 6",
    ),
    "pairs": (each("annotations", keypoints=[1] * 8), "keypoints of 3 x 4 numbers, .*; give x, y, visibility for each"),
    "named keypoints": (
        each("annotations", keypoints={"snout": [1, 2, 2]}),
        "keypoints of 3 x 4 numbers, got {'snout'",
    ),
    "huge ids": (each("annotations", id=2**70), "an id, a whole number, got 1180591620717411303424 in 6 of 6"),
    "huge ids of images": (each("annotations", image_id=-(2**63) - 1), "an image_id, a whole number, got -92"),
    "a huge width": (each("images", width=2**40), "pixels as width, got 1099511627776 in 3 of 3"),
    "names twice": (each("categories", keypoints=["nose"] * 4), "mouse: keypoint names must be unique, got nose"),
    "a limb to itself": (each("categories", skeleton=[[2, 2]]), "must join two different keypoints"),
    "foreign category": (
        each("annotations", category_id=0),
        "one of the categories, 1, got 0 in 6 annotations .id 1, 2",
    ),
    "no id of the category": (each("categories", id=...), "categories must have an id, a whole number, id is lacking"),
    "limbs from 0": (each("categories", skeleton=[[0, 1]]), r"counted from 1 to 4, got \[0, 1\]; add 1 to all"),
    "limbs beyond": (each("categories", skeleton=[[1, 9]]), r"counted from 1 to 4, got \[1, 9\]; correct it"),
    "a limb of one": (each("categories", skeleton=[[1]]), r"must be pairs of keypoints, got \[1\]; correct it"),
    "null as images": (
        lambda content: content.update(images=None),
        "images must be a list, got None; write .. if there",
    ),
    "a dict of images": (lambda c: c.update(images={"a": 1}), "images must be a list, got {'a': 1}"),
    "numbers as images": (lambda c: c.update(images=[1, 2]), "images must be a list of objects, got 1 at place 0"),
    "no annotations": (lambda content: content.pop("annotations"), "lacks annotations; give the file of annotated"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_gets_one_sentence_from_every_door(scene, kind):
    change, sentence = MALFORMED[kind]
    for door in COCO_DOORS:
        with pytest.raises(ValueError, match=sentence) as error:
            DOORS[door](scene, change)
        assert "annotations.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_read(scene, encoding):
    path = scene.file()
    path.write_bytes(path.read_text().encode(encoding))
    for pipeline in (crops, people):
        assert len(pipeline.annotations(*pipeline.from_coco(path, scene.folder))["box"]) == 6


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"scorer,x,y\n1,2,3\n", "it is no JSON from line 1, column 1 on: scorer,x,y"),
        (b'{"images": [', "it is cut short"),
        (b"", "it is empty"),
        (b"[1, 2]", "lacks annotations, categories, images"),
        (b'{"a": "\xe9"}', "in UTF-8, got other bytes at place 7"),
    ],
)
def test_other_files_get_one_sentence_from_every_reader(scene, content, sentence):
    path = scene.file()
    path.write_bytes(content)
    readers = (lambda: crops.from_coco(path, scene.folder), lambda: people.from_coco(path, scene.folder))
    readers += (lambda: coco_keypoints.own("mice", {"train": str(path)}),)
    for reader in readers:
        with pytest.raises(ValueError, match=sentence) as error:
            reader()
        assert "annotations.json" in str(error.value) and "\n" not in str(error.value)


def test_people_without_keypoints_are_not_labelled_and_told_of(scene, warned):
    def change(content):
        content["annotations"][0]["keypoints"] = None
        del content["annotations"][1]["keypoints"]
        content["annotations"][2]["keypoints"] = []

    arrays, _ = coco.read_people(scene.file(change))
    assert arrays["visibility"].any(axis=1).tolist() == [False] * 3 + [True] * 3
    assert len(warned) == 1 and "3 of 6 people have no keypoints: none is labelled" in warned[0]


def test_images_that_are_listed_twice_are_told_of(scene, warned):
    path = scene.file(lambda content: content["images"].append(content["images"][0] | {"id": 9}))
    assert people.check(*people.from_coco(path, scene.folder)) == 6
    assert len(warned) == 1 and "lists 1 images twice (0.jpg)" in warned[0]


# ---------------------------------------------------------------------------------------------------- one reading
def as_rows(dataset):
    fields = ("keypoints", "visibility", "box", "area", "is_crowd")
    rows = {}
    for element in dataset.as_numpy_iterator():
        ids = np.atleast_1d(element["person_id"])
        for place, number in enumerate(ids.tolist()):
            alone = np.ndim(element["person_id"]) == 0
            rows[number] = [element[key] if alone else element[key][place] for key in fields]
    return rows


def test_one_file_is_read_alike_by_all_doors(shared_data, tmp_path):
    folder = shared_data("coco_mini")
    path = folder / "person_keypoints_mini.json"
    content = json.loads(path.read_text())
    for image in content["images"][:2]:
        del image["height"], image["width"]  # which are asked of the files
    (tmp_path / "some.json").write_text(json.dumps(content))
    file, name = tmp_path / "some.json", "coco_keypoints/mini"
    config = coco_keypoints.own("mini", {"train": str(file)}, images=str(folder / "images"))
    coco_keypoints.Builder(data_dir=str(tmp_path), config=config).download_and_prepare()
    doors = [
        crops.from_coco(path, folder / "images")[0],
        crops.from_coco(file, folder / "images")[0],
        people.from_coco(file, folder / "images")[0],
        crops.from_tfds(name, "train", str(tmp_path))[0],
        people.from_tfds(name, "train", str(tmp_path))[0],
    ]
    first, *others = (as_rows(dataset) for dataset in doors)
    assert len(first) == 14
    for other in others:
        assert other.keys() == first.keys()
        for number, row in first.items():
            for value, wanted in zip(other[number], row, strict=True):
                np.testing.assert_array_equal(value, wanted)
    expected = {one["id"]: one for one in content["annotations"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in json.loads(path.read_text())["images"]}
    for number, (keypoints, visibility, box, *_) in first.items():
        x, y, w, h = expected[number]["bbox"]
        width, height = sizes[expected[number]["image_id"]]
        left, top = max(0, x), max(0, y)
        wanted = left, top, min(width - 1, left + max(0, w - 1)), min(height - 1, top + max(0, h - 1))
        np.testing.assert_allclose(box, wanted, rtol=1e-6)
        assert not keypoints[visibility == 0].any()


def test_figures_of_a_file_are_those_of_its_people(shared_data):
    folder = shared_data("coco_mini")
    path = folder / "person_keypoints_mini.json"
    truth = crops.annotations(crops.from_coco(path, folder / "images")[0], COCO)
    noise = np.random.default_rng(0).normal(0, 4, truth["keypoints"].shape)
    found = {"image_id": truth["image_id"], "keypoints": truth["keypoints"] + noise, "score": np.linspace(1, 0.5, 14)}
    by_file = metrics.coco_ap(path, found, COCO.sigmas)
    assert by_file == pytest.approx(metrics.coco_ap(truth, found, COCO.sigmas)) and 0.2 < by_file["AP"] < 1


def test_figures_read_files_as_the_pipelines_do(scene, tmp_path):
    truth, _ = coco.read_people(scene.file())
    found = {"image_id": truth["image_id"], "keypoints": truth["keypoints"], "score": np.ones(6)}
    for form in (nulls, triples, text_ids, unsaid):
        assert metrics.coco_ap(scene.file(form), found, [0.1] * 4)["AP"] == pytest.approx(1.0)
    for kind in ("named images", "a null bbox", "numbers as text", "too few keypoints"):
        change, sentence = MALFORMED[kind]
        with pytest.raises(ValueError, match=sentence):
            metrics.coco_ap(scene.file(change), found, [0.1] * 4)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="results.json must be a list of COCO's results, it is something else; give"):
        metrics.coco_ap(scene.file(), tmp_path / "results.json", [0.1] * 4)


# ---------------------------------------------------------------------------------------------------- species
def species(content):
    one = content["categories"][0]
    content["categories"] = [one | {"id": i, "name": name} for i, name in enumerate(("dog", "cat", "ant"))]
    content["categories"][2]["keypoints"] = ["feeler", "left_ear", "right_ear", "sting"]
    for place, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = place % 3


def test_species_with_the_same_keypoints_are_read_together(scene, monkeypatch):
    said = []
    monkeypatch.setattr(coco.logging, "info", lambda message, *values: said.append(message % values))
    path = scene.file(species)
    with pytest.raises(ValueError, match="category must be one with keypoints, .* has dog, cat, ant, got None"):
        coco.read_people(path)
    both, skeleton = coco.read_people(path, category=["dog", "cat"])
    assert both["person_id"].tolist() == [1, 2, 4, 5] and skeleton.keypoints == MOUSE.keypoints
    assert "people of dog, cat are read together" in " ".join(said) and "2 people of other categories" in " ".join(said)
    assert coco.read_people(path, category="ant")[0]["person_id"].tolist() == [3, 6]
    with pytest.raises(ValueError, match="got dog, cow; give another"):
        coco.read_people(path, category=["dog", "cow"])


def test_what_is_not_labelled_lies_at_the_origin_whatever_it_was(scene):
    """So half bodies, boxes and heatmaps, which go by elements, are made of labelled keypoints alone."""
    scene.visibility[:, 1] = 0
    for place in (0.0, 50.0, -1.0, np.nan):
        scene.keypoints[:, 1] = place
        for dataset in (scene.crops(), scene.people(), crops.from_coco(scene.file(), scene.folder)[0]):
            for element in dataset.as_numpy_iterator():
                assert not element["keypoints"][..., 1, :].any() and not element["visibility"][..., 1].any()
