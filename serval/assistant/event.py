"""What Serval writes on the timeline: events that carry their evidence, and the typed facts they rest on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serval.media.box import Box
from serval.media.outline import CORNERS, Outline


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Record):
    """One thing seen, in one frame, that anyone can check again."""

    time: float
    frame: str = Field(description="sha256 of the frame, see `media.frame.Frame.sha256`")
    source: str = ""
    box: Box | None = None
    label: str = ""
    score: float = 0.0
    text: str = ""
    outline: Annotated[Outline, Field(max_length=CORNERS, description="around the person in the box")] = ()


class FactKind(StrEnum):
    WHO = "who"  # what is there
    COUNT = "count"
    PLACE = "place"
    CHANGE = "change"
    BEFORE = "before"
    AFTER = "after"
    TEXT = "text"
    TOUCHING = "touching"
    SCENE = "scene"
    TIME = "time"


class Fact(_Record):
    """One statement with its slots filled by code, never by a language model."""

    kind: FactKind
    subject: str = ""  # noun, singular: "person", "cup"
    count: int | None = None
    action: str = ""  # "appears", "leaves", "moves", "put", "taken" ...
    place: str = ""  # "on the left", "in the middle", "on the table"
    object: str = ""  # second noun: what is touched, rested on, moved towards
    text: str = ""  # text read in the picture, verbatim
    time: float = 0.0
    score: float = 0.0
    evidence: tuple[Evidence, ...] = ()


class GateState(_Record):
    """Why now: what the gate scored and what the policy made of it."""

    gate: str
    score: float
    threshold: float
    policy: str = ""  # "wake", "silent", "standby"
    why: str = ""
    words: tuple[str, ...] = Field((), description="the moment in a few words that thumbs are remembered by")
    untuned: float | None = Field(None, description="the score before thumbs moved it; None when none did")


class EventKind(StrEnum):
    UTTERANCE = "utterance"  # Serval spoke
    SOURCE = "source"  # opened, ended, lost, back, frozen, audio only, clock jump, dropped frames
    INSTRUCTION = "instruction"  # added, changed, removed, expired, acknowledged
    NOTE = "note"  # written summary kept when memory was made room in
    ANSWER = "answer"  # to a question


class Event(_Record):
    id: str
    kind: EventKind = EventKind.UTTERANCE
    source: str
    instruction: str | None = None
    t_start: float
    t_end: float
    said_at: float
    text: str
    data: dict[str, Any] = {}
    score: float = 0.0
    why_now: GateState | None = None
    facts: tuple[Fact, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    models: dict[str, str] = {}  # role -> part id with its hash
    answerer: str = ""
    verified: bool = True  # every claim of the text stands in the facts
    unverified: str = ""  # what a larger answerer added of its own
    answer_why: str = ""  # why other words than the answerer's own were heard, such as a rewrite that was refused
