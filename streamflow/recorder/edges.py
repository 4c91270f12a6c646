"""An edge's two blocks in the recorders of its two stages: counts, and which data are where.

The sender's table names every datum that it holds or has out, with the data of sources that it was made from; the
receiver's table names what has left the mailbox. After a death their difference is what was lost, exactly. The word
with the state is stored last, so whatever store was the last one, a reader sees the datum before or after the step.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence, Set
from mmap import mmap
from typing import Final

from streamflow.errors import RecorderError
from streamflow.memory.words import add, load, put4, store
from streamflow.recorder.layout import (
    BLOCKED,
    DEPTH_PEAK,
    FREE,
    GIVEN_UP_MASK,
    HELD,
    INPUT_DROPPED,
    INPUT_HEAD,
    LAST_ARRIVAL_NS,
    LAST_OFFERED_NS,
    LIVE_GIVEN_UP,
    LIVE_HELD,
    LIVE_OUT,
    NTH_LIMIT,
    NUMBER_BITS,
    NUMBER_MASK,
    OFFERED,
    OUTPUT_DROPPED,
    OUTPUT_HEAD,
    REASONS,
    RECEIVED,
    SERIAL_SHIFT,
    SLOT_ORIGIN_COUNT,
    SLOT_PLACE,
    SLOT_SERIAL,
    SLOT_WORDS,
    TAKEN,
    TRANSMITTED,
    TURN_MASK,
    TURN_SHIFT,
    WORD,
)

_REASON_INDEX: Final = {reason: index for index, reason in enumerate(REASONS)}
_ORIGINS: Final = [struct.Struct("@QQ" + "qq" * count) for count in range(SLOT_ORIGIN_COUNT + 1)]
_SENT: Final = LIVE_OUT - LIVE_HELD
GIVING_UP_MARK: Final = 1 << 23  # in the count of such: no link has so high a generation, so the place alone tells it


class _Edge:
    """Words of one block, numbered from its start."""

    __slots__ = ("_base", "_dropped", "_words")

    def __init__(self, words: memoryview, offset: int, dropped: int) -> None:
        self._words = words
        self._base = offset // WORD
        self._dropped = self._base + dropped

    def add(self, word: int, amount: int = 1) -> None:
        add(self._words, self._base + word, amount)

    def get(self, word: int) -> int:
        return load(self._words, self._base + word)

    def set(self, word: int, value: int) -> None:
        store(self._words, self._base + word, value)

    def dropped(self, reason: str) -> int:
        """How many for that reason."""
        return load(self._words, self._dropped + _REASON_INDEX[reason])

    def drop(self, reason: str, count: int = 1) -> None:
        """`reason` is one of `layout.REASONS`."""
        add(self._words, self._dropped + _REASON_INDEX[reason], count)

    def hold(self, count: int) -> None:
        """How many data wait on this side now."""
        store(self._words, self._base + HELD, count)

    def peak(self, depth: int) -> None:
        if depth > load(self._words, self._base + DEPTH_PEAK):
            store(self._words, self._base + DEPTH_PEAK, depth)


class InputEdge(_Edge):
    """The receiver's block."""

    __slots__ = ("_mark", "_next_removed", "_table", "_table_end")

    def __init__(self, words: memoryview, offset: int, window: int) -> None:
        super().__init__(words, offset, INPUT_DROPPED)
        self._table = self._next_removed = self._base + INPUT_HEAD
        self._table_end = self._table + 2 * window
        self._mark = 1

    def set_generation(self, generation: int) -> None:
        """Of the link: data are numbered anew in each."""
        self._mark = (generation << NUMBER_BITS) + 1

    def arrived(self, at_ns: int, depth: int) -> None:
        """One more; with it `depth` wait here."""
        words, base = self._words, self._base
        add(words, base + RECEIVED, 1)
        store(words, base + LAST_ARRIVAL_NS, at_ns)
        store(words, base + HELD, depth)
        if depth > load(words, base + DEPTH_PEAK):
            store(words, base + DEPTH_PEAK, depth)

    def taken(self, depth: int) -> None:
        """One was taken to be worked on; `depth` are left."""
        words, base = self._words, self._base
        add(words, base + TAKEN, 1)
        store(words, base + HELD, depth)

    def place(self, number: int) -> int:
        """The name of datum `number` of the link, over all generations."""
        return self._mark + number

    def removed(self, number: int) -> None:
        """Datum `number` of the link has left the mailbox: taken or dropped."""
        self.removed_place(self._mark + number)

    def correct(self, named: int, *, is_removed: bool) -> None:
        """By a new life, of what the former had in hand: whether, to its sender, it has left the mailbox."""
        places = range(self._table, self._table_end)
        found = next((place for place in places if load(self._words, place) == named), None)
        if found is not None and not is_removed:
            store(self._words, found, 0)
        elif found is None and is_removed:  # in place of what left it first, whose credit has come back
            store(self._words, min(places, key=lambda place: load(self._words, place)), named)

    def removed_place(self, named: int) -> None:
        """The same by its name, which may be of a former generation.

        Credits come back in this order, so all that left after one whose credit has not come back are out as well:
        no more than a window, whatever their numbers, which are in no order where data are served by deadline.
        """
        place = self._next_removed
        store(self._words, place, named)
        place += 1
        self._next_removed = self._table if place == self._table_end else place


