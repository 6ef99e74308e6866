"""Reads and writes the annotation pickles of PYSKL and MMAction2, in which most published skeletons are kept.

A pickle can run any program when it is loaded; here it cannot (`data.pickles`).
"""

import collections
import dataclasses
import pathlib
import pickle
import pickletools
import typing
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kerapose import files
from kerapose.data import gate, selection
from kerapose.data.gate import poses as pose_gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.pickles import AnnotationError, load_pickle
from kerapose.skeletons import Skeleton
from kerapose.types import Path

__all__ = [
    "Annotations",
    "read_annotations",
    "write_annotations",
]

MAX_PEOPLE = 10  # in a frame of the compressed form, as PYSKL reads it
LEAVE_OUT = ", or leave them out by skip=error.names"
PRECISIONS = ("float16", "float32")  # of a written file


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The content of one annotation file.

    Args:
        splits: for each split the names of its clips, those that share a keypoint file one after another.
        clips: for each name the clip, a dict of
            "keypoints" float32 `[M, T, K, 2]` (pixels, x first), "scores" float32 `[M, T, K]`,
            "frame_size" int32 `[2]` (height, width), "label" int and "name" str; of 3D skeletons
            "poses_m" float32 `[M, T, K, 3]` (metres, z up) in place of keypoints and size.
            Its arrays are made anew whenever it is asked for, so that the set is held once, as small as in the file.
        num_keypoints: K, the same in every clip.
        path: of the file.
        told: what the gate warned of when it was read (`gate.Report.told`).
        is_3d: whether its skeletons are 3D ones.

    Example:
        >>> from kerapose.data import pyskl
        >>> annotations = pyskl.read_annotations("clips.pkl")
        >>> annotations.splits["train"], annotations.num_keypoints, annotations.is_3d
        (['clip0', 'clip1'], 17, False)
    """

    splits: dict[str, list[str]]
    clips: Mapping[str, dict]
    num_keypoints: int
    path: pathlib.Path
    told: set = dataclasses.field(default_factory=set)
    is_3d: bool = False

    def names_of(self, split: str) -> list[str]:
        """The names of the clips of a split.

        Raises:
            ValueError: naming the splits, if there is no such one.
        """
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise ValueError(f"{self.path} has the splits {known}, got {split!r}; use one of them.")
        return self.splits[split]


def read_annotations(
    path: Path,
    skeleton: Skeleton | None = None,
    num_classes: int | None = None,
    skip: Iterable[str] = (),
    up: str | None = None,
) -> Annotations:
    """Reads an annotation file and checks every clip in it.

    Three forms are read: the present one, `{"split": ..., "annotations": [...]}`; the older bare list of annotations,
    which becomes the one split "clips"; and the compressed one of Kinetics-400, where `keypoint` is `[N, K, 3]`
    (x, y, score), one row a skeleton, `frame_inds` `[N]` tells its frame, and the rows may lie in further files named
    by `raw_file`, looked for beside the annotation file and in its `kpfiles` folder. As in PYSKL, a compressed clip
    keeps only frames with somebody in them and, where a frame has more than 10 people, the 10 with the highest scores.

    A joint at (0, 0), or whose coordinates or score are not finite, is a missing one: (0, 0) with score 0. Where a file
    has no scores, those of all others are 1. A clip in which nobody was found has one person of missing joints, and so
    stays in its split. A warning counts such clips, and those where a joint is missing that has a score.

    Of 3D skeletons `keypoint` is `[M, T, K, 3]` in metres, and there is no `img_shape`. Joints at (0, 0, 0) are missing
    ones, and people who have no others are left out.

    Args:
        path: the pickle.
        skeleton: the keypoint set expected, to check the number of keypoints; None takes what the file has.
        num_classes: C, to check the labels; None allows any label from 0 on.
        skip: names of clips to leave out, such as those of the error that refused the file.
        up: which axis of 3D skeletons is up (`gate.poses.to_world`): "y" in files of Kinect's own axes, as those of NTU
            RGB+D are. None: 3D skeletons are refused.

    Returns:
        An `Annotations`.

    Raises:
        FileNotFoundError: when the file, or a keypoint file it names, is not there.
        AnnotationError: when the file is no pickle, cut short, asks for anything but arrays and plain containers, holds
            3D skeletons and `up` is not given, or when a clip, a label or a split is impossible; `names` are those of
            the clips.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import pyskl
        >>> annotations = pyskl.read_annotations("clips.pkl", skeletons.COCO, num_classes=2)
        >>> clip = annotations.clips["clip1"]
        >>> clip["keypoints"].shape, clip["frame_size"].tolist(), clip["label"]
        ((2, 30, 17, 2), [240, 320], 1)

    Paper: Duan et al., "PYSKL: Towards Good Practices for Skeleton Action Recognition", ACM MM 2022.
    """
    path = pathlib.Path(path)
    splits, annotations = _sections(load_pickle(path), path)
    by_name = _by_name(annotations, path)
    by_name, splits = _without(skip, by_name, splits, path)
    clips = _Clips(by_name, path, skeleton, up)
    told = _check_clips(clips, by_name, path, num_classes)
    splits = {"clips": list(by_name)} if splits is None else _checked_splits(splits, by_name, path)
    return Annotations(splits, clips, clips.num_keypoints, path, told, clips.num_coordinates == 3)


def write_annotations(
    path: Path,
    clips: Iterable[Mapping[str, typing.Any]],
    splits: Mapping[str, Sequence[str]],
    precision: str = "float32",
) -> None:
    """Writes an annotation file, whole or not at all, as `read_annotations`, PYSKL and MMAction2 read it.

    Args:
        path: of the pickle.
        clips: as every source yields them: dicts of "keypoints" [M, T, K, 2] (pixels, (0, 0) where missing), "scores"
            [M, T, K], "frame_size" (height, width), "label" and "name". "scores" may be left out, or be None: those of
            the clip are then read as 1 where a keypoint is not missing. 3D skeletons are "poses_m" [M, T, K, 3]
            (metres, (0, 0, 0) where missing) in place of keypoints, scores and size; whoever reads them says which axis
            is up.
        splits: for each split the names of its clips.
        precision: "float32", or "float16" as in the published files, half as large: places beyond 1024 pixels are then
            whole ones.

    Raises:
        ValueError: if a clip lacks a key or is not as described, two have the same name, or a split names one that is
            not there.

    Example:
        >>> from kerapose.data import pyskl
        >>> clip = {"keypoints": keypoints, "scores": scores, "frame_size": frame_size, "label": 0, "name": "spin"}
        >>> pyskl.write_annotations("dance.pkl", [clip], {"train": ["spin"]})
        >>> pyskl.read_annotations("dance.pkl").splits
        {'train': ['spin']}
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(PRECISIONS)}, got {precision!r}; use one of them.")
    annotations = [_annotation(clip, number, precision) for number, clip in enumerate(clips)]
    names = [annotation["frame_dir"] for annotation in annotations]
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Clips must have names of their own, got two called {twice[0]}; rename one.")
    for split, members in splits.items():
        strangers = sorted(set(members) - set(names))
        if strangers or not members:
            got = f"{gate.some(strangers)} in {split}" if strangers else f"none in {split}"
            raise ValueError(f"A split must name clips that there are, got {got}; correct it.")
    content = {"split": {split: list(members) for split, members in splits.items()}, "annotations": annotations}
    files.write_whole(path, _as_numpy_1(pickle.dumps(content, protocol=3)))


