"""From how much a moment matters to whether to speak: threshold, hysteresis, refractory time, standby. Pure and causal."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from serval.assistant.gates.gate import Score
from serval.assistant.view import Change

Action = Literal["silent", "standby", "wake"]
_HELD = 16  # changes that wait for the refractory time to end; more would not fit a sentence anyway


@dataclass(frozen=True)
class Decision:
    action: Action
    why: str = ""  # plain words, shown by `serval why`
    because: tuple[Change, ...] = ()  # what a wake rests on


@dataclass(frozen=True)
class PolicyState:
    armed: bool = True
    above_since: float = inf  # when the level rose over the threshold; infinite while it is below
    woke: float = -inf  # seconds on the run's clock
    held: tuple[Change, ...] = ()  # happened within the refractory time


@dataclass(frozen=True)
class Policy:
    """When a score becomes a wake.

    A level wakes once when it has stood at ``threshold`` or above for ``hold`` seconds, and again only after it fell below
    ``keep`` times the threshold. Momentary scores wake one by one. Neither does within ``refractory`` seconds of the last
    wake: a level is passed over, momentary ones are held back and told together when that time is over.
    """

    threshold: float
    keep: float = 0.6
    hold: float = 0.0
    refractory: float = 1.0

    def start(self) -> PolicyState:
        return PolicyState()

    def step(self, state: PolicyState, score: Score, time: float) -> tuple[PolicyState, Decision]:
        """The decision for a moment at ``time`` seconds, and the state for the next one."""
        resting = time - state.woke < self.refractory
        if score.momentary or state.held:
            return self._momentary(state, score, time, resting)
        above = score.value >= self.threshold
        since = min(state.above_since, time) if above else inf
        armed = state.armed or score.value < self.keep * self.threshold
        wait = PolicyState(armed, since, state.woke)
        if not above:
            return wait, _quiet(score)
        if not armed:
            return wait, Decision("silent", "it was told when it began, and has not ended since")
        if resting:
            return wait, Decision("silent", f"less than {self.refractory:g} s after the last wake")
        if time - since < self.hold:
            return wait, Decision("standby", f"it has not lasted {self.hold:g} s yet")
        return PolicyState(False, since, time), Decision("wake", score.why, score.because)

    def _momentary(self, state: PolicyState, score: Score, time: float, resting: bool) -> tuple[PolicyState, Decision]:
        above = score.momentary and score.value >= self.threshold
        because = (*state.held, *score.because)[-_HELD:] if above else state.held
        if resting and because:
            held = PolicyState(state.armed, inf, state.woke, because)
            return held, Decision("standby", f"held back: less than {self.refractory:g} s after the last wake")
        if resting or not (above or because):
            return PolicyState(state.armed, inf, state.woke), _quiet(score)
        why = score.why if above else "what was held back is told now"
        return PolicyState(state.armed, inf, time), Decision("wake", why, because)


def _quiet(score: Score) -> Decision:
    return Decision("standby", "something is under way and not settled yet") if score.standby else Decision("silent", score.why)
