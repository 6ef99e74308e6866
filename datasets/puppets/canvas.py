"""The canvas: solid shapes before a camera, with shading and a depth for each pixel.

Shapes are given in camera axes (x to the right, y down, z into the picture), metres. What is nearer hides what is
farther, pixel by pixel, so that arms may cross before a chest and one person stand behind another.
"""

import dataclasses
import math

import cv2
import numpy as np

SUBPIXEL_BITS = 4
NEAREST_M = 0.2
_CIRCLE = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10)], axis=1)


@dataclasses.dataclass(frozen=True)
class Light:
    """Light from far away.

    Attributes:
        direction: float array [3], unit length, camera axes, from the shapes towards the light.
        ambient: 0 to 1, how bright the side is that the light does not reach.
    """

    direction: np.ndarray
    ambient: float

    def shade(self, nx, ny, nz):
        """Gives the brightness of surfaces, 0 to 1, by their unit normals, which point away from the shape."""
        x, y, z = (float(value) * (1 - self.ambient) for value in self.direction)
        return self.ambient + np.maximum(nx * x + ny * y + nz * z, 0)


@dataclasses.dataclass(eq=False)
class Canvas:
    """A picture that is being drawn.

    Attributes:
        color: float32 array [H, W, 3], RGB, 0 to 1.
        focal_px: focal length, pixels.
        center_px: float array [2], principal point, x first.
        light: the `Light`.
        depth_m: float32 array [H, W], metres along the optical axis, of what is seen.
        owner: int16 array [H, W], whose surface is seen: 0 the background, the number given when a shape was drawn.
        outlines: for each positive owner, bool array [H, W], where the owner would be seen if alone.
    """

    color: np.ndarray
    focal_px: float
    center_px: np.ndarray
    light: Light

    def __post_init__(self):
        size = self.color.shape[:2]
        self.depth_m = np.full(size, np.inf, np.float32)
        self.owner = np.zeros(size, np.int16)
        self.outlines = {}

    def project(self, points_m):
        """Projects points [..., 3], camera axes, metres: pixels [..., 2] and pixels for a metre there [...]."""
        scale = self.focal_px / np.maximum(points_m[..., 2], NEAREST_M)
        return points_m[..., :2] * scale[..., None] + self.center_px, scale

    # ------------------------------------------------------------------------------------------------ shapes
    def cone(self, centers_m, radii_m, paint, owner, lift_m=0.0):
        """Draws a ball that rolls from one place to another, perhaps growing or shrinking: a limb.

        Args:
            centers_m: float array [2, 3], the ball's centres.
            radii_m: two radii.
            paint: a `Paint`, or an RGB colour.
            owner: int, whose the shape is.
            lift_m: how much nearer than it is the shape counts, when it is told what hides what.
        """
        if centers_m[0][2] < NEAREST_M or centers_m[1][2] < NEAREST_M:
            return
        points, scale = self.project(centers_m)
        radii = [max(float(radius * zoom), 0.5) for radius, zoom in zip(radii_m, scale, strict=True)]
        window = self._window(np.concatenate([points - max(radii), points + max(radii)]))
        if window is None:
            return
        x, y = _grid(window)
        start, bone = points[0].tolist(), (points[1] - points[0]).tolist()
        dx, dy = x - start[0], y - start[1]
        share = np.clip((dx * bone[0] + dy * bone[1]) / max(bone[0] ** 2 + bone[1] ** 2, 1e-3), 0, 1)
        dx, dy = dx - share * bone[0], dy - share * bone[1]
        radius = radii[0] + share * (radii[1] - radii[0])
        outward = np.sqrt(dx * dx + dy * dy)
        coverage = np.clip(radius - outward + 0.5, 0, 1)
        nx, ny = dx / radius, dy / radius
        rise = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0))
        (near, far), zoom = centers_m[:, 2].tolist(), float(scale.mean())
        depth = near + share * (far - near) - rise * (radius / zoom)
        self._put(window, coverage, depth - lift_m, _colors(paint, x, y), self.light.shade(nx, ny, -rise), owner)

    def hull(self, centers_m, radii_m, paint, owner, round_m=None, lift_m=0.0):
        """Draws the smallest convex shape that holds some balls: a trunk.

        Args:
            centers_m: float array [N, 3], the balls' centres.
            radii_m: float array [N].
            paint: a `Paint`, or an RGB colour.
            owner: int, whose the shape is.
            round_m: how far from its edge the shape is curved, metres; the mean radius when None.
            lift_m: how much nearer than it is the shape counts, when it is told what hides what.
        """
        if centers_m[:, 2].min() < NEAREST_M:
            return
        points, scale = self.project(centers_m)
        radii_m = np.broadcast_to(radii_m, len(centers_m))
        rim = points[:, None] + _CIRCLE * (radii_m * scale)[:, None, None]  # [N, 20, 2]
        outline = cv2.convexHull(rim.reshape(-1, 2).astype(np.float32))[:, 0]
        window = self._window(outline)
        if window is None:
            return
        coverage, zoom = _fill(outline, window), float(scale.mean())
        round_m = float(radii_m.mean()) if round_m is None else round_m
        bulge, nx, ny, nz = _puff(coverage, round_m * zoom)
        x, y = _grid(window)
        plane = _plane(points, centers_m[:, 2])
        # The more the balls are behind one another, as in a trunk seen from the side, the farther it comes forward.
        reach_m = 0.8 * float(radii_m.mean() + (plane(*points.T) - centers_m[:, 2]).std())
        depth = plane(x, y) - bulge * reach_m - lift_m
        self._put(window, coverage, depth, _colors(paint, x, y), self.light.shade(nx, ny, nz), owner)

    def polygon(self, corners_m, color, owner):
        """Draws a flat convex polygon [N, 3] in one colour."""
        if corners_m[:, 2].min() < NEAREST_M:
            return
        points, _ = self.project(corners_m)
        window = self._window(points)
        if window is None:
            return
        normal = np.cross(corners_m[1] - corners_m[0], corners_m[2] - corners_m[0])
        normal = normal / max(np.linalg.norm(normal), 1e-9)
        if normal @ corners_m[0] > 0:  # the side that is seen
            normal = -normal
        depth = 1 / np.maximum(_plane(points, 1 / corners_m[:, 2])(*_grid(window)), 1e-3)  # linear in 1 / depth
        outward = points - points.mean(axis=0)  # a little larger, so that no gap shows where two faces meet
        points = points + 0.5 * outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
        shade = np.full(depth.shape, self.light.shade(*normal), np.float32)
        self._put(window, _fill(points.astype(np.float32), window), depth, np.asarray(color, np.float32), shade, owner)

    def ellipsoid(self, center_m, axes, paint_surface, owner):
        """Draws an ellipsoid.

        Args:
            center_m: float array [3].
            axes: float array [3, 3], the half axes as columns.
            paint_surface: function of points on the unit ball [h, w, 3], in the ellipsoid's own axes, to RGB colours
                [h, w, 3] and coverage [h, w]; or an RGB colour.
            owner: int, whose the shape is.
        """
        if center_m[2] < NEAREST_M + np.abs(axes[2]).sum():
            return
        middle, scale = self.project(center_m)
        spread = axes[:2] @ axes[:2].T * scale**2  # [2, 2], of the outline
        reach = np.sqrt(np.diag(spread))
        window = self._window(np.stack([middle - reach, middle + reach]))
        if window is None:
            return
        x, y = _grid(window)
        x, y = x - float(middle[0]), y - float(middle[1])
        # A point c + axes u has unit u. Across the picture x and y are known, depth is the root nearest the camera.
        inverse = np.linalg.inv(axes).astype(np.float32)
        across = np.stack(np.broadcast_arrays(x, y), axis=-1) @ (inverse[:, :2].T / float(scale))
        away = inverse[:, 2]
        half, a = across @ away, away @ away
        root = half * half - a * (np.sum(across * across, axis=-1) - 1)
        into = (-half - np.sqrt(np.maximum(root, 0))) / a
        unit = across + into[..., None] * away
        (xx, xy), (_, yy) = np.linalg.inv(spread).tolist()
        outward = np.sqrt(xx * x * x + 2 * xy * x * y + yy * y * y)
        coverage = np.clip((1 - outward) * float(reach.min()) + 0.5, 0, 1)
        normal = unit @ inverse
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
        if callable(paint_surface):
            color, share = paint_surface(unit)
            coverage = coverage * share
        else:
            color = np.asarray(paint_surface, np.float32)
        shade = self.light.shade(*np.moveaxis(normal, -1, 0))
        self._put(window, coverage, center_m[2] + into, color, shade, owner)

    # ------------------------------------------------------------------------------------------------ pixels
    def _window(self, points):
        """The pixels (left, top, right, bottom), the last two excluded, that points [N, 2] span; None outside."""
        height, width = self.depth_m.shape
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        left, top = max(math.floor(left) - 2, 0), max(math.floor(top) - 2, 0)
        right, bottom = min(math.ceil(right) + 3, width), min(math.ceil(bottom) + 3, height)
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _put(self, window, coverage, depth, color, shade, owner):
        left, top, right, bottom = window
        part = np.s_[top:bottom, left:right]
        solid = coverage > 0.5
        if owner > 0:
            if owner not in self.outlines:
                self.outlines[owner] = np.zeros(self.depth_m.shape, bool)
            self.outlines[owner][part] |= solid
        nearer = depth < self.depth_m[part]
        share = (coverage * nearer)[..., None]
        canvas = self.color[part]
        canvas += share * (color * shade[..., None] - canvas)
        seen = solid & nearer
        np.copyto(self.depth_m[part], depth, where=seen, casting="same_kind")
        np.copyto(self.owner[part], owner, where=seen)


