"""Live chats about a video from what happens in it, as VideoLLM-online (arXiv 2406.11816) makes them of Ego4D Goal-Step.

Questions are put at random times; somebody answers each at once, and again whenever something begins or ends, until the next
question. Who answers is anyone's choice: a `Writer` is given what has happened so far, and nothing else, so no answer knows the
future.

A question stands behind the last frame before it, an answer behind the first frame at or after its moment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from serval.conversation.messages import Role
from serval.data.dice import dice
from serval.data.item import Event, Item
from serval.data.narration import message
from serval.data.questions import QUESTIONS, About
from serval.data.stream import Stream, frame_after, frame_before

_LEAD = 20  # frames before the first question, at most


@dataclass(frozen=True)
class Query:
    """A question, and when it is to be answered.

    Attributes:
        text: its words.
        about: what kind of question it is.
        asked: seconds, when it was put.
        now: seconds, when this answer to it is said; later than ``asked`` when something has begun or ended since.
    """

    text: str
    about: About
    asked: float
    now: float


class Writer(Protocol):
    """Whoever answers.

    Called with what has begun by ``query.now``, as `known` gives it. Nothing ("") stays silent.
    """

    def __call__(self, events: Sequence[Event], query: Query, /) -> str: ...


def known(events: Sequence[Event], now: float) -> tuple[Event, ...]:
    """What is known at ``now``: events that have begun, in order. One that goes on has no end; a moment ends as it starts."""
    begun = sorted((event for event in events if event.start <= now), key=lambda each: each.start)
    ends = [each.start if each.end is None else each.end for each in begun]
    return tuple(  # without the data set's other fields, which may tell of the whole video
        Event(start=each.start, end=None if end > now else end, text=each.text, kind=each.kind)
        for each, end in zip(begun, ends, strict=True)
    )


def turns(events: Sequence[Event], queries: Sequence[Query], writer: Writer, fps: float) -> Iterator[tuple[int, Role, str]]:
    """Questions and answers with the frames that they stand behind; what is said up to a frame depends on nothing behind it.

    Args:
        queries: by time, no two before the same frame.
    """
    times = [time for event in events for time in (event.start, event.end) if time is not None and time >= 0]
    moments = sorted({frame_after(time, fps) for time in times})
    frames = [frame_before(query.asked, fps) for query in queries]
    last = ""
    for query, frame, following in zip(queries, frames, [*frames[1:], math.inf], strict=True):
        yield frame, "user", query.text
        for each in [frame, *(moment for moment in moments if frame < moment < following)]:
            text = writer(known(events, each / fps), replace(query, now=each / fps)).strip()
            if text and (text != last or each == frame):
                yield each, "assistant", text
                last = text


def live_chats(
    item: Item,
    writer: Writer,
    *,
    fps: float = 2.0,
    frames: int = 1200,
    chats: int = 10,
    questions: int = 3,
    seconds: tuple[float, float] = (60.0, 3600.0),
    seed: int = 0,
) -> Iterator[Item]:
    """Chats about each level of a video's events: the steps of its goal, the substeps of each step.

    A chat is left out if it is shorter or longer than ``seconds``, or an answer tells the time (`tells_time`).

    Args:
        frames: how many a chat may have; it is cut before what would stand behind more.
        chats: for each level.
        questions: in each chat, at times drawn evenly between the level's first and last moment.
        seed: of times and questions, together with the item's id.
    """
    for level, events in enumerate(_levels(item.events)):
        begin = max(0.0, min(event.start for event in events))
        end = max(event.start if event.end is None else event.end for event in events)
        for number in range(chats):
            rng = dice(seed, item.id, level, number)
            times = {frame_before(time, fps): time for time in (rng.uniform(begin, end) for _ in range(questions))}
            drawn = rng.sample(QUESTIONS, len(times))
            lead = rng.randint(0, _LEAD)
            queries = [Query(*drawn.pop(), asked=time, now=time) for _, time in sorted(times.items())]
            said = list(turns(events, queries, writer, fps))
            span = (said[-1][0] - said[0][0]) / fps
            if not seconds[0] <= span <= seconds[1] or any(tells_time(text) for _, role, text in said if role == "assistant"):
                continue
            first = max(0, said[0][0] - lead)
            kept = [turn for turn in said if turn[0] - first < frames]
            yield Item(
                id=f"{item.id}/{level}/{number}",
                source=item.source,
                media=item.media,
                messages=tuple(message(role, text, frame, fps) for frame, role, text in kept),
                stream=Stream(fps=fps, first=first),
            )


def _levels(events: Sequence[Event]) -> Iterator[tuple[Event, ...]]:
    parents: list[int | None] = [*sorted({event.parent for event in events if event.parent is not None})]
    for parent in parents or [None] * bool(events):
        yield tuple(event for event in events if event.parent == parent)


def tells_time(text: str) -> bool:
    """Whether an answer gives a time in seconds, as language models do that were shown a list of times."""
    return re.search(r"\bseconds\b|\d\s*(s|secs?|second)\b", text, re.IGNORECASE) is not None


def template_writer(events: Sequence[Event], query: Query) -> str:
    """A `Writer` that fills sentences: what is over, what goes on, and what begins as soon as it does."""
    if query.now > query.asked:  # something has begun or ended since
        begun = query.about in ("present", "next") and events and events[-1].start > query.asked
        return f"Now: {events[-1].text}." if begun else ""
    over = [event.text for event in events if event.end is not None]
    on = [event.text for event in events if event.end is None or event.end == event.start == events[-1].start]
    match query.about:
        case "past":
            return f"So far: {', then '.join(over)}." if over else "Nothing is finished yet."
        case "present":
            return f"Right now: {' and '.join(on)}." if on else "Nothing in particular at the moment."
        case "next":
            return "I will tell you as soon as the next step begins."
        case _:
            return "I am here, and I keep watching with you."


def prompted(generate: Callable[[str], str]) -> Writer:
    """A `Writer` that asks a language model: ``generate`` completes a prompt."""

    def write(events: Sequence[Event], query: Query, /) -> str:
        lines = [f"- {'done' if event.end is not None else 'seen'}: {event.text}" for event in events]
        again = "They asked earlier. Something has changed since: " if query.now > query.asked else ""
        return generate(
            "You watch a video together with somebody and talk with them.\n"
            "What has happened so far, in order:\n" + ("\n".join(lines) or "- nothing") + "\n"
            f'{again}Their question: "{query.text}"\n'
            "Answer in one short sentence, from what has happened only. Never mention times. "
            "If there is nothing new to say, answer with nothing.\nAnswer:"
        ).strip()

    return write
