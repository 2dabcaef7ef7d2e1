"""Tiny random models of every family with tokenizer and template, made with transformers and saved the way it saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as kinds
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast

TILE, PATCH = 28, 7
ROWS = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
SPECIAL = ["<s>", "</s>", "<pad>", "<image>", "<video>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<fake_token_around_image>", "<global-img>", "<img>", "</img>", *ROWS]
VOCABULARY = 360
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": TILE,
    "patch_size": PATCH,
}  # fmt: skip
PINPOINTS = [[28, 56], [56, 28], [56, 56], [28, 84], [112, 112]]
_CLIP = VISION | {"model_type": "clip_vision_model", "projection_dim": 24}
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
_PLACES = {"image_token_id": 3, "video_token_id": 4}
_QWEN2 = {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "patch_size": 4, "mlp_ratio": 2}
_QWEN25 = {"depth": 2, "hidden_size": 32, "num_heads": 4, "intermediate_size": 48, "out_hidden_size": 32, "patch_size": 4}
_QWEN25 |= {"window_size": 16, "fullatt_block_indexes": [1]}
CONFIGS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {  # class, whole, vision, text
    "llava": ("llava", {"image_token_index": 3}, _CLIP, {"model_type": "llama"}),
    "llava of two depths": (
        "llava",
        {"image_token_index": 3, "vision_feature_layer": [-2, 1]},
        _CLIP,
        {"model_type": "qwen3", "head_dim": 8},
    ),
    "llava_next": (
        "llava_next",
        {"image_token_index": 3, "image_grid_pinpoints": PINPOINTS[:3]},
        _CLIP,
        {"model_type": "mistral"},
    ),
    "llava_onevision": (
        "llava_onevision",
        {
            "image_token_index": 3,
            "video_token_index": 4,
            "image_grid_pinpoints": PINPOINTS,
            "vision_aspect_ratio": "anyres_max_2",
            "tie_word_embeddings": True,
        },
        VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
        {"model_type": "qwen2"},
    ),
    "idefics3": ("idefics3", {"image_token_id": 3}, VISION, {"model_type": "llama"}),
    "smolvlm": ("smolvlm", {"image_token_id": 3, "tie_word_embeddings": True}, VISION, {"model_type": "llama"}),
    "internvl": ("internvl", {"image_token_id": 3}, VISION, {"model_type": "qwen2"}),
    "qwen2_vl": ("qwen2_vl", _PLACES, _QWEN2, _MROPE),
    "qwen2_5_vl": ("qwen2_5_vl", _PLACES | {"tie_word_embeddings": True}, _QWEN25, _MROPE),
}


def tiny_config(name: str) -> Any:
    family, whole, vision, text = CONFIGS[name]
    return AutoConfig.for_model(family, vision_config=dict(vision), text_config=TEXT | text, **whole)


def tiny_model(name: str, folder: Path) -> PreTrainedModel:
    """A random model of a row of `CONFIGS`, saved in ``folder`` with transformers, with tokenizer and template."""
    torch.manual_seed(11)
    model = AutoModelForImageTextToText.from_config(tiny_config(name)).eval()
    for parameter in model.parameters():  # transformers starts so small that mistakes would hide
        torch.nn.init.normal_(parameter, std=0.15 if parameter.ndim > 1 else 0.5)
    model.save_pretrained(folder)
    processor = tiny_processor(CONFIGS[name][0])
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATES[CONFIGS[name][0]], "utf-8")
    if CONFIGS[name][0].startswith("qwen"):  # a frame is 100,000 pixels or more where nothing is said
        small = '{"size": {"shortest_edge": 512, "longest_edge": 2048}}'
        (folder / "video_preprocessor_config.json").write_text(small, "utf-8")
    return model


_TURNS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'video' %}VIDEO{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_USERS = (
    "{% for message in messages %}{{ message['role'].upper() }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _turns(image: str, video: str = "<video>") -> str:
    return _TURNS.replace("IMAGE", image).replace("VIDEO", video)


_PADDED = _turns("<|vision_start|><image><|vision_end|>", "<|vision_start|><video><|vision_end|>")
TEMPLATES = {"llava": _USERS, "llava_next": _USERS, "llava_onevision": _turns("<image>"), "idefics3": _turns("<image>")}
TEMPLATES |= {"smolvlm": _turns("<image>"), "internvl": _turns("<image>\n"), "qwen2_vl": _PADDED, "qwen2_5_vl": _PADDED}


def tiny_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a few merges, two newlines among them; LLaVA's puts <s> before every text."""
    made = Tokenizer(kinds.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 30, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(["user assistant USER ASSISTANT What is in the picture?\n\nNothing.\n\n"] * 20, trainer)
    if family in ("llava", "llava_next"):
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"image_token": "<image>", "video_token": "<video>"}
    if family == "internvl":
        names |= {"context_image_token": "<image>", "start_image_token": "<img>", "end_image_token": "</img>"}
    end = "</s>" if family in ("llava", "llava_next") else "<|im_end|>"
    named: dict[str, Any] = {"bos_token": "<s>", "eos_token": end, "pad_token": "<pad>", "extra_special_tokens": names}
    return PreTrainedTokenizerFast(tokenizer_object=made, **named)


def tiny_processor(family: str) -> Any:
    """Transformers' own processor of a family, as far as it works without torchvision."""
    square, places = {"height": TILE, "width": TILE}, {"tokenizer": tiny_tokenizer(family)}
    places["chat_template"] = TEMPLATES[family]
    t = transformers
    if family == "llava":
        images = t.LlavaImageProcessorPil(size={"shortest_edge": TILE}, crop_size=square)
        options = {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        return t.LlavaProcessor(images, **places, **options)
    if family == "llava_next":
        images = t.LlavaNextImageProcessorPil(
            size={"shortest_edge": TILE}, crop_size=square, image_grid_pinpoints=PINPOINTS[:3]
        )
        options = {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        return t.LlavaNextProcessor(images, **places, **options)
    if family == "llava_onevision":
        images = t.LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=PINPOINTS)
        options = {"num_image_tokens": 16, "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_2"}
        return _still(t.LlavaOnevisionProcessor)(images, **places, **options)
    if family in ("idefics3", "smolvlm"):
        images = t.Idefics3ImageProcessorPil(size={"longest_edge": 4 * TILE}, max_image_size={"longest_edge": TILE})
        return t.Idefics3Processor(images, **places, image_seq_len=4)
    if family == "internvl":
        images = t.GotOcr2ImageProcessorPil(size=square, max_patches=6)
        return _still(t.InternVLProcessor)(images, **places, image_seq_length=4)
    images = t.Qwen2VLImageProcessorPil(patch_size=4, size={"shortest_edge": 256, "longest_edge": 4096})
    return _still(t.Qwen2VLProcessor if family == "qwen2_vl" else t.Qwen2_5_VLProcessor)(images, **places)


def _still(kind: Any) -> Any:
    """A processor without its part for videos, which needs torchvision."""
    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": lambda self, name, value: type(value)})
