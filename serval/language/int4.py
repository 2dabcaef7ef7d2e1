"""Token by token on a CPU, as fast as its memory gives four-bit weights: ONNX Runtime's kernels in one graph.

Matrices have 4 bits a number (groups of 32 with a scale and a least value, as they stand in a Q4_1 GGUF file). A few tokens
are rounded to 8 bits, group by group, before they meet them; many at once, as in a prompt, are read in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serval.encoders.onnx_session import open_session
from serval.language.config import AttentionConfig, DecoderConfig, FeedForwardConfig, LayerConfig
from serval.language.decoder import Decoder
from serval.language.int4_graph import Int4Layer, decoder_graph
from serval.language.int4_matrix import GROUP, Floats, Int4Head, Matrix, Rows
from serval.refusal import Refusal
from serval.weights.gguf_file import GGUFFile, read_gguf

_BLOCK = 4 + GROUP // 2  # bytes of a Q4_1 block: scale, least value, 32 half bytes
_FIRST = 256  # tokens of room to begin with
_AWAKE = 50  # microseconds: longer than an operator, so that the second thread is there for the next one
_FEW = 24  # tokens that are read as few: 16 of them take 64 against 104 ms, 64 take 234 against 261, 256 take 990 against 889
_AT_ONCE = 512  # tokens in one pass, for whose attention to all before there has to be memory


class Int4Decoder:
    """Four-bit layers from a Q4_1 GGUF file, beside the `Decoder` that was converted from the same file."""

    def __init__(self, gguf: Path, decoder: Decoder) -> None:
        """It computes with as many threads as PyTorch now has: several are quicker than one only on a machine that is idle.

        Raises `Refusal` when ``gguf`` is damaged, or does not hold Q4_1 layers of the decoder's sizes."""
        self.decoder, self.config = decoder, decoder.config
        source = read_gguf(gguf)
        self.attention, feed = _plain(self.config, source.name)
        sizes = self.config.width, self.attention, feed.width
        layers = [_layer(source, *sizes, index) for index in range(len(self.config.layers))]
        norm, threads = decoder.norm.weight.float().numpy(), torch.get_num_threads()
        embeddings = Rows.quantize(decoder.embed_tokens.weight)
        own = None if decoder.lm_head is None else decoder.lm_head.weight  # of a head that is not the embeddings
        rows = embeddings if own is None else Rows.quantize(own)
        head = Int4Head.quantize(decoder.embed_tokens.weight if own is None else own, rows, norm)
        self.vocabulary = head.matrix.rows

        def session(head: Int4Head | None) -> Any:
            graph, constants = decoder_graph(self.config, self.attention, embeddings, layers, norm, head)
            return open_session(graph, threads=threads, awake=_AWAKE, constants=constants)

        self.few, self.many = session(head), session(None)


