from pathlib import Path

import pytest

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline import Timeline
from serval.assistant.timeline.export import formats
from serval.assistant.timeline.export.formats import export
from serval.assistant.timeline.export.json_lines import read_json_lines
from serval.refusal import Refusal


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Timeline.open(tmp_path / "run") as timeline:
        for second, kind in enumerate((EventKind.SOURCE, EventKind.UTTERANCE, EventKind.ANSWER)):
            source = "yard" if kind is EventKind.ANSWER else "door"
            at = dict.fromkeys(("t_start", "t_end", "said_at"), float(second))
            timeline.add(Event(id=str(second), kind=kind, source=source, text=f"Words <{second}>.", **at))
    return tmp_path / "run"


def test_each_form_is_written_whole(run, tmp_path):
    for form in ("srt", "vtt", "jsonl", "html"):
        export(run, form, tmp_path / form)
    assert (tmp_path / "srt").read_text() == (
        "1\n00:00:01,000 --> 00:00:02,500\ndoor: Words ‹1›.\n\n2\n00:00:02,000 --> 00:00:03,500\nyard: Words ‹2›.\n\n"
    )
    assert (tmp_path / "vtt").read_text().startswith("WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500 ")
    assert "<v door>Words &lt;1&gt;." in (tmp_path / "vtt").read_text()
    assert [each.id for each in read_json_lines((tmp_path / "jsonl").read_text().splitlines())] == ["0", "1", "2"]
    page = (tmp_path / "html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert (tmp_path / "html").stat().st_mode & 0o777 == 0o644


def test_one_source_alone(run, tmp_path):
    export(run, "srt", tmp_path / "srt", source="yard")
    assert (tmp_path / "srt").read_text() == "1\n00:00:02,000 --> 00:00:03,500\nWords ‹2›.\n\n"
    with pytest.raises(Refusal, match="it has door, yard"):
        export(run, "srt", tmp_path / "srt", source="attic")


def test_an_export_that_fails_leaves_what_was_there(run, tmp_path, monkeypatch):
    def breaking(*_: object, **__: object):
        yield "half"
        raise Refusal("run", "it broke")

    out = tmp_path / "out.html"
    out.write_text("older")
    monkeypatch.setattr(formats, "page", breaking)
    with pytest.raises(Refusal, match="it broke"):
        export(run, "html", out)
    assert out.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "run"]


def test_places_that_cannot_be_written_and_runs_that_are_not_there_are_refused(run, tmp_path):
    with pytest.raises(Refusal, match="it cannot be written"):
        export(run, "srt", tmp_path / "none" / "out.srt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refusal, match="it cannot be written"):
        export(run, "srt", tmp_path / "folder")
    with pytest.raises(Refusal, match="there is no such file"):
        export(tmp_path / "none", "srt", tmp_path / "out.srt")
    with pytest.raises(Refusal, match="choose one of srt, vtt, jsonl, html, video"):
        export(run, "docx", tmp_path / "out.docx")
    before = (run / "timeline.sqlite").read_bytes()
    with pytest.raises(Refusal, match="it is the run itself"):
        export(run, "jsonl", run / ".." / "run" / "timeline.sqlite")
    assert (run / "timeline.sqlite").read_bytes() == before
