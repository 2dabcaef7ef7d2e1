"""What happens, told to whoever listens: from any thread, to many readers, none of whom holds up another."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

Told = dict[str, Any]


class Reader:
    """One who listens. What waits for him is bounded: the oldest goes first, and he is told how much he missed."""

    def __init__(self, most: int) -> None:
        self._waiting: deque[Told] = deque(maxlen=most)
        self._missed, self._closed = 0, False
        self._loop, self._came = asyncio.get_running_loop(), asyncio.Event()
        self._guard = threading.Lock()

    def put(self, told: Told) -> None:
        """From any thread."""
        with self._guard:
            self._missed += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(told)
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._came.set)
        except RuntimeError:  # his loop has ended, and so has he
            self._closed = True

    async def next(self, patience: float | None = None) -> Told | None:
        """What comes next; None when nothing comes any more, or for ``patience`` seconds (see `over`)."""
        while True:
            with self._guard:
                if self._missed:
                    missed, self._missed = self._missed, 0
                    return {"type": "serval.missed", "count": missed}
                if self._waiting:
                    return self._waiting.popleft()
                self._came.clear()
            if self._closed:
                return None
            try:
                await asyncio.wait_for(self._came.wait(), patience)
            except TimeoutError:
                return None

    @property
    def over(self) -> bool:
        return self._closed and not self._waiting

    async def __aiter__(self) -> AsyncIterator[Told]:
        while (told := await self.next()) is not None:
            yield told


class Feed:
    """Readers come and go."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self._closed = False
        self._guard = threading.Lock()

    def reader(self, most: int) -> Reader:
        """A new one; call `leave` when he is done."""
        made = Reader(most)
        with self._guard:
            self._readers.add(made)
            closed = self._closed
        if closed:
            made.close()
        return made

    def leave(self, reader: Reader) -> None:
        with self._guard:
            self._readers.discard(reader)

    def tell(self, told: Told) -> None:
        with self._guard:
            readers = list(self._readers)
        for reader in readers:
            reader.put(told)

    def close(self) -> None:
        with self._guard:
            self._closed, readers = True, list(self._readers)
        for reader in readers:
            reader.close()
