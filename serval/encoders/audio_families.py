"""How the audio models of transformers are read: each family's way from sound to its input, and from there to tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from serval.encoders.features import Grid

Waves = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Hearing:
    """What one pass gave.

    ``last`` and ``states`` are (batch, prefix + n, width), or maps (batch, width, frequencies, moments). A moment k begins at
    sample ``start + k · stride``, lasts ``length`` samples, and is heard in a sound with ``start + k · stride + least`` samples
    or more.
    """

    last: Tensor
    states: Mapping[int, Tensor]
    stride: float
    length: float
    least: float
    pooled: Tensor | None = None
    grid: Grid | None = None


def _whisper_input(extractor: Any, config: Any, waves: Waves, samples: int | None) -> Tensor:
    """Log-mel of the whole window: silence is part of what Whisper (Radford et al. 2023) was trained on."""
    length = samples or whisper_window(extractor, config)
    step = 2 * extractor.hop_length  # the model halves the frames
    made = extractor(
        list(waves), sampling_rate=extractor.sampling_rate, max_length=ceil(length / step) * step, return_tensors="pt"
    )
    mel: Tensor = made["input_features"]
    return mel


def whisper_window(extractor: Any, config: Any) -> int:
    """Samples that its positions last for."""
    return int(config.max_source_positions * 2 * extractor.hop_length)


def _whisper(model: Any, values: Tensor, wanted: Sequence[int], extractor: Any, heard: Tensor | None) -> Hearing:
    """Whisper's encoder at any length up to its window: transformers' own pass takes the full window only."""
    hidden = functional.gelu(model.conv2(functional.gelu(model.conv1(values)))).transpose(1, 2)
    hidden = hidden + model.embed_positions.weight[: hidden.shape[1]]
    hidden = functional.dropout(hidden, model.dropout, model.training)
    states = {0: hidden}
    for depth, layer in enumerate(model.layers, 1):
        hidden = layer(hidden, None)
        if depth in wanted:
            states[depth] = hidden
    step = 2 * extractor.hop_length
    return Hearing(model.layer_norm(hidden), states, step, step, 1)


def _kaldi_input(extractor: Any, config: Any, waves: Waves, samples: int | None) -> Tensor:
    made = extractor(list(waves), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    mel: Tensor = made["input_values"]
    return mel


def _spectrogram(model: Any, values: Tensor, wanted: Sequence[int], extractor: Any, heard: Tensor | None) -> Hearing:
    """AST (Gong et al. 2021): overlapping patches of a Kaldi spectrogram, frames of 25 ms every 10 ms."""
    out = model(values, output_hidden_states=list(wanted) or None)
    config, hop = model.config, extractor.sampling_rate // 100
    grid = model.embeddings.get_shape(config)
    return Hearing(
        out.last_hidden_state,
        {depth: out.hidden_states[depth] for depth in wanted},
        stride=config.time_stride * hop,
        length=config.patch_size * hop,
        least=_FRAME,
        pooled=out.pooler_output,
        grid=grid,
    )


def _waves_input(extractor: Any, config: Any, waves: Waves, samples: int | None) -> Tensor:
    """Each sound by itself at mean 0 and deviation 1, zeros after it."""
    made = extractor(
        list(waves), sampling_rate=extractor.sampling_rate, padding=True, return_attention_mask=True, return_tensors="pt"
    )
    values: Tensor = made["input_values"]
    return values


def _wav2vec2(model: Any, values: Tensor, wanted: Sequence[int], extractor: Any, heard: Tensor | None) -> Hearing:
    """wav2vec 2.0 (Baevski et al. 2020). Models that were trained without a mask (group norm) hear the padding."""
    mask = None
    if heard is not None and extractor.return_attention_mask:
        mask = torch.arange(values.shape[1], device=values.device) < heard[:, None]
    out = model(values, attention_mask=mask, output_hidden_states=list(wanted) or None)
    config = model.config
    adapter = config.adapter_stride**config.num_adapter_layers if config.add_adapter else 1
    field = wav2vec2_field(config)
    return Hearing(
        out.last_hidden_state,
        {depth: out.hidden_states[depth] for depth in wanted},
        stride=prod(config.conv_stride) * adapter,
        length=field,
        least=field,
    )


def wav2vec2_field(config: Any) -> int:
    """Samples that one moment sees."""
    field = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        field = (field - 1) * stride + kernel
    return field


def _clap_input(extractor: Any, config: Any, waves: Waves, samples: int | None) -> Tensor:
    """Log-mel of ten seconds; a shorter sound is repeated, as it was in training."""
    way = "fusion" if config.enable_fusion else "rand_trunc"
    made = extractor(list(waves), truncation=way, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    mel: Tensor = made["input_features"]
    return mel


def _clap(model: Any, values: Tensor, wanted: Sequence[int], extractor: Any, heard: Tensor | None) -> Hearing:
    """CLAP's HTSAT (Wu et al. 2023; Chen et al. 2022). It folds a spectrogram into a square, pieces of time one above the
    other; maps are unfolded here to frequencies by moments, and taken before a stage halves them."""
    longer = torch.zeros(len(values), 1, dtype=torch.bool, device=values.device)
    out = model(values, is_longer=longer, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    pieces = model.config.spec_size // model.config.num_mel_bins

    def unfold(folded: Tensor) -> Tensor:
        batch, width, rows, columns = folded.shape
        return folded.reshape(batch, width, pieces, rows // pieces, columns).transpose(2, 3).flatten(3)

    stride = extractor.nb_max_samples / out.last_hidden_state.shape[-1]
    return Hearing(
        out.last_hidden_state,
        {depth: unfold(out.hidden_states[depth]) for depth in wanted},
        stride=stride,
        length=stride,
        least=1,
        pooled=out.pooler_output,
    )


def _clap_frames(config: Any) -> int:
    """The most 10 ms frames that fold into its square, but for the one that a spectrogram has at its end."""
    return int(config.spec_size * (config.spec_size // config.num_mel_bins)) - 1


def _clap_widths(config: Any) -> tuple[int, ...]:
    stages = [config.patch_embeds_hidden_size * 2**stage for stage in range(len(config.depths))]
    return (stages[0], *stages)


_FRAME = 400  # samples of a Kaldi frame at 16 kHz


@dataclass(frozen=True)
class AudioFamily:
    """One architecture.

    Attributes:
        model: its class in transformers, and the module there.
        extractor: the class in transformers that prepares its input.
        defaults: what the extractor must be given for a configuration, where no file says it.
        input: from waves at the extractor's rate to what the model reads.
        hear: from there to tokens.
        prefix: how many tokens stand before the others.
        widths: of each depth, from the configuration.
        longest: samples that it can hear at once, None for any number.
        shortest: samples that a sound must have.
        shortens: it also hears windows that are shorter than its own.
    """

    model: str
    module: str
    extractor: str
    defaults: Callable[[Any], dict[str, Any]]
    input: Callable[[Any, Any, Waves, int | None], Tensor]
    hear: Callable[[Any, Tensor, Sequence[int], Any, Tensor | None], Hearing]
    widths: Callable[[Any], tuple[int, ...]]
    longest: Callable[[Any, Any], int | None]
    shortest: Callable[[Any], int] = lambda config: 1
    prefix: int = 0
    shortens: bool = False


AUDIO_FAMILIES: Final[Mapping[str, AudioFamily]] = {
    "whisper": AudioFamily(
        "WhisperEncoder",
        "whisper",
        "WhisperFeatureExtractor",
        lambda config: {"feature_size": config.num_mel_bins},
        _whisper_input,
        _whisper,
        lambda config: (config.d_model,) * (config.encoder_layers + 1),
        whisper_window,
        shortens=True,
    ),
    "audio-spectrogram-transformer": AudioFamily(
        "ASTModel",
        "audio_spectrogram_transformer",
        "ASTFeatureExtractor",
        lambda config: {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length},
        _kaldi_input,
        _spectrogram,
        lambda config: (config.hidden_size,) * (config.num_hidden_layers + 1),
        lambda extractor, config: config.max_length * (extractor.sampling_rate // 100),
        shortest=lambda config: _FRAME,
        prefix=2,
    ),
    "wav2vec2": AudioFamily(
        "Wav2Vec2Model",
        "wav2vec2",
        "Wav2Vec2FeatureExtractor",
        lambda config: {"return_attention_mask": config.feat_extract_norm == "layer"},
        _waves_input,
        _wav2vec2,
        lambda config: (config.hidden_size,) * (config.num_hidden_layers + 1),
        lambda extractor, config: None,
        shortest=wav2vec2_field,
    ),
    "clap_audio_model": AudioFamily(
        "ClapAudioModel",
        "clap",
        "ClapFeatureExtractor",
        lambda config: {"feature_size": config.num_mel_bins, "max_length_s": min(10, _clap_frames(config) // 100)},
        _clap_input,
        _clap,
        _clap_widths,
        lambda extractor, config: extractor.nb_max_samples,
    ),
}
"""By the ``model_type`` of their configuration."""
