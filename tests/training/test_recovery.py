"""A run that is killed and goes on is the run that was not killed; two processes learn what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .recovery_lab import KILLS

HERE = Path(__file__)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What `recovery_lab` saw, in a process of its own, which is killed many times over."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE.with_name("recovery_lab.py")), str(tmp_path_factory.mktemp("lab"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", KILLS)
def test_a_run_killed_again_and_again_goes_on_to_the_bit(results, name):
    whole, killed = results["uninterrupted"], results[name]
    assert killed["ended"] == [[-9]] * len(KILLS[name]) + [[0]]
    assert len(whole["log"]) == 14 and killed["log"] == whole["log"]
    assert whole["weights"] and killed["weights"] == whole["weights"]


def test_only_the_last_checkpoints_stay_and_none_is_a_pickle(results):
    for each in results.values():
        assert each["checkpoints"] == ["01-00000006", "02-00000000"]
        assert {Path(path).suffix for path in each["files"]} == {".safetensors", ".json", ".jsonl"}


def alike(one, two) -> bool:
    """Losses to 1e-5, and weights."""
    for mine, theirs in zip(one["log"], two["log"], strict=True):
        assert mine.pop("stage") == theirs.pop("stage") and mine == pytest.approx(theirs, rel=1e-5)
    return one["values"] == pytest.approx(two["values"], rel=1e-4, abs=1e-6)


def test_two_processes_learn_what_one_does_with_twice_the_batches(results):
    one, two = results["one process"], results["two processes"]
    assert one["ended"] == [[0]] and two["ended"] == [[0, 0]]
    assert alike(one, two)


def test_two_processes_of_which_one_is_killed_go_on_to_the_bit(results):
    whole, killed = results["two, uninterrupted"], results["two, killed"]
    assert killed["ended"] == [[-9, -9], [0, 0]]
    assert killed["log"] == whole["log"] and killed["weights"] == whole["weights"]
    first, second = whole["random"]
    assert first != second  # each drops by numbers of its own


def test_a_model_in_shards_learns_and_goes_on_like_a_whole_one(results):
    one, sharded = results["one process, even"], results["two, sharded, killed"]
    assert sharded["ended"] == [[-9, -9], [0, 0]]
    assert alike(one, sharded)
