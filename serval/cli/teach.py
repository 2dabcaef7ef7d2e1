"""`serval teach`: things of one's own, known again by a few pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def teach(
    name: Annotated[str | None, typer.Argument(help='What you call it: "my mug".')] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="PICTURE…", help="Pictures of it; or with --at a video, a part's clip or the folder of a run."),
    ] = None,
    at: Annotated[str | None, typer.Option(help="Moment of the video or run: 12.5 or 1:02:03.5.")] = None,
    box: Annotated[str | None, typer.Option(help="Where it is: left,top,right,bottom as fractions, 0.2,0.3,0.5,0.8.")] = None,
    source: Annotated[str | None, typer.Option(help="Source of the run, where it watched several.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List what was taught.")] = False,
    forget: Annotated[str | None, typer.Option(metavar="NAME", help="Forget all about a thing.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the last lesson.")] = False,
    memory: Annotated[Path | None, typer.Option(help="Folder to keep it in. [~/.local/share/serval]")] = None,
    most_objects: Annotated[int, typer.Option(help="Refuse to know more things than this.")] = 100,
    most_pictures: Annotated[int, typer.Option(help="Refuse more pictures of one thing than this.")] = 50,
) -> None:
    """Teach a thing of yours by a few pictures. Watches then call it by its name, and may be asked for it.

    Examples:

        serval teach "my mug" mug1.jpg mug2.jpg mug3.jpg

        serval teach "my mug" clip.mp4 --at 12.5 --box 0.2,0.3,0.5,0.8

        serval teach "my mug" runs/desk --at 1:02 --box 0.2,0.3,0.5,0.8

        serval teach --list

        serval watch camera:0 --tell "tell me when somebody takes my mug"
    """
    from serval.assistant.teaching import store
    from serval.assistant.teaching.person import person_folder
    from serval.assistant.teaching.recall import Recall
    from serval.assistant.timeline.plain import one_line
    from serval.refusal import Refusal

    folder = memory or person_folder()
    if sum([show, forget is not None, undo, name is not None]) != 1:
        raise Refusal("serval teach", "it does one thing at a time", "give a name and pictures, or --list, --forget or --undo")
    if show:
        lessons = store.load(folder)
        recall = Recall(lessons)
        if not lessons:
            typer.echo(f"Nothing was taught yet in {folder}.", err=True)
        for each, threshold in zip(recall.names, recall.thresholds, strict=True):
            mine = [lesson for lesson in lessons if lesson.name.casefold() == each.casefold()]
            count = sum(len(lesson.regions) for lesson in mine)
            typer.echo(f"{each}: {_pictures(count)} in {_counted(len(mine), 'lesson')}, known from {threshold:.2f} on")
    elif forget is not None:
        typer.echo(f"Forgotten: {one_line(forget)} ({_pictures(store.forget(folder, forget))}).")
    elif undo:
        what, count = store.undo(folder)
        typer.echo(f"Taken back: {_pictures(count)} of {what}.")
    elif name is not None:
        _teach(folder, name, pictures or [], at, box, source, store.Caps(most_objects, most_pictures))


def _teach(
    folder: Path, name: str, pictures: list[str], at: str | None, box: str | None, source: str | None, caps: object
) -> None:
    from serval.assistant.teaching import store
    from serval.assistant.teaching.lesson import make_lesson
    from serval.assistant.teaching.names import checked
    from serval.assistant.teaching.showing import check_box, eyes_for_teaching, given_box, moment, picture, see
    from serval.assistant.timeline.plain import clock, seconds
    from serval.media.local_file import printable
    from serval.refusal import Refusal

    assert isinstance(caps, store.Caps)
    name = checked(name)
    if not pictures:
        raise Refusal(f"“{name}”", "no picture of it is given", f'show some: serval teach "{name}" photo.jpg')
    if len(pictures) > caps.pictures:
        raise Refusal(f"“{name}”", f"{len(pictures)} pictures are given, and {caps.pictures} are the limit", "give fewer")
    if len(pictures) > 1 and (at is not None or box is not None):
        raise Refusal("--at and --box", f"they are of one picture, and {len(pictures)} are given", "teach them one by one")
    where = None if box is None else given_box(box)
    store.load(folder)  # a damaged memory is told before any work
    eyes, regions, shown = eyes_for_teaching(), [], []
    others: list[Any] = []  # arrays: numpy is slow to import here
    for each in pictures:
        rgb = picture(Path(each)) if at is None else moment(each, seconds(at), source)
        label = printable(Path(each).name) if at is None else f"{printable(Path(each).name)} at {clock(seconds(at))}"
        if where is not None:
            check_box(where, rgb, label)
        seen = see(rgb, eyes, where)
        regions.append(seen.region)
        others += seen.others
        shown.append(label)
        typer.echo(f"{label}: {seen.how}, {','.join(f'{edge:.2f}' for edge in seen.box)}")
    store.teach(folder, make_lesson(name, regions, others, shown), caps)
    typer.echo(f"Learnt: {name}, by {_pictures(len(regions))}. Kept in {folder}.")


def _pictures(count: int) -> str:
    return _counted(count, "picture")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
