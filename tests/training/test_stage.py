"""What a stage says: rates over time, which parameters learn, what it all takes."""

import io

import pytest
import torch
from rich.console import Console
from torch import nn

from serval.refusal import Refusal
from serval.training.parameters import chosen, matching_modules
from serval.training.stage import Rate, Stage
from serval.training.table import memory, show_stages


def stage(**changes) -> Stage:
    return Stage(**({"name": "s", "trains": {"*": Rate(1e-3)}, "mixture": "m", "objective": print, "steps": 10} | changes))


def test_rates_over_time():
    assert [stage(schedule="constant", warmup=0.2).scale(step, 10) for step in (0, 1, 2, 9)] == [0.5, 1, 1, 1]
    assert [stage(schedule="linear", warmup=2).scale(step, 10) for step in (0, 2, 6, 9)] == pytest.approx([0.5, 1, 0.5, 0.125])
    assert [stage().scale(step, 8) for step in (0, 2, 4, 6)] == pytest.approx([1, 0.853553, 0.5, 0.146447], rel=1e-5)
    assert stage(warmup=100).scale(4, 10) == 0.05  # a warm-up that is longer than the stage


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 1}, "steps and epochs"),
        ({"steps": None}, "steps and epochs"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"trains": {"*": Rate(-1.0)}}, "no rate"),
        ({"ema": 1.0}, "ema 1.0"),
        ({"clip": 0.0}, "clip is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(Refusal, match=said):
        stage(**changes)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
        self.connector = nn.Linear(4, 6)
        self.head = nn.Linear(6, 4, bias=False)
        self.embed = nn.Linear(6, 4, bias=False)
        self.head.weight = self.embed.weight
        self.narrow = nn.Parameter(torch.zeros(2, dtype=torch.float16))


def test_the_first_pattern_that_fits_decides():
    found = chosen(Model(), stage(trains={"tower.1.*": None, "tower.*.weight": Rate(1.0), "tower.*": Rate(2.0)}))
    assert {name: each.rate.learning_rate for name, each in found.items()} == {
        "tower.0.weight": 1.0, "tower.0.bias": 2.0, "tower.2.weight": 1.0, "tower.2.bias": 2.0,
    }  # fmt: skip


def test_tied_parameters_learn_once_under_any_of_their_names():
    model = Model()
    (name,) = found = chosen(model, stage(trains={"embed.*": Rate(1.0)}))
    assert name == "head.weight" and found[name].parameter is model.embed.weight
    assert len(found[name].places) == 2


@pytest.mark.parametrize(
    ("trains", "said"),
    [
        ({"conector.*": Rate(1.0)}, r"no parameter is called conector\.\*; there are connector\.bias, connector\.weight"),
        ({"towers.0.weight": Rate(1.0)}, r"there are tower\.\*\.weight"),
        ({"tower.*": Rate(1.0), "tower.0.*": Rate(2.0)}, r"all that tower\.0\.\* fits is taken"),
        ({"tower.*": None}, "it trains nothing"),
        ({"narrow": Rate(1.0)}, "narrow is float16"),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(trains, said):
    with pytest.raises(Refusal, match=said):
        chosen(Model(), stage(trains=trains))


def test_modules_are_found_by_pattern_without_what_is_in_them():
    model = Model()
    assert matching_modules(model, ["tower*"], stage()) == [model.tower]
    assert matching_modules(model, ["tower.?", "connector"], stage()) == [*model.tower, model.connector]
    with pytest.raises(Refusal, match=r"no module is called towr\.0; there are tower"):
        matching_modules(model, ["towr.0"], stage())


def test_memory_is_counted_by_what_learns_and_in_which_precision():
    model = nn.Linear(10, 10, bias=False)
    plain, narrow = stage(), stage(precision="bfloat16", ema=0.9)
    assert memory(model, plain, chosen(model, plain)) == 100 * (4 + 4 + 8)
    assert memory(model, narrow, chosen(model, narrow)) == 100 * (2 + 4 + 8 + 4 + 4)  # and a master, and an average
    frozen = nn.Sequential(model, nn.Linear(10, 1, bias=False))
    last = stage(trains={"1.*": Rate(1.0)})
    assert memory(frozen, last, chosen(frozen, last)) == 400 + 40 + 120


def test_the_table_is_shown_without_any_numbers_in_the_model():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.Linear(1000, 10, bias=False))
    stages = [
        stage(name="connector", trains={"1.*": Rate(5e-4, 0.05)}, batch=8, accumulation=4, warmup=0.1, precision="bfloat16"),
        stage(name="everything", steps=None, epochs=1.5, gradient_checkpointing=["0"], ema=0.999, clip=None),
    ]
    console = Console(width=160, file=io.StringIO())
    show_stages(model, stages, console)
    text = console.file.getvalue()
    for said in (
        "1.01 M parameters", "1.*: 10.00 k at 0.0005, decay 0.05", "in all 10.00 k, 0.99%", "10 steps of 8 × 4", "2.2 MB",
        "cosine, warm-up 10%", "bfloat16", "1.5 epochs of 1", "gradient checkpointing", "average of 0.999", "20.2 MB",
    ):  # fmt: skip
        assert said in text, said
    with pytest.raises(Refusal, match="no module is called 2"):
        show_stages(model, [stage(gradient_checkpointing=["2"])], console)
