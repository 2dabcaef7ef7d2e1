"""The cache grows to its capacity and not beyond, forgets only what it is told to, and can be taken back, forked and saved."""

from dataclasses import dataclass

import pytest
import torch

from serval.language.cache import Kept, KVCache
from serval.language.cache_file import restore_cache, save_cache
from serval.language.entries import Entries
from serval.language.eviction import Recent
from serval.refusal import Refusal


def random_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 97, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_beyond_its_capacity_it_refuses_and_stays_as_it_was(tiny):
    cache = tiny.decoder.new_cache(10)
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        tiny.decoder(ids, cache)
        with pytest.raises(Refusal, match="11 tokens long, and 10"):
            tiny.decoder(ids[:, :3], cache)
        assert cache.length == 8
        again = tiny.decoder(ids[:, :2], cache)
        whole = tiny.decoder(torch.cat((ids, ids[:, :2]), dim=1))
    torch.testing.assert_close(again, whole[:, 8:], atol=1e-5, rtol=1e-5)


def test_growing_keeps_what_is_there():
    cache = KVCache([(2, 8)] * 3, 2000, batch=2)
    kept = [torch.empty(2, 2, 0, 8), torch.empty(2, 2, 0, 8)]
    for new in (1, 255, 1, 300, 700, 743):
        keys, values = torch.randn(2, 2, 2, new, 8)
        kept = [torch.cat((kept[0], keys), dim=2), torch.cat((kept[1], values), dim=2)]
        position = torch.arange(cache.length, cache.length + new).expand(2, new).float()
        number = cache.begin(position, torch.ones(2, new, dtype=torch.bool))
        *found, entries = cache.write(2, keys, values, Entries.text(position, number))
        assert all(torch.equal(*pair) for pair in zip(found, kept, strict=True))
        assert all(torch.equal(*pair) for pair in zip(cache.read(2), kept, strict=True))
    assert cache.length == 2000 and entries.position[1, 0].tolist() == entries.number[1, 0].tolist() == list(range(2000))
    with pytest.raises(Refusal):
        cache.begin(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))


def test_it_takes_little_room_before_it_is_needed(tiny):
    small, large = tiny.decoder.new_cache(300), tiny.decoder.new_cache(100_000)
    assert small.room_bytes == large.room_bytes > 0


def test_a_capacity_of_nothing_is_a_mistake(tiny):
    with pytest.raises(ValueError, match="capacity"):
        tiny.decoder.new_cache(0)


@torch.inference_mode()
@pytest.mark.parametrize("length", [0, 1, 11, 20])
def test_a_fork_goes_on_as_if_nothing_else_had_been_read(tiny, length):
    ids, following = random_ids(2, 20), random_ids(2, 4, seed=1)
    cache = tiny.decoder.new_cache(30, 2)
    tiny.decoder(ids, cache)
    fork = cache.fork(length, 40)
    found = tiny.decoder(following, fork)
    torch.testing.assert_close(
        found, tiny.decoder(torch.cat((ids[:, :length], following), 1))[:, length:], atol=3e-5, rtol=1e-5
    )
    assert cache.length == 20 and fork.length == length + 4
    whole = tiny.decoder(torch.cat((ids, following), 1))[:, 20:]
    torch.testing.assert_close(tiny.decoder(following, cache), whole, atol=3e-5, rtol=1e-5)


