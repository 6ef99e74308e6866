"""The keypoint sets, what they refuse, and the maps between them."""

import copy
import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest

from kerapose import skeletons
from kerapose.skeletons import (
    ALL,
    AP10K,
    BODY_25,
    COCO,
    DERIVED,
    FLORENCE3D,
    H36M,
    HALPE26,
    HAND,
    JHMDB,
    KINECT_V1,
    MPII,
    MSR_ACTION3D,
    NTU,
    OPENPOSE,
    PENN_ACTION,
    WHOLEBODY,
    Skeleton,
    convert,
    from_coco_category,
    get,
    mapping,
)

IDS = [skeleton.name for skeleton in ALL]
PAIRS = list(itertools.permutations(ALL, 2))
PAIR_IDS = [f"{source.name}-{target.name}" for source, target in PAIRS]

# A person facing the camera with arms hanging: the person's left is on the right of the image, y points down.
STANDING = {
    "nose": (50, 10),
    "left_eye": (52, 8),
    "right_eye": (48, 8),
    "left_ear": (55, 9),
    "right_ear": (45, 9),
    "left_shoulder": (62, 24),
    "right_shoulder": (38, 24),
    "left_elbow": (66, 42),
    "right_elbow": (34, 42),
    "left_wrist": (68, 58),
    "right_wrist": (32, 58),
    "left_hip": (58, 60),
    "right_hip": (42, 60),
    "left_knee": (58, 84),
    "right_knee": (42, 84),
    "left_ankle": (58, 108),
    "right_ankle": (42, 108),
}


def standing():
    return np.array([STANDING[name] for name in COCO.keypoints], np.float32), np.ones(17, np.float32)


def random_figure(skeleton, seed):
    random = np.random.default_rng(seed)
    keypoints = random.uniform(0, 100, (2, 3, skeleton.num_keypoints, 2)).astype(np.float32)
    return keypoints, random.uniform(0.1, 1, keypoints.shape[:-1]).astype(np.float32)


# ---------------------------------------- the sets
def test_sizes():
    assert [(s.name, s.num_keypoints, s.num_edges) for s in ALL] == [
        ("coco", 17, 17),
        ("mpii", 16, 15),
        ("h36m", 17, 16),
        ("openpose", 18, 19),
        ("ntu", 25, 24),
        ("jhmdb", 15, 14),
        ("humaneva", 15, 14),
        ("penn_action", 13, 13),
        ("body_25", 25, 26),
        ("halpe26", 26, 27),
        ("hand", 21, 20),
        ("wholebody", 133, 65),
        ("ap10k", 17, 17),
        ("kinect_v1", 20, 19),
        ("blazepose", 33, 39),
        ("msr_action3d", 20, 19),
        ("florence3d", 15, 14),
    ]


def is_loose(name):
    """Whether a keypoint of WHOLEBODY has no limb in the published set: points of the face and roots of hands."""
    return 23 <= WHOLEBODY.index(name) < 91 or name in ("left_hand_root", "right_hand_root")


@pytest.mark.parametrize("skeleton", ALL, ids=IDS)
def test_every_keypoint_hangs_on_one_connected_graph(skeleton):
    reached, frontier = {0}, [0]
    while frontier:
        here = frontier.pop()
        ends = {end for edge in skeleton.edges if here in edge for end in edge} - reached
        reached |= ends
        frontier += ends
    loose = {index for index, name in enumerate(skeleton.keypoints) if skeleton is WHOLEBODY and is_loose(name)}
    assert len(loose) == (70 if skeleton is WHOLEBODY else 0)
    assert reached == set(range(skeleton.num_keypoints)) - loose


@pytest.mark.parametrize("skeleton", ALL, ids=IDS)
def test_mirror_swaps_the_names_of_left_and_right(skeleton):
    swapped = [skeleton.keypoints[index] for index in skeleton.flip_permutation]
    sides = {"left_": "right_", "right_": "left_"}
    for name, image in zip(skeleton.keypoints, swapped, strict=True):
        side = next((side for side in sides if name.startswith(side)), None)
        assert image == (name if side is None else sides[side] + name[len(side) :])


@pytest.mark.parametrize("skeleton", ALL, ids=IDS)
def test_mirror_twice_is_nothing_and_maps_limbs_onto_limbs(skeleton):
    permutation = skeleton.flip_permutation
    assert [permutation[index] for index in permutation] == list(range(skeleton.num_keypoints))
    for edge, source in zip(skeleton.edges, skeleton.edge_flip_permutation, strict=True):
        assert {permutation[end] for end in edge} == set(skeleton.edges[source])
    assert sorted(skeleton.edge_flip_permutation) == list(range(skeleton.num_edges))


@pytest.mark.parametrize("skeleton", ALL, ids=IDS)
def test_left_is_warm_right_is_cool_and_the_middle_neutral(skeleton):
    for name, (red, _, blue) in zip(skeleton.keypoints, skeleton.colors, strict=True):
        if name.startswith("left_"):
            assert red > blue + 100
        elif name.startswith("right_"):
            assert blue > red + 100
        else:
            assert abs(red - blue) < 20


def test_edge_colors_lie_between_their_ends():
    for (a, b), color in zip(COCO.edges, COCO.edge_colors, strict=True):
        np.testing.assert_allclose(color, np.mean([COCO.colors[a], COCO.colors[b]], axis=0), atol=0.5)


def test_coco_as_published():
    assert COCO.edges == (
        *((0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15)),
        *((6, 12), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4), (11, 12)),
    )
    assert COCO.flip_pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    assert COCO.sigmas[COCO.index("left_hip")] == 0.107


