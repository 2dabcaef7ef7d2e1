"""Messages of OpenAI's clients as a model here reads them: media decoded, sounds as words, tools as words."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from serval.conversation.formats import Limits, from_openai
from serval.conversation.messages import Media, Message, Text, count_media, media_of
from serval.media.apart import DecoderApart
from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.serving.problems import Problem
from serval.weights import PartMissing

if TYPE_CHECKING:
    from serval.assistant.listening.activity import Samples
    from serval.language.vision_language.model import Seen

LIMITS: Final = Limits(messages=512, parts=1024, characters=400_000, data=32_000_000)
_MOST: Final = {"image": 8, "video": 2, "audio": 4}
_FRAMES, _FPS, _SIDE = 32, 1.0, 640  # of a video


def read_messages(content: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages as `from_openai` takes them, with no more media than a conversation may have. Raises `Problem`."""
    try:
        messages = from_openai(content, LIMITS)
    except Refusal as refusal:
        raise Problem(400, f"{refusal.what}: {refusal.why}", "messages") from None
    for kind, number in count_media(messages).items():
        if number > _MOST[kind]:
            raise Problem(400, f"a conversation has at most {_MOST[kind]} parts of the kind {kind}", "messages")
    return messages


def shown_and_heard(
    messages: Sequence[Message], decoder: DecoderApart, hear: Callable[[Samples], str], *, sees: bool
) -> tuple[list[Message], dict[Media, Seen]]:
    """Messages of words and of pictures, and what those show.

    Args:
        hear: what turns sounds at 16 kHz into words; raises `PartMissing` where it cannot.
        sees: whether the model can be shown pictures.

    Raises:
        Problem: something cannot be decoded, or is not in the message itself.
    """
    for kind, number in count_media(messages).items():
        if number and kind != "audio" and not sees:
            raise Problem(400, f"the model of this server reads words and cannot see: leave out the {kind}", "messages")
    found = {part: _data(part) for part in media_of(messages)}  # all are looked at before any is decoded
    shown: dict[Media, Seen] = {}
    heard: dict[Media, str] = {}
    for part, data in found.items():
        try:
            if part.kind == "audio":
                heard[part] = hear(decoder.sound(data))
            elif part.kind == "image":
                shown[part] = decoder.picture(data)
            else:
                video = decoder.video(data, fps=part.fps or _FPS, most=_FRAMES, side=_SIDE)
                pairs = zip(video.arrays, video.times, strict=True)
                shown[part] = [Frame.from_rgb(rgb, index=at, time=time) for at, (rgb, time) in enumerate(pairs)]
        except PartMissing:  # which is a refusal, too
            raise Problem(400, "this server cannot hear: leave out input_audio", "messages") from None
        except Refusal as refusal:
            raise Problem(400, f"the {part.kind}: {refusal.why}", "messages") from None
    return _plain([_worded(each, heard) for each in messages]), shown


def _data(part: Media) -> bytes:
    """The bytes of a medium, which have to be in the message."""
    encoded = part.data
    if part.url is not None:
        head, comma, encoded = part.url.partition(",")
        if not head[:5].lower() == "data:" or not comma or not head.lower().endswith(";base64"):
            raise Problem(400, "media are read from data: URLs in base64; nothing is fetched from elsewhere", "messages")
    try:
        return base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, f"the {part.kind} is not in base64", "messages") from None


def _worded(message: Message, heard: Mapping[Media, str]) -> Message:
    """With the words of its sounds in their place, and speech about tools as plain words: most small models know no other."""
    parts = [Text(text=heard[part]) if isinstance(part, Media) and part.kind == "audio" else part for part in message.parts]
    calls = [{"function": call.name, "arguments": call.arguments} for call in message.tool_calls]
    parts += [Text(text=json.dumps(call, ensure_ascii=False)) for call in calls]
    role = message.role
    if role == "tool":
        role, parts = "user", [Text(text=f"The function{f' {message.name}' if message.name else ''} gave: "), *parts]
    return Message(role="system" if role == "developer" else role, parts=tuple(parts))


def _plain(messages: Sequence[Message]) -> list[Message]:
    """Nobody speaks twice in a row, which many templates refuse."""
    made: list[Message] = []
    for each in messages:
        if made and made[-1].role == each.role != "assistant":
            made[-1] = made[-1].model_copy(update={"parts": (*made[-1].parts, Text(text="\n\n"), *each.parts)})
        else:
            made.append(each)
    return made
