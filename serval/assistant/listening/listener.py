"""The sound of one source, from samples to answers: activity, utterance, words, was it for Serval, and only then an answer."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from serval.assistant.ask.answering import Reply
from serval.assistant.event import Event, EventKind
from serval.assistant.listening.activity import RATE, Activity, Segmenter, Utterance
from serval.assistant.listening.addressed import Judge, Verdict
from serval.assistant.listening.answering import SpokenAnswer
from serval.assistant.listening.duplex import Action, Duplex
from serval.assistant.listening.recogniser import Recogniser
from serval.media.sound_track import Block
from serval.refusal import Refusal

log = logging.getLogger(__name__)

_HEARD = 4  # utterances that may wait for their words


class Track(Protocol):
    """Sound at 16 kHz on the clock of the pictures."""

    def blocks(self) -> Iterator[Block]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Heard:
    """An utterance with its words, what was decided about it, and what finding out has cost."""

    said: Utterance
    words: str
    verdict: Verdict
    seconds: float


class Listener:
    """Follows a source's sound as the watch goes on, and publishes an answer to each question that was for Serval.

    What was not costs its recognition and no word: it is counted, and left out of the timeline. Inline, a question is answered
    before the next frame is looked at, so that every run is alike. Threaded, one thread finds out what was said and another
    answers; a question that turns out to be for Serval cancels the answer under way between two tokens, anything else does not
    touch it (`Duplex`).

    Attributes:
        heard: utterances by what was decided: "addressed", "not addressed", "no words", "dropped".
    """

    def __init__(
        self,
        track: Track,
        *,
        source: str,
        activity: Activity,
        recogniser: Recogniser,
        judge: Judge,
        answer: Callable[[str, Callable[[], bool]], SpokenAnswer],
        publish: Callable[[Event], None],
        threaded: bool = False,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._track, self._blocks, self._ahead = track, track.blocks(), 0.0
        self._source, self._judge, self._answer, self._publish = source, judge, answer, publish
        self._segmenter, self._recogniser, self._now = Segmenter(activity), recogniser, now
        self._models = {**activity.models, **recogniser.models}
        self.heard = {"addressed": 0, "not addressed": 0, "no words": 0, "dropped": 0}
        self._duplex: Duplex[Heard] = Duplex()
        self._guard, self._hushed = threading.Lock(), set[int]()
        self._coming: queue.Queue[Utterance | None] = queue.Queue(_HEARD)
        self._speaking: queue.Queue[Action[Heard] | None] = queue.Queue()
        self._closed = False
        ends = {"serval-ear": self._ear, "serval-mouth": self._mouth} if threaded else {}
        self._threads = [threading.Thread(target=each, name=name, daemon=True) for name, each in ends.items()]
        for thread in self._threads:
            thread.start()

    def until(self, time: float) -> None:
        """Hear all that there was up to ``time`` seconds."""
        while self._ahead <= time and (block := next(self._blocks, None)) is not None:
            self._ahead = block.time + len(block.samples) / RATE
            for said in self._segmenter.hear(block.time, block.samples):
                self._take(said)

    def close(self) -> None:
        """What is being said is heard out and answered, and the sound let go. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        for said in self._segmenter.finish():
            self._take(said)
        if self._threads:
            self._coming.put(None)
            for thread in self._threads:
                thread.join()
            self._threads = []
        self._track.close()

    def _take(self, said: Utterance) -> None:
        if not self._threads:
            self._settle(self._words(said))
            return
        try:
            self._coming.put_nowait(said)
        except queue.Full:  # the sound goes on, whatever recognition does
            self.heard["dropped"] += 1
            log.warning("%s: what was said at %.1f s was not understood in time", self._source, said.start)

    def _words(self, said: Utterance) -> Heard:
        began = time.perf_counter()
        words = self._recogniser.words(said.samples)
        verdict = self._judge.judge(words, said)
        log.debug("%s %.2f-%.2f s: “%s”: %s", self._source, said.start, said.end, words, verdict.why)
        self.heard["addressed" if verdict.addressed else "not addressed" if words else "no words"] += 1
        return Heard(said, words, verdict, time.perf_counter() - began)

    def _settle(self, heard: Heard) -> None:
        """One request through both lanes; what is to be spoken is spoken, or given to the thread that speaks."""
        with self._guard:
            actions = [*self._duplex.heard(heard), *self._duplex.judged(heard.verdict.addressed)]
            for action in actions:
                if action.does == "hush":
                    self._hushed.add(action.turn.number)
        for action in actions:
            if action.does == "speak":
                if self._threads:
                    self._speaking.put(action)
                else:
                    self._speak(action)

    def _speak(self, action: Action[Heard]) -> None:
        heard, number = action.request, action.turn.number

        def cancelled() -> bool:
            return number in self._hushed

        try:
            if not cancelled():
                answer = self._answer(heard.verdict.question, cancelled)
                with self._guard:  # from here on it is told; a question that comes now waits for its own
                    told = not cancelled()
                if told:
                    self._publish(self._event(heard, answer))
        except Refusal:
            raise
        except Exception:
            log.exception("an answer failed")
        finally:
            with self._guard:
                self._duplex.ended(number)
                self._hushed.discard(number)

    def _event(self, heard: Heard, answer: SpokenAnswer) -> Event:
        reply: Reply = answer.reply
        said = heard.said
        return Event(
            id=f"answer-{self._source}-{said.start:.3f}",
            kind=EventKind.ANSWER,
            source=self._source,
            t_start=said.start,
            t_end=said.end,
            said_at=self._now() if self._now else max(said.end, self._ahead),
            text=reply.text,
            data={"question": heard.verdict.question, "heard": heard.words, "known": reply.known, "why": heard.verdict.why},
            evidence=reply.evidence,
            models=self._models,
            answerer=answer.by,
            verified=not answer.unverified,
            unverified=answer.unverified,
        )

    def _ear(self) -> None:
        while (said := self._coming.get()) is not None:
            try:
                self._settle(self._words(said))
            except Exception:
                log.exception("what was said is lost")
        self._speaking.put(None)

    def _mouth(self) -> None:
        while (action := self._speaking.get()) is not None:
            try:
                self._speak(action)
            except Refusal as refusal:  # the timeline cannot be written: the event loop, which writes it too, will end for it
                log.error("an answer is lost: %s", refusal)
