"""Rows of an array in a .npy file (memory-mapped) or of one array of an .npz archive."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nodes.ingest.recording import faults_of, readable_file, require_positive
from nodes.ingest.tables import Array, NanRule, Rows, TableSource, regular_rows
from streamflow import InputError, Out
from streamflow.core.ports import DEFAULT_TENSOR, DTYPE_NAMES

EXPECTED = "a .npy or .npz file"
BLOCK_ROWS = 1024  # rows copied out of the map at once
ZIP_START = b"PK\x03\x04"


class NumpyFile(TableSource):
    """Rows along axis 0 of a stored array, as [chunk, ...] in its own dtype; nothing is ever unpickled.

    `key` names the array of an .npz archive; it may be left out where there is one. `nan` says what becomes
    of a row with a NaN (tables.NanRule). Attributes: see tables.TableSource.

    What is sent is [time, columns], time first: Window, Resample and Spectrogram behind it need `axis=0`.
    """

    samples = Out("any[...]")

    def __init__(
        self,
        path: str | os.PathLike[str],
        rate_hz: float,
        chunk: int = 1,
        key: str | None = None,
        *,
        nan: NanRule = "pass",
    ) -> None:
        super().__init__(path, chunk, nan)
        self.rate_hz = rate_hz
        self.key = key

    def inspect(self) -> None:
        """Read shape and dtype; raises InputError for what is wrong with settings or file."""
        self.require_settings()
        require_positive("NumpyFile", rate_hz=self.rate_hz)
        readable_file(self.path, EXPECTED)
        shape, dtype = self._header()
        if dtype.kind not in "buifc" or dtype.name not in DTYPE_NAMES:
            raise InputError(str(self.path), f"holds {dtype}", "numbers")
        if not shape or shape[0] == 0:
            raise InputError(str(self.path), f"has shape {shape}", "rows along axis 0")
        dimensions = ", ".join(map(str, (self.chunk, *shape[1:])))
        self.samples = Out(f"{dtype.name}[{dimensions}]", rate_hz=self.rate_hz)

    def open(self) -> None:
        with self._faults():
            if self._is_archive():
                with np.load(self.path, allow_pickle=False) as archive:
                    self._array: Array = archive[self._member()]
            else:
                self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)

    def rows(self) -> Iterator[Rows]:
        native = self._array.dtype.newbyteorder("=")
        for first in range(0, len(self._array), BLOCK_ROWS):
            block = np.array(self._array[first : first + BLOCK_ROWS], native)
            yield regular_rows(first, {DEFAULT_TENSOR: block}, self.rate_hz)

    def value(self, fields: Mapping[str, Array]) -> Any:
        return fields[DEFAULT_TENSOR]

    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype, without reading the array."""
        with self._faults():
            if not self._is_archive():
                array = np.load(self.path, mmap_mode="r", allow_pickle=False)
                return array.shape, array.dtype
            member = self._member()
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{member}.npy") as file:
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                version = np.lib.format.read_magic(file)
                if version not in read:
                    raise InputError(f"{self.path} {member}", f"has format version {version}", "1.0 or 2.0")
                shape, _, dtype = read[version](file)
                return shape, dtype

    def _member(self) -> str:
        with zipfile.ZipFile(self.path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        if self.key is None and len(names) == 1:
            return names[0]
        if self.key not in names:
            found = f"holds {len(names)} arrays" if self.key is None else f"has no array {self.key}"
            raise InputError(str(self.path), found, f"key to be one of: {', '.join(names) or 'none'}")
        return self.key

    def _is_archive(self) -> bool:
        with open(self.path, "rb") as file:
            return file.read(len(ZIP_START)) == ZIP_START

    def _faults(self) -> Any:
        return faults_of(str(self.path), EXPECTED, ValueError, OSError, EOFError, zipfile.BadZipFile)
