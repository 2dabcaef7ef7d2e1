"""`/v1/models`: the models that clients of the other endpoints may name."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from serval.serving.openai.opened import Known, opened
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served

router = APIRouter(prefix="/v1/models", tags=["openai"])


class Model(BaseModel):
    """One model."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "serval"


class Models(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("")
def listed(served: Served, person: Asker) -> Models:
    """The models that are on this machine."""
    return Models(data=[_shown(each) for each in opened(served).models()])


@router.get("/{model}")
def shown(served: Served, person: Asker, model: str) -> Model:
    """One of them."""
    for each in opened(served).models():
        if each.id == model:
            return _shown(each)
    raise Problem(404, "there is no such model", "model")


def _shown(known: Known) -> Model:
    return Model(id=known.id, created=known.created)
