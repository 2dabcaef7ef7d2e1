"""A learned vector where a placeholder stands in a prompt, and the tags that it teaches how far to trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from serval.conversation.tokenizer import Before


class SoftPrompt(nn.Module):
    """Embeddings (…, width) of ids (…), with one learned vector wherever the id is ``hint``; all others bit for bit.

    LION's soft prompt (Chen et al. 2024, arXiv:2311.11860): the hint is a special token that means nothing else
    (``<extra_id_0>`` of T5). ``hint.around(decoder.embed)`` is an embedding that `from_segments` takes.
    """

    def __init__(self, width: int, hint: int, *, std: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.hint = hint
        self.vector = nn.Parameter(torch.empty(width).normal_(std=std, generator=generator))

    def forward(self, ids: Tensor, embeds: Tensor) -> Tensor:
        return torch.where((ids == self.hint)[..., None], self.vector.to(embeds.dtype), embeds)

    def around(self, embed: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """``embed``, with the learned vector in its place."""
        return lambda ids: self(ids, embed(ids))


def tag_hint(
    tags: Sequence[str], encode: Callable[[str, Before], list[int]], hint: int, before: Before = "nothing"
) -> list[int]:
    """Ids of the sentence that hands a picture's tags to the model, to stand before the question; none for no tags.

    Tags are words of a recogniser, some of them wrong (in LION those of RAM). They are encoded as plain text, so that the
    sentence holds the hint just once, whatever a tag says.

    Args:
        encode: `Tokenizer.encode`.
        hint: the id of `SoftPrompt`.
        before: what the sentence follows.
    """
    if not tags:
        return []
    allowed = f", you are allowed to use or partially use the following tags: [{', '.join(tags)}]. "
    return [*encode("According to ", before), hint, *encode(allowed, "special")]