def test_openpose_as_published(golden):
    assert OPENPOSE.edges == tuple(map(tuple, golden("openpose_target_a").config["limbs"]))
    np.testing.assert_allclose(OPENPOSE.sigmas, golden("openpose_track_a").config["sigmas"], atol=1e-6)
    sigmas = dict(zip(COCO.keypoints, COCO.sigmas, strict=True))
    sigmas["neck"] = sigmas["left_shoulder"]
    assert OPENPOSE.sigmas == tuple(sigmas[name] for name in OPENPOSE.keypoints)


def test_body_25_as_published():
    numbers = {"neck": 1, "right_wrist": 4, "left_shoulder": 5, "hip": 8, "right_ankle": 11, "left_ankle": 14}
    numbers |= {"right_eye": 15, "left_ear": 18, "left_big_toe": 19, "left_heel": 21, "right_small_toe": 23}
    assert {name: BODY_25.index(name) for name in numbers} == numbers
    # The published table lists the limbs in another order, and for each the first of its two channels.
    pairs = "1,8 1,2 1,5 2,3 3,4 5,6 6,7 8,9 9,10 10,11 8,12 12,13 13,14 1,0 0,15 15,17 0,16 16,18 2,17 5,18"
    pairs += " 14,19 19,20 14,21 11,22 22,23 11,24"
    channels = (0, 14, 22, 16, 18, 24, 26, 6, 2, 4, 8, 10, 12, 30, 32, 36, 34, 38, 20, 28, 40, 42, 44, 46, 48, 50)
    limbs = dict(zip(channels, pairs.split(), strict=True))
    assert [f"{start},{end}" for start, end in BODY_25.edges] == [limbs[2 * place] for place in range(26)]
    assert BODY_25.sigmas is None


def test_halpe26_as_published():
    assert HALPE26.keypoints[:17] == COCO.keypoints and HALPE26.sigmas[:17] == COCO.sigmas
    assert HALPE26.keypoints[17:21] == ("head_top", "neck", "hip", "left_big_toe")
    assert HALPE26.index("left_small_toe") == 22 and HALPE26.index("right_heel") == 25
    assert HALPE26.sigmas[17:] == (0.08,) * 3 + (0.089,) * 6
    assert HALPE26.edges[:3] == ((15, 13), (13, 11), (11, 19)) and HALPE26.edges[-1] == (16, 25)


def test_wholebody_as_published():
    assert WHOLEBODY.keypoints[:17] == COCO.keypoints and WHOLEBODY.sigmas[:17] == COCO.sigmas
    assert WHOLEBODY.keypoints[17:23] == tuple(
        f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")
    )
    # The published mirror images of the face's points, counted from its first.
    swaps = [(number, 16 - number) for number in range(8)] + [(number, 43 - number) for number in range(17, 22)]
    swaps += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    swaps += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    centre = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert sorted(itertools.chain(centre, *swaps)) == list(range(68))
    expected = {frozenset((23 + a, 23 + b)) for a, b in swaps}
    assert {frozenset(pair) for pair in WHOLEBODY.flip_pairs if 23 <= pair[0] < 91} == expected
    for number in centre:
        assert WHOLEBODY.flip_permutation[23 + number] == 23 + number
    for name, number in {"right_jaw1": 0, "right_brow1": 17, "right_eyelid1": 36, "left_eyelid1": 45}.items():
        assert WHOLEBODY.index(name) == 23 + number  # the face's numbers begin on the person's right
    for side, first in (("left", 91), ("right", 112)):
        names = [f"{side}_hand_root", *(f"{side}_{name}" for name in HAND.keypoints[1:])]
        assert WHOLEBODY.keypoints[first : first + 21] == tuple(names)
    sigmas = {"left_big_toe": 0.068, "right_heel": 0.094, "right_jaw1": 0.042, "chin": 0.02, "left_jaw1": 0.045}
    sigmas |= {"nose_bridge1": 0.009, "nose_base": 0.008, "right_eyelid1": 0.017, "left_eyelid5": 0.034}
    sigmas |= {"right_lip1": 0.008, "left_lip1": 0.01, "right_inner_lip3": 0.008, "left_hand_root": 0.029}
    sigmas |= {"left_thumb4": 0.047, "right_forefinger4": 0.035, "right_pinky_finger4": 0.031}
    assert {name: WHOLEBODY.sigmas[WHOLEBODY.index(name)] for name in sigmas} == sigmas
    limbs = {name: WHOLEBODY.index(name) for name in ("left_wrist", "left_thumb1", "right_wrist", "right_ring_finger1")}
    assert WHOLEBODY.edges[0] == (15, 13) and WHOLEBODY.edges[24] == (16, 22)
    assert WHOLEBODY.edges[25] == (limbs["left_wrist"], limbs["left_thumb1"]) == (9, 92)
    assert WHOLEBODY.edges[57] == (limbs["right_wrist"], limbs["right_ring_finger1"])
    assert WHOLEBODY.edges[64] == (131, 132)


def test_a_hand_is_mirrored_in_its_place():
    assert HAND.knows_sides and HAND.flip_permutation == tuple(range(21))
    assert HAND.edges[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5)) and HAND.edges[-1] == (19, 20)
    assert HAND.index("forefinger1") == 5 and HAND.index("pinky_finger4") == 20 and HAND.sigmas is None


def test_ap10k_as_published():
    assert [AP10K.index(name) for name in ("nose", "root_of_tail", "left_front_paw", "right_back_paw")] == [2, 4, 7, 16]
    sigmas = dict(zip(COCO.keypoints, COCO.sigmas, strict=True))
    for name, sigma in zip(AP10K.keypoints, AP10K.sigmas, strict=True):
        alike = name.replace("front_paw", "wrist").replace("back_paw", "ankle")
        assert sigma == sigmas.get(alike, 0.035)  # neck and tail
    assert AP10K.edges[3:5] == ((2, 3), (3, 4)) and AP10K.edges[-1] == (15, 16)


