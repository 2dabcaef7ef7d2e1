"""The words Serval's own sentences are made of: articles, numbers, plurals, lists, places and times."""

from __future__ import annotations

from collections.abc import Sequence

from serval.assistant.instructions.words import plural as plural
from serval.encoders.labels import IMAGENET
from serval.media.box import Box

NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()
SEVERAL = 5  # from here on a count of boxes is too shaky to be told as a number of things seen
MANY = 10

# What a person calls the things that the detector's vocabulary names stiffly.
PLAIN = {
    "dining table": "table",
    "potted plant": "plant",
    "cell phone": "phone",
    "sports ball": "ball",
    "tv": "TV",
    "couch": "sofa",
    "motorcycle": "motorbike",
    "hair drier": "hair dryer",
    "two-wheeler": "bike",
    "hoofed animal": "animal",
}
_MASS = {"broccoli", "food", "text"}  # neither "a broccoli" nor "two broccolis"
_PAIRS = {"scissors", "skis", "sunglasses", "binoculars", "swimming trunks"}
_OWNERS = set("my our your his her its their the".split())
_VOWEL_SOUND = set("aeiou")
_A_DESPITE_VOWEL = ("uni", "use", "one", "eur", "uke")
_AN_DESPITE_CONSONANT = ("hour", "honest", "heir")

ALIVE = frozenset("person bird cat dog horse sheep cow elephant bear zebra giraffe".split()) | {"hoofed animal"}
RIDES = frozenset("bicycle car motorcycle bus train truck boat airplane vehicle two-wheeler".split())

SIDES = {"left": "the left", "right": "the right", "top": "the top", "bottom": "the bottom"}
HEADINGS = {
    "left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards", "closer": "closer", "away": "away",
}  # fmt: skip
ZONES = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)


def plain(label: str) -> str:
    """The everyday noun for an object label: ``dining table`` is a table."""
    return PLAIN.get(label, label)


def is_name(noun: str) -> bool:
    """Whether a noun that somebody taught means one thing and no other: ``my mug``, ``Anna's bicycle``, ``Bello``."""
    first = noun.split(" ", 1)[0]
    if first.casefold() in _OWNERS or first.endswith(("'s", "’s")):
        return True
    return noun[:1].isupper() and noun not in IMAGENET and noun not in PLAIN.values()


def article(noun: str) -> str:
    """``a person``, ``an umbrella``, ``some broccoli``, ``a pair of scissors``, ``my mug``."""
    if is_name(noun):
        return noun
    if noun in _MASS:
        return f"some {noun}"
    if noun in _PAIRS:
        return f"a pair of {noun}"
    return f"{'an' if _sounds_open(noun.casefold()) else 'a'} {noun}"


def definite(noun: str) -> str:
    """``the person``, ``the pair of scissors``, ``my mug``."""
    if is_name(noun):
        return noun
    return f"the pair of {noun}" if noun in _PAIRS else f"the {noun}"


def _sounds_open(noun: str) -> bool:
    if noun.startswith(_AN_DESPITE_CONSONANT):
        return True
    return noun[:1] in _VOWEL_SOUND and not noun.startswith(_A_DESPITE_VOWEL)


def number(count: int) -> str:
    """In words up to twelve, in figures above."""
    return NUMBERS[count] if 0 <= count < len(NUMBERS) else str(count)


def counted(count: int, noun: str) -> str:
    """``no people``, ``one person``, ``two people``, ``13 cars``: exact, for counts that code made."""
    if noun in _MASS:
        return f"{'no' if count == 0 else 'some'} {noun}"
    if noun in _PAIRS:
        return f"{number(count)} {'pair' if count == 1 else 'pairs'} of {noun}"
    if count == 1 and is_name(noun):
        return noun
    return f"{number(count)} {noun if count == 1 else plural(noun)}"


def amount(count: int, noun: str) -> str:
    """How a person says how many: ``a person``, ``four people``, ``several people``, ``many people``."""
    if count == 1:
        return article(noun)
    if count < SEVERAL or noun in _MASS:
        return counted(count, noun)
    return f"{'several' if count < MANY else 'many'} {plural(noun)}"


def join(parts: Sequence[str], word: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``; empty for nothing."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def place(box: Box) -> str:
    """Which ninth of the picture a box's middle lies in, in words."""
    x, y = box.center
    return ZONES[0 if y < 0.3 else 2 if y > 0.7 else 1][0 if x < 0.36 else 2 if x > 0.64 else 1]


def quadrant(box: Box) -> str:
    """Which quarter of the picture a box's middle lies in: the 2x2 grid of the closer look."""
    x, y = box.center
    return ZONES[0 if y < 0.5 else 2][0 if x < 0.5 else 2]
