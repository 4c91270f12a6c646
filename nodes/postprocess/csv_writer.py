"""Messages of single values as rows of a CSV file with a header, or on standard output."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from nodes.postprocess.attributes import told_of
from nodes.postprocess.output_file import STANDARD_OUTPUT, OutputFile
from streamflow import In, InputError, Message, Node

HEAD_SIZE_LIMIT = 64 * 1024  # bytes of a header that another life of the stage wrote


class CsvWriter(Node):
    """Each message one row: a header first, then its 0-d tensors (arrays of one element count as such).

    path: a file, emptied when the run starts; `-` is standard output, one flush a row.
    columns: names of tensors or, where there is no such tensor, of attributes (`frame`, `time_s`, ...) or of what names
    a message (`event_time_ns`, `stream`, `seq`), in this order; the header is then there also when no message comes.
    None: every tensor of the first message.

    Values are written with the fewest digits that read back the same; NaN is `nan`; text is quoted where it must
    be (RFC 4180). Raises InputError: the file cannot be written, a column is in neither the tensors nor the
    attributes, or a tensor has several elements.
    """

    data = In()

    def __init__(self, path: str | os.PathLike[str] = STANDARD_OUTPUT, columns: Iterable[str] | None = None) -> None:
        self._file = OutputFile(path)
        self._columns = None if columns is None else tuple(columns)

    def inspect(self) -> None:
        self._file.check()

    def open(self) -> None:
        self._file.open(goes_on=self.generation > 0)
        if self._file.size:
            head = self._file.read(HEAD_SIZE_LIMIT).decode().splitlines()[:1]
            self._columns = self._columns or tuple(next(csv.reader(head)))
        elif self._columns is not None:
            self._file.append(_row(self._columns))

    def close(self) -> None:
        self._file.close()

    def process(self, message: Message) -> None:
        if self._columns is None:
            self._columns = tuple(message.tensors)
            self._file.append(_row(self._columns))
        self._file.append(_row([_value(message, column) for column in self._columns]))


def _value(message: Message, column: str) -> Any:
    if column not in message.tensors:
        if (told := told_of(message, column)) is not None:
            return told
        have = ", ".join([*message.tensors, *message.attributes])
        raise InputError(f"CsvWriter column '{column}'", f"only {have} arrived", f"a tensor or attribute {column}")
    array = np.asarray(message.tensors[column])
    if array.size != 1:
        shape = list(array.shape)
        raise InputError(
            f"CsvWriter column '{column}'", f"shape {shape}", "one value", "JsonLines and NumpyWriter take arrays"
        )
    return array.reshape(())[()]  # the NumPy scalar, whose text has no more digits than its dtype


def _row(values: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([str(value) for value in values])
    return text.getvalue().encode()
