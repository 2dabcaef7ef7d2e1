"""`serval replay`: a run decided again, and the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    gate: Annotated[str | None, typer.Option(help="Gate in place of the run's own, e.g. poll:5 or novelty.")] = None,
    answerer: Annotated[
        str | None, typer.Option(help="Answerer in place of the run's own: template, smollm2 or a URL.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the new timeline.")] = None,
) -> None:
    """Decide again from what was recorded and print the difference of the two timelines.

    With the same parts the run is reproduced exactly.

    Examples:

        serval replay runs/bikes

        serval replay runs/bikes --gate poll:1

        serval replay runs/bikes --answerer smollm2 --to runs/bikes-smollm2
    """
    from rich.console import Console

    from serval.assistant.replay import replay as decide_again
    from serval.systems import offer_gates

    offer_gates()
    console = Console()
    with console.status("Replaying …") as status:
        difference = decide_again(
            run, gate=gate, answerer=answerer, to=to, progress=lambda time: status.update(f"Replaying … {time:.1f} s")
        )
    if not console.is_terminal:
        console = Console(width=140)
    console.print(difference)
