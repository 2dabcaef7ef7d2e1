"""`/v1/audio/transcriptions`: what is said in a sound or a video, with the recogniser of `serval watch --listen`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse

from serval.assistant.listening.activity import RATE
from serval.refusal import Refusal
from serval.serving.openai.opened import EARS, opened
from serval.serving.openai.running import GONE, ClientGone
from serval.serving.openai.transcript import Spoken, srt, transcribe, webvtt
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served

router = APIRouter(prefix="/v1/audio", tags=["openai"])

Shape = Literal["json", "text", "srt", "vtt", "verbose_json"]
_KNOWN = {"file", "model", "response_format", "language", "temperature", "prompt", "stream", "timestamp_granularities[]"}


@router.post("/transcriptions", response_model=None)
async def transcriptions(
    served: Served,
    person: Asker,
    request: Request,
    file: Annotated[UploadFile, File(description="a sound or a video file")],
    model: Annotated[str, Form()],
    response_format: Annotated[Shape, Form()] = "json",
    language: Annotated[str | None, Form(max_length=20)] = None,
    temperature: Annotated[float, Form()] = 0.0,
    prompt: Annotated[str | None, Form(max_length=10_000)] = None,
    stream: Annotated[bool, Form()] = False,
) -> Response:
    """The words of a file. They are English: the recogniser knows no other language."""
    models = opened(served)
    models.check(model, EARS)
    for name, asks in (
        ("language", language not in (None, "", "en", "english")),
        ("temperature", temperature != 0),
        ("prompt", bool(prompt)),
        ("stream", stream),
    ):
        if asks:
            raise Problem(400, f"this value of {name} is not supported here", name)
    form = await request.form()
    for name, value in form.multi_items():
        if name not in _KNOWN or (name.endswith("[]") and value != "segment"):
            shown = ascii(name)[1:-1][:60]
            raise Problem(400, f"{shown} is not supported here", shown)
    data = await file.read()

    def work(cancelled: Callable[[], bool], tell: Callable[[float | Spoken], None]) -> None:
        ears = models.ears()
        with models.turn(EARS, person):
            if cancelled():
                return
            try:
                sound = served.decoder.sound(data)  # in its turn: an hour of it takes 230 MB
            except Refusal as refusal:
                raise Problem(400, f"the sound: {refusal.why}", "file") from None
            tell(len(sound) / RATE)
            for each in transcribe(sound, ears, cancelled):
                tell(each)

    try:
        told = await models.run(person, work).all_for(request)
    except ClientGone:
        return Response(status_code=GONE)
    return _shaped(response_format, [each for each in told if isinstance(each, Spoken)], float(told[0]))  # type: ignore[arg-type]


def _shaped(shape: Shape, words: list[Spoken], seconds: float) -> Response:
    text = " ".join(each.text for each in words)
    if shape == "text":
        return PlainTextResponse(text + "\n")
    if shape == "srt":
        return PlainTextResponse(srt(words), media_type="application/x-subrip")
    if shape == "vtt":
        return PlainTextResponse(webvtt(words), media_type="text/vtt")
    content: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": round(seconds)}}
    if shape == "verbose_json":
        segments = [{"id": index, "start": each.start, "end": each.end, "text": each.text} for index, each in enumerate(words)]
        content |= {"task": "transcribe", "language": "english", "duration": round(seconds, 3), "segments": segments}
    return JSONResponse(content)
