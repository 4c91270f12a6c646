"""Whatever a stage's recorder says, at any time: while it runs, while it hangs, after it was killed.

The writer is never asked for anything, so what is copied may change under the copy. Therefore `head` is read again
afterwards: the writer stores record `head + 1`, over the one that many records back, so of the copied ones all newer
than that are whole; the serial at both ends of a record says the same once more, and finds the one that a killed
writer left half written. Sound where stores are seen in their order (x86); elsewhere both checks must fail at once.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streamflow.core.statistics import Histogram
from streamflow.core.verdict import WORK, Kind
from streamflow.errors import RecorderError
from streamflow.recorder import layout as at
from streamflow.recorder.counts import InputCounts, Live, OutputCounts
from streamflow.recorder.mapped_histogram import read_histogram
from streamflow.recorder.records import DTYPE, Piece, Pieces, Record, Rows, Tail, TailRecords, to_records

RETRY_COUNT = 8  # a slot changes at most once per datum; a copy takes a microsecond
LOOK_BACK_COUNT = 8  # records that may follow that of a datum before `idle`: at most a few notes
ORDER_SLACK_NS = 20_000_000  # a stall is written at the loop's next beat, after what came first when it was over
_RECORD_SIZE = at.RECORD.size
_REASON_COUNT = len(at.REASONS)
_MASK = 8  # of a `Piece`
_STARTED, _ENDED, _DONE, _AGAIN = 7, 9, 10, 13  # words of a record
_EMPTY: Rows = np.empty(0, DTYPE)


class Recording:
    """A reader of one recorder."""

    def __init__(self, buffer: bytes | bytearray | memoryview | mmap.mmap, subject: str) -> None:
        """Use `open` or `over`."""
        self._view = memoryview(buffer)
        try:
            self.shape, self._layout = at.decode(self._view, subject)
            self.words: Final = self._view.cast("B").cast("Q")
            """All of the file, by the numbers in `layout`: what is looked at all the time is looked at here."""
        except BaseException:
            self._view.release()
            raise
        self._array: npt.NDArray[np.uint64] = np.frombuffer(self._view, np.uint64)
        capacity = self.shape.ring_capacity
        self._ring: Rows = np.frombuffer(self._view, DTYPE, capacity, self._layout.ring)
        self._capacity = capacity
        self._input_bases = [offset // at.WORD for offset in self._layout.inputs]
        self._output_bases = [offset // at.WORD for offset in self._layout.outputs]

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Raises RecorderError for everything but a whole recorder of this version."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                if not size:
                    raise RecorderError(str(path), "it is empty", "a recorder", "its owner died while it made it")
                mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RecorderError(str(path), f"cannot be opened ({error.strerror})", "a recorder") from error
        return cls(mapped, str(path))

    @classmethod
    def over(cls, buffer: bytes | bytearray | memoryview | mmap.mmap, subject: str = "recorder") -> Recording:
        """Of a recorder in memory, or of a file's bytes."""
        return cls(buffer, subject)

    @property
    def stage(self) -> str:
        return self.shape.stage

    @property
    def head(self) -> int:
        """Serial of the newest record: one word, cheap enough to be looked at all the time."""
        return self.words[at.HEAD]

    def word(self, number: int) -> int:
        """One word of the file, by its number in `layout`."""
        return self.words[number]

    def counter(self, name: str) -> int:
        """One of `layout.COUNTERS`."""
        return self.words[at.COUNTERS[name]]

    def counters(self) -> dict[str, int]:
        words = self.words
        return {name: words[word] for name, word in at.COUNTERS.items()}

    def inputs(self) -> tuple[InputCounts, ...]:
        blocks = zip(self._layout.inputs, self.shape.in_edges, strict=True)
        return tuple(self._input(offset // at.WORD, name) for offset, (name, _) in blocks)

    def outputs(self) -> tuple[OutputCounts, ...]:
        blocks = zip(self._layout.outputs, self.shape.out_edges, strict=True)
        return tuple(self._output(offset // at.WORD, name) for offset, (name, _) in blocks)

    def arriving(self) -> list[tuple[str, int]]:
        """The edges into the stage, and how many data each holds at this end."""
        words = self.words
        return [
            (name, words[base + at.HELD])
            for base, (name, _) in zip(self._input_bases, self.shape.in_edges, strict=True)
        ]

    def leaving(self) -> list[tuple[str, int, int]]:
        """The edges from the stage, how many data each holds at this end, and how many it was offered."""
        words = self.words
        return [
            (name, words[base + at.HELD], words[base + at.OFFERED])
            for base, (name, _) in zip(self._output_bases, self.shape.out_edges, strict=True)
        ]

    def last_offered_ns(self, out_edge_index: int) -> int:
        """When the stage last had something for that edge; 0: never yet."""
        return self.words[self._layout.outputs[out_edge_index] // at.WORD + at.LAST_OFFERED_NS]

    @property
    def blocked_on(self) -> str:
        """The edge on which it waits for room; empty where it does not."""
        blocked = [self.words[base + at.BLOCKED] for base in self._output_bases]
        return self.shape.out_edges[blocked.index(1)][0] if 1 in blocked else ""

    def arrivals(self) -> tuple[int, int]:
        """Of all inputs together: received; and taken or dropped."""
        words = self.words
        received = gone = 0
        for base in self._input_bases:
            received += words[base + at.RECEIVED]
            first = base + at.INPUT_DROPPED
            gone += words[base + at.TAKEN] + sum(words[first : first + len(at.OVERFLOWS)])
        return received, gone

    def passed_on(self, out_edge_index: int) -> int:
        """What was offered to that edge, and neither dropped nor lost at this end."""
        words, base = self.words, self._output_bases[out_edge_index]
        first = base + at.OUTPUT_DROPPED
        return words[base + at.OFFERED] - words[base + at.LOST_DATA] - sum(words[first : first + _REASON_COUNT])

    def _input(self, base: int, name: str) -> InputCounts:
        words = self.words
        return InputCounts(
            name=name,
            received=words[base + at.RECEIVED],
            taken=words[base + at.TAKEN],
            held=words[base + at.HELD],
            depth_peak=words[base + at.DEPTH_PEAK],
            last_arrival_ns=words[base + at.LAST_ARRIVAL_NS],
            stranger_count=words[base + at.STRANGER_COUNT],
            dropped=self._dropped(base + at.INPUT_DROPPED),
            idle_count=words[base + at.IDLE_COUNT],
            step_count=words[base + at.STEP_COUNT],
        )

    def _output(self, base: int, name: str) -> OutputCounts:
        words = self.words
        return OutputCounts(
            name=name,
            offered=words[base + at.OFFERED],
            transmitted=words[base + at.TRANSMITTED],
            held=words[base + at.HELD],
            depth_peak=words[base + at.DEPTH_PEAK],
            lost=words[base + at.LOST_DATA],
            last_offered_ns=words[base + at.LAST_OFFERED_NS],
            is_blocked=bool(words[base + at.BLOCKED]),
            dropped=self._dropped(base + at.OUTPUT_DROPPED),
        )

    def _dropped(self, base: int) -> dict[str, int]:
        return {reason: count for i, reason in enumerate(at.REASONS) if (count := self.words[base + i])}

    def removed(self, in_edge_index: int, generation: int) -> set[int]:
        """Numbers of that generation that have left the mailbox, as far as the table goes back: twice the window."""
        return {number for each, number in self.removed_names(in_edge_index) if each == generation}

    def removed_names(self, in_edge_index: int) -> set[tuple[int, int]]:
        """The same of all generations: (generation, number)."""
        _, window = self.shape.in_edges[in_edge_index]
        base = self._layout.inputs[in_edge_index] // at.WORD + at.INPUT_HEAD
        places = self._array[base : base + 2 * window].tolist()
        return {(place >> at.NUMBER_BITS, _number(place)) for place in places if place}

    def live(self, out_edge_index: int, *, with_free: bool = False) -> list[Live]:
        """Data that are held or out. Exact when the sender stands still; of a running one, without those in motion.

        `with_free`: also those that are done with and whose slots were not used again: they tell what a handling
        that is not over has sent.
        """
        _, slot_count = self.shape.out_edges[out_edge_index]
        base = self._layout.outputs[out_edge_index] // at.WORD + at.OUTPUT_HEAD
        table = self._array[base : base + slot_count * at.SLOT_WORDS].reshape(slot_count, at.SLOT_WORDS)
        before = table[:, at.SLOT_STATE].copy()
        is_wanted = (before & 0xFF) != at.FREE
        if with_free:
            is_wanted |= table[:, at.SLOT_SERIAL] != 0
        slots = table[is_wanted]
        is_still = before[is_wanted] == table[is_wanted, at.SLOT_STATE]
        places = is_wanted.nonzero()[0][is_still].tolist()
        return [_live(slot, place) for slot, place in zip(slots[is_still].tolist(), places, strict=True)]

    @property
    def is_service_counted(self) -> bool:
        """Whether what is in service was counted as processed: of one that was killed before `idle`."""
        return self.words[at.PROCESSED] > self.words[at.SERVED_BEFORE]

    def service_tag(self) -> tuple[int, int]:
        """Turn and start of the handling that is under way; zeros without one."""
        turn = self.words[at.SERVING]
        offset = at.IN_SERVICE_OFFSET + (turn & 1) * at.IN_SERVICE_SIZE
        started_ns: int = at.IN_SERVICE.unpack_from(self._view, offset)[6]
        return (turn, started_ns) if turn else (0, 0)

    def newest(self) -> Record | None:
        """The record that was written last; None without any."""
        return self._at(self.head) if self.head else None

    @property
    def given_ns(self) -> int:
        """Since when a device has what it was given first of what it is not done with; 0: none has anything."""
        words, flights = self.words, at.FLIGHT_GIVEN_NS
        alone_ns = words[at.GIVEN_NS] if words[at.SERVING] else 0
        return min(filter(None, (alone_ns, *words[flights : flights + at.FLIGHT_WORDS])), default=0)

    def in_service(self) -> Record | None:
        """What the stage is working on: kind RUN, ended 0. None when it is idle, or too quick to be seen."""
        for _ in range(RETRY_COUNT):
            turn = self.words[at.SERVING]
            if not turn:
                return None
            offset = at.IN_SERVICE_OFFSET + (turn & 1) * at.IN_SERVICE_SIZE
            stream, sender, seq, event_time, sent, enqueued, started, deadline = at.IN_SERVICE.unpack_from(
                self._view, offset
            )
            if self.words[at.SERVING] != turn:
                continue  # the next datum, or the one after it, may be half in the slot
            if self._is_recorded(stream, seq, started):
                return None
            return Record(
                0, Kind.RUN, 0, 1, stream, sender, seq, event_time, sent, enqueued, started, deadline, 0, 0, 0, 0
            )
        return None

    def _is_recorded(self, stream: int, seq: int, started_ns: int) -> bool:
        """Whether the writer was killed, or looked at, between the record and `idle`."""
        head = self.head
        for serial in range(head, max(head - LOOK_BACK_COUNT, 0), -1):
            record = self._at(serial)
            if (
                record
                and record.kind in WORK
                and (record.stream, record.seq, record.started_ns)
                == (
                    stream,
                    seq,
                    started_ns,
                )
            ):
                return True
        return False

    def _at(self, serial: int) -> Record | None:
        """None: torn, or overwritten."""
        fields = at.RECORD.unpack_from(self._view, self._layout.ring + (serial & (self._capacity - 1)) * at.RECORD.size)
        return Record._make(fields[:-1]) if fields[0] == fields[-1] == serial else None

    def tail_records(self, cursor: int) -> TailRecords:
        """The same as `tail`, as tuples: quicker for fewer than a dozen at a time."""
        head = self.words[at.HEAD]
        if head <= cursor:
            return TailRecords([], head, 0)
        copied = [self._at(serial) for serial in range(max(cursor, head - self._capacity) + 1, head + 1)]
        oldest = self._oldest_whole()
        records = [record for record in copied if record and record.serial >= oldest]
        return TailRecords(records, head, head - cursor - len(records))

    def marked(self, cursor: int) -> Pieces:
        """Of the records newer than `cursor` those with a mask; two words tell where there is none."""
        head = self.words[at.HEAD]
        if self.words[at.MARKED] <= cursor or head <= cursor:  # in this order: FORMAT.md
            return Pieces([], head, 0)
        first = max(cursor, head - self._capacity) + 1
        records = [
            piece
            for serial, piece in zip(range(first, head + 1), self._pieces(first, head + 1), strict=True)
            if piece[_MASK] and piece[0] == serial == piece[-1]
        ]
        oldest = self._oldest_whole()
        if oldest > first:
            records = [piece for piece in records if piece[0] >= oldest]
        return Pieces(records, head, max(oldest - 1 - cursor, 0))

    def _pieces(self, first: int, stop: int) -> Iterator[Piece]:
        """Whatever lies where the records from `first` to before `stop` belong: no more than the ring holds."""
        start, end = first & (self._capacity - 1), ((stop - 1) & (self._capacity - 1)) + 1
        if start < end:
            return self._unpacked(start, end)
        return chain(self._unpacked(start, self._capacity), self._unpacked(0, end))

    def _unpacked(self, start: int, end: int) -> Iterator[Piece]:
        ring = self._layout.ring
        return at.PIECE.iter_unpack(self._view[ring + start * _RECORD_SIZE : ring + end * _RECORD_SIZE])

    def tail(self, cursor: int) -> Tail:
        """All records newer than `cursor`, which is 0 at first and what the last call returned from then on."""
        head = self.words[at.HEAD]
        if head <= cursor:  # less: the cursor is of another file
            return Tail(_EMPTY, head, 0)
        first = max(cursor, head - self._capacity) + 1
        records = self._copied(first, head + 1)
        return Tail(records, head, head - cursor - len(records))

    def _copied(self, first: int, stop: int) -> Rows:
        """Those of the serials from `first` to before `stop` that are there, whole."""
        if first >= stop:
            return _EMPTY
        start, end = first & (self._capacity - 1), ((stop - 1) & (self._capacity - 1)) + 1
        if start < end:
            copied = self._ring[start:end].copy()
        else:
            copied = np.concatenate((self._ring[start:], self._ring[:end]))
        return self._whole(copied, np.arange(first, stop, dtype=np.uint64))

    def find(self, stream: int, seq: int) -> list[Record]:
        """All records of a datum that are still there, the oldest first."""
        return to_records(self._where((self._ring["seq"] == seq) & (self._ring["stream"] == stream)))

    def between(self, start_ns: int, end_ns: int) -> list[Record]:
        """All records whose time from started to ended touches that from start to end, the oldest first.

        A record is written when what it tells of ends, on a device too, so starts and ends rise with the serials but
        for a few milliseconds: the first and the last are looked for by halves, not among all.
        """
        first = self._search(_ENDED, start_ns - ORDER_SLACK_NS)
        stop = self._search(_STARTED, end_ns + ORDER_SLACK_NS + 1)
        rows = self._copied(first, stop)
        over_ns = np.maximum(rows["ended_ns"], rows["device_done_ns"])
        return to_records(rows[(rows["started_ns"] <= end_ns) & (over_ns >= start_ns)])

    def _search(self, word: int, instant_ns: int) -> int:
        """The first serial from which on that word of a record is no less; the one after the newest where none is."""
        low, high = self._oldest_whole(), self.head + 1
        while low < high:
            middle = (low + high) // 2
            found_ns = self._word_of(middle, word)
            if found_ns is None:  # one may be torn; both: overwritten meanwhile, so older
                found_ns = self._word_of(middle - 1, word)
            if found_ns is None or found_ns < instant_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def _word_of(self, serial: int, word: int) -> int | None:
        """One word of a record, as a signed number, without the others; None as `_at`."""
        base = (self._layout.ring + (serial & (self._capacity - 1)) * _RECORD_SIZE) // at.WORD
        words = self.words
        found = (words[base + _DONE] if word == _ENDED else 0) or words[base + word]
        return _signed(found) if words[base] == serial == words[base + _AGAIN] else None

    def histogram(self, name: str) -> Histogram:
        """`service`, `batch_wait` where there are batches, `skew` and `age:EDGE` of rows whose inputs have ages,
        `latency:PATH` of one that ends here, `transport:EDGE`."""
        offsets = dict(self._histograms())
        if name not in offsets:
            raise RecorderError(f"recorder of {self.stage}", f"no histogram {name}", f"one of {', '.join(offsets)}")
        return read_histogram(self._array, offsets[name])

    def batch_sizes(self) -> dict[int, int]:
        """How many batches of each size were worked on; only sizes that occurred, and none without batches."""
        first, size_max = self._layout.batch_sizes // at.WORD, self.shape.batch_size_max
        counts = self._array[first : first + size_max + 1].tolist() if size_max else []
        return {size: count for size, count in enumerate(counts) if count}

    def _histograms(self) -> Iterator[tuple[str, int]]:
        yield "service", self._layout.service
        if self.shape.batch_size_max:
            yield "batch_wait", self._layout.batch_wait
        if self.shape.has_ages:
            yield "skew", self._layout.skew
            for (edge, _), offset in zip(self.shape.in_edges, self._layout.ages, strict=True):
                yield f"age:{edge}", offset
        for path, offset in self._layout.latency.items():
            yield f"latency:{self.shape.paths[path]}", offset
        for (edge, _), offset in zip(self.shape.in_edges, self._layout.transport, strict=True):
            yield f"transport:{edge}", offset

    def _where(self, is_wanted: npt.NDArray[np.bool_]) -> Rows:
        (slots,) = np.nonzero(is_wanted)
        head = self.words[at.HEAD]
        copied = self._ring[slots]
        expected = copied["serial"].copy()
        at_home = (expected & np.uint64(self._capacity - 1)) == slots
        whole = self._whole(copied, np.where(at_home & (expected <= head), expected, 0))
        return whole[np.argsort(whole["serial"])]

    def _whole(self, copied: Rows, expected: npt.NDArray[np.uint64]) -> Rows:
        oldest = self._oldest_whole()
        is_whole = (copied["serial"] == expected) & (copied["serial_again"] == expected) & (expected >= oldest)
        return copied if is_whole.all() else copied[is_whole]

    def _oldest_whole(self) -> int:
        """Copied records older than this may have been overwritten meanwhile."""
        return max(self.words[at.HEAD] + 2 - self._capacity, 1)

    def close(self) -> None:
        """Unmap; what was read stays valid."""
        del self._ring, self._array
        self.words.release()
        self._view.release()


def _number(place: int) -> int:
    return (place & at.NUMBER_MASK) - 1


def _live(slot: list[int], nth_slot: int) -> Live:
    state, place, made_by = slot[at.SLOT_STATE], slot[at.SLOT_PLACE], slot[at.SLOT_SERIAL]
    origin_count = state >> 8 & 0xFF
    kept = min(origin_count, at.SLOT_ORIGIN_COUNT)
    flat = [_signed(word) for word in slot[at.SLOT_ORIGINS : at.SLOT_ORIGINS + 2 * kept]]
    return Live(
        is_out=state & 0xFF == at.LIVE_OUT,
        number=_number(place),
        generation=place >> at.NUMBER_BITS,
        origins=tuple(zip(flat[::2], flat[1::2], strict=True)),
        origin_count=origin_count,
        serial=made_by >> at.SERIAL_SHIFT,
        nth=made_by & at.NTH_LIMIT,
        is_given_up=state & 0xFF == at.LIVE_GIVEN_UP,
        turn=state >> at.TURN_SHIFT,
        is_free=state & 0xFF == at.FREE,
        place=nth_slot,
    )


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