def test_sets_of_depth_sensors_are_kinect_v1_in_other_orders():
    def limbs(skeleton):
        return {frozenset(skeleton.keypoints[end] for end in edge) for edge in skeleton.edges}

    assert set(MSR_ACTION3D.keypoints) == set(KINECT_V1.keypoints) and limbs(MSR_ACTION3D) == limbs(KINECT_V1)
    assert MSR_ACTION3D.flip_permutation[:8] == (1, 0, 2, 3, 5, 4, 6, 8)
    assert set(FLORENCE3D.keypoints) - set(KINECT_V1.keypoints) == {"neck"}
    assert FLORENCE3D.flip_permutation == (0, 1, 2, 6, 7, 8, 3, 4, 5, 12, 13, 14, 9, 10, 11)
    assert not (mapping(NTU, MSR_ACTION3D).sum(axis=1) - 1).any() and not (mapping(NTU, FLORENCE3D).sum(1) - 1).any()


def test_kinect_v1_is_kinect_v2_without_neck_and_fingers():
    assert [KINECT_V1.index(name) for name in ("hip", "thorax", "left_hand", "right_foot")] == [0, 2, 7, 19]
    gone = ("upper_neck", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb")
    assert set(NTU.keypoints) - set(KINECT_V1.keypoints) == set(gone)
    limbs = {frozenset(NTU.keypoints[end] for end in edge) for edge in NTU.edges}
    limbs = {limb for limb in limbs if not limb & set(gone)} | {frozenset(("thorax", "head"))}
    assert {frozenset(KINECT_V1.keypoints[end] for end in edge) for edge in KINECT_V1.edges} == limbs
    assert KINECT_V1.parents[0] == -1


def test_sides_by_index_as_the_data_sets_give_them():
    sides = {
        AP10K: ((0, 5, 6, 7, 11, 12, 13), (1, 8, 9, 10, 14, 15, 16)),
        BODY_25: ((5, 6, 7, 12, 13, 14, 16, 18, 19, 20, 21), (2, 3, 4, 9, 10, 11, 15, 17, 22, 23, 24)),
        H36M: ((4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16)),
        JHMDB: ((4, 6, 8, 10, 12, 14), (3, 5, 7, 9, 11, 13)),
        KINECT_V1: ((4, 5, 6, 7, 12, 13, 14, 15), (8, 9, 10, 11, 16, 17, 18, 19)),
        MPII: ((3, 4, 5, 13, 14, 15), (0, 1, 2, 10, 11, 12)),
        NTU: ((4, 5, 6, 7, 12, 13, 14, 15, 21, 22), (8, 9, 10, 11, 16, 17, 18, 19, 23, 24)),
        OPENPOSE: ((5, 6, 7, 11, 12, 13, 15, 17), (2, 3, 4, 8, 9, 10, 14, 16)),
        PENN_ACTION: ((1, 3, 5, 7, 9, 11), (2, 4, 6, 8, 10, 12)),
    }
    for skeleton, (left, right) in sides.items():
        names = skeleton.keypoints
        assert tuple(index for index, name in enumerate(names) if name.startswith("left_")) == left
        assert tuple(index for index, name in enumerate(names) if name.startswith("right_")) == right


def test_sigmas_are_the_same_left_and_right():
    for skeleton in (COCO, MPII, JHMDB, OPENPOSE, HALPE26, AP10K):
        assert all(skeleton.sigmas[left] == skeleton.sigmas[right] for left, right in skeleton.flip_pairs)
    assert H36M.sigmas is NTU.sigmas is None


def test_parents_lead_to_the_first_keypoint_by_limbs():
    assert H36M.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    for skeleton in (H36M, JHMDB, MPII, NTU):  # in MPII the way begins at an ankle, against the limbs' directions
        parents = skeleton.parents
        assert {frozenset(edge) for edge in enumerate(parents) if -1 not in edge} == {*map(frozenset, skeleton.edges)}
        for keypoint in range(skeleton.num_keypoints):
            way = [keypoint]
            while way[-1] != 0 and len(way) <= skeleton.num_keypoints:
                way.append(parents[way[-1]])
            assert way[-1] == 0 and parents[0] == -1


@pytest.mark.parametrize(
    ("edges", "limbs", "joined"),
    [
        (((0, 1), (1, 2), (2, 0), (2, 3)), 4, 4),  # a ring
        (((0, 1), (2, 3)), 2, 2),  # two parts
        (((1, 2), (2, 3), (3, 1)), 3, 1),  # as many limbs as a tree has
    ],
)
def test_a_set_that_is_no_tree_has_no_parents(edges, limbs, joined):
    skeleton = Skeleton("knot", ("a", "b", "c", "d"), edges)
    with pytest.raises(ValueError, match=f"knot: .* from each .* to a, got {limbs} limbs that join {joined} of 4"):
        skeleton.parents  # noqa: B018, it raises


def test_get_and_index():
    assert get("coco") is COCO
    assert get("jhmdb") is JHMDB
    assert NTU.index("thorax") == 20
    known = "coco, mpii, h36m, openpose, ntu, jhmdb, humaneva, penn_action, body_25, halpe26, hand, wholebody, ap10k, "
    known += "kinect_v1, blazepose, msr_action3d, florence3d"
    with pytest.raises(ValueError, match=f"one of {known}, got 'COCO17'"):
        get("COCO17")
    with pytest.raises(ValueError, match="coco has no keypoint 'tail'"):
        COCO.index("tail")


# ---------------------------------------- a set of one's own
MOUSE = {"name": "mouse", "keypoints": ("snout", "left_ear", "right_ear"), "edges": ((0, 1), (0, 2))}


def test_own_set_gets_pairs_and_colours_by_name():
    mouse = Skeleton(**{**MOUSE, "edges": [[0, 1], [2, 0]]})
    assert mouse.edges == ((0, 1), (2, 0))
    assert mouse.flip_pairs == ((1, 2),)
    assert mouse.edge_flip_permutation == (1, 0)
    assert len(mouse.colors) == 3
    assert mouse.sigmas is None
    assert hash(mouse) == hash(Skeleton(**{**MOUSE, "edges": ((0, 1), (2, 0))}))
    with pytest.raises(AttributeError):
        mouse.name = "rat"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": ("snout", "left_ear", "right_ear", "snout")}, "unique, got snout more than once"),
        ({"keypoints": ()}, "non-empty tuple of names"),
        ({"keypoints": "snout"}, "non-empty tuple of names"),
        ({"edges": ((0, 1), (0, 3))}, r"different keypoints of 0 to 2, got \(0, 3\)"),
        ({"edges": ((0, -1), (0, 2))}, r"different keypoints of 0 to 2, got \(0, -1\)"),
        ({"edges": ((1, 1),)}, r"different keypoints of 0 to 2, got \(1, 1\)"),
        ({"edges": ((0, 1), (1, 0), (0, 2))}, r"each edge must be given once"),
        ({"edges": ((0, 1),)}, r"mirror image \(0, 2\) of edge \(0, 1\) must be an edge too"),
        ({"flip_pairs": ((0, 1),)}, "left_ and right_ keypoint of one name, got snout and left_ear"),
        ({"flip_pairs": ((1, 3),)}, "a keypoint has a number of 0 to 2, got 3"),
        ({"flip_pairs": ((1, 2), (2, 1))}, "each keypoint once, got 'left_ear' twice"),
        ({"flip_pairs": 5}, "pairs of names or places, got 5; give"),
        ({"flip_pairs": (1, 2)}, r"pairs of names or places, got \(1, 2\); give"),
        ({"flip_pairs": (("left_ear", "paw"),)}, "there is no keypoint 'paw'"),
        ({"sigmas": 0.05}, "sigmas must be 3 positive numbers, one per keypoint, of at most 1, got 0.05; correct them"),
        ({"sigmas": ("a", "b", "c")}, "3 positive numbers, .* got .'a', 'b', 'c'.;"),
        ({"sigmas": "abc"}, "3 positive numbers, .* got 'abc';"),
        ({"sigmas": ("0.1", 0.1, 0.1)}, "3 positive numbers, .* got .'0.1', 0.1, 0.1.;"),
        ({"sigmas": (True, 0.1, 0.1)}, "3 positive numbers, .* got .True, 0.1, 0.1.;"),
        ({"sigmas": (0.1, 0.1, 1e30)}, "of at most 1, got .0.1, 0.1, 1e.30.;"),
        ({"sigmas": (0.1, [0.1], 0.1)}, "3 positive numbers"),
        ({"sigmas": (0.1, 0.1)}, "sigmas must be 3 positive numbers, one per keypoint, .* got .0.1, 0.1.;"),
        ({"sigmas": (0.1, 0.1, 0.0)}, "sigmas must be 3 positive numbers"),
        ({"sigmas": (0.1, 0.1, float("nan"))}, "sigmas must be 3 positive numbers"),
        ({"colors": ((0, 0, 0),)}, "colors must be 3 RGB triples of 0 to 255, one per keypoint, got 1"),
        ({"colors": ((0, 0, 0), (0, 0, 256), (0, 0, 0))}, "colors must be 3 RGB triples of 0 to 255"),
        ({"colors": ((0, 0), (0, 0), (0, 0))}, "colors must be 3 RGB triples of 0 to 255"),
    ],
)
def test_a_wrong_set_is_refused_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        Skeleton(**{**MOUSE, **change})
    assert str(caught.value).startswith("mouse: ")
    assert "\n" not in str(caught.value)