def _annotation(clip, number, precision):
    """One clip as PYSKL names things."""
    _require_keys(clip, number)
    name = clip["name"].decode() if isinstance(clip["name"], bytes) else str(clip["name"])
    field, count = ("poses_m", 3) if "poses_m" in clip else ("keypoints", 2)
    points, label = np.asarray(clip[field]), sequence_gate.class_index(clip["label"])
    if points.ndim != 4 or points.shape[-1] != count or 0 in points.shape[1:3]:
        raise ValueError(f"{field} must be [M, T, K, {count}], got {points.shape} in {name}; reshape them.")
    if label is None:
        raise ValueError(f"A label must be a class index, got {clip['label']!r} in {name}; correct it.")
    written = {"frame_dir": name, "label": label, "total_frames": points.shape[1], "keypoint": points.astype(precision)}
    if count == 3:
        return written
    size = sequence_gate.frame_size_of(clip["frame_size"])
    if size is None:
        raise ValueError(f"frame_size must be (height, width), got {clip['frame_size']!r} in {name}; correct it.")
    size = tuple(size.tolist())
    written |= {"img_shape": size, "original_shape": size}
    if clip.get("scores") is None:
        return written
    scores = np.asarray(clip["scores"])
    if scores.shape != points.shape[:3]:
        raise ValueError(f"scores must be {points.shape[:3]}, one a keypoint, got {scores.shape} in {name}; reshape.")
    return written | {"keypoint_score": scores.astype(precision)}


