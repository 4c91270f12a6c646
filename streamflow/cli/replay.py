"""`streamflow replay`: a run in which recorded stages are replaced by what an MCAP file has of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamflow.cli.options import complete
from streamflow.cli.record import names_of
from streamflow.cli.run_pipeline import start, with_run_options

if TYPE_CHECKING:
    from streamflow.cli.running import Concluded
    from streamflow.core.graph import Graph

AMENDMENT = "nodes.mcap_files.replaying:replay"  # by name: nodes are above this layer, as a pipeline is


@with_run_options
@click.command
@click.argument("pipeline", metavar="PIPELINE", shell_complete=complete)
@click.argument("path", metavar="FILE.mcap", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--edges",
    multiple=True,
    metavar="NAMES",
    help="Replay only these of what was recorded: stages, ports or edges, with commas between them; may be repeated.",
)
@click.pass_context
def command(context: click.Context, /, pipeline: str, path: Path, edges: tuple[str, ...], **asked: Any) -> int:
    """Run PIPELINE on what `streamflow record` has kept in FILE.mcap: its sensors need not be there.

    Stages that were recorded send what they sent then, at the same pace (--speed), or with --offline unpaced, without
    a drop and with the very event times of then; stages of which they were made are left out.
    """
    from streamflow.runtime.loading.amendments import Amendment

    amendment = Amendment(AMENDMENT, {"path": str(path.resolve()), "outputs": names_of(edges)})

    def conclude(graph: Graph, report: dict[str, Any]) -> Concluded:
        """All sources of a replay are what is replayed."""
        from streamflow.cli.running import Concluded

        sent = [f"{stage.name}.{port}" for stage in graph.stages if stage.is_source for port in stage.outputs]
        offline = asked["offline"]
        speed = None if offline else asked["speed"]
        report["replay"] = {"file": str(path), "edges": sent, "speed": speed, "offline": offline}
        return Concluded()

    return start(context, pipeline, amendments=(amendment,), conclude=conclude, **asked)
