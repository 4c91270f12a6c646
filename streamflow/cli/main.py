"""`streamflow COMMAND ...`: finds the commands, and turns errors into one sentence on stderr and an exit code.

0 done; 1 the pipeline failed; 2 usage or an invalid pipeline, nothing was started; 3 a deadline was broken
and `run --strict` was asked to say so; 130 interrupted; 141 nobody reads standard output any more, as after `| head`.
Anyone adds a command by registering a click command in the entry-point group `streamflow.commands`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

import click

from streamflow.cli.entry_points import EntryPoint, find_entry_points
from streamflow.errors import StreamflowError, UsageError


class Called(NamedTuple):
    """How this was called: as a program, whose process is its own, or by another; and with what."""

    is_program: bool
    arguments: tuple[str, ...]


class Own(NamedTuple):
    """A command of ours: the module `streamflow.cli.<module>` with a click command `command`, and its line of help.

    The line is here, so that the module is imported only when it is called: all of them take half a second.
    """

    module: str
    line: str


OWN_COMMANDS = {
    "run": Own("run_pipeline", "Run a pipeline, each stage its own process."),
    "record": Own("record", "Run a pipeline and keep what its stages send in an MCAP file."),
    "replay": Own("replay", "Run a pipeline on what was recorded."),
    "check": Own("check", "Find everything wrong with a pipeline."),
    "graph": Own("graph", "Draw a pipeline: text, Mermaid, DOT or SVG."),
    "list": Own("list_found", "List the pipelines and nodes there are."),
    "node": Own("node", "Run one stage by hand, in a run that waits."),
    "status": Own("status", "Say how a run is."),
    "misses": Own("misses", "Tell the last missed deadlines and whose fault they were."),
    "metrics": Own("metrics", "Serve how a run is to Prometheus."),
    "logs": Own("logs", "Tell what happened in a run."),
    "trace": Own("trace", "Write what a run did last as a Perfetto trace."),
    "report": Own("report", "Write a run's report as a page for a browser."),
    "profile": Own("profile", "Measure how long each stage takes, for check."),
    "doctor": Own("doctor", "Say what this machine offers and lacks."),
    "new": Own("new", "Make a project folder of one's own."),
}


DEBUG = "--debug"


class Commands(click.Group):
    """The group of all commands, loaded one by one."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*OWN_COMMANDS, *sorted(_foreign())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in OWN_COMMANDS:
            command: click.Command = importlib.import_module(f"streamflow.cli.{OWN_COMMANDS[name].module}").command
        elif name in (foreign := _foreign()):
            command = _loaded(foreign[name])
        else:
            return None
        if not any(DEBUG in parameter.opts for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, without importing commands of ours."""
        lines = {name: own.line for name, own in OWN_COMMANDS.items()}
        foreign = {name: _loaded(entry) for name, entry in sorted(_foreign().items())}
        limit = formatter.width - 6 - max(map(len, (*lines, *foreign)))
        lines |= {name: one.get_short_help_str(limit) for name, one in foreign.items() if not one.hidden}
        with formatter.section("Commands"):
            formatter.write_dl(list(lines.items()))

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in OWN_COMMANDS and not name.startswith("-") and name not in (known := self.list_commands(context)):
            import difflib  # here alone: it takes as long to import as a tenth of --help may take

            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else "streamflow --help lists them"
            raise UsageError(name, "no such command", hint=hint)
        return super().resolve_command(context, args)


def _debug_option() -> click.Option:
    """Taken before a command and after it alike; `main` looks for it."""
    return click.Option([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of an error.")


def _foreign() -> dict[str, EntryPoint]:
    """Commands that other distributions registered; a name of ours stays ours."""
    return {name: entry for name, entry in find_entry_points().items() if name not in OWN_COMMANDS}


def _loaded(entry: EntryPoint) -> click.Command:
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
@click.version_option(package_name="streamflow", prog_name="streamflow")
@click.pass_context
def cli(context: click.Context) -> None:
    """Sensor signals at different rates into inference results on time."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.params.append(_debug_option())


def main(arguments: list[str] | None = None) -> None:
    """The entry point: always ends by SystemExit. Without arguments it is the program, and the process is its own."""
    is_program, arguments = arguments is None, sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = cli.main(
            arguments, prog_name="streamflow", standalone_mode=False, obj=Called(is_program, tuple(arguments))
        )
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if DEBUG in arguments:
            import traceback

            traceback.print_exc()
        code = _tell(error)
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: Exception) -> int:
    """Say on stderr, in a sentence for each, what went wrong; the exit code."""
    sentences, code = faults(error)
    for sentence in sentences:
        click.echo(f"streamflow: {sentence}", err=True)
    return code


def faults(error: Exception) -> tuple[list[str], int]:
    """What went wrong, a sentence for each, and the exit code."""
    match error:
        case click.ClickException():
            command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "streamflow"
            return [f"{error.format_message().rstrip('.')}; {command} --help shows what there is"], 2
        case StreamflowError():
            return str(error).splitlines(), error.exit_code
        case ExceptionGroup(exceptions=inner):
            found = [faults(one) for one in inner]
            return [sentence for sentences, _ in found for sentence in sentences], max(code for _, code in found)
        case _:
            told = f"{type(error).__name__}: {error}"
            return [f"a fault of streamflow's own, {told}; {DEBUG} shows the traceback"], 1
