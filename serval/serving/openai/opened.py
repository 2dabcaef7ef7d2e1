"""The models of the endpoints that OpenAI's clients know, each opened once, when somebody first needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from serval.refusal import Refusal
from serval.serving.attention import Attention
from serval.serving.keys import Person
from serval.serving.limits import Places
from serval.serving.openai.running import Running, Work
from serval.serving.openai.speaker import Speaker, speaker_name
from serval.serving.problems import Problem
from serval.serving.service import Service
from serval.weights import PartMissing, locate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from serval.assistant.listening.recogniser import WhisperRecogniser
    from serval.assistant.voice.voice import Voice
    from serval.encoders.minilm import MiniLM

EMBEDDER, EARS, VOICE = "minilm", "whisper", "hibari"
_FILES = {EMBEDDER: "model.safetensors", EARS: "model.safetensors", VOICE: "hibari.onnx", "smollm2": "model.safetensors"}
_AT_ONCE, _BY_ALL = 16, 64  # requests that are worked on or wait for a turn: of a person, and of everybody

Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Known:
    """A model that clients may name."""

    id: str
    created: int  # seconds since 1970: when its file came to this machine


class Opened:
    """See the module. Safe to share between threads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._places = Places(_AT_ONCE, _BY_ALL)
        self._guard = threading.Lock()
        self._guards: dict[str, threading.Lock] = {}
        self._parts: dict[str, Any] = {}
        self._attention = {name: Attention(1) for name in (EMBEDDER, EARS, VOICE)}

    def models(self) -> list[Known]:
        """Those that are on this machine."""
        chat = self._service.options.chat
        found = []
        for name in (speaker_name(chat), EMBEDDER, EARS, VOICE):
            try:
                file = locate(name, _FILES[name]) if name in _FILES else Path(chat)
                found.append(Known(name, int(file.stat().st_mtime)))
            except (PartMissing, Refusal, OSError):
                continue
        return found

    def check(self, model: str, right: str) -> None:
        """Raises `Problem` where a client names another model than the one that the endpoint has."""
        if model != right:
            asked = "".join(each if each.isprintable() else "?" for each in model[:100])
            raise Problem(404, f"the model {asked!r} does not exist here; this endpoint has {right!r}", "model")

    @property
    def speaker_name(self) -> str:
        return speaker_name(self._service.options.chat)

    def speaker(self) -> Speaker:
        """Raises `PartMissing`, or `Problem` where it cannot be opened."""
        return self._open("speaker", lambda: Speaker.open(self._service.options.chat))

    def embedder(self) -> MiniLM:
        """Raises `PartMissing`."""
        from serval.encoders.minilm import MiniLM

        return self._open(EMBEDDER, MiniLM.open)

    def embedder_tokens(self) -> Callable[[Sequence[str]], list[int]]:
        """What counts the tokens of texts as the embedder reads them. Raises `PartMissing`."""

        def opener() -> Tokenizer:
            from tokenizers import Tokenizer

            made = Tokenizer.from_file(str(locate(EMBEDDER, "tokenizer.json")))
            made.encode_special_tokens = True
            made.no_padding()
            made.no_truncation()
            return made

        tokenizer = self._open("tokens", opener)
        return lambda texts: [len(each.ids) for each in tokenizer.encode_batch(list(texts))]

    def ears(self) -> WhisperRecogniser:
        """Raises `PartMissing`."""
        from serval.assistant.listening.recogniser import WhisperRecogniser

        return self._open(EARS, WhisperRecogniser)

    def voice(self) -> Voice:
        """Raises `PartMissing`."""
        from serval.assistant.voice.voice import Voice

        return self._open(VOICE, Voice.open)

    def turn(self, name: str, person: Person) -> AbstractContextManager[None]:
        """A turn with one of the models, which works for one at a time."""
        return self._attention[name].turn(person.id)

    def run(self, person: Person, work: Work[Result]) -> Running[Result]:
        """Have something done for a person. Raises `Problem` where too much is being done already."""
        held = ExitStack()
        if not held.enter_context(self._places.place(person.id)):
            raise Problem(429, "too many requests are being worked on; wait for an answer")
        return Running(work, held.close)

    def _open(self, name: str, opener: Callable[[], Part]) -> Part:
        with self._guard:
            guard = self._guards.setdefault(name, threading.Lock())
        with guard:
            if name not in self._parts:
                try:
                    self._parts[name] = opener()
                except PartMissing:
                    raise
                except Refusal as refusal:
                    raise Problem(503, "the model of this endpoint cannot be opened") from refusal
            found: Part = self._parts[name]
            return found


def opened(service: Service) -> Opened:
    """Those of a service."""
    found: Opened = service.parts.setdefault("openai", Opened(service))
    return found
