"""A PyTorch checkpoint becomes safetensors, once, when the part is installed."""

from __future__ import annotations

from pathlib import Path

from serval.refusal import Refusal

MAX_BYTES = 1 << 30


def convert(pth: Path, out: Path) -> None:
    """Write the state dict in ``pth`` to ``out/model.safetensors``; the same input gives the same bytes.

    A checkpoint is a pickle, so it is read with ``weights_only=True``: tensors and plain containers, no code.

    Raises:
        Refusal: the file is too large, is no checkpoint, or holds anything but named tensors.
    """
    import torch
    from safetensors.torch import save_file

    if pth.stat().st_size > MAX_BYTES:
        raise Refusal(pth.name, f"a checkpoint of more than {MAX_BYTES >> 20} MB", "use a smaller model")
    try:
        state = torch.load(pth, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has a dozen kinds; none of their texts is for a person
        raise Refusal(pth.name, "is not a checkpoint of plain tensors", "fetch the part again") from error
    if not isinstance(state, dict) or not state:
        raise Refusal(pth.name, "holds no state dict", "fetch the part again")
    if not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()):
        raise Refusal(pth.name, "holds something besides named tensors", "fetch the part again")
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: state[name].detach().clone().contiguous() for name in sorted(state)}, out / "model.safetensors")
