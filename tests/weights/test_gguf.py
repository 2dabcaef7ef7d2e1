"""GGUF files in: sizes are checked before they are believed, and the numbers come out as llama.cpp meant them."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer

from serval.refusal import Refusal
from serval.weights.gguf import convert, half_split
from serval.weights.gguf_file import read_gguf

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


def test_tensors_come_out_under_hugging_face_names_and_in_its_layout(tmp_path):
    expected = write(tmp_path / "m.gguf")
    convert(tmp_path / "m.gguf", tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], torch.from_numpy(values).bfloat16()), name


def test_quantized_tensors_are_within_half_a_step_of_the_original(tmp_path):
    expected = write(tmp_path / "m.gguf", quantized=True)
    convert(tmp_path / "m.gguf", tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")
    for name, values in expected.items():
        if values.ndim == 2:
            blocks = values.reshape(-1, 32)
            steps = 15 if "layers" in name else 2 * 127
            reach = np.ptp(blocks, axis=1) if "layers" in name else 2 * np.abs(blocks).max(axis=1)
            error = np.abs(found[name].float().numpy() - values).reshape(-1, 32).max(axis=1)
            assert (error <= 0.5 * reach / steps + np.abs(blocks).max(axis=1) / 128).all(), name


@given(heads=st.integers(1, 4), half=st.integers(1, 5), columns=st.integers(1, 3))
def test_half_split_undoes_the_interleaving(heads, half, columns):
    rows = np.arange(heads * half * 2 * columns, dtype=np.float32).reshape(-1, columns)
    assert np.array_equal(half_split(permuted(rows, heads), heads), rows)


def test_the_same_file_gives_the_same_bytes(tmp_path):
    write(tmp_path / "m.gguf", quantized=True)
    for out in ("a", "b"):
        convert(tmp_path / "m.gguf", tmp_path / out)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_the_configuration_is_the_models(tmp_path):
    write(tmp_path / "m.gguf")
    convert(tmp_path / "m.gguf", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5 and config["rope_theta"] == 1e5 and config["tie_word_embeddings"] is True
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (HEADS, KV_HEADS, 32)
    assert json.loads((tmp_path / "out/tokenizer_config.json").read_text())["chat_template"] == "{{ messages }}"


def test_the_tokenizer_merges_and_keeps_special_tokens_apart(tmp_path):
    write(tmp_path / "m.gguf")
    convert(tmp_path / "m.gguf", tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    assert tokenizer.encode("ab ab<|im_end|>").tokens == ["ab", "Ġab", "<|im_end|>"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "mamba"}, "architecture"),
        ({"pre": "llama-bpe"}, "tokenizer"),
        ({"merges": ["a z", "b c"]}, "merges"),
        ({"extra": "blk.0.attn_q.bias"}, "blk.0.attn_q.bias"),
        ({"extra": "rope_freqs.weight"}, "positions"),
    ],
)
def test_other_models_are_refused_in_one_line(tmp_path, change, says):
    write(tmp_path / "m.gguf", **change)
    with pytest.raises(Refusal) as refused:
        convert(tmp_path / "m.gguf", tmp_path / "out")
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "out/model.safetensors").exists()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = tmp_path / "m.gguf"
    write(whole)
    content = whole.read_bytes()
    for length in [0, 3, 4, 7, 8, 23, 24, *range(30, len(content), len(content) // 40), len(content) - 64]:
        whole.write_bytes(content[:length])
        with pytest.raises(Refusal):
            read_gguf(whole)


HUGE = struct.pack("<Q", 2**63)


@pytest.mark.parametrize(
    "content",
    [
        b"not a GGUF file at all",
        b"GGUF" + struct.pack("<I", 99) + bytes(64),
        b"GGUF" + struct.pack("<I", 3) + HUGE + bytes(64),  # tensors
        b"GGUF" + struct.pack("<I", 3) + bytes(8) + HUGE + bytes(64),  # entries
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + HUGE + bytes(64),  # a key's length
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 8) + HUGE + bytes(64),  # a text's length
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<II", 9, 8) + HUGE + bytes(64),  # a list's length
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<II", 9, 9) + bytes(64),  # a list of lists
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 2**31) + bytes(64),  # dimensions
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQQIQ", 2, 2**62, 2**62, 0, 0) + bytes(64),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 4, 0, 2**63) + bytes(64),  # an offset
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 33, 3, 0) + bytes(64),  # half a block
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 4, 777, 0) + bytes(64),  # a format
    ],
)
def test_absurd_headers_are_refused(tmp_path, content):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(Refusal) as refused:
        read_gguf(tmp_path / "m.gguf")
    assert "\n" not in str(refused.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_header_is_read_or_refused_and_nothing_else(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    write(folder / "m.gguf")
    content = bytearray((folder / "m.gguf").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    (folder / "m.gguf").write_bytes(content)
    try:
        convert(folder / "m.gguf", folder / "out")
    except Refusal as refused:
        assert "\n" not in str(refused)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        read_gguf(tmp_path / "missing.gguf")
