"""Does a sentence say only what the facts hold? Slot by slot: a check of words and numbers alone lets wrong sentences through.

A sentence is read with a closed vocabulary (`lexicon`), taken apart into claims (`claims`), and each claim must find facts of
its action whose subject, count, place, second thing and text are the claimed ones. What is not understood is not supported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from serval.assistant.answers.claims import HEADS, Claim, Named, claims, spread
from serval.assistant.answers.lexicon import ANY, read
from serval.assistant.answers.words import place
from serval.assistant.event import Fact, FactKind

LONGEST = 1000  # characters that are checked; more is refused unread
SAME = 0.5  # boxes that overlap by so much (IoU) are one thing


def check(text: str, facts: Sequence[Fact]) -> list[str]:
    """Every claim of ``text`` that ``facts`` do not support, in plain words; empty when all of it stands."""
    if not text.strip():
        return ["nothing is said"]
    if len(text) > LONGEST:
        return [f"longer than {LONGEST} characters"]
    tokens, unknown = read(text, facts)
    problems = [f"“{word}” is in no fact" for word in dict.fromkeys(unknown)]
    found, unclear = claims(tokens)
    problems += unclear
    if not any(claim.subjects or claim.objects or claim.quotes or claim.action in HEADS for claim in found):
        problems += [] if problems or any(token.value == "aside" for token in tokens) else ["nothing is said"]
    checker = _Checker(facts)
    for claim in found:
        problems += checker.claim(claim)
    return list(dict.fromkeys(problems))


class _Checker:
    """Holds the claims of one text against the facts, each new thing against each change once."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.facts = facts
        self.told: set[int] = set()  # CHANGE facts already told of as something new
        self.last: list[Fact] = []  # what the claim before rested on

    def of(self, *kinds: FactKind, **slots: object) -> list[Fact]:
        return [
            fact
            for fact in self.facts
            if fact.kind in kinds and all(getattr(fact, name) == value for name, value in slots.items())
        ]

    def claim(self, claim: Claim) -> list[str]:
        """What of one claim is not supported."""
        problems = [f"“{words}” is no time of these facts" for words in claim.times if not self._time(words)]
        if claim.quotes and claim.action != "read":
            problems.append("a quotation that is not said to be read")
        rested: list[Fact] = []
        verify: Callable[[Claim, list[Fact]], Iterable[str]] = {
            "exist": self._exist,
            "read": self._read,
            "looks": self._looks,
            "scene": self._scene,
            "first scene": self._scene,
            "likeness": self._likeness,
            "nothing": self._nothing,
            "bustle": self._bustle,
            "touch": self._touch,
            "put": self._handled,
            "taken": self._handled,
        }.get(claim.action, self._changed)
        problems += verify(claim, rested)
        if claim.then and self.last and rested and min(f.time for f in rested) < min(f.time for f in self.last):
            problems.append("the order is the other way round")
        self.last = rested or self.last
        return problems

    # -- what happens -------------------------------------------------------------------------------------------------

    def _changed(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        if claim.objects or claim.agents:
            yield f"nothing is known of what is {claim.action} by or to whom"
        for named in claim.subjects:
            yield from self._change(claim, named, rested)

    def _change(self, claim: Claim, named: Named, rested: list[Fact]) -> Iterable[str]:
        """One thing's change: action, place, then count, over one fact or all that fit."""
        same = self.of(FactKind.CHANGE, action=claim.action, subject=named.label)
        if not same:
            yield f"no {named.label} {_past(claim.action)}"
            return
        fitting = [fact for fact in same if all(_at(fact, where) for where in claim.places)]
        if not fitting:
            yield f"the {named.label} {_past(claim.action)}, but not {' '.join(claim.places)}"
            return
        if claim.action == "crowd":  # its number is never certain
            if named.high < ANY:
                yield f"not {spread(named)}, but a crowd"
            rested += fitting
            return
        unused = [fact for fact in fitting if not named.fresh or id(fact) not in self.told]
        unused.sort(key=lambda fact: bool(fact.place) and not claim.places)  # what has a place may be told of with it later
        options = [[fact] for fact in unused] + ([unused] if len(unused) > 1 else [])
        counted = [option for option in options if _holds(named, sum(fact.count or 0 for fact in option))]
        if not counted:
            yield f"not {spread(named)} {_past(claim.action)}"
            return
        if named.another and not any(fact.count for fact in self.of(FactKind.BEFORE, subject=named.label)):
            yield f"no other {named.label} was there before"
        if claim.inherited and not self._same(counted[0], named):
            yield f"it is not known that it was the same {named.label}"
        if named.fresh:
            self.told |= {id(fact) for fact in counted[0]}
        rested += counted[0]

    def _handled(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        """Put down or taken: the thing by its change, the one who did it by the hand."""
        things = claim.subjects if claim.passive else claim.objects
        agents = claim.agents if claim.passive else claim.subjects
        if not things:
            yield f"it is not said what was {_past(claim.action)}"
        where = Claim(claim.action, places=tuple(each for each in claim.places if (claim.action, each) != ("taken", "away")))
        for thing in things:
            yield from self._change(where, thing, rested)
            for agent in agents:
                did = self.of(FactKind.WHO, action=claim.action, object=thing.label, subject=agent.label)
                if not did:
                    yield f"it is not known that a {agent.label} did it"
                elif not _holds(agent, 1):
                    yield f"one {agent.label} did it, not {spread(agent)}"
                elif agent.another and not self._known(agent.label, 2):
                    yield f"no other {agent.label} is known"
                elif claim.inherited and not claim.passive and not self._same(did, agent):
                    yield f"it is not known that it was the same {agent.label}"
                rested += did

    def _same(self, facts: list[Fact], named: Named) -> bool:
        """Whether "one of them" is known: all there are came together, or there is only one, or their boxes are the same."""
        before = [fact.count for fact in self.of(FactKind.BEFORE, subject=named.label)]
        arrived = [fact for fact in self.last if (fact.action, fact.subject) == ("appears", named.label)]
        if arrived and before == [0]:
            return True
        if (
            not arrived
            and (before == [1] or self._known(named.label, 1))
            and not self.of(FactKind.CHANGE, action="appears", subject=named.label)
        ):
            return True
        old = [each.box for fact in self.last for each in fact.evidence if each.box and each.label == named.label]
        new = [each.box for fact in facts for each in fact.evidence if each.box and each.label == named.label]
        return any(one.iou(other) >= SAME for one in old for other in new)

    def _known(self, label: str, count: int) -> bool:
        kinds = (FactKind.AFTER,) if self.of(FactKind.AFTER, subject=label) else (FactKind.COUNT,)
        return any(fact.count == count for fact in self.of(*kinds, subject=label))

    # -- what is there --------------------------------------------------------------------------------------------------

    def _exist(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        if claim.objects or claim.agents:
            yield "a state with an object"
        if len(claim.places) > 1:
            yield "in more than one place"
        if claim.places and not claim.subjects:
            yield "it is not said what is there"
        where = " ".join(claim.places) or "in view"
        for named in claim.subjects:
            if named.label in ("text", "new text"):
                yield from self._text(claim, named.label)
                continue
            there = self._there(named.label, claim.places)
            counts = [fact.count or 0 for fact in there]
            if not there:
                yield f"{named.label or 'it'} is not known to be {where}" if named.high else f"no {named.label} was looked for"
            elif not any(_holds(named, count) for count in (*counts, sum(counts))):
                yield f"not {spread(named)} {where}"
            elif named.another and sum(counts) < 2:
                yield f"no other {named.label} is {where}"
            rested += there

    def _there(self, label: str, places: Sequence[str]) -> list[Fact]:
        """Facts of how many are in view (the last count wins), or in that place of the picture."""
        came = [fact for fact in self.of(FactKind.CHANGE, subject=label) if fact.action in ("appears", "put")]
        came = [fact for fact in came if all(_at(fact, where) for where in places)]
        if places:
            return [fact for fact in self.of(FactKind.PLACE, subject=label) if fact.place in places] or came
        return self.of(FactKind.AFTER, subject=label) or self.of(FactKind.COUNT, subject=label) or came

    def _read(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        if claim.objects or any(named.label not in ("text", "new text") for named in claim.subjects):
            yield "what bears the text is not known"
        yield from self._text(claim, "new text" if any(named.label == "new text" for named in claim.subjects) else "text")
        for quote in claim.quotes:
            lines = [fact for fact in self.of(FactKind.TEXT) if _folded(fact.text) == _folded(quote)]
            if not lines:
                yield f"“{quote}” was not read"
            elif not any(all(fact.place == where for where in claim.places) for fact in lines):
                yield f"“{quote}” was read elsewhere"
            rested += lines

    def _text(self, claim: Claim, label: str) -> Iterable[str]:
        lines = self.of(FactKind.TEXT, **({"action": "text"} if label == "new text" else {}))
        if not any(all(fact.place == where for where in claim.places) for fact in lines):
            yield f"no {label} was read {' '.join(claim.places)}".rstrip()

    def _bustle(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        rested += self.of(FactKind.CHANGE, action="crowd")
        if not rested or claim.places:
            yield "there is no such coming and going"
        if claim.subjects:
            yield from self._exist(claim, rested)

    def _looks(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        for named in claim.subjects:
            tags = self.of(FactKind.SCENE, subject=named.label)
            if not tags or not _holds(named, 1):
                yield f"nothing says that it looks like {spread(named)}"
            rested += tags
        if claim.places:
            yield "where it looks so is not known"

    def _scene(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        rested += self.of(FactKind.CHANGE, action=claim.action)
        if not rested:
            yield f"the scene is not known to be {'new' if claim.action == 'scene' else 'the first'}"
        if claim.subjects:
            yield from self._exist(claim, rested)

    def _likeness(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        if not self.of(FactKind.SCENE, action="likeness"):
            yield "nothing was asked for by its likeness"
        if claim.subjects:
            yield from self._exist(claim, rested)

    def _nothing(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        if any(fact.count for fact in self.of(FactKind.COUNT, FactKind.AFTER, FactKind.PLACE)):
            yield "something is in view"
        if claim.subjects or claim.places:
            yield "nothing, and yet something"

    def _touch(self, claim: Claim, rested: list[Fact]) -> Iterable[str]:
        subjects, objects = (claim.agents, claim.subjects) if claim.passive else (claim.subjects, claim.objects)
        if not subjects or not objects:
            yield "it is not said what touches what"
        for subject in subjects:
            for thing in objects:
                held = self.of(FactKind.TOUCHING, subject=subject.label, object=thing.label)
                held = [fact for fact in held if all(fact.place == where for where in claim.places)]
                if not held or not _holds(subject, 1) or not _holds(thing, 1):
                    yield f"no {subject.label} is known to touch {spread(thing)}"
                rested += held

    def _time(self, words: str) -> bool:
        seconds = 0.0
        for part in words.split(":"):
            seconds = seconds * 60 + float(part)
        return any(abs(fact.time - seconds) <= 0.5 for fact in self.facts)


def _holds(named: Named, count: int) -> bool:
    return named.low <= count <= named.high


def _at(fact: Fact, where: str) -> bool:
    """Whether a change happened there: its place, what it rests on, or the ninth of the picture that holds all its boxes."""
    if where == fact.place or (fact.object and where in (f"on {fact.object}", f"from {fact.object}")):
        return not where.startswith("on ") or fact.action != "taken" or where == fact.place
    if fact.action not in ("appears", "put", "taken"):
        return False
    boxes = [each.box for each in fact.evidence]
    return bool(boxes) and all(box is not None and place(box) == where for box in boxes)


def _folded(text: str) -> str:
    return " ".join(text.casefold().replace("“", "'").replace("”", "'").replace('"', "'").split()).rstrip(".,")


_PAST = {"appears": "appeared", "leaves": "left", "moves": "moved", "put": "was put down", "taken": "was taken"}


def _past(action: str) -> str:
    return _PAST.get(action, action)
