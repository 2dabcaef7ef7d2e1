import pytest
import torch
from torch import nn

from serval.connectors.grid_reducer import windows
from serval.connectors.query_reader import QueryReader, window_mask


def test_as_many_tokens_as_queries_whatever_there_is_to_read():
    reader = QueryReader(16, [6, 10], queries=5, heads=4)
    for keys in (1, 7, 40):
        assert reader([torch.randn(2, keys, 6), torch.randn(2, 3, 10)]).shape == (2, 5, 16)


def test_the_order_of_keys_does_not_matter():
    reader, source = QueryReader(16, [6], queries=5, heads=4), torch.randn(2, 9, 6)
    torch.testing.assert_close(reader([source[:, torch.randperm(9)]]), reader([source]))


def test_the_order_of_sources_does_not_matter_if_their_maps_go_with_them():
    reader, other = (QueryReader(16, [6, 6], queries=5, heads=4, layers=1) for _ in range(2))
    other.load_state_dict(reader.state_dict())
    for layer in other.layers:
        for maps in (layer.source_norms, layer.keys, layer.values):
            maps[0], maps[1] = maps[1], maps[0]
    one, two = torch.randn(2, 9, 6), torch.randn(2, 4, 6)
    torch.testing.assert_close(other([two, one]), reader([one, two]))


def test_masking_a_whole_source_equals_removing_it():
    both, alone = QueryReader(16, [6, 10], queries=5, heads=4), QueryReader(16, [6], queries=5, heads=4)
    alone.load_state_dict({name: value for name, value in both.state_dict().items() if name in alone.state_dict()})
    one, two = torch.randn(2, 9, 6), torch.randn(2, 4, 10)
    mask = torch.tensor([True] * 9 + [False] * 4).expand(1, 1, 13)
    torch.testing.assert_close(both([one, two], mask=mask), alone([one]))


def test_padding_changes_nothing_and_a_query_with_nothing_to_read_is_no_nan():
    reader, source = QueryReader(16, [6], queries=5, heads=4), torch.randn(2, 9, 6)
    mask = torch.ones(2, 1, 9, dtype=torch.bool)
    mask[0, :, 4:] = False
    padded = reader([source], mask=mask)
    torch.testing.assert_close(padded[:1], reader([source[:1, :4]]))
    torch.testing.assert_close(padded[1:], reader([source[1:]]))
    assert reader([source], mask=torch.zeros_like(mask)).isfinite().all()


def test_a_change_to_one_key_reaches_only_the_query_whose_window_holds_it():
    reader = QueryReader(16, [6, 6], queries=None, heads=4, among=None)
    queries, coarse, fine = torch.randn(1, 9, 16), torch.randn(1, 9, 6), torch.randn(1, 36, 6)
    mask = torch.cat([window_mask((3, 3), (3, 3)), window_mask((3, 3), (6, 6))], dim=1)[None]
    before = reader([coarse, fine], queries=queries, mask=mask)
    changed = fine.clone()
    changed[0, 2 * 6 + 5] += 1  # row 2, column 5: the window of row 1, column 2
    after = reader([coarse, changed], queries=queries, mask=mask)
    assert (before != after).any(-1)[0].nonzero().flatten().tolist() == [1 * 3 + 2]


def test_masked_windows_equal_windows_read_one_by_one():
    reader = QueryReader(16, [6], queries=None, heads=4, among=None)
    queries, fine = torch.randn(2, 9, 16), torch.randn(2, 6, 6, 6)
    masked = reader([fine.flatten(1, 2)], queries=queries, mask=window_mask((3, 3), (6, 6))[None])
    alone = reader([windows(fine, 2).flatten(0, 2)], queries=queries.reshape(18, 1, 16))
    torch.testing.assert_close(masked, alone.reshape(2, 9, 16))


