"""Where a run is kept: a new folder each time, and what is there is left alone."""

from datetime import datetime

import pytest

from serval.assistant.run_folder import fresh_folder
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.refusal import Refusal

STARTED = datetime(2026, 3, 2, 9, 0, 5)


def test_is_named_after_source_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fresh_folder(None, "Front Door/../x", STARTED).as_posix() == "runs/Front-Door-..-x-20260302-090005"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("held", [Timeline, Recording])
def test_a_run_that_is_there_is_left_alone_and_the_new_one_is_numbered(tmp_path, held):
    first = fresh_folder(tmp_path / "run", "x", STARTED)
    assert first == tmp_path / "run"
    held.open(first).close()
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    second = fresh_folder(tmp_path / "run", "x", STARTED)
    assert second == tmp_path / "run-2"
    held.open(second).close()
    assert fresh_folder(tmp_path / "run", "x", STARTED) == tmp_path / "run-3"
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_a_folder_of_other_things_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert fresh_folder(tmp_path, "x", STARTED) == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_where_no_folder_can_be_is_refused(tmp_path, where):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refusal, match="--run"):
        fresh_folder(tmp_path / where, "x", STARTED)
    assert (tmp_path / "file").read_text() == "mine"
