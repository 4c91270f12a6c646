"""Recurrent states of a stage's streams in a file in memory, each committed whole, and found so by its next life.

A step is written into the copy that does not count, and then counts by one store of the slot's turn: eight aligned
bytes, never seen half done (`memory.state_view` has the file). So whenever its process dies, a stream has the tensors,
the seq, the time and the notes of one step, the last that was committed, all together. Each stream of a batch turns by
itself: after a death in the midst some are a step further than others, and each is what it was stepped with. A slot
goes to another stream by the same store: it never has the state of one and the name of the other.

What (state, seq) promises: the state has seen the datum `seq` and nothing after it. Data up to it that come again must
not be stepped with (`core.gaps` says SKIP), all later ones must. Whether their results went out is not said here.

A death needs no order of stores but the program's, on any processor; only readers in other processes need fences.

*Not taken*: one copy and a log of steps, which costs the same stores and a replay; a checksum for each commit, which
finds a torn state and has no other to go on from; a record for each stream with all its tensors, since a batch is then
put together row by row, while here it is one `take` along an axis that is already where the model wants it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streamflow.core.gaps import NO_SEQ, NO_TIME_NS
from streamflow.errors import StateError
from streamflow.memory.ring import fence
from streamflow.memory.state_layout import (
    COPY_COUNT,
    HEAD_SIZE,
    NAME_SIZE_LIMIT,
    SLOT_COUNT_LIMIT,
    StateTensor,
    checked,
    places,
    require_same,
    to_text,
)
from streamflow.memory.state_view import (
    CHANGE,
    COPY,
    FACT_SIZE,
    FACTS,
    HEAD,
    LENGTH,
    MAGIC,
    NAME,
    TAKEN,
    Notes,
    StateView,
    StreamState,
    decoded,
    row_of,
    to_notes,
)
from streamflow.memory.words import load, store
from streamflow.wire.arrays import Array

NO_NOTES: Final[Notes] = (0, 0, 0, 0)


class _Batch:
    """What is kept for batches of one size, so that none of them allocates."""

    __slots__ = ("arrays", "forms", "rows")

    def __init__(self, rows: npt.NDArray[np.intp], arrays: list[Array]) -> None:
        self.rows = rows
        self.arrays = arrays
        self.forms = [(array.shape, array.dtype) for array in arrays]


class States(StateView):
    """The owner's: a stage's states over all its lives, of which one at a time writes."""

    _IS_OWNER = True

    def __init__(self, path: Path, tensors: Sequence[StateTensor], slot_count: int) -> None:
        """Made, all of it, where it is not there yet; else everything is as it was last committed.

        Raises StateError where there is no room, or what is there is of another layout.
        """
        declared = checked(tensors)
        if not 1 <= slot_count <= SLOT_COUNT_LIMIT:
            raise StateError(str(path), f"{slot_count} slots", f"1 to {SLOT_COUNT_LIMIT}")
        if not path.exists():
            _make(path, declared, slot_count)
        super().__init__(path)
        hint = "what is kept there is of another model or other settings: remove it to begin anew"
        try:
            require_same(str(path), self.tensors, declared, hint)
            if self.slot_count != slot_count:
                raise StateError(str(path), f"{self.slot_count} slots", f"{slot_count}", hint)
        except StateError:
            self.close()
            raise
        for stored, tensor in zip(self._stored, declared, strict=True):
            if tensor.initial is not None:
                stored.initial = tensor.initial
        self._initial = [stored.initial for stored in self._stored]
        self.numbers: Final = [tensor.is_number for tensor in declared]
        """Of each tensor, whether a NaN in it is no state to go on with."""
        self._nth = {tensor.name: nth for nth, tensor in enumerate(declared)}
        self._turn_at: dict[int, int] = {}
        """The word of each slot that is somebody's."""
        self._names: dict[int, str] = {}
        self._slots: dict[str, int] = {}
        for slot in range(slot_count):
            turn = load(self._words, self._turns_at + slot)
            if turn & TAKEN:
                self._call(slot, decoded(bytes(self._name(slot, turn))))
        self._kept: list[Array] = [np.empty(0, stored.all.dtype) for stored in self._stored]
        self._kept_rows = np.empty(0, np.intp)
        self._batches: dict[int, _Batch] = {}

    def streams(self) -> list[tuple[str, int]]:
        """All that have a slot, and which: whoever was stepped with the oldest datum first, as `core.slots` wants."""
        return [(self._names[slot], slot) for slot in sorted(self._names, key=lambda slot: self.last(slot)[1])]

    def last(self, slot: int) -> tuple[int, int]:
        """Seq and event time of the datum that the slot's state belongs to; NO_SEQ and NO_TIME_NS before the first."""
        seq, event_time_ns, *_ = self._facts(self._row(slot))
        return seq, event_time_ns

    def notes(self, slot: int) -> Notes:
        """The caller's numbers, as last committed."""
        return to_notes(self._facts(self._row(slot))[2:])

    def initial(self, tensor: str) -> Array:
        """What a new stream has of it, without a batch axis."""
        return self._initial[self._nth[tensor]]

    def assign(self, slot: int, stream: str) -> None:
        """The slot is this new stream's, with the initial state; whoever had it has lost his."""
        self._begin(slot, stream, self._initial, (NO_SEQ, NO_TIME_NS, *NO_NOTES))

    def restore(self, slot: int, state: StreamState) -> None:
        """The same, with a state that it had in a former run. Raises StateError for one of another layout."""
        for tensor, array in zip(self.tensors, state.tensors, strict=True):
            if array.shape != tensor.shape or array.dtype != tensor.dtype:
                found = f"{array.dtype}{list(array.shape)}"
                raise StateError(f"state of {state.stream}", found, str(tensor))
        self._begin(slot, state.stream, state.tensors, (state.seq, state.event_time_ns, *state.notes))

    def reset(self, slot: int) -> None:
        """The state is the initial one again; it goes on belonging to the datum it belonged to."""
        row = self._row(slot)
        self._write(row ^ 1, self._initial, self._facts(row))
        self._turn(slot, self._load_turn(slot) ^ COPY)

    def take_back(self, slot: int) -> None:
        """The step that was committed last was not made: the one before it counts again. Once for each step."""
        self._turn(slot, self._load_turn(slot) ^ COPY)

    def release(self, slot: int) -> None:
        """It is nobody's."""
        self._row(slot)
        self._turn(slot, self._load_turn(slot) & ~TAKEN)
        del self._turn_at[slot], self._slots[self._names.pop(slot)]

    def gather(self, slots: Sequence[int], into: Sequence[Array] | None = None) -> Sequence[Array]:
        """The states of these slots along each tensor's batch axis, in the order of the layout.

        Without `into` in arrays that are kept for it, and written over by the next call. A slot may be there twice,
        which pads a batch. Raises StateError for a slot that is nobody's, and for arrays that do not fit.
        """
        count = len(slots)
        batch = self._batches.get(count) or self._batch(count)
        if into is None:
            into = batch.arrays
        else:
            self._require_fit(into, batch)
        if count == 1:
            row = self._row(slots[0])
            for stored, array in zip(self._stored, into):  # noqa: B905 - as many; to ask costs as much as the rest
                array[...] = stored.one(row)
        else:
            rows = batch.rows
            rows[:] = [self._row(slot) for slot in slots]
            for stored, array in zip(self._stored, into, strict=True):
                stored.all.take(rows, stored.axis, array, "clip")  # the default, "raise", would copy once more
        return into

    def commit(
        self,
        slots: Sequence[int],
        following: Sequence[Array],
        seqs: Sequence[int],
        event_times_ns: Sequence[int],
        notes: Sequence[Notes] | None = None,
    ) -> None:
        """A step of each of these slots was made: `following`, as gathered, is what they have from now on.

        All arguments are in the order of `slots`; without `notes` they are zeros. Raises StateError, with nothing
        changed, for a slot that is nobody's or there twice, and for arguments that do not fit.
        """
        count = len(slots)
        batch = self._batches.get(count) or self._batch(count)
        self._require_fit(following, batch)
        if not count == len(seqs) == len(event_times_ns) or (notes is not None and len(notes) != count):
            raise StateError(str(self.path), "arguments of different lengths", f"{count} of each, one for each slot")
        if count > 1 and len(set(slots)) < count:
            raise StateError(str(self.path), f"a slot twice in {list(slots)}", "one step of a stream in a batch")
        rows = [self._row(slot) ^ 1 for slot in slots]  # the copies that do not count
        if fence is not None:
            fence()  # whoever still sees the turns before must not see what is written now
        if count == 1:
            for stored, array in zip(self._stored, following):  # noqa: B905 - as in `gather`
                stored.one(rows[0])[...] = array
        else:
            batch.rows[:] = rows
            for stored, array in zip(self._stored, following, strict=True):
                stored.all[(*stored.before, batch.rows)] = array
        file, facts_at = self._bytes, self._places.facts
        for nth, row in enumerate(rows):
            own = NO_NOTES if notes is None else notes[nth]
            FACTS.pack_into(file, facts_at + FACT_SIZE * row, seqs[nth], event_times_ns[nth], *own)
        if fence is not None:
            fence()
        words, turn_at = self._words, self._turn_at
        for slot in slots:
            at = turn_at[slot]
            store(words, at, (load(words, at) ^ COPY) + CHANGE)

    def _begin(self, slot: int, stream: str, tensors: Sequence[Array], facts: tuple[int, ...]) -> None:
        name = stream.encode()
        if not 1 <= len(name) <= NAME_SIZE_LIMIT:
            raise StateError(f"stream {stream!r}", f"a name of {len(name)} bytes", f"1 to {NAME_SIZE_LIMIT}")
        if not 0 <= slot < self.slot_count:
            raise StateError(f"stream {stream!r}", f"slot {slot}", f"one of {self.slot_count}")
        if self._slots.get(stream, slot) != slot:
            raise StateError(f"stream {stream!r}", f"slot {slot}", f"the one that it has, {self._slots[stream]}")
        turn = self._load_turn(slot) ^ (COPY | NAME)
        place = self._name(slot, turn)
        if fence is not None:
            fence()
        place[LENGTH.size : LENGTH.size + len(name)] = name
        LENGTH.pack_into(place, 0, len(name))
        self._write(row_of(slot, turn), tensors, facts)
        self._turn(slot, turn | TAKEN)
        self._call(slot, stream)

    def _call(self, slot: int, stream: str) -> None:
        self._slots.pop(self._names.get(slot, ""), None)
        self._names[slot] = stream
        self._turn_at[slot] = self._turns_at + slot
        self._slots[stream] = slot

    def _write(self, row: int, tensors: Sequence[Array], facts: tuple[int, ...]) -> None:
        if fence is not None:
            fence()
        for stored, array in zip(self._stored, tensors, strict=True):
            stored.one(row)[...] = array.reshape(stored.tensor.shape_of(1))
        FACTS.pack_into(self._bytes, self._places.facts + FACT_SIZE * row, *facts)

    def _load_turn(self, slot: int) -> int:
        return load(self._words, self._turns_at + slot)

    def _turn(self, slot: int, turn: int) -> None:
        """From here on it counts."""
        if fence is not None:
            fence()
        store(self._words, self._turns_at + slot, turn + CHANGE)

    def _row(self, slot: int) -> int:
        """The copy that counts."""
        at = self._turn_at.get(slot)
        if at is None:
            raise StateError(str(self.path), f"slot {slot} is nobody's", "one that was assigned")
        return COPY_COUNT * slot + (load(self._words, at) & COPY)

    def _batch(self, count: int) -> _Batch:
        """What is kept grows with the largest batch there was; smaller ones have their arrays in the same memory."""
        if count != 1 and any(tensor.batch_axis is None for tensor in self.tensors):
            raise StateError(str(self.path), f"a batch of {count}", "of 1: a state has no batch axis")
        if count > len(self._kept_rows):
            self._kept_rows = np.empty(count, np.intp)
            self._kept = [np.empty(stored.initial.size * count, stored.all.dtype) for stored in self._stored]
            self._batches.clear()
        arrays = []
        for tensor, kept in zip(self.tensors, self._kept, strict=True):
            shape = tensor.shape if tensor.batch_axis is None else tensor.shape_of(count)
            arrays.append(kept[: math.prod(shape)].reshape(shape))
        batch = self._batches[count] = _Batch(self._kept_rows[:count], arrays)
        return batch

    def _require_fit(self, arrays: Sequence[Array], batch: _Batch) -> None:
        if [(array.shape, array.dtype) for array in arrays] == batch.forms:
            return
        if len(arrays) != len(batch.arrays):
            raise StateError(str(self.path), f"{len(arrays)} arrays", f"{len(batch.arrays)}, one for each tensor")
        for tensor, array, kept in zip(self.tensors, arrays, batch.arrays, strict=True):
            if array.shape != kept.shape or array.dtype != kept.dtype:
                expected = f"{kept.dtype}{list(kept.shape)}"
                raise StateError(f"state {tensor.name}", f"{array.dtype}{list(array.shape)}", expected)


def _make(path: Path, tensors: Sequence[StateTensor], slot_count: int) -> None:
    """A new file, all of it there: later no page has to be found. Nobody sees it before it is whole."""
    text = to_text(tensors).encode()
    size = places(tensors, len(text), slot_count).size
    partial = path.with_name(path.name + ".partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)  # on tmpfs a page that is not there later would be a SIGBUS
            os.pwrite(descriptor, text, HEAD_SIZE)
            os.pwrite(descriptor, HEAD.pack(MAGIC, slot_count, len(text), size), 0)
        finally:
            os.close(descriptor)
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StateError(str(path), f"cannot be made ({error.strerror})", f"room for {size:,} bytes") from None
