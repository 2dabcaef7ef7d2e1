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
from serval.encoders.vision_families import pair
from serval.encoders.vision_tower import VisionTower
from serval.language.vision_language import bank, preparation
from serval.language.vision_language.config import VisionLanguageConfig
from serval.language.vision_language.pictures import Pictures, Plan
from serval.refusal import Refusal


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
    return VisionTower(kinds[kind](config.vision), replace(preparation.scaling(config), size=pair(config.vision.image_size)))


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
    return space_to_depth(tokens.reshape(len(tokens), side, side, -1), preparation.internvl_window(config)).flatten(1, 2)


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
    width = config.vision.hidden_size * preparation.internvl_window(config) ** 2
    return nn.Sequential(nn.LayerNorm(width), Projector(width, config.text.width))


# -- the table -------------------------------------------------------------------------------------------------------------

_LLAVA = Family(
    tower=_known_tower,
    connector=_two_layers,
    see=_see_depths,
    pictures=preparation.whole,
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
_ANY_RESOLUTION = replace(_LLAVA, pictures=preparation.any_resolution, newline=True)
_IDEFICS = Family(
    tower=_transformers_tower,
    connector=_one_layer,
    see=_see_shuffled,
    pictures=preparation.split,
    text="model.text_model.",
    head="lm_head.",
    names={"vision.": "model.vision_model.", "connector.layers.0.": "model.connector.modality_projection.proj."},
)
_INTERNVL = replace(
    _LLAVA,
    tower=_transformers_tower,
    connector=_normed,
    see=_see_internvl,
    pictures=preparation.stretched,
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
    pictures=preparation.patches,
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
