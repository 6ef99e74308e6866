"""The motions: joint angles over time for each action.

Every action is a function of a performer, a random generator and a frame rate that returns a `Motion`. It starts from
`standing`, a person who sways at rest, and adds what the action does, so that arms, trunk and head keep moving where
the action leaves them free. Angles are radians and times seconds; `body` explains the signs.
"""

import dataclasses

import numpy as np

from . import body

MIN_FRAMES, MAX_FRAMES = 20, 100


@dataclasses.dataclass
class Motion:
    """Joint angles over time.

    Attributes:
        angles: dict of float arrays [T], radians, one for each name of `body.ANGLES`.
        bearing: float array [T], share of the weight on the left foot, 0 to 1.
        flight_m: float array [T], height of the lowest foot above the floor, metres.
    """

    angles: dict
    bearing: np.ndarray
    flight_m: np.ndarray

    def reversed(self):
        """Gives the same motion backwards in time."""
        angles = {name: angle[::-1] for name, angle in self.angles.items()}
        return Motion(angles, self.bearing[::-1], self.flight_m[::-1])


@dataclasses.dataclass
class Timing:
    """When the repetitions of an action happen within a clip.

    Attributes:
        seconds: float array [T], from the start of the first repetition.
        progress: float array [T], 0 to 1 within each repetition, 0 before and 1 after all of them.
        strength: float array [T], size of the repetition under way.
    """

    seconds: np.ndarray
    progress: np.ndarray
    strength: np.ndarray


# ---------------------------------------------------------------------------------------------------------- actions


def walk(performer, rng, fps):
    """Strides at a steady pace, on a slightly curved path; some set off or come to a stop."""
    timing = once(performer, rng, fps, rng.uniform(1.6, 3.0), cut=0.25)
    free_arms = rng.random() < 0.85  # else they are busy with something, and hardly swing
    motion = standing(performer, rng, timing.seconds, arms="hanging" if free_arms else None)
    effort = ease(rng.uniform(0.6, 3) + timing.seconds / 0.5) if rng.random() < 0.8 else envelope(timing, 0.2)
    phase = cycle(performer, rng, timing, hertz=rng.uniform(0.8, 1.05))
    stretch = performer.amplitude * rng.uniform(0.85, 1.1) * effort
    for side, step in both_steps(phase):
        motion.angles[f"{side}_hip_flexion"] += stretch * (0.12 + 0.42 * np.cos(step + 0.2))
        motion.angles[f"{side}_knee_flexion"] += stretch * (0.22 * bump(step, 0.13, 0.07) + bump(step, 0.73, 0.11))
    for side, step in both_steps(phase):
        push = toe_reach(motion, performer, side) * bump(step, 0.57, 0.09)
        motion.angles[f"{side}_foot_pitch"] += push - 0.3 * effort * bump(step, 0.95, 0.06)
    step_over(motion, phase, effort)
    swing = performer.arm_swing * (1.0 if free_arms else 0.4)
    swing_arms(motion, performer, phase, effort * swing, elbow=0.1 * effort)
    motion.angles["pelvis_pitch"] += 0.04 * effort
    motion.angles["pelvis_roll"] += 0.04 * effort * np.sin(phase)
    motion.angles["spine_bend"] -= 0.05 * effort * np.sin(phase)
    motion.angles["yaw"] += rng.normal(0, 0.25) * np.cumsum(effort) / fps
    return motion


def run(performer, rng, fps):
    """Jogs or runs with bent elbows and a moment of flight in each step."""
    timing = once(performer, rng, fps, rng.uniform(0.9, 1.8), cut=0.3, rest=0.5)
    motion = standing(performer, rng, timing.seconds, arms="hanging")
    effort = ease(rng.uniform(0.7, 3) + timing.seconds / 0.4)
    phase = cycle(performer, rng, timing, hertz=rng.uniform(1.25, 1.55))
    stretch = performer.amplitude * rng.uniform(0.75, 1.05) * effort
    heel_lift = rng.uniform(1.0, 1.6)
    for side, step in both_steps(phase):
        motion.angles[f"{side}_hip_flexion"] += stretch * (0.27 + 0.62 * np.cos(step + 0.5))
        motion.angles[f"{side}_knee_flexion"] += stretch * (
            0.2 + 0.35 * bump(step, 0.14, 0.09) + heel_lift * bump(step, 0.66, 0.13)
        )
        motion.angles[f"{side}_foot_pitch"] += effort * 0.9 * bump(step, 0.5, 0.14)
    step_over(motion, phase, effort)
    swing_arms(motion, performer, phase, effort * rng.uniform(0.4, 0.8), elbow=effort * rng.uniform(0.9, 1.5))
    motion.angles["pelvis_pitch"] += effort * rng.uniform(0.05, 0.2)
    motion.angles["yaw"] += rng.normal(0, 0.2) * timing.seconds
    motion.flight_m += rng.uniform(0.02, 0.06) * effort * np.maximum(0, np.cos(2 * (phase - 0.43 * 2 * np.pi)))
    return motion


