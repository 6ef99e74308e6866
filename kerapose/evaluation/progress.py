"""What is shown of work that takes a while."""

import sys

import keras


def in_terminal() -> bool:
    """Whether somebody looks on as it happens: without a terminal there is a line an epoch, and no bar.

    Example:
        >>> from kerapose.evaluation import progress
        >>> progress.in_terminal()
        False
    """
    return sys.stdout.isatty()


def make_bar(count: int | None, unit_name: str) -> keras.utils.Progbar:
    """A bar of so many units, None for nobody knows; without a terminal a line at its end, if that is known."""
    return keras.utils.Progbar(count, unit_name=unit_name, verbose=1 if in_terminal() else 2)
