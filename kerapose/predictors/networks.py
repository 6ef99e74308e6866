"""What the predictors share: estimators know what they need, networks alone are asked."""

import typing

import keras

from kerapose import estimators, skeletons


def require(network: keras.Model, **needed: typing.Any) -> None:
    """Asks for what a network alone does not know.

    Args:
        network: that was given in place of an estimator.
        **needed: what was given besides by name, None for nothing.

    Raises:
        ValueError: if something was not given.
    """
    lacking = [name for name, value in needed.items() if value is None]
    if lacking:
        raise ValueError(
            f"A network alone does not know its {' and '.join(lacking)}, got {type(network).__name__}; give "
            f"{', '.join(f'{name}=...' for name in lacking)} as in its training, or an estimator, which knows."
        )


def require_keypoints(source: skeletons.Skeleton, target: skeletons.Skeleton, what: str) -> None:
    """Refuses keypoints from which those that a network sees cannot be worked out.

    Args:
        source: the set of the keypoints that there are.
        target: the set that the network sees.
        what: it is, for the error: "lifter".

    Raises:
        ValueError: naming the keypoints that cannot.
    """
    lacking = skeletons.lacking(source, target)
    if lacking:
        raise ValueError(
            f"The {what} sees keypoints of {target.name}, which must follow from those given, of {source.name}: "
            f"{', '.join(lacking)} cannot; use a {what} that was trained on keypoints like yours."
        )


def chosen(estimator: estimators.Estimator, options: dict, **named: typing.Any) -> estimators.Estimator:
    """An estimator with other options, and with those of the named ones that are not None."""
    return estimator.changed(**{name: value for name, value in named.items() if value is not None}, **options)
