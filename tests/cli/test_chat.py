"""`serval chat`, as a person types it."""

import io
import sys

import pytest

from serval.cli import main


@pytest.fixture
def serval(monkeypatch, capfd):
    def typed(*words: object, lines: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["serval", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return typed


def test_a_word_with_the_small_model(serval):
    code, out, err = serval("chat", "What is the capital of France?", "--once", "--tokens", 12)
    assert code == 0 and "Paris" in out and not err


def test_a_conversation_is_read_line_by_line_and_ends_with_an_empty_one(serval):
    code, out, _ = serval("chat", "--tokens", 4, lines="hello\nhow are you?\n\nnever read\n")
    assert code == 0 and len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("chat", "hi", "--image", "door.png"), "door.png: smollm2 cannot see pictures"),
        (("chat", "hi", "--model", "/nowhere"), "there is no such folder"),
        (("chat", "hi", "--temperature", "-1"), "temperature"),
    ],
)
def test_what_cannot_be_is_one_line(serval, words, said):
    code, out, err = serval(*words)
    assert code == 2 and said in err and err.count("\n") == 1 and not out
