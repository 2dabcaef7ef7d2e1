"""`serval ask`: questions about the past of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ask(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    question: Annotated[str, typer.Argument(help="In plain words.")],
    json: Annotated[bool, typer.Option("--json", help="Answer and evidence as JSON.")] = False,
) -> None:
    """Answer about the past of a run, with times and evidence, or say that Serval does not know.

    Examples:

        serval ask runs/bikes "what was next to the taxi?"

        serval ask runs/door "how many people came in after 1:30?"
    """
    import json as encoder

    from serval.assistant.ask.asking import ask_run

    reply = ask_run(run, question)
    if json:
        content = {
            "text": reply.text,
            "known": reply.known,
            "evidence": [each.model_dump(mode="json") for each in reply.evidence],
        }
        typer.echo(encoder.dumps(content, ensure_ascii=False))
        return
    typer.echo(reply.text)
    for each in reply.evidence:
        box = " ".join(f"{edge:.2f}" for edge in each.box) if each.box else "whole picture"
        what = f"“{each.text}”" if each.text else each.label
        typer.echo(f"  {each.time:7.2f} s  {what}  {each.score:.2f}  at {box}  frame {each.frame[:12]}")
