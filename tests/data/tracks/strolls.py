"""Tracks of people who stroll before one camera, as arrays and as a TFDS data set, for the tests beside it."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import tracks as track_data
from kerapose.ops import cameras as camera_ops
from kerapose.skeletons import H36M

SIZE = (1002, 1000)  # height and width, pixels
CAMERA = {
    "orientation": np.array([0.5, -0.5, 0.5, -0.5], "float32"),  # looks along the x axis of the world
    "translation_m": np.array([-5.0, 0.3, 1.2], "float32"),
    "focal_px": np.array([1145.0, 1144.0], "float32"),
    "center_px": np.array([512.0, 515.0], "float32"),
    "radial": np.array([-0.2, 0.24, -0.003], "float32"),
    "tangential": np.array([-0.0009, -0.0014], "float32"),
}


def walk(frames, seed=0):
    """Poses [T, 17, 3] in the world: a person of random shape who drifts, metres."""
    random = np.random.default_rng(seed)
    body = random.uniform(-0.6, 0.6, (1, 17, 3)) + [0, 0, 1.0]
    path = np.linspace(0, 1, frames)[:, None, None] * random.uniform(-1, 1, (1, 1, 3)) * [1, 1, 0]
    return (body + path + random.normal(0, 0.02, (frames, 17, 3))).astype("float32")


def seen(poses_world_m, camera=CAMERA, size=SIZE):
    """What a camera sees of poses: pixels [T, J, 2]."""
    poses = camera_ops.world_to_camera(poses_world_m, camera["orientation"], camera["translation_m"])
    own = camera_ops.normalize_intrinsics(*(camera[key] for key in track_data.CAMERA_FIELDS), size)
    return np.asarray(camera_ops.denormalize_screen(camera_ops.project(poses, own), size))


def arrays(lengths=(9, 5, 14), **more):
    """Arguments of `from_arrays`."""
    poses = [walk(length, seed) for seed, length in enumerate(lengths)]
    return {
        "keypoints": [seen(each) for each in poses],
        "frame_sizes": SIZE,
        "poses_world_m": poses,
        "cameras": CAMERA,
        "names": [f"S{i}/walk {i}/c0" for i in range(len(lengths))],
        "subjects": [f"S{i}" for i in range(len(lengths))],
        "actions": ["walk", "run", "walk", "sit"][: len(lengths)],
        "camera_names": ["c0"] * len(lengths),
    } | more


def take(batches, count):
    return [tf.nest.map_structure(np.asarray, batch) for batch in batches.take(count)]


def of_batch(batch):
    """(keypoints, camera-space poses, cameras) of a batch for joint training, as the goldens have them."""
    inputs, targets = tf.nest.map_structure(np.asarray, batch)
    assert (targets["poses_m"][:, :, 0] == 0).all()
    return inputs["keypoints"], targets["poses_m"] + targets["trajectory_m"][:, :, None], inputs["camera"]


def assert_same(first, second):
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)


class Strolls(tfds.core.GeneratorBasedBuilder):
    """A tiny data set as the 3D ones of datasets/ are; `lost` hides a joint for some frames, another one throughout."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("whole", "lost", "never_prepared")]

    def _info(self):
        def track(*shape):
            return tfds.features.Tensor(shape=(None, *shape), dtype=np.float32, encoding="zlib")

        numbers = {key: tfds.features.Tensor(shape=value.shape, dtype=np.float32) for key, value in CAMERA.items()}
        features = {"keypoints": track(17, 2), "scores": track(17), "poses_world_m": track(17, 3)}
        features |= {"camera": numbers, "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32)}
        features |= {key: tfds.features.Text() for key in ("subject", "action", "camera_name", "name")}
        metadata = tfds.core.MetadataDict(skeleton=H36M.to_dict(), pose_skeleton=H36M.to_dict())
        features = tfds.features.FeaturesDict(features | {"fps": np.float32})
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        given = arrays()
        for i in range(3):
            scores = np.ones(given["keypoints"][i].shape[:2], "float32")
            if self.builder_config.name == "lost":
                scores[2:4, 5], scores[:, 9] = 0, 0
            yield (
                i,
                {
                    "keypoints": given["keypoints"][i],
                    "scores": scores,
                    "poses_world_m": given["poses_world_m"][i],
                    "camera": CAMERA,
                    "frame_size": SIZE,
                    "subject": given["subjects"][i],
                    "action": given["actions"][i],
                    "camera_name": "c0",
                    "name": given["names"][i],
                    "fps": 50.0,
                },
            )
