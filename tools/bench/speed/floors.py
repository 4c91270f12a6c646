"""Bare wakes between two processes, and a bare copy: what nothing that sleeps, or copies, can be faster than.

The instant of sending is in memory that both share, or nothing is: of a wake there is nothing else to carry.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tools.bench.speed.programme import Meter, Programme
from tools.bench.speed.raw import SPARE_S, wait_all
from tools.claims.framework import ROOT

_FUTEX_CALL = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)  # numbers of the system call
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_PR_SET_TIMERSLACK = 29
COPY_BUFFER_COUNT = 4
WAKES = ("pipe", "eventfd", "unix socket", *(["futex"] if _FUTEX_CALL else []))
COPY = "memcpy"

Wait = Callable[[], object]
Wake = Callable[[], object]


def run_floor(folder: Path, programme: Programme, kind: str) -> None:
    """One of WAKES, or COPY; meters are saved in the folder as sink0, and source where there are two processes."""
    command = [sys.executable, "-m", "tools.bench.speed.floors", str(folder), str(programme), kind]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # a process with threads is not to be forked
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    try:
        wait_all([process], programme.duration_s + SPARE_S)
    finally:
        process.kill()
        process.wait()


def _ends(kind: str, shared: mmap.mmap) -> tuple[Wait, Wake]:
    if kind == "pipe":
        reading, writing = os.pipe()
        return lambda: os.read(reading, 1), lambda: os.write(writing, b"x")
    if kind == "eventfd":
        event = os.eventfd(0)
        return lambda: os.eventfd_read(event), lambda: os.eventfd_write(event, 1)
    if kind == "unix socket":
        receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return lambda: receiver.recv(1), lambda: sender.send(b"x")
    return _futex(shared)


def _futex(shared: mmap.mmap) -> tuple[Wait, Wake]:
    """A word in shared memory counts the wakes; who waits for it to change sleeps in the kernel."""
    call = ctypes.CDLL(None).syscall
    word = ctypes.c_uint32.from_buffer(shared, 16)
    address = ctypes.c_void_p(ctypes.addressof(word))
    seen = 0

    def wait() -> None:
        nonlocal seen
        while word.value == seen:
            call(_FUTEX_CALL, address, _FUTEX_WAIT, ctypes.c_uint32(seen), None, None, 0)
        seen = word.value

    def wake() -> None:
        word.value += 1
        call(_FUTEX_CALL, address, _FUTEX_WAKE, 1, None, None, 0)

    return wait, wake


def _paced(start_ns: int, due_ns: int) -> None:
    wait_ns = start_ns + due_ns - time.monotonic_ns()
    if wait_ns > 0:
        time.sleep(wait_ns / 1e9)


def _wakes(folder: Path, programme: Programme, kind: str) -> None:
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    words = memoryview(shared)[:16].cast("q")  # when the newest was sent, and its number
    wait, wake = _ends(kind, shared)
    meter = Meter(programme)
    last = len(programme.sendings) - 1
    if not os.fork():
        expected = 0
        while expected <= last:
            wait()
            took_ns, number = time.monotonic_ns() - words[0], words[1]
            for passed in range(expected, number + 1):  # several where it was too slow: then the newest counts
                meter.note(passed, took_ns)
            expected = max(expected, number + 1)
        meter.save(folder, "sink0")
        os._exit(0)
    start_ns = time.monotonic_ns() + 50_000_000
    for number, sending in enumerate(programme.sendings):
        _paced(start_ns, sending.due_ns)
        begun_ns = time.monotonic_ns()
        words[1] = number
        words[0] = begun_ns
        wake()
        meter.note(number, time.monotonic_ns() - begun_ns)
    meter.save(folder, "source")
    os.wait()


def _copies(folder: Path, programme: Programme) -> None:
    """As often as messages are sent, into buffers of which each has been written before."""
    meter = Meter(programme)
    source = [np.ones(phase.size // 8, np.int64) for phase in programme.phases]
    targets = [[np.zeros_like(one) for _ in range(COPY_BUFFER_COUNT)] for one in source]
    start_ns = time.monotonic_ns()
    for number, sending in enumerate(programme.sendings):
        _paced(start_ns, sending.due_ns)
        target = targets[sending.phase][number % COPY_BUFFER_COUNT]
        begun_ns = time.monotonic_ns()
        np.copyto(target, source[sending.phase])
        meter.note(number, time.monotonic_ns() - begun_ns)
    meter.save(folder, "sink0")


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    asked = Path(sys.argv[1]), Programme.parse(sys.argv[2])
    if sys.argv[3] == COPY:
        _copies(*asked)
    else:
        _wakes(*asked, sys.argv[3])
