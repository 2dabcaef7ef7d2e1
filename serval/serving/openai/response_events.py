"""A response of `/v1/responses` as it comes: the object, and the events by which it is told."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from serval.serving.openai.replies import Told
from serval.serving.openai.running import line
from serval.serving.openai.speaker import Piece, Said
from serval.serving.problems import Problem

Content = dict[str, Any]


class ResponseEvents:
    """One response.

    Args:
        echo: the fields of the request that the object shows again.
    """

    def __init__(self, echo: Content) -> None:
        self._echo = echo
        self._id, self._created, self._number = f"resp_{secrets.token_hex(16)}", int(time.time()), -1
        self._item, self._call = f"{secrets.token_hex(16)}", f"call_{secrets.token_hex(12)}"

    def whole(self, last: Told) -> Content:
        """The object when it is over."""
        said = last.what
        assert isinstance(said, Said)
        status = "completed" if said.finish == "stop" else "incomplete"
        usage = {
            "input_tokens": said.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.prompt_tokens + said.tokens,
        }
        details = None if status == "completed" else {"reason": "max_output_tokens"}
        output = [self._item_of(last.function, said.text, status)]
        return self._object(status, output=output, usage=usage, incomplete_details=details)

    async def lines(self, told: AsyncIterator[Told]) -> AsyncIterator[str]:
        """Server-Sent Events with OpenAI's names."""
        yield self._event("response.created", response=self._object("in_progress"))
        yield self._event("response.in_progress", response=self._object("in_progress"))
        begun = False
        try:
            async for each in told:
                if not begun:
                    begun = True
                    for event in self._opened(each.function):
                        yield event
                if isinstance(each.what, Piece):
                    yield self._delta(each.function, each.what.text)
                else:
                    for event in self._closed(each, each.what):
                        yield event
        except Problem as problem:
            error = {"code": "server_error" if problem.status >= 500 else "invalid_prompt", "message": problem.text}
            yield self._event("response.failed", response=self._object("failed", error=error))

    def _opened(self, function: str | None) -> list[str]:
        item = {**self._item_of(function, "", "in_progress"), **({} if function else {"content": []})}
        events = [self._event("response.output_item.added", output_index=0, item=item)]
        if function is None:
            events.append(self._of_item("response.content_part.added", function, content_index=0, part=_part("")))
        return events

    def _delta(self, function: str | None, text: str) -> str:
        if function is not None:
            return self._of_item("response.function_call_arguments.delta", function, delta=text)
        return self._of_item("response.output_text.delta", function, content_index=0, delta=text, logprobs=[])

    def _closed(self, told: Told, said: Said) -> list[str]:
        function, text, whole = told.function, said.text, self.whole(told)
        if function is not None:
            done = self._of_item("response.function_call_arguments.done", function, arguments=text, name=function)
            events = [done]
        else:
            events = [
                self._of_item("response.output_text.done", function, content_index=0, text=text, logprobs=[]),
                self._of_item("response.content_part.done", function, content_index=0, part=_part(text)),
            ]
        events.append(self._event("response.output_item.done", output_index=0, item=whole["output"][0]))
        return [*events, self._event(f"response.{whole['status']}", response=whole)]

    def _of_item(self, kind: str, function: str | None, **fields: Any) -> str:
        return self._event(kind, item_id=self._item_id(function), output_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> str:
        self._number += 1
        return line({"type": kind, "sequence_number": self._number, **fields}, kind)

    def _item_id(self, function: str | None) -> str:
        return f"{'msg' if function is None else 'fc'}_{self._item}"

    def _item_of(self, function: str | None, text: str, status: str) -> Content:
        head = {"id": self._item_id(function), "status": status}
        if function is not None:
            return {**head, "type": "function_call", "call_id": self._call, "name": function, "arguments": text}
        return {**head, "type": "message", "role": "assistant", "content": [_part(text)]}

    def _object(self, status: str, **fields: Any) -> Content:
        empty: Content = {"error": None, "incomplete_details": None, "output": [], "usage": None}
        head = {"id": self._id, "object": "response", "created_at": self._created, "status": status}
        return {**head, **empty, **self._echo, **fields}


def _part(text: str) -> Content:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
