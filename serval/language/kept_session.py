"""The beginning of the last conversation, kept as it was read, so that the next one that begins alike goes on from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from serval.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor


class ForkableSession(Protocol):
    """A `Session` from which others can go on."""

    def read(self, ids: Sequence[int]) -> Tensor:
        """See `Session.read`."""
        ...

    def fork(self, length: int, capacity: int) -> ForkableSession:
        """Another session, of at most ``capacity`` tokens, that has read the first ``length`` tokens of this one."""
        ...


class KeptSession:
    """One session that is only ever forked, so that several threads may go on from it at once.

    A prompt is read in pieces, and taken over only up to where a piece ends. How many tokens are read at once shows in the
    rounding of their numbers; this way those depend on the prompt alone, whatever was read before it.
    """

    def __init__(self, begin: Callable[[int], ForkableSession], most: int) -> None:
        """
        Args:
            begin: a session that has read nothing, of the capacity given.
            most: tokens that are kept at the most; 0 keeps nothing.
        """
        self._begin, self._most, self._lock = begin, most, Lock()
        self._session: ForkableSession | None = None
        self._ids: tuple[int, ...] = ()

    def session(self, prompt: Sequence[int], cuts: Sequence[int], capacity: int) -> ForkableSession:
        """A session that has read ``prompt`` up to the last of ``cuts``.

        Args:
            cuts: where its pieces end, rising and above 0. Prompts that begin alike have to be cut alike that far.

        Raises:
            Refusal: that is more than ``capacity``.
        """
        ids, ends = tuple(prompt), [0, *cuts]
        with self._lock:
            kept, kept_ids = self._session, self._ids
        known = max(end for end in ends if end <= len(kept_ids) and ids[:end] == kept_ids[:end])
        session = self._taken_up(kept, known, capacity) if kept is not None and known else None
        if session is None:
            session, known = self._begin(capacity), 0
        for start, end in pairwise(ends):
            if start >= known:
                session.read(ids[start:end])
        keep = max(end for end in ends if end <= self._most)
        if keep > known or ids[:keep] != kept_ids[:keep]:
            beginning = self._taken_up(session, keep, keep)
            if beginning is None:
                return session
            with self._lock:
                self._session, self._ids = beginning, ids[:keep]
        return session

    def _taken_up(self, session: ForkableSession, length: int, capacity: int) -> ForkableSession | None:
        """None for a model that remembers by a state, and cannot go back to what it was at ``length``."""
        try:
            return session.fork(length, capacity)
        except Refusal:
            return None
