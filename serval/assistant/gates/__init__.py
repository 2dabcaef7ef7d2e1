"""Gates by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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

NAMES = (
    "objects", "novelty", "text", "likeness", "everything", "learned", "learned:FILE", "system:FOLDER", "poll:SECONDS",
    "every:FRAMES",
)  # fmt: skip
TAUGHT = ("learned", "system")
"""Gates that were taught when to speak."""

Opener = Callable[[str, Understanding, Path], Gate]
"""A gate from the instruction's own words, what was understood of them, and a folder."""
OPENERS: dict[str, Opener] = {}
"""Kinds of gates that rooms behind this one bring: ``system`` is `serval.systems.gate`."""

__all__ = ["NAMES", "OPENERS", "TAUGHT", "Builder", "Gate", "Score", "build", "is_taught"]


class Builder(Protocol):
    """As `build`: whoever makes a watch may have its gates work somewhere else."""

    def __call__(
        self, name: str, understanding: Understanding, likeness_weights: NDArray[np.float32] | None = None, text: str = ""
    ) -> Gate: ...


def build(name: str, understanding: Understanding, likeness_weights: NDArray[np.float32] | None = None, text: str = "") -> Gate:
    """The gate called ``name``, for an instruction understood in this way.

    Args:
        name: one of `NAMES`, with a number in place of SECONDS or FRAMES, and weights of one's own in place of FILE.
        likeness_weights: ``[1000]`` over ImageNet tags; needed by "likeness".
        text: the instruction's own words; needed by those that were taught.

    Raises:
        Refusal: no such gate, or one that cannot be built.
    """
    kind, _, number = name.partition(":")
    if kind in ("poll", "every"):
        return _polling(name, kind, number)
    if kind in OPENERS and number:
        return OPENERS[kind](text, understanding, Path(number))
    if kind == "learned" and name != "learned:":
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


def is_taught(name: str | None) -> bool:
    """Whether a gate of this name was taught, and so must be shown all that it was taught with."""
    return name is not None and name.partition(":")[0] in TAUGHT


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