def _require_keys(clip, number):
    """Refuses a clip that lacks something, by its name or, where that is what it lacks, by its place."""
    needed = ("name", "label", *(("poses_m",) if "poses_m" in clip else ("keypoints", "frame_size")))
    missing = [key for key in needed if key not in clip]
    if missing:
        name = clip.get("name", f"clip {number}")
        name = name.decode() if isinstance(name, bytes) else name
        known = "" if "poses_m" in clip else " and, if known, scores"
        raise ValueError(
            f"A clip has {', '.join(needed)}{known}, got {name} without {' and '.join(missing)}; add what is missing."
        )


def _as_numpy_1(content):
    """A pickle whose arrays are made by the name that the function has in NumPy 1, with which PYSKL runs, and in 2."""
    for opcode, argument, place in pickletools.genops(content):
        if opcode.name == "GLOBAL" and argument == "numpy._core.multiarray _reconstruct":  # written out once
            end = content.index(b"\n", content.index(b"\n", place) + 1) + 1
            return content[:place] + b"cnumpy.core.multiarray\n_reconstruct\n" + content[end:]
    return content


def _without(skip, by_name, splits, path):
    """The annotations and the splits without the clips of some names."""
    skip = selection.skipped(skip, by_name, "clips", str(path))
    if skip and splits is not None:
        splits = {
            split: [name for name in names if not isinstance(name, str) or name not in skip]
            if isinstance(names, list | tuple | np.ndarray)
            else names
            for split, names in splits.items()
        }
    by_name = {name: annotation for name, annotation in by_name.items() if name not in skip}
    return by_name, splits


def _check_clips(clips, by_name, path, num_classes):
    """Raises one error on all clips that are wrong, and gives what it warned of.

    Those of keypoint files are read when their turn comes.
    """
    report = gate.Report("clips", LEAVE_OUT, path.name, AnnotationError)
    malformed, first = {}, next(iter(by_name))
    for name, annotation in by_name.items():
        try:
            if "keypoint" in annotation or name == first:  # it settles K; and where keypoint files lack, say so now
                keypoints, scores = clips.keypoints_and_scores(name)
        except AnnotationError as error:
            malformed[name] = error
            continue
        label, size = annotation.get("label"), annotation.get("img_shape")
        of_file = (label, name, num_classes, sequence_gate.PEOPLE_OF_FILE)
        if "keypoint" in annotation and clips.num_coordinates == 3:
            pose_gate.read_poses(report, keypoints, clips.skeleton, scores, *of_file)
        elif "keypoint" in annotation:
            sequence_gate.read_clip(report, keypoints, None, scores, () if size is None else size, *of_file)
        else:
            sequence_gate.note_description(report, size, label, name, num_classes)
    if malformed:
        first, *others = malformed.values()
        more = f" So are {len(others)} other clips ({gate.some(list(malformed)[1:])})." if others else ""
        raise AnnotationError(f"{first}{more}", malformed)
    report.close()
    return report.told


