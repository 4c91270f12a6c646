"""A hop over dora: `dora run` starts a dataflow of two Python nodes, the payload a buffer of bytes as an Arrow array.

Loaned is `send_output_raw`, whose buffer is written in place before the hop begins; copied is `send_output` of an
array that Arrow wraps without a copy. The reader sees the received Arrow array as a NumPy one. The input's queue is
long and asks for back-pressure, so that nothing is dropped where dora can help it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from dora import Node

from tools.bench.peers import hop

QUEUE_SIZE = 1000
POLL_S = 0.05


def _flow(folder: Path) -> dict[str, Any]:
    """The dataflow's description; JSON is YAML too."""

    def node(name: str, **ports: Any) -> dict[str, Any]:
        arguments = ["-m", "tools.bench.peers.dora", str(folder / "case.json"), str(folder), name]
        return {"id": name, "path": sys.executable, "args": " ".join(arguments), **ports}

    queue = {"source": "send/block", "queue_size": QUEUE_SIZE, "queue_policy": "backpressure"}
    return {"nodes": [node("send", outputs=["block"]), node("receive", inputs={"block": queue})]}


def main() -> None:
    case_json, folder = sys.argv[1], Path(sys.argv[2])
    if len(sys.argv) > 3:
        case = hop.Case(**json.loads(Path(case_json).read_text()))
        {"send": send, "receive": receive}[sys.argv[3]](case, folder)
        return
    (folder / "case.json").write_text(case_json)
    (folder / "flow.yml").write_text(json.dumps(_flow(folder)))
    command = [str(Path(sys.executable).with_name("dora")), "run", "flow.yml"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"dora run has ended with {done.returncode}: " + " ".join(done.stdout.split())[-300:])
    hop.report(folder, version("dora-rs"))


def send(case: hop.Case, folder: Path) -> None:
    node = Node()
    own = hop.blank(case.size)

    def send_one(number: int) -> None:
        if not case.is_loaned:
            hop.stamp(own, number)
            node.send_output("block", pa.array(own))
            return
        sample = node.send_output_raw("block", case.size)
        place = sample.as_memoryview()
        hop.stamp(place, number)
        place.release()
        sample.send()

    sending = hop.Sending(case)
    for number in sending.numbers():
        send_one(number)
    send_one(hop.END)
    hop.keep(folder, sending.sent)
    while not (folder / "received.json").exists():
        time.sleep(POLL_S)


def receive(case: hop.Case, folder: Path) -> None:
    node = Node()
    receipts = hop.Receipts(case)
    while not (receipts.is_over or receipts.is_idle()):
        event = node.next(timeout=1.0)
        if event is not None and event["type"] == "INPUT":
            receipts.note(np.asarray(event["value"].to_numpy(zero_copy_only=True), np.uint8))
    hop.keep(folder, receipts.received())


if __name__ == "__main__":
    main()
