"""What clients send: the events of OpenAI's realtime API that are honoured here, and Serval's own, with their limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from serval.assistant.event import EventKind
from serval.serving.realtime.telephone import Law

TEXT = 8_000  # characters of a text
_PARTS = 16  # of an item
USUAL = "You are Serval, a helpful assistant that watches and talks. Answer in a sentence or two."
"""What the chat model is told where a client says nothing else."""

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.:-]+$")]
Words = Annotated[str, Field(max_length=TEXT)]
_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]
Modality = Literal["text", "audio"]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Given(BaseModel):
    """What a client gives. Of a stock client's fields those that mean nothing here are let pass, and are not shown back."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Pcm(Given):
    """Sound as it is used to."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000

    @property
    def law(self) -> Law | None:
        return None


class Telephone(Given):
    """Sound of the telephone, 8000 samples a second."""

    type: Literal["audio/pcmu", "audio/pcma"]

    @property
    def law(self) -> Law | None:
        return "mu" if self.type == "audio/pcmu" else "a"


Format = Annotated[Pcm | Telephone, Field(discriminator="type")]


class ServerVad(Given):
    """When the server finds out by itself who speaks when."""

    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=2_000)] = 300
    silence_duration_ms: Annotated[int, Field(ge=100, le=10_000)] = 500
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(Given):
    """That the client wants to read what was said."""

    model: Annotated[str, Field(max_length=64)] = "whisper"
    language: Literal["en"] | None = None


class AudioInput(Given):
    format: Format = Pcm()
    transcription: Transcription | None = None
    turn_detection: ServerVad | None = ServerVad()


class AudioOutput(Given):
    format: Format = Pcm()
    voice: Annotated[str, Field(max_length=64)] = "default"


class Audio(Given):
    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class _Spoken(Given):
    """What sessions and single responses have in common."""

    tools: list[Any] | None = None

    @field_validator("tools")
    @classmethod
    def _none(cls, tools: list[Any] | None) -> None:
        if tools:
            raise ValueError("functions are not offered here; instructions are added by serval.instruction.add")


class Settings(_Spoken):
    """A session's settings, as they are in force and shown."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str = ""
    model: Annotated[str, Field(max_length=64)] = "serval"
    instructions: Words = USUAL
    output_modalities: Annotated[tuple[Modality, ...], Field(min_length=1, max_length=1)] = ("text",)
    max_output_tokens: Annotated[int, Field(ge=1, le=100_000)] | Literal["inf"] = "inf"
    audio: Audio = Audio()


class Content(Given):
    """One part of an item that a client gives."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: Words | None = None
    transcript: Words | None = None
    audio: str | None = None


class Item(Given):
    """A message that a client puts into the conversation."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: Annotated[tuple[Content, ...], Field(min_length=1, max_length=_PARTS)]
    id: Name | None = None


class Wanted(_Spoken):
    """How a response is to be, where it is to be otherwise than the session."""

    instructions: Words | None = None
    output_modalities: Annotated[tuple[Modality, ...], Field(min_length=1, max_length=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=100_000)] | Literal["inf"] | None = None
    conversation: Literal["auto", "none"] = "auto"
    input: Annotated[tuple[Item, ...], Field(max_length=100)] | None = None
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] = {}

    @field_validator("metadata", mode="before")
    @classmethod
    def _empty(cls, given: Any) -> Any:
        return {} if given is None else given


class _Event(Given):
    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(_Event):
    type: Literal["session.update"]
    session: dict[str, Any]


class Append(_Event):
    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(_Event):
    type: Literal["input_audio_buffer.commit"]


class Clear(_Event):
    type: Literal["input_audio_buffer.clear"]


class ItemCreate(_Event):
    type: Literal["conversation.item.create"]
    item: Item
    previous_item_id: Name | None = None


class ItemRetrieve(_Event):
    type: Literal["conversation.item.retrieve"]
    item_id: Name


