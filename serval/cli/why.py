"""`serval why`: what the gates saw at a moment, and why Serval spoke or did not."""

from __future__ import annotations

from typing import Annotated

import typer


def why(
    run: Annotated[str, typer.Argument(help="Folder of the run, or postgresql://…?run=NAME.")],
    time: Annotated[str, typer.Argument(help="Moment on the run's clock: 12.5 or 1:02:03.5.")],
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    instruction: Annotated[str | None, typer.Option(help="Only the instruction of this id.")] = None,
) -> None:
    """Explain a moment: the score of each gate, what it needed, what the policy did, and the nearest words.

    Examples:

        serval why runs/door 12.5

        serval why runs/door 1:02:03 --source front --instruction taxi
    """
    from rich.console import Console

    from serval.assistant.timeline.plain import seconds
    from serval.assistant.timeline.timeline import Timeline
    from serval.assistant.timeline.why import why as explain

    with Timeline.open(run, write=False) as timeline:
        explanation = explain(timeline, seconds(time), source, instruction)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a pipe has no width of its own
    console.print(explanation)
