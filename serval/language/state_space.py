"""Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): a mixer whose memory is of one size however much it has read.

Parameters have Hugging Face's names. Between the two projections everything is float32, whatever the weights are kept in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.conversation.sequence import MultimodalSequence
from serval.language.config import NormConfig
from serval.language.norm import RMSNorm
from serval.language.reading import Reading, through
from serval.language.selective_scan import scan_chunked, scan_step

_A_RANGE = (1.0, 16.0)  # -A at first; a head forgets the faster the larger it is
_DT_RANGE = (1e-3, 0.1)  # dt at first, where the projection says nothing


@dataclass(frozen=True)
class Mamba2Config:
    """What a mixer is made of.

    Attributes:
        state_size: d_state, numbers kept for each of a head's ``head_dim`` channels.
        groups: heads of one group share B and C, and are normed together.
        conv_kernel: tokens that the convolution sees, the newest included.
        bias: of the projections.
        limit: least and greatest dt.
        chunk: tokens in a chunk of the scan. It changes speed alone: 64 is fastest on a CPU; kernels for GPUs take 256.
        wide_residual: states between layers are float32, whatever the weights are kept in.

    Raises:
        ValueError: groups do not divide heads, or a size is below 1.
    """

    heads: int
    head_dim: int
    state_size: int
    groups: int = 1
    conv_kernel: int = 4
    bias: bool = False
    conv_bias: bool = True
    limit: tuple[float, float] = (0.0, math.inf)
    chunk: int = 64
    wide_residual: bool = False

    def __post_init__(self) -> None:
        if min(self.heads, self.head_dim, self.state_size, self.groups, self.conv_kernel, self.chunk) < 1:
            raise ValueError(f"A size is below 1: {self}.")
        if self.heads % self.groups:
            raise ValueError(f"{self.heads} heads do not divide into {self.groups} groups.")

    @property
    def inner(self) -> int:
        """Channels of all heads."""
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.inner + 2 * self.groups * self.state_size


@dataclass(frozen=True, eq=False)
class Mamba2State:
    """All that a mixer remembers of what it has read.

    Attributes:
        conv: (batch, x and B and C, conv_kernel - 1), the newest tokens' x, B and C before the convolution.
        ssm: (batch, heads, head_dim, state_size) float32.
    """

    conv: Tensor
    ssm: Tensor

    def select(self, rows: Tensor) -> Mamba2State:
        """The states of ``rows``, int64 and in any order, as often as each is named."""
        return Mamba2State(self.conv[rows], self.ssm[rows])


class GatedRMSNorm(nn.Module):
    """y · silu(gate), then the root-mean-square norm within each group of channels."""

    def __init__(self, width: int, groups: int, eps: float) -> None:
        super().__init__()
        self.weight, self.groups, self.eps = nn.Parameter(torch.ones(width)), groups, eps

    def forward(self, y: Tensor, gate: Tensor) -> Tensor:
        """All are (batch, length, width); the result is float32."""
        gated = torch.unflatten(y.float() * functional.silu(gate.float()), -1, (self.groups, -1))
        normed = gated * torch.rsqrt(gated.square().mean(-1, keepdim=True) + self.eps)
        return self.weight.float() * normed.flatten(-2)


class SelectiveScan(nn.Module):
    """What lies between the projections, in one direction: a short causal convolution, then the recurrence."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.config = config
        channels = config.convolved
        self.conv1d = nn.Conv1d(channels, channels, config.conv_kernel, groups=channels, bias=config.conv_bias)
        self.dt_bias = nn.Parameter(torch.empty(config.heads))
        self.A_log = nn.Parameter(torch.empty(config.heads))
        self.D = nn.Parameter(torch.empty(config.heads))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw them as published: -A uniform from 1 to 16, dt log-uniform from 0.001 to 0.1, D = 1."""
        _reset(self.conv1d, generator)
        self.A_log.copy_(_uniform(self.A_log, *_A_RANGE, generator).log())
        dt = _uniform(self.dt_bias, math.log(_DT_RANGE[0]), math.log(_DT_RANGE[1]), generator).exp()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # of which softplus makes dt
        self.D.fill_(1.0)

    def scan(self, projected: Tensor, state: Mamba2State | None, valid: Tensor | None) -> tuple[Tensor, Mamba2State]:
        """[z, x, B, C, dt] (batch, new, …), of which z is for the norm, to y (batch, new, inner) float32."""
        config, batch = self.config, projected.shape[0]
        mixed, dt = torch.split(projected[..., config.inner :], [config.convolved, config.heads], dim=-1)
        if state is None:
            ssm = torch.zeros(batch, config.heads, config.head_dim, config.state_size, device=mixed.device)
            state = Mamba2State(mixed.new_zeros(batch, config.convolved, config.conv_kernel - 1), ssm)
        with torch.autocast(mixed.device.type, enabled=False):  # it would do the scan's products in half precision
            mixed, conv = self._convolve(mixed, state.conv, valid)
            shared = config.groups * config.state_size
            x, b, c = torch.split(mixed, [config.inner, shared, shared], dim=-1)
            x = torch.unflatten(x, -1, (config.heads, -1))
            b, c = torch.unflatten(b, -1, (config.groups, -1)), torch.unflatten(c, -1, (config.groups, -1))
            dt = functional.softplus(dt.float() + self.dt_bias.float()).clamp(*config.limit)
            a = -self.A_log.float().exp()
            if mixed.shape[1] == 1:
                y, ssm = scan_step(x, dt, a, b, c, self.D, state.ssm, valid)
            else:
                y, ssm = scan_chunked(x, dt, a, b, c, self.D, state.ssm, valid, chunk=config.chunk)
        return y.flatten(-2), Mamba2State(conv, ssm)

    def _convolve(self, new: Tensor, kept: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """The convolved tokens (batch, new, convolved) float32, and what to keep. Padding is no neighbour of any token."""
        length, kernel = new.shape[1], self.config.conv_kernel
        if valid is not None:  # the valid ones move together
            new = _take(new, torch.argsort((~valid).to(torch.uint8), dim=1, stable=True))
        line = torch.cat([kept.transpose(1, 2), new], dim=1)
        wide, taps = line.float(), self.conv1d.weight[:, 0].float().t().contiguous()  # (conv_kernel, convolved)
        bias = torch.zeros_like(taps[0]) if self.conv1d.bias is None else self.conv1d.bias.float()
        mixed = bias.expand(new.shape)
        for tap in range(kernel):  # on CPUs several times faster than PyTorch's convolution of single channels
            mixed = torch.addcmul(mixed, wide[:, tap : tap + length], taps[tap])
        if valid is None:
            kept = line[:, length:]
        else:
            mixed = _take(mixed, (valid.cumsum(1) - 1).clamp(min=0))
            kept = _take(line, valid.sum(1, keepdim=True) + torch.arange(kernel - 1, device=line.device))
        return functional.silu(mixed), kept.transpose(1, 2).contiguous()


class Mamba2(SelectiveScan):
    """The mixer: a projection to [z, x, B, C, dt], the scan, a norm gated by z, and a projection back.

    ``in_proj`` and ``out_proj`` may be replaced by a module that has ``reads_sequence = True``; it is called with the sequence
    besides, so that each token's modality can choose its weights (Mixture-of-Mamba, Liang et al. 2025, arXiv:2501.16295).
    """

    def __init__(self, width: int, config: Mamba2Config, eps: float = 1e-5) -> None:
        super().__init__(config)
        self.in_proj, self.norm, self.out_proj = _around(width, config, eps)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters anew, as published. A projection that has been replaced stays what it is."""
        super().reset_parameters(generator)
        _reset(self.in_proj, generator)
        _reset(self.out_proj, generator)
        self.norm.weight.fill_(1.0)

    def forward(
        self,
        hidden: Tensor,
        state: Mamba2State | None = None,
        valid: Tensor | None = None,
        sequence: MultimodalSequence | None = None,
    ) -> tuple[Tensor, Mamba2State]:
        """Read ``hidden`` (batch, new, width) after what ``state`` remembers, which is left as it is.

        Args:
            state: None at the beginning.
            valid: (batch, new) bool. Padding is passed over wherever it stands: each row's other tokens get what they would
                without it, and the state is that after them. What is returned at padding means nothing.
            sequence: for projections that read it.

        Returns:
            (batch, new, width) of the type of ``hidden``, and the state after the last token.
        """
        projected = _called(self.in_proj, _blank(hidden, valid), sequence)
        y, state = self.scan(projected, state, valid)
        normed = self.norm(y, projected[..., : self.config.inner])
        return _called(self.out_proj, normed.to(hidden.dtype), sequence), state


