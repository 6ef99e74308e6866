"""Left and right in names: which two of some keypoints, or of some classes, change places in a mirror.

A name is read as words, in any case and however they are joined: "Swiping Left", "TURN_LEFT", "waveLeft", "LHip". Some
of the words mark a side. Two names are mirror images if they differ only in their marks, all of which are opposite.
Rules say what may be a mark. A rule reads only names for which the rules before it found no image:

1. a word of a table, alone or within a longer one: "left_ear", "linke_hand", "leftear", "kick left leg, turn right"; of
   classes also "clockwise";
2. such a word alone, and at most one within another: "left_bright_spot";
3. a letter or an abbreviation that stands alone, as in "hand_l", "LHip", "hip.R", "dx_ear", or two letters for a
   corner, as in "paw_FL" and "paw_HR"; all of them in a name, or else one, as in "paw_R_L" and "paw_R_R" (R for rear);
4. only of keypoints, a letter at either end of a word: "lear" and "rear", "earl" and "earr", "LKNE" and "RKNE", if
   the rest is a part of a body, or if it makes several pairs.

Names make a pair only if each is the other's only image, so that mirroring twice changes nothing. So "light" is not the
left of "right", and "rear" is an ear only beside "lear".

Example:
    >>> from kerapose.sides import class_pairs, keypoint_pairs
    >>> keypoint_pairs(["nose", "REar", "LEar"]), class_pairs(["clap", "Turn Right", "Turn Left"])
    ([(2, 1)], [(2, 1)])
"""

import functools
import itertools
import typing
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = [
    "are_images",
    "class_pairs",
    "classes_alone",
    "given_pairs",
    "keypoint_pairs",
    "keypoints_alone",
]

