"""Tensors that stay on a device between two stages: not copied out, not copied in.

They are made once, when a stage opens, and used again when nobody has them any more: who reads one keeps it until a
ticket that was given after that is done. Where none is free, its sender copies to the host instead, as without any;
so one who keeps what he gets takes time, and stops nobody. *Not taken*: waiting for one, as for room on an edge; who
holds them is not known to wait for anything, and a batch needs several at once.

    open      self.tensors = self.context.resident("samples", shape, dtype)  # None: nothing stays
    process   slots.put(slot, "x", message.array); tensor = self.tensors.take(); slots.keep(slot, "y", [tensor])
              return OnDevice(slots.submit(slot, work), lambda: tensor)  # without one, what was copied out
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NoReturn, Protocol, final

import numpy as np

from streamflow.device.contract import Device, DeviceArray, DeviceError, Mark, Queue
from streamflow.wire.arrays import Array


@final
class DeviceTensor:
    """In a message where else a NumPy array is: `array` is of the device's `xp`, whole once `ready` has passed.

    What is read as a host array must be there: such a tensor says instead, in a DeviceError, that it is not, whatever
    of an array is asked of it.
    """

    __slots__ = ("__weakref__", "array", "device", "dtype", "nbytes", "ndim", "ready", "shape", "size")

    def __init__(self, device: Device, array: DeviceArray, ready: Mark) -> None:
        self.device: Final = device
        self.array: Final[DeviceArray] = array
        self.ready: Final = ready
        self.shape: Final[tuple[int, ...]] = tuple(array.shape)
        self.dtype: Final[np.dtype[Any]] = np.dtype(array.dtype)
        self.ndim: Final = len(self.shape)
        self.size: Final = prod(self.shape)
        self.nbytes: Final = self.size * self.dtype.itemsize

    def on(self, queue: Queue) -> DeviceArray:
        """The array, for what the queue is given from now on. Keep the tensor until a ticket given after that is done,
        and do not write to it: others may read it too."""
        queue.wait_for(self.ready)
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        self._is_not_here()

    def __getattr__(self, name: str) -> NoReturn:
        """Of what it is not: `flags`, `mean`, `astype`, ... of an array."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._is_not_here()

    def _is_not_here(self, *_: object) -> NoReturn:
        found = f"{self} is read as an array of the host"
        hint = "take it by tensor.on(queue), or leave on_device=True out at the port"
        raise DeviceError(self.device.name, found, "a stage that works on the same device", hint)

    # Not `__iter__`, which would make it an iterable of results; who iterates comes to `__getitem__`.
    __getitem__ = __setitem__ = __len__ = __float__ = __int__ = _is_not_here
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _is_not_here
    __floordiv__ = __mod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = _is_not_here
    __lt__ = __le__ = __gt__ = __ge__ = _is_not_here

    def __repr__(self) -> str:
        return f"DeviceTensor({self.dtype}{list(self.shape)} on {self.device.name})"


class Tensors(Protocol):
    """Of one output of one stage: a `TensorRing`, or where some of them go to other processes `SharedTensors`."""

    device: Device
    count: int
    """How many there are."""

    def take(self) -> DeviceTensor | None:
        """One that nobody has, to be written by a queue, in which its `ready` is to be recorded after that; or None."""

    def take_all(self, count: int) -> list[DeviceTensor] | None:
        """So many, or none at all where not as many are free."""

    def close(self) -> None:
        """Nothing of it is taken any more: what it was made for does not stay."""


class TensorRing:
    """Within one process. Not thread-safe, but that a tensor may be let go in any thread."""

    def __init__(
        self,
        device: Device,
        shape: Sequence[int],
        dtype: Any,
        count: int,
        exhausted: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`exhausted` is told how many were asked for in vain. Raises DeviceMemoryError."""
        self.count = count
        self.device = device
        self._kind = tuple(shape), np.dtype(dtype)
        self._exhausted = exhausted
        self._slots = [(device.array(shape, dtype), device.mark()) for _ in range(count)]
        self._free = deque(range(count))
        self._taken: list[weakref.ref[DeviceTensor] | None] = [None] * count
        self._let_go = [_returns(self._free, number) for number in range(count)]

    def take(self) -> DeviceTensor | None:
        found = self.take_all(1)
        return None if found is None else found[0]

    def take_all(self, count: int) -> list[DeviceTensor] | None:
        if self._slots and len(self._free) >= count:
            return [self._take() for _ in range(count)]
        if self._slots:
            self._exhausted(count)
        return None

    def _take(self) -> DeviceTensor:
        number = self._free.popleft()
        array, ready = self._slots[number]
        tensor = DeviceTensor(self.device, array, ready)
        self._taken[number] = weakref.ref(tensor, self._let_go[number])
        return tensor

    def close(self) -> None:
        self._slots.clear()
        self._free.clear()

    def is_like(self, shape: Sequence[int], dtype: Any) -> bool:
        """Whether its tensors are such."""
        return self._kind == (tuple(shape), np.dtype(dtype))

    @property
    def free_count(self) -> int:
        return len(self._free)


def _returns(free: deque[int], number: int) -> Callable[[object], None]:
    """What is called when the tensor of that number is let go; it holds nothing but these two."""
    return lambda _: free.append(number)


def bring(queue: Queue, pieces: Sequence[tuple[DeviceArray, DeviceTensor]]) -> None:
    """Give the queue the copies of what is on the device already into the arrays that work reads."""
    if pieces:
        queue.launch(_copy_all, *(to for to, _ in pieces), *(tensor.on(queue) for _, tensor in pieces))


def keep(queue: Queue, pieces: Sequence[tuple[DeviceTensor, DeviceArray]]) -> None:
    """Give it the copies of what stays there out of the arrays that work writes."""
    if pieces:
        queue.launch(_copy_all, *(tensor.array for tensor, _ in pieces), *(source for _, source in pieces))


def on_host(tensor: DeviceTensor) -> Array:
    """A copy of it, waited for by the whole loop: for the few that find nobody on the device any more."""
    queue, host = tensor.device.queue(), np.empty(tensor.shape, tensor.dtype)
    queue.copy_out(host, tensor.on(queue))
    ticket = queue.ticket()
    queue.close()
    if not ticket.is_done:
        raise DeviceError(tensor.device.name, f"{tensor} could not be copied to the host in time")
    return host


def _copy_all(*arrays: DeviceArray) -> None:
    """Into the first half of them from the second."""
    half = len(arrays) // 2
    for to, source in zip(arrays[:half], arrays[half:], strict=True):
        to[...] = source
