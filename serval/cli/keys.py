"""`serval keys`: who may use a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keys of the service: add, list, remove.")

Folder = Annotated[Path | None, typer.Option(help="The service's folder. [~/.local/share/serval/serve]")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="watch, ask, instruct or admin; repeatable. [watch, ask, instruct]")
    ] = None,
    folder: Folder = None,
) -> None:
    """Make a key and show it, once: only its hash is kept.

    Examples:

        serval keys add anna

        serval keys add screen-in-the-hall --scope watch
    """
    from serval.serving.keys import Keys, scopes
    from serval.serving.options import ServeOptions, home

    wanted = scopes(scope or ["watch", "ask", "instruct"])
    options = ServeOptions(folder=folder or home())
    options.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    typer.echo(Keys(options.keys).add(name, wanted))


@app.command("list")
def listed(folder: Folder = None) -> None:
    """Show who has keys, and what for.

    Example: serval keys list
    """
    from serval.serving.keys import Keys
    from serval.serving.options import ServeOptions, home

    held = Keys(ServeOptions(folder=folder or home()).keys).held()
    if not held:
        typer.echo("No keys: the service can be used from this machine alone. Make one: serval keys add NAME", err=True)
    for each in held:
        typer.echo(f"{each.name:<24}  {each.created:%Y-%m-%d %H:%M}  {', '.join(each.scopes)}")


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="Whose it was.")], folder: Folder = None) -> None:
    """Take a key back; it is out at once, in a service that is running, too.

    Example: serval keys remove anna
    """
    from serval.serving.keys import Keys
    from serval.serving.options import ServeOptions, home

    Keys(ServeOptions(folder=folder or home()).keys).remove(name)
    typer.echo(f"Removed the key of “{name}”.")
