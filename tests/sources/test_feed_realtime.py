"""Real time: the newest picture wins, every loss has a reason and a count, and nothing is left running."""

import logging
import queue

import numpy as np
import pytest

from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.sources.clock import RealClock, VirtualClock
from serval.sources.feed import Feed
from serval.sources.source import NoteKind, SourceNote

pytestmark = pytest.mark.usefixtures("threads_end")
PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def held() -> VirtualClock:
    return VirtualClock(held=True)


@pytest.fixture
def remote(scripted):
    """A live source of which the test hands over every item, and a way to wait until the feed has them."""

    def make(name="cam"):
        inbox = queue.Queue()

        def script(source):
            while (item := inbox.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
                inbox.task_done()  # the feed has asked for the next one, so it holds this one

        source = scripted(name, script, live=True)
        source.inbox = inbox
        stop = source.close

        def close():
            stop()
            inbox.put(None)

        source.close = close

        def give(*items):
            for item in items:
                inbox.put(item)
            while inbox.unfinished_tasks:
                with inbox.all_tasks_done:
                    inbox.all_tasks_done.wait(0.01)

        source.give = give
        return source

    return make


def picture(time, source="cam", index=0):
    return Frame.from_rgb(PIXELS, source=source, index=index, time=time)


def note(time, kind=NoteKind.BROKEN, source="cam"):
    return SourceNote(kind, source, time, f"{source}: {kind} at {time}")


def test_a_file_plays_at_its_own_pace(at_times, held):
    feed = Feed([at_times("a", [0, 0.2, 0.4])], pace="realtime", fps=5, clock=held)
    items = feed.items()
    assert next(items).kind is NoteKind.OPENED
    assert next(items).time == 0
    for time in (0.2, 0.4):
        held.wait_for_sleepers(1)
        held.advance(0.2)
        assert next(items).time == time
    held.wait_for_sleepers(1)
    held.advance(0.2)
    assert next(items).kind is NoteKind.ENDED
    assert list(items) == []
    assert not feed.drops["a"]


def test_the_newest_picture_wins_and_the_others_are_counted_as_busy(at_times, held):
    feed = Feed([at_times("a", [index / 5 for index in range(60)])], pace="realtime", fps=5, clock=held)
    items = feed.items()
    next(items), next(items)
    for _ in range(6):
        held.wait_for_sleepers(1)
        held.advance(0.2)
    held.wait_for_sleepers(1)
    assert next(items).time == pytest.approx(1.2)
    assert feed.drops["a"] == {"busy": 5}
    feed.close()
    (told,) = items
    assert (told.kind, told.data) == (NoteKind.DROPPED, {"drops": {"busy": 5}})
    assert told.text == "a: 5 pictures could not be used in time (5 busy)"


def test_nothing_older_than_two_seconds_is_handed_on(remote, held):
    cam = remote()
    feed = Feed([cam], pace="realtime", fps=100, clock=held)
    items = feed.items()
    held.advance(5)
    cam.inbox.put(note(0))
    next(items)
    cam.give(picture(2.9), note(5))
    assert next(items).time == 5
    cam.give(picture(3.0))
    assert next(items).time == 3.0  # two seconds are still "now"
    assert feed.drops["cam"] == {"late": 1}
    feed.close()


def test_what_waits_for_its_turn_is_looked_at_again(remote, held):
    """While the watch works on the first source's picture, the second's grows old, and a newer one takes its place."""
    sources = [remote("a"), remote("b"), remote("c")]
    feed = Feed(sources, pace="realtime", fps=100, clock=held)
    for source in sources:
        source.inbox.put(picture(0, source.name))
    items = feed.items()
    first = next(items).source
    for source in sources:
        source.give()  # all three have been read by now
    b, c = (source for source in sources if source.name != first)
    held.advance(3)
    b.give(picture(3, b.name))
    shown = next(items)
    assert (shown.source, shown.time) == (b.name, 3)
    assert feed.drops[b.name] == {"busy": 1}
    assert feed.drops[c.name] == {"late": 1}
    feed.close()


def test_several_sources_share_fairly(remote, held):
    fast, slow = remote("fast"), remote("slow")
    feed = Feed([fast, slow], pace="realtime", fps=1000, clock=held)
    fast.inbox.put(note(0, source="fast"))
    items = feed.items()
    next(items)
    held.advance(1)
    slow.give(picture(0.5, "slow"))
    for index in range(50):
        fast.give(picture(0.5 + index / 1000, "fast"))
    assert [next(items).source for _ in range(2)] == ["slow", "fast"]
    assert feed.drops == {"fast": {"busy": 49}, "slow": {}}
    feed.close()


def test_drops_are_told_every_ten_seconds_at_most_and_at_the_end(remote, held):
    cam = remote()
    feed = Feed([cam], pace="realtime", fps=1000, clock=held)
    cam.inbox.put(note(0))
    items = feed.items()
    next(items)
    told = []

    def until_broken(now):
        for item in items:
            if not isinstance(item, Frame) and item.kind is NoteKind.BROKEN:
                return
            if not isinstance(item, Frame):
                told.append((now, item.kind, item.data["drops"]["busy"]))

    for now in range(1, 26):
        held.advance(1)
        cam.give(picture(now), picture(now + 0.01), note(now + 0.02))
        until_broken(now)
    feed.close()
    told += [(99, item.kind, item.data["drops"]["busy"]) for item in items]
    assert [when for when, _, _ in told] == [10, 20, 99]
    assert {kind for _, kind, _ in told} == {NoteKind.DROPPED}
    assert sum(count for _, _, count in told) == feed.drops["cam"]["busy"] == 25


def test_a_reader_that_raises_ends_with_a_note_and_without_its_words(remote, held, caplog):
    bad, good = remote("bad"), remote("good")
    feed = Feed([bad, good], pace="realtime", fps=5, clock=held)
    bad.inbox.put(RuntimeError("rtsp://user:secret@host/"))
    items = feed.items()
    with caplog.at_level(logging.DEBUG):
        told = next(items)
    assert (told.kind, told.source, told.text) == (NoteKind.BROKEN, "bad", "bad cannot be read any further")
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text
    good.give(picture(0, "good"))
    assert next(items).source == "good"  # the other goes on
    good.inbox.put(None)
    assert list(items) == []


def test_a_refusal_reaches_the_caller(remote, held):
    cam, other = remote("cam"), remote("other")
    feed = Feed([cam, other], pace="realtime", fps=5, clock=held)
    cam.inbox.put(Refusal("cam", "it is a playlist", "give the stream's own address"))
    with pytest.raises(Refusal, match="playlist"):
        list(feed.items())
    assert other.closed.is_set()


def test_waiting_notes_are_bounded_and_the_newest_stay(remote, held):
    cam = remote()
    feed = Feed([cam], pace="realtime", fps=5, clock=held)
    cam.inbox.put(note(0))
    items = feed.items()
    next(items)
    cam.give(*(note(time) for time in range(1, 1001)))
    cam.inbox.put(None)
    assert [item.time for item in items] == list(range(937, 1001))


def test_notes_and_pictures_of_one_source_keep_their_order(remote, held):
    cam = remote()
    feed = Feed([cam], pace="realtime", fps=100, clock=held)
    cam.inbox.put(note(0))
    items = feed.items()
    next(items)
    cam.give(note(0.1), picture(0.2), note(0.3, NoteKind.LOST))
    assert [next(items).time for _ in range(3)] == [0.1, 0.2, 0.3]
    feed.close()


@pytest.mark.parametrize("made", [RealClock, lambda: VirtualClock(held=True)])
def test_close_from_outside_ends_readers_that_sleep(at_times, made):
    feed = Feed([at_times("a", [0, 1000]), at_times("b", [0, 1000])], pace="realtime", fps=5, clock=made())
    items = feed.items()
    for _ in range(4):
        next(items)
    feed.close()
    feed.close()
    assert list(items) == []


def test_a_consumer_that_leaves_ends_the_readers(at_times):
    feed = Feed([at_times("a", [0, 1000])], pace="realtime", fps=5, clock=RealClock())
    for _ in feed.items():
        break


def test_a_file_that_is_read_more_slowly_than_it_plays_is_told_of_once_and_shown_now_and_then(remote, held):
    film = remote("film")
    film.live = False
    feed = Feed([film], pace="realtime", fps=100, clock=held)
    film.inbox.put(note(0, source="film"))
    items = feed.items()
    next(items)
    shown, stalled = [], []
    for second in range(1, 61):  # a quarter of its speed
        held.advance(1)
        film.give(picture(second / 4, "film"), note(second / 4 + 0.01, source="film"))
        for item in items:
            if isinstance(item, Frame):
                shown.append(second)
            elif item.kind is NoteKind.STALLED:
                stalled.append((second, item.text))
            elif item.kind is NoteKind.BROKEN:
                break
    feed.close()
    words = "film is read more slowly than it plays; most of it cannot be watched at its own pace"
    assert stalled == [(3, words)]
    assert shown == [1, 2, *range(8, 61, 6)]  # five seconds of nothing, then one
    assert feed.drops["film"] == {"late": 60 - len(shown)}


def test_a_live_source_that_is_late_is_shown_now_and_then_and_not_called_slow(remote, held):
    cam = remote()
    feed = Feed([cam], pace="realtime", fps=100, clock=held)
    cam.inbox.put(note(0))
    items = feed.items()
    next(items)
    kinds = set()
    shown = 0
    for second in range(10, 30):
        held.advance(1 if second > 10 else 10)
        cam.give(picture(second - 3), note(second))
        for item in items:
            shown += isinstance(item, Frame)
            kinds |= {item.kind} if isinstance(item, SourceNote) else set()
            if isinstance(item, SourceNote) and item.kind is NoteKind.BROKEN:
                break
    feed.close()
    assert shown == 3
    assert kinds == {NoteKind.BROKEN, NoteKind.DROPPED}


def test_a_clock_that_is_restarted_begins_at_zero():
    clock = RealClock()
    clock._start -= 4
    assert clock.now() >= 4
    clock.restart()
    assert 0 <= clock.now() < 4
