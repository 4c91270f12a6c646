"""Rows of numbers from a CSV file, read as they are needed; every complaint names file, row and column."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nodes.ingest.recording import faults_of, readable_file, require_positive
from nodes.ingest.tables import Array, NanRule, Rows, TableSource, regular_rows, timed_rows
from streamflow import InputError, Out

EXPECTED = "a CSV file of numbers"
BLOCK_ROWS = 256  # rows parsed at once: enough to hide the cost of a NumPy call, little enough to start at once

Column = str | int
Line = tuple[int, list[str]]  # line number, from 1, and cells


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the numbers are in a line: the names of all columns, the indices of those wanted and of the time."""

    names: tuple[str, ...]
    columns: tuple[int, ...]
    time: int | None
    has_header: bool


class CsvFile(TableSource):
    """Rows of a CSV file as `dtype`[chunk, columns]; with `dt`, the seconds since the row before come last.

    What is sent is [time, columns], time first: Window, Resample and Spectrogram behind it need `axis=0`.
    The first line is a header if no cell of it is a number. Empty cells and `nan` are missing values: `nan`
    says what becomes of their row (tables.NanRule). Empty lines are skipped. Rows are counted as people
    see them in an editor: lines from 1, the header included. Attributes: see tables.TableSource.
    """

    samples = Out("any[...]")

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[Column] | Column | None = None,
        time: Column | None = None,
        rate_hz: float | None = None,
        chunk: int = 1,
        delimiter: str = ",",
        *,
        dt: bool = False,
        nan: NanRule = "pass",
        dtype: str = "float32",
    ) -> None:
        """`columns`: names or indices (from 0), in the order wanted; None: all but `time`.

        `time`: the column of time stamps in seconds; they may be irregular, and pace the recording.
        """
        super().__init__(path, chunk, nan, dt=dt)
        self.columns = [columns] if isinstance(columns, str | int) else columns
        self.time = time
        self.rate_hz = rate_hz
        self.delimiter = delimiter
        self.dtype = dtype
        self.first_step_hz = rate_hz

    def inspect(self) -> None:
        """Read the header and the first row; raises InputError for what is wrong with settings or file."""
        self.require_settings()
        require_positive("CsvFile", rate_hz=self.rate_hz)
        if self.rate_hz is None and self.time is None:
            raise InputError("CsvFile", "neither rate_hz nor time is given", "one of them")
        if len(self.delimiter) != 1:
            raise InputError("CsvFile delimiter", f"is '{self.delimiter}'", "one character")
        readable_file(self.path, EXPECTED)
        with self._table() as (layout, lines):
            first = next(lines, None)
            if first is None:
                raise InputError(str(self.path), "has no rows of numbers", EXPECTED)
            _numbers(str(self.path), first, layout)
        self.samples = Out(f"{self.dtype}[{self.chunk}, {len(layout.columns) + self.dt}]", rate_hz=self.rate_hz)

    def rows(self) -> Iterator[Rows]:
        with self._table() as (layout, lines):
            first = 0
            fault: InputError | None = None
            while fault is None:
                numbers: list[list[float]] = []
                labels: list[int] = []
                try:
                    for line in itertools.islice(lines, BLOCK_ROWS):
                        numbers.append(_numbers(str(self.path), line, layout))
                        labels.append(line[0])
                except InputError as error:
                    fault = error
                if not numbers:
                    break
                yield self._block(first, np.array(numbers), np.array(labels), layout)
                first += len(numbers)
            if fault is not None:
                raise fault

    def value(self, fields: Mapping[str, Array]) -> Any:
        columns = [field.reshape(self.chunk, -1).astype(self.dtype) for field in fields.values()]
        return np.concatenate(columns, axis=1)

    def _block(self, first: int, numbers: Array, labels: Array, layout: Layout) -> Rows:
        """`numbers`: float64[rows, columns], the time stamp last where there is one."""
        fields = {"columns": numbers[:, : len(layout.columns)]}
        if layout.time is not None:
            return timed_rows(first, fields, numbers[:, -1], labels)
        assert self.rate_hz is not None  # inspect saw to it
        return regular_rows(first, fields, self.rate_hz, labels)

    @contextmanager
    def _table(self) -> Iterator[tuple[Layout, Iterator[Line]]]:
        """What the first line says, and the lines of numbers."""
        with closing(self._lines()) as lines:
            first = next(lines, None)
            if first is None:
                raise InputError(str(self.path), "has no rows", EXPECTED)
            layout = self._layout(first[1])
            yield layout, lines if layout.has_header else itertools.chain([first], lines)

    def _lines(self) -> Generator[Line]:
        """Every line that is not empty."""
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            while True:
                number = reader.line_num + 1
                with faults_of(f"{self.path}, row {number}", EXPECTED, csv.Error, UnicodeDecodeError):
                    cells = next(reader, None)
                if cells is None:
                    return
                if any(cell.strip() for cell in cells):
                    yield number, cells

    def _layout(self, cells: Sequence[str]) -> Layout:
        """Where the wanted columns are, from the cells of the first line."""
        has_header = not any(_is_number(cell) for cell in cells)
        names = tuple(cell.strip() for cell in cells) if has_header else tuple(map(str, range(len(cells))))
        time = None if self.time is None else self._index(self.time, names, has_header=has_header)
        if self.columns is None:
            columns = tuple(index for index in range(len(cells)) if index != time)
        else:
            columns = tuple(self._index(column, names, has_header=has_header) for column in self.columns)
        if not columns:
            raise InputError(str(self.path), "has no column besides the time", "at least one")
        return Layout(names, columns, time, has_header)

    def _index(self, column: Column, names: tuple[str, ...], *, has_header: bool) -> int:
        if isinstance(column, int):
            if not 0 <= column < len(names):
                raise InputError(str(self.path), f"has {len(names)} columns", f"column {column}", "they count from 0")
            return column
        if not has_header:
            raise InputError(f"{self.path}, row 1", "is no header", f"a column named {column}", "give its index")
        if names.count(column) != 1:
            found = f"has {names.count(column) or 'no'} column{'s' if column in names else ''} named {column}"
            raise InputError(str(self.path), found, f"one of: {', '.join(names)}")
        return names.index(column)


def _numbers(path: str, line: Line, layout: Layout) -> list[float]:
    """The wanted cells, the time stamp last; an empty cell is NaN. Raises InputError with row and column."""
    number, cells = line
    if len(cells) != len(layout.names):
        raise InputError(f"{path}, row {number}", f"has {len(cells)} cells", f"{len(layout.names)}")
    wanted = layout.columns if layout.time is None else (*layout.columns, layout.time)
    try:
        return [float(cells[index] or "nan") for index in wanted]
    except ValueError:
        pass
    # The slow way, to say which cell it was, and for cells of nothing but blanks.
    row = []
    for index in wanted:
        text = cells[index].strip() or "nan"
        if not _is_number(text):
            raise InputError(f"{path}, row {number}, column {layout.names[index]}", f"is '{text}'", "a number")
        row.append(float(text))
    return row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
