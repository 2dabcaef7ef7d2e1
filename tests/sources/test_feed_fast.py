"""Stored sources at full speed: merged by time, thinned on a grid, complete, and alike every time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.sources.clock import VirtualClock
from serval.sources.feed import Feed
from serval.sources.source import NoteKind, SourceNote

FLAT = np.zeros((4, 4, 3), np.uint8)


def run(sources, fps=5.0):
    feed = Feed(sources, pace="fast", fps=fps, clock=VirtualClock())
    return feed, list(feed.items())


def pictures(items, source):
    return [item.time for item in items if isinstance(item, Frame) and item.source == source]


def test_several_sources_are_merged_in_the_order_of_time(at_times):
    _, items = run([at_times("a", [0, 1, 2, 3]), at_times("b", [0.5, 1.5, 9.0]), at_times("c", [])])
    assert [item.time for item in items] == sorted(item.time for item in items)
    assert pictures(items, "a") == [0, 1, 2, 3]
    assert pictures(items, "b") == [0.5, 1.5, 9.0]
    ends = [item.source for item in items if isinstance(item, SourceNote) and item.kind is NoteKind.ENDED]
    assert ends == ["c", "a", "b"]


def test_at_the_same_moment_the_first_named_comes_first(at_times):
    _, items = run([at_times("z", [0, 1]), at_times("a", [0, 1])])
    assert [item.source for item in items if isinstance(item, Frame)] == ["z", "a", "z", "a"]


@pytest.mark.parametrize(("rate", "fps"), [(25, 5), (30, 5), (29.97, 4), (24, 5), (25, 10), (25, 3)])
def test_the_rate_is_kept_and_the_grid_does_not_drift(at_times, rate, fps):
    feed, items = run([at_times("a", [index / rate for index in range(int(60 * rate))])], fps)
    times = pictures(items, "a")
    assert len(times) == pytest.approx(60 * fps, abs=1)
    assert len(times) + feed.thinned["a"] == int(60 * rate)
    for tick, time in enumerate(times):  # each is the first picture at or after its tick
        assert tick / fps - 0.001 <= time < tick / fps + 1 / rate
    assert not feed.drops["a"]


def test_a_slower_source_keeps_every_picture(at_times):
    feed, items = run([at_times("a", [index / 2 for index in range(20)])], fps=5)
    assert len(pictures(items, "a")) == 20
    assert feed.thinned["a"] == 0


def test_the_same_rate_keeps_every_picture_in_spite_of_rounding(at_times):
    times = [round(index / 30, 3) for index in range(600)]  # stamps in milliseconds, as Matroska has them
    _, items = run([at_times("a", times)], fps=30)
    assert len(pictures(items, "a")) == 600


def test_a_gap_is_not_made_up_for(at_times):
    _, items = run([at_times("a", [0, 0.2, *(10 + index / 25 for index in range(50))])], fps=5)
    after = [time for time in pictures(items, "a") if time >= 10]
    assert all(later - earlier > 0.09 for earlier, later in itertools.pairwise(after))
    assert len(after) in (10, 11)


def test_arrival_times_that_waver_about_the_rate_cost_nothing(at_times):
    times = [index / 30 + 0.004 * (-1) ** index for index in range(1, 601)]
    _, items = run([at_times("a", times)], fps=30)
    assert len(pictures(items, "a")) >= 598


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.floats(0, 20), min_size=0, max_size=60).map(sorted), min_size=1, max_size=3),
    st.floats(0.5, 30),
)
def test_nothing_is_lost_and_every_run_is_alike(at_times, lists, fps):
    def once():
        feed, items = run([at_times(f"s{number}", times) for number, times in enumerate(lists)], fps)
        return feed, [(item.source, item.time, type(item).__name__) for item in items]

    feed, items = once()
    assert items == once()[1]
    assert [time for _, time, _ in items] == sorted(time for _, time, _ in items)
    for number, times in enumerate(lists):
        shown = [item for item in items if item[0] == f"s{number}" and item[2] == "Frame"]
        assert len(shown) + feed.thinned[f"s{number}"] == len(times)
        assert bool(shown) == bool(times)
        assert len(shown) <= (times[-1] if times else 0) * fps + 2


def test_a_live_source_cannot_be_hurried(at_times):
    with pytest.raises(Refusal, match="live"):
        Feed([at_times("a", [0], live=True)], pace="fast", fps=5, clock=VirtualClock())


def test_close_ends_it(at_times):
    sources = [at_times("a", []), at_times("b", [0])]
    sources[0].items = lambda: (Frame.from_rgb(FLAT, source="a", index=index, time=float(index)) for index in itertools.count())
    feed = Feed(sources, pace="fast", fps=5, clock=VirtualClock())
    items = feed.items()
    for _ in range(5):
        next(items)
    feed.close()
    feed.close()
    assert list(items) == []
    assert all(source.closed.is_set() for source in sources)
