"""The program of a stage's process: `python -m` this module with FOLDER PROCESS PARENT [GENERATION].

It builds the same pipeline from the same module and settings as the supervisor, and works its own stages. What the
fork server forks has built it already and goes straight to `run_stage`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import sys
from pathlib import Path

import trio

from streamflow.errors import StreamflowError
from streamflow.runtime.clock import MonotonicClock
from streamflow.runtime.loading.amendments import Amendment
from streamflow.runtime.loading.loader import Loaded, Reference, load
from streamflow.runtime.process.control import ControlClient
from streamflow.runtime.process.hygiene import Hygiene
from streamflow.runtime.process.log_relay import LogRelay
from streamflow.runtime.process.parent_death import die_with_parent
from streamflow.runtime.process.stage_logging import name_in_logs
from streamflow.runtime.process.worker import Worker, WorkerOptions
from streamflow.runtime.rundir import RunFolder
from streamflow.transport.zmq_socket import ZmqContext


def load_for(folder: RunFolder) -> Loaded:
    """The pipeline of the run in `folder`, built here as there: in its working folder, with what it could import."""
    description = folder.description()
    os.chdir(description["working_folder"])
    for path in reversed(description["search_path"]):
        if path not in sys.path:
            sys.path.insert(0, path)
    amendments = tuple(map(Amendment.heard, description.get("amendments", ())))
    reference = Reference(description["reference"], description["settings"], amendments)
    return load(reference, offline=description["offline"])


def options_of(folder: RunFolder) -> WorkerOptions:
    """How the run in `folder` moves data."""
    description = folder.description()
    return WorkerOptions(
        description["offline"],
        description["speed"],
        description["endpoint"],
        folder.recordings,
        restarts=description.get("restarts", False),
        enforces=description.get("enforces", True),
        memory=folder.recordings,
        is_direct=description.get("is_direct", False),
        spin_us=description.get("spin_us", 0),
        pool_mb=description.get("pool_mb"),
        state=Path(description["state"]) if description.get("state") else None,
    )


async def work(folder: RunFolder, process: str, loaded: Loaded, options: WorkerOptions) -> StreamflowError | None:
    """Join the run as `process` and work its stages until the supervisor says exit; the first failure, told already."""
    stages = loaded.resolved.graph.processes()[process]
    hello = {"process": process, "pid": os.getpid(), "run_key": loaded.key}
    hygiene = Hygiene(loaded.resolved.graph, stages)
    hygiene.prepare()
    with ZmqContext() as context:
        control, clock = ControlClient(context, folder.control_endpoint, hello), MonotonicClock()
        relay = LogRelay(control, stages, clock)
        worker = Worker(loaded.definition, loaded.resolved, stages, options, relay, context, clock, hygiene=hygiene)
        try:
            with relay.listening():
                await worker.run()
            return worker.failure
        finally:
            control.close()


def run_stage(folder: RunFolder, process: str, loaded: Loaded, options: WorkerOptions) -> None:
    """Work as `process` to the end; raises SystemExit with status 1 when it could not tell the supervisor why."""
    name_in_logs(loaded.resolved.graph.processes()[process], folder.description().get("log", {}))
    try:
        trio.run(work, folder, process, loaded, options)
    except StreamflowError as error:
        print(f"streamflow: {error}", file=sys.stderr)
        sys.exit(1)


def prepare_process(parent: int) -> None:
    """What every process of a run that nobody starts by hand does first."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a node prints is seen at once, and not lost with it


def main() -> None:
    """Exit status 0 when the supervisor said so, 1 when this process failed before it could tell the supervisor."""
    folder, process, parent = RunFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    generation = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    more = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    prepare_process(parent)
    try:
        loaded, options = load_for(folder), options_of(folder)
    except StreamflowError as error:
        print(f"streamflow: {error}", file=sys.stderr)
        sys.exit(1)
    run_stage(folder, process, loaded, dataclasses.replace(options, generation=generation, **more))


if __name__ == "__main__":
    main()
