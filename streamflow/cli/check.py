"""`streamflow check`: validates the graph before anything starts."""

from __future__ import annotations

import click

from streamflow.cli.options import pipeline_argument, reference
from streamflow.core.drawing import summary_text
from streamflow.runtime.loader import load


@click.command(short_help="Find everything wrong with a pipeline.")
@pipeline_argument
def command(pipeline: str, settings: tuple[str, ...]) -> None:
    """Say everything that is wrong with PIPELINE, each fault in a sentence; nothing is started.

    Its module is imported and built with the settings, the files they name are looked at, and every connection is
    followed: ports, types, sizes, sampling rates. Exit 0 when there is no fault, 2 when there is one.
    An output that is connected to nothing is noted, and is no fault.
    """
    graph = load(reference(pipeline, settings)).resolved.graph
    click.echo(f"{summary_text(graph)}, no faults")
    for stage, port in graph.unused_outputs():
        click.echo(f"note: {stage}.{port} is connected to nothing")
