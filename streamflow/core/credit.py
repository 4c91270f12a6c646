"""Both ends of an edge between processes, as one bounded queue: who may send, what is dropped, and where.

While user code runs, its process reads nothing, so what was sent waits on the wire and the receiver cannot
apply a policy. The sender therefore decides for both sides. It holds what has no credit; it may have at most
`window` data out; and when the policy wants a datum gone that is already out, it *revokes* it: the receiver
reads everything that arrived before it serves the next, so a revoked datum is dropped there, counted there,
and its credit comes back. If the receiver had already served it, the revocation changes nothing.

When the process at the other end dies, `reattach` begins a new life of the edge: numbers start from 0 and the
window is free again. What the dead receiver had removed is known from its recorder; the rest of what was out
is lost. What is held stays, and meets its policy until somebody receives again.

An edge that *keeps* what it sends loses nothing with a receiver: credit comes back when a datum is done, not when it
is taken, and `reattach` puts what is out aside until the next life has greeted. Then `settle` is told which of it the
former life had done; the rest is held again, before everything else. A sender's next life takes up what the former
had (`take_up`), and a receiver leaves what it has not served to be sent again (`discard_former`).

While its *gate* is closed a sender holds what is offered: a stage that must do a datum whole, or not at all, lets its
results go when that is written down.

Laws: data out without credit ≤ window; data out and not revoked + held ≤ capacity;
offered = transmitted + held + dropped here (+ lost without a receiver); transmitted = served + dropped there +
on the wire + lost with a dead receiver. Nothing is dropped for a datum of a lower rank.
"""

from __future__ import annotations

from typing import Final

from streamflow.core.overflow import Overflow

# A dropping edge keeps the rest where it can still be dropped without sending it. Two: one served, one ready.
DROPPING_WINDOW: Final = 2
FORMER_LIFE: Final = -1  # the number of a datum that came before the edge was attached again


def window_of(overflow: Overflow, capacity: int) -> int:
    """How many data may be out without credit. A blocking edge loses nothing by sending all it may."""
    return capacity if overflow is Overflow.BLOCK else min(capacity, DROPPING_WINDOW)