def turn(performer, rng, fps):
    """Turns on the spot with small steps, by a quarter to nearly a whole turn, head first."""
    angle = rng.choice((-1, 1)) * rng.uniform(1.6, 5.5)
    timing = once(performer, rng, fps, 0.5 + abs(angle) / rng.uniform(2.2, 3.5), cut=0.12)
    motion = standing(performer, rng, timing.seconds)
    effort = envelope(timing, 0.15)
    turned = keyframes(timing.progress, (0, 0.5, 1), (0, 0.5, 1), smooth=0.5)
    motion.angles["yaw"] += angle * turned
    phase = cycle(performer, rng, timing, hertz=rng.uniform(0.8, 1.2))
    lift = performer.amplitude * rng.uniform(0.6, 1.2)
    for side, step in both_steps(phase):
        raised = effort * lift * bump(step, 0.70, 0.10)
        motion.angles[f"{side}_hip_flexion"] += 0.45 * raised
        motion.angles[f"{side}_knee_flexion"] += 0.75 * raised
        motion.angles[f"{side}_foot_pitch"] += 0.3 * raised
    step_over(motion, phase - 0.9, effort)
    ahead = np.sign(angle) * effort * performer.looseness
    motion.angles["head_turn"] += 0.45 * ahead
    motion.angles["spine_twist"] += 0.2 * ahead
    swing_arms(motion, performer, phase, effort * 0.3 * performer.arm_swing, elbow=0)
    return motion


def jump(performer, rng, fps):
    """Crouches, leaps as a thrown body does and lands softly, once or several times; most swing the arms."""
    height_m = performer.amplitude * rng.uniform(0.12, 0.40)
    air = 2 * np.sqrt(2 * height_m / 9.81)
    moments = np.cumsum([0, rng.uniform(0.35, 0.6), 0.22, air, 0.2, rng.uniform(0.3, 0.5)])
    timing = repeats(performer, rng, fps, moments[-1], most=3, hurry=False)
    motion = standing(performer, rng, timing.seconds)
    start, dip, leave, land, sink, end = moments / moments[-1]
    depth = performer.amplitude * rng.uniform(0.7, 1.3)
    crouch = keyframes(timing.progress, (start, dip, leave, land, sink, end), (0, 1, 0, 0.1, 0.8, 0))
    fold_legs(motion, depth * timing.strength * crouch, knee=1.2, hip=0.75, lean=0.5)
    toes = keyframes(timing.progress, (dip, leave, land, sink), (0, 0.7, 0.3, 0))
    for side in body.SIDES:
        motion.angles[f"{side}_foot_pitch"] += toes
    reach, join_in = rng.uniform(0.4, 2.9), float(rng.random() < 0.7)
    high = 0.5 * (leave + land)
    arms = keyframes(timing.progress, (start, dip, high, land, sink, end), (0, -0.7, reach, 0.7 * reach, 0.4, 0))
    present = keyframes(timing.progress, (start, dip, sink, end), (0, 1, 1, 0))
    for side in body.SIDES:
        move_arm(motion, side, join_in * present, flexion=arms, abduction=0.2, rotation=0.0, elbow=0.4)
    aloft = np.clip((timing.progress - leave) / (land - leave), 0, 1)
    motion.flight_m += height_m * 4 * aloft * (1 - aloft)
    return motion


