"""Recipes: found by name or path, told their options in types, and run by `serval train`."""

import json
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file

from serval.adapters.peft_format import causal_lm_names, load_adapters
from serval.cli import main
from serval.conversation.sequence import IGNORED
from serval.conversation.template import ChatTemplate
from serval.conversation.tokenizer import Tokenizer
from serval.language.load import load_decoder
from serval.refusal import Refusal
from serval.training.options import options_from, typed
from serval.training.recipes import find_recipe, named
from serval.training.recipes.smollm2_lora import ABOUT_SERVALS, collate, read
from serval.weights import locate

TOY = str(Path(__file__).with_name("toy_recipe.py"))


def some_recipe(
    data: Path, rank: int = 8, rate: float = 1e-3, kind: Literal["a", "b"] = "a", limit: int | None = 3, on: bool = False
):
    """For its parameters."""


def test_options_come_in_the_types_of_the_function():
    given = options_from(["data=a=b.jsonl", "rank=16", "rate=2e-4", "kind=b", "limit=none", "on=true"])
    assert typed(some_recipe, given) == {
        "data": Path("a=b.jsonl"), "rank": 16, "rate": 2e-4, "kind": "b", "limit": None, "on": True,
    }  # fmt: skip
    assert typed(some_recipe, {"data": "x", "limit": "7"}) == {"data": Path("x"), "limit": 7}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=x", "rnk=8"], r"there is no option rnk; there are: data: Path, rank: int = 8, .*limit: int | None = 3"),
        (["data=x", "rank=many"], r"rank=many: input should be a valid integer.*; it is rank: int = 8"),
        (["data=x", "kind=c"], r"kind=c: input should be 'a' or 'b'"),
        (["rank=8"], r"the recipe: it needs data; write data=…"),
        (["data"], r"data: it is no option; write key=value"),
        (["data=x", "data=y"], r"data=y: it is given twice"),
    ],
)
def test_options_that_are_wrong_are_explained(words, said):
    with pytest.raises(Refusal, match=said):
        typed(some_recipe, options_from(words))


def test_recipes_are_found_by_name_and_by_path(tmp_path):
    assert named()["smollm2-lora"] == "serval.training.recipes.smollm2_lora"
    assert find_recipe("smollm2_lora") is find_recipe("smollm2-lora")
    assert [stage.name for stage in find_recipe(TOY)().stages] == ["first", "second"]
    (tmp_path / "empty.py").write_text("x = 1\n")
    for where, said in (
        ("smollm-lora", "there is no recipe smollm-lora; did you mean smollm2-lora?"),
        (str(tmp_path / "none.py"), "there is no such file"),
        (str(tmp_path / "empty.py"), r"it does not define recipe\(…\)"),
    ):
        with pytest.raises(Refusal, match=said):
            find_recipe(where)


