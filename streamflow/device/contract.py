"""What every device is to those who use it: arrays of its own, queues of work in order, tickets for what was given.

    device   opened once by a process; its arrays are of `device.xp`, NumPy or what reads like it
    queue    work in the order in which it was given; queues run beside each other, and wait for each other by marks
    mark     a place in a queue: all that was given before it
    ticket   a mark that a task can wait for, which tells how long the device was at it, or what went wrong

Giving work never waits for the device, and nothing is allocated by it: a stage allocates what it needs when it opens
(`slots.SlotRing`). Who gives an array or a host buffer leaves it as it is until a ticket given after it is done: until
then it may be read, or not have been written yet. A ticket that fails says how bad it is: `WorkError` is of this work
only, `DeviceLostError` means that nothing of this device works any more in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streamflow.errors import StreamflowError
from streamflow.wire.arrays import Array

DeviceArray = Any
"""An array of a device's `xp`; on `host` a NumPy array."""
Work = Callable[..., None]
"""`work(*arrays)`: computes with arrays of the device, in place of the last ones; it waits for nothing."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device can, beyond what all can."""

    is_async: bool
    """Its work goes on while the host does something else."""
    has_graphs: bool
    """What was captured is given again as one."""
    has_ipc: bool
    """Its arrays can be seen by other processes of this host."""
    has_kernels: bool
    """It compiles CUDA C."""
    in_flight_max: int
    """How many batches it is sensibly given at once: one that runs, and those that are staged."""
    is_timed: bool = True
    """What is measured on it is what it takes; in virtual time it is what was modelled."""


class DeviceError(StreamflowError):
    """A device that cannot be used."""


class NoDeviceError(DeviceError):
    """It is not there, or what it needs is not."""


class DeviceMemoryError(DeviceError):
    """There is no room on it for what was to be allocated."""


class DeviceLostError(DeviceError):
    """Nothing of it works any more in this process; a new process may have better luck."""


class WorkError(DeviceError):
    """Work that was given has failed, and all that waits for it; what is given from now on may do well."""


class Mark(Protocol):
    """A place in a queue, once it was recorded there; recorded again it is another place."""


class Ticket(Protocol):
    """Of all that a queue was given before it was asked for."""

    @property
    def is_done(self) -> bool:
        """Whether waiting would not wait: the work is done, or has failed."""

    @property
    def device_ns(self) -> int:
        """How long the device was at what was given since the queue's last ticket; 0 until it is done."""

    @property
    def done_ns(self) -> int:
        """When that was seen, in ns of the monotonic clock; 0 until then."""

    @property
    def failure(self) -> BaseException | None:
        """Once it is done: what waiting raises, for who must not wait."""

    async def wait(self) -> None:
        """Return when the work is done. Raises what it raised, or a DeviceError."""


class Graph(Protocol):
    """Work that was captured, with the arrays that it computes with."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Work that the device cannot capture, and why."""

    reason: str


class Kernel(Protocol):
    """A function that was compiled for the device, to be called in `work`."""

    def __call__(self, grid: tuple[int, int], block: int, *arguments: DeviceArray | int) -> None:
        """`grid` blocks of `block` threads; an int goes to the kernel as an `int`."""


class Queue(Protocol):
    """Made by `Device.queue`. Used from one thread; what it is given is done in that order."""

    @property
    def handle(self) -> int:
        """What the device's driver calls it, for a library that gives work to it in `launch`: a `cudaStream_t`. 0 where
        it has no name."""

    def copy_in(self, to: DeviceArray, source: Array) -> None:
        """From a contiguous host array, at its best one of `Device.host_array`. Same shape and dtype."""

    def copy_out(self, to: Array, source: DeviceArray) -> None: ...
    def launch(self, work: Work, *arrays: DeviceArray) -> None:
        """Call `work` for it to give its kernels to this queue; what it raises is raised here or by the ticket."""

    def replay(self, graph: Graph) -> None:
        """Give all that was captured, at once."""

    def record(self, mark: Mark) -> None:
        """The mark is here from now on: after what was given, before what will be."""

    def wait_for(self, mark: Mark) -> None:
        """What is given from now on begins when all before the place that the mark has now, in any queue of this
        device, is done. It fails if that has failed."""

    def ticket(self) -> Ticket: ...
    def close(self) -> None:
        """Wait, for a second at most, for what has a ticket, and release what it has."""