def wave(performer, rng, fps, side):
    """Waves one hand, with the whole arm overhead or with the forearm about a bent elbow."""
    timing = once(performer, rng, fps, rng.uniform(1.3, 2.8), cut=0.2)
    motion = standing(performer, rng, timing.seconds)
    raised = envelope(timing, rng.uniform(0.2, 0.3))
    beat = performer.amplitude * raised * np.sin(cycle(performer, rng, timing, hertz=rng.uniform(1.2, 2.0)))
    if rng.random() < 0.5:  # the whole arm swings overhead
        abduction = rng.uniform(2.1, 2.6) + rng.uniform(0.2, 0.35) * beat
        arm = {"flexion": rng.uniform(0, 0.4), "abduction": abduction, "rotation": 0.6}
        elbow = rng.uniform(0.2, 0.7) + 0.2 * beat
    else:  # the forearm swings about a bent elbow
        rotation = rng.uniform(0.8, 1.6) + rng.uniform(0.35, 0.6) * beat
        arm = {"flexion": rng.uniform(0.1, 0.6), "abduction": rng.uniform(0.7, 1.5), "rotation": rotation}
        elbow = rng.uniform(1.4, 2.0)
    move_arm(motion, side, raised, elbow=elbow, **arm)
    outward = 1 if side == "left" else -1
    motion.angles["spine_bend"] -= outward * performer.looseness * (0.08 * raised - 0.04 * beat)
    motion.angles["head_tilt"] += outward * performer.looseness * rng.normal(0, 0.1) * raised
    return motion


def wave_left(performer, rng, fps):
    """Waves the performer's own left hand."""
    return wave(performer, rng, fps, "left")


def wave_right(performer, rng, fps):
    """Waves the performer's own right hand."""
    return wave(performer, rng, fps, "right")


def clap(performer, rng, fps):
    """Brings both hands together again and again, before the belly, the chest or the face."""
    timing = once(performer, rng, fps, rng.uniform(1.2, 2.8), cut=0.2)
    motion = standing(performer, rng, timing.seconds)
    raised = envelope(timing, rng.uniform(0.15, 0.25))
    apart = 0.5 + 0.5 * np.cos(cycle(performer, rng, timing, hertz=rng.uniform(1.3, 2.5)))
    elbow = rng.uniform(1.2, 1.7)
    lengths = performer.lengths
    # The inward turn of the upper arm that brings the wrists a hand's thickness from each other.
    reach = lengths["forearm"] * np.sin(elbow)
    closed = np.arcsin(np.clip((lengths["shoulder_half_width"] - 0.03) / reach, 0, 0.97))
    opening = performer.amplitude * rng.uniform(0.6, 1.1) * apart
    flexion = rng.uniform(0.2, 1.9)
    for side in body.SIDES:
        move_arm(motion, side, raised, flexion, abduction=0.1, rotation=opening - closed, elbow=elbow)
    motion.angles["spine_flexion"] += 0.05 * raised * performer.looseness * apart
    motion.angles["head_flexion"] += rng.uniform(0, 0.2) * raised
    return motion


def squat(performer, rng, fps):
    """Goes down on bent knees with the heels on the floor and comes up again."""
    timing = repeats(performer, rng, fps, rng.uniform(1.3, 2.2), most=2)
    motion = standing(performer, rng, timing.seconds)
    bottom = rng.uniform(0.4, 0.6)
    depth = keyframes(timing.progress, (0, bottom - 0.08, bottom + 0.08, 1), (0, 1, 1, 0))
    depth *= performer.amplitude * timing.strength
    knee = rng.uniform(1.4, 2.0)
    # The hips bend less than the knees, so that these come forward and the weight stays over the feet.
    fold_legs(motion, depth, knee=knee, hip=rng.uniform(0.68, 0.78) * knee, lean=rng.uniform(0.3, 0.7))
    balancing = rng.random() < 0.7  # with the arms held out, else with the hands above the knees
    flexion, elbow = (rng.uniform(0.6, 1.6), 0.3) if balancing else (rng.uniform(0.3, 0.6), rng.uniform(0.8, 1.4))
    for side in body.SIDES:
        move_arm(motion, side, np.clip(depth, 0, 1), flexion, abduction=0.1, rotation=0.0, elbow=elbow)
    return motion


