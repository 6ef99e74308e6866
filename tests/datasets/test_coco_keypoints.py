"""The coco_keypoints builder: COCO on dummy data, and files of one's own, good and bad."""

import importlib
import json
import pathlib
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import coco
from kerapose.skeletons import COCO, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
coco_keypoints = importlib.import_module("coco_keypoints.coco_keypoints_dataset_builder")

DUMMY = ROOT / "datasets" / "coco_keypoints" / "dummy_data"
MOUSE = {"id": 3, "name": "mouse", "keypoints": ["snout", "leftear", "rightear"], "skeleton": [[1, 2]]}


class CocoTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = coco_keypoints.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["2017"]
    SPLITS = {"train": 2, "validation": 2}  # an image without people is left out of the training split
    DL_EXTRACT_RESULT = {"train": "train2017", "validation": "val2017", "annotations": "annotations"}


def records_of(builder, split):
    dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    return {int(record["image_id"]): record for record in tfds.as_numpy(dataset)}


def build(data_dir, config):
    builder = coco_keypoints.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare()
    return builder


class Files:
    """An annotation file of mice, and its images, that a test can spoil."""

    def __init__(self, folder):
        self.folder = folder
        self.content = {
            "images": [
                {"id": 7, "file_name": "a.jpg", "width": 40, "height": 30},
                {"id": 5, "file_name": "sub/b.png", "width": 24, "height": 32},
                {"id": 9, "file_name": "empty.jpg"},
            ],
            "annotations": [self.mouse(1, 7, [2, 3, 12, 8]), self.mouse(2, 5), self.mouse(4, 7, iscrowd=1)],
            "categories": [MOUSE],
        }
        (folder / "images" / "sub").mkdir(parents=True)
        for number, (name, size) in enumerate({"a.jpg": (30, 40), "sub/b.png": (32, 24), "empty.jpg": (9, 9)}.items()):
            picture = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
            cv2.imwrite(str(folder / "images" / name), picture)

    @staticmethod
    def mouse(number, image, bbox=(1, 2, 10, 12), **changes):
        keypoints = [5.5, 6, 2, 8, 9.25, 1, 3, 4, 0]
        mouse = {"id": number, "image_id": image, "category_id": 3, "keypoints": keypoints, "bbox": list(bbox)}
        return mouse | {"area": 70.5, "iscrowd": 0, "num_keypoints": 2} | changes

    def config(self, name="custom", splits=("train",), **options):
        for split in splits:
            (self.folder / f"{split}.json").write_text(json.dumps(self.content))
        annotations = {split: str(self.folder / f"{split}.json") for split in splits}
        return coco_keypoints.own(name, annotations, **{"images": str(self.folder / "images")} | options)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


# ---------------------------------------------------------------------------------------------------- COCO itself
def test_coco_is_what_its_files_say(tmp_path, monkeypatch):
    parts = {"train": DUMMY / "train2017", "validation": DUMMY / "val2017", "annotations": DUMMY / "annotations"}
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, addresses: parts)
    builder = build(tmp_path, "2017")
    assert Skeleton(**builder.info.metadata["skeleton"]) == COCO
    counts = builder.info.metadata["counts"]["train"]
    assert counts["images"] == 2 and counts["people"] == 3 and counts["crowds"] == 1
    assert counts["people_without_keypoints"] == 1
    content = json.loads((DUMMY / "annotations" / "annotations" / "person_keypoints_val2017.json").read_text())
    records = records_of(builder, "validation")
    assert set(records) == {image["id"] for image in content["images"]} == {139, 285}
    path = DUMMY / "val2017" / "val2017" / "000000000139.jpg"
    assert records[139]["image"] == path.read_bytes() and records[139]["name"] == b"000000000139.jpg"
    (annotation,) = content["annotations"]
    people = records[139]["people"]
    expected = np.array(annotation["keypoints"]).reshape(17, 3)
    np.testing.assert_array_equal(people["keypoints"], expected[None, :, :2].astype(np.float32))
    np.testing.assert_array_equal(people["visibility"], expected[None, :, 2])
    assert people["id"].tolist() == [annotation["id"]]
    np.testing.assert_allclose(people["area"], annotation["area"], rtol=1e-6)
    assert len(records[285]["people"]["id"]) == 0


