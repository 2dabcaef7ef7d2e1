"""The closed vocabulary in which a moment may be told, and the reading of a sentence into its items.

Everything outside it is an unknown word, and an unknown word is an unsupported claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from serval.assistant.answers.words import NUMBERS, ZONES, plain, plural
from serval.assistant.event import Fact, FactKind


class Item(StrEnum):
    NOUN = "noun"  # value: label
    NUMBER = "number"
    ACTION = "action"  # value: action
    BE = "be"
    PLACE = "place"  # value: as in `Fact.place`; "on dining table" for what rests on something
    QUOTE = "quote"  # value: the words quoted
    TIME = "time"
    REFERS = "refers"  # it, they: the subject before
    BY = "by"
    AND = "and"
    THEN = "then"
    STOP = "stop"  # ends a clause
    FILLER = "filler"


@dataclass(frozen=True)
class Token:
    item: Item
    words: str
    value: str = ""
    low: int = 0  # numbers and nouns: fewest ...
    high: int = 0  # ... and most that it can stand for
    form: str = ""  # of actions: "ing", "pp" (can be passive), "" finite
    fresh: bool = True  # numbers: names new things ("a", "two"), unlike "the"


ANY = 10**6
_SYNONYMS = {  # besides the everyday word of `words.plain`
    "couch": "settee", "tv": "television|television set", "cell phone": "mobile phone|cellphone", "airplane": "aeroplane|plane",
    "bicycle": "bike",
    "refrigerator": "fridge", "donut": "doughnut", "teddy bear": "teddy", "remote": "remote control", "mouse": "computer mouse",
    "cab": "taxi",
}  # fmt: skip
_ONE_OF = {"person": ("someone", "somebody")}
_NONE_OF = {"person": ("nobody", "no one", "nobody else", "no one else")}

# Allowed wordings of each action: verbs in their base form, then phrases that stand as they are.
_VERBS = {
    "appears": "come in|come into view|come into sight|come into the picture|enter|enter the picture|enter the view|appear"
    "|arrive|show up|turn up",
    "leaves": "leave|leave the picture|leave the view|go out of view|go out of sight|disappear|disappear from view|go away|exit"
    "|depart|pass out of view",
    "moves": "move|shift",
    "put": "put|put down|place|set|set down|lay|lay down",
    "taken": "take|take away|pick up|remove|lift",
    "touch": "touch",
    "crowd": "come and go",
    "read": "read|say",
    "looks": "look like",
    "exist": "remain in view|stay in view|remain|stay",
}
_PHRASES = {
    "leaves": "gone|gone from view|no longer in view|out of view|out of sight|no longer visible|has left|have left"
    "|has just left",
    "exist": "in view|in sight|visible|in the picture|in the frame|in it|there is|there are|there's|i see|i can see|i now see",
    "crowd": "keep coming and going|keeps coming and going|coming and going",
    "bustle": "there is a lot of coming and going|there is much coming and going",
    "first scene": "the first scene|it begins with",
    "scene": "a new scene|new scene|another scene|the scene changes|the view changes|the picture changes|the scene has changed"
    "|the view has changed|the scene changes to|the view changes to",
    "likeness": "this may be what you asked for|this could be what you asked for",
    "read": "i can read|i read|can be read|i think it reads|it reads|it says",
    "looks": "it looks like|what looks like|something like|this looks like|the view looks like|the scene looks like"
    "|something that looks like",
    "nothing": "nothing that i recognise|i recognise nothing|i cannot name what is in it|i cannot name anything in it",
}
_FORMS = {  # finite singular, past, -ing, participle
    "come": "comes came coming come", "go": "goes went going gone", "leave": "leaves left leaving left",
    "put": "puts put putting put", "set": "sets set setting set", "lay": "lays laid laying laid",
    "take": "takes took taking taken", "read": "reads read reading read", "say": "says said saying said",
    "place": "places placed placing placed", "remove": "removes removed removing removed",
    "arrive": "arrives arrived arriving arrived", "move": "moves moved moving moved",
    "touch": "touches touched touching touched", "pass": "passes passed passing passed",
}  # fmt: skip
# Said of the watcher itself; they claim nothing about the picture.
_ASIDES = (
    "something catches my eye, but i do not recognise it",
    "something catches my eye, but i do not recognise what it is",
)
_JOINTS = {
    Item.AND: ("and", ","), Item.THEN: ("then", "and then", ", then"), Item.BY: ("by",),
    Item.STOP: ("while", "with", ";", ":", ".", "!", "–", "—"),
}  # fmt: skip
_HEADED = {"closer": "closer nearer", "away": "away", "upwards": "up upwards upward", "downwards": "down downwards downward"}
_BE = "is are was were be been being gets get 's 're".split()
_FILLERS = (
    "now", "just", "has", "have", "also", "too", "here", "still", "at the moment", "right now", "there", "at", "on screen",
)  # fmt: skip


def _verbs() -> Iterator[tuple[str, Token]]:
    for action, phrases in _VERBS.items():
        for phrase in phrases.split("|"):
            verb, _, rest = phrase.partition(" ")
            tail = f" {rest}" if rest else ""
            stem = verb.removesuffix("e")
            forms = _FORMS.get(verb, f"{verb}s {verb}ed {stem}ing {verb}ed").split()
            for form, kind in zip((verb, *forms), ("", "", "", "ing", "pp"), strict=True):
                if (form, tail) != ("left", ""):  # as a lone word it is a side; "has left" stands among the phrases
                    yield f"{form}{tail}", Token(Item.ACTION, "", action, form=kind)


def _numbers() -> Iterator[tuple[str, Token]]:
    exact = {word: value for value, word in enumerate(NUMBERS)} | {"a": 1, "an": 1, "a couple of": 2, "both": 2, "a single": 1}
    for word, value in exact.items():
        yield word, Token(Item.NUMBER, "", low=value, high=value, fresh=word != "both")
    spans = {
        "several": (3, ANY),
        "many": (8, ANY),
        "a few": (3, 5),
        "some": (1, ANY),
        "a group of": (3, ANY),
        "a crowd of": (5, ANY),
    }
    for word, (low, high) in spans.items():
        yield word, Token(Item.NUMBER, "", low=low, high=high)
    for word in ("another", "one more"):
        yield word, Token(Item.NUMBER, "", "another", 1, 1)
    yield "the", Token(Item.NUMBER, "", "the", 1, ANY, fresh=False)


def _places() -> Iterator[tuple[str, Token]]:
    for zone in (zone for row in ZONES for zone in row):
        name = zone.partition(" the ")[2]
        spellings = {name, name.replace("top", "upper").replace("bottom", "lower")}
        spellings |= {"centre", "center"} if name == "middle" else set()
        for spelling in spellings:
            for form in (
                "{}",
                "{} side",
                "{} corner",
                "{} of the picture",
                "{} of the view",
                "{} of the frame",
                "{}-hand side",
            ):
                for preposition in ("on", "at", "in"):
                    yield f"{preposition} the {form.format(spelling)}", Token(Item.PLACE, "", zone)
    for side in ("left", "right", "top", "bottom"):
        for form in ("{}", "{} side", "{} of the picture", "{} edge"):
            yield f"from the {form.format(side)}", Token(Item.PLACE, "", f"from the {side}")
            for preposition in ("to", "towards", "toward", "out to"):
                yield f"{preposition} the {form.format(side)}", Token(Item.PLACE, "", f"to the {side}")
    for word, side in (("above", "top"), ("below", "bottom")):
        yield f"from {word}", Token(Item.PLACE, "", f"from the {side}")


def _fixed() -> dict[str, Token]:
    table = dict(_verbs()) | dict(_places())
    for action, phrases in _PHRASES.items():
        table |= {phrase: Token(Item.ACTION, "", action) for phrase in phrases.split("|")}
    for item, words in _JOINTS.items():
        table |= {word: Token(item, "") for word in words}
    for heading, names in _HEADED.items():
        table |= {name: Token(Item.PLACE, "", heading) for name in names.split()}
    table |= {"it": Token(Item.REFERS, "", "1"), "they": Token(Item.REFERS, "", "2")}
    table |= {word: Token(Item.BE, "") for word in _BE} | dict(_numbers())
    table |= {words: Token(Item.NOUN, "", words.removeprefix("the "), 1, ANY) for words in ("text", "the text", "new text")}
    table |= {words: Token(Item.FILLER, "", "aside") for words in _ASIDES}
    return table | {words: Token(Item.FILLER, "") for words in _FILLERS}


FIXED = _fixed()


def nouns(facts: Sequence[Fact]) -> dict[str, Token]:
    """Every wording of the things the facts speak of, and of resting on or being taken from them."""
    table: dict[str, Token] = {}
    labels = {each for fact in facts for each in (fact.subject, fact.object) if each} | {"person"}
    for label in sorted(labels):
        for one in dict.fromkeys((label.casefold(), plain(label).casefold(), *_SYNONYMS.get(label, "").split("|"))):
            if not one or (one in labels and one != label):  # another thing's own name
                continue
            many = plural(one)
            table[one] = Token(Item.NOUN, "", label, 1, 1 if many != one else ANY)
            if many != one:
                table[many] = Token(Item.NOUN, "", label, 2, ANY)
            for pair in (f"pair of {one}", f"pairs of {one}"):
                table[pair] = Token(Item.NOUN, "", label, 1, ANY)
        for one in _ONE_OF.get(label, ()):
            table[one] = Token(Item.NOUN, "", label, 1, 1)
        for none in _NONE_OF.get(label, ()):
            table[none] = Token(Item.NOUN, "", label, 0, 0)
    for fact in facts:
        if fact.kind is FactKind.CHANGE and fact.object:
            for name in [word for word, token in table.items() if token.value == fact.object and token.low == 1]:
                for article in ("the", "a", "an"):
                    table |= {f"{each} {article} {name}": Token(Item.PLACE, "", f"on {fact.object}") for each in ("on", "onto")}
                    table |= {
                        f"{each} {article} {name}": Token(Item.PLACE, "", f"from {fact.object}") for each in ("from", "off")
                    }
    return {" ".join(_pieces(words)): token for words, token in table.items()}


_QUOTED = re.compile(r"“([^“”]*)”|\"([^\"]*)\"|‘([^‘’]*)’(?!\w)|(?<!\w)'([^']*)'(?!\w)")
_PIECE = re.compile(r"[0-9]+:[0-9]{2}(?::[0-9]{2})?(?:\.[0-9])?|[0-9]+|[^\W\d_]+(?:[-'][^\W\d_]+)*|\x00[0-9]+\x00|\S")


def read(text: str, facts: Sequence[Fact]) -> tuple[list[Token], list[str]]:
    """The items of a text, longest phrase first, and the words that are no item."""
    quotes: list[str] = []

    def keep(found: re.Match[str]) -> str:
        quotes.append(next(group for group in found.groups() if group is not None))
        return f" \x00{len(quotes) - 1}\x00 "

    marked = _QUOTED.sub(keep, text.replace("\x00", " ")).casefold().replace("’", "'")
    words = _pieces(marked)
    table = FIXED | nouns(facts)
    longest = max(len(phrase.split()) for phrase in table) + 1
    items, unknown, at = [], [], 0
    while at < len(words):
        word = words[at]
        if word.startswith("\x00"):
            items.append(Token(Item.QUOTE, "“…”", quotes[int(word.strip("\x00"))]))
        elif re.fullmatch(r"[0-9]+:[0-9:.]+", word):
            items.append(Token(Item.TIME, word, word))
        elif word.isascii() and word.isdigit():
            value = min(int(word[:9]), ANY)
            items.append(Token(Item.NUMBER, word, low=value, high=value))
        else:
            for size in range(min(longest, len(words) - at), 0, -1):
                phrase = " ".join(words[at : at + size]).replace(" ,", ",") if size > 1 else word
                if found := table.get(phrase):
                    items.append(Token(found.item, phrase, found.value, found.low, found.high, found.form, found.fresh))
                    at += size - 1
                    break
            else:
                unknown.append(word)
        at += 1
    return items, unknown


def _pieces(text: str) -> list[str]:
    return [word for found in _PIECE.findall(text) for word in _opened(found)]


def _opened(word: str) -> list[str]:
    """``there's`` and ``they're`` as two words."""
    for ending in ("'s", "'re"):
        if word.endswith(ending) and word != "there's":
            return [word.removesuffix(ending), ending]
    return [word]