# ---------------------------------------- names and sides in any spelling
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_ear", "right_ear"),
        ("leftear", "rightear"),
        ("LeftEar", "RightEar"),
        ("EAR LEFT", "EAR RIGHT"),
        ("ear-left", "ear-right"),
        ("L_ear", "R_ear"),
        ("ear_l", "ear_r"),
        ("LEar", "REar"),
        ("earL", "earR"),
        ("ear.L1", "ear.R1"),
        ("upright_left", "upright_right"),
        ("linkes_Ohr", "rechtes_Ohr"),
        ("paw_FL", "paw_FR"),
        ("lear", "rear"),
        ("earl", "earr"),
    ],
)
def test_sides_are_found_in_any_spelling(left, right):
    skeleton = Skeleton("own", ("snout", right, left), edges=((0, 1), (0, 2)))
    assert skeleton.flip_pairs == ((2, 1),)
    assert skeleton.colors[2] == skeletons.LEFT_COLORS[0] and skeleton.colors[1] == skeletons.RIGHT_COLORS[0]


def test_names_that_only_look_like_sides_are_no_pair():
    names = ("cleft", "tail", "bright", "ear", "rear", "leftover", "L5")
    assert Skeleton("own", names, edges=()).flip_pairs == ()


def test_pairs_of_names_without_sides_can_be_given():
    fish = Skeleton("fish", ("mouth", "fin_a", "fin_b"), edges=((0, 1), (0, 2)), flip_pairs=((2, 1),))
    assert fish.flip_permutation == (0, 2, 1)
    assert fish.colors[2] == skeletons.LEFT_COLORS[0]  # the first of a pair is the left one
    with pytest.raises(ValueError, match="the left_ and right_ keypoint of one name, got leftear and snout"):
        Skeleton("own", ("snout", "leftear", "rightear"), edges=(), flip_pairs=((1, 0),))


