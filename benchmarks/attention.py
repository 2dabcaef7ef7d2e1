"""The attention that streams share: who gets how many answers and how long each waits, against first come, first served."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from benchmarks.table import Cell, Result, Table, Target
from benchmarks.timing import percentile, steps

if TYPE_CHECKING:
    from serval.assistant.answers.answer import Answer, Request

NAME = "attention"
ABOUT = "The attention that streams share, and how fairly"
_FAST = 20.0  # seconds of the scripted answers' clock in one of the wall's
_ANSWER = 0.5  # seconds of a scripted answer
_PATIENCE = 5.0  # seconds of waiting that weigh as much as a step of priority, as serval/serving/attention.py has it
_PRIORITY = {"alarm": 5, "door": 2, "gate": 2, "yard": 0, "hall": 0, "desk": 0, "shop": 0, "weather": -5}
_EQUALS = {("greedy" if name == "alarm" else name): 0 for name in _PRIORITY}
_MODEL = {"alarm": 1, "yard": 0, "hall": 0, "weather": -1}
_COLUMNS = ("order", "streams", "priority", "turns of each", "share, %", "wait p50, s", "wait p95, s", "longest, s")


class Order(Protocol):
    """Whoever waits for a turn gets it in some order."""

    def turn(self, stream: str, priority: int = 0) -> AbstractContextManager[None]: ...


class FirstCome:
    """One turn at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._changed, self._waiting = threading.Condition(), deque[object]()

    @contextmanager
    def turn(self, stream: str, priority: int = 0) -> Iterator[None]:
        mine = object()
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: self._waiting[0] is mine)
        try:
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()


@dataclass
class Got:
    """What a stream got: turns, and seconds that it waited; what it still waited for at the end is no turn, but a wait."""

    priority: int
    turns: int = 0
    waited: list[float] = field(default_factory=list)


def play(
    streams: Mapping[str, int],
    gap: Callable[[str], float],
    seconds: float,
    ask: Callable[[str], float],
    fast: float = _FAST,
) -> dict[str, Got]:
    """Let every stream ask from a thread of its own, for so many seconds.

    Args:
        streams: name -> priority.
        gap: mean seconds from an answer to the next wish for one, by name; 0 for who always wants one.
        ask: waits for a turn and works on an answer; when it began to (`time.monotonic`).
        fast: seconds of all these in one of the wall's.
    """
    got, end = {name: Got(priority) for name, priority in streams.items()}, time.monotonic() + seconds / fast

    def live(name: str) -> None:
        dice = random.Random(name)
        while (asked := time.monotonic()) < end:
            if gap(name):
                time.sleep(min(dice.expovariate(1 / gap(name)) / fast, end - asked))
                if (asked := time.monotonic()) >= end:
                    return
            began = ask(name)
            got[name].turns += began < end
            got[name].waited.append(fast * (min(began, end) - asked))

    threads = [threading.Thread(target=live, args=(name,)) for name in streams]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return got


def scripted(order: Order, streams: Mapping[str, int]) -> Callable[[str], float]:
    """Answers that all take equally long."""

    def ask(name: str) -> float:
        with order.turn(name, streams[name]):
            began = time.monotonic()
            time.sleep(_ANSWER / _FAST)
        return began

    return ask


