"""The families: which tower and connector, how its tokens are taken, what its tensors are called, how pictures are prepared."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from serval.connectors.grid_reducer import space_to_depth
from serval.connectors.projector import Projector
from serval.encoders.encoder_bank import EncoderBank
from serval.encoders.features import Batch, depths
from serval.encoders.picture_input import PictureInput
from serval.encoders.vision_families import pair
from serval.encoders.vision_tower import VisionTower
from serval.language.vision_language import bank
from serval.language.vision_language.config import VisionLanguageConfig
from serval.language.vision_language.pictures import AnyResolution, Patches, Pictures, Plan, Split, Stretched, Whole
from serval.refusal import Refusal

_PREPARED = "preprocessor_config.json"
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 1}


@dataclass(frozen=True)
class Family:
    """Attributes:
    tower, connector: new ones; either may be a module of transformers.
    see: the tower, its plan and its pixels → (tiles, tokens of each, width in), what the connector reads.
    pictures: how pictures become pixels.
    text, head: what names of the decoder's tensors and of its head begin with in files, as transformers 5 writes them.
    names: the same for the other tensors: ours → theirs.
    older: how other versions began those names, as patterns, and what to put there.
    newline: a learned token ends rows of tokens.
    """

    tower: Callable[[VisionLanguageConfig], nn.Module]
    connector: Callable[[VisionLanguageConfig], nn.Module]
    see: Callable[..., Tensor]
    pictures: Callable[[VisionLanguageConfig], Pictures]
    text: str
    head: str
    names: Mapping[str, str]
    older: tuple[tuple[str, str], ...] = ()
    newline: bool = False

    def written(self, name: str) -> str:
        """Our name of a tensor that is not the decoder's, as files have it."""
        ours = next(each for each in self.names if name.startswith(each))
        return self.names[ours] + name.removeprefix(ours)

    def today(self, name: str) -> str:
        """A name in a file of any version, as it is written today."""
        for pattern, put in self.older:
            name = re.sub(pattern, put, name)
        return name


# -- towers, and what connectors read of them -------------------------------------------------------------------------------


def _known_tower(config: VisionLanguageConfig) -> nn.Module:
    """A CLIP or SigLIP tower of `serval.encoders`."""
    import transformers

    kinds = {"clip_vision_model": transformers.CLIPVisionModel, "siglip_vision_model": transformers.SiglipVisionModel}
    if (kind := config.vision.model_type) not in kinds:
        raise Refusal(
            "config.json", f"its tower “{ascii(kind)[1:-1][:40]}” is not known here", f"take one with {', '.join(kinds)}"
        )
    return VisionTower(kinds[kind](config.vision), replace(_bytes(config), size=pair(config.vision.image_size)))


def _transformers_tower(config: VisionLanguageConfig) -> nn.Module:
    """The family's own tower, a module of transformers."""
    from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionTransformer
    from transformers.models.internvl.modeling_internvl import InternVLVisionModel
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
    from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

    kinds: dict[str, Any] = {"idefics3": Idefics3VisionTransformer, "smolvlm": SmolVLMVisionTransformer}
    kinds |= {"internvl": InternVLVisionModel, "qwen2_vl": Qwen2VisionTransformerPretrainedModel}
    kinds |= {"qwen2_5_vl": Qwen2_5_VisionTransformerPretrainedModel}
    made: nn.Module = kinds[config.family](config.vision)
    return made


def _depths(config: VisionLanguageConfig) -> list[int]:
    """Of the tower's layers that the connector reads. Raises ``ValueError`` for one that is not there."""
    said = config.whole.vision_feature_layer
    return depths([said] if isinstance(said, int) else said, config.vision.num_hidden_layers + 1)


def _see_depths(config: VisionLanguageConfig, tower: VisionTower, plan: Plan, pixels: Tensor) -> Tensor:
    return torch.cat(tower.encode(Batch(pixels), taps=_depths(config)).taps, dim=-1)


