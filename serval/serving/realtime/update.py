"""A change of a session's settings: what is given is changed, what is not stays."""

from __future__ import annotations

from typing import Any

from serval.serving.realtime.protocol import Settings

_OURS = ("id", "object")  # that no client changes


def merged(settings: Settings, given: dict[str, Any]) -> Settings:
    """The settings after a change.

    Raises:
        ValidationError: a field is wrong; nothing has changed.
    """
    mine = {name: value for name, value in given.items() if name not in _OURS}
    return Settings.model_validate(_over(settings.model_dump(mode="json"), mine))


def _over(old: dict[str, Any], new: dict[str, Any], depth: int = 4) -> dict[str, Any]:
    out = dict(old)
    for name, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(name), dict) and depth
        out[name] = _over(old[name], value, depth - 1) if both else value
    return out