@pytest.fixture
def serval(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder: its exit code, and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["serval", "train", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    return run


def test_help_explains_itself(serval):
    code, said = serval("--help")
    assert code == 0 and "serval train smollm2-lora --dry-run" in said and "--resume" in said


def test_a_dry_run_shows_the_stages_and_writes_nothing(serval, tmp_path):
    code, said = serval(TOY, "steps=3", "--dry-run")
    assert code == 0 and "first" in said and "3 steps of 4 × 2" in said and "head.*" in said
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_runs_and_goes_on_with_its_own_options(serval, tmp_path):
    code, said = serval(TOY, "steps=3", "--out", "run", "--device", "cpu", "--save-every", "2")
    assert code == 0 and "Training in run; losses are in run/log.jsonl" in said and "Done: run" in said
    assert json.loads((tmp_path / "run/run.json").read_text()) == {"recipe": TOY, "options": {"steps": "3"}}
    before = (tmp_path / "run/weights.safetensors").read_bytes()
    assert serval(TOY, "--out", "run", "--resume", "--device", "cpu")[0] == 0  # steps=3 is remembered
    assert (tmp_path / "run/weights.safetensors").read_bytes() == before
    for words, told in (
        (["--out", "run"], "run: it holds a run; go on with --resume, or give another folder"),
        (["steps=4", "--out", "run", "--resume"], "the run in run: steps was 3 and is 4"),
        (["seed=1", "--out", "run", "--resume"], "seed was not given and is 1"),
        (["--resume"], "--resume: it does not say which run"),
        (["--out", "other", "--resume"], "other: there is no run in it"),
        (["stesp=4"], "there is no option stesp"),
    ):
        code, said = serval(TOY, *words)
        assert code == 2 and told in said, said
    assert serval("smollm2-lora", "--out", "run", "--resume")[1].startswith(f"serval: the run in run: it is of {TOY}")
    assert json.loads((tmp_path / "run/run.json").read_text())["options"] == {"steps": "3"}


def test_a_run_without_a_folder_gets_one(serval, tmp_path):
    code, said = serval(TOY, "steps=1", "--device", "cpu")
    (folder,) = (tmp_path / "runs").iterdir()
    assert code == 0 and folder.name.startswith("toy_recipe-") and str(folder.name) in said


# SmolLM2


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return locate("smollm2", "model.safetensors").parent


@pytest.fixture(scope="module")
def reading(smollm2):
    """`read` with SmolLM2's tokenizer and template."""
    tokenizer, template = Tokenizer(smollm2 / "tokenizer.json"), ChatTemplate.from_folder(smollm2)
    yield lambda path, length: read(path, tokenizer, template, length)
    template.close()


def line(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": words} for role, words in turns]})


def test_what_the_assistant_says_is_learnt_and_that_it_ends(tmp_path, smollm2, reading):
    path = tmp_path / "two.jsonl"
    short = line(("user", "Hi"), ("assistant", "Good day."))
    path.write_text(line(("system", "Be brief."), ("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", "2"))
                    + "\n\n" + short + "\n")  # fmt: skip
    items, tokenizer = reading(path, 100), Tokenizer(smollm2 / "tokenizer.json")
    end = tokenizer.special("<|im_end|>")
    batch = collate(items)
    learnt = [row[row != IGNORED].tolist() for row in batch["labels"]]
    assert [[tokenizer.decode(some) for some in _cut(row, end)] for row in learnt] == [["1", "2"], ["Good day."]]
    assert [row[-1] for row in learnt] == [end, end]
    ids, labels = batch["ids"], batch["labels"]
    assert torch.equal(labels[:, :-1][labels[:, :-1] != IGNORED], ids[:, 1:][labels[:, :-1] != IGNORED])  # what follows
    assert batch["valid"].sum(1).tolist() == [len(each) for each, _ in items]


def _cut(ids: list[int], end: int) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    for id_ in ids:
        rows[-1].append(id_)
        if id_ == end:
            rows.append([])
    return rows[:-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "there is no conversation in it"),
        (line(("user", "Hi"), ("assistant", "Hm")) + "\n{", "data.jsonl, line 2: it is not an object with messages"),
        (line(("user", "Hi")), "line 1: the assistant says nothing in it"),
        (line(("nobody", "Hi")), "data.jsonl, line 1, message 1: role"),
        (line(("user", "word " * 60), ("assistant", "Hm")), r"line 1: it has \d+ tokens, 50 is the limit"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/y.png"}]}]}',
            "holds pictures",
        ),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path, reading, content, said):
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(Refusal, match=said):
        reading(path, 50)


def test_the_conversations_that_come_along_are_right(reading):
    assert len(reading(ABOUT_SERVALS, 100)) == 24


def test_smollm2_learns_a_sentence_and_its_adapter_is_pefts(serval, tmp_path, smollm2, monkeypatch):
    def shallow(folder: Path, **options):
        """The real one's first two layers: all of it takes seconds a step."""
        decoder = load_decoder(folder, **options)
        decoder.layers = decoder.layers[:2]
        return decoder

    monkeypatch.setattr("serval.training.recipes.smollm2_lora.load_decoder", shallow)
    (tmp_path / "data.jsonl").write_text(line(("user", "Hi"), ("assistant", "Good day.")))
    words = ["data=data.jsonl", "rank=2", "epochs=3", "learning_rate=2e-2", "--out", "run", "--device", "cpu"]
    code, said = serval("smollm2-lora", *words)
    assert code == 0, said
    losses = [json.loads(each)["loss"] for each in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert len(losses) == 3 and losses[2] < losses[0]
    adapters = load_adapters(shallow(smollm2), tmp_path / "run/adapter", names=causal_lm_names)
    learnt = load_file(tmp_path / "run/weights.safetensors")
    assert len(adapters) == 2 * 7 and len(learnt) == 2 * len(adapters)
    assert torch.equal(adapters[0].up, learnt["layers.0.self_attn.q_proj.up"]) and adapters[0].up.any()