def _see_shuffled(config: VisionLanguageConfig, tower: Any, plan: Plan, pixels: Tensor) -> Tensor:
    """Idefics3: tokens of a square window side by side."""
    rows, columns = (side // config.vision.patch_size for side in pixels.shape[2:])
    seen = torch.ones(len(pixels), rows, columns, dtype=torch.bool, device=pixels.device)
    last = tower(pixel_values=pixels, patch_attention_mask=seen).last_hidden_state
    return space_to_depth(last.reshape(len(last), rows, columns, -1), config.whole.scale_factor).flatten(1, 2)


def _see_internvl(config: VisionLanguageConfig, tower: Any, plan: Plan, pixels: Tensor) -> Tensor:
    (depth,) = _depths(config)
    last = depth == config.vision.num_hidden_layers
    out = tower(pixel_values=pixels, output_hidden_states=not last)
    tokens = (out.last_hidden_state if last else out.hidden_states[depth])[:, 1:]
    side = math.isqrt(tokens.shape[1])
    return space_to_depth(tokens.reshape(len(tokens), side, side, -1), _internvl_window(config)).flatten(1, 2)


def _see_patches(config: VisionLanguageConfig, tower: Any, plan: Plan, pixels: Tensor) -> Tensor:
    merged: Tensor = tower(pixels, grid_thw=torch.tensor([plan.grid], device=pixels.device)).pooler_output
    return merged[None]


def _see_bank(
    config: VisionLanguageConfig, tower: EncoderBank, plan: Plan, *pixels: Tensor, condition: Tensor | None = None
) -> Tensor:
    return bank.see(tower, pixels, plan, condition)


# -- connectors ------------------------------------------------------------------------------------------------------------


def _two_layers(config: VisionLanguageConfig) -> nn.Module:
    whole, kind = config.whole, config.vision.model_type
    if whole.projector_hidden_act != "gelu" or (whole.vision_feature_select_strategy == "default") != kind.startswith("clip"):
        why = "its connector is not that of LLaVA (gelu, and all tokens but the class token)"
        raise Refusal("config.json", why, "take a model whose connector is")
    width = config.vision.hidden_size * len(_depths(config))
    return Projector(width, config.text.width, bias=getattr(whole, "multimodal_projector_bias", True))


def _one_layer(config: VisionLanguageConfig) -> nn.Module:
    width = config.vision.hidden_size * config.whole.scale_factor**2
    return Projector(width, config.text.width, depth=1, bias=False)


def _normed(config: VisionLanguageConfig) -> nn.Module:
    whole = config.whole
    if whole.projector_hidden_act != "gelu" or whole.vision_feature_select_strategy != "default" or len(_depths(config)) > 1:
        why = "its connector is not that of InternVL (gelu, one depth, and all tokens but the class token)"
        raise Refusal("config.json", why, "take a model whose connector is")
    width = config.vision.hidden_size * _internvl_window(config) ** 2
    return nn.Sequential(nn.LayerNorm(width), Projector(width, config.text.width))


def _internvl_window(config: VisionLanguageConfig) -> int:
    return int(1 / config.whole.downsample_ratio)


# -- pictures --------------------------------------------------------------------------------------------------------------


def _bytes(config: VisionLanguageConfig, **usual: Any) -> PictureInput:
    """How bytes are scaled, and by which filter pictures are resized."""
    plain = {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "do_center_crop": False, "do_pad": False}
    return PictureInput.from_json({**usual, **config.prepared, **plain}, _PREPARED)


def _said(config: VisionLanguageConfig, key: str, usual: int, video: bool = False) -> int:
    """A number from 1 to 2^31 of how pictures are prepared; ``size.longest_edge`` is within ``size``."""
    value: Any = config.prepared_video if video else config.prepared
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    value = usual if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**31:
        raise Refusal(_PREPARED, f"its {key} is not a number from 1 on", "fetch the model again")
    return value


def _tile(config: VisionLanguageConfig, *keys: str) -> tuple[int, int]:
    """The side of what the tower looks at, in pixels and in patches; pictures are to be prepared at that size."""
    (side, width), (patch, _) = pair(config.vision.image_size), pair(config.vision.patch_size)
    said = {_said(config, key, side) for key in keys}
    if side != width or said - {side} or side < patch:
        raise Refusal(_PREPARED, f"it does not prepare the squares of {side} pixels that the tower looks at", "fetch it again")
    return side, side // patch


def _whole(config: VisionLanguageConfig) -> Pictures:
    side, count = _tile(config, "crop_size.height", "crop_size.width")
    usual = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    content = {**usual, **config.prepared, "image_processor_type": "CLIPImageProcessor"}
    return Whole(PictureInput.from_json(content, _PREPARED), count**2)


def _any_resolution(config: VisionLanguageConfig) -> Pictures:
    side, count = _tile(config, "size.shortest_edge", "size.height", "size.width")
    grids, most = config.whole.image_grid_pinpoints, None
    if config.family == "llava_onevision":
        found = re.fullmatch(r"anyres_max_([1-9][0-9]{0,2})", config.whole.vision_aspect_ratio)
        most = int(found[1]) if found else 0
    try:
        tiles = tuple((int(width) // side, int(height) // side) for height, width in grids)
        if most == 0 or not tiles or not all(1 <= x <= 64 and 1 <= y <= 64 for x, y in tiles) or len(tiles) > 4096:
            raise ValueError
        if any(height % side or width % side for height, width in grids):
            raise ValueError
    except (TypeError, ValueError):
        why = f"its vision_aspect_ratio or image_grid_pinpoints are not of tiles of {side}"
        raise Refusal("config.json", why, "fetch it again") from None
    return AnyResolution(_bytes(config), tiles, side, count, most)


def _stretched(config: VisionLanguageConfig) -> Pictures:
    side, count = _tile(config, "size.height", "size.width")
    budget, least = _said(config, "max_patches", 12), _said(config, "min_patches", 1)
    if not least <= budget <= 64:
        raise Refusal(_PREPARED, f"a picture cannot be {least} to {budget} tiles", "fetch the model again")
    return Stretched(_bytes(config), side, (count // _internvl_window(config)) ** 2, budget, least)


def _split(config: VisionLanguageConfig) -> Pictures:
    side, count = _tile(config, "max_image_size.longest_edge")
    longest, split = _said(config, "size.longest_edge", 4 * side), config.prepared.get("do_image_splitting", True) is not False
    if longest > 32 * side:
        raise Refusal(_PREPARED, f"its size.longest_edge is more than 32 tiles of {side}", "fetch the model again")
    return Split(_bytes(config, **_HALF), side, (count // config.whole.scale_factor) ** 2, longest, split)


def _patches(config: VisionLanguageConfig) -> Pictures:
    vision, sizes = config.vision, []
    for video, least, most in ((False, 56 * 56, 28 * 28 * 1280), (True, 128 * 28 * 28, 768 * 28 * 28)):
        least = _said(config, "min_pixels", _said(config, "size.shortest_edge", least, video), video)
        most = _said(config, "max_pixels", _said(config, "size.longest_edge", most, video), video)
        if not least <= most <= 2**26:
            raise Refusal(_PREPARED, f"pictures cannot have {least} to {most} pixels", "fetch the model again")
        sizes.append((least, most))
    return Patches(_bytes(config), vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size, *sizes)


# -- the table -------------------------------------------------------------------------------------------------------------

_LLAVA = Family(
    tower=_known_tower,
    connector=_two_layers,
    see=_see_depths,
    pictures=_whole,
    text="language_model.model.",
    head="language_model.lm_head.",
    names={
        "vision.model.": "vision_tower.",
        "connector.layers.0.": "multi_modal_projector.linear_1.",
        "connector.layers.2.": "multi_modal_projector.linear_2.",
        "newline": "image_newline",
    },
    older=(
        (r"^model\.(?=language_model|vision_tower|multi_modal_projector|image_newline)", ""),
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^language_model\.(?!model\.|lm_head\.)", "language_model.model."),
        (r"^vision_tower\.vision_model\.", "vision_tower."),
    ),
)
_ANY_RESOLUTION = replace(_LLAVA, pictures=_any_resolution, newline=True)
_IDEFICS = Family(
    tower=_transformers_tower,
    connector=_one_layer,
    see=_see_shuffled,
    pictures=_split,
    text="model.text_model.",
    head="lm_head.",
    names={"vision.": "model.vision_model.", "connector.layers.0.": "model.connector.modality_projection.proj."},
)
_INTERNVL = replace(
    _LLAVA,
    tower=_transformers_tower,
    connector=_normed,
    see=_see_internvl,
    pictures=_stretched,
    names={
        "vision.": "vision_tower.",
        "connector.0.": "multi_modal_projector.layer_norm.",
        "connector.1.layers.0.": "multi_modal_projector.linear_1.",
        "connector.1.layers.2.": "multi_modal_projector.linear_2.",
    },
)
_QWEN = Family(
    tower=_transformers_tower,
    connector=lambda config: nn.Identity(),  # the tower merges and maps its patches itself
    see=_see_patches,
    pictures=_patches,
    text="model.",
    head="lm_head.",
    names={"vision.": "visual."},
    older=((r"^model\.visual\.", "visual."), (r"^model\.language_model\.", "model.")),
)
_BANK = Family(
    tower=lambda config: config.whole.bank(),
    connector=lambda config: nn.Identity(),  # each tower has its own within the bank
    see=_see_bank,
    pictures=lambda config: config.whole.pictures(),
    text="decoder.",
    head="decoder.lm_head.",
    names={"vision.": "encoder_bank."},
)
FAMILIES: dict[str, Family] = {
    "llava": _LLAVA,
    "llava_next": _ANY_RESOLUTION,
    "llava_onevision": _ANY_RESOLUTION,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "internvl": _INTERNVL,
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    bank.MODEL_TYPE: _BANK,
}
