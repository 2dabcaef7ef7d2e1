"""`serval ask` as a person types it."""

import json


def test_an_answer_with_its_evidence(serval, bikes):
    code, out, err = serval("ask", bikes.folder, "when was the taxi sign visible?")
    answer, *evidence = out.splitlines()
    assert (code, err) == (0, "") and "taxi" in answer.lower()
    assert evidence and all(" s  “" in line and " frame " in line for line in evidence)


def test_as_json(serval, bikes):
    code, out, _ = serval("ask", bikes.folder, "what was next to the taxi?", "--json")
    reply = json.loads(out)
    assert code == 0 and out.count("\n") == 1 and reply["known"] is True
    assert all(len(each["frame"]) == 64 and 2 < each["time"] < 4 for each in reply["evidence"])
    _, out, _ = serval("ask", bikes.folder, "what colour was the taxi?", "--json")
    assert json.loads(out)["known"] is False and json.loads(out)["evidence"] == []


def test_no_run_is_one_line(serval, tmp_path):
    code, out, err = serval("ask", tmp_path / "none", "what happened?")
    assert (code, out) == (2, "") and err.startswith("serval: ") and err.count("\n") == 1
    assert not (tmp_path / "none").exists()
