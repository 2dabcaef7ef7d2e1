"""Byte-level tokenizers come out of GGUF files as their models were made with them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS, get_gguf_tokenizer

from serval.refusal import Refusal
from serval.weights import locate
from serval.weights.gguf_file import GGUFTensor, read_gguf
from serval.weights.gguf_tokenizer import _CUTS, read_tokenizer

from .gguf_vocabularies import CONTROL, CORPUS, NORMAL, TEXTS, UNUSED, USER, assert_alike, opened, ours, write


@pytest.fixture(scope="module")
def trained() -> tuple[dict[str, int], list[str]]:
    """A byte-level vocabulary and its merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(made.to_str())["model"]
    order = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return dict.fromkeys(order, NORMAL), [" ".join(pair) for pair in model["merges"]]


SPECIAL = {"<|end|>": CONTROL, "<|start|>": CONTROL, "<think>": USER, "[PAD422]": UNUSED, "[PAD423]": UNUSED}


def byte_level(path: Path, trained: tuple[dict[str, int], list[str]], pre: str, **told: Any) -> dict[str, int]:
    tokens = {**trained[0], **SPECIAL}
    first = len(trained[0])
    names = {"tokenizer_pre": pre, "token_merges": trained[1], "eos_token_id": first, "bos_token_id": first + 1, **told}
    write(path, "llama", "gpt2", tokens, **names)
    return {token: number for number, token in enumerate(tokens)}


@pytest.mark.parametrize(
    "pre", ["gpt-2", "llama-bpe", "llama3", "dbrx", "smaug-bpe", "qwen2", "deepseek-r1-qwen", "tekken", "gpt-4o"]
)
def test_byte_level_tokenizers_are_those_of_transformers(tmp_path, trained, pre):
    byte_level(tmp_path / "m.gguf", trained, pre)
    assert_alike(tmp_path / "m.gguf", [*TEXTS, "<|start|>user\nhi<think> so<|end|>"])


def test_text_is_cut_as_transformers_cuts_it():
    known = {name: cut.pattern for name, cut in _CUTS.items() if cut.pattern}
    assert len(known) == 9
    assert {name: GGUF_PRE_TOKENIZER_SPLITS[name] for name in known} == known


def pieces(path: Path, text: str) -> list[str]:
    tokenizer = ours(path)
    return [tokenizer.decode([number]) for number in tokenizer.encode(text, add_special_tokens=False).ids]


def test_digits_stand_alone_where_the_model_was_made_so(tmp_path, trained):
    """Both halves of "10" are in the merges, for GPT-2's cut lets them be merged."""
    assert "1 0" in trained[1]
    for pre, expected in (
        ("gpt-2", ["10"]),
        ("smollm", ["1", "0"]),
        ("refact", ["1", "0"]),
        ("qwen2", ["1", "0"]),
        ("llama-bpe", ["10"]),
        ("olmo", ["10"]),
    ):
        byte_level(tmp_path / "m.gguf", trained, pre)
        assert pieces(tmp_path / "m.gguf", "10") == expected, pre


def test_characters_are_composed_where_the_model_was_made_so(tmp_path, trained):
    for pre, composed in (("qwen2", True), ("olmo", True), ("llama-bpe", False), ("gpt-2", False)):
        byte_level(tmp_path / "m.gguf", trained, pre)
        tokenizer = ours(tmp_path / "m.gguf")
        assert (tokenizer.encode("a\u0301").ids == tokenizer.encode("á").ids) is composed, pre


def test_a_word_that_is_a_token_needs_no_merges(tmp_path, trained):
    tokens = {**trained[0], "zyxw": NORMAL}
    for pre, whole in (("llama-bpe", True), ("tekken", True), ("gpt-4o", False), ("smollm", False)):
        write(tmp_path / "m.gguf", "llama", "gpt2", tokens, tokenizer_pre=pre, token_merges=trained[1])
        assert (pieces(tmp_path / "m.gguf", "zyxw") == ["zyxw"]) is whole, pre


def test_texts_begin_and_end_as_the_file_says(tmp_path, trained):
    first = len(trained[0])
    cases: list[tuple[str, dict[str, bool], list[int], list[int]]] = [  # before and behind the text
        ("smollm", {}, [], []),
        ("llama-bpe", {}, [first + 1], []),
        ("tekken", {}, [first + 1], []),
        ("llama-bpe", {"add_bos_token": False}, [], []),
        ("smollm", {"add_bos_token": True, "add_eos_token": True}, [first + 1], [first]),
    ]
    for pre, told, before, behind in cases:
        ids = byte_level(tmp_path / "m.gguf", trained, pre, **told)
        tokenizer = opened(tmp_path / "m.gguf", tmp_path / "out")
        assert tokenizer("a").input_ids == [*before, ids["a"], *behind], (pre, told)
        assert tokenizer("a", "b").input_ids == [*before, ids["a"], *behind, *before, ids["b"], *behind], (pre, told)
        assert tokenizer.bos_token == "<|start|>" and tokenizer.eos_token == "<|end|>"


def test_tokens_that_fill_up_the_table_are_none(tmp_path, trained):
    byte_level(tmp_path / "m.gguf", trained, "llama-bpe")
    tokenizer, _ = read_tokenizer(read_gguf(tmp_path / "m.gguf"))
    assert not [token for token in tokenizer["model"]["vocab"] if token.startswith("[PAD")]
    assert {each["content"]: each["special"] for each in tokenizer["added_tokens"]} == {
        "<|end|>": True,
        "<|start|>": True,
        "<think>": False,
    }


def test_smollm2_is_as_transformers_reads_it():
    """transformers cuts no digits off, which shows where numbers of other kinds follow a space."""
    path = locate("smollm2", "model.gguf")
    assert_alike(path, [*TEXTS, "<|im_start|>user\nHi<|im_end|>\n"])
    assert pieces(path, "in 2024 ½") == ["in", " ", "2", "0", "2", "4", " ", "½"]
    told, expected = read_tokenizer(read_gguf(path))[1], get_gguf_tokenizer(str(path))[2]
    roles = ("bos_token", "eos_token", "unk_token", "pad_token")
    assert [told[role] for role in roles] == [expected[role] for role in roles]
    assert told["chat_template"] == expected["chat_template"]


def refused(folder: Path, trained: tuple[dict[str, int], list[str]], **changes: Any) -> str:
    byte_level(folder / "m.gguf", trained, "gpt-2")
    whole = read_gguf(folder / "m.gguf")
    values = {key: value for key, value in {**whole.values, **changes}.items() if value is not None}
    with pytest.raises(Refusal) as refusal:
        read_tokenizer(replace(whole, values=values))
    assert str(refusal.value).startswith("m.gguf: ") and "\n" not in str(refusal.value)
    return str(refusal.value)


def test_what_is_damaged_or_not_known_is_refused_in_one_line(tmp_path, trained):
    tokens = [*trained[0], *SPECIAL]
    key = "tokenizer.ggml."
    for value in (None, "default", "deepseek-coder", "a\nb"):
        assert "is not known here; convert it without the tokenizer" in refused(tmp_path, trained, **{f"{key}pre": value})
    for value in ("bert", "t5", "rwkv", "none", "x" * 1000):
        assert "is not known here" in refused(tmp_path, trained, **{f"{key}model": value})
    assert "tokenizer (bert/gpt-2)" in refused(tmp_path, trained, **{f"{key}model": "bert"})
    damaged: list[tuple[str, Any]] = [
        ("tokens", None),
        ("tokens", tokens[:-1]),
        ("tokens", [*tokens[:-1], tokens[0]]),  # one twice
        ("tokens", [*tokens[:-1], 7]),
        ("token_type", None),
        ("token_type", [1] * 3),
        ("merges", None),
        ("merges", ["a"]),
        ("merges", ["a zz"]),
        ("merges", ["z q"]),  # of known ones, into none
        ("merges", [4]),
        ("model", 5),
        ("bos_token_id", "one"),
        ("add_bos_token", 1),
    ]
    for name, value in damaged:
        refused(tmp_path, trained, **{key + name: value})
    refused(tmp_path, trained, **{"tokenizer.chat_template": 7})


def test_more_tokens_than_the_model_has_rows_are_refused(tmp_path, trained):
    byte_level(tmp_path / "m.gguf", trained, "gpt-2")
    whole = read_gguf(tmp_path / "m.gguf")
    few = GGUFTensor("m.gguf", "token_embd.weight", (3, 2), "F32", np.zeros((3, 8), dtype=np.uint8))
    with pytest.raises(Refusal, match="rows for 3"):
        read_tokenizer(replace(whole, tensors={"token_embd.weight": few}))
