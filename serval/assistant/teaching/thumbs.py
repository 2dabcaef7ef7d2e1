"""Thumbs up and down, kept in the order in which they were given; what they come to is worked out anew from all of them.

So nothing that was learnt stands anywhere but here: a thumb taken back is as if it had never been given.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serval.assistant.event import Event, EventKind
from serval.assistant.instructions.shared_file import locked, replace_text
from serval.assistant.teaching.person import THUMBS
from serval.assistant.teaching.taste import DOUBT, Taste
from serval.assistant.timeline.plain import clock, one_line, seconds
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.timeline.trace import TraceRow
from serval.refusal import Refusal

NEAR: Final = 2.0  # seconds within which a time means an utterance
MOST: Final = 10_000  # thumbs of one person
_BYTES = 32 << 20


class Thumb(BaseModel):
    """One thumb, and all that is learnt from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    up: bool
    run: str = Field(max_length=4096)
    event: str = Field(max_length=200)  # id of the utterance, or the moment at which one was missed
    asked: str = Field(max_length=2000)  # the instruction, see `asked_as`
    said: str = Field(max_length=4000)  # the words, for people; empty where nothing was said
    score: float = Field(ge=0, le=1)  # the gate's own
    threshold: float = Field(ge=0, le=1)
    words: tuple[str, ...] = Field(default=(), max_length=40)


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    thumbs: tuple[Thumb, ...] = ()


def load(folder: Path) -> tuple[Thumb, ...]:
    """All thumbs in the order in which they were given; none where there is no file yet.

    Raises:
        Refusal: the file is damaged, or cannot be read.
    """
    path = folder / THUMBS
    try:
        if path.stat().st_size > _BYTES:
            raise Refusal(str(path), "it is too large for a list of thumbs", "delete it and begin anew")
        return _Kept.model_validate_json(path.read_bytes()).thumbs
    except FileNotFoundError:
        return ()
    except ValidationError:
        raise Refusal(str(path), "it is damaged, or no list of thumbs", "delete it and begin anew") from None
    except OSError as error:
        raise Refusal(str(path), f"it cannot be read ({error.strerror})", "name another folder") from None


