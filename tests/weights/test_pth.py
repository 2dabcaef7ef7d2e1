"""A checkpoint becomes safetensors, and nothing in it is ever run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from serval.refusal import Refusal
from serval.weights import pth


class Touch:
    """Pickles to a call that leaves a mark."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_tensors_come_through_and_bytes_repeat(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"b": whole.t(), "a": whole[1:], "count": torch.tensor(7), "half": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "model.pth")
    for out in ("one", "two"):
        pth.convert(tmp_path / "model.pth", tmp_path / out)
    read = load_file(tmp_path / "one" / "model.safetensors")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in state.items())
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (tmp_path / "two" / "model.safetensors").read_bytes()


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "extra": Touch(tmp_path / "mark")}, tmp_path / "evil.pth")
    with pytest.raises(Refusal, match=r"evil\.pth: is not a checkpoint of plain tensors"):
        pth.convert(tmp_path / "evil.pth", tmp_path / "out")
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [{}, [torch.ones(1)], {"epoch": 3}, {1: torch.ones(1)}, torch.ones(2)])
def test_anything_but_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(Refusal):
        pth.convert(tmp_path / "odd.pth", tmp_path / "out")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(Refusal, match="is not a checkpoint"):
        pth.convert(tmp_path / "text.pth", tmp_path / "out")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.pth").open("wb") as file:
        file.truncate(pth.MAX_BYTES + 1)  # sparse
    with pytest.raises(Refusal, match="more than 1024 MB"):
        pth.convert(tmp_path / "huge.pth", tmp_path / "out")
