"""Where everything lies in a recorder's file; FORMAT.md says the same byte by byte.

All of it follows from the `Shape`, which is in the file, so a reader needs nothing else. Every part begins at a
multiple of 64 bytes and every field at a multiple of its own size, so that each is written by one store.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Final

from streamflow.core.joins.contract import Reason
from streamflow.core.overflow import Overflow
from streamflow.core.statistics import bucket_index
from streamflow.errors import RecorderError
from streamflow.recorder.shape import Shape

MAGIC = b"SFLOWREC"
VERSION: Final = 5
HEADER = struct.Struct("<8sIIQQQII")
HEADER_SIZE: Final = 64

WORD: Final = 8  # bytes; every counter is one unsigned word
FIRST_WORD: Final = HEADER_SIZE // WORD
WORD_COUNT: Final = 64  # most are spare, so that a new counter need not move anything

SERIAL_LIMIT: Final = 1 << 62  # at a million a second, 146,000 years

HEAD: Final = FIRST_WORD  # serial of the last whole record; 0: none yet
SERVING: Final = FIRST_WORD + 1  # turn of the datum in service; 0: idle

# The number of a counter is its word in the file: `recorder.add(PROCESSED)` is one store.
PROCESSED: Final = FIRST_WORD + 2
ABSORBED: Final = FIRST_WORD + 3
EMITTED: Final = FIRST_WORD + 4
REJECTED: Final = FIRST_WORD + 5
SHED: Final = FIRST_WORD + 6
DEGRADED: Final = FIRST_WORD + 7
HELD_RESULTS: Final = FIRST_WORD + 8
CALLED: Final = FIRST_WORD + 9
LEFT_OUT: Final = FIRST_WORD + 10
TOO_OLD: Final = FIRST_WORD + 11
LOST: Final = FIRST_WORD + 12
BUSY_NS: Final = FIRST_WORD + 13
NEXT_SEQ: Final = FIRST_WORD + 14
BEAT_NS: Final = FIRST_WORD + 15  # when the loop was last seen alive
DUE_NS: Final = FIRST_WORD + 16  # when a sleeping source is to wake; 0: it does not sleep
PHASE: Final = FIRST_WORD + 17
STALL_COUNT: Final = FIRST_WORD + 18
STALL_NS: Final = FIRST_WORD + 19
GC_NS: Final = FIRST_WORD + 20
READY_NS: Final = FIRST_WORD + 21
GENERATION: Final = FIRST_WORD + 22  # lives before this one
PID: Final = FIRST_WORD + 23

# No counters: what a reader needs to know of a writer that was killed between two steps.
SERVED_BEFORE: Final = FIRST_WORD + 24  # PROCESSED when the datum in service was begun
MARKED: Final = FIRST_WORD + 25  # serial of the newest record with a mask, stored before HEAD; 0: none yet
POOL_BYTES: Final = FIRST_WORD + 26  # shared memory for large tensors
POOL_EXHAUSTED: Final = FIRST_WORD + 27  # tensors sent in frames, or copied off their device: no slot was free
SPUN_NS: Final = FIRST_WORD + 28  # waited awake for data
SPIN_HITS: Final = FIRST_WORD + 29  # waits that ended so
ROW_DATA: Final = FIRST_WORD + 30  # in rows of a join, or of batches, that were handled or shed
ROW_DATA_BEFORE: Final = FIRST_WORD + 31  # ROW_DATA when the row in hand was begun
ROW_HEAD: Final = FIRST_WORD + 32  # and the newest record then
VARIANT: Final = FIRST_WORD + 33  # in use, 0 is the best; its next life begins with it
VARIANT_SWITCHES: Final = FIRST_WORD + 34
VARIANT_DATA: Final = FIRST_WORD + 35  # and 7 more words: data that each variant has worked on
VARIANT_USUAL_NS: Final = FIRST_WORD + 43  # and 7 more: what it usually took when it was in use last
REPLAYS: Final = FIRST_WORD + 51  # 1: a source whose next life emits again what this one did
UNDONE_SEQ: Final = FIRST_WORD + 52  # a source is to emit again the datum before this; 0: none
UNDONE_HEAD: Final = FIRST_WORD + 55  # and the newest record of the life that had begun with it
UNDONE_TURN: Final = FIRST_WORD + 53  # names the handling that was undone last, and its steps: its turn
UNDONE_STARTED_NS: Final = FIRST_WORD + 54  # and its start
GIVEN_NS: Final = FIRST_WORD + 56  # when a device was given what is in service, if it began before that; 0: none has it
FLIGHT_GIVEN_NS: Final = FIRST_WORD + 57  # and one more word: when a device was given each batch that it has; 0: none
FLIGHT_STARTED_NS: Final = FIRST_WORD + 59  # and one more: when the stage began to make that
FLIGHT_WORDS: Final = 2

COUNTERS: Final = {
    "processed": PROCESSED,
    "absorbed": ABSORBED,
    "emitted": EMITTED,
    "rejected": REJECTED,
    "shed": SHED,
    "degraded": DEGRADED,
    "held_results": HELD_RESULTS,
    "called": CALLED,
    "left_out": LEFT_OUT,
    "too_old": TOO_OLD,
    "lost": LOST,
    "busy_ns": BUSY_NS,
    "next_seq": NEXT_SEQ,
    "beat_ns": BEAT_NS,
    "due_ns": DUE_NS,
    "phase": PHASE,
    "stall_count": STALL_COUNT,
    "stall_ns": STALL_NS,
    "gc_ns": GC_NS,
    "ready_ns": READY_NS,
    "generation": GENERATION,
    "pid": PID,
    "pool_bytes": POOL_BYTES,
    "pool_exhausted": POOL_EXHAUSTED,
    "spun_ns": SPUN_NS,
    "spin_hits": SPIN_HITS,
    "row_data": ROW_DATA,
}

STARTING, RUNNING, DRAINING, CLOSED = range(4)
"""Values of the counter `phase`."""

# Of the datum in service: stream, sender, seq, event_time, sent, enqueued, started, deadline.
IN_SERVICE = struct.Struct("@iiqqqqqq")
IN_SERVICE_SIZE: Final = 64
# Of a record: serial, kind, flags, batch, what was in service, ended, device_done, blocked, mask, serial again.
RECORD = struct.Struct("@QHHIiiqqqqqqqqqQQ")
# The same bytes, of which the accounts need: serial, kind, flags, stream, seq, event_time, ended, device_done, mask,
# serial again. Packing or unpacking a number costs 20 ns.
PIECE = struct.Struct("@QHH4xi4xqq32xqq8xQQ")
IN_SERVICE_OFFSET: Final = HEADER_SIZE + WORD_COUNT * WORD
SHAPE_OFFSET: Final = IN_SERVICE_OFFSET + 2 * IN_SERVICE_SIZE

# A histogram: sum, max, min + 1 (0: empty), spare, then one word per bucket.
VALUE_LIMIT: Final = 1 << 40  # ns, 18 minutes; what is longer is counted in the last bucket
BUCKET_COUNT = bucket_index(VALUE_LIMIT - 1) + 1
HISTOGRAM_HEAD: Final = 8
HISTOGRAM_SUM: Final = 0
HISTOGRAM_MAX: Final = 1
HISTOGRAM_MIN: Final = 2

OVERFLOWS: Final = tuple(policy.value for policy in Overflow)
TOO_OLD_REASON: Final = "too_old"
ABSORBED_REASON: Final = "absorbed"  # a row of a join had it, in which another of its input goes on
REASONS: Final = (*OVERFLOWS, TOO_OLD_REASON, ABSORBED_REASON, *(reason.value for reason in Reason))
"""Why data of an edge are not worked on by themselves, in the order of its words: first what a mailbox drops, then what
is given up after it was taken."""
REASON_COUNT_LIMIT: Final = 16

# Words of an edge's block at its receiver, ...
RECEIVED: Final = 0
TAKEN: Final = 1
HELD: Final = 2
DEPTH_PEAK: Final = 3
LAST_ARRIVAL_NS: Final = 4
STRANGER_COUNT: Final = 5
IDLE_COUNT: Final = 6  # how often a join waited for it no longer
STEP_COUNT: Final = 7  # how often its clock was set back
INPUT_DROPPED: Final = 8
INPUT_HEAD: Final = 24  # then the table of what was removed
# ... and at its sender; HELD and DEPTH_PEAK are as above.
OFFERED: Final = 0
TRANSMITTED: Final = 1
LOST_DATA: Final = 4
LAST_OFFERED_NS: Final = 5
BLOCKED: Final = 6
OUTPUT_DROPPED: Final = 8
OUTPUT_HEAD: Final = 24  # then the table of live data

# A slot of the table of live data: state | origin count << 8 | turn << 16, place, nth | serial << 16, then each
# origin's (stream, seq).
FREE: Final = 0
LIVE_HELD: Final = 1
LIVE_OUT: Final = 2
LIVE_GIVEN_UP: Final = 3
# The place of one that is being given up: the count of such before it << 40 | the newest record before it.
GIVEN_UP_MASK: Final = (1 << 24) - 1
SLOT_ORIGIN_COUNT: Final = 8
SLOT_STATE: Final = 0
SLOT_PLACE: Final = 1
SLOT_SERIAL: Final = 2
SLOT_ORIGINS: Final = 3
SLOT_WORDS: Final = SLOT_ORIGINS + 2 * SLOT_ORIGIN_COUNT
SERIAL_SHIFT: Final = 16
NTH_LIMIT: Final = (1 << SERIAL_SHIFT) - 1
TURN_SHIFT: Final = 16
TURN_MASK: Final = (1 << 48) - 1

# A place names a datum on an edge: generation << 40 | number + 1; 0 is none. In hand also the number of the edge.
NUMBER_BITS: Final = 40
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1
EDGE_SHIFT: Final = 56

IN_HAND = "(hand)"
"""The table of the datum that a stage has taken and is not done with."""
HEAD_MASK: Final = 0xFF  # as much of the newest record's serial as is needed to see that another was written
SHED_MASK: Final = 0xFF  # how many were shed when it was taken, as far as needed
SHED_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes."""

    shape_size: int
    service: int
    batch_wait: int
    batch_sizes: int
    skew: int
    ages: tuple[int, ...]
    latency: dict[int, int]
    transport: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ring: int
    size: int

    @classmethod
    def of(cls, shape: Shape) -> Layout:
        at = SHAPE_OFFSET

        def part(size: int) -> int:
            nonlocal at
            start = at
            at += -(-size // 64) * 64
            return start

        histogram_size = (HISTOGRAM_HEAD + BUCKET_COUNT) * WORD
        shape_size = len(encode_shape(shape))
        part(shape_size)
        return cls(
            shape_size=shape_size,
            service=part(histogram_size),
            batch_wait=part(histogram_size if shape.batch_size_max else 0),
            batch_sizes=part((shape.batch_size_max + 1) * WORD if shape.batch_size_max else 0),
            skew=part(histogram_size if shape.has_ages else 0),
            ages=tuple(part(histogram_size) for _ in shape.in_edges) if shape.has_ages else (),
            latency={path: part(histogram_size) for path in shape.sink_paths},
            transport=tuple(part(histogram_size) for _ in shape.in_edges),
            inputs=tuple(part((INPUT_HEAD + 2 * window) * WORD) for _, window in shape.in_edges),
            outputs=tuple(part((OUTPUT_HEAD + count * SLOT_WORDS) * WORD) for _, count in shape.out_edges),
            ring=part(shape.ring_capacity * RECORD.size),
            size=at,
        )


def encode_shape(shape: Shape) -> bytes:
    return json.dumps(shape.to_json(), separators=(",", ":")).encode()


def encode_header(shape: Shape, layout: Layout) -> bytes:
    checksum = zlib.crc32(encode_shape(shape))
    return HEADER.pack(MAGIC, VERSION, HEADER_SIZE, layout.size, SHAPE_OFFSET, layout.shape_size, checksum, RECORD.size)


def check_machine(subject: str, byteorder: str = sys.byteorder) -> None:
    """The file is little-endian and is written as the machine stores numbers."""
    if byteorder != "little":
        raise RecorderError(subject, f"this machine is {byteorder}-endian", "a little-endian one")


def decode(buffer: memoryview, subject: str) -> tuple[Shape, Layout]:
    """What the file says it is. Raises RecorderError for everything but a whole recorder of this version."""
    check_machine(subject)
    if len(buffer) < HEADER_SIZE:
        raise RecorderError(
            subject, f"{len(buffer)} bytes", f"a header of {HEADER_SIZE}", "the file is no recorder, or was cut"
        )
    magic, version, header_size, size, shape_offset, shape_size, checksum, record_size = HEADER.unpack_from(buffer)
    if magic != MAGIC:
        hint = "its owner died while it made it" if not any(magic) else "the file is no recorder"
        raise RecorderError(subject, f"it begins with {magic!r}", repr(MAGIC), hint)
    if version != VERSION:
        age = "a newer streamflow wrote it" if version > VERSION else "an older streamflow wrote it"
        age = age if version else "the file is damaged"
        raise RecorderError(subject, f"recorder version {version}", f"version {VERSION}", age)
    if (header_size, shape_offset, record_size) != (HEADER_SIZE, SHAPE_OFFSET, RECORD.size):
        raise RecorderError(
            subject,
            f"header, shape offset and record of {header_size}, {shape_offset} and {record_size} bytes",
            f"{HEADER_SIZE}, {SHAPE_OFFSET} and {RECORD.size}",
            "the file is damaged",
        )
    if size != len(buffer):
        raise RecorderError(subject, f"{len(buffer)} bytes", f"{size}, as its header says", "the file was cut or grew")
    text = bytes(buffer[shape_offset : shape_offset + shape_size])
    if len(text) != shape_size or zlib.crc32(text) != checksum:
        raise RecorderError(subject, "a shape that does not agree with its checksum", "", "the file is damaged")
    try:
        shape = Shape.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RecorderError(subject, f"a shape that cannot be read ({error})", "", "the file is damaged") from error
    layout = Layout.of(shape)
    if (layout.size, layout.shape_size) != (size, shape_size):
        raise RecorderError(subject, f"{size} bytes", f"{layout.size} for its shape", "the file is damaged")
    head = int.from_bytes(buffer[HEAD * WORD : (HEAD + 1) * WORD], "little")
    if head > SERIAL_LIMIT:
        raise RecorderError(subject, f"{head} records", f"at most {SERIAL_LIMIT}", "the file is damaged")
    return shape, layout