def test_windows_part_the_keys_evenly_along_any_axes():
    assert window_mask((3,), (6,)).tolist() == [[i // 2 == query for i in range(6)] for query in range(3)]
    mask = window_mask((2, 3), (4, 9))
    assert mask.sum(0).eq(1).all() and mask.sum(1).eq(6).all()
    assert torch.equal(window_mask((3, 3), (3, 3)), torch.eye(9, dtype=torch.bool))


def idefics(width=16, heads=4, head_width=6, normed=True):
    """A published perceiver, and a reader with its weights: it has no biases, and another activation in its MLP."""
    from transformers import IdeficsConfig
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    config = IdeficsConfig(
        vision_config={"embed_dim": width}, perceiver_config={"qk_layer_norms_perceiver": normed, "use_resampler": True}
    )
    theirs = IdeficsPerceiverResampler(config, width, depth=3, n_heads=heads, head_dim=head_width, n_latents=5)
    for name, weight in theirs.named_parameters():
        nn.init.normal_(weight, mean=float("norm" in name and "weight" in name), std=0.3)
    options = {"heads": heads, "head_width": head_width, "normed_heads": normed}
    ours = QueryReader(width, [width], queries=5, layers=3, among="joint", **options)
    state = {"queries": theirs.latents, "norm.weight": theirs.layer_norm.weight, "norm.bias": theirs.layer_norm.bias}
    for number, (attention, feed) in enumerate(theirs.blocks):
        parts = {
            "ask": attention.q_proj,
            "keys.0": attention.k_proj,
            "values.0": attention.v_proj,
            "out": attention.output_proj,
        }
        parts |= {"source_norms.0": attention.context_layer_norm, "read_norm": attention.latents_layer_norm}
        parts |= {"feed_norm": feed.ln, "feed.0": feed.fc, "feed.2": feed.c_proj}
        if normed:
            parts |= {"asked_norm": attention.q_layer_norm, "key_norm": attention.k_layer_norm}
        for ours_name, part in parts.items():
            state |= {f"layers.{number}.{ours_name}.{name}": weight for name, weight in part.named_parameters()}
        ours.layers[number].feed[1] = nn.ReLU()
    state |= {name: torch.zeros_like(weight) for name, weight in ours.state_dict().items() if name not in state}
    assert all(name.endswith(("feed.0.bias", "feed.2.bias")) for name in state if not state[name].any())
    ours.load_state_dict(state)
    return theirs, ours


@pytest.mark.parametrize("normed", [True, False])
def test_joint_queries_make_it_the_perceiver_of_idefics(normed):
    theirs, ours = idefics(normed=normed)
    media = torch.randn(2, 9, 16)
    torch.testing.assert_close(ours([media]), theirs(media), rtol=1e-5, atol=1e-5)
    mask = torch.tensor([True] * 4 + [False] * 5).expand(2, 1, 9)
    torch.testing.assert_close(ours([media], mask=mask), theirs(media[:, :4]), rtol=1e-5, atol=1e-5)


def test_joint_queries_read_themselves_where_there_is_nothing_else():
    reader = QueryReader(16, [16], queries=5, heads=4, among="joint")
    source, mask = torch.randn(1, 9, 16), torch.zeros(1, 1, 9, dtype=torch.bool)
    torch.testing.assert_close(reader([source], mask=mask), reader([source[:, :0]]))


def test_the_number_of_weights_is_that_of_aki_s_perceiver():
    with torch.device("meta"):
        reader = QueryReader(1152, [1152], queries=144, layers=6, heads=8, head_width=64, among="joint")
    layer = 4 * 1152 * 512 + 2 * 4 * 1152**2 + 3 * 2 * 1152  # attention, MLP and three norms
    biases = 5 * 1152  # of the MLP, which AKI's goes without
    assert sum(weight.numel() for weight in reader.parameters()) == 144 * 1152 + 6 * (layer + biases) + 2 * 1152


def test_each_layer_may_read_a_source_of_its_own():
    """Arcana's ladder: layer i reads the i-th states of the tower, so a change to them is seen from layer i on."""
    ladder = QueryReader(16, [6, 8, 6], queries=5, heads=4, layers=[[0], [1], [2]], among=None)
    sources = [torch.randn(1, 9, 6), torch.randn(1, 9, 8), torch.randn(1, 9, 6)]
    states = []
    for layer in ladder.layers:
        layer.register_forward_hook(lambda _, __, out: states.append(out))
    ladder(sources)
    ladder([sources[0], sources[1] + 1, sources[2]])
    assert [torch.equal(before, after) for before, after in zip(states[:3], states[3:], strict=True)] == [True, False, False]


def test_layers_that_all_read_one_source_are_a_reader_of_it_alone():
    """TextHawk's levels, every layer on the last one."""
    levels = QueryReader(16, [6, 6], queries=5, heads=4, layers=[[1], [1], [1]])
    alone = QueryReader(16, [6], queries=5, heads=4, layers=3)
    alone.load_state_dict(levels.state_dict())
    one, two = torch.randn(2, 9, 6), torch.randn(2, 4, 6)
    torch.testing.assert_close(levels([one, two]), alone([two]))
    mask = torch.tensor([True] * 9 + [True, True, False, False]).expand(1, 1, 13)
    torch.testing.assert_close(levels([one, two], mask=mask), alone([two[:, :2]]))


def test_a_ladder_that_adds_nothing_gives_its_queries_back():
    ladder = QueryReader(16, [6, 6], queries=5, heads=4, layers=[[0], [1]], among=None)
    for layer in ladder.layers:
        for weight in (layer.out.weight, layer.feed[2].weight, layer.feed[2].bias):
            nn.init.zeros_(weight)
    ladder.norm = nn.Identity()
    assert torch.equal(ladder([torch.randn(1, 9, 6), torch.randn(1, 9, 6)])[0], ladder.queries)


@pytest.mark.parametrize("options", [{}, {"among": "joint", "normed_heads": True}, {"layers": [[0], [1]], "among": None}])
def test_every_weight_learns(options):
    reader = QueryReader(16, [6, 16], queries=5, heads=4, **options)
    (reader([torch.randn(2, 9, 6), torch.randn(2, 4, 16)]) * torch.randn(2, 5, 16)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in reader.parameters())


def test_wrong_queries_windows_and_heads_are_refused():
    source = torch.randn(1, 3, 6)
    with pytest.raises(ValueError, match="learned or given"):
        QueryReader(16, [6], queries=None, heads=4)([source])
    with pytest.raises(ValueError, match="learned or given"):
        QueryReader(16, [6], queries=2, heads=4)([source], queries=torch.randn(1, 2, 16))
    with pytest.raises(ValueError, match="does not divide"):
        window_mask((2, 2), (4, 5))
    with pytest.raises(ValueError, match="heads"):
        QueryReader(16, [6], queries=2, heads=5)
    with pytest.raises(ValueError, match="1 sources: each reads"):
        QueryReader(16, [6], queries=2, layers=[[0], [1]])
    with pytest.raises(ValueError, match="to be as wide"):
        QueryReader(16, [6], queries=2, among="joint")
