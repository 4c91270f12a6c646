"""`streamflow node`: one stage by hand, under a debugger or in another terminal, joins a run that waits for it."""

from __future__ import annotations

import click
import trio

from streamflow.cli.options import pipeline_argument, reference
from streamflow.errors import BrokenLinkError, NodeError, StreamflowError, UsageError
from streamflow.runtime.loading.loader import Loaded, load
from streamflow.runtime.process.launch import wait_ended
from streamflow.runtime.process.stage_logging import named_in_logs
from streamflow.runtime.process.stage_process import load_for, options_of, work
from streamflow.runtime.process.worker import WorkerOptions
from streamflow.runtime.rundir import RunFolder, live_runs


@click.command
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
    loaded, options = load_for(folder), options_of(folder)
    process = loaded.resolved.graph.stage(stage).process
    click.echo(f"streamflow: {stage} joins {folder.path.name}", err=True)
    interrupts: list[BaseException] = []
    try:
        with named_in_logs(loaded.resolved.graph.processes()[process], folder.description().get("log", {})):
            trouble = trio.run(_visit, folder, process, loaded, options)
    except* KeyboardInterrupt as group:
        interrupts += group.exceptions
    if interrupts:
        raise click.Abort
    if isinstance(trouble, NodeError) and trouble.traceback_text:
        click.echo(trouble.traceback_text, err=True)
    if trouble is not None:
        raise trouble


async def _visit(folder: RunFolder, process: str, loaded: Loaded, options: WorkerOptions) -> StreamflowError | None:
    """Work the stage until the run lets go of it or is no more; what went wrong with the run, if anything."""
    trouble: StreamflowError | None = None
    async with trio.open_nursery() as nursery:

        async def follow_supervisor() -> None:
            nonlocal trouble
            await wait_ended(folder.description()["supervisor"])
            trouble = BrokenLinkError(f"run {folder.path.name}", "was killed")
            nursery.cancel_scope.cancel()

        nursery.start_soon(follow_supervisor)
        try:
            trouble = await work(folder, process, loaded, options) or trouble
        except StreamflowError as error:
            trouble = error
        nursery.cancel_scope.cancel()
    return trouble


def _find_run(pipeline: str, stage: str) -> RunFolder | None:
    """The newest run of this pipeline that waits for the stage."""
    for folder in reversed(list(live_runs())):
        try:
            description = folder.description()
        except StreamflowError:
            continue
        if _module(description["reference"]) == _module(pipeline) and stage in description["by_hand"]:
            return folder
    return None


def _module(pipeline: str) -> str:
    """`pipelines/speech.py` and `pipelines.speech` are one; `:function` stays."""
    target, colon, function = pipeline.partition(":")
    return target.removesuffix(".py").replace("/", ".").lstrip(".") + colon + function
