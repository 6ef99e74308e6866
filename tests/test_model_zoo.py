"""The tables of the model zoo: every variant is counted, and every preset is of a variant that there is."""

import pathlib
import sys

import pytest

from kerapose import presets

EXTENSIONS = pathlib.Path(__file__).resolve().parents[1] / "docs" / "extensions"


@pytest.fixture(scope="module")
def tables():
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(EXTENSIONS))
    try:
        import tables

        yield tables
    finally:
        sys.path.remove(str(EXTENSIONS))


def test_each_variant_is_counted(tables):
    known = {(network, variant) for network, variants in tables.networks().items() for variant in variants}
    assert set(tables.read_counts()) == known, "run python docs/extensions/tables.py"


def test_counts_are_those_of_the_networks(tables):
    for network, variant in (("C3D", "c3d_tiny"), ("TemporalLifter", "27_small")):
        assert f"{tables.count(network, variant) / 1e6:.3g}" == tables.read_counts()[network, variant]


def test_a_head_is_not_counted(tables):
    from kerapose import models

    network = models.C3D.from_variant("c3d_tiny", num_classes=5)
    sizes = {layer.name: sum(weight.numpy().size for weight in layer.trainable_variables) for layer in network.layers}
    assert tables.count("C3D", "c3d_tiny") == sum(sizes.values()) - sizes["fc_cls"]


def test_each_preset_is_of_a_counted_variant(tables):
    for name in presets.names():
        known = presets.get(name)
        assert (known.network, known.variant) in tables.read_counts(), name
