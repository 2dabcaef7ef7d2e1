"""`serval data`: formats are changed and shown, and what goes wrong is said in a line."""

import json

import pytest
from typer.testing import CliRunner

from serval.cli.data import app
from serval.refusal import Refusal

RECORDS = [
    {"id": "a", "image": "a.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A [red] dog."}]},
    {"id": "b\x1b[31m", "conversations": [{"from": "human", "value": "hi\x07"}, {"from": "gpt", "value": "x" * 500}]},
]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(RECORDS))
    return tmp_path / "a.json"


@pytest.fixture
def run():
    def run(*arguments, code=0):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        if isinstance(result.exception, Refusal):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


def test_there_and_back_is_the_same(run, path, tmp_path):
    out = run("convert", path, tmp_path / "b.jsonl", "--from", "llava", "--to", "openai").stdout
    assert out == f"2 items in {tmp_path / 'b.jsonl'}\n"
    first = json.loads((tmp_path / "b.jsonl").read_text().splitlines()[0])
    assert first["messages"][1] == {"role": "assistant", "content": "A [red] dog."}
    run("convert", tmp_path / "b.jsonl", tmp_path / "c.json", "--to", "llava")  # what it is, is found out
    assert json.loads((tmp_path / "c.json").read_text()) == RECORDS


def test_bad_records_stop_it_or_are_left_out_and_named(run, path, tmp_path):
    path.write_text(json.dumps([RECORDS[0], {"conversations": 1}, RECORDS[1]]))
    with pytest.raises(Refusal, match=r"^a\.json item 2: its conversations is a whole number"):
        run("convert", path, tmp_path / "b.jsonl", "--to", "openai")
    assert not (tmp_path / "b.jsonl").exists()
    done = run("convert", path, tmp_path / "b.jsonl", "--to", "openai", "--skip-bad")
    assert "2 items" in done.stdout and "1 left out" in done.stdout and "a.json item 2" in done.stderr
    told = {"messages": [{"role": "user", "content": "an <image> tag"}]}
    (tmp_path / "o.jsonl").write_text(json.dumps(told) + '\n{"messages": 1}\n')
    done = run("convert", tmp_path / "o.jsonl", tmp_path / "c.json", "--to", "llava", "--skip-bad")
    assert "0 items" in done.stdout and "2 left out" in done.stdout and "its text has <image>" in done.stderr
    with pytest.raises(Refusal, match="of that name"):
        run("convert", path, tmp_path / "b.jsonl", "--to", "klingon")
    with pytest.raises(Refusal, match="is not in media"):
        (tmp_path / "media").mkdir()
        path.write_text(json.dumps([{**RECORDS[0], "image": "/etc/passwd"}]))
        run("convert", path, tmp_path / "b.jsonl", "--to", "openai", "--media", tmp_path / "media")


def test_show_is_a_table_of_plain_text(run, path):
    shown = run("show", path).stdout
    assert "a.json · llava" in shown and "image a.jpg" in shown
    assert "user: ‹image› What?" in " ".join(shown.split()) and "A [red] dog." in shown  # no markup
    assert "\x1b" not in shown and "\x07" not in shown and "x" * 161 not in shown
    assert "hi" not in run("show", path, "-n", "1").stdout


def test_show_tells_what_is_where_and_when(run, tmp_path):
    goal = {"video_uid": "v", "start_time": 0.0, "end_time": 9.5, "goal_description": "rest", "segments": []}
    (tmp_path / "g.json").write_text(json.dumps({"videos": [goal]}))
    assert "0.0 s – 9.5 s  goal: rest" in run("show", tmp_path / "g.json").stdout
    coco = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 10, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (tmp_path / "c.json").write_text(json.dumps(coco))
    assert "[0.100 0.200 0.400 0.600]  dog" in run("show", tmp_path / "c.json").stdout
    with pytest.raises(Refusal, match="no format known here; name one: serval"):
        (tmp_path / "x.json").write_text('{"a": 1}')
        run("show", tmp_path / "x.json")


@pytest.mark.parametrize("words", [("convert",), ("show",)])
def test_help_has_examples(run, words):
    out = run(*words, "--help").stdout
    assert "xample" in out and f"serval data {words[0]} " in out
