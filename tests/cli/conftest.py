"""A command, as a person types it."""

import io
import sys

import pytest

from serval.cli import main


@pytest.fixture
def serval(monkeypatch, capfd):
    """Type a command, with ``lines`` for what it asks: its exit code, what it printed, what it complained of."""

    def typed(*words: object, lines: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["serval", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return typed
