"""The model behind `/v1/chat/completions` and `/v1/responses`: the one of `serval chat`, for many who take turns."""

from __future__ import annotations

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
    from serval.language.chat_model import ChatModel
    from serval.language.generation.constraint import Constraint, ConstraintVocabulary
    from serval.language.generation.request import Spent, Step
    from serval.language.generation.sampling import Sampling
    from serval.language.vision_language.chat import SeeingModel
    from serval.language.vision_language.model import Seen

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

    def __init__(self, name: str, model: ChatModel | SeeingModel) -> None:
        self.name, self.attention = name, Attention(1)
        self._model = model
        self.sees, self.told = not hasattr(model, "prompt_tokens"), hasattr(model, "tokenizer") or hasattr(model, "speech")
        self.fingerprint = model.model_id
        self._guard = threading.Lock()

    @classmethod
    def open(cls, chat: str) -> Speaker:
        """As `serval chat --model` opens it. Raises `PartMissing` or `Refusal` as that does."""
        from serval.encoders.tower_files import TowerFiles
        from serval.language.chat_model import ChatModel
        from serval.language.families import FAMILIES
        from serval.language.vision_language.chat import open_seeing_model

        name, path = speaker_name(chat), Path(chat)
        if chat == "smollm2":
            return cls(name, ChatModel.open())
        kind = "" if path.suffix == ".gguf" else TowerFiles(path).config().get("model_type")
        if not kind or kind in FAMILIES:
            return cls(name, ChatModel.from_files(path))
        return cls(name, open_seeing_model(path))

    @property
    def tokenizer(self) -> Tokenizer:
        """Of a model that tells its tokens."""
        model: Any = self._model
        found: Tokenizer = model.tokenizer if hasattr(model, "tokenizer") else model.speech.tokenizer
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
        until, said, waiting = StopText(wish.stop), list[str](), list[str]()
        spent: list[Spent] = []

        def heard(text: str) -> None:
            waiting.append(until.add(text))
            if not self.told:
                given(None)

        def given(step: Step | None) -> None:
            text = "".join(waiting)
            waiting.clear()
            said.append(text)
            if text or (step is not None and wish.logprobs is not None):
                on_piece(Piece(text, step if wish.logprobs is not None else None))

        options: dict[str, Any] = {"cancelled": lambda: until.stopped or cancelled(), "on_text": heard}
        options |= {"sampling": wish.sampling, "on_end": spent.append}
        if self.told:
            options |= {"constraint": wish.constraint, "logprobs": wish.logprobs, "on_step": given}
        try:
            self._reply(wish, options)
        except Refusal as refusal:
            raise self._problem(refusal) from None
        waiting.append(until.end())
        given(None)
        (end,) = spent
        full = end.reason == "length" and not until.stopped
        return Said("".join(said), "length" if full else "stop", end.read, end.made)

    def _reply(self, wish: Wish, options: dict[str, Any]) -> None:
        model: Any = self._model
        if self.sees:
            model.reply(wish.messages, wish.media, USUAL if wish.max_tokens is None else wish.max_tokens, **options)
            return
        most = wish.max_tokens
        if most is None:
            most = max(1, min(USUAL, model.limit - model.prompt_tokens(wish.messages)))
        model.reply(wish.messages, most, **options)

    def _problem(self, refusal: Refusal) -> Problem:
        """What strangers are told: nothing of the model's files, and nothing that a library says."""
        if not self.told or self._model.model_id.split()[0] in str(refusal) or "/" in refusal.what:
            return Problem(400, "the conversation cannot be answered by this model", "messages")
        return Problem(400, f"{refusal.what}: {refusal.why}", "messages")


def speaker_name(chat: str) -> str:
    """What clients call the model of ``--chat``: no path of it is told."""
    return chat if chat == "smollm2" else Path(chat).resolve().name