def sit_down(performer, rng, fps):
    """Sits down on a seat and stays seated."""
    timing = once(performer, rng, fps, rng.uniform(1.0, 1.8), cut=0.1)
    motion = standing(performer, rng, timing.seconds)
    seated = keyframes(timing.progress, (0.05, 1), (0, 1))
    hip = rng.uniform(1.2, 1.65)
    fold_legs(motion, seated, knee=hip + rng.uniform(-0.15, 0.15), hip=hip, lean=rng.uniform(-0.15, 0.15))
    lean = performer.amplitude * rng.uniform(0.35, 0.75)
    forward = keyframes(timing.progress, (0, 0.55, 1), (0, 1, 0))
    lean_over(motion, pelvis=0.6 * lean * forward, spine=0.4 * lean * forward)
    on_thighs, flexion = rng.random() < 0.6, rng.uniform(0.2, 0.6)
    for side in body.SIDES:
        if on_thighs:
            move_arm(motion, side, seated, flexion=flexion, abduction=0.15, rotation=-0.2, elbow=rng.uniform(0.7, 1.1))
        motion.angles[f"{side}_hip_abduction"] += rng.uniform(0, 0.12) * seated
    return motion


def stand_up(performer, rng, fps):
    """Gets up from a seat: sitting down, backwards in time."""
    return sit_down(performer, rng, fps).reversed()


def bend(performer, rng, fps):
    """Bends forward to reach down, on straight or bent knees, with one hand or both."""
    timing = repeats(performer, rng, fps, rng.uniform(1.4, 2.4), most=2)
    motion = standing(performer, rng, timing.seconds)
    low = rng.uniform(0.35, 0.5)
    stoop = performer.amplitude * timing.strength * keyframes(timing.progress, (0, low, low + 0.12, 1), (0, 1, 1, 0))
    depth, knees = rng.uniform(1.15, 1.55), rng.uniform(0.05, 1.1)
    fold_legs(motion, stoop, knee=knees, hip=0.18 + 0.55 * knees, lean=0.55 * depth)
    lean_over(motion, spine=0.45 * depth * stoop)
    motion.angles["head_flexion"] -= rng.uniform(0, 0.5) * stoop
    reach = performer.amplitude * keyframes(timing.progress, (0.08, low, low + 0.12, 0.92), (0, 1, 1, 0))
    one_hand = rng.random() < 0.4
    for side in body.SIDES:
        if side == performer.dominant or not one_hand:
            flexion = depth + rng.uniform(-0.1, 0.4)
            move_arm(motion, side, np.clip(reach, 0, 1), flexion=flexion, abduction=0.05, rotation=0.0, elbow=0.3)
    if one_hand:
        motion.angles["spine_twist"] += 0.3 * stoop * (-1 if performer.dominant == "left" else 1)
    return motion


def kick(performer, rng, fps):
    """Kicks forward with the dominant foot while standing on the other."""
    timing = repeats(performer, rng, fps, rng.uniform(0.9, 1.4), most=3)
    motion = standing(performer, rng, timing.seconds)
    foot, support = performer.dominant, other(performer.dominant)
    size = performer.amplitude * timing.strength
    high = rng.uniform(0.8, 1.6)
    hip = size * keyframes(timing.progress, (0, 0.30, 0.52, 0.62, 1), (0, -0.45, high, 0.9 * high, 0))
    knee = size * keyframes(timing.progress, (0, 0.30, 0.40, 0.54, 0.75, 1), (0, 1.2, 1.3, 0.1, 0.6, 0))
    motion.angles[f"{foot}_hip_flexion"] += hip
    motion.angles[f"{foot}_knee_flexion"] += knee
    motion.angles[f"{foot}_foot_pitch"] += 0.6 * (knee - hip)
    planted = keyframes(timing.progress, (0, 0.12, 0.88, 1), (0, 1, 1, 0))
    bear_on(motion, support, planted)
    motion.angles[f"{support}_knee_flexion"] += 0.25 * planted
    motion.angles[f"{support}_hip_flexion"] += 0.12 * planted
    motion.angles[f"{support}_hip_abduction"] -= 0.10 * planted
    motion.angles["pelvis_pitch"] -= 0.2 * hip
    motion.angles["spine_flexion"] += 0.15 * hip
    lift = keyframes(timing.progress, (0, 0.30, 0.55, 1), (0, -0.3, 0.8, 0)) * rng.uniform(0.3, 1) * size
    for side, sign in ((support, 1), (foot, -1)):  # the opposite arm goes with the leg
        motion.angles[f"{side}_shoulder_flexion"] += sign * lift * performer.looseness
        motion.angles[f"{side}_shoulder_abduction"] += 0.4 * planted * performer.looseness
    return motion


