"""Pipelines for the claims of GPU stages: tensors through it and back, and a kernel that writes where nothing is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trio

from nodes.infer import CupyFunction
from streamflow import In, InputError, Message, Node, OnDevice, Out, Pipeline, ms
from streamflow.device.contract import Device, DeviceLostError
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from streamflow.wire.arrays import Array

BETWEEN_CAPACITY = 16
ILLEGAL = 'extern "C" __global__ void illegal(float* x) { reinterpret_cast<float*>(64)[threadIdx.x] = x[0]; }'
FAULTS_WITHIN_NS = 50 * ms  # more than a busy machine takes, so that what is missed is what the lost device has cost
HOST_OPENING_S = 0.25  # a GPU takes as long to be there again; the host is at once


class Tensors(Node):
    """Full of their own number, in turns to each of its outputs, or all to the first."""

    first = Out("float32[n]")
    second = Out("float32[n]")

    def __init__(self, size: int, count: int, rate_hz: float, turns: int = 2) -> None:
        self._size = size
        self._turns = turns
        self._count = count
        self._rate_hz = rate_hz

    async def run(self) -> None:
        for number in range(self._count):
            await self.pace(round(number * 1e9 / self._rate_hz))
            tensor = self.allocate((self._size,), "float32")
            tensor[...] = number
            await self.emit(tensor, port="second" if number % self._turns else "first")


class Check(Node):
    """Fails for one that is not what was sent, threefold."""

    tensor = In("float32[n]")

    def process(self, message: Message) -> None:
        if not (message.array == 3 * message.seq).all():
            raise InputError(f"tensor {message.seq}", f"has {message.array.max():g} in it", f"{3 * message.seq}")


class PageableDevice(FaultyDevice):
    """The same device, with host buffers that it cannot copy from and to by itself."""

    def __init__(self, device: Device) -> None:
        super().__init__(device, DeviceFaults(registers_nothing=True))

    def host_array(self, shape: Sequence[int], dtype: Any) -> Array:
        return np.empty(tuple(shape), dtype)


class PageableFunction(CupyFunction):
    """The same function, by way of pageable memory."""

    async def open(self) -> None:
        self.context.device = PageableDevice(self.context.device)
        await super().open()


def threefold(x: Any, xp: Any) -> Any:
    return x * 3


def round_trip(device: str, kib: int = 64, count: int = 400, rate_hz: float = 200.0) -> Pipeline:
    """`count` tensors of that size from one process to another by way of the device's, every second one pageable."""
    size = kib * 256
    p = Pipeline("round_trip")
    tensors = p.add("tensors", Tensors(size, count, rate_hz))
    for port, kind, name in ((tensors.first, CupyFunction, "direct"), (tensors.second, PageableFunction, "pageable")):
        function = kind(threefold, input=f"float32[{size}]", output=f"float32[{size}]", rows_max=1)
        stage = p.add(name, function, device=device, process="device")
        check = p.add(f"{name}_check", Check())
        p.connect(port, stage, capacity=16)
        p.connect(stage, check, capacity=16)
        p.deadline(name, tensors, check, within=1000 * ms)
    return p


class Numbers(Node):
    """One after the other, to both of its outputs."""

    first = Out("float32[]")
    second = Out("float32[]")

    def __init__(self, count: int, rate_hz: float) -> None:
        self._count = count
        self._rate_hz = rate_hz

    async def run(self) -> None:
        for number in range(self._count):
            await self.pace(round(number * 1e9 / self._rate_hz))
            await self.emit(np.float32(number), port="first")
            await self.emit(np.float32(number), port="second")


class Sink(Node):
    data = In("float32[]")

    def process(self, message: Message) -> None:
        """It has arrived."""


