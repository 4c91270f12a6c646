"""Rows of one or several datasets of an HDF5 file: IMU, force, vibration or laboratory recordings."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from nodes.ingest.recording import faults_of, readable_file, require_positive
from nodes.ingest.tables import DT, Array, NanRule, Rows, TableSource, regular_rows, timed_rows
from streamflow import InputError, MissingExtraError, Out
from streamflow.core.ports import DEFAULT_TENSOR, DTYPE_NAMES

EXPECTED = "an HDF5 file"
TIME = ""  # stands for the time stamps among the datasets; no tensor has an empty name
BLOCK_ROWS = 1024  # rows read at once: one read of h5py costs about 0.1 ms whatever its size


class Hdf5File(TableSource):
    """Rows along axis 0 of datasets of an HDF5 file.

    `fields`: name of the tensor → path of the dataset; or one path, whose rows are the only tensor. Emits every
    field as [chunk, ...] in its own dtype or, with `stack`, one `dtype`[chunk, columns]: the columns of all
    fields in their order. `dt` adds the seconds since the row before, `dtype`[chunk], as the tensor `dt` or,
    with `stack`, as the last column; the first row's is 1 / rate. `nan` says what becomes of a row with a NaN
    in a field (tables.NanRule). Attributes: see tables.TableSource.

    What is sent is [time, columns], time first: Window, Resample and Spectrogram behind it need `axis=0`.
    """

    samples = Out("any[...]")

    def __init__(
        self,
        path: str | os.PathLike[str],
        fields: Mapping[str, str] | str,
        chunk: int = 1,
        rate_hz: float | str | None = None,
        time: str | None = None,
        start: int = 0,
        stop: int | None = None,
        *,
        stack: bool = False,
        dt: bool = False,
        nan: NanRule = "pass",
        dtype: str = "float32",
    ) -> None:
        """`rate_hz`: samples per second, or the name of the file's attribute that says so.

        `time`: the dataset of time stamps in seconds, [rows]; they may be irregular, and pace the recording.
        Rows `start` to `stop` (exclusive) are played.
        """
        super().__init__(path, chunk, nan, dt=dt)
        self.fields = {DEFAULT_TENSOR: fields} if isinstance(fields, str) else dict(fields)
        self.rate_hz = rate_hz
        self.time = time
        self.start = start
        self.stop = stop
        self.stack = stack
        self.dtype = dtype

    def inspect(self) -> None:
        """Read names, shapes and dtypes; raises InputError for what is wrong with settings or file."""
        self.require_settings()
        if not self.fields:
            raise InputError("Hdf5File fields", "names no dataset", 'for example {"acc": "imu_acc"}')
        taken = {TIME, "rate_hz", *([DT] if self.dt else [])} & set(self.fields)
        if taken:
            raise InputError("Hdf5File fields", f"names a tensor '{taken.pop()}'", "a name that is free")
        readable_file(self.path, EXPECTED)
        with self._opened() as file:
            rate_hz = self._found_rate_hz(file)
            datasets = self._datasets(file)
            self._require_rows(datasets)
            tensors = self._tensors(datasets)
        if list(tensors) == [DEFAULT_TENSOR]:
            self.samples = Out(tensors[DEFAULT_TENSOR], rate_hz=rate_hz)
        else:
            self.samples = Out(rate_hz=rate_hz, **tensors)

    def open(self) -> None:
        self._file = self._opened()
        self.first_step_hz = self._found_rate_hz(self._file)

    def close(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def rows(self) -> Iterator[Rows]:
        datasets = self._datasets(self._file)
        stop = len(next(iter(datasets.values()))) if self.stop is None else self.stop
        for first in range(self.start, stop, BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, stop)
            with faults_of(f"{self.path}, rows {first} to {last - 1}", "data that is whole", OSError):
                fields = {name: _native(dataset[first:last]) for name, dataset in datasets.items()}
            time_s = fields.pop(TIME, None)
            if time_s is not None:
                yield timed_rows(first, fields, time_s)
            elif self.first_step_hz is not None:
                yield regular_rows(first, fields, self.first_step_hz)

    def value(self, fields: Mapping[str, Array]) -> Any:
        if not self.stack:
            return {name: field.astype(self.dtype) if name == DT else field for name, field in fields.items()}
        columns = [field.reshape(self.chunk, -1).astype(self.dtype) for field in fields.values()]
        return np.concatenate(columns, axis=1)

    def _opened(self) -> Any:
        h5py = _h5py()
        with faults_of(str(self.path), EXPECTED, OSError):
            return h5py.File(self.path, "r")

    def _found_rate_hz(self, file: Any) -> float | None:
        if isinstance(self.rate_hz, str):
            if self.rate_hz not in file.attrs:
                there = ", ".join(file.attrs) or "none"
                raise InputError(str(self.path), f"has no attribute {self.rate_hz}", "a rate in it", f"there: {there}")
            with faults_of(f"{self.path} {self.rate_hz}", "a rate in Hz", TypeError, ValueError):
                rate_hz: float | None = float(file.attrs[self.rate_hz])
        else:
            rate_hz = self.rate_hz
        require_positive("Hdf5File", rate_hz=rate_hz)
        if rate_hz is None and self.time is None:
            raise InputError("Hdf5File", "neither rate_hz nor time is given", "one of them")
        return rate_hz

    def _datasets(self, file: Any) -> dict[str, Any]:
        """The datasets of all fields by name, and the time stamps as TIME."""
        paths = self.fields if self.time is None else {**self.fields, TIME: self.time}
        return {name: self._dataset(file, path) for name, path in paths.items()}

    def _dataset(self, file: Any, path: str) -> Any:
        h5py = _h5py()
        found = file.get(path)
        if not isinstance(found, h5py.Dataset):
            what = "no dataset" if found is None else "a group, not a dataset,"
            there = ", ".join(_names(file)) or "none"
            raise InputError(str(self.path), f"has {what} {path}", f"one of: {there}")
        if found.dtype.kind not in "buifc" or found.dtype.name not in DTYPE_NAMES:
            raise InputError(f"{self.path} {path}", f"holds {found.dtype}", "numbers")
        if not found.shape:
            raise InputError(f"{self.path} {path}", "is a single value", "rows")
        return found

    def _require_rows(self, datasets: Mapping[str, Any]) -> None:
        lengths = {dataset.name.lstrip("/"): len(dataset) for dataset in datasets.values()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} has {length} rows" for name, length in lengths.items())
            raise InputError(str(self.path), found, "equal lengths")
        length = next(iter(lengths.values()))
        stop = length if self.stop is None else self.stop
        if length == 0:
            raise InputError(str(self.path), f"{next(iter(lengths))} has no rows", "rows")
        if not 0 <= self.start < stop <= length:
            expected = f"start < stop within the {length} rows of {self.path}"
            raise InputError("Hdf5File", f"rows {self.start} to {stop} asked for", expected)
        if TIME in datasets and datasets[TIME].ndim != 1:
            raise InputError(f"{self.path} {self.time}", f"has shape {datasets[TIME].shape}", "one time per row")

    def _tensors(self, datasets: Mapping[str, Any]) -> dict[str, str]:
        """The type of each tensor that is emitted, by its name."""
        fields = {name: dataset for name, dataset in datasets.items() if name != TIME}
        if self.stack:
            columns = sum(math.prod(field.shape[1:]) for field in fields.values()) + self.dt
            return {DEFAULT_TENSOR: f"{self.dtype}[{self.chunk}, {columns}]"}
        shapes = {name: ", ".join(map(str, (self.chunk, *field.shape[1:]))) for name, field in fields.items()}
        tensors = {name: f"{field.dtype.name}[{shapes[name]}]" for name, field in fields.items()}
        return {**tensors, DT: f"{self.dtype}[{self.chunk}]"} if self.dt else tensors


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("Hdf5File", "h5py", "hdf5") from None
    module: ModuleType = h5py
    return module


def _names(file: Any) -> list[str]:
    """Paths of all datasets in the file."""
    h5py = _h5py()
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _native(array: Array) -> Array:
    """The array in this machine's byte order."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)
