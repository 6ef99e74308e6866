"""What is behind the people: rooms, landscapes, walls of shapes and of noise, always out of nothing."""

import cv2
import numpy as np

from . import looks

NOWHERE_M = np.float32(1e6)  # where a ray is said to meet the floor that does not


def draw(rng, size, ground):
    """Draws a background.

    Args:
        rng: NumPy random generator.
        size: (height, width), pixels.
        ground: float array [H, W, 2], where the ray of each pixel meets the floor, metres from the camera's foot;
            `NOWHERE_M` or so off where it does not.

    Returns:
        float32 array [H, W, 3], RGB, 0 to 1.
    """
    kind = rng.choice(("room", "outdoors", "gradient", "noise", "stripes"), p=(0.42, 0.28, 0.10, 0.12, 0.08))
    picture = {"room": room, "outdoors": outdoors, "gradient": gradient, "noise": clouds, "stripes": stripes}[kind](
        rng, size, ground
    )
    if rng.random() < 0.55:
        picture = clutter(rng, picture, rng.integers(2, 14))
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 3.0))
    if rng.random() < 0.7:
        picture *= 1 + rng.uniform(0.02, 0.12) * noise(rng, size, octaves=3, first=24)[..., None]
    return np.clip(picture, 0, 1).astype(np.float32)


def noise(rng, size, octaves=4, first=4):
    """Cloudy noise [H, W], -1 to 1: octaves, each twice as fine and half as strong as the one before."""
    height, width = size
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        cells = first * 2**octave
        coarse = rng.uniform(-1, 1, size=(cells, max(2, round(cells * width / height)))).astype(np.float32)
        total += 0.5**octave * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return total * float(1 / np.abs(total).max())


def gradient(rng, size, ground):
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None], np.linspace(-1, 1, size[1], dtype=np.float32)
    return _between(rng, 0.5 + 0.35 * (x * float(np.cos(angle)) + y * float(np.sin(angle))))


def clouds(rng, size, ground):
    return _between(rng, 0.5 + 0.5 * noise(rng, size, octaves=int(rng.integers(2, 7)), first=int(rng.integers(2, 7))))


def _between(rng, share):
    """Two colours, and at each place [H, W] a share of the second."""
    first, second = looks.random_color(rng), looks.random_color(rng)
    return first + share[..., None] * (second - first)


def stripes(rng, size, ground):
    angle, period = rng.uniform(0, np.pi), rng.uniform(12, 70)
    cos, sin = float(np.cos(angle) / period), float(np.sin(angle) / period)
    y, x = np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)
    pattern = looks.pick(rng, [name for name in looks.PATTERNS if name != "plain"])
    cloth = looks.Cloth(looks.random_color(rng), looks.random_color(rng), pattern, 1.0)
    return cloth(y * cos - x * sin, x * cos + y * sin)


def room(rng, size, ground):
    """A floor of tiles or planks up to a wall, which may have stripes, pictures and windows."""
    wall = np.empty((*size, 3), np.float32)
    wall[:] = looks.random_color(rng) * 0.6 + 0.35
    if rng.random() < 0.3:
        width = rng.uniform(10, 40)
        wall[:, (np.arange(size[1]) / width) % 1 < 0.5] *= 0.9
    for _ in range(rng.integers(0, 5)):
        _hang(rng, wall)
    return _with_floor(rng, wall, ground, looks.random_color(rng) * 0.8 + 0.1, farthest_m=rng.uniform(6, 14))


