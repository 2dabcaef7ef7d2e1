"""Writes the table of constants in docs/how-it-decides.md out of the code: each number with the comment beside it.

python scripts/constants.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-it-decides.md"
BEGIN, END = "<!-- constants -->", "<!-- /constants -->"
FILES = (
    "assistant/perception/perception.py",
    "assistant/perception/pixel_gate.py",
    "assistant/perception/scenes.py",
    "assistant/perception/tracker.py",
    "assistant/perception/objects.py",
    "assistant/perception/texts.py",
    "assistant/policy.py",
    "assistant/answers/gather.py",
)
_CONSTANT = re.compile(r"^( {4})?_?(\w+)(?:: float)? = (-?\d[\d._]*)(?:  # (.*))?$", re.MULTILINE)


def table() -> str:
    """One row for each number that decides something, file by file."""
    rows = ["| file | constant | value | |", "|---|---|---|---|"]
    for name in FILES:
        shown = f"`{name.removeprefix('assistant/')}`"
        for _, constant, value, comment in _CONSTANT.findall((ROOT / "serval" / name).read_text("utf-8")):
            if not constant.startswith("self"):
                rows.append(f"| {shown} | {constant} | {value} | {comment.replace('|', '/')} |")
                shown = ""
    return "\n".join(rows)


def main() -> None:
    """Put the table between its marks."""
    page = PAGE.read_text("utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", "utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
