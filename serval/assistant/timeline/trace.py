"""What the gates made of each examined frame, whether or not anything was said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TraceRow:
    """What one gate made of one examined frame for one instruction, and what the policy did with it."""

    time: float
    source: str
    index: int  # of the frame in its source
    instruction: str | None
    gate: str
    score: float
    threshold: float
    action: str  # "wake", "silent", "standby" ...
    why: str


@dataclass(frozen=True)
class Trimmed:
    """Trace rows that were deleted to stay within the cap: how many, and up to which time of the run."""

    rows: int
    until: float
