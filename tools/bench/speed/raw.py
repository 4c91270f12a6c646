"""The least that processes can do over pyzmq: PUSH and PULL over ipc, blocking, a header frame and a buffer frame.

No trio, no streamflow, no types, no credits, no counts: what streamflow is compared with. The header is msgpack, and
each relay reads it and makes an array of the buffer, as any program that does something would. From 64 KiB on buffers
are sent and received without copies of pyzmq's own, which is its fastest documented way for them.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq

from tools.bench.speed.programme import Meter, Origin, Programme
from tools.claims.command import wait_until
from tools.claims.framework import ROOT, ShortfallError

_PR_SET_TIMERSLACK = 29
_END = b""
START_LEAD_NS = 100_000_000
SPARE_S = 60.0  # beyond the programme's own time; a saturated phase has none
COPY_LIMIT = 64 << 10  # pyzmq's own threshold
BUFFER_COUNT = 4  # written in turn: it waits for none that is still being sent


def run_raw(folder: Path, programme: Programme, hop_count: int) -> None:
    """A chain of processes, whose meters are saved in the folder as source, relay1... and sink0."""
    names = ["source", *(f"relay{number}" for number in range(1, hop_count)), "sink0"]
    command = [sys.executable, "-m", "tools.bench.speed.raw", str(folder), str(programme)]
    processes = [
        subprocess.Popen([*command, name, str(number)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number, name in enumerate(names)
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
        wait_all(processes, programme.duration_s + SPARE_S)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_all(processes: Sequence[subprocess.Popen[bytes]], time_limit_s: float) -> None:
    """Until all have ended well. Raises ShortfallError when one fails, or it takes too long."""

    def is_over() -> bool:
        codes = [process.poll() for process in processes]
        return any(codes) or None not in codes

    if wait_until(is_over, time_limit_s) is None:
        raise ShortfallError(f"a bare mechanism has not ended after {time_limit_s:.0f} s")
    if any(process.poll() for process in processes):
        raise ShortfallError("a bare mechanism has failed; what it said is above")


def _source(out: zmq.Socket[bytes], programme: Programme, meter: Meter) -> None:
    """Paced by absolute instants, and as exact as a timer of the kernel: without the usual 50 µs of slack."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    lengths = [phase.size // 8 for phase in programme.phases]
    buffers = [
        cycle([np.zeros(length, np.int64) for _ in range(BUFFER_COUNT if phase.origin is not Origin.FRESH else 0)])
        for length, phase in zip(lengths, programme.phases, strict=True)
    ]
    under_way: deque[zmq.MessageTracker] = deque()
    start_ns = int(sys.stdin.readline())
    for number, sending in enumerate(programme.sendings):
        phase = programme.phases[sending.phase]
        wait_ns = start_ns + sending.due_ns - time.monotonic_ns() if phase.rate_hz else 0
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        if len(under_way) == BUFFER_COUNT - 1:
            under_way.popleft().wait()
        if phase.origin is Origin.FRESH:
            block = np.full(lengths[sending.phase], number)
        else:
            block = next(buffers[sending.phase])
            if phase.origin is Origin.FIXED:
                block[0] = block[-1] = number
            else:
                block.fill(number)
        begun_ns = time.monotonic_ns()
        out.send(msgpack.packb([number, begun_ns]), zmq.SNDMORE)
        if phase.size < COPY_LIMIT:
            out.send(block.data)
        else:
            under_way.append(out.send(block.data, copy=False, track=True))
        meter.note(number, time.monotonic_ns() - begun_ns)
        meter.late(begun_ns - start_ns - sending.due_ns if phase.rate_hz else 0)
    out.send_multipart([_END, _END])


def _relay(incoming: zmq.Socket[bytes], out: zmq.Socket[bytes], programme: Programme, meter: Meter) -> None:
    is_copied = [phase.size < COPY_LIMIT for phase in programme.phases]
    for index, sending in enumerate(programme.sendings):
        header = incoming.recv()
        buffer: Any = incoming.recv(copy=is_copied[sending.phase])
        number, begun_ns = msgpack.unpackb(header)
        block = np.frombuffer(buffer, np.int64)
        meter.note(index, 0)
        out.send(msgpack.packb([number, begun_ns]), zmq.SNDMORE)
        out.send(block.data, 0, is_copied[sending.phase])
    out.send_multipart([_END, _END])


def _sink(incoming: zmq.Socket[bytes], programme: Programme, meter: Meter) -> None:
    is_copied = [phase.size < COPY_LIMIT for phase in programme.phases]
    for expected, sending in enumerate(programme.sendings):
        header = incoming.recv()
        buffer: Any = incoming.recv(copy=is_copied[sending.phase])
        number, begun_ns = msgpack.unpackb(header)
        block = np.frombuffer(buffer, np.int64)
        age_ns = time.monotonic_ns() - begun_ns
        if not (block[0] == block[-1] == number == expected):
            raise ValueError(f"block {block[0]} where {expected} was expected")
        meter.note(expected, age_ns)
    incoming.recv_multipart()


def _work(folder: Path, programme: Programme, name: str, number: int) -> None:
    meter = Meter(programme)
    with zmq.Context() as context:
        incoming, out = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        if number:
            incoming.bind(f"ipc://{folder}/{number}")
        if not name.startswith("sink"):
            out.connect(f"ipc://{folder}/{number + 1}")
        print("ready", flush=True)
        if name == "source":
            _source(out, programme, meter)
        elif name.startswith("relay"):
            _relay(incoming, out, programme, meter)
        else:
            _sink(incoming, programme, meter)
        meter.save(folder, name)
        incoming.close()
        out.close()


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Programme.parse(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
