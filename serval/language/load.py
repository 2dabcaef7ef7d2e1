"""Decoders from files and back. Every name and shape is compared before a number is read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from serval.language.config import DecoderConfig
from serval.language.decoder import Decoder
from serval.language.families import config_from, read_config
from serval.language.layout import Layout, layout, piece, prefix_of
from serval.weights.checkpoint import Checkpoint, SafetensorsCheckpoint, differences, refuse_differences
from serval.weights.gguf import open_gguf

_OTHER_HALF = ("rotary_emb.inv_freq",)  # old files keep what is computed


def load_decoder(
    weights: Path,
    config: Path | DecoderConfig | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Decoder:
    """A decoder, ready to read, from files with Hugging Face's names.

    Args:
        weights: a model's folder, with ``model.safetensors`` whole or in shards; one such file; or a GGUF file.
        config: the ``config.json``; by default the one beside the weights. A GGUF file has its own.

    Raises:
        Refusal: a file is missing or damaged, or its tensors are not those that the configuration asks for; it says which.
    """
    if weights.suffix == ".gguf":
        gguf = open_gguf(weights, dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32)
        return fill_decoder(config_from(gguf.config, weights.name), gguf, dtype=dtype, device=device)
    if config is None:
        config = (weights if weights.is_dir() else weights.parent) / "config.json"
    if isinstance(config, Path):
        config = read_config(config)
    return fill_decoder(config, SafetensorsCheckpoint(weights), prefix=prefix_of(config), dtype=dtype, device=device)


def fill_decoder(
    config: DecoderConfig,
    checkpoint: Checkpoint,
    *,
    prefix: str = "model.",
    head: str = "lm_head.",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    others: tuple[str, ...] = (),
) -> Decoder:
    """A decoder with a checkpoint's numbers.

    Args:
        prefix, head: what the names of its tensors and of its head begin with there.
        others: what names of tensors begin with that are not the decoder's; they are passed over.

    Raises:
        Refusal: see `load_decoder`.
    """
    with torch.device("meta"):
        decoder = Decoder(config)
    empty = decoder.state_dict()
    wanted = layout(config, empty)

    def there(name: str) -> str:
        return head + name.removeprefix("lm_head.") if name.startswith("lm_head.") else prefix + name

    names = {there(name): name for name in wanted}
    found = {name: checkpoint.shape(name) for name in checkpoint.names() if not name.startswith(others)}
    found = {name: shape for name, shape in found.items() if not name.endswith(_OTHER_HALF)}
    if decoder.lm_head is None:
        found.pop(there("lm_head.weight"), None)  # some files keep the tied copy
    if prefix and not any(name.startswith(prefix) for name in found):  # saved without its head
        bare = {name: name.removeprefix(prefix) for name in names}
        names = {bare[name]: ours for name, ours in names.items()}
    shapes = {name: _shape(wanted, ours, empty) for name, ours in names.items()}
    refuse_differences(checkpoint.name, differences(shapes, found), "give the weights that its config.json describes")
    state: dict[str, Tensor] = {}
    for name, ours in names.items():
        tensor = checkpoint.tensor(name).to(device=device, dtype=dtype)
        pieces = wanted[ours]
        if len(pieces) == 1 and not pieces[0].index:
            state[pieces[0].name] = tensor
            continue
        start = 0
        for each in pieces:
            if each.name not in state:
                state[each.name] = torch.empty(empty[each.name].shape, dtype=dtype, device=device)
            into = piece(state, each)
            into.copy_(tensor[start : start + into.shape[0]])
            start += into.shape[0]
    decoder.load_state_dict(state, assign=True)
    return decoder.requires_grad_(False).eval()


def save_decoder(decoder: Decoder, folder: Path) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``, for `load_decoder` and for transformers."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    prefix, state = prefix_of(decoder.config), stored(decoder)
    tensors = {name if name.startswith("lm_head.") else prefix + name: each for name, each in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(decoder.config.source, indent=1) + "\n", "utf-8")


def stored(decoder: Decoder) -> dict[str, Tensor]:
    """A decoder's tensors as the family's files keep them, by name without the leading `prefix_of`."""
    state = decoder.state_dict()
    made = {}
    for name, pieces in layout(decoder.config, state).items():
        parts = [piece(state, each) for each in pieces]
        made[name] = (parts[0].clone() if pieces[0].index else parts[0].contiguous()) if len(parts) == 1 else torch.cat(parts)
    return made


def _shape(wanted: Layout, name: str, empty: dict[str, Tensor]) -> tuple[int, ...]:
    """What the file's tensor should be: its pieces one under the other."""
    shapes = [tuple(piece(empty, each).shape) for each in wanted[name]]
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])
