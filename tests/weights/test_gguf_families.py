"""Every architecture: a random model of transformers', written as llama.cpp writes it, comes back as it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from serval.refusal import Refusal
from serval.weights.gguf import convert, open_gguf
from serval.weights.gguf_families import family_of
from serval.weights.gguf_file import GGUFFile, read_gguf
from serval.weights.gguf_keys import Keys
from serval.weights.gguf_model import read_model
from serval.weights.safetensors_writer import write_safetensors

from .gguf_models import MODELS, load, logits, random_model, write_model


def differences(found: dict[str, Any], expected: dict[str, Any]) -> set[str]:
    """Fields of a configuration that differ, but those that no GGUF file tells and that say the same in more words."""
    fields = {key for key in expected if found.get(key) != expected[key]}
    return fields - {"_name_or_path", "architectures", "dtype"} - ({"head_dim"} if expected.get("head_dim") is None else set())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_its_numbers_and_its_configuration(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    write_model(tmp_path / "m.gguf", model, architecture)
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
    write_model(tmp_path / "m.gguf", model, architecture, half)
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    torch.testing.assert_close(logits(load(tmp_path / "out")), logits(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "qwen3moe"])
def test_a_quantized_file_holds_the_numbers_nearest_to_the_model(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    eight = GGMLQuantizationType.Q8_0
    kept = lambda _, values: (quantize(values, eight), eight) if values.shape[-1] % 32 == 0 and values.ndim > 1 else values  # noqa: E731
    write_model(tmp_path / "m.gguf", model, architecture, kept)
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    expected, most = model.state_dict(), {}
    for key, tensor in load(tmp_path / "out").state_dict().items():
        most[key] = float((tensor - expected[key]).abs().max() / expected[key].abs().max())
    assert max(most.values()) <= 0.52 / 127 and max(most.values()) > 0.1 / 127  # half a step; and they were rounded


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3, long", "gemma2", "gemma3"])
def test_transformers_reads_the_same_numbers_from_the_file_itself(tmp_path, name):
    """Where it can: it passes over Llama's biases, Mixtral's experts, windows, rescaled positions, OLMo 2 and SmolLM3."""
    model = random_model(name)
    write_model(tmp_path / "m.gguf", model, MODELS[name][0])
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
    write_model(tmp_path / "m.gguf", model, "qwen2")
    for dtype in (torch.bfloat16, torch.float16):
        convert(tmp_path / "m.gguf", tmp_path / "out", dtype=dtype, tokenizer=False)
        found = load(tmp_path / "out")
        assert found.dtype == dtype
        for key, tensor in found.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key].to(dtype)), key
    with pytest.raises(ValueError, match="int8"):
        open_gguf(tmp_path / "m.gguf", torch.int8)


def test_a_checkpoint_gives_what_the_folder_holds(tmp_path):
    write_model(tmp_path / "m.gguf", random_model("mixtral"), "llama")
    checkpoint = open_gguf(tmp_path / "m.gguf")
    convert(tmp_path / "m.gguf", tmp_path / "out", tokenizer=False)
    expected = load_file(tmp_path / "out/model.safetensors")
    assert checkpoint.name == "m.gguf"
    assert set(checkpoint.names()) == expected.keys()
    for name, tensor in expected.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        assert torch.equal(checkpoint.tensor(name), tensor)
    assert checkpoint.config == json.loads((tmp_path / "out/config.json").read_text())


def test_shards_are_loaded_as_one_file_is(tmp_path):
    model = random_model("qwen3moe")
    write_model(tmp_path / "m.gguf", model, "qwen3moe")
    checkpoint = open_gguf(tmp_path / "m.gguf", torch.float32)
    (tmp_path / "config.json").write_text(json.dumps(checkpoint.config))
    shapes = {name: checkpoint.shape(name) for name in checkpoint.names()}
    write_safetensors(tmp_path, shapes, checkpoint.tensor, torch.float32, largest=20_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    torch.testing.assert_close(logits(load(tmp_path)), logits(model), atol=1e-5, rtol=0)


def test_frequencies_that_are_not_llama_3s_are_kept_as_they_are(tmp_path):
    factors = np.array([1, 3, 2, 7], dtype=np.float32)
    write_model(
        tmp_path / "m.gguf", random_model("llama"), "llama", tell=lambda writer: writer.add_tensor("rope_freqs.weight", factors)
    )
    rope = open_gguf(tmp_path / "m.gguf").config["rope_parameters"]
    assert rope["rope_type"] == "longrope" and rope["attention_factor"] == 1.0
    convert(tmp_path / "m.gguf", tmp_path / "out", dtype=torch.float32, tokenizer=False)
    turned = load(tmp_path / "out").model.rotary_emb.inv_freq
    torch.testing.assert_close(turned, 10000.0 ** -(torch.arange(4) / 4) / torch.from_numpy(factors))


def test_factors_of_one_change_nothing(tmp_path):
    write_model(tmp_path / "m.gguf", random_model("llama"), "llama", tell=lambda writer: writer.add_logit_scale(1.0))
    assert open_gguf(tmp_path / "m.gguf").config["model_type"] == "llama"


def test_a_turn_may_end_otherwise_than_a_text(tmp_path):
    write_model(tmp_path / "m.gguf", random_model("llama"), "llama", tell=lambda writer: writer.add_eot_token_id(7))
    assert open_gguf(tmp_path / "m.gguf").config["eos_token_id"] == [2, 7]


@pytest.mark.parametrize(("architecture", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_largest_gemma_scales_its_scores_by_another_width(architecture, layers):
    keys = Keys(GGUFFile("m.gguf", {f"{architecture}.attention.sliding_window": 8}, {}), architecture)
    sizes = {"hidden_size": 96, "num_attention_heads": 8, "head_dim": 16, "max_position_embeddings": 64, "rope_parameters": {}}
    for depth, expected in ((layers, 12), (layers - 1, 16)):
        fields = family_of(keys).fields(keys, sizes | {"num_hidden_layers": depth})
        assert fields["query_pre_attn_scalar"] == expected


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        ({"sliding_window": 8}, "sssssfs"),
        ({}, "fffffff"),
        ({"sliding_window": 8, "sliding_window_pattern": 3}, "ssfssfs"),
        ({"sliding_window": 8, "sliding_window_pattern": [True, False] * 3 + [False]}, "sfsfsff"),
    ],
)
def test_the_layers_of_gemma_3_that_look_through_a_window_are_told(told, kinds):
    keys = Keys(GGUFFile("m.gguf", {f"gemma3.attention.{key}": value for key, value in told.items()}, {}), "gemma3")
    sizes = {"hidden_size": 96, "num_attention_heads": 8, "head_dim": 16, "max_position_embeddings": 64, "rope_parameters": {}}
    found = family_of(keys).fields(keys, sizes | {"num_hidden_layers": 7})
    assert "".join(each[0] for each in found["layer_types"]) == kinds
    assert found["sliding_window"] == (8 if told else 64)


@pytest.mark.parametrize("name", ["mixtral", "qwen3moe"])
def test_no_more_experts_can_be_chosen_than_there_are(tmp_path, name):
    write_model(tmp_path / "m.gguf", random_model(name, num_experts_per_tok=5), MODELS[name][0])
    with pytest.raises(Refusal, match="5 of 4 experts"):
        open_gguf(tmp_path / "m.gguf")


@pytest.mark.parametrize(("head_dim", "turning"), [(44, 30), (128, 96), (96, 96), (49, 2)])
def test_the_part_of_phi_3s_heads_that_turns_is_told_such_that_it_comes_out_whole(head_dim, turning):
    keys = Keys(GGUFFile("m.gguf", {"phi3.rope.dimension_count": turning}, {}), "phi3")
    rope = {"rope_type": "default", "rope_theta": 1e4}
    sizes = {"hidden_size": 4 * head_dim, "num_attention_heads": 4, "head_dim": head_dim, "max_position_embeddings": 64}
    share = family_of(keys).fields(keys, {**sizes, "rope_parameters": rope})["rope_parameters"]["partial_rotary_factor"]
    assert int(head_dim * share) == turning and share == pytest.approx(turning / head_dim)


REFUSED: dict[str, tuple[str, str, Callable[[GGUFWriter], Any], str]] = {
    "Olmo 3": ("olmo2", "olmo2", lambda w: w.add_sliding_window(8), "window"),
    "qwen2 with a window": ("qwen2", "qwen2", lambda w: w.add_sliding_window(8), "window"),
    "an alibi": ("llama", "llama", lambda w: w.add_max_alibi_bias(8.0), "max_alibi_bias"),
    "logits rescaled": ("llama", "llama", lambda w: w.add_logit_scale(0.5), "logit_scale"),
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
    write_model(tmp_path / "m.gguf", random_model(name), architecture, tell=tell)
    with pytest.raises(Refusal, match=says) as refused:
        open_gguf(tmp_path / "m.gguf")
    assert str(refused.value).startswith("m.gguf: ") and "\n" not in str(refused.value)


def test_a_format_that_cannot_be_read_is_refused_before_anything_is_written(tmp_path):
    def change(name: str, values: np.ndarray) -> np.ndarray:
        return values.astype(np.int32) if name == "blk.1.ffn_up.weight" else values

    write_model(tmp_path / "m.gguf", random_model("qwen2"), "qwen2", change)
    with pytest.raises(Refusal, match=r"^m.gguf: blk.1.ffn_up.weight is of format I32"):
        convert(tmp_path / "m.gguf", tmp_path / "out", tokenizer=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["llama", "mixtral", "phi3", "gemma3"])
def test_a_missing_tensor_and_one_of_another_shape_are_named(tmp_path, name):
    model, architecture = random_model(name), MODELS[name][0]
    write_model(tmp_path / "m.gguf", model, architecture)
    source = read_gguf(tmp_path / "m.gguf")
    for wrong, tensor in source.tensors.items():
        others = {name: each for name, each in source.tensors.items() if name != wrong}
        if wrong != "output.weight":  # a model without one has the embeddings for it
            with pytest.raises(Refusal, match=f"^m.gguf: {wrong} is missing"):
                read_model(replace(source, tensors=others))
        shorter = replace(tensor, shape=(*tensor.shape[:-1], tensor.shape[-1] - 2))
        with pytest.raises(Refusal, match=f"^m.gguf: {wrong} .*should be"):
            read_model(replace(source, tensors=others | {wrong: shorter}))
