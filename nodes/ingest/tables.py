"""Rows of numbers from a recording: missing values, time steps and chunks, the same for every file format.

A format's reader yields `Rows` of whatever length suits the file; the functions here pass them on one after
the other, so that how the file was read cannot be seen in what is emitted:

    rows → in_order → without_nan → with_dt → in_chunks → emitted

Rows have a time each; a regular recording's is index / rate. What comes before a fault in the file is
still passed on, then the fault is raised.
"""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nodes.ingest.recording import padded, require_positive
from streamflow import InputError, Node
from streamflow.core.timebase import nanoseconds

Array = npt.NDArray[Any]

DT = "dt"  # the field that with_dt adds

NanRule = Literal["pass", "drop", "hold"]
"""What becomes of a row with a NaN in it: passed on as it is; dropped, so that the next time step is larger; or
replaced by the last whole row (dropped while there was none)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a recording.

    `sample` int64[n]: index in the recording. `label` int64[n]: how a person finds the row in the file (a line
    number, else the index). `time_s` float64[n]: recorded time. `nan_count` int64[n]: rows with NaN met so far.
    `fields`: by name, each [n, ...].
    """

    sample: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.float64]
    nan_count: npt.NDArray[np.int64]
    fields: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, rows: slice | Array) -> Rows:
        fields = {name: field[rows] for name, field in self.fields.items()}
        return Rows(self.sample[rows], self.label[rows], self.time_s[rows], self.nan_count[rows], fields)


def regular_rows(first: int, fields: Mapping[str, Array], rate_hz: float, label: Array | None = None) -> Rows:
    """Rows `first`, `first` + 1, ... of a recording with a constant rate."""
    return timed_rows(first, fields, (first + np.arange(_length(fields))) / rate_hz, label)


def timed_rows(first: int, fields: Mapping[str, Array], time_s: Array, label: Array | None = None) -> Rows:
    """Rows from `first` on, each with its own time stamp."""
    sample = first + np.arange(_length(fields), dtype=np.int64)
    stamps = np.asarray(time_s, np.float64)
    return Rows(sample, sample if label is None else label, stamps, np.zeros_like(sample), fields)


def _length(fields: Mapping[str, Array]) -> int:
    return len(next(iter(fields.values())))


def joined(parts: list[Rows]) -> Rows:
    names = parts[0].fields
    return Rows(
        np.concatenate([part.sample for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.time_s for part in parts]),
        np.concatenate([part.nan_count for part in parts]),
        {name: np.concatenate([part.fields[name] for part in parts]) for name in names},
    )


def in_order(blocks: Iterable[Rows], subject: str) -> Iterator[Rows]:
    """The blocks, once every time is a number that does not go back; raises InputError naming the row."""
    previous_s = -np.inf
    for block in blocks:
        stamps = np.concatenate([[previous_s], block.time_s])
        wrong = np.flatnonzero(~(np.diff(stamps) >= 0) | ~np.isfinite(block.time_s))
        if len(wrong):
            index = int(wrong[0])
            if index:
                yield block[:index]
            where = f"{subject}, row {block.label[index]}"
            raise InputError(
                where, f"has time {block.time_s[index]} after {stamps[index]}", "times that do not go back"
            )
        if len(block):
            previous_s = float(block.time_s[-1])
            yield block


def without_nan(blocks: Iterable[Rows], rule: NanRule) -> Iterator[Rows]:
    """The blocks with rows that hold a NaN passed on, dropped or replaced; `nan_count` counts them."""
    count = 0
    last: Rows | None = None  # the newest whole row
    for block in blocks:
        is_nan = _has_nan(block)
        counted = replace(block, nan_count=count + np.cumsum(is_nan))
        count = int(counted.nan_count[-1])
        if rule == "drop":
            counted = counted[~is_nan]
        elif rule == "hold":
            counted, last = _held(counted, is_nan, last)
        if len(counted):
            yield counted


def _has_nan(block: Rows) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(block), np.bool_)
    for field in block.fields.values():
        if field.dtype.kind in "fc":
            found |= np.isnan(field).reshape(len(block), -1).any(axis=1)
    return found


def _held(block: Rows, is_nan: npt.NDArray[np.bool_], last: Rows | None) -> tuple[Rows, Rows | None]:
    """The block with the fields of every NaN row taken from the last whole row, and the newest whole row."""
    whole = block if last is None else joined([last, block])
    offset = len(whole) - len(block)
    index = np.where(is_nan, -1, np.arange(len(block)) + offset)
    source = np.maximum.accumulate(np.concatenate([[offset - 1], index]))[1:]
    there = source >= 0
    source = source[there]
    held = replace(block[there], fields={name: field[source] for name, field in whole.fields.items()})
    return held, whole[source[-1:]] if len(source) else None


