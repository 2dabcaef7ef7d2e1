"""What an answerer is asked and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from serval.assistant.event import Fact
from serval.assistant.instructions.instruction import Instruction
from serval.media.frame import Frame


@dataclass(frozen=True)
class Request:
    """A wake: the facts gathered at a moment and the pictures they were gathered from."""

    facts: tuple[Fact, ...]
    time: float
    source: str = ""
    instruction: Instruction | None = None
    question: str = ""  # set when a person asked
    frames: tuple[Frame, ...] = ()  # keyframes, newest last
    said_before: tuple[str, ...] = ()  # last few utterances, newest last: do not repeat them
    seed: int = 0  # picks among equally good wordings; the same seed gives the same words


@dataclass(frozen=True)
class Answer:
    text: str
    by: str  # name of the answerer whose words these are
    verified: bool = True  # every claim stands in the facts
    unverified: str = ""  # what the answerer added that the facts do not hold
    why: str = ""  # e.g. why the rewrite was refused and the template spoke
    seconds: float = 0.0
    first_word_seconds: float = 0.0
    data: dict[str, object] = field(default_factory=dict)


class Answerer(Protocol):
    """Turns typed facts (and pictures) into words. ``cancelled`` is polled between tokens."""

    name: str
    models: dict[str, str]  # role -> id with hash

    def answer(self, request: Request, cancelled: Callable[[], bool] = ...) -> Answer: ...
