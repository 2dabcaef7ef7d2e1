"""The desk: most urgent first, bounded, stale wakes dropped with a reason, one failure ends nothing."""

import threading
from dataclasses import replace

import numpy as np

from serval.assistant.desk import Desk, Wake
from serval.assistant.gates.gate import Score
from serval.assistant.instructions.instruction import Instruction, Target, Understanding
from serval.assistant.policy import Decision, Policy
from serval.assistant.view import View
from serval.assistant.watch import Watch
from serval.encoders.percept import Percept
from serval.media.frame import Frame


class Always:
    name, threshold = "always", 0.5

    def start(self) -> None:
        return None

    def step(self, state: None, view: View) -> tuple[None, Score]:
        return None, Score(1.0)


def wake(name: str, time: float = 0.0, priority: int = 0) -> Wake:
    understanding = Understanding(target=Target.EVERYTHING, gate="always", read_back="")
    watch = Watch(Instruction(id=name, text=name, priority=priority), understanding, Always(), Policy(threshold=0.5))
    luma = np.zeros((36, 64), np.uint8)
    frame = Frame.from_rgb(np.zeros((36, 64, 3), np.uint8), time=time)
    view = View(Percept("", 0, time, luma), 0.0)
    return Wake(name, 1, watch, view, frame, Score(1.0), Decision("wake", ""), ())


class Bench:
    """A desk whose first answer waits until it is let go, so that the rest pile up."""

    def __init__(self, **options):
        self.handled, self.dropped, self.busy, self.go = [], [], threading.Event(), threading.Event()
        self.desk = Desk(self.handle, lambda wake, why: self.dropped.append((wake.id, why)), threaded=True, **options)
        self.desk.put(wake("blocker"))
        assert self.busy.wait(5)

    def handle(self, wake):
        self.busy.set()
        assert self.go.wait(5)
        self.handled.append(wake.id)
        if wake.id == "bad":
            raise ValueError("no words")

    def close(self, wait=True):
        self.go.set()
        self.desk.close(wait)


def test_inline_answers_at_once_in_order():
    handled = []
    desk = Desk(lambda each: handled.append(each.id), lambda each, why: None, threaded=False)
    for name in "abc":
        desk.put(wake(name))
    assert handled == ["a", "b", "c"]


def test_urgent_wakes_are_answered_first_and_equals_in_order_of_time():
    bench = Bench()
    for each in (wake("late", 2.0), wake("early", 1.0), wake("urgent", 3.0, priority=5)):
        bench.desk.put(each)
    bench.close()
    assert bench.handled == ["blocker", "urgent", "early", "late"]


def test_a_full_desk_drops_the_least_urgent_and_says_so():
    bench = Bench(capacity=2)
    for each in (wake("low", priority=-1), wake("mid"), wake("high", priority=1)):
        bench.desk.put(each)
    bench.close()
    assert bench.dropped == [("low", "busy")]
    assert bench.handled == ["blocker", "high", "mid"]


def test_a_wake_that_waited_too_long_is_stale():
    clock = [0.0]
    bench = Bench(patience=5.0, now=lambda: clock[0])
    bench.desk.put(wake("old", 1.0))
    bench.desk.put(wake("new", 8.0))
    clock[0] = 9.0
    bench.close()
    assert bench.dropped == [("old", "stale")]
    assert bench.handled == ["blocker", "new"]


def test_one_failure_is_counted_and_the_next_is_answered():
    bench = Bench()
    bench.desk.put(wake("bad", 1.0))
    bench.desk.put(wake("good", 2.0))
    bench.close()
    assert ("bad", "failed") in bench.dropped
    assert bench.handled[-1] == "good"


def test_closing_without_waiting_drops_what_waits():
    bench = Bench()
    bench.desk.put(wake("waiting"))
    closer = threading.Thread(target=bench.desk.close, args=(False,))
    closer.start()
    while not bench.dropped:  # the drop comes before the join
        pass
    bench.go.set()
    closer.join(5)
    assert bench.dropped == [("waiting", "closed")] and bench.handled == ["blocker"]


def test_wakes_are_ordered_by_urgency_key():
    assert (
        wake("a", 1.0, priority=1).urgency < wake("b", 0.0).urgency < replace(wake("c", 0.0), view=wake("d", 1.0).view).urgency
    )