class BiMamba2(nn.Module):
    """The mixer in both directions, for tokens without an order of their own, such as an image's patches.

    Projections and norm are shared; convolution, dt_bias, A_log and D are each direction's own. Each direction is normed, and
    their mean projected back (ML-Mamba, Huang and Hu 2024, arXiv:2407.19832). It reads a sequence whole and keeps no state.
    """

    def __init__(self, width: int, config: Mamba2Config, eps: float = 1e-5) -> None:
        super().__init__()
        self.config = config
        self.in_proj, self.norm, self.out_proj = _around(width, config, eps)
        self.ahead, self.back = SelectiveScan(config), SelectiveScan(config)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """As `Mamba2`'s; the way back begins with the numbers of the way ahead, but a convolution of its own."""
        self.ahead.reset_parameters(generator)
        self.back.reset_parameters(generator)
        for name in ("A_log", "dt_bias", "D"):
            getattr(self.back, name).copy_(getattr(self.ahead, name))
        _reset(self.in_proj, generator)
        _reset(self.out_proj, generator)
        self.norm.weight.fill_(1.0)

    def forward(self, hidden: Tensor, valid: Tensor | None = None, sequence: MultimodalSequence | None = None) -> Tensor:
        """(batch, length, width) to the same; arguments as `Mamba2.forward`'s."""
        projected = _called(self.in_proj, _blank(hidden, valid), sequence)
        gate = projected[..., : self.config.inner]
        ahead, _ = self.ahead.scan(projected, None, valid)
        back, _ = self.back.scan(projected.flip(1), None, None if valid is None else valid.flip(1))
        normed = (self.norm(ahead, gate) + self.norm(back.flip(1), gate)) / 2
        return _called(self.out_proj, normed.to(hidden.dtype), sequence)


