"""Tensors of one output that other processes copy from where they were written, on the device.

They are taken and let go as within one process (`resident`); beside that each is lent, by number, to readers elsewhere,
and used again when nobody here has it and all of those gave it back. Until every reader has said that it can see them,
none is given: what is sent is copied to the host then, as without any.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streamflow.device.contract import Device
from streamflow.device.resident import DeviceTensor
from streamflow.device.shared_ring import Lent, SharedRing, SharedSlot
from streamflow.wire.values import pack, unpack

SUFFIX: Final = ".ring"


class SharedTensors:
    """At their owner. Not thread-safe, but that a tensor may be let go in any thread."""

    def __init__(
        self, ring: SharedRing, device: Device, folder: Path, name: str, exhausted: Callable[[int], None]
    ) -> None:
        """Readers find it in `folder` by its `name`. `exhausted` is told how many were asked for in vain."""
        self.device = device
        self.count = len(ring.slots)
        self.kept_count = 0
        self.unopened_count = 0
        """Of those that were asked for: some reader had not opened them."""
        self._ring = ring
        self._path = folder / f"{name}{SUFFIX}"
        self._exhausted = exhausted
        self._taken: dict[int, tuple[weakref.ref[DeviceTensor], SharedSlot]] = {}  # by the number of the slot
        self._dropped: deque[int] = deque()
        self._is_closed = False
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(pack([device.name, ring.hello()]))
        partial.rename(self._path)

    def take(self) -> DeviceTensor | None:
        found = self.take_all(1)
        return None if found is None else found[0]

    def take_all(self, count: int) -> list[DeviceTensor] | None:
        if self._is_closed:
            return None
        if not self._ring.is_opened:
            self.unopened_count += count
            return None
        while self._dropped:
            _, slot = self._taken.pop(self._dropped.popleft())
            self._ring.let_go(slot)
        slots: list[SharedSlot] = []
        while len(slots) < count:
            taken = self._ring.take()
            if taken is None:
                for slot in slots:
                    self._ring.put_back(slot)
                self._exhausted(count)
                return None
            slots.append(taken)
        self.kept_count += count
        return [self._tensor(slot) for slot in slots]

    def _tensor(self, slot: SharedSlot) -> DeviceTensor:
        tensor = DeviceTensor(self.device, slot.array, slot.written)
        self._taken[slot.number] = weakref.ref(tensor, _tells(self._dropped, slot.number)), slot
        return tensor

    def lend(self, tensor: DeviceTensor, edge: int) -> Lent | None:
        """To the reader at that edge; None where it is none of these, or somebody has not opened them."""
        if self._ring.is_opened:
            for own, slot in self._taken.values():
                if own() is tensor:
                    return self._ring.lend_on(slot, edge)
        return None

    def forget(self, edge: int) -> None:
        """The process of the reader at that edge is dead."""
        self._ring.forget(edge)

    def close(self) -> None:
        """Nothing is taken any more, and nobody finds it; the memory is there as long as this process, for readers that
        have opened it."""
        if not self._is_closed:
            self._is_closed = True
            self._ring.withdraw()
            self._path.unlink(missing_ok=True)


def hello_in(path: Path) -> tuple[str, bytes]:
    """The name of the device, and what a reader needs. Raises OSError where it is gone, WireError."""
    device, hello = unpack(path.read_bytes())
    return device, hello


def _tells(dropped: deque[int], number: int) -> Callable[[Any], None]:
    """What is called when the tensor of that slot is let go; it holds nothing but these two."""
    return lambda _: dropped.append(number)
