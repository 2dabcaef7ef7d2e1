"""`serval data`: training data from one format to another, and a look at what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from serval.data.item import Item
    from serval.refusal import Refusal

app = typer.Typer(no_args_is_help=True, help="Training data: change its format, look into it.")
_FORMATS = "serval, llava, sharegpt, openai, ego4d, egoexo4d, goalstep, coin, coco, refcoco"
_From = Annotated[str | None, typer.Option("--from", help=f"Format of the file: {_FORMATS}. Found out if not said.")]
_Media = Annotated[Path | None, typer.Option(help="Folder of its pictures and videos; a path that leads out of it is refused.")]
_Instances = Annotated[Path | None, typer.Option(help="For refcoco: COCO's instances, which have the boxes.")]


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File to read.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write; if its name ends in .jsonl, a record is a line.")
    ],
    to: Annotated[str, typer.Option(help=f"Format to write: {_FORMATS}.")],
    form: _From = None,
    media: _Media = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out records that are refused, and say which.")] = False,
    instances: _Instances = None,
) -> None:
    """Write a data set in another format, record by record. Written back, it is what it was.

    What the other format has no place for goes into a field "serval" of its records, or the record is refused.

    Examples:

        serval data convert llava_v1_5_mix665k.json --from llava mix.jsonl --to openai

        serval data convert goalstep_train.json goalstep.jsonl --to serval

        serval data convert chats.json chats.jsonl --from sharegpt --to llava --media pictures --skip-bad
    """
    from serval.data.dataset import open_dataset, recognise, write_dataset

    skipped: list[Refusal] = []

    def skip(refusal: Refusal) -> None:
        skipped.append(refusal)
        typer.echo(f"serval: {refusal}", err=True)

    told = skip if skip_bad else None
    dataset = open_dataset(form or recognise(source), source, media=media, skip=told, **_options(instances))
    count = write_dataset(to, target, dataset, dataset.header(), skip=told)
    left = f", {len(skipped):,} left out" if skipped else ""
    typer.echo(f"{count:,} items in {target}{left}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="File to look into.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many items to show.")] = 5,
    form: _From = None,
    media: _Media = None,
    instances: _Instances = None,
) -> None:
    """Show the first items of a file: who says what, and what is where and when.

    Examples:

        serval data show mix.jsonl

        serval data show instances_val2017.json --from coco -n 20
    """
    from itertools import islice

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from serval.data.dataset import open_dataset, recognise

    name = form or recognise(file)
    dataset = open_dataset(name, file, media=media, **_options(instances))
    table = Table("item", "media", "what it says", title=Text(f"{_plain(file.name)} · {name}"), show_lines=True)
    for item in islice(dataset, count):
        table.add_row(Text(_plain(str(item.id))), Text(_media_of(item)), Text(_said(item)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a pipe has no width of its own
    console.print(table)


def _options(instances: Path | None) -> dict[str, Any]:
    return {} if instances is None else {"instances": instances}


def _media_of(item: Item) -> str:
    from serval.conversation.messages import media_of

    parts = [*item.media, *(part for part in media_of(item.messages) if part.attached is None)]
    return _lines([f"{part.kind} {_plain(part.path or part.url or 'in the file')}" for part in parts], 4)


def _said(item: Item) -> str:
    messages = [
        f"{'' if not message.parts or message.parts[0].time is None else f'{message.parts[0].time:7.1f} s  '}"
        f"{message.role}: {_plain(_words(message))}"
        for message in item.messages
    ]
    events = [
        f"{event.start:7.1f} s{'' if event.end is None else f' – {event.end:.1f} s'}  {event.kind}: {_plain(event.text)}"
        for event in item.events
    ]
    regions = [
        f"{'' if region.box is None else '[' + ' '.join(f'{each:.3f}' for each in region.box) + ']  '}"
        f"{_plain(' | '.join(filter(None, (region.label, *region.phrases))))}"
        for region in item.regions
    ]
    return "\n".join(filter(None, (_lines(messages, 8), _lines(events, 6), _lines(regions, 6))))


def _words(message: Any) -> str:
    shown = [part.text if part.type == "text" else f"‹{part.kind}›" for part in message.parts]
    return " ".join([*shown, *(f"{call.name}({call.arguments})" for call in message.tool_calls)])


def _lines(lines: list[str], most: int) -> str:
    return "\n".join(lines if len(lines) <= most else [*lines[: most - 1], f"… {len(lines) - most + 1} more"])


def _plain(text: str, most: int = 160) -> str:
    """On one line, without anything that a terminal obeys."""
    clean = "".join(char if char.isprintable() else " " for char in text[: most + 1]).strip()
    return clean if len(text) <= most else f"{clean[:most]}…"
