"""The two ends of one edge, as they use the process's shares of memory."""

from __future__ import annotations

from collections import Counter

from streamflow.memory.shares import Shares
from streamflow.wire.arrays import Array, Form
from streamflow.wire.data import Place


class Lending:
    """At the sending end."""

    def __init__(self, shares: Shares, edge: str) -> None:
        self._shares = shares
        self._edge = edge

    def lend(self, array: Array) -> Place | None:
        """Where the receiver finds it; None: nowhere, so it is to be sent."""
        return self._shares.lend(array, self._edge)

    def forget(self) -> None:
        """The receiver's process is dead."""
        self._shares.forget(self._edge)


class Borrowing:
    """At the receiving end: arrays over others' slots, each of which goes back when nobody looks at it."""

    def __init__(self, shares: Shares, edge: str) -> None:
        self._shares = shares
        self._edge = edge
        self._held: dict[int, Place] = {}  # by the id of the array

    def array(self, place: Place, form: Form) -> Array:
        """The tensor that is there, read-only, not copied. Raises WireError where there is none like it."""
        array = self._shares.borrow(place, form, self._edge, self._held.__delitem__)
        self._held[id(array)] = place
        return array

    def settle(self) -> None:
        """What is not held here of all that was lent is nobody's: it was on its way to, or from, one who is dead.

        To be called when nothing was lent yet in the sender's present life to the receiver's.
        """
        held = Counter((place.owner, place.segment, place.slot) for place in self._held.values())
        self._shares.settle(self._edge, held)

    def close(self) -> None:
        """Give back what is still held; the arrays stay valid as long as somebody looks at them."""
        held, self._held = self._held, {}
        for key in held:
            self._shares.give_back(key, self._edge)
