"""`serval instructions`: standing instructions in a file, and how Serval understands each."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from serval.assistant.instructions.instruction import Instruction, Understanding
    from serval.encoders.minilm import MiniLM

app = typer.Typer(no_args_is_help=True, help="Standing instructions: add one in plain words, list, show, remove, acknowledge.")

File = Annotated[Path, typer.Option("--file", "-f", help="YAML file of instructions.")]
DEFAULT = Path("instructions.yaml")


@app.command("add")
def add(
    text: Annotated[str, typer.Argument(help="What to watch for, in plain words.")],
    file: File = DEFAULT,
    name: Annotated[str | None, typer.Option("--id", help="Its id; made from the words otherwise.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only sources of this name, * for any part. Repeatable.")] = None,
    priority: Annotated[int, typer.Option(min=-10, max=10, help="Higher is answered first.")] = 0,
    cooldown: Annotated[float, typer.Option(min=0, help="Seconds of silence after it spoke.")] = 0.0,
    expires: Annotated[str | None, typer.Option(help="2027-01-31 18:00, 18:00, 30 min, 8 h or 3 d.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Days and hours it is awake: mon-fri 08:00-18:00.")] = None,
    rearm: Annotated[
        Literal["always", "once", "acknowledged"], typer.Option(help="After it spoke: go on, stop, or wait for acknowledge.")
    ] = "always",
    schema: Annotated[Path | None, typer.Option(help="JSON Schema file that its events' data must satisfy.")] = None,
    gate: Annotated[str | None, typer.Option(help="Detect it with this gate instead.")] = None,
) -> None:
    """Add an instruction, and read back how it is understood.

    Examples:

        serval instructions add "tell me when someone puts something on the table"

        serval instructions add "say when a car comes in" --source "yard*" --cooldown 30 --schedule "mon-fri 08:00-18:00"
    """
    from datetime import datetime

    from serval.assistant.instructions import store
    from serval.assistant.instructions.instruction import Target
    from serval.assistant.instructions.schedule import parse_expiry, parse_schedule
    from serval.assistant.timeline.plain import one_line
    from serval.refusal import Refusal

    fields: dict[str, Any] = {
        "priority": priority,
        "cooldown": cooldown,
        "rearm": rearm,
        "id": name,
        "sources": tuple(source or ["*"]),
    }
    if expires is not None:
        fields["expires"] = parse_expiry(expires, datetime.now().astimezone())
    if schedule is not None:
        fields["schedule"] = parse_schedule(schedule)
    if schema is not None:
        fields["schema"] = _read_schema(schema)
    understanding = _understand(text)
    if gate is not None:
        fields["gate"] = _gate(gate, understanding)
    if understanding.target is Target.NOTHING and gate is None:
        raise Refusal(f"“{one_line(text[:80])}”", understanding.cannot.rstrip("."), "nothing was added")
    added = store.add(file, text, **fields)
    typer.echo(f"Added “{added.id}” to {file}.\n{understanding.read_back}")


@app.command("list")
def list_instructions(file: File = DEFAULT) -> None:
    """Show every instruction of a file in a line.

    Example: serval instructions list --file door.yaml
    """
    from serval.assistant.instructions import store
    from serval.assistant.timeline.plain import one_line

    held = store.load(file)
    if not held:
        typer.echo(f'No instructions in {file}. Add one: serval instructions add "tell me when a person comes in"', err=True)
        return
    width = max(len(each.id) for each in held)
    for each in held:
        typer.echo("  ".join(part for part in (f"{each.id:<{width}}", one_line(each.text), "; ".join(_terms(each))) if part))


@app.command("show")
def show(name: Annotated[str, typer.Argument(metavar="ID")], file: File = DEFAULT) -> None:
    """Show one instruction: its words, how it is understood, how it is detected, and when it may speak.

    Example: serval instructions show person-comes-in
    """
    import json

    from serval.assistant.instructions import store
    from serval.assistant.timeline.plain import one_line
    from serval.refusal import Refusal

    found = next((each for each in store.load(file) if each.id == name), None)
    if found is None:
        raise Refusal(f"instruction “{one_line(name[:80])}”", f"there is none in {file}", "see `serval instructions list`")
    understanding = _understand(found.text)
    typer.echo(f"{found.id}: {one_line(found.text)}\n{understanding.read_back}")
    for term in [*_how(found, understanding), *_terms(found)]:
        typer.echo(f"- {term}")
    if found.created:
        typer.echo(f"- added {found.created:%Y-%m-%d %H:%M}")
    if when := store.acknowledged(file).get(found.id):
        typer.echo(f"- acknowledged {when:%Y-%m-%d %H:%M}")
    if found.schema_:
        typer.echo(json.dumps(found.schema_, indent=2))


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(metavar="ID")], file: File = DEFAULT) -> None:
    """Take an instruction out of the file.

    Example: serval instructions remove person-comes-in
    """
    from serval.assistant.instructions import store
    from serval.assistant.timeline.plain import one_line

    gone = store.remove(file, name)
    typer.echo(f"Removed “{gone.id}”: {one_line(gone.text)}")


@app.command("acknowledge")
def acknowledge(name: Annotated[str, typer.Argument(metavar="ID")], file: File = DEFAULT) -> None:
    """Say that you have seen what an instruction told; one that waits for that may speak again.

    Example: serval instructions acknowledge person-comes-in
    """
    from serval.assistant.instructions import store

    seen = store.acknowledge(file, name)
    typer.echo(f"Acknowledged “{seen.id}”.")


def _understand(text: str) -> Understanding:
    """As on a machine with every part: the file may be written on another than the one that watches."""
    from serval.assistant.instructions.understand import understand
    from serval.refusal import Refusal
    from serval.weights import PartMissing

    if not 1 <= len(text.strip()) <= 500:
        raise Refusal("the instruction", "it has no words or more than 500 characters", "say it in one sentence")

    @cache
    def model() -> MiniLM:  # opened only when a noun is not in the table
        from serval.encoders.minilm import MiniLM

        return MiniLM.open()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return model().embed(texts)

    try:
        return understand(text, embed=embed)
    except PartMissing:
        return understand(text)


def _gate(name: str, understanding: Understanding) -> str:
    """The name, if such a gate can be built for what was understood."""
    from serval.assistant.gates import build
    from serval.assistant.instructions.instruction import Target
    from serval.refusal import Refusal

    if name != "likeness":
        build(name, understanding)
    elif understanding.target is not Target.LIKENESS:
        raise Refusal("gate likeness", "these words ask for nothing that is seen by likeness", "leave --gate out")
    return name


def _read_schema(path: Path) -> dict[str, Any]:
    import json

    from serval.assistant.instructions.schema import MAX_BYTES
    from serval.refusal import Refusal

    try:
        if path.stat().st_size > 4 * MAX_BYTES:
            raise Refusal(str(path), f"a schema has at most {MAX_BYTES} bytes", "make it smaller")
        schema = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Refusal(str(path), f"cannot be read ({error.strerror})", "name a file of JSON") from None
    except (ValueError, RecursionError):
        raise Refusal(str(path), "it is not JSON", "name a file of JSON") from None
    if not isinstance(schema, dict):
        raise Refusal(str(path), "it is no JSON Schema of an object", 'begin with {"type": "object"')
    return schema


def _how(instruction: Instruction, understanding: Understanding) -> list[str]:
    """How it is detected, for who wants to know exactly."""
    gate = instruction.gate or understanding.gate
    counted = f"count {understanding.count_op} {understanding.count}" if understanding.count_op else ""
    parts = [
        f"gate: {gate}" if gate != "nothing" else "",
        f"changes: {', '.join(understanding.kinds)}" if understanding.kinds else "",
        f"classes: {', '.join(understanding.labels)}" if understanding.labels else "",
        counted,
        f"resting on: {understanding.on}" if understanding.on else "",
        f"side: {understanding.side}" if understanding.side else "",
        f"text: {understanding.text}" if understanding.text else "",
    ]
    return [part for part in parts if part]


def _terms(instruction: Instruction) -> list[str]:
    """When and where it may speak, where that differs from always and everywhere."""
    from serval.assistant.instructions.schedule import describe
    from serval.assistant.timeline.plain import one_line

    rearmed = {"always": "", "once": "speaks once", "acknowledged": "waits to be acknowledged after it spoke"}
    parts = [
        "switched off" if not instruction.enabled else "",
        f"sources {one_line(', '.join(instruction.sources))}" if instruction.sources != ("*",) else "",
        f"priority {instruction.priority}" if instruction.priority else "",
        f"silent for {instruction.cooldown:g} s after it spoke" if instruction.cooldown else "",
        f"awake {describe(instruction.schedule)}" if instruction.schedule else "",
        f"until {instruction.expires:%Y-%m-%d %H:%M}" if instruction.expires else "",
        rearmed[instruction.rearm],
        "with a schema" if instruction.schema_ else "",
    ]
    return [part for part in parts if part]