# ---------------------------------------------------------------------------------------------------- one's own files
def test_own_files(files, tmp_path):
    builder = build(tmp_path, files.config("mice"))
    assert builder.info.full_name == "coco_keypoints/mice/1.0.0"
    mouse = Skeleton(**builder.info.metadata["skeleton"])
    assert mouse == Skeleton("mouse", ("snout", "leftear", "rightear"), ((0, 1), (0, 2)))
    assert mouse.flip_pairs == ((1, 2),) and mouse.sigmas is None
    records = records_of(builder, "train")
    assert {image_id: record["name"] for image_id, record in records.items()} == {
        7: b"a.jpg",
        5: b"sub/b.png",
        9: b"empty.jpg",
    }
    assert records[5]["image"] == (tmp_path / "images" / "sub" / "b.png").read_bytes()
    people = records[7]["people"]
    assert people["id"].tolist() == [1, 4] and people["is_crowd"].tolist() == [False, True]
    np.testing.assert_array_equal(people["keypoints"][0], [[5.5, 6], [8, 9.25], [0, 0]])
    assert people["visibility"][0].tolist() == [2, 1, 0]
    np.testing.assert_array_equal(people["box"][0], [2, 3, 13, 10])  # from the first pixel to the last
    assert people["area"].tolist() == [70.5, 70.5] and people["head_size"].tolist() == [0, 0]
    assert builder.info.metadata["counts"]["train"] == {
        "images": 3,
        "corrupt_images_left_out": [],
        "images_skipped": [],
        "people": 3,
        "crowds": 1,
        "people_without_keypoints": 0,
        "boxes_without_area": 0,
    }


def published_box(box, width, height):
    """The published rule, written out for one box of left, top, width and height."""
    x, y, w, h = box
    x1, y1 = max(0, x), max(0, y)
    return x1, y1, min(width - 1, x1 + max(0, w - 1)), min(height - 1, y1 + max(0, h - 1))


def test_boxes_are_cut_off_as_published():
    random = np.random.default_rng(0)
    kept = 0
    for box in random.uniform((-30, -30, 0, 0), (70, 50, 60, 60), size=(300, 4)):
        (clipped,) = coco.clipped(box[None], np.array([[40, 50]]))
        expected = published_box(box, width=50, height=40)
        last = box[:2] + np.maximum(box[2:] - 1, 0)
        if (last < -0.5).any() or (box[:2] > (49.5, 39.5)).any():  # stays as it is, for the gate to find
            np.testing.assert_allclose(clipped, [*box[:2], *box[:2] + box[2:]], rtol=1e-5)
            continue
        if expected[2] > expected[0] and expected[3] > expected[1]:
            np.testing.assert_allclose(clipped, expected, rtol=1e-5)
            kept += 1
        else:
            assert (clipped[2:] == clipped[:2]).any()
        assert (clipped >= 0).all() and (clipped <= (49, 39, 49, 39)).all() and (clipped[2:] >= clipped[:2]).all()
    assert 100 < kept < 250


def test_people_without_a_box_or_keypoints_are_kept_and_counted(files, tmp_path):
    files.content["annotations"] += [
        files.mouse(20, 7, bbox=[10, 5, 0, 9]),
        files.mouse(21, 7, keypoints=[float("nan")] * 2 + [0] + [0] * 6),
    ]
    builder = build(tmp_path, files.config())
    counts = builder.info.metadata["counts"]["train"]
    assert counts["people"] == 5 and counts["boxes_without_area"] == 1 and counts["people_without_keypoints"] == 1
    people = records_of(builder, "train")[7]["people"]
    assert people["id"].tolist() == [1, 4, 20, 21]
    assert not people["keypoints"][3].any()


def test_splits_may_share_images_and_have_folders_of_their_own(files, tmp_path):
    other = tmp_path / "elsewhere"
    (tmp_path / "images").rename(other)
    config = files.config(splits=("train_1", "test_1"), images={"train_1": str(other), "test_1": str(other)})
    builder = build(tmp_path, config)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {"train_1": 3, "test_1": 3}
    for record in files.content["images"]:
        record["file_name"] = f"elsewhere/{record['file_name']}"
    assert build(tmp_path, files.config("beside", images=None)).info.splits["train"].num_examples == 3


