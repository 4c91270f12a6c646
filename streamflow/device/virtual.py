"""The host as a device in virtual time: all is done when it is given, and known to be after the time that is modelled.

With threads nothing would be reproducible: virtual time does not pass while they work. As on a GPU that is full, one
thing is computed at a time, of all queues in the order in which it was given, while one copy goes in and one out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from streamflow.core.device_names import HOST
from streamflow.device.contract import Graph, Mark, NoDeviceError, Sharing, Work, require_like
from streamflow.device.host import Delays, HostGraph, NumpyDevice
from streamflow.wire.arrays import Array


class Timeline(Protocol):
    """Virtual time."""

    def now_ns(self) -> int: ...
    async def sleep_until(self, instant_ns: int) -> None: ...


class _Engine:
    """Does one thing at a time."""

    def __init__(self) -> None:
        self.busy_until_ns = 0


class _Engines:
    def __init__(self) -> None:
        self.copies_in, self.computes, self.copies_out = _Engine(), _Engine(), _Engine()


class VirtualMark:
    def __init__(self) -> None:
        self.passed_ns = 0
        self.failure: BaseException | None = None


class VirtualTicket:
    def __init__(self, timeline: Timeline, device_ns: int, done_ns: int, failure: BaseException | None) -> None:
        self.device_ns = device_ns
        self.done_ns = done_ns
        self.failure = failure
        self._timeline = timeline

    @property
    def is_done(self) -> bool:
        return self._timeline.now_ns() >= self.done_ns

    async def wait(self) -> None:
        await self._timeline.sleep_until(self.done_ns)
        if self.failure is not None:
            raise self.failure


class VirtualQueue:
    """What fails takes along what follows up to the next mark or ticket."""

    handle = 0

    def __init__(self, timeline: Timeline, delays: Delays, engines: _Engines) -> None:
        self._timeline = timeline
        self._delays = delays
        self._engines = engines
        self._busy_until_ns = 0
        self._busy_ns = 0  # since the last ticket
        self._since_mark: BaseException | None = None
        self._since_ticket: BaseException | None = None

    def copy_in(self, to: Array, source: Array) -> None:
        self._copy(to, source, self._engines.copies_in)

    def copy_out(self, to: Array, source: Array) -> None:
        self._copy(to, source, self._engines.copies_out)

    def launch(self, work: Work, *arrays: Array) -> None:
        self._do(lambda: work(*arrays), self._delays.launch_ns, self._engines.computes)

    def replay(self, graph: Graph) -> None:
        assert isinstance(graph, HostGraph)
        self.launch(graph.work, *graph.arrays)

    def record(self, mark: Mark) -> None:
        assert isinstance(mark, VirtualMark)
        mark.passed_ns, mark.failure = self._busy_until_ns, self._since_mark
        self._since_mark = None

    def wait_for(self, mark: Mark) -> None:
        assert isinstance(mark, VirtualMark)
        self._busy_until_ns = max(self._busy_until_ns, mark.passed_ns)
        self._failed(mark.failure)

    def ticket(self) -> VirtualTicket:
        done_ns = max(self._busy_until_ns, self._timeline.now_ns())
        ticket = VirtualTicket(self._timeline, self._busy_ns, done_ns, self._since_ticket)
        self._busy_ns, self._since_mark, self._since_ticket = 0, None, None
        return ticket

    def close(self) -> None:
        """There is nothing left to do."""

    def _copy(self, to: Array, source: Array, engine: _Engine) -> None:
        require_like(to, source)
        self._do(lambda: np.copyto(to, source), self._delays.of_copy(source.nbytes), engine)

    def _do(self, step: Callable[[], None], duration_ns: int, engine: _Engine) -> None:
        self._busy_until_ns = max(self._busy_until_ns, self._timeline.now_ns())
        self._busy_ns += duration_ns
        if duration_ns:
            self._busy_until_ns = max(self._busy_until_ns, engine.busy_until_ns) + duration_ns
            engine.busy_until_ns = self._busy_until_ns
        if self._since_mark is None:
            try:
                step()
            except BaseException as error:
                self._failed(error)

    def _failed(self, error: BaseException | None) -> None:
        self._since_mark = self._since_mark or error
        self._since_ticket = self._since_ticket or error


class VirtualDevice(NumpyDevice):
    """Whatever device its stage asked for."""

    capabilities = replace(NumpyDevice.capabilities, has_ipc=False, is_timed=False)

    def __init__(
        self, timeline: Timeline, name: str = HOST, delays: Delays | None = None, in_flight_max: int = 2
    ) -> None:
        super().__init__(delays or Delays(), name=name)
        self.capabilities = replace(self.capabilities, in_flight_max=in_flight_max)
        self._timeline = timeline
        self._engines = _Engines()

    def mark(self) -> VirtualMark:
        return VirtualMark()

    def queue(self, priority: int = 0) -> VirtualQueue:
        return VirtualQueue(self._timeline, self._delays, self._engines)

    def sharing(self) -> Sharing:
        raise NoDeviceError(self.name, "in virtual time there are no other processes")

    def close(self) -> None:
        """It has no threads."""