def test_pairs_are_names_or_whole_numbers():
    for pairs in ([(1.0, 2.0)], np.array([[1, 2]]), [("left_ear", "right_ear")], [["left_ear", 2]], [(np.int64(1), 2)]):
        assert Skeleton(**MOUSE, flip_pairs=pairs).flip_pairs == ((1, 2),)
    assert Skeleton(**MOUSE, sigmas=np.float32([0.5, 1, 0.25])).sigmas == (0.5, 1.0, 0.25)


def test_a_pair_may_stand_the_other_way_round():
    names = ("snout", "left_ear", "right_ear")
    turned = Skeleton("own", names, edges=(), flip_pairs=((2, 1),))
    assert turned.colors == Skeleton("own", names, edges=()).colors


@pytest.mark.parametrize(
    ("names", "pairs", "is_known"),
    [
        (("1", "2", "3"), None, False),
        (("snout", "tail"), None, False),
        (("centre",), None, False),
        (("ear left", "ear right", "paw left"), None, False),  # of which no mirror knows what to make
        (("1", "2", "3"), (), True),
        (("1", "2", "3"), ((0, 2),), True),
        (("ear left", "ear right", "paw left"), ((0, 1),), True),
        (("snout", "earl", "earr"), None, True),
        (COCO.keypoints, None, True),
        (COCO.keypoints, (), True),
        (COCO.keypoints, ((1, 2), (16, 15)), True),
        (("left_wrist", "left_thumb1", "left_thumb2", "left_index1"), None, False),  # a hand
        (("left_wrist", "left_thumb1", "left_thumb2", "left_index1"), (), True),
        (("LeftWrist", "LeftThumb"), None, False),
        (("nose", "left_eye", "right_eye", "left_ear", "tail"), None, False),
        (("nose", "left_eye", "right_eye", "left_ear", "tail"), (), True),
        (("nose", "left_eye", "right_eye", "left_ear", "tail"), ((1, 2),), True),
        (("snout", "left_ear", "right_paw"), None, False),
    ],
)
def test_sides_are_known_by_names_or_by_hand(names, pairs, is_known):
    skeleton = Skeleton("own", names, (), pairs)
    assert skeleton.knows_sides == is_known
    assert isinstance(skeleton.flip_pairs, tuple)
    again = Skeleton(**json.loads(json.dumps(skeleton.to_dict())))
    with_sigmas = dataclasses.replace(skeleton, sigmas=(0.1,) * len(names))
    copied = copy.deepcopy(pickle.loads(pickle.dumps(skeleton)))
    assert again == skeleton == copied and hash(again) == hash(skeleton)
    assert again.knows_sides == with_sigmas.knows_sides == copied.knows_sides == is_known
    by_hand = dataclasses.replace(skeleton, flip_pairs=tuple(skeleton.flip_pairs))
    assert by_hand.knows_sides and (by_hand == skeleton) == is_known


def test_unknown_sides_are_another_set_than_none():
    unknown, centred = (Skeleton("own", ("a", "b"), (), pairs) for pairs in (None, ()))
    assert unknown != centred and unknown.flip_pairs == centred.flip_pairs == ()
    assert unknown.to_dict()["flip_pairs"] is None and centred.to_dict()["flip_pairs"] == []


@pytest.mark.parametrize("skeleton", ALL, ids=IDS)
def test_in_the_sets_every_left_and_right_is_in_a_pair(skeleton):
    paired = {skeleton.keypoints[index] for pair in skeleton.flip_pairs for index in pair}
    assert paired == {name for name in skeleton.keypoints if name.startswith(("left_", "right_"))}
    assert skeleton.knows_sides


def test_pairs_that_several_letters_tell_may_be_given_by_hand():
    names = ("LASI", "RASI", "LPSI", "RPSI", "LBHD", "RBHD", "nose", "chin")
    assert Skeleton("gait", names, ()).flip_pairs == ((0, 1), (2, 3), (4, 5))
    assert Skeleton("gait", names, (), flip_pairs=((0, 1),)).flip_pairs == ((0, 1),)
    assert Skeleton("gait", names, (), flip_pairs=((1, 0), (6, 7))).flip_permutation[:2] == (1, 0)


# ---------------------------------------- upper body, and files
def test_upper_body():
    assert COCO.upper_body == tuple(range(11))
    assert MPII.upper_body == (7, 8, 9, 10, 11, 12, 13, 14, 15)
    assert [H36M.keypoints[index] for index in H36M.upper_body][:3] == ["spine", "thorax", "nose"]
    foot = Skeleton("foot", ("LBigToe", "RBigToe", "left_heel", "right_heel", "nose"), edges=())
    assert foot.upper_body == (4,)
    assert [WHOLEBODY.keypoints[index] for index in range(133) if index not in WHOLEBODY.upper_body] == [
        *COCO.keypoints[11:],
        *WHOLEBODY.keypoints[17:23],
    ]
    assert AP10K.upper_body == (0, 1, 2, 3, 5, 6, 7, 8, 9, 10)


@pytest.mark.parametrize("skeleton", ALL, ids=IDS)
def test_a_set_goes_through_a_file(skeleton):
    again = Skeleton(**json.loads(json.dumps(skeleton.to_dict())))
    assert again == skeleton and hash(again) == hash(skeleton)


# ---------------------------------------- sets of COCO files
MOUSE_CATEGORY = {
    "id": 1,
    "name": "mouse",
    "keypoints": ["snout", "leftear", "rightear", "tailbase"],
    "skeleton": [[1, 2], [1, 3], [2, 3], [2, 4], [3, 4]],
}


def test_a_category_becomes_a_set():
    mouse = from_coco_category(MOUSE_CATEGORY)
    assert mouse == Skeleton(
        "mouse", tuple(MOUSE_CATEGORY["keypoints"]), ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)), flip_pairs=((1, 2),)
    )
    assert from_coco_category(MOUSE_CATEGORY, name="rat", sigmas=(0.1,) * 4).sigmas == (0.1,) * 4
    assert from_coco_category({"name": "ant", "keypoints": ["head"]}).edges == ()


