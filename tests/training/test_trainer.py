"""Runs of a toy: what is learnt, what is kept, and what ends a run in words."""

import errno
import json
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import serval.training.checkpoint as checkpoint
from serval.refusal import Refusal
from serval.training.batches import Numbered, shuffled
from serval.training.checkpoint import checkpoints, load_weights, read_tensors
from serval.training.distributed import accelerator_for
from serval.training.log import RunLog
from serval.training.objectives.loss import Loss
from serval.training.randomness import seed_all
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage
from serval.training.trainer import Trainer

from . import toy_recipe

ITEMS = [(x, x.sum()[None]) for x in torch.randn(8, 3, generator=torch.Generator().manual_seed(0))]


def squares(model: nn.Module, batch) -> Loss:
    errors = (model(batch["x"]) - batch["y"]).square()
    return Loss(errors.sum(), errors.new_tensor(len(errors)))


def line(device: torch.device) -> nn.Module:
    return nn.Linear(3, 1, device=device)


def doubled(device: torch.device) -> nn.Module:
    model = line(device)
    model.weight.data *= 2
    return model


def batches(stage: Stage):
    def collate(items):
        return dict(zip("xy", map(torch.stack, zip(*items, strict=True)), strict=True))

    return shuffled(ITEMS, stage.batch, collate, seed=1)


def stage(**changes) -> Stage:
    usual = {"name": "line", "trains": {"*": Rate(0.1)}, "mixture": "sums", "objective": squares, "steps": 6, "batch": 4}
    return Stage(**(usual | changes))


def run(folder: Path, *stages: Stage, resume: bool = False, model=line, data=batches, **options) -> nn.Module:
    recipe = Recipe(model, stages, {"sums": data}, options.pop("save", None))
    return Trainer(recipe, folder, accelerator=accelerator_for(stages, "cpu"), **options).run(resume=resume)


