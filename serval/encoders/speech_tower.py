"""The speech encoder of the WeNet family: a log-mel spectrogram, two strided convolutions, and layers with relative positions.

It is VITA's ears (arXiv:2408.05211) and, with other sizes, Freeze-Omni's. Transformers has none of this kind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from math import log, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.encoders.features import Batch, Features, depths
from serval.encoders.sound import Sound
from serval.refusal import Refusal

RATE, FRAME, HOP, POINTS = 16_000, 400, 160, 512  # of the spectrogram: samples a second, and of 25 ms, 10 ms and a transform
_LEAST = 7  # frames that two convolutions of three, each halving, need for one token
_LOUD, _SPREAD = 10.0, 4.0  # about the mean and deviation of log-mel over speech at the 16-bit scale


def log_mel(samples: Tensor, mels: int = 80) -> Tensor:
    """(frames, mels) of samples (n,) from -1 to 1 at 16 kHz: Kaldi's filterbank, at the scale of 16-bit samples.

    Frames of 25 ms every 10 ms; what does not fill a frame at the end is left out: frames = 1 + (n - 400) // 160.
    """
    frames = samples.float().unfold(0, FRAME, HOP) * 32768.0
    frames = frames - frames.mean(1, keepdim=True)
    frames = frames - 0.97 * torch.cat([frames[:, :1], frames[:, :-1]], 1)
    window = torch.hann_window(FRAME, periodic=False, device=samples.device).pow(0.85)
    power = torch.fft.rfft(frames * window, POINTS).abs().square()
    return (power @ _filters(mels).to(power)).clamp_min(torch.finfo(torch.float32).eps).log()


@cache
def _filters(mels: int) -> Tensor:
    """(257, mels): triangles over the mel scale from 20 Hz to 8 kHz, straight on that scale, as Kaldi has them."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = mel(torch.tensor([20.0, RATE / 2], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, mels + 2, dtype=torch.float64)
    bins = mel(torch.linspace(0, RATE / 2, POINTS // 2 + 1, dtype=torch.float64))[:, None]
    rising, falling = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()


def moments(frames: int) -> int:
    """Tokens, of 40 ms each, that come of so many frames: as many as ``range(frames)[2::2][2::2]`` has."""
    return max(0, ((frames - 1) // 2 - 1) // 2)


class SpeechTower(nn.Module):
    """Sounds to tokens, 25 a second. It follows `Tower`, and may be trained, as it is in VITA's first audio stage.

    Attributes:
        statistics: (2, mels) mean and deviation of log-mel over the data (`measure`).
    """

    def __init__(self, *, width: int, layers: int, heads: int, hidden: int, mels: int = 80, dropout: float = 0.1) -> None:
        super().__init__()
        self.width, self.mels = width, mels
        self.register_buffer("statistics", torch.tensor([[_LOUD], [_SPREAD]]).expand(2, mels).clone())
        self.statistics: Tensor
        self.subsampling = nn.Sequential(nn.Conv2d(1, width, 3, 2), nn.ReLU(), nn.Conv2d(width, width, 3, 2), nn.ReLU())
        self.flat = nn.Linear(width * moments(mels), width)
        self.layers = nn.ModuleList(SpeechLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.width,) * (len(self.layers) + 1)

    def prepare(self, items: Sequence[Sound]) -> Batch:
        """Log-mel (batch, frames, mels), zeros behind what is shorter.

        Raises `Refusal` for a sound that is too short for a token: 85 ms are needed.
        """
        if not items:
            raise ValueError("There is nothing to hear in no sounds.")
        made = []
        for sound in items:
            samples = torch.from_numpy(sound.at(RATE).samples)
            if len(samples) < FRAME + (_LEAST - 1) * HOP:
                raise Refusal(f"a sound of {sound.seconds:.3g} s", "a token needs 0.085 s", "give a longer one")
            made.append(log_mel(samples, self.mels))
        seconds = torch.tensor([(len(each) * HOP) / RATE for each in made], dtype=torch.float64)
        return Batch(nn.utils.rnn.pad_sequence(made, batch_first=True), seconds)

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        """See `Tower.encode`. What a sound becomes does not depend on the padding behind it."""
        wanted, mel = depths(taps, len(self.widths)), batch.values.to(self.statistics)
        frames = torch.full((len(mel),), mel.shape[1]) if batch.seconds is None else (batch.seconds * RATE / HOP).round().long()
        if mel.shape[1] < _LEAST or int(frames.min()) < _LEAST:
            raise Refusal(f"{int(frames.min())} frames of sound", f"a token needs {_LEAST}", "give a longer sound")
        hidden = self.subsampling(((mel - self.statistics[0]) / self.statistics[1])[:, None])
        hidden = self.flat(hidden.transpose(1, 2).flatten(2)) * sqrt(self.width)
        count = torch.div(torch.div(frames - 1, 2, rounding_mode="floor") - 1, 2, rounding_mode="floor").to(mel.device)
        valid = torch.arange(hidden.shape[1], device=mel.device) < count[:, None]
        distances = _distances(hidden.shape[1], self.width).to(hidden)
        states = [hidden]
        for layer in self.layers:
            hidden = layer(hidden, distances, valid)
            states.append(hidden)
        times = (torch.arange(hidden.shape[1], device=mel.device) * 4 * HOP + (6 * HOP + FRAME) / 2) / RATE
        taken = tuple(states[depth] for depth in wanted)
        return Features(
            self.norm(hidden),
            times=times.float().expand(len(mel), -1),
            valid=valid,
            taps=taken,
            tap_grids=(None,) * len(taken),
        )

    def measure(self, sounds: Sequence[Sound]) -> None:
        """Take the statistics of these sounds. Bins that never change keep a deviation of a thousandth."""
        heard = torch.cat([log_mel(torch.from_numpy(each.at(RATE).samples), self.mels) for each in sounds])
        self.statistics = torch.stack([heard.mean(0), heard.std(0).clamp_min(1e-3)]).to(self.statistics)

    def identity(self) -> str:
        """See `Tower.identity`."""
        digest = hashlib.sha256(json.dumps([self.mels, self.widths]).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class SpeechLayer(nn.Module):
    """Pre-norm attention and feed-forward. Where a token stands counts only as its distance from another.

    Attention is Transformer-XL's (Dai et al. 2019, arXiv:1901.02860, section 3.3): (q + u)·k + (q + v)·r, r of the distance.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"A width of {width} does not divide among {heads} heads.")
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.before_attention, self.before_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.distance = nn.Linear(width, width, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, 1, width // heads))
        self.distance_bias = nn.Parameter(torch.zeros(heads, 1, width // heads))
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))

    def forward(self, hidden: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
        """(batch, n, width) to the same; ``distances`` (2n - 1, width) from n - 1 before to n - 1 behind."""
        hidden = hidden + self.dropout(self._attend(self.before_attention(hidden), distances, valid))
        return hidden + self.dropout(self.feed_forward(self.before_feed_forward(hidden)))

    def _attend(self, hidden: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
        count = hidden.shape[1]
        query, key, value, place = (
            each.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for each in (self.query(hidden), self.key(hidden), self.value(hidden), self.distance(distances))
        )
        far = (query + self.distance_bias) @ place.transpose(-1, -2)  # (batch, heads, n, 2n - 1)
        steps = torch.arange(count, device=hidden.device)
        index = (steps[None] - steps[:, None] + count - 1).expand(*far.shape[:2], -1, -1)
        mask = (far.gather(-1, index) / sqrt(query.shape[-1])).masked_fill(~valid[:, None, None], float("-inf"))
        attended = functional.scaled_dot_product_attention(query + self.content_bias, key, value, attn_mask=mask)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


@cache
def _distances(count: int, width: int) -> Tensor:
    """(2 · count - 1, width): sines and cosines of how far each token stands behind another, which may be before it."""
    away = torch.arange(1 - count, count, dtype=torch.float32)[:, None]
    turns = torch.exp(torch.arange(0, width, 2) * (-log(10_000.0) / width)) * away
    return torch.stack([turns.sin(), turns.cos()], -1).flatten(1)[:, :width]