class ItemDelete(_Event):
    type: Literal["conversation.item.delete"]
    item_id: Name


class ItemTruncate(_Event):
    type: Literal["conversation.item.truncate"]
    item_id: Name
    content_index: Literal[0]
    audio_end_ms: Annotated[int, Field(ge=0, le=86_400_000)]


class ResponseCreate(_Event):
    type: Literal["response.create"]
    response: Wanted | None = None


class ResponseCancel(_Event):
    type: Literal["response.cancel"]
    response_id: Name | None = None


class Configure(_Event):
    """Serval's own settings of a session.

    Attributes:
        speak_alerts: whether what the watch says is spoken, too, as a response that nobody asked for.
        addressed: whether everything that is said is for Serval, or what begins with its name.
        gates: whether the gates' scores are told as they change.
    """

    type: Literal["serval.configure"]
    speak_alerts: bool | None = None
    addressed: Literal["always", "named"] | None = None
    gates: bool | None = None


class Attach(_Event):
    """Go on with a stream that there is, in place of one of the session's own."""

    type: Literal["serval.attach"]
    stream: Name


class InstructionAdd(_Event):
    type: Literal["serval.instruction.add"]
    text: Annotated[str, Field(min_length=1, max_length=500)]
    priority: Annotated[int, Field(ge=-10, le=10)] = 0
    cooldown: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class InstructionList(_Event):
    type: Literal["serval.instruction.list"]


class InstructionRemove(_Event):
    type: Literal["serval.instruction.remove"]
    instruction: Name


class TimelineQuery(_Event):
    type: Literal["serval.timeline.query"]
    since: Seconds | None = None
    until: Seconds | None = None
    kind: EventKind | None = None
    instruction: Name | None = None
    text: Annotated[str, Field(max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class Why(_Event):
    type: Literal["serval.why"]
    time: Seconds
    instruction: Name | None = None


Request = Attach | InstructionAdd | InstructionList | InstructionRemove | TimelineQuery | Why
"""What is asked of the hub rather than of the conversation."""

Stock = (
    SessionUpdate
    | Append
    | Commit
    | Clear
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)
ClientEvent = Annotated[Stock | Configure | Request, Field(discriminator="type")]
_EVENTS: TypeAdapter[Stock | Configure | Request] = TypeAdapter(ClientEvent)
KNOWN = frozenset(
    get_args(each.model_fields["type"].annotation)[0] for union in (Stock, Request) for each in get_args(union)
) | {"serval.configure"}


class Unreadable(Exception):  # noqa: N818 - an outcome, not a fault
    """What came is no event that is honoured. ``event_id`` is the client's, where it could be read."""

    def __init__(self, code: str, message: str, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param, self.event_id = code, message, param, event_id


def read(text: str) -> Stock | Configure | Request:
    """One message as an event.

    Raises:
        Unreadable: it is no JSON, of no known type, or a field is wrong.
    """
    try:
        return _EVENTS.validate_json(text)
    except ValidationError as error:
        raise unreadable(error) from None


def unreadable(error: ValidationError, under: str = "") -> Unreadable:
    """What a client is told: never what it has sent.

    Args:
        under: the field that was looked at.
    """
    first = error.errors(include_url=False, include_input=True)[0]
    kind, given = first["type"], first["input"]
    name = given.get("event_id") if isinstance(given, dict) else None
    event_id = name if isinstance(name, str) and len(name) <= 512 else None
    if kind == "json_invalid":
        return Unreadable("invalid_json", "the message is no JSON")
    if kind in ("union_tag_invalid", "union_tag_not_found") and not under and not first["loc"]:
        return Unreadable("invalid_event", "there is no event of this type", "type", event_id)
    where = ".".join(str(each) for each in first["loc"] if each not in KNOWN)
    where = ".".join(each for each in (under, where) if each)[:100]
    what = first["msg"].removeprefix("Value error, ")[:200]
    return Unreadable("invalid_value", f"{where or 'the message'}: {what}", where or None, event_id)
