"""How much one realtime session may hold and ask for."""

from __future__ import annotations

from dataclasses import dataclass

RATE = 24_000
"""Samples a second of sound both ways: PCM, 16 bits, one channel, the lower byte first."""


@dataclass(frozen=True)
class SessionLimits:
    """Caps of a session; none of them can be switched off.

    Attributes:
        sound: seconds of sound that wait for their commit.
        items: of a conversation; of more, the oldest are deleted and the client is told.
        unheard: stretches of sound that may wait for their words.
        tokens: of a response at the most.
        idle: seconds without any message after which the session ends.
        requests: of Serval's own kind that may wait to be worked on.
    """

    sound: float = 120.0
    items: int = 200
    unheard: int = 4
    tokens: int = 1024
    idle: float = 900.0
    requests: int = 8
