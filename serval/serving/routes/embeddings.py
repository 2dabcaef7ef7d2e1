"""`/v1/embeddings`: sentences as vectors, by the encoder that compares meanings in the assistant."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from serval.encoders.minilm import MAX_TOKENS, WIDTH
from serval.serving.openai.asked import Asking
from serval.serving.openai.opened import EMBEDDER, opened
from serval.serving.openai.running import GONE, ClientGone
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served

router = APIRouter(prefix="/v1/embeddings", tags=["openai"])

_BLOCK = 32  # texts between two places where the client may have gone
Line = Annotated[str, Field(min_length=1, max_length=20_000)]
Vectors = NDArray[np.float32]


class EmbeddingsRequest(Asking):
    """What OpenAI's clients send. Of a text the first 256 tokens count."""

    input: Line | Annotated[list[Line], Field(min_length=1, max_length=512)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class Embedding(BaseModel):
    """The vector of one text, of length 1: a list of numbers, or float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """One vector for each text, in order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


@router.post("", response_model=Embeddings)
async def embeddings(served: Served, person: Asker, wanted: EmbeddingsRequest, request: Request) -> Embeddings | Response:
    """Vectors of texts."""
    wanted.refuse_others()
    if wanted.dimensions not in (None, WIDTH):
        raise Problem(400, f"this model's embeddings have {WIDTH} dimensions", "dimensions")
    models = opened(served)
    models.check(wanted.model, EMBEDDER)
    texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input

    def work(cancelled: Callable[[], bool], tell: Callable[[tuple[Vectors, int]], None]) -> None:
        encoder, counter = models.embedder(), models.embedder_tokens()
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            with models.turn(EMBEDDER, person):
                if cancelled():
                    return
                tell((encoder.embed(block), sum(min(each, MAX_TOKENS) for each in counter(block))))

    try:
        blocks = await models.run(person, work).all_for(request)
    except ClientGone:
        return Response(status_code=GONE)
    vectors, read = np.concatenate([each for each, _ in blocks]), sum(count for _, count in blocks)
    shown: Any = _base64 if wanted.encoding_format == "base64" else np.ndarray.tolist
    return Embeddings(
        data=[Embedding(index=index, embedding=shown(each)) for index, each in enumerate(vectors)],
        model=wanted.model,
        usage=EmbeddingsUsage(prompt_tokens=read, total_tokens=read),
    )


def _base64(vector: Vectors) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
