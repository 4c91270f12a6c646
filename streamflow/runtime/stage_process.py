"""The program of a stage's process: `python -m streamflow.runtime.stage_process FOLDER PROCESS PARENT`.

It builds the same pipeline from the same module and settings as the supervisor, and works its own stages.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import trio

from streamflow.errors import StreamflowError
from streamflow.runtime.control import ControlClient
from streamflow.runtime.launch import die_with_parent
from streamflow.runtime.loader import Loaded, Reference, load
from streamflow.runtime.rundir import RunFolder
from streamflow.runtime.worker import Worker, WorkerOptions
from streamflow.transport.zmq_socket import ZmqContext


def load_for(folder: RunFolder) -> tuple[Loaded, WorkerOptions]:
    """The pipeline of the run in `folder`, built here as there: in its working folder, with what it could import."""
    description = folder.description()
    os.chdir(description["working_folder"])
    for path in reversed(description["search_path"]):
        if path not in sys.path:
            sys.path.insert(0, path)
    reference = Reference(description["reference"], description["settings"])
    options = WorkerOptions(description["offline"], description["speed"], description["endpoint"])
    return load(reference, lossless=options.offline), options


async def work(folder: RunFolder, process: str, loaded: Loaded, options: WorkerOptions) -> StreamflowError | None:
    """Join the run as `process` and work its stages until the supervisor says exit; the first failure, told already."""
    stages = loaded.resolved.graph.processes()[process]
    hello = {"process": process, "pid": os.getpid(), "run_key": loaded.key}
    with ZmqContext() as context:
        control = ControlClient(context, folder.control_endpoint, hello)
        worker = Worker(loaded.definition, loaded.resolved, stages, options, control, context)
        try:
            await worker.run()
            return worker.failure
        finally:
            control.close()


def main() -> None:
    """Exit status 0 when the supervisor said so, 1 when this process failed before it could tell the supervisor."""
    folder, process, parent = RunFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a node prints is seen at once, and not lost with it
    try:
        loaded, options = load_for(folder)
        trio.run(work, folder, process, loaded, options)
    except StreamflowError as error:
        print(f"streamflow: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
