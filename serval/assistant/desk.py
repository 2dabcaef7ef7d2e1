"""Where wakes become words: one at a time, most urgent first, never in the way of the frames."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from serval.assistant.gates.gate import Score
from serval.assistant.policy import Decision
from serval.assistant.view import Change, View
from serval.assistant.watch import Watch
from serval.media.frame import Frame
from serval.refusal import Refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wake:
    """A moment at which a gate and its policy decided to speak."""

    id: str
    number: int  # how many times this watch woke before
    watch: Watch
    view: View
    frame: Frame
    score: Score
    decision: Decision
    because: tuple[Change, ...]

    @property
    def urgency(self) -> tuple[int, float]:
        return (-self.watch.instruction.priority, self.view.time)


class Desk:
    """Hands wakes to ``handle``: inline, or on one worker thread with at most ``capacity`` waiting.

    When it is full the least urgent wake is dropped, and one that waited longer than ``patience`` seconds of the
    stream is stale; both go to ``dropped`` with the reason, so that they are counted and never vanish.
    """

    def __init__(
        self,
        handle: Callable[[Wake], None],
        dropped: Callable[[Wake, str], None],
        *,
        threaded: bool,
        capacity: int = 8,
        patience: float = 10.0,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._handle, self._dropped = handle, dropped
        self._capacity, self._patience, self._now = capacity, patience, now
        self._waiting: list[Wake] = []
        self._changed = threading.Condition()
        self._closed = False
        self._busy = False
        self._worker = threading.Thread(target=self._work, name="serval-desk", daemon=True) if threaded else None
        if self._worker:
            self._worker.start()

    def put(self, wake: Wake) -> None:
        if self._worker is None:
            self._serve(wake)
            return
        with self._changed:
            self._waiting = sorted([*self._waiting, wake], key=lambda each: each.urgency)
            over = self._waiting[self._capacity :]
            del self._waiting[self._capacity :]
            self._changed.notify_all()
        for each in over:
            self._dropped(each, "busy")

    @property
    def waiting(self) -> int:
        with self._changed:
            return len(self._waiting) + self._busy

    def close(self, wait: bool = True) -> None:
        """Stop taking wakes; answer those that wait (or drop them, with ``wait=False``) and end the worker."""
        with self._changed:
            self._closed = True
            rest = [] if wait else self._waiting[:]
            if not wait:
                self._waiting.clear()
            self._changed.notify_all()
        for each in rest:
            self._dropped(each, "closed")
        if self._worker:
            self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                wake = self._waiting.pop(0)
                self._busy = True
            try:
                if self._now() - wake.view.time > self._patience:
                    self._dropped(wake, "stale")
                else:
                    self._serve(wake)
            except Refusal as refusal:  # the timeline cannot be written: the event loop, which writes it too, will end for it
                log.error("an answer is lost: %s", refusal)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _serve(self, wake: Wake) -> None:
        """Handle a wake; one bad answer must not end the watch."""
        try:
            self._handle(wake)
        except Refusal:
            raise
        except Exception:
            log.exception("an answer failed")
            self._dropped(wake, "failed")
