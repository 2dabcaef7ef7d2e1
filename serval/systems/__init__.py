"""Published systems, one file each: it composes parts, names its stages, and says where it departs from the paper."""

from __future__ import annotations

from pathlib import Path

from serval.assistant.gates import OPENERS, Gate
from serval.assistant.instructions.instruction import Understanding


def offer_gates() -> None:
    """Make ``system:FOLDER`` a gate by name, see `serval.systems.gate`. PyTorch is not imported before one is opened."""
    OPENERS["system"] = _open


def _open(text: str, asked: Understanding, folder: Path) -> Gate:
    from serval.systems.gate import open_gate

    return open_gate(text, asked, folder)
