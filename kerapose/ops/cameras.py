"""From the world to a camera and from there to its picture, and the screen coordinates that lifting works in.

World: metres, z up. Camera space: metres, x right, y down, z forward. The screen is what the published lifters see: x
runs from -1 at the left edge of the picture to 1 at the right one, and y has the same unit, half the width, so that a
picture keeps its proportions. The intrinsics of a camera, too, are given for the screen, as a vector of nine: ``fx, fy,
cx, cy, k1, k2, k3, p1, p2``, which are focal lengths, principal point, radial and tangential distortion.
"""

import keras
import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import ArrayLike, Tensor

__all__ = [
    "camera_to_world",
    "conjugate",
    "denormalize_screen",
    "mirror",
    "mirror_camera",
    "normalize_intrinsics",
    "normalize_screen",
    "project",
    "rotate",
    "world_to_camera",
]

_UNIT_TOLERANCE = 1e-3  # how far from 1 the norm of a rotation's quaternion may be
_LEAST_DEPTH_M = 1e-8


def normalize_screen(keypoints: Tensor, frame_size: Tensor) -> Tensor:
    """Takes keypoints from pixels to the screen; both axes are divided by the width.

    Args:
        keypoints: [..., K, 2], pixels.
        frame_size: height and width, pixels: one pair for all, or [..., 2] with one axis less than `keypoints`, where
            axes of size 1 broadcast ([B, 1, 2] for tracks [B, T, K, 2]).

    Returns:
        [..., K, 2] float32: x in [-1, 1], y in [-h / w, h / w] for what is inside of the picture.

    Raises:
        ValueError: if shapes do not fit, or, outside of a graph, a keypoint is NaN or a size is not positive.

    Example:
        >>> from kerapose.ops import cameras
        >>> np.asarray(cameras.normalize_screen([[1000.0, 0.0], [500.0, 250.0]], (500, 1000))).tolist()
        [[1.0, -0.5], [0.0, 0.0]]

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training",
    CVPR 2019.
    """
    keypoints = _vectors("keypoints", keypoints, 2)
    height, width = _sides(frame_size, len(keypoints.shape) - 1)
    return _to_screen(keypoints, height[..., None], width[..., None])


def denormalize_screen(points: Tensor, frame_size: Tensor) -> Tensor:
    """Takes points from the screen to pixels, the inverse of `normalize_screen`.

    Args:
        points: [..., K, 2], screen.
        frame_size: as of `normalize_screen`.

    Returns:
        [..., K, 2] float32, pixels.

    Raises:
        ValueError: as `normalize_screen`.

    Example:
        >>> from kerapose.ops import cameras
        >>> np.asarray(cameras.denormalize_screen([[1.0, -0.5]], (500, 1000))).tolist()
        [[1000.0, 0.0]]
    """
    points = _vectors("points", points, 2)
    height, width = _sides(frame_size, len(points.shape) - 1)
    height, width = height[..., None], width[..., None]
    x, y = points[..., 0], points[..., 1]
    return ops.stack([(x + 1.0) * (width / 2), y * (width / 2) + height / 2], axis=-1)


