"""One JSON object a line for each message, in a file that can be followed or on standard output."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nodes.postprocess.attributes import told_of
from nodes.postprocess.output_file import STANDARD_OUTPUT, OutputFile
from streamflow import In, InputError, Message, Node

# dtype kinds of NumPy that JSON has a form for: truth values, integers, floats, text, and instants as text
_WRITABLE_KINDS = "biufUSMm"


class JsonLines(Node):
    """Each message as one line of JSON: its attributes that were asked for, then its tensors by name.

    A 0-d tensor is a number, truth value or text; one with dimensions is a (nested) list. float32 and float16
    are written with the fewest digits that read back as the same float32; NaN and infinities are null.

    path: a file, emptied when the run starts; `-` is standard output, one flush a line.
    fields: which tensors, in this order; None is all of them.
    attributes: which attributes of the message (`frame`, `time_s`, ...) are added, or what names it: `event_time_ns`,
    `stream`, `seq`; one it lacks is null. A tensor of the same name wins.
    tables: name → columns: tensors of one leading length that become one list of objects,
    `tables={"detections": ("box", "score", "class")}` → `"detections": [{"box": [...], "score": ..., ...}, ...]`.

    Raises InputError: the file cannot be written, a tensor is missing, of a dtype JSON has no form for, or of
    another length than its table.
    """

    data = In()

    def __init__(
        self,
        path: str | os.PathLike[str] = STANDARD_OUTPUT,
        tables: Mapping[str, Sequence[str]] | None = None,
        fields: Iterable[str] | None = None,
        attributes: Iterable[str] = (),
    ) -> None:
        self._file = OutputFile(path)
        self._tables = {name: tuple(columns) for name, columns in (tables or {}).items()}
        self._fields = None if fields is None else tuple(fields)
        self._attributes = tuple(attributes)
        for name, columns in self._tables.items():
            if not columns:
                raise InputError(f"JsonLines tables['{name}']", "no columns", "the names of one tensor or more")

    def inspect(self) -> None:
        self._file.check()

    def open(self) -> None:
        self._file.open(goes_on=self.generation > 0)

    def close(self) -> None:
        self._file.close()

    def process(self, message: Message) -> None:
        line = json.dumps(self._object(message), allow_nan=False, separators=(", ", ": "))
        self._file.append(line.encode() + b"\n")

    def _object(self, message: Message) -> dict[str, Any]:
        found: dict[str, Any] = {name: _finite(told_of(message, name)) for name in self._attributes}
        in_tables = {column for columns in self._tables.values() for column in columns}
        fields = [name for name in message.tensors if name not in in_tables] if self._fields is None else self._fields
        for name in fields:
            found[name] = plain(name, _tensor(message, name))
        for name, columns in self._tables.items():
            found[name] = _rows(name, {column: _tensor(message, column) for column in columns})
        return found


def _tensor(message: Message, name: str) -> np.ndarray[Any, Any]:
    if name not in message.tensors:
        raise InputError(f"JsonLines field '{name}'", f"tensors {', '.join(message.tensors)} arrived", f"also {name}")
    return np.asarray(message.tensors[name])


def _rows(name: str, columns: Mapping[str, np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
    shapes = {column: array.shape for column, array in columns.items()}
    if any(not shape for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) != 1:
        found = ", ".join(f"{column} {list(shape)}" for column, shape in shapes.items())
        raise InputError(f"JsonLines tables['{name}']", f"columns of shapes {found}", "one leading length for all")
    lists = [plain(column, array) for column, array in columns.items()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def plain(name: str, array: np.ndarray[Any, Any]) -> Any:
    """`array` as the numbers, truth values, texts and nested lists that JSON knows. Raises InputError on others."""
    kind = array.dtype.kind
    if kind not in _WRITABLE_KINDS:
        raise InputError(f"JsonLines field '{name}'", f"dtype {array.dtype}", "numbers, truth values or text")
    if kind == "M":
        return np.datetime_as_string(array).tolist()
    if kind == "m":
        return array.astype(np.int64).tolist()
    if kind == "S":
        return _each(array.tolist(), lambda value: value.decode("utf-8", "backslashreplace"))
    if kind != "f":
        return array.tolist()
    if array.dtype.itemsize < 8:
        # The text of a float32 is the shortest that reads back as itself; as a double it would have 17 digits.
        return _each(array.astype(str).tolist(), lambda text: _finite(float(text)))
    return array.tolist() if np.isfinite(array).all() else _each(array.tolist(), _finite)


def _each(value: Any, convert: Any) -> Any:
    return [_each(part, convert) for part in value] if isinstance(value, list) else convert(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
