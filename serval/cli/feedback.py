"""`serval feedback`: thumbs up and down for what was said, which tune what will be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def feedback(
    run: Annotated[str | None, typer.Argument(help="Folder of the run, or postgresql://…?run=NAME.")] = None,
    which: Annotated[str | None, typer.Argument(metavar="[N|TIME]", help="Utterance: its number, or 12.5 or 1:02.")] = None,
    thumb: Annotated[Literal["up", "down"] | None, typer.Argument(help="Was it worth saying?")] = None,
    instruction: Annotated[str | None, typer.Option(help="Id, where several spoke at that time.")] = None,
    show: Annotated[bool, typer.Option("--list", help="What your thumbs come to.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the last thumb.")] = False,
    memory: Annotated[Path | None, typer.Option(help="Folder to keep it in. [~/.local/share/serval]")] = None,
) -> None:
    """Say what was worth saying. The next watch for the same instruction speaks, or keeps silent, accordingly.

    Without a number it lists what was said in a run. A thumb up at a time at which nothing was said is for what was missed.

    Examples:

        serval feedback runs/door

        serval feedback runs/door 3 down

        serval feedback runs/door 1:02 up

        serval feedback --list
    """
    from serval.assistant.teaching import thumbs
    from serval.assistant.teaching.person import person_folder
    from serval.assistant.timeline.plain import clock, one_line
    from serval.assistant.timeline.timeline import Timeline
    from serval.refusal import Refusal

    folder = memory or person_folder()
    if sum([show, undo, run is not None]) != 1:
        raise Refusal("serval feedback", "it does one thing at a time", "give a run, or --list or --undo")
    if show:
        _list(folder)
        return
    if undo:
        gone = thumbs.undo(folder)
        typer.echo(
            f"Taken back: thumb {'up' if gone.up else 'down'} for {f'“{gone.said}”' if gone.said else 'what was missed.'}"
        )
        return
    assert run is not None
    name = run if "://" in run else str(Path(run).resolve())
    with Timeline.open(run, write=False) as timeline:
        if which is None:
            given = {(each.run, each.event): each for each in thumbs.load(folder)}
            for number, event in enumerate(thumbs.spoken(timeline), 1):
                mine = given.get((name, event.id))
                mark = " " if mine is None else "+" if mine.up else "-"
                typer.echo(f"{number:4} {mark} {clock(event.t_end):>8}  {one_line(event.text)}")
            return
        if thumb is None:
            raise Refusal(f"utterance {which}", "up or down is missing", f"write: serval feedback {run} {which} down")
        kept = thumbs.thumb_for(timeline, name, which, thumb == "up", instruction)
    told = f"“{kept.said}”" if kept.said else f"what was missed (“{kept.asked}”)."
    if thumbs.add(folder, kept):
        typer.echo(f"Thumb {thumb} for {told} {_effect(folder, kept)}")
    else:
        typer.echo(f"It has that thumb already: {told}")


def _effect(folder: Path, kept: object) -> str:
    from serval.assistant.teaching.thumbs import Thumb, load, tastes

    assert isinstance(kept, Thumb)
    shift = tastes(load(folder))[kept.asked].shift(kept.words)
    return f"The like of it now scores {min(1.0, max(0.0, kept.score + shift)):.2f}, and {kept.threshold:.2f} is needed."


def _list(folder: Path) -> None:
    from serval.assistant.teaching.thumbs import load, tastes

    given = load(folder)
    if not given:
        typer.echo(f"No thumb was given yet in {folder}.", err=True)
    for asked, taste in tastes(given).items():
        ups = [each.up for each in given if each.asked == asked]
        typer.echo(f"“{asked}”: {sum(ups)} up, {len(ups) - sum(ups)} down; everything {taste.shift(()):+.2f}")
        told = sorted(((value, word) for word, value in taste.weights.items() if word != "always"), key=lambda each: each[0])
        most = [each for each in told if abs(each[0]) >= 0.1]
        for value, word in [*most[:4], *most[4:][-4:]]:
            typer.echo(f"    {value:+.2f}  {word}")
