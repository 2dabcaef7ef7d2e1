"""`/health`, the one open route, and `/metrics`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from serval.serving.metrics import exposition
from serval.serving.service import Admin, Served

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """That it answers."""

    status: Literal["ok"] = "ok"


@router.get("/health")
def health() -> Health:
    """Whether the service answers; nothing else is told to strangers."""
    return Health()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(served: Served, person: Admin) -> Response:
    """Counts of the whole service, for Prometheus."""
    return Response(exposition(served), media_type=CONTENT_TYPE_LATEST)
