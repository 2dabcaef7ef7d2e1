import pytest
import torch
from torch import nn

from serval.connectors.layer_aggregator import LayerAggregator
from serval.connectors.projector import Projector
from serval.connectors.query_former import QFormer

DEPTHS = 18, 28, 38


def taps():
    return [torch.randn(2, 257, 8) for _ in DEPTHS]


def trained():
    aggregator = LayerAggregator(8, 12, heads=2, hidden=16)
    for weight in aggregator.parameters():
        nn.init.normal_(weight, std=0.3)
    return aggregator.eval()


def test_at_first_it_norms_the_last_tap_and_hears_no_other():
    aggregator, (early, middle, last) = LayerAggregator(8, 12, heads=2, hidden=16), taps()
    normed = last
    for _ in range(6):
        normed = nn.functional.layer_norm(normed, (8,), eps=1e-12)
    gathered = aggregator.gathered([early, middle, last])
    assert torch.equal(gathered, normed) and not torch.equal(gathered, last)
    assert torch.equal(aggregator([torch.randn_like(early), torch.randn_like(middle), last]), aggregator([early, middle, last]))
    gathered.square().sum().backward()
    assert aggregator.layers[0].cross_attention.out.weight.grad.any()  # but it learns to


def test_the_tap_before_the_last_is_read_by_the_first_layer_and_the_earliest_by_the_second():
    aggregator, (early, middle, last) = trained(), taps()
    first = aggregator.layers[0](last, middle, 257, None, None)
    second = aggregator.layers[1](first, early, 257, None, None)
    assert torch.equal(aggregator.gathered([early, middle, last]), second)
    assert torch.equal(aggregator([early, middle, last]), aggregator.project(aggregator.norm(second)))
    for layer, deaf in ((0, [early, middle + 1, last]), (1, [early + 1, middle, last])):
        assert not torch.equal(aggregator.gathered(deaf), second)
        nn.init.zeros_(aggregator.layers[layer].cross_attention.out.weight)  # the one way in is shut
        assert torch.equal(aggregator.gathered(deaf), aggregator.gathered([early, middle, last]))
        aggregator = trained_again(aggregator)
        second = aggregator.gathered([early, middle, last])


def trained_again(aggregator):
    for layer in aggregator.layers:
        nn.init.normal_(layer.cross_attention.out.weight, std=0.3)
    return aggregator


def test_a_layer_is_bert_s():
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    config = BertConfig(
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=16,
        is_decoder=True,
        add_cross_attention=True,
        attn_implementation="eager",
    )
    theirs, aggregator = BertLayer(config).eval(), trained()
    ours, (_, middle, last) = aggregator.layers[0], taps()
    names = {
        "self_attention.out": "attention.output.dense",
        "self_attention.norm": "attention.output.LayerNorm",
        "self_attention": "attention.self",
        "cross_attention.out": "crossattention.output.dense",
        "cross_attention.norm": "crossattention.output.LayerNorm",
        "cross_attention": "crossattention.self",
        "feed.up": "intermediate.dense",
        "feed.down": "output.dense",
        "feed.norm": "output.LayerNorm",
    }
    state = {}
    for name, tensor in ours.state_dict().items():
        ours_name = next(each for each in names if name.startswith(each + "."))
        state[names[ours_name] + name.removeprefix(ours_name)] = tensor
    theirs.load_state_dict(state)
    reference = theirs(last, attention_mask=torch.zeros(2, 1, 257, 257), encoder_hidden_states=middle)
    reference = reference[0] if isinstance(reference, tuple) else reference
    torch.testing.assert_close(ours(last, middle, 257, None, None), reference, atol=1e-5, rtol=1e-5)


def test_lion_reads_32_tokens_257_or_both():
    """Behind each other: what a Q-Former asked for, and what the aggregator gathered."""
    aggregator, seen = trained(), taps()
    former = QFormer(source=8, width=16, layers=2, heads=2, hidden=16)
    asked, gathered = Projector(16, 12, depth=1)(former(seen[-1])), aggregator(seen)
    assert (asked.shape[1], gathered.shape[1], torch.cat([asked, gathered], dim=1).shape[1]) == (32, 257, 289)


def test_it_has_the_published_size():
    with torch.device("meta"):
        aggregator = LayerAggregator(1408, 2048)
    layers = sum(weight.numel() for weight in aggregator.layers.parameters())
    assert round(layers / 1e6, 1) == 49.1
    assert round(sum(weight.numel() for weight in aggregator.project.parameters()) / 1e6, 1) == 19.5


def test_taps_that_are_too_few_are_refused():
    with pytest.raises(ValueError, match="argument"):
        trained()(taps()[1:])
    with pytest.raises(ValueError, match="nothing to gather from 1"):
        LayerAggregator(8, 12, depths=1)
