"""`streamflow COMMAND ...`: finds the commands, and turns errors into one sentence on stderr and an exit code.

0 done; 1 the pipeline failed; 2 usage or an invalid pipeline, nothing was started; 3 a deadline was broken
and `run --strict` was asked to say so; 130 interrupted; 141 nobody reads standard output any more, as after `| head`.
Anyone adds a command by registering a click command in the entry-point group `streamflow.commands`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import sys
import traceback
from typing import Any

import click

from streamflow.errors import StreamflowError, UsageError

# Each is a module `streamflow.cli.<name>` with a click command `command`; imported only when it is called.
OWN_COMMANDS = {
    "run": "run_pipeline",
    "check": "check",
    "graph": "graph",
    "list": "list_found",
    "node": "node",
    "status": "status",
    "top": "top",
    "misses": "misses",
    "trace": "trace",
    "profile": "profile",
    "doctor": "doctor",
    "new": "new",
}
ENTRY_POINT_GROUP = "streamflow.commands"


DEBUG = "--debug"


class Commands(click.Group):
    """The group of all commands, loaded one by one."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*OWN_COMMANDS, *sorted(_foreign())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in OWN_COMMANDS:
            command: click.Command = importlib.import_module(f"streamflow.cli.{OWN_COMMANDS[name]}").command
        elif name in (foreign := _foreign()):
            command = _loaded(foreign[name])
        else:
            return None
        if not any(DEBUG in parameter.opts for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(context)
        if args[0] not in known and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], known, 1)
            hint = f"did you mean {close[0]}?" if close else "streamflow --help lists them"
            raise UsageError(args[0], "no such command", hint=hint)
        return super().resolve_command(context, args)


def _debug_option() -> click.Option:
    """Taken before a command and after it alike; `main` looks for it."""
    return click.Option([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of an error.")


def _foreign() -> dict[str, importlib.metadata.EntryPoint]:
    """Commands that other distributions registered; a name of ours stays ours."""
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {entry.name: entry for entry in found if entry.name not in OWN_COMMANDS}


def _loaded(entry: importlib.metadata.EntryPoint) -> click.Command:
    """The command of an entry point; one that cannot be loaded says so when it is called, and hinders no other."""
    try:
        command = entry.load()
    except Exception as error:  # anything may go wrong in a stranger's module
        found = f"cannot be loaded from {entry.value}, {type(error).__name__}: {error}"
    else:
        if isinstance(command, click.Command):
            return command
        found = f"{entry.value} is a {type(command).__name__}"

    def refuse() -> None:
        raise UsageError(f"command {entry.name}", found, "a click command")

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(entry.name, anything, refuse, short_help="(cannot be loaded)")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="PIPELINE is a file such as pipelines/minimal.py or a module such as pipelines.minimal, either with "
    ":function; `streamflow list` shows them. Exit codes: 0 done, 1 the pipeline failed, 2 usage or an invalid "
    "pipeline, 3 a deadline was broken (run --strict), 130 interrupted, 141 nobody reads the output any "
    "more.",
)
@click.version_option(importlib.metadata.version("streamflow"), prog_name="streamflow")
@click.pass_context
def cli(context: click.Context) -> None:
    """Sensor signals at different rates into inference results on time."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.params.append(_debug_option())


def main(arguments: list[str] | None = None) -> None:
    """The entry point: always ends by SystemExit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = cli.main(arguments, prog_name="streamflow", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if DEBUG in arguments:
            traceback.print_exc()
        code = _tell(error)
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: Exception) -> int:
    """Say on stderr, in a sentence for each, what went wrong; the exit code."""
    match error:
        case click.ClickException():
            command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "streamflow"
            sentences, code = [f"{error.format_message().rstrip('.')}; {command} --help shows what there is"], 2
        case StreamflowError():
            sentences, code = str(error).splitlines(), error.exit_code
        case ExceptionGroup(exceptions=inner):
            return max(_tell(one) for one in inner)
        case _:
            found = f"{type(error).__name__}: {error}"
            sentences, code = [f"a fault of streamflow's own, {found}; {DEBUG} shows the traceback"], 1
    for sentence in sentences:
        click.echo(f"streamflow: {sentence}", err=True)
    return code
