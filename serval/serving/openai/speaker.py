"""The model behind `/v1/chat/completions` and `/v1/responses`: the one of `serval chat`, for many who take turns."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from serval.conversation.messages import Media, Message
from serval.language.generation.stop_text import StopText
from serval.refusal import Refusal
from serval.serving.attention import Attention
from serval.serving.problems import Problem

if TYPE_CHECKING:
    from serval.conversation.tokenizer import Tokenizer
    from serval.language.generation.constraint import Constraint, ConstraintVocabulary
    from serval.language.generation.request import Step
    from serval.language.generation.sampling import Sampling
    from serval.language.vision_language.model import Seen
    from serval.serving.openai.counted import CountedPictures, CountedTransformers, CountedWords

USUAL = 1024  # tokens of a reply where nobody says how many

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Wish:
    """What one reply is to be.

    Attributes:
        media: what each media part of the messages shows.
        max_tokens: of the reply at the most; None for as many as there is room for, and `USUAL` at the most.
        logprobs: how many of the likeliest tokens are told with each; None for not even its own chance.
    """

    messages: Sequence[Message]
    sampling: Sampling
    media: Mapping[Media, Seen] = field(default_factory=dict)
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    constraint: Constraint | None = None
    logprobs: int | None = None


@dataclass(frozen=True)
class Piece:
    """Some words of a reply, with the token that brought them where it is told."""

    text: str
    step: Step | None = None


@dataclass(frozen=True)
class Said:
    """A whole reply."""

    text: str
    finish: Finish
    prompt_tokens: int
    tokens: int


class Speaker:
    """One model. Whoever wants words of it holds a turn of its `attention` meanwhile.

    Attributes:
        name: what clients call it.
        sees: whether pictures can be shown to it.
        told: whether it tells its tokens, and can be held to a form.
    """

    def __init__(self, name: str, model: CountedWords | CountedPictures | CountedTransformers) -> None:
        self.name, self.attention = name, Attention(1)
        self._model = model
        self.sees, self.told = not hasattr(model, "prompt_tokens"), hasattr(model, "tokenizer") or hasattr(model, "speech")
        self.fingerprint = model.model_id
        self._guard = threading.Lock()

    @classmethod
    def open(cls, chat: str) -> Speaker:
        """As `serval chat --model` opens it. Raises `PartMissing` or `Refusal` as that does."""
        from serval.encoders.tower_files import TowerFiles
        from serval.language.families import FAMILIES
        from serval.language.vision_language.config import FAMILIES as SEEING
        from serval.serving.openai.counted import CountedPictures, CountedTransformers, CountedWords

        name, path = speaker_name(chat), Path(chat)
        if chat == "smollm2":
            return cls(name, CountedWords.open())  # type: ignore[arg-type]  # it is one of the class that opens it
        kind = "" if path.suffix == ".gguf" else TowerFiles(path).config().get("model_type")
        if not kind or kind in FAMILIES:
            return cls(name, CountedWords.from_files(path))  # type: ignore[arg-type]
        if kind in SEEING:
            return cls(name, CountedPictures.open(path))  # type: ignore[arg-type]
        return cls(name, CountedTransformers.open(path))  # type: ignore[arg-type]

    @property
    def tokenizer(self) -> Tokenizer:
        """Of a model that tells its tokens."""
        found: Tokenizer = self._model.tokenizer if hasattr(self._model, "tokenizer") else self._model.speech.tokenizer  # type: ignore[union-attr]
        return found

    @property
    def vocabulary(self) -> ConstraintVocabulary:
        """What a `Constraint` for it is made of."""
        with self._guard:
            return self._vocabulary

    @cached_property
    def _vocabulary(self) -> ConstraintVocabulary:
        from serval.language.generation.constraint import ConstraintVocabulary

        return ConstraintVocabulary(self.tokenizer)

    def say(self, wish: Wish, cancelled: Callable[[], bool], on_piece: Callable[[Piece], None]) -> Said:
        """A reply, piece by piece.

        Raises:
            Problem: it is not for this model, or too long.
        """
        until, said, waiting, steps, polls = StopText(wish.stop), list[str](), list[str](), 0, 0

        def over() -> bool:
            nonlocal polls
            polls += 1
            return until.stopped or cancelled()

        def heard(text: str) -> None:
            waiting.append(until.add(text))
            if not self.told:
                given(None)

        def given(step: Step | None) -> None:
            nonlocal steps
            steps += step is not None
            text = "".join(waiting)
            waiting.clear()
            said.append(text)
            if text or (step is not None and wish.logprobs is not None):
                on_piece(Piece(text, step if wish.logprobs is not None else None))

        options: dict[str, Any] = {"cancelled": over, "on_text": heard, "sampling": wish.sampling}
        if self.told:
            options |= {"constraint": wish.constraint, "logprobs": wish.logprobs, "on_step": given}
        try:
            most, read = self._reply(wish, options)
        except Refusal as refusal:
            raise self._problem(refusal) from None
        waiting.append(until.end())
        given(None)
        text, tokens = "".join(said), steps if self.told else max(0, polls - 1)
        full = tokens >= most and not until.stopped and not (wish.constraint is not None and _is_json(text))
        return Said(text, "length" if full else "stop", read, tokens)

    def _reply(self, wish: Wish, options: dict[str, Any]) -> tuple[int, int]:
        """How many tokens could have come, and how many were read."""
        model: Any = self._model
        if self.sees:
            most = USUAL if wish.max_tokens is None else wish.max_tokens
            model.reply(wish.messages, wish.media, most, **options)
            return most, model.read
        read = model.prompt_tokens(wish.messages)
        most = max(1, min(USUAL, model.limit - read)) if wish.max_tokens is None else wish.max_tokens
        model.reply(wish.messages, most, **options)
        return most, read

    def _problem(self, refusal: Refusal) -> Problem:
        """What strangers are told: nothing of the model's files, and nothing that a library says."""
        if not self.told or self._model.model_id.split()[0] in str(refusal) or "/" in refusal.what:
            return Problem(400, "the conversation cannot be answered by this model", "messages")
        return Problem(400, f"{refusal.what}: {refusal.why}", "messages")


def speaker_name(chat: str) -> str:
    """What clients call the model of ``--chat``: no path of it is told."""
    return chat if chat == "smollm2" else Path(chat).resolve().name


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
