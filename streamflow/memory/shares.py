"""What one process has of the run's slots: those of its stages' own pools, and those that others have lent it.

Either may be sent on an edge as it is: a frame that a stage passes on is not copied. Every edge downstream of a slot's
owner has a pair of words of its own in the slot's row, so it does not matter who lends: who passes on has given back
only when nobody here looks at it any more, and by then it is lent on the next edge.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamflow.errors import PoolError, WireError
from streamflow.memory.pool import Pool, address_of, root_of
from streamflow.memory.segment import Segment
from streamflow.wire.arrays import Array, Form, array_over
from streamflow.wire.data import Place


@dataclass(frozen=True)
class Owner:
    """A stage whose slots travel. `columns`: the place of each edge downstream of it in its segments' rows."""

    stage: str
    columns: Mapping[str, int]


class Shares:
    """`owners`: of the whole run, by their numbers."""

    def __init__(self, folder: Path, owners: Sequence[Owner], limit: int | None = None) -> None:
        """`limit`: bytes of slots of each pool."""
        self._folder = folder
        self._owners = owners
        self._number_of = {owner.stage: number for number, owner in enumerate(owners)}
        self._limit = limit
        self._pools: dict[int, Pool] = {}
        self._segments: dict[tuple[int, int], Segment] = {}
        self._borrowed: dict[int, tuple[weakref.ref[Array], Place]] = {}

    def pool(self, stage: str) -> Pool:
        """The stage's own, of all its lives."""
        number = self._number_of[stage]
        pool = self._pools.get(number)
        if pool is None:
            pool = Pool(self._folder, stage, len(self._owners[number].columns), self._limit)
            self._pools[number] = pool
        return pool

    def placed(self, array: Array, pool: Pool) -> Array | None:
        """The array as one in a slot, read-only from now on: itself if it is in one, else a copy in one of `pool`.

        None where no slot is free.
        """
        if array.flags.c_contiguous:
            root = root_of(array)
            if self._lent_place(root) is not None:
                return array
            for own in self._pools.values():
                if own.where(root) is not None:
                    root.flags.writeable = array.flags.writeable = False
                    return array
        copy = pool.allocate(array.shape, array.dtype)
        if copy is not None:
            np.copyto(copy, array)
            copy.flags.writeable = False
        return copy

    def lend(self, array: Array, edge: str) -> Place | None:
        """Where the receiver of that edge finds the array, which is lent to it from now on; None: in no slot."""
        if not array.flags.c_contiguous:
            return None
        root = root_of(array)
        place = self._lent_place(root)
        if place is not None:
            segment = self._segment(place.owner, place.segment)
            return self._lend(segment, place._replace(offset=place.offset + _offset(array, root)), edge)
        for number, pool in self._pools.items():
            slot = pool.where(root)
            if slot is not None:
                place = Place(number, slot.segment_number, slot.number, slot.generation, _offset(array, root))
                return self._lend(slot.segment, place, edge)
        return None

    def _lend(self, segment: Segment, place: Place, edge: str) -> Place | None:
        column = self._owners[place.owner].columns.get(edge)
        if column is None:
            return None  # an edge by which no data of the owner can come: the tensor was kept from somewhere else
        segment.lend(place.slot, column)
        return place

    def _lent_place(self, root: Array) -> Place | None:
        found = self._borrowed.get(id(root))
        return found[1] if found is not None and found[0]() is root else None

    def borrow(self, place: Place, form: Form, edge: str, gone: Callable[[int], None]) -> Array:
        """The tensor that is there, read-only, not copied; `gone` gets its id when nobody looks at it any more.

        Raises WireError where there is none like it.
        """
        if place.owner >= len(self._owners) or edge not in self._owners[place.owner].columns:
            raise WireError("Data", f"a tensor of stage {place.owner}", "one of a stage upstream")
        segment = self._segment(place.owner, place.segment)
        if not 0 <= place.slot < segment.slot_count or not 0 <= place.offset <= segment.slot_size - form.size:
            raise WireError("Data", f"a tensor of {form.size:,} bytes at {place}", "one within its slot")
        if segment.generation(place.slot) != place.generation:
            raise WireError("Data", f"slot {place.slot} is used again", f"generation {place.generation}")
        array = array_over(form, segment.slots, place.slot * segment.slot_size + place.offset)
        key, column = id(array), self._owners[place.owner].columns[edge]

        def finished(_: weakref.ref[Array]) -> None:
            del self._borrowed[key]
            gone(key)
            segment.give_back(place.slot, column)

        self._borrowed[key] = weakref.ref(array, finished), place
        return array

    def give_back(self, key: int, edge: str) -> None:
        """What is still looked at, by one who is about to end; `key`: its id."""
        _, place = self._borrowed.pop(key)
        self._segment(place.owner, place.segment).give_back(place.slot, self._owners[place.owner].columns[edge])

    def settle(self, edge: str, held: Mapping[tuple[int, int, int], int]) -> None:
        """By the receiver of `edge`: of all that was lent there it holds these: owner, segment, slot, how often."""
        for owner, number, segment, column in self._segments_of(edge):
            for slot in range(segment.slot_count):
                segment.settle(slot, column, held.get((owner, number, slot), 0))

    def forget(self, edge: str) -> None:
        """By the sender on `edge`: the process of the receiver is dead."""
        for _, _, segment, column in self._segments_of(edge):
            for slot in range(segment.slot_count):
                segment.forget(slot, column)

    def _segments_of(self, edge: str) -> Iterator[tuple[int, int, Segment, int]]:
        """All that there are of stages upstream of the edge."""
        for owner, one in enumerate(self._owners):
            column = one.columns.get(edge)
            if column is not None:
                for path in self._folder.glob(f"{one.stage}.*.pool"):
                    number = int(path.name.split(".")[-2])
                    yield owner, number, self._segment(owner, number), column

    def _segment(self, owner: int, number: int) -> Segment:
        """Raises WireError where it is not there."""
        segment = self._segments.get((owner, number))
        if segment is None:
            one = self._owners[owner]
            try:
                segment = Segment(self._folder / f"{one.stage}.{number}.pool", is_owner=False)
            except PoolError as error:
                raise WireError("Data", f"a tensor in a segment that is not there: {error}") from None
            if segment.edge_count != len(one.columns):
                raise WireError("Data", f"a segment for {segment.edge_count} edges", f"{len(one.columns)}")
            self._segments[owner, number] = segment
        return segment

    def close(self) -> None:
        self._borrowed.clear()
        for pool in self._pools.values():
            pool.close()
        for segment in self._segments.values():
            segment.close()
        self._pools.clear()
        self._segments.clear()


def _offset(array: Array, root: Array) -> int:
    """Of a view in what it is a view of, in bytes."""
    return 0 if array is root else address_of(array) - address_of(root)