@torch.inference_mode()
def test_rows_can_be_chosen_and_taken_twice(tiny):
    ids = random_ids(3, 12)
    valid = torch.ones_like(ids, dtype=torch.bool)
    valid[1, :5] = False
    cache = tiny.decoder.new_cache(20, 3)
    tiny.decoder(ids, cache, valid=valid)
    cache.select(torch.tensor([2, 1, 1]))
    following = random_ids(3, 2, seed=3)
    found = tiny.decoder(following, cache)
    for row, old in enumerate([2, 1, 1]):
        alone = torch.cat((ids[old][valid[old]], following[row]))[None]
        torch.testing.assert_close(found[row], tiny.decoder(alone)[0, -2:], atol=3e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_saved_and_restored_it_goes_on_bit_for_bit(tiny, tmp_path, positions):
    ids, following = random_ids(2, 15), random_ids(2, 3, seed=1)
    cache = tiny.decoder.new_cache(20, 2, positions=positions, eviction=Recent(9, sinks=2))
    tiny.decoder(ids, cache)
    save_cache(cache, tmp_path / "conversation.safetensors")
    restored = tiny.decoder.new_cache(20, 2, positions=positions, eviction=Recent(9, sinks=2))
    restore_cache(restored, tmp_path / "conversation.safetensors")
    assert torch.equal(tiny.decoder(following, restored), tiny.decoder(following, cache))
    other = tiny.decoder.new_cache(20, 1)
    with pytest.raises(Refusal, match="of another kind"):
        restore_cache(other, tmp_path / "conversation.safetensors")
    (tmp_path / "conversation.safetensors").write_bytes(b"no")
    with pytest.raises(Refusal, match="damaged"):
        restore_cache(restored, tmp_path / "conversation.safetensors")


@torch.inference_mode()
def test_forgetting_what_a_window_no_longer_sees_changes_nothing(tiny):
    from serval.language.attention_pattern import window

    ids, pattern = random_ids(1, 60), window(10, sinks=3)
    whole = tiny.decoder(ids, pattern=pattern)
    cache = tiny.decoder.new_cache(24, eviction=Recent(9, sinks=3))
    found = [tiny.decoder(ids[:, start : start + 5], cache, pattern=pattern) for start in range(0, 60, 5)]
    torch.testing.assert_close(torch.cat(found, 1), whole, atol=3e-5, rtol=1e-5)
    assert [cache.held(layer) for layer in range(3)] == [12, 12, 12]
    assert cache.length == 60 and float(cache.next_position[0]) == 60


@torch.inference_mode()
def test_renumbered_the_kept_stand_one_behind_the_other(tiny):
    """StreamingLLM: what is left is read as if it were all that had ever been read, at the first layer at least."""
    ids = random_ids(1, 40)
    cache = tiny.decoder.new_cache(20, eviction=Recent(6, sinks=2), positions="renumber")
    for start in range(0, 40, 4):
        tiny.decoder(ids[:, start : start + 4], cache)
    kept = cache.entries(0).number[0, 0].tolist()
    assert kept == [0, 1, 34, 35, 36, 37, 38, 39]
    short = tiny.decoder.new_cache(20, positions="renumber")
    tiny.decoder(ids[:, kept], short)
    torch.testing.assert_close(
        short.read(0)[0], cache.read(0)[0], atol=1e-5, rtol=1e-5
    )  # unturned: the same wherever they stand
    # nothing forgotten: the same as keeping positions
    plain, renumbered = tiny.decoder.new_cache(40), tiny.decoder.new_cache(40, positions="renumber")
    for cache in (plain, renumbered):
        tiny.decoder(ids[:, :30], cache)
    torch.testing.assert_close(tiny.decoder(ids[:, 30:], renumbered), tiny.decoder(ids[:, 30:], plain), atol=3e-5, rtol=1e-5)


@dataclass
class Loudest:
    """The entries that received the most attention, for each head apart; what goes is added to the last that stays."""

    budget: int
    needs_attention: bool = True
    merge: bool = False

    def __call__(self, layer, entries, keys, values, attention):
        if layer == 1 or keys.shape[2] <= self.budget:
            return None
        index = attention.topk(self.budget, dim=2).indices.sort(dim=2).values
        if not self.merge:
            return Kept(index)
        taken = [each.gather(2, index[..., None].expand(-1, -1, -1, each.shape[3])).clone() for each in (keys, values)]
        for each, everything in zip(taken, (keys, values), strict=True):
            each[:, :, -1] += everything.sum(2) - each.sum(2)
        return Kept(index, *taken)


@torch.inference_mode()
@pytest.mark.parametrize("merge", [False, True])
def test_a_rule_may_keep_other_tokens_for_each_layer_head_and_row(tiny, merge):
    ids = random_ids(2, 30)
    cache = tiny.decoder.new_cache(40, 2, eviction=Loudest(8, merge=merge))
    prefill = tiny.decoder(ids, cache)
    torch.testing.assert_close(prefill, tiny.decoder(ids), atol=1e-5, rtol=1e-5)  # the prompt itself is read with all of it
    assert [cache.held(layer) for layer in range(3)] == [8, 30, 8]
    kept = cache.entries(0).number
    assert kept.shape == (2, 2, 8) and not torch.equal(kept[:, 0], kept[:, 1])
    assert float(cache.next_position[0]) == 30
    everything = tiny.decoder.new_cache(40, 2)
    tiny.decoder(ids, everything)
    alike = torch.allclose(cache.read(0)[1].sum(2), everything.read(0)[1].sum(2), atol=1e-4)
    assert alike == merge  # merged, no value is lost
    following = tiny.decoder(random_ids(2, 1, seed=4), cache)
    assert torch.isfinite(following).all()


@torch.inference_mode()
def test_attention_received_adds_up(tiny):
    seen = {}

    class Listening:
        needs_attention = True

        def __call__(self, layer, entries, keys, values, attention):
            seen[layer] = attention

    ids = random_ids(2, 11)
    tiny.decoder(ids, tiny.decoder.new_cache(20, 2, eviction=Listening()))
    # each of 11 queries of the 3 heads that share a head of keys spends 1
    torch.testing.assert_close(seen[1].sum(-1), torch.full((2, 2), 33.0), atol=1e-4, rtol=1e-5)


def test_what_was_forgotten_cannot_be_taken_back(tiny):
    cache = tiny.decoder.new_cache(30, eviction=Recent(5))
    with torch.inference_mode():
        tiny.decoder(random_ids(1, 20), cache)
    assert cache.fork().held(0) == 5
    with pytest.raises(Refusal, match="forgotten"):
        cache.fork(10)
