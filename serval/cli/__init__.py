"""The `serval` command. Each command is one file of this room; what it does is a call into the library."""

from __future__ import annotations

import logging
import sys

import typer

from serval.cli.arena import arena
from serval.cli.ask import ask
from serval.cli.chat import chat
from serval.cli.data import app as data
from serval.cli.export import export
from serval.cli.feedback import feedback
from serval.cli.instructions import app as instructions
from serval.cli.keys import app as keys
from serval.cli.replay import replay
from serval.cli.serve import serve
from serval.cli.speak import speak
from serval.cli.systems import systems
from serval.cli.teach import teach
from serval.cli.timeline import timeline
from serval.cli.train import train
from serval.cli.watch import watch
from serval.cli.weights import app as weights
from serval.cli.why import why
from serval.refusal import Refusal

app = typer.Typer(
    name="serval",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="A proactive watcher: silent while nothing matters, speaking with evidence when something does.",
)
app.command("watch")(watch)
app.command("ask")(ask)
app.command("why")(why)
app.command("chat")(chat)
app.command("teach")(teach)
app.command("feedback")(feedback)
app.command("timeline")(timeline)
app.command("replay")(replay)
app.command("export")(export)
app.command("serve")(serve)
app.command("speak")(speak)
app.command("train")(train)
app.command("systems")(systems)
app.command("arena")(arena)
app.add_typer(instructions, name="instructions")
app.add_typer(keys, name="keys")
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")


def main() -> None:
    """Entry point: a `Refusal` is one line on standard error and exit code 2; an interrupt is exit code 130."""
    logging.basicConfig(level=logging.WARNING, format="serval: %(message)s", stream=sys.stderr)
    try:
        code = app(prog_name="serval", standalone_mode=False)
    except typer.TyperException as error:  # a command or option that does not exist, or a value it does not take
        if type(error).__name__ != "NoArgsIsHelpError":  # that one has shown the help already
            asked = getattr(getattr(error, "ctx", None), "command_path", "serval")
            what = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
            sys.stderr.write(f"serval: {what}; see: {asked} --help\n")
        raise SystemExit(error.exit_code) from None
    except typer.Abort:
        raise SystemExit(130) from None
    except Refusal as refusal:
        sys.stderr.write(f"serval: {refusal}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of a pipe went away: not our fault and not worth a word
        sys.stderr.close()
        raise SystemExit(0) from None
    raise SystemExit(code if isinstance(code, int) else 0)
