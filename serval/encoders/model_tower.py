"""What every tower around a model of transformers has in common: it stays frozen, knows its identity, and can be saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

_NOT_THE_MODEL = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "id2label", "label2id"}


class ModelTower(nn.Module):
    """A model, and how its input is prepared.

    A frozen tower (none of its parameters takes gradients, as `open_tower` leaves it) stays in evaluation mode whatever
    model it is part of. Gradients still pass to an input that asks for them.
    """

    def __init__(self, model: Any, prepared: Mapping[str, Any]) -> None:
        """``prepared`` is the content of the ``preprocessor_config.json`` that describes the preparation."""
        super().__init__()
        self.model = model
        self.config: Any = model.config
        self.prepared = dict(prepared)

    def train(self, mode: bool = True) -> Self:
        """Training mode, unless the tower is frozen."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def identity(self) -> str:
        """SHA-256 over the configuration, every weight (as precise as it is held), and how the input is prepared."""
        config = {key: value for key, value in self.config.to_dict().items() if key not in _NOT_THE_MODEL}
        digest = hashlib.sha256(json.dumps([config, self.prepared], sort_keys=True, default=str).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write what `open_tower` reads: configuration, safetensors, preparation."""
        with quiet():
            self.model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(self.prepared, indent=2) + "\n", "utf-8")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and load reports: what is wrong is said in one line by whoever asked."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