class _Clips(Mapping):
    """The clips by name, made when asked for; of the keypoint files, the one used last stays open."""

    def __init__(self, by_name, path, skeleton, up):
        self.skeleton, self.num_keypoints = skeleton, skeleton.num_keypoints if skeleton else None
        self.num_coordinates, self._up = None, up
        self._by_name, self._path = by_name, path
        self._model = f"skeleton {skeleton.name}" if skeleton else None  # what the others are compared with
        self._open_file, self._open_content = None, None

    def __len__(self):
        return len(self._by_name)

    def __iter__(self):
        return iter(self._by_name)

    def __getitem__(self, name):
        annotation = self._by_name[name]
        if self.num_coordinates == 3:
            poses, scores = self.keypoints_and_scores(name)  # on which all was said when the file was read
            return pose_gate.read_poses(gate.Report("clips"), poses, None, scores, annotation["label"], name)
        keypoints, scores, _ = sequence_gate.without_missing(*self.keypoints_and_scores(name))
        if not len(keypoints):
            keypoints, scores = (np.zeros((1, *array.shape[1:]), np.float32) for array in (keypoints, scores))
        return {
            "keypoints": keypoints,
            "scores": scores,
            "frame_size": sequence_gate.frame_size_of(annotation["img_shape"]),
            "label": sequence_gate.class_index(annotation["label"]),
            "name": name,
        }

    def keypoints_and_scores(self, name):
        """The figures of a clip, `[M, T, K, 2]` and `[M, T, K]` or None, with the numbers and types the file has.

        Of 3D skeletons `[M, T, K, 3]`, and z is up.
        """
        annotation, where = self._by_name[name], f"{self._path.name}, clip {name!r}"
        if "keypoint" not in annotation:
            annotation = annotation | self._from_keypoint_file(where, name, annotation)
        keypoints, scores = _figures(where, annotation, self._up is not None)
        if self.num_coordinates is None:
            self.num_coordinates = keypoints.shape[3]
        if self.num_coordinates != keypoints.shape[3]:
            raise AnnotationError(
                f"{where}: all clips must be of 2D skeletons or all of 3D ones, this one has {keypoints.shape[3]} "
                f"coordinates and those before {self.num_coordinates}; make two files of it."
            )
        if keypoints.shape[3] == 3:
            keypoints = pose_gate.to_world(keypoints, self._up)
        if self.num_keypoints is None:
            self.num_keypoints, self._model = keypoints.shape[2], f"clip {name!r}"
        if self.num_keypoints != keypoints.shape[2]:
            raise AnnotationError(
                f"{where}: all clips must have the same keypoints, this one has {keypoints.shape[2]} and "
                f"{self._model} {self.num_keypoints}; choose the skeleton of the file, or take the clip out."
            )
        return keypoints, scores

    def _from_keypoint_file(self, where, name, annotation):
        raw_file = annotation.get("raw_file")
        if not isinstance(raw_file, str):
            raise AnnotationError(
                f"{where}: a clip must have `keypoint`, or `raw_file` with the file that has it; neither is there."
            )
        if raw_file != self._open_file:
            self._open_content = self._read_keypoint_file(raw_file)
            self._open_file = raw_file
        entry = self._open_content.get(name)
        if not isinstance(entry, dict) or "keypoint" not in entry:
            raise AnnotationError(
                f"{where}: its keypoint file {raw_file} must have an entry of that name with `keypoint`; it has none, "
                "so take the annotation file and the keypoint files from the same place."
            )
        return entry

    def _read_keypoint_file(self, raw_file):
        folder = self._path.parent
        # The published files name their keypoint files as seen from PYSKL's own folder, "data/k400/kpfiles/...".
        places = (folder / raw_file, folder / "kpfiles" / pathlib.PurePosixPath(raw_file).name)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"{self._path.name} keeps its keypoints in other files and {raw_file} is not there, neither as "
                f"{places[0]} nor as {places[1]}; unpack the published kpfiles archive into {folder / 'kpfiles'}."
            )
        content = load_pickle(path)
        if not isinstance(content, dict):
            raise AnnotationError(f"{path}: a keypoint file must be a dict of clips, this is a {_kind(content)}.")
        report = gate.Report("clips", LEAVE_OUT, str(path), AnnotationError)
        for name, entry in content.items():
            rows = entry.get("keypoint") if isinstance(entry, dict) else None
            if isinstance(rows, np.ndarray) and rows.ndim == 3 and rows.shape[2] == 3:
                sequence_gate.note_rows(report, rows[..., :2], rows[..., 2], name)
        report.close()
        return content


