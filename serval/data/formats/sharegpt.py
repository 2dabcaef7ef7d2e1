"""Conversations as ShareGPT's were shared and LLaMA-Factory reads them: LLaVA's turns, media in lists, and calls of tools.

{"images": ["a.jpg"], "conversations": [{"from": "human", "value": "<image>…"}, {"from": "function_call", "value": …}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from serval.conversation.messages import MediaKind, Message, ToolCall
from serval.data.formats.layout import Flat
from serval.data.formats.llava import SPEAKERS, Dialogue, Places
from serval.data.formats.record import Format, Record
from serval.refusal import Refusal

_CALL = "function_call"


class _WithTools(Dialogue):
    def message(self, turn: Record, value: str, what: str, places: Places) -> Message:
        if turn.get("from") != _CALL:
            return super().message(turn, value, what, places)
        try:
            found = json.loads(value)
            calls = tuple(_call(each) for each in (found if isinstance(found, list) else [found]))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Refusal(what, "its call has no name and arguments in JSON", 'write {"name": …, "arguments": {…}}') from None
        return Message(role="assistant", tool_calls=calls)

    def turns(self, message: Message, kinds: Iterable[MediaKind], what: str) -> list[Record]:
        if not message.tool_calls:
            return super().turns(message, kinds, what)
        said = super().turns(message.model_copy(update={"tool_calls": ()}), kinds, what) if message.parts else []
        calls = [_written(call, what) for call in message.tool_calls]
        value = json.dumps(calls if len(calls) > 1 else calls[0], ensure_ascii=False)
        return [*said, {"from": _CALL, "value": value}]


def _call(found: Any) -> ToolCall:
    arguments = found["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(name=found["name"], arguments=text)


def _written(call: ToolCall, what: str) -> Record:
    try:
        return {"name": call.name, "arguments": json.loads(call.arguments)}
    except (ValueError, RecursionError):
        raise Refusal(what, f"the arguments of its call of {call.name[:40]} are not JSON", "write openai") from None


_SHAREGPT = _WithTools(
    "sharegpt",
    {"image": ("images", "image"), "video": ("videos", "video"), "audio": ("audios", "audio")},
    listed=True,
    speakers={**SPEAKERS, "observation": "tool", "tool": "tool", "function_response": "tool"},
)
SHAREGPT = Format("sharegpt", "ShareGPT's conversations", Flat(), _SHAREGPT.decode, _SHAREGPT.encode, roomy=True)
