"""`/v1/instructions`: what a stream is watched for. Changes are written to its file, which the watch reads again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from serval.assistant.instructions import store
from serval.assistant.instructions.instruction import Instruction, Target
from serval.assistant.instructions.understand import understand
from serval.assistant.meaning import embedder
from serval.encoders.eyes import available
from serval.refusal import Refusal
from serval.serving.problems import Problem
from serval.serving.service import Instructor, Served, Watcher
from serval.serving.stream import INSTRUCTIONS

router = APIRouter(prefix="/v1/instructions", tags=["instructions"])

Of = Annotated[str, Query(description="the stream's id")]


class NewInstruction(BaseModel):
    """What to watch for, and when it may speak."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=500)]
    priority: Annotated[int, Field(ge=-10, le=10)] = 0
    cooldown: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class Changed(BaseModel):
    """What is to be otherwise."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool


class ReadBack(BaseModel):
    """How words are understood."""

    text: str
    read_back: str
    cannot: str = Field("", description="why they cannot be watched for; nothing if they can")


class InstructionView(ReadBack):
    """An instruction in force."""

    id: str
    enabled: bool
    priority: int
    cooldown: float


@router.get("/read-back")
def read_back(person: Watcher, text: Annotated[str, Query(min_length=1, max_length=500)]) -> ReadBack:
    """How words would be understood."""
    return _understood(text)


@router.get("")
def listed(served: Served, person: Watcher, stream: Of) -> list[InstructionView]:
    """What a stream is watched for."""
    return [_view(each) for each in store.load(served.hub.folder(person, stream) / INSTRUCTIONS)]


@router.post("", status_code=201)
def added(served: Served, person: Instructor, stream: Of, wanted: NewInstruction) -> InstructionView:
    """Watch for one thing more."""
    path = served.hub.stream(person, stream).instructions
    if len(store.load(path)) >= served.options.limits.instructions:
        raise Problem(400, f"a stream has at most {served.options.limits.instructions} instructions")
    understood = _understood(wanted.text)
    if understood.cannot:
        raise Problem(400, understood.cannot, "text")
    try:
        return _view(store.add(path, wanted.text, priority=wanted.priority, cooldown=wanted.cooldown))
    except Refusal as refusal:
        raise Problem(400, refusal.why, "text") from None


@router.patch("/{instruction}")
def changed(served: Served, person: Instructor, stream: Of, instruction: str, wanted: Changed) -> InstructionView:
    """Switch one on or off."""
    path = served.hub.stream(person, stream).instructions
    return _view(_known(lambda: store.switch(path, instruction, wanted.enabled)))


@router.post("/{instruction}/acknowledge", status_code=204)
def acknowledged(served: Served, person: Instructor, stream: Of, instruction: str) -> Response:
    """Say that you have seen what it told."""
    path = served.hub.stream(person, stream).instructions
    _known(lambda: store.acknowledge(path, instruction))
    return Response(status_code=204)


@router.delete("/{instruction}", status_code=204)
def removed(served: Served, person: Instructor, stream: Of, instruction: str) -> Response:
    """Watch for it no longer."""
    path = served.hub.stream(person, stream).instructions
    _known(lambda: store.remove(path, instruction))
    return Response(status_code=204)


def _known(act: Callable[[], Instruction]) -> Instruction:
    try:
        return act()
    except Refusal as refusal:
        raise Problem(404, refusal.why) from None


def _understood(text: str) -> ReadBack:
    understanding = understand(text, embed=embedder(), abilities=available())
    nothing = understanding.target is Target.NOTHING
    return ReadBack(text=text, read_back=understanding.read_back, cannot=understanding.cannot if nothing else "")


def _view(instruction: Instruction) -> InstructionView:
    understood = _understood(instruction.text)
    return InstructionView(
        **understood.model_dump(),
        id=instruction.id,
        enabled=instruction.enabled,
        priority=instruction.priority,
        cooldown=instruction.cooldown,
    )