def punch(performer, rng, fps):
    """Punches straight ahead with the dominant hand, from a guard."""
    timing = repeats(performer, rng, fps, rng.uniform(0.6, 1.0), most=4)
    hand, free = performer.dominant, other(performer.dominant)
    motion = standing(performer, rng, timing.seconds)
    ready = envelope_around(timing, 0.3)
    guard = {"flexion": rng.uniform(0.2, 0.7), "abduction": 0.2, "rotation": -0.2, "elbow": rng.uniform(1.8, 2.3)}
    if rng.random() < 0.5:
        move_arm(motion, free, ready, **guard)
    move_arm(motion, hand, ready, **guard)
    out = keyframes(timing.progress, (0, 0.15, 0.42, 0.52, 1), (0, -0.15, 1, 1, 0))
    aim = rng.uniform(1.2, 1.7)
    move_arm(motion, hand, out, flexion=aim, abduction=rng.uniform(-0.1, 0.15), rotation=-0.4, elbow=0.15)
    inward = 1 if hand == "right" else -1
    twist = performer.amplitude * timing.strength * inward * out * rng.uniform(0.4, 0.8)
    motion.angles["spine_twist"] += 0.7 * twist
    motion.angles["yaw"] += 0.3 * twist
    motion.angles["pelvis_pitch"] += 0.15 * performer.amplitude * out
    fold_legs(motion, ready, knee=rng.uniform(0.1, 0.5), hip=0.15, lean=0.05)
    stagger = rng.uniform(0, 0.3) * ready
    motion.angles[f"{free}_hip_flexion"] += stagger
    motion.angles[f"{hand}_hip_flexion"] -= stagger
    return motion


def throw(performer, rng, fps):
    """Throws with the dominant hand: the arm swings back beside the head, then forward and down."""
    timing = repeats(performer, rng, fps, rng.uniform(1.1, 1.7), most=3)
    hand, free = performer.dominant, other(performer.dominant)
    motion = standing(performer, rng, timing.seconds)
    aim = keyframes(timing.progress, (0, 0.35, 0.48, 0.60, 0.75, 1), (0, 0, 0.5, 1, 1, 1))
    raised = keyframes(timing.progress, (0, 0.32, 0.62, 1), (0, 1, 1, 0))
    cocked = {"flexion": rng.uniform(-0.5, 0.0), "abduction": rng.uniform(1.3, 1.9), "rotation": 1.4, "elbow": 1.7}
    thrown = {"flexion": rng.uniform(1.0, 1.5), "abduction": rng.uniform(0.5, 1.2), "rotation": 0.2, "elbow": 0.2}
    arm = {name: cocked[name] + (thrown[name] - cocked[name]) * aim for name in cocked}
    move_arm(motion, hand, raised, **arm)
    inward = 1 if hand == "right" else -1
    size = performer.amplitude * timing.strength
    twist = keyframes(timing.progress, (0, 0.32, 0.55, 0.7, 1), (0, -0.6, 0.4, 0.6, 0)) * inward * size
    motion.angles["spine_twist"] += 0.7 * twist
    motion.angles["yaw"] += 0.4 * twist
    bow = size * keyframes(timing.progress, (0, 0.32, 0.65, 1), (0, -0.12, 0.35, 0)) * rng.uniform(0.5, 1.2)
    motion.angles["pelvis_pitch"] += 0.5 * bow
    motion.angles["spine_flexion"] += 0.5 * bow
    balance = keyframes(timing.progress, (0, 0.30, 0.55, 1), (0, 1, 0.2, 0)) * performer.looseness
    motion.angles[f"{free}_shoulder_flexion"] += rng.uniform(0.2, 1.2) * balance
    step = size * rng.uniform(0, 1) * keyframes(timing.progress, (0.1, 0.30, 0.5, 1), (0, 1, 0.8, 0))
    motion.angles[f"{free}_hip_flexion"] += 0.5 * step
    motion.angles[f"{free}_knee_flexion"] += 0.5 * step * keyframes(timing.progress, (0.1, 0.30, 0.5), (1, 1, 0.3))
    motion.angles[f"{hand}_hip_flexion"] -= 0.25 * step
    motion.angles[f"{hand}_foot_pitch"] += 0.3 * step
    bear_on(motion, hand, np.clip(5 * step, 0, 1))
    return motion


