"""Left and right in names, as people write them; and what only looks like a side."""

import itertools

import numpy as np
import pytest

from kerapose import sides

COCO_STEMS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def named(pairs, names):
    return [(names[left], names[right]) for left, right in pairs]


# ---------------------------------------- one pair, in any spelling
WORDS = [
    ("left_ear", "right_ear"),
    ("EAR LEFT", "EAR RIGHT"),
    ("ear-left", "ear-right"),
    ("leftHand", "rightHand"),
    ("handLeft2", "handRight2"),
    ("LEFTHand", "RIGHTHand"),
    ("upper_left_lip", "upper_right_lip"),
    ("paw_rear_left", "paw_rear_right"),
    ("linke_Hand", "rechte_Hand"),
    ("Ohr links", "Ohr rechts"),
    ("bras gauche", "bras droit"),
    ("main_gauche", "main_droite"),
    ("ojo izquierdo", "ojo derecho"),
    ("mano_izquierda", "mano_derecha"),
    ("spalla_sinistra", "spalla_destra"),
    ("mão esquerda", "mão direita"),
    ("vänster_hand", "höger_hand"),
    ("левая_рука", "правая_рука"),
    ("левый глаз", "правый глаз"),
    ("左手", "右手"),
    ("手_左", "手_右"),
    ("ＬＥＦＴ ear", "ＲＩＧＨＴ ear"),
    ("leftear", "rightear"),
    ("earleft", "earright"),
    ("bigtoeleftfoot", "bigtoerightfoot"),
    ("Left_Ear", "RIGHT EAR"),
    ("αριστερό_χέρι", "δεξί_χέρι"),
    ("ΑΡΙΣΤΕΡΟΣ ΩΜΟΣ", "ΔΕΞΙΟΣ ΩΜΟΣ"),
    ("levá_ruka", "pravá_ruka"),
    ("levé oko", "pravé oko"),
    ("ľavé rameno", "pravé rameno"),
    ("lijeva_ruka", "desna_ruka"),
    ("ліва рука", "права рука"),
    ("balkéz", "jobbkéz"),
    ("vasen_käsi", "oikea_käsi"),
    ("Vasen Olkapää", "Oikea Olkapää"),
    ("umăr stâng", "umăr drept"),
    ("mana_stanga", "mana_dreapta"),
    ("tay trái", "tay phải"),
    ("tangan_kiri", "tangan_kanan"),
    ("يد يسرى", "يد يمنى"),
    ("اليد اليسرى", "اليد اليمنى"),
    ("الكتف الأيسر", "الكتف الأيمن"),
    ("יד שמאל", "יד ימין"),
    ("כתף_שמאלית", "כתף_ימנית"),
    ("बायां हाथ", "दायां हाथ"),
    ("बाईं_आँख", "दाईं_आँख"),
    ("มือซ้าย", "มือขวา"),
    ("왼쪽_손", "오른쪽_손"),
    ("왼손", "오른손"),
    ("왼쪽눈", "오른쪽눈"),
    ("ひだりて", "みぎて"),
    ("みみ ひだり", "みみ みぎ"),
]
LETTERS = [
    ("sol_el", "sağ_el"),
    ("SOL OMUZ", "SAĞ OMUZ"),
    ("solDiz", "sağDiz"),
    ("bal_kar", "jobb_kar"),
    ("Bal Szem", "Jobb Szem"),
    ("ojo_izdo", "ojo_dcho"),
    ("mano izda", "mano dcha"),
    ("oeil_g", "oeil_d"),
    ("genou G", "genou D"),
    ("wing_port", "wing_starboard"),
    ("L_ear", "R_ear"),
    ("ear_l", "ear_r"),
    ("LHip", "RHip"),
    ("earL", "earR"),
    ("hip.L", "hip.R"),
    ("ear.L1", "ear.R1"),
    ("L1", "R1"),
    ("lFoot", "rFoot"),
    ("sx_ear", "dx_ear"),
    ("LT knee", "RT knee"),
    ("paw_FL", "paw_FR"),
    ("paw_bl", "paw_br"),
    ("HL", "HR"),
    ("LFpaw", "RFpaw"),
    ("LF_knee", "RF_knee"),
    ("LB", "RB"),
    ("LH", "RH"),
    ("pawRL", "pawRR"),
]
GLUED = [
    ("lear", "rear"),
    ("earl", "earr"),
    ("LKNE", "RKNE"),
    ("antLtip", "antRtip"),
    ("upper_lwing", "upper_rwing"),
    ("lsho", "rsho"),
    ("lhip", "rhip"),
    ("LANK", "RANK"),
    ("toel", "toer"),
    ("kneel", "kneer"),
]