# Words for left and for right, a language or form a row; those of one row may change places with each other.
WORD_PAIRS = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("lefthand", "righthand"),
    ("lefthanded", "righthanded"),
    ("links linke linker linkes linken linkem", "rechts rechte rechter rechtes rechten rechtem"),
    ("gauche gauches", "droite droites droit droits"),
    ("izquierda izquierdo izquierdas izquierdos", "derecha derecho derechas derechos"),
    ("sinistra sinistro", "destra destro"),
    ("esquerda esquerdo", "direita direito"),
    ("vänster vänstra", "höger högra"),
    ("venstre", "højre høyre"),
    ("lewa lewy lewe lewo", "prawa prawy prawe prawo"),
    ("левый левая левое левой левую левые", "правый правая правое правой правую правые"),
    ("слева", "справа"),
    ("влево", "вправо"),
    ("налево", "направо"),
    ("左", "右"),
    ("ひだり", "みぎ"),
    ("ヒダリ", "ミギ"),
    ("왼쪽", "오른쪽"),
    ("왼", "오른"),
    ("좌", "우"),
    (  # Czech, Slovak and their southern kin, which share words
        "levá levý levé levou leva levi levo ľavá ľavý ľavé lijeva lijevi lijevo",
        "pravá pravý pravé pravou prava pravi pravo desna desni desno",
    ),
    ("vlevo vľavo", "vpravo"),
    ("doleva doľava", "doprava"),
    ("zleva zľava", "zprava sprava"),
    ("ліва лівий ліве ліву", "права правий праве праву"),
    ("ляв лява ляво лявата левия", "десен дясна дясно дясната десния"),
    ("лева леви лево", "десна десни десно"),
    ("balra balról", "jobbra jobbról"),
    ("balkéz", "jobbkéz"),
    ("balláb", "jobbláb"),
    ("vasen", "oikea"),
    ("vasemman", "oikean"),
    ("vasemmalle", "oikealle"),
    ("vasak vasaku", "parem parema"),
    ("kreisā kreisais", "labā labais"),
    ("kairė kairys kairioji", "dešinė dešinys dešinioji"),
    (
        "αριστερό αριστερός αριστερή αριστερά αριστερο αριστεροσ αριστερη αριστερα",
        "δεξί δεξιό δεξιός δεξιά δεξι δεξιο δεξιοσ δεξια",
    ),
    ("stâng stânga stângă stângul stang stanga", "drept dreapta dreaptă dreptul"),
    ("esquerra esquerre", "dreta dret"),
    ("ezker ezkerra ezkerreko", "eskuin eskuina eskuineko"),
    ("vinstri vinstra", "hægri hægra"),
    ("trái", "phải"),
    ("kiri kaliwa", "kanan"),
    ("kushoto", "kulia"),
    ("يسار اليسار", "يمين اليمين"),
    ("أيسر الأيسر ايسر الايسر", "أيمن الأيمن ايمن الايمن"),
    ("يسرى اليسرى يسري اليسري", "يمنى اليمنى يمني اليمني"),
    ("چپ", "راست"),
    ("שמאל שמאלי שמאלית שמאלה", "ימין ימני ימנית ימינה"),
    ("बायाँ बायां बाया बाएँ बाएं बायें बायीं बाईं", "दायाँ दायां दाया दाएँ दाएं दायें दायीं दाईं दाहिना दाहिने दाहिनी"),
    ("বাম", "ডান"),
    ("ซ้าย", "ขวา"),
    ("portside", "starboardside"),
)
# Senses of rotation, which only classes have.
ROTATION_PAIRS = (
    ("counterclockwise anticlockwise ccw acw", "clockwise cw"),
    ("逆时针 逆時針", "顺时针 順時針"),
    ("反時計回り", "時計回り"),
)
# What is too short, or too often another word, to be a side by itself: it is one only where the other side is there.
ABBREVIATION_PAIRS = (
    ("l", "r"),
    ("lt lft", "rt rgt rht"),
    ("li", "re"),
    ("sx", "dx"),
    ("g", "d"),
    ("izq izda izdo izqda izqdo", "der dcha dcho drcha drcho"),
    ("esq", "dir dta"),
    ("лев", "прав"),
    ("sol", "sağ sag"),
    ("sola", "sağa saga"),
    ("solda soldan", "sağda sağdan sagda sagdan"),
    ("bal", "jobb"),
    ("trai", "phai"),
    ("port", "starboard"),
    ("lhs", "rhs"),
)
CORNERS = "fbhrmtul"  # front, back, hind, rear, middle, top, upper, lower: the other letter of a corner
# Where one of these letters stands in the place of l and r too, letters only count: their neighbours in the alphabet;
# or any that is no place, for classes ("type S" beside "type L") or if the letter is the whole name.
NEIGHBOURS, NO_PLACES = "kq", "aegijknopqsvwxyz"
BUT_G_D = "abcefhijklmnopqrstuvwxyz"  # in the place of g and d, gauche and droite, which mean more than l and r do
IDEOGRAPHS = "左右"  # words of their own, wherever they stand
SHORTEST_WITHIN = 4  # letters of a word that is looked for within others; shorter ones are found by accident
FEWEST_GLUED = 3  # pairs by letters at the ends of any words; fewer are found by accident, `liver` and `river`
SHORTEST_PART = 3  # letters of a part of a body that is cut short
# fmt: off
BODY_PARTS = (
    "ankle", "antenna", "arm", "asis", "back", "breast", "brow", "calf", "canine", "cheek", "chest", "chin",
    "claw", "clavicle", "collar", "ear", "elbow", "eye", "feeler", "femur", "fin", "finger", "flank", "foot",
    "fore", "front", "gonion", "hand", "head", "heel", "hind", "hip", "hoof", "horn", "humerus", "index", "iris",
    "jaw", "knee", "leg", "lid", "limb", "lip", "lobe", "mouth", "neck", "nipple", "nostril", "palm", "paw",
    "pectoral", "pelvis", "pinky", "psis", "pupil", "radius", "rib", "scapula", "shank", "shin", "shoulder",
    "sho", "side", "tarsus", "temple", "tentacle", "thigh", "thumb", "thorax", "tibia", "tip", "toe", "tooth",
    "torso", "trochanter", "ulna", "whisker", "wing", "withers", "wrist",
)
# fmt: on
# Two words in which the word of a side means none.
NO_SIDES = ("all right", "right away", "right angle", "left over", "left overs", "tout droit")
CHOICES_SHOWN = 30  # in an error
NAMES_SHOWN = 5  # of samples, keypoints or classes that an error or a warning is about
JOINING = ("and", "or", "und", "oder", "et", "ou", "y", "o", "e", "i", "и", "или")  # between two sides: both are meant


