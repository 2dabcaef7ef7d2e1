"""The recipe of the gate: what is taught when, what the weighting weighs, and a run from its file to weights that watch."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from serval.assistant.gates.learned.gate import read_weights
from serval.assistant.gates.learned.reader import FIRED, FRAME, INSTRUCTION, RULE
from serval.conversation.sequence import IGNORED
from serval.refusal import Refusal
from serval.training.recipes.gate import (
    Item,
    Taught,
    balanced,
    best_threshold,
    collate,
    matched,
    recipe,
    scores,
    spoken,
    streams,
)
from serval.training.trainer import Trainer
from serval.weights.checkpoint import SafetensorsCheckpoint


def item(due, length=12, step=0.5, width=3):
    times = torch.arange(length) * step
    return Item(times, torch.zeros(length, width), torch.zeros(INSTRUCTION), torch.tensor(due, dtype=torch.float32))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Streams in which one number says when to speak, if the instruction's first number is 1."""
    generator, tensors = torch.Generator().manual_seed(0), {}
    for world, count, width in (("watched", 14, FRAME), ("latent", 14, 8)):
        for number in range(count):
            length = 30 + number
            frames = 0.1 * torch.randn(2, length, width, generator=generator)
            at = 5 + number
            frames[:, at : at + 3, 1] += 3
            frames[..., RULE] = 0.5
            if world == "watched":
                frames[..., FIRED] = 0
            told = torch.zeros(2, INSTRUCTION)
            told[0, 0] = 1
            made = {
                "times": torch.arange(length) * 0.5,
                "frames": frames.half(),
                "blank": frames[0].half().clone(),
                "instructions": told.half(),
                "due": torch.tensor([[at * 0.5], [float("nan")]]),
            }
            tensors |= {f"{world}.{number}.{name}": each for name, each in made.items()}
    path = tmp_path_factory.mktemp("gate") / "data.safetensors"
    save_file(tensors, path)
    return path


def test_a_second_is_for_speaking_and_what_is_about_it_teaches_nothing():
    assert item([2.0]).targets.tolist() == [0, 0, 0, IGNORED, 1, 1, 1, IGNORED, IGNORED, 0, 0, 0]
    assert item([]).targets.tolist() == [0] * 12


def test_weights_follow_how_often_is_spoken():
    items = [item([2.0]), item([])]  # 3 to speak at, 18 to be silent at
    weighted, effective = balanced("weighted", items), balanced("class-balanced", items)
    assert weighted.weights == pytest.approx((21 / 36, 21 / 6))
    assert weighted.weights[0] * 18 == pytest.approx(weighted.weights[1] * 3)
    assert effective.weights[1] / effective.weights[0] == pytest.approx(6, rel=0.01) and sum(
        effective.weights
    ) == pytest.approx(2)
    assert balanced("focal", items).gamma == 2 and not balanced("focal", items).weights
    assert not balanced("plain", items).weights and not balanced("plain", items).gamma


def test_one_word_hits_one_thing():
    assert matched([1.0, 1.5, 9.0], [2.0]) == 1
    assert matched([1.0, 3.5], [0.5, 3.0]) == 2
    assert matched([], [2.0]) == matched([9.0], [2.0]) == 0


def test_the_threshold_is_the_one_that_speaks_best():
    one = item([4.0], length=20)
    values = torch.full((20,), 0.01)
    values[8:10], values[16:18] = 0.8, 0.5  # the second rise is about nothing
    threshold, f1 = best_threshold([values], [one])
    assert 0.5 < threshold <= 0.8 and f1 == 1
    assert spoken(values, one.times, 0.3) == [4.0, 8.0] and spoken(values, one.times, threshold) == [4.0]


def test_padding_is_not_taught():
    batch = collate([item([2.0]), item([], length=5)])
    assert batch["targets"].shape == (2, 12) and (batch["targets"][1, 5:] == IGNORED).all()


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    Trainer(recipe(data, epochs=12, batch=4, dropout=0.0, learning_rate=5e-3, seed=1), folder).run()
    return folder


