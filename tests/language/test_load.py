"""Files that do not hold what they should are refused in one line that names the tensor."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from serval.language.families import read_config
from serval.language.load import load_decoder, save_decoder
from serval.refusal import Refusal

from .conftest import tiny_reference


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.folder, tmp_path / "model")


def load(folder, **options):
    return load_decoder(folder / "model.safetensors", folder / "config.json", **options)


def changed_weights(folder, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("model.layers.1.self_attn.k_proj.weight"), "layers.1.self_attn.k_proj.weight is missing"),
        (lambda state: state.update({"model.norm.weight": torch.ones(47)}), "norm.weight is 47 and should be 48"),
        (lambda state: state.update({"model.layers.0.extra": torch.ones(1)}), "layers.0.extra is not expected"),
        (lambda state: state.update({"model.layers.3.mlp.up_proj.weight": torch.ones(80, 48)}), "layers.3.mlp"),
        (lambda state: state.update({"model.norm.weight": torch.ones(48, dtype=torch.int32)}), "not of floats"),
        (lambda state: state.update({"evil\nname\x1b[2J": torch.ones(1)}), "strange name"),
    ],
)
def test_wrong_tensors_are_reported(folder, change, says):
    changed_weights(folder, change)
    with pytest.raises(Refusal) as refused:
        load(folder)
    assert says in str(refused.value) and "model.safetensors" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_report_of_many_differences_stays_one_line(folder):
    changed_weights(folder, lambda state: [state.pop(name) for name in list(state) if "layers" in name])
    with pytest.raises(Refusal, match="and 24 more") as refused:
        load(folder)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle perhaps", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(Refusal, match=r"model\.safetensors"):
        load(folder)


def test_a_truncated_file_is_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(Refusal, match="damaged"):
        load(folder)


def test_missing_files_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(Refusal, match=r"model\.safetensors"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(Refusal, match=r"config\.json"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mamba"},
        {"hidden_size": 10**9},
        {"hidden_size": "48"},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": True},
        {"num_key_value_heads": 4},
        {"head_dim": 7},
        {"rms_norm_eps": -1},
        {"rms_norm_eps": float("nan")},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "yarn", "factor": -2}},
        {"rope_parameters": {"rope_type": "longrope", "factor": 2, "short_factor": [1], "long_factor": [1]}},
        {"rope_parameters": {"partial_rotary_factor": 3}},
        {"rope_parameters": {"mrope_section": [1, 1]}},
        {"rope_parameters": 7},
        {"attention_bias": "yes"},
        {"hidden_act": "swiglu"},
        {"tie_word_embeddings": "no"},
    ],
)
def test_configurations_that_cannot_be_are_refused(folder, change):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(Refusal, match=r"config\.json"):
        read_config(folder / "config.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_damaged_configurations_are_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(Refusal, match=r"config\.json"):
        read_config(folder / "config.json")


def test_older_files_say_the_same_in_other_places(folder):
    content = json.loads((folder / "config.json").read_text())
    known = read_config(folder / "config.json")
    theta = content.pop("rope_parameters")["rope_theta"]
    content.pop("head_dim")
    (folder / "config.json").write_text(json.dumps(content | {"rope_theta": theta}))
    assert read_config(folder / "config.json") == known


def test_bfloat16_is_within_its_rounding(tiny):
    decoder = load(tiny.folder, dtype=torch.bfloat16)
    assert decoder.dtype == torch.bfloat16 and not any(each.requires_grad for each in decoder.parameters())
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        exact = torch.log_softmax(tiny.decoder(ids), -1)
        rounded = torch.log_softmax(decoder(ids).float(), -1)
    divergence = (exact.exp() * (exact - rounded)).sum(-1)
    assert divergence.mean() < 0.05


def test_a_tied_copy_of_the_head_is_left_aside(folder):
    changed_weights(folder, lambda state: state.update({"lm_head.weight": state["model.embed_tokens.weight"].clone()}))
    assert load(folder).lm_head is None


def test_an_untied_head_must_be_there(tmp_path):
    tiny_reference(tmp_path, tie_word_embeddings=False)
    changed_weights(tmp_path, lambda state: state.pop("lm_head.weight"))
    with pytest.raises(Refusal, match=r"lm_head\.weight is missing"):
        load(tmp_path)


def test_shards_are_read_as_one(folder, tiny):
    tiny.reference.save_pretrained(folder / "shards", max_shard_size="40KB")
    assert len(list((folder / "shards").glob("*.safetensors"))) > 2
    ids = torch.arange(9)[None]
    assert torch.equal(load_decoder(folder / "shards")(ids), tiny.decoder(ids))


@pytest.mark.parametrize(
    "index",
    [
        b"{",
        b"[]",
        json.dumps({"weight_map": {}}).encode(),
        json.dumps({"weight_map": {"a": "../../etc/passwd"}}).encode(),
        json.dumps({"weight_map": {"a": 3}}).encode(),
        b'{"a":' * 100_000,
    ],
)
def test_a_hostile_index_is_refused(folder, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_bytes(index)
    with pytest.raises(Refusal, match=r"index\.json"):
        load_decoder(folder)


def test_pickles_are_never_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Refusal, match="pickle"):
        load_decoder(folder)


def test_code_that_a_configuration_names_is_not_run(folder, tiny, tmp_path):
    canary = tmp_path / "canary"
    (folder / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')")
    content = json.loads((folder / "config.json").read_text())
    told = {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}, "trust_remote_code": True}
    (folder / "config.json").write_text(json.dumps(content | told))
    ids = torch.arange(9)[None]
    assert torch.equal(load_decoder(folder)(ids), tiny.decoder(ids))
    (folder / "config.json").write_text(json.dumps(content | told | {"model_type": "evil"}))
    with pytest.raises(Refusal, match=r"evil.*not known"):
        load_decoder(folder)
    assert not canary.exists()


def test_a_decoder_can_be_saved_and_read_again(tiny, tmp_path):
    save_decoder(tiny.decoder, tmp_path / "again")
    ids = torch.arange(9)[None]
    assert torch.equal(load_decoder(tmp_path / "again")(ids), tiny.decoder(ids))
