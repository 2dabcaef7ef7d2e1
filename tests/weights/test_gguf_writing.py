"""What is converted is written one tensor at a time, whole or in shards, as safetensors' own library reads it."""

import json
import weakref
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from serval.weights.safetensors_writer import write_safetensors, written

SHAPES = {"embed.weight": (7, 4), "layers.0.weight": (4, 4), "layers.0.bias": (4,), "läyers.1.weight": (3, 5), "norm": (1,)}


def tensors(dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_library_reads_what_was_written(tmp_path, dtype):
    expected = tensors(dtype)
    write_safetensors(tmp_path, SHAPES, expected.__getitem__, dtype)
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == dtype for name, tensor in expected.items())
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    length = int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert length % 8 == 0  # so that numbers lie where machines want them


@pytest.mark.parametrize(("largest", "files"), [(200, 2), (120, 3), (112, 3), (64, 4), (1, 5), (10**6, 1)])
def test_large_models_become_shards_with_an_index(tmp_path, largest, files):
    expected = tensors(torch.float32)
    write_safetensors(tmp_path, SHAPES, expected.__getitem__, torch.float32, largest=largest)
    shards = sorted(tmp_path.glob("model*.safetensors"))
    assert len(shards) == files
    found: dict[str, Tensor] = {}
    for shard in shards:
        here = load_file(shard)
        assert len(here) == 1 or sum(tensor.nbytes for tensor in here.values()) <= largest
        found |= here
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    if files > 1:
        assert [shard.name for shard in shards] == [f"model-{n + 1:05}-of-{files:05}.safetensors" for n in range(files)]
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in expected.values())
        for name, file in index["weight_map"].items():
            assert name in load_file(tmp_path / file)
        assert index["weight_map"].keys() == expected.keys()
    else:
        assert not (tmp_path / "model.safetensors.index.json").exists()


def test_shards_of_another_time_go(tmp_path):
    def weights() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    for largest in (1, 10**6, 112):
        write_safetensors(tmp_path, SHAPES, tensors(torch.float32).__getitem__, torch.float32, largest=largest)
        if largest == 10**6:
            assert weights() == ["model.safetensors"]
    assert weights() == [
        *(f"model-{n}-of-00003.safetensors" for n in ("00001", "00002", "00003")),
        "model.safetensors.index.json",
    ]


def test_no_two_tensors_are_in_memory_at_once(tmp_path):
    alive: list[weakref.ref[Tensor]] = []

    def tensor(name: str) -> Tensor:
        assert all(each() is None for each in alive), name
        made = torch.zeros(SHAPES[name])
        alive.append(weakref.ref(made))
        return made

    write_safetensors(tmp_path, SHAPES, tensor, torch.float32, largest=112)
    assert len(alive) == len(SHAPES)


def test_a_tensor_that_is_not_as_told_is_an_error_of_the_program(tmp_path):
    for wrong in (torch.zeros(7, 5), torch.zeros(7, 4, dtype=torch.float16)):
        with pytest.raises(ValueError, match=r"embed\.weight"):
            write_safetensors(tmp_path, SHAPES, lambda name, wrong=wrong: wrong, torch.float32)
    assert not list(tmp_path.iterdir())


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), written(path) as file:
        file.write(b"half of it")
        raise RuntimeError
    assert path.read_bytes() == b"before" and [each.name for each in tmp_path.iterdir()] == ["config.json"]