class Int4Session:
    """One conversation, of at most ``capacity`` tokens."""

    def __init__(self, model: Int4Decoder, capacity: int) -> None:
        self._model, self._capacity, self._length = model, capacity, 0
        self._past = torch.empty(0)
        self._counts = np.zeros(2, dtype=np.int32)  # the last token's place, and how many there are
        self._few, self._many = model.few.io_binding(), model.many.io_binding()
        for binding in (self._few, self._many):
            for index, name in enumerate(("#last", "#total")):
                binding.bind_input(name, "cpu", 0, np.int32, (1,), self._counts[index:].ctypes.data)
        self._make_room(min(_FIRST, capacity))

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read more tokens; logits (vocabulary,) float32 of the one that follows.

        Raises:
            Refusal: they go beyond the capacity.
        """
        length = self._length + len(ids)
        if length > self._capacity:
            raise Refusal("the conversation", f"it is {length} tokens long, and {self._capacity} is the limit", "shorten it")
        with torch.inference_mode():
            if length > self._room:
                self._make_room(min(self._capacity, max(2 * self._room, length)))
            many = len(ids) - 1 if len(ids) > _FEW else 0
            for start in range(0, many, _AT_ONCE):
                self._read(ids[start : min(many, start + _AT_ONCE)], few=False)
            logits = torch.empty(self._model.vocabulary)
            self._few.bind_output("logits", "cpu", 0, np.float32, (1, *logits.shape), logits.data_ptr())
            self._read(ids[many:], few=True)
            return logits

    def fork(self, length: int, capacity: int) -> Int4Session:
        """Another conversation, of at most ``capacity`` tokens, that has read the first ``length`` tokens of this one."""
        if not 0 <= length <= min(self._length, capacity):
            raise ValueError("a fork begins with tokens that were read, and holds them")
        other = Int4Session(self._model, capacity)
        if length > other._room:
            other._make_room(length)
        other._length = length
        other._past[..., :length, :] = self._past[..., :length, :]
        return other

    @property
    def _room(self) -> int:
        return self._past.shape[-2]

    def _make_room(self, tokens: int) -> None:
        """For keys and values: (layers, 2, 1, heads, tokens, head_dim)."""
        attention, old = self._model.attention, self._past
        shape = len(self._model.config.layers), 2, 1, attention.kv_heads, tokens, attention.head_dim
        self._past = torch.empty(shape)
        if self._length:
            self._past[..., : self._length, :] = old[..., : self._length, :]
        for layer, both in enumerate(self._past):
            for name, part in zip(("keys", "values"), both, strict=True):
                where = "cpu", 0, np.float32, part.shape, part.data_ptr()
                for binding in (self._few, self._many):
                    binding.bind_input(f"{name} {layer}", *where)
                    binding.bind_output(f"new {name} {layer}", *where)

    def _read(self, ids: Sequence[int], *, few: bool) -> None:
        new = np.array([ids], dtype=np.int32)
        self._length += len(ids)
        self._counts[:] = self._length - 1, self._length
        model = self._model
        session, binding = (model.few, self._few) if few else (model.many, self._many)
        binding.bind_input("#ids", "cpu", 0, np.int32, new.shape, new.ctypes.data)
        session.run_with_iobinding(binding)


def _plain(config: DecoderConfig, name: str) -> tuple[AttentionConfig, FeedForwardConfig]:
    """The attention and feed-forward that all layers share, plain Llama's. Raises `Refusal` where they are others."""
    layer = config.layers[0]
    if config.family == "llama" and isinstance(layer, LayerConfig) and isinstance(layer.feed_forward, FeedForwardConfig):
        attention, feed, rotary = layer.attention, layer.feed_forward, layer.attention.rotary
        whole = rotary is not None and rotary.scaling == "default" and rotary.width == attention.head_dim
        if whole and not attention.input_bias and not feed.bias and feed.activation == "silu":
            return attention, feed
    raise Refusal(name, "its layers are not plain Llama's", "open it as bfloat16")


def _layer(source: GGUFFile, width: int, attention: AttentionConfig, feed: int, index: int) -> Int4Layer:
    heads, keys = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim

    def matrix(columns: int, scale: float = 1.0, **rows: int) -> Matrix:
        parts = [_blocks(source, f"blk.{index}.{name}.weight", (count, columns)) for name, count in rows.items()]
        for each in parts[0][1:]:
            each *= scale
        return Matrix.pack(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))

    return Int4Layer(
        attention_norm=_vector(source, f"blk.{index}.attn_norm.weight", width),
        # Attention without a scale of its own has a quicker kernel for one token.
        mixed=matrix(width, attention.scale, attn_q=heads, attn_k=keys, attn_v=keys),
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


def _vector(source: GGUFFile, name: str, width: int) -> Floats:
    tensor = source.tensors.get(name)
    if tensor is None or tensor.shape != (width,):
        raise Refusal(source.name, f"{name} is not {width} numbers", "take the Q4_1 file of the model")
    return tensor.dequantize()
