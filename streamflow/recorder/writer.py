"""A stage writes down what it does, by stores alone: no lock, no system call, nothing that can wait.

The stage's process owns the file; anyone may read it meanwhile, and after any end. A record is stored whole, then its
serial is published in `head`, and before that in `marked` if it is about a path; what is in service is stored in one of
two slots, then the slot is published. So a reader never needs the writer to be in any state, not even alive. A number
that does not fit its field raises struct.error or ValueError and publishes nothing.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Final

from streamflow.core.verdict import Kind
from streamflow.errors import RecorderError
from streamflow.memory.words import add, copy, load, put4, put5, put7, store
from streamflow.recorder.edges import InputEdge, OutputEdge
from streamflow.recorder.layout import (
    BUSY_NS,
    DEPTH_PEAK,
    EDGE_SHIFT,
    FLIGHT_GIVEN_NS,
    FLIGHT_WORDS,
    FREE,
    GENERATION,
    HEAD,
    HEAD_MASK,
    HEADER_SIZE,
    HELD,
    IN_HAND,
    IN_SERVICE,
    IN_SERVICE_OFFSET,
    IN_SERVICE_SIZE,
    LAST_ARRIVAL_NS,
    LIVE_HELD,
    MARKED,
    PID,
    PROCESSED,
    RECEIVED,
    RECORD,
    SERIAL_SHIFT,
    SERVED_BEFORE,
    SERVING,
    SHAPE_OFFSET,
    SHED,
    SHED_BITS,
    SHED_MASK,
    SLOT_PLACE,
    TAKEN,
    WORD,
    Layout,
    check_machine,
    decode,
    encode_header,
    encode_shape,
)
from streamflow.recorder.mapped_histogram import MappedHistogram
from streamflow.recorder.shape import Shape

# Words, from the start of a record, of which a word may be several fields: as `layout.RECORD` says.
_RECORD_WORDS: Final = RECORD.size // WORD
_KINDS: Final = 1
_SERVICE: Final = 2
_ENDED: Final = 9
_SERVICE_WORDS: Final = IN_SERVICE.size // WORD
_SLOTS: Final = IN_SERVICE_OFFSET // WORD
_SLOT_WORDS: Final = IN_SERVICE_SIZE // WORD
_NAME_LIMIT: Final = 1 << 31


def _kinds(kind: int, flags: int, batch: int) -> int:
    if kind >> 16 or flags >> 16 or batch >> 31:
        raise ValueError(f"kind {kind}, flags {flags} or batch {batch} does not fit its field")
    return batch << 32 | flags << 16 | kind


def _names(stream: int, sender: int) -> int:
    if not -_NAME_LIMIT <= stream < _NAME_LIMIT or not -_NAME_LIMIT <= sender < _NAME_LIMIT:
        raise ValueError(f"stream {stream} or sender {sender} does not fit its field")
    return sender << 32 | stream & 0xFFFFFFFF


def _slot(turn: int) -> int:
    """Where the datum of that turn is in service."""
    return _SLOTS + (turn & 1) * _SLOT_WORDS


class Recorder:
    """The writer's side of one stage's file. Streams, senders and paths are numbers of the shape."""

    __slots__ = (
        "_batch_sizes",
        "_buffer",
        "_hand",
        "_head",
        "_record_service",
        "_ring",
        "_ring_mask",
        "_started_ns",
        "_turn",
        "_words",
        "ages",
        "batch_wait",
        "inputs",
        "latency",
        "outputs",
        "service",
        "shape",
        "skew",
        "transport",
    )

    def __init__(self, buffer: bytearray | mmap.mmap, shape: Shape, layout: Layout) -> None:
        """Use `create`, `in_memory` or `attach`."""
        self._buffer = buffer
        self._words = words = memoryview(buffer).cast("Q")
        self._head: int = words[HEAD]
        self._turn: int = words[SERVING]
        self._ring = layout.ring // WORD
        self._ring_mask = shape.ring_capacity - 1
        self.shape = shape
        self.service = MappedHistogram(words, layout.service)
        """How long the stage worked on a datum."""
        self.batch_wait = MappedHistogram(words, layout.batch_wait) if shape.batch_size_max else None
        """How long a datum has waited here for the batch that it came into; None without batches."""
        self.skew = MappedHistogram(words, layout.skew) if shape.has_ages else None
        """Of a row of a join, between its oldest and its newest input; None where they are always of one instant."""
        self.ages = [MappedHistogram(words, offset) for offset in layout.ages]
        """How old each input was, in the order of the edges; empty without `skew`."""
        self._batch_sizes = layout.batch_sizes // WORD
        self._record_service = self.service.record
        self._started_ns = 0
        self.latency = {path: MappedHistogram(words, at) for path, at in layout.latency.items()}
        """Of each path that ends here, from event time to the end of the work."""
        self.transport = tuple(MappedHistogram(words, at) for at in layout.transport)
        """Of each input edge, from sent to received."""
        self.inputs = tuple(
            InputEdge(words, at, window) for at, (_, window) in zip(layout.inputs, shape.in_edges, strict=True)
        )
        self.outputs = tuple(
            OutputEdge(buffer, words, at, *edge) for at, edge in zip(layout.outputs, shape.out_edges, strict=True)
        )
        tables = dict(zip((name for name, _ in shape.out_edges), self.outputs, strict=True))
        self._hand = tables[IN_HAND].first_slot if IN_HAND in tables else 0

    @classmethod
    def in_memory(cls, shape: Shape) -> Recorder:
        """For a run without files; `Recording.over(recorder.buffer)` reads it."""
        check_machine(f"recorder of {shape.stage}")
        layout = Layout.of(shape)
        return cls._first_life(bytearray(layout.size), shape, layout)

    @classmethod
    def create(cls, path: Path, shape: Shape) -> Recorder:
        """The first life of a stage, generation 0. Raises RecorderError where there is a file already, or no room."""
        check_machine(str(path))
        layout = Layout.of(shape)
        partial = path.with_name(path.name + ".partial")  # whoever looks meanwhile must not take it for a damaged one
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, layout.size)
                # On tmpfs a page that cannot be had later would end the process with SIGBUS.
                os.posix_fallocate(descriptor, 0, layout.size)
                recorder = cls._first_life(_map(descriptor, layout.size), shape, layout)
                os.link(partial, path)
            finally:
                os.close(descriptor)
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise RecorderError(str(path), f"cannot be made ({error.strerror})", f"{layout.size} bytes") from error
        return recorder

    @classmethod
    def attach(cls, path: Path, shape: Shape) -> Recorder:
        """A new life of the same stage: its counters, records and histograms go on, `generation` is one more.

        What the former life left behind stays readable until `reset_live`.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                if size < HEADER_SIZE:
                    raise RecorderError(str(path), f"{size} bytes", f"a header of {HEADER_SIZE}", "the file was cut")
                mapped = _map(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RecorderError(str(path), f"cannot be opened ({error.strerror})", "a recorder") from error
        with memoryview(mapped) as view:
            found, layout = decode(view, str(path))
        if found != shape:
            raise RecorderError(
                str(path), f"the shape of stage {found.stage}", f"that of {shape.stage}", "the pipeline has changed"
            )
        recorder = cls(mapped, shape, layout)
        recorder.add(GENERATION)
        recorder.set(PID, os.getpid())
        return recorder

    @classmethod
    def _first_life(cls, buffer: bytearray | mmap.mmap, shape: Shape, layout: Layout) -> Recorder:
        text = encode_shape(shape)
        buffer[SHAPE_OFFSET : SHAPE_OFFSET + len(text)] = text
        recorder = cls(buffer, shape, layout)
        recorder.set(PID, os.getpid())
        header = encode_header(shape, layout)
        buffer[8 : len(header)] = header[8:]
        buffer[:8] = header[:8]  # the magic last: a file with it is whole
        return recorder

    @property
    def buffer(self) -> bytearray | mmap.mmap:
        return self._buffer

    @property
    def head(self) -> int:
        """Serial of the newest record; 0 before the first."""
        return self._head

    @property
    def turn(self) -> int:
        """Number of the datum in service, or of the last that was: what is sent on bears it."""
        return self._turn

    @property
    def service_tag(self) -> tuple[int, int]:
        """Names the handling that is under way, or was the last, among those of all lives: its turn and its start."""
        return self._turn, self._started_ns

    def begin(
        self,
        stream: int,
        seq: int,
        event_time_ns: int,
        sent_ns: int,
        enqueued_ns: int,
        started_ns: int,
        deadline_ns: int,
        sender: int,
    ) -> None:
        """The stage works on this datum from now on."""
        words = self._words
        turn = self._turn + 1
        names = _names(stream, sender)
        put7(words, _slot(turn), names, seq, event_time_ns, sent_ns, enqueued_ns, started_ns, deadline_ns)
        self._started_ns = started_ns
        self._turn = turn
        store(words, SERVED_BEFORE, load(words, PROCESSED))
        store(words, SERVING, turn)

    def enter(
        self,
        edge: int,
        number: int,
        stream: int,
        seq: int,
        event_time_ns: int,
        sent_ns: int,
        enqueued_ns: int,
        started_ns: int,
        deadline_ns: int,
        sender: int,
    ) -> None:
        """The datum that came as `number` on that input edge, before any other, is worked on from now on.

        Its arrival, its having been taken in hand and counted, `begin`, and that the mailbox is rid of it: the same
        stores in the same order as one by one, in a fifth of the time. It stays in hand until `put_down`.
        """
        words = self._words
        own = self.inputs[edge]
        base, name = own._base, own._mark + number
        add(words, base + RECEIVED, 1)
        store(words, base + LAST_ARRIVAL_NS, enqueued_ns)
        store(words, base + HELD, 1)
        if not load(words, base + DEPTH_PEAK):
            store(words, base + DEPTH_PEAK, 1)
        self.transport[edge].record(enqueued_ns - sent_ns)
        taken, hand = load(words, base + TAKEN), self._hand
        since = (self._head & HEAD_MASK) << SHED_BITS | load(words, SHED) & SHED_MASK
        put4(words, hand + SLOT_PLACE, edge << EDGE_SHIFT | name, taken << SERIAL_SHIFT | since, stream, seq)
        store(words, hand, 1 << 8 | LIVE_HELD)
        store(words, base + TAKEN, taken + 1)
        store(words, base + HELD, 0)
        self.begin(stream, seq, event_time_ns, sent_ns, enqueued_ns, started_ns, deadline_ns, sender)
        place = own._next_removed
        store(words, place, name)
        place += 1
        own._next_removed = own._table if place == own._table_end else place

    def put_down(self) -> None:
        """What `enter` has taken in hand is done with."""
        store(self._words, self._hand, FREE)

    def idle(self) -> None:
        """Nothing is in service. To be called after the record of what was, and after it was counted as processed."""
        store(self._words, SERVING, 0)

    def finish(
        self, kind: int, flags: int, ended_ns: int, device_done_ns: int, blocked_ns: int, batch: int, mask: int
    ) -> int:
        """The datum that `begin` named is done: `record`, `idle`, `processed`, `busy_ns` and `service` in one.

        Time blocked is no service. One call instead of five saves a third; it is what every datum pays.
        """
        words = self._words
        serial = self._head + 1
        place = self._ring + (serial & self._ring_mask) * _RECORD_WORDS
        kinds = _kinds(kind, flags, batch)
        store(words, place, serial)
        store(words, place + _KINDS, kinds)
        copy(words, place + _SERVICE, _slot(self._turn), _SERVICE_WORDS)
        put5(words, place + _ENDED, ended_ns, device_done_ns, blocked_ns, mask, serial)
        self._publish(serial, mask)
        add(words, PROCESSED, 1)
        store(words, SERVING, 0)
        service_ns = ended_ns - self._started_ns - blocked_ns
        add(words, BUSY_NS, service_ns)
        self._record_service(service_ns)
        return serial

    def batched(self, size: int) -> None:
        """A batch of that many was worked on; no more than the shape says."""
        add(self._words, self._batch_sizes + size, 1)

    def record(
        self,
        kind: int,
        flags: int,
        stream: int,
        seq: int,
        event_time_ns: int,
        sent_ns: int,
        enqueued_ns: int,
        started_ns: int,
        ended_ns: int,
        device_done_ns: int,
        deadline_ns: int,
        blocked_ns: int,
        sender: int,
        batch: int,
        mask: int,
    ) -> int:
        """The serial of the record, published."""
        words = self._words
        serial = self._head + 1
        place = self._ring + (serial & self._ring_mask) * _RECORD_WORDS
        kinds, names = _kinds(kind, flags, batch), _names(stream, sender)
        put7(words, place, serial, kinds, names, seq, event_time_ns, sent_ns, enqueued_ns)
        put7(words, place + 7, started_ns, deadline_ns, ended_ns, device_done_ns, blocked_ns, mask, serial)
        self._publish(serial, mask)
        return serial

    def _publish(self, serial: int, mask: int) -> None:
        if mask:
            store(self._words, MARKED, serial)
        self._head = serial
        store(self._words, HEAD, serial)

    def note(
        self,
        kind: Kind,
        flags: int,
        stream: int,
        seq: int,
        event_time_ns: int,
        at_ns: int,
        deadline_ns: int,
        sender: int,
        mask: int,
    ) -> int:
        """A record of something without duration."""
        return self.record(
            kind, flags, stream, seq, event_time_ns, 0, 0, at_ns, at_ns, 0, deadline_ns, 0, sender, 1, mask
        )

    def add(self, counter: int, amount: int = 1) -> None:
        """`counter` is one of the numbers of `layout.COUNTERS`."""
        add(self._words, counter, amount)

    def set(self, counter: int, value: int) -> None:
        store(self._words, counter, value)

    def get(self, counter: int) -> int:
        return load(self._words, counter)

    def reset_live(self, kept: Mapping[int, Set[int]] | None = None) -> None:
        """Forget what the former life had in service, held and out; the supervisor has read it.

        `kept`: of an output, places in its table of what is still to be sent. What was in service is forgotten last:
        a life that dies in the midst of this leaves to the next what it needs to do the same.
        """
        for word in range(FLIGHT_GIVEN_NS, FLIGHT_GIVEN_NS + 2 * FLIGHT_WORDS):
            self.set(word, 0)
        for nth, output in enumerate(self.outputs):
            output.reset_live(frozenset() if kept is None else kept.get(nth, frozenset()))
        for edge in self.inputs:
            edge.hold(0)
        self.idle()

    def close(self) -> None:
        """Unmap; the file stays. Nothing can be written any more, also not through the parts."""
        self._words.release()
        if isinstance(self._buffer, mmap.mmap):
            self._buffer.close()


def _map(descriptor: int, size: int) -> mmap.mmap:
    """Populated: a page's first touch costs as much as a record."""
    return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
