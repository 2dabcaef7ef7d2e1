"""`serval chat`, as a person types it."""

import json
import re

import pytest


def test_a_word_with_the_small_model(serval):
    code, out, err = serval("chat", "Name the capital of France.", "--once", "--tokens", 12)
    assert code == 0 and "Paris" in out and not err


def test_a_conversation_is_read_line_by_line_and_ends_with_an_empty_one(serval):
    code, out, _ = serval("chat", "--tokens", 4, lines="hello\nhow are you?\n\nnever read\n")
    assert code == 0 and len(out.splitlines()) == 2


def test_replies_are_held_to_a_schema_or_an_expression(serval, tmp_path):
    (tmp_path / "city.json").write_text(
        '{"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, '
        '"required": ["city"], "additionalProperties": false}'
    )
    code, out, err = serval("chat", "Name the capital of France.", "--once", "--schema", tmp_path / "city.json")
    assert code == 0 and json.loads(out) == {"city": "Paris"} and not err
    code, out, _ = serval("chat", "Is Paris in France?", "--regex", "(yes|no)!", "--logprobs", 1, "--once")
    first, *lines = out.splitlines()
    assert code == 0 and first in ("yes!", "no!") and len(lines) >= 2
    assert all(re.fullmatch(r" *-\d+\.\d{3} '.+' +-\d+\.\d{3} '.+'", line) for line in lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        (" " * 300_000, "at most 262,144 bytes"),
        ("null", "it is no JSON Schema"),
        ('{"type": "objekt"}', "the JSON schema: 'objekt' is not valid"),
        ('{"not": {"type": "string"}}', "the JSON schema"),
    ],
)
def test_a_schema_that_cannot_be_is_one_line(serval, tmp_path, content, said):
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    code, out, err = serval("chat", "hi", "--schema", path)
    assert code == 2 and said in err and err.count("\n") == 1 and not out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("chat", "hi", "--image", "door.png"), "door.png: smollm2 cannot see pictures"),
        (("chat", "hi", "--model", "/nowhere"), "there is no such folder"),
        (("chat", "hi", "--regex", "(a"), "the regular expression"),
        (("chat", "hi", "--regex", "a", "--schema", "x.json"), "held to one of them"),
        (("chat", "hi", "--temperature", "-1"), "temperature"),
    ],
)
def test_what_cannot_be_is_one_line(serval, words, said):
    code, out, err = serval(*words)
    assert code == 2 and said in err and err.count("\n") == 1 and not out
