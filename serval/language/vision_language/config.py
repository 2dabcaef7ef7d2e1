"""What a vision-language model is made of, read from its ``config.json`` and from how its pictures are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serval.encoders.model_tower import quiet
from serval.encoders.tower_files import TowerFiles
from serval.language.config import DecoderConfig, LayerConfig
from serval.language.families import config_from
from serval.language.fields import Fields
from serval.language.vision_language import bank
from serval.refusal import Refusal

FAMILIES = (
    *("llava", "llava_next", "llava_onevision", "idefics3", "smolvlm", "internvl", "qwen2_vl", "qwen2_5_vl"),
    bank.MODEL_TYPE,
)

_MOST_LAYERS = 1024
_TAKE = "take a model of a family that is"


@dataclass(frozen=True)
class VisionLanguageConfig:
    """Attributes:
    family: Hugging Face's ``model_type``, or "encoder_bank" for several towers.
    whole: transformers' configuration of all of it, which also knows what a file leaves out; or a `BankConfig`.
    text: of the decoder.
    prepared: how pictures are prepared, as ``preprocessor_config.json`` has it; what it leaves out is the family's usual way.
    prepared_video: the same for videos.
    source: the ``config.json`` that this was read from, to be written back.
    """

    family: str
    whole: Any
    text: DecoderConfig
    prepared: Mapping[str, Any] = field(default_factory=dict)
    prepared_video: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def vision(self) -> Any:
        """Transformers' configuration of the tower."""
        return self.whole.vision_config

    @property
    def axes(self) -> int:
        """Axes of the positions: 3 in Qwen's families, else 1."""
        layer = self.text.layers[0]
        rotary = layer.attention.rotary if isinstance(layer, LayerConfig) else None
        return len(rotary.sections) if rotary is not None and rotary.sections else 1


def read_vision_language_config(folder: Path) -> VisionLanguageConfig:
    """Of a model's folder.

    Raises:
        Refusal: a file is missing or damaged, the family is not known, or sizes cannot be.
    """
    files, video = TowerFiles(folder), Fields({}, "")
    if (folder / "video_preprocessor_config.json").exists():
        video = Fields.from_json(folder / "video_preprocessor_config.json")
    elif (folder / "processor_config.json").exists():
        video = Fields.from_json(folder / "processor_config.json").within("video_processor")
    return config_of(files.config(), files.prepared(), video.content)


def config_of(
    content: Mapping[str, Any], prepared: Mapping[str, Any] | None = None, prepared_video: Mapping[str, Any] | None = None
) -> VisionLanguageConfig:
    """Of the content of those files. Raises `Refusal` as `read_vision_language_config`."""
    fields = Fields(content, "config.json")
    family = fields.word("model_type", "")
    if family not in FAMILIES:
        if fields.given("auto_map"):
            raise fields.refusal("it brings code of its own (auto_map), which is never run", _TAKE)
        raise fields.refusal(f"its architecture “{ascii(family)[1:-1][:40]}” is not known here", f"take {', '.join(FAMILIES)}")
    if fields.given("quantization_config"):
        raise fields.refusal("its weights are quantized", "take the weights that they were made from")
    for part in (fields, fields.within("text_config"), fields.within("vision_config")):
        for key in ("num_hidden_layers", "depth"):
            if part.given(key) and part.whole(key) > _MOST_LAYERS:
                raise fields.refusal(f"its {key} is not a number from 1 to {_MOST_LAYERS:,}")
    from transformers import CONFIG_MAPPING

    try:
        with quiet():
            if family == bank.MODEL_TYPE:
                whole: Any = bank.BankConfig.from_fields(fields)
            else:
                whole = CONFIG_MAPPING[family].from_dict(dict(content))
            text = whole.text_config.to_dict()
    except Refusal:
        raise
    except Exception as error:  # every class of transformers has errors of its own
        raise fields.refusal(f"it is not a configuration of {family} ({' '.join(str(error).split())[:120]})") from None
    decoder = config_from(text | {"tie_word_embeddings": bool(whole.tie_word_embeddings)}, "config.json")
    return VisionLanguageConfig(family, whole, decoder, prepared or {}, prepared_video or {}, dict(content))
