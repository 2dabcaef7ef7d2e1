"""A machine without some of the parts, and what is not loaded until it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serval.weights import locate
from serval.weights.cache import cache_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture
def only(monkeypatch, tmp_path):
    """Make this a machine that has only these parts."""
    have = cache_folder() / "weights"

    def linked(*names: str) -> Path:
        weights = tmp_path / "cache" / "weights"
        weights.mkdir(parents=True)
        for folder in have.iterdir():
            if any(folder.name.startswith(f"{name}-") for name in names) and folder.is_dir():
                (weights / folder.name).symlink_to(folder)
        monkeypatch.setenv("SERVAL_CACHE", str(tmp_path / "cache"))
        return weights.parent

    return linked


def test_without_the_detector_scenes_are_still_told(only, watched, short, tmp_path):
    only("lite0", "minilm", "rapidocr")
    run = watched(tmp_path / "run", short, tell=("describe every new scene", "tell me when a person comes in"))
    off = [event for event in run.events if event.data.get("note") == "ability off"]
    assert [event.id for event in off] == ["off-objects"]
    assert "serval weights fetch nanodet" in off[0].text
    assert run.events[1].text == "I cannot watch for that now: the object detector is off on this machine."
    assert run.said("describe-every-new-scene") and not run.said("person-comes-in")
    assert all("objects" not in event.models for event in run.said())
    assert not any(word in event.text for event in run.said() for word in ("person", "people", "vehicle"))


def test_without_the_tagger_people_are_still_told(only, watched, short, tmp_path):
    locate("nanodet")
    only("nanodet", "minilm")
    run = watched(tmp_path / "run", short, tell=("tell me when a person comes in",))
    off = [event.id for event in run.events if event.data.get("note") == "ability off"]
    assert off == ["off-tags", "off-hands"]
    assert run.said("person-comes-in")
    assert set(run.said()[0].models) == {"objects"}


def test_without_sentence_embeddings_plain_nouns_are_still_understood(only, watched, short, tmp_path):
    locate("nanodet")
    only("nanodet", "lite0")
    run = watched(tmp_path / "run", short, tell=("tell me when a person comes in", "say when a gondola is in the picture"))
    assert run.said("person-comes-in")
    assert "cannot" in run.events[1].text


def test_without_any_part_it_says_so_and_ends(only, watched, short, tmp_path):
    only()
    run = watched(tmp_path / "run", short, tell=("tell me when a person comes in", "describe every new scene"))
    assert [event.text for event in run.events if event.kind == "instruction"] and not run.said()
    assert all("cannot" in event.text for event in run.events if event.kind == "instruction")
    assert not [event for event in run.events if event.data.get("note") == "opened"]  # nothing was read for nothing


def test_a_damaged_part_is_off_and_not_used(only, watched, short, tmp_path):
    locate("nanodet")
    have = cache_folder() / "weights"
    cache = only("lite0", "minilm")
    whole = next(path for path in have.iterdir() if path.name.startswith("nanodet-") and path.is_dir())
    copy = cache / "weights" / whole.name
    copy.mkdir()
    for path in whole.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(whole)).write_bytes(path.read_bytes())
    body = bytearray((copy / "model.safetensors").read_bytes())
    body[-100] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(body))
    run = watched(tmp_path / "run", short, tell=("describe every new scene",))
    assert run.said()
    assert all("objects" not in event.models for event in run.said())
    assert not any(each.label == "person" for event in run.said() for each in event.evidence)


def modules(folder: Path, *words: str) -> set[str]:
    """What a command has imported by its end."""
    code = (
        "import sys\nfrom serval.cli import main\n"
        f"sys.argv = ['serval', *{list(words)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})) + f'\\n{code or 0}')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    *_, names, ended = done.stdout.splitlines()
    assert (done.returncode, ended) == (0, "0"), done.stderr
    return set(names.split())


@pytest.mark.usefixtures("detector")
def test_a_plain_watch_loads_no_training_library(short, tmp_path):
    loaded = modules(tmp_path, "watch", str(short), "--tell", "tell me when a person comes in", "--run", "run")
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "transformers", "openai", "huggingface_hub"} == set()


def test_looking_at_a_run_loads_no_model(bikes):
    for words in (("timeline", str(bikes.folder)), ("why", str(bikes.folder), "5"), ("replay", str(bikes.folder))):
        assert not modules(bikes.folder, *words) & {"torch", "transformers", "openai", "onnxruntime"}
