"""A standing instruction, and what Serval understood of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serval.assistant.view import ChangeKind


class Target(StrEnum):
    """How an instruction is detected."""

    OBJECTS = "objects"  # changes of tracked objects: appears, leaves, moves, put, taken, counts
    SCENE = "scene"  # a new scene
    TEXT = "text"  # text in the picture
    LIKENESS = "likeness"  # the frame resembles the words (ConSE)
    EVERYTHING = "everything"  # whatever changes
    NOTHING = "nothing"  # cannot be watched for with these parts


class Understanding(BaseModel):
    """The compiled form of an instruction. Empty fields ask for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target
    kinds: tuple[ChangeKind, ...] = ()
    labels: tuple[str, ...] = ()  # any of these object labels; () is any object
    noun: str = ""  # as the person said it
    count_op: Literal["", ">=", "<=", "=="] = ""  # against how many of `labels` are in view
    count: int = 0
    on: str = ""  # what it must rest on, an object label
    side: str = ""  # "left", "right", "top", "bottom"
    text: str = ""  # case-folded words that the text read must contain; "" is any text
    query: str = ""  # sentence for LIKENESS
    gate: str  # name of the gate that will detect it
    read_back: str  # "I will tell you when a person comes into view. I detect it by ..."
    cannot: str = ""  # the honest reason, with target NOTHING
    confidence: float = 1.0


class Schedule(BaseModel):
    """When an instruction is awake, in local time. Empty ``days`` is every day; ``start`` > ``end`` runs over midnight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    start: str = Field("00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    end: str = Field("24:00", pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")


class Instruction(BaseModel):
    """A durable request in plain words. Only a person makes, changes or removes one; nothing seen in a picture ever does."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    text: str = Field(min_length=1, max_length=500)
    sources: tuple[str, ...] = ("*",)  # glob patterns of source names
    priority: int = Field(0, ge=-10, le=10)  # higher is answered first
    cooldown: float = Field(0.0, ge=0)  # seconds of silence after it spoke
    expires: datetime | None = None
    schedule: Schedule | None = None
    rearm: Literal["always", "once", "acknowledged"] = "always"  # after it spoke: go on, stop, or wait for an acknowledgement
    gate: str | None = None  # use this gate instead of the one the understanding names
    schema_: dict[str, Any] | None = Field(None, alias="schema")  # JSON Schema that the event's `data` must satisfy
    enabled: bool = True
    created: datetime | None = None
