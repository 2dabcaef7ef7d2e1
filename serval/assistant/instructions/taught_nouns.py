"""Names that a person taught, as nouns of the grammar.

A name may be any words at all ("my mug", "the box that hums"). While a sentence is read, each stands as one letter that no
sentence of ours has, which the grammar takes for a noun; what was understood is spelled out again afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from serval.assistant.answers.words import article, is_name, plural
from serval.assistant.instructions.instruction import Understanding
from serval.assistant.instructions.nouns import STAND_INS


def stand_in(text: str, names: Sequence[str]) -> str:
    """The text with each name as its letter: ``tell me when the ꀀ appears``. The longest name that fits is taken."""
    text = re.sub(f"[{STAND_INS[0]}-{STAND_INS[-1]}]", " ", text)
    for name in sorted(names, key=len, reverse=True):
        letter = STAND_INS[names.index(name)]
        words = r"\s+".join(map(re.escape, name.split()))
        text = re.sub(rf"(?<!\w){words}(?!\w)", f"the {letter}" if is_name(name) else letter, text, flags=re.IGNORECASE)
        if not is_name(name):
            text = re.sub(rf"(?<!\w){re.escape(plural(name))}(?!\w)", f"{letter}s", text, flags=re.IGNORECASE)
    return text


def spell_out(found: Understanding, names: Sequence[str]) -> Understanding:
    """What was understood, with the names in place of their letters."""
    asked = [name for name, letter in zip(names, STAND_INS, strict=False) if letter in found.labels]
    if not asked and not any(letter in found.cannot for letter in STAND_INS):
        return found

    def spelled(text: str) -> str:
        for name, letter in zip(names, STAND_INS, strict=False):
            text = re.sub(rf"\b(?:an?|the) {letter}", article(name), text)
            text = text.replace(f"{letter}s", plural(name)).replace(letter, name)
        return text

    known = f" I know {' and '.join(map(article, asked))} by your pictures, not for certain." if asked else ""
    return found.model_copy(
        update={
            "labels": tuple(map(spelled, found.labels)),
            "noun": spelled(found.noun),
            "read_back": spelled(found.read_back) + known,
            "cannot": spelled(found.cannot),
        }
    )