def test_a_category_with_the_keypoints_of_a_known_set_is_that_set():
    category = {"name": "person", "keypoints": list(COCO.keypoints), "skeleton": [[16, 14]]}
    assert from_coco_category(category) is COCO
    assert from_coco_category(category, sigmas=[0.05] * 17) == dataclasses.replace(COCO, sigmas=(0.05,) * 17)
    shuffled = from_coco_category(category | {"keypoints": list(COCO.keypoints[::-1]), "skeleton": []})
    assert shuffled.name == "person" and shuffled.sigmas is None and len(shuffled.flip_pairs) == 8


def test_limbs_that_an_annotation_tool_repeats_or_leaves_out():
    category = MOUSE_CATEGORY | {"skeleton": [[1, 2], [2, 1], [2, 4]]}
    assert from_coco_category(category).edges == ((0, 1), (1, 3), (0, 2), (2, 3))


@pytest.mark.parametrize(
    ("names", "limbs"),
    [
        (["left_wrist", "left_thumb1", "left_thumb2"], [[1, 2], [2, 3]]),
        (["nose", "left_eye", "right_eye", "left_ear", "tail"], [[1, 2], [2, 4], [1, 5]]),
        (["LeftWrist", "LeftThumb"], [[1, 2]]),
        (["snout", "ojo_izq", "ojo_der", "oreja_izq"], [[1, 2], [2, 4]]),
        (["snout", "ojo izquierdo", "ojo derecho", "oreja izquierda"], [[1, 2], [2, 4]]),
    ],
)
def test_sets_of_one_side_and_limbs_without_images_are_read(names, limbs):
    category = {"name": "part", "keypoints": names, "skeleton": limbs}
    wanted = tuple((start - 1, end - 1) for start, end in limbs)
    read = from_coco_category(category)
    assert not read.knows_sides and read.edges == wanted
    assert len(read.edge_flip_permutation) == len(wanted)
    assert Skeleton(**json.loads(json.dumps(read.to_dict()))) == read
    by_hand = from_coco_category(category, flip_pairs=())
    assert by_hand.knows_sides and by_hand.edges == wanted and by_hand.flip_pairs == ()
    assert by_hand.edge_flip_permutation == tuple(range(len(wanted)))


def test_pairs_given_by_hand_are_all_that_change_places():
    category = {"name": "person", "keypoints": list(COCO.keypoints), "skeleton": [[6, 8]]}
    assert from_coco_category(category, flip_pairs=()).flip_permutation == tuple(range(17))
    some = from_coco_category(category, flip_pairs=[("left_eye", "right_eye")])
    assert some.flip_pairs == ((1, 2),) and some.edges == ((5, 7),)
    arms = from_coco_category(category, flip_pairs=[("left_elbow", "right_elbow")])
    assert arms.edges == ((5, 7), (5, 8))  # the shoulder stays


def test_pairs_of_a_category_can_be_given_by_name_or_place():
    category = MOUSE_CATEGORY | {"keypoints": ["snout", "one", "other", "tailbase"], "skeleton": [[1, 2]]}
    assert from_coco_category(category).flip_pairs == ()
    for pairs in ([("one", "other")], [(1, 2)], [["one", 2]]):
        skeleton = from_coco_category(category, flip_pairs=pairs)
        assert skeleton.flip_pairs == ((1, 2),) and skeleton.edges == ((0, 1), (0, 2))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"keypoints": []}, {}, r"mouse: a category must have the names of its keypoints, got \[\]; add them"),
        ({"keypoints": [1, 2]}, {}, r"names of its keypoints, got \[1, 2\]"),
        ({"skeleton": [[1, 5]]}, {}, r"different keypoints of 0 to 3, got \(0, 4\)"),
        ({"skeleton": [[2, 2]]}, {}, r"different keypoints of 0 to 3, got \(1, 1\)"),
        ({}, {"flip_pairs": [("leftear", "nose")]}, "there is no keypoint 'nose'; choose from snout, leftear"),
        ({}, {"flip_pairs": [("leftear", "snout")]}, "keypoint of one name, got leftear and snout"),
        ({}, {"flip_pairs": [("leftear", 4)]}, "a keypoint has a number of 0 to 3, got 4; give its name"),
        ({}, {"flip_pairs": ["leftear:rightear"]}, "pairs of names or places, got 'leftear:rightear'; give each"),
        ({}, {"sigmas": [0.1]}, "sigmas must be 4 positive numbers"),
        ({"keypoints": ["a", "a", "b", "c"]}, {}, "unique, got a more than once"),
    ],
)
def test_a_category_that_is_none_is_refused_in_one_sentence(change, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_coco_category(MOUSE_CATEGORY | change, **options)
    assert "\n" not in str(caught.value)


# ---------------------------------------- maps
def test_formulas_sum_to_one_and_are_symmetric():
    for name, formulas in DERIVED.items():
        for formula in formulas:
            assert sum(formula.values()) == pytest.approx(1), name
            for part, weight in formula.items():
                other = part.replace("left_", "right_") if "left_" in part else part.replace("right_", "left_")
                assert formula[other] == weight, name


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=PAIR_IDS)
def test_mapping_rows(source, target):
    matrix = mapping(source, target)
    assert matrix.shape == (target.num_keypoints, source.num_keypoints)
    assert matrix.dtype == np.float32
    for name, row in zip(target.keypoints, matrix, strict=True):
        if name in source.keypoints:
            assert row[source.index(name)] == 1
            assert np.count_nonzero(row) == 1
        else:
            assert row.sum() == pytest.approx(1) or not row.any()


