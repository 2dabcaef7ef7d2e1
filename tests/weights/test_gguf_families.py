"""Every architecture: a random model of transformers', written as llama.cpp writes it, comes back as it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, RopeScalingType, get_tensor_name_map
from gguf.quants import quantize
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from serval.refusal import Refusal
from serval.weights.gguf import convert, open_gguf
from serval.weights.gguf_families import family_of
from serval.weights.gguf_file import GGUFFile, read_gguf
from serval.weights.gguf_keys import Keys
from serval.weights.gguf_model import read_model

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LENGTH = 24  # tokens of a prompt: more than any window below

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16, "partial_rotary_factor": 0.75}
LONG |= {"short_factor": [1.0, 1.25, 1.5], "long_factor": [1.0, 4.0, 9.5]}
GEMMA3 = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
GEMMA3 |= {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {  # architecture of llama.cpp's, class of transformers', sizes
    "llama": ("llama", "Llama", {}),
    "llama, tied": ("llama", "Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama, biases": ("llama", "Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "llama 3": ("llama", "Llama", {"rope_parameters": LLAMA3, "head_dim": 32}),
    "llama, linear": ("llama", "Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "mistral": ("llama", "Mistral", {"sliding_window": 5}),
    "mixtral": ("llama", "Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", "Qwen2", {}),
    "qwen2, yarn": ("qwen2", "Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", "Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3moe": (
        *("qwen3moe", "Qwen3Moe"),
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True},
    ),
    "phi3": ("phi3", "Phi3", {"sliding_window": 6, "original_max_position_embeddings": 256}),
    "phi3, long": ("phi3", "Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 16}),
    "gemma2": ("gemma2", "Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5}),
    "gemma3": (
        *("gemma3", "Gemma3"),
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5, "rope_parameters": GEMMA3, "num_hidden_layers": 7},
    ),
    "olmo2": ("olmo2", "Olmo2", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    "smollm3": ("smollm3", "SmolLM3", {"num_hidden_layers": 5}),
}


def random_model(name: str, **changes: Any) -> PreTrainedModel:
    _, kind, sizes = MODELS[name]
    config = getattr(transformers, kind + ("TextConfig" if kind == "Gemma3" else "Config"))(**{**SIZES, **sizes, **changes})
    torch.manual_seed(len(name))
    model = getattr(transformers, kind + "ForCausalLM")(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15 if parameter.ndim > 1 else 0.5)
        parameter.data = parameter.data.half().float()  # so that files with 16 bits a number hold it whole
    return model


def paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows in Hugging Face's order to llama.cpp's, as its conversion turns them."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def describe(writer: GGUFWriter, config: Any, architecture: str) -> None:
    """The metadata of llama.cpp's conversion."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_token_list([f"token {number}" for number in range(config.vocab_size)])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if architecture in ("llama", "smollm3"):
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head_dim)
    if getattr(config, "head_dim", None) and architecture != "phi3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    if architecture != "gemma2":
        writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear" or rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if architecture == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_rope_dimension_count(int(head_dim * rope["partial_rotary_factor"]))
        writer.add_sliding_window(config.sliding_window or 0)
        if rope["rope_type"] == "longrope":
            writer.add_rope_scaling_attn_factors(ROPE_INIT_FUNCTIONS["longrope"](config)[1])
            for kind in ("long", "short"):
                writer.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], dtype=np.float32))
    if rope["rope_type"] == "llama3":
        plain = 1 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2) / head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / ROPE_INIT_FUNCTIONS["llama3"](config)[0]).numpy())
    if architecture in ("gemma2", "gemma3") or config.model_type == "mistral":
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type in ("mixtral", "qwen3_moe"):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if config.model_type == "qwen3_moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def stored(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """The model's tensors as llama.cpp's conversion sees them: experts of a kind behind each other."""
    tensors: dict[str, Tensor] = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    for name in [name for name in tensors if name.endswith("experts.gate_up_proj")]:
        gate, up = tensors.pop(name).chunk(2, dim=1)
        tensors[name.replace("gate_up_proj", "gate_proj.weight")] = gate
        tensors[name.replace("gate_up_proj", "up_proj.weight")] = up
        down = name.replace("gate_up_proj", "down_proj")
        tensors[f"{down}.weight"] = tensors.pop(down)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def write(
    path: Path,
    model: PreTrainedModel,
    architecture: str,
    change: Callable[[str, np.ndarray], Any] = lambda name, values: values,
    tell: Callable[[GGUFWriter], Any] = lambda writer: None,
) -> None:
    """The model as a GGUF file. ``change`` is asked how a tensor is kept, None leaves it out; ``tell`` adds metadata."""
    config, writer = model.config, GGUFWriter(path, architecture)
    describe(writer, config, architecture)
    tell(writer)
    names = get_tensor_name_map(next(k for k, v in MODEL_ARCH_NAMES.items() if v == architecture), config.num_hidden_layers)
    for name, values in stored(model).items():
        base, suffix = name.rsplit(".", 1)
        mapped = names.get_name(base)
        assert mapped is not None, name
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(base.split(".")[-1])
        if heads and architecture in ("llama", "smollm3"):
            values = paired(values, heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        kept = change(f"{mapped}.{suffix}", np.ascontiguousarray(values))
        if isinstance(kept, tuple):
            writer.add_tensor(f"{mapped}.{suffix}", kept[0], raw_dtype=kept[1])
        elif kept is not None:
            writer.add_tensor(f"{mapped}.{suffix}", kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model: PreTrainedModel) -> Tensor:
    ids = torch.randint(3, SIZES["vocab_size"], (2, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(ids).logits


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()


def differences(found: dict[str, Any], expected: dict[str, Any]) -> set[str]:
    """Fields of a configuration that differ, but those that no GGUF file tells and that say the same in more words."""
    fields = {key for key in expected if found.get(key) != expected[key]}
    return fields - {"_name_or_path", "architectures", "dtype"} - ({"head_dim"} if expected.get("head_dim") is None else set())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_its_numbers_and_its_configuration(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    write(tmp_path / "m.gguf", model, architecture)
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    found = load(tmp_path / "out")
    assert type(found) is type(model)
    expected, near = model.state_dict(), 1e-6 if architecture.startswith("gemma") else 0  # its norms were rounded as w + 1
    assert found.state_dict().keys() == expected.keys()
    for key, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], atol=near, rtol=0, msg=key)
    torch.testing.assert_close(logits(found), logits(model), atol=1e-5, rtol=0)
    told = found.config.to_dict()
    if name == "phi3, long":  # what transformers would work out is in the file
        assert told["rope_parameters"].pop("attention_factor") == pytest.approx(2**0.5)
    assert not differences(told, model.config.to_dict())


@pytest.mark.parametrize("name", ["llama", "mixtral", "gemma3"])
def test_a_file_of_sixteen_bits_comes_back_whole(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    half = lambda _, values: values.astype(np.float16) if values.ndim > 1 else values  # noqa: E731 - as llama.cpp does
    write(tmp_path / "m.gguf", model, architecture, half)
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    torch.testing.assert_close(logits(load(tmp_path / "out")), logits(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "qwen3moe"])
def test_a_quantized_file_holds_the_numbers_nearest_to_the_model(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    eight = GGMLQuantizationType.Q8_0
    kept = lambda _, values: (quantize(values, eight), eight) if values.shape[-1] % 32 == 0 and values.ndim > 1 else values  # noqa: E731
    write(tmp_path / "m.gguf", model, architecture, kept)
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    expected, most = model.state_dict(), {}
    for key, tensor in load(tmp_path / "out").state_dict().items():
        most[key] = float((tensor - expected[key]).abs().max() / expected[key].abs().max())
    assert max(most.values()) <= 0.52 / 127 and max(most.values()) > 0.1 / 127  # half a step; and they were rounded


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3, long", "gemma2", "gemma3"])
def test_transformers_reads_the_same_numbers_from_the_file_itself(tmp_path, name):
    """Where it can: it passes over Llama's biases, Mixtral's experts, windows, rescaled positions, OLMo 2 and SmolLM3."""
    model = random_model(name)
    write(tmp_path / "m.gguf", model, MODELS[name][0])
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    ours = load(tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", local_files_only=True).eval()
    expected = theirs.state_dict()
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    if name in ("llama", "qwen2"):
        assert torch.equal(logits(ours), logits(theirs))


def test_other_types_of_numbers_can_be_asked_for(tmp_path):
    model = random_model("qwen2")
    write(tmp_path / "m.gguf", model, "qwen2")
    for dtype in (torch.bfloat16, torch.float16):
        convert(tmp_path / "m.gguf", tmp_path / "out", dtype=dtype, tokenizer=False)
        found = load(tmp_path / "out")
        assert found.dtype == dtype
        for key, tensor in found.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key].to(dtype)), key
    with pytest.raises(ValueError, match="int8"):
        open_gguf(tmp_path / "m.gguf", torch.int8)


def test_a_checkpoint_gives_what_the_folder_holds(tmp_path):
    write(tmp_path / "m.gguf", random_model("mixtral"), "llama")
    checkpoint = open_gguf(tmp_path / "m.gguf")
    convert(tmp_path / "m.gguf", tmp_path / "out", tokenizer=False)
    expected = load_file(tmp_path / "out/model.safetensors")
    assert checkpoint.name == "m.gguf"
    assert set(checkpoint.names()) == expected.keys()
    for name, tensor in expected.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        assert torch.equal(checkpoint.tensor(name), tensor)
    assert checkpoint.config == json.loads((tmp_path / "out/config.json").read_text())


def test_frequencies_that_are_not_llama_3s_are_kept_as_they_are(tmp_path):
    factors = np.array([1, 3, 2, 7], dtype=np.float32)
    write(
        tmp_path / "m.gguf", random_model("llama"), "llama", tell=lambda writer: writer.add_tensor("rope_freqs.weight", factors)
    )
    rope = open_gguf(tmp_path / "m.gguf").config["rope_parameters"]
    assert rope["rope_type"] == "longrope" and rope["attention_factor"] == 1.0
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    turned = load(tmp_path / "out").model.rotary_emb.inv_freq
    torch.testing.assert_close(turned, 10000.0 ** -(torch.arange(4) / 4) / torch.from_numpy(factors))


def test_a_turn_may_end_otherwise_than_a_text(tmp_path):
    write(tmp_path / "m.gguf", random_model("llama"), "llama", tell=lambda writer: writer.add_eot_token_id(7))
    assert open_gguf(tmp_path / "m.gguf").config["eos_token_id"] == [2, 7]


@pytest.mark.parametrize(("architecture", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_largest_gemma_scales_its_scores_by_another_width(architecture, layers):
    keys = Keys(GGUFFile("m.gguf", {f"{architecture}.attention.sliding_window": 8}, {}), architecture)
    sizes = {"hidden_size": 96, "num_attention_heads": 8, "head_dim": 16, "max_position_embeddings": 64, "rope_parameters": {}}
    for depth, expected in ((layers, 12), (layers - 1, 16)):
        fields = family_of(keys).fields(keys, sizes | {"num_hidden_layers": depth})
        assert fields["query_pre_attn_scalar"] == expected


REFUSED: dict[str, tuple[str, str, Callable[[GGUFWriter], Any], str]] = {
    "Olmo 3": ("olmo2", "olmo2", lambda w: w.add_sliding_window(8), "window"),
    "qwen2 with a window": ("qwen2", "qwen2", lambda w: w.add_sliding_window(8), "window"),
    "an alibi": ("llama", "llama", lambda w: w.add_max_alibi_bias(8.0), "max_alibi_bias"),
    "an encoder": ("qwen2", "qwen2", lambda w: w.add_causal_attention(False), "behind"),
    "sigmoid experts": ("llama", "mixtral", lambda w: w.add_uint32("llama.expert_gating_func", 2), "softmax"),
    "one of several": ("llama", "llama", lambda w: w.add_uint16("split.count", 3), "several files"),
    "half of a head turning": ("qwen2", "qwen2", lambda w: w.add_rope_dimension_count(4), "turn in pairs"),
    "unknown rescaling": ("qwen2", "qwen2", lambda w: w.add_string("qwen2.rope.scaling.type", "dynamic"), "rescales"),
    "yarn that blends": ("qwen2", "qwen2, yarn", lambda w: w.add_rope_scaling_yarn_ext_factor(0.5), "rescales"),
    "phi3 rescaled": ("phi3", "phi3", lambda w: w.add_float32("phi3.rope.scaling.factor", 2.0), "Phi-3"),
    "short factors alone": (
        *("phi3", "phi3"),
        lambda w: w.add_tensor("rope_factors_short.weight", np.ones(4, dtype=np.float32)),
        "rope_factors_long",
    ),
    "frequencies of nothing": (
        *("llama", "llama"),
        lambda w: w.add_tensor("rope_freqs.weight", np.zeros(4, dtype=np.float32)),
        "rope_freqs.weight",
    ),
    "another tensor": (
        "llama",
        "llama",
        lambda w: w.add_tensor("blk.0.odd.weight", np.ones(2, dtype=np.float32)),
        "blk.0.odd.weight",
    ),
    "windows of some layers": ("gemma3", "gemma3", lambda w: w.add_sliding_window_pattern([True]), "sliding_window_pattern"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_in_the_configuration_is_refused(tmp_path, case):
    architecture, name, tell, says = REFUSED[case]
    write(tmp_path / "m.gguf", random_model(name), architecture, tell=tell)
    with pytest.raises(Refusal, match=says) as refused:
        open_gguf(tmp_path / "m.gguf")
    assert str(refused.value).startswith("m.gguf: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["llama", "mixtral", "phi3", "gemma3"])
def test_a_missing_tensor_and_one_of_another_shape_are_named(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    write(tmp_path / "m.gguf", model, architecture)
    source = read_gguf(tmp_path / "m.gguf")
    for wrong, tensor in source.tensors.items():
        others = {name: each for name, each in source.tensors.items() if name != wrong}
        if wrong != "output.weight":  # a model without one has the embeddings for it
            with pytest.raises(Refusal, match=f"^m.gguf: {wrong} is missing"):
                read_model(replace(source, tensors=others))
        shorter = replace(tensor, shape=(*tensor.shape[:-1], tensor.shape[-1] - 2))
        with pytest.raises(Refusal, match=f"^m.gguf: {wrong} .*should be"):
            read_model(replace(source, tensors=others | {wrong: shorter}))
