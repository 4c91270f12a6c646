"""The host as a device in virtual time: all is done when it is given, and known to be after the time that is modelled.

With threads nothing would be reproducible: virtual time does not pass while they work.
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


class VirtualMark:
    def __init__(self) -> None:
        self.passed_ns = 0
        self.failure: BaseException | None = None


class VirtualTicket:
    def __init__(self, timeline: Timeline, device_ns: int, done_ns: int, failure: BaseException | None) -> None:
        self.device_ns = device_ns
        self.done_ns = done_ns
        self._timeline = timeline
        self._failure = failure

    @property
    def is_done(self) -> bool:
        return self._timeline.now_ns() >= self.done_ns

    async def wait(self) -> None:
        await self._timeline.sleep_until(self.done_ns)
        if self._failure is not None:
            raise self._failure


class VirtualQueue:
    """What fails takes along what follows up to the next mark or ticket."""

    def __init__(self, timeline: Timeline, delays: Delays) -> None:
        self._timeline = timeline
        self._delays = delays
        self._busy_until_ns = 0
        self._busy_ns = 0  # since the last ticket
        self._since_mark: BaseException | None = None
        self._since_ticket: BaseException | None = None

    def copy_in(self, to: Array, source: Array) -> None:
        require_like(to, source)
        self._do(lambda: np.copyto(to, source), self._delays.of_copy(source.nbytes))

    copy_out = copy_in

    def launch(self, work: Work, *arrays: Array) -> None:
        self._do(lambda: work(*arrays), self._delays.launch_ns)

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

    def _do(self, step: Callable[[], None], duration_ns: int) -> None:
        self._busy_until_ns = max(self._busy_until_ns, self._timeline.now_ns()) + duration_ns
        self._busy_ns += duration_ns
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

    def __init__(self, timeline: Timeline, name: str = HOST, delays: Delays | None = None) -> None:
        super().__init__(delays or Delays(), name=name)
        self._timeline = timeline

    def mark(self) -> VirtualMark:
        return VirtualMark()

    def queue(self, priority: int = 0) -> VirtualQueue:
        return VirtualQueue(self._timeline, self._delays)

    def sharing(self) -> Sharing:
        raise NoDeviceError(self.name, "in virtual time there are no other processes")

    def close(self) -> None:
        """It has no threads."""
