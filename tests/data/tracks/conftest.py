"""Makes `strolls` known to the tests beside it, and its tracks."""

import pathlib
import sys

import pytest

from kerapose.data import tracks as track_data

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import strolls


@pytest.fixture(scope="session")
def tracks():
    return track_data.from_arrays(**strolls.arrays())


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    for config in ("whole", "lost"):
        strolls.Strolls(config=config, data_dir=folder).download_and_prepare()
    return folder
