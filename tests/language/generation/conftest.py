"""Sessions to generate with: logits given beforehand, transformers' Llama in a batch, and tokenizers of few tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, LlamaForCausalLM

from serval.conversation.tokenizer import Tokenizer
from serval.weights import locate


class Scripted:
    """A session whose logits are given beforehand; the last ones again and again."""

    def __init__(self, *logits: list[float]) -> None:
        self._logits, self.heard = list(logits), []

    def read(self, ids):
        self.heard.append(list(ids))
        return torch.tensor(self._logits[min(len(self.heard), len(self._logits)) - 1])


class Reference:
    """A batch of conversations with transformers' own model and cache: left padding, and a mask of what is valid."""

    def __init__(self, model: LlamaForCausalLM, rows: int, room: int | None = None) -> None:
        self._model, self._cache, self.room = model, DynamicCache(config=model.config), room
        self._valid = torch.zeros(rows, 0, dtype=torch.bool)
        self.rows_read = []  # how many rows each reading had

    @torch.no_grad()
    def read(self, ids: Tensor, valid: Tensor | None = None) -> Tensor:
        self.rows_read.append(len(ids))
        valid = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
        before = self._valid.sum(1, keepdim=True)
        self._valid = torch.cat((self._valid, valid), dim=1)
        positions = (valid.cumsum(1) - 1 + before).clamp_min(0)
        mask = self._valid.long()
        read = self._model(ids, attention_mask=mask, position_ids=positions, cache=self._cache)
        return read.logits[:, -1]

    def select(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        self._valid = self._valid[rows]


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> Tokenizer:
    """A byte-level tokenizer of 256 bytes, some pieces of JSON, and two special tokens; none of the pieces merges by itself."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    for piece in ('{"', '":', '",', "Ġ", "true", "false", "null", "Ġ[", "12", "0.", "Ã©", "ðŁ"):
        vocabulary.setdefault(piece, len(vocabulary))
    library = Library(models.BPE(vocabulary, []))
    library.pre_tokenizer, library.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    library.add_special_tokens([AddedToken("<|end|>", special=True), AddedToken("<|start|>", special=True)])
    path: Path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    path.write_text(json.dumps(json.loads(library.to_str())))
    return Tokenizer(path)


@pytest.fixture(scope="session")
def smollm2_words() -> Tokenizer:
    return Tokenizer(locate("smollm2", "tokenizer.json"))
