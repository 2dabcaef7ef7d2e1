"""What generation talks to: one conversation, or several in one batch, that remember what they have read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from serval.conversation.sequence import MultimodalSequence
from serval.refusal import Refusal

if TYPE_CHECKING:
    from serval.language.cache import KVCache
    from serval.language.decoder import Decoder

PIECE = 256  # tokens of a prompt that are read at once; whoever cancels waits for as many, half a second on one core


class Session(Protocol):
    """One conversation with a model. It may have ``room``, as a `BatchSession` has; then what does not fit is not begun."""

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read more tokens, at least one; the logits (vocabulary,) of the one that follows them."""
        ...


class BatchSession(Protocol):
    """Several conversations with a model, one in each row.

    Attributes:
        room: how many more tokens, padding left out, each row can hold; None where it is not known.
    """

    @property
    def room(self) -> int | None:
        """See above."""

    def read(self, ids: Tensor, valid: Tensor | None = None) -> Tensor:
        """Read more tokens; the logits (batch, vocabulary) of what follows each row's last valid one.

        Args:
            ids: (batch, new) int64.
            valid: (batch, new) bool, False at padding; by default nothing is. Logits of rows without a valid token are of no
                meaning.
        """
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with ``rows`` (any,) int64 in that order; one may be taken several times."""
        ...


class Model(Protocol):
    """A `Decoder`, or whatever reads and remembers as one does: a `VisionLanguageModel`."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """See `Decoder.new_cache`."""

    def __call__(
        self, tokens: Tensor | MultimodalSequence, cache: KVCache, /, *, features: Mapping[str, Tensor] | None, last: bool
    ) -> Tensor: ...


class DecoderSession:
    """A conversation with a `Decoder`, or a model that has one.

    Attributes:
        cache: what it has read.
    """

    def __init__(self, decoder: Model, memory: int | KVCache, *, features: Mapping[str, Tensor] | None = None) -> None:
        """
        Args:
            memory: how many tokens the conversation may have; or a cache of one row, to go on from what it holds.
            features: (1, keys, any) by name, or whatever told layers ask for: given with every reading, as in
                `Decoder.forward`. What was read under other features keeps what it had.
        """
        self._decoder, self._features = decoder, features
        self.cache = decoder.new_cache(memory) if isinstance(memory, int) else memory

    @property
    def room(self) -> int:
        return self.cache.room

    def fork(self, length: int, capacity: int) -> DecoderSession:
        """Another conversation, of at most ``capacity`` tokens, that has read the first ``length`` tokens of this one."""
        with torch.inference_mode():
            return DecoderSession(self._decoder, self.cache.fork(length, capacity), features=self._features)

    def read(self, ids: Sequence[int] | MultimodalSequence) -> Tensor:
        """Also what is not only text, before a prompt: a sequence of one row."""
        tokens = ids if isinstance(ids, MultimodalSequence) else torch.tensor([ids], device=self._decoder.device)
        with torch.inference_mode():
            return self._decoder(tokens, self.cache, features=self._features, last=True)[0, 0]


class DecoderBatch:
    """``rows`` conversations with a `Decoder`, each as long as the model's context."""

    def __init__(self, decoder: Decoder, rows: int, *, features: Mapping[str, Tensor] | None = None) -> None:
        """``features`` (rows, …) by name are given with every reading, as to a `DecoderSession`."""
        self._decoder, self._context, self._features = decoder, decoder.config.max_position, dict(features or {})
        self._cache = decoder.new_cache(2 * self._context, rows)  # a long prompt's padding stands before a long reply

    @property
    def room(self) -> int:
        return self._context - int(self._cache.counts.max())

    def read(self, ids: Tensor | MultimodalSequence, valid: Tensor | None = None) -> Tensor:
        """Also what is not only text, before the prompts: a sequence of as many rows."""
        device = self._decoder.device
        with torch.inference_mode():
            valid = None if valid is None else valid.to(device)
            return self._decoder(ids.to(device), self._cache, valid=valid, features=self._features, last=True)[:, 0]

    def select(self, rows: Tensor) -> None:
        """See `BatchSession.select`."""
        with torch.inference_mode():
            rows = rows.to(self._decoder.device)
            self._cache.select(rows)
            self._features = {name: feature[rows] for name, feature in self._features.items()}


def check_room(session: BatchSession, prompt: Sequence[int], most: int) -> None:
    """Raises `Refusal` when ``prompt`` and ``most`` tokens after it are more than a row can hold."""
    room, tokens = session.room, len(prompt) + most
    if room is not None and tokens > room:
        raise Refusal("the conversation", f"with its reply it is {tokens} tokens long, and {room} is the limit", "shorten it")
