"""How the vision models of transformers are read: each family's way to its last tokens and to those of every depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from serval.encoders.features import Grid


@dataclass(frozen=True)
class Reading:
    """What one pass gave. Tensors are (batch, prefix + n, width), or maps (batch, width, rows, columns).

    ``grid`` is that of ``last`` where it is neither a map nor a token for each patch.
    """

    last: Tensor
    states: Mapping[int, Tensor]
    pooled: Tensor | None = None
    grid: Grid | None = None


Reader = Callable[[Any, Tensor, Sequence[int]], Reading]


def pair(size: Any) -> Grid:
    """A length or (height, width) of a configuration as the latter."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def _columns(model: Any, pixels: Tensor, wanted: Sequence[int], **options: bool) -> Reading:
    """Layers whose positions are rotary or that the model interpolates by itself (DINOv2, Oquab et al. 2023), or the stages of
    ConvNeXt (Liu et al. 2022), each a map."""
    # Naming the depths keeps the others from being kept; the model may also give all.
    out = model(pixels, output_hidden_states=list(wanted) or None, **options)
    return Reading(out.last_hidden_state, {depth: out.hidden_states[depth] for depth in wanted}, out.pooler_output)


def _interpolated(model: Any, pixels: Tensor, wanted: Sequence[int]) -> Reading:
    """A column of layers whose learned positions are interpolated (bicubic) at any size but its own."""
    native = pair(model.config.image_size) == tuple(pixels.shape[-2:])
    return _columns(model, pixels, wanted, **({} if native else {"interpolate_pos_encoding": True}))


