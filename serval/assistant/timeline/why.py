"""Why did Serval speak, or not, at a moment: what each gate saw around it, told in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline.export.cues import SPOKEN, caption
from serval.assistant.timeline.plain import clock, one_line
from serval.assistant.timeline.timeline import Timeline, TraceRow
from serval.refusal import Refusal

FOLLOWS = 15.0  # seconds after a wake in which its words are looked for


@dataclass(frozen=True)
class Moment:
    """What one gate saw for one instruction on one source."""

    row: TraceRow  # nearest to the time asked about
    peak: TraceRow  # the highest score around it
    outcome: str  # plain words


@dataclass(frozen=True)
class Explanation:
    """What was said, what the gates saw, and what lies nearest. Prints as plain text, and in colour through Rich."""

    time: float
    said: tuple[Event, ...]
    moments: tuple[Moment, ...]
    sentences: tuple[str, ...]
    nearest: Event | None = None

    @property
    def text(self) -> str:
        return "\n".join(self.sentences)

    def __rich__(self) -> RenderableType:
        first, *rest = self.sentences
        parts: list[RenderableType] = [Text(first, style="bold"), *map(Text, rest)]
        if not self.moments:
            return Group(*parts)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("source", "instruction", "gate"):
            table.add_column(name, overflow="fold")
        for name in ("time", "score", "needed"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("action", "because"):
            table.add_column(name, overflow="fold")
        rows = [row for moment in self.moments for row in sorted({moment.row, moment.peak}, key=lambda row: row.time)]
        for row in rows:
            style = "green" if row.action == "wake" else "yellow" if row.score >= row.threshold else ""
            names = [Text(one_line(part)) for part in (row.source, row.instruction or "", row.gate)]
            numbers = [Text(clock(row.time)), Text(f"{row.score:.2f}", style=style), Text(f"{row.threshold:.2f}")]
            table.add_row(*names, *numbers, Text(one_line(row.action), style=style), Text(one_line(row.why)))
        return Group(*parts, Text(), table)


def why(
    timeline: Timeline, time: float, source: str | None = None, instruction: str | None = None, *, window: float = 1.0
) -> Explanation:
    """Explain the moment ``time`` (seconds on the run's clock), on one source or all, for one instruction or all.

    Args:
        window: how far from ``time`` the trace and events still count as this moment, seconds.

    Raises:
        Refusal: the run has no source or instruction of this name.
    """
    timeline.flush()
    _check("source", source, timeline.sources())
    _check("instruction", instruction, timeline.instructions())
    around = timeline.events(since=time - window, until=time + window + FOLLOWS, source=source, instruction=instruction)
    events = [event for event in around if event.kind in SPOKEN]
    said = tuple(event for event in events if event.t_start - window <= time <= max(event.t_end, event.said_at) + window)
    moments = tuple(_moments(timeline, time, source, instruction, window))
    sentences = [_heading(time, said)]
    sentences += [_because(event) for event in said]
    told = {(event.source, event.instruction) for event in said}
    sentences += [moment.outcome for moment in moments if (moment.row.source, moment.row.instruction) not in told]
    if not moments:
        sentences.append(_uncovered(timeline, time, source, instruction))
    nearest = None if said else _nearest(timeline, time, source, instruction)
    if nearest is not None:
        gap = nearest.said_at - time
        sentences.append(f"The nearest words are {abs(gap):.1f} s {'later' if gap > 0 else 'earlier'}: {_quoted(nearest)}.")
    return Explanation(time, said, moments, tuple(sentences), nearest)


def _check(what: str, name: str | None, names: tuple[str, ...]) -> None:
    if name is not None and name not in names:
        known = ", ".join(one_line(each) for each in names) or "none"
        raise Refusal(f"{what} {one_line(name)!r}", "the run has none of this name", f"it has {known}")


def _heading(time: float, said: Iterable[Event]) -> str:
    words = ", and ".join(map(_quoted, said))
    return f"Around {clock(time)} Serval said {words}." if words else f"Around {clock(time)} Serval said nothing."


def _quoted(event: Event) -> str:
    return f"“{caption(event)}” at {clock(event.said_at)} on {one_line(event.source)}"


def _because(event: Event) -> str:
    state = event.why_now
    if event.kind is EventKind.ANSWER:
        return "It was asked a question."
    if state is None:
        return "It was not noted why."
    reason = f": {one_line(state.why)}" if state.why else ""
    gate = _gate(event.instruction, state.gate)
    words = f" As to the words: {one_line(event.answer_why)}." if event.answer_why else ""
    return f"{gate} scored {state.score:.2f} and needs {state.threshold:.2f}, so it spoke{reason}.{words}"


def _gate(instruction: str | None, gate: str) -> str:
    return f"For “{one_line(instruction)}” the gate {one_line(gate)}" if instruction else f"The gate {one_line(gate)}"


def _moments(timeline: Timeline, time: float, source: str | None, instruction: str | None, window: float) -> Iterable[Moment]:
    """The trace rows of each source and instruction nearest to the moment, the most excited first."""
    groups: dict[tuple[str, str | None], list[TraceRow]] = {}
    for row in timeline.traced(since=time - window, until=time + window, source=source, instruction=instruction):
        groups.setdefault((row.source, row.instruction), []).append(row)
    found = []
    for rows in groups.values():
        nearest = min(rows, key=lambda row: abs(row.time - time))
        peak = max(rows, key=lambda row: (row.action == "wake", row.score))
        found.append(Moment(nearest, peak, _outcome(timeline, peak)))
    return sorted(found, key=lambda moment: moment.peak.score - moment.peak.threshold, reverse=True)


def _outcome(timeline: Timeline, row: TraceRow) -> str:
    """One sentence on what came of a gate's score."""
    gate = _gate(row.instruction, row.gate)
    head = f"{gate} scored {row.score:.2f} at {clock(row.time)} on {one_line(row.source)}"
    reason = f" ({one_line(row.why)})" if row.why else ""
    needs = f"it needs {row.threshold:.2f}"
    match row.action:
        case "wake":
            return f"{head} and woke{reason}; {_followed(timeline, row)}."
        case "standby":
            return f"{head}; something was under way but not settled, so it waited{reason}."
        case "merged":
            return f"{head}: {one_line(row.why) or 'told together with the wake just before'}."
        case "held":
            return f"{head}, enough to speak, but was held back{reason}."
        case "silent" if row.score >= row.threshold:
            return f"{head}; {needs}, and still it stayed silent{reason}."
        case "silent":
            return f"{head}; {needs}, {row.threshold - row.score:.2f} more, so it stayed silent{reason}."
        case action:
            return f"{head}; {needs}; {one_line(action)}{reason}."


def _followed(timeline: Timeline, row: TraceRow) -> str:
    """What came of a wake: its words, or the note that it was dropped."""
    later = timeline.events(since=row.time, until=row.time + FOLLOWS, source=row.source, instruction=row.instruction)
    event = next((event for event in later if event.t_end >= row.time - 1e-6), None)
    if event is None:
        return "nothing was said for it: the answer never came, or the run ended first"
    if event.kind in SPOKEN:
        return f"it said “{caption(event)}” at {clock(event.said_at)}"
    return one_line(event.text).rstrip(".")


def _uncovered(timeline: Timeline, time: float, source: str | None, instruction: str | None) -> str:
    """Why there is no trace at this moment."""
    where = (f" on {one_line(source)}" if source else "") + (f" for “{one_line(instruction)}”" if instruction else "")
    trimmed = timeline.trimmed
    if trimmed is not None and time <= trimmed.until:
        return f"The gate trace up to {clock(trimmed.until)} was deleted to stay within its cap ({trimmed.rows} rows so far)."
    before = next(timeline.traced(until=time, source=source, instruction=instruction, limit=1, newest_first=True), None)
    after = next(timeline.traced(since=time, source=source, instruction=instruction, limit=1), None)
    if before is None and after is None:
        return f"No gate looked at anything{where} in this run."
    if before is None and after is not None:
        return f"The run's first look{where} is at {clock(after.time)}, after this moment."
    if after is None and before is not None:
        return f"The run's last look{where} is at {clock(before.time)}, before this moment."
    assert before is not None
    assert after is not None
    return f"No frame was examined{where} between {clock(before.time)} and {clock(after.time)}."


def _nearest(timeline: Timeline, time: float, source: str | None, instruction: str | None) -> Event | None:
    later = timeline.events(since=time, source=source, instruction=instruction)
    earlier = timeline.events(until=time, source=source, instruction=instruction, newest_first=True)
    first = next((event for event in later if event.kind in SPOKEN), None)
    last = next((event for event in earlier if event.kind in SPOKEN), None)
    return min((event for event in (last, first) if event), key=lambda event: abs(event.said_at - time), default=None)
