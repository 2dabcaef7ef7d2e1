"""A small grammar of what can be seen to happen: who or what, which change, on what, from which side."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from serval.assistant.instructions.noun_phrase import PREPOSITIONS, NounPhrase, Reader
from serval.assistant.instructions.nouns import lookup
from serval.assistant.instructions.places import PLACES, Tail
from serval.assistant.instructions.request import Unreadable
from serval.assistant.instructions.words import CHANGES, VERBS, number, participle, verb
from serval.assistant.view import ChangeKind


@dataclass(frozen=True)
class Clause:
    """One clause, read whole: nothing of it was passed over but adverbs."""

    subjects: tuple[NounPhrase, ...]
    kinds: tuple[ChangeKind, ...] = ()
    objects: tuple[NounPhrase, ...] = ()  # what is put, taken or moved by the subject
    there: bool = False  # it is said to be there, not to come: "there are three cars"
    passive: bool = False
    all_gone: bool = False  # "the room is empty", "everyone has left"
    on: str = ""  # the noun it rests on
    side: str = ""
    places: tuple[str, ...] = ()  # places that stand for the whole picture: "the garden"


_BEFORE_A_VERB = tuple("again suddenly quickly slowly now already finally just also actually ever still".split())
_STATES = {
    "appears": ("visible", "here", "there", "in view", "in sight", "present", "back home", "back", "around", "home",
                "in the picture", "on screen", "on camera", "on the screen", "in the frame", "in frame", "in shot", "showing",
                "in the scene", "in the video", "in the image"),
    "leaves": ("gone", "missing", "away", "out of view", "out of sight", "out of frame", "out of the picture", "absent"),
}  # fmt: skip
_MOTION = re.compile(
    r"(?:there is |you (?:see|detect|notice) )?(?:any |some |a )?(?:motions?|movements?)"
    r"(?: is (?:detected|seen|noticed))?(?P<where> .+)?"
)
_EMPTY = re.compile(
    r"(?:the |my |our |this |that )?(?P<place>[\w-]+) (?:is|gets|becomes|has become|is left|stands|looks|has gone) "
    r"(?:\w+ )?(?:empty|deserted|vacant|unoccupied)"
)
_NUMBER = re.compile(
    r"(?:the )?(?:number|count) of (?P<noun>.+?) (?:(?P<over>exceeds|(?:is|gets|goes|rises) (?:more than|over|above|"
    r"greater than|higher than)|tops)"
    r"|(?P<at>reaches|is at least|hits|gets to)|(?P<under>(?:is|drops|falls|goes) (?:below|under|less than|fewer than|"
    r"to under))|(?P<same>is|equals)) (?P<n>\w+)"
)


def parse(clause: str, names: frozenset[str] = frozenset()) -> Clause:
    """Read a clause whose command and courtesy are off.

    Raises:
        Unreadable: it is none of the grammar's, or any part of it would have to be passed over.
    """
    if found := _EMPTY.fullmatch(clause):
        if found["place"] not in PLACES:
            raise Unreadable("relation" if lookup(found["place"]) else "words", found["place"])
        return Clause((NounPhrase("person", everyone=True),), all_gone=True, places=(f"the {found['place']}",))
    if found := _NUMBER.fullmatch(clause):
        return _number(found)
    if found := _MOTION.fullmatch(clause):
        clause = f"something moves {found['where'] or ''}"
    reader = Reader(clause, names)
    there = bool(reader.take("there is", "there are", "there was", "there were", "there has been", "there appears"))
    unseen = bool(
        reader.take(
            "you can not see", "you can no longer see", "you do not see", "you no longer see", "you lose sight of", "you lose"
        )
    )
    there = unseen or there
    there = (
        bool(
            reader.take(
                "you can see", "you see", "you notice", "you spot", "you detect", "you find", "you recognise", "you have"
            )
        )
        or there
    )
    gone = unseen or bool(reader.take("no longer any", "no longer an", "no longer a", "no longer"))
    subjects = _list(reader)
    if not subjects:
        if verb(reader.peek()) in VERBS or any(name.startswith(verb(reader.peek()) + "-") for name in VERBS):
            raise Unreadable("words", clause)
        raise Unreadable("words", reader.peek())
    if reader.take("who", "that", "which"):
        subjects = tuple(replace(each, everyone=False) for each in subjects)  # "everyone who comes in" is anyone
    return _predicate(reader, subjects, there, gone)


def _predicate(reader: Reader, subjects: tuple[NounPhrase, ...], there: bool, gone: bool) -> Clause:
    kinds: list[ChangeKind] = []
    objects: tuple[NounPhrase, ...] = ()
    state, passive = there, False
    tail = Tail()
    tail.read(reader, ())
    if not reader.rest:
        state = True  # "someone at the door"
    while reader.rest:
        kind, was_state, was_passive, found = _verb_phrase(reader, tail)
        state, passive = state or was_state, passive or was_passive
        if kind:
            kinds.append(kind)
        objects = objects or found
        if found and len(kinds) > 1 and not {*kinds} <= {ChangeKind.PUT, ChangeKind.TAKEN, ChangeKind.MOVES}:
            raise Unreadable("several")
        if not reader.rest:
            break
        joined = reader.take("and then", "then", "or", "and")
        if not joined or not reader.rest:
            raise Unreadable(
                "several" if reader.peek() in ("when", "while", "if", "but", "because", "after", "before") else "action",
                reader.peek(),
            )
        if joined not in ("or", "and") or (found and joined == "and"):
            raise Unreadable("several")
        began = reader.at
        if reader.noun_phrase() is not None:
            raise Unreadable("several")
        reader.at = began
    if gone:
        if any(kind is not ChangeKind.APPEARS for kind in kinds):
            raise Unreadable("negation")
        kinds, state = [ChangeKind.LEAVES], False
    if not kinds and not state:
        raise Unreadable("action", reader.peek())
    return Clause(
        subjects,
        tuple(dict.fromkeys(kinds)),
        objects,
        state and not gone,
        passive,
        False,
        tail.on,
        tail.side,
        tuple(tail.places),
    )


def _verb_phrase(reader: Reader, tail: Tail) -> tuple[ChangeKind | None, bool, bool, tuple[NounPhrase, ...]]:
    """(kind, says only that it is there, passive, objects)."""
    being = having = no_more = False
    while True:
        if reader.take("no longer", "not any more"):
            no_more = True
        elif reader.take("not", "never"):
            rest = " ".join(reader.rest)
            if not ("any more" in rest or "any longer" in rest or (being and rest.startswith(_STATES["appears"]))):
                raise Unreadable("negation")
            no_more = True
        elif reader.take(*_BEFORE_A_VERB):
            pass
        elif verb(reader.peek()) in ("be", "get") and _key(reader, advance=False)[1] is None:
            being, _ = True, reader.take(reader.peek())
        elif verb(reader.peek()) == "have" and reader.peek(1) in ("a", "an", "the", "some", "any", "my", "his", "her", "two"):
            raise Unreadable("clothes", " ".join(reader.rest[:3]))
        elif verb(reader.peek()) in ("have", "do") and reader.peek(1):
            having, _ = True, reader.take(reader.peek())
        elif reader.peek() in ("starts", "begins", "started", "manages", "comes", "goes") and (
            reader.peek(1) == "to" or reader.peek(1).endswith("ing")
        ):
            reader.take(reader.peek())
            reader.take("to")
        elif reader.peek() in ("can", "could") and reader.take(f"{reader.peek()} be seen"):
            return (ChangeKind.LEAVES if no_more else None), not no_more, False, ()
        else:
            break
    if being and len(reader.rest) == 1 and reader.peek() in ("on", "off", "up", "down", "out", "over", "through"):
        raise Unreadable("action", reader.peek())
    if being or having or reader.peek() in ("detected", "spotted", "seen"):
        if reader.take("seen", "spotted", "noticed", "detected", "found") or (being and reader.take(*_STATES["appears"])):
            tail.read(reader, ())
            return (ChangeKind.LEAVES if no_more else None), not no_more, False, ()
        if reader.take(*_STATES["leaves"]) or (reader.peek() == "gone" and reader.take("gone")):
            reader.take("missing")
            tail.read(reader, ())
            return ChangeKind.LEAVES, False, False, ()
        if not reader.rest or reader.peek() in PREPOSITIONS or reader.peek() in ("or", "and"):
            tail.read(reader, ())
            return (ChangeKind.LEAVES if no_more else None), not no_more, False, ()
        if reader.peek() == "left" and being and reader.peek(1) in ("", "in", "there", "here"):
            reader.take("left")
            tail.read(reader, ())
            return None, True, False, ()
    if no_more:
        raise Unreadable("negation")
    if reader.take("goes missing", "is lost"):
        return ChangeKind.LEAVES, False, False, ()
    form = reader.peek()
    key, kind = _key(reader)
    if kind is None:
        raise Unreadable("several" if form in CHANGES else "action", form)
    if key == "gather":
        tail.read(reader, ())
        return None, True, False, ()
    passive = being and participle(form) and not form.endswith("ing")
    if passive:
        if key == "leave":
            reader.take("behind")
            key, kind = "leave-behind", ChangeKind.PUT
        if kind not in (ChangeKind.PUT, ChangeKind.TAKEN, ChangeKind.MOVES):
            raise Unreadable("action", form)
        if key == "take-off" and reader.peek() not in ("", "or", "and"):
            reader.at -= 1  # "taken off the table"
        tail.read(reader, (kind,))
        return kind, False, True, ()
    objects = _list(reader)
    after = reader.peek(1)
    if (
        objects
        and f"{key}-{reader.peek()}" in VERBS
        and (not after or after in PREPOSITIONS or after in ("or", "and", "again"))
    ):
        kind = VERBS[f"{key}-{reader.peek()}"]
        reader.take(reader.peek())
    kind, objects = _transitive(key, kind, objects, tail, reader)
    tail.read(reader, (kind,))
    return kind, False, False, objects


def _transitive(
    key: str, kind: ChangeKind, objects: tuple[NounPhrase, ...], tail: Tail, reader: Reader
) -> tuple[ChangeKind, tuple[NounPhrase, ...]]:
    """What a verb means with, and without, an object."""
    if not objects:
        if key == "take-off":
            return ChangeKind.LEAVES, ()
        if kind in (ChangeKind.PUT, ChangeKind.TAKEN) and reader.peek() not in ("or", "and"):
            raise Unreadable("words", key.replace("-", " "))
        return kind, ()
    if kind in (ChangeKind.PUT, ChangeKind.TAKEN, ChangeKind.MOVES):
        return kind, objects
    if key.endswith("-on") and lookup(objects[0].noun) and len(objects) == 1:
        tail.on = objects[0].noun
        return kind, ()
    if len(objects) == 1 and objects[0].noun.split()[-1:] and objects[0].noun.split()[-1] in PLACES:
        tail.place(objects[0])
        return kind, ()
    if key == "leave" and (not objects[0].noun or lookup(objects[0].noun)):
        return ChangeKind.PUT, objects
    raise Unreadable("relation" if lookup(objects[0].noun) else "place", objects[0].noun)


def _key(reader: Reader, advance: bool = True) -> tuple[str, ChangeKind | None]:
    """The longest verb, with its particles, that begins here."""
    lemma, following = verb(reader.peek()), [reader.peek(1), reader.peek(2)]
    for size in (2, 1, 0):
        parts = following[:size]
        key = "-".join([lemma, *parts])
        if all(parts) and key in VERBS:
            if advance:
                reader.at += 1 + size
            return key, VERBS[key]
    return lemma, None


def _list(reader: Reader) -> tuple[NounPhrase, ...]:
    """Noun phrases joined by "or"; "and" only in the plural, where it means either."""
    first = reader.noun_phrase()
    if first is None:
        return ()
    out = [first]
    while reader.peek() in ("or", "and"):
        began, joined = reader.at, reader.take("or", "and")
        a_verb = verb(reader.peek()) in VERBS and not lookup(reader.peek())
        following = None if a_verb else reader.noun_phrase()
        if following is None:
            reader.at = began
            break
        if joined == "and" and any(each.article in ("a", "an", "the", "any") or each.count for each in (*out, following)):
            raise Unreadable("several")
        out.append(following)
    return tuple(out)


def _number(found: re.Match[str]) -> Clause:
    value = number(found["n"])
    phrase = Reader(found["noun"]).noun_phrase()
    if value is None or phrase is None:
        raise Unreadable("words", found["n"])
    if found["over"]:
        counted = NounPhrase(phrase.noun, op=">=", count=value + 1)
    elif found["at"]:
        counted = NounPhrase(phrase.noun, op=">=", count=value)
    elif found["under"]:
        counted = NounPhrase(phrase.noun, op="<=", count=max(0, value - 1))
    else:
        counted = NounPhrase(phrase.noun, op="==", count=value)
    return Clause((counted,), there=True)
