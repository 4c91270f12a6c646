"""What a reader has of another stage's slots: arrays over them, each of which goes back when nobody looks at it."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path

from streamflow.errors import PoolError, WireError
from streamflow.memory.segment import Segment
from streamflow.wire.arrays import Array, Form, array_over
from streamflow.wire.data import Place


class Borrowed:
    """At the receiving end of one edge; `reader` is its number among those that leave the stage."""

    def __init__(self, folder: Path, stage: str, reader: int) -> None:
        self._folder = folder
        self._stage = stage
        self._reader = reader
        self._segments: dict[int, Segment] = {}
        self._held: dict[int, tuple[weakref.ref[Array], int, int]] = {}
        self._serial = 0

    def array(self, place: Place, form: Form) -> Array:
        """The tensor that is there, read-only, not copied. Raises WireError where there is none like it."""
        segment = self._segment(place.segment)
        if not 0 <= place.slot < segment.slot_count or not 0 <= place.offset <= segment.slot_size - form.size:
            raise WireError("Data", f"a tensor of {form.size:,} bytes at {place}", "one within its slot")
        if segment.generation(place.slot) != place.generation:
            raise WireError("Data", f"slot {place.slot} is used again", f"generation {place.generation}")
        array = array_over(form, segment.slots, place.slot * segment.slot_size + place.offset)
        self._serial = serial = self._serial + 1

        def gone(_: weakref.ref[Array]) -> None:
            del self._held[serial]
            segment.give_back(place.slot, self._reader)

        self._held[serial] = weakref.ref(array, gone), place.segment, place.slot
        return array

    def _segment(self, number: int) -> Segment:
        segment = self._segments.get(number)
        if segment is None:
            path = self._folder / f"{self._stage}.{number}.pool"
            try:
                segment = Segment(path, is_owner=False)
            except PoolError as error:
                raise WireError("Data", f"a tensor in a segment that is not there: {error}") from None
            if self._reader >= segment.reader_count:
                raise WireError("Data", f"reader {self._reader}", f"less than {segment.reader_count}")
            self._segments[number] = segment
        return segment

    def settle(self) -> None:
        """What is not held here of all that was lent is nobody's: it was on its way to, or from, one who is dead.

        To be called when the owner has lent nothing yet in its present life to this one of the reader.
        """
        held = Counter((segment, slot) for _, segment, slot in self._held.values())
        for path in self._folder.glob(f"{self._stage}.*.pool"):
            number = int(path.name.split(".")[-2])
            segment = self._segment(number)
            for slot in range(segment.slot_count):
                segment.settle(slot, self._reader, held[number, slot])

    def close(self) -> None:
        """Give back what is still held; the arrays stay valid as long as somebody looks at them."""
        for _, segment, slot in self._held.values():
            self._segments[segment].give_back(slot, self._reader)
        self._held.clear()
        for one in self._segments.values():
            one.close()
        self._segments.clear()