def test_mapping_to_itself_is_the_identity():
    for skeleton in ALL:
        np.testing.assert_array_equal(mapping(skeleton, skeleton), np.eye(skeleton.num_keypoints))


def test_what_can_be_worked_out():
    lacking = {}
    for source, target in PAIRS:
        rows = mapping(source, target).any(axis=1)
        lacking[source.name, target.name] = {name for name, row in zip(target.keypoints, rows, strict=True) if not row}
    whole = {pair for pair, names in lacking.items() if not names}
    assert {("coco", "h36m"), ("mpii", "h36m"), ("openpose", "h36m"), ("ntu", "h36m")} <= whole
    assert {("coco", "openpose"), ("openpose", "coco"), ("coco", "jhmdb"), ("ntu", "jhmdb")} <= whole
    assert lacking["jhmdb", "h36m"] == {"head"}
    assert not lacking["coco", "humaneva"] and not lacking["coco", "penn_action"]
    assert lacking["jhmdb", "penn_action"] == {"head"}
    assert lacking["penn_action", "h36m"] == {"nose"}
    assert lacking["coco", "mpii"] == {"head_top"}
    for source in ("mpii", "h36m", "ntu", "jhmdb"):
        assert lacking[source, "coco"] == {"left_eye", "right_eye", "left_ear", "right_ear"}
    for source in ("wholebody", "halpe26", "body_25"):
        for target in ("coco", "openpose", "h36m", "jhmdb", "humaneva", "penn_action"):
            assert not lacking[source, target]
    assert not lacking["wholebody", "body_25"] and not lacking["halpe26", "body_25"]
    assert lacking["wholebody", "halpe26"] == lacking["body_25", "halpe26"] == {"head_top"}
    assert lacking["kinect_v1", "coco"] == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    assert lacking["kinect_v1", "ntu"] == {name for name in NTU.keypoints if name not in KINECT_V1.keypoints}
    assert not lacking["ntu", "kinect_v1"]
    assert lacking["hand", "coco"] == set(COCO.keypoints)
    assert not lacking["blazepose", "coco"] and not lacking["blazepose", "openpose"]


def test_coco_to_h36m_against_the_formulas_written_out():
    keypoints, scores = random_figure(COCO, seed=1)
    part = {name: keypoints[..., index, :] for index, name in enumerate(COCO.keypoints)}
    hip = (part["left_hip"] + part["right_hip"]) / 2
    thorax = (part["left_shoulder"] + part["right_shoulder"]) / 2
    expected = [
        *(hip, part["right_hip"], part["right_knee"], part["right_ankle"]),
        *(part["left_hip"], part["left_knee"], part["left_ankle"]),
        *((hip + thorax) / 2, thorax, part["nose"], (part["left_eye"] + part["right_eye"]) / 2),
        *(part["left_shoulder"], part["left_elbow"], part["left_wrist"]),
        *(part["right_shoulder"], part["right_elbow"], part["right_wrist"]),
    ]
    converted, _ = convert(keypoints, scores, COCO, H36M)
    np.testing.assert_allclose(converted, np.stack(expected, axis=-2), atol=1e-4)


@pytest.mark.parametrize("source", [WHOLEBODY, HALPE26, BODY_25], ids=lambda skeleton: skeleton.name)
def test_coco_out_of_a_larger_set_is_what_has_its_names(source):
    keypoints, scores = random_figure(source, seed=6)
    converted, converted_scores = convert(keypoints, scores, source, COCO)
    places = [source.index(name) for name in COCO.keypoints]
    np.testing.assert_array_equal(converted, keypoints[..., places, :])
    np.testing.assert_array_equal(converted_scores, scores[..., places])


def test_kinect_to_coco_has_what_kinect_finds():
    poses = np.random.default_rng(7).normal(0, 1, (4, 20, 3)).astype("float32")
    converted, scores = convert(poses, np.ones((4, 20)), KINECT_V1, COCO, missing="zero")
    np.testing.assert_array_equal(converted[:, COCO.index("left_wrist")], poses[:, 6])
    np.testing.assert_array_equal(scores, np.tile(np.float32([0] * 5 + [1] * 12), (4, 1)))


def test_a_standing_figure_stays_a_standing_figure():
    keypoints, scores = standing()
    h36m, _ = convert(keypoints, scores, COCO, H36M)
    at = {name: h36m[index] for index, name in enumerate(H36M.keypoints)}
    np.testing.assert_allclose(at["hip"], (50, 60))
    np.testing.assert_allclose(at["thorax"], (50, 24))
    np.testing.assert_allclose(at["spine"], (50, 42))
    column = [at[name][1] for name in ("head", "nose", "thorax", "spine", "hip", "left_knee", "left_ankle")]
    assert column == sorted(column)  # from head to foot, y pointing down
    jhmdb, _ = convert(keypoints, scores, COCO, JHMDB)
    assert jhmdb[JHMDB.index("neck")].tolist() == [50, 24]
    np.testing.assert_allclose(jhmdb[JHMDB.index("belly")], (50, 60 - 0.2 * 36), rtol=1e-6)
    openpose, _ = convert(keypoints, scores, COCO, OPENPOSE)
    assert openpose[OPENPOSE.index("neck")].tolist() == [50, 24]


def test_there_and_back():
    keypoints, scores = random_figure(COCO, seed=2)
    there = convert(keypoints, scores, COCO, OPENPOSE)
    back, back_scores = convert(*there, OPENPOSE, COCO)
    np.testing.assert_array_equal(back, keypoints)
    np.testing.assert_array_equal(back_scores, scores)


