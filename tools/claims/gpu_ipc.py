"""Slots on a device handed from process to process, a million times, while the reader is killed again and again.

What is in a slot is a function of its number, so whoever reads another datum than it was told of knows. The reader
keeps some slots for a while and looks again before it gives them back. On the host the same protocol moves memory of
the host, under the same rules (`streamflow.device.host_sharing`).
"""

from __future__ import annotations

import math
import mmap
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import trio

from streamflow.device.contract import Device, Queue
from streamflow.device.cuda import CudaDevice
from streamflow.device.opening import device_of
from streamflow.device.shared_ring import Lent, SharedRing, SharedRingReader, SharedSlot
from streamflow.errors import WireError
from streamflow.memory.words import add
from tools.claims.framework import ROOT, Options, Row, ShortfallError
from tools.claims.gpu_device import gpu

COUNT, QUICK_COUNT = 1_000_000, 20_000
LIMIT_S: Final = 140.0  # then it ends with as many as there were, and is not held for what is claimed of all
KILL_COUNT, QUICK_KILL_COUNT = 20, 3
SLOT_COUNT: Final = 16
SIZE: Final = 512  # int64: a page
SLOW_EVERY: Final = 61
SLOW_SIZE, SLOW_REPEATS = 1 << 17, 8  # a millisecond of the host
KEPT_MAX: Final = SLOT_COUNT // 2
KEPT_SHARE: Final = 0.1
MESSAGE: Final = struct.Struct("<QQQQ")
LENGTH: Final = struct.Struct("<Q")
READY: Final = b"r"
CHECKED, STALE = 0, 1
STUCK_S: Final = 20.0
LEAK_LIMIT: Final = 1 << 20  # bytes of device memory; one ring is more


@dataclass(frozen=True, slots=True)
class HandOvers:
    """What became of them, and how often the reader was killed. `leaks`: what is left of it all, in words; none is as
    it must be."""

    count: int
    kill_count: int
    checked: int
    stale: int
    seconds: float
    leaks: Sequence[str]

    @property
    def lost_max(self) -> int:
        return self.kill_count * SLOT_COUNT

    @property
    def is_sound(self) -> bool:
        return not self.stale and not self.leaks and 0 <= self.count - self.checked <= self.lost_max


def on_host(options: Options) -> Iterator[Row]:
    """The same protocol where there is no GPU."""
    yield _row("host", options)


def on_gpu(options: Options) -> Iterator[Row]:
    """By handles of the driver."""
    gpu()
    yield _row("cuda:0", options)


def _row(name: str, options: Options) -> Row:
    count, kills = (QUICK_COUNT, QUICK_KILL_COUNT) if options.is_quick else (COUNT, KILL_COUNT)
    found = hand_over(name, count, kills, limit_s=LIMIT_S)
    told = (
        f"{found.checked:,} checked in {found.seconds:.0f} s, {found.count - found.checked} lost with their readers, "
        f"{found.stale} stale; {', '.join(found.leaks) or 'nothing left'}"
    )
    bound = f"nothing stale, nothing leaked, at most {found.lost_max} lost"
    claim = f"{found.count:,} slots to another process, killed {found.kill_count} times"
    is_whole = found.count == count and found.kill_count == kills
    return Row(claim, bound, told, (True if is_whole else None) if found.is_sound else False)


# ------------------------------------------------------------------------------------------- the owner


def hand_over(name: str, count: int, kill_count: int, seed: int = 0, limit_s: float = math.inf) -> HandOvers:
    """As many as `count`, or as there is time for. Raises ShortfallError where the reader takes nothing any more,
    DeviceError."""
    device = device_of(name)
    device.open()
    kills = sorted(random.Random(seed).sample(range(count), kill_count))
    with tempfile.TemporaryDirectory(prefix="streamflow-ipc-", dir="/dev/shm") as folder:
        queue = device.queue()
        filling = _Filling(device, queue)
        counts = Path(folder) / "counts"
        counts.write_bytes(bytes(8 * 2))
        if isinstance(device, CudaDevice):  # what its driver keeps once it has shared something is no leak
            first = SharedRing(device, Path(folder), "first", 0, (SIZE,), "int64", SLOT_COUNT)
            _Reader(name, first, counts).end()
            first.close()
        before = _in_use(device)
        ring = SharedRing(device, Path(folder), "ring", 0, (SIZE,), "int64", SLOT_COUNT)
        began_s = time.monotonic()
        reader = _Reader(name, ring, counts)
        number, killed = 0, 0
        while number < count and time.monotonic() < began_s + limit_s:
            slots = _taken(ring, count - number)
            lent = []
            for slot in slots:
                queue.launch(filling.of(number), slot.array)
                lent.append(MESSAGE.pack(*ring.lend(slot, queue), number))
                number += 1
            reader.tell(b"".join(lent))
            while kills and kills[0] < number:
                kills.pop(0)
                killed += 1
                reader.kill()
                ring.forget()
                reader = _Reader(name, ring, counts)
        reader.end()
        seconds = time.monotonic() - began_s
        leaks = [f"{ring.lent_count} slots lent"] if ring.lent_count else []
        with counts.open("r+b") as file, mmap.mmap(file.fileno(), 0) as words:
            checked, stale = struct.unpack("<QQ", words[:16])
        queue.close()
        ring.close()
        del slots, slot  # its array keeps the memory mapped
        leaks += _left(before, _in_use(device))
        leaks += [f"file {path.name}" for path in Path(folder).iterdir() if path != counts]
    device.close()
    return HandOvers(number, killed, checked, stale, seconds, leaks)


