import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from serval.connectors.load_query_former import load_q_former
from serval.connectors.query_former import QFormer
from serval.refusal import Refusal

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "vocab_size": 30,
    "max_position_embeddings": 12,
}


def published(kind):
    """A whole model with numbers large enough that a mistake shows."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
    )

    config_kind, model_kind = {
        "blip-2": (Blip2Config, Blip2ForConditionalGeneration),
        "instructblip": (InstructBlipConfig, InstructBlipForConditionalGeneration),
    }[kind]
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "image_size": 28}
    text = {"model_type": "opt", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30}
    text |= {"ffn_dim": 8, "word_embed_proj_dim": 8, "max_position_embeddings": 40}
    model = model_kind(config_kind(vision_config=vision, qformer_config=SIZES, text_config=text, num_query_tokens=5)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=float("norm" in name.lower() and name.endswith("weight")), std=0.3)
    return model


@pytest.fixture(scope="module", params=["blip-2", "instructblip"])
def both(request, tmp_path_factory):
    """A published kind of model, and its folder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    model = published(request.param)
    model.save_pretrained(folder)
    return model, folder


def theirs(model, source, **arguments):
    queries = model.query_tokens.expand(len(source), -1, -1)
    with torch.no_grad():
        out = model.qformer(query_embeds=queries, encoder_hidden_states=source, **arguments).last_hidden_state
    return out[:, : queries.shape[1]]


def test_the_loaded_queries_come_out_as_in_transformers(both):
    model, folder = both
    former, source = load_q_former(folder), torch.randn(3, 9, 16)
    arguments = {} if former.words is None else {"input_ids": torch.randint(1, 30, (3, 6))}
    got = former(source, text=arguments.get("input_ids"))
    assert got.shape == (3, 5, 24)
    torch.testing.assert_close(got, theirs(model, source, **arguments), rtol=1e-5, atol=1e-5)
    assert not any(weight.requires_grad for weight in former.parameters())


def test_an_instruction_is_padded_and_padded_keys_are_not_read_as_in_transformers(both):
    model, folder = both
    former, source = load_q_former(folder), torch.randn(2, 9, 16)
    keys = torch.ones(2, 9, dtype=torch.bool)
    keys[1, 4:] = False
    ours, other = {"mask": keys[:, None]}, {"encoder_attention_mask": keys.long()}
    if former.words is not None:
        valid = torch.tensor([[True] * 6, [True, True, False, False, False, False]])
        ours |= {"text": torch.randint(1, 30, (2, 6)), "valid": valid}
        other |= {"input_ids": ours["text"], "attention_mask": torch.cat([torch.ones(2, 5), valid], dim=1).long()}
    got = former(source, **ours)
    torch.testing.assert_close(got, theirs(model, source, **other), rtol=1e-5, atol=1e-5)
    short = {name: value[1:, :2] for name, value in ours.items() if name != "mask"}
    torch.testing.assert_close(got[1:], former(source[1:, :4], **short))


def test_the_instruction_changes_what_the_queries_see():
    former, source = small(vocabulary=30), torch.randn(1, 9, 16)
    one, two = (former(source, text=torch.tensor([words])) for words in ([1, 2, 3], [1, 2, 4]))
    assert not torch.allclose(one, two, atol=1e-2)
    assert not torch.allclose(one, former(source), atol=1e-2)  # it may be left out
    turned = former(source, text=torch.tensor([[3, 2, 1]]))
    assert not torch.allclose(one, turned, atol=1e-2)  # and words have an order


def small(**options):
    former = QFormer(source=16, queries=5, width=24, layers=2, heads=4, hidden=20, positions=12, **options)
    for name, weight in former.named_parameters():
        if not name.endswith("norm.weight"):
            nn.init.normal_(weight, std=0.3)
    return former.eval()


def test_only_every_other_layer_reads_unless_all_are_to():
    """Video-LLaMA's and FAVOR's Q-Formers read in each of their two layers."""
    assert [layer.cross_attention is not None for layer in small().layers] == [True, False]
    former, source = small(cross_every=1), torch.randn(2, 9, 16)
    assert [layer.cross_attention is not None for layer in former.layers] == [True, True]
    torch.testing.assert_close(former(source[:, torch.randperm(9)]), former(source))


