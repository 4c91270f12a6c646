"""`streamflow list`: the pipelines and nodes that can be found from here, each with its first docstring line."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from streamflow.errors import UsageError
from streamflow.runtime.loading.catalogue import Found, find_classes, find_nodes, find_pipelines, runnable_name
from streamflow.runtime.loading.description import describe_node, describe_pipeline


@click.command
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts: name, file, summary, parameters, fault of each.")
def command(name: str | None, as_json: bool) -> None:
    """List the pipelines and nodes in this folder's pipelines/ and nodes/, and the shipped ones.

    With NAME, such as CsvFile, nodes.ingest.CsvFile or pipelines.speech, tell all about that one: its docstring,
    what it takes with the defaults, its ports.

    Files are read, not imported: what is broken, or needs a library that is not installed, is listed too.
    """
    search_path = [str(Path.cwd()), *sys.path]
    pipelines, nodes = find_pipelines(search_path), find_nodes(search_path)
    if name is not None:
        every = [*pipelines, *nodes]
        pipelines, nodes = ([one for one in found if name in _names(one)] for found in (pipelines, nodes))
        if not pipelines and not nodes:
            close = difflib.get_close_matches(name, [known for one in every for known in _names(one)], 1)
            hint = f"did you mean {close[0]}?" if close else "streamflow list shows them"
            raise UsageError(name, "no such pipeline or node", hint=hint)
    if as_json:
        listing = {"pipelines": [asdict(one) for one in pipelines], "nodes": [asdict(one) for one in nodes]}
        click.echo(json.dumps(listing, indent=2))
        return
    if name is not None:
        classes = find_classes(search_path)
        described = [describe_pipeline(one) for one in pipelines] + [describe_node(one, classes) for one in nodes]
        click.echo("\n\n\n".join(described))
        return
    sections = [
        _section("Pipelines", [(runnable_name(one.name, Path(one.file)), one) for one in pipelines]),
        _section("Nodes", [(one.name, one) for one in nodes]),
    ]
    click.echo("\n\n".join(sections))


def _names(one: Found) -> list[str]:
    """What it may be asked for by: in full, by its file, and by the last part."""
    return [one.name, runnable_name(one.name, Path(one.file)), one.name.rpartition(".")[2]]


def _section(title: str, found: Sequence[tuple[str, Found]]) -> str:
    if not found:
        return f"{title}: none"
    width = max(len(name) for name, _ in found)
    lines = [f"{title}:"]
    for name, one in found:
        text = f"[{one.fault}] {one.summary}".rstrip() if one.fault else one.summary
        lines.append(f"  {name:{width}}  {text}".rstrip())
        if one.parameters:
            lines.append(f"  {'':{width}}  --set {', '.join(one.parameters)}")
    return "\n".join(lines)
