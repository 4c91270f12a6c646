"""`streamflow logs`: what happened in a run, a line for each event, also of one that was killed or goes on."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

import click

from streamflow.cli.log_lines import Form, line
from streamflow.cli.options import run_argument
from streamflow.cli.output import ending_quietly, liveness
from streamflow.core.happenings import LEVELS, Level, tell
from streamflow.core.timebase import nanoseconds
from streamflow.runtime.clock import now_ns
from streamflow.runtime.inspection import LoggedEvents, followed_events
from streamflow.runtime.rundir import RunFolder, find_run

PAUSE_S = 0.1


@click.command
@run_argument
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until the run is over.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="error: somebody must act; warning: what broke and came back; info: how the run lives; debug: every miss.",
)
@click.option(
    "--since",
    "since_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Only the last so many seconds: until now, or until the end of one that was killed.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts: a line of JSON for each, as `run --log-json`.")
def command(run: str | None, follow: bool, level: str, since_s: float | None, as_json: bool) -> None:  # fmt: skip
    """Tell what happened in RUN, the oldest first: starts, restarts, contracts, silent inputs, tracebacks.

    RUN is a pipeline's name, or a run's folder; by default the newest run, live ones first. A run that was killed
    can still be read. `streamflow misses` tells more of each missed deadline.
    """
    folder = find_run(run)
    wanted = Level[level.upper()]
    form = Form.JSON if as_json else Form.STAMPED
    log = LoggedEvents(folder)
    events = log if not follow else followed_events(folder, lambda: time.sleep(PAUSE_S))
    since_ns = 0 if since_s is None else _end_ns(folder) - nanoseconds(since_s)
    with ending_quietly(), suppress(KeyboardInterrupt):
        if not as_json:
            click.echo(liveness(folder), err=True)
        for event in events:
            told = tell(event)
            if event["at_ns"] >= since_ns and told.level <= wanted:
                sys.stdout.write(line(form, told, event))
                sys.stdout.flush()
        if log.damaged_count and not as_json:
            click.echo(f"note: {log.damaged_count} damaged lines of its log were passed over", err=True)


def _end_ns(folder: RunFolder) -> int:
    """Now, or when the last event of a run that was killed was."""
    return now_ns() if folder.is_live() else max((event["at_ns"] for event in LoggedEvents(folder)), default=0)
