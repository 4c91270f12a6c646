"""`streamflow list`: the pipelines and nodes that can be found from here, each with its first docstring line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from streamflow.runtime.catalogue import Found, find_nodes, find_pipelines, runnable_name


@click.command(short_help="List the pipelines and nodes there are.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: name, file, summary, parameters, fault of each.")
def command(as_json: bool) -> None:
    """List the pipelines and nodes in this folder's pipelines/ and nodes/, and the shipped ones.

    Files are read, not imported: what is broken, or needs a library that is not installed, is listed too.
    """
    search_path = [str(Path.cwd()), *sys.path]
    pipelines, nodes = find_pipelines(search_path), find_nodes(search_path)
    if as_json:
        listing = {"pipelines": [asdict(one) for one in pipelines], "nodes": [asdict(one) for one in nodes]}
        click.echo(json.dumps(listing, indent=2))
        return
    sections = [
        _section("Pipelines", [(runnable_name(one.name, Path(one.file)), one) for one in pipelines]),
        _section("Nodes", [(one.name, one) for one in nodes]),
    ]
    click.echo("\n\n".join(sections))


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