def run(quick: bool) -> Result:
    from serval.serving.attention import Attention

    length, often = 0.1 if quick else 1.0, len(_PRIORITY) * _ANSWER / 0.85 - _ANSWER
    plays: tuple[tuple[str, Mapping[str, int], Callable[[str], float], float], ...] = (
        ("Now and then: each wants an answer about every five seconds", _PRIORITY, lambda name: often, 80),
        ("Always: each asks again as soon as it was answered", _PRIORITY, lambda name: 0.0, 180),
        ("Of equals, one asks always and the others every ten seconds", _EQUALS, lambda name: 10.0 * (name != "greedy"), 40),
    )
    tables, found = [], list[dict[str, dict[str, Got]]]()
    for title, streams, gap, seconds in steps(plays, "streams that ask"):
        orders: dict[str, Order] = {"attention": Attention(now=lambda: _FAST * time.monotonic()), "first come": FirstCome()}
        got = {name: play(streams, gap, seconds * length, scripted(order, streams)) for name, order in orders.items()}
        tables.append(
            Table(
                f"{title}, for {seconds * length:g} s", _COLUMNS, tuple(row for name in got for row in _rows(name, got[name]))
            )
        )
        found.append(got)
    now_and_then, always, one_always = found
    alarm = {name: percentile(got["alarm"].waited, 95) for name, got in now_and_then.items()}
    rare = [wait for name, got in one_always["attention"].items() if name != "greedy" for wait in got.waited]
    apart = max(_PRIORITY.values()) - min(_PRIORITY.values())
    table, model = _real(16 * length)
    return Result(
        tables=(*tables, table),
        method=f"Every stream asks for turns from a thread of its own, at the service's `Attention` with one place, or at a "
        f"queue. An answer is scripted and takes {_ANSWER:g} s on a clock that runs {_FAST:g} times as fast as the wall's, for "
        f"`Attention` too, where {_PATIENCE:g} s of waiting weigh as much as a step of priority; what the threads themselves "
        f"take counts {_FAST:g} times. Priorities go from -10 to 10; an instruction that says nothing has 0. What is still "
        "waited for at the end is a wait, and no turn. The last table is in real time, through the service's "
        "`SharedAnswerer`: `smollm2` rewords what happened in a street.",
        targets=(
            Target("longest wait where all always ask", max(max(each.waited) for each in always["attention"].values()),
                   _PATIENCE * (apart + 1) + len(_PRIORITY) * _ANSWER, "s"),
            Target("turns of the stream that gets the fewest, where all always ask",
                   min(each.turns for each in always["attention"].values()), 1, "", at_least=True),
            Target("wait of the most urgent stream at p95, now and then, in that of first come, first served",
                   alarm["attention"] / alarm["first come"], 1.0, ""),
            Target("wait at p95 of who asks rarely beside one who always does", percentile(rare, 95), 3 * _ANSWER, "s"),
        ),
        data={
            "scripted": [{name: _plain(got) for name, got in each.items()} for each in found],
            "smollm2": _plain(model),
        },
    )  # fmt: skip


def _real(seconds: float) -> tuple[Table, dict[str, Got]]:
    """The service's own way to a real answerer."""
    from serval.assistant.answers.build import build_answerer
    from serval.serving.attention import Attention, SharedAnswerer

    model, mine, took = build_answerer("smollm2"), threading.local(), list[float]()

    class Noting:
        """The model, with when a thread's answer began to be worked on."""

        name, models = model.name, model.models

        def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
            mine.began = time.monotonic()
            answer = model.answer(request, cancelled)
            took.append(time.monotonic() - mine.began)
            return answer

    attention = Attention()
    shared = {name: SharedAnswerer(Noting(), attention, name) for name in _MODEL}

    def ask(name: str) -> float:
        shared[name].answer(_request(_MODEL[name]))
        return float(mine.began)

    Noting().answer(_request(0))  # its first one loads what it needs
    took.clear()
    got = play(_MODEL, lambda name: 0.0, seconds, ask, fast=1.0)
    title = f"Always, with a real answerer of {statistics.median(took):.2f} s an answer, for {seconds:g} s"
    return Table(title, _COLUMNS, _rows("attention", got)), got


def _request(priority: int) -> Request:
    from serval.assistant.answers.answer import Request
    from serval.assistant.event import Fact, FactKind
    from serval.assistant.instructions.instruction import Instruction

    fact = Fact(kind=FactKind.CHANGE, subject="person", count=1, action="appears", place="on the left", time=1.0)
    instruction = Instruction(id="person", text="tell me when a person comes in", priority=priority)
    return Request(facts=(fact,), time=1.0, source="street", instruction=instruction)


def _rows(order: str, got: Mapping[str, Got]) -> tuple[tuple[Cell, ...], ...]:
    """One for each priority; of equals, the greedy one has its own."""
    whole, rows = sum(each.turns for each in got.values()), list[tuple[Cell, ...]]()
    for priority, greedy in dict.fromkeys((each.priority, name == "greedy") for name, each in got.items()):
        names = [name for name, each in got.items() if (each.priority, name == "greedy") == (priority, greedy)]
        turns, waited = [got[name].turns for name in names], [wait for name in names for wait in got[name].waited]
        share = 100 * sum(turns) / max(1, whole)
        waits = statistics.median(waited), percentile(waited, 95), max(waited)
        rows.append((order, ", ".join(names), priority, " ".join(map(str, turns)), share, *waits))
    return tuple(rows)


def _plain(got: Mapping[str, Got]) -> dict[str, dict[str, object]]:
    return {name: {"turns": each.turns, "waited": [round(wait, 3) for wait in each.waited]} for name, each in got.items()}
