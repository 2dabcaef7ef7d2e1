"""What a person finds worth saying, learnt from their thumbs: a shift of the gate's score.

Logistic regression, a step for each thumb, each weight at its own rate (AdaGrad: Duchi, Hazan and Singer 2011). A moment is
told by a few words ("leaves", "person", "left edge", "small"); the chance that saying it is welcome is

    σ(z),   z = SHARP·(score − threshold) + bias / 2 + Σ weights of the moment's words / √(how many words)

which without a thumb is exactly the gate's own judgement. The step goes to the bias and to the words alike, so a person who
finds everything too much moves the threshold, and one who only minds one kind of thing moves that. One thumb moves the score of
any moment by at most STEP, all together by at most MOST. The gate's own threshold stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import exp, sqrt
from typing import Final

import numpy as np

from serval.assistant.gates.gate import Score
from serval.assistant.view import Change, View
from serval.encoders.labels import IMAGENET

SHARP: Final = 4.0  # how quickly a score above the threshold becomes certain
RATE: Final = 1.0
STEP: Final = 0.25  # how far one thumb moves a score at most
MOST: Final = 1.0  # ... and all of them
_BEFORE: Final = 0.3  # squared gradient that each weight is taken to have had, so that the first steps are no leaps
_LENGTH: Final = 2 * SHARP  # of all weights together
DOUBT: Final = 0.5  # share of the threshold below which nothing is there to be said, whatever somebody likes
_TAGS = 2
_BIAS, _SHARE = "always", 0.5


@dataclass(frozen=True)
class Taste:
    """What the thumbs for one instruction come to. ``weights`` are of words; "always" is the bias.

    ``paid`` are the sums of squared gradients, which further thumbs go by; judging needs the weights alone.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    paid: Mapping[str, float] = field(default_factory=dict)

    def shift(self, words: Iterable[str]) -> float:
        """How much more (above 0) or less a moment of these words is worth than its gate says; at most `MOST` either way."""
        return max(-MOST, min(MOST, self._sum(_shares(tuple(words))) / SHARP))

    def judged(self, score: Score, view: View, threshold: float) -> Score:
        """The score as this person would have it. What happened not, or hardly, stays as it is."""
        if score.value < DOUBT * threshold:
            return score
        words = words_of(view, score.because)
        shift = round(self.shift(words), 4)
        if not shift:
            return replace(score, words=words)
        value = min(1.0, max(0.0, round(score.value + shift, 4)))
        return replace(score, value=value, why=f"{score.why}; {shift:+.2f} by your thumbs", words=words, untuned=score.value)

    def after(self, thumb_up: bool, score: float, threshold: float, words: Iterable[str]) -> Taste:
        """What it is after one more thumb, for a moment of this gate's own score."""
        shares = _shares(tuple(words))
        z = SHARP * (score - threshold) + self._sum(shares)
        error = float(thumb_up) - 1 / (1 + exp(-max(-30.0, min(30.0, z))))
        paid = {**self.paid, **{name: self.paid.get(name, 0.0) + (error * share) ** 2 for name, share in shares.items()}}
        step = {name: RATE * error * share / sqrt(_BEFORE + paid[name]) for name, share in shares.items()}
        within = min(1.0, SHARP * STEP / sqrt(1 + _SHARE**2) / max(_length(step), 1e-12))
        moved = {**self.weights, **{name: self.weights.get(name, 0.0) + within * each for name, each in step.items()}}
        shorter = min(1.0, _LENGTH / max(_length(moved), 1e-12))
        return Taste({name: each * shorter for name, each in moved.items()}, paid)

    def _sum(self, shares: Mapping[str, float]) -> float:
        return sum(self.weights.get(name, 0.0) * share for name, share in shares.items())


def _shares(words: tuple[str, ...]) -> dict[str, float]:
    """How much each weight counts for a moment of these words: a vector no longer than √(1 + _SHARE²)."""
    return {_BIAS: _SHARE, **dict.fromkeys(words, 1 / sqrt(len(words) or 1))}


def _length(weights: Mapping[str, float]) -> float:
    return sqrt(sum(each * each for each in weights.values()))


def words_of(view: View, because: tuple[Change, ...]) -> tuple[str, ...]:
    """A moment in a few words, the same words for moments that are alike; of several changes, those of the surest."""
    if because:
        words = _of_change(max(because, key=lambda each: each.score))
        if len(because) > 1:
            words.append("with others")
    else:
        words = ["a level"]
    if view.percept.tags is not None:
        best = np.argsort(-view.percept.tags, kind="stable")[:_TAGS]
        words += [f"like {IMAGENET[place]}" for place in best if view.percept.tags[place] >= 0.1]
    return tuple(dict.fromkeys(words))


def _of_change(change: Change) -> list[str]:
    words = [str(change.kind)]
    if change.label:
        words += [change.label, f"{change.kind} {change.label}"]
    if change.side:
        words.append(f"{change.side} edge")
    if change.on:
        words.append(f"on {change.on}")
    if change.hand is not None:
        words.append("a hand")
    if change.box is not None:
        (x, y), area = change.box.center, change.box.area
        words += [f"column {min(2, int(x * 3))}", f"row {min(2, int(y * 3))}", _size(area)]
    if change.score:
        words.append("unsure" if change.score < 0.6 else "fairly sure" if change.score < 0.85 else "sure")
    return words


def _size(area: float) -> str:
    return "tiny" if area < 0.01 else "small" if area < 0.04 else "middling" if area < 0.15 else "large"
