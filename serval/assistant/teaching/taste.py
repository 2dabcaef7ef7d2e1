"""What a person finds worth saying, learnt from their thumbs: a shift of the gate's score.

Logistic regression, a step for each thumb (online gradient descent, Zinkevich 2003). A moment is told by a few words ("leaves",
"person", "from the left", "small"); the chance that saying it is welcome is

    σ(z),   z = SHARP·(score − threshold) + bias + Σ weights of the moment's words / √(how many words)

which without a thumb is exactly the gate's own judgement. A thumb moves z by at most 2·RATE, so the score by at most STEP; all
thumbs together by at most MOST. The gate's threshold stays where it was; only where the score falls against it changes.

The step goes to the bias and to the words alike, so a person who finds everything too much moves the threshold, and one who
only minds one kind of thing moves that.
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
RATE: Final = 0.5
STEP: Final = 2 * RATE / SHARP  # how far one thumb moves a score at most
MOST: Final = 1.0  # ... and all of them
DOUBT: Final = 0.5  # share of the threshold below which nothing is there to be said, whatever somebody likes
_TAGS = 2
_BIAS = "always"


@dataclass(frozen=True)
class Taste:
    """What the thumbs for one instruction come to. ``weights`` are of words; "always" is the bias."""

    weights: Mapping[str, float] = field(default_factory=dict)

    def shift(self, words: Iterable[str]) -> float:
        """How much more (above 0) or less a moment of these words is worth than its gate says; at most `MOST` either way."""
        return max(-MOST, min(MOST, self._sum(words) / SHARP))

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
        words = tuple(words)
        z = SHARP * (score - threshold) + self._sum(words)
        step = RATE * (float(thumb_up) - 1 / (1 + exp(-max(-30.0, min(30.0, z)))))
        moved = dict(self.weights)
        for name in (_BIAS, *words):
            share = 1.0 if name == _BIAS else 1 / sqrt(len(words))
            moved[name] = moved.get(name, 0.0) + step * share
        norm = sqrt(sum(each * each for each in moved.values()))
        limit = SHARP * MOST / sqrt(2)  # then bias and words together shift by no more than `MOST`
        return Taste({name: each * min(1.0, limit / norm) for name, each in moved.items()} if norm else moved)

    def _sum(self, words: Iterable[str]) -> float:
        words = tuple(words)
        each = sum(self.weights.get(name, 0.0) for name in words) / sqrt(len(words)) if words else 0.0
        return self.weights.get(_BIAS, 0.0) + each


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
