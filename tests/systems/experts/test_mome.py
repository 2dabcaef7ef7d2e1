"""MoME: an instruction weighs the towers and chooses the adapters, and nothing else does."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from serval.adapters.adapter_bank import AdapterBank
from serval.connectors.grid_reducer import average_pool
from serval.data.worlds.shapes import make, make_contradictory
from serval.refusal import Refusal
from serval.systems.backbones import open_language
from serval.systems.experts.mome import SYSTEM, BalancedAnswers, Eyes, MoME, TokenCondition, recipe, second_stage, stages
from serval.systems.experts.picture_question import Answers, PictureQuestion, answers, as_read, batches, collated
from serval.systems.experts.shape_questions import END, bag_of_words, from_views, pieces, words
from serval.systems.saved import load_system, save_system

GROUPS = ("general", "rec", "document")
TINY = SYSTEM.sizes["tiny"]


def wild(model, std=0.2, seed=0):
    """With numbers large enough that mistakes show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if each.ndim > 1 and "references" not in name:
                each.normal_(std=std, generator=generator)
    return model


def new(**changes) -> MoME:
    return wild(SYSTEM.new(TINY.model_copy(update=changes))).eval()


@pytest.fixture(scope="module")
def model() -> MoME:
    return new()


@pytest.fixture(scope="module")
def questions():
    items = [each for each in make(3, 40, GROUPS) if len(each.scene.lines) == 2 and len(each.scene.lines[0]) == 5]
    return [from_views(each) for each in items[:6]]


def logits(model, batch):
    return model.decoder(as_read(model, batch), features=batch["told"])


def changed(batch, **parts):
    return {**batch, **parts}


@torch.inference_mode()
def test_weights_follow_the_instruction_and_no_picture(model, questions):
    batch = collated(questions)
    told = batch["told"]["instruction"]
    tokens = model.bank.tokens(model._features(batch))
    weights = model.bank.mixer.weights(tokens, told)
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(questions), 1))
    others = [each.flip(0) + 1 for each in tokens]
    assert torch.equal(model.bank.mixer.weights(others, told), weights)
    assert not torch.allclose(model.bank.mixer.weights(tokens, told.flip(0)), weights, atol=1e-3)
    alike = torch.stack([model.bank.mixer.weights(tokens, told[:1].expand_as(told))[row] for row in range(2)])
    assert torch.equal(alike[0], alike[1])


@torch.inference_mode()
def test_one_tower_or_a_weight_of_one_is_that_tower_alone(model, questions):
    batch = collated(questions)
    tokens = model.bank.tokens(model._features(batch))
    for place in range(3):
        alone = new(eyes=TINY.eyes[:1])
        alone.bank.bridges[0].load_state_dict(model.bank.bridges[place].state_dict())
        seen = alone.look(changed(batch, seen=batch["seen"][place : place + 1]))
        assert torch.equal(seen, tokens[place])
        one_hot = torch.zeros(len(questions), 1, 3)
        one_hot[..., place] = 1
        from serval.connectors.soft_router import mix

        assert torch.equal(mix(tokens, one_hot), seen)


@torch.inference_mode()
def test_a_reader_that_adds_nothing_pools_and_any_map_becomes_as_many_tokens(model):
    reader = new().bank.bridges[2].steps[0]
    for layer in reader.layers:
        for part in (layer.among.out_proj, layer.out, layer.feed[-1]):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    for rows, columns in ((1, 3), (2, 8), (9, 4)):
        maps = torch.randn(2, rows, columns, 32)
        torch.testing.assert_close(reader(maps), average_pool(maps, TINY.cells).flatten(1, 2))
        assert model.bank.bridges[2].steps[0](maps).shape == (2, 16, 32)


@torch.inference_mode()
@pytest.mark.parametrize("routing", ["instruction", "tokens", "both"])
def test_the_second_stage_begins_as_the_first_ended_whatever_is_chosen(questions, routing):
    first = new(adapters=1)
    second = second_stage(first, 4, routing=routing)
    batch = collated(questions)
    expected, taken = logits(first, batch), set()
    for seed in range(5):
        for each in second.adapter_banks:
            wild(each.router, 2.0, seed)
        assert torch.equal(logits(second, batch), expected)
        if routing == "instruction":
            taken |= set(second.choices(batch["told"]["instruction"]).argmax(-1).flatten().tolist())
    assert routing != "instruction" or len(taken) == 4


