"""Token by token on a CPU, as fast as its memory gives four-bit weights: PyTorch's packed kernel and very little around it.

Many tokens at once are read by the bfloat16 `Decoder`, which is quicker for them; a few, and each new one, go through
matrices of 4 bits a number (groups of 32 with a scale and a least value, as they stand in a Q4_1 GGUF file).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from serval.language.config import AttentionConfig, DecoderConfig, FeedForwardConfig, LayerConfig
from serval.language.decoder import Decoder
from serval.language.entries import Entries
from serval.refusal import Refusal
from serval.weights.gguf_file import GGUFFile, read_gguf

GROUP = 32  # numbers that share a scale and a least value
_RESCORED = 256  # likeliest tokens whose logits are computed anew from exact rows
_BLOCK = 4 + GROUP // 2  # bytes of a Q4_1 block: scale, least value, 32 half bytes
_FIRST = 256  # tokens of room to begin with
# Tokens up to which one pass costs less at four bits than in bfloat16, where weights are unpacked once for all of them:
# after 46 others, 43 against 69 ms for 12 tokens, 82 against 82 for 24, 104 against 95 for 32 (one core of an AMD EPYC).
_FEW = 24
_ROWS = 4096  # of a matrix quantized at a time, so that no whole copy of it is made in float32

_matmul = torch.ops.aten._weight_int4pack_mm_for_cpu.default


@dataclass(frozen=True)
class Matrix:
    """A (rows, columns) matrix of 4 bits a number, packed as this CPU's kernel wants it."""

    packed: Tensor
    scales: Tensor  # (columns / GROUP, rows, 2) bfloat16: step, and the value of level 8

    @classmethod
    def pack(cls, levels: Tensor, step: Tensor, least: Tensor) -> Matrix:
        """``levels`` (rows, columns) in 0..15; ``step`` and ``least`` (rows, columns / GROUP) float32."""
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.to(torch.int32), 1)
        scales = torch.stack((step, least + 8 * step), dim=-1).transpose(0, 1).contiguous().bfloat16()
        return cls(packed, scales)

    @classmethod
    def quantize(cls, values: Tensor) -> Matrix:
        """The nearest of 16 even levels between the least and the greatest number of each group."""
        parts = [_nearest_levels(some.float()) for some in torch.split(values, _ROWS)]
        return cls.pack(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def __call__(self, states: Tensor) -> Tensor:
        """``states`` (any, columns) bfloat16 to (any, rows) bfloat16."""
        return _matmul(states, self.packed, GROUP, self.scales)


@dataclass(frozen=True)
class Int4Layer:
    attention_norm: Tensor
    query_key_value: Matrix
    output: Matrix
    feed_norm: Tensor
    gate_up: Matrix
    down: Matrix


class Int4Decoder:
    """Four-bit layers from a Q4_1 GGUF file, beside the bfloat16 `Decoder` that was converted from the same file."""

    def __init__(self, gguf: Path, decoder: Decoder) -> None:
        """Raises `Refusal` when ``gguf`` is damaged, or does not hold Q4_1 layers of the decoder's sizes."""
        self.decoder, self.config = decoder, decoder.config
        source = read_gguf(gguf)
        self.attention, feed = _plain(self.config, source.name)
        sizes = self.config.width, self.attention, feed.width
        self.layers = [_layer(source, *sizes, index) for index in range(len(self.config.layers))]
        self.norm = decoder.norm.weight.float()
        head = decoder.embed_tokens.weight if decoder.lm_head is None else decoder.lm_head.weight
        self.head_rows = head
        self.head = Matrix.quantize(head)


class Int4Session:
    """One conversation, of at most ``capacity`` tokens."""

    def __init__(self, model: Int4Decoder, capacity: int) -> None:
        self._model, self._capacity, self._length = model, capacity, 0
        config, attention = model.config, model.attention
        self._layers, self._kv_heads, self._width = len(config.layers), attention.kv_heads, attention.head_dim
        self._heads = attention.heads
        self._groups = self._heads // self._kv_heads
        assert attention.rotary is not None
        self._turns = attention.rotary.frequencies(0)
        # Queries are scaled while they are turned, which costs nothing.
        self._sizes = torch.cat((torch.full((self._heads, 1), self._width**-0.5), torch.ones(self._kv_heads, 1)))
        self._zeros = torch.zeros(1, config.width)
        self._hidden = torch.empty(1, config.width)
        self._normed = torch.empty(1, config.width, dtype=torch.bfloat16)
        self._keys, self._values, self._room = self._stores(min(_FIRST, capacity))

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read more tokens; logits (vocabulary,) float32 of the one that follows.

        Raises:
            Refusal: they go beyond the capacity.
        """
        length = self._length + len(ids)
        if length > self._capacity:
            raise Refusal("the conversation", f"it is {length} tokens long, and {self._capacity} is the limit", "shorten it")
        if length > self._room:
            self._grow(length)
        with torch.inference_mode():
            if len(ids) == 1:
                self._step(ids[0])
            elif len(ids) <= _FEW:
                self._read_few(ids)
            else:
                self._read_many(ids)
            return self._logits()

    def fork(self, length: int, capacity: int) -> Int4Session:
        """Another conversation, of at most ``capacity`` tokens, that has read the first ``length`` tokens of this one."""
        if not 0 <= length <= min(self._length, capacity):
            raise ValueError("a fork begins with tokens that were read, and holds them")
        other = Int4Session(self._model, capacity)
        if length > other._room:
            other._grow(length)
        other._length = length
        other._keys[..., :length] = self._keys[..., :length]
        other._values[..., :length, :] = self._values[..., :length, :]
        return other

    def _stores(self, tokens: int) -> tuple[Tensor, Tensor, int]:
        """Keys (layers, heads, head_dim, tokens), so that they multiply faster; values (layers, heads, tokens, head_dim)."""
        keys = torch.zeros(self._layers, self._kv_heads, self._width, tokens)
        return keys, torch.zeros(self._layers, self._kv_heads, tokens, self._width), tokens

    def _grow(self, tokens: int) -> None:
        keys, values = self._keys, self._values
        self._keys, self._values, self._room = self._stores(min(self._capacity, max(2 * self._room, tokens)))
        self._keys[..., : self._length] = keys[..., : self._length]
        self._values[..., : self._length, :] = values[..., : self._length, :]

    def _read_many(self, ids: Sequence[int]) -> None:
        """In one pass through the bfloat16 decoder."""
        decoder, start, new = self._model.decoder, self._length, len(ids)
        self._length = length = start + new
        cache = decoder.new_cache(length)
        if start:
            position = torch.arange(start)[None].float()
            past = Entries.text(position, cache.begin(position, torch.ones(1, start, dtype=torch.bool)))
            for layer in range(self._layers):
                keys, values = self._keys[layer, ..., :start].transpose(-1, -2), self._values[layer, :, :start]
                cache.write(layer, _in_halves(keys)[None], values[None], past)
        self._normed.copy_(decoder.states(torch.tensor([ids]), cache)[:, -1])
        for layer in range(self._layers):
            keys, values = cache.read(layer)
            self._keys[layer, ..., start:length] = _in_pairs(keys[0, :, start:]).transpose(-1, -2)
            self._values[layer, :, start:length] = values[0, :, start:]

    def _read_few(self, ids: Sequence[int]) -> None:
        """In one pass through the four-bit layers: `_step` for some tokens at once."""
        config, heads, kv_heads, width = self._model.config, self._heads, self._kv_heads, self._width
        start, new, split = self._length, len(ids), heads + kv_heads
        self._length = length = start + new
        hidden = self._model.decoder.embed_tokens.weight[list(ids)].float()
        turns = torch.polar(self._sizes, self._turns * torch.arange(start, length)[:, None, None])
        unseen = torch.full((new, length), -torch.inf).triu(start + 1)

        def norm(weight: Tensor) -> Tensor:
            return functional.rms_norm(hidden, hidden.shape[1:], weight, config.norm.eps).bfloat16()

        past = zip(self._keys[..., :length].unbind(0), self._values[..., :length, :].unbind(0), strict=True)
        for layer, (keys, values) in zip(self._model.layers, past, strict=True):
            mixed = layer.query_key_value(norm(layer.attention_norm)).float().view(new, split + kv_heads, width)
            turned = torch.view_as_complex(mixed[:, :split].view(new, split, -1, 2)).mul_(turns)
            asked = torch.view_as_real(turned).flatten(-2)
            keys[..., start:] = asked[:, heads:].permute(1, 2, 0)
            values[:, start:] = mixed[:, split:].transpose(0, 1)
            queries = asked[:, :heads].view(new, kv_heads, -1, width).permute(1, 2, 0, 3).reshape(kv_heads, -1, width)
            weights = torch.bmm(queries, keys).view(kv_heads, -1, new, length).add_(unseen).softmax(-1)
            found = torch.bmm(weights.view(kv_heads, -1, length), values).view(heads, new, width)
            hidden.add_(layer.output(found.transpose(0, 1).reshape(new, -1).bfloat16()))
            gate, up = layer.gate_up(norm(layer.feed_norm)).chunk(2, dim=1)
            hidden.add_(layer.down(functional.silu(gate).mul_(up)))
        self._normed.copy_(norm(self._model.norm)[-1:])

    def _step(self, token: int) -> None:
        position = self._length
        self._length = length = position + 1
        hidden, heads, kv_heads = self._hidden, self._heads, self._kv_heads
        hidden.copy_(self._model.decoder.embed_tokens.weight[token])
        turn = torch.polar(self._sizes, self._turns[None] * position)
        past = zip(self._keys[..., :length].unbind(0), self._values[..., :length, :].unbind(0), strict=True)
        split = heads + kv_heads
        for layer, (keys, values) in zip(self._model.layers, past, strict=True):
            mixed = layer.query_key_value(self._norm(layer.attention_norm)).float().view(split + kv_heads, self._width)
            turned = torch.view_as_complex(mixed[:split].view(split, -1, 2)).mul_(turn)
            asked = torch.view_as_real(turned).view(split, self._width)
            keys[:, :, position] = asked[heads:]
            values[:, position] = mixed[split:]
            weights = torch.bmm(asked[:heads].view(kv_heads, self._groups, self._width), keys).softmax(-1)
            found = torch.bmm(weights, values).view(1, -1).bfloat16()
            hidden.add_(layer.output(found))
            gate, up = layer.gate_up(self._norm(layer.feed_norm)).chunk(2, dim=1)
            hidden.add_(layer.down(functional.silu(gate).mul_(up)))
        self._norm(self._model.norm)

    def _norm(self, weight: Tensor) -> Tensor:
        """Root-mean-square norm of the hidden state, (1, width) bfloat16. Two small calls instead of six."""
        hidden = self._hidden
        flat = hidden[0]
        scale = (torch.dot(flat, flat).item() / flat.shape[0] + self._model.config.norm.eps) ** -0.5
        return torch.addcmul(self._zeros, hidden, weight, value=scale, out=self._normed)

    def _logits(self) -> Tensor:
        """Four-bit logits are good enough to find the likeliest tokens, not to rank them: those are computed anew."""
        normed = self._normed
        logits = self._model.head(normed)[0].float()
        likeliest = logits.topk(_RESCORED).indices
        logits[likeliest] = torch.mv(self._model.head_rows[likeliest].float(), normed[0].float())
        return logits


def _in_pairs(keys: Tensor) -> Tensor:
    """Keys (..., head_dim) from `rotary`'s order, halves that turn against each other, to llama.cpp's, as in the file."""
    return keys.view(*keys.shape[:-1], 2, -1).transpose(-1, -2).flatten(-2)


def _in_halves(keys: Tensor) -> Tensor:
    """The other way around."""
    return keys.view(*keys.shape[:-1], -1, 2).transpose(-1, -2).flatten(-2)


def _nearest_levels(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels uint8 of ``values``' shape, steps and least values of every group in it."""
    groups = values.view(values.shape[0], -1, GROUP)
    least, most = groups.aminmax(dim=-1)
    step = (most - least).clamp_min_(1e-12).div_(15)
    levels = groups.sub(least[..., None]).div_(step[..., None]).round_().clamp_(0, 15)
    return levels.to(torch.uint8).view_as(values), step, least


def _plain(config: DecoderConfig, name: str) -> tuple[AttentionConfig, FeedForwardConfig]:
    """The attention and feed-forward that all layers share, plain Llama's. Raises `Refusal` where they are others."""
    layer = config.layers[0]
    if config.family == "llama" and isinstance(layer, LayerConfig) and isinstance(layer.feed_forward, FeedForwardConfig):
        attention, feed, rotary = layer.attention, layer.feed_forward, layer.attention.rotary
        whole = rotary is not None and rotary.scaling == "default" and rotary.width == attention.head_dim
        if whole and not attention.input_bias and not feed.bias:
            return attention, feed
    raise Refusal(name, "its layers are not plain Llama's", "open it as bfloat16")


def _layer(source: GGUFFile, width: int, attention: AttentionConfig, feed: int, index: int) -> Int4Layer:
    heads, keys = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim

    def matrix(columns: int, **rows: int) -> Matrix:
        parts = [_blocks(source, f"blk.{index}.{name}.weight", (count, columns)) for name, count in rows.items()]
        return Matrix.pack(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))

    return Int4Layer(
        attention_norm=_vector(source, f"blk.{index}.attn_norm.weight", width),
        query_key_value=matrix(width, attn_q=heads, attn_k=keys, attn_v=keys),
        output=matrix(heads, attn_output=width),
        feed_norm=_vector(source, f"blk.{index}.ffn_norm.weight", width),
        gate_up=matrix(width, ffn_gate=feed, ffn_up=feed),
        down=matrix(feed, ffn_down=width),
    )


def _blocks(source: GGUFFile, name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels (rows, columns), steps and least values (rows, columns / GROUP) of a Q4_1 tensor."""
    tensor = source.tensors.get(name)
    if tensor is None or tensor.kind != "Q4_1" or tensor.shape != shape:
        raise Refusal(source.name, f"{name} is not a Q4_1 matrix of {shape[0]}x{shape[1]}", "take the Q4_1 file of the model")
    blocks = tensor.blocks.reshape(shape[0], shape[1] // GROUP, _BLOCK)
    step, least = np.moveaxis(np.ascontiguousarray(blocks[..., :4]).view(np.float16).astype(np.float32), -1, 0)
    levels = np.concatenate((blocks[..., 4:] & 15, blocks[..., 4:] >> 4), axis=-1)  # low halves are the first 16 numbers
    return levels.reshape(shape), step, least


def _vector(source: GGUFFile, name: str, width: int) -> Tensor:
    tensor = source.tensors.get(name)
    if tensor is None or tensor.shape != (width,):
        raise Refusal(source.name, f"{name} is not {width} numbers", "take the Q4_1 file of the model")
    return torch.from_numpy(tensor.dequantize())
