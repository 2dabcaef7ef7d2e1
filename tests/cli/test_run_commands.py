"""`serval timeline`, `serval why` and `serval export`, as a person types them."""

import json
import re
import sys
from pathlib import Path

import pytest

from serval.assistant.event import Event, EventKind, Evidence, GateState
from serval.assistant.timeline import Timeline, TraceRow
from serval.cli import main


def event(name: str, at: float, text: str, **more: object) -> Event:
    fields = {"id": name, "source": "door", "instruction": "taxi", "t_start": at - 0.5, "t_end": at, "said_at": at + 0.3}
    return Event(**{**fields, "text": text, "score": 0.83, **more})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    now = GateState(gate="text", score=0.83, threshold=0.5, policy="wake", why="new text")
    box = (0.1, 0.1, 0.2, 0.2)
    seen = tuple(Evidence(time=12.0, frame="ab" * 32, label="text", text="TAXI\x1b[2J", box=box) for _ in range(2))
    with Timeline.open(tmp_path / "run") as timeline:
        timeline.add(event("opened", 0.0, "door opened", kind=EventKind.SOURCE, instruction=None, t_start=0.0))
        timeline.add(event("one", 12.0, "A taxi sign\x1b[2J is visible.", why_now=now, evidence=seen))
        timeline.add(event("two", 75.0, "It is gone.", instruction="gone", source="yard"))
        for second in range(20):
            wakes = second == 12
            row = TraceRow(
                second, "door", second, "taxi", "text", 0.83 if wakes else 0.1, 0.5, "wake" if wakes else "silent", ""
            )
            timeline.trace(row)
    return tmp_path / "run"


@pytest.fixture
def serval(monkeypatch, capsysbinary):
    """Type a command: its exit code, what it printed, what it complained of."""

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["serval", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsysbinary.readouterr()
        return int(end.value.code or 0), out.decode(), err.decode()

    return typed


class TestTimeline:
    def test_is_a_table_of_what_was_said(self, serval, run):
        code, out, _ = serval("timeline", run)
        rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
        assert code == 0
        assert rows == [
            ["happened", "said at", "source", "for", "words", "score", "evidence"],
            ["0:00.0", "0:00.3", "door", "source", "door opened"],
            ["0:11.5 to 0:12.0", "0:12.3", "door", "taxi", "A taxi sign [2J is visible.", "0.83", "2"],
            ["1:14.5 to 1:15.0", "1:15.3", "yard", "gone", "It is gone.", "0.83"],
        ]

    def test_shows_only_what_was_asked_for(self, serval, run):
        def ids(*words: str) -> list[str]:
            code, out, _ = serval("timeline", run, "--json", *words)
            assert code == 0
            return [json.loads(line)["id"] for line in out.splitlines()]

        assert ids() == ["opened", "one", "two"]
        assert ids("--kind", "utterance") == ["one", "two"]
        assert ids("--kind", "answer") == []
        assert ids("--limit", "2") == ["one", "two"]
        assert ids("--since", "0:12.0", "--until", "13") == ["one"]
        assert ids("--source", "yard") == ids("--instruction", "gone") == ["two"]
        assert ids("--text", "TAXI sign") == ["one"]

    def test_of_nothing_says_so(self, serval, run):
        assert serval("timeline", run, "--kind", "answer")[1] == "Nothing.\n"


class TestWhy:
    def test_explains_words_and_silence(self, serval, run):
        code, out, _ = serval("why", run, "12.1")
        assert code == 0
        assert "so it spoke: new text." in out
        assert re.search(r"door +taxi +text +0:12\.0 +0\.83 +0\.50 +wake", out)
        code, out, _ = serval("why", run, "0:05", "--source", "door", "--instruction", "taxi")
        assert code == 0
        assert "Around 0:05.0 Serval said nothing." in out
        assert re.search(r"door +taxi +text +0:05\.0 +0\.10 +0\.50 +silent", out)
        assert "\x1b" not in out

    @pytest.mark.parametrize(
        "words, refusal",
        [
            (["noon"], "time 'noon': it cannot be read; write seconds (12.5) or a clock time (1:02:03.5)"),
            (["5", "--source", "attic"], "source 'attic': the run has none of this name; it has door, yard"),
            (["5", "--instruction", "cat"], "instruction 'cat': the run has none of this name; it has gone, taxi"),
        ],
    )
    def test_refuses_in_one_line_what_it_cannot_make_sense_of(self, serval, run, words, refusal):
        assert serval("why", run, *words) == (2, "", f"serval: {refusal}\n")


class TestExport:
    @pytest.mark.parametrize("form", ["srt", "vtt", "jsonl", "html"])
    def test_writes_where_it_was_told_and_into_the_run_folder_otherwise(self, serval, run, tmp_path, form):
        assert serval("export", run, "--to", form, "-o", tmp_path / "out") == (0, f"{tmp_path / 'out'}\n", "")
        assert serval("export", run, "--to", form) == (0, f"{run / 'timeline'}.{form}\n", "")
        assert (tmp_path / "out").read_bytes() == (run / f"timeline.{form}").read_bytes()
        code, out, _ = serval("export", run, "--to", form, "-o", "-")
        assert (code, out) == (0, (tmp_path / "out").read_text())
        assert "A taxi sign [2J is visible." in out or form == "jsonl"

    def test_refuses_in_one_line(self, serval, run, tmp_path):
        for words, why in (
            (["--to", "video", "-o", "-"], "cannot go to standard output"),
            (["--to", "video", "-o", tmp_path / "out.avi", "--source", "door"], "name it .mp4"),
            (["--to", "video", "-o", tmp_path / "out.mp4", "--source", "door"], "no pictures were recorded"),
            (["--to", "srt", "--video", "in.mp4"], "srt has no use for it"),
            (["--to", "srt", "-o", tmp_path / "none" / "out"], "it cannot be written"),
        ):
            code, out, err = serval("export", run, *words)
            assert (code, out) == (2, "")
            assert why in err
            assert err.startswith("serval: ")
            assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["timeline"], ["why", "5"], ["export", "--to", "srt"]])
def test_a_run_that_is_not_there_is_refused_with_the_remedy(serval, tmp_path, words):
    command, *rest = words
    code, out, err = serval(command, tmp_path / "none", *rest)
    assert (code, out) == (2, "")
    assert err.endswith("there is no such file; name the folder of a run, as given to `serval watch --run`\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["timeline", "why", "export"])
def test_help_has_examples(serval, command):
    code, out, _ = serval(command, "--help")
    assert code == 0
    assert "Examples:" in out
    assert out.count(f"serval {command} runs/door") >= 2
