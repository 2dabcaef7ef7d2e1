"""What a session waits for, in threads: words of answers, words of sound, and sound of words; one of each at most."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from serval.assistant.listening.activity import RATE as HEARD
from serval.serving.problems import Problem
from serval.serving.realtime.answers import Answers, Said
from serval.serving.realtime.effects import Answer, Speak, Transcribe
from serval.serving.realtime.hearing import Ears, Voice
from serval.serving.realtime.limits import RATE
from serval.serving.realtime.session import Session
from serval.serving.stream import Stream
from serval.weights import PartMissing

log = logging.getLogger(__name__)

Post = Callable[..., None]
"""Have a method of the session called in its own loop, with what is given and then the time."""

_MOST = 4.0  # seconds of sound that are made before they are sent
_BREATH = 0.1  # seconds between two looks at whether they were


class Lane:
    """Jobs that are done one after the other, in a thread that is there while there are any."""

    def __init__(self, name: str) -> None:
        self._name, self._jobs = name, deque[Callable[[], None]]()
        self._guard, self._busy = threading.Lock(), False

    def put(self, job: Callable[[], None]) -> None:
        with self._guard:
            self._jobs.append(job)
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._guard:
                if not self._jobs:
                    self._busy = False
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                log.exception("a job of a session failed")


class Work:
    """See the module.

    Args:
        post: see `Post`.
        stream: of the session, if it has one by then.
    """

    def __init__(
        self,
        session: Session,
        answers: Answers,
        ears: Ears,
        voice: Voice | None,
        post: Post,
        stream: Callable[[], Stream | None],
    ) -> None:
        self._session, self._answers, self._ears, self._voice = session, answers, ears, voice
        self._post, self._stream = post, stream
        self._wanted: set[str] = set()  # responses that go on
        self._sounding: dict[str, float] = {}  # seconds of sound that were made for them
        self._closed = threading.Event()
        self._thinking, self._hearing, self._speaking = Lane("serval-answer"), Lane("serval-ear"), Lane("serval-voice")

    def close(self) -> None:
        """Nobody wants anything any more."""
        self._closed.set()
        self._wanted.clear()

    def over(self, response: str) -> None:
        """Nobody wants more of it."""
        self._wanted.discard(response)
        self._sounding.pop(response, None)

    def answer(self, asked: Answer) -> None:
        """Find the words."""
        self._wanted.add(asked.response)

        def job() -> None:
            if self._cancelled(asked.response):
                return
            try:
                said = self._answers.answer(asked, self._stream(), lambda: self._cancelled(asked.response), words)
                failed = ""
            except Exception as error:
                said, failed = Said(), _why(error, "the model that answers is not on the server; its owner can fetch it")
            self._post(_ended, asked.response, said, failed)

        def words(piece: str) -> None:
            self._post(Session.words, asked.response, piece)

        self._thinking.put(job)

    def transcribe(self, sound: Transcribe) -> None:
        """Find out what was said."""

        def job() -> None:
            if self._closed.is_set():
                return
            try:
                words = self._ears.words(sound.samples, self._closed.is_set)
            except Exception as error:
                missing = isinstance(error, PartMissing)
                why = _why(error, "speech is not understood: the part for it is not on the server; its owner can fetch it")
                self._post(Session.not_transcribed, sound.item, "part_missing" if missing else "transcription_failed", why)
            else:
                self._post(Session.transcribed, sound.item, words, len(sound.samples) / HEARD)

        self._hearing.put(job)

    def speak(self, sentence: Speak) -> None:
        """Give it a voice."""
        voice = self._voice
        self._wanted.add(sentence.response)

        def job() -> None:
            if voice is None or self._cancelled(sentence.response):
                return
            failed = ""
            try:
                for block in voice.speak(sentence.text, lambda: self._cancelled(sentence.response)) if sentence.text else ():
                    self._sounding[sentence.response] = self._sounding.get(sentence.response, 0.0) + len(block) / RATE
                    self._post(Session.sound, sentence.response, sentence.number, block)
                    if not self._room(sentence.response):
                        return
            except Exception as error:
                failed = _why(error, "speech is off: its part is not on the server; its owner can fetch it")
            self._post(_voiced, sentence.response, sentence.number, failed)

        self._speaking.put(job)

    def _room(self, response: str) -> bool:
        """Wait until more sound is wanted; False if none is."""
        while not self._cancelled(response):
            sent = self._session.sent(response)
            if sent is None or self._sounding.get(response, 0.0) - sent < _MOST:
                return True
            self._closed.wait(_BREATH)
        return False

    def _cancelled(self, response: str) -> bool:
        return self._closed.is_set() or response not in self._wanted


def _ended(session: Session, response: str, said: Said, failed: str, now: float) -> list[Any]:
    return session.answered(response, now, whole=said.whole, usage=said.usage, failed=failed, record=said.record)


def _voiced(session: Session, response: str, number: int, failed: str, now: float) -> list[Any]:
    return session.spoken(response, number, now, failed)


def _why(error: Exception, missing: str) -> str:
    """What a client is told; the log is told the rest."""
    if isinstance(error, PartMissing):
        log.warning("%s", error)
        return missing
    if isinstance(error, Problem):
        return error.text
    log.error("a session's work failed", exc_info=error)
    return "something went wrong on the server"
