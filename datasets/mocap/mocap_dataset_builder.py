"""Motion capture of one's own: joint positions, cameras to see them by and a description; README.md tells more."""

import io
import logging

import numpy as np
import tensorflow_datasets as tfds
import track_records

from kerapose import files, skeletons

CAMERAS, META = "cameras.json", "meta.json"
# How files of 17 joints in Human3.6M's order spell its names, beside the set's own spelling.
H36M_PARTS = {"hip": "hip", "knee": "knee", "foot": "ankle", "shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist"}
H36M_NAMES = {side[0] + part: f"{side}_{name}" for part, name in H36M_PARTS.items() for side in ("left", "right")}
H36M_NAMES |= {"lankle": "left_ankle", "rankle": "right_ankle", "neck/nose": "nose", "pelvis": "hip"}

_log = logging.getLogger("kerapose.datasets.mocap")


def named(name):
    """The config of one of several motion captures, which are kept apart by their names: `mocap/dance`."""
    return tfds.core.BuilderConfig(name=name, description="Motion capture of one's own.")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the splits that the description names, each take once for every camera."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"One .npz file of joint positions, {CAMERAS} and {META} belong in it, as datasets/mocap/README.md says."
    )

    def _info(self):
        return self.dataset_info_from_configs(
            features=track_records.features(),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(skeleton=None, pose_skeleton=None, left_out=[]),
        )

    def _split_generators(self, dl_manager):
        folder = dl_manager.manual_dir
        path = find(folder)
        meta = read_meta(folder / META)
        takes = read_takes(path, len(meta["joints"]))
        track_records.check_sizes(path, takes)
        cameras = track_records.read_cameras(folder / CAMERAS)
        check_split(folder / META, path.name, meta["split"], takes)
        skeleton = find_skeleton(folder / META, meta)
        used = {name for names in meta["split"].values() for name in names}
        left_out = sorted(set(takes) - used)
        if left_out:
            _log.warning("%s: %d takes are in no split and left out (%s)", path, len(left_out), ", ".join(left_out))
        self.info.metadata.update(track_records.metadata(skeleton, skeleton, left_out=left_out))
        splits = {split: self._generate_examples(names, takes, cameras, meta) for split, names in meta["split"].items()}
        return {split: track_records.checked(split, records, skeleton, skeleton) for split, records in splits.items()}

    def _generate_examples(self, names, takes, cameras, meta):
        for name in names:
            about = meta["takes"].get(name, {})
            subject = str(about.get("subject", name.rpartition("/")[0]))
            own = [camera for camera in cameras if camera["subject"] in (None, subject)]
            if not own:
                raise ValueError(
                    f"{CAMERAS} must have a camera of the subject {subject!r} of {name}, it has none; add it."
                )
            for part, frames in track_records.parts(takes[name]):
                poses_world_m = takes[name][frames]
                for camera in own:
                    record = track_records.record(
                        name,
                        camera,
                        track_records.project(name, poses_world_m, camera),
                        poses_world_m,
                        meta["fps"],
                        subject,
                        str(about.get("label", "")),
                        part=part,
                    )
                    yield record["name"], record


def find(folder):
    """The path of the one .npz file, once the other two files are known to be there."""
    found = sorted(folder.glob("*.npz"))
    missing = [name for name in (CAMERAS, META) if not (folder / name).is_file()]
    missing += [] if found else ["file *.npz"]
    if missing:
        raise FileNotFoundError(
            f"There is no {' nor '.join(missing)} in {folder}. {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} must have one .npz file, it has {len(found)} ({names}); take the others out.")
    return found[0]


def read_takes(path, num_joints):
    """Reads the joint positions.

    Args:
        path: the .npz file, arrays [T, J, 3] by the names of the takes.
        num_joints: J.

    Returns:
        dict of float32 arrays [T, J, 3], metres, z up; a pose that is not known has NaN.

    Raises:
        ValueError: when the file is damaged or an array is of another form.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            takes = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(f"{path} must be a whole .npz file without pickles ({error}); save it anew.") from None
    for name, poses in takes.items():
        if poses.dtype.kind not in "iuf" or poses.ndim != 3 or poses.shape[1:] != (num_joints, 3) or not len(poses):
            raise ValueError(
                f"{path}: {name} must be numbers [frames, {num_joints}, 3], one joint for each of {META}, got "
                f"{poses.dtype} {list(poses.shape)}; correct it."
            )
        if not np.isfinite(poses).all(axis=(1, 2)).any():
            raise ValueError(f"{path}: {name} must have a whole pose, none of its {len(poses)} is; take it out.")
    return {name: np.asarray(poses, np.float32) for name, poses in takes.items()}


def read_meta(path):
    """Reads the description.

    Args:
        path: meta.json.

    Returns:
        dict: "fps" float, "joints" J names, "parents" J indices, "split" dict of lists of takes, "takes" dict by name
        (may be empty), and "joints_left" and "joints_right" where the file has them.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is no JSON object, or lacks something.
    """
    meta = files.read_json(path, "a description of takes")
    forms = {"fps": (int, float), "joints": list, "parents": list, "split": dict}
    for key, form in forms.items():
        if not isinstance(meta, dict) or not isinstance(meta.get(key), form) or not meta[key]:
            raise ValueError(f"{path} must have {key}, as README.md of the data set says; add it.")
    joints, parents = meta["joints"], meta["parents"]
    if meta["fps"] <= 0:
        raise ValueError(f"{path}: fps must be positive, got {meta['fps']}; correct it.")
    ancestors_first = all(
        isinstance(parent, int) and 0 <= parent < child for child, parent in enumerate(parents[1:], start=1)
    )
    if len(parents) != len(joints) or parents[0] != -1 or not ancestors_first:
        raise ValueError(
            f"{path}: parents must be one index for each of the {len(joints)} joints, -1 for joint 0, the root, and an "
            f"earlier joint for every other, got {parents}; put the joints in such an order."
        )
    return meta | {"takes": meta.get("takes", {})}


def check_split(path, file_name, split, takes):
    """Refuses splits that are empty, overlap or name takes that are not there."""
    seen = {}
    for name_of_split, names in split.items():
        if not names or not isinstance(names, list):
            raise ValueError(
                f"{path}: a split must name at least one take, {name_of_split} has {names!r}; leave it out."
            )
        for name in names:
            if name not in takes:
                raise ValueError(
                    f"{path}: the split {name_of_split} names {name!r}, which {file_name} has not; correct it."
                )
            if name in seen:
                raise ValueError(
                    f"{path}: a take must be in one split, once; {name} is in {seen[name]} and {name_of_split}: choose."
                )
            seen[name] = name_of_split


def find_skeleton(path, meta):
    """The keypoint set of the joints: a known one where they and their limbs are its own, else a new one."""
    joints = [str(joint) for joint in meta["joints"]]
    if tuple(H36M_NAMES.get(joint, joint) for joint in joints) == skeletons.H36M.keypoints:
        return skeletons.H36M
    edges = tuple((parent, child) for child, parent in enumerate(meta["parents"]) if child)
    for known in skeletons.ALL:
        if known.keypoints == tuple(joints) and set(known.edges) == set(edges):
            return known
    left, right = meta.get("joints_left"), meta.get("joints_right")
    try:
        pairs = None if left is None and right is None else tuple(zip(left, right, strict=True))
        return skeletons.Skeleton("mocap", tuple(joints), edges, flip_pairs=pairs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the joints must make a skeleton: {error}") from None
