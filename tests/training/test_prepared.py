"""A model made ready: what is frozen stands still, masters learn what bfloat16 would round away, and nothing is left behind."""

import pytest
import torch
from torch import nn

from serval.training.prepared import buffers_that_change, prepared
from serval.training.stage import Rate, Stage


def stage(**changes) -> Stage:
    return Stage(**({"name": "s", "trains": {"1.*": Rate(1e-3)}, "mixture": "m", "objective": print, "steps": 10} | changes))


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(block(), block(), nn.Dropout(0.5))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def test_what_is_frozen_stands_still_and_what_learns_drops_and_counts():
    made, pictures = model(), torch.randn(8, 4)
    with prepared(made, stage()) as ready:
        assert set(ready.parameters) == {"1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias"}
        assert [each.training for each in (made[0][1], made[0][2], made[1][1], made[1][2], made[2])] == [0, 0, 1, 1, 1]
        assert set(buffers_that_change(made)) == {
            f"1.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
        }
        before = made[0][1].running_mean.clone()
        made(pictures).sum().backward()
        assert torch.equal(made[0][1].running_mean, before) and made[1][1].running_mean.any()
        assert made[0][0].weight.grad is None and made[1][0].weight.grad is not None
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in made.parameters())
    assert not any(module.training for module in made.modules())


def test_a_frozen_norm_in_a_module_that_learns_keeps_its_statistics():
    made = model()
    with prepared(made, stage(trains={"1.0.*": Rate(1.0)})):
        assert [each.training for each in (made[1][0], made[1][1], made[1][2])] == [True, False, True]


def test_rates_and_decay_go_to_what_they_are_meant_for():
    with prepared(model(), stage(trains={"1.0.*": Rate(1.0, 0.1), "1.1.*": Rate(2.0, 0.1)})) as ready:
        groups = {(each["rate"], each["weight_decay"]): len(each["params"]) for each in ready.groups()}
    assert groups == {(1.0, 0.1): 1, (1.0, 0.0): 1, (2.0, 0.0): 2}  # vectors do not decay


def tied() -> nn.Module:
    made = nn.Module()
    made.embed, made.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    made.head.weight = made.embed.weight
    nn.init.normal_(made.embed.weight, generator=torch.Generator().manual_seed(2))
    return made


def test_masters_learn_what_bfloat16_rounds_away():
    made, ids = tied(), torch.tensor([1, 2, 3])
    before = made.embed.weight.detach().clone()
    with prepared(made, stage(trains={"*": Rate(1.0)}, precision="bfloat16")) as ready:
        ((name, master),) = ready.parameters.items()
        assert (name, master.dtype) == ("embed.weight", torch.float32)
        assert torch.equal(master, before)  # exact, not rounded
        for _ in range(64):  # each step is too small for bfloat16
            (made.head(made.embed(ids)).float().sum() * 2**-14).backward()
            master.data -= master.grad
            master.grad = None
        assert made.embed.weight.dtype == made.head.weight.dtype == torch.bfloat16
        assert torch.equal(made.head.weight, master.bfloat16())
        learnt = master.detach().clone()
    assert not torch.equal(learnt.bfloat16(), before.bfloat16())
    assert made.embed.weight is made.head.weight and torch.equal(made.embed.weight, learnt.bfloat16())
    assert [name for name, _ in made.named_parameters()] == ["embed.weight"] and type(made.embed) is nn.Embedding


def test_gradients_of_masters_are_those_of_the_rounded_weights_in_float32():
    made, x = nn.Linear(8, 8, bias=False), torch.randn(5, 8).bfloat16()
    with prepared(made, stage(trains={"*": Rate(1.0)}, precision="bfloat16")) as ready:
        rounded = ready.parameters["weight"].detach().bfloat16().requires_grad_()
        (x @ rounded.T).square().sum().backward()
        for _ in range(2):
            made(x).square().sum().backward()  # a second batch adds up in float32
        assert ready.parameters["weight"].grad.dtype == torch.float32
        assert torch.equal(ready.parameters["weight"].grad, 2 * rounded.grad.float())


@pytest.mark.parametrize(("built", "precision", "sees"), [("bfloat16", None, "bfloat16"), ("bfloat16", "float32", "float32")])
def test_the_precision_is_the_stages_or_as_built(built, precision, sees):
    made = model().to(getattr(torch, built))
    with prepared(made, stage(precision=precision)) as ready:
        assert {each.dtype for each in ready.parameters.values()} == {torch.float32}
        assert {made[0][0].weight.dtype, made[1][0].weight.dtype} == {getattr(torch, sees)}
    assert {each.dtype for each in made.parameters()} == {getattr(torch, sees)}


def test_states_are_computed_again_with_the_same_numbers():
    x, gradients, calls = torch.randn(8, 4), [], []
    for patterns in ([], ["0", "1"]):
        made = model()
        made[1][0].register_forward_hook(lambda *_: calls.append(1))
        with prepared(made, stage(gradient_checkpointing=patterns)) as ready:
            torch.manual_seed(7)  # for the dropout
            made(x).square().sum().backward()
            gradients.append({name: each.grad for name, each in ready.parameters.items()})
            assert [name for name, _ in made.named_parameters()][:2] == ["0.0.weight", "0.0.bias"]
        assert "forward" not in made[0].__dict__
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert len(calls) == 1 + 2
