"""Which token may see which: declared once, as a function of what the tokens are, where they came from and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from serval.conversation.sequence import Modality
from serval.language.entries import Entries

Rule = Callable[[Entries, Entries], Tensor]
"""Queries (batch, 1, queries, 1) and keys (batch, heads, 1, keys) → bool that broadcasts to (batch, heads, queries, keys)."""


@dataclass(frozen=True)
class AttentionPattern:
    """A rule for attention. Patterns combine with ``&`` and ``|``.

    Attributes:
        streamable: no token ever sees one that is read later, so that any way of cutting a sequence into pieces gives the
            logits of one pass. Others are read piece by piece only where no cut parts a token from one it sees.
        needed: (keys, next number (batch, 1, 1)) → bool as the keys: a token yet to come may see it. None for all. What
            nobody will see may be forgotten without changing anything.
    """

    name: str
    rule: Rule
    streamable: bool = True
    needed: Callable[[Entries, Tensor], Tensor] | None = None

    def allowed(self, queries: Entries, keys: Entries) -> Tensor:
        """(batch, heads, queries, keys) bool. Padding is seen by nobody; every token sees itself, so that no row is empty."""
        asking = queries.each(lambda field: field[:, :, :, None])
        asked = keys.each(lambda field: field[:, :, None])
        same = asked.number == asking.number
        return (self.rule(asking, asked) & asked.valid) | same

    def __and__(self, other: AttentionPattern) -> AttentionPattern:
        name, mine, theirs = f"{self.name} and {other.name}", self.needed, other.needed
        needed = mine or theirs
        if mine is not None and theirs is not None:
            first, second = mine, theirs

            def needed(keys: Entries, following: Tensor) -> Tensor:
                return first(keys, following) & second(keys, following)

        return AttentionPattern(
            name, lambda q, k: self.rule(q, k) & other.rule(q, k), self.streamable or other.streamable, needed
        )

    def __or__(self, other: AttentionPattern) -> AttentionPattern:
        name, mine, theirs = f"{self.name} or {other.name}", self.needed, other.needed
        needed = None
        if mine is not None and theirs is not None:
            first, second = mine, theirs

            def needed(keys: Entries, following: Tensor) -> Tensor:
                return first(keys, following) | second(keys, following)

        return AttentionPattern(
            name, lambda q, k: self.rule(q, k) | other.rule(q, k), self.streamable and other.streamable, needed
        )


CAUSAL = AttentionPattern("causal", lambda q, k: k.number <= q.number)
"""Every token sees itself and those before it, in the order they were read, not of their positions."""

FULL = AttentionPattern("full", lambda q, k: torch.ones_like(k.valid), streamable=False)
"""Every token sees every other."""


def window(size: int, sinks: int = 0) -> AttentionPattern:
    """Causal, the last ``size`` tokens and the first ``sinks`` (Xiao et al. 2023, StreamingLLM, arXiv:2309.17453)."""

    def rule(q: Entries, k: Entries) -> Tensor:
        near = (k.number <= q.number) & (q.number - k.number < size)
        return near | ((k.number < sinks) & (k.number <= q.number)) if sinks else near

    def needed(keys: Entries, following: Tensor) -> Tensor:
        return (following - keys.number < size) | (keys.number < sinks)

    return AttentionPattern(f"a window of {size}", rule, needed=needed)


def prefix(length: int) -> AttentionPattern:
    """Causal, and the first ``length`` tokens see each other both ways (prefix language model; UniVAL, 4M, PaliGemma)."""
    both = AttentionPattern("prefix", lambda q, k: (k.number < length) & (q.number < length), streamable=False)
    return CAUSAL | both


def blocks(*modalities: Modality) -> AttentionPattern:
    """Causal, and tokens of one medium see each other both ways (LlamaFusion, Transfusion; Gemma 3's images).

    Tokens are of one medium when modality and source agree; with VIDEO that makes frames see causally, block by block.
    """

    def rule(q: Entries, k: Entries) -> Tensor:
        return (k.source == q.source) & (k.source >= 0) & (k.modality == q.modality) & _among(k.modality, modalities)

    return CAUSAL | AttentionPattern("blocks", rule, streamable=False)


def alone(*modalities: Modality) -> AttentionPattern:
    """Tokens of these modalities see only themselves, others causally everything: EE-MLLM's composite attention, whose media
    keys and values never depend on text."""

    def rule(q: Entries, k: Entries) -> Tensor:
        return (k.number <= q.number) & ~_among(q.modality, modalities) | (k.number == q.number)

    return AttentionPattern("media alone", rule)


def mutual(*modalities: Modality) -> AttentionPattern:
    """Causal, and a medium's tokens also see the text that belongs to it, its question (AKI's modality-mutual attention).

    Text belongs to the medium whose ``source`` it carries.
    """

    def rule(q: Entries, k: Entries) -> Tensor:
        question = (k.modality == Modality.TEXT) & (k.source >= 0)
        return question & (k.source == q.source) & _among(q.modality, modalities)

    return CAUSAL | AttentionPattern("mutual", rule, streamable=False)


def branches() -> AttentionPattern:
    """Causal, and text with a ``source`` is seen only by text of the same one: parallel sub-sequences after a shared prefix
    (UFO's parallel decoding, multiple questions on one picture)."""

    def rule(q: Entries, k: Entries) -> Tensor:
        shared = (k.modality != Modality.TEXT) | (k.source < 0)
        return (k.number <= q.number) & (shared | (k.source == q.source))

    return AttentionPattern("branches", rule)


def _among(modality: Tensor, modalities: tuple[Modality, ...]) -> Tensor:
    return torch.isin(modality, torch.tensor(modalities, device=modality.device))
