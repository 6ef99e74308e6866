"""Networks alone in other runtimes: LiteRT and ONNX."""

import sys

import keras
import numpy as np
import pytest

from kerapose import export, models


def run_litert(path, volumes):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    return interpreter.get_signature_runner()(volume=volumes)["logits"]


def run_onnx(path, volumes):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return session.run(["logits"], {"volume": volumes})[0]


FORMATS = {"litert": (export.litert, "actions.tflite", run_litert), "onnx": (export.onnx, "actions.onnx", run_onnx)}
NETWORKS = {  # short ones, with all that a variant may have: a converter takes seconds for each block
    "c3d": (models.C3D, {"base_filters": 4, "num_stages": 3, "temporal_downsample": True}),
    "slowonly": (
        models.SlowOnly,
        {
            "base_filters": 4,
            "stage_blocks": (1, 1),
            "inflate": (False, True),
            "spatial_strides": (1, 2),
            "temporal_strides": (1, 2),
            "stem_stride": 2,
            "stem_pool_stride": 2,
        },
    ),
    "x3d": (
        models.X3D,
        {
            "base_filters": 8,
            "stage_blocks": (2,),  # one with squeeze and excitation and one without
            "spatial_strides": (2,),
            "gamma_d": 1.0,
            "se_ratio": 1 / 16,
            "swish": True,
        },
    ),
}


def tiny_network():
    return models.C3D(5, input_shape=(8, 24, 24, 17), base_filters=4, num_stages=3)


def smallest_network():
    """Not one of ours: to be written where it does not matter what."""
    volumes = keras.Input((8, 24, 24, 17))
    return keras.Model(volumes, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling3D()(volumes)))


def volumes_like(network, batch):
    return np.random.default_rng(batch).random((batch, *network.input_shape[1:]), dtype="float32")


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_same_logits_in_other_runtimes(tmp_path, randomized, file_format, name):
    cls, arguments = NETWORKS[name]
    network = randomized(cls(5, input_shape=(8, 24, 24, 17), **arguments))
    write, file, run = FORMATS[file_format]
    assert write(network, tmp_path / file) == tmp_path / file
    for batch in (1, 3):
        volumes = volumes_like(network, batch)
        expected = network(volumes, training=False)
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(run(tmp_path / file, volumes), expected, rtol=1e-3, atol=1e-4)
    assert [entry.name for entry in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("kind", ["coordinates", "vectors"])
def test_networks_of_images_give_what_they_give_by_its_name(tmp_path, file_format, kind):
    keras.utils.set_random_seed(0)
    crops = keras.Input((16, 12, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 4, strides=4, activation="relu")(crops))
    sizes = {"x": 24, "y": 32} if kind == "vectors" else {"coordinates": 4}
    outputs = {name: keras.layers.Reshape((5, size))(keras.layers.Dense(5 * size)(x)) for name, size in sizes.items()}
    network = keras.Model(crops, outputs if kind == "vectors" else outputs["coordinates"])
    write, file, _ = FORMATS[file_format]
    path = write(network, tmp_path / file)
    images = volumes_like(network, 3)
    expected = network(images)
    expected = expected if kind == "vectors" else {"coordinates": expected}
    if file_format == "litert":
        interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
        found = interpreter.get_signature_runner()(image=images)
    else:
        session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
        found = dict(zip(sizes, session.run(list(sizes), {"image": images}), strict=True))
    assert set(found) == set(sizes)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)


def test_a_network_of_another_precision_is_written_in_float32(tmp_path, randomized, policy):
    exact = randomized(tiny_network())
    with policy("mixed_bfloat16"):
        network = randomized(tiny_network())
        export.onnx(network, tmp_path / "actions.onnx")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    volumes = volumes_like(network, 2)
    expected = exact(volumes, training=False)
    np.testing.assert_allclose(run_onnx(tmp_path / "actions.onnx", volumes), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(network(volumes, training=False) - expected).max() > 1e-3


@pytest.mark.parametrize("write", [export.litert, export.onnx])
def test_networks_of_other_kinds_are_refused(tmp_path, write):
    lifter = models.TemporalLifter(5, filter_widths=(3,), channels=4)
    for network, name in ((lifter, "TemporalLifter"), ({"joint": lifter}, "dict")):
        with pytest.raises(ValueError, match=f"from a volume to logits, got {name} of inputs .*; give one of these"):
            write(network, tmp_path / ("a.tflite" if write is export.litert else "a.onnx"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_are_refused_by_ending_and_kept(tmp_path, file_format):
    write, file, _ = FORMATS[file_format]
    with pytest.raises(ValueError, match=f"must end in {(tmp_path / file).suffix}, got .*; rename it"):
        write(smallest_network(), tmp_path / "actions.bin")
    (tmp_path / file).write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(smallest_network(), tmp_path / file)
    assert (tmp_path / file).read_bytes() == b"mine"
    write(smallest_network(), tmp_path / file, overwrite=True)
    assert len((tmp_path / file).read_bytes()) > 500


def test_onnx_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'kerapose\[export\]'"):
        export.onnx(smallest_network(), tmp_path / "actions.onnx")
    assert list(tmp_path.iterdir()) == []
