"""Sentence embedding: all-MiniLM-L6-v2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serval.encoders.onnx_session import open_session
from serval.encoders.tfjs_graph import IR, OPSET

WIDTH: Final = 384
MAX_TOKENS: Final = 256  # as trained; what is longer is cut off
_BATCH: Final = 32


class MiniLM:
    """Unit vectors of sentences; the dot product of two is their similarity.

    Source: Reimers and Gurevych, "Sentence-BERT" (2019), on the network of Wang et al., "MiniLM" (2020).
    """

    def __init__(self, weights: Path, config: Path, tokenizer: Path, *, threads: int = 1) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        shape = json.loads(config.read_bytes())
        tensors = load_file(weights)
        # The tables stay outside the graph: half of the weights need not go through its serialization.
        self._words = tensors.pop("embeddings.word_embeddings.weight")
        self._places = (
            tensors.pop("embeddings.position_embeddings.weight") + tensors.pop("embeddings.token_type_embeddings.weight")[0]
        )
        graph = _graph(tensors, shape["num_hidden_layers"], shape["num_attention_heads"], shape["layer_norm_eps"])
        self._session = open_session(graph, threads=threads)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.encode_special_tokens = True  # "[SEP]" on a sign is text
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    @classmethod
    def open(cls, threads: int = 1) -> MiniLM:
        """The installed encoder.

        Raises:
            PartMissing: the part ``minilm`` is not installed.
        """
        from serval.weights import locate

        files = [locate("minilm", name) for name in ("model.safetensors", "config.json", "tokenizer.json")]
        return cls(*files, threads=threads)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings ``[len(texts), 384]``, mean-pooled and of length 1."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        embeddings = np.empty((len(tokens), WIDTH), np.float32)
        by_length = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))  # little padding in each batch
        for start in range(0, len(by_length), _BATCH):
            chosen = by_length[start : start + _BATCH]
            longest = max(len(tokens[index]) for index in chosen)
            ids, mask = np.zeros((len(chosen), longest), np.int64), np.zeros((len(chosen), longest), np.float32)
            for row, index in enumerate(chosen):
                ids[row, : len(tokens[index])], mask[row, : len(tokens[index])] = tokens[index], 1.0
            embedded = self._words[ids] + self._places[:longest]
            (embeddings[chosen],) = self._session.run(None, {"embedded": embedded, "mask": mask})
        return embeddings


def _graph(tensors: Mapping[str, NDArray[Any]], layers: int, heads: int, epsilon: float) -> bytes:
    """Serialized ONNX model: ``embedded [n, t, 384]`` and ``mask [n, t]`` (1 or 0) to ``sentence [n, 384]``."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    initializers: dict[str, NDArray[Any]] = {}

    def constant(value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(initializers)}"
        initializers[name] = np.array(value, dtype, order="C")
        return name

    def emit(op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"t{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def linear(x: str, *names: str) -> str:
        weight = np.concatenate([tensors[f"{name}.weight"] for name in names]).T
        bias = np.concatenate([tensors[f"{name}.bias"] for name in names])
        return emit("Add", emit("MatMul", x, constant(weight)), constant(bias))

    def normed(x: str, name: str) -> str:
        scale, shift = constant(tensors[f"{name}.weight"]), constant(tensors[f"{name}.bias"])
        return emit("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)

    head = WIDTH // heads
    apart, together = constant([0, 0, 3, heads, head], np.int64), constant([0, 0, WIDTH], np.int64)
    one, second, last = constant(1.0), constant([1], np.int64), constant([-1], np.int64)
    # Padding gets no attention: 0 where there is a token, -10000 where there is none, for every head and query.
    hidden = emit("Mul", emit("Sub", "mask", one), constant(1e4))
    hidden = emit("Unsqueeze", hidden, constant([1, 2], np.int64))
    x = normed("embedded", "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{index}" for index in range(layers)):
        at = f"{layer}.attention"
        qkv = emit("Reshape", linear(x, f"{at}.self.query", f"{at}.self.key", f"{at}.self.value"), apart)
        qkv = emit("Transpose", qkv, perm=[2, 0, 3, 1, 4])  # [3, n, heads, t, head]
        q, k, v = (emit("Gather", qkv, constant(index, np.int64), axis=0) for index in range(3))
        scores = emit("MatMul", emit("Mul", q, constant(head**-0.5)), emit("Transpose", k, perm=[0, 1, 3, 2]))
        shares = emit("Softmax", emit("Add", scores, hidden), axis=-1)
        mixed = emit("Reshape", emit("Transpose", emit("MatMul", shares, v), perm=[0, 2, 1, 3]), together)
        x = normed(emit("Add", linear(mixed, f"{at}.output.dense"), x), f"{at}.output.LayerNorm")
        inner = linear(x, f"{layer}.intermediate.dense")
        bent = emit("Add", emit("Erf", emit("Mul", inner, constant(2**-0.5))), one)  # exact GELU
        inner = emit("Mul", emit("Mul", inner, bent), constant(0.5))
        x = normed(emit("Add", linear(inner, f"{layer}.output.dense"), x), f"{layer}.output.LayerNorm")
    weight = emit("Unsqueeze", "mask", last)
    # The mean's divisor is left out: the length is set to 1 anyway.
    summed = emit("ReduceSum", emit("Mul", x, weight), second, keepdims=0)
    emit("LpNormalization", summed, name="sentence", axis=-1, p=2)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "minilm",
            [
                helper.make_tensor_value_info("embedded", TensorProto.FLOAT, ["n", "t", WIDTH]),
                helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", "t"]),
            ],
            [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["n", WIDTH])],
            [numpy_helper.from_array(value, name) for name, value in initializers.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    return model.SerializeToString()
