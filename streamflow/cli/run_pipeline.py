"""`streamflow run`: every stage as its own process until the sources end, the duration is over, or Ctrl-C."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import trio

from streamflow.cli.options import pipeline_argument, reference
from streamflow.cli.progress import Progress
from streamflow.errors import ClosedOutputError, StreamflowError, UsageError
from streamflow.runtime.interrupts import INTERRUPTED
from streamflow.runtime.loader import Loaded, load
from streamflow.runtime.report import Ending, make_report, table
from streamflow.runtime.supervisor import LinkKind, Outcome, RunOptions, Supervisor

LAUNCHERS = ("local", "manual")


@click.command(short_help="Run a pipeline, each stage its own process.")
@pipeline_argument
@click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Drain and stop then.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Play recordings this many times as fast as they were taken.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="Lossless and unpaced: every edge blocks, recorded time is event time, outputs are reproducible.",
)
@click.option("--inline", is_flag=True, help="All stages in this process.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json", help="Write the report there."
)
@click.option("--quiet", is_flag=True, help="No table at the end and no progress line.")
@click.option(
    "--link",
    type=click.Choice([kind.value for kind in LinkKind]),
    default="ipc",
    show_default=True,
    help="What carries data between processes.",
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
    help="Who starts the stages: this command, or you, each with `streamflow node`.",
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
def command(
    pipeline: str, settings: tuple[str, ...], duration: float | None, speed: float, offline: bool, inline: bool,
    report: Path | None, quiet: bool, link: str, wait_for: tuple[str, ...], launcher: str,
    startup_timeout: float | None, drain_timeout: float,
) -> int:  # fmt: skip
    """Run PIPELINE: a file such as pipelines/speech.py or a module such as pipelines.speech, either with :function."""
    loaded = load(reference(pipeline, settings), lossless=offline)
    stages = [stage.name for stage in loaded.resolved.graph.stages]
    by_hand = stages if launcher == "manual" else list(wait_for)
    for stage in by_hand:
        if stage not in stages:
            raise UsageError("--wait-for", f"no stage {stage}", f"one of {', '.join(stages)}")
    if inline and by_hand:
        raise UsageError("--inline", "together with stages to be started by hand", "one of the two")
    if report is not None and not report.resolve().parent.is_dir():
        raise UsageError(f"--report {report}", "its folder does not exist")
    options = RunOptions(
        offline=offline,
        inline=inline,
        speed=speed,
        duration_s=duration,
        startup_timeout_s=startup_timeout or (600.0 if by_hand else 60.0),
        drain_timeout_s=drain_timeout,
        link=LinkKind(link),
        by_hand=by_hand,
    )
    is_shown = sys.stderr.isatty() and not quiet
    progress = Progress(loaded.resolved.graph, is_shown=is_shown, command=_command(pipeline, settings))
    progress.starting(len(loaded.resolved.graph.processes()))
    outcome = trio.run(Supervisor(loaded, options, progress).run)
    progress.clear()
    return _conclude(loaded, outcome, report, quiet)


def _command(pipeline: str, settings: Sequence[str]) -> str:
    return shlex.join([pipeline, *(word for setting in settings for word in ("--set", setting))])


def _conclude(loaded: Loaded, outcome: Outcome, path: Path | None, quiet: bool) -> int:
    sentence = outcome.failure.sentence if outcome.failure else ""
    report = make_report(loaded.resolved, outcome.counts, outcome.duration_ns, _ending(outcome))
    failure = outcome.failure
    is_silent = failure is not None and failure.exit_code == ClosedOutputError.exit_code
    if not quiet and not is_silent and outcome.counts:
        click.echo(table(report), err=True)
    if failure is not None and not is_silent:
        if failure.traceback_text:
            click.echo(failure.traceback_text, err=True)
        click.echo(f"streamflow: {sentence}", err=True)
    if path is not None:
        _write(path, report)
    if failure is not None:
        return failure.exit_code
    return INTERRUPTED if outcome.interrupted else 0


def _ending(outcome: Outcome) -> Ending:
    if outcome.failure is not None:
        return Ending("failed", outcome.is_complete, outcome.failure.sentence, outcome.failure.subject)
    if outcome.was_killed:
        return Ending("killed", outcome.is_complete)
    return Ending("interrupted" if outcome.interrupted else "done", outcome.is_complete)


def _write(path: Path, report: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise StreamflowError(f"--report {path}", f"cannot be written: {error.strerror}") from None