# ---------------------------------------------------------------------------------------------------- the file
def _sections(content, path):
    """The splits (None where the file has none) and the annotations, of either form of file."""
    if isinstance(content, list):
        return None, content
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        found = f"a dict of {sorted(map(str, content))[:5]}" if isinstance(content, dict) else f"a {_kind(content)}"
        raise AnnotationError(
            f"{path}: an annotation file must be a list of annotations, or a dict with `split` and `annotations`; "
            f"this is {found}, so look for the file with the annotations."
        )
    if not isinstance(content.get("split"), dict) or not content["split"]:
        raise AnnotationError(
            f"{path}: `split` must be a dict of split names and clip names, got a {_kind(content.get('split'))}; "
            "add it, or save the bare list of annotations."
        )
    return content["split"], content["annotations"]


def _by_name(annotations, path):
    by_name = {}
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            raise AnnotationError(f"{path}: annotation {index} must be a dict, got a {_kind(annotation)}; take it out.")
        name = annotation.get("frame_dir", annotation.get("filename"))
        if not isinstance(name, str) or not name:
            raise AnnotationError(f"{path}: annotation {index} must have a name in `frame_dir`, got {name!r}; add it.")
        if name in by_name:
            raise AnnotationError(f"{path}: each clip must be annotated once, {name!r} is twice; take one out.")
        by_name[name] = annotation
    if not by_name:
        raise AnnotationError(f"{path}: an annotation file must have at least one clip, this has none.")
    return by_name


def _checked_splits(splits, by_name, path):
    checked = {}
    for split, names in splits.items():
        names = names.tolist() if isinstance(names, np.ndarray) else names
        if not isinstance(split, str) or not isinstance(names, list | tuple):
            raise AnnotationError(
                f"{path}: a split must be a name and a list of clip names, got {split!r} and a {_kind(names)}."
            )
        if not all(isinstance(name, str) for name in names):
            wrong = next(name for name in names if not isinstance(name, str))
            raise AnnotationError(f"{path}: split {split!r} lists clip names, got a {_kind(wrong)}; correct it.")
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise AnnotationError(
                f"{path}: split {split!r} names {len(unknown)} clips that have no annotation, the first is "
                f"{unknown[0]!r}; take them out of the split, or add them to the annotations."
            )
        if len(set(names)) < len(names):
            twice = next(name for name, count in collections.Counter(names).items() if count > 1)
            raise AnnotationError(
                f"{path}: split {split!r} must name each clip once, {twice!r} is twice; take one out."
            )
        # Stable: clips that lie in the annotation file itself keep the order of the split.
        checked[split] = sorted(map(str, names), key=lambda name: str(by_name[name].get("raw_file", "")))
    return checked


