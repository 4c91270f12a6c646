"""What every peer's script shares: the case, the stamp in the payload, the pacing, the receipts, and the two processes.

The rule it keeps: only the standard library and NumPy, for it runs in each peer's own environment. Both ends do the
same little work for every peer: the sender writes a number and the time into the payload, the receiver reads them
back from both ends of a NumPy array. Neither writes nor reads the rest, so that what is measured is the hop.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[np.uint8]

HEAD = struct.Struct("=qq")  # when it was sent, CLOCK_MONOTONIC ns, and its number, in the first 16 bytes
TAIL = struct.Struct("=q")  # its number again, in the last 8
END = -1  # the number of a message that says that no more will come
HELLO = -2  # of one that only asks whether anyone hears
DISCARDED_COUNT = 20  # first messages, while connections, caches and pools warm up
IDLE_S = 3.0  # a receiver that has waited so long takes the rest for lost
START_LEAD_S = 0.2
TIMER_SLACK_NS = 1  # as exact as a timer of the kernel: without the usual 50 µs
_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True)
class Case:
    """`size` in bytes, a multiple of 8; `rate_hz` 0: as fast as it goes; `way`: loaned or copied."""

    name: str
    size: int
    rate_hz: float
    seconds: float
    way: str

    @property
    def is_loaned(self) -> bool:
        return self.way == "loaned"


@dataclass(frozen=True, slots=True)
class Sent:
    """What the sender knows: how many it sent after the discarded ones, and the processor time they took it."""

    count: int
    cpu_ns: int


@dataclass(frozen=True, slots=True)
class Received:
    """What the receiver knows of those after the discarded ones. `span_ns`: from the first receipt to the last."""

    count: int
    latencies_ns: list[int]
    span_ns: int
    cpu_ns: int


def blank(size: int) -> Block:
    """uint8[size], its pages touched, for a sender that has its data in memory of its own."""
    return np.ones(size, np.uint8)


def stamp(block: Any, number: int) -> None:
    """The number at both ends and then the time, so that the time is the last thing before the sending."""
    TAIL.pack_into(block, len(block) - TAIL.size, number)
    HEAD.pack_into(block, 0, time.monotonic_ns(), number)


class Sending:
    """The numbers of the messages to send, each given out when it is due, by absolute instants."""

    def __init__(self, case: Case) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0)
        self._case = case
        self._period_ns = round(1e9 / case.rate_hz) if case.rate_hz else 0
        self._start_ns = time.monotonic_ns() + round(START_LEAD_S * 1e9)
        self._cpu_ns = 0
        self.sent = Sent(0, 0)

    def numbers(self) -> Iterator[int]:
        """Blocks until each is due."""
        for number in self._counted():
            if (wait_s := self._wait_s(number)) > 0:
                time.sleep(wait_s)
            yield number

    async def numbers_async(self) -> AsyncIterator[int]:
        """The same in asyncio: the loop goes on meanwhile, as the peer's own tasks need it."""
        for number in self._counted():
            if (wait_s := self._wait_s(number)) > 0:
                await asyncio.sleep(wait_s)
            yield number

    def _wait_s(self, number: int) -> float:
        if not self._case.rate_hz and number:
            return 0.0
        return (self._start_ns + number * self._period_ns - time.monotonic_ns()) / 1e9

    def _counted(self) -> Iterator[int]:
        number = 0
        while not self._is_over(number):
            if number == DISCARDED_COUNT:
                self._cpu_ns = time.process_time_ns()
            yield number
            number += 1
        self.sent = Sent(number - DISCARDED_COUNT, time.process_time_ns() - self._cpu_ns)

    def _is_over(self, number: int) -> bool:
        if self._case.rate_hz:
            return number >= DISCARDED_COUNT + max(round(self._case.rate_hz * self._case.seconds), 1)
        return number > DISCARDED_COUNT and time.monotonic_ns() > self._start_ns + self._case.seconds * 1e9