def test_the_user_knows_pairs_and_sigmas_better(files):
    files.content["categories"][0] = MOUSE | {"keypoints": ["snout", "one", "other"]}
    skeleton = files.config(flip_pairs=[("one", "other")], sigmas=[0.1, 0.2, 0.2]).skeleton
    assert skeleton.flip_pairs == ((1, 2),) and skeleton.sigmas == (0.1, 0.2, 0.2)
    assert skeleton.edges == ((0, 1), (0, 2))
    with pytest.raises(ValueError, match="there is no keypoint 'two'; choose from snout, one, other"):
        files.config(flip_pairs=[("one", "two")])
    with pytest.raises(ValueError, match="sigmas must be 3 positive numbers"):
        files.config(sigmas=[0.1])


def test_one_category_of_several(files, tmp_path):
    rat = {"id": 8, "name": "rat", "keypoints": ["nose", "tail"]}
    files.content["categories"].append(rat)
    files.content["annotations"].append(files.mouse(30, 7, category_id=8, keypoints=[1, 2, 2, 3, 4, 2]))
    with pytest.raises(ValueError, match="mouse, rat"):
        files.config()
    with pytest.raises(ValueError, match="several with the same, .* has mouse, rat, got mouse, rat; give another"):
        files.config(category=["mouse", "rat"])
    builder = build(tmp_path, files.config(category="rat"))
    assert Skeleton(**builder.info.metadata["skeleton"]).keypoints == ("nose", "tail")
    assert records_of(builder, "train")[7]["people"]["id"].tolist() == [30]


def test_categories_with_the_same_keypoints_are_one(files, tmp_path):
    files.content["categories"] += [MOUSE | {"id": 8, "name": "vole"}, MOUSE | {"id": 9, "name": "shrew"}]
    files.content["annotations"] += [files.mouse(30, 7, category_id=8), files.mouse(31, 7, category_id=9)]
    assert records_of(build(tmp_path, files.config()), "train")[7]["people"]["id"].tolist() == [1, 4, 30, 31]
    some = build(tmp_path, files.config("some", category=["mouse", "shrew"]))
    assert records_of(some, "train")[7]["people"]["id"].tolist() == [1, 4, 31]


def test_images_can_be_left_out_by_their_names(files, tmp_path):
    files.content["annotations"].append(files.mouse(50, 5, area=-3))
    (tmp_path / "images" / "a.jpg").unlink()
    for skip in (["a.jpg"], ["sub/b.png"]):
        with pytest.raises(ValueError, match="or leave .* out with --skip"):
            build(tmp_path, files.config(skip=skip))
    builder = build(tmp_path, files.config("left", skip=["a.jpg", "sub/b.png"]))
    assert list(records_of(builder, "train")) == [9]
    assert builder.info.metadata["counts"]["train"]["images_skipped"] == ["a.jpg", "sub/b.png"]
    with pytest.raises(ValueError, match="--skip must name images of the annotation files, c.jpg is none"):
        files.config(skip=["c.jpg"])


def test_coco_keypoints_are_cocos_skeleton(files):
    files.content["categories"] = [{"id": 3, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": [[1, 2]]}]
    files.content["annotations"] = []
    assert files.config().skeleton is COCO


# ---------------------------------------------------------------------------------------------------- bad files
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"keypoints": [1, 2, 2]}, "3 x 3 numbers.*1"),
        ({"keypoints": [float("nan"), 2, 2, 0, 0, 0, 0, 0, 0]}, "keypoints are finite, got 1 of 4 people .*a.jpg"),
        ({"keypoints": [1, 2, 3, 0, 0, 0, 0, 0, 0]}, "Visibility is 0 .*, got 1 of 4 people .*a.jpg"),
        ({"bbox": [0, 0, float("inf"), 3]}, "Boxes, areas .* are finite, got 1 of 4 people .*a.jpg"),
        ({"area": -3}, "Areas .* are not negative, got 1 of 4 people .*a.jpg.*; correct .* with --skip"),
        ({"id": 1}, "id of its own"),
        ({"image_id": 77}, "not listed .77"),
    ],
)
def test_bad_annotations_are_refused_by_name(files, tmp_path, changes, match):
    files.content["annotations"].append(files.mouse(50, 7) | changes)
    with pytest.raises(ValueError, match=match) as caught:
        build(tmp_path, files.config())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "coco_keypoints" / "custom" / "1.0.0").exists()


