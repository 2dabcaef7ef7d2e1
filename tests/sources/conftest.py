"""Sources that do as they are told."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from serval.media.frame import Frame
from serval.sources.clock import VirtualClock
from serval.sources.source import NoteKind, SourceNote


def frame(source: str, index: int, time: float) -> Frame:
    return Frame.from_rgb(np.full((36, 64, 3), index * 7 % 256, np.uint8), source=source, index=index, time=time)


class Scripted:
    """A source that gives what its script yields; the script may wait, raise, or never end."""

    def __init__(self, name: str, script: Callable[["Scripted"], Iterator[Any]], *, live: bool = False) -> None:
        self.name, self.kind, self.live = name, "http" if live else "file", live
        self._script, self.closed = script, threading.Event()

    def items(self) -> Iterator[Frame | SourceNote]:
        return self._script(self)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(scope="session")
def scripted():
    return Scripted


@pytest.fixture(scope="session")
def at_times():
    """A source with pictures at the given times, and its opening and end."""

    def make(name: str, times, *, live: bool = False) -> Scripted:
        def script(source: Scripted) -> Iterator[Any]:
            times_ = list(times)
            yield SourceNote(NoteKind.OPENED, name, 0.0, f"{name} opened")
            for index, time in enumerate(times_):
                yield frame(name, index, time)
            yield SourceNote(NoteKind.ENDED, name, (times_[-1] if times_ else 0.0) + 0.001, f"{name} ended")

        return Scripted(name, script, live=live)

    return make


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Every thread that a test starts has ended after it."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(5.0)
    assert not [thread.name for thread in left if thread.is_alive()]
