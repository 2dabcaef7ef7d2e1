"""Tokenizers come out of GGUF files as their models were made with them."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from gguf import GGUFWriter, TokenType
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers.integrations.gguf.gguf_tokenizer_mapping import (
    GGUF_PRE_TOKENIZER_SPLITS,
    convert_gguf_tokenizer,
    get_gguf_tokenizer,
)

from serval.refusal import Refusal
from serval.weights import locate
from serval.weights.gguf_file import GGUFTensor, read_gguf
from serval.weights.gguf_tokenizer import _CUTS, read_tokenizer

transformers.logging.set_verbosity_error()

TEXTS = [
    "Hello world, it's the cat's 'LL and I'VE seen; they're here.",
    "def turn(x):\n\treturn [x ** 2 for _ in range(10)]  # 1234567 hex 0xFF\n\n\n    if x != y: pass\n",
    "Здравствуй, мир! 你好，世界。 مرحبا بالعالم नमस्ते दुनिया こんにちは Tiếng Việt ﬁ ẞ",
    "😀 👩‍👩‍👧‍👦 🇩🇪 ok🙂ok",
    "   leading, several   inside and trailing   \n  \n\r\n\t ",
    "CamelCase HTMLParser iPhone XMLHttpRequest aB Ab",
    "control \x00\x07 and ￿ lone",
    "",
    " ",
    "a",
]
CORPUS = [
    *TEXTS[:6],
    "the cat and the hat; the world is the cat's world, hello hello 123 456",
    "return range(10) if the x else y",
]
NORMAL, UNKNOWN, CONTROL = TokenType.NORMAL, TokenType.UNKNOWN, TokenType.CONTROL
USER, UNUSED, BYTE = TokenType.USER_DEFINED, TokenType.UNUSED, TokenType.BYTE


def write(path: Path, architecture: str, kind: str, tokens: dict[str, int], **told: Any) -> None:
    """A file with nothing but a tokenizer: ``tokens`` and their kinds."""
    writer = GGUFWriter(path, architecture)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(list(tokens))
    writer.add_token_types([int(each) for each in tokens.values()])
    for name, value in told.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def opened(path: Path, folder: Path) -> transformers.PreTrainedTokenizerFast:
    """What transformers makes of the two files."""
    folder.mkdir(exist_ok=True)
    for name, content in zip(("tokenizer.json", "tokenizer_config.json"), read_tokenizer(read_gguf(path)), strict=True):
        (folder / name).write_text(json.dumps(content), "utf-8")
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def ours(path: Path) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(read_tokenizer(read_gguf(path))[0]))


def theirs(path: Path) -> Tokenizer:
    """What transformers makes of the GGUF file itself."""
    architecture, found, _ = get_gguf_tokenizer(str(path))
    return convert_gguf_tokenizer(architecture, found)[0]


def assert_alike(path: Path, texts: list[str]) -> None:
    mine, other = ours(path), theirs(path)
    for text in texts:
        encoded = mine.encode(text, add_special_tokens=False)
        assert encoded.tokens == other.encode(text, add_special_tokens=False).tokens, text
        assert encoded.ids == other.encode(text, add_special_tokens=False).ids, text
        assert (
            mine.decode(encoded.ids, skip_special_tokens=False) == other.decode(encoded.ids, skip_special_tokens=False) == text
        )


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


@settings(max_examples=120, deadline=None)
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


def test_more_tokens_than_the_model_has_rows_are_refused(tmp_path, trained):
    byte_level(tmp_path / "m.gguf", trained, "gpt-2")
    whole = read_gguf(tmp_path / "m.gguf")
    few = GGUFTensor("m.gguf", "token_embd.weight", (3, 2), "F32", np.zeros((3, 8), dtype=np.uint8))
    with pytest.raises(Refusal, match="rows for 3"):
        read_tokenizer(replace(whole, tensors={"token_embd.weight": few}))
