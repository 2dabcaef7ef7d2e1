"""The cache grows to its capacity and not beyond, and forgets nothing on the way."""

import pytest
import torch

from serval.language.cache import KVCache
from serval.refusal import Refusal


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


def test_growing_keeps_what_is_there(tiny):
    config = tiny.decoder.config
    cache = KVCache(config, 2000, batch=2)
    shape = (2, config.num_key_value_heads, 0, config.head_dim)
    kept = [torch.empty(shape), torch.empty(shape)]
    for new in (1, 255, 1, 300, 700, 743):
        keys, values = torch.randn(2, 2, config.num_key_value_heads, new, config.head_dim)
        kept = [torch.cat((kept[0], keys), dim=2), torch.cat((kept[1], values), dim=2)]
        cache.extend(torch.arange(cache.length, cache.length + new).expand(2, new))
        found = cache.write(2, keys, values)
        assert all(torch.equal(*pair) for pair in zip(found, kept, strict=True))
        assert all(torch.equal(*pair) for pair in zip(cache.read(2), kept, strict=True))
    assert cache.length == 2000 and cache.positions[1].tolist() == list(range(2000))
    with pytest.raises(Refusal):
        cache.extend(torch.zeros(2, 1))


def test_it_takes_little_room_before_it_is_needed(tiny):
    small, large = tiny.decoder.new_cache(300), tiny.decoder.new_cache(100_000)
    assert small._states.numel() == large._states.numel()


def test_a_capacity_of_nothing_is_a_mistake(tiny):
    with pytest.raises(ValueError, match="capacity"):
        tiny.decoder.new_cache(0)
