"""Every test that docs/security.md names is there: a table of promises is worth what stands behind it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "security.md"
_ROW = re.compile(r"^\|(?P<danger>[^|]+)\|(?P<does>[^|]+)\|(?P<shown>[^|]+)\|$", re.MULTILINE)
_NAMED = re.compile(r"`([^`]*(?:test_\w+|\.py)[^`]*)`")


def rows(text: str) -> list[tuple[str, list[str]]]:
    """What each row of the table is about, and the tests that it names, each as ``path/of/test_file.py[::test_name]``."""
    found = [(row["danger"].strip(), row["shown"]) for row in _ROW.finditer(text)]
    return [(danger, list(named(shown))) for danger, shown in found if danger != "danger" and not set(danger) <= set("- :")]


def named(shown: str) -> Iterator[str]:
    folder = file = ""
    for name in _NAMED.findall(shown):
        path, _, test = name.partition("::")
        if path:
            head, _, last = path.rpartition("/")
            folder, file = head or folder, last
        yield f"{folder}/{file}" + (f"::{test}" if test else "")


@cache
def written(path: Path) -> frozenset[str]:
    """Names of the tests of a file, which is read and not run."""
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        each.name
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test")
    )


def missing(text: str) -> list[str]:
    """What a page names and nobody wrote."""
    found = []
    for danger, tests in rows(text):
        if not tests:
            found.append(f"{danger}: no test")
        for each in tests:
            path, _, test = each.partition("::")
            file = ROOT / path
            if not file.is_file() or not written(file) or (test and test not in written(file)):
                found.append(f"{danger}: {each}")
    return found


def test_every_test_that_the_page_names_is_there() -> None:
    text = PAGE.read_text("utf-8")
    assert len(rows(text)) == len(re.findall(r"^\|", text, re.MULTILINE)) - 2 > 30, "all but the head and its line"
    assert missing(text) == []


def test_a_name_that_is_not_there_is_found_out() -> None:
    row = "| danger | does | shown by |\n| --- | --- | --- |\n| {} | x | {} |\n"
    good = "`tests/media/test_sniff.py::test_any_bytes_are_a_known_container_or_refused`, `test_apart.py`"
    assert missing(row.format("a", good)) == []
    for bad in (
        "nothing",
        "`tests/media/test_none.py`",
        "`tests/media/test_sniff.py::test_none`",
        "`tests/media/test_apart.py`, `::test_no`",
    ):
        assert len(missing(row.format("a", bad))) == 1, bad
