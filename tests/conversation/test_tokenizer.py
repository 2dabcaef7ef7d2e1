"""Text stays text, whole characters come out whole."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.tokenizer import Tokenizer
from serval.refusal import Refusal

TEXTS = [
    "A man in a suit.",
    " two  spaces",
    "naïve café 猫が 🐆👩‍👩‍👧",
    "12:30, 4.5 m",
    "tab\tnew\n\nlines ",
    "don't ’ “”",
    "\x00\x7f\xa0",
]


def spelled(text: str) -> bool:
    """SmolLM2's vocabulary has every byte but a few control characters and the lead bytes of planes 4 to 11."""
    return not set(text.encode()) & {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2}


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None, max_examples=200)
@given(text=st.text().filter(spelled))
def test_any_text_comes_back_and_never_holds_a_special_token(tokenizer, text):
    ids = tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.special_tokens.values())
    assert tokenizer.decode(ids) == text


def test_special_tokens_written_by_a_person_are_ordinary_text(tokenizer):
    assert len(tokenizer.special_tokens) == 17
    for name, id_ in tokenizer.special_tokens.items():
        for text in (name, f"a{name}b", f" {name}\n", name * 2):
            ids = tokenizer.encode(text)
            assert id_ not in ids and tokenizer.decode(ids) == text


def test_nothing_is_added_or_cut_off_even_where_the_file_asks_for_it(tokenizers):
    minilm = tokenizers["minilm"]  # its file pads to 128 tokens and cuts off there
    assert len(minilm.encode("cat")) == 1 and minilm.encode("") == []
    assert minilm.encode("cat " * 300) == minilm.encode("cat") * 300
    assert minilm.decode(minilm.encode("A cat's whiskers, unbelievably")) == "a cat ' s whiskers , unbelievably"


def test_special_tokens_are_had_by_name_and_leave_no_text(tokenizer):
    end = tokenizer.special("<|im_end|>")
    assert end == 2 and tokenizer.decode([*tokenizer.encode("bye"), end]) == "bye"
    with pytest.raises(Refusal, match="no token"):
        tokenizer.special("<image>")


def test_ids_are_those_of_the_library_for_ordinary_text(tokenizer):
    import tokenizers

    from serval.weights import locate

    library = tokenizers.Tokenizer.from_file(str(locate("smollm2", "tokenizer.json")))
    for text in TEXTS:
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(tokenizer.encode(text)) == library.decode(library.encode(text).ids)


@settings(deadline=None, max_examples=200)
@given(text=st.text(alphabet=st.characters(min_codepoint=0x80, exclude_categories=["Cs"]), max_size=12).filter(spelled))
def test_a_stream_never_gives_half_a_character(tokenizer, text):
    stream, heard = tokenizer.stream(), ""
    for id_ in tokenizer.encode(text):
        heard += stream.add(id_)
        assert text.startswith(heard)
    assert heard == text and stream.end() == ""


def test_a_character_that_is_never_finished_is_marked_at_the_end(tokenizer):
    ids = tokenizer.encode("猫")
    assert len(ids) > 1
    stream = tokenizer.stream()
    assert stream.add(ids[0]) == "" and stream.end() == "\ufffd"


def test_ids_beyond_the_vocabulary_leave_no_text(tokenizer):
    assert tokenizer.decode([tokenizer.vocabulary_size + 5]) == ""


@pytest.mark.parametrize("char", ["\ud800", "\udfff", "\x04", "\U00040000", "\U000bffff"])
def test_what_the_vocabulary_cannot_spell_is_marked(tokenizer, char):
    assert tokenizer.decode(tokenizer.encode(f"a{char}b")) == "a\ufffdb"


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"version": "1.0"}), "\x80"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content, encoding="latin-1")
    with pytest.raises(Refusal, match=r"tokenizer\.json"):
        Tokenizer(tmp_path / "tokenizer.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        Tokenizer(tmp_path / "tokenizer.json")


def test_a_tokenizer_that_is_not_byte_level_is_refused(tmp_path):
    import tokenizers
    from tokenizers import models

    tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(Refusal, match="byte-level"):
        Tokenizer(tmp_path / "tokenizer.json")
