"""Several frozen towers that look at the same thing, and the one set of tokens that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from serval.encoders.features import Batch, Features, Tower


class Bridge(nn.Module):
    """What a tower saw → (batch, tokens, width): ``look`` takes a tensor from the features, and ``steps`` follow in turn.

    ``Bridge(attrgetter("map"), DeformableReader(1024, (16, 16)), Projector(1024, 4096, depth=1))`` is one of MoME's, with
    ``frame_tokens`` and a ``Projector`` it is one of LION-FS's. With ``depth`` it looks at the tokens of that depth of the
    tower (`Tower.encode`), -2 as in LLaVA, in place of those that the tower gives last.
    """

    def __init__(self, look: Callable[[Features], Tensor], *steps: nn.Module, depth: int | None = None) -> None:
        super().__init__()
        self.look, self.steps = look, nn.Sequential(*steps)
        self.taps = () if depth is None else (depth,)

    def forward(self, features: Features) -> Tensor:
        if self.taps:
            features = replace(features, tokens=features.taps[0], grid=features.tap_grids[0])
        tokens: Tensor = self.steps(self.look(features))
        return tokens


class Mixer(Protocol):
    """Sources of (batch, tokens, width) and maybe what says how to mix them → (batch, tokens, width): a `SoftRouter`."""

    def __call__(self, sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor: ...


def add(sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
    """The sum, of as many tokens and as wide as each of them."""
    return torch.stack(list(sources)).sum(0)


def channels(sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
    """Each token beside its kin, as wide as all together (Eagle, Prismatic)."""
    return torch.cat(list(sources), dim=-1)


def interleave(sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
    """The first token of each source, the second of each …: (batch, sources · tokens, width) (MoF, Tong et al. 2024)."""
    return torch.stack(list(sources), dim=2).flatten(1, 2)


def behind(sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
    """All tokens of one source, then all of the next, which may be more or fewer (SPHINX; LION's two branches)."""
    return torch.cat(list(sources), dim=1)


MIXERS: dict[str, Mixer] = {"add": add, "channels": channels, "interleave": interleave, "behind": behind}
"""By the names that `EncoderBank` knows."""


class EncoderBank(nn.Module):
    """Towers, a bridge for each, and how their tokens become one set: (batch, tokens, width).

    Bridges bring towers of any grid and width to what the mixer asks for. With one tower, or a router's weights at one of them,
    this is that tower and its bridge alone, bit for bit. Towers are frozen and stay in evaluation mode; what they saw may be
    kept (`FeatureStore`) and given to ``forward`` again.

    Used by MoME (three towers, `SoftRouter` by instruction), LION-FS (two, by the frame's CLS), MoF, SPHINX and Eagle.

    Attributes:
        towers: in the order of their bridges. Those that are modules move, and are saved, with the bank.

    Raises ``ValueError`` for no towers, and unless there is one bridge for each.
    """

    def __init__(
        self,
        towers: Sequence[Tower[Any]],
        bridges: Sequence[nn.Module],
        mixer: Literal["add", "channels", "interleave", "behind"] | nn.Module,
    ) -> None:
        super().__init__()
        if not towers or len(towers) != len(bridges):
            raise ValueError(f"{len(bridges)} bridges for {len(towers)} towers: each of one tower or more has its own.")
        self.towers = tuple(towers)
        for number, tower in enumerate(towers):
            if isinstance(tower, nn.Module):
                self.add_module(f"tower_{number}", tower.requires_grad_(False).eval())
        self.bridges = nn.ModuleList(bridges)
        self.mixer: Mixer = MIXERS[mixer] if isinstance(mixer, str) else mixer

    def train(self, mode: bool = True) -> EncoderBank:
        """Training mode, of bridges and mixer alone."""
        super().train(mode)
        for tower in self.towers:
            if isinstance(tower, nn.Module):
                tower.eval()
        return self

    def prepare(self, items: Sequence[Any]) -> list[Batch]:
        """The same pictures or sounds for each tower. Raises `Refusal` as `Tower.prepare`."""
        return [tower.prepare(items) for tower in self.towers]

    def encode(self, batches: Sequence[Batch]) -> list[Features]:
        """What each tower saw in its own batch, with the depths that its bridge looks at."""
        taps = [getattr(bridge, "taps", ()) for bridge in self.bridges]
        return [tower.encode(batch, taps=its) for tower, batch, its in zip(self.towers, batches, taps, strict=True)]

    def tokens(self, features: Sequence[Features]) -> list[Tensor]:
        """(batch, tokens, width) of each tower, before they are mixed."""
        return [bridge(seen) for bridge, seen in zip(self.bridges, features, strict=True)]

    def forward(self, features: Sequence[Features], condition: Tensor | None = None) -> Tensor:
        """(batch, tokens, width); ``condition`` (batch, any) is for a router that is guided by an instruction."""
        return self.mixer(self.tokens(features), condition)
