"""The first voice: facts as one or two calm sentences, varied by a seed and never more than the facts hold."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from serval.assistant.answers.words import (
    ALIVE,
    RIDES,
    SEVERAL,
    amount,
    article,
    counted,
    definite,
    is_name,
    join,
    number,
    plain,
    plural,
)
from serval.assistant.event import Fact, FactKind

CLAUSES = 3  # so many happenings are told of one moment
LISTED = 4  # so many kinds of things in view
LINES = 3  # so many lines of text
SURE_READ = 0.8  # below, a reading is told as a guess
_FIRST = ("put", "taken", "appears", "leaves", "moves", "crowd")  # what is told when there is too much to tell


def phrase(facts: Sequence[Fact], seed: int = 0, said_before: Sequence[str] = ()) -> str:
    """What the facts come to, on one line that ends with a full stop; the same seed gives the same words.

    Args:
        said_before: the last utterances; another wording is tried when one of them would be repeated word for word.
    """
    first = ""
    for turn in range(4):
        said = _Voice(facts, seed + 101 * turn).say()
        first = first or said
        if said not in said_before:
            return said
    return first


class _Voice:
    def __init__(self, facts: Sequence[Fact], seed: int) -> None:
        self.facts, self.seed, self.turn = facts, seed, 0

    def pick(self, *wordings: str) -> str:
        self.turn += 1
        return wordings[zlib.crc32(f"{self.seed}:{self.turn}".encode()) % len(wordings)]

    def of(self, kind: FactKind, action: str | None = None) -> list[Fact]:
        return [fact for fact in self.facts if fact.kind is kind and action in (None, fact.action)]

    def count(self, kind: FactKind, label: str) -> int | None:
        return next((fact.count for fact in self.of(kind) if fact.subject == label), None)

    # -- sentences ----------------------------------------------------------------------------------------------------

    def say(self) -> str:
        changes = self.of(FactKind.CHANGE)
        new = any(fact.action in ("scene", "first scene") for fact in changes)
        sentences = [self.scene()] if new else self.happenings(changes)
        text = self.of(FactKind.TEXT, "text") or (self.of(FactKind.TEXT) if len(sentences) < 2 else [])
        if text and len(sentences) < 2:
            sentences.append(self.text(text))
        if not sentences:
            sentences = self.standing()
        return " ".join(_sentence(each) for each in sentences)

    def scene(self) -> str:
        """The first scene begins the telling; nothing has changed yet."""
        there = self.in_view()
        if self.of(FactKind.CHANGE, "first scene"):
            head = "the first scene"
            if there and self.pick("begins", "scene") == "begins":
                return f"it begins with {join(there)}"
        else:
            head = self.pick("a new scene", "another scene", "the view changes", "the scene changes")
        if not there:
            return f"{head}; {self.pick('I cannot name what is in it', 'I recognise nothing in it')}"
        if there[0].startswith("what looks like"):
            return f"{head}; {there[0].replace('what', 'it', 1)}"
        return f"{head}: {join(there)}"

    def in_view(self, places: bool = False) -> list[str]:
        """The kinds of things in view as a list, with the place of a lone thing where that is wanted; then the tags."""
        kind = FactKind.COUNT
        counts = self.of(kind) or [fact for fact in self.of(FactKind.AFTER) if fact.count]
        named = []
        for fact in counts[:LISTED]:
            spots = [each for each in self.of(FactKind.PLACE) if each.subject == fact.subject]
            where = f" {spots[0].place}" if places and len(spots) == 1 and spots[0].count == fact.count else ""
            named.append(f"{amount(fact.count or 0, plain(fact.subject))}{where}")
        tags = [fact for fact in self.of(FactKind.SCENE) if fact.subject]
        if tags:
            named.append(f"what looks like {article(tags[0].subject)}")
        return named

    def text(self, lines: Sequence[Fact]) -> str:
        lines = lines[:LINES]
        read = [f"“{_inner(fact.text)}”{f' {fact.place}' if fact.place else ''}" for fact in lines]
        if min(fact.score for fact in lines) < SURE_READ:
            return f"I think it reads {join(read)}"
        if len(read) == 1 and (wording := self.pick("read", "says", "can")) != "read":
            place = f" {lines[0].place}" if lines[0].place else ""
            return f"it says {read[0]}" if wording == "says" else f"“{_inner(lines[0].text)}” can be read{place}"
        return f"I can read {join(read)}"

    def standing(self) -> list[str]:
        """Nothing happened that has a name: what is there, or what it may be."""
        alike = bool(self.of(FactKind.SCENE, "likeness"))
        counts, tags = self.of(FactKind.COUNT), [fact for fact in self.of(FactKind.SCENE) if fact.subject]
        touch = [self.touch(fact) for fact in self.of(FactKind.TOUCHING)[:1]]
        if not counts and not tags:
            if alike:
                return ["this may be what you asked for"]
            return touch or [self.pick("something catches my eye, but I do not recognise it", "I recognise nothing in view")]
        if not counts:
            said = f"it looks like {article(tags[0].subject)}"
            return [f"this may be what you asked for: {said}" if alike else said]
        there = self.in_view(places=True)
        if alike:
            return [f"this may be what you asked for: {join(there)}", *touch]
        wordings = [f"I can see {join(there)}", f"{'there is' if counts[0].count == 1 else 'there are'} {join(there)}"]
        if not tags:
            plainly = self.in_view()
            verb = "is" if len(plainly) == 1 and counts[0].count == 1 else "are"
            wordings += [f"{join(plainly)} {verb} in view", f"in view: {join(there)}"]
        return [self.pick(*wordings), *touch]

    def touch(self, fact: Fact) -> str:
        noun = plain(fact.object)
        thing = definite(noun) if self.count(FactKind.COUNT, fact.object) == 1 else article(noun)
        return f"a hand {self.pick('touches', 'is touching')} {thing}"

    # -- happenings ---------------------------------------------------------------------------------------------------

    def happenings(self, changes: list[Fact]) -> list[str]:
        """At most `CLAUSES` happenings in order of time, what is alike told together."""
        kept = sorted(changes, key=lambda fact: _FIRST.index(fact.action) if fact.action in _FIRST else 9)[: CLAUSES + 2]
        kept = [fact for fact in changes if fact in kept]
        clauses: list[str] = []
        before: Fact | None = None  # the last happening, when it is one that a following "one" or "and" can go on from
        while kept and len(clauses) < CLAUSES:
            fact = kept.pop(0)
            if fact.action in ("put", "taken"):
                clause = self.handled(fact, before)
                if before is not None and clause.startswith("and "):
                    clauses[-1] += f" {clause}"
                else:
                    clauses.append(clause)
                before = None
                continue
            alike = [
                other for other in kept if (other.action, other.place) == (fact.action, fact.place) and fact.action != "crowd"
            ]
            elsewhere = [other for other in kept if (other.action, other.subject) == (fact.action, fact.subject)]
            elsewhere = [other for other in elsewhere if other.place and fact.place]
            together = [fact, *alike[:2]] if not elsewhere else [fact, *elsewhere[:1]]
            kept = [other for other in kept if other not in together]
            if fact.action == "crowd":
                clauses.append(self.crowd(fact))
            elif elsewhere:
                clauses.append(f"{self.moved([fact])} and {number(elsewhere[0].count or 1)} {elsewhere[0].place}")
            else:
                clauses.append(self.moved(together))
            before = fact if fact.action == "appears" and not alike and not elsewhere else None
        self.tail(changes, clauses)
        if len(clauses) < 2:
            return clauses
        return ["; ".join(clauses[:2]), *clauses[2:]]

    def moved(self, together: list[Fact]) -> str:
        """Things that come, go or move: one or several kinds with the same action and place."""
        first = min(together, key=lambda fact: fact.subject != "person")
        subjects = [self.subject(fact) for fact in sorted(together, key=lambda fact: fact.subject != "person")]
        several = len(together) > 1 or (first.count or 1) > 1
        return f"{join(subjects)} {self.verb(first, several)}{f' {first.place}' if first.place else ''}"

    def subject(self, fact: Fact) -> str:
        noun, count = plain(fact.subject), fact.count or 1
        others = self.count(FactKind.BEFORE, fact.subject)
        single = sum(each.subject == fact.subject for each in self.of(FactKind.CHANGE)) == 1
        if fact.action == "appears" and count == 1 and others and single and not is_name(noun):
            return f"another {noun}"
        if fact.action == "leaves" and others == count and single and count < SEVERAL:
            return definite(noun) if count == 1 else f"the {counted(count, noun)}"
        return amount(count, noun)

    def verb(self, fact: Fact, several: bool) -> str:
        s, are = ("", "are") if several else ("s", "is")
        if fact.action == "moves":
            return f"move{s}"
        if fact.action == "leaves":
            if fact.place:
                return self.pick(f"leave{s}", f"go{'' if several else 'es'} out of view")
            return self.pick(f"{are} gone from view", f"disappear{s} from view", f"{are} no longer in view")
        if fact.subject in ALIVE and fact.place.startswith("from"):
            return self.pick(f"come{s} in", f"come{s} in", f"enter{s}", f"come{s} into view")
        if (fact.subject in ALIVE | RIDES and not fact.object) or fact.place.startswith("from"):
            return self.pick(f"come{s} into view", f"appear{s}")
        return f"appear{s}"

    def handled(self, fact: Fact, before: Fact | None) -> str:
        """Put down or taken: by the one who just came in, by somebody, by a hand, or by nobody that was seen."""
        things = amount(fact.count or 1, plain(fact.subject))
        where = f" {fact.place}" if fact.place else ""
        does = {"put": ("puts", "sets down"), "taken": ("takes", "picks up")}[fact.action]
        active = self.pick(*does)
        if active == "puts" and not fact.object:
            active = "puts down"
        if active == "picks up" and fact.object:
            active = "takes"
        who = next((each for each in self.of(FactKind.WHO, fact.action) if each.object == fact.subject), None)
        if who is None:
            done = {"put": ("put", "set down", "placed"), "taken": ("taken", "taken away")}[fact.action]
            passive = self.pick(*done)
            passive = "set down" if not where and passive in ("put", "placed") else passive
            passive = "taken" if where and fact.action == "taken" else passive
            return f"{things} {'is' if (fact.count or 1) == 1 else 'are'} {passive}{where}"
        if before is not None and before.subject == who.subject and self.count(FactKind.BEFORE, who.subject) == 0:
            return f"{'and' if before.count == 1 else 'one'} {active} {things}{where}"
        return f"{article(who.subject)} {active} {things}{where}"

    def crowd(self, fact: Fact) -> str:
        if not fact.subject:
            return "there is a lot of coming and going"
        return f"{plural(plain(fact.subject))} {self.pick('keep coming and going', 'come and go')}"

    def tail(self, changes: list[Fact], clauses: list[str]) -> None:
        """How many there are now, when only one thing happened and others of its kind are or were there."""
        if len(clauses) != 1 or len(changes) != 1 or not changes[0].subject:
            return
        fact = changes[0]
        noun, now, was = (
            plain(fact.subject),
            self.count(FactKind.AFTER, fact.subject),
            self.count(FactKind.BEFORE, fact.subject),
        )
        if now is None:
            return
        if fact.action == "crowd" and now:
            clauses.append(f"{'there are' if now > 1 else 'there is'} {amount(now, noun)} in view now")
        elif fact.action == "appears" and was and now > (fact.count or 1):
            told = f"{number(now)}" if now < SEVERAL else amount(now, noun)
            clauses.append(self.pick(f"there are {told} now", f"{told} are in view now"))
        elif fact.action == "leaves" and now:
            told = number(now) if now < SEVERAL else amount(now, noun)
            clauses.append(f"{told} {'is' if now == 1 else 'are'} still in view")
        elif fact.action == "leaves" and was and fact.subject == "person":
            clauses.append(self.pick("nobody is in view now", "nobody else is in view"))
        elif fact.action == "taken" and now:
            clauses.append(f"{amount(now, noun) if now > 1 else counted(1, noun)} {'is' if now == 1 else 'are'} still in view")


def _inner(text: str) -> str:
    """Text from the picture without the marks it is put between."""
    return text.replace("“", "'").replace("”", "'").replace('"', "'")


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."
