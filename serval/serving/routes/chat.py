"""`/v1/chat/completions`: a word with the model of `serval chat`, as OpenAI's clients speak."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from serval.conversation.tokenizer import Tokenizer
from serval.serving.openai.asked import Content, Function, Picking, StreamOptions, read_form, read_tools
from serval.serving.openai.opened import Opened, opened
from serval.serving.openai.replies import Asked, Told, begin, first_of, rest_of, trouble
from serval.serving.openai.running import GONE, ClientGone, Streamed, line
from serval.serving.openai.speaker import Piece, Said
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served

router = APIRouter(prefix="/v1/chat", tags=["openai"])

StopWords = Annotated[str, Field(min_length=1, max_length=200)]


class Tool(BaseModel):
    """A function that the client has."""

    type: Literal["function"]
    function: Function


class ChatRequest(Picking):
    """What OpenAI's clients send. What would be ignored though it asks for something is refused."""

    messages: Annotated[list[Content], Field(min_length=1, max_length=512)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    stop: StopWords | Annotated[list[StopWords], Field(max_length=16)] | None = None
    n: Annotated[int | None, Field(ge=1, le=8)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    response_format: Content | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=64)] = None
    tool_choice: str | Content | None = None

    def asked(self) -> Asked:
        """Raises `Problem` for what cannot be had."""
        self.refuse_others()
        if self.top_logprobs is not None and not self.logprobs:
            raise Problem(400, "top_logprobs goes with logprobs: true", "top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise Problem(400, "stream_options goes with stream: true", "stream_options")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Asked(
            self.messages,
            self,
            self.max_completion_tokens or self.max_tokens,
            stop,
            read_form(self.response_format, "response_format"),
            tools=read_tools(tuple(each.function for each in self.tools or ()), self.tool_choice),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            replies=self.n or 1,
        )


@router.post("/completions", responses={200: {"content": {"text/event-stream": {}}}}, response_model=None)
async def completions(served: Served, person: Asker, wanted: ChatRequest, request: Request) -> dict[str, Any] | Response:
    """Replies to a conversation, whole or as they come."""
    models = opened(served)
    models.check(wanted.model, models.speaker_name)
    running = begin(served, models, person, wanted.asked())
    answer = _Answer(models, wanted)
    try:
        first = await first_of(running, request)
        if wanted.stream:
            return Streamed(running, answer.lines(rest_of(running, first)))
        return answer.whole([first, *await running.all_for(request)])
    except ClientGone:
        return Response(status_code=GONE)


class _Answer:
    """What clients get of one request."""

    def __init__(self, models: Opened, wanted: ChatRequest) -> None:
        self._models, self._wanted = models, wanted
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": wanted.model,
        }
        self._calls: dict[int, str] = {}

    def whole(self, told: list[Told]) -> dict[str, Any]:
        """All replies at once."""
        ends = [(each, each.what) for each in told if isinstance(each.what, Said)]
        choices = []
        for each, said in ends:
            pieces = [it.what for it in told if it.number == each.number and isinstance(it.what, Piece)]
            message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
            if each.function is not None:
                call = {"name": each.function, "arguments": said.text}
                message |= {"content": None, "tool_calls": [{"id": self._call(each), "type": "function", "function": call}]}
            choices.append(
                {
                    "index": each.number,
                    "message": message,
                    "logprobs": self._logprobs(pieces),
                    "finish_reason": _reason(each, said),
                }
            )
        fingerprint = {"system_fingerprint": self._models.speaker().fingerprint}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": choices,
            "usage": _usage([said for _, said in ends]),
            **fingerprint,
        }

    async def lines(self, told: AsyncIterator[Told]) -> AsyncIterator[str]:
        """Server-Sent Events, as the replies come."""
        ends: list[Said] = []
        begun: set[int] = set()
        try:
            async for each in told:
                if each.number not in begun:
                    begun.add(each.number)
                    yield self._chunk(each.number, self._opening(each))
                if isinstance(each.what, Said):
                    ends.append(each.what)
                    yield self._chunk(each.number, {}, finish=_reason(each, each.what))
                elif each.function is not None:
                    delta = {"tool_calls": [{"index": 0, "function": {"arguments": each.what.text}}]}
                    yield self._chunk(each.number, delta, self._logprobs([each.what]))
                else:
                    yield self._chunk(each.number, {"content": each.what.text}, self._logprobs([each.what]))
        except Problem as problem:
            yield line(trouble(problem))
            return
        if self._wanted.stream_options is not None and self._wanted.stream_options.include_usage:
            yield line({**self._chunk_head(), "choices": [], "usage": _usage(ends)})
        yield line("[DONE]")

    def _opening(self, told: Told) -> dict[str, Any]:
        if told.function is None:
            return {"role": "assistant", "content": "", "refusal": None}
        call = {"index": 0, "id": self._call(told), "type": "function", "function": {"name": told.function, "arguments": ""}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    def _chunk_head(self) -> dict[str, Any]:
        head = {**self._head, "object": "chat.completion.chunk", "system_fingerprint": self._models.speaker().fingerprint}
        if self._wanted.stream_options is not None and self._wanted.stream_options.include_usage:
            head["usage"] = None
        return head

    def _chunk(self, number: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> str:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return line({**self._chunk_head(), "choices": [choice]})

    def _call(self, told: Told) -> str:
        return self._calls.setdefault(told.number, f"call_{secrets.token_hex(12)}")

    def _logprobs(self, pieces: list[Piece]) -> dict[str, Any] | None:
        if not self._wanted.logprobs:
            return None
        tokenizer = self._models.speaker().tokenizer
        steps = [each.step for each in pieces if each.step is not None]
        content = [
            {
                **_chance(tokenizer, each.token, each.logprob or 0.0),
                "top_logprobs": [_chance(tokenizer, *one) for one in each.top],
            }
            for each in steps
        ]
        return {"content": content, "refusal": None}


def _chance(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    return {
        "token": tokenizer.decode([token]),
        "logprob": max(logprob, -9999.0),
        "bytes": list(tokenizer.bytes_of(token)),
    }


def _reason(told: Told, said: Said) -> str:
    return "tool_calls" if told.function is not None and said.finish == "stop" else said.finish


def _usage(ends: list[Said]) -> dict[str, Any]:
    """The conversation is counted once, however many replies there are."""
    read, made = ends[0].prompt_tokens if ends else 0, sum(each.tokens for each in ends)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