@torch.inference_mode()
def test_adapters_of_no_strength_leave_the_decoder_as_it_is(model, questions):
    sequence = as_read(model, collated(questions))
    plain = open_language(TINY.language, torch.device("cpu"), torch.float32)
    mine = {
        name.replace(".layer.", ".").replace(".feed_forward.", "."): each for name, each in model.decoder.state_dict().items()
    }
    plain.load_state_dict({name: mine[name] for name in plain.state_dict()})
    told = {"instruction": torch.randn(len(questions), TINY.guide)}
    assert not torch.equal(model.decoder(sequence, features=told), plain(sequence))
    for name in ("strength", "up"):
        silent = SYSTEM.new(TINY)
        silent.load_state_dict(model.state_dict())
        for bank in silent.adapter_banks:
            nn.init.zeros_(getattr(bank, name))
            nn.init.zeros_(bank.up_bias)
        assert torch.equal(silent.decoder(sequence, features=told), plain(sequence))


def test_one_expert_of_each_layer_learns_from_a_sample_and_its_router_too(questions):
    model = new()
    batch = collated(questions[:1])
    Answers()(model.requires_grad_(True), batch).total.backward()
    chosen = model.choices(batch["told"]["instruction"]).argmax(-1)[:, 0].tolist()
    for bank, taken in zip(model.adapter_banks, chosen, strict=True):
        for name in ("down", "down_bias", "up", "up_bias", "strength"):
            learnt = getattr(bank, name).grad.flatten(1).abs().sum(1) if name != "strength" else bank.strength.grad.abs()
            assert [bool(each) for each in learnt] == [place == taken for place in range(4)]
        assert bank.router[2].weight.grad.abs().sum() > 0


@torch.inference_mode()
def test_routers_of_tokens_choose_for_each_token(questions):
    batch = collated(questions)
    by_token, by_both = new(routing="tokens"), new(routing="both")
    other = changed(batch, told={"instruction": batch["told"]["instruction"].flip(0)})
    sequence = as_read(by_token, batch)
    same = by_token.decoder(sequence, features=batch["told"]), by_token.decoder(sequence, features=other["told"])
    assert torch.equal(*same)
    sequence = as_read(by_both, batch)
    assert not torch.equal(by_both.decoder(sequence, features=batch["told"]), by_both.decoder(sequence, features=other["told"]))
    wrapped = by_token.decoder.layers[0].layer.mlp
    assert isinstance(wrapped, TokenCondition)
    hidden = torch.randn(1, 200, 64)
    assert len(set(wrapped.bank.router(hidden).argmax(-1).flatten().tolist())) > 1
    alone = [wrapped(hidden[:, place : place + 1], torch.zeros(1, 64)) for place in range(200)]
    torch.testing.assert_close(torch.cat(alone, 1), wrapped(hidden, torch.zeros(1, 64)), rtol=1e-4, atol=1e-4)


def test_noise_moves_choices_only_while_routers_learn(questions):
    model, told = new(noise=True), torch.randn(200, TINY.guide)
    router = model.adapter_banks[0].router
    assert torch.equal(router(told), router[:3](told))
    router.train()
    torch.manual_seed(0)
    drawn = torch.stack([router(told[:1])[0].argmax() for _ in range(4000)])
    found = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(found, model.choices(told[:1])[0, 0], atol=0.03, rtol=0)


def test_balance_is_least_for_an_even_router(questions):
    model, batch = new(), collated(questions)
    plain = Answers()(model, batch)
    found = BalancedAnswers(0.5)(model, batch)
    uneven, _ = found.parts["balance"]
    assert uneven > 1
    torch.testing.assert_close(found.mean, plain.mean + 0.5 * uneven)
    for bank in model.adapter_banks:
        nn.init.zeros_(bank.router[2].weight)
        nn.init.zeros_(bank.router[2].bias)
    even, _ = BalancedAnswers()(model, batch).parts["balance"]
    torch.testing.assert_close(even, torch.tensor(1.0))


@torch.inference_mode()
def test_an_answer_is_the_likeliest_word_again_and_again(model):
    items = make(5, 4, GROUPS) + make_contradictory(5, 2)
    asked = [from_views(each) for each in items]
    said = model.answer(asked, most=5)
    for each, ids in zip(asked, said, strict=True):
        alone = dataclasses.replace(each, answer=())
        for word in [*ids, *([END] if len(ids) < 5 else [])]:
            batch = collated([alone])
            assert int(logits(model, batch)[0, -1].argmax()) == word
            alone = dataclasses.replace(alone, question=(*alone.question, word))
    assert len({tuple(each) for each in said}) > 1
    assert answers(model, asked, end=END, most=2) == [each[:2] for each in said]