class Mamba2Layer(nn.Module):
    """One layer of a decoder: norm and mixer, added to what came in. The cache keeps its state.

    It reads tokens in the order in which they come, whatever their positions. A decoder that has one refuses patterns that
    let a token see later ones; what else a pattern hides from attention, the state has read.
    """

    def __init__(self, width: int, config: Mamba2Config, norm: NormConfig, index: int) -> None:
        super().__init__()
        self.index, self.wide_residual = index, config.wide_residual
        self.norm = RMSNorm(width, norm)
        self.mixer = Mamba2(width, config, norm.eps)

    def forward(self, hidden: Tensor, reading: Reading) -> Tensor:
        """(batch, new, width) to the same, float32 with ``wide_residual``."""
        sequence, cache = reading.sequence, reading.cache
        valid = None if reading.entries.all_valid else sequence.valid
        before = None if cache is None else cache.state(self.index)
        normed = through(self.norm, hidden.to(self.norm.weight.dtype), sequence)
        mixed, after = self.mixer(normed, before, valid, sequence)
        if cache is not None:
            if reading.commit is not None:  # the others were read, and are now forgotten
                _, after = self.mixer(normed, before, sequence.valid & reading.commit, sequence)
            cache.keep_state(self.index, after)
        return (hidden.float() if self.wide_residual else hidden) + mixed


def _around(width: int, config: Mamba2Config, eps: float) -> tuple[nn.Module, GatedRMSNorm, nn.Module]:
    """What stands around the scan: projection in, norm, projection out."""
    return (
        nn.Linear(width, config.inner + config.convolved + config.heads, bias=config.bias),
        GatedRMSNorm(config.inner, config.groups, eps),
        nn.Linear(config.inner, width, bias=config.bias),
    )


def _called(module: nn.Module, hidden: Tensor, sequence: MultimodalSequence | None) -> Tensor:
    return module(hidden) if sequence is None else through(module, hidden, sequence)


def _blank(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Zeros at padding, where attention may have left NaN, which no weight of zero undoes."""
    return hidden if valid is None else hidden.masked_fill(~valid[..., None], 0)


def _take(tokens: Tensor, places: Tensor) -> Tensor:
    """``tokens`` (batch, length, width) at ``places`` (batch, any): (batch, any, width)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def _uniform(like: Tensor, low: float, high: float, generator: torch.Generator | None) -> Tensor:
    """Float32 of the shape of ``like``, drawn where the generator is."""
    device = like.device if generator is None else generator.device
    return torch.empty(like.shape, device=device).uniform_(low, high, generator=generator)


def _reset(module: nn.Module, generator: torch.Generator | None) -> None:
    """PyTorch's own start of a linear map or a convolution; any other module is left alone."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        bound = module.weight[0].numel() ** -0.5  # of the inputs to each output
        for parameter in module.parameters():
            parameter.copy_(_uniform(parameter, -bound, bound, generator))
