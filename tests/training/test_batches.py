"""Batches can be taken up at any number, by one process or dealt to several."""

from itertools import chain, islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serval.training.batches import Numbered, dealt, moved, shuffled
from serval.training.randomness import mixed, random_state, seed_all, set_random_state

from .tiny import stream


def data(items: int = 7, size: int = 3, seed: int = 0) -> Numbered:
    return shuffled(range(items), size, lambda chosen: {"items": list(chosen)}, seed=seed)


class Plain:
    """Batches that cannot be shared: all are made, and the others' passed over."""

    def __init__(self, batches) -> None:
        self._batches = batches

    @property
    def state(self):
        return self._batches.state

    @state.setter
    def state(self, number):
        self._batches.state = number

    def __iter__(self):
        return iter(self._batches)


def test_every_epoch_has_all_items_in_another_order():
    epochs = [[each["items"] for each in islice(data(), start, start + 3)] for start in (0, 3, 6)]
    assert len(data()) == 3
    assert all(sorted(chain(*epoch)) == list(range(7)) for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) == 3
    assert [each["items"] for each in islice(data(seed=1), 3)] != epochs[0]


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 12), st.integers(1, 4), st.booleans())
def test_processes_share_the_batches_from_any_number_on(items, size, taken, processes, plain):
    whole = [each["items"] for each in islice(data(items, size), (taken + 3) * processes)]
    for process in range(processes):
        made = data(items, size)
        mine = islice(dealt(Plain(made) if plain else made, taken, process, processes), 3)
        assert [each["items"] for each in mine] == whole[taken * processes + process :: processes]


def test_there_must_be_something_to_learn_from():
    with pytest.raises(ValueError, match="0 items in batches of 3"):
        data(items=0)


def test_all_tensors_of_a_batch_are_moved_and_nothing_else():
    row = stream([(0, -1, 2)], {})
    batch = {"row": row, "more": [torch.zeros(2), ("word", 3)], "none": None}
    there = moved(batch, torch.device("meta"))
    assert there["row"].embeds.device.type == there["more"][0].device.type == "meta"
    assert there["more"][1] == ("word", 3) and there["none"] is None


def test_all_generators_go_on_from_where_they_were():
    import random

    import numpy as np

    def drawn():
        return [torch.randn(3).tolist(), np.random.randn(3).tolist(), random.gauss(0, 1), random.random()]

    cpu = torch.device("cpu")
    seed_all(1, 2)
    np.random.randn(), random.gauss(0, 1)  # both keep a second number in store
    state = random_state(cpu)
    expected = drawn()
    assert drawn() != expected
    pairs = {name: torch.stack([torch.zeros_like(each), each])[1] for name, each in state.items()}  # one row of several
    set_random_state(pairs, cpu)
    assert drawn() == expected
    assert mixed(1, 2) != mixed(2, 1) and 0 <= mixed(1, 2) < 2**63