class _Filling:
    """Work that writes what belongs to a number; now and then it takes a while: who does not wait reads another."""

    def __init__(self, device: Device, queue: Queue) -> None:
        self._add = device.xp.add
        self._base: Any = None
        self._scratch: Any = None
        queue.launch(partial(self._make, device.xp), device.array((SIZE,), "int64"))
        ticket = queue.ticket()
        while not ticket.is_done:
            time.sleep(1e-3)

    def _make(self, xp: Any, array: Any) -> None:
        """What it needs of the device it has from now on."""
        self._base, self._scratch = xp.arange(SIZE, dtype="int64"), xp.zeros(SLOW_SIZE, "int64")
        self._fill(0, array)

    def of(self, number: int) -> Callable[[Any], None]:
        return partial(self._fill, number)

    def _fill(self, number: int, array: Any) -> None:
        if number % SLOW_EVERY == 0:
            for _ in range(SLOW_REPEATS):
                self._add(self._scratch, 1, out=self._scratch)
        self._add(self._base, number, out=array)


def _taken(ring: SharedRing, count: int) -> list[SharedSlot]:
    """All that are free, at least one."""
    give_up_s = time.monotonic() + STUCK_S
    found: list[SharedSlot] = []
    while len(found) < count:
        slot = ring.take()
        if slot is not None:
            found.append(slot)
        elif found:
            break
        elif time.monotonic() > give_up_s:
            raise ShortfallError(f"no slot has come back for {STUCK_S:g} s")
        else:
            time.sleep(20e-6)
    return found


class _Reader:
    """A process that reads; made, it is ready."""

    def __init__(self, name: str, ring: SharedRing, counts: Path) -> None:
        self._socket, its = socket.socketpair()
        command = [sys.executable, "-m", "tools.claims.gpu_ipc", name, str(its.fileno()), str(counts)]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[its.fileno()])
        its.close()
        hello = ring.hello()
        self._socket.sendall(LENGTH.pack(len(hello)) + hello)
        if self._socket.recv(1) != READY:
            raise ShortfallError(f"the reader ended with status {self._process.wait()} before it had begun")

    def tell(self, messages: bytes) -> None:
        self._socket.sendall(messages)

    def kill(self) -> None:
        """It is reaped when this returns."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def end(self) -> None:
        """When it has read all."""
        self._socket.shutdown(socket.SHUT_WR)
        status = self._process.wait()
        self._socket.close()
        if status:
            raise ShortfallError(f"the reader ended with status {status}")


def _in_use(device: Device) -> dict[str, int]:
    """What a leak would show in."""
    maps = Path("/proc/self/maps").read_text()
    found = {"descriptors": len(os.listdir("/proc/self/fd")), "mappings": maps.count("/memfd:streamflow-")}
    if isinstance(device, CudaDevice):
        free, whole = device.cupy.cuda.runtime.memGetInfo()
        found["bytes of device memory"] = whole - free
    return found


def _left(before: dict[str, int], after: dict[str, int]) -> list[str]:
    more = {what: after[what] - before[what] for what in before}
    return [f"{more[what]:,} {what}" for what in more if more[what] > (LEAK_LIMIT if "bytes" in what else 0)]


# ------------------------------------------------------------------------------------------ the reader


async def read(name: str, connection: socket.socket, counts: memoryview) -> None:
    """Until the owner has nothing more to tell."""
    device = device_of(name)
    device.open()
    queue = device.queue()
    connection.setblocking(False)
    reader = SharedRingReader(device, await _hello(connection))
    reader.settle()
    connection.send(READY)
    base, chance = np.arange(SIZE, dtype=np.int64), random.Random(os.getpid())
    hosts = [device.host_array((SIZE,), "int64") for _ in range(SLOT_COUNT)]
    kept: list[tuple[Lent, int]] = []
    rest = b""

    async def check(told: Sequence[tuple[Lent, int]]) -> None:
        for host, (lent, _) in zip(hosts, told, strict=False):
            host[...] = -1
            queue.copy_out(host, reader.borrow(lent, queue))
        await queue.ticket().wait()
        for host, (lent, number) in zip(hosts, told, strict=False):
            reader.require_still(lent)
            if not np.array_equal(host, base + number):
                add(counts, STALE, 1)

    while data := await _received(connection):
        data = rest + data
        whole = len(data) - len(data) % MESSAGE.size
        rest = data[whole:]
        told = [(Lent(*one[:3]), one[3]) for one in MESSAGE.iter_unpack(data[:whole])]
        try:
            await check(told)
            add(counts, CHECKED, len(told))  # before they go back: else twice as many may be lost with it
            kept += told
            back = [one for one in kept if chance.random() > KEPT_SHARE or len(kept) > KEPT_MAX]
            await check([one for one in back if one not in told])
        except WireError:
            add(counts, STALE, 1)
            raise
        for lent, _ in back:
            reader.give_back(lent)
        kept = [one for one in kept if one not in back]
    for lent, _ in kept:
        reader.give_back(lent)
    queue.close()
    reader.close()
    device.close()


async def _hello(connection: socket.socket) -> bytes:
    data = b""
    while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
        data += await _received(connection)
    return data[LENGTH.size :]


async def _received(connection: socket.socket) -> bytes:
    while True:
        try:
            return connection.recv(1 << 16)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(connection)


def main() -> None:
    name, descriptor, path = sys.argv[1:]
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as counts:
        words = memoryview(counts).cast("Q")
        with socket.socket(fileno=int(descriptor)) as connection:
            trio.run(read, name, connection, words)
        words.release()


if __name__ == "__main__":
    main()
