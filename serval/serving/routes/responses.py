"""`/v1/responses`: the same model as `/v1/chat/completions`, in OpenAI's newer form. Nothing is stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from serval.serving.openai.asked import Content, Function, Picking, read_form, read_tools
from serval.serving.openai.items import messages_of
from serval.serving.openai.opened import opened
from serval.serving.openai.replies import Asked, begin, first_of, rest_of
from serval.serving.openai.response_events import ResponseEvents
from serval.serving.openai.running import GONE, ClientGone, Streamed
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served

router = APIRouter(prefix="/v1/responses", tags=["openai"])


class ResponseTool(Function):
    """A function that the client has."""

    type: Literal["function"]


class TextOptions(BaseModel):
    """What form the words have."""

    model_config = ConfigDict(extra="forbid")

    format: Content | None = None
    verbosity: Literal["medium"] | None = None


class ResponseRequest(Picking):
    """What OpenAI's clients send. What would be ignored though it asks for something is refused."""

    input: Annotated[str, Field(min_length=1)] | Annotated[list[Content], Field(min_length=1, max_length=512)]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    text: TextOptions | None = None
    tools: Annotated[list[ResponseTool] | None, Field(max_length=64)] = None
    tool_choice: str | Content | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None

    def asked(self) -> Asked:
        """Raises `Problem` for what cannot be had."""
        self.refuse_others()
        if self.previous_response_id is not None:
            text = "no response is stored here: send the whole conversation as input"
            raise Problem(400, text, "previous_response_id")
        if self.store:
            raise Problem(400, "no response is stored here: leave store out, or say false", "store")
        form = self.text.format if self.text is not None else None
        return Asked(
            messages_of(self.input, self.instructions),
            self,
            self.max_output_tokens,
            schema=read_form(form, "text.format"),
            form="text.format",
            tools=read_tools(tuple(self.tools or ()), self.tool_choice),
        )

    def echo(self) -> dict[str, Any]:
        """The fields that the answer shows again."""
        return {
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "model": self.model,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": self.temperature or 0.0,
            "text": {"format": (self.text.format if self.text is not None else None) or {"type": "text"}},
            "tool_choice": self.tool_choice or ("auto" if self.tools else "none"),
            "tools": [{"strict": True, "parameters": None, **each.model_dump(exclude_none=True)} for each in self.tools or ()],
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "truncation": "disabled",
        }


@router.post("", responses={200: {"content": {"text/event-stream": {}}}}, response_model=None)
async def responses(served: Served, person: Asker, wanted: ResponseRequest, request: Request) -> dict[str, Any] | Response:
    """A response, whole or as it comes."""
    models = opened(served)
    models.check(wanted.model, models.speaker_name)
    running = begin(served, models, person, wanted.asked())
    events = ResponseEvents(wanted.echo())
    try:
        first = await first_of(running, request)
        if wanted.stream:
            return Streamed(running, events.lines(rest_of(running, first)))
        return events.whole([first, *await running.all_for(request)][-1])
    except ClientGone:
        return Response(status_code=GONE)
