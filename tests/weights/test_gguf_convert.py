"""GGUF files become folders: numbers as llama.cpp meant them, whole files or none, and nothing of older ones."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer

from serval.refusal import Refusal
from serval.weights.gguf import convert, half_split

from .gguf_files import HEADS, KV_HEADS, permuted, write


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
