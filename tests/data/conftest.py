"""Fixtures of the pipelines' tests."""

import pytest

from kerapose.data.order import Share


@pytest.fixture(scope="session")
def put_together():
    """A function that gives the parts of the first batches, which several workers make, in their order.

    It takes a function that makes the pipeline of a share, how many batches are wanted, and how many workers there are
    with how many devices each: a list of parts for each batch.
    """

    def parts(make, steps, count, replicas):
        workers = [
            list(make(Share(index, count, replicas)).take(steps * replicas).as_numpy_iterator())
            for index in range(count)
        ]
        return [
            [part for own in workers for part in own[step * replicas : (step + 1) * replicas]] for step in range(steps)
        ]

    return parts
