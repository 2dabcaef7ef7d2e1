"""Tokens one after the other, until the model ends its turn, enough have come, or someone says stop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from serval.language.decoder import Decoder
from serval.refusal import Refusal


class Session(Protocol):
    """One conversation with a model, which remembers what it has read."""

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read more tokens, at least one; the logits (vocabulary,) of the one that follows them."""
        ...


class DecoderSession:
    """A conversation with a `Decoder`, of at most ``capacity`` tokens."""

    def __init__(self, decoder: Decoder, capacity: int) -> None:
        self._decoder, self._cache = decoder, decoder.new_cache(capacity)

    def fork(self, length: int, capacity: int) -> DecoderSession:
        """Another conversation, of at most ``capacity`` tokens, that has read the first ``length`` tokens of this one."""
        other = DecoderSession(self._decoder, capacity)
        with torch.inference_mode():
            other._cache = self._cache.fork(length, capacity)
        return other

    def read(self, ids: Sequence[int]) -> Tensor:
        with torch.inference_mode():
            return self._decoder(torch.tensor([ids], device=self._decoder.device), self._cache, last=True)[0, 0]


@dataclass(frozen=True)
class Sampling:
    """How the next token is picked.

    Attributes:
        temperature: 0 takes the likeliest token every time; above, tokens are drawn, and 1 draws as the model was trained.
        top_p: draw only from the likeliest tokens that together have this probability (Holtzman et al. 2020,
            arXiv:1904.09751).
        seed: the same seed draws the same tokens.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < 100 or not 0 < self.top_p <= 1:
            raise Refusal("sampling", "temperature is below 0, or top_p is not above 0 and up to 1", "correct them")


def generate(
    session: Session,
    prompt: Sequence[int],
    *,
    stops: Collection[int],
    most: int,
    sampling: Sampling | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Read ``prompt`` and give the tokens that follow, as they come.

    Args:
        stops: tokens that end the turn; they are not given.
        most: how many tokens at the most.
        cancelled: asked before every token; when it says so, nothing more comes.

    Raises:
        Refusal: the conversation outgrows its session, or the model's numbers are not finite.
    """
    if not prompt:
        raise ValueError("there is nothing to follow: the prompt has no token")
    pick = _Picker(sampling or Sampling())
    unread = list(prompt)
    for _ in range(most):
        if cancelled():
            return
        logits = session.read(unread)
        if cancelled():  # reading a prompt takes a while
            return
        token = pick(logits)
        if token in stops:
            return
        yield token
        unread = [token]


class _Picker:
    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = torch.Generator().manual_seed(sampling.seed)

    def __call__(self, logits: Tensor) -> int:
        if not bool(torch.isfinite(logits).all()):
            raise Refusal("the language model", "its numbers are not finite", "fetch its weights again")
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        shares = torch.softmax(logits.float().cpu() / self._sampling.temperature, dim=-1)
        shares, order = shares.sort(descending=True, stable=True)
        shares[shares.cumsum(0) - shares >= self._sampling.top_p] = 0  # the likeliest one always stays
        return int(order[torch.multinomial(shares, 1, generator=self._random)])
