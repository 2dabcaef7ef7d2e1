"""`serval replay` as a person types it."""

import pytest

from serval.assistant.timeline.timeline import Timeline


def test_the_same_parts_are_identical(serval, bikes):
    code, out, err = serval("replay", bikes.folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Identical: {len(bikes.events)} events." and "\x1b" not in out


def test_another_gate_is_different_and_kept_where_asked(serval, bikes, tmp_path):
    code, out, _ = serval("replay", bikes.folder, "--gate", "poll:2", "--to", tmp_path / "polled")
    assert code == 0 and out.splitlines()[-1].startswith("Different: ")
    with Timeline.open(tmp_path / "polled", write=False) as timeline:
        assert timeline.count(kind="utterance") > 0


@pytest.mark.parametrize(
    "words, why",
    [
        (["--gate", "nosuch"], "there is no such gate"),
        (["--answerer", "nosuch"], "there is none of this name"),
        (["--answerer", "ftp://x"], "it is no http or https address"),
    ],
)
def test_refused_in_one_line(serval, bikes, tmp_path, words, why):
    code, out, err = serval("replay", bikes.folder, *words, "--to", tmp_path / "new")
    assert (code, out) == (2, "") and why in err and err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_replay_is_never_written_over_a_run(serval, bikes, tmp_path):
    before = (bikes.folder / "timeline.sqlite").read_bytes()
    code, out, err = serval("replay", bikes.folder, "--gate", "poll:2", "--to", bikes.folder)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert (bikes.folder / "timeline.sqlite").read_bytes() == before
