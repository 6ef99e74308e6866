"""What people look like: skin, hair and build stay with a performer, clothes change from take to take."""

import colorsys
import dataclasses

import numpy as np

SKIN = ((255, 224, 196), (241, 194, 165), (224, 172, 130), (198, 134, 92), (160, 102, 66), (120, 74, 48), (84, 52, 36))
HAIR = ((28, 22, 20), (56, 38, 28), (92, 60, 38), (140, 96, 56), (214, 178, 110), (150, 66, 34), (150, 150, 152))
DULL = ((40, 44, 60), (58, 78, 120), (30, 30, 32), (112, 92, 70), (110, 112, 116))
HAIRCUTS = ("short", "short", "short", "long", "long", "tail", "bun", "round", "none")
PATTERNS = ("plain", "plain", "plain", "stripes", "columns", "checks", "dots", "blocks")
FRONTS = ("none", "none", "print", "buttons", "open", "print")


@dataclasses.dataclass(frozen=True)
class Cloth:
    """A fabric with a pattern in two colours.

    Attributes:
        color: float array [3], RGB, 0 to 1.
        second: float array [3], the pattern's other colour.
        pattern: one of `PATTERNS`.
        period_m: how far apart the pattern repeats, metres.
    """

    color: np.ndarray
    second: np.ndarray
    pattern: str
    period_m: float

    def __call__(self, across_m, along_m):
        """Gives the colours [h, w, 3] of places [h, w]."""
        share = self.share(across_m / self.period_m, along_m / self.period_m)[..., None]
        return self.color + share * (self.second - self.color)

    def share(self, u, v):
        """How much of the second colour there is at places counted in periods, 0 to 1."""
        if self.pattern == "stripes":
            return _band(v)
        if self.pattern == "columns":
            return _band(u)
        if self.pattern == "checks":
            return 0.5 * (_band(u) + _band(v))
        if self.pattern == "dots":
            u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
            return np.clip((0.32 - np.sqrt(u * u + v * v)) * 8 + 0.5, 0, 1)
        if self.pattern == "blocks":
            return np.clip((v - 2) * 6 + 0.5, 0, 1)
        return np.zeros_like(u)


def _band(places):
    """Bands as wide as the gaps between them, with edges that are not quite sharp."""
    return np.clip((0.25 - np.abs(places - np.floor(places) - 0.5)) * 8 + 0.5, 0, 1)


@dataclasses.dataclass(frozen=True)
class Looks:
    """How a person looks in one take.

    Attributes:
        skin, hair, shoes, sole: float arrays [3], RGB, 0 to 1.
        haircut: one of `HAIRCUTS`.
        beard, glasses, cap: whether there is one.
        cap_color: float array [3].
        girth: how thick the body is, 1 for the average.
        shirt, trousers: the `Cloth`.
        sleeve, leg: how far they reach: 0 not at all, 1 to the elbow or knee, 2 to the wrist or ankle.
        skirt: whether the legs of the trousers are one.
        tucked: whether the shirt ends at the belt.
        front: what only the front of the shirt has, one of `FRONTS`.
        front_color: float array [3].
        front_size: 0 to 1.
    """

    skin: np.ndarray
    hair: np.ndarray
    shoes: np.ndarray
    sole: np.ndarray
    haircut: str
    beard: bool
    glasses: bool
    cap: bool
    cap_color: np.ndarray
    girth: float
    shirt: Cloth
    trousers: Cloth
    sleeve: float
    leg: float
    skirt: bool
    tucked: bool
    front: str
    front_color: np.ndarray
    front_size: float


def draw_looks(person, take):
    """Draws how somebody looks.

    Args:
        person: NumPy random generator for what stays, always the same one for a performer.
        take: NumPy random generator for what changes.

    Returns:
        Looks.
    """
    haircut = pick(person, HAIRCUTS)
    skin = _vary(person, pick(person, SKIN), 0.03)
    hair = _vary(person, pick(person, HAIR), 0.03)
    if person.random() < 0.05:
        hair = random_color(person)
    masculine = haircut not in ("long", "tail", "bun")
    beard, glasses = bool(masculine and person.random() < 0.35), bool(person.random() < 0.2)
    girth = float(np.clip(person.normal(1.0, 0.1), 0.8, 1.3))
    shirt = draw_cloth(take)
    skirt = bool(not masculine and take.random() < 0.45)
    dress = skirt and take.random() < 0.5
    bottom = shirt if dress else _dull(take, draw_cloth(take, plain=0.8))
    shoes = random_color(take) * np.float32(take.uniform(0.3, 1.0))
    return Looks(
        skin=skin,
        hair=hair,
        shoes=shoes,
        sole=np.full(3, take.uniform(0.1, 0.95), np.float32),
        haircut=haircut,
        beard=beard,
        glasses=glasses,
        cap=bool(haircut != "round" and take.random() < 0.15),
        cap_color=random_color(take),
        girth=girth,
        shirt=shirt,
        trousers=bottom,
        sleeve=float(take.choice([0.12, take.uniform(0.4, 0.75), take.uniform(1.75, 1.95)], p=[0.12, 0.4, 0.48])),
        leg=float(take.uniform(0.55, 1.3) if skirt else take.choice([take.uniform(0.6, 1.0), 1.92], p=[0.25, 0.75])),
        skirt=skirt,
        tucked=bool(dress or take.random() < 0.4),
        front=pick(take, FRONTS),
        front_color=random_color(take),
        front_size=float(take.random()),
    )


def draw_cloth(rng, plain=0.0):
    """Draws a `Cloth`, more often plain than not by the share `plain`."""
    color = random_color(rng)
    second = random_color(rng) if rng.random() < 0.6 else np.clip(color * pick(rng, (0.55, 1.6)), 0, 1)
    pattern = "plain" if rng.random() < plain else pick(rng, PATTERNS)
    return Cloth(color, second, pattern, float(rng.uniform(0.05, 0.16)))


def pick(rng, options):
    """Draws one of some options."""
    return options[rng.integers(len(options))]


def random_color(rng):
    """Draws an RGB colour, 0 to 1, the loud ones less often than the quiet."""
    value = rng.beta(1.6, 1.1)
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.2, 1.6), 0.08 + 0.9 * value), np.float32)


def _dull(rng, cloth):
    """Half of the trousers are dark, blue, brown or grey, as most are."""
    if rng.random() < 0.5:
        return cloth
    return dataclasses.replace(cloth, color=_vary(rng, pick(rng, DULL), 0.02) * np.float32(rng.uniform(0.7, 1.2)))


def _vary(rng, color, spread):
    return np.clip(np.array(color) / 255 + rng.normal(0, spread, size=3), 0.02, 1).astype(np.float32)
