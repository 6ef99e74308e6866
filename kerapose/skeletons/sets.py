"""The keypoint sets that users meet."""

import dataclasses
from collections.abc import Sequence

from kerapose.skeletons.skeleton import Skeleton


def _fingers(wrist, first):
    """The limbs of five fingers of four points each, one finger after the other: from the wrist to the finger's tip."""
    return tuple((first + joint - 1 if joint % 4 else wrist, first + joint) for joint in range(20))


# One body part a line.
# fmt: off

# COCO keypoints (Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014). The limbs stand in the order in
# which published limb checkpoints have their channels; the sigmas are those of COCO's own evaluation.
COCO = Skeleton(
    name="coco",
    keypoints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    edges=(
        (0, 5), (0, 6),
        (5, 7), (7, 9), (6, 8), (8, 10),
        (5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16),
        (0, 1), (0, 2), (1, 3), (2, 4),
        (11, 12),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035,
        0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
        0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)

# MPII (Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014), in the
# order of its annotation; its "pelvis" is `hip` here. MPII is scored by PCKh and has no sigmas of its own: these
# are mmpose's, kept as published although 0.179 for the shoulders is far from COCO's 0.079.
MPII = Skeleton(
    name="mpii",
    keypoints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "hip", "thorax", "upper_neck", "head_top",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    ),
    edges=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5),
        (6, 7), (7, 8), (8, 9),
        (10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15),
    ),
    sigmas=(
        0.089, 0.083, 0.107, 0.107, 0.083, 0.089,
        0.026, 0.026, 0.026, 0.026,
        0.062, 0.072, 0.179, 0.179, 0.072, 0.062,
    ),
)