def with_dt(blocks: Iterable[Rows], rate_hz: float | None) -> Iterator[Rows]:
    """Each row with the field `dt`, float64[n]: seconds since the row before it.

    The first row's is 1 / rate; where only time stamps are known, that of the second row.
    """
    previous_s: float | None = None
    for block in _two_rows_first(blocks):
        if previous_s is None:
            steps = np.diff(block.time_s, prepend=block.time_s[0])
            steps[0] = 1 / rate_hz if rate_hz is not None else steps[min(1, len(steps) - 1)]
        else:
            steps = np.diff(block.time_s, prepend=previous_s)
        previous_s = float(block.time_s[-1])
        yield replace(block, fields={**block.fields, DT: steps})


def _two_rows_first(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """The same rows, the first block of at least two where there are two."""
    rest = iter(blocks)
    first = list(itertools.islice(rest, 1))
    while first and sum(map(len, first)) < 2:
        following = list(itertools.islice(rest, 1))
        if not following:
            break
        first += following
    if first:
        yield joined(first)
    yield from rest


def in_chunks(blocks: Iterable[Rows], size: int) -> Iterator[Rows]:
    """The same rows, `size` at a time; the last chunk has what is left."""
    held: list[Rows] = []
    fault: InputError | None = None
    rest = iter(blocks)
    while fault is None:
        try:
            block = next(rest, None)
        except InputError as error:
            fault, block = error, None
        if block is None:
            break
        held.append(block)
        if sum(map(len, held)) >= size:
            whole = joined(held) if len(held) > 1 else block
            end = len(whole) - len(whole) % size
            for start in range(0, end, size):
                yield whole[start : start + size]
            held = [whole[end:]] if end < len(whole) else []
    if held:
        yield joined(held)
    if fault is not None:
        raise fault


class TableSource(Node, ABC):
    """The part of a source of rows that does not depend on the file's format; a subclass says `rows()`.

    Attributes of what is emitted: `sample` (index in the recording) of the first row, `time_s` (as recorded)
    of the newest, `nan_rows` (rows with NaN so far) unless `nan="pass"`, and `valid` where a last chunk was
    padded with zeros. Paced by the recorded times, counted from the first row that is emitted.
    """

    def __init__(self, path: str | os.PathLike[str], chunk: int, nan: NanRule, *, dt: bool = False) -> None:
        self.path = path
        self.chunk = chunk
        self.nan = nan
        self.dt = dt
        self.first_step_hz: float | None = None  # the rate, where it is known; the first row's dt is one period

    def require_settings(self) -> None:
        """Raises InputError for a chunk of nothing or a rule that does not exist."""
        require_positive(type(self).__name__, chunk=self.chunk)
        if self.nan not in get_args(NanRule):
            rules = ", ".join(get_args(NanRule))
            raise InputError(f"{type(self).__name__} nan", f"is '{self.nan}'", f"one of {rules}")

    @abstractmethod
    def rows(self) -> Iterator[Rows]:
        """The recording from its beginning, in blocks of any length."""

    @abstractmethod
    def value(self, fields: Mapping[str, Array]) -> Any:
        """What is emitted for the fields of one chunk, each [chunk, ...]."""

    async def run(self) -> None:
        blocks = without_nan(in_order(self.rows(), str(self.path)), self.nan)
        if self.dt:
            blocks = with_dt(blocks, self.first_step_hz)
        start_s: float | None = None
        for part in in_chunks(blocks, self.chunk):
            start_s = float(part.time_s[0]) if start_s is None else start_s
            await self._send(part, start_s)
        if start_s is None:
            raise InputError(str(self.path), "has a NaN in every row", "a row without", 'nan="pass" shows them')

    async def _send(self, part: Rows, start_s: float) -> None:
        newest_s = float(part.time_s[-1])
        event_time_ns = await self.pace(nanoseconds(newest_s - start_s))
        attributes: dict[str, Any] = {}
        if self.nan != "pass":
            attributes["nan_rows"] = int(part.nan_count[-1])
        if len(part) < self.chunk:
            attributes["valid"] = len(part)
        fields = {name: padded(field, self.chunk) for name, field in part.fields.items()}
        await self.emit(
            self.value(fields),
            event_time_ns=event_time_ns,
            sample=int(part.sample[0]),
            time_s=newest_s,
            **attributes,
        )
