"""Scores for a model that speaks for itself, with its own mistakes before it: nobody puts it right in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from serval.evaluation.bootstrap import Interval, bootstrap
from serval.evaluation.streaming import Moment, score_triggers


@dataclass(frozen=True)
class FreeRun:
    """One stream that was watched.

    Attributes:
        happened: what was to be said, and when.
        said: what was said, and when. Only equal ``what`` can match; leave it empty to score time alone.
        seconds: of video.
        decisions: how often it was asked whether to speak.
        words: that it said.
        latencies: seconds of real time from each frame to its decision.
    """

    happened: tuple[Moment, ...]
    said: tuple[Moment, ...]
    seconds: float
    decisions: int
    words: int = 0
    latencies: tuple[float, ...] = ()


@dataclass(frozen=True)
class FreeScore:
    """Over several streams, each with its 95 % bootstrap interval over streams.

    Attributes:
        precision, recall, f1: of utterances, matched one to one as `score_triggers` does, within the tolerance.
        delay: mean seconds from what happened to its word, for those that match; negative when early.
        duplicates: share of utterances about something that had been said already.
        words: a minute of video.
        silence: share of decisions not to speak. Whoever never speaks is at 1, so it is no score of its own.
        latency_50, latency_95: percentiles of seconds from a frame to its decision.
    """

    precision: Interval
    recall: Interval
    f1: Interval
    delay: Interval
    duplicates: Interval
    words: Interval
    silence: Interval
    latency_50: Interval
    latency_95: Interval


def score_runs(runs: Sequence[FreeRun], *, tolerance: float, seed: int, rounds: int = 1000) -> FreeScore:
    """Score streams that were watched freely.

    Args:
        tolerance: seconds by which a word may be early or late. State it with the score.
        seed: of the bootstrap.

    Raises:
        ValueError: no streams.
    """
    found = [score_triggers(run.happened, run.said, tolerance=tolerance, seconds=run.seconds) for run in runs]
    hits, missed, duplicates, false = (
        np.array([getattr(each, name) for each in found], float) for name in ("hits", "missed", "duplicates", "false")
    )
    delays = np.array([sum(each.delays) for each in found], float)
    said, happened = hits + duplicates + false, hits + missed
    seconds, decisions, words = (
        np.array([getattr(run, name) for run in runs], float) for name in ("seconds", "decisions", "words")
    )
    latencies = [np.array(run.latencies) for run in runs]

    def share(
        top: NDArray[np.float64], bottom: NDArray[np.float64], empty: float = np.nan
    ) -> Callable[[NDArray[np.int64]], float]:
        def score(drawn: NDArray[np.int64]) -> float:
            whole = bottom[drawn].sum()
            return float(top[drawn].sum() / whole) if whole else empty

        return score

    def percentile(percent: float) -> Callable[[NDArray[np.int64]], float]:
        def score(drawn: NDArray[np.int64]) -> float:
            pooled = np.concatenate([latencies[each] for each in drawn])
            return float(np.percentile(pooled, percent)) if len(pooled) else np.nan

        return score

    scores = {
        "precision": share(hits, said, 1.0),
        "recall": share(hits, happened, 1.0),
        "f1": share(2 * hits, said + happened, 1.0),
        "delay": share(delays, hits),
        "duplicates": share(duplicates, said, 0.0),
        "words": share(60 * words, seconds),
        "silence": share(decisions - said, decisions),
        "latency_50": percentile(50),
        "latency_95": percentile(95),
    }
    return FreeScore(
        **{each.name: bootstrap(len(runs), scores[each.name], seed=seed, rounds=rounds) for each in fields(FreeScore)}
    )