class Receipts:
    """What came, when, and what it cost. A case without a rate keeps no latencies: they would be of the queue."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._latencies_ns: list[int] = []
        self._count = 0
        self._first_ns = 0
        self._last_ns = 0
        self._cpu_start_ns = 0
        self._cpu_end_ns = 0
        self.is_over = False

    def note(self, block: Block) -> bool:
        """Called with the array as soon as it can be read; False once the last message has come."""
        sent_ns, number = HEAD.unpack_from(block.data)
        (again,) = TAIL.unpack_from(block.data, self._case.size - TAIL.size)
        now_ns = time.monotonic_ns()
        if again != number or len(block) != self._case.size:
            raise ValueError(
                f"message {number} of {len(block)} bytes ends in {again}; {self._case.size} bytes expected"
            )
        if number == END:
            self.is_over = True
            self._cpu_end_ns = time.process_time_ns()
            return False
        if number < DISCARDED_COUNT:
            return True
        if not self._count:
            self._first_ns = now_ns
            self._cpu_start_ns = time.process_time_ns()
        self._count += 1
        self._last_ns = now_ns
        if self._case.rate_hz:
            self._latencies_ns.append(now_ns - sent_ns)
        return True

    def is_idle(self) -> bool:
        """Whether messages have come and then none for IDLE_S."""
        return bool(self._count) and time.monotonic_ns() - self._last_ns > IDLE_S * 1e9

    def received(self) -> Received:
        if not self._cpu_end_ns:
            self._cpu_end_ns = time.process_time_ns()
        span_ns = self._last_ns - self._first_ns
        return Received(self._count, self._latencies_ns, span_ns, self._cpu_end_ns - self._cpu_start_ns)


def keep(folder: Path, half: Sent | Received) -> None:
    """Leave this process's half of the result where `report` finds it."""
    path = folder / f"{type(half).__name__.lower()}.json"
    path.with_suffix(".part").write_text(json.dumps(asdict(half)))
    path.with_suffix(".part").rename(path)


def report(folder: Path, version: str) -> None:
    """Print both halves as one line of JSON: what the runner reads."""
    sent, received = (json.loads((folder / f"{name}.json").read_text()) for name in ("sent", "received"))
    print(json.dumps({"version": version, "sent": sent, "received": received}), flush=True)


def say_ready() -> None:
    """The receiver says that it listens: only then the sender is started."""
    print("ready", flush=True)


def wait_for_receiver() -> None:
    """The sender stays until the receiver is done: what it holds in shared memory stays with it."""
    sys.stdin.read()


Role = Callable[[Case, Path], None]


def arguments() -> tuple[Case, Path, str]:
    """What the runner gave: the case as JSON, the folder, and in a child the role."""
    case = Case(**json.loads(sys.argv[1]))
    return case, Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""


def main(module: str, version: str, send: Role, receive: Role) -> None:
    """The script of a peer whose two ends are two processes: this one starts both and prints what they found."""
    case, folder, role = arguments()
    if role:
        {"send": send, "receive": receive}[role](case, folder)
        return
    command = [sys.executable, "-m", f"tools.bench.peers.{module}", sys.argv[1], sys.argv[2]]
    receiver = subprocess.Popen([*command, "receive"], stdout=subprocess.PIPE, text=True)
    sender = None
    try:
        assert receiver.stdout is not None
        if receiver.stdout.readline() != "ready\n":
            _fail("the receiver has not started")
        sender = subprocess.Popen([*command, "send"], stdin=subprocess.PIPE)
        while receiver.poll() is None:
            if sender.poll():
                _fail("the sender has failed")
            time.sleep(0.05)
        sender.communicate()
        if receiver.returncode:
            _fail("the receiver has failed")
    finally:
        for process in (receiver, sender):
            if process is not None:
                process.kill()
                process.wait()
    report(folder, version)


def _fail(sentence: str) -> NoReturn:
    sys.exit(sentence)
