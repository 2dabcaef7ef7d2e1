"""An architecture's own key-value pairs in a GGUF file: numbers within reason, or the file is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from serval.refusal import Refusal
from serval.weights.gguf_file import GGUFFile

_MOST = 2**31 - 1


@dataclass(frozen=True)
class Keys:
    """What ``source`` tells under ``llama.``, ``qwen2.`` …; all that asks raises `Refusal` naming the file and the key."""

    source: GGUFFile
    architecture: str

    def value(self, key: str) -> Any:
        """Of any kind; None where it is not given."""
        return self.source.values.get(f"{self.architecture}.{key}")

    def whole(self, key: str, default: int | None = None) -> int:
        """A number from 1 up."""
        value = self.source.get(f"{self.architecture}.{key}", int, default)
        if not 1 <= value <= _MOST:
            raise self.refusal(f"its {self.architecture}.{key} is not a number from 1 to {_MOST:,}")
        return int(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.source.get(f"{self.architecture}.{key}", float, default)
        if not (math.isfinite(value) and 0 < value < 1e12):
            raise self.refusal(f"its {self.architecture}.{key} is not a positive number")
        return shortest(value)

    def refusal(self, why: str, remedy: str = "take another conversion of the model") -> Refusal:
        """For what is wrong with this file."""
        return Refusal(self.source.name, why, remedy)


def shortest(value: float) -> float:
    """The shortest decimal number that is this 32-bit one: the file says 9.999999747378752e-06 where 1e-05 was meant."""
    return float(str(np.float32(value)))