@pytest.mark.parametrize(("left", "right"), WORDS + LETTERS + GLUED)
def test_keypoints_of_two_sides_are_a_pair(left, right):
    assert sides.keypoint_pairs(["nose", right, left, "tail"]) == [(2, 1)]
    assert sides.are_images(left, right) and not sides.are_images(left, "nose")


@pytest.mark.parametrize(
    ("left", "right"),
    WORDS
    + LETTERS
    + [
        ("Swiping Left", "Swiping Right"),
        ("TURN_LEFT", "TURN_RIGHT"),
        ("wave-left", "wave-right"),
        ("waveLeft", "waveRight"),
        ("kick left leg, turn right", "kick right leg, turn left"),
        ("left hand over right shoulder", "right hand over left shoulder"),
        ("lefthand_overrightshoulder", "righthand_overleftshoulder"),
        ("push left to right", "push right to left"),
        ("L2R", "R2L"),
        ("move leftwards", "move rightwards"),
        ("upleft", "upright"),
        ("links abbiegen", "rechts abbiegen"),
        ("counterclockwise", "clockwise"),
        ("turn counter-clockwise", "turn clockwise"),
        ("Turning Counter Clock Wise", "Turning Clock Wise"),
        ("ANTICLOCKWISE_circle", "CLOCKWISE_circle"),
        ("anti clockwise", "clockwise"),
        ("roll_ccw", "roll_cw"),
        ("逆时针旋转", "顺时针旋转"),
        ("sola dön", "sağa dön"),
        ("왼쪽으로 돌기", "오른쪽으로 돌기"),
        ("otočit doleva", "otočit doprava"),
        ("forduljon balra", "forduljon jobbra"),
        ("käänny vasemmalle", "käänny oikealle"),
        ("belok kiri", "belok kanan"),
        ("rẽ trái", "rẽ phải"),
        ("步左", "步右"),
    ],
)
def test_classes_of_two_sides_are_a_pair(left, right):
    assert sides.class_pairs(["clap", right, left]) == [(2, 1)]


def test_a_pair_by_hand_may_have_one_word_opposite():
    pair = "left_eye_left_corner", "right_eye_left_corner"
    assert sides.keypoint_pairs(pair) == [] and sides.are_images(*pair)
    assert not sides.are_images("left_eye_left_corner", "right_ear_left_corner")
    assert not sides.are_images("left_eye", "left_eye_left")


# ---------------------------------------- what only looks like a side
@pytest.mark.parametrize(
    "names",
    [
        ("cleft", "bright", "leftover", "upright", "copyright", "alright", "L5"),
        ("rear", "front", "nose"),
        ("paw_rear", "paw_front", "ear"),
        tuple("abcdefghijklmnopqrstuvwxyz"),
        tuple(f"fin_{letter}" for letter in "jklmnopqrs"),
        tuple(map(str, range(1, 18))),
        ("light", "right_eye"),
        ("L1", "L2", "L3", "T12", "S1"),
        ("left_right_middle", "nose"),
        tuple(f"fin_{letter}" for letter in "abcdefgh"),
        ("vent_d", "vent_g", "vent_v"),
        ("sol", "sole", "bal", "balance", "port"),
        ("sol", "jobb", "bal_kar", "sağ_el"),
        ("liver", "river", "heart"),
        ("loot", "root", "stem"),
        ("lock", "rock", "lace", "race"),
        ("pool", "poor", "nose"),
    ],
)
def test_keypoints_without_two_sides_are_no_pair(names):
    assert sides.keypoint_pairs(names) == []


@pytest.mark.parametrize(
    "names",
    [
        ("lead", "read"),
        ("lock", "rock"),
        ("light", "right"),
        ("lip", "rip"),
        ("lear", "rear"),
        ("bright", "brought"),
        ("leftover", "copyright"),
        ("turn left", "turn around right"),
        ("clockwise", "watchwise"),
        ("A", "B", "L", "R", "Y"),  # of a finger alphabet
        ("letter A", "letter L", "letter R", "letter Y"),
        ("type_L", "type_R", "type_S"),
        ("gradeL", "gradeR", "gradeX", "gradeU"),
        ("sign d", "sign g", "sign l"),
    ],
)
def test_classes_without_two_sides_are_no_pair(names):
    assert sides.class_pairs(names) == []


