"""A source whose pictures are handed in: one place, the rest dropped with a reason, silence and change told."""

import threading

import numpy as np
import pytest

from serval.media.frame import Frame
from serval.sources.clock import VirtualClock
from serval.sources.pushed import PushedSource
from serval.sources.source import NoteKind, SourceNote

GREY = np.full((36, 64, 3), 90, np.uint8)


@pytest.fixture
def source():
    return PushedSource("camera", VirtualClock(5.0))


def test_a_picture_has_the_time_at_which_it_was_pushed(source):
    items = source.items()
    assert next(items).kind is NoteKind.OPENED
    assert source.push(GREY) == (5.0, "")
    frame = next(items)
    assert isinstance(frame, Frame) and (frame.time, frame.index, frame.source) == (5.0, 0, "camera")
    assert np.array_equal(frame.rgb, GREY)


def test_while_the_place_is_taken_the_next_is_dropped(source):
    items = source.items()
    next(items)
    assert [source.push(GREY + shade)[1] for shade in (0, 1, 2)] == ["", "busy", "busy"] and source.refuses == "busy"
    assert np.array_equal(next(items).rgb, GREY), "the first is kept: what came later was never taken"
    assert source.refuses == "" and source.push(GREY)[1] == ""


def test_after_the_end_what_waits_is_still_seen(source):
    items = source.items()
    next(items)
    source.push(GREY)
    source.end()
    assert source.push(GREY)[1] == "closed"
    rest = list(items)
    assert [type(each) for each in rest] == [Frame, SourceNote] and rest[-1].kind is NoteKind.ENDED


def test_closing_ends_it_from_another_thread(source):
    closer = threading.Timer(0.05, source.close)
    closer.start()
    kinds = [each.kind for each in source.items()]
    assert kinds[0] is NoteKind.OPENED and kinds[-1] is NoteKind.ENDED and source.refuses == "closed"


def test_silence_is_told_and_so_is_another_size(monkeypatch):
    monkeypatch.setattr("serval.sources.pushed._LOOK", 0.01)
    clock = VirtualClock()
    source = PushedSource("camera", clock)
    items = source.items()
    next(items)
    clock.advance(30)
    assert next(items).kind is NoteKind.STALLED
    source.push(GREY)
    assert next(items).kind is NoteKind.BACK and isinstance(next(items), Frame)
    source.push(np.zeros((72, 128, 3), np.uint8))
    assert next(items).kind is NoteKind.RESOLUTION and next(items).width == 128