def test_learns_to_speak_for_those_who_asked(data, run):
    network, threshold = read_weights(run / "gate.safetensors")
    model = Taught()
    model.head = network
    items = [each for stream in streams(SafetensorsCheckpoint(data), "watched") for each in stream]
    said = [spoken(each, item.times, threshold) for each, item in zip(scores(model, items), items, strict=True)]
    right = sum(len(each) == 1 and matched(each, item.due.tolist()) for each, item in zip(said[::2], items[::2], strict=True))
    assert right >= 12 and sum(map(len, said[1::2])) <= 2


def test_the_same_seed_learns_the_same(data, tmp_path):
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for folder, seed in ((first, 4), (second, 4), (other, 5)):
        Trainer(recipe(data, epochs=1, seed=seed, body="window"), folder).run()
    one, two, three = (load_file(folder / "gate.safetensors") for folder in (first, second, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["moment.weight"], three["moment.weight"])
    assert "body.layers.0.weight" in one


def test_latent_streams_teach_the_same_network_and_make_no_gate(data, tmp_path):
    made = recipe(data, world="latent", epochs=12, batch=4, dropout=0.0, learning_rate=5e-3, seed=1)
    Trainer(made, tmp_path / "run").run()
    assert not (tmp_path / "run" / "gate.safetensors").exists()
    model = Taught(latent=8)
    model.load_state_dict(load_file(tmp_path / "run" / "weights.safetensors"))
    items = [each for stream in streams(SafetensorsCheckpoint(data), "latent") for each in stream]
    values = scores(model, items)
    threshold, f1 = best_threshold(values, items)
    said = [spoken(each, item.times, threshold) for each, item in zip(values, items, strict=True)]
    assert f1 > 0.8 and sum(map(len, said[1::2])) <= 2


def test_without_the_instruction_or_the_rule_neither_is_seen(data):
    file = SafetensorsCheckpoint(data)
    told, blind = next(streams(file, "watched")), next(streams(file, "watched", instruction=False))
    assert told[0].instruction.any() and not blind[0].instruction.any()
    assert torch.equal(blind[1].frames, told[0].frames)  # as somebody reads them who was asked nothing
    assert not next(streams(file, "watched", rule=False))[0].frames[:, RULE].any() and told[0].frames[:, RULE].any()


def test_shows_its_stages_without_numbers(data):
    model = recipe(data).empty_model()
    assert all(each.is_meta for each in model.parameters())


def test_a_world_that_is_not_in_the_file_is_refused(data, tmp_path):
    save_file({n: e for n, e in load_file(data).items() if n.startswith("watched")}, tmp_path / "data.safetensors")
    with pytest.raises(Refusal, match="there are no latent streams"):
        recipe(tmp_path / "data.safetensors", world="latent")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: {}, "there are no watched streams"),
        (lambda t: {n: e for n, e in t.items() if n != "watched.3.blank"}, "watched stream 3 is not whole"),
        (lambda t: t | {"watched.3.times": torch.zeros(3)}, "watched stream 3 is not whole"),
        (lambda t: t | {"watched.3.times": torch.zeros(0)}, "watched stream 3 is not whole"),
        (lambda t: t | {"watched.3.instructions": torch.zeros(2, 5)}, "watched stream 3 is not whole"),
    ],
)
def test_data_that_are_not_whole_are_refused(data, spoil, said, tmp_path):
    save_file(spoil(load_file(data)) or {"nothing": torch.zeros(1)}, tmp_path / "data.safetensors")
    with pytest.raises(Refusal, match=said):
        recipe(tmp_path / "data.safetensors").empty_model()


def test_data_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(Refusal, match="missing"):
        recipe(tmp_path / "none.safetensors")
