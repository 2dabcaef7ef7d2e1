"""Measurements are found by their contract, and what they find is kept whole."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from benchmarks.__main__ import discover, main, measure
from benchmarks.table import Conditions, Result, Table, Target, keep, shown

RESULT = Result(
    tables=(Table("Times", ("what", "ms"), (("a|b", 1.23456), ("[red]c", None)), note="medians"),),
    method="By hand.",
    targets=(Target("fast", 4.0, 5.0, "ms"), Target("more", 4.0, 5.0, "x", at_least=True)),
    data={"samples": [1.0, 2.0]},
)
CONDITIONS = Conditions("python -m benchmarks x", "2026-01-01 10:00 UTC", 12.3, {"cores": 2}, {"serval": "abc"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = tmp_path / "measured"
    folder.mkdir()
    whole = (
        "from benchmarks.table import Result\nNAME = {name!r}\nABOUT = 'About'\n\ndef run(quick):\n    return Result((), 'm')\n"
    )
    (folder / "__init__.py").write_text("")
    (folder / "zebra.py").write_text(whole.format(name="ant"))
    (folder / "bee.py").write_text(whole.format(name="bee"))
    (folder / "timing.py").write_text("def run(quick):\n    raise AssertionError\n")
    (folder / "__main__.py").write_text("raise AssertionError('not to be imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("measured")
    for name in [each for each in sys.modules if each.split(".")[0] == "measured"]:
        del sys.modules[name]


def test_modules_with_the_contract_are_found_by_their_name(package: ModuleType) -> None:
    assert list(discover(package)) == ["ant", "bee"]


def test_two_measurements_of_one_name_are_an_error(package: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "measured" / "cow.py").write_text("NAME = 'bee'\nABOUT = ''\nrun = print\n")
    with pytest.raises(ValueError, match="both called bee"):
        discover(package)


def test_every_measurement_of_the_project_keeps_the_contract() -> None:
    found = discover()
    assert {"pixel_gate", "quiet_cameras", "first_word", "throughput", "memory_day", "start_up"} <= set(found)
    for name, module in found.items():
        assert name.isidentifier()
        assert module.ABOUT
        assert module.__doc__


def test_an_unknown_name_ends_with_2_and_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nonsense"])
    assert ended.value.code == 2
    assert "pixel_gate" in capsys.readouterr().err


def test_what_is_kept_says_what_was_measured_how_and_on_what(tmp_path: Path) -> None:
    page, data = keep("x", "Something measured", RESULT, CONDITIONS, tmp_path / "new")
    text = page.read_text()
    for part in ("# Something measured", "By hand.", "| a\\|b | 1.23 |", "medians", "| fast | 4.00 ms | ≤ 5.00 ms | met |"):
        assert part in text
    for part in ("| more | 4.00 x | ≥ 5.00 x | missed |", "`python -m benchmarks x`", "2026-01-01", "cores 2", "serval abc"):
        assert part in text
    held = json.loads(data.read_text())
    assert held["tables"][0]["rows"] == [["a|b", 1.23456], ["[red]c", None]]
    assert [each["met"] for each in held["targets"]] == [True, False]
    assert held["data"] == {"samples": [1.0, 2.0]}
    assert held["seconds"] == 12.3
    assert sorted(path.name for path in page.parent.iterdir()) == ["x.json", "x.md"]


@pytest.mark.parametrize("quick", [True, False])
def test_only_a_full_run_is_kept(quick: bool, tmp_path: Path) -> None:
    module = ModuleType("some")
    asked: list[bool] = []
    module.__dict__.update(NAME="some", ABOUT="Some", run=lambda quick: asked.append(quick) or RESULT)
    told = StringIO()
    measure(module, quick, tmp_path, Console(file=told, width=100))
    assert asked == [quick]
    assert "[red]c" in told.getvalue()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ([] if quick else ["some.json", "some.md"])


def test_a_row_must_fit_its_columns() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        Table("t", ("a", "b"), ((1,),))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (12345, "12,345"),
        (1234.5, "1,234"),
        (12.34, "12.3"),
        (0.123, "0.12"),
        (0.00123, "0.0012"),
        (0.0, "0.00"),
        (float("nan"), "–"),
        ("as it is", "as it is"),
    ],
)
def test_cells_as_people_read_them(cell: str | float | None, text: str) -> None:
    assert shown(cell) == text
