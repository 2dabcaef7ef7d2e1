"""What follows a verb: the side something comes from, what it rests on, and places that stand for the whole picture."""

from __future__ import annotations

import re

from serval.assistant.instructions.noun_phrase import PREPOSITIONS, NounPhrase, Reader
from serval.assistant.instructions.nouns import lookup
from serval.assistant.instructions.request import Unreadable
from serval.assistant.instructions.words import PARTICLES
from serval.assistant.view import ChangeKind

# Places that a camera is pointed at: said in an instruction, they mean the picture. Others must be found in it, and cannot.
PLACES = set(
    "room house home building premises garden yard backyard frontyard lawn driveway drive street road lane pavement "
    "sidewalk alley "
    "path porch patio balcony terrace hall hallway corridor lobby entrance entry door doorway front-door gate garage "
    "kitchen office "
    "bedroom bathroom lounge store shop warehouse factory lab classroom gym pool beach park parking car-park lot "
    "crossing junction "
    "crossroads intersection station platform runway harbour harbor dock counter till checkout queue stage court pitch "
    "field farm "
    "barn stable area zone place scene picture view frame image screen camera video clip sight shot everywhere anywhere "
    "somewhere "
    "property land courtyard square town city site stairs staircase steps restaurant cafe bar church school museum "
    "library".split()
)
_VIEW = set("scene picture view frame image screen camera video clip sight shot".split())
ADVERBS = (
    "any more", "any longer", "at all", "right now", "at once", "in person", "by itself", "again", "suddenly", "quickly",
    "slowly", "now", "already", "finally", "just", "also", "too", "actually", "really", "currently", "ever", "here", "there",
    "somewhere", "anywhere", "please", "still", "first", "alone", "outside", "home", "immediately", "nearby", "quietly",
    "of it", "back", "later", "everywhere",
)  # fmt: skip
_SIDES = {"left": "left", "right": "right", "top": "top", "bottom": "bottom", "left-hand": "left", "right-hand": "right"}
_SIDE = re.compile(
    r"(?P<way>from|to|on|at|by|through|via|off|over|towards)? ?(?:the )?(?P<side>left|right|top|bottom)(?:-hand| "
    r"hand)?(?: side| edge| border)?"
    r"(?: of (?:the )?(?:picture|screen|view|frame|image|video|scene))?(?= |$)|(?P<way2>from) (?P<side2>above|below)(?= |$)"
)


class Tail:
    """What follows a verb: adverbs, sides, places."""

    def __init__(self) -> None:
        self.on, self.side, self.places = "", "", list[str]()

    def read(self, reader: Reader, kinds: tuple[ChangeKind, ...]) -> None:
        while reader.rest:
            rest = " ".join(reader.rest)
            if reader.take(*ADVERBS) or reader.take(
                "in view", "into view", "in sight", "into sight", "out of view", "out of sight"
            ):
                continue
            if found := _SIDE.match(rest):
                self._see_side(found, kinds)
                reader.at += len(found[0].split())
                continue
            preposition = reader.take("on top of", "out of", "in to", "away from", "on to", *PREPOSITIONS)
            if not preposition:
                return
            if not reader.rest or reader.peek() in ("or", "and"):
                if preposition not in PARTICLES:
                    raise Unreadable("words", preposition)
                continue
            if reader.peek() in PREPOSITIONS or reader.peek() in ADVERBS:
                continue
            phrase = reader.noun_phrase()
            if phrase is None:
                raise Unreadable("words", reader.peek())
            self._see_place(preposition, phrase, kinds)

    def _see_side(self, found: re.Match[str], kinds: tuple[ChangeKind, ...]) -> None:
        side = found["side"] or {"above": "top", "below": "bottom"}[found["side2"]]
        way = found["way"] or found["way2"] or ""
        comes, leaves = ChangeKind.APPEARS in kinds, ChangeKind.LEAVES in kinds
        if self.side or not ((comes and way in ("from", "through", "at", "by", "via")) or (leaves and way != "from")):
            raise Unreadable("direction", found[0])
        self.side = side

    def _see_place(self, preposition: str, phrase: NounPhrase, kinds: tuple[ChangeKind, ...]) -> None:
        last = phrase.noun.split()[-1] if phrase.noun else ""
        hands = ChangeKind.PUT in kinds or ChangeKind.TAKEN in kinds
        rests = preposition in ("on", "on top of", "on to") or (
            preposition in ("from", "off", "away from") and ChangeKind.TAKEN in kinds
        )
        if rests and lookup(phrase.noun) and not self.on and ChangeKind.LEAVES not in kinds:
            self.on = phrase.noun
        elif last in PLACES and not lookup(phrase.noun) and not (hands and rests):
            self.place(phrase)
        elif lookup(phrase.noun):
            raise Unreadable("relation", f"{preposition} {phrase.noun}")
        else:
            raise Unreadable(
                "place" if phrase.noun else "words", f"{preposition} the {phrase.noun}" if phrase.noun else preposition
            )

    def place(self, phrase: NounPhrase) -> None:
        if phrase.noun.split()[-1] not in _VIEW:
            self.places.append(f"{'your' if phrase.mine else 'the'} {phrase.noun}")
