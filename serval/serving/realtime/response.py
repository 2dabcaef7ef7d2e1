"""One response as it is told: its events in their order, its sound no faster than it is heard, and what was heard of it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serval.serving.realtime.limits import RATE
from serval.serving.realtime.sound import Outgoing
from serval.serving.realtime.told import AudioDone, ContentPart, Delta, OutputItem, ResponseTold, ServerEvent, TextDone
from serval.serving.realtime.told import TranscriptDone as SpokenDone

AHEAD = 0.2
"""Seconds of sound that are at the client before they are heard: at the most so much plays on of an answer that was cut off."""

_BLOCK = RATE // 10  # samples of one event
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+")
_LONG = 240  # characters after which a sentence is spoken although it goes on

Status = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]


@dataclass(eq=False)
class _Sentence:
    """Words of which the sound comes: where it begins in the response's sound, and how long it is so far."""

    text: str
    begins: int | None = None
    samples: int = 0
    whole: bool = False


@dataclass(eq=False)
class Response:
    """See the module. It is silent until `begin`.

    Args:
        alerts: names of the alerts that it speaks, of one that nobody asked for.
        kept: whether its item is part of the conversation.
    """

    id: str
    item_id: str
    spoken: bool  # rather than written
    metadata: dict[str, str] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    kept: bool = True
    outgoing: Outgoing = field(default_factory=Outgoing)  # the form of its sound
    question: str = ""
    text: str = ""  # all of it so far
    status: Status = "in_progress"
    begun: bool = False
    moved: float = 0.0  # when anything came of it or went out last
    usage: dict[str, Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)  # what its words rest on
    details: dict[str, Any] | None = None
    limit: int | None = None  # milliseconds of its sound after which it was cut off
    _worded: bool = False  # no more words come
    _cut: int = 0  # characters of the text that are in sentences
    _sentences: list[_Sentence] = field(default_factory=list)
    _waiting: deque[_Sentence | NDArray[np.int16]] = field(default_factory=deque)
    _sent: int = 0  # samples
    _started: float = 0.0  # when its sound began to be heard, leaving out silences in which none was there

    # -- what comes ---------------------------------------------------------------------------------------------------

    def begin(self) -> Iterator[ServerEvent]:
        """It has the floor."""
        self.begun = True
        yield OutputItem(type="response.output_item.added", response_id=self.id, item=self.item())
        part = {"type": "audio", "transcript": ""} if self.spoken else {"type": "text", "text": ""}
        yield ContentPart(type="response.content_part.added", response_id=self.id, item_id=self.item_id, part=part)
        if self.text and not self.spoken:
            yield self._delta("response.output_text.delta", self.text)

    def words(self, piece: str) -> Iterator[ServerEvent]:
        """More of its text."""
        self.text += piece
        if self.begun and not self.spoken and piece:
            yield self._delta("response.output_text.delta", piece)

    def worded(self) -> None:
        """That was all of its text."""
        self._worded = True

    def sentences(self) -> Iterator[tuple[int, str]]:
        """Sentences that are whole and were not given out before, with their numbers from 0."""
        while self.spoken:
            rest = self.text[self._cut :]
            found = _SENTENCE.search(rest)
            end = found.end() if found else len(rest) if self._worded else 0
            if not found and len(rest) > _LONG:
                end = rest.rfind(" ", 0, _LONG) + 1 or _LONG
            if not end:
                return
            self._cut += end
            self._sentences.append(_Sentence(rest[:end]))
            yield len(self._sentences) - 1, rest[:end].strip()

    def sound(self, number: int, samples: NDArray[np.int16]) -> None:
        """Sound (n,) of a sentence, after that of those before it."""
        self._marked(number)
        sentence = self._sentences[number]
        sentence.samples += len(samples)
        self._waiting.extend(samples[at : at + _BLOCK] for at in range(0, len(samples), _BLOCK))

    def voiced(self, number: int) -> None:
        """That was all of its sound."""
        self._marked(number)
        self._sentences[number].whole = True

    def _marked(self, number: int) -> None:
        sentence = self._sentences[number]
        if sentence.begins is None:
            before = self._sentences[number - 1] if number else None
            sentence.begins = (before.begins or 0) + before.samples if before else 0
            self._waiting.append(sentence)

    # -- what goes ----------------------------------------------------------------------------------------------------

    def due(self, now: float) -> Iterator[ServerEvent]:
        """Sound that is to be sent by ``now`` seconds, with its words."""
        while self.begun and self._waiting:
            head = self._waiting[0]
            if isinstance(head, _Sentence):
                self._waiting.popleft()
                yield self._delta("response.output_audio_transcript.delta", head.text)
                continue
            if self._sent / RATE > now - self._started + AHEAD and self._sent:
                return
            self._started = max(self._started, now - self._sent / RATE)
            self._sent, self.moved = self._sent + len(head), now
            self._waiting.popleft()
            yield self._delta("response.output_audio.delta", self.outgoing.written(head))

    def next_due(self) -> float | None:
        """When `due` has something again; None when that depends on what comes."""
        if self.begun and self._waiting:
            return self._started + self._sent / RATE - AHEAD
        return None

    @property
    def told(self) -> bool:
        """Whether all of it has gone out."""
        voiced = not self.spoken or (self._cut >= len(self.text) and all(each.whole for each in self._sentences))
        return self.begun and self._worded and voiced and not self._waiting

    @property
    def heard_by(self) -> float:
        """When the last of the sound that was sent has been heard, in seconds."""
        return self._started + self._sent / RATE if self._sent else 0.0

    def heard(self, now: float) -> int:
        """Milliseconds of its sound that were heard by then, as far as the server can know."""
        return round(1000 * max(0.0, min(self._sent / RATE, now - self._started))) if self._sent else 0

    def said(self) -> str:
        """The words that went out, and of sound that was cut off, those before that."""
        if not self.spoken:
            return self.text
        heard = self._sent if self.limit is None else min(self._sent, self.limit * RATE // 1000)
        words: list[str] = []
        for each in self._sentences:
            if each.begins is None or each.begins >= heard:
                break
            mine, left = each.text.split(), heard - each.begins
            words += mine if left >= each.samples and each.whole else mine[: len(mine) * left // max(1, each.samples)]
        return " ".join(words)

    @property
    def sent_ms(self) -> int:
        """Milliseconds of sound that were sent."""
        return self._sent * 1000 // RATE

    def finish(self, status: Status, details: dict[str, Any] | None = None) -> Iterator[ServerEvent]:
        """It is over, said to the end or not."""
        self.status, self.details = status, details
        self._waiting.clear()
        self._worded = True
        if self.begun:
            yield from self._parts_done()
        yield ResponseTold(type="response.done", response=self.view(self.begun))

    def _parts_done(self) -> Iterator[ServerEvent]:
        said = self.said() if self.status != "completed" else self.text
        if self.spoken:
            yield AudioDone(response_id=self.id, item_id=self.item_id)
            yield SpokenDone(response_id=self.id, item_id=self.item_id, transcript=said)
        else:
            yield TextDone(response_id=self.id, item_id=self.item_id, text=said)
        part = {"type": "audio", "transcript": said} if self.spoken else {"type": "text", "text": said}
        yield ContentPart(type="response.content_part.done", response_id=self.id, item_id=self.item_id, part=part)
        yield OutputItem(type="response.output_item.done", response_id=self.id, item=self.item())

    # -- what it is ---------------------------------------------------------------------------------------------------

    def item(self) -> dict[str, Any]:
        """Its message, as clients see it."""
        over = self.status != "in_progress"
        said = self.text if self.status == "completed" else self.said()
        content = {"type": "output_audio", "transcript": said} if self.spoken else {"type": "output_text", "text": said}
        return {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "completed" if self.status == "completed" else "incomplete" if over else "in_progress",
            "content": [content] if over else [],
        }

    def view(self, output: bool = False) -> dict[str, Any]:
        """Itself, as clients see it."""
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": self.status,
            "status_details": self.details,
            "output": [self.item()] if output else [],
            "output_modalities": ["audio" if self.spoken else "text"],
            "metadata": self.metadata or None,
            "usage": self.usage,
        }

    def _delta(
        self,
        kind: Literal["response.output_text.delta", "response.output_audio_transcript.delta", "response.output_audio.delta"],
        delta: str,
    ) -> ServerEvent:
        return Delta(type=kind, response_id=self.id, item_id=self.item_id, delta=delta)
