"""Gates by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serval.assistant.gates.everything import EverythingGate
from serval.assistant.gates.gate import Gate, Score
from serval.assistant.gates.likeness import LikenessGate
from serval.assistant.gates.novelty import NoveltyGate
from serval.assistant.gates.objects import ObjectsGate
from serval.assistant.gates.polling import EveryNthGate, PollingGate
from serval.assistant.gates.text import TextGate
from serval.assistant.instructions.instruction import Understanding
from serval.refusal import Refusal

NAMES = ("objects", "novelty", "text", "likeness", "everything", "learned", "learned:FILE", "poll:SECONDS", "every:FRAMES")

__all__ = ["NAMES", "Gate", "Score", "build", "is_learned"]


def build(name: str, understanding: Understanding, likeness_weights: NDArray[np.float32] | None = None, text: str = "") -> Gate:
    """The gate called ``name``, for an instruction understood in this way.

    Args:
        name: one of `NAMES`, with a number in place of SECONDS or FRAMES, and weights of one's own in place of FILE.
        likeness_weights: ``[1000]`` over ImageNet tags; needed by "likeness".
        text: the instruction's own words; needed by "learned".

    Raises:
        Refusal: no such gate, or one that cannot be built.
    """
    kind, _, number = name.partition(":")
    if kind in ("poll", "every"):
        return _polling(name, kind, number)
    if is_learned(name):
        from serval.assistant.gates.learned.gate import WEIGHTS, open_gate  # PyTorch, which no other gate needs

        return open_gate(text, understanding, build(understanding.gate, understanding), Path(number) if number else WEIGHTS)
    if name == "objects":
        return ObjectsGate(understanding)
    if name == "text":
        return TextGate(understanding)
    if name == "novelty":
        return NoveltyGate()
    if name == "everything":
        return EverythingGate()
    if name == "likeness":
        if likeness_weights is None:
            raise Refusal("gate likeness", "it needs the text embedding, and that is off", "run: serval weights fetch minilm")
        return LikenessGate(likeness_weights)
    raise Refusal(f"gate {name}", "there is no such gate", f"choose one of: {', '.join(NAMES)}")


def is_learned(name: str | None) -> bool:
    """Whether a gate of this name was taught, and so must be shown all that it was taught with."""
    return name is not None and name.partition(":")[0] == "learned" and name != "learned:"


def _polling(name: str, kind: str, number: str) -> Gate:
    try:
        if kind == "every":
            count = int(number)
            return EveryNthGate(count) if 1 <= count <= 1_000_000 else _refuse(name)
        seconds = float(number)
        return PollingGate(seconds) if 0 < seconds <= 86_400 else _refuse(name)
    except ValueError:
        return _refuse(name)


def _refuse(name: str) -> Gate:
    raise Refusal(f"gate {name}", "its number is out of range", "write for example poll:5 (seconds) or every:30 (frames)")
