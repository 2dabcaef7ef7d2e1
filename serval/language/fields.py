"""Reading a ``config.json`` that nobody vouches for: every field is of its kind and within reason, or the file is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serval.refusal import Refusal

MOST = {"hidden_size": 65_536, "intermediate_size": 524_288, "num_hidden_layers": 1_024, "vocab_size": 4_000_000}
MOST |= {"num_attention_heads": 1_024, "num_key_value_heads": 1_024, "head_dim": 4_096, "max_position_embeddings": 2**27}
MOST |= {"num_local_experts": 1_024, "num_experts": 1_024, "moe_intermediate_size": 524_288, "sliding_window": 2**27}
_LARGEST = 2**31
_REMEDY = "fetch the weights again"


class Fields:
    """The fields of a configuration, by name. Everything that asks raises `Refusal` naming the file and the field."""

    def __init__(self, content: Mapping[str, Any], name: str) -> None:
        self.content, self.name = content, name

    @classmethod
    def from_json(cls, path: Path) -> Fields:
        """Raises `Refusal`: missing, unreadable, or not an object."""
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise Refusal(path.name, (error.strerror or "it cannot be read").lower(), _REMEDY) from None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Refusal(path.name, "it is not a model's configuration", _REMEDY)
        return cls(content, path.name)

    def given(self, key: str) -> bool:
        """It is there, and is not null."""
        return self.content.get(key) is not None

    def whole(self, key: str, default: int | None = None) -> int:
        """A number from 1 to what is reasonable for ``key``."""
        value = self.content.get(key)
        value = default if value is None else value
        most = MOST.get(key, _LARGEST)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.refusal(f"its {key} is not a number from 1 to {most:,}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.content.get(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
            raise self.refusal(f"its {key} is not a positive number")
        return float(value)

    def maybe(self, key: str, default: float | None = None) -> float | None:
        """A positive number or none."""
        return self.number(key, default) if self.given(key) or default is not None else None

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.content.get(key, default)
        if not isinstance(value, bool | None):
            raise self.refusal(f"its {key} is not true or false")
        return bool(value)

    def word(self, key: str, default: str) -> str:
        """A text."""
        value = self.content.get(key)
        value = default if value is None else value
        if not isinstance(value, str):
            raise self.refusal(f"its {key} is not a name")
        return value

    def items(self, key: str, kind: type, length: int) -> list[Any] | None:
        """A list of ``length`` values, or None where it is not given."""
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != length or not all(isinstance(each, kind) for each in value):
            raise self.refusal(f"its {key} is not a list of {length}")
        return value

    def within(self, key: str) -> Fields:
        """The fields of an object within; none where it is not given."""
        value = self.content.get(key)
        if not isinstance(value, dict | None):
            raise self.refusal(f"its {key} is not an object")
        return Fields(value or {}, self.name)

    def refusal(self, why: str, remedy: str = _REMEDY) -> Refusal:
        """For what is wrong with this file."""
        return Refusal(self.name, why, remedy)
