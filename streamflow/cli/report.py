"""`streamflow report`: a run's report as a page, from a report as JSON, or from what a run has left or still tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from streamflow.cli.output import ending_quietly, liveness
from streamflow.cli.reporting import require_folder, write_report
from streamflow.errors import UsageError
from streamflow.runtime.inspection import LoggedEvents, read_courses, read_state
from streamflow.runtime.rundir import RunFolder, find_run
from streamflow.runtime.supervision.events import Latest

KEYS = {"pipeline", "paths", "edges", "stages", "conserved"}


@click.command
@click.argument("names", metavar="[RUN|FILE.json] OUT.html", nargs=-1, required=True)
def command(names: tuple[str, ...]) -> None:
    """Write the report of RUN, or the one in FILE.json, as one page that needs no network: OUT.html.

    RUN is a pipeline's name, or a run's folder, as run --keep has it too; by default the newest run, live ones first:
    its report so far. FILE.json is what run --report has written. OUT.json writes it as JSON.
    """
    if len(names) > 2:
        raise UsageError("report", f"{len(names)} names", "[RUN|FILE.json] OUT.html")
    out = Path(names[-1])
    require_folder(out, "report")
    source = names[0] if len(names) == 2 else None
    if source is not None and source.endswith(".json"):
        report, told = _loaded(Path(source)), source
    else:
        folder = find_run(source)
        report, told = _gathered(folder), liveness(folder)
    write_report(out, report, source or str(report["pipeline"]))
    with ending_quietly():
        click.echo(f"{told}; {out}", err=True)


def _loaded(path: Path) -> dict[str, Any]:
    """A report that was written. Raises UsageError where it is none."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(path), f"no JSON ({error})", "what run --report has written") from None
    if not isinstance(found, dict) or not found.keys() >= KEYS | {"ending"}:
        raise UsageError(str(path), "no report", "what run --report has written")
    return found


def _gathered(folder: RunFolder) -> dict[str, Any]:
    """Of a run that goes, or has left no report: as it told its state last, with its log."""
    state = read_state(folder)
    content = state.content
    if not content.keys() >= KEYS:
        raise UsageError(
            f"run {folder.path.name}", "its state lacks what a report has", hint="another version wrote it"
        )
    description = folder.description()
    latest = Latest()
    for event in LoggedEvents(folder):
        latest.take(event)
    so_far = {
        "ending": str(content.get("phase", "?")) if state.is_live else "killed",
        "duration_s": content.get("elapsed_s", 0.0),
        "graph": description.get("graph"),
        "environment": description.get("environment", {}),
    }
    courses = read_courses(folder, content["paths"])
    paths = {name: {"course": courses[name]} | path for name, path in content["paths"].items()}
    for path in paths.values():
        path.pop("recent", None)
    return {**so_far, **content, "paths": paths, "misses": latest.misses, "events": latest.events}
