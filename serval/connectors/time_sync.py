"""Sound and pictures on one clock: tokens of several streams in the same windows of time, at once or as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import floor, inf, nextafter
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Timed(NamedTuple):
    """Tokens of a stream, and when they were."""

    features: Tensor  # (tokens, width)
    times: Tensor  # (tokens,) float64 seconds, on the clock of all streams


class Window(NamedTuple):
    """What each stream had from ``start`` up to, and not at, ``end``; in the order of time."""

    start: float
    end: float
    tokens: Mapping[str, Timed]  # of every stream: one that was silent or absent has none


class TimeSync:
    """Several streams cut into the same half-open windows [start, end): each token is in one of them, and in one alone.

    - With ``period`` (seconds) windows start at ``origin`` + i · period: FAVOR's frames of half a second, Mirasol's snippets.
    - With ``leader`` they start where that stream has tokens, so what the others had goes with the frame before it: frames that
      lead their sound, as in VITA. What is earlier than the leader's first token is a window of its own.

    ``add`` tokens as they come, of any stream and in any order; ``advance`` to a time before which nothing is to come any more,
    and get the windows that are complete by then; ``finish``, and get the rest. So a window holds only what was before its
    end, and windows are the same however the streams came in pieces; tokens of a stream that are of one time keep the order in
    which they were added. For whole recordings there is ``synchronise``.

    Raises ``ValueError`` unless there is either a positive, finite period or a leader, which is one of the streams.
    """

    def __init__(
        self, widths: Mapping[str, int], *, period: float | None = None, origin: float = 0.0, leader: str | None = None
    ) -> None:
        if (period is None) == (leader is None) or not (leader in widths if period is None else 0 < period < inf):
            raise ValueError(f"Windows over {tuple(widths)} need a positive period, or a leader that is one of them.")
        self.widths, self.leader = dict(widths), leader
        self._period, self._origin = period, origin
        self._heard = -inf if period is None else origin
        self._start: float | None = None if period is None else origin  # of the window that is open
        self._pending: dict[str, list[Timed]] = {name: [] for name in widths}
        self._like = torch.zeros(0)

    def add(self, stream: str, features: Tensor, times: Tensor) -> None:
        """``features`` (tokens, width) were at ``times`` (tokens,) seconds.

        Raises ``ValueError`` for another width or number of times, for times that are not finite, and for tokens from before
        the origin, or from before what was advanced to, whose windows are gone.
        """
        times = times.detach().to("cpu", torch.float64)
        if features.shape != (len(times), self.widths[stream]) or not times.isfinite().all():
            raise ValueError(
                f"{stream}: {tuple(features.shape)} features of width {self.widths[stream]} at {len(times)} times."
            )
        if not len(times):
            return
        if float(times.min()) < self._heard:
            raise ValueError(
                f"{stream}: a token of {float(times.min()):g} s comes after all up to {self._heard:g} s was heard."
            )
        self._like = features
        self._pending[stream].append(Timed(features, times))

    def advance(self, now: float) -> list[Window]:
        """The windows that end at ``now`` or before; every token earlier than ``now`` has been added."""
        self._heard = max(self._heard, now)
        edges = self._led(now) if self._period is None else self._regular(now)
        if len(edges) < 2:
            return []
        self._start = edges[-1]
        cut = {name: self._cut(name, edges) for name in self._pending}
        return [
            Window(start, end, {name: tokens[number] for name, tokens in cut.items()})
            for number, (start, end) in enumerate(pairwise(edges))
        ]

    def finish(self) -> list[Window]:
        """What is left, up to the last token; nothing comes behind it. Where a stream leads, the last window has no end."""
        latest = max(self._times(), default=None)
        windows: list[Window] = []
        if latest is not None and self._period is not None:
            windows = self.advance(self._edge(self._number(latest) + 1))
        elif latest is not None:
            windows = self.advance(nextafter(latest, inf))
            start = min(self._times()) if self._start is None else self._start
            tokens = {name: self._cut(name, [start, inf])[0] for name in self._pending}
            windows.append(Window(start, inf, tokens))
        self._heard = inf
        return windows

    def _regular(self, now: float) -> list[float]:
        """From the open window's start to the last edge that is not after ``now``."""
        assert self._start is not None
        first, last = self._number(self._start), self._number(now) if now >= self._start else -1
        return [self._edge(number) for number in range(first, last + 1)]

    def _led(self, now: float) -> list[float]:
        """The same, where a stream leads."""
        assert self.leader is not None
        times = {time for part in self._pending[self.leader] for time in part.times.tolist() if time <= now}
        if self._start is None:
            if not times:
                return []
            self._start = min(self._times())
        return [self._start, *sorted(time for time in times if time > self._start)]

    def _edge(self, number: int) -> float:
        assert self._period is not None
        return self._origin + number * self._period

    def _number(self, time: float) -> int:
        """Of the window that holds ``time``, by the edges that windows have: a quotient alone may be rounded across one."""
        assert self._period is not None
        number = floor((time - self._origin) / self._period)
        while self._edge(number) > time:
            number -= 1
        while self._edge(number + 1) <= time:
            number += 1
        return number

    def _cut(self, stream: str, edges: Sequence[float]) -> list[Timed]:
        """The stream's tokens between each edge and the next; the rest stays."""
        parts = self._pending[stream]
        features = torch.cat([part.features for part in parts]) if parts else self._like.new_zeros(0, self.widths[stream])
        times = torch.cat([part.times for part in parts]) if parts else torch.zeros(0, dtype=torch.float64)
        if (times.diff() < 0).any():
            order = times.argsort(stable=True)
            features, times = features[order.to(features.device)], times[order]
        places = [0, *torch.searchsorted(times, torch.tensor(edges[1:], dtype=torch.float64)).tolist()]
        rest = Timed(features[places[-1] :], times[places[-1] :])
        self._pending[stream] = [rest] if len(rest.times) else []
        return [Timed(features[start:end], times[start:end]) for start, end in pairwise(places)]

    def _times(self) -> Iterator[float]:
        """Of all tokens that are pending."""
        return (time for parts in self._pending.values() for part in parts for time in part.times.tolist())


