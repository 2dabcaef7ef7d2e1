import pytest
import torch

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
    reader = QueryReader(16, [6, 6], queries=None, heads=4, self_attention=False)
    queries, coarse, fine = torch.randn(1, 9, 16), torch.randn(1, 9, 6), torch.randn(1, 36, 6)
    mask = torch.cat([window_mask((3, 3), (3, 3)), window_mask((3, 3), (6, 6))], dim=1)[None]
    before = reader([coarse, fine], queries=queries, mask=mask)
    changed = fine.clone()
    changed[0, 2 * 6 + 5] += 1  # row 2, column 5: the window of row 1, column 2
    after = reader([coarse, changed], queries=queries, mask=mask)
    assert (before != after).any(-1)[0].nonzero().flatten().tolist() == [1 * 3 + 2]


def test_masked_windows_equal_windows_read_one_by_one():
    reader = QueryReader(16, [6], queries=None, heads=4, self_attention=False)
    queries, fine = torch.randn(2, 9, 16), torch.randn(2, 6, 6, 6)
    masked = reader([fine.flatten(1, 2)], queries=queries, mask=window_mask((3, 3), (6, 6))[None])
    alone = reader([windows(fine, 2).flatten(0, 2)], queries=queries.reshape(18, 1, 16))
    torch.testing.assert_close(masked, alone.reshape(2, 9, 16))


def test_windows_part_the_keys_evenly_along_any_axes():
    assert window_mask((3,), (6,)).tolist() == [[i // 2 == query for i in range(6)] for query in range(3)]
    mask = window_mask((2, 3), (4, 9))
    assert mask.sum(0).eq(1).all() and mask.sum(1).eq(6).all()
    assert torch.equal(window_mask((3, 3), (3, 3)), torch.eye(9, dtype=torch.bool))


def test_every_weight_learns():
    reader = QueryReader(16, [6, 10], queries=5, heads=4)
    (reader([torch.randn(2, 9, 6), torch.randn(2, 4, 10)]) * torch.randn(2, 5, 16)).sum().backward()
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
