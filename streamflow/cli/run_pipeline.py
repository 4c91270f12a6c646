"""`streamflow run`: every stage as its own process until the sources end, the duration is over, or Ctrl-C."""

from __future__ import annotations

import gc
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
from streamflow.core.spinning import SPIN_NS_MAX
from streamflow.core.timebase import us
from streamflow.errors import ClosedOutputError, StreamflowError, UsageError
from streamflow.runtime.interrupts import INTERRUPTED
from streamflow.runtime.loader import Loaded, load
from streamflow.runtime.memory_plan import require_room
from streamflow.runtime.profile import load_profile
from streamflow.runtime.report import table
from streamflow.runtime.run_options import LinkKind, Outcome, RunOptions
from streamflow.runtime.rundir import SHARED_MEMORY
from streamflow.runtime.supervisor import Supervisor

PRIORITIES = ("auto", "none")
LAUNCHERS = ("local", "spawn", "manual")
CONTRACT_BROKEN = 3


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
    "--spin-us",
    type=click.IntRange(0, SPIN_NS_MAX // us),
    default=0,
    show_default=True,
    metavar="MICROSECONDS",
    help="How long a stage waits awake for its next datum before it sleeps, where that pays; it costs a core.",
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
    startup_timeout: float | None, drain_timeout: float, strict: bool, no_enforcement: bool, no_restart: bool,
    restart_limit: str | None, keep: Path | None, priority: str, spin_us: int, pool_mb: int | None,
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
    if not inline:
        require_room(loaded.resolved, SHARED_MEMORY, pool_mb)
    stored = None if offline else load_profile(loaded.reference)
    options = RunOptions(
        offline=offline,
        inline=inline,
        speed=speed,
        duration_s=duration,
        startup_timeout_s=startup_timeout or (600.0 if by_hand else 60.0),
        drain_timeout_s=drain_timeout,
        link=LinkKind(link),
        spin_us=spin_us,
        pool_mb=pool_mb,
        by_hand=by_hand,
        enforces=not no_enforcement,
        restarts=not no_restart,
        restart_limit=_limit(restart_limit),
        keep=keep,
        is_warm=launcher == "local",
        raises_priority=priority == "auto",
        profile={} if stored is None else stored.estimates,
    )
    is_shown = sys.stderr.isatty() and not quiet
    command = _command(pipeline, settings)
    progress = Progress(loaded.resolved.graph, is_shown=is_shown, tells=not quiet, command=command)
    if stored is not None and not quiet:
        for note in stored.notes:
            click.echo(f"streamflow: {note}", err=True)
    progress.starting(len(loaded.resolved.graph.processes()))
    gc.freeze()  # what was imported and built: a full collection of it takes 30 ms, in which no miss is seen
    try:
        outcome = trio.run(Supervisor(loaded, options, progress).run)
    finally:
        gc.unfreeze()
    progress.clear()
    return _conclude(loaded, outcome, report, quiet, strict)


def _command(pipeline: str, settings: Sequence[str]) -> str:
    return shlex.join([pipeline, *(word for setting in settings for word in ("--set", setting))])


def _conclude(loaded: Loaded, outcome: Outcome, path: Path | None, quiet: bool, strict: bool) -> int:
    failure, report = outcome.failure, outcome.report
    is_silent = failure is not None and failure.exit_code == ClosedOutputError.exit_code
    if not quiet and not is_silent and report["stages"]:
        click.echo(table(report), err=True)
    if failure is not None and not is_silent:
        if failure.traceback_text:
            click.echo(failure.traceback_text, err=True)
        click.echo(f"streamflow: {failure.sentence}", err=True)
    if path is not None:
        _write(path, report)
    if failure is not None:
        return failure.exit_code
    if report["conserved"] is not True and not outcome.was_killed:
        for sentence in report["conserved"]:
            click.echo(f"streamflow: {sentence}; a fault of streamflow's own", err=True)
        return 1
    if outcome.interrupted:
        return INTERRUPTED
    if strict and outcome.broken_contracts:
        who = ", ".join(outcome.broken_contracts)
        click.echo(f"streamflow: deadline {who}: broken, and --strict was given", err=True)
        return CONTRACT_BROKEN
    return 0


def _write(path: Path, report: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise StreamflowError(f"--report {path}", f"cannot be written: {error.strerror}") from None


def _limit(text: str | None) -> tuple[int, float] | None:
    """`5/10` as 5 restarts in 10 s."""
    if text is None:
        return None
    count, _, period = text.partition("/")
    try:
        limit = int(count), float(period)
    except ValueError:
        limit = -1, 0.0
    if limit[0] < 0 or limit[1] <= 0:
        raise UsageError(f"--restart-limit {text}", "no limit", "RESTARTS/SECONDS, as in 5/10")
    return limit
