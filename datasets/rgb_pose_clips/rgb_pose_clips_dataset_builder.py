"""Videos with detected keypoints: PYSKL's annotation files and the videos they are about; README.md tells more."""

import logging
import pathlib

import clip_records
import numpy as np
import tensorflow_datasets as tfds
from pyskl_clips import pyskl_clips_dataset_builder as pyskl_clips

from kerapose import skeletons
from kerapose.data import frames, gate, labels, pickles, pyskl

CLASSES = "classes.txt"
MOST_FRAMES_APART = 2  # that a video and its keypoints may be: some decoders count one frame more at the end

_log = logging.getLogger("kerapose.datasets.rgb_pose_clips")


def own(name, file, num_classes=None, class_names=None, skeleton=None, skip=()):
    """Makes the config of files of one's own.

    Args:
        name: what the data set is called after the slash, "custom" or any name that is not a published one's.
        file: path of the annotation file; the videos lie beside it or in folders there.
        num_classes: C; may be left out where there are class names.
        class_names: path of a text file with one class name a line, in the order of the labels; None takes
            `classes.txt` beside the annotation file where it is there.
        skeleton: name of the keypoint set, as in `kerapose.skeletons`.
        skip: names of clips to leave out, such as those without a video.

    Returns:
        A `PysklConfig`.

    Raises:
        FileNotFoundError: when one of the files is not there.
        ValueError: as `pyskl_clips.own`, or when the file does not have all frames of its clips.

    Example:
        >>> Builder(config=own("dance", "dance/dance.pkl", skeleton="coco")).download_and_prepare()
    """
    refuse_without_frames(file)
    beside = pathlib.Path(file).parent / CLASSES
    if class_names is None and beside.is_file():
        class_names = beside
    return pyskl_clips.own(name, file, num_classes, class_names, skeleton, skip, up=None)  # 3D ones are refused


