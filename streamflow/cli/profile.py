"""`streamflow profile`: measures how long each stage takes, and stores it for `check` and for the first budgets."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import trio

from streamflow.cli.log_lines import Form
from streamflow.cli.options import pipeline_argument, reference
from streamflow.cli.output import columns
from streamflow.cli.progress import Progress
from streamflow.cli.telling import Teller
from streamflow.core.happenings import Level
from streamflow.runtime.inspection import open_recordings
from streamflow.runtime.loading.loader import Loaded, load
from streamflow.runtime.loading.profile import SINGLE, make_profile, profile_path, require_measured, write_profile
from streamflow.runtime.rundir import RunFolder
from streamflow.runtime.supervision.interrupts import INTERRUPTED
from streamflow.runtime.supervision.run_options import Outcome, RunOptions
from streamflow.runtime.supervision.supervisor import Supervisor

DURATION_S = 10.0  # a thousand data at 100 per second: enough for a 99th percentile


@click.command
@pipeline_argument
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    default=DURATION_S,
    show_default=True,
    metavar="SECONDS",
    help="At most so long.",
)
@click.option(
    "--offline/--paced",
    "is_offline",
    default=None,
    help="As fast as it goes, or in the recordings' own time; by default offline, unless a source is live.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json", help="Store it there.")
def command(
    pipeline: str, settings: tuple[str, ...], duration: float, is_offline: bool | None, out: Path | None
) -> int:
    """Run PIPELINE, and store how long each stage took to handle a datum, and each edge to carry one.

    The profile is stored beside the pipeline's file, as pipelines/speech.profile.json. It is of this machine and of
    these settings. Nothing is given up for a deadline meanwhile. The first call of each stage is left out, as warm-up.
    How long edges take is measured only when paced.
    """
    named = reference(pipeline, settings)
    loaded = load(named)
    if is_offline is None:
        is_offline = not any(stage.live for stage in loaded.resolved.graph.stages)
    if is_offline:
        loaded = load(named, offline=True)
    path = out or profile_path(named)
    with tempfile.TemporaryDirectory(prefix="streamflow-profile-") as kept:
        outcome = _run(loaded, Path(kept), duration, is_offline=is_offline)
        if outcome.failure is not None:
            if outcome.failure.traceback_text:
                click.echo(outcome.failure.traceback_text, err=True)
            click.echo(f"streamflow: {outcome.failure.sentence}, and no profile was stored", err=True)
            return outcome.failure.exit_code
        if outcome.interrupted:
            click.echo("streamflow: interrupted, and no profile was stored", err=True)
            return INTERRUPTED
        recordings = open_recordings(RunFolder(Path(kept)))
        try:
            content = make_profile(
                loaded, recordings.by_stage, is_offline=is_offline, duration_s=outcome.duration_ns / 1e9
            )
        finally:
            recordings.close()
    require_measured(content)
    write_profile(path, content)
    click.echo("\n".join([*table(content), "", f"stored in {path}"]), err=True)
    return 0


def _run(loaded: Loaded, kept: Path, duration_s: float, *, is_offline: bool) -> Outcome:
    options = RunOptions(offline=is_offline, duration_s=duration_s, keep=kept, enforces=False)
    teller = Teller(Level.WARNING, Form.SHORT)
    progress = Progress(loaded.resolved.graph, teller, is_shown=sys.stderr.isatty(), command="")
    teller.outlet.start()
    outcome = trio.run(Supervisor(loaded, options, progress).run)
    progress.clear()
    teller.close()
    return outcome


def table(content: Mapping[str, Any]) -> list[str]:
    """The profile for people; on standard error, where it meets no results of the pipeline."""
    quantiles = ("p50", "p90", "p99", "p999", "max")
    head = [*(f"{key} ms" for key in ("p50", "p90", "p99", "p99.9", "max")), "count"]

    def cells(measured: Mapping[str, Any]) -> list[str]:
        return [*(f"{measured[key]:.3f}" for key in quantiles), f"{measured['count']:,}"]

    services = [[name, *cells(stage["service_ms"][SINGLE])] for name, stage in content["stages"].items()]
    carried = {name: edge["transport_ms"] for name, edge in content["edges"].items() if "transport_ms" in edge}
    lines = [f"{content['pipeline']}: {content['mode']}, {content['duration_s']:.1f} s"]
    lines += ["", *columns(["stage", *head], services)]
    if carried:
        lines += ["", *columns(["edge", *head], [[name, *cells(measured)] for name, measured in carried.items()])]
    return lines
