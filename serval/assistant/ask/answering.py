"""Answers about the past: looked up and counted by code, with times and evidence; "I do not know" when it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serval.assistant.answers.decline import reason
from serval.assistant.answers.words import article, counted, join, plural
from serval.assistant.ask.past import Past, Sighting, Span, spans
from serval.assistant.ask.question import Asks, Question, parse
from serval.assistant.event import Event, EventKind, Evidence
from serval.assistant.instructions.words import singular
from serval.assistant.perception.texts import alike, normal
from serval.assistant.timeline.plain import clock
from serval.media.box import Box

AROUND = 0.75  # seconds to each side that "at 0:01" reaches: a look at least, for the calm detector looks twice a second
LISTED = 6  # so many things are told one by one; the rest is a number
TOGETHER = 0.6  # seconds between two looks that may still be told as one moment
RELATIONS = {
    "near": "next to",
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
    "on": "on",
}
NOT_UNDERSTOOD = (
    "I did not understand that. I can say when, where, how many and whether, what was next to something, "
    "what a sign said, what happened, and what I said."
)
LabelsOf = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Reply:
    """What is said to a question. ``known`` is False for every way of not knowing."""

    text: str
    known: bool = True
    evidence: tuple[Evidence, ...] = ()


def ask(past: Past, question: str, labels_of: LabelsOf) -> Reply:
    """Answer from what was recorded.

    Args:
        labels_of: noun phrase -> the object labels it may mean, empty when the parts know no such thing.
    """
    if why_not := reason(question):
        return Reply(why_not, known=False)
    asked = parse(question)
    if asked.asks is Asks.UNKNOWN:
        return Reply(NOT_UNDERSTOOD, known=False)
    if asked.asks is Asks.SAID:
        return _told(past, asked, lambda event: True, "I said nothing")
    if asked.asks is Asks.TEXT:
        return _read(past, asked)
    if asked.asks is Asks.HAPPENED or (asked.action and asked.action != "appears"):
        return _happened(past, asked, labels_of)
    return _about(past, asked, labels_of)


# -- things: when, where, how many, whether, next to what ---------------------------------------------------------------


def find(past: Past, subject: str, after: float | None, before: float | None, labels_of: LabelsOf) -> list[Sighting]:
    """Sightings of a noun phrase: text that reads so when it asks for a sign or no object is called so, else objects."""
    seen = past.between(after, before)
    if not subject:
        return [each for each in seen if each.label != "text"]
    words = [word for word in subject.split() if word not in {"sign", "text", "word", "label", "board"}]
    labels = labels_of(subject)
    objects = [each for each in seen if each.label in labels]
    read = [each for each in seen if each.label == "text" and words and all(word in each.text.casefold() for word in words)]
    return read if read and (len(words) < len(subject.split()) or not objects) else objects


def _about(past: Past, asked: Question, labels_of: LabelsOf) -> Reply:
    after, before = (asked.at - AROUND, asked.at + AROUND) if asked.at is not None else (asked.after, asked.before)
    found = find(past, asked.subject, after, before, labels_of)
    name = asked.subject or "thing"
    if not found:
        if asked.subject and not labels_of(asked.subject):
            why = f"I cannot recognise “{asked.subject}” with the parts I have, and I read no text that says it"
            return Reply(f"I do not know: {why}{_window(asked)}.", known=False)
        return Reply(f"No {plural(name)} that I saw{_window(asked)}.{_forgotten(past, after)}")
    stretches = spans(found)
    if asked.order:
        stretches = [stretches[0 if asked.order == "first" else -1]]
    if asked.asks is Asks.NEAR:
        return _near(past, asked, stretches)
    if asked.asks is Asks.WHERE:
        last = stretches[-1].sightings[-1]
        where = place(last.box) if last.box else "in view"
        return Reply(f"{_begin(_sure(last, asked))} was {where} at {clock(last.time)}.", evidence=(last.evidence(),))
    if asked.asks is Asks.HOW_MANY:
        most, moment = max(((span.most, _busiest(span)) for span in stretches), key=lambda each: each[0])
        return Reply(
            f"{counted(most, _label(moment, asked)).capitalize()} at most at the same time, at {clock(moment[0].time)}.",
            evidence=tuple(each.evidence() for each in moment),
        )
    times = [
        f"{clock(span.start)} to {clock(span.end)}" if span.end - span.start >= 0.1 else clock(span.start) for span in stretches
    ]
    more = f", and {len(times) - LISTED} more times" if len(times) > LISTED else ""
    best = [max(span.sightings, key=lambda each: each.score) for span in stretches[:LISTED]]
    head = "Yes: " if asked.asks is Asks.WHETHER else ""
    subject = _sure(best[0], asked)
    return Reply(
        f"{head}{subject if head else _begin(subject)} was in view {join(times[:LISTED])}{more}.",
        evidence=tuple(each.evidence() for each in best),
    )


def _near(past: Past, asked: Question, stretches: list[Span]) -> Reply:
    """What stood in the relation to the subject in the looks around each of its sightings."""
    companions: dict[str, list[Sighting]] = {}
    most: Counter[str] = Counter()
    anchors = [each for span in stretches for each in span.sightings if each.box]
    for anchor in anchors:
        around = [
            each
            for each in past.between(anchor.time - TOGETHER, anchor.time + TOGETHER, anchor.source)
            if each.box and anchor.box and not _same(each, anchor) and related(each.box, anchor.box, asked.relation)
        ]
        for each in around:
            companions.setdefault(f"the text “{each.text}”" if each.label == "text" else each.label, []).append(each)
        for time in {each.time for each in around}:
            here = Counter(each.label for each in around if each.time == time and each.label != "text")
            most |= here
    when = f"between {clock(stretches[0].start)} and {clock(stretches[-1].end)}"
    relation, subject = RELATIONS[asked.relation], _sure(anchors[0], asked) if anchors else asked.subject
    if not companions:
        return Reply(f"I saw {subject} {when}, and nothing that I recognise {relation} it.")
    names = [name if name.startswith("the text") else counted(most[name], name) for name in list(companions)[:LISTED]]
    best = tuple(max(each, key=lambda sighting: sighting.score).evidence() for each in list(companions.values())[:LISTED])
    anchor = max(anchors, key=lambda each: each.score)
    verb = "was" if len(names) == 1 and not (names[0].split()[0] not in {"a", "an", "one", "the"}) else "were"
    return Reply(f"{_begin(join(names))} {verb} {relation} {subject}, {when}.", evidence=(anchor.evidence(), *best))


def related(box: Box, anchor: Box, relation: str) -> bool:
    """Whether ``box`` stands in the relation to ``anchor``, by their places in the picture alone."""
    x, y = box.center
    if relation == "left":
        return x < anchor.left
    if relation == "right":
        return x > anchor.right
    if relation == "above":
        return y < anchor.top
    if relation == "below":
        return y > anchor.bottom
    if relation == "on":
        return anchor.left <= x <= anchor.right and anchor.top - 0.05 <= box.bottom <= anchor.bottom and box.area < anchor.area
    gap_x = max(0.0, max(box.left, anchor.left) - min(box.right, anchor.right))
    gap_y = max(0.0, max(box.top, anchor.top) - min(box.bottom, anchor.bottom))
    return (gap_x**2 + gap_y**2) ** 0.5 < 0.15


def place(box: Box) -> str:
    """Where in the picture, in words."""
    x, y = box.center
    across = "on the left" if x < 0.36 else "on the right" if x > 0.64 else "in the middle"
    height = " at the top" if y < 0.25 else " at the bottom" if y > 0.75 else ""
    return across + height


# -- words and events -----------------------------------------------------------------------------------------------


def _read(past: Past, asked: Question) -> Reply:
    after, before = (asked.at - 1.5, asked.at + 1.5) if asked.at is not None else (asked.after, asked.before)
    lines: dict[str, Sighting] = {}
    for each in past.between(after, before):
        if each.label == "text" and (each.text.casefold() not in lines or each.score > lines[each.text.casefold()].score):
            lines[each.text.casefold()] = each
    if not lines:
        return Reply(f"I read no text{_window(asked)}.{_forgotten(past, after)}")
    kept = sorted(lines.values(), key=lambda each: each.time)[:LISTED]
    said = [f"“{each.text}” at {clock(each.time)}" for each in kept]
    return Reply(f"I read {join(said)}.", evidence=tuple(each.evidence() for each in kept))


def _happened(past: Past, asked: Question, labels_of: LabelsOf) -> Reply:
    labels = set(labels_of(asked.subject)) if asked.subject else set()
    if asked.subject and not labels:
        return Reply(f"I do not know: I cannot recognise “{asked.subject}” with the parts I have.", known=False)

    def fits(event: Event) -> bool:
        if not asked.action and not labels:
            return True
        return any(
            (not asked.action or fact.action == asked.action) and (not labels or fact.subject in labels) for fact in event.facts
        )

    what = f"no such thing ({asked.text.rstrip('?')})" if asked.action or labels else "nothing"
    return _told(past, asked, fits, f"I noted {what}", known=True)


def _told(past: Past, asked: Question, fits: Callable[[Event], bool], none: str, known: bool = True) -> Reply:
    """What was said in the span, in order."""
    after, before = (asked.at - 1.5, asked.at + 1.5) if asked.at is not None else (asked.after, asked.before)
    low, high = after if after is not None else float("-inf"), before if before is not None else float("inf")
    events = [each for each in past.events if each.kind is EventKind.UTTERANCE and low <= each.t_end <= high and fits(each)]
    events = list({(each.t_end, each.text): each for each in events}.values())
    if asked.order:
        events = [events[0 if asked.order == "first" else -1]] if events else []
    if not events:
        return Reply(f"{none}{_window(asked)}.{_forgotten(past, after)}", known=known)
    more = f" And {len(events) - LISTED} more." if len(events) > LISTED else ""
    said = " ".join(f"At {clock(each.t_end)}: {each.text}" for each in events[:LISTED])
    return Reply(said + more, evidence=tuple(item for each in events[:LISTED] for item in each.evidence[:2]))


def _same(one: Sighting, other: Sighting) -> bool:
    """Whether two sightings may be of one thing, or two readings of one line."""
    a, b = normal(one.text), normal(other.text)
    return one.label == other.label and (a == b or (bool(a and b) and (alike(a, b) or a in b or b in a)))


# -- wording --------------------------------------------------------------------------------------------------------


def _begin(text: str) -> str:
    """As a sentence begins; a quotation in it stays as it was read."""
    return text[:1].upper() + text[1:]


def _label(found: list[Sighting], asked: Question) -> str:
    """The object's own label; what the person called it may say more than was seen ("the postman" is a person).

    Of several labels (a bus and a car) it is the person's word for all of them.
    """
    labels = {each.label for each in found}
    return labels.pop() if len(labels) == 1 and labels != {"text"} else singular(asked.subject or "thing")


def _sure(seen: Sighting, asked: Question) -> str:
    """Name what was seen by what the parts can vouch for, and say so where the person's word says more."""
    if seen.label == "text":
        return f"the text “{seen.text}”"
    if asked.subject and asked.subject.split()[-1].rstrip("s") not in (seen.label, seen.label.rstrip("s")):
        return f"{article(seen.label)} (I cannot tell whether it is the {asked.subject})"
    return article(seen.label)


def _window(asked: Question) -> str:
    if asked.at is not None:
        return f" around {clock(asked.at)}"
    if asked.after is not None and asked.before is not None:
        return f" between {clock(asked.after)} and {clock(asked.before)}"
    if asked.after is not None:
        return f" after {clock(asked.after)}"
    return f" before {clock(asked.before)}" if asked.before is not None else ""


def _forgotten(past: Past, after: float | None) -> str:
    """Say so when part of the time asked about is no longer remembered in full."""
    if past.start > (after or 0.0) + 1.0:
        note = next((each.text for each in past.notes if each.t_end <= past.start), "")
        return f" What I saw before {clock(past.start)} I remember only as notes{': ' + note if note else ''}."
    return ""


def _busiest(span: Span) -> list[Sighting]:
    frames: dict[tuple[str, float], list[Sighting]] = {}
    for each in span.sightings:
        frames.setdefault((each.source, each.time), []).append(each)
    return max(frames.values(), key=len)