def synchronise(
    streams: Mapping[str, Timed], *, period: float | None = None, origin: float = 0.0, leader: str | None = None
) -> list[Window]:
    """Whole recordings in windows, as ``TimeSync`` makes them."""
    widths = {name: tokens.features.shape[1] for name, tokens in streams.items()}
    sync = TimeSync(widths, period=period, origin=origin, leader=leader)
    for name, tokens in streams.items():
        sync.add(name, *tokens)
    return sync.finish()


def padded(windows: Sequence[Window], stream: str, slots: int) -> tuple[Tensor, Tensor]:
    """A stream's tokens of each window, then zeros: (windows, slots, width), and (windows, slots) bool, True at tokens.

    FAVOR: ``torch.cat([padded(windows, "video", 32)[0], padded(windows, "audio", 32)[0]], dim=-1)``, where an absent stream
    is zeros. Raises ``ValueError`` where a window has more tokens than slots: none is dropped.
    """
    most = max((len(window.tokens[stream].times) for window in windows), default=0)
    if most > slots:
        raise ValueError(f"{stream}: a window has {most} tokens, for {slots} slots.")
    rows = [window.tokens[stream].features for window in windows]
    counts = torch.tensor([len(row) for row in rows])
    filled = torch.stack([functional.pad(row, (0, 0, 0, slots - len(row))) for row in rows])
    return filled, (torch.arange(slots) < counts[:, None]).to(filled.device)


def resampled(windows: Sequence[Window], stream: str, slots: int = 1) -> tuple[Tensor, Tensor]:
    """A stream's tokens of each window averaged to ``slots``: (windows, slots, width), and (windows,) bool, True with tokens.

    The tokens, in order, are parted evenly; where there are fewer than slots they stand in several. One slot is their mean, and
    as many slots as tokens are the tokens. A window without tokens is zeros.
    """
    rows = []
    for window in windows:
        features = window.tokens[stream].features
        if len(features):
            rows.append(functional.adaptive_avg_pool1d(features.T, slots).T)
        else:
            rows.append(features.new_zeros(slots, features.shape[1]))
    present = torch.tensor([len(window.tokens[stream].times) > 0 for window in windows], device=rows[0].device)
    return torch.stack(rows), present


class Interleaved(NamedTuple):
    """Tokens of several streams in the order of time."""

    features: Tensor  # (tokens, width)
    times: Tensor  # (tokens,) float64 seconds, the true ones
    streams: Tensor  # (tokens,) int64: which of the streams, as they were counted


def interleaved(streams: Mapping[str, Timed]) -> Interleaved:
    """All tokens of a window's, or whole, streams as one sequence; at the same time, the streams in the order given.

    Raises ``ValueError`` for streams of different widths.
    """
    widths = {tokens.features.shape[1] for tokens in streams.values()}
    if len(widths) != 1:
        raise ValueError(f"Streams of widths {sorted(widths)} cannot stand in one sequence.")
    features = torch.cat([tokens.features for tokens in streams.values()])
    times = torch.cat([tokens.times for tokens in streams.values()])
    numbers = torch.cat([torch.full((len(tokens.times),), number) for number, tokens in enumerate(streams.values())])
    order = times.argsort(stable=True)
    return Interleaved(features[order.to(features.device)], times[order], numbers[order])
