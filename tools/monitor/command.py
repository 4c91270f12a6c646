"""`streamflow top`: watches a run, on a terminal, once on paper, or as a stream of snapshots for scripts.

Only its options are here; what a watcher needs is imported when it is called.
"""

from __future__ import annotations

import importlib.util
import sys

import click

from streamflow.cli.options import run_argument
from streamflow.errors import UsageError

SCREEN = "tools.monitor.screen"
VIEW_NAMES = ("paths", "graph", "stages", "misses", "events")


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
@click.option("--own", "is_own", is_flag=True, hidden=True, help="The run belongs to this command: Ctrl-C ends it.")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only what has this in its name.")
def command(
    run: str | None,
    once: bool,
    as_json: bool,
    interval_s: float,
    views: tuple[str, ...],
    until_end: bool,
    is_own: bool,
    wanted: str,
) -> int:
    """Watch how RUN is: its deadlines, its graph, its stages, whose fault misses were, and what happened.

    RUN is a pipeline's name, or a run's folder, and after its end the next run of that pipeline; by default the newest
    run, live ones first, and after its end the newest that lives. It may be watched by any number of people, from
    other terminals too; it never waits for who watches it. Keys: ? on the screen.
    """
    from streamflow.runtime.process.background import take_short_slices

    if once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        take_short_slices()
        from tools.monitor.watching import show

        show(run, views, wanted, once=once, as_json=as_json, interval_s=interval_s)
        return 0
    from streamflow.runtime.loading.extras import install_command
    from streamflow.runtime.rundir import find_run
    from tools.monitor.apart import run_apart

    if importlib.util.find_spec("textual") is None:
        raise UsageError(
            "top", "textual is not installed", hint=f"{install_command('top')}; --once and --json do without it"
        )
    folder = find_run(run)
    view = views[0] if views else VIEW_NAMES[0]
    scope = "own" if is_own else "one" if until_end else "any" if run is None else "pipeline"
    return run_apart(SCREEN, [str(folder.path), view.upper(), wanted, scope])
