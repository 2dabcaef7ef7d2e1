"""LoRA on SmolLM2 from conversations in a JSON Lines file: the smallest recipe that does something.

    serval train smollm2-lora data=conversations.jsonl rank=16

Each line is ``{"messages": [{"role": "user", "content": …}, …]}``, as OpenAI's fine-tuning takes it. What the assistant says is
learnt, and that it ends there. The result is an adapter in PEFT's format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from serval.adapters.peft_format import add_adapters, causal_lm_names, save_adapters
from serval.conversation.build import encode_pieces
from serval.conversation.formats import from_openai
from serval.conversation.segments import TextSegment
from serval.conversation.sequence import IGNORED, expand_labels
from serval.conversation.template import ChatTemplate
from serval.conversation.tokenizer import Tokenizer
from serval.language.decoder import Decoder
from serval.language.families import read_config
from serval.language.load import load_decoder
from serval.refusal import Refusal
from serval.training.batches import Batch, Batches, shuffled
from serval.training.objectives.next_token import NextToken
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage
from serval.weights import locate

ABOUT_SERVALS = Path(__file__).with_name("about_servals.jsonl")
"""Two dozen short conversations to try it with."""

Item = tuple[torch.Tensor, torch.Tensor]
"""Token ids and labels, both (length,)."""


def recipe(
    data: Path = ABOUT_SERVALS,
    rank: int = 8,
    learning_rate: float = 1e-3,
    epochs: float = 3.0,
    batch: int = 4,
    accumulation: int = 1,
    length: int = 1024,
    dtype: Literal["float32", "bfloat16"] = "float32",
    seed: int = 0,
) -> Recipe:
    """LoRA of ``rank`` on every linear map but the head.

    Args:
        length: tokens of a conversation at the most; a longer one is refused, not cut.
        dtype: of the frozen weights. bfloat16 is for GPUs and for processors that multiply it themselves (AMX): with AVX2 alone
            its backward pass takes fifty times as long as that of float32.
    """
    folder = locate("smollm2", "model.safetensors").parent

    def model(device: torch.device) -> nn.Module:
        if device.type == "meta":
            decoder = Decoder(read_config(folder / "config.json")).to(getattr(torch, dtype))
        else:
            decoder = load_decoder(folder, dtype=getattr(torch, dtype), device=device)
        add_adapters(decoder, rank=rank, dtype=torch.float32)  # small steps would be lost in bfloat16
        return decoder.requires_grad_(False)

    def batches(stage: Stage) -> Batches:
        template = ChatTemplate.from_folder(folder)
        try:
            items = read(data, Tokenizer(folder / "tokenizer.json"), template, length)
        finally:
            template.close()
        return shuffled(items, stage.batch, collate, seed=seed)

    adapters = Stage(
        name="adapters",
        trains={"*.down": Rate(learning_rate), "*.up": Rate(learning_rate)},
        mixture="conversations",
        objective=NextToken(),
        epochs=epochs,
        batch=batch,
        accumulation=accumulation,
        warmup=0.05,
    )
    return Recipe(model, [adapters], {"conversations": batches}, save, seed)


def read(path: Path, tokenizer: Tokenizer, template: ChatTemplate, length: int) -> list[Item]:
    """The conversations of a file. Raises `Refusal` naming the line that is wrong."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise Refusal(str(path), "it cannot be read as text", "give a file of JSON lines") from None
    told = [(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    items = [_item(line, where, tokenizer, template, length) for line, where in told]
    if not items:
        raise Refusal(str(path), "there is no conversation in it", "give one on each line")
    return items


def collate(items: Sequence[Item]) -> Batch:
    """Padded on the right."""
    ids = pad_sequence([ids for ids, _ in items], batch_first=True)
    labels = pad_sequence([labels for _, labels in items], batch_first=True, padding_value=IGNORED)
    lengths = torch.tensor([len(ids) for ids, _ in items])
    return {"ids": ids, "labels": labels, "valid": torch.arange(ids.shape[1]) < lengths[:, None]}


def save(model: nn.Module, folder: Path) -> None:
    save_adapters(model, folder / "adapter", names=causal_lm_names)


def _item(line: str, where: str, tokenizer: Tokenizer, template: ChatTemplate, length: int) -> Item:
    try:
        messages = from_openai(json.loads(line)["messages"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Refusal(where, "it is not an object with messages", 'write {"messages": […]}') from None
    except Refusal as refusal:
        raise Refusal(f"{where}, {refusal.what}", refusal.why, refusal.remedy) from None
    if any(message.media for message in messages):
        raise Refusal(where, "it holds pictures or sound", "this recipe is for words")
    pieces = encode_pieces(template.render(messages, reply=False), tokenizer, learn=True)
    text = [each for each in pieces if isinstance(each, TextSegment)]
    ids = torch.tensor([id_ for each in text for id_ in each.ids])
    learn = torch.tensor([each.learn for each in text for _ in each.ids])
    if len(ids) > length:
        raise Refusal(where, f"it has {len(ids)} tokens, {length} is the limit", "shorten it, or give length=…")
    if not learn.any():
        raise Refusal(where, "the assistant says nothing in it", "end with what it should say")
    return ids, expand_labels(ids, learn, torch.zeros_like(ids))
