"""GGUF files of the Llama family turned, once, into what everything else here reads: safetensors, config.json, tokenizer.json.

Names, shapes and files are those of Hugging Face's Llama, so that transformers reads the folder as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serval.refusal import Refusal
from serval.weights.gguf_file import GGUFFile, read_gguf

if TYPE_CHECKING:
    import torch

# llama.cpp's names of tensors and Hugging Face's.
_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# How text is cut before byte pairs are merged, by the name that llama.cpp gives it.
_CUTS: dict[str, list[dict[str, Any]]] = {
    "smollm": [{"type": "Digits", "individual_digits": True}],
    "gpt-2": [],
}
_CONTROL, _USER_DEFINED = 3, 4
_REMEDY = "fetch it again"


def convert(gguf: Path, out: Path) -> None:
    """Write ``model.safetensors`` (bfloat16), ``config.json``, ``tokenizer.json`` and ``tokenizer_config.json`` into ``out``.

    The same file gives the same bytes every time. A folder that is there already is written over.

    Raises:
        Refusal: ``gguf`` is damaged, or not of the Llama family with byte-level BPE.
    """
    source = read_gguf(gguf)
    config = llama_config(source)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer, settings = _tokenizer(source)
    for name, content in (("config.json", config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)):
        _written(out / name, json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    _write_tensors(source, config, out / "model.safetensors")


def llama_config(source: GGUFFile) -> dict[str, Any]:
    """The fields of Hugging Face's ``LlamaConfig`` for a GGUF file.

    Raises:
        Refusal: another architecture, rescaled positions, or sizes that do not fit together.
    """
    name = source.name
    architecture = source.get("general.architecture", str)
    if architecture != "llama":
        raise Refusal(name, "its architecture is not Llama's", "take a model of the Llama family")
    if source.get("llama.rope.scaling.type", str, "none") != "none" or "rope_freqs.weight" in source.tensors:
        raise Refusal(name, "it rescales positions, which is not read here yet", "take a model without it")
    width, heads = source.get("llama.embedding_length", int), source.get("llama.attention.head_count", int)
    kv_heads = source.get("llama.attention.head_count_kv", int, heads)
    if min(width, heads, kv_heads) < 1 or heads % kv_heads:
        raise Refusal(name, f"{heads} heads cannot share {kv_heads} heads of keys", _REMEDY)
    head_dim = source.get("llama.attention.key_length", int, width // heads)
    if head_dim < 2 or head_dim % 2:
        raise Refusal(name, f"its heads are {head_dim} numbers wide, which cannot turn in pairs", _REMEDY)
    if source.get("llama.rope.dimension_count", int, head_dim) != head_dim:
        raise Refusal(name, "it turns only part of each head, which is not read here", "take a model of the Llama family")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": source.get("llama.feed_forward_length", int),
        "num_hidden_layers": source.get("llama.block_count", int),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": source.get("llama.context_length", int),
        "rms_norm_eps": _shortest(source.get("llama.attention.layer_norm_rms_epsilon", float)),
        "rope_theta": _shortest(source.get("llama.rope.freq_base", float, 10000.0)),
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in source.tensors,
        "vocab_size": len(source.get("tokenizer.ggml.tokens", list)),
        "bos_token_id": source.get("tokenizer.ggml.bos_token_id", int, -1),
        "eos_token_id": source.get("tokenizer.ggml.eos_token_id", int),
        "dtype": "bfloat16",
    }


def half_split(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of a query or key matrix, reordered from llama.cpp's rotary layout to Hugging Face's.

    Within each head llama.cpp keeps the two numbers that turn together side by side (0, 1), (2, 3) …; Hugging Face keeps
    all first ones and then all second ones. ``rows`` is (heads * head_dim, anything).
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def _write_tensors(source: GGUFFile, config: dict[str, Any], path: Path) -> None:
    import torch
    from safetensors.torch import save

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in source.tensors.items():
        kind, known = _hugging_face_name(name, source.name)
        values = tensor.dequantize()
        if kind in heads:
            if values.ndim != 2 or values.shape[0] != heads[kind] * config["head_dim"]:
                raise Refusal(source.name, f"{name} does not have the shape that its heads ask for", _REMEDY)
            values = half_split(values, heads[kind])
        tensors[known] = torch.from_numpy(values).to(torch.bfloat16)
    _written(path, save(tensors, metadata={"format": "pt"}))


def _hugging_face_name(name: str, file: str) -> tuple[str, str]:
    """What kind of tensor llama.cpp's ``name`` is, and its name at Hugging Face."""
    parts = name.split(".")
    if len(parts) == 2 and parts[0] in _WHOLE and parts[1] == "weight":
        return parts[0], f"{_WHOLE[parts[0]]}.weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[1].isdecimal() and parts[2] in _LAYER and parts[3] == "weight":
        return parts[2], f"model.layers.{int(parts[1])}.{_LAYER[parts[2]]}.weight"
    shown = name if name.isprintable() else "with an unprintable name"
    raise Refusal(file, f"it holds a tensor {shown} that no plain Llama has", "take a model of the Llama family")


def _tokenizer(source: GGUFFile) -> tuple[dict[str, Any], dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json, as the ``tokenizers`` library and transformers read them."""
    cut = source.get("tokenizer.ggml.pre", str, "gpt-2")
    if source.get("tokenizer.ggml.model", str) != "gpt2" or cut not in _CUTS:
        raise Refusal(source.name, "its tokenizer is not one that is read here", "take a model with SmolLM's or GPT-2's")
    tokens, kinds = _texts(source, "tokenizer.ggml.tokens"), source.get("tokenizer.ggml.token_type", list)
    merges = [tuple(merge.split(" ")) for merge in _texts(source, "tokenizer.ggml.merges")]
    ids = {token: index for index, token in enumerate(tokens)}
    if len(kinds) != len(tokens) or len(ids) != len(tokens):
        raise Refusal(source.name, "its list of tokens is damaged", _REMEDY)
    if any(len(pair) != 2 or pair[0] + pair[1] not in ids or pair[0] not in ids or pair[1] not in ids for pair in merges):
        raise Refusal(source.name, "its list of merges is damaged", _REMEDY)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": token, **added, "special": kind == _CONTROL}
            for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*_CUTS[cut], byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ids,
            "merges": merges,
        },
    }
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for role in ("bos", "eos"):
        index = source.get(f"tokenizer.ggml.{role}_token_id", int, -1)
        if 0 <= index < len(tokens):
            settings[f"{role}_token"] = tokens[index]
    settings["chat_template"] = source.get("tokenizer.chat_template", str, "")
    return tokenizer, settings


def _texts(source: GGUFFile, key: str) -> list[str]:
    values = source.get(key, list)
    if not all(isinstance(value, str) for value in values):
        raise Refusal(source.name, f"its {key} is not a list of texts", _REMEDY)
    return values


def _shortest(value: float) -> float:
    """The shortest decimal number that is this 32-bit one: the file says 9.999999747378752e-06 where 1e-05 was meant."""
    return float(str(np.float32(value)))


def _written(path: Path, content: bytes) -> None:
    """All of it or nothing: a conversion that is cut short leaves no half file."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
