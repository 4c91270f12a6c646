"""Which stream has which slot: given at first sight, never more than there are, and who makes room for whom.

Law: a slot has one stream and a stream one slot; nobody in the batch at hand is evicted for another of it, so at most
as many streams as there are slots can be in one batch. Who is evicted has lost its state, and comes back as a new
stream: that is why REFUSE is what holds where nobody said otherwise. This decides only; whoever asked gives the slots
of `Seating.created` to their streams before it uses them (`memory.states`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from streamflow.errors import StateError


class Eviction(Enum):
    """What a new stream finds where all slots are taken."""

    REFUSE = "refuse"
    """No room: the states that there are stay, and its data have no results."""
    LEAST_RECENTLY_USED = "least_recently_used"
    """The slot of whoever has gone longest without a step, however short that is."""
    IDLE = "idle"
    """The same, if that one has had no step for a declared time; else no room."""


class Created(NamedTuple):
    """A slot that has a new stream from now on."""

    stream: str
    slot: int
    evicted: str | None
    """Whose it was till now; None: nobody's."""


class Seating(NamedTuple):
    """Of one batch."""

    slots: list[int | None]
    """In the order of the batch; None: there is no room for that stream."""
    created: list[Created]


class Slots:
    """Pure: `seat` says where the states of a batch are, and counts what that took."""

    def __init__(
        self,
        slot_count: int,
        eviction: Eviction = Eviction.REFUSE,
        *,
        idle_ns: int = 0,
        taken: Iterable[tuple[str, int]] = (),
        now_ns: int = 0,
    ) -> None:
        """`taken`: streams and their slots from a former life, the longest unused first; used `now_ns`, all of them.

        `idle_ns`: under IDLE. Raises StateError for what cannot be.
        """
        if slot_count < 1:
            raise StateError("slots of recurrent state", f"{slot_count}", "at least 1")
        if (eviction is Eviction.IDLE) != (idle_ns > 0):
            raise StateError(f"eviction {eviction.value}", f"an idle time of {idle_ns} ns", "one, and only for idle")
        self.created_count = 0
        self.evicted_count = 0
        self.refused_count = 0
        self._slot_count = slot_count
        self._eviction = eviction
        self._idle_ns = idle_ns
        self._slots = dict(taken)
        self._used_ns = dict.fromkeys(self._slots, now_ns)  # in the order of use: who is used goes to the end
        used = set(self._slots.values())
        if len(used) < len(self._slots) or not all(0 <= slot < slot_count for slot in used):
            raise StateError("slots of recurrent state", f"taken: {self._slots}", f"different ones of {slot_count}")
        self._free = [slot for slot in reversed(range(slot_count)) if slot not in used]

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, stream: str) -> bool:
        return stream in self._slots

    def seat(self, batch: Sequence[str], now_ns: int) -> Seating:
        """The slots of streams that are to be stepped together, each of them once: else StateError."""
        if len(batch) == 1 and batch[0] in self._slots:
            self._use(batch[0], now_ns)
            return Seating([self._slots[batch[0]]], [])
        if len(set(batch)) < len(batch):
            raise StateError("batch", f"a stream twice in {list(batch)}", "one step of a stream in a batch")
        for stream in batch:
            if stream in self._slots:
                self._use(stream, now_ns)
        slots: list[int | None] = []
        created: list[Created] = []
        for stream in batch:
            slot = self._slots.get(stream)
            if slot is None and (new := self._create(stream, batch, now_ns)) is not None:
                created.append(new)
                slot = new.slot
            slots.append(slot)
        return Seating(slots, created)

    def release(self, stream: str) -> int | None:
        """The stream has ended: its slot, which is free from now on; None where it had none."""
        slot = self._slots.pop(stream, None)
        if slot is not None:
            del self._used_ns[stream]
            self._free.append(slot)
        return slot

    def _use(self, stream: str, now_ns: int) -> None:
        self._used_ns.pop(stream, None)
        self._used_ns[stream] = now_ns

    def _create(self, stream: str, batch: Sequence[str], now_ns: int) -> Created | None:
        evicted = None
        if not self._free:
            evicted = self._victim(batch, now_ns)
            if evicted is None:
                self.refused_count += 1
                return None
            self.release(evicted)
            self.evicted_count += 1
        slot = self._slots[stream] = self._free.pop()
        self._use(stream, now_ns)
        self.created_count += 1
        return Created(stream, slot, evicted)

    def _victim(self, batch: Sequence[str], now_ns: int) -> str | None:
        """Who makes room. All of the batch have been used now, so whoever is first in the order of use is of none."""
        if self._eviction is Eviction.REFUSE:
            return None
        oldest = next(iter(self._used_ns))
        if oldest in batch:
            return None
        is_idle = now_ns - self._used_ns[oldest] >= self._idle_ns
        return oldest if is_idle else None
