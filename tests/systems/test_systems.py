"""What every system has to do: be found, be counted without numbers, be built, be saved and come back, and say its recipe."""

import json

import pytest
import torch

from serval.refusal import Refusal
from serval.systems.saved import load_system, save_system
from serval.systems.system import find_system, modules
from serval.training.parameters import chosen
from serval.training.recipes import find_recipe

SLUGS = list(modules())


def test_the_first_systems_are_found():
    assert {"videollm-online", "lion-fs", "mome"} <= set(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_all_sizes_are_counted_without_their_numbers(slug):
    system = find_system(slug)
    counts = {size: sum(each.numel() for each in system.empty(size).parameters()) for size in system.sizes}
    assert counts["tiny"] < 5e6 and max(counts.values()) > 1e9


@pytest.mark.parametrize("slug", SLUGS)
def test_it_is_drawn_from_its_seed_alone(slug):
    system = find_system(slug)
    first, again, other = (system.new(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("slug", SLUGS)
def test_it_comes_back_as_it_was_saved(slug, tmp_path):
    model = find_system(slug).new(seed=3)
    save_system(model, tmp_path, slug)
    again = load_system(tmp_path)
    assert again.config == model.config
    state = again.state_dict()
    assert {name: tuple(each.shape) for name, each in state.items()} == {
        name: tuple(each.shape) for name, each in model.state_dict().items()
    }
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    assert slug in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("slug", SLUGS)
def test_its_recipe_names_what_there_is_to_train(slug):
    made = find_recipe(slug)()
    model = made.empty_model()
    assert all(chosen(model, stage) for stage in made.stages)


@pytest.fixture
def saved(tmp_path):
    save_system(find_system("videollm-online").new(), tmp_path, "videollm-online")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"system": "lion-gs"}, "did you mean lion-fs?"),
        ({"config": {"language": "x", "rank": -1, "nonsense": 1}}, "system.json"),
        ({"config": None}, "system.json"),
    ],
)
def test_a_description_of_something_else_is_refused(saved, change, why):
    content = json.loads((saved / "system.json").read_text()) | change
    (saved / "system.json").write_text(json.dumps(content))
    with pytest.raises(Refusal) as refused:
        load_system(saved)
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_weights_of_another_size_are_refused(saved):
    content = json.loads((saved / "system.json").read_text())
    content["config"]["language"]["hidden_size"] = 32
    (saved / "system.json").write_text(json.dumps(content))
    with pytest.raises(Refusal, match=r"decoder\.embed_tokens\.weight is 64x64 and should be 64x32"):
        load_system(saved)


def test_an_unknown_system_or_size_is_refused_with_the_nearest():
    with pytest.raises(Refusal, match="did you mean videollm-online"):
        find_system("videolm-online")
    with pytest.raises(Refusal, match="there is no size huge"):
        find_system("videollm-online").new("huge")
