"""`streamflow top`: the screen of `status`, again every second in place, until Ctrl-C or until the run is over."""

from __future__ import annotations

import shutil
import sys
import time

import click

from streamflow.cli.output import ending_quietly, run_argument
from streamflow.cli.status import as_text, screen
from streamflow.errors import StreamflowError
from streamflow.runtime.inspection import read_state
from streamflow.runtime.rundir import RunFolder, find_run

PERIOD_S = 1.0
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
CLEAR_ALL, HIDE_CURSOR, SHOW_CURSOR = "\x1b[2J", "\x1b[?25l", "\x1b[?25h"


@click.command
@run_argument
@click.option("--once", is_flag=True, help="Print the screen once, as where standard output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: the same as `status --json`, once.")
def command(run: str | None, once: bool, as_json: bool) -> None:
    """Show how RUN is, again every second, until Ctrl-C or until the run is over.

    RUN is a pipeline's name, or a run's folder; by default the newest run, live ones first.
    """
    folder = find_run(run)
    with ending_quietly():
        if as_json:
            click.echo(as_text(read_state(folder)))
        elif once or not sys.stdout.isatty():
            click.echo(screen(folder.path.name, read_state(folder)))
        else:
            _watch(folder)


def _watch(folder: RunFolder) -> None:
    """In place and without flicker: each line is overwritten, then cleared to its end."""
    sys.stdout.write(CLEAR_ALL + HIDE_CURSOR)
    try:
        while True:
            try:
                state = read_state(folder)
            except StreamflowError:
                if folder.is_live():
                    time.sleep(PERIOD_S)
                    continue
                sys.stdout.write("the run is over\n")
                return
            sys.stdout.write(_framed(screen(folder.path.name, state)))
            sys.stdout.flush()
            if not state.is_live:
                sys.stdout.write("\n")
                return
            time.sleep(PERIOD_S)
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()


def _framed(text: str) -> str:
    """As much of it as the terminal shows."""
    width, height = shutil.get_terminal_size()
    lines = text.splitlines()
    shown = lines if len(lines) < height else [*lines[: height - 2], f"... {len(lines) - height + 2} more lines"]
    return HOME + "\n".join(line[:width] + CLEAR_LINE for line in shown) + CLEAR_BELOW
