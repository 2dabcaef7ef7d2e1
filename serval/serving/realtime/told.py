"""What clients are told: the events of OpenAI's realtime API, and Serval's own, ``serval.…``, which stock clients ignore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]


class ServerEvent(BaseModel):
    """One event; the session gives it its ``event_id`` as it goes out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    event_id: str = ""


class ErrorTold(BaseModel):
    """What went wrong with what the client sent."""

    type: Literal["invalid_request_error", "server_error", "permission_error", "rate_limit_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = Field(None, description="of the client's event that it is about")


class Error(ServerEvent):
    type: Literal["error"] = "error"
    error: ErrorTold


class SessionTold(ServerEvent):
    type: Literal["session.created", "session.updated"]
    session: Json


class RateLimits(ServerEvent):
    type: Literal["rate_limits.updated"] = "rate_limits.updated"
    rate_limits: list[Json]


class Cleared(ServerEvent):
    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class Committed(ServerEvent):
    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    item_id: str
    previous_item_id: str | None


class SpeechStarted(ServerEvent):
    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    item_id: str
    audio_start_ms: int


class SpeechStopped(ServerEvent):
    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    item_id: str
    audio_end_ms: int


class ItemTold(ServerEvent):
    """``previous_item_id`` is not there for one that was retrieved."""

    type: Literal["conversation.item.added", "conversation.item.done", "conversation.item.retrieved"]
    item: Json
    previous_item_id: str | None = None


class ItemDeleted(ServerEvent):
    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"
    item_id: str


class ItemTruncated(ServerEvent):
    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"
    item_id: str
    content_index: int = 0
    audio_end_ms: int


class Transcribed(ServerEvent):
    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    item_id: str
    content_index: int = 0
    transcript: str
    usage: Json


class NotTranscribed(ServerEvent):
    type: Literal["conversation.item.input_audio_transcription.failed"] = "conversation.item.input_audio_transcription.failed"
    item_id: str
    content_index: int = 0
    error: Json


class ResponseTold(ServerEvent):
    type: Literal["response.created", "response.done"]
    response: Json


class OutputItem(ServerEvent):
    type: Literal["response.output_item.added", "response.output_item.done"]
    response_id: str
    output_index: int = 0
    item: Json


class _Part(ServerEvent):
    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


class ContentPart(_Part):
    type: Literal["response.content_part.added", "response.content_part.done"]
    part: Json


class Delta(_Part):
    """A piece of text, of the words of sound, or of the sound itself in base64."""

    type: Literal["response.output_text.delta", "response.output_audio_transcript.delta", "response.output_audio.delta"]
    delta: str


class TextDone(_Part):
    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str


class TranscriptDone(_Part):
    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"
    transcript: str


class AudioDone(_Part):
    type: Literal["response.output_audio.done"] = "response.output_audio.done"


class Own(ServerEvent):
    """An event of Serval's own: its type begins with ``serval.``, and it has whatever fields it has."""

    model_config = ConfigDict(frozen=True, extra="allow")


def own(kind: str, fields: Mapping[str, Any]) -> Own:
    """``serval.<kind>`` with these fields."""
    return Own.model_validate({**fields, "type": f"serval.{kind}"})
