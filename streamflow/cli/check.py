"""`streamflow check`: validates the graph and says whether its deadlines can be met, before anything starts."""

from __future__ import annotations

from pathlib import Path

import click

from streamflow.cli.options import pipeline_argument, reference
from streamflow.core.drawing import summary_text
from streamflow.core.feasibility import Feasibility, Finding, examine, examine_rate
from streamflow.core.staying import lacking_device
from streamflow.errors import Fault, PipelineError
from streamflow.runtime.loading.loader import Loaded, load
from streamflow.runtime.loading.profile import StoredProfile, load_profile


@click.command
@pipeline_argument
@click.option(
    "--profile",
    "profile_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="A profile that lies elsewhere than beside the pipeline's file.",
)
@click.option("--strict", is_flag=True, help="A deadline that cannot be met is a fault.")
def command(pipeline: str, settings: tuple[str, ...], profile_file: Path | None, strict: bool) -> None:
    """Say everything that is wrong with PIPELINE, each fault in a sentence; nothing is started.

    Its module is imported and built with the settings, the files they name are looked at, and every connection is
    followed: ports, types, sizes, sampling rates. Exit 0 when there is no fault, 2 when there is one.
    An output that is connected to nothing is noted, and so is a stage that could take tensors on a device and has none;
    neither is a fault.

    Of each deadline, where `streamflow profile` has measured the stages: PASS, what is served is in time at any load
    that was seen; RISK, usually, and not when data queue up; FAIL, it cannot be. These are estimates from what was
    measured, and no guarantee.
    """
    loaded = load(reference(pipeline, settings))
    graph = loaded.resolved.graph
    is_timed = bool(graph.deadlines or graph.rates)
    profile = load_profile(loaded.reference, profile_file) if is_timed else None
    click.echo(f"{summary_text(graph)}, no faults")
    for stage, port in graph.unused_outputs():
        click.echo(f"note: {stage}.{port} is connected to nothing")
    for edge, words in lacking_device(loaded.resolved):
        taken = f"{edge.target}.{edge.input}, which would take it there: {edge.target} has no {words}"
        click.echo(f"note: what {edge.source} sends from its GPU is copied to the host for {taken}")
    if profile is None:
        if is_timed:
            click.echo(f"note: deadlines are not examined, no profile: run streamflow profile {pipeline}")
        return
    for note in profile.notes:
        click.echo(f"note: {note}", err=True)
    findings = _findings(loaded, profile)
    for finding in findings:
        click.echo(f"deadline {finding.sentence()}")
    failing = [finding for finding in findings if finding.feasibility is Feasibility.FAIL]
    if strict and failing:
        raise PipelineError([Fault(f"deadline {finding.name}", "it cannot be met") for finding in failing])


def _findings(loaded: Loaded, profile: StoredProfile) -> list[Finding]:
    graph, order = loaded.resolved.graph, loaded.resolved.order
    found = [examine(graph, order, profile.measured, path) for path in graph.deadlines if path.within_ns]
    rates = [examine_rate(graph, profile.measured, rate) for rate in graph.rates]
    return [*found, *(finding for finding in rates if finding is not None)]