def test_coco_to_openpose_as_published(golden):
    case = golden("openpose_target_a")
    people, (width, height) = case["input_coco_keypoints"], case.config["image_size_wh"]
    # Published visibility: 0 occluded, 1 visible, 2 absent, as is whatever lies at (0, 0) or outside. Here, as in
    # COCO's files, 0 is absent and 2 visible, so that the least of two is what a neck between them has.
    x, y, visibility = np.moveaxis(people, -1, 0)
    absent = (visibility == 2) | ((x == 0) & (y == 0)) | (x < 0) | (x >= width) | (y < 0) | (y >= height)
    scores = np.where(absent, 0, visibility + 1)
    keypoints, converted = convert(people[..., :2], scores, COCO, OPENPOSE)
    published = case["output_converted"]
    np.testing.assert_array_equal(converted, np.where(published[..., 2] == 2, 0, published[..., 2] + 1))
    there = converted > 0  # published code leaves a place to what is absent, here it has none
    assert there.any() and not keypoints[~there].any()
    np.testing.assert_allclose(keypoints[there], published[..., :2][there], **case.config["tolerance"])


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=PAIR_IDS)
def test_mirror_then_convert_is_convert_then_mirror(source, target):
    keypoints, scores = random_figure(source, seed=3)

    def mirror(keypoints, scores, skeleton):
        permutation = list(skeleton.flip_permutation)
        return (keypoints * (-1, 1))[..., permutation, :] + 0.0, scores[..., permutation]

    first = convert(*mirror(keypoints, scores, source), source, target, missing="zero")
    last = mirror(*convert(keypoints, scores, source, target, missing="zero"), target)
    np.testing.assert_allclose(first[0], last[0], atol=1e-4)
    np.testing.assert_array_equal(first[1], last[1])


def test_score_is_the_lowest_of_those_it_comes_from():
    keypoints, scores = standing()
    scores[COCO.index("left_hip")] = 0.4
    scores[COCO.index("right_shoulder")] = 0.7
    _, converted = convert(keypoints, scores, COCO, H36M)
    at = dict(zip(H36M.keypoints, converted, strict=True))
    assert at["hip"] == at["left_hip"] == at["spine"] == np.float32(0.4)
    assert at["thorax"] == np.float32(0.7)
    assert at["right_hip"] == at["nose"] == 1


@pytest.mark.parametrize("how", ["nan", "inf", "(0, 0)", "score 0", "score below 0", "score nan", "(-1, -1), score 0"])
def test_a_lost_joint_loses_what_comes_from_it_and_nothing_else(how):
    keypoints, scores = standing()
    clean, _ = convert(keypoints, scores, COCO, H36M)
    left_hip = COCO.index("left_hip")
    if how.startswith("("):
        keypoints[left_hip] = -1 if "-1" in how else 0
    if how in ("nan", "inf"):
        keypoints[left_hip, 1] = float(how)
    if "score" in how:
        scores[left_hip] = {"score below 0": -1, "score nan": np.nan}.get(how, 0)
    converted, converted_scores = convert(keypoints, scores, COCO, H36M)
    lost = [name in ("hip", "left_hip", "spine") for name in H36M.keypoints]
    assert not converted[lost].any() and not converted_scores[lost].any()
    np.testing.assert_array_equal(converted[np.logical_not(lost)], clean[np.logical_not(lost)])
    assert (converted_scores[np.logical_not(lost)] == 1).all()


def test_the_root_of_a_pose_in_space_may_be_at_0():
    poses = np.random.default_rng(0).normal(0, 1, (4, 17, 3)).astype("float32")
    poses[:, 0] = 0
    converted, scores = convert(poses, np.ones((4, 17)), H36M, JHMDB)
    belly = 0.8 * poses[:, 0] + 0.2 * poses[:, H36M.index("thorax")]
    np.testing.assert_allclose(converted[:, JHMDB.index("belly")], belly, atol=1e-6)
    assert (scores == 1).all()


def test_missing_joints_are_named_or_zero():
    keypoints, scores = random_figure(JHMDB, seed=4)
    with pytest.raises(ValueError, match='from those of jhmdb, head cannot; use missing="zero"'):
        convert(keypoints, scores, JHMDB, H36M)
    converted, converted_scores = convert(keypoints, scores, JHMDB, H36M, missing="zero")
    head = H36M.index("head")
    assert not converted[..., head, :].any()
    assert not converted_scores[..., head].any()
    assert np.delete(converted_scores, head, axis=-1).all()


def test_three_coordinates_and_any_leading_axes():
    keypoints = np.random.default_rng(5).normal(size=(4, 25, 3))
    converted, scores = convert(keypoints, np.ones((4, 25)), NTU, H36M)
    assert converted.shape == (4, 17, 3)
    assert scores.shape == (4, 17)
    assert converted.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(converted[:, H36M.index("thorax")], keypoints[:, 20], rtol=1e-6)
    empty, _ = convert(np.zeros((0, 17, 2)), np.zeros((0, 17)), COCO, H36M)
    assert empty.shape == (0, 17, 2)


@pytest.mark.parametrize(
    ("shape", "score_shape", "options", "message"),
    [
        ((3, 16, 2), (3, 16), {}, r"keypoints of coco must be \[..., 17, 2 or 3\], got \(3, 16, 2\)"),
        ((3, 17, 4), (3, 17), {}, r"2 or 3\], got \(3, 17, 4\)"),
        ((17,), (17,), {}, r"got \(17,\)"),
        ((3, 17, 2), (17,), {}, r"scores must be \(3, 17\), one per keypoint, got \(17,\)"),
        ((3, 17, 2), (3, 17), {"missing": "nan"}, 'missing must be "error" or "zero", got \'nan\''),
    ],
)
def test_convert_refuses(shape, score_shape, options, message):
    with pytest.raises(ValueError, match=message):
        convert(np.zeros(shape), np.zeros(score_shape), COCO, H36M, **options)


def test_names_in_the_module_are_the_sets_of_get():
    assert [getattr(skeletons, name.upper()) for name in IDS] == list(ALL)
