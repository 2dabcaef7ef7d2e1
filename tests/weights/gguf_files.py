"""A tiny random Llama as a GGUF file, with everything that a whole file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

WIDTH, HEADS, KV_HEADS, FEED, LAYERS = 64, 2, 1, 96, 2
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "Ġ", "ab", "Ġab"]
MERGES = ["a b", "Ġ ab"]


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Hugging Face's layout to llama.cpp's, as llama.cpp's own conversion does it."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(path: Path, *, quantized: bool = False, **changes: object) -> dict[str, np.ndarray]:
    """A random Llama as a GGUF file; returns what its tensors are under Hugging Face's names."""
    random = np.random.default_rng(3)
    writer = GGUFWriter(path, str(changes.get("architecture", "llama")))
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_context_length(128)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(str(changes.get("pre", "smollm")))
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(TOKENS) - 3))
    writer.add_token_merges(changes.get("merges", MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ messages }}")
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    names = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}
    for layer in range(LAYERS):
        for kind, name, shape in (
            ("attn_norm", "input_layernorm", (WIDTH,)),
            ("attn_q", "self_attn.q_proj", (WIDTH, WIDTH)),
            ("attn_k", "self_attn.k_proj", (WIDTH // 2, WIDTH)),
            ("attn_v", "self_attn.v_proj", (WIDTH // 2, WIDTH)),
            ("attn_output", "self_attn.o_proj", (WIDTH, WIDTH)),
            ("ffn_norm", "post_attention_layernorm", (WIDTH,)),
            ("ffn_gate", "mlp.gate_proj", (FEED, WIDTH)),
            ("ffn_up", "mlp.up_proj", (FEED, WIDTH)),
            ("ffn_down", "mlp.down_proj", (WIDTH, FEED)),
        ):
            shapes[f"blk.{layer}.{kind}"] = shape
            names[f"blk.{layer}.{kind}"] = f"model.layers.{layer}.{name}.weight"
    expected = {}
    for key, shape in shapes.items():
        values = random.normal(size=shape).astype(np.float32)
        expected[names[key]] = values
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(key.split(".")[-1])
        stored = permuted(values, heads) if heads else values
        if quantized and len(shape) == 2:
            kind = GGMLQuantizationType.Q8_0 if key == "token_embd" else GGMLQuantizationType.Q4_1
            writer.add_tensor(f"{key}.weight", quantize(stored, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{key}.weight", stored)
    if "extra" in changes:
        writer.add_tensor(str(changes["extra"]), np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected
