"""SentencePiece's tokenizers come out of GGUF files as their models were made with them."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from serval.refusal import Refusal
from serval.weights.gguf_file import read_gguf
from serval.weights.gguf_tokenizer import read_tokenizer

from .gguf_vocabularies import BYTE, CONTROL, CORPUS, NORMAL, TEXTS, UNKNOWN, UNUSED, USER, assert_alike, opened, ours, write

BYTES = {f"<0x{byte:02X}>": BYTE for byte in range(256)}


@pytest.fixture(scope="module")
def sentence_piece() -> list[str]:
    """Pieces in the order of their scores, the best first: merges, and then single characters."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    vocabulary = made.get_vocab()
    return sorted(vocabulary, key=lambda piece: (len(piece) == 1, vocabulary[piece]))


def sentence_file(path: Path, found: list[str], architecture: str = "llama", **told: Any) -> dict[str, int]:
    """Llama's arrangement: unknown, first and last token, bytes, pieces; and what Gemma and chats add."""
    added = {"  ": USER, "    ": USER, "<turn>": CONTROL, "[PAD]": UNUSED}
    tokens = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, **BYTES, **dict.fromkeys(found, NORMAL), **added}
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(found))] + [-1000.0] * len(added)
    usual = {"token_scores": scores, "bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0}
    write(path, architecture, "llama", tokens, **{**usual, **told})
    return {token: number for number, token in enumerate(tokens)}


def best_pairs_first(text: str, found: list[str], *, prefix: bool) -> list[str]:
    """SentencePiece's BPE (Kudo and Richardson 2018) as llama.cpp runs it: added pieces are taken out first, the longest first;
    then of all neighbours those are joined that make the best piece, the leftmost of equals; what is left over is bytes."""
    rank = {piece: number for number, piece in enumerate(found)}
    fragments: list[tuple[bool, str]] = [(False, text)]
    for added in ("    ", "  "):
        split = [(known, part.split(added) if not known else [part]) for known, part in fragments]
        fragments = [
            each
            for known, parts in split
            for index, part in enumerate(parts)
            for each in ([(True, added)] if index else []) + [(known, part)]
        ]
    result = []
    for known, fragment in fragments:
        if known or not fragment:
            result += [fragment] if known else []
            continue
        symbols = list(("▁" if prefix else "") + fragment.replace(" ", "▁"))
        while True:
            pairs = [(rank.get(a + b, len(rank)), place) for place, (a, b) in enumerate(itertools.pairwise(symbols))]
            if not pairs or min(pairs)[0] == len(rank):
                break
            place = min(pairs)[1]
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        for symbol in symbols:
            result += [symbol] if symbol in rank else [f"<0x{byte:02X}>" for byte in symbol.encode()]
    return result


@settings(max_examples=120)
@given(text=st.text(alphabet="theca world,.'\n▁12HЗд你😀 ", max_size=40), prefix=st.booleans())
def test_sentence_piece_joins_the_best_pairs_first(text, prefix, sentence_piece, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"piece-{prefix}.gguf"
    if not path.exists():
        sentence_file(path, sentence_piece, add_space_prefix=prefix)
        MADE[prefix] = ours(path)
    encoded = MADE[prefix].encode(text, add_special_tokens=False)
    assert encoded.tokens == best_pairs_first(text, sentence_piece, prefix=prefix)
    if not prefix:
        assert MADE[prefix].decode(encoded.ids, skip_special_tokens=False) == text.replace("▁", " ")


MADE: dict[bool, Tokenizer] = {}


@pytest.mark.parametrize(("architecture", "prefix"), [("llama", True), ("gemma2", False), ("gemma3", False), ("phi3", True)])
def test_sentence_piece_tokenizers_are_those_of_transformers(tmp_path, sentence_piece, architecture, prefix):
    """But for stretches of white space: it builds added ones from merges, and puts no space before a Llama's text that begins
    with one, unlike SentencePiece and the files that Meta published."""
    sentence_file(tmp_path / "m.gguf", sentence_piece, architecture, add_space_prefix=prefix)
    texts = [text for text in TEXTS if "  " not in text and not (architecture == "llama" and text.startswith(" "))]
    assert len(texts) >= 6
    assert_alike(tmp_path / "m.gguf", texts)


def test_a_space_stands_before_every_stretch_of_text_where_the_file_says_so(tmp_path, sentence_piece):
    for told, expected in (({}, True), ({"add_space_prefix": True}, True), ({"add_space_prefix": False}, False)):
        sentence_file(tmp_path / "m.gguf", sentence_piece, **told)
        tokenizer = opened(tmp_path / "m.gguf", tmp_path / "out")
        mark = "▁" if expected else ""
        assert "".join(tokenizer.tokenize("a<turn>a", add_special_tokens=True)) == f"<s>{mark}a<turn>{mark}a"
        assert tokenizer.decode(tokenizer("a a").input_ids, skip_special_tokens=True) == "a a"


def test_what_is_written_never_becomes_a_control_token_or_a_byte(tmp_path, sentence_piece):
    """Though the pieces to build them from are there, with scores that would make them."""
    sentence_file(tmp_path / "m.gguf", list(dict.fromkeys([*sentence_piece, *"<>/x0A"])))
    made = ours(tmp_path / "m.gguf")
    made.encode_special_tokens = True  # the library's name for: special tokens in text are text
    for text in ("</s>", "<s>", "<unk>", "<0x0A>", "<turn>"):
        tokens = made.encode(text, add_special_tokens=False).tokens
        assert "".join(tokens) == f"▁{text}" and len(tokens) > 2, text


def test_phi_3s_tokens_take_the_white_space_behind_them(tmp_path, sentence_piece):
    for architecture, strips in (("phi3", True), ("llama", False)):
        sentence_file(tmp_path / "m.gguf", sentence_piece, architecture)
        added = {each["content"]: each["rstrip"] for each in read_tokenizer(read_gguf(tmp_path / "m.gguf"))[0]["added_tokens"]}
        assert added == {"<unk>": False, "<s>": False, "</s>": strips, "  ": strips, "    ": strips, "<turn>": strips}


def test_a_vocabulary_without_bytes_has_its_unknown_token_for_the_rest(tmp_path):
    tokens = {"<unk>": UNKNOWN, "▁": NORMAL, "a": NORMAL, "▁a": NORMAL}
    write(tmp_path / "m.gguf", "llama", "llama", tokens, token_scores=[0.0, -2.0, -3.0, -1.0])
    tokenizer = ours(tmp_path / "m.gguf")
    assert tokenizer.encode("a猫犬a").tokens == ["▁a", "<unk>", "a"]


def test_damaged_scores_are_refused(tmp_path, sentence_piece):
    sentence_file(tmp_path / "m.gguf", sentence_piece)
    whole = read_gguf(tmp_path / "m.gguf")
    scores = whole.values["tokenizer.ggml.scores"]
    for wrong in (scores[:-1], [*scores[:-1], float("nan")], [*scores[:-1], "high"]):
        with pytest.raises(Refusal, match="scores"):
            read_tokenizer(replace(whole, values={**whole.values, "tokenizer.ggml.scores": wrong}))
    tokens = [*whole.values["tokenizer.ggml.tokens"][:259], "a" * 257, *whole.values["tokenizer.ggml.tokens"][260:]]
    with pytest.raises(Refusal, match="longer than 256 characters"):
        read_tokenizer(replace(whole, values={**whole.values, "tokenizer.ggml.tokens": tokens}))