class Mark(typing.NamedTuple):
    """What names a side: the row of its table, and 0 for left, 1 for right."""

    row: str
    side: int


def _table(*pairs):
    return {
        word.casefold(): Mark(left.split()[0], side)
        for left, right in pairs
        for side, words in enumerate((left, right))
        for word in words.split()
    }


KEYPOINT_WORDS = _table(*WORD_PAIRS)
CLASS_WORDS = _table(*WORD_PAIRS, *ROTATION_PAIRS)
ABBREVIATIONS = _table(*ABBREVIATION_PAIRS)
LETTERS = {letter: ABBREVIATIONS[letter] for letter in "lr"}
G_D = {letter: ABBREVIATIONS[letter] for letter in "gd"}


def keypoint_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Finds the keypoints that change places in a mirror.

    Args:
        names: of the keypoints.

    Returns:
        Pairs of places in `names`, left first, in the order of the left ones; no place is in two of them.

    Example:
        >>> from kerapose import sides
        >>> sides.keypoint_pairs(["tail", "paw_FL", "paw_FR"])
        [(1, 2)]
    """
    return list(_keypoint_pairs(tuple(names)))


@functools.lru_cache  # a skeleton asks several times, and 133 names are many to compare
def _keypoint_pairs(names):
    return _pairs(names, KEYPOINT_WORDS, KEYPOINT_RULES)


def class_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Finds the classes that change places in a mirror.

    Args:
        names: of the classes.

    Returns:
        As `keypoint_pairs`.

    Example:
        >>> from kerapose import sides
        >>> sides.class_pairs(["Rolling", "Turn Clockwise", "Turn Counter-Clockwise"])
        [(2, 1)]
    """
    return _pairs(names, CLASS_WORDS, CLASS_RULES, NO_PLACES)


