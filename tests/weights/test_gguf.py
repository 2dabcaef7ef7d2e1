"""GGUF files in: sizes are checked before they are believed, and the numbers come out as llama.cpp meant them."""

import json
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, TokenType
from gguf.quants import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer

from serval.refusal import Refusal
from serval.weights.gguf import convert, half_split
from serval.weights.gguf_file import read_gguf
from serval.weights.gguf_model import read_model

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


@given(heads=st.integers(1, 4), half=st.integers(1, 5), columns=st.integers(0, 3))
def test_half_split_undoes_the_interleaving(heads, half, columns):
    """Of a matrix, and of a bias (no columns)."""
    shape = (heads * half * 2, columns) if columns else (heads * half * 2,)
    rows = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert torch.equal(half_split(torch.from_numpy(permuted(rows, heads)), heads), torch.from_numpy(rows))


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
    assert (
        config["rms_norm_eps"] == 1e-5
        and config["rope_parameters"]["rope_theta"] == 1e5
        and config["tie_word_embeddings"] is True
    )
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, None)
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
        ({"pre": "deepseek-coder"}, "tokenizer"),
        ({"merges": ["a z", "b c"]}, "merges"),
        ({"extra": "blk.0.attn_q.bias"}, "blk.0.attn_q.bias"),
        ({"extra": "blk.0.attn_rot.weight"}, "blk.0.attn_rot.weight"),
        ({"extra": "rope_freqs.weight"}, "rope_freqs.weight"),
    ],
)
def test_other_models_are_refused_in_one_line(tmp_path, change, says):
    write(tmp_path / "m.gguf", **change)
    with pytest.raises(Refusal) as refused:
        convert(tmp_path / "m.gguf", tmp_path / "out")
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "out/model.safetensors").exists()


