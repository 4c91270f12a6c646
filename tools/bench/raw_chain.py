"""The least that four processes can do over pyzmq: PUSH and PULL over ipc, blocking, a header and a buffer frame.

No trio, no streamflow, no types, no credits, no counts: what a chain of stages is compared with. The header is
msgpack too, and each relay reads it and makes an array of the buffer, as any program that does something would.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

from tools.claims.framework import ROOT, ShortfallError

Latencies = npt.NDArray[np.int64]

_PR_SET_TIMERSLACK = 29
ROLES = ("source", "first", "second", "sink")
START_LEAD_NS = 100_000_000


def measure_raw(*, rate_hz: float, size: int, count: int) -> Latencies:
    """int64[delivered, 2] ns at the sink: since the instant a block was due, and since it was sent."""
    with tempfile.TemporaryDirectory(prefix="raw-") as folder:
        command = [sys.executable, "-m", "tools.bench.raw_chain", folder, str(rate_hz), str(size), str(count)]
        processes = [
            subprocess.Popen([*command, role], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for role in ROLES
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                if process.stdout.readline() != b"ready\n":
                    raise ShortfallError("the raw chain has not started")
            source = processes[0]
            assert source.stdin is not None
            source.stdin.write(b"%d\n" % (time.monotonic_ns() + START_LEAD_NS))
            source.stdin.flush()
            for process in processes:
                process.wait(count / rate_hz + 30)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        latencies: Latencies = np.load(Path(folder) / "latencies.npy")
        return latencies


def _source(out: zmq.Socket[bytes], rate_hz: float, size: int, count: int) -> None:
    """Paced by absolute instants, and as exact as a timer of the kernel: without the usual 50 µs of slack."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    start_ns = int(sys.stdin.readline())
    period_ns = round(1e9 / rate_hz)
    for number in range(count):
        due_ns = start_ns + number * period_ns
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        block = np.full(size // 8, number)
        out.send_multipart([msgpack.packb([number, due_ns, time.monotonic_ns()]), block.data])
    out.send_multipart([b"", b""])


def _relay(incoming: zmq.Socket[bytes], out: zmq.Socket[bytes]) -> None:
    while True:
        header, buffer = incoming.recv_multipart()
        if not header:
            out.send_multipart([b"", b""])
            return
        number, due_ns, sent_ns = msgpack.unpackb(header)
        block = np.frombuffer(buffer, np.int64)
        out.send_multipart([msgpack.packb([number, due_ns, sent_ns]), block.data])


def _sink(incoming: zmq.Socket[bytes], folder: str) -> None:
    latencies: list[tuple[int, int]] = []
    while True:
        header, buffer = incoming.recv_multipart()
        if not header:
            break
        number, due_ns, sent_ns = msgpack.unpackb(header)
        block = np.frombuffer(buffer, np.int64)
        if not (block[0] == block[-1] == number == len(latencies)):
            raise ValueError(f"block {block[0]} where {len(latencies)} was expected")
        now_ns = time.monotonic_ns()
        latencies.append((now_ns - due_ns, now_ns - sent_ns))
    np.save(Path(folder) / "latencies.npy", np.array(latencies, np.int64).reshape(-1, 2))


def _work(folder: str, rate_hz: float, size: int, count: int, role: str) -> None:
    number = ROLES.index(role)
    with zmq.Context() as context:
        incoming, out = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        if role != "source":
            incoming.bind(f"ipc://{folder}/{number}")
        if role != "sink":
            out.connect(f"ipc://{folder}/{number + 1}")
        print("ready", flush=True)
        if role == "source":
            _source(out, rate_hz, size, count)
        elif role == "sink":
            _sink(incoming, folder)
        else:
            _relay(incoming, out)
        incoming.close()
        out.close()


if __name__ == "__main__":
    _work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