class Builder(pyskl_clips.Builder):
    """Builds one config: the clips of one annotation file, each with its video."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    # Of Kinetics-400 only the frames with people in them are read: poses would not stand beside their frames.
    BUILDER_CONFIGS = [
        config for config in pyskl_clips.Builder.BUILDER_CONFIGS if config.name != "k400" and not config.is_3d
    ]

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self):  # noqa: N802, the name is TFDS's
        """One sentence for this config's files; None for files of one's own, which are where their path says."""
        config = self.builder_config
        if config.address is None:
            return None
        return (
            f"{config.files[0]} belongs in it, download it from {config.address}, with the videos of the data set, in "
            "folders or not."
        )

    def _info(self):
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=clip_records.features(
                config.num_keypoints, config.class_names or config.num_classes, with_video=True
            ),
            supervised_keys=None,
            metadata=pyskl_clips.metadata(config),
        )

    def _split_generators(self, dl_manager):
        config, path = self.builder_config, pathlib.Path(self._file(dl_manager))
        refuse_without_frames(path)
        skeleton = skeletons.get(config.skeleton) if config.skeleton else None
        annotations = pyskl.read_annotations(path, skeleton, config.num_classes, config.skip)
        for split, names in annotations.splits.items():
            pyskl_clips.check_split(split, names)
        if config.class_names is None and (path.parent / CLASSES).is_file():
            self.info.features["label"].names = read_class_names(path.parent / CLASSES, config.num_classes)
        used = dict.fromkeys(name for names in annotations.splits.values() for name in names)
        videos = find_videos(path.parent, list(used))
        return {
            split: clip_records.checked(split, self._generate_examples(split, annotations, names, videos), skeleton)
            for split, names in annotations.splits.items()
        }

    def _generate_examples(self, split, annotations, names, videos):
        bad, fitted = [], {}
        for name in names:
            video, clip = videos[name].read_bytes(), annotations.clips[name]
            try:
                about = frames.probe(video, str(videos[name]))
                keypoints, scores, difference = fit(clip, about)
            except ValueError as error:
                bad.append(f"{videos[name].name}: {str(error).rstrip('.')}")
                continue
            if difference:
                fitted[name] = f"{name} {difference:+d}"
            yield name, clip | {"video": video, "keypoints": keypoints, "scores": scores}
        if bad:
            raise ValueError(f"{split}: {len(bad)} clips cannot be taken: {gate.some(bad)}.")
        if fitted:
            _log.warning(
                "%s: the keypoints of %d clips are made as long as the videos, cut or with missing joints (%s)",
                split,
                len(fitted),
                gate.some(list(fitted.values())),
            )


def refuse_without_frames(path):
    """Refuses an annotation file that has only the frames with people in them, and so cannot be put to a video."""
    content = pickles.load_pickle(path)
    annotations = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(annotations, list):
        return  # `read_annotations` says what is wrong
    packed = [clip for clip in annotations if isinstance(clip, dict) and ({"frame_inds", "raw_file"} & set(clip))]
    if packed:
        raise ValueError(
            f"{path}: an annotation must have a pose for each frame of its video, {len(packed)} clips have only the "
            "frames with people in them (`frame_inds` or `raw_file`); build it as pyskl_clips, without videos."
        )


def read_class_names(path, num_classes):
    """The names of the classes, one for each."""
    names = labels.read_class_names(path)
    if len(names) != num_classes:
        raise ValueError(f"{path} must have one name for each of {num_classes} classes, got {len(names)}; correct it.")
    return names


def find_videos(folder, names):
    """Finds the video of each clip by its name.

    Args:
        folder: where the videos are, or folders with them.
        names: of the clips; a folder in a name is one that the video's folder must end in.

    Returns:
        dict: name to path.

    Raises:
        FileNotFoundError: when clips have no video.
        ValueError: when a clip has two.
    """
    videos = frames.find(folder, names)
    missing = [name for name, paths in videos.items() if not paths]
    if missing:
        others = [path.name for paths in frames.find(folder, missing, None).values() for path in paths]
        but = f"; {gate.some(others)} there will not do" if others else ""
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} clips have no video in {folder} ({gate.some(missing)}); put "
            f"files of these names there, ending in {', '.join(frames.CONTAINERS)}, or leave the clips out "
            f"by skip{but}."
        )
    twice = [f"{name}: {paths[0]} and {paths[1]}" for name, paths in videos.items() if len(paths) > 1]
    if twice:
        raise ValueError(
            f"A clip must have one video in {folder}, {len(twice)} have more ({gate.some(twice)}); take the others out."
        )
    return {name: path for name, (path,) in videos.items()}


def fit(clip, about):
    """Makes the keypoints of a clip as long as its video.

    The video decides: poses beyond its last frame are cut off, and frames without a pose get missing joints.

    Args:
        clip: one of `kerapose.data.pyskl`'s.
        about: the `VideoInfo` of its video.

    Returns:
        keypoints float32 [M, T, K, 2], scores float32 [M, T, K] with the T of the video, and how many frames the video
        has more than the keypoints had.

    Raises:
        ValueError: when they are more than two frames apart, or frames of another aspect ratio were annotated.
    """
    keypoints, scores, num_poses = clip["keypoints"], clip["scores"], clip["keypoints"].shape[1]
    difference = about.num_frames - num_poses
    if abs(difference) > MOST_FRAMES_APART:
        damage = f" of a video {about.damage}" if about.damage else ""
        raise ValueError(
            f"a video and its keypoints must have the same frames, at most {MOST_FRAMES_APART} apart, got "
            f"{about.num_frames} and {num_poses}{damage}; take the video that was annotated."
        )
    annotated, shown = clip["frame_size"], about.frame_size
    if not frames.same_shape(shown, annotated):
        raise ValueError(
            f"a video must have the aspect ratio of the annotated frames, {' x '.join(map(str, annotated))}, got "
            f"{' x '.join(map(str, shown))} (height x width); take the video that was annotated."
        )
    padding = [(0, 0), (0, max(difference, 0)), (0, 0)]
    keypoints = np.pad(keypoints[:, : about.num_frames], [*padding, (0, 0)])
    return keypoints, np.pad(scores[:, : about.num_frames], padding), difference
