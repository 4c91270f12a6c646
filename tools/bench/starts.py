"""What the start of a stage costs: a new interpreter (cold) beside a copy of the fork server (warm), turn by turn.

Times are from the request: to the first telegram (the process has joined the run), to `opened` (its model is loaded),
and from the word `exit` to the end of the process. It prints figures and ratios, and judges nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from streamflow.runtime.loading.loader import Loaded, Reference, load
from streamflow.runtime.process.control import ControlServer
from streamflow.runtime.process.fork_server import ForkServer
from streamflow.runtime.process.launch import ChildProcess, StageProcess
from streamflow.runtime.rundir import OwnedRunFolder
from streamflow.transport.zmq_socket import ZmqContext
from tools.claims.framework import environment

PIPELINE = Path(__file__).with_name("starts_pipeline.py")
PROCESS = "measured"
ROUND_COUNT = 20
HARD_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """One start; milliseconds."""

    joined_ms: float
    opened_ms: float
    left_ms: float


async def measure(kind: str, round_count: int) -> tuple[float, list[Start], list[Start]]:
    """How long the server took to be ready, in ms, and the cold and the warm starts of a stage of that kind."""
    reference = Reference(str(PIPELINE), {"onnx": str(kind == "onnx").lower()})
    loaded = load(reference)
    folder = OwnedRunFolder("starts")
    server = ForkServer(folder)
    try:
        folder.describe(_description(folder, reference))
        with trio.fail_after(HARD_LIMIT_S), ZmqContext() as context:
            begun = time.monotonic()
            server.start()
            await server.ready()
            ready_ms = (time.monotonic() - begun) * 1e3
            cold, warm = [], []
            for number in range(round_count):  # every start but the first is a restart, as after a fault
                cold.append(await _start(context, folder, loaded, 2 * number, None))
                warm.append(await _start(context, folder, loaded, 2 * number + 1, server))
        return ready_ms, cold, warm
    finally:
        server.close()
        folder.close()


def _description(folder: OwnedRunFolder, reference: Reference) -> dict[str, object]:
    return {
        "reference": reference.text,
        "settings": dict(reference.settings),
        "pipeline": "starts",
        "offline": True,
        "speed": 1.0,
        "endpoint": folder.edge_endpoint,
        "search_path": [path for path in sys.path if path],
        "working_folder": os.getcwd(),
    }


async def _start(
    context: ZmqContext, folder: OwnedRunFolder, loaded: Loaded, generation: int, server: ForkServer | None
) -> Start:
    control = ControlServer(context, folder.control_endpoint, loaded.key)
    try:
        begun = time.monotonic()
        process: ChildProcess | None
        process = await server.fork(PROCESS, generation) if server else StageProcess(folder, PROCESS, generation)
        assert process is not None
        await _hear(control, "hello", 1)
        joined = time.monotonic()
        life = {"generation": generation, "edges": {}, "down_since_ns": 0, "gone": [], "lost_devices": []}
        control.tell_all({"is": "life", **life})
        await _hear(control, "bound", 1)
        control.tell_all({"is": "connect", "endpoints": {}})
        await _hear(control, "opened", len(loaded.resolved.graph.stages))
        opened = time.monotonic()
        control.tell_all({"is": "exit"})
        await process.wait()
        left = time.monotonic()
        process.close()
        return Start((joined - begun) * 1e3, (opened - begun) * 1e3, (left - opened) * 1e3)
    finally:
        control.close()


async def _hear(control: ControlServer, wanted: str, count: int) -> None:
    while count:
        _, telegram = await control.hear()
        assert telegram["is"] != "failed", telegram["sentence"]
        count -= telegram["is"] == wanted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUND_COUNT, help="starts of each way")
    asked = parser.parse_args(arguments)
    print(environment())
    print(f"{asked.rounds} starts each; ms, median (quartiles; maximum)")
    for kind in ("numpy", "onnx"):
        ready_ms, cold, warm = trio.run(measure, kind, asked.rounds)
        print(f"{kind}: the server is ready after {ready_ms:.0f} ms")
        for name, what in (("joined_ms", "first telegram"), ("opened_ms", "opened"), ("left_ms", "exit")):
            columns = [[getattr(start, name) for start in starts] for starts in (cold, warm)]
            ratio = statistics.median(columns[0]) / statistics.median(columns[1])
            print(f"  {what:15} cold {_spread(columns[0])}   warm {_spread(columns[1])}   cold/warm {ratio:.1f}")


def _spread(values: Sequence[float]) -> str:
    first, middle, third = statistics.quantiles(values, n=4)
    return f"{middle:6.0f} ({first:.0f} to {third:.0f}; {max(values):.0f})"


if __name__ == "__main__":
    main()