def test_batches_are_of_one_shape_and_hold_every_question_once(questions):
    asked = [from_views(each) for each in make(7, 20, GROUPS)]
    made, seen = batches(asked, 4, seed=1), []
    for _, batch in zip(range(len(made)), made, strict=False):
        assert len(batch["ids"]) <= 4 and {len(each) for each in batch["seen"]} == {len(batch["ids"])}
        seen += [tuple(row[row_valid].tolist()) for row, row_valid in zip(batch["ids"], batch["valid"], strict=True)]
    assert sorted(seen) == sorted((*each.question, *each.answer) for each in asked)
    with pytest.raises(ValueError, match="are no batch"):
        collated(asked)


def test_only_the_answer_is_learned(questions):
    batch = collated(questions)
    for row, each in enumerate(questions):
        learned = batch["labels"][row]
        first = len(each.question) - 1
        assert tuple(learned[first : first + len(each.answer)].tolist()) == each.answer
        assert int((learned != -100).sum()) == len(each.answer)


def test_words_of_the_world_are_all_known():
    for item in make(0, 30) + make_contradictory(0, 5):
        assert words().decode(words().encode(pieces(item.answer))) == pieces(item.answer)
        assert words().encode(pieces(item.instruction))
    assert words().size <= TINY.language["vocab_size"]
    similar = [
        float(bag_of_words("Where is the red square?") @ bag_of_words(each))
        for each in ("Where is the blue ring?", "What is in line 1?")
    ]
    assert similar[0] > similar[1] and float(bag_of_words("red").norm()) == pytest.approx(8)


@torch.inference_mode()
def test_towers_of_its_own_look_at_pictures(questions):
    vit = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    clip = {**vit, "model_type": "clip_vision_model", "image_size": 24, "patch_size": 6}
    model = new(eyes=(Eyes(tower={**vit, "image_size": 36, "patch_size": 6}, heads=2), Eyes(tower=clip, heads=2)))
    seen = model.prepare(np.random.default_rng(0).integers(0, 255, (60, 48, 3), np.uint8))
    assert [each.shape for each in seen] == [(6, 6, 16), (4, 4, 16)]
    ids = model.answer([PictureQuestion(seen, (9, 10, 11), told={"instruction": bag_of_words("?")})], most=3)
    assert len(ids) == 1
    assert not [name for name, each in model.requires_grad_(True).named_parameters() if "tower" in name and "bank" not in name]


@torch.no_grad()
def test_saved_and_read_again(tmp_path, questions):
    model = new(adapters=1)
    save_system(model, tmp_path, "mome")
    again = load_system(tmp_path)
    batch = collated(questions)
    assert torch.equal(logits(model, batch), logits(again, batch))
    second = recipe(start=str(tmp_path)).model(torch.device("cpu"))
    assert torch.equal(logits(second, batch), logits(model, batch))
    assert {len(each.down) for each in second.adapter_banks} == {4}
    save_system(new(), tmp_path / "two", "mome")
    with pytest.raises(Refusal, match="first stage"):
        recipe(start=str(tmp_path / "two")).model(torch.device("cpu"))


def test_the_paper_s_size_and_what_learns():
    model = SYSTEM.empty("vicuna-7b")
    adapters = [each for each in model.modules() if isinstance(each, AdapterBank)]
    count = sum(each.down.numel() + each.up.numel() + each.down_bias.numel() + each.up_bias.numel() + 4 for each in adapters)
    assert len(adapters) == 32 and count == pytest.approx(68e6, rel=0.01)
    for config in (TINY, TINY.model_copy(update={"adapters": 1}), TINY.model_copy(update={"routing": "both"})):
        from serval.training.parameters import chosen

        model = SYSTEM.new(config)
        (stage,) = stages(config)
        learnt = chosen(model, stage)
        assert not [name for name in learnt if "feed_forward" in name or "self_attn" in name or "embed" in name]
        assert {name.split(".")[1] for name in learnt if name.startswith("bank")} == {"bridges", "mixer"}
        assert any("router" in name for name in learnt) == (config.adapters > 1)