@dataclasses.dataclass(frozen=True)
class Paint:
    """A pattern that follows a shape.

    Attributes:
        pattern: function of two float arrays [h, w], places in metres across and along the shape, to RGB [h, w, 3].
        origin_px: float array [2], where both places are 0.
        across_px: float array [2], one metre across, in pixels.
        along_px: float array [2], one metre along.
    """

    pattern: object
    origin_px: np.ndarray
    across_px: np.ndarray
    along_px: np.ndarray


def _colors(paint, x, y):
    if not isinstance(paint, Paint):
        return np.asarray(paint, np.float32)
    (a, b), (c, d) = np.array([paint.across_px, paint.along_px]).tolist()
    det = a * d - b * c
    dx, dy = x - float(paint.origin_px[0]), y - float(paint.origin_px[1])
    return paint.pattern((d * dx - c * dy) / det, (a * dy - b * dx) / det)


def _grid(window):
    left, top, right, bottom = window
    return np.arange(left, right, dtype=np.float32)[None], np.arange(top, bottom, dtype=np.float32)[:, None]


def _fill(outline, window):
    """How much of each pixel of a window a convex polygon [N, 2] covers, 0 to 1."""
    left, top, right, bottom = window
    mask = np.zeros((bottom - top, right - left), np.uint8)
    # OpenCV's fixed-point coordinates must stay small; what is that far out does not show.
    points = np.clip(outline - (left, top), -4000, 4000)
    cv2.fillConvexPoly(mask, np.round(points * 2**SUBPIXEL_BITS).astype(np.int32), 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask.astype(np.float32) / 255


def _puff(coverage, round_px):
    """Blows a flat shape up: its height [h, w], 0 at its edge to 1 from `round_px` inwards, and its normals."""
    round_px = max(float(round_px), 1.0)
    padded = cv2.copyMakeBorder((coverage > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    inward = 1 - np.minimum(inside / round_px, 1)
    inward *= inward
    smooth = cv2.GaussianBlur(round_px * np.sqrt(1 - inward), (0, 0), 0.6 + 0.12 * round_px)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    nz = -1 / np.sqrt(1 + dx * dx + dy * dy)
    # Shaded as a quarter circle, but steeper for what hides what, so that cloth covers a limb up to its hem.
    return np.sqrt(np.sqrt(1 - inward * inward)), dx * nz, dy * nz, nz


def _plane(points, values):
    """The plane nearest to values at points [N, 2], a function of x and y; flat where points are within a pixel."""
    middle, mean = points.mean(axis=0), float(values.mean())
    away = points - middle
    slope = np.linalg.solve(away.T @ away + np.eye(2), away.T @ (values - mean)).tolist()
    middle = middle.tolist()
    return lambda x, y: mean + slope[0] * (x - middle[0]) + slope[1] * (y - middle[1])
