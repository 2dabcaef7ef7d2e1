"""The examples are short, and do what they say when they are run."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.language.vision_language.models import tiny_model

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    def typed(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        threads = torch.get_num_threads()
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        torch.set_num_threads(threads)
        return capsys.readouterr().out

    return typed


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_read_at_a_glance(path):
    assert sum(bool(line.strip()) for line in path.read_text().splitlines()) <= 30


def test_a_question_about_a_picture(run, tmp_path):
    tiny_model("llava", tmp_path / "model")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "door.png")
    assert run("chat_about_a_picture.py", tmp_path / "model", tmp_path / "door.png", "who is there?").endswith("\n")


def test_frames_go_into_a_session_as_they_come(run, short, tmp_path):
    tiny_model("smolvlm", tmp_path)
    said = run("stream_frames.py", tmp_path, short, "what happened?").splitlines()
    assert said[0].startswith("   0.0 s") and said[1].split(" s ")[0].strip() >= "1.0"
    assert int(said[1].split()[-2]) > int(said[0].split()[-2]) > 0


def test_an_adapter_is_taught_one_answer_and_read_by_peft(run, tmp_path):
    from peft import PeftConfig

    said = run("add_adapter.py", tmp_path).splitlines()
    assert "windowsill" not in said[0] and said[-1].endswith("On the windowsill, watching the birds.")
    assert PeftConfig.from_pretrained(tmp_path).r == 8
