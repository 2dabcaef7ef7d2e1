"""LION: two branches that read a tower at several depths, adapters that a task mixes, and tags behind a learned vector."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from serval.adapters.adapter_bank import AdapterBank
from serval.arena.fit import fit
from serval.data.worlds.shapes import make
from serval.systems.backbones import open_language
from serval.systems.experts.lion import SYSTEM, TASKS, Lion, recipe, stages
from serval.systems.experts.picture_question import as_read, batches, collated
from serval.systems.experts.shape_questions import HINT, from_pictures, words
from serval.systems.saved import load_system, save_system
from serval.training.parameters import chosen

TINY = SYSTEM.sizes["tiny"]
ADAPTER = ("down", "down_bias", "up", "up_bias", "strength")
CPU = torch.device("cpu")


def wild(model, std=0.2, seed=0):
    """With numbers large enough that mistakes show; gates stay at one adapter for each task."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if each.ndim > 1 and "gates" not in name:
                each.normal_(std=std, generator=generator)
    return model


def new(**changes) -> Lion:
    return wild(SYSTEM.new(TINY.model_copy(update=changes))).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def model() -> Lion:
    return new()


@pytest.fixture(scope="module")
def items():
    return make(3, 4, ("general", "rec"))


def asked(model, items, **options):
    return from_pictures(items, model.prepare, **options)


def logits(model, batch):
    return model.decoder(as_read(model, batch), features=batch["told"])


def task(batch, number):
    return {**batch, "told": {"task": torch.full_like(batch["told"]["task"], number)}}


def banks(model):
    return [each for each in model.modules() if isinstance(each, AdapterBank)]


@torch.inference_mode()
@pytest.mark.parametrize("name", ["up", "strength"])
def test_adapters_that_add_nothing_leave_the_decoder_as_it_is(model, items, name):
    silent = new()
    for bank in banks(silent):
        nn.init.zeros_(getattr(bank, name))
        nn.init.zeros_(bank.up_bias)
    plain = open_language(TINY.language, CPU, torch.float32)
    places = {"mlp.feed_forward.0.": "pre_feedforward_layernorm.", "mlp.feed_forward.1.": "mlp.", ".layer.": "."}
    state = {}
    for key, each in silent.decoder.state_dict().items():
        for old, new_ in places.items():
            key = key.replace(old, new_)
        state[key] = each
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    batch = collated(asked(silent, items))
    sequence = as_read(silent, batch)
    assert torch.equal(silent.decoder(sequence, features=batch["told"]), plain(sequence))
    assert not torch.equal(model.decoder(sequence, features=batch["told"]), plain(sequence))


@torch.inference_mode()
@pytest.mark.parametrize("number", [0, 1])
def test_at_first_a_task_does_not_depend_on_the_other_s_adapter(items, number):
    model = new()
    batch = task(collated(asked(model, items)), number)
    before = logits(model, batch)
    for other, same in ((1 - number, True), (number, False)):
        for bank in banks(model):
            for name in ADAPTER:
                getattr(bank, name).data[other] += 0.5
        assert torch.equal(logits(model, batch), before) == same


