"""Help: every command shows examples, and nobody waits for models to read it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serval.cli import main

ROOT = Path(__file__).parents[2]
COMMANDS = ("watch", "ask", "why", "chat", "timeline", "replay", "export")
HEAVY = "torch onnxruntime transformers openai ai_edge_litert av cv2 scipy sqlalchemy tokenizers safetensors numpy".split()


@pytest.mark.parametrize(
    "words", ["", *COMMANDS, "instructions", "instructions add", "weights", "weights fetch", "data", "data convert", "train"]
)
def test_every_help_explains_itself(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serval", *words.split(), "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    out = capsys.readouterr().out
    assert not end.value.code
    assert f"Usage: serval {words}".rstrip() in out
    if words in COMMANDS or " add" in words:
        assert "xample" in out and f"serval {words} " in out


def test_all_commands_are_listed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serval", "--help"])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert all(f" {command} " in out for command in (*COMMANDS, "instructions", "weights"))


def test_help_loads_no_model_and_no_runtime(tmp_path):
    code = (
        "import sys\nfrom serval.cli import main\n"
        "for words in ([], ['watch'], ['ask'], ['replay'], ['instructions'], ['weights']):\n"
        "    sys.argv = ['serval', *words, '--help']\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code\n"
        "print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()[-1].split()) & set(HEAVY) == set()
