"""One budget for all streams: the most urgent first, fair among equals, and nobody waits for ever."""

import threading
import time

import pytest

from serval.serving.attention import Attention


class Bench:
    """Streams that ask for turns while the only place is taken; then the order in which they get it."""

    def __init__(self, attention):
        self.attention, self.order, self.threads = attention, [], []

    def wait(self, stream, priority=0):
        def turn():
            with self.attention.turn(stream, priority):
                self.order.append((stream, priority))

        before = self.attention.waiting
        self.threads.append(threading.Thread(target=turn, daemon=True))
        self.threads[-1].start()
        while self.attention.waiting == before:
            time.sleep(0.001)

    def finish(self):
        for thread in self.threads:
            thread.join(10)
        return self.order


@pytest.fixture
def now():
    return [0.0]


def test_the_most_urgent_first_then_in_order(now):
    attention = Attention(now=lambda: now[0])
    bench = Bench(attention)
    with attention.turn("first"):
        for stream, priority in (("a", 0), ("b", 2), ("c", 0), ("d", -1), ("e", 2)):
            bench.wait(stream, priority)
    assert [stream for stream, _ in bench.finish()] == ["b", "e", "a", "c", "d"]


def test_who_had_less_lately_goes_before(now):
    attention = Attention(now=lambda: now[0])
    with attention.turn("busy"):
        now[0] += 10
    bench = Bench(attention)
    with attention.turn("other"):
        bench.wait("busy")
        bench.wait("quiet")
    assert [stream for stream, _ in bench.finish()] == ["quiet", "busy"]
    assert attention.given["busy"].seconds == 10


def test_long_waiting_weighs_as_much_as_priority(now):
    attention = Attention(now=lambda: now[0])
    bench = Bench(attention)
    with attention.turn("first"):
        bench.wait("patient", 0)
        now[0] += 16
        bench.wait("loud", 3)
        bench.wait("louder", 4)
    assert [stream for stream, _ in bench.finish()] == ["louder", "patient", "loud"]


def test_turns_are_shared_fairly():
    """Four streams that always want one: nobody gets more than a few turns more than another."""
    attention, stop = Attention(), threading.Event()

    def greedy(stream):
        while not stop.is_set():
            with attention.turn(stream):
                time.sleep(0.001)

    threads = [threading.Thread(target=greedy, args=(name,), daemon=True) for name in "abcd"]
    for thread in threads:
        thread.start()
    while len(attention.given) < 4 or sum(each.turns for each in attention.given.values()) < 200:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join(10)
    turns = [each.seconds for each in attention.given.values()]
    assert min(turns) > 0.6 * max(turns)


def test_so_many_at_a_time_and_a_failure_gives_its_place_back():
    attention, inside, most = Attention(places=2), [], []

    def work(stream):
        try:
            with attention.turn(stream):
                inside.append(stream)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(stream)
                raise ValueError
        except ValueError:
            pass

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert max(most) <= 2 and attention.waiting == 0 and len(attention.given) == 20
    attention.forget("3")
    assert "3" not in attention.given