ACTIONS = {
    "walk": walk,
    "run": run,
    "jump": jump,
    "wave_left": wave_left,
    "wave_right": wave_right,
    "clap": clap,
    "squat": squat,
    "kick": kick,
    "punch": punch,
    "throw": throw,
    "bend": bend,
    "sit_down": sit_down,
    "stand_up": stand_up,
    "turn": turn,
}

# ------------------------------------------------------------------------------------------------------------ poses

# Shoulder flexion, abduction, rotation and elbow flexion of an arm at rest.
RESTING_ARMS = {
    "hanging": (0.0, 0.1, 0.0, 0.0),
    "on the hip": (-0.35, 0.75, -0.6, 1.5),
    "clasped in front": (0.25, 0.1, -0.75, 0.7),
    "behind the back": (-0.45, 0.2, -0.9, 0.5),
    "forearm raised": (0.2, 0.1, -0.3, 1.5),
    "hand at the face": (0.9, 0.2, -0.5, 2.3),
}
# Where a hand that has nothing to do with the action may go for a moment.
FIDGETS = RESTING_ARMS | {"hand on the head": (0.4, 1.9, 0.9, 2.2), "arm held out": (1.3, 0.3, 0.0, 0.3)}
FIDGET_SHARE = 0.5  # of the clips


def standing(performer, rng, seconds, arms=None):
    """Makes a person who stands and sways: the start of every action.

    Args:
        performer: the `Performer`.
        rng: NumPy random generator.
        seconds: float array [T], time.
        arms: a name of `RESTING_ARMS` for both arms; drawn when None.

    Returns:
        Motion.
    """
    loose = 0.4 + 0.6 * performer.looseness
    angles = {name: sway(rng, seconds, 0.03 * loose) for name in body.ANGLES}
    angles["yaw"] = sway(rng, seconds, 0.02)
    angles["pelvis_pitch"] += performer.lean
    angles["spine_flexion"] += performer.hunch
    # Whoever stoops lifts the head to look ahead.
    angles["head_flexion"] += sway(rng, seconds, 0.08) + rng.normal(0, 0.12) - 0.7 * (performer.lean + performer.hunch)
    angles["head_turn"] += sway(rng, seconds, 0.15) + rng.normal(0, 0.15)
    shift, rock = sway(rng, seconds, 0.015), sway(rng, seconds, 0.01)
    stagger = rng.normal(0, 0.06)
    both = rng.random() < 0.7
    drawn = arms or draw_resting_arm(rng)
    for side, outward in (("left", 1), ("right", -1)):
        # The legs move together, or the planted feet would slide.
        angles[f"{side}_knee_flexion"] = np.full_like(seconds, performer.knee_carry)
        angles[f"{side}_hip_flexion"] = performer.knee_carry / 2 + rock + outward * stagger
        angles[f"{side}_hip_abduction"] = performer.stance + outward * shift
        angles[f"{side}_hip_rotation"] = np.full_like(seconds, performer.toe_out)
        angles[f"{side}_foot_pitch"] = np.zeros_like(seconds)
        rest = drawn if arms or both or side == performer.dominant else draw_resting_arm(rng)
        flexion, abduction, rotation, elbow = RESTING_ARMS[rest]
        angles[f"{side}_shoulder_flexion"] += flexion + performer.lean + performer.hunch
        angles[f"{side}_shoulder_abduction"] += abduction + abs(rng.normal(0, 0.05))
        angles[f"{side}_shoulder_rotation"] += rotation + rng.normal(0, 0.1)
        angles[f"{side}_elbow_flexion"] += elbow + performer.elbow_carry
    motion = Motion(angles, bearing=np.full_like(seconds, 0.5), flight_m=np.zeros_like(seconds))
    if rng.random() < FIDGET_SHARE:
        fidget(motion, rng, seconds)
    return motion


def fidget(motion, rng, seconds):
    """Takes one hand somewhere else for a moment."""
    flexion, abduction, rotation, elbow = FIDGETS[rng.choice(tuple(FIDGETS))]
    start, length = rng.uniform(seconds[0] - 0.5, seconds[-1]), rng.uniform(0.7, 1.6)
    away = keyframes((seconds - start) / length, (0, 0.35, 0.65, 1), (0, 1, 1, 0))
    move_arm(motion, rng.choice(body.SIDES), away, flexion, abduction, rotation, elbow)


