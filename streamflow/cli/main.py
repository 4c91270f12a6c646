"""`streamflow COMMAND ...`: finds the commands, and turns errors into one sentence on stderr and an exit code.

0 done; 1 the pipeline failed; 2 usage or an invalid pipeline, nothing was started; 130 interrupted.
Anyone adds a command by registering a click command in the entry-point group `streamflow.commands`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import traceback
from typing import Any

import click

from streamflow.errors import StreamflowError

# Each is a module `streamflow.cli.<name>` with a click command `command`; imported only when it is called.
OWN_COMMANDS = {
    "run": "run_pipeline",
    "check": "check",
    "graph": "graph",
    "list": "list_found",
    "node": "node",
    "doctor": "doctor",
    "new": "new",
}
ENTRY_POINT_GROUP = "streamflow.commands"


class Commands(click.Group):
    """The group of all commands, loaded one by one."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*OWN_COMMANDS, *sorted(entry.name for entry in _foreign())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in OWN_COMMANDS:
            command: click.Command = importlib.import_module(f"streamflow.cli.{OWN_COMMANDS[name]}").command
            return command
        for entry in _foreign():
            if entry.name == name:
                loaded: click.Command = entry.load()
                return loaded
        return None


def _foreign() -> list[importlib.metadata.EntryPoint]:
    return [e for e in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP) if e.name not in OWN_COMMANDS]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show tracebacks of errors that are not your nodes'.")
@click.version_option(importlib.metadata.version("streamflow"), prog_name="streamflow")
def cli(debug: bool) -> None:
    """Sensor signals at different rates into inference results on time."""


def main(arguments: list[str] | None = None) -> None:
    """The entry point: always ends by SystemExit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = cli.main(arguments, prog_name="streamflow", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except StreamflowError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        for sentence in str(error).splitlines():
            click.echo(f"streamflow: {sentence}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
