"""`streamflow graph`: draws a pipeline, in the terminal or for a document."""

from __future__ import annotations

from collections.abc import Callable

import click

from streamflow.cli.options import pipeline_argument, reference
from streamflow.core.drawing import as_dot, as_mermaid, as_text
from streamflow.core.graph import Resolved
from streamflow.core.svg import as_svg
from streamflow.runtime.loading.loader import load

FORMATS: dict[str, Callable[[Resolved], str]] = {
    "text": as_text,
    "mermaid": as_mermaid,
    "dot": as_dot,
    "svg": as_svg,
}


@click.command
@pipeline_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="Lines for a terminal, a Mermaid flowchart, a Graphviz digraph, or a picture.",
)
def command(pipeline: str, settings: tuple[str, ...], form: str) -> None:
    """Draw PIPELINE on standard output: its stages and their processes, its edges with type and overflow policy.

    Nothing is started, but the pipeline is built: parameters without a default need --set.
    """
    click.echo(FORMATS[form](load(reference(pipeline, settings)).resolved))
