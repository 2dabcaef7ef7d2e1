"""`/v1/audio/speech`: text as speech, with the voice of `serval speak`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from serval.assistant.voice.sound_file import MIME, Kind, pcm, sound_file
from serval.assistant.voice.waveform import Numbers
from serval.serving.openai.asked import Asking
from serval.serving.openai.opened import VOICE, opened
from serval.serving.openai.running import GONE, ClientGone, Streamed
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served

router = APIRouter(prefix="/v1/audio", tags=["openai"])

_SOUNDS: dict[str, Any] = {each: {} for each in MIME.values()}


class SpeechRequest(Asking):
    """What OpenAI's clients send."""

    input: Annotated[str, Field(min_length=1, max_length=4096)]
    voice: Literal["heart"] = "heart"
    response_format: Kind = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    stream_format: Literal["audio"] | None = None


@router.post("/speech", responses={200: {"content": _SOUNDS}}, response_class=Response)
async def speech(served: Served, person: Asker, wanted: SpeechRequest, request: Request) -> Response:
    """Speech of one voice at 24 kHz. As ``pcm`` it comes sentence by sentence, as each is ready."""
    wanted.refuse_others()
    models = opened(served)
    models.check(wanted.model, VOICE)

    def work(cancelled: Callable[[], bool], tell: Callable[[Numbers], None]) -> None:
        voice = models.voice()
        if not voice.phonemes(wanted.input):
            raise Problem(400, "there is nothing in it that can be said", "input")
        tell(np.zeros(0, np.float32))  # from here on nothing can be refused
        with models.turn(VOICE, person):
            for sentence in voice.speak(wanted.input, speed=wanted.speed):
                tell(sentence)
                if cancelled():
                    return

    running = models.run(person, work)
    kind, headers = MIME[wanted.response_format], {"Cache-Control": "no-store"}
    try:
        first = await running.next_for(request)
        assert first is not None
        if wanted.response_format == "pcm":
            return Streamed(running, _pcm(running), kind)
        sound = np.concatenate([first, *await running.all_for(request)])
    except ClientGone:
        return Response(status_code=GONE)
    return Response(await run_in_threadpool(sound_file, sound, wanted.response_format), media_type=kind, headers=headers)


async def _pcm(sentences: AsyncIterable[Numbers]) -> AsyncIterator[bytes]:
    async for each in sentences:
        yield pcm(each)