def _patchified(model: Any, pixels: Tensor, wanted: Sequence[int]) -> Reading:
    """SigLIP 2's NaFlex (Tschannen et al. 2025): patches in rows, with the grid that they stand on."""
    side = model.config.patch_size
    batch, (rows, columns) = len(pixels), (length // side for length in pixels.shape[-2:])
    cut = pixels[..., : rows * side, : columns * side].reshape(batch, -1, rows, side, columns, side)
    patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(1, 2).flatten(2)  # batch, place, (row, column, channel)
    shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(batch, -1)
    seen = torch.ones(patches.shape[:2], dtype=torch.long, device=pixels.device)
    out = model(patches, pixel_attention_mask=seen, spatial_shapes=shapes, output_hidden_states=list(wanted) or None)
    return Reading(out.last_hidden_state, {depth: out.hidden_states[depth] for depth in wanted}, out.pooler_output)


def _dino_convnext(model: Any, pixels: Tensor, wanted: Sequence[int]) -> Reading:
    """DINOv3's ConvNeXt (Siméoni et al. 2025), which puts the mean of its map before it as a class token."""
    last = len(model.config.depths)
    reading = _columns(model, pixels, sorted({*wanted, last}))
    return replace(reading, grid=pair(reading.states[last].shape[-2:]))


def _focal(model: Any, pixels: Tensor, wanted: Sequence[int]) -> Reading:
    """FocalNet (Yang et al. 2022). Maps are taken before a stage halves them: transformers gives those after it."""
    tokens, size = model.embeddings(pixels)

    def in_rows(tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)

    maps = {0: in_rows(tokens)} if 0 in wanted else {}
    for depth, stage in enumerate(model.encoder.stages, 1):
        tokens, whole, halved = stage(tokens, size)
        if depth in wanted:
            maps[depth] = in_rows(whole)
        size = halved[-2:]
    last = model.layernorm(tokens)
    return Reading(in_rows(last), maps, model.pooler(last.transpose(1, 2)).flatten(1))


def _hiera(model: Any, pixels: Tensor, wanted: Sequence[int]) -> Reading:
    """Hiera (Ryali et al. 2023). Its tokens are kept window by window; they are put back row by row here, because the model's
    own way back knows only its native size."""
    from transformers.models.hiera.modeling_hiera import unroll

    config, stages = model.config, model.encoder.stages
    height, width = pixels.shape[-2:]
    native = pair(config.image_size) == (height, width)
    embedded, _, _ = model.embeddings(pixels, interpolate_pos_encoding=not native)
    stride, halving = list(config.patch_stride), list(config.query_stride)
    size, windows = [height // stride[0], width // stride[1]], [halving] * (len(config.depths) - 1)

    def in_rows(tokens: Tensor) -> Tensor:
        places = torch.arange(prod(size), device=tokens.device).view(1, -1, 1)
        order = unroll(places, size, [1, 1], windows).flatten().argsort()
        return tokens[:, order].transpose(1, 2).reshape(len(tokens), -1, *size)

    tokens = unroll(embedded, (height, width), stride, windows)
    maps = {0: in_rows(tokens)} if 0 in wanted else {}
    for depth, stage in enumerate(stages, 1):
        tokens = stage(tokens)[0]
        if 1 < depth <= config.num_query_pool + 1:  # this stage began by halving the map
            size, windows = [length // by for length, by in zip(size, halving, strict=True)], windows[1:]
        if depth in wanted or depth == len(stages):
            maps[depth] = in_rows(tokens)
    return Reading(maps[len(stages)], maps, model.pooler(tokens) if model.pooler is not None else None)


def _hiera_step(config: Any) -> int:
    """A window of its attention, in pixels."""
    return int(config.patch_stride[0] * config.masked_unit_size[0])


def _column_widths(config: Any) -> tuple[int, ...]:
    return (config.hidden_size,) * (config.num_hidden_layers + 1)


def _stage_widths(config: Any) -> tuple[int, ...]:
    return (config.hidden_sizes[0], *config.hidden_sizes)


def _doubling_widths(config: Any) -> tuple[int, ...]:
    growth = getattr(config, "embed_dim_multiplier", 2)
    stages = [int(config.embed_dim * growth**stage) for stage in range(len(config.depths))]
    return (stages[0], *stages)


@dataclass(frozen=True)
class VisionFamily:
    """One architecture.

    Attributes:
        model: its class in transformers.
        read: from pixels to tokens.
        prepared: the name in `picture_input.PROCESSORS` of what prepares its pictures.
        prefix: how many tokens stand before the grid's.
        step: the shortest side of a picture, and for Hiera what sides must be a multiple of.
        widths: of each depth, from its configuration.
        square: its positions can be interpolated from a square only.
    """

    model: str
    read: Reader
    prepared: str
    prefix: Callable[[Any], int] = lambda config: 0
    step: Callable[[Any], int] = lambda config: max(pair(config.patch_size))
    widths: Callable[[Any], tuple[int, ...]] = _column_widths
    square: bool = False


def _one(config: Any) -> int:
    return 1


def _registers(config: Any) -> int:
    return 1 + int(config.num_register_tokens)


def _halvings(config: Any) -> int:
    """ConvNeXt halves what its stem leaves once before each stage but the first."""
    return int(getattr(config, "patch_size", 4) * 2 ** (len(config.depths) - 1))


VISION_FAMILIES: Final[Mapping[str, VisionFamily]] = {
    "clip_vision_model": VisionFamily("CLIPVisionModel", _interpolated, "CLIP", _one, square=True),
    "siglip_vision_model": VisionFamily("SiglipVisionModel", _interpolated, "Siglip", square=True),
    "siglip2_vision_model": VisionFamily("Siglip2VisionModel", _patchified, "Siglip2"),
    "dinov2": VisionFamily("Dinov2Model", _columns, "Bit", _one, square=True),
    "dinov2_with_registers": VisionFamily("Dinov2WithRegistersModel", _columns, "Bit", _registers, square=True),
    "dinov3_vit": VisionFamily("DINOv3ViTModel", _columns, "DINOv3ViT", _registers),
    "dinov3_convnext": VisionFamily(
        "DINOv3ConvNextModel",
        _dino_convnext,
        "DINOv3ViT",
        _one,
        _halvings,
        lambda config: (config.num_channels, *config.hidden_sizes),
    ),
    "vit": VisionFamily("ViTModel", _interpolated, "ViT", _one, square=True),
    "blip_2_vision_model": VisionFamily("Blip2VisionModel", _interpolated, "Blip", _one, square=True),
    "beit": VisionFamily("BeitModel", _interpolated, "Beit", _one, square=True),
    "convnext": VisionFamily("ConvNextModel", _columns, "ConvNext", step=_halvings, widths=_stage_widths),
    "convnextv2": VisionFamily("ConvNextV2Model", _columns, "ConvNext", step=_halvings, widths=_stage_widths),
    "focalnet": VisionFamily("FocalNetModel", _focal, "Bit", widths=_doubling_widths),
    "hiera": VisionFamily("HieraModel", _hiera, "Bit", step=_hiera_step, widths=_doubling_widths, square=True),
}
"""By the ``model_type`` of their configuration."""
