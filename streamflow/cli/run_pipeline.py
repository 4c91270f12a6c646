"""`streamflow run` and its options. What a run needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streamflow.cli.options import pipeline_argument
from streamflow.core.happenings import LEVELS
from streamflow.core.spinning import SPIN_NS_MAX
from streamflow.core.timebase import us

LINKS = ("ipc", "tcp", "direct")
PRIORITIES = ("auto", "none")
LAUNCHERS = ("local", "spawn", "manual")


class _Microseconds(click.IntRange):
    name = "whole number of microseconds"


@click.command
@pipeline_argument
@click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Drain and stop then.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Play recordings this many times as fast as they were taken. Event time passes as fast: what a join or a "
    "deadline allows stands for as many times as much of the recording.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="Unpaced, and nothing is dropped: every edge blocks, recorded time is event time, outputs are reproducible.",
)
@click.option("--inline", is_flag=True, help="All stages in this process.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write the report there: FILE.html is a page for a browser, any other is JSON; may be repeated.",
)
@click.option(
    "--top",
    is_flag=True,
    help="Watch it meanwhile on this terminal, as with streamflow top; q leaves the screen and the run goes on, Ctrl-C "
    "drains and ends it.",
)
@click.option(
    "--metrics",
    metavar="[HOST]:PORT",
    help="Serve how the run is to Prometheus there, in a process of its own; port 0 is any that is free, and is told.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    help="Tell on standard error what must be acted on (error), what breaks and comes back (warning, the default), how "
    "the run lives (info), or also every missed deadline (debug); from info on with the time.",
)
@click.option(
    "--log-json",
    is_flag=True,
    help="A line of JSON on standard error for each, for a collector; no progress line, and no table at the end.",
)
@click.option(
    "--quiet", is_flag=True, help="No table at the end and no progress line; what warns, and errors, are told."
)
@click.option(
    "--link",
    type=click.Choice(LINKS),
    default="ipc",
    show_default=True,
    help="What carries data between processes.",
)
@click.option(
    "--spin-us",
    type=_Microseconds(0, SPIN_NS_MAX // us),
    default=0,
    show_default=True,
    metavar="MICROSECONDS",
    help="How long a stage waits awake for each datum, where that pays; so much of a core for each stage.",
)
@click.option(
    "--pool-mb",
    type=click.IntRange(0),
    metavar="MB",
    help="Shared memory that a stage may take for large tensors; without any they travel in messages.",
)
@click.option(
    "--wait-for",
    "wait_for",
    multiple=True,
    metavar="STAGE",
    help="Do not start this stage: wait until `streamflow node` does; may be repeated.",
)
@click.option(
    "--launcher",
    type=click.Choice(LAUNCHERS),
    default="local",
    show_default=True,
    help="Who starts the stages: this command, as copies of a warm process, or each from nothing (spawn), or you, each "
    "with `streamflow node` (manual).",
)
@click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    default="auto",
    show_default=True,
    help="Of this command while it watches the stages: real time, else a nice of -10, as far as this user may have it "
    "(see `streamflow doctor`), so that a miss is seen in time on a busy machine; or as it is (none).",
)
@click.option("--strict", is_flag=True, help="Exit with 3 if a deadline was broken: its contract, else by any miss.")
@click.option("--no-enforcement", is_flag=True, help="Stages work on everything, however late it is.")
@click.option("--no-restart", is_flag=True, help="The first stage that fails ends the run.")
@click.option(
    "--restart-limit", metavar="N/SECONDS", help="In place of every group's own restart intensity and period."
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep the flight recorders there, for `streamflow misses` and `streamflow trace`.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the recurrent states of all streams there, every few seconds and at the end, and begin with those that "
    "a former run has written there.",
)
@click.option(
    "--startup-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Every stage must be ready by then (60; 600 where stages are started by hand).",
)
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="After a stop is asked for, what is under way must be done by then.",
)
@click.pass_context
def command(context: click.Context, /, pipeline: str, **asked: Any) -> int:
    """Run PIPELINE: a file such as pipelines/speech.py or a module such as pipelines.speech, either with :function."""
    return start(context, pipeline, **asked)


def start(context: click.Context, pipeline: str, *, top: bool, **asked: Any) -> int:
    """The run that was asked for, watched where that was; the exit code."""
    called = context.obj
    if top:
        from streamflow.cli.watched_run import run_watched

        return run_watched(called.arguments, context)
    from streamflow.cli.running import run

    return run(pipeline, is_program=called.is_program, **asked)


def with_run_options(other: click.Command) -> click.Command:
    """A command that runs a pipeline its own way takes what `run` takes; given as `asked` of the function."""
    other.params += [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return other