def draw_resting_arm(rng):
    """Draws a name of `RESTING_ARMS`; most people let their arms hang."""
    return rng.choice(tuple(RESTING_ARMS), p=(0.60, 0.08, 0.08, 0.08, 0.08, 0.08))


def move_arm(motion, side, weight, flexion, abduction, rotation, elbow):
    """Takes an arm from where it is towards the given angles, as far as `weight` [T] says (1 is all the way)."""
    wanted = {
        "shoulder_flexion": flexion,
        "shoulder_abduction": abduction,
        "shoulder_rotation": rotation,
        "elbow_flexion": elbow,
    }
    for name, angle in wanted.items():
        now = motion.angles[f"{side}_{name}"]
        motion.angles[f"{side}_{name}"] = now + weight * (angle - now)


def swing_arms(motion, performer, phase, size, elbow):
    """Swings each arm against the leg of its side."""
    for side, step in both_steps(phase):
        motion.angles[f"{side}_shoulder_flexion"] -= size * np.cos(step)
        motion.angles[f"{side}_elbow_flexion"] += elbow + 0.4 * size * (1 - np.cos(step))
    motion.angles["spine_twist"] += 0.25 * size * performer.looseness * np.cos(phase)


def fold_legs(motion, weight, knee, hip, lean):
    """Bends both knees and hips and leans the pelvis, each in proportion to `weight` [T]."""
    for side in body.SIDES:
        motion.angles[f"{side}_knee_flexion"] += knee * weight
        motion.angles[f"{side}_hip_flexion"] += hip * weight
    lean_over(motion, pelvis=lean * weight)


def lean_over(motion, pelvis=0.0, spine=0.0):
    """Leans the pelvis and curves the back forward, [T] each, while the arms go on hanging down."""
    motion.angles["pelvis_pitch"] += pelvis
    motion.angles["spine_flexion"] += spine
    for side in body.SIDES:
        motion.angles[f"{side}_shoulder_flexion"] += pelvis + spine


def bear_on(motion, side, share):
    """Shifts the weight onto one foot, as far as `share` [T] says (1 is all of it)."""
    motion.bearing += share * ((1.0 if side == "left" else 0.0) - motion.bearing)


def step_over(motion, phase, effort):
    """Shifts the weight from foot to foot in a cycle of two steps: each foot bears from when it meets the floor."""
    motion.bearing += 0.5 * effort * np.tanh(4 * np.sin(phase - 0.3))


def toe_reach(motion, performer, side):
    """Gives the pitch [T] at which the toes of a raised heel still touch the floor on which the other foot stands."""
    reach = {leg: body.leg_reach(motion.angles, performer.lengths, leg) for leg in body.SIDES}
    drop = (reach[other(side)] - reach[side]) / (0.75 * performer.lengths["foot"])
    return np.arcsin(np.clip(drop, 0, 0.9))


def other(side):
    """Gives "right" for "left" and "left" for "right"."""
    return "left" if side == "right" else "right"


def join(first, second, fps):
    """Leads from one motion into the next: their angles are blended over a while, the longer the more they differ."""
    ends, starts = (
        np.array([motion.angles[name][frame] for name in body.ANGLES if name != "yaw"])
        for motion, frame in ((first, -1), (second, 0))
    )
    seconds = np.clip(np.abs(ends - starts).max() / 2.5, 0.3, 1.0)
    # Both ends of a motion are blended, so neither takes more than 40 % of it.
    overlap = min(round(seconds * fps), int(0.4 * len(second.bearing)), int(0.4 * len(first.bearing)))
    share = ease(np.arange(1, overlap + 1) / (overlap + 1))

    def blend(before, after):
        shared = before[-overlap:] + share * (after[:overlap] - before[-overlap:])
        return np.concatenate([before[:-overlap], shared, after[overlap:]])

    # People go on in the direction in which they look.
    shift = np.mean(first.angles["yaw"][-overlap:] - second.angles["yaw"][:overlap])
    ahead = second.angles | {"yaw": second.angles["yaw"] + shift}
    return Motion(
        {name: blend(first.angles[name], ahead[name]) for name in body.ANGLES},
        blend(first.bearing, second.bearing),
        blend(first.flight_m, second.flight_m),
    )


# ------------------------------------------------------------------------------------------------------------- time


def once(performer, rng, fps, seconds, cut=0.0, rest=1.3):
    """Times an action that happens once; see `repeats`."""
    return repeats(performer, rng, fps, seconds, most=1, cut=cut, rest=rest)


