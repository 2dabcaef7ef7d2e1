"""`/health`, the one open route, and `/metrics`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """That it answers."""

    status: Literal["ok"] = "ok"


@router.get("/health")
def health() -> Health:
    """Whether the service answers; nothing else is told to strangers."""
    return Health()
