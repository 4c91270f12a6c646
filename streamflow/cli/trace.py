"""`streamflow trace`: what the flight recorders of a run hold, as a trace that Perfetto and chrome://tracing open."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from streamflow.cli.output import liveness
from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime.clock import now_ns
from streamflow.runtime.inspection import LoggedEvents, open_recordings, read_state
from streamflow.runtime.rundir import RunFolder, find_run
from streamflow.runtime.tracing import Trace, write_trace


@click.command
@click.argument("run", metavar="[RUN]", nargs=-1)
@click.argument("out", metavar="OUT.json", type=click.Path(dir_okay=False, path_type=Path))
def command(run: tuple[str, ...], out: Path) -> None:
    """Write what the stages of RUN did last to OUT.json; ui.perfetto.dev or chrome://tracing shows it.

    RUN is a pipeline's name, or a run's folder; by default the newest run, live ones first. A live run is not
    disturbed, and one that was killed can still be read. Each stage keeps its last 8,192 records.
    """
    if len(run) > 1:
        raise UsageError(" ".join(run), f"{len(run)} runs", "at most one", "streamflow trace [RUN] OUT.json")
    folder = find_run(run[0] if run else None)
    is_live = folder.is_live()
    recordings = open_recordings(folder)
    try:
        state = _state(folder)
        trace = Trace(
            recordings.by_stage.values(),
            LoggedEvents(folder),
            started_ns=_instant(state, "started_ns"),
            until_ns=now_ns() if is_live else _instant(state, "at_ns"),
            is_offline=_is_offline(folder, state),
        )
        described = {"pipeline": folder.pipeline, "run": folder.path.name, "begin_monotonic_ns": trace.begin_ns}
        count = _write(trace, out, described)
    finally:
        recordings.close()
    click.echo(f"{liveness(folder)}", err=True)
    for fault in recordings.faults:
        click.echo(f"note: left out, {fault}", err=True)
    click.echo(f"{count:,} events of {len(recordings.by_stage)} stages written to {out}", err=True)


def _state(folder: RunFolder) -> dict[str, Any]:
    """Nothing where the run was killed before it could write any."""
    with suppress(StreamflowError):
        return read_state(folder).content
    return {}


def _instant(state: dict[str, Any], key: str) -> int:
    found = state.get(key)
    return found if isinstance(found, int) else 0


def _is_offline(folder: RunFolder, state: dict[str, Any]) -> bool:
    with suppress(StreamflowError):
        return bool(state.get("offline", folder.description().get("offline")))
    return False


def _write(trace: Trace, out: Path, described: dict[str, Any]) -> int:
    try:
        with out.open("w", encoding="utf-8") as file:
            return write_trace(trace, file.write, described)
    except OSError as error:
        raise UsageError(str(out), f"cannot be written: {error.strerror}") from None