def normalize_intrinsics(
    focal_px: Tensor, center_px: Tensor, radial: Tensor, tangential: Tensor, frame_size: Tensor
) -> Tensor:
    """Brings the intrinsics of a camera from pixels to the vector of nine that belongs to the screen.

    Args:
        focal_px: [..., 2] focal lengths along x and y, pixels.
        center_px: [..., 2] principal point, pixels.
        radial: [..., 3] k1, k2, k3.
        tangential: [..., 2] p1, p2, in the order in which `project` takes them: p1 acts on x. Tables made for OpenCV
            have them the other way round.
        frame_size: [..., 2] height and width, pixels.

    Returns:
        [..., 9] float32: fx, fy, cx, cy, k1, k2, k3, p1, p2. Leading axes broadcast.

    Raises:
        ValueError: if shapes do not fit, or, outside of a graph, a number is NaN or a size or focal length is not
            positive.

    Example:
        >>> from kerapose.ops import cameras
        >>> radial, tangential = (0.0, 0.0, 0.0), (0.0, 0.0)
        >>> camera = cameras.normalize_intrinsics((1145.0, 1144.0), (512.0, 515.0), radial, tangential, (1002, 1000))
        >>> np.asarray(camera).tolist()
        [2.29, 2.288, 0.024, 0.028, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    focal = _vectors("focal_px", focal_px, 2)
    _refuse_not_positive("focal_px", focal_px, "give focal lengths in pixels, x first")
    centre = _vectors("center_px", center_px, 2)
    radial, tangential = _vectors("radial", radial, 3), _vectors("tangential", tangential, 2)
    height, width = _sides(frame_size)
    focal = focal / width[..., None] * 2.0
    parts = [focal, _to_screen(centre, height, width), radial, tangential]
    leading = sum(ops.zeros_like(part[..., :1]) for part in parts)  # [..., 1], all leading axes
    return ops.concatenate([part + leading for part in parts], axis=-1)


# ---------------------------------------------------------------------------------------------------------- rotations
def rotate(quaternion: Tensor, vectors: Tensor) -> Tensor:
    """Turns vectors by quaternions.

    Args:
        quaternion: [..., 4] (w, x, y, z) of unit length; it is neither checked nor normalized.
        vectors: [..., 3], in any unit; leading axes broadcast.

    Returns:
        [..., 3] float32, in the unit of `vectors`.

    Raises:
        ValueError: if the last axis of either has another size.

    Example:
        >>> from kerapose.ops import cameras
        >>> np.asarray(cameras.rotate((0.7071, 0.0, 0.0, 0.7071), (1.0, 0.0, 0.0))).tolist()  # a quarter turn about z
        [0.0, 1.0, 0.0]
    """
    quaternion = _vectors("quaternion", quaternion, 4, numbers=False)
    vectors = _vectors("vectors", vectors, 3, numbers=False)
    w, axis = quaternion[..., :1], quaternion[..., 1:]
    once = _cross(axis, vectors)
    return vectors + 2.0 * (w * once + _cross(axis, once))


def conjugate(quaternion: Tensor) -> Tensor:
    """Gives the quaternion (w, -x, -y, -z), which turns back what one of unit length has turned.

    Args:
        quaternion: [..., 4] (w, x, y, z).

    Returns:
        [..., 4] float32.

    Raises:
        ValueError: if the last axis has another size.

    Example:
        >>> from kerapose.ops import cameras
        >>> quarter = (0.7071, 0.0, 0.0, 0.7071)
        >>> np.asarray(cameras.rotate(cameras.conjugate(quarter), (0.0, 1.0, 0.0))).tolist()
        [1.0, 0.0, 0.0]
    """
    quaternion = _vectors("quaternion", quaternion, 4, numbers=False)
    return quaternion * np.array([1, -1, -1, -1], "float32")


def world_to_camera(points_m: Tensor, orientation: Tensor, translation_m: Tensor) -> Tensor:
    """Takes points from the world to the space of a camera.

    Args:
        points_m: [..., T, J, 3], metres; of any rank >= 1 if one camera serves them all.
        orientation: [4] or [..., 4], the unit quaternion (w, x, y, z) that turns camera axes into world axes.
        translation_m: [3] or [..., 3], where in the world the camera stands, metres.

    Returns:
        [..., T, J, 3] float32, metres.

    Raises:
        ValueError: if shapes do not fit, or, outside of a graph, a number is NaN or the length of an orientation is
            not 1.

    Example:
        >>> from kerapose.ops import cameras
        >>> orientation = (0.7071, -0.7071, 0.0, 0.0)  # looks along y of the world
        >>> points = cameras.world_to_camera([[0.0, 5.0, 1.0]], orientation, (0.0, 0.0, 1.5))
        >>> np.asarray(points).tolist()  # 5 metres away, half a metre below the camera
        [[0.0, 0.5, 5.0]]
    """
    points = _vectors("points_m", points_m, 3)
    orientation, translation = _pose_of_camera(points, orientation, translation_m)
    return rotate(conjugate(orientation), points - translation)


def camera_to_world(points_m: Tensor, orientation: Tensor, translation_m: Tensor) -> Tensor:
    """Takes points from the space of a camera to the world, the inverse of `world_to_camera`.

    Args:
        points_m: [..., T, J, 3], metres, camera space.
        orientation: as of `world_to_camera`.
        translation_m: as of `world_to_camera`.

    Returns:
        [..., T, J, 3] float32, metres, z up.

    Raises:
        ValueError: as `world_to_camera`.

    Example:
        >>> from kerapose.ops import cameras
        >>> orientation = (0.7071, -0.7071, 0.0, 0.0)  # looks along y of the world
        >>> np.asarray(cameras.camera_to_world([[0.0, 0.5, 5.0]], orientation, (0.0, 0.0, 1.5))).tolist()
        [[0.0, 5.0, 1.0]]
    """
    points = _vectors("points_m", points_m, 3)
    orientation, translation = _pose_of_camera(points, orientation, translation_m)
    return rotate(orientation, points) + translation


# ---------------------------------------------------------------------------------------------------------- projection
def project(points_m: Tensor, camera: Tensor, distortion: bool = True) -> Tensor:
    """Projects points onto the screen of a camera.

    As published, X / Z and Y / Z are clipped to [-1, 1] first, also without distortion: lenses have no wider view, and
    the polynomial of the distortion holds nowhere else. Points behind the camera are not told from points in front.

    Args:
        points_m: [..., T, J, 3] in camera space, metres; of any rank >= 1 if one camera serves them all.
        camera: [9] or [..., 9] (`normalize_intrinsics`).
        distortion: whether the lens distorts. False: only focal lengths and principal point count.

    Returns:
        [..., T, J, 2] float32, screen.

    Raises:
        ValueError: if shapes do not fit, or, outside of a graph, a number is NaN or infinite.

    Example:
        >>> from kerapose.ops import cameras
        >>> camera = (2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        >>> np.asarray(cameras.project([0.5, -0.25, 5.0], camera)).tolist()
        [0.2, -0.1]

    Paper: Pavllo et al., CVPR 2019, whose formula this is (radial of three terms, tangential of two, as in OpenCV with
    p1 and p2 exchanged).
    """
    points, camera = _vectors("points_m", points_m, 3), _vectors("camera", camera, 9)
    camera = _over_frames("camera", camera, points)
    depth = points[..., 2:]
    # No quotient is infinite: clipped away or not, its gradient would be NaN.
    least = ops.where(depth < 0, np.float32(-_LEAST_DEPTH_M), np.float32(_LEAST_DEPTH_M))
    depth = ops.where(ops.abs(depth) < _LEAST_DEPTH_M, least, depth)
    ray = ops.clip(points[..., :2] / depth, -1.0, 1.0)
    focal, centre = camera[..., :2], camera[..., 2:4]
    if not distortion:
        return focal * ray + centre
    k1, k2, k3 = camera[..., 4:5], camera[..., 5:6], camera[..., 6:7]
    tangential = camera[..., 7:]
    squared = ops.sum(ops.square(ray), axis=-1, keepdims=True)  # [..., T, J, 1]
    stretch = 1.0 + squared * (k1 + squared * (k2 + squared * k3)) + ops.sum(tangential * ray, axis=-1, keepdims=True)
    return focal * (ray * stretch + tangential * squared) + centre


# ------------------------------------------------------------------------------------------------------ mirror images
def mirror(points: Tensor, flip_permutation: ArrayLike) -> Tensor:
    """Mirrors screen points or camera-space poses left to right: x is negated, left and right joints trade places.

    Args:
        points: [..., J, 2] screen or [..., J, 3] metres.
        flip_permutation: [J], the joint that each one comes from (`Skeleton.flip_permutation`).

    Returns:
        The mirrored points, of the same shape, float32.

    Raises:
        ValueError: if `points` have another shape, or `flip_permutation` does not exchange their joints in pairs.

    Example:
        >>> from kerapose.ops import cameras
        >>> np.asarray(cameras.mirror([[0.1, 0.0], [0.5, 0.2], [-0.3, 0.2]], (0, 2, 1))).tolist()
        [[-0.1, 0.0], [0.3, 0.2], [-0.5, 0.2]]
    """
    points = ops.cast(points, "float32")
    shape, order = points.shape, np.asarray(flip_permutation, "int32")
    if len(shape) < 2 or shape[-1] not in (2, 3):
        raise ValueError(
            f"points must be [..., J, 2] or [..., J, 3], got {tuple(shape)}; mirror keypoints, not vectors."
        )
    if not np.array_equal(order[np.clip(order, 0, len(order) - 1)], np.arange(len(order))) or len(order) != shape[-2]:
        raise ValueError(
            f"flip_permutation must exchange the {shape[-2]} joints in pairs, got {order.tolist()}; "
            "use flip_permutation of their Skeleton."
        )
    sign = np.array([-1, 1, 1][: shape[-1]], "float32")
    return ops.take(points, order, axis=-2) * sign


def mirror_camera(camera: Tensor) -> Tensor:
    """Gives the camera that sees mirrored poses as mirrored keypoints: cx and p1 are negated.

    Args:
        camera: [..., 9] (`normalize_intrinsics`).

    Returns:
        [..., 9] float32.

    Raises:
        ValueError: if the last axis has another size.

    Example:
        >>> from kerapose.ops import cameras
        >>> np.asarray(cameras.mirror_camera((2.0, 2.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0)))[[2, 7]].tolist()
        [-0.1, -0.01]
    """
    camera = _vectors("camera", camera, 9, numbers=False)
    return camera * np.array([1, 1, -1, 1, 1, 1, 1, -1, 1], "float32")


# ------------------------------------------------------------------------------------------------------------ helpers
def _to_screen(points, height, width):
    """[..., 2] px by sides that broadcast to [...]."""
    x, y = points[..., 0], points[..., 1]
    return ops.stack([x / width * 2.0 - 1.0, y / width * 2.0 - height / width], axis=-1)


def _cross(first, second):
    """The vector product, broadcast, which `ops.cross` does not: [..., 3], [..., 3] -> [..., 3]."""
    (a, b, c), (x, y, z) = ([vectors[..., i] for i in range(3)] for vectors in (first, second))
    return ops.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def _sides(frame_size, rank=None):
    """Heights and widths [...] float32 of checked frame sizes: one pair, or of `rank` axes."""
    if frame_size is None:
        raise ValueError("frame_size must be (height, width) in pixels, got None; say how large the picture is.")
    _refuse_not_positive("frame_size", frame_size, "give the (height, width) in pixels of the picture")
    sizes = ops.cast(frame_size, "float32")
    shape = tuple(sizes.shape)
    if not shape or shape[-1] != 2:
        raise ValueError(f"frame_size must be (height, width) or [..., 2], got the shape {shape}; give both sides.")
    if rank is not None and len(shape) not in (1, rank):
        wanted = ", ".join(["1"] * (rank - 2))
        raise ValueError(
            f"frame_size must be one pair or have {rank} axes, as the keypoints have without their own, "
            f"got the shape {shape}; " + (f"[B, {wanted}, 2] gives each of B tracks its own." if wanted else "say one.")
        )
    return sizes[..., 0], sizes[..., 1]


def _pose_of_camera(points, orientation, translation):
    values = _concrete(orientation)
    orientation, translation = _vectors("orientation", orientation, 4), _vectors("translation_m", translation, 3)
    if values is not None:
        norms = np.linalg.norm(values, axis=-1)
        worst = norms.flat[np.argmax(np.abs(norms - 1))] if norms.size else 1.0
        if abs(worst - 1) > _UNIT_TOLERANCE:
            raise ValueError(
                f"orientation must be a unit quaternion (w, x, y, z), got one of length {worst:.4g}; "
                "divide it by its length."
            )
    return _over_frames("orientation", orientation, points), _over_frames("translation_m", translation, points)


def _over_frames(name, values, points):
    """What there is once for all frames and joints, [..., C], against [..., T, J, 3]: [..., 1, 1, C], or [C]."""
    given, rank = tuple(values.shape), len(points.shape)
    if len(given) == 1:
        return values
    if len(given) + 2 > rank:  # broadcasting would quietly pair frames with cameras
        raise ValueError(
            f"{name} must have two axes less than points [..., T, J, 3], got {given} for {tuple(points.shape)}; "
            f"give the points an axis of frames, or one {name} for them all."
        )
    return values[..., None, None, :]


def _vectors(name, values, size, numbers=True):
    """Values as float32 [..., size]; refused if they are not, or (where known and `numbers`) not finite."""
    if numbers:
        _refuse_unnumbered(name, values)
    values = ops.cast(values, "float32")
    shape = tuple(values.shape)
    if not shape or shape[-1] != size:
        raise ValueError(f"{name} must be [..., {size}], got {shape}; check which array this is.")
    return values


def _refuse_unnumbered(name, values):
    values = _concrete(values)
    if values is not None and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(
            f"{name} must be numbers, got {count} that are NaN or infinite; fill gaps of a track or cut it there first."
        )


def _refuse_not_positive(name, values, remedy):
    known = _concrete(values)
    if known is not None and not (known > 0).all():
        raise ValueError(f"{name} must be positive, got {known.tolist()}; {remedy}.")


def _concrete(values):
    """Values as a NumPy array, or None where they are known only once a graph runs."""
    if isinstance(values, keras.KerasTensor):
        return None
    try:
        return np.asarray(values)
    except (NotImplementedError, TypeError, RuntimeError):  # as TensorFlow, JAX and PyTorch say it
        return None
