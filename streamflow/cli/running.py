"""A run from the command line: what was asked for as options, the supervisor, and what it ended with."""

from __future__ import annotations

import gc
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import trio

from streamflow.cli.options import reference
from streamflow.cli.progress import Progress
from streamflow.core.graph import Graph
from streamflow.errors import ClosedOutputError, StreamflowError, UsageError
from streamflow.runtime.loading.amendments import Amendment
from streamflow.runtime.loading.loader import Loaded, load
from streamflow.runtime.loading.profile import load_profile
from streamflow.runtime.process.early_server import EarlyServer
from streamflow.runtime.process.memory_plan import require_room
from streamflow.runtime.rundir import SHARED_MEMORY
from streamflow.runtime.supervision.interrupts import INTERRUPTED
from streamflow.runtime.supervision.report import table
from streamflow.runtime.supervision.run_options import LinkKind, Outcome, RunOptions
from streamflow.runtime.supervision.supervisor import Supervisor
from streamflow.runtime.supervision.venue import LocalVenue

CONTRACT_BROKEN = 3
Conclusion = Callable[[Graph, dict[str, Any]], Sequence[str]]
"""Given what was run and its report, to which it may add: what a person should read."""


def run(
    pipeline: str, *, is_program: bool, settings: tuple[str, ...], duration: float | None, speed: float,
    offline: bool, inline: bool, report: Path | None, quiet: bool, link: str, wait_for: tuple[str, ...], launcher: str,
    startup_timeout: float | None, drain_timeout: float, strict: bool, no_enforcement: bool, no_restart: bool,
    restart_limit: str | None, keep: Path | None, priority: str, spin_us: int, pool_mb: int | None,
    state: Path | None, amendments: tuple[Amendment, ...] = (), conclude: Conclusion | None = None,
) -> int:  # fmt: skip
    """Run to the end; the exit code. `is_program`: this process does nothing else, so its copies may leave it as it is.

    `amendments`: what is made of the pipeline first; `conclude`: what is to be said at the end besides.
    Raises SystemExit in such copies.
    """
    loaded = load(replace(reference(pipeline, settings), amendments=amendments), offline=offline)
    stages = [stage.name for stage in loaded.resolved.graph.stages]
    by_hand = stages if launcher == "manual" else list(wait_for)
    for stage in by_hand:
        if stage not in stages:
            raise UsageError("--wait-for", f"no stage {stage}", f"one of {', '.join(stages)}")
    if inline and by_hand:
        raise UsageError("--inline", "together with stages to be started by hand", "one of the two")
    if inline and spin_us:
        raise UsageError(
            "--spin-us", "together with --inline", "one of the two", "stages of one process share its loop"
        )
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
        state=state,
        profile={} if stored is None else stored.estimates,
    )
    is_shown = sys.stderr.isatty() and not quiet
    command = _command(pipeline, settings)
    progress = Progress(loaded.resolved.graph, is_shown=is_shown, tells=not quiet, command=command)
    if not quiet:
        for note in (*(stored.notes if stored is not None else ()), *loaded.definition.notes):
            click.echo(f"streamflow: {note}", err=True)
    progress.starting(len(loaded.resolved.graph.processes()))
    with _early_server(loaded, options) if is_program else nullcontext() as early:
        outcome = _supervised(loaded, options, progress, early)
    progress.clear()
    told = () if conclude is None else conclude(loaded.resolved.graph, outcome.report)
    return _conclude(loaded, outcome, report, quiet, strict, told)


def _early_server(loaded: Loaded, options: RunOptions) -> EarlyServer | AbstractContextManager[None]:
    """Where a stage starts as a copy of it."""
    nodes = loaded.definition.nodes.values()
    is_wanted = options.is_warm and not options.inline and any(node.fork_safe for node in nodes)
    return EarlyServer(loaded) if is_wanted else nullcontext()


def _supervised(loaded: Loaded, options: RunOptions, progress: Progress, early: EarlyServer | None) -> Outcome:
    venue = None
    if not options.inline:
        venue = LocalVenue(loaded, keep=options.keep, is_warm=options.is_warm, early=early)
    gc.freeze()  # what was imported and built: a full collection of it takes 30 ms, in which no miss is seen
    try:
        return trio.run(Supervisor(loaded, options, progress, venue).run)
    finally:
        gc.unfreeze()


def _command(pipeline: str, settings: Sequence[str]) -> str:
    return shlex.join([pipeline, *(word for setting in settings for word in ("--set", setting))])


def _conclude(
    loaded: Loaded, outcome: Outcome, path: Path | None, quiet: bool, strict: bool, told: Sequence[str]
) -> int:
    failure, report = outcome.failure, outcome.report
    is_silent = failure is not None and failure.exit_code == ClosedOutputError.exit_code
    if not quiet and not is_silent and report["stages"]:
        click.echo(table(report), err=True)
    for sentence in told:
        click.echo(f"streamflow: {sentence}", err=True)
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