class OutputEdge(_Edge):
    """The sender's block."""

    __slots__ = ("_buffer", "_free", "_name", "_slots", "_turn")

    def __init__(self, buffer: bytearray | mmap, words: memoryview, offset: int, name: str, slot_count: int) -> None:
        super().__init__(words, offset, OUTPUT_DROPPED)
        self._buffer = buffer
        self._name = name
        first = self._base + OUTPUT_HEAD
        # A slot is named by the word of its state, so that no step has to compute it.
        self._slots = range(first, first + slot_count * SLOT_WORDS, SLOT_WORDS)
        self._turn = max(words[slot] >> TURN_SHIFT for slot in self._slots)
        self._free = [slot for slot in reversed(self._slots) if words[slot] == FREE]

    def offered(self, at_ns: int) -> None:
        words, base = self._words, self._base
        add(words, base + OFFERED, 1)
        store(words, base + LAST_OFFERED_NS, at_ns)

    def block(self, is_blocked: bool) -> None:
        """Whether a datum waits for room on the other side."""
        store(self._words, self._base + BLOCKED, int(is_blocked))

    def accept(self, origins: Sequence[tuple[int, int]], serial: int, nth: int = 0, place: int = 0) -> int:
        """The slot of a datum that is held from now on, made by handling `serial` from data (stream, seq).

        That handling had got `nth` data onto this edge before. Of more than 8 origins the first 8 are kept, and how
        many there were. `place`: where it came from, for one that is not to be sent.
        """
        if not self._free:
            raise self._too_many()
        slot = self._free.pop()
        made_by = serial << SERIAL_SHIFT | (nth if nth < NTH_LIMIT else NTH_LIMIT)
        # Of an edge: as many as were offered with this one, so that whoever was killed before it counted it is known.
        words, turn = self._words, self._turn
        offered = load(words, self._base + OFFERED)
        self._turn = turn = ((turn if turn > offered else offered) + 1) & TURN_MASK
        if len(origins) == 1:
            ((stream, seq),) = origins
            put4(words, slot + SLOT_PLACE, place, made_by, stream, seq)
            store(words, slot, turn << TURN_SHIFT | 1 << 8 | LIVE_HELD)
        else:
            flat = [number for origin in origins[:SLOT_ORIGIN_COUNT] for number in origin]
            _ORIGINS[len(flat) // 2].pack_into(self._buffer, (slot + SLOT_PLACE) * WORD, place, made_by, *flat)
            store(words, slot, turn << TURN_SHIFT | min(len(origins), 255) << 8 | LIVE_HELD)
        return slot

    def leave(self, stream: int, seq: int, serial: int, nth: int, name: int, at_ns: int) -> int:
        """`accept`, `offered` and `sent` in one, for a datum of one origin: `name` is its generation and number."""
        if not self._free:
            raise self._too_many()
        slot = self._free.pop()
        words, base = self._words, self._base
        offered = load(words, base + OFFERED)
        turn = self._turn
        self._turn = turn = ((turn if turn > offered else offered) + 1) & TURN_MASK
        made_by = serial << SERIAL_SHIFT | (nth if nth < NTH_LIMIT else NTH_LIMIT)
        put4(words, slot + SLOT_PLACE, 0, made_by, stream, seq)
        state = turn << TURN_SHIFT | 1 << 8 | LIVE_HELD
        store(words, slot, state)
        store(words, base + OFFERED, offered + 1)
        store(words, base + LAST_OFFERED_NS, at_ns)
        store(words, slot + SLOT_PLACE, name + 1)
        store(words, slot, state + _SENT)
        add(words, base + TRANSMITTED, 1)
        return slot

    @property
    def first_slot(self) -> int:
        """The word of its state."""
        return self._slots[0]

    def _too_many(self) -> RecorderError:
        return RecorderError(
            f"edge {self._name}", f"{len(self._slots)} data are live", "room for one more", "were any released?"
        )

    def transmitted(self, slot: int, number: int, generation: int) -> None:
        """The datum in `slot` goes out as `number` of that generation of the link."""
        words = self._words
        store(words, slot + SLOT_PLACE, (generation << NUMBER_BITS) + number + 1)
        add(words, slot, _SENT)

    def sent(self, slot: int, number: int, generation: int) -> None:
        """`transmitted`, and counted."""
        words = self._words
        store(words, slot + SLOT_PLACE, (generation << NUMBER_BITS) + number + 1)
        add(words, slot, _SENT)
        add(words, self._base + TRANSMITTED, 1)

    @property
    def next_slot(self) -> int:
        """That of the datum which is accepted next. Raises RecorderError where there is no room."""
        if not self._free:
            raise self._too_many()
        return self._free[-1]

    def nth(self, slot: int) -> int:
        """Which of the table, from 0."""
        return self._slots.index(slot)

    def slot(self, nth: int) -> int:
        return self._slots[nth]

    def returned(self, slot: int) -> None:
        """What was out is held again: its receiver died before it was done."""
        words = self._words
        store(words, slot + SLOT_PLACE, 0)
        store(words, slot, load(words, slot) & ~0xFF | LIVE_HELD)

    def taken_back(self, slot: int, place: int) -> None:
        """What was out is held again, with the place that it had before."""
        store(self._words, slot, load(self._words, slot) & ~0xFF | LIVE_HELD)
        store(self._words, slot + SLOT_PLACE, place)

    def mark(self, slot: int, nth: int) -> None:
        """Of one that is held back: which of the batches that a device has it is in, from 1; 0: in none."""
        store(self._words, slot + SLOT_SERIAL, nth)

    def place_of(self, slot: int) -> int:
        return load(self._words, slot + SLOT_PLACE)

    def give_up(self, slot: int, count: int, head: int) -> None:
        """What follows is a record that it is dropped or lost, its count, which was `count`, and its release."""
        words = self._words
        place = (count & GIVEN_UP_MASK | GIVING_UP_MARK) << NUMBER_BITS | head & NUMBER_MASK
        store(words, slot + SLOT_PLACE, place)
        store(words, slot, load(words, slot) & ~0xFF | LIVE_GIVEN_UP)

    def release(self, slot: int) -> None:
        """The datum is no longer on this edge: removed by the receiver, dropped, or lost. Who made it still stands."""
        store(self._words, slot, FREE)
        self._free.append(slot)

    def reset_live(self, kept: Set[int] = frozenset()) -> None:
        """But not these, numbered as in the table."""
        for nth, slot in enumerate(self._slots):
            if nth not in kept:
                store(self._words, slot, FREE)
            store(self._words, slot + SLOT_SERIAL, 0)  # handlings of the next life may bear the same serials
        self._free = [slot for nth, slot in enumerate(self._slots) if nth not in kept][::-1]
        # What the former life accepted and did not count is counted now.
        self._turn = load(self._words, self._base + OFFERED)
        self.hold(0)
        self.block(False)