def test_where_several_names_could_be_meant_the_one_that_is_spelled_alike_is():
    names = ["L_Eye", "R_Eye", "l_eye", "r_eye"]
    assert sides.keypoint_pairs(names) == [(0, 1), (2, 3)]
    assert sides.keypoint_pairs(["left_eye", "Left Eye", "right_eye"]) == [(0, 2)]
    assert sides.keypoint_pairs(["left eye", "LEFT EYE", "right_eye"]) == []  # nobody knows


def test_a_word_is_surer_than_a_letter_and_a_letter_than_a_part_of_a_word():
    names = ["left_L5", "right_L5", "left_hand_L1", "right_hand_R1", "rear_l", "rear_r", "lear"]
    assert named(sides.keypoint_pairs(names), names) == [
        ("left_L5", "right_L5"),
        ("left_hand_L1", "right_hand_R1"),
        ("rear_l", "rear_r"),
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("FL", "FR", "RL", "RR"),
        ("LF", "RF", "LR", "RR"),
        ("paw_F_L", "paw_F_R", "paw_R_L", "paw_R_R"),
        ("UL6", "UR6", "LL6", "LR6"),
        ("l_eye_l", "r_eye_r", "l_eye_r", "r_eye_l"),
        ("left_eye_left_corner", "right_eye_right_corner", "left_eye_right_corner", "right_eye_left_corner"),
    ],
)
def test_corners_are_told_apart(names):
    assert sides.keypoint_pairs(names) == [(0, 1), (2, 3)]


def test_letters_beside_other_places_are_sides():
    names = ["turn_U", "turn_D", "turn_L", "turn_R", "turn_F", "turn_B"]
    assert sides.class_pairs(names) == [(2, 3)]


def test_a_word_stands_in_one_row():
    for rows in (sides.WORD_PAIRS + sides.ROTATION_PAIRS, sides.ABBREVIATION_PAIRS):
        words = [word.casefold() for row in rows for words in row for word in words.split()]
        assert sorted(words) == sorted(set(words))
        firsts = [left.split()[0] for left, _ in rows]
        assert len(set(firsts)) == len(firsts)
    assert not sides.CLASS_WORDS.keys() & sides.ABBREVIATIONS.keys()


# ---------------------------------------- any names
SPELLINGS = (
    "{}",
    "left_{}",
    "right_{}",
    "{} LEFT",
    "{}L",
    "{}R",
    "l{}",
    "r{}",
    "{}_FR",
    "{}_FL",
    "{}_r_l",
    "right{}left",
)


@pytest.mark.parametrize("find", [sides.keypoint_pairs, sides.class_pairs])
def test_a_mirror_twice_is_nothing_and_the_order_of_names_does_not_count(find):
    random = np.random.default_rng(0)
    every = [spelling.format(stem) for spelling, stem in itertools.product(SPELLINGS, ("ear", "hand", "leg", "tail"))]
    for _ in range(40):
        names = list(random.permutation(every)[: random.integers(2, 30)])
        pairs = find(names)
        places = [place for pair in pairs for place in pair]
        assert len(set(places)) == len(places)
        turned = find(names[::-1])
        assert sorted(named(turned, names[::-1])) == sorted(named(pairs, names))


@pytest.mark.parametrize("spell", ["{} {}", "{1}_{0}", "{0}{1}", "{0}-{1}-2"])
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_a_whole_body_in_one_spelling(spell, change):
    names = [change(spell.format(side, stem)) for stem in COCO_STEMS for side in ("left", "right")]
    assert sides.keypoint_pairs([*names, "nose"]) == [(i, i + 1) for i in range(0, 16, 2)]