def repeats(performer, rng, fps, seconds, most, cut=0.08, rest=1.3, hurry=True):
    """Times an action of one or several repetitions within a clip of 20 to 100 frames.

    Args:
        performer: the `Performer`, for the tempo.
        rng: NumPy random generator.
        fps: frames a second.
        seconds: length of a repetition at ordinary tempo.
        most: largest number of repetitions; fewer where the clip would become too long.
        cut: share of a repetition that a clip may miss at its start or end.
        rest: longest time at rest before and after, seconds.
        hurry: whether the tempo shortens a repetition; a fall, for one, cannot be hurried.

    Returns:
        Timing.
    """
    longest = MAX_FRAMES / fps
    if hurry:
        seconds = seconds / performer.tempo
    seconds = min(seconds, longest)
    count = min(rng.integers(1, most + 1), int(longest / seconds))
    before, after = rng.uniform(-cut * seconds, rest, size=2)
    wanted = round((before + count * seconds + after) * fps)
    num_frames = int(np.clip(wanted, MIN_FRAMES, MAX_FRAMES))
    # What a long clip must give up is rest, not action.
    before = min(before, max(0.0, num_frames / fps - count * seconds))
    time = np.arange(num_frames) / fps - before
    repetition = np.clip(np.floor(time / seconds), 0, count - 1).astype(int)
    progress = np.clip(time / seconds - repetition, 0, 1)
    return Timing(time, progress, rng.uniform(0.85, 1.1, size=count)[repetition])


def cycle(performer, rng, timing, hertz):
    """Gives the phase [T] of a cyclic movement, radians, with a random start and a slightly uneven pace."""
    pace = 2 * np.pi * hertz * performer.tempo
    return pace * timing.seconds + sway(rng, timing.seconds, 0.15) + rng.uniform(0, 2 * np.pi)


def both_steps(phase):
    """Gives each side with its own phase: the right foot is half a cycle behind the left."""
    return ("left", phase), ("right", phase + np.pi)


def envelope(timing, share):
    """Rises from 0 to 1 over the first `share` of a repetition and falls over the last: [T]."""
    return keyframes(timing.progress, (0, share, 1 - share, 1), (0, 1, 1, 0))


def envelope_around(timing, seconds):
    """Rises before the first repetition and falls after the last, `seconds` long each, and stays at 1 between: [T]."""
    finished = np.nonzero(timing.progress >= 1)[0]
    end = timing.seconds[finished[0]] if len(finished) else np.inf
    return ease((timing.seconds + seconds) / seconds) * ease((end + seconds - timing.seconds) / seconds)


def keyframes(progress, times, values, smooth=1.0):
    """Goes through values at given times, easing in and out of each.

    Args:
        progress: float array [T].
        times: increasing numbers, on the scale of `progress`.
        values: the value at each of the times; the first holds before, the last after.
        smooth: 1 stops at each value, 0 goes straight from one to the next.

    Returns:
        float array [T].
    """
    times, values = np.asarray(times, float), np.asarray(values, float)
    segment = np.clip(np.searchsorted(times, progress, side="right") - 1, 0, len(times) - 2)
    share = np.clip((progress - times[segment]) / (times[segment + 1] - times[segment]), 0, 1)
    share = smooth * ease(share) + (1 - smooth) * share
    return values[segment] + share * (values[segment + 1] - values[segment])


def ease(x):
    """Goes from 0 at x = 0 to 1 at x = 1 with the least jerk: T. Flash and N. Hogan, J. Neuroscience, 1985."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def bump(phase, centre, width):
    """Peaks at 1 once a cycle.

    Args:
        phase: float array [T], radians.
        centre: where the peak is, as a share of the cycle.
        width: standard deviation of the peak, as a share of the cycle.

    Returns:
        float array [T].
    """
    return np.exp((np.cos(phase - 2 * np.pi * centre) - 1) / (2 * np.pi * width) ** 2)


def sway(rng, seconds, size):
    """Wanders slowly around 0 with a standard deviation of about `size`: [T]."""
    hertz, phase, weight = rng.uniform(0.15, 0.9, 3), rng.uniform(0, 2 * np.pi, 3), rng.normal(size=3)
    waves = np.sin(2 * np.pi * hertz * seconds[:, None] + phase)  # [T, 3]
    return size * np.sqrt(2 / 3) * waves @ weight
