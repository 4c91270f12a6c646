"""Records as their readers have them: one as a `Record`, many as rows of a structured array of the same names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamflow.recorder.layout import RECORD

Rows = npt.NDArray[np.void]
"""Rows of `DTYPE`."""


class Record(NamedTuple):
    """What became of one datum. Streams and senders are numbers of the shape, -1 none; a time of 0 is none."""

    serial: int
    """From 1, without gaps, over all lives of the stage."""
    kind: int
    """A `core.verdict.Kind`."""
    flags: int
    batch: int
    """How many data were handled at once with it."""
    stream: int
    sender: int
    seq: int
    event_time_ns: int
    sent_ns: int
    enqueued_ns: int
    started_ns: int
    deadline_ns: int
    ended_ns: int
    device_done_ns: int
    blocked_ns: int
    """Of the time from started to ended: waiting for room downstream."""
    mask: int
    """Paths on which a piece of the datum began or ended here."""

    @classmethod
    def from_row(cls, row: Any) -> Record:
        """Of one row, as in `Record.from_row(tail.records[0])`."""
        return cls(*row.item()[: len(cls._fields)])


_FIELD_TYPES = ["u8", "u2", "u2", "u4", "i4", "i4", *["i8"] * 9, "u8", "u8"]
DTYPE = np.dtype([*zip(Record._fields, _FIELD_TYPES[:-1], strict=True), ("serial_again", _FIELD_TYPES[-1])])
assert DTYPE.itemsize == RECORD.size


class Tail(NamedTuple):
    """What is new since a cursor."""

    records: Rows
    """A copy, in the order of their serials."""
    cursor: int
    """For the next call."""
    lost_count: int
    """Records that were overwritten before they were read."""


class TailRecords(NamedTuple):
    """A `Tail` of tuples."""

    records: list[Record]
    cursor: int
    lost_count: int


Piece = tuple[int, int, int, int, int, int, int, int, int, int]
"""Of a record: serial, kind, flags, stream, seq, event_time_ns, ended_ns, device_done_ns, mask, serial."""


class Pieces(NamedTuple):
    """What is new since a cursor of the records on which a piece of a datum began or ended."""

    records: list[Piece]
    cursor: int
    lost_count: int
    """Records, with pieces or without, that were overwritten before they were read."""


def to_records(rows: Rows) -> list[Record]:
    width = len(Record._fields)
    return [Record(*row[:width]) for row in rows.tolist()]