def test_windows_in_time_are_a_mask():
    """FAVOR's windows, each read by queries of its own: a masked key has no influence."""
    former, source = small(cross_every=1), torch.randn(4, 10, 16)
    mask = torch.ones(4, 1, 10, dtype=torch.bool)
    mask[3, :, 6:] = False
    torch.testing.assert_close(former(source, mask=mask)[3:], former(source[3:, :6]))


def test_a_layer_of_video_llama_s_size_has_the_published_number_of_weights():
    with torch.device("meta"):
        former = QFormer(source=768, layers=2, cross_every=1)
    count = sum(weight.numel() for weight in former.layers.parameters())
    assert round(count / 2 / 1e6, 2) == 9.45


def test_every_weight_learns_and_dropout_is_for_training_alone():
    former, source = small(vocabulary=30, dropout=0.5), torch.randn(2, 9, 16)
    words = torch.arange(24).view(2, 12)
    assert torch.equal(former(source, text=words), former(source, text=words))
    former.train()
    assert not torch.equal(former(source, text=words), former(source, text=words))
    former.eval()
    (former(source, text=words) * torch.randn(2, 5, 24)).sum().backward()
    still = {name for name, weight in former.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0}
    assert all(name.startswith("layers.1.text_feed") for name in still)  # what follows the last look at the words


def test_texts_that_cannot_be_read_are_refused():
    with pytest.raises(ValueError, match="no vocabulary"):
        small()(torch.randn(1, 9, 16), text=torch.ones(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="13 words for 12"):
        small(vocabulary=30)(torch.randn(1, 9, 16), text=torch.ones(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match="heads"):
        QFormer(source=16, width=24, heads=5)


def with_config(**changes):
    def damage(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def with_tensors(change):
    def damage(folder):
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return damage


def without(part):
    return with_tensors(lambda given: {name: value for name, value in given.items() if part not in name})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (with_config(model_type="llava"), "config.json: it is not the configuration of a BLIP-2"),
        (with_config(qformer_config=SIZES | {"hidden_act": "relu"}), "it is not the configuration of a BLIP-2"),
        (with_config(qformer_config=SIZES | {"hidden_size": "wide"}), "its hidden_size is not a number from 1"),
        (
            with_config(qformer_config=SIZES | {"num_hidden_layers": 10**9}),
            "its num_hidden_layers is not a number from 1 to 1,024",
        ),
        (with_config(qformer_config=SIZES | {"num_attention_heads": 5}), "does not divide into its num_attention_heads"),
        (with_config(qformer_config=SIZES | {"hidden_size": 12}), "query_tokens is 5x24 and should be 5x12 and"),
        (with_config(num_query_tokens=6), "query_tokens is 5x24 and should be 6x24;"),
        (without("layer.1.attention.attention.key.bias"), "encoder.layer.1.attention.attention.key.bias is missing;"),
        (
            with_tensors(lambda given: given | {"query_tokens": torch.ones(2, 5, 24)}),
            "query_tokens is 2x5x24 and should be 5x24;",
        ),
        (without("query_tokens"), "there is no Q-Former with its queries in it"),
        (without("qformer."), "there is no Q-Former with its queries in it"),
        (with_tensors(lambda given: given | {"qformer.new\n": torch.ones(1)}), r"'new\n' is not expected;"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "it is cut off or damaged"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pickled weights"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: there is no such file"),
    ],
)
def test_folders_that_hold_no_such_model_are_refused_in_one_line(damage, said, both, tmp_path):
    for path in both[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(Refusal, match=re.escape(said)) as refused:
        load_q_former(tmp_path)
    assert "\n" not in str(refused.value)


def test_shards_are_read_as_one(both, tmp_path):
    model, folder = both
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()
    source = torch.randn(1, 9, 16)
    assert torch.equal(load_q_former(tmp_path)(source), load_q_former(folder)(source))
