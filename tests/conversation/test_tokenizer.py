"""Text stays text, whole characters come out whole."""

import json

import pytest
import tokenizers as tokenizers_library
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from serval.conversation.tokenizer import Tokenizer
from serval.refusal import Refusal
from serval.weights import locate

from .styles import STYLES, byte_level, special

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


@settings(max_examples=200)
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


@pytest.mark.parametrize("family", ["smollm2", *STYLES])
def test_ids_and_texts_are_those_of_the_library_for_ordinary_text(tokenizers, styles, family):
    ours = tokenizers[family]
    path = locate("smollm2", "tokenizer.json")
    library = styles[family].tokenizer if family in styles else tokenizers_library.Tokenizer.from_file(str(path))
    for text in TEXTS:
        ids = library.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids and ours.decode(ids) == library.decode(ids)


@pytest.mark.parametrize("family", ["smollm2", *STYLES])
def test_what_goes_on_with_a_text_begins_with_no_space_of_its_own(tokenizers, family):
    ours = tokenizers[family]
    for text, more in (("The dog", "barks"), ("The dog", " barks"), ("a\n", "\nb"), ("", "x"), ("猫", "猫")):
        assert ours.decode(ours.encode(f"*{text}") + ours.encode(more, "text")) == f"*{text}{more}"
    always, first = ("phi3", "llava"), ("mistral",)
    for before, families in (("nothing", always + first), ("special", always)):
        begins = ours.decode(ours.encode("*") + ours.encode("dog", before))
        assert begins == ("* dog" if family in families else "*dog")


def test_a_unigram_vocabulary_that_holds_its_special_tokens_as_pieces(tmp_path):
    """T5's and XLM-R's kind: the likeliest way to read a text would be the special token."""
    letters = [(each, -5.0) for each in "▁<>/abcdefghijklmnopqrstuvwxyz"]
    made = tokenizers_library.Tokenizer(models.Unigram([("<unk>", 0.0), *letters, ("<image>", -0.1), ("▁dog", -1.0)], unk_id=0))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.add_special_tokens(["<unk>", "</s>"])
    made.add_tokens(["<image>"])
    made.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer(tmp_path / "tokenizer.json")
    assert ours.encode("a dog") == made.encode("a dog").ids and ours.decode(ours.encode("a dog")) == "a dog"
    for text in ("<image>", "a<image>b <image>", "</s>"):
        ids = ours.encode(text)
        assert not set(ids) & {ours.special("<image>"), ours.special("</s>")} and ours.decode(ids) == text
    assert ours.encode("猫", "text") == [0] and ours.decode([0]) == ""  # what it cannot spell is unknown, and says nothing


def test_a_token_added_as_it_is_written_is_not_read_as_bytes(tmp_path):
    """In byte-level vocabularies é is how the byte E9 is written; in an added token it is a letter."""
    made = byte_level((*special("<é>", special=False), *special("<ü>")))
    made.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer(tmp_path / "tokenizer.json")
    assert ours.decode([ours.special("<é>"), ours.special("<ü>"), *ours.encode("é")]) == "<é>é"  # only one is called special


def test_what_a_template_wrote_is_cut_at_the_longest_special_token(tokenizers):
    llava, phi3 = tokenizers["llava"], tokenizers["phi3"]
    cut = [each if isinstance(each, str) else each.content for each in llava.cut("a<image>_2<im b<image>>")]
    assert cut == ["a", "<image>_2", "<im", " b", "<image>", ">"]
    assert list(phi3.cut("b<|step|>c")) == ["b<|step|>c"]  # it stands alone or is none
    assert list(phi3.cut("")) == []
    (end,) = phi3.cut("<|end|>")
    assert (end.id, end.strips_left, end.strips_right) == (phi3.special("<|end|>"), False, True)


@settings(max_examples=200)
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
    tokenizers_library.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(Refusal, match="byte-level"):
        Tokenizer(tmp_path / "tokenizer.json")
