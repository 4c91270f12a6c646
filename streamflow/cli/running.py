"""A run from the command line: what was asked for as options, the supervisor, and what it ended with."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio

from streamflow.cli.log_lines import Form
from streamflow.cli.main import faults
from streamflow.cli.metrics import MetricsProcess
from streamflow.cli.options import reference
from streamflow.cli.progress import Progress
from streamflow.cli.reporting import require_folder, write_report
from streamflow.cli.telling import Teller
from streamflow.core.graph import Graph
from streamflow.core.happenings import Level
from streamflow.core.joins.exact import Exact
from streamflow.errors import ClosedOutputError, StreamflowError, UsageError
from streamflow.runtime.loading.amendments import Amendment
from streamflow.runtime.loading.loader import Loaded, load
from streamflow.runtime.loading.profile import load_profile
from streamflow.runtime.process.early_server import EarlyServer
from streamflow.runtime.process.memory_plan import require_room
from streamflow.runtime.process.stage_logging import named_in_logs
from streamflow.runtime.rundir import SHARED_MEMORY
from streamflow.runtime.supervision.interrupts import INTERRUPTED
from streamflow.runtime.supervision.report import table
from streamflow.runtime.supervision.run_options import LinkKind, Outcome, RunOptions
from streamflow.runtime.supervision.supervisor import Supervisor
from streamflow.runtime.supervision.venue import LocalVenue

CONTRACT_BROKEN = 3


@dataclass(frozen=True, slots=True)
class Concluded:
    """What a command has to say of its run. ERROR: what it was to do has failed, exit code 1; WARNING: it is not all
    that was promised, which --strict has as exit code 3."""

    sentence: str = ""
    level: Level = Level.INFO


Conclusion = Callable[[Graph, dict[str, Any]], Concluded]
"""Given what was run and its report, to which it may add."""


def run(pipeline: str, *, is_program: bool, quiet: bool, log_level: str | None, log_json: bool, **asked: Any) -> int:
    """Run to the end; the exit code. `is_program`: this process does nothing else, so its copies may leave it as it is.

    `amendments`: what is made of the pipeline first; `conclude`: what is to be said at the end besides.
    Raises SystemExit in such copies.
    """
    is_stamped = log_level in ("info", "debug")
    form = Form.JSON if log_json else Form.STAMPED if is_stamped else Form.SHORT
    tells_answers = not quiet or log_level is not None or log_json
    teller = Teller(Level[(log_level or "warning").upper()], form, tells_answers=tells_answers)
    try:
        code = _run(pipeline, teller, is_program=is_program, quiet=quiet, log_level=log_level or "warning", **asked)
    except (StreamflowError, ExceptionGroup) as error:
        if not log_json:
            teller.close()
            raise
        sentences, code = faults(error)
        teller.outlet.start()
        for sentence in sentences:
            teller.say(Level.ERROR, "failure", sentence)
    teller.close()
    return code


def _run(
    pipeline: str, teller: Teller, *, is_program: bool, settings: tuple[str, ...], duration: float | None, speed: float,
    offline: bool, inline: bool, report: tuple[Path, ...], quiet: bool, link: str, wait_for: tuple[str, ...],
    launcher: str, startup_timeout: float | None, drain_timeout: float, strict: bool, no_enforcement: bool,
    no_restart: bool, restart_limit: str | None, keep: Path | None, priority: str, spin_us: int, pool_mb: int | None,
    state: Path | None, metrics: str | None, log_level: str, amendments: tuple[Amendment, ...] = (),
    conclude: Conclusion | None = None,
) -> int:  # fmt: skip
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
    for path in report:
        require_folder(path, "--report")
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
        log_level=log_level,
        log_json=teller.form is Form.JSON,
    )
    is_for_people = not quiet and not options.log_json
    command = _command(pipeline, settings)
    progress = Progress(loaded.resolved.graph, teller, is_shown=sys.stderr.isatty() and is_for_people, command=command)
    notes = () if stored is None else stored.notes
    for note in (*notes, *loaded.definition.notes, *_speed_notes(loaded.resolved.graph, speed, is_offline=offline)):
        teller.say(Level.WARNING, "note", note)
    for warning in loaded.definition.warnings:
        teller.answer("note", warning, Level.WARNING)
    served = None if metrics is None else MetricsProcess(metrics)
    if served is not None:
        teller.answer("metrics", f"metrics at {served.address}", address=served.address)
    log = {"level": log_level, "is_json": options.log_json}
    progress.starting(len(loaded.resolved.graph.processes()))
    with (
        closing(served) if served is not None else nullcontext(),
        named_in_logs(stages, log) if inline else nullcontext(),
        _early_server(loaded, options) if is_program else nullcontext() as early,
    ):
        teller.outlet.start()
        outcome = _supervised(loaded, options, progress, early)
    progress.clear()
    concluded = Concluded() if conclude is None else conclude(loaded.resolved.graph, outcome.report)
    return _conclude(outcome, teller, report, strict, concluded, shows_table=is_for_people)


def _speed_notes(graph: Graph, speed: float, *, is_offline: bool) -> Iterator[str]:
    """Event time is when data are due in this run: what a join allows in it is another stretch of the recording."""
    joining = [stage.name for stage in graph.stages if stage.is_joined and not isinstance(stage.join, Exact)]
    if joining and speed != 1 and not is_offline:
        yield (
            f"--speed {speed:g}: max_skew, max_age and max_wait of {', '.join(joining)} stand for {speed:g} times as "
            "much of the recording, so other data are joined than at its own pace; --offline joins as then"
        )


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
    outcome: Outcome, teller: Teller, paths: Sequence[Path], strict: bool, concluded: Concluded, *, shows_table: bool
) -> int:
    failure, report = outcome.failure, outcome.report
    is_silent = failure is not None and failure.exit_code == ClosedOutputError.exit_code
    if shows_table and not is_silent and report["stages"]:
        teller.outlet.put(table(report) + "\n")
    if concluded.sentence:
        teller.answer("note", concluded.sentence, concluded.level)
    if failure is not None and not is_silent:
        teller.say(Level.ERROR, "failure", failure.sentence, failure.traceback_text.rstrip(), subject=failure.subject)
    for path in paths:
        write_report(path, report, "--report")
    if failure is not None:
        return failure.exit_code
    if report["conserved"] is not True and not outcome.was_killed:
        for sentence in report["conserved"]:
            teller.say(Level.ERROR, "broken_sum", f"{sentence}; a fault of streamflow's own")
        return 1
    if concluded.level is Level.ERROR:
        return StreamflowError.exit_code
    if outcome.interrupted:
        return INTERRUPTED
    if strict and outcome.broken_contracts:
        who = ", ".join(outcome.broken_contracts)
        teller.say(Level.ERROR, "strict", f"deadline {who}: broken, and --strict was given")
        return CONTRACT_BROKEN
    if strict and concluded.level is Level.WARNING:
        teller.say(Level.ERROR, "strict", "not everything was kept, and --strict was given")
        return CONTRACT_BROKEN
    return 0


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
