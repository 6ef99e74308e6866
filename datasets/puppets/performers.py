"""The performers: who moves, with which body and in which manner."""

import dataclasses

import numpy as np

from . import body

# Stature in metres, mean and standard deviation of adults: R. L. Huston, "Principles of Biomechanics", CRC Press, 2009;
# 5th, 50th and 95th percentile 1.518, 1.618, 1.724 (women) and 1.649, 1.759, 1.869 (men).
STATURE_M = {"woman": (1.618, 0.063), "man": (1.759, 0.067)}
# Women have the wider hips and men the wider shoulders at the same stature.
BUILD = {
    "woman": {"shoulder_half_width": 0.96, "hip_half_width": 1.06},
    "man": {"shoulder_half_width": 1.03, "hip_half_width": 0.97},
}
LEFT_HANDED_SHARE = 0.15


@dataclasses.dataclass(frozen=True)
class Performer:
    """A person with a body and a manner of moving.

    Attributes:
        height_m: stature, metres.
        lengths: segment name to metres.
        dominant: "left" or "right", the hand and foot that punch, throw and kick.
        tempo: speed factor of all movements.
        amplitude: size factor of all movements.
        lean: forward lean of the pelvis, radians.
        hunch: forward curve of the back, radians.
        arm_swing: swing of the arms while walking, radians.
        elbow_carry: elbow flexion at rest, radians.
        knee_carry: knee flexion at rest, radians.
        stance: abduction of each leg at rest, radians.
        toe_out: outward turn of each foot, radians.
        stiffness: 0 for loose, 1 for stiff: how little the rest of the body joins in.
    """

    height_m: float
    lengths: dict
    dominant: str
    tempo: float
    amplitude: float
    lean: float
    hunch: float
    arm_swing: float
    elbow_carry: float
    knee_carry: float
    stance: float
    toe_out: float
    stiffness: float

    @property
    def looseness(self):
        """1 for a loose person, 0.3 for a stiff one."""
        return 1 - 0.7 * self.stiffness


def make_performer(seed, number):
    """Draws a performer.

    Args:
        seed: int, the data set's seed.
        number: int, the performer's number; the same seed and number give the same person.

    Returns:
        Performer.
    """
    rng = np.random.default_rng([seed, number])
    sex = rng.choice(("woman", "man"))
    mean_m, deviation_m = STATURE_M[sex]
    height_m = mean_m + deviation_m * rng.normal()
    scales = {name: 1 + 0.035 * np.clip(rng.normal(), -2.5, 2.5) for name in body.SEGMENT_SHARES}
    scales |= {name: scales[name] * factor for name, factor in BUILD[sex].items()}
    return Performer(
        height_m=height_m,
        lengths=body.segment_lengths(height_m, scales),
        dominant="left" if rng.random() < LEFT_HANDED_SHARE else "right",
        tempo=rng.uniform(0.75, 1.3),
        amplitude=rng.uniform(0.8, 1.15),
        lean=rng.normal(0.03, 0.04),
        hunch=rng.uniform(0.0, 0.25),
        arm_swing=rng.uniform(0.1, 0.6),
        elbow_carry=rng.uniform(0.1, 0.5),
        knee_carry=rng.uniform(0.02, 0.15),
        stance=rng.uniform(0.0, 0.14),
        toe_out=rng.uniform(0.0, 0.3),
        stiffness=rng.random(),
    )