@torch.inference_mode()
def test_adapters_read_the_residual_that_no_norm_has_touched(model):
    layer, hidden = model.decoder.layers[0].layer, torch.randn(1, 3, 64)
    bank = layer.mlp
    norm, feed = bank.feed_forward
    added = functional.relu(hidden @ bank.down[1].T + bank.down_bias[1]) @ bank.up[1].T + bank.up_bias[1]
    found = bank(layer.pre_feedforward_layernorm(hidden), torch.tensor([[TASKS.index("image")]]))
    torch.testing.assert_close(found, feed(norm(hidden)) + added * bank.strength[1], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_gates_are_for_each_channel_and_task(model):
    bank = banks(model)[0]
    assert bank.gates.shape == (2, 2, 64)
    assert torch.equal(bank.gates, torch.eye(2)[..., None].expand(2, 2, 64))


@torch.inference_mode()
def test_the_hint_is_where_its_token_is_and_nowhere_else(model, items):
    tags = [item.scene.tags for item in items]
    with_tags, without = asked(model, items, tags=tags), asked(model, items)
    assert all(each.hint.count(HINT) == 1 and HINT not in each.question for each in with_tags)
    assert all(not each.hint and HINT not in each.question for each in without)
    assert all(HINT not in each.hint and len(each.hint) for each in asked(model, items, tags=tags, hint=False))
    ids = collated(with_tags)["ids"]
    found, plain = model.embed(ids), model.decoder.embed(ids)
    assert torch.equal(found[ids == HINT], model.hint.vector.expand(len(items), -1))
    assert torch.equal(found[ids != HINT], plain[ids != HINT])
    assert words().decode(with_tags[0].hint).endswith(" ".join(tags[0]))


@torch.inference_mode()
def test_each_depth_reaches_its_own_layer(model, items):
    taps = [torch.randn(2, 21, 48) for _ in range(3)]
    first, second = model.aggregator.layers
    middle = first(taps[2], taps[1], 21, None, None)
    assert torch.equal(model.aggregator.gathered(taps), second(middle, taps[0], 21, None, None))
    fresh = SYSTEM.new(TINY).aggregator
    three = taps[2]
    for layer in fresh.layers:
        for part in (layer.self_attention, layer.cross_attention, layer.feed):
            three = part.norm(three)
    torch.testing.assert_close(fresh.gathered(taps), three)
    assert torch.equal(fresh.gathered(taps), fresh.gathered([taps[0] + 1, taps[1] * 2, taps[2]]))


@torch.inference_mode()
def test_the_decoder_reads_queries_then_every_token_of_the_tower(model, items):
    batch = collated(asked(model, items))
    parts = {sees: model.look({**batch, "sees": sees}) for sees in ("queries", "layers", "all")}
    assert [each.shape[1] for each in parts.values()] == [8, 21, 29]
    assert torch.equal(torch.cat([parts["queries"], parts["layers"]], 1), parts["all"])
    assert torch.equal(model.look(batch), parts["all"]) and torch.equal(new(sees="queries").look(batch), parts["queries"])
    assert not torch.allclose(model.look({**batch, "question": batch["question"].flip(0), "sees": "queries"}), parts["queries"])


@torch.inference_mode()
def test_padding_of_a_question_changes_nothing(model, items):
    questions = asked(model, items)
    batch = collated(questions)
    assert not bool(batch["asked"].all())
    for row, each in enumerate(questions):
        torch.testing.assert_close(model.look(collated([each]))[0], model.look(batch)[row], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_tower_is_read_with_its_class_token_and_no_norm_behind(model, items):
    picture = items[0].scene.picture()
    (seen,) = model.prepare([picture])
    reference = model.eyes.model(model.eyes.prepare([picture]).values, output_hidden_states=True).hidden_states
    for tap, depth in zip(seen, TINY.depths, strict=True):
        torch.testing.assert_close(tap, reference[depth][0])


@torch.inference_mode()
def test_answers_are_those_of_each_alone(model, items):
    tags = [item.scene.tags for item in items]
    for questions in (asked(model, items), asked(model, items, tags=tags)):
        said = model.answer(questions, most=3)
        for each, ids in zip(questions, said, strict=True):  # the Q-Former reads no answers, so only the first word is alike
            first = [int(logits(model, collated([dataclasses.replace(each, answer=())]))[0, -1].argmax())]
            assert ids[:1] == [word for word in first if word != TINY.end]
    assert len({tuple(each) for each in said}) > 1


def test_a_stage_of_one_task_leaves_the_other_s_adapter_and_the_gates_as_they_were(items):
    model = SYSTEM.new()
    questions = {
        name: asked(model, [item for item in items if item.group == group])
        for name, group in (("image", "general"), ("region", "rec"))
    } | {"all": asked(model, items)}
    made = stages(TINY, learning_rate=1e-2, steps=[2, 2, 2], batch=4)
    before = [{name: each.clone() for name, each in model.state_dict().items()}]
    for stage in made:
        fit(lambda: model, [stage], lambda stage: batches(questions[stage.mixture], 4, seed=0), 0)
        before.append({name: each.clone() for name, each in model.state_dict().items()})

    def moved(stage, fits):
        one, other = before[stage], before[stage + 1]
        return {name for name in one if fits in name and not torch.equal(one[name], other[name])}

    region, image = 0, 1
    for stage, learns in ((0, image), (1, region)):
        assert not moved(stage, "gates") and not moved(stage, "feed_forward") and not moved(stage, "eyes")
        bank = "decoder.layers.0.layer.mlp."
        for name in ("down", "up"):
            one, other = before[stage][bank + name], before[stage + 1][bank + name]
            assert torch.equal(one[1 - learns], other[1 - learns]) and (
                name == "up" or not torch.equal(one[learns], other[learns])
            )
        assert not torch.equal(before[stage][bank + "up"][learns], before[stage + 1][bank + "up"][learns])
    assert moved(0, "queries") and not moved(0, "aggregator")
    assert moved(1, "aggregator") and not moved(1, "queries")
    assert moved(2, "queries") and moved(2, "aggregator") and moved(2, "gates")


def test_saved_and_read_again(tmp_path, model, items):
    save_system(model, tmp_path, "lion")
    again = load_system(tmp_path)
    questions = asked(model, items)
    assert torch.equal(asked(again, items)[0].seen[0], questions[0].seen[0])
    batch = collated(questions)
    assert torch.equal(logits(model, batch), logits(again, batch))


def test_the_paper_s_size():
    model = SYSTEM.empty("vicuna-7b")
    layers = sum(each.numel() for each in model.aggregator.layers.parameters())
    assert layers == pytest.approx(49.07e6, rel=1e-3)
    assert model.eyes.widths == (1408,) * 40 and model.config.depths == (19, 29, 39)
    taps = [torch.empty(1, 257, 1408, device="meta")] * 3
    text = torch.empty(1, 5, dtype=torch.int64, device="meta")
    shown = {"seen": taps, "question": text, "asked": None}
    counts = [model.look({**shown, "sees": sees}).shape[1:] for sees in ("queries", "layers", "all")]
    assert counts == [(32, 4096), (257, 4096), (289, 4096)]
    for stage in stages(SYSTEM.sizes["vicuna-7b"]):
        learnt = chosen(model, stage)
        assert not [name for name in learnt if "eyes" in name or "feed_forward" in name or "self_attn" in name]
        assert any("gates" in name for name in learnt) == (stage.name == "all")


def test_its_recipe_has_data_for_every_stage():
    made = recipe(steps=2, batch=4)
    for stage in made.stages:
        batch = next(iter(made.data[stage.mixture](stage)))
        tasks = set(batch["told"]["task"].flatten().tolist())
        assert tasks == {"image": {1}, "region": {0}}.get(stage.name, tasks) and len(batch["ids"]) == 4
