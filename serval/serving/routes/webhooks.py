"""`/v1/webhooks`: other programs that are told of events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from serval.assistant.event import EventKind
from serval.refusal import Refusal
from serval.serving.problems import Problem
from serval.serving.service import Instructor, Served, Watcher
from serval.serving.webhooks import Webhook

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_EACH = 20  # of a person


class NewWebhook(BaseModel):
    """Where to tell, and what."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    kinds: list[EventKind] = [EventKind.UTTERANCE]


class WebhookView(BaseModel):
    """A webhook, and how it goes."""

    id: str
    url: str
    kinds: list[EventKind]
    waiting: int = Field(description="events that it was not told yet")
    lost: int = Field(description="events that waited for too long")


class MadeWebhook(WebhookView):
    """A new webhook, with the secret that signs what it is told; it is shown this once."""

    secret: str


@router.get("")
def listed(served: Served, person: Watcher) -> list[WebhookView]:
    """Your webhooks."""
    return [_view(each) for each in served.webhooks.held(person.id)]


@router.post("", status_code=201)
def added(served: Served, person: Instructor, wanted: NewWebhook) -> MadeWebhook:
    """Have another program told of your streams' events, from now on, each at least once."""
    if len(served.webhooks.held(person.id)) >= _EACH:
        raise Problem(429, f"there are {_EACH} webhooks, which is the most; remove one first")
    try:
        made = served.webhooks.add(person.id, wanted.url, wanted.kinds)
    except Refusal as refusal:
        raise Problem(400, f"{refusal.what}: {refusal.why}", "url") from None
    return MadeWebhook(**_view(made).model_dump(), secret=made.secret)


@router.delete("/{webhook}", status_code=204)
def removed(served: Served, person: Instructor, webhook: str) -> Response:
    """Tell it nothing more."""
    if not served.webhooks.remove(person.id, webhook):
        raise Problem(404, "there is no such webhook")
    return Response(status_code=204)


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(**webhook.model_dump(exclude={"owner", "secret", "created"}))
