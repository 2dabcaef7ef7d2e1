import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from serval.adapters.by_modality import ByModality
from serval.adapters.decomposed_linear import DecomposedLinear
from serval.adapters.peft_format import add_adapters, causal_lm_names, load_adapters, merge_adapters, save_adapters
from serval.adapters.typed_linear import TypedLinear
from serval.conversation.sequence import Modality
from serval.language.decoder import Decoder
from serval.refusal import Refusal

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # between peft and transformers
IDS = torch.arange(12).view(2, 6)


def logits(model):
    with torch.no_grad():
        out = model(IDS)
    return out if isinstance(model, Decoder) else out.logits


def shaken(parameters):
    """Numbers large enough that a mistake shows."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter) * 0.15)


@pytest.fixture
def by_peft(llama):
    """Makes the tiny Llama with adapters of PEFT's that have learned something."""
    from peft import LoraConfig, get_peft_model

    def made(**options):
        model = get_peft_model(llama(), LoraConfig(**options)).eval()
        shaken(parameter for name, parameter in model.named_parameters() if "lora_" in name)
        return model

    return made


PEFT = {
    "lora": {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"]},
    "dora": {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"], "use_dora": True},
    "all linear maps, rank-stabilised": {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "use_rslora": True},
    "one layer": {"r": 2, "target_modules": ["q_proj"], "layers_to_transform": 1},
    "a regular expression": {"r": 2, "target_modules": r"model\.layers\.1\.mlp\.(up|gate)_proj"},
    "ranks and alphas apart": {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": "all-linear",
        "use_dora": True,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 4},
        "alpha_pattern": {"mlp.up_proj": 7, "v_proj": 1},
    },
}


@pytest.mark.parametrize("kind", PEFT)
def test_what_peft_saved_gives_the_same_here(kind, by_peft, llama, tmp_path):
    peft = by_peft(**PEFT[kind])
    peft.save_pretrained(tmp_path)
    model = llama()
    plain = logits(model)
    loaded = load_adapters(model, tmp_path)
    assert len(loaded) == sum("lora_A" in name for name, _ in peft.named_parameters())
    torch.testing.assert_close(logits(model), logits(peft), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(model), plain, atol=1e-2)


@pytest.mark.parametrize("kind", ["lora", "dora", "ranks and alphas apart"])
def test_merged_it_is_what_peft_merges(kind, by_peft, llama, tmp_path):
    peft = by_peft(**PEFT[kind])
    peft.save_pretrained(tmp_path)
    model = llama()
    load_adapters(model, tmp_path)
    names = merge_adapters(model)
    merged = peft.merge_and_unload()
    assert {type(model.get_submodule(name)) for name in names} == {nn.Linear}
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in merged.named_parameters()]
    for (name, ours), (_, theirs) in zip(model.named_parameters(), merged.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_what_is_saved_here_gives_the_same_in_peft(dora, rank_stabilised, llama, tmp_path):
    from peft import PeftModel

    model = llama()
    options = {"dora": dora, "rank_stabilised": rank_stabilised}
    added = add_adapters(model, ["q_proj", "up_proj"], rank=3, alpha=5, **options)
    added += add_adapters(model, r"model\.layers\.1\.self_attn\.[kv]_proj", rank=2, alpha=7, **options)
    shaken(parameter for adapter in added for parameter in adapter.parameters() if parameter.requires_grad)
    save_adapters(model, tmp_path)
    peft = PeftModel.from_pretrained(llama(), tmp_path).eval()
    torch.testing.assert_close(logits(peft), logits(model), rtol=1e-5, atol=1e-5)
    again = llama()
    load_adapters(again, tmp_path)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(logits(model), logits(llama()), atol=1e-2)


def test_dropout_and_the_more_precise_type_are_kept(by_peft, llama, tmp_path):
    peft = by_peft(r=2, target_modules=["q_proj"], lora_dropout=0.25)
    peft.save_pretrained(tmp_path)
    model = llama()
    load_adapters(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(peft), rtol=1e-5, atol=1e-5)  # as nothing learns, nothing is dropped
    model = llama().bfloat16()
    (adapter, _) = load_adapters(model, tmp_path)
    assert adapter.dropout.p == 0.25
    assert (adapter.down.dtype, adapter.base.weight.dtype) == (torch.float32, torch.bfloat16)
    save_adapters(model, tmp_path / "again")
    saved = load_file(tmp_path / "again" / "adapter_model.safetensors")
    theirs = load_file(tmp_path / "adapter_model.safetensors")
    assert saved.keys() == theirs.keys() and all(torch.equal(saved[name], theirs[name]) for name in saved)
    assert json.loads((tmp_path / "again" / "adapter_config.json").read_text())["lora_dropout"] == 0.25


@pytest.mark.parametrize("dora", [False, True])
def test_added_to_a_whole_model_they_change_no_bit_and_freeze_what_they_stand_on(dora, llama):
    model = llama().requires_grad_()
    expected = logits(model)
    added = add_adapters(model, rank=2, dora=dora)
    assert len(added) == 14 and isinstance(model.lm_head, nn.Linear)
    assert torch.equal(logits(model), expected)
    model(IDS).logits.square().sum().backward()
    assert all((adapter.direction if dora else adapter).base.weight.grad is None for adapter in added)
    assert all((adapter.direction if dora else adapter).up.grad.any() for adapter in added)
    assert model.lm_head.weight.grad.any()
    with pytest.raises(Refusal, match="no part of the model"):
        add_adapters(model, rank=2)  # nothing is left to adapt, the adapters' own maps least of all


def test_names_may_differ_from_those_in_the_file(by_peft, llama, tmp_path):
    peft = by_peft(**PEFT["lora"])
    peft.save_pretrained(tmp_path)
    model = llama()
    load_adapters(model.model, tmp_path, names=lambda name: f"model.{name}")
    torch.testing.assert_close(logits(model), logits(peft), rtol=1e-5, atol=1e-5)
    save_adapters(model.model, tmp_path / "again", names=lambda name: f"model.{name}")
    saved, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "again", tmp_path))
    assert saved.keys() == theirs.keys() and all(torch.equal(saved[name], theirs[name]) for name in saved)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_what_peft_saved_gives_the_same_in_a_decoder_of_ours_and_back(kind, by_peft, llama, decoder, tmp_path):
    from peft import PeftModel

    peft = by_peft(**PEFT[kind])
    peft.save_pretrained(tmp_path)
    assert load_adapters(decoder, tmp_path, names=causal_lm_names)
    torch.testing.assert_close(logits(decoder), logits(peft), rtol=1e-5, atol=1e-5)
    shaken(parameter for parameter in decoder.parameters() if parameter.requires_grad)
    save_adapters(decoder, tmp_path / "again", names=causal_lm_names)
    again = PeftModel.from_pretrained(llama(), tmp_path / "again").eval()
    torch.testing.assert_close(logits(again), logits(decoder), rtol=1e-5, atol=1e-5)
    merge_adapters(decoder)
    torch.testing.assert_close(logits(again), logits(decoder), rtol=1e-5, atol=1e-5)


