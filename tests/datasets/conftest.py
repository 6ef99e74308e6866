"""Makes TFDS's own test of a builder read each split once."""

import functools

import pytest
from tensorflow_datasets import testing


class ReadOnce:
    """A builder, whose splits are as good for a look at their types as for being read."""

    def __init__(self, builder):
        self.info, self.as_dataset = builder.info, functools.cache(builder.as_dataset)


@pytest.fixture(autouse=True, scope="session")
def splits_read_once():
    """Of each data set, where TFDS makes them four times and reads them twice: the second time by a builder like it."""
    check, read = testing.DatasetBuilderTestCase._assertAsDataset, set()

    def check_once(self, builder):
        if builder.data_dir not in read:
            read.add(builder.data_dir)
            check(self, ReadOnce(builder))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing.DatasetBuilderTestCase, "_assertAsDataset", check_once)
        yield
