"""A GGUF file in Hugging Face's terms: the fields of ``config.json``, and where each tensor of theirs comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from serval.refusal import Refusal
from serval.weights import gguf_rotary
from serval.weights.gguf_families import ARCHITECTURES, Family, family_of
from serval.weights.gguf_file import GGUFFile, shown
from serval.weights.gguf_keys import Keys

_AGAIN, _ANOTHER = "fetch it again", "take another model"

# Keys that would change the numbers, and have no place in the configurations; the latter not where they are 1.
_UNREAD = (
    *("attention.scale", "attention.clamp_kqv", "attention.max_alibi_bias", "attention.temperature_scale"),
    *("expert_shared_count", "leading_dense_block_count", "nextn_predict_layers", "rope.scaling.yarn_log_multiplier"),
)
_FACTORS = (
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "expert_weights_scale",
    "expert_group_count",
    "rope.scaling.alpha",
)


@dataclass(frozen=True)
class Part:
    """A tensor of Hugging Face's, as it comes out of one of llama.cpp's.

    Attributes:
        tensor: the name of llama.cpp's.
        shape: of Hugging Face's.
        expert: which one of those that lie in llama.cpp's behind each other; None where it is the only one.
        heads: where rows turn in pairs that lie side by side, how many heads they make; else 0.
        offset: what llama.cpp has added to it.
    """

    tensor: str
    shape: tuple[int, ...]
    expert: int | None = None
    heads: int = 0
    offset: float = 0.0


@dataclass(frozen=True)
class Model:
    """Attributes:
    config: the fields of ``config.json``, but ``dtype``.
    parts: Hugging Face's tensors by name.
    """

    config: dict[str, Any]
    parts: dict[str, Part]


def read_model(source: GGUFFile) -> Model:
    """What the file holds; every tensor is there, known, and of the shape that it should have.

    Raises:
        Refusal: an architecture that is not known, sizes that do not fit together, or tensors that are not those of them.
    """
    architecture = source.get("general.architecture", str)
    if architecture not in ARCHITECTURES:
        word = architecture if architecture.isprintable() and len(architecture) <= 40 else "a strange word"
        raise Refusal(source.name, f"its architecture is {word}", f"take one of {', '.join(ARCHITECTURES)}")
    if source.get("split.count", int, 1) > 1:
        raise Refusal(source.name, "it is one of several files of a model", "join them with llama.cpp's llama-gguf-split")
    keys = Keys(source, architecture)
    _refuse_unread(keys)
    family = family_of(keys)
    config = _config(keys, family)
    config |= family.fields(keys, config)
    wanted = _tensors(keys, family, config)
    _compare(source, wanted)
    parts: dict[str, Part] = {}
    for name, part in wanted.items():
        if "{}" in name:
            count, *shape = part.shape
            parts |= {name.format(index): replace(part, shape=tuple(shape), expert=index) for index in range(count)}
        else:
            parts[name] = part
    return Model(config, parts)


def _refuse_unread(keys: Keys) -> None:
    for key in (*_UNREAD, *_FACTORS):
        if keys.value(key) and not (key in _FACTORS and keys.value(key) == 1):
            raise keys.refusal(f"it tells {keys.architecture}.{key}, which is not read here", _ANOTHER)
    if keys.value("attention.causal") is False:
        raise keys.refusal("its tokens see those behind them", "take a model that writes")
    if keys.value("expert_gating_func") not in (None, 0, 1):
        raise keys.refusal("it chooses experts by something else than softmax", _ANOTHER)


def _config(keys: Keys, family: Family) -> dict[str, Any]:
    """The fields that all families have."""
    source = keys.source
    embedding = source.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise keys.refusal("token_embd.weight is missing, or is no matrix", _AGAIN)
    width, layers, heads = keys.whole("embedding_length"), keys.whole("block_count"), keys.whole("attention.head_count")
    kv_heads, context = keys.whole("attention.head_count_kv", heads), keys.whole("context_length")
    head_dim = keys.whole("attention.key_length", max(1, width // heads))
    if heads % kv_heads:
        raise keys.refusal(f"{heads} heads cannot share {kv_heads} heads of keys", _AGAIN)
    if keys.whole("attention.value_length", head_dim) != head_dim:
        raise keys.refusal("its values are not as wide as its keys", _ANOTHER)
    turning = keys.whole("rope.dimension_count", head_dim)
    if turning % 2 or turning > head_dim or (turning != head_dim and family.model_type != "phi3"):
        raise keys.refusal(f"{turning} of the {head_dim} numbers of a head cannot turn in pairs here", _ANOTHER)
    if layers > len(source.tensors):
        raise keys.refusal(f"it claims {layers} layers, and has {len(source.tensors)} tensors", _AGAIN)
    config: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "hidden_size": width,
        "intermediate_size": keys.whole("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": gguf_rotary.rope_parameters(keys, turning, context),
        "tie_word_embeddings": "output.weight" not in source.tensors,
        "vocab_size": embedding.shape[0],
        **_tokens(source, embedding.shape[0]),
    }
    if family.bias == "maybe":
        config["attention_bias"] = "blk.0.attn_q.bias" in source.tensors
    if family.feed_bias:
        config["mlp_bias"] = "blk.0.ffn_gate.bias" in source.tensors
    return config


def _tokens(source: GGUFFile, vocabulary: int) -> dict[str, Any]:
    """The ids that texts begin, end and are filled up with; a turn of a chat may end otherwise than a text does."""
    ids = {name: source.get(f"tokenizer.ggml.{name}_token_id", int, -1) for name in ("bos", "eos", "eot", "padding")}
    known = {name: token if 0 <= token < vocabulary else None for name, token in ids.items()}
    ends = sorted({token for token in (known["eos"], known["eot"]) if token is not None})
    end = ends if len(ends) > 1 else known["eos"]
    return {"bos_token_id": known["bos"], "eos_token_id": end, "pad_token_id": known["padding"]}


def _tensors(keys: Keys, family: Family, config: dict[str, Any]) -> dict[str, Part]:
    """Tensors by Hugging Face's name, as whole as the file has them: {} stands for the number of an expert."""
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    found = {
        "model.embed_tokens.weight": Part("token_embd.weight", (vocabulary, width)),
        "model.norm.weight": Part("output_norm.weight", (width,), offset=family.offset),
    }
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = Part("output.weight", (vocabulary, width))
    norms = {f"{name}.weight": Part(f"{ours}.weight", (width,), offset=family.offset) for ours, name in family.norms.items()}
    layer = norms | _attention(family, config) | _feed_forward(keys, family, config)
    for index in range(config["num_hidden_layers"]):
        for name, part in layer.items():
            found[f"model.layers.{index}.{name}"] = replace(part, tensor=f"blk.{index}.{part.tensor}")
    return found


