"""A standing instruction made ready to run: its understanding, its gate, its policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.assistant.gates import Builder, build
from serval.assistant.gates.gate import Gate, Score
from serval.assistant.instructions.instruction import Instruction, Target, Understanding
from serval.assistant.policy import Decision, Policy
from serval.assistant.teaching.taste import Taste
from serval.assistant.view import ChangeKind, View
from serval.encoders.percept import Looks

LOOKS = {
    Target.OBJECTS: Looks(detect=True),
    Target.SCENE: Looks(detect=True, features=True),
    Target.TEXT: Looks(features=True, text=True),
    Target.LIKENESS: Looks(features=True),
    Target.EVERYTHING: Looks(detect=True, features=True, hands=True),
    Target.NOTHING: Looks(),
}


CLOSER = {
    Target.OBJECTS: Looks(detect=True, features=True, hands=True),
    Target.SCENE: Looks(detect=True, features=True, text=True),
    Target.TEXT: Looks(detect=True, features=True, text=True),
    Target.LIKENESS: Looks(detect=True, features=True),
    Target.EVERYTHING: Looks(detect=True, features=True, hands=True),
    Target.NOTHING: Looks(),
}  # what the slow path looks for on the keyframe of a wake


@dataclass
class Watch:
    """One instruction on one source. ``step`` is causal; all that it remembers is in the two states."""

    instruction: Instruction
    understanding: Understanding
    gate: Gate
    policy: Policy
    taste: Taste = field(default_factory=Taste)  # of the person who asked
    _gate_state: Any = field(init=False)
    _policy_state: Any = field(init=False)

    def __post_init__(self) -> None:
        self._gate_state, self._policy_state = self.gate.start(), self.policy.start()

    def step(self, view: View, gathering: bool = False) -> tuple[Score, Decision]:
        """The gate's score and the policy's decision for a view.

        Args:
            gathering: the last wake is not spoken yet; whatever happens now is company for it, not held back.
        """
        self._gate_state, score = self.gate.step(self._gate_state, view)
        score = self.taste.judged(score, view, self.policy.threshold)
        if gathering and score.momentary and score.because and score.value >= self.policy.threshold:
            return score, Decision("wake", score.why, score.because)
        self._policy_state, decision = self.policy.step(self._policy_state, score, view.time)
        return score, decision


TAUGHT_LOOKS = Looks(detect=True, features=True, hands=True)  # what a gate that was taught is shown, whatever is asked of it


def looks_for(understandings: list[Understanding], *, taught: bool = False) -> Looks:
    """What the small encoders must be able to see for these instructions: the union of what each needs.

    Args:
        taught: a gate that was taught decides about one of them.
    """
    needs = [LOOKS[understanding.target] for understanding in understandings] + [TAUGHT_LOOKS] * taught
    hands = any({ChangeKind.PUT, ChangeKind.TAKEN} & set(understanding.kinds) for understanding in understandings)
    return Looks(
        detect=any(look.detect for look in needs),
        features=any(look.features for look in needs),
        hands=hands or any(look.hands for look in needs),
        text=any(look.text for look in needs),
    )


def looks_at_most(understandings: list[Understanding]) -> Looks:
    """`looks_for`, and what the closer looks at keyframes need besides."""
    both = [looks_for(understandings), *(CLOSER[understanding.target] for understanding in understandings)]
    return Looks(**{name: any(getattr(look, name) for look in both) for name in asdict(Looks())})


def make_watch(
    instruction: Instruction,
    understanding: Understanding,
    gate: str | None = None,
    likeness: Callable[[str], NDArray[np.float32]] | None = None,
    policy: Mapping[str, float] | None = None,
    taste: Taste | None = None,
    gates: Builder = build,
) -> Watch:
    """Build the gate named by the caller, else by the instruction, else by its understanding.

    Args:
        likeness: query sentence -> [1000] weights over ImageNet tags, for the likeness gate.
        taste: what the thumbs of the person who asked come to.
        gates: makes the gate.
    """
    weights = likeness(understanding.query) if likeness and understanding.target is Target.LIKENESS else None
    name = gate or instruction.gate or understanding.gate
    built = gates(name, understanding, likeness_weights=weights, text=instruction.text)
    return Watch(instruction, understanding, built, Policy(threshold=built.threshold, **(policy or {})), taste or Taste())
