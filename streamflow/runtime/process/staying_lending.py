"""The sending end of an edge by which tensors go to another process without leaving their device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from streamflow.device.resident import DeviceTensor, on_host
from streamflow.device.shared_tensors import SharedTensors
from streamflow.memory.lending import Lending
from streamflow.memory.pool import Pool
from streamflow.memory.shares import Shares
from streamflow.wire.data import Place

ON_DEVICE: Final = 1 << 32  # as the owner of a place: no stage has that number


class StayingLending:
    """A `Lender`. What is on the device is named by its ring's number and life, its slot and that one's generation;
    what is on the host goes by way of `shares`, as on every edge.

    What waited here for a reader that died is copied to the host after all where the next has not opened the ring.
    """

    def __init__(
        self,
        shares: Shares,
        edge: str,
        nth: int,
        pool: Pool,
        rings: Sequence[SharedTensors],
        copied: Callable[[int], None],
    ) -> None:
        """`nth`: of the edges of this output that lead elsewhere. `rings`: of the output, as they are made."""
        self._lending = Lending(shares, edge)
        self._shares = shares
        self._nth = nth
        self._pool = pool
        self._rings = rings
        self._copied = copied

    def lend(self, array: Any) -> Place | None:
        if type(array) is not DeviceTensor:
            return self._lending.lend(array)
        for number, ring in enumerate(self._rings):
            lent = ring.lend(array, self._nth)
            if lent is not None:
                return Place(ON_DEVICE, number, lent.slot, lent.generation, lent.life)
        self._copied(1)
        own = self._shares.placed(on_host(array), self._pool)
        return None if own is None else self._lending.lend(own)

    def forget(self) -> None:
        self._lending.forget()
        for ring in self._rings:
            ring.forget(self._nth)