def _attention(family: Family, config: dict[str, Any]) -> dict[str, Part]:
    heads, kv_heads, head_dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    width, queries, keys = config["hidden_size"], heads * head_dim, kv_heads * head_dim
    found = {"self_attn.o_proj.weight": Part("attn_output.weight", (width, queries))}
    if family.fused:
        return {"self_attn.qkv_proj.weight": Part("attn_qkv.weight", (queries + 2 * keys, width)), **found}
    for letter, rows, turning in (("q", queries, heads), ("k", keys, kv_heads), ("v", keys, 0)):
        part = Part(f"attn_{letter}.weight", (rows, width), heads=turning if family.paired else 0)
        found[f"self_attn.{letter}_proj.weight"] = part
        if family.bias == "input" or config.get("attention_bias"):
            found[f"self_attn.{letter}_proj.bias"] = replace(part, tensor=f"attn_{letter}.bias", shape=(rows,))
        if family.qk_norm and turning:
            size = head_dim if family.qk_norm == "head" else rows
            found[f"self_attn.{letter}_norm.weight"] = Part(f"attn_{letter}_norm.weight", (size,), offset=family.offset)
    if config.get("attention_bias"):
        found["self_attn.o_proj.bias"] = Part("attn_output.bias", (width,))
    return found


def _feed_forward(keys: Keys, family: Family, config: dict[str, Any]) -> dict[str, Part]:
    width, feed = config["hidden_size"], config["intermediate_size"]
    if family.experts:
        block, *names = family.experts
        count, feed = keys.whole("expert_count"), config.get("moe_intermediate_size", feed)
        found = {f"{block}.gate.weight": Part("ffn_gate_inp.weight", (count, width))}
        for name, kind, shape in zip(names, ("gate", "up", "down"), ((feed, width), (feed, width), (width, feed)), strict=True):
            found[f"{block}.experts.{{}}.{name}.weight"] = Part(f"ffn_{kind}_exps.weight", (count, *shape))
        return found
    down = {"mlp.down_proj.weight": Part("ffn_down.weight", (width, feed))}
    if family.fused:
        return {"mlp.gate_up_proj.weight": Part("ffn_up.weight", (2 * feed, width)), **down}
    found = {f"mlp.{kind}_proj.weight": Part(f"ffn_{kind}.weight", (feed, width)) for kind in ("gate", "up")} | down
    if config.get("mlp_bias"):
        sizes = {"gate": feed, "up": feed, "down": width}
        found |= {f"mlp.{kind}_proj.bias": Part(f"ffn_{kind}.bias", (size,)) for kind, size in sizes.items()}
    return found


def _compare(source: GGUFFile, wanted: dict[str, Part]) -> None:
    """Every tensor that is wanted is in the file and can be read, and no other is there."""
    for part in wanted.values():
        tensor = source.tensors.get(part.tensor)
        if tensor is None:
            raise Refusal(source.name, f"{part.tensor} is missing", _AGAIN)
        if tensor.shape != part.shape:
            found, should = ("x".join(map(str, shape)) for shape in (tensor.shape, part.shape))
            raise Refusal(source.name, f"{part.tensor} is {found} and should be {should}", _AGAIN)
    kinds = {source.tensors[part.tensor].kind: source.tensors[part.tensor] for part in wanted.values()}
    for tensor in kinds.values():
        next(tensor.parts())  # refuses a format that cannot be read
    known = {part.tensor for part in wanted.values()} | gguf_rotary.TENSORS
    for name in source.tensors:
        if name not in known:
            why = f"{shown(name)} is not a tensor of its architecture"
            raise Refusal(source.name, why, "take another conversion of the model")