def test_missing_images_are_named_and_counted(files, tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(ValueError, match="got 2 of 3 images not there .a.jpg, sub/b.png: no .*a.jpg.; put them there"):
        build(tmp_path, files.config(skip_corrupt=True))


def test_corrupt_images_are_named_and_counted_or_left_out(files, tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        path = tmp_path / "images" / name
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="whole .* got 2 of 3 images .*.a.jpg, sub/b.png.; convert .* with --skip"):
        build(tmp_path, files.config())
    builder = build(tmp_path, files.config("kept", skip_corrupt=True))
    assert builder.info.splits["train"].num_examples == 1
    assert builder.info.metadata["counts"]["train"]["corrupt_images_left_out"] == ["a.jpg", "sub/b.png"]
    assert builder.info.metadata["counts"]["train"]["people"] == 0
    again = tfds.builder("coco_keypoints/kept", data_dir=tmp_path)  # as it lies on the disk
    assert again.info.metadata["counts"]["train"]["corrupt_images_left_out"] == ["a.jpg", "sub/b.png"]
    (tmp_path / "images" / "empty.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="at least one whole image"):
        build(tmp_path, files.config("none", skip_corrupt=True))


def test_an_image_must_have_the_annotated_size_when_upright(files, tmp_path):
    path = tmp_path / "images" / "a.jpg"
    plain = path.read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # a quarter turn
    path.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    with pytest.raises(ValueError, match="1 of 3 images stored in .* .a.jpg: annotated as 40 x 30 .*, shown as 30"):
        build(tmp_path, files.config())
    files.content["images"][0] |= {"width": 30, "height": 40}
    builder = build(tmp_path, files.config())
    assert records_of(builder, "train")[7]["image"] == path.read_bytes()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"name": "2017"}, ValueError, "must not be called 2017"),
        ({"splits": ("all",)}, ValueError, "letters, digits, _ or - and not 'all', got 'all'"),
        ({"splits": ("two words",)}, ValueError, "got 'two words'"),
        ({"images": "nowhere"}, FileNotFoundError, "no folder nowhere with the images of the split train"),
        ({"images": {"test": "."}}, ValueError, r"one for each of \['train'\], got \['test'\]"),
        ({"category": "cat"}, ValueError, "mouse, got cat"),
    ],
)
def test_own_files_that_are_not_described_rightly(files, options, error, match):
    with pytest.raises(error, match=match):
        files.config(**options)


def test_splits_must_have_the_same_keypoints(files, tmp_path):
    config = files.config()
    files.content["categories"] = [MOUSE | {"keypoints": ["snout", "tail", "back"]}]
    (tmp_path / "test.json").write_text(json.dumps(files.content))
    annotations = config.annotations | {"test": str(tmp_path / "test.json")}
    with pytest.raises(ValueError, match="those of test are .*tail.* and those of train"):
        coco_keypoints.own("custom", annotations, images=str(tmp_path / "images"))
    with pytest.raises(FileNotFoundError, match="no annotation file .*absent.json for the split test"):
        coco_keypoints.own("custom", {"test": str(tmp_path / "absent.json")})


# ---------------------------------------------------------------------------------------------------- real data
def test_the_real_mice(shared_data, tmp_path):
    folder = shared_data("openfield")
    splits = {"train_50": 58, "test_50": 58}
    annotations = {split: str(folder / f"{split}.json") for split in splits}
    builder = build(tmp_path, coco_keypoints.own("openfield", annotations, images=str(folder / "images")))
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == splits
    assert builder.info.metadata["skeleton"]["flip_pairs"] == [[1, 2]]
    record = records_of(builder, "train_50")[1]
    assert record["image"] == (folder / "images" / "img0000.jpg").read_bytes()
    expected = [[21.521, 265.428], [33.819, 265.941], [19.984, 250.056], [87.11, 152.698]]
    np.testing.assert_allclose(record["people"]["keypoints"], [expected], rtol=1e-6)


def test_the_real_coco_images(shared_data, tmp_path):
    folder = shared_data("coco_mini")
    annotations = {"validation": str(folder / "person_keypoints_mini.json")}
    builder = build(tmp_path, coco_keypoints.own("mini", annotations, images=str(folder / "images")))
    assert Skeleton(**builder.info.metadata["skeleton"]) == COCO
    counts = builder.info.metadata["counts"]["validation"]
    assert (counts["images"], counts["people"], counts["people_without_keypoints"]) == (4, 14, 2)