def outdoors(rng, size, ground):
    """Sky, hills or roofs, and the ground."""
    height, width = size
    top, low = np.array([0.35, 0.55, 0.9]) * rng.uniform(0.6, 1.1), np.array([0.85, 0.9, 0.95])
    picture = np.empty((*size, 3), np.float32)
    picture[:] = top + np.linspace(0, 1, height)[:, None, None] * (low - top)
    horizon = np.count_nonzero(np.abs(ground[:, width // 2]).max(axis=-1) > 1000)
    x = np.arange(width)
    for _ in range(rng.integers(1, 4)):
        color = np.array([0.3, 0.45, 0.25]) * rng.uniform(0.4, 1.4) + rng.uniform(-0.08, 0.08, size=3)
        rise = height * rng.uniform(0.05, 0.35)
        waves = np.sin(x / width * rng.uniform(2, 9) + rng.uniform(0, 6)) + 0.4 * np.sin(x / width * rng.uniform(9, 30))
        ridge = horizon - rise * (0.6 + 0.4 * waves)
        if rng.random() < 0.4:  # houses have flat roofs
            ridge = np.repeat(ridge[::40], 40)[:width]
        picture[np.arange(height)[:, None] > ridge[None]] = np.clip(color, 0, 1)
    soil = np.array(looks.pick(rng, ((0.35, 0.5, 0.25), (0.55, 0.5, 0.42), (0.5, 0.5, 0.5), (0.8, 0.75, 0.6))))
    return _with_floor(rng, picture, ground, (soil * rng.uniform(0.7, 1.2)).astype(np.float32), farthest_m=200.0)


def _with_floor(rng, picture, ground, color, farthest_m):
    """Lays the floor, with lines that run away from the camera, as far as it can be seen."""
    x, y = ground[..., 0], ground[..., 1]
    distance = np.sqrt(x * x + y * y)
    turn = rng.uniform(0, np.pi)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    u, v = x * cos + y * sin, y * cos - x * sin
    kind, tile_m = looks.pick(rng, ("tiles", "planks", "checks", "plain")), rng.uniform(0.25, 1.0)
    if kind == "checks":
        mark = (np.floor(u / tile_m) + np.floor(v / tile_m)).astype(np.int32) & 1
    elif kind == "tiles":
        mark = _lines(u / tile_m, 0.06) | _lines(v / tile_m, 0.06)
    elif kind == "planks":
        mark = _lines(u / (0.4 * tile_m), 0.1)
    else:
        mark = np.zeros(distance.shape, bool)
    # Lines closer together than pixels would flicker.
    shade = 1 - rng.uniform(0.05, 0.35) * np.clip(1.3 - distance / 9, 0, 1) * mark
    shade *= 1 + rng.uniform(0.0, 0.2) * noise(rng, picture.shape[:2], octaves=4, first=12)
    np.copyto(picture, color * shade[..., None], where=(distance < farthest_m)[..., None])
    return picture


def _lines(places, width):
    """Whether places counted in periods are on the line at the beginning of each."""
    return places - np.floor(places) < width  # several times as fast as `places % 1`


def _hang(rng, wall):
    """A picture, a window or a door on the wall: a frame and what is in it."""
    height, width = wall.shape[:2]
    w, h = rng.integers(width // 12, width // 3), rng.integers(height // 10, height // 2)
    x, y = rng.integers(-w // 2, width - w // 2), rng.integers(-h // 3, max(1, height // 2))
    left, top, right, bottom = int(x), int(y), int(x + w), int(y + h)
    cv2.rectangle(wall, (left - 3, top - 3), (right + 3, bottom + 3), looks.random_color(rng).tolist(), cv2.FILLED)
    cv2.rectangle(wall, (left, top), (right, bottom), looks.random_color(rng).tolist(), cv2.FILLED)


def clutter(rng, picture, count):
    """Scatters shapes over a picture: plates, discs, and capsules in the colours of skin and clothes."""
    height, width = picture.shape[:2]
    for _ in range(count):
        color = looks.random_color(rng) if rng.random() < 0.75 else np.array(looks.pick(rng, looks.SKIN)) / 255
        color = color.tolist()
        x, y, reach = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.2) * height
        kind = rng.integers(3)
        if kind == 0:
            corners = np.array([x, y]) + rng.uniform(-reach, reach, size=(rng.integers(3, 7), 2))
            cv2.fillConvexPoly(picture, cv2.convexHull(corners.astype(np.float32)).astype(np.int32), color, cv2.LINE_AA)
        elif kind == 1:
            axes = (rng.uniform(0.2, 1, size=2) * reach).astype(int).tolist()
            cv2.ellipse(picture, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        else:
            end = np.array([x, y]) + rng.uniform(-2, 2, size=2) * reach
            cv2.line(picture, (int(x), int(y)), end.astype(int).tolist(), color, max(1, int(0.4 * reach)), cv2.LINE_AA)
    return picture