class Breaking:
    """Twice the number; once, from `breaks_at` on, with what no device survives: `mark` tells that it has been."""

    def __init__(self, mark: str, breaks_at: float) -> None:
        self._mark = Path(mark)
        self._breaks_at = breaks_at

    def __call__(self, x: Any, xp: Any) -> Any:
        if not self._mark.exists() and float(x.max()) >= self._breaks_at:
            self._mark.touch()
            self._break(x, xp)
        return x * 2

    def _break(self, x: Any, xp: Any) -> None:
        if xp is np:
            raise DeviceLostError("host", "an illegal memory access, as planned")
        xp.RawKernel(ILLEGAL, "illegal")((1,), (32,), (x,))


class Reopened(CupyFunction):
    """On the host too the next life's device takes a while to be there."""

    def __init__(self, function: Callable[..., Any], mark: str) -> None:
        super().__init__(function, input="float32[]", output="float32[]", rows_max=1)
        self._mark = Path(mark)

    async def open(self) -> None:
        if self._mark.exists() and self.context.device.xp is np:
            await trio.sleep(HOST_OPENING_S)
        await super().open()


def faults(device: str, mark: str, breaks_at: int = 200, count: int = 1500, rate_hz: float = 200.0) -> Pipeline:
    """Two stages of one process on one device, and one of them destroys it for both."""
    p = Pipeline("faults")
    numbers = p.add("numbers", Numbers(count, rate_hz))
    functions: dict[str, Callable[..., Any]] = {"broken": Breaking(mark, breaks_at), "beside": threefold}
    for port, (name, function) in zip((numbers.first, numbers.second), functions.items(), strict=True):
        added = p.add(name, Reopened(function, mark), device=device, process="device")
        sink = p.add(f"{name}_sink", Sink())
        p.connect(port, added, capacity=1000)
        p.connect(added, sink, capacity=1000)
        p.deadline(name, numbers, sink, within=FAULTS_WITHIN_NS)
    return p


class Mortal(CupyFunction):
    """Its process is killed in the middle of each of these data, once; `marks` tells which have been."""

    def __init__(self, f: Callable[..., Any], *, dies_at: Sequence[int], marks: str, size: int) -> None:
        super().__init__(f, input=f"float32[{size}]", output=f"float32[{size}]", rows_max=1)
        self._dies_at = dies_at
        self._marks = Path(marks)

    def process_batch(self, messages: Sequence[Message]) -> OnDevice:
        given = super().process_batch(messages)
        for message in messages:
            mark = self._marks.with_name(f"{self._marks.name}.{message.seq}")
            if message.seq in self._dies_at and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return given


def same(x: Any, xp: Any) -> Any:
    return x


def between(
    device: str,
    marks: str,
    kib: int = 64,
    count: int = 300,
    rate_hz: float = 200.0,
    deaths: int = 0,
    way: str = "between",
) -> Pipeline:
    """Tensors that one stage writes on the device and another reads there; `way`: in its own process, in another, or
    copied to the host first, as where somebody else gets them there. Both die so often, in turns."""
    size, step = kib * 256, count // (2 * deaths + 1)
    writer_dies = [step * (2 * nth + 1) for nth in range(deaths)]
    reader_dies = [step * (2 * nth + 2) for nth in range(deaths)]
    p = Pipeline("between")
    tensors = p.add("tensors", Tensors(size, count, rate_hz, turns=1))
    writer = p.add("writer", Mortal(threefold, dies_at=writer_dies, marks=f"{marks}w", size=size), device=device,
                   process="writer")  # fmt: skip
    reader = p.add("reader", Mortal(same, dies_at=reader_dies, marks=f"{marks}r", size=size), device=device,
                   process="writer" if way == "within" else "reader")  # fmt: skip
    check = p.add("check", Check())
    p.connect(tensors.first, writer, capacity=BETWEEN_CAPACITY)
    p.connect(writer, reader, capacity=BETWEEN_CAPACITY)
    p.connect(reader, check, capacity=BETWEEN_CAPACITY)
    if way == "copied":
        p.connect(writer, p.add("beside", Check()), capacity=BETWEEN_CAPACITY)
    p.deadline("there", tensors, check, within=1000 * ms)
    return p