def test_a_file_with_an_unknown_tokenizer_can_be_read_without(tmp_path):
    write(tmp_path / "m.gguf", pre="deepseek-coder")
    convert(tmp_path / "m.gguf", tmp_path / "out", tokenizer=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


def test_nothing_of_an_older_conversion_is_mixed_with_the_new_one(tmp_path):
    write(tmp_path / "m.gguf")
    (tmp_path / "out").mkdir()
    left = (
        "model.safetensors",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model.gguf",
        "notes.safetensors",
    )
    for name in left:
        (tmp_path / "out" / name).write_bytes(b"older")
    convert(tmp_path / "m.gguf", tmp_path / "out", tokenizer=False)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["config.json", "model.gguf", "model.safetensors", "notes.safetensors"]
    assert load_file(tmp_path / "out/model.safetensors")


def test_a_conversion_that_breaks_off_leaves_no_half_file(tmp_path, monkeypatch):
    write(tmp_path / "m.gguf")

    def broken(self, name):
        raise OSError("the disk is full")

    monkeypatch.setattr("serval.weights.gguf.GGUFCheckpoint.tensor", broken)
    with pytest.raises(OSError, match="full"):
        convert(tmp_path / "m.gguf", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if "safetensors" in path.name]


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = tmp_path / "m.gguf"
    write(whole)
    content = whole.read_bytes()
    for length in [0, 3, 4, 7, 8, 23, 24, *range(30, len(content), len(content) // 40), len(content) - 64]:
        whole.write_bytes(content[:length])
        with pytest.raises(Refusal):
            read_gguf(whole)


HUGE = struct.pack("<Q", 2**63)


def header(*entries: bytes, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries) - tensors) + b"".join(entries)


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def described(name: bytes, sizes: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


NESTED = struct.pack("<IQ", 9, 1) * 1000  # lists in lists


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a GGUF file at all", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 99) + bytes(64), "version"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "version"),  # for machines that write numbers the other way round
        (b"GGUF" + struct.pack("<I", 3) + HUGE + bytes(64), "entries"),  # tensors
        (b"GGUF" + struct.pack("<I", 3) + bytes(8) + HUGE + bytes(64), "entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + HUGE + bytes(64), "text of absurd length"),  # a key
        (header(text(b"a") + struct.pack("<I", 8) + HUGE + bytes(64)), "text of absurd length"),
        (header(entry(b"a", 8, struct.pack("<Q", 4_000_000) + bytes(64))), "cut short"),
        (header(entry(b"a", 8, text(b"\xff\xfe"))), "damaged"),  # no UTF-8
        (header(entry(b"\xc3", 4, bytes(4))), "damaged"),
        (header(entry(b"a", 99, bytes(64))), "kind of value"),
        (header(entry(b"a", 9, struct.pack("<I", 8) + HUGE + bytes(64))), "list of absurd length"),
        (header(entry(b"a", 9, struct.pack("<IQ", 0, 3_999_999) + bytes(64))), "list of absurd length"),
        (header(entry(b"a", 9, NESTED)), "kind of list"),
        (header(entry(b"a", 4, bytes(4)), entry(b"a", 4, bytes(4))), "a key twice"),
        (header(entry(b"general.alignment", 4, struct.pack("<I", 24))), "alignment"),
        (header(entry(b"general.alignment", 7, b"\1")), "alignment"),
        (header(text(b"t") + struct.pack("<I", 2**31) + bytes(64), tensors=1), "t claims 2147483648 dimensions"),
        (header(text(b"t") + struct.pack("<I", 0) + bytes(64), tensors=1), "t claims 0 dimensions"),
        (header(described(b"t", (2**62, 2**62), 0, 0) + bytes(64), tensors=1), "t lies beyond its end"),
        (header(described(b"t", (4,), 0, 2**63) + bytes(64), tensors=1), "t lies beyond its end"),
        (header(described(b"t", (4,), 0, 4) + bytes(64), tensors=1), "t does not lie at a multiple of 32"),
        (header(described(b"t", (33,), 3, 0) + bytes(64), tensors=1), "t has a shape that its format Q4_1 cannot have"),
        (header(described(b"t", (0, 4), 0, 0) + bytes(64), tensors=1), "t has a shape"),
        (header(described(b"t", (4,), 777, 0) + bytes(64), tensors=1), "t is in a format"),
        (header(described(b"t", (4,), 4, 0) + bytes(64), tensors=1), "t is in a format"),  # one that is no more
        (header(described(b"t", (4,), 0, 0), described(b"t", (4,), 0, 32) + bytes(256), tensors=2), "gives t twice"),
        (
            header(described(b"t", (16,), 0, 0), described(b"u", (4,), 0, 32) + bytes(256), tensors=2),
            "u lies upon another tensor",
        ),
        (header(described(b"t\n", (4,), 777, 0) + bytes(64), tensors=1), "a tensor with a strange name is in a format"),
    ],
)
def test_absurd_headers_are_refused(tmp_path, content, says):
    (tmp_path / "m.gguf").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match=f"^m.gguf: .*{says}") as refused:
            read_gguf(tmp_path / "m.gguf")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert most < 2**18  # nothing was made room for that is not there


def test_absurd_sizes_of_a_model_are_refused(tmp_path):
    write(tmp_path / "m.gguf")
    whole = read_gguf(tmp_path / "m.gguf")
    assert read_model(whole)
    wrong = [0, -1, 3, 10**6, 2**31, 2**63, True, 1.5, "2", [2], None, float("nan")]
    sizes = {key: wrong for key, value in whole.values.items() if key.startswith("llama.") and "rope" not in key}
    sizes["llama.attention.layer_norm_rms_epsilon"] = sizes["llama.rope.freq_base"] = [
        0.0,
        -1.0,
        float("nan"),
        float("inf"),
        "1",
    ]
    sizes["llama.attention.key_length"] = [30, 2**31, 0]
    sizes["llama.context_length"] = [0, -1, 2**31, "8"]
    for key, values in sizes.items():
        for value in values:
            changed = {**whole.values, key: value} if value is not None else {k: v for k, v in whole.values.items() if k != key}
            if value is None and key in ("llama.attention.head_count_kv", "llama.rope.freq_base"):
                continue  # for these there is a default
            with pytest.raises(Refusal) as refused:
                read_model(replace(whole, values=changed))
            assert str(refused.value).startswith("m.gguf: ") and "\n" not in str(refused.value), (key, value)


WHOLE: list[bytes] = []  # written once


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_header_is_read_as_it_says_or_refused(tmp_path_factory, data):
    """What is read is what the gguf package reads, byte by byte."""
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    path = folder / "m.gguf"
    if not WHOLE:
        write(path)
        WHOLE.append(path.read_bytes())
    content = bytearray(WHOLE[0])
    for _ in range(data.draw(st.integers(1, 3))):
        place, change = data.draw(st.integers(4, 2800)), data.draw(st.sampled_from(["byte", "number", "drop", "insert"]))
        if change == "byte":
            content[place] = data.draw(st.integers(0, 255))
        elif change == "number":
            size = data.draw(st.sampled_from([0, 1, 2, 31, 33, 255, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            content[place : place + 8] = struct.pack("<Q", size)
        elif change == "drop":
            del content[place : place + data.draw(st.integers(1, 40))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=40))
    path.unlink(missing_ok=True)  # what is mapped is not written over
    path.write_bytes(content)
    try:
        found = read_gguf(path)
        read = GGUFReader(path)
        assert [each.name for each in read.tensors] == list(found.tensors)
        for each in read.tensors:
            tensor = found.tensors[each.name]
            assert tensor.shape == tuple(int(size) for size in reversed(each.shape)) and tensor.kind == each.tensor_type.name
            assert tensor.blocks.tobytes() == each.data.tobytes()
        told = {key: field.contents() for key, field in read.fields.items() if not key.startswith("GGUF.")}
        np.testing.assert_equal(found.values, {key: told[key] for key in found.values})
        convert(path, folder / "out")
    except Refusal as refused:
        assert str(refused).startswith("m.gguf: ") and "\n" not in str(refused)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        read_gguf(tmp_path / "missing.gguf")