def add(folder: Path, thumb: Thumb) -> bool:
    """Keep a thumb; False when this moment has that very one already.

    Raises:
        Refusal: there are too many, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Refusal(str(folder), f"the folder cannot be made ({error.strerror})", "name another with --memory") from None
    with locked(folder / THUMBS):
        thumbs = load(folder)
        before = next((each for each in reversed(thumbs) if _moment(each) == _moment(thumb)), None)
        if before is not None and before.up == thumb.up:
            return False
        if len(thumbs) >= MOST:
            raise Refusal(str(folder / THUMBS), f"{MOST:,} thumbs are the limit", "begin anew in another folder")
        _write(folder, (*thumbs, thumb))
    return True


def undo(folder: Path) -> Thumb:
    """Take back the last thumb and return it.

    Raises:
        Refusal: there is none.
    """
    if not (folder / THUMBS).exists():
        raise Refusal(str(folder), "no thumb was given yet", "give one: serval feedback RUN N up")
    with locked(folder / THUMBS):
        thumbs = load(folder)
        if not thumbs:
            raise Refusal(str(folder), "no thumb was given yet", "give one: serval feedback RUN N up")
        _write(folder, thumbs[:-1])
    return thumbs[-1]


def tastes(thumbs: Iterable[Thumb]) -> dict[str, Taste]:
    """What the thumbs come to, by instruction. Of several for one moment the last counts, in the place of the first."""
    last: dict[tuple[str, str, str], Thumb] = {}
    for thumb in thumbs:
        last[_moment(thumb)] = thumb
    found: dict[str, Taste] = {}
    for thumb in last.values():
        before = found.get(thumb.asked, Taste())
        found[thumb.asked] = before.after(thumb.up, thumb.score, thumb.threshold, thumb.words)
    return found


def asked_as(text: str) -> str:
    """An instruction as thumbs know it: its words, whatever its id."""
    return one_line(text).casefold().rstrip(" .!")


# -- what a thumb is for ----------------------------------------------------------------------------------------------


def spoken(timeline: Timeline) -> list[Event]:
    """The utterances of a run that thumbs may be given for, in the order they were said: number 1 is the first."""
    return [event for event in timeline.events(kind=EventKind.UTTERANCE) if event.why_now is not None and event.instruction]


def thumb_for(timeline: Timeline, run: str, which: str, up: bool, instruction: str | None = None) -> Thumb:
    """The thumb for an utterance by its number ("3") or its time ("12.5", "1:02"); with no utterance there, and a thumb up,
    for one that was missed.

    Args:
        instruction: id, where several spoke at that time.

    Raises:
        Refusal: there is no such utterance, several are, or nothing was near to being said.
    """
    said = spoken(timeline)
    if which.isdecimal() and len(which) < 9:
        if not 1 <= int(which) <= len(said):
            there = f"it has {len(said)}" if said else "nothing was said"
            raise Refusal(f"utterance {which}", f"{there} in {one_line(run)}", "see: serval feedback RUN")
        return _of_event(timeline, run, said[int(which) - 1], up)
    at = seconds(which)
    near = [
        (number, event)
        for number, event in enumerate(said, 1)
        if event.t_start - NEAR <= at <= event.t_end + NEAR and instruction in (None, event.instruction)
    ]
    if len(near) > 1:
        closest = min(abs(event.t_end - at) for _, event in near)
        near = [(number, event) for number, event in near if abs(event.t_end - at) <= closest + 0.05]
    if len(near) > 1:
        numbers = " or ".join(str(number) for number, _ in near)
        raise Refusal(f"time {clock(at)}", "several things were said then", f"give the number: {numbers}")
    if near:
        return _of_event(timeline, run, near[0][1], up)
    if not up:
        raise Refusal(f"time {clock(at)}", "nothing was said then", "see: serval feedback RUN")
    return _missed(timeline, run, at, instruction)


def _of_event(timeline: Timeline, run: str, event: Event, up: bool) -> Thumb:
    assert event.why_now is not None and event.instruction is not None  # `spoken` sees to it
    now = event.why_now
    return Thumb(
        up=up,
        run=run,
        event=event.id,
        asked=_asked(timeline, event.instruction),
        said=one_line(event.text[:4000]),
        score=min(1.0, max(0.0, now.score if now.untuned is None else now.untuned)),
        threshold=min(1.0, max(0.0, now.threshold)),
        words=now.words,
    )


def _missed(timeline: Timeline, run: str, at: float, instruction: str | None) -> Thumb:
    """The moment near ``at`` at which a gate came nearest to speaking; only its score is known of it any more."""
    rows = timeline.traced(since=at - NEAR, until=at + NEAR, instruction=instruction)
    silent = [row for row in rows if row.instruction and row.action in ("silent", "standby") and row.threshold > 0]
    best = max(silent, key=_nearness, default=None)
    if best is None or _nearness(best) < DOUBT or best.score >= best.threshold:
        raise Refusal(
            f"time {clock(at)}", "nothing was near to being said then, and no thumb can change that", "see: serval why"
        )
    assert best.instruction is not None
    return Thumb(
        up=True,
        run=run,
        event=f"missed-{best.source}-{best.index}-{best.instruction}"[:200],
        asked=_asked(timeline, best.instruction),
        said="",
        score=min(1.0, max(0.0, best.score)),
        threshold=min(1.0, best.threshold),
    )


def _nearness(row: TraceRow) -> float:
    return row.score / row.threshold


def _asked(timeline: Timeline, name: str) -> str:
    events = timeline.events(kind=EventKind.INSTRUCTION, instruction=name)
    texts = [str(event.data["text"]) for event in events if "text" in event.data]
    if not texts:
        raise Refusal(timeline.name, f"it does not say what “{one_line(name)}” asks for", "watch again to give thumbs")
    return asked_as(texts[-1])[:2000]


def _moment(thumb: Thumb) -> tuple[str, str, str]:
    return thumb.run, thumb.event, thumb.asked


def _write(folder: Path, thumbs: tuple[Thumb, ...]) -> None:
    replace_text(folder / THUMBS, _Kept(thumbs=thumbs).model_dump_json(indent=1) + "\n")
