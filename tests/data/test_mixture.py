"""Mixtures: shares hold exactly, every item comes once before any twice, and the order knows neither workers nor restarts."""

import statistics
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.data import mixture
from serval.data.mixture import MixedData, Mixture, shuffled

MOME = {
    "general": {"coco": 40, "vqa": 25, "gqa": 5},
    "rec": {"refcoco": 30, "refcocog": 7},
    "reg": {"refcoco": 30},
    "document": {"docvqa": 3, "chartqa": 2},
}


def draws(mixed, first, last):
    return [mixed[step] for step in range(first, last)]


def test_groups_are_drawn_equally_in_every_cycle():
    mixed = Mixture(MOME, seed=3)
    assert mixed.cycle == 4
    for cycle in range(50):
        assert Counter(draw.group for draw in draws(mixed, 4 * cycle, 4 * cycle + 4)) == dict.fromkeys(MOME, 1)


def test_inside_a_group_every_item_comes_once_an_epoch_so_sizes_are_shares():
    mixed = Mixture(MOME, seed=3)
    for name, sizes in MOME.items():
        size = sum(sizes.values())
        own = [draw for draw in draws(mixed, 0, 4 * size * 3) if draw.group == name]
        for epoch in range(3):
            part = own[epoch * size : (epoch + 1) * size]
            assert {each.epoch for each in part} == {epoch}
            assert sorted((each.dataset, each.number) for each in part) == sorted(
                (dataset, number) for dataset, count in sizes.items() for number in range(count)
            )
        assert own[:size] != own[size : 2 * size] or size < 6  # another shuffle each time


@settings(max_examples=40)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1).flatmap(
        lambda sizes: st.tuples(
            st.just(sizes), st.fixed_dictionaries({name: st.sampled_from([0.1, 0.25, 1, 2, 0.7]) for name in sizes})
        )
    ),
    st.integers(0, 5),
)
def test_plain_weights_hold_exactly(drawn, seed):
    sizes, weights = drawn
    mixed = Mixture({name: {name: size} for name, size in sizes.items()}, weights, seed=seed)
    for cycle in range(2):
        counts = Counter(draw.group for draw in draws(mixed, cycle * mixed.cycle, (cycle + 1) * mixed.cycle))
        for name, weight in weights.items():
            assert counts[name] / mixed.cycle == pytest.approx(weight / sum(weights.values()), abs=1e-12)
    for name, size in sizes.items():  # also where an epoch ends within a cycle
        own = [draw.epoch for draw in draws(mixed, 0, 2 * mixed.cycle) if draw.group == name]
        assert own == [number // size for number in range(len(own))]
    assert mixed.passes(2 * mixed.cycle) == {name: 2 * mixed.shares[name] / size for name, size in sizes.items()}


@settings(max_examples=40)
@given(st.sampled_from([1, 2, 3, 4, 6]), st.integers(0, 20), st.integers(0, 3))
def test_a_batch_is_the_same_however_many_workers_and_wherever_it_is_resumed(world, number, seed):
    mixed = Mixture(MOME, {"general": 1, "rec": 2, "reg": 0.5, "document": 1}, seed=seed)
    whole = draws(mixed, number * 12, number * 12 + 12)
    parts = [
        Mixture(MOME, {"general": 1, "rec": 2, "reg": 0.5, "document": 1}, seed=seed).batch(number, 12, rank, world)
        for rank in range(world)
    ]
    assert [draw for part in parts for draw in part] == whole


def test_the_seed_is_the_order():
    one, same, other = (draws(Mixture(MOME, seed=seed), 0, 60) for seed in (1, 1, 2))
    assert one == same != other
    turned = {name: dict(reversed(sizes.items())) for name, sizes in reversed(MOME.items())}
    assert draws(Mixture(MOME, seed=1), 0, 60) == draws(Mixture(turned, seed=1), 0, 60)
    assert Mixture(MOME, seed=0)[10**15].epoch == 10**15 // 4 // sum(MOME[Mixture(MOME, seed=0)[10**15].group].values())


def test_the_order_is_pinned():
    """The same on every machine and for every version: a run can be resumed anywhere."""
    found = [(draw.group, draw.dataset, draw.number) for draw in draws(Mixture(MOME, seed=7), 0, 4)]
    assert found == [("rec", "refcoco", 25), ("general", "coco", 6), ("document", "docvqa", 0), ("reg", "refcoco", 2)]


@pytest.mark.parametrize("listed", [0, 4096])  # by the cipher, and by sorting
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 17, 64, 65, 1000])
def test_a_shuffle_has_everything_once(monkeypatch, size, listed):
    monkeypatch.setattr(mixture, "_LISTED", listed)
    places = [shuffled(place, size, "a") for place in range(size)]
    assert sorted(places) == list(range(size))
    assert size < 17 or places != [shuffled(place, size, "b") for place in range(size)]


@pytest.mark.parametrize("size", [5, 6000])  # by sorting, and by the cipher
def test_a_shuffle_puts_everything_everywhere(size):
    """Where one thing lands over many keys is even: its mean within four standard errors of a uniform one's."""
    places = [shuffled(size // 3, size, str(key)) / (size - 1) for key in range(400)]
    assert abs(statistics.mean(places) - 0.5) < 4 * (1 / 12) ** 0.5 / 400**0.5 * (1.5 if size == 5 else 1)
    pairs = [(shuffled(0, size, str(key)), shuffled(1, size, str(key))) for key in range(400)]
    assert 140 < sum(left < right for left, right in pairs) < 260  # neighbours stay in order half the time


def test_groups_take_every_place_of_a_cycle_equally():
    counts = Counter((place, Mixture(MOME, seed=seed)[place].group) for seed in range(200) for place in range(4))
    assert len(counts) == 16 and all(25 < count < 75 for count in counts.values())  # 50 each, four standard deviations 24


def test_huge_data_sets_need_no_lists():
    mixed = Mixture({"web": {"a": 10**9, "b": 3 * 10**9}})
    found = [mixed[step] for step in range(400)]
    assert len({(each.dataset, each.number) for each in found}) == 400
    assert 60 < sum(each.dataset == "a" for each in found) < 140  # a quarter


def test_bad_mixtures_are_named():
    for groups, weights, why in (
        ({}, None, "there is none"),
        ({"a": {}}, None, "a data set of a is empty"),
        ({"a": {"b": 0}}, None, "a data set of a is empty"),
        ({"a": {"b": 1}}, {"a": 0}, "one above 0 for each of a"),
        ({"a": {"b": 1}}, {"c": 1}, "one above 0 for each of a"),
        ({"a": {"b": 1}, "c": {"d": 1}}, {"a": 0.1234567, "c": 1}, "10,000 are the limit"),
    ):
        with pytest.raises(ValueError, match=why):
            Mixture(groups, weights)
    mixed = Mixture(MOME)
    for size, rank, world in ((10, 0, 3), (12, 3, 3), (12, -1, 3)):
        with pytest.raises(ValueError, match="batch: "):
            mixed.batch(0, size, rank, world)
    with pytest.raises(IndexError):
        mixed[-1]


def test_items_come_by_the_step():
    data = {name: [f"{name}-{number}" for number in range(size)] for sizes in MOME.values() for name, size in sizes.items()}
    mixed = MixedData(Mixture(MOME, seed=1), data)
    assert [mixed[step] for step in range(12, 24)] == mixed.batch(1, 12) == mixed.batch(1, 12, 0, 2) + mixed.batch(1, 12, 1, 2)
    assert all(mixed[step] == f"{draw.dataset}-{draw.number}" for step, draw in enumerate(draws(mixed.mixture, 0, 9)))
