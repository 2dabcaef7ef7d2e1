"""An audio model of transformers as a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from serval.encoders.audio_families import AUDIO_FAMILIES, Hearing
from serval.encoders.features import Batch, Features, Grid, depths, tokens_of
from serval.encoders.model_tower import ModelTower
from serval.encoders.sound import Sound
from serval.encoders.vision_families import pair
from serval.refusal import Refusal


class AudioTower(ModelTower):
    """Sounds to features with the time of every token.

    Attributes:
        model: of transformers, one of `AUDIO_FAMILIES`.
        extractor: of transformers; it makes the model's input from waves.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__(model, extractor.to_dict())
        self.family = AUDIO_FAMILIES[self.config.model_type]
        self.extractor = extractor

    @property
    def width(self) -> int:
        """See `Tower.width`; after an adapter (wav2vec2) it is the adapter's."""
        return int(self.config.output_hidden_size) if getattr(self.config, "add_adapter", False) else self.widths[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        return self.family.widths(self.config)

    @property
    def rate(self) -> int:
        """Samples a second that the tower hears at."""
        return int(self.extractor.sampling_rate)

    @property
    def longest(self) -> float | None:
        """Seconds that the tower can hear at once; None for any number."""
        samples = self.family.longest(self.extractor, self.config)
        return None if samples is None else samples / self.rate

    def prepare(self, items: Sequence[Sound], *, window: float | None = None) -> Batch:
        """What the tower reads of sounds at any rate, padded to the tower's window, or to ``window`` seconds (Whisper only).

        Raises:
            ValueError: there is no sound.
            Refusal: a sound too long or too short for the tower, or a ``window`` that it cannot have.
        """
        if not items:
            raise ValueError("There is nothing to hear in no sounds.")
        if window is not None and not self.family.shortens:
            raise Refusal(f"a window for {self.config.model_type}", "it hears its own only", "leave the window out")
        longest, limit = self.longest, window or self.longest
        if window is not None and longest is not None and not 0 < window <= longest:
            raise Refusal(f"a window of {window:g} s", f"{self.config.model_type} hears up to {longest:g} s", "choose less")
        name, shortest = self.config.model_type, self.family.shortest(self.config) / self.rate
        for sound in items:
            if limit is not None and sound.seconds > limit:
                raise Refusal(f"a sound of {sound.seconds:g} s", f"{name} hears {limit:g} s at once", "cut it into windows")
            if sound.seconds < shortest:
                raise Refusal(f"a sound of {sound.seconds:g} s", f"{name} needs {shortest:g} s", "give a longer one")
        most = None if limit is None else round(limit * self.rate)  # resampling may round up
        waves = [sound.at(self.rate).samples[:most] for sound in items]
        samples = None if window is None else round(window * self.rate)
        values = self.family.input(self.extractor, self.config, waves, samples)
        seconds = torch.tensor([len(wave) / self.rate for wave in waves], dtype=torch.float64)
        return Batch(values.float(), seconds)

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        """See `Tower.encode`.

        Raises:
            Refusal: more frames than the tower can hear.
            ValueError: a depth that is not there.
        """
        values = batch.values.to(device=self.device, dtype=self.dtype)
        if self.family.shortens and values.shape[-1] > (most := 2 * self.config.max_source_positions):
            raise Refusal(f"{values.shape[-1]} frames", f"{self.config.model_type} hears {most}", "cut the sound into windows")
        heard = None if batch.seconds is None else (batch.seconds.to(self.device) * self.rate).round().long()
        wanted = depths(taps, len(self.widths))
        hearing = self.family.hear(self.model, values, wanted, self.extractor, heard)
        last, prefix = hearing.last, self.family.prefix
        grid = _grid(last, hearing)
        moments = grid[1] if grid else last.shape[1] - prefix
        begins = torch.arange(moments, device=last.device, dtype=torch.float64) * hearing.stride
        if grid:
            begins = begins.repeat(grid[0])
        times = ((begins + hearing.length / 2) / self.rate).float().expand(len(last), -1)
        states = [hearing.states[depth] for depth in wanted]
        return Features(
            tokens=tokens_of(last, prefix),
            grid=grid,
            times=times,
            valid=None if heard is None else begins + hearing.least <= heard[:, None],
            prefix=last[:, :prefix] if prefix else None,
            pooled=hearing.pooled,
            taps=tuple(tokens_of(state, prefix) for state in states),
            tap_grids=tuple(_grid(state, hearing) for state in states),
        )


def _grid(state: Tensor, hearing: Hearing) -> Grid | None:
    return pair(state.shape[-2:]) if state.dim() == 4 else hearing.grid
