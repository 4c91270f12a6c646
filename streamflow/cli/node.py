"""`streamflow node`: one stage by hand, under a debugger or in another terminal, joins a run that waits for it."""

from __future__ import annotations

import click
import trio

from streamflow.cli.options import pipeline_argument, reference
from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime.loader import load
from streamflow.runtime.rundir import RunFolder, live_runs
from streamflow.runtime.stage_process import load_for, work


@click.command()
@pipeline_argument
@click.argument("stage", metavar="STAGE")
def command(pipeline: str, settings: tuple[str, ...], stage: str) -> None:
    """Run STAGE of PIPELINE in this process, in a run started with `run --wait-for STAGE`.

    The run's own settings count; --set is needed only where the pipeline cannot be built without.
    """
    folder = _find_run(pipeline, stage)
    if folder is None:
        loaded = load(reference(pipeline, settings))
        stages = [one.name for one in loaded.resolved.graph.stages]
        if stage not in stages:
            raise UsageError(stage, f"no stage of {loaded.resolved.graph.name}", f"one of {', '.join(stages)}")
        hint = f"start one with streamflow run {pipeline} --wait-for {stage}"
        raise UsageError(f"stage {stage}", "no run waits for it", hint=hint)
    loaded, options = load_for(folder)
    process = loaded.resolved.graph.stage(stage).process
    click.echo(f"streamflow: {stage} joins {folder.path.name}", err=True)
    trio.run(work, folder, process, loaded, options)


def _find_run(pipeline: str, stage: str) -> RunFolder | None:
    """The newest run of this pipeline that waits for the stage."""
    for folder in reversed(list(live_runs())):
        try:
            description = folder.description()
        except StreamflowError:
            continue
        if description["reference"] == pipeline and stage in description["by_hand"]:
            return folder
    return None
