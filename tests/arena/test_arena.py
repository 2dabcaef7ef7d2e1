"""Experiments: found, run with next to no work, and judged from their numbers alone."""

import json
import math
from dataclasses import replace

import pytest

from serval.arena.experiment import Claim, Experiment, Measure, find_experiment, modules, run_experiment, save_result
from serval.arena.table import page, shown, verdict_lines
from serval.refusal import Refusal
from serval.systems.system import modules as systems

POINTS = Measure("points", "%", 1)


def experiment(values, **claim):
    return Experiment(
        slug="coin",
        question="Which side?",
        arms={"heads": "one side", "tails": "the other"},
        measures=[POINTS],
        claims=[Claim("heads is better", "points", "heads", "tails", **claim)],
        run=lambda arm, seed, quick: {"points": values[arm][seed]},
    )


@pytest.mark.parametrize(
    ("heads", "tails", "options", "verdict"),
    [
        ([3, 4, 5], [1, 2, 3], {}, "holds"),
        ([3, 1, 5], [1, 2, 3], {}, "mixed"),
        ([0, 1, 2], [1, 2, 3], {}, "does not hold"),
        ([0, 1, 2], [1, 2, 3], {"lower": True}, "holds"),
        ([0, 1, 2], [1, 2, 3], {"slack": 1.0}, "holds"),
        ([3, math.nan, 5], [1, 2, 3], {}, "does not hold"),
    ],
)
def test_a_verdict_is_what_the_numbers_say(heads, tails, options, verdict):
    result = run_experiment(experiment({"heads": heads, "tails": tails}, **options), 3)
    assert result.verdict == verdict and result.values["heads"]["points"][0] == heads[0]


def test_arms_take_turns_and_what_came_of_it_is_kept(tmp_path):
    order = []
    made = experiment({"heads": [3.0, 4.0], "tails": [1.0, 2.0]})
    result = run_experiment(made, 2, quick=True, done=lambda arm, seed: order.append((arm, seed)))
    assert order == [("heads", 0), ("tails", 0), ("heads", 1), ("tails", 1)]
    save_result(result, tmp_path / "docs" / "coin.json")
    kept = json.loads((tmp_path / "docs" / "coin.json").read_text())
    assert kept["command"] == "serval arena coin --seeds 2 --quick" and kept["values"]["tails"]["points"] == [1.0, 2.0]
    assert "| heads | 3.5 ± 0.7 |" in page(made, result) and "- **holds**: heads is better" in page(made, result)
    assert verdict_lines(made, result) == ["holds: heads is better (points, heads against tails: +2, +2)"]


def test_two_processes_find_what_one_finds():
    lanes = dict.fromkeys(("two lanes", "one lane"), "")
    made = replace(find_experiment("vita"), arms=lanes, claims=(), together=(tuple(lanes),))
    one, two = (run_experiment(made, 2, quick=True, processes=count) for count in (1, 2))
    numbers = [json.dumps(each.values) for each in (one, two)]
    assert numbers[0] == numbers[1] and one.values["two lanes"]["silent s"][0] > 0


def test_what_was_not_measured_is_a_dash():
    assert shown([math.nan, math.nan], POINTS) == "–" and shown([2.0], POINTS) == "2.0"


def test_every_system_has_its_check_and_every_check_its_system():
    assert set(modules()) == set(systems())


@pytest.mark.parametrize("slug", modules())
def test_claims_speak_of_arms_and_measures_that_there_are(slug):
    found = find_experiment(slug)
    assert found.slug == slug and len(found.arms) >= 2
    assert all(arm in found.arms for arms in found.together for arm in arms)
    for claim in found.claims:
        assert claim.measure in {measure.name for measure in found.measures} and claim.better in found.arms
        assert not isinstance(claim.than, str) or claim.than in found.arms


def test_an_unknown_one_is_refused():
    with pytest.raises(Refusal, match="there is no experiment lion-gs"):
        find_experiment("lion-gs")