# Human3.6M (Ionescu et al., TPAMI 2014), the 17 joints and the order of VideoPose3D (Pavllo et al., CVPR 2019). Its
# "foot" is the ankle. Joint 9, "neck/nose", lies near the nose and is `nose` here; `head` is near the top of the head.
H36M = Skeleton(
    name="h36m",
    keypoints=(
        "hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "nose", "head",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    edges=(
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6),
        (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
)

# The 18 keypoints of OpenPose (Cao et al., CVPR 2017) in the order of Lightweight OpenPose (Osokin, 2018): COCO's and a
# neck, which is defined as the middle of the shoulders. The limbs stand and point as the channels of the part affinity
# fields do in the published checkpoints, those from a shoulder to an ear among them. The sigmas are COCO's, with the
# neck's equal to the shoulders', as in the published tracking.
OPENPOSE = Skeleton(
    name="openpose",
    keypoints=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    edges=(
        (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
        (1, 2), (2, 3), (3, 4), (2, 16), (1, 5), (5, 6), (6, 7), (5, 17),
        (1, 0), (0, 14), (0, 15), (14, 16), (15, 17),
    ),
    sigmas=(
        0.026, 0.079,
        0.079, 0.072, 0.062, 0.079, 0.072, 0.062,
        0.107, 0.087, 0.089, 0.107, 0.087, 0.089,
        0.025, 0.025, 0.035, 0.035,
    ),
)

# NTU RGB+D (Shahroudy et al., CVPR 2016): the 25 joints of Kinect v2 in its order. "Base of the spine" is `hip` here,
# "middle of the spine" `spine`, "spine at the shoulders" `thorax` and "neck" `upper_neck`; `head` is its middle.
NTU = Skeleton(
    name="ntu",
    keypoints=(
        "hip", "spine", "upper_neck", "head",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot",
        "right_hip", "right_knee", "right_ankle", "right_foot",
        "thorax", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    edges=(
        (0, 1), (1, 20), (20, 2), (2, 3),
        (20, 4), (4, 5), (5, 6), (6, 7), (7, 21), (6, 22),
        (20, 8), (8, 9), (9, 10), (10, 11), (11, 23), (10, 24),
        (0, 12), (12, 13), (13, 14), (14, 15),
        (0, 16), (16, 17), (17, 18), (18, 19),
    ),
)

# JHMDB (Jhuang et al., "Towards understanding action recognition", ICCV 2013). `face` is its middle; `belly` lies
# low, a fifth of the way from the hips to the neck. JHMDB is scored by PCK and has no sigmas: these are mmpose's.
JHMDB = Skeleton(
    name="jhmdb",
    keypoints=(
        "neck", "belly", "face",
        "right_shoulder", "left_shoulder", "right_hip", "left_hip",
        "right_elbow", "left_elbow", "right_knee", "left_knee",
        "right_wrist", "left_wrist", "right_ankle", "left_ankle",
    ),
    edges=(
        (0, 1), (0, 2), (0, 3), (0, 4),
        (3, 7), (7, 11), (4, 8), (8, 12),
        (1, 5), (1, 6), (5, 9), (9, 13), (6, 10), (10, 14),
    ),
    sigmas=(
        0.025, 0.107, 0.025,
        0.079, 0.079, 0.107, 0.107,
        0.072, 0.072, 0.087, 0.087,
        0.062, 0.062, 0.089, 0.089,
    ),
)

# HumanEva-I (Sigal, Balan and Black, IJCV 2010), the 15 joints and the order of VideoPose3D (Pavllo et al., CVPR 2019).
# Its "pelvis" is `hip` here; `thorax` is the top of its torso, `head` one point of the head.
HUMANEVA = Skeleton(
    name="humaneva",
    keypoints=(
        "hip", "thorax",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
        "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle",
        "head",
    ),
    edges=(
        (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7),
        (0, 8), (8, 9), (9, 10), (0, 11), (11, 12), (12, 13),
        (1, 14),
    ),
)

# Penn Action (Zhang, Zhu and Derpanis, "From Actemes to Action", ICCV 2013), in the order of its labels. `head` is one
# point of the head. It has no neck: the head hangs on the shoulders.
PENN_ACTION = Skeleton(
    name="penn_action",
    keypoints=(
        "head",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    edges=(
        (0, 1), (0, 2),
        (1, 3), (3, 5), (2, 4), (4, 6),
        (1, 7), (7, 9), (9, 11), (2, 8), (8, 10), (10, 12),
        (7, 8),
    ),
)

# BODY_25 of CMU's OpenPose, in the order of its documentation: the keypoints of OPENPOSE, the middle of the hips, and
# the feet. The limbs stand and point as the channels of the part affinity fields do, by its `poseParameters.cpp`. It
# comes without sigmas.
BODY_25 = Skeleton(
    name="body_25",
    keypoints=(
        "nose", "neck",
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    ),
    edges=(
        (1, 8), (9, 10), (10, 11), (8, 9), (8, 12), (12, 13), (13, 14),
        (1, 2), (2, 3), (3, 4), (2, 17), (1, 5), (5, 6), (6, 7), (5, 18),
        (1, 0), (0, 15), (0, 16), (15, 17), (16, 18),
        (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
    ),
)

# The body and feet of Halpe Full-Body (Li et al., "PaStaNet: Toward Human Activity Knowledge Engine", CVPR 2020), which
# RTMPose's body models find. Its "head" is `head_top`, as which MMPose takes that of MPII. The limbs are MMPose's. The
# sigmas are those of Halpe's own evaluation; MMPose's differ where COCO has no such keypoint (0.026 for head and neck,
# 0.066 for the hip, 0.079 for the feet).
HALPE26 = Skeleton(
    name="halpe26",
    keypoints=(
        *COCO.keypoints,
        "head_top", "neck", "hip",
        "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel",
    ),
    edges=(
        (15, 13), (13, 11), (11, 19), (16, 14), (14, 12), (12, 19),
        (17, 18), (18, 19),
        (18, 5), (5, 7), (7, 9), (18, 6), (6, 8), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
        (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
    ),
    sigmas=(
        *COCO.sigmas,
        0.08, 0.08, 0.08,
        0.089, 0.089, 0.089, 0.089, 0.089, 0.089,
    ),
)

# One hand of unknown side, in the order of OneHand10K (Wang, Peng and Liu, TCSVT 2018) and of COCO-WholeBody: of each
# finger four points from the palm to the tip. In a mirror a left hand is a right one, and no keypoint changes places.
# It has no sigmas: those of COCO-WholeBody's hands are in units of the whole person.
HAND = Skeleton(
    name="hand",
    keypoints=(
        "wrist",
        "thumb1", "thumb2", "thumb3", "thumb4",
        "forefinger1", "forefinger2", "forefinger3", "forefinger4",
        "middle_finger1", "middle_finger2", "middle_finger3", "middle_finger4",
        "ring_finger1", "ring_finger2", "ring_finger3", "ring_finger4",
        "pinky_finger1", "pinky_finger2", "pinky_finger3", "pinky_finger4",
    ),
    edges=_fingers(0, 1),
    flip_pairs=(),
)

_HAND_SIGMAS = (  # of COCO-WholeBody's own evaluation, in units of the whole person
    0.029,
    0.022, 0.035, 0.037, 0.047,
    0.026, 0.025, 0.024, 0.035,
    0.018, 0.024, 0.022, 0.026,
    0.017, 0.021, 0.021, 0.032,
    0.02, 0.019, 0.022, 0.031,
)

# COCO-WholeBody (Jin et al., "Whole-Body Human Pose Estimation in the Wild", ECCV 2020): body, feet, 68 points of the
# face, left and right hand, in the order of its evaluation. Its face has numbers alone; the names here tell left and
# right, and both sides count alike: the jaw from the ear, a brow from its outer end, an eyelid round the eye from the
# outer corner by way of the upper lid, lips from their corner, first above and then below. The limbs are MMPose's:
# fingers hang on the body's wrists, and roots of hands and points of the face, on nothing. The sigmas are those of its
# own evaluation; in the face some differ left and right.
WHOLEBODY = Skeleton(
    name="wholebody",
    keypoints=(
        *COCO.keypoints,
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
        "right_jaw1", "right_jaw2", "right_jaw3", "right_jaw4", "right_jaw5", "right_jaw6", "right_jaw7", "right_jaw8",
        "chin",
        "left_jaw8", "left_jaw7", "left_jaw6", "left_jaw5", "left_jaw4", "left_jaw3", "left_jaw2", "left_jaw1",
        "right_brow1", "right_brow2", "right_brow3", "right_brow4", "right_brow5",
        "left_brow5", "left_brow4", "left_brow3", "left_brow2", "left_brow1",
        "nose_bridge1", "nose_bridge2", "nose_bridge3", "nose_bridge4",
        "right_nostril1", "right_nostril2", "nose_base", "left_nostril2", "left_nostril1",
        "right_eyelid1", "right_eyelid2", "right_eyelid3", "right_eyelid4", "right_eyelid5", "right_eyelid6",
        "left_eyelid4", "left_eyelid3", "left_eyelid2", "left_eyelid1", "left_eyelid6", "left_eyelid5",
        "right_lip1", "right_lip2", "right_lip3", "upper_lip", "left_lip3", "left_lip2", "left_lip1",
        "left_lip4", "left_lip5", "lower_lip", "right_lip5", "right_lip4",
        "right_inner_lip1", "right_inner_lip2", "upper_inner_lip", "left_inner_lip2", "left_inner_lip1",
        "left_inner_lip3", "lower_inner_lip", "right_inner_lip3",
        "left_hand_root", *(f"left_{name}" for name in HAND.keypoints[1:]),
        "right_hand_root", *(f"right_{name}" for name in HAND.keypoints[1:]),
    ),
    edges=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6),
        (5, 7), (6, 8), (7, 9), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
        (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22),
        *_fingers(9, 92), *_fingers(10, 113),
    ),
    sigmas=(
        *COCO.sigmas,
        0.068, 0.066, 0.066, 0.092, 0.094, 0.094,
        0.042, 0.043, 0.044, 0.043, 0.04, 0.035, 0.031, 0.025,
        0.02,
        0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041, 0.045,
        0.013, 0.012, 0.011, 0.011, 0.012,
        0.012, 0.011, 0.011, 0.013, 0.015,
        0.009, 0.007, 0.007, 0.007,
        0.012, 0.009, 0.008, 0.016, 0.01,
        0.017, 0.011, 0.009, 0.011, 0.009, 0.007,
        0.013, 0.008, 0.011, 0.012, 0.01, 0.034,
        0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.01,
        0.008, 0.009, 0.009, 0.009, 0.007,
        0.007, 0.008, 0.011, 0.008, 0.008,
        0.008, 0.01, 0.008,
        *_HAND_SIGMAS, *_HAND_SIGMAS,
    ),
)

# AP-10K (Yu et al., "AP-10K: A Benchmark for Animal Pose Estimation in the Wild", NeurIPS 2021), animals. Of those that
# walk on toes or hoofs its "hip" is the knee and its "knee" the ankle. Limbs and sigmas are those of its authors' code;
# the sigmas are COCO's of like joints, which some versions of MMPose have in another order.
AP10K = Skeleton(
    name="ap10k",
    keypoints=(
        "left_eye", "right_eye", "nose", "neck", "root_of_tail",
        "left_shoulder", "left_elbow", "left_front_paw", "right_shoulder", "right_elbow", "right_front_paw",
        "left_hip", "left_knee", "left_back_paw", "right_hip", "right_knee", "right_back_paw",
    ),
    edges=(
        (0, 1), (0, 2), (1, 2), (2, 3), (3, 4),
        (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10),
        (4, 11), (11, 12), (12, 13), (4, 14), (14, 15), (15, 16),
    ),
    sigmas=(
        0.025, 0.025, 0.026, 0.035, 0.035,
        0.079, 0.072, 0.062, 0.079, 0.072, 0.062,
        0.107, 0.087, 0.089, 0.107, 0.087, 0.089,
    ),
)

# Kinect v1: the 20 joints in the order of Microsoft's SDK; those of Kinect v2 are NTU. "Hip centre" is `hip` here,
# "shoulder centre" `thorax`; `head` is its middle. MSR_ACTION3D has the same joints in another order.
KINECT_V1 = Skeleton(
    name="kinect_v1",
    keypoints=(
        "hip", "spine", "thorax", "head",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot",
        "right_hip", "right_knee", "right_ankle", "right_foot",
    ),
    edges=(
        (0, 1), (1, 2), (2, 3),
        (2, 4), (4, 5), (5, 6), (6, 7),
        (2, 8), (8, 9), (9, 10), (10, 11),
        (0, 12), (12, 13), (13, 14), (14, 15),
        (0, 16), (16, 17), (17, 18), (18, 19),
    ),
)

# BlazePose (Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", 2020): the 33 landmarks of
# MediaPipe in its order. Its "pinky" and "index" are the first knuckles of these fingers, its "thumb" is the thumb's
# second one, its "foot index" the tip of the foot. The limbs are MediaPipe's, and ours from the nose to the mouth and
# the shoulders, which tie the parts together. It comes without sigmas.
BLAZEPOSE = Skeleton(
    name="blazepose",
    keypoints=(
        "nose",
        "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
        "left_ear", "right_ear", "left_mouth", "right_mouth",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_pinky_finger1", "right_pinky_finger1", "left_forefinger1", "right_forefinger1",
        "left_thumb2", "right_thumb2",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
        "left_heel", "right_heel", "left_foot_index", "right_foot_index",
    ),
    edges=(
        (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8),
        (9, 10), (0, 9), (0, 10), (0, 11), (0, 12),
        (11, 12), (11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19),
        (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20),
        (11, 23), (12, 24), (23, 24),
        (23, 25), (25, 27), (27, 29), (27, 31), (29, 31), (24, 26), (26, 28), (28, 30), (28, 32), (30, 32),
    ),
)

# MSR Action3D (Li, Zhang and Liu, CVPR Workshops 2010): the joints of Kinect v1 in the order of its files. Which is
# which was told from where they are in the median, and left and right from the arm that everybody waves, the right one.
MSR_ACTION3D = Skeleton(
    name="msr_action3d",
    keypoints=(
        "left_shoulder", "right_shoulder", "thorax", "spine", "left_hip", "right_hip", "hip",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
        "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot",
        "head",
    ),
    edges=(
        (6, 3), (3, 2), (2, 19),
        (2, 0), (0, 7), (7, 9), (9, 11),
        (2, 1), (1, 8), (8, 10), (10, 12),
        (6, 4), (4, 13), (13, 15), (15, 17),
        (6, 5), (5, 14), (14, 16), (16, 18),
    ),
)

# Florence 3D Actions (Seidenari et al., CVPR Workshops 2013), 15 joints of Kinect v1 in the order of its file, told
# apart like those of MSR_ACTION3D (in three quarters of the clips one arm waves, drinks and answers: the right one, it
# is taken for). Its "torso", in the middle between neck and hips, is `spine` here.
FLORENCE3D = Skeleton(
    name="florence3d",
    keypoints=(
        "head", "neck", "spine",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
        "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle",
    ),
    edges=(
        (0, 1), (1, 2),
        (1, 3), (3, 4), (4, 5), (1, 6), (6, 7), (7, 8),
        (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14),
    ),
)
# fmt: on

ALL = (
    *(COCO, MPII, H36M, OPENPOSE, NTU, JHMDB, HUMANEVA, PENN_ACTION),
    *(BODY_25, HALPE26, HAND, WHOLEBODY, AP10K, KINECT_V1, BLAZEPOSE, MSR_ACTION3D, FLORENCE3D),
)


def get(name: str) -> Skeleton:
    """Finds one of the sets of this package by its name.

    Args:
        name: "coco", "mpii", "h36m", "openpose", "ntu", "jhmdb", "humaneva", "penn_action", "body_25", "halpe26",
            "hand", "wholebody", "ap10k", "kinect_v1", "blazepose", "msr_action3d" or "florence3d".

    Returns:
        The Skeleton.

    Raises:
        ValueError: when there is no such set.

    Example:
        >>> from kerapose import skeletons
        >>> skeletons.get("coco").keypoints[:3]
        ('nose', 'left_eye', 'right_eye')
    """
    for skeleton in ALL:
        if skeleton.name == name:
            return skeleton
    known = ", ".join(skeleton.name for skeleton in ALL)
    raise ValueError(f"A skeleton must be one of {known}, got {name!r}; for another, make your own Skeleton.")


def from_coco_category(
    category: dict,
    name: str | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
    sigmas: Sequence[float] | None = None,
) -> Skeleton:
    """Makes the set of a COCO keypoint category, the `categories` entry of an annotation file.

    Where the names are those of a set of this package, in its order, that set is taken. Else the limbs are the
    category's: one that is given twice is taken once, and mirror images of limbs that an annotation tool left out are
    added where left and right are known.

    Args:
        category: has `keypoints`, K names, and may have `skeleton`, pairs of places counted from 1, and `name`.
        name: what the set is called; None takes the category's name.
        flip_pairs: pairs of indices counted from 0, or of names; None finds them by the names.
        sigmas: K object keypoint similarity constants; None takes those of the set of this package, if it is one.

    Returns:
        The Skeleton.

    Raises:
        ValueError: when the category has no keypoints, or as `Skeleton` does.

    Example:
        >>> category = {"name": "mouse", "keypoints": ["snout", "leftear", "rightear"], "skeleton": [[1, 2]]}
        >>> from kerapose import skeletons
        >>> mouse = skeletons.from_coco_category(category)
        >>> mouse.edges, mouse.flip_pairs
        (((0, 1), (0, 2)), ((1, 2),))
    """
    title = name or str(category.get("name", "own"))
    names = tuple(category.get("keypoints") or ())
    if not names or not all(isinstance(keypoint, str) for keypoint in names):
        raise ValueError(f"{title}: a category must have the names of its keypoints, got {list(names)}; add them.")
    known = [skeleton for skeleton in ALL if skeleton.keypoints == names]
    if known and flip_pairs is None:
        return known[0] if sigmas is None else dataclasses.replace(known[0], sigmas=sigmas)
    bare = Skeleton(title, names, (), flip_pairs, sigmas)
    edges = {}  # an ordered set: the same two ends are one limb, whichever stands first
    for start, end in category.get("skeleton") or ():
        edges.setdefault(frozenset((int(start) - 1, int(end) - 1)), (int(start) - 1, int(end) - 1))
    for edge in list(edges.values()) if bare.knows_sides else ():
        if all(0 <= place < len(names) for place in edge):
            image = tuple(bare.flip_permutation[place] for place in edge)
            edges.setdefault(frozenset(image), image)
    return dataclasses.replace(bare, edges=tuple(edges.values()))
