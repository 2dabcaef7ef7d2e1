"""Answers to what is asked aloud: the way of `serval ask`, on what the watch has seen so far, and then the watch's answerer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serval.assistant.answers.answer import Answerer, Request
from serval.assistant.ask.answering import LabelsOf, Reply, ask
from serval.assistant.ask.past import Past
from serval.assistant.event import Event, EventKind
from serval.assistant.view import View
from serval.media.frame import Frame

_SIGHTINGS, _EVENTS = 50_000, 5_000  # that are remembered; what is older is left to `serval ask`


@dataclass(frozen=True)
class SpokenAnswer:
    """What is said to a question, and by whom. ``unverified`` is what a model saw that no fact holds."""

    reply: Reply
    by: str = "ask"
    unverified: str = ""


class Questions:
    """Answers questions about what was seen up to now. Frames are seen on one thread, questions answered on another.

    Args:
        answerer: asked about the newest picture where the record does not know, if it is one that sees pictures.
        labels_of: see `ask.answering.ask`.
    """

    def __init__(self, answerer: Answerer, labels_of: LabelsOf) -> None:
        self._answerer, self._labels_of = answerer, labels_of
        self._past = Past()
        self._newest: Frame | None = None

    def see(self, frame: Frame, view: View) -> None:
        """A frame, and what was made of it."""
        self._newest, past = frame, self._past
        past.add_view(view)
        if len(past.sightings) > _SIGHTINGS:  # a new list: whoever reads the old one goes on reading it
            past.sightings = past.sightings[_SIGHTINGS // 5 :]
            past.start = past.sightings[0].time

    def told(self, event: Event) -> None:
        """Something was said."""
        if event.kind is EventKind.UTTERANCE:
            self._past.events = [*self._past.events[-_EVENTS:], event]

    def answer(self, question: str, cancelled: Callable[[], bool] = lambda: False) -> SpokenAnswer:
        """``cancelled`` is polled between a model's tokens."""
        reply, newest = ask(self._past, question, self._labels_of), self._newest
        if reply.known or newest is None or self._answerer.name == "template":
            return SpokenAnswer(reply)
        request = Request(facts=(), time=newest.time, source=newest.source, question=question, frames=(newest,))
        said = self._answerer.answer(request, cancelled)
        return SpokenAnswer(reply, unverified=said.unverified, by=said.by if said.unverified else "ask")
