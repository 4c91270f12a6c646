"""Data with a class and a deadline, and traces that follow each of them through both ends of an edge."""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.core.credit import FORMER_LIFE
from streamflow.core.deadline import Order
from streamflow.core.outbox import Outbox, Revoke, Transmit
from streamflow.core.trace import Preference, ReceiverTrace, SenderTrace


@dataclass(frozen=True)
class Datum:
    seq: int
    rank: int
    deadline_ns: int


def preference(*, by_deadline: bool = False, by_rank: bool = False) -> Preference[Datum]:
    order = Order.EDF if by_deadline else Order.FIFO
    return Preference(order, lambda datum: datum.deadline_ns, (lambda datum: datum.rank) if by_rank else None)


class Slots(SenderTrace[Datum]):
    """What becomes of every slot: it is filled, may be sent once, and ends once."""

    def __init__(self) -> None:
        self.held: dict[int, Datum] = {}
        self.out: dict[int, Datum] = {}
        self.numbers: dict[int, int] = {}
        self.released_numbers: list[int] = []
        self.dropped_data: list[Datum] = []
        self.lost_data: list[Datum] = []
        self.lost_unsent_count = 0
        self.accepted_count = 0

    def accepted(self, item: Datum) -> int:
        self.accepted_count += 1
        self.held[self.accepted_count] = item
        return self.accepted_count

    def transmitted(self, slot: int, number: int) -> None:
        self.out[slot] = self.held.pop(slot)
        self.numbers[slot] = number

    def released(self, slot: int) -> None:
        del self.out[slot]
        self.released_numbers.append(self.numbers[slot])

    def dropped(self, item: Datum, slot: int | None) -> None:
        assert slot is None or self.held.pop(slot) is item
        self.dropped_data.append(item)

    def lost(self, item: Datum, slot: int | None) -> None:
        assert slot is not None
        if slot in self.held:
            self.lost_unsent_count += 1
            assert self.held.pop(slot) is item
        else:
            assert self.out.pop(slot) is item
        self.lost_data.append(item)


class Ends(ReceiverTrace[Datum]):
    """What the receiving end tells of each number of its current life."""

    def __init__(self) -> None:
        self.arrived_count = 0
        self.removed: set[int] = set()
        self.former_count = 0
        self.dropped_data: list[Datum] = []

    def arrived(self, item: Datum, depth: int) -> None:
        self.arrived_count += 1

    def taken(self, item: Datum, number: int, depth: int) -> None:
        self._remove(number)

    def dropped(self, item: Datum, number: int, depth: int) -> None:
        assert number != FORMER_LIFE, "nobody revokes what a former sender sent"
        self.dropped_data.append(item)
        self._remove(number)

    def _remove(self, number: int) -> None:
        if number == FORMER_LIFE:
            self.former_count += 1
        else:
            assert number not in self.removed
            self.removed.add(number)


def offered_to(outbox: Outbox[Datum], *data: Datum) -> list[Transmit[Datum] | Revoke]:
    for datum in data:
        outbox.offer(datum)
    return list(outbox.actions())
