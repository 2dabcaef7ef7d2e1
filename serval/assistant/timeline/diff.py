"""The difference of two timelines: what both say, what moved, what only one of them says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serval.assistant.event import Event
from serval.assistant.timeline.export.cues import caption
from serval.assistant.timeline.plain import clock, one_line

MATTERS = tuple(name for name in Event.model_fields if name != "id")


@dataclass(frozen=True)
class Pair:
    """One event of each timeline for the same thing; ``differs`` names the fields that are not equal."""

    left: Event
    right: Event
    differs: tuple[str, ...]

    @property
    def moved(self) -> float:
        """Seconds from the left event's start to the right one's."""
        return self.right.t_start - self.left.t_start


@dataclass(frozen=True)
class Difference:
    pairs: tuple[Pair, ...]
    only_left: tuple[Event, ...]
    only_right: tuple[Event, ...]

    @property
    def identical(self) -> bool:
        """Every event has its equal in the other timeline, in every field that matters."""
        return not self.only_left and not self.only_right and all(not pair.differs for pair in self.pairs)

    @property
    def text(self) -> str:
        """The verdict in one line."""
        same = sum(not pair.differs for pair in self.pairs)
        if self.identical:
            return f"Identical: {same} event{'' if same == 1 else 's'}."
        moved = sum(abs(pair.moved) > 0 for pair in self.pairs)
        changed = len(self.pairs) - same - sum(abs(pair.moved) > 0 and bool(pair.differs) for pair in self.pairs)
        return (
            f"Different: {same} the same, {moved} moved, {changed} changed in place, "
            f"{len(self.only_left)} only left, {len(self.only_right)} only right."
        )

    def __rich__(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("left", justify="right", no_wrap=True)
        table.add_column("right", justify="right", no_wrap=True)
        table.add_column("")
        table.add_column("instruction", overflow="fold")
        table.add_column("words", overflow="fold")
        rows: list[tuple[float, Event | None, Event | None, tuple[str, ...]]]
        rows = [(pair.left.said_at, pair.left, pair.right, pair.differs) for pair in self.pairs]
        rows += [(event.said_at, event, None, ()) for event in self.only_left]
        rows += [(event.said_at, None, event, ()) for event in self.only_right]
        for _, left, right, differs in sorted(rows, key=lambda row: row[0]):
            event = left or right
            assert event is not None
            mark, style = ("=", "dim") if left and right and not differs else ("~", "yellow") if left and right else ("", "")
            if not (left and right):
                mark, style = ("-", "red") if left else ("+", "green")
            words = Text(caption(event))
            if left and right and "text" in differs:
                words = Text(f"{caption(left)}\n{caption(right)}")
            if differs:
                words.append(f"\n{', '.join(differs)}", style="dim")
            times = [Text(clock(each.t_start) if each else "") for each in (left, right)]
            table.add_row(*times, Text(mark), Text(one_line(event.instruction or event.kind.value)), words, style=style)
        return Group(table, Text(self.text, style="bold"))


def diff(left: Iterable[Event], right: Iterable[Event], *, tolerance: float = 2.0, ignore: Collection[str] = ()) -> Difference:
    """Match events of the same kind, source and instruction whose starts lie within ``tolerance`` seconds.

    Equal events are matched first, then the nearest in time. ``ignore`` names fields that do not matter.
    """
    fields = [name for name in MATTERS if name not in ignore]
    groups: dict[tuple[str, str, str | None], tuple[list[Event], list[Event]]] = defaultdict(lambda: ([], []))
    for side, events in enumerate((left, right)):
        for event in events:
            groups[event.kind, event.source, event.instruction][side].append(event)
    pairs: list[Pair] = []
    only: tuple[list[Event], list[Event]] = ([], [])
    for lefts, rights in groups.values():
        matched = _match(lefts, rights, tolerance, fields)
        pairs += matched
        for side, (events, taken) in enumerate(
            ((lefts, {id(p.left) for p in matched}), (rights, {id(p.right) for p in matched}))
        ):
            only[side].extend(event for event in events if id(event) not in taken)
    pairs.sort(key=lambda pair: (pair.left.said_at, pair.left.source))
    return Difference(tuple(pairs), *(tuple(sorted(events, key=lambda event: event.said_at)) for events in only))


def _match(lefts: list[Event], rights: list[Event], tolerance: float, fields: list[str]) -> list[Pair]:
    rights = sorted(rights, key=lambda event: event.t_start)
    candidates: list[tuple[int, float, int, int]] = []
    begin = 0
    lefts = sorted(lefts, key=lambda event: event.t_start)
    for place, event in enumerate(lefts):
        while begin < len(rights) and rights[begin].t_start < event.t_start - tolerance:
            begin += 1
        for other in range(begin, len(rights)):
            gap = rights[other].t_start - event.t_start
            if gap > tolerance:
                break
            unequal = len(_differing(event, rights[other], fields)) if gap == 0 else len(fields)
            candidates.append((unequal, abs(gap), place, other))
    pairs = []
    free_left, free_right = set(range(len(lefts))), set(range(len(rights)))
    for _, _, place, other in sorted(candidates):
        if place in free_left and other in free_right:
            free_left.remove(place)
            free_right.remove(other)
            pairs.append(Pair(lefts[place], rights[other], _differing(lefts[place], rights[other], fields)))
    return pairs


def _differing(left: Event, right: Event, fields: list[str]) -> tuple[str, ...]:
    return tuple(name for name in fields if getattr(left, name) != getattr(right, name))
