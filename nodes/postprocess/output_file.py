"""Where writers put their bytes: a file written in place, record by record, or standard output.

A record is written whole, unbuffered, at once: the file can be followed while it grows (`tail -f`), and what
a killed process leaves is whole records. When the disk fills in the middle of one, that one is cut off again.

Standard output that nobody reads any more (`| head`) ends the run as it ends any Unix tool: ClosedOutputError,
after which nothing more is written there and Python's own exit stays silent.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from streamflow import InputError
from streamflow.errors import ClosedOutputError

STANDARD_OUTPUT = "-"

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file has reached the size limit of this process or file system",
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
    errno.EROFS: "the file system is read-only",
    errno.EISDIR: "is a folder",
    errno.ENOENT: "its folder does not exist",
    errno.ENOTDIR: "what should be its folder is a file",
    errno.EPIPE: "its reader has closed it",
    errno.ESPIPE: "is a pipe, in which one cannot go back",
}
_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputFile:
    """A file that takes whole records, or standard output where the path is `-`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._fd: int | None = None
        self._is_regular = False  # a device or a pipe has no place to go back to
        self._size = 0  # bytes of whole records; what lies behind them is cut off

    @property
    def is_standard_output(self) -> bool:
        return self._path == STANDARD_OUTPUT

    @property
    def name(self) -> str:
        return "standard output" if self.is_standard_output else self._path

    def check(self) -> None:
        """Complain, without touching it, about a path that cannot be opened for writing. Raises InputError."""
        if self.is_standard_output:
            return
        path, folder = Path(self._path), Path(self._path).parent
        if not self._path:
            raise InputError("output file", "the path is empty", f"a file, or {STANDARD_OUTPUT} for standard output")
        if path.is_dir():
            raise self._error(OSError(errno.EISDIR, ""))
        if folder.exists() and not folder.is_dir():
            raise self._error(OSError(errno.ENOTDIR, ""))
        if not folder.exists():
            raise self._error(OSError(errno.ENOENT, ""))
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise self._error(OSError(errno.EACCES, ""))

    def open(self, *, goes_on: bool = False) -> None:
        """Empty the file, or make it; where it `goes_on`, keep what a former life of the stage wrote.

        Raises InputError.
        """
        if self.is_standard_output:
            return
        try:
            keeps = goes_on and Path(self._path).is_file()
            how = os.O_RDWR if keeps else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._fd = os.open(self._path, how | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._error(error) from error
        found = os.fstat(self._fd)
        self._is_regular = stat.S_ISREG(found.st_mode)
        self._size = found.st_size if self._is_regular else 0

    @property
    def size(self) -> int:
        """Bytes of whole records."""
        return self._size

    def read(self, size: int) -> bytes:
        """The first bytes of what a former life wrote."""
        return os.pread(self._opened(), size, 0) if self._size else b""

    def cut(self, size: int) -> None:
        """Keep so many bytes."""
        if self._is_regular:
            os.ftruncate(self._opened(), size)
        self._size = size

    def append(self, record: bytes) -> None:
        """Write one record; afterwards it is with the operating system. Raises InputError, and keeps none of it."""
        try:
            if self.is_standard_output:
                _print(record)
            elif self._is_regular:
                self._write_at(record, self._size)
            else:
                self._write_on(record)
        except OSError as error:
            if self._is_regular:
                os.ftruncate(self._opened(), self._size)
            raise self._error(error) from error
        self._size += len(record)

    def replace_head(self, head: bytes) -> None:
        """Write `head` over the first bytes of the file, as many as it has. Raises InputError."""
        try:
            self._write_at(head, 0)
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            raise ValueError(f"{self.name} is not open")
        return self._fd

    def _write_at(self, record: bytes, position: int) -> None:
        view = memoryview(record)
        while view:
            written = os.pwrite(self._opened(), view, position)
            position += written
            view = view[written:]

    def _write_on(self, record: bytes) -> None:
        view = memoryview(record)
        while view:
            view = view[os.write(self._opened(), view) :]

    def _error(self, error: OSError) -> InputError:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        expected = "" if error.errno in _OUT_OF_ROOM or self.is_standard_output else "a file that can be written"
        kept = f"the {self._size} bytes written before are whole" if error.errno in _OUT_OF_ROOM else ""
        if self.is_standard_output and error.errno == errno.EPIPE:
            return ClosedOutputError(self.name, reason)
        return InputError(self.name, reason, expected, kept)


def _print(record: bytes) -> None:
    try:
        sys.stdout.write(record.decode())
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python still holds would fail again when it exits; see the note on SIGPIPE in the `signal` module.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        raise
