"""Layers that only some media tokens pass through (mixture of depths), chosen frame by frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.conversation.sequence import Modality
from serval.language.cache import KVCache
from serval.language.reading import Reading, gather_rows, scatter_rows
from serval.refusal import Refusal


class TokenSkipping(nn.Module):
    """A layer for all text and, of each medium's n tokens, the n - ⌊share · n⌋ that a linear router scores highest.

    The others leave it bit for bit as they came, and are not in its keys and values. LION-FS's token dropping router (Li et
    al. 2025, section 3.3), VideoLLM-MoD (Wu et al. 2024, arXiv:2408.16730) and mixture of depths (Raposo et al. 2024,
    arXiv:2404.02258). A budget for each frame, rather than for the sequence, keeps it causal: read frame by frame it is what
    it is in one pass.

    So that the router learns, what the layer adds to a media token is multiplied by p / p, of which only the upper
    p = σ(router) carries a gradient: with ``share=0`` the layer is what it was, bit for bit. It is written as
    1 + log p - log p, which has the same gradient, and is no 0 / 0 where the router is sure.

    Args:
        layer: called ``layer(hidden, reading)``.
        share: of each medium's tokens, how many skip, 0 to 1.
        modalities: what may skip.

    Raises ``ValueError`` for a share outside 0 to 1.
    """

    def __init__(
        self,
        layer: nn.Module,
        width: int,
        *,
        share: float,
        modalities: tuple[Modality, ...] = (Modality.IMAGE, Modality.VIDEO),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(f"A share of {share} is not between 0 and 1.")
        self.layer, self.share, self.modalities = layer, share, modalities
        router = nn.Linear(width, 1, bias=False)
        self.router: nn.Module = router
        with torch.no_grad():
            router.weight.normal_(std=width**-0.5, generator=generator)

    def forward(self, hidden: Tensor, reading: Reading) -> Tensor:
        """``hidden`` and the result are (batch, new, width).

        Raises:
            Refusal: a medium that was begun is read on: its budget was spent when its first part was read.
        """
        sequence = reading.sequence
        media = sequence.valid & torch.isin(sequence.modality, torch.tensor(self.modalities, device=hidden.device))
        if reading.cache is not None and reading.first_asked(("whole media", self.modalities)):
            _check_whole(reading.cache, reading, media)
        score = self.router(hidden)[..., 0].float()  # (batch, new)
        stays = sequence.valid & (~media | self._chosen(score, sequence.source, media))
        passing, index = gather_rows(hidden, stays)
        changed = self.layer(passing, reading.select(stays))
        chance = functional.logsigmoid(score)
        weight = torch.where(media, chance - chance.detach(), 0.0).gather(1, index.clamp_min(0))[..., None]
        return scatter_rows(hidden, changed + weight.to(hidden.dtype) * (changed - passing), index)

    def _chosen(self, score: Tensor, source: Tensor, media: Tensor) -> Tensor:
        """(batch, new) bool: the highest scores of each medium; of equal ones the earlier."""
        medium = source.masked_fill(~media, -1)
        order = score.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, medium.gather(1, order).argsort(dim=1, stable=True))  # medium by medium, the highest first
        among = medium.gather(1, order)
        start, end = torch.searchsorted(among, among), torch.searchsorted(among, among, right=True)
        rank, count = torch.arange(among.shape[1], device=among.device) - start, end - start
        return media & torch.empty_like(media).scatter(1, order, rank < count - (self.share * count).floor())


def _check_whole(cache: KVCache, reading: Reading, media: Tensor) -> None:
    """A medium is in one piece when its first token here is not of the medium that was read last."""
    first = reading.number.masked_fill(reading.number < 0, torch.iinfo(torch.int64).max).amin(1, keepdim=True)
    for held in {id(each): each for each in map(cache.entries, range(len(cache.shapes))) if each is not None}.values():
        number = held.number[:, 0].masked_fill(held.number[:, 0] >= first, -1)  # other layers hold the new ones already
        last = number.argmax(1, keepdim=True)
        before = held.source[:, 0].gather(1, last).masked_fill(number.gather(1, last) < 0, -1)  # (batch, 1)
        if bool((media & (reading.sequence.source == before) & (before >= 0)).any()):
            raise Refusal("the sequence", "it goes on with a frame that was begun before", "read every frame in one piece")
