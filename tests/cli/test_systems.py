"""`serval systems` and `serval arena`, as a person types them."""


def test_systems_are_listed_with_what_was_measured(serval, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    code, out, err = serval("systems")
    assert code == 0 and not err
    assert "videollm-online" in out and "lion-fs" in out


def test_one_system_shows_its_paper_and_its_sizes(serval):
    code, out, _ = serval("systems", "videollm-online")
    assert code == 0 and "arXiv:2406.11816" in out and "llama-3-8b" in out and "8,720," in out


def test_an_unknown_one_is_one_line(serval):
    code, out, err = serval("arena", "videolm-online")
    assert code == 2 and not out and "did you mean videollm-online" in err and err.count("\n") == 1