def saved(folder):
    """A small model's adapters in ``folder``, and the model without them."""
    model = nn.ModuleDict({"one": nn.Linear(4, 3), "two": nn.Linear(3, 4)})
    save_adapters(_with_adapters(model), folder)
    return nn.ModuleDict({"one": nn.Linear(4, 3), "two": nn.Linear(3, 4)})


def _with_adapters(model):
    add_adapters(model, ["one", "two"], rank=2)
    return model


def config(**changes):
    def damage(folder):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def tensors(change):
    def damage(folder):
        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path)

    return damage


def without(part):
    return tensors(lambda given: {name: value for name, value in given.items() if part not in name})


def also(**given):
    return tensors(lambda tensors: tensors | {f"base_model.model.{name}": value for name, value in given.items()})


DOWN = "one.lora_A.weight"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (config(peft_type="IA3"), "adapter_config.json: its peft_type is not LORA"),
        (config(peft_type=None), "its peft_type is not LORA"),
        (config(bias="all"), "it changes biases too"),
        (config(modules_to_save=["lm_head"]), "it uses modules_to_save"),
        (config(use_qalora=True), "it uses use_qalora"),
        (config(**{"new\n": 1}), "an option with a strange name"),
        (config(init_lora_weights="pissa"), "init_lora_weights changed the frozen weights"),
        (config(alpha_pattern={"(a+)+b": 2}), "alpha_pattern holds a regular expression"),
        (config(lora_dropout=1.5), "lora_dropout is not a share"),
        (config(r="many"), "its r is not a number"),
        (config(target_modules=["three"]), "target_modules are no linear maps of the model"),
        (config(r=3), "one.lora_A.weight is 2x4 and should be 3x4"),
        (config(use_dora=True), "one.lora_magnitude_vector is missing"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "it is not a model's configuration"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "no such file"),
        (without("one.lora_A"), "one.lora_A.weight is missing"),
        (without(".two."), "two.lora_A.weight is missing, base_model.model.two.lora_B.weight is missing"),
        (also(**{DOWN: torch.zeros(2, 5)}), "is 2x5 and should be 2x4"),
        (also(**{DOWN: torch.zeros(3, 4)}), "is 3x4 and should be 2x4"),
        (also(**{"x.lora_A.weight": torch.zeros(1)}), "x.lora_A.weight is not expected"),
        (also(**{DOWN: torch.zeros(2, 4).int()}), "is not of floats"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"torn"), "damaged"),
        (
            lambda folder: (folder / "adapter_model.safetensors").unlink(),
            "adapter_model.safetensors: it is missing or cannot be read",
        ),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
            "adapter_model.bin: it is a pickle",
        ),
    ],
)
def test_folders_that_cannot_be_what_they_say_are_refused_in_one_line_and_leave_the_model_alone(damage, said, tmp_path):
    model = saved(tmp_path)
    damage(tmp_path)
    with pytest.raises(Refusal, match=re.escape(said)) as refused:
        load_adapters(model, tmp_path)
    assert "\n" not in str(refused.value)
    assert type(model["one"]) is type(model["two"]) is nn.Linear


