"""`streamflow misses`: the last deadlines that a run missed, each with its culprit and where its time went."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click

from streamflow.cli.log_lines import time_of_day
from streamflow.cli.options import run_argument
from streamflow.cli.output import ending_quietly, liveness
from streamflow.core.blame import Culprit
from streamflow.core.happenings import how_late
from streamflow.core.timebase import nanoseconds
from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime.clock import now_ns
from streamflow.runtime.inspection import Event, LoggedEvents, read_state
from streamflow.runtime.rundir import RunFolder, find_run

COUNT_LIMIT = 1_000_000  # more is the whole log, which is bounded
CULPRITS = [culprit.value for culprit in Culprit]


@click.command
@run_argument
@click.option(
    "-n", "count", type=click.IntRange(1, COUNT_LIMIT), default=20, show_default=True, help="At most so many."
)
@click.option("--path", "path", metavar="NAME", help="Only those of this deadline.")
@click.option("--culprit", type=click.Choice(CULPRITS), help="Only those that this was the culprit of.")
@click.option("--stage", metavar="STAGE", help="Only those that this stage is blamed for.")
@click.option(
    "--since",
    "since_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Only those of the last so many seconds: until now, or until the end of one that was killed.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts: the events as the run wrote them.")
def command(
    run: str | None, count: int, path: str | None, culprit: str | None, stage: str | None, since_s: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Tell the last deadlines that RUN missed: when, which datum, how late, the culprit, and where its time went.

    RUN is a pipeline's name, or a run's folder; by default the newest run, live ones first. A run that was killed
    can still be read. Times in a timeline are milliseconds, in the order in which they passed, up to when the miss was
    known: what was not done yet then may have come later.
    """
    folder = find_run(run)
    _require_known(folder, path, stage)
    wanted = _wanted({"path": path, "culprit": culprit, "stage": stage})
    log = LoggedEvents(folder)
    total, last_ns = 0, 0
    found: deque[Event] = deque(maxlen=count if since_s is None else COUNT_LIMIT)
    for event in log:
        last_ns = max(last_ns, event["at_ns"])
        if event["event"] == "miss":
            total += 1
            if wanted(event):
                found.append(event)
    misses: Sequence[Event] = list(found)
    if since_s is not None:
        begin_ns = (now_ns() if folder.is_live() else last_ns) - nanoseconds(since_s)
        misses = [event for event in misses if event["at_ns"] >= begin_ns][-count:]
    ever = max(total, _counted(folder)) if log.is_cut else total
    with ending_quietly():
        if as_json:
            _echo_json(folder, misses, ever, log.damaged_count)
            return
        click.echo(f"{liveness(folder)}, {_sum(ever, total)}", err=True)
        if log.damaged_count:
            click.echo(f"note: {log.damaged_count} damaged lines of its log were passed over", err=True)
        if not ever:
            click.echo("no deadline was missed")
        elif not misses:
            click.echo("none of them is as asked for")
        for head, event in zip(aligned(misses), misses, strict=True):
            click.echo(head)
            for told in [event[key] for key in ("sentence", "timeline") if event.get(key)] or ["(no timeline)"]:
                click.echo(f"    {told}")


def _require_known(folder: RunFolder, path: str | None, stage: str | None) -> None:
    """Raises UsageError for what the run does not have; of a run of another version that is not known."""
    graph = folder.description().get("graph", {})
    for option, kind, name, part in (("--path", "deadline", path, "deadlines"), ("--stage", "stage", stage, "stages")):
        if name is None or part not in graph:
            continue
        there = [str(one["name"]) for one in graph[part]]
        if name not in there:
            known = f"one of {', '.join(there)}" if there else ""
            raise UsageError(f"{option} {name}", f"run {folder.path.name} has no such {kind}", known)


def _wanted(filters: dict[str, str | None]) -> Callable[[Event], bool]:
    asked = {key: value for key, value in filters.items() if value is not None}
    return lambda event: all(event.get(key) == value for key, value in asked.items())


def _counted(folder: RunFolder) -> int:
    """By the accounts, which go further back than the log."""
    with suppress(StreamflowError, AttributeError, LookupError, TypeError, ValueError):
        return sum(int(path.get("missed", 0)) for path in read_state(folder).content["paths"].values())
    return 0


def _sum(ever: int, logged: int) -> str:
    missed = f"{ever:,} deadline{'s' if ever != 1 else ''} missed"
    return missed if ever == logged else f"{missed}, the log goes back over the last {logged:,}"


def _echo_json(folder: RunFolder, misses: Sequence[Event], total: int, damaged_count: int) -> None:
    whole: dict[str, Any] = {
        "run": folder.path.name,
        "pipeline": folder.pipeline,
        "is_live": folder.is_live(),
        "missed": total,
        "damaged_lines": damaged_count,
        "misses": misses,
    }
    click.echo(json.dumps(whole, indent=2))


def aligned(misses: Sequence[Event]) -> list[str]:
    """As in `18:00:00.123  speech  mic#123  4.2 ms late so far  service vad`; what is missing is a question mark."""
    rows = [_cells(event) for event in misses]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(event: Event) -> list[str]:
    blamed = " ".join(str(event[key]) for key in ("culprit", "stage") if event.get(key)) or "?"
    datum = f"{event.get('stream', '?')}#{event.get('seq', '?')}"
    return [time_of_day(event), str(event.get("path", "?")), datum, how_late(event), blamed]