def log(folder: Path) -> list[dict]:
    return [json.loads(each) for each in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_tells_every_step(tmp_path):
    model = run(tmp_path, stage(steps=60, schedule="constant"))
    lines = log(tmp_path)
    assert [each["step"] for each in lines] == list(range(1, 61))
    assert lines[-1]["loss"] < 1e-2 < lines[0]["loss"]
    assert set(lines[0]) == {"stage", "step", "loss", "norm", "rate", "seconds"}
    assert not model.training and not model.weight.requires_grad
    again = line(torch.device("cpu"))
    assert load_weights(again, tmp_path / "weights.safetensors") == ["bias", "weight"]
    assert torch.equal(again.weight, model.weight)


def test_a_step_is_adamws(tmp_path):
    """By PyTorch's own loop: the same rates, clipping and order."""
    made = stage(steps=5, clip=0.5, warmup=2, trains={"weight": Rate(0.1, 0.3), "bias": Rate(0.05, 0.3)})
    learnt = run(tmp_path, made)
    seed_all(0)
    model = line(torch.device("cpu"))
    groups = [{"params": [model.weight], "weight_decay": 0.3}, {"params": [model.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    for step, batch in zip(range(5), batches(made), strict=False):
        for group, rate in zip(optimizer.param_groups, (0.1, 0.05), strict=True):
            group["lr"] = rate * made.scale(step, 5)
        (model(batch["x"]) - batch["y"]).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(learnt.weight, model.weight.detach())
    torch.testing.assert_close(learnt.bias, model.bias.detach())


def test_a_step_of_several_batches_is_that_of_one_large_batch(tmp_path):
    """The batches of an epoch are 3, 3 and 2 rows: a mean of their means would be another number."""
    parts = run(tmp_path / "parts", stage(batch=3, accumulation=3))
    whole = run(tmp_path / "whole", stage(batch=8))
    torch.testing.assert_close(parts.weight, whole.weight)
    for mine, theirs in zip(log(tmp_path / "parts"), log(tmp_path / "whole"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_the_model_leaves_with_the_average(tmp_path):
    seen = []

    def watching(model, batch):
        seen.append(model.weight.detach().clone())
        return squares(model, batch)

    model = run(tmp_path, stage(ema=0.5, objective=watching, steps=3))
    plain = run(tmp_path / "plain", stage(steps=3))
    expected = 0.5 * (0.5 * (0.5 * seen[0] + 0.5 * seen[1]) + 0.5 * seen[2]) + 0.5 * plain.weight
    torch.testing.assert_close(model.weight, expected)


def test_epochs_are_counted_in_steps(tmp_path):
    run(tmp_path, stage(steps=None, epochs=2.5, batch=3, accumulation=2))
    assert len(log(tmp_path)) == math.ceil(2.5 * 3 / 2)


def test_stages_follow_each_other_and_the_end_is_saved(tmp_path):
    saved = []
    stages = stage(name="weight", trains={"weight": Rate(0.1)}), stage(name="bias", trains={"bias": Rate(0.1)}, steps=4)
    model = run(tmp_path, *stages, save=lambda model, folder: saved.append((model, folder)), save_every=2, keep=3)
    assert saved == [(model, tmp_path)]
    assert [each["stage"] for each in log(tmp_path)] == ["weight"] * 6 + ["bias"] * 4
    assert [each.name for each in checkpoints(tmp_path / "checkpoints")] == ["01-00000000", "01-00000002", "02-00000000"]
    assert set(read_tensors(tmp_path, "weights")) == {"weight", "bias"}
    first, last = (read_tensors(tmp_path / "checkpoints" / name, "weights") for name in ("01-00000000", "02-00000000"))
    assert torch.equal(first["weight"], last["weight"]) and set(first) == {"weight"}


def test_a_finished_run_that_is_gone_on_with_changes_nothing(tmp_path):
    run(tmp_path, stage())
    before = (tmp_path / "weights.safetensors").read_bytes(), (tmp_path / "log.jsonl").read_bytes()
    model = run(tmp_path, stage(), resume=True)
    assert ((tmp_path / "weights.safetensors").read_bytes(), (tmp_path / "log.jsonl").read_bytes()) == before
    assert torch.equal(model.weight, read_tensors(tmp_path, "weights")["weight"])


def refused(said: str, folder: Path, *stages: Stage, **options) -> None:
    with pytest.raises(Refusal, match=said):
        run(folder, *stages, **options)


def test_a_run_is_not_written_over_nor_gone_on_with_as_another(tmp_path):
    run(tmp_path, stage())
    refused("it holds a run; go on with --resume", tmp_path, stage())
    other = stage(batch=2, trains={"*": Rate(0.2)})
    refused(r"trains of stage line was .* and is .*; batch of stage line was 4 and is 2", tmp_path, other, resume=True)
    refused("it has 1 stages, not 2", tmp_path, stage(), stage(), resume=True)
    refused("the model it began with is another one", tmp_path, stage(), model=doubled, resume=True)
    assert len(log(tmp_path)) == 6  # a refused run leaves the log alone


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_numbers_that_are_none_end_the_run_before_the_weights_have_them(tmp_path, what):
    steps = []

    def breaking(model, batch):
        loss = squares(model, batch)
        steps.append(model.weight.detach().clone())
        if len(steps) < 4:
            return loss
        if what == "loss":
            return loss._replace(total=loss.total * torch.nan)
        return loss._replace(total=loss.total + (model.weight * 0).abs().sqrt().sum())  # infinite slope at 0, times 0

    refused(
        f"stage line: the {what} of step 4 is (nan|inf); lower its rates", tmp_path, stage(objective=breaking), save_every=3
    )
    (last,) = checkpoints(tmp_path / "checkpoints")
    assert last.name == "00-00000003"
    assert torch.equal(read_tensors(last, "weights")["weight"], steps[-1])
    assert [each["step"] for each in log(tmp_path)] == [1, 2, 3]


class Ending:
    """Batches that end."""

    def __init__(self, count: int) -> None:
        self.state, self._count = 0, count

    def __iter__(self):
        while self.state < self._count:
            self.state += 1
            yield {"x": torch.ones(2, 3), "y": torch.ones(2, 1)}


def test_data_that_end_too_early_are_named(tmp_path):
    said = "stage line: its data, sums, ended in step 3 of 6; take fewer steps, or let the data repeat"
    refused(said, tmp_path, stage(accumulation=2), data=lambda stage: Ending(5))
    for data in (Ending(5), Numbered(lambda number: {})):
        refused("sums, do not say how long an epoch is", tmp_path, stage(steps=None, epochs=1), data=lambda stage, it=data: it)
    refused("there is no mixture sms; did you mean sums", tmp_path, stage(mixture="sms"))


def test_a_stage_in_which_nothing_can_be_learnt_is_refused(tmp_path):
    nothing = lambda model, batch: squares(model, batch)._replace(weight=torch.tensor(0.0))  # noqa: E731
    refused("nothing in step 1 is to be learnt; check the labels", tmp_path, stage(objective=nothing))
    apart = lambda model, batch: Loss(batch["y"].sum(), torch.tensor(1.0))  # noqa: E731
    refused("its loss does not depend on anything that it trains", tmp_path, stage(objective=apart))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), checkpoint.SafetensorError("I/O error (os error 28)")])
def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path, monkeypatch, error):
    calls, save = [], checkpoint.save_file

    def filling(*args):
        calls.append(args)
        if len(calls) > 4:
            raise error
        save(*args)

    monkeypatch.setattr(checkpoint, "save_file", filling)
    refused("00-00000004: the disk is full; make room, and go on with --resume", tmp_path, stage(), save_every=2)
    assert [each.name for each in (tmp_path / "checkpoints").iterdir()] == ["00-00000002"]  # no half one takes room
    monkeypatch.undo()
    run(tmp_path, stage(), save_every=2, resume=True)
    assert len(log(tmp_path)) == 6


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path, file):
    refused("nan", tmp_path, stage(objective=_breaking_at(5)), save_every=2)
    place = tmp_path / "checkpoints" / "00-00000004" / file
    place.write_bytes(place.read_bytes()[:40])
    refused("checkpoint 00-00000004: it is damaged; delete .* to go on from the one before", tmp_path, stage(), resume=True)
    for each in place.parent.iterdir():
        each.unlink()
    place.parent.rmdir()
    run(tmp_path, stage(), resume=True)
    run(tmp_path / "whole", stage())
    assert (tmp_path / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()


def _breaking_at(step: int):
    calls = []

    def breaking(model, batch):
        calls.append(1)
        return squares(model, batch)._replace(weight=torch.tensor(torch.nan if len(calls) == step else 4.0))

    return breaking


def test_weights_of_another_model_are_refused(tmp_path):
    run(tmp_path, stage())
    with pytest.raises(Refusal, match="weight has no place in this model"):
        load_weights(nn.Linear(4, 1), tmp_path / "weights.safetensors")
    with pytest.raises(Refusal, match="there is nothing in it"):
        load_weights(nn.Linear(3, 1), tmp_path / "none.safetensors")


def test_recomputed_states_give_the_same_run(tmp_path):
    """Bit for bit, with dropout; so a run that ran out of memory may go on with it."""
    for name, patterns in (("kept", []), ("again", ["body"])):
        recipe = toy_recipe.recipe(steps=3)
        stages = [Stage(**{**vars(each), "gradient_checkpointing": patterns}) for each in recipe.stages]
        recipe = Recipe(recipe.model, stages, recipe.data, seed=recipe.seed)
        Trainer(recipe, tmp_path / name, accelerator=accelerator_for(stages, "cpu")).run()
    assert (tmp_path / "kept" / "weights.safetensors").read_bytes() == (tmp_path / "again" / "weights.safetensors").read_bytes()


def test_a_terminal_shows_how_it_goes(tmp_path):
    import io

    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    run(tmp_path, stage(), console=console)
    shown = console.file.getvalue()
    assert "line" in shown and "6/6" in shown and f"loss {log(tmp_path)[-1]['loss']:.4f}" in shown
    quiet = Console(file=io.StringIO())
    run(tmp_path / "quiet", stage(), console=quiet)
    assert quiet.file.getvalue() == ""


def test_tensorboard_is_told_where_it_is_installed(tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

        def close(self):
            told.append("closed")

    monkeypatch.setattr("serval.training.log.find_spec", lambda name: name)
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", type("Module", (), {"SummaryWriter": Writer}))
    written = RunLog(tmp_path, step=4)
    written.write(5, {"stage": "line", "step": 5, "loss": 0.5})
    written.close()
    assert told == [(str(tmp_path / "tensorboard"), 4), ("line/loss", 0.5, 5), "closed"]


def test_sharding_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refusal, match="there is no GPU; train without --shard"):
        accelerator_for([stage()], shard=True)
    with pytest.raises(Refusal, match="this machine trains on cpu"):
        accelerator_for([stage()], "cuda")