class Sharing(Protocol):
    """What processes of this host share of a device that `has_ipc`: at one end of a connection, until it is closed.

    A handle is for other processes, on the same device, while who made it lives. To open one takes up to milliseconds.
    """

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """As `Device.array`, for others to read. Raises DeviceMemoryError."""

    def mark(self) -> Mark:
        """To be recorded here, and waited for here and elsewhere."""

    def handle(self, shared: DeviceArray | Mark) -> bytes:
        """By which others find what was made here."""

    def array_of(self, handle: bytes, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """Another process's array, of the same shape and dtype, to be read. Raises DeviceError."""

    def mark_of(self, handle: bytes) -> Mark:
        """Another process's mark, to be waited for. Raises DeviceError."""

    def close(self) -> None:
        """Release all of it: no queue uses it any more, and who opened what was made here has closed it, or is dead."""


class Device(Protocol):
    """One device, as one process uses it."""

    name: str
    """As it is asked for: `host`, `cuda:0`."""
    xp: Any
    """The array module: NumPy or CuPy."""
    place: tuple[str, int]
    """Where its arrays lie, in the words of other libraries: `("cpu", 0)`, `("cuda", 1)`."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def description(self) -> str:
        """For people: `NVIDIA H200, driver 13.0, CuPy 14.2`."""

    def open(self) -> None:
        """Raises NoDeviceError."""

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """On the device; what is in it is undefined. Raises DeviceMemoryError."""

    def pointer(self, array: DeviceArray) -> int:
        """The address of its first element, for a library that is given no arrays; whoever uses it holds the array."""

    def host_array(self, shape: Sequence[int], dtype: Any) -> Array:
        """On the host, where the device copies from and to without anybody's help. Raises DeviceMemoryError."""

    def mark(self) -> Mark: ...
    def queue(self, priority: int = 0) -> Queue:
        """The higher its priority, the sooner what it was given is begun where several wait; as far as there are
        priorities."""

    def sharing(self) -> Sharing:
        """Raises NoDeviceError where it has nothing that others can see."""

    def capture(self, queue: Queue, work: Work, *arrays: DeviceArray) -> Graph | Refusal:
        """What `work` gives to the queue, to be replayed; with nothing done yet. What `work` raises comes out."""

    def register(self, memory: Array) -> bool:
        """Whether the device copies from this memory by itself from now on, which others may have mapped too.

        `memory`: whole pages. It stays mapped until the device is closed. By any thread; it may take a millisecond for
        some MB. Told again it is not done again.
        """

    def kernel(self, source: str, name: str, constants: Mapping[str, int]) -> Kernel:
        """The function `name` of CUDA C `source`, with `constants` defined for its preprocessor. It is compiled now.

        Raises NoDeviceError on a device that has no kernels, WorkError with what the compiler says.
        """

    def allocation_count(self) -> int:
        """Of arrays on the device and for it on the host, so far, those included that work has made: none in a loop."""

    def close(self) -> None:
        """Release all; its queues are closed."""


def require_like(to: DeviceArray, source: DeviceArray) -> None:
    """Raises DeviceError where one cannot be copied to the other as it lies in memory."""
    if to.shape != source.shape or to.dtype != source.dtype:
        found = f"{source.dtype}{list(source.shape)} is copied to {to.dtype}{list(to.shape)}"
        raise DeviceError("device", found, "the same shape and dtype")
    if not (to.flags.c_contiguous and source.flags.c_contiguous):
        raise DeviceError("device", "a copy of what does not lie in one piece", "C-contiguous arrays, at both ends")