def keypoints_alone(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Finds the keypoints that name a side and have no mirror image.

    A side is named by a word, or by an abbreviation that makes pairs of other keypoints.

    Args:
        names: of the keypoints.
        pairs: what `keypoint_pairs` found.

    Returns:
        A list of names, without those that mean both sides.

    Example:
        >>> from kerapose import sides
        >>> sides.keypoints_alone(["left ear", "snout"], [])
        ['left ear']
    """
    return _alone(names, pairs, KEYPOINT_WORDS)


def classes_alone(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Finds the classes that name a side and have no mirror image.

    Args:
        names: of the classes.
        pairs: what `class_pairs` found.

    Returns:
        A list of names, without those that mean both sides.

    Example:
        >>> from kerapose import sides
        >>> sides.classes_alone(["Wave Left", "Clap", "Left or Right Kick"], [])
        ['Wave Left']
    """
    return _alone(names, pairs, CLASS_WORDS)


def are_images(first: str, second: str) -> bool:
    """Tells whether two names of keypoints can be mirror images: as for `keypoint_pairs`, or with one word opposite.

    The latter is not enough to find a pair, but is accepted of somebody who gives the pair.

    Args:
        first: the name of one keypoint.
        second: that of the other.

    Returns:
        A bool.

    Example:
        >>> from kerapose import sides
        >>> sides.are_images("left_eye_left_corner", "right_eye_left_corner"), sides.are_images("left_eye", "left_ear")
        (True, False)
    """
    names = [first, second]
    return bool(_pairs(names, KEYPOINT_WORDS, TWO_NAMES_RULES[:-1]) or _pairs(names, {}, TWO_NAMES_RULES[-1:]))


def given_pairs(pairs: Iterable[Sequence[int | str]], names: Sequence[str], kind: str) -> list[tuple[int, int]]:
    """Brings the pairs that somebody gives to places, and checks them.

    Args:
        pairs: of names or places, left first.
        names: of all keypoints or classes.
        kind: what an error calls one of them: "class".

    Returns:
        A list of pairs of places.

    Raises:
        ValueError: if a pair has not two ends, has an end that does not exist, or shares an end with another.

    Example:
        >>> from kerapose import sides
        >>> sides.given_pairs([("one", 2)], ["back", "one", "other"], "keypoint")
        [(1, 2)]
    """
    try:
        pairs = [pair if isinstance(pair, str) else tuple(pair) for pair in pairs]
    except TypeError:  # a number, or numbers that are not paired
        raise ValueError(f"flip_pairs must be pairs of names or places, got {pairs!r}; give [(left, right)].") from None
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(
                f"flip_pairs must be pairs of names or places, got {pair!r}; give each its left and right."
            )
    places = [tuple(_place(end, names, kind) for end in pair) for pair in pairs]
    ends = [place for pair in places for place in pair]
    repeated = [names[place] for place in ends if ends.count(place) > 1]
    if repeated:
        raise ValueError(f"flip_pairs must have each {kind} once, got {repeated[0]!r} twice; drop one.")
    return places


def some(names: Iterable[object]) -> str:
    """The first of some names, and how many more there are: for an error or a warning.

    Args:
        names: of anything; they are written as `str` writes them.

    Returns:
        Text: names with commas between them.

    Example:
        >>> from kerapose.data import gate
        >>> gate.some(["clip0", "clip1", "clip2", "clip3", "clip4", "clip5"])
        'clip0, clip1, clip2, clip3, clip4 and 1 more'
    """
    names = [str(name) for name in names]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _place(end, names, kind):
    if isinstance(end, str):
        if end not in names:
            shown = ", ".join(names[:CHOICES_SHOWN]) + (", ..." if len(names) > CHOICES_SHOWN else "")
            raise ValueError(f"flip_pairs: there is no {kind} {end!r}; choose from {shown}.")
        return list(names).index(end)
    try:
        place = int(end)  # a whole float is a number, as tables and JSON have them
    except (TypeError, ValueError, OverflowError):
        place = None
    if place is None or place != end or isinstance(end, bool | np.bool_):
        raise ValueError(f"flip_pairs: a {kind} must be a name or a whole number, got {end!r}; give its name.")
    if not 0 <= place < len(names):
        raise ValueError(f"flip_pairs: a {kind} has a number of 0 to {len(names) - 1}, got {place}; give its name.")
    return place


# ---------------------------------------- pairs
def _pairs(names, table, rules, neighbours=NEIGHBOURS):
    """Pairs of places, left first: rule by rule, and by each first of those names that are spelled alike."""
    exact, loose = [_split(name) for name in names], [_words(name, table) for name in names]
    known = {"".join(words) for words in loose}
    found = {}  # place: its image, both ways
    lefts = set()
    for (options, every, fewest), spelled in itertools.product(rules, (exact, loose)):
        places = {}  # reading: places of the names that can be read so
        for place, words in enumerate(spelled):
            for reading in () if place in found else _readings(words, table, options, every):
                if not _is_counted(reading, known, neighbours):
                    places.setdefault(reading, set()).add(place)
        images = {}  # place: {image: the side of the first mark}
        for reading, here in places.items():
            for place, image in itertools.product(here, places.get(_mirrored(reading), ())):
                images.setdefault(place, {})[image] = next(part.side for part in reading if isinstance(part, Mark))
        new = {}  # place: its image and the side of the place
        for place, of_place in images.items():
            if len(of_place) == 1:
                ((image, side),) = of_place.items()
                if len(images[image]) == 1:  # which then is this place
                    new[place] = image, side
        if len(new) >= 2 * fewest:
            found |= {place: image for place, (image, _) in new.items()}
            lefts |= {place for place, (_, side) in new.items() if side == 0}
    return sorted((place, found[place]) for place in lefts)


def _readings(words, table, options, every):
    """What a name says if a rule is right: words and marks, at least one of these.

    Args:
        words: of the name.
        table: words that are marks by whatever rule.
        options: the rule: what another word can be, each a tuple of words and marks.
        every: whether all words that can be something else are, or one of them.
    """
    plain = [(table.get(word.casefold(), word),) for word in words]
    other = [() if word.casefold() in table else tuple(options(word, table)) for word in words]
    if every:
        ways = itertools.product(*(new or (old,) for old, new in zip(plain, other, strict=True)))
    else:
        ways = ((*plain[:i], new, *plain[i + 1 :]) for i, new_ones in enumerate(other) for new in new_ones)
    readings = (tuple(itertools.chain(*way)) for way in ways)
    return {reading for reading in readings if any(isinstance(part, Mark) for part in reading)}


def _mirrored(reading):
    return tuple(Mark(part.row, 1 - part.side) if isinstance(part, Mark) else part for part in reading)


def _is_counted(reading, known, neighbours):
    """Whether the letters of a reading only count: `fin_l` and `fin_r` beside `fin_k` and `fin_q`, L and R beside A."""
    letters = {part for part in reading if part in LETTERS.values() or part in G_D.values()}
    if not letters:
        return False
    if letters & set(G_D.values()):
        neighbours = BUT_G_D
    elif len(reading) == 1:
        neighbours = NO_PLACES
    spellings = [
        "".join(
            other if part in letters else part.row if isinstance(part, Mark) else part
            for part in reading
            if isinstance(part, Mark) or part[0].isalnum()
        )
        for other in neighbours
    ]
    return any(spelling.casefold() in known for spelling in spellings)


# ---------------------------------------- rules: what a word can be that is in no table
def _nothing(word, table):
    return ()


def _word_of_table(word, table):
    mark = KEYPOINT_WORDS.get(word.casefold())
    return [(mark,)] if mark else []


def _letters(word, table):
    """A letter or abbreviation, or a corner: the letter of the side is the last of the two, or the first."""
    word = word.casefold()
    if word in ABBREVIATIONS:
        yield (ABBREVIATIONS[word],)
    elif len(word) == 2:
        first, last = word
        if first in CORNERS and last in LETTERS:
            yield (first, LETTERS[last])
        if last in CORNERS and first in LETTERS:
            yield (LETTERS[first], last)


def _words_within(word, table):
    """A word of the table, with what stands before and behind it."""
    folded = word.casefold()
    for part, mark in table.items():
        start = folded.find(part)
        if start >= 0 and (len(part) >= SHORTEST_WITHIN or not part.isascii()):
            around = word[:start], mark, word[start + len(part) :]
            yield tuple(piece for piece in around if piece)


def _letters_at_ends(word, table):
    """A letter at either end of a word, whatever the rest."""
    folded = word.casefold()
    if len(word) > 1 and folded[0] in LETTERS:
        yield (LETTERS[folded[0]], word[1:])
    if len(word) > 1 and folded[-1] in LETTERS:
        yield (word[:-1], LETTERS[folded[-1]])


def _letters_at_parts(word, table):
    """The same where the rest is a part of a body."""
    for reading in _letters_at_ends(word, table):
        if any(_is_part(piece.casefold()) for piece in reading if isinstance(piece, str)):
            yield reading


def _is_part(rest):
    """Whether a word begins with a part of a body, or is the beginning of one: wingtip, sho."""
    return rest.startswith(BODY_PARTS) or (len(rest) >= SHORTEST_PART and any(p.startswith(rest) for p in BODY_PARTS))


# Surest first: each with whether all words of a name are read by it, or one, and the fewest pairs that it counts for.
CLASS_RULES = (
    (_words_within, True, 1),
    (_nothing, True, 1),
    (_words_within, False, 1),
    (_letters, True, 1),
    (_letters, False, 1),
)
KEYPOINT_RULES = (*CLASS_RULES, (_letters_at_ends, False, FEWEST_GLUED), (_letters_at_parts, False, 1))
TWO_NAMES_RULES = (*CLASS_RULES, (_letters_at_ends, False, 1), (_word_of_table, False, 1))


# ---------------------------------------- names without an image
def _alone(names, pairs, table_of_marks):
    """The names with marks and in no pair, but for those that mean both sides.

    Marks are the words of a table, and what made pairs of other names: `ojo_izq` and `ojo_der` show that `boca_izq` has
    a side, `leftear` and `rightear` that `leftpaw` has.
    """
    spelled = [_words(name, table_of_marks) for name in names]
    forms = {form for left, right in pairs for form in _forms_of_pair(spelled[left], spelled[right])}
    counted = any(_is_letter_and_number(spelled[place]) for pair in pairs for place in pair)
    paired = {place for pair in pairs for place in pair}
    alone = []
    for place, name in enumerate(names):
        words = _without_phrases(spelled[place])
        parts = [table_of_marks.get(word) or _mark_by_forms(word, forms) or word for word in words]
        has_mark = any(isinstance(part, Mark) for part in parts)
        is_number = _is_letter_and_number(words) and not counted  # L5 is a vertebra beside LHip
        if place not in paired and has_mark and not is_number and not _means_both(parts):
            alone.append(name)
    return alone


def _forms(word):
    """The ways in which a word that is in no table can have a side: what the mark is and where it stands."""
    for reading in (*_letters(word, {}), *_words_within(word, CLASS_WORDS)):
        places = [i for i, part in enumerate(reading) if isinstance(part, Mark)]
        mark = reading[places[0]]
        yield (mark.row, len(reading), places[0]), mark


def _forms_of_pair(left, right):
    """The forms by which two names, in words, are mirror images."""
    for first, second in zip(left, right, strict=False):
        others = dict(_forms(second))
        yield from (form for form, mark in _forms(first) if form in others and others[form].side != mark.side)


def _mark_by_forms(word, forms):
    return next((mark for form, mark in _forms(word) if form in forms), None)


def _is_letter_and_number(words):
    return len(words) == 2 and words[0] in LETTERS and words[1].isdigit()


def _without_phrases(words):
    """Words but for those in which a word of a side is none: "leave left over food"."""
    kept = []
    for word in words:
        kept.append(word)
        if " ".join(kept[-2:]) in NO_SIDES:
            del kept[-2:]
    return kept


def _means_both(parts):
    """Whether every side stands beside its opposite: "left and right", 左右."""
    parts = [part for part in parts if part not in JOINING]
    sides = [part for part in parts if isinstance(part, Mark)]
    first = next(i for i, part in enumerate(parts) if isinstance(part, Mark))
    together = parts[first : first + len(sides)] == sides
    return together and 2 * sum(mark.side for mark in sides) == len(sides)


# ---------------------------------------- words
def _words(name, table):
    """The words and numbers of a name in small letters; what the table has as one word is one: counter-clockwise."""
    words = []
    for word in _split(name):
        if word[0].isalnum():
            words.append(word.casefold())
        while len(words) > 1 and words[-2] + words[-1] in table:
            words[-2:] = [words[-2] + words[-1]]
    return words


def _split(name):
    """A name in pieces of a kind: "LHip_1" gives L, Hip, _, 1."""
    name = unicodedata.normalize("NFKC", str(name))
    starts = [place for place in range(len(name)) if _begins(name, place)]
    return [name[start:end] for start, end in itertools.pairwise([*starts, len(name)])]


def _begins(name, place):
    """Whether a new word begins at a place: where the kind of character changes, or at a capital within a word."""
    if place == 0:
        return True
    before, here, after = name[place - 1], name[place], name[place + 1 : place + 2]
    if _kind(before) != _kind(here) or before in IDEOGRAPHS or here in IDEOGRAPHS:
        return True
    return here.isupper() and (before.islower() or after.islower())


def _kind(character):
    # Vowel signs are marks, not letters, and stand within words.
    is_letter = character.isalpha() or unicodedata.category(character).startswith("M")
    return "letter" if is_letter else "digit" if character.isdigit() else "other"