def test_no_adapters_at_all_are_refused(tmp_path):
    model = saved(tmp_path)
    config(target_modules="all-linear")(tmp_path)
    tensors(lambda _: {})(tmp_path)
    with pytest.raises(Refusal, match="there is no adapter in it"):
        load_adapters(model, tmp_path)


def test_what_the_format_has_no_words_for_is_not_saved(tmp_path):
    def refused(**parts):
        with pytest.raises(ValueError, match=refused.match):
            save_adapters(nn.ModuleDict(parts), tmp_path)

    refused.match = "not one branch that every token takes"
    refused(part=TypedLinear(nn.Linear(4, 3), rank=(2, 2)))
    refused(part=TypedLinear(nn.Linear(4, 3), rank=2, gated=True))
    refused(part=ByModality(TypedLinear(nn.Linear(4, 3), rank=2), {Modality.IMAGE: 0}, otherwise=-1))
    refused.match = "no adapters"
    refused(part=nn.Linear(4, 3))
    refused.match = "LoRAs beside DoRAs"
    refused(one=TypedLinear(nn.Linear(4, 3), rank=2), two=DecomposedLinear(nn.Linear(4, 3), rank=2))
    refused.match = "is merged"
    merged = TypedLinear(nn.Linear(4, 3), rank=2)
    merged.merge()
    refused(part=merged)
    assert not list(tmp_path.iterdir())