# ---------------------------------------- without an image
def test_classes_that_name_a_side_alone_are_told():
    def alone(*names):
        return sides.classes_alone(names, sides.class_pairs(names))

    assert alone("kick left", "Wave Left", "wave right", "Turn Clockwise") == ["kick left", "Turn Clockwise"]
    assert alone("wave_L", "wave_R", "kick_L") == ["kick_L"]
    assert alone("leftover", "bright", "copyright", "L5", "kick_L") == []
    assert alone("swing left and right", "left-right steps", "左右摇头") == []
    assert alone("left hand over right shoulder") == ["left hand over right shoulder"]


@pytest.mark.parametrize("stems", [("asi", "psi", "upa", "nose"), ("q1x", "q2x", "q3x"), ("bhd", "fhd", "wra")])
def test_letters_at_the_ends_of_several_words_are_sides(stems):
    names = [letter + stem for stem in stems for letter in "lr"]
    assert sides.keypoint_pairs([*names, "liver"]) == [(i, i + 1) for i in range(0, len(names), 2)]
    assert sides.are_images(*names[:2])


@pytest.mark.parametrize(
    "names",
    [
        ("all right", "raise hand"),
        ("leave left over food", "eat"),
        ("aller tout droit", "marcher"),
        ("turn left", "turn right", "ALL_RIGHT"),
    ],
)
def test_words_that_are_no_sides_are_not_told(names):
    assert sides.classes_alone(names, sides.class_pairs(names)) == []


@pytest.mark.parametrize(
    ("names", "alone"),
    [
        (("ojo_izq", "ojo_der", "hombro_izdo", "hombro_dcho"), []),
        (("ojo_izq", "ojo_der", "boca_izq"), ["boca_izq"]),
        (("göz_sol", "göz_sağ", "el_sol", "kuyruk"), ["el_sol"]),
        (("L_ear", "R_ear", "R_paw"), ["R_paw"]),
        (("paw_FL", "paw_FR", "paw_BL", "tail"), ["paw_BL"]),
        (("leftear", "rightear", "leftpaw", "bright", "cleft"), ["leftpaw"]),
        (("earright", "earleft", "pawright", "rightness"), ["pawright"]),
        (("main_g", "main_d", "pied_g"), ["pied_g"]),
        (("왼손", "오른손", "왼발"), ["왼발"]),
        (("LHip", "RHip", "L5", "C7"), []),
        (("L1", "R1", "L2"), ["L2"]),
        (("left_L5", "right_L5", "L4"), []),
    ],
)
def test_what_made_pairs_of_others_is_told_where_it_is_alone(names, alone):
    assert sides.keypoints_alone(names, sides.keypoint_pairs(names)) == alone


def test_keypoints_that_name_a_side_alone_are_told():
    names = ("ear left", "ear right", "paw left", "L1", "left_right_middle")
    assert sides.keypoints_alone(names, sides.keypoint_pairs(names)) == ["paw left"]


# ---------------------------------------- pairs by hand
def test_pairs_are_given_by_name_or_place():
    assert sides.given_pairs([("one", 2), ["back", np.int64(3)]], ("back", "one", "other", "4"), "keypoint") == [
        (1, 2),
        (0, 3),
    ]
    assert sides.given_pairs((), ("back",), "keypoint") == []
    assert sides.given_pairs([(1.0, 2.0), (np.float32(0), "4")], ("back", "one", "other", "4"), "class") == [
        (1, 2),
        (0, 3),
    ]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "x")], "there is no class 'x'; choose from a, b, c"),
        ([("a", 3)], "a class has a number of 0 to 2, got 3; give its name"),
        ([("a", -1)], "got -1"),
        (["ab"], "pairs of names or places, got 'ab'; give each its left"),
        ([("a", "b", "c")], "got .'a', 'b', 'c'.; give each"),
        ([("a", "b"), ("b", "c")], "each class once, got 'b' twice; drop one"),
        ([("a", "a")], "each class once, got 'a' twice"),
        (5, "pairs of names or places, got 5; give"),
        ([1, 2], r"pairs of names or places, got .1, 2.; give"),
        ([(0.5, 1)], "a name or a whole number, got 0.5; give its name"),
        ([(float("nan"), 1)], "a name or a whole number, got nan"),
        ([(None, 1)], "a name or a whole number, got None"),
        ([(True, "b")], "a name or a whole number, got True"),
    ],
)
def test_pairs_that_are_none_are_refused_in_one_sentence(pairs, message):
    with pytest.raises(ValueError, match=message):
        sides.given_pairs(pairs, ["a", "b", "c"], "class")
