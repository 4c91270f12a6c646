"""The host as a device: NumPy, with a thread for each queue. The reference for all others, and what stands in for them.

It keeps the rules of a real device and offers nothing beyond them: what is given is done later, by another thread, in
the order of its queue alone, and a copy reads its source when its turn comes. With modelled delays it is done at the
end of its time, so that whoever uses a slot before its ticket is done has a wrong answer here, and not only on somebody
else's GPU.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from streamflow.device.completions import CLOSE_LIMIT_S, Bell, Pending
from streamflow.device.contract import (
    Capabilities,
    DeviceArray,
    DeviceMemoryError,
    Graph,
    Kernel,
    Mark,
    NoDeviceError,
    Queue,
    Sharing,
    Work,
    require_like,
)
from streamflow.device.host_marks import HostMark, Place
from streamflow.device.host_sharing import HostSharing
from streamflow.wire.arrays import Array


@dataclass(frozen=True, slots=True)
class Delays:
    """What work takes at least, in ns; of a copy, its size too. By default only what it takes by itself."""

    launch_ns: int = 0
    copy_ns: int = 0
    copy_ns_per_kib: float = 0.0

    def of_copy(self, size: int) -> int:
        return self.copy_ns + round(self.copy_ns_per_kib * size / 1024)


@dataclass(frozen=True, slots=True)
class HostGraph:
    work: Work
    arrays: tuple[DeviceArray, ...]


class HostQueue:
    """A thread that does what it is given. What fails takes along what follows up to the next mark or ticket."""

    handle = 0

    def __init__(self, name: str, delays: Delays) -> None:
        self._delays = delays
        self._given: SimpleQueue[tuple[Callable[[], None], int] | Place | Pending | None] = SimpleQueue()
        self._bell = Bell()
        self._is_closed = False
        self._thread = threading.Thread(target=self._do_all, name=name, daemon=True)
        self._thread.start()

    def copy_in(self, to: DeviceArray, source: Array) -> None:
        self._copy(to, source)

    def copy_out(self, to: Array, source: DeviceArray) -> None:
        self._copy(to, source)

    def launch(self, work: Work, *arrays: DeviceArray) -> None:
        self._given.put((lambda: work(*arrays), self._delays.launch_ns))

    def replay(self, graph: Graph) -> None:
        assert isinstance(graph, HostGraph)
        self.launch(graph.work, *graph.arrays)

    def record(self, mark: Mark) -> None:
        assert isinstance(mark, HostMark)
        self._given.put(mark.placed())

    def wait_for(self, mark: Mark) -> None:
        assert isinstance(mark, HostMark)
        waiting = mark.waiting()
        if waiting is not None:
            self._given.put((waiting, 0))

    def ticket(self) -> Pending:
        ticket = Pending(self._bell)
        self._given.put(ticket)
        return ticket

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._given.put(None)
            self._thread.join(CLOSE_LIMIT_S)
            self._bell.close()

    def _copy(self, to: Array, source: Array) -> None:
        require_like(to, source)
        self._given.put((lambda: np.copyto(to, source), self._delays.of_copy(source.nbytes)))

    def _do_all(self) -> None:
        begun_ns = 0  # with what was given since the last ticket; 0: nothing yet
        since_mark: BaseException | None = None
        since_ticket: BaseException | None = None
        while (given := self._given.get()) is not None:
            if isinstance(given, Place):
                given.pass_it(since_mark)
                since_mark = None
            elif isinstance(given, Pending):
                given.finish(time.monotonic_ns() - begun_ns if begun_ns else 0, since_ticket)
                begun_ns, since_mark, since_ticket = 0, None, None
            else:
                begun_ns = begun_ns or time.monotonic_ns()
                if since_mark is None:
                    try:
                        _do(*given)
                    except BaseException as error:
                        since_mark = error
                        since_ticket = since_ticket or error


def _do(step: Callable[[], None], delay_ns: int) -> None:
    if delay_ns:
        time.sleep(delay_ns / 1e9)
    step()


class NumpyDevice:
    """What the host is in real time and in virtual time: its arrays are NumPy's, and it reads all memory by itself."""

    xp: Any = np
    place = ("cpu", 0)
    capabilities = Capabilities(is_async=True, has_graphs=True, has_ipc=True, has_kernels=False, in_flight_max=2)

    def __init__(self, delays: Delays = Delays(), memory_limit: int | None = None, name: str = "host") -> None:
        """`memory_limit`: bytes that all of its arrays may have together."""
        self.name = name
        self._delays = delays
        self._memory_limit = memory_limit
        self._allocated_bytes = 0
        self._allocation_count = 0

    @property
    def description(self) -> str:
        return f"NumPy {np.__version__}"

    def open(self) -> None:
        """It is there."""

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        self._take(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        return np.empty(tuple(shape), dtype)

    def _take(self, size: int) -> None:
        if self._memory_limit is not None and self._allocated_bytes + size > self._memory_limit:
            left = self._memory_limit - self._allocated_bytes
            raise DeviceMemoryError(self.name, f"{size:,} bytes were asked for", f"at most the {left:,} that are left")
        self._allocated_bytes += size
        self._allocation_count += 1

    def pointer(self, array: DeviceArray) -> int:
        return int(array.ctypes.data)

    def host_array(self, shape: Sequence[int], dtype: Any) -> Array:
        self._allocation_count += 1
        return np.empty(tuple(shape), dtype)

    def register(self, memory: Array) -> bool:
        return True

    def sharing(self) -> Sharing:
        return HostSharing(self.name, self._take)

    def capture(self, queue: Queue, work: Work, *arrays: DeviceArray) -> HostGraph:
        return HostGraph(work, arrays)

    def kernel(self, source: str, name: str, constants: Mapping[str, int]) -> Kernel:
        raise NoDeviceError(self.name, f"kernel {name} is CUDA C", "a device that compiles it")

    def allocation_count(self) -> int:
        return self._allocation_count


class HostDevice(NumpyDevice):
    """As many as are wanted in a process: they share nothing."""

    def __init__(self, delays: Delays = Delays(), memory_limit: int | None = None, name: str = "host") -> None:
        super().__init__(delays, memory_limit, name)
        self._queues: list[HostQueue] = []

    def mark(self) -> HostMark:
        return HostMark()

    def queue(self, priority: int = 0) -> HostQueue:
        queue = HostQueue(f"{self.name} queue {len(self._queues) + 1}", self._delays)
        self._queues.append(queue)
        return queue

    def close(self) -> None:
        for queue in self._queues:
            queue.close()
