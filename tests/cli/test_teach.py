"""`serval teach` and `serval feedback` from the command line to what a watch says, on a clip of the photo world."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from serval.assistant.replay import replay
from serval.cli import main
from serval.data.worlds.cast import background, sprite
from serval.data.worlds.photo_world import Actor, PhotoWorld

MUG, CAR = "household/dishes/mug.png", "vehicles/auto/beetle.png"


def typed(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["serval", *map(str, words)])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def scene(place, path, gain=1.0, scale=1.8, stamp=MUG, seconds=1.0):
    return PhotoWorld("t", background(place, 640, 360), (Actor(sprite(stamp), path, scale=scale),), (), seconds,
                      lights=((0.0, gain),))  # fmt: skip


@pytest.fixture(scope="module")
def shown(photos, tmp_path_factory):
    """Two pictures of the mug before one wall, and a clip in which it comes onto another table."""
    folder = tmp_path_factory.mktemp("shown")
    for number, (x, gain) in enumerate([(0.35, 1.0), (0.55, 0.8)]):
        picture = scene("wall", ((0.0, x, 0.9), (9.0, x, 0.9)), gain, 2.2).picture(0.5)
        Image.fromarray(picture).save(folder / f"mug{number}.jpg", quality=92)
    comes = ((2.5, -0.15, 0.85), (3.2, 0.45, 0.85), (9.0, 0.45, 0.85))
    scene("table", comes, 1.15, 1.6, seconds=5.0).write(folder / "clip.mp4", 6)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two pictures and a clip, of the right names and of nothing in particular."""
    folder = tmp_path_factory.mktemp("files")
    wall = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
    for number in range(2):
        Image.fromarray(wall).save(folder / f"mug{number}.jpg")
    PhotoWorld("t", wall, (), (), 1.0).write(folder / "clip.mp4", 6)
    (folder / "taught.txt").write_text("no picture")
    return folder


@pytest.mark.usefixtures("detector")
def test_what_was_taught_is_called_by_its_name(shown, tmp_path, monkeypatch, capsys):
    memory, clip = tmp_path / "memory", shown / "clip.mp4"
    code, out, err = typed(monkeypatch, capsys, "teach", "my mug", shown / "mug0.jpg", shown / "mug1.jpg", "--memory", memory)
    assert code == 0 and "Learnt: my mug, by 2 pictures" in out, err
    watch = ("watch", clip, "--json", "--tell", "tell me when my mug appears", "--tell", "tell me when a cup appears")
    code, out, err = typed(monkeypatch, capsys, *watch, "--taught", memory, "--run", tmp_path / "run")
    assert code == 0, err
    said = [event for event in map(json.loads, out.splitlines()) if event["kind"] == "utterance"]
    mine = [event for event in said if event["instruction"] == "my-mug-appears"]
    assert len(mine) == 1 and mine[0]["text"].startswith("My mug ") and 2.5 <= mine[0]["t_end"] <= 4.5 and mine[0]["verified"]
    assert any(fact["subject"] == "my mug" for fact in mine[0]["facts"])
    assert [event for event in said if event["instruction"] == "cup-appears"], "a mug that is known is a cup all the same"
    assert replay(tmp_path / "run").identical

    code, out, _ = typed(monkeypatch, capsys, "feedback", tmp_path / "run", "1", "down", "--memory", memory)
    assert code == 0 and "Thumb down for “My mug" in out
    code, out, _ = typed(monkeypatch, capsys, "feedback", tmp_path / "run", "--memory", memory)
    assert out.splitlines()[0].split()[:2] == ["1", "-"]
    for _ in range(2):
        code, out, err = typed(monkeypatch, capsys, "feedback", "--undo", "--memory", memory)
    assert code == 2 and "no thumb" in err

    # a moment of the run teaches too, from the clip that it watched
    box = ("--box", "0.3,0.4,0.6,0.9")
    code, out, err = typed(monkeypatch, capsys, "teach", "gnome", tmp_path / "run", "--at", "4.5", *box, "--memory", memory)
    assert code == 0 and "the box given" in out, err
    code, out, _ = typed(monkeypatch, capsys, "teach", "--list", "--memory", memory)
    assert [line.split(":")[0] for line in out.splitlines()] == ["gnome", "my mug"]
    code, out, _ = typed(monkeypatch, capsys, "teach", "--undo", "--memory", memory)
    assert "Taken back: 1 picture of gnome" in out
    code, out, _ = typed(monkeypatch, capsys, "teach", "--forget", "My Mug", "--memory", memory)
    assert code == 0 and [each.name for each in memory.iterdir() if not each.name.startswith(".")] == [
        "taught.json",
        "thumbs.json",
    ]


