"""`streamflow top`: watches a run, on a terminal, once on paper, or as a stream of snapshots for scripts."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from enum import Enum
from typing import Any

import click

from streamflow.cli.output import ending_quietly, run_argument
from streamflow.errors import UsageError
from streamflow.runtime.rundir import RunFolder, find_run
from tools.monitor.model import Model, View, as_text
from tools.monitor.observation import Observation
from tools.monitor.snapshot import Snapshot

ONCE_SETTLE_S = 0.3  # a rate needs two looks
ONCE_VIEWS = (View.PATHS, View.GRAPH, View.STAGES)
WIDTH_ON_PAPER = 120
VIEW_NAMES = [view.value.lower() for view in View]


@click.command("top")
@run_argument
@click.option("--once", is_flag=True, help="Print one screen and end, as where standard output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Snapshots for scripts, one a line, until the run is over.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two snapshots of --json.",
)
@click.option(
    "--view",
    "views",
    type=click.Choice(VIEW_NAMES),
    multiple=True,
    help="The view to begin with; with --once those to print (paths, graph and stages).",
)
@click.option("--until-end", is_flag=True, help="Leave the screen when the run has ended, and wait for no other.")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only what has this in its name.")
def command(
    run: str | None,
    once: bool,
    as_json: bool,
    interval_s: float,
    views: tuple[str, ...],
    until_end: bool,
    wanted: str,
) -> None:
    """Watch how RUN is: its deadlines, its graph, its stages, whose fault misses were, and what happened.

    RUN is a pipeline's name, or a run's folder; by default the newest run, live ones first. It may be watched by any
    number of people, from other terminals too; it never waits for who watches it. Keys: ? on the screen.
    """
    folder = find_run(run)
    chosen = [View[name.upper()] for name in views]
    with ending_quietly():
        if as_json:
            _stream(folder, interval_s, once=once)
        elif once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            _print_once(folder, chosen or list(ONCE_VIEWS), wanted)
        else:
            _watch(folder, chosen[0] if chosen else View.PATHS, wanted, ends_with_run=until_end)


def _watch(folder: RunFolder, view: View, wanted: str, *, ends_with_run: bool) -> None:
    """On the terminal, until the user leaves. Raises UsageError where Textual is missing."""
    try:
        from tools.monitor.app import MonitorApp
    except ImportError as error:
        raise UsageError(
            "top", f"needs {error.name or 'textual'}, which is not installed", hint="pip install 'streamflow[top]'; "
            "top --once and --json do without"
        ) from None  # fmt: skip
    app = MonitorApp(Observation(folder), ends_with_run=ends_with_run)
    app.model.view, app.model.wanted = view, wanted
    app.run()


def _print_once(folder: RunFolder, views: list[View], wanted: str) -> None:
    observation = Observation(folder)
    try:
        snapshot = _settled(observation)
    finally:
        observation.close()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_ON_PAPER
    model = Model(wanted=wanted)
    model.follow(observation.resolved)
    click.echo(as_text(model.whole(snapshot, width, views)))


def _settled(observation: Observation) -> Snapshot:
    snapshot = observation.look()
    if not snapshot.is_over:
        time.sleep(ONCE_SETTLE_S)
        snapshot = observation.look()
    return snapshot


def _stream(folder: RunFolder, interval_s: float, *, once: bool) -> None:
    """One line of JSON each time; the last one says how the run ended."""
    observation = Observation(folder)
    try:
        snapshot = _settled(observation)
        due_s = time.monotonic()
        while True:
            click.echo(json.dumps(as_values(snapshot)))
            sys.stdout.flush()
            if once or snapshot.is_over:
                return
            due_s += interval_s
            while time.monotonic() < due_s and observation.is_live:
                time.sleep(min(max(due_s - time.monotonic(), 0.0), 0.2))
                observation.folder.is_live() or observation.look()
            snapshot = observation.look()
    finally:
        observation.close()


def as_values(snapshot: Snapshot) -> dict[str, Any]:
    """For JSON; of misses and events the newest ten."""
    found = dataclasses.asdict(dataclasses.replace(snapshot, misses=snapshot.misses[:10], events=snapshot.events[:10]))
    for stage in found["stages"]:
        del stage["told"]
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
