"""A stream of arrays of one shape as one `.npy` file that is whole after every message."""

from __future__ import annotations

import io
import math
import os
from typing import Any

import numpy as np

from nodes.postprocess.output_file import OutputFile
from streamflow import In, InputError, Message, Node

HEAD_SIZE_LIMIT = 64 * 1024  # bytes; format 1.0 has no longer header


class NumpyWriter(Node):
    """Arrays of shape S become one array [N, *S]; with `concatenate` arrays [T, *S], T free, become [N, *S].

    path: a file, emptied when the run starts; not `-`, because the header is rewritten as the file grows.
    field: which tensor, where messages have several.

    The header is brought up to date after the data, at every message: `numpy.load` reads the file at any time,
    also after a kill, and finds every array that was written whole. With no message at all the file is a
    float64 array of shape [0].

    Raises InputError: the file cannot be written; or a shape or dtype differs from the first one.
    """

    data = In()

    def __init__(self, path: str | os.PathLike[str], concatenate: bool = False, field: str | None = None) -> None:
        self._file = OutputFile(path)
        if self._file.is_standard_output:
            raise InputError("NumpyWriter path", "'-'", "a file: its header is rewritten as it grows")
        self._concatenate = concatenate
        self._field = field
        self._row: tuple[np.dtype[Any], tuple[int, ...]] | None = None  # dtype and shape of what one row holds
        self._count = 0

    def inspect(self) -> None:
        self._file.check()

    def open(self) -> None:
        self._file.open(goes_on=self.generation > 0)
        if not (self._file.size and self._goes_on()):
            self._file.cut(0)
            self._file.append(_header(np.dtype(np.float64), (0,)))

    def _goes_on(self) -> bool:
        """Whether a former life of the stage left arrays here: those that its header counts are whole."""
        head = io.BytesIO(self._file.read(HEAD_SIZE_LIMIT))
        try:
            np.lib.format.read_magic(head)
            (count, *rest), _, dtype = np.lib.format.read_array_header_1_0(head)
        except ValueError:
            return False
        if count:
            self._row, self._count = (dtype, tuple(rest)), count
            self._file.cut(head.tell() + count * dtype.itemsize * math.prod(rest))
        return bool(count)

    def close(self) -> None:
        self._file.close()

    def process(self, message: Message) -> None:
        array = self._array(message)
        if self._concatenate and array.ndim == 0:
            raise InputError(self._file.name, "a value without dimensions", "arrays to join along their first axis")
        # Of a padded last chunk only the rows that are signal are kept.
        rows = array[: int(message.attributes.get("valid", len(array)))] if self._concatenate else array[np.newaxis]
        self._check(rows)
        self._file.append(rows.tobytes())
        self._count += len(rows)
        self._file.replace_head(_header(rows.dtype, (self._count, *rows.shape[1:])))

    def _array(self, message: Message) -> np.ndarray[Any, Any]:
        if self._field is None and len(message.tensors) == 1:
            return np.asarray(message.array)
        if self._field is None or self._field not in message.tensors:
            expected = "field= to name one of them" if self._field is None else f"'{self._field}' among them"
            raise InputError(self._file.name, f"tensors {', '.join(message.tensors)} arrived", expected)
        return np.asarray(message.tensors[self._field])

    def _check(self, rows: np.ndarray[Any, Any]) -> None:
        row = (rows.dtype, rows.shape[1:])
        if self._row is None:
            self._row = row
            self._file.cut(0)  # a header of many dimensions is longer than the one that open wrote
            self._file.append(_header(rows.dtype, (0, *rows.shape[1:])))
        elif row != self._row:
            raise InputError(self._file.name, f"{_text(*row)} arrived", f"{_text(*self._row)} as before it")


def _text(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype.name}{list(shape)}"


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The head of a `.npy` file, format 1.0. NumPy pads it so that its length is one for every first dimension."""
    text = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(text, fields)
    return text.getvalue()
