"""Narrations said to the one who wears the camera: "C opens his bag" becomes "You open your bag".

VideoLLM-online has a language model rewrite them (its "refined" narrations). This is the rule for machines without one: it
changes the wearer's name, the verbs that surely belong to it, and pronouns that can be nobody else's; a sentence about another
person keeps its words, but for the wearer in it.
"""

from __future__ import annotations

import re

_VERBS = {"is": "are", "was": "were", "has": "have", "does": "do", "goes": "go"}
_BEHIND_VERBS = frozenset("a an the his her their its it them him some something up down away around back".split())
_MOVES = frozenset("walks turns moves looks goes stands sits bends steps climbs comes talks leans reaches stops".split())
_PRONOUNS = {"his": "your", "her": "your", "himself": "yourself", "herself": "yourself"}
_NOT_VERBS = frozenset("always this thus perhaps afterwards besides".split())
_HELPERS = frozenset("are were have do can will then also again slowly quickly carefully just".split())


def second_person(text: str) -> str:
    """The sentence with "you" for the wearer, called "C"."""
    words = text.split()
    if not words or words[0] != "C":
        return re.sub(r"\bC's(?=\W|$)", "your", re.sub(r"\bC\b(?!['’])", "you", text))
    said = ["You"]
    expects = True  # a verb, now or behind an adverb
    others = False  # somebody else is in the sentence, whose things these may be
    for place, word in enumerate(words[1:], 1):
        bare = word.rstrip(".,;")
        following = words[place + 1].rstrip(".,;") if place + 1 < len(words) else ""
        if expects and _is_verb(bare):
            said.append(_base(bare) + word[len(bare) :])
            expects = False
        elif bare in _PRONOUNS and not others:
            said.append((_PRONOUNS[bare] if bare != "her" or following else "her") + word[len(bare) :])
        else:
            others = others or re.fullmatch(r"[A-BD-Z]|man|woman|person|boy|girl|child|lady", bare) is not None
            said.append(re.sub(r"^C's$", "your", re.sub(r"^C$", "you", bare)) + word[len(bare) :])
        expects = (expects and bare in _HELPERS) or _begins_clause(word, following, words[place + 2 : place + 3])
    return " ".join(said)


def _begins_clause(word: str, following: str, after: list[str]) -> bool:
    """Whether the next word is another verb of the wearer's: behind "and", and no name of several things."""
    joins = word in ("and", "then", "while") or word.endswith(",")
    sure = following in _MOVES or (after and after[0].rstrip(".,;") in _BEHIND_VERBS)
    return bool(joins and sure and _is_verb(following))


def _is_verb(word: str) -> bool:
    return (
        re.fullmatch(r"[a-z]+s", word) is not None
        and not word.endswith("ss")
        and word not in _NOT_VERBS
        and word not in _PRONOUNS
    )


def _base(verb: str) -> str:
    if verb in _VERBS:
        return _VERBS[verb]
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    if re.search(r"(ss|sh|ch|x|zz|o)es$", verb):
        return verb[:-2]
    return verb[:-1]