# ---------------------------------------------------------------------------------------------------- one clip
def _figures(where, annotation, takes_3d):
    """Keypoints `[M, T, K, 2]` and scores `[M, T, K]`, or None, whichever form the annotation has them in."""
    keypoint = _numbers(where, annotation, "keypoint")
    total_frames = annotation.get("total_frames")
    if total_frames is not None:
        whole = sequence_gate.whole_number(total_frames)
        if whole is None or whole < 0:
            raise AnnotationError(
                f"{where}: `total_frames` must be a whole number of frames, got {total_frames!r}; correct it."
            )
        total_frames = whole
    if "frame_inds" in annotation:
        return _unpacked(where, keypoint, _numbers(where, annotation, "frame_inds"), total_frames)
    is_3d = keypoint.ndim == 4 and keypoint.shape[3] == 3
    if is_3d and not takes_3d:
        raise AnnotationError(
            f"{where}: `keypoint` {keypoint.shape} has three coordinates, a 3D skeleton, and only 2D ones are read; "
            "take the 2D file of the set (..._hrnet.pkl), or if the third is a score, move it to `keypoint_score`."
        )
    if not is_3d and (keypoint.ndim != 4 or keypoint.shape[3] != 2):
        raise AnnotationError(
            f"{where}: `keypoint` must be [people, frames, keypoints, 2], got {keypoint.shape}; correct the clip."
        )
    if keypoint.shape[1] == 0:
        raise AnnotationError(f"{where}: a clip must have at least one frame, this has none; take it out.")
    if total_frames is not None and total_frames != keypoint.shape[1]:
        raise AnnotationError(
            f"{where}: `total_frames` must be the number of frames in `keypoint`, got {total_frames} and "
            f"{keypoint.shape[1]}; correct one of them."
        )
    if annotation.get("keypoint_score") is None:
        return keypoint, None
    score = _numbers(where, annotation, "keypoint_score")
    if score.shape != keypoint.shape[:3]:
        raise AnnotationError(
            f"{where}: `keypoint_score` must be {keypoint.shape[:3]}, one for each keypoint, got {score.shape}; "
            "correct it, or leave it out to have scores of 1 where a joint is not (0, 0)."
        )
    return keypoint, score


def _unpacked(where, rows, frame_inds, total_frames):
    """Skeletons `[N, K, 3]` listed one by one, laid out by person and frame: `[M, T, K, 2]` and `[M, T, K]`."""
    if rows.ndim != 3 or rows.shape[2] != 3 or frame_inds.shape != rows.shape[:1]:
        raise AnnotationError(
            f"{where}: beside `frame_inds` [N], `keypoint` must be [N, keypoints, 3] of x, y and score, got "
            f"{frame_inds.shape} and {rows.shape}; correct the clip."
        )
    if not len(rows):
        shape = (0, total_frames or 1, rows.shape[1])  # nobody
        return np.zeros((*shape, 2)), np.zeros(shape)
    if frame_inds.min() < 0 or (total_frames is not None and frame_inds.max() >= total_frames):
        raise AnnotationError(
            f"{where}: `frame_inds` must lie from 0 to below `total_frames` ({total_frames}), got "
            f"{frame_inds.min()} to {frame_inds.max()}; correct one of them."
        )
    _, frame, people = np.unique(frame_inds, return_inverse=True, return_counts=True)  # frames without anybody are gone
    crowded = people.max() > MAX_PEOPLE
    rank = -rows[..., 2].astype(np.float32).sum(axis=1) if crowded else np.zeros(len(rows))
    order = np.lexsort((rank, frame))  # by frame, then by score where some must go, else as they stand: it is stable
    rows, frame = rows[order], frame[order]
    person = np.arange(len(rows)) - np.searchsorted(frame, frame)  # the how-manieth of its frame
    kept = person < MAX_PEOPLE
    packed = np.zeros((min(people.max(), MAX_PEOPLE), len(people), *rows.shape[1:]), rows.dtype)  # [M, T, K, 3]
    packed[person[kept], frame[kept]] = rows[kept]
    return packed[..., :2], packed[..., 2]


def _numbers(where, annotation, key):
    try:
        numbers = np.asarray(annotation[key])
    except ValueError:  # nested lists of different lengths
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "iuf":
        raise AnnotationError(
            f"{where}: `{key}` must be an array of numbers, got a {_kind(annotation[key])}; correct the clip."
        )
    return numbers


def _kind(value):
    return type(value).__name__.strip("_").lower()