@pytest.mark.usefixtures("detector")
def test_thumbs_silence_what_is_not_wanted(shown, tmp_path, monkeypatch, capsys):
    memory = tmp_path / "memory"
    watch = ("watch", shown / "clip.mp4", "--json", "--tell", "tell me when a cup appears")
    for number in range(6):
        run = tmp_path / f"run{number}"
        code, out, err = typed(monkeypatch, capsys, *watch, *(("--taught", memory) if number else ()), "--run", run)
        assert code == 0, err
        if "utterance" not in [json.loads(line)["kind"] for line in out.splitlines()]:
            break
        assert typed(monkeypatch, capsys, "feedback", run, "1", "down", "--memory", memory)[0] == 0
    assert 2 <= number <= 5, "it takes more than one thumb, and not for ever"
    assert replay(run).identical
    code, out, _ = typed(monkeypatch, capsys, "feedback", run, "3.2", "up", "--memory", memory)
    assert code == 0 and "what was missed" in out
    code, _, err = typed(monkeypatch, capsys, "feedback", run, "0.2", "up", "--memory", memory)
    assert code == 2 and "nothing was near" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("teach", "my mug"), "no picture"),
        (("teach", "cup", "mug0.jpg"), "any cup"),
        (("teach", "my mug", "missing.jpg"), "missing.jpg"),
        (("teach", "my mug", "taught.txt"), "no picture of a known kind"),
        (("teach", "my mug", "clip.mp4"), "no picture of a known kind"),
        (("teach", "my mug", "clip.mp4", "--at", "99"), "it ends at"),
        (("teach", "my mug", "mug0.jpg", "--box", "0.5,0.2,0.3,0.8"), "left,top,right,bottom"),
        (("teach", "my mug", "mug0.jpg", "--box", "nan,0,1,1"), "left,top,right,bottom"),
        (("teach", "my mug", "mug0.jpg", "--box", "0.5,0.5,0.501,0.501"), "pixels"),
        (("teach", "my mug", "mug0.jpg", "mug1.jpg", "--box", "0,0,1,1"), "one by one"),
        (("teach", "my mug", "mug0.jpg", "mug1.jpg", "--most-pictures", "1"), "1 are the limit"),
        (("teach", "--forget", "my mug"), "nothing of that name"),
        (("teach", "--undo"), "nothing was taught"),
        (("teach", "--undo", "--list"), "one thing at a time"),
        (("feedback",), "one thing at a time"),
        (("feedback", "missing", "1", "up"), "missing"),
    ],
)  # fmt: skip
def test_refuses_in_one_line(files, tmp_path, monkeypatch, capsys, words, why):
    monkeypatch.chdir(files)
    code, out, err = typed(monkeypatch, capsys, *words, "--memory", tmp_path / "memory")
    assert code == 2 and why in err and err.count("\n") == 1 and "Traceback" not in err + out


def test_a_damaged_memory_is_refused_before_anything_is_watched(files, tmp_path, monkeypatch, capsys):
    (tmp_path / "taught.json").write_text("{")
    code, _, err = typed(monkeypatch, capsys, "watch", files / "clip.mp4", "--taught", tmp_path, "--run", tmp_path / "run")
    assert code == 2 and "damaged" in err and err.count("\n") == 1 and not (tmp_path / "run").exists()
    code, _, err = typed(monkeypatch, capsys, "watch", files / "clip.mp4", "--taught", tmp_path / "none")
    assert code == 2 and "nothing was taught there" in err


def test_the_default_folder_is_the_persons_own(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SERVAL_DATA", str(tmp_path / "own"))
    code, _, err = typed(monkeypatch, capsys, "teach", "my mug", files / "mug0.jpg", "--box", "0.2,0.3,0.5,0.9")
    assert code == 0, err
    assert (tmp_path / "own" / "taught.json").exists() and (tmp_path / "own").stat().st_mode & 0o077 == 0
