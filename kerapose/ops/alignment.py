"""Laying one pose on another: by a similarity (Procrustes), or by its size alone."""

from kerapose.ops.graphs import ops
from kerapose.types import Tensor

__all__ = [
    "align",
    "procrustes",
    "scale_to",
]


def procrustes(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The similarities that bring point sets closest to others in the sense of least squares.

    The rotation is a proper one: a mirrored pose is turned as near as turning gets it, not mirrored back. Gradients are
    not meant to flow through here: where two singular values are equal they are not finite.

    Args:
        source: [..., J, 3], points in any unit, metres for poses.
        target: [..., J, 3], in the same order and unit.

    Returns:
        scale [...], rotation [..., 3, 3] and translation [..., 3] in the unit of `target`, float32, such that
        ``scale * source @ transpose(rotation) + translation`` lies on `target`. Where all points of a source are one,
        its scale is 0 and they go to the centre of the target.

    Raises:
        ValueError: if the shapes differ or the points are not 3D.

    Example:
        >>> from kerapose.ops import alignment
        >>> scale, rotation, translation = alignment.procrustes(poses_m, 2.0 * poses_m + [0.0, 0.0, 5.0])
        >>> float(scale[0]), np.asarray(translation[0]).tolist(), tuple(rotation.shape)
        (2.0, [0.0, 0.0, 5.0], (30, 3, 3))

    Paper: Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", TPAMI 1991.
    """
    source, target = _point_sets(source, target, 3)
    scale, rotation, source_centre, target_centre = _similarity(source, target)
    translation = target_centre - scale * ops.matmul(source_centre, ops.swapaxes(rotation, -1, -2))
    return scale[..., 0, 0], rotation, translation[..., 0, :]


def align(source: Tensor, target: Tensor) -> Tensor:
    """Lays each point set on another by its `procrustes` similarity, as P-MPJPE does frame by frame.

    Args:
        source: [..., J, 3], points in any unit, metres for poses.
        target: [..., J, 3], in the same order and unit.

    Returns:
        [..., J, 3] float32: the moved source.

    Raises:
        ValueError: as `procrustes`.

    Example:
        >>> from kerapose.ops import alignment
        >>> found = alignment.align(2.0 * poses_m + 1.0, poses_m)  # another size, another place: nothing is left of it
        >>> float(np.abs(np.asarray(found) - poses_m).max())
        0.000
    """
    source, target = _point_sets(source, target, 3)
    scale, rotation, source_centre, target_centre = _similarity(source, target)
    # Turned about its centre: far from the origin a translation would leave fewer digits.
    return scale * ops.matmul(source - source_centre, ops.swapaxes(rotation, -1, -2)) + target_centre


def scale_to(source: Tensor, target: Tensor) -> Tensor:
    """Brings each point set to the size of another by the one factor of N-MPJPE, which does not move its origin.

    Args:
        source: [..., J, C], points from their root, in any unit.
        target: [..., J, C], in the same order and unit.

    Returns:
        [..., J, C] float32: the source times its factor, 0 where all of the source is 0.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> from kerapose.ops import alignment
        >>> scaled = alignment.scale_to([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> np.asarray(scaled).tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    Paper: Rhodin et al., "Unsupervised Geometry-Aware Representation for 3D Human Pose Estimation", ECCV 2018.
    """
    source, target = _point_sets(source, target)
    shared = ops.sum(source * target, axis=(-2, -1), keepdims=True)
    return source * _divide(shared, ops.sum(ops.square(source), axis=(-2, -1), keepdims=True))


def _similarity(source, target):
    """Scale [..., 1, 1], rotation [..., 3, 3] and both centres [..., 1, 3]."""
    source_centre, target_centre = (ops.mean(points, axis=-2, keepdims=True) for points in (source, target))
    source, target = source - source_centre, target - target_centre
    source_norm, target_norm = _norm(source), _norm(target)  # [..., 1, 1]
    # Of unit size both, so that the rotation does not depend on units and nothing under- or overflows.
    source, target = _divide(source, source_norm), _divide(target, target_norm)
    covariance = ops.matmul(ops.swapaxes(target, -1, -2), source)  # [..., 3, 3]
    u, singular, vt = ops.svd(covariance, full_matrices=False)
    mirrored = ops.det(u) * ops.det(vt) < 0  # [...]
    last = ops.where(mirrored, -1.0, 1.0)[..., None]
    signs = ops.concatenate([ops.ones_like(singular[..., :2]), last], axis=-1)  # [..., 3], the least value last
    rotation = ops.matmul(u * signs[..., None, :], vt)
    agreement = ops.sum(singular * signs, axis=-1)[..., None, None]
    return _divide(agreement * target_norm, source_norm), rotation, source_centre, target_centre


def _point_sets(source, target, size=None):
    source, target = ops.cast(source, "float32"), ops.cast(target, "float32")
    first, second = tuple(source.shape), tuple(target.shape)
    wanted = "C" if size is None else size
    fit = len(first) == len(second) and all(a == b or None in (a, b) for a, b in zip(first, second, strict=True))
    if len(first) < 2 or not fit or size not in (None, first[-1]):
        raise ValueError(
            f"source and target must be [..., J, {wanted}] alike, got {first} and {second}; "
            "give the same frames and joints."
        )
    return source, target


def _norm(points):
    return ops.sqrt(ops.sum(ops.square(points), axis=(-2, -1), keepdims=True))


def _divide(numerator, denominator):
    """0 where the denominator is; differentiable there, as `ops.divide_no_nan` is on TensorFlow alone."""
    positive = denominator > 0
    return ops.where(positive, numerator / ops.where(positive, denominator, 1.0), 0.0)
